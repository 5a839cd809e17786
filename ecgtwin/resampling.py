"""Which twins a training set asks for: how many of each class, from whose recordings, showing what."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d

from .conditions import Condition, with_person_of
from .exceptions import ConditionError, InputError
from .statements import RHYTHMS

Array = NDArray[Any]
SamplingStrategy = str | float | Mapping[Any, int] | Callable[[Array], Mapping[Any, int]]

STRATEGIES = ("minority", "not minority", "not majority", "all", "auto")
REFERENCES = ("same", "other", "any")


@dataclass(frozen=True)
class TwinPlan:
    """Twins to draw.

    Parameters
    ----------
    references : int array (n,)
        The row of each twin's reference.
    labels : array (n,) or (n, k)
        What each twin is labelled.
    conditions : sequence of n Condition
        What each is to show.
    """

    references: NDArray[np.intp]
    labels: Array
    conditions: Sequence[Condition]


@dataclass(frozen=True)
class Labels:
    """Labels of recordings as yes or no for each class, whether `y` is one label or an indicator matrix.

    Parameters
    ----------
    y : array (n,) or (n, k)
        One label a row, or 0 and 1 for each of k classes.
    classes : array (k,)
        Labels, or the numbers of the columns.
    member : bool array (n, k)
        Which classes each row belongs to.
    """

    y: Array
    classes: Array
    member: NDArray[np.bool_]

    @classmethod
    def of(cls, y: Array) -> Labels:
        """Read labels.

        Raises
        ------
        InputError
            If a matrix holds anything but 0 and 1.
        """
        if y.ndim == 2:
            if not np.isin(y, (0, 1)).all():
                raise InputError("y of several columns must hold 0 and 1 alone: one column for each class")
            return cls(y, np.arange(y.shape[1]), y.astype(bool))
        classes, codes = np.unique(y, return_inverse=True)
        return cls(y, classes, codes[:, None] == np.arange(len(classes)))

    @property
    def counts(self) -> dict[Any, int]:
        """Rows of each class."""
        return {
            label: int(n) for label, n in zip(self.classes.tolist(), self.member.sum(axis=0), strict=True)
        }

    def relabelled(self, rows: Array, column: int, dropped: NDArray[np.bool_]) -> Array:
        """Return the labels of `rows` shown as class `column`, without the classes `dropped` ``(n, k)``."""
        if self.y.ndim == 1:
            return np.full(len(rows), self.classes[column])
        labels = self.y[rows].copy()
        labels[dropped] = 0
        labels[:, column] = 1
        return labels


def labels_of_rows(y: Any, n: int) -> Array:
    """Return the labels of n rows as an array ``(n,)``, or ``(n, k)`` of k > 1 columns.

    Raises
    ------
    InputError
        If there are not n of them.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    if labels.ndim not in (1, 2) or len(labels) != n:
        raise InputError(f"labels of shape {labels.shape} for {n} recordings")
    return labels


