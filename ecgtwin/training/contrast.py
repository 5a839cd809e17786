"""The extractor's stage: contrast between persons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..conditions import Condition
from ..nn import BaseExtractor, ConditionArrays, encode_conditions, statement_matrix
from .data import TrainingData, step_generators
from .loop import LoopSettings, train
from .pairs import PairSampler

WINDOW = 512
"""Samples of the windows that the extractor learns from."""

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


def draw_views(
    data: TrainingData, rows: NDArray[Any], rng: np.random.Generator
) -> tuple[Tensor, Tensor, ConditionArrays]:
    """Cut a window of each recording, as another day, amplifier or electrode set would show it."""
    length = data.signals.shape[-1]
    window = min(WINDOW, length)
    starts = rng.integers(length - window + 1, size=len(rows))
    views = np.stack(
        [data.signals[row, :, start : start + window] for row, start in zip(rows, starts, strict=True)]
    )
    n = len(rows)
    # Noise, wander and gain belong to the recording: vary them, or they would pass for the person.
    gain = np.exp(rng.normal(0, 0.06, (n, 12, 1)))
    noise = rng.normal(size=views.shape) * np.abs(rng.normal(0, 0.02, (n, 1, 1)))
    phase = 2 * np.pi * (np.arange(window) / 100 * rng.uniform(0.05, 0.5, (n, 1, 1)) + rng.random((n, 12, 1)))
    wander = np.sin(phase) * np.abs(rng.normal(0, 0.05, (n, 12, 1)))
    views = (views * gain + noise + wander).astype(np.float32)
    conditions = data.encoded[torch.from_numpy(rows)]
    known = rng.random((n, 1)) < 0.5
    present = lead_masks(data.leads[rows], rng)
    return torch.from_numpy(views), torch.from_numpy(present), conditions.keep(torch.from_numpy(known))


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
    true_share: float = 0.5,
    condition_penalty: float = 3.0,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train by contrast between persons; keep the weights that retrieve best in `validation`.

    What base vectors share with the condition costs, so that two persons with a left bundle branch
    block are no neighbours for it, and one person is, with and without.
    """
    pairs = PairSampler(data.groups, true_share=true_share)
    device = next(module.parameters()).device
    explained = condition_matrix(data.encoded)
    explained = (explained - explained.mean(dim=0)) / explained.std(dim=0).clamp(min=0.05)
    explained = explained.to(device)

    def loss(step: int) -> Tensor:
        rng, _ = step_generators(seed, step)
        first, second, people = pairs.draw(batch_size, rng)
        views, present, conditions = draw_views(data, np.concatenate([first, second]), rng)
        vectors = module(views.to(device), present.to(device), conditions.to(device)).float()
        loss = contrastive_loss(vectors, torch.from_numpy(people))
        if condition_penalty:
            # Halves of other people: the views of a pair are together in one of them.
            order = torch.arange(2 * len(people)).view(2, -1).T.flatten()
            rows = torch.from_numpy(np.concatenate([first, second]))[order].to(device)
            loss = loss + condition_penalty * shared_with_condition(vectors[order], explained[rows])
        return loss

    def score(average: torch.nn.Module) -> float:
        assert validation is not None
        vectors = base_vectors(average, validation.signals, validation.leads, None)
        groups = validation.groups
        return (retrieval_top1(vectors, groups) + retrieval_top1(vectors, groups, everyone=True)) / 2

    return train(
        module,
        loss,
        settings,
        checkpoint=checkpoint,
        score=score if validation is not None else None,
        run=f"{data.digest} {seed}",
        name="extractor",
        verbose=verbose,
    )


def base_vectors(
    module: torch.nn.Module,
    signals: NDArray[np.float32],
    present: NDArray[np.bool_],
    conditions: ConditionArrays | None,
    batch_size: int = 256,
) -> Tensor:
    """Return base vectors ``(n, base_dim)`` of ``(n, 12, t)`` on the CPU."""
    device = next(module.parameters()).device
    conditions = encode_conditions([Condition()] * len(signals)) if conditions is None else conditions
    parts = []
    with torch.no_grad():
        for i in range(0, len(signals), batch_size):
            rows = slice(i, i + batch_size)
            x = torch.from_numpy(np.ascontiguousarray(signals[rows])).to(device)
            mask = torch.from_numpy(present[rows]).to(device)
            parts.append(module(x, mask, conditions[rows].to(device)).cpu())
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
