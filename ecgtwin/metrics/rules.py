"""Does an ECG show its statement? Textbook criteria, each a short function to read and agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..alignment import check_recording
from ..delineation import Delineation, delineate
from ..exceptions import InputError
from ..leads import LEADS
from .ectopy import Beats, measure_beats, pacing_spikes

Array = NDArray[Any]
Flags = NDArray[np.bool_]


_I, _II, _III, _AVR, _AVL, _AVF, _V1, _V2, _V3, _V4, _V5, _V6 = range(12)
_INFERIOR = [_II, _III, _AVF]
_UPRIGHT = [_I, _II, _V4, _V5, _V6]
"""Leads in which T is upright in all healthy adults."""
_CONTIGUOUS = [[_I, _AVL], [_II, _III], [_II, _AVF], [_III, _AVF], *([v, v + 1] for v in range(_V1, _V6))]


@dataclass(frozen=True)
class Measurements:
    """One recording ``(12, n_times)`` in mV and what is measured on it, once and only when a rule asks."""

    signal: Array
    sampling_rate: float
    delineation: Delineation

    @cached_property
    def beats(self) -> Beats:
        """Every beat on its own: width, prematurity, likeness to the usual."""
        return measure_beats(self.signal, self.sampling_rate)

    @cached_property
    def spikes_ms(self) -> Array:
        """Pacing spikes, in milliseconds from the start."""
        return 1000 * pacing_spikes(self.signal, self.sampling_rate) / self.sampling_rate

    @property
    def p_wave(self) -> bool:
        return bool(np.isfinite(self.delineation.p_ms))

    @cached_property
    def qrs_mv(self) -> Array:
        """QRS of the representative beat, ``(12, m)``: at most 80 ms before and 110 ms after its R peak."""
        d = self.delineation
        if not np.isfinite(d.qrs_ms):
            return np.full((len(LEADS), 1), np.nan)
        # What lies farther out in the widest complexes is as much ST as QRS.
        before, after = (max(round(min(d.qrs_ms, ms) * d.beat_rate / 1000), 1) for ms in (80, 110))
        return d.beat[:, d.r_index - before : d.r_index + after]

    @property
    def deepest_mv(self) -> Array:
        """The lowest point of QRS in each lead, be it Q or S; zero or negative."""
        return np.minimum(self.qrs_mv.min(axis=1), 0)

    @property
    def positive(self) -> Flags:
        """Leads in which R is larger than Q and S."""
        return np.asarray(self.delineation.r_mv > -self.deepest_mv)

    @property
    def qs(self) -> Flags:
        """Leads with 0.1 mV or more below zero and no R."""
        return np.asarray((self.delineation.r_mv < 0.05) & (self.deepest_mv <= -0.1))

    @property
    def pathological_q(self) -> Flags:
        """Leads with Q of 30 ms and 0.1 mV or more, or QS."""
        d = self.delineation
        return np.asarray((d.q_mv <= -0.1) & (d.q_ms >= 30)) | self.qs

    @property
    def r_prime_v1_mv(self) -> float:
        """The highest point of V1 after its S; without an S, of its R."""
        y = self.qrs_mv[_V1]
        return float(y[int(y.argmin()) :].max())


Criterion = Callable[[Measurements], bool]


@dataclass(frozen=True)
class Rule:
    """The criterion of one statement (its SCP-ECG code), in one line with the source and as a function."""

    statement: str
    criterion: str
    met: Criterion


RULES: dict[str, Rule] = {}
"""The rules by SCP-ECG code."""

_CHOU = "Surawicz & Knilans, Chou's Electrocardiography, 2008"
_UDMI = "Fourth Universal Definition of MI, 2018"
_AHA = "AHA/ACCF/HRS 2009"


def _rule(statements: str, criterion: str) -> Callable[[Criterion], Criterion]:
    """Enter a function as the rule of one or more statements."""

    def enter(met: Criterion) -> Criterion:
        RULES.update({code: Rule(code, criterion, met) for code in statements.split()})
        return met

    return enter


@_rule("PVC", f"a beat premature, unlike the usual one and 120 ms wide or more ({_CHOU})")
def _premature_ventricular(m: Measurements) -> bool:
    return bool(m.beats.premature_wide.any())


@_rule("AFIB", "no P wave; RMS of successive RR differences > 0.1 of the mean RR (ESC 2020; Dash 2009)")
def _fibrillation(m: Measurements) -> bool:
    return m.beats.irregular and not m.p_wave


@_rule("PAC", f"a beat 0.15 of the usual interval early, of usual shape or < 120 ms; no AFIB ({_CHOU})")
def _premature_atrial(m: Measurements) -> bool:
    return bool(m.beats.premature_narrow.any()) and not _fibrillation(m)


@_rule("BIGU", f"every other beat early and with a pause after it, three times on end ({_CHOU})")
def _bigeminy(m: Measurements) -> bool:
    early = m.beats.rr_before_ms < 0.85 * m.beats.rr_after_ms
    return bool((early[:-4] & ~early[1:-3] & early[2:-2] & ~early[3:-1] & early[4:]).any())


@_rule("STACH", f"rate > 100 bpm, not AFIB ({_CHOU})")
def _tachycardia(m: Measurements) -> bool:
    return m.delineation.heart_rate > 100 and not _fibrillation(m)


@_rule("SBRAD", f"rate < 60 bpm, not AFIB ({_CHOU})")
def _bradycardia(m: Measurements) -> bool:
    return m.delineation.heart_rate < 60 and not _fibrillation(m)


@_rule("SARRH", f"P waves; longest less shortest RR of usual beats > 160 ms ({_CHOU})")
def _sinus_arrhythmia(m: Measurements) -> bool:
    return m.p_wave and len(m.beats.steady_rr_ms) > 2 and bool(np.ptp(m.beats.steady_rr_ms) > 160)


@_rule("1AVB LPR", f"PR > 200 ms ({_CHOU})")
def _long_pr(m: Measurements) -> bool:
    return m.delineation.pr_ms > 200


@_rule("CLBBB", f"QRS >= 120 ms; V1 negative, V6 positive; no q of 0.05 mV in I or V6 ({_AHA} part III)")
def _left_bundle_branch_block(m: Measurements) -> bool:
    septal_q = bool((m.delineation.q_mv[[_I, _V6]] <= -0.05).any())
    return m.delineation.qrs_ms >= 120 and not m.positive[_V1] and bool(m.positive[_V6]) and not septal_q


@_rule("CRBBB", f"QRS >= 120 ms; V1 positive (R or R' over S); S of 0.1 mV in I or V6 ({_AHA} part III)")
def _right_bundle_branch_block(m: Measurements) -> bool:
    return m.delineation.qrs_ms >= 120 and bool(m.positive[_V1]) and _late_to_the_right(m)


@_rule("IRBBB", f"QRS < 120 ms; r' of 0.1 mV in V1; S of 0.1 mV in I or V6 ({_AHA} part III)")
def _incomplete_right_bundle_branch_block(m: Measurements) -> bool:
    return m.delineation.qrs_ms < 120 and m.r_prime_v1_mv >= 0.1 and _late_to_the_right(m)


def _late_to_the_right(m: Measurements) -> bool:
    return bool((m.deepest_mv[[_I, _V6]] <= -0.1).any())


@_rule("LAFB", f"frontal axis -30 to -90 degrees, and rS in II, III or aVF ({_CHOU}; {_AHA} part III: -45)")
def _left_anterior_block(m: Measurements) -> bool:
    d = m.delineation
    rs = (d.r_mv >= 0.03) & ~m.positive & (d.q_mv > -0.05)
    return -90 <= d.axis <= -30 and bool(rs[_INFERIOR].any())


@_rule("LPFB", f"frontal axis 90 to 180 degrees ({_AHA} part III)")
def _left_posterior_block(m: Measurements) -> bool:
    return m.delineation.axis >= 90


@_rule(
    "LVH VCLVH",
    f"SV1 + RV5 or RV6 >= 3.5 mV (Sokolow-Lyon 1949), RaVL >= 1.1 mV, or RaVL + SV3 > 2.8 mV (Cornell 1985); "
    f"all three in {_AHA} part V",
)
def _voltage(m: Measurements) -> bool:
    r, deepest = m.delineation.r_mv, m.deepest_mv
    sokolow = max(r[_V5], r[_V6]) - deepest[_V1]
    cornell = r[_AVL] - deepest[_V3]
    return bool(sokolow >= 3.5 or cornell > 2.8 or r[_AVL] >= 1.1)


@_rule("RVH", f"in V1 R > S and R >= 0.5 mV ({_AHA} part V; {_CHOU})")
def _right_hypertrophy(m: Measurements) -> bool:
    return bool(m.positive[_V1] and m.delineation.r_mv[_V1] >= 0.5)


@_rule("RAO/RAE", f"P >= 0.25 mV in II ({_CHOU})")
def _tall_p(m: Measurements) -> bool:
    return bool(m.delineation.p_mv[_II] >= 0.25)


@_rule("LAO/LAE", f"P >= 120 ms, or P <= -0.1 mV in V1 ({_CHOU})")
def _wide_p(m: Measurements) -> bool:
    return m.delineation.p_ms >= 120 or bool(m.delineation.p_mv[_V1] <= -0.1)


@_rule("LVOLT", "QRS peak to peak of I, II and III together < 1.5 mV (15 mm, Mattu 2008)")
def _low_voltage(m: Measurements) -> bool:
    return bool(np.sum((m.delineation.r_mv - m.deepest_mv)[[_I, _II, _III]]) < 1.5)


@_rule("QWAVE", f"Q of 30 ms and 0.1 mV or QS in two contiguous leads ({_UDMI})")
def _contiguous_q(m: Measurements) -> bool:
    return any(bool(m.pathological_q[pair].all()) for pair in _CONTIGUOUS)


@_rule("IMI ILMI", f"Q of 0.05 mV and a quarter of R, or QS, in II or aVF ({_CHOU})")
def _inferior_q(m: Measurements) -> bool:
    q, r = m.delineation.q_mv, m.delineation.r_mv
    return bool(((q <= -0.05) & (-q >= r / 4) | m.qs)[[_II, _AVF]].any())


@_rule("LMI ALMI", f"Q of 30 ms and 0.1 mV or QS in I, aVL, V5 or V6 ({_UDMI}, there in two leads)")
def _lateral_q(m: Measurements) -> bool:
    return bool(m.pathological_q[[_I, _AVL, _V5, _V6]].any())


@_rule("ASMI AMI", "R <= 0.1 mV in V2 or <= 0.2 mV in V3, or Q of 20 ms or QS in V2 or V3 (Selvester 1985)")
def _anterior_loss(m: Measurements) -> bool:
    d = m.delineation
    q = (d.q_mv <= -0.03) & (d.q_ms >= 20) | m.qs
    return bool(d.r_mv[_V2] <= 0.1 or d.r_mv[_V3] <= 0.2 or q[[_V2, _V3]].any())


@_rule("STD_ DIG", f"ST <= -0.05 mV in two contiguous leads ({_UDMI})")
def _st_depressed(m: Measurements) -> bool:
    low = m.delineation.st_mv <= -0.05
    return any(bool(low[pair].all()) for pair in _CONTIGUOUS)


@_rule("NDT NT_ LOWT", f"T below a tenth of R in two of I, II, V4-V6 ({_AHA} part IV)")
def _t_low(m: Measurements) -> bool:
    return bool((m.delineation.t_mv < 0.1 * m.delineation.r_mv)[_UPRIGHT].sum() >= 2)


@_rule("ISC_ NST_", f"as STD_ ({_UDMI}) or as LOWT ({_AHA} part IV)")
def _st_or_t(m: Measurements) -> bool:
    return _st_depressed(m) or _t_low(m)


@_rule("INVT", f"T negative in I, II, V4, V5 or V6 ({_AHA} part IV)")
def _t_negative(m: Measurements) -> bool:
    return bool((m.delineation.t_mv[_UPRIGHT] < 0).any())


def _t_negative_rule(statements: str, *leads: str) -> None:
    rows = [LEADS.index(lead) for lead in leads]

    @_rule(statements, f"T negative in two of {', '.join(leads)} ({_AHA} part IV)")
    def met(m: Measurements) -> bool:
        return bool((m.delineation.t_mv[rows] < 0).sum() >= 2)


_t_negative_rule("ISCAL", "I", "aVL", "V3", "V4", "V5", "V6")
_t_negative_rule("ISCLA INJAL", "I", "aVL", "V5", "V6")
_t_negative_rule("ISCAS", "V1", "V2", "V3", "V4")
_t_negative_rule("INJAS", "V2", "V3", "V4")
_t_negative_rule("ISCIN", "II", "III", "aVF")
_t_negative_rule("ISCIL", "II", "III", "aVF", "V5", "V6")


@_rule("LNGQT", f"QT over the root of the mean RR >= 450 ms (Bazett; {_AHA} part IV, men)")
def _long_qt(m: Measurements) -> bool:
    return m.delineation.qt_ms >= 450 * np.sqrt(60 / m.delineation.heart_rate)


@_rule("PACE", f"a spike at half of the beats or more; or QRS >= 120 ms, negative in V1, V5, V6 ({_CHOU})")
def _paced(m: Measurements) -> bool:
    b = m.beats
    lead = b.times_ms[b.whole, None] - m.spikes_ms[None]
    spiked = np.any((lead >= -60) & (lead < 350), axis=1)
    negative = not m.positive[[_V1, _V5, _V6]].any()
    return bool(spiked.size and spiked.mean() >= 0.5) or (m.delineation.qrs_ms >= 120 and negative)


@_rule(
    "NORM",
    "50-100 bpm; P up in II, down in aVR; PR 120-200, QRS < 110, QTc < 460 ms; axis -30 to 90; "
    f"T upright and ST within 0.1 mV in I, II, V4-V6; no PVC, no criterion of QWAVE or LVH ({_CHOU})",
)
def _normal(m: Measurements) -> bool:
    d = m.delineation
    intervals = 120 <= d.pr_ms <= 200 and d.qrs_ms < 110 and d.qtc_ms < 460
    ventricles = -30 <= d.axis <= 90 and not _contiguous_q(m) and not _voltage(m)
    repolarisation = (d.t_mv[_UPRIGHT] > 0).all() and (np.abs(d.st_mv[_UPRIGHT]) < 0.1).all()
    sinus = 50 <= d.heart_rate <= 100 and d.p_mv[_II] > 0 > d.p_mv[_AVR]
    return bool(sinus and intervals and ventricles and repolarisation and not _premature_ventricular(m))


def meets(
    signals: ArrayLike,
    statement: str,
    sampling_rate: float = 100.0,
    *,
    delineations: Sequence[Delineation] | None = None,
) -> Flags:
    """Tell which recordings meet the rule of a statement.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Millivolts, standard lead order.
    statement : str
        SCP-ECG code, one of `RULES`.
    sampling_rate : float
        Samples per second.
    delineations : sequence of Delineation, optional
        Of the same recordings in the same order, so that several rules share them; else measured here.

    Returns
    -------
    bool array of shape (n,)

    Raises
    ------
    InputError
        If the signals are not ``(n, 12, n_times)`` and finite, the statement has no rule, or the
        delineations are not as many as the recordings.

    References
    ----------
    Hancock, Rautaharju, Surawicz et al., AHA/ACCF/HRS recommendations for the standardization and
    interpretation of the electrocardiogram, parts III-V, Circulation 119 (2009). Thygesen et al.,
    Fourth universal definition of myocardial infarction, Circulation 138 (2018). Surawicz, Knilans,
    Chou's Electrocardiography in Clinical Practice, 6th ed. (2008). Dash et al., Automatic real time
    detection of atrial fibrillation, Ann. Biomed. Eng. 37 (2009).

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> slow, fast = (make_ecgs(1, 1, statements=(c,), random_state=0).signals for c in ("SBRAD", "STACH"))
    >>> meets(np.concatenate([slow, fast]), "STACH").tolist()
    [False, True]
    """
    x = np.asarray(signals)
    if x.ndim != 3 or not len(x):
        raise InputError(f"signals must have shape (n, 12, n_times) with n > 0, got {x.shape}")
    if statement not in RULES:
        raise InputError(f"no rule for {str(statement)[:40]!r}; there are rules for {', '.join(RULES)}")
    recordings = [check_recording(signal, sampling_rate) for signal in x]
    if delineations is None:
        delineations = [delineate(recording, sampling_rate) for recording in recordings]
    if len(delineations) != len(x):
        raise InputError(f"{len(delineations)} delineations for {len(x)} recordings")
    pairs = zip(recordings, delineations, strict=True)
    return np.array([bool(RULES[statement].met(Measurements(x, sampling_rate, d))) for x, d in pairs])


def rule_share(
    signals: ArrayLike,
    statement: str,
    sampling_rate: float = 100.0,
    *,
    delineations: Sequence[Delineation] | None = None,
) -> float:
    """Return the share of recordings that meet the rule of a statement.

    To be read beside that of real ECGs with the statement, which is not 1 either: statements are
    physicians' opinion, and criteria of hypertrophy and old infarction are insensitive by nature.

    Parameters
    ----------
    signals, statement, sampling_rate, delineations
        As in `meets`, and so are the errors.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> rule_share(make_ecgs(2, 1, statements=("SBRAD",), random_state=0).signals, "SBRAD")
    1.0
    """
    return float(meets(signals, statement, sampling_rate, delineations=delineations).mean())
