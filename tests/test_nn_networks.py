"""Autoencoder, extractor and denoiser: shapes, sizes, and what they do not look at."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.conditions import STATEMENTS, Condition
from ecgtwin.diffusion import guided
from ecgtwin.leads import independent_leads
from ecgtwin.nn import (
    ARCHITECTURES,
    Architecture,
    Conditioning,
    Denoiser,
    PatchAutoencoder,
    TwinNetworks,
    encode_conditions,
    statement_matrix,
)
from ecgtwin.nn import denoiser as nn_denoiser
from ecgtwin.nn import prior as nn_prior
from ecgtwin.nn.peaks import N_CHANNELS, beat_offsets, mean_rates, peaks_at, rhythm_channels
from ecgtwin.nn.prior import N_FACTS
from ecgtwin.rhythm import BEAT


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


def test_networks_stay_on_their_device():
    """A device without numbers stands in for CUDA: an operation that mixes it with the CPU raises."""
    networks = TwinNetworks(ARCHITECTURES["tiny"]).to("meta")
    width, persons = networks.architecture.latent_dim, torch.ones(2, dtype=torch.bool, device="meta")
    conditions = encode_conditions([Condition.parse("PVC", age=50), Condition.parse("AFIB, LVH")]).to("meta")
    what = Conditioning.plain(
        conditions,
        torch.zeros(2, networks.architecture.base_dim),
        torch.zeros(2, 8, BEAT),
        torch.zeros(2, N_FACTS),
        torch.zeros(2),
        torch.zeros(2, 5),
        torch.zeros(2, 1000, dtype=torch.int16),
        torch.zeros(2, N_CHANNELS, 100),
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
