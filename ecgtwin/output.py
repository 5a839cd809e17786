"""From native signals of eight leads to what users get: their rate, their length, and twelve leads."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .ecg import NATIVE_RATE
from .leads import INDEPENDENT_LEADS, LEADS, resample, twelve_leads

_AT_ONCE = 64
"""Recordings brought to a rate together: what lies between stays in the processor's cache."""

_BLOCK = 10
"""Samples at 100 Hz that are made into those of another rate by one row of a matrix product, about."""

_HIGHEST = 2000
"""In Hz: beyond it, or for no whole number, the matrix might be large, and the filter is run as it is."""


def twelve_at(
    leads: NDArray[np.float32],
    rate: float,
    n_times: int,
    names: Sequence[str] = LEADS,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return twelve leads at a rate, the first `n_times` samples of each, in the order of `names`.

    They are those of `resample` and `twelve_leads`: but resampling is a product of matrices here, which
    takes a quarter of the time, and less on several cores.

    Parameters
    ----------
    leads : float32 array (n, 8, t)
        At 100 Hz.
    rate : float
        In Hz.
    n_times : int
    names : sequence of 12 str
    out : float32 array (n, 12, n_times), optional
        Where to write.
    """
    rows = [LEADS.index(name) for name in names]
    if out is None:
        out = np.empty((len(leads), len(rows), n_times), dtype=np.float32)
    if rate != round(rate) or rate > _HIGHEST:
        out[:] = twelve_leads(resample(leads, NATIVE_RATE, rate)[..., :n_times])[:, rows]
        return out
    mixing = torch.from_numpy(twelve_leads(np.eye(len(INDEPENDENT_LEADS), dtype=np.float32))[rows])
    for native, there in zip(
        torch.from_numpy(leads).split(_AT_ONCE), torch.from_numpy(out).split(_AT_ONCE), strict=True
    ):
        if rate == NATIVE_RATE:
            torch.matmul(mixing, native[..., :n_times], out=there)
        else:
            _resample(mixing @ native, int(rate), there)
    return out


def _resample(signals: Tensor, rate: int, out: Tensor) -> None:
    """Write signals ``(n, m, t)`` at another rate into `out` ``(n, m, t')``."""
    matrix, block, before, after = _resampling(rate)
    length, width = out.shape[-1], matrix.shape[1]
    n_blocks = ceil(length / width)
    lacking = max(0, n_blocks * block - signals.shape[-1])
    padded = F.pad(signals, (before, after + lacking), mode="replicate")
    windows = padded.unfold(-1, len(matrix), block)[..., :n_blocks, :].reshape(-1, len(matrix))
    if length == n_blocks * width and out.is_contiguous():
        torch.mm(windows, matrix, out=out.view(-1, width))
    else:
        out.copy_((windows @ matrix).view(*out.shape[:-1], -1)[..., :length])


@lru_cache(maxsize=16)
def _resampling(rate: int) -> tuple[Tensor, int, int, int]:
    """Return the matrix that makes a window of samples at 100 Hz into a block at another rate, and where.

    It is made of what the polyphase filter does to impulses. With it come the samples of a block, and how
    many before and after them the window has.
    """
    ratio = Fraction(rate, int(NATIVE_RATE))
    down = ratio.denominator
    block = down * max(1, round(_BLOCK / down))
    # That of the filter is 10 samples of the lower rate.
    reach = down * ceil(12 * max(1.0, float(1 / ratio)) / down)
    impulses = np.eye(block + 2 * reach)
    filtered = resample(impulses, NATIVE_RATE, rate)[:, int(reach * ratio) : int((reach + block) * ratio)]
    used = np.flatnonzero(filtered.any(axis=1))
    first, last = int(used[0]), int(used[-1])
    matrix = torch.from_numpy(filtered[first : last + 1].astype(np.float32))
    return matrix, block, reach - first, last + 1 - reach - block
