"""Tables of a report: is the twin still its person, and is no training patient given away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arms import Arm
from .bootstrap import Figure, bootstrap, bootstrap_mean
from .entries import Arms, Entry, arms_entry, entry
from .identity import first_and_second, probe_verification, protocol_a, protocol_b, retention, retrieval_hits
from .privacy import copies, membership, nearest_distance, nn_ratio

Array = NDArray[Any]


def identity_table(
    arms: Arms, base_vectors: Array | None, seed: int, changed: Arm | None = None
) -> dict[str, Entry]:
    """Whether the twin is still its person, and how well the extractor knows persons.

    Parameters
    ----------
    base_vectors : array (n, d), optional
        Of the real recordings, by the generator's own extractor.
    changed : Arm, optional
        Twins under conditions that other recordings of their persons show.
    """
    real = arms["real"]
    table = {"retention": _retention(arms, seed)}
    if changed is not None and len(changed):
        table["retention_own_change"] = _retention_of_changes(real, changed, seed)
    judged = _recognition(real.embeddings, real.groups, seed)
    if base_vectors is None:
        return table | {"judge": judged}
    own = _recognition(base_vectors, real.groups, seed)
    goals = {"top1": "> 0.741 (ElectroCardioGuard, protocol A)", "eer": "<= 0.05", "tar_at_far_1e3": ""}
    goals["top1_b"] = "> 0.571 (ElectroCardioGuard, protocol B)"
    for key, goal in goals.items():
        # Measured on real recordings: there is no other real figure to set beside it than the judge's.
        table[key] = own[key] | {"real": judged[key], "real_is": "the judge", "goal": goal}
    return table


def retention_gallery(arms: Arms) -> tuple[Array, Array]:
    """Return the references that persons are looked for by, and the gallery that they are looked for in.

    Parameters
    ----------
    arms : mapping of name to Arm
        ``twin`` and ``real``.

    Returns
    -------
    chosen : int array (p,)
        Rows of the real recordings: the first reference of each person who has several recordings.
        Empty where no reference has a second recording of its person.
    gallery : int array (m,)
        All other rows. The person's own among them are never the reference itself.
    """
    real, twin = arms["real"], arms["twin"]
    persons, counts = np.unique(real.groups, return_counts=True)
    known = np.isin(twin.groups, persons[counts > 1]) & (twin.references >= 0)
    _, first = np.unique(twin.groups[known], return_index=True)
    chosen = np.sort(twin.references[known][first])
    return chosen, np.setdiff1d(np.arange(len(real)), chosen)


def _retention(arms: Arms, seed: int) -> Entry:
    """Top-1 of each arm among the persons' other recordings, over that of the references themselves."""
    real = arms["real"]
    chosen, gallery = retention_gallery(arms)
    if not len(chosen):
        return entry(None, None, ">= 0.8", reason="no reference has a second recording of its person")
    seconds, owners = real.embeddings[chosen], real.groups[chosen]
    others, other_owners = real.embeddings[gallery], real.groups[gallery]

    def retained(arm: Arm) -> Figure:
        probes = np.flatnonzero(np.isin(arm.references, chosen))
        twins, persons = arm.embeddings[probes], arm.groups[probes]
        return retention(twins, persons, seconds, owners, others, other_owners, random_state=seed)

    top1 = bootstrap_mean(retrieval_hits(seconds, owners, others, other_owners), owners, random_state=seed)
    return arms_entry(retained, arms, ">= 0.8", second_top1=top1, gallery=len(gallery))


def _retention_of_changes(real: Arm, changed: Arm, seed: int) -> Entry:
    """Return how often twins find their persons' other recordings, over how often their references do."""
    gallery = np.setdiff1d(np.arange(len(real)), changed.references)
    others, owners = real.embeddings[gallery], real.groups[gallery]
    seconds, persons = real.embeddings[changed.references], changed.groups

    def retained(vectors: Array) -> Figure:
        return retention(vectors, persons, seconds, persons, others, owners, random_state=seed)

    top1 = bootstrap_mean(retrieval_hits(seconds, persons, others, owners), persons, random_state=seed)
    figures = retained(changed.embeddings), retained(seconds)
    return entry(*figures, "about 1, as real", second_top1=top1, gallery=len(gallery))


