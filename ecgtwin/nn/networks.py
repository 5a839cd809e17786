"""The networks of a generator as one module, so that they are saved and moved together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .autoencoder import PatchAutoencoder
from .conditioning import Conditioning
from .denoiser import Denoiser, Told
from .electrodes import ElectrodeLevels
from .extractor import BaseExtractor
from .prior import BeatPrior
from .rhythm import RhythmModel


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let networks made within be drawn from `seed`; the caller's generator, and CUDA's, are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class TwinNetworks(nn.Module):
    """All networks of one architecture, drawn from `seed`."""

    def __init__(self, architecture: Architecture, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        with drawn_from(seed):
            self.autoencoder = PatchAutoencoder(architecture.patch, architecture.latent_dim)
            self.extractor = BaseExtractor(architecture)
            self.prior = BeatPrior(
                architecture.base_dim, architecture.interaction_width, architecture.transfer_width
            )
            self.rhythm = RhythmModel()
            self.electrodes = ElectrodeLevels()
            self.denoiser = Denoiser(architecture)
        self.eval()

    def tell(self, given: Conditioning, has_condition: Tensor, has_person: Tensor) -> Told:
        """Tell the denoiser of twins, conditions and persons only where bool ``(n,)`` say so."""
        given = given.told(has_condition)
        context = given.context(self.autoencoder, self.prior, has_person)
        return self.denoiser.tell(given.bases, has_person, given.conditions, context)
