"""A report as Markdown tables, for documentation and model cards."""

from __future__ import annotations

from typing import Any

from .report import GROUPS, Report

SUMMARY = (
    ("condition", "label_auroc", "statements asked for, found by a classifier (macro AUROC)"),
    ("condition", "rules", "textbook rules met, mean of statements"),
    ("condition", "hr_mae", "heart rate, asked against found, bpm"),
    ("identity", "retention", "the person found again, over a real second recording (`retention`)"),
    ("identity", "retention_own_change", "the same, under conditions that the person really had"),
    ("fidelity", "rfid", "Frechet distance, over that of two real halves"),
    ("physiology", "beat_consistency", "beat-to-template correlation (II, V2, V5)"),
    ("physiology", "interval_w1", "distance of P, PR, QRS, QT and QTc to real ones, ms"),
    ("physiology", "lead_residual", "residual of Einthoven's and Goldberger's laws"),
    ("utility", "tstr_auroc", "a classifier trained on twins, tested on real ECGs (macro AUROC)"),
    ("utility", "augment_gain", "gain of a detector of rare statements from twins (AUROC)"),
    ("utility", "personal_gain", "gain from a patient's own twins (AUROC)"),
    ("privacy", "copies", "nearer to a training stranger than real ECGs are (`copies`)"),
    ("privacy", "mia_auc", "membership attack (AUROC, 0.5 is none)"),
    ("identity", "top1", "the extractor on real pairs, second recording to first (*real*: the judge)"),
)
"""What a reader should know first: group, key, and what it is."""

LEVELS = {
    "signal": (("fidelity", ("rfid", "precision", "recall", "psd_log_distance")),),
    "feature": (("condition", ("hr_mae", "age_mae", "sex_auroc")), ("physiology", ("interval_w1",))),
    "diagnosis": (("condition", ("label_auroc", "rules")),),
}
"""The three levels at which DiffuSETS (Lai et al., arXiv 2501.05932) judges ECGs of nobody in particular."""

_ARMS = ("copy", "population", "stranger")


def as_markdown(report: Report) -> str:
    """Return every figure of a report: a summary, a table for each group, and one of the statements."""
    lines = ["| figure | twin | population | real |", "|---|---|---|---|"]
    for group, key, words in SUMMARY:
        if (found := report[group].get(key)) is None:  # not every generator can be asked for it
            continue
        population = found.get("arms", {}).get("population")
        lines.append(f"| {words} | {_span(found)} | {_short(population)} | {_short(found.get('real'))} |")
    for group in GROUPS:
        figures = {key: one for key, one in report[group].items() if "value" in one}
        lines += ["", f"### {group.capitalize()}", ""]
        lines += [
            "| figure | twin | n | real | copy | population | stranger | goal | met |",
            "|---" * 9 + "|",
        ]
        for key, found in figures.items():
            arms = " | ".join(_short(found.get("arms", {}).get(name)) for name in _ARMS)
            met = {True: "yes", False: "no", None: ""}[found.get("met")]
            lines.append(
                f"| `{key}` | {_span(found)} | {found['n']:,} | {_short(found.get('real'))} | {arms} | "
                f"{found['goal']} | {met} |"
            )
    lines += ["", "### Without a reference, by the levels of DiffuSETS", ""]
    lines += ["| level | figure | without a reference | twin | real |", "|---" * 5 + "|"]
    for level, groups in LEVELS.items():
        for group, keys in groups:
            for key in keys:
                found = report[group].get(key, {})
                nobody = found.get("arms", {}).get("population")
                lines.append(
                    f"| {level} | `{key}` | {_span(nobody or {})} | {_short(found)} | "
                    f"{_short(found.get('real'))} |"
                )
    by_rule = report["condition"].get("rules", {}).get("by_statement", {})
    lines += ["", "### By statement", ""]
    lines += ["| statement | asked | AUROC twin | AUROC real | rule twin | rule real |", "|---" * 6 + "|"]
    statements = report["condition"].get("label_auroc", {}).get("by_statement", {})
    for code, found in sorted(statements.items(), key=lambda item: -item[1]["asked"]):
        rule = by_rule.get(code)
        rules = f"{_short(rule)} | {_short(rule.get('real'))}" if rule else " | "
        lines.append(
            f"| {code} | {found['asked']} | {_span(found)} | {_short(found.get('real'))} | {rules} |"
        )
    return "\n".join(lines) + "\n"


def _short(figure: dict[str, Any] | None) -> str:
    return "-" if not figure or figure.get("value") is None else f"{figure['value']:.3g}"


def _span(figure: dict[str, Any]) -> str:
    if figure.get("value") is None or figure.get("low") is None:
        return _short(figure)
    return f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"
