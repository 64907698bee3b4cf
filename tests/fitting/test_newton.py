"""Hessians, systems of equations, and the bounds that Newton's method proves."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.fitting import newton, paths
from metaopt_fast.fitting.certificates import logistic_gap_bound
from metaopt_fast.fitting.models import Models, TrainingSet, TrainingSets
from metaopt_fast.objectives.penalties import L2


def pairs_of(matrix):
    return matrix[np.triu_indices(len(matrix))]


def matrix_of(pairs):
    n = int(np.sqrt(2 * len(pairs)))
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n)] = pairs
    return matrix + np.triu(matrix, 1).T


def problem(seed, n_samples, n_features, weighted):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    y = np.arange(n_samples) % 2
    weights = rng.uniform(0.5, 2, n_samples) if weighted else None
    return X, y, weights, mf.LogisticLoss(X, y, weights, fit_intercept=True), rng


def one_set(objective, models):
    """The rows of an objective as those of one training set, and the sets of some models."""
    return _kernels.RowSets([objective._rows]), np.zeros(len(models), np.intp)


def hessians(objective, thetas, n_threads=1):
    found = np.empty((len(thetas), _kernels.n_pairs(objective.n_params)))
    assert _kernels.hessians(*one_set(objective, thetas), thetas, found, n_threads)
    return found


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(2, 200),
    n_features=st.integers(1, 20),
    n_candidates=st.integers(1, 60),
    weighted=st.booleans(),
)
def test_hessians_are_those_of_numpy(seed, n_samples, n_features, n_candidates, weighted):
    X, _, weights, objective, rng = problem(seed, n_samples, n_features, weighted)
    thetas = rng.normal(size=(n_candidates, n_features + 1)) * 3
    weights = np.ones(n_samples) if weights is None else weights
    weights = np.ldexp(weights, 1 - np.frexp(weights.max())[1])  # as they are packed
    rows = np.column_stack([X, np.ones(n_samples)])
    for theta, found in zip(thetas, hessians(objective, thetas), strict=True):
        margins = np.abs(rows @ theta)
        curvature = weights * np.exp(-margins) / (1 + np.exp(-margins)) ** 2
        wanted = (rows.T * curvature) @ rows
        sizes = (np.abs(rows).T * curvature) @ np.abs(rows)
        assert (np.abs(found - pairs_of(wanted)) <= 1e-12 * pairs_of(sizes)).all()


@pytest.mark.parametrize("n_features", [1, 7, 30])
def test_a_hessian_has_the_same_bits_in_any_batch_on_any_number_of_threads(n_features):
    _, _, _, objective, rng = problem(0, 3000, n_features, True)
    thetas = rng.normal(size=(90, n_features + 1))
    alone = np.concatenate([hessians(objective, theta[None]) for theta in thetas])
    for n_threads in (1, 2, 3, 7):
        np.testing.assert_array_equal(hessians(objective, thetas, n_threads), alone)
        np.testing.assert_array_equal(hessians(objective, thetas[5:8], n_threads), alone[5:8])


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(2, 700),
    n_features=st.integers(1, 20),
    n_candidates=st.integers(1, 60),
    n_threads=st.integers(1, 3),
)
def test_the_largest_margin_is_found(seed, n_samples, n_features, n_candidates, n_threads):
    X, _, _, objective, rng = problem(seed, n_samples, n_features, weighted=False)
    thetas = rng.normal(size=(n_candidates, n_features + 1))
    thetas[0] = 0
    found = np.full(n_candidates, np.nan)
    assert _kernels.largest_margins(*one_set(objective, thetas), thetas, found, n_threads)
    margins = np.column_stack([X, np.ones(n_samples)]) @ thetas.T
    assert found[0] == 0
    np.testing.assert_allclose(found, np.abs(margins).max(axis=0), rtol=1e-12)


@pytest.mark.sanitized
def test_threads_share_the_rows_of_a_largest_margin():
    _, _, _, objective, rng = problem(5, 40_000, 6, weighted=False)
    thetas = rng.normal(size=(20, 7))
    alone, shared = np.empty((2, len(thetas)))
    assert _kernels.largest_margins(*one_set(objective, thetas), thetas, alone, 1)
    for n_threads in (2, 3):
        assert _kernels.largest_margins(*one_set(objective, thetas), thetas, shared, n_threads)
        np.testing.assert_array_equal(shared, alone)


@pytest.mark.sanitized
def test_the_largest_margin_of_a_huge_theta_is_infinite_and_of_no_number_is_refused():
    objective = mf.LogisticLoss([[2.0], [-3.0]], [0, 1])
    found, rows = np.empty(1), one_set(objective, [0])
    assert _kernels.largest_margins(*rows, np.array([[1e308]]), found, 1)
    assert np.isinf(found[0])
    assert not _kernels.largest_margins(*rows, np.array([[np.nan]]), found, 1)
    assert not _kernels.hessians(*rows, np.array([[np.inf]]), np.empty((1, 1)), 1)


def test_a_step_of_no_number_changes_margins_by_any_amount():
    rows = mf.LogisticLoss([[2.0], [-3.0]], [0, 1])._rows
    set_of, penalty = np.zeros(1, np.intp), L2(np.ones(1), 1)
    sets = TrainingSets([TrainingSet(rows, 2.0)])
    models = Models(sets, set_of, penalty, 1, np.array([3.0]), 2, 1, 1)
    assert models.margin_changes(set_of, np.array([[-2.0]])).tolist() == [6.0]
    assert models.margin_changes(set_of, np.array([[np.nan]])).tolist() == [np.inf]


# ------------------------------------------------------------------ steps of Hessians that are kept


def logistic(X, y, l2):
    """The objective of rows and their intercept, its gradient and its Hessian, in NumPy."""
    rows = np.column_stack([X, np.ones(len(X))]) * np.where(y, -1.0, 1.0)[:, None]
    ridge = np.diag([*[l2] * X.shape[1], 0.0])

    def loss(theta):
        return np.logaddexp(0, rows @ theta).mean() + theta @ ridge @ theta / 2

    def gradient(theta):
        return rows.T @ (1 / (1 + np.exp(-rows @ theta))) / len(X) + ridge @ theta

    def hessian(theta):
        p = 1 / (1 + np.exp(-rows @ theta))
        return (rows.T * (p * (1 - p))) @ rows / len(X) + ridge

    return loss, gradient, hessian


def take_kept_steps(X, y, l2, theta, matrix, **how):
    """Steps of models of one training set: see `take_steps_of_sets`."""
    return take_steps_of_sets([(X, y)], np.zeros(len(l2), np.intp), l2, theta, matrix, **how)


def take_steps_of_sets(
    sets, which, l2, theta, matrix, *, most=1, tol=1e-9, patience=99, drift=0.0, n_threads=1
):
    """Steps of models of some sets at theta with penalties l2 and the Hessian `matrix`, penalty
    included: where they end, and what is said of the way."""
    rows = _kernels.RowSets([mf.LogisticLoss(X, y, fit_intercept=True)._rows for X, y in sets])
    k, thetas = len(l2), np.tile(theta, (len(l2), 1))
    objectives = [logistic(*sets[i], strength) for i, strength in zip(which, l2, strict=True)]
    gradients = np.array([gradient(theta) for _, gradient, _ in objectives])
    losses = np.array([loss(theta) for loss, _, _ in objectives])
    newton, places = gradients.copy(), np.arange(k)[::-1].copy()
    squares, radii, inflations, before, falls, sizes, distances = np.empty((7, k))
    factors, n_steps = np.empty((k, len(pairs_of(matrix)))), np.empty(k, np.intp)
    extents = np.append(np.max([np.abs(X).max(axis=0) for X, _ in sets], axis=0), 1)
    of_factor = (np.zeros(k, np.intp), np.ones(k), np.zeros(k), len(theta), extents)
    _kernels.factor(pairs_of(matrix)[None], *of_factor, factors, places, radii, inflations, 1)
    _kernels.solve(factors, places, newton, squares, 1)
    lengths = np.sqrt(squares)
    known = (l2, factors, places, radii, np.full(k, drift), np.full(k, most))
    state = (thetas, losses, gradients, newton, lengths)
    way = (before, falls, sizes, distances, n_steps)
    _kernels.kept_steps(rows, which, *known, *state, *way, tol, 0.9, 1.0, patience, n_threads)
    return *state, *way, radii


def test_a_step_of_a_kept_hessian_is_corrected_by_the_update_of_bfgs():
    X, y, _, _, rng = problem(0, 60, 4, False)
    l2 = np.array([0.3, 0.1])
    start = rng.normal(size=5) / 4
    matrix = logistic(X, y, 0.2)[2](np.zeros(5))
    inverse = np.linalg.inv(matrix)
    thetas, losses, gradients, newton, lengths, before, falls, sizes, distances, n_steps, _ = (
        take_kept_steps(X, y, l2, start, matrix, most=2, tol=1e-15)
    )
    assert n_steps.tolist() == [2, 2] and sizes.tolist() == [1, 1]
    for i, strength in enumerate(l2):
        loss, gradient, _ = logistic(X, y, strength)
        first = start - inverse @ gradient(start)
        s, change = first - start, gradient(first) - gradient(start)
        left = np.eye(5) - np.outer(s, change) / (s @ change)
        updated = left @ inverse @ left.T + np.outer(s, s) / (s @ change)
        wanted = first - updated @ gradient(first)
        np.testing.assert_allclose(thetas[i], wanted, rtol=1e-9)
        assert losses[i] == pytest.approx(loss(wanted), rel=1e-13)
        assert falls[i] == pytest.approx(loss(first) - loss(wanted), rel=1e-6)
        np.testing.assert_allclose(gradients[i], gradient(wanted), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(newton[i], inverse @ gradients[i], rtol=1e-9)
        assert lengths[i] == pytest.approx(np.sqrt(gradients[i] @ inverse @ gradients[i]))
        of_first = gradient(first)
        assert before[i] == pytest.approx(np.sqrt(of_first @ inverse @ of_first), rel=1e-6)
        gone = sum(np.sqrt(d @ matrix @ d) for d in (first - start, wanted - first))
        assert distances[i] >= gone * (1 - 1e-12)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(20, 150),
    n_features=st.integers(1, 8),
    n_models=st.integers(1, 30),
    drift=st.floats(0, 6),
)
def test_kept_steps_lead_to_the_optimum_whatever_the_drift(
    seed, n_samples, n_features, n_models, drift
):
    X, y, _, _, rng = problem(seed, n_samples, n_features, False)
    l2, tol = rng.uniform(0.1, 1, n_models), 1e-6
    matrix = logistic(X, y, 0.3)[2](np.zeros(n_features + 1))
    start = np.zeros(n_features + 1)
    found = take_kept_steps(X, y, l2, start, matrix, most=60, tol=tol, drift=drift)
    thetas, losses, _, _, lengths, before, falls, sizes, distances, n_steps, radii = found
    assert (n_steps < 60).all()
    ended = (lengths < before / 2) & (sizes == 1) & (falls > 1e-12 * losses)
    within = lengths * np.exp((drift + radii * distances) / 2) <= tol
    assert (within | (lengths <= 0.01 * tol))[ended].all()
    for theta, strength in zip(thetas[ended][:3], l2[ended][:3], strict=True):
        np.testing.assert_allclose(theta, reference_optimum(X, y, strength), atol=1e-5)


# With a Hessian of about half, the second half of its step leads to the optimum, and more would.
@pytest.mark.parametrize(("part", "away"), [(20, 1.0), (2.1, 0.01)])
def test_a_kept_step_is_halved_until_the_loss_falls_and_is_the_last_one(part, away):
    X, y, _, _, rng = problem(2, 80, 3, False)
    start, l2 = reference_optimum(X, y, 0.1) + away * rng.normal(size=4), np.array([0.1])
    loss, gradient, hessian = logistic(X, y, 0.1)
    found = take_kept_steps(X, y, l2, start, hessian(start) / part, most=9)
    size, theta, fall = found[7][0], found[0][0], found[6][0]
    step = part * np.linalg.solve(hessian(start), gradient(start))
    assert 0 < size < 1 and np.log2(size) % 1 == 0 and found[9].tolist() == [1]
    np.testing.assert_allclose(theta, start - size * step, rtol=1e-9)
    assert loss(start - 2 * size * step) > loss(start) > loss(theta)
    assert fall == pytest.approx(loss(start) - loss(theta))


@pytest.mark.sanitized
def test_a_model_whose_step_is_no_number_stays_and_its_neighbours_go_on():
    X, y, _, _, _ = problem(2, 80, 3, False)
    matrix = logistic(X, y, 0.1)[2](np.zeros(4))
    l2 = np.array([0.1, 1e308, 0.2])  # where the gradient of the penalty is beyond the range
    with np.errstate(over="ignore"):
        found = take_kept_steps(X, y, l2, np.full(4, 1e3), matrix, most=1)
    assert found[7].tolist()[1] == 0 and (found[0][1] == 1e3).all()
    assert (found[0][[0, 2]] != 1e3).all() and found[9].tolist() == [1, 1, 1]


def test_kept_steps_have_the_same_bits_on_any_number_of_threads_and_in_any_company():
    X, y, _, _, rng = problem(5, 3000, 20, False)
    l2, start = rng.uniform(0.01, 1, 60), np.zeros(21)
    matrix = logistic(X, y, 0.1)[2](start)
    found = {
        b"".join(
            array.tobytes()
            for array in take_kept_steps(X, y, l2, start, matrix, most=3, n_threads=n_threads)
        )
        for n_threads in (1, 2, 5)
    }
    assert len(found) == 1
    together = take_kept_steps(X, y, l2, start, matrix, most=3)
    for i in (0, 33, 59):
        alone = take_kept_steps(X, y, l2[i : i + 1], start, matrix, most=3)
        assert alone[0][0].tobytes() == together[0][i].tobytes()


# --------------------------------------------------------------------------- several training sets


def training_sets(seed, sizes, n_features):
    """Rows of some training sets of the same columns, each with labels of both kinds."""
    rng = np.random.default_rng(seed)
    problems = [(rng.normal(size=(n, n_features)), np.arange(n) % 2) for n in sizes]
    return problems, [mf.LogisticLoss(X, y, fit_intercept=True) for X, y in problems], rng


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(2, 400), min_size=1, max_size=4),
    counts=st.lists(st.integers(0, 40), min_size=4, max_size=4),
    n_features=st.integers(1, 9),
    n_threads=st.integers(1, 3),
    insist=st.booleans(),
)
def test_what_sets_share_a_region_for_is_what_each_has_alone(
    seed, sizes, counts, n_features, n_threads, insist
):
    _, objectives, rng = training_sets(seed, sizes, n_features)
    which = np.repeat(np.arange(len(sizes)), counts[: len(sizes)])
    thetas = rng.normal(size=(len(which), n_features + 1))
    losses, largest = np.full((2, len(which)), np.nan)
    gradients = np.full_like(thetas, np.nan)
    matrices = np.full((len(which), _kernels.n_pairs(n_features + 1)), np.nan)
    sets = _kernels.RowSets([objective._rows for objective in objectives])
    _kernels.insist(insist)
    try:
        sets.evaluate(which, thetas, losses, gradients, n_threads)
        assert _kernels.hessians(sets, which, thetas, matrices, n_threads)
        assert _kernels.largest_margins(sets, which, thetas, largest, n_threads)
        again = np.full_like(losses, np.nan)
        sets.evaluate(which, thetas, again, None, n_threads)
    finally:
        _kernels.insist(False)
    assert again.tobytes() == losses.tobytes()
    for i, (number, theta) in enumerate(zip(which.tolist(), thetas, strict=True)):
        loss, gradient = objectives[number].loss_gradient(theta)
        assert losses[i] == loss and gradients[i].tobytes() == gradient.tobytes()
        assert matrices[i].tobytes() == hessians(objectives[number], theta[None])[0].tobytes()
        alone = np.empty(1)
        _kernels.largest_margins(*one_set(objectives[number], [0]), theta[None], alone, 1)
        assert largest[i] == alone[0]


# Where threads take models of one set each, for one look at signals and for several, and where all
# of them share the rows.
@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(("n_threads", "size"), [(1, 300), (3, 300), (2, 40_000), (8, 40_000)])
@pytest.mark.parametrize("insist", [False, True])
def test_kept_steps_of_several_sets_are_those_of_each(n_threads, size, insist):
    problems, _, rng = training_sets(3, [size, size // 2, 5], 6)
    which, start = np.repeat(np.arange(3), (60, 31, 4)), np.zeros(7)
    l2 = rng.uniform(0.05, 1, len(which))
    matrix = logistic(*problems[0], 0.2)[2](start)
    _kernels.insist(insist)
    try:
        together = take_steps_of_sets(
            problems, which, l2, start, matrix, most=8, n_threads=n_threads
        )
    finally:
        _kernels.insist(False)
    for i in range(3):
        own = which == i
        alone = take_steps_of_sets(problems, which[own], l2[own], start, matrix, most=8)
        for mine, found in zip(alone, together, strict=True):
            assert found[own].tobytes() == mine.tobytes()


# ------------------------------------------------------------------------- steps of a single model


def reference_optimum(X, y, l2):
    """The optimum of rows and their intercept by Newton's method in NumPy."""
    objective, gradient, hessian = logistic(X, y, l2)
    theta = np.zeros(X.shape[1] + 1)
    for _ in range(100):
        step, size = np.linalg.solve(hessian(theta), gradient(theta)), 1.0
        while objective(theta - size * step) > objective(theta) and size > 1e-3:
            size /= 2
        theta = theta - size * step
    return theta


