"""Agreement with what was asked for."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecgtwin.conditions import STATEMENTS
from ecgtwin.exceptions import InputError
from ecgtwin.metrics.condition import age_error, heart_rate_error, label_auroc, macro_auroc, sex_auroc
from ecgtwin.simulate import make_ecgs


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.random((200, 71)) < np.linspace(0.01, 0.5, 71)
    scores = (labels + rng.normal(size=labels.shape)).round(1)
    graded = [i for i in range(71) if labels[:, i].sum() >= 10]
    expected = {STATEMENTS[i]: roc_auc_score(labels[:, i], scores[:, i]) for i in graded}
    assert 30 < len(graded) < 71
    assert label_auroc(scores, labels) == pytest.approx(expected)
    assert macro_auroc(scores, labels) == pytest.approx(np.mean(list(expected.values())))


def test_a_statement_needs_enough_rows_with_and_without():
    scores, labels = np.arange(12.0)[:, None] * [1, 1, 1], np.zeros((12, 3), dtype=int)
    labels[10:, 0], labels[2:, 1] = 1, 1
    assert label_auroc(scores, labels, ["A", "B", "C"], min_count=2) == {"A": 1.0, "B": 1.0}
    assert label_auroc(scores, labels, ["A", "B", "C"], min_count=3) == {}
    assert np.isnan(macro_auroc(scores, labels, ["A", "B", "C"], min_count=3))
    assert "C" not in label_auroc(scores, labels, ["A", "B", "C"], min_count=0)


def test_heart_rate_errors_and_failures_are_apart():
    ecgs = make_ecgs(6, 1, statements=("NORM",), random_state=0)
    asked = [condition.heart_rate for condition in ecgs.conditions]
    errors, n_failures = heart_rate_error(ecgs.signals, asked)
    assert errors == pytest.approx(0)
    assert n_failures == 0
    signals = ecgs.signals.copy()
    signals[:2] = 0
    errors, n_failures = heart_rate_error(signals, [None, *(rate + 10 for rate in asked[1:])])
    assert n_failures == 1
    np.testing.assert_array_equal(np.isnan(errors), [True, True, False, False, False, False])
    assert errors[2:] == pytest.approx(10)
    at_500 = make_ecgs(3, 1, sampling_rate=500, statements=("NORM",), random_state=0)
    errors, _ = heart_rate_error(at_500.signals, [c.heart_rate for c in at_500.conditions], 500)
    assert errors == pytest.approx(0)


def test_unknown_ages_and_sexes_are_left_out():
    np.testing.assert_array_equal(age_error([50.0, 60.0, 70.0], [53, None, np.nan]), [3, np.nan, np.nan])
    scores, sexes = [0.9, 0.8, 0.3, 0.4, 0.0], ["F", "M", None, "F", "M"]
    assert sex_auroc(scores, sexes) == roc_auc_score([1, 0, 1, 0], [0.9, 0.8, 0.4, 0.0])
    assert np.isnan(sex_auroc([0.1, 0.2], ["F", None]))
    assert np.isnan(sex_auroc([0.1], [None]))


def test_what_cannot_be_judged():
    with pytest.raises(InputError, match="2 statements, scores"):
        label_auroc(np.zeros((5, 3)), np.zeros((5, 3)), ["A", "B"])
    with pytest.raises(InputError, match="finite"):
        label_auroc(np.full((5, 1), np.nan), np.zeros((5, 1)), ["A"])
    with pytest.raises(InputError, match="one value for each of 2 rows"):
        heart_rate_error(np.zeros((2, 12, 1000)), [60])
    with pytest.raises(InputError, match="numbers or None"):
        age_error([50.0], ["old"])
    with pytest.raises(InputError, match="'F', 'M' or None"):
        sex_auroc([0.5], ["female"])
