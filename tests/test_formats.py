"""WFDB records, written, read and refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import wfdb

from ecgtwin.beats import r_peaks
from ecgtwin.conditions import Condition
from ecgtwin.datasets import load_example
from ecgtwin.ecg import ECG
from ecgtwin.exceptions import InputError
from ecgtwin.formats import SYNTHETIC, as_ecg, read_ecg, write_ecg
from ecgtwin.leads import LEADS, lead_residual
from ecgtwin.provenance import write_npz
from ecgtwin.simulate import make_ecgs

SIGNAL = make_ecgs(2, 2, statements=("NORM", "PVC"), sampling_rate=500, random_state=0).signals[0]
SIGNAL.setflags(write=False)


@pytest.mark.parametrize("rate", [100, 128, 250, 257, 360, 400, 500, 1000])
@pytest.mark.parametrize("index", range(4))
def test_any_rate_is_written_read_and_resampled(tmp_path, rate, index):
    ecgs = make_ecgs(2, 2, statements=("NORM", "PVC"), sampling_rate=rate, random_state=0)
    original = ECG(ecgs.signals[index], sampling_rate=rate)
    back = read_ecg(write_ecg(tmp_path / "record", original))
    assert back.sampling_rate == rate
    assert back.leads == LEADS
    np.testing.assert_allclose(back.signal, original.signal, atol=0.0006)  # half a microvolt

    native, present = back.native()
    assert native.shape == (12, 1000)
    assert native.dtype == np.float32
    assert present.all()
    assert lead_residual(native) < 0.01
    peaks, expected = r_peaks(native), r_peaks(original.signal, rate) * 100 / rate
    assert len(peaks) == len(expected)
    assert np.abs(peaks - expected).max() <= 1


def test_a_recording_of_a_patient_is_not_said_to_be_synthetic(tmp_path):
    ecg = replace(load_example(), comments=("of a colleague",))
    back = read_ecg(write_ecg(tmp_path / "recording", ecg, synthetic=False))
    assert back.comments[:2] == ("recording of a patient, written by ecgtwin", "of a colleague")
    assert back.condition == ecg.condition
    assert "synthetic" not in " ".join(back.comments)
    again = read_ecg(write_ecg(tmp_path / "again", back.resample(250)))
    assert again.comments[:2] == back.comments[:2]
    assert "synthetic" in read_ecg(write_ecg(tmp_path / "twin", back, synthetic=True)).comments[0]
    assert "synthetic" in read_ecg(write_ecg(tmp_path / "other", ecg)).comments[0]
    packed = np.load(write_npz(tmp_path / "both.npz", [back, ecg]))["provenance"].tolist()
    assert [json.loads(one)[0] for one in packed] == [back.comments[0], SYNTHETIC]


def test_a_written_record_says_that_it_is_synthetic(tmp_path):
    ecg = ECG(
        SIGNAL, sampling_rate=500, condition=Condition("PVC", 63, "F", 72), comments=("Grüße\nfrom here",)
    )
    record = write_ecg(tmp_path / "new" / "folder" / "twin-01", ecg, comments=["seed 0"])
    comments = read_ecg(record).comments
    assert comments[0].startswith("synthetic ECG made by ecgtwin")
    assert comments[1:3] == ("Gr??e from here", "seed 0")
    said = next(line for line in comments if line.startswith("condition: "))
    assert Condition.parse(said.removeprefix("condition: ")) == ecg.condition
    again = write_ecg(tmp_path / "again", ECG(SIGNAL, sampling_rate=500, condition="PVC, 63 y, F, 72 bpm",
                                              comments=comments))  # fmt: skip
    assert read_ecg(again).comments == comments


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_a_record_is_named_with_or_without_suffix(tmp_path, suffix):
    write_ecg(tmp_path / "rec_01", ECG(SIGNAL, sampling_rate=500))
    for path in (tmp_path / f"rec_01{suffix}", str(tmp_path / f"rec_01{suffix}")):
        assert read_ecg(path).seconds == 10
        assert as_ecg(path).seconds == 10


def test_other_channels_of_a_record_are_left_out(tmp_path):
    signal = np.column_stack([SIGNAL[0] * 1000, SIGNAL[0] * 0 + 97, SIGNAL[8] * 1000]).astype(float)
    names = ["I", "SpO2", "V3"]
    wfdb.wrsamp("monitor", 500, ["uV", "%", "uV"], names, signal, fmt=["16"] * 3, write_dir=str(tmp_path))
    ecg = read_ecg(tmp_path / "monitor")
    assert ecg.leads == ("I", "V3")
    np.testing.assert_allclose(ecg.signal, SIGNAL[[0, 8]], atol=0.002)


@pytest.mark.parametrize("name", ["a.b", "a b", "rec.hea", "é", ".."])
def test_a_name_that_wfdb_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="letters, digits"):
        write_ecg(tmp_path / name, ECG(SIGNAL, sampling_rate=500))


def test_a_signal_that_16_bits_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"32\.767 mV"):
        write_ecg(tmp_path / "x", ECG(SIGNAL + 33, sampling_rate=500))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["nowhere", "", "/", "folder/nowhere.hea"])
def test_a_missing_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no WFDB record"):
        read_ecg(path)


DAMAGE = {
    "empty": lambda header: "",
    "garbage": lambda header: "garbage\n",
    "binary": lambda header: "".join(map(chr, range(1, 256))),
    "one lead more than lines": lambda header: header.replace(" 12 500", " 13 500"),
    "samples that are not there": lambda header: header.replace("500 5000", "500 1000000000"),
    "no data file": lambda header: header.replace("record.dat", "other.dat"),
    "a data file outside": lambda header: header.replace("record.dat", "../record.dat"),
    "unknown format": lambda header: header.replace(".dat 16 ", ".dat 999 "),
    "unknown unit": lambda header: header.replace("/mV", "/kg"),
    "unknown leads": lambda header: re.sub(r" 0 (a?V.|I+)\n", r" 0 x\1\n", header),
    "a lead twice": lambda header: header.replace(" V6\n", " V5\n"),
    "no rate of an ECG": lambda header: header.replace(" 500 5000", " 0.5 5000"),
    "another lead order": lambda header: header.replace(" I\n", " X\n").replace(" II\n", " I\n")
    .replace(" X\n", " II\n"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_header_is_refused_by_name(tmp_path, damage):
    header = write_ecg(tmp_path / "record", ECG(SIGNAL, sampling_rate=500)).with_suffix(".hea")
    header.write_text(damage(header.read_text()), encoding="utf-8")
    with pytest.raises(InputError):
        read_ecg(header)


def test_a_truncated_data_file_is_refused(tmp_path):
    record = write_ecg(tmp_path / "record", ECG(SIGNAL, sampling_rate=500))
    data = record.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(InputError, match="record"):
        read_ecg(record)
