import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.conditions import STATEMENTS, Condition
from ecgtwin.diffusion import guided, row_seeds, row_uniforms
from ecgtwin.leads import independent_leads
from ecgtwin.nn import (
    ARCHITECTURES,
    N_STATEMENTS,
    Architecture,
    BeatPrior,
    Conditioning,
    Denoiser,
    PatchAutoencoder,
    RhythmModel,
    TwinNetworks,
    encode_conditions,
    facts_of,
    statement_matrix,
)
from ecgtwin.nn import denoiser as nn_denoiser
from ecgtwin.nn import prior as nn_prior
from ecgtwin.nn.conditioning import carried_residuals, of_a_beat, of_waves
from ecgtwin.nn.peaks import N_CHANNELS, as_peaks, beat_offsets, mean_rates, peaks_at, rhythm_channels
from ecgtwin.nn.prior import N_FACTORS, N_FACTS, N_PACING, replay
from ecgtwin.nn.registration import INTERVALS, landmarks, registered, timed
from ecgtwin.nn.transfer import Transfer
from ecgtwin.rhythm import BEAT, BEFORE

YES, NO = torch.tensor([True]), torch.tensor([False])
MS = (160.0, 105.0, 40.0, 95.0, 380.0)
AGE = N_STATEMENTS  # its place among facts
QRS = INTERVALS.index("qrs")


@pytest.fixture(scope="module")
def networks():
    return TwinNetworks(ARCHITECTURES["tiny"])


def test_default_networks_fit_in_twelve_megabytes_of_float16():
    networks = TwinNetworks(ARCHITECTURES["default"])
    assert 2 * sum(value.numel() for value in networks.state_dict().values()) < 12e6


def test_autoencoder_with_all_coefficients_is_exact(ecgs):
    leads = independent_leads(ecgs.signals)
    autoencoder = PatchAutoencoder(10, 80).fit(leads)
    x = torch.from_numpy(leads)
    assert torch.allclose(autoencoder.decode(autoencoder.encode(x)), x, atol=1e-4)


def test_autoencoder_orders_its_coefficients_by_variance(ecgs):
    leads = independent_leads(ecgs.signals)
    autoencoder = PatchAutoencoder(10, 24).fit(leads)
    latents = autoencoder.encode(torch.from_numpy(leads))
    deviation = latents.square().mean(dim=(0, 2)).sqrt()
    assert torch.allclose(deviation, autoencoder.spread, rtol=1e-3)
    assert (deviation.diff() <= 1e-5).all()
    assert deviation.square().mean().item() == pytest.approx(1, rel=1e-3)


@given(st.integers(1, 30).map(lambda half: 2 * half))
@settings(deadline=None, max_examples=15)
def test_lapped_transform_keeps_energy(patch):
    autoencoder = PatchAutoencoder(patch, 8 * patch)
    x = torch.randn(2, 8, 7 * patch, generator=torch.Generator().manual_seed(0))
    latents = autoencoder.encode(x)
    assert latents.square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-4)


def beats_of(n, seed=0):
    """Random beats, intervals of which one is not known, and leads that are all there."""
    generator = torch.Generator().manual_seed(seed)
    intervals = torch.tensor([160.0, 105.0, 40.0, 95.0, 380.0]).log().repeat(n, 1)
    intervals[0, 0] = float("nan")
    return torch.randn(n, 8, BEAT, generator=generator), intervals, torch.ones(n, 8, dtype=torch.bool)


def test_extractor_gives_unit_vectors(networks):
    vectors = networks.extractor(*beats_of(3), encode_conditions([Condition()] * 3))
    assert vectors.shape == (3, 16)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


def test_a_missing_lead_is_not_looked_at(networks):
    beats, intervals, present = beats_of(1)
    present[0, 4] = False
    other = beats.clone()
    other[0, 4] = 99.0
    none = encode_conditions([Condition()])
    found = [networks.extractor(one, intervals, present, none) for one in (beats, other)]
    assert torch.equal(*found)


