"""Beats of drawn signals: those of one heart, and nearer to another one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.heartbeats import (
    Places,
    has_ectopic_beat,
    steady_beats,
    typical_beats,
    usual_beats,
    with_typical_beat,
)
from ecgtwin.nn.prior import replay
from ecgtwin.rhythm import BEAT, BEFORE, beat_offsets, typical_beat

PEAKS = st.lists(st.integers(0, 999), max_size=40, unique=True).map(sorted)


def places(*rhythms, length=1000):
    """Where beats lie whose R peaks are given, signal by signal."""
    offsets = [beat_offsets(np.array(peaks, dtype=np.intp), length) for peaks in rhythms]
    return Places.of(torch.from_numpy(np.stack(offsets)))


def steady(leads, peaks, variation, one_origin=False):
    """One recording ``(8, t)`` whose beats are made those of one heart."""
    at, led = places(peaks, length=leads.shape[-1]), torch.tensor([one_origin])
    return steady_beats(torch.from_numpy(leads)[None], at, variation, led)[0].numpy()


def moved(leads, peaks, beat, share):
    """One recording ``(8, t)`` whose typical beat is brought nearer to another one."""
    share = torch.as_tensor(share, dtype=torch.float32).expand(1, 8, 1)
    at = places(peaks, length=leads.shape[-1])
    return with_typical_beat(torch.from_numpy(leads)[None], at, torch.from_numpy(beat)[None], share)[
        0
    ].numpy()


@given(st.lists(PEAKS, min_size=1, max_size=4))
@settings(deadline=None)
def test_places_are_those_of_the_peaks(rhythms):
    found = places(*rhythms)
    for row, peaks in enumerate(rhythms):
        assert found.peaks[row][found.there[row]].tolist() == peaks
        assert (found.peaks[row][~found.there[row]] >= 1000).all()
        inside = np.flatnonzero(found.offsets[row] < BEAT)
        owner = np.array(peaks, dtype=int)[found.owners[row][inside].numpy()] if peaks else inside
        assert np.array_equal(owner, inside - found.offsets[row][inside].numpy() + BEFORE)


@given(st.lists(PEAKS, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_typical_beats_are_those_of_recordings(rhythms, seed):
    leads = np.random.default_rng(seed).normal(size=(len(rhythms), 8, 1000)).astype(np.float32)
    found = typical_beats(torch.from_numpy(leads), places(*rhythms)).numpy()
    for row, peaks in enumerate(rhythms):
        expected = typical_beat(leads[row], np.array(peaks, dtype=np.intp))
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


@given(st.lists(PEAKS, min_size=2, max_size=4), st.booleans(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_signal_does_not_depend_on_its_batch(rhythms, one_origin, seed):
    rng, n = np.random.default_rng(seed), len(rhythms)
    leads = torch.from_numpy(rng.normal(size=(n, 8, 1000)).astype(np.float32))
    beats = torch.from_numpy(rng.normal(size=(n, 8, BEAT)).astype(np.float32))
    led, share = torch.full((n,), one_origin), torch.full((n, 8, 1), 0.6)

    def both(rows):
        at = places(*rhythms[rows])
        one = steady_beats(leads[rows], at, 0.25, led[rows])
        return one, with_typical_beat(leads[rows], at, beats[rows], share[rows])

    together = both(slice(None))
    for row in range(n):
        for whole, alone in zip(together, both(slice(row, row + 1)), strict=True):
            torch.testing.assert_close(whole[row], alone[0], atol=1e-6, rtol=0)


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
    found = steady(leads, peaks, 0.25)
    spread = found[7, peaks].std() / leads[7, peaks].std()
    assert spread == pytest.approx(0.25, abs=0.05)
    assert found[7, peaks].mean() == pytest.approx(leads[7, peaks].mean(), rel=0.02)
    between = (peaks[:-1] + 58)[:, None] + np.arange(2)  # after T, before the next beat
    np.testing.assert_array_equal(found[:, between], leads[:, between])


def test_all_variation_kept_changes_nothing():
    leads, peaks = beats_in_a_row([1.0, 1.3, 0.8, 1.1])
    np.testing.assert_array_equal(steady(leads, peaks, 1.0), leads)


def test_where_one_origin_leads_all_beats_have_its_shape():
    leads, peaks = beats_in_a_row([1.0, -0.8, 1.05, 1.0, -0.9, 0.95, 1.0, -0.7])
    found = steady(leads, peaks, 0.0, one_origin=True)
    complexes = found[:, peaks[:, None] + np.arange(-4, 5)]
    assert np.ptp(complexes, axis=1).max() < 0.1  # before: 1.95
    assert found[7, peaks] == pytest.approx(1.0, abs=0.06)  # what most beats had, no mean of both


def test_an_ectopic_beat_is_left_alone():
    leads, peaks = beats_in_a_row([1.0, 1.1, 0.9, 1.0, -1.4, 1.0, 1.05, 0.95])
    found = steady(leads, peaks, 0.0)
    around = slice(peaks[4] - 14, peaks[4] + 40)
    np.testing.assert_allclose(found[:, around], leads[:, around], atol=1e-6)
    assert np.delete(found[7, peaks], 4).std() < 0.02


@given(
    PEAKS,
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_any_rhythm_gives_a_finite_ecg_of_the_same_length(peaks, variation, seed):
    leads = np.random.default_rng(seed).normal(size=(8, 1000)).astype(np.float32)
    found = steady(leads, peaks, variation)
    assert found.shape == leads.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


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
    found = moved(ringing(peaks, one), peaks, other, share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(typical_beat(found, peaks), (1 - share) * one + share * other, atol=1e-5)


def test_what_beats_differ_by_stays(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    recording = ringing(peaks, one)
    recording[:, 301:320] *= 1.2
    found = moved(recording, peaks, other, 0.5)
    change = found - recording
    assert np.abs(change[:, 299] - change[:, 299 + 83]).max() < 1e-6


def test_beats_of_another_origin_keep_their_shape(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    recording = ringing(peaks, one)
    ectopic = slice(peaks[4] - 20, peaks[4] + 30)
    recording[:, ectopic] = -2 * recording[:, ectopic][:, ::-1]
    found = moved(recording, peaks, other, 1.0)
    np.testing.assert_array_equal(found[:, ectopic], recording[:, ectopic])
    usual = usual_beats(torch.from_numpy(recording)[None], places(peaks))[0]
    assert not usual[4]
    assert usual.sum() == len(peaks) - 1


def test_only_leads_with_a_share_are_changed(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 83)
    share = np.zeros((8, 1))
    share[3] = 1
    recording = ringing(peaks, one)
    changed = (moved(recording, peaks, other, share) != recording).any(axis=1)
    assert changed.tolist() == [row == 3 for row in range(8)]


def test_beats_do_not_change_where_their_typical_beat_is_not_known(two_beats):
    one, other = two_beats
    peaks = np.arange(50, 950, 75)
    recording = ringing(peaks, one) + 0.01
    found = moved(recording, peaks, other + 0.2, 1.0)
    first = slice(peaks[0] - BEFORE, peaks[0] - 30)  # the others have no samples so early
    np.testing.assert_array_equal(found[:, first], recording[:, first])
    assert (found[:, peaks] != recording[:, peaks]).all()


@pytest.mark.parametrize("peaks", [[], [3], [500], [2, 998]])
def test_few_beats_or_none_are_no_harm(two_beats, peaks):
    one, other = two_beats
    peaks = np.array(peaks, dtype=np.intp)
    found = moved(ringing(peaks, one), peaks, other, 0.6)
    assert found.shape == (8, 1000)
    assert np.isfinite(found).all()


def test_an_ectopic_beat_is_early_and_of_another_shape():
    peaks, shape = np.arange(60, 960, 80), np.zeros((8, BEAT), dtype=np.float32)
    shape[:, BEFORE - 3 : BEFORE + 4] = np.hanning(7)
    wide = np.zeros_like(shape)
    wide[:, BEFORE - 8 : BEFORE + 9] = -np.hanning(17)
    early = peaks.copy()
    early[5] -= 25

    def drawn(peaks, other=None):
        offsets = beat_offsets(peaks, 1000)[None]
        leads = replay(torch.from_numpy(shape)[None], torch.from_numpy(offsets))
        if other is not None:
            alone = np.where(np.abs(np.arange(1000) - peaks[other]) < 30, offsets, BEAT)
            leads = torch.where(torch.from_numpy(alone[0] < BEAT), 0.0, leads)
            leads += replay(torch.from_numpy(wide)[None], torch.from_numpy(alone))
        return has_ectopic_beat(leads, places(peaks)).item()

    assert drawn(early, other=5)
    assert not drawn(early)  # early, and of the usual shape
    assert not drawn(peaks, other=5)  # another shape, and not early
    assert not drawn(early, other=4)
    assert not drawn(np.array([], dtype=int))
