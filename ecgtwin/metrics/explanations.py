"""Does `explain` point where cardiologists look? Each statement's mass within its own region of the ECG.

    python -m ecgtwin.metrics.explanations --data PTBXL_DIR --out explanations.json

draws, for people in normal sinus rhythm, twins with a statement and another one, and compares what the
two moved in the same twin: the statement's own region should hold its own mass, and not the other's.
"""

from __future__ import annotations

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
from ..generator import ECGTwinGenerator
from ..leads import LEADS
from ..statements import EXCLUSIVE
from .bootstrap import Figure, bootstrap_mean
from .commands import arguments, write_figures
from .ectopy import measure_beats

Array = NDArray[Any]
Mask = NDArray[np.bool_]

QRS, START, PR, ST_T, T, BEAT = (-60, 100), (-60, 0), (-260, -60), (80, 420), (160, 420), (-100, 420)
"""Milliseconds from the R peak."""

_UPRIGHT = ("I", "II", "V4", "V5", "V6")
"""Leads in which T is upright in all healthy adults."""


@dataclass(frozen=True)
class Region:
    """Where a statement shows: when in a beat, in which leads, in which beats.

    It is told from the whole ECG, or within a span. With a `sign` the trace is lowered or raised there.
    """

    span: tuple[int, int]
    leads: tuple[str, ...] = LEADS
    premature: bool = False
    among: tuple[int, int] | None = None
    sign: int = 0

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

        def within(span: tuple[int, int]) -> Mask:
            return np.asarray(np.any((offsets >= span[0]) & (offsets < span[1]), axis=1))

        inside = np.asarray(np.isin(LEADS, self.leads)[:, None] & within(self.span))
        return inside, np.broadcast_to(True if self.among is None else within(self.among), inside.shape)

    def score(self, moved: Array, inside: Mask, among: Mask) -> float:
        """Return the AUROC of what was moved ``(12, t)`` for being inside: 0.5 is blind, 1 perfect."""
        strength = self.sign * moved if self.sign else np.abs(moved)
        return float(roc_auc_score(inside[among], strength[among]))


REGIONS = {
    "PVC": Region(BEAT, premature=True),
    "1AVB": Region(PR),
    "AFIB": Region(PR),
    "CLBBB": Region(QRS),
    "CRBBB": Region(QRS),
    "LAFB": Region(QRS, ("I", "II", "III", "aVR", "aVL", "aVF")),
    "LVH": Region(QRS, ("V1", "V2", "V3", "V5", "V6")),
    # Infarction takes from R, or leaves Q; what follows it within QRS is raised.
    "AMI": Region(START, ("V1", "V2", "V3", "V4"), among=START, sign=-1),
    "ASMI": Region(START, ("V1", "V2", "V3"), among=START, sign=-1),
    "IMI": Region(START, ("II", "III", "aVF"), among=START, sign=-1),
    "ISC_": Region(ST_T, _UPRIGHT, sign=-1),
    "INVT": Region(T, _UPRIGHT, sign=-1),
}
"""Where textbooks say that a statement shows."""


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
                row["own"] = region.score(explained.of(code), *masks)
                row["shuffled"] = region.score(explained.of(other), *masks)
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


def normal_people(data: Path, folds: Sequence[int], n: int, skip: int = 0) -> tuple[list[ECG], list[str]]:
    """Return the first recordings of n people in normal sinus rhythm after `skip`, and who they are."""
    from ..datasets import load_ptbxl

    bunch = load_ptbxl(data, folds=list(folds))
    rows, seen = [], set()
    for row, condition in enumerate(bunch.conditions):
        if set(condition.statements) == {"NORM", "SR"} and bunch.groups[row] not in seen:
            seen.add(bunch.groups[row])
            rows.append(row)
    chosen = rows[skip : skip + n]
    if not chosen:
        raise InputError(f"no recording of folds {', '.join(map(str, folds))} is just NORM and SR, and left")
    people = [ECG(bunch.signals[row], condition=bunch.conditions[row]) for row in chosen]
    return people, [str(bunch.groups[row]) for row in chosen]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it as JSON; return the exit status."""
    parser = arguments("explanations", __doc__, counted="people")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        people, groups = normal_people(args.data, args.folds, args.n, args.skip)
        generator = ECGTwinGenerator.from_pretrained(args.checkpoint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QualityWarning)
            table = explanation_table(generator, people, groups, seed=args.seed)
            beats = premature_beats(generator, people, groups, seed=args.seed)
    except (InputError, OSError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    print(as_table(table))
    print("\npremature beats of PVC twins, AUROC over beats")
    for key, one in beats.items():
        print(f"{key:10s} {one}")
    write_figures(args.out, {**table, "premature beats": beats})
    return 0


if __name__ == "__main__":
    sys.exit(main())
