"""How expected beats and the transfer of residuals are learned."""

import copy

import numpy as np
import torch

from ecgtwin.conditions import Condition
from ecgtwin.nn import ARCHITECTURES, TwinNetworks, encode_conditions, facts_of
from ecgtwin.nn.prior import N_FACTS
from ecgtwin.nn.registration import registered, textbook
from ecgtwin.nn.transfer import Transfer
from ecgtwin.rhythm import BEAT
from ecgtwin.training import LoopSettings, TrainingData, known_leads, train
from ecgtwin.training.expectations import fit_interaction, fit_prior
from ecgtwin.training.own_beats import OwnBeats
from ecgtwin.training.transfers import N_WITNESSES, fit_transfer
from ecgtwin.training.witnesses import Critic, fit_witness, reading_loss


def test_the_prior_is_fitted_to_typical_beats(tiny, data):
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    prior = fit_prior(networks, data, LoopSettings(60, ema_decay=0.9), verbose=False)
    beats = torch.from_numpy(data.beats.typical)
    facts, rates = facts_of(data.encoded), torch.from_numpy(data.beats.rates)
    expected, measured = prior(facts, rates), torch.from_numpy(data.beats.intervals)
    beats = registered(beats, torch.where(measured.isnan(), prior.intervals(facts, rates), measured))
    assert (expected - beats).square().mean() < (beats - beats.mean(dim=0)).square().mean()
    # Effects of centred factors: on average the expected beat is the mean one.
    assert torch.allclose(expected.mean(dim=0), beats.mean(dim=0), atol=1e-4)


def test_what_facts_do_together_is_found_beyond_their_sum():
    """Two statements, each of which makes PR longer and T taller, and both together no more than one."""
    rng = np.random.default_rng(0)
    codes, n = ("1AVB", "LPR"), 1200
    shown = rng.random((n, 2)) < 0.5
    conditions = [
        Condition(statements=[c for c, there in zip(codes, row, strict=True) if there]) for row in shown
    ]
    facts, rates = facts_of(encode_conditions(conditions)), torch.full((n,), 70.0)
    either = torch.from_numpy(shown.any(axis=1)).float()
    intervals = textbook(torch.zeros(())) + 0.02 * torch.from_numpy(rng.normal(size=(n, 5))).float()
    intervals[:, 0] += 0.3 * either
    beats = 0.05 * torch.from_numpy(rng.normal(size=(n, 8, BEAT))).float()
    beats[:, :, 60:70] += 0.2 * either[:, None, None]
    prior = TwinNetworks(ARCHITECTURES["tiny"]).prior
    prior.fit(beats, intervals, facts, rates, torch.from_numpy(rng.normal(size=(n, 16))).float())
    rows = [int(np.flatnonzero((shown == pattern).all(axis=1))[0]) for pattern in ((1, 0), (0, 1), (1, 1))]
    sums = prior.intervals(facts[rows], rates[rows])[:, 0].diff()
    assert sums[1] > 0.1  # as the sum has it
    assert not torch.cat([x.flatten() for x in prior.interaction(prior.factors(facts, rates))]).any()
    settings = LoopSettings(400, learning_rate=1e-2, ema_decay=0.95)
    fit_interaction(prior, beats, intervals, facts, rates, settings, verbose=False)
    together = prior.intervals(facts[rows], rates[rows])[:, 0].diff()
    assert together.abs().max() < 0.05
    tall = prior(facts[rows], rates[rows])[:, :, 55:80].amax(dim=2).mean(dim=1)
    assert tall.max() - tall.min() < 0.05
    assert not any(parameter.requires_grad for parameter in prior.interaction.parameters())
    # A new fit begins anew.
    prior.fit(beats, intervals, facts, rates, torch.zeros(n, 16))
    assert torch.allclose(prior.intervals(facts[rows], rates[rows])[:, 0].diff(), sums, atol=1e-3)


