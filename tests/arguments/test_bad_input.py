"""Every argument of every public entry given wrongly: one sentence, and the process lives on."""

import numpy as np
import pytest
from refusals import assert_refused

import metaopt_fast as mf

N_SAMPLES, N_FEATURES = 6, 3
X = np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES))
Y = np.array([0, 1, 0, 1, 1, 0])


def replaced(array, value):
    """The array as a list of lists, with one entry replaced."""
    copy = np.array(array, object)
    copy[(-1,) * copy.ndim] = value
    return copy.tolist()


def not_numbers(array):
    """What no array of numbers may be, in the shape of `array`."""
    array = np.asarray(array, float)
    return {
        "string": "abc",
        "bytes": b"abc",
        "number": 3.0,
        "dict": {"a": 1},
        "set": {1, 2},
        "function": len,
        "class": float,
        "empty": [],
        "strings": array.astype(str),
        "list of strings": array.astype(str).tolist(),
        "objects": np.full(array.shape, object()),
        "complex": array.astype(complex),
        "dates": array.astype(int).astype("datetime64[s]"),
        "spans of time": array.astype(int).astype("timedelta64[s]"),
        "records": np.zeros(array.shape, [("a", float)]),
        "huge integer": replaced(array, 10**400),
        "one None": replaced(array, None),
        "one string": replaced(array, "1"),
        "ragged": [[1.0], [1.0, 2.0]],
        "masked": np.ma.masked_array(array, np.ones(array.shape, bool)),
        "one dimension more": array[..., None],
        "one dimension less": array[0] if array.ndim > 1 else array[0] * 1.0,
        "empty array": array[:0],
    }


def not_finite(array):
    return {
        "NaN": replaced(array, np.nan),
        "inf": replaced(array, np.inf),
        "-inf": replaced(array, -np.inf),
        "beyond float64": np.asarray(array, np.longdouble) * np.longdouble("1e4000"),
    }


NOT_INTEGERS = {
    "None": None,
    "bool": True,
    "float": 1.5,
    "whole float": 2.0,
    "NaN": np.nan,
    "string": "2",
    "list": [1],
    "array": np.array([1, 2]),
    "complex": 1j,
    "negative": -3,
    "2**70": 2**70,
}
NOT_NUMBERS = {
    "None": None,
    "bool": True,
    "string": "1",
    "complex": 1j,
    "list": [1.0],
    "array": np.array([1.0, 2.0]),
    "NaN": np.nan,
    "inf": np.inf,
    "huge integer": 10**400,
}
NOT_THREADS = {key: NOT_INTEGERS[key] for key in NOT_INTEGERS if key != "None"} | {
    "0": 0,
    "1025": 1025,
    "10**9": 10**9,
}
NOT_A_BOOL = {
    "None": None,
    "1": 1,
    "string": "yes",
    "list": [True],
    "array": np.array([True, False]),
}


def cases(**wrong):
    """Parameters (argument, value) for each name of an argument and each of its wrong values."""
    return pytest.mark.parametrize(
        ("argument", "value"),
        [
            pytest.param(argument, value, id=f"{argument}-{label}")
            for argument, values in wrong.items()
            for label, value in values.items()
        ],
    )


# ---------------------------------------------------------------------------------- LogisticLoss


# Labels are also these; one axis of length 1 beside the rows is no fault of y.
LABELS = ("strings", "list of strings", "huge integer", "one dimension more")


