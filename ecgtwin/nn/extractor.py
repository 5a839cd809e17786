"""The Individual Base Extractor: one recording to the vector of its person (ECGTwin, section on the IBE).

It reads the twelve leads themselves, since a reference may have any of them: a lead that is missing
is zero and flagged. Convolutions find the shapes of beats; then, as in the paper, cross-attention to
the recording's own condition is passed through ReLU and *subtracted*, so that what the condition
explains is removed before the mean over time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture
from .layers import CrossAttention, SelfAttention
from .tokens import ConditionArrays, ConditionTokens

N_LEADS = 12


class _Stage(nn.Module):
    """Two residual convolutions that halve the time axis.

    Batch norm keeps amplitudes comparable between people; norms within a recording would not.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False)
        self.second = nn.Conv1d(n_out, n_out, kernel, padding=kernel // 2, bias=False)
        self.third = nn.Conv1d(n_out, n_out, kernel, padding=kernel // 2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_out) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:  # (n, n_in, t) -> (n, n_out, t / 2)
        x = self.norms[0](self.first(x))
        y = self.norms[1](self.second(F.silu(x)))
        return F.silu(x + self.norms[2](self.third(F.silu(y))))


class _SubtractingLayer(nn.Module):
    """Self-attention, minus what the condition explains, then a feed-forward layer; pre-norm."""

    def __init__(self, width: int, token_dim: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attend = SelfAttention(width, heads)
        self.explain = CrossAttention(width, token_dim, heads)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, tokens: Tensor, present: Tensor) -> Tensor:
        x = x + self.attend(self.norms[0](x))
        x = x - F.relu(self.explain(self.norms[1](x), self.explain.keys(tokens), present))
        return x + self.feed(self.norms[2](x))


class BaseExtractor(nn.Module):
    """Recordings ``(n, 12, t)`` in mV at 100 Hz, with their conditions, to base vectors ``(n, base_dim)``.

    Base vectors have unit length. Where nothing is known of a condition, only the token that is
    always there remains: the paper's learned null token.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.extractor_widths
        self.stages = nn.Sequential(
            *(_Stage(a, b) for a, b in zip((2 * N_LEADS, *widths), widths, strict=False))
        )
        self.tokens = ConditionTokens(architecture.token_dim)
        self.layers = nn.ModuleList(
            _SubtractingLayer(widths[-1], architecture.token_dim, architecture.heads)
            for _ in range(architecture.extractor_layers)
        )
        self.norm = nn.LayerNorm(2 * widths[-1])
        self.head = nn.Linear(2 * widths[-1], architecture.base_dim)

    def forward(self, signals: Tensor, present: Tensor, conditions: ConditionArrays) -> Tensor:
        """Signals ``(n, 12, t)``, bool `present` ``(n, 12)``."""
        flags = present.to(signals.dtype)[:, :, None]
        # An electrode's offset is not the person's.
        signals = signals - signals.median(dim=-1, keepdim=True).values
        x = torch.cat([signals * flags, flags.expand(-1, -1, signals.shape[-1])], dim=1)
        x = self.stages(x).transpose(1, 2)  # (n, tokens, width)
        tokens, known = self.tokens(conditions)
        for layer in self.layers:
            x = layer(x, tokens, known)
        # The spread over time is the person's too: how alike the beats are, how much they breathe.
        x = torch.cat([x.mean(dim=1), x.std(dim=1, correction=min(1, x.shape[1] - 1))], dim=-1)
        return F.normalize(self.head(self.norm(x)), dim=-1)
