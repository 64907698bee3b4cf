"""The compiled kernels against the reference, against exact values, and against themselves."""

import importlib
import math

import numpy as np
import pytest
from accuracy import Bounds, exact_sigmoid, exact_softplus, ulps
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels

WEIGHTS = {
    "none": lambda rng, n: None,
    "two-valued": lambda rng, n: rng.choice([0.3, 2.5], n),
    "all distinct": lambda rng, n: rng.uniform(0.1, 3.0, n),
    "with zeros": lambda rng, n: np.where(rng.random(n) < 0.4, 0.0, rng.choice([1.0, 1.5], n)),
    "integers": lambda rng, n: rng.integers(1, 6, n),
    "far apart": lambda rng, n: 10.0 ** rng.integers(-8, 9, n),
}


class Problem:
    """Random data of one shape, with thetas that fit them well or not at all."""

    def __init__(self, n_samples, n_features, n_candidates, weights, seed, **options):
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(n_samples, n_features))
        self.scale = options.pop("scale", 1.0)
        separable = options.pop("separable", False)
        n_params = n_features + options.get("fit_intercept", False)
        self.thetas = rng.normal(size=(n_candidates, n_params)) * self.scale
        score = self.X @ self.thetas[0, :n_features] if separable else rng.normal(size=n_samples)
        self.y = score > np.median(score) if n_samples > 2 else np.array([True, False])
        self.sample_weight = WEIGHTS[weights](rng, n_samples)
        if weights == "with zeros":
            self.sample_weight[0] = 1.0
        self.options = options

    def objective(self, **options):
        return mf.LogisticLoss(self.X, self.y, self.sample_weight, **{**self.options, **options})

    def reference(self):
        return mf.reference.LogisticLoss(self.X, self.y, self.sample_weight, **self.options)


# Panels have 8 rows, blocks 64, spans 512.
n_samples_around_panels = st.builds(
    lambda whole, more: max(2, whole + more),
    st.sampled_from([0, 8, 16, 56, 64, 128, 504, 512, 1024]),
    st.integers(0, 9),
)
problems = st.builds(
    Problem,
    n_samples_around_panels,
    st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 30, 31, 64, 127, 129, 300]),
    st.one_of(st.integers(1, 6), st.integers(1, 100), st.sampled_from([24, 25, 48, 49, 96])),
    st.sampled_from(sorted(WEIGHTS)),
    st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-3, 0.1, 1.0, 10.0, 100.0]),
    separable=st.booleans(),
    fit_intercept=st.booleans(),
    l2=st.sampled_from([0.0, 0.01, 3.0]),
    dtype=st.sampled_from(["float64", "float32"]),
)


def bits(*arrays):
    """The bytes of results, to be compared exactly."""
    return b"|".join(np.asarray(array, np.float64).tobytes() for array in arrays)


# ------------------------------------------------------------------------ against the reference


@given(problems)
def test_batch_losses_and_gradients_are_within_the_bound_of_the_reference(problem):
    bounds = Bounds(problem.reference(), problem.thetas)
    objective = problem.objective()
    bounds.assert_losses(objective.batch_loss(problem.thetas))
    losses, gradients = objective.batch_loss_gradient(problem.thetas)
    bounds.assert_losses(losses)
    bounds.assert_gradients(gradients)


@pytest.mark.long(everywhere=True)
@given(problems)
def test_single_losses_and_gradients_are_within_the_bound_of_the_reference(problem):
    theta = problem.thetas[0]
    bounds = Bounds(problem.reference(), theta[None])
    objective = problem.objective()
    loss, gradient = objective.loss_gradient(theta)
    bounds.assert_losses(np.array([loss]))
    bounds.assert_gradients(gradient[None])
    bounds.assert_losses(np.array([objective.loss(theta)]))
    bounds.assert_gradients(objective.gradient(theta)[None])


