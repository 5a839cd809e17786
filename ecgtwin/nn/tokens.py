"""Conditions as arrays, and as the tokens that attention reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..conditions import STATEMENTS, Condition
from ..statements import COMPANY, RHYTHMS
from .layers import FourierFeatures, RowLinear

N_STATEMENTS = len(STATEMENTS)
_CODE = {code: i + 1 for i, code in enumerate(STATEMENTS)}
_SEX = {None: 0, "M": 1, "F": 2}
_RHYTHMS = [STATEMENTS.index(code) for code in sorted(RHYTHMS)]
_COMPANY = torch.tensor(
    [[COMPANY.get(code, {}).get(other, 0.0) for other in STATEMENTS] for code in STATEMENTS]
)
"""How much each statement, a column, comes along with each, a row."""


@dataclass(frozen=True)
class ConditionArrays:
    """A batch of conditions.

    Parameters
    ----------
    statements : int64 tensor (n, s)
        Statement numbers from 1, in the order of `ecgtwin.conditions.STATEMENTS`; 0 is empty.
    age : float tensor (n,)
        Years; NaN is unknown.
    sex : int64 tensor (n,)
        0 unknown, 1 male, 2 female.
    heart_rate : float tensor (n,)
        Beats per minute; NaN is unknown.
    """

    statements: Tensor
    age: Tensor
    sex: Tensor
    heart_rate: Tensor

    def __len__(self) -> int:
        return len(self.sex)

    def __getitem__(self, rows: Tensor | slice) -> ConditionArrays:
        return ConditionArrays(self.statements[rows], self.age[rows], self.sex[rows], self.heart_rate[rows])

    def to(self, device: torch.device | str) -> ConditionArrays:
        """Move to a device."""
        return ConditionArrays(
            *(part.to(device) for part in (self.statements, self.age, self.sex, self.heart_rate))
        )

    def repeat(self, times: int) -> ConditionArrays:
        """Repeat all rows, one set after the other."""
        return self[torch.arange(len(self), device=self.sex.device).repeat(times)]

    def keep(self, kept: Tensor) -> ConditionArrays:
        """Keep parts: bool ``(n, s + 3)`` for statements, age, sex and heart rate, or ``(n, 1)`` for all."""
        s = self.statements.shape[1]
        kept = kept.expand(-1, s + 3)
        nan = torch.tensor(float("nan"))
        return ConditionArrays(
            self.statements * kept[:, :s],
            torch.where(kept[:, s], self.age, nan),
            self.sex * kept[:, s + 1],
            torch.where(kept[:, s + 2], self.heart_rate, nan),
        )


def encode_conditions(conditions: Sequence[Condition]) -> ConditionArrays:
    """Turn conditions into arrays.

    Examples
    --------
    >>> encode_conditions([Condition(statements="NORM"), Condition(age=60)]).statements.shape
    torch.Size([2, 1])
    """
    longest = max((len(c.statements) for c in conditions), default=0)
    statements = np.zeros((len(conditions), max(longest, 1)), dtype=np.int64)
    for row, condition in zip(statements, conditions, strict=True):
        row[: len(condition.statements)] = [_CODE[code] for code in condition.statements]
    nan = float("nan")
    return ConditionArrays(
        torch.from_numpy(statements),
        torch.tensor([nan if c.age is None else c.age for c in conditions], dtype=torch.float32),
        torch.tensor([_SEX[c.sex] for c in conditions], dtype=torch.int64),
        torch.tensor(
            [nan if c.heart_rate is None else c.heart_rate for c in conditions], dtype=torch.float32
        ),
    )


def statement_matrix(conditions: ConditionArrays) -> Tensor:
    """Return the statements as zeros and ones, ``(n, 71)``, in the order of `STATEMENTS`."""
    numbers = conditions.statements
    table = torch.zeros(len(numbers), N_STATEMENTS + 1, device=numbers.device)
    return table.scatter_(1, numbers, 1.0)[:, 1:]  # the first column is the empty places


def in_full(
    conditions: Sequence[Condition], device: torch.device | str = "cpu"
) -> tuple[ConditionArrays, Tensor]:
    """Return what the networks are told of conditions asked for, and statements that come along ``(n, 71)``.

    Recordings to learn from name their rhythm and all that they show. Who names no rhythm, as in "LVH", has
    not listed everything: the rhythm is sinus, and beats are those to expect of all recordings with LVH. What
    comes along is the mean over the statements named.
    """
    asked = encode_conditions(conditions).to(device)
    shown = statement_matrix(asked)
    short = shown.any(dim=1) & ~shown[:, _RHYTHMS].any(dim=1)
    company = shown @ _COMPANY.to(shown) / shown.sum(dim=1, keepdim=True).clamp(min=1)
    if short.any():
        rhythm = short[:, None] * _CODE["SR"]
        asked = replace(asked, statements=torch.cat([asked.statements, rhythm], dim=1))
    return asked, company * short[:, None]


class ConditionTokens(nn.Module):
    """One token for each statement, for age, for sex and for heart rate, and one that is always there.

    The last one lets attention rest when nothing else applies, so that a single statement is not
    attended to with weight 1 everywhere.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.statement = nn.Embedding(len(STATEMENTS) + 1, width)
        self.sex = nn.Embedding(3, width)
        self.rest = nn.Parameter(torch.randn(width) * 0.5)
        fourier = FourierFeatures()
        self.age, self.heart_rate = (
            nn.Sequential(fourier, RowLinear(fourier.width, width), nn.SiLU(), RowLinear(width, width))
            for _ in range(2)
        )

    def forward(self, c: ConditionArrays) -> tuple[Tensor, Tensor]:
        """Return tokens ``(n, s + 4, width)`` and bool ``(n, s + 4)``, which of them are present."""
        # Rates live on a ratio scale; both numbers are brought to about [-1, 1].
        age = torch.nan_to_num((c.age - 50) / 50)
        rate = torch.nan_to_num((c.heart_rate.clamp(min=20) / 77.5).log() / 1.36)
        tokens = torch.cat(
            [
                self.statement(c.statements),
                torch.stack([self.age(age), self.sex(c.sex), self.heart_rate(rate)], dim=1),
                self.rest.expand(len(c), 1, -1),
            ],
            dim=1,
        )
        number = torch.stack(
            [~c.age.isnan(), c.sex > 0, ~c.heart_rate.isnan(), torch.ones_like(c.sex, dtype=torch.bool)], 1
        )
        return tokens, torch.cat([c.statements > 0, number], dim=1)
