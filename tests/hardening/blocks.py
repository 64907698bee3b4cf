"""Tests without which a block of the compiled module would not run under sanitizers.

A copy is built by gcc to call a function of ours at each block (code without a branch) of the
module, templates and instruction sets apart, and each test's blocks are noted. What `.ci/run` runs
under sanitizers, its marks SANITIZED and the kernels' own tests, has to reach all blocks that any
test of these folders reaches; where it does not, the tests to mark are printed. Needs gcc; twenty
minutes.
"""

import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from checks import ROOT, Report, build_with, copy_project, needs

CI = (ROOT / ".ci" / "run").read_text()
NOT_SANITIZED = re.search(r"^NOT_SANITIZED=\((.*?)\)", CI, re.DOTALL | re.MULTILINE)[1].split()
DESELECTED = re.findall(r"--deselect (\S+)", CI)
SANITIZED = re.search(r'^SANITIZED=\$\{SANITIZED-"(.*)"\}$', CI, re.MULTILINE)[1]
KERNELS = re.search(r"^SANITIZED_1=\((.*)\)$", CI, re.MULTILINE)[1].split()
COMPILER = """#!/bin/sh
case "$*" in
*" -c "*isa_*.cpp*|*" -c "*_kernels.cpp*) exec g++ "$@" -O1 -fsanitize-coverage=trace-pc ;;
*) exec g++ "$@" ;;
esac
"""
LIBRARY = """
#include <stdint.h>
unsigned char reached[1 << 26];
static uintptr_t start, size;
void watch(uintptr_t from, uintptr_t bytes) { start = from, size = bytes; }
void __sanitizer_cov_trace_pc(void) {
    uintptr_t place = (uintptr_t)__builtin_return_address(0) - start;
    if (place < size) reached[place] = 1;
}
"""
# A variable that names the copy; in this, the library, and what is noted.
FOLDER, REACHED, NOTES = "BLOCKS_FOLDER", "reached.so", "notes"


def build(folder):
    """Compile the module, and the function that it calls."""
    source = folder / "reached.c"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", folder / REACHED], check=True)
    build_with(folder, COMPILER)


class Notes:
    """A plugin of pytest: the blocks of each test, in a file."""

    def __init__(self, folder):
        from metaopt_fast import _kernels

        parts = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        places = [part[0].split("-") for part in parts if part[-1] == _kernels.__file__]
        start, size = int(places[0][0], 16), int(places[-1][1], 16) - int(places[0][0], 16)
        library = ctypes.CDLL(folder / REACHED)
        library.watch(ctypes.c_size_t(start), ctypes.c_size_t(size))
        self.reached = np.asarray((ctypes.c_ubyte * size).in_dll(library, "reached"))
        self.notes, self.path = [], folder / NOTES
        gc.disable()  # blocks that look for cycles would be those of any test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.reached[:] = 0
        result = yield
        blocks = np.flatnonzero(self.reached).astype(np.uint32).tobytes()
        self.notes.append(f"{zlib.compress(blocks, 1).hex()} {item.nodeid}")
        return result

    def pytest_sessionfinish(self):
        self.path.write_text("\n".join(self.notes))


def pytest_configure(config):
    config.pluginmanager.register(Notes(Path(os.environ[FOLDER])))


def run_tests(folder, left_out, *options, tests=("tests",)):
    """Run pytest in a copy, but for files and folders that are left out."""
    ignored = [f"--ignore={path}" for path in left_out]
    deselected = [f"--deselect={test}" for test in DESELECTED]
    variables = {
        "LD_PRELOAD": str(folder / REACHED),
        "PYTHONPATH": f"{folder}:{folder / 'tests' / 'hardening'}",
        "HYPOTHESIS_PROFILE": "sanitized",
        FOLDER: str(folder),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *ignored, *deselected, *options, *tests],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def run(folder):
    """Run all tests; and return those that run under sanitizers, and the blocks of each."""
    kept = set()
    for marks, parts in ((SANITIZED, ["tests"]), (f"not long or {SANITIZED}", KERNELS)):
        collected = run_tests(folder, NOT_SANITIZED, "--collect-only", "-m", marks, tests=parts)
        kept.update(collected.stdout.splitlines())
    # Single files are left out for their blocks.
    folders = [path for path in NOT_SANITIZED if not path.endswith(".py")]
    tests = run_tests(folder, folders, "-p", "blocks", "-m", "")
    # Limits of time may fail; but the run may not end before its last test.
    if tests.returncode not in (0, 1):
        sys.exit(f"FAILED  tests: pytest ended with {tests.returncode}: {tests.stdout[-2000:]}")
    notes = []
    for line in (folder / NOTES).read_text().splitlines():
        blocks, name = line.split(" ", 1)
        blocks = zlib.decompress(bytes.fromhex(blocks))
        notes.append((name in kept, np.frombuffer(blocks, np.uint32), name))
    return tests.stdout.strip().rpartition("\n")[2], notes


def to_mark(notes):
    """The number of blocks that tests reach, and tests that reach what those kept do not, each with
    how many, as few as a greedy choice takes."""
    reached = np.zeros(1 + max(int(blocks.max(initial=0)) for _, blocks, _ in notes), bool)
    for _, blocks, _ in notes:
        reached[blocks] = True
    total = np.count_nonzero(reached)
    reached[:] = False
    for kept, blocks, _ in notes:
        if kept:
            reached[blocks] = True
    marks = []
    while True:
        n_new = [np.count_nonzero(~reached[blocks]) for _, blocks, _ in notes]
        best = int(np.argmax(n_new))
        if n_new[best] == 0:
            return total, marks
        marks.append((n_new[best], notes[best][2]))
        reached[notes[best][1]] = True


def main():
    needs("apt install gcc", programs=["gcc", "g++"])
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "copy")
        copy_project(folder, "*.so")
        build(folder)
        last, notes = run(folder)
        print(last, flush=True)
        total, marks = to_mark(notes)
        missed = sum(n for n, _ in marks)
        others = "".join(f"\n  {n} {name}" for n, name in marks)
        figure = f"{missed:,} of {total:,} are reached by other tests alone{others}"
        report.line("blocks under sanitizers", not marks, figure)
    report.exit()


if __name__ == "__main__":
    main()
