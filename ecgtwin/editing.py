"""A recording as it would be under another condition: its own beats, in their places."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .beats import mean_rate
from .conditions import STATEMENTS, Condition, statement_table, with_person_of
from .delineation import Delineation, delineate
from .diffusion import heun, row_uniforms
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE, check_reference
from .exceptions import InputError, QualityWarning, shown
from .formats import SYNTHETIC, as_ecg, marked
from .given import by_definition, conditioning
from .heartbeats import Places, steady_beats, usual_beats, with_typical_beat
from .leads import LEADS, independent_leads, of_length, resample, twelve_leads
from .nn import N_STATEMENTS, TwinNetworks, encode_conditions, facts_of, open_facts
from .nn.peaks import as_peaks, beat_offsets
from .nn.prior import replay
from .nn.registration import INTERVALS
from .quality import flat_leads
from .recordings import Persons
from .request import TOKEN
from .retiming import retime, with_intervals
from .sampling import counterfactual_beats, flow
from .statements import EXCLUSIVE, RHYTHMS

Array = NDArray[Any]

MAX_STRENGTH = 3.0
N_STEPS = 4
_DATA_END, _NOISE_END = 3.9, -3.9
"""Log signal-to-noise ratios between which the flow is followed: at the very ends its speed has no limit."""
_HOP = 750
"""Samples from one window of a long recording to the next."""

_RHYTHMS = {"SR", "AFIB", "STACH", "SARRH", "SBRAD", "AFLT", "SVTAC", "PSVT"}
"""What the heart's rhythm is as a whole: one takes the place of another."""
_TIMED = {one.code for one in statement_table() if "rhythm" in one.kinds} | {"PVC", "PAC", "PRC(S)"}
"""Statements about when the heart beats."""
_LONG_PR, _LONG_QT = {"1AVB", "LPR"}, {"LNGQT"}
_PR_MS, _PR_LIMITS = 62.0, (190.0, 210.0)
_QTC_MS, _QTC_LIMITS = 55.0, (430.0, 460.0)
"""How much longer these make the interval (medians of PTB-XL's folds 1-8 less those of NORM; QTc is
Fridericia's), and what it is at most where they go, and at least where they come."""
_CANDIDATES = 64
_EVIDENT, _EVIDENT_OF_ALL = 5.0, 8.0
"""Log likelihood ratios at which single beats, or all of them, tell the new rhythm from the old one."""
_UNMOVED = 5
"""Samples by which no beat is moved: the rhythm model's accuracy is no better."""
_SET_APART = [INTERVALS.index(name) for name in ("pr", "p", "qt")]
"""What `longer_intervals` changes; a wider QRS is another shape."""


@dataclass(frozen=True)
class Edit:
    """What to change: a checked recording, what it shows, and what it is to show."""

    recording: ECG
    own: Condition
    target: Condition
    strength: float

    @classmethod
    def of(
        cls,
        networks: TwinNetworks,
        recording: Any,
        condition: Any = None,
        *,
        sampling_rate: float,
        add: Any = None,
        remove: Any = None,
        recording_condition: Any = None,
        strength: float = 1.0,
        **changes: Any,
    ) -> Self:
        """Check everything that was asked for, before anything is computed."""
        if isinstance(strength, bool) or not isinstance(strength, int | float | np.number):
            raise InputError(f"strength must be a number from 0 to {MAX_STRENGTH:g}, got {strength!r}")
        if not 0 <= strength <= MAX_STRENGTH:
            raise InputError(f"strength must be a number from 0 to {MAX_STRENGTH:g}, got {strength!r}")
        if condition is not None and (add is not None or remove is not None):
            raise InputError("say either the whole condition, or what to add and remove")
        ecg = check_reference(as_ecg(recording, sampling_rate=sampling_rate), name="the recording")
        if recording_condition is not None:
            ecg = replace(ecg, condition=with_person_of(recording_condition, ecg.condition))
        if ecg.condition.statements:
            ecg = replace(ecg, condition=in_rhythm(ecg.condition, [sinus_rhythm(ecg.heart_rate)]))
            own = ecg.condition
        else:
            own = ecg.condition.replace(statements=_guessed(networks, ecg))
        if condition is not None:
            target = Condition.parse(condition, **changes)
            target = target if target.statements else target.replace(statements=own.statements)
            remaining = [] if "NORM" in target.statements else [*_RHYTHMS & {*own.statements}]
            target = in_rhythm(target, remaining or [sinus_rhythm(ecg.heart_rate)])
        else:
            coming, going = Condition.parse(add), Condition.parse(remove)
            for name, said, found in (("add", add, coming), ("remove", remove, going)):
                if said is not None and found == Condition():
                    raise InputError(f"{name} names nothing: {shown(said)}")
            for name, value in changes.items():
                changes[name] = getattr(coming, name) if value is None else value
            target = Condition.parse(changed(own, coming.statements, going.statements), **changes)
        target = with_person_of(target, own)
        if condition is None and changes.get("heart_rate") is None:
            target = target.replace(heart_rate=None)
        for conflict in target.conflicts():
            message = f"the condition asked for contradicts itself: {conflict}"
            warnings.warn(message, QualityWarning, stacklevel=5)
        return cls(ecg, own, target, float(strength))


