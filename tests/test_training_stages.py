"""The stages together, and the rhythm model."""

import numpy as np
import pytest
import torch

from ecgtwin.beats import r_peaks
from ecgtwin.conditions import Condition
from ecgtwin.diffusion import row_seeds, row_uniforms
from ecgtwin.nn import ARCHITECTURES, RhythmModel, TwinNetworks, encode_conditions
from ecgtwin.nn.peaks import mean_rates
from ecgtwin.simulate import make_ecgs
from ecgtwin.training import STAGES, LoopSettings, StageSettings, TrainingData, fit_networks
from ecgtwin.training.rhythms import fit_rhythm


def test_a_rhythm_is_learned_from_statements():
    ecgs = make_ecgs(20, 2, statements=("SBRAD", "STACH"), random_state=1)
    data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
    model = RhythmModel()
    loss = -fit_rhythm(model, data, LoopSettings(n_steps=40, learning_rate=5e-3), verbose=False)
    assert loss < 2 * np.log(96)  # less than bins by chance
    uniforms = torch.from_numpy(row_uniforms(row_seeds(0, 60), 60))
    unknown = torch.full((60,), float("nan"))

    def rates(statement):
        asked = encode_conditions([Condition(statements=statement)] * 60)
        times = model.draw(asked, unknown, uniforms, 10.0)
        return mean_rates(100 * times).numpy()

    assert np.median(rates("SBRAD")) < 60
    assert np.median(rates("STACH")) > 95


def test_a_rhythm_is_fitted_the_same_twice(data):
    one, two = (TwinNetworks(ARCHITECTURES["tiny"], seed=1).rhythm for _ in range(2))
    for model in (one, two):
        fit_rhythm(model, data, LoopSettings(n_steps=2), seed=3, verbose=False)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert (one.ratio_bins.diff() > 0).all()
    assert (one.rate_bins.diff() > 0).all()


def test_recordings_with_too_few_beats_teach_no_rhythm(ecgs):
    flat = TrainingData(np.zeros_like(ecgs.signals[:4]), ecgs.groups[:4])
    model = RhythmModel()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert np.isnan(fit_rhythm(model, flat, LoopSettings(n_steps=2), verbose=False))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    mixed = TrainingData(np.concatenate([flat.signals, ecgs.signals[:4]]), np.arange(8))
    assert np.isfinite(fit_rhythm(model, mixed, LoopSettings(n_steps=2), verbose=False))


ONE_EPOCH = StageSettings(
    extractor_epochs=1,
    rhythm_epochs=1,
    interaction_epochs=1,
    witness_epochs=1,
    transfer_epochs=1,
    denoiser_epochs=1,
    distillation_epochs=1,
)


def test_all_stages_take_recordings_with_two_beats():
    ecgs = make_ecgs(8, 2, statements=("SBRAD",), seconds=2.5, random_state=0)
    rows = [i for i, signal in enumerate(ecgs.signals) if len(r_peaks(signal)) < 3]
    data = TrainingData(ecgs.signals[rows], ecgs.groups[rows], [ecgs.conditions[i] for i in rows])
    assert len(np.unique(data.groups)) > 2
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    scores = fit_networks(networks, data, ONE_EPOCH, verbose=False)
    assert np.isfinite(scores["denoiser"])
    assert all(torch.isfinite(value).all() for value in networks.state_dict().values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_changes_its_own_networks_alone(tiny, data, stage):
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    networks.load_state_dict(tiny.networks_.state_dict())
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    few = TrainingData(data.signals[:8], data.groups[:8], data.conditions[:8])
    fit_networks(networks, few, ONE_EPOCH, stages=[stage], verbose=False)
    changed = {key for key, value in networks.state_dict().items() if not torch.equal(value, before[key])}
    own = {
        "autoencoder": {"autoencoder", "denoiser"},
        "beats": {"electrodes", "prior"},
        "distillation": {"denoiser"},
    }.get(stage, {stage})
    assert {key.split(".")[0] for key in changed} == own
    if stage == "autoencoder":
        assert {key for key in changed if key.startswith("denoiser")} == {"denoiser.spread"}
