"""`ECGTwinGenerator`: this person's ECG under the condition asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from . import pretrained as store
from .conditions import Condition
from .diffusion import row_seeds
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE, check_rate
from .editing import N_STEPS, Edit, edit
from .exceptions import InputError
from .explanation import Explanation, explain
from .leads import LEADS
from .output import twelve_at
from .provenance import provenance
from .recordings import (
    Persons,
    as_conditions,
    as_recorded,
    check_count,
    check_same_leads,
    checked,
    held_to,
    native_batches,
    training_data,
)
from .request import (
    Request,
    check_duration,
    check_settings,
    check_twins_fit,
    native_length,
    what_to_draw,
)
from .sampling import denoising_errors, draw, twin_batches
from .training import StageSettings, fit_networks, stages_after
from .weights import PretrainedWeights


class ECGTwinGenerator(PretrainedWeights):
    """Draw personal ECGs: a reference of a person and a condition give ECGs of this person under it.

    First the rhythm is drawn, then a flow over latents, conditioned by two pathways: the person's base
    vector through adaptive normalisation, and statements, age and sex as tokens through
    cross-attention. The flow sees what the person's beats would be to first order, in their places.

    Parameters
    ----------
    pretrained : str or path, optional
        Weights to start `fit` from, as `from_pretrained` names them. None starts from nothing.
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
        How far twins go from what the person shows (0, statements are left out) to what is asked for (1).
        The rhythm, a P wave that is there or not, and a pacemaker go all the way at any number above 0. Above
        1 the flow exaggerates. None takes what was chosen for the weights.
    person_scale : float, optional
        How much the person is; at 0 each twin is of another invented person.
    noise_scale : float, optional
        How much noise of electrodes twins have: 1 as the recordings learned from, 0 none.
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
        ``n_steps``, ``sampler``, ``guidance_scale``, ``person_scale``, ``beat_variation`` (how much of the
        differences between beats is kept), ``counterfactual_share`` (how much of a typical beat is the
        counterfactual one) and ``noise_scale`` chosen for the weights.
    training_ : dict
        Where the weights come from.
    source_ : str, path or None
        The name of pretrained weights, which `sklearn.base.clone` then keeps; None after a fit.
    n_features_in_ : int
        Of a fit on a table ``(n, t)``: its width.
    weights_sha256_ : str
        Digest of the file that the weights came from or would be saved as.

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
        noise_scale: float | None = None,
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
        self.noise_scale = noise_scale
        self.checkpoint_dir = checkpoint_dir
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, groups: ArrayLike | None = None, conditions: Any = None) -> Self:
        """Train autoencoder, extractor and denoiser.

        Parameters
        ----------
        X : array (n, 12, t) or list of recordings
            Millivolts; at least 2.5 s, of which at most 10 s are used.
        y : ignored
        groups : array (n,), optional
            The person of each recording. Persons with several recordings teach the most. By default every
            recording is another person's, with a warning.
        conditions : sequence of n, optional
            What each recording shows, as `Condition.parse` reads it. Without, no twin can be asked to
            show anything.

        Raises
        ------
        InputError
            If there are fewer than two persons, or recordings differ in their leads.
        """
        check_count("batch_size", self.batch_size)
        check_count("max_epochs", self.max_epochs)
        X = checked(self, X, reset=True)
        data = training_data(X, groups, conditions, self.sampling_rate)
        check_same_leads(data.leads)
        seed = row_seeds(self.random_state, 1)[0][0]
        before = store.start(self.pretrained, self.architecture, seed)
        networks = before.networks.to(store.find_device(self.device))
        new = not networks.autoencoder.is_fitted  # as where an extractor alone was trained
        stages, distilled = stages_after(before.sampling, before.training, new=new)
        settings = StageSettings(
            extractor_epochs=-(-self.max_epochs // 2),
            interaction_epochs=min(StageSettings.interaction_epochs, self.max_epochs),
            witness_epochs=min(StageSettings.witness_epochs, self.max_epochs),
            transfer_epochs=min(StageSettings.transfer_epochs, self.max_epochs),
            denoiser_epochs=self.max_epochs,
            distillation_epochs=min(10, self.max_epochs),
            distilled=distilled,
            extractor_batch=self.batch_size,
            transfer_batch=self.batch_size,
            denoiser_batch=self.batch_size,
            extractor_learning_rate=self.learning_rate,
            denoiser_learning_rate=self.learning_rate,
        )
        fit_networks(
            networks,
            data,
            settings,
            stages=stages,
            seed=seed,
            checkpoint_dir=None if self.checkpoint_dir is None else Path(self.checkpoint_dir),
            verbose=self.verbose,
        )
        described = {
            "recordings": len(data),
            "persons": len(np.unique(data.groups)),
            "epochs": self.max_epochs,
            **store.started_from(before),
        }
        return self._take(store.Checkpoint(networks, before.sampling, described))

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
        duration: float | None = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        noise_scale: float | None = None,
        random_state: Any = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Draw twins.

        Parameters
        ----------
        reference : ECG, path, array (n_leads, n_times), wfdb.Record, ... or a list of them, or None
            One or several recordings of the person; several are pooled. Any subset of the leads will do.
            With None each twin is of another invented person.
        condition : Condition, str, ... optional
            What the twin is to show, as `Condition.parse` reads it: exactly this. Statements without a rhythm
            among them are shown in sinus rhythm, with what goes with them in PTB-XL. None leaves it open.
        n_samples : int
        age : float, optional
            Years; by default the reference's own, where known.
        sex : {"F", "M"}, optional
            Likewise.
        heart_rate : float, optional
            Beats per minute, met within a percent as far as beats can be told apart (to about 200); by
            default drawn as the condition and the person's own rate suggest.
        reference_condition : Condition, str, ... or a list of them, optional
            What the reference shows; by default its own ``condition``. A list has one for each reference.
        duration : float, optional
            Seconds, from 2.5 to an hour, drawn without seams; by default those of the reference, 10 at most.
        n_steps, guidance_scale, person_scale, noise_scale : optional
            Override the generator's own. At a ``guidance_scale`` of 0 nothing of the condition but its heart
            rate counts, and of an invented person age and sex.
        random_state : int, RandomState, Generator or None
            Twin i of a seed is the same whatever n_samples is.
        callback : callable, optional
            Called with (twins done, n_samples) after every batch.

        Returns
        -------
        float32 array of shape (n_samples, n_leads, n_times)
            Millivolts, at the reference's rate, length (10 s at most, unless `duration` says otherwise) and
            lead order; all twelve leads in standard order where the reference lacks some.

        Raises
        ------
        InputError
            If the reference is no usable ECG.
        ConditionError
            If the condition is not known.
        """
        request = self._request(
            reference,
            condition,
            n_samples=n_samples,
            age=age,
            sex=sex,
            heart_rate=heart_rate,
            reference_condition=reference_condition,
            duration=duration,
            n_steps=n_steps,
            guidance_scale=guidance_scale,
            person_scale=person_scale,
            noise_scale=noise_scale,
            random_state=random_state,
        )
        return self._twins(request, callback)

    def sample_batches(
        self,
        reference: Any,
        condition: Any = None,
        *,
        callback: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Iterator[NDArray[np.float32]]:
        """Draw any number of twins batch by batch, with the options of `sample`.

        Everything is checked at once; then each step draws ``batch_size`` twins, so that memory does not
        grow with ``n_samples``. Joined, the batches are what `sample` returns.

        Returns
        -------
        iterator of float32 arrays of shape (up to batch_size, n_leads, n_times)

        Examples
        --------
        >>> generator = ECGTwinGenerator.from_pretrained(batch_size=2)
        >>> batches = generator.sample_batches(None, "PVC", n_samples=5, random_state=0)
        >>> [len(batch) for batch in batches]
        [2, 2, 1]
        """
        request = self._request(reference, condition, **options)
        return twin_batches(self.networks_, request, batch_size=self.batch_size, callback=callback)

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
        request = self._request(reference, condition, **options)
        signals = self._twins(request, callback)
        like = request.like
        return [
            ECG(
                signal,
                leads=request.leads,
                sampling_rate=request.sampling_rate,
                patient_id=None if like is None else like.patient_id,
                condition=request.target,
                comments=provenance(request.target, seed, request.settings, self.weights_sha256_),
            )
            for signal, seed in zip(signals, request.seeds(), strict=True)
        ]

    def edit(
        self,
        recording: Any,
        condition: Any = None,
        *,
        add: Any = None,
        remove: Any = None,
        strength: float = 1.0,
        age: float | None = None,
        sex: str | None = None,
        heart_rate: float | None = None,
        recording_condition: Any = None,
        n_steps: int = N_STEPS,
    ) -> ECG:
        """Change the condition of a recording, and nothing else: its own beats stay in their places.

        Beats are moved where the heart rate or a statement about rhythm changes. What the condition does
        to their shape is a difference of two flows, from the noise that the recording comes from: under
        the new condition less under its own. The same call gives the same edit.

        Parameters
        ----------
        recording : ECG, path, array (n_leads, n_times), wfdb.Record, ...
            Millivolts; of any length from 2.5 s and any leads.
        condition : Condition, str, ... optional
            What it is to show, exactly. Without it, what it shows now, but for the changes below.
        add, remove : Condition, str, ... optional
            Statements to add, before which those that contradict them give way, or to remove. Age, sex and
            heart rate that `add` names are what they are to be.
        strength : float
            0 leaves the recording as it is, 1 is the condition as learned, up to 3 exaggerates it.
        age, sex, heart_rate : optional
            Years; "F" or "M"; beats per minute. By default the recording's own.
        recording_condition : Condition, str, ... optional
            What the recording shows; by default its own ``condition``, and where that names no statement
            what the person's base vector tells.
        n_steps : int
            Of the flow, back and forth; each takes six evaluations of the network.

        Returns
        -------
        ECG
            At the recording's rate, length, leads and lead order, marked as synthetic. Where nothing changes,
            as at strength 0, it is the recording itself, marked as a patient's unless it is synthetic.

        Raises
        ------
        InputError
            If the recording is no usable ECG, has fewer than three beats, strength is out of range, or what
            to add or remove names nothing.
        ConditionError
            If a condition is not known.

        Examples
        --------
        >>> from ecgtwin import ECGTwinGenerator, load_example
        >>> faster = ECGTwinGenerator.from_pretrained().edit(load_example(), heart_rate=90)
        >>> round(faster.heart_rate)
        90
        """
        check_is_fitted(self, "networks_")
        wanted = Edit.of(
            self.networks_,
            recording,
            condition,
            sampling_rate=self.sampling_rate,
            add=add,
            remove=remove,
            strength=strength,
            age=age,
            sex=sex,
            heart_rate=heart_rate,
            recording_condition=recording_condition,
        )
        settings = self._settings(n_steps=n_steps, guidance_scale=None, person_scale=None)
        settings["guidance_scale"] = max(1.0, settings["guidance_scale"])  # how far it goes is `strength`
        return edit(self.networks_, wanted, settings, n_steps=n_steps)

    def explain(self, reference: Any, condition: Any, **options: Any) -> Explanation:
        """Draw a twin as `sample` does and say what each statement of its condition moved in it.

        Parameters
        ----------
        reference : ECG, path, array (n_leads, n_times), ... or a list of them, or None
            As in `sample`.
        condition : Condition, str, ...
            At least one statement.
        **options
            As in `sample`, but one twin is drawn: ``age``, ``sex``, ``heart_rate``, ``reference_condition``,
            ``n_steps``, ``guidance_scale``, ``person_scale``, ``noise_scale``, ``random_state``.

        Returns
        -------
        Explanation
            The twin, and arrays ``(n_statements, n_leads, n_times)`` in mV.

        Raises
        ------
        InputError
            If the reference is no usable ECG, or the condition names no statement.
        ConditionError
            If the condition is not known.

        Examples
        --------
        >>> from ecgtwin import ECGTwinGenerator, load_example
        >>> generator = ECGTwinGenerator.from_pretrained()
        >>> found = generator.explain(load_example(), "SR, PVC", random_state=0)
        >>> found.statements, found.moved.shape
        (('PVC', 'SR'), (2, 12, 5000))
        """
        return explain(self.networks_, self._request(reference, condition, n_samples=1, **options))

    def sample_each(
        self,
        references: NDArray[Any],
        conditions: Sequence[Any],
        *,
        reference_conditions: Sequence[Any] | None = None,
        duration: float | None = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        noise_scale: float | None = None,
        random_state: Any = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Draw one twin of each of many persons, in large batches.

        Parameters
        ----------
        references : array (n, 12, t) or (n, t)
            Millivolts at the generator's ``sampling_rate``; ``(n, t)`` is lead I alone.
        conditions : sequence of n
            What each twin is to show, as in `sample`: exactly this, age and sex included.
        reference_conditions : sequence of n, optional
            What each reference shows.
        duration, n_steps, guidance_scale, person_scale, noise_scale, random_state, callback
            As in `sample`.

        Returns
        -------
        float32 array (n, 12, t)
            Millivolts, in standard lead order, at the rate and length (10 s at most, unless `duration` says
            otherwise) of the references.

        Raises
        ------
        InputError, ValueError
            If references and conditions do not fit together, or a value is not finite.
        """
        settings = self._settings(
            n_steps=n_steps,
            guidance_scale=guidance_scale,
            person_scale=person_scale,
            noise_scale=noise_scale,
        )
        seconds = check_duration(duration)
        targets, persons, _ = self._persons(references, conditions, reference_conditions)
        leads = draw(
            self.networks_,
            persons,
            what_to_draw(targets, settings),
            row_seeds(random_state, len(targets)),
            settings,
            batch_size=self.batch_size,
            length=native_length(seconds),
            callback=callback,
        )
        rate = check_rate(self.sampling_rate)
        if seconds is None:
            seconds = min(np.shape(references)[-1] / rate, NATIVE_LENGTH / NATIVE_RATE)
        return twelve_at(leads, rate, round(seconds * rate))

    def score_samples(
        self, X: NDArray[Any], conditions: Sequence[Any] | None = None, *, random_state: Any = 0
    ) -> NDArray[np.float64]:
        """Return how well the flow knows each recording: minus its denoising error, its own person given.

        This is what an attacker would look at to tell training patients from others.

        Parameters
        ----------
        X : array (n, 12, t)
            Millivolts; of 10 s at least, or the last sample is held to that, with a warning.
        conditions : sequence of n, optional
            What each recording shows.
        random_state : int, RandomState, Generator or None
            Of the noise, which is the same for every recording.

        Returns
        -------
        array (n,)
            Higher for recordings that are recovered better.

        Raises
        ------
        InputError
            If X and conditions do not fit together.
        """
        X = checked(self, X, reset=False)
        known, persons, signals = self._persons(X, conditions, conditions)
        signals = held_to(signals, NATIVE_LENGTH)
        return -denoising_errors(
            self.networks_,
            signals[..., :NATIVE_LENGTH],
            persons,
            known,
            row_seeds(random_state, 1) * len(signals),
            batch_size=self.batch_size,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _persons(
        self, references: Any, conditions: Any, reference_conditions: Any
    ) -> tuple[Sequence[Condition], Persons, NDArray[np.float32]]:
        """Read what belongs to many persons: conditions asked for, what is their own, native signals."""
        check_is_fitted(self, "networks_")
        check_count("batch_size", self.batch_size)
        if isinstance(references, list):
            if any(isinstance(one, ECG) for one in references):
                raise InputError(
                    "many persons are one array (n, 12, t) at the generator's sampling rate; "
                    "`sample` takes ECG objects, one person at a time"
                )
            references = np.asarray(references)
        (batch,) = native_batches(references, self.sampling_rate)
        signals, present = as_recorded(*batch)
        targets = as_conditions(conditions, None, len(signals))
        own = as_conditions(reference_conditions, None, len(signals))
        return targets, Persons.of(self.networks_, signals, present, own), signals

    def _request(
        self,
        reference: Any,
        condition: Any,
        *,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        noise_scale: float | None = None,
        **options: Any,
    ) -> Request:
        check_is_fitted(self, "networks_")
        check_count("batch_size", self.batch_size)
        settings = self._settings(
            n_steps=n_steps,
            guidance_scale=guidance_scale,
            person_scale=person_scale,
            noise_scale=noise_scale,
        )
        return Request.of(reference, condition, settings, sampling_rate=self.sampling_rate, **options)

    def _twins(self, request: Request, callback: Callable[[int, int], None] | None) -> NDArray[np.float32]:
        check_twins_fit(request)
        twins = np.empty((request.n_samples, len(LEADS), request.n_times), dtype=np.float32)
        size = self.batch_size
        for _ in twin_batches(self.networks_, request, batch_size=size, callback=callback, out=twins):
            pass
        return twins

    def _settings(self, **given: Any) -> dict[str, Any]:
        settings = dict(self.sampling_)
        for source in ({key: getattr(self, key) for key in given}, given):
            settings.update({key: value for key, value in source.items() if value is not None})
        return check_settings(settings)

    def _take(self, checkpoint: store.Checkpoint) -> Self:
        store.check_draws(checkpoint)
        return super()._take(checkpoint)
