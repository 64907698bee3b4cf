"""Entries of the fuzzer: losses, counts and areas, and how rows are made ready."""

import numpy as np
from fuzz_inputs import LOSSES, array, labels, number, one_of, problem

import metaopt_fast as mf
from metaopt_fast.objectives import auc, counts


def losses(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options |= {"l2": abs(number(data)), "dtype": data.PickValueInList(["float32", "float64"])}
    made = data.PickValueInList(LOSSES)(X, y, **options)
    if data.ConsumeIntInRange(0, 3) == 0:
        return made.pruned_loss(mf.Normal(), 0, 0, data.ConsumeIntInRange(0, 40), number(data))
    names = ["loss", "gradient", "loss_gradient", "batch_loss", "batch_loss_gradient"]
    return one_of(data, made, names)


def confusion(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["thresholds"] = array(data, data.ConsumeIntInRange(1, 4))
    if data.ConsumeBool():
        options["groups"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    return one_of(data, counts.ConfusionCounts(X, y, **options), ["counts", "batch_counts"])


def areas(data):
    X, y, options = problem(data)
    return one_of(data, auc.AUCObjective(X, y, **options), ["auc", "batch_auc", "batch_loss"])


def rows(data):
    X, y, options = problem(data)
    weights = options.get("sample_weight")
    way = data.ConsumeIntInRange(0, 2)
    if way == 0:
        return tuple(mf.standardize(X, weights))[:3]
    if way == 1:
        return mf.merge_duplicates(X, y, weights)[2]
    n = data.ConsumeIntInRange(0, 4)
    batches = [(X, y), (array(data, n, np.atleast_2d(X).shape[-1]), labels(data, n))]
    return mf.collect_batches(batches).sample_weight


ENTRIES = [losses, confusion, areas, rows]
