"""What a twin's flow is given: the person and the condition, and a rhythm of the twin's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .beats import mean_rate
from .conditions import STATEMENTS, Condition
from .diffusion import row_generator, row_uniforms
from .ecg import NATIVE_LENGTH, NATIVE_RATE
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
from .recordings import Persons
from .rhythm import beat_offsets, rhythm_channels

Seeds = Sequence[tuple[int, int]]

MAX_BEATS = 60
"""Random numbers for a rhythm: enough for 10 s at 300 beats per minute."""

TRIES = 4
"""How often a rhythm is drawn until it shows what is asked for."""

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
        return conditioning(networks.prior, persons, asked, peaks, length)
    peaks = draw_peaks(networks, asked, torch.full_like(persons.rates, float("nan")), seeds, length)
    prior, own = networks.prior, persons.own_intervals
    nobody = replace(persons, own=prior.usual.expand_as(persons.own), own_intervals=torch.zeros_like(own))
    given = conditioning(prior, nobody, asked, peaks, length)
    normal = np.array([row_generator(seed, "intervals").standard_normal(5) for seed in seeds], np.float32)
    anybody = torch.from_numpy(normal).to(own) @ prior.interval_spread.T
    return replace(given, intervals=given.intervals + anybody)


def draw_peaks(
    networks: TwinNetworks, asked: ConditionArrays, own_rates: Tensor, seeds: Seeds, length: int
) -> list[NDArray[np.intp]]:
    """Draw the R peaks of each twin, as sample numbers at 100 Hz.

    A recording is said to show early beats or sinus arrhythmia because they are in it: a rhythm that lacks
    what is asked for is drawn again, until it was drawn `TRIES` times.
    """
    most = MAX_BEATS * -(-length // NATIVE_LENGTH)
    uniforms = torch.from_numpy(row_uniforms(seeds, TRIES * most)).to(own_rates).unflatten(1, (TRIES, most))
    statements = statement_matrix(asked).cpu().numpy() > 0
    peaks: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * len(seeds)
    missing = torch.arange(len(seeds), device=own_rates.device)
    for tried in range(TRIES):
        times = networks.rhythm.draw(
            asked[missing], own_rates[missing], uniforms[missing, tried], length / NATIVE_RATE
        )
        rows = missing.tolist()
        for row, one in zip(rows, times, strict=True):
            peaks[row] = np.unique((NATIVE_RATE * one.cpu().numpy()).astype(np.intp))
        missing = missing.new_tensor([row for row in rows if not shows_rhythm(peaks[row], statements[row])])
        if not len(missing):
            break
    return peaks


def shows_rhythm(peaks: NDArray[np.intp], statements: NDArray[np.bool_]) -> bool:
    """Tell whether a rhythm (sample numbers at 100 Hz) shows those of the statements that are defined by it.

    An early beat comes after less than 0.85 of the median interval; in sinus arrhythmia the longest interval
    exceeds the shortest by more than 160 ms (Surawicz & Knilans, Chou's Electrocardiography, 2008).
    """
    intervals = np.diff(peaks) / NATIVE_RATE
    if len(intervals) < 3:
        return True
    early = bool(intervals.min() < 0.85 * np.median(intervals))
    uneven = bool(np.ptp(intervals) > 0.16)
    return (early or not statements[_EARLY].any()) and (uneven or not statements[_UNEVEN])


def conditioning(
    prior: BeatPrior,
    persons: Persons,
    asked: ConditionArrays,
    peaks: Sequence[NDArray[np.intp]],
    length: int = NATIVE_LENGTH,
) -> Conditioning:
    """Return what a flow is given of persons, conditions and R peaks (sample numbers at 100 Hz)."""
    device = persons.rates.device
    rates = torch.tensor([mean_rate(one) for one in peaks], dtype=torch.float32, device=device)
    facts = open_facts(facts_of(asked), persons.own)
    kept = prior.kept_intervals(persons.own_intervals, persons.own, persons.rates, facts, rates)
    offsets = np.array([beat_offsets(one, length) for one in peaks])
    rhythm = np.array([rhythm_channels(one, length) for one in peaks])
    return Conditioning(
        asked,
        persons.bases,
        persons.residuals,
        persons.own,
        rates,
        prior.intervals(facts, rates) + kept,
        torch.from_numpy(offsets).to(device),
        torch.from_numpy(rhythm).to(device),
    )