@cases(
    X=not_numbers(X)
    | not_finite(X)
    | {
        "None": None,
        "a row more": np.vstack([X, X[:1]]),
        "a row less": X[1:],
        "no columns": X[:, :0],
        "no rows": X[:0],
    },
    y={label: value for label, value in not_numbers(Y).items() if label not in LABELS}
    | not_finite(Y)
    | {
        "None": None,
        "a row more": [*Y, 1],
        "a row less": Y[1:],
        "one class of 0": Y * 0,
        "one class of 1": Y * 0 + 1,
        "three classes": [0, 1, 2, 0, 1, 2],
        "three signs": [0, 1, -1, 0, 1, -1],
        "three strings": ["a", "b", "c", "a", "b", "c"],
        "a huge third": [0, 1, 10**400, 0, 1, 0],
        "two columns": np.column_stack([Y, Y]),
        "many": np.arange(6),
    },
    sample_weight=not_numbers(Y)
    | not_finite(Y)
    | {
        "a row more": [*Y, 1],
        "a row less": Y[1:],
        "one negative": [1, 1, 1, 1, 1, -1e-300],
        "all zero": np.zeros(6),
        "all negative": -np.ones(6),
    },
    l2=NOT_NUMBERS | {"negative": -1e-300},
    fit_intercept=NOT_A_BOOL,
    dtype={
        "None": None,
        "float16": "float16",
        "int": int,
        "complex": complex,
        "unknown": "abc",
        "empty": "",
        "number": 3,
        "list": [1],
        "array": X,
        "records": [("a", float)],
        "longdouble": np.longdouble if np.longdouble != np.float64 else "float16",
    },
    n_threads=NOT_THREADS,
)
def test_logistic_loss_refuses(argument, value):
    assert_refused(mf.LogisticLoss, **{"X": X, "y": Y, argument: value})


