"""Many recordings measured on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed


def on_all_cores(measure: Callable[..., Any], signals: NDArray[Any], size: int) -> list[Any]:
    """Measure recordings ``(n, ...)`` in pieces of about `size` side by side, and join what is found.

    What makes one piece is measured here, since processes take seconds to start.
    """
    pieces = np.array_split(signals, max(1, len(signals) // size))
    found = Parallel(n_jobs=-1 if len(pieces) > 1 else 1)(delayed(measure)(piece) for piece in pieces)
    return [one for piece in found for one in piece]
