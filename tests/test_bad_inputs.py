"""What bad input gets: one row of the table, one case.

A row that raises names the error and words of its message; one that warns, words of the warning; one
that is accepted is checked to be. Rows are numbered as in the table of the design.
"""

import copy
import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import signal as signals_of_the_system
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file
from scipy.signal import butter, sosfiltfilt
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ecgtwin import (
    ECG,
    CheckpointError,
    Condition,
    ConditionError,
    ECGTwinGenerator,
    IndividualBaseExtractor,
    InputError,
    QualityWarning,
    as_ecg,
    lead_residual,
    make_ecgs,
    read_ecg,
    read_windows,
    write_ecg,
)
from ecgtwin.beats import r_peaks
from ecgtwin.ecg import check_reference
from ecgtwin.leads import LEADS, twelve_leads
from ecgtwin.metrics.generated import GeneratedECGs
from ecgtwin.metrics.report import evaluate
from ecgtwin.pretrained import Checkpoint, load, save
from ecgtwin.quality import KNOWN_ORDERS
from ecgtwin.training.loop import LoopSettings, train

PEOPLE = make_ecgs(4, 2, statements=("NORM", "PVC"), sampling_rate=500, random_state=0)
SIGNAL = PEOPLE.signals[0]
SIGNAL.setflags(write=False)
NATIVE = np.ascontiguousarray(ECG(SIGNAL, sampling_rate=500).native()[0])
NATIVE.setflags(write=False)
ROW = {lead: i for i, lead in enumerate(LEADS)}
EMPTY_TENSOR = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
RNG = np.random.default_rng(0)

CASES = {}


def row(number, words):
    """Register a function as the case of a row."""

    def register(function):
        assert number not in CASES
        CASES[number] = pytest.param(function, id=f"{number:02d}-{words.replace(' ', '-')}")
        return function

    return register


@pytest.fixture(scope="module")
def drawn(tiny):
    return tiny.sample(NATIVE, "PVC", n_samples=2, random_state=0)


class Bench:
    """What the cases share: a small fitted generator, and a folder."""

    def __init__(self, tiny, folder):
        self.tiny, self.folder = tiny, folder

    def sample(self, reference=NATIVE, condition="NORM", **options):
        return self.tiny.sample(reference, condition, random_state=0, **options)

    def weights(self):
        return self.tiny.save_pretrained(self.folder / "weights")

    def fit(self, n=8, **options):
        generator = ECGTwinGenerator(architecture="tiny", max_epochs=1, batch_size=4, n_steps=1)
        generator.set_params(**options)
        data = PEOPLE.signals[:n, :, ::5]
        return generator.fit(data, groups=PEOPLE.groups[:n], conditions=PEOPLE.conditions[:n])


@pytest.fixture
def bench(tiny, tmp_path):
    return Bench(tiny, tmp_path)


def refused(words, error=InputError):
    return pytest.raises(error, match=words)


def warned(words):
    return pytest.warns(QualityWarning, match=words)


def read(values, rate=500, **options):
    return check_reference(as_ecg(values, sampling_rate=rate, **options))


def changed(rows, value, signal=SIGNAL):
    out = signal.copy()
    out[rows] = value
    return out


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# ----- A. signal content


@row(1, "all NaN")
def _(bench):
    with refused("reference 1: .*NaN"):
        bench.sample([NATIVE, NATIVE * np.nan])


@row(2, "one NaN sample")
def _(bench):
    holed = SIGNAL.copy()
    holed[3, 70:80] = np.nan  # 20 ms
    with refused("NaN.*lead aVR at sample 70.*interpolate"):
        read(holed)
    with warned("10 missing values .* were filled"):
        ecg = read(holed, nan_policy="interpolate")
    assert np.abs(ecg.signal - SIGNAL).max() < 0.1
    holed[3, 70:100] = np.nan  # 60 ms
    with refused("30 values are NaN"):
        read(holed, nan_policy="interpolate")


@row(3, "a NaN lead")
def _(bench):
    lost = changed(7, np.nan)
    with refused("5000 values.*leave the lead out"):
        read(lost)
    others = [lead for lead in LEADS if lead != "V2"]
    assert read(np.delete(lost, 7, axis=0), leads=others).signal.shape == (11, 5000)


