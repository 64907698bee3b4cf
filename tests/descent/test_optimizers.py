"""Update rules: the formulas of the papers, PyTorch's numbers, and the same bits in any company."""

import itertools

import numpy as np
import pytest
from descents import Rosenbrock
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import metaopt_fast as mf
from metaopt_fast.descent.first_order import Adam
from metaopt_fast.descent.gradient_descent import RULES
from metaopt_fast.descent.line_search import LBFGS, SteepestDescent
from metaopt_fast.descent.rule import Point
from metaopt_fast.reference import descent as reference_descent

# Every method, with arguments of its own: of one descent, and how they vary over many.
METHODS = {
    "gd": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {},
    "nesterov constant": {"momentum": 0.7, "restart": False},
    "nesterov restarted": {"momentum": 0.95, "restart": True},
    "adagrad": {"eps": 1e-6},
    "rmsprop": {"alpha": 0.9, "eps": 1e-6, "momentum": 0.5},
    "adam": {"betas": (0.8, 0.95), "eps": 1e-6},
    "adamw": {"betas": (0.8, 0.95), "weight_decay": 0.1},
}
FIRST_ORDER = pytest.mark.parametrize("name", METHODS)


def method(name):
    return {"method": name.split()[0], **METHODS[name]}


def problem(n_params, n_samples=40, seed=0, **options):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_params))
    y = X @ rng.normal(size=n_params) + rng.normal(size=n_samples) > 0
    y[:2] = 0, 1
    return mf.LogisticLoss(X, y, **{"l2": 0.1, **options})


def assert_same_run(many, k, one):
    """Descent k of many is bit for bit the one."""
    found = many[k]
    assert found.status == one.status
    assert found.n_iter == one.n_iter
    assert found.theta.tobytes() == one.theta.tobytes()
    assert found.trace.tobytes() == one.trace.tobytes()
    for name in ("loss", "gradient_norm", "learning_rate"):
        a, b = getattr(found, name), getattr(one, name)
        assert np.float64(a).tobytes() == np.float64(b).tobytes(), name


# ---------------------------------------------------------------------------------------- formulas


@pytest.mark.long(everywhere=True)
@FIRST_ORDER
@given(
    seed=st.integers(0, 1000),
    n_params=st.integers(1, 9),
    learning_rate=st.floats(1e-3, 1.5),
    n_iter=st.integers(0, 40),
)
def test_steps_are_those_of_the_reference(name, seed, n_params, learning_rate, n_iter):
    objective = problem(n_params, seed=seed)
    start = np.random.default_rng(seed).normal(size=n_params)
    options = dict(METHODS[name])
    twin = getattr(reference_descent, name.split()[0])
    known = reference_descent.descend(
        twin, objective, start, n_iter, learning_rate=learning_rate, **options
    )
    run = mf.gradient_descent(
        objective, start, learning_rate=learning_rate, max_iter=n_iter, tol=0.0, **method(name)
    )
    known = known[: run.n_iter + 1]  # a gradient of 0 has converged
    np.testing.assert_allclose(run.theta, known[-1], rtol=1e-7, atol=1e-9)
    losses = [objective.loss(theta) for theta in known]
    np.testing.assert_allclose(run.trace, losses, rtol=1e-7)


class Slope:
    """A plane: the gradient is (2, -0.5) everywhere, so that steps are known by hand."""

    n_params = 2

    def loss_gradient(self, theta):
        return float(2 * theta[0] - 0.5 * theta[1]), np.array([2.0, -0.5])


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"method": "gd"}, [-0.2, 0.05], [-0.4, 0.1]),
        ({"method": "momentum"}, [-0.2, 0.05], [-0.2 - 0.38, 0.05 + 0.095]),
        # PyTorch: buf = 2, then 3.8; steps of 2 + 0.9 * 2 and 2 + 0.9 * 3.8.
        ({"method": "nesterov", "momentum": 0.9}, [-0.38, 0.095], [-0.922, 0.2305]),
        ({"method": "adagrad"}, [-0.1, 0.1], [-0.1 - 0.1 / 2**0.5, 0.1 + 0.1 / 2**0.5]),
        # The mean of squares is 0.01 g^2, then 0.0199 g^2.
        ({"method": "rmsprop"}, [-1, 1], [-1 - 0.1 / 0.0199**0.5, 1 + 0.1 / 0.0199**0.5]),
        ({"method": "adam"}, [-0.1, 0.1], [-0.2, 0.2]),
        ({"method": "adamw", "weight_decay": 0.5}, [-0.1, 0.1], [-0.195, 0.195]),
    ],
    ids=lambda value: value["method"] if isinstance(value, dict) else "",
)
def test_two_steps_are_known_by_hand(options, first, second):
    for n_iter, known in ((1, first), (2, second)):
        run = mf.gradient_descent(
            Slope(), [0.0, 0.0], learning_rate=0.1, max_iter=n_iter, **options
        )
        np.testing.assert_allclose(run.theta, known, rtol=1e-6)


