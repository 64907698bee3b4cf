"""Entries of the fuzzer: models of other rows, weights, labels and tasks."""

import numpy as np
from fuzz_inputs import array, chosen, labels, number, problem

import metaopt_fast as mf
import metaopt_fast.sklearn as estimating


def tasks(data):
    X, y, options = problem(data)
    of_tasks = [data.ConsumeIntInRange(0, 2) for _ in y]
    if data.ConsumeBool():
        options["penalty_factor"] = array(data, data.ConsumeIntInRange(1, 6))
    if data.ConsumeBool():
        options["center"] = array(data, data.ConsumeIntInRange(1, 6))
    l2 = array(data, 3) if data.ConsumeBool() else abs(number(data))
    fits = mf.fit_tasks(X, y, of_tasks, l2=l2, max_iter=data.ConsumeIntInRange(1, 30), **options)
    return fits.theta


def resampled(data):
    X, y, options = problem(data)
    del options["n_threads"]
    weights = options.pop("sample_weight", None)
    if weights is not None:
        own = array(data, data.ConsumeIntInRange(1, 5), len(y))
        return mf.fit_many(X, y, l2=abs(number(data)), sample_weight=own, **options).theta
    if data.ConsumeBool():
        options["groups"] = [data.ConsumeIntInRange(0, 5) for _ in y]
    options["method"] = data.PickValueInList(["percentile", "BCa"])
    options["kind"] = data.PickValueInList(["multinomial", "poisson", "bayesian"])
    found = mf.bootstrap(X, y, l2=abs(number(data)), n_resamples=5, n_threads=1, **options)
    return found.bootstrap_distribution, found.theta


def tuned_resamples(data):
    X, y, options = problem(data)
    options.pop("sample_weight", None)
    options |= chosen(
        data,
        folds=lambda: labels(data, len(y), 2),
        groups=lambda: labels(data, len(y), 5),
        center=lambda: array(data, data.ConsumeIntInRange(1, 6)),
        penalty_factor=lambda: array(data, data.ConsumeIntInRange(1, 6)),
        confidence_level=lambda: number(data),
    )
    options["kind"] = data.PickValueInList(["multinomial", "poisson", "bayesian"])
    tune = array(data, data.ConsumeIntInRange(1, 4))
    found = mf.bootstrap(X, y, tune=tune, n_resamples=4, **options)
    repr(found)
    return found.bootstrap_distribution, found.theta


def weights(data):
    kinds = ["multinomial", "poisson", "bayesian", "subsample", "jackknife"]
    n = data.ConsumeIntInRange(1, 9)
    asked = chosen(
        data,
        kind=lambda: data.PickValueInList(kinds),
        fraction=lambda: number(data),
        groups=lambda: labels(data, n, 3),
        start=lambda: data.ConsumeInt(8),
        seed=lambda: data.ConsumeInt(8),
    )
    if data.ConsumeBool():
        return mf.bootstrap_weights(n, data.ConsumeIntInRange(0, 9), **asked)
    asked.pop("kind", None), asked.pop("fraction", None)
    return mf.permuted_labels(array(data, n), data.ConsumeIntInRange(0, 9), **asked)


def permutations(data):
    X, y, options = problem(data)
    made = estimating.LogisticRegression(l2=abs(number(data)), n_threads=options["n_threads"])
    asked = chosen(
        data,
        groups=lambda: labels(data, len(y), 3),
        scoring=lambda: data.PickValueInList(["accuracy", "roc_auc", "neg_log_loss", "f1"]),
    )
    asked |= {"cv": data.ConsumeIntInRange(1, 4), "n_permutations": data.ConsumeIntInRange(1, 5)}
    return estimating.permutation_test_score(made, X, y, **asked)


def priors(data):
    X, y, options = problem(data)
    options.pop("sample_weight", None)
    of_tasks = labels(data, len(y), 3)
    asked = {"n_support": data.ConsumeIntInRange(1, 4), "n_episodes": data.ConsumeIntInRange(1, 3)}
    asked |= {"folds": data.ConsumeIntInRange(1, 4), "max_iter": data.ConsumeIntInRange(1, 4)}
    prior = mf.learn_prior(X, y, of_tasks, **asked, **options)
    repr(prior)
    return prior.fit(X, y, of_tasks).theta


def worths(data):
    X, y, options = problem(data)
    options.pop("sample_weight", None)
    d = np.atleast_2d(X).shape[-1]
    n = data.ConsumeIntInRange(1, 5)
    judges = array(data, n, d), labels(data, n)
    asked = {"method": data.PickValueInList(["banzhaf", "shapley", "loo"]), "l2": number(data)}
    asked["utility"] = data.PickValueInList(["neg_log_loss", "accuracy"])
    if asked["method"] != "loo":
        asked["n_subsets"] = data.ConsumeIntInRange(1, 9)
    found = mf.data_values(X, y, *judges, **asked, **options)
    repr(found)
    return found.values


ENTRIES = [tasks, resampled, tuned_resamples, weights, permutations, priors, worths]
