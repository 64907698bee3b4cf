"""The softmax loss against scikit-learn and exact arithmetic, and what it has of its own."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_losses import data

import metaopt_fast as mf
from metaopt_fast import _kernels, reference

# Roundings of one loss and of the sum of a block of rows, in units of eps, as in accuracy.py.
C = 16


@pytest.mark.parametrize("module", [mf, reference])
def test_the_loss_is_scikit_learns(module):
    half = pytest.importorskip("sklearn._loss").HalfMultinomialLoss
    linear = pytest.importorskip("sklearn.linear_model._linear_loss").LinearModelLoss
    X, y, w, rng = data(1, 200, 5, "all different", 4)
    theta = rng.normal(size=(4, 6))
    scikit_learns = linear(base_loss=half(n_classes=4), fit_intercept=True)
    wanted, gradient = scikit_learns.loss_gradient(
        np.asfortranarray(theta), X, y.astype(float), w, l2_reg_strength=0.7
    )
    objective = module.SoftmaxLoss(X, y, w, l2=0.7, fit_intercept=True)
    loss, found = objective.loss_gradient(theta.ravel())
    assert loss == pytest.approx(wanted, rel=1e-13)
    np.testing.assert_allclose(found.reshape(4, 6), gradient, rtol=1e-11, atol=1e-14)


def exact(X, y, theta):
    """The mean loss and the gradient to 60 digits, and the bound of each as accuracy.py has it."""
    eps, n, d = mpmath.mpf(2) ** -52, len(X), X.shape[1]
    loss = bound = mpmath.mpf(0)
    gradient = mpmath.zeros(*theta.shape)
    for x, label in zip(X.tolist(), y.tolist(), strict=True):
        products = [[mpmath.mpf(a) * b for a, b in zip(x, row, strict=True)] for row in theta]
        z = [mpmath.fsum(row) for row in products]
        off = [(d + C) * eps * mpmath.fsum(map(abs, row)) for row in products]
        e = [mpmath.exp(v - max(z)) for v in z]
        p = [v / mpmath.fsum(e) for v in e]
        others = mpmath.fsum(v for k, v in enumerate(p) if k != label)
        own = -mpmath.log1p(-others) if others < 0.5 else -mpmath.log(1 - others)
        loss += own / n
        bound += (C * eps * own + mpmath.fdot(p, off) + others * off[label]) / n
        for k, j in np.ndindex(theta.shape):
            gradient[k, j] += (-others if k == label else p[k]) * x[j] / n
    return loss, bound, gradient


@pytest.mark.parametrize("size", [0.1, 3.0, 40.0, 400.0])
def test_losses_near_zero_and_large_ones_keep_their_digits(size):
    rng = np.random.default_rng(2)
    X, theta = rng.normal(size=(20, 3)), size * rng.normal(size=(4, 3))
    # Rows of the winning class, of the losing ones, and both.
    z = X @ theta.T
    for y in (z.argmax(axis=1), z.argmin(axis=1), np.arange(20) % 4):
        objective = mf.SoftmaxLoss(X, y, n_classes=4)
        found, gradient = objective.loss_gradient(theta.ravel())
        with mpmath.workdps(60):
            loss, bound, exact_gradient = exact(X, y, theta)
            assert abs(found - loss) <= bound + mpmath.mpf(5e-324)
            assert abs(found - loss) <= 1e-12 * loss + mpmath.mpf(5e-324)
            for (k, j), value in np.ndenumerate(gradient.reshape(4, 3)):
                assert abs(value - exact_gradient[k, j]) <= 1e-12 * max(loss, 1e-300)


@pytest.mark.parametrize("size", [3.0, 30.0, 100.0])
def test_the_digits_of_a_row_are_kept_however_small_its_loss_is(size):
    # Beside others in a mean, they would not show.
    rng = np.random.default_rng(4)
    X, theta = rng.normal(size=(12, 3)), size * rng.normal(size=(4, 3))
    losses = []
    for x in X:
        label = int((theta @ x).argmax())
        objective = mf.SoftmaxLoss(x[None], [label], n_classes=4)
        found, gradient = objective.loss_gradient(theta.ravel())
        with mpmath.workdps(200):
            loss, _, slopes = exact(x[None], np.array([label]), theta)
            assert abs(found - loss) <= 1e-11 * loss
            for (k, j), value in np.ndenumerate(gradient.reshape(4, 3)):
                assert abs(value - slopes[k, j]) <= 1e-11 * abs(slopes[label, j])
        losses.append(found)
    assert min(losses) < {3.0: 1e-3, 30.0: 1e-15, 100.0: 1e-60}[size]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weights", ["none", "few", "all different"])
def test_a_subset_has_the_bits_of_an_objective_of_these_rows(weights, dtype):
    X, y, w, rng = data(3, 300, 4, weights, 6)
    objective = mf.SoftmaxLoss(X, y, w, fit_intercept=True, dtype=dtype)
    rows = np.flatnonzero(y != 2)[::3]
    some = mf.SoftmaxLoss(
        X[rows],
        y[rows],
        None if w is None else w[rows],
        n_classes=6,
        fit_intercept=True,
        dtype=dtype,
    )
    subset = objective.subset(rows)
    thetas = rng.normal(size=(5, objective.n_params))
    for found, wanted in zip(
        subset.batch_loss_gradient(thetas), some.batch_loss_gradient(thetas), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert subset.fingerprint == some.fingerprint != objective.fingerprint


def test_what_determines_the_loss_is_in_the_fingerprint():
    X, y, w, _ = data(4, 30, 3, "all different", 3)
    made = [
        mf.SoftmaxLoss(X, y),
        mf.SoftmaxLoss(X, y, w),
        mf.SoftmaxLoss(X, y, l2=0.1),
        mf.SoftmaxLoss(X, y, n_classes=4),
        mf.SoftmaxLoss(X, y, fit_intercept=True),
        mf.SoftmaxLoss(X, y, dtype="float32"),
        mf.SoftmaxLoss(X, np.roll(y, 1)),
    ]
    assert len({objective.fingerprint for objective in made}) == len(made)
    assert mf.SoftmaxLoss(X, y).fingerprint == made[0].fingerprint


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(
    seed=st.integers(0, 2**32 - 1),
    of_x=st.floats(-1.1, 1.1),
    of_theta=st.floats(-1.1, 1.1),
    weights=st.sampled_from(["none", "all different"]),
)
def test_finite_numbers_of_any_size_never_give_nan(dtype, seed, of_x, of_theta, weights):
    X, y, w, rng = data(seed, 40, 3, weights, 4)
    largest, edge = float(np.finfo(dtype).max), np.log10(float(np.finfo(dtype).max))
    X = np.clip(X * 10 ** np.clip(of_x * edge, -300, 300), -largest, largest)
    objective = mf.SoftmaxLoss(X, y, w, fit_intercept=True, dtype=dtype)
    thetas = rng.normal(size=(5, objective.n_params))
    thetas = np.clip(thetas * 10 ** np.clip(of_theta * edge, -300, 300), -largest, largest)
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert not np.isnan(losses).any()
    assert not np.isnan(gradients).any()
    np.testing.assert_array_equal(objective.batch_loss(thetas), losses)


@pytest.mark.sanitized
def test_margins_beyond_the_range_are_compared_as_they_are():
    # Margins are 2e308 and 3e308, beyond the range; their difference is not.
    X, theta = [[1e300, 1e300], [1e300, 1e300], [1.0, 0.0]], [1e8, 1e8, 1.5e8, 1.5e8]
    losses = [mf.SoftmaxLoss(X[:2], [k, k], n_classes=2).loss(theta) for k in (0, 1)]
    assert losses[0] == pytest.approx(1e308)
    assert losses[1] == 0
    # Sums of losses leave the range, their mean does not.
    far = mf.SoftmaxLoss([[1.6e308]] * 20 + [[-1.6e308]], [0] * 21, n_classes=2)
    loss, gradient = far.loss_gradient([0.0, 1.0])
    assert loss == pytest.approx(1.6e308 / 21 * 20, rel=1e-12)
    assert gradient[1] == pytest.approx(1.6e308 / 21 * 20, rel=1e-12)


def test_searches_descents_evolutions_and_scipy_work_unchanged(tmp_path):
    optimize = pytest.importorskip("scipy.optimize")
    X, y, _, _ = data(6, 300, 3, "none", 3)
    X[:, 0] += y
    objective = mf.SoftmaxLoss(X, y, l2=0.05, fit_intercept=True)
    twin = reference.SoftmaxLoss(X, y, l2=0.05, fit_intercept=True)
    start = np.zeros(objective.n_params)
    by_scipy = optimize.minimize(objective.loss_gradient, start, jac=True, tol=1e-12)
    run = mf.gradient_descent(objective, start, method="lbfgs", tol=1e-9)
    assert run.loss == pytest.approx(by_scipy.fun, rel=1e-9)
    assert np.abs(twin.gradient(run.theta)).max() < 1e-8
    assert mf.gradient_descent(objective, start, max_iter=2000, tol=1e-4).status == "converged"
    found = mf.random_search(objective, mf.Normal(), 300, seed=1, top_k=3)
    again = mf.random_search(objective, mf.Normal(), 300, seed=1, top_k=3, prune=False)
    wanted = reference.random_search(twin, reference.Normal(), 300, seed=1, top_k=3)
    np.testing.assert_array_equal(found.top, again.top)
    np.testing.assert_array_equal(found.top["index"], wanted.top["index"])
    assert found.rows_evaluated_fraction == 1
    part = mf.random_search(objective, mf.Normal(), 100, seed=1, checkpoint=tmp_path / "a.search")
    assert part.n_evaluated == 100
    evolved = mf.evolve(objective, mf.Normal(), population=30, generations=60, seed=2)
    assert evolved.loss < found.loss


def test_decisions_are_margins_of_each_class():
    X, y, _, rng = data(7, 50, 4, "none", 3)
    objective = mf.SoftmaxLoss(X, y, fit_intercept=True)
    theta = rng.normal(size=(3, 5))
    found = objective.decisions(theta.ravel(), X[:7])
    np.testing.assert_allclose(found, X[:7] @ theta[:, :4].T + theta[:, 4], rtol=1e-12)


@pytest.mark.parametrize("weights", ["none", "few", "all different"])
def test_counts_and_covariances_of_the_kernels_are_those_of_numpy(weights, full_teams):
    X, y, w, rng = data(8, 700, 4, weights, 5)
    objective = mf.SoftmaxLoss(X, y, w)
    thetas = rng.normal(size=(9, objective.n_params))
    factors = rng.integers(0, 3, (9, 5)).astype(float)
    # Weights are scaled by a power of two when they are packed.
    w = np.ones(len(y)) if w is None else np.ldexp(w, 1 - math.frexp(w.max())[1])
    counts, sums = np.zeros((2, 9, 5, 5))
    for n_threads in (1, 3):
        assert objective._rows.count(thetas, factors, counts, n_threads)
        assert objective._rows.covariances(thetas, factors, sums, n_threads)
        for theta, of_class, count, total in zip(thetas, factors, counts, sums, strict=True):
            z = X @ theta.reshape(5, 4).T
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            of_rows = w * of_class[y]
            wanted = np.zeros((5, 5))
            np.add.at(wanted, (y, z.argmax(axis=1)), of_rows)
            np.testing.assert_allclose(count, wanted, rtol=1e-12)
            np.testing.assert_allclose(total, np.tril((p.T * of_rows) @ p), rtol=1e-11)


def test_equal_margins_are_decided_for_the_first_class():
    objective = mf.SoftmaxLoss([[1.0], [1.0]], [0, 1], n_classes=3)
    counts = np.zeros((1, 3, 3))
    objective._rows.count(np.array([[-1.0, 2.0, 2.0]]), np.ones((1, 3)), counts, 1)
    assert counts[0].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weights", ["none", "few", "all different"])
def test_a_confusion_matrix_is_scikit_learns(weights, dtype):
    confusion_matrix = pytest.importorskip("sklearn.metrics").confusion_matrix
    X, y, w, rng = data(11, 900, 3, weights, 4)
    X, w = X.astype(dtype), None if w is None else 1e200 * w
    objective = mf.SoftmaxLoss(X, y, w, n_classes=5, fit_intercept=True, dtype=dtype)
    # Of small whole numbers, single precision makes the same decisions.
    thetas = rng.integers(-4, 5, (30, objective.n_params)).astype(float)
    found = objective.batch_confusion(thetas)
    assert found.shape == (30, 5, 5)
    for theta, matrix in zip(thetas, found, strict=True):
        decided = objective.decisions(theta, X).argmax(axis=1)
        wanted = confusion_matrix(y, decided, labels=range(5), sample_weight=w)
        exact = w is None and dtype == "float64"
        rtol = 0 if exact else 2.0**-43 if dtype == "float64" else 2.0**-23
        np.testing.assert_allclose(matrix, wanted, rtol=rtol)
    assert objective.confusion(thetas[7]).tobytes() == found[7].tobytes()
    assert objective.with_threads(3).batch_confusion(thetas).tobytes() == found.tobytes()


def test_the_confusion_matrix_of_a_subset_counts_weights_as_they_were_given():
    X, y, w, rng = data(12, 200, 3, "all different", 3)
    theta, w = rng.normal(size=9), np.where(np.arange(200) < 100, 1e-3, 1e3) * w
    some = np.arange(80)
    whole = mf.SoftmaxLoss(X, y, w)
    alone = mf.SoftmaxLoss(X[some], y[some], w[some], n_classes=3)
    for part in (whole.subset(some), alone):
        np.testing.assert_allclose(part.confusion(theta).sum(), w[some].sum(), rtol=1e-12)
    with pytest.raises(ValueError, match="theta 0 has inf as entry 0"):
        whole.confusion(np.full(9, np.inf))


@pytest.mark.parametrize(
    ("y", "options", "words"),
    [
        ([0, 2, 2], {}, r"y holds 2 classes \(0, 2\), not all from 0 to 2: pass n_classes, or"),
        ([0, 0, 0], {}, r"y holds 1 class \(0\): pass labels of 2 to"),
        (["a", "b", "c"], {}, r"y holds 3 classes \('a', 'b', 'c'\): pass whole numbers from 0 on"),
        ([-1, 0, 1], {}, r"y holds 3 classes \(-1, 0, 1\): pass whole numbers"),
        ([0.5, 1, 2], {}, r"pass whole numbers"),
        ([0, 1, 3], {"n_classes": 3}, "y holds 3, but n_classes is 3: pass a larger one"),
        ([0, 1, 1], {"n_classes": 1}, "n_classes is 1"),
        ([0, 1, 1], {"n_classes": 2**40}, "n_classes is"),
        ([0, 1], {}, "y has 2 labels, but X has 3 rows"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, options, words):
    with pytest.raises(ValueError, match=words):
        mf.SoftmaxLoss([[1.0], [2.0], [3.0]], y, **options)


def test_thetas_of_another_shape_are_refused_with_what_they_are_of():
    objective = mf.SoftmaxLoss([[1.0], [2.0], [3.0]], [0, 1, 2], fit_intercept=True)
    words = r"theta has 2 entries, but the objective has 6 parameters \(3 classes of 1 features and"
    with pytest.raises(ValueError, match=words):
        objective.loss([0.0, 1.0])
    with pytest.raises(ValueError, match="theta 0 has inf as entry 2"):
        objective.batch_loss([[0, 0, math.inf, 0, 0, 0]])
    assert _kernels.LOSSES.get("softmax") is None  # no pointwise one


def test_an_objective_says_what_it_is():
    objective = mf.SoftmaxLoss([[1.0], [2.0], [3.0]], [0, 1, 2], l2=0.5, fit_intercept=True)
    assert repr(objective) == (
        "SoftmaxLoss(3 samples, 1 features, 3 classes, l2=0.5, fit_intercept=True, dtype='float64')"
    )
    assert objective.is_smooth
