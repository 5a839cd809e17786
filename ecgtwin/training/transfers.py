"""The stage of beats: what to expect of a condition, and what of a person's own remains under another one.

How one heart would look under another condition is seldom recorded. So `ecgtwin.nn.transfer.Transfer` learns
from witnesses: networks that tell persons apart by their beats, and networks that read conditions from beats,
both trained on real ones and then held fixed. A counterfactual beat is to convince both, at the least change;
where a person was recorded under both conditions, it is to be the recorded one. Several witnesses of several
shapes leave little room to deceive one of them.

References
----------
Goodfellow et al., Explaining and harnessing adversarial examples, ICLR 2015, for what a single witness would
teach. Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017, for learning
from what networks see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import N_STATEMENTS, BeatReader, TwinNetworks, facts_of, open_facts, transferred
from .contrast import base_vectors, contrastive_loss, eight_of, lead_masks, seeded
from .data import TrainingData, step_generators
from .loop import LoopSettings, train
from .pairs import PairSampler

_EMBEDDING = 128
_OBEDIENCE, _LEAST_CHANGE, _GROWTH, _RECORDED = 2.0, 0.03, 0.03, 1.0
"""Weights of the condition, of a change, of a residual that grows, and of what was really recorded."""

_RARE_SHARE = 0.5
"""Of what is asked for, how much is a recording's that shows a statement drawn first."""


class Witness(nn.Module):
    """Reads registered beats: who it is (a vector), or what they show (logits)."""

    def __init__(self, widths: tuple[int, ...], n_out: int, dropout: float) -> None:
        super().__init__()
        self.read = BeatReader(widths, dropout)
        self.head = nn.Linear(widths[-1], n_out)

    def forward(self, beats: Tensor, intervals: Tensor, present: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.read(beats, intervals, present)))


