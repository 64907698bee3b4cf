"""fit_many with the squared hinge loss: optima of others, bounds that hold, bits, wrong input."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from fits import of_training, problem
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import accuracy_score
from sklearn.svm import LinearSVC

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.fitting import falls
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.hinge_gaps import squared_hinge_gaps
from metaopt_fast.fitting.training_sets import Strata
from metaopt_fast.reference import fitting as reference_fitting
from metaopt_fast.reference import hinge as reference

L2 = np.array([1e-3, 1e-2, 0.1, 1.0, 10.0])


def true_gap(theta, rows, positive, w, l2):
    """How far the objective is above the twin's, in extended precision."""
    best = reference.fit(rows, positive, w, l2, len(theta) > rows.shape[1])
    wide = [array.astype(np.longdouble) for array in (theta, best, rows, w)]
    at_theta, at_best = (
        reference.objective(one, wide[2], positive, wide[3] / wide[3].sum(), l2) for one in wide[:2]
    )
    return float(at_theta - at_best)


def machines(X, y, **options):
    return mf.fit_many(X, y, loss="squared_hinge", **options)


def test_rows_of_heavy_tails_have_the_slow_twins_machine():
    X, y = np.random.default_rng(25).standard_t(1, size=(9, 2)), np.arange(9) % 2 == 1
    theta = machines(X, y, l2=1e-4, tol=1e-9).theta[0]
    assert true_gap(theta, X, y, np.full(9, 1 / 9), 1e-4) == pytest.approx(0, abs=1e-9)


# ------------------------------------------------------------------------------------ the optimum


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}])
def test_each_model_of_each_fold_is_the_slow_twins(class_weight, fit_intercept):
    X, y, folds, weights = problem()
    options = {"fit_intercept": fit_intercept, "class_weight": class_weight}
    fits = machines(X, y, l2=L2, folds=folds, sample_weight=weights, **options)
    assert fits.converged.all() and fits.certified.all()
    for m, f in np.ndindex(fits.loss.shape):
        train, test = folds != f, folds == f
        rows = of_training(X[train], y[train], weights[train], class_weight)
        wanted = reference.fit(*rows, L2[m], fit_intercept)
        np.testing.assert_allclose(fits.theta[m, f], wanted, atol=1e-10)
        assert fits.loss[m, f] == pytest.approx(
            reference.objective(wanted, *rows, L2[m]), rel=1e-12
        )
        slacks = reference.slacks(fits.theta[m, f], X[test], y[test] == 1)
        loss = np.average(slacks**2, weights=weights[test])
        assert fits.validation_loss[m, f] == pytest.approx(loss, rel=1e-12)
        decisions = X[test] @ fits.theta[m, f, :6] + (fits.theta[m, f, 6] if fit_intercept else 0)
        accuracy = accuracy_score(y[test], decisions > 0, sample_weight=weights[test])
        assert fits.validation_accuracy[m, f] == pytest.approx(accuracy)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("make", [load_breast_cancer, load_digits])
def test_objectives_are_liblinears_within_1e_9(make, class_weight):
    X, y = make(return_X_y=True)
    X, y = X[:600], y[:600] > 4 if make is load_digits else y[:600] > 0
    X = X[:, X.std(axis=0) > 0]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    folds, weights = np.arange(len(y)) % 3, np.random.default_rng(0).integers(1, 4, len(y))
    C = np.array([1e-3, 0.1, 10.0])
    sums = np.array([weights[folds != f].sum() for f in range(3)])
    fits = machines(
        X,
        y,
        l2=1 / (C[:, None] * sums),
        folds=folds,
        sample_weight=weights,
        class_weight=class_weight,
        fit_intercept=False,
    )
    assert fits.certified.all()
    for m, f in np.ndindex(fits.loss.shape):
        train = folds != f
        # Classes that are balanced by the weights of their rows, as ours are.
        factors = reference_fitting.of_class(class_weight, y[train] == 1, weights[train])
        used = weights[train] * factors
        model = LinearSVC(C=C[m], dual=False, tol=1e-10, fit_intercept=False, max_iter=10_000)
        theta = model.fit(X[train], y[train], sample_weight=used).coef_[0]
        rows = X[train], y[train] > 0, used / used.sum()
        value = reference.objective(theta, *rows, 1 / (C[m] * sums[f]))
        assert fits.loss[m, f] == pytest.approx(value, abs=1e-9)
        assert fits.loss[m, f] <= value + 1e-14


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_hessian_is_that_of_rows_within_their_margin(n_threads):
    X, y, _, weights = problem(300, 7)
    theta = np.random.default_rng(1).normal(size=7)
    X[5] *= (1 if y[5] else -1) / (X[5] @ theta)  # at its margin, but for rounding
    rows = mf.SquaredHingeLoss(X, y, weights)._rows
    found, which = np.empty((1, 28)), np.zeros(1, np.intp)
    assert _kernels.hessians(_kernels.RowSets([rows]), which, theta[None], found, n_threads)
    weights = np.ldexp(weights, 1 - np.frexp(weights.max())[1])  # as they are packed
    inside = np.where(y == 1, 1, -1) * (X @ theta) < 1
    inside[5] = False
    wanted = 2 * (X[inside].T * weights[inside]) @ X[inside]
    of_margin = 2 * weights[5] * np.outer(X[5], X[5])
    both = [
        np.abs(found[0] - one[np.triu_indices(7)]).max() for one in (wanted, wanted + of_margin)
    ]
    assert min(both) <= 1e-12 * np.abs(wanted).max()


