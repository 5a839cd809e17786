"""How much noise recordings have, at each electrode: drawn for each twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..electrodes import ELECTRODES

_SCORES = np.linspace(-3.2, 3.2, 33)


class ElectrodeLevels(nn.Module):
    """The joint distribution of the noise of nine electrodes.

    Each has quantiles of its own, so that no shape is assumed, and a Gaussian copula joins them: who
    trembles at one arm does so at the other. Before `fit` there is no noise.
    """

    quantiles: Tensor
    mixing: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Logarithms of levels in mV at scores from -3.2 to 3.2.
        self.register_buffer("quantiles", torch.full((len(ELECTRODES), len(_SCORES)), -20.0))
        self.register_buffer("mixing", torch.eye(len(ELECTRODES)))

    def fit(self, levels: NDArray[Any]) -> ElectrodeLevels:
        """Fit to levels ``(n, 9)`` in mV of recordings; rows with NaN do not count."""
        from scipy.stats import norm, rankdata

        log = np.log(levels[np.isfinite(levels).all(axis=1)].astype(np.float64))
        if len(log) < 2:
            return self
        scores = norm.ppf((rankdata(log, axis=0) - 0.5) / len(log))
        spread = scores.std(axis=0)
        alike = (scores / np.maximum(spread, 1e-9)).T @ (scores / np.maximum(spread, 1e-9)) / len(log)
        alike = 0.999 * alike + np.diag(1 - 0.999 * np.diag(alike))  # a few recordings may be dependent
        self.quantiles.copy_(torch.from_numpy(np.quantile(log, norm.cdf(_SCORES), axis=0).T))
        self.mixing.copy_(torch.from_numpy(np.linalg.cholesky(alike)))
        return self

    def draw(self, normals: Tensor) -> Tensor:
        """Turn standard normal numbers ``(n, 9)`` into levels ``(n, 9)`` in mV."""
        low, high, last = _SCORES[0], _SCORES[-1], len(_SCORES) - 1
        place = ((normals @ self.mixing.T - low) * (last / (high - low))).clamp(0, last)
        below = place.long().clamp(max=last - 1)
        rows = self.quantiles.expand(len(normals), -1, -1)
        one, other = (rows.gather(2, at[..., None])[..., 0] for at in (below, below + 1))
        return torch.lerp(one, other, place - below).exp()
