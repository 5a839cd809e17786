"""Figures of physiology: they pass what a heart does, and name what it does not."""

import numpy as np
import pytest

from ecgtwin.delineation import INTERVALS, delineate_all, intervals
from ecgtwin.exceptions import InputError
from ecgtwin.leads import LEADS, lead_residual
from ecgtwin.metrics.physiology import beat_consistency, interval_w1, lead_residuals
from ecgtwin.simulate import make_ecgs

NORMAL = make_ecgs(8, 1, statements=("NORM",), random_state=1)


# ----- lead_residuals


def test_leads_that_obey_the_laws_have_no_residual():
    residuals = lead_residuals(NORMAL.signals)
    assert residuals.shape == (8, 4)
    assert residuals.max() < 1e-6


@pytest.mark.parametrize(("lead", "law"), [("III", 0), ("aVR", 1), ("aVL", 2), ("aVF", 3)])
def test_the_lead_that_breaks_a_law_is_named(lead, law):
    spoiled = NORMAL.signals.copy()
    spoiled[:, LEADS.index(lead)] *= -1
    broken = lead_residuals(spoiled) > 0.01
    assert broken[:, law].all()
    assert broken.sum() == len(broken)


def test_residuals_do_not_depend_on_the_gain():
    noisy = NORMAL.signals + np.random.default_rng(0).normal(0, 0.01, NORMAL.signals.shape)
    np.testing.assert_allclose(lead_residuals(noisy), lead_residuals(1000 * noisy))


def test_the_largest_residual_is_that_of_the_leads_module():
    noisy = NORMAL.signals + np.random.default_rng(0).normal(0, 0.01, NORMAL.signals.shape)
    assert lead_residuals(noisy)[3].max() == pytest.approx(lead_residual(noisy[3]))


def test_flat_leads_have_no_residual():
    np.testing.assert_array_equal(lead_residuals(np.zeros((2, 12, 100))), 0)


# ----- beat_consistency


