"""The rhythm model: when the heart beats under a condition, drawn before the beats themselves.

Rhythm is a sequence of a dozen intervals with a long memory; a flow over 10 s of signal learns it
slowly and with an error of bpm. Here a small autoregressive network draws first the heart rate, where
none is asked for, and then one interval after the other, as a ratio to the mean interval. What it
draws are quantile bins of the training set, so that an ectopic beat, its pause and atrial
fibrillation need no assumption. The intervals are then scaled so that the rate is exactly the one
asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import RowLinear
from .tokens import N_STATEMENTS, ConditionArrays, statement_matrix

N_BINS = 96
MEMORY = 8
"""Intervals that the next one depends on."""
_WIDTH = 128
_TYPICAL_RATE = 72.0
_SHORTEST = 0.25  # seconds between two beats
# It learned from 10 s and has never seen how an irregular stretch ends: in a longer rhythm it forgets what
# was before, but for two intervals, or one ectopic beat would lead to the next for ever.
_FORGETS_AFTER, _KEEPS = 12.0, 2


class RhythmModel(nn.Module):
    """Intervals between R peaks, given statements, age, sex, rate, and the person's rate at another time."""

    rate_bins: Tensor
    ratio_bins: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Edges of the bins of log(rate / 72 bpm), and of log(interval / mean interval).
        self.register_buffer("rate_bins", torch.linspace(-0.8, 0.8, N_BINS + 1))
        self.register_buffer("ratio_bins", torch.linspace(-1, 1, N_BINS + 1))
        self.condition = RowLinear(N_STATEMENTS + 6, _WIDTH)
        self.rate = nn.Sequential(RowLinear(_WIDTH + 2, _WIDTH), nn.SiLU(), RowLinear(_WIDTH, N_BINS))
        self.next = nn.Sequential(
            RowLinear(_WIDTH + 1 + 2 * MEMORY, _WIDTH),
            nn.SiLU(),
            RowLinear(_WIDTH, _WIDTH),
            nn.SiLU(),
            RowLinear(_WIDTH, N_BINS),
        )

    def describe(self, conditions: ConditionArrays) -> Tensor:
        """What both networks know of a condition, ``(n, width)``; its heart rate is not part of it."""
        statements = statement_matrix(conditions)
        age = torch.nan_to_num((conditions.age - 60) / 17)
        sex = nn.functional.one_hot(conditions.sex, 3).float()
        known = torch.stack([statements.any(dim=1), ~conditions.age.isnan()], dim=1).float()
        return nn.functional.silu(self.condition(torch.cat([statements, age[:, None], sex, known], dim=1)))

    def rate_logits(self, described: Tensor, own_rate: Tensor) -> Tensor:
        """Logits ``(n, N_BINS)`` of the rate, from the person's rate at another time; NaN if not known."""
        known = torch.isfinite(own_rate)
        log = torch.where(known, (own_rate / _TYPICAL_RATE).log(), 0.0)
        return self.rate(torch.cat([described, 3 * log[:, None], known[:, None].float()], dim=1))

    def next_logits(self, described: Tensor, rate: Tensor, before: Tensor) -> Tensor:
        """Logits of the next interval.

        Parameters
        ----------
        described : Tensor (n, width)
        rate : Tensor (n,)
            Beats per minute.
        before : Tensor (n, MEMORY)
            Log ratios of the last intervals, the last one last; NaN before the first.
        """
        log = (rate / _TYPICAL_RATE).log()[:, None]
        known = torch.isfinite(before)
        past = torch.where(known, before, 0.0)
        return self.next(torch.cat([described, 3 * log, 5 * past, known.float()], dim=1))

    @torch.no_grad()
    def draw(
        self,
        conditions: ConditionArrays,
        own_rates: Tensor,
        uniforms: Tensor,
        seconds: float,
    ) -> Tensor:
        """Draw the times of R peaks within `seconds`, in seconds.

        Parameters
        ----------
        conditions : ConditionArrays of n
            A heart rate that is given is met exactly, but for the share of a beat that a recording cuts off.
        own_rates : Tensor (n,)
            The person's rate at another time, NaN if not known; used where no rate is asked for.
        uniforms : float Tensor (n, k)
            Random numbers, one for the rate, one for the first peak, one for each interval.

        Returns
        -------
        float Tensor (n, k)
            In ascending order; infinity after the last.
        """
        described = self.describe(conditions)
        drawn = _draw_bins(self.rate_logits(described, own_rates), self.rate_bins, uniforms[:, 0])
        rate = torch.where(conditions.heart_rate.isnan(), _TYPICAL_RATE * drawn.exp(), conditions.heart_rate)
        mean = 60 / rate
        shortest = mean.clamp(max=_SHORTEST)
        needed = int(seconds / float(mean.min())) + 2
        steps = self._steps(described, rate, uniforms[:, 2 : 2 + needed])
        first = uniforms[:, 1] * steps[:, 0]
        return _placed(first, steps, mean, shortest, seconds)

    @torch.no_grad()
    def invert(self, conditions: ConditionArrays, intervals: Tensor) -> tuple[Tensor, Tensor]:
        """Return the random numbers that draw rhythms, and how likely each of their intervals is.

        Parameters
        ----------
        conditions : ConditionArrays of n
        intervals : Tensor (n, k)
            Seconds between R peaks.

        Returns
        -------
        uniforms : Tensor (n, k)
            In [0, 1]; with the same conditions, `follow` makes the same rhythms of them.
        log_density : Tensor (n, k)
            Of the logarithm of each interval, those before it given.
        """
        n, k = intervals.shape
        mean = intervals.mean(dim=1, keepdim=True)
        log = (intervals / mean).log()
        before = torch.cat([log.new_full((n, MEMORY), float("nan")), log[:, :-1]], dim=1).unfold(1, MEMORY, 1)
        which = torch.arange(-MEMORY, 0, device=log.device) + torch.arange(k, device=log.device)[:, None]
        before = before.masked_fill(which < _oldest_known(intervals)[..., None], float("nan"))
        logits = self.next_logits(
            self.describe(conditions).repeat_interleave(k, dim=0),
            (60 / mean).expand(n, k).flatten(),
            before.flatten(0, 1),
        )
        probability = logits.double().softmax(dim=1).unflatten(0, (n, k))
        edges = self.ratio_bins.double()
        inside = log.double().clamp(edges[0], edges[-1])
        chosen = (torch.searchsorted(edges, inside, right=True) - 1).clamp(0, N_BINS - 1)
        width = (edges[1:] - edges[:-1])[chosen].clamp(min=1e-9)
        here = probability.gather(2, chosen[..., None])[..., 0]
        below = probability.cumsum(dim=2).gather(2, chosen[..., None])[..., 0] - here
        uniforms = below + here * ((inside - edges[chosen]) / width).clamp(0, 1)
        return uniforms.float(), (here / width).clamp(min=1e-12).log().float()

    @torch.no_grad()
    def follow(self, conditions: ConditionArrays, rates: Tensor, uniforms: Tensor) -> Tensor:
        """Draw intervals ``(n, k)`` in seconds at rates ``(n,)``, from random numbers ``(n, k)``."""
        steps = self._steps(self.describe(conditions), rates, uniforms)
        return steps * (60 / rates / steps.mean(dim=1))[:, None]

    def _steps(self, described: Tensor, rates: Tensor, uniforms: Tensor) -> Tensor:
        """Intervals ``(n, k)`` in seconds, as they are drawn one after the other."""
        mean = 60 / rates
        shortest = mean.clamp(max=_SHORTEST)
        before = torch.full((len(rates), MEMORY), float("nan"), device=rates.device)
        intervals = []
        since = torch.zeros_like(mean)
        for uniform in uniforms.T:
            ratio = _draw_bins(self.next_logits(described, rates, before), self.ratio_bins, uniform)
            intervals.append((mean * ratio.exp()).maximum(shortest))
            before = torch.cat([before[:, 1:], (intervals[-1] / mean).log()[:, None]], dim=1)
            since, forgets = _forgotten(since, intervals[-1])
            before[:, :-_KEEPS].masked_fill_(forgets[:, None], float("nan"))
        return torch.stack(intervals, dim=1)

    @torch.no_grad()
    def likely_rate(self, conditions: ConditionArrays, own_rates: Tensor) -> Tensor:
        """Return the median heart rates ``(n,)`` under conditions, given the persons' at another time."""
        logits = self.rate_logits(self.describe(conditions), own_rates)
        return _TYPICAL_RATE * _draw_bins(logits, self.rate_bins, torch.full_like(own_rates, 0.5)).exp()


