"""Whether ECGs show what was asked for: statements, heart rate, age and sex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..beats import heart_rate
from ..conditions import STATEMENTS
from ..exceptions import InputError
from .bootstrap import check_rows

Array = NDArray[Any]


def label_auroc(
    scores: ArrayLike,
    labels: ArrayLike,
    statements: Sequence[str] = tuple(STATEMENTS),
    *,
    min_count: int = 10,
) -> dict[str, float]:
    """Return the AUROC of a classifier for each statement that is frequent enough to grade.

    Parameters
    ----------
    scores : array of shape (n, n_statements)
        The classifier's, higher for more likely.
    labels : bool array of shape (n, n_statements)
        What was asked for, or what the record is labelled.
    statements : sequence of str
        The names of the columns; by default all of `ecgtwin.conditions.STATEMENTS`.
    min_count : int
        Rows that must have the statement, and rows that must not.

    Returns
    -------
    dict
        From statement to AUROC, ties counted half, in the order of the columns.

    Raises
    ------
    InputError
        If shapes do not fit or a score is not finite.

    References
    ----------
    Hanley, McNeil, The meaning and use of the area under a ROC curve, Radiology 143 (1982): the area
    is the share of pairs in the right order.

    Examples
    --------
    >>> label_auroc([[0.9], [0.2], [0.6], [0.1]], [[1], [1], [0], [0]], ["PVC"], min_count=1)
    {'PVC': 0.75}
    """
    score, label = check_rows(scores, "scores"), np.asarray(labels).astype(bool)
    if not score.shape == label.shape == (len(score), len(statements)):
        raise InputError(f"{len(statements)} statements, scores {score.shape} and labels {label.shape}")
    positive = label.sum(axis=0)
    graded = np.flatnonzero(np.minimum(positive, len(label) - positive) >= max(1, min_count))
    areas = column_aurocs(score[:, graded], label[:, graded])
    return {statements[int(column)]: float(area) for column, area in zip(graded, areas, strict=True)}


def column_aurocs(scores: Array, labels: NDArray[np.bool_]) -> Array:
    """Return the AUROC of each column of ``(n, n_statements)``; NaN where it has but one class."""
    from scipy.stats import rankdata

    positive = labels.sum(axis=0)
    pairs = positive * (len(labels) - positive)
    ranks = np.where(labels, rankdata(scores, axis=0), 0).sum(axis=0)
    return np.where(pairs > 0, (ranks - positive * (positive + 1) / 2) / np.maximum(pairs, 1), np.nan)


def macro_auroc(
    scores: ArrayLike,
    labels: ArrayLike,
    statements: Sequence[str] = tuple(STATEMENTS),
    *,
    min_count: int = 10,
) -> float:
    """Return the mean of `label_auroc` over statements.

    In a bootstrap choose the columns on all rows first and pass ``min_count=1``, so that every draw
    grades the same statements.

    Parameters
    ----------
    scores, labels, statements, min_count
        As in `label_auroc`.

    Returns
    -------
    float
        NaN where no statement is frequent enough.

    Raises
    ------
    InputError
        If shapes do not fit or a score is not finite.
    """
    areas = list(label_auroc(scores, labels, statements, min_count=min_count).values())
    return float(np.mean(areas)) if areas else float("nan")


def heart_rate_error(
    signals: ArrayLike, asked: ArrayLike | Sequence[float | None], sampling_rate: float = 100.0
) -> tuple[Array, int]:
    """Return the difference of the asked and the detected heart rate, and how often none is detected.

    Parameters
    ----------
    signals : array of shape (n, n_leads, n_times)
        Millivolts.
    asked : array of shape (n,)
        Beats per minute; None or NaN where no rate was asked for.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    errors : array of shape (n,)
        Absolute, in beats per minute; NaN where none was asked for or none is detected.
    n_failures : int
        Recordings that were asked for a rate and show none. They count as no error of any size.

    Raises
    ------
    InputError
        If shapes do not fit or a sample is not finite.

    References
    ----------
    The detector is `ecgtwin.beats.heart_rate`.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecgs = make_ecgs(2, 1, random_state=0)
    >>> asked = [ecgs.conditions[0].heart_rate + 3, None]
    >>> errors, n_failures = heart_rate_error(ecgs.signals, asked)
    >>> errors.round(6).tolist(), n_failures
    ([3.0, nan], 0)
    """
    signals = check_rows(signals, "signals", 3)
    wanted = _numbers(asked, len(signals), "asked")
    detected = np.array(
        [
            np.nan if np.isnan(rate) else heart_rate(signal, sampling_rate)
            for signal, rate in zip(signals, wanted, strict=True)
        ]
    )
    return np.abs(detected - wanted), int(np.sum(np.isnan(detected) & ~np.isnan(wanted)))


def age_error(predicted: ArrayLike, truth: ArrayLike | Sequence[float | None]) -> Array:
    """Return the absolute error of predicted ages.

    Parameters
    ----------
    predicted : array of shape (n,)
        Years.
    truth : array of shape (n,)
        Years; None or NaN where unknown.

    Returns
    -------
    array of shape (n,)
        Years; NaN where the truth is unknown.

    Raises
    ------
    InputError
        If shapes do not fit or a prediction is not finite.

    Examples
    --------
    >>> age_error([60, 70], [55, None]).tolist()
    [5.0, nan]
    """
    predicted = check_rows(predicted, "predicted", 1)
    return np.abs(predicted - _numbers(truth, len(predicted), "truth"))


def sex_auroc(scores: ArrayLike, truth: Sequence[str | None]) -> float:
    """Return the AUROC of a score of being female.

    Parameters
    ----------
    scores : array of shape (n,)
        Higher for more likely female.
    truth : sequence of {"F", "M"} or None
        None where unknown: left out.

    Returns
    -------
    float
        NaN where one sex is missing.

    Raises
    ------
    InputError
        If shapes do not fit, a score is not finite or a sex is another word.

    Examples
    --------
    >>> sex_auroc([0.9, 0.4, 0.1], ["F", None, "M"])
    1.0
    """
    score = check_rows(scores, "scores", 1)
    sexes = np.array(["" if sex is None else str(sex) for sex in truth])
    if len(sexes) != len(score) or not set(sexes.tolist()) <= {"", "F", "M"}:
        raise InputError(f"truth must be 'F', 'M' or None for each of {len(score)} rows")
    known = sexes != ""
    if not known.any():
        return float("nan")
    return macro_auroc(score[known, None], sexes[known, None] == "F", ["F"], min_count=1)


def _numbers(values: ArrayLike | Sequence[float | None], n: int, name: str) -> Array:
    try:
        numbers = np.asarray(values, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers or None") from None
    if numbers.shape != (n,):
        raise InputError(f"{name} must have one value for each of {n} rows; got shape {numbers.shape}")
    return numbers
