"""Single beats: which come early, which are wide or unlike the others, and which a pacemaker starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ..alignment import check_recording
from ..beats import r_peaks
from ..filters import filtered
from ..leads import resample

Array = NDArray[Any]
Flags = NDArray[np.bool_]

FINE_RATE = 500.0
"""Samples per second at which a QRS complex is measured."""

SPIKE_RATE = 100.0
"""Samples per second at which pacing spikes are looked for: that of PTB-XL's filtered recordings."""

_BEFORE, _AFTER = 0.12, 0.24
_SAME_KIND = 0.8
_EARLY, _PAUSE = 0.88, 0.85
_WIDE_MS = 120.0
_FLAT = 0.07
"""Share of the steepest slope that counts as QRS; so real NORM measures 88 ms, CRBBB 142, CLBBB 164."""


@dataclass(frozen=True)
class Beats:
    """The beats of one recording; arrays of shape ``(n_beats,)`` in order of time.

    Parameters
    ----------
    times_ms : float array
        R peaks, in milliseconds from the start.
    rr_before_ms, rr_after_ms : float array
        Distance to the beat before and after; NaN for the first and for the last.
    width_ms : float array
        Duration of each QRS complex on its own: how long its slope, over all leads together, exceeds
        7 % of its steepest.
    usual : bool array
        Beats of the most frequent shape; of two that are equally frequent, the narrower.
    whole : bool array
        Beats whose QRS complex lies inside the recording.
    base_rr_ms : float
        The rhythm's own interval: the median between two usual beats that follow each other; where no
        two do, as in bigeminy, half the median of two intervals together.
    """

    times_ms: Array
    rr_before_ms: Array
    rr_after_ms: Array
    width_ms: Array
    usual: Flags
    whole: Flags
    base_rr_ms: float

    @property
    def premature(self) -> Flags:
        """Beats earlier than 0.88 of the rhythm's own interval, or than 0.85 of the pause after them."""
        early = self.rr_before_ms < _EARLY * self.base_rr_ms
        return early | (self.rr_before_ms < _PAUSE * self.rr_after_ms)

    @property
    def premature_wide(self) -> Flags:
        """Ventricular ectopic beats: premature, unlike the usual beat, and 120 ms wide or more.

        References
        ----------
        Surawicz, Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed. (2008), ch. 17.
        """
        return self.premature & ~self.usual & self.whole & (self.width_ms >= _WIDE_MS)

    @property
    def premature_narrow(self) -> Flags:
        """Supraventricular ectopic beats: premature by the beats before, of usual shape or below 120 ms."""
        early = self.rr_before_ms < 0.85 * self.base_rr_ms
        return early & self.whole & (self.usual | (self.width_ms < _WIDE_MS))

    @property
    def steady_rr_ms(self) -> Array:
        """RR intervals between two usual beats, so without what an ectopic beat upsets."""
        return np.diff(self.times_ms)[self.usual[1:] & self.usual[:-1]]

    @property
    def irregular(self) -> bool:
        """Whether the RMS of the successive differences of steady RR exceeds 0.1 of their mean.

        References
        ----------
        Dash et al., Automatic real time detection of atrial fibrillation, Ann. Biomed. Eng. 37 (2009).
        """
        rr = self.steady_rr_ms
        return len(rr) > 3 and bool(np.sqrt(np.mean(np.diff(rr) ** 2)) > 0.1 * rr.mean())

    @property
    def compensation(self) -> Array:
        """The RR before and after a beat, over twice the base interval: 1 is a full compensatory pause."""
        return (self.rr_before_ms + self.rr_after_ms) / (2 * self.base_rr_ms)


