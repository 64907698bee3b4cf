"""exp, log, their kin and products: against mpmath, NumPy's limits, and each other's bits."""

import ast
import hashlib
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
from accuracy import exact_sigmoid, exact_softplus, ulps
from hypothesis import given
from hypothesis import strategies as st

from metaopt_fast import arithmetic

NAMES = ("exp", "expm1", "log", "log1p", "log2")
EXACT = {name: getattr(mpmath, name) for name in ("exp", "expm1", "log", "log1p")}
EXACT["log2"] = lambda x: mpmath.log(x, 2)

HARD = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, np.inf, -np.inf, np.nan, 5e-324, -5e-324),
        *(1e-310, -1e-310, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-17, -1e-17, 1e16),
        *(np.nextafter(1, 0), np.nextafter(1, 2), np.nextafter(-1, 0), np.sqrt(0.5), np.sqrt(2)),
        *(np.sqrt(0.5) - 1, np.sqrt(2) - 1, 709.78, 709.79, 710.0, -708.4, -744.4, -745.13),
        *(-745.14, -746.0, -800.0, 36.7, -36.7, 37.5, -37.5, 40.0, 41.0, 213.14, 37.16),
    ]
)
# Every binary exponent; halves between whole powers of e, where exp changes its own exponent.
GRID = np.concatenate(
    [
        HARD,
        np.ldexp(1.0, np.arange(-1074, 1024)),
        np.arange(-1075.5, 1024) * np.log(2),
        np.linspace(-2, 3, 5001),
        np.linspace(-746, 710, 1457),
    ]
)


def digest(name):
    return hashlib.sha256(getattr(arithmetic, name)(GRID).tobytes()).hexdigest()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", NAMES)
@given(st.floats() | st.floats(-2, 3) | st.floats(-750, 712) | st.sampled_from(HARD.tolist()))
def test_each_is_within_two_ulp_and_has_numpys_limits(name, x):
    value = np.float64(getattr(arithmetic, name)(x))
    with np.errstate(all="ignore"):
        numpys = getattr(np, name)(x)
    if np.isfinite(value) and value != 0:
        with mpmath.workprec(1200):
            assert ulps(value, EXACT[name](mpmath.mpf(x))) <= 2
    else:
        np.testing.assert_array_equal(value, numpys)
        assert np.isnan(value) or np.signbit(value) == np.signbit(numpys)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_within_two_ulp_over_its_whole_range(name):
    values = getattr(arithmetic, name)(GRID)
    with np.errstate(all="ignore"):
        numpys = getattr(np, name)(GRID)
    finite = np.isfinite(numpys)
    np.testing.assert_array_equal(values[~finite], numpys[~finite])
    # NumPy's own are within 2 ulp as well.
    off = np.abs(values[finite] - numpys[finite])
    assert (off <= 4 * np.spacing(np.minimum(np.abs(numpys[finite]), 1e308))).all()


def test_powers_of_two_have_exact_logarithms_to_base_two():
    exponents = np.arange(-1074, 1024)
    assert (arithmetic.log2(np.ldexp(1.0, exponents)) == exponents).all()


@pytest.mark.parametrize("name", NAMES)
def test_each_has_the_same_bits_alone_and_in_an_array_of_any_shape(name):
    function = getattr(arithmetic, name)
    one_by_one = np.array([function(float(x)) for x in GRID[:200]])
    np.testing.assert_array_equal(one_by_one, function(GRID[:200]))
    table = function(np.asfortranarray(GRID[:200].reshape(20, 10)))
    np.testing.assert_array_equal(table, one_by_one.reshape(20, 10))
    np.testing.assert_array_equal(function(GRID[:200][::3]), one_by_one[::3])
    assert function(np.empty((0, 3))).shape == (0, 3)
    assert isinstance(function(0.5), float)


def test_nothing_warns_beyond_the_range():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for name in NAMES:
            getattr(arithmetic, name)(HARD)


DIGESTS = "import test_arithmetic as t; print([t.digest(name) for name in t.NAMES])"


@pytest.mark.long(everywhere=True)
def test_every_instruction_set_gives_the_same_bits(run_python, isa):
    done = run_python(DIGESTS, METAOPT_FAST_ISA=isa)
    assert done.stdout.strip() == str([digest(name) for name in NAMES]), done.stderr


def test_geometric_numbers_have_a_constant_ratio_and_exact_ends():
    numbers = arithmetic.geometric(3e4, 1e-7, 12)
    np.testing.assert_allclose(numbers, np.geomspace(3e4, 1e-7, 12), rtol=1e-14)
    assert (numbers[0], numbers[-1]) == (3e4, 1e-7)
    assert (arithmetic.geometric(2.0, 2.0, 3) == 2).all()


