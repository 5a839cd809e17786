"""The whole report, small, on simulated people in PTB-XL's layout."""

import json

import numpy as np
import pytest

from ecgtwin import InputError, load_ptbxl
from ecgtwin.__main__ import main
from ecgtwin.metrics.arms import ARMS, Arm, Plan, Recordings
from ecgtwin.metrics.generated import GeneratedECGs
from ecgtwin.metrics.judges import Judges
from ecgtwin.metrics.report import GROUPS, Sizes, as_json, as_table, evaluate

SMALL = Sizes(12, 6, 1, 4, 2, 8, 0, 2, 2, 2, 60)
KEYS = {
    "fidelity": {"rfid", "precision", "recall", "density", "coverage", "psd_log_distance"},
    "condition": {"label_auroc", "hr_mae", "hr_failures", "rules", "age_mae", "sex_auroc"},
    "identity": {"retention", "top1", "eer", "tar_at_far_1e3"},
    "physiology": {"lead_residual", "beat_consistency", "interval_w1"},
    "utility": {"tstr_auroc", "augment_gain", "personal_gain"},
    "privacy": {"copies", "nn_ratio", "mia_auc", "mia_tpr_at_fpr_1e2", "extractor_mia_auc"},
}


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    import joblib

    with joblib.parallel_backend("sequential"):
        yield


@pytest.fixture(scope="module")
def report(in_this_process, tiny, ptbxl, tmp_path_factory):
    return small_report(tiny, ptbxl, tmp_path_factory.mktemp("report"))


def small_report(tiny, ptbxl, tmp_path, **options):
    weights = tiny.save_pretrained(tmp_path / "weights")
    return evaluate(
        ptbxl,
        folds=[1],
        training_folds=[9],
        checkpoint=weights,
        sizes=SMALL,
        verbose=False,
        **options,
    )


def test_every_fixed_key_is_there_with_interval_real_figure_and_goal(report):
    assert set(report) == {"meta", *GROUPS}
    for group, keys in KEYS.items():
        assert keys <= set(report[group])
        for key in keys:
            found = report[group][key]
            assert {"value", "low", "high", "n", "real", "goal", "met"} <= set(found), key


def test_the_arms_are_in_every_table(report):
    for group, key in (("condition", "hr_mae"), ("physiology", "lead_residual"), ("privacy", "nn_ratio")):
        found = report[group][key]
        assert set(found["arms"]) == set(ARMS) - {"twin", "real"}
        assert found["value"] is not None
    assert report["identity"]["retention"]["arms"]["copy"]["value"] == 1
    assert report["physiology"]["lead_residual"]["value"] < 1e-6


def test_the_same_seed_gives_the_same_json(report, tiny, ptbxl, tmp_path):
    assert as_json(report) == as_json(small_report(tiny, ptbxl, tmp_path))
    assert json.loads(as_json(report))["meta"]["seed"] == 0


def test_the_table_has_a_line_for_every_figure(report):
    table = as_table(report)
    for key in set().union(*KEYS.values()):
        assert f"  {key} " in table


def test_what_was_trained_on_is_not_evaluated_on(tiny, ptbxl, tmp_path):
    with pytest.raises(InputError, match=r"folds \[1\] were trained on"):
        evaluate(ptbxl, folds=[1], training_folds=[1], checkpoint=tiny.save_pretrained(tmp_path))


def test_no_twin_is_asked_for_its_own_persons_condition(ecgs):
    plan = Plan.draw(ecgs.groups, 24, seed=3)
    assert sorted(plan.references) == list(range(24))
    assert (ecgs.groups[plan.targets] != ecgs.groups[plan.references]).all()
    assert (ecgs.groups[plan.strangers] != ecgs.groups[plan.references]).all()
    assert sorted(plan.targets) == list(range(24))  # all conditions, each as often as in the real set
    assert len(np.unique(ecgs.groups[plan.first(12).references])) == 12


def test_a_twin_keeps_age_and_sex_and_changes_the_rest(ptbxl):
    real = Recordings.of(load_ptbxl(ptbxl))
    plan = Plan.draw(real.groups, 6, seed=0)
    for asked, row, target in zip(plan.asked(real), plan.references, plan.targets, strict=True):
        assert (asked.age, asked.sex) == (real.conditions[row].age, real.conditions[row].sex)
        assert asked.statements == real.conditions[target].statements
        assert asked.heart_rate == real.conditions[target].heart_rate


