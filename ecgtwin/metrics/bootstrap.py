"""A figure and how sure it is: resampling over patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exceptions import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A measured value, its interval and the number of rows behind it.

    Examples
    --------
    >>> print(Figure(3.7312, 3.4419, 4.0873, 512))
    3.73 [3.44, 4.09] (n 512)
    """

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        """Return the fields as JSON wants them."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}] (n {self.n})"


def bootstrap(
    measure: Callable[[NDArray[np.intp]], float],
    groups: ArrayLike,
    *,
    n_draws: int = 200,
    random_state: int = 0,
    level: float = 0.95,
    replace: bool = True,
    share: float = 0.5,
) -> Figure:
    """Measure all rows, with an interval from resampling the patients.

    By default patients are drawn with replacement and the interval is made of the draws' percentiles.
    That is wrong for measures to which a repeated row is a fact: nearest neighbours, manifolds,
    pairs of recordings, Frechet distances. For them ``replace=False`` measures random subsets of the
    patients, each patient taken once. The spread of a subset that keeps the share s is
    ``sqrt((1 - s) / s)`` times that of the whole sample, which is 1 for halves, and the deviations are
    divided by it. Since such measures also depend on the number of rows, deviations are taken from the
    subsets' own mean and laid around the value of all rows.

    Parameters
    ----------
    measure : callable
        From row numbers ``(m,)`` to a number; NaN where the rows do not define it.
    groups : array of shape (n,)
        The patient of each row.
    n_draws : int
        Resamples.
    random_state : int
        The same gives the same interval.
    level : float
        Of the interval.
    replace : bool
        False for random subsets.
    share : float
        Of the patients in a subset, between 0 and 1: more than half where the measure needs many rows.

    Returns
    -------
    Figure
        ``n`` counts rows. Draws that are NaN are left out; the interval is NaN where all are.

    Raises
    ------
    InputError
        If there are no rows, or a subset would hold no patient or all.

    References
    ----------
    Politis, Romano, Large sample confidence regions based on subsamples under minimal assumptions,
    Ann. Statist. 22 (1994). Shao, Wu, A general theory for jackknife variance estimation, Ann. Statist.
    17 (1989), for the factor. Field, Welsh, Bootstrapping clustered data, J. R.
    Statist. Soc. B 69 (2007), for drawing whole patients.

    Examples
    --------
    >>> values, patients = np.array([1.0, 2.0, 3.0, 6.0]), ["a", "a", "b", "c"]
    >>> print(bootstrap(lambda rows: values[rows].mean(), patients))
    3 [1.5, 6] (n 4)
    """
    patient, n_patients = _numbered(groups)
    rng = np.random.default_rng(random_state)
    rows = np.arange(len(patient))
    value = float(measure(rows))
    if replace:
        counts = _patient_counts(rng, n_patients, n_draws)
        draws = np.array([measure(np.repeat(rows, count[patient])) for count in counts], dtype=np.float64)
    else:
        kept = round(share * n_patients)
        if not 0 < kept < n_patients:
            raise InputError(f"share {share} of {n_patients} patients leaves none, or takes all")
        subsets = [np.isin(patient, rng.permutation(n_patients)[:kept]) for _ in range(n_draws)]
        draws = np.array([measure(rows[chosen]) for chosen in subsets], dtype=np.float64)
        draws = value + (draws - _nan_mean(draws)) * np.sqrt(kept / (n_patients - kept))
    return Figure(value, *_interval(draws, level), len(patient))


def bootstrap_mean(
    values: ArrayLike,
    groups: ArrayLike,
    *,
    n_draws: int = 200,
    random_state: int = 0,
    level: float = 0.95,
) -> Figure:
    """Return the mean over rows, NaN left out, as `bootstrap` would give it, much faster.

    Parameters
    ----------
    values : array of shape (n,)
        NaN where a row has none; booleans give a share.
    groups : array of shape (n,)
        The patient of each row.
    n_draws, random_state, level
        As in `bootstrap`.

    Returns
    -------
    Figure
        ``n`` counts the rows that are not NaN.

    Raises
    ------
    InputError
        If there are no rows, or not as many values as groups.

    Examples
    --------
    >>> print(bootstrap_mean([True, False, True, True], ["a", "a", "b", "c"]))
    0.75 [0.5, 1] (n 4)
    """
    patient, n_patients = _numbered(groups)
    sums, sizes = _patient_sums(values, patient, n_patients)
    counts = _patient_counts(np.random.default_rng(random_state), n_patients, n_draws)
    draws = _divide(counts @ sums, counts @ sizes)
    value = float(_divide(sums.sum(), sizes.sum()))
    return Figure(value, *_interval(draws, level), int(sizes.sum()))


def bootstrap_ratio(
    values: ArrayLike,
    groups: ArrayLike,
    base_values: ArrayLike,
    base_groups: ArrayLike,
    *,
    n_draws: int = 200,
    random_state: int = 0,
    level: float = 0.95,
) -> Figure:
    """Return the mean of one set of rows over the mean of another, patients drawn for both at once.

    Parameters
    ----------
    values, base_values : arrays of shape (n,) and (m,)
        Numerator and denominator; NaN rows are left out.
    groups, base_groups : arrays of shape (n,) and (m,)
        The patient of each row. A patient of both is drawn into both, so what they share cancels.
    n_draws, random_state, level
        As in `bootstrap`.

    Returns
    -------
    Figure
        ``n`` counts the numerator's rows that are not NaN; NaN where the denominator is 0.

    Raises
    ------
    InputError
        If there are no rows, or not as many values as groups.

    Examples
    --------
    >>> print(bootstrap_ratio([1, 2, 3], ["a", "b", "c"], [2, 4, 6], ["a", "b", "c"]))
    0.5 [0.5, 0.5] (n 3)
    """
    groups, base_groups = np.asarray(groups), np.asarray(base_groups)
    patient, n_patients = _numbered([*groups.tolist(), *base_groups.tolist()])
    sums, sizes = _patient_sums(values, patient[: len(groups)], n_patients)
    base_sums, base_sizes = _patient_sums(base_values, patient[len(groups) :], n_patients)
    counts = _patient_counts(np.random.default_rng(random_state), n_patients, n_draws)
    draws = _divide(_divide(counts @ sums, counts @ sizes), _divide(counts @ base_sums, counts @ base_sizes))
    mean, base = _divide(sums.sum(), sizes.sum()), _divide(base_sums.sum(), base_sizes.sum())
    return Figure(float(_divide(mean, base)), *_interval(draws, level), int(sizes.sum()))


def check_rows(values: ArrayLike, name: str, ndim: int = 2) -> Array:
    """Return rows as an array of ``ndim`` dimensions.

    Raises
    ------
    InputError
        If there are none, they have another number of dimensions, or a value is not finite.
    """
    rows = np.asarray(values)
    if rows.ndim != ndim or not rows.size:
        raise InputError(f"{name} must have {ndim} dimensions, none of them empty; got shape {rows.shape}")
    if rows.dtype.kind not in "fiub" or not np.isfinite(rows).all():
        raise InputError(f"{name} must be finite numbers")
    return rows


def check_groups(groups: ArrayLike, n: int, name: str = "groups") -> Array:
    """Return the patient of each of ``n`` rows as an array.

    Raises
    ------
    InputError
        If there are not as many.
    """
    patients = np.asarray(groups)
    if patients.shape != (n,):
        raise InputError(f"{name} must name one patient for each of {n} rows; got shape {patients.shape}")
    return patients


def _numbered(groups: ArrayLike) -> tuple[NDArray[np.intp], int]:
    patients = np.asarray(groups)
    if patients.ndim != 1 or not len(patients):
        raise InputError(f"groups must name one patient for each row; got shape {patients.shape}")
    unique, patient = np.unique(patients, return_inverse=True)
    return patient, len(unique)


def _patient_counts(rng: np.random.Generator, n_patients: int, n_draws: int) -> NDArray[np.int64]:
    """How often each draw has each patient: ``(n_draws, n_patients)``."""
    return rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_draws)


def _patient_sums(values: ArrayLike, patient: Array, n_patients: int) -> tuple[Array, Array]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.shape != patient.shape:
        raise InputError(f"{len(patient)} groups for values of shape {rows.shape}")
    known = ~np.isnan(rows)
    sums = np.bincount(patient[known], rows[known], minlength=n_patients)
    return sums, np.bincount(patient[known], minlength=n_patients)


def _divide(a: Any, b: Any) -> Any:
    """``a / b``, NaN where ``b`` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(b) == 0, np.nan, np.asarray(a) / b)


def _nan_mean(draws: Array) -> float:
    known = draws[~np.isnan(draws)]
    return float(known.mean()) if len(known) else float("nan")


def _interval(draws: Array, level: float) -> tuple[float, float]:
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