@row(4, "infinite")
def _(bench):
    for value in (np.inf, -np.inf):
        with refused("infinite"):
            read(changed((0, 5), value))
    signal = changed((6, 300), 1e30, NATIVE)  # whose square is
    with refused(r"1 values are impossible, the first in lead V1 at sample 300: 1e\+30 mV"):
        bench.sample(signal)
    extractor = IndividualBaseExtractor()._take(bench.tiny._checkpoint())
    for X in (signal[None], [ECG(signal)]):
        with warned("1 have amplitudes above 20 mV"):
            assert np.isfinite(extractor.transform(X)).all()


@row(5, "flat zero")
def _(bench):
    with refused("no QRS: flat line"):
        bench.sample(NATIVE * 0)


@row(6, "electrode off")
def _(bench):
    with warned("lead V2 is flat and taken as missing"):
        twin = bench.sample(changed(7, 0, NATIVE))
    assert np.ptp(twin[0, 7]) > 0.05
    with warned("lead aVF is flat"):  # the other limb leads determine it
        ecg = read(changed(5, 0))
    assert ecg.native()[1].all()
    np.testing.assert_allclose(ecg.native()[0], NATIVE, atol=1e-4)


@row(7, "constant")
def _(bench):
    with refused("flat line"):
        bench.sample(NATIVE * 0 + 1.5)


@row(8, "clipped")
def _(bench):
    high = np.quantile(SIGNAL[1], 0.95)
    with warned(r"lead II is clipped: \d+% of II at the rail"):
        read(changed(1, np.minimum(SIGNAL[1], high))[1:2], leads=["II"])


@row(9, "microvolts")
def _(bench):
    with refused('unit="uV"'):
        read(SIGNAL * 1000)
    np.testing.assert_allclose(read(SIGNAL * 1000, unit="uV").signal, SIGNAL, atol=1e-5)


@row(10, "ADC counts")
def _(bench):
    counts = np.round(SIGNAL * 200).astype(np.int16)
    with refused("gain="):
        read(counts)
    np.testing.assert_allclose(read(counts, gain=200).signal, SIGNAL, atol=0.003)
    for gain in (0, -1, np.nan, "200", True):
        with refused("gain must be"):
            read(counts, gain=gain)


@row(11, "volts")
def _(bench):
    with refused('unit="V"'):
        read(SIGNAL / 1000)
    np.testing.assert_allclose(read(SIGNAL / 1000, unit="V").signal, SIGNAL, atol=1e-5)


@row(12, "upside down")
def _(bench):
    for signal in PEOPLE.signals[[3, 6, 7]]:
        with warned("upside down"):
            read(-signal)


@row(13, "arms exchanged")
def _(bench):
    for signal in PEOPLE.signals[[6, 7]]:
        i, ii, iii, avr, avl, avf = signal[:6]
        with warned("arm electrodes exchanged"):
            read(np.concatenate([[-i, iii, ii, avl, avr, avf], signal[6:]]))


@row(14, "wrong lead order")
def _(bench):
    for source, order in KNOWN_ORDERS.items():
        shuffled = SIGNAL[[ROW[lead] for lead in order]]
        with refused(source):
            read(shuffled)
        assert read(shuffled, leads=order).leads == order
    with refused("Einthoven"):
        read(SIGNAL[::-1].copy())


@row(15, "duplicated lead")
def _(bench):
    with warned("leads V1 and V2 are the same signal"):
        read(changed(7, SIGNAL[6]))


@row(16, "leads filtered on their own")
def _(bench):
    rough = SIGNAL.copy()
    for lead, cut in zip((2, 3, 4), (25, 30, 20), strict=True):
        rough[lead] = sosfiltfilt(butter(2, cut, fs=500, output="sos"), rough[lead])
    with warned("only roughly"):
        twin = bench.tiny.sample(ECG(rough, sampling_rate=500), random_state=0)
    assert lead_residual(twin) < 1e-6


@row(17, "white noise")
def _(bench):
    for seconds in (2.5, 10):
        for n_leads in (1, 12):
            noise = RNG.normal(size=(8, round(100 * seconds))) * 0.3
            with refused("no rhythm"):
                bench.sample(twelve_leads(noise)[:n_leads])


