"""The denoiser's stage: the flow, given person, condition and rhythm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..diffusion.flow import denoising_loss
from ..electrodes import noise_levels
from ..leads import independent_leads
from ..nn import (
    N_STATEMENTS,
    ConditionArrays,
    Conditioning,
    Denoiser,
    ElectrodeLevels,
    TwinNetworks,
    facts_of,
    open_facts,
)
from ..nn.peaks import as_peaks, beat_offsets, rhythm_channels
from .contrast import base_vectors, eight_of, lead_masks
from .data import TrainingData, step_generators
from .graphs import Asked, Evaluations
from .loop import LoopSettings, train
from .pairs import PairSampler

RARE_SHARE = 0.25
"""Of the recordings of a batch, how many are drawn by a statement drawn first."""

TRUE_SHARE = 0.4
"""Of the others, how many have another recording of their person as reference."""


def fit_electrodes(networks: TwinNetworks, data: TrainingData) -> ElectrodeLevels:
    """Learn how much noise recordings have that have all leads."""
    whole = np.flatnonzero(data.leads.all(axis=1))
    levels = noise_levels(data.signals[whole], [data.beats.peaks[int(row)] for row in whole])
    return networks.electrodes.fit(levels)


def known_leads(residuals: Tensor, present: NDArray[np.bool_]) -> Tensor:
    """Keep residuals ``(n, 8, BEAT)`` of the leads present ``(n, 12)``; of others nothing is known."""
    return residuals * torch.from_numpy(eight_of(present)).to(residuals)[..., None]


@dataclass(frozen=True)
class References:
    """Recordings as references, each seen in several ways: ``(v, n, ...)``, of which the first is whole.

    Parameters
    ----------
    bases : Tensor (v, n, base_dim)
    residuals : Tensor (v, n, 8, BEAT)
        Of their registered beats, as far as the view has the leads.
    own : Tensor (v, n, N_FACTS)
        Their facts where the view knows them, else guessed.
    """

    bases: Tensor
    residuals: Tensor
    own: Tensor

    @classmethod
    def of(cls, networks: TwinNetworks, data: TrainingData, seed: int = 0) -> References:
        """See recordings whole and in halves, with and without their condition and all leads."""
        rng = np.random.default_rng([seed, len(data)])
        prior = networks.prior
        device = networks.autoencoder.basis.device
        rates = torch.from_numpy(data.beats.rates).to(device)
        facts = facts_of(data.encoded).to(device)
        intervals = torch.from_numpy(data.beats.intervals).to(device)
        bases, residuals, own = [], [], []
        for part, knows, masked in (
            (0, True, False),
            (1, True, False),
            (2, True, False),
            (1, False, False),
            (2, False, True),
        ):
            leads = lead_masks(data.leads, rng) if masked else data.leads
            typical = data.views[part]
            known = data.encoded if knows else None
            base = base_vectors(networks.extractor, data.beats, leads, known, typical)
            base = base.to(device)
            as_recorded = prior.guessed(base)
            if knows:
                as_recorded = open_facts(facts, as_recorded)
            bases.append(base)
            found = prior.residuals(torch.from_numpy(typical).to(device), intervals, as_recorded, rates)
            residuals.append(known_leads(found, leads))
            own.append(as_recorded)
        return cls(torch.stack(bases), torch.stack(residuals), torch.stack(own))


@dataclass(frozen=True)
class Drawn:
    """A batch for the flow: clean latents ``(n, latent_dim, m)``, and what it is asked for."""

    clean: Tensor
    asked: Asked


class FlowData:
    """Latents of recordings and all that the flow is given of them, computed once and kept on the device."""

    def __init__(self, networks: TwinNetworks, data: TrainingData, seed: int = 0) -> None:
        self.networks, self.data = networks, data
        self.device = networks.autoencoder.basis.device
        self.references = References.of(networks, data, seed)
        self.latents = encode_latents(networks, data.signals)
        length = self.latents.shape[-1] * networks.architecture.patch
        peaks = as_peaks(data.beats.peaks, self.device).split(1024)
        self.offsets = torch.cat([beat_offsets(some, length) for some in peaks])
        self.rhythm = torch.cat([rhythm_channels(some, length) for some in peaks])
        self.rates = self._held(data.beats.rates)
        self.conditions = data.encoded.to(self.device)
        self.facts = facts_of(self.conditions)
        measured = self._held(data.beats.intervals)
        self.intervals = networks.prior.whole_intervals(measured, self.facts, self.rates)

    def draw(self, rows: NDArray[Any], references: NDArray[Any], rng: np.random.Generator) -> Drawn:
        """Draw `rows` with their references: in full precision, whatever the loop around computes in."""
        with torch.autocast(self.device.type, enabled=False):
            return self._drawn(rows, references, rng)

    def _drawn(self, rows: NDArray[Any], references: NDArray[Any], rng: np.random.Generator) -> Drawn:
        n, views = len(rows), len(self.references.bases)
        # A recording that is its own reference is seen only in part, or it could be copied.
        view = np.where(rows == references, rng.integers(1, views, n), rng.integers(views, size=n))
        own, seen, of = self._held(rows), self._held(view), self._held(references)
        residuals = self.references.residuals[seen, of]
        mistaken = self._mistaken(self.rates[of], rng) * residuals.any(dim=2, keepdim=True)
        conditions, has_person = draw_dropped(self.conditions[own], rng)
        given = Conditioning.plain(
            conditions,
            self.references.bases[seen, of],
            residuals + mistaken,
            self.references.own[seen, of],
            self.rates[own],
            self.intervals[own],
            self.offsets[own],
            self.rhythm[own],
        )
        context = given.context(self.networks.autoencoder, self.networks.prior, has_person)
        return Drawn(self.latents[own], Asked(given, has_person, context))

    def _mistaken(self, rates: Tensor, rng: np.random.Generator) -> Tensor:
        """Beats ``(n, 8, BEAT)`` of a condition wrongly ascribed to half of n references.

        Without it a residual would be trusted in every direction, for most references show the target's
        own condition; with it the flow learns to take from statements what statements can tell.
        """
        n = len(rates)
        one, other = (self.facts[self._held(rng.integers(len(self.data), size=n))] for _ in "ab")
        other[:, N_STATEMENTS:] = one[:, N_STATEMENTS:]
        strength = rng.uniform(0, 1, n) * (rng.random(n) < 0.5)
        wrong = self.networks.prior(one, rates) - self.networks.prior(other, rates)
        return wrong * self._held(strength.astype(np.float32))[:, None, None]

    def _held(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


def encode_latents(networks: TwinNetworks, signals: NDArray[np.float32]) -> Tensor:
    """Return latents ``(n, latent_dim, m)`` of recordings ``(n, 12, t)``; m is a multiple of 4."""
    autoencoder = networks.autoencoder
    whole = signals.shape[-1] // (4 * autoencoder.patch) * 4 * autoencoder.patch
    leads = independent_leads(signals)[..., :whole]
    device = autoencoder.basis.device
    with torch.no_grad():
        return torch.cat(
            [
                autoencoder.encode(torch.from_numpy(np.ascontiguousarray(leads[i : i + 1024])).to(device))
                for i in range(0, len(leads), 1024)
            ]
        )


def draw_targets(
    data: TrainingData, pairs: PairSampler, n: int, rng: np.random.Generator, rare_share: float = RARE_SHARE
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw recordings to generate and the reference for each; a share of them by a statement drawn first."""
    n_rare = int(rng.binomial(n, rare_share)) if len(data.by_statement) else 0
    rare = data.by_statement.one_of(rng.integers(max(len(data.by_statement), 1), size=n_rare), rng)
    first, second, _ = pairs.draw(n - n_rare, rng)
    return np.concatenate([first, rare]), np.concatenate([second, pairs.partners(rare, rng)])


