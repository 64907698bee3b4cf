"""Lower bounds of losses by moments of the rows: below the loss, always; close to it, where they
claim to be; and refused where nothing proves them."""

import itertools
import math
import signal
import types

import mpmath
import numpy as np
import pytest
from awkward_rows import rows
from hypothesis import given
from hypothesis import strategies as st
from mpmath import iv

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.objectives import dispersions, moments, tangents
from metaopt_fast.reference.bounds import covariance_of_products, moment_bound

KINDS = ("normal", "heavy tails", "binary", "repeated", "constant", "far from 0", "any units")
FAR = 100.0
N_CANDIDATES = 100  # two tiles of the widest lanes and a part of a third


class Problem:
    """Data, a sampler around an anchor, its candidates, and their losses in double precision."""

    def __init__(self, seed, kind, n_samples, n_features, scale, where, weights=None, **options):
        rng, self.kind = np.random.default_rng(seed), kind
        X = rows(rng, kind, n_samples, n_features, FAR)
        y = np.arange(n_samples) % 2
        sample_weight = {
            None: None,
            "few": rng.integers(1, 4, n_samples),
            "any": 10.0 ** rng.integers(-9, 9, n_samples),
        }[weights]
        self.objective = mf.LogisticLoss(X, y, sample_weight, fit_intercept=bool(seed % 2))
        n = self.objective.n_params
        units = np.ones(n)
        units[:n_features] = np.maximum(np.abs(X).max(axis=0), 1e-300)
        loc = np.zeros(n)
        if where == "random":
            loc = rng.standard_normal(n) / units
        elif where == "optimum" and kind != "any units":
            loc = mf.fit_many(X, y, l2=[0.01], fit_intercept=bool(seed % 2), max_iter=20).theta[0]
        self.sampler = mf.Normal(loc, scale / (units if kind == "any units" else 1))
        self.thetas = self.sampler.sample(seed, 0, N_CANDIDATES, n)
        self.reference = mf.reference.LogisticLoss(
            X, y, sample_weight, fit_intercept=bool(seed % 2)
        )
        self.losses = self.reference.batch_loss(self.thetas)

    def bound(self, **options):
        return moments.moments_of(self.objective._packed, "logistic", self.sampler, **options)


def bounds(bound, thetas, limit=math.inf):
    out = np.empty(len(thetas), np.float32)
    bound.bounds(np.ascontiguousarray(thetas, float), out, limit)
    return out.astype(float)


problems = st.builds(
    Problem,
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.one_of(st.integers(2, 40), st.sampled_from([64, 65, 300, 520])),
    st.integers(1, 17),
    st.floats(math.log(1e-3), math.log(3)).map(math.exp),
    st.sampled_from(["0", "random", "optimum"]),
    st.sampled_from([None, "few", "any"]),
)


# ----------------------------------------------------------------------------------- below the loss


@pytest.mark.long(everywhere=True)
@given(problems)
def test_the_bound_is_never_above_the_loss(problem):
    bound = problem.bound()
    if bound is None:  # without curvature at the anchor
        anchor = problem.sampler.mean(problem.objective.n_params)
        assert anchor.any() or not problem.reference.signed_X.any()
        return
    # Slack of the rounding of losses alone, relative to them: that of margins is in the bound.
    assert (bounds(bound, problem.thetas) <= problem.losses * (1 + 1e-14)).all()


@pytest.mark.long(everywhere=True)
@given(problems)
def test_the_bound_is_that_of_the_reference_but_for_its_safety(problem):
    bound = problem.bound()
    n, reference = problem.objective.n_params, problem.reference
    # A column of zeros has any spread.
    alike = bound is not None and reference.signed_X.any(axis=0).all()
    if not alike or bound.dispersion < 1.5 * dispersions.LEAST_DISPERSION:
        return
    factors = moments.column_factors(problem.objective._packed)
    # In the bound's units, and from its anchor: a number of single precision.
    anchor = np.asarray(problem.sampler.mean(n) * factors, np.float32).astype(float)
    rows, thetas = reference.signed_X / factors, problem.thetas * factors
    spread = problem.sampler.std(n) * factors
    wanted = moment_bound(rows, reference.w, anchor, thetas, spread, moments.RIDGE)
    loss, slope = reference.loss_gradient(anchor / factors)
    tangent = loss + (thetas - anchor) @ (slope / factors)
    found = bounds(bound, problem.thetas)
    error = loss - bound.constant
    assert error > 0
    assert (found <= wanted + 1e-9 * (1 + np.abs(wanted))).all()
    # A few percent of the dispersion, and the sums' rounding; where the ridge is most of s~, more.
    if problem.kind == "normal" and problem.objective.n_samples > 3 * n:
        below = 0.05 * (wanted - tangent) + 3 * error + 1e-5 * (1 + np.abs(wanted))
        assert (found >= wanted - below).all()


