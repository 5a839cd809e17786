"""Whether a generator gives training patients away: copies, nearest neighbours, membership."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..beats import r_peaks
from ..exceptions import InputError
from ..leads import independent_leads
from .bootstrap import check_groups, check_rows

Array = NDArray[Any]

BEAT_SECONDS = (0.25, 0.40)
"""Before and after R: from the P wave to the end of T at ordinary rates."""

KIND_SECONDS = (0.15, 0.25)
"""Before and after R: what beats of one kind have in common, whenever the next one comes."""

REACH_SECONDS = 0.08
"""How far a beat may be moved to lie on another: a detector may take either slope of a QRS."""

NEXT_BEAT_SECONDS = 0.12
"""A beat's samples end this long before the next R."""

SAME_KIND = 0.8
"""Beats that correlate less with the typical beat are of another kind."""

CHUNK = 512


def beat_vectors(signals: ArrayLike, sampling_rate: float = 100.0) -> Array:
    """Describe each recording by its typical beat, so that a copy stays near however it is shifted.

    Beats around `ecgtwin.beats.r_peaks` are laid on the one that resembles most others; those of its
    kind are averaged by their median, sample by sample. The result is centred on the middle of its
    QRS (to a fraction of a sample) and each lead's mean is taken off. Neither the time of the
    recording, nor its rhythm, nor single ectopic beats, nor its offset change it much.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Millivolts, standard lead order.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    array of shape (n, 8 * n_beat_times)
        Millivolts: the 8 independent leads from 250 ms before to 400 ms after the QRS, one after
        another. NaN where nothing beats.

    Raises
    ------
    InputError
        If the shape is another, a value is not finite, or the recordings last less than a second.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> signals = make_ecgs(3, 1, random_state=0).signals
    >>> vectors = beat_vectors(np.concatenate([signals, np.roll(signals, 123, axis=-1)]))
    >>> vectors.shape
    (6, 520)
    >>> bool((nearest_distance(vectors[3:], vectors[:3]) < 0.1).all())
    True
    """
    signals = check_rows(signals, "signals", 3)
    if signals.shape[1] != 12 or signals.shape[2] < sampling_rate:
        raise InputError(f"signals must have 12 leads and last a second; got shape {signals.shape}")
    before, after = (round(seconds * sampling_rate) for seconds in BEAT_SECONDS)
    vectors = np.full((len(signals), 8 * (before + after)), np.nan)
    for vector, signal in zip(vectors, signals, strict=True):
        peaks = r_peaks(signal, sampling_rate)
        if len(peaks):
            leads = independent_leads(signal).astype(np.float64)
            vector[:] = _typical_beat(leads, peaks, before, after, sampling_rate).ravel()
    return vectors


def nearest_records(
    queries: ArrayLike,
    records: ArrayLike,
    *,
    query_persons: ArrayLike | None = None,
    record_persons: ArrayLike | None = None,
) -> tuple[Array, NDArray[np.intp]]:
    """Find each query's nearest record of another person.

    Parameters
    ----------
    queries, records : arrays of shape (n, d) and (m, d)
        Beat vectors or embeddings. Each is scaled to length 1, so amplitude does not count.
    query_persons, record_persons : arrays of shape (n,) and (m,), optional
        Given together: a query is not compared with records of its own person.

    Returns
    -------
    distances : array of shape (n,)
        Euclidean, from 0 to 2; about the square root of the share of unlike energy. NaN for queries that
        are NaN, and for those with nobody to compare.
    rows : int array of shape (n,)
        The record's row; -1 where the distance is NaN.

    Raises
    ------
    InputError
        If shapes do not fit, no record is left, or only one of the persons is given.
    """
    queries, records = np.asarray(queries, dtype=np.float64), np.asarray(records, dtype=np.float64)
    if queries.ndim != 2 or records.ndim != 2 or queries.shape[1] != records.shape[1]:
        raise InputError(f"vectors of one length are needed; got shapes {queries.shape} and {records.shape}")
    if (query_persons is None) != (record_persons is None):
        raise InputError("query_persons and record_persons go together")
    known = np.flatnonzero(np.isfinite(records).all(axis=1))
    if not len(known):
        raise InputError("there is no record to be near to")
    unit, kept = _unit(queries), _unit(records[known])
    if query_persons is not None and record_persons is not None:
        persons = check_groups(query_persons, len(queries), "query_persons")
        owners = check_groups(record_persons, len(records), "record_persons")[known]
    # single precision finds the neighbour at half the cost; its distance is then computed exactly
    search, found = kept.astype(np.float32), np.zeros(len(queries), dtype=np.intp)
    alone = ~np.isfinite(queries).all(axis=1)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        similarity = np.nan_to_num(unit[rows]).astype(np.float32) @ search.T
        if query_persons is not None:
            similarity[persons[rows, None] == owners] = -np.inf
        found[rows] = similarity.argmax(axis=1)
        alone[rows] |= similarity.max(axis=1) == -np.inf
    distances = np.linalg.norm(unit - kept[found], axis=1)
    return np.where(alone, np.nan, distances), np.where(alone, -1, known[found])


