"""A recording under another condition, its own beats in their places."""

from dataclasses import replace

import numpy as np
import pytest

from ecgtwin import (
    ECG,
    Condition,
    ConditionError,
    ECGTwinGenerator,
    InputError,
    QualityWarning,
    lead_residual,
    load_example,
)
from ecgtwin.beats import r_peaks
from ecgtwin.formats import RECORDED
from ecgtwin.metrics import delineate, meets


@pytest.fixture(scope="module")
def generator():
    return ECGTwinGenerator.from_pretrained()


@pytest.fixture(scope="module")
def recording():
    return load_example()


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_strength_nought_returns_the_recording(generator, recording):
    assert np.array_equal(generator.edit(recording, add="CLBBB", strength=0).signal, recording.signal)
    same = generator.edit(recording, recording.condition.replace(heart_rate=None))
    assert np.array_equal(same.signal, recording.signal)


def test_what_was_not_changed_is_not_made_synthetic(generator, recording):
    assert (
        generator.edit(recording, add="CLBBB", strength=0).comments == recording.comments
    )  # it is synthetic
    of_a_patient = replace(recording, comments=("of a colleague",))
    unchanged = generator.edit(of_a_patient, add="CLBBB", strength=0)
    assert unchanged.comments == (RECORDED, "of a colleague")
    assert "synthetic" in generator.edit(of_a_patient, add="CLBBB").comments[0]


def test_how_far_an_edit_goes_is_its_strength(generator, recording):
    mild = ECGTwinGenerator.from_pretrained(guidance_scale=0.25).edit(recording, add="CLBBB")
    assert np.array_equal(mild.signal, generator.edit(recording, add="CLBBB").signal)


def test_the_change_grows_with_strength_and_beats_stay(generator, recording):
    edits = [generator.edit(recording, add="CLBBB", strength=s).signal for s in (0.5, 1.0)]
    half, whole = (one - recording.signal for one in edits)
    np.testing.assert_allclose(whole, 2 * half, atol=1e-4)
    peaks = [r_peaks(one, recording.sampling_rate) for one in (recording.signal, edits[0])]
    assert len(peaks[0]) == len(peaks[1])
    assert np.abs(peaks[0] - peaks[1]).max() <= 0.06 * recording.sampling_rate


def test_the_same_call_gives_the_same_edit_and_says_what_it_is(generator, recording):
    one, two = (generator.edit(recording, add="AMI") for _ in range(2))
    assert np.array_equal(one.signal, two.signal)
    assert "AMI" in one.condition.statements
    assert "NORM" not in one.condition.statements
    assert "synthetic" in one.comments[0]
    assert (one.sampling_rate, one.leads) == (recording.sampling_rate, recording.leads)


def test_what_is_added_may_say_age_and_rate_but_must_say_something(generator, recording):
    one = generator.edit(recording, add="PVC, 80 y, 90 bpm")
    other = generator.edit(recording, add="PVC", age=80, heart_rate=90)
    assert one.condition.age == 80
    assert np.array_equal(one.signal, other.signal)
    for nothing in ({"add": "no PVC"}, {"remove": ""}):
        with pytest.raises(InputError, match="names nothing"):
            generator.edit(recording, **nothing)


def test_what_was_added_and_removed_is_nearly_the_recording(generator, recording):
    added = generator.edit(recording, add="AMI")
    back = generator.edit(added, remove="AMI", add="NORM")
    assert correlation(back.signal, recording.signal) > max(0.98, correlation(added.signal, recording.signal))


def test_premature_beats_come_with_the_statement(generator, recording):
    native = recording.resample(100)
    edited = generator.edit(native, add="PVC")
    assert not meets(native.signal[None], "PVC").any()
    assert meets(edited.signal[None], "PVC").all()


@pytest.mark.parametrize("statement", ["CLBBB", "CRBBB", "LAFB", "LVH", "IMI"])
def test_what_is_added_shows_by_the_textbook_and_goes_again(generator, recording, statement):
    native = recording.resample(100)
    edited = generator.edit(native, add=statement)
    assert not meets(native.signal[None], statement).any()
    assert meets(edited.signal[None], statement).all()
    back = generator.edit(edited, remove=statement, add="NORM")
    assert not meets(back.signal[None], statement).any()


@pytest.mark.parametrize(("statement", "interval"), [("1AVB", "pr_ms"), ("LNGQT", "qtc_ms")])
def test_what_is_an_interval_is_that_long_and_comes_back(generator, recording, statement, interval):
    native = recording.resample(100)

    def measured(ecg):
        return getattr(delineate(ecg.signal), interval)

    half, whole = (generator.edit(native, add=statement, strength=s) for s in (0.5, 1.0))
    assert not meets(native.signal[None], statement).any()
    assert meets(whole.signal[None], statement).all()
    assert measured(native) + 15 < measured(half) < measured(whole) - 15
    back = generator.edit(whole, remove=statement, add="NORM")
    assert measured(back) == pytest.approx(measured(native), abs=35)


