"""gradient_descent: its steps against hand-made ones, its optima against SciPy's, its endings."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.optimize

import metaopt_fast as mf
from metaopt_fast import reference


class Quadratic:
    """f(theta) = sum_j scale_j (theta_j - 1)^2 / 2, whose optimum is at ones."""

    def __init__(self, *scale):
        self.scale, self.n_params, self.calls = np.array(scale, float), len(scale), 0

    def loss_gradient(self, theta):
        self.calls += 1
        return float(self.scale @ (theta - 1) ** 2 / 2), self.scale * (theta - 1)


class Prescribed:
    """An objective that answers with the given losses one after the other, its gradient -1."""

    n_params = 1

    def __init__(self, *losses):
        self.losses = iter(losses)

    def loss_gradient(self, theta):
        loss = next(self.losses)
        if isinstance(loss, BaseException):
            raise loss
        return loss, np.array([-1.0])


@pytest.fixture(scope="module")
def objective():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    y = (X[:, 0] - 0.5 * X[:, 1] + rng.logistic(size=200) > 0).astype(int)
    return mf.LogisticLoss(X, y, l2=0.01, fit_intercept=True)


def test_one_step_from_zero_is_the_one_made_by_hand():
    # Rows (1), (2) of class 1 and (-1) of class 0: at 0 each sigma is 1/2, and each -s x is
    # -1, -2, -1, so that the gradient is -4 / 6.
    objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    run = mf.gradient_descent(objective, learning_rate=0.75, max_iter=1)
    assert run.theta.tolist() == pytest.approx([0.5], rel=1e-15)
    assert run.trace[0] == pytest.approx(math.log(2), rel=1e-15)
    by_hand = (2 * math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-1.0))) / 3
    assert run.loss == run.trace[1] == pytest.approx(by_hand, rel=1e-15)
    by_hand = (2 / (1 + math.exp(0.5)) + 2 / (1 + math.exp(1.0))) / 3
    assert run.gradient_norm == pytest.approx(by_hand, rel=1e-14)
    assert (run.n_iter, run.status, run.learning_rate) == (1, "max_iter", 0.75)


def test_steps_on_a_quadratic_are_exact():
    run = mf.gradient_descent(Quadratic(1, 4), [3.0, 2.0], learning_rate=0.25, max_iter=3, tol=0)
    # The distance to 1 shrinks by 1 - 0.25 and by 1 - 1.
    assert run.theta.tolist() == [1 + 2 * 0.75**3, 1.0]
    distances = 2 * 0.75 ** np.arange(4)
    assert run.trace.tolist() == [distances[0] ** 2 / 2 + 2, *(distances[1:] ** 2 / 2)]
    assert run.gradient_norm == 2 * 0.75**3


def test_each_step_subtracts_the_learning_rate_times_the_gradient(objective):
    theta = np.linspace(-1, 1, objective.n_params)
    losses = []
    for _ in range(10):
        loss, gradient = objective.loss_gradient(theta)
        losses.append(loss)
        theta = theta - 0.3 * gradient
    run = mf.gradient_descent(
        objective, np.linspace(-1, 1, objective.n_params), learning_rate=0.3, max_iter=10, tol=0
    )
    assert run.theta.tobytes() == theta.tobytes()
    assert run.trace.tolist() == [*losses, objective.loss(theta)]
    assert run.n_iter == 10


def test_a_descent_is_that_of_the_reference(objective):
    rate = 1 / objective.lipschitz()
    slow = reference.gradient_descent(
        objective, np.zeros(objective.n_params), learning_rate=rate, max_iter=5000
    )
    run = mf.gradient_descent(objective, max_iter=5000)
    assert run.theta.tobytes() == slow.theta.tobytes()
    assert (run.loss, run.n_iter) == (slow.loss, slow.n_iter)


@pytest.mark.parametrize("l2", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_optimum_is_that_of_scipy(l2, fit_intercept):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 4))
    y = X @ [1, -2, 0, 0.5] + rng.logistic(size=300) > 0.3
    objective = mf.LogisticLoss(X, y, l2=l2, fit_intercept=fit_intercept)
    run = mf.gradient_descent(objective, max_iter=100_000, tol=1e-8)
    best = scipy.optimize.minimize(
        objective.loss_gradient,
        np.zeros(objective.n_params),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert run.status == "converged"
    assert run.gradient_norm <= 1e-8
    assert run.loss == pytest.approx(best.fun, rel=1e-12)
    # The gradient's 1e-8 over the curvature, of at least l2 or the intercept's.
    np.testing.assert_allclose(run.theta, best.x, atol=1e-4)


def test_a_lipschitz_step_lowers_the_loss_every_time(objective):
    run = mf.gradient_descent(objective, max_iter=500)
    assert run.learning_rate == 1 / objective.lipschitz()
    assert (np.diff(run.trace) <= 0).all()


def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(5000, 20)), rng.integers(0, 2, 5000)
    runs = {
        mf.gradient_descent(mf.LogisticLoss(X, y, n_threads=n_threads), max_iter=20).theta.tobytes()
        for n_threads in (1, 2, 3, 7)
    }
    assert len(runs) == 1


def test_a_start_at_the_optimum_converges_without_a_step():
    run = mf.gradient_descent(Quadratic(1, 2), [1.0, 1.0], learning_rate=1)
    assert (run.status, run.n_iter, run.loss, run.gradient_norm) == ("converged", 0, 0.0, 0.0)
    assert run.trace.tolist() == [0.0]


def test_tol_is_the_largest_entry_that_still_converges():
    run = mf.gradient_descent(Quadratic(1), [1.5], learning_rate=0.5, tol=0.125)
    assert (run.status, run.n_iter, run.gradient_norm) == ("converged", 2, 0.125)


def test_max_iter_counts_steps():
    objective = Quadratic(1)
    run = mf.gradient_descent(objective, [2.0], learning_rate=0.5, max_iter=4, tol=0)
    assert (run.status, run.n_iter, len(run.trace), objective.calls) == ("max_iter", 4, 5, 5)


def test_no_step_at_all_evaluates_the_start():
    run = mf.gradient_descent(Quadratic(1), [2.0], learning_rate=0.5, max_iter=0)
    assert (run.status, run.n_iter, run.loss) == ("max_iter", 0, 0.5)
    assert run.theta.tolist() == [2.0]


def test_a_step_too_long_diverges_and_the_best_theta_comes_back():
    run = mf.gradient_descent(Quadratic(1), [2.0], learning_rate=3.0)
    assert run.status == "diverged"
    assert (run.loss, run.theta.tolist(), run.gradient_norm) == (0.5, [2.0], 1.0)
    assert run.trace[-1] > 1e6
    assert len(run.trace) == run.n_iter + 1


@pytest.mark.parametrize("bad", [math.inf, math.nan, -math.inf])
def test_a_loss_that_is_not_finite_is_a_divergence(bad):
    run = mf.gradient_descent(Prescribed(1.0, 0.5, bad), [0.0], learning_rate=1.0)
    assert (run.status, run.loss, run.theta.tolist()) == ("diverged", 0.5, [1.0])


def test_a_gradient_that_is_not_finite_is_a_divergence():
    objective = Quadratic(1)
    objective.loss_gradient = lambda theta: (0.0, np.array([np.nan]))
    assert mf.gradient_descent(objective, learning_rate=1.0).status == "diverged"


def test_an_interrupt_returns_the_best_so_far():
    objective = Prescribed(3.0, 1.0, 2.0, KeyboardInterrupt())
    run = mf.gradient_descent(objective, [0.0], learning_rate=1.0)
    assert (run.status, run.loss, run.theta.tolist()) == ("interrupted", 1.0, [1.0])
    assert run.trace.tolist() == [3.0, 1.0, 2.0]
    assert run.n_iter == 2


def test_an_interrupt_before_any_evaluation_is_raised():
    with pytest.raises(KeyboardInterrupt):
        mf.gradient_descent(Prescribed(KeyboardInterrupt()), [0.0], learning_rate=1.0)


def test_ctrl_c_ends_a_descent_within_a_fifth_of_a_second(run_python):
    answer = run_python(
        "import os, signal, threading, time\n"
        "import numpy as np, metaopt_fast as mf\n"
        "rng = np.random.default_rng(0)\n"
        "X = rng.normal(size=(20000, 30))\n"
        "objective = mf.LogisticLoss(X, X[:, 0] > 0)\n"
        "sent = []\n"
        "def send():\n"
        "    time.sleep(0.3)\n"
        "    sent.append(time.perf_counter())\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=send).start()\n"
        "run = mf.gradient_descent(objective, max_iter=10**9, tol=0)\n"
        "print(run.status, time.perf_counter() - sent[0])\n"
    )
    status, seconds = answer.stdout.split()
    assert status == "interrupted", answer.stderr
    assert float(seconds) < 0.2


def test_a_users_objective_without_a_lipschitz_constant_works_with_a_learning_rate():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    slow = mf.gradient_descent(reference.LogisticLoss(X, y, l2=0.1), learning_rate=0.5)
    fast = mf.gradient_descent(mf.LogisticLoss(X, y, l2=0.1), learning_rate=0.5)
    assert slow.status == fast.status == "converged"
    np.testing.assert_allclose(slow.theta, fast.theta, atol=1e-6)


def test_rows_of_zeros_converge_at_once():
    run = mf.gradient_descent(mf.LogisticLoss([[0.0], [0.0]], [0, 1]))
    assert (run.status, run.n_iter, run.loss) == ("converged", 0, pytest.approx(math.log(2)))


def test_the_start_is_not_changed():
    theta0 = np.array([2.0, 3.0])
    mf.gradient_descent(Quadratic(1, 1), theta0, learning_rate=0.5, max_iter=3)
    assert theta0.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("theta0", [[2, 3], np.array([2, 3], np.float32), (2.0, 3.0)])
def test_a_start_may_be_any_real_sequence(theta0):
    run = mf.gradient_descent(Quadratic(1, 1), theta0, learning_rate=0.5, max_iter=1)
    assert run.theta.tolist() == [1.5, 2.0]


def test_a_result_fits_a_screen_and_cannot_be_changed(objective):
    run = mf.gradient_descent(objective)
    lines = repr(run).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "converged" in lines[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.loss = 0.0


class Flat:
    """A loss that falls along its gradient nowhere: the gradient is a lie."""

    n_params = 1

    def loss_gradient(self, theta):
        return float(abs(theta[0])), np.array([1.0])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_without_a_lipschitz_constant_and_a_learning_rate_steps_are_searched_for(scale):
    run = mf.gradient_descent(Quadratic(scale, 3 * scale), [5.0, -5.0], tol=1e-9 * scale)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, 1.0, atol=1e-8)


def test_a_searched_step_lowers_the_loss_by_half_of_what_the_gradient_promises():
    objective = Quadratic(1, 40)
    theta = np.array([5.0, -5.0])
    for _ in range(30):
        run = mf.gradient_descent(objective, theta, max_iter=1)
        loss, gradient = objective.loss_gradient(theta)
        assert run.theta.tolist() == (theta - run.learning_rate * gradient).tolist()
        assert run.loss <= loss - run.learning_rate * gradient @ gradient / 2
        theta = run.theta


def test_the_optimum_of_a_users_objective_is_that_of_scipy():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(80, 3)) * [1, 10, 0.1], rng.integers(0, 2, 80)
    objective = reference.LogisticLoss(X, y, l2=0.1)
    run = mf.gradient_descent(objective, max_iter=100_000, tol=1e-8)
    best = scipy.optimize.minimize(objective.loss_gradient, np.zeros(3), jac=True, tol=1e-9)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, best.x, atol=1e-6)


def test_a_descent_that_no_step_lowers_stalls():
    run = mf.gradient_descent(Flat(), [0.0])
    assert (run.status, run.n_iter, run.loss, run.theta.tolist()) == ("stalled", 0, 0.0, [0.0])


def test_a_step_out_of_the_range_of_float32_is_a_divergence():
    objective = mf.LogisticLoss([[1e30], [-1e30]], [1, 1 - 1], dtype="float32")
    run = mf.gradient_descent(objective, learning_rate=1e30)
    assert run.status == "diverged"
    assert run.loss == pytest.approx(math.log(2))


def test_a_gradient_of_another_shape_is_refused_in_a_sentence():
    objective = Quadratic(1, 1)
    objective.loss_gradient = lambda theta: (0.0, np.zeros(3))
    with pytest.raises(ValueError, match=r"^loss_gradient returned .*shape \(3,\): return .*\.$"):
        mf.gradient_descent(objective, learning_rate=1.0)


@pytest.mark.parametrize(
    ("objective", "theta0", "options", "message"),
    [
        (None, None, {}, "objective is None"),
        (object(), None, {}, "objective is"),
        (Quadratic(1, 1), [1.0], {}, "theta0 has 1 entries, but the objective has 2 parameters"),
        (Quadratic(1), [[1.0]], {}, "theta0 has shape"),
        (Quadratic(1), [np.nan], {}, "theta0 has an entry that is not finite"),
        (Quadratic(1), [np.inf], {}, "theta0 has an entry that is not finite"),
        (Quadratic(1), ["a"], {}, "theta0"),
        (Quadratic(1), None, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (Quadratic(1), None, {"learning_rate": -1.0}, "learning_rate is -1.0"),
        (Quadratic(1), None, {"learning_rate": math.nan}, "learning_rate is nan"),
        (Quadratic(1), None, {"learning_rate": "fast"}, "learning_rate is 'fast'"),
        (Quadratic(1), None, {"max_iter": -1}, "max_iter is -1"),
        (Quadratic(1), None, {"max_iter": 1.5}, "max_iter is 1.5"),
        (Quadratic(1), None, {"tol": -1e-3}, "tol is -0.001"),
        (Quadratic(1), None, {"tol": math.nan}, "tol is nan"),
        (Quadratic(1), None, {"method": "newton"}, "method is 'newton'"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(objective, theta0, options, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        mf.gradient_descent(objective, theta0, **{"learning_rate": 1.0, **options})
    text = str(caught.value)
    assert text.startswith(message)
    assert text.endswith(".") and "\n" not in text and ": " in text