@row(18, "mains hum")
def _(bench):
    for mains in (50, 60):
        hum = 0.5 * np.sin(2 * np.pi * mains * np.arange(5000) / 500)
        with warned("mains hum"):
            read(SIGNAL[1:2] + hum, leads=["II"])


@row(19, "baseline wander")
def _(bench):
    wander = 1.5 * np.sin(2 * np.pi * 0.15 * np.arange(5000) / 500)
    with warned("baseline wanders by .* high-pass"):
        ecg = read(SIGNAL[1:2] + wander, leads=["II"])
    assert np.ptp(ecg.native()[0][1]) < np.ptp(ecg.signal) - 1.5


@row(20, "one beat")
def _(bench):
    peak = r_peaks(NATIVE)[3]
    lonely = np.zeros((12, 250), dtype=np.float32)
    lonely[:, 60:140] = NATIVE[:, peak - 30 : peak + 50] * np.hanning(80)
    with warned("one beat was found"):
        twin = bench.sample(lonely)
    assert np.isfinite(twin).all()
    assert np.isnan(ECG(lonely).heart_rate)


@row(21, "pacing spikes")
def _(bench):
    paced = SIGNAL.copy()
    for peak in r_peaks(SIGNAL, 500):
        paced[1, max(peak - 60, 0)] += 2
    with warned("spikes as of a pacemaker; they are kept"):
        ecg = read(paced[1:2], leads=["II"])
    np.testing.assert_array_equal(ecg.signal, paced[1:2])


@row(22, "ventricular fibrillation")
def _(bench):
    t = np.arange(1000) / 100
    waves = [np.sin(2 * np.pi * f * t + p) for f, p in zip((3.9, 4.6, 5.3), (0, 1, 2), strict=True)]
    fibrillation = 0.3 * RNG.normal(size=(8, 3)) @ np.array(waves)
    with refused("no QRS: .*ventricular fibrillation"):
        bench.sample(twelve_leads(fibrillation))


@row(23, "heart rate at the edge")
def _(bench):
    beat = NATIVE[:, r_peaks(NATIVE)[3] - 20 : r_peaks(NATIVE)[3] + 40] * np.hanning(60)

    def beating(rate, n=4000):
        signal = np.zeros((12, n), dtype=np.float32)
        for begin in np.arange(0, n - 61, 6000 / rate).astype(int):
            signal[:, begin : begin + 60] += beat
        return signal

    assert ECG(beating(20)).heart_rate == pytest.approx(20, abs=0.1)
    assert np.isfinite(bench.sample(beating(20))).all()
    with refused("heart rate 1[45] bpm lies outside 20-300"):
        bench.sample(beating(15))
    assert np.isfinite(bench.sample(condition=Condition(heart_rate=300))).all()
    with refused("above 300 bpm; is the true sampling rate lower"):
        read(np.tile(NATIVE, 3), 500)


@row(24, "denormals")
def _(bench):
    for scale in (1e-30, 1e-42):
        with refused("flat line"):
            read(SIGNAL * np.float32(scale))


@row(25, "number types")
def _(bench):
    for dtype in ("float16", "float64", ">f4", ">f8"):
        np.testing.assert_allclose(read(SIGNAL.astype(dtype)).signal, SIGNAL, atol=0.01)
    assert read((SIGNAL * 1000).astype(int), unit="uV").signal.dtype == np.float32
    with refused("dtype object"):
        read(SIGNAL.astype(object))


@row(26, "complex")
def _(bench):
    with refused("complex"):
        read(SIGNAL * 1j)
    with refused("[Cc]omplex", ValueError):
        bench.fit().sample_each(NATIVE[None] * 1j, ["PVC"])


@row(27, "array layouts")
def _(bench):
    file = bench.folder / "signal.npy"
    np.save(file, SIGNAL)
    for layout in (
        np.ma.masked_array(SIGNAL),
        np.load(file, mmap_mode="r"),
        np.asfortranarray(SIGNAL),
        SIGNAL[::-1, ::-1].copy()[::-1, ::-1],
    ):
        np.testing.assert_array_equal(read(layout).signal, SIGNAL)
    with refused("sparse"):
        read(csr_array(SIGNAL))


