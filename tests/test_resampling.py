import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin import Condition, ConditionError, InputError
from ecgtwin.resampling import (
    Labels,
    label_conditions,
    plan_balance,
    plan_replacement,
    shown_instead,
    twins_wanted,
)

Y = np.array(["a"] * 6 + ["b"] * 3 + ["c"])


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ("auto", {"b": 3, "c": 5}),
        ("not majority", {"b": 3, "c": 5}),
        ("not minority", {"b": 3}),
        ("minority", {"c": 5}),
        ("all", {"b": 3, "c": 5}),
        ({"a": 8, "c": 2}, {"a": 2, "c": 1}),
        (lambda y: {"b": 4}, {"b": 1}),
    ],
)
def test_words_mean_what_they_do_in_imbalanced_learn(strategy, wanted):
    assert twins_wanted(Labels.of(Y), strategy) == wanted


def test_the_words_agree_with_imbalanced_learn_itself():
    utils = pytest.importorskip("imblearn.utils")
    for strategy in ("auto", "not majority", "not minority", "minority", "all", {"a": 8, "c": 2}):
        theirs = utils.check_sampling_strategy(strategy, Y, "over-sampling")
        assert twins_wanted(Labels.of(Y), strategy) == {c: n for c, n in theirs.items() if n}
    theirs = utils.check_sampling_strategy(0.9, Y[:9], "over-sampling")
    assert twins_wanted(Labels.of(Y[:9]), 0.9) == dict(theirs)


@pytest.mark.parametrize("strategy", ["most", 0.0, 1.5, 0.5, {"a": 2}, {"d": 5}, None, lambda y: 3])
def test_strategies_that_cannot_be_followed_are_refused(strategy):
    with pytest.raises(InputError):
        twins_wanted(Labels.of(Y), strategy)


def test_labels_speak_for_themselves_where_they_are_conditions():
    labels = Labels.of(np.array(["AFIB", "NORM", "PVC"]))
    assert label_conditions(labels, None)["PVC"] == Condition("PVC")
    assert label_conditions(Labels.of(np.array(["sick", "well"])), None) == {}
    assert label_conditions(Labels.of(np.array([0, 1])), {1: "PVC"}) == {1: Condition("PVC")}


def test_a_label_map_that_fits_nothing_is_refused():
    with pytest.raises(InputError, match="classes of y are"):
        label_conditions(Labels.of(np.array([0, 1])), {"1": "PVC"})
    with pytest.raises(ConditionError):
        label_conditions(Labels.of(np.array([0, 1])), {1: "pvcs and more"})


OWN = [Condition(["NORM", "SR"], age=40 + i, sex="F") for i in range(6)] + [
    Condition(["PVC", "CLBBB"], age=70 + i) for i in range(2)
]
BINARY = Labels.of(np.array([0] * 6 + [1] * 2))


def plan(references, shown, own=OWN, labels=BINARY, n=4):
    return plan_balance(labels, {1: n}, own, shown, references, np.random.default_rng(0))


def test_twins_of_the_same_class_show_what_their_reference_does():
    found = plan("same", {1: Condition("PVC")})
    assert set(found.references) == {6, 7}
    assert found.labels.tolist() == [1] * 4
    assert all(c.statements == ("CLBBB", "PVC") for c in found.conditions)
    assert [c.age for c in found.conditions] == [OWN[r].age for r in found.references]


def test_healthy_people_get_the_condition_and_keep_their_age():
    found = plan("other", {1: Condition("PVC")})
    assert len(set(found.references)) == 4
    assert set(found.references) <= set(range(6))
    assert all(c.statements == ("PVC", "SR") and c.sex == "F" for c in found.conditions)
    assert [c.age for c in found.conditions] == [OWN[r].age for r in found.references]


def test_without_a_label_map_the_statements_come_from_someone_of_the_class():
    found = plan("other", {})
    assert all(c.statements == ("CLBBB", "PVC") and c.age < 50 for c in found.conditions)


