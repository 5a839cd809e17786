import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from ecgtwin import CheckpointError, ECGTwinGenerator, IndividualBaseExtractor
from ecgtwin.leads import independent_leads
from ecgtwin.nn import ARCHITECTURES, PatchAutoencoder, TwinNetworks
from ecgtwin.pretrained import SAMPLING, Checkpoint, load, save


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
    files = {path.name for path in folder.iterdir()} - {".lock"}
    assert files == {"config.json", "model.safetensors", "README.md"}


def test_the_card_says_what_the_weights_are(tiny, tmp_path):
    text = (tiny.save_pretrained(tmp_path, metrics={"retention": 0.25}) / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: ecgtwin\n")
    assert "not for diagnosis" in text
    assert "| retention | 0.25 |" in text
    assert hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest() in text
    assert ECGTwinGenerator.from_pretrained(tmp_path).training_["metrics"] == {"retention": 0.25}
    tiny.save_pretrained(tmp_path, metrics={"retention": 0.5})
    assert "| retention | 0.5 |" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("by hand")
    tiny.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "by hand"


def test_figures_that_are_no_json_are_refused_before_anything_is_written(tiny, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for bad in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(CheckpointError, match="JSON"):
            tiny.save_pretrained(folder, metrics=bad)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_extractor_is_saved_alone(ecgs, tmp_path):
    extractor = IndividualBaseExtractor(architecture="tiny", max_epochs=1, batch_size=4)
    extractor.fit(ecgs.signals[:8], groups=ecgs.groups[:8]).save_pretrained(tmp_path)
    loaded = IndividualBaseExtractor.from_pretrained(tmp_path)
    np.testing.assert_allclose(
        loaded.transform(ecgs.signals[:2]), extractor.transform(ecgs.signals[:2]), atol=1e-6
    )
    assert "IndividualBaseExtractor.from_pretrained" in (tmp_path / "README.md").read_text()
    with pytest.raises(CheckpointError, match="extractor alone"):
        ECGTwinGenerator.from_pretrained(tmp_path)
    few = {"groups": ecgs.groups[:8], "conditions": ecgs.conditions[:8]}
    generator = ECGTwinGenerator(pretrained=tmp_path, max_epochs=1, batch_size=4).fit(ecgs.signals[:8], **few)
    basis, fitted = generator.networks_.autoencoder, PatchAutoencoder(10, 24)
    fitted.fit(independent_leads(ecgs.signals[:8]))
    np.testing.assert_allclose(basis.spread, fitted.spread, rtol=1e-3)


def test_a_fit_from_weights_samples_as_was_chosen_for_them(tiny, ecgs, tmp_path):
    sampling = {"n_steps": 3, "sampler": "euler", "guidance_scale": 1.5, "person_scale": 1.25}
    save(Checkpoint(tiny.networks_, sampling, {"data": "simulated"}), tmp_path)
    few = {"groups": ecgs.groups[:8], "conditions": ecgs.conditions[:8]}
    fitted = ECGTwinGenerator(pretrained=tmp_path, max_epochs=1, batch_size=4).fit(ecgs.signals[:8], **few)
    assert fitted.sampling_ == SAMPLING | sampling
    assert fitted.training_["started_from"] == {"sha256": load(tmp_path).sha256, "data": "simulated"}
    assert "simulated" in (fitted.save_pretrained(tmp_path / "on") / "README.md").read_text()


def test_a_link_that_leads_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere.json").write_bytes((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CheckpointError, match="leads out"):
        ECGTwinGenerator.from_pretrained(folder)


def test_a_save_that_was_killed_between_its_two_files_is_found(tiny, folder, tmp_path):
    other = save(Checkpoint(TwinNetworks(ARCHITECTURES["tiny"], 5), dict(SAMPLING)), tmp_path / "other")
    (folder / ".config.json.next").write_bytes((other / "config.json").read_bytes())
    assert load(folder).sha256 == load(folder, local_files_only=True).sha256 == tiny_digest(folder)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert load(folder).sampling == SAMPLING
    (folder / ".config.json.next").unlink()
    with pytest.raises(CheckpointError, match="another save"):
        load(folder)


def tiny_digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def damage_config(folder: Path, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))


def damage_weights(folder: Path, change):
    weights = tensors_of((folder / "model.safetensors").read_bytes())
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
    "architecture that the file cannot fill": lambda f: damage_config(
        f, architecture={"denoiser_widths": [8, 8, 2048], "denoiser_layers": 64}
    ),
    "NaN in the weights": lambda f: damage_weights(f, poison),
}


def without_digest(folder):
    """The configuration of weights whose digest is not known, as hand-made ones are."""
    path = folder / "config.json"
    if path.is_file() and (text := path.read_text()).startswith("{\n"):
        config = json.loads(text)
        config.pop("weights_sha256", None)
        path.write_text(json.dumps(config))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_weights_give_one_clear_error(folder, damage):
    without_digest(folder)
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
