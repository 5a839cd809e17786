"""The ladder that a metric must pass before its figures count: from real ECGs down to white noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exceptions import InputError
from ..leads import independent_leads, twelve_leads
from .bootstrap import check_groups, check_rows

Array = NDArray[Any]

RUNGS = ("real", "other", "noisy", "reversed", "swapped", "noise")
"""From the best to the worst."""

_READ_THROUGH = "the judge reads through it, as a physician does"

BLIND: dict[str, dict[str, str]] = {
    "psd_log_distance": {"reversed": "power has no direction in time"},
    "hr_mae": {
        "noisy": "the detector is made to bear noise",
        "reversed": "the beats are as many",
        "swapped": "the detector adds all leads up",
    },
    "recall": {"reversed": "odd ECGs lie far apart, so that their neighbourhoods reach far (Naeem 2020)"},
    "label_auroc": {"noisy": _READ_THROUGH},
    "sex_auroc": {"noisy": _READ_THROUGH},
    "age_mae": {"noisy": _READ_THROUGH},
    "retrieval_top1": {"noisy": _READ_THROUGH},
    "beat_consistency": {
        "reversed": "beats are as alike backwards",
        "swapped": "beats are as alike in other leads",
    },
    "interval_w1": {"swapped": "intervals are those of all leads together"},
    "nearest_distance": {"noisy": "the median over beats takes noise away"},
    "lead_residual": {
        "noisy": "noise at an electrode obeys the laws of the leads",
        "reversed": "the laws hold at each moment by itself",
    },
}
"""What a metric cannot see by its definition, and why: from metric to rung to reason."""

SNR_DB = 10.0
"""Of the noisy rung, each lead's variance over that of its noise."""

WHITE_SHARE = 0.2
"""Of the power of that noise; the rest is baseline wander below 0.5 Hz."""