def in_rhythm(condition: Condition, rhythm: list[str]) -> Condition:
    """Return a condition in a rhythm, if it names none.

    Examples
    --------
    >>> in_rhythm(Condition("LVH"), ["SR"]).statements, in_rhythm(Condition("AFIB"), ["SR"]).statements
    (('LVH', 'SR'), ('AFIB',))
    """
    if RHYTHMS & {*condition.statements}:
        return condition
    return condition.replace(statements=[*condition.statements, *rhythm])


def sinus_rhythm(rate: float) -> str:
    """Return the sinus rhythm that a heart rate in beats per minute does not contradict.

    Examples
    --------
    >>> [sinus_rhythm(rate) for rate in (45, 72, 130)]
    ['SBRAD', 'SR', 'STACH']
    """
    if not np.isfinite(rate):
        return "SR"
    sinus = (Condition((code,), heart_rate=_legal(rate)) for code in ("SR", "STACH", "SBRAD"))
    return next((one.statements[0] for one in sinus if not one.conflicts()), "SR")


def changed(own: Condition, add: tuple[str, ...], remove: tuple[str, ...] = ()) -> Condition:
    """Add statements, before which those that contradict them give way, and remove statements.

    Examples
    --------
    >>> changed(Condition.parse("NORM, SR, PVC"), ("AFIB",), ("PVC",)).statements
    ('NORM', 'AFIB')
    >>> changed(Condition("AFIB"), (), ("AFIB",)).statements
    ('SR',)
    """
    kept = [
        code
        for code in own.statements
        if code not in remove
        and not any((code, new) in EXCLUSIVE or (new, code) in EXCLUSIVE for new in add)
        and not (code in _RHYTHMS and code not in add and _RHYTHMS & set(add))
    ]
    after = [*kept, *(code for code in add if code not in kept)]
    if _RHYTHMS & set(remove) and not _RHYTHMS & set(after):
        after.append("SR")
    return own.replace(statements=after or ["NORM"])


