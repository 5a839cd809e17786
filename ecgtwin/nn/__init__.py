"""The networks: one readable file for each."""

from .architecture import ARCHITECTURES, Architecture
from .autoencoder import PatchAutoencoder
from .conditioning import Conditioning, of_a_beat, open_facts, transferred
from .denoiser import Denoiser, Told
from .electrodes import ElectrodeLevels
from .extractor import BaseExtractor, BeatReader
from .networks import TwinNetworks, drawn_from
from .prior import BeatPrior, facts_of
from .rhythm import RhythmModel
from .tokens import N_STATEMENTS, ConditionArrays, encode_conditions, in_full, statement_matrix

__all__ = [
    "ARCHITECTURES",
    "N_STATEMENTS",
    "Architecture",
    "BaseExtractor",
    "BeatPrior",
    "BeatReader",
    "ConditionArrays",
    "Conditioning",
    "Denoiser",
    "ElectrodeLevels",
    "PatchAutoencoder",
    "RhythmModel",
    "Told",
    "TwinNetworks",
    "drawn_from",
    "encode_conditions",
    "facts_of",
    "in_full",
    "of_a_beat",
    "open_facts",
    "statement_matrix",
    "transferred",
]
