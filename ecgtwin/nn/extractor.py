"""The Individual Base Extractor: one recording to the vector of its person (ECGTwin, section on the IBE).

It reads the typical beat of a recording, on the clock of `ecgtwin.nn.registration`, and its intervals: a
median beat holds nearly all that lasts from one recording of a person to the next, and none of the noise
and rhythm of the day, which a network that reads the whole recording learns to tell people by. A lead that
is missing is zero and flagged. As in the paper, what the recording's own condition explains is passed through
ReLU and *subtracted*.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..rhythm import BEAT
from .architecture import Architecture
from .registration import INTERVALS, registered, textbook
from .tokens import N_STATEMENTS, ConditionArrays, statement_matrix

N_LEADS = 8
_INTERVAL_SPREAD = 0.2
"""How much the logs of intervals differ between people, about."""


class BeatReader(nn.Module):
    """Convolutions over registered beats ``(n, 8, BEAT)`` in mV, then a layer that reads intervals too."""

    def __init__(self, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        *channels, hidden = widths
        layers: list[nn.Module] = []
        length = BEAT
        for n_in, n_out in pairwise((2 * N_LEADS, *channels)):
            layers += [nn.Conv1d(n_in, n_out, 9, stride=2, padding=4), nn.GELU()]
            length = (length + 1) // 2
        self.shapes = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout))
        self.join = nn.Linear((channels[-1] if channels else 2 * N_LEADS) * length + len(INTERVALS), hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, beats: Tensor, intervals: Tensor, present: Tensor) -> Tensor:
        """Registered beats, logs of ms ``(n, 5)``, bool ``(n, 8)`` to ``(n, widths[-1])``."""
        flags = present.to(beats.dtype)[:, :, None].expand(-1, -1, beats.shape[-1])
        x = self.shapes(torch.cat([2 * beats * flags, flags], dim=1))
        x = torch.cat([x, (intervals - textbook(intervals)) / _INTERVAL_SPREAD], dim=1)
        return self.drop(F.gelu(self.join(x)))


class BaseExtractor(nn.Module):
    """Typical beats, with the conditions they were recorded under, to base vectors of unit length."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.extractor_widths
        self.read = BeatReader(widths, dropout=0.3)
        self.explain = nn.Linear(N_STATEMENTS, widths[-1], bias=False)
        self.head = nn.Linear(widths[-1], architecture.base_dim)

    def forward(
        self, beats: Tensor, intervals: Tensor, present: Tensor, conditions: ConditionArrays
    ) -> Tensor:
        """Return base vectors.

        Parameters
        ----------
        beats : Tensor (n, 8, BEAT)
            Typical beats at 100 Hz in mV.
        intervals : Tensor (n, 5)
            Logs of ms; NaN where not measurable.
        present : bool Tensor (n, 8)
            Which leads there are.
        conditions : ConditionArrays of n
            What the recordings show; of one that is not known nothing is subtracted.
        """
        whole = torch.where(intervals.isnan(), textbook(intervals), intervals)
        x = self.read(registered(beats, whole), whole, present)
        x = x - F.relu(self.explain(statement_matrix(conditions)))
        return F.normalize(self.head(x), dim=-1)
