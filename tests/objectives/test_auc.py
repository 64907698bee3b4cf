"""Areas under ROC curves: exact ones, and histograms with the bound of their error."""

import hashlib
import os
import pickle
import signal
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import metaopt_fast as mf
from metaopt_fast.objectives import auc as auc_module
from metaopt_fast.reference import auc as reference_auc

WEIGHTS = {
    "none": lambda rng, n: None,
    "two-valued": lambda rng, n: rng.choice([0.3, 2.5], n),
    "all distinct": lambda rng, n: rng.uniform(0.1, 3.0, n),
    "with zeros": lambda rng, n: np.where(rng.random(n) < 0.4, 0.0, rng.choice([1.0, 1.5], n)),
    "far apart": lambda rng, n: 10.0 ** rng.integers(-8, 9, n),
}


class Problem:
    """Random rows; with whole numbers, decisions are exact and many of them tie."""

    def __init__(self, n_samples, n_features, n_candidates, weights, seed, whole=False, **options):
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(n_samples, n_features))
        n_params = n_features + options.get("fit_intercept", False)
        self.thetas = rng.normal(size=(n_candidates, n_params))
        if whole:
            self.X, self.thetas = np.rint(self.X * 2), np.rint(self.thetas * 2)
        self.y = rng.random(n_samples) < rng.choice([0.03, 0.5, 0.97])
        self.y[:2] = [True, False]
        self.weights = WEIGHTS[weights](rng, n_samples)
        if weights == "with zeros":
            self.weights[:2] = 1.0
        self.options = options

    def objective(self, **options):
        return mf.AUCObjective(self.X, self.y, self.weights, **{**self.options, **options})

    def decisions(self):
        """Decisions of each theta."""
        rows = self.X
        if self.options.get("fit_intercept"):
            rows = np.column_stack([rows, np.ones(len(rows))])
        return (rows @ self.thetas.T).T

    def all_weights(self):
        return np.ones(len(self.y)) if self.weights is None else self.weights


def problems(n_samples, **fixed):
    choices = {
        "fit_intercept": st.booleans(),
        "dtype": st.sampled_from(["float64", "float32"]),
        "n_bins": st.sampled_from([2, 3, 16, 255, 256, 1000]),
        "whole": st.booleans(),
    }
    return st.builds(
        Problem,
        n_samples,
        st.sampled_from([1, 2, 3, 8, 17, 31]),
        st.one_of(st.integers(1, 6), st.sampled_from([23, 24, 25, 49, 96])),
        st.sampled_from(sorted(WEIGHTS)),
        st.integers(0, 2**32 - 1),
        **{**choices, **fixed},
    )


few_rows = st.one_of(st.integers(2, 70), st.integers(2, 600))


def bits(*arrays):
    """The bytes of results, to be compared exactly."""
    return b"|".join(np.asarray(array, np.float64).tobytes() for array in arrays)


# ------------------------------------------------------------------------------------ exact areas


@pytest.mark.long
@given(problems(few_rows, whole=st.just(True), dtype=st.just("float64")))
def test_the_exact_area_counts_pairs_and_half_of_ties(problem):
    objective, weights = problem.objective(), problem.all_weights()
    for theta, decisions in zip(problem.thetas[:5], problem.decisions(), strict=False):
        found = objective.auc(theta)
        assert found == pytest.approx(reference_auc.auc(decisions, problem.y, weights), abs=1e-12)
        wanted = roc_auc_score(problem.y, decisions, sample_weight=problem.weights)
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("weights", sorted(WEIGHTS))
def test_the_exact_area_of_any_rows_is_that_of_scikit_learn(dtype, weights):
    problem = Problem(5000, 7, 3, weights, 0, fit_intercept=True, dtype=dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for theta, decisions in zip(problem.thetas, problem.decisions(), strict=True):
        wanted = roc_auc_score(problem.y, decisions, sample_weight=problem.weights)
        assert problem.objective().auc(theta) == pytest.approx(wanted, abs=tolerance)


def test_equal_rows_tie_whatever_rounding_does():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(50, 13)), 2, axis=0)
    y = np.tile([0, 1], 50)
    assert mf.AUCObjective(X, y).auc(rng.normal(size=13)) == 0.5


