"""Gradient descent: known steps, known optima, and an honest word on how it ended."""

import math

import numpy as np
import pytest
from descents import KnownQuadratic, Quadratic, Rosenbrock, Scripted, X, Y, logistic
from scipy.optimize import minimize

import metaopt_fast as mf

# ------------------------------------------------------------------------------------------- steps


def test_a_step_is_the_learning_rate_times_the_gradient():
    objective = logistic()
    start = np.linspace(-1, 1, 5)
    run = mf.gradient_descent(objective, start, learning_rate=0.5, max_iter=1)
    np.testing.assert_array_equal(run.theta, start - 0.5 * objective.gradient(start))


def test_steps_are_those_of_the_reference():
    options = {"learning_rate": 0.7, "max_iter": 25, "tol": 0.0}
    run = mf.gradient_descent(logistic(), np.zeros(5), **options)
    known = mf.reference.gradient_descent(
        mf.reference.LogisticLoss(X, Y, l2=0.1, fit_intercept=True), np.zeros(5), **options
    )
    np.testing.assert_allclose(run.theta, known.theta, rtol=1e-12)
    assert run.n_iter == 25


def test_the_default_start_is_zero():
    run = mf.gradient_descent(logistic(), max_iter=0)
    np.testing.assert_array_equal(run.theta, np.zeros(5))
    assert run.loss == pytest.approx(math.log(2))


def test_the_trace_has_the_loss_at_the_start_and_after_each_step():
    objective = logistic()
    run = mf.gradient_descent(objective, max_iter=3, tol=0.0)
    thetas = [mf.gradient_descent(objective, max_iter=k, tol=0.0).theta for k in range(4)]
    np.testing.assert_array_equal(run.trace, [objective.loss(theta) for theta in thetas])


def test_the_default_learning_rate_is_one_over_the_largest_curvature():
    rows = np.column_stack([X, np.ones(60)])
    known = np.linalg.eigvalsh(rows.T @ rows / 60)[-1] / 4 + 0.1
    run = mf.gradient_descent(logistic(), max_iter=1)
    assert run.learning_rate == pytest.approx(1 / known)


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1.0, 1e3, 1e100])
def test_with_the_default_learning_rate_the_loss_never_rises(scale):
    run = mf.gradient_descent(mf.LogisticLoss(X * scale, Y), max_iter=200, tol=0.0)
    assert np.diff(run.trace).max() <= 1e-15


# ------------------------------------------------------------------------------------------- optima


@pytest.mark.parametrize("start", [None, [3.0, -3.0, 3.0, -3.0, 3.0]])
@pytest.mark.parametrize("implementation", [mf, mf.reference])
def test_it_comes_to_the_optimum_that_scipy_finds(implementation, start):
    objective = implementation.LogisticLoss(X, Y, l2=0.1, fit_intercept=True)
    known = minimize(objective.loss_gradient, np.zeros(5), jac=True, options={"gtol": 1e-10})
    run = mf.gradient_descent(objective, start, tol=1e-9)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, known.x, atol=1e-7)


def test_rounding_of_the_loss_does_not_keep_searched_steps_from_the_optimum():
    run = mf.gradient_descent(Quadratic([1e3, -1e3], 7.0), tol=1e-9)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, [1e3, -1e3], rtol=1e-12)


@pytest.mark.parametrize("curvature", [1e-6, 1.0, 1e6, 1e12])
def test_an_objective_without_lipschitz_gets_steps_that_are_searched_for(curvature):
    objective = Quadratic([1.0, 2.0], curvature)
    run = mf.gradient_descent(objective, tol=1e-6 * curvature)
    assert run.status == "converged"
    assert objective.n_calls < 100
    assert np.all(np.diff(run.trace) < 0)


@pytest.mark.long
def test_searched_steps_come_down_a_curved_valley():
    run = mf.gradient_descent(Rosenbrock(), [-1.2, 1.0], max_iter=20_000)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, [1, 1], atol=1e-4)


def test_data_whose_squares_overflow_get_searched_steps_too():
    run = mf.gradient_descent(mf.LogisticLoss(X * 1e155, Y), max_iter=20)
    assert run.loss < math.log(2)


def not_a_number():
    return np.linalg.eigvalsh([[np.inf, 0], [0, np.nan]])[-1]


