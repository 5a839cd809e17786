"""The extractor's stage: contrast between persons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..conditions import Condition
from ..leads import independent_leads
from ..nn import BaseExtractor, ConditionArrays, encode_conditions, statement_matrix
from ..rhythm import Beats
from .data import TrainingData, step_generators
from .loop import LoopSettings, train
from .pairs import PairSampler

_LIMB_ONLY = np.arange(12) < 6


def lead_masks(present: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which of the leads present ``(n, 12)`` a view has: all, the limb leads, one, or any subset."""
    n = len(present)
    masks = np.ones((n, 12), dtype=bool)
    kind = rng.random(n)
    masks[(kind > 0.7) & (kind <= 0.8)] = _LIMB_ONLY
    single = kind > 0.9
    masks[single] = np.eye(12, dtype=bool)[rng.integers(12, size=int(single.sum()))]
    subset = (kind > 0.8) & ~single
    chosen = rng.random((int(subset.sum()), 12)) < rng.uniform(0.2, 0.9, (int(subset.sum()), 1))
    chosen[~chosen.any(axis=1), 1] = True
    masks[subset] = chosen
    # Two limb leads determine all six, as in `complete_leads`.
    masks[(masks[:, :6].sum(axis=1) > 1)] |= _LIMB_ONLY
    masks &= present
    return np.where(masks.any(axis=1, keepdims=True), masks, present)


@dataclass(frozen=True)
class View:
    """Beats as an extractor reads them: ``(n, 8, BEAT)``, ``(n, 5)``, bool ``(n, 8)`` and n conditions."""

    beats: Tensor
    intervals: Tensor
    present: Tensor
    conditions: ConditionArrays

    def __getitem__(self, rows: slice) -> View:
        return View(self.beats[rows], self.intervals[rows], self.present[rows], self.conditions[rows])

    def through(self, module: torch.nn.Module) -> Tensor:
        """Return what a module makes of them on its own device."""
        device = next(module.parameters()).device
        parts = (self.beats, self.intervals, self.present, self.conditions)
        return cast(Tensor, module(*(part.to(device) for part in parts)))


def draw_view(data: TrainingData, rows: NDArray[Any], which: NDArray[Any], rng: np.random.Generator) -> View:
    """See recordings as another day, amplifier or set of electrodes would; `which` numbers `data.views`."""
    n = len(rows)
    beats = displaced(data.views[which, rows], rng)
    # Noise, gain and offset belong to the recording: vary them, or they would pass for the person.
    gain = np.exp(rng.normal(0, 0.08, (n, 8, 1)))
    noise = rng.normal(size=beats.shape) * rng.uniform(0, 0.03, (n, 1, 1)) + rng.normal(0, 0.02, (n, 8, 1))
    beats = (beats * gain + noise * (beats != 0)).astype(np.float32)
    intervals = data.beats.intervals[rows] + rng.normal(0, 0.06, (n, 5)).astype(np.float32)
    present = lead_masks(data.leads[rows], rng)
    known = torch.from_numpy(rng.random((n, 1)) < 0.5)
    return View(
        torch.from_numpy(beats),
        torch.from_numpy(intervals),
        torch.from_numpy(eight_of(present)),
        data.encoded[torch.from_numpy(rows)].keep(known),
    )


def with_lent_changes(
    view: View, rows: NDArray[Any], data: TrainingData, lenders: PairSampler, rng: np.random.Generator
) -> View:
    """Show `rows` of a view changed as recordings of other persons were from one day to another.

    A pair that is met again and again is learned by heart, and its persons are then told from strangers by
    how alike their base vectors are. Days change all persons alike: two recordings of one tell of another.
    """
    one, other, _ = lenders.draw(len(rows), rng)
    before, after = (data.views[rng.integers(3, size=len(rows)), some] for some in (one, other))
    change = np.where((before != 0) & (after != 0), after - before, 0)  # 0 is not known
    beats, intervals = view.beats.clone(), view.intervals.clone()
    beats[rows] += torch.from_numpy(change) * (beats[rows] != 0)
    longer = np.nan_to_num(data.beats.intervals[other] - data.beats.intervals[one])
    intervals[rows] += torch.from_numpy(longer)
    return replace(view, beats=beats, intervals=intervals)


