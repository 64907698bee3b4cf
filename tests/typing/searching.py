# pyright: strict
"""What users write to search, as a type checker sees it: never run."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.typing import Objective, Pruned, Sampled, Sampler, SamplerLike, Threaded

Float64Array = npt.NDArray[np.float64]

X, y, feature_names = load_breast_cancer()
weights = np.ones(len(y))
objective = mf.LogisticLoss(X, y, weights, l2=0.01, fit_intercept=True, dtype="float32")
assert_type(objective.loss([0.0] * 31), float)
assert_type(objective.batch_loss(np.zeros((5, 31))), Float64Array)
loss, slope = objective.loss_gradient(np.zeros(31))
assert_type(loss, float)
assert_type(slope, Float64Array)

sampler = mf.Normal(loc=0.0, scale=np.full(31, 0.5))
assert_type(sampler.sample(1, 0, 10, 31), Float64Array)
mixture = mf.Mixture({"C": mf.Uniform(0, 1), "depth": mf.Integers(1, 9)}, names=["C", "depth"])


def enough(result: mf.SearchResult) -> bool:
    """Stop a search."""
    return result.loss < 0.1


result = mf.random_search(
    objective,
    sampler,
    200_000,
    seed=1,
    top_k=3,
    checkpoint=Path("search.sqlite"),
    callback=enough,
    time_budget=1.5,
    metadata={"who": "me"},
)
assert_type(result, mf.SearchResult)
assert_type(result.theta, Float64Array)
assert_type(result.loss, float)
result.save("result.npz")
merged = mf.merge_results([result, mf.SearchResult.load("result.npz")])
with ProcessPoolExecutor() as pool:
    mf.resume_search("search.sqlite", objective, executor=pool, progress="always")


class ErrorRate:
    """An objective of one's own."""

    n_params = 30

    def batch_loss(self, thetas: Float64Array) -> Float64Array:
        """Return rates of errors."""
        errors: Float64Array = ((thetas @ X.T > 0) != y).mean(axis=1)
        return errors


def draw(start: int, count: int) -> Float64Array:
    """Return candidates start .. start + count - 1."""
    rows = [np.random.default_rng(i).normal(size=30) for i in range(start, start + count)]
    return np.array(rows)


mf.random_search(ErrorRate(), draw, 1000)


class Spread:
    """A sampler of one's own: numbers on both sides of 0."""

    fingerprint = "spread"

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Float64Array:
        """Return candidates start .. start + count - 1."""
        return 2 * mf.Uniform().sample(seed, start, count, n_params)

    def mean(self, n_params: int) -> Float64Array:
        """Return means."""
        return np.zeros(n_params)

    def std(self, n_params: int) -> Float64Array:
        """Return standard deviations."""
        return np.full(n_params, 2 / 3**0.5)

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return bounds."""
        return np.full(n_params, -2.0), np.full(n_params, 2.0)

    def is_integer(self, n_params: int) -> npt.NDArray[np.bool_]:
        """Return which parameters are whole numbers."""
        return np.zeros(n_params, np.bool_)

    def nonzero_limit(self, n_params: int) -> tuple[int, npt.NDArray[np.intp]] | None:
        """Return that any number may be other than 0."""


spread: Sampler = Spread()
samplers: list[SamplerLike] = [spread, draw, sampler, mixture]
mf.random_search(objective, spread, 1000, checkpoint="own.sqlite")
mf.resume_search("own.sqlite", objective, sampler=spread)
mf.evolve(objective, Spread(), method="snes")


def search_all(objectives: list[Objective]) -> list[mf.SearchResult]:
    """Search any objectives, built-in ones and one's own."""
    return [mf.random_search(one, draw, 1000) for one in objectives]


search_all([ErrorRate(), objective, mf.reference.LogisticLoss(X, y), mf.AUCObjective(X, y)])
built_in: tuple[Sampled, Pruned, Threaded] = objective, objective, objective

counts = mf.ConfusionCounts(X, y, groups=y, thresholds=(0.3, 0.5), fit_intercept=True)
cost = mf.CountObjective(counts, mf.metrics.Cost(fp=1, fn=10), max_gap=0.1)
assert_type(counts.batch_counts(np.zeros((4, 31))), Float64Array)
evolved = mf.evolve(cost, mf.Normal(), method="cem", generations=60, seed=1)
assert_type(evolved, mf.EvolveResult)
best = mf.enumerate_search(objective, -1, 1, max_nonzero=2, free=(-1,))
card: mf.Scorecard = best.scorecard(feature_names, X=X, y=y)
area = mf.AUCObjective(X, y)
picture: Any = result.plot_trace()
assert_type(result.config, dict[str, mf.typing.JSON])
assert_type(result.top, mf.typing.Records)
