"""Whether an ECG is known as its person's: retrieval and verification on embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exceptions import InputError
from .bootstrap import Figure, bootstrap_mean, bootstrap_ratio, check_groups, check_rows

Array = NDArray[Any]

CHUNK = 1024


def retrieval_hits(
    probes: ArrayLike,
    probe_persons: ArrayLike,
    gallery: ArrayLike,
    gallery_persons: ArrayLike,
    *,
    probe_rows: ArrayLike | None = None,
) -> Array:
    """Say for each probe whether its person's best gallery record beats everybody else's.

    Parameters
    ----------
    probes : array of shape (n, d)
        Embeddings, compared by cosine.
    probe_persons : array of shape (n,)
    gallery : array of shape (m, d)
        Any number of records a person; the best one counts.
    gallery_persons : array of shape (m,)
    probe_rows : int array of shape (n,), optional
        Where each probe itself lies in the gallery, to be left out.

    Returns
    -------
    float array of shape (n,)
        1 or 0; NaN where the probe's person has no record in the gallery. A tie with a stranger is 0.

    Raises
    ------
    InputError
        If shapes do not fit or a value is not finite.
    """
    probe, persons, record, owners, own_rows = _probes_and_gallery(
        probes, probe_persons, gallery, gallery_persons, probe_rows
    )
    hits = np.empty(len(probe))
    for start in range(0, len(probe), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(probe)))
        similarity = _cosine(probe[rows], record.T)
        own = persons[rows, None] == owners
        if own_rows is not None:
            own[np.arange(len(rows)), own_rows[rows]] = False
            similarity[np.arange(len(rows)), own_rows[rows]] = -np.inf
        best = np.where(own, similarity, -np.inf).max(axis=1)
        rival = np.where(own, -np.inf, similarity).max(axis=1)
        hits[rows] = np.where(own.any(axis=1), best > rival, np.nan)
    return hits


def retrieval_top1(
    probes: ArrayLike, probe_persons: ArrayLike, gallery: ArrayLike, gallery_persons: ArrayLike
) -> float:
    """Return the share of probes whose nearest gallery record is their own person's.

    Parameters
    ----------
    probes, probe_persons, gallery, gallery_persons
        As in `retrieval_hits`.

    Returns
    -------
    float
        Over the probes whose person is in the gallery; NaN where there is none.

    Raises
    ------
    InputError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> retrieval_top1([[0.9, 0.1], [0.5, 0.8]], ["a", "b"], gallery, ["a", "b", "a"])
    0.5
    """
    hits = retrieval_hits(probes, probe_persons, gallery, gallery_persons)
    known = hits[~np.isnan(hits)]
    return float(known.mean()) if len(known) else float("nan")


def retention(
    twins: ArrayLike,
    twin_persons: ArrayLike,
    seconds: ArrayLike,
    second_persons: ArrayLike,
    gallery: ArrayLike,
    gallery_persons: ArrayLike,
    *,
    n_draws: int = 200,
    random_state: int = 0,
) -> Figure:
    """Return how much of the person a twin keeps, beside what a real recording keeps.

    The top-1 of twins over the top-1 of real second recordings, both against one gallery.

    Parameters
    ----------
    twins : array of shape (n, d)
        Embeddings of twins.
    twin_persons : array of shape (n,)
        Whose twins they are.
    seconds : array of shape (m, d)
        Embeddings of real recordings that stand in the twins' place; the references themselves will do.
    second_persons : array of shape (m,)
    gallery : array of shape (k, d)
        Embeddings of other real recordings. Neither a twin's reference nor a second recording may be
        among them, or it finds itself.
    gallery_persons : array of shape (k,)
    n_draws, random_state : int
        Of the interval, over persons.

    Returns
    -------
    Figure
        1: a twin is as easily known as a real recording.

    Raises
    ------
    InputError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> persons, gallery = np.arange(50), rng.normal(size=(50, 16))
    >>> seconds, twins = (gallery + rng.normal(0, s, (50, 16)) for s in (0.1, 2))
    >>> 0 < retention(twins, persons, seconds, persons, gallery, persons).value < 0.6
    True
    """
    return bootstrap_ratio(
        retrieval_hits(twins, twin_persons, gallery, gallery_persons),
        twin_persons,
        retrieval_hits(seconds, second_persons, gallery, gallery_persons),
        second_persons,
        n_draws=n_draws,
        random_state=random_state,
    )


def first_and_second(persons: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the first and of the second recording of each person who has two.

    Parameters
    ----------
    persons : array of shape (n,)
        In the order in which a person's recordings were made.

    Returns
    -------
    first, second : int arrays of shape (n_persons,)

    Raises
    ------
    InputError
        If nobody has two.

    Examples
    --------
    >>> first, second = first_and_second(["a", "b", "a", "c", "c", "c"])
    >>> first.tolist(), second.tolist()
    ([0, 3], [2, 4])
    """
    _, person, count = np.unique(np.asarray(persons), return_inverse=True, return_counts=True)
    rows = np.array([np.flatnonzero(person == p)[:2] for p in np.flatnonzero(count > 1)], dtype=np.intp)
    if not len(rows):
        raise InputError("nobody has two recordings")
    return rows[:, 0], rows[:, 1]


