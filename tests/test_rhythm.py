"""Beats as arrays: places, typical beats, and what the denoiser is told of a rhythm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.nn import peaks as nn_peaks
from ecgtwin.nn.peaks import N_CHANNELS, as_peaks, mean_rates, peaks_at, rhythm_channels
from ecgtwin.rhythm import (
    AFTER,
    BEAT,
    BEFORE,
    Beats,
    beat_offsets,
    mean_rate,
    typical_beat,
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
    channels = rhythm_channels(as_peaks([peaks]), LENGTH)[0].numpy()
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
    channels = rhythm_channels(as_peaks([np.array([], dtype=np.intp)]), 975)[0].numpy()
    assert channels.shape == (N_CHANNELS, 97)
    assert np.isfinite(channels).all()
    assert not channels[:10].any()


@given(
    st.lists(
        st.lists(st.integers(0, LENGTH - 1), max_size=40, unique=True).map(sorted), min_size=1, max_size=4
    )
)
@settings(deadline=None)
def test_many_rhythms_are_told_as_each_of_them(rows):
    rows = [np.array(one, dtype=np.intp) for one in rows]
    many = as_peaks(rows)
    offsets, channels, rates = (
        nn_peaks.beat_offsets(many, LENGTH),
        rhythm_channels(many, LENGTH),
        mean_rates(many),
    )
    assert offsets.dtype == torch.int16
    for row, peaks in enumerate(rows):
        assert np.array_equal(offsets[row].numpy(), beat_offsets(peaks, LENGTH))
        assert torch.equal(channels[row], rhythm_channels(as_peaks([peaks]), LENGTH)[0])
        assert rates[row].item() == pytest.approx(mean_rate(peaks), nan_ok=True)


def test_peaks_within_a_sample_are_one():
    inf = float("inf")
    times = torch.tensor([[0.0, 0.809, 0.8091, 1.7, 1.701], [0.009, 3.0, inf, inf, inf]])
    assert peaks_at(times).tolist() == [[0, 80, 170, inf, inf], [0, 300, inf, inf, inf]]
