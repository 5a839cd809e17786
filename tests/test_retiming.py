"""Beats at other times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.beats import r_peaks
from ecgtwin.delineation import delineate
from ecgtwin.retiming import retime, sources, with_intervals
from ecgtwin.simulate import make_ecgs


@pytest.fixture(scope="module")
def signal():
    return make_ecgs(1, 1, statements=("NORM",), random_state=3).signals[0]


def test_nothing_moves_where_no_beat_does(signal):
    peaks = r_peaks(signal)
    assert np.array_equal(retime(signal, peaks, peaks, 100.0), signal)


@pytest.mark.parametrize("factor", [0.6, 0.85, 1.3])
def test_beats_keep_their_qrs_at_another_rate(signal, factor):
    peaks = r_peaks(signal)
    steps = np.resize(np.diff(peaks) * factor, 40)
    new = np.round(peaks[0] + np.concatenate([[0], np.cumsum(steps)])).astype(int)
    new = new[new < 990]
    moved = retime(signal, peaks, new, 100.0)
    found = r_peaks(moved)
    assert np.abs(new[:, None] - found).min(axis=1).max() <= 2
    old = np.median([signal[:, p - 5 : p + 6] for p in peaks[1:-1]], axis=0)
    now = np.median([moved[:, p - 5 : p + 6] for p in new[1:-1]], axis=0)
    centred = [one - one.mean(axis=1, keepdims=True) for one in (old, now)]
    assert np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1] > 0.98


def test_no_sample_jumps_more_than_the_recording_does(signal):
    peaks = r_peaks(signal)
    new = np.arange(peaks[0], 1000, 55)
    moved = retime(signal, peaks, new, 100.0)
    assert np.abs(np.diff(moved)).max() < 1.3 * np.abs(np.diff(signal)).max()


def test_an_early_beat_that_is_no_longer_early_is_made_of_its_neighbour():
    peaks = np.array([100, 200, 260, 400, 500, 600])
    new = np.array([100, 200, 300, 400, 500, 600])
    assert sources(peaks, new, 700)[2] not in (1, 2, 3)
    assert sources(peaks, peaks, 700).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", [60, 30, -30])
def test_p_is_moved_as_it_is(signal, change):
    before = delineate(signal)
    moved = with_intervals(signal, 100, before, 100, longer_pr_ms=change)
    assert delineate(moved).pr_ms == pytest.approx(before.pr_ms + change, abs=12)
    assert delineate(moved).qt_ms == pytest.approx(before.qt_ms, abs=12)
    for onset in before.beats[1:] - round(before.onset_ms / 10):
        start = onset - round(before.pr_ms / 10) + 2
        p = slice(start, start + round(before.p_ms / 10) - 4)
        there = slice(p.start - change // 10, p.stop - change // 10)
        np.testing.assert_allclose(moved[:, there], signal[:, p], atol=1e-6)


def test_qt_becomes_longer_and_pr_does_not(signal):
    before = delineate(signal)
    moved = delineate(with_intervals(signal, 100, before, 100, longer_qt_ms=50))
    assert moved.qt_ms == pytest.approx(before.qt_ms + 50, abs=15)
    assert moved.pr_ms == pytest.approx(before.pr_ms, abs=12)


@given(pr=st.floats(-500, 500), qt=st.floats(-500, 500))
def test_qrs_stays_whatever_is_asked_for(signal, pr, qt):
    measured = delineate(signal)
    moved = with_intervals(signal, 100, measured, 100, longer_pr_ms=pr, longer_qt_ms=qt)
    assert np.isfinite(moved).all()
    for peak in measured.beats:
        qrs = slice(peak - int(measured.onset_ms / 10), peak + 3)
        np.testing.assert_allclose(moved[:, qrs], signal[:, qrs], atol=1e-5)


def test_where_nothing_is_measured_nothing_moves():
    signal = np.random.default_rng(0).normal(size=(12, 1000)) * 1e-6
    measured = delineate(signal)
    np.testing.assert_allclose(with_intervals(signal, 100, measured, 100, longer_pr_ms=60), signal, atol=1e-9)
