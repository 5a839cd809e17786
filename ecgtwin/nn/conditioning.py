"""All that the flow is given of a twin, and the context that the denoiser reads patch by patch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from ..conditions import STATEMENTS
from .autoencoder import PatchAutoencoder
from .prior import N_COMPONENTS, N_PACING, N_WAVES, PACED, BeatPrior, facts_of, replay
from .registration import CLOCK, QRS_ONSET, risen, timed
from .tokens import N_STATEMENTS, ConditionArrays

NO_P_WAVE = [STATEMENTS.index(code) for code in ("AFIB", "AFLT")]
_SINUS = [STATEMENTS.index(code) for code in ("SR", "SARRH", "SBRAD", "STACH")]
_ECTOPIC = [STATEMENTS.index(code) for code in ("PAC", "PVC", "BIGU", "TRIGU", "PRC(S)")]
"""What is said of when the heart beats, and cannot be seen in a typical beat."""

_OTHERWISE_DRIVEN = 0.3
"""Of a residual, what is left where a pacemaker leads and did not, or did and does not.

So much QRS complexes of one person have in common with and without one, in folds 1-8 of PTB-XL."""

_SILENT, EDGE = 0.3, 2
"""Of a residual, what is left where atria and ventricles are silent, and samples over which that fades.

In pairs of recordings of one person, folds 1-8 of PTB-XL, 0.2 of it comes again before P, and 0.4 between P
and QRS: the rest is that recording's baseline, which a condition that moves P would make bumps of."""


@dataclass(frozen=True)
class Conditioning:
    """What n twins are to be: whose, under which condition, and in which rhythm.

    Parameters
    ----------
    conditions : ConditionArrays of n
    bases : Tensor (n, base_dim)
        Base vectors of unit length.
    residuals : Tensor (n, 8, BEAT)
        What is the person's own in a registered beat, in mV; zero where nothing is known.
    own : Tensor (n, N_FACTS)
        The facts of the person's recording: what a condition that is left open falls back on.
    rates : Tensor (n,)
        Heart rates of the twins in beats per minute; NaN where not known.
    intervals : Tensor (n, 5)
        Of the twins' beats: logs of ms.
    offsets : int16 Tensor (n, t)
        For each sample its place in a beat.
    rhythm : Tensor (n, N_CHANNELS, m)
    pacing : Tensor (n, N_PACING)
        Standard normal numbers: where a pacemaker paces that the person was recorded without; 0 is the mean.
    company : Tensor (n, N_STATEMENTS)
        Statements that are not asked for, from 0 to 1: how much they come along.
    towards : Tensor (n, N_COMPONENTS)
        Principal components that counterfactual beats change by, to meet the criteria of what is asked for.
    defined : bool Tensor (n, 3)
        Which waves, P, QRS and ST with T, a measurement defines under what is asked for.
    held_back : Tensor (n, 8, BEAT)
        What is added to registered beats that are to stop on the way to what is asked for, in mV.
    """

    conditions: ConditionArrays
    bases: Tensor
    residuals: Tensor
    own: Tensor
    rates: Tensor
    intervals: Tensor
    offsets: Tensor
    rhythm: Tensor
    pacing: Tensor
    company: Tensor
    towards: Tensor
    defined: Tensor
    held_back: Tensor

    @classmethod
    def plain(
        cls,
        conditions: ConditionArrays,
        bases: Tensor,
        residuals: Tensor,
        own: Tensor,
        rates: Tensor,
        intervals: Tensor,
        offsets: Tensor,
        rhythm: Tensor,
    ) -> Self:
        """Return what twins are to be where all that is asked for is shown, and nothing else is seen to."""
        n = len(rates)
        return cls(
            conditions,
            bases,
            residuals,
            own,
            rates,
            intervals,
            offsets,
            rhythm,
            pacing=rates.new_zeros(n, N_PACING),
            company=rates.new_zeros(n, N_STATEMENTS),
            towards=rates.new_zeros(n, N_COMPONENTS),
            defined=rates.new_zeros(n, N_WAVES, dtype=torch.bool),
            held_back=torch.zeros_like(residuals),
        )

    def __len__(self) -> int:
        return len(self.rates)

    def to(self, device: torch.device | str) -> Conditioning:
        """Move to a device."""
        return Conditioning(*(getattr(self, field.name).to(device) for field in fields(self)))

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        return Conditioning(*(getattr(self, field.name)[rows] for field in fields(self)))

    def repeat(self, times: int) -> Conditioning:
        """Repeat all rows, one set after the other."""
        return self[torch.arange(len(self), device=self.rates.device).repeat(times)]

    def told(self, has_condition: Tensor) -> Conditioning:
        """Keep the condition where bool ``(n,)`` says so: elsewhere beats are the person's as recorded."""
        told = has_condition[:, None]
        return replace(
            self,
            conditions=self.conditions.keep(told),
            company=self.company * told,
            towards=self.towards * told,
            held_back=self.held_back * told[..., None],
        )

    @property
    def facts(self) -> Tensor:
        """What twins show, ``(n, N_FACTS)``: what is asked for; what that leaves open, as recorded."""
        return self.facts_with(self.own)

    def facts_with(self, fallback: Tensor) -> Tensor:
        """What is asked for, and comes along; what that leaves open, from a fallback ``(n, N_FACTS)``."""
        return open_facts(facts_of(self.conditions), fallback, self.company)

    @property
    def paced(self) -> Tensor:
        """Whether a pacemaker leads, so that no beat has another origin, bool ``(n,)``."""
        return is_paced(self.facts)

    @torch.no_grad()
    def context(self, autoencoder: PatchAutoencoder, prior: BeatPrior, has_person: Tensor) -> Tensor:
        """Return counterfactual beats as latents, and the rhythm, ``(n, latent_dim + c, m)``."""
        beats = replay(self.beats(prior, has_person), self.offsets)
        return torch.cat([autoencoder.encode(beats), self.rhythm], dim=1)

    def beats(self, prior: BeatPrior, has_person: Tensor) -> Tensor:
        """Return counterfactual beats ``(n, 8, BEAT)`` in mV at 100 Hz, of persons where bool says so."""
        return timed(self.registered_beats(prior, has_person), self.intervals)

    def registered_beats(self, prior: BeatPrior, has_person: Tensor) -> Tensor:
        """Return the same before they have intervals of their own."""
        # What is left open stays as the person was recorded; of nobody it is as people are on average.
        fallback = torch.where(has_person[:, None], self.own, prior.usual)
        facts = self.facts_with(fallback)
        residuals = self.residuals * has_person[:, None, None]
        pacing, towards = (x * has_person[:, None] for x in (self.pacing, self.towards))
        carried = carried_residuals(prior, residuals, self.own, facts, pacing)
        carried = carried + prior.transfer.residuals(towards) + self.held_back * has_person[:, None, None]
        return prior(facts, self.rates) + carried


