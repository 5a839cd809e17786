"""Beats as arrays: places, typical beats, and what the denoiser is told of a rhythm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.nn.prior import replay
from ecgtwin.rhythm import (
    AFTER,
    BEAT,
    BEFORE,
    N_CHANNELS,
    Beats,
    beat_offsets,
    mean_rate,
    rhythm_channels,
    steady_beats,
    typical_beat,
    usual_beats,
    with_typical_beat,
)

LENGTH = 1000


@st.composite
def rhythms(draw):
    """R peaks within 10 s, at least 240 ms apart, at least one of them."""
    steps = draw(st.lists(st.integers(24, 300), min_size=1, max_size=40))
    peaks = draw(st.integers(0, 300)) + np.cumsum([0, *steps])
    return peaks[peaks < LENGTH]


@given(rhythms())
@settings(deadline=None)
def test_each_sample_has_its_place_in_one_beat(peaks):
    offsets = beat_offsets(peaks, LENGTH)
    assert offsets.shape == (LENGTH,)
    assert offsets.min() >= 0
    assert offsets.max() <= BEAT
    assert (offsets[peaks] == BEFORE).all()
    inside = np.flatnonzero(offsets < BEAT)
    belongs = inside - offsets[inside] + BEFORE  # the R peak of each sample
    assert set(belongs) == set(peaks)
    assert (np.diff(belongs) >= 0).all()
    # A sample is left out only where no peak is near enough.
    nothing = np.flatnonzero(offsets == BEAT)
    after = nothing[:, None] - peaks
    assert not ((after >= 0) & (after < 0.55 * 24)).any()
    assert not ((after < 0) & (after >= -0.35 * 24)).any()


@given(rhythms(), st.integers(0, 200))
@settings(deadline=None)
def test_places_move_with_the_peaks(peaks, shift):
    offsets = beat_offsets(peaks, LENGTH)
    later = beat_offsets(peaks + shift, LENGTH + shift)
    assert np.array_equal(later[shift:], offsets)


def test_nothing_is_a_beats_beyond_the_first_and_the_last():
    offsets = beat_offsets(np.array([100, 400]), LENGTH)
    assert (offsets[: 100 - BEFORE] == BEAT).all()
    assert (offsets[400 + AFTER :] == BEAT).all()
    assert np.array_equal(offsets[100 - BEFORE : 100 + AFTER], np.arange(BEAT))
    assert (beat_offsets(np.array([], dtype=np.intp), 50) == BEAT).all()


def repeated(peaks, beat):
    leads = np.zeros((len(beat), LENGTH), dtype=np.float32)
    for peak in peaks:
        leads[:, peak - BEFORE : peak + AFTER] = beat
    return leads


def test_the_typical_beat_of_a_repeated_beat_is_that_beat():
    beat = np.random.default_rng(0).normal(size=(8, BEAT)).astype(np.float32)
    peaks = np.array([40, 270, 500, 730, 935])
    leads = repeated(peaks, beat)
    assert np.array_equal(typical_beat(leads, peaks), beat)
    assert np.array_equal(typical_beat(leads[:, : 270 - BEFORE], peaks[:1]), beat)
    leads[:, 500:560] = 9.0  # one bad beat is outvoted
    leads += np.arange(8, dtype=np.float32)[:, None]  # and an offset is no part of a beat
    np.testing.assert_allclose(typical_beat(leads, peaks), beat, atol=1e-5)


def test_a_beat_that_the_recording_cuts_counts_as_far_as_it_goes():
    beat = np.random.default_rng(1).normal(size=(2, BEAT)).astype(np.float32)
    peaks = np.array([300, 600])
    leads = repeated(peaks, beat)[:, 300:]
    found = typical_beat(leads, peaks - 300)
    np.testing.assert_allclose(found, beat, atol=1e-5)


def test_the_next_beat_of_a_fast_heart_is_not_in_the_typical_beat():
    peaks = np.arange(40, 950, 33)
    leads = np.zeros((8, LENGTH), dtype=np.float32)
    leads[:, peaks] = 1.0
    expected = np.zeros((8, BEAT), dtype=np.float32)
    expected[:, BEFORE] = 1.0
    assert np.array_equal(typical_beat(leads, peaks), expected)


def test_the_baseline_of_one_beat_is_no_part_of_the_typical_beat():
    """At 80 bpm only the first beat reaches back 350 ms, and only the last goes on for 600 ms."""
    peaks = np.arange(50, 950, 75)
    leads = np.zeros((8, LENGTH), dtype=np.float32)
    leads[:, : peaks[0] - 25] = 0.4
    leads[:, peaks[-1] + 40 :] = -0.3
    leads[:, peaks] = 1.0
    expected = np.zeros((8, BEAT), dtype=np.float32)
    expected[:, BEFORE] = 1.0
    assert np.array_equal(typical_beat(leads, peaks), expected)


def test_without_beats_there_is_no_typical_beat():
    leads = np.random.default_rng(0).normal(size=(8, LENGTH))
    found = typical_beat(leads, np.array([], dtype=np.intp))
    assert found.shape == (8, BEAT)
    assert found.dtype == np.float32
    assert not found.any()


def test_the_mean_rate_is_that_of_the_mean_interval():
    assert mean_rate(np.array([10, 90, 210])) == pytest.approx(60)
    assert np.isnan(mean_rate(np.array([10])))
    assert np.isnan(mean_rate(np.array([])))


def test_beats_of_recordings(ecgs):
    signals = np.concatenate([ecgs.signals[:3], np.zeros_like(ecgs.signals[:1])])
    beats = Beats.of(signals)
    assert beats.typical.shape == (4, 8, BEAT)
    assert beats.typical.dtype == beats.rates.dtype == np.float32
    for rate, condition in zip(beats.rates[:3], ecgs.conditions, strict=False):
        assert rate == pytest.approx(condition.heart_rate, abs=2)
    assert np.isnan(beats.rates[3])
    assert not beats.typical[3].any()
    # The steepest part of a beat lies about R.
    slope = np.abs(np.diff(beats.typical[:3], axis=-1)).sum(axis=1)
    assert (np.abs(slope.argmax(axis=1) - BEFORE) <= 8).all()
    given = Beats.of(signals[:1], [beats.peaks[0]])
    assert np.array_equal(given.typical[0], beats.typical[0])


@given(rhythms())
@settings(deadline=None)
def test_channels_tell_where_the_peaks_are(peaks):
    channels = rhythm_channels(peaks, LENGTH)
    assert channels.shape == (N_CHANNELS, LENGTH // 10)
    assert np.isfinite(channels).all()
    assert np.abs(channels).max() < 4
    near = channels[:10].T.ravel()
    assert np.array_equal(np.flatnonzero(near > 0.99), peaks)
    middle = np.arange(4.5, LENGTH, 10)
    since, until = np.exp(channels[10]) - 0.05, np.exp(channels[11]) - 0.05
    later = np.where(peaks > middle[:, None], peaks - middle[:, None], np.inf).min(axis=1) / 100
    earlier = np.where(peaks < middle[:, None], middle[:, None] - peaks, np.inf).min(axis=1) / 100
    np.testing.assert_allclose(since, np.minimum(earlier, 3), atol=1e-4)
    np.testing.assert_allclose(until, np.minimum(later, 3), atol=1e-4)


def test_channels_of_no_rhythm_are_finite():
    channels = rhythm_channels(np.array([], dtype=np.intp), 975)
    assert channels.shape == (N_CHANNELS, 97)
    assert np.isfinite(channels).all()
    assert not channels[:10].any()


# ----- beats of one heart


def beats_in_a_row(heights, spacing=80, t_heights=None):
    """Eight leads of simple beats with R and T of given heights, on a slow baseline; and their R peaks."""
    peaks = 40 + spacing * np.arange(len(heights))
    time = np.arange(peaks[-1] + 60)
    t_heights = heights if t_heights is None else t_heights
    one = 0.01 * np.sin(time / 150)
    for peak, r, t in zip(peaks, heights, t_heights, strict=True):
        one = one + r * np.exp(-0.5 * ((time - peak) / 2) ** 2)
        one = one + 0.3 * t * np.exp(-0.5 * ((time - peak - 26) / 6) ** 2)
    return np.stack([one * (lead + 1) / 8 for lead in range(8)]).astype(np.float32), peaks


def test_heights_of_r_come_together_and_the_rest_stays():
    heights = np.array([1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 1.0, 0.7])
    leads, peaks = beats_in_a_row(heights)
    steady = steady_beats(leads, peaks, 0.25)
    spread = steady[7, peaks].std() / leads[7, peaks].std()
    assert spread == pytest.approx(0.25, abs=0.05)
    assert steady[7, peaks].mean() == pytest.approx(leads[7, peaks].mean(), rel=0.02)
    between = (peaks[:-1] + 58)[:, None] + np.arange(2)  # after T, before the next beat
    np.testing.assert_array_equal(steady[:, between], leads[:, between])


def test_all_variation_kept_changes_nothing():
    leads, peaks = beats_in_a_row([1.0, 1.3, 0.8, 1.1])
    np.testing.assert_array_equal(steady_beats(leads, peaks, 1.0), leads)


def test_where_one_origin_leads_all_beats_have_its_shape():
    leads, peaks = beats_in_a_row([1.0, -0.8, 1.05, 1.0, -0.9, 0.95, 1.0, -0.7])
    steady = steady_beats(leads, peaks, 0.0, one_origin=True)
    complexes = steady[:, peaks[:, None] + np.arange(-4, 5)]
    assert np.ptp(complexes, axis=1).max() < 0.1  # before: 1.95
    assert steady[7, peaks] == pytest.approx(1.0, abs=0.06)  # what most beats had, no mean of both


def test_an_ectopic_beat_is_left_alone():
    leads, peaks = beats_in_a_row([1.0, 1.1, 0.9, 1.0, -1.4, 1.0, 1.05, 0.95])
    steady = steady_beats(leads, peaks, 0.0)
    around = slice(peaks[4] - 14, peaks[4] + 40)
    np.testing.assert_allclose(steady[:, around], leads[:, around], atol=1e-6)
    assert np.delete(steady[7, peaks], 4).std() < 0.02


@given(
    st.lists(st.integers(0, 999), max_size=40, unique=True).map(sorted),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_any_rhythm_gives_a_finite_ecg_of_the_same_length(peaks, variation, seed):
    leads = np.random.default_rng(seed).normal(size=(8, 1000)).astype(np.float32)
    steady = steady_beats(leads, np.array(peaks, dtype=np.intp), variation)
    assert steady.shape == leads.shape
    assert steady.dtype == np.float32
    assert np.isfinite(steady).all()


def ringing(peaks, beat, length=1000):
    """A recording of equal beats, ``(8, length)``."""
    return replay(torch.from_numpy(beat)[None], torch.from_numpy(beat_offsets(peaks, length))[None])[
        0
    ].numpy()


@pytest.fixture
def two_beats():
    """Two beats that begin and end at 0, of unequal waves."""
    rng = np.random.default_rng(0)
    wave = np.exp(-(((np.arange(BEAT) - BEFORE) / 4) ** 2)) * (np.arange(BEAT) % 94 > 8)
    one, other = (rng.uniform(0.5, 1.5, (2, 8, 1)) * wave).astype(np.float32)
    return one, other


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_typical_beat_is_brought_nearer_to_another(two_beats, share):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    moved = with_typical_beat(ringing(peaks, one), peaks, other, share)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(typical_beat(moved, peaks), (1 - share) * one + share * other, atol=1e-5)


def test_what_beats_differ_by_stays(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    recording = ringing(peaks, one)
    recording[:, 301:320] *= 1.2
    moved = with_typical_beat(recording, peaks, other, 0.5)
    change = moved - recording
    assert np.abs(change[:, 299] - change[:, 299 + 83]).max() < 1e-6


def test_beats_of_another_origin_keep_their_shape(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    recording = ringing(peaks, one)
    ectopic = slice(peaks[4] - 20, peaks[4] + 30)
    recording[:, ectopic] = -2 * recording[:, ectopic][:, ::-1]
    moved = with_typical_beat(recording, peaks, other, 1.0)
    np.testing.assert_array_equal(moved[:, ectopic], recording[:, ectopic])
    assert not usual_beats(recording, peaks)[4]
    assert usual_beats(recording, peaks).sum() == len(peaks) - 1


def test_only_leads_with_a_share_are_changed(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    share = np.zeros((8, 1))
    share[3] = 1
    recording = ringing(peaks, one)
    changed = (with_typical_beat(recording, peaks, other, share) != recording).any(axis=1)
    assert changed.tolist() == [row == 3 for row in range(8)]


def test_beats_do_not_change_where_their_typical_beat_is_not_known(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 75)
    recording = ringing(peaks, one) + 0.01
    moved = with_typical_beat(recording, peaks, other + 0.2, 1.0)
    first = slice(peaks[0] - BEFORE, peaks[0] - 30)  # the others have no samples so early
    np.testing.assert_array_equal(moved[:, first], recording[:, first])
    assert (moved[:, peaks] != recording[:, peaks]).all()


@pytest.mark.parametrize("peaks", [[], [3], [500], [2, 998]])
def test_few_beats_or_none_are_no_harm(two_beats, peaks):
    one, other = two_beats
    peaks = np.array(peaks, dtype=np.intp)
    moved = with_typical_beat(ringing(peaks, one), peaks, other, 0.6)
    assert moved.shape == (8, 1000)
    assert np.isfinite(moved).all()
