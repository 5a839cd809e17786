"""What a signal must have to be an ECG, and what the caller should know of one that has it.

Thresholds are those under which the 2,183 recordings of PTB-XL's fold 9 pass; where one of them is
met by a few, the comment says how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beats import mean_rate
from .filters import filtered
from .leads import INDEPENDENT_LEADS, LEADS, lead_residual, limb_lead_order

Array = NDArray[Any]

MIN_SECONDS = 2.5
FLAT_MILLIVOLTS = 1e-4
WANDER_MILLIVOLTS = 2.0
MAX_MILLIVOLTS = 1e9
"""Far above any ADC's numbers, and far below what overflows when it is squared."""
MAX_GAP_SECONDS = 0.04
_RATE = 100.0  # of native signals

# Of 1,000 recordings of PTB-XL, 400 of them paced or with a left bundle branch block, the bluntest has
# 0.19, and 0.10 in its bluntest lead; of recordings slowed five times 98 of 100 lie below 0.09.
_MIN_SHARPNESS = 0.09
# White noise has half of its power above 20 Hz, and its beats are alike by 0.8 at most in one lead and by
# 0.41 in twelve; of real recordings 0.52 and 0.21 at most, and 0.74 and 0.94 at least.
_NOISE_SHARE, _TOO_QUICK_SHARE = 0.45, 0.57
_QUICK_SHARE = 0.28  # above 100 bpm
_MIN_ALIKE_ONE_LEAD, _MIN_ALIKE = 0.85, 0.6

# How other public code orders twelve leads, where it is not the standard order.
KNOWN_ORDERS = {
    "MIMIC-IV-ECG": ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"),
    "SSSD-ECG": (*INDEPENDENT_LEADS, "III", "aVR", "aVL", "aVF"),
    "Cabrera": ("aVL", "I", "aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6"),
}


def refused_values(signal: Array, leads: Sequence[str], rate: float) -> str | None:
    """Return why numbers of shape ``(n_leads, n_times)`` cannot be an ECG in mV; None if they can."""
    bad = np.argwhere(~np.isfinite(signal))
    if len(bad):
        lead, sample = bad[0]
        return (
            f"{len(bad)} values are NaN or infinite, the first in lead {leads[lead]} at sample {sample}; "
            'leave the lead out, or fill gaps of up to 40 ms by nan_policy="interpolate"'
        )
    beyond = np.argwhere(np.abs(signal) > MAX_MILLIVOLTS)
    if len(beyond):
        lead, sample = beyond[0]
        return (
            f"{len(beyond)} values are impossible, the first in lead {leads[lead]} at sample {sample}: "
            f"{signal[lead, sample]:.3g} mV"
        )
    seconds = signal.shape[1] / rate
    if seconds < MIN_SECONDS:
        return f"lasts {seconds:.2f} s; at least {MIN_SECONDS} s are needed (is the rate right?)"
    flat = flat_leads(signal)
    if flat.all():
        return "no QRS: flat line"
    # The median offset is a property of the amplifier, so the scale is judged without it.
    level = np.percentile(np.abs(signal - np.median(signal, axis=1, keepdims=True)), 99)
    if level > 20:
        return (
            f'amplitudes near {level:.3g} mV; are they microvolts? Pass signal / 1000, or unit="uV"; '
            "of raw ADC values pass gain=, in units per mV"
        )
    if level < 0.005:
        return f'amplitudes near {level:.3g} mV; are they volts? Pass signal * 1000, or unit="V"'
    alive = {lead for lead, is_flat in zip(leads, flat, strict=True) if not is_flat}
    if set(LEADS[:6]) <= alive:
        return _refused_limb_leads(signal, leads)
    return None


def flat_leads(signal: Array) -> NDArray[np.bool_]:
    """Return which leads of ``(..., n_leads, n_times)`` are flat: their electrode was off."""
    return np.ptp(signal, axis=-1) < FLAT_MILLIVOLTS