@pytest.mark.sanitized
def test_logistic_loss_refuses_numbers_beyond_float32():
    assert_refused(mf.LogisticLoss, replaced(X, 1e39), Y, dtype="float32")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logistic_loss_refuses_bad_numbers_in_rows_of_weight_zero(bad):
    assert_refused(mf.LogisticLoss, replaced(X, bad), Y, [1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("row", [0, 4095, 4096, 9999])
def test_an_error_of_X_names_row_and_column(row):
    rows = np.zeros((10_000, 2))
    rows[row, 1] = np.nan
    with pytest.raises(ValueError, match=f"row {row}, column 1"):
        mf.LogisticLoss(rows, np.arange(10_000) % 2)


def objective(**options):
    return mf.LogisticLoss(X, Y, **options)


THETA = np.arange(3.0)
THETAS = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("method", ["loss", "gradient", "loss_gradient"])
@cases(
    theta=not_numbers(THETA)
    | not_finite(THETA)
    | {"None": None, "one more": [0, 0, 0, 0], "one less": [0, 0]}
)
def test_methods_of_one_theta_refuse(method, argument, value):
    assert_refused(getattr(objective(), method), value)


@pytest.mark.parametrize("method", ["batch_loss", "batch_loss_gradient"])
@cases(
    thetas=not_numbers(THETAS)
    | not_finite(THETAS)
    | {
        "None": None,
        "a column more": np.zeros((4, 4)),
        "a column less": np.zeros((4, 2)),
        "transposed": np.zeros((3, 4)),
        "no rows": np.zeros((0, 3)),
        "no columns": np.zeros((4, 0)),
    }
)
def test_methods_of_many_thetas_refuse(method, argument, value):
    assert_refused(getattr(objective(), method), value)


def test_thetas_without_the_intercept_are_refused_by_name():
    with pytest.raises(ValueError, match=r"3 columns.*4 parameters.*3 features and the intercept"):
        objective(fit_intercept=True).batch_loss(THETAS)


def test_a_theta_that_is_not_finite_in_the_last_of_many_is_refused():
    thetas = np.zeros((5000, 3))
    thetas[4999, 2] = np.nan
    assert_refused(objective().batch_loss, thetas)
    assert_refused(objective().batch_loss_gradient, thetas)


@pytest.mark.parametrize("method", ["batch_loss", "batch_loss_gradient"])
def test_thetas_beyond_float32_are_refused(method):
    assert_refused(getattr(objective(dtype="float32"), method), [[0.0, 1e39, 0.0]])


NOT_SEEDS = NOT_INTEGERS | {"2**64": 2**64}
NOT_STARTS = NOT_INTEGERS | {"2**63": 2**63}
NOT_COUNTS = NOT_INTEGERS | {"0": 0, "2**63": 2**63}
NOT_SAMPLERS = {"None": None, "string": "Normal", "number": 3, "class": mf.Normal}


@cases(
    sampler=NOT_SAMPLERS | {"of another dimension": mf.Normal([0.0, 0.0])},
    seed=NOT_SEEDS,
    start=NOT_STARTS,
    count=NOT_COUNTS,
    n_threads=NOT_THREADS,
)
def test_sampled_loss_refuses(argument, value):
    good = {"sampler": mf.Normal(), "seed": 0, "start": 0, "count": 5}
    assert_refused(objective().sampled_loss, **{**good, argument: value})


def test_sampled_loss_refuses_candidates_beyond_the_last():
    assert_refused(objective().sampled_loss, mf.Normal(), 0, 2**63 - 3, 5)


def test_sampled_loss_refuses_draws_beyond_float32():
    sampler = mf.Uniform(1e39, 2e39)
    assert_refused(objective(dtype="float32").sampled_loss, sampler, 0, 0, 5)


@cases(n_threads=NOT_THREADS)
def test_with_threads_refuses(argument, value):
    assert_refused(objective().with_threads, value)


@cases(l2=NOT_NUMBERS | {"negative": -1e-300})
def test_with_l2_refuses(argument, value):
    assert_refused(objective().with_l2, value)


# -------------------------------------------------------------------------------------- samplers

NOT_PARAMETERS = {
    "None": None,
    "bool": True,
    "string": "1",
    "strings": ["1", "2"],
    "complex": 1j,
    "object": object(),
    "objects": np.array([1.0, 2.0], object),
    "empty": [],
    "two dimensions": [[1.0, 2.0]],
    "NaN": np.nan,
    "inf": np.inf,
    "one NaN": [1.0, np.nan],
    "huge integer": 10**400,
    "one huge integer": [1, 10**400],
    "ragged": [[1.0], [1.0, 2.0]],
}


@cases(
    loc=NOT_PARAMETERS | {"another length": [0.0, 0.0]},
    scale=NOT_PARAMETERS
    | {"0": 0.0, "negative": -1.0, "one zero": [1, 0, 1], "another length": [1.0, 1.0]},
)
def test_normal_refuses(argument, value):
    assert_refused(mf.Normal, **{"loc": [0.0, 0.0, 0.0], "scale": [1.0, 1.0, 1.0], argument: value})


@cases(
    low=NOT_PARAMETERS
    | {"high": 5.0, "above high": 6.0, "too far": -1.7e308, "one high": [0, 5, 0]},
    high=NOT_PARAMETERS | {"low": 0.0, "below low": -1.0, "another length": [1.0, 1.0]},
)
def test_uniform_refuses(argument, value):
    good = {"low": [0.0, 0.0, 0.0], "high": [5.0, 5.0, 1.7e308]}
    assert_refused(mf.Uniform, **{**good, argument: value})


@cases(
    low=NOT_PARAMETERS
    | {"above high": 6, "half": 0.5, "one half": [0, 0.5, 0], "-2**40": -(2**40)},
    high=NOT_PARAMETERS | {"below low": -1, "half": 4.5, "another length": [5, 5], "2**40": 2**40},
)
def test_integers_refuse(argument, value):
    assert_refused(mf.Integers, **{"low": [0, 0, 0], "high": [5, 5, 5], argument: value})


@pytest.mark.parametrize("sampler", [mf.Normal(), mf.Uniform(), mf.Integers()], ids=repr)
@cases(
    seed=NOT_SEEDS,
    start=NOT_STARTS,
    count=NOT_COUNTS | {"2**62": 2**62},
    n_params=NOT_COUNTS | {"2**62": 2**62},
)
def test_sample_refuses(sampler, argument, value):
    good = {"seed": 0, "start": 0, "count": 5, "n_params": 3}
    assert_refused(sampler.sample, **{**good, argument: value})


def test_sample_refuses_another_number_of_parameters_and_candidates_beyond_the_last():
    assert_refused(mf.Normal([0.0, 1.0]).sample, 0, 0, 5, 3)
    assert_refused(mf.Uniform(0.0, [1.0, 1.0]).sample, 0, 0, 5, 1)
    assert_refused(mf.Normal().sample, 0, 2**63 - 3, 5, 3)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda start, count: mf.Normal().sample(0, start, count, 3), "count"),
        (lambda start, count: objective().sampled_loss(mf.Normal(), 0, start, count), "count"),
        (lambda start, count: mf.bootstrap_weights(5, count, start=start), "start"),
        (lambda start, count: mf.permuted_labels(Y, count, start=start), "start"),
    ],
)
def test_the_last_of_all_numbers_may_be_asked_for_and_none_after_it(call, name):
    last = 2**63 - 2
    assert len(call(last - 1, 2)) == 2
    with pytest.raises(ValueError, match=rf"^{name} is \d+: pass an integer from [01] to \d+\.$"):
        call(last - 1, 3)


