"""Solvers of the flow's ordinary differential equation, from noise at time 0 to data at time 1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .flow import Predict


def time_grid(n_steps: int) -> Tensor:
    """Times ``(n_steps + 1,)`` from 0 to 1."""
    return torch.linspace(0, 1, n_steps + 1)


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


SAMPLERS: dict[str, Callable[[Predict, Tensor, Tensor], Tensor]] = {"euler": euler, "heun": heun}