def vary(signals, scale, seed=0):
    """Give each half second its own gain."""
    gain = 1 + scale * np.random.default_rng(seed).normal(size=(len(signals), 1, 20))
    return signals * np.repeat(gain, signals.shape[-1] // 20, axis=-1)


def test_beats_of_one_heart_agree():
    found = beat_consistency(NORMAL.signals)
    assert found.leads == ("II", "V2", "V5")
    assert found.correlation.shape == found.r_spread.shape == found.t_spread.shape == (8, 3)
    assert np.median(found.correlation) > 0.98
    assert np.median(found.r_spread) < 0.06
    assert found.n_beats.min() >= 5
    assert found.dominant_share.min() > 0.85


def test_heights_that_vary_show_in_the_spread():
    found, varied = beat_consistency(NORMAL.signals), beat_consistency(vary(NORMAL.signals, 0.3))
    assert np.nanmedian(varied.r_spread) > 3 * np.nanmedian(found.r_spread)
    assert np.nanmedian(varied.t_spread) > 2 * np.nanmedian(found.t_spread)


def test_the_noisier_the_less_alike():
    noise = np.random.default_rng(0).normal(size=NORMAL.signals.shape)
    medians = [np.median(beat_consistency(NORMAL.signals + s * noise).correlation) for s in (0, 0.05, 0.15)]
    assert medians == sorted(medians, reverse=True)
    assert medians[2] < 0.9
    assert np.nanmedian(beat_consistency(noise).correlation) < 0.6


def test_extrasystoles_do_not_count_as_inconsistent():
    ecgs = make_ecgs(8, 1, statements=("PVC",), random_state=1)
    found = beat_consistency(ecgs.signals)
    assert np.median(found.correlation) > 0.95
    assert found.dominant_share.max() < 1


def test_leads_are_those_asked_for_and_delineations_save_time_alone():
    found = beat_consistency(NORMAL.signals, LEADS)
    np.testing.assert_allclose(found.correlation[:, [1, 7, 10]], beat_consistency(NORMAL.signals).correlation)
    known = beat_consistency(NORMAL.signals, LEADS, delineations=delineate_all(NORMAL.signals))
    np.testing.assert_allclose(known.correlation, found.correlation, atol=0.01)
    np.testing.assert_array_equal(known.dominant_share, found.dominant_share)


def test_ecgs_without_enough_beats_are_missing():
    found = beat_consistency(np.stack([np.zeros((12, 1000)), NORMAL.signals[0]]))
    assert np.isnan(found.correlation[0]).all()
    assert np.isfinite(found.correlation[1]).all()
    assert found.n_beats[0] == 0
    assert np.isnan(beat_consistency(NORMAL.signals[:1, :, :150]).correlation).all()


# ----- interval_w1


def shifted(values, ms):
    return {key: column + ms for key, column in values.items()}


def test_the_distance_of_a_shift_is_the_shift():
    measured = intervals(NORMAL.signals)
    assert interval_w1(measured, measured) == dict.fromkeys(INTERVALS, 0.0)
    assert interval_w1(shifted(measured, 12), measured) == pytest.approx(dict.fromkeys(INTERVALS, 12.0))


def test_what_could_not_be_measured_is_left_out():
    real = {key: np.array([100.0, np.nan, 120.0]) for key in INTERVALS}
    nothing = {key: np.full(3, np.nan) for key in INTERVALS}
    assert interval_w1(shifted(real, 5), real)["p"] == 5
    assert np.isnan(interval_w1(nothing, real)["p"])


def test_each_statement_is_compared_with_itself():
    real = {key: np.r_[np.full(30, 90.0), np.full(30, 150.0)] for key in INTERVALS}
    shown = [{"NORM"}] * 30 + [{"CLBBB", "SR"}] * 30
    swapped = shown[::-1]
    assert interval_w1(real, real)["qrs"] == 0
    assert interval_w1(real, real, shown, shown)["qrs"] == 0
    assert interval_w1(real, real, swapped, shown)["qrs"] == pytest.approx(60)
    table = np.array([["NORM" in row, "CLBBB" in row] for row in shown])
    assert interval_w1(real, real, table[::-1], table)["qrs"] == pytest.approx(60)


def test_statements_that_few_show_do_not_count():
    real = {key: np.r_[np.full(30, 90.0), np.full(5, 150.0)] for key in INTERVALS}
    shown = [{"NORM"}] * 30 + [{"CLBBB"}] * 5
    generated = {key: np.r_[np.full(30, 92.0), np.full(5, 100.0)] for key in INTERVALS}
    assert interval_w1(generated, real, shown, shown)["qrs"] == 2
    assert interval_w1(generated, real, shown, shown, min_count=5)["qrs"] == 26
    assert np.isnan(interval_w1(generated, real, shown, shown, min_count=50)["qrs"])


# ----- what is refused

ONE = {key: np.ones(2) for key in INTERVALS}


@pytest.mark.parametrize("measure", [lead_residuals, beat_consistency])
@pytest.mark.parametrize(
    ("signals", "words"),
    [
        (np.zeros((12, 1000)), "shape"),
        (np.zeros((2, 8, 1000)), "shape"),
        (np.zeros((0, 12, 1000)), "shape"),
        (np.full((2, 12, 1000), np.inf), "infinite"),
    ],
)
def test_what_is_no_ecg_is_refused(measure, signals, words):
    with pytest.raises(InputError, match=words):
        measure(signals)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: beat_consistency(NORMAL.signals, ["V9"]), "V9"),
        (lambda: beat_consistency(NORMAL.signals, []), "at least one lead"),
        (lambda: beat_consistency(NORMAL.signals, delineations=[]), "0 delineations for 8"),
        (lambda: interval_w1({"p": np.ones(2)}, ONE), "pr, qrs, qt, qtc"),
        (lambda: interval_w1(ONE | {"p": np.ones(3)}, ONE), "one length"),
        (lambda: interval_w1(ONE, ONE, [{"NORM"}] * 2), "both sides"),
        (lambda: interval_w1(ONE, ONE, [{"NORM"}] * 3, [{"NORM"}] * 2), "3 rows"),
        (lambda: interval_w1(ONE, ONE, np.ones(2, bool), np.ones(2, bool)), "n_statements"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
