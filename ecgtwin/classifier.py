"""`TwinAugmentedClassifier`: any classifier, trained with twins and never asked about one."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import Tags, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from .augment import TwinAugmenter
from .exceptions import InputError, QualityWarning
from .recordings import person_names
from .resampling import labels_of_rows

Array = NDArray[Any]


def _routing_enabled() -> bool:
    from sklearn import get_config

    return bool(get_config()["enable_metadata_routing"])


def _can(method: str) -> Any:
    """Whether the classifier has a method, as scikit-learn's own meta-estimators ask."""

    def has_it(self: TwinAugmentedClassifier) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return available_if(has_it)


class TwinAugmentedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Train a classifier on recordings and twins of their persons; predict on recordings as they are.

    The twins are made inside `fit`, so that cross-validation around this estimator never sees a twin of
    a person it tests on, and the balance of classes may change, which scikit-learn's Pipeline cannot do.

    Parameters
    ----------
    estimator : classifier
        Anything with `fit` and `predict` that takes arrays such as X, a Pipeline or a search as well.
    augmenter : TwinAugmenter, optional
        By default ``TwinAugmenter(mode="append")``.
    synthetic_weight : float
        The weight of a twin beside that of a recording. Other than 1, the classifier must take
        `sample_weight`.

    Attributes
    ----------
    estimator_ : classifier
        Fitted.
    augmenter_ : TwinAugmenter
        Fitted; its ``is_synthetic_``, ``sample_indices_`` and ``groups_`` are those of the training set.
    classes_ : array, or list of arrays
        As the classifier has it: with several columns of `y` often a list of one array for each.
    n_features_in_ : int
        The second dimension of X.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from ecgtwin import TwinAugmentedClassifier, TwinAugmenter
    >>> from ecgtwin.simulate import make_ecgs
    >>> ecgs = make_ecgs(n_patients=6, n_records=2, random_state=0)
    >>> y = ["PVC" in c.statements for c in ecgs.conditions]
    >>> spread = FunctionTransformer(lambda X: X.std(axis=-1))
    >>> classifier = TwinAugmentedClassifier(
    ...     make_pipeline(spread, LogisticRegression()),
    ...     TwinAugmenter(mode="append", references="any", label_map={True: "PVC"}, random_state=0),
    ... )
    >>> classifier = classifier.fit(ecgs.signals, y, groups=ecgs.groups, conditions=ecgs.conditions)
    >>> classifier.predict(ecgs.signals).shape
    (12,)
    """

    def __init__(
        self, estimator: Any, augmenter: TwinAugmenter | None = None, *, synthetic_weight: float = 1.0
    ) -> None:
        self.estimator = estimator
        self.augmenter = augmenter
        self.synthetic_weight = synthetic_weight

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        conditions: Any = None,
        sample_weight: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Make twins of the training recordings, and fit the classifier on both.

        Parameters
        ----------
        X : array (n, 12, t) or (n, t)
            Millivolts; ``(n, t)`` is lead I.
        y : array (n,) or (n, k)
        groups : array (n,), optional
            The person of each recording. A search inside is given the persons of recordings and twins.
        conditions : sequence of n, optional
            What each recording shows, as `Condition.parse` reads it.
        sample_weight : array (n,), optional
            A twin has the weight of its reference times `synthetic_weight`.
        **fit_params
            For the classifier; with scikit-learn's metadata routing, what it requests.

        Raises
        ------
        InputError
            If twins cannot be made, or weights are asked for that the classifier does not take.
        """
        X = validate_data(self, X, allow_nd=True, dtype=[np.float32, np.float64])
        if y is None:
            raise InputError("this classifier requires y to be passed, but the target y is None")
        y = labels_of_rows(y, len(X))
        check_classification_targets(y)
        if not np.isfinite(self.synthetic_weight) or self.synthetic_weight < 0:
            raise InputError(f"synthetic_weight must be a number from 0, got {self.synthetic_weight!r}")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        augmenter = TwinAugmenter(mode="append") if self.augmenter is None else clone(self.augmenter)
        known = {"groups": groups, "conditions": conditions}
        if augmenter.mode == "append":
            X, y = augmenter.fit_resample(X, y, **known)
        else:
            X = augmenter.fit_transform(X, y, **known)
        self.augmenter_: TwinAugmenter = augmenter
        if weight is not None or self.synthetic_weight != 1:
            weight = np.ones(len(X)) if weight is None else weight[augmenter.sample_indices_]
            weight = np.where(augmenter.is_synthetic_, self.synthetic_weight, 1.0) * weight
        # A search is told which twins belong together, even where each recording is another person's.
        is_search = isinstance(self.estimator, BaseSearchCV)
        if is_search and (self.estimator.cv is None or isinstance(self.estimator.cv, int)):
            message = "the search may split recordings from their twins: give it cv=GroupKFold(5)"
            warnings.warn(message, QualityWarning, stacklevel=2)
        people = augmenter.groups_ if is_search or groups is not None else None
        self.estimator_ = self._fitted(clone(self.estimator), X, y, people, weight, fit_params)
        if hasattr(self.estimator_, "classes_"):
            self.classes_ = self.estimator_.classes_
        return self

    def _fitted(
        self, estimator: Any, X: Array, y: Array, people: Any, weight: Any, fit_params: dict[str, Any]
    ) -> Any:
        """Fit the classifier, with persons and weights where it takes them."""
        if _routing_enabled():
            given = {"groups": people, "sample_weight": weight}
            given = {key: value for key, value in given.items() if value is not None}
            if weight is not None and not self._requests("sample_weight"):
                raise InputError("weights need estimator.set_fit_request(sample_weight=True)")
            own = {key: value for key, value in given.items() if self._requests(key)}
            return estimator.fit(X, y, **process_routing(self, "fit", **(own | fit_params)).estimator.fit)
        if weight is not None:
            if not has_fit_parameter(estimator, "sample_weight"):
                raise InputError(
                    f"{type(estimator).__name__} takes no sample_weight: leave synthetic_weight at 1"
                )
            fit_params = fit_params | {"sample_weight": weight}
        if people is not None and (
            isinstance(estimator, BaseSearchCV) or has_fit_parameter(estimator, "groups")
        ):
            fit_params = fit_params | {"groups": people}
        return estimator.fit(X, y, **fit_params)

    def _requests(self, parameter: str) -> bool:
        router = MetadataRouter(owner="estimator").add(
            estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )
        return parameter in router.consumes("fit", [parameter])

    def get_metadata_routing(self) -> MetadataRouter:
        """Return what this estimator and the classifier inside ask for, for scikit-learn's routing."""
        inner = MethodMapping()
        for method in ("fit", "predict", "predict_proba", "predict_log_proba", "decision_function", "score"):
            inner.add(caller=method, callee=method)
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=inner)

    def _asked(self, X: Any) -> Array:
        check_is_fitted(self, "estimator_")
        return validate_data(self, X, reset=False, allow_nd=True, dtype=[np.float32, np.float64])

    def predict(self, X: Any) -> Array:
        """Return the classifier's labels of recordings ``(n, 12, t)`` or ``(n, t)``."""
        X = self._asked(X)
        return self.estimator_.predict(X)

    @_can("predict_proba")
    def predict_proba(self, X: Any) -> Array:
        """Return the classifier's probabilities ``(n, k)``, or what it returns for several columns of `y`."""
        X = self._asked(X)
        return self.estimator_.predict_proba(X)

    @_can("predict_log_proba")
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the classifier's probabilities ``(n, k)``."""
        X = self._asked(X)
        return self.estimator_.predict_log_proba(X)

    @_can("decision_function")
    def decision_function(self, X: Any) -> Array:
        """Return the classifier's decision values ``(n,)`` or ``(n, k)``."""
        X = self._asked(X)
        return self.estimator_.decision_function(X)

    def personalize(
        self,
        references: Any,
        *,
        reference_condition: Any = None,
        n_samples: int = 32,
        X: Any = None,
        y: Any = None,
        groups: ArrayLike | None = None,
        weight: float = 1.0,
        random_state: Any = None,
    ) -> Self:
        """Return this classifier adapted to one patient, by twins of the patient under each class.

        The application of the paper: a patient's first recordings, of whatever class, give twins of every
        class, and these teach what the classes look like in this patient. Where `y` has a column for each
        class, a twin of one class keeps what else the patient is known to have, and is labelled so.

        Parameters
        ----------
        references : ECG, path, array (n_leads, t), ... or a list of them
            Recordings of the patient; several are pooled.
        reference_condition : Condition, str, ... or a list of them, optional
            What they show.
        n_samples : int
            Twins of each class.
        X, y : arrays, optional
            Training recordings and labels, as in `fit`: the classifier is fitted anew on them and the
            patient's twins. Without them the fitted classifier learns on, by its `partial_fit`.
        groups : array (n,), optional
            The person of each recording of X, for a search inside; the patient is one person more.
        weight : float
            Of a twin beside a recording of X; other than 1, the classifier must take `sample_weight`.
        random_state : int, RandomState, Generator or None

        Raises
        ------
        InputError
            If nothing tells what a class shows (see `TwinAugmenter`'s `label_map`), or there is neither X
            nor a `partial_fit`.
        """
        check_is_fitted(self, "estimator_")
        if (X is None) != (y is None):
            raise InputError("X and y go together")
        if X is None and not hasattr(self.estimator_, "partial_fit"):
            raise InputError(
                f"{type(self.estimator_).__name__} has no partial_fit: give the training set as X and y"
            )
        twins, labels = self.augmenter_.twins_of(
            references,
            reference_condition=reference_condition,
            n_samples=n_samples,
            random_state=random_state,
        )
        adapted = copy.copy(self)
        if X is None:
            adapted.estimator_ = copy.deepcopy(self.estimator_).partial_fit(twins, labels)
            return adapted
        X = self._asked(X)
        y = labels_of_rows(y, len(X))
        weights = None if weight == 1 else np.repeat([1.0, weight], [len(X), len(twins)])
        people = None
        if groups is not None:
            names, of_rows = np.unique(person_names(groups, len(X)), return_inverse=True)
            people = np.append(of_rows, np.full(len(twins), len(names)))
        X, y = np.concatenate([X, twins]), np.concatenate([y, labels])
        adapted.estimator_ = self._fitted(clone(self.estimator), X, y, people, weights, {})
        return adapted

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.three_d_array = True
        tags.classifier_tags = inner.classifier_tags
        tags.target_tags = inner.target_tags
        return tags
