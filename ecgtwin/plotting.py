"""ECGs on ECG paper, truly to scale: 25 mm/s and 10 mm/mV, one data unit a millimetre."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ecg import ECG
from .exceptions import InputError
from .formats import as_ecg
from .leads import LEADS, lead_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYOUTS = {"3x4": (3, 4), "6x2": (6, 2), "12x1": (12, 1)}  # rows and columns; leads run down the columns
MM_PER_SECOND, MM_PER_MILLIVOLT, MM_PER_INCH = 25.0, 10.0, 25.4
_SECONDS = 10.0
_TALLEST = 8.0  # mV; what goes higher is no heart's
_LEFT, _RIGHT = -15.0, 255.0  # the grid in mm; traces run from 0 to 250, the calibration pulse is before
_SIDE, _HEADER, _FOOTER = 5.0, 8.0, 6.0  # white margins in mm
_PULSE = np.array([(-12, 0), (-10, 0), (-10, 10), (-5, 10), (-5, 0), (-3, 0)], dtype=float)
_FINE, _COARSE = "#f9dcd8", "#efaaa2"


class Strip(NamedTuple):
    """A piece of one lead's trace: `x` mm from the left, `y` mm above its row's baseline.

    The paper reaches as far as `y` does within `limits`. `shade`, from 0 to 1, is how deep a colour lies
    behind each sample; `band`, in mm, is drawn as an area. What is not black has no label.
    """

    lead: str
    row: int
    x: NDArray[Any]
    y: NDArray[Any]
    limits: tuple[float, float]
    is_rhythm: bool = False
    shade: NDArray[Any] | None = None
    color: str = "black"
    band: tuple[NDArray[Any], NDArray[Any]] | None = None

    @property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest point of trace and band, in mm, within the limits."""
        low, high = (self.y, self.y) if self.band is None else self.band
        return (
            max(float(min(np.nanmin(low), np.nanmin(self.y))), self.limits[0]),
            min(float(max(np.nanmax(high), np.nanmax(self.y))), self.limits[1]),
        )


def plot_ecg(
    ecg: Any,
    *,
    layout: str = "3x4",
    rhythm: str | None = "II",
    title: str | None = None,
    ax: Axes | None = None,
    sampling_rate: float | None = None,
    attribution: NDArray[Any] | None = None,
) -> Axes:
    """Draw a 12-lead ECG on ECG paper.

    Parameters
    ----------
    ecg : ECG or anything that `as_ecg` reads
        Millivolts. The first 10 s are drawn, each lead less its median; missing leads stay empty.
    layout : {"3x4", "6x2", "12x1"}
        Rows by columns. Columns are consecutive in time: in ``"3x4"`` lead I shows 0-2.5 s, aVR 2.5-5 s
        and so on. Columns past the end of a shorter recording show its last seconds instead. The first
        two fit A4 across, ``"12x1"`` needs A3.
    rhythm : str or None
        Lead of the 10 s strip under the columns, or the first lead if it is missing; ``"12x1"`` has none.
    title : str, optional
        Header line; by default what is known: condition, age, sex, measured bpm, "synthetic" (from comments).
    ax : matplotlib Axes, optional
        Where to draw, one data unit a millimetre of paper. Without it a figure is made in true scale:
        saved as PDF or SVG and printed at 100 %, a second is 25 mm and a millivolt 10 mm.
    sampling_rate : float, optional
        Samples per second; needed for a bare array.
    attribution : array (n_leads, n_times), optional
        Drawn as colour behind the traces, deepest where its magnitude is largest: what a statement moved,
        such as a row of ``Explanation.moved``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If `ecg` holds no ECG, layout or rhythm are unknown, or the attribution has another shape.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> ax = plot_ecg(np.zeros((12, 1000)), sampling_rate=100)
    >>> (25.4 * ax.figure.get_size_inches()).round()  # mm: fits A4
    array([280., 119.])
    >>> matplotlib.pyplot.close(ax.figure)
    """
    recording = as_ecg(ecg, sampling_rate=sampling_rate)
    strips = _strips(recording, layout, rhythm, attribution)
    rows = LAYOUTS[layout][0] + (rhythm is not None and layout != "12x1")
    return draw_strips(strips, rows, title=header(recording) if title is None else title, ax=ax)


