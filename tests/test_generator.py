import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ecgtwin import (
    ECG,
    ConditionError,
    ECGTwinGenerator,
    IndividualBaseExtractor,
    InputError,
    QualityWarning,
    lead_residual,
    load_example,
)
from ecgtwin.beats import heart_rate
from ecgtwin.leads import LEADS

MIMIC = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture(scope="module")
def reference(ecgs):
    return ECG(ecgs.signals[0], condition=ecgs.conditions[0], patient_id=ecgs.groups[0])


def test_twins_have_the_shape_of_the_reference(tiny, reference):
    twins = tiny.sample(reference, "PVC", n_samples=3, random_state=0)
    assert twins.shape == (3, 12, 1000)
    assert twins.dtype == np.float32
    assert np.isfinite(twins).all()


def test_twins_obey_einthoven_and_goldberger(tiny, reference):
    assert lead_residual(tiny.sample(reference, "PVC", n_samples=4, random_state=0)) < 1e-6
    assert lead_residual(tiny.sample(reference.resample(500), "PVC", random_state=0)) < 1e-6


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_seed_decides_whatever_the_batch_size(tiny, reference, batch_size):
    whole = tiny.sample(reference, "AFIB", n_samples=7, random_state=5)
    other = ECGTwinGenerator(batch_size=batch_size, n_steps=3)._take(_checkpoint(tiny))
    assert np.allclose(other.sample(reference, "AFIB", n_samples=7, random_state=5), whole, atol=1e-5)
    assert np.allclose(other.sample(reference, "AFIB", n_samples=2, random_state=5), whole[:2], atol=1e-5)
    assert not np.allclose(other.sample(reference, "AFIB", n_samples=7, random_state=6), whole, atol=1e-3)


def _checkpoint(generator):
    from ecgtwin.pretrained import Checkpoint

    return Checkpoint(generator.networks_, generator.sampling_, generator.training_)


def test_twin_comes_back_in_the_references_rate_and_lead_order(tiny, reference):
    mimic = reference.select(MIMIC).resample(500)
    twin = tiny.sample(mimic, "PVC", random_state=0)[0]
    assert twin.shape == (12, 5000)
    plain = tiny.sample(reference.resample(500), "PVC", random_state=0)[0]
    assert np.allclose(twin[MIMIC.index("aVL")], plain[LEADS.index("aVL")], atol=1e-4)


def test_any_subset_of_leads_gives_twelve(tiny, reference):
    for leads in (["I"], ["II", "V5"], ["III", "aVF"], ["V1", "V2", "V3"]):
        assert tiny.sample(reference.select(leads), "NORM", random_state=0).shape == (1, 12, 1000)
    with pytest.warns(QualityWarning, match="lead aVF alone"):
        assert tiny.sample(reference.select(["aVF"]), "NORM", random_state=0).shape == (1, 12, 1000)


def test_shorter_references_give_shorter_twins(tiny, reference):
    short = ECG(reference.signal[:, :600])
    assert tiny.sample(short, random_state=0).shape == (1, 12, 600)
    long = ECG(np.tile(reference.signal, 3))
    assert tiny.sample(long, random_state=0).shape == (1, 12, 1000)


def test_a_dead_lead_changes_neither_lead_order_nor_shape(tiny, reference):
    signal = reference.select(MIMIC).signal.copy()
    signal[6] = 0.3  # V1 at the rail
    with pytest.warns(QualityWarning, match="V1 is flat"):
        twin = tiny.sample(ECG(signal, leads=MIMIC), "PVC", random_state=0)[0]
    i, ii = twin[0], twin[1]
    assert np.allclose(twin[MIMIC.index("aVF")], ii - i / 2, atol=1e-5)
    assert np.allclose(twin[MIMIC.index("aVL")], i - ii / 2, atol=1e-5)


def test_an_electrodes_offset_is_not_the_persons(tiny, reference):
    offsets = np.linspace(-0.5, 0.5, 12, dtype=np.float32)[:, None]
    plain = tiny.sample(reference.signal, "PVC", random_state=0)
    assert np.allclose(tiny.sample(reference.signal + offsets, "PVC", random_state=0), plain, atol=1e-3)


