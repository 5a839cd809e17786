"""A detector adapted to one patient by that patient's twins, before and after.

    python examples/personal_detector.py [--data PTBXL_DIR] [--statement PVC]

A detector learns from other people. Of each patient one recording without the statement is known: twins of
it with and without the statement adapt the detector, and it is tested on the patient's other recordings.
Beside it stands the same number of twins of nobody in particular.
"""

import time

import numpy as np
from recordings import load, parser
from rocket import RandomConvolutions
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgtwin import ECG, TwinAugmentedClassifier, TwinAugmenter


def main():
    args = parser(__doc__)
    args.add_argument("--statement", default="PVC")
    args.add_argument("--patients", type=int, default=40)
    args.add_argument("--twins", type=int, default=16)
    args = args.parse_args()
    start = time.perf_counter()
    X, conditions, groups = load(args.data)
    y = np.array([int(args.statement in c.statements) for c in conditions])

    people, times = np.unique(groups, return_counts=True)
    several = [np.flatnonzero(groups == person) for person in people[times > 1]]
    patients = [rows for rows in several if (y[rows] == 0).any()]
    patients.sort(key=lambda rows: -y[rows].sum())  # those who have the statement at another time come first
    patients = patients[: args.patients]
    rng = np.random.default_rng(0)
    others = rng.permutation(np.flatnonzero(~np.isin(groups, groups[np.concatenate(patients)])))
    train = np.concatenate([others[y[others] == 1][:60], others[y[others] == 0][:400]])

    # The features are those of the population; what is adapted is the classifier on them.
    features = FrozenEstimator(make_pipeline(RandomConvolutions(150), StandardScaler()).fit(X[train]))
    augmenter = TwinAugmenter(
        mode="append",
        sampling_strategy={},
        label_map={0: "NORM", 1: args.statement},
        random_state=0,
    )
    classifier = TwinAugmentedClassifier(
        make_pipeline(features, LogisticRegression(C=0.01, max_iter=2000)), augmenter
    ).fit(X[train], y[train])
    nobody = TwinAugmentedClassifier(classifier.estimator, augmenter.set_params(person_scale=0)).fit(
        X[train], y[train]
    )

    asked, known, who = [], [], []
    for i, rows in enumerate(patients):
        first = rows[y[rows] == 0][0]
        reference = ECG(X[first], condition=conditions[first])
        rest = rows[rows != first]
        adapted = [
            one.personalize(reference, X=X[train], y=y[train], n_samples=args.twins, random_state=i)
            for one in (nobody, classifier)
        ]
        asked.append([one.predict_proba(X[rest])[:, 1] for one in (classifier, *adapted)])
        known.append(y[rest])
        who.append(np.full(len(rest), i))
    asked, known, who = np.concatenate(asked, axis=1), np.concatenate(known), np.concatenate(who)

    def aurocs(rows):
        return np.array([roc_auc_score(known[rows], scores[rows]) for scores in asked])

    whole, samples = aurocs(np.arange(len(known))), []
    while len(samples) < 500:  # bootstrap over patients
        drawn = rng.integers(len(patients), size=len(patients))
        rows = np.concatenate([np.flatnonzero(who == i) for i in drawn])
        if 0 < known[rows].mean() < 1:
            samples.append(aurocs(rows))
    samples = np.array(samples)
    print(
        f"{args.statement}: {len(patients)} patients, {len(known)} later recordings, {known.sum()} with it; "
        f"{time.perf_counter() - start:.0f} s"
    )
    names = ("before", "after twins of nobody", "after the patient's twins")
    for i, name in enumerate(names):
        low, high = np.quantile(samples[:, i] - samples[:, 0], [0.025, 0.975])
        print(f"{name:27}AUROC {whole[i]:.3f}   change {whole[i] - whole[0]:+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