@row(28, "DataFrame of leads")
def _(bench):
    frame = pd.DataFrame(SIGNAL.T, columns=LEADS)[list(reversed(LEADS))]
    np.testing.assert_array_equal(read(frame).select(LEADS).signal, SIGNAL)


@row(29, "tensors")
def _(bench):
    tensor = torch.tensor(SIGNAL, requires_grad=True)
    np.testing.assert_array_equal(read(tensor).signal, SIGNAL)
    if torch.cuda.is_available():
        np.testing.assert_array_equal(read(tensor.cuda()).signal, SIGNAL)


# ----- B. shape, rate, metadata


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


# ----- C. the estimators' contract


@row(59, "not fitted")
def _(bench):
    for call in (
        lambda: ECGTwinGenerator().sample(NATIVE),
        lambda: ECGTwinGenerator().save_pretrained(bench.folder),
        lambda: IndividualBaseExtractor().transform(NATIVE[None]),
    ):
        with pytest.raises(NotFittedError):
            call()


@row(60, "another number of leads than fitted")
def _(bench):
    with refused(r"expected \(n_samples, 12, n_times\).*got \(1, 7, 1000\)"):
        bench.tiny.sample_each(NATIVE[None, :7], ["PVC"])


@row(61, "clone, parameters, repr, pickle")
def _(bench):
    for estimator in (ECGTwinGenerator(n_steps=5), IndividualBaseExtractor(batch_size=7)):
        copied = clone(estimator)
        assert copied.get_params() == estimator.get_params()
        assert repr(copied) == repr(estimator)
        assert pickle.loads(pickle.dumps(estimator)).get_params() == estimator.get_params()
        with refused("Invalid parameter", ValueError):
            estimator.set_params(nonsense=1)
    again = pickle.loads(pickle.dumps(bench.tiny))
    np.testing.assert_array_equal(
        again.sample(NATIVE, random_state=0), bench.tiny.sample(NATIVE, random_state=0)
    )


@row(62, "fitted twice")
def _(bench):
    one, other = (bench.fit() for _ in range(2))
    assert one.weights_sha256_ == other.weights_sha256_


@row(63, "the caller's data")
def _(bench):
    arrays = [NATIVE.copy(), PEOPLE.signals[:4, :, ::5].copy()]
    before = [digest(array) for array in arrays]
    bench.sample(arrays[0])
    bench.tiny.sample_each(arrays[1], ["PVC"] * 4)
    clone(bench.tiny).set_params(max_epochs=1).fit(
        arrays[1], groups=PEOPLE.groups[:4], conditions=PEOPLE.conditions[:4]
    )
    assert [digest(array) for array in arrays] == before


@row(64, "global state")
def _(bench):
    def state():
        return (
            str(np.random.get_state()),  # noqa: NPY002
            digest(torch.get_rng_state().numpy()),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            list(warnings.filters),
        )

    before = state()
    bench.sample()
    bench.fit(4)
    load(bench.weights())
    assert state() == before


@row(65, "Ctrl-C in fit")
def _(bench):
    folder = bench.folder / "checkpoints"
    fitted = bench.fit(max_epochs=6, checkpoint_dir=folder)
    whole = fitted.weights_sha256_
    stopped = ECGTwinGenerator(
        architecture="tiny", max_epochs=4000, batch_size=4, checkpoint_dir=folder / "b"
    )
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    before = signals_of_the_system.signal(
        signals_of_the_system.SIGINT, signals_of_the_system.default_int_handler
    )
    timer = threading.Timer(3, os.kill, (os.getpid(), signals_of_the_system.SIGINT))
    timer.start()
    data = PEOPLE.signals[:, :, ::5]
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(data, groups=PEOPLE.groups, conditions=PEOPLE.conditions)
    timer.cancel()
    signals_of_the_system.signal(signals_of_the_system.SIGINT, before)
    assert list((folder / "b").glob("*.ckpt"))
    with pytest.raises(NotFittedError):
        stopped.sample(NATIVE)
    fitted_before = fitted.sample(NATIVE, random_state=0)
    assert fitted.weights_sha256_ == whole
    assert np.isfinite(fitted_before).all()