def test_several_references_are_pooled(tiny, ecgs):
    rows = np.flatnonzero(ecgs.groups == ecgs.groups[0])
    both = tiny.sample(ecgs.signals[rows], "NORM", random_state=0)
    one = tiny.sample(ecgs.signals[rows[0]], "NORM", random_state=0)
    other = tiny.sample(ecgs.signals[rows[1]], "NORM", random_state=0)
    assert both.shape == one.shape
    assert not np.allclose(both, one, atol=1e-5)
    assert not np.allclose(both, other, atol=1e-5)


def test_without_a_person_the_reference_does_not_matter(tiny, ecgs):
    population = tiny.sample(None, "AFIB", age=70, sex="F", random_state=0)
    for signal in ecgs.signals[:2]:
        twin = tiny.sample(signal, "AFIB", age=70, sex="F", person_scale=0, random_state=0)
        assert np.allclose(twin, population, atol=1e-5)


def test_age_and_sex_are_the_references_own_unless_said(tiny, reference):
    known = reference.condition
    default = tiny.sample(reference, "PVC", random_state=0)
    said = tiny.sample(reference, "PVC", age=known.age, sex=known.sex, random_state=0)
    older = tiny.sample(reference, "PVC", age=known.age + 40, random_state=0)
    assert np.array_equal(default, said)
    assert not np.allclose(default, older, atol=1e-5)


@pytest.mark.parametrize("rate", [50, 80, 120])
def test_twins_have_the_rate_asked_for(tiny, reference, rate):
    twins = tiny.sample(reference, "NORM", heart_rate=rate, n_samples=4, random_state=0)
    for twin in twins:
        assert heart_rate(twin) == pytest.approx(rate, abs=2)


def test_twins_as_ecgs_know_what_they_are(tiny, reference):
    twin = tiny.sample_ecgs(reference, "PVC, LBBB", heart_rate=80, random_state=3)[0]
    assert set(twin.condition.statements) == {"PVC", "CLBBB"}
    assert twin.condition.heart_rate == 80
    assert twin.condition.age == reference.condition.age
    assert twin.patient_id == reference.patient_id
    assert twin.comments[0].startswith("synthetic")
    assert "seed: 3" in twin.comments[1]
    assert np.array_equal(twin.signal, tiny.sample(reference, "PVC, LBBB", heart_rate=80, random_state=3)[0])


def test_seeds_that_were_not_given_are_written_down(tiny, reference):
    twin = tiny.sample_ecgs(reference, "PVC")[0]
    seed = int(twin.comments[1].split("seed: ")[1].split(",")[0])
    assert np.array_equal(tiny.sample(reference, "PVC", random_state=seed)[0], twin.signal)


def test_what_the_reference_shows_may_be_said(tiny, ecgs):
    both = ecgs.signals[:2]
    plain = tiny.sample(both, "PVC", random_state=0)
    said = tiny.sample(both, "PVC", reference_condition=["CLBBB, 80 y", "NORM"], random_state=0)
    assert not np.allclose(plain, said, atol=1e-5)
    assert tiny.sample_ecgs(both[0], "PVC", reference_condition="NORM, 80 y")[0].condition.age == 80
    known = ECG(both[0], condition="NORM, 74 y, M")
    assert tiny.sample_ecgs(known, "PVC", reference_condition="CLBBB")[0].condition.age == 74
    with pytest.raises(InputError, match="3 reference conditions for 2"):
        tiny.sample(both, "PVC", reference_condition=["NORM"] * 3)


def test_the_callback_hears_of_every_batch(tiny, reference):
    heard = []
    generator = ECGTwinGenerator(batch_size=2, n_steps=1)._take(_checkpoint(tiny))
    generator.sample(reference, n_samples=5, callback=lambda done, n: heard.append((done, n)))
    assert heard == [(2, 5), (4, 5), (5, 5)]


def global_numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the one that must not be touched


