"""The pictures of a report say what they show, to scale, picked by nobody."""

import re

import numpy as np
import pytest
import torch
from joblib import parallel_config
from matplotlib import pyplot as plt

from ecgtwin.conditions import STATEMENTS
from ecgtwin.exceptions import InputError
from ecgtwin.metrics.arms import Arm
from ecgtwin.metrics.identity import retrieval_hits
from ecgtwin.metrics.judge_networks import Classifier, FeatureNet, Recogniser
from ecgtwin.metrics.judges import Judges
from ecgtwin.metrics.pages import QUANTILES, draw_pages, figures, page_name, retention_ranks
from ecgtwin.metrics.tables import condition_table
from ecgtwin.simulate import make_ecgs


@pytest.fixture(scope="module", autouse=True)
def _one_process():
    """For so few recordings other processes take longer to start than the work."""
    with parallel_config(backend="sequential"):
        yield


@pytest.fixture(scope="module")
def arms():
    """Ten people; the "twin" of a recording is another person's, asked for as what it shows."""
    torch.manual_seed(0)
    judges = Judges(Classifier().eval(), Recogniser().eval(), FeatureNet().eval())
    ecgs = make_ecgs(10, 2, statements=("AFIB", "CLBBB"), random_state=0)
    references = np.arange(20)
    targets = (references + 2) % 20
    asked = [ecgs.conditions[row] for row in targets]
    persons = ecgs.groups[references]
    return {
        "twin": Arm(ecgs.signals[targets], persons, asked, references, judges),
        "copy": Arm(ecgs.signals[references], persons, asked, references, judges),
        "real": Arm(ecgs.signals, ecgs.groups, ecgs.conditions, references, judges),
    }


@pytest.fixture(scope="module")
def report(arms):
    return {"condition": condition_table({name: arms[name] for name in ("twin", "real")}, 0)}


@pytest.fixture(scope="module")
def drawn(report, arms):
    return dict(figures(report, arms))


@pytest.fixture(scope="module")
def pictures(report, arms, tmp_path_factory):
    return draw_pages(report, arms, tmp_path_factory.mktemp("report") / "pictures")


def sides(figure):
    """The texts of the real ECGs and of the twins of a statement's page, each as one."""
    each = {0.0: [], 0.5: []}
    for ax in figure.axes:
        each[round(ax.get_position().x0, 3)].append(" ".join(text.get_text() for text in ax.texts))
    return each[0.0], each[0.5]


def test_a_page_for_each_graded_statement_and_one_for_each_overview(pictures, report):
    graded = report["condition"]["label_auroc"]["by_statement"]
    assert {"AFIB", "CLBBB"} <= set(graded)
    assert [path.stem for path in pictures] == [
        "conditions",
        "intervals",
        "retention",
        *(page_name(code) for code in graded),
    ]
    for path in pictures:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 5_000 < len(content) < 600_000


def test_no_window_would_open(report, arms, tmp_path):
    open_before = plt.get_fignums()
    draw_pages(report | {"condition": {}}, arms, tmp_path)
    assert plt.get_fignums() == open_before


def test_the_same_report_gives_the_same_pictures(pictures, report, arms, tmp_path):
    afib = report["condition"]["label_auroc"]["by_statement"]["AFIB"]
    again = draw_pages({"condition": {"label_auroc": {"by_statement": {"AFIB": afib}}}}, arms, tmp_path)
    before = {path.name: path.read_bytes() for path in pictures}
    for path in again:
        assert path.name == "conditions.png" or path.read_bytes() == before[path.name]
    assert len(again) == 4


def test_every_statement_has_a_file_name_of_its_own():
    names = [page_name(code) for code in STATEMENTS]
    assert len({name.lower() for name in names}) == len(STATEMENTS)
    assert all(re.fullmatch(r"[\w-]+", name) for name in names)


def test_a_statement_page_says_what_each_trace_is(drawn, arms):
    figure = drawn["statement_AFIB"]
    real, twins = sides(figure)
    header = " ".join(text.get_text() for text in figure.texts)
    assert "atrial fibrillation" in header
    assert "10 in all" in header
    assert "not for diagnosis" in header
    assert "Criterion: no P wave" in header
    assert len(real) == len(twins) == len(QUANTILES)
    assert all("SYNTHETIC" in text for text in twins)
    assert not any("SYNTHETIC" in text for text in real)
    for text in twins:
        row = int(re.search(r"of row (\d+)", text)[1])
        i = list(arms["twin"].references).index(row)
        assert f"asked for {arms['twin'].asked[i].heart_rate:.0f} bpm" in text
        assert f"has {arms['twin'].rates[i]:.0f} bpm" in text
        met = arms["twin"].rules_met["AFIB"][i]
        assert ("criterion met" in text, "criterion not met" in text) == (met, not met)


