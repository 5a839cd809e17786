"""The judges' figures on the ladder, on real ECGs: what no simulation can show."""

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import REAL_DATA

from ecgtwin.conditions import STATEMENTS, Condition, statement_matrix
from ecgtwin.delineation import INTERVALS, delineate_all
from ecgtwin.metrics.condition import age_error, macro_auroc, sex_auroc
from ecgtwin.metrics.fidelity import frechet_distance, manifold
from ecgtwin.metrics.identity import first_and_second, retrieval_top1
from ecgtwin.metrics.judges import Judges
from ecgtwin.metrics.ladder import BLIND, degraded, in_order, ladder, ladder_table
from ecgtwin.metrics.physiology import beat_consistency, interval_w1
from ecgtwin.metrics.rules import meets

pytestmark = pytest.mark.skipif(
    not (REAL_DATA / "unpack.py").is_file(), reason="PTB-XL is not beside the repository"
)


@dataclass(frozen=True)
class Real:
    signals: np.ndarray
    groups: np.ndarray
    conditions: list


@pytest.fixture(scope="module")
def real():
    spec = importlib.util.spec_from_file_location("unpack", REAL_DATA / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    microvolts, rows = unpack.read_fold(9)
    groups = np.array([row["patient_id"] for row in rows])
    _, person, count = np.unique(groups, return_inverse=True, return_counts=True)
    # everybody with several recordings, and as many others
    chosen = np.sort(
        np.concatenate([np.flatnonzero(count[person] > 1), np.flatnonzero(count[person] == 1)[:450]])
    )
    conditions = [Condition.parse(rows[row]) for row in chosen]
    return Real((microvolts[chosen] / 1000).astype(np.float32), groups[chosen], conditions)


@pytest.fixture(scope="module")
def judges():
    return Judges.load()


@pytest.fixture(scope="module")
def features(real, judges):
    return {rung: judges.describe(signals) for rung, signals in ladder(real.signals, real.groups).items()}


@pytest.fixture(scope="module")
def probes(real):
    """Second recordings as they are and spoiled; ``other`` are third ones where there are any."""
    first, second = first_and_second(real.groups)
    return first, second, {"other": real.signals[second], **degraded(real.signals[second])}


def test_frechet_distance(features):
    table = ladder_table(lambda x: frechet_distance(x, features["real"]), features)
    assert in_order(table, higher_is_better=False) == []


@pytest.mark.parametrize("key", ["precision", "recall", "density", "coverage"])
def test_manifold(features, key):
    table = ladder_table(lambda x: manifold(x, features["real"])[key], features)
    blind = BLIND.get(key, ())
    assert in_order(table, higher_is_better=True, floor=0.05, slack=0.05, blind=blind) == []
    assert table["noisy"] < 0.7 * table["other"]


def test_persons(real, judges, probes):
    first, second, rungs = probes
    gallery, owners = judges.embed(real.signals[first]), real.groups[second]
    table = ladder_table(
        lambda x: retrieval_top1(judges.embed(x), owners, gallery, real.groups[first]), rungs
    )
    table["real"] = retrieval_top1(gallery, real.groups[first], gallery, real.groups[first])
    assert table["real"] == 1
    assert table["other"] > 0.8
    blind = BLIND["retrieval_top1"]
    assert in_order(table, higher_is_better=True, blind=blind, floor=0.06) == []


def test_statements_age_and_sex(real, judges):
    rungs = {"other": real.signals, **degraded(real.signals)}
    labels = statement_matrix(real.conditions)
    verdicts = {rung: judges.classify(signals) for rung, signals in rungs.items()}
    statements = {rung: macro_auroc(v.statements, labels, STATEMENTS) for rung, v in verdicts.items()}
    assert statements["other"] > 0.9
    sexes, ages = ([getattr(one, key) for one in real.conditions] for key in ("sex", "age"))
    sex = {rung: sex_auroc(v.female, sexes) for rung, v in verdicts.items()}
    age = {rung: np.nanmean(age_error(v.age, ages)) for rung, v in verdicts.items()}
    for key, table in (("label_auroc", statements), ("sex_auroc", sex), ("age_mae", age)):
        table["real"] = table["other"]
        higher = key != "age_mae"
        faults = in_order(table, higher_is_better=higher, blind=BLIND[key], slack=0.01)
        assert faults == [], key


def test_beats_and_intervals(real):
    """On recordings of few statements, all compared with other patients' of the same."""
    labels = statement_matrix(real.conditions)
    rows = np.flatnonzero(labels[:, STATEMENTS.index("NORM")])[:160]
    rungs = ladder(real.signals[rows], real.groups[rows])
    measured = {rung: delineate_all(signals) for rung, signals in rungs.items()}
    alike = {
        rung: np.nanmedian(beat_consistency(signals, delineations=measured[rung]).correlation.mean(axis=1))
        for rung, signals in rungs.items()
    }
    found = {
        rung: {key: np.array([getattr(d, f"{key}_ms") for d in all_of]) for key in INTERVALS}
        for rung, all_of in measured.items()
    }
    apart = {rung: np.nanmean(list(interval_w1(found[rung], found["real"]).values())) for rung in rungs}
    slack = 0.005
    blind = BLIND["beat_consistency"]
    assert in_order(alike, higher_is_better=True, blind=blind, slack=slack) == []
    assert in_order(apart, higher_is_better=False, blind=BLIND["interval_w1"]) == []


def test_rules(real):
    """The mean over statements of the share that meets its rule; noise meets next to none."""
    rungs = {"other": real.signals, **degraded(real.signals)}
    labels = statement_matrix(real.conditions)
    codes = ("NORM", "IMI", "ASMI", "LAFB", "LVH", "1AVB", "PVC", "CLBBB", "AFIB")
    shares = {
        rung: np.mean(
            [
                meets(signals[rows], code).mean()
                for code in codes
                if len(rows := np.flatnonzero(labels[:, STATEMENTS.index(code)])[:25]) >= 10
            ]
        )
        for rung, signals in rungs.items()
    }
    assert shares["other"] > 0.6
    assert shares["other"] > shares["noisy"] > max(shares["reversed"], shares["swapped"])
    assert shares["noise"] < 0.5 * shares["other"]
