# pyright: strict
"""What users write to train and tune, as a type checker sees it: never run."""

from typing import assert_type

import numpy as np
import numpy.typing as npt

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.sklearn import (
    BestTreeClassifier,
    LinearSVC,
    LogisticRegression,
    LogisticRegressionSearchCV,
)
from metaopt_fast.typing import (
    BatchDifferentiable,
    DescentMethod,
    Differentiable,
    Minibatched,
    Penalised,
    Smooth,
)

Float64Array = npt.NDArray[np.float64]

X, y, _ = load_breast_cancer()
objective = mf.LogisticLoss(X, y, fit_intercept=True)

run = mf.gradient_descent(objective, np.zeros(31), method="adam", learning_rate=0.1, max_iter=100)
assert_type(run, mf.DescentResult)
rate = mf.cosine_decay(0.1, 100)
judged = mf.gradient_descent(objective, learning_rate=rate, validation=objective, patience=5)
print(judged.validation_loss, judged.best_iter, rate(3))
runs = mf.gradient_descent(objective, method="lbfgs", l2=[0.001, 0.01, 0.1], tol=1e-8)
print(runs.theta.shape, runs.status)
methods: list[DescentMethod] = ["gd", "nesterov"]
assert_type(
    [mf.gradient_descent(objective, method=name) for name in methods], list[mf.DescentResult]
)


class Bowl:
    """An objective of one's own, with a gradient."""

    n_params = 2

    def loss_gradient(self, theta: Float64Array) -> tuple[float, Float64Array]:
        """Return the squared distance from 1, and its gradient."""
        return float(((theta - 1) ** 2).sum()), 2 * (theta - 1)


bowl: Differentiable = Bowl()
mf.gradient_descent(bowl, learning_rate=0.1)
built_in: tuple[Differentiable, BatchDifferentiable, Minibatched, Penalised, Smooth]
built_in = objective, objective, objective, objective, objective

held_out = np.arange(len(y)) % 4 == 0
found = mf.search_descents(
    objective.subset(~held_out),
    {"learning_rate": mf.LogUniform(0.01, 10), "momentum": mf.Uniform(0.5, 0.99)},
    512,
    validation=objective.subset(held_out),
    method="nesterov",
)
assert_type(found.best, dict[str, float])
raced = mf.search_descents(
    objective.subset(~held_out),
    {"learning_rate": mf.LogUniform(0.01, 10)},
    64,
    validation=objective.subset(held_out),
    early_stopping=True,
    racing="hyperband",
    max_iter=81,
)
if raced.race is not None:
    assert_type(raced.race.passes, int)

fits = mf.fit_many(
    X,
    y,
    l2=np.logspace(-5, 0, 100),
    folds=np.arange(len(y)) % 5,
    class_weight="balanced",
)
assert_type(fits, mf.FitResult)
assert_type(fits.gap_bound, Float64Array)
if fits.validation_loss is not None:
    print(fits.validation_loss.mean(axis=1))

resampled = mf.fit_many(
    X, y, l2=0.1, sample_weight=mf.bootstrap_weights(len(y), 10), center=[0.0, 0.0, 0.0]
)
assert_type(resampled, mf.FitResult)
sloped = mf.fit_many(
    X, y, l2=0.1, folds=5, validation_gradient=True, feature_groups=np.zeros(2, int)
)
assert_type(sloped.validation_gradient, Float64Array | None)
tuned = mf.tune_penalties(X, y, feature_groups=[0, 1])
assert_type(tuned, mf.PenaltyResult)
assert_type(tuned.theta, Float64Array)
intervals = mf.bootstrap(X, y, l2=0.1, n_resamples=10, kind="bayesian")
assert_type(intervals.confidence_interval.low, Float64Array)

path = mf.fit_many(X, y, l2=0.0, l1=mf.l1_max(X, y) * np.geomspace(1, 0.01, 20))
assert_type(path.n_nonzero, npt.NDArray[np.intp])

model = LogisticRegression(C=1.0, l1_ratio=0.5).fit(X, y)
print(model.predict(X), model.predict_proba(X))
machine = LinearSVC(C=1.0, class_weight="balanced").fit(X, y)
print(machine.predict(X), machine.decision_function(X))
search = LogisticRegressionSearchCV(n_iter=200, scoring=["neg_log_loss", "f1"], refit="f1")
print(search.fit(X, y).best_params_)

tree = mf.best_tree(X, y, depth=2, class_cost={1: 5})
assert_type(tree, mf.Tree)
print(tree.n_errors, tree.predict(X), tree.leaf_counts.sum())
print(BestTreeClassifier(depth=2).fit(X, y).tree_.to_text())
assert_type(mf.best_trees(X, np.stack([y, 1 - y])), list[mf.Tree])
