"""Every metric must rank real ECGs above spoiled ones, and these in their order, before it may judge."""

import importlib.util

import numpy as np
import pytest
from conftest import REAL_DATA

from ecgtwin.beats import heart_rate
from ecgtwin.exceptions import InputError
from ecgtwin.leads import independent_leads, lead_residual
from ecgtwin.metrics.condition import heart_rate_error, macro_auroc
from ecgtwin.metrics.fidelity import (
    frechet_distance,
    frechet_ratio,
    manifold,
    psd_log_distance,
    spectra,
    spectral_distance,
)
from ecgtwin.metrics.identity import (
    first_and_second,
    probe_verification,
    protocol_a,
    protocol_b,
    retention,
    retrieval_top1,
    verification,
)
from ecgtwin.metrics.ladder import BLIND, RUNGS, degraded, in_order, ladder, ladder_table
from ecgtwin.metrics.privacy import beat_vectors, copies, membership, nearest_distance, nn_ratio
from ecgtwin.simulate import make_ecgs


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class People:
    """Recordings with their patients, the ladder built of them, and features of every rung."""

    def __init__(self, signals, groups, pairs=None):
        self.signals, self.groups = signals, groups
        self.pairs = (signals, groups) if pairs is None else pairs
        self.rungs = ladder(signals, groups)
        owner = {x.tobytes(): patient for x, patient in zip(signals, groups, strict=True)}
        self.owners = {
            rung: np.array([owner[x.tobytes()] for x in self.rungs[rung]]) for rung in ("real", "other")
        }
        self.beats = {rung: beat_vectors(x) for rung, x in self.rungs.items()}
        self.spectra = {rung: spectra(x) for rung, x in self.rungs.items()}
        self.features = self._features()

    def _features(self):
        """Shape of the beat, power in three bands and roughness: each rung spoils some of them."""
        frequency = np.linspace(0.5, 40, self.spectra["real"].shape[-1])
        centre = unit(self.beats["real"]).mean(axis=0)
        axes = np.linalg.svd(unit(self.beats["real"]) - centre, full_matrices=False)[2][:8]

        def of(rung):
            power, leads = self.spectra[rung], independent_leads(self.rungs[rung])
            bands = [
                np.log10(
                    1e-6 + power[:, rows][..., (frequency >= low) & (frequency < high)].mean(axis=(1, 2))
                )
                for rows in (slice(0, 6), slice(6, 12))
                for low, high in ((0.5, 5), (5, 15), (15, 41))
            ]
            rough = np.log(1e-3 + np.diff(leads, 2, axis=-1).std(axis=-1) / leads.std(axis=-1)).mean(axis=1)
            return np.column_stack([(unit(self.beats[rung]) - centre) @ axes.T, *bands, rough])

        features = {rung: of(rung) for rung in self.rungs}
        scale = features["real"].std(axis=0)
        return {rung: rows / scale for rung, rows in features.items()}


def simulated():
    ecgs = make_ecgs(100, 2, random_state=0)
    normal = make_ecgs(80, 2, statements=("NORM",), random_state=0)
    return People(ecgs.signals, ecgs.groups, (normal.signals, normal.groups))


