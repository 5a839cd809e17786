"""Textbook rules on simulated ECGs, and on measurements a cardiologist would write down."""

import dataclasses
import re

import numpy as np
import pytest

from ecgtwin.delineation import Delineation, delineate
from ecgtwin.exceptions import InputError
from ecgtwin.leads import LEADS, resample
from ecgtwin.metrics.ectopy import measure_beats, pacing_spikes
from ecgtwin.metrics.rules import RULES, Measurements, meets, rule_share
from ecgtwin.simulate import make_ecgs
from ecgtwin.statements import STATEMENTS

SIGNAL = make_ecgs(1, 1, statements=("NORM",), random_state=0).signals[0]

HEALTHY = Delineation(
    heart_rate=70.0,
    rr_ms=np.full(11, 857.0),
    p_ms=100.0,
    pr_ms=160.0,
    qrs_ms=90.0,
    onset_ms=40.0,
    qt_ms=380.0,
    qtc_ms=400.0,
    axis=50.0,
    p_mv=np.array([0.1, 0.15, 0.05, -0.12, 0.03, 0.1, 0.05, 0.07, 0.07, 0.07, 0.07, 0.07]),
    q_mv=np.zeros(12),
    #                I    II  III  aVR  aVL  aVF  V1   V2   V3   V4   V5   V6
    r_mv=np.array([0.7, 1.1, 0.5, 0.1, 0.3, 0.8, 0.2, 0.5, 0.8, 1.3, 1.3, 1.1]),
    s_mv=np.array([-0.05, -0.1, -0.1, -0.9, -0.1, -0.1, -0.8, -1.0, -0.7, -0.4, -0.2, -0.1]),
    st_mv=np.zeros(12),
    t_mv=np.array([0.2, 0.3, 0.1, -0.2, 0.1, 0.2, 0.1, 0.4, 0.4, 0.4, 0.3, 0.25]),
    q_ms=np.zeros(12),
    beats=np.arange(50, 950, 86),
    dominant=np.ones(11, dtype=bool),
    beat=np.zeros((12, 625)),
    beat_rate=500.0,
    r_index=250,
)


def changed(**changes):
    """The healthy measurements with some changed; those of leads as `r_mv={"V1": 0.4}`."""
    for name, value in changes.items():
        if isinstance(value, dict):
            changes[name] = getattr(HEALTHY, name).copy()
            changes[name][[LEADS.index(lead) for lead in value]] = list(value.values())
    measured = dataclasses.replace(HEALTHY, **changes)
    # The representative beat shows R and then S of each lead.
    beat = np.zeros_like(HEALTHY.beat)
    beat[:, 250], beat[:, 265] = measured.r_mv, measured.s_mv
    return dataclasses.replace(measured, beat=beat)


def met(statement, **changes):
    return bool(RULES[statement].met(Measurements(SIGNAL, 100.0, changed(**changes))))


def test_every_rule_is_of_a_known_statement_and_says_its_source():
    assert len(RULES) >= 14
    for code, rule in RULES.items():
        assert code in STATEMENTS
        assert rule.statement == code
        assert "\n" not in rule.criterion
        assert re.search(r"(19|20)\d\d", rule.criterion)


def test_a_healthy_adult_is_normal_and_meets_no_other_rule():
    assert [code for code in RULES if met(code)] == ["NORM"]


@pytest.mark.parametrize(
    ("statement", "inside", "outside"),
    [
        ("1AVB", {"pr_ms": 201.0}, {"pr_ms": 200.0}),
        ("STACH", {"heart_rate": 101.0}, {"heart_rate": 100.0}),
        ("SBRAD", {"heart_rate": 49.0}, {"heart_rate": 60.0}),
        ("LAFB", {"axis": -50.0, "s_mv": {"III": -1.2}}, {"axis": 0.0, "s_mv": {"III": -1.2}}),
        ("LPFB", {"axis": 110.0}, {"axis": 80.0}),
        ("LNGQT", {"qt_ms": 450.0, "qtc_ms": 480.0}, {"qt_ms": 400.0}),
        ("LVH", {"s_mv": {"V1": -2.3}}, {"s_mv": {"V1": -2.1}}),
        ("LVH", {"r_mv": {"aVL": 1.1}}, {"r_mv": {"aVL": 1.0}}),
        ("LVH", {"s_mv": {"V3": -2.6}}, {"s_mv": {"V3": -2.4}}),
        ("QWAVE", {"q_mv": {"III": -0.2, "aVF": -0.2}, "q_ms": {"III": 40, "aVF": 40}},
         {"q_mv": {"III": -0.2, "aVF": -0.2}, "q_ms": {"III": 40, "aVF": 20}}),
        ("CLBBB", {"qrs_ms": 150.0}, {"qrs_ms": 150.0, "q_mv": {"V6": -0.1}}),
        ("CRBBB", {"qrs_ms": 150.0, "r_mv": {"V1": 1.2}, "s_mv": {"V6": -0.3}}, {"qrs_ms": 150.0}),
        ("STD_", {"st_mv": {"V5": -0.1, "V6": -0.1}}, {"st_mv": {"V3": -0.1, "V6": -0.1}}),
        ("INVT", {"t_mv": {"V5": -0.2}}, {"t_mv": {"aVR": -0.4}}),
        ("PACE", {"qrs_ms": 160.0, "s_mv": {"V5": -1.5, "V6": -1.5}}, {"qrs_ms": 160.0}),
    ],
)  # fmt: skip
def test_criteria_hold_on_one_side_of_their_thresholds(statement, inside, outside):
    assert met(statement, **inside)
    assert not met("NORM", **inside)
    assert not met(statement, **outside)


