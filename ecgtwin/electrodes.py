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
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def cleaned(leads: Tensor) -> Tensor:
    """Take the usual noise out of drawn signals ``(n, 8, t)`` in mV, and make their waves sharp.

    Between 14 and 22 Hz begins what is quick. Where it is no stronger than for half of the time, it is
    noise; in QRS complexes, pacing spikes and the like it stays. The mean of beats whose R peaks were
    placed at whole samples is a moving average over one sample, which is undone; what lies above 45 Hz
    no recording at 100 Hz holds.
    """
    from scipy.fft import next_fast_len

    length = leads.shape[-1]
    total = next_fast_len(length + 2 * _MARGIN, real=True)
    before, after = leads[..., 1 : _MARGIN + 1], leads[..., 2 * length + _MARGIN - total - 1 : -1]  # mirrored
    padded = torch.cat([before.flip(2), leads, after.flip(2)], dim=2)
    waves = torch.fft.irfft(torch.fft.rfft(padded) * _sharp_gains(total, leads.device), total)
    slow, fast = waves[..., _MARGIN : _MARGIN + length]
    power = fast.square().mean(dim=1)
    power = torch.cat([power[:, :3].flip(1), power, power[:, -3:].flip(1)], dim=1)
    power = power.unfold(1, 7, 1).mean(dim=2)
    usual = (power.kthvalue((length + 1) // 2)[0] + power.kthvalue(length // 2 + 1)[0]) / 2  # the median
    kept = power / (power + _CALM * usual[:, None] + 1e-12)
    return slow + kept[:, None] * fast


def sharpened(beats: Tensor) -> Tensor:
    """Undo in typical beats ``(n, 8, t)`` the moving average over one sample that is in every mean of beats.

    Their R peaks were placed at whole samples, and lie anywhere within these.
    """
    return beats @ _sharpening(beats.shape[-1], beats.device)


def electrode_noise(white: Tensor, levels: Tensor) -> Tensor:
    """Turn white noise ``(n, 9, t)`` into that of leads ``(n, 8, t)``, given levels ``(n, 9)``, in mV."""
    length = white.shape[-1]
    of_muscles = torch.fft.irfft(torch.fft.rfft(white) * _noise_gain(length, white.device), length)
    at_electrode = of_muscles * levels[:, :, None]
    right, left, foot = at_electrode[:, :3].unbind(1)
    chest = at_electrode[:, 3:] - at_electrode[:, :3].mean(dim=1, keepdim=True)
    return torch.cat([torch.stack([left - right, foot - right], dim=1), chest], dim=1)


@lru_cache(maxsize=8)
def _sharp_gains(length: int, device: torch.device) -> Tensor:
    """Gains ``(2, 1, 1, length // 2 + 1)`` for slow waves and quick ones, which together undo the average."""
    frequency = np.fft.rfftfreq(length, 1 / NATIVE_RATE)
    quick, sharp = _rising(frequency, 14, 22), _falling(frequency) / np.sinc(frequency / NATIVE_RATE)
    gains = np.stack([1 - quick, quick])[:, None, None] * sharp
    return torch.from_numpy(gains.astype(np.float32)).to(device)


@lru_cache(maxsize=8)
def _sharpening(length: int, device: torch.device) -> Tensor:
    """The matrix ``(length, length)`` that undoes the average, of beats held beyond their ends."""
    padded = np.pad(np.eye(length), ((0, 0), (_BEAT_MARGIN, _BEAT_MARGIN)), mode="edge")
    total = padded.shape[1]
    found = np.fft.irfft(np.fft.rfft(padded) / np.sinc(np.fft.rfftfreq(total)), total)
    return torch.from_numpy(found[:, _BEAT_MARGIN:-_BEAT_MARGIN].astype(np.float32)).to(device)


@lru_cache(maxsize=8)
def _noise_gain(length: int, device: torch.device) -> Tensor:
    """Gains ``(length // 2 + 1,)`` that give white noise the spectrum of muscles and a level of 1.

    The spectrum is that of the tenth of PTB-XL's recordings with most noise, between QRS complexes.
    """
    frequency = np.fft.rfftfreq(length, 1 / NATIVE_RATE)
    gain = _rising(frequency, 10, 16) * (20 / np.maximum(frequency, 1)) ** 0.85 * _falling(frequency)
    heard = gain * response(frequency, _QUICK, "high", NATIVE_RATE)
    gain = gain / np.sqrt(np.mean(np.square(heard)))
    return torch.from_numpy(gain.astype(np.float32)).to(device)


def _rising(frequency: Array, low: float, high: float) -> NDArray[np.float64]:
    return np.asarray(np.sin(np.pi / 2 * np.clip((frequency - low) / (high - low), 0, 1)) ** 2)


def _falling(frequency: Array) -> NDArray[np.float64]:
    return 1 - _rising(frequency, 43, 49)