def _forgotten(since: Tensor, interval: Tensor) -> tuple[Tensor, Tensor]:
    """Return the seconds ``(n,)`` since something was forgotten, one interval later, and who forgets now."""
    since = since + interval
    forgets = since > _FORGETS_AFTER
    return since * ~forgets, forgets


def _oldest_known(intervals: Tensor) -> Tensor:
    """For each of intervals ``(n, k)`` the first one that is still remembered, as `_steps` forgets."""
    since, oldest = torch.zeros_like(intervals[:, 0]), torch.zeros_like(intervals[:, 0], dtype=torch.long)
    found = []
    for i, interval in enumerate(intervals.T):
        found.append(oldest)
        since, forgets = _forgotten(since, interval)
        oldest = torch.where(forgets, i + 1 - _KEEPS, oldest)
    return torch.stack(found, dim=1)


def _draw_bins(logits: Tensor, edges: Tensor, uniform: Tensor) -> Tensor:
    """Draw from bins by the inverse of their distribution function, evenly within a bin."""
    probability = logits.double().softmax(dim=1)
    upper = probability.cumsum(dim=1)
    u = uniform.double()[:, None]
    chosen = torch.searchsorted(upper, u.clamp(max=1 - 1e-12)).clamp(max=N_BINS - 1)
    lower = upper.gather(1, chosen) - probability.gather(1, chosen)
    inside = ((u - lower) / probability.gather(1, chosen).clamp(min=1e-12)).clamp(0, 1)[:, 0].float()
    left, right = edges[chosen[:, 0]], edges[chosen[:, 0] + 1]
    return left + inside * (right - left)


