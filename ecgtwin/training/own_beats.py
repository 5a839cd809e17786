"""Typical beats as the transfer and its witnesses learn from them: registered, and less what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..nn import TwinNetworks, facts_of, open_facts
from .contrast import base_vectors, eight_of
from .data import TrainingData
from .pairs import PairSampler


@dataclass(frozen=True)
class OwnBeats:
    """What is known of n recordings with beats.

    Parameters
    ----------
    residuals : Tensor (3, n, 8, BEAT)
        Of whole recordings and their halves, for the facts they were recorded under.
    facts, guesses : Tensor (n, N_FACTS)
        As recorded, and as the base vector tells.
    intervals, own_intervals : Tensor (n, 5)
    rates : Tensor (n,)
    leads : bool array (n, 12)
    groups : array (n,)
    """

    residuals: Tensor
    facts: Tensor
    guesses: Tensor
    intervals: Tensor
    own_intervals: Tensor
    rates: Tensor
    leads: NDArray[np.bool_]
    groups: NDArray[Any]

    @classmethod
    def of(cls, networks: TwinNetworks, data: TrainingData) -> OwnBeats:
        """Take what `networks.prior` says of the recordings that have beats."""
        prior, rows = networks.prior, np.flatnonzero(np.isfinite(data.beats.rates))
        device, beats = prior.mean.device, data.beats
        guesses = prior.guessed(base_vectors(networks.extractor, beats, data.leads)[rows].to(device))
        facts = open_facts(facts_of(data.encoded)[torch.from_numpy(rows)].to(device), guesses)
        rates, measured = (torch.from_numpy(x[rows]).to(device) for x in (beats.rates, beats.intervals))
        views = torch.from_numpy(data.views[:, rows]).to(device)
        return cls(
            torch.stack([prior.residuals(view, measured, facts, rates) for view in views]),
            facts,
            guesses,
            prior.whole_intervals(measured, facts, rates),
            prior.own_intervals(measured, facts, rates),
            rates,
            data.leads[rows],
            data.groups[rows],
        )

    def __len__(self) -> int:
        return len(self.rates)

    def beats(self, networks: TwinNetworks, views: Tensor, rows: Tensor) -> Tensor:
        """Registered beats; where too few have a sample, what to expect."""
        return networks.prior(self.facts[rows], self.rates[rows]) + self.residuals[views, rows]

    def present(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(eight_of(self.leads))[rows.cpu()].to(self.rates.device)

    def partners(
        self, pairs: PairSampler, n: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Draw n recordings, another of the same person each, which part of them, and whose they are."""
        first, second, people = pairs.draw(n, rng)
        alone = first == second  # then its two halves
        parts = np.where(alone, 1, rng.integers(3, size=n)), np.where(alone, 2, rng.integers(3, size=n))
        device = self.rates.device
        return tuple(torch.from_numpy(x).to(device) for x in (first, parts[0], second, parts[1], people))  # type: ignore[return-value]
