"""Searches on clusters, a simulated one, joblib's, Dask's and Ray's: the bytes of one process.

Of 1,000 simulated workers of different speed, one turn in 20 ends with the worker's death, others
with an answer that is lost, that comes twice or late; their clocks are apart. The driver is stopped
in between, and goes on from its checkpoint. Dask's workers are killed while they work. Names of
clusters choose some of them: `clusters.py simulated dask`.
"""

import contextlib
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from checks import ROOT, Report, digest, needs, problem

import metaopt_fast as mf
from metaopt_fast.runs.workers import SHARDS_PER_WORKER
from metaopt_fast.search import shards

sys.path.append(str(Path(__file__).parents[1]))
from simulated_cluster import Cluster, evaluated_by_its_clock

# Shards are small: what is tried is who does them.
shards.LARGEST_SHARD = 256
N_WORKERS, N_SHARDS, TURN = 1000, 6000, 6.0
# The part of a processor that the driver may take, in the busiest seconds of so many.
MOST, WINDOW = 0.05, 20.0
KILLS = 6
X, Y = problem(300, 7)
LOSS = mf.LogisticLoss(X, Y, l2=1e-3, fit_intercept=True, n_threads=1)


class Slow:
    """A loss that takes its time, so that kills find workers at work."""

    fingerprint = "the loss of clusters.py"
    n_params, n_samples = LOSS.n_params, len(X)

    def __init__(self, loss):
        self.loss = loss

    def batch_loss(self, thetas):
        time.sleep(0.02)
        return self.loss.batch_loss(thetas)


def search(objective, n_shards, **options):
    return mf.random_search(objective, mf.Normal(), 256 * n_shards, top_k=5, seed=3, **options)


def bits(result):
    return digest(result.top, result.top_thetas, result.trace)


def is_whole(result, objective, n_shards):
    """Whether nothing is lost, and the bytes are those of one process."""
    alone = search(objective, n_shards)
    return result.ranges == ((0, 256 * n_shards),) and bits(result) == bits(alone)


# ---------------------------------------------------------------------------------------- simulated


def work(connection):
    """Be the process of the workers."""
    with contextlib.suppress(EOFError):
        while True:
            connection.send(evaluated_by_its_clock(*connection.recv()))


def simulated(report, folder):
    # Workers have a process of their own, and clocks of theirs.
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(theirs,), daemon=True).start()
    theirs.close()

    def evaluate(*arguments):
        ours.send(arguments)
        return ours.recv()

    path = folder / "simulated.db"
    with ours, Cluster(N_WORKERS, duration=TURN, pace=1.0, evaluate=evaluate) as cluster:
        options = {"executor": cluster, "checkpoint": path}
        part = search(LOSS, N_SHARDS, callback=lambda found: found.n_evaluated > 256_000, **options)
        kept, before = mf.read_checkpoint(path).n_evaluated, len(cluster.submitted)
        whole = search(LOSS, N_SHARDS, **options)
    report.line(
        "stopped on a simulated cluster",
        part.stopped_by == "callback" and part.n_evaluated == kept,
        f"{part.n_evaluated:,} candidates found, {kept:,} in the checkpoint",
    )
    counts = ", ".join(f"{what} {count:,}" for what, count in cluster.counts.items())
    report.line(
        f"{N_WORKERS:,} simulated workers",
        is_whole(whole, LOSS, N_SHARDS),
        f"{N_SHARDS:,} shards; turns: {counts}",
    )
    # What is sent at once, before any answer has come, is left out.
    clock, driver = np.array(cluster.submitted[before + SHARDS_PER_WORKER * N_WORKERS :]).T
    stops = np.searchsorted(clock, clock + WINDOW)
    first = int((stops - np.arange(len(clock)))[clock <= clock[-1] - WINDOW].argmax())
    last = stops[first] - 1
    share = (driver[last] - driver[first]) / WINDOW
    report.line(
        "the driver's part of a processor",
        share < MOST,
        f"{share:.1%}, with the checkpoint, at {(last - first) / WINDOW:.0f} shards a second, in "
        f"the busiest {WINDOW:.0f} s",
    )


# --------------------------------------------------------------------------------------------- real


def on_joblib(report, folder):
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=4)
    try:
        result = search(Slow(LOSS), 200, executor=executor, checkpoint=folder / "joblib.db")
    finally:
        executor.shutdown(kill_workers=True)
    report.line("4 processes of joblib", is_whole(result, LOSS, 200), "200 shards")


def on_dask(report, folder):
    from distributed import Client, LocalCluster

    options = {"n_workers": 8, "threads_per_worker": 1, "dashboard_address": None}
    killed, rng = [], random.Random(0)

    def kill(found):
        if len(killed) < KILLS and found.n_evaluated > 256 * 60 * (len(killed) + 1):
            pids = sorted(client.run(os.getpid, on_error="ignore").values())
            killed.append(rng.choice(pids))
            os.kill(killed[-1], signal.SIGKILL)

    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        result = search(
            Slow(LOSS),
            600,
            executor=client.get_executor(),
            checkpoint=folder / "dask.db",
            callback=kill,
        )
    report.line(
        "8 processes of Dask",
        is_whole(result, LOSS, 600) and len(killed) == KILLS,
        f"600 shards, {len(killed)} workers killed",
    )


def on_ray(report, folder):
    import ray

    # The executor is the one of the page, to the letter.
    page = (ROOT / "docs" / "howto" / "dask.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(block, names)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        executor = names["RayExecutor"](4)
        result = search(Slow(LOSS), 200, executor=executor, checkpoint=folder / "ray.db")
    finally:
        ray.shutdown()
    report.line("4 processes of Ray", is_whole(result, LOSS, 200), "200 shards")


CLUSTERS = {"simulated": simulated, "joblib": on_joblib, "dask": on_dask, "ray": on_ray}
PACKAGES = {"joblib": ["joblib"], "dask": ["distributed"], "ray": ["ray"]}

if __name__ == "__main__":
    names = sys.argv[1:] or list(CLUSTERS)
    if unknown := set(names) - set(CLUSTERS):
        sys.exit(f"not run: there is no cluster {sorted(unknown)}: name some of {list(CLUSTERS)}.")
    for name in names:
        needs(f"pip install {name}", packages=PACKAGES.get(name, []))
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            CLUSTERS[name](report, Path(folder))
    report.exit()
