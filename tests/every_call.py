"""Every public call that computes numbers, on small data: from its name to one hash of all of them.

The inputs are made without NumPy's own exp, log and powers, and without BLAS.
"""

import dataclasses
import hashlib
from importlib.util import find_spec

import numpy as np

import metaopt_fast as mf
from metaopt_fast.arithmetic import geometric
from metaopt_fast.data.standardize import standardize_in_place as standardize
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.selection.tune import tune

rng = np.random.default_rng(0)
X = rng.normal(size=(403, 6))
Y = (X * [2, -1, 1, 0, 0.5, 0]).sum(axis=1) + rng.normal(size=len(X)) > 0
WEIGHTS = rng.uniform(0.5, 2.0, len(X))
THETAS = rng.normal(size=(53, 7))
GROUPS = np.arange(len(X)) % 3
WIDE = rng.normal(size=(40, 130))
# Penalties from 2**-17 to 4, as many as make fit_many start from what is nearby.
FORTY = np.ldexp(1 + np.arange(40) % 2 / 2, np.arange(40) // 2 - 17)
LOSSES = ("LogisticLoss", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss")
METHODS = ("gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs")
STRATEGIES = ("cem", "snes", "ars", "shrinking", "integer_local_search")
# What is measured, not computed.
MEASURED = {
    *("elapsed", "rows_evaluated_fraction", "kernel_fraction", "config", "stopped_by"),
    *("refit_time_", "mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"),
}


def arrays(value):
    """Yield all numbers in a result, as arrays."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            if name not in MEASURED:
                yield from arrays(value[name])
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from arrays(part)
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        yield from arrays(value.tolist())  # the values of cv_results_
    elif isinstance(value, (int, float, np.ndarray, np.generic)):
        yield np.asarray(value)


def digest(value):
    hashed = hashlib.sha256()
    for array in arrays(value):
        hashed.update(str((array.dtype, array.shape)).encode() + array.tobytes())
    return hashed.hexdigest()


def objective(name="LogisticLoss", dtype="float64"):
    options = {"sample_weight": WEIGHTS, "fit_intercept": True, "dtype": dtype, "l2": 2.0**-10}
    return getattr(mf, name)(X, Y, **options)


def losses(name, dtype):
    made = objective(name, dtype)
    one = made.subset(np.arange(0, 300, 2)).loss_gradient(THETAS[1])
    curvature = None if name == "HingeLoss" else made.lipschitz()
    return made.loss(THETAS[0]), made.batch_loss_gradient(THETAS), one, curvature


def softmax(dtype):
    y = Y + 2 * (X[:, 1] > 0.4) + 4 * (X[:, 2] > 1)
    options = {"sample_weight": WEIGHTS, "fit_intercept": True, "dtype": dtype, "l2": 2.0**-10}
    made, thetas = mf.SoftmaxLoss(X, y, **options), np.tile(THETAS, (1, 8))
    thetas += np.arange(56) / 64
    return made.batch_loss_gradient(thetas), made.loss_gradient(thetas[3]), made.lipschitz()


def fit_classes():
    y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0.4)
    options = {"folds": GROUPS, "sample_weight": WEIGHTS, "class_weight": "balanced"}
    return mf.fit_many(X, y, l2=[2.0**-12, 0.25], **options), mf.fit_many(X[:, :3], y, l2=0.125)


def wide_curvature():
    y = np.arange(len(WIDE)) % 2
    return [mf.LogisticLoss(WIDE, y, dtype=dtype).lipschitz() for dtype in ("float64", "float32")]


def counts():
    made = mf.ConfusionCounts(X, Y, groups=GROUPS, thresholds=[0.2, 0.5], sample_weight=WEIGHTS)
    found = [mf.CountObjective(made, m).batch_loss(THETAS[:, :6]) for m in ("error", "f1", "mcc")]
    limited = mf.CountObjective(made, "balanced_error", max_gap=0.1, penalty=2.0)
    return made.batch_counts(THETAS[:, :6]), found, limited.batch_loss(THETAS[:, :6])


def auc():
    made = mf.AUCObjective(X, Y, sample_weight=WEIGHTS)
    found = mf.random_search(made, mf.Normal(), 500, top_k=5)
    return made.batch_auc(THETAS[:, :6]), made.auc(THETAS[0, :6]), found


def search(sampler):
    return mf.random_search(objective(), sampler, 2000, seed=4, top_k=7)


def some_whole(start, count):
    return mf.Integers(-2, 2).sample(1, start, count, 7)


def evolve(method):
    start = mf.Integers(-3, 3) if method == "integer_local_search" else mf.Normal()
    return mf.evolve(objective(), start, method=method, population=24, generations=30, top_k=3)


def descend(method, **options):
    return mf.gradient_descent(objective(), THETAS[:5], method=method, **options)


def search_descents():
    samplers = {"learning_rate": mf.LogUniform(0.01, 0.7), "momentum": mf.Uniform(0, 0.9)}
    held_out = mf.LogisticLoss(X[::2], Y[::2], fit_intercept=True)
    found = mf.search_descents(
        objective(), samplers, 30, validation=held_out, method="momentum", max_iter=15, top_k=3
    )
    return found, mf.LogUniform(0.007, 0.07).values(np.linspace(-8, -3, 50))


def race_descents():
    samplers = {"learning_rate": mf.LogUniform(0.01, 0.7), "l2": mf.LogUniform(1e-4, 1)}
    held_out = mf.LogisticLoss(X[::2], Y[::2], fit_intercept=True)
    asked = {"validation": held_out, "early_stopping": True, "method": "adam", "max_iter": 16}
    return mf.search_descents(objective(), samplers, 30, racing="halving", **asked).runs


def log_uniform():
    rates = [mf.LogUniform(low, 10 * low) for low in (np.arange(1, 401) / 7e4).tolist()]
    return [rate.exponents.sample(0, 0, 2, 1) for rate in rates]


def fit(l2, **options):
    return mf.fit_many(X, Y, l2=l2, fit_intercept=True, **options)


def fit_wide():
    y, folds = np.arange(len(WIDE)) % 2, np.arange(len(WIDE)) // 2 % 4
    some = mf.fit_many(WIDE, y, l2=FORTY[::8], folds=folds)
    return some, mf.fit_many(WIDE * np.arange(1, 131), y, l2=[0.5, 2.0**-12], fit_intercept=False)


def fit_own(y):
    """Models that differ in weights and penalties of features, each without each fold."""
    weights = np.arange(5 * len(X)).reshape(5, -1) % 7 % 4
    factors = np.where(np.arange(30).reshape(5, 6) % 7 == 3, np.inf, 1.0)
    asked = {"sample_weight": weights.astype(np.uint8), "penalty_factor": factors}
    return mf.fit_many(X, y, l2=2.0**-9, folds=GROUPS, center=np.ones(7), **asked)


def fit_gradients():
    factors = np.where(np.arange(18).reshape(3, 6) % 4 == 3, 0.5, 2.0)
    asked = {"penalty_factor": factors, "feature_groups": np.arange(6) // 2}
    return mf.fit_many(X, Y, l2=2.0**-9, folds=GROUPS, validation_gradient=True, **asked)


def tune_penalties():
    found = mf.tune_penalties(X, Y, feature_groups=np.arange(6) // 2, folds=GROUPS, max_iter=3)
    return found.l2, found.trace, found.theta


def fit_l1(rows, l2, **options):
    y = np.arange(len(rows)) % 2
    l1 = mf.l1_max(rows, y) * geometric(1.0, 0.05, 10)
    return mf.fit_many(rows, y, l2=l2, l1=l1, folds=np.arange(len(rows)) // 2 % 3, **options)


def find_sparse():
    if find_spec("scipy") is None:
        return None
    from scipy.sparse import csr_array

    rows, y = csr_array(np.where(np.abs(WIDE) > 1, WIDE, 0)), np.arange(len(WIDE)) % 2
    losses = [getattr(mf, name)(rows, y, l2=0.125) for name in LOSSES]
    folds = np.arange(len(WIDE)) // 2 % 4
    fits = mf.fit_many(rows, y, l2=FORTY[::8], folds=folds, class_weight="balanced")
    return fits, [each.batch_loss_gradient(WIDE[:27]) for each in losses]


def estimator():
    from metaopt_fast.sklearn import LogisticRegression

    model = LogisticRegression(C=3.0, class_weight="balanced").fit(X, Y, WEIGHTS)
    told = model.decision_function(X), model.predict_proba(X), model.predict_log_proba(X)
    return vars(model), told


def network(n_classes, dtype):
    y = Y if n_classes is None else Y + np.where(X[:, 1] > 0.4, 1, 0)
    options = {"n_hidden": 5, "n_classes": n_classes, "dtype": dtype, "l2": 2.0**-10}
    made = mf.NetworkLoss(X, y, WEIGHTS, **options)
    thetas = made.starts().sample(3, 0, 26, made.n_params)
    return made.batch_loss_gradient(thetas), made.decisions(thetas[1], X)


def network_search():
    from metaopt_fast.sklearn import NetworkSearchCV

    model = NetworkSearchCV(
        4, cv=2, n_hidden=4, max_iter=5, early_stopping=False, refit=False, random_state=1
    )
    return model.fit(X, Y, sample_weight=WEIGHTS).cv_results_


def estimators_search():
    from metaopt_fast.sklearn import LogisticRegressionSearchCV

    model = LogisticRegressionSearchCV(
        n_iter=30, cv=3, scoring=list(SCORES), refit="roc_auc", random_state=1
    )
    model.fit(X, Y, sample_weight=WEIGHTS)
    kept = ("cv_results_", "gap_bounds_", "best_score_", "best_params_")
    return [getattr(model, name) for name in kept], model.predict_proba(X)


def standardized():
    table = X * [1, 1e3, 1e-3, 1, 1, 1] + [0, 1e5, 0, 0, 0, 7]
    return table, standardize(table)


def scorecard():
    theta = [2, -1, 1, 0, 0, 1, -1]
    card = mf.Scorecard.from_theta(theta, fit_intercept=True)
    table = mf.Scorecard.from_theta(theta, fit_intercept=True, X=np.round(X), y=Y)
    return card, card.risk(X), table


CALLS = {
    **{
        f"{name} of {dtype}": lambda name=name, dtype=dtype: losses(name, dtype)
        for name in LOSSES
        for dtype in ("float64", "float32")
    },
    **{f"SoftmaxLoss of {d}": lambda d=d: softmax(d) for d in ("float64", "float32")},
    "lipschitz of wide data": wide_curvature,
    "counts": counts,
    "auc": auc,
    "random_search by Normal": lambda: search(mf.Normal(0.1, 2.0)),
    "random_search by Uniform": lambda: search(mf.Uniform(-1, 0.7)),
    "random_search by Integers": lambda: search(mf.Integers(-3, 3, max_nonzero=4)),
    "random_search by Mixture": lambda: search(
        mf.Mixture({range(3): mf.Normal(), range(3, 7): mf.Integers(-1, 1)})
    ),
    "random_search by a function": lambda: search(some_whole),
    "enumerate_search": lambda: mf.enumerate_search(objective(), -1, 1, max_nonzero=3, top_k=4),
    **{f"evolve by {m}": lambda m=m: evolve(m) for m in STRATEGIES},
    **{f"descent by {m}": lambda m=m: descend(m, max_iter=12) for m in METHODS},
    **{
        f"descent by {m}, rate given": lambda m=m: descend(m, max_iter=12, learning_rate=0.3)
        for m in METHODS
    },
    "descent by mini-batches": lambda: descend("nesterov", max_iter=2, batch_size=50),
    "search_descents": search_descents,
    "a race of descents": race_descents,
    "LogUniform": log_uniform,
    "standardize": standardized,
    "tune": lambda: tune(X, Y.astype(np.uint8), 30, cv=3),
    "Scorecard": scorecard,
    "merge_duplicates": lambda: mf.merge_duplicates(np.round(X), Y, WEIGHTS),
    "fit_many of 3": lambda: fit(FORTY[[0, 20, 39]], sample_weight=WEIGHTS),
    "fit_many of 40 with folds": lambda: fit(FORTY, folds=GROUPS),
    "fit_many without a penalty": lambda: fit([0.0], class_weight="balanced"),
    "fit_many of wide data": fit_wide,
    "fit_many of own weights": lambda: fit_own(Y),
    "fit_many of own labels": lambda: fit_own(np.roll(np.tile(Y, (5, 1)), 7)),
    "fit_many with validation gradients": fit_gradients,
    "tune_penalties": tune_penalties,
    "fit_many of 4 classes": fit_classes,
    "fit_many of machines": lambda: fit(FORTY, folds=GROUPS, loss="squared_hinge"),
    "sparse rows": find_sparse,
    "fit_many with l1": lambda: fit_l1(X, FORTY[:10], sample_weight=WEIGHTS),
    "fit_many of wide data with l1": lambda: fit_l1(WIDE, 0.0),
    "NetworkLoss": lambda: network(None, "float64"),
    "NetworkLoss of 3 classes": lambda: network(3, "float32"),
    "best_tree": lambda: mf.best_tree(X, Y),
    "best_tree of 4 classes": lambda: mf.best_tree(
        X, Y + 2 * (X[:, 1] > 0.4), depth=3, min_leaf=9, class_cost={2: 3}, sample_weight=GROUPS + 1
    ),
    "best_trees": lambda: mf.best_trees(X, [Y, X[:, 2] > 0], depth=2),
    "stability_selection": lambda: mf.stability_selection(
        X, Y, l1=[2.0**-4, 2.0**-6], n_resamples=6, seed=2
    ),
}
if find_spec("sklearn"):
    CALLS |= {"LogisticRegression": estimator, "LogisticRegressionSearchCV": estimators_search}
    CALLS |= {"NetworkSearchCV": network_search}


def digests():
    return {name: digest(call()) for name, call in CALLS.items()}
