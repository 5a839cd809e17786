"""What the estimators have in common: weights that are loaded by name, saved and published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from . import pretrained as store
from .nn import TwinNetworks


class PretrainedWeights(BaseEstimator):
    """An estimator with parameters ``pretrained`` and ``device``, whose fit is a set of networks.

    Attributes
    ----------
    networks_ : TwinNetworks
    sampling_ : dict
        How twins are drawn with these weights.
    training_ : dict
        Where the weights come from.
    weights_sha256_ : str
        Digest of the file that the weights came from or would be saved as.
    source_ : str, path or None
        The name of pretrained weights, which `sklearn.base.clone` then keeps; None after a fit.
    """

    pretrained: str | Path | None
    device: str

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "default",
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **init: Any,
    ) -> Self:
        """Return a fitted estimator with the weights of a name; the bundled ones need no network.

        Parameters
        ----------
        name_or_path : str or path
            ``"default"``, a folder, a name of the registry, or ``user/repo[@revision]`` on the Hugging
            Face Hub. Weights are safetensors: no pickle and no code is ever loaded.
        revision : str, optional
            Branch, tag or commit of a repository.
        cache_dir : path, optional
            Where downloads are kept; by default huggingface-hub's cache (``HF_HOME``).
        local_files_only : bool
            Open no connection; nor does one open under ``HF_HUB_OFFLINE=1``.
        token : str or bool, optional
            For private repositories.
        **init
            Constructor parameters.

        Raises
        ------
        CheckpointError
            If there are no such weights, they cannot be had, or they are damaged.
        """
        estimator = cls(pretrained=store.pinned(name_or_path, revision), **init)
        checkpoint = store.load(
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        checkpoint.networks.to(store.find_device(estimator.device))
        estimator._take(checkpoint)
        estimator.source_ = estimator.pretrained
        return estimator

    def __sklearn_clone__(self) -> Self:
        # Pretrained weights are a parameter, so a clone that was never fitted keeps them.
        copy = cast(Self, super().__sklearn_clone__())
        if getattr(self, "source_", None) is not None and self.source_ == self.pretrained:
            copy._take(self._checkpoint())
            copy.source_ = self.source_
        return copy

    def save_pretrained(
        self, folder: str | Path, *, half: bool = False, metrics: Mapping[str, Any] | None = None
    ) -> Path:
        """Write ``config.json``, ``model.safetensors`` and a model card; return the folder.

        ``n_steps``, ``guidance_scale``, ``person_scale`` and ``noise_scale`` are saved as they are set.

        Parameters
        ----------
        folder : path
        half : bool
            Store float16.
        metrics : mapping, optional
            Figures measured, for configuration and card.

        Raises
        ------
        CheckpointError
            If they cannot be written; what was there is then whole.
        """
        return store.save(self._chosen(metrics), folder, half=half)

    def push_to_hub(
        self,
        repository: str,
        *,
        half: bool = False,
        metrics: Mapping[str, Any] | None = None,
        private: bool = False,
        token: str | bool | None = None,
        message: str = "Upload weights",
    ) -> str:
        """Commit what `save_pretrained` writes to ``user/repo`` on the Hugging Face Hub; return the URL.

        Raises
        ------
        CheckpointError
            If the Hub refuses or cannot be reached.
        """
        return store.push(
            self._chosen(metrics), repository, half=half, private=private, token=token, message=message
        )

    def _checkpoint(self, metrics: Mapping[str, Any] | None = None) -> store.Checkpoint:
        check_is_fitted(self, "networks_")
        training = store.with_metrics(self.training_, metrics)
        return store.Checkpoint(self.networks_, self.sampling_, training, self.weights_sha256_)

    def _chosen(self, metrics: Mapping[str, Any] | None) -> store.Checkpoint:
        """What is saved: the weights, to be sampled as the constructor's parameters say where they say it."""
        checkpoint = self._checkpoint(metrics)
        said = {key: value for key, value in self.get_params(False).items() if value is not None}
        return replace(
            checkpoint, sampling=checkpoint.sampling | {k: said[k] for k in said if k in store.SAMPLING}
        )

    def _take(self, checkpoint: store.Checkpoint) -> Self:
        self.networks_: TwinNetworks = checkpoint.networks
        self.sampling_ = dict(store.SAMPLING) | checkpoint.sampling
        self.training_ = checkpoint.training
        self.weights_sha256_ = checkpoint.sha256
        self.source_: str | Path | None = None
        return self
