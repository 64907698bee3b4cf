"""Python threads that call at once get the bits of serial calls, even while X changes.

On a Python without a global lock, ten times as many calls, and importing must not bring it back.
"""

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
THREADS, CALLS, PARALLEL_CALLS = 8, 100_000 if FREE_THREADED else 10_000, 50
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
            k = (thread + i) % len(calls)
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


def main():
    report = Report()
    check_lock(report)
    check_parallel(report)
    wanted = {
        name: [call(theta) for theta in THETAS] for name, call in entries(X.copy(), Y).items()
    }
    for name, call in entries(X.copy(), Y).items():
        wrong, errors, times = call_from_threads(call, wanted[name])
        median, p99 = np.quantile(times, [0.5, 0.99]) * 1e6
        report.line(
            f"{name}, {THREADS} threads x {CALLS:,} calls",
            wrong == errors == 0 and p99 < 20 * median,
            f"{wrong} wrong, {errors} errors, median {median:.0f} us, "
            f"p99 / median {p99 / median:.1f}, the wait for Python's lock included",
        )
    check_busy(report, wanted)

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
    report.exit()


if __name__ == "__main__":
    main()
