"""What is called converged is an optimum, by a judge that is itself judged at 60 digits."""

import mpmath
import numpy as np
import pytest
from bound_draws import judge_classes, judge_free_path, judge_machine, judge_path
from exact_digits import Digits, number
from exact_optimum import Exact, add, inverse_of, multiply, root_of, rotated, total_of
from logistic_draws import DEPENDENT, KINDS, UNBOUNDED, draw, judge, least_of_columns
from mpmath import mpf
from sklearn.linear_model import LogisticRegression as TheirRegression

import metaopt_fast as mf
from metaopt_fast.sklearn import LogisticRegression

DRAWS = {**dict.fromkeys(KINDS, 14), DEPENDENT: 30, UNBOUNDED: 4}
MOST_FEATURES = 200


# ---------------------------------------------------------------------------------------- the judge


def exact_value(pair):
    return mpf(float(pair[0])) + mpf(float(pair[1]))


def test_pairs_of_doubles_hold_a_hundred_bits():
    rng = np.random.default_rng(0)
    high = rng.normal(size=(2, 200)) * 10.0 ** rng.uniform(-6, 6, (2, 200))
    a, b = zip(high, high * rng.uniform(-5e-17, 5e-17, (2, 200)), strict=True)
    found = {
        "sum": add(a, b),
        "product": multiply(a, b),
        "inverse": inverse_of(a),
        "root": root_of((np.abs(a[0]), a[1])),
    }
    with mpmath.workdps(60):
        for i in range(200):
            x, y = exact_value((a[0][i], a[1][i])), exact_value((b[0][i], b[1][i]))
            root = mpmath.sqrt(exact_value((abs(a[0][i]), a[1][i])))
            wanted = {"sum": x + y, "product": x * y, "inverse": 1 / x, "root": root}
            for name, (high, low) in found.items():
                size = abs(x) + abs(y) if name == "sum" else abs(wanted[name])
                assert abs(exact_value((high[i], low[i])) - wanted[name]) <= size * mpf(2) ** -98
        total = exact_value(total_of(a))
        wanted = mpmath.fsum(map(exact_value, zip(*a, strict=True)))
        assert abs(total - wanted) <= mpf(2) ** -98 * np.abs(a[0]).sum()


def test_the_judge_proves_its_optimum_where_one_direction_is_1e15_times_another():
    case = draw(100_104, DEPENDENT)  # powers of one feature, up to the thirteenth
    optimum = Exact(case.X, case.y, l2=case.l2, fit_intercept=True).minimise()
    assert abs(optimum.gap) <= 1e-12 * optimum.loss


def test_the_judge_proves_its_optimum_where_rounding_hides_the_last_steps():
    case = draw(181)
    found = Exact(case.X, case.y, case.weights, l2=case.l2, fit_intercept=False).minimise()
    assert abs(found.gap) < 1e-15 * found.loss  # 1.5e-9 by steps that rounding had halved


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(9, 4), (5, 12)], ids=["tall", "wide"])
def test_rotated_rows_have_the_products_of_the_rows(shape, centred):
    rng = np.random.default_rng(1)
    X = rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 6, shape[1]) + 1e8
    L = rotated(X, centred)
    with mpmath.workdps(60):
        Z = mpmath.matrix(X.tolist())
        if centred:
            Z -= mpmath.matrix([np.median(X, axis=0).tolist()] * len(X))
        wanted = Z * Z.T
        for i in range(len(X)):
            for j in range(len(X)):
                products = (number(a) * number(b) for a, b in zip(L[i], L[j], strict=True))
                found = mpmath.fsum(products)
                assert abs(found - wanted[i, j]) <= 1e-17 * mpmath.sqrt(wanted[i, i] * wanted[j, j])


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("seed", range(12))
def test_the_judge_finds_and_proves_the_least_objective_of_60_digits(seed):
    case = draw(seed, most_features=4)
    X, y, weights = case.X[:16], case.y[:16].copy(), case.weights
    y[:2] = 0, 1
    weights = None if weights is None else weights[:16]
    l2 = max(case.l2, 1e-9)
    found = Exact(X, y, weights, l2=l2, fit_intercept=case.fit_intercept).minimise()
    wanted = Digits(X, y, weights, l2=l2, fit_intercept=case.fit_intercept).least()
    with mpmath.workdps(60):
        assert abs(number(found.loss) - wanted) <= 1e-16 * wanted
        assert (1 - 1e-12) * wanted <= number(found.bound) <= wanted * (1 + mpf(10) ** -16)


