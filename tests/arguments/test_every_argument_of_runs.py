"""Every argument of searches, descents, evolutions and training replaced by what it should not be.

As in `test_every_argument.py`, of which this is the other half.
"""

import os
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from wrong_arguments import (  # noqa: F401 - fixtures, and the tests of the sweep
    DATA,
    FREE,
    OBJECTIVE,
    THETA,
    THETAS,
    Entry,
    X,
    Y,
    arguments,
    files,
    limited_memory,
    pytest_generate_tests,
    test_a_wrong_argument_is_used_or_refused_by_name,
    test_the_valid_call_succeeds,
)

import metaopt_fast as mf

GROUPS = [0, 1, 0, 1, 2, 3]
# Three tasks of eight rows.
ROWS_OF_TASKS = np.random.default_rng(1).normal(size=(24, 2)).round(2)
PRIOR = mf.learn_prior(
    ROWS_OF_TASKS, np.arange(24) % 2, np.arange(24) // 8, n_support=4, folds=2, max_iter=1
)


class Mine:
    """An objective that is none of the library's."""

    n_params = 3

    def batch_loss(self, thetas):
        with np.errstate(over="ignore"):
            return (thetas**2).sum(axis=1)

    def loss_gradient(self, theta):
        with np.errstate(over="ignore"):
            return float(theta @ theta), 2 * theta