@pytest.mark.long(everywhere=True)
@given(problems, st.sampled_from([0.1, 0.5, 0.9]), st.booleans())
def test_rows_may_count_as_their_tangents(problem, share, smallest):
    packed, sampler, reference = problem.objective._packed, problem.sampler, problem.reference
    # Blocks are those of their weights, the largest norms first.
    left_out = np.arange(packed.n_blocks) < round(share * packed.n_blocks)
    left_out = left_out[::-1] if smallest else left_out
    block_at = tangents.as_packed(packed).block_at
    order = tangents.Ahead(None, np.where(block_at < 0, -1, ~left_out[block_at] * 1), None)
    found = moments.moments_around(packed, "logistic", sampler)
    rest = moments.moments_around(order.rest(packed, 1), "logistic", sampler)
    dispersion = None if found is None or rest is None else rest.dispersion()
    bound = None if dispersion is None else rest.among(found).supposed(dispersion)
    if bound is None:
        return
    assert (bounds(bound, problem.thetas) <= problem.losses * (1 + 1e-14)).all()
    # No less than tangents of all rows.
    anchor = sampler.mean(problem.objective.n_params)
    loss, slope = reference.loss_gradient(anchor)
    tangent = loss + (problem.thetas - anchor) @ slope
    error = loss - bound.constant
    below = 2 * error + 1e-5 * (1 + np.abs(tangent))
    if problem.kind == "normal":
        assert (bounds(bound, problem.thetas) >= tangent - below).all()


def test_rows_that_stand_out_are_better_left_to_their_tangents():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 6))
    X[:16] *= 8  # within the first block
    y = rng.integers(0, 2, 1200)
    objective = mf.LogisticLoss(X, y)
    packed, sampler = objective._packed, mf.Normal()
    found = moments.moments_around(packed, "logistic", sampler)
    rest = moments.moments_around(tangents.as_packed(packed).rest(packed, 1), "logistic", sampler)
    thetas = sampler.sample(0, 0, 200, 6)
    few = bounds(rest.among(found).supposed(rest.dispersion()), thetas)
    assert (few <= objective.batch_loss(thetas)).all()
    assert few.mean() > 1.25 * bounds(found.certified(), thetas).mean()
    # The first block has these rows and others, and no moments.
    first = np.argsort(np.square(X).sum(axis=1))[-64:]
    signed = np.where(y[:, None], -X, X)
    wanted = moment_bound(
        signed,
        np.full(1200, 1 / 1200),
        np.zeros(6),
        thetas,
        np.ones(6),
        part=~np.isin(np.arange(1200), first),
    )
    np.testing.assert_allclose(few, wanted, rtol=0.02)
    assert (few <= wanted).all()


def test_along_the_directions_of_single_rows_the_bound_stays_below():
    # There, the fourth moments are the largest that the certificate allows.
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, (150, 6))
    objective = mf.LogisticLoss(X, np.arange(150) % 2)
    for scale in (0.3, 3.0, 30.0):
        bound = moments.moments_of(objective._packed, "logistic", mf.Normal(scale=scale))
        directions = np.linalg.solve(X.T @ X / 150 + 0.3 * np.eye(6), X.T).T
        size = scale / np.abs(directions).max(axis=1, keepdims=True)
        thetas = np.concatenate([sign * directions * size for sign in (-1, 1)])
        assert (bounds(bound, thetas) <= objective.batch_loss(thetas)).all()


def test_rows_of_one_size_are_bounded_nearly_exactly():
    # All u^2 are equal: k is 1, but for what is added.
    X = np.array([[1.0], [-1.0], [1.0], [1.0]])
    objective = mf.LogisticLoss(X, [0, 1, 1, 0])
    bound = moments.moments_of(objective._packed, "logistic", mf.Normal(scale=3.0))
    # Sums in single precision are allowed 1e-4 of the squares, which are less than 1 here.
    assert (
        dispersions.LEAST_DISPERSION
        <= bound.dispersion
        <= dispersions.LEAST_DISPERSION + dispersions.OF_GRAM
    )
    thetas = np.linspace(-20, 20, 401)[:, None]
    gap = objective.batch_loss(thetas) - bounds(bound, thetas)
    assert (gap > 0).all()
    assert (gap < 1e-4 + 0.01 * np.abs(thetas[:, 0])).all()


