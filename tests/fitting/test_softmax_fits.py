"""Fits of more than two classes: scikit-learn's optima, proven gaps, folds, weights, labels."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.metrics import accuracy_score, log_loss

import metaopt_fast as mf
from metaopt_fast import _kernels, reference
from metaopt_fast.fitting import softmax_sets
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.softmax import LATE, NARROW, NEAR, STUCK, Path, rounds
from metaopt_fast.fitting.softmax_gaps import softmax_gaps
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


@pytest.mark.long(everywhere=True)
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


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_columns_of_one_number_have_no_weights_and_change_no_bit_of_the_others(constant):
    X, y, rng = noisy(18)
    with_more = np.insert(X, [0, 2, 2], constant, axis=1)
    start = rng.integers(-9, 9, size=(4, 8)) / 8
    options = {"l2": [0.1, 0.01], "tol": 1e-10}
    found = mf.fit_many(with_more, y, theta0=start, **options)
    assert found.certified.all()
    np.testing.assert_array_equal(found.theta[:, :, [0, 3, 4]], 0)
    others = [1, 2, 5, 6, 7]
    start[:, 7] += constant * start[:, [0, 3, 4]].sum(axis=1)
    wanted = mf.fit_many(X, y, theta0=start[:, others], **options)
    np.testing.assert_array_equal(found.loss, wanted.loss)
    np.testing.assert_array_equal(found.theta[:, :, others], wanted.theta)
    nothing = mf.fit_many(np.zeros((240, 2)), y, l2=[0.1], tol=1e-10)
    shares = np.bincount(y) / len(y)
    assert nothing.loss[0] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-9)


def test_more_columns_than_rows_are_certified_too():
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(30, 80)), np.arange(30) % 3
    fits = mf.fit_many(X, y, l2=[1.0, 1e-2])
    assert fits.certified.all()
    theirs = TheirRegression(C=1 / 30, tol=1e-10, max_iter=5000).fit(X, y)
    wanted = objectives(X, y, np.column_stack([theirs.coef_, theirs.intercept_]), 1.0)
    assert fits.loss[0] - wanted <= 1e-8


@pytest.mark.parametrize("many", [1, 2**60])
def test_bits_are_the_same_for_any_number_of_threads(many, full_teams, monkeypatch):
    monkeypatch.setattr(softmax_sets, "MANY", many)  # from which on single precision is used
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


def evaluated(rows, sets, at, thetas, l2, n_threads=1):
    losses, gradients = np.empty(len(at)), np.empty_like(thetas)
    options = sets.factors[at], sets.totals[at], l2, losses, gradients
    assert rows.evaluate(thetas, *options, n_threads)
    return losses, gradients


@pytest.mark.sanitized
@pytest.mark.parametrize("n_folds", [2, 5, 17])
def test_models_without_folds_are_of_the_other_rows_in_any_company(
    n_folds, full_teams, monkeypatch
):
    monkeypatch.setattr(softmax_sets, "MANY", 1)
    X, y, rng = noisy(17, n=1500, n_classes=3)
    folds = rng.integers(n_folds, size=len(y))
    sets = SoftmaxSets.of(rows := Rows.of(X, y, folds), rows.X, [None, {0: 3.0}], 1)
    at, l2 = rng.integers(2 * n_folds, size=9), rng.uniform(size=9)
    thetas = rng.normal(size=(9, sets.n_params))
    for packed, rtol in ((sets.rows, 1e-12), (sets.narrow, 1e-4)):
        found = evaluated(packed, sets, at, thetas, l2)
        for n_threads in (2, 3):
            for one, other in zip(
                found, evaluated(packed, sets, at, thetas, l2, n_threads), strict=True
            ):
                np.testing.assert_array_equal(one, other)
        for i, one in enumerate(at):
            alone = evaluated(packed, sets, at[[i]], thetas[[i]], l2[[i]])
            np.testing.assert_array_equal(alone[0], found[0][[i]])
            np.testing.assert_array_equal(alone[1], found[1][[i]])
            used = folds != one % n_folds
            weights = np.where((y == 0) & (one >= n_folds), 3.0, 1.0)[used]
            twin = reference.SoftmaxLoss(X[used], y[used], weights, l2=l2[i], fit_intercept=True)
            loss, gradient = twin.loss_gradient(thetas[i])
            np.testing.assert_allclose(found[0][i], loss, rtol=rtol)
            np.testing.assert_allclose(found[1][i], gradient, rtol=rtol, atol=rtol)


@pytest.mark.sanitized
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


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_parameters_of_all_classes_add_up_to_nothing(fit_intercept):
    X, y, _ = noisy(16)
    fits = mf.fit_many(X, y, l2=[1e-4, 0.1], fit_intercept=fit_intercept)
    np.testing.assert_allclose(fits.theta.sum(axis=1), 0, atol=1e-13)


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


class Steps:
    """Two models whose rows weigh differently, in the middle of their steps."""

    def __init__(self, fit_intercept, n_threads=1, d=4, capacity=5):
        X, y, rng = noisy(14, d=d)
        rows = Rows.of(X, y, fit_intercept=fit_intercept)
        self.sets = SoftmaxSets.of(rows, rows.X, [None, {0: 2.0}], 1)
        n = self.sets.n_params
        self.l2, self.which = np.array([0.1, 0.02]), np.array([1, 0])
        self.thetas, self.gradients = rng.normal(size=(2, n)), np.empty((2, n))
        self.losses = np.empty(2)
        self.pairs = np.zeros((2, 2, capacity, n), np.float32)
        self.numbers = np.zeros((5, 2, capacity))
        self.ring, self.n_steps = np.zeros((2, 2), np.intp), np.zeros(2, np.intp)
        self.ends = np.zeros(2, np.intp)
        root = rng.normal(size=(n // 4, n // 4))
        self.inverse, self.n_threads = root @ root.T + np.eye(n // 4), n_threads
        self.evaluate()
        self.steps = _kernels.SoftmaxSteps(
            4,
            d,
            self.sets.factors,
            self.sets.totals,
            self.l2,
            self.losses,
            self.thetas,
            self.gradients,
            *self.pairs,
            np.zeros((2, capacity, 4), np.float32),
            self.numbers,
            self.ring,
        )

    def evaluate(self):
        found = self.sets.evaluate(np.arange(2), self.thetas, self.l2)
        self.losses[:], self.gradients[:] = found

    def take(self, n_steps, target=0.0):
        """Take so many steps in all; return how the models have moved, and their gradients."""
        before = self.thetas.copy(), self.gradients.copy()
        self.steps.run(
            self.sets.rows,
            self.which,
            self.inverse[None],
            np.zeros(2, np.intp),
            np.full(2, target),
            n_steps,
            1e-13,
            12,
            30,
            self.n_steps,
            self.ends,
            self.n_threads,
        )
        return self.thetas - before[0], self.gradients - before[1]


def normalised(x):
    return x / np.sqrt(np.square(x).sum())


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_steps_are_those_of_bfgs_by_matrices_and_a_new_penalty_changes_their_pairs(
    fit_intercept, n_threads, full_teams
):
    walk = Steps(fit_intercept, n_threads)
    n = walk.thetas.shape[1]
    penalised = np.tile(np.arange(n // 4) < 4, 4)
    history = [[], []]
    for number in range(1, 10):
        if number == 5:
            more = np.array([-0.09, 0.03])
            walk.l2 += more
            walk.evaluate()
            for pairs, difference in zip(history, more, strict=True):
                pairs[:] = [(s, y + difference * penalised * s) for s, y in pairs]
        wanted = []
        for pairs, gradient in zip(history, walk.gradients, strict=True):
            matrix = np.kron(np.eye(4), walk.inverse)
            for s, y in pairs[-5:]:
                turn = np.eye(n) - np.outer(s, y) / (s @ y)
                matrix = turn @ matrix @ turn.T + np.outer(s, s) / (s @ y)
            wanted.append(-matrix @ gradient)
        moves, changes = walk.take(number)
        for pairs, step, change, direction in zip(history, moves, changes, wanted, strict=True):
            size = np.abs(step).max() / np.abs(direction).max()
            assert np.log2(size) == pytest.approx(round(np.log2(size)), abs=1e-3)
            np.testing.assert_allclose(normalised(step), normalised(direction), atol=1e-4)
            pairs.append((step, change))
    assert walk.n_steps.tolist() == [9, 9]
    assert walk.ends.tolist() == [LATE, LATE]


@pytest.mark.parametrize("target", [1e-1, 1e-3, 1e-6, 1e-12])
def test_steps_end_where_gradients_are_as_short_as_is_asked_for(target):
    walk = Steps(True)
    walk.take(1000, target)
    assert walk.ends.tolist() == [NEAR, NEAR]
    losses, gradients = walk.losses.copy(), walk.gradients.copy()
    of_weights = gradients.reshape(2, 4, -1)[:, :, :-1]
    gaps = np.square(of_weights).sum(axis=(1, 2)) / (2 * walk.l2)
    assert (gaps <= target * np.maximum(1, losses)).all()
    walk.evaluate()
    np.testing.assert_array_equal(walk.losses, losses)
    np.testing.assert_array_equal(walk.gradients, gradients)


@pytest.mark.sanitized
def test_smoothed_gradients_are_short_sooner():
    # By L-BFGS alone it takes 1,141 passes, so 1,066.
    walk = Steps(True, d=20, capacity=40)
    walk.l2[:] = 1e-4
    walk.evaluate()
    walk.take(5000, 1e-8)
    assert walk.ends.tolist() == [NEAR, NEAR]
    assert walk.steps.n_passes < 1100


def test_pairs_that_lead_uphill_are_left_out_and_a_model_that_cannot_fall_stays():
    walk = Steps(True)
    slope = walk.gradients[0].astype(np.float32)
    walk.pairs[0, 0, 0], walk.pairs[1, 0, 0], walk.ring[1, 0] = slope, -slope, 1
    walk.numbers[0, 0, 0] = -slope @ slope
    wanted = -(walk.gradients[0].reshape(4, -1) @ walk.inverse).ravel()
    moves, _ = walk.take(1)
    np.testing.assert_allclose(normalised(moves[0]), normalised(wanted), atol=1e-12)
    walk.losses[:] = 0.0  # less than any
    moves, _ = walk.take(2)
    assert not moves.any()
    assert walk.ends.tolist() == [STUCK, STUCK]


@pytest.mark.sanitized
@pytest.mark.parametrize("exponent", [-145, -100, 0, 30, 100])
def test_steps_in_single_precision_lead_to_the_same_optima(exponent, monkeypatch):
    # At the ends they lead nowhere: rows, or models, leave the range of single precision.
    X, y, rng = noisy(15)
    options = {"l2": np.ldexp([0.1, 1e-3, 1e-5], 2 * exponent), "folds": np.arange(len(y)) % 2}
    options |= {"sample_weight": rng.uniform(0.5, 2, len(y)), "fit_intercept": exponent == 0}
    wanted = mf.fit_many(np.ldexp(X, exponent), y, tol=1e-10, **options)
    monkeypatch.setattr(softmax_sets, "MANY", 1)
    fits = mf.fit_many(np.ldexp(X, exponent), y, tol=1e-10, **options)
    assert fits.certified.all() and wanted.certified.all()
    np.testing.assert_allclose(fits.loss, wanted.loss, rtol=0, atol=1e-10)
    assert (fits.theta != wanted.theta).any() == (exponent in (-100, 0, 30))


def test_steps_in_single_precision_that_lead_astray_are_taken_back(monkeypatch):
    X, y, _ = noisy(3)
    wanted = mf.fit_many(X, y, l2=[0.1, 0.01], tol=1e-11)
    descend, losses = Path.descend, []

    def astray(self, rows, at, targets, care, n_iter):
        if care is not NARROW:
            losses.append(self.losses[at].max())
            return descend(self, rows, at, targets, care, n_iter)
        self.thetas[at] += np.arange(self.thetas.shape[-1])
        return None

    monkeypatch.setattr(softmax_sets, "MANY", 1)
    monkeypatch.setattr(Path, "descend", astray)
    fits = mf.fit_many(X, y, l2=[0.1, 0.01], tol=1e-11)
    assert max(losses) <= np.log(4) * (1 + 1e-12)
    np.testing.assert_allclose(fits.loss, wanted.loss, rtol=0, atol=1e-10)


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
