"""The three networks that judge. They share nothing with those that generate.

Each reads the 8 independent leads in mV at 100 Hz, ``(n, 8, t)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..conditions import STATEMENTS
from ..leads import INDEPENDENT_LEADS

N_LEADS = len(INDEPENDENT_LEADS)

_BOUND = 4.0


class _Residual(nn.Module):
    """Two convolutions with squeeze-and-excitation (Hu et al. 2018); the first may halve the time axis."""

    def __init__(self, n_in: int, n_out: int, stride: int, kernel: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm1d(n_out),
            nn.SiLU(),
            nn.Conv1d(n_out, n_out, kernel, 1, kernel // 2, bias=False),
            nn.BatchNorm1d(n_out),
        )
        self.excite = nn.Sequential(
            nn.Linear(n_out, n_out // 4), nn.SiLU(), nn.Linear(n_out // 4, n_out), nn.Sigmoid()
        )
        self.skip = nn.Sequential(nn.AvgPool1d(stride, stride, ceil_mode=True), nn.Conv1d(n_in, n_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return F.silu(self.skip(x) + y * self.excite(y.mean(dim=-1))[..., None])


def _residual_trunk(widths: tuple[int, ...]) -> nn.Sequential:
    """A stem that halves the time axis, then one residual block for each width, halving it again."""
    blocks = [_Residual(a, b, stride=2) for a, b in zip((widths[0], *widths), widths, strict=False)]
    return nn.Sequential(
        nn.BatchNorm1d(N_LEADS),
        nn.Conv1d(N_LEADS, widths[0], 15, 2, 7, bias=False),
        nn.BatchNorm1d(widths[0]),
        nn.SiLU(),
        *blocks,
    )


def _centred(signals: Tensor) -> Tensor:
    """Take the electrode's offset away."""
    return signals - signals.median(dim=-1, keepdim=True).values


class Classifier(nn.Module):
    """What a recording shows: logits of the 71 statements and of female sex, and age in years."""

    def __init__(self, widths: tuple[int, ...] = (64, 96, 128, 192)) -> None:
        super().__init__()
        self.trunk = _residual_trunk(widths)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * widths[-1], len(STATEMENTS) + 2)

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return statement logits ``(n, 71)``, logits of female sex ``(n,)`` and ages ``(n,)``."""
        x = self.trunk(_centred(signals))
        y = self.head(self.drop(torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=-1)))
        return y[:, :-2], y[:, -2], 60 + 17 * y[:, -1]


class FeatureNet(nn.Module):
    """Features ``(n, 40)``, the space of Frechet distances: uncorrelated, of unit variance on real ECGs.

    As learned, a few of 64 directions hold nearly all of the variance and a few odd recordings much of
    that: a Frechet distance would see little else. So large values are compressed, and the 40 largest
    directions, which hold nearly everything, made equal and bounded.
    """

    mean: Tensor
    whiten: Tensor

    def __init__(
        self, widths: tuple[int, ...] = (48, 64, 96, 128), learned: int = 64, kept: int = 40
    ) -> None:
        super().__init__()
        self.trunk = _residual_trunk(widths)
        self.embed = nn.Linear(2 * widths[-1], learned)
        self.scale = nn.BatchNorm1d(learned, affine=False)
        self.register_buffer("mean", torch.zeros(learned))
        self.register_buffer("whiten", torch.eye(learned)[:, :kept])

    def forward(self, signals: Tensor) -> Tensor:
        features = torch.asinh(self.learned(signals)) - self.mean
        return _BOUND * torch.tanh(features @ self.whiten / _BOUND)

    def learned(self, signals: Tensor) -> Tensor:
        """Features as they are trained, before whitening."""
        x = self.trunk(_centred(signals))
        # The spread over time tells how alike the beats are.
        return self.scale(self.embed(torch.cat([x.mean(dim=-1), x.std(dim=-1)], dim=-1)))

    def calibrate(self, features: NDArray[Any]) -> None:
        """Set the whitening from learned features ``(n, 64)`` of real ECGs."""
        features = np.arcsinh(features)
        variance, axes = np.linalg.eigh(np.cov(features.T))  # in ascending order
        variance = np.maximum(variance, 1e-4 * variance.mean() + 1e-8)
        kept = slice(-self.whiten.shape[1], None)
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.whiten.copy_(torch.from_numpy(axes[:, kept] / np.sqrt(variance[kept])))


class _Dilated(nn.Module):
    """A residual time-delay layer: a dilated convolution between two of width 1."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, width, 1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 1, bias=False),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Recogniser(nn.Module):
    """Who it is: unit vectors ``(n, 128)``, near for recordings of one person.

    A time-delay network with attentive statistics pooling, as speakers are recognised (Okabe et al.
    2018; Desplanques et al. 2020). It is never told the condition and has no attention between beats.
    """

    def __init__(self, width: int = 128, n_dimensions: int = 128) -> None:
        super().__init__()
        widths = (N_LEADS, 48, 96, width)
        self.stem = nn.Sequential(
            nn.BatchNorm1d(N_LEADS),
            *(
                layer
                for a, b in itertools.pairwise(widths)
                for layer in (nn.Conv1d(a, b, 7, 2, 3, bias=False), nn.BatchNorm1d(b), nn.ReLU())
            ),
        )
        self.layers = nn.ModuleList(_Dilated(width, dilation) for dilation in (1, 2, 4))
        self.gather = nn.Conv1d(3 * width, 256, 1)
        self.attend = nn.Sequential(nn.Conv1d(256, 64, 1), nn.Tanh(), nn.Conv1d(64, 256, 1))
        self.norm = nn.BatchNorm1d(512)
        self.head = nn.Linear(512, n_dimensions)

    def forward(self, signals: Tensor) -> Tensor:
        x, depths = self.stem(_centred(signals)), []
        for layer in self.layers:
            x = layer(x)
            depths.append(x)
        x = F.relu(self.gather(torch.cat(depths, dim=1)))  # (n, 256, t / 8)
        weights = self.attend(x).float().softmax(dim=-1)
        mean = (weights * x).sum(dim=-1)
        spread = (weights * (x - mean[..., None]) ** 2).sum(dim=-1).clamp_min(1e-5).sqrt()
        return F.normalize(self.head(self.norm(torch.cat([mean, spread], dim=-1))).float(), dim=-1)


@torch.no_grad()
def in_batches(
    net: Callable[[Tensor], Any], leads: NDArray[Any], size: int = 256
) -> tuple[NDArray[np.float32], ...]:
    """Apply a network to ``(n, 8, t)``; return each of its outputs for all n."""
    parts = []
    for start in range(0, len(leads), size):
        x = torch.from_numpy(np.ascontiguousarray(leads[start : start + size], dtype=np.float32))
        found = net(x)
        parts.append(found if isinstance(found, tuple) else (found,))
    return tuple(torch.cat(part).numpy() for part in zip(*parts, strict=True))
