import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ecgtwin import ECG, ECGTwinGenerator, InputError, QualityWarning, TwinAugmenter, lead_residual
from ecgtwin.beats import heart_rate


@pytest.fixture(scope="module")
def y(ecgs):
    return np.array([int("PVC" in c.statements) for c in ecgs.conditions])


@pytest.fixture(scope="module")
def frozen(tiny):
    return FrozenEstimator(tiny)


def spread(X):
    return X.std(axis=-1)


def of(frozen, **options):
    return TwinAugmenter(frozen, n_steps=1, random_state=0, **options)


def test_replacing_swaps_a_share_of_the_rows_and_leaves_the_others(frozen, ecgs, y):
    augmenter = of(frozen, p=0.25)
    X = augmenter.fit_transform(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    assert X.shape == ecgs.signals.shape
    changed = np.array([not np.array_equal(a, b) for a, b in zip(X, ecgs.signals, strict=True)])
    assert np.array_equal(changed, augmenter.is_synthetic_)
    assert changed.sum() == 6
    assert lead_residual(X[changed]) < 1e-5
    assert augmenter.groups_.tolist() == [str(g) for g in ecgs.groups]


def test_prediction_never_sees_a_twin(frozen, ecgs, y):
    augmenter = of(frozen).fit(ecgs.signals, y)
    assert np.array_equal(augmenter.transform(ecgs.signals), ecgs.signals)


def test_appending_balances_and_keeps_the_rows_first(frozen, ecgs, y):
    augmenter = of(frozen, mode="append")
    X, labels = augmenter.fit_resample(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    assert np.array_equal(X[: len(y)], ecgs.signals)
    assert np.array_equal(labels[: len(y)], y)
    assert labels.mean() == 0.5
    assert np.array_equal(augmenter.is_synthetic_, np.arange(len(X)) >= len(y))
    people = np.array([str(g) for g in ecgs.groups])
    assert np.array_equal(augmenter.groups_, people[augmenter.sample_indices_])
    assert X.dtype == ecgs.signals.dtype


def test_twins_of_healthy_people_show_the_condition(frozen, ecgs, y):
    augmenter = of(frozen, mode="append", references="other", label_map={1: "PVC", 0: "NORM"})
    augmenter.fit_resample(ecgs.signals, y, groups=ecgs.groups)
    references = augmenter.sample_indices_[augmenter.is_synthetic_]
    assert set(y[references]) == {0}


def test_each_mode_has_one_face():
    replace, append = TwinAugmenter(), TwinAugmenter(mode="append")
    assert hasattr(replace, "fit_transform")
    assert hasattr(replace, "transform")
    assert not hasattr(replace, "fit_resample")
    assert hasattr(append, "fit_resample")
    assert not hasattr(append, "transform")
    assert not hasattr(append, "fit_transform")


def test_the_seed_decides(frozen, ecgs, y):
    first = of(frozen, mode="append").fit_resample(ecgs.signals, y)[0]
    again = of(frozen, mode="append").fit_resample(ecgs.signals, y)[0]
    other = of(frozen, mode="append").set_params(random_state=1).fit_resample(ecgs.signals, y)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_single_leads_and_other_rates(tiny, ecgs, y):
    generator = clone(FrozenEstimator(tiny)).estimator
    lead_one = TwinAugmenter(FrozenEstimator(generator), n_steps=1, p=1.0, random_state=0)
    X = lead_one.fit_transform(ecgs.signals[:, 0], y)
    assert X.shape == (24, 1000)
    assert not np.array_equal(X, ecgs.signals[:, 0])
    slow = TwinAugmenter("default", sampling_rate=50, p=0.1, n_steps=1, random_state=0)
    assert slow.fit_transform(ecgs.signals[..., ::2], y).shape == (24, 12, 500)


@pytest.mark.parametrize("frozen_too", [False, True])
def test_rows_are_at_the_augmenters_rate_whatever_the_generators_is(tiny, ecgs, y, frozen_too):
    generator = FrozenEstimator(tiny) if frozen_too else tiny
    rows = np.repeat(ecgs.signals[:4], 5, axis=-1)
    augmenter = TwinAugmenter(generator, sampling_rate=500, p=1.0, n_steps=1, random_state=0)
    twins = augmenter.fit_transform(rows, y[:4], conditions=ecgs.conditions[:4])
    for twin, condition in zip(twins, ecgs.conditions[:4], strict=True):
        assert 0.6 * condition.heart_rate < heart_rate(twin, 500) < 1.7 * condition.heart_rate
    assert augmenter.generator_.networks_ is tiny.networks_
    assert tiny.sampling_rate == 100


def test_a_named_generator_is_shared_and_a_fitted_one_is_used_as_it_is(tiny, ecgs, y):
    a, b = TwinAugmenter().fit(ecgs.signals, y), TwinAugmenter().fit(ecgs.signals, y)
    assert a.generator_.networks_ is b.generator_.networks_
    assert TwinAugmenter(tiny).fit(ecgs.signals, y).generator_ is tiny


def test_a_generator_that_is_not_fitted_learns_from_the_training_recordings_alone(ecgs, y):
    unfitted = ECGTwinGenerator(architecture="tiny", max_epochs=1, n_steps=1)
    augmenter = TwinAugmenter(unfitted, p=0.1, random_state=0)
    few = slice(0, 14)
    augmenter.fit_transform(
        ecgs.signals[few], y[few], groups=ecgs.groups[few], conditions=ecgs.conditions[few]
    )
    assert augmenter.generator_.training_["recordings"] == 14
    assert not hasattr(unfitted, "networks_")


def test_pretrained_weights_outlive_a_clone_and_a_fit_does_not(tiny):
    assert hasattr(clone(ECGTwinGenerator.from_pretrained()), "networks_")
    assert not hasattr(clone(tiny), "networks_")
    assert clone(FrozenEstimator(tiny)).estimator is tiny


def test_pickle_and_joblib(frozen, ecgs, y, tmp_path):
    augmenter = of(frozen).fit(ecgs.signals, y)
    joblib.dump(augmenter, tmp_path / "augmenter")
    for copy in (pickle.loads(pickle.dumps(augmenter)), joblib.load(tmp_path / "augmenter")):
        assert np.array_equal(copy.fit_transform(ecgs.signals, y), augmenter.fit_transform(ecgs.signals, y))


@pytest.mark.parametrize("routing", [False, True])
def test_a_pipeline_passes_groups_and_conditions(frozen, ecgs, y, routing):
    with config_context(enable_metadata_routing=routing):
        augmenter = of(frozen)
        if routing:
            augmenter.set_fit_request(groups=True, conditions=True)
        pipe = make_pipeline(augmenter, FunctionTransformer(spread), LogisticRegression())
        known = {"groups": ecgs.groups, "conditions": ecgs.conditions}
        pipe.fit(
            ecgs.signals, y, **(known if routing else {f"twinaugmenter__{k}": v for k, v in known.items()})
        )
    assert pipe[0].groups_.tolist() == [str(g) for g in ecgs.groups]
    assert pipe.predict(ecgs.signals).shape == (24,)


def test_one_cross_validation_gives_groups_to_the_splitter_and_the_augmenter(frozen, ecgs, y):
    with config_context(enable_metadata_routing=True):
        augmenter = of(frozen).set_fit_request(groups=True)
        pipe = make_pipeline(augmenter, FunctionTransformer(spread), LogisticRegression())
        one, two = (
            cross_validate(
                pipe,
                ecgs.signals,
                y,
                cv=GroupKFold(3),
                params={"groups": ecgs.groups},
                return_estimator=True,
                return_indices=True,
                n_jobs=n_jobs,
            )
            for n_jobs in (1, 2)
        )
    for fitted, test in zip(one["estimator"], one["indices"]["test"], strict=True):
        assert not set(fitted[0].groups_) & {str(g) for g in ecgs.groups[test]}
    assert np.allclose(one["test_score"], two["test_score"])


@pytest.mark.parametrize("routing", [False, True])
def test_imbalanced_learns_pipeline(frozen, ecgs, y, routing):
    imblearn = pytest.importorskip("imblearn.pipeline")
    few = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:2]]
    with config_context(enable_metadata_routing=routing), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        augmenter = of(frozen, mode="append")
        pipe = imblearn.make_pipeline(augmenter, FunctionTransformer(spread), LogisticRegression())
        key = "groups" if routing else "twinaugmenter__groups"
        if routing:
            augmenter.set_fit_request(groups=True)
        pipe.fit(ecgs.signals[few], y[few], **{key: ecgs.groups[few]})
    assert pipe[0].is_synthetic_.sum() == (y[few] == 0).sum() - 2
    assert pipe.predict(ecgs.signals).shape == (24,)