def test_what_single_precision_makes_of_thetas_is_paid_for():
    # Large parameters that cancel: all of them rounded in the direction that raises the loss.
    n = 32
    X = np.tile([1.0, -1.0], (4, n // 2))
    objective = mf.LogisticLoss(X, [1, 0, 0, 0])  # of a slope that is not 0
    anchor = np.full(n, 1000.3)
    sampler = mf.Normal(anchor, 1e-3)
    bound = moments.moments_of(objective._packed, "logistic", sampler)
    ulp = float(np.spacing(np.float32(1000.3)))
    near = float(np.float32(1000.3))
    for sign in (-1, 1):
        thetas = near + sign * 0.49 * ulp * X[:1]
        assert (bounds(bound, thetas) <= objective.batch_loss(thetas)).all()


def test_what_products_of_single_precision_lose_is_paid_for():
    # Long sums of one sign, whose roundings add up, and next to no curvature that could hide them.
    rng = np.random.default_rng(2)
    X = rng.uniform(1.0, 2.0, (3, 40)) * np.array([1.0, 1.0, -1.0])[:, None]
    objective = mf.LogisticLoss(X, [0, 0, 1])
    loc = np.full(40, 0.2)
    sampler = mf.Uniform(loc, loc + 1e-2)
    bound = moments.moments_of(objective._packed, "logistic", sampler, anchor=loc)
    thetas = sampler.sample(0, 0, 3000, 40)
    assert (bounds(bound, thetas) <= objective.batch_loss(thetas)).all()


def test_what_squares_of_single_precision_lose_is_paid_for():
    # Each row with both labels: the gradient at 0 is 0, and the loss 1 + s.
    rng = np.random.default_rng(4)
    X = np.repeat(rng.standard_normal((60, 30)), 2, axis=0)
    objective = mf.SquaredLoss(X, np.arange(120) % 2)
    bound = moments.moments_of(objective._packed, "squared", mf.Normal())
    thetas = mf.Normal().sample(1, 0, 3000, 30)
    # The directions in which products cancel most.
    thetas[:30] = 5 * np.linalg.svd(X)[2]
    s = objective.batch_loss(thetas) - 1
    assert (bounds(bound, thetas) <= bound.constant + s).all()


WITHIN = """
from test_moments import *
for seed in range(6):
    problem = Problem(seed, KINDS[seed], 70, 9 + 5 * seed, 0.7, ["0", "optimum"][seed % 2])
    assert (bounds(problem.bound(), problem.thetas) <= problem.losses).all()
problem = Problem(0, "normal", 300, 20, 0.3, "0")
found = bounds(problem.bound(), problem.thetas)
assert (found > 0.7 * problem.losses).all() and (found <= problem.losses).all()
"""


@pytest.mark.long(everywhere=True)
def test_each_instruction_set_has_the_bound(run_python, isa):
    done = run_python(WITHIN, METAOPT_FAST_ISA=isa)
    assert done.returncode == 0, done.stderr


def exact_curve(curve, x):
    with mpmath.workdps(40):
        x = mpmath.mpf(float(x))
        if curve == "even":
            return mpmath.log(mpmath.cosh(x / 2))
        return mpmath.exp(-x) + x - 1 if curve == "away" else x * x


def of_one_parameter(curve, dispersion, ridge=0.0):
    """A bound whose s~ is the square of its parameter, so that all but the curve is exact."""
    panels = np.zeros((1, 1, 8), np.float32)
    panels[0, 0, 1] = 1
    none, some = np.zeros(1, np.float32), np.full(1, ridge, np.float32)
    number = _kernels.CURVES.index(curve)
    return _kernels.MomentBound(number, 0.0, 1.0, dispersion, 0.0, panels, some, none, np.ones(1))


@pytest.mark.parametrize("curve", _kernels.CURVES)
def test_what_the_ridge_has_added_is_no_curvature(curve):
    thetas = np.linspace(-30, 30, 100)[:, None]
    for dispersion in (0.0, 3.0):
        assert (bounds(of_one_parameter(curve, dispersion, ridge=1.0), thetas) == 0).all()
        half = bounds(of_one_parameter(curve, dispersion, ridge=0.5), thetas)
        k = 1 + (curve != "square") * dispersion * 4
        x = np.sqrt(k / 2) * np.abs(thetas[:, 0])
        exact = [float(exact_curve(curve, value) / k) for value in x]
        np.testing.assert_allclose(half, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("curve", ["away", "even"])
def test_where_k_s_leaves_the_range_the_bound_does_not(curve):
    found = bounds(of_one_parameter(curve, 2.0**40), np.array([[2.0**60], [-(2.0**55)]]))
    # sqrt(k) |theta| / k, and half of that.
    assert (found > 0).all()
    assert (found <= np.array([2.0**40, 2.0**35]) / (1 + (curve == "even"))).all()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("curve", _kernels.CURVES)
@pytest.mark.parametrize("dispersion", [0.0, 3.0])
def test_the_kernel_is_just_below_its_formula_at_every_size(curve, dispersion):
    one = of_one_parameter(curve, dispersion)
    rng = np.random.default_rng(0)
    x = np.exp2(rng.uniform(-20, 24, 4000)).astype(np.float32).astype(float)
    k = 1.0 if curve == "square" else 1.0 + dispersion
    root = math.sqrt(k)
    found = bounds(one, x[:, None])
    exact = np.array([float(exact_curve(curve, root * value) / k) for value in x])
    # What is to spare is what the root of k s, in double precision here, is rounded by.
    assert (found <= exact * (1 + 1e-7 * (curve == "square"))).all()
    assert (found >= 0).all()
    assert (found >= exact - 2.1e-6 * (root * x + 1) / k - 1e-6 * exact).all()


@pytest.mark.parametrize("curve", ["away", "even"])
@pytest.mark.parametrize("dispersion", [0.0, 3.0])
def test_what_is_above_a_limit_without_exponentials_is_above_it(curve, dispersion):
    one, k = of_one_parameter(curve, dispersion), 1.0 + dispersion
    n_told = 0
    for x in np.exp2(np.linspace(-20, 24, 500)).astype(np.float32).astype(float):
        exact = float(exact_curve(curve, math.sqrt(k) * x) / k)
        thetas = np.full((1, 1), x)  # the other lanes are 0, whose bound is 0
        assert np.isfinite(bounds(one, thetas, exact)).all()
        thetas = np.full((N_CANDIDATES, 1), x)
        for limit in (exact * (1 + 1e-7), np.nextafter(np.float32(exact), np.float32(np.inf))):
            assert np.isfinite(bounds(one, thetas, float(limit))).all()
        n_told += int(np.isinf(bounds(one, thetas, 0.7 * exact)[:48]).all())
    # All but those of which nothing is left when rounding is subtracted.
    assert n_told > 300


# ------------------------------------------------------------------------------ proofs by intervals

# Ends beyond which the leading terms decide: below, series with their remainders; above, signs.
NEAR, FAR = 1, 64


def pieces(n=4000):
    """The range from NEAR to FAR as intervals."""
    ends = [mpmath.mpf(NEAR) * mpmath.mpf(FAR) ** (mpmath.mpf(i) / n) for i in range(n + 1)]
    return [iv.mpf([a, b]) for a, b in itertools.pairwise(ends)]


def test_the_third_derivative_of_softplus_is_within_the_second():
    # f''' = f'' (1 - 2 p) with p = f' = 1 / (1 + e) on one half of the line, e / (1 + e) on the
    # other, e = exp(-|z|).
    p = 1 / (1 + iv.mpf([0, 1]))
    for slope in (p, 1 - p):
        ratio = 1 - 2 * slope
        assert ratio.a >= -1
        assert ratio.b <= 1


def test_away_from_0_the_curve_bends_down_ever_less():
    # H(v) = exp(-x) + x - 1, x = sqrt(v): H'' = (exp(-x) (1 + x) - 1) / (4 x^3) and
    # H''' = (3 - exp(-x) (3 + 3 x + x^2)) / (8 x^5), whose series begin with -x^2 / 2 and x^2 / 2.
    x = iv.mpf([0, NEAR])
    # exp(-x) (1 + x) - 1 = -x^2 / 2 + x^3 / 3 - ..., alternating: below the first two terms.
    assert (-iv.mpf(1) / 2 + x / 3).b < 0
    # exp(x) (3 - exp(-x) (3 + 3 x + x^2)) = x^2 / 2 + x^3 / 2 + ..., terms that are all positive.
    assert (iv.mpf(1) / 2 + x / 2).a > 0
    for x in pieces(400):
        assert (iv.exp(-x) * (1 + x) - 1).b < 0
        assert (3 - iv.exp(-x) * (3 + 3 * x + x * x)).a > 0
    # Beyond, exp(-x) times a polynomial is less than its value at FAR.
    far = iv.mpf(FAR)
    assert (iv.exp(-far) * (3 + 3 * far + far * far)).b < 1


@pytest.mark.long(everywhere=True)
def test_at_0_the_curve_bends_down_ever_less():
    # H(v) = log cosh(x / 2): H'' = (x - sinh x) / (16 x^3 cosh^2(x / 2)) and
    # H''' = (3 sinh x - 3 x - x^2 tanh(x / 2)) / (16 x^5 cosh^2(x / 2)).
    x = iv.mpf([0, NEAR])
    # sinh x - x = x^3 / 6 + x^5 / 120 + ... > 0, 3 of it at least x^3 / 2 + x^5 / 40, and
    # tanh(x / 2) <= x / 2 - x^3 / 24 + x^5 / 240.
    assert (iv.mpf(1) / 40 + iv.mpf(1) / 24 - x * x / 240).a > 0
    for x in pieces():
        e = iv.exp(-x)
        sinh, tanh = (1 / e - e) / 2, (1 - e) / (1 + e)
        assert (sinh - x).a > 0
        assert (3 * sinh - 3 * x - x * x * tanh).a > 0
    # Beyond, sinh x > x^2 as exp(x) / 2 - 1 > x^2 + 3 x holds at FAR, and grows faster from there.
    far = iv.mpf(FAR)
    assert (iv.exp(far) / 2 - 1 - far * far - 3 * far).a > 0


@pytest.mark.long
def test_the_curves_without_exponentials_are_below_these():
    # The series of exp(-x) + x - 1 goes on with x^4 / 24 - x^5 / 120, that of log cosh y,
    # y = x / 2, with y^6 / 45 - 17 y^8 / 2520: they alternate, and their terms fall.
    x = iv.mpf([0, NEAR])
    assert (iv.mpf(1) / 24 - x / 120).a > 0
    assert (iv.mpf(1) / 45 - 17 * x * x / 4 / 2520).a > 0
    for x in [*pieces(24000)[:8000], *pieces(400)[130:]]:  # up to 4, and beyond
        e = iv.exp(-x)
        assert (e + x - 1 - (x**2 / 2 - x**3 / 6)).a > 0
        assert (x / 2 - iv.log(2) + iv.log(1 + e) - (x**2 / 8 - x**4 / 192)).a > 0
    # Beyond, these are negative. What else is left out is exp(-x) and log(1 + exp(-x)).
    far = iv.mpf(FAR)
    assert (iv.mpf(1) / 2 - far / 6).b < 0
    assert (iv.mpf(1) / 8 - far**2 / 192).b < 0


def test_the_parabola_through_two_moments_is_below_both_curves():
    # The two inequalities above say so; here at random, in many digits, where they may be wrong.
    rng = np.random.default_rng(0)
    with mpmath.workdps(60):
        for curve in ("away", "even"):
            for exponent in rng.uniform(-6, 5, (100, 2)):
                v, at = (mpmath.mpf(10) ** mpmath.mpf(float(part)) for part in exponent)
                h, size = lambda w, c=curve: exact_curve_of_square(c, w), at / 10**20
                slope = (h(at + size) - h(at - size)) / (2 * size)
                beta = (h(at) / at - slope) / at
                alpha = slope + 2 * beta * at
                assert beta >= 0
                assert h(v) - (alpha * v - beta * v * v) >= -(mpmath.mpf(10) ** -30)


def exact_curve_of_square(curve, v):
    x = mpmath.sqrt(v)
    return mpmath.log(mpmath.cosh(x / 2)) if curve == "even" else mpmath.exp(-x) + x - 1


# ---------------------------------------------------------------------------------- the certificate


def covariances(kind="normal", seed=0, n=200, d=7):
    rng = np.random.default_rng(seed)
    X = rows(rng, kind, n, d, FAR)
    return covariance_of_products(X / np.abs(X).max(axis=0).clip(1e-300), np.full(n, 1 / n))


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "binary", "repeated"])
def test_the_certificate_is_close_to_the_largest_eigenvalue_and_never_below(kind):
    for seed in range(5):
        matrix = covariances(kind, seed)
        truth = np.linalg.eigvalsh(matrix)[-1]
        found = dispersions.certified(matrix)
        assert found == dispersions.LEAST_DISPERSION or truth <= found <= 1.05 * truth


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "binary"])
def test_a_bound_that_is_too_small_is_refused(kind):
    matrix = covariances(kind)
    truth = np.linalg.eigvalsh(matrix)[-1]
    assert dispersions.is_certified(matrix, truth * (1 + 1e-6))
    for share in (0.9, 0.999, 1.0):
        assert not dispersions.is_certified(matrix, share * truth)


