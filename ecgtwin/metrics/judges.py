"""The judges: networks trained on real ECGs alone that grade what others generate.

    python -m ecgtwin.metrics.judges train --data PTBXL_DIR --out DIR

trains them on folds 1-8 of PTB-XL and chooses on fold 9. They are never used to train a generator or
to choose between generators' weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from ..conditions import STATEMENTS, Condition, statement_matrix
from ..exceptions import CheckpointError, InputError
from ..files import write_whole
from ..leads import independent_leads
from ..pretrained import read_weights, write_weights
from .condition import age_error, label_auroc, sex_auroc
from .identity import protocol_a, protocol_b, verification
from .judge_networks import Classifier, FeatureNet, Recogniser, in_batches

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_BUNDLED = Path(__file__).parents[1] / "assets" / "judges"


@dataclass(frozen=True)
class Verdict:
    """What the classifier says of n recordings.

    Parameters
    ----------
    statements : array (n, 71)
        Probability of each statement of `ecgtwin.conditions.STATEMENTS`.
    age : array (n,)
        Years.
    female : array (n,)
        Probability.
    """

    statements: NDArray[np.float32]
    age: NDArray[np.float32]
    female: NDArray[np.float32]

    def at(self, rows: NDArray[np.intp]) -> Verdict:
        """The verdict on some of the recordings."""
        return Verdict(self.statements[rows], self.age[rows], self.female[rows])


@dataclass(frozen=True)
class Judges:
    """A classifier of conditions, a recogniser of persons, and a feature space for Frechet distances.

    Signals are ``(n, 12, t)`` in mV at 100 Hz, in standard lead order, of any length from 2.5 s.

    Parameters
    ----------
    classifier, recogniser, features : Module
    training : dict
        Data, folds and figures that the weights come from.

    Examples
    --------
    >>> from ecgtwin import load_example
    >>> signal, _ = load_example().native()
    >>> judges = Judges.load()
    >>> verdict = judges.classify(signal[None])
    >>> STATEMENTS[int(verdict.statements.argmax())]
    'SR'
    >>> judges.embed(signal[None]).shape, judges.describe(signal[None]).shape
    ((1, 128), (1, 40))
    """

    classifier: Classifier
    recogniser: Recogniser
    features: FeatureNet
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path = "default") -> Self:
        """Load judges from a folder, or the bundled ones.

        Raises
        ------
        CheckpointError
            If there are none, or they are damaged.
        """
        root = _BUNDLED if folder == "default" else Path(folder)
        try:
            config = json.loads((root / CONFIG).read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no judges in {root}: {type(error).__name__} in {CONFIG}") from error
        if not isinstance(config, dict) or config.get("statements") != list(STATEMENTS):
            raise CheckpointError(f"{root / CONFIG}: judges of other statements than this ecgtwin's")
        judges = cls(Classifier(), Recogniser(), FeatureNet(), config.get("training", {}))
        read_weights(judges._together(), root / WEIGHTS)
        judges._together().eval()
        return judges

    def save(self, folder: str | Path) -> Path:
        """Write weights as float16, and what they come from; return the folder."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        config = {"statements": list(STATEMENTS), "training": self.training}
        write_weights(self._together(), root / WEIGHTS, half=True)
        write_whole(root / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
        return root

    def classify(self, signals: NDArray[Any]) -> Verdict:
        """Return what recordings show."""
        logits, female, age = in_batches(self.classifier, _leads(signals))
        return Verdict(expit(logits), age, expit(female))

    def embed(self, signals: NDArray[Any]) -> NDArray[np.float32]:
        """Return unit vectors ``(n, 128)``, near for recordings of one person."""
        return in_batches(self.recogniser, _leads(signals))[0]

    def describe(self, signals: NDArray[Any]) -> NDArray[np.float32]:
        """Return features ``(n, 40)`` for Frechet distances and neighbours."""
        return in_batches(self.features, _leads(signals))[0]

    def _together(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"classifier": self.classifier, "recogniser": self.recogniser, "features": self.features}
        )


def _leads(signals: NDArray[Any]) -> NDArray[Any]:
    if signals.ndim != 3 or signals.shape[1] != 12 or not len(signals) or signals.shape[2] < 250:
        raise InputError(f"expected signals (n, 12, t) with t from 250, got {signals.shape}")
    if not np.isfinite(signals).all():
        raise InputError("signals hold NaN or infinite values")
    return independent_leads(signals)


def train(data: Path, out: Path, *, minutes: float = 38.0, epochs: int = 200, seed: int = 0) -> Judges:
    """Train judges on folds 1-8 of a local PTB-XL and save them; an interrupted run goes on."""
    from ..datasets import load_ptbxl
    from .judge_training import SHARES, JudgeData, fit_classifier, fit_features, fit_recogniser

    out.mkdir(parents=True, exist_ok=True)
    bunch = load_ptbxl(data, folds=range(1, 10))

    def part(folds: Sequence[int]) -> JudgeData:
        rows = np.flatnonzero(np.isin(bunch.folds, folds))
        return JudgeData.of(bunch.signals[rows], bunch.groups[rows], [bunch.conditions[row] for row in rows])

    learn, choose = part(range(1, 9)), part([9])
    print(f"{len(learn)} recordings to learn from, {len(choose)} to choose on", flush=True)

    def run(name: str) -> dict[str, Any]:
        return {"minutes": SHARES[name] * minutes, "epochs": epochs, "seed": seed, "folder": out}

    judges = Judges(
        fit_classifier(learn, choose, **run("classifier")),
        fit_recogniser(learn, choose, **run("recogniser")),
        fit_features(learn, **run("features")),
        {
            "data": "PTB-XL 1.0.3 (CC BY 4.0), 100 Hz",
            "folds": list(range(1, 9)),
            "validation_fold": 9,
            "minutes": minutes,
            "seed": seed,
        },
    )
    held = np.flatnonzero(bunch.folds == 9)
    judges.training["figures"] = figures(
        judges, bunch.signals[held], bunch.groups[held], [bunch.conditions[row] for row in held]
    )
    judges.save(out)
    return judges


def figures(
    judges: Judges, signals: NDArray[Any], groups: NDArray[Any], conditions: Sequence[Condition]
) -> dict[str, Any]:
    """Measure judges on recordings ``(n, 12, t)`` whose truth is known."""
    verdict, vectors = judges.classify(signals), judges.embed(signals)
    per_statement = label_auroc(verdict.statements, statement_matrix(conditions), STATEMENTS, min_count=1)
    return {
        "n": len(signals),
        "macro_auroc": float(np.mean(list(per_statement.values()))),
        "label_auroc": per_statement,
        "age_mae": float(np.nanmean(age_error(verdict.age, [one.age for one in conditions]))),
        "sex_auroc": sex_auroc(verdict.female, [one.sex for one in conditions]),
        "protocol_a": protocol_a(vectors, groups).as_dict(),
        "protocol_b": protocol_b(vectors, groups).as_dict(),
        **verification(vectors, groups),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Train the judges; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecgtwin.metrics.judges", description="Judges of ECGs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("train", help="train judges on PTB-XL; resumes after any interruption")
    command.add_argument("--data", type=Path, required=True, help="PTB-XL in its published layout")
    command.add_argument("--out", type=Path, required=True, help="folder for checkpoints and judges")
    command.add_argument("--minutes", type=float, default=38.0, help="of training, shared by the three")
    command.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        judges = train(args.data, args.out, minutes=args.minutes, seed=args.seed)
    except (InputError, CheckpointError, FileNotFoundError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    print(json.dumps(judges.training["figures"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
