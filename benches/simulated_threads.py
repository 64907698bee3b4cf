"""What searches would take on up to 64 threads: simulated from what they take on one.

``python benches/simulated_threads.py`` measures, on one thread and in processor time, how long the
kernels of a shard take, by how much that varies, and what Python does around them; and on two, what
it costs that they meet. Then it cuts the shard into tasks as src/evaluate.pxi does, gives each its
time, and lets whoever is free take the next one. The shard ends when its last thread does. What two
threads really take stands beside what they are simulated to take: on a quiet machine, the same.

Not simulated: that threads share memory and third-level caches (candidates of a tile read a block
of rows from the second-level cache), and that clocks fall where all processors work.
"""

import argparse
import heapq
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_kernels import problem
from conftest import seconds

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.search.shards import Threshold, check_task

# As in src/evaluate.pxi and src/tile.hpp, for AVX-512.
GROUP_TILES, LANES, LONG_TILE, IDLE = 16, 24, 1e7, 1.05
THREADS = (1, 2, 4, 8, 16, 32, 64)
# Rows, features, and the candidates of a shard: see shard_size in search/shards.py.
SHARDS = [(569, 30, 131_072), (1000, 10, 131_072), (10_000, 30, 8192), (100_000, 100, 1024)]


class Shard(NamedTuple):
    """A shard on one thread; times are in seconds."""

    n_samples: int
    n_features: int
    n_tiles: int
    kernels: float
    python: float
    meeting: float  # of two threads, at the beginning and the end
    spread: float  # of a task's times, relative to the least
    two: float  # what the kernels take on two threads, as measured

    def is_for_groups(self, n_threads):
        """Return whether threads take whole groups of tiles, or share the rows of some tiles."""
        visits = LANES * self.n_samples * (self.n_features + 20)
        idle = math.ceil(self.n_tiles / n_threads) * n_threads / self.n_tiles
        return n_threads == 1 or (
            self.n_tiles >= 4 * n_threads and not (visits > LONG_TILE and idle > IDLE)
        )

    def groups(self, n_threads):
        """Return how many tiles there are in each group."""
        n_groups = math.ceil(self.n_tiles / GROUP_TILES)
        if n_threads > 1:
            n_groups = max(n_groups, 8 * n_threads)
            n_groups = math.ceil(n_groups / n_threads) * n_threads
            if self.n_tiles < 4 * n_groups:
                n_groups = self.n_tiles
        return np.diff(np.arange(n_groups + 1) * self.n_tiles // n_groups)

    def regions(self, n_threads, rng):
        """Return the times of the tasks of each region, cut as for so many threads."""
        if self.is_for_groups(n_threads):
            regions = [self.groups(n_threads).astype(float)]
        else:
            regions, n_spans = [], math.ceil(self.n_samples / 512)
            for first in range(0, self.n_tiles, 4 * n_threads):
                n_tiles = min(4 * n_threads, self.n_tiles - first)
                n_ranges = min(n_spans, 16 * n_threads)
                n_parts = n_ranges * min(n_tiles, 1 + 4 * n_threads // n_ranges)
                regions.append(np.full(n_parts, n_tiles / n_parts))
        times = [r * (1 + self.spread * rng.exponential(size=len(r))) for r in regions]
        whole = sum(r.sum() for r in times)
        return [r * self.kernels / whole for r in times]

    def simulate(self, n_threads, rng):
        """Return its wall time on so many threads, and the part of it that threads wait."""
        wall = 0.0
        for tasks in self.regions(n_threads, rng):
            free = [0.0] * n_threads
            for task in tasks:
                heapq.heapreplace(free, free[0] + task)
            # Threads are woken, and join, as the branches of a tree.
            wall += max(free) + self.meeting * math.log2(n_threads)
        return wall + self.python, max(0.0, 1 - self.kernels / n_threads / wall)


def cpu_seconds(function, repeats):
    """Return the processor times of some calls, the least first."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return sorted(times)


def measure(n_samples, n_features, count):
    """Return a shard as it is here."""
    sampler = mf.Normal()
    one, two = (problem(n_samples, n_features, n_threads=n)[3] for n in (1, 2))
    alone = cpu_seconds(lambda: one.sampled_loss(sampler, 0, 0, count), 5)
    shared = min(seconds(lambda: two.sampled_loss(sampler, 0, 0, count), 5))
    return Shard(
        n_samples,
        n_features,
        math.ceil(count / LANES),
        alone[0],
        python_around(count),
        meeting(),
        alone[len(alone) // 2] / alone[0] - 1,
        shared,
    )


class Known:
    """Losses that take no time, the same of all shards."""

    n_params = 1

    def __init__(self, count):
        self.losses = np.random.default_rng(0).random(count)

    def batch_loss(self, thetas):
        return self.losses[: len(thetas)]

    def sampled_loss(self, sampler, seed, start, count):
        return self.losses


def python_around(count):
    """Return what a search does after a shard that has a hundred of the best so far."""
    task = check_task(Known(count), mf.Normal(), 0, 100, prune=True)
    reached = task.run(0, count, Threshold(np.inf, np.inf)).threshold(
        100, Threshold(np.inf, np.inf)
    )
    return cpu_seconds(lambda: task.run(count, count, reached), 50)[0]


def meeting():
    """Return what it costs that two threads share a call: processor time beyond that of one."""
    thetas = np.zeros((480, 10))
    one, two = (problem(1000, 10, n_threads=n)[3] for n in (1, 2))
    _kernels.insist(True)
    alone, shared = (cpu_seconds(lambda o=o: o.batch_loss(thetas), 500)[0] for o in (one, two))
    _kernels.insist(False)
    return max(0.0, shared - alone)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    rng, figures = np.random.default_rng(0), []
    arguments, began = parser.parse_args(), time.strftime("%Y-%m-%d")
    print("| shard | threads | time | speed-up | threads wait | Python |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shape in SHARDS:
        shard = measure(*shape)
        alone = shard.simulate(1, rng)[0]
        for n_threads in THREADS:
            wall, waiting = shard.simulate(n_threads, rng)
            measured = f" (measured: {(shard.two + shard.python) * 1e3:.1f})"
            print(
                f"| {shape[0]}x{shape[1]}, {shape[2]:,} candidates | {n_threads} "
                f"| {wall * 1e3:.2f} ms{measured if n_threads == 2 else ''} "
                f"| {alone / wall:.1f} | {waiting:.1%} | {shard.python / wall:.1%} |"
            )
            figures.append([*shape, n_threads, wall, alone / wall, waiting, shard.python / wall])
    if arguments.json:
        arguments.json.write_text(json.dumps({"date": began, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