def test_nothing_of_the_callers_is_changed(tiny, ecgs):
    import torch

    signal = ecgs.signals[0].copy()
    numpy_state, torch_state = global_numpy_state(), torch.random.get_rng_state()
    threads = torch.get_num_threads()
    tiny.sample(signal, "PVC", n_samples=2)
    assert np.array_equal(signal, ecgs.signals[0])
    assert np.array_equal(global_numpy_state(), numpy_state)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, 10**9, True, "2"])
def test_impossible_numbers_of_twins_are_refused(tiny, reference, n_samples):
    with pytest.raises(InputError, match="n_samples"):
        tiny.sample(reference, n_samples=n_samples)


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 0},
        {"n_steps": 2.5},
        {"guidance_scale": float("nan")},
        {"guidance_scale": -1},
        {"person_scale": -0.1},
    ],
)
def test_impossible_settings_are_refused(tiny, reference, options):
    with pytest.raises(InputError, match=next(iter(options))):
        tiny.sample(reference, **options)


def test_unknown_conditions_are_refused_with_near_names(tiny, reference):
    with pytest.raises(ConditionError, match="PVC"):
        tiny.sample(reference, "PVCC")


def test_bad_references_are_refused(tiny, ecgs):
    signal = ecgs.signals[0]
    hole = signal.copy()
    hole[3, 77] = np.nan
    for bad, words in (
        (signal.T, "shape"),
        (hole, "lead aVR at sample 77"),
        (signal * 1000, "microvolts"),
        (signal / 1000, "volts"),
        (np.zeros((12, 1000)), "flat line"),
        (ECG(signal).resample(500).signal, "sampling rate"),
        (signal[:, :100], "2.5 s"),
        (signal[[0, 2, 1, *range(3, 12)]], "Einthoven"),
        ([], "empty"),
        (signal[:7], "leads"),
    ):
        with pytest.raises(InputError, match=words):
            tiny.sample(bad)


def test_a_condition_that_contradicts_itself_is_drawn_with_a_warning(tiny, reference):
    with pytest.warns(QualityWarning, match="contradicts"):
        tiny.sample(reference, "SBRAD", heart_rate=150, random_state=0)


def test_sampling_needs_weights(reference):
    with pytest.raises(NotFittedError):
        ECGTwinGenerator().sample(reference)


def test_what_is_set_is_saved(tiny, tmp_path):
    changed = ECGTwinGenerator.from_pretrained(tiny.save_pretrained(tmp_path / "a"))
    folder = changed.set_params(n_steps=7, guidance_scale=1.5).save_pretrained(tmp_path / "b")
    loaded = ECGTwinGenerator.from_pretrained(folder)
    assert (loaded.sampling_["n_steps"], loaded.sampling_["guidance_scale"]) == (7, 1.5)
    assert changed.sampling_["n_steps"] != 7


def test_clone_keeps_the_source_of_the_weights(tiny, tmp_path):
    folder = tiny.save_pretrained(tmp_path)
    copy = clone(ECGTwinGenerator.from_pretrained(folder, guidance_scale=2.0))
    assert copy.pretrained == folder
    assert copy.guidance_scale == 2.0
    assert copy.sample(None, random_state=0).shape == (1, 12, 1000)
    with pytest.raises(NotFittedError):
        clone(copy.set_params(pretrained="default")).sample(None)
    with pytest.raises(NotFittedError):
        clone(tiny).sample(None)


def test_clone_keeps_requests_for_metadata_and_the_kind_of_output(tiny, ecgs, tmp_path):
    folder = tiny.save_pretrained(tmp_path)
    extractor = IndividualBaseExtractor.from_pretrained(folder).set_output(transform="pandas")
    with config_context(enable_metadata_routing=True):
        copy = clone(extractor.set_fit_request(groups=True))
        assert copy.get_metadata_routing().fit.requests["groups"] is True
    assert hasattr(copy.transform(ecgs.signals[:2]), "columns")