def measure_beats(signal: ArrayLike, sampling_rate: float = 100.0) -> Beats:
    """Measure each beat of one recording.

    Two beats are of one shape where their correlation over all leads, 120 ms before to 240 ms after
    the R peak, exceeds 0.8.

    Parameters
    ----------
    signal : array of shape (12, n_times)
        Millivolts, standard lead order.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    Beats

    Raises
    ------
    InputError
        If the signal is not ``(12, n_times)`` and finite, or the rate not positive.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecg = make_ecgs(1, 1, statements=("PVC",), random_state=0).signals[0]
    >>> bool(measure_beats(ecg).premature_wide.any())
    True
    """
    x = check_recording(signal, sampling_rate)
    peaks = r_peaks(x, sampling_rate)
    if not len(peaks):
        none = np.empty(0)
        return Beats(none, none, none, none, none.astype(bool), none.astype(bool), float("nan"))
    fine = resample(x, sampling_rate, FINE_RATE)
    at = np.minimum(np.round(peaks * FINE_RATE / sampling_rate).astype(np.intp), fine.shape[1] - 1)
    before, after = round(_BEFORE * FINE_RATE), round(_AFTER * FINE_RATE)
    # Edges are repeated, so that the first and last beats count too.
    padded = np.pad(fine, ((0, 0), (before, after)), mode="edge")
    cut = sliding_window_view(padded, before + after, axis=1)[:, at].transpose(1, 0, 2)
    cut = cut - cut.mean(axis=2, keepdims=True)
    width = _qrs_width(cut, before)
    usual = _usual(cut, width)
    times = 1000 * peaks / sampling_rate
    rr = np.diff(times)
    steady = rr[usual[:-1] & usual[1:]]
    if len(steady) >= 2:
        base = float(np.median(steady))
    else:
        base = float(np.median(rr[:-1] + rr[1:]) / 2) if len(rr) > 1 else float("nan")
    # 80 ms before and 100 ms after R hold the QRS; less of it at an edge may be a filter's ringing.
    whole = (times >= 80) & (times <= 1000 * x.shape[1] / sampling_rate - 100)
    return Beats(times, np.r_[np.nan, rr], np.r_[rr, np.nan], width, usual, whole, base)


def _usual(cut: Array, width: Array) -> Flags:
    """Which of the beats ``(n, 12, t)`` have the most frequent shape."""
    flat = cut.reshape(len(cut), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    alike = flat @ flat.T > _SAME_KIND
    most = alike.sum(axis=1)
    return np.asarray(alike[np.lexsort((width, -most))[0]])


def _qrs_width(cut: Array, centre: int) -> Array:
    """Milliseconds in which the slope of beats ``(n, 12, t)`` exceeds 7 % of its steepest."""
    from scipy.ndimage import uniform_filter1d

    slope = np.sqrt(np.square(np.gradient(cut, axis=2)).sum(axis=1))
    slope = uniform_filter1d(slope, round(0.012 * FINE_RATE), axis=1)
    reach, rest = round(0.06 * FINE_RATE), round(0.016 * FINE_RATE)
    steepest = centre - reach + slope[:, centre - reach : centre + reach].argmax(axis=1)
    low = slope < _FLAT * np.take_along_axis(slope, steepest[:, None], axis=1)
    # The complex ends where the slope stays low for 16 ms: a single low sample is the top of a wave.
    calm = sliding_window_view(low, rest, axis=1).all(axis=2)
    starts = np.arange(calm.shape[1])
    onset = np.where(calm & (starts + rest <= steepest[:, None]), starts + rest, 0).max(axis=1)
    offset = np.where(calm & (starts > steepest[:, None]), starts, low.shape[1]).min(axis=1)
    return (offset - onset) * 1000 / FINE_RATE


def pacing_spikes(signal: ArrayLike, sampling_rate: float = 100.0) -> NDArray[np.intp]:
    """Find the spikes of a pacemaker.

    A spike lasts a millisecond or two, so its spectrum is flat, where that of a QRS complex falls
    steeply. In a recording of 100 samples per second it is left as a short ripple near 45 Hz. A spike
    is where that ripple (above 38 Hz, all leads together) exceeds 0.12 of the slower deflection
    (5-25 Hz) at the same place, and 0.04 mV.

    Parameters
    ----------
    signal : array of shape (12, n_times)
        Millivolts, standard lead order, not low-passed below 45 Hz.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    int array
        Sample numbers in ascending order, within 30 ms of the spikes.

    Raises
    ------
    InputError
        If the signal is not ``(12, n_times)`` and finite, or the rate not positive.

    Examples
    --------
    >>> ecg = np.zeros((12, 1000))
    >>> ecg[:, 100::100] = 1.0
    >>> pacing_spikes(ecg).tolist()
    [100, 200, 300, 400, 500, 600, 700, 800, 900]
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d
    from scipy.signal import find_peaks

    x = resample(check_recording(signal, sampling_rate), sampling_rate, SPIKE_RATE)
    if x.shape[1] < 50:  # the filters need some length
        return np.empty(0, dtype=np.intp)

    def size(band: Array) -> Array:
        return np.sqrt(np.maximum(uniform_filter1d(np.square(band).sum(axis=0), 3), 0))  # rounding

    ripple = size(filtered(x, 38.0, "highpass", SPIKE_RATE, order=4))
    slow = size(filtered(x, (5.0, 25.0), "bandpass", SPIKE_RATE))
    found, _ = find_peaks(ripple, height=0.04, distance=10)
    found = found[ripple[found] > 0.12 * maximum_filter1d(slow, 3)[found]]
    return np.round(found * sampling_rate / SPIKE_RATE).astype(np.intp)
