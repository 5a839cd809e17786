"""The twelve leads: their names, the laws that bind them, and resampling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .exceptions import InputError

Array = NDArray[Any]

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard order of the twelve leads."""

INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The leads that determine all twelve."""

_INDEPENDENT = np.array([LEADS.index(lead) for lead in INDEPENDENT_LEADS])
# The limb leads as combinations of I and II: Einthoven's law and Goldberger's equations.
_LIMB = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
ALIASES = {lead.lower(): lead for lead in LEADS} | {"mli": "I", "mlii": "II", "mliii": "III"}


def lead_name(name: str) -> str:
    """Return the standard spelling of a lead's name.

    Raises
    ------
    InputError
        If the name is not one of the twelve leads.

    Examples
    --------
    >>> lead_name("AVR"), lead_name("MLII"), lead_name("v1-")
    ('aVR', 'II', 'V1')
    """
    key = lead_key(name)
    if key not in ALIASES:
        raise InputError(f"unknown lead {str(name)[:40]!r}; known leads are {', '.join(LEADS)}")
    return ALIASES[key]


def lead_key(name: str) -> str:
    return str(name).strip().lower().removeprefix("lead ").rstrip("-").replace(" ", "")


def independent_leads(signals: Array) -> Array:
    """Keep the 8 independent leads: ``(..., 12, t)`` in standard order to ``(..., 8, t)``."""
    return signals[..., _INDEPENDENT, :]


def twelve_leads(independent: Array) -> Array:
    """Compute all leads from the 8 independent ones, exact in float64: ``(..., 8, t)`` to ``(..., 12, t)``.

    Examples
    --------
    >>> ecg = twelve_leads(np.random.default_rng(0).normal(size=(8, 100)))
    >>> bool(lead_residual(ecg) < 1e-12)
    True
    """
    limb = np.matmul(_LIMB.astype(independent.dtype), independent[..., :2, :])
    return np.concatenate([limb, independent[..., 2:, :]], axis=-2)


def lead_residual(signals: ArrayLike) -> float:
    """Return how far 12 leads are from Einthoven's and Goldberger's laws.

    Parameters
    ----------
    signals : array of shape (..., 12, n_times)
        Standard lead order.

    Returns
    -------
    float
        The largest root mean square of the four residuals (III - II + I, aVR + (I + II) / 2,
        aVL - I + II / 2, aVF - II + I / 2) over that of the limb leads. Real recordings, rounded to
        microvolts, have about 0.003.
    """
    x = np.asarray(signals, dtype=np.float64)
    if x.ndim < 2 or x.shape[-2] < 6 or not x.size:
        raise InputError(f"expected leads of shape (..., 12, n_times), got {x.shape}")
    limb = x[..., :6, :]
    law = np.matmul(_LIMB, limb[..., :2, :])
    others = tuple(axis for axis in range(x.ndim) if axis != x.ndim - 2)
    residual = np.sqrt(np.mean((limb - law)[..., 2:, :] ** 2, axis=others))
    scale = np.sqrt(np.mean(limb**2))
    return float(residual.max() / scale) if scale > 0 else 0.0


def complete_leads(signal: Array, leads: Sequence[str]) -> tuple[Array, NDArray[np.bool_]]:
    """Arrange leads in standard order and compute the limb leads that the given ones determine.

    Parameters
    ----------
    signal : array of shape (n_leads, n_times)
    leads : sequence of str
        The standard names of the rows.

    Returns
    -------
    signal : array of shape (12, n_times)
        Zero where a lead is neither given nor determined.
    present : bool array of shape (12,)
    """
    full = np.zeros((12, signal.shape[1]), dtype=signal.dtype)
    present = np.zeros(12, dtype=bool)
    rows = [LEADS.index(lead) for lead in leads]
    full[rows] = signal
    present[rows] = True
    limb = np.flatnonzero(present[:6])
    if 2 <= len(limb) < 6:  # any two limb leads determine I and II, and so the other four
        frontal = np.linalg.lstsq(_LIMB[limb], full[limb].astype(np.float64), rcond=None)[0]
        missing = np.flatnonzero(~present[:6])
        full[missing] = _LIMB[missing] @ frontal
        present[:6] = True
    return full, present


def resample(signal: Array, rate: float, target: float) -> Array:
    """Resample along the last axis with a polyphase filter; R peaks stay within one sample.

    Parameters
    ----------
    signal : array of shape (..., n_times)
    rate, target : float
        Samples per second.

    Returns
    -------
    array of shape (..., round(n_times * target / rate))
    """
    if rate == target:
        return signal
    from scipy.signal import resample_poly  # imported here: it costs 0.2 s

    ratio = Fraction(target / rate).limit_denominator(2000)
    out = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="edge")
    return out[..., : round(signal.shape[-1] * target / rate)].astype(signal.dtype, copy=False)


def of_length(signal: Array, length: int) -> Array:
    """Cut a signal ``(..., n_times)``, or hold its last sample: resampling rounds, and may lose one."""
    lacking = max(0, length - signal.shape[-1])
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, lacking)], mode="edge")[..., :length]


def lead_names(leads: Iterable[str]) -> tuple[str, ...]:
    """Return the standard spelling of several leads' names, or of one."""
    return tuple(lead_name(lead) for lead in ([leads] if isinstance(leads, str) else leads))


def limb_lead_order(signal: Array) -> tuple[str, ...] | None:
    """Return the order in which six limb leads ``(6, n_times)`` obey the laws, or None."""
    gram = signal.astype(np.float64) @ signal.astype(np.float64).T
    law = np.concatenate([_LIMB[2:], np.zeros((4, 4))], axis=1) - np.eye(6)[2:]
    for rows in permutations(range(6)):
        residual = np.sqrt(np.diag(law @ gram[np.ix_(rows, rows)] @ law.T).clip(min=0).max())
        if residual < 0.01 * np.sqrt(np.trace(gram) / 6):
            names = [""] * 6
            for lead, row in zip(LEADS, rows, strict=False):
                names[row] = lead
            return tuple(names)
    return None