def draw_strips(
    strips: Sequence[Strip],
    rows: int,
    *,
    title: str,
    ax: Axes | None,
    names: Sequence[str] | None = None,
    most: float = 40.0,
) -> Axes:
    """Draw pieces of traces on a paper of so many rows, with a line of text in each row if given.

    Rows are `most` mm apart at most.
    """
    from matplotlib import pyplot as plt

    spacing, low, high = _extent(strips, rows, most)
    if ax is None:
        size = np.array([_RIGHT - _LEFT + 2 * _SIDE, high - low + _HEADER + _FOOTER]) / MM_PER_INCH
        ax = plt.figure(figsize=(size[0], size[1]), facecolor="white").add_axes((0, 0, 1, 1))
    ax.set(xlim=(_LEFT - _SIDE, _RIGHT + _SIDE), ylim=(low - _FOOTER, high + _HEADER), xticks=[], yticks=[])
    ax.set(aspect="equal", facecolor="white")
    ax.spines[:].set_visible(False)
    _draw(ax, strips, rows, spacing, low, high)
    for row, name in enumerate(names or ()):  # under the calibration pulse, where no trace runs
        place = (_LEFT + 1, -row * spacing - 7)
        ax.text(*place, name, fontsize=8, color="black", zorder=5, clip_on=True, parse_math=False)
    ax.text(_LEFT, high + 2.5, title, fontsize=9, color="black", clip_on=True, parse_math=False)
    ax.text(_LEFT, low - 1.5, "25 mm/s  10 mm/mV", fontsize=7, color="black", va="top", clip_on=True)
    return ax


def plot_twins(
    reference: Any,
    twins: Any,
    *,
    layout: str = "3x4",
    rhythm: str | None = "II",
    titles: Sequence[str] | None = None,
    sampling_rate: float | None = None,
) -> Figure:
    """Draw a reference and, under it, its twins, on one figure to scale.

    Parameters
    ----------
    reference : ECG or anything that `as_ecg` reads
    twins : ECG, sequence of ECG, or array of shape (n_leads, n_times) or (n_twins, n_leads, n_times)
        Millivolts. Arrays have the reference's sampling rate, and its leads if they have as many.
    layout, rhythm, sampling_rate
        As in `plot_ecg`.
    titles : sequence of str, optional
        Header lines, the reference's first; by default "Reference", "Twin 1 (synthetic)", with what is known.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InputError
        If one is no ECG, there are no twins, or the number of titles does not fit.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> figure = plot_twins(ECG(np.zeros((12, 1000))), np.zeros((2, 12, 1000)))
    >>> len(figure.axes)
    3
    >>> matplotlib.pyplot.close(figure)
    """
    from matplotlib import pyplot as plt

    first = as_ecg(reference, sampling_rate=sampling_rate)
    recordings = [first, *as_twins(twins, first)]
    if len(recordings) == 1:
        raise InputError("there are no twins to draw")
    if titles is None:
        names = [("Reference", header(first))]
        names += [(f"Twin {i} (synthetic)", header(recordings[i], False)) for i in range(1, len(recordings))]
        titles = [" — ".join(filter(None, pair)) for pair in names]
    if isinstance(titles, str) or len(titles) != len(recordings):
        raise InputError(f"{len(recordings)} titles are needed, the reference's first; got {titles!r}")
    _strips(first, layout, rhythm)  # refuses a bad argument before a figure is open
    figure = plt.figure(facecolor="white")
    for ecg, title in zip(recordings, titles, strict=True):
        plot_ecg(ecg, layout=layout, rhythm=rhythm, title=title, ax=figure.add_axes((0, 0, 1, 1)))
    heights = [abs(np.subtract(*ax.get_ylim())) for ax in figure.axes]  # mm; taller where traces are
    width, total = abs(np.subtract(*figure.axes[0].get_xlim())), sum(heights)
    figure.set_size_inches(width / MM_PER_INCH, total / MM_PER_INCH)
    for i, ax in enumerate(figure.axes):
        ax.set_position((0, sum(heights[i + 1 :]) / total, 1, heights[i] / total))
    return figure