def walk(objective, theta, l2, tol, max_iter=100, n_threads=1):
    """The theta that Newton steps lead to, and what they leave there: see `newton_steps`."""
    theta, gradient, origin = theta.copy(), np.empty_like(theta), np.empty_like(theta)
    hessian = np.empty((1, _kernels.n_pairs(len(theta))))
    arguments = (objective._rows, theta, gradient, hessian, origin, l2, tol, max_iter, n_threads)
    return theta, gradient, hessian, origin, *_kernels.newton_steps(*arguments)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(4, 150),
    n_features=st.integers(1, 12),
    l2=st.sampled_from([1e-4, 1e-2, 1.0]),
    far=st.sampled_from([0.0, 1.0, 1e3]),
)
def test_newton_steps_lead_to_the_optimum(seed, n_samples, n_features, l2, far):
    X, y, _, objective, rng = problem(seed, n_samples, n_features, False)
    wanted = reference_optimum(X, y, l2)
    start = far * rng.normal(size=n_features + 1)
    theta, gradient, hessian, origin, loss, n_steps, distance = walk(objective, start, l2, 1e-8)
    assert 0 < n_steps < 30
    np.testing.assert_allclose(theta, wanted, rtol=1e-5, atol=1e-6)
    penalised = theta * np.append(np.ones(n_features), 0)
    slope = objective.loss_gradient(theta)[1] + l2 * penalised
    assert loss == pytest.approx(objective.loss(theta) + l2 / 2 * penalised @ penalised, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-14)
    # The last Hessian, where it was taken, and how far that is.
    np.testing.assert_array_equal(hessian, hessians(objective, origin[None]))
    matrix = matrix_of(hessian[0]) / n_samples + np.diag([*[l2] * n_features, 0.0])
    moved = theta - origin
    assert np.sqrt(moved @ matrix @ moved) <= distance * (1 + 1e-9) + 1e-12
    again = walk(objective, theta, l2, 1e-6)
    assert again[5] == 0 and again[6] == 0 and (again[0] == theta).all()


