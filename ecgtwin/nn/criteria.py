"""Statements that a measurement defines: the nearest heart that has it.

Left posterior block is said of a frontal axis beyond 90 degrees, first degree block of a PR interval beyond
200 ms. What is to be expected under such a statement meets its criterion, but what is a person's own, added
to that, may lead back across the threshold. So where a counterfactual beat misses the criterion of what is
asked for, it gives way to the most probable one that does not: the nearest, where near is what hearts often
differ by (Mahalanobis distance). Criteria are read off the registered beat and its intervals. They are the
textbook's, most of them as in `ecgtwin.metrics.RULES`, which measures them on whole ECGs and by other means,
and have a margin for what the flow and the electrodes add after that.

References
----------
Surawicz, Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed. (2008). Hancock, Rautaharju,
Surawicz et al., AHA/ACCF/HRS recommendations for the standardization and interpretation of the
electrocardiogram, parts III-V, Circulation 119 (2009).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..conditions import STATEMENTS
from ..leads import INDEPENDENT_LEADS, LEADS, twelve_leads
from .prior import N_COMPONENTS, BeatPrior
from .registration import CLOCK, INTERVALS

_P, _P_END, _QRS, _R, _QRS_END, _T_END = CLOCK[1:7]
_LEVEL = 3  # samples before QRS whose mean is a lead's zero
_ST = slice(_QRS_END + 5, _QRS_END + 8)  # about 60 ms after QRS
_T = slice(_QRS_END + 6, _T_END)
_SEEN = 0.2  # of its height, at which a P wave is seen to begin

_TWELVE = torch.from_numpy(twelve_leads(np.eye(len(INDEPENDENT_LEADS), dtype=np.float32)))

_UPRIGHT = ("I", "II", "V4", "V5", "V6")
_CHEST = tuple((f"V{i}", f"V{i + 1}") for i in range(1, 6))
_CONTIGUOUS = (("I", "aVL"), ("II", "III"), ("II", "aVF"), ("III", "aVF"), *_CHEST)

_STEPS = 12
_MET = 1e-3  # what may lack, in mV or 100 ms
_FARTHEST = 8.0
"""Mahalanobis distance beyond which no heart is moved: that of one from the mean of all, in 64 components."""


@dataclass(frozen=True)
class Heart:
    """What criteria are about, of n hearts.

    Parameters
    ----------
    beats : Tensor (n, 12, BEAT)
        Registered, in mV from the level before QRS.
    intervals : Tensor (n, 5)
        In units of 100 ms.
    rates : Tensor (n,)
        Beats per minute.
    """

    beats: Tensor
    intervals: Tensor
    rates: Tensor

    @classmethod
    def of(cls, beats: Tensor, intervals: Tensor, rates: Tensor) -> Self:
        """Take registered beats ``(n, 8, BEAT)`` and logs of intervals in ms ``(n, 5)``."""
        level = beats[..., _QRS - _LEVEL : _QRS].mean(dim=2, keepdim=True)
        return cls(_TWELVE.to(beats) @ (beats - level), intervals.exp() / 100, rates.nan_to_num(nan=72))

    def lead(self, name: str, part: slice = slice(_QRS, _QRS_END + 1)) -> Tensor:
        """A part of a lead's beat ``(n, m)``, by default QRS."""
        return self.beats[:, LEADS.index(name), part]

    def r(self, lead: str) -> Tensor:
        """The highest point of QRS."""
        return self.lead(lead).amax(dim=1)

    def s(self, lead: str) -> Tensor:
        """The depth of its lowest point, be it Q or S."""
        return -self.lead(lead).amin(dim=1)

    def st(self, lead: str) -> Tensor:
        """The level 60 ms after QRS."""
        return self.lead(lead, _ST).mean(dim=1)

    def interval(self, name: str) -> Tensor:
        """One of `INTERVALS`, in 100 ms."""
        return self.intervals[:, INTERVALS.index(name)]

    def mean_qrs(self, lead: str) -> Tensor:
        """The mean of QRS over its time."""
        r, qrs = self.interval("r"), self.interval("qrs")
        before, after = (
            self.lead(lead, slice(*ends)).mean(dim=1) for ends in ((_QRS, _R), (_R, _QRS_END + 1))
        )
        return (before * r + after * (qrs - r)) / qrs

    def q(self, lead: str, ms: float) -> tuple[Tensor, Tensor]:
        """The lowest and the highest point within the first milliseconds of QRS."""
        r, qrs = (self.interval(name)[:, None].detach() for name in ("r", "qrs"))
        before = torch.arange(1, _R - _QRS, device=r.device) * r / (_R - _QRS)
        after = r + torch.arange(_QRS_END - _R + 1, device=r.device) * (qrs - r) / (_QRS_END - _R)
        wave, early = self.lead(lead)[:, 1:], torch.cat([before, after], dim=1) <= ms / 100
        early[:, 0] = True
        return (
            torch.where(early, wave, torch.inf).amin(dim=1),
            torch.where(early, wave, -torch.inf).amax(dim=1),
        )

    def beyond(self, degrees: float) -> Tensor:
        """How far the mean QRS vector of the frontal plane lies clockwise of an axis, in mV."""
        # A Goldberger lead is short by the root of 3/4.
        foot, left = self.mean_qrs("aVF") * 2 / 3**0.5, self.mean_qrs("I")
        return foot * float(np.cos(np.deg2rad(degrees))) - left * float(np.sin(np.deg2rad(degrees)))

    def seen_pr(self) -> Tensor:
        """PR from where P is seen to begin, in 100 ms: some P waves rise slowly."""
        return self.interval("pr") - self._hidden() / (_P_END - _P) * self.interval("p")

    @torch.no_grad()
    def _hidden(self) -> Tensor:
        """Samples of P until it has a fifth of its height, in the direction of its top."""
        waves = self.beats[:, :, _P : _P_END + 1]
        top = waves.norm(dim=1).argmax(dim=1, keepdim=True)
        towards = waves.gather(2, top[:, None].expand(-1, len(LEADS), 1))
        wave = (towards * waves).sum(dim=1)
        places = torch.arange(wave.shape[1], device=wave.device)
        lowest = torch.where(places <= top, wave, torch.inf).amin(dim=1, keepdim=True)
        level = lowest + _SEEN * (wave.gather(1, top) - lowest)
        return torch.where((wave <= level) & (places <= top), places, 0).amax(dim=1).to(wave.dtype)