@given(st.integers(1, 70), st.integers(1, 60), st.sampled_from([1, 2, 7, 255, 300]))
def test_products_are_within_their_bound_of_numpys_and_do_not_depend_on_company(rows, models, n):
    rng = np.random.default_rng(rows * 100 + models)
    X, thetas = rng.normal(size=(rows, n)), rng.normal(size=(models, n))
    found = arithmetic.products(thetas, X)
    bound = 2 * n * 2.0**-53 * (np.abs(thetas) @ np.abs(X).T)
    assert (np.abs(found - thetas @ X.T) <= bound).all()
    assert (arithmetic.products(thetas[-1:], X[-1:]) == found[-1:, -1:]).all()
    assert (arithmetic.products(np.asfortranarray(thetas), X[::-1])[:, ::-1] == found).all()


def test_products_of_nothing_are_empty_or_zero():
    assert arithmetic.products(np.empty((0, 3)), np.empty((2, 3))).shape == (0, 2)
    assert (arithmetic.products(np.empty((1, 0)), np.empty((2, 0))) == 0).all()


def test_probabilities_and_their_logarithms_are_exact_wherever_they_are_floats():
    x = np.concatenate([HARD[np.isfinite(HARD)], np.linspace(-746, 746, 601)])
    for value, probability, logarithm in zip(
        x, arithmetic.expit(x), arithmetic.log_expit(x), strict=True
    ):
        assert ulps(probability, exact_sigmoid(value)) <= 2
        assert ulps(logarithm, -exact_softplus(-value)) <= 2


# ------------------------------------------------------------------------ nothing else is called

# Functions of NumPy and of libm whose last digit is the processor's, and what calls BLAS or LAPACK.
FOREIGN = """
exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 power float_power pow cbrt hypot
sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh asin acos atan atan2
erf erfc gamma lgamma i0 sinc geomspace logspace interp polyfit polyval
dot vdot inner outer matmul tensordot einsum kron convolve correlate cov corrcoef linalg fft
"""
# The references; pictures and the measuring of machines, no number of a result.
EXEMPT = ("reference", "bench", "plots.py")
# Constants of bounds, and the order in which rows are read for them. They decide what is evaluated:
# any that hold lead to the same results.
OF_BOUNDS = {
    f"objectives/{name}.py" for name in ("moments", "dispersions", "prospects", "tangents")
}
PACKAGE = Path(arithmetic.__file__).parent
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in EXEMPT
    and path.relative_to(PACKAGE).as_posix() not in OF_BOUNDS
]
# Exceptions by their names: of objectives of users' own, and the form of a coefficient's array.
ALLOWED = {
    ("gradient_descent.py", "np.linalg"),
    ("classifier.py", "from scipy.sparse import csr_matrix, issparse"),
    ("scoring.py", "from scipy.sparse import csr_matrix"),
}


def is_literal(node):
    return isinstance(getattr(node, "operand", node), ast.Constant)


def foreign(source):
    """Yield what a module calls that is foreign, and the line."""
    for node in ast.walk(ast.parse(source)):
        operator = getattr(node, "op", None)
        is_foreign = isinstance(operator, ast.MatMult)
        if isinstance(operator, ast.Pow):
            # Of two literals, Python makes a constant: 2**31.
            is_foreign = isinstance(node, ast.AugAssign) or not (
                is_literal(node.left) and is_literal(node.right)
            )
        elif isinstance(node, ast.Attribute) and node.attr in FOREIGN.split():
            is_foreign = ast.unparse(node.value) not in ("_kernels", "arithmetic")
        elif isinstance(node, ast.ImportFrom):
            is_foreign = str(node.module).split(".")[0] in ("math", "scipy")
        if is_foreign:
            yield ast.unparse(node), node.lineno


def test_what_is_foreign_is_found():
    source = "a = b @ c\nb **= 2\nd = math.log(2**-31) + np.linalg.norm(e) ** 0.5\n"
    found = {what for what, _ in foreign(source)}
    assert found == {"b @ c", "b **= 2", "math.log", "np.linalg", "np.linalg.norm(e) ** 0.5"}


@pytest.mark.parametrize("path", sorted(OF_BOUNDS))
def test_bounds_call_no_blas_whose_threads_would_wait_for_each_other(path):
    found = [what for what, _ in foreign((PACKAGE / path).read_text())]
    assert [what for what in found if " @ " in what or "linalg" in what] == []


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_decides_a_number_calls_nothing_whose_bits_are_the_processors(path):
    found = [
        f"line {line}: {what}"
        for what, line in foreign(path.read_text())
        if (path.name, what) not in ALLOWED
    ]
    assert found == [], "call metaopt_fast.arithmetic instead; np.square(x) in place of x**2"