@pytest.mark.parametrize(
    "options",
    [{"mode": "both"}, {"p": 1.5}, {"references": "none"}, {"references": "other"}, {"generator": 3}],
)
def test_parameters_that_cannot_be_used_are_refused(ecgs, y, options):
    with pytest.raises(InputError):
        TwinAugmenter(**options).fit(ecgs.signals, y)


def test_what_does_not_belong_together_is_refused(frozen, ecgs, y):
    augmenter = of(frozen, mode="append")
    with pytest.raises(InputError, match="labels"):
        augmenter.fit_resample(ecgs.signals, y[:5])
    with pytest.raises(InputError, match="conditions"):
        augmenter.fit_resample(ecgs.signals, y, conditions=["PVC"])
    with pytest.raises(InputError, match="groups"):
        augmenter.fit_resample(ecgs.signals, y, groups=[1, 2])
    with pytest.raises(InputError, match=r"last 3605 s.*windows"):
        augmenter.fit_resample(np.zeros((24, 360_500), np.float32), y)
    with pytest.raises(NotFittedError):
        TwinAugmenter().transform(ecgs.signals)


def test_twins_of_one_person_under_every_class(frozen, ecgs, y):
    augmenter = of(frozen, mode="append", label_map={0: "NORM", 1: "PVC"}).fit(ecgs.signals, y)
    reference = ECG(ecgs.signals[0], condition=ecgs.conditions[0]).resample(250)
    X, labels = augmenter.twins_of(reference, [0, 1], n_samples=3, random_state=0)
    assert X.shape == (6, 12, 1000)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not np.allclose(X[0], X[3], atol=1e-2)


