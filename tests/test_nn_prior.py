"""What is expected of facts, and what persons have beyond it."""

import numpy as np
import pytest
import torch

from ecgtwin.conditions import STATEMENTS, Condition
from ecgtwin.nn import N_STATEMENTS, BeatPrior, encode_conditions, facts_of
from ecgtwin.nn.prior import N_FACTORS
from ecgtwin.nn.registration import INTERVALS, landmarks, registered, timed
from ecgtwin.rhythm import BEAT

MS = (160.0, 105.0, 40.0, 95.0, 380.0)
AGE = N_STATEMENTS  # its place among facts
QRS = INTERVALS.index("qrs")


@pytest.fixture(scope="module")
def planted():
    """Beats that are a sum of what statements and rate add to them, and a prior fitted to these."""
    rng = np.random.default_rng(0)
    codes = ("CLBBB", "LVH", "AFIB")
    shown, ages = rng.random((3000, 3)) < 0.5, rng.uniform(20, 90, 3000)
    conditions = encode_conditions(
        [
            Condition(statements=[c for c, there in zip(codes, row, strict=True) if there], age=age, sex="F")
            for row, age in zip(shown, ages, strict=True)
        ]
    )
    rates = torch.from_numpy(rng.uniform(50, 120, 3000)).float()
    effects = torch.from_numpy(rng.normal(size=(5, 8 * BEAT))).float()
    numbers = torch.stack([torch.from_numpy((ages - 60) / 20).float(), (rates / 72).log()], dim=1)
    factors = torch.cat([torch.from_numpy(shown).float(), numbers], dim=1)
    # Every beat on a clock of its own.
    intervals = torch.tensor(MS).log() + 0.1 * torch.from_numpy(rng.normal(size=(3000, 5))).float()
    intervals[:, 0] += 0.3 * factors[:, 0]
    smooth = torch.nn.functional.avg_pool1d(
        effects.unflatten(1, (8, BEAT)), 21, 1, 10, count_include_pad=False
    )
    effects = smooth.flatten(1)
    beats = timed((factors @ effects + 0.3).unflatten(1, (8, BEAT)), intervals)
    intervals[::50, 0] = float("nan")
    # Two of the statements can be read off the base vectors.
    bases = torch.from_numpy(rng.normal(size=(3000, 16))).float() * 0.2
    bases[:, :2] += factors[:, :2]
    prior = BeatPrior(16).fit(beats, intervals, facts_of(conditions), rates, bases)
    return prior, beats, intervals, facts_of(conditions), rates, bases, effects


def test_the_prior_finds_what_facts_add_to_a_beat(planted):
    prior, beats, intervals, facts, rates, _, effects = planted
    rows = [*(list(STATEMENTS).index(code) for code in ("CLBBB", "LVH", "AFIB")), AGE]
    found = prior.effect[[*rows, N_FACTORS - 2]]
    middle = slice(10, 80)  # the clock of a short beat ends before the window does
    inside = (found - effects).unflatten(1, (8, BEAT))[..., middle].flatten(1)
    error = inside.norm(dim=1) / effects.unflatten(1, (8, BEAT))[..., middle].flatten(1).norm(dim=1)
    assert error[:3].max() < 0.15  # shrunk, and interpolated twice
    assert error[3:].max() < 0.3
    expected = timed(prior(facts, rates), torch.nan_to_num(intervals, nan=5.0))
    known = ~intervals.isnan().any(dim=1)
    assert (expected - beats)[known][..., middle].square().mean() < 0.02 * beats.var()


def test_the_prior_finds_what_statements_add_to_intervals(planted):
    prior, _, intervals, facts, rates, _, _ = planted
    effect = prior.interval_effect[list(STATEMENTS).index("CLBBB")]
    assert effect[0].item() == pytest.approx(0.3, abs=0.02)
    assert effect[1:].abs().max() < 0.02
    own = prior.own_intervals(intervals, facts, rates)
    assert torch.isfinite(own).all()
    assert not own[::50, 0].any()
    assert torch.allclose(own.std(dim=0), torch.tensor(0.1), atol=0.01)
    assert torch.allclose(prior.interval_spread @ prior.interval_spread.T, 0.01 * torch.eye(5), atol=2e-3)


def test_errors_of_measurement_count_little_in_intervals(planted):
    _, beats, intervals, facts, rates, bases, _ = planted
    wrong, clbbb = intervals.clone(), list(STATEMENTS).index("CLBBB")
    shown = torch.nonzero(facts[:, clbbb])[:, 0]
    wrong[shown[::7], QRS] += 0.8  # T taken for QRS
    prior = BeatPrior(16).fit(beats, wrong, facts, rates, bases)
    assert prior.interval_effect[clbbb, QRS].abs() < 0.04  # of 0.8 / 7 = 0.11
    # Nor does such an error become the person's own.
    own = prior.own_intervals(wrong, facts, rates)
    assert own[shown[::7], QRS].max() < 0.45


def test_a_persons_own_interval_fades_with_what_the_condition_does_to_it(planted):
    prior, _, _, facts, rates, _, _ = planted
    clbbb = list(STATEMENTS).index("CLBBB")
    other = facts.clone()
    other[:, clbbb] = 1 - other[:, clbbb]
    own = torch.full((len(facts), 5), 0.1)
    assert torch.equal(prior.kept_intervals(own, facts, rates, facts, rates), own)
    kept = prior.kept_intervals(own, facts, rates, other, rates)
    assert torch.allclose(kept[:, 0], 0.1 * torch.tensor(-0.3 / 0.19).exp(), atol=0.005)
    assert kept[:, 1:].min() > 0.08


