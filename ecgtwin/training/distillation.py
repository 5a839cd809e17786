"""The last stage: the denoiser learns guidance and long steps from itself.

A step of the student lands where several guided steps of its teacher do, in one evaluation instead
of several times two or three; afterwards scales of 1 mean the scales that it was taught. Then, a teacher
itself, it learns to go two of its steps at once.

References
----------
Salimans, Ho, Progressive distillation for fast sampling of diffusion models, ICLR 2022, here once from
many steps to few, and once to half of them. Meng et al., On distillation of guided diffusion models,
CVPR 2023, for guidance.
Frans et al., One step diffusion via shortcut models, ICLR 2025, for the length of a step as an input.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..diffusion import guided, noise_like, time_grid
from ..diffusion.flow import Predict, sample_times
from ..nn import TwinNetworks
from .data import TrainingData, step_generators
from .flows import TRUE_SHARE, FlowData, draw_targets
from .graphs import Asked, Evaluations
from .loop import LoopSettings, train
from .pairs import PairSampler

SUBSTEPS = 4
"""Steps of the solver for each of the student's: with two their error shows in how twins are spread."""

OTHER_STEPS = (2, 3, 6, 8, 12)
"""Numbers of steps that are taught beside the one asked for, so that all can be chosen."""


def fit_few_steps(
    networks: TwinNetworks,
    data: TrainingData,
    settings: LoopSettings,
    *,
    n_steps: int,
    guidance_scale: float,
    person_scale: float,
    batch_size: int = 128,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Teach the denoiser to draw in `n_steps` single evaluations what guidance draws in many more.

    Half of the examples are steps of this length, a quarter of other lengths, and a quarter infinitesimal:
    the guided flow itself.
    """
    teacher = copy.deepcopy(networks.denoiser).requires_grad_(False).eval()
    known, learned = Evaluations(teacher), Evaluations(networks.denoiser)
    flow = FlowData(networks, data, seed)
    pairs = PairSampler(data.groups, true_share=TRUE_SHARE)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        rows, references = draw_targets(data, pairs, batch_size, rng)
        drawn = flow.draw(rows, references, rng)
        clean = drawn.clean
        corners: dict[int, Asked] = {}

        def denoise(x: Tensor, time: Tensor, has_condition: Tensor, person: Tensor, _: None) -> Tensor:
            times = len(x) // len(clean)
            if times not in corners:  # the same in all substeps
                given = drawn.asked.given.repeat(times)
                given = replace(given, conditions=given.conditions.keep(has_condition[:, None]))
                person = person & drawn.asked.has_person.repeat(times)
                context = given.context(networks.autoencoder, networks.prior, person)
                corners[times] = Asked(given, person, context)
            return known(x, time, corners[times])

        kind = int(torch.randint(4, (), generator=generator))
        other = OTHER_STEPS[int(torch.randint(len(OTHER_STEPS), (), generator=generator))]
        times = _draw_times(len(clean), (n_steps, n_steps, other, None)[kind], generator).to(clean.device)
        begin, end = times[:, 0], times[:, -1]
        noise = noise_like(clean, generator)
        x = begin[:, None, None] * clean + (1 - begin[:, None, None]) * noise
        until: Tensor | None = end
        with torch.no_grad():
            predict = guided(denoise, guidance_scale, person_scale)
            if times.shape[1] == 1:
                wanted, until = predict(x, begin), None
            else:
                # The prediction whose Euler step lands there; of the last step it is the landing itself.
                share = ((1 - begin) / (end - begin))[:, None, None]
                wanted = x + share * (_solve(predict, x, times) - x)
        found = learned(x, begin, drawn.asked, until)
        error = (found - wanted) / (1 - begin)[:, None, None]
        return error.square().mean()

    return train(
        networks.denoiser,
        loss,
        settings,
        checkpoint=checkpoint,
        run=f"{data.digest} {_digest(teacher)} {seed} {n_steps} {guidance_scale} {person_scale}",
        name="few steps",
        verbose=verbose,
    )


def fit_half_the_steps(
    networks: TwinNetworks,
    data: TrainingData,
    settings: LoopSettings,
    *,
    n_steps: int,
    batch_size: int = 128,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Teach a denoiser that draws in twice `n_steps` evaluations to draw in `n_steps`.

    Five of eight examples are steps of this length, the others what the teacher knows already, as it goes
    them: its own steps, those of other lengths, and infinitesimal ones.
    """
    teacher = copy.deepcopy(networks.denoiser).requires_grad_(False).eval()
    known, learned = Evaluations(teacher), Evaluations(networks.denoiser)
    flow = FlowData(networks, data, seed)
    pairs = PairSampler(data.groups, true_share=TRUE_SHARE)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed + 1, step)
        rows, references = draw_targets(data, pairs, batch_size, rng)
        drawn = flow.draw(rows, references, rng)
        clean = drawn.clean
        case = int(torch.randint(8, (), generator=generator))
        other = OTHER_STEPS[int(torch.randint(len(OTHER_STEPS), (), generator=generator))]
        n, substeps = (n_steps, 2) if case < 5 else ((2 * n_steps, other, None)[case - 5], 1)
        times = _draw_times(len(clean), n, generator, substeps).to(clean.device)
        begin, end = times[:, 0], times[:, -1] if n else None
        noise = noise_like(clean, generator)
        x = begin[:, None, None] * clean + (1 - begin[:, None, None]) * noise
        with torch.no_grad():
            if end is None:
                wanted = known(x, begin, drawn.asked)
            else:
                landing = x
                for now, then in pairwise(times.unbind(1)):
                    share = ((then - now) / (1 - now))[:, None, None]
                    landing = landing + share * (known(landing, now, drawn.asked, then) - landing)
                wanted = x + ((1 - begin) / (end - begin))[:, None, None] * (landing - x)
        found = learned(x, begin, drawn.asked, end)
        error = (found - wanted) / (1 - begin)[:, None, None]
        return error.square().mean()

    return train(
        networks.denoiser,
        loss,
        settings,
        checkpoint=checkpoint,
        run=f"{data.digest} {_digest(teacher)} {seed} half {n_steps}",
        name="half the steps",
        verbose=verbose,
    )