def refused_rhythm(native: Array, present: NDArray[np.bool_], peaks: Array, rate: float) -> str | None:
    """Return why a signal ``(12, n_times)`` at 100 Hz holds no heart's rhythm; None if it does."""
    signal = native[present]
    beats_per_minute = mean_rate(peaks)
    if isfinite(beats_per_minute) and not 20 <= beats_per_minute <= 300:
        return f"heart rate {beats_per_minute:.0f} bpm lies outside 20-300; is the sampling rate right?"
    if sharpness(native) < _MIN_SHARPNESS:
        return (
            "no QRS: no wave is as quick as one, as in ventricular fibrillation; or is the true sampling "
            f"rate higher than the {rate:g} Hz given?"
        )
    shares = _quick_share(signal)
    share, alike = float(shares.min()), beats_alike(signal, peaks)
    if (share > _NOISE_SHARE and alike < _MIN_ALIKE_ONE_LEAD) or (
        len(signal) >= 3 and len(peaks) >= 6 and alike < _MIN_ALIKE
    ):
        return f"no rhythm: no beat is like another (correlation {alike:.2f}), as in noise"
    # Of twelve leads sped up five times the typical one has 0.46; the quickest real recording has 0.31.
    if share > _TOO_QUICK_SHARE or (len(signal) >= 6 and np.median(shares) > 0.42):
        return (
            "its waves are too quick for a heart's, as above 300 bpm; is the true sampling rate lower than "
            f"the {rate:g} Hz given?"
        )
    return None


def findings(
    signal: Array, leads: Sequence[str], rate: float, native: Array, peaks: Array, wander: float
) -> tuple[str, ...]:
    """Return what the caller should know of an ECG that can be used, in words."""
    found = []
    flat = flat_leads(signal)
    if flat.any():
        dead = [lead for lead, is_flat in zip(leads, flat, strict=True) if is_flat]
        found.append(f"lead {', '.join(dead)} is flat and taken as missing")
    alive = np.flatnonzero(~flat)
    rows = {leads[int(row)]: row for row in alive}
    if set(LEADS[:6]) <= rows.keys():
        residual = _limb_residual(signal[[rows[lead] for lead in LEADS[:6]]])[0]
        if residual > 0.05:
            found.append(
                f"the limb leads obey Einthoven's law only roughly (residual {residual:.2f}), as after "
                "filtering each lead on its own; the twin will obey it"
            )
    if len(rows) == 1 and not rows.keys() & {*INDEPENDENT_LEADS}:
        found.append(
            f"lead {', '.join(rows)} alone gives none of I, II, V1-V6: of the person only rate and intervals "
            "are known, and no shape"
        )
    clipped = {lead: share for lead, row in rows.items() if (share := clipped_share(signal[row])) >= 0.02}
    if clipped:
        worst = max(clipped, key=clipped.__getitem__)
        found.append(f"lead {', '.join(clipped)} is clipped: {clipped[worst]:.0%} of {worst} at the rail")
    for one, other in _duplicates(signal, alive):
        found.append(f"leads {leads[one]} and {leads[other]} are the same signal")
    if hum := _hum_share(signal[alive], rate):
        found.append(f"mains hum of 50 or 60 Hz makes up {hum:.0%} of the power")
    if wander > WANDER_MILLIVOLTS:  # of real recordings 108 of 2,183
        found.append(f"the baseline wanders by {wander:.1f} mV; it is high-pass filtered")
    if spikes := _pacing_spikes(signal[alive], rate):
        found.append(f"{spikes} spikes as of a pacemaker; they are kept")
    if len(peaks) < 2:
        found.append(f"{'one beat' if len(peaks) else 'no beat'} was found: its heart rate is not known")
    elif len(rows) >= 6 and mean_rate(peaks) < 50 and sharpness(native) < 0.4:
        # No real recording; of those slowed twice a quarter.
        found.append(
            f"{mean_rate(peaks):.0f} bpm with QRS complexes this slow; is the true sampling rate higher than "
            f"the {rate:g} Hz given?"
        )
    elif len(rows) >= 6 and mean_rate(peaks) > 100 and _typical_quick_share(native) > _QUICK_SHARE:
        # 1 of 2,183 real recordings, 3 of fold 7; of those sped up twice half, a quarter more are refused.
        found.append(
            f"{mean_rate(peaks):.0f} bpm with waves this quick; is the true sampling rate lower than the "
            f"{rate:g} Hz given, or is it an infant's heart?"
        )
    if len(rows) == 12 and (pattern := _polarity(native, peaks)):
        found.append(pattern)
    return tuple(found)


def filled_gaps(signal: Array, rate: float) -> tuple[Array, int]:
    """Fill gaps of NaN of up to 40 ms by straight lines; return the signal, and how many values were filled.

    A longer gap, or one at an end, remains.
    """
    filled, count = signal.copy(), 0
    for lead in filled:
        missing = np.flatnonzero(np.isnan(lead))
        for gap in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
            if not len(gap) or len(gap) > MAX_GAP_SECONDS * rate or gap[0] == 0 or gap[-1] == len(lead) - 1:
                continue
            before, after = gap[0] - 1, gap[-1] + 1
            lead[gap] = np.interp(gap, [before, after], [lead[before], lead[after]])
            count += len(gap)
    return filled, count


