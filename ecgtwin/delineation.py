"""Intervals, axis and wave amplitudes of a 12-lead ECG, measured on its representative beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from .alignment import BEAT_RATE, R_INDEX, Kinds, Places, aligned_beats, cut_beats, samples
from .exceptions import InputError
from .leads import LEADS, independent_leads

Array = NDArray[Any]
Span = tuple[float, float]

INTERVALS = ("p", "pr", "qrs", "qt", "qtc")
"""The keys of `intervals`."""


_AFTER = samples(750)
_MS = 1000 / BEAT_RATE

_QUIET = 0.06
"""QRS ends where the leads move at less than this share of their greatest speed."""

_LATEST = samples(180)
"""After its greatest speed; what moves for longer is a steep ST, as in left bundle branch block."""

_P_SHARE = 0.12
"""P begins and ends at this share of its height."""

# How alike the P waves of a recording's beats must be, in a regular and in an irregular rhythm, and the
# median change of RR, as a share of it, that makes a rhythm irregular. Chosen on PTB-XL, folds 1-8.
_P_REPEATS, _IRREGULAR = (0.5, 0.7), 0.06

_MIN_WAVE_MV = 0.025


@dataclass(frozen=True)
class Delineation:
    """What a 12-lead ECG measures. Amplitudes are in mV against the level just before QRS, per lead.

    Attributes
    ----------
    heart_rate : float
        Beats per minute: 60 over the mean RR interval. NaN with fewer than two beats.
    rr_ms : array of shape (n_beats - 1,)
        RR intervals.
    p_ms, pr_ms, qrs_ms, qt_ms : float
        Global intervals, common to all leads; PR from the onset of P to that of QRS. NaN where not
        measurable, P and PR also where no P wave repeats from beat to beat.
    onset_ms : float
        From the onset of QRS to the beat's place in `beats`.
    qtc_ms : float
        QT after Fridericia: over the cube root of the mean RR interval in seconds.
    axis : float
        Frontal QRS axis in degrees, in (-180, 180], from the areas under QRS in I and aVF.
    p_mv, t_mv : array of shape (12,)
        The largest deflection of P and of T, signed. NaN where there is none.
    q_mv, q_ms : array of shape (12,)
        The first deflection of QRS, where that is negative, and its duration; else 0.
    r_mv, s_mv : array of shape (12,)
        The largest positive value of QRS, or 0; the lowest value after it, or 0. A QS complex, which has
        no R, counts as Q and as S.
    st_mv : array of shape (12,)
        The level 60 ms after the end of QRS.
    beats, dominant : int and bool arrays of shape (n_beats,)
        `ecgtwin.beats.r_peaks`, and which of these beats are of the dominant kind.
    beat : array of shape (12, 625)
        The representative beat, the median of the dominant ones: from 500 ms before R to 750 ms after,
        with ``beat_rate`` samples per second and R at sample ``r_index``.
    """

    heart_rate: float
    rr_ms: Array
    p_ms: float
    pr_ms: float
    qrs_ms: float
    onset_ms: float
    qt_ms: float
    qtc_ms: float
    axis: float
    p_mv: Array
    q_mv: Array
    r_mv: Array
    s_mv: Array
    st_mv: Array
    t_mv: Array
    q_ms: Array
    beats: Places
    dominant: Kinds
    beat: Array
    beat_rate: float
    r_index: int


def delineate(signal: ArrayLike, sampling_rate: float = 100.0, *, peaks: Places | None = None) -> Delineation:
    """Measure one 12-lead ECG in the manner of the clinical programs, on its representative beat.

    The beats are aligned on each other at 500 Hz and sorted by the shape of QRS; the median of the most
    frequent kind is measured once for all leads. QRS ends where the leads move at less than 6 % of
    their greatest speed; at 12 or 24 % if that is not within 180 ms, as where a steep ST follows left
    bundle branch block. T ends where the tangent to its last flank meets the level after it, late
    among the leads (the 85th percentile). P counts as present if its shape repeats from beat to beat,
    the more so the more irregular the rhythm is: what fibrillation leaves in the median does not.

    Parameters
    ----------
    signal : array of shape (12, n_times)
        Millivolts, standard lead order.
    sampling_rate : float
        Samples per second.
    peaks : int array, optional
        R peaks as sample numbers; by default those of `ecgtwin.beats.r_peaks`.

    Returns
    -------
    Delineation
        All NaN, without beats, where nothing beats.

    Raises
    ------
    InputError
        If the signal has another shape or is not finite, or the rate is not positive.

    References
    ----------
    Marquette 12SL ECG Analysis Program: Physician's Guide (GE Healthcare), for the representative beat
    and global intervals. Macfarlane et al., The University of Glasgow (Uni-G) ECG analysis program,
    Comput. Cardiol. 32 (2005). Lepeschkin, Surawicz, The measurement of the Q-T interval of the
    electrocardiogram, Circulation 6 (1952), for the tangent. Fridericia, Die Systolendauer im
    Elektrokardiogramm, Acta Med. Scand. 53 (1920), for QTc.

    Examples
    --------
    >>> from ecgtwin.datasets import load_example
    >>> reference = load_example()
    >>> measured = delineate(reference.signal, reference.sampling_rate)
    >>> 60 < measured.qrs_ms < 130 and 300 < measured.qt_ms < 500
    True
    """
    x = np.asarray(signal, dtype=np.float64)
    if x.ndim != 2:
        raise InputError(f"expected one ECG of shape (12, n_times), got {x.shape}")
    peaks, fine, at, dominant = aligned_beats(x, sampling_rate, peaks)
    if not len(peaks):
        return _nothing()
    rr = np.diff(at) * _MS
    neighbours = rr[dominant[1:] & dominant[:-1]]
    cycle = float(np.median(neighbours if len(neighbours) else rr)) if len(rr) else 1000.0
    beat, used = _representative(fine, at[dominant])
    qrs = _qrs(beat)
    beat -= beat[:, max(qrs[0] - samples(20), 0) : qrs[0]].mean(axis=1, keepdims=True)
    t_end = _t_end(beat, qrs, cycle)
    p = _p_wave(independent_leads(fine), used, qrs[0], t_end, cycle, neighbours)
    q_mv, q_ms, r_mv, s_mv = _qrs_waves(beat[:, qrs[0] : qrs[1] + 1])
    st = min(qrs[1] + samples(60), beat.shape[1] - 1)
    nowhere = np.full(len(LEADS), np.nan)
    mean_rr = float(rr.mean()) if len(rr) else np.nan
    qt = (t_end - qrs[0]) * _MS
    return Delineation(
        heart_rate=60000 / mean_rr,
        rr_ms=rr,
        p_ms=(p[1] - p[0]) * _MS if p else np.nan,
        pr_ms=(qrs[0] - p[0]) * _MS if p else np.nan,
        qrs_ms=(qrs[1] - qrs[0]) * _MS,
        onset_ms=(R_INDEX - qrs[0]) * _MS,
        qt_ms=qt,
        qtc_ms=float(qt / np.cbrt(mean_rr / 1000)),
        axis=_axis(beat[:, qrs[0] : qrs[1] + 1]),
        p_mv=_largest(beat[:, round(p[0]) : round(p[1]) + 1]) if p else nowhere,
        q_mv=q_mv,
        r_mv=r_mv,
        s_mv=s_mv,
        st_mv=beat[:, st - samples(8) : st + samples(8) + 1].mean(axis=1),
        t_mv=_largest(beat[:, st : max(round(t_end), st + 1)]) if np.isfinite(t_end) else nowhere,
        q_ms=q_ms,
        beats=peaks,
        dominant=dominant,
        beat=beat,
        beat_rate=BEAT_RATE,
        r_index=R_INDEX,
    )


def delineate_all(signals: ArrayLike, sampling_rate: float = 100.0) -> list[Delineation]:
    """Measure several ECGs ``(n, 12, n_times)``: `delineate` of each."""
    x = np.asarray(signals)
    if x.ndim != 3:
        raise InputError(f"expected ECGs of shape (n, 12, n_times), got {x.shape}")
    return [delineate(signal, sampling_rate) for signal in x]


def intervals(signals: ArrayLike, sampling_rate: float = 100.0) -> dict[str, Array]:
    """Measure the global intervals of several ECGs.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Millivolts, standard lead order.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    dict of str to array of shape (n,)
        ``p``, ``pr``, ``qrs``, ``qt`` and ``qtc`` (Fridericia) in ms; NaN where not measurable.

    Raises
    ------
    InputError
        As `delineate`.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> measured = intervals(make_ecgs(2, 1, statements=("NORM", "AFIB"), random_state=0).signals)
    >>> np.isnan(measured["pr"]).tolist()
    [False, True]
    """
    measured = delineate_all(signals, sampling_rate)
    return {key: np.array([getattr(one, f"{key}_ms") for one in measured]) for key in INTERVALS}


def _representative(x: Array, at: Places) -> tuple[Array, Places]:
    """The median beat ``(12, m)`` and the beats it is made of."""
    whole = at[(at >= R_INDEX) & (at + _AFTER <= x.shape[1])]
    used = whole if len(whole) >= 2 else at
    cut = cut_beats(x, used, R_INDEX, _AFTER)
    # Wander moves a beat as a whole, so each gets its own zero, where no QRS is.
    cut = cut - np.median(cut[:, :, R_INDEX - samples(200) : R_INDEX - samples(60)], axis=-1, keepdims=True)
    return np.median(cut, axis=0), used


def _smooth(x: Array, ms: float) -> Array:
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(x, samples(ms), axis=-1)


def _qrs(beat: Array) -> tuple[int, int]:
    """The first and last sample of QRS."""
    speed = _smooth(np.linalg.norm(np.diff(beat, axis=1, prepend=beat[:, :1]), axis=0), 16)
    near = samples(100)
    top = R_INDEX - near + int(np.argmax(speed[R_INDEX - near : R_INDEX + near]))
    noise = np.quantile(speed[R_INDEX - samples(300) : R_INDEX - near], 0.2)
    run = samples(10)

    def still(share: float) -> Kinds:
        """Whether the leads are slow for 10 ms from each sample on."""
        slow = speed < max(share * speed[top], 1.5 * noise)
        return np.asarray(sliding_window_view(slow, run).all(axis=1))

    before = np.flatnonzero(still(_QUIET)[: top - run])
    onset = int(before[-1]) + run - 1 if len(before) else R_INDEX - near
    for share in (_QUIET, 2 * _QUIET, 4 * _QUIET):
        after = np.flatnonzero(still(share)[top:])
        offset = top + int(after[0]) if len(after) else R_INDEX + near
        if offset - top <= _LATEST:
            break
    # The smoothing puts both about 4 ms too far out.
    return min(onset + samples(4), top), max(offset - samples(4), top)


def _t_end(beat: Array, qrs: tuple[int, int], cycle: float) -> float:
    """The sample where T ends, by tangents, late among the leads; NaN where there is no room for it."""
    start = qrs[1] + samples(60)
    stop = min(beat.shape[1], qrs[0] + samples(cycle - 120))
    if stop - start < samples(80):
        return np.nan
    t = _smooth(beat[:, start:stop], 20)
    # The next P may be as tall, but T has its top about 310 ms after the onset of QRS at 60 bpm.
    since = (np.arange(start, stop) - qrs[0]) * _MS / np.cbrt(cycle / 1000)
    size = np.linalg.norm(t, axis=0) * np.interp(since, [330, 480], [1, 0.2])
    top = int(np.argmax(size[: -samples(20)]))
    near = max(top - samples(80), 0)
    ends, heights = [], []
    for y in t:
        k = near + int(np.argmax(np.abs(y[near : top + samples(80)])))
        y = y * np.sign(y[k])
        height, slope = y[k], np.gradient(y)
        k += int(np.argmin(slope[k : k + samples(140)]))
        if slope[k] < 0:
            level = np.min(y[k : k + samples(120)])
            ends.append(k - (y[k] - level) / slope[k])
            heights.append(height - level)
    if not ends or max(heights) <= 0:
        return np.nan
    tall = np.array(heights) >= 0.2 * max(heights)
    return start + float(np.quantile(np.array(ends)[tall], 0.85))


def _p_wave(x: Array, at: Places, onset: int, t_end: float, cycle: float, rr: Array) -> Span | None:
    """Where P begins and ends in the representative beat of ``x`` ``(8, m)``; None without P."""
    end_of_last_t = t_end - samples(cycle) if np.isfinite(t_end) else 0.0
    latest = min(int(end_of_last_t) - samples(30), onset - samples(180))
    start = max(samples(20), onset - samples(430), latest)
    cut = _smooth(cut_beats(x, at, R_INDEX, 0)[:, :, start:onset], 16)
    cut = cut - cut[:, :, -samples(20) :].mean(axis=-1, keepdims=True)
    mean = np.median(cut, axis=0)
    if mean.shape[1] < samples(60):
        return None
    # Seen first along the direction in which the leads move most, then along that of P itself.
    slopes = np.diff(mean, axis=1)
    direction = np.linalg.eigh(slopes @ slopes.T)[1][:, -1]
    top = _tallest(direction @ mean)
    if top is None:
        return None
    foot = samples(60)
    edges = mean[:, max(top - foot, 0)] + mean[:, min(top + foot, mean.shape[1] - 1)]
    direction = mean[:, top] - edges / 2
    direction /= max(np.linalg.norm(direction), 1e-9)
    y = direction @ mean
    top = _tallest(y, upright=True)
    if top is None:
        return None
    around = samples(70)
    alike = _repetition(np.einsum("l,nlw->nw", direction, cut)[:, max(top - around, 0) : top + around + 1])
    irregularity = np.median(np.abs(np.diff(rr))) / cycle if len(rr) > 1 else 0.0
    if alike < _P_REPEATS[int(irregularity > _IRREGULAR)]:
        return None
    reach = samples(100)
    slope = np.gradient(y)
    begin, end = max(top - reach, 0), top + reach + 1
    rise = begin + int(np.argmax(slope[begin : top + 1]))
    fall = top + int(np.argmin(slope[top:end]))
    before = y[max(rise - foot, 0) : rise + 1].min()
    after = y[fall : fall + foot].min()
    low = np.flatnonzero(y[: rise + 1] <= before + _P_SHARE * (y[top] - before))
    late = np.flatnonzero(y[fall:] <= after + _P_SHARE * (y[top] - after))
    first = int(low[-1]) if len(low) else 0
    last = fall + int(late[0]) if len(late) else len(y) - 1
    return float(start + first), float(start + last)


def _tallest(y: Array, upright: bool = False) -> int | None:
    """The wave of a trace, at zero at its end, that stands out most, either way up."""
    from scipy.signal import find_peaks

    best, tallest = None, 0.0
    for way in (y,) if upright else (y, -y):
        tops, properties = find_peaks(way, prominence=0, wlen=samples(300) + 1)
        heights = np.minimum(properties["prominences"], way[tops])
        heights[tops > len(y) - samples(40)] = 0  # no P is so late
        if len(tops) and heights.max() > tallest:
            best, tallest = int(tops[heights.argmax()]), float(heights.max())
    return best


def _repetition(waves: Array) -> float:
    """The mean correlation of each row with the others' sum, lines taken away; 0 for one row."""
    from scipy.signal import detrend

    waves = detrend(waves, axis=1)
    others = waves.sum(axis=0) - waves
    scale = np.linalg.norm(waves, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.mean(np.sum(waves * others, axis=1) / np.maximum(scale, 1e-12)))


