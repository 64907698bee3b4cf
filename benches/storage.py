"""What rows in files cost beside rows in memory, and how much memory they take.

``python benches/storage.py FOLDER [ROWS] [COLUMNS]`` prints the CPU time of packing, of losses and
gradients of 96 models, and of ``fit_many`` of 20 penalties and 5 folds, of rows in the folder over
that of the same rows in memory: on one thread, alternating in one process, the least of a few
rounds, the files in the system's cache, bits compared. ``--memory ROWS COLUMNS`` instead collects
that many rows from batches and prints the largest anonymous memory of a process that evaluates and
fits them, and the time of each step, the disk's included; with ``--beside``, then the CPU time of
both over that with the packed rows in memory, bits compared.
"""

import argparse
import os
import threading
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import metaopt_fast as mf

BATCH_ROWS = 65_536
ROUNDS = 3


def batches(n_rows, n_columns):
    """Made rows, of two classes that overlap."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=n_columns)
    for first in range(0, n_rows, BATCH_ROWS):
        X = rng.standard_normal((min(BATCH_ROWS, n_rows - first), n_columns))
        z = (X * theta).sum(axis=1) + 3 * rng.standard_normal(len(X))
        yield X, (z > 0).astype(np.int8)


def anonymous():
    """Bytes of this process that no file holds."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024


def cpu_time(function):
    begun = time.process_time()
    result = function()
    return time.process_time() - begun, result


def compare(name, in_memory, in_files, same):
    """Print the least time of both over some rounds, and whether their bits are the same."""
    times = []
    for _ in range(ROUNDS):
        one, other = cpu_time(in_memory), cpu_time(in_files)
        assert same(one[1], other[1]), name
        times.append((one[0], other[0]))
    one, other = np.min(times, axis=0)
    print(f"{name:>34}: {one:8.3f} s in memory, {other / one:.2f} of that in files", flush=True)


def speed(folder, n_rows, n_columns):
    rows = mf.collect_batches(batches(n_rows, n_columns))
    made = {}

    def pack(storage):
        made[storage] = mf.LogisticLoss(rows.X, rows.y, fit_intercept=True, storage=storage)
        return made[storage]

    print(f"{n_rows:,} rows of {n_columns} columns, {rows.X.nbytes / 1e9:.2f} GB")
    compare(
        "packing",
        lambda: pack(None),
        lambda: pack(folder),
        lambda a, b: a.fingerprint == b.fingerprint,
    )
    thetas = 0.1 * np.random.default_rng(1).normal(size=(96, n_columns + 1))
    compare(
        "losses and gradients of 96 models",
        lambda: made[None].batch_loss_gradient(thetas),
        lambda: made[folder].batch_loss_gradient(thetas),
        lambda a, b: all(map(np.array_equal, a, b)),
    )
    made.clear()
    options = {"l2": np.geomspace(1e-5, 1, 20), "folds": np.arange(n_rows) % 5}
    compare(
        "fit_many, 20 penalties, 5 folds",
        lambda: mf.fit_many(rows.X, rows.y, **options),
        lambda: mf.fit_many(rows.X, rows.y, **options, storage=folder),
        lambda a, b: np.array_equal(a.theta, b.theta) and np.array_equal(a.gap_bound, b.gap_bound),
    )


def memory(folder, n_rows, n_columns, beside):
    peaks, times, done = {}, {}, threading.Event()
    step = ["start"]

    def watch():
        while not done.is_set():
            peaks[step[0]] = max(peaks.get(step[0], 0), anonymous())
            time.sleep(0.01)

    def run(name, function):
        step[0], begun, cpu = name, time.perf_counter(), time.process_time()
        result = function()
        seconds, times[name] = time.perf_counter() - begun, time.process_time() - cpu
        peak = peaks.get(name, 0) / 1e6
        print(
            f"{name:>34}: {seconds:8.1f} s, {times[name]:7.1f} of CPU, {peak:5.0f} MB", flush=True
        )
        return result

    losses, fits = "losses and gradients of 96 models", "fit_many, 20 penalties, 5 folds"

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        given = batches(n_rows, n_columns)
        rows = run("batches", lambda: mf.collect_batches(given, storage=folder))
        print(f"{n_rows:,} rows of {n_columns} columns, {rows.X.nbytes / 1e9:.2f} GB")
        thetas = 0.1 * np.random.default_rng(1).normal(size=(96, n_columns + 1))
        l2, folds = np.geomspace(1e-5, 1, 20), np.resize(np.arange(5, dtype=np.int8), n_rows)
        found = {}
        for storage in [folder, *[None] * beside]:
            place = "" if storage else ", in memory"
            options = {"fit_intercept": True, "storage": storage}
            made = [run("packing" + place, lambda o=options: mf.LogisticLoss(rows.X, rows.y, **o))]
            of_losses = run(losses + place, lambda m=made: m.pop().batch_loss_gradient(thetas))
            options = {"l2": l2, "folds": folds, "storage": storage}
            of_fits = run(fits + place, lambda o=options: mf.fit_many(rows.X, rows.y, **o))
            found[place] = [*of_losses, of_fits.theta, of_fits.gap_bound]
            if storage:
                largest = max(peaks.values()) / 1e6
                print(f"certified: {of_fits.certified.mean():.0%}, largest {largest:.0f} MB")
        for name in [losses, fits] * beside:
            ratio = times[name] / times[name + ", in memory"]
            print(f"{name:>34}: {ratio:.2f} of the time in memory", flush=True)
        if beside:
            assert all(map(np.array_equal, *found.values())), "bits differ"
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("rows", type=int, nargs="?", default=250_000)
    parser.add_argument("columns", type=int, nargs="?", default=50)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--beside", action="store_true")
    chosen = parser.parse_args()
    if chosen.memory:
        memory(chosen.folder, chosen.rows, chosen.columns, chosen.beside)
    else:
        speed(chosen.folder, chosen.rows, chosen.columns)
