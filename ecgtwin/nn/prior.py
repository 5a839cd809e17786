"""What a person's beats would be under another condition, to first order: a model of typical beats.

The condition explains a part of a typical beat, of its shape and of its intervals: what each fact adds, in
closed form, and what facts do together, by a small network. The rest, the residual, is the person's.
Under another condition the person keeps the residual: the expected beat of the condition plus the
residual is the *counterfactual beat*. This is the subtracting pathway of ECGTwin on the signal itself;
the denoiser sees counterfactual beats in the places of the twin's beats, and learns how far to trust them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..conditions import STATEMENTS
from ..rhythm import BEAT
from .autoencoder import N_LEADS
from .registration import CLOCK, INTERVALS, registered, risen, textbook
from .tokens import N_STATEMENTS, ConditionArrays, statement_matrix
from .transfer import N_COMPONENTS, Transfer

_BELIEF = 20.0
"""A statement of so many recordings is believed by half, in what it does to shapes."""

_INTERVAL_BELIEF = 5.0
"""The same for intervals: five numbers are sooner known than a shape."""

_FARTHEST = 3.0
"""Standard deviations from what is expected within which a person's own intervals are."""

_REACH = (0.19, 0.12, 0.39, 0.21, 0.24)
"""How far, in logs, a condition moves an interval until a person's own in it has faded to 1 / e.

Fitted to the 6,660 pairs of recordings of one person in folds 1-8 of PTB-XL."""

_FADE = 4  # samples over which a residual fades to where nothing is known

PACED = STATEMENTS.index("PACE")

N_PACING = 12
"""Numbers that say where a pacemaker paces: so many principal components have nine tenths of what paced beats
differ by."""

N_HEART = len(INTERVALS) + N_COMPONENTS + 1
"""Numbers by which typical beats of hearts differ: their intervals, principal components of their shapes, and
how far they are from what is expected."""

_FAR_OR_NEAR = 0.26
"""By how much the sizes of hearts' residuals differ, in logs, beyond what chance makes of 64 components.

Measured on the healthy of folds 1-8 of PTB-XL: some hearts are more unusual than others in all components."""

N_WAVES = 3
"""P, QRS, and ST with T."""

_MOST_SCALED = 1.2
"""The largest change of a residual's size, as a logarithm."""

_JOIN = 3  # samples to each side of a border over which one wave's scale becomes the next one's

N_FACTS = N_STATEMENTS + 2
"""Of a person as recorded, or a condition: statements, age and sex."""

N_FACTORS = N_FACTS + 3
"""Facts, the square of age, and the heart rate as its log and the square of that."""


def facts_of(conditions: ConditionArrays) -> Tensor:
    """Return the facts of conditions, ``(n, N_FACTS)``.

    Statements are 0 or 1, age is (age - 60) / 20, sex 1 (male) or -1; NaN is not known.
    """
    age = ((conditions.age - 60) / 20).clamp(-2.5, 2.5)
    sex = torch.tensor([float("nan"), 1.0, -1.0], device=age.device)[conditions.sex]
    return torch.cat([statement_matrix(conditions), age[:, None], sex[:, None]], dim=1)


