"""What the scripts share: a line for each check, a hash of arrays, and a small problem."""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

# A shell ignores Ctrl-C on behalf of what it runs in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).parents[2]
EXTRA = "pip install -e '.[hardening]'"


def path_of_tests(name):
    """Return where the tests of that name stand: "search" is tests/search/test_search.py."""
    (path,) = (ROOT / "tests").rglob(f"test_{name}.py")
    return path.relative_to(ROOT).as_posix()


def needs(cure, *, packages=(), programs=()):
    """End the script in one sentence, with an error code, if something that it needs is absent."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    absent += [name for name in programs if shutil.which(name) is None]
    if absent:
        are = "is" if len(absent) == 1 else "are"
        sys.exit(f"not run: {' and '.join(absent)} {are} not installed: {cure}.")


def copy_project(folder, *left_out):
    """Copy the project into a new folder, but for what is made of it, and for names left out."""
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "build", *left_out)
    shutil.copytree(ROOT, folder, ignore=ignored)


def build_with(folder, compiler, **variables):
    """Build the module of a copy of the project by a compiler that is a shell script."""
    path = folder / "compiler"
    path.write_text(compiler)
    path.chmod(0o700)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "CXX": str(path), **variables},
        capture_output=True,
        check=True,
    )


class Report:
    """Prints each check with its figure, and remembers whether one failed."""

    def __init__(self):
        self.failed = False

    def line(self, check, holds, figure):
        self.failed |= not holds
        print(f"{'ok    ' if holds else 'FAILED'}  {check}: {figure}", flush=True)

    def exit(self):
        """End the script, with an error code if a check failed."""
        sys.exit(int(self.failed))


def try_examples(check, n_examples, *strategies):
    """Call a check on so many examples of its arguments, the same ones in each run."""
    # Not everywhere that other scripts run in, an emulated processor's system for one.
    from hypothesis import HealthCheck, given, settings

    is_tried = settings(
        max_examples=n_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    given(*strategies)(is_tried(check))()


def digest(*arrays):
    """A hash of the bits of arrays."""
    return hashlib.sha256(b"|".join(np.asarray(a).tobytes() for a in arrays)).hexdigest()


def parallel_calls(n_threads, n_thetas=300):
    """What several threads compute, kernel by kernel, of one small problem: names and calls, each
    of which returns arrays."""
    # Scripts that do not import it are about how it is built.
    import metaopt_fast as mf

    X, y = problem(700)
    few, of_few = X[:200], y[:200]
    classes, halves = 1 * of_few + (few[:, 1] > 0.4), np.arange(200) % 2
    thetas = np.random.default_rng(1).normal(size=(n_thetas, 10))
    own = (np.arange(1000) % 7 % 4).astype(np.uint8).reshape(5, 200)
    n = {"n_threads": n_threads}
    loss, counts = mf.LogisticLoss(X, y, **n), mf.ConfusionCounts(X, y, **n)
    auc, softmax = mf.AUCObjective(X, y, **n), mf.SoftmaxLoss(few, classes, **n)
    network = mf.NetworkLoss(few, of_few, n_hidden=4, l2=0.01, **n)
    fits = {
        "fit_many": {"l2": [0.01, 1.0], "folds": halves},
        "fit_many, l1": {"l2": 0.01, "l1": [0.1, 0.01], "folds": halves},
        "fit_many, squared_hinge": {"l2": [0.01, 1.0], "loss": "squared_hinge"},
        "fit_many, own weights": {"l2": 0.1, "sample_weight": own},
    }
    return {
        "batch_loss": lambda: [loss.batch_loss(thetas)],
        "batch_loss_gradient": lambda: loss.batch_loss_gradient(thetas),
        "batch_counts": lambda: [counts.batch_counts(thetas)],
        "batch_auc": lambda: auc.batch_auc(thetas),
        "random_search": lambda: [mf.random_search(loss, mf.Normal(), 900, seed=1).top_thetas],
        **{
            name: lambda asked=asked: [mf.fit_many(few, of_few, **asked, **n).theta]
            for name, asked in fits.items()
        },
        "fit_many, classes": lambda: [mf.fit_many(few, classes, l2=0.1, **n).theta],
        "fit_tasks": lambda: [mf.fit_tasks(X, y, np.arange(700) // 35, l2=0.1, **n).theta],
        "bootstrap": lambda: [
            mf.bootstrap(few, of_few, l2=0.1, n_resamples=9, **n).bootstrap_distribution
        ],
        "softmax": lambda: softmax.batch_loss_gradient(np.tile(thetas[:60], (1, 3))),
        "networks": lambda: network.batch_loss_gradient(network.starts().sample(0, 0, 60, 49)),
        "descents of networks": lambda: [
            mf.gradient_descent(
                network, network.starts().sample(0, 0, 9, 49), method="adam", max_iter=5
            ).theta
        ],
        "best_tree": lambda: [
            mf.best_tree(X[:, :3], y, n_thresholds=6, min_leaf=2, **n).counts,
        ],
        **sparse_calls(few, of_few, classes, n),
    }


def sparse_calls(X, y, classes, n):
    """Those of rows that are mostly zeros, where SciPy is installed."""
    if importlib.util.find_spec("scipy") is None:
        return {}
    from scipy.sparse import csr_array

    import metaopt_fast as mf

    rows = csr_array(np.where(np.abs(X) > 1, X, 0))
    thetas = np.random.default_rng(2).normal(size=(60, 10))
    loss = mf.LogisticLoss(rows, y, **n)
    return {
        "sparse rows": lambda: loss.batch_loss_gradient(thetas),
        "sparse rows, fit_many": lambda: [mf.fit_many(rows, y, l2=[0.01, 1.0], **n).theta],
        "sparse rows, l1": lambda: [mf.fit_many(rows, y, l2=0.01, l1=[0.1, 0.01], **n).theta],
        "sparse rows, classes": lambda: [mf.fit_many(rows, classes, l2=0.1, **n).theta],
    }


def problem(n_samples, n_features=10, seed=0):
    """Data of two classes that overlap."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    return X, X @ rng.normal(size=n_features) + rng.normal(size=n_samples) > 0