@pytest.mark.sanitized
def test_each_newton_step_lowers_the_objective_and_there_are_no_more_than_wanted():
    X, y, _, _, _ = problem(3, 100, 5, False)
    X = X + y[:, None]
    objective = mf.LogisticLoss(X, y, l2=1e-6, fit_intercept=True)
    losses = [objective.loss(np.zeros(6))]
    for max_iter in range(1, 8):
        theta, *_, n_steps, _ = walk(objective, np.zeros(6), 1e-6, 1e-12, max_iter)
        assert n_steps == max_iter
        losses.append(objective.loss(theta))
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("n_features", [3, 60])
def test_newton_steps_have_the_same_bits_on_any_number_of_threads(n_features):
    _, _, _, objective, _ = problem(1, 4000, n_features, True)
    found = []
    for n_threads in (1, 2, 5):
        arrays = walk(objective, np.zeros(n_features + 1), 1e-3, 1e-8, n_threads=n_threads)
        found.append(b"".join(np.asarray(array).tobytes() for array in arrays))
    assert len(set(found)) == 1


def solve(matrices, which, scales, shifts, n_penalised, extents, right, n_threads=1, alone=-1):
    """The solutions, the squares of their norms, and the radii and inflations of the factors."""
    x = right.copy()
    squares, radii, inflations = np.empty((3, len(right)))
    factors, places = np.full((len(right) + 1, matrices.shape[1]), np.nan), which.copy()
    places[:] = np.arange(len(right))[::-1] + 1
    _kernels.factor(
        matrices,
        which,
        scales,
        shifts,
        n_penalised,
        extents,
        factors,
        places,
        radii,
        inflations,
        n_threads,
        alone,
    )
    assert np.isnan(factors[0]).all() and np.isfinite(factors[1:]).all()
    _kernels.solve(factors, places, x, squares, n_threads, alone)
    return x, squares, radii, inflations


