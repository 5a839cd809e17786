"""Delineation of simulated ECGs, whose waves are known, and of real ones, whose statements are."""

import importlib.util
from functools import cache

import numpy as np
import pytest
from conftest import REAL_DATA

from ecgtwin.beats import heart_rate, r_peaks
from ecgtwin.datasets import load_example
from ecgtwin.delineation import INTERVALS, Delineation, _t_end, delineate, delineate_all, intervals
from ecgtwin.exceptions import InputError
from ecgtwin.leads import LEADS
from ecgtwin.simulate import make_ecgs


@cache
def measured(statement, rate=100, n=8):
    """Delineations of the same persons, whatever the statement."""
    ecgs = make_ecgs(n, 1, statements=(statement,), sampling_rate=rate, random_state=3)
    return delineate_all(ecgs.signals, rate)


def of(name, found):
    return np.array([getattr(one, name) for one in found])


def test_a_healthy_ecg_has_healthy_intervals():
    found = measured("NORM")
    for name, low, high in [
        ("p_ms", 70, 120),
        ("pr_ms", 130, 200),
        ("qrs_ms", 80, 115),
        ("qtc_ms", 330, 440),
    ]:
        assert np.all((low < of(name, found)) & (of(name, found) < high)), name
    assert np.all((of("axis", found) > -30) & (of("axis", found) < 90))


@pytest.mark.parametrize("rate", [250, 500])
def test_intervals_do_not_depend_on_the_sampling_rate(rate):
    for one, other in zip(measured("NORM", n=4), measured("NORM", rate, n=4), strict=True):
        for key in INTERVALS:
            assert getattr(one, f"{key}_ms") == pytest.approx(getattr(other, f"{key}_ms"), abs=20)


def test_a_first_degree_block_delays_qrs_by_what_was_simulated():
    delay = of("pr_ms", measured("1AVB")) - of("pr_ms", measured("NORM"))
    assert np.median(delay) == pytest.approx(80, abs=8)
    np.testing.assert_allclose(delay, 80, atol=20)


@pytest.mark.parametrize("statement", ["CLBBB", "CRBBB"])
def test_a_bundle_branch_block_widens_qrs(statement):
    assert of("qrs_ms", measured(statement)).min() > 130 > of("qrs_ms", measured("NORM")).max()


@pytest.mark.parametrize("statement", ["SBRAD", "STACH"])
def test_fridericia_takes_the_rate_out_of_qt(statement):
    for one in measured(statement):
        rr = one.rr_ms.mean() / 1000
        assert one.heart_rate == pytest.approx(60 / rr)
        assert one.qtc_ms == pytest.approx(one.qt_ms / np.cbrt(rr))
    assert np.median(of("qtc_ms", measured(statement))) == pytest.approx(382, abs=25)


def test_fibrillation_has_no_p_wave_but_all_the_rest():
    found = measured("AFIB")
    assert np.isnan(of("p_ms", found)).all()
    assert np.isnan(of("pr_ms", found)).all()
    assert np.isnan(of("p_mv", found)).all()
    for name in ("qrs_ms", "qt_ms", "r_mv", "t_mv"):
        assert np.isfinite(of(name, found)).all(), name


def test_extrasystoles_are_told_from_the_dominant_beats():
    for ectopic, healthy in zip(measured("PVC"), measured("NORM"), strict=True):
        assert 0.5 < ectopic.dominant.mean() < 1
        assert ectopic.qrs_ms == pytest.approx(healthy.qrs_ms, abs=15)
        # A beat that ends after a pause is normal, so the shortest interval leads to an ectopic one.
        assert not ectopic.dominant[1:][ectopic.rr_ms.argmin()]


def test_of_two_kinds_as_frequent_the_unhurried_one_is_dominant():
    rate, beats = 500, np.arange(12)
    at = 0.6 + 0.8 * beats - 0.25 * (beats % 2)
    t = np.arange(10 * rate) / rate
    width = np.where(beats % 2, 0.035, 0.012)
    lead = np.exp(-0.5 * ((t[:, None] - at) / width) ** 2) @ np.where(beats % 2, -1.0, 1.0)
    found = delineate(np.outer(np.linspace(0.5, 1.5, 12), lead), rate)
    np.testing.assert_array_equal(found.dominant, beats % 2 == 0)


