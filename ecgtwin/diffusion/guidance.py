"""Classifier-free guidance with two scales, for the condition and for the person."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .flow import Predict

Denoise = Callable[..., Tensor]
"""``(x, time, has_condition (k n,), has_person (k n,), until) -> clean latents``, for k repeats of n rows"""


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
    corners = (
        (True, True, min(guidance_scale, person_scale)),
        (guidance_scale > person_scale, person_scale > guidance_scale, abs(guidance_scale - person_scale)),
        (False, False, 1 - max(guidance_scale, person_scale)),
    )
    parts = [corner for corner in corners if corner[2]]

    def predict(x: Tensor, time: Tensor, until: Tensor | None = None) -> Tensor:
        # All in one batch: one large call costs less than three small ones.
        k, n = len(parts), len(x)
        flags = torch.tensor([part[:2] for part in parts], device=x.device).repeat_interleave(n, dim=0)
        until = None if until is None else until.repeat(k)
        clean = denoise(x.repeat(k, 1, 1), time.repeat(k), flags[:, 0], flags[:, 1], until)
        weight = torch.tensor([part[2] for part in parts], dtype=x.dtype, device=x.device)
        return (clean.unflatten(0, (k, n)) * weight[:, None, None, None]).sum(dim=0)

    return predict
