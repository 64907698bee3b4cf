"""A model as scikit-learn's own estimators, fitted: for ONNX, calibration and all else that is.

The one place outside ``metaopt_fast.sklearn`` that imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from metaopt_fast.data.standardize import Standardization
from metaopt_fast.models.fitted import FittedModel
from metaopt_fast.models.model import Model
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.models.preparation import Feature, Preparation
from metaopt_fast.typing import BoolArray

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline as Pipeline

M = TypeVar("M", bound=FittedModel)


def to_pipeline(model: M, classifier_of: Callable[[M], Any]) -> Pipeline:
    """Return the fitted Pipeline of a model, and of what decides at its end."""
    try:
        from sklearn.pipeline import Pipeline
    except ImportError:
        raise ImportError(
            "to_sklearn needs scikit-learn: pip install 'metaopt_fast[sklearn]'."
        ) from None
    preparation = model.preparation
    steps = [("columns", _columns(preparation))] if _is_mixed(preparation) else []
    if not steps and preparation.missing == "mean":
        steps.append(("imputer", _imputer(preparation.features)))
    if preparation.is_standardized and preparation.measured is not None:
        steps.append(("scaler", _scaler(preparation.measured, preparation.is_constant)))
    steps.append(("classifier", classifier_of(model)))
    if not _is_mixed(preparation) and not _are_numbers(model.features):
        steps[0][1].feature_names_in_ = np.array(model.features, object)
    return Pipeline(steps)


def _is_mixed(preparation: Preparation) -> bool:
    return any(feature.values is not None for feature in preparation.features)


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether names are those that columns without names are given."""
    return list(names) == [f"x{j}" for j in range(len(names))]


def _columns(preparation: Preparation) -> Any:
    """Return a ColumnTransformer of a step for each feature, which keeps their order."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    steps: list[tuple[str, Any, list[str]]] = []
    for j, feature in enumerate(preparation.features):
        step: Any = "passthrough"
        if feature.values is not None:
            step = OneHotEncoder(
                categories=[np.array(feature.values, object)],
                handle_unknown="ignore",
                sparse_output=False,
            )
        elif feature.fill is not None:
            step = _imputer([feature])
        steps.append((f"column{j}", step, [feature.name]))
    transformer = ColumnTransformer(steps, verbose_feature_names_out=False)
    # Fitted on two rows that give each step what it has: values by name, means as their own means.
    rows = {
        feature.name: [feature.values[0]] * 2
        if feature.values is not None
        else [feature.fill or 0.0] * 2
        for feature in preparation.features
    }
    return transformer.fit(_frame(rows))


def _frame(rows: dict[str, list[Any]]) -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "to_sklearn needs pandas for a model with columns of text: pip install pandas."
        ) from None
    return pandas.DataFrame(rows)


def _imputer(features: Sequence[Feature]) -> Any:
    from sklearn.impute import SimpleImputer

    fills = np.array([[feature.fill for feature in features]], np.float64)
    return SimpleImputer(strategy="mean").fit(fills)


def _scaler(measured: Standardization, is_constant: BoolArray) -> Any:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.zeros((1, len(is_constant))))
    scaler.mean_, scaler.scale_ = measured.mean, measured.scale
    scaler.var_ = np.where(is_constant, 0.0, np.square(measured.scale))
    return scaler


def linear_classifier(model: Model) -> Any:
    """Return the LogisticRegression of a model, or the LinearSVC where it has no probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    classifier = LogisticRegression() if model.link is not None else LinearSVC()
    coef, intercept = model.coef, model.intercept
    if len(coef) == 2:  # softmax of two classes is logistic of their difference
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    elif model.positive is not None and model.positive != model.classes[1]:
        coef, intercept = -coef, -intercept
    classifier.classes_ = model.label_array()
    classifier.coef_, classifier.intercept_ = coef.copy(), intercept.copy()
    classifier.n_features_in_ = coef.shape[1]
    classifier.n_iter_ = np.zeros(1, np.int32)
    return classifier


def network_classifier(model: NetworkModel) -> Any:
    """Return the MLPClassifier of a model of one network."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    networks = model.networks
    classifier = MLPClassifier((networks.n_hidden,), networks.activation, max_iter=1)
    (units, outputs), (biases, thresholds) = networks.layers(0)
    if networks.n_outputs == 2:
        outputs, thresholds = outputs[:, 1:] - outputs[:, :1], thresholds[1:] - thresholds[:1]
    elif model.positive is not None and model.positive != model.classes[1]:
        outputs, thresholds = -outputs, -thresholds
    classifier.coefs_, classifier.intercepts_ = [units, outputs], [biases, thresholds]
    classifier.classes_ = model.label_array()
    classifier._label_binarizer = LabelBinarizer().fit(classifier.classes_)
    classifier.n_features_in_, classifier.n_outputs_ = len(units), outputs.shape[1]
    classifier.n_layers_, classifier.n_iter_ = 3, 0
    classifier.out_activation_ = "softmax" if outputs.shape[1] > 1 else "logistic"
    return classifier
