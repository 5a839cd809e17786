import numpy as np
import pytest

from ecgtwin import InputError
from ecgtwin.conditions import STATEMENTS, statement_matrix
from ecgtwin.metrics.kernels import LinearClassifier, RandomKernels
from ecgtwin.metrics.utility import augment_gain, personal_gain, train_test_auroc
from ecgtwin.simulate import make_ecgs


def blobs(n, seed, distance=2.0):
    """Two classes in ten dimensions, the first a quarter."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 1)) < 0.25
    return rng.normal(size=(n, 10)) + distance * labels * np.eye(10)[0], labels


def test_kernels_are_the_same_for_the_same_seed(ecgs):
    features = RandomKernels(60).transform(ecgs.signals[:4])
    np.testing.assert_array_equal(features, RandomKernels(60).transform(ecgs.signals[:4]))
    np.testing.assert_allclose(features[:1], RandomKernels(60).transform(ecgs.signals[:1]), atol=1e-4)
    assert (features != RandomKernels(60, seed=1).transform(ecgs.signals[:4])).any()
    assert ((features[:, :10] >= 0) & (features[:, :10] <= 1)).all()


def test_kernels_refuse_what_is_no_ecg():
    with pytest.raises(InputError):
        RandomKernels(60).transform(np.full((1, 12, 1000), np.nan))


def test_kernels_and_ridge_tell_rhythms_apart():
    parts = [make_ecgs(12, 1, statements=(code,), random_state=0) for code in ("SBRAD", "STACH")]
    features = RandomKernels(120).transform(np.concatenate([part.signals for part in parts]))
    labels = statement_matrix([one for part in parts for one in part.conditions])
    train = np.arange(24) % 2 == 0
    figure = train_test_auroc(
        features[train], labels[train], features[~train], labels[~train], np.arange(24)[~train]
    )
    assert figure.value > 0.95
    assert labels[:, STATEMENTS.index("STACH")].sum() == 12


def test_adapting_is_fitting_with_the_further_rows():
    x, y = blobs(200, 0)
    more, labels = blobs(20, 1)
    base = LinearClassifier.fit(x, y, strength=0.1)
    x0, more0 = ((rows - base.mean) / base.scale for rows in (x, more))
    design = np.concatenate([np.ones((220, 1)), np.concatenate([x0, more0])], axis=1)
    weights = np.repeat([1.0, 3.0], [200, 20])[:, None]
    ridge = np.diag([0.0] + [0.1 * 200] * 10)
    expected = np.linalg.solve(
        (design * weights).T @ design + ridge, (design * weights).T @ np.vstack([y, labels])
    )
    np.testing.assert_allclose(base.adapted(more, labels, 3.0).coefficients, expected, atol=1e-8)


def test_training_on_noise_is_worth_nothing_and_on_the_truth_much():
    x, y = blobs(400, 0)
    test, labels = blobs(400, 1)
    noise = np.random.default_rng(2).normal(size=x.shape)
    good, bad = (train_test_auroc(train, y, test, labels, np.arange(400)) for train in (x, noise))
    assert good.low > 0.85
    assert bad.value < 0.7
    assert good.n == 400


def test_nothing_to_grade_is_refused():
    x, y = blobs(20, 0)
    with pytest.raises(InputError, match="no statement"):
        train_test_auroc(x, np.zeros_like(y), x, y, np.arange(20))


def test_good_twins_help_and_mislabelled_ones_harm():
    train, labels = blobs(800, 0, distance=1.0)
    test, truth = blobs(600, 1, distance=1.0)
    more, which = blobs(800, 2, distance=1.0)
    good, bad = more[which[:, 0]], more[~which[:, 0]]
    settings = {"n_positive": 4, "n_negative": 200, "n_seeds": 3, "n_draws": 50}
    asked = []

    def gain(twins):
        def twins_of(column, few, others):
            asked.append((column, labels[few, 0].all(), labels[others, 0].any(), len(few), len(others)))
            return twins

        return augment_gain(train, labels, [0], twins_of, test, truth, np.arange(600), **settings)

    helped, harmed = gain(good), gain(bad)
    assert helped["auroc"].low > 0
    assert harmed["auroc"].value < helped["auroc"].value
    assert set(helped) == {"auroc", "f1"}
    assert asked == [(0, True, False, 4, 200)] * 6


def test_a_statement_with_too_few_examples_is_refused():
    x, y = blobs(60, 0)
    with pytest.raises(InputError, match="of 50 training examples"):
        augment_gain(x, y, [0], lambda *_: x, x, y, np.arange(60), n_positive=50)


def test_a_classifier_gains_from_the_patients_own_ecgs():
    rng = np.random.default_rng(0)
    x, y = blobs(400, 0, distance=1.0)
    shift = rng.normal(0, 3, (12, 1, 10))  # what is each patient's own
    own, test, truth = [], [], []
    for patient in range(12):
        a, label_a = blobs(30, 10 + patient, distance=1.0)
        b, label_b = blobs(30, 50 + patient, distance=1.0)
        own.append((a + shift[patient], label_a))
        test.append(b + shift[patient])
        truth.append(label_b)
    population = [blobs(30, 90 + patient, distance=1.0) for patient in range(12)]
    args = (np.concatenate(test), np.concatenate(truth), np.repeat(np.arange(12), 30))
    classifier = LinearClassifier.fit(x, y)
    assert personal_gain(classifier, own, population, *args, n_draws=50).low > 0
    assert personal_gain(classifier, population, population, *args, n_draws=50).value == 0