@row(66, "NaN while training")
def _(bench):
    module = torch.nn.Linear(2, 1)

    def loss(step):
        return module(torch.ones(1, 2)).square().sum() * (float("nan") if step == 7 else 1)

    file = bench.folder / "state.ckpt"
    with refused("at step 7 the loss is nan.*learning rate", FloatingPointError):
        train(module, loss, LoopSettings(n_steps=20, checkpoint_seconds=0), checkpoint=file, verbose=False)
    assert all(torch.isfinite(value).all() for value in module.parameters())
    assert torch.load(file, weights_only=True)["step"] == 7


def _twin_of(generator):
    return generator.sample(NATIVE, "PVC", n_samples=2, random_state=0)


@row(67, "other processes")
def _(bench):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_twin_of, (bench.tiny,))
    np.testing.assert_allclose(there, _twin_of(bench.tiny), atol=1e-5)


@row(68, "two threads")
def _(bench):
    serial = [bench.tiny.sample(NATIVE, "PVC", n_samples=2, random_state=seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda seed: bench.tiny.sample(NATIVE, "PVC", n_samples=2, random_state=seed), range(4))
        )
    for one, other in zip(serial, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@row(69, "no CUDA")
def _(bench):
    if not torch.cuda.is_available():
        with refused("'cuda:0' was asked for, but CUDA is not available"):
            ECGTwinGenerator.from_pretrained(bench.weights(), device="cuda:0")
    assert np.isfinite(ECGTwinGenerator.from_pretrained(bench.weights(), device="auto").sample(NATIVE)).all()
    with refused("unknown"):
        ECGTwinGenerator.from_pretrained(bench.weights(), device="abacus")


@row(70, "too little memory")
def _(bench):
    code = (
        "import resource, sys, numpy as np; from ecgtwin import ECGTwinGenerator, InputError\n"
        f"g = ECGTwinGenerator.from_pretrained({str(bench.weights())!r})\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)\n"
        "try: g.sample(None, 'PVC', n_samples=10_000)\n"
        "except InputError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "10000 twins of 1000 samples would take 0.48 GB" in out.stdout, out.stderr


# ----- D. persistence and supply chain


@row(71, "pickles")
def _(bench):
    folder = bench.weights()
    (folder / "model.safetensors").rename(folder / "model.bin")
    torch.save({"weight": torch.zeros(1)}, folder / "model.pt")
    for name in (folder, folder / "model.pt", folder / "model.bin"):
        with refused("safetensors", CheckpointError):
            ECGTwinGenerator.from_pretrained(name)
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    with refused("", CheckpointError):
        ECGTwinGenerator.from_pretrained(folder)


def _without_digest(folder):
    config = json.loads((folder / "config.json").read_text())
    config.pop("weights_sha256")
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


@row(72, "damaged safetensors")
def _(bench):
    path = _without_digest(bench.weights())
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + size]
    name = json.loads(header).popitem()[0].encode()

    def with_header(new):
        return len(new).to_bytes(8, "little") + new + whole[8 + size :]

    damaged = {
        "header longer than the file": (10**12).to_bytes(8, "little") + whole[8:],
        "header above 100 MB": (10**8 + 1).to_bytes(8, "little") + whole[8:],
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "overlapping": with_header(header.replace(b'"data_offsets":[', b'"data_offsets":[1', 1)),
        "negative": with_header(header.replace(b'"data_offsets":[', b'"data_offsets":[-', 1)),
        "a key twice": with_header(b'{"' + name + b'":' + EMPTY_TENSOR + b"," + header[1:]),
    }  # fmt: skip
    for content in damaged.values():
        path.write_bytes(content)
        begun = time.monotonic()
        with refused("", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)
        assert time.monotonic() - begun < 1


@row(73, "other tensors")
def _(bench):
    path = _without_digest(bench.weights())
    weights = tensors_of(path.read_bytes())
    first = next(iter(weights))
    for change in ({first: torch.zeros(3)}, {"extra": torch.zeros(1)}):
        save_file(weights | change, path)
        with refused("tensors missing, extra or of another shape", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)
    save_file({key: value for key, value in weights.items() if key != first}, path)
    with refused(first, CheckpointError):
        ECGTwinGenerator.from_pretrained(path.parent)


@row(74, "NaN in the weights")
def _(bench):
    path = _without_digest(bench.weights())
    weights = tensors_of(path.read_bytes())
    key = next(key for key, value in weights.items() if value.is_floating_point())
    for value in (float("nan"), float("inf")):
        weights[key].flatten()[0] = value
        save_file(weights, path)
        with refused("NaN or infinite", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)


@row(75, "damaged configurations")
def _(bench):
    path = bench.weights() / "config.json"
    config = json.loads(path.read_text())
    architecture = config["architecture"]
    for content in (
        {**config, "class": "os.system"},
        {**config, "architecture": {**architecture, "base_dim": 10**9}},
        {**config, "architecture": {**architecture, "denoiser_layers": -1}},
        {**config, "architecture": {**architecture, "denoiser_widths": [8, 8, 2048], "denoiser_layers": 64}},
        {**config, "sampling": {"sampler": "os.system"}},
        {**config, "sampling": "x"},
        [],
    ):
        path.write_text(json.dumps(content))
        with refused("", CheckpointError):
            load(path.parent)
    path.write_text("[" * 10**5)
    with refused("JSON", CheckpointError):
        load(path.parent)
    with path.open("wb") as file:
        file.truncate(10**9)
    begun = time.monotonic()
    with refused("larger than", CheckpointError):
        load(path.parent)
    assert time.monotonic() - begun < 1


@row(76, "names that lead elsewhere")
def _(bench):
    for name in ("../weights", "~/weights", "C:\\weights", "a\0b", "some/../../etc", "/nowhere"):
        with refused("", CheckpointError):
            ECGTwinGenerator.from_pretrained(name)
    folder = bench.weights()
    (folder / "config.json").rename(bench.folder / "config.json")
    (folder / "config.json").symlink_to(bench.folder / "config.json")
    with refused("leads out of its folder", CheckpointError):
        load(folder)


@row(77, "another digest than pinned")
def _(bench):
    folder = bench.weights()
    registry = {"ours": {"repository": "a/b", "revision": "0" * 40, "sha256": {"config.json": "0" * 64}}}
    (bench.folder / "registry.json").write_text(json.dumps(registry))
    with pytest.MonkeyPatch.context() as patch:  # the downloads themselves are in test_hub.py
        patch.setenv("ECGTWIN_REGISTRY", str(bench.folder / "registry.json"))
        with refused("not in the cache", CheckpointError):
            ECGTwinGenerator.from_pretrained("ours", local_files_only=True)
        with refused("is pinned to revision", CheckpointError):
            ECGTwinGenerator.from_pretrained("ours", revision="main")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with refused("sha256", CheckpointError):
        load(folder)


@row(78, "other format versions")
def _(bench):
    path = bench.weights() / "config.json"
    config = json.loads(path.read_text())
    for version, words in ((99, "upgrade ecgtwin"), (1, "trained again"), ("2", "format version")):
        path.write_text(json.dumps({**config, "format_version": version}))
        with refused(words, CheckpointError):
            load(path.parent)


@row(79, "a save that fails")
def _(bench):
    folder = bench.weights()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = (
        "import resource, signal; from ecgtwin import ECGTwinGenerator, CheckpointError\n"
        f"g = ECGTwinGenerator.from_pretrained({str(folder)!r})\n"
        "next(iter(g.networks_.parameters())).data += 1\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)\n"
        f"try: g.save_pretrained({str(folder)!r})\n"
        "except CheckpointError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "what was there is whole" in out.stdout, out.stderr
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before}
    assert after == before
    assert load(folder).sha256 == hashlib.sha256(before["model.safetensors"]).hexdigest()


@row(80, "resumed at every step")
def _(bench):
    def run(stops):
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 1)
        file = bench.folder / f"{len(stops)}.ckpt"

        def loss(step):
            if step in stops:
                stops.remove(step)
                raise KeyboardInterrupt
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return (module(x) - 1).square().mean()

        while True:
            try:
                train(module, loss, LoopSettings(n_steps=10), checkpoint=file, verbose=False)
                return module.state_dict()
            except KeyboardInterrupt:
                torch.manual_seed(1)
                module = torch.nn.Linear(3, 1)

    whole, broken = run([]), run(list(range(10)))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def _save_often(folder, seed, weights):
    checkpoint = load(weights)
    for step in range(20):
        training = {"who": seed, "step": step}
        next(iter(checkpoint.networks.parameters())).data.fill_(seed)
        save(Checkpoint(checkpoint.networks, checkpoint.sampling, training), folder)