def nearest_distance(
    queries: ArrayLike,
    records: ArrayLike,
    *,
    query_persons: ArrayLike | None = None,
    record_persons: ArrayLike | None = None,
) -> Array:
    """Return the distances of `nearest_records` alone: ``(n,)``."""
    return nearest_records(queries, records, query_persons=query_persons, record_persons=record_persons)[0]


def copy_threshold(real_distances: ArrayLike, quantile: float = 0.001) -> float:
    """Return the distance below which real ECGs hardly ever come to a stranger's.

    Parameters
    ----------
    real_distances : array of shape (n,)
        Of real recordings of patients never trained on, to their nearest training record.
    quantile : float
        The share of real recordings that may lie below; with fewer than 1 / quantile it is none.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If there is no distance.
    """
    real = _known(real_distances, "real_distances")
    return float(np.quantile(real, quantile, method="lower"))


def copies(twin_distances: ArrayLike, real_distances: ArrayLike, quantile: float = 0.001) -> float:
    """Return the share of twins that are nearer to a training stranger than real ECGs ever are.

    Parameters
    ----------
    twin_distances : array of shape (n,)
        Of twins to the nearest training record of another person; NaN (nothing beats) is no copy.
    real_distances : array of shape (m,)
        Of real recordings of patients never trained on, to their nearest of the same training records.
    quantile : float
        As in `copy_threshold`.

    Returns
    -------
    float
        0 is perfect; real ECGs themselves have at most ``quantile``.

    Raises
    ------
    InputError
        If there is no distance.

    References
    ----------
    Meehan, Chaudhuri, Dasgupta, A non-parametric test to detect data-copying in generative models,
    AISTATS 2020: distances to the training set beside those of a held-out set.

    Examples
    --------
    >>> real = np.linspace(0.3, 0.9, 500)
    >>> copies([0.01, 0.5, 0.6, 0.2], real)
    0.5
    """
    twins = np.asarray(twin_distances, dtype=np.float64)
    if twins.ndim != 1 or not len(twins):
        raise InputError(f"twin_distances must have one dimension and a row; got shape {twins.shape}")
    return float(np.mean(twins < copy_threshold(real_distances, quantile)))


def nn_ratio(to_training: ArrayLike, to_held_out: ArrayLike) -> float:
    """Return the median ratio of a twin's distance to training records over that to held-out ones.

    Parameters
    ----------
    to_training, to_held_out : arrays of shape (n,)
        Each twin's nearest distance to training strangers, and to equally many held-out strangers:
        the nearest of more is nearer. Rows with NaN are left out.

    Returns
    -------
    float
        1 is perfect, 0 a copy.

    Raises
    ------
    InputError
        If no row has both distances.

    Examples
    --------
    >>> nn_ratio([0.0, 0.4, 0.5], [0.5, 0.4, 0.5])
    1.0
    """
    near, far = np.asarray(to_training, dtype=np.float64), np.asarray(to_held_out, dtype=np.float64)
    if near.shape != far.shape or near.ndim != 1:
        raise InputError(f"distances of the same twins are needed; got shapes {near.shape} and {far.shape}")
    both = np.isfinite(near) & np.isfinite(far)
    if not both.any():
        raise InputError("no twin has both distances")
    near, far = near[both], far[both]
    # near to both alike is no sign of either; near to the held-out alone is the opposite of a copy
    return float(
        np.median(np.where(far > 0, near / np.where(far > 0, far, 1), np.where(near > 0, np.inf, 1)))
    )


