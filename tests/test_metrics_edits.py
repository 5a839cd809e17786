"""What the table of edits says of a generator."""

import numpy as np

from ecgtwin import ECG
from ecgtwin.metrics.edits import COLUMNS, Task, as_table, measure
from ecgtwin.metrics.judges import Judges


def test_a_table_of_edits(tiny, ecgs):
    some = [ECG(ecgs.signals[i], condition="NORM, SR, 60 y, F") for i in (0, 2)]
    task = Task("add IMI", ("NORM",), ("IMI",), {"add": "IMI"}, "IMI")
    rate = Task("80 bpm", ("NORM",), (), {"heart_rate": 80.0})
    judges = Judges.load()
    table = {one.name: measure(tiny, judges, one, some, ["a", "b"]) for one in (task, rate)}
    assert set(table["add IMI"]) == set(COLUMNS)
    assert {"before", "far"}.isdisjoint(table["80 bpm"])
    assert table["80 bpm"]["rate"].value < 2
    assert all(np.isfinite(one.value) for row in table.values() for one in row.values())
    assert as_table(table).count("\n") == 3
