"""Does `explain` point where cardiologists look? Each statement's mass within its own region of the ECG.

    python -m ecgtwin.metrics.explanations --data PTBXL_DIR --out explanations.json

draws, for people in normal sinus rhythm, twins with a statement and another one, and compares what the
two moved in the same twin: the statement's own region should hold its own mass, and not the other's.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ..beats import r_peaks
from ..conditions import Condition
from ..ecg import ECG, NATIVE_RATE
from ..exceptions import InputError, QualityWarning
from ..files import write_whole
from ..generator import ECGTwinGenerator
from ..leads import LEADS
from ..statements import EXCLUSIVE
from .bootstrap import Figure, bootstrap_mean
from .ectopy import measure_beats

Array = NDArray[Any]
Mask = NDArray[np.bool_]

QRS, PR, ST_T, BEAT = (-60, 100), (-260, -60), (80, 420), (-100, 420)
"""Milliseconds from the R peak."""


@dataclass(frozen=True)
class Region:
    """Where a statement shows: when in a beat, in which leads, in which beats.

    A region of leads alone, without a span, is told from other leads within beats.
    """

    span: tuple[int, int] | None
    leads: tuple[str, ...] = LEADS
    premature: bool = False

    def masks(self, signal: Array) -> tuple[Mask, Mask] | None:
        """Mark the region of a twin ``(12, t)`` in mV at 100 Hz, and what it is to be told from.

        None where the twin has no such beat.
        """
        peaks: Array = r_peaks(signal, NATIVE_RATE)
        if self.premature:
            beats = measure_beats(signal)
            peaks = 0.1 * beats.times_ms[beats.premature_wide]
        if not len(peaks):
            return None
        offsets = 10 * (np.arange(signal.shape[1])[:, None] - peaks)
        low, high = self.span or BEAT
        when = np.any((offsets >= low) & (offsets < high), axis=1)
        inside = np.asarray(np.isin(LEADS, self.leads)[:, None] & when)
        return inside, np.broadcast_to(when if self.span is None else True, inside.shape)


REGIONS = {
    "PVC": Region(BEAT, premature=True),
    "1AVB": Region(PR),
    "AFIB": Region(PR),
    "CLBBB": Region(QRS),
    "CRBBB": Region(QRS),
    "LAFB": Region(QRS, ("I", "II", "III", "aVR", "aVL", "aVF")),
    "LVH": Region(QRS, ("V1", "V2", "V3", "V5", "V6")),
    "AMI": Region(None, ("V1", "V2", "V3", "V4")),
    "ASMI": Region(None, ("V1", "V2", "V3")),
    "IMI": Region(None, ("II", "III", "aVF")),
    "ISC_": Region(ST_T),
    "INVT": Region(ST_T),
}
"""Where textbooks say that a statement shows."""


def score(moved: Array, inside: Mask, among: Mask) -> float:
    """Return the AUROC of magnitudes ``(12, t)`` for being inside a region: 0.5 is blind, 1 perfect."""
    return float(roc_auc_score(inside[among], np.abs(moved)[among]))


def explanation_table(
    generator: ECGTwinGenerator, people: Sequence[ECG], groups: Sequence[Any], *, seed: int = 0
) -> dict[str, dict[str, Figure]]:
    """Score each statement's explanation, and another statement's as the control.

    Parameters
    ----------
    generator : ECGTwinGenerator
    people : sequence of ECG
        References that show none of the statements, at 100 Hz, of 10 s.
    groups : sequence
        The person of each.
    seed : int

    Returns
    -------
    dict
        Of each statement of `REGIONS`: ``own``, ``shuffled`` and ``difference`` of the areas under the curve,
        and ``density``, the mean magnitude inside the region over that of all that it is told from.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[float]]] = {
        code: {"own": [], "shuffled": [], "difference": [], "density": []} for code in REGIONS
    }
    for i, reference in enumerate(people):
        for code, region in REGIONS.items():
            others = [one for one in REGIONS if one != code and not _exclusive(one, code)]
            other = others[rng.integers(len(others))]
            rhythm = () if "AFIB" in (code, other) else ("SR",)
            asked = Condition((*rhythm, code, other))
            explained = generator.explain(reference, asked, random_state=seed + i)
            row = {key: float("nan") for key in found[code]}
            if (masks := region.masks(explained.twin.signal)) is not None:
                own, inside, among = np.abs(explained.of(code)), *masks
                row["own"] = score(own, *masks)
                row["shuffled"] = score(explained.of(other), *masks)
                row["difference"] = row["own"] - row["shuffled"]
                row["density"] = float(own[inside].mean() / own[among].mean())
            for key, value in row.items():
                found[code][key].append(value)
    return {
        code: {key: bootstrap_mean(values, groups) for key, values in columns.items()}
        for code, columns in found.items()
    }


