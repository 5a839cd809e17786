"""Set metrics: they agree with their definitions, and a perfect generator gets a perfect figure."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ecgtwin.exceptions import InputError
from ecgtwin.metrics.bootstrap import bootstrap
from ecgtwin.metrics.fidelity import (
    frechet_distance,
    frechet_ratio,
    manifold,
    psd_log_distance,
    spectra,
    spectral_distance,
)


def people(rng, n_patients, n_records, d=5):
    """Features of recordings: a part that is the person's, and a part that is the recording's."""
    groups = np.repeat(np.arange(n_patients), n_records)
    return rng.normal(size=(n_patients, d))[groups] + 0.3 * rng.normal(size=(len(groups), d)), groups


def test_frechet_distance_is_its_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(150, 6)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    formula = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(formula, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(formula, rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_frechet_distance_of_singular_and_badly_scaled_sets():
    rng = np.random.default_rng(1)
    flat = np.outer(rng.normal(size=50), np.ones(8))
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(flat, flat + 2) == pytest.approx(32)
    constant = np.full((5, 8), 3.0)
    assert frechet_distance(constant, constant) == 0
    scaled = rng.normal(size=(100, 8)) * 10.0 ** np.arange(-6, 2)
    assert frechet_distance(scaled, scaled) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(scaled[:3], scaled[:2]) >= 0


def test_a_perfect_generator_has_a_ratio_of_about_1():
    ratios, copied = [], []
    for seed in range(8):
        features, groups = people(np.random.default_rng(seed), 150, 2)
        again = features[::2] + 0.0
        ratios.append(frechet_ratio(features[1::2], features, groups, generated_groups=groups[1::2], size=70))
        copied.append(frechet_ratio(again, features, groups, generated_groups=groups[::2], size=70))
    assert np.mean(ratios) == pytest.approx(1, abs=0.15)
    # what is copied from other patients than those compared is as real as they are, and no better
    assert np.mean(copied) == pytest.approx(1, abs=0.15)


def test_a_half_of_the_real_set_has_a_ratio_of_about_1():
    ratios = []
    for seed in range(20):
        features, groups = people(np.random.default_rng(seed), 400, 1)
        ratios.append(frechet_ratio(features[:200], features[200:], groups[200:], size=80))
    assert np.mean(ratios) == pytest.approx(1, abs=0.2)


def test_the_ratio_rises_with_every_fault():
    features, groups = people(np.random.default_rng(0), 300, 1)
    faults = [features, features + 0.3, features + 1, features * 0.1]
    ratios = [frechet_ratio(x, features, groups, generated_groups=groups) for x in faults]
    assert ratios[0] == pytest.approx(1, abs=0.1)
    assert ratios[0] < ratios[1] < ratios[2]
    assert ratios[3] > 5
    assert ratios[1] == frechet_ratio(faults[1], features, groups, generated_groups=groups)


def test_the_ratio_has_an_interval_at_a_fixed_size():
    features, groups = people(np.random.default_rng(3), 300, 1, d=3)
    figure = bootstrap(
        lambda rows: frechet_ratio(
            features[rows] + 0.5, features[rows], groups[rows], generated_groups=groups[rows], size=60
        ),
        groups,
        n_draws=20,
        replace=False,
    )  # fmt: skip
    assert 1 < figure.low < figure.value < figure.high


def test_too_few_rows_for_a_ratio():
    features, groups = people(np.random.default_rng(0), 90, 1)
    with pytest.raises(InputError, match="5 dimensions needs 50 patients"):
        frechet_ratio(features, features, groups)
    with pytest.raises(InputError, match="size is 900, and the halves allow 45"):
        frechet_ratio(np.tile(features, (9, 1)), np.tile(features, (9, 1)), np.tile(groups, 9), size=900)


def test_manifold_is_its_definition():
    rng = np.random.default_rng(0)
    generated, real, k = rng.normal(0.3, 1, (60, 3)), rng.normal(size=(60, 3)), 3
    between = np.linalg.norm(generated[:, None] - real, axis=2)

    def reach(rows):
        return np.sort(np.linalg.norm(rows[:, None] - rows, axis=2), axis=1)[:, k]

    in_real = between <= reach(real)
    expected = {
        "precision": in_real.any(axis=1).mean(),
        "recall": (between <= reach(generated)[:, None]).any(axis=0).mean(),
        "density": in_real.sum(axis=1).mean() / k,
        "coverage": in_real.any(axis=0).mean(),
    }
    assert manifold(generated, real, k) == pytest.approx(expected)


def test_manifold_tells_poor_from_poorly_varied():
    rng = np.random.default_rng(1)
    real, other = rng.normal(size=(400, 4)), rng.normal(size=(900, 4))
    same = manifold(other, real)
    assert all(value > 0.6 for value in same.values())
    assert same == manifold(other, real)
    narrow, wide = manifold(0.2 * other, real), manifold(4 * other, real)
    assert narrow["precision"] > same["precision"]
    assert narrow["recall"] < 0.2
    assert narrow["coverage"] < 0.6
    assert wide["precision"] < 0.5
    assert wide["density"] < 0.3
    one = manifold(np.repeat(real[:1], 400, axis=0), real)
    assert one["precision"] == 1
    assert one["recall"] < 0.05
    assert one["coverage"] < 0.05


def test_spectra_tell_scale_and_frequency_in_their_own_lead():
    t = np.arange(1000) / 100
    rng = np.random.default_rng(0)
    real = rng.normal(size=(20, 12, 1000)) + np.sin(2 * np.pi * 8 * t)
    louder = real.copy()
    louder[:, 3] *= 10
    distance = spectral_distance(spectra(louder), spectra(real))
    assert distance[3] == pytest.approx(2)
    assert np.delete(distance, 3) == pytest.approx(0)
    assert psd_log_distance(louder, real) == pytest.approx(2 / 12)
    power = spectra(real).mean(axis=(0, 1))
    assert np.linspace(0.5, 40, len(power))[power.argmax()] == pytest.approx(8)
    assert np.isfinite(psd_log_distance(np.zeros_like(real), real))
    again = spectra(np.repeat(real, 5, axis=-1), 500)
    assert np.linspace(0.5, 40, again.shape[-1])[again.mean(axis=(0, 1)).argmax()] == pytest.approx(8)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3))),
        (np.zeros((5, 3)), np.zeros((5, 4))),
        (np.full((5, 3), np.nan), np.zeros((5, 3))),
        (np.zeros(5), np.zeros((5, 3))),
        (np.zeros((0, 3)), np.zeros((5, 3))),
    ],
    ids=["one row", "other dimensions", "missing", "no features", "empty"],
)
def test_sets_that_cannot_be_compared(a, b):
    with pytest.raises(InputError):
        frechet_distance(a, b)
    with pytest.raises(InputError):
        manifold(a, b)
    with pytest.raises(InputError):
        psd_log_distance(a, b)
