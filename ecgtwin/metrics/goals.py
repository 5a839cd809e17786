"""The goals that figures are held to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .entries import Entry


def _within(found: Entry) -> bool:
    return bool(found["real"]["low"] <= found["value"])


_MET: dict[str, Callable[[Entry], bool]] = {
    "rfid": lambda e: e["value"] <= 2,
    **dict.fromkeys(
        ("precision", "recall", "density", "coverage"), lambda e: e["value"] >= 0.9 * e["real"]["value"]
    ),
    "psd_log_distance": lambda e: e["value"] <= 1.5 * e["real"]["value"],
    "label_auroc": lambda e: e["value"] >= e["real"]["value"],
    "hr_mae": lambda e: e["value"] <= 2,
    "hr_failures": lambda e: e["value"] == 0,
    "rules": lambda e: all(one["value"] >= one["real"]["value"] for one in e["by_statement"].values()),
    "age_mae": lambda e: e["value"] <= 1.1 * e["real"]["value"],
    "sex_auroc": lambda e: e["value"] >= 0.9 * e["real"]["value"],
    "retention": lambda e: e["value"] >= 0.8,
    "top1": lambda e: e["value"] > 0.741,
    "top1_b": lambda e: e["value"] > 0.571,
    "eer": lambda e: e["value"] <= 0.05,
    "lead_residual": lambda e: e["value"] <= 1e-6,
    "beat_consistency": _within,
    "interval_w1": lambda e: e["value"] <= 1.5 * e["real"]["value"],
    "tstr_auroc": lambda e: e["value"] >= 0.885 and e["value"] >= e["real"]["value"] - 0.03,
    "augment_gain": lambda e: e["low"] > 0,
    "personal_gain": lambda e: e["low"] > 0,
    "copies": lambda e: e["value"] <= 0.001,
    "mia_auc": lambda e: e["value"] <= 0.55,
    "extractor_mia_auc": lambda e: e["value"] <= 0.55,
}


def judge_goals(report: dict[str, Any]) -> dict[str, Any]:
    """Say of each figure whether its goal is met; None where there is no figure or no goal."""
    for group, table in report.items():
        for key, found in table.items() if group != "meta" else ():
            if "value" in found:
                known = found["value"] is not None and key in _MET
                found["met"] = bool(_MET[key](found)) if known else None
    return report