def arguments_of_factor(matrix, shifts, n_threads=1):
    """What `_kernels.factor` is given for a matrix with some diagonals, each by itself."""
    n, n_systems = len(matrix), len(shifts)
    pairs, places = pairs_of(matrix)[None], np.arange(n_systems)
    factors, results = np.empty((n_systems, pairs.shape[1])), np.empty((2, n_systems))
    extents = np.linspace(0.1, 1, n)
    ones, which = np.ones(n_systems), np.zeros(n_systems, np.intp)
    return pairs, which, ones, shifts, n, extents, factors, places, *results, n_threads, 1


def factor(matrix, shifts, n_threads=1):
    """The factors of a matrix with some diagonals, their radii and their inflations."""
    arguments = arguments_of_factor(matrix, shifts, n_threads)
    _kernels.factor(*arguments)
    n, factors, results = len(matrix), arguments[6], arguments[8:10]
    whole = np.zeros((len(shifts), n, n))
    whole[:, *np.triu_indices(n)] = factors
    return whole, *results


def correlations(n):
    near = np.arange(n)
    return (
        0.5 ** np.abs(near[:, None] - near) * np.linspace(1, 2, n)[:, None] * np.linspace(1, 2, n)
    )


@pytest.mark.long(everywhere=True)
def test_a_system_that_is_factored_in_pieces_has_the_same_bits():
    matrix, shifts = correlations(940), np.array([0.1, 0.2, 0.3])
    # Of so few unknowns in one piece; the larger one's factor begins with theirs.
    beginning, *_ = factor(np.ascontiguousarray(matrix[:900, :900]), shifts)
    factors, radii, inflations = factor(matrix, shifts)
    assert (factors[:, :900, :900] == beginning).all()
    for ours, others in zip(factor(matrix, shifts, 2), (factors, radii, inflations), strict=True):
        assert (ours == others).all()
    shifted = matrix + shifts[0] * np.eye(940)
    inverse = np.linalg.inv(np.linalg.cholesky(shifted))
    reach = np.abs(inverse) @ np.linspace(0.1, 1, 940)
    np.testing.assert_allclose(radii[0], np.linalg.norm(reach), rtol=1e-9)
    trace = (inverse**2).sum(axis=0) @ np.diag(shifted)
    np.testing.assert_allclose(inflations[0], trace, rtol=1e-9)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
