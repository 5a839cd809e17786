"""Whether ECGs could come from a body: lead laws, beats that agree, intervals that real hearts have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..alignment import BEAT_RATE, aligned_beats, cut_beats, samples
from ..delineation import INTERVALS, Delineation
from ..exceptions import InputError
from ..leads import LEADS, independent_leads, lead_names, twelve_leads

Array = NDArray[Any]
Statements = NDArray[np.bool_] | Sequence[Set[str]]

_MIN_T_MV = 0.05


@dataclass(frozen=True)
class BeatConsistency:
    """How alike the beats of each ECG are, among its beats of the dominant kind.

    Attributes
    ----------
    leads : tuple of str
        The leads of the columns.
    correlation : array of shape (n, n_leads)
        Median over beats of the correlation of a beat with the record's median beat.
    r_spread, t_spread : array of shape (n, n_leads)
        Robust coefficient of variation, 1.4826 times the median absolute deviation over the absolute
        median, of the height of QRS and of T; T is NaN where it is lower than 0.05 mV.
    n_beats : int array of shape (n,)
        Beats compared.
    dominant_share : array of shape (n,)
        The share of the beats found that are of the dominant kind.
    """

    leads: tuple[str, ...]
    correlation: Array
    r_spread: Array
    t_spread: Array
    n_beats: NDArray[np.intp]
    dominant_share: Array


def lead_residuals(signals: ArrayLike) -> Array:
    """Measure how far each ECG is from Einthoven's and Goldberger's laws.

    `ecgtwin.leads.lead_residual` gives the largest of the four over all ECGs together.

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Millivolts, standard lead order.

    Returns
    -------
    array of shape (n, 4)
        Root mean square of III - II + I, aVR + (I + II) / 2, aVL - I + II / 2 and aVF - II + I / 2, each
        over that of the six limb leads. 0 where the limb leads are flat.

    Raises
    ------
    InputError
        If the signals have another shape or are not finite.

    References
    ----------
    Malmivuo, Plonsey, Bioelectromagnetism (1995), chapter 15.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> bool(lead_residuals(make_ecgs(2, 1, random_state=0).signals).max() < 1e-6)
    True
    """
    x = _ecgs(signals)
    limb = x[:, :6]
    away = (limb - twelve_leads(independent_leads(x))[:, :6])[:, 2:]
    scale = np.sqrt(np.mean(limb**2, axis=(1, 2)))[:, None]
    residual = np.sqrt(np.mean(away**2, axis=2))
    return np.divide(residual, scale, out=np.zeros_like(residual), where=scale > 0)


def beat_consistency(
    signals: ArrayLike,
    leads: Sequence[str] = ("II", "V2", "V5"),
    *,
    sampling_rate: float = 100.0,
    delineations: Sequence[Delineation] | None = None,
) -> BeatConsistency:
    """Measure how alike the beats of each ECG are: a heart repeats itself, a poor generator does not.

    Beats of the dominant kind, aligned on QRS at 500 Hz, are compared with their median over the window
    from 250 ms before R to 450 ms after, or less in a fast rhythm (0.3 and 0.6 of the median RR interval).

    Parameters
    ----------
    signals : array of shape (n, 12, n_times)
        Millivolts, standard lead order.
    leads : sequence of str
        The leads to compare.
    sampling_rate : float
        Samples per second.
    delineations : sequence of Delineation, optional
        What `delineate` has measured on these ECGs, to save finding the beats again.

    Returns
    -------
    BeatConsistency
        NaN for an ECG with fewer than three whole beats. With three or more, of which fewer than three
        are of one kind, all are compared.

    Raises
    ------
    InputError
        If the signals have another shape or are not finite, a lead is unknown, or the
        delineations are not as many.

    Notes
    -----
    Beats of another shape do not count against an ECG; read `dominant_share` beside the correlation.

    Examples
    --------
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecgs = make_ecgs(2, 1, statements=("NORM",), random_state=0)
    >>> bool(beat_consistency(ecgs.signals).correlation.min() > 0.9)
    True
    """
    x = _ecgs(signals)
    names = lead_names(leads)
    if not names:
        raise InputError("beat_consistency needs at least one lead")
    if delineations is not None and len(delineations) != len(x):
        raise InputError(f"{len(delineations)} delineations for {len(x)} ECGs")
    rows = [LEADS.index(name) for name in names]
    correlation, r_spread, t_spread = np.full((3, len(x), len(names)), np.nan)
    n_beats = np.zeros(len(x), dtype=np.intp)
    share = np.full(len(x), np.nan)
    for i, signal in enumerate(x):
        known = None if delineations is None else delineations[i]
        of_kind = () if known is None else (known.beats, (known.dominant, known.beat))
        _, fine, at, dominant = aligned_beats(signal, sampling_rate, *of_kind)
        if not len(at):
            continue
        share[i] = dominant.mean()
        cycle = 1000 / BEAT_RATE * float(np.median(np.diff(at))) if len(at) > 1 else 1000.0
        before, after = samples(min(250, 0.3 * cycle)), samples(min(450, 0.6 * cycle))
        whole = (at >= before) & (at + after <= fine.shape[1])
        alike = whole & dominant
        # Were they left out, an ECG whose beats are all different would be missing instead of poor.
        at = at[alike if alike.sum() >= 3 else whole]
        n_beats[i] = len(at)
        if len(at) >= 3:
            beats = cut_beats(fine[rows], at, before, after)
            correlation[i], r_spread[i], t_spread[i] = _agreement(beats, before)
    return BeatConsistency(names, correlation, r_spread, t_spread, n_beats, share)


def _agreement(beats: Array, r_index: int) -> tuple[Array, Array, Array]:
    """Correlation, spread of R and spread of T of ``(n_beats, n_leads, m)``, per lead."""
    template = np.median(beats, axis=0)
    a = beats - beats.mean(axis=-1, keepdims=True)
    b = template - template.mean(axis=-1, keepdims=True)
    power = np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1)
    correlation = np.median(np.sum(a * b, axis=-1) / np.sqrt(np.maximum(power, 1e-12)), axis=0)
    near, quiet = samples(60), slice(max(r_index - samples(100), 0), r_index - samples(50))
    zero = np.median(beats[..., quiet], axis=-1, keepdims=True)
    r = _spread(beats - zero, r_index - near, r_index + near, reach=2)
    t = _spread(beats - zero, r_index + samples(140), beats.shape[-1], reach=20, least=_MIN_T_MV)
    return correlation, r, t


def _spread(beats: Array, start: int, stop: int, reach: float, least: float = 0.0) -> Array:
    """The robust variation of each lead's tallest deflection, averaged over ``reach`` ms either side."""
    template = np.median(beats, axis=0)
    spread = np.full(len(template), np.nan)
    if stop - start < samples(40):
        return spread
    for lead, y in enumerate(template):
        top = start + int(np.argmax(np.abs(y[start:stop])))
        heights = beats[:, lead, max(top - samples(reach), start) : top + samples(reach) + 1].mean(axis=-1)
        middle = np.median(heights)
        if abs(middle) > least:
            spread[lead] = 1.4826 * np.median(np.abs(heights - middle)) / abs(middle)
    return spread