def test_the_dispersion_of_an_objective_is_refused_when_it_is_a_tenth_less(monkeypatch):
    X = np.random.default_rng(1).standard_normal((300, 5))
    objective = mf.LogisticLoss(X, np.arange(300) % 2)
    seen = []
    is_certified = dispersions.is_certified

    def spy(matrix, bound):
        seen.append((matrix.copy(), bound))
        return is_certified(matrix, bound)

    monkeypatch.setattr(dispersions, "is_certified", spy)
    bound = moments.moments_of(objective._packed, "logistic", mf.Normal())
    matrix, tried = seen[-1]
    assert tried < bound.dispersion < 1.01 * tried  # and what single precision may have lost
    assert is_certified(matrix, tried)
    assert not is_certified(matrix, 0.9 * tried)


def test_without_a_proof_within_the_attempts_there_is_no_bound(monkeypatch):
    X = np.random.default_rng(1).standard_normal((50, 3))
    objective = mf.LogisticLoss(X, np.arange(50) % 2)
    monkeypatch.setattr(dispersions, "is_certified", lambda matrix, bound: False)
    assert moments.moments_of(objective._packed, "logistic", mf.Normal()) is None


@pytest.mark.sanitized
def test_memory_that_ends_with_the_pairs_is_told(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(dispersions._kernels, "add_pair_gram", fail)
    with pytest.raises(MemoryError):
        moments.moments_of(plain()._packed, "logistic", mf.Normal())


@pytest.mark.parametrize("n", [1, 5, 64])
def test_a_second_moment_is_factored_and_inverted(n):
    rows = np.random.default_rng(n).normal(size=(n, n + 3)) * np.logspace(0, 4, n)[:, None]
    factor, inverse = moments._factored(rows @ rows.T)
    np.testing.assert_allclose(factor, np.linalg.cholesky(rows @ rows.T), rtol=1e-9)
    np.testing.assert_allclose(inverse, np.linalg.inv(factor), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("pivot", [0.0, -1.0, np.nan])
def test_what_has_no_factor_has_no_bound(monkeypatch, pivot):
    factored = moments._factored

    def spoiled(matrix):
        matrix[-1] = matrix[:, -1] = 0.0
        matrix[-1, -1] = pivot
        return factored(matrix)

    monkeypatch.setattr(moments, "_factored", spoiled)
    assert moments.moments_of(plain()._packed, "logistic", mf.Normal()) is None


def test_an_inverse_that_is_none_has_no_bound(monkeypatch):
    factored = moments._factored

    def nearly(matrix):
        factor, inverse = factored(matrix)
        return factor, inverse * (1 + 1e-6)

    monkeypatch.setattr(moments, "_factored", nearly)
    assert moments.moments_of(plain()._packed, "logistic", mf.Normal()) is None


@given(st.integers(0, 2**32), st.integers(1, 120), st.floats(-0.5, 0.5))
def test_a_matrix_is_positive_definite_where_all_its_eigenvalues_are_above_0(seed, n, least):
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = np.append(rng.uniform(0.6, 2, n - 1), least)
    matrix = (turned * values) @ turned.T
    matrix[np.tril_indices(n, -1)] = np.nan  # is not read
    if abs(least) > 1e-12:
        assert _kernels.is_positive_definite(matrix) == (least > 0)


def test_a_pivot_within_its_rounding_proves_nothing():
    assert not _kernels.is_positive_definite(np.zeros((3, 3)))
    assert not _kernels.is_positive_definite(np.array([[1.0, 1.0], [1.0, 1.0 + 2**-52]]))
    assert _kernels.is_positive_definite(np.array([[1.0, 1.0], [1.0, 1.0 + 2**-49]]))
    for bad in (np.nan, np.inf, -np.inf):
        assert not _kernels.is_positive_definite(np.array([[1.0, bad], [bad, 1.0]]))
        assert not _kernels.is_positive_definite(np.array([[bad]]))


@pytest.mark.sanitized
def test_a_proof_of_many_pairs_is_interrupted():
    matrix = np.eye(600)
    signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    try:
        with pytest.raises(ZeroDivisionError):
            for _ in range(10_000):
                _kernels.is_positive_definite(matrix)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_power_method_that_is_cut_short_leads_to_a_bound_all_the_same(monkeypatch):
    monkeypatch.setattr(dispersions, "ROUNDS", 1)
    rows = np.random.default_rng(3).normal(size=(6, 40)) * np.arange(1, 7)[:, None]
    matrix = rows @ rows.T / 40
    assert dispersions.certified(matrix) >= np.linalg.eigvalsh(matrix)[-1]


def test_a_ridge_below_single_precision_has_no_bound():
    X, weights = [[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0], [0.0, 1.0]], [1.0, 1.0, 1.0, 1e-25]
    packed = mf.LogisticLoss(X, [1, 0, 1, 0], weights)._packed
    assert moments.moments_of(packed, "logistic", mf.Normal()) is not None
    assert moments.moments_of(packed, "logistic", mf.Normal(0.0, [1.0, 2.0**36])) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_certify_nothing(bad):
    matrix = covariances()
    matrix[3, 4] = matrix[4, 3] = bad
    assert dispersions.certified(matrix) is None
    assert not dispersions.is_certified(matrix, 1.0)


def pairs_of(rows):
    """The products of each two numbers of rows, those of different ones times sqrt(2)."""
    return products_of_pairs(rows[:, :, None] * rows[:, None])


def products_of_pairs(matrix):
    """What stands above the diagonal of a matrix, or of each of many, that times sqrt(2)."""
    a, b = np.triu_indices(matrix.shape[-1])
    return matrix[..., a, b] * np.where(a == b, 1, np.sqrt(2))


@pytest.mark.long(everywhere=True)
@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.integers(1, 1100),
    st.integers(1, 3),
    st.booleans(),
)
def test_products_of_pairs_are_summed_within_what_single_precision_loses(
    seed, n_params, n_rows, n_threads, insist
):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_rows, n_params)).astype(np.float32)
    moment = rng.standard_normal((n_params, n_params))
    moment += moment.T
    n = n_params * (n_params + 1) // 2
    sums, found = np.zeros((n, n)), np.empty((n, n))
    _kernels.insist(insist)
    try:
        for part in np.array_split(rows, [n_rows // 3]):
            _kernels.add_pair_gram(part, sums, n_threads)
    finally:
        _kernels.insist(False)
    squares = _kernels.pair_covariance(sums, moment, found)
    pairs, means = pairs_of(rows.astype(np.float64)), products_of_pairs(moment)
    exact, sizes = pairs.T @ pairs, np.abs(pairs).T @ np.abs(pairs)
    lost = (dispersions.GRAM_ROWS + 16) * 2.0**-24 * sizes
    rounded = 1e-14 * (sizes + np.abs(np.outer(means, means)))
    assert (np.abs(found - (exact - np.outer(means, means))) <= lost + rounded).all()
    assert abs(squares - exact.trace()) <= lost.trace()
    np.testing.assert_array_equal(found, found.T)
    again = np.zeros((n, n))
    for part in np.array_split(rows, [n_rows // 3]):
        _kernels.add_pair_gram(part, again, 1)
    assert again.tobytes() == sums.tobytes()


def test_products_of_pairs_of_small_whole_numbers_are_exact():
    rows = np.random.default_rng(0).integers(-3, 4, (600, 40))
    n = _kernels.n_pairs(40)
    sums, found = np.zeros((n, n)), np.empty((n, n))
    _kernels.add_pair_gram(rows.astype(np.float32), sums, 1)
    squares = _kernels.pair_covariance(sums, np.zeros((40, 40)), found)
    a, b = np.triu_indices(40)
    pairs = rows[:, a] * rows[:, b]
    factors = np.where(a == b, 1, np.sqrt(2))
    wanted = (pairs.T @ pairs) * factors * factors[:, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-15)
    assert squares == pytest.approx((np.square(rows).sum(axis=1) ** 2).sum(), rel=1e-14)


@pytest.mark.long(everywhere=True)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 30))
def test_pairs_have_the_products_of_the_fourth_moments(seed, n_params, n_rows):
    rng = np.random.default_rng(seed)
    rows, y = rng.standard_normal((n_rows, n_params)), rng.standard_normal((1, n_params))
    found = (pairs_of(rows) @ pairs_of(y).T).ravel()
    np.testing.assert_allclose(found, (rows @ y.T).ravel() ** 2, rtol=1e-10, atol=1e-10)


# ------------------------------------------------------------------------------------- squared loss


@pytest.mark.long(everywhere=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([kind for kind in KINDS if kind != "any units"]),
    st.integers(2, 200),
    st.integers(1, 20),
    st.floats(math.log(1e-3), math.log(3)).map(math.exp),
    st.booleans(),
)
def test_of_squares_the_bound_is_the_loss_but_for_rounding(
    seed, kind, n_samples, n_features, scale, at_zero
):
    rng = np.random.default_rng(seed)
    X = rows(rng, kind, n_samples, n_features, FAR)
    objective = mf.SquaredLoss(X, np.arange(n_samples) % 2, fit_intercept=bool(seed % 2))
    n = objective.n_params
    sampler = mf.Normal(np.zeros(n) if at_zero else rng.standard_normal(n) * scale, scale)
    bound = moments.moments_of(objective._packed, "squared", sampler)
    thetas = sampler.sample(seed, 0, N_CANDIDATES, n)
    if bound is None:
        assert not X.any()
        return
    losses, found = objective.batch_loss(thetas), bounds(bound, thetas)
    assert (found <= losses * (1 + 1e-14)).all()
    error = objective.loss(sampler.mean(n)) - bound.constant
    steps = thetas - sampler.mean(n)
    extended = np.column_stack([X, np.ones(n_samples)])[:, :n]
    curvature = np.square(extended @ steps.T).mean(axis=0) + moments.RIDGE * np.square(
        extended * scale
    ).mean(axis=0).sum() * np.square(steps / scale).mean(axis=1)
    assert (found >= losses - 3 * error - 3 * bound.error * curvature).all()


def test_columns_are_divided_by_the_power_of_two_below_their_largest():
    X = np.array([[3.0, -1e-200, 0.0, 0.5], [-7.9, 0.0, 0.0, 1.0]])
    factors = moments.column_factors(mf.LogisticLoss(X, [0, 1])._packed)
    assert factors.tolist() == [4.0, 2.0 ** math.floor(math.log2(1e-200)), 2.0**-1000, 1.0]


def test_a_set_up_takes_about_the_work_that_is_told():
    small, large = moments.set_up_work(569, 31), moments.set_up_work(10_000, 31)
    assert 5e7 < small < 2e8 < 5e8 < large < 2e9  # 6 and 45 milliseconds, at 0.05 ns each


# ----------------------------------------------------------------------------------------- no bound


def plain(**options):
    X = np.random.default_rng(0).standard_normal((60, 4))
    return mf.LogisticLoss(X, np.arange(60) % 2, **options)


def test_other_losses_and_single_precision_have_no_bound():
    packed = plain()._packed
    for loss in set(_kernels.LOSSES) - {"logistic", "squared"}:
        assert moments.moments_of(packed, loss, mf.Normal()) is None
    assert moments.moments_of(plain(dtype="float32")._packed, "logistic", mf.Normal()) is None


def test_more_parameters_than_the_kernel_takes_have_no_bound():
    for n, has in [(64, True), (65, False)]:
        X = np.random.default_rng(0).standard_normal((40, n))
        packed = mf.SquaredLoss(X, np.arange(40) % 2)._packed
        assert (moments.moments_of(packed, "squared", mf.Normal()) is not None) == has


def test_without_curvature_there_is_no_bound():
    packed = plain()._packed
    assert moments.moments_of(packed, "logistic", mf.Normal(np.full(4, 1e4))) is None
    zeros = mf.LogisticLoss(np.zeros((8, 3)), np.arange(8) % 2)._packed
    assert moments.moments_of(zeros, "logistic", mf.Normal()) is None


def sampler_with(**stated):
    """A sampler of a user's own that states other moments than Normal's."""
    normal = mf.Normal()
    told = {"mean": normal.mean, "std": normal.std, "bounds": normal.bounds, **stated}
    return types.SimpleNamespace(**told)


@pytest.mark.parametrize(
    "stated",
    [
        {"mean": lambda n: np.full(n, np.nan)},
        {"mean": lambda n: np.full(n, np.inf)},
        {"std": lambda n: np.full(n, np.nan)},
        {"std": lambda n: np.full(n, np.inf)},
        {"std": lambda n: np.full(n, 1e-300)},
        {"std": lambda n: np.zeros(n)},
        {"bounds": lambda n: (np.full(n, -np.inf), np.full(n, np.inf))},
        {"bounds": lambda n: (np.full(n, np.nan), np.full(n, np.nan))},
        {"bounds": lambda n: (np.full(n, -1e30), np.full(n, 1e30))},
    ],
)
def test_what_a_sampler_states_must_be_moderate(stated):
    assert moments.moments_of(plain()._packed, "logistic", sampler_with(**stated)) is None


def test_an_anchor_whose_margins_double_precision_rounds_has_no_bound():
    packed = plain()._packed
    loc = np.array([1e6, 0, 0, 0])
    assert moments.moments_of(packed, "squared", mf.Normal(loc)) is None
    assert moments.moments_of(packed, "squared", mf.Normal(loc / 1e6)) is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e300])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_thetas_beyond_single_precision_are_told_to_be_above_nothing(bad, loss):
    bound = moments.moments_of(plain()._packed, loss, mf.Normal())
    for column in range(4):
        thetas = np.zeros((3, 4))
        thetas[1, column] = bad
        found = bounds(bound, thetas)
        assert np.isnan(found[1])
        assert np.isfinite(found[[0, 2]]).all()


