"""What users get of native signals: resampled as by SciPy's filter, in the order of the reference."""

import numpy as np
import pytest

from ecgtwin.leads import LEADS, resample, twelve_leads
from ecgtwin.output import twelve_at


@pytest.fixture(scope="module")
def leads():
    return np.random.default_rng(0).normal(size=(67, 8, 1000)).cumsum(axis=-1).astype(np.float32) / 10


@pytest.mark.parametrize("rate", [25, 50, 100, 128, 250, 257, 333.3, 360, 500, 1000, 4000])
@pytest.mark.parametrize("seconds", [10, 3.21])
def test_signals_are_those_of_the_polyphase_filter(leads, rate, seconds):
    some, n_times = leads[:2], round(seconds * rate)
    found = twelve_at(some, rate, n_times)
    expected = twelve_leads(resample(some.astype(np.float64), 100, rate))[..., :n_times]
    assert found.shape == (2, 12, n_times)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("rate", [100, 500, 333.3])
def test_a_signal_does_not_depend_on_the_others_and_goes_where_it_is_to(leads, rate):
    names, n_times = LEADS[::-1], round(10 * rate)
    out = np.zeros((len(leads), 12, n_times), dtype=np.float32)
    assert twelve_at(leads, rate, n_times, names, out) is out
    for row in (0, 63, 64, 66):
        alone = twelve_at(leads[row : row + 1], rate, n_times)[0, ::-1]
        np.testing.assert_allclose(out[row], alone, atol=1e-6 * np.abs(leads).max())
