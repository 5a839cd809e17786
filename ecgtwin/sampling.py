"""From base vectors and conditions to signals: what `ECGTwinGenerator` draws with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .conditions import Condition
from .diffusion import SAMPLERS, guided, row_noise, row_seeds, time_grid
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE
from .exceptions import InputError, QualityWarning
from .leads import LEADS, independent_leads, resample, twelve_leads
from .nn import BaseExtractor, TwinNetworks, encode_conditions
from .recordings import as_references, pooled_base_vectors

Seeds = Sequence[tuple[int, int]]

PROBE_TIMES = np.linspace(0.1, 0.8, 8)
"""Times of the flow at which a recording's denoising error is taken."""


MAX_SAMPLES = 100_000


@dataclass(frozen=True)
class Request:
    """What to draw: checked references, the full target, settings, and a seed for each twin."""

    references: list[ECG]
    target: Condition
    settings: dict[str, Any]
    seeds: list[tuple[int, int]]

    @classmethod
    def of(
        cls,
        reference: Any,
        condition: Any,
        settings: dict[str, Any],
        *,
        sampling_rate: float,
        n_samples: int = 1,
        reference_condition: Any = None,
        random_state: Any = None,
        **target: Any,
    ) -> Self:
        """Check everything that was asked for, before anything is drawn."""
        if (
            isinstance(n_samples, bool)
            or not isinstance(n_samples, int | np.integer)
            or not 1 <= n_samples <= MAX_SAMPLES
        ):
            raise InputError(f"n_samples must be a whole number from 1 to {MAX_SAMPLES}, got {n_samples!r}")
        references = [] if reference is None else as_references(reference, sampling_rate)
        if reference_condition is not None:
            known = reference_condition if isinstance(reference_condition, list) else [reference_condition]
            known = known * len(references) if len(known) == 1 else known
            if len(known) != len(references):
                raise InputError(f"{len(known)} reference conditions for {len(references)} references")
            references = [replace(ecg, condition=one) for ecg, one in zip(references, known, strict=True)]
        asked = Condition.parse(condition, **target)
        for ecg in references:
            if asked.age is None and ecg.condition.age is not None:
                asked = asked.replace(age=ecg.condition.age)
            if asked.sex is None and ecg.condition.sex is not None:
                asked = asked.replace(sex=ecg.condition.sex)
        for conflict in asked.conflicts():
            message = f"the condition asked for contradicts itself: {conflict}"
            warnings.warn(message, QualityWarning, stacklevel=5)
        if not references:
            settings = settings | {"person_scale": 0.0}
        return cls(references, asked, settings, row_seeds(random_state, int(n_samples)))


def person_vector(extractor: BaseExtractor, references: Sequence[ECG]) -> Tensor:
    """Return the pooled base vector ``(base_dim,)`` of a person's recordings; zero without any."""
    if not references:
        return torch.zeros(extractor.head.out_features)
    vectors = []
    for ecg in references:
        signal, present = ecg.native()
        vectors.append(pooled_base_vectors(extractor, signal[None], present[None], [ecg.condition]))
    return torch.nn.functional.normalize(torch.cat(vectors).sum(dim=0), dim=0)


def check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Raise `InputError` unless steps and scales can be used; return them."""
    steps = settings["n_steps"]
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise InputError(f"n_steps must be a whole number from 1, got {steps!r}")
    for key in ("guidance_scale", "person_scale"):
        if not np.isfinite(settings[key]) or settings[key] < 0:
            raise InputError(f"{key} must be a number from 0, got {settings[key]!r}")
    return settings


def draw(
    networks: TwinNetworks,
    bases: Tensor,
    targets: Sequence[Condition],
    seeds: Seeds,
    settings: dict[str, Any],
    *,
    batch_size: int,
    callback: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Draw native 8-lead twins ``(n, 8, 1000)`` in mV of base vectors ``(n, base_dim)``."""
    parts = []
    for start in range(0, len(seeds), batch_size):
        rows = slice(start, start + batch_size)
        latents = draw_latents(networks, bases[rows], targets[rows], seeds[rows], settings)
        parts.append(decode(networks, latents))
        if callback is not None:
            callback(min(start + batch_size, len(seeds)), len(seeds))
    return np.concatenate(parts)


