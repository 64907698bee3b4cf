"""Many descents at once, by mini-batches, with a penalty of their own."""

import math

import numpy as np
import pytest
from accuracy import C
from descents import KnownQuadratic, Scripted, X, Y, logistic
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.descent.gradient_descent import METHODS
from metaopt_fast.reference import descent as reference_descent

# ------------------------------------------------------------------------------------- many at once


def test_many_descents_give_arrays():
    starts = np.random.default_rng(0).normal(size=(7, 5))
    runs = mf.gradient_descent(logistic(), starts, tol=1e-3, max_iter=60)
    assert runs.theta.shape == (7, 5)
    for name in ("loss", "gradient_norm", "n_iter", "status", "learning_rate"):
        assert getattr(runs, name).shape == (7,)
    assert runs.trace.shape == (7, runs.n_iter.max() + 1)
    assert len(runs) == 7
    for k in range(7):
        assert np.isfinite(runs.trace[k, : runs.n_iter[k] + 1]).all()
        assert np.isnan(runs.trace[k, runs.n_iter[k] + 1 :]).all()
    assert runs.loss[runs.best] == runs.loss.min()


def test_one_of_many_is_a_result_of_its_own():
    starts = np.random.default_rng(0).normal(size=(3, 5))
    runs = mf.gradient_descent(logistic(), starts, tol=1e-3)
    one = mf.gradient_descent(logistic(), starts[2], tol=1e-3)
    assert repr(runs[2]) == repr(runs[-1]) == repr(one)
    assert runs[2].trace.tobytes() == one.trace.tobytes()
    assert [run.n_iter for run in runs] == runs.n_iter.tolist()
    assert type(runs[2].loss) is float and type(runs[2].status) is str
    with pytest.raises(IndexError):
        runs[3]
    with pytest.raises(TypeError, match="one descent"):
        len(one)
    assert one
    assert one.best == 0


def test_without_a_start_arrays_say_how_many_descents_there_are():
    runs = mf.gradient_descent(logistic(), l2=[0.1, 1.0, 10.0])
    assert len(runs) == 3
    for k, l2 in enumerate([0.1, 1.0, 10.0]):
        own = mf.gradient_descent(logistic(l2=l2))
        np.testing.assert_allclose(runs.theta[k], own.theta, atol=1e-4)
    assert len(mf.gradient_descent(logistic(), learning_rate=[0.1])) == 1


class Numbered:
    """A sampler of one's own, whose candidate i is i + 1 of a seed."""

    def sample(self, seed, start, count, n_params):
        return np.outer(seed + 1.0 + np.arange(start, start + count), np.ones(n_params)) / 64

    def mean(self, n_params):
        return np.zeros(n_params)

    def std(self, n_params):
        return np.ones(n_params)

    def bounds(self, n_params):
        return np.full(n_params, -math.inf), np.full(n_params, math.inf)

    def is_integer(self, n_params):
        return np.zeros(n_params, bool)

    def nonzero_limit(self, n_params):
        return None


