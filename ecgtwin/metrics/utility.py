"""What synthetic ECGs are worth to those who train a classifier.

The classifier is ridge regression on random kernels (`ecgtwin.metrics.kernels`), quick and without luck.
Features ``(n, d)`` are those of `RandomKernels.transform`; labels are bool, ``(n, s)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import InputError
from .bootstrap import Figure, bootstrap
from .condition import column_aurocs
from .kernels import LinearClassifier

Array = NDArray[Any]


def train_test_auroc(
    train: Array,
    train_labels: Array,
    test: Array,
    test_labels: Array,
    groups: Any,
    *,
    n_draws: int = 200,
    random_state: int = 0,
) -> Figure:
    """Train on some ECGs, test on others: macro AUROC over the statements that both hold.

    With twins to train on and real ECGs to test on this is TSTR (train on synthetic, test on real).

    Parameters
    ----------
    train, test : arrays (n, d), (m, d)
        Features.
    train_labels, test_labels : bool arrays (n, s), (m, s)
    groups : array (m,)
        The patients of the test rows, who must not be among those trained on.
    n_draws, random_state : int
        Of the interval.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If no statement occurs in both.

    References
    ----------
    Esteban, Hyland, Raetsch, Real-valued (medical) time series generation with recurrent conditional
    GANs, 2017, section 4 (TSTR). Strodthoff et al., Deep learning for ECG analysis: benchmarks and
    insights from PTB-XL, IEEE JBHI 25 (2021), for the macro AUROC over 71 statements.
    """
    graded = train_labels.any(axis=0) & test_labels.any(axis=0) & ~test_labels.all(axis=0)
    if not graded.any():
        raise InputError("no statement occurs in training and test rows both")
    scores = LinearClassifier.fit(train, train_labels[:, graded]).scores(test)
    labels = test_labels[:, graded]
    return bootstrap(
        lambda rows: float(np.nanmean(column_aurocs(scores[rows], labels[rows]))),
        groups,
        n_draws=n_draws,
        random_state=random_state,
    )


def augment_gain(
    train: Array,
    train_labels: Array,
    columns: Sequence[int],
    twins_of: Callable[[int, Array, Array], Array],
    test: Array,
    test_labels: Array,
    groups: Any,
    *,
    n_positive: int = 20,
    n_negative: int = 400,
    n_seeds: int = 5,
    n_draws: int = 200,
    random_state: int = 0,
) -> dict[str, Figure]:
    """How much twins add to a detector of a rare statement that has few real examples.

    For each statement and seed a detector learns from `n_positive` real recordings with the statement
    and `n_negative` without, classes balanced, and another one from these and twins of them too. Both are
    tested on the same real recordings.

    Parameters
    ----------
    train : array (n, d)
        Features of real recordings.
    train_labels : bool array (n, s)
    columns : sequence of int
        The statements.
    twins_of : callable
        From a column, the rows chosen with the statement, and those without, to features ``(k, d)`` of
        twins that show the statement. They are made of nothing but these rows.
    test : array (m, d)
        Features of real recordings of other patients.
    test_labels : bool array (m, s)
    groups : array (m,)
        Their patients.
    n_positive, n_negative, n_seeds : int
    n_draws, random_state : int
        Of the interval; the seeds are those of the draw of real recordings.

    Returns
    -------
    dict
        ``auroc`` and ``f1``: the mean gain over statements and seeds. F1 is taken at the threshold that
        accuses as many test recordings as have the statement.

    Raises
    ------
    InputError
        If there is no statement, or one has fewer than `n_positive` training recordings or none in the
        test.
    """
    if not len(columns):
        raise InputError("there is no statement to detect")
    before, after, truth = [], [], []
    for column in columns:
        positive, negative = (np.flatnonzero(train_labels[:, column] == has) for has in (True, False))
        if len(positive) < n_positive or not test_labels[:, column].any():
            raise InputError(
                f"column {column}: {len(positive)} of {n_positive} training examples, "
                f"{int(test_labels[:, column].sum())} to test"
            )
        for seed in range(n_seeds):
            rng = np.random.default_rng([random_state, column, seed])
            few, others = rng.permutation(positive)[:n_positive], rng.permutation(negative)[:n_negative]
            rows = np.concatenate([few, others])
            before.append(_detector(train[rows], np.arange(len(rows)) < len(few), test))
            generated = twins_of(column, few, others)
            more = np.concatenate([generated, train[rows]])
            after.append(_detector(more, np.arange(len(more)) < len(few) + len(generated), test))
            truth.append(test_labels[:, column])
    old, new, labels = np.stack(before, axis=1), np.stack(after, axis=1), np.stack(truth, axis=1)

    def gain(measure: Any) -> Figure:
        return bootstrap(
            lambda rows: float(
                np.nanmean(measure(new[rows], labels[rows]) - measure(old[rows], labels[rows]))
            ),
            groups,
            n_draws=n_draws,
            random_state=random_state,
        )

    return {"auroc": gain(column_aurocs), "f1": gain(_f1)}


def personal_gain(
    classifier: LinearClassifier,
    own: Sequence[tuple[Array, Array]],
    population: Sequence[tuple[Array, Array]],
    test: Array,
    test_labels: Array,
    patient: NDArray[np.intp],
    *,
    weight: float = 3.0,
    n_draws: int = 200,
    random_state: int = 0,
) -> Figure:
    """How much better a classifier fits a patient after fine-tuning on the patient's twins.

    The classifier is adapted to each patient twice: on the patient's twins, and on as many ECGs of other
    people with the same statements. Both are tested on the patient's real recordings that nothing was
    made from. The figure is the difference of macro AUROC, all patients' test recordings taken together.

    Parameters
    ----------
    classifier : LinearClassifier
        Trained on real recordings of other patients.
    own, population : sequences of (features (k, d), labels (k, s)), one for each patient
    test : array (m, d)
        Features of real recordings of these patients.
    test_labels : bool array (m, s)
    patient : int array (m,)
        Whose the test rows are: positions in `own`.
    weight : float
        How many rows of the first training a twin counts as.
    n_draws, random_state : int
        Of the interval, over patients.

    Returns
    -------
    Figure
        Above 0: the patient's own twins help more.

    References
    ----------
    Lai et al., ECGTwin, arXiv 2508.02720, Table 3, for the application.
    """
    scores = np.zeros((2, *test_labels.shape))
    for person in np.unique(patient):
        rows = patient == person
        for kind, source in enumerate((population, own)):
            features, labels = source[person]
            scores[kind, rows] = classifier.adapted(features, labels, weight).scores(test[rows])
    graded = test_labels.any(axis=0) & ~test_labels.all(axis=0)

    def gain(rows: NDArray[np.intp]) -> float:
        labels = test_labels[rows][:, graded]
        other, personal = (column_aurocs(scores[kind][rows][:, graded], labels) for kind in (0, 1))
        return float(np.nanmean(personal - other))

    return bootstrap(gain, patient, n_draws=n_draws, random_state=random_state)


def _detector(features: Array, labels: Array, test: Array) -> Array:
    """Scores ``(m,)`` of a detector trained with its two classes in balance."""
    weights = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    return LinearClassifier.fit(features, labels[:, None], weights).scores(test)[:, 0]


def _f1(scores: Array, labels: Array) -> Array:
    """F1 of each column, as many accused as are positive; precision and recall are then equal."""
    hits = [
        label[np.argsort(-score, kind="stable")[: label.sum()]].mean() if label.any() else np.nan
        for score, label in zip(scores.T, labels.T, strict=True)
    ]
    return np.array(hits)
