"""What tests of the search share: a problem, objectives of known losses, a hash of results."""

import contextlib
import hashlib
import os
import subprocess
import sys

import numpy as np

import metaopt_fast as mf


def problem(n_samples=300, n_features=7, seed=0):
    """Data of two classes that overlap."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    y = X @ rng.normal(size=n_features) + rng.normal(size=n_samples) > 0
    return X, y


def objective(**options):
    return mf.LogisticLoss(*problem(), **{"l2": 1e-3, "fit_intercept": True, **options})


def digest(result):
    """A hash of all that must not depend on how a search was run."""
    parts = (result.top, result.top_thetas, result.trace)
    return hashlib.sha256(b"|".join(part.tobytes() for part in parts)).hexdigest()


def numbers(start, count):
    """A sampler whose only parameter is the candidate's number."""
    return np.arange(start, start + count)[:, None]


class LossesByNumber:
    """Candidate i, drawn by `numbers`, has the i-th loss of a list, again and again."""

    n_params = 1

    def __init__(self, losses):
        self.losses = np.array(losses, float)

    def batch_loss(self, thetas):
        return self.losses[thetas[:, 0].astype(int) % len(self.losses)]


class MeanSquare:
    """An objective of a user's own, in NumPy; each candidate by itself, in any batch."""

    n_params, n_samples = 3, 50

    def __init__(self):
        self.batches = []

    def batch_loss(self, thetas):
        self.batches.append(len(thetas))
        return (thetas * thetas).sum(axis=1)


def search(checkpoint=None, n_candidates=4096, **options):
    """A search that a checkpoint may hold, on one thread: its shards are small."""
    options = {"top_k": 5, "seed": 3, "start": 100, "checkpoint": checkpoint, **options}
    return mf.random_search(objective(n_threads=1), mf.Normal(), n_candidates, **options)


def python(program, *arguments, **pipes):
    """Start a program that may import what the tests can."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        **{"stdout": subprocess.PIPE, **pipes},
    )


@contextlib.contextmanager
def files_up_to(size):
    """No file of this process grows beyond a size, as on a disk that is full."""
    import resource  # not on Windows

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
