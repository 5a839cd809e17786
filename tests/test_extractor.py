import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from ecgtwin import ECG, IndividualBaseExtractor


@pytest.fixture(scope="module")
def extractor(ecgs):
    extractor = IndividualBaseExtractor(
        architecture="tiny", max_epochs=150, batch_size=12, learning_rate=0.003
    )
    return extractor.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions)


def test_base_vectors_have_unit_length(extractor, ecgs):
    vectors = extractor.transform(ecgs.signals[:5], conditions=ecgs.conditions[:5])
    assert vectors.shape == (5, extractor.n_features_out_)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_persons_are_found_again(extractor, ecgs):
    assert extractor.score(ecgs.signals, groups=ecgs.groups) > 0.5  # by chance 1 in 12


def test_arrays_and_ecgs_are_the_same(extractor, ecgs):
    from_array = extractor.transform(ecgs.signals[:2])
    from_ecgs = extractor.transform([ECG(signal) for signal in ecgs.signals[:2]])
    assert np.allclose(from_array, from_ecgs, atol=1e-6)


@pytest.mark.filterwarnings("ignore::ecgtwin.QualityWarning")
def test_dead_leads_and_wander_are_the_same_to_arrays_and_ecgs(extractor, ecgs):
    signals = ecgs.signals[:3].copy()
    signals[0, 11] = 0.3
    signals[1, 0] = 0
    signals[2] += 2 * np.sin(np.arange(1000) / 80)
    from_array = extractor.transform(signals)
    from_ecgs = extractor.transform([ECG(signal) for signal in signals])
    assert np.allclose(from_array, from_ecgs, atol=1e-5)
    assert not np.allclose(from_array[0], extractor.transform(ecgs.signals[:1])[0], atol=1e-3)


def test_two_dimensions_are_a_batch_of_lead_one(extractor, ecgs):
    single = extractor.transform(ecgs.signals[:3, 0])
    named = extractor.transform([ECG(signal[:1], leads=["I"]) for signal in ecgs.signals[:3]])
    assert np.allclose(single, named, atol=1e-6)


def test_the_condition_of_the_reference_is_heard(extractor, ecgs):
    plain = extractor.transform(ecgs.signals[:1])
    assert not np.allclose(plain, extractor.transform(ecgs.signals[:1], conditions=["CLBBB"]), atol=1e-6)


def test_transform_needs_weights(ecgs):
    with pytest.raises(NotFittedError):
        IndividualBaseExtractor().transform(ecgs.signals[:1])


def test_a_long_recording_is_near_to_both_of_its_halves(extractor, ecgs):
    one, two = ecgs.signals[:2]  # of one person
    whole = extractor.transform([ECG(np.concatenate([one, two], axis=1))])[0]
    parts = extractor.transform(ecgs.signals[:2])
    assert (parts @ whole).min() > 0.95


def test_noise_between_beats_tells_no_person(extractor, ecgs):
    noisy = ecgs.signals[:4] + 0.02 * np.random.default_rng(0).normal(size=ecgs.signals[:4].shape)
    likeness = extractor.transform(ecgs.signals[:4]) * extractor.transform(noisy)
    assert likeness.sum(axis=1).min() > 0.95


def test_recordings_of_a_list_may_differ_in_length_and_rate(extractor, ecgs):
    few = [ECG(ecgs.signals[0]), ECG(ecgs.signals[1][:, :700]), ECG(ecgs.signals[2]).resample(250)]
    vectors = extractor.transform(few)
    assert np.allclose(vectors[0], extractor.transform(ecgs.signals[:1])[0], atol=1e-5)
    assert np.allclose(vectors[1], extractor.transform(ecgs.signals[1:2, :, :700])[0], atol=1e-5)
    assert vectors[2] @ extractor.transform(ecgs.signals[2:3])[0] > 0.98


def test_an_ecg_speaks_for_its_own_condition(extractor, ecgs):
    own = extractor.transform([ECG(ecgs.signals[0], condition="CLBBB")])
    assert np.array_equal(own, extractor.transform(ecgs.signals[:1], conditions=["CLBBB"]))


@pytest.mark.parametrize("X", [np.full((2, 12, 500), np.nan), np.zeros((2, 7, 500)), np.zeros((0, 12, 500))])
def test_arrays_that_are_no_recordings_are_refused(extractor, X):
    with pytest.raises(ValueError):  # noqa: PT011 - scikit-learn's own words
        extractor.transform(X)
