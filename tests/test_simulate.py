"""Simulated ECGs: reproducible, personal, and showing what they say."""

import numpy as np
import pytest

from ecgtwin.beats import r_peaks
from ecgtwin.conditions import Condition
from ecgtwin.exceptions import ConditionError, InputError
from ecgtwin.leads import LEADS, lead_residual
from ecgtwin.simulate import SIMULATED, make_ecgs


def average_beat(signal, beats, rate=100, before=0.30, after=0.45):
    """The mean over whole beats: (12, t)."""
    first, last = round(before * rate), round(after * rate)
    at = [round(beat * rate) for beat in beats]
    return np.mean(
        [signal[:, i - first : i + last] for i in at if first <= i < signal.shape[1] - last], axis=0
    )


def qrs_seconds(signal, beats, rate):
    """From where to where the spatial magnitude of the average beat is above a tenth of its top."""
    beat = average_beat(signal, beats, rate, 0.11, 0.14)
    size = np.linalg.norm(beat - beat[:, : round(0.01 * rate)].mean(axis=1, keepdims=True), axis=0)
    return np.ptp(np.flatnonzero(size > 0.1 * size.max())) / rate


def of_all(statement, **options):
    return make_ecgs(12, 1, statements=(statement,), random_state=0, **options)


@pytest.fixture(scope="module")
def normal():
    return make_ecgs(20, 2, statements=("NORM",), random_state=0)


