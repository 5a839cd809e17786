"""What bad shapes, rates, units and conditions get."""

import copy

import numpy as np
import pytest
import wfdb
from bad_input import NATIVE, PEOPLE, SIGNAL, Bench, Table, read, refused, warned
from sklearn.base import clone

from ecgtwin import (
    ECG,
    Condition,
    ConditionError,
    ECGTwinGenerator,
    IndividualBaseExtractor,
    as_ecg,
    lead_residual,
    make_ecgs,
    read_ecg,
    read_windows,
)
from ecgtwin.beats import r_peaks
from ecgtwin.ecg import check_reference
from ecgtwin.leads import LEADS
from ecgtwin.metrics.report import evaluate

row = Table(30, 58)


@row(30, "transposed")
def _(bench):
    with refused("transposed: pass .n_leads, n_times."):
        bench.sample(NATIVE.T)
    with refused("lasts 0.12 s"):
        bench.sample(NATIVE[:, :12])


@row(31, "two dimensions")
def _(bench):
    extractor = IndividualBaseExtractor()._take(bench.tiny._checkpoint())
    assert bench.sample(NATIVE).shape == (1, 12, 1000)
    assert extractor.transform(NATIVE[1:8]).shape == (7, 16)
    with refused(r"pass X\[None\]"):
        extractor.transform(NATIVE)


@row(32, "no recordings")
def _(bench):
    with refused(r"Found array with 0 sample\(s\)", ValueError):
        bench.fit(0)
    with refused("list is empty"):
        bench.sample([])


@row(33, "one recording to learn from")
def _(bench):
    with refused("at least 2 persons"):
        bench.fit(1)


@row(34, "numbers of leads")
def _(bench, tmp=None):
    for n in (1, 2, 3, 6, 8, 12):
        assert bench.sample(ECG(NATIVE[:n], LEADS[:n])).shape == (1, 12, 1000)
    for n in (7, 13):
        with refused(f"{n} leads without names"):
            bench.sample(np.resize(NATIVE, (n, 1000)))
    names = [*LEADS, "vx", "vy", "vz"]
    fifteen = np.concatenate([SIGNAL, SIGNAL[:3]]).T.astype(float)
    wfdb.wrsamp("ptb", 500, ["mV"] * 15, names, fifteen, fmt=["16"] * 15, write_dir=str(bench.folder))
    assert read_ecg(bench.folder / "ptb").leads == LEADS


@row(35, "lead names")
def _(bench):
    assert ECG(NATIVE[:3], ["AVR", "MLII", "V1-"]).leads == ("aVR", "II", "V1")
    with refused("unknown lead 'V9'; known leads are I, II, III"):
        ECG(NATIVE[:1], ["V9"])


@row(36, "rate missing")
def _(bench):
    with refused("sampling rate of an array is not known"):
        as_ecg(SIGNAL)
    with refused("lack fs"):
        as_ecg((SIGNAL.T, {"sig_name": LEADS}))


@row(37, "impossible rates")
def _(bench):
    for rate in (0, -500, np.nan, "500", None, np.inf):
        with refused("sampling"):
            read(SIGNAL, rate)


@row(38, "any rate")
def _(bench):
    for rate in (100, 128, 250, 257, 360, 400, 500, 1000):
        ecg = ECG(SIGNAL, sampling_rate=500).resample(rate)
        peaks = r_peaks(check_reference(ecg).native()[0])
        assert np.abs(peaks - r_peaks(NATIVE)).max() <= 1
        assert lead_residual(ecg.native()[0]) < 0.01


@row(39, "declared at half its rate")
def _(bench):
    wide = make_ecgs(2, 1, statements=("CLBBB", "SBRAD"), sampling_rate=500, random_state=2).signals
    slow = [one for one in (SIGNAL, *wide) if ECG(one, sampling_rate=250).heart_rate < 50]
    assert slow
    with warned("is the true sampling rate higher"):
        for one in slow:
            read(one, 250)
    quick = make_ecgs(6, 1, statements=("NORM",), random_state=1).signals
    with warned("is the true sampling rate lower"):
        for one in quick:
            read(one, 200)
    for one in make_ecgs(6, 1, statements=("STACH",), random_state=1).signals:
        assert not read(one, 100).findings


@row(40, "short")
def _(bench):
    with refused("lasts 0.20 s; at least 2.5 s"):
        bench.sample(NATIVE[:, :20])


@row(41, "a little off 10 s")
def _(bench):
    assert bench.sample(np.tile(NATIVE, 2)[:, :1001]).shape == (1, 12, 1000)
    assert bench.sample(NATIVE[:, :980]).shape == (1, 12, 980)
    mixed = [ECG(NATIVE), ECG(NATIVE[:, :980]), ECG(NATIVE)]
    with warned("cut to the shortest, 9.8 s"):
        clone(bench.tiny).set_params(max_epochs=1).fit(mixed, groups=["a", "b", "b"], conditions=[None] * 3)


@row(42, "a long recording")
def _(bench):
    hour = np.tile(NATIVE, 60)
    wfdb.wrsamp("holter", 100, ["mV"] * 12, list(LEADS), hour.T.astype(float), fmt=["16"] * 12,
                write_dir=str(bench.folder))  # fmt: skip
    windows = list(read_windows(bench.folder / "holter", max_windows=5))
    assert [window.signal.shape for window in windows] == [(12, 1000)] * 5
    for reference in (bench.folder / "holter", [bench.folder / "holter", NATIVE]):
        assert bench.sample(reference, reference_condition="SR").shape == (1, 12, 1000)


