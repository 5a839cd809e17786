"""The networks: one readable file for each."""

from .architecture import ARCHITECTURES, Architecture
from .autoencoder import PatchAutoencoder
from .denoiser import Denoiser
from .extractor import BaseExtractor
from .networks import TwinNetworks
from .tokens import ConditionArrays, encode_conditions

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BaseExtractor",
    "ConditionArrays",
    "Denoiser",
    "PatchAutoencoder",
    "TwinNetworks",
    "encode_conditions",
]