def test_the_factorisation_of_a_large_system_looks_at_signals(looks_of):
    arguments = arguments_of_factor(correlations(2400), np.ones(1))
    looks = looks_of(lambda: _kernels.factor(*arguments))
    assert np.diff(looks).max() < (looks[-1] - looks[0]) / 3


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 25),
    n_systems=st.integers(1, 60),
    n_threads=st.integers(1, 3),
)
def test_systems_are_solved_and_radii_are_bounds(seed, n, n_systems, n_threads):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2, 2 * n + 3, n)) * 10.0 ** rng.uniform(-3, 3, n)
    matrices = np.einsum("aij,aik->ajk", rows, rows)
    which = rng.integers(0, 2, n_systems)
    scales, shifts = rng.uniform(0.1, 2, n_systems), 10.0 ** rng.uniform(-6, 2, n_systems)
    extents = np.abs(rows).max(axis=(0, 1))
    right = rng.normal(size=(n_systems, n)) * extents
    packed = np.array([pairs_of(matrix) for matrix in matrices])
    x, squares, radii, inflations = solve(
        packed, which, scales, shifts, n - 1, extents, right, n_threads=n_threads
    )
    for i in range(n_systems):
        matrix = scales[i] * matrices[which[i]]
        matrix[np.arange(n - 1), np.arange(n - 1)] += shifts[i]
        scale = 1 / np.sqrt(np.diag(matrix))
        inverse = np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)
        np.testing.assert_allclose(x[i] / scale, inverse @ right[i] / scale, rtol=1e-6, atol=1e-6)
        assert squares[i] == pytest.approx(right[i] @ inverse @ right[i], rel=1e-6)
        largest = np.einsum("ij,jk,ik->i", rows.reshape(-1, n), inverse, rows.reshape(-1, n)).max()
        assert radii[i] >= np.sqrt(largest) * (1 - 1e-9)
        of_each = np.diag(inverse) * np.diag(matrix)
        assert inflations[i] == pytest.approx(of_each.sum(), rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5, 23, 24, 25, 47, 48, 49, 53, 97, 130])
