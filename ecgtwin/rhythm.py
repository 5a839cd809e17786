"""When the heart beats, as arrays: whose beat each sample is, and typical beats to place by it.

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
