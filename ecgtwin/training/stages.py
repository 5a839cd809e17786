"""The stages of training, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ..leads import independent_leads
from ..nn import PatchAutoencoder, TwinNetworks
from . import expectations, rhythms
from .contrast import fit_extractor
from .data import TrainingData
from .distillation import fit_few_steps, fit_half_the_steps
from .flows import FlowData, fit_denoiser, fit_electrodes
from .loop import LoopSettings
from .transfers import N_WITNESSES, fit_transfer

STAGES = ("autoencoder", "extractor", "rhythm", "beats", "denoiser", "distillation")


def fit_autoencoder(module: PatchAutoencoder, data: TrainingData) -> PatchAutoencoder:
    """Fit the transform in closed form."""
    return module.fit(independent_leads(data.signals))


@dataclass(frozen=True)
class Distilled:
    """What distillation teaches: how many steps, first twice as many, and under which scales of guidance."""

    n_steps: int = 2
    guidance_scale: float = 3.0
    person_scale: float = 1.5


@dataclass(frozen=True)
class StageSettings:
    """Sizes and lengths of the trained stages; ``None`` minutes leave the epochs to decide."""

    extractor_epochs: int = 16
    rhythm_epochs: int = 20
    interaction_epochs: int = 60
    witness_epochs: int = 16
    transfer_epochs: int = 39
    denoiser_epochs: int = 260
    distillation_epochs: int = 30
    extractor_minutes: float | None = None
    beats_minutes: float | None = None
    denoiser_minutes: float | None = None
    distillation_minutes: float | None = None
    extractor_batch: int = 384
    transfer_batch: int = 384
    denoiser_batch: int = 128
    extractor_learning_rate: float = 2e-3
    denoiser_learning_rate: float = 1e-3
    distillation_learning_rate: float = 5e-4
    distilled: Distilled = Distilled()
    bf16: bool = False
    checkpoint_seconds: float = 60.0

    @classmethod
    def on(cls, device: torch.device, **chosen: Any) -> Self:
        """Return settings for a device: on CUDA four times the flow's batch takes little longer than one."""
        if device.type == "cuda":
            rates = {"denoiser_learning_rate": 1.5e-3, "distillation_learning_rate": 7e-4}
            chosen = {"denoiser_batch": 512, **rates, **chosen}
        return cls(**chosen)


def stages_after(
    sampling: Mapping[str, Any], training: Mapping[str, Any], *, new: bool
) -> tuple[tuple[str, ...], Distilled]:
    """Return the stages that weights go through in `fit`, and what their distillation teaches.

    Weights that were distilled are distilled again, so that the way of sampling chosen for them remains.
    """
    if new:
        return STAGES[:-1], Distilled()
    # Pretrained latents keep their meaning only under the transform they were learned with.
    stages = STAGES[1:] if sampling.get("sampler") == "shortcut" else STAGES[1:-1]
    known = training.get("distillation", {})
    known = known if isinstance(known, Mapping) else {}
    scales = {key: float(known[key]) for key in ("guidance_scale", "person_scale") if key in known}
    return stages, Distilled(n_steps=int(sampling.get("n_steps", Distilled.n_steps)), **scales)


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

    With `checkpoint_dir` every stage of more than a minute writes ``<stage>.ckpt`` there and resumes from
    it, finished or not.
    """
    scores = {}

    def common(stage: str) -> dict[str, Any]:
        checkpoint = None if checkpoint_dir is None else checkpoint_dir / f"{stage}.ckpt"
        return {"seed": seed, "checkpoint": checkpoint, "verbose": verbose}

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
            ema_decay=0.99,
            score_every=100,
            bf16=settings.bf16,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        scores["extractor"] = fit_extractor(
            networks.extractor, data, loop, validation=validation, batch_size=batch, **common("extractor")
        )
    if "rhythm" in stages:
        intervals = 10 * len(data)  # about
        n_steps = settings.rhythm_epochs * -(-intervals // rhythms.BATCH)
        loop = LoopSettings(n_steps, learning_rate=2e-3)
        scores["rhythm"] = rhythms.fit_rhythm(networks.rhythm, data, loop, seed=seed, verbose=verbose)
    if "beats" in stages:
        fit_electrodes(networks, data)
        n_steps = settings.interaction_epochs * -(-len(data) // expectations.BATCH)
        loop = LoopSettings(n_steps, learning_rate=3e-3, weight_decay=0.3, ema_decay=0.99)
        # It guesses statements from base vectors, so it belongs to this extractor.
        expectations.fit_prior(networks, data, loop, seed=seed, verbose=verbose)
        batch = min(settings.transfer_batch, len(data))
        epoch = -(-len(data) // batch)
        limit = settings.beats_minutes
        loop = LoopSettings(
            n_steps=settings.transfer_epochs * epoch,
            minutes=None if limit is None else 0.7 * limit,
            learning_rate=1.5e-3,
            ema_decay=0.99,
            bf16=settings.bf16,
        )
        witnesses = replace(
            loop,
            n_steps=settings.witness_epochs * epoch,
            minutes=None if limit is None else 0.3 * limit / N_WITNESSES,
        )
        scores["beats"] = fit_transfer(
            networks, data, loop, witnesses=witnesses, batch_size=batch, **common("beats")
        )
    if {"denoiser", "distillation"} & set(stages):
        flow, batch = FlowData(networks, data, seed), min(settings.denoiser_batch, len(data))
    if "denoiser" in stages:
        loop = LoopSettings(
            n_steps=settings.denoiser_epochs * -(-len(data) // batch),
            minutes=settings.denoiser_minutes,
            learning_rate=settings.denoiser_learning_rate,
            ema_decay=0.9995,
            score_every=1000,
            bf16=settings.bf16,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        held = None if validation is None else FlowData(networks, validation, seed)
        scores["denoiser"] = fit_denoiser(flow, loop, validation=held, batch_size=batch, **common("denoiser"))
    if "distillation" in stages:
        loop = LoopSettings(
            n_steps=settings.distillation_epochs * -(-len(data) // batch),
            minutes=None if settings.distillation_minutes is None else 0.75 * settings.distillation_minutes,
            learning_rate=settings.distillation_learning_rate,
            bf16=settings.bf16,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        taught = asdict(settings.distilled)
        n_steps = taught.pop("n_steps")
        fit_few_steps(flow, loop, n_steps=2 * n_steps, **taught, batch_size=batch, **common("distillation"))
        # From itself it learns in a third of the time what is left to learn.
        loop = replace(
            loop,
            n_steps=-(-loop.n_steps // 3),
            minutes=None if loop.minutes is None else loop.minutes / 3,
            ema_decay=0.995,
        )
        scores["distillation"] = fit_half_the_steps(
            flow, loop, n_steps=n_steps, batch_size=batch, **common("half")
        )
    return scores
