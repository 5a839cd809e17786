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
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..diffusion import guided, noise_like, time_grid
from ..diffusion.flow import Predict, sample_times
from .data import step_generators
from .flows import TRUE_SHARE, Drawn, FlowData, draw_targets
from .graphs import Asked, Evaluations
from .loop import LoopSettings, train
from .pairs import PairSampler

SUBSTEPS = 4
"""Steps of the solver for each of the student's: with two their error shows in how twins are spread."""

OTHER_STEPS = (2, 3, 6, 8, 12)
"""Numbers of steps that are taught beside the one asked for, so that all can be chosen."""


class _Lesson(NamedTuple):
    """Steps from `x`, from times to others (None: infinitesimal), and the prediction that leads there."""

    x: Tensor
    begin: Tensor
    until: Tensor | None
    wanted: Tensor


def fit_few_steps(
    flow: FlowData,
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
    networks = flow.networks
    teacher = copy.deepcopy(networks.denoiser).requires_grad_(False).eval()
    known = Evaluations(teacher)

    def lesson(drawn: Drawn, generator: torch.Generator) -> _Lesson:
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
        x = _noisy(clean, begin, generator)
        predict = guided(denoise, guidance_scale, person_scale)
        if times.shape[1] == 1:
            return _Lesson(x, begin, None, predict(x, begin))
        return _Lesson(x, begin, end, _prediction(x, begin, end, _solve(predict, x, times)))

    return _teach(
        flow,
        lesson,
        settings,
        batch_size=batch_size,
        seed=seed,
        checkpoint=checkpoint,
        run=f"{_digest(teacher)} {seed} {n_steps} {guidance_scale} {person_scale}",
        name="few steps",
        verbose=verbose,
    )


def fit_half_the_steps(
    flow: FlowData,
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
    teacher = copy.deepcopy(flow.networks.denoiser).requires_grad_(False).eval()
    known = Evaluations(teacher)

    def lesson(drawn: Drawn, generator: torch.Generator) -> _Lesson:
        clean = drawn.clean
        case = int(torch.randint(8, (), generator=generator))
        other = OTHER_STEPS[int(torch.randint(len(OTHER_STEPS), (), generator=generator))]
        n, substeps = (n_steps, 2) if case < 5 else ((2 * n_steps, other, None)[case - 5], 1)
        times = _draw_times(len(clean), n, generator, substeps).to(clean.device)
        begin, end = times[:, 0], times[:, -1]
        x = _noisy(clean, begin, generator)
        if n is None:
            return _Lesson(x, begin, None, known(x, begin, drawn.asked))
        landing = x
        for now, then in pairwise(times.unbind(1)):
            share = ((then - now) / (1 - now))[:, None, None]
            landing = landing + share * (known(landing, now, drawn.asked, then) - landing)
        return _Lesson(x, begin, end, _prediction(x, begin, end, landing))

    return _teach(
        flow,
        lesson,
        settings,
        batch_size=batch_size,
        seed=seed + 1,
        checkpoint=checkpoint,
        run=f"{_digest(teacher)} {seed} half {n_steps}",
        name="half the steps",
        verbose=verbose,
    )


def _teach(
    flow: FlowData,
    lesson: Callable[[Drawn, torch.Generator], _Lesson],
    settings: LoopSettings,
    *,
    batch_size: int,
    seed: int,
    checkpoint: Path | None,
    run: str,
    name: str,
    verbose: bool,
) -> float:
    """Teach the denoiser lessons about batches of the flow."""
    denoiser, data = flow.networks.denoiser, flow.data
    learned = Evaluations(denoiser)
    pairs = PairSampler(data.groups, true_share=TRUE_SHARE)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        drawn = flow.draw(*draw_targets(data, pairs, batch_size, rng), rng)
        with torch.no_grad():
            one = lesson(drawn, generator)
        found = learned(one.x, one.begin, drawn.asked, one.until)
        error = (found - one.wanted) / (1 - one.begin)[:, None, None]
        return error.square().mean()

    return train(
        denoiser,
        loss,
        settings,
        checkpoint=checkpoint,
        run=f"{data.digest} {run}",
        name=name,
        verbose=verbose,
    )


def _noisy(clean: Tensor, time: Tensor, generator: torch.Generator) -> Tensor:
    """Return clean latents on their way from noise, at times ``(n,)``."""
    t = time[:, None, None]
    return t * clean + (1 - t) * noise_like(clean, generator)


def _prediction(x: Tensor, begin: Tensor, end: Tensor, landing: Tensor) -> Tensor:
    """Return the prediction whose Euler step from x lands there; of a last step it is the landing itself."""
    return x + ((1 - begin) / (end - begin))[:, None, None] * (landing - x)


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
