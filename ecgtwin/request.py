"""What `ECGTwinGenerator` is asked for, checked before anything is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import numpy as np

from .conditions import Condition, with_person_of
from .diffusion import row_seeds
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE
from .exceptions import InputError, QualityWarning, shown
from .leads import LEADS
from .memory import check_fits
from .quality import MIN_SECONDS
from .recordings import as_references, check_count

USUAL_STEPS, USUAL_SCALE = 1000, 20.0
"""Above these a setting is drawn with a warning."""

MAX_SCALE = 1000.0
"""Above this twins overflow."""

MAX_SECONDS = 3600.0

TOKEN = 40
"""Samples at 100 Hz that the length of a flow is a multiple of."""


@dataclass(frozen=True)
class Request:
    """What to draw: checked references, the full target, settings, what the seeds come from, and seconds.

    Without seconds a twin is as long as the first reference, 10 s at most.
    """

    references: list[ECG]
    target: Condition
    settings: dict[str, Any]
    n_samples: int
    entropy: int
    seconds: float | None = None

    @property
    def length(self) -> int:
        """Samples at 100 Hz to draw."""
        return native_length(self.seconds)

    @property
    def like(self) -> ECG | None:
        """The recording whose rate, leads and length the twins have."""
        return self.references[0] if self.references else None

    @property
    def sampling_rate(self) -> float:
        """Of the twins, in Hz."""
        return NATIVE_RATE if self.like is None else self.like.sampling_rate

    @property
    def leads(self) -> tuple[str, ...]:
        """The twelve leads of the twins, in their order."""
        names = LEADS if self.like is None else tuple(self.like.leads or LEADS)
        return names if len(names) == len(LEADS) else LEADS

    @property
    def n_times(self) -> int:
        """Samples of a twin."""
        longest = float("inf") if self.like is None else self.like.seconds
        return round((self.seconds or min(NATIVE_LENGTH / NATIVE_RATE, longest)) * self.sampling_rate)

    def seeds(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """Return the seeds of twins `start` to `stop`."""
        last = self.n_samples if stop is None else min(stop, self.n_samples)
        return [(self.entropy, row) for row in range(start, last)]

    @classmethod
    def of(
        cls,
        reference: Any,
        condition: Any,
        settings: dict[str, Any],
        *,
        sampling_rate: float,
        n_samples: int = 1,
        reference_condition: Any = None,
        random_state: Any = None,
        duration: float | None = None,
        age: float | None = None,
        sex: str | None = None,
        heart_rate: float | None = None,
    ) -> Self:
        """Check everything that was asked for, before anything is drawn."""
        seconds = check_duration(duration)
        check_count("n_samples", n_samples)
        references = [] if reference is None else as_references(reference, sampling_rate, reference_condition)
        asked = Condition.parse(condition, age=age, sex=sex, heart_rate=heart_rate)
        for ecg in references:
            asked = with_person_of(asked, ecg.condition)
        for conflict in asked.conflicts():
            message = f"the condition asked for contradicts itself: {conflict}"
            warnings.warn(message, QualityWarning, stacklevel=5)
        (asked,) = what_to_draw([asked], settings)
        if not references:
            settings = settings | {"person_scale": 0.0}
        return cls(references, asked, settings, int(n_samples), row_seeds(random_state, 1)[0][0], seconds)


def what_to_draw(targets: Sequence[Condition], settings: dict[str, Any]) -> Sequence[Condition]:
    """Return what twins are to show: where conditions are left out, none of the statements."""
    return targets if settings["guidance_scale"] else [one.replace(statements=()) for one in targets]


def check_duration(duration: Any) -> float | None:
    """Return the seconds asked for, if any.

    Raises
    ------
    InputError
        If twins cannot be so long or so short.
    """
    if duration is None:
        return None
    number = isinstance(duration, int | float | np.number) and not isinstance(duration, bool)
    if not number or not MIN_SECONDS <= duration <= MAX_SECONDS:
        raise InputError(f"duration must be from {MIN_SECONDS} to {MAX_SECONDS:g} seconds, got {duration!r}")
    return float(duration)


def native_length(seconds: float | None) -> int:
    """Return the samples at 100 Hz to draw for so many seconds: whole tokens, and 10 s at least."""
    return max(NATIVE_LENGTH, TOKEN * ceil((seconds or 0) * NATIVE_RATE / TOKEN))


def check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Raise `InputError` unless steps and scales can be used; return them."""
    steps = settings["n_steps"]
    check_count("n_steps", steps)
    if steps > USUAL_STEPS:
        _warn(f"n_steps={steps}: more than {USUAL_STEPS} steps take long and change nothing")
    for key in ("guidance_scale", "person_scale", "noise_scale"):
        scale = settings[key]
        number = isinstance(scale, int | float | np.number) and not isinstance(scale, bool)
        if not number or not np.isfinite(scale) or not 0 <= scale <= MAX_SCALE:
            raise InputError(f"{key} must be a number from 0 to {MAX_SCALE:g}, got {shown(scale)}")
        if scale > USUAL_SCALE:
            _warn(f"{key}={scale:g}: above {USUAL_SCALE:g} twins are exaggerated beyond any ECG")
    for key in ("beat_variation", "counterfactual_share"):
        if not 0 <= settings[key] <= 1:
            raise InputError(f"{key} must be a number from 0 to 1, got {shown(settings[key])}")
    return settings


def check_twins_fit(request: Request) -> None:
    """Raise `InputError` if the twins of a request cannot be held in memory together."""
    check_fits(
        request.n_samples * len(LEADS) * request.n_times * 4.0,
        f"{request.n_samples} twins of {request.n_times} samples",
        "lower n_samples, or take them batch by batch from sample_batches",
    )


def _warn(message: str) -> None:
    warnings.warn(message, QualityWarning, stacklevel=5)
