"""The stage of beats, second part: what of a person's own remains under another condition.

How one heart would look under another condition is seldom recorded. So `ecgtwin.nn.transfer.Transfer` learns
from witnesses: networks that tell persons apart by their beats, and networks that read conditions from beats,
both trained on real ones and then held fixed. A counterfactual beat is to convince both, at the least change;
where a person was recorded under both conditions, it is to be the recorded one. Several witnesses of several
shapes leave little room to deceive one of them.

What a witness reads from a beat is not all that there is to a condition: what shows of one person's beat may
be what no heart has under it, as a septal Q wave in left bundle branch block. So a critic learns at the same
time to tell counterfactual beats from recorded ones that show the same.

References
----------
Goodfellow et al., Explaining and harnessing adversarial examples, ICLR 2015, for what a single witness would
teach. Goodfellow et al., Generative adversarial nets, NeurIPS 2014, and Isola et al., Image-to-image
translation with conditional adversarial networks, CVPR 2017, for the critic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import N_STATEMENTS, TwinNetworks, drawn_from, of_a_beat, transferred
from .contrast import eight_of, lead_masks
from .data import TrainingData, step_generators
from .loop import LoopSettings, train
from .own_beats import OwnBeats
from .pairs import Members, PairSampler
from .witnesses import Critic, fit_witness, reading_loss, witness_widths

_OBEDIENCE, _DOUBT, _LEAST_CHANGE, _GROWTH, _RECORDED = 3.0, 1.0, 0.03, 0.03, 1.0
"""Weights of the condition, the critic, a change, a residual that grows, and what was really recorded."""

_SLOPE, _SLOPE_EVERY = 1.0, 4
"""Penalty on the critic's slope at recorded beats, and the steps between two looks at it."""

N_WITNESSES = 6
"""Of persons and of conditions, three each."""

_RARE_SHARE, _FEWEST = 0.8, 15
"""Of what is asked for, how much is a recording's that shows a statement drawn first, one of so many."""


def fit_transfer(
    networks: TwinNetworks,
    data: TrainingData,
    settings: LoopSettings,
    *,
    witnesses: LoopSettings,
    batch_size: int = 384,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train what becomes of residuals under another condition, by `N_WITNESSES` that are trained first."""
    own, prior = OwnBeats.of(networks, data), networks.prior
    if len(own) < 2 or len(np.unique(own.groups)) < 2:
        return float("nan")
    batch_size = min(batch_size, len(np.unique(own.groups)))
    widths, device = networks.architecture.extractor_widths, own.rates.device
    prior.transfer.fit_components(own.residuals[0])
    persons, conditions = (
        [
            fit_witness(
                networks,
                own,
                of_widths,
                witnesses,
                of_persons=of_persons,
                batch_size=batch_size,
                seed=seed + i,
                run=f"{data.digest} {seed}",
                checkpoint=checkpoint and checkpoint.with_stem(f"witness_{of_persons:d}{i}"),
                verbose=verbose,
            )
            for i, of_widths in enumerate(witness_widths(widths))
        ]
        for of_persons in (True, False)
    )
    with drawn_from(seed):
        critic = Critic(widths, own.facts.shape[1]).to(device)
    learning = nn.ModuleDict({"transfer": prior.transfer, "critic": critic})
    pairs = PairSampler(own.groups)
    rows, statement = np.nonzero((own.facts[:, :N_STATEMENTS] > 0.5).cpu().numpy())
    showing = Members.of(statement, rows).of_size(_FEWEST)

    def draw_facts(first: Tensor, second: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What is asked of each: facts, the recording that shows them, and whether it is the other one."""
        n = len(first)
        source, case = rng.integers(len(own), size=n), rng.random(n)
        if len(showing):
            rare = case < _RARE_SHARE
            source[rare] = showing.one_of(rng.integers(len(showing), size=int(rare.sum())), rng)
        shown = torch.from_numpy(case > 0.85).to(device) & (first != second)
        rows = torch.where(shown, second, torch.from_numpy(source).to(device))
        asked = own.facts[rows].clone()
        asked[:, N_STATEMENTS:] = own.facts[first, N_STATEMENTS:]
        return asked, rows, shown

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        first, part, second, other_part, people = own.partners(pairs, batch_size, rng)
        n = len(first)
        asked, rows, shown = draw_facts(first, second, rng)
        rates = own.rates[rows]
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
            recorded = own.beats(networks, torch.from_numpy(rng.integers(3, size=n)).to(device), rows)
            beats, recorded = (
                x + 0.01 * torch.randn(*x.shape, generator=generator).to(device) for x in (beats, recorded)
            )
            penalty = 0.0 if step % _SLOPE_EVERY else _SLOPE_EVERY * _SLOPE
            shows, to_show = of_a_beat(own.facts[rows]), of_a_beat(asked)
            total = critic.loss(recorded, shows, beats, to_show, present, penalty)
            total = total + _DOUBT * critic.doubt(beats, to_show, present)
        same = people[:, None] == people
        same.fill_diagonal_(False)
        for witness in persons:
            one = F.normalize(witness(beats, intervals, present).float(), dim=-1)
            seen = witness(others, own.intervals[second], own.present(second)).float()
            logits = one @ F.normalize(seen, dim=-1).T / 0.08
            target = torch.arange(n, device=device)
            total = total + F.cross_entropy(logits.masked_fill(same, float("-inf")), target) / len(persons)
        for witness in conditions:
            read = witness(beats, intervals, present).float()
            total = total + _OBEDIENCE * reading_loss(read, to_show) / len(conditions)
        before, after = (prior.transfer.components(x) for x in (residuals, carried))
        total = total + _LEAST_CHANGE * (after - before).square().sum(dim=1).mean()
        total = total + _GROWTH * F.relu(after.square().sum(dim=1) - before.square().sum(dim=1)).mean()
        if shown.any():
            other = own.residuals[0, second]
            error = (other[shown] - carried[shown]).square().mean()
            total = total + _RECORDED * error / other.square().mean().clamp(min=1e-9)
        return total

    return train(
        learning,
        loss,
        settings,
        checkpoint=checkpoint,
        run=f"{data.digest} {seed}",
        name="transfer",
        verbose=verbose,
    )
