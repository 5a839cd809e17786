"""The networks of a generator as one module, so that they are saved and moved together."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .autoencoder import PatchAutoencoder
from .conditioning import Conditioning
from .denoiser import Denoiser
from .extractor import BaseExtractor
from .prior import BeatPrior
from .rhythm import RhythmModel


class TwinNetworks(nn.Module):
    """Autoencoder, extractor, beat prior, rhythm and denoiser of one architecture, drawn from `seed`."""

    def __init__(self, architecture: Architecture, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        with torch.random.fork_rng(devices=[]):  # the caller's generator is not touched
            torch.default_generator.manual_seed(seed)  # and not CUDA's
            self.autoencoder = PatchAutoencoder(architecture.patch, architecture.latent_dim)
            self.extractor = BaseExtractor(architecture)
            self.prior = BeatPrior(architecture.base_dim)
            self.rhythm = RhythmModel()
            self.denoiser = Denoiser(architecture)
        self.eval()

    def tell(
        self, given: Conditioning, has_condition: Tensor, has_person: Tensor
    ) -> tuple[Conditioning, Tensor]:
        """Leave out conditions where bool ``(n,)`` say so; return the rest, and the denoiser's context."""
        told = replace(given, conditions=given.conditions.keep(has_condition[:, None]))
        return told, told.context(self.autoencoder, self.prior, has_person)

    def denoise(
        self,
        x: Tensor,
        time: Tensor,
        given: Conditioning,
        has_condition: Tensor,
        has_person: Tensor,
        until: Tensor | None = None,
    ) -> Tensor:
        """Predict clean latents of noisy ones; bool ``(n,)`` say where condition and person are told."""
        told, context = self.tell(given, has_condition, has_person)
        return cast(Tensor, self.denoiser(x, time, told.bases, has_person, told.conditions, context, until))
