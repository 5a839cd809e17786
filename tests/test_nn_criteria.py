"""Statements that a measurement defines: hearts that meet their criteria, at the least change."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtwin import Condition, ECGTwinGenerator, load_example
from ecgtwin.conditions import STATEMENTS
from ecgtwin.delineation import delineate
from ecgtwin.given import by_definition, conditioning, draw_rhythms
from ecgtwin.leads import LEADS
from ecgtwin.metrics import RULES, meets
from ecgtwin.nn import N_STATEMENTS, encode_conditions, facts_of, open_facts
from ecgtwin.nn.criteria import CRITERIA, WAVES, Heart, nearest_that_meet
from ecgtwin.nn.peaks import as_peaks
from ecgtwin.nn.prior import N_HEART
from ecgtwin.nn.registration import CLOCK
from ecgtwin.recordings import Persons
from ecgtwin.rhythm import BEFORE, Beats
from ecgtwin.sampling import counterfactual_beats

N = 64


@pytest.fixture(scope="module")
def bundled():
    return ECGTwinGenerator.from_pretrained()


def hearts(prior, statements, n=N, seed=0):
    """Beats, intervals and rates of people who differ, under statements; and a table of these."""
    facts = facts_of(encode_conditions([Condition(statements, age=60, sex="M")] * n))
    normals = torch.randn(n, N_HEART, generator=torch.Generator().manual_seed(seed))
    residuals, own = prior.drawn(normals, open_facts(facts, prior.usual.expand(n, -1)))
    rates = torch.full((n,), 72.0)
    beats = prior(facts, rates) + residuals
    return beats, prior.intervals(facts, rates) + own, rates, facts[:, :N_STATEMENTS] > 0.5


def recorded(networks, statements):
    """The person of the example, said to be recorded with statements."""
    shown = Condition.parse(statements)
    return Persons.pooled(networks, [replace(load_example(), condition=shown)])


def lack(code, beats, intervals, rates):
    return CRITERIA[code].lack(Heart.of(beats, intervals, rates))


def test_each_criterion_is_that_of_a_rule():
    assert set(CRITERIA) <= set(RULES)
    assert list(CRITERIA)[-1] == "NORM"
    assert {one.wave for one in CRITERIA.values()} == {None, *WAVES}


@pytest.mark.parametrize("code", CRITERIA)
@torch.no_grad()
def test_hearts_that_miss_a_criterion_come_to_meet_it_and_others_stay(bundled, code):
    prior = bundled.networks_.prior
    beats, intervals, rates, shown = hearts(prior, (code, "SR"))
    before = lack(code, beats, intervals, rates)
    moved, new = nearest_that_meet(prior, beats, intervals, rates, shown)
    after = lack(code, beats + prior.transfer.residuals(moved), new, rates)
    met = before <= 1e-3
    assert 0 < met.sum() < N
    assert not moved[met].any()
    assert torch.equal(new[met], intervals[met])
    # Some have several edges, and are left between two of them.
    assert (after <= 0.02).float().mean() > 0.95


@torch.no_grad()
def test_a_heart_moves_no_farther_than_to_the_criterion(bundled):
    prior = bundled.networks_.prior
    beats, intervals, rates, shown = hearts(prior, ("LVH", "SR"))
    moved, new = nearest_that_meet(prior, beats, intervals, rates, shown)
    change = prior.transfer.residuals(moved)
    missed = moved.any(dim=1)
    assert torch.equal(new, intervals)
    # Of three criteria one is enough, so a shorter way can lead over another one of them.
    assert (lack("LVH", beats + 0.9 * change, intervals, rates)[missed] > 0).float().mean() > 0.8
    other = torch.randn(moved.shape, generator=torch.Generator().manual_seed(1))
    other *= (moved.norm(dim=1) / other.norm(dim=1))[:, None]
    elsewhere = beats + prior.transfer.residuals(other)
    assert (lack("LVH", elsewhere, intervals, rates)[missed] > 0).float().mean() > 0.9


@torch.no_grad()
def test_a_heart_does_not_depend_on_its_batch(bundled):
    prior = bundled.networks_.prior
    beats, intervals, rates, shown = hearts(prior, ("QWAVE", "LAFB", "SR"), 8)
    moved, new = nearest_that_meet(prior, beats, intervals, rates, shown)
    for row in range(8):
        one = slice(row, row + 1)
        alone = nearest_that_meet(prior, beats[one], intervals[one], rates[one], shown[one])
        assert torch.allclose(moved[one], alone[0], atol=1e-4)
        assert torch.allclose(new[one], alone[1], atol=1e-5)


@torch.no_grad()
def test_normal_is_judged_alone_and_contradictions_end(bundled):
    prior = bundled.networks_.prior
    both = hearts(prior, ("NORM", "LPFB", "SR"))
    alone = hearts(prior, ("NORM", "LPFB", "SR"))
    alone[3][:, STATEMENTS.index("NORM")] = False
    assert torch.equal(nearest_that_meet(prior, *both)[0], nearest_that_meet(prior, *alone)[0])
    moved, new = nearest_that_meet(prior, *hearts(prior, ("LPFB", "LAFB", "LVOLT", "LVH", "SR")))
    assert moved.isfinite().all()
    assert moved.norm(dim=1).max() < 8.01
    assert new.isfinite().all()


def test_a_heart_is_measured_as_recordings_are(bundled):
    ecg = load_example()
    native, _ = ecg.native()
    found, measured = Beats.of(native[None], [ecg.native_peaks]), delineate(native, 100.0)
    prior = bundled.networks_.prior
    person = Persons.pooled(bundled.networks_, [ecg])
    with torch.no_grad():
        beat = prior(person.own, person.rates) + person.residuals
        heart = Heart.of(beat, torch.from_numpy(found.intervals), person.rates)
    for i, lead in enumerate(ecg.leads):
        # A mean of beats at 100 Hz is a little lower than their median at 500 Hz.
        assert float(heart.r(lead)) == pytest.approx(measured.r_mv[i], abs=0.05, rel=0.2)
        deepest = -min(measured.q_mv[i], measured.s_mv[i])
        assert float(heart.s(lead)) == pytest.approx(deepest, abs=0.05, rel=0.2)
        assert float(heart.st(lead)) == pytest.approx(measured.st_mv[i], abs=0.05)
    axis = torch.atan2(heart.mean_qrs("aVF") * 2 / 3**0.5, heart.mean_qrs("I")).rad2deg()
    assert float(axis) == pytest.approx(measured.axis, abs=8)
    assert float(heart.beyond(measured.axis)) == pytest.approx(0, abs=0.05)
    assert 100 * float(heart.seen_pr()) == pytest.approx(measured.pr_ms, abs=16)


def test_twins_show_what_a_measurement_defines(bundled):
    reference = load_example()
    for code in ("LPFB", "LAFB", "LVOLT", "RVH", "1AVB", "VCLVH", "CLBBB", "STD_", "INVT", "RAO/RAE"):
        twins = bundled.sample(reference, f"{code}, SR", n_samples=8, random_state=0)
        assert meets(twins, code, reference.sampling_rate).mean() >= 0.75, code


def test_under_a_left_bundle_branch_block_t_is_opposite_to_qrs_and_no_q_is_left(bundled):
    reference = load_example()
    twins = bundled.sample(reference, "CLBBB, SR", n_samples=8, random_state=0)
    measured = [delineate(twin, reference.sampling_rate) for twin in twins]
    t, q = (np.array([getattr(one, wave) for one in measured]) for wave in ("t_mv", "q_mv"))
    lateral = [LEADS.index("I"), LEADS.index("V6")]
    assert (t[:, lateral] < 0).mean() > 0.8
    assert (t[:, LEADS.index("V1")] > 0).all()
    assert (q[:, lateral] > -0.05).mean() > 0.8


@torch.no_grad()
def test_t_is_opposite_to_qrs_where_qrs_is_upright(bundled):
    """Beside an axis to the right QRS in I is below zero, and T need not be."""
    prior = bundled.networks_.prior
    beats, intervals, rates, shown = hearts(prior, ("CLBBB", "SR"))
    turned = beats.clone()
    turned[:, 0] *= -1
    for one, judged in ((beats, True), (turned, False)):
        moved, new = nearest_that_meet(prior, one, intervals, rates, shown)
        heart = Heart.of(one + prior.transfer.residuals(moved), new, rates)
        t = heart.lead("I", slice(CLOCK[5] + 6, CLOCK[6])).mean(dim=1)
        assert bool((t < 0).float().mean() > 0.9) == judged


@torch.no_grad()
def test_what_was_there_before_and_pacemakers_are_not_judged(bundled):
    networks = bundled.networks_
    person = recorded(networks, "LVOLT, SR")
    drawn = draw_rhythms(networks, person, [Condition.parse("LVOLT, SR")], [(0, 0)])
    assert not drawn.towards.any()
    assert not drawn.defined.any()
    drawn = draw_rhythms(networks, person, [Condition.parse("LPFB, SR")], [(0, 0)])
    assert drawn.towards.any()
    assert drawn.defined.tolist() == [[False, True, False]]
    drawn = draw_rhythms(networks, person, [Condition.parse("LPFB, PACE")], [(0, 0)])
    assert not drawn.towards.any()
    assert not drawn.defined.any()


@torch.no_grad()
def test_an_axis_is_that_of_a_vector_that_is_there(bundled):
    """People with an axis far to the left, asked for one to the right."""
    prior = bundled.networks_.prior
    beats, intervals, rates, _ = hearts(prior, ("LAFB", "SR"))
    shown = torch.zeros(N, N_STATEMENTS, dtype=torch.bool)
    shown[:, STATEMENTS.index("LPFB")] = True
    moved, new = nearest_that_meet(prior, beats, intervals, rates, shown)
    heart = Heart.of(beats + prior.transfer.residuals(moved), new, rates)
    assert (torch.hypot(heart.mean_qrs("I"), heart.mean_qrs("aVF")) > 0.03).all()


@torch.no_grad()
def test_a_rate_that_is_not_known_counts_as_usual(bundled):
    prior = bundled.networks_.prior
    beats, intervals, rates, shown = hearts(prior, ("LNGQT", "SR"), 8)
    rates[:2] = torch.nan
    for found in nearest_that_meet(prior, beats, intervals, rates, shown):
        assert found.isfinite().all()


@torch.no_grad()
def test_what_comes_along_has_no_criterion(bundled):
    networks = bundled.networks_
    drawn = draw_rhythms(
        networks, recorded(networks, "NORM, SR"), [Condition("LOWT")], [(0, 0)]
    )  # half of these are STD_ too
    assert drawn.company.any()
    assert not drawn.towards.any()


@torch.no_grad()
def test_where_leads_are_missing_the_flow_has_its_share(bundled):
    networks, settings = bundled.networks_, bundled.sampling_
    for leads, least in ((None, 1.0), (["I", "II"], settings["counterfactual_share"])):
        ecg = load_example() if leads is None else load_example().select(leads)
        drawn = draw_rhythms(networks, Persons.pooled(networks, [ecg]), [Condition("LVOLT")], [(0, 0)])
        _, shares = counterfactual_beats(networks, drawn, settings)
        assert float(shares[0, 0, BEFORE]) == pytest.approx(least)


@torch.no_grad()
def test_statements_that_are_left_out_have_no_criterion(bundled):
    networks, ecg = bundled.networks_, load_example()
    person = recorded(networks, "NORM, SR")
    sides = encode_conditions([Condition.parse("LPFB, IMI, SR"), Condition.parse("IMI, SR")])
    peaks = as_peaks([ecg.native_peaks] * 2)
    given = conditioning(networks.prior, person.repeat(2), sides, peaks)
    assert not given.towards.any()
    given = by_definition(networks.prior, given, person.shown)
    assert given.towards[0].any()
    assert not given.towards[1].any()