def test_nothing_to_show_is_an_error():
    with pytest.raises(InputError, match="what is a recording of class 1 to show"):
        plan("other", {}, own=None)
    with pytest.raises(InputError, match="no recording to make twins of class"):
        plan("other", {}, labels=Labels.of(np.array([1] * 8)))


def test_without_conditions_a_twin_of_its_own_class_is_left_open_or_told_the_label():
    assert plan("same", {}, own=None).conditions == [Condition()] * 4
    assert plan("same", {1: Condition("PVC")}, own=None).conditions == [Condition("PVC")] * 4


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        (Condition("SR", age=50, sex="F"), Condition(["AMI", "SR"], age=50, sex="F")),
        (Condition(age=50, sex="F"), Condition("AMI", age=50, sex="F")),
        (Condition("IMI", age=50), Condition("IMI", age=50)),
    ],
)
def test_what_is_not_known_of_a_row_its_label_tells(own, asked):
    rows, shown = [own] * 8, {1: Condition("AMI")}
    assert plan("same", shown, own=rows).conditions == [asked] * 4
    found = plan_replacement(BINARY, 8, 1.0, rows, shown, np.random.default_rng(0))
    assert list(found.conditions) == [own] * 6 + [asked] * 2


def test_nobody_is_asked_for_what_nobody_is_said_to_show():
    demographics = [Condition(age=50, sex="F")] * 8
    with pytest.raises(InputError, match="what is a recording of class 1 to show"):
        plan("other", {}, own=demographics)
    one_is_known = [*demographics[:7], Condition("PVC", age=70)]
    found = plan("other", {}, own=one_is_known)
    assert found.conditions == [Condition("PVC", age=50, sex="F")] * 4


def test_statements_of_the_old_label_and_contradictions_go():
    before = Condition(["AFIB", "CLBBB"], age=60)
    asked = shown_instead(before, [Condition("AFIB")], Condition("PVC"))
    assert asked == Condition(["CLBBB", "PVC"], age=60)
    assert "SR" not in shown_instead(Condition(["SR", "LVH"]), [], Condition("AFIB")).statements


def test_several_labels_at_once():
    y = np.array([[1, 0, 0]] * 5 + [[0, 1, 0]] * 2 + [[0, 1, 1]])
    labels = Labels.of(y)
    wanted = twins_wanted(labels, "minority")
    assert wanted == {2: 4}
    shown = {0: Condition("NORM"), 1: Condition("CLBBB"), 2: Condition("PVC")}
    same = plan_balance(labels, wanted, None, shown, "same", np.random.default_rng(0))
    assert same.labels.tolist() == [[0, 1, 1]] * 4
    assert all(c.statements == ("CLBBB", "PVC") for c in same.conditions)
    other = plan_balance(labels, {2: 7}, None, shown, "other", np.random.default_rng(0))
    for row, label, condition in zip(other.references, other.labels, other.conditions, strict=True):
        healthy = y[row, 0] == 1
        assert label.tolist() == ([0, 0, 1] if healthy else [0, 1, 1])
        assert condition.statements == (("PVC",) if healthy else ("CLBBB", "PVC"))


def test_labels_must_fit():
    with pytest.raises(InputError, match="0 and 1 alone"):
        Labels.of(np.array([[0, 2]]))


@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 5))
def test_the_share_replaced_is_met(n, share, seed):
    found = plan_replacement(None, n, share, None, {}, np.random.default_rng(seed))
    assert len(found.references) == round(share * n)
    assert len(set(found.references)) == len(found.references)


@given(st.integers(1, 60), st.integers(0, 5))
def test_every_reference_serves_as_often_as_any_other(n, seed):
    found = plan_balance(BINARY, {1: n}, None, {}, "same", np.random.default_rng(seed))
    times = np.bincount(found.references, minlength=8)[6:]
    assert times.sum() == n
    assert times.max() - times.min() <= 1
