"""Classifier-free guidance with two scales, for the condition and for the person."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .flow import Predict

Denoise = Callable[[Tensor, Tensor, bool, bool], Tensor]
"""``(x, time, with condition, with person) -> clean latent``"""


def guided(denoise: Denoise, guidance_scale: float, person_scale: float) -> Predict:
    """Combine the predictions with and without condition and person.

    With g and p the two scales, the prediction is bilinear in them over the four corners::

        (1-g)(1-p) f(none) + g(1-p) f(condition) + (1-g)p f(person) + g p f(condition, person)

    A scale of 0 leaves its part out, 1 takes it as it is, above 1 exaggerates it. Corners of weight 0
    are not computed: at ``person_scale=1`` two are left, and one where the other scale is 1 or 0 too.

    References
    ----------
    Ho, Salimans, Classifier-free diffusion guidance, 2022, eq. 6, here in each of two directions.
    """
    weights = {
        (condition, person): (guidance_scale if condition else 1 - guidance_scale)
        * (person_scale if person else 1 - person_scale)
        for condition in (True, False)
        for person in (True, False)
    }

    def predict(x: Tensor, time: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for (condition, person), weight in weights.items():
            if weight:
                total = total + weight * denoise(x, time, condition, person)
        return total

    return predict