def twins_wanted(labels: Labels, sampling_strategy: SamplingStrategy) -> dict[Any, int]:
    """Return how many twins each class gets, in imbalanced-learn's words.

    Parameters
    ----------
    labels : Labels
    sampling_strategy : str, float, dict or callable
        ``"minority"``, ``"not minority"``, ``"not majority"`` (the same as ``"auto"``) or ``"all"`` bring
        those classes to the size of the largest; a float is the size of the smaller of two classes
        over that of the larger; a dict, or what a callable makes of `y`, gives the size of classes.

    Raises
    ------
    InputError
        If it is none of these, or a class would have to become smaller.
    """
    counts = labels.counts
    largest, smallest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
    if isinstance(sampling_strategy, str):
        if sampling_strategy not in STRATEGIES:
            raise InputError(f"sampling_strategy must be one of {STRATEGIES}, got {sampling_strategy!r}")
        chosen = {
            "minority": lambda c: c == smallest,
            "not minority": lambda c: c != smallest,
            "all": lambda c: True,
        }.get(sampling_strategy, lambda c: c != largest)
        wanted = {c: counts[largest] for c in counts if chosen(c) and counts[c]}
    elif isinstance(sampling_strategy, float | np.floating | int) and not isinstance(sampling_strategy, bool):
        if len(counts) != 2 or not 0 < sampling_strategy <= 1:
            raise InputError(
                "a number as sampling_strategy is the ratio of two classes, over 0 and up to 1; "
                f"got {sampling_strategy!r} for {len(counts)} classes"
            )
        wanted = {smallest: int(sampling_strategy * counts[largest])}
    else:
        given = sampling_strategy(labels.y) if callable(sampling_strategy) else sampling_strategy
        if not isinstance(given, Mapping):
            raise InputError(f"sampling_strategy must be a str, float, dict or callable, got {given!r}")
        if unknown := [c for c in given if c not in counts]:
            raise InputError(f"sampling_strategy names {unknown[0]!r}, which is no class of y")
        wanted = dict(given)
    for c, n in wanted.items():
        if n < counts[c]:
            raise InputError(
                f"sampling_strategy asks for {n} recordings of class {c!r}, which has {counts[c]}: "
                "twins are added, recordings are never taken away"
            )
    return {c: n - counts[c] for c, n in wanted.items() if n > counts[c]}


def label_conditions(labels: Labels, label_map: Mapping[Any, Any] | None) -> dict[Any, Condition]:
    """Return what each class shows, as far as that is known: by `label_map`, or by the labels themselves.

    Raises
    ------
    InputError, ConditionError
        If `label_map` names no class of y, or a condition that is not known.
    """
    classes: list[Hashable] = labels.classes.tolist()
    if label_map is not None:
        if not set(label_map) & set(classes):
            raise InputError(f"label_map has {list(label_map)[:3]}, but the classes of y are {classes[:3]}")
        return {c: Condition.parse(label_map[c]) for c in classes if label_map.get(c) is not None}
    if not all(isinstance(c, str) for c in classes):
        return {}
    try:
        return {c: Condition.parse(c) for c in classes}
    except ConditionError:
        return {}


def plan_balance(
    labels: Labels,
    wanted: Mapping[Any, int],
    own: Sequence[Condition] | None,
    shown: Mapping[Any, Condition],
    references: str,
    rng: np.random.Generator,
) -> TwinPlan:
    """Choose references and conditions of the twins wanted of each class.

    Parameters
    ----------
    labels : Labels
        Of n rows.
    wanted : dict
        Twins of each class.
    own : sequence of n Condition, optional
        What each row shows, where known.
    shown : dict
        What each class shows, as far as known.
    references : {"same", "other", "any"}
        Whether the person of a twin comes from the class that the twin is to show.
    rng : Generator

    Raises
    ------
    InputError
        If there is nobody to refer to, or nothing tells what a class shows.
    """
    classes = labels.classes.tolist()
    told = np.array([own is not None and bool(own[row].statements) for row in range(len(labels.member))])
    rows_of, labels_of, conditions = [], [], []
    for label, n in wanted.items():
        column = classes.index(label)
        inside = labels.member[:, column]
        allowed = {"same": inside, "other": ~inside}.get(references, np.ones_like(inside))
        rows = _cycle(np.flatnonzero(allowed), n, rng, label, references)
        donors = np.flatnonzero(inside & told)
        donors = rows if own is None or not len(donors) else _cycle(donors, n, rng, label, "same")
        dropped = np.zeros((n, len(classes)), dtype=bool)
        for i, (row, donor) in enumerate(zip(rows, donors, strict=True)):
            before = Condition() if own is None else own[row].replace(heart_rate=None)
            if inside[row]:
                conditions.append(_as_labelled(before, labels, row, shown))
            elif label in shown:
                others = [shown[c] for c in np.array(classes)[labels.member[row]].tolist() if c in shown]
                if labels.y.ndim == 2:  # a class comes to those that are there, which one label cannot say
                    codes = [code for other in others for code in other.statements]
                    before, others = before.replace(statements=(*before.statements, *codes)), []
                target = shown_instead(before, others, shown[label])
                dropped[i] = labels.member[row] & [
                    c in shown and not set(shown[c].statements) <= set(target.statements) for c in classes
                ]
                conditions.append(target)
            elif own is not None and told[donor] and labels.y.ndim == 1:
                conditions.append(before.replace(statements=own[int(donor)].statements))
            else:
                raise InputError(
                    f"references={references!r}: what is a recording of class {label!r} to show? "
                    "Give label_map, or one label a row with the conditions of all recordings"
                )
        rows_of.append(rows)
        labels_of.append(labels.relabelled(rows, column, dropped))
    if not rows_of:
        return TwinPlan(np.empty(0, np.intp), labels.y[:0], [])
    return TwinPlan(np.concatenate(rows_of), np.concatenate(labels_of), conditions)