def interval_w1(
    generated: Mapping[str, ArrayLike],
    real: Mapping[str, ArrayLike],
    generated_statements: Statements | None = None,
    real_statements: Statements | None = None,
    *,
    min_count: int = 20,
) -> dict[str, float]:
    """Measure how far the intervals of generated ECGs are from those of real ones.

    Parameters
    ----------
    generated, real : mapping of str to array of shape (n,)
        What `ecgtwin.metrics.intervals` returns, in ms; NaN is left out.
    generated_statements, real_statements : bool array (n, n_statements) or list of sets of str, optional
        What each ECG shows, both in the same form. Then ECGs of the same statement are compared, and the
        distances of the statements averaged.
    min_count : int
        Statements count that have as many measured values on both sides.

    Returns
    -------
    dict of str to float
        Wasserstein-1 distance in ms for ``p``, ``pr``, ``qrs``, ``qt`` and ``qtc``; NaN where a side has
        no value, or no statement has enough.

    Raises
    ------
    InputError
        If an interval is missing, only one side has statements, or their number differs from the
        intervals'.

    Notes
    -----
    Two small samples of one distribution are also some distance apart: compare with two real samples of
    the same sizes.

    References
    ----------
    Ramdas, Garcia Trillos, Cuturi, On Wasserstein two-sample testing, Entropy 19 (2017).

    Examples
    --------
    >>> real = {key: np.array([90.0, 95.0, 150.0, np.nan]) for key in ("p", "pr", "qrs", "qt", "qtc")}
    >>> interval_w1({key: values + 8 for key, values in real.items()}, real)["qrs"]
    8.0
    >>> shown = [{"NORM"}, {"NORM"}, {"CLBBB"}, {"CLBBB"}]
    >>> interval_w1(real, real, shown[::-1], shown, min_count=1)["qrs"]
    57.5
    """
    a, b = _columns(generated), _columns(real)
    if generated_statements is None and real_statements is None:
        return {key: _w1(a[key], b[key]) for key in INTERVALS}
    if generated_statements is None or real_statements is None:
        raise InputError("statements must be given for both sides, or for neither")
    shown_a, shown_b = _shown(generated_statements, len(a["p"])), _shown(real_statements, len(b["p"]))
    distances: dict[str, list[float]] = {key: [] for key in INTERVALS}
    for statement in sorted(shown_a.keys() & shown_b.keys()):
        for key in INTERVALS:
            left, right = a[key][shown_a[statement]], b[key][shown_b[statement]]
            if min(np.isfinite(left).sum(), np.isfinite(right).sum()) >= max(min_count, 1):
                distances[key].append(_w1(left, right))
    return {key: float(np.mean(found)) if found else float("nan") for key, found in distances.items()}


