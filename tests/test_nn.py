import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.conditions import Condition
from ecgtwin.leads import independent_leads
from ecgtwin.nn import (
    ARCHITECTURES,
    Architecture,
    Denoiser,
    PatchAutoencoder,
    TwinNetworks,
    encode_conditions,
)


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


def test_extractor_gives_unit_vectors_for_any_length(networks):
    present = torch.ones(3, 12, dtype=torch.bool)
    for length in (250, 512, 1000):
        vectors = networks.extractor(
            torch.randn(3, 12, length), present, encode_conditions([Condition()] * 3)
        )
        assert vectors.shape == (3, 16)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


def test_a_missing_lead_is_not_looked_at(networks):
    x = torch.randn(1, 12, 500)
    present = torch.ones(1, 12, dtype=torch.bool)
    present[0, 7] = False
    other = x.clone()
    other[0, 7] = 99.0
    none = encode_conditions([Condition()])
    assert torch.equal(networks.extractor(x, present, none), networks.extractor(other, present, none))


def test_batches_with_more_statements_change_no_row(networks):
    """Empty statement tokens are masked, so a row does not feel its neighbours' reports."""
    x, present = torch.randn(2, 12, 500), torch.ones(2, 12, dtype=torch.bool)
    short = encode_conditions([Condition(statements="PVC")])
    long = encode_conditions([Condition(statements="PVC"), Condition(statements=["AFIB", "LVH", "CLBBB"])])
    alone = networks.extractor(x[:1], present[:1], short)
    together = networks.extractor(x, present, long)
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_untrained_denoiser_is_the_best_linear_guess():
    """With the network's own output still zero, the prediction is the Wiener filter of the spread."""
    denoiser = Denoiser(ARCHITECTURES["tiny"]).eval()
    denoiser.spread.copy_(torch.linspace(2, 0.2, 24))
    x, t = torch.randn(2, 24, 20), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        denoiser.leave[-1].bias.zero_()
        guess = denoiser(
            x, t, torch.zeros(2, 16), torch.tensor([False, True]), encode_conditions([Condition()] * 2)
        )
    variance = denoiser.spread[:, None] ** 2
    wiener = t[:, None, None] * variance / (t[:, None, None] ** 2 * variance + (1 - t[:, None, None]) ** 2)
    assert torch.allclose(guess, wiener * x, atol=1e-5)


def test_every_part_of_the_condition_reaches_the_denoiser(tiny):
    denoiser = tiny.networks_.denoiser
    x, t, base = torch.randn(1, 24, 20), torch.tensor([0.5]), torch.nn.functional.normalize(torch.ones(1, 16))

    def predict(condition, person=True):
        with torch.no_grad():
            return denoiser(x, t, base, torch.tensor([person]), encode_conditions([condition]))

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
