"""Descents that held-out rows judge: the best theta by them, and when to stop."""

import math

import numpy as np
import pytest
from descents import Scripted, X, Y, logistic
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.reference import descent as reference

TRAIN, REST = np.arange(60) % 3 > 0, np.arange(60) % 3 == 0
OBJECTIVE = logistic(l2=0.0).subset(TRAIN)
HELD_OUT = logistic(l2=0.0).subset(REST)


class Judge:
    """Losses of held-out rows as told, one call after the other."""

    n_params = 2

    def __init__(self, *losses):
        self.losses = list(losses)

    def batch_loss(self, thetas):
        return np.full(len(thetas), self.losses.pop(0))


def judged(losses, **options):
    flat = [(1.0 - 1e-3 * t, [1.0, 1.0]) for t in range(len(losses))]
    options = {"learning_rate": 1.0, "max_iter": len(losses) - 1, **options}
    return mf.gradient_descent(Scripted(*flat), [0, 0], validation=Judge(*losses), **options)


@pytest.mark.long(everywhere=True)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0, 2.5]),
)
def test_the_best_and_the_end_are_those_of_the_reference(losses, patience, min_delta):
    losses = [float(loss) for loss in losses]
    run = judged(losses, patience=patience, min_delta=min_delta)
    best, n_iter = reference.best_by(losses, patience, min_delta)
    assert (run.best_iter, run.n_iter) == (best, n_iter)
    assert run.validation_loss == losses[best]
    assert run.validation_trace.tolist() == losses[: n_iter + 1]
    np.testing.assert_array_equal(run.theta, [-best, -best])
    assert run.loss == run.trace[best]
    is_plateau = (
        n_iter >= patience
        and min(losses[n_iter - patience + 1 :]) >= min(losses[: n_iter - patience + 1]) - min_delta
    )
    assert run.status == "plateau" if is_plateau else "max_iter"


def test_without_patience_the_best_is_kept_and_nothing_stops():
    run = judged([3.0, 1.0, 2.0, 2.0, 2.0])
    assert (run.status, run.n_iter, run.best_iter, run.validation_loss) == ("max_iter", 4, 1, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_of_held_out_rows_that_is_no_finite_number_is_never_the_best(bad):
    run = judged([bad, 2.0, bad, 3.0])
    assert (run.best_iter, run.validation_loss) == (1, 2.0)
    assert run.validation_trace.tolist() == [math.inf, 2.0, math.inf, 3.0]
    run = judged([bad, bad])
    assert (run.best_iter, run.validation_loss) == (0, math.inf)


def test_the_rows_that_judge_end_a_descent_before_it_overfits():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 30))
    y = rows[:, 0] + rng.normal(size=60) > 0
    whole = mf.LogisticLoss(rows, y)
    options = {"method": "adam", "learning_rate": 0.05, "max_iter": 400, "tol": 0.0}
    free = mf.gradient_descent(whole.subset(TRAIN), **options)
    run = mf.gradient_descent(
        whole.subset(TRAIN), validation=whole.subset(REST), patience=20, **options
    )
    assert (run.status, run.n_iter) == ("plateau", run.best_iter + 20)
    assert run.validation_loss == whole.subset(REST).loss(run.theta)
    assert run.loss == whole.subset(TRAIN).loss(run.theta)
    assert run.validation_loss < 0.8 * whole.subset(REST).loss(free.theta)
    assert run.trace.tobytes() == free.trace[: run.n_iter + 1].tobytes()


METHODS = {
    "gd": {},
    "momentum": {"momentum": 0.8},
    "adamw": {"weight_decay": 0.1},
    "lbfgs": {},
    "searched": {},
}


class Bowl:
    """A loss without lipschitz, so that steps are searched for."""

    n_params = 5

    def loss_gradient(self, theta):
        return float((theta**4).sum()), 4 * theta**3


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("momentum", "adamw")]
EVERYWHERE = [
    pytest.param(name, marks=pytest.mark.long(everywhere=True))
    for name in ("gd", "lbfgs", "searched")
]


@pytest.mark.parametrize("name", [*EVERYWHERE, *LONG])
@given(seed=st.integers(0, 1000), n_runs=st.integers(2, 30), batch_size=st.sampled_from([None, 7]))
def test_each_of_many_has_the_bits_that_it_has_alone(name, seed, n_runs, batch_size):
    rng = np.random.default_rng(seed)
    starts = rng.normal(size=(n_runs, 5))
    rate = 10 ** rng.uniform(-2, 1, n_runs)
    options = {"method": name, **METHODS[name], "max_iter": 12, "patience": 2, "tol": 1e-2}
    objective = OBJECTIVE
    if name == "searched":
        objective, options["method"], rate = Bowl(), "gd", [None] * n_runs
    if name not in ("lbfgs", "searched"):
        options["batch_size"] = batch_size
    rates = None if name == "searched" else rate
    many = mf.gradient_descent(
        objective, starts, learning_rate=rates, validation=HELD_OUT, **options
    )
    assert many.best == int(np.argmin(many.validation_loss))
    for k in sorted({0, seed % n_runs, n_runs - 1}):
        one = mf.gradient_descent(
            objective, starts[k], learning_rate=rate[k], validation=HELD_OUT, **options
        )
        found = many[k]
        for part in ("theta", "trace", "validation_trace"):
            assert getattr(found, part).tobytes() == getattr(one, part).tobytes(), part
        for part in ("status", "n_iter", "best_iter", "loss", "validation_loss", "gradient_norm"):
            assert getattr(found, part) == getattr(one, part), part
        assert one.validation_loss == HELD_OUT.loss(one.theta) == one.validation_trace.min()
        assert repr(found) == repr(one)