def test_a_parameter_that_never_moves_may_stand_anywhere():
    objective = plain()
    sampler = sampler_with(
        std=lambda n: np.array([1.0, 0, 1, 1]),
        bounds=lambda n: (np.array([-9.0, 0, -9, -9]), np.array([9.0, 0, 9, 9])),
    )
    bound = moments.moments_of(objective._packed, "logistic", sampler)
    thetas = mf.Normal().sample(0, 0, 50, 4)
    thetas[:, 1] = 0
    assert (bounds(bound, thetas) <= objective.batch_loss(thetas)).all()


def test_at_the_anchor_the_bound_is_the_loss_less_its_errors():
    for loc in (0.0, 0.3):
        objective = plain()
        bound = moments.moments_of(objective._packed, "logistic", mf.Normal(loc))
        at = np.full((1, 4), float(np.float32(loc)))
        assert bounds(bound, at)[0] <= bound.constant < objective.loss(at[0])
        assert bounds(bound, at)[0] == pytest.approx(bound.constant, rel=1.2e-7)
        assert objective.loss(at[0]) - bound.constant < 1e-4


@pytest.mark.sanitized
def test_some_blocks_of_rows_have_a_bound_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 5))
    objective = mf.LogisticLoss(X, np.arange(400) % 2, rng.integers(1, 3, 400))
    packed = objective._packed
    first = np.arange(packed.n_blocks) < 3
    thetas = mf.Normal().sample(0, 0, 80, 5)
    parts = [
        moments.moments_of(
            packed.blocks(which, total_weight=packed.total_weight), "logistic", mf.Normal()
        )
        for which in (first, ~first)
    ]
    together = sum(bounds(part, thetas) for part in parts)
    assert (together <= objective.batch_loss(thetas)).all()
    assert math.fsum(part.amplitude for part in parts) == pytest.approx(1, abs=1e-8)
