"""The errors and warnings of ecgtwin: one type per cause."""


def shown(value: object) -> str:
    """Write a value into a message: a number or a short text, and of all else, such as signals, the type."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int | float):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}..."
    return f"a {type(value).__name__}"


class InputError(ValueError):
    """A signal, file or argument that cannot be used; the message says where and how to mend it."""


class ConditionError(InputError):
    """A cardiac condition that is not known or not possible."""


class CheckpointError(OSError):
    """Weights or a configuration that are missing, damaged or not what they claim to be."""


class QualityWarning(UserWarning):
    """A signal that can be used, with a property the caller should know of."""
