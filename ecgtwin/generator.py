"""`ECGTwinGenerator`: this person's ECG under the condition asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from . import pretrained as store
from .conditions import Condition
from .diffusion import SAMPLERS, guided, row_noise, row_seeds, time_grid
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE, SYNTHETIC
from .exceptions import InputError, QualityWarning
from .leads import LEADS, resample, twelve_leads
from .nn import TwinNetworks, encode_conditions
from .recordings import as_references, check_batch_size, pooled_base_vectors, training_data
from .training import StageSettings, fit_networks

MAX_SAMPLES = 100_000


class ECGTwinGenerator(BaseEstimator):
    """Draw personal ECGs: a reference of a person and a condition give ECGs of this person under it.

    A flow over latents, conditioned by two pathways: the person's base vector through adaptive
    normalisation, and statements, age, sex and heart rate as tokens through cross-attention.

    Parameters
    ----------
    pretrained : str or path, optional
        Weights to start `fit` from: ``"default"`` (bundled), or a folder. None starts from nothing.
        Use `from_pretrained` for a generator that is ready.
    architecture : {"default", "tiny"}
        Size of the networks where `pretrained` is None.
    sampling_rate : float
        Of arrays, in Hz.
    max_epochs : int
        Length of the denoiser's training; the extractor takes half of it.
    batch_size : int
        Recordings per training step, and twins drawn at once.
    learning_rate : float
    n_steps : int, optional
        Steps of the flow; None takes what was chosen for the weights.
    guidance_scale : float, optional
        How much the condition is exaggerated; 1 is as learned, 0 leaves it out.
    person_scale : float, optional
        How much the person is; 0 draws from the population.
    checkpoint_dir : path, optional
        Where training writes its state, and resumes from.
    device : str
        ``"auto"`` takes CUDA where there is one.
    random_state : int, RandomState, Generator or None
        Of training; `sample` has its own.
    verbose : bool
        Show progress bars.

    Attributes
    ----------
    networks_ : TwinNetworks
    sampling_ : dict
        ``n_steps``, ``sampler``, ``guidance_scale`` and ``person_scale`` chosen for the weights.
    training_ : dict
        Where the weights come from.

    References
    ----------
    Lai et al., ECGTwin: personalized ECG generation using controllable diffusion model,
    arXiv 2508.02720 (2025).

    Examples
    --------
    >>> from ecgtwin import ECGTwinGenerator, load_example
    >>> generator = ECGTwinGenerator.from_pretrained()
    >>> twins = generator.sample(load_example(), "PVC", n_samples=2, random_state=0)
    >>> twins.shape  # at the reference's own 500 Hz
    (2, 12, 5000)
    """

    def __init__(
        self,
        *,
        pretrained: str | Path | None = None,
        architecture: str = "default",
        sampling_rate: float = 100.0,
        max_epochs: int = 120,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        checkpoint_dir: str | Path | None = None,
        device: str = "auto",
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.pretrained = pretrained
        self.architecture = architecture
        self.sampling_rate = sampling_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.n_steps = n_steps
        self.guidance_scale = guidance_scale
        self.person_scale = person_scale
        self.checkpoint_dir = checkpoint_dir
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "default", **init: Any) -> Self:
        """Return a fitted generator with the weights of a folder, or the bundled ones (no network needed).

        Raises
        ------
        CheckpointError
            If there are no such weights or they are damaged.
        """
        generator = cls(pretrained=name_or_path, **init)
        checkpoint = store.load(name_or_path)
        checkpoint.networks.to(store.find_device(generator.device))
        return generator._take(checkpoint)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> Path:
        """Write ``config.json`` and ``model.safetensors``; `half` stores float16. Return the folder."""
        check_is_fitted(self, "networks_")
        return store.save(store.Checkpoint(self.networks_, self.sampling_, self.training_), folder, half=half)

    def fit(self, X: Any, y: Any = None, *, groups: ArrayLike, conditions: Any) -> Self:
        """Train autoencoder, extractor and denoiser.

        Parameters
        ----------
        X : array (n, 12, t) or list of recordings
            Millivolts; at least 2.5 s, of which at most 10 s are used.
        y : ignored
        groups : array (n,)
            The person of each recording. Persons with several recordings teach the most.
        conditions : sequence of n
            What each recording shows, as `Condition.parse` reads it.

        Raises
        ------
        InputError
            If there are fewer than two persons, a recording is too short, or one lacks a lead.
        """
        check_batch_size(self.batch_size)
        data = training_data(X, groups, conditions, self.sampling_rate)
        if len(lacking := np.argwhere(~data.leads)):
            row, lead = lacking[0]
            raise InputError(f"recording {row} has no lead {LEADS[lead]}: twins are learned from all twelve")
        seed = row_seeds(self.random_state, 1)[0][0]
        networks = store.start(self.pretrained, self.architecture, seed)
        networks.to(store.find_device(self.device))
        settings = StageSettings(
            extractor_epochs=-(-self.max_epochs // 2),
            denoiser_epochs=self.max_epochs,
            extractor_batch=self.batch_size,
            denoiser_batch=self.batch_size,
            extractor_learning_rate=self.learning_rate,
            denoiser_learning_rate=self.learning_rate,
        )
        fit_networks(
            networks,
            data,
            settings,
            # Pretrained latents keep their meaning only under the transform they were learned with.
            stages=["autoencoder", "extractor", "denoiser"]
            if self.pretrained is None
            else ["extractor", "denoiser"],
            seed=seed,
            checkpoint_dir=None if self.checkpoint_dir is None else Path(self.checkpoint_dir),
            verbose=self.verbose,
        )
        described = {
            "recordings": len(data),
            "persons": len(np.unique(data.groups)),
            "epochs": self.max_epochs,
        }
        return self._take(store.Checkpoint(networks, dict(store.SAMPLING), described))

    def sample(
        self,
        reference: Any,
        condition: Any = None,
        *,
        n_samples: int = 1,
        age: float | None = None,
        sex: str | None = None,
        heart_rate: float | None = None,
        reference_condition: Any = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        random_state: Any = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Draw twins.

        Parameters
        ----------
        reference : ECG, path, array (n_leads, n_times), wfdb.Record, ... or a list of them, or None
            One or several recordings of the person; several are pooled. Any subset of the leads will do.
            None draws from the population.
        condition : Condition, str, ... optional
            What the twin is to show, as `Condition.parse` reads it: exactly this. None leaves it open.
        n_samples : int
        age : float, optional
            Years; by default the reference's own, where known.
        sex : {"F", "M"}, optional
            Likewise.
        heart_rate : float, optional
            Beats per minute; left to the model by default.
        reference_condition : Condition, str, ... or a list of them, optional
            What the reference shows; by default its own ``condition``. A list has one for each reference.
        n_steps, guidance_scale, person_scale : optional
            Override the generator's own.
        random_state : int, RandomState, Generator or None
            Twin i of a seed is the same whatever n_samples is.
        callback : callable, optional
            Called with (twins done, n_samples) after every batch.

        Returns
        -------
        float32 array of shape (n_samples, n_leads, n_times)
            Millivolts, at the reference's rate, length (10 s at most) and lead order; all twelve
            leads in standard order where the reference lacks some.

        Raises
        ------
        InputError
            If the reference is no usable ECG.
        ConditionError
            If the condition is not known.
        """
        plan = self._plan(
            reference,
            condition,
            n_samples=n_samples,
            age=age,
            sex=sex,
            heart_rate=heart_rate,
            reference_condition=reference_condition,
            n_steps=n_steps,
            guidance_scale=guidance_scale,
            person_scale=person_scale,
            random_state=random_state,
        )
        return self._twins(plan, callback)

    def sample_ecgs(
        self,
        reference: Any,
        condition: Any = None,
        *,
        callback: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> list[ECG]:
        """Draw twins as `sample` does, with the same options, and return them as `ECG` objects.

        Each has the reference's patient id, the condition asked for, and comments that say that it is
        synthetic, with seed and settings.
        """
        plan = self._plan(reference, condition, **options)
        signals = self._twins(plan, callback)
        like = plan.references[0] if plan.references else None
        settings = ", ".join(f"{key}: {value}" for key, value in plan.settings.items())
        return [
            ECG(
                signal,
                leads=like.leads if like is not None and len(like.leads or LEADS) == 12 else LEADS,
                sampling_rate=NATIVE_RATE if like is None else like.sampling_rate,
                patient_id=None if like is None else like.patient_id,
                condition=plan.target,
                comments=(SYNTHETIC, f"seed: {entropy}, row: {row}, {settings}"),
            )
            for signal, (entropy, row) in zip(signals, plan.seeds, strict=True)
        ]

    def _plan(
        self,
        reference: Any,
        condition: Any,
        *,
        n_samples: int = 1,
        reference_condition: Any = None,
        random_state: Any = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        **target: Any,
    ) -> _Plan:
        """Check everything that was asked for, before anything is drawn."""
        check_is_fitted(self, "networks_")
        check_batch_size(self.batch_size)
        if (
            isinstance(n_samples, bool)
            or not isinstance(n_samples, int | np.integer)
            or not 1 <= n_samples <= MAX_SAMPLES
        ):
            raise InputError(f"n_samples must be a whole number from 1 to {MAX_SAMPLES}, got {n_samples!r}")
        references = [] if reference is None else as_references(reference, self.sampling_rate)
        if reference_condition is not None:
            known = reference_condition if isinstance(reference_condition, list) else [reference_condition]
            known = known * len(references) if len(known) == 1 else known
            if len(known) != len(references):
                raise InputError(f"{len(known)} reference conditions for {len(references)} references")
            references = [replace(ecg, condition=one) for ecg, one in zip(references, known, strict=True)]
        asked = _target(condition, references, **target)
        for conflict in asked.conflicts():
            message = f"the condition asked for contradicts itself: {conflict}"
            warnings.warn(message, QualityWarning, stacklevel=4)
        settings = self._settings(n_steps=n_steps, guidance_scale=guidance_scale, person_scale=person_scale)
        if not references:
            settings["person_scale"] = 0.0
        return _Plan(references, asked, settings, row_seeds(random_state, int(n_samples)))

    def _twins(self, plan: _Plan, callback: Callable[[int, int], None] | None) -> NDArray[np.float32]:
        base = self._base_vector(plan.references).expand(len(plan.seeds), -1)
        leads = self._draw(base, [plan.target] * len(base), plan.seeds, plan.settings, callback)
        return _like_reference(leads, plan.references[0] if plan.references else None)

    def _settings(self, **given: Any) -> dict[str, Any]:
        settings = dict(self.sampling_)
        for source in ({key: getattr(self, key) for key in given}, given):
            settings.update({key: value for key, value in source.items() if value is not None})
        steps = settings["n_steps"]
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise InputError(f"n_steps must be a whole number from 1, got {steps!r}")
        for key in ("guidance_scale", "person_scale"):
            if not np.isfinite(settings[key]) or settings[key] < 0:
                raise InputError(f"{key} must be a number from 0, got {settings[key]!r}")
        return settings

    def _base_vector(self, references: list[ECG]) -> Tensor:
        """The pooled base vector ``(base_dim,)`` of all recordings; zero without any."""
        vectors = [torch.zeros(1, self.networks_.architecture.base_dim)]
        for ecg in references:
            signal, present = ecg.native()
            vectors.append(
                pooled_base_vectors(self.networks_.extractor, signal[None], present[None], [ecg.condition])
            )
        return torch.nn.functional.normalize(torch.cat(vectors).sum(dim=0), dim=0)

    def _draw(
        self,
        bases: Tensor,
        targets: Sequence[Condition],
        seeds: Sequence[tuple[int, int]],
        settings: dict[str, Any],
        callback: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Draw native 8-lead twins ``(n, 8, 1000)`` in mV of base vectors ``(n, base_dim)``."""
        networks, architecture = self.networks_, self.networks_.architecture
        device = networks.autoencoder.basis.device
        shape = (architecture.latent_dim, NATIVE_LENGTH // architecture.patch)
        parts = []
        for start in range(0, len(seeds), self.batch_size):
            rows = slice(start, start + self.batch_size)
            base = bases[rows].to(device)
            asked = encode_conditions(targets[rows]).to(device)

            def denoise(
                x: Tensor, time: Tensor, has_condition: Tensor, has_person: Tensor, given: Any = (base, asked)
            ) -> Tensor:
                repeats = len(x) // len(given[0])
                conditions = given[1].repeat(repeats).keep(has_condition[:, None])
                return networks.denoiser(x, time, given[0].repeat(repeats, 1), has_person, conditions)

            with torch.no_grad():
                predict = guided(denoise, settings["guidance_scale"], settings["person_scale"])
                noise = row_noise(seeds[rows], shape).to(device)
                latents = SAMPLERS[settings["sampler"]](predict, noise, time_grid(settings["n_steps"]))
                parts.append(networks.autoencoder.decode(latents).cpu().numpy())
            if callback is not None:
                callback(start + len(base), len(seeds))
        return np.concatenate(parts)

    def _take(self, checkpoint: store.Checkpoint) -> Self:
        self.networks_: TwinNetworks = checkpoint.networks
        self.sampling_ = dict(store.SAMPLING) | checkpoint.sampling
        self.training_ = checkpoint.training
        return self


@dataclass(frozen=True)
class _Plan:
    """What to draw: checked references, the full target, settings, and a seed for each twin."""

    references: list[ECG]
    target: Condition
    settings: dict[str, Any]
    seeds: list[tuple[int, int]]


def _target(condition: Any, references: list[ECG], **given: Any) -> Condition:
    target = Condition.parse(condition, **given)
    for ecg in references:
        if target.age is None and ecg.condition.age is not None:
            target = target.replace(age=ecg.condition.age)
        if target.sex is None and ecg.condition.sex is not None:
            target = target.replace(sex=ecg.condition.sex)
    return target


def _like_reference(leads: NDArray[np.float32], reference: ECG | None) -> NDArray[np.float32]:
    """Bring native 8-lead signals to the rate, length and lead order of the reference."""
    if reference is None:
        return twelve_leads(leads)
    seconds = min(reference.seconds, NATIVE_LENGTH / NATIVE_RATE)
    n_times = round(seconds * reference.sampling_rate)
    signals = twelve_leads(resample(leads, NATIVE_RATE, reference.sampling_rate)[..., :n_times])
    names = reference.leads or LEADS
    return (
        signals
        if len(names) != 12
        else np.ascontiguousarray(signals[:, [LEADS.index(name) for name in names]])
    )
