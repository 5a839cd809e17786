"""The drawing is true to scale, whole, and leaves nothing of the caller's changed."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest

from ecgtwin.ecg import ECG
from ecgtwin.exceptions import InputError
from ecgtwin.leads import LEADS
from ecgtwin.plotting import plot_ecg, plot_twins
from ecgtwin.simulate import make_ecgs

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MARK = "synthetic ECG made by ecgtwin; no recording of a patient"


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def spikes(rate: float = 100.0, seconds: float = 10.0, leads: Any = LEADS, **known: Any) -> ECG:
    """One spike of 1 mV a second, 0.3 s after the full second, on an offset of 5 mV."""
    signal = np.full((len(leads), round(rate * seconds)), 5.0)
    signal[:, np.round((np.arange(0, seconds - 0.3) + 0.3) * rate).astype(int)] += 1.0
    return ECG(signal, leads, rate, **known)


def lines(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.lines}


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def paper(ax: Any) -> tuple[float, float]:
    """The lowest and the highest line of the grid."""
    ends = np.concatenate([np.concatenate(one.get_segments()) for one in ax.collections[:2]])[:, 1]
    return float(ends.min()), float(ends.max())


def millimetres(ax: Any, points: Any) -> np.ndarray:
    """Where the points of the axes' data lie on the printed figure."""
    ax.figure.canvas.draw()
    return ax.transData.transform(points) / ax.figure.dpi * 25.4


@pytest.mark.parametrize("rate", [100.0, 500.0, 128.0])
def test_one_second_is_25_mm_and_one_millivolt_10_mm_in_print(rate: float) -> None:
    ax = plot_ecg(spikes(rate))
    rhythm = lines(ax)["rhythm II"].get_xydata()
    printed = millimetres(ax, rhythm)
    tops = printed[rhythm[:, 1] > rhythm[:, 1].min() + 5]
    assert len(tops) == 10
    np.testing.assert_allclose(np.diff(tops[:, 0]), 25, atol=25 * 1.01 / rate)
    np.testing.assert_allclose(np.ptp(printed[:, 1]), 10, atol=0.01)
    np.testing.assert_allclose(np.ptp(printed[:, 0]), 25 * (10 - 1 / rate), atol=0.01)


def test_saved_picture_has_the_size_of_the_paper(tmp_path: Any) -> None:
    ax = plot_ecg(spikes())
    ax.figure.savefig(tmp_path / "ecg.png", dpi=254)  # 10 pixels a millimetre
    picture = plt.imread(tmp_path / "ecg.png")
    width = abs(np.subtract(*ax.get_xlim()))
    height = abs(np.subtract(*ax.get_ylim()))
    assert abs(picture.shape[1] - 10 * width) <= 1
    assert abs(picture.shape[0] - 10 * height) <= 1
    # the spikes of the rhythm strip are the dark columns just under their tips
    tip = lines(ax)["rhythm II"].get_ydata().max() - 3
    row = picture[round(10 * (ax.get_ylim()[1] - tip)), :, :3].max(axis=1)
    dark = np.flatnonzero(row[250:] < 0.5)
    centres = [run.mean() for run in np.split(dark, np.flatnonzero(np.diff(dark) > 100) + 1)]
    np.testing.assert_allclose(np.diff(centres), 250, atol=2)


def test_pages_of_pdf_and_svg_have_the_size_of_the_paper(tmp_path: Any) -> None:
    ax = plot_ecg(spikes())
    size = [abs(np.subtract(*limits)) for limits in (ax.get_xlim(), ax.get_ylim())]
    for kind, pattern in (
        ("pdf", rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]"),
        ("svg", rb'width="([\d.]+)pt" height="([\d.]+)pt"'),
    ):
        ax.figure.savefig(tmp_path / f"ecg.{kind}")
        points = re.search(pattern, (tmp_path / f"ecg.{kind}").read_bytes())
        assert points is not None
        np.testing.assert_allclose([float(one) * 25.4 / 72 for one in points.groups()], size, atol=0.01)
    assert size[0] <= 297
    assert size[1] <= 210


