"""How the judges are trained: on real recordings alone, apart from everything that generates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..conditions import STATEMENTS, Condition, statement_matrix
from ..leads import independent_leads
from ..training import LoopSettings, PairSampler, TrainingData, step_generators, train
from .condition import macro_auroc
from .identity import protocol_a
from .judge_networks import Classifier, FeatureNet, Recogniser, in_batches

SHARES = {"classifier": 0.55, "recogniser": 0.3, "features": 0.15}
"""Of the time of training that each judge gets."""


@dataclass(frozen=True)
class JudgeData:
    """Recordings that judges learn from: signals ``(n, 8, t)`` in mV at 100 Hz, with targets as tensors.

    Ages and heart rates that are not known are NaN, as is an unknown sex (1 is female).
    """

    signals: NDArray[np.float32]
    groups: NDArray[Any]
    statements: Tensor
    age: Tensor
    female: Tensor
    heart_rate: Tensor
    digest: str

    @classmethod
    def of(cls, signals: NDArray[Any], groups: NDArray[Any], conditions: Sequence[Condition]) -> JudgeData:
        """Take recordings ``(n, 12, t)``, the person of each and what each shows."""
        return cls(
            np.ascontiguousarray(independent_leads(signals)),
            groups,
            torch.from_numpy(statement_matrix(conditions).astype(np.float32)),
            _numbers([one.age for one in conditions]),
            _numbers([None if one.sex is None else float(one.sex == "F") for one in conditions]),
            _numbers([one.heart_rate for one in conditions]),
            TrainingData(signals, groups, conditions).digest,
        )

    def __len__(self) -> int:
        return len(self.signals)

    def windows(self, rows: NDArray[Any], length: int, rng: np.random.Generator) -> Tensor:
        """Cut a window out of each recording, its gain off by a few per cent."""
        last = self.signals.shape[-1] - length
        starts = rng.integers(last + 1, size=len(rows))
        cut = np.stack([self.signals[row, :, a : a + length] for row, a in zip(rows, starts, strict=True)])
        gain = np.exp(rng.normal(0, 0.05, (len(rows), 1, 1))).astype(np.float32)
        return torch.from_numpy(cut * gain)


def _numbers(values: list[Any]) -> Tensor:
    return torch.tensor([np.nan if value is None else value for value in values], dtype=torch.float32)


def _known(loss: Callable[..., Tensor], found: Tensor, truth: Tensor) -> Tensor:
    """The mean loss over the rows whose truth is known."""
    here = torch.isfinite(truth)
    return loss(found[here], truth[here]) if here.any() else found.sum() * 0


def fit_classifier(data: JudgeData, validation: JudgeData, **run: Any) -> Classifier:
    """Train on statements, age and sex together; keep the weights of best macro AUROC in `validation`."""
    net = Classifier()

    def loss(batch: Batch) -> Tensor:
        logits, female, age = net(data.windows(batch.rows, _share(data, 0.8), batch.rng))
        rows = torch.from_numpy(batch.rows)
        return (
            # Summed over statements, since most are absent from most recordings.
            30 * F.binary_cross_entropy_with_logits(logits, data.statements[rows])
            + 0.2 * _known(F.binary_cross_entropy_with_logits, female, data.female[rows])
            + 0.2 * _known(F.smooth_l1_loss, age / 17, data.age[rows] / 17)
        )

    def score(average: nn.Module) -> float:
        logits, _, _ = in_batches(average, validation.signals)
        return macro_auroc(logits, validation.statements, STATEMENTS, min_count=1)

    _fit("classifier", net, loss, data, score=score, rate=2e-3, decay=0.05, **run)
    return net


def fit_recogniser(data: JudgeData, validation: JudgeData, **run: Any) -> Recogniser:
    """Train to tell persons apart; keep the weights of best top-1 in `validation`."""
    net = Recogniser()
    pairs = PairSampler(data.groups, true_share=0.5)

    def loss(batch: Batch) -> Tensor:
        first, second, people = pairs.draw(len(batch.rows), batch.rng)
        x = data.windows(np.concatenate([first, second]), _share(data, 0.5), batch.rng)
        noise = torch.randn(x.shape, generator=batch.generator)
        x = x + noise * torch.from_numpy(batch.rng.uniform(0, 0.03, (len(x), 1, 1)).astype(np.float32))
        return supervised_contrast(net(x), torch.from_numpy(people).repeat(2))

    def score(average: nn.Module) -> float:
        (vectors,) = in_batches(average, validation.signals)
        return protocol_a(vectors, validation.groups, n_draws=2).value

    _fit("recogniser", net, loss, data, score=score, rate=2e-3, decay=0.05, **run)
    return net


def fit_features(data: JudgeData, **run: Any) -> FeatureNet:
    """Train on what a recording shows, on which recording a window was cut from, and on how it was spoiled.

    References
    ----------
    Sarkar, Etemad, Self-supervised ECG representation learning for emotion recognition, IEEE TAC 13
    (2022), for telling transformations apart.
    """
    net = FeatureNet()
    size = net.embed.out_features
    whole = nn.ModuleDict(
        {
            "net": net,
            "head": nn.Linear(size, len(STATEMENTS) + 3),
            "project": nn.Linear(size, 64),
            "spoiled": nn.Linear(size, len(SPOILS) + 1),
        }
    )

    def loss(batch: Batch) -> Tensor:
        x = torch.cat([data.windows(batch.rows, _share(data, 0.5), batch.rng) for _ in range(2)])
        # The first window of a recording is left as it is, the second one mostly not.
        spoil = batch.rng.integers(-2, len(SPOILS), size=len(batch.rows)).clip(-1)
        x[len(spoil) :] = spoiled(x[len(spoil) :], spoil, batch)
        features = net.learned(x)
        kinds = torch.from_numpy(np.concatenate([np.full(len(spoil), -1), spoil]))
        rows, clean = torch.from_numpy(batch.rows).repeat(2)[kinds < 0], features[kinds < 0]
        found = whole["head"](clean)
        one, two = features[: len(spoil)][spoil < 0], features[len(spoil) :][spoil < 0]
        same = F.normalize(whole["project"](torch.cat([one, two])).float(), dim=-1)
        return (
            30 * F.binary_cross_entropy_with_logits(found[:, :-3], data.statements[rows])
            + 0.2 * _known(F.binary_cross_entropy_with_logits, found[:, -3], data.female[rows])
            + 0.2 * _known(F.smooth_l1_loss, found[:, -2], (data.age[rows] - 60) / 17)
            + 0.5 * _known(F.smooth_l1_loss, found[:, -1], (data.heart_rate[rows] - 75) / 20)
            + 0.5 * supervised_contrast(same, torch.arange(len(one)).repeat(2))
            + F.cross_entropy(whole["spoiled"](features).float(), kinds + 1)
        )

    _fit("features", whole, loss, data, rate=2e-3, decay=0.05, **run)
    net.calibrate(in_batches(net.learned, data.signals)[0])
    return net


def spoiled(x: Tensor, kinds: NDArray[Any], batch: Batch) -> Tensor:
    """Spoil each ECG ``(n, 8, t)`` in the way of its kind; -1 leaves it."""
    out = x.clone()
    for kind, spoil in enumerate(SPOILS):
        rows = torch.from_numpy(np.flatnonzero(kinds == kind))
        if len(rows):
            out[rows] = spoil(x[rows], batch)
    return out


def _noisy(x: Tensor, batch: Batch) -> Tensor:
    strength = torch.from_numpy(batch.rng.uniform(0.1, 1.0, (len(x), 1, 1)).astype(np.float32))
    return x + strength * x.std(dim=-1, keepdim=True) * torch.randn(x.shape, generator=batch.generator)


def _wandering(x: Tensor, batch: Batch) -> Tensor:
    slow = F.interpolate(torch.randn(*x.shape[:2], 8, generator=batch.generator), x.shape[-1], mode="linear")
    return x + x.std(dim=-1, keepdim=True) * slow


def _noise_alone(x: Tensor, batch: Batch) -> Tensor:
    return x.std(dim=-1, keepdim=True) * torch.randn(x.shape, generator=batch.generator)


def _reversed(x: Tensor, batch: Batch) -> Tensor:
    return x.flip(-1)


def _permuted(x: Tensor, batch: Batch) -> Tensor:
    return x[:, torch.randperm(x.shape[1], generator=batch.generator)]


def _smoothed(x: Tensor, batch: Batch) -> Tensor:
    width = int(batch.rng.integers(1, 4)) * 2 + 1
    return F.avg_pool1d(x, width, 1, width // 2, count_include_pad=False)


def _scaled(x: Tensor, batch: Batch) -> Tensor:
    factor = 2 ** (batch.rng.choice([-1, 1], (len(x), 1, 1)) * batch.rng.uniform(0.6, 1.2, (len(x), 1, 1)))
    return x * torch.from_numpy(factor.astype(np.float32))


def _beat_by_beat(x: Tensor, batch: Batch) -> Tensor:
    """Heights that change from beat to beat, in each lead by itself, as a poor generator's do."""
    factor = F.interpolate(
        0.35 * torch.randn(*x.shape[:2], 9, generator=batch.generator), x.shape[-1], mode="linear"
    )
    return x * factor.exp()


