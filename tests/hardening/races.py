"""Races of threads: none is reported in the kernels, and one that is planted is.

A copy of the sources is built by gcc with ThreadSanitizer, in which threads share the shortest
region of work too, and runs the tests of the kernels on LLVM's OpenMP with its tool Archer, which
tells the sanitizer what barriers and locks order (of GNU's it knows nothing, and every barrier
looks like a race). Then races are planted: all threads get one workspace, and the tests of kernels
have to report it; and each kind of region counts its tasks in one number for all threads, which
tests of each part have to report by the name of that region. Left out are what the sanitizer cannot
run: tests that start a process (its fork waits for ever), those of polars (whose allocator crashes
under it), and those of the seconds that Ctrl-C takes (it takes ten for one). Needs gcc and LLVM's
libomp with libarcher (libomp-dev).

``python tests/hardening/races.py [NAME ...]`` runs these tests instead, "lasso" for one, and
plants what concerns them; ``--select "bits or threads"`` runs those of such names, as pytest's -k.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import ROOT, Report, path_of_tests

TESTS = (
    *("kernels", "pruning", "newton", "counts", "auc", "samplers", "subset", "losses", "packing"),
    *("softmax", "softmax_fits", "network", "differing", "lasso", "tasks", "hinge", "best_tree"),
    *("sparse_losses", "sparse_fits", "sparse_lasso", "sparse_softmax", "plain_rows"),
)
# What a copy has in place of a piece of the sources: names, of which reports tell,
NAMES = "setup.py", 'links = ["-s", SORTED]', "links = [SORTED]"
# and regions that are shared however short they are.
SHORTEST = "src/team.hpp", "METAOPT_SERIAL_WORK = 1e6;", "METAOPT_SERIAL_WORK = 0;"
# Races: what a thread has of its own, all of them share,
OWN = "Workspace *work = plan.workspaces"
SHARED = "src/evaluate.pxi", f"{OWN} + thread", OWN
# and they count their tasks in one number.
COUNTED = (
    "src/team.hpp",
    "i++) task(plan, i, thread);",
    "i++) { static volatile long n; n = n + 1; task(plan, i, thread); }",
)
PIECES = NAMES, SHORTEST, SHARED, COUNTED
CANARY = "kernels", "threads"
# Tests of several threads in each part, as pytest's -k.
OF_THREADS = "bits or threads or covariances"
# Which tests have to tell of a race in which regions.
REGIONS = {
    "kernels": "Plan",
    "counts": "CountPlan",
    "auc": "AucPlan",
    "packing": "PanelPlan",
    "newton": "HessianPlan",
    "softmax": "SoftmaxPlan",
    "softmax_fits": "StepsPlan",
    "network": "Plan",
    "differing": "LanePlan",
    "lasso": "PathPlan",
    "tasks": "TaskPlan",
    "best_tree": "TreePlan",
    "sparse_losses": "SparsePlan",
    "sparse_fits": "SparsePlan",
}
# A plugin of pytest.
LEAVES_OUT = """
import inspect

OTHERS = "subprocess.", "ProcessPoolExecutor", "multiprocessing."

def starts_a_process(item):
    text = inspect.getsource(item.function)
    named = any(word in text for word in OTHERS)
    return named or {"run_python", "outputs"}.intersection(item.fixturenames)

def pytest_collection_modifyitems(items):
    items[:] = [
        item
        for item in items
        if not starts_a_process(item)
        and not any(word in item.name for word in ("polars", "ctrl_c", "forked"))
    ]
"""


def of_gcc(name):
    """The path of a library of gcc's."""
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return str(Path(found).resolve())


def of_llvm(name):
    """The path of a library of LLVM's."""
    found = sorted(Path("/usr/lib").glob(f"llvm-*/lib/{name}"))
    if not found:
        sys.exit(f"races: there is no {name} below /usr/lib: install libomp-dev.")
    return str(found[-1])


def replace(folder, piece):
    """Replace a piece of a source, which stands there once, in a copy."""
    name, old, new = piece
    text = (folder / name).read_text()
    assert text.count(old) == 1, f"{name} does not have {old!r} once"
    (folder / name).write_text(text.replace(old, new))


def copy_sources(folder):
    for name in ("src", "metaopt_fast", "tests"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "leaves_out.py").write_text(LEAVES_OUT)
    replace(folder, NAMES)
    replace(folder, SHORTEST)


def build(folder):
    flags = "-fsanitize=thread -g1 -fno-omit-frame-pointer"
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "CFLAGS": flags, "CXXFLAGS": flags, "LDFLAGS": flags},
        capture_output=True,
        check=True,
    )


def run(folder, *arguments):
    """Run tests; return the reports of races, whether all passed, and the last line of output, with
    the names of those that failed."""
    log = folder / "log"
    for path in folder.glob("log*"):
        path.unlink()
    environment = {
        **os.environ,
        # LLVM's library has the functions of GNU's by the same names, and comes first.
        "LD_PRELOAD": f"{of_gcc('libtsan.so')} {of_llvm('libomp.so.5')}",
        "OMP_TOOL_LIBRARIES": of_llvm("libarcher.so"),
        "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1 exitcode=0 log_path={log}",
        "PYTHONPATH": str(folder),
        "OPENBLAS_NUM_THREADS": "1",
    }
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", "-m", "", "-p", "leaves_out", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    texts = (path.read_text(errors="replace") for path in folder.glob("log*"))
    reports = [part for text in texts for part in text.split("WARNING: ThreadSanitizer")[1:]]
    lines = tests.stdout.strip().splitlines() or [tests.stderr.strip()[-300:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return reports, tests.returncode == 0, "\n        ".join([lines[-1], *failed])


def plant_and_run(report, folder, names):
    """Plant races in a copy, and run the tests that have to report them."""
    replace(folder, SHARED)
    build(folder)
    races, _, last = run(folder, path_of_tests(CANARY[0]), "-k", CANARY[1], "--maxfail=1")
    report.line("a race that is planted", len(races) > 0, f"{len(races)} reported, {last}")

    shutil.copy(ROOT / "src" / "evaluate.pxi", folder / "src")
    replace(folder, COUNTED)
    build(folder)
    for name in names:
        races, _, last = run(folder, path_of_tests(name), "-k", OF_THREADS, "--maxfail=1")
        asked = re.compile(rf"metaopt_share<(\w*_)?{REGIONS[name]}>")
        found = sum(asked.search(text) is not None for text in races)
        report.line(
            f"planted in regions of {name}",
            found > 0,
            f"{found} of {len(races)} reported are of {REGIONS[name]}, {last}",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=TESTS)
    parser.add_argument("--select", default="", help="names of tests, as pytest's -k")
    options = parser.parse_args()
    names = options.tests
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_sources(folder)
        build(folder)
        races, passed, last = run(folder, *map(path_of_tests, names), "-k", options.select)
        report.line("races in the kernels", not races and passed, f"{len(races)} reported, {last}")
        for text in races[:3]:
            print(text[:2000])
        plant_and_run(report, folder, [name for name in REGIONS if name in names])
    report.exit()


if __name__ == "__main__":
    main()
