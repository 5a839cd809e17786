"""The three stages: autoencoder, extractor, denoiser."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..conditions import Condition
from ..diffusion.flow import denoising_loss
from ..leads import independent_leads
from ..nn import BaseExtractor, ConditionArrays, Denoiser, PatchAutoencoder, TwinNetworks, encode_conditions
from .loop import LoopSettings, train
from .pairs import PairSampler

STAGES = ("autoencoder", "extractor", "denoiser")

WINDOW = 512
"""Samples of the windows that the extractor learns from."""

_LIMB_ONLY = np.arange(12) < 6


@dataclass(frozen=True)
class TrainingData:
    """Recordings to learn from.

    Parameters
    ----------
    signals : float32 array (n, 12, t)
        mV at 100 Hz, standard lead order.
    groups : array (n,)
        The person of each recording.
    conditions : sequence of n Condition, optional
    present : bool array (n, 12), optional
        Which leads each recording has; all by default.
    """

    signals: NDArray[np.float32]
    groups: NDArray[Any]
    conditions: Sequence[Condition] | None = None
    present: NDArray[np.bool_] | None = None

    @cached_property
    def digest(self) -> str:
        """What names these recordings, their persons and conditions."""
        hashed = hashlib.sha256(np.ascontiguousarray(self.signals).data)
        hashed.update(repr((self.groups.tolist(), self.conditions)).encode())
        return hashed.hexdigest()

    @cached_property
    def encoded(self) -> ConditionArrays:
        """The conditions as arrays."""
        return encode_conditions(self.conditions or [Condition()] * len(self))

    @cached_property
    def leads(self) -> NDArray[np.bool_]:
        """Which leads each recording has, ``(n, 12)``."""
        return np.ones((len(self), 12), dtype=bool) if self.present is None else self.present

    def __len__(self) -> int:
        return len(self.signals)

    @cached_property
    def records_by_statement(self) -> list[NDArray[Any]]:
        """The recordings of each statement that occurs."""
        codes = self.encoded.statements.numpy()
        return [np.flatnonzero((codes == code).any(axis=1)) for code in np.unique(codes[codes > 0])]


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return the random numbers of one step, which depend on nothing but seed and step."""
    rng = np.random.default_rng([seed, step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def fit_autoencoder(module: PatchAutoencoder, data: TrainingData) -> PatchAutoencoder:
    """Fit the transform in closed form."""
    return module.fit(independent_leads(data.signals))


# ----- extractor


def lead_masks(present: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which of the leads present ``(n, 12)`` a view has: all, the limb leads, one, or any subset."""
    n = len(present)
    masks = np.ones((n, 12), dtype=bool)
    kind = rng.random(n)
    masks[(kind > 0.55) & (kind <= 0.7)] = _LIMB_ONLY
    single = kind > 0.85
    masks[single] = np.eye(12, dtype=bool)[rng.integers(12, size=int(single.sum()))]
    subset = (kind > 0.7) & ~single
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


def fit_extractor(
    module: BaseExtractor,
    data: TrainingData,
    settings: LoopSettings,
    *,
    validation: TrainingData | None = None,
    batch_size: int = 256,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train by contrast between persons; keep the weights that retrieve best in `validation`."""
    pairs = PairSampler(data.groups, true_share=0.5)
    device = next(module.parameters()).device

    def loss(step: int) -> Tensor:
        rng, _ = step_generators(seed, step)
        first, second, people = pairs.draw(batch_size, rng)
        views, present, conditions = draw_views(data, np.concatenate([first, second]), rng)
        vectors = module(views.to(device), present.to(device), conditions.to(device))
        return contrastive_loss(vectors.float(), torch.from_numpy(people))

    def score(average: torch.nn.Module) -> float:
        assert validation is not None
        vectors = base_vectors(average, validation.signals, validation.leads, None)
        return retrieval_top1(vectors, validation.groups)

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


def retrieval_top1(vectors: Tensor, groups: NDArray[Any]) -> float:
    """Share of persons whose second recording is nearest to their own first, among all first ones."""
    _, person, count = np.unique(groups, return_inverse=True, return_counts=True)
    rows = [np.flatnonzero(person == p)[:2] for p in np.flatnonzero(count > 1)]
    if not rows:
        return float("nan")
    gallery, probes = vectors[[r[0] for r in rows]], vectors[[r[1] for r in rows]]
    return float(((probes @ gallery.T).argmax(dim=1) == torch.arange(len(rows))).float().mean())


# ----- denoiser


def base_table(module: BaseExtractor, data: TrainingData, seed: int = 0) -> Tensor:
    """Base vectors of each recording as seen whole, in halves and with fewer leads: ``(8, n, base_dim)``.

    The first two are of the whole recording, with and without its condition.
    """
    rng = np.random.default_rng([seed, len(data)])
    half, whole = data.signals.shape[-1] // 2, data.leads
    left, right = data.signals[..., :half], data.signals[..., half:]
    return torch.stack(
        [
            base_vectors(module, data.signals, whole, data.encoded),
            base_vectors(module, data.signals, whole, None),
            base_vectors(module, left, whole, data.encoded),
            base_vectors(module, right, whole, data.encoded),
            base_vectors(module, left, whole, None),
            base_vectors(module, right, whole, None),
            base_vectors(module, left, lead_masks(whole, rng), data.encoded),
            base_vectors(module, right, lead_masks(whole, rng), None),
        ]
    )


def draw_targets(
    data: TrainingData, pairs: PairSampler, n: int, rng: np.random.Generator, rare_share: float = 0.2
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw recordings to generate and the reference for each; a share of them by a statement drawn first."""
    by_statement = data.records_by_statement
    n_rare = int(rng.binomial(n, rare_share)) if by_statement else 0
    rare = np.array(
        [rng.choice(by_statement[i]) for i in rng.integers(max(len(by_statement), 1), size=n_rare)], np.intp
    )
    first, second, _ = pairs.draw(n - n_rare, rng)
    return np.concatenate([first, rare]), np.concatenate([second, pairs.partners(rare, rng)])


def draw_dropped(conditions: ConditionArrays, rng: np.random.Generator) -> tuple[ConditionArrays, Tensor]:
    """Leave out conditions and persons at random: each whole, for guidance, and single parts of a condition.

    Returns the conditions that are kept, and bool ``(n,)``, which persons are.
    """
    n, s = conditions.statements.shape
    kept = rng.random((n, s + 3)) < np.where(np.arange(s + 3) < s, 0.9, 0.8)
    few = rng.random(n) < 0.25  # users ask for one statement where a report lists many
    kept[few, :s] &= rng.random((int(few.sum()), s)) < 0.5
    case = rng.random(n)
    kept[case < 0.15] = False
    return conditions.keep(torch.from_numpy(kept)), torch.from_numpy((case < 0.1) | (case > 0.22))


def fit_denoiser(
    module: Denoiser,
    autoencoder: PatchAutoencoder,
    extractor: BaseExtractor,
    data: TrainingData,
    settings: LoopSettings,
    *,
    validation: TrainingData | None = None,
    batch_size: int = 128,
    seed: int = 0,
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> float:
    """Train the flow on the latents of `data`, which are computed once and kept in memory."""
    device = next(module.parameters()).device
    pairs = PairSampler(data.groups, true_share=0.35)
    latents, bases = _encode(autoencoder, data), base_table(extractor, data).to(device)

    def batch_loss(
        net: Any, of: TrainingData, z: Tensor, b: Tensor, rows: Any, references: Any, seeds: Any
    ) -> Tensor:
        rng, generator = seeds
        # A recording that is its own reference is seen only in part, or it could be copied.
        variant = np.where(
            rows == references, rng.integers(2, len(b), len(rows)), rng.integers(len(b), size=len(rows))
        )
        conditions, has_person = draw_dropped(of.encoded[torch.from_numpy(rows)], rng)
        base, conditions, has_person = b[variant, references], conditions.to(device), has_person.to(device)
        return denoising_loss(lambda x, t: net(x, t, base, has_person, conditions), z[rows], generator)

    def loss(step: int) -> Tensor:
        seeds = step_generators(seed, step)
        rows, references = draw_targets(data, pairs, batch_size, seeds[0])
        return batch_loss(module, data, latents, bases, rows, references, seeds).mean()

    score = None
    if validation is not None:
        held, held_bases = _encode(autoencoder, validation), base_table(extractor, validation).to(device)
        order = np.random.default_rng(0).permutation(len(validation))[:1024]
        references = PairSampler(validation.groups).partners(order, np.random.default_rng(1))

        def score(average: torch.nn.Module) -> float:
            total = 0.0
            with torch.no_grad():
                for i in range(0, len(order), 128):
                    rows = slice(i, i + 128)
                    seeds = step_generators(seed + 1, i)
                    total += float(
                        batch_loss(
                            average, validation, held, held_bases, order[rows], references[rows], seeds
                        ).sum()
                    )
            return -total / len(order)

    run = f"{data.digest} {seed}"
    return train(
        module, loss, settings, checkpoint=checkpoint, score=score, run=run, name="denoiser", verbose=verbose
    )


def _encode(autoencoder: PatchAutoencoder, data: TrainingData) -> Tensor:
    whole = data.signals.shape[-1] // (4 * autoencoder.patch) * 4 * autoencoder.patch
    leads = independent_leads(data.signals)[..., :whole]
    device = autoencoder.basis.device
    with torch.no_grad():
        return torch.cat(
            [
                autoencoder.encode(torch.from_numpy(np.ascontiguousarray(leads[i : i + 1024])).to(device))
                for i in range(0, len(leads), 1024)
            ]
        )


# ----- all three


@dataclass(frozen=True)
class StageSettings:
    """Sizes and lengths of the two trained stages; ``None`` minutes leave the epochs to decide."""

    extractor_epochs: int = 60
    denoiser_epochs: int = 120
    extractor_minutes: float | None = None
    denoiser_minutes: float | None = None
    extractor_batch: int = 256
    denoiser_batch: int = 128
    extractor_learning_rate: float = 1e-3
    denoiser_learning_rate: float = 1e-3
    bf16: bool = False


def fit_networks(
    networks: TwinNetworks,
    data: TrainingData,
    settings: StageSettings,
    *,
    validation: TrainingData | None = None,
    stages: Sequence[str] = STAGES,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    verbose: bool = True,
) -> dict[str, float]:
    """Train the stages asked for, in their order, in place; return the best score of each.

    With `checkpoint_dir` every stage writes ``<stage>.ckpt`` there and resumes from it, finished or not.
    """
    scores = {}

    def common(stage: str) -> dict[str, Any]:
        checkpoint = None if checkpoint_dir is None else checkpoint_dir / f"{stage}.ckpt"
        return {"validation": validation, "seed": seed, "checkpoint": checkpoint, "verbose": verbose}

    if "autoencoder" in stages:
        fit_autoencoder(networks.autoencoder, data)
        networks.denoiser.spread.copy_(networks.autoencoder.spread)
    if "extractor" in stages:
        batch = min(settings.extractor_batch, len(np.unique(data.groups)))
        loop = LoopSettings(
            n_steps=settings.extractor_epochs * -(-len(data) // batch),
            minutes=settings.extractor_minutes,
            learning_rate=settings.extractor_learning_rate,
            weight_decay=0.05,
            score_every=200,
            bf16=settings.bf16,
        )
        scores["extractor"] = fit_extractor(
            networks.extractor, data, loop, batch_size=batch, **common("extractor")
        )
    if "denoiser" in stages:
        batch = min(settings.denoiser_batch, len(data))
        loop = LoopSettings(
            n_steps=settings.denoiser_epochs * -(-len(data) // batch),
            minutes=settings.denoiser_minutes,
            learning_rate=settings.denoiser_learning_rate,
            ema_decay=0.9995,
            score_every=1000,
            bf16=settings.bf16,
        )
        scores["denoiser"] = fit_denoiser(
            networks.denoiser,
            networks.autoencoder,
            networks.extractor,
            data,
            loop,
            batch_size=batch,
            **common("denoiser"),
        )
    return scores
