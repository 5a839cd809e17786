"""A denoiser's evaluations in training, on CUDA as graphs.

An evaluation and the way back are a thousand small kernels, and to launch them one by one takes longer than
their work. So each kind of batch is recorded once, and played again at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..nn import ConditionArrays, Conditioning, Denoiser


@dataclass(frozen=True)
class Asked:
    """What a denoiser is asked for: n twins, of which persons ``(n,)`` it is told, and their context."""

    given: Conditioning
    has_person: Tensor
    context: Tensor

    def __len__(self) -> int:
        return len(self.has_person)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that `Denoiser.tell` reads."""
        c = self.given.conditions
        return self.given.bases, self.has_person, c.statements, c.age, c.sex, c.heart_rate, self.context


class Evaluations:
    """A denoiser as training evaluates it: told and asked at once, since how it is told is learned, too."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.graphs: dict[tuple[tuple[int, ...], ...], Callable[..., Tensor]] = {}

    def __call__(self, x: Tensor, time: Tensor, asked: Asked, until: Tensor | None = None) -> Tensor:
        """Predict clean latents, as `Denoiser.forward` does.

        They, and the gradients of weights on the way back, are valid until the next call.
        """
        inputs = (x, time, *asked.tensors)
        inputs = inputs if until is None else (*inputs, until)
        if not x.is_cuda:
            return _predicted(self.denoiser, *inputs)
        kind = tuple(tuple(one.shape) for one in inputs)
        if kind not in self.graphs:
            self.graphs[kind] = _recorded(self.denoiser, inputs)
        return self.graphs[kind](*inputs)


def _predicted(
    denoiser: Denoiser,
    x: Tensor,
    time: Tensor,
    bases: Tensor,
    has_person: Tensor,
    statements: Tensor,
    age: Tensor,
    sex: Tensor,
    heart_rate: Tensor,
    context: Tensor,
    until: Tensor | None = None,
) -> Tensor:
    conditions = ConditionArrays(statements, age, sex, heart_rate)
    return denoiser(x, time, denoiser.tell(bases, has_person, conditions, context), until)


class _OfTensors(nn.Module):
    """A denoiser as a module that takes tensors alone."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, *inputs: Tensor) -> Tensor:
        return _predicted(self.denoiser, *inputs)


def _recorded(denoiser: Denoiser, inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Record an evaluation, and the way back where there is something to learn.

    `torch.cuda.make_graphed_callables` does the same, but for one kind of batch only: what it leaves behind
    ties the weights to a stream, and the next recording fails. Here each recording has leaves of its own for
    them, in the same memory.
    """
    module = _OfTensors(denoiser)
    weights = dict(module.named_parameters())
    learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights.values())
    leaves = {name: weight.detach().requires_grad_(learns) for name, weight in weights.items()}
    held = tuple(one.detach().clone() for one in inputs)
    forth, back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()

    def evaluated() -> Tensor:
        return cast(Tensor, torch.func.functional_call(module, leaves, held))

    def slopes(found: Tensor, slope: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(found, tuple(leaves.values()), slope, allow_unused=True)

    autocast = torch.is_autocast_enabled("cuda")
    # Weights that are cast within a graph belong to it: none may be kept from before.
    with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), enabled=autocast, cache_enabled=False):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # whatever is set up at a first call must not be in the recording
            for _ in range(3):
                found = evaluated()
                if learns:
                    slopes(found, torch.zeros_like(found))
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(forth):
            found = evaluated()
        slope = torch.zeros_like(found)
        gradients: tuple[Tensor | None, ...] = ()
        if learns:
            with torch.cuda.graph(back, pool=forth.pool()):
                gradients = slopes(found, slope)

    def play(*inputs: Tensor) -> Tensor:
        for one, new in zip(held, inputs, strict=True):
            one.copy_(new)
        forth.replay()
        return found.detach()

    class Played(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            return play(*inputs[: len(held)])

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
            slope.copy_(given[0])
            back.replay()
            return (*[None] * len(held), *(None if one is None else one.detach() for one in gradients))

    if not learns:
        return play
    return lambda *inputs: cast(Tensor, Played.apply(*inputs, *weights.values()))
