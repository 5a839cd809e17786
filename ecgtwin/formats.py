"""What holds an ECG: WFDB records, which are read and written, arrays and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from .conditions import Condition
from .ecg import ECG, check_rate, check_reference
from .exceptions import ConditionError, InputError
from .headers import check_header, read_header, told_condition
from .leads import ALIASES, LEADS, lead_key
from .memory import check_fits
from .quality import filled_gaps

SYNTHETIC = "synthetic ECG made by ecgtwin; no recording of a patient"
RECORDED = "recording of a patient, written by ecgtwin"
"""The first comment of every ECG that is written."""

_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}


def as_ecg(
    obj: Any,
    *,
    sampling_rate: float | None = None,
    leads: Sequence[str] | None = None,
    unit: str | None = None,
    gain: float | None = None,
    nan_policy: str = "raise",
) -> ECG:
    """Make an `ECG` from whatever holds one.

    Parameters
    ----------
    obj : ECG, str or Path, wfdb.Record, (signal, fields), DataFrame or array
        A path is read by `read_ecg`. A pair is what ``wfdb.rdsamp`` returns, its signal ``(n_times,
        n_leads)``. A DataFrame has leads as columns. An array has shape ``(n_leads, n_times)``, in mV.
    sampling_rate : float, optional
        Samples per second; needed where `obj` does not say it.
    leads : sequence of str, optional
        Names of the leads of an array.
    unit : {"mV", "uV", "nV", "V"}, optional
        Of an array; millivolts by default.
    gain : float, optional
        Of an array of raw ADC values: units per millivolt.
    nan_policy : {"raise", "interpolate"}
        Whether gaps of up to 40 ms are filled by straight lines, which is noted in `ECG.notes`. Longer ones
        remain, and no twin is made of them.

    Raises
    ------
    InputError
        If it holds no ECG, or the rate is missing.

    Examples
    --------
    >>> import numpy as np
    >>> as_ecg(np.zeros((12, 5000)), sampling_rate=500).seconds
    10.0
    """
    if nan_policy not in ("raise", "interpolate"):
        raise InputError(f'nan_policy must be "raise" or "interpolate", got {str(nan_policy)[:40]!r}')
    if nan_policy == "interpolate":
        if isinstance(obj, str | Path):
            return read_ecg(obj, nan_policy=nan_policy)
        return _without_gaps(as_ecg(obj, sampling_rate=sampling_rate, leads=leads, unit=unit, gain=gain))
    if unit is not None or gain is not None:
        ecg = as_ecg(obj, sampling_rate=sampling_rate, leads=leads)
        return replace(ecg, signal=ecg.signal * _scale(obj, unit, gain))
    if isinstance(obj, ECG):
        return obj
    if isinstance(obj, str | Path):
        return read_ecg(obj)
    if hasattr(obj, "p_signal") and hasattr(obj, "sig_name"):
        return _from_wfdb(obj.p_signal, obj.fs, obj.sig_name, obj.units, str(obj.record_name))
    if isinstance(obj, tuple) and len(obj) == 2 and isinstance(obj[1], Mapping):
        signal, fields = obj
        if missing := [key for key in ("fs", "sig_name") if key not in fields]:
            raise InputError(f"the fields of the recording lack {', '.join(missing)}")
        return _from_wfdb(signal, fields["fs"], fields["sig_name"], fields.get("units"), "the recording")
    if sampling_rate is None:
        raise InputError("the sampling rate of an array is not known: pass sampling_rate=... in Hz")
    if hasattr(obj, "columns") and hasattr(obj, "to_numpy"):
        return ECG(obj.to_numpy().T, [str(c) for c in obj.columns], sampling_rate)
    return ECG(obj, leads, sampling_rate)


def _scale(obj: Any, unit: str | None, gain: float | None) -> float:
    if isinstance(obj, ECG | str | Path | tuple) or hasattr(obj, "p_signal"):
        raise InputError("unit= and gain= are for arrays: a record says its own")
    if unit is not None and str(unit).lower() not in _MILLIVOLTS:
        raise InputError(f"unit must be one of mV, uV, nV, V, got {str(unit)[:40]!r}")
    scale = 1.0 if unit is None else _MILLIVOLTS[str(unit).lower()]
    if gain is None:
        return scale
    units = float(gain) if isinstance(gain, int | float | np.number) and not isinstance(gain, bool) else 0.0
    if not isfinite(units) or units <= 0:
        raise InputError("gain must be a number of units per millivolt, above 0")
    return scale / units


def _without_gaps(ecg: ECG) -> ECG:
    signal, filled = filled_gaps(ecg.signal, ecg.sampling_rate)
    if not filled:
        return ecg
    note = f"{filled} missing values in gaps of up to 40 ms were filled by straight lines"
    return replace(ecg, signal=signal, notes=(*ecg.notes, note))


def read_ecg(path: str | Path, *, nan_policy: str = "raise") -> ECG:
    """Read a WFDB record.

    Parameters
    ----------
    path : str or Path
        The record, with or without ``.hea`` or ``.dat``. Channels that are none of the twelve leads
        are left out.
    nan_policy : {"raise", "interpolate"}
        As in `as_ecg`.

    Returns
    -------
    ECG
        At the file's own rate and lead order, in mV. With its condition, where ecgtwin wrote the record or
        its header has comments ``Age``, ``Sex`` or ``Dx`` (SNOMED CT), as in PhysioNet's challenges.

    Raises
    ------
    FileNotFoundError
        If there is no such record.
    InputError
        If the record is damaged or holds no usable ECG (see `check_reference`).

    Examples
    --------
    >>> from ecgtwin.datasets import example_path
    >>> read_ecg(example_path()).sampling_rate
    500.0
    """
    record = check_header(path)
    header = read_header(record)
    check_fits(
        12 * (header.sig_len or 0) * header.n_sig,
        f"record {record.name}, {(header.sig_len or 0) / (header.fs or 1) / 3600:.1f} h long,",
        "read it piece by piece with read_windows, or pass its path as the reference",
    )
    ecg = _read(record, 0, None)
    if nan_policy != "raise":
        ecg = as_ecg(ecg, nan_policy=nan_policy)
    return check_reference(ecg, name=record.name)


def read_windows(
    path: str | Path, *, seconds: float = 10.0, max_windows: int | None = None, nan_policy: str = "raise"
) -> Iterator[ECG]:
    """Read a long WFDB record window by window: memory does not grow with its length.

    Parameters
    ----------
    path : str or Path
        The record.
    seconds : float
        Length of a window; what is left at the end is not read.
    max_windows : int, optional
        Read as many at most, spread evenly over the record.
    nan_policy : {"raise", "interpolate"}
        As in `as_ecg`.

    Yields
    ------
    ECG
        As the file holds it: a Holter recording has windows that are no usable ECG, so windows are not
        checked (`check_reference` does).

    Raises
    ------
    FileNotFoundError
        If there is no such record.
    InputError
        If the record is damaged.

    Examples
    --------
    >>> from ecgtwin.datasets import example_path
    >>> [window.seconds for window in read_windows(example_path(), seconds=2.5)]
    [2.5, 2.5, 2.5, 2.5]
    """
    record = check_header(path)
    header = read_header(record)
    length = round(seconds * check_rate(header.fs)) if isfinite(seconds) else 0
    if length < 1 or (max_windows is not None and max_windows < 1):
        raise InputError(
            f"windows must last more than 0 s and be at least one, got {seconds!r}, {max_windows!r}"
        )
    starts = np.arange(0, (header.sig_len or 0) - length + 1, length)
    if max_windows is not None and len(starts) > max_windows:
        starts = starts[np.linspace(0, len(starts) - 1, max_windows).round().astype(int)]
    for start in starts.tolist():
        yield as_ecg(_read(record, start, start + length), nan_policy=nan_policy)


def record_seconds(path: str | Path) -> float:
    """Return how long a WFDB record lasts, from its header."""
    header = read_header(check_header(path))
    return float((header.sig_len or 0) / check_rate(header.fs))


def _read(record: Path, start: int, stop: int | None) -> ECG:
    import wfdb  # imported here: it costs 0.5 s

    try:
        read = wfdb.rdrecord(str(record.resolve()), sampfrom=start, sampto=stop)
    except Exception as error:  # wfdb raises bare ValueError, IndexError, KeyError, ... on damaged files
        raise InputError(f"record {record.name}: cannot be read as WFDB ({type(error).__name__})") from error
    ecg = _from_wfdb(read.p_signal, read.fs, read.sig_name, read.units, record.name)
    comments = tuple(read.comments)
    return replace(ecg, comments=comments, condition=_condition(comments))


def _condition(comments: Sequence[str]) -> Condition:
    """What a record shows, as `write_ecg` wrote it, or as headers of PhysioNet's challenges tell it."""
    said = [line.removeprefix("condition: ") for line in comments if line.startswith("condition: ")]
    if not {SYNTHETIC, RECORDED} & set(comments) or not said:
        return told_condition(comments)
    try:
        return Condition.parse(said[-1])
    except ConditionError:  # written by an ecgtwin that knew other statements
        return Condition()


