"""What steps and scales are worth: a short report for each value, for tables and curves to choose by.

    python -m ecgtwin.metrics.sweep --data PTBXL_DIR --out sweep.json --guidance-scale 0.5 1

draws the twins of the report with every value, one option changed at a time, and measures what a choice
weighs against each other: condition, person, and likeness to real ECGs.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..exceptions import InputError, QualityWarning
from ..files import write_whole
from ..generator import ECGTwinGenerator
from ..request import check_settings
from .arms import Arm, Plan, Recordings, draw_arm
from .bootstrap import Figure
from .commands import arguments, write_figures
from .judges import Judges
from .pages import paper, png
from .person_tables import identity_table
from .tables import condition_table, fidelity_table, physiology_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Figure]

COLUMNS = {
    "rfid": "Frechet distance to real ECGs, over that of two real halves",
    "density": "how near real ECGs twins lie",
    "coverage": "share of real ECGs with a twin near",
    "psd_log_distance": "distance of spectra",
    "label_auroc": "the judge finds what was asked for",
    "rules": "textbook rules met, mean of statements",
    "retention": "the person found again under another person's condition, over real second recordings",
    "retention_own_change": "and under conditions that the person really had",
    "hr_mae": "heart rate asked against found, bpm",
    "beat_consistency": "likeness of beats",
    "interval_w1": "distance of intervals, ms",
}
"""What is measured, of each choice."""

_PARTS = ("value", "low", "high", "n")

OPTIONS = (
    "n_steps",
    "guidance_scale",
    "person_scale",
    "noise_scale",
    "beat_variation",
    "counterfactual_share",
)
"""What can be varied: settings that weights are sampled with."""

DRAWN = OPTIONS[:3]
"""Of which curves are drawn."""


def measure(
    generator: ECGTwinGenerator, real: Arm, recordings: Recordings, n: int, **settings: Any
) -> tuple[Row, Row]:
    """Draw the first n twins of the report, and those of changes that happened, with these settings.

    Returns
    -------
    twins, real : dict of Figure
        By `COLUMNS`; of real ECGs, what they have.
    """
    generator = copy(generator)
    generator.sampling_ = generator.sampling_ | settings
    plan = Plan.draw(recordings.groups, min(n, len(recordings)), seed=0)
    twin = draw_arm(generator, recordings, plan, plan.references, real.judges)
    changes = Plan.own_changes(recordings, n)
    changed = None
    if len(changes):
        changed = draw_arm(generator, recordings, changes, changes.references, real.judges)
    arms = {"twin": twin, "real": real}
    tables = [make(arms, 0) for make in (fidelity_table, condition_table, physiology_table)]
    tables.append(identity_table(arms, None, 0, changed))
    every = {key: entry for table in tables for key, entry in table.items() if key in COLUMNS}
    found = {key: entry for key, entry in every.items() if entry["value"] is not None}
    twins = {key: Figure(*(entry[part] for part in _PARTS)) for key, entry in found.items()}
    others = {key: Figure(*(entry["real"][part] for part in _PARTS)) for key, entry in found.items()}
    return twins, others


def as_table(table: Mapping[str, Row]) -> str:
    """Return the figures in Markdown, one row for each choice."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in table.items():
        cells = [f"{row[key].value:.3g}" if key in row else "" for key in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_curves(table: Mapping[str, Row]) -> bytes:
    """Draw, as a PNG, condition against person along the scales, and the Frechet ratio over the steps."""
    of_persons = ("label_auroc", "retention", "retention_own_change")
    scales = {option: _series(table, option, *of_persons) for option in DRAWN[1:]}
    scales = {option: points for option, points in scales.items() if len(points) > 1}
    steps = _series(table, "n_steps", "rfid")
    panels: list[Callable[[Axes], None]] = []
    if scales:
        panels.append(lambda ax: _draw_scales(ax, scales, table["real"]))
    if len(steps) > 1:
        panels.append(lambda ax: _draw_steps(ax, steps))
    if not panels:
        raise InputError("too few recordings were measured for a curve")
    figure = paper(120 * len(panels), 100)
    for ax, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax)
        ax.grid(color="#e8e8e8")
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=8)
    figure.tight_layout()
    return png(figure)


