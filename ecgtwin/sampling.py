"""From persons and conditions to signals: what `ECGTwinGenerator` draws with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .beats import r_peaks
from .conditions import STATEMENTS, Condition
from .diffusion import SAMPLERS, Predict, Seeds, guided, row_electrodes, row_noise, time_grid
from .ecg import NATIVE_LENGTH, NATIVE_RATE
from .electrodes import ELECTRODES, cleaned, electrode_noise, sharpened
from .exceptions import QualityWarning
from .given import TRIES, conditioning, draw_rhythms, whom_to_draw
from .heartbeats import Places, has_ectopic_beat, steady_beats, usual_beats, with_typical_beat
from .leads import independent_leads
from .nn import Conditioning, Told, TwinNetworks, encode_conditions, statement_matrix
from .nn.conditioning import NO_P_WAVE
from .nn.peaks import as_peaks
from .output import twelve_at
from .recordings import Persons
from .request import Request
from .rhythm import BEAT, BEFORE

PROBE_TIMES = np.linspace(0.1, 0.8, 8)
"""Times of the flow at which a recording's denoising error is taken."""

_PVC = STATEMENTS.index("PVC")
_PVC_ALONE = [number + 1 for number in (_PVC, *NO_P_WAVE)]
"""Numbers of statements, as `ConditionArrays` has them."""
_WAVES, _EDGE = ((-6, BEFORE - 6), (BEFORE - 12, BEFORE + 18), (BEFORE + 12, BEAT + 6)), 6
"""Samples of a beat that hold P, QRS, and ST with T, and over which these come and go."""

WINDOW, HOP = NATIVE_LENGTH, 800
"""Samples that the flow sees at once in a long twin, and from one window to the next."""


