"""Beats of a 12-lead ECG aligned on each other, and which of them are of the dominant kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from .beats import r_peaks
from .exceptions import InputError
from .leads import LEADS, independent_leads, resample

Array = NDArray[Any]
Places = NDArray[np.intp]
Kinds = NDArray[np.bool_]

BEAT_RATE = 500.0
"""Samples per second of aligned beats."""


def samples(ms: float) -> int:
    """Milliseconds as samples of aligned beats."""
    return round(ms * BEAT_RATE / 1000)


R_INDEX = samples(500)
"""The sample of R in the representative beat."""


def check_recording(signal: ArrayLike, sampling_rate: float) -> Array:
    """Return a recording as a float64 array ``(12, n_times)``, or raise `InputError`."""
    x = np.asarray(signal, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] != len(LEADS) or not x.shape[1]:
        raise InputError(f"expected 12 leads and at least one sample, shape (12, n_times), got {x.shape}")
    if not np.isfinite(x).all():
        raise InputError("a recording must be finite; it contains NaN or infinity")
    if not (np.isfinite(sampling_rate) and sampling_rate > 0):
        raise InputError(f"sampling_rate must be positive, got {sampling_rate}")
    return x


def aligned_beats(
    signal: ArrayLike,
    sampling_rate: float,
    peaks: Places | None = None,
    known: tuple[Kinds, Array] | None = None,
) -> tuple[Places, Array, Places, Kinds]:
    """Find the beats of ``(12, n_times)``, and align them on each other at 500 Hz.

    R peaks that are known are not searched for; where it is also `known` which of them are of the dominant
    kind, and the representative beat, they are aligned on this.

    Returns the R peaks in samples of the signal, the signal ``(12, m)`` at 500 Hz, its samples of the
    aligned beats, and which beats are of the dominant kind.
    """
    signal = check_recording(signal, sampling_rate)
    peaks = r_peaks(signal, sampling_rate) if peaks is None else peaks
    if not len(peaks):
        return peaks, signal, peaks, np.zeros(0, dtype=bool)
    fine = resample(signal - np.median(signal, axis=1, keepdims=True), sampling_rate, BEAT_RATE)
    at = np.round(peaks * (BEAT_RATE / sampling_rate)).astype(np.intp)
    if known is None:
        return peaks, fine, *_dominant(independent_leads(fine), at)
    qrs = independent_leads(known[1])[:, R_INDEX - samples(80) : R_INDEX + samples(80)]
    return peaks, fine, _align(independent_leads(fine), at, qrs)[0], known[0]


def cut_beats(x: Array, at: Places, before: int, after: int) -> Array:
    """Cut ``(n, n_leads, before + after)`` around each beat; past the edges the last value is repeated."""
    padded = np.pad(x, ((0, 0), (before, after)), mode="edge")
    return sliding_window_view(padded, before + after, axis=1)[:, at].transpose(1, 0, 2)


def _dominant(x: Array, at: Places) -> tuple[Places, Kinds]:
    """Align the beats on each other, and tell which are of the most frequent kind."""
    half = samples(80)
    cut = cut_beats(x, at, half, half)
    flat = (cut - cut.mean(axis=-1, keepdims=True)).reshape(len(at), -1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    alike = flat @ flat.T
    near = (alike > 0.75) | np.eye(len(at), dtype=bool)
    # In bigeminy there are as many of both kinds: the one after the longer pause is the basic rhythm.
    before = np.diff(at, prepend=2 * at[0] - at[1]) / np.diff(at).mean() if len(at) > 1 else np.ones(1)
    seed = int(np.argmax(near.sum(axis=1) + 1.5 * (near @ before) / near.sum(axis=1) + alike.mean(axis=1)))
    template, kind = cut[seed], near[seed]
    for _ in range(2):
        at, r = _align(x, at, template)
        kind = r >= min(0.85, r.max())
        template = np.median(cut_beats(x, at[kind], half, half), axis=0)
    return at, kind


def _align(x: Array, at: Places, template: Array) -> tuple[Places, Array]:
    """Move each beat, by 20 ms at most, to where it correlates best with the template."""
    width, reach = template.shape[1], samples(20)
    cut = cut_beats(x, at, width // 2 + reach, width // 2 + reach)
    shifted = sliding_window_view(cut, width, axis=2)
    centred = template - template.mean(axis=1, keepdims=True)
    product = np.einsum("nlsw,lw->ns", shifted, centred, optimize=True)
    power = np.einsum("nlsw,nlsw->ns", shifted, shifted)
    power -= np.sum(shifted.sum(axis=-1) ** 2, axis=1) / width
    r = product / np.sqrt(np.maximum(power * np.sum(centred**2), 1e-12))
    moved = np.clip(at + r.argmax(axis=1) - reach, 0, x.shape[1] - 1)
    return moved, r.max(axis=1)
