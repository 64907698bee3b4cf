"""Evolutions: the reference's candidates, convergence, any threads, edges, and the best of all."""

import itertools
import json
import math

import numpy as np
import pytest
from evolutions import (
    CONTINUOUS,
    METHODS,
    ErrorRate,
    Quadratic,
    Scripted,
    digest,
    logistic,
    run,
    start_of,
)
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.evolution.strategy import STREAM_STEP
from metaopt_fast.reference import evolution as reference_evolve

SEED, POPULATION = 11, 24

# --------------------------------------------------------------------------------- the reference


def normals(count, n_params):
    """The numbers of each generation, as the documentation of `seed` says."""
    return lambda g: mf.Normal().sample(SEED, g * POPULATION, count, n_params)


def uniforms(which, n_params):
    seed = (SEED + which * STREAM_STEP) % 2**64
    return lambda g: mf.Uniform(0, 1).sample(seed, g * POPULATION, POPULATION, n_params)


def asked(objective, start, method, generations=15, **options):
    """All candidates that an evolution has asked about, generation by generation."""
    mf.evolve(
        objective,
        start,
        method=method,
        population=POPULATION,
        generations=generations,
        seed=SEED,
        **options,
    )
    return np.array(objective.asked[-generations:])


def check(thetas, generations):
    wanted = np.array(list(itertools.islice(generations, len(thetas))))
    np.testing.assert_allclose(thetas, wanted, rtol=1e-12, atol=1e-12)
    return wanted


STARTS = {
    "normal": (mf.Normal([0.5, -1.0, 0.0], 2.0), [0.5, -1.0, 0.0], [2.0] * 3),
    "uniform": (mf.Uniform(-1, [2.0, 3.0, 4.0]), [0.5, 1, 1.5], np.array([3, 4, 5]) / 12**0.5),
    "mixture": (
        mf.Mixture({0: mf.Normal(1, 2), (1, 2): mf.Uniform(-1, 3)}),
        [1.0, 1.0, 1.0],
        [2.0, 4 / 12**0.5, 4 / 12**0.5],
    ),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("cem", {}),
        ("cem", {"elite": 0.3, "smoothing": 1.0, "noise": 0.2, "noise_generations": 4}),
        ("cem", {"elite": 1e-9, "noise": 0.0}),
        ("cem", {"elite": 1.0}),
        ("snes", {}),
        ("snes", {"learning_rate": 0.7, "scale_learning_rate": 0.3}),
        ("ars", {}),
        ("ars", {"elite": 1.0, "learning_rate": 0.3, "exploration": 0.5}),
        ("shrinking", {}),
        ("shrinking", {"shrink": 0.8, "shrink_stuck": 0.5}),
    ],
)
def test_candidates_are_those_of_the_reference(name, method, options):
    objective = Quadratic()
    start, mean, sigma = STARTS[name]
    first = start.sample(SEED, 0, POPULATION, 3)
    count = POPULATION // 2 if method == "ars" else POPULATION
    arguments = [objective.loss, first, normals(count, 3), np.array(mean), np.array(sigma)]
    if method == "shrinking":
        del arguments[3]
    reference = getattr(reference_evolve, method)(*arguments, **options)
    wanted = check(asked(objective, start, method, **options), reference)
    assert len(np.unique(wanted.reshape(-1, 3), axis=0)) == wanted.size // 3


