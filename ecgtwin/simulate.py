"""Simulated ECGs of simulated persons, for tests, teaching and examples without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state

from .beats import heart_rate
from .conditions import HEART_RATE_RANGE, Condition
from .ecg import check_rate
from .exceptions import ConditionError, InputError
from .leads import twelve_leads

Array = NDArray[Any]

SIMULATED = ("NORM", "SR", "SBRAD", "STACH", "AFIB", "PVC", "1AVB", "CLBBB", "CRBBB")
"""The statements that `make_ecgs` can draw."""

# Beats per minute, from which a recording draws its mean rate.
_RATES = {"SR": (58, 92), "SBRAD": (42, 54), "STACH": (106, 140), "AFIB": (70, 125)}

# The 8 independent leads from Frank's X (left), Y (foot) and Z (back): Dower 1980.
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


class _Wave(NamedTuple):
    """A Gaussian in time along a direction: seconds after R, seconds before and after its top, and mV."""

    time: float
    rise: float
    fall: float
    vector: Array


def _wave(time: float, rise: float, fall: float, *vector: float) -> _Wave:
    return _Wave(time, rise, fall, np.array(vector))


_P = _wave(-0.160, 0.022, 0.022, 0.07, 0.11, -0.01)
_QRS = (
    _wave(-0.026, 0.009, 0.009, -0.12, -0.05, -0.22),
    _wave(0.000, 0.012, 0.012, 0.95, 0.75, 0.35),
    _wave(0.026, 0.011, 0.011, -0.15, -0.10, 0.50),
)
_T = _wave(0.270, 0.055, 0.036, 0.22, 0.16, -0.12)
# The left ventricle late: no septal q, a broad notched R to the left and back, T against it.
_LEFT_BLOCK = (_wave(-0.022, 0.022, 0.023, 0.60, 0.45, 0.45), _wave(0.042, 0.023, 0.015, 0.95, 0.30, 1.00))
_LEFT_BLOCK_T = _wave(0.305, 0.065, 0.050, -0.22, -0.08, -0.20)
# The right ventricle late: a terminal force to the right and front, T against it.
_RIGHT_BLOCK = _wave(0.062, 0.017, 0.020, -0.60, -0.05, -0.60)
_RIGHT_BLOCK_T = _wave(0.285, 0.055, 0.036, 0.22, 0.14, 0.10)
# From the right ventricle's outflow: steep on one side and slurred on the other, 160 ms wide.
_ECTOPIC = (_wave(-0.018, 0.030, 0.014, 0.25, 1.20, 0.95), _wave(0.028, 0.015, 0.024, 0.40, 1.30, 0.50))
_ECTOPIC_T = _wave(0.300, 0.060, 0.042, -0.15, -0.40, -0.25)
_FIRST_DEGREE_DELAY = 0.080


@dataclass(frozen=True)
class _Person:
    """What stays the same from one recording of a person to the next."""

    age: float
    sex: str
    leads: Array
    waves: dict[str, tuple[_Wave, ...]]
    flutter: Array


def make_ecgs(
    n_patients: int = 20,
    n_records: int = 2,
    *,
    sampling_rate: float = 100,
    seconds: float = 10,
    random_state: int | np.random.RandomState | None = None,
    statements: Sequence[str] = ("NORM", "PVC", "AFIB", "CLBBB", "SBRAD", "STACH", "1AVB", "CRBBB"),
) -> Bunch:
    """Draw simulated 12-lead ECGs, several of each person.

    A beat is a moving dipole: P, Q, R, S and T are Gaussians in time, each with a direction in space,
    seen by the leads through an 8 by 3 matrix. Waves and matrix belong to the person; rate, rhythm,
    breathing, electrode placement, noise and baseline wander belong to the recording.

    Parameters
    ----------
    n_patients, n_records : int
        Persons, and recordings of each.
    sampling_rate : float
        Samples per second.
    seconds : float
        Duration of a recording.
    random_state : int, RandomState or None
        As in scikit-learn. A person depends on it and on its own number alone.
    statements : sequence of str
        What the recordings show, by turns: recording ``j`` of person ``i`` shows number ``i + j``. Each
        entry is any text that `Condition.parse` reads as some of `SIMULATED`, so ``"AFIB + CLBBB"``
        too; without a rhythm it is in sinus rhythm.

    Returns
    -------
    sklearn.utils.Bunch
        ``signals`` float32 ``(n, 12, t)`` in mV, standard lead order, ``n = n_patients * n_records``;
        ``conditions``, a list of `Condition`, whose heart rate is measured by
        `ecgtwin.beats.heart_rate`; ``groups`` ``(n,)``, the persons' ids as strings; ``beats``, a list of
        arrays, the true times of the R waves in seconds.

    Raises
    ------
    ConditionError
        If a statement is not one of `SIMULATED`, or contradicts another of its entry.
    InputError
        If a number is not positive.

    References
    ----------
    McSharry et al., A dynamical model for generating synthetic electrocardiogram signals, IEEE TBME
    50 (2003), for waves as Gaussians. Dower et al., Deriving the 12-lead electrocardiogram from four
    (EASI) electrodes and from the vectorcardiogram, Clin. Cardiol. 3 (1980), for the lead matrix.

    Examples
    --------
    >>> ecgs = make_ecgs(3, 2, random_state=0)
    >>> ecgs.signals.shape, ecgs.groups.tolist()
    ((6, 12, 1000), ['0', '0', '1', '1', '2', '2'])
    >>> ecgs.conditions[1].statements
    ('PVC', 'SR')
    """
    rate = check_rate(sampling_rate)
    if min(n_patients, n_records, len(statements)) < 1 or not 0 < seconds * rate < float("inf"):
        raise InputError("n_patients, n_records, seconds and the number of statements must be positive")
    shown = [_shown_statements(entry) for entry in statements]
    seed = check_random_state(random_state).randint(2**31)
    signals, conditions, groups, beats = [], [], [], []
    for i, person_seed in enumerate(np.random.SeedSequence(seed).spawn(n_patients)):
        person = _draw_person(np.random.default_rng(person_seed))
        for j, record_seed in enumerate(person_seed.spawn(n_records)):
            codes = shown[(i + j) % len(shown)]
            signal, times = _record(person, codes, rate, seconds, np.random.default_rng(record_seed))
            measured = heart_rate(signal, rate)
            low, high = HEART_RATE_RANGE
            known_rate = measured if low <= measured <= high else None
            signals.append(signal)
            conditions.append(Condition(codes, person.age, person.sex, known_rate))
            groups.append(str(i))
            beats.append(times)
    return Bunch(signals=np.stack(signals), conditions=conditions, groups=np.array(groups), beats=beats)


def _shown_statements(entry: str) -> tuple[str, ...]:
    condition = Condition(Condition.parse(entry).statements)
    if unknown := set(condition.statements) - set(SIMULATED):
        known = ", ".join(SIMULATED)
        raise ConditionError(f"cannot simulate {', '.join(sorted(unknown))}; can simulate {known}")
    if conflicts := condition.conflicts():
        raise ConditionError(f"cannot simulate {entry!r}: {'; '.join(conflicts)}")
    if not _RATES.keys() & set(condition.statements):
        condition = condition.replace(statements=(*condition.statements, "SR"))
    return condition.statements


def _draw_person(rng: np.random.Generator) -> _Person:
    turn = _rotation(rng.normal(0, np.deg2rad([12, 12, 18])))
    size = rng.lognormal(0, 0.15)

    def own(wave: _Wave) -> _Wave:
        length = np.linalg.norm(wave.vector)
        vector = rng.lognormal(0, 0.2) * (wave.vector + length * rng.normal(0, 0.12, 3))
        width = rng.lognormal(0, 0.08)
        return _Wave(wave.time * rng.lognormal(0, 0.05), wave.rise * width, wave.fall * width, size * vector)

    leads = (_DOWER * rng.lognormal(0, 0.1, (8, 1)) + rng.normal(0, 0.08, _DOWER.shape)) @ turn
    p, t = own(_P), own(_T)
    normal = tuple(own(wave) for wave in _QRS)
    return _Person(
        age=float(rng.integers(25, 86)),
        sex=str(rng.choice(["F", "M"])),
        leads=leads,
        waves={
            "P": (p,),
            "normal": (*normal, t),
            "CLBBB": (*(own(wave) for wave in _LEFT_BLOCK), own(_LEFT_BLOCK_T)),
            "CRBBB": (*normal, own(_RIGHT_BLOCK), own(_RIGHT_BLOCK_T)),
            "PVC": (*(own(wave) for wave in _ECTOPIC), own(_ECTOPIC_T)),
        },
        flutter=size * np.array([0.01, 0.03, -0.03]) * rng.lognormal(0, 0.2, 3),
    )


def _rotation(angles: Array) -> Array:
    """The rotation about X, then Y, then Z by these angles in radians."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        about = np.eye(3)
        about[[a, b, a, b], [a, b, b, a]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        turn = about @ turn
    return turn


def _record(
    person: _Person, codes: Sequence[str], rate: float, seconds: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """One recording ``(12, t)`` and the times of its R waves."""
    beats, ectopic, mean_rr = _rhythm(codes, seconds, rng)
    t = np.arange(round(seconds * rate)) / rate
    dipole = _dipole(t, _train(person, codes, beats, ectopic, mean_rr))
    if "AFIB" in codes:
        drift = np.cumsum(rng.normal(0, 0.5, len(t))) / np.sqrt(rate)
        waves = np.sin(2 * np.pi * rng.uniform(5.5, 7.5) * t + drift) * (
            1 + 0.3 * np.sin(2 * np.pi * 0.7 * t)
        )
        dipole = dipole + person.flutter[:, None] * waves
    breath, phase = rng.uniform(0.2, 0.3), rng.uniform(0, 2 * np.pi)
    dipole = dipole * (1 + 0.04 * np.sin(2 * np.pi * breath * t + phase))
    placed = person.leads * (1 + rng.normal(0, 0.03, person.leads.shape))
    wander = sum(
        rng.normal(0, 0.02, (8, 1)) * np.sin(2 * np.pi * f * t + rng.uniform(0, 2 * np.pi))
        for f in (0.07, 0.15, breath, 0.4)
    )
    free = placed @ dipole + wander + rng.normal(0, 0.006, (8, len(t)))
    return twelve_leads(free).astype(np.float32), beats[(beats >= 0) & (beats <= t[-1])]


def _rhythm(codes: Sequence[str], seconds: float, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Times of the R waves, from before the recording until after it, which are ectopic, and the mean RR."""
    low, high = next(rates for code, rates in _RATES.items() if code in codes)
    mean_rr = 60.0 / rng.uniform(low, high)
    n = int((seconds + 4) / mean_rr) + 3
    if "AFIB" in codes:
        intervals = mean_rr * np.clip(rng.gamma(25, 1 / 25, n), 0.6, 1.7)
        # A strip of ten seconds should show the rate that was drawn
        intervals *= mean_rr / intervals.mean()
    else:
        breathing = np.sin(2 * np.pi * 0.25 * mean_rr * np.arange(n) + rng.uniform(0, 2 * np.pi))
        intervals = mean_rr * (1 + 0.02 * breathing + 0.01 * rng.normal(size=n))
    beats = np.cumsum(intervals) - 2 - rng.uniform(0, mean_rr)
    ectopic = np.zeros(n, dtype=bool)
    inside = np.flatnonzero((beats > 0.6) & (beats < seconds - 0.2))
    if "PVC" in codes and len(inside):
        every = int(rng.integers(3, 6))
        ectopic[int(rng.choice(inside[:every])) :: every] = True
        # The sinus keeps its time, so the beat after comes late by as much: the compensatory pause.
        early = np.flatnonzero(ectopic)
        beats[early] -= rng.uniform(0.34, 0.42) * (beats[early] - beats[early - 1])
    return beats, ectopic, mean_rr


def _train(
    person: _Person, codes: Sequence[str], beats: Array, ectopic: Array, mean_rr: float
) -> list[_Wave]:
    """All waves of a recording, their times from its start."""
    block = next((code for code in ("CLBBB", "CRBBB") if code in codes), "normal")
    p = [] if "AFIB" in codes else list(person.waves["P"])
    if "1AVB" in codes:
        p = [wave._replace(time=wave.time - _FIRST_DEGREE_DELAY) for wave in p]
    sinus, early = [*p, *person.waves[block]], list(person.waves["PVC"])
    stretch = np.sqrt(mean_rr)  # Bazett: repolarisation follows the root of RR
    train = []
    for time, is_ectopic in zip(beats, ectopic, strict=True):
        for wave in early if is_ectopic else sinus:
            slow = stretch if wave.time > 0.15 else 1.0
            train.append(_Wave(time + slow * wave.time, slow * wave.rise, slow * wave.fall, wave.vector))
    return train


def _dipole(t: Array, train: Sequence[_Wave]) -> Array:
    """The sum of the waves ``(3, t)`` in mV."""
    time, rise, fall = (np.array(part)[:, None] for part in list(zip(*train, strict=True))[:3])
    since = t - time
    shape = np.exp(-0.5 * (since / np.where(since < 0, rise, fall)) ** 2)
    return np.array([wave.vector for wave in train]).T @ shape