def plan_replacement(
    labels: Labels | None,
    n_rows: int,
    share: float,
    own: Sequence[Condition] | None,
    shown: Mapping[Any, Condition],
    rng: np.random.Generator,
) -> TwinPlan:
    """Choose the share of n rows that are swapped for a twin of the same person, label and condition."""
    rows = np.sort(rng.choice(n_rows, round(share * n_rows), replace=False)).astype(np.intp)
    conditions = []
    for row in rows:
        asked = Condition() if own is None else own[row].replace(heart_rate=None)
        conditions.append(asked if labels is None else _as_labelled(asked, labels, row, shown))
    return TwinPlan(rows, rows if labels is None else labels.y[rows], conditions)


def _as_labelled(before: Condition, labels: Labels, row: int, shown: Mapping[Any, Condition]) -> Condition:
    """What a twin of a row's own person and label is to show: what the row does.

    Where that is not known, or its rhythm alone is, what each of its classes shows comes to it.
    """
    if {*before.statements} - RHYTHMS:
        return before
    classes = [c for c, there in zip(labels.classes.tolist(), labels.member[row], strict=True) if there]
    codes = dict.fromkeys(code for c in classes if c in shown for code in shown[c].statements)
    return shown_instead(before, [], Condition(tuple(codes))) if codes else before


def plan_person(
    labels: Labels, wanted: Sequence[Any], own: Condition, shown: Mapping[Any, Condition]
) -> list[tuple[Any, Condition]]:
    """Say how the twins of one person are labelled for each class wanted, and what they are to show.

    Parameters
    ----------
    labels : Labels
        Of the training set: whether a label is one class, or a row of 0 and 1.
    wanted : sequence of classes
    own : Condition
        What the person's recordings show.
    shown : dict
        What each class shows.
    """
    if labels.y.ndim == 1:
        others = {label: [shown[c] for c in shown if c != label] for label in wanted}
        return [(label, shown_instead(own, others[label], shown[label])) for label in wanted]
    plan = []
    for column in wanted:  # a class comes to those that are there, which one label cannot say
        target = shown_instead(own, [], shown[column])
        codes = [set(shown[c].statements) if c in shown else set() for c in labels.classes.tolist()]
        row = np.array([bool(one) and one <= set(target.statements) for one in codes])
        row[column] = True
        plan.append((row.astype(labels.y.dtype), target))
    return plan


def shown_instead(before: Condition, dropped: Sequence[Condition], asked: Condition) -> Condition:
    """The person's own condition with the statements of its classes replaced by those asked for."""
    gone = {code for condition in dropped for code in condition.statements}
    kept = [code for code in before.statements if code not in gone]
    for code in list(kept):
        if Condition((code, *asked.statements)).conflicts() or code == "NORM":
            kept.remove(code)
    codes = (*kept, *(code for code in asked.statements if code not in kept))
    return with_person_of(asked.replace(statements=codes), before)


def _cycle(rows: Array, n: int, rng: np.random.Generator, label: Any, references: str) -> NDArray[np.intp]:
    """Draw n of the rows, each as often as any other."""
    if not len(rows):
        raise InputError(f"references={references!r}: no recording to make twins of class {label!r} from")
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(rounds)[:n].astype(np.intp)
