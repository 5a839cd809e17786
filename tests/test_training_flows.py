"""What the flow learns from: references, conditions, and what is left out."""

import numpy as np
import pytest
import torch

from ecgtwin.conditions import Condition
from ecgtwin.nn import N_STATEMENTS, encode_conditions, statement_matrix
from ecgtwin.nn.registration import registered
from ecgtwin.training import TrainingData
from ecgtwin.training.flows import FlowData, References, draw_dropped


def test_references_are_seen_whole_first(tiny, data):
    networks, beats = tiny.networks_, torch.from_numpy(data.beats.typical)
    references = References.of(networks, data)
    n_views = len(references.bases)
    assert n_views > 1
    assert references.residuals.shape == (n_views, len(data), 8, 95)
    assert torch.allclose(references.bases.norm(dim=-1), torch.ones(n_views, len(data)), atol=1e-5)
    assert references.own[..., :N_STATEMENTS].min() >= 0
    assert references.own[..., :N_STATEMENTS].max() <= 1
    # The first view has all leads and knows the condition: expected beat and residual are the beat.
    facts = references.own[0]
    assert torch.equal(facts[:, :N_STATEMENTS], statement_matrix(data.encoded))
    rates = torch.from_numpy(data.beats.rates)
    found = references.residuals[0] + networks.prior(facts, rates)
    measured = torch.from_numpy(data.beats.intervals)
    intervals = torch.where(measured.isnan(), networks.prior.intervals(facts, rates), measured)
    slow = rates < 60  # else a residual fades to where the next beat begins
    assert slow.any()
    assert torch.allclose(found[slow], registered(beats, intervals)[slow], atol=1e-5)
    assert not torch.allclose(references.residuals[1], references.residuals[2], atol=1e-3)


def test_a_recording_is_never_its_own_whole_reference(tiny, data):
    flow = FlowData(tiny.networks_, data)
    rows = np.repeat(np.arange(len(data)), 4)
    drawn = flow.draw(rows, rows, np.random.default_rng(0))
    latents, given, has_person = drawn.clean, drawn.asked.given, drawn.asked.has_person
    assert latents.shape == (len(rows), 24, 100)
    assert len(given) == len(has_person) == len(rows)
    whole = flow.references.bases[0, rows]
    assert not (given.bases == whole).all(dim=1).any()
    others = np.roll(rows, 4)
    given = flow.draw(rows, others, np.random.default_rng(0)).asked.given
    seen_whole = (given.bases == flow.references.bases[0, others]).all(dim=1).float().mean()
    assert 0.05 < seen_whole < 0.5
    # Rhythm, rate and intervals are the recording's own, not the reference's.
    measured = torch.from_numpy(data.beats.intervals)[rows]
    assert torch.equal(given.intervals[~measured.isnan()], measured[~measured.isnan()])
    assert torch.isfinite(given.intervals).all()
    assert torch.equal(given.rhythm, flow.rhythm[rows])
    assert torch.equal(given.rates, torch.from_numpy(data.beats.rates)[rows])


def test_conditions_and_persons_are_left_out_for_guidance():
    asked = [Condition(statements=["PVC", "LVH", "AFIB"], age=50, sex="F", heart_rate=80)] * 4000
    kept, has_person = draw_dropped(encode_conditions(asked), np.random.default_rng(0))
    empty = (kept.statements == 0).all(dim=1) & kept.age.isnan() & (kept.sex == 0) & kept.heart_rate.isnan()
    assert empty.float().mean() == pytest.approx(0.15, abs=0.03)
    assert has_person.float().mean() == pytest.approx(0.85, abs=0.03)
    assert (empty & ~has_person).float().mean() == pytest.approx(0.05, abs=0.02)
    assert 0.1 < ((kept.statements > 0).sum(dim=1) < 3)[~empty].float().mean() < 0.5


def test_no_mistake_is_made_about_leads_that_are_not_there(tiny, data):
    present = np.ones((len(data), 12), dtype=bool)
    present[:, 11] = False
    flow = FlowData(tiny.networks_, TrainingData(data.signals, data.groups, data.conditions, present))
    rows = np.arange(len(data))
    residuals = flow.draw(rows, np.roll(rows, 2), np.random.default_rng(0)).asked.given.residuals
    assert not residuals[:, 7].any()
    assert residuals[:, 6].any()
