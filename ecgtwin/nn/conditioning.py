"""All that the flow is given of a twin, and the context that the denoiser reads patch by patch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..conditions import STATEMENTS
from ..rhythm import BEFORE
from .autoencoder import PatchAutoencoder
from .prior import BeatPrior, replay
from .tokens import ConditionArrays, statement_matrix

_NO_P_WAVE = [STATEMENTS.index(code) for code in ("AFIB", "AFLT")]
_QRS_ONSET = BEFORE - 6  # 60 ms before R


def _before_qrs(beats: Tensor) -> Tensor:
    return torch.arange(beats.shape[-1], device=beats.device) < _QRS_ONSET


@dataclass(frozen=True)
class Conditioning:
    """What n twins are to be: whose, under which condition, and in which rhythm.

    Parameters
    ----------
    conditions : ConditionArrays of n
    bases : Tensor (n, base_dim)
        Base vectors of unit length.
    residuals : Tensor (n, 8, BEAT)
        What is the person's own in a typical beat, in mV; zero where nothing is known.
    own : Tensor (n, 71)
        The statements of the person's recording: what a condition that is left open falls back on.
    rates : Tensor (n,)
        Heart rates of the twins in beats per minute; NaN where not known.
    offsets : int16 Tensor (n, t)
        For each sample its place in a beat.
    rhythm : Tensor (n, N_CHANNELS, m)
    """

    conditions: ConditionArrays
    bases: Tensor
    residuals: Tensor
    own: Tensor
    rates: Tensor
    offsets: Tensor
    rhythm: Tensor

    def __len__(self) -> int:
        return len(self.rates)

    def to(self, device: torch.device | str) -> Conditioning:
        """Move to a device."""
        return Conditioning(*(getattr(self, field.name).to(device) for field in fields(self)))

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        return Conditioning(*(getattr(self, field.name)[rows] for field in fields(self)))

    def repeat(self, times: int) -> Conditioning:
        """Repeat all rows, one set after the other."""
        return self[torch.arange(len(self), device=self.rates.device).repeat(times)]

    @torch.no_grad()
    def context(self, autoencoder: PatchAutoencoder, prior: BeatPrior, has_person: Tensor) -> Tensor:
        """Return counterfactual beats in the rhythm, as latents, and the rhythm: ``(n, latent_dim + c, m)``.

        Of a condition without any statement the person, bool ``(n,)``, stays as recorded, and nobody is
        as people are on average.
        """
        person = has_person[:, None]
        statements = statement_matrix(self.conditions)
        told = statements.any(dim=1, keepdim=True)
        statements = torch.where(told, statements, torch.where(person, self.own, prior.usual))
        residuals = self.residuals * person[..., None]
        # Fibrillating or fluttering atria make no P wave, so there is none for a person to keep.
        silent = (statements[:, _NO_P_WAVE] > 0.5).any(dim=1)
        residuals = residuals * ~(silent[:, None, None] & _before_qrs(residuals))
        beats = prior(statements, self.rates) + residuals
        return torch.cat([autoencoder.encode(replay(beats, self.offsets)), self.rhythm], dim=1)
