"""The ECG value object: reading, writing and checks.

Signals are float32 millivolts of shape ``(n_leads, n_times)``. Leads are matched by name, never by
position, since files differ (MIMIC-IV-ECG stores aVF before aVL).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beats import heart_rate
from .conditions import Condition
from .exceptions import InputError, QualityWarning
from .leads import (
    ALIASES,
    LEADS,
    complete_leads,
    lead_key,
    lead_names,
    lead_residual,
    limb_lead_order,
    resample,
)

Array = NDArray[Any]

NATIVE_RATE = 100.0
"""Samples per second of every signal that a network sees."""

NATIVE_LENGTH = 1000
"""Samples of a native recording: 10 s."""

MIN_SECONDS = 2.5

SYNTHETIC = "synthetic ECG made by ecgtwin; no recording of a patient"
"""The first comment of every ECG that is written."""

_FLAT_MILLIVOLTS = 1e-4

# Of 1,000 recordings of PTB-XL, 400 of them paced or with a left bundle branch block, the bluntest has
# 0.19, and 0.10 in its bluntest lead; of recordings slowed five times 98 of 100 lie below 0.09.
_MIN_SHARPNESS = 0.09

_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}


@dataclass(frozen=True, eq=False)
class ECG:
    """A recording with its meaning.

    Parameters
    ----------
    signal : array of shape (n_leads, n_times)
        Millivolts; stored as float32.
    leads : sequence of str, optional
        Names of the rows. Without it 12 rows are the standard leads and one row is lead I.
    sampling_rate : float
        Samples per second.
    patient_id : str, optional
    condition : Condition or anything that `Condition.parse` reads, optional
        What the recording shows.
    comments : tuple of str
        Free lines that go with the recording into a file.

    Raises
    ------
    InputError
        If shape, leads, rate or values are not those of an ECG.

    Examples
    --------
    >>> import numpy as np
    >>> ecg = ECG(np.zeros((1, 500)), leads=["MLII"], sampling_rate=250)
    >>> ecg.leads, ecg.seconds
    (('II',), 2.0)
    """

    signal: Array = field(repr=False)
    leads: Sequence[str] | None = None
    sampling_rate: float = NATIVE_RATE
    patient_id: str | None = None
    condition: Condition = field(default_factory=Condition)
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        signal = _as_signal(self.signal)
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "leads", _as_leads(self.leads, signal.shape))
        object.__setattr__(self, "sampling_rate", check_rate(self.sampling_rate))
        object.__setattr__(self, "condition", Condition.parse(self.condition))
        if self.patient_id is not None:
            object.__setattr__(self, "patient_id", str(self.patient_id))

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.signal.shape[1] / self.sampling_rate

    @cached_property
    def heart_rate(self) -> float:
        """Mean ventricular rate in beats per minute; NaN with fewer than two beats."""
        return heart_rate(self.native()[0])

    def native(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the signal as networks see it, ``(12, n_times)`` at 100 Hz, and which leads are there.

        A flat lead is not there: its electrode was off.
        """
        return self._native

    @cached_property
    def _native(self) -> tuple[Array, NDArray[np.bool_]]:
        names = np.array(self.leads or LEADS)
        alive = np.ptp(self.signal, axis=1) >= _FLAT_MILLIVOLTS
        signal, present = complete_leads(self.signal[alive], names[alive].tolist())
        return resample(signal, self.sampling_rate, NATIVE_RATE), present

    def select(self, leads: Iterable[str]) -> ECG:
        """Return the ECG with these leads, in this order; limb leads are computed where possible."""
        names = lead_names(leads)
        full, present = complete_leads(self.signal, self.leads or LEADS)
        rows = [LEADS.index(name) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if not present[row]]
        if missing:
            raise InputError(
                f"the recording has no lead {', '.join(missing)}; it has {', '.join(self.leads or LEADS)}"
            )
        return replace(self, signal=full[rows], leads=names)

    def resample(self, sampling_rate: float) -> ECG:
        """Return the ECG at another rate in samples per second."""
        rate = check_rate(sampling_rate)
        return replace(self, signal=resample(self.signal, self.sampling_rate, rate), sampling_rate=rate)


