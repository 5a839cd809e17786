"""`IndividualBaseExtractor`: who is this ECG from?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from . import pretrained as store
from .diffusion import row_seeds
from .exceptions import InputError
from .nn import encode_conditions
from .recordings import (
    as_conditions,
    as_recorded,
    check_count,
    checked,
    native_batches,
    person_names,
    training_data,
    warn_of_content,
)
from .rhythm import Beats
from .training import StageSettings, base_vectors, fit_networks, retrieval_top1
from .weights import PretrainedWeights


class IndividualBaseExtractor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PretrainedWeights):
    """Turn ECGs into base vectors: near each other for one person, far apart for two.

    Trained by contrast between persons. What a recording's own condition explains is subtracted, so
    that the vector stands for the person and not for the day.

    Parameters
    ----------
    pretrained : str or path, optional
        Weights to start `fit` from, as `from_pretrained` names them. None starts from nothing.
    architecture : {"default", "tiny"}
        Size of the network where `pretrained` is None.
    sampling_rate : float
        Of arrays, in Hz.
    max_epochs, batch_size : int
        Length of training; a batch holds that many pairs of recordings.
    learning_rate : float
    checkpoint_dir : path, optional
        Where training writes its state, and resumes from.
    device : str
        ``"auto"`` takes CUDA where there is one.
    random_state : int, RandomState, Generator or None
        Of training.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    networks_ : TwinNetworks
    n_features_out_ : int
        Length of a base vector.
    source_ : str, path or None
        The name of pretrained weights, which `sklearn.base.clone` then keeps; None after a fit.
    n_features_in_ : int
        Of a fit on a table ``(n, t)``: its width.

    References
    ----------
    Lai et al., ECGTwin: personalized ECG generation using controllable diffusion model,
    arXiv 2508.02720 (2025), the Individual Base Extractor.

    Examples
    --------
    >>> from ecgtwin import IndividualBaseExtractor, load_example
    >>> extractor = IndividualBaseExtractor.from_pretrained()
    >>> vectors = extractor.transform([load_example()])
    >>> vectors.shape
    (1, 256)
    """

    def __init__(
        self,
        *,
        pretrained: str | Path | None = None,
        architecture: str = "default",
        sampling_rate: float = 100.0,
        max_epochs: int = 27,
        batch_size: int = 384,
        learning_rate: float = 2e-3,
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
        self.checkpoint_dir = checkpoint_dir
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, groups: ArrayLike | None = None, conditions: Any = None) -> Self:
        """Learn to tell persons apart.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t), or list of recordings
            Millivolts.
        y : ignored
        groups : array (n,), optional
            The person of each recording. By default every recording is another person's, with a
            warning: what is learned then is to tell recordings apart.
        conditions : sequence of n, optional
            What each recording shows, as `Condition.parse` reads it.

        Raises
        ------
        InputError
            If there are fewer than two persons.
        """
        X = checked(self, X, reset=True)
        data = training_data(X, groups, conditions, self.sampling_rate)
        seed = row_seeds(self.random_state, 1)[0][0]
        before = store.start(self.pretrained, self.architecture, seed)
        networks = before.networks.to(store.find_device(self.device))
        check_count("batch_size", self.batch_size)
        check_count("max_epochs", self.max_epochs)
        settings = StageSettings(
            extractor_epochs=self.max_epochs,
            extractor_batch=self.batch_size,
            extractor_learning_rate=self.learning_rate,
        )
        fit_networks(
            networks,
            data,
            settings,
            stages=["extractor"],
            seed=seed,
            checkpoint_dir=None if self.checkpoint_dir is None else Path(self.checkpoint_dir),
            verbose=self.verbose,
        )
        described = {
            "stages": ["extractor"],
            "recordings": len(data),
            "persons": len(np.unique(data.groups)),
            "epochs": self.max_epochs,
            **store.started_from(before),
        }
        return self._take(store.Checkpoint(networks, before.sampling, described))

    def transform(self, X: Any, *, conditions: Any = None) -> NDArray[np.float32]:
        """Return base vectors ``(n, n_features_out_)`` of unit length.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t), or list of recordings
            Millivolts.
        conditions : sequence of n, optional
            What each recording shows, where known; by default what `ECG` objects say of themselves.

        Returns
        -------
        float32 array
            Of the typical beat of each recording, however long it is.
        """
        check_is_fitted(self, "networks_")
        X = checked(self, X, reset=False)
        batches = native_batches(X, self.sampling_rate)
        warn_of_content(batches)
        known = iter(as_conditions(conditions, X, sum(len(signals) for signals, _ in batches)))
        vectors = [
            base_vectors(
                self.networks_.extractor,
                Beats.of(signals),
                present,
                encode_conditions([next(known) for _ in signals]),
            )
            for signals, present in (as_recorded(*batch) for batch in batches)
        ]
        return torch.cat(vectors).numpy()

    def score(self, X: Any, y: Any = None, *, groups: ArrayLike | None = None) -> float:
        """Return the share of persons whose second recording is nearest to their own first one.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t), or list of recordings
            Millivolts.
        y : array (n,), optional
            The person of each recording, where `groups` is not given.
        groups : array (n,), optional
            The person of each recording.

        Raises
        ------
        InputError
            If neither names the persons.
        """
        people = y if groups is None else groups
        if people is None:
            raise InputError("the score needs groups: the person of each recording")
        vectors = self.transform(X)
        return retrieval_top1(torch.from_numpy(vectors), person_names(people, len(vectors)))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _take(self, checkpoint: store.Checkpoint) -> Self:
        self.n_features_out_ = checkpoint.networks.architecture.base_dim
        return super()._take(checkpoint)
