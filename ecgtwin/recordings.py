"""From what users pass to the arrays that the networks read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .conditions import Condition
from .ecg import ECG, MIN_SECONDS, NATIVE_LENGTH, NATIVE_RATE, as_ecg, check_reference
from .exceptions import InputError
from .leads import resample
from .training import TrainingData

Array = NDArray[Any]


def as_references(reference: Any, sampling_rate: float) -> list[ECG]:
    """Return the recordings of one person, each checked, from one or several of whatever holds an ECG."""
    if isinstance(reference, list) or getattr(reference, "ndim", 0) == 3:
        if len(reference) == 0:
            raise InputError("no reference: the list is empty")
        many = [as_ecg(one, sampling_rate=sampling_rate) for one in reference]
        return [check_reference(ecg, name=f"reference {i}") for i, ecg in enumerate(many)]
    return [check_reference(as_ecg(reference, sampling_rate=sampling_rate))]


def windows(signal: Array) -> Iterator[Array]:
    """Cut a native signal ``(12, t)`` into windows of 10 s; a last one shorter than 2.5 s is left out."""
    for start in range(0, signal.shape[1], NATIVE_LENGTH):
        window = signal[:, start : start + NATIVE_LENGTH]
        if start == 0 or window.shape[1] >= MIN_SECONDS * NATIVE_RATE:
            yield window


def native_batch(X: Any, sampling_rate: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return ``(n, 12, t)`` at 100 Hz and which leads are there ``(n, 12)``, from a batch of recordings.

    Parameters
    ----------
    X : array (n, 12, t) or (n, t), or a list of whatever `as_ecg` reads
        Millivolts; ``(n, t)`` is a batch of single-lead recordings (lead I). Recordings of a list are cut or
        zero-padded to the length of the first.
    sampling_rate : float
        Of arrays.
    """
    if isinstance(X, list) and X and not np.isscalar(X[0]) and not isinstance(X[0], list | np.ndarray):
        native = [as_ecg(one, sampling_rate=sampling_rate).native() for one in X]
        length = native[0][0].shape[1]
        signals = np.zeros((len(native), 12, length), dtype=np.float32)
        for row, (signal, _) in zip(signals, native, strict=True):
            row[:, : signal.shape[1]] = signal[:, :length]
        return signals, np.stack([present for _, present in native])
    batch = check_array(X, allow_nd=True, dtype=np.float32, ensure_2d=True)
    if batch.ndim == 2:
        batch = batch[:, None]
    if batch.ndim != 3 or batch.shape[1] not in (1, 12):
        raise InputError(
            f"expected (n_samples, 12, n_times), or (n_samples, n_times) of lead I, got {np.shape(X)}; "
            "for other leads pass a list of ECG objects with their names"
        )
    present = np.zeros((len(batch), 12), dtype=bool)
    present[:, : batch.shape[1]] = True
    signals = np.zeros((len(batch), 12, batch.shape[2]), dtype=np.float32)
    signals[:, : batch.shape[1]] = batch
    return np.ascontiguousarray(resample(signals, sampling_rate, NATIVE_RATE)), present


def as_conditions(conditions: Any, n: int) -> Sequence[Condition]:
    """Return one `Condition` for each of n recordings; None means that nothing is known."""
    if conditions is None:
        return [Condition()] * n
    parsed = [Condition.parse(one) for one in conditions]
    if len(parsed) != n:
        raise InputError(f"{len(parsed)} conditions for {n} recordings")
    return parsed


def training_data(X: Any, groups: Any, conditions: Any, sampling_rate: float) -> TrainingData:
    """Return recordings to learn from, of the 8 or 12 leads that are there, cut to at most 10 s."""
    signals, present = native_batch(X, sampling_rate)
    people = check_groups(groups, len(signals))
    parsed = as_conditions(conditions, len(signals))
    return TrainingData(signals[..., :NATIVE_LENGTH] * present[..., None], people, parsed)


def check_groups(groups: Any, n: int) -> NDArray[Any]:
    """Return the person of each of n recordings, as strings."""
    people = np.asarray(groups)
    if people.shape != (n,):
        raise InputError(f"groups must name the person of each of {n} recordings, got shape {people.shape}")
    if people.dtype.kind == "f" and np.isnan(people).any():
        raise InputError(f"groups: {int(np.isnan(people).sum())} persons are NaN")
    people = people.astype(str)
    if len(np.unique(people)) < 2:
        raise InputError("recordings of at least 2 persons are needed to tell persons apart")
    return people
