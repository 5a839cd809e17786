"""The errors and warnings of ecgtwin: one type per cause."""


class InputError(ValueError):
    """A signal, file or argument that cannot be used; the message says where and how to mend it."""


class ConditionError(InputError):
    """A cardiac condition that is not known or not possible."""


class CheckpointError(OSError):
    """Weights or a configuration that are missing, damaged or not what they claim to be."""


class QualityWarning(UserWarning):
    """A signal that can be used, with a property the caller should know of."""
