"""What a twin's flow is given: the person and the condition, and a rhythm of the twin's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .conditions import STATEMENTS, Condition
from .diffusion import Seeds, row_intervals, row_pacing, row_uniforms
from .ecg import NATIVE_LENGTH, NATIVE_RATE
from .heartbeats import EARLY
from .nn import (
    BeatPrior,
    ConditionArrays,
    Conditioning,
    TwinNetworks,
    encode_conditions,
    facts_of,
    open_facts,
    statement_matrix,
)
from .nn.peaks import beat_offsets, intervals_between, mean_rates, peaks_at, rhythm_channels
from .nn.prior import N_PACING
from .recordings import Persons

MAX_BEATS = 60
"""Random numbers for a rhythm: enough for 10 s at 300 beats per minute."""

TRIES = 4
"""How often a rhythm, and what fills it, is drawn until it shows what is asked for."""

_EARLY = [STATEMENTS.index(code) for code in ("PVC", "PAC", "BIGU", "TRIGU")]
_UNEVEN = STATEMENTS.index("SARRH")


@torch.no_grad()
def draw_rhythms(
    networks: TwinNetworks,
    persons: Persons,
    targets: Sequence[Condition],
    seeds: Seeds,
    settings: dict[str, Any],
    length: int = NATIVE_LENGTH,
) -> Conditioning:
    """Draw when each twin's heart beats: all that its flow is given."""
    asked = encode_conditions(targets).to(persons.rates.device)
    if settings["person_scale"]:
        peaks = draw_peaks(networks, asked, persons.rates, seeds, length)
        given = conditioning(networks.prior, persons, asked, peaks, length)
        return replace(given, pacing=torch.from_numpy(row_pacing(seeds, N_PACING)).to(given.pacing))
    peaks = draw_peaks(networks, asked, torch.full_like(persons.rates, float("nan")), seeds, length)
    prior, own = networks.prior, persons.own_intervals
    nobody = replace(persons, own=prior.usual.expand_as(persons.own), own_intervals=torch.zeros_like(own))
    given = conditioning(prior, nobody, asked, peaks, length)
    normal = torch.from_numpy(row_intervals(seeds, own.shape[1])).to(own)
    anybody = normal @ prior.interval_spread.T
    return replace(given, intervals=given.intervals + anybody)


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
) -> Conditioning:
    """Return what a flow is given of persons, conditions and R peaks, as `ecgtwin.nn.peaks` has them."""
    rates = mean_rates(peaks)
    facts = open_facts(facts_of(asked), persons.own)
    kept = prior.kept_intervals(persons.own_intervals, persons.own, persons.rates, facts, rates)
    return Conditioning(
        asked,
        persons.bases,
        persons.residuals,
        persons.own,
        rates,
        prior.intervals(facts, rates) + kept,
        beat_offsets(peaks, length),
        rhythm_channels(peaks, length),
        persons.residuals.new_zeros(len(rates), N_PACING),
    )