def searches():
    random = {"objective": OBJECTIVE, "sampler": mf.Normal(), "n_candidates": 20}
    return {
        "random_search": Entry(mf.random_search, random | {"time_budget": 0.02}, FREE),
        "random_search of my objective": Entry(
            mf.random_search, random | {"objective": Mine(), "time_budget": 0.02}, FREE
        ),
        "resume_search": Entry(
            mf.resume_search, {"checkpoint": "search.db", "objective": OBJECTIVE}
        ),
        "enumerate_search": Entry(
            mf.enumerate_search,
            {"objective": OBJECTIVE, "low": [-1, -1, 0], "high": [1, 1, 1], "time_budget": 0.02},
        ),
        "enumerate_search of few": Entry(
            mf.enumerate_search,
            {"objective": OBJECTIVE, "low": -1, "high": 1, "max_nonzero": 1, "free": (-1,)},
            aliases={"low": "bounds", "high": "bounds"},
        ),
        "search_descents": Entry(
            mf.search_descents,
            {
                "objective": OBJECTIVE,
                "samplers": {"learning_rate": mf.LogUniform(0.1, 1)},
                "n_candidates": 4,
                "validation": mf.LogisticLoss(X, Y),
                "theta0": THETA,
                "early_stopping": True,
                "search": {"time_budget": 0.02},
                "max_iter": 2,
            },
            {"options": "names, which gradient_descent reads"},
        ),
        "search_descents that race": Entry(
            mf.search_descents,
            {
                "objective": OBJECTIVE,
                "samplers": {"learning_rate": mf.LogUniform(0.1, 1)},
                "n_candidates": 4,
                "validation": mf.LogisticLoss(X, Y),
                "early_stopping": True,
                "racing": "halving",
                "reduction": 2,
                "n_rungs": 1,
                "search": {"metadata": {}},
                "max_iter": 4,
            },
            {"options": "names, which gradient_descent reads"},
            # What a race does not go with.
            aliases={"early_stopping": "racing", "racing": "reduction"},
        ),
        "fit_many": Entry(
            mf.fit_many, {**DATA, "l2": [0.1, 1.0], "folds": [0, 0, 0, 1, 1, 1], "theta0": None}
        ),
        "fit_many without folds": Entry(
            mf.fit_many,
            {**DATA, "l2": 0.1, "class_weight": {0: 1.0, 1: 2.0}, "theta0": [0.0] * 4},
            aliases={"X": "theta0"},
        ),
        "fit_many standardized": Entry(
            mf.fit_many,
            {**DATA, "l2": [0.1, 1.0], "folds": [0, 0, 0, 1, 1, 1], "standardize": True},
        ),
        "fit_many of machines": Entry(
            mf.fit_many, {**DATA, "l2": [0.1, 1.0], "loss": "squared_hinge"}
        ),
        "fit_many with l1": Entry(
            mf.fit_many, {**DATA, "l2": 0.0, "l1": [0.1, 0.02], "class_weight": "balanced"}
        ),
        "stability_selection": Entry(
            mf.stability_selection,
            {"X": X, "y": Y, "l1": [0.1, 0.05], "n_resamples": 4},
            {"n_resamples": "halves, each of which is fitted, as many as may be asked for"},
        ),
        "fit_many with own weights": Entry(
            mf.fit_many,
            {
                "X": X,
                "y": [Y, Y],
                "l2": 0.1,
                "sample_weight": np.ones((2, 6)),
                "penalty_factor": [1.0, 0.5, np.inf],
                "center": [0.0, 0.1, 0.2],
            },
            aliases={"X": "y"},
        ),
        "fit_many with validation gradients": Entry(
            mf.fit_many,
            {
                **DATA,
                "l2": [0.1, 1.0],
                "folds": [0, 0, 0, 1, 1, 1],
                "penalty_factor": [1.0] * (len(X[0]) - 1) + [2.0],
                "validation_gradient": True,
                "feature_groups": [0] * (len(X[0]) - 1) + [1],
            },
        ),
        "tune_penalties": Entry(
            mf.tune_penalties,
            {
                **DATA,
                "feature_groups": [0] * (len(X[0]) - 1) + [1],
                "folds": [0, 0, 0, 1, 1, 1],
                "class_weight": "balanced",
                "max_iter": 2,
            },
        ),
        "bootstrap": Entry(
            mf.bootstrap,
            {"X": X, "y": Y, "l2": 0.1, "n_resamples": 4, "kind": "bayesian", "groups": GROUPS},
            {
                "n_resamples": "models, each of which is fitted, as many as may be asked for",
                "kind": "resamples of few rows lack a class",
            },
        ),
        "bootstrap that tunes": Entry(
            mf.bootstrap,
            {
                "X": X,
                "y": Y,
                "tune": [0.1, 1.0],
                "folds": [0, 0, 0, 1, 1, 1],
                "n_resamples": 4,
                "kind": "bayesian",
            },
            {
                "n_resamples": "models, each of which is fitted, as many as may be asked for",
                "kind": "resamples of few rows lack a class",
            },
        ),
        "bootstrap_weights": Entry(
            mf.bootstrap_weights,
            {"n_samples": 6, "n_resamples": 4, "groups": GROUPS, "start": 2},
            aliases={"n_samples": "groups"},
        ),
        "data_values": Entry(
            mf.data_values,
            {"X": X, "y": Y, "X_val": X, "y_val": Y, "l2": 0.1, "n_subsets": 6},
            {"n_subsets": "models, each of which is fitted, as many as may be asked for"},
        ),
        "fit_tasks": Entry(
            mf.fit_tasks,
            {
                "X": X,
                "y": [0, 1, 0, 1, 0, 1],
                "tasks": [0, 0, 1, 1, 2, 2],
                "l2": [0.1, 0.2, 0.3],
                "sample_weight": np.ones(6),
                "penalty_factor": [1.0, 0.5, np.inf],
                "center": [0.0, 0.1, 0.2],
            },
            aliases={"X": "y"},
        ),
        "learn_prior": Entry(
            mf.learn_prior,
            {
                "X": ROWS_OF_TASKS,
                "y": np.arange(24) % 2,
                "tasks": np.arange(24) // 8,
                "n_support": 4,
                "n_episodes": 2,
                "folds": 2,
                "max_iter": 1,
            },
            aliases={"X": "y", "tasks": "task"},
        ),
        "Prior.fit": Entry(PRIOR.fit, {"X": ROWS_OF_TASKS, "y": np.arange(24) % 2, "tasks": None}),
        "permuted_labels": Entry(
            mf.permuted_labels,
            {"y": Y, "n_permutations": 4, "groups": GROUPS},
            aliases={"y": "groups"},
        ),
        "l1_max": Entry(mf.l1_max, {**DATA, "class_weight": "balanced"}),
    }


