"""The mean logistic loss of many thetas, written as an expert would write it with each library.

A peer is a function that gets a problem, prepares what can be prepared once, and returns the call
that is measured. All get the rows times -1 for the positive class: the loss is softplus(z).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from time import perf_counter

import numpy as np

from benches.peers.setting import Prepared, Setting

Call = Callable[[], np.ndarray]

# Candidates come in groups of this, which every peer's blocks divide.
GROUP, MOST = 512, 262_144
BOUNDS = {"float64": 1e-10, "float32": 1e-5}


@lru_cache(maxsize=1)
def rows_of(n_samples: int, n_features: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes, drawn once for all sizes of the batch."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)).astype(dtype)
    return X, rng.integers(0, 2, n_samples)


@dataclass
class Problem:
    """Rows of two classes, and thetas whose margins are of the size of 1."""

    n_samples: int
    n_features: int
    n_candidates: int
    dtype: str
    n_threads: int

    def __post_init__(self) -> None:
        self.X, self.y = rows_of(self.n_samples, self.n_features, self.dtype)
        rng = np.random.default_rng(1)
        thetas = rng.standard_normal((self.n_candidates, self.n_features))
        self.thetas = thetas.astype(self.dtype) / np.sqrt(self.n_features).astype(self.dtype)

    @cached_property
    def signed_X(self) -> np.ndarray:
        """z = signed_X @ theta; the loss of a row is softplus(z)."""
        return self.X * np.where(self.y == 1, -1, 1).astype(self.dtype)[:, None]


def metaopt_fast(problem: Problem) -> Call:
    import metaopt_fast as mf

    objective = mf.LogisticLoss(
        problem.X, problem.y, dtype=problem.dtype, n_threads=problem.n_threads
    )
    thetas = problem.thetas.astype("float64")
    return lambda: objective.batch_loss(thetas)


def numpy_plain(problem: Problem) -> Call:
    signed_X, thetas = problem.signed_X, problem.thetas
    return lambda: np.logaddexp(0, signed_X @ thetas.T).mean(axis=0)


def numpy_tuned(problem: Problem) -> Call:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")
    signed_X = problem.signed_X
    # One logarithm for as many rows as a product of numbers below 2 can have.
    block, group = 1024, 64 if problem.dtype == "float32" else 256
    width = 64

    def some(thetas: np.ndarray) -> np.ndarray:
        losses = np.zeros(len(thetas))
        z = np.empty((block, len(thetas)), problem.dtype)
        positive = np.empty_like(z)
        for first in range(0, len(signed_X), block):
            rows = signed_X[first : first + block]
            at, above = z[: len(rows)], positive[: len(rows)]
            np.matmul(rows, thetas.T, out=at)
            np.maximum(at, 0, out=above)
            losses += above.sum(axis=0)
            np.abs(at, out=at)
            np.negative(at, out=at)
            np.exp(at, out=at)
            at += 1
            for part in range(0, len(rows), group):
                losses += np.log(np.multiply.reduce(at[part : part + group], axis=0))
        return losses / len(signed_X)

    groups = [problem.thetas[k : k + width] for k in range(0, len(problem.thetas), width)]
    pool = ThreadPoolExecutor(problem.n_threads)
    return lambda: np.concatenate(list(pool.map(some, groups)))


def numba_blas(problem: Problem) -> Call:
    from threadpoolctl import threadpool_limits

    from benches.peers import numba_kernels

    threadpool_limits(1, "blas")
    return numba_kernels.prepare(problem, has_blas=True)


def numba_alone(problem: Problem) -> Call:
    from benches.peers import numba_kernels

    return numba_kernels.prepare(problem, has_blas=False)


def jax(problem: Problem) -> Call:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    # What is in flight, rows times thetas, stays in the second-level cache.
    n_blocks = -(-problem.n_samples // 2048)
    block = -(-problem.n_samples // n_blocks)
    width = min(256, problem.n_candidates)
    padded = np.zeros((n_blocks * block, problem.n_features), problem.dtype)
    padded[: problem.n_samples] = problem.signed_X
    blocks = jnp.asarray(padded.reshape(n_blocks, block, -1))
    n_missing = len(padded) - problem.n_samples
    n_groups = -(-problem.n_candidates // width)
    groups = np.zeros((n_groups * width, problem.n_features), problem.dtype)
    groups[: problem.n_candidates] = problem.thetas
    groups = jnp.asarray(groups.reshape(n_groups, width, -1))

    @jax.jit
    def batch(blocks, groups):  # type: ignore[no-untyped-def]
        def of_group(thetas):  # type: ignore[no-untyped-def]
            def add(total, rows):  # type: ignore[no-untyped-def]
                return total + jax.nn.softplus(rows @ thetas.T).sum(axis=0), None

            return jax.lax.scan(add, jnp.zeros(width, blocks.dtype), blocks)[0]

        return jax.lax.map(of_group, groups).ravel()

    # Rows of zeros have the loss ln 2.
    excess = n_missing * np.log(2)

    def call() -> np.ndarray:
        losses = np.asarray(batch(blocks, groups).block_until_ready(), "float64")
        return (losses[: problem.n_candidates] - excess) / problem.n_samples

    return call


def jax_vmap(problem: Problem) -> Call:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    signed_X, thetas = jnp.asarray(problem.signed_X), jnp.asarray(problem.thetas)

    def loss(theta):  # type: ignore[no-untyped-def]
        return jax.nn.softplus(signed_X @ theta).mean()

    batch = jax.jit(jax.vmap(loss))
    return lambda: np.asarray(batch(thetas).block_until_ready(), "float64")


def pytorch(problem: Problem) -> Call:
    import torch

    torch.set_num_threads(problem.n_threads)
    # Blocks of one size, padded with zeros: one shape is compiled, and none again.
    n_blocks = -(-problem.n_samples // 4096)
    block, width = -(-problem.n_samples // n_blocks), min(512, problem.n_candidates)
    n_missing = n_blocks * block - problem.n_samples
    rows = np.pad(problem.signed_X, ((0, n_missing), (0, 0)))
    thetas = np.pad(problem.thetas, ((0, -problem.n_candidates % width), (0, 0)))
    row_blocks = torch.tensor(rows).split(block)
    groups = [group.T.contiguous() for group in torch.tensor(thetas).split(width)]

    @torch.compile(dynamic=False)
    def some(rows, thetas):  # type: ignore[no-untyped-def]
        return torch.nn.functional.softplus(rows @ thetas).sum(dim=0)

    # Rows of zeros have the loss ln 2.
    excess = n_missing * np.log(2)

    def call() -> np.ndarray:
        with torch.inference_mode():
            found = [sum(some(rows, group).double() for rows in row_blocks) for group in groups]
            losses = torch.cat(found).numpy()[: problem.n_candidates]
            return (losses - excess) / problem.n_samples

    return call


def scikit_learn(problem: Problem) -> Call:
    from sklearn._loss import HalfBinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    model = LinearModelLoss(base_loss=HalfBinomialLoss(), fit_intercept=False)
    X, y = problem.X, problem.y.astype(problem.dtype)

    def call() -> np.ndarray:
        return np.array(
            [model.loss(theta, X, y, n_threads=problem.n_threads) for theta in problem.thetas]
        )

    return call


PEERS: dict[str, Callable[[Problem], Call]] = {
    "metaopt_fast": metaopt_fast,
    "numba with BLAS": numba_blas,
    "numba alone": numba_alone,
    "PyTorch, compiled": pytorch,
    "JAX, lax.map": jax,
    "NumPy, tuned": numpy_tuned,
    "scikit-learn's loss in a loop": scikit_learn,
    "NumPy, logaddexp": numpy_plain,
}


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check a peer on a group of candidates, then give it as many as fill the seconds."""
    shape = setting.n_samples, setting.n_features
    make = PEERS[peer]
    # Of what is slow or holds all margins, a few. The first call compiles, others are timed.
    slow = peer in ("NumPy, logaddexp", "scikit-learn's loss in a loop")
    n_candidates = 8 if slow else GROUP
    problem = Problem(*shape, n_candidates, setting.dtype, setting.n_threads)
    call = make(problem)
    error = distance(call(), problem)
    times: list[float] = []
    while len(times) < 3 and sum(times) < setting.seconds:
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    wanted = int(setting.seconds / min(times) * n_candidates)
    groups = max(wanted // GROUP, 1)
    n_candidates = min(max(wanted, 8), 64) if slow else min(groups * GROUP, MOST)
    call = make(Problem(*shape, n_candidates, setting.dtype, setting.n_threads))
    call()
    return Prepared(call, float(setting.n_samples * n_candidates), error, BOUNDS[setting.dtype])


def distance(losses: np.ndarray, problem: Problem, n: int = 8) -> float:
    """Return the largest relative error of some losses: the first ones and the last ones."""
    from metaopt_fast import reference

    some = np.unique(np.r_[: n // 2, len(losses) - n // 2 : len(losses)])
    exact = reference.LogisticLoss(problem.X, problem.y, dtype=problem.dtype)
    truth = exact.batch_loss(problem.thetas[some])
    return float(np.abs(losses[some] / truth - 1).max())