def edit(networks: TwinNetworks, wanted: Edit, settings: dict[str, Any], *, n_steps: int = N_STEPS) -> ECG:
    """Return the recording changed, at its own rate, length and lead order; itself if nothing changes."""
    ecg, strength = wanted.recording, wanted.strength
    if strength == 0 or wanted.own.replace(heart_rate=None) == wanted.target:
        return ecg if SYNTHETIC in ecg.comments else replace(ecg, comments=tuple(marked(ecg.comments, False)))
    native, present = ecg.native()
    peaks = ecg.native_peaks
    if len(peaks) < 3:
        raise InputError(f"the recording has {len(peaks)} beats; at least 3 are needed to change it")
    person = Persons.pooled(networks, [ecg])
    new_peaks = new_rhythm(networks, wanted, peaks, native.shape[-1])
    if len(new_peaks) < 2:
        raise InputError(f"the recording is too short for two beats at {wanted.target.heart_rate:g} bpm")
    scale = ecg.sampling_rate / NATIVE_RATE
    places = [np.round(scale * one).astype(int) for one in (peaks, new_peaks)]
    signal = retime(ecg.signal, places[0], places[1], ecg.sampling_rate)
    moved = retime(native, peaks, new_peaks, NATIVE_RATE)
    own, timing = wanted.own, {}
    if ({*own.statements} ^ {*wanted.target.statements}) & (_LONG_PR | _LONG_QT):
        measured = delineate(moved, NATIVE_RATE)
        pr, qt = longer_intervals(measured, wanted)
        signal, moved = (
            with_intervals(one, rate, measured, NATIVE_RATE, longer_pr_ms=pr, longer_qt_ms=qt)
            for one, rate in ((signal, ecg.sampling_rate), (moved, NATIVE_RATE))
        )
        timing = {"pr": measured.pr_ms + pr, "qt": measured.qt_ms + qt}
        if pr:  # is all that there is to a long PR, so both sides of the difference have it
            asked = _LONG_PR & {*wanted.target.statements}
            own = changed(own, tuple(sorted(asked)), tuple(_LONG_PR - asked))
    # Heart rate is the beats' places, which both sides of the difference share.
    rate = float(np.clip(mean_rate(new_peaks), 20, 300))
    sides = [one.replace(heart_rate=rate) for one in (own, wanted.target)]
    if sides[0] != sides[1]:
        change = difference(
            networks, person, sides, moved, present, new_peaks, settings, timing=timing, n_steps=n_steps
        )
        rows = [LEADS.index(lead) for lead in ecg.leads or LEADS]
        change = resample(twelve_leads(change)[rows], NATIVE_RATE, ecg.sampling_rate)
        change[flat_leads(ecg.signal)] = 0  # an electrode that was off shows no condition
        signal += strength * of_length(change, signal.shape[-1])
    return replace(
        ecg,
        signal=signal,
        condition=wanted.target,
        comments=(SYNTHETIC, f"edited from a recording: {wanted.target}, strength: {strength:g}"),
    )


def new_rhythm(networks: TwinNetworks, wanted: Edit, peaks: Array, length: int) -> NDArray[np.intp]:
    """Return the R peaks that the recording is to have, as sample numbers at 100 Hz.

    The first beat stays. Another heart rate scales the intervals. Where a statement about rhythm comes
    or goes, the rhythm model says of what random numbers it would have drawn the recording's intervals,
    and draws those of the target from the same numbers.
    """
    own = np.diff(peaks) / NATIVE_RATE
    rate, strength = 60 / own.mean(), wanted.strength
    moves = {*wanted.own.statements} ^ {*wanted.target.statements}
    asked = encode_conditions([wanted.target.replace(heart_rate=None)]).to(networks.prior.mean.device)
    new_rate = wanted.target.heart_rate or rate
    if wanted.target.heart_rate is None and wanted.target.replace(heart_rate=_legal(rate)).conflicts():
        new_rate = float(networks.rhythm.likely_rate(asked, networks.prior.mean.new_tensor([rate])))
    if not moves & _TIMED and np.isclose(new_rate, rate):
        return np.asarray(peaks)
    final_rate = rate * (new_rate / rate) ** strength
    count = max(2, int((length - 1 - peaks[0]) / NATIVE_RATE * final_rate / 60 + 1e-6))
    count = len(own) if np.isclose(final_rate, rate) else count
    # There and back again: the neighbours of an interval stay its neighbours.
    order = np.concatenate([np.arange(len(own)), np.arange(len(own))[::-1]])
    ratios = np.resize(own[order], count) / own.mean()
    if moves & _TIMED:
        drawn = _redrawn(networks, wanted, ratios * 60 / rate, rate)
        ratios = ratios ** (1 - min(strength, 1.0)) * drawn ** min(strength, 1.0)
    steps = np.maximum(60 / final_rate * ratios / ratios.mean(), min(0.25, 60 / final_rate))
    steps *= 60 / final_rate / steps.mean()
    new = peaks[0] + np.concatenate([[0], np.cumsum(steps)]) * NATIVE_RATE
    new = np.unique(np.round(new).astype(int))
    new = new[new < length]
    nearest = np.asarray(peaks)[np.abs(new[:, None] - peaks).argmin(axis=1)]
    close = (np.abs(new - nearest) <= _UNMOVED) & np.isclose(final_rate, rate)
    return np.unique(np.where(close, nearest, new))