@pytest.mark.parametrize(
    ("statement", "inside", "outside"),
    [
        ("IMI", {"q_mv": {"aVF": -0.25}}, {"q_mv": {"aVF": -0.15}}),
        ("IMI", {"r_mv": {"II": 0.0}, "s_mv": {"II": -0.6}}, {"r_mv": {"II": 0.1}, "s_mv": {"II": -0.6}}),
        ("ASMI", {"r_mv": {"V3": 0.2}}, {"r_mv": {"V3": 0.4}}),
        ("ASMI", {"r_mv": {"V2": 0.0}}, {"r_mv": {"V2": 0.2}}),
    ],
)
def test_criteria_of_old_infarction(statement, inside, outside):
    assert met(statement, **inside)
    assert not met(statement, **outside)


def test_nothing_is_met_where_nothing_can_be_measured():
    flat = np.zeros((1, 12, 1000))
    assert [code for code in RULES if meets(flat, code).any()] == []


@pytest.mark.parametrize("statement", ["PVC", "AFIB", "STACH", "SBRAD", "CLBBB", "1AVB"])
def test_simulated_ecgs_meet_the_rule_of_their_statement(statement):
    own = make_ecgs(6, 1, statements=(statement,), random_state=1).signals
    other = make_ecgs(6, 1, statements=("NORM",), random_state=2).signals
    assert rule_share(own, statement) >= 0.8
    assert rule_share(other, statement) <= 0.2
    assert rule_share(own, "NORM") <= 0.2


def test_noise_and_ecgs_reversed_in_time_are_not_normal():
    signals = make_ecgs(12, 1, statements=("NORM",), random_state=3).signals
    noise = np.random.default_rng(0).normal(0, 0.3, signals.shape)
    assert rule_share(signals, "NORM") >= 0.6
    assert rule_share(signals[:, :, ::-1], "NORM") <= 0.2
    assert rule_share(noise, "NORM") == 0


def test_delineations_given_are_used_and_change_nothing():
    signals = make_ecgs(4, 1, random_state=4).signals
    delineations = [delineate(signal) for signal in signals]
    for statement in ("NORM", "PVC", "AFIB", "SBRAD"):
        np.testing.assert_array_equal(
            meets(signals, statement, delineations=delineations), meets(signals, statement)
        )
    long_pr = [changed(pr_ms=300.0)] * len(signals)
    assert meets(signals, "1AVB", delineations=long_pr).all()


@pytest.mark.parametrize("rate", [100, 250, 500])
def test_ectopic_beats_are_found_and_followed_by_a_pause(rate):
    ecgs = make_ecgs(6, 1, statements=("PVC",), sampling_rate=rate, random_state=5)
    plain = make_ecgs(6, 1, statements=("NORM",), sampling_rate=rate, random_state=5)
    for signal in ecgs.signals:
        beats = measure_beats(signal, rate)
        assert beats.premature_wide.any()
        assert np.nanmedian(beats.width_ms[beats.premature_wide]) > 1.2 * np.median(
            beats.width_ms[beats.usual]
        )
        assert np.nanmedian(beats.compensation[beats.premature_wide]) == pytest.approx(1, abs=0.12)
    assert not any(measure_beats(signal, rate).premature_wide.any() for signal in plain.signals)


@pytest.mark.parametrize("rate", [100, 500])
def test_pacing_spikes_are_found_where_they_are_and_nowhere_else(rate):
    ecgs = make_ecgs(4, 1, statements=("CLBBB",), sampling_rate=500, random_state=6)
    for signal, times in zip(ecgs.signals, ecgs.beats, strict=True):
        at = np.round((times[(times > 0.5) & (times < 9.5)] - 0.08) * 500).astype(int)
        paced = signal.copy()
        paced[:, at] += 3.0
        assert len(pacing_spikes(resample(signal, 500, rate), rate)) == 0
        found = pacing_spikes(resample(paced, 500, rate), rate) / rate
        assert len(found) == len(at)
        np.testing.assert_allclose(found, at / 500, atol=0.03)
        assert meets(resample(paced, 500, 100)[None], "PACE").all()


def test_beats_of_one_peak_or_none_can_be_measured():
    one = np.random.default_rng(0).normal(0, 0.001, (12, 300))
    one[:, 145:155] += np.hanning(10)
    assert len(measure_beats(np.zeros((12, 300))).times_ms) == 0
    assert not measure_beats(one).premature_wide.any()
    assert not meets(one[None], "BIGU").any()


@pytest.mark.parametrize(
    ("signals", "statement", "options", "message"),
    [
        (np.zeros((2, 12, 1000)), "SR", {}, "no rule for 'SR'"),
        (np.zeros((12, 1000)), "PVC", {}, "shape"),
        (np.zeros((0, 12, 1000)), "PVC", {}, "n > 0"),
        (np.zeros((2, 8, 1000)), "PVC", {}, "12"),
        (np.full((1, 12, 1000), np.nan), "PVC", {}, "NaN"),
        (np.zeros((2, 12, 1000)), "PVC", {"delineations": [HEALTHY]}, "1 delineations for 2"),
        (np.zeros((2, 12, 1000)), "PVC", {"sampling_rate": 0}, "sampling_rate"),
    ],
)
def test_bad_input_is_refused_in_words(signals, statement, options, message):
    with pytest.raises(InputError, match=message):
        meets(signals, statement, **options)
