"""Twins that last longer than the flow sees at once."""

from itertools import pairwise

import numpy as np
import pytest

from ecgtwin import ECGTwinGenerator, InputError, load_example
from ecgtwin.beats import r_peaks
from ecgtwin.sampling import HOP, WINDOW


@pytest.fixture(scope="module")
def twins():
    """Four twins of a minute, at 100 Hz."""
    generator = ECGTwinGenerator.from_pretrained()
    reference = load_example().resample(100)
    return generator.sample(reference, "SR", n_samples=4, heart_rate=72, duration=60, random_state=0)


def overlaps(length):
    """Samples that two windows share, which is where a seam would be."""
    shared = np.zeros(length, dtype=bool)
    starts = [*range(0, length - WINDOW, HOP), length - WINDOW]
    for start, following in pairwise(starts):
        shared[following : start + WINDOW] = True
    return shared


def test_any_duration_at_the_rate_of_the_reference(tiny):
    reference = load_example()
    assert tiny.sample(reference, "SR", duration=23.4, random_state=0).shape == (1, 12, 11700)
    assert tiny.sample(reference, "SR", duration=4.0, random_state=0).shape == (1, 12, 2000)
    assert tiny.sample(None, "SR", duration=12.0, random_state=0).shape == (1, 12, 1200)
    ecg = tiny.sample_ecgs(reference, "SR", duration=15.0, random_state=0)[0]
    assert ecg.seconds == 15


def test_the_rhythm_goes_on_over_the_joins(twins):
    shared = overlaps(twins.shape[-1])
    unlike = {True: [], False: []}
    for twin in twins:
        peaks = r_peaks(twin)
        intervals = np.diff(peaks)
        assert 6000 / intervals.mean() == pytest.approx(72, abs=1.5)
        for peak, interval in zip(peaks, intervals, strict=False):
            unlike[bool(shared[peak])].append(abs(interval / np.median(intervals) - 1))
    # Now and then an extrasystole, as healthy hearts have, but neither a stretch of them nor more at joins.
    assert np.mean(np.array(unlike[True] + unlike[False]) > 0.3) < 0.06
    assert np.median(unlike[True]) == pytest.approx(np.median(unlike[False]), abs=0.02)


def test_amplitude_baseline_and_noise_are_alike_in_joins_and_elsewhere(twins):
    shared = overlaps(twins.shape[-1])
    heights, levels = {True: [], False: []}, {True: [], False: []}
    for twin in twins:
        for peak in r_peaks(twin)[1:-1]:
            where = bool(shared[peak])
            heights[where].append(np.ptp(twin[:, peak - 6 : peak + 7], axis=1).mean())
            levels[where].append(twin[:, peak - 9 : peak - 6].mean())
    assert np.mean(heights[True]) == pytest.approx(np.mean(heights[False]), rel=0.05)
    assert np.mean(levels[True]) == pytest.approx(np.mean(levels[False]), abs=0.03)
    steps = np.abs(np.diff(twins, axis=-1)).mean(axis=(0, 1))
    assert steps[shared[1:]].mean() == pytest.approx(steps[~shared[1:]].mean(), rel=0.08)


def test_no_step_at_the_edges_of_windows(twins):
    length = twins.shape[-1]
    edges = np.array([*range(HOP, length - WINDOW, HOP), *range(WINDOW, length, HOP)])
    steps = np.abs(np.diff(twins, axis=-1)).mean(axis=1)
    assert steps[:, edges - 1].mean() < 1.5 * steps.mean()


def test_a_twin_does_not_depend_on_the_batch(tiny):
    reference = load_example().resample(100)
    whole = tiny.sample(reference, "SR", n_samples=2, duration=25, random_state=1)
    one = tiny.sample(reference, "SR", n_samples=1, duration=25, random_state=1)
    np.testing.assert_allclose(one[0], whole[0], atol=1e-3)


@pytest.mark.parametrize("wrong", [0, -5, 1e9, float("nan"), "ten", True])
def test_refused_durations(tiny, wrong):
    with pytest.raises(InputError, match="duration"):
        tiny.sample(load_example(), "SR", duration=wrong)
