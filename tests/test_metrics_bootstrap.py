"""A figure's interval: it covers what it should, follows patients and is the same each time."""

import numpy as np
import pytest

from ecgtwin.exceptions import InputError
from ecgtwin.metrics.bootstrap import Figure, bootstrap, bootstrap_mean, bootstrap_ratio


def patients_with_own_means(rng, n_patients=40, n_records=3):
    """Values whose truth is 0: most of the spread is between patients."""
    groups = np.repeat(np.arange(n_patients), n_records)
    return rng.normal(size=n_patients)[groups] + rng.normal(0, 0.3, len(groups)), groups


def test_a_figure_shows_itself():
    figure = Figure(3.7312, 3.4419, 4.0873, 512)
    assert str(figure) == "3.73 [3.44, 4.09] (n 512)"
    assert figure.as_dict() == {"value": 3.7312, "low": 3.4419, "high": 4.0873, "n": 512}


@pytest.mark.parametrize("how", [{}, {"replace": False}, {"replace": False, "share": 0.7}])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(how):
    covered = 0
    for seed in range(60):
        values, groups = patients_with_own_means(np.random.default_rng(seed))
        figure = bootstrap(lambda rows: values[rows].mean(), groups, n_draws=100, **how)  # noqa: B023
        covered += figure.low <= 0 <= figure.high
    assert 49 <= covered <= 60


def test_rows_of_one_patient_are_not_independent():
    values, groups = patients_with_own_means(np.random.default_rng(0), n_records=10)
    by_patient, by_row = bootstrap_mean(values, groups), bootstrap_mean(values, np.arange(len(values)))
    assert by_patient.high - by_patient.low > 2 * (by_row.high - by_row.low)


def test_the_mean_is_the_general_bootstrap_made_fast():
    values, groups = patients_with_own_means(np.random.default_rng(1))
    values[::7] = np.nan
    general = bootstrap(lambda rows: np.nanmean(values[rows]), groups, random_state=3)
    fast = bootstrap_mean(values, groups, random_state=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((general.value, general.low, general.high))
    assert fast.n == np.isfinite(values).sum()
    assert fast == bootstrap_mean(values, groups, random_state=3)
    assert fast != bootstrap_mean(values, groups, random_state=4)


def test_halves_measure_no_row_twice():
    drawn = []
    bootstrap(lambda rows: drawn.append(rows) or 0.0, np.arange(20) // 2, n_draws=10, replace=False)
    assert all(len(set(rows)) == 10 for rows in drawn[1:])
    assert all(np.array_equal(rows[::2] + 1, rows[1::2]) for rows in drawn[1:])


def test_halves_are_right_where_repeated_rows_are_not():
    """The number of distinct values: with replacement a third of them is lost, and the value itself too."""
    values = np.arange(100)

    def share(rows):
        return len(set(values[rows].tolist())) / len(rows)

    assert bootstrap(share, values).high < 0.8
    assert bootstrap(share, values, replace=False).low == pytest.approx(1)


def test_a_ratio_knows_what_both_sides_share():
    rng = np.random.default_rng(2)
    groups = np.arange(100)
    base = rng.lognormal(size=100)
    figure = bootstrap_ratio(0.8 * base, groups, base, groups)
    assert figure.low == pytest.approx(0.8)
    assert figure.high == pytest.approx(0.8)
    stranger = bootstrap_ratio(0.8 * base, groups, base, groups + 1000)
    assert stranger.high - stranger.low > 0.1
    assert np.isnan(bootstrap_ratio([1.0], [0], [0.0], [0]).value)


def test_what_is_undefined_is_nan():
    assert np.isnan(bootstrap_mean([np.nan, np.nan], ["a", "b"]).value)
    figure = bootstrap(lambda rows: float("nan"), ["a", "b"])
    assert np.isnan([figure.value, figure.low, figure.high]).all()
    only_some = bootstrap(lambda rows: 1.0 if 0 in rows else float("nan"), ["a", "b"])
    assert (only_some.low, only_some.high) == (1, 1)


def test_what_cannot_be_resampled():
    with pytest.raises(InputError, match="one patient for each row"):
        bootstrap_mean([], [])
    with pytest.raises(InputError, match="3 groups for values of shape"):
        bootstrap_mean([1.0, 2.0], ["a", "b", "c"])
    with pytest.raises(InputError, match="leaves none, or takes all"):
        bootstrap(lambda rows: 0.0, ["a", "a"], replace=False)