@pytest.mark.parametrize("scale", [None, 0.5, [0.1, 1.0, 3.0]])
@pytest.mark.parametrize("method", CONTINUOUS)
def test_an_array_is_the_mean_of_the_first_generation_and_its_first_candidate(method, scale):
    objective, theta0 = Quadratic(), np.array([0.3, -0.2, 0.1])
    sigma = np.broadcast_to(1.0 if scale is None else scale, (3,))
    numbers = normals(POPULATION // 2 if method == "ars" else POPULATION, 3)

    def without_the_first(generation):
        z = numbers(generation)
        z[:1] *= generation > 0
        return z

    first = None if method == "ars" else theta0 + sigma * without_the_first(0)
    arguments = [objective.loss, first, without_the_first, theta0, sigma]
    if method == "shrinking":
        del arguments[3]
    thetas = asked(objective, theta0, method, scale=scale)
    check(thetas, getattr(reference_evolve, method)(*arguments))
    assert (thetas[0, 0] == theta0).all()


def test_a_single_direction_is_first_that_of_the_start_itself():
    def numbers(generation):
        return mf.Normal().sample(SEED, 2 * generation, 1, 3) * (generation > 0)

    objective, theta0 = Quadratic(), np.array([0.3, -0.2, 0.1])
    mf.evolve(objective, theta0, method="ars", population=2, generations=15, seed=SEED)
    reference = reference_evolve.ars(objective.loss, None, numbers, theta0, np.ones(3))
    wanted = check(np.array(objective.asked[-15:]), reference)
    assert wanted[0].tolist() == [theta0.tolist()] * 2
    assert len(np.unique(wanted.reshape(-1, 3), axis=0)) == 1 + 2 * 14


@pytest.mark.parametrize("population", [2, 24])
@pytest.mark.parametrize("method", CONTINUOUS)
def test_a_start_that_is_the_best_is_found(method, population):
    objective = Quadratic()
    start = objective.optimum
    result = mf.evolve(
        objective, start, method=method, population=population, generations=3, top_k=3
    )
    assert result.loss == 0.0 and result.theta.tolist() == start.tolist()
    assert result.top[0].tolist() == (0, 0, 0.0)
    assert len(np.unique(result.top_thetas, axis=0)) == len(result.top) == 3


@pytest.mark.parametrize("method", CONTINUOUS)
def test_a_start_with_zeros_of_both_signs_is_one_candidate(method):
    start = np.array([0.0, -0.0, 1.0])
    result = mf.evolve(Quadratic(start), start, method=method, population=4, top_k=4)
    assert result.theta.tobytes() == start.tobytes()
    assert len(np.unique(result.top_thetas, axis=0)) == 4


@pytest.mark.long
@given(
    low=st.lists(st.integers(-4, 0), min_size=5, max_size=5),
    width=st.lists(st.integers(0, 5), min_size=5, max_size=5),
    max_nonzero=st.none() | st.integers(1, 5),
    restart_after=st.integers(1, 4),
)
def test_integer_candidates_are_those_of_the_reference_and_within_the_bounds(
    low, width, max_nonzero, restart_after
):
    low = np.array(low)
    high = np.maximum(low + width, 0)
    objective = Quadratic([3.2, -1.3, 0.1, 2.4, -3.3])
    start = mf.Integers(low, high, max_nonzero)
    thetas = asked(objective, start, "integer_local_search", restart_after=restart_after)
    reference = reference_evolve.integer_local_search(
        objective.loss,
        lambda g: start.sample(SEED, g * POPULATION, POPULATION, 5),
        uniforms(1, 7),
        uniforms(2, 5),
        low,
        high,
        max_nonzero=max_nonzero,
        restart_after=restart_after,
    )
    np.testing.assert_array_equal(thetas, list(itertools.islice(reference, len(thetas))))
    assert ((low <= thetas) & (thetas <= high)).all()
    assert (thetas == np.floor(thetas)).all()
    if max_nonzero is not None:
        assert ((thetas != 0).sum(axis=2) <= max_nonzero).all()


def test_a_neighbour_differs_from_the_center_in_one_or_two_parameters():
    objective = Quadratic([1.0, 2.0, 3.0, 4.0])
    thetas = asked(objective, mf.Integers(-5, 5), "integer_local_search", 2)
    best = min(thetas[0], key=objective.loss)
    changes = (thetas[1] != best).sum(axis=1)
    assert set(changes) == {1, 2}


# ---------------------------------------------------------------------------------- convergence


@pytest.mark.parametrize("method", CONTINUOUS)
def test_a_quadratic_is_minimised(method):
    objective = Quadratic(np.linspace(-2, 2, 10))
    result = mf.evolve(objective, mf.Normal(), method=method, generations=150, seed=1)
    assert objective.loss(result.center) < 1e-4
    assert result.loss < (0.05 if method == "ars" else 1e-4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", CONTINUOUS)
def test_a_logistic_loss_is_minimised(method, dtype):
    objective = logistic(dtype=dtype)
    best = mf.gradient_descent(logistic(), method="lbfgs")
    result = mf.evolve(objective, mf.Uniform(-3, 3), method=method, generations=150)
    assert result.loss - best.loss < 2e-3
    assert result.loss == objective.loss(result.theta)


@pytest.mark.parametrize("method", METHODS)
def test_a_0_1_loss_comes_lower_than_by_random_search(method):
    objective, candidates = ErrorRate(), 64 * 40
    found = mf.evolve(objective, start_of(method), method=method, population=64, generations=40)
    random = mf.random_search(objective, start_of(method), candidates)
    assert found.loss <= random.loss
    assert found.loss <= 0.13
    assert found.n_evaluated == candidates


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("max_nonzero", [None, 1, 2])
def test_the_optimum_of_a_small_box_is_found(max_nonzero):
    rng = np.random.default_rng(5)
    low, high = np.array([-2, 0, -1, -3]), np.array([2, 3, 1, 0])
    points = np.array(list(itertools.product(*map(range, low, high + 1))), float)
    if max_nonzero is not None:
        points = points[(points != 0).sum(axis=1) <= max_nonzero]
    X = rng.normal(size=(80, 4))
    objective = mf.LogisticLoss(X, X @ [0.9, 1.4, -0.7, -1.2] + rng.normal(size=80) > 0)
    losses = objective.batch_loss(points)
    for seed in range(10):
        result = mf.evolve(
            objective,
            mf.Integers(low, high, max_nonzero),
            method="integer_local_search",
            population=8,
            generations=60,
            seed=seed,
        )
        assert result.loss == losses.min()
        np.testing.assert_array_equal(result.theta, points[np.argmin(losses)])


@pytest.mark.long(everywhere=True)
def test_an_integer_search_leaves_a_valley_that_is_not_the_deepest():
    class Valleys:
        """From -1 everywhere, the way to 1 everywhere leads uphill for many steps."""

        n_params = 8

        def batch_loss(self, thetas):
            away = np.abs(thetas - 1).sum(axis=1)
            return np.where(away <= 4, away - 100, np.abs(thetas + 1).sum(axis=1))

    options = {"method": "integer_local_search", "population": 8, "generations": 2000}
    stays = mf.evolve(Valleys(), mf.Integers(-1, 1), restart_after=10**6, **options)
    assert stays.loss == 0
    leaves = mf.evolve(Valleys(), mf.Integers(-1, 1), restart_after=3, **options)
    assert leaves.loss == -100
    # Neighbours, and random points of a standard deviation of sqrt(2 / 3).
    assert set(leaves.trace["scale"]) == {1.0, math.sqrt(2 / 3)}


# --------------------------------------------------------------------------------- same bits


@pytest.mark.parametrize("method", METHODS)
def test_the_bits_are_the_same_for_any_number_of_threads(method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 20))
    objective = mf.LogisticLoss(X, X[:, 0] > rng.normal(size=3000))
    options = {"method": method, "population": 200, "generations": 6, "top_k": 7}
    results = [
        mf.evolve(objective, start_of(method), n_threads=n_threads, **options)
        for n_threads in (1, 2, 3)
    ]
    assert len({digest(result) for result in results}) == 1
    assert [result.config["n_threads"] for result in results] == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_seeds_differ_and_repeat(method):
    assert digest(run(method, seed=1)) == digest(run(method, seed=1))
    assert digest(run(method, seed=1)) != digest(run(method, seed=2))
    assert run(method, seed=2**64 - 1).n_evaluated == 32 * 12


@pytest.mark.parametrize("method", METHODS)
def test_a_longer_run_begins_with_a_shorter_one(method):
    short, long = run(method, generations=5), run(method, generations=12)
    assert long.trace[:5].tobytes() == short.trace.tobytes()


def test_an_objective_may_change_the_thetas_that_it_is_given():
    class Clumsy(Quadratic):
        def batch_loss(self, thetas):
            losses = super().batch_loss(thetas)
            thetas[:] = 0.0
            return losses

    for method in CONTINUOUS:
        assert digest(run(method, Clumsy())) == digest(run(method, Quadratic()))


# ------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("top_k", [1, 3, 50, 10_000])
@pytest.mark.parametrize("method", METHODS)
def test_the_top_holds_the_best_of_different_thetas(method, top_k):
    objective = Quadratic()
    result = run(method, objective, top_k=top_k)
    seen = {}
    for generation, thetas in enumerate(objective.asked[-12:]):
        for index, theta in enumerate(thetas):
            key = (*(theta + 0.0),)
            seen.setdefault(key, (objective.batch_loss(theta[None])[0], generation, index))
    best = sorted((entry, theta) for theta, entry in seen.items())[:top_k]
    assert [(loss, g, i) for g, i, loss in result.top.tolist()] == [entry for entry, _ in best]
    np.testing.assert_array_equal(result.top_thetas, [theta for _, theta in best])
    assert result.loss == result.top["loss"][0]


@pytest.mark.parametrize("method", METHODS)
def test_the_trace_says_how_each_generation_went(method):
    objective = Quadratic()
    result = run(method, objective)
    losses = np.array([((t - objective.optimum) ** 2).sum(axis=1) for t in objective.asked[-12:]])
    np.testing.assert_array_equal(result.trace["generation"], range(12))
    np.testing.assert_array_equal(result.trace["best"], losses.min(axis=1))
    np.testing.assert_array_equal(
        result.trace["best_so_far"], np.minimum.accumulate(losses.min(axis=1))
    )
    np.testing.assert_allclose(result.trace["median"], np.median(losses, axis=1), rtol=1e-15)
    assert (result.trace["scale"] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_result_is_plain_numbers_and_a_screen(method):
    result = run(method)
    everything = json.loads(json.dumps(result.to_dict()))
    assert everything["theta"] == result.theta.tolist() == everything["top"][0]["theta"]
    assert everything["trace"][-1]["best_so_far"] == result.loss
    assert everything["n_evaluated"] == result.n_evaluated == 384
    assert 0 < everything["kernel_fraction"] < 1
    assert method in repr(result) and f"{result.loss:.10g}" in repr(result)
    assert len(repr(result).splitlines()) <= 11
    assert "..." not in repr(run("cem", Quadratic(range(6))))
    assert ", ...]" in repr(run("cem", Quadratic(range(7))))
    assert max(map(len, repr(result).splitlines())) <= 100


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_result_comes_back(method, tmp_path):
    result = run(method, metadata={"who": "me"})
    result.save(tmp_path / "result.npz")
    again = mf.EvolveResult.load(tmp_path / "result.npz")
    assert digest(again) == digest(result)
    assert repr(again) == repr(result)
    assert again.to_dict() == json.loads(json.dumps(result.to_dict()))


# As NumPy writes text.
NAMES = ["cem".encode("utf-32-le"), "mec".encode("utf-32-le")]


def test_what_is_no_result_is_refused(tmp_path):
    path = tmp_path / "result.npz"
    run("cem", generations=1).save(path)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content.replace(*NAMES)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="does not hold a result of evolve"):
            mf.EvolveResult.load(path)
    run("cem", checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="does not hold a result of evolve"):
        mf.EvolveResult.load(tmp_path / "run.npz")
    with pytest.raises(FileNotFoundError):
        mf.EvolveResult.load(tmp_path / "none.npz")


def test_plot_trace_draws_the_trace():
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    result = run("cem")
    ax = result.plot_trace()
    assert len(ax.lines) == 3
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), result.trace["best_so_far"])
    assert ax.lines[-1].get_xdata()[-1] == result.n_evaluated
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title()
    assert result.plot_trace(ax) is ax
    pyplot.close("all")


