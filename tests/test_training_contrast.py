"""How the extractor learns persons: pairs, views, and the loss."""

import numpy as np
import pytest
import torch

from ecgtwin.conditions import Condition
from ecgtwin.leads import independent_leads
from ecgtwin.nn import encode_conditions, statement_matrix
from ecgtwin.rhythm import typical_beat
from ecgtwin.training import PairSampler, TrainingData
from ecgtwin.training.contrast import (
    condition_matrix,
    contrastive_loss,
    displaced,
    draw_view,
    lead_masks,
    retrieval_top1,
    shared_with_condition,
    with_lent_changes,
)
from ecgtwin.training.flows import draw_targets


def test_pairs_are_of_one_person():
    groups = np.array(list("aabbbcde"))
    pairs = PairSampler(groups, true_share=0.5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second, people = pairs.draw(5, rng)
        assert (groups[first] == groups[second]).all()
        assert (pairs.people[people] == groups[first]).all()
        several = np.isin(groups[first], ["a", "b"])
        assert ((first != second) == several).all()


def test_rare_statements_are_drawn_more_often_than_they_occur(ecgs):
    conditions = [["NORM"]] * 23 + [["WPW"]]
    data = TrainingData(ecgs.signals, ecgs.groups, [Condition(statements=c) for c in conditions])
    rows, references = draw_targets(data, PairSampler(data.groups), 2000, np.random.default_rng(0))
    assert 0.08 < (rows == 23).mean() < 0.2
    assert (data.groups[rows] == data.groups[references]).all()


def test_contrast_ignores_other_views_of_the_same_person():
    vectors = torch.eye(4).repeat(2, 1)
    people = torch.tensor([0, 0, 1, 2])
    vectors[1] = vectors[5] = vectors[0]  # a second pair of person 0, as near as can be
    assert contrastive_loss(vectors, people) < 1e-4
    assert contrastive_loss(vectors, torch.arange(4)) > 0.3


def test_lead_masks_always_leave_a_lead():
    masks = lead_masks(np.ones((500, 12), dtype=bool), np.random.default_rng(0))
    assert masks.any(axis=1).all()
    assert masks.all(axis=1).mean() > 0.4
    assert (masks.sum(axis=1) == 1).any()
    limb = masks[:, :6].sum(axis=1)
    assert set(limb) <= {0, 1, 6}  # two limb leads determine the others
    watch = np.eye(12, dtype=bool)[np.zeros(50, dtype=int)]
    assert (lead_masks(watch, np.random.default_rng(0)) == watch).all()


def test_retrieval_counts_persons_with_two_recordings():
    vectors = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    assert retrieval_top1(vectors, np.array([1, 1, 2, 2, 3])) == 1.0
    assert retrieval_top1(vectors, np.array([1, 2, 1, 2, 3])) == 0.5


def test_retrieval_among_everyone_is_harder():
    vectors = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [1, 0.2], [0, 1], [0.2, 1], [1, 0.21]]), dim=1
    )
    groups = np.array(["a", "a", "b", "b", "c"])  # c is nearer to the second recording of a than a's first
    assert retrieval_top1(vectors, groups) == 1.0
    assert retrieval_top1(vectors, groups, everyone=True) == 0.5
    assert retrieval_top1(vectors[:4], groups[:4], everyone=True) == 1.0
    assert np.isnan(retrieval_top1(vectors[[0, 2, 4]], groups[[0, 2, 4]], everyone=True))


def test_what_vectors_share_with_the_condition_is_estimated_without_bias():
    rng = torch.Generator().manual_seed(0)

    def penalty(strength):
        explained = torch.randn(64, 4, generator=rng)
        vectors = torch.randn(64, 16, generator=rng)
        vectors[:, :4] += strength * explained
        return float(shared_with_condition(vectors, explained))

    independent = np.array([penalty(0.0) for _ in range(400)])
    error = independent.std() / 20
    assert abs(independent.mean()) < 4 * error
    assert error < 0.02  # where the plain square would be 64 covariances of variance 1 / 64 each
    dependent = np.array([penalty(1.0) for _ in range(100)])
    assert dependent.mean() == pytest.approx(4, rel=0.15)
    assert dependent.min() > independent.max()


def test_the_condition_matrix_holds_statements_and_rate():
    arrays = encode_conditions([Condition(statements="PVC", heart_rate=140), Condition()])
    table = condition_matrix(arrays)
    assert torch.equal(table[:, :-1], statement_matrix(arrays))
    assert table[0, -1].item() == pytest.approx(np.log(2))
    assert table[1, -1] == 0


def test_views_are_beats_of_the_whole_and_of_its_halves(data):
    assert data.views.shape == (3, len(data), 8, 95)
    assert np.array_equal(data.views[0], data.beats.typical)
    row = 3
    half = data.signals.shape[-1] // 2
    first = data.beats.peaks[row][data.beats.peaks[row] < half]
    assert np.array_equal(
        data.views[1, row], typical_beat(independent_leads(data.signals[row])[:, :half], first)
    )
    assert not np.array_equal(data.views[1, row], data.views[2, row])


def test_changes_are_lent_from_one_person_to_another(data):
    rng = np.random.default_rng(0)
    view = draw_view(data, np.arange(len(data)), np.zeros(len(data), dtype=int), rng)
    view.beats[:, 2] = 0  # a lead that is missing
    rows = np.arange(3, len(data))
    shown = with_lent_changes(view, rows, data, PairSampler(data.groups, 1.0), rng)
    assert torch.equal(shown.beats[:3], view.beats[:3])
    assert torch.equal(shown.intervals[:3], view.intervals[:3])
    assert not shown.beats[:, 2].any()
    change = (shown.beats - view.beats)[rows, 0].numpy()
    pairs = [(a, b) for a in range(len(data)) for b in range(len(data)) if a != b]
    of_persons = np.stack(
        [
            data.views[v, b, 0] - data.views[w, a, 0]
            for a, b in pairs
            if data.groups[a] == data.groups[b]
            for v in range(3)
            for w in range(3)
        ]
    )
    middle = slice(30, 50)  # known in all of them
    distance = np.abs(change[:, None, middle] - of_persons[None, :, middle]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-5
    assert len(set(distance.argmin(axis=1))) > 3


def test_displaced_electrodes_keep_the_size_of_beats():
    beats = np.random.default_rng(0).normal(size=(400, 8, 95)).astype(np.float32)
    moved = displaced(beats, np.random.default_rng(1))
    frontal = [np.stack([one[:, 0], (2 * one[:, 1] - one[:, 0]) / np.sqrt(3)]) for one in (beats, moved)]
    assert np.allclose(*((one**2).sum(axis=0) for one in frontal), atol=1e-4)  # the axis is turned
    assert not np.allclose(beats[:, 2:], moved[:, 2:])
    assert np.abs(moved).max() < 1.5 * np.abs(beats).max()
