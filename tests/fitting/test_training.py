"""fit_many: scikit-learn's optimum, its slow twin's, bounds that hold, and input that is wrong."""

import dataclasses
import warnings

import numpy as np
import pytest
from exact_digits import Digits
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

import metaopt_fast as mf
from metaopt_fast.data.packing import pack
from metaopt_fast.fitting import newton
from metaopt_fast.fitting.fit_many import fit_many
from metaopt_fast.fitting.models import Models
from metaopt_fast.fitting.training_sets import SKETCH, Strata
from metaopt_fast.reference import fitting as reference_training

L2 = np.array([1e-6, 1e-4, 1e-2, 1.0, 30.0])
N_FOLDS = 3

SCALINGS = {
    "standardized": np.ones(6),
    "of any units": 10.0 ** np.array([-3, -1, 0, 1, 2, 3]),
    "tiny": np.full(6, 1e-4),
}
CLASS_WEIGHTS = {"none": None, "balanced": "balanced", "given": {0: 0.3, 1: 2.0}}


def problem(n_samples=150, n_features=6, seed=0):
    """Rows that no plane separates, with a mean that is not 0, their labels, folds and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + rng.normal(size=n_features)
    y = (X @ rng.normal(size=n_features) + 2 * rng.normal(size=n_samples) > 1).astype(int)
    weights = rng.integers(0, 5, n_samples) * rng.uniform(0.5, 2)
    return X, y, np.arange(n_samples) % N_FOLDS, weights


def scikit_learn(X, y, l2, weights=None, class_weight=None, fit_intercept=True):
    """The twin's objective by scikit-learn's Newton method: theta, the intercept last."""
    weights = np.ones(len(y)) if weights is None else weights
    # Not by its own class_weight: "balanced" has counted rows by weight since 1.7 only.
    factors = reference_training.of_class(class_weight, y[weights > 0] == 1, weights[weights > 0])
    weights = weights.copy()
    weights[weights > 0] *= factors
    model = LogisticRegression(
        C=np.inf if l2 == 0 else 1 / (l2 * weights.sum()),
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=1000,
        fit_intercept=fit_intercept,
    ).fit(X, y, weights)
    return np.append(model.coef_[0], model.intercept_) if fit_intercept else model.coef_[0]


def objective(theta, X, y, l2, weights, fit_intercept=True):
    """The value and the gradient in extended precision."""
    rows = np.column_stack([X, np.ones(len(X))]) if fit_intercept else np.asarray(X)
    rows = rows.astype(np.longdouble) * np.where(y == y.max(), 1, -1)[:, None]
    w = weights.astype(np.longdouble) / weights.astype(np.longdouble).sum()
    theta = theta.astype(np.longdouble)
    penalised = theta.copy()
    if fit_intercept:
        penalised[-1] = 0
    margins = rows @ theta
    value = w @ np.logaddexp(0, -margins) + np.longdouble(l2) * (penalised @ penalised) / 2
    gradient = np.longdouble(l2) * penalised - rows.T @ (w * np.exp(-np.logaddexp(0, margins)))
    return value, gradient


def true_gap(theta, X, y, l2, weights):
    """How far the objective at theta is above its optimum, and what rounding leaves unknown."""
    n, has_intercept = X.shape[1], len(theta) > X.shape[1]
    rows = np.column_stack([X, np.ones(len(X))])[:, : len(theta)]
    best = reference_training.fit_many(
        X, y, l2=l2, sample_weight=weights, theta0=theta, fit_intercept=has_intercept
    ).theta[0]
    best = best.astype(np.longdouble)
    for _ in range(4):  # gradients in extended precision, Hessians need none
        p = 1 / (1 + np.exp(-(rows @ best.astype(float))))
        hessian = (rows.T * (weights / weights.sum() * p * (1 - p))) @ rows
        hessian[np.arange(n), np.arange(n)] += l2
        scale = 1 / np.sqrt(np.diag(hessian))
        inverse = np.linalg.pinv(hessian * np.outer(scale, scale), 1e-15, hermitian=True)
        gradient = objective(best, X, y, l2, weights, has_intercept)[1]
        best = best - scale * (inverse @ (scale * gradient.astype(float)))
    at_theta, at_best = (
        objective(point, X, y, l2, weights, has_intercept)[0] for point in (theta, best)
    )
    return at_theta - at_best, 100 * np.finfo(np.longdouble).eps * (1 + at_theta)


def assert_close(found, wanted, tol=1e-6):
    np.testing.assert_allclose(found, wanted, rtol=tol, atol=tol * np.abs(wanted).max())


# ------------------------------------------------------------------------------------ the optimum


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS.values(), ids=CLASS_WEIGHTS)
@pytest.mark.parametrize("scale", SCALINGS.values(), ids=SCALINGS)
def test_each_model_of_each_fold_is_scikit_learns(scale, class_weight, weighted, fit_intercept):
    X, y, folds, weights = problem()
    X, weights = X * scale, weights if weighted else None
    fits = fit_many(
        X,
        y,
        l2=L2,
        folds=folds,
        class_weight=class_weight,
        sample_weight=weights,
        fit_intercept=fit_intercept,
        tol=1e-12,
    )
    assert fits.theta.shape == (len(L2), N_FOLDS, X.shape[1] + fit_intercept)
    assert fits.converged.all() and fits.certified.all()
    for m, f in np.ndindex(len(L2), N_FOLDS):
        train, test = folds != f, folds == f
        of_train = None if weights is None else weights[train]
        wanted = scikit_learn(X[train], y[train], L2[m], of_train, class_weight, fit_intercept)
        assert_close(fits.theta[m, f], wanted)
        intercept = wanted[-1] if fit_intercept else 0
        decisions = X[test] @ wanted[: X.shape[1]] + intercept
        of_test = None if weights is None else weights[test]
        p = 1 / (1 + np.exp(-decisions))
        loss = log_loss(y[test], p, sample_weight=of_test)
        assert fits.validation_loss[m, f] == pytest.approx(loss, rel=1e-6)
        accuracy = accuracy_score(y[test], decisions > 0, sample_weight=of_test)
        assert fits.validation_accuracy[m, f] == pytest.approx(accuracy)


@pytest.mark.parametrize("scaled", [True, False], ids=["standardized", "raw"])
def test_breast_cancer_converges_and_is_certified(scaled):
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0) if scaled else X
    folds, l2 = np.arange(len(y)) % 5, np.logspace(-6, 1, 8)
    fits = fit_many(X, y, l2=l2, folds=folds)
    assert fits.converged.all() and fits.certified.all()
    assert (fits.gap_bound <= 1e-8 * np.maximum(fits.loss, 1)).all()
    exact = fit_many(X, y, l2=l2, folds=folds, tol=1e-12)
    for m, f in [(0, 0), (3, 4), (7, 2)]:
        assert_close(exact.theta[m, f], scikit_learn(X[folds != f], y[folds != f], l2[m]))


def test_more_features_than_newton_may_like_come_out_the_same():
    X, y = load_digits(return_X_y=True)
    X, y, folds = X[:600] / 16, y[:600] < 5, np.arange(600) % 3
    fits = fit_many(X, y, l2=[1e-4, 1e-2], folds=folds, tol=1e-12)
    for m, f in np.ndindex(2, 3):
        wanted = scikit_learn(X[folds != f], y[folds != f].astype(int), [1e-4, 1e-2][m])
        assert_close(fits.theta[m, f], wanted)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(8, 50),
    n_features=st.integers(1, 7),
    exponents=st.lists(st.floats(-5, 2), min_size=1, max_size=4),
    spread=st.floats(0, 2),
)
def test_models_are_those_of_the_slow_twin(seed, n_samples, n_features, exponents, spread):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) * 10.0 ** rng.uniform(-spread, spread, n_features)
    y = np.arange(n_samples) % 2
    weights = rng.integers(1, 4, n_samples).astype(float)
    settings = {
        "l2": 10.0 ** np.array(exponents),
        "folds": np.arange(n_samples) // 2 % 2,
        "class_weight": ["balanced", None, {0: 2.0, 1: 0.5}, {1: 3.0}][: len(exponents)],
        "sample_weight": weights,
        "tol": 1e-12,
    }
    fits, slow = fit_many(X, y, **settings), reference_training.fit_many(X, y, **settings)
    assert fits.converged.all()
    for name in ("theta", "loss", "validation_loss"):
        assert_close(getattr(fits, name), getattr(slow, name), 1e-5)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("scale", SCALINGS.values(), ids=SCALINGS)
def test_the_gap_is_never_above_its_bound(scale, tol):
    X, y, folds, weights = problem(90)
    X = X * scale
    fits = fit_many(X, y, l2=L2, folds=folds, sample_weight=weights, tol=tol)
    for m, f in np.ndindex(fits.loss.shape):
        train = (folds != f) & (weights > 0)
        gap, unknown = true_gap(fits.theta[m, f], X[train], y[train], L2[m], weights[train])
        assert gap <= fits.gap_bound[m, f] + unknown
        if fits.certified[m, f]:
            assert fits.gap_bound[m, f] <= tol * max(1.0, fits.loss[m, f])


@pytest.mark.parametrize("max_iter", [1, 2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_gap_is_never_above_its_bound_where_the_work_was_cut_short(max_iter, fit_intercept):
    X, y, _, _ = problem(90)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = fit_many(X, y, l2=L2, tol=1e-12, max_iter=max_iter, fit_intercept=fit_intercept)
    # Duality bounds every gap where all parameters are penalised.
    assert fit_intercept or np.isfinite(fits.gap_bound[np.array(L2) > 0]).all()
    for m, theta in enumerate(fits.theta):
        gap, unknown = true_gap(theta, X, y, L2[m], np.ones(len(y)))
        assert gap <= fits.gap_bound[m] + unknown


def test_the_loss_is_the_objective_at_theta():
    X, y, folds, weights = problem()
    fits = fit_many(X, y, l2=L2, folds=folds, sample_weight=weights)
    for m, f in np.ndindex(fits.loss.shape):
        train = folds != f
        value, _ = objective(fits.theta[m, f], X[train], y[train], L2[m], weights[train])
        assert fits.loss[m, f] == pytest.approx(float(value), rel=1e-13)


# ------------------------------------------------------------------------------- shapes, and bits


def test_the_slow_twin_halves_steps_that_lead_too_far():
    rows, w = np.array([[1.0], [2.0], [-1.5]]), np.ones(3)
    near = reference_training.newton(rows, w, np.array([0.1]), np.zeros(1), 100)
    far = reference_training.newton(rows, w, np.array([0.1]), np.array([9.0]), 100)
    np.testing.assert_allclose(far[0], near[0], rtol=1e-9)


def test_without_folds_there_is_one_model_for_each_l2():
    X, y, _, weights = problem()
    fits = fit_many(X, y, l2=L2, sample_weight=weights, tol=1e-12)
    assert fits.theta.shape == (len(L2), 7)
    for name in ("loss", "gap_bound", "certified", "n_iter", "converged"):
        assert getattr(fits, name).shape == (len(L2),)
    assert fits.validation_loss is None and fits.validation_accuracy is None
    for theta, l2 in zip(fits.theta, L2, strict=True):
        assert_close(theta, scikit_learn(X, y, l2, weights))


def test_a_number_for_l2_is_one_model():
    X, y, folds, _ = problem()
    assert fit_many(X, y, l2=0.1).theta.shape == (1, 7)
    assert fit_many(X, y, l2=0.1, folds=folds).theta.shape == (1, N_FOLDS, 7)


def test_each_fold_may_have_an_l2_of_its_own():
    X, y, folds, _ = problem()
    l2 = np.logspace(-4, 1, 6).reshape(2, 3)
    fits = fit_many(X, y, l2=l2, folds=folds, tol=1e-12)
    for m, f in np.ndindex(l2.shape):
        assert_close(fits.theta[m, f], scikit_learn(X[folds != f], y[folds != f], l2[m, f]))


def test_each_model_may_have_a_class_weight_of_its_own():
    X, y, folds, weights = problem()
    choices = list(CLASS_WEIGHTS.values())
    fits = fit_many(
        X, y, l2=[0.01] * 3, folds=folds, class_weight=choices, sample_weight=weights, tol=1e-12
    )
    for m, choice in enumerate(choices):
        alone = fit_many(
            X, y, l2=[0.01], folds=folds, class_weight=choice, sample_weight=weights, tol=1e-12
        )
        assert_close(fits.theta[m], alone.theta[0], 1e-8)
        np.testing.assert_allclose(fits.validation_loss[m], alone.validation_loss[0])


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (False, True), (0.0, 1.0)], ids=str)
def test_labels_may_be_coded_in_three_ways(labels):
    X, y, _, _ = problem()
    fits = fit_many(X, np.array(labels)[y], l2=L2)
    np.testing.assert_array_equal(fits.theta, fit_many(X, y, l2=L2).theta)


def test_X_may_lie_in_memory_as_it_likes():
    X, y, _, _ = problem()
    wanted = fit_many(X, y, l2=L2).theta
    read_only = X.copy()
    read_only.flags.writeable = False
    for other in (np.asfortranarray(X), read_only, X.astype(">f8"), X.tolist(), X[::-1][::-1]):
        np.testing.assert_array_equal(fit_many(other, y, l2=L2).theta, wanted)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_bits_are_the_same_for_any_number_of_threads(n_threads):
    X, y, folds, weights = problem(400)
    settings = {"l2": np.logspace(-4, 1, 30), "folds": folds, "sample_weight": weights}
    one = fit_many(X, y, **settings, n_threads=1)
    many = fit_many(X, y, **settings, n_threads=n_threads)
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(many, field.name))


def test_a_sketch_weighs_what_its_rows_do():
    X, y, _, _ = problem(3000)
    weights, fold = np.where(y == 1, 3.0, 2.0), np.zeros(len(y), np.intp)
    sums = np.array([[weights[y == 0].sum(), weights[y == 1].sum()]])
    packed = pack(X, y == 1, weights, False, "float64", strata=y)
    ours = Strata(packed, fold, sums, [-1], X.shape[1], 1)
    found = ours.sketch(None)
    rows = packed.block_rows[::SKETCH].sum()
    assert rows < len(y) / 8
    assert found.total_weight == pytest.approx(sums.sum() * rows / len(y))


def test_a_weight_of_zero_is_a_row_removed():
    X, y, folds, weights = problem()
    kept = weights > 0
    fits = fit_many(X, y, l2=L2, folds=folds, sample_weight=weights, class_weight="balanced")
    without = fit_many(
        X[kept],
        y[kept],
        l2=L2,
        folds=folds[kept],
        sample_weight=weights[kept],
        class_weight="balanced",
    )
    for name in ("theta", "loss", "validation_loss", "validation_accuracy"):
        assert_close(getattr(fits, name), getattr(without, name), 1e-9)


def test_a_weight_of_two_is_a_row_twice():
    X, y, folds, _ = problem()
    weights = np.where(np.arange(len(y)) % 4 == 0, 2.0, 1.0)
    fits = fit_many(X, y, l2=L2, folds=folds, sample_weight=weights, tol=1e-12)
    rows = np.arange(len(y)).repeat(weights.astype(int))
    twice = fit_many(X[rows], y[rows], l2=L2, folds=folds[rows], tol=1e-12)
    for name in ("theta", "loss", "validation_loss", "validation_accuracy"):
        assert_close(getattr(fits, name), getattr(twice, name), 1e-8)


@pytest.mark.parametrize("with_folds", [False, True])
def test_a_start_at_the_optimum_has_little_to_do(with_folds):
    X, y, folds, _ = problem()
    settings = {"l2": L2, "folds": folds if with_folds else None}
    cold = fit_many(X, y, **settings)
    warm = fit_many(X, y, **settings, theta0=cold.theta)
    assert warm.n_iter.max() <= 2
    assert warm.converged.all()
    assert_close(warm.theta, cold.theta, 1e-4)
    far = fit_many(X, y, **settings, theta0=np.full(7, 30.0), tol=1e-12)
    assert_close(far.theta, fit_many(X, y, **settings, tol=1e-12).theta)


@pytest.mark.parametrize("shape", [(60, 5), (20, 50)], ids=["tall", "wide"])
def test_a_start_at_the_optimum_of_columns_far_from_0_has_little_to_do(shape):
    X, y, _, _ = problem(*shape)
    X, l2 = X + 1e4, [1e-2, 1.0]
    cold = fit_many(X, y, l2=l2)
    warm = fit_many(X, y, l2=l2, theta0=cold.theta)
    assert cold.n_iter.min() > 2 and warm.n_iter.max() <= 1
    assert warm.converged.all()
    assert_close(warm.theta, cold.theta)


def test_max_iter_says_that_models_have_not_converged():
    X, y, _, _ = problem()
    with pytest.warns(RuntimeWarning, match="1 of 1 models did not converge in 1 iterations"):
        fits = fit_many(X, y, l2=[1e-5], max_iter=1, tol=1e-12)
    assert not fits.converged[0]
    assert fits.n_iter[0] == 1


def test_models_that_no_step_leads_downhill_end_where_they_are(monkeypatch):
    """As where their Hessians have overflown."""

    def overflown(*arguments):
        steps, lengths = solve(*arguments)
        return np.full_like(steps, np.inf), lengths

    solve = Models.solve
    monkeypatch.setattr(Models, "solve", overflown)
    X, y, _, _ = problem()
    n = newton.FEW + 2  # fewer are walked, without `solve`
    with pytest.warns(RuntimeWarning, match=f"{n} of {n} models ended where rounding hides"):
        fits = fit_many(X, y, l2=np.logspace(-4, 0, n))
    assert fits.status.tolist() == ["rounding"] * n and not fits.converged.any()
    assert not fits.theta.any()
    assert_close(fits.loss, np.log(2))


def test_a_result_is_frozen_and_its_repr_fits_a_screen():
    X, y, folds, _ = problem()
    fits = fit_many(X, y, l2=L2, folds=folds)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fits.theta = 0
    lines = repr(fits).splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= 100
    means = fits.validation_loss.mean(axis=1)
    best = int(means.argmin())
    assert lines[-1] == f"  validation   mean loss {means[best]:.6g} at best, of model {best}"
    assert "validation" not in repr(fit_many(X, y, l2=L2))


def test_it_is_public():
    assert mf.fit_many is fit_many


# -------------------------------------------------------------------------------- difficult input


@pytest.mark.parametrize("l2", [1e-12, 1e-8])
def test_separable_rows_with_a_tiny_penalty_come_to_an_end(l2):
    X = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    y = np.array([0, 0, 1, 1])
    fits = fit_many(X, y, l2=[l2])
    assert np.isfinite(fits.theta).all()
    gap, unknown = true_gap(fits.theta[0], X, y, l2, np.ones(4))
    assert gap <= fits.gap_bound[0] + unknown
    assert fits.converged[0] or not fits.certified[0]
    slow = reference_training.fit_many(X, y, l2=[l2])
    assert fits.loss[0] <= slow.loss[0] + 1e-8


def test_separable_rows_without_a_penalty_are_not_certified_and_say_so():
    X, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1]
    with pytest.warns(Warning, match="l2"):
        fits = fit_many(X, y, l2=[0.0, 0.1])
    assert fits.certified.tolist() == [False, True]
    assert np.isfinite(fits.theta).all()


@pytest.mark.parametrize("light, heavy", [(1e-150, 1e40), (1e-60, 1.0), (1.0, 1e190)])
def test_a_loss_that_is_next_to_nothing_has_converged_however_far_the_optimum_is(light, heavy):
    # The best intercept is log(heavy / light), and a Newton step towards it is of length 1.
    X, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), np.array([0, 1, 0, 1])
    class_weight = {0: light, 1: heavy}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = fit_many(X, y, l2=1.0, class_weight=class_weight)
    assert fits.converged[0] and fits.certified[0]
    exact = Digits(X, y, l2=1.0, fit_intercept=True, class_weight=class_weight)
    assert exact.loss(fits.theta[0]) <= fits.gap_bound[0] <= 1e-16


def test_the_cause_is_named_where_separable_rows_take_all_iterations():
    X, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1]
    with pytest.warns(RuntimeWarning) as caught:
        fits = fit_many(X, y, l2=0.0, max_iter=3)
    assert fits.status.tolist() == ["max_iter"]
    assert [str(warning.message).split(", as where")[0] for warning in caught][1:] == [
        "l2 is 0 and an optimum could not be certified"
    ]
    assert {warning.filename for warning in caught} == {__file__}


def test_no_penalty_needs_no_warning_where_there_is_an_optimum():
    X, y, folds, _ = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = fit_many(X, y, l2=0.0, folds=folds, tol=1e-12)
    assert fits.certified.all()
    for f in range(N_FOLDS):
        assert_close(fits.theta[0, f], scikit_learn(X[folds != f], y[folds != f], 0.0))


@pytest.mark.parametrize("l2", [1e-6, 1e-2])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda X: np.column_stack([X, np.full(len(X), 5.0)]),
        lambda X: np.column_stack([X, np.zeros(len(X))]),
        lambda X: np.column_stack([X, X[:, 0]]),
        lambda X: np.column_stack([X, 1e3 * X[:, 0]]),
        lambda X: np.column_stack([X, X.sum(axis=1)]),
        lambda X: np.ones((len(X), 1)),
        lambda X: X + 1e4,
    ],
    ids=["constant", "zero", "twice", "1000 times", "sum", "nothing but a constant", "far away"],
)
def test_columns_that_say_nothing_new_do_no_harm(spoil, l2):
    X, y, folds, _ = problem()
    X = spoil(X)
    fits = fit_many(X, y, l2=[l2], folds=folds, tol=1e-10)
    assert fits.converged.all() and fits.certified.all()
    slow = reference_training.fit_many(X, y, l2=[l2], folds=folds)
    np.testing.assert_allclose(fits.loss, slow.loss, rtol=1e-9)
    for f in range(N_FOLDS):
        decisions = [X @ theta[0, f, :-1] + theta[0, f, -1] for theta in (fits.theta, slow.theta)]
        assert_close(*decisions, 1e-4)


@pytest.mark.parametrize("exponent", [530, 1000])
def test_numbers_whose_squares_leave_the_range_have_the_models_without_a_penalty(exponent):
    X, y, folds, _ = problem()
    scaled = fit_many(np.ldexp(X, exponent), y, l2=[1e-3, 1.0], folds=folds, tol=1e-12)
    assert scaled.converged.all() and scaled.certified.all()
    for f in range(N_FOLDS):
        wanted = scikit_learn(X[folds != f], y[folds != f], 0.0)
        for theta in scaled.theta[:, f]:
            assert_close(np.append(np.ldexp(theta[:-1], exponent), theta[-1]), wanted)


def test_numbers_whose_squares_vanish_have_models_of_an_intercept():
    X, y, folds, _ = problem()
    fits = fit_many(X * 1e-310, y, l2=[1e-3, 1.0], folds=folds)
    assert fits.converged.all() and fits.certified.all()
    for f in range(N_FOLDS):
        rate = y[folds != f].mean()
        np.testing.assert_allclose(fits.theta[:, f, -1], np.log(rate / (1 - rate)), rtol=1e-7)
        entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
        np.testing.assert_allclose(fits.loss[:, f], entropy, rtol=1e-12)


def test_too_many_parameters_for_hessians_are_refused():
    X, y = np.zeros((2048, 2048)), np.arange(2048) % 2
    with pytest.raises(ValueError, match=r"X has 2,048 rows and 2,048 columns.*lbfgs"):
        fit_many(X, y, l2=1.0)
    assert fit_many(X[:4], y[:4], l2=1.0).theta.shape == (1, 2049)


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("column", ["of zeros", "twice", "constant", "a sum"])
def test_a_column_that_depends_on_others_does_no_harm_without_a_penalty(column, scale):
    X, y, _, _ = problem()
    X = X * scale
    more = {"of zeros": 0 * X[:, 0], "twice": X[:, 1], "constant": X[:, 0] * 0 + 3}
    more["a sum"] = X[:, 0] + X[:, 2]
    with pytest.warns(RuntimeWarning, match="columns are collinear"):  # nothing is proven
        fits = fit_many(np.column_stack([X, more[column]]), y, l2=[0.0, 1e-3])
    assert fits.converged.all() and not fits.certified[0]
    wanted, _ = objective(scikit_learn(X / scale, y, 0.0), X / scale, y, 0.0, np.ones(len(y)))
    assert fits.loss[0] == pytest.approx(float(wanted), rel=1e-10)


def test_more_features_than_rows():
    X, y, folds, _ = problem(30, 100)
    fits = fit_many(X, y, l2=[1e-3, 1.0], folds=folds, tol=1e-12)
    assert fits.converged.all() and fits.certified.all()
    for m, f in np.ndindex(2, N_FOLDS):
        wanted = scikit_learn(X[folds != f], y[folds != f], [1e-3, 1.0][m])
        assert_close(fits.theta[m, f], wanted, 1e-5)


@pytest.mark.long(everywhere=True)
def test_a_held_out_fold_may_have_one_class():
    X, y, _, _ = problem()
    folds = np.where(y == 1, np.arange(len(y)) % 3, np.arange(len(y)) % 2)
    assert set(y[folds == 2]) == {1}
    fits = fit_many(X, y, l2=L2, folds=folds)
    assert fits.converged.all()
    assert np.isfinite(fits.validation_loss).all()
    # So many models start from others, whose Hessians are sums over folds and classes.
    penalties = np.geomspace(1e-3, 1, 50)
    many = fit_many(X, y, l2=penalties, folds=folds)
    assert many.certified.all()
    for m, f in np.ndindex(many.loss.shape):
        alone = fit_many(X[folds != f], y[folds != f], l2=penalties[m])
        assert many.loss[m, f] == pytest.approx(alone.loss[0], rel=1e-9)


def test_a_fold_whose_other_rows_have_one_class_is_named():
    X, y, _, _ = problem()
    with pytest.raises(ValueError, match=r"fold 0.*class"):
        fit_many(X, y, l2=L2, folds=y)


def test_nan_in_X_is_named_by_its_column():
    X, y, _, _ = problem()
    X[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"nan in row 7, column 2"):
        fit_many(X, y, l2=L2)


X0, Y0, FOLDS0, WEIGHTS0 = problem(30)


WRONG = [
    ({"l2": -1.0}, "l2"),
    ({"l2": [1.0, -1e-9]}, "l2"),
    ({"l2": np.nan}, "l2"),
    ({"l2": [1.0, np.inf]}, "l2"),
    ({"l2": []}, "l2"),
    ({"l2": "1"}, "l2"),
    ({"l2": None}, "l2"),
    ({"l2": np.ones((2, 3))}, "l2"),
    ({"l2": np.ones((2, 2)), "folds": FOLDS0}, "l2"),
    ({"y": np.zeros(30)}, "y holds"),
    ({"y": Y0[:-1]}, "y has"),
    ({"y": Y0.astype("M8[s]")}, "y has dtype"),
    ({"X": X0[:, 0]}, "X has shape"),
    ({"X": np.empty((30, 0))}, "X has shape"),
    ({"X": np.full((30, 2), "a")}, "X has dtype"),
    ({"folds": FOLDS0[:-1]}, "folds"),
    ({"folds": FOLDS0 - 1}, "folds"),
    ({"folds": FOLDS0 * 2}, "folds"),
    ({"folds": FOLDS0 + 0.5}, "folds"),
    ({"folds": FOLDS0 > 0}, "folds has dtype bool"),
    ({"folds": np.zeros(30, int)}, "folds"),
    ({"sample_weight": -WEIGHTS0}, "sample_weight"),
    ({"sample_weight": WEIGHTS0 * 0}, "sample_weight"),
    ({"sample_weight": WEIGHTS0[:-1]}, "sample_weight"),
    ({"class_weight": "even"}, "class_weight"),
    ({"class_weight": {0: -1.0}}, "class_weight"),
    ({"class_weight": {0: np.nan}}, "class_weight"),
    ({"class_weight": {2: 1.0}}, "class_weight"),
    ({"class_weight": {0: 9e-201}}, "class_weight has 9e-201 for one class and 1 for the other"),
    ({"class_weight": [None, None]}, "class_weight"),
    ({"fit_intercept": 1}, "fit_intercept"),
    ({"tol": 0.0}, "tol"),
    ({"tol": np.nan}, "tol"),
    ({"max_iter": 0}, "max_iter"),
    ({"max_iter": 1.5}, "max_iter"),
    ({"theta0": np.zeros(3)}, "theta0"),
    ({"theta0": np.full(7, np.nan)}, "theta0"),
    ({"n_threads": 0}, "n_threads"),
]


@pytest.mark.parametrize(
    "change, name", WRONG, ids=[f"{name}-{k}" for k, (_, name) in enumerate(WRONG)]
)
def test_wrong_input_is_one_sentence_that_names_it(change, name):
    X, y = change.get("X", X0), change.get("y", Y0)
    options = {"l2": [0.1] * 3, **{key: change[key] for key in change if key not in ("X", "y")}}
    with pytest.raises((ValueError, TypeError), match=f"^{name}") as caught:
        fit_many(X, y, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_an_infinite_class_weight_is_refused():
    with pytest.raises(ValueError, match="class_weight has inf for class 1"):
        fit_many([[0.0], [1.0]], [0, 1], l2=1.0, class_weight={1: np.inf})


def test_a_class_without_weight_is_refused():
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows of one class"):
        fit_many([[0.0], [1.0]], [0, 1], l2=1.0, sample_weight=[1.0, 0.0])
