"""A report as one page of HTML with all figures and pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..conditions import STATEMENTS, statement
from .pages import WARNING, Report, lead_over_real, page_name, statement_name, with_interval

_OTHERS = ("copy", "population", "stranger")
_MEANING = {
    "rfid": "Frechet distance to real ECGs, over that of two real halves",
    "precision": "share of twins that lie among real ECGs",
    "recall": "share of real ECGs that lie among twins",
    "density": "how densely real ECGs lie around twins",
    "coverage": "share of real ECGs that have a twin near",
    "psd_log_distance": "difference of power spectra, in decades",
    "label_auroc": "does the judge see the statement asked for (mean AUROC)",
    "hr_mae": "error of the heart rate, bpm",
    "hr_failures": "share in which no heart rate is found",
    "rules": "share that meets the textbook criterion of its statement",
    "age_mae": "error of the age that the judge sees, years",
    "sex_auroc": "does the judge see the sex (AUROC)",
    "retention": "share of persons found by their twin, over that by a real second recording",
    "retention_own_change": "the same, under conditions that another recording of the person shows",
    "top1": "extractor: a person's second recording finds the first, one record a person",
    "top1_b": "extractor: the same among all recordings",
    "eer": "extractor: equal error rate",
    "tar_at_far_1e3": "extractor: pairs accepted where 1 stranger in 1000 is",
    "lead_residual": "breach of Einthoven's and Goldberger's laws, over mean limb lead amplitude",
    "beat_consistency": "correlation of a recording's own beats",
    "interval_w1": "distance of P, PR, QRS, QT, QTc from real ECGs of the same statement, ms",
    "tstr_auroc": "AUROC on real ECGs of a classifier trained on twins alone",
    "augment_gain": "gain of AUROC by adding twins of rare statements",
    "personal_gain": "gain by adapting a classifier to the patient's own twins, not to strangers' ECGs",
    "copies": "share of twins nearer to a training stranger than real ECGs are",
    "nn_ratio": "distance to training records, over that to records never seen",
    "mia_auc": "AUROC of guessing who was in the training set",
    "extractor_mia_auc": "the same by how alike two base vectors of a person are (real: two beats)",
    "mia_tpr_at_fpr_1e2": "training patients recognised, at 1 false alarm in 100",
}
_PICTURES = {
    "conditions": "Conditions: each statement on twins and on real ECGs",
    "intervals": "Intervals: heart rate and intervals of twins and of real ECGs",
    "retention": "Persons: how soon each is found",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff}
body{max-width:76rem;margin:auto;padding:1rem}
h1{font-size:1.6rem;margin:.3em 0}h2{margin:2em 0 .4em;border-bottom:1px solid #ccc}h3{margin:1.4em 0 .4em}
.note{border-left:4px solid #b45309;background:#fff7ed;padding:.6rem 1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #e3e3e3}
thead th{border-bottom:2px solid #888;white-space:nowrap}
tbody th{font-weight:500;min-width:11rem;max-width:30rem}
small{color:#666;display:block}td small{white-space:nowrap}.met{color:#166534}.missed{color:#b91c1c}
tr.group th{background:#f1f3f5;font-weight:700}nav a{display:inline-block;margin:.1rem .7rem .1rem 0}
figure{margin:1rem 0 2rem}figcaption{font-size:.9rem;color:#444}img{width:100%;min-width:44rem}
@media print{.wide{overflow:visible}img{min-width:0}figure,tr{break-inside:avoid}}
"""


