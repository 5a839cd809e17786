"""Noise that belongs to its row: the same twin whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..exceptions import InputError, shown


def row_seeds(random_state: Any, n: int) -> list[tuple[int, int]]:
    """Return n seeds, ``(entropy, row)``, from what scikit-learn calls a random state.

    An int names a sequence: its first rows do not depend on n. A RandomState or Generator is drawn
    from once, and None takes fresh entropy.
    """
    if random_state is None:
        entropy = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    elif isinstance(random_state, np.random.Generator):
        entropy = int(random_state.integers(2**63))
    elif isinstance(random_state, np.random.RandomState):
        entropy = int(random_state.randint(2**31 - 1))
    elif (
        isinstance(random_state, int | np.integer)
        and not isinstance(random_state, bool)
        and random_state >= 0
    ):
        entropy = int(random_state)
    else:
        raise InputError(
            "random_state must be None, a whole number from 0, a RandomState or a Generator, "
            f"not {shown(random_state)}"
        )
    return [(entropy, row) for row in range(n)]


_STREAMS = {"flow": (), "rhythm": (1,), "electrodes": (2,), "intervals": (3,)}
"""What a row's seed is followed by, so that what is drawn for one thing does not tell of another."""


def row_generator(seed: tuple[int, int], stream: str) -> np.random.Generator:
    """Return the random numbers of a row for its flow, its rhythm, its electrodes or its intervals."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, *_STREAMS[stream]])))


def row_noise(seeds: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise ``(len(seeds), *shape)`` on the CPU, each row from its own Philox stream."""
    rows = [row_generator(seed, "flow").standard_normal(shape, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)


def row_uniforms(seeds: Sequence[tuple[int, int]], n: int) -> NDArray[np.float32]:
    """Draw numbers in [0, 1) for rhythms, ``(len(seeds), n)``, each row from a stream beside its noise."""
    rows = [row_generator(seed, "rhythm").random(n, dtype=np.float32) for seed in seeds]
    return np.stack(rows) if rows else np.empty((0, n), dtype=np.float32)