def test_tiny_losses_keep_their_digits_in_a_sum():
    rng = np.random.default_rng(0)
    X, y = rng.uniform(30, 700, (2000, 1)), np.arange(2000) % 2
    X[y == 0] *= -1
    exact = math.fsum(math.log1p(math.exp(-abs(x))) for x in X[:, 0]) / 2000
    assert mf.LogisticLoss(X, y).loss([1.0]) == pytest.approx(exact, rel=4e-15, abs=0)


WITHIN_THE_BOUND = """
from test_kernels import *
for shape in [(523, 9, 60, "none"), (70, 9, 3, "all distinct")]:
    for dtype in ("float64", "float32"):
        problem = Problem(*shape, 1, dtype=dtype, l2=0.1, fit_intercept=True)
        bounds = Bounds(problem.reference(), problem.thetas)
        losses, gradients = problem.objective().batch_loss_gradient(problem.thetas)
        bounds.assert_losses(losses)
        bounds.assert_gradients(gradients)
"""


@pytest.mark.long(everywhere=True)
def test_each_instruction_set_is_within_the_bound_of_the_reference(run_python, isa):
    done = run_python(WITHIN_THE_BOUND, METAOPT_FAST_ISA=isa)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------- one row at a time

HARD = np.array(
    [
        *(0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 2.2250738585072014e-308, 1e-300, -1e-300),
        *(1e-17, -1e-17, 1e-16, -1e-16, 1e-8, -1e-8, math.log(2), -math.log(2), 0.5, -0.5, 1.0),
        *(-1.0, 2.0, -2.0, 17.3, -17.3, 33.2, -33.2, 36.04365338911715, -36.04365338911715),
        *(-36.7368005696771, -37.42994775023705, 44.3614195558365, -44.3614195558365),
        *(-707.9, -708.396418532264, -708.4, -709.78, -720.5, -744.0, -744.44, -745.13, -745.14),
        *(-746.0, -750.0, -1000.0, -1e4, 707.9, 708.4, 709.78, 709.79, 745.2, 746.0, 1e4, 1e300),
        *np.linspace(-746, 746, 1493),
        *np.linspace(-2, 2, 401),
    ]
)


def one_row(dtype="float64"):
    """An objective whose loss and gradient at theta are softplus(theta) and sigmoid(theta)."""
    return mf.LogisticLoss([[1.0], [1.0]], [0, 1], [1.0, 0.0], dtype=dtype)


def assert_within_two_ulp(z, losses, slopes):
    for margin, loss, slope in zip(z, losses, slopes, strict=True):
        assert ulps(loss, exact_softplus(margin)) <= 2, (margin, loss)
        assert ulps(slope, exact_sigmoid(margin)) <= 2, (margin, slope)


def test_loss_and_derivative_of_one_row_are_within_two_ulp():
    losses, gradients = one_row().batch_loss_gradient(HARD[:, None])
    assert_within_two_ulp(HARD, losses, gradients[:, 0])


@given(st.floats(-760, 760) | st.floats(-2, 2) | st.floats(allow_nan=False, allow_infinity=False))
def test_loss_and_derivative_of_any_one_row_are_within_two_ulp(z):
    loss, gradient = one_row().loss_gradient([z])
    assert_within_two_ulp([z], [np.float64(loss)], gradient)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
def test_pointwise_losses_and_derivatives_are_within_two_ulp(dtype):
    z = np.unique(HARD[np.abs(HARD) < 1e38].astype(dtype))
    losses, slopes = np.empty_like(z), np.empty_like(z)
    _kernels.pointwise(0, z, losses, slopes)
    assert_within_two_ulp(z, losses, slopes)


# ------------------------------------------------------------------------------- batch invariance