def as_twins(twins: Any, reference: ECG) -> list[ECG]:
    """Return twins as ECGs; arrays have the rate of the reference, and its leads if they have as many."""
    is_one = isinstance(twins, str) or not hasattr(twins, "__iter__") or getattr(twins, "ndim", 3) == 2
    rate, shape = reference.sampling_rate, (len(reference.signal),)
    each = [twins] if is_one else list(twins)
    leads = [reference.leads if getattr(twin, "shape", ())[:1] == shape else None for twin in each]
    return [as_ecg(twin, sampling_rate=rate, leads=names) for twin, names in zip(each, leads, strict=True)]


def _strips(
    ecg: ECG, layout: str, rhythm: str | None, attribution: NDArray[Any] | None = None
) -> list[Strip]:
    """Cut the recording into the pieces of trace that the layout shows."""
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; known layouts are {', '.join(LAYOUTS)}")
    (rows, columns), rate = LAYOUTS[layout], ecg.sampling_rate
    signal = np.where(np.isfinite(ecg.signal), ecg.signal, np.nan)[:, : round(_SECONDS * rate)]
    traces = {
        lead: MM_PER_MILLIVOLT * (row - np.nanmedian(row))
        for lead, row in zip(ecg.leads or LEADS, signal, strict=True)
        if np.isfinite(row).any()
    }
    shades: dict[str, NDArray[Any]] = {}
    if attribution is not None:
        if np.shape(attribution) != ecg.signal.shape:
            raise InputError(f"attribution {np.shape(attribution)} for a signal {ecg.signal.shape}")
        depth = np.abs(np.nan_to_num(np.asarray(attribution, dtype=np.float64)))
        depth = np.minimum(depth / max(float(np.quantile(depth, 0.998)), 1e-9), 1)
        shades = dict(zip(ecg.leads or LEADS, depth, strict=True))
    limits = {lead: paper_limits(trace) for lead, trace in traces.items()}

    def strip(lead: str, row: int, column: int, seconds: float, is_rhythm: bool = False) -> Strip:
        start = max(0.0, min(column * seconds, signal.shape[1] / rate - seconds))
        begin, end = round(start * rate), round((start + seconds) * rate)
        y = traces[lead][begin : end + 1]  # one sample more, so that columns meet
        x = MM_PER_SECOND * (column * seconds + np.arange(len(y)) / rate)
        shade = shades[lead][begin : end + 1] if lead in shades else None
        return Strip(lead, row, x, y, limits[lead], is_rhythm, shade)

    places = [(lead, i % rows, i // rows) for i, lead in enumerate(LEADS) if lead in traces]
    strips = [strip(lead, row, column, _SECONDS / columns) for lead, row, column in places]
    if rhythm is not None and layout != "12x1":
        lead = lead_name(rhythm)
        strips += [strip(lead if lead in traces else places[0][0], rows, 0, _SECONDS, True)] if traces else []
    return [s for s in strips if np.isfinite(s.y).any()]


def _extent(strips: Sequence[Strip], rows: int, most: float) -> tuple[float, float, float]:
    """Return mm between rows (25 to `most`, so that neighbours keep apart if they can), and the paper's ends.

    It ends beyond all traces, in whatever row they are, unless they pass their limits.
    """
    neighbours = ((a, b) for a in strips for b in strips if b.row == a.row + 1)
    pairs = [(a, b) for a, b in neighbours if b.is_rhythm or b.x[0] == a.x[0]]
    between = max((b.reach[1] - a.reach[0] for a, b in pairs), default=0.0)
    spacing = min(most, 5.0 * max(5, ceil(between / 5)))  # whole squares, so that baselines lie on lines
    over = max((s.reach[1] - s.row * spacing for s in strips), default=0.0)
    under = max((-s.reach[0] - (rows - 1 - s.row) * spacing for s in strips), default=0.0)
    top, foot = (5.0 * max(3, ceil((mm + 1) / 5)) for mm in (over, under))
    return spacing, -(rows - 1) * spacing - foot, top


def paper_limits(trace: NDArray[Any]) -> tuple[float, float]:
    """Return the mm about a lead's baseline at which its paper may end: beyond all beats, but not artefacts.

    What lasts for less than 20 ms of 10 s and is twice as tall as the rest is no beat.
    """
    down, up = (2 * float(np.nanquantile(way, 0.998)) for way in (-trace, trace))
    tallest = MM_PER_MILLIVOLT * _TALLEST
    return -max(24.0, min(down, tallest)), max(24.0, min(up, tallest))


def _label_place(strip: Strip) -> tuple[float, float]:
    """Return mm from the strip's start and above its baseline where the label covers no trace, if any."""
    x, y = strip.x - strip.x[0], strip.y
    low, high = np.fmin(y[:-1], y[1:]), np.fmax(y[:-1], y[1:])
    places = [(1.2, 7.0), (1.2, 11.0), (5.0, 7.0), (9.0, 7.0), (1.2, -10.0), (13.0, 7.0), (17.0, 7.0)]
    for left, base in places:
        near = (x[1:] > left - 1) & (x[:-1] < left + 7)
        if not np.any(near & (high > base - 1) & (low < base + 4)):
            return left, base
    return places[0]


def header(ecg: ECG, mark: bool = True) -> str:
    """Return what is known of a recording in one line; `mark` says that it is synthetic where it is."""
    shown = ecg.condition
    age = f"{shown.age:g} y" if shown.age is not None else ""
    rate = ecg.heart_rate if isfinite(ecg.heart_rate) else shown.heart_rate
    parts = [", ".join(shown.statements), " ".join(filter(None, (age, shown.sex)))]
    parts += [f"{rate:.0f} bpm"] if rate is not None else []
    parts += ["synthetic"] if mark and ecg.comments and ecg.comments[0].startswith("synthetic") else []
    return " · ".join(filter(None, parts))


def _draw(ax: Axes, strips: Sequence[Strip], rows: int, spacing: float, low: float, high: float) -> None:
    from matplotlib.collections import LineCollection  # one artist for many lines: small and fast files
    from matplotlib.patches import Rectangle

    def draw_lines(lines: list[Any], color: str, width: float, zorder: int) -> None:
        ax.add_collection(LineCollection(lines, colors=color, linewidths=width, zorder=zorder), autolim=False)

    for step, color, width in ((1, _FINE, 0.3), (5, _COARSE, 0.5)):
        grid = [[(x, low), (x, high)] for x in np.arange(_LEFT, _RIGHT + 1, step)]
        grid += [[(_LEFT, y), (_RIGHT, y)] for y in np.arange(low, high + 1, step)]
        draw_lines(grid, color, width, zorder=1)
    draw_lines([_PULSE - (0, row * spacing) for row in range(rows)], "black", 0.8, zorder=3)
    joints = [(s.x[0], -s.row * spacing) for s in strips if s.x[0] > 0]
    draw_lines([[(x, y - 6), (x, y + 6)] for x, y in joints], "black", 0.4, zorder=2)
    view = ax.axis()
    paper = Rectangle((_LEFT, low), _RIGHT - _LEFT, high - low, transform=ax.transData)
    for s in strips:
        y, (left, base) = -s.row * spacing, _label_place(s)
        name = f"rhythm {s.lead}" if s.is_rhythm else s.lead
        if s.shade is not None:
            colour = np.broadcast_to(np.array([0.1, 0.35, 0.9, 0.0]), (1, len(s.x), 4)).copy()
            colour[0, :, 3] = 0.65 * s.shade
            extent = (s.x[0], s.x[-1], y - 0.4 * spacing, y + 0.5 * spacing)
            ax.imshow(colour, extent=extent, aspect="equal", interpolation="bilinear", zorder=2)
        if s.band is not None:
            band = ax.fill_between(
                s.x, y + s.band[0], y + s.band[1], color=s.color, alpha=0.25, lw=0, zorder=2
            )
            band.set_clip_path(paper)
        (line,) = ax.plot(
            s.x, y + s.y, color=s.color, linewidth=0.8, solid_joinstyle="round", zorder=3, label=name
        )
        line.set_clip_path(paper)
        if s.color == "black":
            ax.text(s.x[0] + left, y + base, s.lead, fontsize=9, color="black", zorder=4, clip_on=True)
    ax.axis(view)  # pictures behind the traces move it
