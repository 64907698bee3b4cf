"""The machine's limits, measured beside every benchmark, and the table of ratios at the end.

``python -m pytest benches`` prints it, ``--write-table FILE`` puts it into FILE between its
markers, and pytest-benchmark's own ``--benchmark-json FILE`` keeps the figures for a comparison.
"""

import datetime
import os
import platform
import time
from pathlib import Path

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.machine import processor

# Scripts, whose packages need not be installed: no doctests are looked for in them.
collect_ignore = [
    "peers",
    *(
        path.name
        for path in Path(__file__).parent.glob("*.py")
        if not path.name.startswith("bench_")
    ),
]
ROWS = []
START, END = "<!-- table: start -->", "<!-- table: end -->"


def pytest_addoption(parser):
    parser.addoption("--write-table", metavar="FILE", help="write the table into a Markdown file")


def seconds(function, repeats):
    """Return the times of some calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return times


class Limits:
    """Floating-point operations and bytes per second at best, asked again for each benchmark."""

    memory = None

    def flops(self, dtype, n_threads):
        single = dtype == "float32"
        best = min(seconds(lambda: _kernels.fma_run(single, 1_000_000, n_threads), 5))
        return _kernels.fma_run(single, 1_000_000, n_threads) / best

    def bytes(self, n_threads):
        if Limits.memory is None:
            Limits.memory = np.ones(50_000_000).view(np.uint8)
        best = min(seconds(lambda: _kernels.read_run(Limits.memory, n_threads), 5))
        return Limits.memory.size / best


class Measure:
    """Times a function with pytest-benchmark and adds a row to the table."""

    def __init__(self, benchmark):
        self.benchmark = benchmark

    def __call__(self, function, *, rounds=7):
        if self.benchmark.disabled:  # one round, to see that all of it runs
            (only,) = seconds(lambda: self.benchmark.pedantic(function), 1)
            return only, only
        self.benchmark.pedantic(function, rounds=rounds, warmup_rounds=1)
        stats = self.benchmark.stats.stats
        return stats.min, stats.median

    def row(self, what, shape, dtype, n_threads, figure, limit, ratio, note=""):
        self.benchmark.extra_info.update(figure=figure, limit=limit, ratio=ratio)
        ROWS.append((what, shape, dtype, str(n_threads), figure, limit, ratio, note))


@pytest.fixture
def measure(benchmark):
    return Measure(benchmark)


@pytest.fixture(scope="session")
def limits():
    return Limits()


def table():
    head = ("what", "shape", "dtype", "threads", "measured", "limit", "ratio", "beside it")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in ROWS]
    found = mf.config()
    lines += [
        "",
        f"{datetime.date.today()}; {processor()}, {os.cpu_count()} processors, {found['isa']}; "
        f"metaopt_fast {found['version']}, NumPy {found['numpy']}, Python {found['python']}, "
        f"{platform.system()}.",
    ]
    return "\n".join(lines)


def pytest_benchmark_update_machine_info(machine_info):
    """Keep what says something of the speed."""
    kept = {
        "processor": processor(),
        "processors": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": mf.config()["isa"],
        "cpu": {},  # which pytest-benchmark reads
    }
    machine_info.clear()
    machine_info.update(kept)


def pytest_benchmark_update_json(output_json):
    """Leave out what no comparison needs: every round, and the commit."""
    output_json["commit_info"] = {}
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)


def pytest_terminal_summary(terminalreporter, config):
    if not ROWS:
        return
    terminalreporter.section("ratios to the limits of this machine in this run")
    terminalreporter.write_line(table())
    path = config.getoption("--write-table")
    if path:
        text = Path(path).read_text()
        before, _, rest = text.partition(START)
        _, _, after = rest.partition(END)
        Path(path).write_text(f"{before}{START}\n{table()}\n{END}{after}")
