"""Counterfactual beats, and all that the flow is given."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtwin.conditions import Condition
from ecgtwin.nn import Conditioning, encode_conditions, facts_of
from ecgtwin.nn.conditioning import carried_residuals, of_a_beat, of_waves
from ecgtwin.nn.peaks import N_CHANNELS, as_peaks, beat_offsets, rhythm_channels
from ecgtwin.nn.prior import N_FACTS, N_PACING, replay
from ecgtwin.nn.registration import timed
from ecgtwin.rhythm import BEAT, BEFORE

YES, NO = torch.tensor([True]), torch.tensor([False])
MS = (160.0, 105.0, 40.0, 95.0, 380.0)


def test_replay_puts_r_at_r():
    beats = torch.randn(2, 8, BEAT, generator=torch.Generator().manual_seed(0))
    peaks = np.array([50, 180, 420])
    offsets = beat_offsets(as_peaks([peaks, peaks + 7]), 1000)
    played = replay(beats, offsets)
    assert played.shape == (2, 8, 1000)
    for row, shift in enumerate((0, 7)):
        for peak in peaks + shift:
            assert torch.equal(played[row, :, peak], beats[row, :, BEFORE])
        start = 180 + shift - BEFORE
        assert torch.equal(played[row, :, start : start + BEAT], beats[row])
        assert not played[row, :, 420 + shift + BEAT - BEFORE :].any()


@pytest.fixture
def twin(tiny):
    """What a twin of a person in the own condition is given, and the person's registered beat."""
    prior = tiny.networks_.prior
    peaks = np.arange(40, 980, 83)
    rate = torch.tensor([60 / 0.83])
    conditions = encode_conditions([Condition(statements="CLBBB")])
    beat = torch.randn(1, 8, BEAT, generator=torch.Generator().manual_seed(0))
    own = torch.where(facts_of(conditions).isnan(), prior.usual, facts_of(conditions))
    given = Conditioning.plain(
        conditions,
        torch.nn.functional.normalize(torch.ones(1, 16)),
        beat - prior(own, rate),
        own,
        rate,
        torch.tensor([MS]).log(),
        beat_offsets(as_peaks([peaks]), 1000),
        rhythm_channels(as_peaks([peaks]), 1000),
    )
    return given, beat


def context(tiny, given, conditions, person):
    told = replace(given, conditions=conditions)
    return told.context(tiny.networks_.autoencoder, tiny.networks_.prior, person)


def test_a_person_under_the_own_condition_has_the_own_beat(tiny, twin):
    given, beat = twin
    found = context(tiny, given, given.conditions, YES)
    expected = tiny.networks_.autoencoder.encode(replay(timed(beat, given.intervals), given.offsets))
    assert found.shape == (1, 24 + N_CHANNELS, 100)
    assert torch.allclose(found[:, :24], expected, atol=1e-5)
    assert torch.equal(found[:, 24:], given.rhythm)


def test_another_condition_changes_the_beat_by_its_effect(tiny, twin):
    given, beat = twin
    other = encode_conditions([Condition(statements="NORM")])
    prior = tiny.networks_.prior
    asked = torch.where(facts_of(other).isnan(), given.own, facts_of(other))
    kept = of_waves(prior.rescaled(given.residuals, given.own, asked), given.own, asked)
    change = prior.transfer(kept, given.own, asked) - given.residuals
    difference = prior(asked, given.rates) - prior(given.own, given.rates) + change
    beats = timed(beat + difference, given.intervals)
    expected = tiny.networks_.autoencoder.encode(replay(beats, given.offsets))
    assert difference.abs().max() > 0.01
    assert torch.allclose(context(tiny, given, other, YES)[:, :24], expected, atol=1e-5)


def test_without_a_person_nothing_of_the_person_is_told(tiny, twin):
    given, _ = twin
    changed = replace(given, residuals=torch.randn(1, 8, BEAT), own=torch.rand(1, N_FACTS))
    for conditions in (given.conditions, encode_conditions([Condition()])):
        plain = context(tiny, given, conditions, NO)
        assert torch.equal(context(tiny, changed, conditions, NO), plain)
        assert not torch.allclose(context(tiny, changed, conditions, YES), plain, atol=1e-3)
    beats = tiny.networks_.prior(tiny.networks_.prior.usual[None], given.rates)
    expected = tiny.networks_.autoencoder.encode(replay(timed(beats, given.intervals), given.offsets))
    assert torch.allclose(plain[:, :24], expected, atol=1e-5)


def test_a_condition_left_open_keeps_the_persons_own(tiny, twin):
    given, _ = twin
    for opened in (Condition(), Condition(heart_rate=90)):
        found = context(tiny, given, encode_conditions([opened]), YES)
        assert torch.equal(found, context(tiny, given, given.conditions, YES))


def test_rows_of_conditioning_stay_together(tiny, twin):
    given, _ = twin
    three = given.repeat(3)
    assert len(three) == 3
    changed = replace(three, residuals=three.residuals * torch.tensor([1.0, 2, 3])[:, None, None])
    for row in (slice(1, 2), torch.tensor([1])):
        one = changed[row]
        assert torch.equal(one.residuals, 2 * given.residuals)
        alone = context(tiny, one, one.conditions, YES)
        together = context(tiny, changed, changed.conditions, torch.tensor([True] * 3))
        assert torch.allclose(alone[0], together[1], atol=1e-5)


