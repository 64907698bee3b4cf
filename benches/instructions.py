"""Instructions of each kernel on a fixed problem, beside those of the last release.

``python benches/instructions.py`` counts them under valgrind, with AVX2, and fails where a kernel
takes 3 % more than ``benches/instructions.json`` says for this compiler; ``--record`` writes that
file. They do not depend on what else a machine does, nor on its clock; with another compiler there
is nothing to compare them with.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from metaopt_fast import _kernels

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benches" / "instructions.json"
SLACK = 1.03
# What is the same for every loss.
COMMON = [
    "evaluate_network",
    "evaluate_network, gradient",
    "pack_rows",
    "draw",
    "find_ranges",
    "add_histograms",
    "find_aucs",
    "find_margins",
    "count_tile",
    "pack_thetas",
]
SOFTMAX = ["evaluate_softmax", "evaluate_softmax, gradient"]
DOUBLE_ONLY = [
    *("add_hessian", "largest_margins", "factor_tile", "solve_tile", "add_pair_gram"),
    *("factor_one", "solve_one", "make_reflections", "narrow_rows", "narrow_tiles"),
    "count_narrow",
    "find_splits",
    *("add_lane_losses", "add_lane_gradients", "add_lane_hessians"),
    *("column_products", "add_gram", "logistic_rows", "sweep"),
    *("adam", "add_squares", "write_means"),
    *("sparse_products", "sparse_rows", "sparse_columns", "sparse_residuals", "sparse_directions"),
]
OF_A_LOSS = ["evaluate_tile", "evaluate_tile, gradient", "evaluate_one", "evaluate_one, gradient"]


def problems():
    """Yield (loss, dtype, kernel)."""
    for dtype in ("float64", "float32"):
        for kernel in [*OF_A_LOSS, "pointwise", *COMMON, *SOFTMAX]:
            yield "logistic", dtype, kernel
    for kernel in DOUBLE_ONLY:
        yield "logistic", "float64", kernel
    for loss in list(_kernels.LOSSES)[1:]:
        yield loss, "float64", "evaluate_tile"
    yield "squared_hinge", "float64", "add_hessian"


def flags():
    """Return the options of setup.py."""
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "UNIX":
            return ast.literal_eval(statement.value)
    raise LookupError("setup.py has no UNIX.")


def compiler():
    """Return the command of the C++ compiler, and its name and version."""
    command = shlex.split(os.environ.get("CXX", "c++"))
    macros = subprocess.run(
        [*command, "-dM", "-E", "-x", "c++", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = dict(re.findall(r"#define (\S+) (.*)", macros))
    name = "clang" if "__clang__" in named else "gcc"
    prefix = "__clang_{}__" if name == "clang" else "__GNUC_{}__"
    major = named[prefix.format("major") if name == "clang" else "__GNUC__"]
    minor = named[prefix.format("minor" if name == "clang" else "MINOR")]
    return command, f"{name} {major}.{minor}"


def count(program, loss, dtype, kernel, folder):
    """Return the instructions that one call of a kernel takes."""
    run = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", "--toggle-collect=measured"),
            f"--callgrind-out-file={folder}/callgrind.out",
            *(program, str(_kernels.LOSSES[loss]), dtype, kernel),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(re.search(r"Collected : (\d+)", run.stderr)[1])


def count_all():
    """Return the name of the compiler and the instructions of each kernel."""
    command, version = compiler()
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/instructions"
        sources = [str(ROOT / "benches" / "instructions.cpp"), str(ROOT / "src" / "isa_avx2.cpp")]
        subprocess.run(
            [*command, *flags(), f"-I{ROOT / 'src'}", *sources, "-o", program], check=True
        )
        counts = {
            ", ".join(problem): count(program, *problem, folder=folder) for problem in problems()
        }
    return version, counts


def main():
    if shutil.which("valgrind") is None:
        sys.exit("instructions: valgrind is not installed: install it to compare (apt: valgrind).")
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    version, counts = count_all()
    if "--record" in sys.argv[1:]:
        RECORD.write_text(json.dumps({**known, version: counts}, indent=2) + "\n")
    before = known.get(version, {})
    grown = []
    for name, n in counts.items():
        ratio = n / before.get(name, n)
        print(f"{name:48}{n:>12,}{ratio:8.3f}" + ("" if name in before else "  (new)"))
        if ratio > SLACK:
            grown.append(name)
    if not before:
        print(f"instructions: nothing is known of {version}; --record keeps these.")
    if grown and "--record" not in sys.argv[1:]:
        sys.exit(f"instructions: more than {SLACK - 1:.0%} up with {version}: {'; '.join(grown)}.")


if __name__ == "__main__":
    main()