def test_a_residual_keeps_its_size_in_what_is_usual(planted):
    _, beats, intervals, facts, rates, bases, _ = planted
    lvh, aflt = (list(STATEMENTS).index(code) for code in ("LVH", "AFLT"))
    rng = torch.Generator().manual_seed(0)
    own = 0.1 * torch.randn(len(beats), 8, 1, generator=rng) * (1 + facts[:, lvh, None, None])
    waves = own * (torch.arange(BEAT) >= 55)  # T twice as different where LVH is shown
    noise = 0.02 * torch.randn(beats.shape, generator=rng)
    whole = torch.nan_to_num(intervals, nan=5.0)
    prior = BeatPrior(16).fit(beats + timed(waves + noise, whole), intervals, facts, rates, bases)
    with_lvh, without = facts[:1].clone(), facts[:1].clone()
    with_lvh[:, lvh], without[:, lvh] = 1, 0
    one = torch.ones(1, 8, BEAT)
    larger = prior.rescaled(one, without, with_lvh)
    assert larger[..., 60:].mean().item() == pytest.approx(2, abs=0.3)
    assert larger[..., :45].mean().item() == pytest.approx(1, abs=0.15)
    assert torch.allclose(prior.rescaled(larger, with_lvh, without), one, atol=1e-5)
    assert torch.equal(prior.rescaled(one, without, without), one)
    without[:, aflt] = 1  # of which nothing is known
    assert torch.allclose(prior.rescaled(one, without, with_lvh), larger, atol=1e-5)


def test_the_prior_guesses_statements_as_probabilities(planted):
    prior, _, _, facts, _, bases, _ = planted
    guessed = prior.guessed(bases)[:, :N_STATEMENTS]
    assert guessed.min() >= 0
    assert guessed.max() <= 1
    wild = prior.guessed(100 * torch.randn(50, 16, generator=torch.Generator().manual_seed(0)))
    assert wild[:, :N_STATEMENTS].min() >= 0
    assert wild[:, :N_STATEMENTS].max() <= 1
    known = [list(STATEMENTS).index(code) for code in ("CLBBB", "LVH")]
    assert ((guessed[:, known] > 0.5) == (facts[:, known] > 0.5)).float().mean() > 0.97
    other = list(STATEMENTS).index("AFIB")
    assert (guessed[:, other] - 0.5).abs().mean() < 0.1  # a coin that nothing tells about
    assert torch.allclose(prior.usual, facts.mean(dim=0), atol=1e-5)


def test_what_is_not_known_is_as_usual(planted):
    prior = planted[0]
    facts = facts_of(encode_conditions([Condition(statements="LVH")])).repeat(3, 1)
    assert facts[:, AGE:].isnan().all()
    factors = prior.factors(facts, torch.tensor([float("nan"), 72.0, 0.0]))
    assert torch.equal(factors[0], factors[1])
    assert torch.equal(factors[:, AGE : AGE + 2], prior.usual[None, AGE:].expand(3, -1))
    assert torch.isfinite(factors).all()


def test_a_beat_comes_back_from_the_common_clock():
    wave = torch.exp(-((torch.arange(BEAT) - torch.tensor([[18.0], [35.0], [60.0]])) ** 2) / 8).sum(dim=0)
    beats = wave.expand(2, 8, -1)
    intervals = torch.tensor([MS, (220.0, 120.0, 60.0, 130.0, 450.0)]).log()
    back = timed(registered(beats, intervals), intervals)
    assert (back - beats)[..., 5:].abs().max() < 0.03
    # P, R and T of another timing lie where that has them.
    moved = timed(registered(beats, intervals[:1].expand(2, -1)), intervals)[1, 0]
    assert moved[:25].argmax() < 18
    assert moved[30:40].argmax() == 5
    assert 40 + moved[40:].argmax() > 63


def test_a_residual_fades_to_where_no_beat_has_a_sample(planted):
    prior = planted[0]
    facts, rates = facts_of(encode_conditions([Condition(statements="LVH")])), torch.tensor([150.0])
    beats = torch.ones(1, 8, BEAT)
    beats[..., :20] = beats[..., 60:] = 0  # a fast heart's next beat
    found = prior.residuals(beats, torch.tensor([MS]).log(), facts, rates)
    assert not found[..., :10].any()
    assert not found[..., 80:].any()
    assert found[..., 35:50].abs().min() > 0
    steps = (found + prior(facts, rates)).diff(dim=-1).abs().max()
    assert steps < prior(facts, rates).diff(dim=-1).abs().max() + 0.3


@pytest.mark.parametrize("scale", [-50.0, -1.0, 0.0, 1.0, 50.0])
def test_landmarks_rise_whatever_the_intervals(scale):
    wild = scale * torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
    places = landmarks(torch.tensor(MS).log() + wild)
    assert torch.isfinite(places).all()
    assert (places.diff(dim=1) > 0).all()
    assert torch.equal(places[:, 4], torch.full((500,), 35.0))