def draw_dropped(conditions: ConditionArrays, rng: np.random.Generator) -> tuple[ConditionArrays, Tensor]:
    """Leave out conditions and persons at random: each whole, for guidance, and single parts of a condition.

    Returns the conditions that are kept, and bool ``(n,)``, which persons are.
    """
    n, s = conditions.statements.shape
    kept = rng.random((n, s + 3)) < np.where(np.arange(s + 3) < s, 0.95, 0.85)
    few = rng.random(n) < 0.2  # users ask for one statement where a report lists many
    kept[few, :s] &= rng.random((int(few.sum()), s)) < 0.5
    case = rng.random(n)
    kept[case < 0.15] = False
    device = conditions.age.device
    has_person = torch.from_numpy((case < 0.1) | (case > 0.25)).to(device)
    return conditions.keep(torch.from_numpy(kept).to(device)), has_person


def fit_denoiser(
    flow: FlowData,
    settings: LoopSettings,
    *,
    validation: FlowData | None = None,
    batch_size: int = 128,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train the flow; keep the weights that recover the recordings of `validation` best."""
    data, denoiser = flow.data, flow.networks.denoiser
    pairs, evaluations = PairSampler(data.groups, true_share=TRUE_SHARE), Evaluations(denoiser)

    def batch_loss(of: FlowData, through: Evaluations, rows: Any, references: Any, seeds: Any) -> Tensor:
        drawn = of.draw(rows, references, seeds[0])
        return denoising_loss(lambda x, t: through(x, t, drawn.asked), drawn.clean, seeds[1])

    def loss(step: int) -> Tensor:
        seeds = step_generators(seed, step)
        rows, references = draw_targets(data, pairs, batch_size, seeds[0])
        return batch_loss(flow, evaluations, rows, references, seeds).mean()

    score = None
    if validation is not None:
        order = np.random.default_rng(0).permutation(len(validation.data))[:1024]
        references = PairSampler(validation.data.groups).partners(order, np.random.default_rng(1))

        def score(average: torch.nn.Module) -> float:
            total, scored = 0.0, Evaluations(cast(Denoiser, average))
            with torch.no_grad():
                for i in range(0, len(order), 128):
                    rows = slice(i, i + 128)
                    seeds = step_generators(seed + 1, i)
                    total += float(batch_loss(validation, scored, order[rows], references[rows], seeds).sum())
            return -total / len(order)

    return train(
        denoiser,
        loss,
        settings,
        checkpoint=checkpoint,
        score=score,
        run=f"{data.digest} {seed}",
        name="denoiser",
        verbose=verbose,
    )
