"""Races of threads: none is reported in the kernels, and one that is planted is.

A copy of the sources is built by gcc with ThreadSanitizer, and runs the tests of the kernels on
LLVM's OpenMP with its tool Archer, which tells the sanitizer what barriers and locks order (of
GNU's it knows nothing, and every barrier looks like a race). Then all threads get one workspace,
and the same tests have to report it. Left out are what the sanitizer cannot run: tests that start a
process (its fork waits for ever), those of polars (whose allocator crashes under it), and those of
the seconds that Ctrl-C takes (it takes ten for one). Needs gcc and LLVM's libomp with libarcher
(libomp-dev).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Report, path_of_tests

ROOT = Path(__file__).parents[2]
TESTS = ("kernels", "pruning", "newton", "counts", "auc", "samplers", "subset", "losses")
# What a thread has of its own, and what all of them would share.
OWN, SHARED = "plan.workspaces + thread", "plan.workspaces"
CANARY = "kernels", "threads"
# A plugin of pytest.
LEAVES_OUT = """
def pytest_collection_modifyitems(items):
    items[:] = [
        item
        for item in items
        if "run_python" not in item.fixturenames
        and not any(word in item.name for word in ("polars", "ctrl_c"))
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


def copy_sources(folder):
    for name in ("src", "metaopt_fast", "tests"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "leaves_out.py").write_text(LEAVES_OUT)


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
    """Run tests; return the races reported, whether all passed, and the last line of output, with
    the names of those that failed."""
    log = folder / "log"
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
    reports = sum(
        path.read_text().count("WARNING: ThreadSanitizer") for path in folder.glob("log*")
    )
    lines = tests.stdout.strip().splitlines() or [tests.stderr.strip()[-300:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return reports, tests.returncode == 0, "\n        ".join([lines[-1], *failed])


def main():
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "sound")
        folder.mkdir()
        copy_sources(folder)
        build(folder)
        files = [path_of_tests(name) for name in TESTS]
        races, passed, last = run(folder, *files)
        report.line("races in the kernels", races == 0 and passed, f"{races} reported, {last}")

        planted = Path(temporary, "planted")
        planted.mkdir()
        copy_sources(planted)
        source = planted / "src" / "evaluate.pxi"
        text = source.read_text()
        assert OWN in text
        source.write_text(text.replace(OWN, SHARED, 1))
        build(planted)
        races, _, last = run(planted, path_of_tests(CANARY[0]), "-k", CANARY[1], "--maxfail=1")
        report.line("a race that is planted", races > 0, f"{races} reported, {last}")
    report.exit()


if __name__ == "__main__":
    main()
