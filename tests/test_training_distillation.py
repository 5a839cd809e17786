"""How few steps are taught."""

import copy

import pytest
import torch

from ecgtwin.diffusion import row_seeds, time_grid
from ecgtwin.exceptions import CheckpointError
from ecgtwin.given import draw_rhythms
from ecgtwin.recordings import Persons
from ecgtwin.sampling import draw_latents
from ecgtwin.training import LoopSettings, TrainingData
from ecgtwin.training.distillation import _draw_times, _solve, fit_few_steps, fit_half_the_steps
from ecgtwin.training.flows import FlowData


def test_the_teacher_solves_each_row_through_its_own_times():
    spread = torch.tensor([2.0, 0.5])[:, None]

    def exact(x, time):
        t = time[:, None, None]
        return t * spread**2 / (t**2 * spread**2 + (1 - t) ** 2) * x

    begin, end = torch.tensor([0.1, 0.3, 0.6]), torch.tensor([0.3, 0.6, 1.0])
    times = begin[:, None] + (end - begin)[:, None] * torch.linspace(0, 1, 101)
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))

    def deviation(t):
        return (t[:, None, None] ** 2 * spread**2 + (1 - t[:, None, None]) ** 2).sqrt()

    assert torch.allclose(_solve(exact, x, times), deviation(end) / deviation(begin) * x, rtol=0.02)


@pytest.mark.parametrize("n_steps", [1, 4, None])
def test_steps_to_distil_lie_on_the_grid_of_sampling(n_steps):
    times = _draw_times(200, n_steps, torch.Generator().manual_seed(0))
    assert ((times >= 0) & (times <= 1)).all()
    if n_steps is None:
        assert times.shape == (200, 1)
    else:
        assert (times.diff(dim=1) > 0).all()
        coarse = time_grid(n_steps)
        begins = torch.searchsorted(coarse, times[:, 0].contiguous())
        assert torch.allclose(coarse[begins], times[:, 0], atol=1e-6)
        assert torch.allclose(coarse[begins + 1], times[:, -1], atol=1e-6)
        assert set(begins.tolist()) == set(range(n_steps))


def test_a_distilled_denoiser_draws_in_few_evaluations_what_guidance_draws_in_many(tiny, ecgs):
    networks = copy.deepcopy(tiny.networks_)
    data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
    persons = Persons.of(networks, ecgs.signals[:8], data.leads[:8], ecgs.conditions[:8])
    seeds = row_seeds(0, 8)

    def latents(of, **settings):
        given = draw_rhythms(of, persons, ecgs.conditions[:8], seeds)
        return draw_latents(of, given, seeds, settings)

    once = {"n_steps": 3, "sampler": "shortcut", "guidance_scale": 1.0, "person_scale": 1.0}
    guided = {"n_steps": 30, "sampler": "dpm", "guidance_scale": 2.0, "person_scale": 2.0}
    wanted = latents(networks, **guided)
    before = (latents(networks, **once) - wanted).square().mean()
    settings = LoopSettings(n_steps=150, learning_rate=5e-3, ema_decay=0.95)
    fit_few_steps(
        FlowData(networks, data),
        settings,
        n_steps=3,
        guidance_scale=2.0,
        person_scale=2.0,
        batch_size=16,
        verbose=False,
    )
    after = (latents(networks, **once) - wanted).square().mean()
    assert after < 0.6 * before


@pytest.mark.parametrize("fit", [fit_few_steps, fit_half_the_steps])
def test_what_another_teacher_taught_is_not_gone_on_with(tiny, data, tmp_path, fit):
    scales = {"guidance_scale": 2.0, "person_scale": 2.0} if fit is fit_few_steps else {}

    def distil(networks):
        settings, checkpoint = LoopSettings(n_steps=1), tmp_path / "taught.ckpt"
        flow = FlowData(networks, data)
        return fit(flow, settings, n_steps=2, batch_size=4, checkpoint=checkpoint, verbose=False, **scales)

    networks = copy.deepcopy(tiny.networks_)
    distil(copy.deepcopy(networks))
    distil(copy.deepcopy(networks))  # the same teacher
    with torch.no_grad():
        next(networks.denoiser.parameters()).add_(0.01)
    with pytest.raises(CheckpointError, match="teacher"):
        distil(networks)


def test_half_of_the_steps_lead_where_all_of_them_did(tiny, data):
    networks = copy.deepcopy(tiny.networks_)
    teach = LoopSettings(n_steps=30, learning_rate=3e-3, ema_decay=0.95)
    scales = {"guidance_scale": 2.0, "person_scale": 2.0}
    flow = FlowData(networks, data)
    fit_few_steps(flow, teach, n_steps=2, **scales, batch_size=12, verbose=False)
    persons = Persons.of(networks, data.signals[:8], data.leads[:8], data.conditions[:8])
    seeds = row_seeds(0, 8)

    def latents(n_steps):
        settings = {
            "n_steps": n_steps,
            "sampler": "shortcut",
            "guidance_scale": 1.0,
            "person_scale": 1.0,
        }
        given = draw_rhythms(networks, persons, data.conditions[:8], seeds)
        return draw_latents(networks, given, seeds, settings)

    wanted = latents(2)
    before = (latents(1) - wanted).square().mean()
    settings = LoopSettings(n_steps=80, learning_rate=5e-3, ema_decay=0.95)
    fit_half_the_steps(flow, settings, n_steps=1, batch_size=12, verbose=False)
    assert (latents(1) - wanted).square().mean() < 0.7 * before
