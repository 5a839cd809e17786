"""How near a set of ECGs is to a set of real ones: Frechet distances, manifolds, spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exceptions import InputError
from .bootstrap import check_groups, check_rows

Array = NDArray[Any]

ROWS_PER_DIMENSION = 10
"""A covariance of fewer rows a dimension is mostly noise, and so is a Frechet distance made of it."""

BAND_HZ = (0.5, 40.0)

SPECTRUM_FLOOR = 1e-10
"""mV^2/Hz: rounding to microvolts alone leaves 2e-9, so what lies below is silence."""


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return the squared Frechet distance of the Gaussians fitted to two sets of features.

    Parameters
    ----------
    a, b : arrays of shape (n, d) and (m, d)

    Returns
    -------
    float
        ``|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2))``, at least 0. The last trace is the sum of the
        singular values of ``A^(1/2) B^(1/2)``, which exists for singular covariances too.

    Raises
    ------
    InputError
        If a set has fewer than two rows, the dimensions differ, or a value is not finite.

    References
    ----------
    Dowson, Landau, The Frechet distance between multivariate normal distributions, J. Multivar. Anal.
    12 (1982), eq. 4. Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017.

    Examples
    --------
    >>> features = np.random.default_rng(0).normal(size=(100, 4))
    >>> round(frechet_distance(features, features + 1), 6)
    4.0
    """
    a, b = _feature_pair(a, b, "a", "b")
    if min(len(a), len(b)) < 2:
        raise InputError(f"a Frechet distance needs 2 rows in each set; got {len(a)} and {len(b)}")
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    shared = np.linalg.svd(root_a.T @ root_b, compute_uv=False).sum()
    spread = np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return float(max(0.0, np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + spread))


