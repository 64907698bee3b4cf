"""How fast the kernels are on this machine, beside what it can do at best.

The limits are measured, too: independent fused multiply-adds in registers, and one pass over
memory that no cache holds. Both are asked for again beside each kernel, and the best of the run
counts. What the figures have against them, if the machine was busy, is said with them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

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
# An exponential and what surrounds it, in floating-point operations: counted in src/simd.hpp and
# src/losses.hpp, where the polynomial of single precision is five multiply-adds shorter.
LOSS_OPERATIONS = {"float64": 40, "float32": 30}
# A machine is busy if more processes than this wanted a processor before the run, if the threads of
# the probes had one for less than this part of their time, or if calls took so many times the best.
BUSY_LOAD, BUSY_SHARE, BUSY_SPREAD = 0.5, 0.9, 1.3
# No kernel is faster than its limit, but for what the clock gains between two measurements.
BEYOND = 1.05
# Measurements for one number of threads, which share the seconds evenly.
MEASUREMENTS = 16

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


@dataclass(frozen=True, slots=True)
class Rate:
    """The result of a measurement.

    `ratio` is that to the limit `bound`, None without one; `spread` how many times the best a call
    took in the median.
    """

    kernel: str
    shape: str
    dtype: str
    arithmetic: str
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
    """All rates of a run, and the machine's limits.

    `limits[dtype, n_threads]` are operations and bytes per second; `load` the processes that wanted
    a processor in the minute before the run, None where the system does not say; `share` the part
    of their time that the threads of the probes had one.
    """

    limits: dict[tuple[str, int], tuple[float, float]]
    rates: list[Rate]
    machine: dict[str, Any]
    elapsed: float
    load: float | None
    share: float

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """Return what `to_dict` gave."""
        limits = {
            (limit["dtype"], limit["n_threads"]): (limit["gflops"] * 1e9, limit["gbytes"] * 1e9)
            for limit in found["limits"]
        }
        rates = [Rate(**rate) for rate in found["rates"]]
        rest = (found[name] for name in ("machine", "elapsed", "load", "share"))
        return cls(limits, rates, *rest)

    @property
    def doubts(self) -> list[str]:
        """Return why these figures may be too low to be believed, in sentences without an end."""
        found = []
        if self.load is not None and self.load > BUSY_LOAD:
            found.append(f"{self.load:.1f} processes wanted a processor before it began")
        if self.share < BUSY_SHARE:
            found.append(f"its threads had a processor for {self.share:.0%} of their time")
        wide = [rate for rate in self.rates if rate.spread > BUSY_SPREAD]
        if wide:
            most = max(rate.spread for rate in wide)
            found.append(
                f"for {len(wide)} of {len(self.rates)} rates, calls took more than {BUSY_SPREAD} "
                f"times the best in the median, up to {most:.1f} times"
            )
        beyond = [rate for rate in self.rates if is_beyond(rate)]
        if beyond:
            found.append(
                f"above their limit, which cannot be, are {len(beyond)} of {len(self.rates)} rates"
            )
        return found

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
            "load": self.load,
            "share": self.share,
            "doubts": self.doubts,
        }


def is_beyond(rate: Rate) -> bool:
    """Return whether a rate is above its limit, which was measured too low then."""
    return rate.ratio is not None and rate.ratio > BEYOND


class Probes:
    """The best that the machine has shown so far."""

    def __init__(self) -> None:
        self.flops: dict[tuple[str, int], float] = {}
        self.read: dict[int, float] = {}
        self._had, self._wanted = 0.0, 0.0
        self._memory = np.ones(READ_NUMBERS).view(np.uint8)

    def ask(self, dtype: str, n_threads: int) -> None:
        """Measure both limits again."""
        for _ in range(5):
            had, started = time.process_time(), time.perf_counter()
            operations = _kernels.fma_run(dtype == "float32", PROBE, n_threads)
            seconds = time.perf_counter() - started
            self._had += time.process_time() - had
            self._wanted += n_threads * seconds
            flops = operations / seconds
            self.flops[dtype, n_threads] = max(flops, self.flops.get((dtype, n_threads), 0.0))
        for _ in range(2):
            started = time.perf_counter()
            _kernels.read_run(self._memory, n_threads)
            read = self._memory.size / (time.perf_counter() - started)
            self.read[n_threads] = max(read, self.read.get(n_threads, 0.0))

    @property
    def share(self) -> float:
        """The part of their time that the threads had a processor."""
        return min(1.0, self._had / self._wanted)

    def limits(self) -> dict[tuple[str, int], tuple[float, float]]:
        """Return operations and bytes per second for each dtype and number of threads.

        Threads can do what fewer of them did: a limit that falls with their number cannot be.
        """
        return {
            (dtype, n): (
                max(flops for (d, m), flops in self.flops.items() if d == dtype and m <= n),
                max(read for m, read in self.read.items() if m <= n),
            )
            for dtype, n in self.flops
        }


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
    started, load = time.perf_counter(), _load()
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
            timed.append((work, n, _times(work, share, probes, n)))
    limits = probes.limits()
    rates = [_rate(work, n, times, limits[work.arithmetic, n]) for work, n, times in timed]
    machine = {**found, "processor": processor(), "system": platform.system()}
    return Rates(limits, rates, machine, time.perf_counter() - started, load, probes.share)


def _load() -> float | None:
    """Return how many processes wanted a processor in the last minute, in the mean."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none, and some containers hide it
        return None


def _times(work: Work, share: float, probes: Probes, n_threads: int) -> npt.NDArray[np.float64]:
    """Return the seconds of the calls that fit into a share, at least two, a first one aside."""
    stop = time.perf_counter() + share
    probes.ask(work.arithmetic, n_threads)
    work.call()
    times: list[float] = []
    while len(times) < 2 or time.perf_counter() < stop:
        started = time.perf_counter()
        work.call()
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
        arithmetic=work.arithmetic,
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


def _by_numpy(dtype: str) -> Work:
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


def _draws() -> Work:
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