def test_batches_with_more_statements_change_no_row(networks):
    """Places of statements that others have and this recording has not are empty."""
    beats, intervals, present = beats_of(2)
    short = encode_conditions([Condition(statements="PVC")])
    long = encode_conditions([Condition(statements="PVC"), Condition(statements=["AFIB", "LVH", "CLBBB"])])
    alone = networks.extractor(beats[:1], intervals[:1], present[:1], short)
    together = networks.extractor(beats, intervals, present, long)
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_what_the_condition_explains_is_subtracted(networks):
    beats, intervals, present = beats_of(1)
    said = [
        networks.extractor(beats, intervals, present, encode_conditions([one]))
        for one in (Condition(), Condition("CLBBB"), Condition(age=60))
    ]
    assert not torch.allclose(said[0], said[1], atol=1e-4)
    assert torch.equal(said[0], said[2])  # age and sex last, and would tell persons apart by themselves


def untrained_transfer():
    transfer = Transfer(N_FACTS, 16)
    transfer.fit_components(torch.randn(200, 8, BEAT, generator=torch.Generator().manual_seed(0)))
    return transfer


def trained_transfer():
    transfer = untrained_transfer()
    torch.nn.init.normal_(transfer.read[-1].weight, generator=torch.Generator().manual_seed(0))
    return transfer


def facts(*codes):
    return facts_of(encode_conditions([Condition(codes, age=60, sex="F")]))


def test_an_untrained_transfer_changes_nothing():
    residuals = beats_of(1)[0]
    assert torch.equal(untrained_transfer()(residuals, facts("NORM"), facts("CLBBB")), residuals)


def test_under_the_same_condition_all_of_a_residual_remains():
    residuals, transfer = beats_of(1)[0], trained_transfer()
    assert torch.allclose(transfer(residuals, facts("LVH", "SR"), facts("LVH", "SR")), residuals)
    assert not torch.allclose(transfer(residuals, facts("LVH", "SR"), facts("NORM", "SR")), residuals)


def test_nothing_is_made_up_of_leads_that_are_not_known():
    residuals = beats_of(1)[0]
    residuals[:, 3] = 0
    found = trained_transfer()(residuals, facts("NORM"), facts("CLBBB"))
    assert not found[:, 3].any()
    assert (found != residuals)[:, [0, 1, 2, 4]].any()


def test_components_of_residuals_have_unit_variance():
    rows = torch.randn(500, 8, BEAT, generator=torch.Generator().manual_seed(1)) * torch.linspace(3, 1, BEAT)
    transfer = Transfer(N_FACTS, 16)
    transfer.fit_components(rows)
    z = transfer.components(rows)
    assert torch.allclose(z.T @ z / len(z), torch.eye(z.shape[1]), atol=1e-2)


def test_untrained_denoiser_is_the_best_linear_guess():
    """With the network's own output still zero, the prediction is the Wiener filter of the spread."""
    denoiser = Denoiser(ARCHITECTURES["tiny"]).eval()
    denoiser.spread.copy_(torch.linspace(2, 0.2, 24))
    x, t = torch.randn(2, 24, 20), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        denoiser.leave[-1].bias.zero_()
        told = denoiser.tell(
            torch.zeros(2, 16),
            torch.tensor([False, True]),
            encode_conditions([Condition()] * 2),
            torch.randn(2, 24 + N_CHANNELS, 20),
        )
        guess = denoiser(x, t, told)
    variance = denoiser.spread[:, None] ** 2
    wiener = t[:, None, None] * variance / (t[:, None, None] ** 2 * variance + (1 - t[:, None, None]) ** 2)
    assert torch.allclose(guess, wiener * x, atol=1e-5)


def test_every_part_of_the_condition_reaches_the_denoiser(tiny):
    denoiser = tiny.networks_.denoiser
    x, t, base = torch.randn(1, 24, 20), torch.tensor([0.5]), torch.nn.functional.normalize(torch.ones(1, 16))

    context = torch.randn(1, 24 + N_CHANNELS, 20)

    def predict(condition, person=True, context=context):
        with torch.no_grad():
            told = denoiser.tell(base, torch.tensor([person]), encode_conditions([condition]), context)
            return denoiser(x, t, told)

    plain = predict(Condition())
    for changed in (
        Condition(statements="PVC"),
        Condition(age=20),
        Condition(sex="F"),
        Condition(heart_rate=40),
    ):
        assert not torch.allclose(predict(changed), plain, atol=1e-6)
    assert not torch.allclose(predict(Condition(), person=False), plain, atol=1e-6)
    assert not torch.allclose(predict(Condition(age=20)), predict(Condition(age=80)), atol=1e-6)
    for part in (slice(24), slice(24, None)):  # counterfactual beats, and rhythm
        changed = context.clone()
        changed[:, part] += 1
        assert not torch.allclose(predict(Condition(), context=changed), plain, atol=1e-6)


