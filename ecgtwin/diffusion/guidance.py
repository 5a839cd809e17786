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

    Up to the smaller of the two scales both act together, beyond it the one with the larger scale acts
    alone. With ``g >= p`` the scales of condition and person (and likewise with ``p > g``)::

        f(none) + p (f(condition, person) - f(none)) + (g - p) (f(condition) - f(none))

    A scale of 0 leaves its part out, 1 takes it as it is, above 1 exaggerates it. Predictions of weight
    0 are not computed: equal scales need two, 1 and 1 need one, others three.

    References
    ----------
    Ho, Salimans, Classifier-free diffusion guidance, 2022, eq. 6. Liu et al., Compositional visual
    generation with composable diffusion models, ECCV 2022, eq. 11, for several conditions.
    """
    weights = (
        (True, True, min(guidance_scale, person_scale)),
        (guidance_scale > person_scale, person_scale > guidance_scale, abs(guidance_scale - person_scale)),
        (False, False, 1 - max(guidance_scale, person_scale)),
    )

    def predict(x: Tensor, time: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for condition, person, weight in weights:
            if weight:
                total = total + weight * denoise(x, time, condition, person)
        return total

    return predict
