"""Entries of the fuzzer: models that are fitted to their optima, and scikit-learn's protocol."""

import math

import numpy as np
from fuzz_inputs import LOSSES, array, chosen, classes, labels, number, one_of, problem
from scipy.sparse import csc_array, csr_array

import metaopt_fast as mf
import metaopt_fast.sklearn as estimating


def training(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["folds"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    l2 = array(data, data.ConsumeIntInRange(1, 4))
    fits = mf.fit_many(X, y, l2=l2, max_iter=data.ConsumeIntInRange(1, 30), **options)
    return fits.theta


def softmax(data):
    X, y, options = classes(data)
    if data.ConsumeBool():
        return mf.fit_many(X, y, l2=abs(number(data)), **options).theta
    made = mf.SoftmaxLoss(X, y, dtype=data.PickValueInList(["float32", "float64"]), **options)
    names = ["loss_gradient", "batch_loss", "batch_loss_gradient", "confusion", "batch_confusion"]
    return one_of(data, made, names)


def lasso(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["folds"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    if data.ConsumeBool():
        options["penalty_factor"] = array(data, data.ConsumeIntInRange(1, 5))
    l1 = array(data, data.ConsumeIntInRange(1, 4))
    asked = {"l1": l1, "l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(X, y, **asked, **options).theta


def machines(data):
    X, y, options = problem(data)
    asked = {"l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(X, y, loss="squared_hinge", **asked, **options).theta


def sparse(data):
    _, y, options = classes(data) if data.ConsumeBool() else problem(data)
    shape = len(y), data.ConsumeIntInRange(1, 5)
    X = np.array([number(data) for _ in range(math.prod(shape))]).reshape(shape)
    rows = data.PickValueInList([csr_array, csc_array])(np.where(np.abs(X) > 1, X, 0))
    for part in (rows.data, rows.indices, rows.indptr):  # as a stranger's file may have them
        if len(part) and data.ConsumeIntInRange(0, 7) == 0:
            part[data.ConsumeIntInRange(0, len(part) - 1)] = data.ConsumeIntInRange(-2, 9)
    if data.ConsumeBool():
        made = data.PickValueInList(LOSSES)(rows, y, **options)
        return one_of(data, made, ["loss_gradient", "batch_loss", "batch_loss_gradient"])
    l1 = abs(number(data)) if data.ConsumeBool() else 0.0
    asked = {"l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(rows, y, l1=l1, **asked, **options).theta


def stability(data):
    X, y, options = problem(data)
    options.pop("sample_weight", None)
    options |= chosen(data, penalty_factor=lambda: array(data, data.ConsumeIntInRange(1, 5)))
    asked = {"l1": array(data, data.ConsumeIntInRange(1, 4)), "l2": abs(number(data))}
    found = mf.stability_selection(X, y, n_resamples=2, max_iter=20, **asked, **options)
    repr(found)
    return found.probabilities, found.path_probabilities


def penalties(data):
    X, y, options = problem(data)
    groups = labels(data, data.ConsumeIntInRange(1, 5), 2)
    folds = labels(data, len(y), 2) if data.ConsumeBool() else data.ConsumeIntInRange(1, 4)
    asked = {"feature_groups": groups, "folds": folds, "max_iter": data.ConsumeIntInRange(1, 9)}
    found = mf.tune_penalties(X, y, **asked, **options)
    repr(found)
    return found.l2, found.theta, found.model().decision_function(X)


def estimators(data):
    X, y, options = classes(data) if data.ConsumeBool() else problem(data)
    weights = options.pop("sample_weight", None)
    kind = data.PickValueInList(["LogisticRegression", "LinearSVC", "LogisticRegressionSearchCV"])
    options["max_iter"] = data.ConsumeIntInRange(1, 30)
    if kind == "LogisticRegressionSearchCV":
        options |= {"n_iter": data.ConsumeIntInRange(1, 4), "cv": data.ConsumeIntInRange(1, 4)}
        options["candidates"] = {"l2": array(data, data.ConsumeIntInRange(1, 3))}
    elif data.ConsumeBool():
        options["l2"] = abs(number(data))
    if kind != "LinearSVC" and data.ConsumeBool():
        options["l1_ratio"] = abs(number(data))
    made = getattr(estimating, kind)(**options).fit(X, y, weights)
    return made.decision_function(X), made.coef_, made.intercept_


ENTRIES = [
    training,
    softmax,
    lasso,
    machines,
    sparse,
    stability,
    penalties,
    estimators,
]
