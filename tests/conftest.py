"""What every test may ask for: a dtype, an instruction set, another process."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A thread that waits for its team sleeps. Tests ask for more threads than there are processors, and
# others may run beside them: one that tries again and again would keep a processor from the thread
# that it waits for. OpenMP reads this once, when the compiled module is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from metaopt_fast import _kernels
from metaopt_fast.search import shards

# What --doctest-modules would import: scripts that run longer, and two modules of one name.
collect_ignore = ["hardening", "typing", "conftest.py", "cli/conftest.py"]

settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# Other inputs in every run; what fails is printed, with the decorator that repeats it.
settings.register_profile(
    "thorough",
    settings.get_profile("default"),
    derandomize=False,
    print_blob=True,
    max_examples=2000,
)
# Where an example takes several times as long: with so many, the tests that .ci/run runs under
# sanitizers reach the same lines of src/*.pxi.
settings.register_profile("sanitized", settings.get_profile("default"), max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell ignores Ctrl-C on behalf of what it runs in the background, tests of Ctrl-C among it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def full_teams():
    """As many threads as tests ask for, whatever that costs: what depends on them would show."""
    _kernels.insist(True)


def pytest_collection_finish():
    """Let no collection of garbage look at what is imported by now, and lives to the end: that was
    a twentieth of the time of all tests, and most of that of interrupts, each of which collects."""
    gc.freeze()


def pytest_runtest_teardown():
    """Close the figures of a test: pyplot warns of many that are open."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(params=_kernels.supported_isas())
def isa(request):
    """Each instruction set that this processor has."""
    return request.param


@pytest.fixture
def many(monkeypatch):
    """A number of candidates that a search takes several shards for, which drop by each other's."""
    monkeypatch.setattr(shards, "LARGEST_SHARD", 2**14)
    return 100_000


@pytest.fixture
def shards_of_256(monkeypatch):
    """So small that a search of a thousand candidates has several, and drops by those before."""
    monkeypatch.setattr(shards, "LARGEST_SHARD", 256)


@pytest.fixture(params=["pyarrow", "polars"])
def parquet_library(request, monkeypatch):
    """Each library that reads Parquet, the other one being absent."""
    if request.param == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    return request.param


@pytest.fixture
def memory(tmp_path):
    """A folder in memory, where there is such a place: no test has to wait for a disk's writes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def path(memory):
    """Where a search may have its checkpoint."""
    return memory / "run.db"


@pytest.fixture
def looks_of():
    """A function that makes a call while signals come, and returns the processor's seconds when it
    began, at each of its looks at signals, and when it ended."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no timers that send signals")

    def looks_of(call):
        times = []
        before = signal.signal(signal.SIGALRM, lambda *_: times.append(time.process_time()))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
        try:
            call()
            ended = time.process_time()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return [began, *times, ended]

    return looks_of


@pytest.fixture
def alarm(monkeypatch):
    """A function that lets Ctrl-C come after some seconds, and takes it back with 0."""
    # An interrupt in a `__del__`, or in a callback of a weak reference, is not raised, but shown by
    # this hook. pytest's reads the source for it by ast.parse, within which CPython 3.11 cannot
    # parse once more: NumPy, where it is parsing the header of a file, would get a SystemError.
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run_python():
    """A function that runs a program in a process of its own: (program, **environment)."""
    return _run_python


@pytest.fixture
def outputs():
    """A function of a program with N_THREADS in it: what it prints, over threads and sets of
    instructions that promise the same bits."""
    return _outputs


def _outputs(program):
    found = set()
    for isa in set(_kernels.supported_isas()) - {"baseline"}:
        for n_threads in (1, 2, 5):
            done = _run_python(program.replace("N_THREADS", str(n_threads)), METAOPT_FAST_ISA=isa)
            assert done.returncode == 0, done.stderr
            found.add(done.stdout.strip())
    return found


def _run_python(program, **environment):
    # The program may import what the tests themselves can.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
