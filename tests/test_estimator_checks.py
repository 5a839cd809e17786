"""scikit-learn's own checks of every estimator, with a count: a suite that runs nothing passes too."""

import tempfile
from collections import Counter

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from ecgtwin import ECGTwinGenerator, IndividualBaseExtractor, TwinAugmentedClassifier, TwinAugmenter
from ecgtwin.nn import ARCHITECTURES, TwinNetworks
from ecgtwin.pretrained import Checkpoint, save

pytestmark = pytest.mark.filterwarnings("ignore")

# Their twins look like nothing; only behaviour is checked here.
WEIGHTS = save(Checkpoint(TwinNetworks(ARCHITECTURES["tiny"], 0)), tempfile.mkdtemp())
SHORT_TRAINING = {"architecture": "tiny", "max_epochs": 1, "batch_size": 16}

APPENDING = TwinAugmenter(WEIGHTS, mode="append", n_steps=1, random_state=0)
ESTIMATORS = [
    IndividualBaseExtractor(**SHORT_TRAINING),
    ECGTwinGenerator(**SHORT_TRAINING, n_steps=1),
    TwinAugmenter(WEIGHTS, mode="replace", n_steps=1, random_state=0),
    TwinAugmenter(ECGTwinGenerator(**SHORT_TRAINING, n_steps=1), mode="append", random_state=0),
    TwinAugmentedClassifier(LogisticRegression(), APPENDING),
]

_SWAPS = "rows are swapped for twins when training, and never after"
_RANDOM = "twins are drawn at random, whatever the weights"


def expected_failures(estimator):
    if isinstance(estimator, TwinAugmenter) and estimator.mode == "replace":
        return {"check_transformer_general": _SWAPS, "check_transformer_data_not_an_array": _SWAPS}
    if isinstance(estimator, TwinAugmentedClassifier):
        return {
            "check_sample_weight_equivalence_on_dense_data": _RANDOM,
            "check_sample_weight_equivalence_on_sparse_data": _RANDOM,
        }
    return {}


def _name(estimator):
    return f"{type(estimator).__name__} {getattr(estimator, 'mode', '')}".strip()


RAN = Counter()


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
    RAN[_name(estimator)] += 1


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=_name)
def test_at_least_forty_checks_ran(estimator, request):
    names = [getattr(item, "originalname", None) for item in request.session.items]
    if names.count("test_scikit_learn_checks") < 200:
        pytest.skip("only some of the checks were asked for")
    print(f"{_name(estimator)}: {RAN[_name(estimator)]} checks ran and passed")
    assert RAN[_name(estimator)] >= 40
