"""The three networks of a generator as one module, so that they are saved and moved together."""

from __future__ import annotations

import torch
from torch import nn

from .architecture import Architecture
from .autoencoder import PatchAutoencoder
from .denoiser import Denoiser
from .extractor import BaseExtractor


class TwinNetworks(nn.Module):
    """Autoencoder, extractor and denoiser of one architecture, with weights drawn from `seed`."""

    def __init__(self, architecture: Architecture, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        with torch.random.fork_rng(devices=[]):  # the caller's generator is not touched
            torch.default_generator.manual_seed(seed)  # and not CUDA's
            self.autoencoder = PatchAutoencoder(architecture.patch, architecture.latent_dim)
            self.extractor = BaseExtractor(architecture)
            self.denoiser = Denoiser(architecture)
        self.eval()
