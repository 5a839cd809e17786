"""R peaks and heart rate of simulated ECGs, whose beats are known."""

import numpy as np
import pytest

from ecgtwin.beats import heart_rate, r_peaks
from ecgtwin.datasets import load_example
from ecgtwin.leads import complete_leads
from ecgtwin.simulate import SIMULATED, make_ecgs


def found(times, beats, within=0.08):
    """The share of the beats, those at the very edge aside, that have a peak near."""
    inside = beats[(beats > 0.1) & (beats < 9.9)]
    return np.mean(np.abs(times[:, None] - inside).min(axis=0) < within)


@pytest.mark.parametrize("rate", [100, 250, 500])
@pytest.mark.parametrize("statement", SIMULATED)
def test_every_beat_is_found_once(statement, rate):
    ecgs = make_ecgs(8, 1, statements=(statement,), sampling_rate=rate, random_state=1)
    for signal, beats in zip(ecgs.signals, ecgs.beats, strict=True):
        peaks = r_peaks(signal, rate)
        assert found(peaks / rate, beats) == 1
        assert abs(len(peaks) - len(beats)) <= 2
        assert np.all(np.diff(peaks) > 0)


def test_peaks_lie_on_the_r_wave():
    ecgs = make_ecgs(8, 1, statements=("NORM",), sampling_rate=500, random_state=2)
    for signal, beats in zip(ecgs.signals, ecgs.beats, strict=True):
        nearest = np.abs(r_peaks(signal, 500)[:, None] / 500 - beats[1:-1]).min(axis=0)
        assert np.median(nearest) <= 0.01


def test_tall_t_waves_are_no_beats():
    ecgs = make_ecgs(8, 1, statements=("NORM",), random_state=2)
    times = np.arange(1000) / 100
    for signal, beats in zip(ecgs.signals, ecgs.beats, strict=True):
        waves = np.exp(-0.5 * ((times[:, None] - beats - 0.26) / 0.035) ** 2).sum(axis=1)
        tall = signal + 0.5 * np.ptp(signal, axis=1, keepdims=True) * waves
        assert np.array_equal(r_peaks(tall), r_peaks(signal))


def test_a_low_beat_of_a_fast_heart_is_no_t_wave():
    times, beats = np.arange(1000) / 100, np.arange(0.5, 9.6, 0.3)
    size = np.where(np.arange(len(beats)) % 7 == 3, 0.42, 1.0)
    signal = (size * np.exp(-0.5 * ((times[:, None] - beats) / 0.015) ** 2)).sum(axis=1)
    assert found(r_peaks(signal[None]) / 100, beats) == 1


@pytest.mark.parametrize("rows", [[0], [1], [6], [0, 1], [0, 3, 8]])
def test_few_leads_are_enough(rows):
    ecgs = make_ecgs(8, 1, statements=("NORM",), random_state=3)
    for signal, beats in zip(ecgs.signals, ecgs.beats, strict=True):
        assert heart_rate(signal[rows]) == pytest.approx(60 / np.diff(beats).mean(), abs=2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x + 5000,
        lambda x: x + 2 * np.sin(np.arange(1000) / 100),
        lambda x: -x,
        lambda x: x * 1000,
        lambda x: x + np.random.default_rng(0).normal(0, 0.05, x.shape),
        lambda x: np.concatenate([x[:11], np.random.default_rng(0).normal(0, 0.2, (1, 1000))]),
        lambda x: complete_leads(x[:2], ["I", "II"])[0],
    ],
    ids=["offset", "wander", "upside down", "microvolts", "noise", "one bad electrode", "missing leads"],
)
def test_what_spoils_a_recording_does_not_change_its_rate(spoil):
    ecgs = make_ecgs(4, 1, statements=("NORM",), random_state=4)
    for signal, condition in zip(ecgs.signals, ecgs.conditions, strict=True):
        spoiled = spoil(signal.astype(np.float64))
        assert heart_rate(spoiled) == pytest.approx(condition.heart_rate, abs=2)


@pytest.mark.parametrize(
    "signal",
    [np.zeros((12, 1000)), np.full((12, 1000), 3.7), np.full((12, 1000), 1e4), np.full((12, 1000), np.nan),
     np.zeros((12, 5)), np.zeros((1, 49))],
    ids=["zero", "constant", "large constant", "missing", "five samples", "half a second"],
)  # fmt: skip
def test_no_beat_where_nothing_beats(signal):
    assert len(r_peaks(signal)) == 0
    assert np.isnan(heart_rate(signal))


@pytest.mark.parametrize("n", [1, 9, 10, 15, 16, 20, 100])
def test_no_length_is_too_short_at_the_lowest_rate(n):
    assert len(r_peaks(np.zeros((12, n)), 20.0)) == 0


def test_the_signal_is_not_changed():
    reference = load_example()
    before = reference.signal.copy()
    assert 40 < reference.heart_rate < 120
    np.testing.assert_array_equal(reference.signal, before)
