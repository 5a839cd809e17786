"""What each statement moved in a twin."""

import numpy as np
import pytest

from ecgtwin import ECGTwinGenerator, InputError, load_example
from ecgtwin.conditions import STATEMENTS
from ecgtwin.given import conditioning
from ecgtwin.leads import LEADS
from ecgtwin.metrics.ectopy import measure_beats
from ecgtwin.metrics.explanations import REGIONS, Region, as_table, explanation_table, premature_beats
from ecgtwin.nn import statement_matrix


@pytest.fixture(scope="module")
def generator():
    return ECGTwinGenerator.from_pretrained()


@pytest.fixture(scope="module")
def reference():
    return load_example().resample(100)


def test_the_twin_is_the_one_that_sample_draws(generator, reference):
    explained = generator.explain(reference, "SR, PVC", random_state=4)
    twin = generator.sample(reference, "SR, PVC", random_state=4)[0]
    np.testing.assert_allclose(explained.twin.signal, twin, atol=1e-4)
    assert "synthetic" in explained.twin.comments[0]


def test_of_half_a_condition_half_is_moved(generator, reference):
    whole = generator.explain(reference, "SR, LVH", random_state=4)
    half = generator.explain(reference, "SR, LVH", random_state=4, guidance_scale=0.5)
    twin = generator.sample(reference, "SR, LVH", random_state=4, guidance_scale=0.5)[0]
    np.testing.assert_allclose(half.twin.signal, twin, atol=1e-4)
    moved = [np.abs(one.of("LVH")).sum() for one in (half, whole)]
    assert 0.3 < moved[0] / moved[1] < 0.7


def test_arrays_fit_the_reference(tiny, reference):
    own = load_example()
    explained = tiny.explain(own, "AMI, SR", random_state=0)
    assert explained.moved.shape == explained.expected.shape == (2, 12, own.signal.shape[1])
    assert explained.attention.shape == (2, own.signal.shape[1])
    assert explained.rhythm.shape == (2, len(explained.peaks))
    assert np.array_equal(explained.of("AMI"), explained.moved[explained.statements.index("AMI")])
    assert explained.attention.min() >= 0
    assert explained.attention.sum(axis=0).max() <= 1
    with pytest.raises(InputError, match="AMI, SR"):
        explained.of("PVC")
    nobody = tiny.explain(None, "AMI", random_state=0)
    assert nobody.moved.shape == (1, 12, 1000)


def test_a_premature_beat_is_what_pvc_moved(generator, reference):
    explained = generator.explain(reference, "SR, PVC", random_state=1)
    early = measure_beats(explained.twin.signal)
    assert early.premature_wide.sum() == 1
    peak = int(early.times_ms[early.premature_wide][0] / 10)
    mass = np.abs(explained.of("PVC")).sum(axis=0)
    assert abs(int(mass.argmax()) - peak) < 15
    k = explained.statements.index("PVC")
    assert abs(explained.peaks[explained.rhythm[k].argmax()] - peak) <= 3
    assert mass[peak - 10 : peak + 40].mean() > 3 * mass.mean()


def test_limb_leads_of_an_attribution_obey_their_laws(generator, reference):
    moved = generator.explain(reference, "SR, CLBBB", random_state=0).of("CLBBB")
    np.testing.assert_allclose(moved[1] - moved[0], moved[2], atol=1e-5)


@pytest.mark.parametrize(("condition", "comes"), [("AFIB, LVH", False), ("LVH, IMI", True)])
def test_what_comes_along_is_decided_by_the_whole_condition(tiny, reference, monkeypatch, condition, comes):
    """A rhythm is not credited with what goes with "LVH" by itself, but does not come along with both."""
    sides = []

    def spy(*args, **kwargs):
        sides.append(conditioning(*args, **kwargs))
        return sides[-1]

    monkeypatch.setattr("ecgtwin.explanation.conditioning", spy)
    tiny.explain(reference, condition, random_state=0)
    (given,) = sides
    assert given.company[0].any() == comes
    assert (given.company <= given.company[0]).all()


def test_nothing_is_explained_without_a_statement(tiny, reference):
    with pytest.raises(InputError, match="no statement"):
        tiny.explain(reference, None)
    with pytest.raises(InputError, match="flat"):
        tiny.explain(np.zeros((12, 1000)), "PVC")
    with pytest.raises(InputError, match="leaves the condition out"):
        tiny.explain(reference, "PVC", guidance_scale=0)


def test_where_a_direction_is_expected_the_other_way_counts_against_it():
    inside = np.zeros((12, 1000), dtype=bool)
    inside[:2, 100:200] = True
    among = np.ones_like(inside)
    lowered = Region((0, 100), sign=-1)
    assert lowered.score(-0.1 * inside, inside, among) == 1
    assert lowered.score(0.1 * inside, inside, among) == 0
    assert Region((0, 100)).score(0.1 * inside, inside, among) == 1


def test_an_infarction_is_told_from_other_leads_at_the_same_time(reference):
    inside, among = REGIONS["IMI"].masks(reference.signal)
    assert set(inside.any(axis=1).nonzero()[0]) == {LEADS.index(lead) for lead in ("II", "III", "aVF")}
    assert np.array_equal(inside.any(axis=0), among.all(axis=0))
    assert not among.all()


def test_the_tables_score_every_statement(tiny, reference):
    table = explanation_table(tiny, [reference], ["a"])
    assert set(table) == set(REGIONS)
    assert 0 <= table["CLBBB"]["own"].value <= 1
    assert as_table(table).count("\n") == len(REGIONS) + 1
    assert set(premature_beats(tiny, [reference], ["a"])) == {"moved", "attention", "rhythm"}


def test_a_twin_of_weights_that_were_not_distilled_is_the_one_that_sample_draws(tiny, reference):
    assert tiny.sampling_["sampler"] == "dpm"
    explained = tiny.explain(reference, "SR, PVC", random_state=4)
    twin = tiny.sample(reference, "SR, PVC", random_state=4)[0]
    np.testing.assert_allclose(explained.twin.signal, twin, atol=1e-4)


def test_a_rhythm_that_was_asked_for_is_explained_and_one_that_was_not_stays(tiny, reference, monkeypatch):
    asked = {}

    def spy(*args, **kwargs):
        given = conditioning(*args, **kwargs)
        asked["codes"] = [
            {STATEMENTS[i] for i in row.nonzero()[:, 0]} for row in statement_matrix(given.conditions)
        ]
        return given

    monkeypatch.setattr("ecgtwin.explanation.conditioning", spy)
    explained = tiny.explain(reference, "SR, PVC", random_state=0)
    assert asked["codes"] == [{"PVC", "SR"}, {"SR"}, {"PVC"}]
    assert np.abs(explained.of("SR")).max() > 0
    tiny.explain(reference, "LVH, IMI", random_state=0)
    assert asked["codes"][1:] == [{"IMI", "SR"}, {"LVH", "SR"}] or asked["codes"][1:] == [
        {"LVH", "SR"},
        {"IMI", "SR"},
    ]
