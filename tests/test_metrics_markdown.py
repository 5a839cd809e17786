"""A report as Markdown."""

from ecgtwin.metrics.markdown import SUMMARY, as_markdown
from ecgtwin.metrics.report import GROUPS


def figure(value, **more):
    return {"value": value, "low": value - 1, "high": value + 1, "n": 2000, "goal": ">= 1", **more}


def test_every_figure_stands_in_it_once_in_its_group():
    report = {group: {} for group in GROUPS}
    for i, (group, key, _) in enumerate(SUMMARY):
        report[group][key] = figure(i + 0.5, real=figure(100 + i), met=True)
    report["fidelity"]["rfid"]["arms"] = {"population": figure(3.5)}
    report["condition"]["label_auroc"]["by_statement"] = {"PVC": figure(0.25, asked=7, real=figure(0.75))}
    report["condition"]["rules"]["by_statement"] = {"PVC": figure(0.125, real=figure(0.5))}
    text = as_markdown(report)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert sorted(line.split("`")[1] for line in rows) == sorted(key for _, key, _ in SUMMARY)
    assert "| `rfid` | 5.5 [4.5, 6.5] | 2,000 | 105 | - | 3.5 | - | >= 1 | yes |" in rows
    assert "| signal | `rfid` | 3.5 [2.5, 4.5] | 5.5 | 105 |" in text
    assert "| PVC | 7 | 0.25 [-0.75, 1.25] | 0.75 | 0.125 | 0.5 |" in text
    widths = {line.count("|") for line in rows}
    assert widths == {10}


def test_what_could_not_be_measured_is_a_dash():
    nothing = {"value": None, "low": None, "high": None, "n": 0, "real": None, "goal": "0"}
    report = {group: {} for group in GROUPS}
    for group, key, _ in SUMMARY:
        report[group][key] = dict(nothing)
    assert "| `rfid` | - | 0 | - | - | - | - | 0 |  |" in as_markdown(report)


def test_ecgs_of_which_no_condition_is_known_have_a_report_too():
    report = {group: {} for group in GROUPS}
    report["fidelity"]["rfid"] = figure(0.5)
    assert "| `rfid` | 0.5" in as_markdown(report)
