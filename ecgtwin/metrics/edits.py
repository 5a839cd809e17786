"""Does `edit` change what was asked for, and nothing else?

    python -m ecgtwin.metrics.edits --data PTBXL_DIR --out edits.json

edits recordings of people that the weights never saw, each by adding or removing a statement or by another
heart rate, age or sex; undoes the edit; and measures both.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ..beats import r_peaks
from ..conditions import STATEMENTS, Condition
from ..ecg import ECG, NATIVE_RATE
from ..exceptions import InputError, QualityWarning
from ..generator import ECGTwinGenerator
from ..leads import LEADS, independent_leads
from ..rhythm import typical_beat
from .bootstrap import Figure, bootstrap_mean
from .commands import arguments, write_figures
from .explanations import REGIONS
from .judges import Judges
from .rules import RULES, meets

Array = NDArray[Any]

_CERTAIN = 1e-5
"""Probabilities nearer to 0 or 1 are not told apart."""

COLUMNS = {
    "before": "the judge's probability of the statement in the recording",
    "after": "in the edit",
    "undone": "and when the edit is undone",
    "logit": "by how much its log odds move the way they should",
    "moved": "share of edits in which they move that way",
    "others": "mean change of the judge's probability over all other statements",
    "rule_before": "share that meet the textbook rule of the statement",
    "rule_after": "in the edits",
    "rate": "absolute change of heart rate, bpm, or distance from the one asked for",
    "person": "cosine of the recogniser's vectors of recording and edit",
    "twin": "the same of a twin drawn for the same condition",
    "likeness": "correlation of the typical beats of recording and edit",
    "returned": "and of the recording and the edit undone",
    "far": "RMS change in leads outside the statement's region over that inside it",
}
"""What is measured, of each edit."""


@dataclass(frozen=True)
class Task:
    """One kind of edit: on recordings that show `has` and not `lacks`."""

    name: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    options: dict[str, Any]
    statement: str | None = None

    @property
    def sign(self) -> int:
        return -1 if "remove" in self.options else 1


_NORMAL = ("NORM", "SR")
TASKS = [
    *(
        Task(f"add {code}", _NORMAL, (code,), {"add": code}, code)
        for code in (
            "PVC",
            "PAC",
            "AFIB",
            "1AVB",
            "CLBBB",
            "CRBBB",
            "LAFB",
            "LVH",
            "AMI",
            "IMI",
            "ISC_",
            "LNGQT",
        )
    ),
    *(
        Task(f"remove {code}", (code,), (), {"remove": code}, code)
        for code in ["PVC", "AFIB", "1AVB", "CLBBB", "CRBBB", "LVH", "IMI", "LNGQT"]
    ),
    *(Task(f"{rate} bpm", _NORMAL, (), {"heart_rate": float(rate)}) for rate in (55, 105)),
    Task("85 years", _NORMAL, (), {"age": 85.0}),
    Task("other sex", _NORMAL, (), {}),
]


def measure(
    generator: ECGTwinGenerator, judges: Judges, task: Task, recordings: Sequence[ECG], groups: Sequence[Any]
) -> dict[str, Figure]:
    """Edit recordings at 100 Hz, undo it, and measure the columns that the task has."""
    edits, undone, twins = [], [], []
    for i, ecg in enumerate(recordings):
        options = task.options or {"sex": "F" if ecg.condition.sex == "M" else "M"}
        edited = generator.edit(ecg, **options)
        rate = ecg.heart_rate if "heart_rate" in options else None
        edits.append(edited)
        undone.append(generator.edit(edited, ecg.condition.replace(heart_rate=rate)))
        asked = edited.condition.replace(heart_rate=float(np.clip(edited.heart_rate, 20, 300)))
        twins.append(generator.sample(ecg, asked, random_state=i)[0])
    x, y, back = (np.stack([one.signal for one in some]) for some in (recordings, edits, undone))
    vectors = [judges.embed(some) for some in (x, y, np.stack(twins))]
    wanted = task.options.get("heart_rate")
    rates = [wanted or ecg.heart_rate for ecg in recordings]
    values = {
        "rate": [abs(edited.heart_rate - rate) for edited, rate in zip(edits, rates, strict=True)],
        "person": (vectors[0] * vectors[1]).sum(axis=1),
        "twin": (vectors[0] * vectors[2]).sum(axis=1),
        "likeness": _likeness(x, y),
        "returned": _likeness(x, back),
    }
    if (code := task.statement) is not None:
        k = STATEMENTS.index(code)
        said = [judges.classify(some).statements for some in (x, y, back)]
        others = [i for i, one in enumerate(STATEMENTS) if one not in (code, "NORM", "SR")]
        odds = [logit(np.clip(some[:, k], _CERTAIN, 1 - _CERTAIN)) for some in said[:2]]
        change = task.sign * (odds[1] - odds[0])
        values |= {
            "before": said[0][:, k],
            "after": said[1][:, k],
            "undone": said[2][:, k],
            "logit": change,
            "moved": change > 0,
            "others": np.abs(said[1] - said[0])[:, others].mean(axis=1),
        }
        if code in RULES:
            values |= {"rule_before": meets(x, code), "rule_after": meets(y, code)}
        if code in REGIONS and REGIONS[code].leads != LEADS:
            near = np.isin(LEADS, REGIONS[code].leads)
            rms = [np.sqrt(np.square(y - x)[:, some].mean(axis=(1, 2))) for some in (~near, near)]
            values["far"] = rms[0] / rms[1]
    return {key: bootstrap_mean(values[key], groups) for key in COLUMNS if key in values}


def _likeness(a: Array, b: Array) -> Array:
    """Return the correlation of typical beats of recordings ``(n, 12, t)``."""
    beats = [
        [typical_beat(independent_leads(one), r_peaks(one, NATIVE_RATE)).ravel() for one in some]
        for some in (a, b)
    ]
    return np.array([np.corrcoef(one, two)[0, 1] for one, two in zip(*beats, strict=True)])


def as_table(table: dict[str, dict[str, Figure]]) -> str:
    """Return the figures in Markdown, one row for each edit."""
    lines = [f"| edit | n | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, row in table.items():
        cells = [f"{row[key].value:.3g}" if key in row else "" for key in COLUMNS]
        lines.append(f"| {name} | {row['likeness'].n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it, with intervals, as JSON; return the exit status."""
    from ..datasets import load_ptbxl

    parser = arguments("edits", __doc__, counted="recordings for each kind of edit")
    args = parser.parse_args(argv)
    try:
        bunch = load_ptbxl(args.data, folds=args.folds)
        generator, judges = ECGTwinGenerator.from_pretrained(args.checkpoint), Judges.load()
    except (InputError, OSError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    table = {}
    for task in TASKS:
        rows = _chosen(task, bunch.conditions, bunch.signals)[args.skip : args.skip + args.n]
        if rows:
            recordings = [ECG(bunch.signals[row], condition=bunch.conditions[row]) for row in rows]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", QualityWarning)
                table[task.name] = measure(generator, judges, task, recordings, bunch.groups[rows])
            print(task.name, "done", flush=True)
            write_figures(args.out, table)
    print(as_table(table))
    return 0


def _chosen(task: Task, conditions: Sequence[Condition], signals: Array) -> list[int]:
    """Return rows that show what the task needs, with beats enough to be edited."""
    return [
        row
        for row, one in enumerate(conditions)
        if set(task.has) <= set(one.statements)
        and not set(task.lacks) & set(one.statements)
        and len(r_peaks(independent_leads(signals[row]), NATIVE_RATE)) > 3
        and (task.options or one.sex is not None)
    ]


if __name__ == "__main__":
    sys.exit(main())
