import numpy as np
import pytest
import torch

from ecgtwin.diffusion import (
    denoising_loss,
    dpm_solver,
    euler,
    guided,
    heun,
    row_electrodes,
    row_noise,
    row_seeds,
    row_uniforms,
    shortcut,
    time_grid,
)

SPREAD = torch.tensor([2.0, 0.5])[:, None]


def gaussian_denoiser(x, time):
    """The exact denoiser of independent Gaussian data with deviations SPREAD."""
    t = time[:, None, None]
    return t * SPREAD**2 / (t**2 * SPREAD**2 + (1 - t) ** 2) * x


@pytest.mark.parametrize(("sampler", "steps"), [(euler, 200), (heun, 30), (dpm_solver, 30)])
def test_samplers_turn_noise_into_the_data_distribution(sampler, steps):
    noise = row_noise(row_seeds(0, 2000), (2, 3))
    data = sampler(gaussian_denoiser, noise, time_grid(steps))
    assert torch.allclose(data.std(dim=(0, 2)), SPREAD[:, 0], rtol=0.05)


def test_second_order_needs_fewer_evaluations():
    noise = row_noise(row_seeds(0, 64), (2, 3))
    exact = heun(gaussian_denoiser, noise, time_grid(400))

    def error(sampler, n_steps):
        return (sampler(gaussian_denoiser, noise, time_grid(n_steps)) - exact).abs().mean()

    assert error(heun, 8) < error(euler, 16)
    assert error(dpm_solver, 16) < 0.3 * error(euler, 16)


def exact_step(x, time, until):
    """What Euler's method needs to land exactly: the flow of Gaussian data keeps each number's quantile."""
    t, then = time[:, None, None], until[:, None, None]
    deviation = (t**2 * SPREAD**2 + (1 - t) ** 2).sqrt()
    landed = (then**2 * SPREAD**2 + (1 - then) ** 2).sqrt() / deviation * x
    return x + (landed - x) * (1 - t) / (then - t)


@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_a_network_that_knows_how_far_a_step_reaches_needs_few(n_steps):
    noise = row_noise(row_seeds(0, 64), (2, 3))
    assert torch.allclose(shortcut(exact_step, noise, time_grid(n_steps)), SPREAD * noise, rtol=1e-4)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 16, 1000])
def test_times_run_from_noise_to_data(n_steps):
    times = time_grid(n_steps)
    assert len(times) == n_steps + 1
    assert times[0] == 0
    assert times[-1] == 1
    assert (times.diff() > 0).all()


def test_the_loss_is_least_for_the_exact_denoiser():
    clean = torch.randn(512, 2, 3, generator=torch.Generator().manual_seed(0)) * SPREAD

    def loss(predict):
        return denoising_loss(predict, clean, torch.Generator().manual_seed(1)).mean()

    best = loss(gaussian_denoiser)
    assert best < loss(lambda x, t: 0.9 * gaussian_denoiser(x, t))
    assert best < loss(lambda x, t: 1.1 * gaussian_denoiser(x, t))


def corner(x, time, has_condition, has_person, until):
    return torch.ones_like(x) * (10.0 * has_condition + 1.0 * has_person)[:, None, None]


@pytest.mark.parametrize(
    ("guidance_scale", "person_scale", "expected"),
    [
        (0, 0, 0),
        (1, 0, 10),
        (0, 1, 1),
        (1, 1, 11),
        (2, 2, 22),
        (2, 1, 21),
        (1, 3, 13),
        (2, 0, 20),
        (0.5, 0.5, 5.5),
    ],
)
def test_each_scale_moves_its_own_part(guidance_scale, person_scale, expected):
    predict = guided(corner, guidance_scale, person_scale)
    assert predict(torch.zeros(2, 1, 1), torch.zeros(2)).unique().item() == pytest.approx(expected)


def test_exaggeration_does_not_make_waves_as_tall():
    wave = torch.sin(torch.linspace(0, 6, 50))

    def denoise(x, time, has_condition, has_person, until):
        return (1.0 * has_condition + 1.0)[:, None, None] * wave.expand(len(x), 1, 50)

    plain, strong = (
        guided(denoise, scale, scale)(torch.zeros(1, 1, 50), torch.zeros(1)) for scale in (1.0, 3.0)
    )
    assert torch.allclose(plain[0, 0], 2 * wave)
    assert torch.allclose(strong[0, 0], (0.6 * 4 + 0.4 * 2) * wave)  # 4 times the wave without rescaling