def descents():
    """Each update rule with all of its own arguments, and those that are none of it."""
    own = {
        "gd": {"learning_rate": 0.5, "patience": 2},
        "gd of many": {"theta0": THETAS, "learning_rate": [0.1, 0.5], "l2": [0.5, 0.1]},
        "gd of drawn starts": {"theta0": mf.Normal(), "n_starts": 2, "learning_rate": 0.1},
        "gd by mini-batches": {"learning_rate": 0.1, "batch_size": 2, "patience": 2},
        "gd of a schedule, judged": {
            "learning_rate": mf.exponential_decay(0.1, 2, 0.5),
            "validation": mf.LogisticLoss(X, Y),
            "patience": 2,
        },
        "momentum": {"momentum": 0.5},
        "nesterov": {"restart": True},
        "adagrad": {"eps": 1e-8, "learning_rate": 0.5},
        "rmsprop": {"alpha": 0.9, "momentum": 0.1, "eps": 1e-8, "patience": 2},
        "adamw": {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
        "lbfgs": {"history_size": 2},
    }
    table = {
        f"gradient_descent by {name}": Entry(
            mf.gradient_descent,
            {"objective": OBJECTIVE, "theta0": THETA, "method": name.split()[0], "max_iter": 4}
            | options,
            # As many as there are rows of theta0.
            aliases={"theta0": "learning_rate"},
        )
        for name, options in own.items()
    }
    mine = {"objective": Mine(), "theta0": THETA, "learning_rate": 0.1, "max_iter": 4}
    return table | {"gradient_descent of my objective": Entry(mf.gradient_descent, mine)}


def evolutions():
    own = {
        "cem": {
            "elite": 0.5,
            "smoothing": 0.5,
            "noise": 0.1,
            "noise_generations": 2,
            "patience": 2,
        },
        "snes": {"learning_rate": 0.5, "scale_learning_rate": 0.5},
        "ars": {"elite": 0.5, "learning_rate": 0.1, "exploration": 0.1},
        "shrinking": {"start": THETA, "scale": [1.0, 2.0, 3.0], "shrink": 0.9, "shrink_stuck": 0.5},
        "integer_local_search": {"start": mf.Integers(), "restart_after": 2},
    }
    common = {"objective": OBJECTIVE, "start": mf.Normal(), "population": 4, "generations": 3}
    return {
        f"evolve by {method}": Entry(
            mf.evolve, common | {"method": method, "time_budget": 0.02} | options, FREE
        )
        for method, options in own.items()
    }


def schedules():
    return {
        "cosine_decay": Entry(mf.cosine_decay, {"init_value": 0.1, "decay_steps": 10}),
        "exponential_decay": Entry(
            mf.exponential_decay,
            {"init_value": [0.1, 0.2], "transition_steps": 10, "decay_rate": 0.5, "end_value": 0.1},
        ),
        "piecewise_constant": Entry(
            mf.piecewise_constant, {"init_value": 0.1, "boundaries_and_scales": {3: 0.5}}
        ),
    }


ENTRIES = {**searches(), **descents(), **schedules(), **evolutions()}


def test_folds_of_very_different_weights_hold_both_classes():
    folds, weights = [0, 0, 1, 1, 2, 2], [2.0**70, 2.0**70, 1, 1, 1, 1]
    fits = mf.fit_many(X, [0, 1, 0, 1, 0, 1], l2=0.1, folds=folds, sample_weight=weights)
    assert fits.certified.all()


def test_a_descent_from_beyond_the_range_has_an_infinite_loss_under_a_smaller_penalty():
    run = mf.gradient_descent(OBJECTIVE, [1e308, 0, 0], l2=0.0, learning_rate=0.1)
    assert run.status == "diverged"
    assert run.loss == np.inf


@pytest.mark.parametrize("name", ["l2", "theta0"])
@pytest.mark.parametrize("value", [True, [True], np.ones(4, bool)], ids=repr)
def test_truth_values_are_no_penalties_and_no_starts(name, value):
    with pytest.raises(TypeError, match=rf"^{name} is .*\.$"):
        mf.fit_many(X, Y, **{"l2": 0.1, name: value})


def test_a_fold_of_no_weight_is_refused():
    weights = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"sample_weight is 0 for all rows of fold 0: pass .*\.$"):
        mf.fit_many(X, Y, l2=0.1, folds=[0, 0, 1, 1, 2, 2], sample_weight=weights)


STEPS = {
    "momentum": lambda n: mf.gradient_descent(
        OBJECTIVE, method="momentum", learning_rate=1e-9, tol=0.0, max_iter=n
    ),
    "adamw of many": lambda n: mf.gradient_descent(
        OBJECTIVE, THETAS, method="adamw", learning_rate=1e-9, tol=0.0, max_iter=n
    ),
    "evolve": lambda n: mf.evolve(OBJECTIVE, mf.Normal(), generations=n),
    "random_search": lambda n: mf.random_search(OBJECTIVE, mf.Normal(), n),
}


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", STEPS)
def test_a_limit_of_steps_without_end_takes_no_memory_and_can_be_interrupted(name):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    tracemalloc.start()
    timer.start()
    started = time.monotonic()
    try:
        result = STEPS[name](10**12)
    except KeyboardInterrupt:  # a machine so slow that there was nothing to return
        stopped = "interrupt"
    else:
        stopped = result.status if isinstance(result, mf.DescentResult) else result.stopped_by
    finally:
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        timer.join()
    assert set(np.atleast_1d(stopped)) <= {"interrupted", "interrupt"}
    assert time.monotonic() - started < 5
    assert largest < 64 * 2**20