@pytest.mark.long
@given(problems, st.data())
def test_a_candidate_has_the_same_bits_in_any_batch(problem, data):
    objective, thetas = problem.objective(), problem.thetas
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert bits(objective.batch_loss(thetas)) == bits(losses)

    chosen = data.draw(st.integers(0, len(thetas) - 1))
    theta = thetas[chosen]
    assert bits(losses[chosen], gradients[chosen]) == bits(*objective.loss_gradient(theta))
    assert bits(objective.loss(theta)) == bits(objective.batch_loss([theta])[0])
    assert bits(objective.loss(theta)) == bits(losses[chosen])
    assert bits(objective.gradient(theta)) == bits(gradients[chosen])
    assert bits(*objective.batch_loss_gradient([theta])) == bits(losses[chosen], gradients[chosen])

    cut = data.draw(st.integers(0, len(thetas)))
    parts = [
        objective.batch_loss_gradient(part) for part in (thetas[:cut], thetas[cut:]) if len(part)
    ]
    assert bits(np.concatenate([part[0] for part in parts])) == bits(losses)
    assert bits(np.concatenate([part[1] for part in parts])) == bits(gradients)

    order = data.draw(st.permutations(range(len(thetas))))
    assert bits(objective.batch_loss(thetas[order])) == bits(losses[order])


@pytest.mark.parametrize("n_features", [513, 1100, 4200])
def test_rows_too_wide_for_a_cache_have_the_same_bits_alone_and_in_a_batch(n_features, dtype):
    problem = Problem(130, n_features, 6, "none", 2, dtype=dtype, l2=0.1, scale=0.1)
    objective = problem.objective()
    losses, gradients = objective.batch_loss_gradient(problem.thetas)
    for k, theta in enumerate(problem.thetas):
        assert bits(*objective.loss_gradient(theta)) == bits(losses[k], gradients[k])
        assert bits(objective.loss(theta)) == bits(losses[k])


