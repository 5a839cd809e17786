"""Features of ECGs for any classifier: random convolutions, after ROCKET (Dempster et al. 2020)."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted


class RandomConvolutions(TransformerMixin, BaseEstimator):
    """The largest value of each of many random filters, and the share of time that it is above its bias."""

    def __init__(self, n_filters=300, random_state=0):
        self.n_filters = n_filters
        self.random_state = random_state

    def fit(self, X, y=None):
        rng = np.random.default_rng(self.random_state)
        n_leads = X.shape[1]
        self.dilations_ = [1, 2, 4, 8, 16, 32]
        shape = (len(self.dilations_), self.n_filters // len(self.dilations_), n_leads, 9)
        weights = rng.normal(size=shape)
        weights -= weights.mean(axis=-1, keepdims=True)
        weights *= rng.random(shape[:3])[..., None] < 2 / n_leads  # a filter sees about two leads
        self.weights_ = torch.from_numpy(weights.astype(np.float32))
        self.biases_ = [0.0] * len(self.dilations_)
        some = X[rng.choice(len(X), min(len(X), 64), replace=False)]
        quantiles = torch.from_numpy(rng.random(shape[1]).astype(np.float32))
        self.biases_ = [
            torch.stack([torch.quantile(row, q) for row, q in zip(found, quantiles, strict=True)])
            for found in (filtered[:, :, ::10].transpose(0, 1).flatten(1) for filtered in self._filter(some))
        ]
        return self

    def transform(self, X):
        check_is_fitted(self, "weights_")
        parts = []
        for start in range(0, len(X), 128):
            rows = []
            for filtered, bias in zip(self._filter(X[start : start + 128]), self.biases_, strict=True):
                rows += [(filtered > bias[:, None]).float().mean(dim=-1), filtered.amax(dim=-1)]
            parts.append(torch.cat(rows, dim=1))
        return torch.cat(parts).numpy()

    def _filter(self, X):
        signals = torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))
        for weights, dilation in zip(self.weights_, self.dilations_, strict=True):
            yield torch.nn.functional.conv1d(signals, weights, dilation=dilation, padding=4 * dilation)
