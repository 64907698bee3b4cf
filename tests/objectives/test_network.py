"""Networks of one hidden layer against their definition, and what they promise as other losses."""

import math
import multiprocessing
import pickle
import sys
import time

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels, reference
from metaopt_fast.arithmetic import tanh
from metaopt_fast.objectives.penalties import WeightsL2

ROUNDING = {"float64": 1e-12, "float32": 3e-5}
# Without FMAs, what m / (m + 2) loses is not put back as well.
ULPS = 2 if _kernels.isa()[0] != "baseline" else 3


def made(module=mf, n=150, p=4, h=3, n_classes=None, weights="none", seed=0, **options):
    """A network loss of data that a seed makes."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.integers(0, n_classes or 2, n)
    y[: n_classes or 2] = range(n_classes or 2)
    w = {"none": None, "few": rng.integers(1, 4, n) / 2, "all different": rng.random(n) + 0.1}
    return module.NetworkLoss(X, y, w[weights], n_hidden=h, n_classes=n_classes, **options)


def thetas_of(objective, count=5, seed=1, size=1.0):
    return size * np.random.default_rng(seed).normal(size=(count, objective.n_params))


def bits(*arrays):
    return [np.asarray(array).tobytes() for array in arrays]


# ------------------------------------------------------------------------------------- definition


@pytest.mark.long(everywhere=True)
@given(
    st.integers(2, 140),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([None, 2, 4]),
    st.sampled_from(["tanh", "relu"]),
    st.sampled_from(["none", "few", "all different"]),
    st.sampled_from(["float64", "float32"]),
    st.integers(1, 30),
)
def test_losses_and_gradients_are_those_of_the_definition(
    n, p, h, n_classes, activation, weights, dtype, count
):
    options = {"l2": 0.1, "activation": activation, "dtype": dtype}
    shape = {"n": max(n, n_classes or 2), "p": p, "h": h, "n_classes": n_classes}
    objective = made(**shape, weights=weights, **options)
    twin = made(reference, **shape, weights=weights, **options)
    assert objective.n_params == twin.n_params
    thetas = thetas_of(objective, count)
    losses, gradients = objective.batch_loss_gradient(thetas)
    wanted, slopes = twin.batch_loss_gradient(thetas)
    np.testing.assert_allclose(losses, wanted, rtol=ROUNDING[dtype])
    largest = np.abs(slopes).max()
    np.testing.assert_allclose(gradients, slopes, rtol=0, atol=ROUNDING[dtype] * largest)
    assert bits(losses) == bits(objective.batch_loss(thetas))


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_are_the_slopes_of_the_losses(activation, n_classes):
    objective = made(n_classes=n_classes, activation=activation, l2=0.3)
    theta = thetas_of(objective, 1)[0]
    step = 1e-6 * np.eye(objective.n_params)
    slopes = (objective.batch_loss(theta + step) - objective.batch_loss(theta - step)) / 2e-6
    np.testing.assert_allclose(objective.gradient(theta), slopes, atol=1e-8)


def loss_of_numbers(X, y, theta, n_hidden, n_outputs, activation, l2):
    """The loss by its definition, of complex numbers, too."""
    size = n_hidden * (X.shape[1] + 1)
    units, outputs = theta[:size].reshape(n_hidden, -1), theta[size:].reshape(n_outputs, -1)
    margins = X @ units[:, :-1].T + units[:, -1]
    hidden = np.tanh(margins) if activation == "tanh" else np.where(margins.real > 0, margins, 0)
    o = hidden @ outputs[:, :-1].T + outputs[:, -1]
    of_row = o[np.arange(len(y)), y] if n_outputs > 1 else o[:, 0] * y
    losses = np.log((np.exp(o) if n_outputs > 1 else 1 + np.exp(o)).sum(axis=1)) - of_row
    return losses.mean() + l2 / 2 * ((units[:, :-1] ** 2).sum() + (outputs[:, :-1] ** 2).sum())


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_are_those_of_complex_steps_to_1e_12(activation, n_classes):
    # f(theta + i h) = f(theta) + i h f'(theta), which no difference of close numbers spoils.
    rng = np.random.default_rng(7)
    X, y = rng.normal(size=(150, 4)), np.arange(150) % (n_classes or 2)
    options = {"n_hidden": 3, "activation": activation, "l2": 0.3}
    objective = mf.NetworkLoss(X, y, n_classes=n_classes, **options)
    theta = thetas_of(objective, 1)[0]
    steps = theta + 1e-30j * np.eye(objective.n_params)
    found = [loss_of_numbers(X, y, one, n_outputs=n_classes or 1, **options) for one in steps]
    loss, gradient = objective.loss_gradient(theta)
    assert loss == pytest.approx(found[0].real, rel=1e-12)
    np.testing.assert_allclose(gradient, np.imag(found) / 1e-30, rtol=1e-12, atol=1e-13)


def test_one_unit_of_relu_whose_margins_are_positive_is_logistic_regression():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(90, 3)), rng.integers(0, 2, 90)
    theta = rng.normal(size=3)
    linear = mf.LogisticLoss(X, y).loss(theta)
    network = mf.NetworkLoss(X, y, n_hidden=1, activation="relu")
    # relu(x . theta + 100) - 100
    assert network.loss([*theta, 100, 1, -100]) == pytest.approx(linear, rel=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_layers_are_those_of_scikit_learns_classifier(n_classes):
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % n_classes
    kept = n_classes if n_classes > 2 else None
    objective = mf.NetworkLoss(X, y, n_hidden=5, n_classes=kept)
    twin = reference.NetworkLoss(X, y, n_hidden=5, n_classes=kept)
    theta = thetas_of(objective, 1)[0]
    model = neural.MLPClassifier((5,), activation="tanh", max_iter=1)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(X, y)
    shapes = [[part.shape for part in parts] for parts in (model.coefs_, model.intercepts_)]
    model.coefs_, model.intercepts_ = objective.layers(theta)
    assert shapes == [[part.shape for part in parts] for parts in objective.layers(theta)]
    outputs = objective.decision_function(theta, X)
    if n_classes == 2:
        outputs = np.column_stack([np.zeros(60), outputs])
    e = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    found = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), found, rtol=0, atol=1e-12)
    for ours, theirs in zip(objective.layers(theta), twin.layers(theta), strict=True):
        assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    loss = -np.log(found[np.arange(60), y]).mean()
    assert objective.loss(theta) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("n_classes", [None, 3])
def test_a_thousand_units_are_those_of_the_definition(n_classes):
    shape = {"n": 70, "p": 3, "h": 1024, "n_classes": n_classes, "l2": 0.1}
    objective, twin = made(**shape), made(reference, **shape)
    theta = thetas_of(objective, 1, size=0.1)
    for found, wanted in zip(
        objective.batch_loss_gradient(theta), twin.batch_loss_gradient(theta), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


def test_the_twin_asks_one_theta_at_a_time():
    twin = made(reference, l2=0.1)
    thetas = thetas_of(twin, 2)
    assert twin.batch_loss(thetas).tolist() == [twin.loss(theta) for theta in thetas]
    assert (twin.gradient(thetas[0]) == twin.batch_loss_gradient(thetas)[1][0]).all()


@pytest.mark.parametrize("n_classes", [None, 3])
def test_decisions_and_starts_are_those_of_the_definition(n_classes):
    for activation in ("tanh", "relu"):
        objective = made(n_classes=n_classes, activation=activation)
        twin = made(reference, n_classes=n_classes, activation=activation)
        theta, X = thetas_of(objective, 1)[0], np.random.default_rng(4).normal(size=(7, 4))
        found = objective.decisions(theta, X)
        np.testing.assert_allclose(found, twin.decisions(theta, X), rtol=1e-12, atol=1e-12)
        low, high = twin.starts()
        drawn = objective.starts().sample(0, 0, 4000, objective.n_params)
        assert ((low <= drawn) & (drawn <= high)).all()
        np.testing.assert_allclose(drawn.max(axis=0), high, rtol=0.01)


# ------------------------------------------------------------------------------------------- tanh

SIZES = st.one_of(
    st.floats(0, 1), st.floats(0, 30), st.floats(1e-290, 1e-3), st.sampled_from([0.0, 710.0, 1e300])
)


# Where what is rounded off of m + 2 makes 2.68 ulp.
HARD = 0.031125181093608772


def ulps(found, exact, dtype):
    unit = float(np.spacing(np.asarray(abs(float(exact)), dtype)))
    return abs(float((mpmath.mpf(float(found)) - exact) / mpmath.mpf(unit)))


@pytest.mark.long(everywhere=True)
@given(st.lists(SIZES, min_size=8, max_size=8), st.sampled_from(["float64", "float32"]))
def test_tanh_is_within_2_ulp_over_the_whole_range(sizes, dtype):
    limits = np.finfo(dtype)
    z = np.array([HARD, *sizes, *(-size for size in sizes)])
    # Slopes are a quarter of tanh, which may not be subnormal.
    z = z[(abs(z) <= limits.max) & ((abs(z) >= 8 * limits.tiny) | (z == 0))]
    z = z.astype(dtype).astype(np.float64)
    # With an output of 0, that weight's slope is the mean of -1/2 tanh(z) and 1/2 tanh(0).
    network = mf.NetworkLoss([[1.0], [0.0]], [1, 0], n_hidden=1, dtype=dtype)
    thetas = np.zeros((len(z) + 1, 4))
    thetas[:-1, 0] = z
    found = -4 * network.batch_loss_gradient(thetas)[1][:-1, 2]
    with mpmath.workprec(1200):
        exact = [mpmath.tanh(mpmath.mpf(float(number))) for number in z]
    assert max([0, *map(ulps, found, exact, [dtype] * len(z))]) <= ULPS
    if dtype == "float64":
        assert max([0, *map(ulps, tanh(z), exact, [dtype] * len(z))]) <= 3


def test_tanh_of_zero_keeps_its_sign_and_of_much_is_one():
    signs = np.copysign(1, tanh(np.array([0.0, -0.0, 1e9, -np.inf])))
    assert signs.tolist() == [1, -1, 1, -1]
    assert tanh(np.array([0.0, 1e9, -np.inf])).tolist() == [0, 1, -1]


def test_relu_at_its_kink_has_the_slope_zero():
    network = mf.NetworkLoss([[1.0], [2.0]], [1, 0], n_hidden=1, activation="relu")
    assert network.gradient([0, 0, 3, 0]).tolist() == [0, 0, 0, 0]


# ----------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("weights", ["none", "all different"])
def test_a_network_has_the_same_bits_in_any_batch(n_classes, weights, dtype):
    for activation in ("tanh", "relu"):
        objective = made(
            n=600, h=5, n_classes=n_classes, weights=weights, activation=activation, dtype=dtype
        )
        thetas = thetas_of(objective, 53)
        losses, gradients = objective.batch_loss_gradient(thetas)
        for count in (1, 7, 24, 25, 48):
            some = objective.batch_loss_gradient(thetas[:count])
            assert bits(*some) == bits(losses[:count], gradients[:count])
        assert objective.loss(thetas[40]) == losses[40]
        assert bits(objective.batch_loss(thetas[::-1])) == bits(losses[::-1])


PROGRAM = """
import hashlib
import numpy as np
import metaopt_fast as mf
digest, rng = hashlib.sha256(), np.random.default_rng(0)
for n, n_classes, activation in ((2000, None, "tanh"), (700, 3, "tanh"), (700, None, "relu")):
    X, y, w = rng.normal(size=(n, 7)), np.arange(n) % (n_classes or 2), rng.integers(1, 4, n)
    for dtype in ("float64", "float32"):
        network = mf.NetworkLoss(X, y, w, n_hidden=9, activation=activation, n_classes=n_classes,
                                 dtype=dtype, l2=0.1, n_threads=N_THREADS)
        for count in (1, 60):
            thetas = rng.normal(size=(count, network.n_params))
            for found in network.batch_loss_gradient(thetas):
                digest.update(found.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.long
def test_threads_and_instructions_do_not_change_a_bit(outputs):
    assert len(outputs(PROGRAM)) == 1


def test_few_networks_of_many_rows_are_shared_by_their_rows():
    one = made(n=40_000, p=3, h=16, n_threads=1)
    thetas = thetas_of(one, 2)
    found = one.with_threads(3).batch_loss_gradient(thetas)
    assert bits(*found) == bits(*one.batch_loss_gradient(thetas))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_a_forked_process_has_the_same_bits():
    objective = made(n=3000, h=8, n_threads=2)
    thetas = thetas_of(objective, 60)
    before = bits(*objective.batch_loss_gradient(thetas))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert bits(*pool.apply(objective.batch_loss_gradient, (thetas,))) == before
    assert bits(*objective.batch_loss_gradient(thetas)) == before


PEAK_MEMORY = """
import numpy as np
import metaopt_fast as mf
from memory import peak_memory
rng = np.random.default_rng(0)
X, y = rng.normal(size=(20_000, 1)), rng.integers(0, 2, 20_000)
network = mf.NetworkLoss(X, y, n_hidden=2, dtype="float32", n_threads=2)
thetas = rng.normal(size=(5000, network.n_params))
before = peak_memory()
network.batch_loss_gradient(thetas)
print((peak_memory() - before) / 2**20)
"""


@pytest.mark.long(everywhere=True)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_rows_times_networks(run_python):
    # A number of each pair would be 400 MB, an activation 800 MB.
    done = run_python(PEAK_MEMORY)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 100


# --------------------------------------------------------------------------------- extreme numbers


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("size", [1e-300, 1e20, 1e155, 1e300])
def test_finite_numbers_give_no_nan(activation, n_classes, size):
    objective = made(p=3, n_classes=n_classes, activation=activation, weights="few", l2=0.1)
    thetas = thetas_of(objective, 30, size=size)
    thetas[0], thetas[1, ::2] = 0, 0
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert not np.isnan(losses).any() and not np.isnan(gradients).any()
    assert (losses >= 0).all()
    assert bits(losses) == bits(objective.batch_loss(thetas))


@pytest.mark.sanitized
def test_means_are_found_whose_sums_leave_the_range():
    X, y = np.full((4, 1), 1.0), [0, 1, 0, 1]
    network = mf.NetworkLoss(X, y, n_hidden=1, activation="relu")
    # Rows of class 0 lose 1e308 each, which sum to more than there is; and their slopes likewise.
    theta = [1e308, 0, 1, 0]
    loss, gradient = network.loss_gradient(theta)
    assert loss == pytest.approx(0.5e308)
    np.testing.assert_allclose(gradient, [0.5, 0.5, 0.5e308, 0.5], rtol=1e-12)
    draws = mf.Uniform(theta, [1.1e308, 1, 1.1, 1])
    drawn = draws.sample(0, 0, 3, 4)
    assert bits(network.sampled_loss(draws, 0, 0, 3)) == bits(network.batch_loss(drawn))
    assert np.isfinite(network.batch_loss(drawn)).all()


@pytest.mark.sanitized
def test_margins_whose_partial_sums_leave_the_range_are_right():
    big = 1.5e308
    network = mf.NetworkLoss([[1.0, 1.0, -1.0], [0, 0, 0]], [1, 0], n_hidden=1)
    # 1.5e308 + 1.5e308 - 1.5e308, of which tanh is 1; and 0.
    theta = [big, big, big, 0, 2, 0]
    assert network.decisions(theta, [[1.0, 1.0, -1.0]]).tolist() == [2.0]
    wanted = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    assert network.loss(theta) == pytest.approx(wanted, rel=1e-12)
    relu = mf.NetworkLoss([[1.0], [2.0]], [1, 0], n_hidden=2, activation="relu")
    # Of the second row, both products are beyond the range, and their sum is 0; of the first one,
    # they are within it, and the bias is lost beside them.
    theta = [2.0**700, 0, 2.0**700, 0, 1.5 * 2.0**323, -1.5 * 2.0**323, 3]
    wanted = (math.log(2) + math.log1p(math.exp(3))) / 2
    assert relu.loss(theta) == pytest.approx(wanted, rel=1e-12)


def test_a_unit_beyond_the_range_that_no_output_uses_counts_for_nothing():
    network = mf.NetworkLoss([[1e10], [1.0]], [1, 0], n_hidden=1, activation="relu")
    loss, gradient = network.loss_gradient([1e300, 0, 0, 0])
    assert loss == pytest.approx(math.log(2))
    assert np.isfinite(gradient).all()


def test_infinite_losses_are_infinite_and_slopes_are_numbers():
    network = mf.NetworkLoss([[1.0], [2.0]], [1, 0], n_hidden=1, activation="relu")
    loss, gradient = network.loss_gradient([1e300, 0, 1e300, 0])
    assert loss == math.inf
    assert not np.isnan(gradient).any()


# -------------------------------------------------------------------------------- as other losses


def test_subsets_have_the_bits_of_objectives_of_their_rows(dtype):
    rng = np.random.default_rng(5)
    X, y, w = rng.normal(size=(80, 3)), np.arange(80) % 3, rng.random(80)
    rows = np.flatnonzero(rng.random(80) < 0.5)
    for n_classes, labels in ((3, y), (None, y > 0)):
        options = {"n_hidden": 4, "n_classes": n_classes, "dtype": dtype, "l2": 0.1}
        part = mf.NetworkLoss(X, labels, w, **options).subset(rows)
        whole = mf.NetworkLoss(X[rows], labels[rows], w[rows], **options)
        thetas = thetas_of(part)
        assert bits(*part.batch_loss_gradient(thetas)) == bits(*whole.batch_loss_gradient(thetas))
        assert part.fingerprint == whole.fingerprint
    assert mf.NetworkLoss(X, y, n_classes=3).subset(y > 0).n_outputs == 3


@pytest.mark.parametrize("n_classes", [None, 3])
def test_minibatches_hold_all_rows_once(n_classes):
    objective = made(n=100, n_classes=n_classes, weights="few")
    theta = thetas_of(objective, 1)[0]
    parts = objective.minibatches(32, seed=1, epoch=2)
    assert [part.n_samples for part in parts] == [32, 32, 32, 4]
    # Of rows of one weight, the mean is that of the batches' means.
    same = made(n=100, n_classes=n_classes)
    batches = same.minibatches(25, seed=1)
    mean = np.mean([batch.loss_gradient(theta)[1] for batch in batches], axis=0)
    np.testing.assert_allclose(mean, same.gradient(theta), atol=1e-15)


def test_copies_pickles_and_batches_of_rows_are_the_same_objective(tmp_path):
    objective = made(n=60, l2=0.1)
    thetas = thetas_of(objective)
    wanted = bits(*objective.batch_loss_gradient(thetas))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
    y[:2] = [0, 1]
    batches = [(X[:20], y[:20]), (X[20:], y[20:])]
    stored = mf.NetworkLoss.from_batches(batches, storage=tmp_path, n_hidden=3, l2=0.1)
    for other in (pickle.loads(pickle.dumps(objective)), objective.with_threads(2), stored):
        assert bits(*other.batch_loss_gradient(thetas)) == wanted
        assert other.fingerprint == objective.fingerprint
    assert objective.with_l2(0.2).fingerprint != objective.fingerprint
    assert objective.with_l2(0.2).loss(thetas[0]) > objective.loss(thetas[0])
    assert objective.is_smooth and not made(activation="relu").is_smooth
    assert not hasattr(objective, "lipschitz")
    assert repr(objective) == (
        "NetworkLoss(60 samples, 4 features, n_hidden=3, activation='tanh', n_outputs=1, l2=0.1, "
        "dtype='float64')"
    )


def test_the_penalty_leaves_biases_alone():
    objective = made(p=2, h=3, n_classes=2, l2=0.5)
    free = objective.with_l2(0)
    theta = thetas_of(objective, 1)[0]
    penalty = WeightsL2(np.array([0.5]), 2, 3)
    value, slopes = penalty.value_gradient(theta[None])
    assert (slopes[0] == 0).sum() == 3 + 2
    assert objective.loss(theta) == pytest.approx(free.loss(theta) + value[0], rel=1e-14)
    np.testing.assert_allclose(
        objective.gradient(theta), free.gradient(theta) + slopes[0], rtol=1e-12, atol=1e-16
    )
    near = penalty.proximal(theta[None], np.array([0.1]))[0]
    np.testing.assert_allclose(near, np.where(slopes[0] == 0, theta, theta / 1.05))
    assert penalty.of(np.array([0])).penalised(theta[None]).shape == (1, objective.n_params)


# ------------------------------------------------------------------------------ searches, descents


def test_random_search_keeps_what_a_loop_would_and_drops_the_others(shards_of_256):
    objective = made(n=600, h=4, l2=0.01)
    sampler = objective.starts()
    found = mf.random_search(objective, sampler, 1000, seed=2, top_k=3)
    losses = objective.batch_loss(sampler.sample(2, 0, 1000, objective.n_params))
    best = np.argsort(losses)[:3]
    assert found.top["index"].tolist() == best.tolist()
    assert bits(found.top["loss"]) == bits(losses[best])
    assert bits(objective.sampled_loss(sampler, 2, 0, 1000, n_threads=2)) == bits(losses)
    kept, fraction = objective.pruned_loss(sampler, 2, 0, 1000, float(losses[best[2]]))
    assert fraction < 0.97
    assert bits(kept[best]) == bits(losses[best])
    thetas = sampler.sample(2, 0, 1000, objective.n_params)
    assert bits(objective.pruned_loss(thetas, 0, 0, 1000, math.inf)[0]) == bits(losses)


def test_descents_and_evolution_take_networks_as_they_are():
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    exclusive_or = mf.NetworkLoss(X, [0, 1, 1, 0], n_hidden=3)
    starts = exclusive_or.starts().sample(0, 0, 8, exclusive_or.n_params)
    descent = mf.gradient_descent(
        exclusive_or, starts, method="adam", learning_rate=0.1, max_iter=300
    )
    assert descent.loss.min() < 0.05
    assert (exclusive_or.decisions(descent.theta[descent.loss.argmin()], X) > 0).tolist() == [
        False,
        True,
        True,
        False,
    ]
    evolved = mf.evolve(exclusive_or, exclusive_or.starts(), generations=20, seed=1)
    assert evolved.loss < 0.68


def test_a_search_of_descents_takes_networks():
    objective = made(n=120, h=3)
    train = objective.subset(np.arange(80))
    found = mf.search_descents(
        train,
        {"learning_rate": mf.LogUniform(0.01, 0.1), "l2": mf.LogUniform(1e-3, 0.1)},
        4,
        theta0=thetas_of(objective, 1)[0],
        validation=objective.subset(np.arange(80, 120)),
        method="adam",
        max_iter=5,
    )
    assert np.isfinite(found.loss)


@pytest.mark.sanitized
def test_ctrl_c_ends_a_long_call_at_once(alarm):
    objective = made(n=30_000, p=2, h=64)
    thetas = thetas_of(objective, 2000)
    begin = time.monotonic()
    alarm(0.3)
    with pytest.raises(KeyboardInterrupt):
        objective.batch_loss_gradient(thetas)
    assert time.monotonic() - begin < 30


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.sanitized
def test_bad_arguments_are_told_in_a_sentence():
    X, y = np.eye(4), [0, 1, 0, 1]
    for n_hidden in (0, 1025):
        with pytest.raises(ValueError, match=r"n_hidden is \d+: pass .*1.*1024"):
            mf.NetworkLoss(X, y, n_hidden=n_hidden)
    with pytest.raises(ValueError, match=r"activation is 'tahn' .*: pass 'tanh' or 'relu'\.$"):
        mf.NetworkLoss(X, y, activation="tahn")
    network = mf.NetworkLoss(X, y, n_hidden=3)
    formula = (
        r"n_hidden \* \(n_features \+ 1\) \+ n_outputs \* \(n_hidden \+ 1\) = 3 \* 5 \+ 1 \* 4"
    )
    with pytest.raises(ValueError, match=rf"theta has 18 entries, .* 19 parameters \({formula}\)"):
        network.loss(np.zeros(18))
    with pytest.raises(ValueError, match=r"theta 1 has nan as entry 2"):
        network.batch_loss([[0.0] * 19, [0, 0, math.nan] + [0] * 16])
    with pytest.raises(ValueError, match=r"1 class \(1\)"):
        mf.NetworkLoss(X, [1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"X has nan in row 0, column 0: pass finite numbers"):
        mf.NetworkLoss(np.where(X == 1, np.nan, X), y)
    with pytest.raises(ValueError, match=r"y holds 3, but n_classes is 3"):
        mf.NetworkLoss(X, [0, 1, 2, 3], n_classes=3)
    with pytest.raises(ValueError, match="not finite in float32"):
        made(dtype="float32").pruned_loss(np.full((1, 19), 1e300), 0, 0, 1, 1.0)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises((TypeError, ValueError), match="sparse"):
        mf.NetworkLoss(sparse.csr_array(X), y)
