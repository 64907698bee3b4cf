"""A cluster in a process: an executor whose workers are many, slow, and not to be relied upon.

Workers differ in speed, die with all that they know, answer late, twice or into the void. Like the
schedulers of real clusters, this one lets another worker do what has not been answered in time, and
takes the first answer. Its time is its own: events come in its order, as fast as they are dealt
with, or, with `pace`, no faster than so many of its seconds in one of ours.
"""

import contextlib
import heapq
import itertools
import math
import pickle
import queue
import random
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace

# Seconds after which what has not been answered is given to another worker, in mean durations.
PATIENCE = 3.0
# How a worker's turn may end, but for an answer in time, and how often; late is LATE times as long.
FAULTS = {"dies": 0.05, "loses": 0.02, "answers twice": 0.02, "answers late": 0.02}
LATE = 6.0
CLOCKS = ("time", "monotonic", "perf_counter")

# Of the process in which workers evaluate: what each of them was sent, the last two by name.
MEMORIES = {}


@dataclass
class Job:
    """What was submitted: its arguments as they travel, and where the answer goes."""

    payload: bytes
    future: Future


class Cluster:
    """An executor of `n_workers`; a context manager that ends its thread.

    `evaluate` is called with the worker's number, how far its clock is off, and a job's bytes.
    `counts` says how many turns ended in each way, `submitted` when each job came, by the clock and
    by the processor's time of the thread that it came from.
    """

    def __init__(self, n_workers, *, seed=0, duration=1.0, pace=None, evaluate=None):
        self.num_workers, self.pace, self.duration = n_workers, pace, duration
        self.evaluate = evaluate or evaluated
        self.random = random.Random(seed)
        self.speeds = [math.exp(self.random.gauss(0, 0.5)) for _ in range(n_workers)]
        self.clocks = [self.random.uniform(-1e6, 1e6) for _ in range(n_workers)]
        self.idle, self.jobs, self.events = set(range(n_workers)), [], []
        self.order, self.inbox = itertools.count(), queue.SimpleQueue()
        self.counts = dict.fromkeys([*FAULTS, "answers", "answers too late"], 0)
        self.submitted = []
        self.now, self.began = 0.0, time.perf_counter()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.inbox.put(None)
        self.thread.join()

    def submit(self, function, *arguments):
        job = Job(pickle.dumps((function, *arguments)), Future())
        self.inbox.put(job)
        self.submitted.append((time.perf_counter(), time.thread_time()))
        return job.future

    def serve(self):
        """Deal with what comes: jobs from outside, and events of the workers in their order."""
        while self.receive():
            while self.idle and self.jobs:
                self.begin(self.jobs.pop(0), self.idle.pop())
            if self.events and self.is_due():
                self.now, _, handle, *about = heapq.heappop(self.events)
                handle(*about)

    def receive(self):
        """Take what has come from outside, waiting where nothing else is to do; False: the end."""
        wait = max(0.0, self.until_due()) if self.events else 0.0 if self.jobs else None
        with contextlib.suppress(queue.Empty):
            while True:
                job = self.inbox.get(timeout=wait)
                if job is None:
                    return False
                self.jobs.append(job)
                wait = 0.0
        return True

    def until_due(self):
        """Return the seconds until the next event, of our time."""
        if self.pace is None:
            return 0.0
        return self.began + self.events[0][0] / self.pace - time.perf_counter()

    def is_due(self):
        return self.until_due() <= 0

    def at(self, seconds, handle, *about):
        heapq.heappush(self.events, (self.now + seconds, next(self.order), handle, *about))

    def begin(self, job, worker):
        """Let a worker do a job, well or not."""
        if job.future.done():
            self.idle.add(worker)
            return
        seconds = self.duration * self.speeds[worker] * self.random.expovariate(1.0)
        fate = self.random.choices(
            ["answers", *FAULTS], [1 - sum(FAULTS.values()), *FAULTS.values()]
        )[0]
        if fate == "answers late":
            seconds += LATE * self.duration
        self.at(seconds, self.end, job, worker, fate)
        self.at(PATIENCE * self.duration, self.miss, job)
        if fate == "answers twice" and self.idle:
            self.begin(job, self.idle.pop())

    def miss(self, job):
        """Give a job that has not been answered to another worker, before all others."""
        if not job.future.done():
            self.jobs.insert(0, job)

    def end(self, job, worker, fate):
        """End a worker's turn."""
        self.counts[fate] += 1
        if fate == "dies":  # another one takes its place, which knows nothing
            self.evaluate(worker, None, None)
        elif fate != "loses":
            try:
                answer = pickle.loads(self.evaluate(worker, self.clocks[worker], job.payload))
                say = job.future.set_result
            except ValueError as error:  # of what was asked for
                answer, say = error, job.future.set_exception
            try:
                say(answer)
            except InvalidStateError:  # answered before, or given up
                self.counts["answers too late"] += 1
        self.idle.add(worker)


def evaluated(worker, clock, payload):
    """Return a worker's answer, as it travels; with nothing to do, the worker dies."""
    if payload is None:
        MEMORIES.pop(worker, None)
        return None
    function, name, data, *rest = pickle.loads(payload)
    memory = MEMORIES.setdefault(worker, {})
    if data is not None:
        memory.pop(name, None)
        memory[name] = data
        for old in list(memory)[:-2]:
            del memory[old]
    known = memory.get(name)
    # Where the process knows the name, of another worker or of the driver, this one must not.
    answer = function(name if known is not None else "nobody's", known, *rest)
    return pickle.dumps(replace(answer, worker=f"worker {worker}"))


def evaluated_by_its_clock(worker, clock, payload):
    """Do the same while all clocks of the process are off; for a process of the workers alone."""
    real = {name: getattr(time, name) for name in CLOCKS}
    try:
        for name in CLOCKS if clock is not None else ():
            setattr(time, name, lambda name=name: real[name]() + clock)
        return evaluated(worker, clock, payload)
    finally:
        vars(time).update(real)
