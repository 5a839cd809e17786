"""Interrupted work: killed training goes on as if it had not been, and a full disk loses nothing.

`ECGTWIN_KILLS=30` kills as often.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.pretrained import load

KILLS = int(os.environ.get("ECGTWIN_KILLS", "2"))

RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ecgtwin import make_ecgs
from ecgtwin.nn import ARCHITECTURES, TwinNetworks
from ecgtwin.pretrained import SAMPLING, Checkpoint, save
from ecgtwin.training import StageSettings, TrainingData, fit_networks
out = Path(sys.argv[1])
ecgs = make_ecgs(6, 2, random_state=0)
data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
settings = StageSettings(
    extractor_epochs=10, rhythm_epochs=1, interaction_epochs=10, witness_epochs=4, transfer_epochs=10,
    denoiser_epochs=10, distillation_epochs=2, checkpoint_seconds=0.1,
)
networks = TwinNetworks(ARCHITECTURES["tiny"])
print("begun", flush=True)
fit_networks(networks, data, settings, checkpoint_dir=out, verbose=False)
save(Checkpoint(networks, dict(SAMPLING)), out)
print("done", flush=True)
"""


def start(folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "begun\n"
    return process


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_killed_training_ends_as_if_it_had_not_been(tmp_path):
    begun = time.monotonic()
    assert start(tmp_path / "whole").communicate()[0] == "done\n"
    seconds = time.monotonic() - begun
    wanted = digest(tmp_path / "whole")
    rng = np.random.default_rng(0)
    kills = runs = 0
    while kills < KILLS:
        folder = tmp_path / f"run {runs}"
        done = False
        while not done:
            process = start(folder)
            try:
                # A run that is to be killed several times makes progress in between.
                patience = float(rng.uniform(0.05, 0.4 * seconds)) if kills < KILLS else None
                done = process.communicate(timeout=patience)[0] == "done\n"
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        assert digest(folder) == wanted
        runs += 1
    print(f"{kills} kills over {runs} runs, every one ended with the weights of the run without")


def full_disk(tmp_path):
    """A tmpfs of 3 MB, where this may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3000k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    return disk


def _written(out):
    try:
        return out.write(bytes(4096))
    except OSError:
        return 0


def test_a_full_disk_leaves_the_old_weights_whole(tiny, tmp_path):
    disk = full_disk(tmp_path)
    try:
        folder = tiny.save_pretrained(disk / "weights")
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix}
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as out:
            while _written(out):
                pass
        with pytest.raises(OSError, match=r"No space left on device.*what was there is whole"):
            tiny.save_pretrained(folder, metrics={"new": 1.0})
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix} == before
        assert load(folder).sha256 == hashlib.sha256(before["model.safetensors"]).hexdigest()
        filler.unlink()
        assert tiny.save_pretrained(folder, metrics={"new": 1.0}) == folder
        assert load(folder).training["metrics"] == {"new": 1.0}
        assert not [path for path in Path(folder).iterdir() if path.name.endswith((".part", ".next"))]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
