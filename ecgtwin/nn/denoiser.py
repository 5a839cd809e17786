"""The denoiser with the AdaX Condition Injector: a 1-D U-Net over latents.

Two pathways, as in ECGTwin: time and person (the base vector) act through adaptive normalisation
(adaLN-Zero, Peebles & Xie 2023); statements, age, sex and heart rate act as tokens through
cross-attention. Beside them the context says, patch by patch, when the heart beats and what a beat
of this person would be to first order. Attention at the two coarser levels lets the beats of one
recording agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..rhythm import N_CHANNELS
from .architecture import Architecture
from .layers import CrossAttention, FourierFeatures, RowLinear, SelfAttention
from .tokens import ConditionArrays, ConditionTokens


class _Modulation(nn.Module):
    """The embedding of time and person as scale, shift and gate; all zero at the start."""

    def __init__(self, embedding_dim: int, width: int) -> None:
        super().__init__()
        self.linear = RowLinear(embedding_dim, 3 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # three of (n, 1, width)
        scale, shift, gate = self.linear(F.silu(embedding))[:, None].chunk(3, dim=-1)
        return 1 + scale, shift, gate


class _Layer(nn.Module):
    """Self-attention and cross-attention, where asked for, then convolution or feed-forward.

    Each but cross-attention is gated by the embedding.
    """

    def __init__(self, width: int, a: Architecture, *, attends: bool, feed: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.mix_modulation = _Modulation(a.embedding_dim, width)
        self.attends = attends
        if attends:
            self.attend_modulation = _Modulation(a.embedding_dim, width)
            self.attend = SelfAttention(width, a.heads)
            self.read = CrossAttention(width, a.token_dim, a.heads)
            nn.init.zeros_(self.read.out.weight)
        self.mix = _FeedForward(width) if feed else _TokenConvolution(width)

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor, present: Tensor) -> Tensor:
        if self.attends:
            scale, shift, gate = self.attend_modulation(embedding)
            x = x + gate * self.attend(self.norms[0](x) * scale + shift)
            x = x + self.read(self.norms[1](x), tokens, present)
        scale, shift, gate = self.mix_modulation(embedding)
        return x + gate * self.mix(self.norms[2](x) * scale + shift)


class _FeedForward(nn.Sequential):
    """Two layers on each token."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))


