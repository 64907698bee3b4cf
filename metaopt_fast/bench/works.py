"""The calls that `rates` measures, and what each of them does at least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.fit_many import fit_many
from metaopt_fast.objectives.auc import AUCObjective
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.losses import LogisticLoss
from metaopt_fast.samplers.independent import Normal

# The rows of a batch fit into a cache, those of one theta do not: 160 MB in double precision.
BATCH_ROWS, BATCH_FEATURES, BATCH = 10_000, 30, 512
SINGLE_ROWS, SINGLE_FEATURES = 200_000, 100
FIT_ROWS, FIT_FOLDS, N_PENALTIES = 1_000, 5, 20
# An exponential and what surrounds it, in floating-point operations: counted in src/simd.hpp and
# src/losses.hpp, where the polynomial of single precision is five multiply-adds shorter.
LOSS_OPERATIONS = {"float64": 40, "float32": 30}

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Work:
    """A call, and what it does at least.

    `unit` and `count` say what is counted, `operations` and `bytes` what the formula takes: the
    products of the margins, of the gradients and of the Hessians, 40 operations for each loss (30
    in single precision), and one pass over the rows. Both are 0 where there is no such count.
    `arithmetic` is the precision that the operations are done in: counts and AUCs of rows in double
    precision are decided in single precision, but for what is too near to tell.
    """

    kernel: str
    shape: str
    dtype: str
    arithmetic: str
    unit: str
    count: float
    operations: float
    bytes: float
    call: Call


def _problem(
    n_samples: int, n_features: int, n_candidates: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features))
    X -= 0.5
    thetas = rng.standard_normal((n_candidates, n_features)) / n_features**0.5
    return X, rng.integers(0, 2, n_samples), thetas


def works(dtype: str, n_threads: int) -> Iterator[Work]:
    """Yield the kernels of a precision, on so many threads."""
    size = np.dtype(dtype).itemsize
    yield from _single(dtype, n_threads, size)
    n, p, k = BATCH_ROWS, BATCH_FEATURES, BATCH
    X, y, thetas = _problem(n, p, k)
    logistic = LogisticLoss(X, y, dtype=dtype, n_threads=n_threads)
    counts = ConfusionCounts(X, y, dtype=dtype, n_threads=n_threads)
    auc, of_loss = AUCObjective(X, y, dtype=dtype, n_threads=n_threads), LOSS_OPERATIONS[dtype]
    for kernel, done_in, call, operations in (
        ("batch_loss", dtype, lambda: logistic.batch_loss(thetas), 2 * p + of_loss),
        (
            "batch_loss_gradient",
            dtype,
            lambda: logistic.batch_loss_gradient(thetas),
            4 * p + of_loss,
        ),
        ("batch_counts", "float32", lambda: counts.batch_counts(thetas), 2 * p),
        ("batch_auc", "float32", lambda: auc.batch_auc(thetas), 2 * p),
    ):
        shape, pairs = f"{n}x{p}, K = {k}", float(n * k)
        done = pairs * operations
        yield Work(kernel, shape, dtype, done_in, "pairs", pairs, done, n * p * size, call)
    if dtype == "float64":  # the kernels that have no other precision
        yield from _double(X, y, thetas, logistic, n_threads)


def _single(dtype: str, n_threads: int, size: int) -> Iterator[Work]:
    n, p = SINGLE_ROWS, SINGLE_FEATURES
    X, y, thetas = _problem(n, p, 1)
    objective, theta = LogisticLoss(X, y, dtype=dtype, n_threads=n_threads), thetas[0]
    del X  # the rows are packed: what stays is one copy
    of_loss = LOSS_OPERATIONS[dtype]
    for kernel, call, operations in (
        ("loss", lambda: objective.loss(theta), 2 * p + of_loss),
        ("loss_gradient", lambda: objective.loss_gradient(theta), 4 * p + of_loss),
    ):
        shape = f"{n}x{p}"
        yield Work(kernel, shape, dtype, dtype, "rows", n, n * operations, n * p * size, call)


def _double(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.intp],
    thetas: npt.NDArray[np.float64],
    logistic: LogisticLoss,
    n_threads: int,
) -> Iterator[Work]:
    n, p = X.shape
    few = np.ascontiguousarray(thetas[:32])
    found = np.empty((len(few), _kernels.n_pairs(p)))
    sets = _kernels.RowSets([cast(_kernels.PackedRows, logistic._rows)])
    which = np.zeros(len(few), np.intp)
    yield Work(
        kernel="Hessians",
        shape=f"{n}x{p}, K = {len(few)}",
        dtype="float64",
        arithmetic="float64",
        unit="pairs",
        count=n * len(few),
        operations=n * len(few) * (2 * p + LOSS_OPERATIONS["float64"] + p * (p + 1)),
        bytes=X.nbytes,
        call=lambda: _kernels.hessians(sets, which, few, found, n_threads),
    )
    rows, folds = X[:FIT_ROWS], np.arange(FIT_ROWS) % FIT_FOLDS
    l2 = np.logspace(-4, 0, N_PENALTIES)
    yield Work(
        kernel="fit_many",
        shape=f"{FIT_ROWS}x{p}, {N_PENALTIES} l2 x {FIT_FOLDS} folds",
        dtype="float64",
        arithmetic="float64",
        unit="models",
        count=N_PENALTIES * FIT_FOLDS,
        operations=0,
        bytes=0,
        call=lambda: fit_many(rows, y[:FIT_ROWS], l2=l2, folds=folds, n_threads=n_threads),
    )


def by_numpy(dtype: str) -> Work:
    """Return the loss as most people write it, on as many threads as NumPy's BLAS takes."""
    n, p, k = BATCH_ROWS, BATCH_FEATURES, 64
    X, y, thetas = _problem(n, p, k)
    signed_X, thetas = np.where(y[:, None] == 1, -X, X).astype(dtype), thetas.astype(dtype)
    return Work(
        kernel="NumPy's logaddexp",
        shape=f"{n}x{p}, K = {k}",
        dtype=dtype,
        arithmetic=dtype,
        unit="pairs",
        count=n * k,
        operations=n * k * (2 * p + LOSS_OPERATIONS[dtype]),
        bytes=signed_X.nbytes,
        call=lambda: np.logaddexp(0, signed_X @ thetas.T).mean(axis=0),
    )


def draws() -> Work:
    """Return draws of normal numbers."""
    sampler, k, p = Normal(), 20_000, BATCH_FEATURES
    return Work(
        kernel="draws of Normal",
        shape=f"{k}x{p}",
        dtype="float64",
        arithmetic="float64",
        unit="numbers",
        count=k * p,
        operations=0,
        bytes=0,
        call=lambda: sampler.sample(0, 0, k, p),
    )
