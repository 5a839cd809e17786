"""Solvers of the flow's ordinary differential equation, from noise at time 0 to data at time 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .flow import Predict


def time_grid(n_steps: int) -> Tensor:
    """Times ``(n_steps + 1,)`` from 0 to 1, even in the logarithm of the signal-to-noise ratio.

    The infinite ends of that scale are cut at log(t / (1 - t)) of -3.5 and 2.5, more on the side of the
    noise, where rhythm and beats take their places.
    """
    even = torch.sigmoid(torch.linspace(-3.5, 2.5, n_steps + 1, dtype=torch.float64))
    return ((even - even[0]) / (even[-1] - even[0])).float()


def euler(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """Euler's method: one evaluation a step; the last step lands on the prediction itself."""
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x1 = predict(x, x.new_full((len(x),), now))
        x = x1 if then == 1 else x + (then - now) * (x1 - x) / (1 - now)
    return x


def heun(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """Heun's method (Karras et al. 2022, algorithm 1): two evaluations a step, one in the last."""
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x1 = predict(x, x.new_full((len(x),), now))
        if then == 1:
            return x1
        slope = (x1 - x) / (1 - now)
        guess = x + (then - now) * slope
        x1 = predict(guess, x.new_full((len(x),), then))
        x = x + (then - now) * (slope + (x1 - guess) / (1 - then)) / 2
    return x


def dpm_solver(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order from one evaluation a step."""
    before, step_before = x, math.inf  # of the log signal-to-noise ratio, which is infinite at both ends
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x1 = predict(x, x.new_full((len(x),), now))
        if then == 1:
            return x1
        step = math.log(then / (1 - then)) - math.log(now / (1 - now)) if now else math.inf
        ratio = step / step_before / 2 if math.isfinite(step_before) else 0.0
        ahead = (1 + ratio) * x1 - ratio * before
        x = (1 - then) / (1 - now) * x + (then - now) / (1 - now) * ahead
        before, step_before = x1, step
    return x


def shortcut(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """Euler's method by a network that is told how far each step reaches (Frans et al. 2025, algorithm 2)."""
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x1 = predict(x, x.new_full((len(x),), now), x.new_full((len(x),), then))
        x = x1 if then == 1 else x + (then - now) * (x1 - x) / (1 - now)
    return x


SAMPLERS: dict[str, Callable[[Predict, Tensor, Tensor], Tensor]] = {
    "euler": euler,
    "heun": heun,
    "dpm": dpm_solver,
    "shortcut": shortcut,
}