Lack = Callable[[Heart], Tensor]
"""Says how much hearts lack to a criterion, ``(n,)``; zero or less where they meet it."""


def _all(*lacks: Tensor) -> Tensor:
    return torch.stack(lacks).amax(dim=0)


def _any(*lacks: Tensor) -> Tensor:
    return torch.stack(lacks).amin(dim=0)


def _long_pr(heart: Heart) -> Tensor:
    return 2.14 - heart.seen_pr()


def _long_qt(heart: Heart) -> Tensor:
    return 4.7 * (60 / heart.rates).sqrt() - heart.interval("qt")


# A vector that is hardly there has no axis: so it is to be 0.04 mV beyond.


def _axis_to_the_right(heart: Heart) -> Tensor:
    return _all(0.04 - heart.beyond(92), 0.04 + heart.beyond(178))


def _axis_to_the_left(heart: Heart) -> Tensor:
    """An axis of -30 to -90 degrees, and rS in II, III or aVF."""

    def rs(lead: str) -> Tensor:
        r, s = heart.r(lead), heart.s(lead)
        return _all(0.05 - r, 1.1 * r - s, -0.04 - heart.q(lead, 15)[0])

    return _all(0.04 + heart.beyond(-31), 0.04 - heart.mean_qrs("I"), _any(rs("II"), rs("III"), rs("aVF")))


def _low_voltage(heart: Heart) -> Tensor:
    # Far below 1.5 mV, for noise adds most to small complexes.
    return torch.stack([heart.r(lead) + heart.s(lead) for lead in ("I", "II", "III")]).sum(dim=0) - 1.25