def test_a_rhythm_left_open_is_the_references_own(ecgs):
    generator, fibrillation = ECGTwinGenerator.from_pretrained(), load_example()
    twins = generator.sample(fibrillation, None, reference_condition="AFIB", n_samples=12, random_state=0)
    in_sinus = generator.sample(fibrillation, None, n_samples=12, random_state=0)

    def unevenness(ecgs):
        intervals = [np.diff(ECG(ecg, sampling_rate=500).native_peaks) for ecg in ecgs]
        return np.median([np.abs(np.diff(some)).mean() / some.mean() for some in intervals])

    assert unevenness(twins) > 3 * unevenness(in_sinus)


def test_fitting_twice_gives_the_same_weights(ecgs):
    few = {"groups": ecgs.groups[:8], "conditions": ecgs.conditions[:8]}
    one, two = (
        ECGTwinGenerator(architecture="tiny", max_epochs=1, batch_size=4, n_steps=1).fit(
            ecgs.signals[:8], **few
        )
        for _ in range(2)
    )
    assert np.array_equal(one.sample(None, "PVC", random_state=0), two.sample(None, "PVC", random_state=0))


@pytest.mark.parametrize(
    "groups", [["a"] * 4, ["a", "b"], [1.0, float("nan"), 2.0, 2.0], ["a", "b", None, "b"]]
)
def test_fit_needs_a_person_for_each_recording(ecgs, groups):
    with pytest.raises(InputError, match=r"person"):
        ECGTwinGenerator(architecture="tiny").fit(
            ecgs.signals[:4], groups=groups, conditions=ecgs.conditions[:4]
        )


def test_fit_refuses_recordings_of_different_leads_and_too_short_ones(ecgs):
    fit = ECGTwinGenerator(architecture="tiny").fit
    short = [ECG(signal, leads=LEADS) for signal in ecgs.signals[:4, :, :240]]
    with pytest.raises(InputError, match=r"2\.5 s"):
        fit(short, groups=ecgs.groups[:4])
    mixed = [ECG(ecgs.signals[0]), ECG(ecgs.signals[1, :2], leads=["I", "II"]), *map(ECG, ecgs.signals[2:4])]
    with pytest.raises(InputError, match="different leads"):
        fit(mixed, groups=ecgs.groups[:4])


@pytest.mark.parametrize(
    ("X", "words"),
    [(lambda signals: signals[:, :, :200], "2.5 s"), (lambda signals: signals[:, 0], "no recording has II")],
)
def test_fit_takes_any_array_and_warns_of_what_it_lacks(ecgs, X, words):
    generator = ECGTwinGenerator(architecture="tiny", max_epochs=1, n_steps=1)
    with pytest.warns(QualityWarning, match=words):
        generator.fit(X(ecgs.signals[:4]), groups=ecgs.groups[:4])
    assert np.isfinite(generator.sample(None, random_state=0)).all()


@pytest.mark.parametrize("kind", [ECGTwinGenerator, IndividualBaseExtractor])
@pytest.mark.parametrize(("name", "value"), [("max_epochs", 0), ("max_epochs", 1.5), ("batch_size", -1)])
def test_sizes_of_a_fit_are_whole_numbers(ecgs, kind, name, value):
    with pytest.raises(InputError, match=f"{name} must be a whole number from 1, got"):
        kind(architecture="tiny", **{name: value}).fit(ecgs.signals, groups=ecgs.groups)


def test_many_persons_are_one_array(tiny, ecgs):
    with pytest.raises(InputError, match="one array"):
        tiny.sample_each([ECG(signal) for signal in ecgs.signals[:2]], ["PVC", "SR"])
    with pytest.raises(InputError, match="a single text"):
        tiny.sample_each(ecgs.signals[:2], "PVC")
    rows = pd.DataFrame({"scp_codes": ["{'PVC': 100.0}", "{'SR': 0.0}"], "age": [60, 70], "sex": [0, 1]})
    one_by_one = [row for _, row in rows.iterrows()]
    alike = [tiny.sample_each(ecgs.signals[:2], known, random_state=0) for known in (rows, one_by_one)]
    assert np.array_equal(*alike)


def test_fit_without_groups_warns(ecgs):
    with pytest.warns(QualityWarning, match="groups"):
        ECGTwinGenerator(architecture="tiny", max_epochs=1, n_steps=1).fit(ecgs.signals[:4])