def _series(table: Mapping[str, Row], option: str, *needed: str) -> list[tuple[float, Row]]:
    """Return the values of an option and what was measured, in order, where these columns were."""
    rows = [(name.partition("="), row) for name, row in table.items() if {*needed} <= {*row}]
    found = [(float(value), row) for (name, _, value), row in rows if name == option]
    return sorted(found, key=lambda point: point[0])


_COLOURS = {"retention": "#0b6e99", "retention_own_change": "#d55e00"}
_SPOKEN = {"retention": "another person's condition", "retention_own_change": "a condition the person had"}


def _draw_scales(ax: Axes, scales: Mapping[str, Sequence[tuple[float, Row]]], real: Row) -> None:
    for (option, points), style in zip(scales.items(), ("-", ":"), strict=False):
        spoken = option.replace("_", " ")
        x = [row["label_auroc"].value for _, row in points]
        for key, colour in _COLOURS.items():
            y = [row[key].value for _, row in points]
            label = f"{_SPOKEN[key]}, by {spoken}"
            ax.plot(x, y, style, marker="o", markersize=3.5, color=colour, label=label)
        for at, (value, row) in zip(x, points, strict=True):
            text = (at, row["retention"].value)
            ax.annotate(f"{value:g}", text, xytext=(4, 4), textcoords="offset points", fontsize=7)
    ax.axvline(real["label_auroc"].value, color="#222222", linewidth=0.8, linestyle="--", label="real ECGs")
    ax.set_xlabel("condition: AUROC of what was asked for", fontsize=8)
    ax.set_ylabel("person: found again, over a real second recording", fontsize=8)
    ax.set_ylim(0, 1.1)
    ax.legend(fontsize=7, loc="lower left")


def _draw_steps(ax: Axes, points: Sequence[tuple[float, Row]]) -> None:
    steps = [value for value, _ in points]
    figures = [row["rfid"] for _, row in points]
    ax.fill_between(steps, [one.low for one in figures], [one.high for one in figures], color="#cfe3ec")
    ax.plot(steps, [one.value for one in figures], "o-", markersize=3.5, color=_COLOURS["retention"])
    ax.set_xlabel("steps of the flow", fontsize=8)
    ax.set_ylabel("Frechet ratio (two real halves: 1)", fontsize=8)
    ax.set(xscale="log", xticks=steps, xticklabels=[f"{one:g}" for one in steps], ylim=(0, None))
    ax.minorticks_off()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it, with intervals, as JSON; return the exit status."""
    from ..datasets import load_ptbxl

    parser = arguments("sweep", __doc__, counted="twins with each value", n=2500, skips=False)
    for option in OPTIONS:
        kind = int if option == "n_steps" else float
        parser.add_argument(f"--{option.replace('_', '-')}", type=kind, nargs="+", default=[], metavar="X")
    parser.add_argument("--figure", type=Path, help="file for the curves, a PNG")
    args = parser.parse_args(argv)
    choices = [(option, value) for option in OPTIONS for value in getattr(args, option)]
    if not choices:
        parser.error("nothing is to vary: name values of an option")
    if args.figure is not None and not any(len({*getattr(args, option)}) > 1 for option in DRAWN):
        parser.error(f"a curve needs two values of {', '.join(DRAWN[:-1])} or {DRAWN[-1]}")
    try:
        generator, judges = ECGTwinGenerator.from_pretrained(args.checkpoint, batch_size=16), Judges.load()
        for option, value in choices:
            check_settings(generator.sampling_ | {option: value})
        recordings = Recordings.of(load_ptbxl(args.data, folds=args.folds))
    except (InputError, OSError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    everything = np.arange(len(recordings))
    real = Arm(recordings.signals, recordings.groups, recordings.conditions, everything, judges)
    table: dict[str, Row] = {}
    for option, value in choices:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QualityWarning)
            row, table["real"] = measure(generator, real, recordings, args.n, **{option: value})
        table[f"{option}={value:g}"] = row
        print(f"{option}={value:g} done", flush=True)
        write_figures(args.out, table)
    print(as_table(table))
    if args.figure is None:
        return 0
    try:
        curves = draw_curves(table)
    except InputError as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.figure, curves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