def _placed(first: Tensor, intervals: Tensor, mean: Tensor, shortest: Tensor, seconds: float) -> Tensor:
    """Times of the beats within a recording, stretched until their mean interval is the one asked for.

    First times, mean and shortest intervals are ``(n,)``, intervals ``(n, k)``, and so are times, infinity
    after the last. In double precision a row's sums do not feel how long the others' rhythms are.
    """
    first, intervals, mean, shortest = (part.double() for part in (first, intervals, mean, shortest))
    first = first.minimum((seconds - 2 * mean).clamp(min=0))
    beats = torch.arange(intervals.shape[1], device=mean.device)
    count = (((seconds - first) / mean).ceil() - 1).clamp(1, len(beats) - 1).long()[:, None]
    inside = beats < count
    mean, shortest = mean[:, None], shortest[:, None]
    steps = intervals * (count * mean / (intervals * inside).sum(dim=1, keepdim=True))
    for _ in beats[1:]:  # what became too short is held, and the others make up for it
        held = inside & (steps <= shortest)
        free = inside & ~held
        unmet = (inside & (steps < shortest)).any(dim=1, keepdim=True) & free.any(dim=1, keepdim=True)
        if not bool(unmet.any()):
            break
        rest = count * mean - held.sum(dim=1, keepdim=True) * shortest
        longer = steps * (rest / (steps * free).sum(dim=1, keepdim=True))
        steps = torch.where(unmet, torch.where(steps <= shortest, shortest, longer), steps)
    times = first[:, None] + nn.functional.pad((steps * inside).cumsum(dim=1), (1, 0))[:, :-1]
    # The next beat is not to fall into the recording: then all beats come later.
    following = times.gather(1, count) + steps.gather(1, count)
    late = times + (seconds - following).clamp(min=0)
    return late.masked_fill(beats > count, math.inf).float()
