"""Entries of the fuzzer: networks and trees, their searches, their estimators."""

import numpy as np
from fuzz_inputs import classes, labels, number, one_of, problem

import metaopt_fast as mf
import metaopt_fast.sklearn as estimating


def network(data):
    X, y, options = problem(data)
    del options["fit_intercept"]
    if data.ConsumeBool():
        options["n_classes"] = data.ConsumeIntInRange(2, 4)
    options["activation"] = data.PickValueInList(["tanh", "relu"])
    options["l2"] = abs(number(data))
    made = mf.NetworkLoss(X, y, n_hidden=data.ConsumeIntInRange(1, 3), **options)
    if data.ConsumeBool():
        starts = made.starts().sample(0, 0, data.ConsumeIntInRange(1, 9), made.n_params)
        return mf.gradient_descent(made, starts, method="adam", max_iter=9).theta
    return one_of(data, made, ["loss_gradient", "batch_loss", "batch_loss_gradient"])


def network_searches(data):
    X, y, options = classes(data) if data.ConsumeBool() else problem(data)
    asked = {"n_hidden": data.ConsumeIntInRange(1, 3), "max_iter": data.ConsumeIntInRange(1, 4)}
    asked["activation"] = data.PickValueInList(["tanh", "relu"])
    asked["n_starts"] = data.ConsumeIntInRange(1, 3)
    asked["ensemble_size"] = data.ConsumeIntInRange(1, 3)
    asked["dtype"] = data.PickValueInList(["float32", "float64"])
    asked["early_stopping"] = data.ConsumeBool()
    if data.ConsumeBool():
        asked["batch_size"] = data.ConsumeIntInRange(1, 9)
    if data.ConsumeBool():
        made = estimating.NetworkClassifier(
            random_state=0, n_threads=1, l2=abs(number(data)), **asked
        )
    else:
        asked |= {"n_iter": data.ConsumeIntInRange(1, 4), "cv": data.ConsumeIntInRange(1, 3)}
        made = estimating.NetworkSearchCV(random_state=0, n_threads=1, **asked)
    made.fit(X, y, options.get("sample_weight"))
    return made.predict_proba(X)


def trees(data):
    X, y, options = classes(data)
    options = {"n_threads": options["n_threads"], "depth": data.ConsumeIntInRange(2, 3)}
    if data.ConsumeBool():
        options["sample_weight"] = [data.ConsumeIntInRange(0, 3) for _ in y]
    asked = {"n_thresholds": data.ConsumeIntInRange(1, 5), "min_leaf": data.ConsumeIntInRange(1, 3)}
    found = mf.best_tree(X, y, **asked, **options)
    return found.counts, found.apply(X)


def many_trees(data):
    X, y, options = classes(data)
    targets = [labels(data, len(y), 2) for _ in range(data.ConsumeIntInRange(1, 3))]
    cost = {data.ConsumeIntInRange(0, 2): data.ConsumeIntInRange(-1, 9)}
    asked = {"depth": data.ConsumeIntInRange(1, 4), "n_thresholds": data.ConsumeIntInRange(1, 5)}
    if data.ConsumeBool():
        asked["class_cost"] = cost
    for found in mf.best_trees(X, targets, n_threads=options["n_threads"], **asked):
        repr(found), found.to_text(), found.to_dict()
        proba = found.model().predict_proba(np.asarray(X, float))
        assert not np.isnan(proba).any(), "NaN from a tree"
    made = estimating.BestTreeClassifier(**asked).fit(X, y)
    return made.predict_proba(X)


ENTRIES = [network, network_searches, trees, many_trees]
