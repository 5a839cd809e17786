"""Loading PTB-XL from its published layout, and the reference that the package ships."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import wfdb
from conftest import REAL_DATA

from ecgtwin.conditions import Condition
from ecgtwin.datasets import example_path, load_example, load_ptbxl, load_wfdb_folder
from ecgtwin.exceptions import InputError, QualityWarning
from ecgtwin.formats import as_ecg, read_ecg
from ecgtwin.leads import LEADS, lead_residual
from ecgtwin.simulate import make_ecgs

ROWS = [
    {"age": "56.0", "sex": "1", "scp_codes": "{'NORM': 100.0, 'SR': 0.0}", "strat_fold": "3"},
    {"age": "300.0", "sex": "0", "scp_codes": "{'PVC': 100.0, 'SR': 0.0}", "strat_fold": "3"},
    {"age": "", "sex": "0", "scp_codes": "{'AFIB': 0.0}", "strat_fold": "9"},
    {"age": "71.0", "sex": "1", "scp_codes": "{}", "strat_fold": "10"},
]
PATIENTS = ["15709.0", "15709.0", "22.0", "103.0"]
SIMULATED = make_ecgs(2, 2, statements=("NORM", "PVC", "AFIB"), random_state=0)


def write_ptbxl(folder, order=LEADS):
    """A tiny PTB-XL, as published: upper-case lead names, patient ids written as floats."""
    rows = []
    for i, (row, patient) in enumerate(zip(ROWS, PATIENTS, strict=True), start=1):
        name = f"records100/00000/{i:05d}_lr"
        signal = SIMULATED.signals[i - 1][[LEADS.index(lead) for lead in order]]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        wfdb.wrsamp(
            f"{i:05d}_lr", 100, ["mV"] * 12, [lead.upper() for lead in order], signal.T.astype(float),
            fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str((folder / name).parent),
        )  # fmt: skip
        rows.append({"ecg_id": str(i), "patient_id": patient, "report": "sinusrhythmus, normales ekg"} | row
                    | {"filename_lr": name, "filename_hr": name.replace("lr", "hr")})  # fmt: skip
    write_table(folder, rows)
    return folder


def write_table(folder, rows):
    with (folder / "ptbxl_database.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    return write_ptbxl(tmp_path)


def test_the_tiny_copy_is_read(folder):
    data = load_ptbxl(folder, n_jobs=1)
    assert data.signals.shape == (4, 12, 1000)
    assert data.signals.dtype == np.float32
    np.testing.assert_allclose(data.signals, SIMULATED.signals, atol=0.0006)
    assert data.groups.tolist() == ["15709", "15709", "22", "103"]
    assert data.folds.tolist() == [3, 3, 9, 10]
    assert data.record_ids.tolist() == [1, 2, 3, 4]
    assert [c.replace(heart_rate=None) for c in data.conditions] == [
        Condition(["NORM", "SR"], 56, "F"),
        Condition(["PVC", "SR"], 90, "M"),
        Condition("AFIB", None, "M"),
        Condition((), 71, "F"),
    ]
    for beats, condition in zip(SIMULATED.beats[:2], data.conditions[:2], strict=True):
        assert condition.heart_rate == pytest.approx(60 / np.diff(beats).mean(), abs=2)


@pytest.mark.parametrize("folds", [(3, 9), [9, 3, 3], np.array([3, 9]), range(1, 10), iter([3, 9])])
def test_folds_are_chosen(folder, folds):
    data = load_ptbxl(folder, folds=folds, n_jobs=1)
    assert data.folds.tolist() == [3, 3, 9]
    assert data.record_ids.tolist() == [1, 2, 3]
    assert len(data.conditions) == len(data.signals) == 3


def test_several_processes_read_the_same(folder):
    np.testing.assert_array_equal(
        load_ptbxl(folder, n_jobs=2).signals, load_ptbxl(str(folder), n_jobs=1).signals
    )


def test_leads_are_matched_by_name(tmp_path):
    data = load_ptbxl(write_ptbxl(tmp_path, order=LEADS[::-1]), n_jobs=1)
    np.testing.assert_allclose(data.signals, SIMULATED.signals, atol=0.0006)


def test_a_flat_record_has_no_heart_rate(folder):
    path = folder / "records100" / "00000" / "00002_lr.dat"
    path.write_bytes(bytes(path.stat().st_size))
    assert load_ptbxl(folder, folds=[3], n_jobs=1).conditions[1].heart_rate is None


def test_a_folder_that_is_no_ptbxl(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"no PTB-XL at .*ptbxl_database\.csv"):
            load_ptbxl(path)


def test_folds_that_are_not_there(folder):
    with pytest.raises(InputError, match="no record of folds 4, 5"):
        load_ptbxl(folder, folds=[5, 4])


def test_a_table_without_its_columns(tmp_path):
    write_table(tmp_path, [{"ecg_id": "1", "age": "5"}])
    with pytest.raises(InputError, match="lacks the columns patient_id, sex, scp_codes"):
        load_ptbxl(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.with_suffix(".dat").unlink(),
        lambda record: record.with_suffix(".hea").unlink(),
        lambda record: record.with_suffix(".hea").write_text("garbage\n"),
        lambda record: record.with_suffix(".dat").write_bytes(b"\0" * 100),
        lambda record: record.with_suffix(".hea").write_text(
            record.with_suffix(".hea").read_text().replace("AVF", "EEG")
        ),
        lambda record: record.with_suffix(".hea").write_text(
            record.with_suffix(".hea").read_text().replace("AVF", "AVL")
        ),
        lambda record: wfdb.wrsamp(
            record.name, 100, ["mV"] * 2, ["I", "II"], np.zeros((1000, 2)), fmt=["16"] * 2,
            adc_gain=[1000.0] * 2, baseline=[0] * 2, write_dir=str(record.parent),
        ),
    ],
    ids=["no data", "no header", "garbage", "truncated", "another lead", "a lead twice", "two leads"],
)  # fmt: skip
def test_a_damaged_record_is_named(folder, damage):
    damage(folder / "records100" / "00000" / "00002_lr")
    with pytest.raises(InputError, match="record records100/00000/00002_lr"):
        load_ptbxl(folder, n_jobs=1)


def test_the_example_is_a_whole_synthetic_reference():
    reference = load_example()
    assert reference.signal.shape == (12, 5000)
    assert reference.leads == LEADS
    assert reference.condition == Condition(["NORM", "SR"], 54, "F")
    assert reference.comments[0].startswith("synthetic ECG")
    assert lead_residual(reference.signal) < 0.01
    assert 50 < reference.heart_rate < 110
    np.testing.assert_array_equal(as_ecg(example_path()).signal, reference.signal)


@pytest.mark.skipif(not (REAL_DATA / "unpack.py").is_file(), reason="PTB-XL is not beside the repository")
def test_fold_9_of_ptbxl(tmp_path):
    subprocess.run(
        [sys.executable, str(REAL_DATA / "unpack.py"), str(tmp_path), "--folds", "9"], check=True, timeout=60
    )
    data = load_ptbxl(tmp_path, folds=[9], n_jobs=1)
    assert len(data.signals) == len(data.conditions) == 2183
    assert data.signals.shape[1:] == (12, 1000)
    assert np.isfinite(data.signals).all()
    assert np.median([lead_residual(signal) for signal in data.signals]) < 0.01
    assert set(data.folds.tolist()) == {9}
    assert len(set(data.groups.tolist())) < 2183

    def rates(code):
        return [c.heart_rate for c in data.conditions if code in c.statements and c.heart_rate is not None]

    assert np.median(rates("SBRAD")) < 60
    assert np.median(rates("STACH")) > 100
    assert 60 < np.median(rates("SR")) < 80


def write_record(folder, name, signal, rate=500, order=LEADS, comments=()):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        (folder / name).name, rate, ["mV"] * len(order), list(order), signal.T.astype(float),
        fmt=["16"] * len(order), adc_gain=[1000.0] * len(order), baseline=[0] * len(order),
        comments=list(comments), write_dir=str((folder / name).parent),
    )  # fmt: skip


def test_a_folder_of_any_records_is_read(tmp_path):
    example = load_example()
    order = ("aVR", "aVL", "aVF", *(lead for lead in LEADS if not lead.startswith("aV")))
    said = ["Age: 74", "Sex: Male", "Dx: 59118001,39732003,426783006", "Rx: Unknown"]
    write_record(tmp_path, "ann/one", example.signal, comments=said)
    write_record(tmp_path, "ann/two", example.select(order).resample(257).signal, 257, order)
    write_record(tmp_path, "bob/watch", example.select(["I"]).signal, order=["I"])
    write_record(
        tmp_path, "bob/short", example.signal[:, :3000], comments=["Age: NaN", "Sex: Unknown", "Dx: "]
    )
    write_record(tmp_path, "bob/noise", np.random.default_rng(0).normal(size=(12, 5000)))
    with pytest.warns(QualityWarning, match="3 of 5 records were left out; the first, bob/noise"):
        found = load_wfdb_folder(tmp_path, person_of=lambda record: record.split("/")[0])
    assert found.record_ids.tolist() == ["ann/one", "ann/two"]
    assert found.groups.tolist() == ["ann", "ann"]
    assert found.signals.shape == (2, 12, 1000)
    native = example.native()[0]
    assert np.abs(found.signals[0] - native).max() < 2e-3  # microvolts of the file
    assert np.corrcoef(found.signals[1].ravel(), native.ravel())[0, 1] > 0.99
    assert found.conditions[0].replace(heart_rate=None) == Condition(["CRBBB", "SR"], 74, "M")
    assert found.conditions[0].heart_rate == pytest.approx(example.heart_rate, abs=0.5)
    assert found.conditions[1].replace(heart_rate=None) == Condition()
    assert set(found.refused) == {"bob/noise", "bob/short", "bob/watch"}
    assert "no lead II" in found.refused["bob/watch"]
    assert found.refused["bob/short"] == "shorter than 10 s"
    with pytest.warns(QualityWarning, match="2 of 5"):
        shorter = load_wfdb_folder(tmp_path, seconds=5, sampling_rate=250)
    assert shorter.signals.shape == (3, 12, 1250)
    assert shorter.groups.tolist() == ["ann/one", "ann/two", "bob/short"]


def test_folders_without_records_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no WFDB record"):
        load_wfdb_folder(tmp_path)
    write_record(tmp_path, "flat", np.zeros((12, 5000)))
    with pytest.raises(InputError, match="1 of 1 records were left out; the first, flat: no QRS"):
        load_wfdb_folder(tmp_path)
    with pytest.raises(InputError, match="seconds"):
        load_wfdb_folder(tmp_path, seconds=0)


def test_what_a_header_tells_of_the_person_is_the_references_condition(tmp_path):
    write_record(tmp_path, "one", load_example().signal, comments=["age: 81", "SEX: F", "Dx: 270492004"])
    assert read_ecg(tmp_path / "one").condition == Condition("1AVB", 81, "F")
    for odd in (
        ["Age: many", "Sex: ?", "Dx: x,99,"],
        ["Age"],
        ["Dx: 59118001 59118001"],
        [":"],
        ["Age: 1e9"],
    ):
        write_record(tmp_path, "odd", load_example().signal, comments=odd)
        assert read_ecg(tmp_path / "odd").condition == Condition()