SPOILS = (_noisy, _wandering, _noise_alone, _reversed, _permuted, _smoothed, _scaled, _beat_by_beat)


def supervised_contrast(vectors: Tensor, people: Tensor, temperature: float = 0.1) -> Tensor:
    """Contrast that draws all vectors of one person together (Khosla et al. 2020, equation 2)."""
    logits = vectors @ vectors.T / temperature
    self = torch.eye(len(vectors), dtype=torch.bool)
    log_share = F.log_softmax(logits.masked_fill(self, float("-inf")), dim=1)
    same = (people[:, None] == people) & ~self
    return -(log_share.masked_fill(~same, 0).sum(dim=1) / same.sum(dim=1)).mean()


@dataclass(frozen=True)
class Batch:
    """Rows drawn for one step, and the step's random numbers."""

    rows: NDArray[Any]
    rng: np.random.Generator
    generator: torch.Generator


def _share(data: JudgeData, share: float) -> int:
    return int(share * data.signals.shape[-1])


def _fit(
    name: str,
    module: nn.Module,
    loss: Callable[[Batch], Tensor],
    data: JudgeData,
    *,
    score: Callable[[nn.Module], float] | None = None,
    rate: float,
    decay: float,
    minutes: float,
    epochs: int,
    seed: int,
    folder: Path | None = None,
    verbose: bool = True,
) -> None:
    size = min(128, len(data))

    def step_loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        return loss(Batch(rng.choice(len(data), size, replace=False), rng, generator))

    settings = LoopSettings(
        n_steps=epochs * -(-len(data) // size),
        learning_rate=rate,
        weight_decay=decay,
        minutes=minutes,
        score_every=400,
        bf16=True,
    )
    train(
        module,
        step_loss,
        settings,
        checkpoint=None if folder is None else folder / f"{name}.ckpt",
        score=score,
        run=f"{data.digest} {seed}",
        name=name,
        verbose=verbose,
    )
