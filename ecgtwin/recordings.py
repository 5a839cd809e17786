"""From what users pass to the arrays that the networks read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.nn import functional as F

from .conditions import Condition, with_person_of
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE, check_rate, check_reference, reason_to_refuse
from .exceptions import InputError, QualityWarning, shown
from .formats import as_ecg, read_windows, record_seconds
from .leads import INDEPENDENT_LEADS, LEADS, complete_leads, lead_residual, resample
from .nn import N_STATEMENTS, TwinNetworks, facts_of, in_full, open_facts
from .quality import MAX_MILLIVOLTS, MIN_SECONDS, content_counts, flat_leads, without_wander
from .rhythm import Beats
from .training import TrainingData, base_vectors, known_leads

Array = NDArray[Any]


LONG_SECONDS, MAX_WINDOWS = 300.0, 144
"""A WFDB record longer than this is a reference by so many windows of 10 s: of a day, one in ten minutes."""


def as_references(reference: Any, sampling_rate: float, conditions: Any = None) -> list[ECG]:
    """Return the recordings of one person, each checked, from one or several of whatever holds an ECG.

    What they show is `conditions`, one for all or a list of one for each, where that is given.
    """
    if isinstance(reference, list) or getattr(reference, "ndim", 0) == 3:
        if len(reference) == 0:
            raise InputError("no reference: the list is empty")
        read = [_read(one, sampling_rate, f"reference {i}") for i, one in enumerate(reference)]
    else:
        read = [_read(reference, sampling_rate, "the reference")]
    if conditions is None:
        return [ecg for ecgs in read for ecg in ecgs]
    known = conditions if isinstance(conditions, list) else [conditions]
    known = known * len(read) if len(known) == 1 else known
    if len(known) != len(read):
        raise InputError(f"{len(known)} reference conditions for {len(read)} references")
    return [
        replace(ecg, condition=with_person_of(one, ecg.condition))
        for ecgs, one in zip(read, known, strict=True)
        for ecg in ecgs
    ]


def _read(reference: Any, sampling_rate: float, name: str) -> list[ECG]:
    """Return a checked recording, or the windows of a long record that can be used."""
    if isinstance(reference, str | Path) and record_seconds(reference) > LONG_SECONDS:
        return _usable_windows(reference)
    return [check_reference(as_ecg(reference, sampling_rate=sampling_rate), name=name)]


def _usable_windows(path: str | Path) -> list[ECG]:
    """Return the windows of a long record that can be used, and warn of how many cannot."""
    usable, refused, reason = [], 0, ""
    for window in read_windows(path, max_windows=MAX_WINDOWS):
        why = reason_to_refuse(window)  # and no warnings: hours of movement have something of everything
        if why is None:
            usable.append(window)
        else:
            refused, reason = refused + 1, why
    name = Path(path).name
    if not usable:
        raise InputError(f"record {name}: none of {refused} windows of 10 s can be used; the last: {reason}")
    if refused:
        message = f"record {name}: {refused} of {refused + len(usable)} windows of 10 s cannot be used"
        warnings.warn(message, QualityWarning, stacklevel=7)
    return usable


def native_batches(X: Any, sampling_rate: float) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Return recordings at 100 Hz in batches of one length, ``(n, 12, t)``, and which leads are there.

    Parameters
    ----------
    X : array (n, 12, t) or (n, t), or a list of whatever `as_ecg` reads
        Millivolts; ``(n, t)`` is a batch of single-lead recordings (lead I). An array is one batch, a list
        one batch for each recording.
    sampling_rate : float
        Of arrays.

    Raises
    ------
    InputError, ValueError
        If X holds no recordings; the message is scikit-learn's where it is about arrays.
    """
    if _is_list_of_recordings(X):
        native = [as_ecg(one, sampling_rate=sampling_rate).native() for one in X]
        for i, (signal, _) in enumerate(native):
            if not np.isfinite(signal).all():
                raise InputError(f"recording {i} holds NaN or infinite values")
        return [(_bounded(signal[None]), present[None]) for signal, present in native]
    batch = _real_array(X)
    if batch.shape[:-1] == (12,) and batch.any() and lead_residual(batch) < 0.05:
        raise InputError(
            "12 rows that obey Einthoven's law are one 12-lead recording, and 2-D input is a batch of single "
            "leads: pass X[None]"
        )
    batch = batch[:, None] if batch.ndim == 2 else batch
    if batch.ndim != 3 or batch.shape[1] not in (1, 12):
        raise InputError(
            f"expected (n_samples, 12, n_times), or (n_samples, n_times) of lead I, got {np.shape(X)}; "
            "for other leads pass a list of ECG objects with their names"
        )
    n_leads = batch.shape[1]
    present = np.repeat(np.arange(12)[None] < n_leads, len(batch), axis=0)
    signals = np.zeros((len(batch), 12, batch.shape[2]), dtype=np.float32)
    signals[:, :n_leads] = _bounded(batch)
    signals = resample(signals, check_rate(sampling_rate), NATIVE_RATE)
    signals = held_to(signals, round(MIN_SECONDS * NATIVE_RATE))
    return [(signals, present)]


