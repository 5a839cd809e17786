"""A report to look at: pictures of what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..conditions import STATEMENTS, statement
from ..delineation import INTERVALS
from ..ecg import ECG
from ..exceptions import InputError
from ..files import write_whole
from ..leads import LEADS
from ..plotting import plot_ecg
from .arms import Arm
from .person_tables import retention_gallery
from .rules import RULES
from .tables import MIN_COUNT, interval_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Report = Mapping[str, Any]

QUANTILES = (0.2, 0.5, 0.8)
"""Where in the order of the judge's probability the drawn ECGs stand: nobody picks them."""

MAX_RANK = 50

WARNING = "For research and teaching, not for diagnosis."

_MM_PER_INCH = 25.4
_A4 = (297.0, 210.0)
_COLOURS = {
    "real": "#222222",
    "copy": "#d55e00",
    "twin": "#0b6e99",
    "population": "#8a8a8a",
    "stranger": "#a0409a",
}
_STYLES = {"twin": "-", "real": "-", "copy": "--", "population": ":", "stranger": "-."}
_SPOKEN = {"heart rate": "heart rate (bpm)", "qtc": "QTc, Fridericia (ms)"}


def draw_pages(report: Report, arms: Mapping[str, Arm], folder: str | Path) -> list[Path]:
    """Draw the pictures of a report.

    Parameters
    ----------
    report : dict
        What `ecgtwin.metrics.report.evaluate` returns.
    arms : mapping of name to Arm
        What was measured; ``twin`` and ``real`` at least.
    folder : path
        Where to write; made if it is not there.

    Returns
    -------
    list of Path
        The PNGs written: ``conditions``, each statement's AUROC and rule; ``intervals``, their
        distributions; ``retention``, how soon persons are found; and ``statement_CODE`` for each graded
        statement, real ECGs beside twins on ECG paper, drawn at fixed quantiles of the judge's
        probability. Pictures of what was not measured are left out.

    Raises
    ------
    InputError
        If there are no twins or no real ECGs.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures(report, arms):
        written.append(root / f"{name}.png")
        write_whole(written[-1], png(figure))
    return written


def figures(report: Report, arms: Mapping[str, Arm]) -> Iterator[tuple[str, Figure]]:
    """Draw the pictures of a report one by one, as `draw_pages` names them; arguments and errors are its."""
    if missing := {"twin", "real"} - set(arms):
        raise InputError(f"nothing to draw without the arm {', '.join(sorted(missing))}")
    graded, ruled = (_by_statement(report, key) for key in ("label_auroc", "rules"))
    if graded or ruled:
        yield "conditions", _conditions_figure(graded, ruled)
    yield "intervals", _intervals_figure(arms)
    ranks = retention_ranks(arms)
    if ranks:
        yield "retention", _retention_figure(ranks)
    for code in graded:
        real, twin = (int(arms[name].labels[:, STATEMENTS.index(code)].sum()) for name in ("real", "twin"))
        if real and twin >= MIN_COUNT:
            yield page_name(code), _statement_figure(code, graded[code], arms["real"], arms["twin"])


def page_name(code: str) -> str:
    """Return the name, without its suffix, of the file of a statement's page.

    Examples
    --------
    >>> page_name("LAO/LAE")
    'statement_LAO-LAE'
    """
    return "statement_" + re.sub(r"[^A-Za-z0-9_]+", "-", code).strip("-")


def _by_statement(report: Report, key: str) -> dict[str, Any]:
    return dict(report.get("condition", {}).get(key, {}).get("by_statement", {}))


def paper(width: float, height: float, dpi: float = 150) -> Figure:
    """A white figure of so many mm. It is not pyplot's, so nothing stays open and no window appears."""
    from matplotlib.figure import Figure

    return Figure((width / _MM_PER_INCH, height / _MM_PER_INCH), dpi=dpi, facecolor="white")


def png(figure: Figure) -> bytes:
    """The figure in 64 colours: ECG paper takes a third of the space, and nothing is lost to the eye."""
    from PIL import Image

    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB")
    few = image.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(content, format="png", dpi=(figure.dpi, figure.dpi))
    return content.getvalue()