def test_twins_of_one_class_do_not_show_the_others(ecgs, y):
    augmenter = TwinAugmenter(n_steps=1, mode="append", label_map={0: "NORM", 1: "PVC"}).fit(ecgs.signals, y)
    ill = ECG(ecgs.signals[0], condition="SR, PVC")
    both, _ = augmenter.twins_of(ill, n_samples=1, random_state=0)
    for classes in ([0], 0):
        X, labels = augmenter.twins_of(ill, classes, n_samples=1, random_state=0)
        assert labels.tolist() == [0]
        assert np.allclose(X[0], both[0], atol=1e-5)


def test_long_rows_get_twins_as_long(ecgs, y):
    rows = np.tile(ecgs.signals[:4], 3)[..., :2550]  # 25.5 s
    augmenter = TwinAugmenter(p=0.5, n_steps=1, random_state=0)
    X = augmenter.fit_transform(rows, y[:4], conditions=ecgs.conditions[:4])
    twin = X[augmenter.is_synthetic_][0]
    assert X.shape == rows.shape
    last = twin[1, -500:]
    assert np.ptp(last) == pytest.approx(np.ptp(twin[1, :500]), rel=0.5)  # it beats to its end
    slow = TwinAugmenter(sampling_rate=50, p=0.5, n_steps=1, random_state=0)
    assert slow.fit_transform(rows[:2, 0, ::2], y[:2]).shape == (2, 1275)


