import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from ecgtwin import ECG, InputError, QualityWarning, TwinAugmentedClassifier, TwinAugmenter

FLAT = FunctionTransformer(np.std, kw_args={"axis": -1})


@pytest.fixture(scope="module")
def y(ecgs):
    return np.array([int("PVC" in c.statements) for c in ecgs.conditions])


@pytest.fixture(scope="module")
def augmenter(tiny):
    return TwinAugmenter(
        FrozenEstimator(tiny), mode="append", label_map={0: "NORM", 1: "PVC"}, n_steps=1, random_state=0
    )


def linear(**options):
    return make_pipeline(FLAT, StandardScaler(), LogisticRegression(**options))


def test_it_trains_on_twins_and_predicts_on_recordings(augmenter, ecgs, y):
    classifier = TwinAugmentedClassifier(linear(), augmenter)
    classifier.fit(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    assert classifier.augmenter_.is_synthetic_.sum() == (y == 0).sum() - (y == 1).sum()
    assert classifier.predict(ecgs.signals).shape == y.shape
    assert np.allclose(classifier.predict_proba(ecgs.signals).sum(axis=1), 1)
    assert classifier.classes_.tolist() == [0, 1]


def test_methods_are_those_of_the_classifier(augmenter):
    assert hasattr(TwinAugmentedClassifier(linear(), augmenter), "decision_function")
    assert not hasattr(TwinAugmentedClassifier(KNeighborsClassifier(), augmenter), "decision_function")


def test_weight_of_twins(augmenter, ecgs, y):
    def coefficients(weight):
        flat = TwinAugmentedClassifier(LogisticRegression(), augmenter, synthetic_weight=weight)
        return flat.fit(ecgs.signals[:, 0], y).estimator_.coef_

    alone = LogisticRegression().fit(ecgs.signals[:, 0], y).coef_
    assert np.allclose(coefficients(0), alone, atol=1e-2)
    assert not np.allclose(coefficients(1), alone, atol=1e-2)


def test_weights_for_a_classifier_that_takes_none_are_refused(augmenter, ecgs, y):
    with pytest.raises(InputError, match="sample_weight"):
        TwinAugmentedClassifier(KNeighborsClassifier(), augmenter, synthetic_weight=0.5).fit(
            ecgs.signals[:, 0], y
        )


def test_a_search_inside_is_given_the_persons_of_twins_too(augmenter, ecgs, y):
    search = GridSearchCV(linear(), {"logisticregression__C": [0.1, 1]}, cv=GroupKFold(3))
    classifier = TwinAugmentedClassifier(search, augmenter)
    classifier.fit(ecgs.signals, y, groups=ecgs.groups)
    assert len(classifier.estimator_.cv_results_["split2_test_score"]) == 2
    with config_context(enable_metadata_routing=True):
        classifier.fit(ecgs.signals, y, groups=ecgs.groups)


def test_a_search_keeps_twins_with_their_recordings_though_no_persons_are_known(augmenter, ecgs, y):
    grid = {"logisticregression__C": [0.1, 1]}
    classifier = TwinAugmentedClassifier(GridSearchCV(linear(), grid, cv=GroupKFold(3)), augmenter)
    assert classifier.fit(ecgs.signals, y).predict(ecgs.signals).shape == y.shape
    with pytest.warns(QualityWarning, match="GroupKFold"):
        TwinAugmentedClassifier(GridSearchCV(linear(), grid, cv=3), augmenter).fit(ecgs.signals, y)


def test_cross_validation_with_routing(augmenter, ecgs, y):
    with config_context(enable_metadata_routing=True):
        classifier = TwinAugmentedClassifier(linear(), augmenter).set_fit_request(
            groups=True, conditions=True
        )
        known = {"groups": ecgs.groups, "conditions": ecgs.conditions}
        scores = cross_val_score(classifier, ecgs.signals, y, cv=GroupKFold(3), params=known)
    assert np.isfinite(scores).all()


def test_weights_with_routing(augmenter, ecgs, y):
    with config_context(enable_metadata_routing=True):
        asking = LogisticRegression().set_fit_request(sample_weight=True)
        TwinAugmentedClassifier(asking, augmenter, synthetic_weight=0.5).fit(ecgs.signals[:, 0], y)
        with pytest.raises(InputError, match="set_fit_request"):
            TwinAugmentedClassifier(LogisticRegression(), augmenter, synthetic_weight=0.5).fit(
                ecgs.signals[:, 0], y
            )


def test_rows_may_be_replaced_instead(tiny, ecgs, y):
    replacing = TwinAugmenter(FrozenEstimator(tiny), p=0.5, n_steps=1, random_state=0)
    classifier = TwinAugmentedClassifier(linear(), replacing).fit(ecgs.signals, y)
    assert classifier.augmenter_.is_synthetic_.sum() == 12


def test_a_patients_twins_adapt_the_classifier(augmenter, ecgs, y):
    classifier = TwinAugmentedClassifier(linear(), augmenter).fit(ecgs.signals, y)
    reference = ECG(ecgs.signals[0], condition=ecgs.conditions[0])
    adapted = classifier.personalize(reference, X=ecgs.signals, y=y, n_samples=4, random_state=0)
    assert not np.allclose(adapted.predict_proba(ecgs.signals), classifier.predict_proba(ecgs.signals))
    with pytest.raises(InputError, match="partial_fit"):
        classifier.personalize(reference)
    with pytest.raises(InputError, match="go together"):
        classifier.personalize(reference, X=ecgs.signals)


def test_a_search_inside_knows_the_patient_for_one_person_more(augmenter, ecgs, y):
    search = GridSearchCV(linear(), {"logisticregression__C": [0.1, 1]}, cv=GroupKFold(3))
    classifier = TwinAugmentedClassifier(search, augmenter).fit(ecgs.signals, y, groups=ecgs.groups)
    reference = ECG(ecgs.signals[0], condition=ecgs.conditions[0])
    known = {"X": ecgs.signals, "y": y, "n_samples": 4, "random_state": 0}
    adapted = classifier.personalize(reference, groups=ecgs.groups, **known)
    assert adapted.predict(ecgs.signals).shape == y.shape
    with pytest.raises(ValueError, match="groups"):
        classifier.personalize(reference, **known)


def test_a_classifier_with_partial_fit_needs_no_training_set(augmenter, ecgs, y):
    classifier = TwinAugmentedClassifier(SGDClassifier(random_state=0), augmenter)
    classifier.fit(ecgs.signals[:, 0], y)
    before = classifier.estimator_.coef_.copy()
    adapted = classifier.personalize(ECG(ecgs.signals[0]), n_samples=4, random_state=0)
    assert not np.allclose(adapted.estimator_.coef_, before)
    assert np.array_equal(classifier.estimator_.coef_, before)


@pytest.fixture(scope="module")
def columns(ecgs):
    return np.array([[code in c.statements for code in ("PVC", "AFIB")] for c in ecgs.conditions], dtype=int)


def of_columns(tiny, classifier, **options):
    augmenter = TwinAugmenter(
        FrozenEstimator(tiny), label_map={0: "PVC", 1: "AFIB"}, n_steps=1, random_state=0, **options
    )
    return TwinAugmentedClassifier(classifier, augmenter)


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize(
    "inner",
    [
        RandomForestClassifier(5, random_state=0),
        MultiOutputClassifier(LogisticRegression()),
        ClassifierChain(LogisticRegression()),
        OneVsRestClassifier(LogisticRegression()),
        KNeighborsClassifier(1),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_several_labels_at_once(tiny, ecgs, columns, inner, mode):
    classifier = of_columns(tiny, make_pipeline(FLAT, inner), mode=mode)
    classifier.fit(ecgs.signals, columns, groups=ecgs.groups, conditions=ecgs.conditions)
    assert classifier.predict(ecgs.signals).shape == columns.shape
    reference = ECG(ecgs.signals[0], condition=ecgs.conditions[0])
    adapted = classifier.personalize(reference, X=ecgs.signals, y=columns, n_samples=4, random_state=0)
    assert adapted.predict(ecgs.signals).shape == columns.shape
    with pytest.raises(InputError, match="labels of shape"):
        classifier.personalize(reference, X=ecgs.signals, y=columns[:5])


def test_several_labels_learn_on(tiny, ecgs, columns):
    inner = MultiOutputClassifier(SGDClassifier(random_state=0))
    classifier = of_columns(tiny, inner, mode="append").fit(ecgs.signals[:, 0], columns)
    adapted = classifier.personalize(ECG(ecgs.signals[0]), n_samples=4, random_state=0)
    for one, before in zip(adapted.estimator_.estimators_, classifier.estimator_.estimators_, strict=True):
        assert not np.allclose(one.coef_, before.coef_)


def test_a_fitted_classifier_predicts_the_same_in_another_process(augmenter, ecgs, y, tmp_path):
    classifier = TwinAugmentedClassifier(LogisticRegression(), augmenter).fit(ecgs.signals[:, 0], y)
    joblib.dump(classifier, tmp_path / "classifier")
    np.save(tmp_path / "X.npy", ecgs.signals[:, 0])
    code = (
        "import joblib, numpy, sys; print(joblib.load(sys.argv[1]).predict(numpy.load(sys.argv[2])).tolist())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "classifier", tmp_path / "X.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == str(classifier.predict(ecgs.signals[:, 0]).tolist())