@row(43, "unequal lengths")
def _(bench):
    extractor = IndividualBaseExtractor()._take(bench.tiny._checkpoint())
    assert extractor.transform([ECG(NATIVE), ECG(NATIVE[:, :700])]).shape == (2, 16)


@row(44, "mixed rates")
def _(bench):
    extractor = IndividualBaseExtractor()._take(bench.tiny._checkpoint())
    ecg = ECG(SIGNAL, sampling_rate=500)
    one, other = extractor.transform([ecg, ecg.resample(250)])
    assert one @ other > 0.99


@row(45, "the same patients in training and test")
def _(bench):
    with refused("were trained on"):
        evaluate(bench.folder, folds=[9], training_folds=[8, 9], checkpoint=bench.weights(), verbose=False)


@row(46, "patient ids")
def _(bench):
    data = {"X": PEOPLE.signals[:4, :, ::5], "conditions": PEOPLE.conditions[:4]}
    tiny = ECGTwinGenerator(architecture="tiny", max_epochs=1, batch_size=2)
    with refused("None or NaN, the first at row 2"):
        tiny.fit(**data, groups=[1.0, 2.0, np.nan, 2.0])
    with refused("at least 2 persons"):  # one person, written in three ways
        tiny.fit(**data, groups=[7, "7", 7.0, np.int64(7)])


@row(47, "persons with one recording")
def _(bench):
    tiny = IndividualBaseExtractor(architecture="tiny", max_epochs=1, batch_size=4)
    tiny.fit(PEOPLE.signals[:4, :, ::5], groups=[1, 2, 3, 3])  # they tell persons apart, and none is dropped
    assert np.isfinite(tiny.transform(PEOPLE.signals[:1, :, ::5])).all()
    with refused("at least 2 persons"):
        tiny.fit(PEOPLE.signals[:4, :, ::5], groups=[1, 1, 1, 1])


@row(48, "ages")
def _(bench):
    with warned("over 89"):
        assert Condition(age=300).age == 90
    with refused("age", ConditionError):
        bench.sample(age=-1)
    assert Condition(age=float("nan")).age is None
    assert Condition(age="63").age == 63


@row(49, "sexes")
def _(bench):
    read_as = {"F": "F", "M": "M", 0: "M", 1: "F", None: None, "male": "M"}
    assert {sex: Condition(sex=sex).sex for sex in read_as} == read_as
    with warned("neither 'F' nor 'M'"):
        assert Condition(sex="x").sex is None


@row(50, "unknown condition")
def _(bench):
    with refused("PVCC.*PVC", ConditionError):
        bench.sample(condition="PVCC")


@row(51, "contradiction")
def _(bench):
    with warned("contradicts itself"):
        assert np.isfinite(bench.sample(condition="SR, AFIB")).all()
    with warned("SBRAD goes with"):
        bench.sample(condition="SBRAD", heart_rate=150)


@row(52, "impossible heart rates asked for")
def _(bench):
    for rate in (-5, 0, 1e4):
        with refused("20-300", ConditionError):
            bench.sample(heart_rate=rate)


@row(53, "empty condition")
def _(bench):
    for nothing in (None, "", [], {}, Condition()):
        np.testing.assert_array_equal(bench.sample(condition=nothing), bench.sample(condition=None))


@row(54, "strange report texts")
def _(bench):
    secret = "Erika Mustermann "
    with warned("only the first"):
        Condition.parse_report(secret * 60_000)
    for text in (f"{secret}\0", "\u202eMI\u202c", "\U0001f493" * 100, "a" * 10_000):
        Condition.parse_report(text)
        with refused("", ConditionError) as caught:
            Condition.parse(text * 3000)
        assert secret * 2 not in str(caught.value)
        assert len(str(caught.value)) < 500


@row(55, "impossible numbers of twins")
def _(bench):
    for n in (0, -1, 1.5, True, "2"):
        with refused("n_samples"):
            bench.sample(n_samples=n)
    with refused("GB.*sample_batches"):
        bench.sample(n_samples=10**9)
    batches = bench.tiny.sample_batches(NATIVE, "PVC", n_samples=10**9, random_state=0)
    assert next(batches).shape == (bench.tiny.batch_size, 12, 1000)


@row(56, "impossible settings")
def _(bench):
    for options in (
        {"n_steps": 0},
        {"guidance_scale": np.nan},
        {"guidance_scale": -1},
        {"person_scale": "2"},
    ):
        with refused(next(iter(options))):
            bench.sample(**options)
    assert bench.sample(n_steps=1).shape == (1, 12, 1000)
    with warned("exaggerated"):
        bench.sample(guidance_scale=100)
    with warned("steps take long"):
        bench.tiny.sample_batches(NATIVE, n_steps=10_000)


@row(57, "batch sizes")
def _(bench):
    for size in (0, -1, 1.5, None):
        generator = copy.copy(bench.tiny).set_params(batch_size=size)
        with refused("batch_size"):
            generator.sample(NATIVE)
    large = copy.copy(bench.tiny).set_params(batch_size=10**6)
    assert large.sample(NATIVE, n_samples=2).shape == (2, 12, 1000)


@row(58, "random states")
def _(bench):
    for state in (None, 3, np.int64(3), np.random.RandomState(0), np.random.default_rng(0)):
        assert np.isfinite(bench.tiny.sample(NATIVE, random_state=state)).all()
    for state in (-1, 1.5, "0"):
        with refused("random_state"):
            bench.tiny.sample(NATIVE, random_state=state)


@pytest.mark.parametrize("case", row.params())
def test_bad_input(tiny, tmp_path, case):
    Bench(tiny, tmp_path).run(case)
