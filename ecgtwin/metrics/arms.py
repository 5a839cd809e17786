"""The arms of every table: twin, copy, population, stranger and real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..beats import heart_rate
from ..conditions import Condition, statement_matrix
from ..delineation import Delineation, delineate
from ..exceptions import InputError
from ..generator import ECGTwinGenerator
from ..leads import LEADS
from ..parallel import on_all_cores
from .fidelity import spectra
from .judges import Judges, Verdict
from .physiology import beat_consistency
from .privacy import beat_vectors
from .rules import RULES, Measurements

ARMS = ("twin", "copy", "population", "stranger", "real")

Array = NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Recordings:
    """Recordings of known persons and conditions.

    Parameters
    ----------
    signals : float32 array (n, 12, 1000)
        mV at 100 Hz, standard lead order.
    groups : array (n,)
        The person of each.
    conditions : sequence of n Condition
    record_ids : array (n,)
    """

    signals: NDArray[np.float32]
    groups: Array
    conditions: Sequence[Condition]
    record_ids: Array

    @classmethod
    def of(cls, bunch: Any) -> Self:
        """Take what `ecgtwin.load_ptbxl` returns."""
        return cls(bunch.signals, bunch.groups, bunch.conditions, bunch.record_ids)

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, rows: Array) -> Self:
        rows = np.arange(len(self))[rows]  # numbers or a mask
        conditions = [self.conditions[row] for row in rows]
        return type(self)(self.signals[rows], self.groups[rows], conditions, self.record_ids[rows])


@dataclass(frozen=True)
class Arm:
    """ECGs with what was asked of them, and everything that is measured on them, each thing once.

    Parameters
    ----------
    signals : array (n, 12, 1000)
        mV at 100 Hz.
    groups : array (n,)
        Whose they are to be: the person of the reference.
    asked : sequence of n Condition, or None
        None where it is not known what was asked.
    references : int array (n,)
        The rows of the real recordings that they were made from; -1 where not known.
    judges : Judges
    tick : callable
        Called with a word for what has been done.
    source : Arm, optional
        Where these ECGs have been measured already, at the rows `references`.
    """

    signals: NDArray[np.float32]
    groups: Array
    asked: Sequence[Condition] | None
    references: NDArray[np.intp]
    judges: Judges
    tick: Callable[[str], None] = lambda name: None
    source: Arm | None = None

    def __len__(self) -> int:
        return len(self.signals)

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """The statements asked for, ``(n, 71)``."""
        if self.asked is None:
            raise InputError("what was asked for is not known")
        return statement_matrix(self.asked)

    @cached_property
    def verdict(self) -> Verdict:
        """What the classifier sees."""
        if self.source is not None:
            return self.source.verdict.at(self.references)
        return self._done("classified", self.judges.classify(self.signals))

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """Who the recogniser sees, ``(n, 128)``."""
        if self.source is not None:
            return self.source.embeddings[self.references]
        return self._done("recognised", self.judges.embed(self.signals))

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """The space of Frechet distances, ``(n, 40)``."""
        if self.source is not None:
            return self.source.features[self.references]
        return self._done("described", self.judges.describe(self.signals))

    @cached_property
    def spectra(self) -> Array:
        """Power spectra of each lead."""
        if self.source is not None:
            return self.source.spectra[self.references]
        return self._done("transformed", spectra(self.signals))

    @cached_property
    def measured(self) -> list[Measured]:
        """What is measured on each recording by itself."""
        if self.source is not None:
            return [self.source.measured[row] for row in self.references]
        return self._done("measured", on_all_cores(_measure, self.signals, 64))

    @property
    def delineations(self) -> list[Delineation]:
        """Intervals and amplitudes of each recording."""
        return [one.delineation for one in self.measured]

    @cached_property
    def consistency(self) -> Array:
        """How alike a recording's beats are: correlation, spread of R, spread of T, ``(n, 3, 12)``."""
        return np.array([one.consistency for one in self.measured])

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """Heart rates in bpm; NaN where none is found."""
        return np.array([one.rates[0] for one in self.measured])

    @cached_property
    def rates_apart(self) -> NDArray[np.float64]:
        """Heart rates by the limb leads and by the chest leads, ``(n, 2)``."""
        return np.array([one.rates[1:] for one in self.measured])

    @cached_property
    def rules_met(self) -> dict[str, NDArray[np.bool_]]:
        """Which recordings meet the rule of each statement."""
        return {code: np.array([one.rules_met[code] for one in self.measured]) for code in RULES}

    @cached_property
    def beats(self) -> Array:
        """Typical beats, for distances to training records."""
        if self.source is not None:
            return self.source.beats[self.references]
        return self._done("beats compared", all_beat_vectors(self.signals))

    def _done(self, name: str, value: T) -> T:
        self.tick(name)
        return value


@dataclass(frozen=True)
class Measured:
    """What is measured on one recording by itself."""

    delineation: Delineation
    rules_met: dict[str, bool]
    rates: tuple[float, float, float]
    consistency: Array


