"""What a twin's flow is given: a person, recorded or invented, a condition, and a rhythm of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .conditions import STATEMENTS, Condition
from .diffusion import Seeds, row_hearts, row_pacing, row_uniforms
from .ecg import NATIVE_LENGTH, NATIVE_RATE
from .heartbeats import EARLY
from .nn import (
    BeatPrior,
    ConditionArrays,
    Conditioning,
    TwinNetworks,
    facts_of,
    in_full,
    open_facts,
    statement_matrix,
)
from .nn.conditioning import EDGE, carried_residuals, is_paced, no_p_wave
from .nn.criteria import JUDGED, defined_waves, nearest_that_meet
from .nn.peaks import beat_offsets, intervals_between, mean_rates, peaks_at, rhythm_channels
from .nn.prior import N_HEART, N_PACING
from .nn.registration import INTERVALS, QRS_ONSET, risen, timed
from .nn.tokens import N_STATEMENTS
from .recordings import Persons
from .rhythm import BEAT

MAX_BEATS = 60
"""Random numbers for a rhythm: enough for 10 s at 300 beats per minute."""

TRIES = 4
"""How often a rhythm, and what fills it, is drawn until it shows what is asked for."""

_EARLY = [STATEMENTS.index(code) for code in ("PVC", "PAC", "BIGU", "TRIGU")]
_UNEVEN = STATEMENTS.index("SARRH")
_VENTRICULAR = [float(name not in ("pr", "p")) for name in INTERVALS]
_HEALTHY = [STATEMENTS.index(code) for code in ("NORM", "SR")]


def whom_to_draw(
    networks: TwinNetworks,
    persons: Persons,
    targets: Sequence[Condition],
    seeds: Seeds,
    settings: dict[str, Any],
) -> tuple[Persons, dict[str, Any]]:
    """Return whose twins to draw and with which settings: without the persons, of invented people."""
    if settings["person_scale"]:
        return persons, settings
    return invented_people(networks, targets, seeds), settings | {"person_scale": 1.0}


@torch.no_grad()
def invented_people(networks: TwinNetworks, targets: Sequence[Condition], seeds: Seeds) -> Persons:
    """Invent people of the age and sex asked for.

    Their hearts are healthy, so that what is asked for is all that twins show; where no statement is asked
    for they are as people are on average. Base vectors are of what these hearts show under the condition.
    """
    prior = networks.prior
    asked, company = in_full(targets, prior.usual.device)
    usual, rates = prior.usual.expand(len(seeds), -1), prior.usual.new_full((len(seeds),), torch.nan)
    facts = open_facts(facts_of(asked), usual, company)
    healthy = torch.zeros_like(facts[:, :N_STATEMENTS])
    healthy[:, _HEALTHY] = 1
    some = statement_matrix(asked).any(dim=1, keepdim=True)
    own = facts.clone()
    own[:, :N_STATEMENTS] = torch.where(some, healthy, facts[:, :N_STATEMENTS])
    normals, pacing = (
        torch.from_numpy(x).to(facts) for x in (row_hearts(seeds, N_HEART), row_pacing(seeds, N_PACING))
    )
    residuals, own_intervals = prior.drawn(normals, own)
    shown = asked.heart_rate
    intervals = prior.intervals(facts, shown) + prior.kept_intervals(own_intervals, own, rates, facts, shown)
    beats = prior(facts, shown) + carried_residuals(prior, residuals, own, facts, pacing)
    leads = torch.ones(beats.shape[:2], dtype=torch.bool, device=beats.device)
    bases = networks.extractor(timed(beats, intervals), intervals, leads, asked)
    return Persons(bases, residuals, own_intervals, own, rates)


@torch.no_grad()
def draw_rhythms(
    networks: TwinNetworks,
    persons: Persons,
    targets: Sequence[Condition],
    seeds: Seeds,
    length: int = NATIVE_LENGTH,
    *,
    strength: float = 1.0,
) -> Conditioning:
    """Draw when each twin's heart beats: all that its flow is given.

    The rhythm is all that of what is asked for, beats go as far as `strength` says (`on_the_way`).
    """
    asked, company = in_full(targets, persons.rates.device)
    peaks = draw_peaks(networks, _with_own_statements(asked, persons), persons.rates, seeds, length)
    given = conditioning(networks.prior, persons, asked, peaks, length, company=company)
    pacing = torch.from_numpy(row_pacing(seeds, N_PACING)).to(given.pacing)
    given = by_definition(networks.prior, replace(given, pacing=pacing), persons.shown)
    return on_the_way(networks.prior, given, persons, strength)


def _with_own_statements(asked: ConditionArrays, persons: Persons) -> ConditionArrays:
    """Return conditions in which a person who is asked for no statement is asked for those recorded."""
    shown = ~statement_matrix(asked).any(dim=1, keepdim=True) & persons.shown
    # Numbers of statements, as `ConditionArrays` has them.
    numbers = torch.arange(1, N_STATEMENTS + 1, device=shown.device) * shown
    return replace(asked, statements=torch.cat([asked.statements, numbers], dim=1)) if shown.any() else asked


def draw_peaks(
    networks: TwinNetworks, asked: ConditionArrays, own_rates: Tensor, seeds: Seeds, length: int
) -> Tensor:
    """Draw the R peaks of each twin, as `ecgtwin.nn.peaks` has them.

    A recording is said to show early beats or sinus arrhythmia because they are in it: a rhythm that lacks
    what is asked for is drawn again, until it was drawn `TRIES` times.
    """
    most = MAX_BEATS * -(-length // NATIVE_LENGTH)
    uniforms = torch.from_numpy(row_uniforms(seeds, TRIES * most)).to(own_rates).unflatten(1, (TRIES, most))
    statements = statement_matrix(asked) > 0
    peaks = own_rates.new_full((len(seeds), most), torch.inf)
    missing = torch.arange(len(seeds), device=own_rates.device)
    for tried in range(TRIES):
        times = networks.rhythm.draw(
            asked[missing], own_rates[missing], uniforms[missing, tried], length / NATIVE_RATE
        )
        found = peaks_at(times)
        peaks[missing] = F.pad(found, (0, most - found.shape[1]), value=torch.inf)
        missing = missing[~shows_rhythm(found, statements[missing])]
        if not len(missing):
            break
    return peaks


def shows_rhythm(peaks: Tensor, statements: Tensor) -> Tensor:
    """Tell which rhythms show those of their statements ``(n, 71)`` that are defined by it, bool ``(n,)``.

    An early beat comes after less than 0.85 of the median interval; in sinus arrhythmia the longest interval
    exceeds the shortest by more than 160 ms (Surawicz & Knilans, Chou's Electrocardiography, 2008).
    """
    intervals = F.pad(intervals_between(peaks), (0, 1), value=torch.inf).sort(dim=1).values
    count = intervals.isfinite().sum(dim=1, keepdim=True)
    places = torch.cat([0 * count, count - 1, (count - 1) // 2, count // 2], dim=1).clamp(min=0)
    shortest, longest, low, high = intervals.gather(1, places).unbind(dim=1)
    early = shortest < EARLY * (low + high) / 2
    uneven = longest - shortest > 0.16
    shown = (early | ~statements[:, _EARLY].any(dim=1)) & (uneven | ~statements[:, _UNEVEN])
    return shown | (count[:, 0] < 3)


def conditioning(
    prior: BeatPrior,
    persons: Persons,
    asked: ConditionArrays,
    peaks: Tensor,
    length: int = NATIVE_LENGTH,
    *,
    company: Tensor | None = None,
) -> Conditioning:
    """Return what a flow is given of persons, conditions and R peaks, as `ecgtwin.nn.peaks` has them."""
    rates = mean_rates(peaks)
    facts = open_facts(facts_of(asked), persons.own, company)
    kept = prior.kept_intervals(persons.own_intervals, persons.own, persons.rates, facts, rates)
    given = Conditioning.plain(
        asked,
        persons.bases,
        persons.residuals,
        persons.own,
        rates,
        prior.intervals(facts, rates) + kept,
        beat_offsets(peaks, length),
        rhythm_channels(peaks, length),
    )
    return given if company is None else replace(given, company=company)


def by_definition(prior: BeatPrior, given: Conditioning, already: Tensor) -> Conditioning:
    """Let counterfactual beats and intervals, once made, meet the criteria of what is asked for and is new.

    What a person was recorded with, bool `already` ``(n or 1, N_STATEMENTS)``, twins show as this person
    does. What comes along has no criterion, and beats of pacemakers are not judged.
    """
    new = (statement_matrix(given.conditions) > 0) & ~already & ~given.paced[:, None]
    if not new[:, JUDGED].any():
        return given
    everybody = torch.ones(len(given), dtype=torch.bool, device=given.rates.device)
    beats = given.registered_beats(prior, everybody)
    towards, intervals = nearest_that_meet(prior, beats, given.intervals, given.rates, new)
    return replace(given, towards=towards, intervals=intervals, defined=defined_waves(new))


def on_the_way(prior: BeatPrior, given: Conditioning, persons: Persons, strength: float) -> Conditioning:
    """Let counterfactual beats go as far as `strength` says, from what persons show to what is asked for.

    A pacemaker leads or does not, and a P wave is there or is not: that is not done by halves.
    """
    if strength >= 1:
        return given
    own, facts, rates = persons.own, given.facts, given.rates
    everybody = torch.ones(len(given), dtype=torch.bool, device=rates.device)
    beats, unchanged = (one.registered_beats(prior, everybody) for one in (given, given.told(~everybody)))
    intervals = prior.intervals(own, rates)
    intervals += prior.kept_intervals(persons.own_intervals, own, persons.rates, own, rates)
    lacking = torch.where(is_paced(own) | is_paced(facts), 0.0, 1 - strength)[:, None]
    atria_change = (no_p_wave(own) != no_p_wave(facts))[:, None]
    since_qrs = torch.arange(BEAT, device=rates.device) - QRS_ONSET
    ventricular = risen(since_qrs, EDGE), torch.tensor(_VENTRICULAR).to(rates)
    of_beats, of_intervals = (lacking * torch.where(atria_change, some, 1.0) for some in ventricular)
    return replace(
        given,
        held_back=of_beats[:, None] * (unchanged - beats),
        intervals=torch.lerp(given.intervals, intervals, of_intervals),
    )
