"""The whole report: from a data set and a generator to one JSON of figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from .. import __version__
from ..datasets import load_ptbxl
from ..exceptions import InputError
from ..extractor import IndividualBaseExtractor
from ..generator import ECGTwinGenerator
from ..pretrained import WEIGHTS, find_device, resolve
from .arms import Arm, Plan, Recordings, all_beat_vectors, draw_arm, draw_arms
from .effort import Progress, Sizes
from .generated import GeneratedECGs
from .goals import judge_goals
from .judges import Judges
from .person_tables import identity_table, privacy_table
from .tables import condition_table, fidelity_table, physiology_table
from .twin_tables import extractor_attacks, membership_attacks, utility_of, utility_table

Array = NDArray[Any]
Report = dict[str, Any]

GROUPS = ("fidelity", "condition", "identity", "physiology", "utility", "privacy")
TRAINING_FOLDS = tuple(range(1, 9))


# A twin of each training record, however many there are.
FULL = Sizes(2500, 1000, 8, 512, 256, 20000, 8, 64, 200, 8, 1200)
QUICK = Sizes(400, 48, 1, 96, 24, 64, 2, 8, 8, 4, 300)


def evaluate(
    data: str | Path,
    *,
    folds: Sequence[int] = (9,),
    checkpoint: str | Path = "default",
    generated: str | Path | None = None,
    training_folds: Sequence[int] | None = None,
    judges: str | Path = "default",
    sizes: Sizes = FULL,
    seed: int = 0,
    device: str = "auto",
    verbose: bool = True,
    look: Callable[[dict[str, Arm]], None] | None = None,
) -> Report:
    """Measure a generator on patients it never saw.

    Parameters
    ----------
    data : path
        A local PTB-XL in its published layout.
    folds : sequence of int
        Whose patients are references. Not those the weights were trained or chosen on.
    checkpoint : str or path
        Weights of the generator: ``"default"``, or a folder.
    generated : path, optional
        ECGs of another generator instead, as `GeneratedECGs.read` reads them.
    training_folds : sequence of int, optional
        What the generator was trained on; by default as the checkpoint says, else 1-8.
    judges : str or path
    sizes : Sizes
        ``FULL`` takes under 40 minutes on two CPU cores with the bundled weights, ``QUICK`` under 3.
    seed : int
        The same seed gives the same report.
    device : str
    verbose : bool
        Show a progress bar.
    look : callable, optional
        Called with the arms at the end, to draw them.

    Returns
    -------
    dict
        ``meta`` and the groups of figures. Each figure has ``value``, ``low`` and ``high`` (95 %), ``n``,
        ``real`` (the same on real ECGs), ``goal``, ``met`` and ``arms``.

    Raises
    ------
    FileNotFoundError, InputError, CheckpointError
        If data, generated ECGs or weights cannot be used.
    """
    judge = Judges.load(judges)
    made = None if generated is None else GeneratedECGs.read(generated)
    generator = None
    if made is None:
        # Small batches stay in a CPU's cache.
        size = 16 if find_device(device).type == "cpu" else 512
        generator = ECGTwinGenerator.from_pretrained(checkpoint, device=device, batch_size=size)
    learned = training_folds
    if learned is None:
        learned = TRAINING_FOLDS if generator is None else generator.training_.get("folds", TRAINING_FOLDS)
    if clash := sorted(set(learned) & set(folds)):
        raise InputError(f"folds {clash} were trained on: choose others to evaluate on")
    read = sorted(learned)[: sizes.folds]
    bunch = load_ptbxl(data, folds=[*folds, *read])
    real, known = (Recordings.of(bunch)[np.isin(bunch.folds, some)] for some in (folds, read))
    with tqdm(total=0, desc="evaluate", disable=not verbose, mininterval=1, unit="twin") as bar:
        progress = Progress(bar)
        if generator is not None:
            changes = Plan.own_changes(real, sizes.others)
            progress.expect(_all_twins(sizes, known, real) + len(changes))
            plan = Plan.draw(real.groups, min(sizes.references, len(real)), seed)
            arms = draw_arms(
                generator,
                real,
                plan,
                min(sizes.others, len(plan)),
                judge,
                seed=seed,
                callback=progress.drawn,
                tick=progress.did,
            )
            changed = None
            if len(changes):
                changed = draw_arm(
                    generator,
                    real,
                    changes,
                    changes.references,
                    judge,
                    seed=seed,
                    callback=progress.drawn,
                    tick=progress.did,
                )
            extractor = IndividualBaseExtractor.from_pretrained(checkpoint, device=device)
            vectors = extractor.transform(real.signals)
            attacks = membership_attacks(generator, known, real, sizes, seed, progress)
            attacks |= extractor_attacks(extractor, known, real, sizes, seed)
            utility = utility_table(generator, known, real, sizes, seed, progress)
        else:
            assert made is not None
            arms = made.arms(real, judge, progress.did)
            vectors, attacks, changed = None, {}, None
            utility = utility_of(arms, sizes, seed)
        report: Report = {
            "meta": _meta(arms, judge, generator, checkpoint, generated, folds, learned, sizes, seed),
            "fidelity": fidelity_table(arms, seed),
            "condition": condition_table(arms, seed) if arms["twin"].asked is not None else {},
            "identity": identity_table(arms, vectors, seed, changed),
            "physiology": physiology_table(arms, seed),
            "utility": utility,
            "privacy": privacy_table(arms, all_beat_vectors(known.signals), attacks, seed),
        }
        progress.did("done")
    if look is not None:
        look(arms)
    return _rounded(judge_goals(report))


def _all_twins(sizes: Sizes, known: Recordings, real: Recordings) -> int:
    several = int((np.unique(real.groups, return_counts=True)[1] > 1).sum())
    missing = max(0, sizes.references - len(real)) + max(0, sizes.training_twins - len(known))
    return sizes.twins - missing - max(0, sizes.patients - several) * sizes.patient_twins


def _meta(
    arms: dict[str, Arm],
    judges: Judges,
    generator: ECGTwinGenerator | None,
    checkpoint: Any,
    generated: Any,
    folds: Sequence[int],
    learned: Sequence[int],
    sizes: Sizes,
    seed: int,
) -> Report:
    figures = judges.training.get("figures", {})
    about: Report = {
        "ecgtwin_version": __version__,
        "folds": list(folds),
        "training_folds": list(learned),
        "seed": seed,
        "sizes": asdict(sizes),
        "arms": {name: len(arm) for name, arm in arms.items()},
        "judges": {
            key: figures.get(key) for key in ("macro_auroc", "age_mae", "sex_auroc", "protocol_a", "eer")
        },
    }
    if generator is None:
        return about | {"generated": Path(generated).name, "sha256": _digest(Path(generated))}
    return about | {
        "checkpoint": str(checkpoint) if checkpoint == "default" else Path(checkpoint).name,
        "sha256": _digest(resolve(checkpoint) / WEIGHTS),
        "sampling": generator.sampling_,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rounded(value: Any) -> Any:
    """Six digits, and None for what is no number: JSON knows no NaN."""
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def as_table(report: Report) -> str:
    """Return the report as a table of text."""

    def shown(found: Any) -> str:
        if not found or found.get("value") is None:
            return "-"
        return f"{found['value']:.3g}"

    lines = [
        f"{'':24s}{'twin':>9s} {'95 % interval':>18s} {'n':>6s} {'real':>8s} {'copy':>8s} {'popul.':>8s} "
        f"{'stranger':>8s}   goal"
    ]
    for group in GROUPS:
        lines.append(group)
        for key, found in report[group].items():
            if "value" not in found:
                continue
            span = "" if found["low"] is None else f"[{found['low']:.3g}, {found['high']:.3g}]"
            arms = found.get("arms", {})
            others = " ".join(f"{shown(arms.get(name)):>8s}" for name in ("copy", "population", "stranger"))
            mark = {True: "met: ", False: "missed: ", None: ""}[found.get("met")]
            lines.append(
                f"  {key:22s}{shown(found):>9s} {span:>18s} {found['n']:>6d} {shown(found.get('real')):>8s} "
                f"{others}   {mark}{found['goal']}" + (f" ({found['reason']})" if "reason" in found else "")
            )
    return "\n".join(lines)


def as_json(report: Report) -> bytes:
    """Return the report as JSON."""
    return (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
