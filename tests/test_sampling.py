"""What a twin's flow is given: the person, and a rhythm of the twin's own."""

import numpy as np
import pytest
import torch

from ecgtwin import ECG
from ecgtwin.conditions import Condition
from ecgtwin.diffusion import row_seeds
from ecgtwin.nn import encode_conditions, statement_matrix
from ecgtwin.recordings import Persons
from ecgtwin.rhythm import BEFORE, Beats
from ecgtwin.sampling import draw_rhythms

EVERY = {"person_scale": 1.0}
ALL = np.ones((1, 12), dtype=bool)


def persons(tiny, ecgs, n=3):
    return Persons.of(tiny.networks_, ecgs.signals[:n], np.repeat(ALL, n, axis=0), ecgs.conditions[:n])


def test_expected_beat_and_residual_are_the_persons_beat(tiny, ecgs):
    found = persons(tiny, ecgs)
    beats = Beats.of(ecgs.signals[:3])
    assert torch.equal(found.own, statement_matrix(encode_conditions(ecgs.conditions[:3])))
    assert np.array_equal(found.rates.numpy(), beats.rates)
    expected = tiny.networks_.prior(found.own, found.rates)
    np.testing.assert_allclose((expected + found.residuals).numpy(), beats.typical, atol=1e-5)


def test_statements_that_were_not_told_are_guessed(tiny, ecgs):
    found = Persons.of(tiny.networks_, ecgs.signals[:1], ALL, [Condition()])
    assert torch.equal(found.own, tiny.networks_.prior.guessed(found.bases))
    assert found.own.min() >= 0
    assert found.own.max() <= 1


def test_nothing_is_known_of_leads_that_are_missing(tiny, ecgs):
    present = np.arange(12)[None] == 1
    found = Persons.of(tiny.networks_, ecgs.signals[:1] * present[..., None], present, ecgs.conditions[:1])
    assert found.residuals[0, 1].any()
    assert not found.residuals[0, [0, 2, 3, 4, 5, 6, 7]].any()


def test_a_recording_without_beats_tells_no_residual(tiny):
    found = Persons.of(tiny.networks_, np.zeros((1, 12, 1000), dtype=np.float32), ALL, [Condition()])
    assert found.rates.isnan().all()
    assert not found.residuals.any()


def test_several_recordings_are_pooled_lead_by_lead(tiny, ecgs):
    networks = tiny.networks_
    one = ECG(ecgs.signals[0], condition=ecgs.conditions[0])
    two = ECG(ecgs.signals[1], condition=ecgs.conditions[1])
    limb = two.select(["I", "II"])
    whole = [Persons.pooled(networks, [ecg]) for ecg in (one, two)]
    pooled = Persons.pooled(networks, [one, two])
    assert torch.allclose(pooled.residuals, (whole[0].residuals + whole[1].residuals) / 2, atol=1e-6)
    assert pooled.rates.item() == pytest.approx((whole[0].rates + whole[1].rates).item() / 2)
    assert pooled.bases.norm().item() == pytest.approx(1, abs=1e-5)
    mixed = Persons.pooled(networks, [one, limb])
    assert torch.allclose(mixed.residuals[:, 2:], whole[0].residuals[:, 2:], atol=1e-6)
    assert not torch.allclose(mixed.residuals[:, :2], whole[0].residuals[:, :2], atol=1e-6)


def test_nobody_is_as_people_usually_are(tiny):
    nobody = Persons.pooled(tiny.networks_, [])
    assert torch.equal(nobody.own[0], tiny.networks_.prior.usual)
    assert not nobody.residuals.any()
    assert nobody.rates.isnan().all()
    many = nobody.repeat(4)
    assert len(many.rates) == len(many.bases) == 4
    assert len(many[1:3].own) == 2


def test_rhythms_have_the_rates_asked_for(tiny, ecgs):
    rates = [45.0, 80.0, 150.0]
    asked = [Condition(statements="AFIB", heart_rate=rate) for rate in rates]
    given = draw_rhythms(tiny.networks_, persons(tiny, ecgs), asked, row_seeds(0, 3), EVERY)
    np.testing.assert_allclose(given.rates.numpy(), rates, rtol=0.01)
    assert given.offsets.shape == (3, 1000)
    peaks = (given.offsets == BEFORE).sum(dim=1).numpy()
    assert np.all(np.abs(peaks - np.array(rates) / 6) < 2.5)
    # Channels and places are of the same rhythm.
    for row in range(3):
        near = given.rhythm[row, :10].T.flatten()
        assert torch.equal(near > 0.99, given.offsets[row] == BEFORE)


def test_the_rhythm_of_a_twin_is_its_own(tiny, ecgs):
    everyone, seeds = persons(tiny, ecgs), row_seeds(4, 3)
    asked = [Condition(heart_rate=200), Condition(), Condition(heart_rate=35)]
    together = draw_rhythms(tiny.networks_, everyone, asked, seeds, EVERY)
    for row in range(3):
        rows = slice(row, row + 1)
        alone = draw_rhythms(tiny.networks_, everyone[rows], asked[rows], seeds[rows], EVERY)
        assert torch.equal(alone.offsets[0], together.offsets[row])
    other = draw_rhythms(tiny.networks_, everyone, asked, row_seeds(5, 3), EVERY)
    assert not torch.equal(other.offsets, together.offsets)


def test_without_a_person_the_own_rate_is_not_told(tiny, ecgs):
    slow = persons(tiny, ecgs, 1)
    fast = Persons(slow.bases, slow.residuals, slow.own, slow.rates * 3)
    nobody = {"person_scale": 0.0}
    asked, seeds = [Condition()], row_seeds(0, 1)
    one, other = (draw_rhythms(tiny.networks_, p, asked, seeds, nobody) for p in (slow, fast))
    assert torch.equal(one.offsets, other.offsets)