def test_fit_takes_any_length_and_any_random_state(ecgs):
    generator = ECGTwinGenerator(
        architecture="tiny", max_epochs=1, batch_size=1, random_state=None, n_steps=1
    )
    generator.fit(ecgs.signals[:4, :, :975], groups=ecgs.groups[:4], conditions=ecgs.conditions[:4])
    assert generator.sample(None).shape == (1, 12, 1000)


def test_cuda_is_refused_by_name_where_there_is_none(tiny, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda"):
        ECGTwinGenerator.from_pretrained(tiny.save_pretrained(tmp_path), device="cuda:0")


def test_one_twin_of_each_is_the_twin_of_each_alone(tiny, ecgs):
    asked = ["PVC", "AFIB", "NORM"]
    together = tiny.sample_each(
        ecgs.signals[:3], asked, reference_conditions=ecgs.conditions[:3], random_state=5
    )
    assert together.shape == (3, 12, 1000)
    assert lead_residual(together) < 1e-6
    first = tiny.sample(ECG(ecgs.signals[0], condition=ecgs.conditions[0].replace(age=None, sex=None)), "PVC")
    assert first.shape == together[:1].shape
    alone = tiny.sample_each(
        ecgs.signals[:1], asked[:1], reference_conditions=ecgs.conditions[:1], random_state=5
    )
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)


def test_one_twin_of_each_keeps_rate_and_length(tiny, ecgs):
    generator = clone(tiny).set_params(sampling_rate=200.0)
    generator.__dict__.update({key: value for key, value in vars(tiny).items() if key.endswith("_")})
    twins = generator.sample_each(np.repeat(ecgs.signals[:2, :, :500], 2, axis=-1), ["PVC", None])
    assert twins.shape == (2, 12, 1000)
    assert generator.sample_each(ecgs.signals[:2, 0], ["PVC", None]).shape == (2, 12, 1000)
    assert generator.sample_each(ecgs.signals[:2], ["PVC", None], duration=23.4).shape == (2, 12, 4680)
    with pytest.raises(InputError, match="duration"):
        generator.sample_each(ecgs.signals[:2], ["PVC", None], duration=1)


def test_one_twin_of_each_needs_as_many_conditions(tiny, ecgs):
    with pytest.raises(InputError, match="1 conditions for 2 recordings"):
        tiny.sample_each(ecgs.signals[:2], ["PVC"])


def test_what_was_learned_is_recovered_better_than_noise(tiny, ecgs):
    noise = np.random.default_rng(0).normal(size=ecgs.signals[:6].shape).astype(np.float32)
    known = tiny.score_samples(ecgs.signals[:6], ecgs.conditions[:6])
    unknown = tiny.score_samples(noise, ecgs.conditions[:6])
    assert known.shape == (6,)
    assert known.min() > unknown.max()
    np.testing.assert_allclose(
        known[:2], tiny.score_samples(ecgs.signals[:2], ecgs.conditions[:2]), rtol=1e-4
    )


def test_scores_of_short_recordings_come_with_a_warning(tiny, ecgs):
    with pytest.warns(QualityWarning, match="10 s"):
        scores = tiny.score_samples(ecgs.signals[:2, :, :900], ecgs.conditions[:2])
    assert np.isfinite(scores).all()


def test_scores_do_not_depend_on_the_order(tiny, ecgs):
    scores = tiny.score_samples(ecgs.signals[:4], ecgs.conditions[:4])
    turned = tiny.score_samples(ecgs.signals[3::-1], ecgs.conditions[3::-1])
    assert np.allclose(scores, turned[::-1], rtol=1e-4)


@pytest.mark.filterwarnings("ignore::ecgtwin.QualityWarning")
def test_one_twin_of_each_takes_dead_leads_as_missing(tiny, ecgs):
    signals = ecgs.signals[:1].copy()
    signals[0, 11] = 0.3
    shown = ecgs.conditions[0].replace(age=60, sex="F")
    together = tiny.sample_each(signals, [shown], reference_conditions=[shown], random_state=5)
    alone = tiny.sample(ECG(signals[0], condition=shown), shown, random_state=5)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-4)