def not_found():
    raise np.linalg.LinAlgError("Eigenvalues did not converge")


@pytest.mark.parametrize("answer", [not_a_number, not_found])
def test_eigenvalues_that_a_users_own_objective_cannot_find_lead_to_searched_steps(answer):
    class Unsure(Quadratic):
        def lipschitz(self):
            return answer()

    assert mf.gradient_descent(Unsure([1.0, 2.0])).status == "converged"


def test_rows_of_zeros_have_converged():
    run = mf.gradient_descent(mf.LogisticLoss(np.zeros((3, 2)), [0, 1, 1]))
    assert (run.status, run.n_iter) == ("converged", 0)


# ------------------------------------------------------------------------------------- how it ends


def test_convergence_is_by_the_largest_entry_of_the_gradient():
    gradient = np.abs(logistic().gradient(np.zeros(5))).max()
    assert mf.gradient_descent(logistic(), tol=gradient).n_iter == 0
    assert mf.gradient_descent(logistic(), tol=gradient * 0.999).n_iter > 0


def test_a_run_out_of_steps_says_so_and_has_the_last_theta():
    objective = logistic()
    run = mf.gradient_descent(objective, max_iter=7, tol=0.0)
    assert (run.status, run.n_iter, len(run.trace)) == ("max_iter", 7, 8)
    loss, gradient = objective.loss_gradient(run.theta)
    assert run.loss == loss == run.trace[-1]
    assert run.gradient_norm == np.abs(gradient).max()


@pytest.mark.parametrize("learning_rate", [2.5, 1e10, 1e300, 1.7e308])
def test_a_divergence_is_reported_with_the_best_theta_on_the_way(learning_rate):
    start = [1.0, -2.0]
    run = mf.gradient_descent(
        KnownQuadratic([0, 0]), start, learning_rate=learning_rate, max_iter=10_000
    )
    assert run.status == "diverged"
    np.testing.assert_array_equal(run.theta, start)
    assert run.loss == 2.5
    assert run.trace[-1] > 1e6
    assert "diverged" in repr(run)


def test_a_divergence_beyond_float32_is_reported():
    run = mf.gradient_descent(logistic(dtype="float32"), learning_rate=1e300)
    assert run.status == "diverged"
    assert run.loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_an_objective_that_returns_no_number_is_a_divergence(bad, where):
    answer = (bad, [1, 1]) if where == "loss" else (4.0, [1, bad])
    run = mf.gradient_descent(Scripted((5.0, [1, 1]), answer), [0, 0], learning_rate=1.0)
    assert (run.status, run.n_iter) == ("diverged", 1)
    assert run.loss == (5.0 if where == "loss" else 4.0)


def test_a_kink_where_no_step_lowers_the_loss_is_a_stall():
    class Kink:
        n_params = 1

        def loss_gradient(self, theta):
            return abs(theta[0]), [1.0 if theta[0] >= 0 else -1.0]

    run = mf.gradient_descent(Kink(), [0.0])
    assert (run.status, run.n_iter, run.loss) == ("stalled", 0, 0.0)


def test_ctrl_c_returns_what_is_there():
    objective = Scripted((5.0, [1, 0]), (3.0, [1, 0]), (4.0, [1, 0]), KeyboardInterrupt())
    run = mf.gradient_descent(objective, [0.0, 0.0], learning_rate=1.0)
    assert (run.status, run.n_iter, run.loss) == ("interrupted", 2, 3.0)
    np.testing.assert_array_equal(run.theta, [-1, 0])
    np.testing.assert_array_equal(run.trace, [5, 3, 4])


def test_ctrl_c_before_anything_was_evaluated_is_raised():
    with pytest.raises(KeyboardInterrupt):
        mf.gradient_descent(Scripted(KeyboardInterrupt()), learning_rate=1.0)


# ---------------------------------------------------------------------------- arguments and results


def test_arguments_are_left_as_they_are():
    start = np.ones(5)
    run = mf.gradient_descent(logistic(), start, max_iter=0)
    np.testing.assert_array_equal(start, np.ones(5))
    start[:] = 2
    np.testing.assert_array_equal(run.theta, np.ones(5))


@pytest.mark.parametrize("n_samples", [1, 2])
def test_an_objective_may_have_few_rows(n_samples):
    objective = KnownQuadratic([1.0, 2.0])
    objective.n_samples = n_samples
    assert mf.gradient_descent(objective).status == "converged"


