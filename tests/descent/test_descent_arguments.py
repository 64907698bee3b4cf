"""Every argument of a descent given wrongly: one sentence."""

import math

import numpy as np
import pytest
from descents import KnownQuadratic, Quadratic, logistic

import metaopt_fast as mf

# ---------------------------------------------------------------------------------- bad arguments


def refused(match, *arguments, objective=None, **options):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        mf.gradient_descent(logistic() if objective is None else objective, *arguments, **options)
    message = str(caught.value)
    assert message.endswith(".") and ": " in message and "\n" not in message


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("learning_rate", "gd"),
        ("l2", "gd"),
        ("momentum", "momentum"),
        ("momentum", "nesterov"),
        ("alpha", "rmsprop"),
        ("eps", "adam"),
        ("weight_decay", "adamw"),
    ],
)
@pytest.mark.parametrize(
    "starts", [None, np.zeros(5), np.zeros((3, 5))], ids=["no", "one", "three"]
)
@pytest.mark.parametrize(
    "value",
    [
        -1.0,
        math.nan,
        math.inf,
        "1",
        True,
        1j,
        [],
        [[0.5]],
        [0.5, -0.5, 0.5],
        [0.5, "a", 0.5],
        {0.5},
    ],
    ids=repr,
)
def test_numbers_of_a_method_that_are_none_are_refused(name, method, starts, value):
    refused(name, starts, method=method, **{name: value})


@pytest.mark.parametrize("name", ["learning_rate", "l2", "momentum"])
def test_numbers_for_more_or_fewer_descents_are_refused(name):
    for values in ([0.1, 0.2], [0.1] * 4):
        refused(name, np.zeros((3, 5)), method="momentum", **{name: values})
    refused(name, np.zeros(5), method="momentum", **{name: [0.1]})
    refused("l2 has 2", learning_rate=[0.1, 0.2, 0.3], l2=[1.0, 2.0])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gd", {"momentum": 0.9}),
        ("momentum", {"restart": True}),
        ("nesterov", {"betas": (0.9, 0.99)}),
        ("adam", {"momentum": 0.9}),
        ("adam", {"weight_decay": 0.1}),
        ("adagrad", {"alpha": 0.9}),
        ("lbfgs", {"eps": 1e-8}),
        ("adam", {"history_size": 5}),
    ],
)
def test_arguments_that_a_method_does_not_use_are_refused(method, options):
    refused("does not use it", method=method, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "momentum", "momentum": 1.0}, "below 1"),
        ({"method": "rmsprop", "alpha": 1.0}, "below 1"),
        ({"method": "adam", "betas": (0.9, 1.0)}, r"betas\[1\]"),
        ({"method": "adam", "betas": (0.9, 1.5)}, r"betas\[1\]"),
        ({"method": "adam", "betas": (-0.1, 0.9)}, r"betas\[0\]"),
        ({"method": "adam", "betas": 0.9}, "betas"),
        ({"method": "adam", "betas": (0.9,)}, "betas"),
        ({"method": "adam", "betas": (0.9, None)}, "betas"),
        ({"method": "adam", "eps": 0.0}, "eps"),
        ({"method": "nesterov", "restart": 1}, "restart"),
        ({"method": "lbfgs", "history_size": 0}, "history_size"),
        ({"method": "lbfgs", "history_size": 2.0}, "history_size"),
        ({"method": "lbfgs", "batch_size": 8}, "lbfgs"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 61}, "batch_size"),
        ({"batch_size": 8.0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"patience": 0}, "patience"),
        ({"patience": 1.5}, "patience"),
        ({"min_delta": -1.0}, "min_delta"),
        ({"min_delta": math.nan}, "min_delta"),
        ({"theta0": np.zeros((2, 4))}, r"\(K, 5\)"),
        ({"theta0": np.zeros((2, 6))}, r"\(K, 5\)"),
        ({"theta0": np.zeros((0, 5))}, "theta0 is empty"),
        ({"theta0": np.zeros((1, 2, 5))}, "theta0"),
        ({"theta0": [[0, 0, 0, 0, math.nan]]}, "not finite"),
        ({"n_starts": 3}, "n_starts is 3, but theta0 is None: pass a sampler as theta0, or leave"),
        ({"n_starts": 3, "theta0": np.zeros(5)}, "n_starts is 3, but theta0 is an array of shape"),
        ({"n_starts": 0, "theta0": mf.Normal()}, "n_starts is 0: pass an integer from 1 to"),
        ({"n_starts": 2.0, "theta0": mf.Normal()}, "n_starts is 2.0"),
        ({"n_starts": 3, "theta0": mf.Normal, "seed": 1}, "n_starts is 3, but theta0 is <class"),
        ({"theta0": lambda start, count: np.zeros((count, 4))}, r"theta0\(0, 1\) returned"),
        ({"theta0": mf.Normal(np.zeros(4))}, "4"),
    ],
    ids=str,
)
def test_other_arguments_that_are_none_are_refused(options, match):
    refused(match, **options)


def test_a_method_that_needs_a_learning_rate_says_so():
    refused("pass a learning rate", objective=Quadratic([1.0]), method="momentum")
    refused("minibatches", objective=Quadratic([1.0]), batch_size=2)


def test_gradients_of_another_shape_are_refused():
    class Transposed(KnownQuadratic):
        def batch_loss_gradient(self, thetas):
            return np.zeros(len(thetas)), thetas.T

    with pytest.raises(ValueError, match=r"shape \(2, 3\): return an array of shape \(3, 2\)"):
        mf.gradient_descent(Transposed([0.0, 0.0]), np.zeros((3, 2)))