def protocol_a(
    embeddings: ArrayLike, persons: ArrayLike, *, n_draws: int = 200, random_state: int = 0
) -> Figure:
    """Return the top-1 of each person's second recording among all first ones.

    Parameters
    ----------
    embeddings : array of shape (n, d)
        Compared by cosine. Persons with one recording take no part.
    persons : array of shape (n,)
        In the order in which a person's recordings were made.
    n_draws, random_state : int
        Of the interval, over persons; the gallery stays whole.

    Returns
    -------
    Figure
        ``n`` counts persons.

    Raises
    ------
    InputError
        If nobody has two recordings, shapes do not fit or a value is not finite.

    Examples
    --------
    >>> vectors = np.repeat(np.eye(3), 2, axis=0)
    >>> print(protocol_a(vectors, ["a", "a", "b", "b", "c", "c"]))
    1 [1, 1] (n 3)
    """
    vectors, owners = _people(embeddings, persons)
    first, second = first_and_second(owners)
    hits = retrieval_hits(vectors[second], owners[second], vectors[first], owners[first])
    return bootstrap_mean(hits, owners[second], n_draws=n_draws, random_state=random_state)


def protocol_b(
    embeddings: ArrayLike, persons: ArrayLike, *, n_draws: int = 200, random_state: int = 0
) -> Figure:
    """Return the top-1 of each person's second recording among all other recordings of everybody.

    Parameters
    ----------
    embeddings : array of shape (n, d)
        Compared by cosine. The recordings of persons with one are distractors.
    persons : array of shape (n,)
        In the order in which a person's recordings were made.
    n_draws, random_state : int
        Of the interval, over persons; the gallery stays whole.

    Returns
    -------
    Figure
        ``n`` counts persons.

    Raises
    ------
    InputError
        If nobody has two recordings, shapes do not fit or a value is not finite.
    """
    vectors, owners = _people(embeddings, persons)
    _, second = first_and_second(owners)
    hits = retrieval_hits(vectors[second], owners[second], vectors, owners, probe_rows=second)
    return bootstrap_mean(hits, owners[second], n_draws=n_draws, random_state=random_state)


def verification(embeddings: ArrayLike, persons: ArrayLike) -> dict[str, float]:
    """Return how well a cosine threshold tells pairs of one person from pairs of two.

    All pairs count. Exact: the impostors are counted between the genuine scores, so that no score of
    theirs is kept. For an interval use `bootstrap` with ``replace=False``, since a recording drawn twice
    would make a perfect pair.

    Parameters
    ----------
    embeddings : array of shape (n, d)
    persons : array of shape (n,)

    Returns
    -------
    dict
        ``eer``, the error rate where as many impostors pass as genuine pairs fail;
        ``tar_at_far_1e3``, the share of genuine pairs that pass where at most one impostor in 1000 does.

    Raises
    ------
    InputError
        If there is no genuine or no impostor pair, shapes do not fit or a value is not finite.

    References
    ----------
    ISO/IEC 19795-1:2021, Biometric performance testing and reporting, for FAR, TAR and the EER.

    Examples
    --------
    >>> vectors = np.repeat(np.eye(3), 2, axis=0)
    >>> verification(vectors, ["a", "a", "b", "b", "c", "c"])
    {'eer': 0.0, 'tar_at_far_1e3': 1.0}
    """
    vectors, owners = _people(embeddings, persons)
    _, person = np.unique(owners, return_inverse=True)
    return _error_rates(
        lambda: (
            (_cosine(vectors[i + 1 :], vectors[i]), person[i + 1 :] == person[i]) for i in range(len(vectors))
        )
    )


