"""How time and memory of a batch of losses grow: ``python -m benches.peers.scaling``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np

from benches.peers import report
from benches.peers.losses import Problem, jax_vmap, metaopt_fast
from benches.peers.rounds import ROOT, seconds_of

ROWS, FEATURES, CANDIDATES = 20_000, 50, 1024
# All others stay as they are while one grows.
VALUES = {
    "rows": [5_000, 10_000, 20_000, 40_000, 80_000],
    "features": [25, 50, 100, 200, 400],
    "candidates": [256, 512, 1024, 2048, 4096],
}
MEMORY = (10_000, 30, 8192)
BOTH = {"metaopt_fast": metaopt_fast, "JAX, vmap": jax_vmap}


def measure(quick: bool, most_threads: int) -> dict[str, Any]:
    """Return the times, the exponents fitted to them, and the peaks of memory."""
    shrink = 10 if quick else 1
    base = {"rows": ROWS // shrink, "features": FEATURES, "candidates": CANDIDATES // shrink}
    time: dict[str, Any] = {}
    for name, values in VALUES.items():
        values = [v // shrink if name in ("rows", "candidates") else v for v in values]
        time[name] = fitted(values, [seconds({**base, name: v}, most_threads) for v in values])
    threads = sorted({1, most_threads})
    time["threads"] = fitted(threads, [seconds(base, n) for n in threads])
    n_samples, n_features, n_candidates = MEMORY[0] // shrink, MEMORY[1], MEMORY[2]
    shape = n_samples, n_features, n_candidates
    return {
        "time": time,
        "memory": {
            "shape": shape,
            "all_margins": n_samples * n_candidates * 8 / 1e6,
            "megabytes": {name: peak(name, shape) for name in BOTH},
        },
    }


def fitted(values: list[int], times: list[float]) -> dict[str, Any]:
    """Return the times and the exponent of the power that fits them best."""
    exponent = float("nan")
    if len(values) > 1:
        exponent = float(np.polyfit(np.log(values), np.log(times), 1)[0])
    return {"values": values, "seconds": times, "exponent": exponent}


def seconds(size: dict[str, int], n_threads: int) -> float:
    """Return the best of some calls."""
    problem = Problem(size["rows"], size["features"], size["candidates"], "float64", n_threads)
    return min(seconds_of(metaopt_fast(problem), 5))


def peak(name: str, shape: tuple[int, int, int]) -> float | None:
    """Return the megabytes that a call adds at most to those of its process, in one of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "benches.peers.scaling", name, *map(str, shape)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return float(run.stdout) if run.returncode == 0 else None


def grow(name: str, n_samples: int, n_features: int, n_candidates: int) -> float:
    """Return by how many megabytes the largest memory of this process is above that before."""
    # Compiled and started on little, so that what a runtime holds anyway is not counted.
    BOTH[name](Problem(16, n_features, 16, "float64", 2))()
    call = BOTH[name](Problem(n_samples, n_features, n_candidates, "float64", 2))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the largest memory so far is that of this moment
    before = memory("VmRSS")
    call()
    return memory("VmHWM") - before


def memory(entry: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(entry)) / 1e3


if __name__ == "__main__":
    if len(sys.argv) == 5:
        report.say(str(grow(sys.argv[1], *map(int, sys.argv[2:]))))
    else:
        report.say("\n".join(report.growth(measure("--quick" in sys.argv, 2))))