# ---------------------------------------------------------------------------------- random_search


class NoParameters:
    def batch_loss(self, thetas):
        return thetas[:, 0]


class WrongLosses:
    """An objective that returns what it was told to."""

    n_params = 3

    def __init__(self, losses):
        self.losses = losses

    def batch_loss(self, thetas):
        return self.losses


@cases(
    objective={
        "None": None,
        "string": "loss",
        "array": X,
        "object": object(),
        "function": len,
        "no n_params": NoParameters(),
        "losses None": WrongLosses(None),
        "losses a number": WrongLosses(1.0),
        "losses one less": WrongLosses(np.zeros(19)),
        "losses a column": WrongLosses(np.zeros((20, 1))),
        "losses of strings": WrongLosses(["a"] * 20),
        "losses complex": WrongLosses(np.zeros(20, complex)),
    },
    sampler=NOT_SAMPLERS
    | {
        "of another dimension": mf.Normal([0.0, 0.0]),
        "array": THETAS,
        "returns None": lambda start, count: None,
        "returns strings": lambda start, count: np.full((count, 3), "a"),
        "returns NaN": lambda start, count: np.full((count, 3), np.nan),
        "returns a column more": lambda start, count: np.zeros((count, 4)),
        "returns a row less": lambda start, count: np.zeros((count - 1, 3)),
    },
    n_candidates=NOT_COUNTS,
    seed=NOT_SEEDS,
    top_k=NOT_COUNTS | {"more than candidates": 21},
    start=NOT_STARTS | {"near the last": 2**63 - 3},
    prune=NOT_A_BOOL,
    executor={"string": "processes", "number": 2, "object": object()},
    progress={"None": None, "string": "maybe", "number": 3, "array": np.array([True, False])},
    callback={"string": "print", "number": 3},
    time_budget={key: NOT_NUMBERS[key] for key in NOT_NUMBERS if key != "None"}
    | {"0": 0.0, "negative": -1.0},
    n_threads=NOT_THREADS,
)
def test_random_search_refuses(argument, value):
    good = {"objective": objective(), "sampler": mf.Normal(), "n_candidates": 20}
    assert_refused(mf.random_search, **{**good, argument: value})


# -------------------------------------------------------------------------------- gradient_descent


@cases(
    objective={"None": None, "string": "loss", "array": X, "object": object()},
    # A function is a sampler of starts.
    theta0={key: value for key, value in not_numbers(THETA).items() if key != "function"}
    | not_finite(THETA)
    | {"one more": [0] * 4, "one less": [0, 0]},
    learning_rate={key: NOT_NUMBERS[key] for key in NOT_NUMBERS if key != "None"}
    | {"0": 0.0, "negative": -1.0},
    method={"None": None, "unknown": "sgd", "number": 3, "list": ["gd"]},
    max_iter={key: NOT_INTEGERS[key] for key in NOT_INTEGERS if key != "2**70"},
    tol=NOT_NUMBERS | {"negative": -1e-300},
)
def test_gradient_descent_refuses(argument, value):
    good = {"objective": objective(), "theta0": THETA}
    assert_refused(mf.gradient_descent, **{**good, argument: value})


@pytest.mark.parametrize("value", [1, 1.0, "text", [1], object(), np.int64(1), Exception()])
def test_the_type_of_what_was_given_is_named_without_an_article(value):
    with pytest.raises(TypeError) as caught:
        mf.random_search(mf.LogisticLoss(X, Y), mf.Normal(), 10, executor=value)
    assert f" (of type {type(value).__name__}): pass " in str(caught.value)
