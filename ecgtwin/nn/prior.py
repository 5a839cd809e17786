"""What a person's beats would be under another condition, to first order: a linear model of typical beats.

The condition explains a part of a typical beat; the rest, the residual, is the person's. Under
another condition the person keeps the residual: the expected beat of the condition plus the
residual is the *counterfactual beat*. This is the subtracting pathway of ECGTwin in closed form, on
the signal itself; the denoiser sees counterfactual beats in the places of the twin's beats, and
learns how far to trust them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..rhythm import BEAT
from .autoencoder import N_LEADS
from .tokens import N_STATEMENTS, ConditionArrays, statement_matrix

N_FACTORS = N_STATEMENTS + 2
"""Statements, and the heart rate as its log and the square of that."""


class BeatPrior(nn.Module):
    """Expected beats ``(n, 8, BEAT)`` in mV of conditions, and counterfactual beats of persons."""

    mean: Tensor
    centre: Tensor
    effect: Tensor
    guess: Tensor
    guess_centre: Tensor

    def __init__(self, base_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(N_LEADS * BEAT))
        self.register_buffer("centre", torch.zeros(N_FACTORS))
        self.register_buffer("effect", torch.zeros(N_FACTORS, N_LEADS * BEAT))
        self.register_buffer("guess", torch.zeros(base_dim, N_STATEMENTS))
        self.register_buffer("guess_centre", torch.zeros(base_dim))

    def fit(self, beats: Tensor, conditions: ConditionArrays, rates: Tensor, bases: Tensor) -> BeatPrior:
        """Fit by ridge regression.

        Parameters
        ----------
        beats : Tensor (n, 8, BEAT)
        conditions : ConditionArrays of n
        rates : Tensor (n,)
            Beats per minute.
        bases : Tensor (n, base_dim)
            Base vectors, from which statements are guessed where they are not known.
        """
        factors = self.factors(statement_matrix(conditions), rates).double()
        y = beats.flatten(1).double()
        self.centre.copy_(factors.mean(dim=0))
        self.mean.copy_(y.mean(dim=0))
        # A statement of twenty recordings is believed by half.
        self.effect.copy_(_ridge(factors - self.centre.double(), y - self.mean.double(), penalty=20.0))
        self.guess_centre.copy_(bases.mean(dim=0))
        centred = bases.double() - self.guess_centre.double()
        statements = factors[:, :N_STATEMENTS] - self.centre[:N_STATEMENTS].double()
        self.guess.copy_(_ridge(centred, statements, penalty=1e-3 * len(bases) / bases.shape[1]))
        return self

    @staticmethod
    def factors(statements: Tensor, rates: Tensor) -> Tensor:
        """Statements ``(n, 71)`` and rates ``(n,)`` in beats per minute as ``(n, N_FACTORS)``.

        A rate that is not known, NaN, counts as 72.
        """
        log = torch.nan_to_num((rates.clamp(min=20) / 72).log())[:, None]
        return torch.cat([statements, log, log.square()], dim=1)

    def guessed(self, bases: Tensor) -> Tensor:
        """Guess the statements ``(n, 71)``, as probabilities, of persons as they were recorded."""
        found = (bases - self.guess_centre) @ self.guess + self.centre[:N_STATEMENTS]
        return found.clamp(0, 1)

    @property
    def usual(self) -> Tensor:
        """The share of recordings that have each statement, ``(71,)``."""
        return self.centre[:N_STATEMENTS]

    def forward(self, statements: Tensor, rates: Tensor) -> Tensor:
        """Return the beats ``(n, 8, BEAT)`` to expect of statements ``(n, 71)`` at rates ``(n,)``."""
        expected = self.mean + (self.factors(statements, rates) - self.centre) @ self.effect
        return expected.unflatten(1, (N_LEADS, BEAT))


def replay(beats: Tensor, offsets: Tensor) -> Tensor:
    """Put beats ``(n, 8, BEAT)`` where `offsets` ``(n, t)`` say, BEAT being rest: ``(n, 8, t)``."""
    padded = nn.functional.pad(beats, (0, 1))
    return padded.gather(2, offsets.long()[:, None].expand(-1, beats.shape[1], -1))


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, x.T @ y).float()
