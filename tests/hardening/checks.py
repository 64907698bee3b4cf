"""What the scripts share: a line for each check, a hash of arrays, and a small problem."""

import hashlib
import importlib.util
import shutil
import signal
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


def problem(n_samples, n_features=10, seed=0):
    """Data of two classes that overlap."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    return X, X @ rng.normal(size=n_features) + rng.normal(size=n_samples) > 0
