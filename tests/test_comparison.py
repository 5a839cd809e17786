"""Several ECGs in one picture."""

import itertools

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import wfdb
from matplotlib import pyplot as plt

from ecgtwin import ECG, InputError, load_example, make_ecgs, plot_beats, plot_ecg, plot_series
from ecgtwin.datasets import example_path
from ecgtwin.leads import LEADS


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ecgs():
    signals = make_ecgs(1, 4, statements=("NORM",), random_state=0).signals
    return [ECG(signal, condition="NORM") for signal in signals]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_series_shows_the_same_seconds_of_each_under_each_other(ecgs):
    ax = plot_series(ecgs, leads=["II", "V1"], titles=list("abcd"), title="growing")
    assert len(ax.lines) == 8
    first, second = ax.lines[0], ax.lines[2]
    np.testing.assert_array_equal(first.get_xdata(), second.get_xdata())
    assert np.median(first.get_ydata()) > np.median(second.get_ydata())
    assert {"a", "d", "growing"} <= set(texts(ax))
    step = np.diff(ax.transData.transform([(0, 0), (25, 10)]), axis=0)[0] / ax.figure.dpi * 25.4
    np.testing.assert_allclose(step, (25, 10), atol=0.01)


def test_deep_traces_keep_clear_of_the_row_below(ecgs):
    signal = ecgs[0].signal.copy()
    row = signal[LEADS.index("V1")]
    row *= 7.0 / np.abs(row - np.median(row)).max()  # mV
    ax = plot_series([ECG(signal)] * 3, leads=["V1"])
    for above, below in itertools.pairwise(ax.lines):
        assert above.get_ydata().min() > below.get_ydata().max()


def test_a_series_refuses_what_does_not_fit(ecgs):
    with pytest.raises(InputError, match="no recordings"):
        plot_series([])
    with pytest.raises(InputError, match="4 titles"):
        plot_series(ecgs, titles=["one"])
    with pytest.raises(InputError, match="V9"):
        plot_series(ecgs, leads=["V9"])


def test_one_twin_is_a_line_and_many_are_a_fan(ecgs):
    one = plot_beats(ecgs[0], ecgs[1])
    assert len(one.lines) == 24
    assert not [area for area in one.collections if hasattr(area, "get_facecolor") and area.get_alpha()]
    many = plot_beats(ecgs[0], ecgs[1:])
    assert len([area for area in many.collections if area.get_alpha()]) == 12
    assert "80 % of 3 twins" in texts(many)[-2]
    assert {text for text in texts(many) if text in LEADS} == set(LEADS)


def test_the_fan_of_many_twins_stays_on_the_paper(ecgs):
    ax = plot_beats(ecgs[0], [ECG(scale * ecgs[1].signal) for scale in (1, 2, 8)])
    (grid,) = [one for one in ax.collections if len(one.get_paths()) > 400]  # the fine one
    paper = grid.get_datalim(ax.transData)
    for area in ax.collections:
        if area.get_alpha():
            y = area.get_paths()[0].vertices[:, 1]
            assert paper.ymin <= y.min()
            assert y.max() <= paper.ymax


def test_r_peaks_of_reference_and_twin_lie_on_each_other(ecgs):
    ax = plot_beats(ecgs[0], ecgs[0])
    for black, blue in zip(ax.lines[::2], ax.lines[1::2], strict=True):
        np.testing.assert_allclose(black.get_ydata(), blue.get_ydata())


def test_given_axes_are_used(ecgs):
    _, ax = plt.subplots()
    assert plot_beats(ecgs[0].select(["I"]), ecgs[1], ax=ax) is ax
    assert plot_series(ecgs, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_wfdb_records_and_arrays_are_drawn():
    record = wfdb.rdrecord(str(example_path()))
    assert plot_series([record, load_example()]).lines
    assert plot_beats(record, load_example().signal[None]).lines
    assert plot_ecg(record).lines


def test_an_attribution_is_colour_behind_the_traces():
    ecg = load_example()
    moved = np.zeros(ecg.signal.shape)
    moved[LEADS.index("V1"), 2600:2700] = -0.5
    ax = plot_ecg(ecg, attribution=moved)
    plain = plot_ecg(ecg)
    assert len(ax.images) == 13
    assert ax.axis() == plain.axis()
    depth = {image.get_extent()[0]: image.get_array()[..., 3].max() for image in ax.images[6:7]}
    assert max(depth.values()) == pytest.approx(0.65)
    assert ax.images[0].get_array()[..., 3].max() == 0
    with pytest.raises(InputError, match="attribution"):
        plot_ecg(ecg, attribution=np.zeros((3, 10)))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_every_format_is_written(ecgs, tmp_path, kind):
    plot_beats(ecgs[0], ecgs[1:]).figure.savefig(tmp_path / f"beats.{kind}")
    assert (tmp_path / f"beats.{kind}").stat().st_size > 1000
