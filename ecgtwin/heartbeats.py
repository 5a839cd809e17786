"""Beats in drawn signals: those of one heart, brought nearer to a beat that is given.

Everything here is at 100 Hz, and for a whole batch at once on the device it lies on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .rhythm import BEAT, BEFORE

_STEADY_BEFORE, _STEADY_AFTER = 20, 50
_QRS = (-9, 12)  # samples from R that belong to the QRS complex of any shape
_COMPLEX = (-8, 10)  # and those by which two of them are compared
_SAME_ORIGIN = 0.85  # likeness of two QRS complexes that one focus gives
EARLY = 0.85
"""Of the median interval: a beat after less than that is premature."""
_EDGE = 8  # samples over which a change of beats fades at both of their ends


@dataclass(frozen=True)
class Places:
    """Where the beats of n signals ``(n, 8, t)`` lie, k of them at most.

    Parameters
    ----------
    peaks : int64 Tensor (n, k)
        R peaks in ascending order, as sample numbers; 2 t where a signal has fewer.
    there : bool Tensor (n, k)
        Which of them there are.
    offsets : int64 Tensor (n, t)
        For each sample its place in the beat it belongs to, BEAT where to none.
    owners : int64 Tensor (n, t)
        For each sample the number of that beat, if there is one.
    """

    peaks: Tensor
    there: Tensor
    offsets: Tensor
    owners: Tensor

    @classmethod
    def of(cls, offsets: Tensor) -> Self:
        """Find the beats that `beat_offsets` ``(n, t)`` tell of."""
        offsets = offsets.long()
        n, length = offsets.shape
        time = torch.arange(length, device=offsets.device).expand(n, -1)
        is_peak = offsets == BEFORE
        so_far = is_peak.long().cumsum(dim=1)
        k = max(int(so_far[:, -1].max()), 1)
        peaks = torch.full((n, k + 1), 2 * length, device=offsets.device)
        peaks.scatter_(1, torch.where(is_peak, so_far - 1, k), time)  # the last one is no peak
        peaks = torch.where(torch.arange(k, device=offsets.device) < so_far[:, -1:], peaks[:, :k], 2 * length)
        own_peak = (time - offsets + BEFORE).clamp(0, length - 1)
        owners = (so_far.gather(1, own_peak) - 1).clamp(min=0)
        return cls(peaks, peaks < length, offsets, owners)

    def windows(self, first: int, end: int) -> Tensor:
        """Return the samples from `first` to before `end` of each R peak, ``(n, k, end - first)``."""
        return self.peaks[:, :, None] + torch.arange(first, end, device=self.peaks.device)


def steady_beats(leads: Tensor, places: Places, variation: float, one_origin: Tensor | None = None) -> Tensor:
    """Make the beats of each signal ``(n, 8, t)`` those of one heart.

    The ventricles repeat themselves: where two beats have one origin, real QRS complexes differ by a
    twentieth of their height. What a beat differs by from the mean of its like is reduced, in full
    within QRS and by half up to the end of T. The baseline, beats of another origin, and what lies
    between beats (P or fibrillatory waves) stay as they are.

    Parameters
    ----------
    leads : Tensor (n, 8, t)
        Millivolts.
    places : Places of n
    variation : float
        The share of the differences that is kept: 1 keeps all, 0 makes the beats equal.
    one_origin : bool Tensor (n,), optional
        Whether no beat is to have another origin, as when a pacemaker leads: then all become like the one
        that is most like the others. By default of none.
    """
    if variation == 1:
        return leads
    length = leads.shape[-1]
    at = places.windows(-_STEADY_BEFORE, _STEADY_AFTER)
    beats = _cut(leads, at)
    complexes = _centred(beats[..., _STEADY_BEFORE + _COMPLEX[0] : _STEADY_BEFORE + _COMPLEX[1]])
    alike = _of_usual_origin(complexes, places, one_origin)
    whole = (places.peaks >= 5 - _QRS[0]) & (places.peaks < length - _QRS[1] - 5)
    like = alike & whole
    count = like.sum(dim=1)
    shape = (beats * like[:, None, :, None]).sum(dim=2) / count.clamp(min=1)[:, None, None]
    if one_origin is not None:
        chosen = _most_alike(complexes, like)[:, None, None, None].expand(-1, beats.shape[1], 1, at.shape[-1])
        shape = torch.where(one_origin[:, None, None], beats.gather(2, chosen)[:, :, 0], shape)

    offsets = torch.arange(-_STEADY_BEFORE, _STEADY_AFTER, dtype=leads.dtype, device=leads.device)
    rest = beats - shape[:, :, None]
    start, end = (
        rest[..., _STEADY_BEFORE + first : _STEADY_BEFORE + first + 5].mean(dim=3, keepdim=True)
        for first in (-14, 13)
    )
    rest -= start + (end - start) * ((offsets + 11.5) / 26.5).clamp(0, 1)  # the baseline
    within = (torch.minimum(offsets - _QRS[0] + 5, _QRS[1] + 5 - offsets) / 5).clamp(0, 1)
    later = 0.5 * ((_STEADY_AFTER - offsets) / 8).clamp(0, 1) * (offsets > 0)
    following = places.peaks.diff(dim=1, append=places.peaks.new_full((len(leads), 1), 3 * length))
    changed = alike[:, :, None] & (count >= 3)[:, None, None] & (at >= 0) & (at < length)
    # It ends before that of the next beat begins, so each sample is changed once.
    changed &= offsets < following[:, :, None] - 22
    rest *= ((1 - variation) * torch.maximum(within, later) * changed)[:, None]
    return leads.scatter_add(2, _indices(at, leads), -rest.flatten(2))


def usual_beats(leads: Tensor, places: Places, one_origin: Tensor | None = None) -> Tensor:
    """Tell which beats ``(n, k)`` of signals ``(n, 8, t)`` have the origin that most have, of an equal QRS.

    All of them have where bool ``(n,)`` says that they have one origin, as in `steady_beats`.
    """
    return _of_usual_origin(_centred(_cut(leads, places.windows(*_COMPLEX))), places, one_origin)


def has_ectopic_beat(leads: Tensor, places: Places) -> Tensor:
    """Tell in which signals ``(n, 8, t)`` a beat is early and of another origin, bool ``(n,)``.

    Early is what comes after less than `EARLY` of the median interval; beats at the ends do not count.
    """
    before = places.peaks.diff(dim=1, prepend=places.peaks[:, :1]).to(leads.dtype)
    before[:, :1], before[~places.there] = torch.nan, torch.nan
    early = before < EARLY * _median(before)[:, None]
    whole = (places.peaks >= -_COMPLEX[0]) & (places.peaks < leads.shape[-1] - _COMPLEX[1])
    return (early & whole & ~usual_beats(leads, places)).any(dim=1)


def _cut(leads: Tensor, at: Tensor) -> Tensor:
    """Signals ``(n, 8, t)`` at sample numbers ``(n, k, w)``, ``(n, 8, k, w)``; held beyond their ends."""
    return leads.gather(2, _indices(at, leads)).unflatten(2, at.shape[1:])


def _indices(at: Tensor, leads: Tensor) -> Tensor:
    """Sample numbers ``(n, k, w)`` within signals ``(n, 8, t)``, for each of their leads ``(n, 8, k w)``."""
    return at.clamp(0, leads.shape[-1] - 1).flatten(1)[:, None].expand(-1, leads.shape[1], -1)


def _centred(complexes: Tensor) -> Tensor:
    """QRS complexes ``(n, 8, k, w)`` as rows of mean 0, ``(n, k, 8 w)``."""
    rows = complexes.transpose(1, 2).flatten(2)
    return rows - rows.mean(dim=2, keepdim=True)


def _of_usual_origin(complexes: Tensor, places: Places, one_origin: Tensor | None) -> Tensor:
    """Which complexes ``(n, k, d)`` are like the median one, or said to be, ``(n, k)``."""
    unknown = ~places.there[:, :, None]
    usual = _median(complexes.masked_fill(unknown, torch.nan).transpose(1, 2)).nan_to_num()
    scale = complexes.norm(dim=2) * usual.norm(dim=1, keepdim=True)
    alike = (complexes * usual[:, None]).sum(dim=2) > _SAME_ORIGIN * scale.clamp(min=1e-9)
    alike = alike if one_origin is None else alike | one_origin[:, None]
    return alike & places.there


def _most_alike(complexes: Tensor, among: Tensor) -> Tensor:
    """The number of the complex ``(n, k, d)`` that is most like the others, of those that bool says."""
    shapes = complexes / complexes.norm(dim=2, keepdim=True).clamp(min=1e-9)
    total = (shapes * among[:, :, None]).sum(dim=1, keepdim=True)
    return (shapes * total).sum(dim=2).masked_fill(~among, -torch.inf).argmax(dim=1)


def with_typical_beat(
    leads: Tensor, places: Places, beats: Tensor, share: Tensor, usual: Tensor | None = None
) -> Tensor:
    """Bring the typical beat of each signal ``(n, 8, t)`` nearer to another one.

    What beats differ by from the typical one stays, as do beats of another origin, and what lies where
    the typical one is not known.

    Parameters
    ----------
    leads : Tensor (n, 8, t)
        Millivolts.
    places : Places of n
    beats : Tensor (n, 8, BEAT)
        Millivolts.
    share : Tensor (n, 8, BEAT), or 1 for the whole beat
        0 leaves the beats as they are, 1 makes `beats` the typical ones.
    usual : bool Tensor (n, k), optional
        The beats that are changed; by default the `usual_beats`.
    """
    usual = usual_beats(leads, places) if usual is None else usual
    typical = typical_beats(leads, places)
    place = torch.arange(BEAT, dtype=leads.dtype, device=leads.device)
    known = typical.any(dim=1)  # one stretch around R
    first = torch.where(known, place, BEAT).amin(dim=1, keepdim=True)
    last = torch.where(known, place, -1).amax(dim=1, keepdim=True)
    fading = (torch.minimum(place - first + 1, last - place + 1) / _EDGE).clamp(0, 1)
    change = share * fading[:, None] * (beats - typical)
    inside = (places.offsets < BEAT) & usual.gather(1, places.owners)
    at = places.offsets.clamp(max=BEAT - 1)[:, None].expand(-1, leads.shape[1], -1)
    return leads + change.gather(2, at) * inside[:, None]


def typical_beats(leads: Tensor, places: Places) -> Tensor:
    """Return the median beat of each signal ``(n, 8, t)``, ``(n, 8, BEAT)``.

    It is `typical_beat` of recordings, which have lengths of their own and are read without torch.
    """
    n, n_leads, length = leads.shape
    k = places.peaks.shape[1]
    level = (leads.kthvalue((length + 1) // 2)[0] + leads.kthvalue(length // 2 + 1)[0]) / 2
    at = torch.where(places.offsets < BEAT, places.offsets * k + places.owners, BEAT * k)
    stacked = leads.new_full((n, n_leads, BEAT * k + 1), torch.nan)
    stacked.scatter_(2, at[:, None].expand(-1, n_leads, -1), leads - level[..., None])
    stacked = stacked[..., :-1].unflatten(2, (BEAT, k))  # without what is in no beat
    enough = 2 * stacked.isfinite().sum(dim=3) >= places.there.sum(dim=1)[:, None, None]
    return torch.where(enough, _median(stacked), 0).nan_to_num()


def _median(values: Tensor) -> Tensor:
    """The median over the last dimension, of what is not NaN; NaN where nothing is."""
    ordered = values.sort(dim=-1)[0]  # what is missing comes last
    count = values.isfinite().sum(dim=-1, keepdim=True)
    middle = torch.cat([(count - 1).clamp(min=0) // 2, count // 2], dim=-1)
    return ordered.gather(-1, middle).mean(dim=-1)
