"""Tables of a report: are the ECGs real ones' like, do they show what was asked, do they obey physiology."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conditions import STATEMENTS
from ..delineation import INTERVALS, Delineation
from ..exceptions import InputError
from ..leads import LEADS
from .arms import Arm
from .bootstrap import Figure, bootstrap, bootstrap_mean
from .condition import age_error, macro_auroc, sex_auroc
from .entries import Arms, Entry, arms_entry, as_dicts, entry, entry_of, per_arm, spread
from .fidelity import frechet_distance, manifold, patient_splits, spectral_distance
from .physiology import interval_w1, lead_residuals
from .rules import RULES

Array = NDArray[Any]

FRECHET_SIZE = 400
"""ECGs in each set of a Frechet ratio, ten for each dimension. One size for all: the ratio grows with it."""

N_SPLITS = 20
MIN_COUNT = 10
_SPOKEN_LEADS = ("II", "V2", "V5")


def fidelity_table(arms: Arms, seed: int) -> dict[str, Entry]:
    """Frechet ratio, manifolds and spectra; real ECGs are compared with other real ECGs."""
    real = arms["real"]

    def over_splits(measure: Callable[[Arm, Array, Array], float], arm: Arm, size: int) -> tuple[Any, Any]:
        """What an arm measures against real ECGs, and what others of them do, in every split by patient."""
        own = None if arm is real else arm.groups
        splits = patient_splits(
            real.groups, len(arm), generated_groups=own, size=size, n_splits=N_SPLITS, random_state=seed
        )
        ours = [measure(arm, second if arm is real else rows, first) for first, second, rows in splits]
        theirs = ours if arm is real else [measure(real, second, first) for first, second, _ in splits]
        return spread(ours, len(splits[0][0])), spread(theirs, len(splits[0][0]))

    def rfid(arm: Arm) -> Figure:
        def distance(of: Arm, rows: Array, first: Array) -> float:
            return frechet_distance(of.features[rows], real.features[first])

        ours, floor = over_splits(distance, arm, FRECHET_SIZE)
        if ours.n < FRECHET_SIZE:
            raise InputError(f"a Frechet ratio needs {FRECHET_SIZE} ECGs in each set, here are {ours.n}")
        return Figure(ours.value / floor.value, ours.low / floor.value, ours.high / floor.value, ours.n)

    def share(key: str) -> Callable[[Arm], Figure]:
        def measure(of: Arm, rows: Array, first: Array) -> float:
            return manifold(of.features[rows], real.features[first])[key]

        return lambda arm: over_splits(measure, arm, min(FRECHET_SIZE, len(arm)))[0]

    def spectrum(arm: Arm) -> Figure:
        def measure(of: Arm, rows: Array, first: Array) -> float:
            return float(spectral_distance(of.spectra[rows], real.spectra[first]).mean())

        return over_splits(measure, arm, min(FRECHET_SIZE, len(arm)))[0]

    return {
        "rfid": arms_entry(rfid, arms, "<= 2", size=FRECHET_SIZE),
        **{
            key: arms_entry(share(key), arms, ">= 0.9 x real")
            for key in ("precision", "recall", "density", "coverage")
        },
        "psd_log_distance": arms_entry(spectrum, arms, "<= 1.5 x real"),
    }


def condition_table(arms: Arms, seed: int) -> dict[str, Entry]:
    """Whether the ECGs show what was asked for."""
    twin, real = arms["twin"], arms["real"]
    enough = (twin.labels.sum(axis=0) >= MIN_COUNT) & (real.labels.sum(axis=0) >= MIN_COUNT)
    graded = [code for code, kept in zip(STATEMENTS, enough, strict=True) if kept]

    def auroc_of(arm: Arm, codes: list[str]) -> Figure:
        if not codes:
            raise InputError(f"no statement is asked for {MIN_COUNT} times")
        columns = [STATEMENTS.index(code) for code in codes]
        scores, labels = arm.verdict.statements[:, columns], arm.labels[:, columns]
        return bootstrap(
            lambda rows: macro_auroc(scores[rows], labels[rows], codes, min_count=1),
            arm.groups,
            random_state=seed,
        )

    by_statement = {
        code: entry(
            auroc_of(twin, [code]),
            auroc_of(real, [code]),
            ">= 1.0 x real",
            asked=int(twin.labels[:, STATEMENTS.index(code)].sum()),
            shown=int(real.labels[:, STATEMENTS.index(code)].sum()),
        )
        for code in graded
    }
    return {
        "label_auroc": arms_entry(
            lambda arm: auroc_of(arm, graded),
            arms,
            ">= 1.0 x real",
            statements=len(graded),
            by_statement=by_statement,
        ),
        **_heart_rate_entries(arms, seed),
        "rules": _rules_entry(arms, seed),
        "age_mae": arms_entry(
            lambda arm: bootstrap_mean(
                age_error(arm.verdict.age, [one.age for one in _asked(arm)]), arm.groups, random_state=seed
            ),
            arms,
            "<= 1.1 x real",
        ),
        "sex_auroc": arms_entry(lambda arm: _sex(arm, seed), arms, ">= 0.9 x real"),
    }


def _asked(arm: Arm) -> Any:
    if arm.asked is None:
        raise InputError("what was asked for is not known")
    return arm.asked


def _sex(arm: Arm, seed: int) -> Figure:
    scores, sexes = arm.verdict.female, [one.sex for one in _asked(arm)]
    return bootstrap(
        lambda rows: sex_auroc(scores[rows], [sexes[row] for row in rows]), arm.groups, random_state=seed
    )


def _heart_rate_entries(arms: Arms, seed: int) -> dict[str, Entry]:
    real = arms["real"]

    def error(arm: Arm) -> Array:
        asked = np.array([np.nan if one.heart_rate is None else one.heart_rate for one in _asked(arm)])
        return np.where(np.isnan(asked), np.nan, np.abs(arm.rates - asked))

    def failures(arm: Arm) -> Figure:
        asked = np.array([one.heart_rate is not None for one in _asked(arm)])
        lost = np.where(asked, np.isnan(arm.rates), np.nan)
        return bootstrap_mean(lost, arm.groups, random_state=seed)

    # The rates asked for were themselves detected, so real ECGs have no error by definition. What the
    # detector can do shows where limb and chest leads, recorded by other electrodes, are read apart.
    floor = bootstrap_mean(np.abs(np.diff(real.rates_apart, axis=1)[:, 0]), real.groups, random_state=seed)
    mae = arms_entry(lambda arm: bootstrap_mean(error(arm), arm.groups, random_state=seed), arms, "<= 2 bpm")
    mae["real"] = floor.as_dict()
    mae["real_is"] = "limb leads against chest leads, read apart by the same detector"
    return {"hr_mae": mae, "hr_failures": arms_entry(failures, arms, "0")}


def _rules_entry(arms: Arms, seed: int) -> Entry:
    def share(arm: Arm, code: str) -> Figure:
        asked = arm.labels[:, STATEMENTS.index(code)]
        met = np.where(asked, arm.rules_met[code], np.nan)
        return bootstrap_mean(met, arm.groups, random_state=seed)

    def counted(arm: Arm, code: str) -> int:
        return int(arm.labels[:, STATEMENTS.index(code)].sum())

    codes = [
        code for code in RULES if min(counted(arms["twin"], code), counted(arms["real"], code)) >= MIN_COUNT
    ]

    def macro(arm: Arm) -> Figure:
        if not codes:
            raise InputError(f"no statement with a rule is asked for {MIN_COUNT} times")
        columns = [STATEMENTS.index(code) for code in codes]
        met = np.stack([arm.rules_met[code] for code in codes], axis=1)
        asked = arm.labels[:, columns]

        def mean(rows: Array) -> float:
            n = asked[rows].sum(axis=0)
            return float(np.mean((met[rows] & asked[rows]).sum(axis=0)[n > 0] / n[n > 0]))

        return bootstrap(mean, arm.groups, random_state=seed)

    by_statement = {}
    for code in codes:
        figures = {name: share(arm, code) for name, arm in arms.items() if counted(arm, code)}
        without = ~arms["real"].labels[:, STATEMENTS.index(code)]
        by_statement[code] = entry(
            figures.pop("twin"),
            figures.pop("real"),
            ">= the real share",
            arms=as_dicts(figures),
            real_without=float(arms["real"].rules_met[code][without].mean()),
            criterion=RULES[code].criterion,
        )
    return arms_entry(macro, arms, ">= real, each", statements=len(codes), by_statement=by_statement)


def physiology_table(arms: Arms, seed: int) -> dict[str, Entry]:
    """Laws of the leads, beats of one heart, and intervals."""

    def residual(arm: Arm) -> Figure:
        # A few real records break the laws by tens of per cent: the median is what a record is like.
        worst = lead_residuals(arm.signals).max(axis=1)
        return bootstrap(lambda rows: float(np.median(worst[rows])), arm.groups, random_state=seed)

    table = {"lead_residual": arms_entry(residual, arms, "<= 1e-6")}
    spoken = [LEADS.index(lead) for lead in _SPOKEN_LEADS]

    def median(what: int, leads: list[int]) -> Callable[[Arm], Figure]:
        def measure(arm: Arm) -> Figure:
            values = arm.consistency[:, what, leads].mean(axis=1)
            return bootstrap(lambda rows: float(np.nanmedian(values[rows])), arm.groups, random_state=seed)

        return measure

    by_lead = {lead: arms_entry(median(0, [column]), arms, "as real") for column, lead in enumerate(LEADS)}
    table["beat_consistency"] = arms_entry(
        median(0, spoken),
        arms,
        "within the real interval",
        r_spread=arms_entry(median(1, spoken), arms, "as real"),
        t_spread=arms_entry(median(2, spoken), arms, "as real"),
        by_lead=by_lead,
    )
    table["interval_w1"] = _interval_entry(arms, seed)
    return table


def _interval_entry(arms: Arms, seed: int) -> Entry:
    """Wasserstein distances to real ECGs of the same statement, patients of the two sides disjoint."""
    real = arms["real"]
    measured = {name: interval_arrays(arm.delineations) for name, arm in arms.items()}
    of = {id(arm): measured[name] for name, arm in arms.items()}

    def distances(arm: Arm) -> dict[str, Figure]:
        own = None if arm is real else arm.groups
        size = min(len(arm), len(real) // 2)
        splits = patient_splits(
            real.groups, len(arm), generated_groups=own, size=size, n_splits=N_SPLITS, random_state=seed
        )
        draws = []
        for first, second, generated in splits:
            rows = second if arm is real else generated
            draws.append(
                interval_w1(
                    {key: values[rows] for key, values in of[id(arm)].items()},
                    {key: values[first] for key, values in measured["real"].items()},
                    arm.labels[rows],
                    real.labels[first],
                    min_count=MIN_COUNT,
                )
            )
        return {key: spread([draw[key] for draw in draws], len(splits[0][0])) for key in INTERVALS}

    found = per_arm(distances, arms)

    def across(of: Callable[[dict[str, Figure]], Figure]) -> dict[str, Figure | None]:
        return {name: None if figures is None else of(figures) for name, figures in found.items()}

    def interval_entry(key: str) -> Entry:
        missing = {name: float(np.isnan(values[key]).mean()) for name, values in measured.items()}
        return entry_of(across(lambda figures: figures[key]), "<= 1.5 x real", missing=missing)

    def mean(figures: dict[str, Figure]) -> Figure:
        value, low, high = np.mean([(one.value, one.low, one.high) for one in figures.values()], axis=0)
        return Figure(float(value), float(low), float(high), figures["qrs"].n)

    by_interval = {key: interval_entry(key) for key in INTERVALS}
    return entry_of(across(mean), "<= 1.5 x real", by_interval=by_interval)


def interval_arrays(delineations: list[Delineation]) -> dict[str, Array]:
    """Intervals in ms, ``(n,)`` each."""
    return {key: np.array([getattr(d, f"{key}_ms") for d in delineations]) for key in INTERVALS}