def membership(members_score: ArrayLike, nonmembers_score: ArrayLike) -> dict[str, float]:
    """Return how well an attacker's score tells training patients from others.

    Parameters
    ----------
    members_score, nonmembers_score : arrays of shape (n,) and (m,)
        Higher: more likely a member. One score a patient, or the rows of one patient count as several.

    Returns
    -------
    dict
        ``auc`` (0.5 is perfect) and ``tpr_at_fpr_1e2``, the share of members found where at most one
        stranger in 100 is accused (0.01 is perfect; 0 where the scores are all alike).

    Raises
    ------
    InputError
        If a set is empty or a score is not finite.

    References
    ----------
    Carlini et al., Membership inference attacks from first principles, IEEE S&P 2022, section III, for
    the true positive rate at a low false positive rate.

    Examples
    --------
    >>> membership([0.9, 0.8, 0.7], [0.1, 0.2, 0.3])
    {'auc': 1.0, 'tpr_at_fpr_1e2': 1.0}
    """
    from scipy.stats import rankdata

    members = check_rows(members_score, "members_score", 1)
    others = check_rows(nonmembers_score, "nonmembers_score", 1)
    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    auc = (ranks.mean() - (len(members) + 1) / 2) / len(others)
    accused = len(others) // 100
    threshold = np.sort(others)[::-1][accused]
    return {"auc": float(auc), "tpr_at_fpr_1e2": float(np.mean(members > threshold))}


def _typical_beat(leads: Array, peaks: Array, before: int, after: int, rate: float) -> Array:
    """The median beat ``(8, before + after)`` of the most frequent kind."""
    reach = round(REACH_SECONDS * rate)
    margin = 2 * reach + 1  # one reach to lay beats on each other, one to centre the result
    left, right = before + margin, after + margin
    end = np.append(peaks[1:] - round(NEXT_BEAT_SECONDS * rate), leads.shape[1])
    whole = (peaks >= left) & (peaks + right <= leads.shape[1])
    inside, end = peaks[whole], end[whole]
    if not len(inside):
        leads = np.pad(leads, ((0, 0), (left, right)), mode="edge")
        inside = peaks[len(peaks) // 2, None] + left
        end = inside + right
    beats = leads[:, inside[:, None] + np.arange(-left, right)].transpose(1, 0, 2)
    beats = beats - beats[..., margin:-margin].mean(axis=-1, keepdims=True)
    early, late = (round(seconds * rate) for seconds in KIND_SECONDS)
    core = _unit(beats[..., left - early : left + late].reshape(len(beats), -1))
    typical = core[np.median(core @ core.T, axis=1).argmax()].reshape(8, -1)
    windows = np.lib.stride_tricks.sliding_window_view(beats, early + late, axis=-1)
    windows = windows[:, :, left - early - reach : left - early + reach + 1]
    size = np.sqrt(np.square(windows).sum(axis=(1, 3)))
    likeness = np.einsum("blst,lt->bs", windows, typical) / np.maximum(size, 1e-12)
    shift = likeness.argmax(axis=1)
    same = np.flatnonzero(likeness.max(axis=1) >= min(SAME_KIND, likeness.max()))
    columns = np.arange(before + after + 2 * reach + 2) + shift[same, None]
    laid = np.take_along_axis(beats[same], columns[:, None], axis=2)
    # an early beat after half of the beats would make the median jump from one to the other
    ended = columns - left >= (end - inside)[same, None]
    ended &= ended.mean(axis=0) <= 0.67  # where nearly all have ended, the next beat is part of the picture
    beat = np.nanmedian(np.where(ended[:, None], np.nan, laid), axis=0)
    start = _qrs_middle(beat, reach + before, reach, rate) - before
    first, part = int(start), start - int(start)
    beat = (1 - part) * beat[:, first:][:, : before + after] + part * beat[:, first + 1 :][
        :, : before + after
    ]
    return beat - beat.mean(axis=1, keepdims=True)


def _qrs_middle(beat: Array, near: int, reach: int, rate: float) -> float:
    """The centre of the slopes' energy, in samples: it moves as little as the signal does."""
    slope = np.square(np.gradient(beat, axis=1)).sum(axis=0) ** 2  # squared, for noise has small slopes
    times, middle = np.arange(beat.shape[1]), float(near)
    for _ in range(8):
        weight = slope * np.exp(-0.5 * ((times - middle) / (0.06 * rate)) ** 2)
        total = weight.sum()
        middle = float(weight @ times / total) if total > 0 else middle
    return min(max(middle, near - reach), near + reach)


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def _known(distances: ArrayLike, name: str) -> Array:
    values = np.asarray(distances, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if not len(values):
        raise InputError(f"{name} holds no distance")
    return values