def test_shapes_and_meaning(ecgs):
    assert ecgs.signals.shape == (24, 12, 1000)
    assert ecgs.signals.dtype == np.float32
    assert len(ecgs.conditions) == len(ecgs.beats) == 24
    assert ecgs.groups.tolist() == [str(i // 2) for i in range(24)]
    assert lead_residual(ecgs.signals) < 1e-5
    for i in range(0, 24, 2):
        first, second = ecgs.conditions[i : i + 2]
        assert (first.age, first.sex) == (second.age, second.sex)
        assert first.statements != second.statements


@pytest.mark.parametrize(("rate", "seconds", "n"), [(100, 2.5, 250), (257, 10, 2570), (500, 30, 15_000)])
def test_any_rate_and_length(rate, seconds, n):
    ecgs = make_ecgs(1, 1, sampling_rate=rate, seconds=seconds, random_state=0)
    assert ecgs.signals.shape == (1, 12, n)
    assert ecgs.conditions[0].heart_rate == pytest.approx(
        make_ecgs(1, 1, random_state=0).conditions[0].heart_rate, abs=5
    )


def test_the_same_seed_draws_the_same(ecgs):
    again = make_ecgs(12, 2, random_state=0)
    np.testing.assert_array_equal(again.signals, ecgs.signals)
    assert again.conditions == ecgs.conditions
    assert not np.array_equal(make_ecgs(1, 1, random_state=1).signals, ecgs.signals[:1])
    state = np.random.RandomState(0)
    np.testing.assert_array_equal(make_ecgs(1, 1, random_state=state).signals, ecgs.signals[:1])
    assert not np.array_equal(make_ecgs(1, 1, random_state=state).signals, ecgs.signals[:1])


def test_a_person_does_not_depend_on_how_many_others_there_are(ecgs):
    np.testing.assert_array_equal(make_ecgs(3, 1, random_state=0).signals, ecgs.signals[:6:2])


def test_global_randomness_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    make_ecgs(1, 1, random_state=0)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_recordings_of_one_person_look_alike(normal):
    beats = np.array([average_beat(*pair).ravel() for pair in zip(normal.signals, normal.beats, strict=True)])
    alike = np.corrcoef(beats)[::2, 1::2]
    own, others = np.diag(alike), alike[~np.eye(len(alike), dtype=bool)]
    assert own.mean() > 0.95
    assert others.mean() < 0.85
    assert np.mean(alike.argmax(axis=1) == np.arange(len(alike))) > 0.8
    assert not np.array_equal(normal.signals[0], normal.signals[1])


def test_amplitudes_are_those_of_adults(normal):
    beats = [average_beat(*pair) for pair in zip(normal.signals, normal.beats, strict=True)]
    top, low = (
        dict(zip(LEADS, np.median([f(b, 1) for b in beats], 0), strict=True)) for f in (np.max, np.min)
    )
    assert 0.6 < top["II"] < 1.3
    assert 0.4 < -low["aVR"] < 1.2
    assert top["V1"] < top["V3"] < top["V5"]
    assert -low["V2"] > -low["V4"] > -low["V6"]
    assert np.abs(normal.signals).max() < 5


@pytest.mark.parametrize(
    ("statement", "low", "high"),
    [("NORM", 55, 100), ("SBRAD", 40, 60), ("STACH", 100, 150), ("AFIB", 60, 140), ("CLBBB", 55, 100)],
)
def test_heart_rate_belongs_to_the_rhythm(statement, low, high):
    for condition in of_all(statement).conditions:
        assert low < condition.heart_rate < high
        assert condition.conflicts() == ()


@pytest.mark.parametrize("statement", [s for s in SIMULATED if s != "AFIB"])
def test_the_measured_heart_rate_is_the_true_one(statement):
    ecgs = of_all(statement)
    for beats, condition in zip(ecgs.beats, ecgs.conditions, strict=True):
        assert condition.heart_rate == pytest.approx(60 / np.diff(beats).mean(), abs=2)


def test_atrial_fibrillation_is_irregular_and_has_no_p_wave():
    sinus, fibrillation = of_all("NORM"), of_all("AFIB")

    def p_wave(ecgs):
        beats = [average_beat(*pair)[1, 7:22] for pair in zip(ecgs.signals, ecgs.beats, strict=True)]
        return np.median([np.ptp(beat) for beat in beats])

    def irregularity(ecgs):
        return [np.std(np.diff(beats)) / np.mean(np.diff(beats)) for beats in ecgs.beats]

    assert max(irregularity(sinus)) < 0.08 < min(irregularity(fibrillation))
    assert p_wave(fibrillation) < 0.6 * p_wave(sinus)


def test_a_pvc_is_early_wide_and_followed_by_a_pause():
    ecgs = of_all("PVC", sampling_rate=250)
    for signal, beats in zip(ecgs.signals, ecgs.beats, strict=True):
        intervals = np.diff(beats)
        early = np.flatnonzero(intervals < 0.8 * np.median(intervals)) + 1
        assert len(early) >= 1
        assert all(intervals[i] > 1.2 * np.median(intervals) for i in early if i < len(intervals))
        sinus = np.setdiff1d(np.arange(len(beats)), early)
        assert qrs_seconds(signal, beats[early], 250) > qrs_seconds(signal, beats[sinus], 250) + 0.03
        whole = [i for i in early if 0.2 < beats[i] < 9.5]
        ectopic = average_beat(signal, beats[whole], 250, 0.1, 0.45)[1]
        assert ectopic[:50].max() > 0 > ectopic[75:].min()  # lead II: up, and its T down
        assert np.all(np.abs(r_peaks(signal, 250)[:, None] / 250 - beats[whole]).min(axis=0) < 0.06)


def test_first_degree_block_delays_the_qrs():
    def p_time(statement):
        ecgs = of_all(statement, sampling_rate=250)
        beats = [average_beat(s, b, 250)[1, :55] for s, b in zip(ecgs.signals, ecgs.beats, strict=True)]
        return np.median([np.argmax(beat) for beat in beats]) / 250

    assert p_time("NORM") - p_time("1AVB") == pytest.approx(0.08, abs=0.02)


@pytest.mark.parametrize("statement", ["CLBBB", "CRBBB"])
def test_bundle_branch_block_is_wide(statement):
    def width(name):
        ecgs = of_all(name, sampling_rate=250)
        return np.median([qrs_seconds(s, b, 250) for s, b in zip(ecgs.signals, ecgs.beats, strict=True)])

    assert width("NORM") < 0.10
    assert 0.12 < width(statement) < 0.16


def test_the_blocks_differ_in_v1_and_v6():
    def net(name, lead):
        ecgs = of_all(name)
        beats = [average_beat(*pair, 100, 0.0, 0.1) for pair in zip(ecgs.signals, ecgs.beats, strict=True)]
        return np.median([beat[LEADS.index(lead)].mean() for beat in beats])

    assert net("CLBBB", "V1") < 0 < net("CRBBB", "V1")
    assert net("CRBBB", "V6") < 0 < net("CLBBB", "V6")


def test_repolarisation_is_shorter_at_a_fast_rate():
    def t_top(statement):
        ecgs = of_all(statement)
        beats = [average_beat(*pair, 100, 0.0, 0.45) for pair in zip(ecgs.signals, ecgs.beats, strict=True)]
        return np.median([10 + np.argmax(beat[1, 10:38]) for beat in beats])

    assert t_top("STACH") < t_top("NORM") < t_top("SBRAD")


def test_statements_go_together():
    ecgs = make_ecgs(1, 1, statements=("atrial fibrillation + LBBB",), random_state=0)
    assert ecgs.conditions[0].statements == Condition(["AFIB", "CLBBB"]).statements


@pytest.mark.parametrize("entry", ["LVH", "AFIB + SR", "CLBBB and CRBBB", "nonsense"])
def test_what_cannot_be_simulated_is_refused(entry):
    with pytest.raises(ConditionError):
        make_ecgs(1, 1, statements=(entry,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_patients": 0},
        {"n_records": 0},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"statements": ()},
        {"sampling_rate": 0},
        {"random_state": -1},
        {"random_state": "x"},
    ],
)
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|cannot") as caught:
        make_ecgs(**wrong)
    assert isinstance(caught.value, InputError) or "random_state" in wrong