def test_residuals_are_known_of_leads_that_are_there():
    present = np.zeros((2, 12), dtype=bool)
    present[0, :6] = True
    present[1, [0, 7]] = True
    kept = known_leads(torch.ones(2, 8, 95), present)[..., 0]
    assert kept[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert kept[1].tolist() == [1, 0, 0, 1, 0, 0, 0, 0]


def test_witnesses_teach_what_remains_of_a_person(tiny, data):
    """What is carried to another condition convinces witnesses more than the plain residual does."""
    networks = copy.deepcopy(tiny.networks_)
    networks.prior.transfer = Transfer(N_FACTS, 16)
    settings = LoopSettings(n_steps=60, learning_rate=5e-3, ema_decay=0.9)
    step = LoopSettings(n_steps=1)
    fit_transfer(networks, data, step, witnesses=step, batch_size=8, verbose=False)
    own = OwnBeats.of(networks, data)
    witness = fit_witness(
        networks, own, (8, 16), settings, of_persons=False, batch_size=8, seed=0, verbose=False
    )
    rows = torch.arange(len(own))
    read = witness(own.beats(networks, rows * 0, rows), own.intervals, own.present(rows))
    assert reading_loss(read, own.facts) < reading_loss(torch.zeros_like(read), own.facts)
    before = networks.prior.transfer(own.residuals[0], own.facts, own.facts.flip(0))
    fit_transfer(networks, data, settings, witnesses=settings, batch_size=8, verbose=False)
    after = networks.prior.transfer(own.residuals[0], own.facts, own.facts.flip(0))
    assert torch.isfinite(after).all()
    assert (after - before).abs().max() > 1e-3
    same = networks.prior.transfer(own.residuals[0], own.facts, own.facts)
    assert torch.allclose(same, own.residuals[0], atol=1e-5)


def test_witnesses_are_not_learned_again(tiny, data, tmp_path, monkeypatch):
    def fit():
        networks, settings = copy.deepcopy(tiny.networks_), LoopSettings(n_steps=2)
        checkpoint = tmp_path / "beats.ckpt"
        fit_transfer(
            networks, data, settings, witnesses=settings, batch_size=8, checkpoint=checkpoint, verbose=False
        )
        return networks.prior.transfer.state_dict()

    first = fit()
    assert len(list(tmp_path.glob("witness_*.ckpt"))) == N_WITNESSES
    monkeypatch.setattr(OwnBeats, "partners", None)  # nothing is drawn any more
    again = fit()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_a_critic_tells_what_no_heart_shows_under_these_facts():
    """Waves are up under one fact and down under the other; what is made has them the wrong way round."""
    generator = torch.Generator().manual_seed(0)
    critic = Critic((8, 16), 1)
    facts, present = (torch.arange(64) % 2).float()[:, None], torch.ones(64, 8, dtype=torch.bool)

    def beats(way):
        waves = (way * (2 * facts - 1))[..., None] * torch.sin(torch.arange(BEAT) / 8)
        return 0.5 * waves.expand(-1, 8, -1) + 0.1 * torch.randn(64, 8, BEAT, generator=generator)

    def loss(step):
        return critic.loss(beats(1), facts, beats(-1), facts, present, penalty=0.1 * (step % 4 == 0))

    train(critic, loss, LoopSettings(60, learning_rate=1e-2, ema_decay=0.9), verbose=False)
    recorded, made = critic(beats(1), facts, present), critic(beats(-1), facts, present)
    assert (recorded > made.max()).all()
    # What convinces it changes what is made, and not the critic.
    changed = beats(-1).requires_grad_()
    critic.doubt(changed, facts, present).backward()
    assert changed.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    better = changed.detach() - 0.5 * changed.grad / changed.grad.abs().max()
    assert critic.doubt(better, facts, present) < critic.doubt(changed, facts, present)


def test_recordings_without_beats_teach_no_transfer(ecgs):
    flat = TrainingData(np.zeros_like(ecgs.signals[:4]), ecgs.groups[:4])
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    step = LoopSettings(n_steps=1)
    assert np.isnan(fit_transfer(networks, flat, step, witnesses=step, verbose=False))
