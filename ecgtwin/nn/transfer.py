"""What of a person's residual shows under another condition.

A residual, what a typical beat has beyond what its condition lets expect, is not the person alone: how severe
the condition is, and what it does to this heart and not to others, is in it too. Under another condition that
part goes, and some of what was hidden comes. A small network says which: it reads the residual as
components, the facts that it was recorded under and those that are asked for, and changes nothing where these
are the same.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..rhythm import BEAT

N_LEADS = 8
N_COMPONENTS = 64


class Transfer(nn.Module):
    """Residuals ``(n, 8, BEAT)`` in mV under one condition to residuals under another.

    It starts as no change at all, and remains that until it is trained.
    """

    basis: Tensor
    spread: Tensor

    def __init__(self, n_facts: int, width: int) -> None:
        super().__init__()
        self.register_buffer("basis", torch.zeros(N_LEADS * BEAT, N_COMPONENTS))
        self.register_buffer("spread", torch.ones(N_COMPONENTS))
        self.read = nn.Sequential(
            nn.Linear(N_COMPONENTS + 2 * n_facts + N_LEADS, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, N_COMPONENTS),
        )
        nn.init.zeros_(cast(nn.Linear, self.read[-1]).weight)

    def fit_components(self, residuals: Tensor) -> None:
        """Take the principal components of residuals ``(n, 8, BEAT)``, and how large they are."""
        rows = residuals.flatten(1).double()
        variances, axes = torch.linalg.eigh(rows.T @ rows / len(rows))  # in rising order
        self.basis.copy_(axes[:, -N_COMPONENTS:].flip(1))
        # Few recordings have fewer components; what others show in the rest is not to count without bound.
        least = max(1e-4 * float(variances[-1]), 1e-12)
        self.spread.copy_(variances[-N_COMPONENTS:].flip(0).clamp(min=least).sqrt())

    def components(self, residuals: Tensor) -> Tensor:
        """Return the principal components ``(n, N_COMPONENTS)`` of residuals, of about unit variance."""
        return (residuals.flatten(1) @ self.basis) / self.spread

    def residuals(self, components: Tensor) -> Tensor:
        """Return residuals ``(n, 8, BEAT)`` that have these principal components ``(n, N_COMPONENTS)``."""
        return ((components * self.spread) @ self.basis.T).unflatten(1, (N_LEADS, BEAT))

    def forward(self, residuals: Tensor, own: Tensor, asked: Tensor) -> Tensor:
        """Return what remains of residuals, and what comes.

        Parameters
        ----------
        residuals : Tensor (n, 8, BEAT)
            Zero in leads of which nothing is known.
        own, asked : Tensor (n, n_facts)
            The facts of the person as recorded, and those asked for; none is NaN.
        """
        known = residuals.any(dim=2).to(residuals.dtype)
        z = self.components(residuals)
        under, unchanged = (self.read(torch.cat([z, own, facts, known], dim=1)) for facts in (asked, own))
        return residuals + self.residuals(under - unchanged) * known[:, :, None]
