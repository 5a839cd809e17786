import json

import pytest

from ecgtwin.__main__ import main


def test_bench_says_how_fast_and_where_the_time_goes(tiny, tmp_path, capsys):
    out = tmp_path / "bench.json"
    weights = tiny.save_pretrained(tmp_path / "weights")
    assert main(["bench", "--out", str(out), "--checkpoint", str(weights), "--device", "cpu"]) == 0
    found = json.loads(out.read_text())
    assert {"ms_per_twin_b1", "ms_per_twin_b64", "peak_rss_mb", "steps", "threads", "device"} <= set(found)
    for share in found["share"].values():
        assert set(share) == {"encode", "rhythm", "flow", "decode"}
        assert sum(share.values()) == pytest.approx(1)
    assert found["ms_per_twin_b1"] > 0
    assert found["ms_per_twin_b64"] > 0
    assert found["peak_rss_mb"] > 50
    assert "ms per twin" in capsys.readouterr().out