def test_a_system_has_the_same_bits_alone_and_in_a_tile(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(3, 2 * n, n)) * 10.0 ** rng.uniform(-3, 3, n)
    rows[2, :, n // 2] = rows[2, :, 0]  # singular
    packed = np.array([pairs_of(block.T @ block) for block in rows])
    which, shifts = np.arange(29) % 3, rng.uniform(0, 1, 29)
    shifts[2::3] = 0
    arguments = (packed, which, np.ones(29), shifts, n, np.abs(rows).max(axis=(0, 1)))
    right = rng.normal(size=(29, n))
    alone, tiled = (solve(*arguments, right, alone=alone) for alone in (1, 0))
    for ours, theirs in zip(alone, tiled, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert n == 1 or np.isinf(alone[2][2::3]).all()
    assert np.isfinite(alone[3][0::3]).all()


@pytest.mark.sanitized
@pytest.mark.parametrize("alone", [0, 1])
def test_a_mean_of_two_matrices_is_factored_as_that_matrix(alone):
    rng, n = np.random.default_rng(0), 7
    rows = rng.normal(size=(3, 2 * n, n))
    packed = np.array([pairs_of(block.T @ block) for block in rows])
    which, others, parts = np.array([0, 2, 1]), np.array([1, 2, 0]), np.array([0.25, 0.0, 0.9])
    means = (1 - parts)[:, None] * packed[which] + parts[:, None] * packed[others]
    places, found = np.arange(3), []
    for matrices, of, more in (
        (packed, which, {"others": others, "parts": parts}),
        (means, places, {}),
    ):
        factors, (radii, inflations) = np.empty_like(packed), np.empty((2, 3))
        of_all = (np.array([1.0, 2.0, 0.5]), np.full(3, 0.1), n - 1, np.ones(n))
        arguments = (matrices, of, *of_all, factors, places, radii, inflations, 1, alone)
        _kernels.factor(*arguments, **more)
        found.append((factors, radii, inflations))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 3), (20, 37), (60, 400)])
