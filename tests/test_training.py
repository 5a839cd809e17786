import numpy as np
import pytest
import torch
from torch import nn

from ecgtwin.exceptions import CheckpointError
from ecgtwin.training import LoopSettings, PairSampler, train
from ecgtwin.training.stages import contrastive_loss, draw_targets, lead_masks, retrieval_top1


def linear_problem(calls=None, stop_at=None):
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    target = torch.tensor([[1.0, -2.0, 0.5]])

    def loss(step):
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        return (module(x) - x @ target.T).square().mean()

    return module, loss


SETTINGS = LoopSettings(n_steps=60, learning_rate=0.05, ema_decay=0.9)


def test_training_learns():
    module, loss = linear_problem()
    before = loss(0).item()
    train(module, loss, SETTINGS, verbose=False)
    assert loss(0).item() < 0.05 * before


@pytest.mark.parametrize("stop_at", [1, 17, 59])
def test_interrupted_training_resumes_bit_for_bit(tmp_path, stop_at):
    whole, loss = linear_problem()
    train(whole, loss, SETTINGS, verbose=False)

    module, loss = linear_problem(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        train(module, loss, SETTINGS, checkpoint=tmp_path / "state.ckpt", verbose=False)
    module, loss = linear_problem()
    train(module, loss, SETTINGS, checkpoint=tmp_path / "state.ckpt", verbose=False)
    assert torch.equal(module.weight, whole.weight)
    assert torch.equal(module.bias, whole.bias)


def test_the_best_scored_weights_are_kept():
    module, loss = linear_problem()
    scores = iter([1.0, 5.0, 2.0, 0.0, 0.0])
    seen = []

    def score(average):
        seen.append(average.weight.clone())
        return next(scores)

    settings = LoopSettings(n_steps=40, learning_rate=0.05, score_every=10)
    assert train(module, loss, settings, score=score, verbose=False) == 5.0
    assert torch.equal(module.weight, seen[1])


def test_a_loss_that_is_not_finite_stops_training_and_says_where():
    module, loss = linear_problem()
    with pytest.raises(FloatingPointError, match="step 20"):
        train(module, lambda step: loss(step) * (float("nan") if step == 20 else 1), SETTINGS, verbose=False)
    assert torch.isfinite(module.weight).all()


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
    from ecgtwin.training import TrainingData

    conditions = [["NORM"]] * 23 + [["WPW"]]
    from ecgtwin.conditions import Condition

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


def test_a_gradient_that_is_not_finite_leaves_weights_and_checkpoint_whole(tmp_path):
    module, loss = linear_problem()
    settings = LoopSettings(n_steps=60, learning_rate=0.05, checkpoint_seconds=0)

    def poisoned(step):
        value = loss(step)
        return value + (module.weight.sum() * 0).sqrt() if step == 20 else value

    with pytest.raises(FloatingPointError, match="step 20"):
        train(module, poisoned, settings, checkpoint=tmp_path / "state.ckpt", verbose=False)
    assert torch.isfinite(module.weight).all()
    saved = torch.load(tmp_path / "state.ckpt", weights_only=True)
    assert saved["step"] == 20
    assert torch.isfinite(saved["module"]["weight"]).all()


def test_checkpoints_of_another_run_are_refused(tmp_path):
    checkpoint = tmp_path / "state.ckpt"
    module, loss = linear_problem()
    train(module, loss, SETTINGS, checkpoint=checkpoint, run="one", verbose=False)
    with pytest.raises(CheckpointError, match="another run"):
        train(module, loss, SETTINGS, checkpoint=checkpoint, run="two", verbose=False)
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        train(module, loss, SETTINGS, checkpoint=checkpoint, run="one", verbose=False)
