"""What electrodes add to the heart's signal: noise of muscles, above 10 Hz, at each electrode its own.

A flow draws the noise that recordings have on average, the same in every twin, and beats that are the mean
of many. So that noise is taken out, waves are made as sharp as those of one beat, and each twin gets noise
as recordings have it: of nine electrodes, each of its own strength. Everything here is at 100 Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ecg import NATIVE_RATE
from .filters import filtered, response
from .leads import LEADS

Array = NDArray[Any]

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

_QUICK = 25.0
"""In Hz: above it levels are measured, where between QRS complexes little is the heart's."""
_QRS = (-10, 12)  # samples about R that are left out there
_LEAST = 2e-4  # mV; below it lies what rounding to microvolts leaves
_FEWEST = 100  # samples to measure on

_CALM = 4.0
"""Quick waves of this many times their usual power are halved, weaker ones taken out."""
_BEAT_MARGIN = 16
_MARGIN = 60


def noise_levels(signals: Array, peaks: Sequence[Array]) -> NDArray[np.float32]:
    """Return how much noise each electrode of recordings ``(n, 12, t)`` has, ``(n, 9)`` in mV.

    The deviation above 25 Hz between QRS complexes, from medians, of the leads; those of the electrodes
    follow, since their noises are independent: a limb lead is the difference of two limb electrodes, a
    chest lead that of its own electrode and the mean of the three. NaN where QRS leaves nothing.
    """
    found = np.full((len(signals), len(ELECTRODES)), np.nan, dtype=np.float32)
    for row, (signal, beats) in enumerate(zip(signals, peaks, strict=True)):
        between = np.ones(signal.shape[-1], dtype=bool)
        between[:20] = between[-20:] = False
        for peak in beats:
            between[max(peak + _QRS[0], 0) : peak + _QRS[1]] = False
        if between.sum() < _FEWEST:
            continue
        quick = filtered(signal, _QUICK, "high", NATIVE_RATE)[:, between]
        power = np.square(np.median(np.abs(quick), axis=1) / 0.6745)
        one, two, three = power[: LEADS.index("aVR")]
        limbs = np.array([one + two - three, one + three - two, two + three - one]) / 2
        chest = power[LEADS.index("V1") :] - limbs.sum() / 9
        found[row] = np.sqrt(np.maximum(np.concatenate([limbs, chest]), _LEAST**2))
    return found


def cleaned(leads: Array) -> NDArray[np.float32]:
    """Take the usual noise out of a drawn recording ``(8, t)`` in mV, and make its waves sharp.

    Between 14 and 22 Hz begins what is quick. Where it is no stronger than for half of the time, it is
    noise; in QRS complexes, pacing spikes and the like it stays. The mean of beats whose R peaks were
    placed at whole samples is a moving average over one sample, which is undone; what lies above 45 Hz
    no recording at 100 Hz holds.
    """
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.ndimage import uniform_filter1d

    length = leads.shape[-1]
    total = next_fast_len(length + 2 * _MARGIN, real=True)
    padded = np.pad(leads, ((0, 0), (_MARGIN, total - length - _MARGIN)), mode="reflect")
    slow, fast = irfft(rfft(padded) * _sharp_gains(total), total)[..., _MARGIN : _MARGIN + length]
    power = uniform_filter1d(np.square(fast).mean(axis=0), 7)
    kept = power / (power + _CALM * np.median(power) + 1e-12)
    return np.asarray(slow + kept * fast, dtype=np.float32)


def sharpened(beats: Array) -> NDArray[np.float32]:
    """Undo in typical beats ``(n, 8, t)`` the moving average over one sample that is in every mean of beats.

    Their R peaks were placed at whole samples, and lie anywhere within these.
    """
    from scipy.fft import irfft, rfft

    length = beats.shape[-1] + 2 * _BEAT_MARGIN
    padded = np.pad(beats, ((0, 0), (0, 0), (_BEAT_MARGIN, _BEAT_MARGIN)), mode="edge")
    gain = 1 / np.sinc(np.fft.rfftfreq(length))
    found = irfft(rfft(padded) * gain, length)[..., _BEAT_MARGIN:-_BEAT_MARGIN]
    return np.asarray(found, dtype=np.float32)


def electrode_noise(white: Array, levels: Array) -> NDArray[np.float32]:
    """Turn white noise ``(9, t)`` into that of eight leads ``(8, t)`` in mV, given levels ``(9,)`` in mV."""
    from scipy.fft import irfft, rfft

    length = white.shape[-1]
    at_electrode = irfft(rfft(white) * _noise_gain(length), length) * levels[:, None].astype(np.float32)
    right, left, foot = at_electrode[:3]
    chest = at_electrode[3:] - at_electrode[:3].mean(axis=0)
    return np.concatenate([[left - right, foot - right], chest]).astype(np.float32)


@lru_cache(maxsize=8)
def _sharp_gains(length: int) -> NDArray[np.float32]:
    """Gains ``(2, 1, length // 2 + 1)`` for slow waves and quick ones, which together undo the average."""
    frequency = np.fft.rfftfreq(length, 1 / NATIVE_RATE)
    quick, sharp = _rising(frequency, 14, 22), _falling(frequency) / np.sinc(frequency / NATIVE_RATE)
    return np.asarray(np.stack([1 - quick, quick])[:, None] * sharp, dtype=np.float32)


@lru_cache(maxsize=8)
def _noise_gain(length: int) -> NDArray[np.float32]:
    """Gains ``(length // 2 + 1,)`` that give white noise the spectrum of muscles and a level of 1.

    The spectrum is that of the tenth of PTB-XL's recordings with most noise, between QRS complexes.
    """
    frequency = np.fft.rfftfreq(length, 1 / NATIVE_RATE)
    gain = _rising(frequency, 10, 16) * (20 / np.maximum(frequency, 1)) ** 0.85 * _falling(frequency)
    heard = gain * response(frequency, _QUICK, "high", NATIVE_RATE)
    return np.asarray(gain / np.sqrt(np.mean(np.square(heard))), dtype=np.float32)


def _rising(frequency: Array, low: float, high: float) -> NDArray[np.float64]:
    return np.asarray(np.sin(np.pi / 2 * np.clip((frequency - low) / (high - low), 0, 1)) ** 2)


def _falling(frequency: Array) -> NDArray[np.float64]:
    return 1 - _rising(frequency, 43, 49)