# -------------------------------------------------------------------------------------- the judged


@pytest.mark.long
@pytest.mark.parametrize("kind", [*KINDS, DEPENDENT, UNBOUNDED])
def test_what_is_called_converged_is_an_optimum_and_bounds_are_bounds(kind):
    found = [judge(draw(seed, kind, MOST_FEATURES), seed) for seed in range(DRAWS[kind])]
    wrong = [str(verdict) for verdict in found if any(verdict.wrong().values())]
    assert not wrong, "\n".join(wrong)
    if kind in KINDS[:2]:
        assert all(verdict.converged for verdict in found)


@pytest.mark.parametrize("offset", [2.0**20, 2.0**25, 2.0**27])
def test_a_column_far_from_0_has_the_coefficient_of_the_one_around_0(offset):
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=500) * 2**20) / 2**20  # so that x + offset is exact
    y = (x + rng.logistic(size=500) > 0).astype(int)
    wanted = TheirRegression(solver="newton-cholesky", tol=1e-12).fit(x[:, None], y).coef_
    model = LogisticRegression().fit((x + offset)[:, None], y)
    np.testing.assert_allclose(model.coef_, wanted, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("digits", range(4, 13))
def test_near_copies_of_columns_are_no_copies_where_no_penalty_holds_them(digits):
    # What the copies differ by is a feature of its own, with large coefficients; from the 13th
    # digit on, it is what rounding of the gradient may be.
    rng = np.random.default_rng(digits)
    X, noise = rng.normal(size=(2, 300, 3))
    y = (X[:, 0] + noise[:, 0] + rng.logistic(size=300) > 0).astype(int)
    near = np.column_stack([X, X + 10.0**-digits * noise])
    for features in (near, np.column_stack([X, X])):
        fits = mf.fit_many(features, y, l2=[0.0], fit_intercept=False, tol=1e-4)
        exact = Exact(features, y, l2=0.0, fit_intercept=False)
        gap = exact.loss(fits.theta[0]) - exact.minimise().loss
        assert gap <= 1e-4 or not fits.converged[0]
    assert fits.converged[0]  # of true copies, one is enough


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("seed", "most"), [(400_264, 400), (501_797, 20), (501_977, 20)])
def test_large_weights_that_nearly_cancel_have_not_converged_where_rounding_hides_much(seed, most):
    # Powers of one feature, and near copies, without a penalty: what was left of their gradients
    # was no more than rounding, as it is of true copies.
    found = judge(draw(seed, DEPENDENT, most), seed)
    assert found.left > 1e-3 and not found.converged


def test_columns_that_depend_on_each_other_but_for_rounding_are_dependent():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + rng.logistic(size=60) > 0
    sums = np.column_stack([X, X[:, 0] / 3 + X[:, 1] / 7])
    exact, of_two = (Exact(rows, y, l2=0.0, fit_intercept=True) for rows in (sums, X))
    least = of_two.minimise().loss
    assert abs(least_of_columns(exact) - least) < 1e-15
    assert exact.minimise().loss < least - 1e-6  # fitted to the rounding of the sums


# --------------------------------------------------------------------------- bounds of other models


@pytest.mark.sanitized
@pytest.mark.long
@pytest.mark.parametrize(
    "judge_one",
    [
        *(judge_path, judge_free_path, judge_machine),
        pytest.param(judge_classes, marks=pytest.mark.long),
    ],
)
def test_no_bound_of_a_draw_is_below_the_gap_to_a_better_model(judge_one):
    found = [one for number in range(40) for one in judge_one(number)]
    assert not [one for one in found if one.is_false]
    assert any(one.converged for one in found) and not all(one.converged for one in found)
    # Bounds of a hundredth would be found out.
    assert any(one.gap > one.gap_bound / 100 + one.unsure for one in found)
