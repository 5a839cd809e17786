"""The networks: one readable file for each."""

from .architecture import ARCHITECTURES, Architecture
from .autoencoder import PatchAutoencoder
from .conditioning import Conditioning
from .denoiser import Denoiser, Told
from .electrodes import ElectrodeLevels
from .extractor import BaseExtractor
from .networks import TwinNetworks
from .prior import BeatPrior
from .rhythm import RhythmModel
from .tokens import ConditionArrays, encode_conditions, statement_matrix

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BaseExtractor",
    "BeatPrior",
    "ConditionArrays",
    "Conditioning",
    "Denoiser",
    "ElectrodeLevels",
    "PatchAutoencoder",
    "RhythmModel",
    "Told",
    "TwinNetworks",
    "encode_conditions",
    "statement_matrix",
]