@pytest.mark.parametrize(
    "sampler",
    [mf.Normal(), mf.Uniform(-1, 2), mf.Integers(-2, 2), Numbered()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_start_k_of_a_sampler_is_its_candidate_k_however_many_there_are(sampler):
    options = {"method": "adam", "learning_rate": 0.1, "max_iter": 5, "seed": 9, "batch_size": 16}
    runs = mf.gradient_descent(logistic(), sampler, n_starts=4, **options)
    starts = np.asarray(sampler.sample(9, 0, 4, 5), float)
    given = mf.gradient_descent(logistic(), starts, **options)
    assert runs.theta.tobytes() == given.theta.tobytes()
    assert runs.trace.tobytes() == given.trace.tobytes()
    few = mf.gradient_descent(logistic(), sampler, n_starts=2, **options)
    assert few.theta.tobytes() == runs.theta[:2].tobytes()
    alone = mf.gradient_descent(logistic(), sampler, **options)
    assert alone.theta.shape == (5,)
    assert alone.theta.tobytes() == runs.theta[0].tobytes()
    assert len(mf.gradient_descent(logistic(), sampler, n_starts=1, **options)) == 1


def test_starts_of_a_callable_and_numbers_of_each_descent():
    def drawn(start, count):
        return np.outer(np.arange(start, start + count), np.ones(5))

    rates = [0.1, 0.2, 0.4]
    runs = mf.gradient_descent(logistic(), drawn, n_starts=3, learning_rate=rates, max_iter=4)
    given = mf.gradient_descent(logistic(), drawn(0, 3), learning_rate=rates, max_iter=4)
    assert runs.theta.tobytes() == given.theta.tobytes()


def test_the_best_of_many_starts_beats_zeros_where_there_are_many_minima():
    X = np.array([[1.0], [1.0], [-3.0], [0.4]])
    loss = mf.SmoothedZeroOneLoss(X, [1, 1, 1, 0], beta=4.0)
    runs = mf.gradient_descent(loss, mf.Normal(scale=4.0), n_starts=16, method="lbfgs")
    assert runs.loss.min() <= mf.gradient_descent(loss, method="lbfgs").loss


def test_finished_descents_leave_the_batch():
    class Counting(KnownQuadratic):
        asked = 0

        def batch_loss_gradient(self, thetas):
            self.asked += len(thetas)
            away = thetas - self.optimum
            return (away**2).sum(axis=1) / 2, away

    objective = Counting([0.0, 0.0])
    runs = mf.gradient_descent(
        objective, np.ones((4, 2)), learning_rate=[0.9, 0.5, 0.2, 0.01], max_iter=400
    )
    assert objective.asked == runs.n_iter.sum() + 4
    assert runs.status.tolist() == ["converged"] * 3 + ["max_iter"]
    assert len(set(runs.n_iter)) == 4


def test_each_of_many_has_its_own_end():
    starts = [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    runs = mf.gradient_descent(
        KnownQuadratic([0, 0]), starts, learning_rate=[0.5, 0.5, 3.0, 1e-4], max_iter=50
    )
    assert runs.status.tolist() == ["converged", "converged", "diverged", "max_iter"]
    assert runs.n_iter[1] == 0
    np.testing.assert_array_equal(runs.theta[2], [1.0, 1.0])
    assert "2 converged, 1 diverged, 1 max_iter" in repr(runs)
    assert len(repr(runs).splitlines()) <= 8


def test_an_objective_of_the_reference_descends_as_ours_does():
    starts = np.random.default_rng(0).normal(size=(5, 5))
    ours = mf.gradient_descent(logistic(), starts, learning_rate=0.5, max_iter=30, tol=0.0)
    theirs = mf.gradient_descent(
        mf.reference.LogisticLoss(X, Y, l2=0.1, fit_intercept=True),
        starts,
        learning_rate=0.5,
        max_iter=30,
        tol=0.0,
    )
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-9)


def test_ctrl_c_returns_all_that_is_there():
    class Tiring(KnownQuadratic):
        left = 5

        def batch_loss_gradient(self, thetas):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            away = thetas - self.optimum
            return (away**2).sum(axis=1) / 2, away

    runs = mf.gradient_descent(
        Tiring([0.0, 0.0]), [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], learning_rate=0.1
    )
    assert runs.status.tolist() == ["converged", "interrupted", "interrupted"]
    assert runs.n_iter.tolist() == [0, 3, 3]
    np.testing.assert_allclose(runs.theta[2], 2 * 0.9**3)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_many_descents_have_the_same_bits_for_any_number_of_threads(n_threads):
    starts = np.random.default_rng(0).normal(size=(50, 5))
    one = mf.gradient_descent(logistic(n_threads=1), starts, max_iter=20)
    some = mf.gradient_descent(logistic(n_threads=n_threads), starts, max_iter=20)
    assert one.theta.tobytes() == some.theta.tobytes()


# ------------------------------------------------------------------------------ penalty and plateau


def softmax(**options):
    classes = np.arange(len(X)) % 3
    return mf.SoftmaxLoss(X + classes[:, None], classes, **{"fit_intercept": True, **options})


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(("make", "batch_size"), [(logistic, None), (logistic, 8), (softmax, None)])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("own_l2", [0.0, 0.1, 3.0])
def test_l2_is_in_place_of_the_objectives_own(own_l2, fit_intercept, make, batch_size):
    options = {"learning_rate": 0.2, "max_iter": 30, "tol": 0.0, "batch_size": batch_size}
    wanted = mf.gradient_descent(make(l2=0.7, fit_intercept=fit_intercept), **options)
    other = make(l2=own_l2, fit_intercept=fit_intercept)
    run = mf.gradient_descent(other, l2=0.7, **options)
    np.testing.assert_allclose(run.theta, wanted.theta, rtol=1e-11)
    np.testing.assert_allclose(run.trace, wanted.trace, rtol=1e-12)
    assert run.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-6)
    assert other.l2 == own_l2


def smoothed(*args, **options):
    return mf.SmoothedZeroOneLoss(*args, beta=2.5, **options)


strengths = st.just(0.0) | st.floats(-300, 300).map(lambda k: 10.0**k) | st.floats(1e-3, 10.0)


@pytest.mark.long
@given(
    kind=st.sampled_from(
        [mf.LogisticLoss, mf.SquaredHingeLoss, mf.HingeLoss, mf.SquaredLoss, smoothed, softmax]
    ),
    seed=st.integers(0, 2**32 - 1),
    own=strengths,
    given_l2=strengths,
    size=st.floats(-30, 30),
    rate=st.floats(-3, 308),
    method=st.sampled_from(METHODS),
    dtype=st.sampled_from(["float64", "float32"]),
    fit_intercept=st.booleans(),
)
def test_a_loss_is_that_of_its_theta_at_its_l2(
    kind, seed, own, given_l2, size, rate, method, dtype, fit_intercept
):
    rng = np.random.default_rng(seed)
    rows = () if kind is softmax else (X, Y)
    made = {
        l2: kind(*rows, l2=l2, fit_intercept=fit_intercept, dtype=dtype)
        for l2 in (own, given_l2, 0.0)
    }
    start = rng.normal(size=(2, made[0.0].n_params)) * [[10.0**size], [1.0]]
    runs = mf.gradient_descent(
        made[own], start, l2=given_l2, learning_rate=10.0**rate, method=method, max_iter=5, tol=0
    )
    assert not (runs.trace < 0).any()
    losses, gradients = made[given_l2].batch_loss_gradient(runs.theta)
    rtol = C * np.finfo(dtype).eps
    np.testing.assert_allclose(runs.loss, losses, rtol=rtol)
    parts = np.abs(made[0.0].batch_loss_gradient(runs.theta)[1]).max(axis=1)
    with np.errstate(over="ignore"):
        parts += given_l2 * np.abs(runs.theta).max(axis=1)
    finite = np.isfinite(parts)
    wanted = np.abs(gradients).max(axis=1)[finite]
    assert (np.abs(runs.gradient_norm[finite] - wanted) <= rtol * parts[finite]).all()


@pytest.mark.long(everywhere=True)
def test_a_penalty_that_is_left_out_is_not_subtracted():
    # The difference of two penalties of 1e77 is rounding: it was -6e69 here.
    objective = logistic(l2=10.0, dtype="float32")
    run = mf.gradient_descent(objective, method="lbfgs", l2=0.0, learning_rate=1e308)
    assert 0 <= run.loss <= logistic(l2=0.0, dtype="float32").loss(np.zeros(5))
    assert (run.trace >= 0).all()


class Bowl(KnownQuadratic):
    """|theta - optimum|^2 / 2 and a penalty of its own."""

    l2 = 0.5

    def loss_gradient(self, theta):
        loss, gradient = super().loss_gradient(theta)
        return loss + self.l2 / 2 * theta @ theta, gradient + self.l2 * theta


class SettableBowl(Bowl):
    def with_l2(self, l2):
        other = type(self)(self.optimum)
        other.l2 = l2
        return other


def test_to_a_penalty_of_ones_own_more_may_be_added_and_less_where_it_can_be_set():
    for made, l2 in ((Bowl([1.0, 2.0]), 3.0), (SettableBowl([1.0, 2.0]), 0.25)):
        run = mf.gradient_descent(made, l2=l2, learning_rate=0.2, tol=1e-12)
        np.testing.assert_allclose(run.theta, np.array([1, 2]) / (1 + l2), rtol=1e-9)
        assert run.loss == pytest.approx(2.5 * l2 / (1 + l2), rel=1e-12)
    with pytest.raises(ValueError, match=r"^l2 has 0.25, less than the 0.5 that .*Bowl.* adds its"):
        mf.gradient_descent(Bowl([1.0, 2.0]), l2=[1.0, 0.25], learning_rate=0.2)


def test_a_penalty_that_an_override_adds_is_not_left_out():
    class Own(mf.LogisticLoss):
        def loss_gradient(self, theta):
            return logistic(l2=0.5).loss_gradient(theta)

    objective = Own(X, Y, l2=0.5, fit_intercept=True)
    with pytest.raises(ValueError, match=r"less than the 0.5 that .*: pass at least that, or give"):
        mf.gradient_descent(objective, l2=0.0, learning_rate=0.1)
    run = mf.gradient_descent(objective, l2=0.75, learning_rate=0.1)
    assert run.loss == pytest.approx(logistic(l2=0.75).loss(run.theta), rel=1e-14)


def test_another_penalty_shares_the_rows_and_has_the_bits_of_an_objective_of_its_own():
    for objective, own in (
        (logistic(l2=0.3), logistic(l2=2.0)),
        (softmax(l2=0.3), softmax(l2=2.0)),
    ):
        other = objective.with_l2(2.0)
        assert other._packed is objective._packed
        assert other.fingerprint == own.fingerprint != objective.fingerprint
        thetas = np.random.default_rng(0).normal(size=(9, objective.n_params))
        for found, wanted in zip(
            other.batch_loss_gradient(thetas), own.batch_loss_gradient(thetas), strict=True
        ):
            assert found.tobytes() == wanted.tobytes()
        assert other.loss(thetas[0]) == own.loss(thetas[0])
        assert objective.l2 == 0.3


def test_the_default_learning_rate_knows_of_l2():
    wanted = mf.gradient_descent(logistic(l2=2.0), max_iter=0).learning_rate
    run = mf.gradient_descent(logistic(), l2=[0.1, 2.0], max_iter=0)
    assert run.learning_rate[1] == pytest.approx(wanted)
    assert run.learning_rate[0] == mf.gradient_descent(logistic(), max_iter=0).learning_rate


def test_a_plateau_ends_a_descent_after_so_many_steps_without_progress():
    losses = [5.0, 4.0, 3.95, 3.99, 3.97, 3.96, 3.0]
    answers = [(loss, [1, 1]) for loss in losses]
    run = mf.gradient_descent(
        Scripted(*answers), [0, 0], learning_rate=1.0, patience=3, min_delta=0.1
    )
    assert (run.status, run.n_iter) == ("plateau", 4)
    assert run.loss == 3.95  # the lowest seen
    np.testing.assert_array_equal(run.theta, [-2, -2])
    run = mf.gradient_descent(Scripted(*answers), [0, 0], learning_rate=1.0, patience=4, max_iter=6)
    assert (run.status, run.loss) == ("max_iter", 3.0)


def test_without_patience_a_plateau_ends_nothing():
    flat = [(1.0, [1, 1])] * 30
    run = mf.gradient_descent(Scripted(*flat), [0, 0], learning_rate=1.0, max_iter=29)
    assert (run.status, run.n_iter) == ("max_iter", 29)


# ------------------------------------------------------------------------------------ mini-batches


@pytest.mark.parametrize("batch_size", [1, 8, 17, 60])
@pytest.mark.parametrize("method", ["gd", "adam"])
def test_an_epoch_follows_the_gradients_of_its_minibatches(method, batch_size):
    objective = logistic()
    options = {"learning_rate": 0.1, "method": method}
    run = mf.gradient_descent(
        objective, max_iter=3, tol=0.0, batch_size=batch_size, seed=4, **options
    )
    batches = [
        b for epoch in range(3) for b in objective.minibatches(batch_size, seed=4, epoch=epoch)
    ]

    class Turns:
        """Each call asks the next batch."""

        def __init__(self):
            self.left = list(batches)

        def gradient(self, theta):
            return self.left.pop(0).gradient(theta)

    steps = reference_descent.descend(
        getattr(reference_descent, method),
        Turns(),
        np.zeros(5),
        len(batches),
        learning_rate=0.1,
    )
    np.testing.assert_allclose(run.theta, steps[-1], rtol=1e-9)
    per_epoch = len(batches) // 3
    losses = [objective.loss(theta) for theta in steps[::per_epoch]]
    np.testing.assert_allclose(run.trace, losses, rtol=1e-9)
    assert run.n_iter == 3


def test_a_batch_of_all_rows_is_plain_descent():
    options = {"learning_rate": 0.3, "max_iter": 20, "tol": 0.0}
    plain = mf.gradient_descent(logistic(), **options)
    batched = mf.gradient_descent(logistic(), batch_size=60, **options)
    np.testing.assert_allclose(batched.theta, plain.theta, rtol=1e-12)


def test_minibatches_come_near_the_optimum_in_few_epochs():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 6))
    objective = mf.LogisticLoss(
        rows, rows[:, 0] + rng.normal(size=5000) > 0, rng.random(5000), l2=0.1
    )
    best = mf.gradient_descent(objective, method="lbfgs")
    run = mf.gradient_descent(
        objective, method="adam", learning_rate=0.01, batch_size=50, max_iter=5
    )
    assert run.loss - best.loss < 1e-3


