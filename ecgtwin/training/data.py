"""Recordings to learn from, and the random numbers of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..conditions import Condition
from ..leads import independent_leads
from ..nn import ConditionArrays, encode_conditions
from ..rhythm import Beats, typical_beat
from .pairs import Members


@dataclass(frozen=True)
class TrainingData:
    """Recordings to learn from.

    Parameters
    ----------
    signals : float32 array (n, 12, t)
        mV at 100 Hz, standard lead order.
    groups : array (n,)
        The person of each recording.
    conditions : sequence of n Condition, optional
    present : bool array (n, 12), optional
        Which leads each recording has; all by default.
    """

    signals: NDArray[np.float32]
    groups: NDArray[Any]
    conditions: Sequence[Condition] | None = None
    present: NDArray[np.bool_] | None = None

    @cached_property
    def digest(self) -> str:
        """What names these recordings, their persons and conditions."""
        hashed = hashlib.sha256(np.ascontiguousarray(self.signals).data)
        hashed.update(repr((self.groups.tolist(), self.conditions)).encode())
        return hashed.hexdigest()

    @cached_property
    def encoded(self) -> ConditionArrays:
        """The conditions as arrays."""
        return encode_conditions(self.conditions or [Condition()] * len(self))

    @cached_property
    def leads(self) -> NDArray[np.bool_]:
        """Which leads each recording has, ``(n, 12)``."""
        return np.ones((len(self), 12), dtype=bool) if self.present is None else self.present

    @cached_property
    def beats(self) -> Beats:
        """R peaks and typical beats of the recordings."""
        return Beats.of(self.signals)

    @cached_property
    def views(self) -> NDArray[np.float32]:
        """Typical beats of whole recordings, and of both halves of them, ``(3, n, 8, BEAT)`` in mV.

        A half without a beat has that of the whole.
        """
        half = self.signals.shape[-1] // 2
        views = np.stack([self.beats.typical] * 3)
        for row, (signal, peaks) in enumerate(zip(self.signals, self.beats.peaks, strict=True)):
            leads, left = independent_leads(signal), peaks < half
            if left.any():
                views[1, row] = typical_beat(leads[:, :half], peaks[left])
            if not left.all():
                views[2, row] = typical_beat(leads[:, half:], peaks[~left] - half)
        return views

    def __len__(self) -> int:
        return len(self.signals)

    @cached_property
    def by_statement(self) -> Members:
        """The recordings of each statement that occurs."""
        codes = self.encoded.statements.numpy()
        rows, column = np.nonzero(codes)
        return Members.of(codes[rows, column], rows)


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return the random numbers of one step, which depend on nothing but seed and step."""
    rng = np.random.default_rng([seed, step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))