def with_interval(figure: Report | None) -> str:
    """Return a figure as it is read: three digits, and its interval where there is one."""
    if not figure or figure.get("value") is None:
        return "-"
    low, high = figure.get("low"), figure.get("high")
    return f"{figure['value']:.3g}" + ("" if low is None or high is None else f" [{low:.3g}, {high:.3g}]")


def lead_over_real(entry: Report) -> float:
    """Return by how much twins are above real ECGs; what was not measured counts as 0."""
    real = entry.get("real") or {}
    return float((entry.get("value") or 0) - (real.get("value") or 0))


def statement_name(code: str) -> str:
    """Return the name of a statement, nothing for another word."""
    return statement(code).name if code in STATEMENTS else ""


def _statement_figure(code: str, graded: Report, real: Arm, twin: Arm) -> Figure:
    """Real ECGs on the left, twins on the right, at the same quantiles."""
    columns = [(arm, *_chosen(arm, code)) for arm in (real, twin)]
    figure = paper(100, 100, dpi=100)
    cells = [[_ecg_axes(figure, arm, row, code, arm is twin) for row in rows] for arm, rows, _ in columns]
    heights = [
        max(abs(np.subtract(*ax.get_ylim())) for ax in level if ax is not None)
        for level in zip_longest(*cells)  # a side may have fewer
    ]
    width = abs(np.subtract(*cells[0][0].get_xlim()))
    header = 30.0 if code in RULES else 23.0
    total = header + sum(heights)
    figure.set_size_inches(2 * width / _MM_PER_INCH, total / _MM_PER_INCH)
    for i, column in enumerate(cells):
        for j, ax in enumerate(column):
            high = ax.get_ylim()[1]
            ax.set_ylim(high - heights[j], high)
            ax.set_position((i / 2, 1 - (header + sum(heights[: j + 1])) / total, 0.5, heights[j] / total))

    def write(x: float, mm: float, text: str, size: float, **settings: Any) -> None:
        figure.text(x, 1 - mm / total, text, fontsize=size, va="top", parse_math=False, **settings)

    left = 5 / (2 * width)
    about = (
        f"Left: real ECGs with this statement, {columns[0][2]} in all. Right: SYNTHETIC twins asked for it, "
        f"{columns[1][2]} in all. Drawn are those at the quantiles {', '.join(map(str, QUANTILES))} of the "
        "judge's probability of the statement; none was picked by eye."
    )
    auroc = (
        f"AUROC of the judge: twins {with_interval(graded)}, real {with_interval(graded.get('real'))}. "
        "25 mm/s, 10 mm/mV: a large square is 0.2 s and 0.5 mV. Each lead is drawn less its median. "
        + WARNING
    )
    write(left, 5, f"{code}: {statement(code).name}", 20, weight="bold")
    write(left, 14, about, 12)
    write(left, 19.5, auroc, 12)
    if code in RULES:
        shares = ", ".join(
            f"{name} {_share(arm, code):.0%}" for name, arm in (("twins", twin), ("real", real))
        )
        write(left, 25, f"Criterion: {RULES[code].criterion}. Met by {shares}.", 12)
    return figure


def _chosen(arm: Arm, code: str) -> tuple[list[int], int]:
    """The rows of a statement at the quantiles of the judge's probability, and how many it has."""
    column = STATEMENTS.index(code)
    rows = np.flatnonzero(arm.labels[:, column])
    order = rows[np.argsort(arm.verdict.statements[rows, column], kind="stable")]
    places = dict.fromkeys(round(q * (len(rows) - 1)) for q in QUANTILES)
    return [int(order[place]) for place in places], len(rows)


def _share(arm: Arm, code: str) -> float:
    return float(arm.rules_met[code][arm.labels[:, STATEMENTS.index(code)]].mean())