def _qrs_waves(qrs: Array) -> tuple[Array, Array, Array, Array]:
    """Q in mV and in ms, R and S of ``(12, m)``."""
    q, q_ms, s = np.zeros(12), np.zeros(12), np.zeros(12)
    r = np.maximum(qrs.max(axis=1), 0)
    for lead, y in enumerate(qrs):
        has_r = r[lead] >= 2 * _MIN_WAVE_MV or r[lead] >= -y.min()
        r_at = int(np.argmax(y)) if has_r else len(y)
        s[lead] = min(0.0, y[r_at:].min() if has_r else y.min())
        seen = np.flatnonzero(np.abs(y[:r_at]) >= _MIN_WAVE_MV)
        if not len(seen) or y[seen[0]] > 0:
            continue
        down = y < 0
        first = seen[0] - int(np.argmin(down[: seen[0] + 1][::-1])) + 1 if not down[: seen[0]].all() else 0
        up = np.flatnonzero(~down[seen[0] :])
        last = seen[0] + int(up[0]) if len(up) else len(y)
        q[lead], q_ms[lead] = y[first:last].min(), (last - first) * _MS
    return q, q_ms, r, s


def _axis(qrs: Array) -> float:
    """The frontal axis; a Goldberger lead is short by the root of 3/4."""
    lead_i, lead_avf = qrs[LEADS.index("I")].sum(), qrs[LEADS.index("aVF")].sum()
    if lead_i == lead_avf == 0:
        return float("nan")
    angle = float(np.rad2deg(np.arctan2(lead_avf * 2 / np.sqrt(3), lead_i)))
    return 180.0 if angle == -180 else angle


def _largest(wave: Array) -> Array:
    """The value of each row of ``(12, m)`` that is farthest from zero."""
    return np.take_along_axis(wave, np.abs(wave).argmax(axis=1)[:, None], axis=1)[:, 0]


def _nothing() -> Delineation:
    """What is measured where nothing beats."""
    nan, lead, beat = float("nan"), np.full(12, np.nan), np.full((12, R_INDEX + _AFTER), np.nan)
    leads = (lead, lead, lead, lead, lead, lead, lead)
    none, no = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=bool)
    return Delineation(
        nan, np.empty(0), nan, nan, nan, nan, nan, nan, nan, *leads, none, no, beat, BEAT_RATE, R_INDEX
    )
