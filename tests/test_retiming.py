"""Beats at other times."""

import numpy as np
import pytest

from ecgtwin.beats import r_peaks
from ecgtwin.retiming import retime, sources
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
