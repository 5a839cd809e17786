"""Copies of training records must be found, however they are dressed; real ECGs must not be called copies."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecgtwin.exceptions import InputError
from ecgtwin.leads import independent_leads, twelve_leads
from ecgtwin.metrics.privacy import (
    beat_vectors,
    copies,
    copy_threshold,
    membership,
    nearest_distance,
    nearest_records,
    nn_ratio,
)
from ecgtwin.simulate import make_ecgs

N = 60


@pytest.fixture(scope="module")
def sets():
    """Training records, held-out ones of other people, and recordings that test both."""
    signals = make_ecgs(3 * N, 1, random_state=5).signals
    return signals[:N], signals[N : 2 * N], signals[2 * N :]


@pytest.fixture(scope="module")
def vectors(sets):
    return [beat_vectors(signals) for signals in sets]


def noisy(signals, snr_db):
    leads = independent_leads(signals).astype(float)
    noise = np.random.default_rng(0).standard_normal(leads.shape)
    return twelve_leads(leads + leads.std(axis=-1, keepdims=True) * 10 ** (-snr_db / 20) * noise)


DISGUISES = {
    "exact": lambda x: x,
    "5 % gain": lambda x: 1.05 * x,
    "shifted by some beats": lambda x: np.roll(x, 237, axis=-1),
    "light noise": lambda x: noisy(x, 20),
    "offset": lambda x: x + 0.4,
    "cut": lambda x: x[..., 150:],
    "all": lambda x: noisy(np.roll(1.05 * x, 237, axis=-1), 20) - 0.2,
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_copies_are_found(sets, vectors, disguise):
    training, held_out, real = vectors
    copied = beat_vectors(DISGUISES[disguise](sets[0]))
    distance, rows = nearest_records(copied, training)
    real_distance = nearest_distance(real, training)
    assert np.mean(rows == np.arange(N)) > 0.95
    assert copies(distance, real_distance) > 0.9
    assert nn_ratio(distance, nearest_distance(copied, held_out)) < 0.3
    found = membership(-distance, -real_distance)
    assert found["auc"] > 0.95
    assert found["tpr_at_fpr_1e2"] > 0.9


def test_real_recordings_are_no_copies(vectors):
    training, held_out, real = vectors
    to_training, to_held_out = nearest_distance(real, training), nearest_distance(real, held_out)
    assert copies(to_training, to_held_out) <= 0.05
    assert nn_ratio(to_training, to_held_out) == pytest.approx(1, abs=0.15)
    assert membership(-to_training, -to_held_out)["auc"] == pytest.approx(0.5, abs=0.1)


def test_a_few_copies_among_many_twins_are_counted(vectors):
    training, held_out, real = vectors
    twins = np.concatenate([real, training[:6]])
    assert copies(nearest_distance(twins, training), nearest_distance(held_out, training)) >= 6 / 66


def test_ones_own_records_are_not_strangers(vectors):
    training, _, _ = vectors
    persons = np.arange(N)
    distance, rows = nearest_records(training, training, query_persons=persons, record_persons=persons)
    assert (distance > 0).all()
    assert (rows != persons).all()
    alone = nearest_distance(training[:2], training[:2], query_persons=["a", "b"], record_persons=["a", "a"])
    np.testing.assert_array_equal(np.isnan(alone), [True, False])


def test_single_ectopic_beats_and_rate_do_not_hide_a_person():
    ecgs = make_ecgs(20, 2, statements=("NORM", "PVC"), random_state=1)
    vectors = beat_vectors(ecgs.signals)
    own = np.linalg.norm(vectors[::2] - vectors[1::2], axis=1)
    strangers = np.linalg.norm(vectors[::2] - np.roll(vectors[1::2], 2, axis=0), axis=1)
    assert np.median(own) < 0.6 * np.median(strangers)


@pytest.mark.parametrize("rate", [100, 250, 500])
def test_any_sampling_rate_will_do(rate):
    signals = make_ecgs(6, 1, sampling_rate=rate, random_state=2).signals
    vectors = beat_vectors(signals, rate)
    assert vectors.shape == (6, 8 * round(0.65 * rate))
    assert (nearest_distance(beat_vectors(signals[..., rate:], rate), vectors) < 0.12).all()


def test_where_nothing_beats_there_is_no_copy(vectors):
    flat = beat_vectors(np.zeros((3, 12, 1000)))
    assert np.isnan(flat).all()
    distance, rows = nearest_records(flat, vectors[0])
    assert np.isnan(distance).all()
    assert rows.tolist() == [-1, -1, -1]
    assert copies(distance, [0.5, 0.6]) == 0
    assert np.isfinite(beat_vectors(make_ecgs(2, 1, seconds=1.2, random_state=0).signals)).all()


def test_the_threshold_is_a_quantile_or_the_least():
    assert copy_threshold(np.arange(1, 101) / 100) == 0.01
    assert copy_threshold([0.3, np.nan, 0.2]) == 0.2
    real = np.linspace(0, 1, 5000)
    assert copies(real, real) <= 0.001


def test_ratio_of_distances():
    assert nn_ratio([0, 0, 0.1], [1, 1, 1]) == 0
    assert nn_ratio([0, np.nan], [0, 1]) == 1
    assert nn_ratio([0.5], [0]) == np.inf


def test_membership_is_the_roc():
    rng = np.random.default_rng(0)
    members, others = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 250).round(1)
    result = membership(members, others)
    truth = np.repeat([1, 0], [300, 250])
    assert result["auc"] == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    threshold = np.sort(others)[-3]
    assert np.mean(others > threshold) <= 0.01
    assert result["tpr_at_fpr_1e2"] == np.mean(members > threshold)
    assert membership(np.zeros(50), np.zeros(50)) == {"auc": 0.5, "tpr_at_fpr_1e2": 0}


def test_what_cannot_be_compared(vectors):
    with pytest.raises(InputError, match="12 leads"):
        beat_vectors(np.zeros((3, 8, 1000)))
    with pytest.raises(InputError, match="finite"):
        beat_vectors(np.full((3, 12, 1000), np.nan))
    with pytest.raises(InputError, match="vectors of one length"):
        nearest_distance(vectors[0], vectors[0][:, :5])
    with pytest.raises(InputError, match="go together"):
        nearest_distance(vectors[0], vectors[0], query_persons=np.arange(N))
    with pytest.raises(InputError, match="no record"):
        nearest_distance(vectors[0], np.full((3, 520), np.nan))
    with pytest.raises(InputError, match="no distance"):
        copies([0.1], [np.nan])
    with pytest.raises(InputError, match="same twins"):
        nn_ratio([0.1], [0.1, 0.2])
