"""Lines that no test runs: of the Python layer with its branches, and of the compiled one.

A copy is built by gcc for gcov, and the suite runs in it under coverage.py. gcov counts lines of
the generated C++, in which Cython says which line of its source a piece comes from: a line was run
if a part of its piece was. Left out are the tests that fill a disk or interrupt at random moments,
in which coverage.py itself loses its file or hangs. Needs gcc, gcov and coverage (half an hour;
with ``--marks "not long"``, and without what long tests alone run, a fifth of that).
"""

import argparse
import collections
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import EXTRA, Report, build_with, copy_project, needs

# A compiler that counts in the module alone: kernels that count are thirty times slower.
COMPILER = """#!/bin/sh
case "$*" in
*_kernels.cpp*) exec g++ "$@" --coverage -fprofile-update=atomic -O1 ;;
*) exec g++ "$@" ;;
esac
"""
# Where a piece of a line begins, and what belongs to no line.
PIECE = re.compile(r'\s*/\* "(?:.*/)?(\w+\.px[iy])":(\d+)$')
NO_PIECE = re.compile(r'\s*/\* (function exit code|Implementation of|"View\.MemoryView)|^}')
LEFT_OUT = "not full_disk and not interrupts_at_any"
# So much of the layers has to be run.
PYTHON, CYTHON = 1.0, 0.95


def of_python(folder):
    """The share of statements and branches that were run, and a table of the others."""
    run = {"cwd": folder, "capture_output": True, "text": True, "check": True}
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "combine", "--quiet"], **run)
    subprocess.run([*command, "json", "--quiet", "-o", "coverage.json"], **run)
    totals = json.loads((folder / "coverage.json").read_text())["totals"]
    done = totals["covered_lines"] + totals["covered_branches"]
    table = subprocess.run([*command, "report", "--skip-covered", "--show-missing"], **run).stdout
    return done, totals["num_statements"] + totals["num_branches"], table


def of_cython(folder):
    """The number of lines that were run, of all, and the others by file."""
    generated = folder / "build" / "src" / "_kernels.cpp"
    (notes,) = folder.rglob("_kernels.gcno")
    subprocess.run(["gcov", "--json-format", notes], cwd=folder, capture_output=True, check=True)
    counts = collections.Counter()
    with gzip.open(folder / "_kernels.gcov.json.gz") as file:
        for source in json.load(file)["files"]:
            if Path(source["file"]).name == generated.name:
                for line in source["lines"]:
                    counts[line["line_number"]] += line["count"]
    lines, place = collections.Counter(), None
    for number, text in enumerate(generated.read_text().splitlines(), start=1):
        if piece := PIECE.match(text):
            place = piece[1], int(piece[2])
        elif NO_PIECE.match(text):
            place = None
        elif place is not None and number in counts:
            lines[place] += counts[number]
    missed = collections.defaultdict(list)
    for (name, line), count in sorted(lines.items()):
        if count == 0:
            missed[name].append(line)
    return len(lines) - sum(map(len, missed.values())), len(lines), missed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marks", default="", help="which tests, as pytest's -m")
    marks = parser.parse_args().marks
    needs(EXTRA, packages=["coverage"])
    needs("apt install gcc", programs=["gcov", "g++"])
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "copy")
        copy_project(folder, "*.so")
        build_with(folder, COMPILER, LDFLAGS="--coverage")
        options = ["-q", "-m", marks, "-k", LEFT_OUT]
        tests = subprocess.run(
            [sys.executable, "-m", "coverage", "run", "-m", "pytest", *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        last = tests.stdout.strip().rpartition("\n")[2]
        # Of kernels that count, limits of time may fail; but no run may end before its last test.
        report.line("tests", tests.returncode in (0, 1), last)
        print(
            *(line for line in tests.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))),
            sep="\n",
        )
        done, total, table = of_python(folder)
        figure = f"{done:,} of {total:,} statements and branches ({done / total:.2%})"
        report.line("the Python layer", done >= PYTHON * total, f"{figure}\n{table}")
        done, total, missed = of_cython(folder)
        figure = f"{done:,} of {total:,} lines ({done / total:.2%})"
        others = "\n".join(f"  {name}: {', '.join(map(str, missed[name]))}" for name in missed)
        report.line("the Cython layer", done >= CYTHON * total, f"{figure}\n{others}")
    report.exit()


if __name__ == "__main__":
    main()