def test_the_beat_is_that_of_the_recording():
    reference = load_example()
    found = delineate(reference.signal, reference.sampling_rate)
    np.testing.assert_array_equal(found.beats, r_peaks(reference.signal, reference.sampling_rate))
    assert found.heart_rate == pytest.approx(heart_rate(reference.signal, reference.sampling_rate), abs=0.5)
    assert found.beat.shape == (12, 625)
    assert np.abs(found.beat).max(axis=0).argmax() == pytest.approx(found.r_index, abs=25)
    at = found.beats[5]
    step = round(found.beat_rate / reference.sampling_rate)
    for lead in (1, 7, 10):
        own = reference.signal[lead, at - 10 : at + 30]
        mean = found.beat[lead, found.r_index - 10 * step : found.r_index + 30 * step : step]
        assert np.corrcoef(own, mean)[0, 1] > 0.9


def pulses(rate=500, **waves):
    """An ECG at 60 bpm, R at half seconds, of Gaussians ``(s after R, sigma, mV)``, equal in all leads."""
    t = np.arange(10 * rate) / rate
    since = t % 1 - 0.5
    lead = sum(mv * np.exp(-0.5 * ((since - at) / sigma) ** 2) for at, sigma, mv in waves.values())
    return np.tile(lead, (12, 1))


BODY = {"p": (-0.16, 0.02, 0.12), "r": (0.0, 0.01, 1.2), "t": (0.28, 0.04, 0.3)}


def test_amplitudes_are_those_drawn():
    found = delineate(pulses(**BODY, q=(-0.03, 0.007, -0.25), s=(0.03, 0.007, -0.4)), 500)
    np.testing.assert_allclose(found.p_mv, 0.12, atol=0.02)
    np.testing.assert_allclose(found.q_mv, -0.25, atol=0.05)
    np.testing.assert_allclose(found.r_mv, 1.2, atol=0.05)
    np.testing.assert_allclose(found.s_mv, -0.4, atol=0.05)
    np.testing.assert_allclose(found.t_mv, 0.3, atol=0.02)
    np.testing.assert_allclose(found.st_mv, 0, atol=0.03)
    assert np.all((found.q_ms > 15) & (found.q_ms < 40))
    assert found.pr_ms == pytest.approx(160, abs=15)  # P begins 40 ms before its top, QRS 44 ms before R
    assert found.axis == pytest.approx(np.rad2deg(np.arctan2(2 / np.sqrt(3), 1)))


def test_a_wave_after_r_is_no_q():
    found = delineate(pulses(**BODY, s=(0.03, 0.007, -0.4)), 500)
    assert not found.q_mv.any()
    assert not found.q_ms.any()


def test_a_qs_complex_counts_as_q_and_as_s():
    found = delineate(pulses(p=BODY["p"], r=(0.0, 0.012, -1.0), t=BODY["t"]), 500)
    np.testing.assert_allclose(found.q_mv, -1, atol=0.05)
    np.testing.assert_allclose(found.s_mv, -1, atol=0.05)
    assert np.all(found.r_mv < 0.05)
    assert np.all(found.q_ms > 40)


def test_a_steep_st_segment_is_not_part_of_qrs():
    """In left bundle branch block ST runs into T without a level stretch."""
    # From R to the bottom of T at 320 ms the leads never move at less than 6 % of their greatest speed.
    found = delineate(pulses(r=(0.0, 0.02, 1.0), t=(0.32, 0.12, -1.2)), 500)
    assert found.qrs_ms == pytest.approx(130, abs=25)
    level = delineate(pulses(r=(0.0, 0.02, 1.0), t=(0.32, 0.04, -0.3)), 500)
    assert found.qrs_ms == pytest.approx(level.qrs_ms, abs=20)


def test_the_st_segment_is_measured_against_the_level_before_qrs():
    found = delineate(pulses(**BODY, st=(0.14, 0.06, 0.2)) + 3, 500)
    assert np.all(found.st_mv > 0.1)


@pytest.mark.parametrize(
    ("lead_i", "avf", "axis"), [(1, 0, 0), (0, 1, 90), (-1, 0, 180), (0, -1, -90), (0.866, 1, 53.1)]
)
def test_axis(lead_i, avf, axis):
    signal = pulses(**BODY) * 0.2
    signal[LEADS.index("I")] *= 5 * lead_i
    signal[LEADS.index("aVF")] *= 5 * avf
    assert delineate(signal, 500).axis == pytest.approx(axis, abs=0.5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x + 5000,
        lambda x: x + 0.5 * np.sin(np.arange(1000) / 60),
        lambda x: x + np.random.default_rng(0).normal(0, 0.01, x.shape),
        lambda x: x[:, 250:750],
    ],
    ids=["offset", "wander", "noise", "five seconds"],
)
def test_what_spoils_a_recording_does_not_change_its_intervals(spoil):
    signal = make_ecgs(1, 1, statements=("NORM",), random_state=3).signals[0].astype(np.float64)
    one, other = delineate(signal), delineate(spoil(signal))
    for name in ("pr_ms", "qrs_ms", "qt_ms"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=20)