def _recognition(vectors: Array, groups: Array, seed: int) -> dict[str, Any]:
    """Protocols A and B of one set of vectors."""
    first, second = first_and_second(groups)
    a, b = protocol_a(vectors, groups, random_state=seed), protocol_b(vectors, groups, random_state=seed)

    def rates(rows: Array) -> dict[str, float]:
        probes, gallery = second[rows], first[rows]
        return probe_verification(vectors[probes], groups[probes], vectors[gallery], groups[gallery])

    def figure(key: str) -> dict[str, Any]:
        return bootstrap(
            lambda rows: rates(rows)[key], groups[second], random_state=seed, replace=False
        ).as_dict()

    against_all = probe_verification(vectors[second], groups[second], vectors, groups, probe_rows=second)
    return {
        "top1": a.as_dict(),
        "eer": figure("eer"),
        "tar_at_far_1e3": figure("tar_at_far_1e3"),
        "top1_b": b.as_dict() | {"eer": against_all["eer"]},
    }


def privacy_table(
    arms: Arms,
    training_beats: Array,
    attacks: Mapping[str, tuple[Array, Array]],
    seed: int,
) -> dict[str, Entry]:
    """Copies of training records, nearest neighbours, and membership attacks.

    Parameters
    ----------
    training_beats : array (m, d)
        Beat vectors of the recordings that the generator was trained on; no person of the arms is among them.
    attacks : mapping of name to (scores of members, scores of others)
        Each has one score a person. ``"base_vectors"`` is the one on the extractor, with a row of its own,
        in which ``"beats"``, the same by beats that nothing was learned of, stands as what real ECGs have.
    """
    real = arms["real"]
    to_training = {id(arm): nearest_distance(arm.beats, training_beats) for arm in arms.values()}
    held_out = real.beats
    some = np.random.default_rng(seed).permutation(len(training_beats))[: len(held_out)]

    def copied(arm: Arm) -> Figure:
        return bootstrap(
            lambda rows: copies(to_training[id(arm)][rows], to_training[id(real)]),
            arm.groups,
            random_state=seed,
        )

    def ratio(arm: Arm) -> Figure:
        near = nearest_distance(arm.beats, training_beats[some])
        far = nearest_distance(arm.beats, held_out, query_persons=arm.groups, record_persons=real.groups)
        return bootstrap(lambda rows: nn_ratio(near[rows], far[rows]), arm.groups, random_state=seed)

    table = {
        "copies": arms_entry(copied, arms, "<= 0.001", training_records=len(training_beats)),
        "nn_ratio": arms_entry(ratio, arms, "about 1, as real"),
    }
    found = {name: _attack(*scores, seed) for name, scores in attacks.items()}
    on_extractor, on_beats = found.pop("base_vectors", None), found.pop("beats", None)
    for key, name, goal in (
        ("mia_auc", "auc", "<= 0.55"),
        ("mia_tpr_at_fpr_1e2", "tpr_at_fpr_1e2", "about 0.01"),
    ):
        if not found:
            table[key] = entry(None, None, goal, reason="no access to the generator's own loss")
            continue
        worst = max(found, key=lambda attack: found[attack][name].value)
        by_attack = {attack: figures[name].as_dict() for attack, figures in found.items()}
        table[key] = entry(found[worst][name], None, goal, attack=worst, by_attack=by_attack)
    if on_extractor is not None:
        by_beats = None if on_beats is None else on_beats["auc"]
        table["extractor_mia_auc"] = entry(on_extractor["auc"], by_beats, "<= 0.55")
    return table


def _attack(members: Array, others: Array, seed: int) -> dict[str, Figure]:
    scores, member = np.concatenate([members, others]), np.arange(len(members) + len(others)) < len(members)

    def figure(key: str) -> Figure:
        def measure(rows: Array) -> float:
            one_side = member[rows].all() or not member[rows].any()  # as a draw of few rows may be
            return (
                np.nan
                if one_side
                else membership(scores[rows][member[rows]], scores[rows][~member[rows]])[key]
            )

        return bootstrap(measure, np.arange(len(scores)), random_state=seed)

    return {key: figure(key) for key in ("auc", "tpr_at_fpr_1e2")}
