import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ecgtwin import CheckpointError, ECGTwinGenerator, IndividualBaseExtractor


@pytest.fixture
def folder(tiny, tmp_path):
    return tiny.save_pretrained(tmp_path / "weights")


def test_saved_weights_draw_the_same_twins(tiny, folder, ecgs):
    loaded = ECGTwinGenerator.from_pretrained(folder, n_steps=3)
    options = {"n_samples": 2, "random_state": 0}
    assert np.allclose(
        loaded.sample(ecgs.signals[0], "PVC", **options),
        tiny.sample(ecgs.signals[0], "PVC", **options),
        atol=1e-5,
    )


def test_half_precision_halves_the_file_and_is_stable(tiny, tmp_path):
    whole, half = tiny.save_pretrained(tmp_path / "whole"), tiny.save_pretrained(tmp_path / "half", half=True)
    size = {folder: (folder / "model.safetensors").stat().st_size for folder in (whole, half)}
    assert size[half] < 0.6 * size[whole] + 20_000
    again = ECGTwinGenerator.from_pretrained(half).save_pretrained(tmp_path / "again", half=True)
    assert (again / "model.safetensors").read_bytes() == (half / "model.safetensors").read_bytes()


def test_the_extractor_reads_the_same_folder(tiny, folder, ecgs):
    extractor = IndividualBaseExtractor.from_pretrained(folder)
    assert extractor.transform(ecgs.signals[:2]).shape == (2, tiny.networks_.architecture.base_dim)


def test_a_pickled_generator_draws_the_same_twins(tiny, ecgs):
    copy = pickle.loads(pickle.dumps(tiny))
    assert np.array_equal(
        copy.sample(ecgs.signals[0], random_state=1), tiny.sample(ecgs.signals[0], random_state=1)
    )


def test_saving_leaves_no_draft_behind(folder):
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def damage_config(folder: Path, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))


def damage_weights(folder: Path, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def poison(weights):
    weights["denoiser.leave.2.weight"][0, 0] = float("nan")


DAMAGE = {
    "no config": lambda f: (f / "config.json").unlink(),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "config is no JSON": lambda f: (f / "config.json").write_text("{"),
    "config is deeply nested": lambda f: (f / "config.json").write_text("[" * 10**5),
    "newer format": lambda f: damage_config(f, format_version=99),
    "unknown key": lambda f: damage_config(f, code="import os"),
    "absurd width": lambda f: damage_config(f, architecture={"base_dim": 10**9}),
    "other architecture": lambda f: damage_config(f, architecture={}),
    "pickle as weights": lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"weight": 1})),
    "truncated weights": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:999]
    ),
    "missing tensor": lambda f: damage_weights(f, lambda w: w.pop("denoiser.nobody")),
    "extra tensor": lambda f: damage_weights(f, lambda w: w.update(extra=torch.zeros(1))),
    "NaN in the weights": lambda f: damage_weights(f, poison),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_weights_give_one_clear_error(folder, damage):
    damage(folder)
    with pytest.raises(CheckpointError):
        ECGTwinGenerator.from_pretrained(folder)


def test_pickle_is_never_loaded(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pt")
    for name in (tmp_path, tmp_path / "model.pt"):
        with pytest.raises(CheckpointError, match="safetensors"):
            ECGTwinGenerator.from_pretrained(name)


def test_unknown_names_are_refused():
    with pytest.raises(CheckpointError, match="nowhere"):
        ECGTwinGenerator.from_pretrained("nowhere")