def test_reflections_leave_a_triangle_of_the_rows(shape):
    rng = np.random.default_rng(shape[1])
    X = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, shape[1])
    X[-1] = X[0]
    kept, taus = X.copy(), np.empty(len(X))
    _kernels.make_reflections(kept, taus, 1)
    triangle = np.tril(kept[:, : len(X)])
    sizes = np.abs(X).sum(axis=1, keepdims=True)
    turned = X.copy()
    _kernels.reflect(kept, taus, turned, False, 2)
    assert (np.abs(turned[:, : len(X)] - triangle) <= 1e-13 * sizes).all()
    assert (np.abs(turned[:, len(X) :]) <= 1e-13 * sizes).all()
    products = (np.abs(triangle @ triangle.T - X @ X.T) / (sizes * sizes.T)).max()
    assert products <= 1e-14
    _kernels.reflect(kept, taus, turned, True, 1)
    assert (np.abs(turned - X) <= 1e-13 * sizes).all()
    for n_threads in (2, 3):
        again, others = X.copy(), np.empty(len(X))
        _kernels.make_reflections(again, others, n_threads)
        np.testing.assert_array_equal(again, kept)
        np.testing.assert_array_equal(others, taus)


@pytest.mark.sanitized
def test_no_systems_are_solved_at_once():
    none, nothing = np.empty((0, 1)), np.empty(0)
    assert all(
        found.size == 0
        for found in solve(none, np.empty(0, np.intp), nothing, nothing, 1, np.ones(1), none)
    )


def test_a_singular_system_leaves_parameters_out_and_says_so():
    matrix = np.array([[1.0, 1.0], [1.0, 1.0]])
    x, squares, radii, inflations = solve(
        pairs_of(matrix)[None],
        np.zeros(1, np.intp),
        np.ones(1),
        np.zeros(1),
        2,
        np.ones(2),
        np.array([[3.0, 3.0]]),
    )
    assert x.tolist() == [[3.0, 0.0]]
    assert squares[0] == pytest.approx(9)
    assert np.isinf(radii[0]) and np.isinf(inflations[0])


def test_the_bound_is_half_the_squared_decrement_near_the_optimum_and_infinite_far_away():
    decrement = np.array([1e-9, 1e-4, 0.3, 0.99, 1.0, 5.0, np.nan])
    bound = logistic_gap_bound(decrement, np.ones(7))
    np.testing.assert_allclose(bound[:2], decrement[:2] ** 2 / 2, rtol=1e-4)
    assert (bound[:4] >= decrement[:4] ** 2 / 2).all() and np.isfinite(bound[:4]).all()
    assert np.isinf(bound[4:]).all()
    # exp(-R t) is all that is left of the curvature: min_t exp(-t) + t - 1 - lam t, by hand.
    t = np.linspace(0, 20, 2_000_001)
    np.testing.assert_allclose(bound[2], (0.3 * t - (np.exp(-t) + t - 1)).max(), rtol=1e-9)


