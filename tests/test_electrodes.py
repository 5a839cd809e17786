"""The noise of electrodes: measured on recordings, drawn for twins, and taken out of what a flow draws."""

import numpy as np
import pytest
import torch

from ecgtwin import lead_residual, make_ecgs
from ecgtwin.beats import r_peaks
from ecgtwin.electrodes import ELECTRODES, cleaned, electrode_noise, noise_levels, sharpened
from ecgtwin.exceptions import InputError
from ecgtwin.filters import filtered, response
from ecgtwin.leads import independent_leads, twelve_leads
from ecgtwin.nn import ElectrodeLevels

LEVELS = torch.tensor([0.012, 0.008, 0.001, 0.004, 0.002, 0.006, 0.003, 0.005, 0.002])


def clean(leads):
    """Recordings ``(n, 8, t)`` without the usual noise."""
    return cleaned(torch.from_numpy(np.asarray(leads, dtype=np.float32))).numpy()


def noise_of(seeds, levels=LEVELS, length=1000):
    """Noise ``(n, 8, length)`` of electrodes with levels ``(9,)``, row by row."""
    white = [np.random.default_rng(seed).standard_normal((9, length), dtype=np.float32) for seed in seeds]
    return electrode_noise(torch.from_numpy(np.stack(white)), levels.expand(len(seeds), -1)).numpy()


@pytest.fixture(scope="module")
def quiet():
    """Simulated leads (20, 8, 1000) without noise above 14 Hz but in QRS."""
    leads = independent_leads(make_ecgs(20, 1, random_state=4).signals)
    return clean(leads)


def test_levels_that_were_added_are_found(quiet):
    signals = twelve_leads(quiet + noise_of(range(20)))
    found = noise_levels(signals, [r_peaks(one) for one in signals])
    assert found.shape == (20, len(ELECTRODES))
    # What is less than the noise of the limb electrodes' mean is hard to tell from it.
    levels = LEVELS.numpy()
    strong = levels >= 0.004
    np.testing.assert_allclose(np.nanmedian(found, axis=0)[strong], levels[strong], rtol=0.15)


def test_levels_need_room_between_beats(quiet):
    signals = twelve_leads(quiet[:1])
    assert np.isnan(noise_levels(signals, [np.arange(0, 1000, 20)])).all()


def test_noise_obeys_the_laws_of_leads():
    noise = noise_of([0])[0]
    assert noise.shape == (8, 1000)
    assert noise.dtype == np.float32
    assert lead_residual(twelve_leads(noise)) < 1e-6
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(1000, 0.01)
    assert power[:, frequency < 10].sum() < 1e-6 * power.sum()
    assert power[:, frequency > 49].sum() < 1e-3 * power.sum()


def test_the_flows_own_noise_is_taken_out_and_qrs_stays(quiet):
    even = quiet + noise_of(range(20), torch.full((9,), 0.005))
    again = clean(even)
    before, after = (np.median(np.abs(filtered(x, 25.0, "high", 100.0)), axis=-1) for x in (even, again))
    assert np.median(after / before) < 0.35
    height = np.abs(again).max(axis=-1) / np.abs(quiet).max(axis=-1)
    assert 0.97 < np.median(height) < 1.1  # sharper by what a mean over one sample takes away


def test_a_pacing_spike_stays(quiet):
    spiked = quiet.copy()
    spiked[..., 400] += 0.6
    assert (clean(spiked) - clean(quiet))[..., 400].min() > 0.45


@pytest.mark.parametrize("length", [250, 1000, 3000])
def test_any_length_keeps_its_length(length):
    leads = np.random.default_rng(0).normal(0, 0.01, (2, 8, length))
    assert clean(leads).shape == (2, 8, length)
    assert noise_of([1], length=length).shape == (1, 8, length)


def test_levels_are_drawn_as_they_were_seen():
    rng = np.random.default_rng(0)
    arms = rng.normal(size=(4000, 1))
    log = np.concatenate([arms + 0.3 * rng.normal(size=(4000, 2)), rng.exponential(size=(4000, 7))], axis=1)
    model = ElectrodeLevels().fit(np.exp(log - 5).astype(np.float32))
    drawn = model.draw(torch.from_numpy(rng.standard_normal((4000, 9), dtype=np.float32))).log().numpy() + 5
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9], axis=0), np.quantile(log, [0.1, 0.5, 0.9], axis=0), atol=0.15
    )
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] > 0.8
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 5])[0, 1]) < 0.1


def test_without_recordings_there_is_no_noise():
    for levels in (np.full((5, 9), np.nan), np.zeros((0, 9))):
        assert ElectrodeLevels().fit(levels).draw(torch.ones(1, 9)).max() < 1e-6
    equal = ElectrodeLevels().fit(np.full((5, 9), 0.002)).draw(torch.ones(1, 9))
    np.testing.assert_allclose(equal, 0.002, rtol=1e-3)


def test_twins_have_as_much_noise_as_is_asked_for(tiny, ecgs):
    signal = ecgs.signals[0]
    none, usual, twice = (tiny.sample(signal, random_state=0, noise_scale=scale) for scale in (0.0, 1.0, 2.0))
    assert not np.array_equal(none, usual)
    np.testing.assert_allclose(twice - none, 2 * (usual - none), atol=1e-5)
    with pytest.raises(InputError, match="noise_scale"):
        tiny.sample(signal, noise_scale=-1)


def test_response_is_that_of_the_filter():
    x = np.sin(2 * np.pi * 20 * np.arange(4000) / 100)
    passed = filtered(x, 25.0, "high", 100.0)[1000:3000]
    expected = response(np.array([20.0]), 25.0, "high", 100.0)[0]
    assert np.sqrt(2) * passed.std() == pytest.approx(expected, rel=0.01)


def test_sharpening_undoes_the_average_over_one_sample():
    """Beats that are the mean of a wave's placings within a sample come out as the wave itself."""
    time = np.arange(95) - 35
    wave = np.exp(-0.5 * (time / 2.0) ** 2)
    shifts = np.linspace(-0.5, 0.5, 201)
    mean = np.mean([np.exp(-0.5 * ((time - shift) / 2.0) ** 2) for shift in shifts], axis=0)
    found = sharpened(torch.from_numpy(np.tile(mean, (1, 8, 1)).astype(np.float32))).numpy()
    assert found.shape == (1, 8, 95)
    assert np.abs(found[0, 0] - wave).max() < 0.1 * np.abs(mean - wave).max()


def test_sharpening_leaves_slow_waves_alone():
    slow = torch.sin(2 * torch.pi * torch.arange(95) / 95).expand(1, 8, -1)
    assert (sharpened(slow) - slow)[..., 5:-5].abs().max() < 0.01