def displaced(beats: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Show beats ``(n, 8, BEAT)`` as electrodes a little elsewhere would.

    The frontal axis turns by 6 degrees, and chest electrodes move by 0.2 of the way to a neighbour (standard
    deviations).
    """
    limb, chest = beats[:, :2], beats[:, 2:]
    angle = rng.normal(0, 0.1, (len(beats), 1))
    x, y = limb[:, 0], (2 * limb[:, 1] - limb[:, 0]) / np.sqrt(3)
    one = x * np.cos(angle) - y * np.sin(angle)
    other = x * np.sin(angle) + y * np.cos(angle)
    way = rng.normal(0, 0.2, (len(beats), 6, 1))
    before, after = chest[:, [0, 0, 1, 2, 3, 4]], chest[:, [1, 2, 3, 4, 5, 5]]
    chest = chest + np.maximum(way, 0) * (after - chest) + np.maximum(-way, 0) * (before - chest)
    return np.concatenate([np.stack([one, (np.sqrt(3) * other + one) / 2], 1), chest], 1).astype(np.float32)


def eight_of(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the 8 independent leads are there, of which of 12 are ``(n, 12)``."""
    return independent_leads(present[..., None])[..., 0]


def contrastive_loss(vectors: Tensor, people: Tensor, temperature: float = 0.07) -> Tensor:
    """Symmetric InfoNCE over two views of n pairs, ``(2 n, d)``: every view of another person is a negative.

    Other views of the same person are neither positive nor negative.
    """
    n = len(people)
    logits = vectors @ vectors.T / temperature
    partner = torch.arange(2 * n).roll(n)
    same = people.repeat(2)[:, None] == people.repeat(2)
    same[torch.arange(2 * n), partner] = False
    return F.cross_entropy(
        logits.masked_fill(same.to(logits.device), float("-inf")), partner.to(logits.device)
    )


def condition_matrix(conditions: ConditionArrays) -> Tensor:
    """What may change from day to day, ``(n, 72)``: the statements, and the log of the heart rate."""
    rate = torch.nan_to_num((conditions.heart_rate / 70).log())
    return torch.cat([statement_matrix(conditions), rate[:, None]], dim=1)


def shared_with_condition(vectors: Tensor, explained: Tensor) -> Tensor:
    """The squared covariance of base vectors ``(n, d)`` with standardised conditions ``(n, s)``, summed.

    Estimated without bias, as the product of the covariances in the two halves of the batch: a plain
    square would count the noise of a batch as what they share.
    """
    half = len(vectors) // 2
    parts = [
        (v - v.mean(dim=0)).T @ z / len(v)
        for v, z in ((vectors[:half], explained[:half]), (vectors[half:], explained[half:]))
    ]
    return (parts[0] * parts[1]).sum()


def fit_extractor(
    module: BaseExtractor,
    data: TrainingData,
    settings: LoopSettings,
    *,
    validation: TrainingData | None = None,
    batch_size: int = 256,
    true_share: float = 0.15,
    condition_penalty: float = 1.0,
    seed: int = 0,
    checkpoint: Path | None = None,
    name: str = "extractor",
    verbose: bool = True,
) -> float:
    """Train by contrast between persons; keep the weights that retrieve best in `validation`.

    Of the pairs, `true_share` are drawn from persons with several recordings, the others from all. Of whom
    there is a single recording, its two halves are the pair, the second changed as between two days.

    What base vectors share with the condition costs, so that two persons with a left bundle branch
    block are no neighbours for it, and one person is, with and without.
    """
    pairs, lenders = (PairSampler(data.groups, share) for share in (true_share, 1.0))
    device = next(module.parameters()).device
    explained = condition_matrix(data.encoded)
    explained = (explained - explained.mean(dim=0)) / explained.std(dim=0).clamp(min=0.05)
    explained = explained.to(device)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        first, second, people = pairs.draw(batch_size, rng)
        rows = np.concatenate([first, second])
        # A recording that is its own partner is seen by its two halves.
        alone, halves = np.tile(first == second, 2), np.repeat([1, 2], batch_size)
        view = draw_view(data, rows, np.where(alone, halves, rng.integers(3, size=len(rows))), rng)
        view = with_lent_changes(view, batch_size + np.flatnonzero(first == second), data, lenders, rng)
        with seeded(device, generator):
            vectors = view.through(module).float()
        loss = contrastive_loss(vectors, torch.from_numpy(people))
        if condition_penalty:
            # Halves of other people: the views of a pair are together in one of them.
            order = torch.arange(2 * len(people)).view(2, -1).T.flatten()
            shown = explained[torch.from_numpy(rows)[order].to(device)]
            loss = loss + condition_penalty * shared_with_condition(vectors[order], shown)
        return loss

    def score(average: torch.nn.Module) -> float:
        assert validation is not None
        vectors = base_vectors(average, validation.beats, validation.leads)
        groups = validation.groups
        return (retrieval_top1(vectors, groups) + retrieval_top1(vectors, groups, everyone=True)) / 2

    return train(
        module,
        loss,
        settings,
        checkpoint=checkpoint,
        score=score if validation is not None else None,
        run=f"{data.digest} {seed}",
        name=name,
        verbose=verbose,
    )


@contextmanager
def seeded(device: torch.device, generator: torch.Generator) -> Iterator[None]:
    """Let dropout draw from what a step's generator says, and leave torch's own random numbers alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def base_vectors(
    module: torch.nn.Module,
    beats: Beats,
    present: NDArray[np.bool_],
    conditions: ConditionArrays | None = None,
    typical: NDArray[np.float32] | None = None,
    batch_size: int = 1024,
) -> Tensor:
    """Return base vectors ``(n, base_dim)`` of recordings on the CPU.

    Parameters
    ----------
    beats : Beats of n recordings
    present : bool array (n, 12)
    conditions : ConditionArrays of n, optional
        What they show, where that is known.
    typical : array (n, 8, BEAT), optional
        Other typical beats than those of whole recordings.
    """
    n = len(beats.rates)
    conditions = encode_conditions([Condition()] * n) if conditions is None else conditions
    shapes = torch.from_numpy(beats.typical if typical is None else typical)
    view = View(shapes, torch.from_numpy(beats.intervals), torch.from_numpy(eight_of(present)), conditions)
    with torch.no_grad():
        parts = [view[i : i + batch_size].through(module).cpu() for i in range(0, n, batch_size)]
    return torch.cat(parts)


def retrieval_top1(vectors: Tensor, groups: NDArray[Any], *, everyone: bool = False) -> float:
    """Share of persons whose second recording is nearest to their own first one.

    Among the first recordings of all with two, or with `everyone` among all recordings.
    """
    _, person, count = np.unique(groups, return_inverse=True, return_counts=True)
    pairs = np.array([np.flatnonzero(person == p)[:2] for p in np.flatnonzero(count > 1)])
    if not len(pairs):
        return float("nan")
    gallery = np.arange(len(vectors)) if everyone else pairs[:, 0]
    likeness = vectors[pairs[:, 1]] @ vectors[gallery].T
    likeness[torch.from_numpy(pairs[:, 1, None] == gallery)] = -1.0  # a recording is not its own neighbour
    nearest = gallery[likeness.argmax(dim=1).numpy()]
    return float((person[nearest] == person[pairs[:, 1]]).mean())
