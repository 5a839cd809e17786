"""The training loop. It knows nothing of the network it trains.

All randomness of step k comes from ``(seed, k)``, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import copy
import io
import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from ..exceptions import CheckpointError
from ..files import write_whole

Loss = Callable[[int], Tensor]
Score = Callable[[nn.Module], float]


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Parameters
    ----------
    n_steps : int
        Optimiser steps.
    learning_rate : float
        Its peak: after a warm-up of 2 % of the run it stays, then falls to 0 over the last 30 %.
    minutes : float, optional
        Wall-clock limit; the schedule is then that of the share of time used, if that is further on.
    ema_decay : float
        Of the running mean of the weights, which is what training returns.
    score_every : int
        Steps between validations; the best scored weights are returned. 0 returns the last.
    checkpoint_seconds : float
        Time between checkpoints.
    bf16 : bool
        Forward and backward passes in bfloat16 where that is safe.
    """

    n_steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    minutes: float | None = None
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    score_every: int = 0
    checkpoint_seconds: float = 60.0
    bf16: bool = False


def train(
    module: nn.Module,
    loss: Loss,
    settings: LoopSettings,
    *,
    checkpoint: Path | None = None,
    score: Score | None = None,
    run: str = "",
    name: str = "training",
    verbose: bool = True,
) -> float:
    """Train `module` in place and leave it with its best (or last) averaged weights.

    Parameters
    ----------
    module : Module
    loss : callable
        ``step -> scalar loss``, a function of the step and the weights alone.
    settings : LoopSettings
    checkpoint : Path, optional
        Where to write the state, and to resume from if it is there.
    score : callable, optional
        ``averaged module -> float``, higher is better, called every ``settings.score_every`` steps.
    run : str
        What the run is of, such as a digest of its data; a checkpoint of another run is refused.

    Returns
    -------
    float
        The best score, or minus the mean loss of the last steps.

    Raises
    ------
    CheckpointError
        If `checkpoint` is of another run or of other networks.
    FloatingPointError
        If loss or gradient are not finite; the weights are then the averaged ones before it, as is the
        checkpoint.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    average = copy.deepcopy(module).eval()
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    state = _State(module, average, optimizer, f"{run} {shapes}")
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint)
    device = next(module.parameters()).device.type
    bar = tqdm(
        total=settings.n_steps, initial=state.step, desc=name, disable=not verbose, mininterval=2, unit="step"
    )
    begun = time.monotonic() - state.seconds
    written = time.monotonic()
    module.train()
    whole = True  # between two steps, when all of the state belongs together
    interrupt = _Interrupt()
    try:
        while (progress := _progress(state.step, time.monotonic() - begun, settings)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule(progress)
            with torch.autocast(device, torch.bfloat16, enabled=settings.bf16):
                value = loss(state.step)
            whole = False
            value.backward()
            norm = nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
            # Both at once, since each waits for the device.
            found, slope = torch.stack([value.detach().float(), norm.float()]).tolist()
            if not math.isfinite(found + slope):
                module.load_state_dict(average.state_dict())
                raise FloatingPointError(
                    f"{name}: at step {state.step} the loss is {found:.4g}, its gradient {slope:.4g}, "
                    f"the learning rate {group['lr']:.2g}; lower learning_rate"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.average_in(settings.ema_decay)
            state.smooth_loss += (found - state.smooth_loss) * max(0.01, 1 / state.step)
            if score is not None and settings.score_every and state.step % settings.score_every == 0:
                state.keep_if_best(score(average))
            whole = True
            interrupt.raise_if_asked()
            if progress:  # under a limit of minutes fewer steps are made than asked for
                bar.total = min(settings.n_steps, max(state.step, round((state.step - 1) / progress)))
            bar.update()
            bar.set_postfix(loss=f"{state.smooth_loss:.4f}", best=f"{state.best:.3f}", refresh=False)
            if checkpoint is not None and time.monotonic() - written > settings.checkpoint_seconds:
                state.save(checkpoint, time.monotonic() - begun)
                written = time.monotonic()
    finally:
        interrupt.end()
        bar.close()
        if checkpoint is not None and whole:
            state.save(checkpoint, time.monotonic() - begun)
    if score is not None:
        state.keep_if_best(score(average))
    module.load_state_dict(average.state_dict() if state.best_weights is None else state.best_weights)
    module.eval()
    return state.best if score is not None else -state.smooth_loss


class _Interrupt:
    """Lets Ctrl-C wait for the end of a step, so that no state is lost; a second one does not wait.

    Only the main thread may do so; elsewhere nothing changes.
    """

    def __init__(self) -> None:
        self.asked, self.before = False, None
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self.before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def raise_if_asked(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def end(self) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)


def _progress(step: int, seconds: float, settings: LoopSettings) -> float:
    done = step / max(settings.n_steps, 1)
    return done if settings.minutes is None else max(done, seconds / (60 * settings.minutes))


def _schedule(progress: float) -> float:
    return min(1.0, (progress + 1e-3) / 0.02, (1 - progress) / 0.3)


class _State:
    """All that changes during training, on its way to and from a file."""

    def __init__(
        self, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, run: str
    ) -> None:
        self.module, self.average, self.optimizer, self.run = module, average, optimizer, run
        self.step, self.seconds, self.smooth_loss, self.best = 0, 0.0, 0.0, float("-inf")
        self.best_weights: dict[str, Tensor] | None = None

    @torch.no_grad()
    def average_in(self, decay: float) -> None:
        # Early on the mean runs over fewer steps, so that it does not remember the first weights.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        means, now = (list(one.state_dict().values()) for one in (self.average, self.module))
        learned = [i for i, mean in enumerate(means) if mean.dtype.is_floating_point]
        get_ema_multi_avg_fn(decay)([means[i] for i in learned], [now[i] for i in learned], self.step)
        for i in set(range(len(means))).difference(learned):
            means[i].copy_(now[i])

    def keep_if_best(self, score: float) -> None:
        if score > self.best:
            self.best = score
            self.best_weights = {key: value.clone() for key, value in self.average.state_dict().items()}

    def save(self, path: Path, seconds: float) -> None:
        values: dict[str, Any] = {
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "run": self.run,
            "step": self.step,
            "seconds": seconds,
            "smooth_loss": self.smooth_loss,
            "best": self.best,
            "best_weights": self.best_weights,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(values, content)
        write_whole(path, content.getvalue())

    def load(self, path: Path) -> None:
        try:
            values = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises several kinds on a damaged file
            raise CheckpointError(
                f"{path} is no checkpoint, or a damaged one: {type(error).__name__}"
            ) from error
        if values.get("run") != self.run:
            raise CheckpointError(
                f"{path} is of another run (other recordings, seed, architecture or teacher): "
                "remove it, or choose another folder for checkpoints"
            )
        self.module.load_state_dict(values["module"])
        self.average.load_state_dict(values["average"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.step, self.seconds, self.smooth_loss = values["step"], values["seconds"], values["smooth_loss"]
        self.best, self.best_weights = values["best"], values["best_weights"]