def check_rate(value: Any) -> float:
    """Return a sampling rate in Hz, or raise `InputError`."""
    if isinstance(value, bool | str) or value is None:
        raise InputError(f"sampling_rate must be a number of samples per second, got {value!r}")
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"sampling_rate must be one number, got {type(value).__name__}") from None
    if not isfinite(rate) or not 20 <= rate <= 100_000:
        raise InputError(f"sampling_rate must lie between 20 and 100000 Hz, got {rate:g}")
    return rate


def _as_signal(values: Any) -> Array:
    if hasattr(values, "detach"):  # a torch tensor, on any device
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy has none
            values = values.float()
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiu":
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if hasattr(values, "toarray"):
        raise InputError("a sparse matrix is no ECG; pass a dense array")
    try:
        signal = np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(f"a {type(values).__name__} of leads of unequal length is no ECG") from None
    if signal.dtype.kind not in "fiu":
        raise InputError(f"an ECG must be real numbers in millivolts, got dtype {signal.dtype}")
    if signal.ndim != 2:
        hint = "; for one lead pass signal[None]" if signal.ndim == 1 else "; pass one recording at a time"
        raise InputError(f"one ECG has shape (n_leads, n_times), got {signal.shape}{hint}")
    if signal.size == 0:
        raise InputError(f"the ECG is empty: shape {signal.shape}")
    if signal.shape[1] < signal.shape[0] and signal.shape[1] <= 15:
        raise InputError(f"shape {signal.shape} looks transposed: pass (n_leads, n_times), so signal.T")
    return np.array(signal, dtype=np.float32)  # a copy: the caller's array is never shared


def _as_leads(leads: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    if leads is None:
        if shape[0] == 12:
            return LEADS
        if shape[0] == 1:
            return ("I",)
        raise InputError(f"{shape[0]} leads without names: pass leads=[...] with one name for each")
    names = lead_names(leads)
    if len(names) != shape[0]:
        raise InputError(f"{len(names)} lead names for a signal of {shape[0]} leads")
    if len(set(names)) < len(names):
        raise InputError(f"a lead is named twice in {', '.join(names)}")
    return names


def as_ecg(obj: Any, *, sampling_rate: float | None = None, leads: Sequence[str] | None = None) -> ECG:
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


def read_ecg(path: str | Path) -> ECG:
    """Read a WFDB record.

    Parameters
    ----------
    path : str or Path
        The record, with or without ``.hea`` or ``.dat``. Channels that are none of the twelve leads
        are left out.

    Returns
    -------
    ECG
        At the file's own rate and lead order, in mV.

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
    record = Path(path)
    record = record.with_suffix("") if record.suffix in {".hea", ".dat", ".mat"} else record
    if not (record.parent / f"{record.name}.hea").is_file():
        raise FileNotFoundError(f"no WFDB record at {record} (expected {record.name}.hea)")
    import wfdb  # imported here: it costs 0.5 s

    try:
        read = wfdb.rdrecord(str(record.resolve()))
    except Exception as error:  # wfdb raises bare ValueError, IndexError, KeyError, ... on damaged files
        raise InputError(
            f"record {record.name}: cannot be read as WFDB ({type(error).__name__}: {error})"
        ) from error
    ecg = _from_wfdb(read.p_signal, read.fs, read.sig_name, read.units, record.name)
    return check_reference(replace(ecg, comments=tuple(read.comments)), name=record.name)


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


def write_ecg(path: str | Path, ecg: ECG, *, comments: Sequence[str] = ()) -> Path:
    """Write a WFDB record (16 bit, 1 microvolt), marked as synthetic.

    Parameters
    ----------
    path : str or Path
        The record without suffix; its folder is made.
    ecg : ECG
    comments : sequence of str
        Lines added to the header after the mark.

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
    shown = f"condition: {ecg.condition}".replace(" · ", "; ") if ecg.condition != Condition() else SYNTHETIC
    lines = [SYNTHETIC, *(line for line in (*ecg.comments, *comments, shown) if line != SYNTHETIC)]
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
        comments=[line.replace("\n", " ").encode("ascii", "replace").decode() for line in lines],
        write_dir=str(record.parent),
    )
    return record