def without_wander(native: Array) -> tuple[Array, float]:
    """Return a native signal, high-pass filtered if its baseline wanders by more than 2 mV, and by how many.

    By none where it is too short to tell.
    """
    if native.shape[-1] < 50:
        return native, 0.0
    baseline = filtered(native, 0.5, "low", _RATE, padtype="even")
    wander = float(np.ptp(baseline, axis=-1).max())
    return (native - baseline).astype(native.dtype) if wander > WANDER_MILLIVOLTS else native, wander


def beats_alike(signal: Array, peaks: Array) -> float:
    """Return how like its nearest other beat a typical beat is, as a correlation; NaN for fewer than two."""
    reach = 10
    peaks = peaks[(peaks >= reach) & (peaks < signal.shape[-1] - reach)]
    if len(peaks) < 2 or not len(signal):
        return float("nan")
    band = filtered(signal, (5.0, 30.0), "bandpass", _RATE)
    beats = np.stack([band[:, peak - reach : peak + reach + 1].ravel() for peak in peaks[:200]])
    beats -= beats.mean(axis=1, keepdims=True)
    beats /= np.maximum(np.linalg.norm(beats, axis=1, keepdims=True), 1e-12)
    likeness = beats @ beats.T
    np.fill_diagonal(likeness, -np.inf)
    return float(np.median(likeness.max(axis=1)))


def sharpness(native: Array) -> float:
    """How much of the height of a signal at 100 Hz is above 10 Hz, in the sharpest of its leads."""
    above, all_of_it = (
        np.quantile(np.abs(filtered(native, (low, 35.0), "bandpass", _RATE)), 0.995, axis=1)
        for low in (10.0, 0.5)
    )
    return float(np.max(above / np.maximum(all_of_it, 1e-9)))


def clipped_share(lead: Array) -> float:
    """Return the share of samples that lie at a lead's highest or lowest value, two or more in a row."""
    at_rail = 0
    for rail in (lead.max(), lead.min()):
        at = np.concatenate([[False], lead == rail, [False]])
        in_a_row = int((at[1:-1] & (at[:-2] | at[2:])).sum())
        if in_a_row and abs(rail - np.median(lead)) >= 0.2 * np.ptp(lead):  # nearer lies a quiet line
            at_rail += in_a_row
    return at_rail / len(lead)


def _refused_limb_leads(signal: Array, leads: Sequence[str]) -> str | None:
    limb = signal[[leads.index(lead) for lead in LEADS[:6]]]
    residual, limb = _limb_residual(limb)
    if residual <= 0.05:
        return None
    broken = f"the limb leads break Einthoven's law (residual {residual:.2f}"
    if len(leads) == 12 and tuple(leads) == LEADS:
        for source, known in KNOWN_ORDERS.items():
            if _limb_residual(signal[[known.index(lead) for lead in LEADS[:6]]])[0] < 0.01:
                return f"{broken}) but obey it in the order of {source}: pass leads=[{', '.join(known)}]"
    order = limb_lead_order(limb)
    if order is not None:
        return f"{broken}) but obey it in the order {', '.join(order)}: name them so in leads="
    if residual > 0.3:
        return f"{broken}; real ECGs have 0.003): are the leads in the order that leads= says?"
    return None


def _limb_residual(limb: Array) -> tuple[float, Array]:
    limb = limb - limb.mean(axis=1, keepdims=True)  # each amplifier has an offset of its own
    # A pacemaker's spikes saturate single amplifiers; wrong leads are wrong all the time.
    broken = np.abs(limb[2] - limb[1] + limb[0])
    limb = limb[:, broken <= np.quantile(broken, 0.95)]
    return lead_residual(limb), limb


def _quick_share(signal: Array) -> Array:
    """The share of each lead's power above 20 Hz."""
    power = np.abs(np.fft.rfft(_centred(signal) * np.hanning(signal.shape[1]))) ** 2
    frequency = np.fft.rfftfreq(signal.shape[1], 1 / _RATE)
    return power[:, frequency > 20].sum(axis=1) / np.maximum(power[:, frequency > 1].sum(axis=1), 1e-12)


def _typical_quick_share(native: Array) -> float:
    return float(np.median(_quick_share(native[~flat_leads(native)])))