@pytest.mark.parametrize("weights", ["none", "all distinct"])
def test_losses_have_the_same_bits_for_any_number_of_threads(dtype, weights):
    problem = Problem(3000, 9, 700, weights, 3, dtype=dtype, fit_intercept=True, l2=0.1)
    results = set()
    for n_threads in (1, 2, 3, 7, None):
        objective = problem.objective(n_threads=n_threads)
        results.add(
            bits(*objective.batch_loss_gradient(problem.thetas))
            + bits(objective.batch_loss(problem.thetas))
            + bits(*objective.loss_gradient(problem.thetas[1]))
        )
    assert len(results) == 1


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_features", [1, 3, 4, 20, 32, 33, 70])
@pytest.mark.parametrize("weights", ["none", "with zeros", "all distinct"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_single_theta_that_reads_on_over_many_spans_has_the_bits_of_a_batch(
    n_features, weights, n_threads, dtype
):
    n_samples = 33 * 512 + 77 if n_features == 4 else 2 * 512 + 77
    problem = Problem(n_samples, n_features, 24, weights, 0, dtype=dtype, n_threads=n_threads)
    objective = problem.objective()
    losses, gradients = objective.batch_loss_gradient(problem.thetas)
    for theta, loss, gradient in zip(problem.thetas[:3], losses, gradients, strict=False):
        assert bits(*objective.loss_gradient(theta)) == bits(loss, gradient)
        assert bits(objective.loss(theta)) == bits(loss)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", ["none", "two-valued", "all distinct"])
def test_a_single_theta_of_rows_that_no_cache_holds_has_the_bits_of_a_batch(weights, dtype):
    n_features = 800 // np.dtype(dtype).itemsize
    problem = Problem(42_005, n_features, 24, weights, 6, dtype=dtype, scale=0.1)
    problem.thetas[1] *= np.finfo(dtype).max / 8  # margins may leave the range
    objective = problem.objective()
    assert objective.n_samples * 800 >= 2**25
    losses, gradients = objective.batch_loss_gradient(problem.thetas)
    for theta, loss, gradient in zip(problem.thetas[:3], losses, gradients, strict=False):
        assert bits(*objective.loss_gradient(theta)) == bits(loss, gradient)


def test_losses_have_the_same_bits_in_many_waves_of_tiles_and_slices_of_rows():
    problem = Problem(20_000, 2, 5000, "none", 4)
    objective = problem.objective()
    losses = objective.batch_loss(problem.thetas)
    few = [0, 23, 24, 1535, 1536, 4999]
    assert bits(losses[few]) == bits([objective.loss(problem.thetas[k]) for k in few])


@pytest.mark.long(everywhere=True)
@given(problems)
def test_rows_of_weight_zero_are_as_good_as_absent(problem):
    rng = np.random.default_rng(0)
    n_rows = len(problem.X)
    weights = np.ones(n_rows) if problem.sample_weight is None else problem.sample_weight
    present = rng.random(n_rows) < 0.7
    present[[problem.y.argmax(), problem.y.argmin()]] = True
    kept = mf.LogisticLoss(
        problem.X[present], problem.y[present], weights[present], **problem.options
    )
    all_rows = mf.LogisticLoss(
        problem.X, problem.y, np.where(present, weights, 0), **problem.options
    )
    thetas = problem.thetas[:10]
    assert bits(*all_rows.batch_loss_gradient(thetas)) == bits(*kept.batch_loss_gradient(thetas))


@pytest.mark.parametrize("power", [-1000, -60, -1, 60, 1000])
def test_weights_may_be_scaled_by_powers_of_two(power):
    problem = Problem(100, 3, 5, "all distinct", 5)
    scaled = mf.LogisticLoss(problem.X, problem.y, problem.sample_weight * 2.0**power)
    assert bits(scaled.batch_loss(problem.thetas)) == bits(
        problem.objective().batch_loss(problem.thetas)
    )


# ---------------------------------------------------------------------------------------- layouts


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    copy = memory.view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def every_other(array):
    return np.repeat(array, 2, axis=0)[::2]


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided rows": every_other,
    "strided columns": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "negative stride": lambda a: a[::-1].copy()[::-1],
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "list": lambda a: a.tolist(),
    "subclass": lambda a: a.view(np.recarray),
    "buffer": lambda a: memoryview(np.ascontiguousarray(a)),
}


def results_of(X, y, sample_weight, thetas, **options):
    objective = mf.LogisticLoss(X, y, sample_weight, **options)
    return bits(*objective.batch_loss_gradient(thetas))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits(layout, dtype):
    change, problem = LAYOUTS[layout], Problem(77, 5, 6, "two-valued", 6)
    plain = (problem.X, problem.y * 1.0, problem.sample_weight, problem.thetas)
    assert results_of(*map(change, plain), dtype=dtype) == results_of(*plain, dtype=dtype)
    theta, objective = problem.thetas[0], problem.objective()
    assert objective.loss(change(theta)) == objective.loss(theta)


@pytest.mark.parametrize("kind", ["float32", "float16", "int64", "int8", "uint16", "bool"])
def test_any_real_dtype_gives_the_bits_of_its_numbers(kind, dtype):
    rng = np.random.default_rng(7)
    X = rng.integers(0, 2 if kind == "bool" else 100, (50, 4)).astype(kind)
    y, thetas = rng.integers(0, 2, 50), rng.normal(size=(6, 4))
    expected = results_of(X.astype(np.float64), y, None, thetas, dtype=dtype)
    assert results_of(X, y, None, thetas, dtype=dtype) == expected


def test_memory_maps_give_the_same_bits(tmp_path):
    problem = Problem(300, 4, 6, "none", 8)
    np.save(tmp_path / "X.npy", problem.X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    plain = results_of(problem.X, problem.y, None, problem.thetas)
    assert results_of(mapped, problem.y, None, problem.thetas) == plain


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_give_the_same_bits(library):
    frames = importlib.import_module(library)
    problem = Problem(60, 4, 6, "two-valued", 9)
    X = frames.DataFrame({f"x{j}": problem.X[:, j] for j in range(4)})
    y, weights = frames.Series(problem.y * 1), frames.Series(problem.sample_weight)
    plain = results_of(problem.X, problem.y, problem.sample_weight, problem.thetas)
    assert results_of(X, y, weights, problem.thetas) == plain


@pytest.mark.parametrize(
    "coding",
    [
        lambda y: y.astype(int),
        lambda y: y.astype(np.uint8),
        lambda y: y.astype(float),
        lambda y: np.where(y, 1, -1),
        lambda y: np.where(y, 1.0, -1.0).astype(np.float32),
        lambda y: y.tolist(),
    ],
)
def test_codings_of_the_labels_give_the_same_bits(coding):
    problem = Problem(60, 4, 6, "none", 10)
    plain = results_of(problem.X, problem.y, None, problem.thetas)
    assert results_of(problem.X, coding(problem.y), None, problem.thetas) == plain


def test_arguments_are_not_changed_and_not_kept():
    problem = Problem(60, 4, 6, "two-valued", 11)
    arguments = (problem.X, problem.y, problem.sample_weight, problem.thetas)
    before = [argument.copy() for argument in arguments]
    objective = problem.objective()
    losses = objective.batch_loss(problem.thetas)
    assert all((a == b).all() for a, b in zip(arguments, before, strict=True))
    problem.X[:] = 0
    problem.sample_weight[:] = 1
    assert bits(objective.batch_loss(problem.thetas)) == bits(losses)


# -------------------------------------------------------------------------------- instruction sets

HASH_OF_RESULTS = """
import hashlib
from itertools import product
from test_kernels import *
digest = hashlib.sha256()
shapes = [(2, 1, 1), (73, 4, 3), (590, 11, 101), (65, 200, 7)]
for dtype, weights, shape, scale in product(("float64", "float32"), WEIGHTS, shapes, (0.1, 30.0)):
    problem = Problem(*shape, weights, 12, scale=scale, dtype=dtype, l2=0.1, fit_intercept=True)
    objective, thetas = problem.objective(), problem.thetas
    digest.update(bits(*objective.batch_loss_gradient(thetas), objective.batch_loss(thetas)))
    digest.update(bits(*objective.loss_gradient(thetas[0])))
print(mf.config()["isa"], digest.hexdigest())
"""


@pytest.mark.long
def test_avx2_and_avx512_give_the_same_bits(run_python):
    hashes = {}
    for isa in set(_kernels.supported_isas()) - {"baseline"}:
        done = run_python(HASH_OF_RESULTS, METAOPT_FAST_ISA=isa)
        assert done.returncode == 0, done.stderr
        used, hashes[isa] = done.stdout.split()
        assert used == isa
    assert len(set(hashes.values())) <= 1, hashes


@pytest.mark.parametrize("name", ["avx3", "AVX2", "sse"])
def test_an_unknown_instruction_set_is_an_import_error_that_names_it(run_python, name):
    done = run_python("import metaopt_fast", METAOPT_FAST_ISA=name)
    assert done.returncode == 1
    assert f"ImportError: METAOPT_FAST_ISA is {name!r}" in done.stderr


def test_an_empty_choice_of_instruction_set_means_the_widest(run_python):
    done = run_python("import metaopt_fast as mf; print(mf.config()['isa'])", METAOPT_FAST_ISA="")
    assert done.stdout.strip() == _kernels.supported_isas()[0]


# ---------------------------------------------------------------------------------------- overflow


@pytest.mark.parametrize("n_candidates", [1, 30])
@pytest.mark.parametrize("n_features", [2, 8])
def test_margins_beyond_the_range_are_infinite_losses_and_never_nan(
    dtype, n_features, n_candidates
):
    huge = float(np.sqrt(np.finfo(dtype).max)) * 4
    X = np.full((11, n_features), huge)
    y = np.arange(11) < 5
    objective = mf.LogisticLoss(X, y, dtype=dtype, l2=0.1)
    thetas = np.full((n_candidates, n_features), huge)
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert (losses == np.inf).all()
    assert (objective.batch_loss(thetas) == np.inf).all()
    assert not np.isnan(gradients).any()


@pytest.mark.parametrize("n_candidates", [1, 30])
def test_margins_beyond_the_range_on_the_right_side_are_losses_of_zero(dtype, n_candidates):
    huge = float(np.sqrt(np.finfo(dtype).max)) * 4
    objective = mf.LogisticLoss([[huge], [-huge]], [1, 0], dtype=dtype)
    losses, gradients = objective.batch_loss_gradient(np.full((n_candidates, 1), huge))
    assert (losses == 0).all()
    assert (gradients == 0).all()


@pytest.mark.parametrize("n_candidates", [1, 30])
@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (-1, 2), (2, -1)])
def test_a_margin_whose_terms_overflow_is_as_exact_as_any_other(dtype, signs, n_candidates):
    huge = float(np.sqrt(np.finfo(dtype).max)) * 4
    X = huge * np.array([signs, signs, (0, 0)])
    objective = mf.LogisticLoss(X, [0, 1, 1], [1, 0, 1], dtype=dtype)
    losses, gradients = objective.batch_loss_gradient(np.full((n_candidates, 2), huge))
    if sum(signs) == 1:
        assert (losses == np.inf).all()
    else:  # the terms cancel: what is left is a rounding error of one of them
        assert (losses > 0).all()
        assert (losses < np.finfo(dtype).eps * huge * huge).all()
    assert not np.isnan(gradients).any()


