"""When the heart beats, as arrays: what the networks are told of rhythm, and typical beats to place by it.

Everything here is at 100 Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .beats import mean_rate, r_peaks
from .delineation import delineate
from .ecg import NATIVE_RATE
from .leads import INDEPENDENT_LEADS, independent_leads
from .parallel import on_all_cores

Array = NDArray[Any]

BEFORE, AFTER = 35, 60
"""Samples of a beat before its R peak, and from it on."""
BEAT = BEFORE + AFTER

_AT_ONCE = 512
"""Recordings whose beats one process finds."""

_OWN_SHARE = 0.6
"""Of the interval between two R peaks, what belongs to the first beat; the rest to the next."""

N_CHANNELS = 16
"""Of a rhythm, in each patch."""
_PATCH = 10
_BUMP_SAMPLES = 1.5
_LONGEST = 3.0  # seconds; further away is as good as never


@dataclass(frozen=True)
class Beats:
    """The R peaks of recordings, a typical beat of each, and its intervals.

    Parameters
    ----------
    peaks : sequence of n int arrays
        Sample numbers.
    typical : float32 array (n, 8, BEAT)
        The median beat in mV, aligned on R, of the 8 independent leads; 0 is the lead's own median.
    rates : float32 array (n,)
        Beats per minute; NaN where there are fewer than two beats.
    intervals : float32 array (n, 5)
        Logs of PR, P, R peak time, QRS and QT in ms; NaN where not measurable.
    """

    peaks: Sequence[NDArray[np.intp]]
    typical: NDArray[np.float32]
    rates: NDArray[np.float32]
    intervals: NDArray[np.float32]

    @classmethod
    def of(cls, signals: Array, peaks: Sequence[NDArray[np.intp]] | None = None) -> Self:
        """Find the beats of recordings ``(n, 12, t)`` in mV; leads that are missing may be zero."""
        if peaks is None:
            found = on_all_cores(_beats_of_each, signals, _AT_ONCE)
        else:
            found = [_beats_of(one, at) for one, at in zip(signals, peaks, strict=True)]
        if not found:
            nothing = np.zeros((0, len(INDEPENDENT_LEADS), BEAT)), np.zeros(0), np.zeros((0, 5))
            return cls([], *(part.astype(np.float32) for part in nothing))
        at, *parts = zip(*found, strict=True)
        return cls(list(at), *(np.array(part, dtype=np.float32) for part in parts))


def _beats_of(signal: Array, peaks: Array) -> tuple[Array, Array, float, Array]:
    """R peaks, typical beat, rate, and logs of intervals of one recording ``(12, t)``."""
    d = delineate(signal, NATIVE_RATE, peaks=peaks)
    ms = np.array([d.pr_ms, d.p_ms, d.onset_ms, d.qrs_ms, d.qt_ms])
    intervals = np.log(np.where(ms > 0, ms, np.nan))  # in what is no ECG QRS may end where it begins
    return peaks, typical_beat(independent_leads(signal), peaks), mean_rate(peaks), intervals


def _beats_of_each(signals: Array) -> list[tuple[Array, Array, float, Array]]:
    return [_beats_of(one, r_peaks(one, NATIVE_RATE)) for one in signals]


def typical_beat(leads: Array, peaks: Array) -> NDArray[np.float32]:
    """Return the median beat ``(n_leads, BEAT)`` of a recording ``(n_leads, t)``.

    A sample counts for the beat it belongs to alone, so that a fast heart's next beat is not in it.
    Where fewer than half of the beats have a sample it is 0: a median of one or two is their baseline.
    """
    if not len(peaks):
        return np.zeros((len(leads), BEAT), dtype=np.float32)
    leads = leads - np.median(leads, axis=-1, keepdims=True)
    offsets, owners = beat_offsets(peaks, leads.shape[-1]), _owners(peaks, leads.shape[-1])
    inside = offsets < BEAT
    stacked = np.full((len(peaks), len(leads), BEAT), np.nan, dtype=np.float32)
    stacked[owners[inside], :, offsets[inside]] = leads[:, inside].T
    ordered = np.sort(stacked, axis=0)  # what is missing comes last
    count = np.isfinite(ordered).sum(axis=0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2])
    return np.where(2 * count >= len(peaks), np.take_along_axis(ordered, middle, axis=0).mean(axis=0), 0)


def beat_offsets(peaks: Array, length: int) -> NDArray[np.int16]:
    """Return for each sample its place in the beat it belongs to, ``(length,)``; BEAT is outside of any."""
    if not len(peaks):
        return np.full(length, BEAT, dtype=np.int16)
    offsets = np.arange(length) - np.asarray(peaks)[_owners(peaks, length)] + BEFORE
    return np.where((offsets >= 0) & (offsets < BEAT), offsets, BEAT).astype(np.int16)


def _owners(peaks: Array, length: int) -> NDArray[np.intp]:
    """Return for each sample the number of the beat it belongs to, ``(length,)``."""
    borders = peaks[:-1] + _OWN_SHARE * np.diff(peaks)
    return np.searchsorted(borders, np.arange(length), side="left")


def rhythm_channels(peaks: Array, length: int) -> NDArray[np.float32]:
    """Return what the denoiser is told of the rhythm, ``(N_CHANNELS, length / 10)``.

    Of each patch of 100 ms: how near an R peak each of its samples is, and at its middle the times
    since the last and to the next R peak, their sum and their ratio, on scales of about one.
    """
    time = np.arange(length)
    n_patches = length // _PATCH
    middle = (np.arange(n_patches) + 0.5) * _PATCH - 0.5
    channels = np.zeros((N_CHANNELS, n_patches), dtype=np.float32)
    peaks = np.asarray(peaks, dtype=np.float64)
    edges = np.concatenate([[-np.inf], peaks, [np.inf]])
    if len(peaks):
        last = np.searchsorted(peaks, time, side="right")
        distance = np.minimum(time - edges[last], edges[last + 1] - time)
        near = np.exp(-0.5 * (distance / _BUMP_SAMPLES) ** 2)
        channels[:_PATCH] = near[: n_patches * _PATCH].reshape(n_patches, _PATCH).T
    following = np.searchsorted(peaks, middle, side="right")
    since = np.minimum((middle - edges[following]) / NATIVE_RATE, _LONGEST)
    until = np.minimum((edges[following + 1] - middle) / NATIVE_RATE, _LONGEST)
    phase = 2 * np.pi * since / (since + until)
    channels[_PATCH:] = [
        np.log(since + 0.05),
        np.log(until + 0.05),
        np.log(since + until),
        np.sin(phase),
        np.cos(phase),
        np.exp(-((since - 0.25) ** 2) / 0.02),  # about the T wave
    ]
    return channels


_STEADY_BEFORE, _STEADY_AFTER = 20, 50
_QRS = (-9, 12)  # samples from R that belong to the QRS complex of any shape
_SAME_ORIGIN = 0.85  # likeness of two QRS complexes that one focus gives


def steady_beats(
    leads: Array, peaks: Array, variation: float, *, one_origin: bool = False
) -> NDArray[np.float32]:
    """Make the beats of one recording ``(n_leads, t)`` those of one heart.

    The ventricles repeat themselves: where two beats have one origin, real QRS complexes differ by a
    twentieth of their height. What a beat differs by from the mean of its like is reduced, in full
    within QRS and by half up to the end of T. The baseline, beats of another origin, and what lies
    between beats (P or fibrillatory waves) stay as they are.

    Parameters
    ----------
    leads : array (n_leads, t)
        Millivolts at 100 Hz.
    peaks : int array
        R peaks, as sample numbers.
    variation : float
        The share of the differences that is kept: 1 keeps all, 0 makes the beats equal.
    one_origin : bool
        Whether no beat is to have another origin, as when a pacemaker leads: then all become like the one
        that is most like the others.
    """
    length = leads.shape[-1]
    if len(peaks) < 3 or variation == 1:
        return np.asarray(leads, dtype=np.float32)
    offsets = np.arange(-_STEADY_BEFORE, _STEADY_AFTER)
    padded = np.pad(leads, ((0, 0), (_STEADY_BEFORE, _STEADY_AFTER)), mode="edge")
    places = peaks[:, None] + _STEADY_BEFORE + offsets  # (k, w)
    beats = padded[:, places].transpose(1, 0, 2)  # (k, n_leads, w)
    alike = np.ones(len(peaks), dtype=bool) if one_origin else usual_beats(leads, peaks)
    whole = (peaks >= 5 - _QRS[0]) & (peaks < length - _QRS[1] - 5)
    if (alike & whole).sum() < 3:
        return np.asarray(leads, dtype=np.float32)

    like = beats[alike & whole]
    rest = beats - (like[_most_alike(_complexes(leads, peaks[whole]))] if one_origin else like.mean(axis=0))
    start = rest[:, :, (offsets >= -14) & (offsets < -9)].mean(axis=2, keepdims=True)
    end = rest[:, :, (offsets >= 13) & (offsets < 18)].mean(axis=2, keepdims=True)
    rest -= start + (end - start) * np.clip((offsets + 11.5) / 26.5, 0, 1)  # the baseline
    within = np.clip(np.minimum(offsets - _QRS[0] + 5, _QRS[1] + 5 - offsets) / 5, 0, 1)
    later = 0.5 * np.clip((_STEADY_AFTER - offsets) / 8, 0, 1) * (offsets > 0)
    following = np.diff(peaks, append=peaks[-1] + length)
    weight = np.maximum(within, later) * (offsets < following[:, None] - 22) * alike[:, None]
    change = (1 - variation) * rest * weight[:, None]
    steady = padded.astype(np.float32)
    for peak, one in zip(peaks, change, strict=True):
        steady[:, peak : peak + len(offsets)] -= one
    return np.ascontiguousarray(steady[:, _STEADY_BEFORE : _STEADY_BEFORE + length])


def usual_beats(leads: Array, peaks: Array) -> NDArray[np.bool_]:
    """Tell which beats of a recording ``(n_leads, t)`` have the origin that most have: of an equal QRS."""
    complexes = _complexes(leads, peaks)
    usual = np.median(complexes, axis=0)
    scale = np.linalg.norm(complexes, axis=1) * np.linalg.norm(usual)
    return np.asarray(complexes @ usual > _SAME_ORIGIN * np.maximum(scale, 1e-9))


def _complexes(leads: Array, peaks: Array) -> Array:
    """The QRS complexes of a recording ``(n_leads, t)``, ``(k, n_leads * 18)``, each of mean 0."""
    padded = np.pad(leads, ((0, 0), (8, 10)), mode="edge")
    places = peaks[:, None] + np.arange(18)
    complexes = padded[:, places].transpose(1, 0, 2).reshape(len(peaks), -1)
    return np.asarray(complexes - complexes.mean(axis=1, keepdims=True))


def _most_alike(complexes: Array) -> int:
    """The number of the complex that is most like the others."""
    shapes = complexes / np.maximum(np.linalg.norm(complexes, axis=1, keepdims=True), 1e-9)
    return int(np.argmax((shapes @ shapes.T).sum(axis=1)))


_EDGE = 8  # samples over which a change of beats fades at both of their ends


def with_typical_beat(
    leads: Array, peaks: Array, beat: Array, share: float | Array, usual: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Bring the typical beat of a recording ``(n_leads, t)`` nearer to another one.

    What beats differ by from the typical one stays, as do beats of another origin, and what lies where
    the typical one is not known.

    Parameters
    ----------
    leads : array (n_leads, t)
        Millivolts at 100 Hz.
    peaks : int array
        R peaks, as sample numbers.
    beat : array (n_leads, BEAT)
        Millivolts.
    share : float or array (n_leads, 1)
        0 leaves the beats as they are, 1 makes `beat` the typical one.
    usual : bool array, optional
        The beats that are changed; by default the `usual_beats`.
    """
    if not len(peaks) or not np.any(share):
        return np.asarray(leads, dtype=np.float32)
    usual = usual_beats(leads, peaks) if usual is None else usual
    typical = typical_beat(leads, peaks)
    known = np.flatnonzero(typical.any(axis=0))  # one stretch around R
    first, last = (known[0], known[-1]) if len(known) else (0, -1)
    place = np.arange(BEAT)
    fading = np.clip(np.minimum(place - first + 1, last - place + 1) / _EDGE, 0, 1)
    change = share * fading * (beat - typical)
    offsets = beat_offsets(peaks, leads.shape[-1])
    inside = (offsets < BEAT) & usual[_owners(peaks, leads.shape[-1])]
    changed = np.array(leads, dtype=np.float32)
    changed[:, inside] += change[:, offsets[inside]]
    return changed