def real():
    if not (REAL_DATA / "unpack.py").is_file():
        pytest.skip("PTB-XL is not beside the repository")
    spec = importlib.util.spec_from_file_location("unpack", REAL_DATA / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    microvolts, rows = unpack.read_fold(9)
    patients = np.array([row["patient_id"] for row in rows])
    _, person, count = np.unique(patients, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero(count[person] > 1)[:300]
    return People((microvolts[chosen] / 1000).astype(np.float32), patients[chosen])


@pytest.fixture(scope="module", params=[simulated, real], ids=["simulated", "PTB-XL fold 9"])
def people(request):
    return request.param()


# ----- set metrics


def test_frechet_distance(people):
    table = ladder_table(lambda x: frechet_distance(x, people.features["real"]), people.features)
    assert in_order(table, higher_is_better=False) == []


def test_frechet_ratio(people):
    """Of two features, for a set must hold ten patients to each; so few cannot order what is spoiled."""
    features = {rung: rows[:, [2, 14]] for rung, rows in people.features.items()}
    both = np.concatenate([features["real"], features["other"]])
    owners = np.concatenate([people.owners["real"], people.owners["other"]])
    assert frechet_ratio(both, both, owners, generated_groups=owners) == pytest.approx(1, abs=0.3)
    twins = people.owners["other"]
    table = {
        rung: frechet_ratio(rows, both, owners, generated_groups=twins)
        for rung, rows in features.items()
        if rung != "real"
    }
    other, noise = table.pop("other"), table.pop("noise")
    assert other < min(table.values())
    assert noise > 2 * max(table.values())


@pytest.mark.parametrize("key", ["precision", "recall", "density", "coverage"])
def test_manifold(people, key):
    table = ladder_table(lambda x: manifold(x, people.features["real"])[key], people.features)
    assert in_order(table, higher_is_better=True, floor=0.03, slack=0.05) == []


def test_psd_log_distance(people):
    table = ladder_table(lambda x: spectral_distance(x, people.spectra["real"]).mean(), people.spectra)
    assert in_order(table, higher_is_better=False, blind=BLIND["psd_log_distance"]) == []
    assert table["reversed"] == pytest.approx(table["other"], rel=0.05)


def test_nearest_distance_as_likeness(people):
    table = ladder_table(lambda x: np.median(nearest_distance(x, people.beats["real"])), people.beats)
    assert in_order(table, higher_is_better=False, blind=BLIND["nearest_distance"], floor=1.3) == []


# ----- metrics of single recordings and of persons


@pytest.fixture(scope="module")
def probes(people):
    """The persons' first recordings as gallery, and embeddings of probes: 2.5 s, so that noise tells."""
    signals, groups = people.pairs
    first, second = first_and_second(groups)
    signals = signals[..., 400:650]
    rungs = {"real": signals[first], "other": signals[second], **degraded(signals[second])}
    return groups[first], {rung: np.nan_to_num(unit(beat_vectors(x))) for rung, x in rungs.items()}


def test_retrieval_and_protocols(probes):
    persons, rungs = probes
    gallery, chance = rungs["real"], 4 / len(persons)
    measures = {
        "retrieval": lambda x: retrieval_top1(x, persons, gallery, persons),
        "retention": lambda x: retention(x, persons, rungs["other"], persons, gallery, persons).value,
        "A": lambda x: protocol_a(np.concatenate([gallery, x]), np.tile(persons, 2)).value,
        "B": lambda x: protocol_b(np.concatenate([gallery, x]), np.tile(persons, 2)).value,
    }
    for name, measure in measures.items():
        table = ladder_table(measure, rungs)
        floor = (
            chance / ladder_table(measures["retrieval"], rungs)["other"] if name == "retention" else chance
        )
        assert in_order(table, higher_is_better=True, floor=floor, slack=0.05) == [], name
        assert table["real"] >= 1


def test_verification(probes):
    persons, rungs = probes
    gallery = rungs["real"]
    for measure in (
        lambda x: verification(np.concatenate([gallery, x]), np.tile(persons, 2)),
        lambda x: probe_verification(x, persons, gallery, persons),
    ):
        rates = {rung: measure(x) for rung, x in rungs.items()}
        eer, tar = ({rung: rate[key] for rung, rate in rates.items()} for key in ("eer", "tar_at_far_1e3"))
        assert in_order(eer, higher_is_better=False, floor=0.42, slack=0.02) == []
        assert in_order(tar, higher_is_better=True, floor=4 / len(persons), slack=0.05) == []


def test_heart_rate_error(people):
    signals = people.signals[:60]
    asked = [heart_rate(signal) for signal in signals]
    rungs = {"real": signals, "other": signals, **degraded(signals)}
    table = ladder_table(lambda x: np.nanmean(heart_rate_error(x, asked)[0]), rungs)
    assert in_order(table, higher_is_better=False, blind=BLIND["hr_mae"], slack=1) == []
    assert table["noise"] > 20


def test_lead_residual(people):
    table = ladder_table(lambda x: float(np.median([lead_residual(signal) for signal in x])), people.rungs)
    blind = BLIND["lead_residual"]
    assert in_order(table, higher_is_better=False, blind=blind, slack=0.01, floor=0.5) == []


def test_label_auroc():
    """A classifier by the distance to the mean beat of each statement."""
    statements = ["NORM", "CLBBB", "CRBBB"]
    ecgs = make_ecgs(60, 2, statements=statements, random_state=1)
    labels = np.array([[code in one.statements for code in statements] for one in ecgs.conditions])
    train, test = ecgs.groups.astype(int) < 30, ecgs.groups.astype(int) >= 30
    vectors = unit(beat_vectors(ecgs.signals[train]))
    means = np.array([vectors[label].mean(axis=0) for label in labels[train].T])

    def measure(signals):
        scores = np.nan_to_num(unit(beat_vectors(signals))) @ means.T
        return macro_auroc(scores, labels[test], statements)

    signals = ecgs.signals[test]
    table = ladder_table(measure, {"real": signals, "other": signals, **degraded(signals)})
    assert table["other"] > 0.95
    assert table["noisy"] > 0.9
    assert max(table["swapped"], table["noise"]) < 0.75


# ----- privacy


def test_privacy_figures_flag_exact_copies(people):
    training, strangers = people.beats["real"], people.beats["other"]
    half = len(strangers) // 2
    some = np.isin(people.owners["other"], np.unique(people.owners["other"])[::2])
    held_out, fresh = strangers[some], strangers[~some]
    real_distance = nearest_distance(fresh, training)
    copied = nearest_distance(training, training)
    assert copies(copied, real_distance) == 1
    assert copies(real_distance, nearest_distance(held_out, training)) < 0.06
    assert nn_ratio(copied, nearest_distance(training, held_out)) == 0
    assert membership(-copied, -real_distance) == {"auc": 1, "tpr_at_fpr_1e2": 1}
    # one copy a hundred among strangers is enough
    among = np.concatenate([real_distance, copied[: max(1, half // 100)]])
    assert copies(among, real_distance) > 0


# ----- the ladder itself


def test_rungs_are_what_they_are_called(people):
    rungs = people.rungs
    assert tuple(rungs) == RUNGS
    assert not set(people.owners["real"].tolist()) & set(people.owners["other"].tolist())
    assert len(rungs["real"]) + len(rungs["other"]) == len(people.signals)
    assert {x.dtype for x in rungs.values()} == {np.dtype(np.float32)}
    other = rungs["other"].astype(float)
    noise = (rungs["noisy"] - other)[:, [0, 1, 6, 7, 8, 9, 10, 11]]
    snr = 10 * np.log10(independent_leads(other).var(axis=-1) / noise.var(axis=-1))
    assert np.median(snr) == pytest.approx(10, abs=0.5)
    np.testing.assert_array_equal(rungs["reversed"][..., ::-1], rungs["other"])
    np.testing.assert_array_equal(rungs["swapped"][:, 6:], rungs["other"][:, :6])
    np.testing.assert_allclose(rungs["noise"].std(axis=-1), other.std(axis=-1), rtol=0.15, atol=1e-3)
    again = ladder(people.signals, people.groups)
    assert all(np.array_equal(again[rung], x) for rung, x in rungs.items())


GOOD = {"real": 0.0, "other": 0.1, "noisy": 0.2, "reversed": 0.3, "swapped": 0.4, "noise": 0.5}


@pytest.mark.parametrize(
    ("change", "how", "faults"),
    [
        ({}, {}, []),
        ({"other": -0.1}, {}, ["other (-0.1) is better than real (0)"]),
        ({"other": -0.1}, {"slack": 0.2}, []),
        ({"noisy": 0.08}, {"slack": 0.05}, []),
        ({"swapped": 0.52}, {"slack": 0.05}, ["noise (0.5) is not worse than swapped (0.52)"]),
        ({"noisy": 0.1}, {}, ["noisy (0.1) is not worse than other (0.1)"]),
        ({"reversed": 0.1}, {"blind": ["reversed"]}, []),
        ({"reversed": -0.1}, {"blind": ["reversed"]}, ["reversed (-0.1) is better than real (0)"]),
        ({"swapped": 0.6}, {}, ["noise (0.5) is not worse than swapped (0.6)"]),
        ({"swapped": 0.6}, {"floor": 0.45}, []),
        ({"reversed": 0.9}, {"blind": ["reversed"]}, ["noise (0.5) is not worse than reversed (0.9)"]),
        ({"noisy": np.nan}, {}, ["noisy (nan) is no number"]),
    ],
)
def test_violations_are_named(change, how, faults):
    assert in_order(GOOD | change, higher_is_better=False, **how) == faults
    mirrored = {rung: -value for rung, value in (GOOD | change).items()}
    if "floor" in how:
        how = how | {"floor": -how["floor"]}
    assert len(in_order(mirrored, higher_is_better=True, **how)) == len(faults)


def test_what_makes_no_ladder():
    signals = np.ones((2, 12, 100))
    with pytest.raises(InputError, match="two patients"):
        ladder(signals, ["a", "a"])
    with pytest.raises(InputError, match="12 leads"):
        degraded(signals[:, :8])
    with pytest.raises(InputError, match="the rungs are real, other"):
        in_order({"real": 1.0}, higher_is_better=True)
    with pytest.raises(InputError, match="the rungs are"):
        in_order(GOOD, higher_is_better=False, blind=["noise"])


def test_psd_log_distance_takes_signals():
    rungs = ladder(*(make_ecgs(20, 1, random_state=3)[key] for key in ("signals", "groups")))
    assert psd_log_distance(rungs["real"], rungs["real"]) == 0
    assert psd_log_distance(rungs["noise"], rungs["real"]) > psd_log_distance(rungs["other"], rungs["real"])
