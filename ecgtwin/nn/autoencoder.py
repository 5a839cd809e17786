"""The autoencoder: a lapped orthogonal transform of the 8 independent leads.

Patches of all leads are expanded in their principal components. The blocks overlap by way of an
orthogonal filter across each border, so that an error in a coefficient is a smooth wave over two
patches and never a step between them. Being orthogonal it has nothing to train beyond the
components, costs microseconds, and with all coefficients kept it has no reconstruction error.

References
----------
Malvar, Staelin, The LOT: transform coding without blocking effects, IEEE TASSP 37 (1989).
Tran, Liang, Tu, Lapped transform via time-domain pre- and post-filtering, IEEE TSP 51 (2003).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor, nn

N_LEADS = 8


class PatchAutoencoder(nn.Module):
    """8 leads ``(n, 8, t)`` in mV to latents ``(n, latent_dim, t / patch)`` and back.

    A coefficient is scaled by the square root of its deviation: whitening would give noise the
    weight of the QRS, no scaling would leave nothing but the QRS.
    """

    basis: Tensor
    scale: Tensor
    spread: Tensor
    border: Tensor

    def __init__(self, patch: int, latent_dim: int) -> None:
        super().__init__()
        self.patch, self.latent_dim = patch, latent_dim
        self.register_buffer("basis", torch.eye(N_LEADS * patch)[:, :latent_dim].clone())
        self.register_buffer("scale", torch.ones(latent_dim))
        self.register_buffer("spread", torch.ones(latent_dim))  # deviation of each scaled coefficient
        self.register_buffer("border", _border_filter(patch), persistent=False)

    def fit(self, leads: NDArray[np.float32]) -> PatchAutoencoder:
        """Find the components of recordings ``(n, 8, t)`` in mV, in closed form."""
        second_moment = torch.zeros(N_LEADS * self.patch, N_LEADS * self.patch, dtype=torch.float64)
        count = 0
        for start in range(0, len(leads), 1024):
            some = torch.from_numpy(np.ascontiguousarray(leads[start : start + 1024])).to(self.basis.device)
            rows = self._patches(some).flatten(0, 1).double()
            second_moment += (rows.T @ rows).cpu()
            count += len(rows)
        variance, vectors = torch.linalg.eigh(second_moment / max(count, 1))
        order = torch.arange(len(variance) - 1, len(variance) - 1 - self.latent_dim, -1)
        deviation = variance[order].clamp(min=1e-8).sqrt()
        mean_scaled_variance = deviation.mean()  # after the division below, of deviation / sqrt(deviation)
        self.basis.copy_(vectors[:, order])
        self.scale.copy_((mean_scaled_variance * deviation).rsqrt())
        self.spread.copy_((deviation / mean_scaled_variance).sqrt())
        return self

    @property
    def is_fitted(self) -> bool:
        """Whether its components were found."""
        return bool((self.spread != 1).any())

    def encode(self, leads: Tensor) -> Tensor:
        """Leads ``(n, 8, t)`` in mV to latents ``(n, latent_dim, t / patch)``; t is a multiple of patch."""
        return ((self._patches(leads) @ self.basis) * self.scale).transpose(1, 2).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(n, latent_dim, m)`` to leads ``(n, 8, m * patch)`` in mV."""
        n, _, m = latents.shape
        blocks = (latents.transpose(1, 2) / self.scale) @ self.basis.T
        signal = blocks.view(n, m, N_LEADS, self.patch).transpose(1, 2).reshape(n, N_LEADS, m * self.patch)
        return self._across_borders(signal, self.border.T)

    def _patches(self, leads: Tensor) -> Tensor:
        n, _, t = leads.shape
        filtered = self._across_borders(leads, self.border)
        return filtered.view(n, N_LEADS, t // self.patch, self.patch).transpose(1, 2).flatten(2)

    def _across_borders(self, signal: Tensor, border: Tensor) -> Tensor:
        half = self.patch // 2
        inner = signal[..., half : signal.shape[-1] - half]
        inner = inner.unflatten(-1, (-1, self.patch)) @ border.T.to(signal.dtype)
        return torch.cat(
            [signal[..., :half], inner.flatten(-2), signal[..., signal.shape[-1] - half :]], dim=-1
        )


def _border_filter(patch: int) -> Tensor:
    """Malvar's orthogonal filter on the `patch` samples around a border, (patch, patch)."""
    half = patch // 2
    eye, flip = np.eye(half), np.eye(half)[::-1]
    butterfly = np.block([[eye, flip], [flip, -eye]]) / np.sqrt(2)
    dct2 = dct(np.eye(half), type=2, norm="ortho", axis=0)
    dct4 = dct(np.eye(half), type=4, norm="ortho", axis=0)
    mixing = flip @ dct2.T @ dct4 @ flip
    core = np.block([[eye, np.zeros((half, half))], [np.zeros((half, half)), mixing]])
    return torch.from_numpy((butterfly @ core @ butterfly).astype(np.float32))