class _TokenConvolution(nn.Module):
    """Two convolutions of three tokens on ``(n, tokens, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(3 * width, width)
        self.second = nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(_neighbours(F.silu(self.first(_neighbours(x)))))


def _neighbours(x: Tensor) -> Tensor:  # (n, tokens, width) -> (n, tokens, 3 * width)
    padded = F.pad(x, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=-1)


class Denoiser(nn.Module):
    """Predicts the clean latent from a noisy one, its time, a person and a condition.

    The network F itself works on unit scale. Around it stands the preconditioning of Karras et al.
    (2022, section 5), here for the path ``x_t = t x_1 + (1 - t) noise`` and for each coefficient with
    its own deviation s::

        x_1 = t s^2 in^2 x_t + s (1 - t) in F(in x_t)    with    in = 1 / sqrt(t^2 s^2 + (1 - t)^2)

    F = 0 is then already the best linear guess, and the target of F has variance 1 at every time in
    every coefficient.
    """

    spread: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        w0, w1, w2 = a.denoiser_widths
        self.register_buffer("spread", torch.ones(a.latent_dim))
        self.time_features = FourierFeatures(6)
        self.time = nn.Sequential(
            RowLinear(self.time_features.width, a.embedding_dim),
            nn.SiLU(),
            RowLinear(a.embedding_dim, a.embedding_dim),
        )
        self.until = RowLinear(self.time_features.width, a.embedding_dim)
        nn.init.zeros_(self.until.weight)
        self.base_scale = math.sqrt(a.base_dim)  # a unit vector's entries, brought to unit variance
        self.nobody = nn.Parameter(torch.randn(a.base_dim) * 0.1)
        self.person = nn.Sequential(
            RowLinear(a.base_dim, a.embedding_dim), nn.SiLU(), RowLinear(a.embedding_dim, a.embedding_dim)
        )
        self.tokens = ConditionTokens(a.token_dim)
        self.enter = nn.Linear(3 * (2 * a.latent_dim + N_CHANNELS), w0)
        self.down0 = nn.ModuleList(_Layer(w0, a, attends=False, feed=False) for _ in range(2))
        self.to1 = nn.Linear(2 * w0, w1)
        self.down1 = nn.ModuleList(_Layer(w1, a, attends=True, feed=False) for _ in range(2))
        self.to2 = nn.Linear(2 * w1, w2)
        self.middle = nn.ModuleList(_Layer(w2, a, attends=True, feed=True) for _ in range(a.denoiser_layers))
        self.from2 = nn.Linear(w2, 2 * w1)
        self.join1 = nn.Linear(2 * w1, w1)
        self.up1 = nn.ModuleList(_Layer(w1, a, attends=True, feed=False) for _ in range(2))
        self.from1 = nn.Linear(w1, 2 * w0)
        self.join0 = nn.Linear(2 * w0, w0)
        self.up0 = nn.ModuleList(_Layer(w0, a, attends=False, feed=False) for _ in range(2))
        last = nn.Linear(w0, a.latent_dim)
        nn.init.zeros_(last.weight)
        self.leave = nn.Sequential(nn.LayerNorm(w0), nn.SiLU(), last)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        base: Tensor,
        has_base: Tensor,
        conditions: ConditionArrays,
        context: Tensor,
        until: Tensor | None = None,
    ) -> Tensor:
        """Predict clean latents.

        Parameters
        ----------
        x : Tensor (n, latent_dim, m)
            Noisy latents; m is a multiple of 4.
        time : Tensor (n,)
            0 is noise, 1 is data.
        base : Tensor (n, base_dim)
            Base vectors of unit length.
        has_base : bool Tensor (n,)
            False where there is no person.
        conditions : ConditionArrays of n
        context : Tensor (n, latent_dim + N_CHANNELS, m)
            The latents of counterfactual beats and the rhythm, as `Conditioning.context` makes it.
        until : Tensor (n,), optional
            The time that an Euler step with this prediction is to reach; by default it is infinitesimal.
        """
        t, s = time[:, None, None], self.spread[:, None]
        scale = (t * t * s * s + (1 - t) ** 2).rsqrt()
        beats, rhythm = context.split([x.shape[1], context.shape[1] - x.shape[1]], dim=1)
        seen = torch.cat([x * scale, beats / s, rhythm], dim=1)
        embedding = self.time(self.time_features(2 * time - 1))
        if until is not None:
            embedding = embedding + self.until(self.time_features(2 * until - 1))
        base = torch.where(has_base[:, None], base * self.base_scale, self.nobody)
        body = self._network(seen, embedding + self.person(base), conditions)
        return t * s * s * scale * scale * x + s * (1 - t) * scale * body

    @contextmanager
    def attention_maps(self) -> Iterator[list[Tensor]]:
        """Collect, of every call within, the mean over layers and heads of what its places read.

        One ``(n, m / 2, tokens)`` for each call, with the tokens of `ConditionTokens`. One of them is always
        there to rest on, so that a single statement is not read everywhere.
        """
        maps: list[Tensor] = []
        layers = [module for module in self.modules() if isinstance(module, CrossAttention)]

        def listen(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            share = cast(CrossAttention, layer).weights(*inputs) / len(layers)
            if layer is layers[0]:  # one of the finer ones
                maps.append(share)
            else:
                maps[-1] = maps[-1] + share.repeat_interleave(maps[-1].shape[1] // share.shape[1], dim=1)

        handles = [layer.register_forward_hook(listen) for layer in layers]
        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()

    def _network(self, x: Tensor, embedding: Tensor, conditions: ConditionArrays) -> Tensor:
        tokens, present = self.tokens(conditions)
        condition = (embedding, tokens, present)

        x = self.enter(_neighbours(x.transpose(1, 2)))  # (n, m, w0)
        for layer in self.down0:
            x = layer(x, *condition)
        fine = x
        x = self.to1(_merge(x))  # (n, m / 2, w1)
        for layer in self.down1:
            x = layer(x, *condition)
        coarse = x
        x = self.to2(_merge(x))  # (n, m / 4, w2)
        for layer in self.middle:
            x = layer(x, *condition)
        x = self.join1(torch.cat([_split(self.from2(x)), coarse], dim=-1))
        for layer in self.up1:
            x = layer(x, *condition)
        x = self.join0(torch.cat([_split(self.from1(x)), fine], dim=-1))
        for layer in self.up0:
            x = layer(x, *condition)
        return self.leave(x).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:  # two tokens become one: (n, m, w) -> (n, m / 2, 2 w)
    return x.unflatten(1, (-1, 2)).flatten(2)


def _split(x: Tensor) -> Tensor:  # and back: (n, m, 2 w) -> (n, 2 m, w)
    return x.unflatten(2, (2, -1)).flatten(1, 2)
