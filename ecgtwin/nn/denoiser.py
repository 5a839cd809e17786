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
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture
from .layers import CrossAttention, FourierFeatures, RowLinear, SelfAttention
from .peaks import N_CHANNELS
from .tokens import ConditionArrays, ConditionTokens


@dataclass(frozen=True)
class Told:
    """What a denoiser is told of n twins: the same at every step, so it is worked out once.

    Parameters
    ----------
    person : Tensor (n, embedding_dim)
    keys : list of Tensor (2, n, heads, l, width)
        Keys and values of the condition tokens, for each layer that reads them.
    present : bool Tensor (n, l)
        Which tokens are there.
    context : Tensor (n, latent_dim + N_CHANNELS, m)
        Beats on unit scale, and rhythm.
    """

    person: Tensor
    keys: list[Tensor]
    present: Tensor
    context: Tensor


class _Layer(nn.Module):
    """Self-attention and cross-attention, where asked for, then convolution or feed-forward.

    Each but cross-attention is modulated, as adaLN-Zero is, by ``n_modulations`` scales, shifts and gates.
    """

    def __init__(self, width: int, a: Architecture, *, attends: bool, feed: bool) -> None:
        super().__init__()
        self.width, self.attends = width, attends
        self.n_modulations = 6 if attends else 3
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        if attends:
            self.attend = SelfAttention(width, a.heads)
            self.read = CrossAttention(width, a.token_dim, a.heads)
            nn.init.zeros_(self.read.out.weight)
        self.mix = _FeedForward(width) if feed else _TokenConvolution(width)

    def forward(self, x: Tensor, modulation: Tensor, told: Told, keys: Iterator[Tensor]) -> Tensor:
        """``(n, tokens, width)`` and ``(n, 1, n_modulations * width)``; takes its own of the keys."""
        parts = modulation.split(self.width, dim=-1)
        if self.attends:
            scale, shift, gate = parts[3:]
            x = torch.addcmul(x, gate, self.attend(torch.addcmul(shift, self.norms[0](x), 1 + scale)))
            x = x + self.read(self.norms[1](x), next(keys), told.present)
        scale, shift, gate = parts[:3]
        return torch.addcmul(x, gate, self.mix(torch.addcmul(shift, self.norms[2](x), 1 + scale)))


class _FeedForward(nn.Sequential):
    """Two layers on each token."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))


class _TokenConvolution(nn.Module):
    """Two convolutions of three tokens on ``(n, tokens, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _Convolution(width, width)
        self.second = _Convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.silu(self.first(x)))


class _Convolution(nn.Linear):
    """A convolution of three tokens on ``(n, tokens, width)``, as a sum of three products.

    Rows of a product round alike however many there are, which a convolution's do not.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(3 * n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        rows = F.pad(x, (0, 0, 1, 1)).flatten(0, 1)
        last, this, following = self.weight.chunk(3, dim=1)
        # Of all neighbouring rows, those of two recordings as well: they are passed over.
        y = torch.addmm(self.bias, rows[:-2], last.T)
        y = torch.addmm(torch.addmm(y, rows[1:-1], this.T), rows[2:], following.T)
        width = self.out_features
        return y.as_strided((n, tokens, width), ((tokens + 2) * width, width, 1))


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
        nn.init.zeros_(self.until.bias)
        self.base_scale = math.sqrt(a.base_dim)  # a unit vector's entries, brought to unit variance
        self.nobody = nn.Parameter(torch.randn(a.base_dim) * 0.1)
        self.person = nn.Sequential(
            RowLinear(a.base_dim, a.embedding_dim), nn.SiLU(), RowLinear(a.embedding_dim, a.embedding_dim)
        )
        self.tokens = ConditionTokens(a.token_dim)
        self.enter = _Convolution(2 * a.latent_dim + N_CHANNELS, w0)
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
        # All scales, shifts and gates are one product: eighteen small ones would cost as much as a layer.
        self.modulation = RowLinear(a.embedding_dim, sum(self._modulations))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        last = nn.Linear(w0, a.latent_dim)
        nn.init.zeros_(last.weight)
        self.leave = nn.Sequential(nn.LayerNorm(w0), nn.SiLU(), last)

    def tell(self, base: Tensor, has_base: Tensor, conditions: ConditionArrays, context: Tensor) -> Told:
        """Work out what does not change from step to step.

        Parameters
        ----------
        base : Tensor (n, base_dim)
            Base vectors of unit length.
        has_base : bool Tensor (n,)
            False where there is no person.
        conditions : ConditionArrays of n
        context : Tensor (n, latent_dim + N_CHANNELS, m)
            The latents of counterfactual beats and the rhythm, as `Conditioning.context` makes it.
        """
        tokens, present = self.tokens(conditions)
        base = torch.where(has_base[:, None], base * self.base_scale, self.nobody)
        beats, rhythm = context.split([len(self.spread), context.shape[1] - len(self.spread)], dim=1)
        return Told(
            self.person(base),
            [layer.read.keys(tokens) for layer in self._layers if layer.attends],
            present,
            torch.cat([beats / self.spread[:, None], rhythm], dim=1),
        )

    def forward(self, x: Tensor, time: Tensor, told: Told, until: Tensor | None = None) -> Tensor:
        """Predict clean latents.

        Parameters
        ----------
        x : Tensor (n, latent_dim, m)
            Noisy latents; m is a multiple of 4.
        time : Tensor (n,)
            0 is noise, 1 is data.
        told : Told of n
        until : Tensor (n,), optional
            The time that an Euler step with this prediction is to reach; by default it is infinitesimal.
        """
        t, s = time[:, None, None], self.spread[:, None]
        scale = (t * t * s * s + (1 - t) ** 2).rsqrt()
        embedding = self.time(self.time_features(2 * time - 1))
        if until is not None:
            embedding = embedding + self.until(self.time_features(2 * until - 1))
        seen = torch.cat([x * scale, told.context], dim=1)
        body = self._network(seen, embedding + told.person, told)
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

    @property
    def _layers(self) -> list[_Layer]:
        """The layers, in the order in which they are passed through."""
        stages = (self.down0, self.down1, self.middle, self.up1, self.up0)
        return [cast(_Layer, layer) for stage in stages for layer in stage]

    @property
    def _modulations(self) -> list[int]:
        return [layer.n_modulations * layer.width for layer in self._layers]

    def _network(self, x: Tensor, embedding: Tensor, told: Told) -> Tensor:
        modulations = iter(self.modulation(F.silu(embedding))[:, None].split(self._modulations, dim=-1))
        keys = iter(told.keys)

        def through(stage: nn.ModuleList, x: Tensor) -> Tensor:
            for layer in stage:
                x = layer(x, next(modulations), told, keys)
            return x

        x = fine = through(self.down0, self.enter(x.transpose(1, 2)))  # (n, m, w0)
        x = coarse = through(self.down1, self.to1(_merge(x)))  # (n, m / 2, w1)
        x = through(self.middle, self.to2(_merge(x)))  # (n, m / 4, w2)
        x = through(self.up1, self.join1(torch.cat([_split(self.from2(x)), coarse], dim=-1)))
        x = through(self.up0, self.join0(torch.cat([_split(self.from1(x)), fine], dim=-1)))
        return self.leave(x).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:  # two tokens become one: (n, m, w) -> (n, m / 2, 2 w)
    return x.unflatten(1, (-1, 2)).flatten(2)


def _split(x: Tensor) -> Tensor:  # and back: (n, m, 2 w) -> (n, 2 m, w)
    return x.unflatten(2, (2, -1)).flatten(1, 2)
