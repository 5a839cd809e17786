"""The sizes of the networks, as one frozen value that is saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Sizes of the three networks.

    Parameters
    ----------
    patch : int
        Samples per patch of the autoencoder (10 at 100 Hz is 100 ms); even, and so that four patches
        divide 1000 samples.
    latent_dim : int
        Coefficients kept of the ``8 * patch`` of a patch.
    base_dim : int
        Length of the base vector.
    extractor_widths : tuple of int
        Channels of the convolutions of the extractor, which halve the time axis, and the width behind them.
    interaction_width : int
        Of the network that says what facts do together to an expected beat.
    transfer_width : int
        Of the network that takes what is a person's own from one condition to another.
    denoiser_widths : tuple of 3 int
        Channels at one, two and four patches per token.
    denoiser_layers : int
        Transformer layers at the coarsest level.
    embedding_dim : int
        Width of the time and person embedding.
    token_dim : int
        Width of a condition token.
    heads : int
        Attention heads.
    """

    patch: int = 10
    latent_dim: int = 80
    base_dim: int = 256
    extractor_widths: tuple[int, ...] = (64, 96, 256)
    interaction_width: int = 128
    transfer_width: int = 512
    denoiser_widths: tuple[int, int, int] = (80, 128, 192)
    denoiser_layers: int = 3
    embedding_dim: int = 128
    token_dim: int = 96
    heads: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, value := tuple(value))
            numbers = value if isinstance(value, tuple) else (value,)
            # Bounds before anything is built: a configuration may come from elsewhere.
            if not numbers or not all(type(n) is int and 1 <= n <= 4096 for n in numbers) or len(numbers) > 8:
                raise ValueError(
                    f"architecture: {field.name} must be whole numbers from 1 to 4096, got {value!r}"
                )
        if self.patch not in (2, 10, 50) or self.latent_dim > 8 * self.patch:
            raise ValueError("architecture: patch must be 2, 10 or 50, and latent_dim at most 8 * patch")
        widths = (*self.denoiser_widths, self.token_dim)
        if len(self.denoiser_widths) != 3 or any(width % (2 * self.heads) for width in widths):
            raise ValueError("architecture: three denoiser widths, each width a multiple of 2 * heads")
        others = (*self.extractor_widths, self.interaction_width, self.transfer_width)
        if self.denoiser_layers > 64 or max(*widths, *others) > 2048:
            raise ValueError("architecture: at most 64 layers, and widths of at most 2048")

    def least_parameters(self) -> int:
        """Return a number that the parameters exceed, from attention and widest convolutions alone."""
        attention = 4 * self.denoiser_layers * self.denoiser_widths[-1] ** 2
        return attention + max(self.denoiser_widths) ** 2 + self.extractor_widths[-1] * self.base_dim

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Make one from JSON; an unknown name raises ValueError."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"architecture: unknown {', '.join(sorted(unknown))}")
        return cls(**values)


ARCHITECTURES = {
    "default": Architecture(),
    "tiny": Architecture(
        latent_dim=24,
        base_dim=16,
        extractor_widths=(8, 16),
        interaction_width=16,
        transfer_width=16,
        denoiser_widths=(16, 16, 16),
        denoiser_layers=1,
        embedding_dim=16,
        token_dim=16,
        heads=2,
    ),
}
"""Architectures by name: "tiny" is for tests and teaching."""