# Thetas after 20 steps of torch.optim 2.14 with its own defaults (SGD: with momentum=0.9) on
# mean(softplus(-s * x.theta)) + 0.05 |theta|^2, from theta = (-1, 1),
# x = ((1, 2), (-1, 1), (0.5, -1)), s = (1, -1, 1).
TORCH = {
    "momentum": ({"learning_rate": 0.3}, [1.6149221842230903, 0.10768489087271702]),
    "nesterov": (
        {"learning_rate": 0.3, "momentum": 0.9},
        [1.514056655924247, -0.05281578231515074],
    ),
    "adagrad": ({}, [-0.9243117765282791, 0.9249400716641988]),
    "rmsprop": ({}, [-0.26374749482936904, 0.35110303151482475]),
    "adam": ({}, [-0.9800054703650217, 0.9800185368655543]),
    "adamw": ({}, [-0.9798074437860876, 0.9798206415817814]),
}


@pytest.mark.parametrize("name", TORCH)
def test_twenty_steps_are_those_of_pytorch(name):
    options, known = TORCH[name]
    objective = mf.LogisticLoss([[1, 2], [-1, 1], [0.5, -1]], [1, 0, 1], l2=0.1)
    run = mf.gradient_descent(objective, [-1.0, 1.0], method=name, max_iter=20, tol=0.0, **options)
    np.testing.assert_allclose(run.theta, known, rtol=1e-12)


# Of the signatures of torch.optim 2.14, but for `foreach` and the like.
TORCH_DEFAULTS = {
    "adagrad": {"lr": 1e-2, "eps": 1e-10},
    "rmsprop": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0},
    "adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8},
    "adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
}


@pytest.mark.parametrize("name", TORCH_DEFAULTS)
def test_defaults_are_those_of_pytorch_where_the_documentation_says_so(name):
    assert f'"{name}"' in mf.gradient_descent.__doc__.split("have PyTorch's")[0].split("by def")[-1]
    defaults = {option: declared.default for option, declared in RULES[name].options.items()}
    assert {"lr": RULES[name].default_rate, **defaults} == TORCH_DEFAULTS[name]


def test_the_direction_of_lbfgs_is_that_of_the_reference():
    rng = np.random.default_rng(0)
    points = []
    for _ in range(8):
        theta = rng.normal(size=(1, 5))
        gradient = theta * [1.0, 2.0, 3.0, 4.0, 5.0]
        points.append(Point(theta, np.zeros(1), gradient, np.zeros(1)))
    rule = LBFGS((1, 5), np.ones((1, 1)), history_size=3)
    for before, after in itertools.pairwise(points):
        rule._remember(slice(None), before, after)
    pairs = [
        ((b.theta - a.theta)[0], (b.gradient - a.gradient)[0])
        for a, b in zip(points[-4:-1], points[-3:], strict=True)
    ]
    known = reference_descent.lbfgs_direction(points[-1].gradient[0], pairs)
    rule.aim(np.arange(1), points[-1])
    np.testing.assert_allclose(rule.direction[0], known, rtol=1e-10)


# ------------------------------------------------------------------------------------------- optima


@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov", "nesterov restarted", "lbfgs"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_descent_comes_to_the_optimum_that_scipy_finds(name, fit_intercept):
    objective = problem(6, 200, fit_intercept=fit_intercept)
    known = minimize(
        objective.loss_gradient, np.zeros(objective.n_params), jac=True, options={"gtol": 1e-10}
    )
    options = {"method": "lbfgs"} if name == "lbfgs" else method(name)
    run = mf.gradient_descent(objective, tol=1e-9, **options)
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, known.x, atol=1e-7)


