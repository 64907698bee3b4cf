"""Fits of more than two classes: scikit-learn's optima, proven gaps, folds, weights, labels."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.metrics import accuracy_score, log_loss

import metaopt_fast as mf
from metaopt_fast import reference
from metaopt_fast.fitting import softmax_pairs
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.softmax import Path, rounds
from metaopt_fast.fitting.softmax_gaps import softmax_gaps
from metaopt_fast.fitting.softmax_pairs import KeptPairs
from metaopt_fast.fitting.softmax_sets import SoftmaxSets, inverse


def standardized(load):
    X, y = load(return_X_y=True)
    X = X[:, X.any(axis=0)]
    return (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1), y


def noisy(seed=0, n=240, d=4, n_classes=4):
    """Rows of classes that overlap."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    z = X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))
    y = z.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y, rng


def to_the_end(X, y, **options):
    """Fits whose gaps are below what can be proven, which they warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return mf.fit_many(X, y, tol=1e-13, **options)


def objectives(X, y, thetas, l2, weights=None):
    """The objectives of thetas (K, n_features + 1) by the reference."""
    twin = reference.SoftmaxLoss(X, y, weights, l2=l2, fit_intercept=thetas.shape[-1] > X.shape[1])
    return twin.loss(thetas.ravel())


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_optima_are_those_of_newton_cholesky(load):
    X, y = standardized(load)
    Cs = np.array([1e-3, 0.1, 10.0])
    assert mf.fit_many(X, y, l2=1 / (Cs * len(y))).certified.all()
    fits = to_the_end(X, y, l2=1 / (Cs * len(y)))
    assert fits.theta.shape == (3, 3, X.shape[1] + 1)
    for C, theta, loss in zip(Cs, fits.theta, fits.loss, strict=True):
        theirs = TheirRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
        np.testing.assert_allclose(theta[:, :-1], theirs.coef_, atol=1e-5)
        np.testing.assert_allclose(theta[:, -1], theirs.intercept_, atol=1e-5)
        wanted = objectives(
            X, y, np.column_stack([theirs.coef_, theirs.intercept_]), 1 / C / len(y)
        )
        assert loss == pytest.approx(wanted, abs=1e-12)
        assert loss == pytest.approx(objectives(X, y, theta, 1 / C / len(y)), rel=1e-13)


def test_a_grid_of_penalties_and_folds_takes_few_passes_and_is_proven():
    X, y = standardized(load_digits)
    folds = np.random.default_rng(0).permutation(len(y)) % 5
    sizes = np.array([(folds != f).sum() for f in range(5)])
    l2 = 1 / (np.logspace(-3, 1, 5)[:, None] * sizes)
    fits = mf.fit_many(X, y, l2=l2, folds=folds)
    assert fits.converged.all()
    assert fits.certified.all()
    assert fits.gap_bound.max() <= 1e-8
    assert fits.n_iter.mean() < 50
    held_out = folds == 3
    p = softmax(X[held_out] @ fits.theta[2, 3, :, :-1].T + fits.theta[2, 3, :, -1])
    assert fits.validation_loss[2, 3] == pytest.approx(log_loss(y[held_out], p), rel=1e-10)
    wanted = accuracy_score(y[held_out], p.argmax(axis=1))
    assert fits.validation_accuracy[2, 3] == pytest.approx(wanted)


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [1e-5, 1e-2, 1.0])
def test_the_gap_is_never_larger_than_its_bound(l2, fit_intercept):
    for seed in range(4):
        X, y, rng = noisy(seed)
        weights = rng.uniform(0, 2, len(y)) if seed % 2 else None
        options = {
            "l2": [l2],
            "sample_weight": weights,
            "fit_intercept": fit_intercept,
            "class_weight": "balanced" if seed > 1 else None,
        }
        best = to_the_end(X, y, **options).loss[0]
        start = rng.normal(size=(4, 4 + fit_intercept))
        for scale in (0.0, 1e-6, 1e-3, 1.0, 30.0):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                near = mf.fit_many(X, y, theta0=scale * start, max_iter=1, tol=1e-12, **options)
                far = mf.fit_many(X, y, theta0=scale * start, tol=1e9, **options)
            for fits in (near, far):
                assert fits.loss[0] - best <= fits.gap_bound[0] + 1e-15
                assert fits.converged[0] == fits.certified[0]


def test_intercepts_away_from_their_optimum_are_part_of_the_gap():
    # No weight gains anything; the intercepts of the optimum are the logarithms of the shares.
    X, y = np.tile([[1.0], [-1.0]], (300, 1)), np.repeat([0, 1, 2], [594, 4, 2])
    sets = SoftmaxSets.of(rows := Rows.of(X, y), rows.X, [None], 1)
    one, l2, theta = np.array([0]), np.array([1e6]), np.zeros((1, 6))
    gap = softmax_gaps(sets, one, theta, *sets.evaluate(one, theta, l2), l2)[0]
    shares = np.bincount(y) / len(y)
    assert np.log(3) + (shares * np.log(shares)).sum() <= gap <= 2 * np.log(3)


def test_weights_and_classes_weigh_as_repeated_rows():
    X, y, rng = noisy(5)
    weights = rng.integers(1, 4, len(y))
    choice = {0: 2.0, 2: 3.0}
    fits = to_the_end(X, y, l2=[0.01], sample_weight=weights, class_weight=[choice])
    repeated = weights * np.array([2, 1, 3, 1])[y]
    wanted = to_the_end(np.repeat(X, repeated, axis=0), np.repeat(y, repeated), l2=[0.01])
    assert fits.loss[0] == pytest.approx(wanted.loss[0], abs=1e-12)
    np.testing.assert_allclose(fits.theta, wanted.theta, atol=1e-5)
    balanced = to_the_end(X, y, l2=[0.01], class_weight="balanced")
    of_class = dict(enumerate(len(y) / (4 * np.bincount(y))))
    same = to_the_end(X, y, l2=[0.01], class_weight=of_class)
    np.testing.assert_allclose(balanced.theta, same.theta, atol=1e-5)


@pytest.mark.parametrize("labels", [["b", "a", "d", "c"], [7, 0, 12, 3], [0.5, -1.5, 3.0, 2.0]])
def test_labels_may_be_any_and_are_kept_in_order(labels):
    X, y, _ = noisy(6)
    given = np.array(labels)[y]
    fits = mf.fit_many(X, given, l2=[0.01, 0.1])
    classes, codes = np.unique(given, return_inverse=True)
    assert fits.classes == classes.tolist()
    np.testing.assert_array_equal(fits.theta, mf.fit_many(X, codes, l2=[0.01, 0.1]).theta)
    assert "4 classes" in repr(fits)


def test_two_classes_keep_their_shapes_and_say_their_labels():
    X, y, _ = noisy(7, n_classes=2)
    fits = mf.fit_many(X, np.array(["no", "yes"])[y], l2=[0.1])
    assert fits.theta.shape == (1, 5)
    assert fits.classes == ["no", "yes"]


def test_columns_far_from_zero_and_of_huge_size_have_the_same_optimum():
    X, y, _ = noisy(8)
    fits = mf.fit_many(X, y, l2=[0.01], tol=1e-10)
    moved = mf.fit_many(X + np.array([0, 1e6, 0, -300]), y, l2=[0.01], tol=1e-9)
    assert moved.loss[0] == pytest.approx(fits.loss[0], abs=1e-8)
    huge = mf.fit_many(np.ldexp(X, 400), y, l2=[np.ldexp(0.01, 800)], tol=1e-10)
    assert huge.loss[0] == pytest.approx(fits.loss[0], abs=1e-10)


def test_more_columns_than_rows_are_certified_too():
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(30, 80)), np.arange(30) % 3
    fits = mf.fit_many(X, y, l2=[1.0, 1e-2])
    assert fits.certified.all()
    theirs = TheirRegression(C=1 / 30, tol=1e-10, max_iter=5000).fit(X, y)
    wanted = objectives(X, y, np.column_stack([theirs.coef_, theirs.intercept_]), 1.0)
    assert fits.loss[0] - wanted <= 1e-8


def test_bits_are_the_same_for_any_number_of_threads(full_teams):
    X, y, rng = noisy(10, n=1500, d=7)
    options = {
        "l2": [1e-3, 0.1],
        "folds": np.arange(1500) % 3,
        "sample_weight": rng.uniform(1, 2, 1500),
    }
    one = mf.fit_many(X, y, n_threads=1, **options)
    for n_threads in (2, 5):
        other = mf.fit_many(X, y, n_threads=n_threads, **options)
        for name in ("theta", "loss", "gap_bound", "validation_loss", "validation_accuracy"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))


def test_without_a_penalty_nothing_is_proven_and_a_warning_says_so():
    X, y, _ = noisy(11)
    with pytest.warns(RuntimeWarning, match="l2 is 0 and an optimum could not be certified"):
        fits = mf.fit_many(X, y, l2=[0.0])
    assert not fits.converged[0]
    assert np.isinf(fits.gap_bound[0])
    assert fits.status[0] == "unproven"
    theirs = TheirRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(X, y)
    wanted = objectives(X, y, np.column_stack([theirs.coef_, theirs.intercept_]), 0.0)
    assert fits.loss[0] == pytest.approx(wanted, abs=1e-7)


def test_too_few_steps_are_said():
    X, y, _ = noisy(12)
    with pytest.warns(RuntimeWarning, match="1 of 1 models did not converge in 1 iterations"):
        fits = mf.fit_many(X, y, l2=[1e-6], max_iter=1)
    assert fits.status[0] == "max_iter"
    assert not fits.converged[0]


X, Y, _ = noisy(13)
FOLDS = np.where(Y == 3, 0, np.arange(len(Y)) % 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"folds": FOLDS},
            "folds: without fold 0, the rows lack class 3 of y: pass folds",
        ),
        ({"class_weight": {4: 2.0}}, "class_weight has the key 4, and y the labels 0 and 1 and 2"),
        ({"sample_weight": 1.0 * (Y != 2)}, "sample_weight is 0 for all rows of class 2"),
        (
            {"theta0": np.zeros((3, 5))},
            r"theta0 has shape \(3, 5\): pass finite numbers of a shape",
        ),
        ({"l2": [-1.0]}, "l2 has -1.0"),
        ({"l2": [np.nan]}, "l2 has nan"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        mf.fit_many(X, Y, **{"l2": [0.1], **options})


def test_numbers_to_predict_are_no_classes():
    with pytest.raises(
        ValueError, match=r"y holds 240 classes .* pass labels of classes that have"
    ):
        mf.fit_many(X, X[:, 0], l2=0.1)


@pytest.mark.parametrize("n_pairs", [0, 1, 3, 5, 7, 13])
def test_pairs_are_the_updates_of_bfgs_by_matrices(n_pairs, monkeypatch, full_teams):
    monkeypatch.setattr(softmax_pairs, "MOST", 5)
    rng, n = np.random.default_rng(n_pairs), 11
    root = rng.normal(size=(n, n))
    curvature = root @ root.T + np.eye(n)
    q = rng.normal(size=(3, n))
    for n_threads in (1, 3):
        # Of the second and the third model; the first one has none.
        kept, wanted = KeptPairs(3, n, n_threads), np.tile(np.eye(n), (3, 1, 1))
        steps = np.random.default_rng(1).normal(size=(n_pairs, 2, n))
        for pair in steps:
            kept.add(np.array([1, 2]), pair, pair @ curvature)
        for pair in steps[-5:]:
            for model, s in zip((1, 2), pair, strict=True):
                y = curvature @ s
                turn = np.eye(n) - np.outer(s, y) / (s @ y)
                wanted[model] = turn @ wanted[model] @ turn.T + np.outer(s, s) / (s @ y)
        at = np.array([2, 0, 1])
        found, alphas = kept.go_down(at, q)
        kept.go_up(at, found, alphas)
        np.testing.assert_allclose(
            found, np.einsum("mij,mj->mi", wanted[at], q), rtol=1e-9, atol=1e-9
        )


def test_pairs_of_another_penalty_are_those_of_its_gradients():
    rng, n = np.random.default_rng(3), 6
    penalised = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    curvature, steps = np.diag(rng.uniform(1, 2, n)), rng.normal(size=(4, 2, n))
    kept, wanted = KeptPairs(2, n, 1), KeptPairs(2, n, 1)
    for pair in steps:
        kept.add(np.arange(2), pair, pair @ curvature + 0.5 * penalised * pair)
        wanted.add(np.arange(2), pair, pair @ curvature + [[0.1], [2.0]] * penalised * pair)
    kept.change_penalty(np.arange(2), np.array([0.1, 2.0]) - 0.5, penalised)
    np.testing.assert_allclose(kept.changes, wanted.changes, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(kept.products, wanted.products, rtol=1e-13)
    # A difference that leaves no curvature leaves no pairs.
    kept.change_penalty(np.array([1]), np.array([-9.0]), penalised)
    assert kept.counts.tolist() == [4, 0]


def test_pairs_that_lead_uphill_are_forgotten_and_a_model_that_cannot_fall_stays():
    X, y, _ = noisy(14)
    rows, one = Rows.of(X, y), np.array([0])
    path = Path(SoftmaxSets.of(rows, rows.X, [None], 1), one, np.array([0.1]), Effort.of())
    path.begin(one, np.array([0.1]))
    # A pair of a function that is concave along the gradient.
    slope = path.gradients[0]
    path.pairs.steps[0, 0], path.pairs.changes[0, 0] = slope, -slope
    path.pairs.products[0, 0], path.pairs.counts[0] = -slope @ slope, 1
    steps, slopes = path.directions(one)
    assert steps[0] @ slope == pytest.approx(slopes[0]) and slopes[0] < 0
    assert path.pairs.counts[0] == 0
    path.losses[0] = 0.0  # less than any
    before = path.thetas.copy()
    assert path.step(one).tolist() == [True]
    np.testing.assert_array_equal(path.thetas, before)


def test_a_path_takes_one_model_of_each_training_set_at_a_time():
    set_of, l2 = np.array([0, 1, 0, 1, 0]), np.array([0.1, 1.0, 1.0, 0.5, 10.0])
    assert [some.tolist() for some in rounds(set_of, l2)] == [[4, 1], [2, 3], [0]]


@pytest.mark.parametrize("n", [1, 5, 48, 49, 130])
def test_inverses_without_lapack_are_inverses(n):
    rng = np.random.default_rng(n)
    root = rng.normal(size=(n, n))
    matrix = root @ root.T + 0.1 * np.eye(n)
    found = inverse(matrix)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(found @ matrix, np.eye(n), atol=1e-7)
