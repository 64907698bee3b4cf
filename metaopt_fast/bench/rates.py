"""How fast the kernels are on this machine, beside what it can do at best.

The limits are measured, too: independent fused multiply-adds in registers, and one pass over
memory that no cache holds. Both are asked for again beside each kernel, and the best of the run
counts.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.fit_many import fit_many
from metaopt_fast.machine import config, processor
from metaopt_fast.objectives.auc import AUCObjective
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.losses import LogisticLoss
from metaopt_fast.samplers.independent import Normal
from metaopt_fast.validation.values import DTYPES

# The rows of a batch fit into a cache, those of one theta do not: 160 MB in double precision.
BATCH_ROWS, BATCH_FEATURES, BATCH = 10_000, 30, 512
SINGLE_ROWS, SINGLE_FEATURES = 200_000, 100
FIT_ROWS, FIT_FOLDS, N_PENALTIES = 1_000, 5, 20
# Size of the memory that is read, in numbers of 8 bytes; and the FMAs of a probe.
READ_NUMBERS, PROBE = 50_000_000, 200_000
# An exponential and what surrounds it, in floating-point operations: a convention.
LOSS_OPERATIONS = 40
# Measurements for one number of threads, which share the seconds evenly.
MEASUREMENTS = 16

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Work:
    """A call, and what it does at least.

    `unit` and `count` say what is counted, `operations` and `bytes` what the formula takes: the
    products of the margins, of the gradients and of the Hessians, 40 operations for each loss, and
    one pass over the rows. Both are 0 where there is no such count.
    """

    kernel: str
    shape: str
    dtype: str
    unit: str
    count: float
    operations: float
    bytes: float
    call: Call


@dataclass(frozen=True, slots=True)
class Rate:
    """The result of a measurement; `ratio` is that to the limit `bound`, None without one."""

    kernel: str
    shape: str
    dtype: str
    n_threads: int
    unit: str
    rate: float
    gflops: float | None
    intensity: float | None
    bound: str | None
    ratio: float | None
    calls: int
    spread: float


@dataclass(frozen=True, slots=True)
class Rates:
    """All rates of a run, and the machine's limits: `limits[dtype, n_threads]` are operations and
    bytes per second."""

    limits: dict[tuple[str, int], tuple[float, float]]
    rates: list[Rate]
    machine: dict[str, Any]
    elapsed: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        return {
            "machine": self.machine,
            "limits": [
                {"dtype": dtype, "n_threads": n, "gflops": flops / 1e9, "gbytes": read / 1e9}
                for (dtype, n), (flops, read) in self.limits.items()
            ],
            "rates": [asdict(rate) for rate in self.rates],
            "elapsed": self.elapsed,
        }


class Probes:
    """The best that the machine has shown so far."""

    def __init__(self) -> None:
        self.flops: dict[tuple[str, int], float] = {}
        self.read: dict[int, float] = {}
        self._memory = np.ones(READ_NUMBERS).view(np.uint8)

    def ask(self, dtype: str, n_threads: int) -> None:
        """Measure both limits again."""
        for _ in range(5):
            started = time.perf_counter()
            operations = _kernels.fma_run(dtype == "float32", PROBE, n_threads)
            flops = operations / (time.perf_counter() - started)
            self.flops[dtype, n_threads] = max(flops, self.flops.get((dtype, n_threads), 0.0))
        for _ in range(2):
            started = time.perf_counter()
            _kernels.read_run(self._memory, n_threads)
            read = self._memory.size / (time.perf_counter() - started)
            self.read[n_threads] = max(read, self.read.get(n_threads, 0.0))

    def limits(self) -> dict[tuple[str, int], tuple[float, float]]:
        """Return operations and bytes per second for each dtype and number of threads."""
        return {(dtype, n): (flops, self.read[n]) for (dtype, n), flops in self.flops.items()}


def measure(seconds: float, n_threads: int | None = None) -> Rates:
    """Measure every kernel, in double and in single precision, on one thread and on all.

    Parameters
    ----------
    seconds : float
        Seconds that the calls may take in all; making the data takes two or three more.
    n_threads : int, optional
        Number of threads that "all" means; by default what calls use by default.

    Returns
    -------
    Rates
    """
    started = time.perf_counter()
    found = config()
    most = n_threads or found["n_threads"]
    counts = sorted({1, most})
    share = seconds / len(counts) / MEASUREMENTS
    probes, timed = Probes(), []
    for dtype in DTYPES:
        # Alternating numbers of threads see the same state of the machine.
        kernels = zip(*(list(_works(dtype, n)) for n in counts), strict=True)
        works = [(work, n) for some in kernels for work, n in zip(some, counts, strict=True)]
        works.append((_by_numpy(dtype), most))
        if dtype == "float64":
            works.append((_draws(), 1))
        for work, n in works:
            timed.append((work, n, _times(work.call, share, probes, dtype, n)))
    limits = probes.limits()
    rates = [_rate(work, n, times, limits[work.dtype, n]) for work, n, times in timed]
    machine = {**found, "processor": processor(), "system": platform.system()}
    return Rates(limits, rates, machine, time.perf_counter() - started)


def _times(
    call: Call, share: float, probes: Probes, dtype: str, n_threads: int
) -> npt.NDArray[np.float64]:
    """Return the seconds of the calls that fit into a share, at least two, a first one aside."""
    stop = time.perf_counter() + share
    probes.ask(dtype, n_threads)
    call()
    times: list[float] = []
    while len(times) < 2 or time.perf_counter() < stop:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return np.array(times)


def _rate(
    work: Work, n_threads: int, times: npt.NDArray[np.float64], limits: tuple[float, float]
) -> Rate:
    best = float(times.min())
    flops, read = limits
    least = {"arithmetic": work.operations / flops, "memory": work.bytes / read}
    bound = max(least, key=lambda name: least[name]) if work.operations else None
    return Rate(
        kernel=work.kernel,
        shape=work.shape,
        dtype=work.dtype,
        n_threads=n_threads,
        unit=work.unit,
        rate=work.count / best,
        gflops=work.operations / best / 1e9 if work.operations else None,
        intensity=work.operations / work.bytes if work.bytes else None,
        bound=bound,
        ratio=least[bound] / best if bound else None,
        calls=len(times),
        spread=float(np.median(times)) / best,
    )


def _problem(
    n_samples: int, n_features: int, n_candidates: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features))
    X -= 0.5
    thetas = rng.standard_normal((n_candidates, n_features)) / n_features**0.5
    return X, rng.integers(0, 2, n_samples), thetas


def _works(dtype: str, n_threads: int) -> Iterator[Work]:
    size = np.dtype(dtype).itemsize
    yield from _single(dtype, n_threads, size)
    n, p, k = BATCH_ROWS, BATCH_FEATURES, BATCH
    X, y, thetas = _problem(n, p, k)
    logistic = LogisticLoss(X, y, dtype=dtype, n_threads=n_threads)
    counts = ConfusionCounts(X, y, dtype=dtype, n_threads=n_threads)
    auc = AUCObjective(X, y, dtype=dtype, n_threads=n_threads)
    for kernel, call, operations in (
        ("batch_loss", lambda: logistic.batch_loss(thetas), 2 * p + LOSS_OPERATIONS),
        (
            "batch_loss_gradient",
            lambda: logistic.batch_loss_gradient(thetas),
            4 * p + LOSS_OPERATIONS,
        ),
        ("batch_counts", lambda: counts.batch_counts(thetas), 2 * p),
        ("batch_auc", lambda: auc.batch_auc(thetas), 2 * p),
    ):
        shape, pairs = f"{n}x{p}, K = {k}", float(n * k)
        yield Work(kernel, shape, dtype, "pairs", pairs, pairs * operations, n * p * size, call)
    if dtype == "float64":  # the kernels that have no other precision
        yield from _double(X, y, thetas, logistic, n_threads)


def _single(dtype: str, n_threads: int, size: int) -> Iterator[Work]:
    n, p = SINGLE_ROWS, SINGLE_FEATURES
    X, y, thetas = _problem(n, p, 1)
    objective, theta = LogisticLoss(X, y, dtype=dtype, n_threads=n_threads), thetas[0]
    del X  # the rows are packed: what stays is one copy
    for kernel, call, operations in (
        ("loss", lambda: objective.loss(theta), 2 * p + LOSS_OPERATIONS),
        ("loss_gradient", lambda: objective.loss_gradient(theta), 4 * p + LOSS_OPERATIONS),
    ):
        shape = f"{n}x{p}"
        yield Work(kernel, shape, dtype, "rows", n, n * operations, n * p * size, call)


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
    packed = cast(_kernels.PackedRows, logistic._rows)
    yield Work(
        kernel="Hessians",
        shape=f"{n}x{p}, K = {len(few)}",
        dtype="float64",
        unit="pairs",
        count=n * len(few),
        operations=n * len(few) * (2 * p + LOSS_OPERATIONS + p * (p + 1)),
        bytes=X.nbytes,
        call=lambda: _kernels.hessians(packed, few, found, n_threads),
    )
    rows, folds = X[:FIT_ROWS], np.arange(FIT_ROWS) % FIT_FOLDS
    l2 = np.logspace(-4, 0, N_PENALTIES)
    yield Work(
        kernel="fit_many",
        shape=f"{FIT_ROWS}x{p}, {N_PENALTIES} l2 x {FIT_FOLDS} folds",
        dtype="float64",
        unit="models",
        count=N_PENALTIES * FIT_FOLDS,
        operations=0,
        bytes=0,
        call=lambda: fit_many(rows, y[:FIT_ROWS], l2=l2, folds=folds, n_threads=n_threads),
    )


def _by_numpy(dtype: str) -> Work:
    """Return the loss as most people write it, on as many threads as NumPy's BLAS takes."""
    n, p, k = BATCH_ROWS, BATCH_FEATURES, 64
    X, y, thetas = _problem(n, p, k)
    signed_X, thetas = np.where(y[:, None] == 1, -X, X).astype(dtype), thetas.astype(dtype)
    return Work(
        kernel="NumPy's logaddexp",
        shape=f"{n}x{p}, K = {k}",
        dtype=dtype,
        unit="pairs",
        count=n * k,
        operations=n * k * (2 * p + LOSS_OPERATIONS),
        bytes=signed_X.nbytes,
        call=lambda: np.logaddexp(0, signed_X @ thetas.T).mean(axis=0),
    )


def _draws() -> Work:
    sampler, k, p = Normal(), 20_000, BATCH_FEATURES
    return Work(
        kernel="draws of Normal",
        shape=f"{k}x{p}",
        dtype="float64",
        unit="numbers",
        count=k * p,
        operations=0,
        bytes=0,
        call=lambda: sampler.sample(0, 0, k, p),
    )