def test_with_an_intercept_it_is_scipys():
    X, y, _, weights = problem(200)
    rows, l2 = of_training(X, y, weights), 0.05
    fits = machines(X, y, l2=l2, sample_weight=weights)
    found = minimize(
        reference.objective,
        np.zeros(7),
        (*rows, l2),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    np.testing.assert_allclose(fits.theta[0], found.x, atol=1e-5)
    assert -1e-15 <= found.fun - fits.loss[0] <= 1e-9


def test_a_start_at_the_optimum_has_nothing_to_do():
    X, y, _, _ = problem()
    first = machines(X, y, l2=0.01)
    again = machines(X, y, l2=0.01, theta0=first.theta)
    assert again.n_iter[0] <= 1 < first.n_iter[0] and again.converged.all()
    far = machines(X, y, l2=0.01, theta0=1e3 * np.ones(7))
    np.testing.assert_allclose(far.theta, first.theta, atol=1e-10)


# ------------------------------------------------------------------------------------- the bounds


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(4, 60),
    n_features=st.integers(1, 70),
    l2=st.floats(1e-5, 10),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    fit_intercept=st.booleans(),
    max_iter=st.sampled_from([1, 2, 100]),
)
def test_the_gap_is_never_above_its_bound(
    seed, n_samples, n_features, l2, offset, fit_intercept, max_iter
):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n_samples, n_features)) + offset, np.arange(n_samples) % 2
    weights = rng.integers(1, 4, n_samples).astype(float)
    options = {"sample_weight": weights, "fit_intercept": fit_intercept}
    start = rng.normal(size=n_features + fit_intercept) / 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fits = machines(X, y, l2=l2, max_iter=max_iter, theta0=start, **options)
    rows = of_training(X, y, weights)
    # The judge's own margins are off by some 1e-19 of the largest products.
    of_judge = 1e-18 * (1 + np.abs(X).max() * np.abs(fits.theta).sum())
    assert true_gap(fits.theta[0], *rows, l2) <= fits.gap_bound[0] + of_judge < np.inf
    assert fits.loss[0] == pytest.approx(
        reference.objective(fits.theta[0], *rows, l2), rel=1e-9, abs=1e-20
    )
    assert fits.converged[0] == (fits.gap_bound[0] <= 1e-8 * max(1, fits.loss[0]))
    assert fits.converged[0] or max_iter < 100 or offset == 100


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    l2=st.floats(1e-3, 10),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 10.0]),
    size=st.sampled_from([0.0, 1e-3, 1.0, 10.0]),
    fit_intercept=st.booleans(),
)
def test_the_bound_holds_at_any_theta(seed, l2, scale, size, fit_intercept):
    rng = np.random.default_rng(seed)
    X, y, weights = scale * rng.normal(size=(30, 3)), rng.uniform(size=30) < 0.3, np.ones(30)
    y[:2] = [False, True]
    of_training_rows = Rows.of(X, y, None, weights, fit_intercept)
    strata = Strata.of(of_training_rows, X, 1, "squared_hinge")
    models = strata.fold_models([None], np.zeros(1, np.intp), np.array([l2]))
    theta = reference.fit(X, y, weights / 30, l2, fit_intercept)
    theta = theta + size * rng.normal(size=len(theta)) * (rng.uniform(size=len(theta)) < 0.7)
    one = np.zeros(1, np.intp)
    losses, gradients = models.evaluate(one, theta[None])
    gaps, _ = squared_hinge_gaps(models, one, theta[None], losses, gradients)
    gap = true_gap(theta, X, y, weights / 30, l2)
    assert gap <= gaps[0] + 1e-17 * losses[0] and gaps[0] < np.inf


