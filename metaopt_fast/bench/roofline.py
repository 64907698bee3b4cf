"""What ``metaopt-fast bench`` says: a table, JSON, and a roofline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from metaopt_fast.bench.rates import Rate, Rates
from metaopt_fast.plots import axes

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
HEAD = ("kernel", "shape", "dtype", "threads", "rate", "GFLOP/s", "ratio", "limit")


def to_json(rates: Rates) -> str:
    """Return the rates as JSON."""
    return json.dumps(rates.to_dict(), indent=1, allow_nan=False) + "\n"


def to_text(rates: Rates) -> str:
    """Return tables for a terminal: the machine, its limits, the kernels."""
    machine = rates.machine
    about = [
        ("processor", machine["processor"]),
        ("instruction set", f"{machine['isa']} ({machine['isa_reason']})"),
        ("metaopt_fast", f"{machine['version']}, NumPy {machine['numpy']}"),
        ("seconds", f"{rates.elapsed:.1f}"),
    ]
    lines = [f"{label:<18}{value}" for label, value in about]
    lines += ["", "limits of this machine, in this run"]
    lines += [
        f"{dtype}, {_threads(n):<11} {flops / 1e9:>8.1f} GFLOP/s {read / 1e9:>8.1f} GB/s"
        for (dtype, n), (flops, read) in sorted(rates.limits.items())
    ]
    rows = [HEAD, *(_row(rate) for rate in rates.rates)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    lines += [
        "",
        "The ratio is that of the least time that the formula's operations and one pass over",
        "the rows take at the limits, to the best time measured; 1 is the limit. The loss of a",
        "row counts 40 operations: a shorter exponential may come to more than 1. batch_counts",
        "and batch_auc count the products alone; kernels without a ratio have no such count.",
    ]
    return "\n".join(lines) + "\n"


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _row(rate: Rate) -> tuple[str, ...]:
    return (
        rate.kernel,
        rate.shape,
        rate.dtype,
        str(rate.n_threads),
        f"{_short(rate.rate)} {rate.unit}/s",
        "" if rate.gflops is None else f"{rate.gflops:.1f}",
        "" if rate.ratio is None else f"{rate.ratio:.2f}",
        "" if rate.bound is None else rate.bound,
    )


def _short(value: float) -> str:
    scale, prefix = next((entry for entry in PREFIXES if value >= entry[0]), PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}".rstrip()


def plot_roofline(rates: Rates, ax: Any = None) -> Any:
    """Draw the limits and the kernels: operations per second against operations per byte."""
    ax = axes("plot_roofline", ax)
    most = max(n for _, n in rates.limits)
    for colour, dtype in zip(("C0", "C1"), ("float64", "float32"), strict=True):
        flops, read = rates.limits[dtype, most]
        intensity = np.geomspace(0.2, 1e4, 200)
        roof = np.minimum(flops, read * intensity) / 1e9
        ax.plot(intensity, roof, color=colour, label=f"limits, {dtype}, {_threads(most)}")
        for rate in rates.rates:
            if rate.dtype != dtype or rate.n_threads != most or rate.gflops is None:
                continue
            marker = "x" if rate.kernel.startswith("NumPy") else "o"
            ax.plot(rate.intensity, rate.gflops, marker, color=colour, markersize=4)
            if dtype == "float64":
                point = (rate.intensity, rate.gflops)
                ax.annotate(
                    rate.kernel, point, (3, -9), textcoords="offset points", fontsize="x-small"
                )
    ax.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s")
    ax.set_title("Kernels (o), NumPy (x), and the limits of the machine", fontsize="medium")
    ax.legend(loc="lower right", fontsize="small")
    return ax
