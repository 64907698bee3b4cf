"""Columns in unlike units, and numbers near the ends of the range: against exact arithmetic."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from accuracy import Exact
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels, reference

LOSSES = ["LogisticLoss", "HingeLoss", "SquaredHingeLoss", "SquaredLoss", "SmoothedZeroOneLoss"]
# Powers of ten of the units: numbers of order one times them are in the range with room to spare.
LARGEST_UNIT = {"float64": 300, "float32": 30}
HUGE = {"float64": 1e308, "float32": 1e38}


class Problem:
    """Columns in units of their own, and thetas for which most products are of order one."""

    def __init__(self, seed, dtype, n_samples, n_features, n_candidates, mixed):
        rng, limit = np.random.default_rng(seed), LARGEST_UNIT[dtype]
        self.dtype = dtype
        units = 10.0 ** rng.uniform(-limit, limit, n_features)
        self.X = rng.normal(size=(n_samples, n_features)) * units
        self.y = rng.permutation(np.arange(n_samples) % 2)
        sizes = 10.0 ** rng.uniform(-2, 2, (n_candidates, n_features))
        self.thetas = rng.normal(size=(n_candidates, n_features)) * sizes / units
        if mixed:  # entries of X and of thetas that belong to another column
            self.X = np.where(rng.random(self.X.shape) < 0.1, rng.permutation(self.X.T).T, self.X)
            swapped = rng.permutation(self.thetas.T).T
            self.thetas = np.where(rng.random(self.thetas.shape) < 0.1, swapped, self.thetas)
        self.weights = rng.choice([0.3, 1.0, 2.5], n_samples) if rng.random() < 0.5 else None


problems = st.builds(
    Problem,
    st.integers(0, 2**32 - 1),
    st.sampled_from(["float64", "float32"]),
    st.integers(2, 20),
    st.integers(1, 4),
    st.sampled_from([1, 3, 5, 30]),
    st.booleans(),
)


# --------------------------------------------------------------------------- against exact values


@pytest.mark.long
@given(problems, st.sampled_from(LOSSES), st.sampled_from([0.0, 0.3]), st.booleans())
def test_losses_and_gradients_in_unlike_units_are_within_the_bound(
    problem, name, l2, fit_intercept
):
    options = {"l2": l2, "fit_intercept": fit_intercept, "dtype": problem.dtype}
    if name == "SmoothedZeroOneLoss":
        options["beta"] = 2.5
    args = (problem.X, problem.y, problem.weights)
    objective, twin = (getattr(m, name)(*args, **options) for m in (mf, reference))
    thetas = problem.thetas
    if fit_intercept:
        thetas = np.column_stack([thetas, np.linspace(-1, 1, len(thetas))])
    losses, gradients = objective.batch_loss_gradient(thetas)
    twins = twin.batch_loss_gradient(thetas[:2])
    with mpmath.workdps(60):
        for k, theta in enumerate(thetas[:3]):
            exact = Exact(name, twin, theta)
            exact.assert_loss(losses[k])
            exact.assert_gradient(gradients[k])
            exact.assert_loss(objective.loss(theta))
            exact.assert_gradient(objective.gradient(theta))
            if k < 2:
                exact.assert_loss(twins[0][k])
    np.testing.assert_array_equal(objective.batch_loss(thetas), losses)


@pytest.mark.sanitized
@pytest.mark.long
@given(problems)
def test_decisions_in_unlike_units_are_right(problem):
    counts = mf.ConfusionCounts(problem.X, problem.y, dtype=problem.dtype)
    twin = reference.LogisticLoss(problem.X, problem.y, dtype=problem.dtype)
    found = counts.batch_counts(problem.thetas)[:, 0, 0]
    with mpmath.workdps(60):
        for k, theta in enumerate(problem.thetas[:3]):
            exact = Exact("LogisticLoss", twin, theta)
            decisions = [
                (-z if p else z, off)
                for z, off, p in zip(exact.margins, exact.off, problem.y, strict=True)
            ]
            for label, cells in ((1, (found[k, 0], found[k, 2])), (0, (found[k, 1], found[k, 3]))):
                mine = [d for d, p in zip(decisions, problem.y, strict=True) if p == label]
                surely_positive = sum(z > off for z, off in mine)
                surely_negative = sum(z < -off for z, off in mine)
                assert cells[0] + cells[1] == len(mine)
                assert cells[0] >= surely_positive and cells[1] >= surely_negative


@pytest.mark.long
@given(problems)
def test_areas_in_unlike_units_are_within_their_bounds(problem):
    objective = mf.AUCObjective(problem.X, problem.y, dtype=problem.dtype)
    twin = reference.LogisticLoss(problem.X, problem.y, dtype=problem.dtype)
    areas, bounds = objective.batch_auc(problem.thetas)
    positive = problem.y == 1
    for k, theta in enumerate(problem.thetas[:3]):
        with mpmath.workdps(60):
            exact = Exact("LogisticLoss", twin, theta)
            z = [-m if p else m for m, p in zip(exact.margins, positive, strict=True)]
            largest = float(np.finfo(problem.dtype).max)
            if max(map(abs, z)) > largest:  # rows beyond the range tie
                continue
            right = wrong = 0
            for i in np.flatnonzero(positive):
                for j in np.flatnonzero(~positive):
                    off = exact.off[i] + exact.off[j]
                    right += z[i] > z[j] + off
                    wrong += z[i] < z[j] - off
        n_pairs = positive.sum() * (~positive).sum()
        area = objective.auc(theta)
        assert right / n_pairs - 1e-12 <= area <= 1 - wrong / n_pairs + 1e-12
        assert abs(areas[k] - area) <= bounds[k]


# ---------------------------------------------------------------------- units that change no digit


def in_units(seed, dtype, n_samples, n_features, n_candidates):
    """Data and thetas, the same in other units, and these. Rows are of one norm, whatever units."""
    rng = np.random.default_rng(seed)
    X = rng.choice([-1.0, 1.0], (n_samples, n_features)) * rng.normal(size=n_features)
    y = rng.permutation(np.arange(n_samples) % 2)
    thetas = rng.normal(size=(n_candidates, n_features)).astype(dtype).astype(np.float64)
    exponents = rng.integers(*((-100, 101) if dtype == "float32" else (-990, 991)), n_features)
    units = np.ldexp(1.0, exponents)
    return X.astype(dtype).astype(np.float64), y, thetas, units


@pytest.mark.long
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["float64", "float32"]),
    st.integers(2, 150),
    st.integers(1, 9),
    st.integers(1, 60),
)
def test_units_that_are_powers_of_two_change_no_bit(
    seed, dtype, n_samples, n_features, n_candidates
):
    X, y, thetas, units = in_units(seed, dtype, n_samples, n_features, n_candidates)
    for name in LOSSES:
        plain, other = (getattr(mf, name)(A, y, dtype=dtype) for A in (X, X * units))
        losses, gradients = plain.batch_loss_gradient(thetas)
        found, slopes = other.batch_loss_gradient(thetas / units)
        np.testing.assert_array_equal(found, losses)
        # Sums some of whose terms are subnormal are off by these.
        kept = np.abs(gradients * units) > np.finfo(dtype).smallest_normal * 2**30
        np.testing.assert_allclose(
            slopes[kept], (gradients * units)[kept], rtol=4 * np.finfo(dtype).eps
        )
    plain, other = (mf.ConfusionCounts(A, y, dtype=dtype) for A in (X, X * units))
    np.testing.assert_array_equal(other.batch_counts(thetas / units), plain.batch_counts(thetas))
    plain, other = (mf.AUCObjective(A, y, dtype=dtype) for A in (X, X * units))
    assert other.auc(thetas[0] / units) == plain.auc(thetas[0])
    np.testing.assert_array_equal(other.batch_auc(thetas / units)[0], plain.batch_auc(thetas)[0])


@pytest.mark.parametrize("threshold", [0.9, math.inf])
def test_a_search_in_other_units_has_the_same_losses(dtype, threshold):
    X, y, _, units = in_units(5, dtype, 700, 6, 1)
    plain, other = (mf.LogisticLoss(A, y, dtype=dtype) for A in (X, X * units))
    samplers = mf.Normal(), mf.Normal(scale=1 / units)
    if threshold == math.inf:
        wanted = plain.sampled_loss(samplers[0], 3, 10, 500)
        found = other.sampled_loss(samplers[1], 3, 10, 500)
    else:
        wanted, _ = plain.pruned_loss(samplers[0], 3, 10, 500, threshold)
        found, fraction = other.pruned_loss(samplers[1], 3, 10, 500, threshold)
        assert fraction < 1
        assert np.isinf(found).any()
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found).any()


def test_hessians_and_largest_margins_in_other_units_are_the_same():
    rng = np.random.default_rng(2)
    X, y, thetas, _ = in_units(2, "float64", 90, 4, 30)
    units = np.ldexp(1.0, rng.permutation([-500, -300, 0, 500]))
    plain, other = (mf.LogisticLoss(A, y)._rows for A in (X, X * units))
    results = []
    for rows, some in ((plain, thetas), (other, thetas / units)):
        hessians, largest = np.empty((30, _kernels.n_pairs(4))), np.empty(30)
        one_set = _kernels.RowSets([rows]), np.zeros(30, np.intp)
        assert _kernels.hessians(*one_set, some, hessians, 1)
        assert _kernels.largest_margins(*one_set, some, largest, 1)
        results.append((hessians, largest))
    scales = np.outer(units, units)[np.triu_indices(4)]
    np.testing.assert_array_equal(results[1][1], results[0][1])
    np.testing.assert_array_equal(results[1][0], results[0][0] * scales)


# ---------------------------------------------------------------------------- the ends of the range


def check(name, X, y, theta, dtype, weights=None, **options):
    """Assert that the loss and the gradient of a theta are right, alone and among others."""
    objective = getattr(mf, name)(X, y, weights, dtype=dtype, **options)
    twin = getattr(reference, name)(X, y, weights, dtype=dtype, **options)
    with mpmath.workdps(60):
        exact = Exact(name, twin, theta)
        alone = objective.loss_gradient(theta)
        exact.assert_loss(alone[0])
        exact.assert_gradient(alone[1])
    assert objective.loss(theta) == alone[0]
    others = np.zeros((29, len(theta)))
    losses, gradients = objective.batch_loss_gradient([*others[:20], theta, *others[20:]])
    assert losses[20] == alone[0]
    np.testing.assert_array_equal(gradients[20], alone[1])
    return alone


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_margin_of_one_beside_a_row_beyond_the_range_is_one(name, sign, dtype):
    huge = HUGE[dtype]
    X = sign * np.array([[huge], [1 / huge], [-1.0]])
    loss, _ = check(name, X, [1, 1, 0], [sign * huge], dtype)
    if name == "LogisticLoss":
        assert loss == pytest.approx(math.log1p(math.exp(-1)) / 3, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_theta_beside_a_huge_one_counts(name, sign, dtype):
    huge = HUGE[dtype] ** 0.8
    X = sign * np.array([[huge, 0], [0, huge], [-1.0, -1.0]])
    loss, _ = check(name, X, [1, 1, 0], [sign * huge, sign / huge], dtype)
    if name == "LogisticLoss":
        assert loss == pytest.approx(math.log1p(math.exp(-1)) / 3, rel=1e-6)


def test_a_decision_beside_a_huge_one_is_right(dtype):
    huge = HUGE[dtype] ** 0.8
    X = np.array([[-huge, 0], [0, -huge], [1.0, 1.0]])
    for theta in ([-huge, -1 / huge], [[-huge, -1 / huge]] * 9):
        found = mf.ConfusionCounts(X, [1, 1, 0], dtype=dtype).batch_counts(np.atleast_2d(theta))
        assert (found[:, 0, 0] == [2, 0, 0, 1]).all()


@pytest.mark.sanitized
@pytest.mark.long
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_mean_is_right_where_its_sum_leaves_the_range(name, weighted, dtype):
    # A block of rows has 64, a span 512: each of the sums leaves the range.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1100, 2))
    X[::2, 0] = HUGE[dtype] / 2
    X[1::6, 0] = -HUGE[dtype] / 3
    weights = rng.uniform(0.5, 2, 1100) if weighted else None
    loss, gradient = check(name, X, np.arange(1100) % 7 < 2, [1.0, 2.0], dtype, weights)
    assert np.isfinite(gradient[1])
    if "Squared" not in name or dtype == "float32":
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()


def test_a_row_without_weight_counts_for_nothing_however_far_it_is(dtype):
    X = [[HUGE[dtype]], [1.0], [-1.0]]
    args = X, [0, 1, 0], [0.0, 1.0, 1.0]
    assert mf.LogisticLoss(*args, dtype=dtype).loss([HUGE[dtype]]) == 0


def test_a_search_keeps_a_candidate_whose_sum_leaves_the_range(dtype):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(700, 2))
    X[:, 0] += HUGE[dtype] / 8
    objective = mf.LogisticLoss(X, np.arange(700) % 2, dtype=dtype)
    thetas = rng.normal(size=(200, 2))
    losses = objective.batch_loss(thetas)
    assert np.isfinite(losses).all()
    threshold = float(np.median(losses))
    found, _ = objective.pruned_loss(thetas, 0, 0, 200, threshold)
    kept = losses <= threshold
    np.testing.assert_array_equal(found[kept], losses[kept])


@pytest.mark.parametrize(
    ("l2", "theta"),
    [
        *((1e-300, 1e308), (5e-324, 1e200), (5e-324, 20.5), (3e-310, -1e155), (1e308, 1e-200)),
        (1e300, 1e300),
    ],
)
def test_a_penalty_of_extreme_numbers_is_right(l2, theta):
    check("LogisticLoss", [[1e-308], [-1e-308], [0.0]], [0, 1, 1], [theta], "float64", l2=l2)
    check("HingeLoss", [[1.0], [-1.0]], [theta > 0, theta < 0], [theta], "float64", l2=l2)


@pytest.mark.parametrize("name", ["SquaredHingeLoss", "SquaredLoss"])
def test_a_mean_of_squares_is_right_where_one_of_them_leaves_the_range(name):
    X = np.array([[-1.2], *[[1e-200]] * 4])
    loss, gradient = check(name, X, [1, 1, 1, 1, 0], [1.2e154], "float64")
    assert loss == pytest.approx(1.44 * 1.44 / 5 * 1e308, rel=1e-12)
    assert gradient[0] == pytest.approx(2 * 1.44 * 1.2 / 5 * 1e154, rel=1e-12)


def test_a_penalty_in_single_precision_may_be_beyond_its_range():
    X = np.array([[3e38], [1.0], [-1.0]])
    loss, gradient = check("LogisticLoss", X, [1, 1, 0], [3e38], "float32", l2=1e-30)
    assert gradient[0] == pytest.approx(3e8, rel=1e-6)
    assert loss == pytest.approx(4.5e46, rel=1e-6)


def test_areas_of_rows_beyond_the_range_and_of_others_are_right(dtype):
    huge = HUGE[dtype] ** 0.8
    x = np.array([3.0, 1.0, 2.0, 4.0, 0.5, 0.0])
    X = np.column_stack([[0, 0, 0, 0, 0, huge], x / huge])
    y = np.array([1, 0, 1, 1, 0, 0])
    objective = mf.AUCObjective(X, y, dtype=dtype)
    theta = [huge, huge]
    assert objective.auc(theta) == 6 / 9
    for thetas in ([theta], [theta] * 30):
        areas, bounds = objective.batch_auc(thetas)
        assert (np.abs(areas - 6 / 9) <= bounds).all()


def test_a_descent_in_unlike_units_takes_the_steps_of_double_precision():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 2)) * [1e30, 1e-30]
    y = X @ [1e-30, 1e30] + rng.normal(size=200) > 0
    start = [-1e-30, 0.5e30]
    runs = [
        mf.gradient_descent(
            mf.LogisticLoss(X, y, dtype=dtype), start, learning_rate=1e-60, max_iter=20, tol=0
        )
        for dtype in ("float32", "float64")
    ]
    assert runs[0].loss == pytest.approx(runs[1].loss, rel=1e-6)
    np.testing.assert_allclose(runs[0].theta, runs[1].theta, rtol=1e-5)
    assert runs[1].loss < 0.8 * mf.LogisticLoss(X, y).loss(start)


SAME_BITS = """
import hashlib
import numpy as np
import metaopt_fast as mf
from test_range import HUGE, LOSSES
from metaopt_fast import _kernels
digest = hashlib.sha256()
rng = np.random.default_rng(4)
for dtype in ("float64", "float32"):
    huge = HUGE[dtype] ** 0.8
    units = np.array([huge, 1 / huge, 1.0, 1.0])
    X, y = rng.normal(size=(1500, 4)) * units, np.arange(1500) % 2
    X[rng.random(X.shape) < 0.05] = huge
    thetas = rng.normal(size=(70, 4)) / units * np.where(rng.random((70, 4)) < 0.05, huge, 1)
    with np.errstate(over="ignore"):
        thetas = np.where(np.isfinite(thetas.astype(dtype)), thetas, 1)
    for name in LOSSES:
        objective = getattr(mf, name)(X, y, dtype=dtype)
        losses, gradients = objective.with_threads(1).batch_loss_gradient(thetas)
        for n_threads in (1, 3):
            some = objective.with_threads(n_threads)
            for part in (slice(0, 70), slice(7, 9), slice(30, 31), slice(5, 60)):
                found = some.batch_loss_gradient(thetas[part])
                np.testing.assert_array_equal(found[0], losses[part])
                np.testing.assert_array_equal(found[1], gradients[part])
        assert not np.isnan(losses).any() and not np.isnan(gradients).any()
        digest.update(losses.tobytes() + gradients.tobytes())
    digest.update(mf.ConfusionCounts(X, y, dtype=dtype).batch_counts(thetas).tobytes())
    area = mf.AUCObjective(X, y, dtype=dtype)
    digest.update(np.stack(area.batch_auc(thetas)).tobytes())
    digest.update(np.array([area.auc(theta) for theta in thetas]).tobytes())