def _digest(teacher: nn.Module) -> str:
    """Return a digest of weights: what was learned from one teacher is not gone on with beside another."""
    hashed = hashlib.sha256()
    for values in teacher.state_dict().values():
        hashed.update(values.cpu().numpy().tobytes())
    return hashed.hexdigest()


def _draw_times(n: int, n_steps: int | None, generator: torch.Generator, substeps: int = SUBSTEPS) -> Tensor:
    """Times ``(n, substeps + 1)`` through one of `n_steps` steps, or ``(n, 1)`` without a number of steps."""
    if n_steps is None:
        return sample_times(n, generator)[:, None]
    fine = time_grid(n_steps * substeps)
    step = torch.randint(n_steps, (n,), generator=generator)
    return fine[step[:, None] * substeps + torch.arange(substeps + 1)]


def _solve(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """DPM-Solver++(2M) through each row's own times ``(n, k)``, as in `ecgtwin.diffusion.samplers`."""
    before, step_before = x, torch.full_like(times[:, 0], float("inf"))
    for now, then in zip(times[:, :-1].unbind(1), times[:, 1:].unbind(1), strict=True):
        x1 = predict(x, now)
        step = torch.logit(then) - torch.logit(now)
        known = torch.isfinite(step) & torch.isfinite(step_before)
        ratio = torch.where(known, step / step_before / 2, torch.zeros_like(step))[:, None, None]
        ahead = (1 + ratio) * x1 - ratio * before
        share = ((then - now) / (1 - now))[:, None, None]
        x = (1 - share) * x + share * ahead
        before, step_before = x1, step
    return x