HASH_OF_FITS = """
import hashlib
import signal
import time
import numpy as np
import metaopt_fast as mf
rng = np.random.default_rng(0)
X, folds = rng.normal(size=(700, 9)), np.arange(700) % 4
y = (X @ rng.normal(size=9) + rng.normal(size=700) > 0).astype(int)
fits = mf.fit_many(X, y, l2=np.logspace(-5, 1, 40), folds=folds, n_threads=N_THREADS)
arrays = (fits.theta, fits.loss, fits.gap_bound, fits.n_iter, fits.validation_loss)
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def test_what_is_known_between_models_is_true_of_the_penalties_there(monkeypatch):
    points_of, seen = newton.Batch.points_of, []

    def checked(batch, others):
        start, models = points_of(batch, others), batch.models
        losses, gradients = models.evaluate(others, start.safe_thetas)
        np.testing.assert_allclose(start.safe_losses, losses, rtol=1e-12)
        np.testing.assert_allclose(start.safe_gradients, gradients, rtol=1e-9, atol=1e-13)
        # The start is nearer to the optimum than any other model is.
        assert (models.evaluate(others, start.thetas)[0] <= losses).all()
        means = newton.means_between(batch.kept, start)
        drifts = means.drifts(models, others, start.thetas)
        hessians, parts = models.hessians(others, start.thetas), means.parts[:, None]
        mixed = (1 - parts) * means.hessians[means.left] + parts * means.hessians[means.right]
        for kept, true, drift in zip(mixed, hessians, drifts, strict=True):
            assert np.linalg.eigvalsh(matrix_of(true) - np.exp(-drift) * matrix_of(kept))[0] >= -(
                1e-12 * np.abs(true).max()
            )
        seen.append(len(others))
        return start

    monkeypatch.setattr(newton.Batch, "points_of", checked)
    X, y, _, _, _ = problem(0, 150, 4, False)
    assert mf.fit_many(X + y[:, None], y, l2=np.logspace(-3, 2, 50)).certified.all()
    assert sum(seen) >= 20


@pytest.mark.long(everywhere=True)
@given(st.data())
def test_brackets_are_the_nearest_models_of_the_set_on_both_sides(data):
    some = st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), min_size=1, max_size=30)
    models = sorted(data.draw(some))
    numbers = st.sampled_from(models).map(lambda model: model[0])
    others = data.draw(st.lists(st.tuples(numbers, st.integers(-9, 9)), min_size=1, max_size=20))
    sets, positions = np.array(models).T
    their_sets, theirs = np.array(others).T
    left, right, part = paths.brackets(sets, positions / 2.0, their_sets, theirs / 2.0)
    for (number, position), a, b, t in zip(others, left, right, part, strict=True):
        below = [p for n, p in models if n == number and p <= position]
        above = [p for n, p in models if n == number and p > position]
        assert models[a][0] == models[b][0] == number
        if below and above and above[0] - below[-1] <= 2 * paths.MAX_WIDTH:
            assert (models[a][1], models[b][1]) == (below[-1], above[0])
            assert t == (position - below[-1]) / (above[0] - below[-1])
        else:
            assert models[a] == models[b] and t == 0
            assert abs(models[a][1] - position) == min(abs(p - position) for p in below + above)


def test_a_cubic_has_the_ends_and_slopes_that_it_is_given():
    rng = np.random.default_rng(0)
    part, width = rng.uniform(0, 1, 30), rng.uniform(0.1, 3, 30)
    ends, slopes = rng.normal(size=(2, 2, 30, 4))
    found = paths.on_cubics(part, width, tuple(ends), tuple(slopes))
    for i in range(30):
        wanted = CubicHermiteSpline([0, width[i]], ends[:, i], slopes[:, i])(part[i] * width[i])
        np.testing.assert_allclose(found[i], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.long
def test_fits_have_one_hash_over_threads_and_instruction_sets(outputs):
    hashes = outputs(HASH_OF_FITS)
    assert len(hashes) <= 1  # none where the baseline is all there is
    assert all(len(found) == len(hashlib.sha256().hexdigest()) for found in hashes)