def patient_splits(
    groups: ArrayLike,
    n_generated: int,
    *,
    generated_groups: ArrayLike | None = None,
    size: int | None = None,
    n_splits: int = 20,
    random_state: int = 0,
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Draw sets of equal size that compare generated with real ECGs and real ECGs with each other.

    Each split halves the real patients at random and takes one row of each patient, for a set with
    several rows of one patient varies less than their number says.

    Parameters
    ----------
    groups : array of shape (n,)
        The patients of the real rows.
    n_generated : int
        Generated rows.
    generated_groups : array of shape (n_generated,), optional
        The patients whose twins the generated rows are: only twins of the second half's patients are
        taken, and of patients who are not among the real ones, or a copied reference would meet itself;
        patients without twins fill the first half first. Leave them out where nobody real has twins.
    size : int, optional
        At most so many rows in each set; by default, and at most, as many as every split allows.
    n_splits, random_state : int

    Returns
    -------
    list of (first, second, generated)
        Row numbers: real ones to compare with, other real ones, and generated ones.

    Raises
    ------
    InputError
        If groups do not fit, or a set would be empty.

    Examples
    --------
    >>> patients = np.repeat(np.arange(10), 2)
    >>> [(first, second, generated)] = patient_splits(patients, 20, generated_groups=patients, n_splits=1)
    >>> len(first), len(second), len(generated)
    (5, 5, 5)
    >>> set(patients[first]).isdisjoint(patients[generated])
    True
    """
    groups = check_groups(groups, np.size(groups))
    own = None if generated_groups is None else check_groups(generated_groups, n_generated)
    rng = np.random.default_rng(random_state)
    splits = []
    for _ in range(n_splits):
        patients = rng.permutation(np.unique(groups))
        if own is not None:  # those of whom nothing was generated first, so that as many twins are left
            patients = patients[np.argsort(np.isin(patients, own), kind="stable")]
        in_first = np.isin(groups, patients[: len(patients) // 2])
        first, second = (_one_a_patient(np.flatnonzero(half), groups, rng) for half in (in_first, ~in_first))
        if own is None:
            generated = rng.permutation(n_generated)
        else:
            generated = _one_a_patient(np.flatnonzero(~np.isin(own, groups[first])), own, rng)
        splits.append((first, second, generated))
    most = min(len(rows) for split in splits for rows in split)
    size = most if size is None else min(size, most)
    if size < 1:
        raise InputError("a split by patient leaves a set empty")
    return [(first[:size], second[:size], generated[:size]) for first, second, generated in splits]


def frechet_ratio(
    generated: ArrayLike,
    real: ArrayLike,
    groups: ArrayLike,
    *,
    generated_groups: ArrayLike | None = None,
    size: int | None = None,
    n_splits: int = 20,
    random_state: int = 0,
) -> float:
    """Return how much farther generated ECGs are from real ones than other real ones are.

    Over the splits of `patient_splits`, the mean Frechet distance of generated rows to a half of the real
    ones is divided by that of the other half to it. All sets are of one size, so the bias of small
    samples is the same above and below.

    1 is perfect. The distance below the line shrinks with ``size``, so an imperfect generator's ratio
    grows with it: compare ratios of one size alone. For an interval use `bootstrap` with
    ``replace=False`` and a ``size`` that the share of the patients still allows.

    Parameters
    ----------
    generated : array of shape (m, d)
    real : array of shape (n, d)
    groups : array of shape (n,)
        The patients of the real rows.
    generated_groups : array of shape (m,), optional
        The patients whose twins the generated rows are, as in `patient_splits`.
    size : int, optional
        Rows, and so patients, in each set compared; by default as many as every split allows.
    n_splits : int
        Random splits; the ratio is of the means.
    random_state : int

    Returns
    -------
    float
        NaN where the real features do not vary.

    Raises
    ------
    InputError
        If a set has fewer rows than 10 times the dimensions, or than ``size``.

    References
    ----------
    Chong, Forsyth, Effectively unbiased FID and Inception Score and where to find them, CVPR 2020, for
    the bias of small samples.

    Examples
    --------
    >>> features, patients = np.random.default_rng(0).normal(size=(800, 3)), np.arange(800)
    >>> own = patients[:400]  # of whom a perfect generator makes other recordings
    >>> ratio = frechet_ratio(features[:400], features, patients, generated_groups=own)
    >>> 0.6 < ratio < 1.6
    True
    >>> frechet_ratio(features[:400] + 1, features, patients, generated_groups=own) > 20
    True
    """
    generated, real = _feature_pair(generated, real, "generated", "real")
    groups = check_groups(groups, len(real))
    splits = patient_splits(
        groups, len(generated), generated_groups=generated_groups, size=size,
        n_splits=n_splits, random_state=random_state,
    )  # fmt: skip
    allowed, needed = len(splits[0][0]), ROWS_PER_DIMENSION * real.shape[1]
    if allowed < max(needed, size or 2):
        raise InputError(
            f"a Frechet ratio of {real.shape[1]} dimensions needs {needed} patients in each set compared; "
            f"size is {size}, and the halves allow {allowed}"
        )
    above, below = [], []
    for first, second, twins in splits:
        above.append(frechet_distance(generated[twins], real[first]))
        below.append(frechet_distance(real[second], real[first]))
    return float(np.mean(above) / np.mean(below)) if any(below) else float("nan")


def manifold(generated: ArrayLike, real: ArrayLike, k: int = 3, *, random_state: int = 0) -> dict[str, float]:
    """Compare two sets by balls that reach from each row to its k-th neighbour in its own set.

    ``precision`` is the share of generated rows inside a real ball, ``recall`` the share of real rows
    inside a generated ball, ``density`` the mean number of real balls around a generated row over k
    (it may pass 1), ``coverage`` the share of real balls that hold a generated row. The larger set is
    cut to the size of the smaller at random, since all four depend on the sizes.

    Judge them beside two real halves, and keep references out of ``real``, as `patient_splits` does.

    Parameters
    ----------
    generated, real : arrays of shape (m, d) and (n, d)
    k : int
        Neighbours; smaller than the smaller set.
    random_state : int
        Which rows of the larger set are kept.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``density``, ``coverage``.

    Raises
    ------
    InputError
        If a set has no more than k rows, the dimensions differ, or a value is not finite.

    References
    ----------
    Kynkaanniemi et al., Improved precision and recall metric for assessing generative models, NeurIPS
    2019, eqs. 1-2. Naeem et al., Reliable fidelity and diversity metrics, ICML 2020, eqs. 3-4.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real = rng.normal(size=(300, 2))
    >>> far = manifold(rng.normal(size=(300, 2)) + 20, real)
    >>> {key: float(value) for key, value in far.items()}
    {'precision': 0.0, 'recall': 0.0, 'density': 0.0, 'coverage': 0.0}
    """
    generated, real = _feature_pair(generated, real, "generated", "real")
    size = min(len(generated), len(real))
    if not 0 < k < size:
        raise InputError(f"k must be 1 or more and smaller than each set; got k {k} and {size} rows")
    rng = np.random.default_rng(random_state)
    generated, real = (
        rows if len(rows) == size else rows[rng.permutation(len(rows))[:size]] for rows in (generated, real)
    )
    real_reach, generated_reach = _reach(real, k), _reach(generated, k)
    inside_real = np.zeros(size, dtype=np.int64)
    inside_generated, nearest = np.zeros(size, dtype=bool), np.full(size, np.inf)
    for rows in _chunks(size):
        distance = _distances(generated[rows], real)
        inside_real[rows] = (distance <= real_reach).sum(axis=1)
        inside_generated |= (distance <= generated_reach[rows, None]).any(axis=0)
        nearest = np.minimum(nearest, distance.min(axis=0))
    return {
        "precision": float((inside_real > 0).mean()),
        "recall": float(inside_generated.mean()),
        "density": float(inside_real.mean() / k),
        "coverage": float((nearest <= real_reach).mean()),
    }


def spectra(signals: ArrayLike, sampling_rate: float = 100.0) -> Array:
    """Return the Welch spectra of recordings between 0.5 and 40 Hz.

    Parameters
    ----------
    signals : array of shape (n, n_leads, n_times)
        Millivolts.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    array of shape (n, n_leads, n_frequencies)
        mV^2/Hz, every 0.25 Hz: windows of 4 s that overlap by half, each without its mean.

    Raises
    ------
    InputError
        If the shape is another or a value is not finite.

    References
    ----------
    Welch, The use of fast Fourier transform for the estimation of power spectra, IEEE TAU 15 (1967).
    """
    from scipy.signal import welch

    signals = check_rows(signals, "signals", 3)
    length = min(signals.shape[-1], round(4 * sampling_rate))
    parts = []
    for rows in _chunks(len(signals)):
        frequency, power = welch(signals[rows], sampling_rate, nperseg=length, axis=-1)
        parts.append(power[..., (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])])
    return np.concatenate(parts)


def spectral_distance(generated: ArrayLike, real: ArrayLike) -> Array:
    """Return the mean absolute difference of log10 of two sets' mean spectra, per lead.

    Parameters
    ----------
    generated, real : arrays of shape (m, n_leads, n_frequencies) and (n, n_leads, n_frequencies)
        As `spectra` gives them; kept, they make a bootstrap cheap.

    Returns
    -------
    array of shape (n_leads,)
        0.3 is a factor of two in power.

    Raises
    ------
    InputError
        If leads or frequencies differ or a value is not finite.
    """
    means = [
        np.log10(np.maximum(check_rows(power, name, 3).mean(axis=0), SPECTRUM_FLOOR))
        for power, name in ((generated, "generated"), (real, "real"))
    ]
    if means[0].shape != means[1].shape:
        raise InputError(f"leads or frequencies differ: {means[0].shape} and {means[1].shape}")
    return np.abs(means[0] - means[1]).mean(axis=-1)


def psd_log_distance(generated: ArrayLike, real: ArrayLike, sampling_rate: float = 100.0) -> float:
    """Return the mean absolute difference of log10 mean spectra, 0.5-40 Hz, averaged over leads.

    It cannot see phase, nor so time's direction. `spectral_distance` of two `spectra` gives it per lead.

    Parameters
    ----------
    generated, real : arrays of shape (m, n_leads, n_times) and (n, n_leads, n_times)
        Millivolts.
    sampling_rate : float
        Samples per second, of both.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> signals = make_ecgs(4, 1, random_state=0).signals
    >>> round(psd_log_distance(signals, 10 * signals), 3)
    2.0
    """
    return float(spectral_distance(spectra(generated, sampling_rate), spectra(real, sampling_rate)).mean())


def _feature_pair(a: ArrayLike, b: ArrayLike, name_a: str, name_b: str) -> tuple[Array, Array]:
    a, b = (check_rows(rows, name).astype(np.float64) for rows, name in ((a, name_a), (b, name_b)))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"{name_a} has {a.shape[1]} dimensions and {name_b} {b.shape[1]}")
    return a, b


def _covariance_root(rows: Array) -> Array:
    """A matrix whose product with its transpose is the covariance."""
    _, scale, axes = np.linalg.svd((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1), full_matrices=False)
    return axes.T * scale


def _one_a_patient(rows: NDArray[np.intp], groups: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """One of the rows of each patient, in random order."""
    rows = rng.permutation(rows)
    _, first = np.unique(groups[rows], return_index=True)
    return rng.permutation(rows[first])


def _chunks(n: int, size: int = 512) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _distances(a: Array, b: Array) -> Array:
    square = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(square, 0))


def _reach(rows: Array, k: int) -> Array:
    """Each row's distance to its k-th neighbour, itself not counted."""
    reach = np.empty(len(rows))
    for chunk in _chunks(len(rows)):
        distance = _distances(rows[chunk], rows)
        distance[np.arange(len(distance)), np.arange(chunk.start, chunk.stop)] = np.inf
        reach[chunk] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return reach