def test_the_traces_stand_at_fixed_quantiles_of_the_judges_probability(drawn, arms):
    column = STATEMENTS.index("AFIB")
    for texts, name in zip(sides(drawn["statement_AFIB"]), ("real", "twin"), strict=True):
        arm = arms[name]
        ordered = np.sort(arm.verdict.statements[arm.labels[:, column], column])
        expected = [f"{ordered[round(q * (len(ordered) - 1))]:.2f}" for q in QUANTILES]
        assert [re.search(r"judge: ([\d.]+)", text)[1] for text in texts] == expected


def test_traces_are_printed_to_one_scale_and_none_is_cut(drawn):
    figure = drawn["statement_CLBBB"]
    figure.canvas.draw()
    for ax in figure.axes:
        printed = np.diff(ax.transData.transform([(0, 0), (25, 10)]), axis=0)[0] / figure.dpi * 25.4
        np.testing.assert_allclose(printed, (25, 10), atol=0.05)  # a second and a millivolt
        low, high = ax.get_ylim()
        assert all(low < np.min(line.get_ydata()) and np.max(line.get_ydata()) < high for line in ax.lines)
        title = max(ax.texts, key=lambda text: text.get_position()[1])
        assert title.get_window_extent().y1 <= ax.get_window_extent().y1 + 1
        assert title.get_window_extent().x1 <= ax.get_window_extent().x1
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert not any(a.overlaps(b.padded(-1)) for i, a in enumerate(boxes) for b in boxes[:i])
    lowest = min(text.get_window_extent().y0 for text in figure.texts)
    assert lowest >= max(box.y1 for box in boxes) - 1


def test_ecgs_taller_than_the_paper_are_drawn_whole(arms, report):
    real = arms["real"]
    tall = real.signals.copy()
    tall[:, 9] *= 4 / np.abs(tall[:, 9]).max(axis=1, keepdims=True)  # V4, in the upper row
    changed = {**arms, "twin": Arm(tall, real.groups, real.asked, real.references, real.judges)}
    few = {"condition": {"label_auroc": {"by_statement": {"AFIB": {"value": None}}}}}
    figure = dict(figures(few, changed))["statement_AFIB"]
    for ax in figure.axes:
        highest = max(np.max(line.get_ydata()) for line in ax.lines)
        headings = [text.get_position()[1] for text in ax.texts if text.get_fontsize() > 12]
        assert len(headings) == 2
        assert highest < min(headings)


def test_histograms_of_both_have_the_same_bins_and_hold_all(drawn, arms):
    axes = drawn["intervals"].axes
    assert [ax.get_xlabel().split(" (")[0] for ax in axes] == [
        *("heart rate", "P", "PR", "QRS", "QT", "QTc, Fridericia")
    ]
    for ax in axes:
        steps = [patch.get_xy() for patch in ax.patches]
        assert len(steps) == 2
        np.testing.assert_array_equal(np.unique(steps[0][:, 0]), np.unique(steps[1][:, 0]))
    legend = axes[3].get_legend().get_texts()[1].get_text()
    median = np.median([one.qrs_ms for one in arms["twin"].delineations])
    assert f"twin: median {median:.0f}" in legend


def test_first_of_the_retention_curve_is_the_top1_of_retrieval(drawn, arms):
    ranks = retention_ranks(arms)
    real = arms["real"]
    probes, gallery = np.arange(0, 20, 2), np.arange(1, 20, 2)
    for name in ("twin", "copy", "real"):
        arm = arms[name]
        hits = retrieval_hits(
            arm.embeddings[probes], arm.groups[probes], real.embeddings[gallery], real.groups[gallery]
        )
        np.testing.assert_array_equal(ranks[name] == 1, hits == 1)
        assert ranks[name].max() <= len(gallery)
    np.testing.assert_array_equal(ranks["copy"], ranks["real"])
    ax = drawn["retention"].axes[0]
    assert len(ax.lines) == 3
    assert ax.get_xscale() == "log"
    assert all(np.all(np.diff(line.get_ydata()) >= 0) for line in ax.lines)
    found = {line.get_label().split(" ")[0]: line.get_ydata() for line in ax.lines}
    assert found["twin"][0] == pytest.approx(100 * (ranks["twin"] == 1).mean())


def test_what_was_not_measured_is_not_drawn(arms, tmp_path):
    twin = arms["twin"]
    unknown = Arm(
        twin.signals, np.array([f"generated {i}" for i in range(20)]), None, np.full(20, -1), twin.judges
    )
    written = draw_pages({"condition": {}}, {"twin": unknown, "real": arms["real"]}, tmp_path)
    assert [path.name for path in written] == ["intervals.png"]
    with pytest.raises(InputError, match="real"):
        draw_pages({}, {"twin": twin}, tmp_path)
