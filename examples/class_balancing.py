"""A statement of which there are few recordings: does balancing the classes with twins help?

    python examples/class_balancing.py [--data PTBXL_DIR] [--statements PVC 1AVB CLBBB] [--few 12]

A detector learns from a few recordings with the statement and many without, of people it is not tested
on, and the classes are balanced in six ways. Twins are no better than their weights and their judge: the
table says where they help and where they do not.
"""

import time
import warnings

import numpy as np
from imblearn.over_sampling import SMOTE
from recordings import interval, load, parser
from rocket import RandomConvolutions
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgtwin import TwinAugmentedClassifier, TwinAugmenter

warnings.filterwarnings("ignore", category=FutureWarning)


def detector(**options):
    """The classifier under test: ROCKET's features and a logistic regression."""
    logistic = LogisticRegression(C=0.01, max_iter=2000, **options)
    return make_pipeline(RandomConvolutions(), StandardScaler(), logistic)


def with_twins(statement, seed, **options):
    """The detector with the rare class brought to the size of the other by twins."""
    augmenter = TwinAugmenter(
        mode="append", references="any", label_map={1: statement}, random_state=seed, **options
    )
    return TwinAugmentedClassifier(detector(), augmenter)


def smote(X, y, seed):
    """Mixtures of neighbours, sample by sample: what SMOTE makes of signals."""
    n_neighbours = min(5, int(y.sum()) - 1)
    flat, y = SMOTE(k_neighbors=n_neighbours, random_state=seed).fit_resample(X.reshape(len(X), -1), y)
    return flat.reshape(-1, *X.shape[1:]), y


def jitter(X, y, seed):
    """Copies of the few with noise and another amplitude."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.flatnonzero(y == 1), (y == 0).sum() - (y == 1).sum())
    copies = X[rows] * rng.normal(1, 0.1, (len(rows), 1, 1)) + rng.normal(0, 0.02, X[rows].shape)
    return np.concatenate([X, copies.astype(X.dtype)]), np.concatenate([y, y[rows]])


def few_positives(y, groups, train, few, n_negatives, rng):
    """Training rows: the statement's first `few` recordings, each of another person, and some without."""
    positives, negatives = (rng.permutation(train[y[train] == label]) for label in (1, 0))
    _, first = np.unique(groups[positives], return_index=True)
    return np.concatenate([positives[np.sort(first)][:few], negatives[:n_negatives]])


def arms(X, y, known, statement, seed):
    """The ways of learning from few recordings that are compared."""
    return {
        "real recordings alone": lambda: detector().fit(X, y),
        "class weights": lambda: detector(class_weight="balanced").fit(X, y),
        "SMOTE on signals": lambda: detector().fit(*smote(X, y, seed)),
        "jitter": lambda: detector().fit(*jitter(X, y, seed)),
        "population twins": lambda: with_twins(statement, seed, person_scale=0).fit(X, y, **known),
        "personal twins": lambda: with_twins(statement, seed).fit(X, y, **known),
    }


def main():
    args = parser(__doc__)
    args.add_argument("--statements", nargs="+", default=["PVC", "1AVB", "CLBBB"])
    args.add_argument("--few", type=int, default=12)
    args.add_argument("--negatives", type=int, default=200)
    args.add_argument("--seeds", type=int, default=5)
    args = args.parse_args()
    X, conditions, groups = load(args.data)
    start = time.perf_counter()
    for statement in args.statements:
        y = np.array([int(statement in c.statements) for c in conditions])
        scores = {}
        for seed in range(args.seeds):
            rng = np.random.default_rng(seed)
            folds = GroupKFold(4, shuffle=True, random_state=seed)
            train, test = next(folds.split(X, y, groups))
            rows = few_positives(y, groups, train, args.few, args.negatives, rng)
            known = {"groups": groups[rows], "conditions": conditions[rows]}
            for name, fit in arms(X[rows], y[rows], known, statement, seed).items():
                asked = fit().predict_proba(X[test])[:, 1]
                scores.setdefault(name, []).append(roc_auc_score(y[test], asked))
        alone = np.array(scores["real recordings alone"])
        print(f"\n{statement}: {args.few} recordings with it, {args.negatives} without; {y.sum()} in all")
        print(f"{'':24}AUROC on other people       gain over real recordings alone")
        for name, values in scores.items():
            print(f"{name:24}{interval(values)}    {interval(np.array(values) - alone)}")
    print(f"\n{args.seeds} seeds, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