def draw(
    networks: TwinNetworks,
    persons: Persons,
    targets: Sequence[Condition],
    seeds: Seeds,
    settings: dict[str, Any],
    *,
    batch_size: int,
    length: int = NATIVE_LENGTH,
    callback: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Draw native 8-lead twins ``(n, 8, length)`` in mV of n persons; length is a multiple of 40.

    Where the device has too little memory for a batch, the batch is halved: a twin does not depend on it.
    """
    leads: list[NDArray[np.float32]] = []
    start = 0
    while start < len(seeds):
        at_once = max(1, batch_size * NATIVE_LENGTH // length)
        rows = slice(start, min(start + at_once, len(seeds)))
        try:
            asked, some = targets[rows], seeds[rows]
            people, scales = whom_to_draw(networks, persons[rows], asked, some, settings)
            strength = scales["guidance_scale"]
            given = draw_rhythms(networks, people, asked, some, length, strength=strength)
            latents, _ = draw_shown(networks, given, some, scales, batch_size=batch_size)
            leads.append(decode(networks, latents, given, some, scales))
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            torch.cuda.empty_cache()
            windows = (rows.stop - start) * -(-length // NATIVE_LENGTH)
            batch_size = (min(batch_size, windows) + 1) // 2
            message = f"too little memory on the device: going on with batches of {batch_size}"
            warnings.warn(message, QualityWarning, stacklevel=5)
            continue
        start = rows.stop
        if callback is not None:
            callback(start, len(seeds))
    return np.concatenate(leads) if len(leads) > 1 else leads[0]


def twin_batches(
    networks: TwinNetworks,
    request: Request,
    *,
    batch_size: int,
    callback: Callable[[int, int], None] | None,
    out: NDArray[np.float32] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Draw the twins of a request batch by batch, each like its reference; written to `out` if given."""
    person = Persons.pooled(networks, request.references)
    for start in range(0, request.n_samples, batch_size):
        seeds = request.seeds(start, start + batch_size)
        n = len(seeds)
        leads = draw(
            networks,
            person.repeat(n),
            [request.target] * n,
            seeds,
            request.settings,
            batch_size=batch_size,
            length=request.length,
        )
        there = None if out is None else out[start : start + n]
        yield twelve_at(leads, request.sampling_rate, request.n_times, request.leads, there)
        if callback is not None:
            callback(start + n, request.n_samples)


def flow(networks: TwinNetworks, given: Conditioning, settings: dict[str, Any]) -> Predict:
    """Return the guided prediction of clean latents, all of `given` in one batch."""
    told: dict[int, Told] = {}

    def denoise(
        x: Tensor, time: Tensor, has_condition: Tensor, has_person: Tensor, until: Tensor | None
    ) -> Tensor:
        times = len(x) // len(given)
        if times not in told:  # the same at every step
            told[times] = networks.tell(given.repeat(times), has_condition, has_person)
        return cast(Tensor, networks.denoiser(x, time, told[times], until))

    return guided(denoise, settings["guidance_scale"], settings["person_scale"])


@torch.no_grad()
def draw_shown(
    networks: TwinNetworks,
    given: Conditioning,
    seeds: Seeds,
    settings: dict[str, Any],
    *,
    batch_size: int = 128,
) -> tuple[Tensor, list[int]]:
    """Draw latents as `draw_latents` does, and again where PVC is asked for and is not there.

    The rhythm has the early beat; whether it comes from the ventricles the flow decides, by chance. It is
    drawn `TRIES` times at most, after the first as `asked_for_pvc`; of each twin is returned which attempt
    it is.
    """
    latents = draw_latents(networks, given, seeds, settings, batch_size=batch_size)
    attempts = [0] * len(given)
    asked = statement_matrix(given.conditions)[:, _PVC] > 0
    missing = (asked & ~given.paced).nonzero()[:, 0]
    for attempt in range(1, TRIES):
        if len(missing):
            leads = networks.autoencoder.decode(latents[missing])
            missing = missing[~has_ectopic_beat(leads, Places.of(given.offsets[missing]))]
        rows = missing.tolist()
        if not rows:
            break
        again = [seeds[row] for row in rows]
        alone = asked_for_pvc(given[missing])
        latents[missing] = draw_latents(
            networks, alone, again, settings, batch_size=batch_size, attempt=attempt
        )
        for row in rows:
            attempts[row] = attempt
    return latents, attempts


def asked_for_pvc(given: Conditioning) -> Conditioning:
    """Return what the flow is given, asked for PVC and for fibrillating atria alone.

    Of all else it is told by the beats that it is shown.
    """
    numbers = given.conditions.statements
    kept = torch.isin(numbers, torch.tensor(_PVC_ALONE, device=numbers.device))
    company = torch.maximum(given.company, statement_matrix(given.conditions))
    conditions = given.conditions.keep(F.pad(kept, (0, 3), value=True))
    return replace(given, conditions=conditions, company=company)


@torch.no_grad()
def draw_latents(
    networks: TwinNetworks,
    given: Conditioning,
    seeds: Seeds,
    settings: dict[str, Any],
    *,
    batch_size: int = 128,
    attempt: int = 0,
) -> Tensor:
    """Let noise flow to latents ``(n, latent_dim, tokens)``, at most `batch_size` windows in one batch."""
    architecture, length = networks.architecture, given.offsets.shape[1]
    noise = row_noise(seeds, (architecture.latent_dim, length // architecture.patch), attempt)
    noise = noise.to(networks.autoencoder.basis.device)
    if length <= WINDOW:
        predict = flow(networks, given, settings)
    else:
        predict = _flow_in_windows(networks, given, settings, batch_size)
    return SAMPLERS[settings["sampler"]](predict, noise, time_grid(settings["n_steps"]))


def _flow_in_windows(
    networks: TwinNetworks, given: Conditioning, settings: dict[str, Any], batch_size: int
) -> Predict:
    """Return the prediction for latents of any length, from windows of 10 s that overlap.

    At every step what two windows predict for the seconds that they share is mixed, from all of the one
    to all of the other; so both go on from the same state, and there is nothing to join in the end.

    References
    ----------
    Bar-Tal et al., MultiDiffusion: fusing diffusion paths for controlled image generation, ICML 2023, eq. 5.
    """
    patch, n = networks.architecture.patch, len(given)
    tokens = given.offsets.shape[1] // patch
    size, hop = WINDOW // patch, HOP // patch
    starts = [*range(0, tokens - size, hop), tokens - size]
    pieces = [(row, start) for start in starts for row in range(n)]
    edge = np.minimum(np.arange(size) + 0.5, np.arange(size)[::-1] + 0.5)
    weight = torch.from_numpy(np.minimum(edge / (size - hop), 1).astype(np.float32)).to(given.rates.device)
    total = torch.zeros(tokens, device=given.rates.device)
    for start in starts:
        total[start : start + size] += weight
    batches = []
    for first in range(0, len(pieces), batch_size):
        some = pieces[first : first + batch_size]
        batches.append((some, flow(networks, _cut(given, some, patch), settings)))

    def predict(x: Tensor, time: Tensor, until: Tensor | None = None) -> Tensor:
        found = torch.zeros_like(x)
        for some, of_windows in batches:
            rows = torch.tensor([row for row, _ in some], device=x.device)
            windows = torch.stack([x[row, :, start : start + size] for row, start in some])
            clean = of_windows(windows, time[rows], None if until is None else until[rows])
            for (row, start), one in zip(some, clean, strict=True):
                found[row, :, start : start + size] += weight * one
        return found / total

    return predict


def _cut(given: Conditioning, pieces: Sequence[tuple[int, int]], patch: int) -> Conditioning:
    """Return windows of `given` by row and first token, as rows."""
    rows = torch.tensor([row for row, _ in pieces], device=given.rates.device)
    offsets = [given.offsets[row, start * patch : start * patch + WINDOW] for row, start in pieces]
    rhythm = [given.rhythm[row, :, start : start + WINDOW // patch] for row, start in pieces]
    return replace(given[rows], offsets=torch.stack(offsets), rhythm=torch.stack(rhythm))


@torch.no_grad()
def decode(
    networks: TwinNetworks, latents: Tensor, given: Conditioning, seeds: Seeds, settings: dict[str, Any]
) -> NDArray[np.float32]:
    """Turn latents into 8-lead signals ``(n, 8, t)`` in mV: the beats of one heart, as electrodes hear it."""
    leads = networks.autoencoder.decode(latents)
    places = Places.of(given.offsets)
    beats, shares = counterfactual_beats(networks, given, settings)
    paced = given.paced
    clean = cleaned(steady_beats(leads, places, settings["beat_variation"], paced))
    leads = with_typical_beat(clean, places, beats, shares, usual_beats(clean, places, paced))
    if settings["noise_scale"]:
        drawn = row_electrodes(seeds, len(ELECTRODES), leads.shape[-1])
        normals, white = (torch.from_numpy(part).to(leads) for part in drawn)
        leads += electrode_noise(white, networks.electrodes.draw(normals) * settings["noise_scale"])
    return cast(NDArray[np.float32], leads.cpu().numpy())


@torch.no_grad()
def counterfactual_beats(
    networks: TwinNetworks, given: Conditioning, settings: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return counterfactual beats ``(n, 8, BEAT)`` of persons, and their shares of twins', of the same shape.

    The flow and what is expected of the person each tell the typical beat under the condition, with errors of
    their own. Of nobody, and of leads that the reference lacks, nothing is expected but the mean. Where a
    measurement defines a wave, this is the counterfactual one, which meets the criterion.
    """
    everybody = torch.ones(len(given), dtype=torch.bool, device=given.rates.device)
    known = given.residuals.any(dim=2, keepdim=True)
    place = torch.arange(BEAT, device=given.rates.device)
    waves = [torch.minimum(place - first, last - place).div(_EDGE).clamp(0, 1) for first, last in _WAVES]
    kept_to = (given.defined[:, :, None] * torch.stack(waves)).amax(dim=1) * known.all(dim=1)
    usual = settings["counterfactual_share"]
    share = (usual + (1 - usual) * kept_to)[:, None]
    share = share * min(settings["person_scale"], 1.0)
    return sharpened(given.beats(networks.prior, everybody)), known.float() * share


@torch.no_grad()
def denoising_errors(
    networks: TwinNetworks,
    signals: NDArray[Any],
    persons: Persons,
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
        peaks = as_peaks([r_peaks(signal, NATIVE_RATE) for signal in signals[rows]], device)
        given = conditioning(
            networks.prior, persons[rows], encode_conditions(conditions[rows]).to(device), peaks
        )
        yes = torch.ones(len(clean), dtype=torch.bool, device=device)
        told = networks.tell(given, yes, yes)
        for t, noise in zip(PROBE_TIMES, row_noise(seeds[rows], shape).to(device).unbind(1), strict=True):
            time = torch.full((len(clean),), float(t), device=device)
            x = t * clean + (1 - t) * noise
            found = networks.denoiser(x, time, told)
            error = ((found - clean) / (1 - t)).square().mean(dim=(1, 2))
            errors[rows] += error.double().cpu().numpy() / len(PROBE_TIMES)
    return errors