SHAPES = {
    "even": lambda rng, n: rng.uniform(-1, 1, n),
    "tied": lambda rng, n: rng.integers(0, 5, n) / 3,
    "one value": lambda rng, n: np.full(n, 0.1),
    "clusters": lambda rng, n: rng.integers(0, 3, n) + 1e-9 * rng.integers(0, 4, n),
    "few close together": lambda rng, n: np.where(
        np.arange(n) % 12 == 0, 0.5 + 1e-12 * rng.integers(0, 2, n), rng.uniform(0, 1, n)
    ),
    "one far away": lambda rng, n: np.where(np.arange(n) == n // 2, 1e12, rng.integers(0, 9, n)),
    "zeros of both signs": lambda rng, n: rng.choice([0.0, -0.0, 1e-9, 1.0], n),
    "over all exponents": lambda rng, n: rng.choice([-1, 1], n) * 2.0 ** rng.integers(-900, 900, n),
    "at the end of the range": lambda rng, n: rng.choice([-1, 0, 1], n) * 1.7e308,
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("positive", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("n_samples", [2, 17, 90, 300])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_areas_without_weights_are_rounded_once(shape, n_samples, positive):
    rng = np.random.default_rng(n_samples)
    x, y = SHAPES[shape](rng, n_samples), rng.random(n_samples) < positive
    y[:2] = [True, False]
    wanted = float(exact_area(x, y, np.ones(n_samples)))
    losses = mf.AUCObjective(x[:, None], y).batch_loss(np.array([[1.0], [0.5], [4.0], [-1.0], [2]]))
    assert losses.tolist() == [1 - wanted] * 3 + [losses[3], 1 - wanted]
    assert losses[3] == 1 - float(exact_area(-x, y, np.ones(n_samples)))
    # As equal weights that no sum of few bits holds.
    weighted = mf.AUCObjective(x[:, None], y, np.full(n_samples, 0.7)).auc([1.0])
    assert weighted == pytest.approx(wanted, rel=0, abs=2.0**-51)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("shape", ["clusters", "few close together", "tied"])
def test_areas_without_weights_are_the_same_in_any_order_of_the_rows(shape):
    rng = np.random.default_rng(0)
    x, y = SHAPES[shape](rng, 300), rng.random(300) < 0.5
    wanted = 1 - float(exact_area(x, y, np.ones(300)))
    for _ in range(10):
        # By whose size rows are in order, else decisions would rise or fall with their rows.
        beside = rng.uniform(0, 100, 300)
        losses = mf.AUCObjective(np.column_stack([x, beside]), y).batch_loss([[1.0, 0.0]] * 2)
        assert losses.tolist() == [wanted] * 2


# ------------------------------------------------------------------------------------- histograms


@pytest.mark.long(everywhere=True)
@given(problems(few_rows, whole=st.just(True)))
def test_areas_and_bounds_are_those_of_the_reference(problem):
    auc, bound = problem.objective().batch_auc(problem.thetas)
    n_bins, weights = problem.options["n_bins"], problem.all_weights()
    kept = weights > 0
    weights = weights.astype(problem.options["dtype"]).astype(np.float64)
    for k, decisions in enumerate(problem.decisions().astype(problem.options["dtype"])[:9]):
        wanted, wanted_bound = reference_auc.histogram_auc(
            decisions[kept], problem.y[kept], weights[kept], n_bins
        )
        # Weights in single precision are rounded relative to others here than there.
        tolerance = 1e-11 if problem.options["dtype"] == "float64" else 1e-6
        assert auc[k] == pytest.approx(wanted, abs=tolerance)
        assert bound[k] == pytest.approx(wanted_bound, abs=tolerance)


@pytest.mark.long(everywhere=True)
@given(problems(st.one_of(few_rows, st.integers(2000, 5000))))
def test_the_exact_area_is_within_the_bound(problem):
    objective = problem.objective()
    auc, bound = objective.batch_auc(problem.thetas)
    assert ((auc >= 0) & (auc <= 1) & (bound >= 0) & (bound <= 0.5 + 1e-9)).all()
    for k in range(min(len(auc), 8)):
        assert abs(auc[k] - objective.auc(problem.thetas[k])) <= bound[k]


def test_the_bound_is_small_and_falls_with_the_bins():
    problem = Problem(20_000, 10, 50, "none", 0)
    bounds = [problem.objective(n_bins=n).batch_auc(problem.thetas)[1] for n in (64, 256, 1024)]
    assert bounds[1].max() < 0.01
    assert (bounds[1] < bounds[0] / 3).all() and (bounds[2] < bounds[1] / 3).all()


def test_without_ties_the_bound_is_that_of_rounding():
    X = np.repeat([[-1.0], [1.0]], 500, axis=0)
    objective = mf.AUCObjective(X, X[:, 0] > 0, n_bins=64)
    areas, bounds = objective.batch_auc([[1.0], [-1.0]])
    assert areas.tolist() == [1.0, 0.0]
    assert (bounds >= 1000 * 2.0**-53).all() and (bounds <= 2000 * 2.0**-50).all()


def test_rows_far_from_all_others_leave_the_bound_true():
    rng = np.random.default_rng(1)
    X, y = rng.standard_cauchy(size=(20_000, 2)) ** 3, np.arange(20_000) % 2
    objective, thetas = mf.AUCObjective(X, y), rng.normal(size=(30, 2))
    auc, bound = objective.batch_auc(thetas)
    exact = np.array([objective.auc(theta) for theta in thetas])
    assert (np.abs(auc - exact) <= bound).all()


def test_a_theta_of_zeros_ties_all_and_says_so():
    problem = Problem(100, 3, 1, "none", 0)
    auc, bound = problem.objective().batch_auc(np.zeros((1, 3)))
    assert auc[0] == problem.objective().auc(np.zeros(3)) == 0.5
    assert bound[0] == pytest.approx(0.5)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e307])
def test_areas_do_not_depend_on_the_size_of_theta(size):
    problem = Problem(500, 4, 30, "all distinct", 0, fit_intercept=True)
    size = 2.0 ** np.round(np.log2(size))
    objective, thetas = problem.objective(), problem.thetas * size
    assert bits(*objective.batch_auc(thetas)) == bits(*objective.batch_auc(problem.thetas))
    assert objective.auc(thetas[0]) == objective.auc(problem.thetas[0])


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1.7e308])
def test_the_smallest_and_the_largest_thetas_have_areas_within_bounds(size):
    problem = Problem(500, 4, 1, "none", 0)
    objective = problem.objective()
    thetas = size * np.array([[1.0, 0, 0, 0], [1, -1, 1, -1], [1, 1, 1, 1]])
    auc, bound = objective.batch_auc(thetas)
    exact = np.array([objective.auc(theta) for theta in thetas])
    assert (np.abs(auc - exact) <= bound).all()