@pytest.mark.parametrize("n_times", [120, 1000, 2000])
def test_one_persons_twins_are_as_long_as_the_rows(frozen, ecgs, y, n_times):
    rows = np.tile(ecgs.signals, 2)[..., :n_times]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)  # rows of 1.2 s
        augmenter = of(frozen, mode="append", label_map={0: "NORM", 1: "PVC"}).fit(rows, y)
    X, _ = augmenter.twins_of(ecgs.signals[0], n_samples=1, random_state=0)
    assert X.shape == (2, 12, n_times)
    assert (X[..., -100:].std(axis=-1) > 0).all()


def test_twins_of_one_person_with_a_column_for_each_class(frozen, ecgs):
    columns = {0: "PVC", 1: "AFIB", 2: "NORM", 3: "LVH"}
    y = np.array([[code in c.statements for code in columns.values()] for c in ecgs.conditions], dtype=int)
    augmenter = of(frozen, mode="append", label_map=columns).fit(ecgs.signals, y)
    ill = ECG(ecgs.signals[0], condition="AFIB, LVH")
    X, labels = augmenter.twins_of(ill, n_samples=2, random_state=0)
    assert X.shape == (8, 12, 1000)
    # What the person has stays where it can: hypertrophy contradicts a normal ECG, a rhythm does not.
    assert labels[::2].tolist() == [[1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]
    assert augmenter.twins_of(ill, [0], n_samples=1, random_state=0)[1].tolist() == [[1, 1, 0, 1]]
    with pytest.raises(InputError, match="class 4"):
        augmenter.twins_of(ill, [4])


def test_twins_of_one_person_need_classes(frozen, ecgs):
    with pytest.raises(InputError, match="no y"):
        of(frozen).fit(ecgs.signals).twins_of(ecgs.signals[0])


def test_nothing_is_warned_of_clean_recordings(frozen, ecgs, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error", QualityWarning)
        of(frozen).fit_transform(ecgs.signals, y)


def test_numbers_to_regress_on_are_no_classes(tiny, ecgs):
    augmenter = TwinAugmenter(generator=tiny, p=1.0, random_state=0)
    ages = np.linspace(20, 80, len(ecgs.signals)) + 0.5
    twins = augmenter.fit_transform(ecgs.signals, ages, conditions=ecgs.conditions)
    unlabelled = augmenter.fit_transform(ecgs.signals, conditions=ecgs.conditions)
    np.testing.assert_array_equal(twins, unlabelled)
    assert augmenter._labels is None


@pytest.mark.parametrize("columns", [(), (2,)])
def test_rows_with_numbers_to_regress_on_are_replaced(frozen, ecgs, columns):
    targets = np.random.default_rng(0).normal(size=(len(ecgs.signals), *columns))
    assert of(frozen, p=0.5).fit_transform(ecgs.signals, targets).shape == ecgs.signals.shape


def test_content_that_is_no_ecg_is_counted(frozen, ecgs, y):
    X = ecgs.signals.copy()
    X[:3] *= 1000
    with pytest.warns(QualityWarning, match="of 24 recordings 3 have amplitudes above 20 mV"):
        of(frozen, mode="append").fit(X, y)


def test_weights_that_were_saved_anew_are_loaded_anew(tiny, ecgs, y, tmp_path):
    folder = tiny.save_pretrained(tmp_path)
    first = TwinAugmenter(folder, n_steps=1).fit(ecgs.signals, y).generator_.weights_sha256_
    tiny.save_pretrained(tmp_path, half=True)
    assert TwinAugmenter(folder, n_steps=1).fit(ecgs.signals, y).generator_.weights_sha256_ != first


def test_twins_that_would_not_show_their_class_are_refused(frozen, ecgs, y):
    mild = FrozenEstimator(ECGTwinGenerator(guidance_scale=0.0))
    for augmenter in (of(frozen, mode="append", guidance_scale=0), of(mild, mode="append")):
        with pytest.raises(InputError, match="leaves out"):
            augmenter.fit_resample(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    of(frozen, guidance_scale=0).fit(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