@torch.no_grad()
def draw_latents(
    networks: TwinNetworks,
    bases: Tensor,
    targets: Sequence[Condition],
    seeds: Seeds,
    settings: dict[str, Any],
) -> Tensor:
    """Let noise flow to latents ``(n, latent_dim, tokens)``, all n in one batch."""
    architecture = networks.architecture
    device = networks.autoencoder.basis.device
    base, asked = bases.to(device), encode_conditions(targets).to(device)

    def denoise(x: Tensor, time: Tensor, has_condition: Tensor, has_person: Tensor) -> Tensor:
        repeats = len(x) // len(base)
        conditions = asked.repeat(repeats).keep(has_condition[:, None])
        return networks.denoiser(x, time, base.repeat(repeats, 1), has_person, conditions)

    predict = guided(denoise, settings["guidance_scale"], settings["person_scale"])
    noise = row_noise(seeds, (architecture.latent_dim, NATIVE_LENGTH // architecture.patch)).to(device)
    return SAMPLERS[settings["sampler"]](predict, noise, time_grid(settings["n_steps"]))


@torch.no_grad()
def decode(networks: TwinNetworks, latents: Tensor) -> NDArray[np.float32]:
    """Turn latents into 8-lead signals ``(n, 8, 1000)`` in mV."""
    return networks.autoencoder.decode(latents).cpu().numpy()


@torch.no_grad()
def denoising_errors(
    networks: TwinNetworks,
    signals: NDArray[Any],
    bases: Tensor,
    conditions: Sequence[Condition],
    seeds: Seeds,
    *,
    batch_size: int,
) -> NDArray[np.float64]:
    """Return how badly each recording ``(n, 12, 1000)`` is recovered from noise, ``(n,)``.

    The mean squared error of the velocity over `PROBE_TIMES`, person and condition given.
    """
    architecture, device = networks.architecture, networks.autoencoder.basis.device
    shape = (len(PROBE_TIMES), architecture.latent_dim, NATIVE_LENGTH // architecture.patch)
    leads = np.ascontiguousarray(independent_leads(signals), dtype=np.float32)
    errors = np.zeros(len(signals))
    for start in range(0, len(signals), batch_size):
        rows = slice(start, start + batch_size)
        clean = networks.autoencoder.encode(torch.from_numpy(leads[rows]).to(device))
        base, known = bases[rows].to(device), encode_conditions(conditions[rows]).to(device)
        person = torch.ones(len(clean), dtype=torch.bool, device=device)
        for t, noise in zip(PROBE_TIMES, row_noise(seeds[rows], shape).to(device).unbind(1), strict=True):
            time = torch.full((len(clean),), float(t), device=device)
            found = networks.denoiser(t * clean + (1 - t) * noise, time, base, person, known)
            error = ((found - clean) / (1 - t)).square().mean(dim=(1, 2))
            errors[rows] += error.double().cpu().numpy() / len(PROBE_TIMES)
    return errors


def like_reference(leads: NDArray[np.float32], reference: ECG | None) -> NDArray[np.float32]:
    """Bring native 8-lead signals to the rate, length and lead order of the reference."""
    if reference is None:
        return twelve_leads(leads)
    seconds = min(reference.seconds, NATIVE_LENGTH / NATIVE_RATE)
    n_times = round(seconds * reference.sampling_rate)
    signals = twelve_leads(resample(leads, NATIVE_RATE, reference.sampling_rate)[..., :n_times])
    names = reference.leads or LEADS
    if len(names) != 12:
        return signals
    return np.ascontiguousarray(signals[:, [LEADS.index(name) for name in names]])
