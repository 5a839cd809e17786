"""Zero-phase Butterworth filters, each designed once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def filtered(
    signal: NDArray[Any],
    cut: float | tuple[float, float],
    kind: str,
    rate: float,
    *,
    order: int = 2,
    **padding: Any,
) -> NDArray[np.float64]:
    """Filter ``(..., t)`` forwards and backwards; `cut` in Hz.

    In float64, since offsets may be thousands of times the signal. `padding` is that of
    `scipy.signal.sosfiltfilt`.
    """
    from scipy.signal import sosfiltfilt

    found = sosfiltfilt(_design(order, cut, kind, rate), np.asarray(signal, dtype=np.float64), **padding)
    return np.asarray(found)


@lru_cache(maxsize=64)
def _design(order: int, cut: float | tuple[float, float], kind: str, rate: float) -> NDArray[np.float64]:
    from scipy.signal import butter

    return np.asarray(butter(order, cut, kind, fs=rate, output="sos"))


def response(
    frequency: NDArray[Any], cut: float | tuple[float, float], kind: str, rate: float
) -> NDArray[np.float64]:
    """Return by how much `filtered`, of second order, weakens waves of each frequency in Hz."""
    from scipy.signal import sosfreqz

    return np.asarray(np.square(np.abs(sosfreqz(_design(2, cut, kind, rate), frequency, fs=rate)[1])))