def longer_intervals(measured: Delineation, wanted: Edit) -> tuple[float, float]:
    """Return by how many ms PR and QT are to be longer, where a statement of theirs comes or goes."""
    d, longer = measured, []
    if not np.isfinite(d.qt_ms):
        return 0.0, 0.0
    for codes, now, change, (normal, prolonged) in (
        (_LONG_PR, d.pr_ms, _PR_MS, _PR_LIMITS),
        (_LONG_QT, d.qtc_ms, _QTC_MS, _QTC_LIMITS),
    ):
        was, will_be = (bool(codes & {*one.statements}) for one in (wanted.own, wanted.target))
        if will_be and not was and now < prolonged:
            longer.append(wanted.strength * (max(now + change, prolonged) - now))
        elif was and not will_be and now > normal:
            longer.append(wanted.strength * (min(now - change, normal) - now))
        else:
            longer.append(0.0)
    return longer[0], longer[1] * d.qt_ms / d.qtc_ms


def _redrawn(networks: TwinNetworks, wanted: Edit, intervals: Array, rate: float) -> Array:
    """Draw intervals under the target, as ratios to their mean, from what drew the recording's own.

    Where they do not tell the target from what was before (an ectopic beat may be due only after the
    recording's end), some of them are drawn anew. Where single beats come early or no longer do, the
    fewest are moved that tell; where the whole rhythm changes, the fewest numbers are drawn anew.
    """
    device = networks.prior.mean.device
    given = torch.as_tensor(intervals, dtype=torch.float32, device=device)[None]
    conditions = [one.replace(heart_rate=None) for one in (wanted.own, wanted.target)]
    own, target = (encode_conditions([one]).to(device) for one in conditions)
    # An interval that was all but impossible before is not to become one that is all but impossible now.
    uniforms = networks.rhythm.invert(own, given)[0].clamp(0.02, 0.98).repeat(_CANDIDATES, 1)
    k = uniforms.shape[1]
    anew = row_uniforms([(0, candidate) for candidate in range(_CANDIDATES)], 2 * k)
    for candidate in range(1, _CANDIDATES):
        some = anew[candidate, k:].argsort()[: 1 + 4 * candidate // _CANDIDATES]
        uniforms[candidate, some] = torch.from_numpy(anew[candidate, some]).to(device)
    own, target = own.repeat(_CANDIDATES), target.repeat(_CANDIDATES)
    drawn = networks.rhythm.follow(target, uniforms.new_full((_CANDIDATES,), rate), uniforms)
    likelier = [networks.rhythm.invert(one, drawn)[1].sum(dim=1) for one in (target, own)]
    evidence = likelier[0] - likelier[1]
    moved = (drawn.cumsum(dim=1) - given.cumsum(dim=1)).abs().mean(dim=1)
    is_whole = bool(_RHYTHMS & ({*wanted.own.statements} ^ {*wanted.target.statements}))
    if not (evident := evidence >= (_EVIDENT_OF_ALL if is_whole else _EVIDENT)).any():
        best = int(evidence.argmax())
    elif is_whole:
        best = int(evident.nonzero()[0])
    else:
        best = int(torch.where(evident, moved, torch.inf).argmin())
    ratios = drawn[best].double().cpu().numpy()
    return np.asarray(ratios / ratios.mean())


@torch.no_grad()
def difference(
    networks: TwinNetworks,
    person: Persons,
    sides: list[Condition],
    native: Array,
    present: Array,
    peaks: Array,
    settings: dict[str, Any],
    *,
    timing: dict[str, float],
    n_steps: int,
) -> NDArray[np.float32]:
    """Return what the second condition changes about the first ``(8, t)`` in mV, at 100 Hz.

    `timing` says in ms which intervals of the recording are known; others are those to expect of the person.

    The flow under the first condition is followed back to the noise that the recording comes from, and
    from there on under both. What inversion loses, both ends lose alike. In the typical beat it is joined, as
    in twins, with what the condition changes about the counterfactual one.
    """
    device = networks.prior.mean.device
    length = native.shape[-1]
    leads = independent_leads(native)
    level = np.median(leads, axis=-1, keepdims=True)
    missing = ~independent_leads(present[:, None])[:, 0]
    total, weights = np.zeros((8, length), dtype=np.float32), np.zeros(length, dtype=np.float32)
    low, high = torch.tensor([_NOISE_END, _DATA_END]).tolist()
    times = torch.sigmoid(torch.linspace(low, high, n_steps + 1))
    for start, size in windows(length):
        beats = peaks[(peaks >= start) & (peaks < start + size)] - start
        asked = encode_conditions(sides).to(device)
        given = conditioning(networks.prior, person.repeat(2), asked, as_peaks([beats, beats], device), size)
        intervals = given.intervals.clone()
        intervals[1, _SET_APART] = intervals[0, _SET_APART]
        for name, ms in timing.items():
            if np.isfinite(ms):
                intervals[:, INTERVALS.index(name)] = float(np.log(ms))
        # The recording's beats stay, and with them all that is the person's own.
        given = replace(given, intervals=intervals, own=open_facts(facts_of(asked), given.own))
        already = given.facts[:1, :N_STATEMENTS] > 0.5
        given = replace(given, towards=by_definition(networks.prior, given, already).towards)
        expected, shares = counterfactual_beats(networks, given, settings)
        window = np.zeros((8, size), dtype=np.float32)
        seen = min(size, length - start)
        window[:, :seen] = (leads - level)[:, start : start + seen]
        one = torch.ones(1, dtype=torch.bool, device=device)
        filled = replay(given[:1].beats(networks.prior, one), given.offsets[:1])
        window[missing] = filled[0].cpu().numpy()[missing]
        latents = networks.autoencoder.encode(torch.from_numpy(window[None]).to(device))
        noise = heun(flow(networks, given[:1], settings), latents, times.flip(0))
        ends = heun(flow(networks, given, settings), noise.expand(2, -1, -1), times)
        moved = networks.autoencoder.decode(ends[1:] - ends[:1])
        places = Places.of(given.offsets[:1])
        paced = given.paced.any()[None]
        usual = usual_beats(torch.from_numpy(window[None]).to(device), places, paced)
        moved = with_typical_beat(moved, places, expected[1:] - expected[:1], shares[1:], usual)
        change = moved[0, :, :seen].cpu().numpy()
        ramp = np.minimum(np.arange(seen) + 1, np.arange(seen, 0, -1)).astype(np.float32)
        total[:, start : start + seen] += ramp * change
        weights[start : start + seen] += ramp
    # What a condition does to one beat it does to the next of the same origin.
    places = Places.of(beat_offsets(as_peaks([peaks]), length))
    steady = steady_beats(torch.from_numpy(total / weights)[None], places, settings["beat_variation"])
    return cast(NDArray[np.float32], steady[0].numpy())


def windows(length: int, size: int = NATIVE_LENGTH, hop: int = _HOP) -> Iterator[tuple[int, int]]:
    """Yield start and size of the windows of 10 s that cover a recording, or of a single shorter one.

    Examples
    --------
    >>> list(windows(930)), list(windows(2000))
    ([(0, 960)], [(0, 1000), (750, 1000), (1000, 1000)])
    """
    if length <= size:
        yield 0, -(-length // TOKEN) * TOKEN
        return
    for start in range(0, length - size, hop):
        yield start, size
    yield length - size, size


def _legal(rate: float) -> float:
    return float(np.clip(rate, 20, 300))


def _guessed(networks: TwinNetworks, ecg: ECG) -> list[str]:
    """Return the statements that the person's base vector tells, where the recording does not say."""
    own = Persons.pooled(networks, [ecg]).own[0]
    shares = own[: len(STATEMENTS)].tolist()
    return [code for code, share in zip(STATEMENTS, shares, strict=True) if share > 0.5] or ["NORM"]