def _voltages(heart: Heart, of_limit: float) -> tuple[Tensor, Tensor, Tensor]:
    """What is missing to a share of the limits of Sokolow and Lyon, of Cornell, and of R in aVL."""
    lateral = torch.maximum(heart.r("V5"), heart.r("V6"))
    return (
        3.5 * of_limit - lateral - heart.s("V1"),
        2.8 * of_limit - heart.r("aVL") - heart.s("V3"),
        1.1 * of_limit - heart.r("aVL"),
    )


def _high_voltage(heart: Heart) -> Tensor:
    # What sharpens beats later makes R and S a few per cent taller. A tall R in aVL will do but is not aimed
    # at: the shortest way there is another axis.
    sokolow, cornell, lateral = _voltages(heart, 0.98)
    return _any(sokolow, cornell, torch.where(lateral <= 0, lateral, torch.inf))


def _tall_r_in_v1(heart: Heart) -> Tensor:
    return _all(1.03 * heart.s("V1") - heart.r("V1"), 0.51 - heart.r("V1"))


def _tall_p(heart: Heart) -> Tensor:
    return 0.28 - heart.lead("II", slice(_P, _P_END + 1)).amax(dim=1)


def _st_depressed(heart: Heart) -> Tensor:
    return _any(*(torch.maximum(heart.st(one), heart.st(other)) + 0.09 for one, other in _CONTIGUOUS))


def _t_inverted(heart: Heart) -> Tensor:
    """T of -0.1 mV or more, and larger below zero than above, in two contiguous leads."""

    def t(lead: str) -> Tensor:
        wave = heart.lead(lead, _T)
        return _all(wave.amin(dim=1) + 0.1, wave.amax(dim=1) + wave.amin(dim=1) + 0.04)

    pairs = (("I", "aVL"), ("II", "aVF"), ("V4", "V5"), ("V5", "V6"))
    return _any(*(torch.maximum(t(one), t(other)) for one, other in pairs))


def _left_bundle_branch_block(heart: Heart) -> Tensor:
    """QRS of 120 ms; where it is upright of I and V6, no q, and T mostly below zero."""
    lacks = [1.22 - heart.interval("qrs")]
    for lead in ("I", "V6"):
        (lowest, _), t = heart.q(lead, 40), heart.lead(lead, _T)
        opposite = _all(-0.02 - lowest, t.mean(dim=1) + 0.03, t.amax(dim=1) + t.amin(dim=1) + 0.04)
        lacks.append(torch.where(heart.mean_qrs(lead) > 0, opposite, -torch.inf))
    return _all(*lacks)


def _pathological_q(heart: Heart) -> Tensor:
    """Q of 30 ms, or QS, of 0.13 mV in two contiguous leads."""

    def lack(lead: str) -> Tensor:
        lowest, highest = heart.q(lead, 36)
        qs = _all(heart.r(lead) - 0.01, 0.13 - heart.s(lead))
        return _any(_all(highest + 0.03, lowest + 0.13), qs)

    lacks = {lead: lack(lead) for lead in LEADS if lead != "aVR"}
    return _any(*(torch.maximum(lacks[one], lacks[other]) for one, other in _CONTIGUOUS))


def _normal(heart: Heart) -> Tensor:
    """PR, QRS and axis within normal limits, ST near zero, no high voltages."""
    pr, qrs = heart.interval("pr"), heart.interval("qrs")
    st = (heart.st(lead).abs() - 0.08 for lead in _UPRIGHT)
    axis = -heart.beyond(-24), heart.beyond(84)
    return _all(pr - 1.92, 1.28 - pr, qrs - 1.07, *axis, *st, *(-v for v in _voltages(heart, 0.93)))


@dataclass(frozen=True)
class Criterion:
    """What defines a statement, and the wave that it is about, if it is about one."""

    lack: Lack
    wave: str | None = None