def carried_residuals(
    prior: BeatPrior, residuals: Tensor, own: Tensor, asked: Tensor, pacing: Tensor
) -> Tensor:
    """Return what of residuals ``(n, 8, BEAT)``, recorded under facts of their own, shows under others.

    They are brought to the size usual there, and then transferred. But a pacemaker's beat comes from its
    electrode: how the person's ventricles conduct by themselves is hardly in it, and where it sits is drawn.
    """
    _, carried = transferred(prior, residuals, own, asked)
    was_paced, to_be_paced = (is_paced(facts)[:, None, None] for facts in (own, asked))
    driven = _OTHERWISE_DRIVEN * without_p_wave(residuals, asked) + to_be_paced * prior.paced_anew(pacing)
    return torch.where(was_paced != to_be_paced, driven, carried)


def transferred(prior: BeatPrior, residuals: Tensor, own: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Return residuals ``(n, 8, BEAT)`` of the size usual under facts asked for, and these transferred."""
    sized, shown, to_show = prior.rescaled(residuals, own, asked), of_a_beat(own), of_a_beat(asked)
    kept = without_p_wave(of_waves(sized, shown, to_show), asked)
    return kept, without_p_wave(prior.transfer(kept, shown, to_show), asked)


def of_a_beat(facts: Tensor) -> Tensor:
    """Return facts ``(n, N_FACTS)`` without what a typical beat cannot show: every sinus rhythm is one."""
    facts = facts.clone()
    facts[:, _SINUS[0]] = facts[:, _SINUS].amax(dim=1)
    facts[:, [*_SINUS[1:], *_ECTOPIC]] = 0
    return facts


def is_paced(facts: Tensor) -> Tensor:
    """Tell under which facts ``(n, N_FACTS)`` a pacemaker leads, bool ``(n,)``."""
    return facts[:, PACED] > 0.5


def no_p_wave(facts: Tensor) -> Tensor:
    """Tell under which facts ``(n, N_FACTS)`` atria make no P wave, bool ``(n,)``."""
    return (facts[:, NO_P_WAVE] > 0.5).any(dim=1)


def of_waves(residuals: Tensor, own: Tensor, asked: Tensor) -> Tensor:
    """Take most of what lies before QRS, but for the P wave, from residuals ``(n, 8, BEAT)``.

    Only where a statement comes or goes; and not where a pacemaker leads, whose spike is there.
    """
    place = torch.arange(residuals.shape[-1], dtype=residuals.dtype, device=residuals.device)
    _, p_onset, p_end, qrs_onset, *_ = CLOCK
    inside = torch.maximum(torch.minimum(place - p_onset, p_end - place), place - qrs_onset)
    kept = _SILENT + (1 - _SILENT) * risen(inside, EDGE)
    changed = ((asked - own)[:, :N_STATEMENTS].abs() > 0.5).any(dim=1) & ~is_paced(asked)
    return residuals * torch.where(changed[:, None, None], kept, 1.0)


def without_p_wave(residuals: Tensor, facts: Tensor) -> Tensor:
    """Take what is before QRS from residuals ``(n, 8, BEAT)`` of conditions whose atria make no P wave.

    Fibrillating or fluttering atria have none, so there is none for a person to keep.
    """
    before_qrs = torch.arange(residuals.shape[-1], device=residuals.device) < QRS_ONSET
    return residuals * ~(no_p_wave(facts)[:, None, None] & before_qrs)


def open_facts(asked: Tensor, fallback: Tensor, company: Tensor | None = None) -> Tensor:
    """Fill what facts ``(n, N_FACTS)`` leave open: statements where there is none at all, age and sex.

    The statements of `company` ``(n, N_STATEMENTS)`` come along, and count.
    """
    shown = asked[:, :N_STATEMENTS]
    shown = shown if company is None else torch.maximum(shown, company)
    told = shown.any(dim=1, keepdim=True)
    statements = torch.where(told, shown, fallback[:, :N_STATEMENTS])
    others = asked[:, N_STATEMENTS:]
    others = torch.where(others.isnan(), fallback[:, N_STATEMENTS:], others)
    return torch.cat([statements, others], dim=1)
