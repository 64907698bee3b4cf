"""How fast the kernels are on this machine, beside what it can do at best.

The limits are measured, too: independent fused multiply-adds in registers, and one pass over
memory that no cache holds. Both are asked for again beside each kernel, and the best of the run
counts. What the figures have against them, if the machine was busy, is said with them.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.bench.works import Work, by_numpy, draws, works
from metaopt_fast.machine import config, processor
from metaopt_fast.validation.values import DTYPES

# Size of the memory that is read, in numbers of 8 bytes; and the FMAs of a probe.
READ_NUMBERS, PROBE = 50_000_000, 200_000
# A machine is busy if more processes than this wanted a processor before the run, if the threads of
# the probes had one for less than this part of their time, or if calls took so many times the best.
BUSY_LOAD, BUSY_SHARE, BUSY_SPREAD = 0.5, 0.9, 1.3
# No kernel is faster than its limit, but for what the clock gains between two measurements.
BEYOND = 1.05
# Measurements for one number of threads, which share the seconds evenly.
MEASUREMENTS = 16


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
    found: dict[str, Any] = config()
    most = n_threads or found["n_threads"]
    counts = sorted({1, most})
    share = seconds / len(counts) / MEASUREMENTS
    probes, timed = Probes(), []
    for dtype in DTYPES:
        # Alternating numbers of threads see the same state of the machine.
        kernels = zip(*(list(works(dtype, n)) for n in counts), strict=True)
        asked = [(work, n) for some in kernels for work, n in zip(some, counts, strict=True)]
        asked.append((by_numpy(dtype), most))
        if dtype == "float64":
            asked.append((draws(), 1))
        for work, n in asked:
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
