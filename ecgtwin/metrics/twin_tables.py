"""Tables of a report that need twins of their own: what they are worth, and attacks on privacy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conditions import STATEMENTS, Condition, statement_matrix
from ..extractor import IndividualBaseExtractor
from ..generator import ECGTwinGenerator
from ..resampling import Labels, plan_balance
from .arms import Arm, Recordings
from .bootstrap import Figure
from .effort import RARE_DRAWS, Progress, Sizes
from .entries import Entry, entry
from .kernels import LinearClassifier, RandomKernels
from .privacy import beat_vectors, nearest_distance
from .tables import MIN_COUNT
from .utility import augment_gain, personal_gain, train_test_auroc

Array = NDArray[Any]


def _twins(
    generator: ECGTwinGenerator,
    of: Recordings,
    rows: Array,
    asked: Sequence[Condition],
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    return generator.sample_each(
        of.signals[rows],
        asked,
        reference_conditions=[of.conditions[row] for row in rows],
        random_state=seed,
        callback=progress.drawn,
    )


def _one_each(groups: Array, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """One recording of each of n persons."""
    order = rng.permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return rng.permutation(order[first])[:n]


def membership_attacks(
    generator: ECGTwinGenerator,
    known: Recordings,
    real: Recordings,
    sizes: Sizes,
    seed: int,
    progress: Progress,
) -> dict[str, tuple[Array, Array]]:
    """Scores of training patients and of others, of two attacks."""
    rng = np.random.default_rng([seed, 1])
    loss, nearest = [], []
    for of in (known, real):
        rows = _one_each(of.groups, sizes.members, rng)
        conditions = [of.conditions[row] for row in rows]
        loss.append(generator.score_samples(of.signals[rows], conditions, random_state=seed))
        rows, conditions = rows[: sizes.member_twins], conditions[: sizes.member_twins]
        twins = beat_vectors(_twins(generator, of, rows, conditions, seed, progress))
        own = beat_vectors(of.signals[rows])
        gaps = np.array([nearest_distance(a[None], b[None])[0] for a, b in zip(own, twins, strict=True)])
        nearest.append(-np.nan_to_num(gaps, nan=2.0))
    return {"denoising_error": (loss[0], loss[1]), "nearest_twin": (nearest[0], nearest[1])}


def extractor_attacks(
    extractor: IndividualBaseExtractor, known: Recordings, real: Recordings, sizes: Sizes, seed: int
) -> dict[str, tuple[Array, Array]]:
    """How alike two recordings of one person are, of training persons and of others.

    By their base vectors, and by their beats themselves: what that tells nobody has learned.
    """
    rng = np.random.default_rng([seed, 6])
    found: dict[str, list[Array]] = {"base_vectors": [], "beats": []}
    for of in (known, real):
        people, times = np.unique(of.groups, return_counts=True)
        chosen = rng.permutation(people[times > 1])[: sizes.members]
        pairs = np.array([np.flatnonzero(of.groups == person)[:2] for person in chosen], dtype=np.intp)
        for name, vectors in (("base_vectors", extractor.transform), ("beats", beat_vectors)):
            one, other = (vectors(of.signals[rows]) for rows in pairs.reshape(-1, 2).T)
            found[name].append((one * other).sum(axis=1))
    return {name: (members, others) for name, (members, others) in found.items()}


def utility_table(
    generator: ECGTwinGenerator,
    known: Recordings,
    real: Recordings,
    sizes: Sizes,
    seed: int,
    progress: Progress,
) -> dict[str, Entry]:
    """Train on twins and test on real ECGs; add twins to few real examples; fine-tune to one patient."""
    rng = np.random.default_rng([seed, 2])
    kernels = RandomKernels(sizes.kernels)
    test, test_labels = kernels.transform(real.signals), statement_matrix(real.conditions)

    # Train on twins, test on real: one twin for each training record, under its own condition.
    rows = rng.permutation(len(known))[: sizes.training_twins]
    conditions = [known.conditions[row] for row in rows]
    labels = statement_matrix(conditions)
    features = kernels.transform(known.signals[rows])
    twins = kernels.transform(_twins(generator, known, rows, conditions, seed, progress))
    synthetic = train_test_auroc(twins, labels, test, test_labels, real.groups, random_state=seed)
    trained = train_test_auroc(features, labels, test, test_labels, real.groups, random_state=seed)
    tstr = entry(synthetic, trained, ">= 0.885, and within 0.03 of real-trained", training_records=len(rows))

    augment = _augment(generator, known, real, (test, test_labels), kernels, sizes, seed, progress)
    personal = _personal(
        generator, known, real, (features, labels), (test, test_labels), kernels, sizes, seed, progress
    )
    return {"tstr_auroc": tstr, "augment_gain": augment, "personal_gain": personal}


def _augment(
    generator: ECGTwinGenerator,
    known: Recordings,
    real: Recordings,
    test: tuple[Array, Array],
    kernels: RandomKernels,
    sizes: Sizes,
    seed: int,
    progress: Progress,
) -> Entry:
    """Detect rare statements from few real examples, without and with twins that `TwinAugmenter` would add.

    Each twin is of a person among the examples without the statement, and is to show all that one of the
    examples with it shows.
    """
    goal = "> 0, interval above 0"
    rng = np.random.default_rng([seed, 4])
    labels = statement_matrix(known.conditions)
    counts, tested = labels.sum(axis=0), test[1].sum(axis=0)
    rare = [i for i in np.argsort(counts, kind="stable") if counts[i] >= 20 and tested[i] >= MIN_COUNT]
    rare = rare[: sizes.rare_statements]
    if not rare:
        return entry(None, None, goal, reason="no statement is rare and yet frequent enough to test")
    with_any = labels[:, rare].any(axis=1)
    without = rng.permutation(np.flatnonzero(~with_any))[:1000]
    pool = np.concatenate([np.flatnonzero(with_any), without])

    def twins_of(column: int, few: Array, others: Array) -> Array:
        some = known[pool[np.concatenate([few, others])]]
        shows, wanted = Labels.of(np.arange(len(some)) < len(few)), {True: sizes.rare_references}
        plan = plan_balance(shows, wanted, some.conditions, {}, "other", rng)
        return kernels.transform(_twins(generator, some, plan.references, plan.conditions, seed, progress))

    train = kernels.transform(known.signals[pool]), labels[pool]
    gains = augment_gain(*train, rare, twins_of, *test, real.groups, n_seeds=RARE_DRAWS, random_state=seed)
    return entry(
        gains["auroc"],
        None,
        goal,
        f1=gains["f1"],
        statements=[STATEMENTS[column] for column in rare],
        twins_each=sizes.rare_references,
    )


def _personal(
    generator: ECGTwinGenerator,
    known: Recordings,
    real: Recordings,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    kernels: RandomKernels,
    sizes: Sizes,
    seed: int,
    progress: Progress,
) -> Entry:
    """Adapt a classifier to patients by twins of their first recording, test on their later ones."""
    rng = np.random.default_rng([seed, 3])
    people, counts = np.unique(real.groups, return_counts=True)
    chosen = rng.permutation(people[counts > 1])[: sizes.patients]
    if not len(chosen):
        return entry(None, None, "> 0, interval above 0", reason="no patient has a second recording")
    rows = [np.flatnonzero(real.groups == person) for person in chosen]
    k = sizes.patient_twins
    # Half of the prompts are what the reference shows, half what other people show: both classes of each.
    drawn = rng.integers(len(known), size=(len(chosen), k))
    asked = [
        (real.conditions[own[0]] if j % 2 else known.conditions[other]).replace(
            age=real.conditions[own[0]].age, sex=real.conditions[own[0]].sex
        )
        for own, others in zip(rows, drawn, strict=True)
        for j, other in enumerate(others)
    ]
    references = np.repeat([own[0] for own in rows], k)
    twins = kernels.transform(_twins(generator, real, references, asked, seed, progress))
    labels = statement_matrix(asked)
    # Other people's real ECGs of the nearest condition, as many.
    library = rng.permutation(len(known))[: max(2000, k)]
    shown = statement_matrix([known.conditions[row] for row in library])
    common = labels.astype(float) @ shown.T
    overlap = common / np.maximum(labels.sum(axis=1)[:, None] + shown.sum(axis=1) - common, 1)  # Jaccard's
    match = (overlap + 1e-6 * rng.random(overlap.shape)).argmax(axis=1)
    others = kernels.transform(known.signals[library[np.unique(match)]])
    others = others[np.searchsorted(np.unique(match), match)]

    def packed(features: Array, of: Array) -> list[tuple[Array, Array]]:
        return [(features[i : i + k], of[i : i + k]) for i in range(0, len(features), k)]

    later = np.concatenate([own[1:] for own in rows])
    patient = np.repeat(np.arange(len(rows)), [len(own) - 1 for own in rows])
    gain = personal_gain(
        LinearClassifier.fit(*train),
        packed(twins, labels),
        packed(others, shown[match]),
        test[0][later],
        test[1][later],
        patient,
        random_state=seed,
    )
    return entry(gain, None, "> 0, interval above 0", patients=len(rows), twins_each=k)


def utility_of(arms: dict[str, Arm], sizes: Sizes, seed: int) -> Entry:
    """Train on generated ECGs, test on real ones of people that they were not made from."""
    twin, real = arms["twin"], arms["real"]
    goal = ">= 0.885, and within 0.03 of real-trained"
    others = np.flatnonzero(~np.isin(real.groups, twin.groups))
    if twin.asked is None or len(others) < 100 or (twin.references < 0).any():
        reason = "needs what was asked for, the references, and 100 real recordings of other people"
        return {"tstr_auroc": entry(None, None, goal, reason=reason)}
    kernels = RandomKernels(sizes.kernels)
    test, labels, groups = kernels.transform(real.signals[others]), real.labels[others], real.groups[others]

    def trained(signals: Array, of: Array) -> Figure:
        return train_test_auroc(kernels.transform(signals), of, test, labels, groups, random_state=seed)

    own = np.unique(twin.references)
    figures = trained(twin.signals, twin.labels), trained(real.signals[own], real.labels[own])
    return {"tstr_auroc": entry(*figures, goal, training_records=len(twin))}