@row(81, "two processes that save at once")
def _(bench):
    weights, shared = bench.weights(), bench.folder / "shared"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_save_often, args=(shared, seed, weights)) for seed in (1, 2)]
    for process in processes:
        process.start()
    found = 0
    while any(process.is_alive() for process in processes):
        if (shared / "config.json").is_file():
            checkpoint = load(shared)  # never a pair of two saves
            assert next(iter(checkpoint.networks.parameters())).flatten()[0] == checkpoint.training["who"]
            found += 1
        time.sleep(0.02)
    assert [process.exitcode for process in processes] == [0, 0]
    assert found
    assert {path.name for path in shared.iterdir()} - {".lock"} == {
        "config.json", "model.safetensors", "README.md"}  # fmt: skip


@row(82, "damaged WFDB headers")
def _(bench):
    header = write_ecg(bench.folder / "in" / "rec", ECG(SIGNAL, sampling_rate=500)).with_suffix(".hea")
    text = header.read_text()
    (bench.folder / "rec.dat").write_bytes(header.with_suffix(".dat").read_bytes())
    for damaged in (
        "",
        "\0" * 100,
        text.replace(" 12 500", " 13 500"),
        text.replace("1000.0(0)/mV", "0/mV"),
        text.replace("rec.dat", "none.dat"),
        text.replace("rec.dat 16", "rec.dat 310"),
        text.replace("rec.dat", "../rec.dat"),
        text.replace("rec.dat", f"{bench.folder}/rec.dat"),
        text.replace("500 5000", "500 1000000000"),
        text.replace("rec 12", "rec/2 12"),
    ):
        assert damaged != text
        header.write_text(damaged)
        begun = time.monotonic()
        with refused("rec"):
            read_ecg(header)
        assert time.monotonic() - begun < 1


