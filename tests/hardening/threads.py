"""Python threads that call at once get the bits of serial calls, even while X changes.

On a Python without a global lock, ten times as many calls, and importing must not bring it back.
`threads.py PART ...` tries some parts alone: parallel, searches, small, busy, writes. How long
small calls take says nothing on a machine with other work: `--no-times` has no bound for it.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import threading
import time

import numpy as np
from checks import Report, digest, parallel_calls, problem

import metaopt_fast as mf
from metaopt_fast import _kernels

_kernels.insist(True)  # all threads, however busy the machine is
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
THREADS, CALLS, PARALLEL_CALLS, SEARCHES = 8, 100_000 if FREE_THREADED else 10_000, 50, 50
PARTS = ("parallel", "searches", "small", "busy", "writes")
X, Y = problem(200)
THETAS = np.random.default_rng(1).normal(size=(100, 10))


def entries(X, Y):
    """The small calls, each as a function theta -> bytes."""
    loss = mf.LogisticLoss(X, Y)
    counts = mf.ConfusionCounts(X, Y)
    # Without the lock, eight calls of two threads each would mostly wait for a processor.
    auc = mf.AUCObjective(X, Y, n_threads=1 if FREE_THREADED else None)
    return {
        "loss": lambda theta: np.float64(loss.loss(theta)).tobytes(),
        "counts": lambda theta: counts.counts(theta).tobytes(),
        "auc": lambda theta: np.float64(auc.loss(theta)).tobytes(),
    }


def check_parallel(report):
    """Threads share objects and make calls that have several threads of their own."""
    calls = list(parallel_calls(n_threads=3).values())
    wanted, outcomes = [digest(*call()) for call in calls], []

    def run(thread):
        for i in range(PARALLEL_CALLS):
            # All threads make the same call, then each another one.
            k = (thread * (i % 2) + i // 2) % len(calls)
            outcomes.append(digest(*calls[k]()) == wanted[k])

    workers = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report.line(
        f"{len(calls)} parallel calls of shared objects, {THREADS} threads x {PARALLEL_CALLS}",
        len(outcomes) == THREADS * PARALLEL_CALLS and all(outcomes),
        f"{outcomes.count(False)} wrong of {len(outcomes)}",
    )


def check_searches(report):
    """Threads search on shared objectives, which learn of their candidates, draw them by the seed,
    and give memory back after each search."""
    rows, labels = problem(3000)
    loss = mf.LogisticLoss(rows, labels, l2=0.01, n_threads=1)
    counted = mf.CountObjective(mf.ConfusionCounts(rows, labels, n_threads=1), "error")

    def search(objective, seed):
        found = mf.random_search(objective, mf.Normal(), 3000, seed=seed, top_k=5)
        return digest(found.top, found.top_thetas)

    asked = [(objective, seed) for seed in range(THREADS) for objective in (loss, counted)]
    wanted, outcomes = [search(*one) for one in asked], []

    def run(thread):
        for i in range(SEARCHES):
            # Each thread has a seed of its own.
            k = (2 * thread + i % 2) % len(asked)
            outcomes.append(search(*asked[k]) == wanted[k])

    workers = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    refused = loss._rows.narrow_refusal
    report.line(
        f"searches of {THREADS} seeds on shared objectives, {THREADS} threads x {SEARCHES}",
        len(outcomes) == THREADS * SEARCHES and all(outcomes) and refused is None,
        f"{outcomes.count(False)} wrong of {len(outcomes)}",
    )


def check_lock(report):
    if not FREE_THREADED:
        print("not run: this Python has a global lock, which importing could not bring back")
        return
    enabled = sys._is_gil_enabled()
    report.line("Python's lock stays off", not enabled, "on" if enabled else "off")


def call_from_threads(call, wanted):
    """Call from all threads; return the number of wrong results and of errors, and the times."""
    wrong, times = [0] * THREADS, np.zeros((THREADS, CALLS))
    errors = []
    barrier = threading.Barrier(THREADS)

    def run(thread):
        try:
            barrier.wait()
            for i in range(CALLS):
                k = (i + thread) % len(THETAS)
                started = time.perf_counter()
                found = call(THETAS[k])
                times[thread, i] = time.perf_counter() - started
                wrong[thread] += found != wanted[k]
        except BaseException as error:  # else it would be lost with its thread
            errors.append(error)

    workers = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(wrong), len(errors), times


def check_busy(report, wanted):
    """One thread calls, while as many processes as there are processors never rest."""
    n = len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    time.sleep(0.5)
    try:
        for name, call in entries(X.copy(), Y).items():
            times, wrong = np.zeros(CALLS), 0
            for i in range(CALLS):
                started = time.perf_counter()
                found = call(THETAS[i % len(THETAS)])
                times[i] = time.perf_counter() - started
                wrong += found != wanted[name][i % len(THETAS)]
            median, p99 = np.quantile(times, [0.5, 0.99]) * 1e6
            report.line(
                f"{name} beside {n} busy processes",
                wrong == 0 and p99 < 20 * median,
                f"{wrong} wrong, median {median:.0f} us, p99 / median {p99 / median:.1f}",
            )
    finally:
        for process in busy:
            process.kill()
            process.wait()


def check_small(report, wanted, *, timed):
    for name, call in entries(X.copy(), Y).items():
        wrong, errors, times = call_from_threads(call, wanted[name])
        median, p99 = np.quantile(times, [0.5, 0.99]) * 1e6
        report.line(
            f"{name}, {THREADS} threads x {CALLS:,} calls",
            wrong == errors == 0 and (p99 < 20 * median or not timed),
            f"{wrong} wrong, {errors} errors, median {median:.0f} us, "
            f"p99 / median {p99 / median:.1f}, the wait for Python's lock included",
        )


def check_writes(report, wanted):
    """Threads call while another one writes to X, of which there is a copy."""
    mutated, stop = X.copy(), threading.Event()
    calls = entries(mutated, Y)

    def mutate():
        rng = np.random.default_rng(2)
        while not stop.is_set():
            mutated[rng.integers(len(mutated))] = rng.choice([np.nan, np.inf, 0.0, 1e300])

    vandal = threading.Thread(target=mutate)
    vandal.start()
    for name, call in calls.items():
        wrong, errors, _ = call_from_threads(call, wanted[name])
        report.line(
            f"{name} while another thread writes to X",
            wrong == errors == 0,
            f"{wrong} wrong, {errors} errors of {THREADS * CALLS:,} calls",
        )
    stop.set()
    vandal.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--no-times", action="store_true")
    options = parser.parse_args()
    parts = options.parts or PARTS
    report = Report()
    check_lock(report)
    if "parallel" in parts:
        check_parallel(report)
    if "searches" in parts:
        check_searches(report)
    wanted = {
        name: [call(theta) for theta in THETAS] for name, call in entries(X.copy(), Y).items()
    }
    if "small" in parts:
        check_small(report, wanted, timed=not options.no_times)
    if "busy" in parts:
        check_busy(report, wanted)
    if "writes" in parts:
        check_writes(report, wanted)
    check_lock(report)
    report.exit()


if __name__ == "__main__":
    main()