def test_what_was_measured_already_is_not_measured_again(ptbxl):
    real = Recordings.of(load_ptbxl(ptbxl))
    own = Arm(real.signals, real.groups, real.conditions, np.arange(len(real)), Judges.load())
    rows = np.array([3, 1])
    copy = Arm(real.signals[rows], real.groups[rows], None, rows, own.judges, source=own)
    assert copy.measured[0] is own.measured[3]
    np.testing.assert_array_equal(copy.embeddings, own.embeddings[rows])
    np.testing.assert_array_equal(copy.beats, own.beats[rows])
    with pytest.raises(InputError, match="not known"):
        _ = copy.labels


# ----- another generator's ECGs


@pytest.fixture
def generated(ptbxl, tmp_path):
    """Real recordings handed in as if a generator had made them."""
    real = load_ptbxl(ptbxl, folds=[1])
    arrays = {
        "signals": real.signals,
        "reference": real.record_ids,
        "statements": np.array([", ".join(one.statements) for one in real.conditions]),
        "heart_rate": np.array([one.heart_rate for one in real.conditions]),
        "sex": np.array(["F"] * len(real.signals)),
    }
    path = tmp_path / "made.npz"
    np.savez(path, **arrays)
    return path, arrays


def test_real_ecgs_handed_in_score_as_real(generated, ptbxl):
    path, _ = generated
    report = evaluate(ptbxl, folds=[1], training_folds=[9], generated=path, sizes=SMALL, verbose=False)
    assert report["identity"]["retention"]["value"] == 1
    assert report["condition"]["hr_mae"]["value"] == 0
    assert report["condition"]["rules"]["value"] is None  # no statement is there ten times
    assert report["meta"]["generated"] == "made.npz"
    assert set(report["condition"]["hr_mae"]["arms"]) == {"copy"}
    as_json(report)


def test_any_rate_is_read(generated, tmp_path):
    _, arrays = generated
    path = tmp_path / "fast.npz"
    np.savez(path, signals=np.repeat(arrays["signals"][:2], 2, axis=-1), sampling_rate=200.0)
    made = GeneratedECGs.read(path)
    assert made.signals.shape == (2, 12, 1000)
    assert made.asked is None
    assert (made.references == -1).all()


def test_ecgs_of_unknown_condition_are_graded_without_it(generated, ptbxl, tmp_path):
    _, arrays = generated
    path = tmp_path / "bare.npz"
    np.savez(path, signals=arrays["signals"][:6])
    report = evaluate(ptbxl, folds=[1], training_folds=[9], generated=path, sizes=SMALL, verbose=False)
    assert report["condition"] == {}
    assert report["identity"]["retention"]["value"] is None
    assert report["fidelity"]["psd_log_distance"]["value"] is not None
    assert "lead_residual" in as_table(report)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signals": None}, "expected signals"),
        ({"signals": np.zeros((2, 8, 1000))}, "n, 12, t"),
        ({"signals": np.zeros((2, 12, 500))}, "10 s"),
        ({"signals": np.full((2, 12, 1000), np.nan)}, "finite"),
        ({"reference": np.arange(3)}, "reference must have shape"),
        ({"colour": np.arange(2)}, "colour"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, words):
    arrays = {"signals": np.zeros((2, 12, 1000))} | change
    path = tmp_path / "wrong.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=words):
        GeneratedECGs.read(path)


def test_a_pickle_is_never_loaded(tmp_path):
    path = tmp_path / "pickled.npz"
    np.savez(path, signals=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        GeneratedECGs.read(path)
    with pytest.raises(FileNotFoundError):
        GeneratedECGs.read(tmp_path / "nothing.npz")


# ----- from the shell


def test_evaluate_writes_json_and_prints_the_table(generated, ptbxl, tmp_path, capsys, monkeypatch):
    path, _ = generated
    monkeypatch.setattr("ecgtwin.metrics.report.QUICK", SMALL)
    out = tmp_path / "reports" / "report.json"
    command = ["evaluate", "--data", str(ptbxl), "--folds", "1", "--training-folds", "9", "--quick"]
    command += ["--generated", str(path), "--out", str(out), "--html", str(tmp_path / "report.html")]
    assert main(command) == 0
    assert set(json.loads(out.read_text())) == {"meta", *GROUPS}
    assert "retention" in capsys.readouterr().out
    assert "<html" in (tmp_path / "report.html").read_text()


def test_no_data_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "report.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
