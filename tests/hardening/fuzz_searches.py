"""Entries of the fuzzer: searches, evolutions, descents, races, and scorecards."""

from fuzz_inputs import array, chosen, labels, number, objective, problem

import metaopt_fast as mf
from metaopt_fast.models import scorecard
from metaopt_fast.objectives import counts


def sampler(data, n):
    """A sampler of mostly n parameters."""
    kind = data.ConsumeIntInRange(0, 3)
    if kind == 0:
        return mf.Normal(array(data, n), array(data, n))
    if kind == 1:
        return mf.Uniform(array(data, n), array(data, n))
    if kind == 2:
        given = chosen(data, max_nonzero=lambda: data.ConsumeIntInRange(0, 6))
        return mf.Integers(array(data, n), array(data, n), **given)
    end = data.ConsumeIntInRange(0, n + 1)
    low, high = data.ConsumeIntInRange(-9, 9), data.ConsumeIntInRange(-9, 9)
    return mf.Mixture([(slice(0, end), mf.Normal()), (slice(end, n), mf.Integers(low, high))])


def searching(data):
    made = objective(data)
    if data.ConsumeIntInRange(0, 3) == 0:
        X, y, options = problem(data)
        confusion = counts.ConfusionCounts(X, y, groups=labels(data, len(y), 2), **options)
        metric = data.PickValueInList(["error", "balanced_error", "f1", "mcc"])
        limits = chosen(data, max_gap=lambda: number(data), penalty=lambda: number(data))
        made = mf.CountObjective(confusion, metric, **limits)
    asked = {"seed": data.ConsumeInt(4), "top_k": data.ConsumeIntInRange(1, 20)}
    asked["prune"] = data.ConsumeBool()
    n_candidates = data.ConsumeIntInRange(1, 3000)
    found = mf.random_search(made, sampler(data, made.n_params), n_candidates, **asked)
    repr(found)
    return found.top_thetas, found.top["loss"]


def enumerating(data):
    made = objective(data)
    asked = chosen(
        data,
        max_nonzero=lambda: data.ConsumeIntInRange(0, 6),
        free=lambda: labels(data, data.ConsumeIntInRange(0, 2), 5),
        top_k=lambda: data.ConsumeIntInRange(1, 20),
    )
    ends = [array(data, made.n_params) if data.ConsumeBool() else end for end in (-1, 1)]
    found = mf.enumerate_search(made, *ends, limit=10_000, **asked)
    return found.top_thetas, found.top["loss"]


def evolving(data):
    made = objective(data)
    methods = ["cem", "snes", "ars", "shrinking", "integer_local_search"]
    asked = {"method": data.PickValueInList(methods), "seed": data.ConsumeInt(4)}
    asked["population"] = data.ConsumeIntInRange(1, 40)
    asked["generations"] = data.ConsumeIntInRange(1, 12)
    options = ["elite", "smoothing", "noise", "learning_rate", "scale_learning_rate"]
    options += ["exploration", "shrink", "shrink_stuck", "scale"]
    asked |= {name: number(data) for name in options if data.ConsumeIntInRange(0, 7) == 0}
    asked |= chosen(data, patience=lambda: data.ConsumeIntInRange(0, 5))
    start = array(data, made.n_params) if data.ConsumeBool() else sampler(data, made.n_params)
    found = mf.evolve(made, start, **asked)
    repr(found)
    return found.top_thetas, found.top["loss"]


METHODS = ["gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs"]


def schedule(data):
    first = number(data)
    kind = data.ConsumeIntInRange(0, 2)
    if kind == 0:
        steps = data.ConsumeIntInRange(0, 20)
        return mf.cosine_decay(first, steps, **chosen(data, alpha=lambda: number(data)))
    if kind == 1:
        given = chosen(
            data,
            transition_begin=lambda: data.ConsumeIntInRange(0, 5),
            staircase=data.ConsumeBool,
            end_value=lambda: number(data),
        )
        return mf.exponential_decay(first, data.ConsumeIntInRange(0, 5), number(data), **given)
    return mf.piecewise_constant(first, {data.ConsumeIntInRange(0, 9): number(data)})


def descending(data):
    made = objective(data)
    asked = {"method": data.PickValueInList(METHODS), "max_iter": data.ConsumeIntInRange(0, 30)}
    asked |= chosen(
        data,
        learning_rate=lambda: schedule(data) if data.ConsumeBool() else number(data),
        batch_size=lambda: data.ConsumeIntInRange(1, 9),
        l2=lambda: array(data, data.ConsumeIntInRange(1, 4)),
        patience=lambda: data.ConsumeIntInRange(0, 5),
        tol=lambda: number(data),
    )
    options = ["momentum", "alpha", "eps", "weight_decay", "history_size"]
    asked |= {name: number(data) for name in options if data.ConsumeIntInRange(0, 7) == 0}
    if data.ConsumeBool():
        asked["validation"] = objective(data)
    start = None
    if data.ConsumeBool():
        start = array(data, data.ConsumeIntInRange(1, 9), made.n_params)
    elif data.ConsumeBool():
        start, asked["n_starts"] = mf.Normal(), data.ConsumeIntInRange(1, 9)
    found = mf.gradient_descent(made, start, **asked)
    repr(found)
    return found.theta


HYPER = ["learning_rate", "l2", "momentum", "beta1", "eps", "weight_decay", "init_value"]


def racing(data):
    made, judge = objective(data), objective(data)
    samplers = {}
    for name in HYPER:
        if data.ConsumeIntInRange(0, 2) == 0:
            ends = number(data), number(data)
            kind = data.PickValueInList([mf.LogUniform, mf.Uniform, mf.Normal])
            samplers[name] = kind(*ends)
    asked = {"method": data.PickValueInList(METHODS), "max_iter": data.ConsumeIntInRange(1, 30)}
    asked |= chosen(
        data,
        racing=lambda: data.PickValueInList(["halving", "hyperband"]),
        reduction=lambda: data.ConsumeIntInRange(1, 4),
        n_rungs=lambda: data.ConsumeIntInRange(0, 4),
        batch=lambda: data.ConsumeIntInRange(1, 9),
        batch_size=lambda: data.ConsumeIntInRange(1, 9),
        learning_rate=lambda: schedule(data),
    )
    asked |= {"early_stopping": data.ConsumeBool(), "top_k": data.ConsumeIntInRange(1, 5)}
    n_candidates = data.ConsumeIntInRange(1, 30)
    found = mf.search_descents(made, samplers, n_candidates, validation=judge, **asked)
    repr(found)
    return found.theta, found.validation_loss


def card(data):
    n = data.ConsumeIntInRange(1, 5)
    names = [data.ConsumeUnicode(6) for _ in range(n)] if data.ConsumeBool() else None
    made = scorecard.Scorecard.from_theta(array(data, n), names)
    made.to_text()
    return made.score(array(data, data.ConsumeIntInRange(0, 5), n))


ENTRIES = [searching, enumerating, evolving, descending, racing, card]
