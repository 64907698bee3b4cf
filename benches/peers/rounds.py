"""Runs of peers by turns, each peer in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What would make one machine's figures no other machine's.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "METAOPT_FAST_ISA", "PYTHONPATH")
POOLS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("NUMBA_NUM_THREADS",),
)
# Between turns: the threads of some runtimes spin for 200 ms before they fall asleep.
PAUSE = 0.3
# Seconds of a run after which its peer has no other: rounds are for what is short.
LONG = 8.0

Row = dict[str, Any]


class Peer:
    """A process that prepares and runs one peer's calls."""

    def __init__(self, task: str, name: str, n_threads: int, patience: float) -> None:
        self.task, self.name, self.n_threads = task, name, n_threads
        self.patience = patience
        self.problem: str | None = None
        environment = {key: value for key, value in os.environ.items() if key not in UNSET}
        environment["PYTHONPATH"] = str(ROOT)
        # Jobs are run as one would write them: processes of n_jobs share out the processors
        # themselves, unless they are told how many threads each may have.
        environment |= {key: str(n_threads) for key in POOLS if task != "jobs"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benches.peers.child", task, name, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
        )

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order; return the answer, or why there is none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"failed": "its process has ended"}
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        if not ready:
            self.end()
            return {"failed": f"no answer within {self.patience:g} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"failed": "its process has ended"}

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def processes(task: str, names: list[str], n_threads: int, patience: float) -> Iterator[list[Peer]]:
    """Start a process for each peer, and end all of them whatever happens."""
    peers = [Peer(task, name, n_threads, patience) for name in names]
    try:
        yield peers
    finally:
        for peer in peers:
            peer.end()


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Keep the first of the processors busy."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    time.sleep(0.2)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    peers: list[Peer],
    shape: tuple[int, int],
    dtype: str,
    seconds: float,
    n_rounds: int,
    is_disturbed: bool = False,
) -> list[Row]:
    """Prepare all peers, then let them run by turns; return a row for each."""
    rows, ready = [], []
    for peer in peers:
        if peer.process.poll() is None:
            answer = peer.ask(
                order="prepare",
                n_samples=shape[0],
                n_features=shape[1],
                dtype=dtype,
                seconds=seconds,
            )
        else:
            answer = {"failed": "its process has ended"}
        row: Row = {
            "task": peer.task,
            "peer": peer.name,
            "shape": list(shape),
            "dtype": dtype,
            "n_threads": peer.n_threads,
            "neighbour": False,
            "times": [],
            **answer,
        }
        rows.append(row)
        if "count" in answer:
            ready.append((peer, row))
    _take_turns(ready, n_rounds)
    if is_disturbed:
        disturbed = [(peer, {**row, "neighbour": True, "times": []}) for peer, row in ready]
        with neighbour():
            _take_turns(disturbed, n_rounds)
        rows += [row for _, row in disturbed]
    return rows


def _take_turns(ready: list[tuple[Peer, Row]], n_rounds: int) -> None:
    for _ in range(n_rounds):
        for peer, row in ready:
            if "failed" in row or max(row["times"], default=0.0) > LONG:
                continue
            time.sleep(PAUSE)
            answer = peer.ask(order="run")
            if "seconds" in answer:
                row["times"].append(answer["seconds"])
            else:
                row.update(answer)


def seconds_of(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the times of some calls, a first one aside."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times