@pytest.mark.parametrize(("layout", "columns"), [("3x4", 4), ("6x2", 2), ("12x1", 1)])
@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_every_layout_draws_all_leads_in_consecutive_columns(layout: str, columns: int, rate: float) -> None:
    drawn = lines(ax := plot_ecg(spikes(rate), layout=layout))
    assert set(LEADS) <= set(drawn)
    assert ("rhythm II" in drawn) == (layout != "12x1")
    assert all(texts(ax).count(lead) == 1 + (lead == "II" and layout != "12x1") for lead in LEADS)
    width = 250 / columns
    for i, lead in enumerate(LEADS):
        x = drawn[lead].get_xdata()
        column = i // (12 // columns)
        assert x[0] == pytest.approx(column * width)
        assert x[-1] == pytest.approx((column + 1) * width, abs=25 / rate + 1e-9)
        y = drawn[lead].get_ydata()
        tips = x[y > np.median(y) + 5]
        np.testing.assert_allclose(tips % 25, 7.5, atol=0.01)  # where the whole recording has them


def test_missing_leads_stay_empty_and_order_does_not_matter() -> None:
    ecg = spikes(leads=("V2", "I"))
    drawn = lines(plot_ecg(ecg))
    assert set(drawn) == {"V2", "I", "rhythm I"}  # the rhythm lead falls back on one that is there
    assert drawn["V2"].get_xdata()[0] == pytest.approx(125)


@pytest.mark.parametrize(("seconds", "drawn_seconds"), [(3.0, 3.0), (6.2, 6.2), (30.0, 10.0)])
def test_other_lengths(seconds: float, drawn_seconds: float) -> None:
    drawn = lines(plot_ecg(spikes(seconds=seconds)))
    assert set(drawn) == {*LEADS, "rhythm II"}
    assert np.ptp(drawn["rhythm II"].get_xdata()) == pytest.approx(25 * drawn_seconds, abs=0.26)
    assert all(np.ptp(drawn[lead].get_xdata()) > 60 for lead in LEADS)


def test_gaps_and_dead_leads_are_left_out() -> None:
    ecg = spikes()
    ecg.signal[3] = np.nan
    ecg.signal[1, 100:200] = np.nan
    drawn = lines(plot_ecg(ecg))
    assert "aVR" not in drawn
    assert np.isnan(drawn["II"].get_ydata()).sum() == 100


def test_tall_traces_get_more_room_up_to_four_millivolts() -> None:
    def spacing(scale: float) -> float:
        ecg = spikes()
        drawn = lines(plot_ecg(ECG((ecg.signal - 5) * scale)))
        return float(np.median(drawn["I"].get_ydata()) - np.median(drawn["II"].get_ydata()))

    assert [spacing(scale) for scale in (1, 3.2, 9)] == [25, 35, 40]


@pytest.mark.parametrize("lead", ["I", "II", "V4", "V6"])
@pytest.mark.parametrize("millivolts", [2.4, 3.2, 6.5, -3.2, -6.5])
@pytest.mark.parametrize("layout", ["3x4", "6x2", "12x1"])
def test_the_paper_reaches_as_far_as_the_traces(lead: str, millivolts: float, layout: str) -> None:
    signal = make_ecgs(1, 1, statements=("NORM",), random_state=0).signals[0]
    own = signal[LEADS.index(lead)]
    own -= np.median(own)
    own *= millivolts / own[np.abs(own).argmax()]
    ax = plot_ecg(ECG(signal), layout=layout)
    heights = np.concatenate([line.get_ydata() for line in ax.lines])
    low, high = paper(ax)
    assert low < heights.min()
    assert heights.max() < high
    title = next(text for text in ax.texts if "bpm" in text.get_text())
    assert high < title.get_position()[1] < ax.get_ylim()[1]


@pytest.mark.parametrize("way", [1, -1])
def test_an_artefact_does_not_stretch_the_paper_and_ends_at_it(way: int) -> None:
    signal = make_ecgs(1, 1, statements=("NORM",), random_state=0).signals[0]
    signal[LEADS.index("V4"), 840] = 30.0 * way
    ax = plot_ecg(ECG(signal), rhythm="V4")
    low, high = paper(ax)
    assert high <= 40
    assert low >= -3 * 40 - 40
    for line in ax.lines:
        shown = ax.transData.inverted().transform(line.get_clip_box().get_points())
        np.testing.assert_allclose(shown[:, 1], (low, high))