def test_the_area_depends_on_the_ratios_of_weights_within_classes_alone():
    problem = Problem(500, 4, 30, "all distinct", 0)
    weights = problem.weights * np.where(problem.y, 2.0**-200, 2.0**100)
    other = mf.AUCObjective(problem.X, problem.y, weights)
    assert bits(*other.batch_auc(problem.thetas)) == bits(
        *problem.objective().batch_auc(problem.thetas)
    )


def test_rows_of_weight_zero_are_as_good_as_absent():
    problem = Problem(500, 4, 30, "with zeros", 0)
    kept = problem.weights > 0
    other = mf.AUCObjective(problem.X[kept], problem.y[kept], problem.weights[kept])
    assert bits(other.batch_auc(problem.thetas)[0]) == bits(
        problem.objective().batch_auc(problem.thetas)[0]
    )
    assert other.auc(problem.thetas[0]) == problem.objective().auc(problem.thetas[0])


# ------------------------------------------------------------------------------------- same bits


@pytest.mark.long(everywhere=True)
@given(problems(few_rows), st.data())
def test_a_candidate_has_the_same_bits_in_any_batch(problem, data):
    objective, thetas = problem.objective(), problem.thetas
    auc, bound = objective.batch_auc(thetas)
    chosen = data.draw(st.integers(0, len(thetas) - 1))
    assert bits(*objective.batch_auc(thetas[chosen : chosen + 1])) == bits(
        auc[chosen], bound[chosen]
    )
    losses = objective.batch_loss(thetas)
    assert bits(objective.loss(thetas[chosen])) == bits(losses[chosen])
    assert bits(1 - objective.auc(thetas[chosen])) == bits(losses[chosen])
    order = data.draw(st.permutations(range(len(thetas))))
    assert bits(objective.batch_loss(thetas[order])) == bits(losses[order])
    assert bits(*objective.batch_auc(thetas[order])) == bits(auc[order], bound[order])


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", ["none", "all distinct"])
@pytest.mark.parametrize(("n_samples", "n_candidates"), [(1000, 700), (150_000, 30), (300, 3)])
def test_areas_have_the_same_bits_for_any_number_of_threads(
    dtype, weights, n_samples, n_candidates
):
    problem = Problem(n_samples, 3, n_candidates, weights, 3, dtype=dtype)
    problem.y = np.arange(n_samples) % 3 == 0
    objective = problem.objective()
    found = {bits(*objective.with_threads(n).batch_auc(problem.thetas)) for n in range(1, 6)}
    found |= {bits(objective.with_threads(n).batch_loss(problem.thetas[:5])) for n in range(1, 6)}
    assert len(found) == 2
    alone = objective.with_threads(2).batch_auc(problem.thetas[1:2])[0]
    assert bits(alone) == bits(objective.batch_auc(problem.thetas)[0][1])


