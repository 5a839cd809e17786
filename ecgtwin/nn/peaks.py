"""R peaks of many recordings as one tensor, and what the networks are told of them.

R peaks are float32 ``(n, k)``: sample numbers at 100 Hz in ascending order, and infinity after the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ..ecg import NATIVE_RATE
from ..rhythm import BEAT, BEFORE

N_CHANNELS = 16
"""Of a rhythm, in each patch."""
_PATCH = 10
_BUMP_SAMPLES = 1.5
_LONGEST = 3.0  # seconds; further away is as good as never


def as_peaks(rhythms: Sequence[NDArray[Any]], device: torch.device | str = "cpu") -> Tensor:
    """Return R peaks ``(n, k)`` of recordings, each given by its sample numbers."""
    rows = [torch.tensor(one, dtype=torch.float32) for one in rhythms]
    return pad_sequence(rows, batch_first=True, padding_value=math.inf).to(device)


def peaks_at(times: Tensor) -> Tensor:
    """Return R peaks ``(n, k)`` at times ``(n, k)`` in seconds: two within a sample are one."""
    samples = (NATIVE_RATE * times).trunc()
    again = torch.zeros_like(samples, dtype=torch.bool)
    again[:, 1:] = samples[:, 1:] == samples[:, :-1]
    return samples.masked_fill(again, math.inf).sort(dim=1).values


def intervals_between(peaks: Tensor) -> Tensor:
    """Return the intervals ``(n, k - 1)`` between R peaks in seconds, float64; infinity after the last."""
    steps = peaks.double().diff(dim=1) / NATIVE_RATE
    return steps.masked_fill(peaks[:, 1:].isinf(), math.inf)


def mean_rates(peaks: Tensor) -> Tensor:
    """Return 60 over the mean interval between R peaks ``(n,)``, per minute; NaN for fewer than two."""
    intervals = intervals_between(peaks)
    there = intervals.isfinite()
    count = there.sum(dim=1)
    rates = 60 * count / torch.where(there, intervals, 0.0).sum(dim=1)
    return rates.masked_fill(count == 0, math.nan).float()


def beat_offsets(peaks: Tensor, length: int) -> Tensor:
    """Return each sample's place in the beat it belongs to, int16 ``(n, length)``; BEAT is outside of any.

    This is `ecgtwin.rhythm.beat_offsets`, which does without PyTorch for one recording.
    """
    since, until = _around(peaks, torch.arange(length, dtype=peaks.dtype, device=peaks.device))
    # To the first of two beats belong three fifths of the interval; so said, no sample falls to rounding.
    places = BEFORE + torch.where(2 * since <= 3 * until, since, -until)
    return places.masked_fill((places < 0) | (places > BEAT), BEAT).to(torch.int16)


def rhythm_channels(peaks: Tensor, length: int) -> Tensor:
    """Return what the denoiser is told of rhythms, ``(n, N_CHANNELS, length / 10)``.

    Of each patch of 100 ms: how near an R peak each of its samples is, and at its middle the times
    since the last and to the next R peak, their sum and their ratio, on scales of about one.
    """
    samples = torch.arange(length // _PATCH * _PATCH, dtype=peaks.dtype, device=peaks.device)
    since, until = _around(peaks, samples)
    near = (-0.5 * (since.minimum(until) / _BUMP_SAMPLES).square()).exp()
    since, until = (
        (one / NATIVE_RATE).clamp(max=_LONGEST)
        for one in _around(peaks, samples[::_PATCH] + (_PATCH - 1) / 2)
    )
    phase = 2 * math.pi * since / (since + until)
    clocks = [
        (since + 0.05).log(),
        (until + 0.05).log(),
        (since + until).log(),
        phase.sin(),
        phase.cos(),
        (-(since - 0.25).square() / 0.02).exp(),  # about the T wave
    ]
    return torch.cat([near.unflatten(1, (-1, _PATCH)).transpose(1, 2), torch.stack(clocks, dim=1)], dim=1)


def _around(peaks: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return samples since the last R peak and until the next ``(n, t)``, infinite where there is none."""
    edges = F.pad(F.pad(peaks, (1, 0), value=-math.inf), (0, 1), value=math.inf)
    times = times.expand(len(peaks), -1).contiguous()
    following = torch.searchsorted(edges, times, right=True)
    return times - edges.gather(1, following - 1), edges.gather(1, following) - times
