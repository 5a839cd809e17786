"""Why persons matter: twins made before the split let a classifier cheat.

    python examples/leakage.py [--data PTBXL_DIR]

Sixty people with three recordings each get labels that carry no signal: whoever predicts them better than by
chance has recognised a person. (PTB-XL's fold 9 has fewer people with three recordings; all are taken.)
Nearly all the time goes into drawing twins: inside the split they are drawn anew for each fold and seed.
"""

import time

import numpy as np
from recordings import interval, load, parser
from rocket import RandomConvolutions
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgtwin import TwinAugmentedClassifier, TwinAugmenter


def classifier():
    """Nearest neighbours: what remembers best."""
    nearest = KNeighborsClassifier(1)
    return make_pipeline(RandomConvolutions(120), StandardScaler(), PCA(50, random_state=0), nearest)


def with_twins(n_twins, seed):
    """An augmenter that gives every recording so many twins."""

    def grown(y):
        return {label: (1 + n_twins) * int((y == label).sum()) for label in np.unique(y)}

    return TwinAugmenter(mode="append", sampling_strategy=grown, random_state=seed)


def main():
    args = parser(__doc__)
    args.add_argument("--seeds", type=int, default=5)
    args.add_argument("--twins", type=int, default=3, help="of each recording")
    args = args.parse_args()
    X, conditions, groups = load(args.data, n_simulated=60)
    people, times = np.unique(groups, return_counts=True)
    rows = np.flatnonzero(np.isin(groups, people[times >= 3][:60]))
    X, conditions, groups = X[rows], conditions[rows], groups[rows]
    people = np.unique(groups)
    table, start = {}, time.perf_counter()
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.arange(len(people)) % 2)[np.searchsorted(people, groups)]
        augmenter = with_twins(args.twins, seed)
        X_twins, y_twins = augmenter.fit_resample(X, y, groups=groups, conditions=conditions)

        by_person = GroupKFold(3, shuffle=True, random_state=seed)
        by_row = StratifiedKFold(3, shuffle=True, random_state=seed)
        within = TwinAugmentedClassifier(classifier(), augmenter)
        arms = {
            "no twins, split by recording": (classifier(), X, y, by_row, None),
            "twins before the split, split by recording": (classifier(), X_twins, y_twins, by_row, None),
            "no twins, split by person": (classifier(), X, y, by_person, groups),
            "twins before the split, split by `groups_`": (
                classifier(),
                X_twins,
                y_twins,
                by_person,
                augmenter.groups_,
            ),
            "twins inside the split (TwinAugmentedClassifier)": (within, X, y, by_person, groups),
        }
        for name, (model, signals, labels, split, persons) in arms.items():
            score = cross_val_score(model, signals, labels, groups=persons, cv=split).mean()
            table.setdefault(name, []).append(score)
    print(f"{len(people)} people, {len(X)} recordings, labels without any signal: the truth is 0.5")
    print(f"{args.twins} twins of each, {args.seeds} seeds, {time.perf_counter() - start:.0f} s\n")
    for name, values in table.items():
        print(f"{name:50}{interval(values)}")


if __name__ == "__main__":
    main()
