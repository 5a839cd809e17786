"""Training: one loop for all stages, and what each stage learns from."""

from .contrast import base_vectors, retrieval_top1
from .data import TrainingData, step_generators
from .flows import known_leads
from .loop import LoopSettings, train
from .pairs import PairSampler
from .stages import STAGES, Distilled, StageSettings, fit_networks, stages_after

__all__ = [
    "STAGES",
    "Distilled",
    "LoopSettings",
    "PairSampler",
    "StageSettings",
    "TrainingData",
    "base_vectors",
    "fit_networks",
    "known_leads",
    "retrieval_top1",
    "stages_after",
    "step_generators",
    "train",
]
