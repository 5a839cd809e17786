"""Twins as a step of imbalanced-learn's Pipeline, with how many of them chosen by a search over persons.

    python examples/imbalanced_pipeline.py [--data PTBXL_DIR] [--statement LVH]

Simulated persons, without ``--data``, have no LVH: there it is right bundle branch block.
"""

import warnings

import numpy as np
from imblearn.pipeline import make_pipeline
from recordings import load, parser
from rocket import RandomConvolutions
from sklearn import set_config
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from ecgtwin import TwinAugmenter

warnings.filterwarnings("ignore", category=FutureWarning)


def main():
    args = parser(__doc__)
    args.add_argument("--statement")
    args.add_argument("--rows", type=int, default=400)
    args = args.parse_args()
    statement = args.statement or ("LVH" if args.data else "CRBBB")
    X, conditions, groups = load(args.data)
    rows = np.random.default_rng(0).permutation(len(X))[: 2 * args.rows]
    X, conditions, groups = X[rows], conditions[rows], groups[rows]
    y = np.array([int(statement in c.statements) for c in conditions])
    train, test = next(GroupShuffleSplit(1, test_size=0.5, random_state=0).split(X, y, groups))

    set_config(enable_metadata_routing=True)  # one `groups` for the splitter and for the step
    augmenter = TwinAugmenter(
        mode="append", references="any", label_map={1: statement}, random_state=0
    ).set_fit_request(groups=True, conditions=True)
    pipe = make_pipeline(
        augmenter, RandomConvolutions(), StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
    )
    share = y[train].mean() / (1 - y[train].mean())
    search = GridSearchCV(
        pipe,
        {"twinaugmenter__sampling_strategy": [{}, round(1.5 * share, 2), round(min(3 * share, 1), 2)]},
        cv=GroupKFold(3),
        scoring="roc_auc",
    )
    search.fit(X[train], y[train], groups=groups[train], conditions=conditions[train])
    for settings, score, spread in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        search.cv_results_["std_test_score"],
        strict=True,
    ):
        print(f"{settings}  AUROC {score:.3f}, deviation over folds {spread:.3f}")
    print(f"chosen        {search.best_params_}")
    print(f"other people  AUROC {roc_auc_score(y[test], search.predict_proba(X[test])[:, 1]):.3f}")


if __name__ == "__main__":
    main()
