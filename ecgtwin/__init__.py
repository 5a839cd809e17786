"""Personal synthetic ECGs: this person's heart under the condition you ask for."""

__version__ = "0.1.0"

from .conditions import Condition
from .ecg import ECG, as_ecg, read_ecg, write_ecg
from .exceptions import CheckpointError, ConditionError, InputError, QualityWarning
from .leads import lead_residual

__all__ = [
    "ECG",
    "CheckpointError",
    "Condition",
    "ConditionError",
    "InputError",
    "QualityWarning",
    "as_ecg",
    "lead_residual",
    "read_ecg",
    "write_ecg",
]