def _ecg_axes(figure: Figure, arm: Arm, row: int, code: str, synthetic: bool) -> Axes:
    """Draw one ECG with two lines of what is known above it."""
    ax = plot_ecg(ECG(arm.signals[row], LEADS, 100), title="", ax=figure.add_axes((0, 0, 1, 1)))
    asked = arm.asked[row] if arm.asked is not None else None
    statements = ", ".join(asked.statements) if asked is not None else ""
    person = " ".join(
        filter(None, (f"{asked.age:g} y" if asked.age is not None else "", asked.sex))
        if asked is not None
        else ()
    )
    rate = f"{arm.rates[row]:.0f} bpm" if isfinite(arm.rates[row]) else "no rate found"
    if synthetic and asked is not None and asked.heart_rate is not None:
        rate = f"asked for {asked.heart_rate:.0f} bpm, has {rate}"
    who = f"real recording, row {arm.references[row]}"
    if synthetic:
        reference = arm.references[row]
        who = "SYNTHETIC twin" + (f" of the person of row {reference}" if reference >= 0 else "")
    judged = f"judge: {arm.verdict.statements[row, STATEMENTS.index(code)]:.2f} for {code}"
    if code in RULES:
        judged += f" · criterion {'met' if arm.rules_met[code][row] else 'not met'}"
    # Two lines of text above the paper.
    left, low, high = ax.get_xlim()[0], *ax.get_ylim()
    base = high - 6
    ax.set_ylim(low, base + 14)
    lines = (f"{who} · {judged}", " · ".join(filter(None, (statements, person, rate))))
    for text, y, weight in zip(lines, (base + 6, base), ("bold", "normal"), strict=True):
        color = _COLOURS["twin"] if synthetic and weight == "bold" else "black"
        ax.text(left + 5, y, text, fontsize=13, weight=weight, color=color, parse_math=False)
    return ax


