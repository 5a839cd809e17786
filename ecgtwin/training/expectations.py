"""The stage of beats, first part: what beat and which intervals to expect of a condition."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..nn import N_STATEMENTS, BeatPrior, TwinNetworks, facts_of
from ..nn.prior import robust_deviation
from ..nn.registration import registered
from .contrast import base_vectors, seeded
from .data import TrainingData, step_generators
from .loop import LoopSettings, train

BATCH = 512

_INTERVALS = 3.0
"""Weight of the five intervals beside the shape."""


def fit_prior(
    networks: TwinNetworks,
    data: TrainingData,
    settings: LoopSettings,
    *,
    seed: int = 0,
    verbose: bool = True,
) -> BeatPrior:
    """Fit the model of typical beats: what each fact adds, in closed form, and what facts do together."""
    prior, device = networks.prior, networks.prior.mean.device
    bases = base_vectors(networks.extractor, data.beats, data.leads)
    rates, beats = torch.from_numpy(data.beats.rates), torch.from_numpy(data.beats.typical)
    rows = torch.isfinite(rates)  # the others have no beats to learn from
    if not rows.any():
        return prior
    intervals, facts = torch.from_numpy(data.beats.intervals), facts_of(data.encoded)
    known = beats[rows], intervals[rows], facts[rows], rates[rows]
    prior.cpu().fit(*known, bases[rows])
    fit_interaction(prior, *known, settings, seed=seed, verbose=verbose)
    prior.fit_residuals(*known)
    return prior.to(device)


def fit_interaction(
    prior: BeatPrior,
    beats: Tensor,
    intervals: Tensor,
    facts: Tensor,
    rates: Tensor,
    settings: LoopSettings,
    *,
    seed: int = 0,
    verbose: bool = True,
) -> float:
    """Train what facts do together, on what is left of beats and intervals; arrays as in `BeatPrior.fit`."""
    factors = prior.centred_factors(facts, rates)
    rest = registered(beats, prior.whole_intervals(intervals, facts, rates)) - prior(facts, rates)
    own = intervals - prior.intervals(facts, rates)
    measured = torch.isfinite(own)
    size = rest.square().mean().sqrt().clamp(min=1e-6)
    spread = robust_deviation(own)
    module = prior.interaction
    module.factor_spread[N_STATEMENTS:] = factors[:, N_STATEMENTS:].std(dim=0).clamp(min=0.05)
    module.spread.copy_(torch.cat([size.expand(rest[0].numel()), spread]))
    own = torch.nan_to_num(own)
    batch = min(BATCH, len(rates))

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        chosen = torch.from_numpy(rng.choice(len(rates), batch, replace=False))
        with seeded(factors.device, generator):
            found, found_intervals = module(factors[chosen])
        error = (found_intervals - own[chosen]) / spread * measured[chosen]
        # Errors of measurement count little, as in the linear part.
        of_intervals = F.huber_loss(error, torch.zeros_like(error), delta=1.345)
        return ((found - rest[chosen]) / size).square().mean() + _INTERVALS * of_intervals

    module.requires_grad_(True)
    score = train(module, loss, settings, name="interaction", verbose=verbose)
    module.requires_grad_(False).centre(factors)
    return score
