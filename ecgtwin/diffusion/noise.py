"""Noise that belongs to its row: the same twin whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..exceptions import InputError, shown

Seeds = Sequence[tuple[int, int]]

_MANY = 64
"""Rows from which on arrays and threads pay."""


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


_RHYTHM, _ELECTRODES, _HEART, _PACING, _ANOTHER_FLOW = 1, 2, 3, 4, 5
"""What a row's seed is followed by, so that what is drawn for one thing does not tell of another."""


def row_noise(seeds: Seeds, shape: tuple[int, ...], attempt: int = 0) -> Tensor:
    """Draw standard normal noise ``(len(seeds), *shape)`` on the CPU, each row from its own Philox stream.

    Another attempt is another noise of the same row.
    """
    noise = np.empty((len(seeds), *shape), dtype=np.float32)
    stream = _ANOTHER_FLOW + attempt - 1 if attempt else None
    _for_each_row(seeds, stream, lambda rng, row: rng.standard_normal(dtype=np.float32, out=noise[row]))
    return torch.from_numpy(noise)


def row_uniforms(seeds: Seeds, n: int) -> NDArray[np.float32]:
    """Draw numbers in [0, 1) for rhythms, ``(len(seeds), n)``, each row from a stream beside its noise."""
    uniforms = np.empty((len(seeds), n), dtype=np.float32)
    _for_each_row(seeds, _RHYTHM, lambda rng, row: rng.random(dtype=np.float32, out=uniforms[row]))
    return uniforms


def row_hearts(seeds: Seeds, n: int) -> NDArray[np.float32]:
    """Draw standard normal numbers for invented hearts, ``(len(seeds), n)``, likewise."""
    return _row_normals(seeds, n, _HEART)


def row_pacing(seeds: Seeds, n: int) -> NDArray[np.float32]:
    """Draw standard normal numbers for where pacemakers pace, ``(len(seeds), n)``, likewise."""
    return _row_normals(seeds, n, _PACING)


def _row_normals(seeds: Seeds, n: int, stream: int) -> NDArray[np.float32]:
    normals = np.empty((len(seeds), n))
    _for_each_row(seeds, stream, lambda rng, row: rng.standard_normal(out=normals[row]))
    return normals.astype(np.float32)


def row_electrodes(seeds: Seeds, n: int, length: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Draw standard normal numbers for the levels of n electrodes, ``(len(seeds), n)``, and for their noise.

    The noise is white, ``(len(seeds), n, length)``; each row is from a stream beside that of its flow.
    """
    levels = np.empty((len(seeds), n))
    white = np.empty((len(seeds), n, length), dtype=np.float32)

    def fill(rng: np.random.Generator, row: int) -> None:
        rng.standard_normal(out=levels[row])
        rng.standard_normal(dtype=np.float32, out=white[row])

    _for_each_row(seeds, _ELECTRODES, fill)
    return levels, white


def _for_each_row(seeds: Seeds, stream: int | None, fill: Callable[[np.random.Generator, int], Any]) -> None:
    """Call `fill` with the random numbers of each row, Philox under its own `SeedSequence`, and its place.

    NumPy draws without the interpreter's lock, so that threads share many rows.
    """
    keys = _keys(seeds, stream)

    def fill_some(rows: NDArray[np.intp]) -> None:
        rng = np.random.Generator(np.random.Philox(key=0))
        fresh = rng.bit_generator.state  # sooner set than a generator is made
        for row in rows.tolist():
            fresh["state"]["key"] = keys[row]
            rng.bit_generator.state = fresh
            fill(rng, row)

    rows, n_threads = np.arange(len(seeds)), torch.get_num_threads()
    if len(seeds) < _MANY or n_threads == 1:
        return fill_some(rows)
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(fill_some, np.array_split(rows, n_threads)))


def _keys(seeds: Seeds, stream: int | None) -> NDArray[np.uint64]:
    """Return the keys ``(len(seeds), 2)`` that Philox takes from the `SeedSequence` of each row."""
    few, words = len(seeds) < _MANY, () if stream is None else (stream,)
    if few or max(entropy for entropy, _ in seeds) >> 64 or max(row for _, row in seeds) >> 32:
        sequences = [np.random.SeedSequence([*seed, *words]) for seed in seeds]
        return np.array([one.generate_state(2, np.uint64) for one in sequences])
    entropy, row = np.array(seeds, dtype=np.uint64).T
    after = [np.full_like(row, word) for word in words or (0,)]
    spelled = np.where(
        entropy >> 32 > 0,  # a number has as many words as it needs
        [entropy & 0xFFFFFFFF, entropy >> 32, row, *after],
        [entropy, row, *after, np.zeros_like(row)],
    )
    return _hashed(spelled.astype(np.uint32))


def _hashed(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return what ``SeedSequence(words).generate_state(2, np.uint64)`` is, ``(n, 2)``, of words ``(4, n)``.

    One by one thousands of these cost more than what is then drawn.

    References
    ----------
    O'Neill, Developing a seed_seq alternative (2015), as NumPy's `SeedSequence` has it, fixed for good.
    """
    factor = 0x43B0D7E5

    def scrambled(value: NDArray[np.uint32], by: int) -> NDArray[np.uint32]:
        nonlocal factor
        value = value ^ np.uint32(factor)
        factor = factor * by % 2**32
        value = value * np.uint32(factor)
        return value ^ value >> np.uint32(16)

    pool = [scrambled(word, 0x931E8875) for word in words]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = np.uint32(0xCA01F9DD) * pool[target]
                mixed -= np.uint32(0x4973F715) * scrambled(pool[source], 0x931E8875)
                pool[target] = mixed ^ mixed >> np.uint32(16)
    factor = 0x8B51F9DD
    low, high, *second = (scrambled(value, 0x58F38DED).astype(np.uint64) for value in pool)
    return np.stack([low | high << np.uint64(32), second[0] | second[1] << np.uint64(32)], axis=1)