@pytest.mark.parametrize("scale", [0.03, 1.0, 30.0])
def test_lbfgs_needs_about_as_many_steps_as_scipy(scale):
    objective = problem(20, 500, l2=1e-3)
    rows = np.logspace(0, np.log10(scale), 20)

    class Scaled:
        n_params = 20

        def loss_gradient(self, theta):
            loss, gradient = objective.loss_gradient(rows * theta)
            return loss, rows * gradient

    known = minimize(
        Scaled().loss_gradient,
        np.zeros(20),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-6, "ftol": 0, "maxiter": 1000},
    )
    run = mf.gradient_descent(Scaled(), method="lbfgs", tol=1e-6)
    assert run.status == "converged"
    assert run.n_iter <= 1.5 * known.nit + 5
    assert run.loss == pytest.approx(known.fun, rel=1e-7)


def test_lbfgs_comes_down_a_curved_valley():
    run = mf.gradient_descent(Rosenbrock(), [-1.2, 1.0], method="lbfgs", tol=1e-9)
    assert (run.status, run.n_iter < 100) == ("converged", True)
    np.testing.assert_allclose(run.theta, [1, 1], atol=1e-8)


def test_the_loss_of_lbfgs_never_rises_beyond_rounding():
    run = mf.gradient_descent(problem(10, 300), method="lbfgs", tol=0.0, max_iter=200)
    assert np.diff(run.trace).max() <= 1e-12


@pytest.mark.long
def test_restarts_bring_a_badly_scaled_descent_to_its_end_sooner():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 8)) * np.logspace(0, 1.5, 8)
    objective = mf.LogisticLoss(X, X[:, 0] + rng.normal(size=300) > 0, l2=1e-3)
    options = {"method": "nesterov", "max_iter": 20_000, "tol": 1e-8}
    restarted = mf.gradient_descent(objective, **options)
    free = mf.gradient_descent(objective, restart=False, **options)
    plain = mf.gradient_descent(objective, **{**options, "method": "gd"})
    assert restarted.status == "converged"
    assert restarted.n_iter < free.n_iter
    assert restarted.n_iter < plain.n_iter / 5


@pytest.mark.long(everywhere=True)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 5), st.integers(-150, 150))
def test_a_step_of_adam_has_the_bits_of_numpys_formula(seed, n_params, n_runs, scale):
    rng = np.random.default_rng(seed)
    column = (n_runs, 1)
    rate, eps, beta1, beta2 = (rng.uniform(0.01, 0.99, column) for _ in range(4))
    rule = Adam((n_runs, n_params), rate, (beta1, beta2), eps)
    theta, m, v = rng.normal(size=(n_runs, n_params)), 0.0, 0.0
    power1, power2 = np.ones(column), np.ones(column)
    for _ in range(3):
        g = 10.0**scale * np.asfortranarray(rng.normal(size=theta.shape))
        with np.errstate(all="ignore"):
            m, v = m * beta1 + g * (1 - beta1), v * beta2 + g * g * (1 - beta2)
            power1, power2 = power1 * beta1, power2 * beta2
            spread = np.sqrt(v) / np.sqrt(1 - power2) + eps
            wanted = theta - m / spread * (rate / (1 - power1))
            theta = rule.step(theta, g)
        assert theta.tobytes() == np.ascontiguousarray(wanted).tobytes()


# --------------------------------------------------------------------------------- many at once


