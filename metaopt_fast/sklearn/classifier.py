"""What the estimators share: checks of their data and parameters, in scikit-learn's protocol."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from metaopt_fast.arithmetic import expit, log_expit, log_softmax, softmax
from metaopt_fast.data.sparse_rows import SparseRows, products_of, sparse_rows
from metaopt_fast.fitting.result import reasons_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import LOGISTIC, check_kept
from metaopt_fast.models.model import Model
from metaopt_fast.models.preparation import Preparation
from metaopt_fast.typing import Float64Array, IndexArray, LabelArray
from metaopt_fast.validation.frames import as_frame, as_numbers
from metaopt_fast.validation.values import check_number, describe

# What X may be, and stays; anything else becomes the first.
PRECISIONS = [np.float64, np.float32]
Rows = TypeVar("Rows", bound=npt.NDArray[np.floating[Any]])
Given: TypeAlias = npt.NDArray[np.floating[Any]] | SparseRows
# Classes may weigh their rows more, within the range of floats.
MAX_WEIGHT = 1e300


def probabilities(decisions: Float64Array) -> Float64Array:
    """Return the probability of each class, of log odds (n,) or of a row's logits (n, K)."""
    if decisions.ndim == 1:
        return np.column_stack([expit(-decisions), expit(decisions)])
    return softmax(decisions)


def log_probabilities(decisions: Float64Array) -> Float64Array:
    """Return the logarithms of these, finite for any decision."""
    if decisions.ndim == 1:
        return np.column_stack([log_expit(-decisions), log_expit(decisions)])
    return log_softmax(decisions)


class CheckedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # without types
    """What the estimators check, and say of themselves."""

    l1_ratio: float = 0.0  # of an estimator without this parameter
    takes_sparse: ClassVar[bool] = True

    def _set_parameters(self, given: Mapping[str, Any]) -> None:
        """Set the parameters, given the local names of the constructor."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = not self.l1_ratio
        tags.input_tags.sparse = self.takes_sparse
        return tags

    def _features(self, X: Any) -> Float64Array | SparseRows:
        check_is_fitted(self)
        options = {
            "dtype": np.float64,
            "ensure_all_finite": False,
            "accept_sparse": self.takes_sparse,
        }
        with named_columns(X):
            X = validate_data(self, X, reset=False, **options)
        rows: Float64Array | SparseRows = self._finite(X)
        return rows

    def _finite(self, X: Any) -> Any:
        sparse = sparse_rows("X", X)
        return finite_rows(self, X) if sparse is None else sparse

    def _as_they_are(self) -> Preparation:
        """Return the columns of the training rows, by name, as what a model does nothing to."""
        check_is_fitted(self)
        check_kept(self.classes_.tolist())
        names = getattr(self, "feature_names_in_", None)
        listed = [f"x{j}" for j in range(self.n_features_in_)] if names is None else names.tolist()
        return Preparation.none(listed)

    def _training_data(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Given, IndexArray, Float64Array | None]:
        """Check the arguments of fit, set classes_; return X, the rows' classes, and weights."""
        options = {
            "dtype": PRECISIONS,
            "ensure_all_finite": False,
            "accept_sparse": self.takes_sparse,
        }
        with named_columns(X):
            X, y = validate_data(self, X, y, **options)
        rows = self._finite(X)
        # What scikit-learn takes a sixth of a fit for is plain of whole numbers.
        if y.dtype.kind not in "biu":
            check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_.tolist()[0]!r}: pass labels of two or more."
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            with np.errstate(all="ignore"):
                total = float(sample_weight.sum())
            if total > MAX_WEIGHT:
                raise ValueError(
                    f"sample_weight sums to {total:g}: pass weights whose sum is at most "
                    f"{MAX_WEIGHT:g}."
                )
            sums = np.bincount(codes, sample_weight)
            for label, of_class in zip(self.classes_.tolist(), sums, strict=True):
                if of_class == 0:
                    each = "both classes" if len(sums) == 2 else "each class"
                    raise ValueError(
                        f"sample_weight is 0 for each row of class {label!r}: give {each} a "
                        "positive weight."
                    )
        return rows, codes.astype(np.intp), sample_weight


