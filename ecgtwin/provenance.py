"""What goes with every twin into a file, so that none can pass for a recording of a patient."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .card import NOT_FOR_DIAGNOSIS
from .conditions import Condition
from .ecg import ECG
from .exceptions import InputError
from .files import write_whole
from .formats import SYNTHETIC, marked
from .leads import LEADS


def provenance(
    condition: Condition, seed: tuple[int, int], settings: Mapping[str, Any], weights_sha256: str
) -> tuple[str, ...]:
    """Return the comments of a twin: that it is synthetic, and all that is needed to draw it again."""
    from . import __version__

    how = ", ".join(f"{key}: {value}" for key, value in settings.items())
    return (
        SYNTHETIC,
        f"seed: {seed[0]}, row: {seed[1]}, {how}",
        f"ecgtwin: {__version__}, weights sha256: {weights_sha256}",
        NOT_FOR_DIAGNOSIS,
        f"condition: {condition}".replace(" · ", "; "),
    )


def write_npz(path: str | Path, ecgs: Sequence[ECG]) -> Path:
    """Write twins of one shape as one ``.npz`` file that says that they are synthetic, as `write_ecg` does.

    Parameters
    ----------
    path : str or Path
        The file; ``.npz`` is added where it lacks it.
    ecgs : sequence of ECG
        Of one rate, length and lead order, as `ECGTwinGenerator.sample_ecgs` returns them.

    Returns
    -------
    Path
        The file. It holds ``signals`` (n, n_leads, n_times) in mV, ``sampling_rate``, ``leads``,
        ``statements``, ``age``, ``sex``, ``heart_rate`` (n,), and ``provenance`` (n,), comments as JSON.
        ``python -m ecgtwin evaluate --generated`` reads it.

    Raises
    ------
    InputError
        If there are none, or they differ in rate, shape or leads.

    Examples
    --------
    >>> import tempfile
    >>> from ecgtwin import load_example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = np.load(write_npz(f"{folder}/twins", [load_example()]))
    >>> file["signals"].shape, str(file["provenance"][0])[:20]
    ((1, 12, 5000), '["synthetic ECG made')
    """
    if not all(isinstance(ecg, ECG) for ecg in ecgs):
        raise InputError("an .npz file of twins is written from ECG objects, as sample_ecgs returns them")
    if len({(ecg.signal.shape, ecg.sampling_rate, tuple(ecg.leads or LEADS)) for ecg in ecgs}) != 1:
        raise InputError("an .npz file holds ECGs of one rate, length and lead order, and at least one")
    conditions = [ecg.condition for ecg in ecgs]

    def numbers(field: str) -> Any:
        values = [getattr(condition, field) for condition in conditions]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    content = io.BytesIO()
    np.savez_compressed(
        content,
        signals=np.stack([ecg.signal for ecg in ecgs]),
        sampling_rate=np.float64(ecgs[0].sampling_rate),
        leads=np.array(ecgs[0].leads or LEADS),
        statements=np.array([", ".join(condition.statements) for condition in conditions]),
        age=numbers("age"),
        sex=np.array([condition.sex or "" for condition in conditions]),
        heart_rate=numbers("heart_rate"),
        provenance=np.array([json.dumps(marked(ecg.comments)) for ecg in ecgs]),
    )
    file = Path(path)
    file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content.getvalue())
    return file
