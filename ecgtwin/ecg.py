"""The ECG value object, and whether a twin can be made of one.

Signals are float32 millivolts of shape ``(n_leads, n_times)``. Leads are matched by name, never by
position, since files differ (MIMIC-IV-ECG stores aVF before aVL).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beats import mean_rate, r_peaks
from .conditions import Condition
from .exceptions import InputError, QualityWarning
from .leads import LEADS, complete_leads, lead_names, resample
from .quality import findings, flat_leads, refused_rhythm, refused_values, without_wander

Array = NDArray[Any]

NATIVE_RATE = 100.0
"""Samples per second of every signal that a network sees."""

NATIVE_LENGTH = 1000
"""Samples of a native recording: 10 s."""


@dataclass(frozen=True, eq=False)
class ECG:
    """A recording with its meaning.

    Parameters
    ----------
    signal : array of shape (n_leads, n_times)
        Millivolts; stored as float32.
    leads : sequence of str, optional
        Names of the rows. Without it 12 rows are the standard leads and one row is lead I.
    sampling_rate : float
        Samples per second.
    patient_id : str, optional
    condition : Condition or anything that `Condition.parse` reads, optional
        What the recording shows.
    comments : tuple of str
        Free lines that go with the recording into a file.
    notes : tuple of str
        What was done to the signal while it was read, such as gaps that were filled.

    Raises
    ------
    InputError
        If shape, leads, rate or values are not those of an ECG.

    Examples
    --------
    >>> import numpy as np
    >>> ecg = ECG(np.zeros((1, 500)), leads=["MLII"], sampling_rate=250)
    >>> ecg.leads, ecg.seconds
    (('II',), 2.0)
    """

    signal: Array = field(repr=False)
    leads: Sequence[str] | None = None
    sampling_rate: float = NATIVE_RATE
    patient_id: str | None = field(default=None, repr=False)
    condition: Condition = field(default_factory=Condition)
    comments: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        signal = _as_signal(self.signal)
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "leads", _as_leads(self.leads, signal.shape))
        object.__setattr__(self, "sampling_rate", check_rate(self.sampling_rate))
        object.__setattr__(self, "condition", Condition.parse(self.condition))
        if self.patient_id is not None:
            object.__setattr__(self, "patient_id", str(self.patient_id))

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.signal.shape[1] / self.sampling_rate

    @cached_property
    def heart_rate(self) -> float:
        """Mean ventricular rate in beats per minute; NaN with fewer than two beats."""
        return mean_rate(self.native_peaks)

    @cached_property
    def native_peaks(self) -> NDArray[np.intp]:
        """R peaks, as samples of `native`."""
        return r_peaks(self.native()[0])

    def native(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the signal as networks see it, ``(12, n_times)`` at 100 Hz, and which leads are there.

        A flat lead is not there: its electrode was off.
        """
        return self._native[:2]

    @cached_property
    def _native(self) -> tuple[Array, NDArray[np.bool_], float]:
        """What `native` returns, and by how many mV the baseline wandered."""
        names = np.array(self.leads or LEADS)
        alive = ~flat_leads(self.signal)
        signal, present = complete_leads(self.signal[alive], names[alive].tolist())
        calm, wander = without_wander(resample(signal, self.sampling_rate, NATIVE_RATE))
        return calm, present, wander

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What to know before it is used as a reference, in words: flat or clipped leads, hum, wander, ..."""
        leads, (native, _, wander) = tuple(self.leads or LEADS), self._native
        found = findings(self.signal, leads, self.sampling_rate, native, self.native_peaks, wander)
        return (*self.notes, *found)

    def select(self, leads: Iterable[str]) -> ECG:
        """Return the ECG with these leads, in this order; limb leads are computed where possible."""
        names = lead_names(leads)
        full, present = complete_leads(self.signal, self.leads or LEADS)
        rows = [LEADS.index(name) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if not present[row]]
        if missing:
            raise InputError(
                f"the recording has no lead {', '.join(missing)}; it has {', '.join(self.leads or LEADS)}"
            )
        return replace(self, signal=full[rows], leads=names)

    def resample(self, sampling_rate: float) -> ECG:
        """Return the ECG at another rate in samples per second."""
        rate = check_rate(sampling_rate)
        return replace(self, signal=resample(self.signal, self.sampling_rate, rate), sampling_rate=rate)


def check_rate(value: Any) -> float:
    """Return a sampling rate in Hz, or raise `InputError`."""
    if isinstance(value, bool | str) or value is None:
        raise InputError(f"sampling_rate must be a number of samples per second, got {value!r}")
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"sampling_rate must be one number, got {type(value).__name__}") from None
    if not isfinite(rate) or not 20 <= rate <= 100_000:
        raise InputError(f"sampling_rate must lie between 20 and 100000 Hz, got {rate:g}")
    return rate


def _as_signal(values: Any) -> Array:
    if hasattr(values, "detach"):  # a torch tensor, on any device
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy has none
            values = values.float()
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiu":
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if hasattr(values, "toarray"):
        raise InputError("a sparse matrix is no ECG; pass a dense array")
    try:
        signal = np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(f"a {type(values).__name__} of leads of unequal length is no ECG") from None
    if signal.dtype.kind not in "fiu":
        raise InputError(f"an ECG must be real numbers in millivolts, got dtype {signal.dtype}")
    if signal.ndim != 2:
        hint = "; for one lead pass signal[None]" if signal.ndim == 1 else "; pass one recording at a time"
        raise InputError(f"one ECG has shape (n_leads, n_times), got {signal.shape}{hint}")
    if signal.size == 0:
        raise InputError(f"the ECG is empty: shape {signal.shape}")
    if signal.shape[1] < signal.shape[0] and signal.shape[1] <= 15:
        raise InputError(f"shape {signal.shape} looks transposed: pass (n_leads, n_times), so signal.T")
    return np.array(signal, dtype=np.float32)  # a copy: the caller's array is never shared


def _as_leads(leads: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    if leads is None:
        if shape[0] == 12:
            return LEADS
        if shape[0] == 1:
            return ("I",)
        raise InputError(f"{shape[0]} leads without names: pass leads=[...] with one name for each")
    names = lead_names(leads)
    if len(names) != shape[0]:
        raise InputError(f"{len(names)} lead names for a signal of {shape[0]} leads")
    if len(set(names)) < len(names):
        raise InputError(f"a lead is named twice in {', '.join(names)}")
    return names


def check_reference(ecg: ECG, *, name: str = "the reference") -> ECG:
    """Return the ECG if a twin can be made of it.

    Raises
    ------
    InputError
        If values are missing or infinite, the scale is not millivolts, all leads are flat, the
        leads are out of order, it is shorter than 2.5 s, it is noise, or its rhythm or its waves are too
        slow or too fast for a heart, as under a wrong sampling rate.

    Warns
    -----
    QualityWarning
        For each of its `ECG.findings`, such as a lead that is flat (it is taken as missing).
    """
    reason = reason_to_refuse(ecg)
    if reason is not None:
        raise InputError(f"{name}: {reason}")
    for finding in ecg.findings:
        warnings.warn(f"{name}: {finding}", QualityWarning, stacklevel=3)
    return ecg


def reason_to_refuse(ecg: ECG) -> str | None:
    """Return why no twin can be made of an ECG, in words; None if one can."""
    reason = refused_values(ecg.signal, tuple(ecg.leads or LEADS), ecg.sampling_rate)
    return (
        reason if reason is not None else refused_rhythm(*ecg.native(), ecg.native_peaks, ecg.sampling_rate)
    )
