"""Learning rates that change from step to step: optax's formulas, and the same bits in company."""

import math
import pickle

import numpy as np
import pytest
from descents import logistic
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.reference import descent as reference

SCHEDULES = {
    "cosine": mf.cosine_decay(0.3, 5, alpha=0.1),
    "exponential": mf.exponential_decay(0.3, 2, 0.5),
    "piecewise": mf.piecewise_constant(0.3, {2: 0.5, 3: 0.1}),
}
counts = st.integers(0, 3000)
numbers = st.floats(1e-6, 1e3)


@given(counts, numbers, st.integers(1, 2000), st.floats(0, 1), st.floats(0, 4))
def test_the_cosine_is_that_of_the_reference(count, first, steps, alpha, exponent):
    found = mf.cosine_decay(first, steps, alpha, exponent)(count)
    wanted = reference.cosine_decay(first, steps, alpha, exponent)(count)
    # The reference loses the digits of 1 + cos near its end, where 1e-16 to a small power is large.
    assert found == pytest.approx(wanted, rel=1e-12, abs=first * 1e-16 ** min(exponent or 1, 1))
    assert 0 <= found <= first * (1 + 1e-15)


@given(
    counts,
    numbers,
    st.integers(1, 500),
    st.floats(0.5, 1.5),
    st.integers(0, 100),
    st.booleans(),
    st.none() | numbers,
)
def test_exponential_decay_is_that_of_the_reference(
    count, first, steps, decay_rate, begin, staircase, end
):
    arguments = (first, steps, decay_rate, begin, staircase, end)
    wanted = reference.exponential_decay(*arguments)(min(count, 500))
    assert mf.exponential_decay(*arguments)(min(count, 500)) == pytest.approx(wanted, rel=1e-12)


@given(counts, numbers, st.dictionaries(st.integers(0, 3000), st.floats(0, 2), max_size=6))
def test_piecewise_constant_is_that_of_the_reference(count, first, scales):
    wanted = reference.piecewise_constant(first, scales)(count)
    assert mf.piecewise_constant(first, scales)(count) == pytest.approx(wanted, rel=1e-14)


def test_values_are_those_that_optax_documents():
    rate = mf.piecewise_constant(1.0, {100: 0.1, 200: 0.01})
    assert [rate(50), rate(150)] == [1.0, 0.1]
    assert rate(250) == pytest.approx(0.001, rel=1e-15)
    assert rate(100) == 0.1  # from the boundary on
    halved = mf.exponential_decay(1.0, 10, 0.5, transition_begin=5, staircase=True)
    assert [halved(t) for t in (0, 5, 14, 15, 24, 25)] == [1, 1, 1, 0.5, 0.5, 0.25]
    assert mf.exponential_decay(1.0, 1, 0.5, end_value=0.2)(9) == 0.2
    assert mf.exponential_decay(1.0, 1, 2.0, end_value=3.0)(9) == 3.0
    assert mf.piecewise_constant(0.5)(10**9) == 0.5


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000, 10**9])
def test_the_cosine_begins_and_ends_exactly(steps):
    rate = mf.cosine_decay(0.7, steps, alpha=0.25)
    assert rate(0) == 0.7
    assert rate(steps) == rate(steps + 1) == 0.7 * 0.25
    assert mf.cosine_decay(0.7, 2 * steps)(steps) == pytest.approx(0.35, rel=1e-15)


@given(st.floats(0, 1))
def test_a_quarter_of_the_sine_is_within_two_units(u):
    from metaopt_fast.descent.schedules import _quarter_sine

    wanted = math.sin(math.pi / 2 * u)
    assert abs(_quarter_sine(u) - wanted) <= 2 * math.ulp(wanted)


def test_a_schedule_of_many_has_a_rate_for_each():
    first = np.array([0.1, 0.2])
    rate = mf.exponential_decay(first, 10, 0.5)
    first[:] = 9
    np.testing.assert_array_equal(rate(10), [0.05, 0.1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rate))(10), [0.05, 0.1])
    assert mf.exponential_decay(1e300, 1, 1e300)(1) == math.inf


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("method", ["gd", "momentum", "adagrad", "rmsprop", "adamw"])
def test_steps_are_those_of_the_reference(method, name):
    objective, schedule = logistic(), SCHEDULES[name]
    run = mf.gradient_descent(objective, learning_rate=schedule, method=method, max_iter=6, tol=0.0)
    steps = reference.descend(
        getattr(reference, method), objective, np.zeros(5), 6, learning_rate=schedule
    )
    np.testing.assert_allclose(run.theta, steps[-1], rtol=1e-10)
    assert run.learning_rate == schedule(5)
    start = mf.gradient_descent(objective, learning_rate=schedule, method=method, max_iter=0)
    assert start.learning_rate == 0.3


