"""Training: one loop for all stages, and what each stage learns from."""

from .loop import LoopSettings, train
from .pairs import PairSampler
from .stages import STAGES, StageSettings, TrainingData, base_vectors, fit_networks, step_generators

__all__ = [
    "STAGES",
    "LoopSettings",
    "PairSampler",
    "StageSettings",
    "TrainingData",
    "base_vectors",
    "fit_networks",
    "step_generators",
    "train",
]