# ------------------------------------------------------------------------------------------ memory

PEAK_MEMORY = """
import numpy as np
import metaopt_fast as mf
from memory import peak_memory
rng = np.random.default_rng(0)
X, y = rng.normal(size=(100_000, 1)), rng.integers(0, 2, 100_000)
thetas = rng.normal(size=(N_CANDIDATES, 1))
before = peak_memory()
objective = mf.LogisticLoss(X, y, n_threads=2)
objective.batch_loss(thetas)
objective.batch_loss_gradient(thetas[:2000])
print((peak_memory() - before) / 2**20)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_rows_times_candidates(run_python):
    # A margin of each pair would be 80 GB; 8 GB where the baseline is too slow for all of them.
    n_candidates = 10_000 if mf.config()["isa"] == "baseline" else 100_000
    done = run_python(PEAK_MEMORY.replace("N_CANDIDATES", str(n_candidates)))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_of_one_sign_whose_products_leave_the_range_have_their_margin(sign):
    X = np.full((4, 2), sign * 2.0**1000)
    objective = mf.LogisticLoss(X, [0, 1, 0, 1])
    thetas = np.array([[2.0**40, -(2.0**40)]] * 6)  # products of +-2^1040, and margins of 0
    np.testing.assert_allclose(objective.batch_loss(thetas), np.log(2), rtol=1e-15)
    assert objective.loss(thetas[0]) == pytest.approx(np.log(2), rel=1e-15)


@pytest.mark.parametrize("count", [1, 6])
def test_rounding_of_long_sums_is_kept(count):
    # The first row's loss and slope are 2^63, of which an ulp is 2048, more than a span of others.
    n_samples, large = 2**15, 2.0**63
    X = np.ones((n_samples, 1))
    X[0], X[1] = large, 0.0
    objective = mf.HingeLoss(X, np.arange(n_samples) == 1)
    losses, gradients = objective.batch_loss_gradient(np.ones((count, 1)))
    of_losses = math.fsum([large, *[2.0] * (n_samples - 2), 1.0])
    of_slopes = math.fsum([large, *[1.0] * (n_samples - 2)])
    np.testing.assert_allclose(losses * n_samples, of_losses, rtol=0, atol=4096)
    np.testing.assert_allclose(gradients[:, 0] * n_samples, of_slopes, rtol=0, atol=4096)


@pytest.mark.parametrize("exponent", [1020, -1000])
def test_weights_of_any_size_have_the_same_losses_bit_for_bit(exponent):
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(300, 4)), np.arange(300) % 2, rng.uniform(0.5, 4, 300)
    thetas = rng.normal(size=(30, 4))
    plain = mf.LogisticLoss(X, y, weights).batch_loss_gradient(thetas)
    scaled = mf.LogisticLoss(X, y, np.ldexp(weights, exponent)).batch_loss_gradient(thetas)
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_runs_at_the_limits_of_the_machine_tell_what_they_did(n_threads):
    numbers = np.ones(6 * 4096 // 8)
    assert _kernels.read_run(numbers.view(np.uint8), n_threads) == len(numbers)
    for single_precision in (False, True):
        one = _kernels.fma_run(single_precision, 100, 1)
        assert one > 0
        assert _kernels.fma_run(single_precision, 100, n_threads) == n_threads * one
