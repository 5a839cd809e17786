"""R peaks and heart rate: the one detector that every part of the library uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .filters import filtered

Array = NDArray[Any]

REFRACTORY_SECONDS = 0.24

T_WAVE_SECONDS = 0.36
"""So soon after a beat, a wave of less than half its height is the beat's own T wave..."""

_LONGEST_WITHOUT = 1.75
"""...if no interval is so many times the usual one without it: in a fast heart it is the next beat."""

MIN_SLOPE_MV = 1e-5
"""What the filter leaves of a flat line is rounding, and lies below this."""


def r_peaks(signal: Array, sampling_rate: float = 100.0) -> NDArray[np.intp]:
    """Find the R peaks of one recording.

    The slope energy of all leads together (band-pass 5-30 Hz, squared, summed over leads, smoothed
    over 80 ms) is searched for peaks 240 ms apart that reach 0.35 of a beat's typical height. A tall T
    wave reaches that, too: within 360 ms of a beat it takes half the beat's height. All leads vote, so
    one bad electrode does not decide.

    Parameters
    ----------
    signal : array of shape (n_leads, n_times)
        Millivolts; leads that are missing may be zero.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    int array
        Sample numbers in ascending order; empty where nothing beats.

    References
    ----------
    Pan, Tompkins, A real-time QRS detection algorithm, IEEE TBME 32 (1985), for the band-pass,
    squaring, integration and T waves; the threshold is over the whole recording instead of running.

    Examples
    --------
    >>> from ecgtwin.datasets import load_example
    >>> reference = load_example()
    >>> len(r_peaks(reference.signal, reference.sampling_rate)) > 8
    True
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import find_peaks

    if signal.shape[-1] < max(0.5 * sampling_rate, 16):  # the filter needs as many
        return np.empty(0, dtype=np.intp)
    band = filtered(signal, (5.0, min(30.0, 0.45 * sampling_rate)), "bandpass", float(sampling_rate))
    energy = np.square(band).sum(axis=0)
    smooth = uniform_filter1d(energy, max(1, round(0.08 * sampling_rate)))
    height = np.sqrt(np.maximum(smooth, 0))  # a running sum may round below zero
    distance = max(1, round(REFRACTORY_SECONDS * sampling_rate))
    candidates, _ = find_peaks(height, distance=distance)
    if not len(candidates):
        return candidates
    # At 30 bpm a recording has half a beat a second: their median height is that of a typical beat,
    # whatever the T waves and noise below them do.
    tallest = np.sort(height[candidates])[::-1][: max(1, round(0.5 * len(height) / sampling_rate))]
    typical = np.median(tallest)
    if typical < MIN_SLOPE_MV:
        return np.empty(0, dtype=np.intp)
    peaks = candidates[height[candidates] >= 0.35 * typical]
    peaks = _without_t_waves(peaks, height, typical, T_WAVE_SECONDS * sampling_rate)
    reach = round(0.05 * sampling_rate)
    return np.array([max(p - reach, 0) + np.argmax(energy[max(p - reach, 0) : p + reach + 1]) for p in peaks])


def _without_t_waves(peaks: Array, height: Array, typical: float, soon: float) -> Array:
    """Leave out peaks that are T waves of the beats before them."""
    # What follows an artefact, or an ectopic beat of twice the height, is no T wave for being smaller.
    low = height[peaks[1:]] < 0.5 * np.minimum(height[peaks[:-1]], typical)
    is_t = np.append(False, low & (np.diff(peaks) <= soon))
    beats = peaks[~is_t]
    if is_t.any() and len(beats) > 2:
        after = np.searchsorted(beats, peaks).clip(1, len(beats) - 1)
        without = beats[after] - beats[after - 1]
        is_t &= without <= _LONGEST_WITHOUT * np.median(np.diff(beats))
    return peaks[~is_t]


def heart_rate(signal: Array, sampling_rate: float = 100.0) -> float:
    """Return the mean ventricular rate in beats per minute: 60 over the mean RR interval.

    Parameters
    ----------
    signal : array of shape (n_leads, n_times)
        Millivolts.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    float
        NaN where fewer than two beats are found.
    """
    return mean_rate(r_peaks(signal, sampling_rate), sampling_rate)


def mean_rate(peaks: Array, sampling_rate: float = 100.0) -> float:
    """Return 60 over the mean interval between R peaks, in beats per minute; NaN for fewer than two."""
    if len(peaks) < 2:
        return float("nan")
    return float(60.0 * sampling_rate * (len(peaks) - 1) / (peaks[-1] - peaks[0]))
