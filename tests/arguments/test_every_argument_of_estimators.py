"""Every argument of the estimators replaced by what it should not be.

As in `test_every_argument.py`; what scikit-learn itself refuses, it refuses in its own words.
"""

import inspect

import numpy as np
from sklearn.model_selection import GroupKFold
from wrong_arguments import (  # noqa: F401 - fixtures, and the tests of the sweep
    Entry,
    files,
    limited_memory,
    pytest_generate_tests,
    test_a_wrong_argument_is_used_or_refused_by_name,
    test_the_valid_call_succeeds,
)

from metaopt_fast.sklearn import (
    BestTreeClassifier,
    GroupedLogisticRegressionCV,
    LinearSVC,
    LogisticRegression,
    LogisticRegressionSearchCV,
    NetworkClassifier,
    NetworkSearchCV,
    permutation_test_score,
    plot_permutation_test,
)

RNG = np.random.default_rng(1)
DATA = {
    "X": RNG.normal(size=(24, 3)).round(2),
    "y": np.array(["no", "yes"] * 12),
    "sample_weight": RNG.uniform(0.5, 2, 24),
}
SEARCH = {"n_iter": 3, "cv": GroupKFold(2), "groups": np.arange(24) // 4, "random_state": 0}


def fit_and_predict(estimator):
    """A function of the data and the parameters of an estimator."""

    def call(**given):
        data = {name: given.pop(name) for name in names if name in given}
        model = estimator(**given).fit(**data)
        methods = ("apply", "decision_function", "predict_proba", "predict_log_proba")
        return [getattr(model, name)(data["X"]) for name in methods if hasattr(model, name)]

    of_fit = list(inspect.signature(estimator.fit).parameters.values())[1:]
    names = [parameter.name for parameter in of_fit]
    parameters = [*of_fit, *inspect.signature(estimator).parameters.values()]
    call.__signature__ = inspect.Signature(
        [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return call


REGRESSION, SEARCHED, MACHINE = map(
    fit_and_predict, (LogisticRegression, LogisticRegressionSearchCV, LinearSVC)
)
ENTRIES = {
    "BestTreeClassifier": Entry(
        fit_and_predict(BestTreeClassifier),
        DATA | {"sample_weight": np.arange(24) % 3 + 1, "depth": 2, "class_cost": {"yes": 2}},
        library="sklearn",
    ),
    "NetworkClassifier": Entry(
        fit_and_predict(NetworkClassifier),
        DATA | {"n_starts": 2, "max_iter": 3, "random_state": 0},
        library="sklearn",
    ),
    "NetworkSearchCV": Entry(
        fit_and_predict(NetworkSearchCV),
        DATA | SEARCH | {"n_starts": 2, "max_iter": 3},
        aliases={"scoring": "refit"},
        library="sklearn",
    ),
    "LogisticRegression": Entry(REGRESSION, DATA, library="sklearn"),
    "LogisticRegression of l2": Entry(
        REGRESSION,
        DATA | {"l2": 0.1, "class_weight": {"no": 1.0, "yes": 2.0}},
        library="sklearn",
    ),
    "GroupedLogisticRegressionCV": Entry(
        fit_and_predict(GroupedLogisticRegressionCV),
        DATA
        | {"feature_groups": [0, 0, 1], "cv": GroupKFold(2), "groups": np.arange(24) // 4}
        | {"max_iter": 2},
        library="sklearn",
    ),
    "LinearSVC": Entry(MACHINE, DATA | {"class_weight": {"yes": 2.0}}, library="sklearn"),
    "LogisticRegressionSearchCV": Entry(
        SEARCHED, DATA | SEARCH, aliases={"scoring": "refit"}, library="sklearn"
    ),
    "permutation_test_score": Entry(
        permutation_test_score,
        {
            "estimator": LogisticRegression(),
            "X": DATA["X"],
            "y": DATA["y"],
            "groups": np.arange(24) // 4,
            "cv": GroupKFold(2),
            "n_permutations": 3,
        },
        {"n_permutations": "models, each of which is fitted, as many as may be asked for"},
        library="sklearn",
    ),
    "plot_permutation_test": Entry(
        plot_permutation_test, {"score": 0.7, "permutation_scores": [0.5, 0.6], "ax": None}
    ),
    "LogisticRegressionSearchCV of lists": Entry(
        SEARCHED,
        DATA | {"candidates": {"C": [0.1, 1.0], "class_weight": [None, "balanced"]}, "cv": 2},
        aliases={"scoring": "refit"},
        library="sklearn",
    ),
}