def test_guidance_passes_on_how_far_a_step_reaches():
    def reach(x, time, has_condition, has_person, until):
        assert len(until) == len(x) == 6
        return x + until[:, None, None]

    until = torch.tensor([0.25, 0.5])
    found = guided(reach, 3.0, 2.0)(torch.zeros(2, 1, 1), torch.zeros(2), until)
    assert torch.allclose(found[:, 0, 0], until)


def test_guidance_computes_only_what_counts():
    calls = []

    def counted(x, time, has_condition, has_person, until):
        calls.extend(zip(has_condition.tolist(), has_person.tolist(), strict=True))
        return x

    for scales, expected in (
        ((1.0, 1.0), [(True, True)]),
        ((2.0, 2.0), [(True, True), (False, False)]),
        ((2.0, 0.0), [(True, False), (False, False)]),
        ((2.0, 1.0), [(True, True), (True, False), (False, False)]),
    ):
        calls.clear()
        guided(counted, *scales)(torch.zeros(1, 1, 1), torch.zeros(1))
        assert calls == expected


def test_noise_belongs_to_its_row():
    whole = row_noise(row_seeds(7, 10), (4,))
    assert torch.equal(row_noise(row_seeds(7, 3), (4,)), whole[:3])
    assert torch.equal(row_noise(row_seeds(7, 10)[5:6], (4,))[0], whole[5])
    assert not torch.equal(row_noise(row_seeds(8, 10), (4,)), whole)


def test_numbers_for_rhythms_belong_to_their_row():
    whole = row_uniforms(row_seeds(7, 200), 20)
    assert whole.shape == (200, 20)
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() < 1
    assert whole.mean() == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(row_uniforms(row_seeds(7, 3), 20), whole[:3])
    assert np.array_equal(row_uniforms(row_seeds(7, 200)[5:6], 20)[0], whole[5])
    assert np.array_equal(row_uniforms(row_seeds(7, 3), 8), whole[:3, :8])
    assert not np.array_equal(row_uniforms(row_seeds(8, 200), 20), whole)
    assert row_uniforms([], 4).shape == (0, 4)
    # Noise and rhythm of a row have nothing to do with each other.
    noise = row_noise(row_seeds(7, 200), (20,)).numpy()
    assert abs(np.corrcoef(noise.ravel(), whole.ravel())[0, 1]) < 0.06


@pytest.mark.parametrize("entropy", [0, 2**32 - 1, 2**32, 2**63 + 5, 2**70])
def test_many_rows_are_drawn_as_each_of_them(entropy):
    """Many at once are hashed as arrays and drawn by threads; few, and the largest seeds, by NumPy itself."""
    seeds = [(entropy, row) for row in range(70)] + [(7, 2**32 - 1), (7, 0)]
    uniforms, noise, (levels, white) = (
        row_uniforms(seeds, 5),
        row_noise(seeds, (2, 3)),
        row_electrodes(seeds, 9, 4),
    )

    def row_generator(seed, stream):
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, stream])))

    for row in (0, 1, 69, 70, 71):
        rng = row_generator(seeds[row], 2)
        assert np.array_equal(levels[row], rng.standard_normal(9))
        assert np.array_equal(white[row], rng.standard_normal((9, 4), dtype=np.float32))
        assert np.array_equal(uniforms[row], row_generator(seeds[row], 1).random(5, dtype=np.float32))
        assert torch.equal(noise[row : row + 1], row_noise(seeds[row : row + 1], (2, 3)))


def test_random_states_are_those_of_scikit_learn():
    assert row_seeds(np.random.default_rng(0), 2) == row_seeds(np.random.default_rng(0), 2)
    assert row_seeds(np.random.RandomState(0), 2) == row_seeds(np.random.RandomState(0), 2)
    assert row_seeds(None, 1) != row_seeds(None, 1)
    for bad in (-1, "0", 1.5, True):
        with pytest.raises(ValueError, match="random_state"):
            row_seeds(bad, 1)
