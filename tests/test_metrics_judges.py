import json

import numpy as np
import pytest

from ecgtwin import CheckpointError, InputError
from ecgtwin.conditions import STATEMENTS
from ecgtwin.metrics.judge_networks import Classifier, FeatureNet, Recogniser
from ecgtwin.metrics.judge_training import JudgeData, fit_features, fit_recogniser
from ecgtwin.metrics.judges import Judges, main
from ecgtwin.simulate import make_ecgs


@pytest.fixture(scope="module")
def judges():
    return Judges.load()


def test_bundled_judges_say_what_they_were_trained_on(judges):
    assert judges.training["folds"] == list(range(1, 9))
    assert judges.training["figures"]["macro_auroc"] > 0.92
    assert judges.training["figures"]["protocol_a"]["value"] > 0.8


def test_no_judge_is_larger_than_two_million():
    for net in (Classifier(), Recogniser(), FeatureNet()):
        assert sum(parameter.numel() for parameter in net.parameters()) <= 2_000_000


def test_the_classifier_tells_rates_apart(judges):
    slow, fast = (make_ecgs(6, 1, statements=(code,), random_state=0).signals for code in ("SBRAD", "STACH"))
    column = STATEMENTS.index("STACH")
    assert (
        judges.classify(fast).statements[:, column].min() > judges.classify(slow).statements[:, column].max()
    )


def test_verdicts_and_vectors_have_their_shapes(judges, ecgs):
    verdict = judges.classify(ecgs.signals[:3])
    assert verdict.statements.shape == (3, 71)
    assert ((verdict.statements >= 0) & (verdict.statements <= 1)).all()
    assert verdict.at(np.array([2])).age.shape == (1,)
    vectors = judges.embed(ecgs.signals[:3])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.isfinite(judges.describe(ecgs.signals[:3, :, :500])).all()


def test_a_batch_changes_nothing(judges, ecgs):
    np.testing.assert_allclose(judges.embed(ecgs.signals)[:1], judges.embed(ecgs.signals[:1]), atol=1e-5)


def test_an_electrodes_offset_is_not_judged(judges, ecgs):
    moved = ecgs.signals[:2] + 0.5
    np.testing.assert_allclose(judges.embed(moved), judges.embed(ecgs.signals[:2]), atol=1e-4)


@pytest.mark.parametrize(
    "signals",
    [np.zeros((2, 8, 1000)), np.zeros((12, 1000)), np.full((1, 12, 1000), np.nan), np.zeros((0, 12, 1000))],
)
def test_what_is_no_ecg_is_refused(judges, signals):
    with pytest.raises(InputError):
        judges.classify(signals)


def test_judges_come_back_from_disk(judges, ecgs, tmp_path):
    again = Judges.load(judges.save(tmp_path / "judges"))
    np.testing.assert_allclose(again.describe(ecgs.signals[:2]), judges.describe(ecgs.signals[:2]), atol=1e-5)
    assert again.training == judges.training


def test_damaged_judges_are_refused(judges, tmp_path):
    with pytest.raises(CheckpointError, match="no judges"):
        Judges.load(tmp_path)
    folder = judges.save(tmp_path / "judges")
    (folder / "config.json").write_text(json.dumps({"statements": ["NORM"]}))
    with pytest.raises(CheckpointError, match="statements"):
        Judges.load(folder)
    judges.save(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(CheckpointError, match="safetensors"):
        Judges.load(folder)


def test_training_learns_the_persons(ecgs):
    data = JudgeData.of(ecgs.signals, ecgs.groups, ecgs.conditions)
    net = fit_recogniser(data, data, minutes=0.1, epochs=30, seed=0, verbose=False)
    from ecgtwin.metrics.identity import protocol_a
    from ecgtwin.metrics.judge_networks import in_batches

    assert protocol_a(in_batches(net, data.signals)[0], ecgs.groups).value > 0.5


def test_features_are_of_one_size_on_what_they_were_trained_on(ecgs):
    data = JudgeData.of(ecgs.signals, ecgs.groups, ecgs.conditions)
    net = fit_features(data, minutes=0.2, epochs=3, seed=0, verbose=False)
    from ecgtwin.metrics.judge_networks import in_batches

    features = in_batches(net, data.signals)[0]
    assert features.shape == (24, 40)
    assert np.abs(features).max() <= 4


def test_the_command_trains_all_three_and_goes_on(ptbxl, tmp_path, capsys):
    command = ["train", "--data", str(ptbxl), "--out", str(tmp_path / "judges"), "--minutes", "0.05"]
    assert main(command) == 0
    assert "macro_auroc" in capsys.readouterr().out
    assert main(command) == 0  # finished: nothing is trained again
    assert Judges.load(tmp_path / "judges").training["folds"] == list(range(1, 9))


def test_no_data_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "judges")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