def premature_beats(
    generator: ECGTwinGenerator, people: Sequence[ECG], groups: Sequence[Any], *, seed: int = 0
) -> dict[str, Figure]:
    """Tell the premature wide beats of PVC twins from the others, by each part of the explanation.

    Returns
    -------
    dict
        AUROC over the beats of a twin, by what the statement ``moved``, by the ``attention`` to it, and by
        the ``rhythm``.
    """
    found: dict[str, list[float]] = {"moved": [], "attention": [], "rhythm": []}
    for i, reference in enumerate(people):
        explained = generator.explain(reference, "SR, PVC", random_state=seed + i)
        k = explained.statements.index("PVC")
        beats = measure_beats(explained.twin.signal)
        at, truth = (0.1 * beats.times_ms).astype(int), beats.premature_wide
        near = np.abs(at[:, None] - explained.peaks).argmin(axis=1)
        spans = [slice(max(0, peak + BEAT[0] // 10), peak + BEAT[1] // 10) for peak in at]
        values = {
            "moved": [np.abs(explained.moved[k][:, span]).mean() for span in spans],
            "attention": [explained.attention[k][span].mean() for span in spans],
            "rhythm": explained.rhythm[k][near],
        }
        for key, of_beats in values.items():
            told = 0 < truth.sum() < len(truth)
            found[key].append(roc_auc_score(truth, of_beats) if told else float("nan"))
    return {key: bootstrap_mean(values, groups) for key, values in found.items()}


def _exclusive(a: str, b: str) -> bool:
    return (a, b) in EXCLUSIVE or (b, a) in EXCLUSIVE or {a, b} == {"AFIB", "1AVB"}


def as_table(table: dict[str, dict[str, Figure]]) -> str:
    """Return the table in Markdown."""
    keys = list(next(iter(table.values())))
    lines = [f"| statement | n | {' | '.join(keys)} |", "|---" * (len(keys) + 2) + "|"]
    for code, row in table.items():
        cells = [f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in row.values()]
        lines.append(f"| {code} | {row['own'].n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def normal_people(data: Path, folds: Sequence[int], n: int) -> tuple[list[ECG], list[str]]:
    """Return the first recordings of n people in normal sinus rhythm, and who they are."""
    from ..datasets import load_ptbxl

    bunch = load_ptbxl(data, folds=list(folds))
    rows, seen = [], set()
    for row, condition in enumerate(bunch.conditions):
        if set(condition.statements) == {"NORM", "SR"} and bunch.groups[row] not in seen:
            seen.add(bunch.groups[row])
            rows.append(row)
    if not rows:
        raise InputError(f"no recording of folds {', '.join(map(str, folds))} is just NORM and SR")
    chosen = rows[:n]
    people = [ECG(bunch.signals[row], condition=bunch.conditions[row]) for row in chosen]
    return people, [str(bunch.groups[row]) for row in chosen]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it as JSON; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecgtwin.metrics.explanations", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="PTB-XL in its published layout")
    parser.add_argument("--folds", type=int, nargs="+", default=[9])
    parser.add_argument("--out", type=Path, required=True, help="file for the figures, in JSON")
    parser.add_argument("-n", type=int, default=30, help="people")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        people, groups = normal_people(args.data, args.folds, args.n)
        generator = ECGTwinGenerator.from_pretrained(args.checkpoint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QualityWarning)
            table = explanation_table(generator, people, groups, seed=args.seed)
            beats = premature_beats(generator, people, groups, seed=args.seed)
    except (InputError, FileNotFoundError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    print(as_table(table))
    print("\npremature beats of PVC twins, AUROC over beats")
    for key, one in beats.items():
        print(f"{key:10s} {one}")
    tables = {**table, "premature beats": beats}
    figures = {code: {key: one.as_dict() for key, one in row.items()} for code, row in tables.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, (json.dumps(figures, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