CRITERIA: dict[str, Criterion] = {
    **dict.fromkeys(("1AVB", "LPR"), Criterion(_long_pr)),
    "LNGQT": Criterion(_long_qt),
    "CLBBB": Criterion(_left_bundle_branch_block, "ST-T"),
    "LPFB": Criterion(_axis_to_the_right, "QRS"),
    "LAFB": Criterion(_axis_to_the_left, "QRS"),
    "LVOLT": Criterion(_low_voltage, "QRS"),
    **dict.fromkeys(("LVH", "VCLVH"), Criterion(_high_voltage, "QRS")),
    "RVH": Criterion(_tall_r_in_v1, "QRS"),
    "QWAVE": Criterion(_pathological_q, "QRS"),
    "RAO/RAE": Criterion(_tall_p, "P"),
    "STD_": Criterion(_st_depressed, "ST-T"),
    "INVT": Criterion(_t_inverted, "ST-T"),
    "NORM": Criterion(_normal),
}
"""What there is a criterion for. NORM's counts where nothing else is asked for that has one."""

WAVES = ("P", "QRS", "ST-T")
_OF_WAVE = torch.tensor([[one.wave == wave for wave in WAVES] for one in CRITERIA.values()])

JUDGED = [STATEMENTS.index(code) for code in CRITERIA]


def defined_waves(statements: Tensor) -> Tensor:
    """Tell which of `WAVES` statements bool ``(n, N_STATEMENTS)`` are about, bool ``(n, 3)``."""
    return (statements[:, JUDGED, None] & _OF_WAVE.to(statements.device)).any(dim=1)


def nearest_that_meet(
    prior: BeatPrior, beats: Tensor, intervals: Tensor, rates: Tensor, statements: Tensor
) -> tuple[Tensor, Tensor]:
    """Return by which principal components beats are to change to meet criteria, and their intervals.

    Each step goes to the nearest heart that meets the criterion that is missed by most, were it linear
    (projection onto a half-space, as in Gauss and Newton's method). Several criteria are met in turn, and
    those that contradict each other end in between.

    Parameters
    ----------
    prior : BeatPrior
    beats : Tensor (n, 8, BEAT)
        Registered, in mV.
    intervals : Tensor (n, 5)
        Logs of ms.
    rates : Tensor (n,)
        Beats per minute.
    statements : bool Tensor (n, N_STATEMENTS)
        Whose criteria are to be met.

    Returns
    -------
    Tensor (n, N_COMPONENTS), of unit variance, and Tensor (n, 5)
    """
    shown = statements[:, JUDGED]
    shown[:, -1] &= ~shown[:, :-1].any(dim=1)  # NORM is the last
    asked = [(one.lack, rows) for one, rows in zip(CRITERIA.values(), shown.T, strict=True) if rows.any()]
    components = beats.new_zeros(len(beats), N_COMPONENTS)
    deviations = torch.zeros_like(intervals)
    with torch.enable_grad():
        for _ in range(_STEPS if asked else 0):
            moved = components.requires_grad_(), deviations.requires_grad_()
            heart = Heart.of(
                beats + prior.transfer.residuals(components),
                intervals + deviations @ prior.interval_spread.T,
                rates,
            )
            lacks = [torch.where(rows, lack(heart), -torch.inf) for lack, rows in asked]
            most = torch.stack(lacks).amax(dim=0)
            most = torch.where(most > _MET, most, 0)
            if not most.any():
                break
            slopes = torch.autograd.grad(most.sum(), moved, materialize_grads=True)
            steepness = torch.cat(slopes, dim=1).square().sum(dim=1, keepdim=True)
            step = most.detach()[:, None] / steepness.clamp(min=1e-9)
            components, deviations = (x.detach() - step * s for x, s in zip(moved, slopes, strict=True))
    far = torch.cat([components, deviations], dim=1).detach().norm(dim=1, keepdim=True)
    kept = (_FARTHEST / far.clamp(min=1e-9)).clamp(max=1)
    return kept * components.detach(), intervals + kept * deviations.detach() @ prior.interval_spread.T
