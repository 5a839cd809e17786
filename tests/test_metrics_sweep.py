"""What steps and scales are worth, measured and drawn."""

import json
from io import BytesIO

import pytest
from PIL import Image

from ecgtwin import InputError
from ecgtwin.metrics.bootstrap import Figure
from ecgtwin.metrics.sweep import COLUMNS, as_table, draw_curves, main


def row(value):
    return dict.fromkeys(COLUMNS, Figure(value, value - 0.1, value + 0.1, 100))


def test_each_value_is_measured_beside_real_ecgs(ptbxl, tiny, tmp_path, capsys):
    weights, out = tiny.save_pretrained(tmp_path / "weights"), tmp_path / "new" / "sweep.json"
    asked = ["--checkpoint", str(weights), "--n-steps", "1", "2", "--guidance-scale", "0.5"]
    folds = ["--folds", *map(str, range(1, 11))]
    assert main(["--data", str(ptbxl), "--out", str(out), *folds, *asked]) == 0
    found = json.loads(out.read_text())
    assert [*found] == ["real", "n_steps=1", "n_steps=2", "guidance_scale=0.5"]
    for key in ("psd_log_distance", "hr_mae", "beat_consistency", "retention"):
        assert {"value", "low", "high", "n"} == {*found["n_steps=1"][key]}
        assert key in found["real"]
    assert "n_steps=2" in capsys.readouterr().out


def test_a_table_has_a_row_for_each_choice():
    table = {"real": row(1.0), "n_steps=1": row(2.0)}
    del table["n_steps=1"]["interval_w1"]
    lines = as_table(table).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| real | 1 |")
    assert lines[2].endswith("| 1 | 1 |")
    assert lines[3].endswith("| 2 |  |")


def test_curves_are_drawn_of_what_was_varied():
    scales = {f"guidance_scale={x}": row(x) for x in (0.5, 1)}
    steps = {f"n_steps={x}": row(x) for x in (1, 2, 4)}
    widths = [
        Image.open(BytesIO(draw_curves({"real": row(0.9), **some}))).width
        for some in (scales, steps, scales | steps)
    ]
    assert widths[0] == widths[1] < widths[2]


def test_one_value_makes_no_curve():
    with pytest.raises(InputError, match="too few"):
        draw_curves({"real": row(0.9), "n_steps=1": row(1)})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "nothing is to vary"),
        (["--counterfactual-share", "0", "1", "--figure", "x.png"], "two values of n_steps"),
        (["--n-steps", "2", "--guidance-scale", "-1"], "guidance_scale must be"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(asked, words, tmp_path, capsys):
    try:
        status = main(["--data", str(tmp_path), "--out", str(tmp_path / "x.json"), *asked])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words in capsys.readouterr().err