def witness_widths(widths: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return three shapes of witnesses: as the extractor, a slimmer one, and one without convolutions."""
    return widths, (*(3 * width // 4 for width in widths[:-1]), widths[-1]), (2 * widths[-1],)


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


def fit_witness(
    networks: TwinNetworks,
    own: OwnBeats,
    widths: tuple[int, ...],
    settings: LoopSettings,
    *,
    of_persons: bool,
    batch_size: int,
    seed: int,
    verbose: bool = True,
) -> Witness:
    """Train a witness of persons or of conditions on real beats."""
    device = own.rates.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        n_out = _EMBEDDING if of_persons else own.facts.shape[1]
        witness = Witness(widths, n_out, 0.1 if of_persons else 0.3).to(device)
    pairs = PairSampler(own.groups)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        if of_persons:
            first, part, second, other_part, people = own.partners(pairs, batch_size, rng)
            rows, parts = torch.cat([first, second]), torch.cat([part, other_part])
        else:
            rows = torch.from_numpy(rng.choice(len(own), batch_size, replace=False)).to(device)
            parts = torch.from_numpy(rng.integers(3, size=batch_size)).to(device)
        with torch.autocast(device.type, enabled=False):
            beats = own.beats(networks, parts, rows)
        n = len(rows)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        beats = beats * (0.06 * noise(n, 8, 1)).exp() + 0.02 * noise(n, 8, 1)
        beats = beats + 0.01 * noise(*beats.shape)
        with seeded(device, generator):
            found = witness(beats, own.intervals[rows] + 0.03 * noise(n, 5), own.present(rows)).float()
        if of_persons:
            return contrastive_loss(F.normalize(found, dim=-1), people.cpu())
        return reading_loss(found, own.facts[rows])

    kind = "persons" if of_persons else "conditions"
    train(witness, loss, settings, name=f"witness of {kind}", verbose=verbose)
    return witness.requires_grad_(False)


def reading_loss(logits: Tensor, facts: Tensor) -> Tensor:
    """How far what is read ``(n, N_FACTS)`` is from statements, age and sex."""
    s = N_STATEMENTS
    return (
        30 * F.binary_cross_entropy_with_logits(logits[:, :s], facts[:, :s].clamp(0, 1))
        + 1.5 * F.smooth_l1_loss(logits[:, s], facts[:, s])
        + 0.2 * F.binary_cross_entropy_with_logits(logits[:, s + 1], ((facts[:, s + 1] + 1) / 2).clamp(0, 1))
    )


def fit_transfer(
    networks: TwinNetworks,
    data: TrainingData,
    settings: LoopSettings,
    *,
    witness_steps: int,
    batch_size: int = 384,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train what becomes of residuals under another condition, by witnesses that are trained first."""
    own, prior = OwnBeats.of(networks, data), networks.prior
    if len(own) < 2 or len(np.unique(own.groups)) < 2:
        return float("nan")
    batch_size = min(batch_size, len(np.unique(own.groups)))
    prior.transfer.fit_components(own.residuals[0])
    persons, conditions = (
        [
            fit_witness(
                networks,
                own,
                widths,
                replace(settings, n_steps=witness_steps),
                of_persons=of_persons,
                batch_size=batch_size,
                seed=seed + i,
                verbose=verbose,
            )
            for i, widths in enumerate(witness_widths(networks.architecture.extractor_widths))
        ]
        for of_persons in (True, False)
    )
    pairs, device = PairSampler(own.groups), own.rates.device
    shown_by = [np.flatnonzero(shows) for shows in (own.facts[:, :N_STATEMENTS] > 0.5).T.cpu().numpy()]
    showing = [rows for rows in shown_by if len(rows) >= 15]

    def draw_facts(first: Tensor, second: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What is asked of each: facts, rates, and whether the other recording shows just that."""
        n = len(first)
        source, case = rng.integers(len(own), size=n), rng.random(n)
        for i in np.flatnonzero(case < _RARE_SHARE) if showing else ():  # statements that are rare, too
            source[i] = rng.choice(showing[rng.integers(len(showing))])
        shown = torch.from_numpy(case > 0.85).to(device) & (first != second)
        rows = torch.where(shown, second, torch.from_numpy(source).to(device))
        asked = own.facts[rows].clone()
        asked[:, N_STATEMENTS:] = own.facts[first, N_STATEMENTS:]
        return asked, own.rates[rows], shown

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        first, part, second, other_part, people = own.partners(pairs, batch_size, rng)
        n = len(first)
        asked, rates, shown = draw_facts(first, second, rng)
        # A quarter of the references come without their condition, one in seven without some leads.
        known = torch.from_numpy(rng.random((n, 1)) < 0.75).to(device)
        facts = torch.where(known, own.facts[first], own.guesses[first])
        leads = own.leads[first.cpu().numpy()]
        some = np.where(rng.random((n, 1)) < 0.15, lead_masks(leads, rng), leads)
        present = torch.from_numpy(eight_of(some)).to(device)
        with torch.autocast(device.type, enabled=False):
            taken = prior(own.facts[first], own.rates[first]) - prior(facts, own.rates[first])
            residuals = (own.residuals[part, first] + taken) * present[:, :, None]
            residuals, carried = transferred(prior, residuals, facts, asked)
            beats = prior(asked, rates) + carried
            kept = own.own_intervals[first], own.facts[first], own.rates[first]
            intervals = prior.intervals(asked, rates) + prior.kept_intervals(*kept, asked, rates)
            others = own.beats(networks, other_part, second)
        jitter = 0.01 * torch.randn(*beats.shape, generator=generator).to(device)
        total = torch.zeros((), device=device)
        same = people[:, None] == people
        same.fill_diagonal_(False)
        for witness in persons:
            one = F.normalize(witness(beats + jitter, intervals, present).float(), dim=-1)
            seen = witness(others, own.intervals[second], own.present(second)).float()
            logits = one @ F.normalize(seen, dim=-1).T / 0.08
            target = torch.arange(n, device=device)
            total = total + F.cross_entropy(logits.masked_fill(same, float("-inf")), target) / len(persons)
        for witness in conditions:
            read = witness(beats + jitter, intervals, present).float()
            total = total + _OBEDIENCE * reading_loss(read, asked) / len(conditions)
        before, after = (prior.transfer.components(x) for x in (residuals, carried))
        total = total + _LEAST_CHANGE * (after - before).square().sum(dim=1).mean()
        total = total + _GROWTH * F.relu(after.square().sum(dim=1) - before.square().sum(dim=1)).mean()
        if shown.any():
            recorded = own.residuals[0, second]
            error = (recorded[shown] - carried[shown]).square().mean()
            total = total + _RECORDED * error / recorded.square().mean().clamp(min=1e-9)
        return total

    return train(
        prior.transfer,
        loss,
        settings,
        checkpoint=checkpoint,
        run=f"{data.digest} {seed}",
        name="transfer",
        verbose=verbose,
    )