def _from_wfdb(
    signal: Any, fs: Any, names: Sequence[str] | None, units: Sequence[str] | None, record: str
) -> ECG:
    if signal is None or names is None:
        raise InputError(f"record {record} holds no named signal in physical units")
    known = [i for i, name in enumerate(names) if lead_key(name) in ALIASES]
    if not known:
        raise InputError(
            f"record {record} has none of the leads {', '.join(LEADS)}; it has {', '.join(names)}"
        )
    unknown_units = {units[i] for i in known if units[i].lower() not in _MILLIVOLTS} if units else set()
    if unknown_units:
        raise InputError(f"record {record}: unit {sorted(unknown_units)[0]!r} is none of mV, uV, V")
    scale = np.array([_MILLIVOLTS[units[i].lower()] if units else 1.0 for i in known])
    return ECG((np.asarray(signal)[:, known] * scale).T, [names[i] for i in known], fs)


def marked(comments: Sequence[str], synthetic: bool | None = None) -> list[str]:
    """Return comments after one mark: that of a patient's recording or else the synthetic one."""
    if synthetic is None:
        synthetic = RECORDED not in comments
    marks = (SYNTHETIC, RECORDED) if synthetic else (RECORDED, SYNTHETIC)
    return [marks[0], *(line for line in comments if line not in marks)]


