"""`TwinAugmenter`: twins among the training recordings of a scikit-learn or imbalanced-learn Pipeline."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data
from tqdm.auto import tqdm

from .conditions import Condition
from .diffusion import row_seeds
from .ecg import check_rate
from .exceptions import InputError
from .generator import ECGTwinGenerator
from .leads import LEADS
from .pretrained import WEIGHTS
from .quality import MIN_SECONDS
from .recordings import as_conditions, as_references, native_batches, person_names, warn_of_content
from .request import MAX_SECONDS
from .resampling import (
    REFERENCES,
    Labels,
    SamplingStrategy,
    TwinPlan,
    label_conditions,
    labels_of_rows,
    plan_balance,
    plan_person,
    plan_replacement,
    twins_wanted,
)

Array = NDArray[Any]
MODES = ("replace", "append")


@lru_cache(maxsize=4)
def shared_generator(name: str | Path, saved_at: int = 0) -> ECGTwinGenerator:
    """Return the generator of a name, loaded once in a process; again where a folder's weights are new."""
    return ECGTwinGenerator.from_pretrained(name)


def _saved_at(name: str | Path) -> int:
    """When the weights of a folder were written; 0 where the name is of no folder."""
    weights = Path(name) / WEIGHTS
    return weights.stat().st_mtime_ns if weights.is_file() else 0


def _seeds(random_state: Any, n: int) -> list[int]:
    sequence = np.random.SeedSequence(row_seeds(random_state, 1)[0][0])
    return [int(seed) for seed in sequence.generate_state(n)]


def _in_mode(mode: str) -> Any:
    return available_if(lambda augmenter: augmenter.mode == mode)