@pytest.mark.parametrize("l2", [None, [0.1, 0.2]])
def test_an_epoch_is_told_by_its_minibatches_and_the_end_by_all_rows(l2):
    options = {"method": "gd", "learning_rate": 0.5, "batch_size": 8, "seed": 4}
    starts = np.ones((2, 5))
    runs = mf.gradient_descent(OBJECTIVE, starts, validation=HELD_OUT, max_iter=3, l2=l2, **options)
    strengths = [0.0, 0.0] if l2 is None else l2
    for k in range(2):
        objective = OBJECTIVE.with_l2(strengths[k])
        theta, thetas, means = starts[k], [starts[k]], [objective.loss(starts[k])]
        for epoch in range(3):
            losses = []
            for batch in objective.minibatches(8, seed=4, epoch=epoch):
                loss, gradient = batch.loss_gradient(theta)
                losses.append(loss)
                theta = theta - 0.5 * gradient
            thetas.append(theta)
            means.append(np.mean(losses))
        np.testing.assert_allclose(runs.trace[k], means, rtol=1e-12)
        best = int(np.argmin([HELD_OUT.loss(theta) for theta in thetas]))
        assert runs.best_iter[k] == best
        np.testing.assert_allclose(runs.theta[k], thetas[best], rtol=1e-12)
        assert runs.loss[k] == pytest.approx(objective.loss(runs.theta[k]), rel=1e-14)
        gradient = objective.gradient(runs.theta[k])
        assert runs.gradient_norm[k] == pytest.approx(np.abs(gradient).max(), rel=1e-12)


def test_an_epoch_with_held_out_rows_asks_for_each_row_once():
    class Counted(mf.LogisticLoss):
        asked = 0

        def batch_loss_gradient(self, thetas):
            Counted.asked += self.n_samples
            return super().batch_loss_gradient(thetas)

    objective = Counted(X, Y)
    options = {"learning_rate": 0.1, "batch_size": 20, "max_iter": 4}
    mf.gradient_descent(objective, **options)
    assert Counted.asked == 60 * (1 + 2 * 4)
    Counted.asked = 0
    mf.gradient_descent(objective, validation=mf.LogisticLoss(X, Y), **options)
    assert Counted.asked == 60 * (1 + 4 + 1)


def test_no_minibatch_is_an_epoch_that_stands():
    class Idle(mf.LogisticLoss):
        def minibatches(self, batch_size, *, seed=0, epoch=0):
            return []

    run = mf.gradient_descent(
        Idle(X, Y), validation=mf.LogisticLoss(X, Y), batch_size=9, max_iter=2
    )
    assert (run.status, run.best_iter, run.loss) == ("max_iter", 0, pytest.approx(math.log(2)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_divergence_ends_with_the_best_on_the_way(dtype, batch_size):
    held_out = mf.LogisticLoss(X, Y, fit_intercept=True, dtype=dtype)
    run = mf.gradient_descent(
        logistic(dtype=dtype, l2=0.0),
        learning_rate=[0.1, 1e300],
        validation=held_out,
        batch_size=batch_size,
        max_iter=5,
    )
    assert run.status.tolist() == ["max_iter", "diverged"]
    assert run.best_iter[1] == 0
    assert run.validation_loss[1] == run.loss[1] == pytest.approx(math.log(2))
    assert run.best == 0


@pytest.mark.parametrize("batch_size", [None, 20])
def test_ctrl_c_returns_the_best_that_is_there(batch_size):
    class Interrupted(mf.LogisticLoss):
        left = 4

        def batch_loss(self, thetas):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().batch_loss(thetas)

    run = mf.gradient_descent(
        OBJECTIVE,
        learning_rate=0.1,
        validation=Interrupted(X, Y, fit_intercept=True),
        batch_size=batch_size,
    )
    assert (run.status, run.n_iter, len(run.validation_trace)) == ("interrupted", 2, 3)
    assert run.validation_loss == run.validation_trace.min() == run.validation_trace[run.best_iter]


@pytest.mark.parametrize(
    ("validation", "match"),
    [
        (3, "validation is 3"),
        (mf.LogisticLoss, "validation is <class"),
        (mf.LogisticLoss(X, Y), "validation has 4 parameters, but objective has 5"),
        (logistic(l2=0.5), "validation has l2=0.5"),
    ],
    ids=["number", "class", "columns", "penalty"],
)
def test_what_cannot_judge_is_refused(validation, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        mf.gradient_descent(OBJECTIVE, validation=validation)
    assert str(caught.value).endswith(".") and ": " in str(caught.value)


def test_plot_trace_draws_held_out_rows():
    plt = pytest.importorskip("matplotlib.pyplot")
    run = mf.gradient_descent(OBJECTIVE, validation=HELD_OUT, max_iter=5)
    ax = run.plot_trace()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "training",
        "held-out rows",
    ]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), run.validation_trace)
    plt.close("all")
    assert "held out" in repr(run)
