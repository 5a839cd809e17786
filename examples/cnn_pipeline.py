"""A small convolutional network in a Pipeline, with half of its training recordings swapped for twins.

    python examples/cnn_pipeline.py [--data PTBXL_DIR] [--statement 1AVB]

It needs skorch (``pip install skorch``), which makes a scikit-learn classifier of a PyTorch network. One
`groups` reaches the splitter, so that nobody is both trained and tested on, and the augmenter.
"""

import time

import numpy as np
import torch
from recordings import interval, load, parser
from sklearn import set_config
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from torch import nn

from ecgtwin import TwinAugmenter


class SmallCNN(nn.Module):
    """Three convolutions over time, and the mean and the largest value of each channel."""

    def __init__(self, n_leads=12, width=16, n_classes=2):
        super().__init__()
        self.convolutions = nn.Sequential(
            *self.block(n_leads, width, 15, stride=4),  # 1000 -> 250 samples
            *self.block(width, 2 * width, 9, stride=2),  # -> 125
            *self.block(2 * width, 4 * width, 9, stride=2),  # -> 63
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * width, n_classes))

    @staticmethod
    def block(n_in, n_out, size, stride):
        return nn.Conv1d(n_in, n_out, size, stride, size // 2), nn.BatchNorm1d(n_out), nn.ReLU()

    def forward(self, X):
        found = self.convolutions(X)
        return self.head(torch.cat([found.mean(dim=-1), found.amax(dim=-1)], dim=1))


def network(seed, epochs):
    """A classifier with the same first weights for the same seed."""
    torch.manual_seed(seed)
    return NeuralNetClassifier(
        SmallCNN,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        max_epochs=epochs,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def main():
    args = parser(__doc__)
    args.add_argument("--statement", default="1AVB")
    args.add_argument("--epochs", type=int, default=20)
    args.add_argument("--seeds", type=int, default=5)
    args = args.parse_args()
    start = time.perf_counter()
    X, conditions, groups = load(args.data)
    y = np.array([int(args.statement in c.statements) for c in conditions])
    # All recordings with the statement, and four times as many without.
    without = np.random.default_rng(0).permutation(np.flatnonzero(y == 0))[: 4 * y.sum()]
    rows = np.sort(np.concatenate([np.flatnonzero(y == 1), without]))
    X, y, known = X[rows], y[rows], {"groups": groups[rows], "conditions": conditions[rows]}

    set_config(enable_metadata_routing=True)
    scores = {}
    for seed in range(args.seeds):
        for name, p in {"real recordings alone": 0.0, "half of them twins": 0.5}.items():
            augmenter = TwinAugmenter(mode="replace", p=p, random_state=seed)
            augmenter.set_fit_request(groups=True, conditions=True)
            found = cross_validate(
                make_pipeline(augmenter, network(seed, args.epochs)),
                X,
                y,
                cv=GroupKFold(3, shuffle=True, random_state=seed),
                scoring="roc_auc",
                params=known,
            )
            scores.setdefault(name, []).append(found["test_score"].mean())
    gains = np.subtract(*reversed(list(scores.values())))
    print(f"{args.statement}: {y.sum()} of {len(y)} recordings; {args.seeds} seeds, three folds of persons")
    for name, values in scores.items():
        print(f"{name:24}AUROC {interval(values)}")
    print(f"{'gain':24}      {interval(gains)}\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
