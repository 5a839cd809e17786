"""Retrieval and verification on embeddings whose truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from ecgtwin.exceptions import InputError
from ecgtwin.metrics.identity import (
    first_and_second,
    probe_verification,
    protocol_a,
    protocol_b,
    retention,
    retrieval_hits,
    retrieval_top1,
    verification,
)


def people(seed=0, n_persons=60, n_records=3, d=8, noise=0.5):
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(n_persons), n_records)
    order = rng.permutation(len(persons))
    vectors = rng.normal(size=(n_persons, d))[persons] + noise * rng.normal(size=(len(persons), d))
    return vectors[order], persons[order]


def test_the_best_of_a_persons_records_counts():
    gallery = np.array([[1, 0], [0, 1], [-1, 0.1]])
    hits = retrieval_hits([[-3, 0], [0, 0.1], [1, 0]], ["a", "b", "c"], gallery, ["a", "b", "a"])
    np.testing.assert_array_equal(hits, [1, 1, np.nan])
    assert retrieval_top1([[-3, 0], [0, 0.1], [1, 0]], ["a", "b", "c"], gallery, ["a", "b", "a"]) == 1
    assert np.isnan(retrieval_top1([[1, 0]], ["c"], gallery, ["a", "b", "a"]))


def test_an_embedding_that_says_nothing_finds_nobody():
    persons = np.repeat(np.arange(50), 2)
    same = np.tile(np.random.default_rng(0).normal(size=7), (100, 1))
    assert protocol_a(same, persons).value == 0
    assert verification(same, persons) == {"eer": pytest.approx(0.5), "tar_at_far_1e3": 0}
    rng = np.random.default_rng(1)
    noise = verification(rng.normal(size=(400, 16)), np.repeat(np.arange(100), 4))
    assert noise["eer"] == pytest.approx(0.5, abs=0.05)
    assert noise["tar_at_far_1e3"] < 0.02


def test_protocols_by_hand():
    vectors, persons = people()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = first_and_second(persons)
    similarity = unit[second] @ unit[first].T
    assert protocol_a(vectors, persons).value == np.mean(similarity.argmax(axis=1) == np.arange(60))
    everybody = unit @ unit.T
    np.fill_diagonal(everybody, -1)
    found = persons[everybody[second].argmax(axis=1)] == persons[second]
    assert protocol_b(vectors, persons).value == pytest.approx(found.mean())
    assert protocol_a(vectors, persons).n == protocol_b(vectors, persons).n == 60
    assert protocol_a(vectors * 7, persons) == protocol_a(vectors, persons)


def test_first_and_second_keep_the_given_order():
    first, second = first_and_second(["x", "y", "x", "x", "z", "y"])
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 5)]
    with pytest.raises(InputError, match="nobody has two"):
        first_and_second(["x", "y"])


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0])
def test_error_rates_are_those_of_the_curve(noise):
    vectors, persons = people(noise=noise)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    i, j = np.triu_indices(len(unit), 1)
    far, tar, _ = roc_curve(persons[i] == persons[j], (unit @ unit.T)[i, j], drop_intermediate=False)
    rates = verification(vectors, persons)
    grid = np.linspace(0, 1, 200001)
    crossing = grid[np.argmin(np.abs(1 - np.interp(grid, far, tar) - grid))]
    assert rates["eer"] == pytest.approx(crossing, abs=1e-3)
    assert rates["tar_at_far_1e3"] == pytest.approx(tar[far <= 1e-3].max())


def test_probes_and_gallery_give_the_same_rates_as_all_pairs():
    vectors, persons = people(n_records=2)
    rows = np.arange(len(vectors))
    pairs = probe_verification(vectors, persons, vectors, persons, probe_rows=rows)
    assert pairs == pytest.approx(verification(vectors, persons))
    first, second = first_and_second(persons)
    of_a = probe_verification(vectors[second], persons[second], vectors[first], persons[first])
    assert 0 < of_a["eer"] < 0.3


def test_retention_is_measured_against_real_recordings():
    rng = np.random.default_rng(0)
    persons = np.arange(200)
    base = rng.normal(size=(200, 8))
    gallery, seconds, good, poor = (base + s * rng.normal(size=base.shape) for s in (0.4, 0.4, 0.4, 2))
    figure = retention(good, persons, seconds, persons, gallery, persons)
    assert figure.low < 1 < figure.high
    assert figure.n == 200
    assert retention(poor, persons, seconds, persons, gallery, persons).high < 0.6
    several = retention(np.tile(good, (3, 1)), np.tile(persons, 3), seconds, persons, gallery, persons)
    assert several.value == pytest.approx(figure.value)
    assert several.high - several.low == pytest.approx(figure.high - figure.low)


def test_embeddings_that_cannot_be_judged():
    vectors, persons = people()
    with pytest.raises(InputError, match="one patient for each of 180"):
        verification(vectors, persons[:-1])
    with pytest.raises(InputError, match="both are needed"):
        verification(vectors, np.zeros(180))
    with pytest.raises(InputError, match="both are needed"):
        verification(vectors, np.arange(180))
    with pytest.raises(InputError, match="8 dimensions and the gallery 7"):
        retrieval_top1(vectors, persons, vectors[:, :7], persons)
    with pytest.raises(InputError, match="finite"):
        protocol_a(vectors * np.nan, persons)