@pytest.mark.parametrize(
    "values", [{"patch": 9}, {"base_dim": 10**9}, {"heads": 0}, {"denoiser_widths": [16, 16]}, {"depth": 3}]
)
def test_impossible_architectures_are_refused(values):
    with pytest.raises(ValueError, match="architecture"):
        Architecture.from_dict(values)


def test_building_networks_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two = TwinNetworks(ARCHITECTURES["tiny"], seed=3), TwinNetworks(ARCHITECTURES["tiny"], seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_parts_agree_on_their_sizes():
    assert nn_prior.BEAT == BEAT
    assert nn_denoiser.N_CHANNELS == N_CHANNELS


def test_statements_as_zeros_and_ones():
    table = statement_matrix(encode_conditions([Condition(statements=["PVC", "AFIB"]), Condition()]))
    assert table.shape == (2, len(STATEMENTS))
    assert [code for code, there in zip(STATEMENTS, table[0], strict=True) if there] == [
        code for code in STATEMENTS if code in ("PVC", "AFIB")
    ]
    assert not table[1].any()


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


@pytest.fixture
def twin(tiny):
    """What a twin of a person in the own condition is given, and the person's registered beat."""
    prior = tiny.networks_.prior
    peaks = np.arange(40, 980, 83)
    rate = torch.tensor([60 / 0.83])
    conditions = encode_conditions([Condition(statements="CLBBB")])
    beat = torch.randn(1, 8, BEAT, generator=torch.Generator().manual_seed(0))
    own = torch.where(facts_of(conditions).isnan(), prior.usual, facts_of(conditions))
    given = Conditioning(
        conditions,
        torch.nn.functional.normalize(torch.ones(1, 16)),
        beat - prior(own, rate),
        own,
        rate,
        torch.tensor([MS]).log(),
        beat_offsets(as_peaks([peaks]), 1000),
        rhythm_channels(as_peaks([peaks]), 1000),
        torch.zeros(1, N_PACING),
        torch.zeros(1, N_STATEMENTS),
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


def test_networks_stay_on_their_device():
    """A device without numbers stands in for CUDA: an operation that mixes it with the CPU raises."""
    networks = TwinNetworks(ARCHITECTURES["tiny"]).to("meta")
    width, persons = networks.architecture.latent_dim, torch.ones(2, dtype=torch.bool, device="meta")
    conditions = encode_conditions([Condition.parse("PVC", age=50), Condition.parse("AFIB, LVH")]).to("meta")
    what = Conditioning(
        conditions,
        torch.zeros(2, networks.architecture.base_dim),
        torch.zeros(2, 8, BEAT),
        torch.zeros(2, N_FACTS),
        torch.zeros(2),
        torch.zeros(2, 5),
        torch.zeros(2, 1000, dtype=torch.int16),
        torch.zeros(2, N_CHANNELS, 100),
        torch.zeros(2, N_PACING),
        torch.zeros(2, N_STATEMENTS),
    ).to("meta")
    x, time = torch.zeros(2, width, 100, device="meta"), torch.zeros(2, device="meta")

    def denoise(x, time, condition, person, until):
        told = networks.tell(what.repeat(len(x) // 2), condition, person)
        return networks.denoiser(x, time, told, until)

    clean = guided(denoise, 3.0, 2.0)(x, time, time)
    rhythms = networks.rhythm.follow(conditions, time, torch.zeros(2, 5, device="meta"))
    leads = torch.ones(2, 8, dtype=torch.bool, device="meta")
    bases = networks.extractor(what.residuals, what.intervals, leads, conditions)
    found = [clean, rhythms, bases, networks.prior.guessed(bases), networks.autoencoder.decode(clean)]
    found += [networks.prior.residuals(what.residuals, what.intervals, what.own, time)]
    peaks = peaks_at(rhythms.cumsum(dim=1))
    found += [beat_offsets(peaks, 1000), rhythm_channels(peaks, 1000), mean_rates(peaks)]
    found += [networks.rhythm.likely_rate(conditions, time), what.conditions.keep(persons[:, None]).age]
    assert {one.device.type for one in found} == {"meta"}


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
