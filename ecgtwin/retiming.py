"""A recording's own beats at other times: what a change of heart rate or rhythm does to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .delineation import Delineation

Array = NDArray[Any]

_AFTER_SHARE = 0.6
"""Of the interval between two R peaks, what belongs to the first beat; the rest to the next."""
_QRS = 0.06  # seconds on either side of R that keep their length
_P_ONSET, _T_END = 0.24, 0.42  # seconds from R at 60 beats per minute; what lies beyond is rest
_BLEND = 0.08  # seconds over which one beat gives way to the next
_ISOELECTRIC = 0.08  # seconds before R where the heart is silent
_SAME_TIMING = np.log(1.12)
_REST_MS = 20.0
"""What remains at least between P and QRS, and between T and the next P, where there was as much."""


def retime(signal: Array, peaks: Array, new_peaks: Array, sampling_rate: float) -> NDArray[np.float32]:
    """Move the beats of a recording to other times.

    QRS keeps its length, ST-T and P stretch with the cube root of the interval (Fridericia's law), and
    the rest between beats takes up what remains. The baseline stays where it was. Where there are more
    beats than before, neighbours are repeated; a beat that comes neither earlier nor later than usual
    is made of one that did so in the recording.

    Parameters
    ----------
    signal : array (n_leads, t)
        Millivolts.
    peaks, new_peaks : int arrays
        R peaks as sample numbers, two of each at least, within the recording.
    sampling_rate : float

    Returns
    -------
    float32 array (n_leads, t)

    Examples
    --------
    >>> t = np.arange(1000)
    >>> beats = sum(np.exp(-(((t - peak) / 3) ** 2)) for peak in (100, 300, 500, 700, 900))[None]
    >>> slower = retime(beats, np.arange(100, 1000, 200), np.arange(100, 1000, 250), 100.0)
    >>> np.flatnonzero(slower[0] > 0.99).tolist()
    [100, 350, 600, 850]
    """
    if np.array_equal(peaks, new_peaks):
        return np.array(signal, dtype=np.float32)
    length = signal.shape[-1]
    time, blend = np.arange(length), _BLEND * sampling_rate
    level = _baseline(signal, peaks, sampling_rate)
    beats = np.asarray(signal, dtype=np.float64) - level
    # The beat after the end: its P wave may be seen.
    new_peaks = np.append(new_peaks, max(2 * new_peaks[-1] - new_peaks[-2], length))
    before, after = _intervals(peaks)
    new_before, new_after = _intervals(new_peaks)
    moved, total = np.zeros_like(beats), np.zeros(length)
    chosen = sources(peaks, new_peaks, length)
    for j, i in enumerate(chosen):
        r = new_peaks[j]
        start = r - (1 - _AFTER_SHARE) * new_before[j] if j else -np.inf
        is_tail = j == len(chosen) - 2 and i == len(peaks) - 1  # of which there is all that follows
        end = np.inf if is_tail else r + _AFTER_SHARE * new_after[j]
        near = slice(*np.clip([start - blend, end + blend], 0, length).astype(int))
        # Ramps that add up to one over neighbours, and the beat's own clock within them.
        t = time[near]
        weight = np.clip(0.5 + np.minimum(t - start, end - t) / blend, 1e-6, 1)
        clock = np.where(
            t < r,
            -_own_time(r - t, (1 - _AFTER_SHARE) * new_before[j], (1 - _AFTER_SHARE) * before[i],
                       _P_ONSET, new_before[j], before[i], sampling_rate),
            _own_time(t - r, _AFTER_SHARE * new_after[j], _AFTER_SHARE * after[i],
                      _T_END, new_after[j], after[i], sampling_rate),
        )  # fmt: skip
        place = np.clip(peaks[i] + clock, 0, length - 1)
        left = np.minimum(place.astype(int), length - 2)
        moved[:, near] += weight * (beats[:, left] + (place - left) * (beats[:, left + 1] - beats[:, left]))
        total[near] += weight
        if is_tail:
            break
    return (moved / total + level).astype(np.float32)


def with_intervals(
    signal: Array,
    sampling_rate: float,
    measured: Delineation,
    measured_rate: float,
    *,
    longer_pr_ms: float = 0.0,
    longer_qt_ms: float = 0.0,
) -> NDArray[np.float32]:
    """Lengthen, or shorten, PR and QT of a recording's beats of the usual kind.

    QRS stays where it is. P is moved as it is, PR segment and rest between beats take up the change; ST-T
    is stretched. No further than there is room: T ends before the next P, and P before QRS.

    Parameters
    ----------
    signal : array (n_leads, t)
        Millivolts.
    sampling_rate : float
    measured : Delineation
        Of the same recording, at `measured_rate`.
    measured_rate : float
    longer_pr_ms, longer_qt_ms : float
        In milliseconds; what was not measurable is left as it is.

    Returns
    -------
    float32 array (n_leads, t)

    Examples
    --------
    >>> from ecgtwin.delineation import delineate
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecg = make_ecgs(1, 1, statements=("NORM",), random_state=0).signals[0]
    >>> before = delineate(ecg)
    >>> after = delineate(with_intervals(ecg, 100, before, 100, longer_pr_ms=50))
    >>> abs(after.pr_ms - before.pr_ms - 50) < 10
    True
    """
    d, step = measured, 1000 / sampling_rate
    if not np.isfinite(d.qt_ms):
        return np.array(signal, dtype=np.float32)
    longer_pr_ms = step * round(longer_pr_ms / step)  # whole samples, so that P is not interpolated
    has_p = bool(np.isfinite(d.pr_ms))
    onsets = 1000 * np.asarray(d.beats) / measured_rate - d.onset_ms
    starts = onsets - d.pr_ms if has_p else onsets
    own, new = [-1e6], [-1e6]  # where waves begin and end, and where they are to
    for onset, start, following, usual in zip(onsets, starts, [*starts[1:], 1e6], d.dominant, strict=True):
        room = min(_REST_MS, start - own[-1])
        if usual and has_p and room > 0:
            latest = onset - d.p_ms - min(_REST_MS, d.pr_ms - d.p_ms)
            place = np.clip(start - longer_pr_ms, new[-1] + room, latest)
            own += [start, start + d.p_ms]
            new += [place, place + d.p_ms]
        end, rest = onset + d.qrs_ms, onset + d.qt_ms
        own += [onset, end]
        new += [onset, end]
        room = min(_REST_MS, following - rest)
        if room > 0:
            longer = max(longer_qt_ms, 0.5 * (end - rest)) if usual else 0.0
            own.append(rest)
            new.append(min(rest + longer, following - room))
    places = np.interp(np.arange(signal.shape[-1]) * step, [*new, 1e6], [*own, 1e6]) / step
    places = np.clip(places, 0, signal.shape[-1] - 1)
    left = np.minimum(places.astype(int), signal.shape[-1] - 2)
    share = places - left
    return np.asarray((1 - share) * signal[:, left] + share * signal[:, left + 1], dtype=np.float32)


def sources(peaks: Array, new_peaks: Array, length: int) -> NDArray[np.intp]:
    """Return for each new beat the number of the old one it is made of.

    The one in its place among those that came as early or late; none whose end the recording cuts off,
    if the new beat's end is seen.
    """
    own, new = _earliness(peaks), _earliness(new_peaks)
    place = np.arange(len(new_peaks)) * ((len(peaks) - 1) / max(len(new_peaks) - 1, 1))
    if abs(len(peaks) - len(new_peaks)) <= 1:
        place = np.arange(len(new_peaks), dtype=float)
    unlike = np.abs(new[:, None] - own).max(axis=-1)
    cost = np.abs(place[:, None] - np.arange(len(peaks))) + 1000 * np.maximum(unlike - _SAME_TIMING, 0)
    cut = (length - np.asarray(peaks))[None] + 1 < (length - np.asarray(new_peaks))[:, None]
    cost += 1000.0 * cut * (np.asarray(peaks) > length - np.median(np.diff(peaks)))
    chosen = cost.argmin(axis=1)
    chosen[0] = 0  # with all that is before it
    return chosen


def _earliness(peaks: Array) -> Array:
    """Return logs of the intervals before and after each beat over the usual one ``(k, 2)``."""
    before, after = _intervals(peaks)
    usual = np.median(np.diff(peaks))
    return np.log(np.stack([before, after], axis=1) / usual)


def _intervals(peaks: Array) -> tuple[Array, Array]:
    """Return the samples before and after each beat; at the ends those of the neighbour."""
    steps = np.diff(peaks).astype(np.float64)
    return np.concatenate([steps[:1], steps]), np.concatenate([steps, steps[-1:]])


def _own_time(
    offset: Array, new_half: float, half: float, active: float, new_rr: float, rr: float, rate: float
) -> Array:
    """Return where on the old beat's clock `offset` samples from R lie, on one side of it.

    QRS as it was; the wave that follows (or leads) scaled by the cube root of the intervals' ratio; the
    rest stretched to meet the border of the beat, and beyond it unscaled.
    """
    qrs = min(_QRS * rate, 0.3 * half, 0.3 * new_half)
    end = min(max(active * rate * min((rr / rate) ** (1 / 3), 1.0), qrs), 0.9 * half)
    new_end = qrs + (end - qrs) * (new_rr / rr) ** (1 / 3)
    new_end = min(new_end, qrs + 0.9 * (new_half - qrs))
    knots = np.array([0.0, qrs, max(new_end, qrs + 1e-3), new_half, new_half + 1e6])
    return np.interp(offset, knots, [0.0, qrs, max(end, qrs + 1e-3), half, half + 1e6])


def _baseline(signal: Array, peaks: Array, sampling_rate: float) -> Array:
    """Return the level of each lead ``(n_leads, t)``: a smooth curve through the silence before QRS."""
    from scipy.interpolate import CubicSpline  # linear in the leads, so that their laws hold

    half = max(1, round(0.01 * sampling_rate))
    at = np.asarray(peaks) - round(_ISOELECTRIC * sampling_rate)
    at = at[(at >= half) & (at < signal.shape[-1] - half)]
    if len(at) < 2:
        return np.median(signal, axis=-1, keepdims=True).astype(np.float64) + np.zeros(signal.shape)
    levels = np.mean([signal[:, at + k] for k in range(-half, half + 1)], axis=0)
    inside = np.clip(np.arange(signal.shape[-1]), at[0], at[-1])
    return np.asarray(CubicSpline(at, levels, axis=-1, bc_type="natural")(inside), dtype=np.float64)
