"""The command line, run as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import wfdb

from ecgtwin import ECGTwinGenerator, load_example, read_ecg, write_ecg
from ecgtwin.__main__ import main
from ecgtwin.datasets import example_path


@pytest.fixture
def weights(tiny, tmp_path):
    return str(tiny.save_pretrained(tmp_path / "weights"))


def test_sample_writes_twins_and_a_picture(weights, tmp_path, capsys):
    out = tmp_path / "twins"
    command = [
        "sample",
        str(example_path()),
        "--condition",
        "PVC",
        "--out",
        str(out),
        "-n",
        "2",
        "--weights",
        weights,
    ]
    assert main(command) == 0
    assert {path.name for path in out.iterdir()} == {
        "twin_00.hea", "twin_00.dat", "twin_01.hea", "twin_01.dat", "twins.png",
    }  # fmt: skip
    record = wfdb.rdheader(str(out / "twin_01"))
    assert record.fs == 500
    assert record.sig_len == 5000
    assert any("synthetic" in line for line in record.comments)
    assert "lead residual" in capsys.readouterr().out


def test_the_same_seed_writes_the_same_twins(weights, tmp_path):
    for folder in ("one", "two"):
        main(
            [
                "sample",
                "example",
                "--out",
                str(tmp_path / folder),
                "-n",
                "1",
                "--seed",
                "4",
                "--weights",
                weights,
            ]
        )
    assert (tmp_path / "one" / "twin_00.dat").read_bytes() == (tmp_path / "two" / "twin_00.dat").read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "nowhere/rec"}, "no WFDB record"),
        ({"--condition": "PVCC"}, "PVC"),
        ({"--heart-rate": "1000"}, "300"),
        ({"--weights": "nowhere"}, "no weights named"),
        ({"-n": "0"}, "n_samples"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(weights, tmp_path, capsys, changes, words):
    options = {"reference": "example", "--out": str(tmp_path / "out"), "--weights": weights} | changes
    reference = options.pop("reference")
    status = main(["sample", reference, *[word for pair in options.items() for word in pair]])
    error = capsys.readouterr().err
    assert status == 2
    assert words in error
    assert error.count("\n") == 1


def test_training_goes_on_after_a_kill(ptbxl, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "ecgtwin", "train", "--data", str(ptbxl), "--out", str(out)]
    command += ["--architecture", "tiny", "--minutes", "0.1", "--folds", "1", "--no-bf16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while (
            not (out / "extractor.ckpt").exists() and time.monotonic() < deadline and process.poll() is None
        ):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not (out / "model.safetensors").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "weights in" in done.stdout
    generator = ECGTwinGenerator.from_pretrained(out, n_steps=2)
    assert generator.training_["folds"] == [1]
    assert generator.sample(read_ecg(example_path()), "PVC").shape == (1, 12, 5000)


def test_a_single_lead_of_a_patient_is_edited_and_stays_the_patients(tmp_path):
    watch = replace(load_example().select(["I"]), comments=())
    write_ecg(tmp_path / "watch", watch, synthetic=False)
    command = ["edit", str(tmp_path / "watch"), "--add", "PVC", "--strength", "0", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "edits.png").exists()
    marks = [read_ecg(tmp_path / "out" / f"edit_0{i}").comments[0] for i in range(2)]
    assert marks[0].startswith("recording of a patient")
    assert marks[1].startswith("synthetic")


def test_edit_writes_a_series_and_its_picture(tmp_path, capsys):
    out = tmp_path / "edits"
    command = ["edit", "example", "--add", "PVC", "--strength", "0", "1", "--out", str(out)]
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "edit_00.dat",
        "edit_00.hea",
        "edit_01.dat",
        "edit_01.hea",
        "edits.png",
    ]
    assert "PVC" in capsys.readouterr().out
    assert "synthetic" in read_ecg(out / "edit_01").comments[0]
