"""What ``metaopt-fast bench`` says: a table, JSON, and a roofline."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from metaopt_fast.bench.rates import BUSY_SPREAD, Rate, Rates, is_beyond
from metaopt_fast.plots import PALETTE, axes, label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
HEAD = ("kernel", "shape", "dtype", "threads", "rate", "spread", "GFLOP/s", "ratio", "limit")


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
        "The spread is how much longer than the best a call took in the median. The ratio is that",
        "of the least time that the formula's operations and one pass over the rows take at the",
        "limits, to the best time measured; 1 is the limit. The loss of a row counts 40",
        "operations, 30 in single precision. batch_counts and batch_auc count the products alone,",
        "which are done in single precision; kernels without a ratio have no such count.",
    ]
    if rates.doubts:
        lines += ["", "This machine was too busy for these figures to be believed:"]
        lines += [f"- {doubt};" for doubt in rates.doubts]
        lines += ["they are too low, and ! marks the widest: run it again when little else runs."]
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
        f"{rate.spread - 1:.0%}{'!' * (rate.spread > BUSY_SPREAD)}",
        "" if rate.gflops is None else f"{rate.gflops:.1f}",
        "" if rate.ratio is None else f"{rate.ratio:.2f}",
        "" if rate.bound is None else rate.bound,
    )


def _short(value: float) -> str:
    scale, prefix = next((entry for entry in PREFIXES if value >= entry[0]), PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}".rstrip()


def plot_roofline(rates: Rates, ax: Axes | None = None) -> Axes:
    """Draw the limits and the kernels: operations per second against operations per byte.

    A limit that a kernel is above is not drawn: it was measured too low, on a busy machine.
    """
    ax = axes("plot_roofline", ax)
    most = max(n for _, n in rates.limits)
    shown = [rate for rate in rates.rates if rate.n_threads == most and rate.gflops]
    for colour, dtype in zip(PALETTE, ("float64", "float32"), strict=False):
        done_in = [rate for rate in shown if rate.arithmetic == dtype]
        if not any(map(is_beyond, done_in)):
            flops, read = rates.limits[dtype, most]
            intensity = np.geomspace(0.2, 1e4, 200)
            roof = np.minimum(flops, read * intensity) / 1e9
            ax.plot(intensity, roof, color=colour, label=f"limits, {dtype}, {_threads(most)}")
        for rate in done_in:
            marker = "x" if rate.kernel.startswith("NumPy") else "o"
            filled = "full" if rate.dtype == "float64" else "none"
            ax.plot(*point(rate), marker, color=colour, markersize=5, fillstyle=filled)
    ax.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s")
    busy = "\nThe machine was busy: points may be too low." if rates.doubts else ""
    words = "Kernels (o; open: rows in float32), NumPy (x), limits of the machine"
    ax.set_title(words + busy, fontsize="small")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower right", fontsize="small")
    named = [rate for rate in shown if rate.dtype == "float64"]
    label_points(ax, [(*point(rate), rate.kernel) for rate in named])
    return ax


def point(rate: Rate) -> tuple[float, float]:
    """Return where a kernel that has a count of operations is drawn."""
    return rate.intensity or math.nan, rate.gflops or math.nan