objective = mf.LogisticLoss(np.ldexp(X, -100), y)
hessians, largest = np.empty((70, _kernels.n_pairs(4))), np.empty(70)
one_set = _kernels.RowSets([objective._rows]), np.zeros(70, np.intp)
_kernels.hessians(*one_set, thetas, hessians, 1)
_kernels.largest_margins(*one_set, thetas, largest, 1)
digest.update(hessians.tobytes() + largest.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.long
def test_numbers_near_the_ends_of_the_range_have_the_same_bits_everywhere(run_python):
    found = set()
    for isa in _kernels.supported_isas():
        done = run_python(SAME_BITS, METAOPT_FAST_ISA=isa)
        assert done.returncode == 0, done.stderr
        if isa != "baseline":  # which promises accuracy alone
            found.add(done.stdout)
    assert len(found) <= 1


def test_one_wide_theta_is_right_alone_and_in_any_lane(dtype):
    # Powers of two, whose products are exact.
    large, factor = (2.0**665, 2.0**500) if dtype == "float64" else (2.0**66, 2.0**66)
    objective = mf.LogisticLoss([[large, large], [0, 0]], [1, 0], dtype=dtype)
    for sign in (1, -1):  # the sum leaves the range at one end or the other, and comes back to 0
        theta = np.array([sign * factor, -sign * factor])
        assert objective.loss(theta) == pytest.approx(math.log(2), rel=1e-6)
        for lane in range(49):
            thetas = np.zeros((49, 2))
            thetas[lane] = theta
            np.testing.assert_allclose(objective.batch_loss(thetas), math.log(2), rtol=1e-6)


@pytest.mark.parametrize("n_params", [7, 15, 127])
def test_products_that_leave_the_range_only_all_together_have_their_sum(n_params, dtype):
    # As large as they may be for half of the terms to stay in the range: one more leaves it.
    half = (n_params + 1) // 2
    highest = 1024 if dtype == "float64" else 128
    number = np.dtype(dtype).type
    x, t = (
        float(np.nextafter(number(2.0**power), number(0)))
        for power in (highest // 2, highest - highest // 2 - half.bit_length() + 1)
    )
    signs = np.where(np.arange(n_params) <= half, 1, -1)
    margin = Fraction(x) * Fraction(t) * int(signs.sum())
    assert Fraction(x) * Fraction(t) * (half + 1) > 2**highest > margin
    objective = mf.LogisticLoss([signs * x, -signs * x], [0, 1], dtype=dtype)
    theta = np.full(n_params, t)
    rounding = n_params**2 * float(
        np.finfo(dtype).eps
    )  # of terms that are so much larger than the sum
    assert objective.loss(theta) == pytest.approx(float(margin), rel=rounding)
    thetas = np.repeat([0 * theta, theta], 25, axis=0)
    np.testing.assert_allclose(objective.batch_loss(thetas)[25:], float(margin), rtol=rounding)
