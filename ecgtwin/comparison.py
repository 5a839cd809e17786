"""Several ECGs in one picture: a series of edits, beats laid over each other, many twins as a fan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .ecg import as_ecg
from .exceptions import InputError
from .leads import lead_names
from .plotting import MM_PER_MILLIVOLT, MM_PER_SECOND, Strip, draw_strips, header

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

_SECONDS = 10.0  # across the paper


def plot_series(
    ecgs: Sequence[Any],
    *,
    leads: Sequence[str] = ("II", "V1", "V5"),
    titles: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    sampling_rate: float | None = None,
) -> Axes:
    """Draw recordings under each other on ECG paper, a few leads of each, over the same seconds.

    Made for a series of edits of growing strength.

    Parameters
    ----------
    ecgs : sequence of ECG or anything that `as_ecg` reads
        Millivolts; the first one's header is the title.
    leads : sequence of str
        They share the 10 s of the paper's width: three leads show 3.3 s each.
    titles : sequence of str, optional
        One for each recording; by default what it shows.
    title : str, optional
    ax : matplotlib Axes, optional
    sampling_rate : float, optional
        Of bare arrays.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If there is no recording, one lacks a lead, or the titles are not as many.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> ax = plot_series([ECG(np.zeros((12, 1000)))] * 3, leads=["II"])
    >>> len(ax.lines)
    3
    >>> matplotlib.pyplot.close(ax.figure)
    """
    recordings = [as_ecg(one, sampling_rate=sampling_rate) for one in ecgs]
    if not recordings:
        raise InputError("there are no recordings to draw")
    shown = [header(one) for one in recordings] if titles is None else list(titles)
    if len(shown) != len(recordings):
        raise InputError(f"{len(recordings)} titles are needed, got {len(shown)}")
    names = lead_names(leads)
    seconds = _SECONDS / len(names)
    strips = []
    for row, ecg in enumerate(recordings):
        chosen = ecg.select(names)
        count = round(seconds * ecg.sampling_rate) + 1
        for column, (name, trace) in enumerate(zip(names, chosen.signal, strict=True)):
            y = MM_PER_MILLIVOLT * (trace - np.nanmedian(trace))[:count]
            x = MM_PER_SECOND * (column * seconds + np.arange(len(y)) / ecg.sampling_rate)
            strips.append(Strip(name, row, x, y, (float(y.min()), float(y.max()))))
    return draw_strips(
        strips, len(recordings), title=header(recordings[0]) if title is None else title, ax=ax, names=shown
    )