class TwinAugmenter(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Put twins among training recordings: each of a person who is there, showing what its label says.

    Twins are made when training alone: what is predicted on is never touched. A twin inherits the
    person of its reference, so give `groups` to whatever splits the data later, or make the twins inside the
    split, as a pipeline does.

    Parameters
    ----------
    generator : str, path or ECGTwinGenerator
        Weights by name (loaded once, shared and never trained), or a generator. A fitted generator is used
        as it is; one that is not fitted is cloned and fitted on the training recordings alone. scikit-learn's
        `clone` forgets a fit, though not pretrained weights: wrap your own fitted generator in
        `sklearn.frozen.FrozenEstimator`.
    mode : {"replace", "append"}
        ``"replace"`` swaps rows for twins of the same person and label, which scikit-learn's Pipeline
        can do (`fit_transform`); ``"append"`` adds rows, which takes imbalanced-learn's Pipeline
        (`fit_resample`) or `TwinAugmentedClassifier`.
    p : float
        Of ``"replace"``: the share of rows that are swapped.
    sampling_strategy : str, float, dict or callable
        Of ``"append"``, as in imbalanced-learn: which classes get twins, and how many. ``"auto"`` brings
        every class to the size of the largest.
    references : {"same", "other", "any"}
        Of ``"append"``: whether a twin's person comes from the class that it is to show, from the others
        (a healthy person's PVC), or from all.
    label_map : dict, optional
        What each label shows, as `Condition.parse` reads it: ``{1: "PVC"}``. Keys are labels, or column
        numbers where `y` has one column for each class. By default labels that are conditions, such as
        ``"AFIB"``, speak for themselves; a twin of its own class otherwise shows what its reference does.
    sampling_rate : float, optional
        Of X, in Hz; by default that of the generator, which is 100 for weights by name.
    n_steps, guidance_scale, person_scale : optional
        Override the generator's own. A ``guidance_scale`` below 1 draws milder cases, which are more the
        person's own.
    random_state : int, RandomState, Generator or None
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    generator_ : ECGTwinGenerator
        What the twins were drawn with.
    sample_indices_ : int array
        Of the last training set returned: the row of X that each row is, or is a twin of.
    is_synthetic_ : bool array
        Which rows of it are twins.
    groups_ : array
        The person of each row, where `groups` was given, else of each row of X its own number.
    n_features_in_ : int
        Of `X`: its second dimension.

    Examples
    --------
    >>> from ecgtwin import TwinAugmenter
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecgs = make_ecgs(n_patients=6, n_records=2, random_state=0)
    >>> y = [c.statements[0] == "PVC" for c in ecgs.conditions]
    >>> augmenter = TwinAugmenter(mode="append", references="any", label_map={True: "PVC"}, random_state=0)
    >>> X, y = augmenter.fit_resample(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    >>> print(X.shape, y.mean(), augmenter.is_synthetic_.sum())
    (20, 12, 1000) 0.5 8
    """

    def __init__(
        self,
        generator: Any = "default",
        *,
        mode: str = "replace",
        p: float = 0.5,
        sampling_strategy: SamplingStrategy = "auto",
        references: str = "same",
        label_map: Mapping[Any, Any] | None = None,
        sampling_rate: float | None = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        person_scale: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.generator = generator
        self.mode = mode
        self.p = p
        self.sampling_strategy = sampling_strategy
        self.references = references
        self.label_map = label_map
        self.sampling_rate = sampling_rate
        self.n_steps = n_steps
        self.guidance_scale = guidance_scale
        self.person_scale = person_scale
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, groups: ArrayLike | None = None, conditions: Any = None) -> Self:
        """Make the generator ready; no twin is drawn.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t)
            Millivolts at `sampling_rate`; ``(n, t)`` is lead I.
        y : array (n,) or (n, k), optional
            Labels; ``"append"`` needs them.
        groups : array (n,), optional
            The person of each recording. By default every recording is another person's.
        conditions : sequence of n, optional
            What each recording shows, as `Condition.parse` reads it.

        Raises
        ------
        InputError
            If a parameter, or what belongs to X, cannot be used.
        """
        self._check(X, y, groups, conditions)
        return self

    @_in_mode("replace")
    def transform(self, X: Any) -> Array:
        """Return X as it is: what is predicted on is never touched."""
        check_is_fitted(self, "generator_")
        return self._validated(X, reset=False)

    @_in_mode("replace")
    def fit_transform(
        self, X: Any, y: Any = None, *, groups: ArrayLike | None = None, conditions: Any = None
    ) -> Array:
        """Fit, and return X with a share `p` of its rows swapped for twins of the same person and label.

        Parameters as in `fit`; returns an array of the shape of X.
        """
        X, labels, people, own = self._check(X, y, groups, conditions)
        shown = {} if labels is None else label_conditions(labels, self.label_map)
        entropy = row_seeds(self.random_state, 1)[0][0]
        plan = plan_replacement(labels, len(X), self.p, own, shown, np.random.default_rng(entropy))
        swapped = X.copy()
        swapped[plan.references] = self._twins(X, plan, own, entropy)
        self.sample_indices_ = np.arange(len(X))
        self.is_synthetic_ = np.isin(self.sample_indices_, plan.references)
        self.groups_ = people
        return swapped

    @_in_mode("append")
    def fit_resample(
        self, X: Any, y: Any, *, groups: ArrayLike | None = None, conditions: Any = None
    ) -> tuple[Array, Array]:
        """Return X and y with twins appended.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t)
            Millivolts at `sampling_rate`; ``(n, t)`` is lead I.
        y : array (n,) or (n, k)
            Labels, or 0 and 1 for each of k classes.
        groups : array (n,), optional
            The person of each recording.
        conditions : sequence of n, optional
            What each recording shows, as `Condition.parse` reads it.

        Returns
        -------
        X : array (n + m, 12, t) or (n + m, t)
        y : array (n + m,) or (n + m, k)
            The first n rows are those given.

        Raises
        ------
        InputError
            If there is no label, nobody to make a twin of, or nothing tells what a class shows.
        """
        if y is None:
            raise InputError("fit_resample requires y to be passed, but the target y is None")
        X, labels, people, own = self._check(X, y, groups, conditions)
        assert labels is not None
        entropy = row_seeds(self.random_state, 1)[0][0]
        plan = plan_balance(
            labels,
            twins_wanted(labels, self.sampling_strategy),
            own,
            label_conditions(labels, self.label_map),
            self.references,
            np.random.default_rng(entropy),
        )
        self.sample_indices_ = np.concatenate([np.arange(len(X)), plan.references])
        self.is_synthetic_ = np.arange(len(self.sample_indices_)) >= len(X)
        self.groups_ = people[self.sample_indices_]
        twins = self._twins(X, plan, own, entropy)
        return np.concatenate([X, twins]), np.concatenate([labels.y, plan.labels])

    def twins_of(
        self,
        references: Any,
        classes: ArrayLike | None = None,
        *,
        reference_condition: Any = None,
        n_samples: int = 32,
        random_state: Any = None,
    ) -> tuple[Array, Array]:
        """Draw twins of one person under each class, shaped as the recordings of the last fit.

        Parameters
        ----------
        references : ECG, path, array (n_leads, t), ... or a list of them
            Recordings of the person; several are pooled, and twins go on from what the first one shows.
        classes : array (k,), optional
            Labels that `label_map` tells the condition of, or column numbers where `y` had a column for each
            class; by default all of the last fit.
        reference_condition : Condition, str, ... or a list of them, optional
            What the recordings show.
        n_samples : int
            Twins of each class.
        random_state : int, RandomState, Generator or None

        Returns
        -------
        X : array (k * n_samples, 12, t) or (k * n_samples, t)
        y : array (k * n_samples,) or (k * n_samples, n_columns)
            With a column for each class, a twin belongs to all classes that it shows: to the one it was drawn
            for, and to those of the recordings that do not contradict it.

        Raises
        ------
        InputError
            If nothing tells what a class shows, or a recording is no usable ECG.
        """
        check_is_fitted(self, "generator_")
        if self._labels is None and classes is None:
            raise InputError("the last fit had no y: say which classes the twins are of")
        rate = self.generator_.sampling_rate
        known = [ecg.resample(rate) for ecg in as_references(references, rate, reference_condition)]
        labels = self._labels
        chosen = [] if classes is None else np.unique(classes).tolist()
        if labels is None or (labels.y.ndim == 1 and not {*chosen} <= {*labels.classes.tolist()}):
            labels = Labels.of(np.array(chosen))
        wanted = labels.classes.tolist() if classes is None else chosen
        shown = label_conditions(labels, self.label_map)
        if lacking := [c for c in wanted if c not in shown]:
            raise InputError(f"label_map does not say what a recording of class {lacking[0]!r} shows")
        plan = plan_person(labels, wanted, known[0].condition, shown)
        n_times = self._shape[-1]
        drawn = [
            self.generator_.sample(
                [ecg.select([lead for lead in LEADS if lead in (ecg.leads or LEADS)]) for ecg in known],
                target,
                n_samples=n_samples,
                duration=max(n_times / rate, MIN_SECONDS),
                n_steps=self.n_steps,
                guidance_scale=self.guidance_scale,
                person_scale=self.person_scale,
                random_state=seed,
            )
            for (_, target), seed in zip(plan, _seeds(random_state, len(plan)), strict=True)
        ]
        twins = self._like_rows(np.concatenate(drawn)[..., :n_times])
        return twins, np.repeat([label for label, _ in plan], n_samples, axis=0)

    def _validated(self, X: Any, *, reset: bool) -> Array:
        return validate_data(self, X, reset=reset, allow_nd=True, dtype=[np.float32, np.float64])

    def _check(
        self, X: Any, y: Any, groups: Any, conditions: Any
    ) -> tuple[Array, Labels | None, Array, Sequence[Condition] | None]:
        """Check parameters and data, and fit the generator where that was asked for."""
        for name, known in (("mode", MODES), ("references", REFERENCES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.mode == "replace" and self.references != "same":
            raise InputError("a row is replaced by a twin of its own person: references must be 'same'")
        if not 0 <= self.p <= 1:
            raise InputError(f"p must be a number from 0 to 1, got {self.p!r}")
        scale = self.guidance_scale
        scale = getattr(self.generator, "guidance_scale", None) if scale is None else scale
        if self.mode == "append" and scale == 0:
            raise InputError("guidance_scale=0 leaves out what the class of a twin is to show")
        X = self._validated(X, reset=True)
        self._shape = X.shape[1:]
        n = _num_samples(X)
        labels = None
        if y is not None:
            y = labels_of_rows(y, n)
            if self.mode == "append":
                check_classification_targets(y)
            if not type_of_target(y).startswith("continuous"):  # a number to regress on is no class
                labels = Labels.of(y)
        # Of labels a patient's twins need the classes, and whether they are columns.
        self._labels = None if labels is None else replace(labels, y=labels.y[:0], member=labels.member[:0])
        own = None if conditions is None else as_conditions(conditions, None, n)
        people = np.arange(n) if groups is None else person_names(groups, n)
        self.generator_ = self._ready_generator(X, groups, own)
        return X, labels, people, own

    def _ready_generator(self, X: Array, groups: Any, own: Sequence[Condition] | None) -> ECGTwinGenerator:
        generator = self.generator
        if isinstance(generator, str | Path):
            generator = clone(shared_generator(generator, _saved_at(generator)))
        elif isinstance(generator, FrozenEstimator):
            generator = generator.estimator
        if not isinstance(generator, ECGTwinGenerator):
            raise InputError(f"generator must be a name or an ECGTwinGenerator, got {generator!r}")
        rate = generator.sampling_rate if self.sampling_rate is None else self.sampling_rate
        seconds = X.shape[-1] / check_rate(rate)
        if seconds > MAX_SECONDS:
            raise InputError(
                f"recordings last {seconds:g} s, twins {MAX_SECONDS:g} s at most: cut X into windows, "
                "and repeat y, groups and conditions for each"
            )
        if not hasattr(generator, "networks_"):
            return self._at_rate(clone(generator)).fit(X, groups=groups, conditions=own)
        if self.sampling_rate is not None:
            generator = self._at_rate(copy.copy(generator))
        warn_of_content(native_batches(X, generator.sampling_rate), stacklevel=5)
        return generator

    def _at_rate(self, generator: ECGTwinGenerator) -> ECGTwinGenerator:
        if self.sampling_rate is not None:
            generator.set_params(sampling_rate=self.sampling_rate)
        return generator

    def _twins(self, X: Array, plan: TwinPlan, own: Sequence[Condition] | None, entropy: int) -> Array:
        """Draw the twins of a plan in batches: an array like X, of the same leads and length."""
        if not len(plan.references):
            return X[:0]
        seconds = X.shape[-1] / check_rate(self.generator_.sampling_rate)
        with tqdm(total=len(plan.references), desc="twins", disable=not self.verbose) as bar:
            twins = self.generator_.sample_each(
                X[plan.references],
                plan.conditions,
                reference_conditions=None if own is None else [own[row] for row in plan.references],
                duration=max(seconds, MIN_SECONDS),
                n_steps=self.n_steps,
                guidance_scale=self.guidance_scale,
                person_scale=self.person_scale,
                random_state=entropy,
                callback=lambda done, _: bar.update(done - bar.n),
            )
        return self._like_rows(twins)[..., : X.shape[-1]].astype(X.dtype)

    def _like_rows(self, twins: Array) -> Array:
        """Return twins ``(n, 12, t)`` with the leads of the rows fitted on."""
        return twins[:, 0] if len(self._shape) == 1 else twins[:, : self._shape[0]]

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what `set_fit_request` asked for, which holds for `fit_resample` too."""
        request = super().get_metadata_routing()
        if hasattr(request, "fit_resample"):  # imbalanced-learn, once imported, adds it to all estimators
            for parameter, alias in request.fit.requests.items():
                if alias is not None:
                    request.fit_resample.add_request(param=parameter, alias=alias)
        return request

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.mode == "append"
        tags.input_tags.three_d_array = True
        if self.mode == "append":
            tags.transformer_tags = None
        return tags