def test_one_tall_beat_in_a_column_is_no_artefact() -> None:
    signal = np.zeros((12, 1000))
    signal[LEADS.index("V4"), 200::300] = 4.0  # one of them in the column of V4
    assert paper(plot_ecg(ECG(signal)))[1] > 40


def test_header_says_what_is_known() -> None:
    condition = {"statements": ["PVC"], "age": 63, "sex": "F"}
    ecg = spikes(condition=condition, comments=(MARK,))
    assert "PVC · 63 y F · 60 bpm · synthetic" in texts(plot_ecg(ecg))
    plain = texts(plot_ecg(spikes(), title="costs $5 and $6"))
    assert plain[-2:] == ["costs $5 and $6", "25 mm/s  10 mm/mV"]
    assert not any("synthetic" in text for text in texts(plot_ecg(spikes())))


def test_given_axes_are_used_and_no_figure_is_made() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    assert plot_ecg(spikes(), ax=right) is right
    assert plt.get_fignums() == [figure.number]
    assert not left.lines
    assert right.get_aspect() == 1
    np.testing.assert_allclose(figure.get_size_inches(), (8, 3))
    step = np.diff(millimetres(right, [(0, 0), (10, 10)]), axis=0)[0]
    assert step[0] == pytest.approx(step[1])


def test_bare_array_needs_its_rate_and_is_not_changed() -> None:
    signal = spikes().signal.copy()
    before = signal.copy()
    plot_ecg(signal, sampling_rate=100)
    np.testing.assert_array_equal(signal, before)
    with pytest.raises(InputError, match="sampling_rate"):
        plot_ecg(signal)


@pytest.mark.parametrize("wrong", [{"layout": "4x3"}, {"rhythm": "V9"}])
@pytest.mark.parametrize("draw", [plot_ecg, lambda ecg, **wrong: plot_twins(ecg, ecg, **wrong)])
def test_refusals_leave_no_figure_open(draw: Any, wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"4x3|V9"):
        draw(spikes(), **wrong)
    assert not plt.get_fignums()


def test_twins_lie_under_the_reference_to_one_scale() -> None:
    tall = ECG((spikes().signal - 5) * 4, condition="PVC", comments=(MARK,))
    figure = plot_twins(spikes(condition="NORM"), [tall, spikes().signal])
    headers = [texts(ax)[-2] for ax in figure.axes]
    assert headers == [
        "Reference — NORM · 60 bpm",
        "Twin 1 (synthetic) — PVC · 60 bpm",
        "Twin 2 (synthetic) — 60 bpm",
    ]
    places = [millimetres(ax, [(0, 0), (25, 10)]) for ax in figure.axes]
    for place in places:
        np.testing.assert_allclose(np.diff(place, axis=0)[0], (25, 10), atol=0.01)
        assert place[0, 0] == pytest.approx(places[0][0, 0])
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert all(above.y0 >= below.y1 - 0.5 for above, below in pairwise(boxes))


def test_twins_as_arrays_have_the_rate_and_leads_of_the_reference() -> None:
    order = LEADS[::-1]
    reference = spikes(rate=250.0, leads=order)
    signal = np.array(reference.signal)
    signal[order.index("V6")] *= 2
    figure = plot_twins(reference, signal[None], titles=["before", "after"])
    drawn = lines(figure.axes[1])
    assert np.ptp(drawn["V6"].get_ydata()) == pytest.approx(20, abs=0.01)
    assert np.ptp(drawn["I"].get_ydata()) == pytest.approx(10, abs=0.01)
    assert [texts(ax)[-2] for ax in figure.axes] == ["before", "after"]
    assert len(plot_twins(reference, signal).axes) == 2
    one_lead = spikes(leads=("I",))
    assert set(lines(plot_twins(one_lead, spikes()).axes[1])) >= set(LEADS)


def test_twins_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="no twins"):
        plot_twins(spikes(), [])
    with pytest.raises(InputError, match="2 titles"):
        plot_twins(spikes(), spikes(), titles=["one"])
    assert not plt.get_fignums()