# -------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("population", [2, 4])
@pytest.mark.parametrize("generations", [1, 7])
@pytest.mark.parametrize("method", METHODS)
def test_the_smallest_runs_end(method, population, generations):
    result = run(
        method, Quadratic([0.3]), population=population, generations=generations, top_k=100
    )
    assert result.n_evaluated == population * generations
    assert np.isfinite(result.top_thetas).all() and np.isfinite(result.center).all()
    assert result.theta.shape == (1,)


def test_an_odd_population_is_for_all_but_ars():
    for method in ("cem", "snes", "shrinking", "integer_local_search"):
        assert run(method, population=3).n_evaluated == 36


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [0.0, math.inf, math.nan, -math.inf, 1e308, -1e308])
@pytest.mark.parametrize("method", METHODS)
def test_equal_losses_are_no_trouble(method, loss):
    result = run(method, Scripted(*[loss] * 12))
    assert result.n_generations == 12
    assert np.isfinite(result.center).all() and (result.scale >= 0).all()
    assert len(result.top) == 5
    np.testing.assert_array_equal(result.loss, loss)
    np.testing.assert_array_equal(result.top["index"][0], 0)
    if not math.isfinite(loss):
        assert (result.trace["best"] == np.inf).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [math.inf, math.nan, -math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_losses_that_are_not_finite_rank_last(method, bad):
    class Walled(Quadratic):
        def batch_loss(self, thetas):
            losses = super().batch_loss(thetas)
            losses[thetas[:, 0] < 0] = bad
            return losses

    result = run(method, Walled([1.0, -2.0, 3.0]), population=64, generations=40)
    assert np.isfinite(result.top["loss"]).all() and (result.top_thetas[:, 0] >= 0).all()
    assert result.loss < 0.3
    assert np.isfinite(result.center).all()


def test_the_elite_are_candidates_of_finite_losses_alone():
    losses = np.full(32, np.nan)
    losses[[3, 20]] = 1.0
    result = run("cem", Scripted(losses), generations=1, smoothing=1.0)
    first = mf.Normal().sample(3, 0, 32, 2)
    np.testing.assert_allclose(result.center, first[[3, 20]].mean(axis=0), rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_a_wall_on_all_sides_of_the_first_generation_is_survived(method):
    walls = [math.nan] * 3
    result = run(method, Scripted(*walls), generations=10)
    assert result.loss == 1.0
    assert result.top["generation"][0] == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("method", "dtype", "options"),
    [
        ("cem", "float32", {"noise": 1e74, "noise_generations": 10**9}),
        ("snes", "float32", {"scale_learning_rate": 20.0}),
        ("snes", "float64", {"scale_learning_rate": 20.0}),
        ("ars", "float32", {"learning_rate": 1e100}),
        ("ars", "float64", {"learning_rate": 1e308}),
    ],
)
def test_a_loss_without_a_lowest_point_diverges_and_says_so(method, dtype, options):
    class Slope:
        n_params = 2

        def __init__(self):
            self.dtype = dtype

        def batch_loss(self, thetas):
            assert np.isfinite(thetas.astype(dtype)).all()
            return -np.clip(thetas, -1e300, 1e300).sum(axis=1)

    result = run(method, Slope(), generations=20_000, **options)
    assert result.stopped_by == "diverged"
    assert np.isfinite(result.theta).all() and np.isfinite(result.center).all()
    assert np.isfinite(result.scale).all()


def test_a_parameter_that_cannot_change_stays():
    start = mf.Integers([0, 3, -2], [5, 3, 2])
    result = mf.evolve(
        Quadratic([4, 0, 1]), start, method="integer_local_search", population=8, generations=30
    )
    np.testing.assert_array_equal(result.theta, [4, 3, 1])
    fixed = mf.evolve(Quadratic([4]), mf.Integers(2, 2), method="integer_local_search", top_k=9)
    np.testing.assert_array_equal(fixed.top_thetas, [[2]])