@pytest.mark.long
@pytest.mark.parametrize("name", [*METHODS, "lbfgs"])
@given(
    seed=st.integers(0, 10_000),
    n_params=st.integers(1, 70),
    n_runs=st.integers(1, 40),
    batch_size=st.sampled_from([None, 7, 16]),
)
def test_each_of_many_descents_is_its_own_alone_bit_for_bit(
    name, seed, n_params, n_runs, batch_size
):
    rng = np.random.default_rng(seed)
    objective = problem(n_params, seed=seed, fit_intercept=bool(seed % 2))
    starts = rng.normal(size=(n_runs, objective.n_params))
    arrays = {"learning_rate": 10 ** rng.uniform(-2, 1, n_runs), "l2": rng.random(n_runs)}
    options = {"method": "lbfgs"} if name == "lbfgs" else method(name)
    for argument in ("momentum", "alpha", "eps", "weight_decay"):
        if argument in options:
            arrays[argument] = rng.uniform(0.01, 0.99, n_runs)
    if name == "lbfgs" or seed % 3 == 0:
        batch_size = None
    common = {"max_iter": 12, "tol": 1e-2, "batch_size": batch_size, "patience": 3}
    many = mf.gradient_descent(objective, starts, **{**options, **common, **arrays})
    for k in sorted({0, seed % n_runs, n_runs - 1}):
        own = {argument: values[k] for argument, values in arrays.items()}
        one = mf.gradient_descent(objective, starts[k], **{**options, **common, **own})
        assert_same_run(many, k, one)


@pytest.mark.parametrize("objective", [problem(5), problem(5, dtype="float32")], ids=str)
def test_betas_may_differ_between_descents(objective):
    beta1, starts = np.array([0.1, 0.5, 0.9]), np.ones((3, 5))
    many = mf.gradient_descent(objective, starts, method="adam", betas=(beta1, 0.99), max_iter=9)
    for k in range(3):
        options = {"method": "adam", "betas": (beta1[k], 0.99), "max_iter": 9}
        assert_same_run(many, k, mf.gradient_descent(objective, starts[k], **options))


def test_searched_steps_of_many_are_those_of_each_alone():
    class Bowl:
        n_params = 3

        def loss_gradient(self, theta):
            return float((theta**4).sum()), 4 * theta**3

    starts = np.random.default_rng(0).normal(size=(9, 3)) * 10
    many = mf.gradient_descent(Bowl(), starts, max_iter=50)
    for k in range(9):
        assert_same_run(many, k, mf.gradient_descent(Bowl(), starts[k], max_iter=50))


def test_many_searched_descents_converge():
    objective = problem(8, 100)
    l2 = np.logspace(-4, 1, 50)
    runs = mf.gradient_descent(objective, method="lbfgs", l2=l2, tol=1e-9)
    assert set(runs.status) == {"converged"}
    for k in (0, 20, 49):
        own = problem(8, 100, l2=l2[k])
        np.testing.assert_allclose(own.gradient(runs.theta[k]), 0, atol=1e-8)


def test_a_memory_that_leads_uphill_is_forgotten():
    rule = LBFGS((2, 3), np.full((2, 1), 0.5), history_size=2)
    gradient = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, -4.0]])
    rule.scale[:] = -1.0, 2.0
    rule.depth[:] = 1
    rule.aim(np.arange(2), Point(np.zeros((2, 3)), np.zeros(2), gradient, np.zeros(2)))
    np.testing.assert_array_equal(rule.direction, [-gradient[0], -2 * gradient[1]])
    np.testing.assert_array_equal(rule.depth, [0, 1])
    # Without a memory the step is at most 1 long.
    np.testing.assert_array_equal(rule.learning_rate, [[0.5 / 6], [0.5]])


@pytest.mark.parametrize(
    ("loss", "slope", "accepted"),
    [
        (1 - 0.6e-13, 0.9, True),  # lower by more than the part that is demanded
        (1.0, -0.5, True),  # hidden by rounding: the slope says that the step descends
        (1.0, 0.79, True),
        (1.0, 0.81, False),
        (1 + 1e-13, 0.79, True),
        (1 + 2e-12, -0.5, False),  # more than rounding
    ],
)
def test_where_rounding_hides_the_loss_gradients_say_whether_a_step_is_taken(loss, slope, accepted):
    rule = SteepestDescent((1, 1), np.full((1, 1), 1e-13))
    rule.decrease = 0.1
    rule.direction[:] = -1
    here = Point(np.zeros((1, 1)), np.ones(1), np.ones((1, 1)), np.ones(1))
    there = Point(np.full((1, 1), -1e-13), np.array([loss]), np.array([[-slope]]), np.ones(1))
    taken, stands = rule.accept(here, there)
    assert (taken.tolist(), stands.tolist()) == ([accepted], [False])
    assert rule.learning_rate.item() == (1e-13 if accepted else 0.5e-13)
