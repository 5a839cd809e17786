"""The loop that all stages share: it learns, resumes, and stops."""

import pytest
import torch
from torch import nn

from ecgtwin.exceptions import CheckpointError
from ecgtwin.training import LoopSettings, train


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