def test_the_velocity_of_nesterov_is_that_of_gradients():
    objective, schedule = logistic(), SCHEDULES["exponential"]
    theta, velocity = np.zeros(5), np.zeros(5)
    for t in range(6):
        gradient = objective.gradient(theta)
        velocity = 0.5 * velocity + gradient
        theta = theta - schedule(t) * (gradient + 0.5 * velocity)
    run = mf.gradient_descent(
        objective, learning_rate=schedule, method="nesterov", momentum=0.5, max_iter=6, tol=0.0
    )
    np.testing.assert_allclose(run.theta, theta, rtol=1e-10)


def test_a_minibatch_is_a_step():
    rate = mf.piecewise_constant(0.5, {4: 0.0})
    options = {"learning_rate": rate, "batch_size": 15, "seed": 3, "tol": 0.0}
    one = mf.gradient_descent(logistic(), max_iter=1, **options)
    more = mf.gradient_descent(logistic(), max_iter=5, **options)
    assert one.learning_rate == 0.5
    assert more.learning_rate == 0
    assert more.theta.tobytes() == one.theta.tobytes()


@pytest.mark.parametrize("method", ["gd", "nesterov", "adam"])
def test_each_of_many_has_its_rates_when_others_have_left(method):
    first = np.array([0.1, 30.0, 0.3, 1.0, 1e-3])
    starts = np.random.default_rng(0).normal(size=(5, 5))

    def descend(start, rates):
        schedule = mf.exponential_decay(rates, 10, 0.9)
        return mf.gradient_descent(
            logistic(),
            start,
            learning_rate=schedule,
            method=method,
            max_iter=60,
            patience=4,
            tol=2e-2,
        )

    many = descend(starts, first)
    assert len(set(many.n_iter)) > 2
    for k in range(5):
        one = descend(starts[k], first[k])
        assert many[k].trace.tobytes() == one.trace.tobytes()
        assert many[k].theta.tobytes() == one.theta.tobytes()
        assert many[k].learning_rate == one.learning_rate


REFUSED = {
    "init_value has 0": lambda: mf.cosine_decay(0.0, 10),
    "init_value is None": lambda: mf.cosine_decay(None, 10),
    "init_value has -1": lambda: mf.cosine_decay([0.1, -1.0], 10),
    "decay_steps is 0": lambda: mf.cosine_decay(0.1, 0),
    "alpha is -1": lambda: mf.cosine_decay(0.1, 10, -1.0),
    "exponent is nan": lambda: mf.cosine_decay(0.1, 10, 0.0, math.nan),
    "transition_steps is 1.5": lambda: mf.exponential_decay(0.1, 1.5, 0.5),
    "decay_rate is 0.0": lambda: mf.exponential_decay(0.1, 1, 0.0),
    "transition_begin is -1": lambda: mf.exponential_decay(0.1, 1, 0.5, -1),
    "staircase is 1": lambda: mf.exponential_decay(0.1, 1, 0.5, 0, 1),
    "end_value is -1": lambda: mf.exponential_decay(0.1, 1, 0.5, end_value=-1.0),
    "boundaries_and_scales is 3": lambda: mf.piecewise_constant(0.1, 3),
    "a boundary of boundaries_and_scales is 1.5": lambda: mf.piecewise_constant(0.1, {1.5: 0.1}),
    r"boundaries_and_scales\[3\] is -1": lambda: mf.piecewise_constant(0.1, {3: -1.0}),
    "count is -1": lambda: mf.cosine_decay(0.1, 10)(-1),
    "'lbfgs' searches for the length": lambda: mf.gradient_descent(
        logistic(), method="lbfgs", learning_rate=mf.cosine_decay(0.1, 10)
    ),
    "init_value has 2 entries": lambda: mf.gradient_descent(
        logistic(), np.zeros((3, 5)), learning_rate=mf.cosine_decay([0.1, 0.2], 10)
    ),
    "init_value is an array": lambda: mf.gradient_descent(
        logistic(), np.zeros(5), learning_rate=mf.cosine_decay([0.1, 0.2], 10)
    ),
}


@pytest.mark.parametrize("match", REFUSED)
def test_what_is_no_schedule_is_refused_in_a_sentence(match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        REFUSED[match]()
    assert str(caught.value).endswith(".") and ": " in str(caught.value)