def _intervals_figure(arms: Mapping[str, Arm]) -> Figure:
    """Histograms of heart rate and intervals, twins over real ECGs, in the same bins."""
    figure = paper(*_A4)
    axes = figure.subplots(2, 3).ravel()
    measured = {
        name: {"heart rate": np.array([d.heart_rate for d in arms[name].delineations])}
        | interval_arrays(arms[name].delineations)
        for name in ("real", "twin")
    }
    for ax, key in zip(axes, ("heart rate", *INTERVALS), strict=True):
        found = {name: values[key] for name, values in measured.items()}
        known = {name: values[np.isfinite(values)] for name, values in found.items()}
        bins = _bins(np.concatenate(list(known.values())), 1 if key == "heart rate" else 2)
        for name, values in known.items():
            lost = 1 - len(values) / len(found[name])
            label = f"{name}: none found" if not len(values) else f"{name}: median {np.median(values):.0f}"
            label += f", {lost:.0%} not measurable" if len(values) and lost >= 0.005 else ""
            ends = np.clip(values, bins[0], bins[-1])
            weights = np.full(len(values), 100 / max(len(values), 1))
            style: dict[str, Any] = {"histtype": "stepfilled", "color": "#cccccc"}
            if name == "twin":
                style = {"histtype": "step", "color": _COLOURS["twin"], "linewidth": 1.5}
            ax.hist(ends, bins, weights=weights, label=label, **style)
            if len(values):
                dark = "#666666" if name == "real" else _COLOURS["twin"]
                ax.axvline(float(np.median(values)), ymax=0.78, color=dark, linewidth=1.2, linestyle="--")
        ax.set_xlabel(_SPOKEN.get(key, f"{key.upper()} (ms)"))
        ax.set_ylim(0, 1.28 * ax.get_ylim()[1])  # room for the legend
        ax.legend(loc="upper left", fontsize=8, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[::3]:
        ax.set_ylabel("% of the measured")
    sizes = f"{len(arms['twin'])} synthetic twins and {len(arms['real'])} real ECGs"
    figure.suptitle(
        f"Heart rate and intervals of {sizes}; the outermost bins hold what lies beyond", fontsize=11
    )
    figure.tight_layout()
    return figure


def _bins(values: Array, step: int) -> Array:
    """About 30 bins. Their width is a multiple of the finest step, else a comb is seen."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = np.quantile(values, [0.01, 0.99])
    width = step * max(1, ceil((high - low) / (30 * step)))
    start = width * np.floor(low / width) - step / 2
    return np.asarray(start + width * np.arange(ceil((high - start) / width) + 1))


def retention_ranks(arms: Mapping[str, Arm]) -> dict[str, Array]:
    """Return how many recordings of the gallery one must look at to find each person.

    Parameters
    ----------
    arms : mapping of name to Arm
        Probes and gallery are those of `retention_gallery`. Under ``real``, the references themselves are
        the probes: real recordings of the same persons.

    Returns
    -------
    dict of str to int array
        1 where the nearest recording is the person's own. Empty where no reference has a second
        recording of its person.
    """
    real = arms["real"]
    chosen, gallery = retention_gallery(arms)
    ranks = {}
    for name, arm in arms.items():
        probes = np.flatnonzero(np.isin(arm.references, chosen))
        if len(probes):
            # Rounded, so that equal vectors tie; a stranger goes first in a tie.
            near = np.round(_unit(arm.embeddings[probes]) @ _unit(real.embeddings[gallery]).T, 12)
            own = arm.groups[probes][:, None] == real.groups[gallery]
            best = np.where(own, near, -np.inf).max(axis=1)
            ranks[name] = 1 + (~own & (near >= best[:, None])).sum(axis=1)
    return ranks


def _unit(vectors: Array) -> Array:
    rows = vectors.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _retention_figure(ranks: Mapping[str, Array]) -> Figure:
    figure = paper(200, 140)
    ax = figure.subplots()
    k = np.arange(1, MAX_RANK + 1)
    named = {"real": "a real second recording", "twin": "twin (synthetic), condition changed"}
    # The copy is the reference itself and lies on the real curve: dashes over a line.
    for name in (name for name in _COLOURS if name in ranks):
        found = 100 * (ranks[name][:, None] <= k).mean(axis=0)
        label = f"{named.get(name, name)}: {found[0]:.0f} % first, n {len(ranks[name])}"
        width = 2.4 if name in named else 1.4
        ax.plot(
            k, found, color=_COLOURS.get(name), linestyle=_STYLES.get(name, "-"), linewidth=width, label=label
        )
    ax.set(xscale="log", xlim=(1, MAX_RANK), ylim=(0, 100), xlabel="recordings of the gallery looked at, k")
    ax.set(xticks=(ticks := [1, 2, 3, 5, 10, 20, 50]), xticklabels=[str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(ylabel="% of probes whose person is among the first k", title="How soon the person is found")
    ax.grid(color="#e4e4e4")
    ax.legend(fontsize=8, loc="best")
    figure.tight_layout()
    return figure


def _conditions_figure(graded: Report, ruled: Report) -> Figure:
    """Each statement on twins and on real ECGs; what twins fail most is at the bottom."""
    from matplotlib.lines import Line2D

    height = 38 + 5.5 * max(len(graded), len(ruled), 3)
    figure = paper(_A4[0], height)
    left, right = figure.subplots(1, 2)
    _statements_panel(
        left, graded, [f"{statement_name(code)}  {code}" for code in _by_lead_over_real(graded)]
    )
    _statements_panel(right, ruled, _by_lead_over_real(ruled))
    left.set_title("AUROC of the judge for what was asked", fontsize=10)
    right.set_title("share that meets the textbook criterion", fontsize=10)
    right.set_xlim(-0.03, 1.03)
    handles = [
        Line2D([], [], color=color, marker=mark, markersize=4, linewidth=width, label=text)
        for color, mark, width, text in (
            (_COLOURS["twin"], "o", 1.2, "synthetic twins, 95 %"),
            (_COLOURS["real"], "D", 1.2, "real ECGs, 95 %"),
            ("#999999", "x", 0, "real ECGs without the statement"),
        )
    ]
    figure.legend(handles=handles, loc="upper center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 8 / height))
    return figure


def _statements_panel(ax: Axes, entries: Report, labels: Sequence[str]) -> None:
    for y, code in enumerate(_by_lead_over_real(entries)):
        entry = entries[code]
        for name, mark, found, above in (("real", "D", entry.get("real"), -0.16), ("twin", "o", entry, 0.16)):
            if found and found.get("value") is not None:
                ends = [found["value"] if found.get(end) is None else found[end] for end in ("low", "high")]
                ax.plot(ends, [y + above] * 2, color=_COLOURS[name], linewidth=1.2)
                ax.plot(found["value"], y + above, mark, color=_COLOURS[name], markersize=4)
        if entry.get("real_without") is not None:
            ax.plot(entry["real_without"], y, "x", color="#999999", markersize=4)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.set_ylim(-0.7, max(len(labels), 1) - 0.3)
    ax.grid(color="#e8e8e8")
    ax.set_axisbelow(True)
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelsize=8)


def _by_lead_over_real(entries: Report) -> list[str]:
    return sorted(entries, key=lambda code: lead_over_real(entries[code]))
