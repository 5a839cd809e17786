"""Several ECGs in one picture: a series of edits, beats laid over each other, many twins as a fan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .beats import r_peaks
from .ecg import ECG, NATIVE_RATE
from .exceptions import InputError
from .formats import as_ecg
from .leads import LEADS, lead_names
from .plotting import MM_PER_MILLIVOLT, MM_PER_SECOND, Strip, as_twins, draw_strips, header, paper_limits
from .rhythm import typical_beat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

_SECONDS = 10.0  # across the paper
_SERIES = ("II", "V1", "V5")
_COLUMNS = 6  # of aligned beats
_TWINS = "#1f4fd8"
_BAND = (10, 50, 90)  # percent


def plot_series(
    ecgs: Sequence[Any],
    *,
    leads: Sequence[str] | None = None,
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
    leads : sequence of str, optional
        They share the 10 s of the paper's width: three leads show 3.3 s each. By default II, V1 and V5, or
        those of them that all recordings have, or else the first one's first lead.
    titles : sequence of str, optional
        One for each recording; by default what it shows.
    title, ax, sampling_rate
        As in `plot_ecg`.

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
    if leads is None:
        there = set.intersection(*({*(ecg.leads or LEADS)} for ecg in recordings))
        leads = [lead for lead in _SERIES if lead in there] or (recordings[0].leads or LEADS)[:1]
    names = lead_names(leads)
    seconds = _SECONDS / len(names)
    strips = []
    for row, ecg in enumerate(recordings):
        chosen = ecg.select(names)
        count = round(seconds * ecg.sampling_rate) + 1
        for column, (name, trace) in enumerate(zip(names, chosen.signal, strict=True)):
            y = MM_PER_MILLIVOLT * (trace - np.nanmedian(trace))[:count]
            x = MM_PER_SECOND * (column * seconds + np.arange(len(y)) / ecg.sampling_rate)
            strips.append(Strip(name, row, x, y, paper_limits(y)))
    said = header(recordings[0]) if title is None else title
    return draw_strips(strips, len(recordings), title=said, ax=ax, names=shown, most=np.inf)


def plot_beats(
    reference: Any,
    twins: Any,
    *,
    title: str | None = None,
    ax: Axes | None = None,
    sampling_rate: float | None = None,
) -> Axes:
    """Lay the typical beats of a reference and of its twins over each other, aligned on R, lead by lead.

    A single twin is a line; of several their median is drawn, within the band that holds 80 % of them.

    Parameters
    ----------
    reference : ECG or anything that `as_ecg` reads
        Millivolts; leads that it lacks show the twins alone.
    twins
        As in `plot_twins`.
    title : str, optional
        By default what the twins show, and which colour is whose.
    ax, sampling_rate
        As in `plot_ecg`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If one is no ECG, or there are no twins.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from ecgtwin import load_example
    >>> ax = plot_beats(load_example(), load_example())
    >>> len(ax.lines)  # two in each lead
    24
    >>> matplotlib.pyplot.close(ax.figure)
    """
    first = as_ecg(reference, sampling_rate=sampling_rate)
    drawn = as_twins(twins, first)
    if not drawn:
        raise InputError("there are no twins to draw")
    own, has = _typical(first)
    many = [_typical(one) for one in drawn]
    beats, seen = np.stack([beat for beat, _ in many]), np.any([leads for _, leads in many], axis=0)
    low, middle, high = np.percentile(beats, _BAND, axis=0)
    width = MM_PER_SECOND * _SECONDS / _COLUMNS
    strips = []
    for k, lead in enumerate(LEADS):
        row, column = divmod(k, _COLUMNS)
        x = column * width + 8 + MM_PER_SECOND * np.arange(own.shape[1]) / NATIVE_RATE
        limits = (float(min(low[k].min(), own[k].min())), float(max(high[k].max(), own[k].max())))
        if has[k] or seen[k]:  # under a lead that only twins have lies their own line
            strips.append(Strip(lead, row, x, own[k] if has[k] else middle[k], limits))
        if seen[k]:
            band = (low[k], high[k]) if len(drawn) > 1 else None
            strips.append(Strip(lead, row, x, middle[k], limits, color=_TWINS, band=band))
    whose = "twin" if len(drawn) == 1 else f"median and 80 % of {len(drawn)} twins"
    said = title or f"{header(drawn[0], False)} — black: reference, blue: {whose} (synthetic)"
    return draw_strips(strips, 2, title=said, ax=ax)


def _typical(ecg: ECG) -> tuple[Array, NDArray[np.bool_]]:
    """Return the typical beat ``(12, t)`` at 100 Hz in mm of paper, and which leads are there."""
    signal, present = ecg.native()
    signal = np.nan_to_num(signal)
    return MM_PER_MILLIVOLT * typical_beat(signal, r_peaks(signal, NATIVE_RATE)), present