def ladder(signals: ArrayLike, groups: ArrayLike, *, random_state: int = 0) -> dict[str, Array]:
    """Build the rungs from real recordings.

    The patients are split at random into two halves. ``real`` is the first half itself, to which set
    metrics compare every rung; ``other`` is the second half, and the rungs below are made of it.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Real recordings in millivolts.
    groups : array of shape (n,)
        Their patients.
    random_state : int

    Returns
    -------
    dict
        From rung, in the order of `RUNGS`, to signals.

    Raises
    ------
    InputError
        If there are fewer than two patients, shapes do not fit or a value is not finite.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecgs = make_ecgs(4, 2, random_state=0)
    >>> {rung: len(signals) for rung, signals in ladder(ecgs.signals, ecgs.groups).items()}
    {'real': 4, 'other': 4, 'noisy': 4, 'reversed': 4, 'swapped': 4, 'noise': 4}
    """
    signals = check_rows(signals, "signals", 3)
    groups = check_groups(groups, len(signals))
    patients = np.unique(groups)
    if len(patients) < 2:
        raise InputError("a ladder needs two patients at least")
    chosen = np.random.default_rng(random_state).permutation(patients)[: len(patients) // 2]
    first = np.isin(groups, chosen)
    other = signals[~first]
    return {"real": signals[first], "other": other, **degraded(other, random_state=random_state)}


def degraded(signals: ArrayLike, *, random_state: int = 0) -> dict[str, Array]:
    """Spoil recordings in four ways, each row its own: the lower rungs, for ladders of one's own.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Real recordings in millivolts.
    random_state : int

    Returns
    -------
    dict
        ``noisy``: with white noise and baseline wander, 10 dB below the signal, at the electrodes, so that
        the leads still obey their laws; ``reversed`` in time; ``swapped``: the limb leads in the chest
        leads' place and the other way round; ``noise``: white, of each lead's own mean and deviation.

    Raises
    ------
    InputError
        If the shape is another or a value is not finite.
    """
    signals = check_rows(signals, "signals", 3)
    if signals.shape[1] != 12:
        raise InputError(f"signals must have 12 leads; got shape {signals.shape}")
    rng = np.random.default_rng([random_state, 1])
    mean, deviation = signals.mean(axis=-1, keepdims=True), signals.std(axis=-1, keepdims=True)
    spoiled = {
        "noisy": _with_noise(signals, rng),
        "reversed": signals[..., ::-1],
        "swapped": np.concatenate([signals[:, 6:], signals[:, :6]], axis=1),
        "noise": mean + deviation * rng.standard_normal(signals.shape),
    }
    return {rung: np.ascontiguousarray(rows, dtype=signals.dtype) for rung, rows in spoiled.items()}


def ladder_table(measure: Callable[[Array], float], rungs: Mapping[str, Array]) -> dict[str, float]:
    """Measure every rung.

    Parameters
    ----------
    measure : callable
        From signals ``(n, 12, n_times)`` to a number; a set metric closes over ``rungs["real"]``.
    rungs : mapping
        As `ladder` gives them.

    Returns
    -------
    dict
        From rung to value.
    """
    return {rung: float(measure(signals)) for rung, signals in rungs.items()}


def in_order(
    table: Mapping[str, float],
    *,
    higher_is_better: bool,
    blind: Collection[str] = (),
    slack: float = 0.0,
    floor: float | None = None,
) -> list[str]:
    """Say where a metric breaks the ladder.

    Real may equal another real; from there on each rung must be worse than the one above it. A rung that
    the metric cannot see is taken out of that order, but must not be better than real. Noise must be
    worse than all, whatever the slack.

    Parameters
    ----------
    table : mapping
        As `ladder_table` gives it.
    higher_is_better : bool
    blind : collection of str
        Rungs that the metric cannot see, as in ``BLIND[metric]``.
    slack : float
        The metric's sampling error: by less than this a rung may be better than the one above it. With 0
        a tie with the one above is a violation too.
    floor : float, optional
        The worst the metric can say, or chance: it does not tell apart what lies there, so rungs at
        the floor or beyond it are equal, and equal is no violation.

    Returns
    -------
    list of str
        One line for each violation; empty where the metric passes.

    Raises
    ------
    InputError
        If a rung is missing or not known.

    Examples
    --------
    >>> table = {"real": 0.0, "other": 0.1, "noisy": 0.3, "reversed": 0.1, "swapped": 0.8, "noise": 2.0}
    >>> in_order(table, higher_is_better=False, blind=BLIND["psd_log_distance"])
    []
    >>> in_order(table, higher_is_better=False)
    ['reversed (0.1) is not worse than noisy (0.3)']
    """
    if set(table) != set(RUNGS) or not set(blind) <= set(RUNGS[2:-1]):
        raise InputError(f"the rungs are {', '.join(RUNGS)}; got {', '.join(table)}, blind {list(blind)}")
    sign = 1 if higher_is_better else -1
    lowest = -np.inf if floor is None else sign * floor
    score = {rung: max(sign * table[rung], lowest) for rung in RUNGS}

    def shown(rung: str) -> str:
        return f"{rung} ({table[rung]:.4g})"

    seen = [rung for rung in RUNGS[1:] if rung not in blind]
    pairs = list(pairwise(seen)) + [(rung, "noise") for rung in RUNGS[:-1] if rung not in seen[-2:]]
    faults = [f"{shown(rung)} is no number" for rung in RUNGS if np.isnan(table[rung])]
    for rung in ("other", *(rung for rung in RUNGS if rung in blind)):
        if score[rung] > score["real"] + slack:
            faults.append(f"{shown(rung)} is better than {shown('real')}")
    for above, below in pairs:
        allowed = 0.0 if below == "noise" else slack
        if score[below] - score[above] >= allowed and score[below] > lowest:
            faults.append(f"{shown(below)} is not worse than {shown(above)}")
    return faults


def _with_noise(signals: Array, rng: np.random.Generator) -> Array:
    """Add noise to the 8 independent leads and compute the others of them."""
    leads = independent_leads(signals).astype(np.float64)
    spectrum = np.fft.rfft(rng.standard_normal(leads.shape))
    cycles = np.arange(spectrum.shape[-1])  # in the whole recording
    spectrum[..., (cycles < 1) | (cycles > 5)] = 0  # below 0.5 Hz in ten seconds: breathing, electrodes
    wander = np.fft.irfft(spectrum, leads.shape[-1])
    wander /= np.maximum(wander.std(axis=-1, keepdims=True), 1e-12)
    white = rng.standard_normal(leads.shape)
    noise = np.sqrt(WHITE_SHARE) * white + np.sqrt(1 - WHITE_SHARE) * wander
    amplitude = leads.std(axis=-1, keepdims=True) * 10 ** (-SNR_DB / 20)
    return twelve_leads(leads + amplitude * noise)
