"""The commands that measure edits and explanations."""

import json

import pytest

from ecgtwin.metrics import edits, explanations
from ecgtwin.metrics.bootstrap import Figure
from ecgtwin.metrics.commands import arguments, write_figures


def test_both_take_the_same_arguments():
    parsed = arguments("edits", "", counted="people").parse_args(
        ["--data", "here", "--out", "there.json", "-n", "3", "--skip", "2"]
    )
    assert (parsed.n, parsed.skip, parsed.folds, parsed.checkpoint) == (3, 2, [9], "default")


def test_figures_are_written_with_their_intervals(tmp_path):
    write_figures(tmp_path / "new" / "figures.json", {"add PVC": {"after": Figure(0.5, 0.4, 0.6, 10)}})
    found = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert found == {"add PVC": {"after": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}}}


@pytest.mark.parametrize("command", [edits, explanations])
def test_data_that_are_not_there_end_in_one_line(command, tmp_path, capsys):
    missing = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out.json")]
    assert command.main(missing) == 2
    assert capsys.readouterr().err.startswith("ecgtwin: ")
    assert not (tmp_path / "out.json").exists()


def test_people_that_are_left_out_are_not_measured(ptbxl, tmp_path, capsys):
    arguments = ["--data", str(ptbxl), "--out", str(tmp_path / "out.json"), "--skip", "1000"]
    assert explanations.main(arguments) == 2
    assert "left" in capsys.readouterr().err