def _w1(a: Array, b: Array) -> float:
    from scipy.stats import wasserstein_distance

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return float(wasserstein_distance(a, b)) if len(a) and len(b) else float("nan")


def _columns(intervals: Mapping[str, ArrayLike]) -> dict[str, Array]:
    if missing := [key for key in INTERVALS if key not in intervals]:
        raise InputError(f"the intervals lack {', '.join(missing)}")
    columns = {key: np.asarray(intervals[key], dtype=np.float64) for key in INTERVALS}
    if len({column.shape for column in columns.values()}) > 1 or columns["p"].ndim != 1:
        raise InputError("the intervals must be arrays of shape (n,), all of one length")
    return columns


def _shown(statements: Statements, n: int) -> dict[str, NDArray[np.bool_]]:
    """Which of ``n`` ECGs show each statement."""
    if isinstance(statements, Sequence) and all(isinstance(row, Set) for row in statements):
        rows: list[Set[str]] = list(statements)
        shown = {name: np.array([name in row for row in rows]) for name in set().union(*rows)}
    else:
        table = np.asarray(statements, dtype=bool)
        if table.ndim != 2:
            raise InputError(f"expected sets, or statements of shape (n, n_statements), got {table.shape}")
        rows, shown = list(table), {str(i): column for i, column in enumerate(table.T)}
    if len(rows) != n:
        raise InputError(f"{len(rows)} rows of statements for {n} ECGs")
    return shown


def _ecgs(signals: ArrayLike) -> Array:
    x = np.asarray(signals, dtype=np.float64)
    if x.ndim != 3 or x.shape[1] != len(LEADS) or x.size == 0:
        raise InputError(f"expected ECGs of shape (n, 12, n_times), got {x.shape}")
    if not np.isfinite(x).all():
        raise InputError("the signals hold NaN or infinite values")
    return x