@pytest.mark.parametrize(
    "signal",
    [np.zeros((12, 1000)), np.full((12, 1000), 3.7), np.zeros((12, 5))],
    ids=["zero", "constant", "five samples"],
)
def test_where_nothing_beats_nothing_is_measured(signal):
    found = delineate(signal)
    assert isinstance(found, Delineation)
    assert len(found.beats) == len(found.dominant) == 0
    assert np.isnan([found.heart_rate, found.pr_ms, found.qrs_ms, found.qtc_ms, found.axis]).all()
    assert np.isnan(found.r_mv).all()
    assert np.isnan(found.beat).all()


def test_one_beat_is_measured_but_has_no_rate():
    found = delineate(pulses(**BODY)[:, :500], 500)
    assert len(found.beats) == 1
    assert np.isnan([found.heart_rate, found.qtc_ms, found.p_ms]).all()
    assert 40 < found.qrs_ms < 80


@pytest.mark.parametrize("kind", ["noise", "square", "two leads", "tiny", "huge"])
def test_any_finite_signal_is_taken(kind):
    rng = np.random.default_rng(0)
    signal = {
        "noise": rng.normal(0, 0.3, (12, 1000)),
        "square": np.tile(np.sign(np.sin(np.arange(1000) / 11)), (12, 1)),
        "two leads": make_ecgs(1, 1, random_state=0).signals[0] * (np.arange(12) % 7 == 3)[:, None],
        "tiny": rng.normal(0, 1, (12, 30)),
        "huge": 1e6 * rng.normal(0, 1, (12, 400)),
    }[kind]
    with np.errstate(all="raise", under="ignore"):
        found = delineate(signal)
    assert found.beat.shape == (12, 625)


@pytest.mark.parametrize(
    ("signal", "rate", "words"),
    [
        (np.zeros((8, 1000)), 100, "12 leads"),
        (np.zeros((12, 0)), 100, "at least one sample"),
        (np.zeros(1000), 100, "shape"),
        (np.full((12, 1000), np.nan), 100, "NaN"),
        (np.zeros((12, 1000)), 0, "positive"),
    ],
)
def test_what_is_no_ecg_is_refused(signal, rate, words):
    with pytest.raises(InputError, match=words):
        delineate(signal, rate)
    with pytest.raises(InputError, match=r"\(n, 12, n_times\)"):
        delineate_all(np.zeros((12, 1000)))


def test_intervals_are_those_of_each_ecg():
    ecgs = make_ecgs(3, 1, random_state=3)
    found = intervals(ecgs.signals)
    assert tuple(found) == INTERVALS
    for i, one in enumerate(delineate_all(ecgs.signals)):
        np.testing.assert_equal(
            [found[key][i] for key in INTERVALS], [getattr(one, f"{k}_ms") for k in INTERVALS]
        )


@pytest.mark.skipif(not (REAL_DATA / "unpack.py").is_file(), reason="PTB-XL is not beside the repository")
def test_real_ecgs_have_the_intervals_of_their_statements():
    spec = importlib.util.spec_from_file_location("unpack", REAL_DATA / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    microvolts, rows = unpack.read_fold(9)
    found = {}
    for code in ("NORM", "AFIB", "CLBBB", "1AVB"):
        shown = [i for i, row in enumerate(rows) if f"'{code}'" in row["scp_codes"]][:25]
        found[code] = intervals(microvolts[shown] / 1000)
    assert np.isnan(found["NORM"]["pr"]).mean() < 0.1
    assert np.isnan(found["AFIB"]["pr"]).mean() > 0.6
    assert 130 < np.nanmedian(found["NORM"]["pr"]) < 180 < np.nanmedian(found["1AVB"]["pr"])
    assert 80 < np.nanmedian(found["NORM"]["qrs"]) < 100 < 120 < np.nanmedian(found["CLBBB"]["qrs"])
    assert 370 < np.nanmedian(found["NORM"]["qtc"]) < 420


def test_leads_that_only_rise_after_qrs_have_no_end_of_t():
    """As the single lead of a fast heart may, whose next P wave is taller than T."""
    samples = np.arange(625.0)
    rising = (0.01 * (samples - 310) + 0.1 * np.sin(2 * np.pi * samples / 20)).clip(0) * (samples >= 310)
    assert np.isnan(_t_end(np.tile(rising, (12, 1)), (230, 280), 600))