def as_recorded(signals: Array, present: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return native recordings ``(n, 12, t)`` and which leads are there, as `ECG.native` would of each.

    A flat lead is missing, or follows from others; a baseline that wanders far is high-pass filtered.
    """
    signals, present = np.array(signals, dtype=np.float32), np.array(present)
    alive = present & ~flat_leads(signals)
    for row in np.flatnonzero((present & ~alive).any(axis=1) & alive.any(axis=1)):
        names = [lead for lead, there in zip(LEADS, alive[row], strict=True) if there]
        signals[row], present[row] = complete_leads(signals[row, alive[row]], names)
    for signal in signals:
        signal[:] = without_wander(signal)[0]
    return signals, present


def _bounded(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hold numbers that no ECG has where the networks can square them; `warn_of_content` counts them."""
    return np.clip(signals, -MAX_MILLIVOLTS, MAX_MILLIVOLTS)


def held_to(signals: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Return native recordings ``(n, 12, t)`` of `length` samples at least.

    Warns
    -----
    QualityWarning
        If they are shorter: their last sample is held.
    """
    if (lacking := length - signals.shape[-1]) <= 0:
        return signals
    message = (
        f"{len(signals)} recordings are shorter than {length / NATIVE_RATE:g} s: their last sample is held"
    )
    warnings.warn(message, QualityWarning, stacklevel=4)
    return np.pad(signals, ((0, 0), (0, 0), (0, lacking)), mode="edge")


@dataclass(frozen=True)
class Persons:
    """What the flow is told of n persons.

    Parameters
    ----------
    bases : Tensor (n, base_dim)
        Base vectors.
    residuals : Tensor (n, 8, BEAT)
        What is their own in a registered beat, in mV.
    own_intervals : Tensor (n, 5)
        What is their own in the intervals of a beat, as logs.
    own : Tensor (n, N_FACTS)
        The facts of their recordings, guessed (statements as probabilities) where not known.
    rates : Tensor (n,)
        Beats per minute; NaN where not known.
    """

    bases: Tensor
    residuals: Tensor
    own_intervals: Tensor
    own: Tensor
    rates: Tensor

    @property
    def shown(self) -> Tensor:
        """Statements they were recorded with, as far as known or guessed, bool ``(n, N_STATEMENTS)``."""
        return (self.own[:, :N_STATEMENTS] > 0.5) & self.rates.isfinite()[:, None]

    @classmethod
    def of(
        cls,
        networks: TwinNetworks,
        signals: Array,
        present: Array,
        conditions: Sequence[Condition],
        peaks: Sequence[NDArray[np.intp]] | None = None,
    ) -> Self:
        """Describe persons by recordings ``(n, 12, t)`` in mV at 100 Hz, of which `present` leads count."""
        return cls.of_beats(networks, Beats.of(signals, peaks), present, conditions)

    @classmethod
    def of_beats(
        cls, networks: TwinNetworks, beats: Beats, present: Array, conditions: Sequence[Condition]
    ) -> Self:
        """Describe persons by the beats of recordings."""
        device, prior = networks.autoencoder.basis.device, networks.prior
        shown, company = in_full(conditions)
        bases = base_vectors(networks.extractor, beats, present, shown).to(device)
        own = open_facts(facts_of(shown).to(device), prior.guessed(bases), company.to(device))
        typical, rates, intervals = (
            torch.from_numpy(part).to(device) for part in (beats.typical, beats.rates, beats.intervals)
        )
        found = torch.isfinite(rates)[:, None]
        residuals = prior.residuals(typical, intervals, own, rates) * found[..., None]
        own_intervals = prior.own_intervals(intervals, own, rates) * found
        return cls(bases, known_leads(residuals, present), own_intervals, own, rates)

    @classmethod
    def pooled(cls, networks: TwinNetworks, references: Sequence[ECG]) -> Self:
        """Describe one person by several recordings; nobody by none."""
        if not references:
            device = networks.autoencoder.basis.device
            base = torch.zeros(1, networks.architecture.base_dim, device=device)
            usual = networks.prior.usual[None]
            rate = usual.new_full((1,), float("nan"))
            prior = networks.prior
            nothing = torch.zeros_like(prior(usual, rate)), torch.zeros_like(prior.intervals(usual, rate))
            return cls(base, *nothing, usual, rate)
        parts, leads = [], []
        for ecg in references:
            signal, present = ecg.native()
            parts.append(cls.of(networks, signal[None], present[None], [ecg.condition], [ecg.native_peaks]))
            beats = float(torch.isfinite(parts[-1].rates))
            leads.append(known_leads(torch.full((1, len(INDEPENDENT_LEADS), 1), beats), present[None]))
        if len(parts) == 1:
            return parts[0]
        weight = torch.cat(leads).to(parts[0].residuals)
        own_intervals = torch.cat([part.own_intervals for part in parts])
        measured = (own_intervals != 0).sum(dim=0, keepdim=True)
        return cls(
            F.normalize(torch.cat([part.bases for part in parts]).sum(dim=0, keepdim=True), dim=-1),
            torch.cat([part.residuals for part in parts]).sum(dim=0, keepdim=True)
            / weight.sum(dim=0).clamp(min=1),
            own_intervals.sum(dim=0, keepdim=True) / measured.clamp(min=1),
            torch.cat([part.own for part in parts]).mean(dim=0, keepdim=True),
            torch.cat([part.rates for part in parts]).nanmean(dim=0, keepdim=True),
        )

    def __getitem__(self, rows: slice) -> Persons:
        return Persons(*(getattr(self, field.name)[rows] for field in fields(self)))

    def repeat(self, times: int) -> Persons:
        """Repeat one person."""
        parts = (getattr(self, field.name) for field in fields(self))
        return Persons(*(part.expand(times, *part.shape[1:]) for part in parts))


def as_conditions(conditions: Any, X: Any, n: int) -> Sequence[Condition]:
    """Return one `Condition` for each of the n recordings X: as given, or as an `ECG` says of itself."""
    if conditions is None:
        own = X if isinstance(X, list) else [None] * n
        return [one.condition if isinstance(one, ECG) else Condition() for one in own]
    if isinstance(conditions, str):
        raise InputError("conditions are a sequence with one for each recording; got a single text")
    if hasattr(conditions, "iterrows"):  # a table of PTB-XL
        conditions = [row for _, row in conditions.iterrows()]
    parsed = [Condition.parse(one) for one in conditions]
    if len(parsed) != n:
        raise InputError(f"{len(parsed)} conditions for {n} recordings")
    return parsed


def training_data(X: Any, groups: Any, conditions: Any, sampling_rate: float) -> TrainingData:
    """Return recordings to learn from, cut to the shortest of them and to 10 s.

    Raises
    ------
    InputError
        If one is shorter than 2.5 s, or X, groups and conditions do not fit together.

    Warns
    -----
    QualityWarning
        If recordings were cut because another is shorter.
    """
    batches = native_batches(X, sampling_rate)
    lengths = [min(NATIVE_LENGTH, signals.shape[-1]) for signals, _ in batches]
    length = min(lengths) // 10 * 10
    if length < MIN_SECONDS * NATIVE_RATE:
        raise InputError(f"recording {np.argmin(lengths)} is shorter than {MIN_SECONDS} s")
    if length < max(lengths) // 10 * 10:
        message = f"recordings differ in length: all are cut to the shortest, {length / NATIVE_RATE:.1f} s"
        warnings.warn(message, QualityWarning, stacklevel=3)
    signals = np.concatenate([signals[..., :length] for signals, _ in batches])
    present = np.concatenate([present for _, present in batches])
    people = check_groups(groups, len(signals))
    parsed = as_conditions(conditions, X, len(signals))
    warn_of_content([(signals, present)], stacklevel=4)
    return TrainingData(signals, people, parsed, present)


def warn_of_content(batches: Sequence[tuple[Array, NDArray[np.bool_]]], *, stacklevel: int = 3) -> None:
    """Warn once, with counts, of recordings that are no ECG: `fit` and `transform` take any numbers."""
    counts: dict[str, int] = {}
    for signals, present in batches:
        for what, count in content_counts(signals, present).items():
            counts[what] = counts.get(what, 0) + count
    if counts:
        n = sum(len(signals) for signals, _ in batches)
        found = "; ".join(f"{count} {what}" for what, count in counts.items())
        warnings.warn(f"of {n} recordings {found}", QualityWarning, stacklevel=stacklevel)


def check_same_leads(present: Array) -> None:
    """Raise `InputError` unless all recordings have the same leads ``(n, 12)``; warn if not all twelve."""
    lacking = [lead for lead, there in zip(LEADS, present[0], strict=True) if not there]
    if len(rows := np.flatnonzero((present != present[0]).any(axis=1))):
        raise InputError(
            f"recordings {rows[0]} and 0 have different leads: twins are learned from the same leads of all"
        )
    if lacking:
        message = f"no recording has {', '.join(lacking)}: twins will be flat there"
        warnings.warn(message, QualityWarning, stacklevel=3)


def check_count(name: str, value: Any) -> None:
    """Raise `InputError` unless a parameter is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {shown(value)}")


def check_groups(groups: Any, n: int) -> NDArray[Any]:
    """Return the person of each of n recordings, as strings, of at least two persons.

    Warns
    -----
    QualityWarning
        If `groups` is None: every recording is then taken as another person's.
    """
    if groups is None:
        message = "groups were not given: every recording is taken as another person's"
        warnings.warn(message, QualityWarning, stacklevel=4)
        groups = np.arange(n)
    people = person_names(groups, n)
    if len(np.unique(people)) < 2:
        raise InputError(
            f"recordings of at least 2 persons are needed to tell persons apart, not n_samples = {n} of one"
        )
    return people


def person_names(groups: Any, n: int) -> NDArray[Any]:
    """Return the person of each of n recordings, as strings."""
    people = np.asarray(groups, dtype=object)
    if people.shape != (n,):
        raise InputError(f"groups must name the person of each of {n} recordings, got shape {people.shape}")
    unknown = [i for i, person in enumerate(people) if person is None or person != person]
    if unknown:
        raise InputError(f"groups: {len(unknown)} persons are None or NaN, the first at row {unknown[0]}")
    return np.array([_person(person) for person in people])


def checked(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return X as scikit-learn checks it for an estimator; a list of recordings is returned as it is.

    A fit on a batch of single-lead recordings ``(n, t)`` fixes their length, as any fit on a table does.
    """
    if _is_list_of_recordings(X):
        return X
    X_checked = _real_array(X, estimator)
    if reset and hasattr(estimator, "n_features_in_"):
        del estimator.n_features_in_
    if X_checked.ndim == 2 and (reset or hasattr(estimator, "n_features_in_")):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    return X_checked


def _real_array(X: Any, estimator: BaseEstimator | None = None) -> NDArray[np.float32]:
    try:
        return check_array(X, allow_nd=True, dtype=np.float32, estimator=estimator)
    except ValueError as error:
        if str(error).startswith("Complex data"):  # what follows is the whole array
            raise InputError("Complex data not supported: an ECG is real, in mV") from None
        raise


def _is_list_of_recordings(X: Any) -> bool:
    return isinstance(X, list) and bool(X) and not isinstance(X[0], list | float | int | np.number)


def _person(value: Any) -> str:
    """The text of an id, the same whether a table read it as 7, 7.0 or "7"."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)