@pytest.mark.parametrize(("statement", "kept"), [("AFIB", False), ("AFLT", False), ("SR", True)])
def test_a_p_wave_of_the_person_is_kept_only_where_atria_make_one(tiny, twin, statement, kept):
    given, _ = twin
    asked = encode_conditions([Condition(statements=statement)])
    p_wave, qrs = torch.zeros(2, 1, 8, BEAT)
    p_wave[..., 12:25], qrs[..., 36:44] = 0.2, 1.0

    def told(residuals):
        return context(tiny, replace(given, residuals=residuals), asked, YES)

    assert torch.equal(told(p_wave), told(torch.zeros_like(p_wave))) is not kept
    assert not torch.equal(told(qrs), told(torch.zeros_like(qrs)))


def test_a_pacemakers_beat_has_little_of_the_persons_own_conduction(tiny, twin):
    given, _ = twin
    paced = encode_conditions([Condition(statements="PACE")])
    facts = torch.where(facts_of(paced).isnan(), given.own, facts_of(paced))

    def carry(residuals, own, asked):
        return carried_residuals(tiny.networks_.prior, residuals, own, asked, given.pacing)

    carried = carry(given.residuals, given.own, facts)
    assert torch.allclose(carried, 0.3 * given.residuals)
    assert torch.equal(carry(carried, facts, given.own), 0.3 * carried)
    # Paced before and after, all of it stays.
    assert torch.allclose(carry(carried, facts, facts), carried, atol=1e-6)


@pytest.mark.parametrize(
    ("was", "asked", "left"), [("SR", "1AVB", 0.3), ("SR", "SR", 1.0), ("SR", "PACE", 1.0)]
)
def test_between_waves_little_of_a_residual_is_shown_under_another_condition(was, asked, left):
    own, asked = (facts_of(encode_conditions([Condition(statements=code)])) for code in (was, asked))
    ones = torch.ones(1, 8, BEAT)
    silent, wave = [3, 28], [15, 22, 33, 60, BEAT - 1]  # before P and after it; within waves, and later
    kept = of_waves(ones, own, asked)
    assert torch.allclose(kept[..., silent], torch.tensor(left))
    assert torch.equal(kept[..., wave], ones[..., wave])


def test_what_is_not_told_the_networks_do_not_hear(tiny, twin):
    given, _ = twin
    x, time = torch.randn(1, 24, 100), torch.tensor([0.4])
    other = replace(
        given,
        conditions=encode_conditions([Condition(statements="AFIB", age=30, heart_rate=150)]),
        bases=-given.bases,
        residuals=-given.residuals,
        own=1 - given.own,
    )
    with torch.no_grad():

        def denoise(of, condition, person):
            return tiny.networks_.denoiser(x, time, tiny.networks_.tell(of, condition, person))

        assert torch.equal(denoise(given, NO, NO), denoise(other, NO, NO))
        same_person = replace(other, bases=given.bases, residuals=given.residuals, own=given.own)
        assert torch.equal(denoise(given, NO, YES), denoise(same_person, NO, YES))
        same_condition = replace(other, conditions=given.conditions)
        assert torch.equal(denoise(given, YES, NO), denoise(same_condition, YES, NO))
        assert not torch.allclose(denoise(given, YES, YES), denoise(same_person, YES, YES), atol=1e-4)
        assert not torch.allclose(denoise(given, YES, YES), denoise(same_condition, YES, YES), atol=1e-4)


def test_a_new_pacemaker_paces_where_it_is_drawn(tiny, twin):
    given, _ = twin  # a person without one
    prior = copy.deepcopy(tiny.networks_.prior)
    generator = torch.Generator().manual_seed(0)
    sites = torch.randn(500, 3, generator=generator) @ torch.randn(3, 8 * BEAT, generator=generator)
    prior.fit_pacing(sites.unflatten(1, (8, BEAT)))
    drawn = prior.paced_anew(torch.randn(4000, N_PACING, generator=generator)).flatten(1)
    assert torch.allclose(drawn.var(dim=0), sites.var(dim=0), rtol=0.2)
    assert torch.equal(prior.fit_pacing(torch.ones(1, 8, BEAT)).pacing, torch.zeros(N_PACING, 8 * BEAT))
    prior.fit_pacing(sites.unflatten(1, (8, BEAT)))

    def beats(told, *, pacing, own=given.own):
        conditions = encode_conditions([Condition.parse(told)])
        return replace(given, conditions=conditions, pacing=pacing, own=own).beats(prior, YES)

    here, there = torch.zeros(1, N_PACING), torch.ones(1, N_PACING)
    site = timed(prior.paced_anew(there), given.intervals)
    assert torch.allclose(beats("PACE", pacing=there) - beats("PACE", pacing=here), site, atol=1e-4)
    # Not where none is asked for, and not of who has one.
    assert torch.equal(beats("LVH", pacing=there), beats("LVH", pacing=here))
    paced = facts_of(encode_conditions([Condition.parse("PACE, 60 y, F")]))
    assert torch.equal(beats("PACE", pacing=there, own=paced), beats("PACE", pacing=here, own=paced))


def test_when_the_heart_beats_does_not_change_what_a_residual_is(tiny, twin):
    given, _ = twin
    prior = copy.deepcopy(tiny.networks_.prior)
    torch.nn.init.normal_(prior.transfer.read[-1].weight, generator=torch.Generator().manual_seed(0))

    def carried(own, asked):
        own, asked = (
            facts_of(encode_conditions([Condition.parse(f"{one}, 60 y, F")])) for one in (own, asked)
        )
        return prior.transfer(given.residuals, of_a_beat(own), of_a_beat(asked))

    for asked in ("SR", "SARRH", "STACH, PVC", "SBRAD, BIGU"):
        assert torch.equal(carried("SR", asked), given.residuals)
    for asked in ("AFIB", "LVH, SR", "AFIB, PVC"):
        assert not torch.allclose(carried("SR", asked), given.residuals, atol=1e-2)