def write_ecg(
    path: str | Path, ecg: ECG, *, comments: Sequence[str] = (), synthetic: bool | None = None
) -> Path:
    """Write a WFDB record (16 bit, 1 microvolt), marked as synthetic or as a patient's.

    Parameters
    ----------
    path : str or Path
        The record without suffix; its folder is made.
    ecg : ECG
    comments : sequence of str
        Lines added to the header after the mark.
    synthetic : bool, optional
        Which mark the record gets. By default that of a patient's recording where the ECG has it, as one that
        was read from a marked file, or that `ECGTwinGenerator.edit` left as it was; else that of a synthetic
        one. Say False for a recording of a patient.

    Returns
    -------
    Path
        The record.

    Raises
    ------
    InputError
        If the name has other characters than letters, digits, "-" and "_", or a value is beyond 32 mV.

    Examples
    --------
    >>> import tempfile
    >>> from ecgtwin.datasets import load_example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     back = read_ecg(write_ecg(f"{folder}/twin", load_example()))
    >>> back.comments[0]
    'synthetic ECG made by ecgtwin; no recording of a patient'
    """
    import wfdb

    record = Path(path)
    if not re.fullmatch(r"[\w-]+", record.name, re.ASCII):
        raise InputError(
            f"{record.name!r} is no name of a WFDB record: use letters, digits, '-' and '_' alone"
        )
    if np.any(np.abs(ecg.signal) > 32.767):  # what 16 bits of a microvolt hold; NaN is written as missing
        raise InputError(f"record {record.name}: values beyond 32.767 mV cannot be written")
    record.parent.mkdir(parents=True, exist_ok=True)
    shown = f"condition: {ecg.condition}".replace(" · ", "; ")
    lines = marked((*ecg.comments, *comments, shown), synthetic)
    lines = list(dict.fromkeys(lines))  # a record that was read and is written again says all once
    wfdb.wrsamp(
        record.name,
        fs=ecg.sampling_rate,
        units=["mV"] * len(ecg.signal),
        sig_name=list(ecg.leads or LEADS),
        p_signal=ecg.signal.T.astype(np.float64),
        fmt=["16"] * len(ecg.signal),
        adc_gain=[1000.0] * len(ecg.signal),
        baseline=[0] * len(ecg.signal),
        # Of what Python takes for a line's end, each would end the comment.
        comments=[" ".join(line.splitlines()).encode("ascii", "replace").decode() for line in lines],
        write_dir=str(record.parent),
    )
    return record