HASH_OF_AREAS = """
import hashlib
import numpy as np
import metaopt_fast as mf
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for n_samples, n_params, weighted in [(700, 9, True), (90_000, 2, True), (3000, 31, False)]:
    X, y = rng.normal(size=(n_samples, n_params)), np.arange(n_samples) % 3 == 0
    weights, thetas = rng.uniform(0.5, 2, n_samples), rng.normal(size=(60, n_params))
    for dtype in ("float64", "float32"):
        objective = mf.AUCObjective(X, y, weights if weighted else None, dtype=dtype,
                                    n_threads=N_THREADS)
        for array in objective.batch_auc(thetas):
            digest.update(array.tobytes())
        digest.update(objective.batch_loss(thetas[:5]).tobytes())
        digest.update(np.float64(objective.auc(thetas[0])).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.long
def test_areas_have_one_hash_over_threads_and_instruction_sets(outputs):
    hashes = outputs(HASH_OF_AREAS)
    assert len(hashes) <= 1  # none where the baseline is all there is
    assert all(len(found) == len(hashlib.sha256().hexdigest()) for found in hashes)


# --------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize(
    "sampler",
    [
        mf.Normal(),
        mf.Uniform(),
        mf.Integers(-9, 9),
        mf.Mixture({range(3): mf.Normal(), 3: mf.Uniform()}),
    ],
)
def test_a_random_search_finds_the_best_area(sampler, dtype):
    problem = Problem(300, 4, 1, "two-valued", 5, dtype=dtype)
    objective = problem.objective()
    result = mf.random_search(objective, sampler, 3000, seed=7, top_k=5)
    losses = objective.batch_loss(sampler.sample(7, 0, 3000, 4))
    best = np.argsort(losses, kind="stable")[:5]
    assert result.top["index"].tolist() == best.tolist()
    assert bits(result.top["loss"]) == bits(losses[best])
    assert bits(objective.sampled_loss(sampler, 7, 13, 100, n_threads=2)) == bits(losses[13:113])
    assert result.loss == 1 - objective.auc(result.theta)


class Skewed:
    """Rows of lognormal features, some of them repeated, that tell the classes apart."""

    def __init__(self, seed, spread, weights="none", n_samples=300, **options):
        rng = np.random.default_rng(seed)
        self.X = rng.lognormal(0, spread, size=(n_samples, 4))
        noise = spread * rng.normal(size=n_samples)
        self.y = np.log(self.X[:, 0]) + np.log(self.X[:, 1]) + noise > 0
        self.X[::3] = self.X[0]
        self.y[:2] = [True, False]
        self.weights = WEIGHTS[weights](rng, n_samples)
        if weights == "with zeros":
            self.weights[:2] = 1
        self.objective = mf.AUCObjective(self.X, self.y, self.weights, **options)


@pytest.mark.long
@pytest.mark.parametrize(("spread", "weights"), [(1, "none"), (3, "none"), (3, "all distinct")])
def test_the_best_of_skewed_features_are_the_best_by_scikit_learn(spread, weights):
    problem = Skewed(0, spread, weights)
    result = mf.random_search(problem.objective, mf.Normal(), 300, seed=1, top_k=3)
    thetas = mf.Normal().sample(1, 0, 300, 4)
    exact = [roc_auc_score(problem.y, problem.X @ t, sample_weight=problem.weights) for t in thetas]
    best = np.argsort(exact)[::-1][:3]
    np.testing.assert_allclose(1 - result.top["loss"], np.array(exact)[best], rtol=0, atol=1e-13)
    assert result.index == best[0]


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1, 4, 12]),
    weights=st.sampled_from(sorted(WEIGHTS)),
    n_samples=st.sampled_from([2, 15, 16, 90, 300]),
    n_bins=st.sampled_from([2, 16, 256]),
    dtype=st.sampled_from(["float64", "float32"]),
    rank=st.sampled_from([0, 1, 9, 29]),
)
def test_losses_up_to_the_threshold_have_the_bits_of_all_sorted(
    seed, spread, weights, n_samples, n_bins, dtype, rank
):
    problem = Skewed(seed, spread, weights, n_samples, n_bins=n_bins, dtype=dtype)
    thetas = mf.Normal().sample(seed, 5, 30, 4)
    losses = problem.objective.batch_loss(thetas)
    threshold = float(np.sort(losses)[rank])
    for candidates in (thetas, mf.Normal()):
        found, fraction = problem.objective.pruned_loss(candidates, seed, 5, 30, threshold)
        kept = losses <= threshold
        assert bits(found[kept]) == bits(losses[kept])
        assert (np.isinf(found) | (found == losses)).all() and fraction == 1


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("spread", [0.5, 3])
def test_a_pruned_search_is_one_without_pruning_bit_for_bit(spread, tmp_path, monkeypatch):
    monkeypatch.setattr(auc_module, "LARGEST_SHARD", 256)
    problem = Skewed(2, spread)
    search = {"sampler": mf.Normal(), "n_candidates": 3000, "seed": 3, "top_k": 20}
    wanted = mf.random_search(problem.objective, prune=False, **search)
    path = tmp_path / "run.db"
    mf.random_search(problem.objective, checkpoint=path, **{**search, "n_candidates": 1100})
    others = [
        mf.random_search(problem.objective, **search),
        mf.random_search(problem.objective, checkpoint=path, **search),
        mf.merge_results(
            mf.random_search(problem.objective, **{**search, "n_candidates": 1000, "start": start})
            for start in (2000, 0, 1000)
        ),
    ]
    for other in others:
        assert bits(other.top["loss"]) == bits(wanted.top["loss"])
        assert other.top["index"].tolist() == wanted.top["index"].tolist()
        assert other.trace.tolist() == wanted.trace.tolist()


def test_few_candidates_are_sorted_once_there_is_a_threshold(monkeypatch):
    problem, n_sorted = Problem(2000, 4, 1, "none", 5), []
    monkeypatch.setattr(auc_module, "LARGEST_SHARD", 256)
    sort = mf.AUCObjective._exact_aucs
    monkeypatch.setattr(
        mf.AUCObjective, "_exact_aucs", lambda self, t: n_sorted.append(len(t)) or sort(self, t)
    )
    mf.random_search(problem.objective(), mf.Normal(), 4096, seed=1)
    assert sum(n_sorted) < 256 + 0.1 * 4096


@pytest.mark.long(everywhere=True)
def test_an_exhaustive_search_certifies_the_largest_area():
    problem = Skewed(4, 2)
    result = mf.enumerate_search(problem.objective, -1, 2, max_nonzero=3)
    thetas = np.array(np.meshgrid(*[range(-1, 3)] * 4)).reshape(4, -1).T
    thetas = thetas[(thetas == 0).any(axis=1)]
    exact = max(roc_auc_score(problem.y, problem.X @ t) for t in thetas)
    assert result.certified and 1 - result.loss == pytest.approx(exact, abs=1e-13)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    power=st.sampled_from([0, 1, 7, 60]),
    weights=st.sampled_from(sorted(WEIGHTS)),
)
def test_areas_are_exact_but_for_rounding_whatever_the_spread(seed, power, weights):
    rng = np.random.default_rng(seed)
    x = rng.choice([-1, 1], 60) * 10.0 ** rng.uniform(-power, power, 60)
    x[rng.random(60) < 0.3] = rng.choice([0.0, -0.0, x[0], -x[0]])
    y = np.arange(60) % 2 == 1
    w = WEIGHTS[weights](rng, 60)
    if weights == "with zeros":
        w[:2] = 1
    wanted = exact_area(x, y, np.ones(60) if w is None else w)
    objective = mf.AUCObjective(x[:, None], y, w)
    assert abs(objective.auc([1.0]) - wanted) <= 2.0**-51
    assert abs(objective.loss([1.0]) - (1 - wanted)) <= 2.0**-50


def exact_area(x, y, weights):
    """The area in fractions, pair by pair."""
    rows = [(a, Fraction(w)) for a, w in zip(x.tolist(), weights.tolist(), strict=True)]
    high, low = ([row for row, p in zip(rows, y, strict=True) if p == c] for c in (True, False))
    pairs = sum(v * w * (2 * (a > b) + (a == b)) for a, v in high for b, w in low)
    return pairs / (2 * sum(v for _, v in high) * sum(w for _, w in low))


def test_a_search_resumes_on_a_copy(tmp_path):
    problem = Problem(300, 4, 1, "all distinct", 5)
    path = tmp_path / "run.db"
    result = mf.random_search(problem.objective(), mf.Normal(), 1000, checkpoint=path)
    other = pickle.loads(pickle.dumps(problem.objective()))
    assert mf.resume_search(path, other).index == result.index


def test_ctrl_c_is_answered_at_once():
    problem = Problem(200_000, 10, 1, "none", 0)
    objective, thetas = problem.objective(n_threads=2), np.ones((20_000, 10))
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    started = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        objective.batch_auc(thetas)
    assert time.perf_counter() - started < 1


# ------------------------------------------------------------------------- copies and bad input


def test_copies_share_data_and_bits():
    problem = Problem(300, 4, 30, "all distinct", 5)
    objective = problem.objective(n_bins=99)
    auc, bound = objective.batch_auc(problem.thetas)
    for other in (pickle.loads(pickle.dumps(objective)), objective.with_threads(3)):
        assert bits(*other.batch_auc(problem.thetas)) == bits(auc, bound)
        assert other.fingerprint == objective.fingerprint
        assert repr(other) == repr(objective)
    assert repr(objective) == (
        "AUCObjective(300 samples, 4 features, n_bins=99, fit_intercept=False, dtype='float64')"
    )


def test_fingerprints_tell_objectives_apart():
    X, y = np.array([[1.0], [2.0], [-3.0], [4.0]]), np.array([0, 1, 0, 1])
    others = [
        mf.AUCObjective(X, y),
        mf.AUCObjective(-X, 1 - y),  # the same signed rows, in other classes
        mf.AUCObjective(X, y, [1, 2, 1, 1]),
        mf.AUCObjective(X, y, n_bins=7),
        mf.AUCObjective(X, y, fit_intercept=True),
        mf.AUCObjective(X, y, dtype="float32"),
        mf.LogisticLoss(X, y),
    ]
    assert len({objective.fingerprint for objective in others}) == len(others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 1}, "n_bins is 1: pass an integer from 2 to 65536."),
        ({"n_bins": 2.0}, "n_bins is 2.0 (of type float): pass an integer from 2 to 65536."),
        ({"n_bins": 65537}, "n_bins is 65537: pass an integer from 2 to 65536."),
        ({"fit_intercept": 1}, "fit_intercept is 1 (of type int): pass True or False."),
        ({"dtype": "int"}, "dtype is 'int' (of type str): pass 'float64' or 'float32'."),
        ({"n_threads": 0}, "n_threads is 0: pass an integer from 1 to 1024."),
        ({"y": [1, 1, 1, 1]}, "y holds 1 class (1): pass labels of two."),
        (
            {"sample_weight": [0, 1, 0, 1]},
            "sample_weight is 0 for all rows of one class: pass positive weights in both.",
        ),
        (
            {"X": [[1.0], [np.nan], [2.0], [3.0]]},
            "X has nan in row 1, column 0: pass finite numbers in the range of float64.",
        ),
    ],
)
def test_bad_data_is_refused_in_one_sentence(options, message):
    given = {"X": [[1.0], [2.0], [3.0], [4.0]], "y": [0, 1, 0, 1], **options}
    with pytest.raises((ValueError, TypeError)) as caught:
        mf.AUCObjective(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "thetas",
    [
        [[np.nan, 1.0]],
        [[1.0, 1.0], [1.0, np.inf]],
        [[1.0]],
        [1.0, 2.0],
        np.empty((0, 2)),
        [["a", "b"]],
        [[1j, 1.0]],
        None,
    ],
)
def test_bad_thetas_are_refused_as_by_a_loss(thetas, dtype):
    X, y = np.eye(2), [0, 1]
    messages = []
    for objective in (mf.AUCObjective(X, y, dtype=dtype), mf.LogisticLoss(X, y, dtype=dtype)):
        with pytest.raises((ValueError, TypeError)) as caught:
            objective.batch_loss(thetas)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.sanitized
def test_thetas_beyond_single_precision_are_refused():
    objective = mf.AUCObjective(np.eye(2), [0, 1], dtype="float32")
    for call in (objective.auc, objective.loss):
        with pytest.raises(ValueError, match=r"theta 0 has 1e\+39 as entry 1, .* float32: pass"):
            call([1.0, 1e39])
    with pytest.raises(ValueError, match="draws numbers beyond the range of float32"):
        objective.sampled_loss(mf.Normal(scale=1e39), 0, 0, 100)
    X = np.random.default_rng(0).normal(size=(50_000, 2))
    many = mf.AUCObjective(X, X[:, 0] > 0, dtype="float32", n_threads=2)  # which share one theta
    with pytest.raises(ValueError, match=r"theta 0 has 1e\+39 as entry 1, .* float32: pass"):
        many.loss([1.0, 1e39])
    with pytest.raises(TypeError, match="sampler is 'normal'"):
        objective.sampled_loss("normal", 0, 0, 100)
