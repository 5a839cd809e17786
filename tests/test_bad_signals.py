"""What bad signals get."""

import numpy as np
import pandas as pd
import pytest
import torch
from bad_input import NATIVE, PEOPLE, ROW, SIGNAL, Bench, Table, changed, read, refused, warned
from scipy.signal import butter, sosfiltfilt
from scipy.sparse import csr_array

from ecgtwin import ECG, Condition, IndividualBaseExtractor, lead_residual
from ecgtwin.beats import r_peaks
from ecgtwin.leads import LEADS, twelve_leads
from ecgtwin.quality import KNOWN_ORDERS

RNG = np.random.default_rng(0)
row = Table(1, 29)


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


@pytest.mark.parametrize("case", row.params())
def test_bad_input(tiny, tmp_path, case):
    Bench(tiny, tmp_path).run(case)
