"""ECGs as users bring them: what holds one, how leads are matched, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from ecgtwin.conditions import Condition
from ecgtwin.ecg import ECG, check_reference
from ecgtwin.exceptions import InputError, QualityWarning
from ecgtwin.formats import as_ecg
from ecgtwin.leads import (
    INDEPENDENT_LEADS,
    LEADS,
    complete_leads,
    independent_leads,
    lead_name,
    lead_residual,
    limb_lead_order,
    twelve_leads,
)
from ecgtwin.simulate import make_ecgs

MIMIC = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
SIMULATED = make_ecgs(2, 2, statements=("NORM", "PVC"), sampling_rate=500, random_state=0)
SIGNAL = SIMULATED.signals[0]
SIGNAL.setflags(write=False)
N = SIGNAL.shape[1]
ROW = {lead: i for i, lead in enumerate(LEADS)}


def read(obj, **options):
    """What everything that takes a reference does first."""
    return check_reference(as_ecg(obj, **options))


def only(rows, value):
    """The signal with one value in some rows."""
    signal = SIGNAL.copy()
    signal[rows] = value
    return signal


def wfdb_record(**changes):
    fields = {"p_signal": SIGNAL.T.astype(float), "fs": 500, "sig_name": list(LEADS), "units": ["mV"] * 12}
    return wfdb.Record(**({"record_name": "r", "n_sig": 12, "sig_len": N} | fields | changes))


# --- what holds an ECG

ACCEPTED = {
    "array": (SIGNAL, {}),
    "float64": (SIGNAL.astype(np.float64), {}),
    "float16": (SIGNAL.astype(np.float16), {}),
    "big-endian": (SIGNAL.astype(">f4"), {}),
    "Fortran order": (np.asfortranarray(SIGNAL), {}),
    "negative strides": (np.ascontiguousarray(SIGNAL[::-1, ::-1])[::-1, ::-1], {}),
    "every other sample": (np.repeat(SIGNAL, 2, axis=1)[:, ::2], {}),
    "masked without gaps": (np.ma.masked_array(SIGNAL), {}),
    "list": (SIGNAL.tolist(), {}),
    "tensor": (torch.tensor(SIGNAL, requires_grad=True), {}),
    "bfloat16": (torch.tensor(SIGNAL).bfloat16(), {}),
    "DataFrame": (pd.DataFrame(SIGNAL.T, columns=LEADS), {}),
    "DataFrame in another order": (pd.DataFrame(SIGNAL.T, columns=LEADS)[list(reversed(LEADS))], {}),
    "aliases": (SIGNAL, {"leads": [lead.upper() for lead in LEADS]}),
    "12 by 12 and named": (SIGNAL[[ROW[lead] for lead in MIMIC]], {"leads": MIMIC}),
    "Record": (wfdb_record(), {"sampling_rate": None}),
    "Record in microvolts": (
        wfdb_record(p_signal=SIGNAL.T * 1000.0, units=["uV"] * 12), {"sampling_rate": None}),
    "Record without units": (wfdb_record(units=None), {"sampling_rate": None}),
    "rdsamp": (
        (SIGNAL.T, {"fs": 500, "sig_name": list(LEADS), "units": ["mV"] * 12}), {"sampling_rate": None}),
    "rdsamp, long names": (
        (SIGNAL.T, {"fs": 500, "sig_name": [f"Lead {lead}" for lead in LEADS]}), {"sampling_rate": None}),
}  # fmt: skip


@pytest.mark.parametrize(("obj", "options"), ACCEPTED.values(), ids=ACCEPTED)
def test_whatever_holds_an_ecg_is_accepted(obj, options):
    ecg = read(obj, **{"sampling_rate": 500} | options)
    assert set(ecg.leads) == set(LEADS)
    assert ecg.signal.dtype == np.float32
    assert ecg.sampling_rate == 500
    coarse = 0.02 if obj is ACCEPTED["bfloat16"][0] or obj is ACCEPTED["float16"][0] else 1e-6
    np.testing.assert_allclose(ecg.select(LEADS).signal, SIGNAL, atol=coarse)
    assert as_ecg(ecg) is ecg


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_the_callers_array_is_neither_changed_nor_shared(dtype):
    array = (SIGNAL * (1 if dtype != np.int16 else 3)).astype(dtype)
    before = array.copy()
    ecg = as_ecg(array, sampling_rate=500)
    ecg.signal[:] = 7
    ecg = as_ecg(array, sampling_rate=500)
    native, _ = as_ecg(array[:, ::5], sampling_rate=100).native()
    native[:] = 7
    ecg.native()[0][:] = 7
    ecg.select(LEADS).signal[:] = 7
    ecg.resample(500).signal[:] = 7
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(ecg.signal, before.astype(np.float32))


TABLE = {
    "transposed": (SIGNAL.T, {}, "transposed"),
    "a vector": (SIGNAL[0], {}, r"signal\[None\]"),
    "a batch": (SIGNAL[None], {}, "one recording at a time"),
    "a number": (1.0, {}, "shape"),
    "empty": (np.zeros((12, 0)), {}, "empty"),
    "no leads": (np.zeros((0, 5000)), {"leads": []}, "empty"),
    "short": (SIGNAL[:, :100], {}, "lasts 0.20 s"),
    "12 by 12": (SIGNAL[:, :12], {}, "lasts"),
    "one NaN": (np.where(np.arange(N) == 70, np.nan, SIGNAL), {}, "12 values are NaN.*lead I at sample 70"),
    "all NaN": (SIGNAL * np.nan, {}, "NaN"),
    "a NaN lead": (only(7, np.nan), {}, "5000 values.*lead V2 at sample 0"),
    "inf": (only((3, 9), np.inf), {}, "infinite.*lead aVR at sample 9"),
    "-inf": (only((3, 9), -np.inf), {}, "infinite"),
    "too large for float32": (only((0, 0), 1.0).astype(float) * 1e300, {}, "infinite"),
    "masked gaps": (
        np.ma.masked_array(SIGNAL, np.arange(N)[None].repeat(12, 0) < 3),
        {},
        "36 values are NaN",
    ),
    "masked integers": (np.ma.masked_array(SIGNAL.astype(int), SIGNAL > 0.4), {}, "NaN"),
    "zero": (SIGNAL * 0, {}, "flat line"),
    "constant": (SIGNAL * 0 + 3, {}, "flat line"),
    "denormal": (SIGNAL * 1e-30, {}, "flat line"),
    "microvolts": (SIGNAL * 1000, {}, r"microvolts\? Pass signal / 1000"),
    "integer microvolts": ((SIGNAL * 1000).astype(np.int16), {}, "microvolts"),
    "volts": (SIGNAL / 1000, {}, r"volts\? Pass signal \* 1000"),
    "unknown lead": (SIGNAL[:2], {"leads": ["I", "V9"]}, "unknown lead 'V9'; known leads are I, II"),
    "a lead twice": (SIGNAL[:2], {"leads": ["II", "MLII"]}, "named twice"),
    "too few names": (SIGNAL[:3], {"leads": ["I", "II"]}, "2 lead names for a signal of 3 leads"),
    "7 unnamed leads": (SIGNAL[:7], {}, "7 leads without names"),
    "13 unnamed leads": (SIGNAL[[*range(12), 0]], {}, "13 leads without names"),
    "a column that is no lead": (
        pd.DataFrame(SIGNAL.T, columns=LEADS).assign(time=0.0),
        {},
        "unknown lead 'time'",
    ),
    "MIMIC order, unnamed": (SIGNAL[[ROW[lead] for lead in MIMIC]], {}, "Einthoven.*order"),
    "wrong order of names": (SIGNAL, {"leads": [*reversed(LEADS)]}, "Einthoven"),
    "limb leads named wrongly": (SIGNAL[:6], {"leads": ["II", "I", "III", "aVR", "aVL", "aVF"]}, "Einthoven"),
    "rate missing": (SIGNAL, {"sampling_rate": None}, "sampling rate of an array is not known"),
    "rate 0": (SIGNAL, {"sampling_rate": 0}, "between 20 and 100000 Hz, got 0"),
    "rate negative": (SIGNAL, {"sampling_rate": -500}, "between 20"),
    "rate NaN": (SIGNAL, {"sampling_rate": np.nan}, "got nan"),
    "rate infinite": (SIGNAL, {"sampling_rate": np.inf}, "got inf"),
    "rate a text": (SIGNAL, {"sampling_rate": "500"}, "must be a number"),
    "rate a bool": (SIGNAL, {"sampling_rate": True}, "must be a number"),
    "rate a list": (SIGNAL, {"sampling_rate": [500]}, "must be one number"),
    "500 Hz declared 100": (SIGNAL, {"sampling_rate": 100}, "sampling rate"),
    "100 Hz declared 500": (SIGNAL[:, ::5], {"sampling_rate": 500}, "lasts 2.00 s.*rate"),
    "complex": (SIGNAL * 1j, {}, "dtype complex"),
    "bool": (SIGNAL > 0, {}, "dtype bool"),
    "object": (SIGNAL.astype(object), {}, "dtype object"),
    "text": (np.full((12, 1000), "a"), {}, "real numbers"),
    "bytes": (b"ECG", {}, "real numbers"),
    "nothing": (None, {}, "real numbers"),
    "dict": ({"I": SIGNAL[0]}, {}, "real numbers"),
    "ragged": ([[0.0, 1.0], [0.0]], {}, "unequal length"),
    "sparse": (csr_array(SIGNAL), {}, "sparse"),
    "fields without rate": ((SIGNAL.T, {"sig_name": list(LEADS)}), {}, "lack fs"),
    "fields without names": ((SIGNAL.T, {"fs": 500}), {}, "lack sig_name"),
    "Record without names": (wfdb_record(sig_name=None), {}, "no named signal"),
    "Record without a signal": (wfdb_record(p_signal=None), {}, "no named signal"),
    "Record in kilograms": (wfdb_record(units=["kg"] * 12), {}, "'kg' is none of mV, uV, V"),
    "Record of other channels": (
        wfdb_record(sig_name=[f"EEG{i}" for i in range(12)]),
        {},
        "none of the leads",
    ),
}


@pytest.mark.parametrize(("obj", "options", "message"), TABLE.values(), ids=TABLE)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_bad_input_gets_one_clear_error(obj, options, message):
    with pytest.raises(InputError, match=message) as caught:
        read(obj, **{"sampling_rate": 500} | options)
    assert len(str(caught.value)) < 300


def test_a_flat_lead_is_taken_as_missing():
    with pytest.warns(QualityWarning, match="lead aVF, V2 is flat"):
        ecg = read(only([5, 7], 0.1), sampling_rate=500)
    assert ecg.leads == LEADS  # the names stay, so that a twin has them
    native, present = ecg.native()
    assert [lead for lead, there in zip(LEADS, present, strict=True) if not there] == ["V2"]
    np.testing.assert_allclose(native[5], ECG(SIGNAL, sampling_rate=500).native()[0][5], atol=1e-5)


@pytest.mark.parametrize(("lead", "told"), [("III", True), ("aVR", True), ("II", False), ("V6", False)])
def test_a_lead_that_tells_no_shape_is_warned_of(lead, told):
    one = ECG(SIGNAL[[ROW[lead]]], leads=[lead], sampling_rate=500)
    assert any("no shape" in finding for finding in one.findings) == told


@pytest.mark.parametrize("statement", ["NORM", "PVC", "AFIB", "CLBBB", "SBRAD", "STACH", "1AVB", "CRBBB"])
@pytest.mark.parametrize("leads", [LEADS, ("I",), ("II",), ("V2",), ("I", "II", "III")])
def test_a_good_recording_passes_unchanged(statement, leads):
    ecgs = make_ecgs(4, 1, statements=(statement,), random_state=1)
    for signal in ecgs.signals:
        ecg = ECG(signal[[ROW[lead] for lead in leads]], leads)
        assert check_reference(ecg) is ecg


@pytest.mark.parametrize(
    ("written", "name"),
    [("I", "I"), ("avr", "aVR"), ("AVL", "aVL"), (" aVF ", "aVF"), ("MLII", "II"), ("mliii", "III"),
     ("V1-", "V1"), ("v6", "V6"), ("Lead II", "II"), ("lead aVR", "aVR")],
)  # fmt: skip
def test_lead_aliases(written, name):
    assert lead_name(written) == name


@pytest.mark.parametrize("name", ["", "V7", "IV", "X", "aV", "MLI2", None, 3, "I" * 1000])
def test_unknown_lead_names(name):
    with pytest.raises(InputError, match="known leads are I, II, III") as caught:
        lead_name(name)
    assert len(str(caught.value)) < 150


def test_leads_are_matched_by_name():
    standard = ECG(SIGNAL, sampling_rate=500)
    mimic = ECG(SIGNAL[[ROW[lead] for lead in MIMIC]], MIMIC, 500)
    np.testing.assert_array_equal(mimic.signal[4], SIGNAL[5])
    np.testing.assert_array_equal(mimic.native()[0], standard.native()[0])
    assert mimic.select(LEADS).leads == LEADS
    np.testing.assert_array_equal(mimic.select(LEADS).signal, SIGNAL)
    np.testing.assert_array_equal(standard.select(MIMIC).signal, mimic.signal)


@pytest.mark.parametrize("leads", [["V6", "aVL", "II"], ["V1"], list(INDEPENDENT_LEADS), ["aVF", "aVR"]])
def test_a_subset_keeps_its_place(leads):
    native, present = ECG(SIGNAL[[ROW[lead] for lead in leads]], leads, 500).native()
    whole = ECG(SIGNAL, sampling_rate=500).native()[0]
    np.testing.assert_allclose(native[present], whole[present], atol=1e-5)
    assert not native[~present].any()
    limb = sum(lead in LEADS[:6] for lead in leads)
    assert present[:6].sum() == (6 if limb >= 2 else limb)


def test_one_name_may_stand_alone():
    assert ECG(SIGNAL[6:7], "V1", 500).leads == ("V1",)
    assert ECG(SIGNAL[:1], sampling_rate=500).leads == ("I",)
    assert ECG(SIGNAL, sampling_rate=500).select("V1").leads == ("V1",)


def test_selecting_what_is_not_there():
    ecg = ECG(SIGNAL[[0, 6]], ["I", "V1"], 500)
    with pytest.raises(InputError, match="has no lead II, V2; it has I, V1"):
        ecg.select(["V1", "II", "V2"])


def test_residual_tells_right_from_wrong_order():
    assert lead_residual(SIMULATED.signals) < 1e-5
    assert lead_residual(np.zeros((12, 100))) == 0
    assert lead_residual(SIGNAL[[ROW[lead] for lead in MIMIC]]) > 0.05
    assert lead_residual(np.round(SIGNAL, 3)) < 0.01


signals = arrays(np.float64, (8, 6), elements=st.floats(-10, 10, width=32))


@given(signals)
def test_twelve_leads_obey_the_laws_and_keep_the_eight(free):
    full = twelve_leads(free)
    np.testing.assert_array_equal(independent_leads(full), free)
    i, ii, iii, avr, avl, avf = full[:6]
    np.testing.assert_allclose(i + iii, ii, atol=1e-12)
    np.testing.assert_allclose(avr + avl + avf, 0, atol=1e-12)
    np.testing.assert_allclose(avl, (i - iii) / 2, atol=1e-12)
    assert twelve_leads(free[None, None]).shape == (1, 1, 12, 6)
    if np.abs(full[:6]).max() > 1e-3:
        assert lead_residual(full) < 1e-9


@given(signals, st.permutations(LEADS), st.integers(1, 12))
def test_leads_are_completed_from_any_subset_in_any_order(free, order, n):
    truth = twelve_leads(free)
    leads = order[:n]
    full, present = complete_leads(truth[[ROW[lead] for lead in leads]], leads)
    assert present[[ROW[lead] for lead in leads]].all()
    assert present[:6].all() or sum(lead in LEADS[:6] for lead in leads) < 2
    np.testing.assert_allclose(full[present], truth[present], atol=1e-9)
    assert not full[~present].any()


@settings(max_examples=30)
@given(st.floats(20, 2000), st.integers(2, 12))
def test_resampling_keeps_duration_and_level(rate, seconds):
    ecg = ECG(np.full((1, round(rate * seconds)), 0.5), sampling_rate=rate)
    there = ecg.resample(100)
    assert abs(there.seconds - ecg.seconds) < 0.03
    np.testing.assert_allclose(there.signal, 0.5, atol=0.01)


def test_an_ecg_carries_its_meaning():
    ecg = ECG(SIGNAL, sampling_rate=500, patient_id=17, condition="PVC, 63 y")
    assert ecg.patient_id == "17"
    assert ecg.condition == Condition("PVC", age=63)
    assert ecg.seconds == 10
    assert ecg.heart_rate == pytest.approx(60 / np.diff(SIMULATED.beats[0]).mean(), abs=2)
    for other in (ecg.select(["V1", "II"]), ecg.resample(250)):
        assert (other.patient_id, other.condition) == (ecg.patient_id, ecg.condition)
    assert "signal" not in repr(ecg)


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("leads", [LEADS, ("I",), ("V5", "II")])
def test_heart_rate_does_not_depend_on_rate_or_leads(index, leads):
    ecg = ECG(SIMULATED.signals[index], sampling_rate=500)
    true = 60 / np.diff(SIMULATED.beats[index]).mean()
    assert ecg.select(leads).heart_rate == pytest.approx(true, abs=2)
    assert ecg.resample(100).heart_rate == pytest.approx(true, abs=2)


def test_heart_rate_of_no_beats_is_not_a_number():
    assert np.isnan(ECG(np.zeros((12, 1000))).heart_rate)
    assert np.isnan(ECG(np.ones((12, 1000))).heart_rate)


@pytest.mark.parametrize("wrong", [MIMIC, ("II", "I", *LEADS[2:]), (*LEADS[1:6], "I", *LEADS[6:])])
def test_limb_leads_in_wrong_order_are_told_with_the_right_one(wrong):
    rows = [ROW[lead] for lead in wrong]
    assert limb_lead_order(SIGNAL[rows][:6]) == wrong[:6]
    with pytest.raises(InputError, match=", ".join(wrong[:6])):
        check_reference(ECG(SIGNAL[rows], sampling_rate=500))


def test_leads_that_were_filtered_one_by_one_are_read_with_a_warning():
    spiky = SIGNAL.copy()
    spiky[2] *= 1.15
    with pytest.warns(QualityWarning, match="Einthoven"):
        check_reference(ECG(spiky, sampling_rate=500))