def _centred(signal: Array) -> Array:
    return np.asarray(signal, dtype=np.float64) - np.mean(signal, axis=1, keepdims=True, dtype=np.float64)


def _duplicates(signal: Array, alive: Array) -> list[tuple[int, int]]:
    return [
        (int(one), int(other))
        for i, one in enumerate(alive)
        for other in alive[i + 1 :]
        if np.abs(signal[one] - signal[other]).max() < 1e-3
    ]


def _hum_share(signal: Array, rate: float) -> float:
    """The share of power within 1 Hz of the mains' frequency, where that is above 30 %, else 0."""
    if rate < 125 or not len(signal):
        return 0.0
    power = (np.abs(np.fft.rfft(_centred(signal))) ** 2).sum(axis=0)
    frequency = np.fft.rfftfreq(signal.shape[1], 1 / rate)
    total = max(power[frequency > 0.5].sum(), 1e-12)
    share = max(float(power[np.abs(frequency - mains) < 1].sum() / total) for mains in (50, 60))
    return share if share > 0.3 else 0.0


def _pacing_spikes(signal: Array, rate: float) -> int:
    """How many spikes of up to 4 ms and 0.5 mV there are, where there are three; slow sampling hides them."""
    if rate < 400 or not len(signal):
        return 0
    reach = max(1, round(0.002 * rate))
    middle = signal[:, reach:-reach]
    height = middle - (signal[:, : -2 * reach] + signal[:, 2 * reach :]) / 2
    step = np.abs(signal[:, 2 * reach :] - signal[:, : -2 * reach])
    sharp = ((np.abs(height) > 0.5) & (step < 0.5 * np.abs(height))).any(axis=0)
    places = np.flatnonzero(sharp)
    spikes = int((np.diff(places, prepend=-1e9) > 0.1 * rate).sum())
    return spikes if spikes >= 3 else 0


def _polarity(native: Array, peaks: Array) -> str | None:
    """Recognise inverted leads (as 1 of 2,183 real recordings seems) and exchanged arms (none does)."""
    peaks = peaks[(peaks >= 12) & (peaks < native.shape[1] - 40)]
    if not len(peaks):
        return None
    beat = np.median(np.stack([native[:, peak - 12 : peak + 40] for peak in peaks]), axis=0)
    beat = beat - np.median(native, axis=1, keepdims=True)

    def net(waves: Array) -> Array:
        return (waves.max(axis=1) + waves.min(axis=1)) / np.maximum(np.ptp(waves, axis=1), 1e-9)

    qrs, t = (dict(zip(LEADS, net(part), strict=True)) for part in (beat[:, 4:20], beat[:, 25:50]))
    down = all(qrs[lead] < 0 for lead in ("I", "II", "V5", "V6"))
    if down and qrs["aVR"] > 0 and all(t[lead] < 0 for lead in ("I", "II", "V6")):
        return "QRS and T point away from I, II, V5 and V6 towards aVR: is the signal upside down?"
    like_v6 = float(np.corrcoef(beat[0], beat[11])[0, 1])
    if qrs["I"] < -0.3 and qrs["V6"] > 0.2 and qrs["aVR"] > 0 and like_v6 < -0.7:
        return "lead I mirrors V6: were the arm electrodes exchanged (I inverted, II for III, aVR for aVL)?"
    return None


def content_counts(signals: Array, present: NDArray[np.bool_]) -> dict[str, int]:
    """Count what is no ECG among native ``(n, 12, n_times)``, of which `present` leads count."""
    found = {}
    if flat := int((flat_leads(signals) | ~present).all(axis=1).sum()):
        found["are flat"] = flat
    centred = signals - np.median(signals, axis=2, keepdims=True)
    sizes = np.abs(centred)
    # One sample of 10 V is more than a pacemaker's spike.
    if large := int(((np.quantile(sizes, 0.99, axis=(1, 2)) > 20) | (sizes.max(axis=(1, 2)) > 1e4)).sum()):
        found["have amplitudes above 20 mV (microvolts?)"] = large
    limb = centred[:, :6]
    off = np.square(limb[:, 2] - limb[:, 1] + limb[:, 0]).mean(axis=1)
    lawless = off > 0.3**2 * np.maximum(np.square(limb).mean(axis=(1, 2)), 1e-12)
    if broken := int((lawless & present[:, :6].all(axis=1)).sum()):
        found["break Einthoven's law (leads in another order?)"] = broken
    return found