def _measure(signals: Array) -> list[Measured]:
    found = []
    for signal in signals:
        delineation = delineate(signal)
        measurements = Measurements(signal, 100.0, delineation)
        alike = beat_consistency(signal[None], LEADS, delineations=[delineation])
        found.append(
            Measured(
                delineation,
                {code: bool(rule.met(measurements)) for code, rule in RULES.items()},
                (heart_rate(signal), heart_rate(signal[:6]), heart_rate(signal[6:])),
                np.concatenate([alike.correlation, alike.r_spread, alike.t_spread]),
            )
        )
    return found


def all_beat_vectors(signals: Array) -> Array:
    """Return `beat_vectors` of many recordings, on all cores."""
    return np.array(on_all_cores(beat_vectors, signals, 256))


@dataclass(frozen=True)
class Plan:
    """Which recordings are references, whose condition is asked for, and who stands in as a stranger.

    All are rows of the real recordings. Twins keep age and sex of their reference; statements and heart
    rate are those of the target, which belongs to another person: the condition changes.
    """

    references: NDArray[np.intp]
    targets: NDArray[np.intp]
    strangers: NDArray[np.intp]

    @classmethod
    def draw(cls, groups: Array, n: int, seed: int) -> Self:
        """Draw n references with targets and strangers: one recording of each person, then further ones."""
        rng = np.random.default_rng([seed, 0])
        _, first = np.unique(groups, return_index=True)
        further = np.setdiff1d(np.arange(len(groups)), first)
        references = np.concatenate([rng.permutation(first), rng.permutation(further)])[:n]
        return cls(references, *(_others(groups, references, rng) for _ in range(2)))

    @classmethod
    def own_changes(cls, real: Recordings, n: int) -> Self:
        """Plan changes that happened: to what another recording of the person shows, where it shows else.

        The first recording that there is of each of up to n persons is the reference.
        """
        shown = statement_matrix(real.conditions)
        changes = []
        for person in np.unique(real.groups):
            first, *others = np.flatnonzero(real.groups == person)
            changed = [row for row in others if (shown[row] != shown[first]).any()]
            changes += [(first, changed[0])] if changed else []
        references, targets = np.array(changes[:n], dtype=np.intp).reshape(-1, 2).T
        return cls(references, targets, references)

    def __len__(self) -> int:
        return len(self.references)

    def first(self, n: int) -> Plan:
        """The first n rows."""
        return Plan(self.references[:n], self.targets[:n], self.strangers[:n])

    def asked(self, real: Recordings) -> list[Condition]:
        """The conditions asked for."""
        return [
            real.conditions[target].replace(age=real.conditions[row].age, sex=real.conditions[row].sex)
            for row, target in zip(self.references, self.targets, strict=True)
        ]


def _others(groups: Array, rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Give each row a recording of another person; all recordings are used as evenly as can be."""
    order = rng.permutation(len(groups))
    found = order[np.arange(len(rows)) % len(order)]
    for _ in range(100):
        clash = np.flatnonzero(groups[found] == groups[rows])
        if not len(clash):
            return found
        swap = rng.integers(len(rows), size=len(clash))
        for a, b in zip(clash, swap, strict=True):
            found[a], found[b] = found[b], found[a]
    raise InputError("recordings of several persons are needed")


def draw_arms(
    generator: ECGTwinGenerator,
    real: Recordings,
    plan: Plan,
    n_others: int,
    judges: Judges,
    *,
    seed: int = 0,
    callback: Callable[[int, int], None] | None = None,
    tick: Callable[[str], None] = lambda name: None,
) -> dict[str, Arm]:
    """Draw twins, and beside them what a generator without the person would give.

    Returns
    -------
    dict
        ``twin``: reference to target. ``copy``: the reference itself, returned whatever is asked.
        ``population``: the same targets without a person (``person_scale=0``), `n_others` of them.
        ``stranger``: as twin, with another person's base vector, `n_others`. ``real``: the real
        recordings themselves, each asked for its own condition.
    """
    own = Arm(real.signals, real.groups, real.conditions, np.arange(len(real)), judges, tick)

    def sampled(of: Plan, persons: NDArray[np.intp], **settings: Any) -> Arm:
        return draw_arm(
            generator, real, of, persons, judges, seed=seed, callback=callback, tick=tick, **settings
        )

    few = plan.first(n_others)
    asked, references = plan.asked(real), plan.references
    return {
        "twin": sampled(plan, references),
        "copy": Arm(real.signals[references], real.groups[references], asked, references, judges, tick, own),
        "population": sampled(few, few.references, person_scale=0.0),
        "stranger": sampled(few, few.strangers),
        "real": own,
    }


def draw_arm(
    generator: ECGTwinGenerator,
    real: Recordings,
    plan: Plan,
    persons: NDArray[np.intp],
    judges: Judges,
    *,
    seed: int = 0,
    callback: Callable[[int, int], None] | None = None,
    tick: Callable[[str], None] = lambda name: None,
    **settings: Any,
) -> Arm:
    """Draw one arm of a plan, with the `persons` of these real recordings instead of the references'."""
    asked = plan.asked(real)
    signals = generator.sample_each(
        real.signals[persons],
        asked,
        reference_conditions=[real.conditions[row] for row in persons],
        random_state=seed,
        callback=callback,
        **settings,
    )
    return Arm(signals, real.groups[plan.references], asked, plan.references, judges, tick)
