"""Classifier-free guidance with two scales, for the condition and for the person."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .flow import Predict

Denoise = Callable[..., Tensor]
"""``(x, time, has_condition (k n,), has_person (k n,), until) -> clean latents``, for k repeats of n rows"""


RESCALING = 0.4
"""How far an exaggerated prediction is brought back to the deviations of the plain one."""


def corners(guidance_scale: float, person_scale: float) -> list[tuple[bool, bool, float]]:
    """Return which predictions to combine: told of the condition, told of the person, and their weights.

    Up to the smaller of the two scales both act together, beyond it the one with the larger scale acts
    alone. With ``g >= p`` the scales of condition and person (and likewise with ``p > g``)::

        f(none) + p (f(condition, person) - f(none)) + (g - p) (f(condition) - f(none))

    Examples
    --------
    >>> corners(1.0, 1.0)
    [(True, True, 1.0)]
    >>> corners(0.5, 1.0)
    [(True, True, 0.5), (False, True, 0.5)]
    >>> corners(3.0, 1.5)
    [(True, True, 1.5), (True, False, 1.5), (False, False, -2.0)]
    """
    every = (
        (True, True, min(guidance_scale, person_scale)),
        (guidance_scale > person_scale, person_scale > guidance_scale, abs(guidance_scale - person_scale)),
        (False, False, 1 - max(guidance_scale, person_scale)),
    )
    return [corner for corner in every if corner[2]]


def guided(denoise: Denoise, guidance_scale: float, person_scale: float) -> Predict:
    """Combine the predictions with and without condition and person, by the weights of `corners`.

    A scale of 0 leaves its part out, 1 takes it as it is, above 1 exaggerates it. Exaggeration makes waves
    tall, so each coefficient is then brought back, by `RESCALING`, to the deviation over time that it has
    without.

    References
    ----------
    Ho, Salimans, Classifier-free diffusion guidance, 2022, eq. 6. Liu et al., Compositional visual
    generation with composable diffusion models, ECCV 2022, eq. 11, for several conditions. Lin et al.,
    Common diffusion noise schedules and sample steps are flawed, WACV 2024, section 3.4, for the
    rescaling, here of each coefficient for itself.
    """
    parts = corners(guidance_scale, person_scale)

    def predict(x: Tensor, time: Tensor, until: Tensor | None = None) -> Tensor:
        # All in one batch: one large call costs less than three small ones.
        k, n = len(parts), len(x)
        flags = torch.tensor([part[:2] for part in parts], device=x.device).repeat_interleave(n, dim=0)
        until = None if until is None else until.repeat(k)
        clean = denoise(x.repeat(k, 1, 1), time.repeat(k), flags[:, 0], flags[:, 1], until)
        weight = torch.tensor([part[2] for part in parts], dtype=x.dtype, device=x.device)
        parted = clean.unflatten(0, (k, n))
        exaggerated = (parted * weight[:, None, None, None]).sum(dim=0)
        if max(guidance_scale, person_scale) <= 1:
            return exaggerated
        plain, now = (one.std(dim=-1, correction=0, keepdim=True) for one in (parted[0], exaggerated))
        share = torch.where(now > 1e-6, plain / now.clamp(min=1e-6), 1.0)
        return exaggerated * (RESCALING * share + 1 - RESCALING)

    return predict
