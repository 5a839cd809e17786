"""A quick classifier for measuring what synthetic ECGs are worth: random kernels and a linear layer.

It learns 71 statements from thousands of ECGs in seconds on a CPU and has no seed-dependent training,
so that two sets of training data can be compared fairly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..exceptions import InputError
from ..leads import independent_leads

KERNEL = 9
DILATIONS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class RandomKernels:
    """Features of ECGs: how often and how strongly random dilated kernels answer.

    Parameters
    ----------
    n_kernels : int
        Rounded down to a multiple of the six dilations; each gives two features.
    seed : int

    References
    ----------
    Dempster, Petitjean, Webb, ROCKET: exceptionally fast and accurate time series classification using
    random convolutional kernels, Data Min. Knowl. Disc. 34 (2020).

    Examples
    --------
    >>> RandomKernels(60).transform(np.zeros((2, 12, 1000))).shape
    (2, 120)
    """

    n_kernels: int = 1200
    seed: int = 0

    def transform(self, signals: NDArray[Any], batch_size: int = 128) -> NDArray[np.float32]:
        """Return ``(n, 2 n_kernels)`` of ``(n, 12, t)`` in mV: shares of positive values, and maxima."""
        if signals.ndim != 3 or signals.shape[1] != 12 or not np.isfinite(signals).all():
            raise InputError(f"expected finite signals (n, 12, t), got shape {signals.shape}")
        each = self.n_kernels // len(DILATIONS)
        generator = torch.Generator().manual_seed(self.seed)
        banks = []
        for dilation in DILATIONS:
            weights = torch.randn(each, 8, KERNEL, generator=generator)
            # Each kernel hears few leads: what all of them say at once is rarely a finding.
            weights *= (torch.rand(each, 8, 1, generator=generator) < 0.35).float()
            weights -= weights.mean(dim=-1, keepdim=True)
            bias = 0.3 * torch.randn(each, generator=generator)
            banks.append((weights, bias, dilation))
        parts = []
        with torch.no_grad():
            for start in range(0, len(signals), batch_size):
                leads = independent_leads(signals[start : start + batch_size])
                x = torch.from_numpy(np.ascontiguousarray(leads, dtype=np.float32))
                x = x - x.median(dim=-1, keepdim=True).values
                found = []
                for weights, bias, dilation in banks:
                    y = F.conv1d(x, weights, bias, dilation=dilation, padding=dilation * (KERNEL // 2))
                    found += [(y > 0).float().mean(dim=-1), y.amax(dim=-1)]
                parts.append(torch.cat(found, dim=1).numpy())
        return np.concatenate(parts)


@dataclass(frozen=True)
class LinearClassifier:
    """Ridge regression of statements on standardised features, all statements at once.

    Parameters
    ----------
    mean, scale : arrays (d,)
        Of the features it was fitted to.
    coefficients : array (1 + d, s)
    covariance : array (1 + d, 1 + d)
        The inverse of the normal equations' matrix.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: NDArray[Any],
        labels: NDArray[Any],
        weights: NDArray[Any] | None = None,
        *,
        strength: float = 0.3,
    ) -> Self:
        """Learn from features ``(n, d)`` and labels ``(n, s)``; weights ``(n,)`` count rows.

        The ridge is `strength` times the number of rows, since the features have unit variance.
        """
        mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        scale = np.where(scale > 1e-6, scale, 1.0)
        x, y = _rows(features, mean, scale), labels.astype(np.float64)
        w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        ridge = np.full(x.shape[1], strength * w.sum())
        ridge[0] = 0  # the prevalence is not shrunk
        covariance = np.linalg.inv((x * w[:, None]).T @ x + np.diag(ridge)).astype(np.float64)
        return cls(mean, scale, covariance @ ((x * w[:, None]).T @ y), covariance)

    def adapted(self, features: NDArray[Any], labels: NDArray[Any], weight: float) -> Self:
        """Return the classifier that would have been fitted with these rows too, each of `weight` rows.

        This is to a linear classifier what fine-tuning is to a network (recursive least squares).
        """
        x = _rows(features, self.mean, self.scale)
        spread = self.covariance @ x.T
        gain = np.linalg.solve(np.eye(len(x)) / weight + x @ spread, labels - x @ self.coefficients)
        return replace(self, coefficients=self.coefficients + spread @ gain)

    def scores(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``(n, s)``, higher where a statement is more likely."""
        return _rows(features, self.mean, self.scale) @ self.coefficients


def _rows(features: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float64]:
    return np.concatenate([np.ones((len(features), 1)), (features - mean) / scale], axis=1)