def test_an_objective_may_use_its_gradient_array_again():
    class Reusing(Quadratic):
        buffer = np.zeros(2)

        def loss_gradient(self, theta):
            loss, self.buffer[:] = super().loss_gradient(theta)
            return loss, self.buffer

    plain = mf.gradient_descent(Quadratic([1, 2], 30.0))
    reusing = mf.gradient_descent(Reusing([1, 2], 30.0))
    np.testing.assert_array_equal(plain.trace, reusing.trace)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\): return one of shape \(2,\)"):
        mf.gradient_descent(Scripted((1.0, [1, 2, 3])), learning_rate=1.0)


@pytest.mark.parametrize("n_params", [0, -1, 2.0, None, "2"])
def test_an_objective_with_an_odd_number_of_parameters_is_refused(n_params):
    objective = Scripted((1.0, [1, 2]))
    objective.n_params = n_params
    with pytest.raises((ValueError, TypeError), match=r"objective\.n_params.*\.$"):
        mf.gradient_descent(objective, learning_rate=1.0)


def test_the_result_is_frozen_and_fits_a_screen():
    run = mf.gradient_descent(logistic(), max_iter=2)
    with pytest.raises(AttributeError):
        run.loss = 0.0
    assert len(repr(run).splitlines()) == 4
    assert max(map(len, repr(run).splitlines())) <= 80
    assert "after 2 steps" in repr(run)
    assert "after 1 step " in repr(mf.gradient_descent(logistic(), max_iter=1))
    few, many = (mf.gradient_descent(Quadratic(np.ones(n)), max_iter=2) for n in (6, 7))
    assert "..." not in repr(few) and ", ...]" in repr(many)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_descent_has_the_same_bits_for_any_number_of_threads(n_threads):
    options = {"max_iter": 50, "tol": 0.0}
    one = mf.gradient_descent(logistic(n_threads=1), **options)
    some = mf.gradient_descent(logistic(n_threads=n_threads), **options)
    assert one.theta.tobytes() == some.theta.tobytes()
    assert one.trace.tobytes() == some.trace.tobytes()


def test_a_loss_of_minus_infinity_is_a_divergence_and_not_the_best():
    class Bottomless:
        n_params = 1

        def loss_gradient(self, theta):
            return (1.0 if theta[0] == 0 else -np.inf), np.ones(1)

    run = mf.gradient_descent(Bottomless(), learning_rate=1.0)
    assert run.status == "diverged"
    assert run.loss == 1.0
    assert run.theta.tolist() == [0.0]


def test_rows_whose_squares_overflow_ask_for_a_learning_rate():
    objective = mf.LogisticLoss([[1e200], [-1e200], [1e200]], [1, 0, 0])
    with pytest.raises(ValueError, match="pass a learning rate"):
        mf.gradient_descent(objective, method="nesterov")


def test_a_descent_that_columns_of_unlike_size_keep_from_its_end_says_so():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) * [1e-3, 1, 0]
    y = X[:, 0] * 1e3 + X[:, 1] + rng.normal(size=200) > 0
    short = {"max_iter": 20}
    run = mf.gradient_descent(mf.LogisticLoss(X, y, fit_intercept=True), **short)
    factor = np.abs(X[:, 1]).max() / np.abs(X[:, 0]).max()
    assert run.config["factor_of_columns"] == factor
    sentence = f"columns     differ in size by a factor of {factor:.2g}, which descents take"
    many = mf.gradient_descent(mf.LogisticLoss(X, y), np.zeros((2, 3)), **short)
    assert sentence in repr(run) and sentence in repr(many)
    wide = mf.LogisticLoss(np.diag([1e300, 1e-300]), [0, 1])
    far = mf.gradient_descent(wide, method="adam", learning_rate=1e-310, max_iter=1)
    assert far.config["factor_of_columns"] == np.finfo(float).max
    for rows, n_steps in ((mf.standardize(X).X, 1), (X, 100_000), (0 * X, 1)):
        loss = mf.LogisticLoss(rows, y, l2=0.1, fit_intercept=True)
        other = mf.gradient_descent(loss, max_iter=n_steps)
        assert (other.status == "max_iter") == (n_steps == 1)
        assert "factor_of_columns" not in other.config and "columns " not in repr(other)
