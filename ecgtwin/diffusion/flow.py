"""Rectified flow: the straight path from noise (time 0) to data (time 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[..., Tensor]
"""``(x_t (n, c, m), time (n,), [until (n,)]) -> clean x_1 (n, c, m)``"""


def sample_times(n: int, generator: torch.Generator) -> Tensor:
    """Draw training times ``(n,)`` in (0, 1): logit-normal (Esser et al. 2024), a tenth of them uniform.

    The mean lies on the side of the noise, where rhythm is decided.
    """
    normal = torch.sigmoid(torch.randn(n, generator=generator) * 1.2 - 0.4)
    uniform = torch.rand(n, generator=generator)
    return torch.where(torch.rand(n, generator=generator) < 0.1, uniform, normal).clamp(1e-3, 0.995)


def noise_like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise on the device of `values`, told by a generator on the CPU."""
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(values.device).manual_seed(seed)
    return torch.randn(values.shape, generator=there, device=values.device)


def denoising_loss(predict: Predict, clean: Tensor, generator: torch.Generator) -> Tensor:
    """The flow matching loss of a network that predicts the clean latent, one value for each row.

    The velocity of the path is ``(x_1 - x_t) / (1 - t)``, so its squared error is that of x_1 over (1 - t)^2.

    References
    ----------
    Liu et al., Flow straight and fast, ICLR 2023, eq. 1. Li, He, Back to basics: let denoising
    generative models denoise, 2025, for the prediction of x_1 under the loss of the velocity.
    """
    time = sample_times(len(clean), generator).to(clean.device)
    noise = noise_like(clean, generator)
    t = time[:, None, None]
    error = (predict(t * clean + (1 - t) * noise, time) - clean) / (1 - t)
    return error.square().mean(dim=(1, 2))