def check_reference(ecg: ECG, *, name: str = "the reference") -> ECG:
    """Return the ECG if a twin can be made of it.

    Raises
    ------
    InputError
        If values are missing or infinite, the scale is not millivolts, all leads are flat, the
        leads are out of order, it is shorter than 2.5 s, or its rhythm or its waves are too slow or too
        fast for a heart, as under a wrong sampling rate.

    Warns
    -----
    QualityWarning
        If a single lead is flat (it is taken as missing).
    """
    signal, leads = ecg.signal, ecg.leads or LEADS
    bad = np.argwhere(~np.isfinite(signal))
    if len(bad):
        lead, sample = bad[0]
        raise InputError(
            f"{name}: {len(bad)} values are NaN or infinite, the first in lead {leads[lead]} at sample "
            f"{sample}; fill the gaps or leave the lead out"
        )
    if ecg.seconds < MIN_SECONDS:
        raise InputError(
            f"{name} lasts {ecg.seconds:.2f} s; at least {MIN_SECONDS} s are needed (is the rate right?)"
        )
    flat = np.ptp(signal, axis=1) < _FLAT_MILLIVOLTS
    if flat.all():
        raise InputError(f"{name}: no QRS: flat line")
    # The median offset is a property of the amplifier, so the scale is judged without it.
    level = np.percentile(np.abs(signal - np.median(signal, axis=1, keepdims=True)), 99)
    if level > 20 or level < 0.005:
        unit = "microvolts" if level > 20 else "volts"
        factor = "/ 1000" if level > 20 else "* 1000"
        raise InputError(f"{name}: amplitudes near {level:.3g} mV; are they {unit}? Pass signal {factor}")
    if flat.any():
        dead = [lead for lead, is_flat in zip(leads, flat, strict=True) if is_flat]
        warnings.warn(
            f"{name}: lead {', '.join(dead)} is flat and taken as missing", QualityWarning, stacklevel=3
        )
    if set(LEADS[:6]) <= {lead for lead, is_flat in zip(leads, flat, strict=True) if not is_flat}:
        _check_limb_leads(ecg.select(LEADS[:6]).signal, name)
    rate = ecg.heart_rate
    if isfinite(rate) and not 20 <= rate <= 300:
        raise InputError(
            f"{name}: heart rate {rate:.0f} bpm lies outside 20-300; is the sampling rate right?"
        )
    if _sharpness(ecg.native()[0]) < _MIN_SHARPNESS:
        raise InputError(
            f"{name}: no wave is as quick as a QRS; is the true sampling rate higher than the "
            f"{ecg.sampling_rate:g} Hz given?"
        )
    return ecg


def _check_limb_leads(limb: Array, name: str) -> None:
    limb = limb - limb.mean(axis=1, keepdims=True)  # each amplifier has an offset of its own
    # A pacemaker's spikes saturate single amplifiers; wrong leads are wrong all the time.
    broken = np.abs(limb[2] - limb[1] + limb[0])
    limb = limb[:, broken <= np.quantile(broken, 0.95)]
    residual = lead_residual(limb)
    if residual <= 0.05:
        return
    order = limb_lead_order(limb)
    if order is not None:
        raise InputError(
            f"{name}: the limb leads break Einthoven's law (residual {residual:.2f}) but obey it in "
            f"the order {', '.join(order)}: name them so in leads="
        )
    if residual > 0.3:
        raise InputError(
            f"{name}: the limb leads break Einthoven's law (residual {residual:.2f}; real ECGs have 0.003): "
            "are the leads in the order that leads= says?"
        )
    warnings.warn(
        f"{name}: the limb leads obey Einthoven's law only roughly (residual {residual:.2f}), as after "
        "filtering each lead on its own; the twin will obey it",
        QualityWarning,
        stacklevel=4,
    )


def _sharpness(native: Array) -> float:
    """How much of the height of a signal at 100 Hz is above 10 Hz, in the sharpest of its leads."""
    from scipy.signal import butter, sosfiltfilt

    heights = []
    for low in (10.0, 0.5):
        band = butter(2, [low, 35.0], "bandpass", fs=NATIVE_RATE, output="sos")
        heights.append(
            np.quantile(np.abs(sosfiltfilt(band, native.astype(np.float64), axis=1)), 0.995, axis=1)
        )
    return float(np.max(heights[0] / np.maximum(heights[1], 1e-9)))