@pytest.mark.long(everywhere=True)
@given(
    numbers=st.lists(st.floats(0.1, 3), min_size=3, max_size=3),
    l2=st.floats(0.01, 2),
)
def test_the_bound_holds_to_the_last_digit_of_exact_fractions(numbers, l2):
    x = np.array([*numbers, -1.0])
    fits = machines(x[:, None], [1, 1, 1, 0], l2=l2, fit_intercept=False)
    rows = [Fraction(value) for value in np.abs(x).tolist()]

    def objective(w):
        return sum(max(0, 1 - r * w) ** 2 for r in rows) / 4 + Fraction(l2) / 2 * w * w

    w = Fraction(float(fits.theta[0, 0]))
    inside = [r for r in rows if r * w < 1]
    best = sum(inside) / 2 / (sum(r * r for r in inside) / 2 + Fraction(l2))
    assert objective(w) - objective(best) <= Fraction(float(fits.gap_bound[0]))


@pytest.mark.long(everywhere=True)
@given(seed=st.integers(0, 2**32 - 1), l2=st.floats(1e-3, 10), shift=st.floats(-2, 2))
def test_the_dual_is_as_far_away_as_the_page_says(seed, l2, shift):
    rng = np.random.default_rng(seed)
    X, positive, w = rng.normal(size=(30, 3)), np.arange(30) % 2 == 0, rng.uniform(1, 2, 30)
    w /= w.sum()
    theta = np.append(rng.normal(size=3), shift)
    alphas = 2 * w * reference.slacks(theta, X, positive)
    signs = np.where(positive, 1, -1)
    gradient, s = l2 * theta[:3] - X.T @ (signs * alphas), (signs * alphas).sum()
    alone = reference.gap(theta[:3], X, positive, w, l2, fit_intercept=False)
    # Without an intercept to balance, the gap is the gradient's square.
    slacks = 2 * w * reference.slacks(theta[:3], X, positive)
    of_weights = l2 * theta[:3] - X.T @ (signs * slacks)
    assert alone == pytest.approx(of_weights @ of_weights / (2 * l2), rel=1e-9, abs=1e-12)
    # With one, the bound of the page is no less than what shrinking costs.
    most = w @ reference.slacks(theta, X, positive) ** 2
    R, slack = np.linalg.norm(X, axis=1).max(), 4 * most / alphas.sum()
    bound = (np.linalg.norm(gradient) + abs(s) * R) ** 2 / (2 * l2) + abs(s) * slack
    assert 0 <= reference.gap(theta, X, positive, w, l2) <= bound * (1 + 1e-12) + 1e-15


@pytest.mark.parametrize("max_iter", [1, 2])
def test_where_the_work_was_cut_short_a_warning_says_so(max_iter):
    X, y, _, _ = problem(n_features=12)
    with pytest.warns(RuntimeWarning, match="did not converge in . iterations: pass a larger max"):
        fits = machines(X, y, l2=1e-3, max_iter=max_iter)
    assert fits.status.tolist() == ["max_iter"] and fits.n_iter.tolist() == [max_iter]


