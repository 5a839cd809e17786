"""Personal synthetic ECGs: this person's heart under the condition you ask for."""

__version__ = "0.1.0"

from .augment import TwinAugmenter
from .classifier import TwinAugmentedClassifier
from .comparison import plot_beats, plot_series
from .conditions import Condition
from .datasets import load_example, load_ptbxl, load_wfdb_folder
from .ecg import ECG
from .exceptions import CheckpointError, ConditionError, InputError, QualityWarning
from .extractor import IndividualBaseExtractor
from .formats import as_ecg, read_ecg, read_windows, write_ecg
from .generator import ECGTwinGenerator
from .leads import lead_residual
from .plotting import plot_ecg, plot_twins
from .provenance import write_npz
from .simulate import make_ecgs

__all__ = [
    "ECG",
    "CheckpointError",
    "Condition",
    "ConditionError",
    "ECGTwinGenerator",
    "IndividualBaseExtractor",
    "InputError",
    "QualityWarning",
    "TwinAugmentedClassifier",
    "TwinAugmenter",
    "as_ecg",
    "lead_residual",
    "load_example",
    "load_ptbxl",
    "load_wfdb_folder",
    "make_ecgs",
    "plot_beats",
    "plot_ecg",
    "plot_series",
    "plot_twins",
    "read_ecg",
    "read_windows",
    "write_ecg",
    "write_npz",
]