def test_block_of_the_first_degree_moves_p_and_nothing_else(generator, recording):
    native = recording.resample(100)
    edited = generator.edit(native, add="1AVB")
    own = delineate(native.signal)
    for peak in own.beats[own.dominant]:
        after = slice(peak - int(own.onset_ms / 10), peak + 25)
        np.testing.assert_allclose(edited.signal[:, after], native.signal[:, after], atol=1e-4)


@pytest.mark.parametrize("rate", [52, 105])
def test_the_heart_rate_asked_for_is_met(generator, recording, rate):
    edited = generator.edit(recording, heart_rate=rate)
    assert edited.heart_rate == pytest.approx(rate, rel=0.02)
    assert edited.condition.heart_rate == rate


def test_tachycardia_brings_its_rate(generator, recording):
    assert generator.edit(recording, add="STACH").heart_rate > 95


@pytest.mark.parametrize(("seconds", "rate"), [(4.03, 250.0), (23.7, 100.0)])
def test_any_length_and_any_leads(tiny, recording, seconds, rate):
    many = ECG(np.tile(recording.signal, 3), sampling_rate=500, condition="NORM, SR").resample(rate)
    part = ECG(many.signal[:, : round(seconds * rate)], sampling_rate=rate, condition="NORM, SR")
    part = part.select(["V2", "I", "II"])
    edited = tiny.edit(part, add="CLBBB")
    assert edited.signal.shape == part.signal.shape
    assert edited.leads == ("V2", "I", "II")
    assert np.isfinite(edited.signal).all()
    assert not np.array_equal(edited.signal, part.signal)


def test_limb_leads_obey_their_laws(generator, recording):
    edited = generator.edit(recording, add="AFIB")
    assert lead_residual(edited.signal) <= lead_residual(recording.signal) + 1e-3


def test_a_recording_that_says_nothing_is_guessed(tiny, recording):
    silent = ECG(recording.signal, sampling_rate=500)
    assert tiny.edit(silent, add="PVC").condition.statements.count("PVC") == 1
    assert tiny.edit(silent, recording_condition="AFIB", remove="AFIB").condition.statements == ("SR",)


def test_refusals(tiny, recording):
    with pytest.raises(InputError, match="strength"):
        tiny.edit(recording, add="PVC", strength=-1)
    with pytest.raises(InputError, match="strength"):
        tiny.edit(recording, add="PVC", strength=float("nan"))
    with pytest.raises(InputError, match="either"):
        tiny.edit(recording, "PVC", add="AFIB")
    with pytest.raises(InputError, match="flat"):
        tiny.edit(np.zeros((12, 1000)), "PVC")
    with pytest.raises(ConditionError):
        tiny.edit(recording, add="fever")


@pytest.mark.parametrize("condition", ["LVH", "NORM"])
def test_a_condition_without_a_rhythm_leaves_the_recordings_own(generator, recording, condition):
    edited = generator.edit(recording, condition)
    assert edited.condition.statements == Condition([condition, "SR"]).statements
    if condition == "NORM":
        assert np.array_equal(edited.signal, recording.signal)
    fibrillating = recording.condition.replace(statements="AFIB")
    again = generator.edit(recording, condition, recording_condition=fibrillating, strength=0.1)
    assert (
        again.condition.statements
        == Condition([condition, "SR" if condition == "NORM" else "AFIB"]).statements
    )


def test_who_names_no_rhythm_keeps_the_heart_rate(tiny, recording):
    fast = tiny.edit(recording, add="STACH", heart_rate=125)
    fast = replace(fast, condition=Condition("CLBBB", age=54, sex="F"))
    edited = tiny.edit(fast, remove="CLBBB")
    assert "STACH" in edited.condition.statements
    assert edited.heart_rate == pytest.approx(125, abs=1)


def test_an_electrode_that_was_off_stays_off(generator, recording):
    signal = recording.signal.copy()
    signal[11] = 0.2
    with pytest.warns(QualityWarning, match="lead V6 is flat"):
        edited = generator.edit(ECG(signal, sampling_rate=500, condition="NORM, SR"), add="CLBBB")
    assert np.ptp(edited.signal[11]) == 0
    assert np.ptp(edited.signal[10] - signal[10]) > 0.1


def test_too_short_for_the_rate_asked_for(tiny, recording):
    start = r_peaks(recording.signal, recording.sampling_rate)[1] - 150
    short = ECG(recording.signal[:, start : start + 1250], sampling_rate=500, condition="SBRAD")
    with pytest.raises(InputError, match="too short for two beats at 21 bpm"):
        tiny.edit(short, heart_rate=21)
