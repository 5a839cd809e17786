"""Beats on one clock: registered at the onsets and ends of their waves.

Two hearts, or one heart under two conditions, differ in the shape of their waves and in when these come.
Means and differences of beats mix both up: the mean of a P wave 160 ms before QRS and one 220 ms before
it is low and wide, and no P wave. So beats are compared on a clock on which all P waves, QRS complexes and
T waves begin and end at the same times, and what the clock says is kept apart, as five intervals.

References
----------
Ramsay, Silverman, Functional data analysis, 2nd ed., Springer 2005, chapter 7 (landmark registration).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..rhythm import BEAT, BEFORE

INTERVALS = ("pr", "p", "r", "qrs", "qt")
"""PR, P, R peak time (from the onset of QRS to R), QRS and QT."""

_TEXTBOOK_MS = (160.0, 105.0, 40.0, 95.0, 380.0)

_BOUNDS = ((60.0, 400.0), (30.0, 200.0), (8.0, 120.0), (50.0, 250.0), (180.0, 700.0))  # ms

CLOCK = (0, 12, 25, 31, 40, 53, 83, BEAT - 1)
"""Places in a registered beat: its begin, P's onset and end, QRS's onset, R, QRS's end, T's end, the end.

QRS, which is quickest, has twice the samples that it has at 100 Hz."""

_LEAD_IN, _TAIL = 14.5, 25.0  # samples at 100 Hz before P and after T

QRS_ONSET = CLOCK[3]


def textbook(like: Tensor) -> Tensor:
    """Return the intervals of a textbook's heart ``(5,)``, logs of ms."""
    return torch.tensor(_TEXTBOOK_MS, dtype=like.dtype, device=like.device).log()


def landmarks(intervals: Tensor) -> Tensor:
    """Return where in beats ``(n, 8, BEAT)`` the places of `CLOCK` are, ``(n, 8)``, in rising order.

    Parameters
    ----------
    intervals : Tensor (n, 5)
        Logs of `INTERVALS` in ms.
    """
    low, high = torch.tensor(_BOUNDS, device=intervals.device).log().T
    pr, p, r, qrs, qt = (intervals.clamp(low, high).exp() / 10).unbind(dim=1)
    peak = torch.full_like(r, BEFORE)
    onset = peak - r
    end = peak + (qrs - r).clamp(min=1)
    p_end = torch.minimum(onset - pr + p, onset - 1)
    p_onset = torch.minimum(onset - pr, p_end - 1)
    t_end = torch.maximum(onset + qt, end + 5)
    return torch.stack([p_onset - _LEAD_IN, p_onset, p_end, onset, peak, end, t_end, t_end + _TAIL], dim=1)


def risen(since: Tensor, edge: int) -> Tensor:
    """Rise from 0 to 1 over `edge` samples to each side of where `since`, in samples, is 0."""
    return ((since + edge) / (2 * edge)).clamp(0, 1)


def registered(beats: Tensor, intervals: Tensor) -> Tensor:
    """Bring beats ``(n, 8, BEAT)`` at 100 Hz, with logs of intervals ``(n, 5)``, to the common clock."""
    return _warped(beats, landmarks(intervals), _clock(beats))


def timed(beats: Tensor, intervals: Tensor) -> Tensor:
    """Bring registered beats ``(n, 8, BEAT)`` to 100 Hz, where they have these intervals ``(n, 5)``."""
    return _warped(beats, _clock(beats), landmarks(intervals))


def _clock(beats: Tensor) -> Tensor:
    return torch.tensor(CLOCK, dtype=beats.dtype, device=beats.device).expand(len(beats), -1)


def _warped(beats: Tensor, own: Tensor, new: Tensor) -> Tensor:
    """Move what is at places `own` ``(n, 8)`` to `new`: cubic convolution (Keys 1981) between samples."""
    samples = torch.arange(beats.shape[-1], dtype=new.dtype, device=new.device).expand(len(new), -1)
    after = torch.searchsorted(new.contiguous(), samples.contiguous()).clamp(1, new.shape[1] - 1)
    start, stop = new.gather(1, after - 1), new.gather(1, after)
    own_start, own_stop = own.gather(1, after - 1), own.gather(1, after)
    places = own_start + (samples - start) * (own_stop - own_start) / (stop - start)
    places = places.clamp(0, beats.shape[-1] - 1)
    left = places.long().clamp(max=beats.shape[-1] - 2)
    f = (places - left)[:, None]
    weights = (
        ((-0.5 * f + 1) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1,
        ((-1.5 * f + 2) * f + 0.5) * f,
        (0.5 * f - 0.5) * f * f,
    )
    total = torch.zeros_like(beats)
    for shift, weight in zip((-1, 0, 1, 2), weights, strict=True):
        at = (left + shift).clamp(0, beats.shape[-1] - 1)[:, None].expand_as(beats)
        total += weight * beats.gather(2, at)
    return total