def probe_verification(
    probes: ArrayLike,
    probe_persons: ArrayLike,
    gallery: ArrayLike,
    gallery_persons: ArrayLike,
    *,
    probe_rows: ArrayLike | None = None,
) -> dict[str, float]:
    """Return the error rates of `verification` over pairs of a probe and a gallery record alone.

    With the rows of `first_and_second` as probes and gallery: those of protocols A and B.

    Parameters
    ----------
    probes, probe_persons, gallery, gallery_persons, probe_rows
        As in `retrieval_hits`.

    Returns
    -------
    dict
        ``eer``, ``tar_at_far_1e3``.

    Raises
    ------
    InputError
        If there is no genuine or no impostor pair, shapes do not fit or a value is not finite.
    """
    probe, persons, record, owners, own_rows = _probes_and_gallery(
        probes, probe_persons, gallery, gallery_persons, probe_rows
    )
    everyone = np.arange(len(record))

    def scores() -> Iterator[tuple[Array, Array]]:
        for i in range(len(probe)):
            rows = everyone if own_rows is None else np.delete(everyone, own_rows[i])
            yield _cosine(record[rows], probe[i]), owners[rows] == persons[i]

    return _error_rates(scores)


def _probes_and_gallery(
    probes: ArrayLike,
    probe_persons: ArrayLike,
    gallery: ArrayLike,
    gallery_persons: ArrayLike,
    probe_rows: ArrayLike | None,
) -> tuple[Array, Array, Array, Array, Array | None]:
    probe, record = _unit(probes, "probes"), _unit(gallery, "gallery")
    if probe.shape[1] != record.shape[1]:
        raise InputError(f"probes have {probe.shape[1]} dimensions and the gallery {record.shape[1]}")
    persons = check_groups(probe_persons, len(probe), "probe_persons")
    owners = check_groups(gallery_persons, len(record), "gallery_persons")
    rows = None if probe_rows is None else check_groups(probe_rows, len(probe), "probe_rows")
    return probe, persons, record, owners, rows


def _people(embeddings: ArrayLike, persons: ArrayLike) -> tuple[Array, Array]:
    vectors = _unit(embeddings, "embeddings")
    return vectors, check_groups(persons, len(vectors), "persons")


def _error_rates(batches: Callable[[], Iterable[tuple[Array, Array]]]) -> dict[str, float]:
    """EER and TAR of batches of scores, each with a mask of the genuine ones; they are run through twice."""
    genuine = np.sort(np.concatenate([scores[own] for scores, own in batches()]))
    threshold, failing = np.unique(genuine, return_index=True)
    # impostors by the number of thresholds that they reach, and that they pass
    reached, passed = np.zeros((2, len(threshold) + 1), dtype=np.int64)
    for scores, own in batches():
        reached += np.bincount(np.searchsorted(threshold, scores[~own], "right"), minlength=len(reached))
        passed += np.bincount(np.searchsorted(threshold, scores[~own], "left"), minlength=len(passed))
    n_impostors = int(passed.sum())
    if not len(genuine) or not n_impostors:
        raise InputError(f"{len(genuine)} pairs of one person and {n_impostors} of two: both are needed")
    # two points of the curve a threshold: at it, and right above it
    far = 1 - np.stack([np.cumsum(reached)[:-1], np.cumsum(passed)[:-1]], axis=1).ravel() / n_impostors
    frr = np.stack([failing, np.append(failing[1:], len(genuine))], axis=1).ravel() / len(genuine)
    far, frr = np.append(far, 0.0), np.append(frr, 1.0)
    i = int(np.argmax(frr >= far))
    eer = 0.0 if i == 0 else _crossing(far[i - 1], frr[i - 1], far[i], frr[i])
    return {"eer": float(eer), "tar_at_far_1e3": float(1 - frr[far <= 1e-3].min())}


def _crossing(far_a: float, frr_a: float, far_b: float, frr_b: float) -> float:
    """Where the line between two points of the curve meets FAR = FRR."""
    gap_a, gap_b = far_a - frr_a, frr_b - far_b
    return frr_a + (frr_b - frr_a) * gap_a / (gap_a + gap_b)


def _cosine(a: Array, b: Array) -> Array:
    """The product of unit vectors, rounded: equal vectors tie whatever the order of summation."""
    return np.round(a @ b, 12)


def _unit(vectors: ArrayLike, name: str) -> Array:
    rows = check_rows(vectors, name).astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
