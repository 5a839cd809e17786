"""Figures as a report holds them: the twins' own, real ECGs' beside it, and every other arm's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..exceptions import InputError
from .arms import Arm
from .bootstrap import Figure

Entry = dict[str, Any]
Arms = Mapping[str, Arm]
T = TypeVar("T")


def entry(twin: Figure | None, real: Figure | None, goal: str, /, **more: Any) -> Entry:
    """Return a figure as it stands in the JSON: the twins' own, the real one, its goal, and more."""
    found: Entry = {"value": None, "low": None, "high": None, "n": 0} if twin is None else twin.as_dict()
    found["real"] = None if real is None else real.as_dict()
    found["goal"] = goal
    for name, figure in more.items():
        found[name] = figure.as_dict() if isinstance(figure, Figure) else figure
    return found


def per_arm(measure: Callable[[Arm], T], arms: Arms) -> dict[str, T | None]:
    """Measure every arm; None where it has not what the figure needs."""
    found: dict[str, T | None] = {}
    for name, arm in arms.items():
        try:
            found[name] = measure(arm)
        except InputError:
            found[name] = None
    return found


def arms_entry(measure: Callable[[Arm], Figure], arms: Arms, goal: str, /, **more: Any) -> Entry:
    """Measure every arm and return the entry."""
    return entry_of(per_arm(measure, arms), goal, **more)


def entry_of(found: Mapping[str, Figure | None], goal: str, /, **more: Any) -> Entry:
    """Return the entry of figures that were measured on every arm."""
    others = {name: figure for name, figure in found.items() if name not in ("twin", "real")}
    return entry(found.get("twin"), found.get("real"), goal, arms=as_dicts(others), **more)


def as_dicts(figures: Mapping[str, Figure | None]) -> dict[str, Any]:
    """Return figures as JSON wants them."""
    return {name: None if figure is None else figure.as_dict() for name, figure in figures.items()}


def spread(values: Sequence[float], n: int) -> Figure:
    """Return the mean over random splits, and between which values 95 % of the splits lie."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Figure(float(np.nanmean(values)), float(low), float(high), n)