class LinearModel(CheckedClassifier):
    """What an estimator is that has coefficients of its own."""

    classes_: npt.NDArray[Any]
    coef_: Any  # an array or a sparse matrix, in double or single precision
    intercept_: npt.NDArray[np.floating[Any]]
    _link: ClassVar[str | None] = LOGISTIC

    def model(self) -> Model:
        """Return the fitted model as a `metaopt_fast.Model`, of columns as fit has had them: it is
        saved to a file, which `metaopt_fast.load_model` reads."""
        preparation = self._as_they_are()
        thetas = np.column_stack([self._dense_coef(), self.intercept_])
        theta = thetas[0] if len(thetas) == 1 else thetas
        return Model.linear(theta, preparation, self.classes_.tolist(), link=self._link)

    def _dense_coef(self) -> Float64Array:
        dense: npt.NDArray[Any] = self.coef_.toarray() if issparse(self.coef_) else self.coef_
        return dense.astype(np.float64, copy=False)

    def sparsify(self) -> Self:
        """Turn `coef_` into a sparse matrix of SciPy, which most zeros take no memory in."""
        check_is_fitted(self)
        self.coef_ = csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Turn `coef_` into an array again."""
        check_is_fitted(self)
        if issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    @shielded
    def decision_function(self, X: npt.ArrayLike) -> Float64Array:
        """Return x . coef + intercept of each row, positive for the second class.

        Of more than two classes, those of each class, shape (n_samples, n_classes).
        """
        rows = self._features(X)
        decisions: Float64Array = products_of(self._dense_coef(), rows) + self.intercept_[:, None]
        return decisions[0] if len(decisions) == 1 else np.ascontiguousarray(decisions.T)

    def predict(self, X: npt.ArrayLike) -> LabelArray:
        """Return the label of each row."""
        decisions = self.decision_function(X)
        codes = decisions > 0 if decisions.ndim == 1 else decisions.argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[codes.astype(np.intp)]
        return labels


def to_double(given: Given) -> tuple[Float64Array | SparseRows, np.dtype[Any]]:
    """Return rows in double precision, and the precision that coefficients are wanted in."""
    if isinstance(given, SparseRows):
        return given, given.precision
    return given.astype(np.float64, copy=False), given.dtype


def finite_rows(estimator: Any, X: Rows) -> Rows:
    """Return X, or raise an error that names its first number that is not finite."""
    finite = np.isfinite(X)
    if not finite.all():
        column = int(np.argmin(finite.all(axis=0)))
        row = int(np.argmin(finite[:, column]))
        names = getattr(estimator, "feature_names_in_", None)
        name = "" if names is None else f" ({names[column]})"
        # It begins as scikit-learn's sentence does, which programs look for.
        value = "NaN" if np.isnan(X[row, column]) else "infinity"
        raise ValueError(
            f"Input X contains {value} in column {column}{name}, row {row}: pass finite numbers."
        )
    return X


@contextmanager
def named_columns(X: Any) -> Iterator[None]:
    """Where scikit-learn refuses a frame, name the column that cannot be read, if there is one."""
    try:
        yield
    except (ValueError, TypeError):
        if as_frame("X", X) is not None:
            as_numbers("X", X, 2, "an array of shape (n_samples, n_features)")
        raise


def check_C(C: object) -> float:
    """Return C as a float above 0, perhaps infinite."""
    if isinstance(C, (float, np.floating)) and math.isinf(C) and C > 0:
        return float(C)
    return check_number("C", C, 0.0, strictly=True)


def check_l1_ratio(l1_ratio: object, n_classes: int) -> float:
    """Return a part from 0 to 1: 0 of more than two classes."""
    ratio = check_number("l1_ratio", l1_ratio, 0.0)
    if ratio > 1:
        raise ValueError(f"l1_ratio is {ratio:g}: pass a number from 0 to 1.")
    if ratio > 0 and n_classes > 2:
        # scikit-learn's checks want its words.
        raise ValueError(
            "Only binary classification is supported. The type of the target is multiclass: pass "
            f"labels of two classes, or l1_ratio=0 (it is {ratio:g})."
        )
    return ratio


def check_class_weight(class_weight: Any, classes: npt.NDArray[Any]) -> Any:
    """Return None, "balanced", or the weights as a dict of the classes' numbers."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight is {describe(class_weight)}: pass a dict of label to weight, 'balanced' "
            "or None."
        )
    weights = compute_class_weight(dict(class_weight), classes=classes, y=classes)
    for label, weight in zip(classes.tolist(), weights.tolist(), strict=True):
        check_number(f"class_weight[{label!r}]", weight, 0.0, strictly=True)
    return dict(enumerate(weights.tolist()))


def splits_of(cv: Any, X: Any, labels: npt.NDArray[Any], groups: Any) -> Iterable[Any]:
    """Return the splits as the caller or the splitter gives them."""
    if isinstance(cv, (str, bytes)):  # which have a method split, too
        raise TypeError(f"cv is {describe(cv)}: pass an integer, a splitter, or splits.")
    if isinstance(cv, Iterable) and not hasattr(cv, "split"):
        return cv
    splits: Iterable[Any] = check_cv(cv, labels, classifier=True).split(X, labels, groups)
    return splits


def warn_unless_converged(
    status: npt.NDArray[np.str_], max_iter: int, words: str | None = None
) -> None:
    """Warn the caller of the caller of models that have not converged, and why.

    `words` are scikit-learn's where max_iter is the reason: filters of warnings know them.
    """
    if reasons := reasons_of(status, max_iter):
        if words is not None and (status == "max_iter").any():
            reasons = f"{words} {reasons}"
        warnings.warn(reasons, ConvergenceWarning, stacklevel=3)