class Interaction(nn.Module):
    """What facts do together to beats and intervals, beyond the sum of what each of them does.

    It starts as nothing at all, and remains that until it is trained.
    """

    factor_spread: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("factor_spread", torch.ones(N_FACTORS))
        self.register_buffer("spread", torch.ones(N_LEADS * BEAT + len(INTERVALS)))
        self.read = nn.Sequential(
            nn.Linear(N_FACTORS, width),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(width, N_LEADS * BEAT + len(INTERVALS)),
        )
        self.forget()
        self.requires_grad_(False)

    def forget(self) -> None:
        """Become nothing at all."""
        last = cast(nn.Linear, self.read[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def centre(self, factors: Tensor) -> None:
        """Become nothing on average over these factors ``(n, N_FACTORS)``: the means are told elsewhere."""
        last = cast(nn.Linear, self.read[-1])
        last.bias.sub_(self.read(factors / self.factor_spread).mean(dim=0))

    def forward(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Return registered beats ``(n, 8, BEAT)`` in mV, and logs of intervals ``(n, 5)``.

        Parameters
        ----------
        factors : Tensor (n, N_FACTORS)
            Less their means.
        """
        found = self.read(factors / self.factor_spread) * self.spread
        beats, intervals = found.split([N_LEADS * BEAT, len(INTERVALS)], dim=1)
        return beats.unflatten(1, (N_LEADS, BEAT)), intervals


class BeatPrior(nn.Module):
    """Expected beats and intervals of conditions; with what is a person's own added, counterfactual ones.

    Beats ``(n, 8, BEAT)`` in mV are registered, intervals ``(n, 5)`` are logs of those of
    `ecgtwin.nn.registration.INTERVALS` in ms.
    """

    mean: Tensor
    centre: Tensor
    effect: Tensor
    usual_intervals: Tensor
    interval_effect: Tensor
    interval_spread: Tensor
    scale_effect: Tensor
    pacing: Tensor
    guess: Tensor
    guess_centre: Tensor

    def __init__(self, base_dim: int, interaction_width: int = 16, transfer_width: int = 16) -> None:
        super().__init__()
        n_intervals = len(INTERVALS)
        self.register_buffer("mean", torch.zeros(N_LEADS * BEAT))
        self.register_buffer("centre", torch.zeros(N_FACTORS))
        self.register_buffer("effect", torch.zeros(N_FACTORS, N_LEADS * BEAT))
        self.register_buffer("usual_intervals", textbook(torch.zeros(())))
        self.register_buffer("interval_effect", torch.zeros(N_FACTORS, n_intervals))
        self.register_buffer("interval_spread", torch.zeros(n_intervals, n_intervals))
        self.register_buffer("scale_effect", torch.zeros(N_FACTS, N_LEADS * N_WAVES))
        self.register_buffer("pacing", torch.zeros(N_PACING, N_LEADS * BEAT))
        self.register_buffer("guess", torch.zeros(base_dim, N_FACTS))
        self.register_buffer("guess_centre", torch.zeros(base_dim))
        self.interaction = Interaction(interaction_width)
        self.transfer = Transfer(N_FACTS, transfer_width)

    @torch.no_grad()
    def fit(self, beats: Tensor, intervals: Tensor, facts: Tensor, rates: Tensor, bases: Tensor) -> BeatPrior:
        """Fit what each fact adds by ridge regression, and what persons differ in beyond that.

        Parameters
        ----------
        beats : Tensor (n, 8, BEAT)
            Typical beats at 100 Hz in mV.
        intervals : Tensor (n, 5)
            Logs of ms; NaN where not measurable.
        facts : Tensor (n, N_FACTS)
        rates : Tensor (n,)
            Beats per minute.
        bases : Tensor (n, base_dim)
            Base vectors, from which facts are guessed where they are not known.
        """
        self.interaction.forget()
        known = torch.isfinite(facts)
        usual = torch.nan_to_num(facts).sum(dim=0) / known.sum(dim=0).clamp(min=1)
        self.centre[:N_FACTS] = usual  # of facts that are not known
        factors = self.factors(facts, rates).double()
        self.centre.copy_(factors.mean(dim=0))
        x = factors - self.centre.double()
        for i in range(len(INTERVALS)):
            measured = torch.isfinite(intervals[:, i])
            if measured.any():
                y = intervals[measured, i].double()
                self.usual_intervals[i], self.interval_effect[:, i] = _robust_ridge(
                    x[measured], y, _INTERVAL_BELIEF
                )
        y = registered(beats, self.whole_intervals(intervals, facts, rates)).flatten(1).double()
        self.mean.copy_(y.mean(dim=0))
        self.effect.copy_(_ridge(x, y - self.mean.double(), _BELIEF))
        self.guess_centre.copy_(bases.mean(dim=0))
        centred = bases.double() - self.guess_centre.double()
        penalty = 1e-3 * len(bases) / bases.shape[1]
        self.guess.copy_(_ridge(centred, x[:, :N_FACTS], penalty))
        return self.fit_residuals(beats, intervals, facts, rates)

    @torch.no_grad()
    def fit_residuals(self, beats: Tensor, intervals: Tensor, facts: Tensor, rates: Tensor) -> BeatPrior:
        """Fit how large residuals are, how far persons' own intervals lie apart, and beats that are paced.

        Arrays are as in `fit`.
        """
        own = intervals - self.intervals(facts, rates)
        farthest = _FARTHEST * robust_deviation(own)
        own = torch.nan_to_num(own).clamp(-farthest, farthest).double()
        covariance = own.T @ own / len(own)
        self.interval_spread.copy_(torch.linalg.cholesky(covariance + 1e-6 * torch.eye(len(INTERVALS))))
        known = torch.where(facts.isnan(), self.usual, facts)
        x = (known - self.usual).double()
        residuals = self.residuals(beats, intervals, known, rates)
        sizes = _sizes(residuals).flatten(1).double()
        self.scale_effect.copy_(_ridge(x, sizes - sizes.mean(dim=0), _BELIEF))
        return self.fit_pacing(residuals[known[:, PACED] > 0.5])

    @torch.no_grad()
    def fit_pacing(self, residuals: Tensor) -> BeatPrior:
        """Fit by what beats of pacemakers differ, of their residuals ``(n, 8, BEAT)``."""
        rows = residuals.flatten(1).double()
        _, sizes, axes = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
        k = min(N_PACING, len(sizes))
        self.pacing.zero_()
        self.pacing[:k] = (sizes[:k, None] * axes[:k] / max(len(rows), 1) ** 0.5).float()
        return self

    def paced_anew(self, pacing: Tensor) -> Tensor:
        """Return residuals ``(n, 8, BEAT)`` of beats paced where normal numbers ``(n, N_PACING)`` say."""
        return (pacing @ self.pacing).unflatten(1, (N_LEADS, BEAT))

    def factors(self, facts: Tensor, rates: Tensor) -> Tensor:
        """Facts ``(n, N_FACTS)`` and rates ``(n,)`` in beats per minute as ``(n, N_FACTORS)``.

        A rate that is not known, NaN, counts as 72; other facts as they are on average.
        """
        facts = torch.where(facts.isnan(), self.usual, facts)
        age = facts[:, N_STATEMENTS : N_STATEMENTS + 1]
        log = torch.nan_to_num((rates.clamp(min=20) / 72).log())[:, None]
        return torch.cat([facts, age.square(), log, log.square()], dim=1)

    def centred_factors(self, facts: Tensor, rates: Tensor) -> Tensor:
        """Return factors ``(n, N_FACTORS)`` less their means."""
        return self.factors(facts, rates) - self.centre

    def guessed(self, bases: Tensor) -> Tensor:
        """Guess the facts ``(n, N_FACTS)``, statements as probabilities, of persons as they were recorded."""
        found = (bases - self.guess_centre) @ self.guess + self.usual
        return torch.cat([found[:, :N_STATEMENTS].clamp(0, 1), found[:, N_STATEMENTS:]], dim=1)

    @property
    def usual(self) -> Tensor:
        """The mean of each fact, ``(N_FACTS,)``."""
        return self.centre[:N_FACTS]

    def forward(self, facts: Tensor, rates: Tensor) -> Tensor:
        """Return registered beats ``(n, 8, BEAT)`` to expect of facts ``(n, N_FACTS)`` at rates ``(n,)``."""
        factors = self.centred_factors(facts, rates)
        expected = self.mean + factors @ self.effect
        return expected.unflatten(1, (N_LEADS, BEAT)) + self.interaction(factors)[0]

    def intervals(self, facts: Tensor, rates: Tensor) -> Tensor:
        """Return the intervals ``(n, 5)`` to expect, logs of ms."""
        factors = self.centred_factors(facts, rates)
        return self.usual_intervals + factors @ self.interval_effect + self.interaction(factors)[1]

    def whole_intervals(self, intervals: Tensor, facts: Tensor, rates: Tensor) -> Tensor:
        """Return measured intervals ``(n, 5)``, and those expected where not measurable."""
        return torch.where(intervals.isnan(), self.intervals(facts, rates), intervals)

    def own_intervals(self, intervals: Tensor, facts: Tensor, rates: Tensor) -> Tensor:
        """Return what measured intervals ``(n, 5)`` have beyond those expected; 0 where not measurable.

        What is farther than persons are is taken for an error of measurement, and as far as they are.
        """
        farthest = _FARTHEST * self.interval_spread.norm(dim=1)
        return torch.nan_to_num(intervals - self.intervals(facts, rates)).clamp(-farthest, farthest)

    def kept_intervals(
        self, own_intervals: Tensor, own: Tensor, own_rates: Tensor, asked: Tensor, rates: Tensor
    ) -> Tensor:
        """Return what of a person's own intervals ``(n, 5)`` remains under other facts and rates.

        The farther a condition moves an interval, the less does the person's earlier one tell of it: who has
        a short PR interval and gets a first degree block has no short one any more.
        """
        moved = (self.intervals(asked, rates) - self.intervals(own, own_rates)).abs()
        return own_intervals * (-moved / moved.new_tensor(_REACH)).exp()

    def rescaled(self, residuals: Tensor, own: Tensor, asked: Tensor) -> Tensor:
        """Bring residuals ``(n, 8, BEAT)`` under facts of their own to the size that they have under others.

        Waves that a condition makes small or large differ less or more from heart to heart. A residual is
        measured in what is usual under its condition, as a standard score is, and keeps that score.
        """
        change = ((asked - own) @ self.scale_effect).clamp(-_MOST_SCALED, _MOST_SCALED)
        return residuals * (change.unflatten(1, (N_LEADS, N_WAVES)) @ _waves(residuals)).exp()

    def drawn(self, normals: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals ``(n, 8, BEAT)`` and own intervals ``(n, 5)`` of invented hearts.

        Parameters
        ----------
        normals : Tensor (n, N_HEART)
            Standard normal numbers.
        facts : Tensor (n, N_FACTS)
            Under which the residuals have their usual size.
        """
        own_intervals, components, far = normals.split([len(INTERVALS), N_COMPONENTS, 1], dim=1)
        scale = (_FAR_OR_NEAR * far - _FAR_OR_NEAR**2).exp()  # its mean square is 1
        residuals = self.transfer.residuals(components * scale)
        return self.rescaled(residuals, self.usual, facts), own_intervals @ self.interval_spread.T

    def residuals(self, beats: Tensor, intervals: Tensor, facts: Tensor, rates: Tensor) -> Tensor:
        """Return what typical beats ``(n, 8, BEAT)`` at 100 Hz have beyond those expected, registered.

        Where too few beats have a sample, as in fast hearts, all leads are 0 and nothing is known.
        """
        whole = self.whole_intervals(intervals, facts, rates)
        absent = (beats == 0).all(dim=1, keepdim=True).to(beats.dtype)
        near = nn.functional.max_pool1d(absent, 2 * _FADE + 1, stride=1, padding=_FADE)
        known = 1 - nn.functional.avg_pool1d(near, 2 * _FADE + 1, 1, _FADE, count_include_pad=False)
        return (registered(beats, whole) - self(facts, rates)) * registered(known, whole).clamp(0, 1)


def replay(beats: Tensor, offsets: Tensor) -> Tensor:
    """Put beats ``(n, 8, BEAT)`` where `offsets` ``(n, t)`` say, BEAT being rest: ``(n, 8, t)``."""
    padded = nn.functional.pad(beats, (0, 1))
    return padded.gather(2, offsets.long()[:, None].expand(-1, beats.shape[1], -1))


def _waves(like: Tensor) -> Tensor:
    """How much of each sample belongs to each wave, ``(N_WAVES, BEAT)``, on the common clock; in sum 1."""
    place = torch.arange(BEAT, dtype=like.dtype, device=like.device)
    after_p, after_qrs = (risen(place - border, _JOIN) for border in (CLOCK[3], CLOCK[5]))
    return torch.stack([1 - after_p, after_p - after_qrs, after_qrs])


def _sizes(residuals: Tensor) -> Tensor:
    """Logs of the root mean square of residuals ``(n, 8, BEAT)``, ``(n, 8, N_WAVES)``; 3 µV at least."""
    weight = _waves(residuals)
    return 0.5 * (residuals.square() @ (weight / weight.sum(dim=1, keepdim=True)).T + 1e-5).log()


def _robust_ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return intercept and coefficients, in which errors of measurement count little.

    Huber's M-estimator by weighted least squares, with his k of 1.345 (Huber, Robust Statistics, 1981).
    """
    weight = torch.ones_like(y)
    for _ in range(10):
        total = weight.sum()
        centre, usual = weight @ x / total, weight @ y / total
        root = weight.sqrt()[:, None]
        effect = _ridge(root * (x - centre), root * (y - usual)[:, None], penalty)[:, 0].double()
        usual = usual - centre @ effect
        rest = y - usual - x @ effect
        weight = (1.345 * robust_deviation(rest) / rest.abs().clamp(min=1e-9)).clamp(1e-6, 1)
    return usual, effect


def robust_deviation(rest: Tensor) -> Tensor:
    """Return the standard deviation of each column as the median size tells it, of what is not NaN.

    Not below a millionth or so, so that it can be divided by.
    """
    return 1.4826 * torch.nan_to_num(rest.abs().nanmedian(dim=0).values).clamp(min=1e-6)


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, x.T @ y).float()