def test_raw_columns_of_unlike_size_are_certified_or_say_that_they_are_not():
    X, y = load_breast_cancer(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fits = machines(X, y, l2=1 / (len(y) * np.array([1e-4, 1.0, 1e4])))
    near = fits.gap_bound <= 1e-8
    assert (fits.converged == near).all() and near[0]
    assert (fits.status == np.where(near, "converged", "rounding")).all()


# ------------------------------------------------------------------------------- shapes, and bits


def test_the_bits_are_those_of_any_number_of_threads(full_teams):
    X, y, folds, weights = problem(300, 12)
    options = {"l2": np.geomspace(1e-4, 10, 40), "folds": folds, "sample_weight": weights}
    wanted = machines(X, y, n_threads=1, **options)
    assert wanted.converged.all()
    for n_threads in (2, 3):
        found = machines(X, y, n_threads=n_threads, **options)
        for name in ("theta", "loss", "gap_bound", "validation_loss", "n_iter"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_a_model_among_others_is_what_it_is_alone():
    X, y, folds, _ = problem(200, 8)
    l2 = np.geomspace(1e-4, 10, 60)
    together = machines(X, y, l2=l2, folds=folds)
    for m in (0, 17, 59):
        alone = machines(X, y, l2=l2[m], folds=folds)
        np.testing.assert_allclose(together.theta[m], alone.theta[0], rtol=1e-9, atol=1e-11)


def test_more_columns_than_rows_are_as_many_as_rows():
    X, y, _, weights = problem(40, 300)
    fits = machines(X, y, l2=[1e-3, 1.0], sample_weight=weights)
    assert fits.certified.all() and fits.theta.shape == (2, 301)
    rows = of_training(X, y, weights)
    for theta, l2 in zip(fits.theta, [1e-3, 1.0], strict=True):
        np.testing.assert_allclose(theta, reference.fit(*rows, l2), atol=1e-9)


@pytest.mark.parametrize("exponent", [-100, -20, 20, 100])
def test_units_of_columns_are_units_of_the_penalty(exponent):
    X, y, _, _ = problem()
    scale = 10.0**exponent
    fits = machines(X * scale, y, l2=[0.05 * scale**2, 1e-3 * scale**2])
    wanted = machines(X, y, l2=[0.05, 1e-3])
    assert fits.converged.all()
    np.testing.assert_allclose(fits.theta[:, :-1] * scale, wanted.theta[:, :-1], rtol=1e-6)


def test_constant_and_duplicate_columns_do_no_harm():
    X, y, _, _ = problem()
    wide = np.column_stack([X, np.zeros(80), X[:, 0], 1e6 + X[:, 1]])
    fits = machines(wide, y, l2=[1e-3, 0.1])
    assert fits.certified.all() and (fits.theta[:, 6] == 0).all()
    np.testing.assert_allclose(fits.theta[:, 7], fits.theta[:, 0], atol=1e-9)


def test_without_a_penalty_separable_rows_have_no_loss_and_others_a_warning():
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]])
    apart = machines(X, [1, 1, 0, 0], l2=0)
    assert apart.loss.tolist() == [0] and apart.certified.all()
    X, y, _, _ = problem()
    with pytest.warns(RuntimeWarning, match="l2 is 0 and an optimum could not be certified"):
        fits = machines(X, y, l2=[0.0, 1.0])
    assert fits.status.tolist() == ["unproven", "converged"]
    best = reference.objective(
        reference.fit(X, y == 1, np.full(80, 1 / 80), 0.0), X, y == 1, 1 / 80 * np.ones(80), 0
    )
    assert fits.loss[0] == pytest.approx(best, rel=1e-12) and fits.gap_bound[0] >= fits.loss[0]


def test_the_model_has_classes_and_no_probabilities():
    X, y, _, _ = problem()
    model = machines(X, np.where(y == 1, "yes", "no"), l2=0.1).model()
    assert set(model.predict(X)) == {"no", "yes"}
    with pytest.raises(ValueError, match="was not trained for probabilities"):
        model.predict_proba(X)


# -------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"loss": "hinge"}, r"loss is 'hinge' \(of type str\): pass one of 'logistic', 'squared_h"),
        ({"loss": None}, "loss is None: pass one of"),
        ({"l1": 0.1}, "loss is 'squared_hinge', but l1 is above 0: pass l1=0, or loss='logistic'"),
        ({"y": np.arange(80) % 3}, "loss is 'squared_hinge', but y holds 3 classes: pass labels"),
        ({"l2": -1.0}, "l2 has -1.0: pass a number"),
    ],
)
def test_wrong_input_is_one_sentence_that_names_it(change, sentence):
    X, y, _, _ = problem()
    with pytest.raises(ValueError, match=sentence):
        mf.fit_many(**({"X": X, "y": y, "l2": 0.1, "loss": "squared_hinge"} | change))


def test_too_many_parameters_are_refused_with_what_to_use_instead():
    X, y = np.ones((4000, 2100)), np.arange(4000) % 2
    with pytest.raises(ValueError, match=r"use gradient_descent\(SquaredHingeLoss\(X, y\)"):
        machines(X, y, l2=0.1)


def test_a_machine_that_no_step_leads_downhill_has_not_converged(monkeypatch):
    monkeypatch.setattr(falls, "falls_enough", lambda found, *_: np.zeros(len(found), bool))
    X, y, *_ = problem()
    with pytest.warns(RuntimeWarning, match="rounding"):
        fits = machines(X, y, l2=0.1)
    assert not fits.converged.any() and not fits.certified.any()
