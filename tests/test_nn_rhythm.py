"""Rhythms that are drawn: rates, ends, and one row from another."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.conditions import Condition
from ecgtwin.diffusion import row_seeds, row_uniforms
from ecgtwin.nn import ARCHITECTURES, RhythmModel, TwinNetworks, encode_conditions


def drawn(model, rates, n=1, own=float("nan"), seed=0, seconds=10.0):
    conditions = encode_conditions([Condition(statements="AFIB", heart_rate=rate) for rate in rates] * n)
    uniforms = torch.from_numpy(row_uniforms(row_seeds(seed, len(conditions)), 60))
    return rows_of(model.draw(conditions, torch.full((len(conditions),), own), uniforms, seconds))


def rows_of(times):
    """The times of each rhythm, without what is after its last beat."""
    return [one[one.isfinite()] for one in times]


@pytest.fixture(scope="module", params=["untrained", "trained"])
def rhythm_model(request, tiny):
    """An untrained model draws the wildest rhythms: all ratios of intervals up to 7 are as likely."""
    return (
        TwinNetworks(ARCHITECTURES["tiny"]).rhythm if request.param == "untrained" else tiny.networks_.rhythm
    )


@given(rate=st.floats(20, 300), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_a_rhythm_has_the_rate_asked_for(rhythm_model, rate, seed):
    for times in drawn(rhythm_model, [rate], n=3, seed=seed):
        assert 60 * (len(times) - 1) / float(times[-1] - times[0]) == pytest.approx(rate, rel=0.01)
        assert times[0] >= 0
        assert times[-1] < 10
        assert times.diff().min() >= min(0.25, 60 / rate) - 1e-4
        assert 10 - times[-1] < 2 * times.diff().max() + 60 / rate  # the recording is filled


def test_the_rhythm_of_a_row_is_its_own(rhythm_model):
    rates = [30.0, 72.0, 140.0, 250.0, 60.0]
    together = drawn(rhythm_model, rates)
    few = drawn(rhythm_model, rates[:2])
    for one, other in zip(few, together, strict=False):
        assert torch.allclose(one, other, atol=1e-5)
    uniforms = torch.from_numpy(row_uniforms(row_seeds(0, 5), 60))
    for row, rate in enumerate(rates):
        asked = encode_conditions([Condition(statements="AFIB", heart_rate=rate)])
        alone = rhythm_model.draw(asked, torch.tensor([float("nan")]), uniforms[row : row + 1], 10.0)
        assert torch.allclose(rows_of(alone)[0], together[row], atol=1e-5)
    assert len(together[0]) < len(together[1]) < len(together[2]) < len(together[3])


def test_other_random_numbers_give_another_rhythm(rhythm_model):
    one, other = drawn(rhythm_model, [80.0], seed=1)[0], drawn(rhythm_model, [80.0], seed=2)[0]
    assert len(one) != len(other) or not torch.allclose(one, other, atol=0.01)


def test_a_rate_not_asked_for_is_drawn_within_the_bins(rhythm_model):
    low, high = (72 * rhythm_model.rate_bins[[0, -1]].exp()).tolist()
    asked = encode_conditions([Condition()] * 50)
    uniforms = torch.from_numpy(row_uniforms(row_seeds(0, 50), 60))
    rates = []
    for times in rows_of(rhythm_model.draw(asked, torch.full((50,), 80.0), uniforms, 10.0)):
        rates.append(60 * (len(times) - 1) / float(times[-1] - times[0]))
    assert min(rates) > 0.99 * low
    assert max(rates) < 1.01 * high
    assert np.std(rates) > 3


def test_an_unknown_own_rate_is_heard_as_unknown():
    model = RhythmModel()
    described = model.describe(encode_conditions([Condition()] * 2))
    logits = model.rate_logits(described, torch.tensor([float("nan"), 72.0]))
    assert torch.isfinite(logits).all()
    assert not torch.allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.parametrize("seconds", [8, 40])
def test_a_rhythm_is_followed_back_to_its_random_numbers(tiny, seconds):
    """Beyond 12 s the model forgets, there and back again."""
    rates = torch.tensor([60.0, 110.0])
    conditions = encode_conditions([Condition(statements="AFIB"), Condition(statements=["SR", "PVC"])])
    generator = torch.Generator().manual_seed(0)
    uniforms = 0.05 + 0.9 * torch.rand(2, seconds, generator=generator)
    rhythm = tiny.networks_.rhythm
    intervals = rhythm.follow(conditions, rates, uniforms)
    again = rhythm.follow(conditions, rates, rhythm.invert(conditions, intervals)[0])
    assert torch.allclose(again, intervals, rtol=1e-3)
