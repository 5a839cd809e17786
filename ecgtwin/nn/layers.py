"""Building blocks that the networks share."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowLinear(nn.Linear):
    """A linear layer on ``(..., width)`` whose rows do not feel how many they are.

    Matrix products of a few rows take other routes than larger ones and round otherwise; in fours
    they do not. The flow would magnify the difference, and a seed's twin depend on the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        y = super().forward(F.pad(rows, (0, 0, 0, -len(rows) % 4)))[: len(rows)]
        return y.unflatten(0, x.shape[:-1])


class FourierFeatures(nn.Module):
    """Numbers in [-1, 1] as sines and cosines of octaves: a lone linear layer would not hear them."""

    frequencies: Tensor

    def __init__(self, octaves: int = 8) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(-1, octaves - 1), persistent=False)
        self.width = 2 * octaves + 1

    def forward(self, values: Tensor) -> Tensor:  # (...,) -> (..., width)
        angles = values[..., None] * self.frequencies
        return torch.cat([values[..., None], angles.sin(), angles.cos()], dim=-1)


def rotate(x: Tensor) -> Tensor:
    """Rotary position encoding (Su et al. 2021) of ``(..., tokens, width)``."""
    cos, sin = _rotations(x.shape[-2], x.shape[-1] // 2, x.device, x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@lru_cache(maxsize=32)
def _rotations(tokens: int, half: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rates = 100.0 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angles = torch.arange(tokens, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, present: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention over ``(batch, heads, tokens, width)``; `present` masks keys."""
    if q.is_cuda or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=present)
    # On the CPU the fused kernel's backward pass costs ten times these three lines.
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if present is not None:
        logits = logits.masked_fill(~present, float("-inf"))
    return logits.softmax(dim=-1).to(v.dtype) @ v


class SelfAttention(nn.Module):
    """Attention between the tokens of one recording, with rotary positions: beats see each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # (b, tokens, width)
        b, t, w = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(qkv[:2]).unbind()
        y = attention(q, k, qkv[2])
        return self.out(y.transpose(1, 2).reshape(b, t, w))


class CrossAttention(nn.Module):
    """Attention from a recording's tokens to condition tokens; absent tokens are masked out."""

    def __init__(self, width: int, token_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = RowLinear(token_dim, 2 * width)
        self.out = nn.Linear(width, width)

    def keys(self, tokens: Tensor) -> Tensor:
        """Return the tokens' ``(b, l, d)`` keys and values ``(2, b, heads, l, width)``."""
        return self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, keys: Tensor, present: Tensor) -> Tensor:  # (b, t, w), keys, (b, l)
        y = attention(self._queries(x), keys[0], keys[1], present[:, None, None, :])
        return self.out(y.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, keys: Tensor, present: Tensor) -> Tensor:
        """Return how much each place of a recording reads each token, ``(b, t, l)``, the mean over heads."""
        q = self._queries(x)
        logits = (q * q.shape[-1] ** -0.5) @ keys[0].transpose(-2, -1)
        return logits.masked_fill(~present[:, None, None, :], float("-inf")).softmax(dim=-1).mean(dim=1)

    def _queries(self, x: Tensor) -> Tensor:  # (b, t, w) -> (b, heads, t, width)
        return self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
