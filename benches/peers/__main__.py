"""The same work by metaopt_fast and by what else one would take: ``python -m benches.peers``."""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path

from benches.peers import report, rounds, scaling
from metaopt_fast.machine import config, processor

HERE = Path(__file__).parent
SHAPES = [(1000, 10), (10_000, 30), (100_000, 100), (20_000, 784)]
QUICK_SHAPES = [(1000, 10), (2000, 30)]
PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "numba", "jax", "torch", "optuna"),
    *("scikit-learn-intelex", "liblinear-official"),
    *("adelie", "skglm", "celer", "statsmodels", "pystreed"),
)
# Seconds that a peer may take for an answer.
PATIENCE = 240.0
TASKS = ("losses", "tunings", "searches", "singles")


def main() -> int:
    """Measure, write the JSON, and what is made of it; return the exit status."""
    arguments = parse()
    started = time.monotonic()
    quick = arguments.quick
    seconds, n_rounds = (0.05, 3) if quick else (arguments.seconds, arguments.rounds)
    rows: list[rounds.Row] = []
    left_out = []
    most = max(arguments.threads)
    # The most threads first: if the time is over, it is the rest that is left out.
    for n_threads in sorted(arguments.threads, reverse=True):
        for task in ("jobs",) if arguments.jobs else arguments.only:
            if task != "losses" and n_threads != most:
                continue
            names = [name for name in peers_of(task) if matches(name, arguments.peers)]
            with rounds.processes(task, names, n_threads, PATIENCE) as peers:
                for shape, dtype in settings_of(task, quick):
                    title = f"{task} {shape[0]}x{shape[1]} {dtype}, {n_threads} threads"
                    if time.monotonic() - started > arguments.budget:
                        report.say(f"{title}: left out, the time is over")
                        left_out.append(title)
                        continue
                    report.say(f"{title}, after {time.monotonic() - started:.0f} s")
                    is_disturbed = (
                        arguments.neighbour
                        and (task, shape, dtype) == ("losses", neighboured(quick), "float64")
                        and n_threads == most
                    )
                    found = rounds.measure(peers, shape, dtype, seconds, n_rounds, is_disturbed)
                    report.show(found)
                    rows += found
    results = {
        "about": about(),
        "quick": quick,
        "seconds": seconds,
        "rounds": n_rounds,
        "rows": rows,
        "left_out": left_out,
        "scaling": scaling.measure(quick, most) if arguments.scaling else None,
    }
    results["elapsed"] = time.monotonic() - started
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    report.say(f"{arguments.json}: {results['elapsed']:.0f} s in all")
    if arguments.plot and arguments.jobs:
        report.plot_jobs(results, HERE / "seconds.svg")
    elif arguments.plot:
        report.plot(results, HERE / "throughput.svg")
    if arguments.write:
        report.write(results, HERE / "README.md", "jobs" if arguments.jobs else "results")
    return 1 if report.has_wrong(rows) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small shapes, figures of no worth")
    parser.add_argument("--seconds", type=float, default=0.25, help="of one run (default 0.25)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each peer (default 5)")
    parser.add_argument(
        "--budget", type=float, default=540.0, help="seconds after which none begins (default 540)"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument(
        "--jobs", action="store_true", help="whole jobs in place of the tasks: minutes of the peers"
    )
    parser.add_argument("--peers", nargs="+", metavar="WORD", help="those with a WORD in the name")
    parser.add_argument("--neighbour", action="store_true", help="also beside a busy process")
    parser.add_argument("--scaling", action="store_true", help="also the growth of time, memory")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="by default results.json, or jobs.json"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    parser.add_argument("--plot", action="store_true", help="draw throughput.svg, or seconds.svg")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < 60:
        parser.error(f"--seconds is {arguments.seconds:g}: pass a number between 0 and 60")
    if arguments.rounds < 1 or min(arguments.threads) < 1:
        parser.error("--rounds and --threads are counts: pass 1 or more")
    if arguments.json is None:
        arguments.json = HERE / ("jobs.json" if arguments.jobs else "results.json")
    return arguments


def matches(name: str, words: list[str] | None) -> bool:
    return words is None or any(word.lower() in name.lower() for word in words)


def peers_of(task: str) -> list[str]:
    return list(importlib.import_module(f"benches.peers.{task}").PEERS)


def neighboured(quick: bool) -> tuple[int, int]:
    return QUICK_SHAPES[1] if quick else SHAPES[1]


def settings_of(task: str, quick: bool) -> list[tuple[tuple[int, int], str]]:
    """Return the shapes and the dtypes of a task."""
    if task == "losses":
        shapes = QUICK_SHAPES if quick else SHAPES
        return [(shape, dtype) for dtype in ("float64", "float32") for shape in shapes]
    shapes = {
        "tunings": [(500, 10)] if quick else [(2000, 30)],
        "searches": [(500, 10)] if quick else [(10_000, 30)],
        "singles": [(2000, 30)] if quick else [(20_000, 200)],
        "jobs": [(100, 30)] if quick else [(569, 30)],
    }[task]
    return [(shape, "float64") for shape in shapes]


def about() -> dict[str, object]:
    """Return the machine, the versions and the date."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    found = config()
    return {
        "date": str(datetime.date.today()),
        "processor": processor(),
        "n_processors": found["n_threads"],
        "isa": found["isa"],
        "python": platform.python_version(),
        "metaopt_fast": found["version"],
        "versions": versions,
    }


if __name__ == "__main__":
    sys.exit(main())