@row(83, "other containers")
def _(bench):
    file = bench.folder / "x.npz"
    np.savez(file, signals=np.array([object()], dtype=object))
    with refused("plain arrays"):
        GeneratedECGs.read(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signals.npy", "w") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (10_000, 12, 1000)}
        )
        for _ in range(480):
            out.write(bytes(1_000_000))
    with refused("zip bomb"):
        GeneratedECGs.read(file)


@row(84, "what logs say")
def _(bench):
    secret = "Erika Mustermann"
    code = (
        "import numpy as np, warnings; from ecgtwin import *\n"
        "people = make_ecgs(2, 2, random_state=0)\n"
        f"ecg = ECG(people.signals[0] * 1, patient_id={secret!r}, comments=({secret!r},))\n"
        "print(ecg, repr(ecg))\n"
        f"g = ECGTwinGenerator(architecture='tiny', max_epochs=1, batch_size=2, verbose=True)\n"
        f"g.fit(people.signals, groups=[{secret!r}, 'b', 'b', 'c'], conditions=people.conditions)\n"
        "g.sample(ecg)\n"
        f"for bad in (lambda: Condition.parse({secret!r} * 200), lambda: g.sample(ecg.signal * np.nan)):\n"
        "    try: bad()\n"
        "    except InputError as error: print(str(error))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = out.stdout + out.stderr
    assert "NaN" in said
    assert secret not in said
    assert "array(" not in said


def test_every_row_of_the_table_has_a_case():
    assert sorted(CASES) == list(range(1, 85))
    print(f"{len(CASES)} rows of bad input")


@pytest.mark.parametrize("case", [CASES[number] for number in sorted(CASES)])
def test_bad_input(bench, case):
    case(bench)
    gc.collect()
    assert not list(Path(bench.folder).rglob("*.part"))
