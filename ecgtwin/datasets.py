"""Recordings to learn from: local copies of public data sets, and a reference of our own."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .beats import heart_rate
from .conditions import Condition
from .ecg import ECG, read_ecg
from .exceptions import InputError
from .leads import LEADS, lead_name

Array = NDArray[Any]


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
    from sklearn.utils.parallel import Parallel, delayed

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
    chunks = [rows[i : i + 500] for i in range(0, len(rows), 500)]
    read = Parallel(n_jobs=n_jobs if len(chunks) > 1 else 1)(  # processes take seconds to start
        delayed(_read_records)(root, [r["filename_lr"] for r in chunk]) for chunk in chunks
    )
    signals = np.concatenate([signals for signals, _ in read])
    rates = np.concatenate([rates for _, rates in read])
    return Bunch(
        signals=signals,
        conditions=[
            Condition.parse(row, heart_rate=float(rate) if 20 <= rate <= 300 else None)
            for row, rate in zip(rows, rates, strict=True)
        ],
        groups=np.array([str(int(float(row["patient_id"]))) for row in rows]),
        folds=np.array([int(row["strat_fold"]) for row in rows]),
        record_ids=np.array([int(row["ecg_id"]) for row in rows]),
    )


def _read_records(root: Path, names: Sequence[str]) -> tuple[Array, Array]:
    import wfdb

    signals = np.empty((len(names), 12, 1000), dtype=np.float32)
    for signal, name in zip(signals, names, strict=True):
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
        signal[:] = record.p_signal.T[[rows[lead] for lead in LEADS]]
    return signals, np.array([heart_rate(signal) for signal in signals])