def test_the_seed_decides_the_order_of_rows():
    options = {"batch_size": 8, "max_iter": 2}
    runs = [mf.gradient_descent(logistic(), seed=seed, **options) for seed in (1, 1, 2)]
    assert runs[0].theta.tobytes() == runs[1].theta.tobytes()
    assert runs[0].theta.tobytes() != runs[2].theta.tobytes()


def test_a_divergence_within_an_epoch_is_reported():
    for dtype in ("float64", "float32"):
        run = mf.gradient_descent(
            logistic(dtype=dtype), learning_rate=[0.1, 1e300], batch_size=4, max_iter=5
        )
        assert run.status.tolist() == ["max_iter", "diverged"]
        assert run.loss[1] == pytest.approx(math.log(2))


@pytest.mark.long(everywhere=True)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("learning_rate", [1e-300, 1e10, 1e300])
def test_no_learning_rate_is_a_warning(method, learning_rate):
    starts = [[0.0] * 5, [1e150] * 5, [1e300] * 5, [-5.0] * 5]
    # From 1e300, each step that is searched for takes a thousand halvings.
    max_iter = 5 if method == "lbfgs" and learning_rate > 1e100 else 60
    for objective in (logistic(), logistic(dtype="float32"), KnownQuadratic([0.0] * 5)):
        runs = mf.gradient_descent(
            objective, starts, method=method, learning_rate=learning_rate, max_iter=max_iter
        )
        assert np.isfinite(runs.theta).all()
        assert set(runs.status) <= {"max_iter", "diverged", "stalled", "converged"}


# -------------------------------------------------------------------------------------- a picture


@pytest.mark.parametrize("starts", [np.zeros(5), np.zeros((4, 5))], ids=["one", "many"])
def test_plot_trace_draws_the_losses(starts):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    run = mf.gradient_descent(logistic(), starts, max_iter=5, tol=0.0)
    ax = run.plot_trace()
    traces = np.atleast_2d(run.trace)
    assert len(ax.lines) == (1 if starts.ndim == 1 else 5)
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), traces[run.best])
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title()
    assert run.plot_trace(ax) is ax
    pyplot.close("all")