def as_html(report: Report, pictures: Sequence[Path]) -> str:
    """Return the report as one page that needs nothing else: no network, no scripts, no other files.

    Parameters
    ----------
    report : dict
        What `ecgtwin.metrics.report.evaluate` returns.
    pictures : sequence of Path
        What `draw_pages` returns.

    Returns
    -------
    str
        HTML with all figures in tables and the pictures in it.

    Raises
    ------
    FileNotFoundError
        If a picture is not there.

    Examples
    --------
    >>> figure = {"value": 1.5, "low": 1.2, "high": 1.9, "n": 640, "real": None, "goal": "<= 2", "met": True}
    >>> "1.5<small>[1.2, 1.9]" in as_html({"fidelity": {"rfid": figure}}, [])
    True
    """
    groups = {name: found for name, found in report.items() if name != "meta"}
    titles = {page_name(code): f"{code}: {statement(code).name}" for code in STATEMENTS} | _PICTURES
    shown = [(path.stem, titles.get(path.stem, path.stem), path.read_bytes()) for path in pictures]
    links = [("figures", "All figures"), *((stem, title.split(":")[0]) for stem, title, _ in shown)]
    parts = [
        "<h1>Report on synthetic ECGs</h1>",
        '<p class="note"><strong>The twins are synthetic ECGs</strong>: a program made them, they were '
        "recorded from nobody. Tables and pictures call them <em>twin</em>. Beside them stand <em>real</em> "
        f"recordings of patients, to be shared only as the licence of their data allows. {WARNING}</p>",
        "<nav>" + "".join(f'<a href="#{escape(i)}">{escape(t)}</a>' for i, t in links) + "</nav>",
        '<h2 id="figures">All figures</h2>',
        "<p>With 95 % intervals over patients. <em>copy</em> is the reference itself returned whatever is "
        "asked, <em>population</em> an ECG without the person, <em>stranger</em> one with another person in "
        "place of the reference's, <em>real</em> the same measured on real ECGs.</p>",
        _summary_table(groups),
        *(table for entries in groups.values() for key in entries for table in _details(key, entries[key])),
        "<h2>Pictures</h2>" if shown else "",
        *(_picture(*one) for one in shown),
        "<h2>What was measured</h2>" if report.get("meta") else "",
        _plain_table(report.get("meta") or {}),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Report on synthetic ECGs</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def _summary_table(groups: Mapping[str, Report]) -> str:
    rows = []
    for group, entries in groups.items():
        rows.append(f'<tr class="group"><th colspan="9">{escape(group)}</th></tr>')
        for key, found in entries.items():
            if "value" in found:
                arms = found.get("arms") or {}
                real = _cell(found.get("real")) + _small(found.get("real_is"))
                cells = [_cell(found), _text(found.get("n")), real]
                cells += [_cell(arms.get(name)) for name in _OTHERS]
                goal = _text(found.get("goal")) + _small(found.get("reason"))
                mark = {True: "met", False: "missed", None: ""}[found.get("met")]
                cells += [goal, f'<b class="{mark}">{mark}</b>' if mark else ""]
                head = f"<th><code>{escape(key)}</code>{_small(_MEANING.get(key))}</th>"
                rows.append(f"<tr>{head}{_cells(cells)}</tr>")
    return _table(("", "twin", "n", "real", *_OTHERS, "goal", ""), rows)


def _details(key: str, found: Report) -> Iterator[str]:
    """Tables of what a figure is made of, and of those that go with it."""
    more = {name: one for name, one in found.items() if name != "real" and _is_figure(one)}
    if more:
        yield _detail_table(f"{key}: more", more)
    for name, part in found.items():
        if name.startswith("by_") and part:
            yield _detail_table(f"{key} by {name[3:]}", part)


def _is_figure(found: Any) -> bool:
    return isinstance(found, Mapping) and "value" in found


def _detail_table(title: str, entries: Mapping[str, Any]) -> str:
    arms = [name for name in _OTHERS if any((one.get("arms") or {}).get(name) for one in entries.values())]
    compared = any(one.get("real") for one in entries.values())
    ruled = any("real_without" in one for one in entries.values())
    heads = ["", "twin", "n", *(["real", "twin less real"] if compared else []), *arms]
    rows = []
    for key, found in entries.items():
        cells = [_cell(found), _text(found.get("n"))]
        if compared:
            both = found.get("value") is not None and (found.get("real") or {}).get("value") is not None
            cells += [_cell(found.get("real")), f"{lead_over_real(found):+.3f}" if both else "-"]
        cells += [_cell((found.get("arms") or {}).get(name)) for name in arms]
        if ruled:
            without = found.get("real_without")
            cells.append("-" if without is None else f"{without:.3g}")
        about = _small(statement_name(key)) + _small(found.get("criterion"))
        rows.append(f"<tr><th>{escape(key)}{about}</th>{_cells(cells)}</tr>")
    heads += ["real without it"] if ruled else []
    return f"<h3>{escape(title)}</h3>{_table(heads, rows)}"


def _plain_table(about: Mapping[str, Any]) -> str:
    def written(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{key}: {written(one)}" for key, one in value.items())
        return ", ".join(map(written, value)) if isinstance(value, list | tuple) else str(value)

    rows = [
        f"<tr><th>{escape(str(key))}</th><td>{escape(written(one))}</td></tr>" for key, one in about.items()
    ]
    return _table((), rows) if rows else ""


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "<thead><tr>" + "".join(f"<th>{escape(one)}</th>" for one in heads) + "</tr></thead>"
    return f'<div class="wide"><table>{head if heads else ""}<tbody>{"".join(rows)}</tbody></table></div>'


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{one}</td>" for one in cells)


def _cell(figure: Report | None) -> str:
    value, _, interval = with_interval(figure).partition(" ")
    return value + _small(interval)


def _text(value: Any) -> str:
    return "" if value is None else escape(str(value))


def _small(text: str | None) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _picture(stem: str, title: str, content: bytes) -> str:
    source = f"data:image/png;base64,{b64encode(content).decode()}"
    return (
        f'<figure id="{escape(stem)}"><figcaption>{escape(title)}</figcaption><div class="wide">'
        f'<img alt="{escape(title)}" src="{source}"></div></figure>'
    )
