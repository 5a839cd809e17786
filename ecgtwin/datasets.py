"""Recordings to learn from: local copies of public data sets, and a reference of our own."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .beats import heart_rate
from .conditions import HEART_RATE_RANGE, Condition
from .ecg import ECG, check_rate, reason_to_refuse
from .exceptions import InputError, QualityWarning
from .formats import read_ecg, read_windows
from .leads import LEADS, lead_name, of_length
from .memory import check_fits

Array = NDArray[Any]

_AT_ONCE = 500
"""Records that one process reads."""


def example_path() -> Path:
    """Return the path of the WFDB record that `load_example` reads."""
    return Path(__file__).parent / "assets" / "example" / "reference"


def load_example() -> ECG:
    """Load the reference that the package ships: a synthetic ECG at 500 Hz, of nobody.

    Examples
    --------
    >>> load_example().signal.shape
    (12, 5000)
    """
    return replace(read_ecg(example_path()), condition=Condition(statements=("NORM", "SR"), age=54, sex="F"))


def load_ptbxl(path: str | Path, *, folds: Sequence[int] | None = None, n_jobs: int = -1) -> Bunch:
    """Load PTB-XL's 100 Hz records from a local copy in the published layout.

    Parameters
    ----------
    path : str or Path
        The folder that holds ``ptbxl_database.csv`` and ``records100``.
    folds : sequence of int, optional
        Which of the folds 1-10 to read; all that are there by default. Fold 10 is the test fold.
    n_jobs : int
        Processes that read, as in joblib; -1 means all cores.

    Returns
    -------
    sklearn.utils.Bunch
        ``signals`` float32 ``(n, 12, 1000)`` in mV, standard lead order, 100 Hz; ``conditions``, a list
        of `Condition`, whose heart rate is measured by `ecgtwin.beats.heart_rate`; ``groups`` ``(n,)``,
        the patient ids as strings; ``folds`` ``(n,)``; ``record_ids`` ``(n,)``, PTB-XL's ecg_id.

    Raises
    ------
    FileNotFoundError
        If the folder is no PTB-XL.
    InputError
        If no record is in the folds asked for, or a record is damaged or missing.

    References
    ----------
    Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, Scientific Data
    7:154 (2020).
    """
    root = Path(path)
    table = root / "ptbxl_database.csv"
    if not table.is_file():
        raise FileNotFoundError(f"no PTB-XL at {root}: ptbxl_database.csv is missing")
    wanted = range(1, 11) if folds is None else sorted(set(folds))
    with table.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr")
        if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise InputError(f"{table} lacks the columns {', '.join(missing)}")
        rows = [row for row in reader if int(row["strat_fold"]) in wanted]
    if not rows:
        raise InputError(f"no record of folds {', '.join(map(str, wanted))} in {table}")
    read = _in_chunks(partial(_read_records, root), [row["filename_lr"] for row in rows], n_jobs)
    return Bunch(
        signals=np.stack([signal for signal, _ in read]),
        conditions=[
            Condition.parse(row, heart_rate=_possible(rate))
            for row, (_, rate) in zip(rows, read, strict=True)
        ],
        groups=np.array([str(int(float(row["patient_id"]))) for row in rows]),
        folds=np.array([int(row["strat_fold"]) for row in rows]),
        record_ids=np.array([int(row["ecg_id"]) for row in rows]),
    )


def load_wfdb_folder(
    path: str | Path,
    *,
    sampling_rate: float = 100.0,
    seconds: float = 10.0,
    person_of: Callable[[str], Any] | None = None,
    n_jobs: int = -1,
) -> Bunch:
    """Load every WFDB record in and below a folder: of any rate and lead order, as PhysioNet has them.

    Parameters
    ----------
    path : str or Path
    sampling_rate : float
        To bring recordings to, in Hz.
    seconds : float
        To cut recordings to.
    person_of : callable, optional
        ``record id -> person``, such as ``lambda record: record.split("/")[0]`` where each person's records
        are in a folder. By default each record is another person's.
    n_jobs : int
        Processes that read, as in joblib; -1 means all cores.

    Returns
    -------
    sklearn.utils.Bunch
        ``signals`` float32 ``(n, 12, seconds * sampling_rate)`` in mV, standard lead order; ``conditions``, a
        list of `Condition` as `read_ecg` finds them in headers, with the heart rate measured; ``groups``
        ``(n,)``, the persons; ``record_ids`` ``(n,)``, paths in the folder without suffix; ``refused``, a
        dict of the records left out and why: they lack a lead, are shorter, or hold no usable ECG.

    Raises
    ------
    FileNotFoundError
        If there is no WFDB record.
    InputError
        If none of them can be used, or all of them do not fit into memory.

    Warns
    -----
    QualityWarning
        If records were left out.

    Examples
    --------
    >>> found = load_wfdb_folder(example_path().parent)
    >>> found.signals.shape, found.record_ids.tolist()
    ((1, 12, 1000), ['reference'])
    """
    root, length = Path(path), round(seconds * check_rate(sampling_rate))
    if length < 1:
        raise InputError(f"seconds must be more than 0, got {seconds!r}")
    names = sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.hea"))
    if not names:
        raise FileNotFoundError(f"no WFDB record in or below {root}")
    what = f"{len(names)} records of {seconds:g} s at {sampling_rate:g} Hz"
    check_fits(len(names) * len(LEADS) * length * 4.0, what, "lower the rate, or load folder by folder")
    read = _in_chunks(partial(_read_or_refuse, root, sampling_rate, seconds), names, n_jobs)
    refused = {name: found for name, found in zip(names, read, strict=True) if isinstance(found, str)}
    usable = {name: found for name, found in zip(names, read, strict=True) if isinstance(found, ECG)}
    if refused:
        name, reason = next(iter(refused.items()))
        message = f"{len(refused)} of {len(names)} records were left out; the first, {name}: {reason}"
        if not usable:
            raise InputError(message)
        warnings.warn(message, QualityWarning, stacklevel=2)
    return Bunch(
        signals=np.stack([of_length(ecg.signal, length) for ecg in usable.values()]),
        conditions=[ecg.condition for ecg in usable.values()],
        groups=np.array([str(person_of(name) if person_of else name) for name in usable]),
        record_ids=np.array(list(usable)),
        refused=refused,
    )


def _read_or_refuse(
    root: Path, sampling_rate: float, seconds: float, names: Sequence[str]
) -> list[ECG | str]:
    """Read the first seconds of records, or say why one is left out."""
    found: list[ECG | str] = []
    for name in names:
        try:
            found.append(_read_start(root / f"{name}.hea", sampling_rate, seconds))
        except InputError as error:
            found.append(str(error))
    return found


def _read_start(path: Path, sampling_rate: float, seconds: float) -> ECG:
    """Read the first seconds of a record, with twelve leads and the heart rate measured."""
    ecg = next(read_windows(path, seconds=seconds), None)
    if ecg is None:
        raise InputError(f"shorter than {seconds:g} s")
    if reason := reason_to_refuse(ecg):
        raise InputError(reason)
    ecg = ecg.select(LEADS).resample(sampling_rate)
    return replace(ecg, condition=ecg.condition.replace(heart_rate=_possible(ecg.heart_rate)))


def _possible(rate: float) -> float | None:
    """A measured heart rate, if a condition can have it."""
    low, high = HEART_RATE_RANGE
    return float(rate) if low <= rate <= high else None


def _in_chunks(read: Callable[[Sequence[Any]], list[Any]], names: Sequence[Any], n_jobs: int) -> list[Any]:
    """Read records side by side; few of them in this process, since others take seconds to start."""
    from sklearn.utils.parallel import Parallel, delayed

    chunks = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
    found = Parallel(n_jobs=n_jobs if len(chunks) > 1 else 1)(delayed(read)(chunk) for chunk in chunks)
    return [one for chunk in found for one in chunk]


def _read_records(root: Path, names: Sequence[str]) -> list[tuple[NDArray[np.float32], float]]:
    """Read records of PTB-XL as they are published: signals ``(12, 1000)`` in mV, and heart rates."""
    import wfdb

    found = []
    for name in names:
        try:
            record = wfdb.rdrecord(str(root / name))
        except Exception as error:  # wfdb raises bare ValueError, IndexError, KeyError, ... on damaged files
            raise InputError(f"record {name}: cannot be read ({type(error).__name__}: {error})") from error
        if record.p_signal is None or record.p_signal.shape != (1000, 12):
            raise InputError(f"record {name}: expected 12 leads of 1000 samples")
        try:
            rows = {lead_name(lead): row for row, lead in enumerate(record.sig_name)}
        except InputError as error:
            raise InputError(f"record {name}: {error}") from None
        if missing := [lead for lead in LEADS if lead not in rows]:
            raise InputError(f"record {name} has no lead {', '.join(missing)}")
        signal = record.p_signal.T[[rows[lead] for lead in LEADS]].astype(np.float32)
        found.append((signal, heart_rate(signal)))
    return found
