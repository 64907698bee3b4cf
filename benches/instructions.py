"""Instructions of each kernel on a fixed problem, beside those of the last release.

``python benches/instructions.py`` counts them under valgrind, with AVX2, and fails where a kernel
takes 3 % more than ``benches/instructions.json`` says for this compiler; ``--record`` writes that
file. They do not depend on what else a machine does, nor on its clock; with another compiler there
is nothing to compare them with. What is counted is what setup.py compiles, which it does first: so
options of this interpreter's own, as -fwrapv, belong to the compiler's name.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
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


def compiler():
    """Return the command of the C++ compiler, and its name, version and Python's options for it."""
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
    options = shlex.split(sysconfig.get_config_var("CFLAGS"))
    options = [option for option in options if option.startswith(("-f", "-m"))]
    return command, " ".join([f"{name} {major}.{minor}", *options])


def build(command, folder):
    """Compile the kernels as setup.py does, and a program that calls them; return its path."""
    folders = [f"--build-temp={folder}", f"--build-lib={folder}"]
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", *folders], cwd=ROOT, check=True
    )
    (kernels,) = Path(folder).rglob("isa_avx2.o")
    program = Path(folder, "instructions")
    source = ROOT / "benches" / "instructions.cpp"
    # With -O2, what surrounds the kernels takes valgrind twice as long.
    options = ["-O3", "-std=c++17", "-fopenmp", f"-I{ROOT / 'src'}"]
    subprocess.run([*command, *options, source, kernels, "-o", program], check=True)
    return program


def count(program, folder):
    """Return the instructions that one call of each kernel takes, by the names of the problems."""
    asked = list(problems())
    dumps = Path(folder, "callgrind")
    options = ["--toggle-collect=measured", "--dump-after=measured"]
    options += ["--tool=callgrind", f"--callgrind-out-file={dumps}"]
    arguments = [word for loss, *names in asked for word in (str(_kernels.LOSSES[loss]), *names)]
    command = ["valgrind", *options, program, *arguments]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    counts = {}
    for number, problem in enumerate(asked, 1):
        dump = dumps.with_suffix(f".{number}").read_text()
        counts[", ".join(problem)] = int(re.search(r"^(?:summary|totals): (\d+)", dump, re.M)[1])
    return counts


def main():
    if shutil.which("valgrind") is None:
        sys.exit("instructions: valgrind is not installed: install it to compare (apt: valgrind).")
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    command, version = compiler()
    with tempfile.TemporaryDirectory() as folder:
        counts = count(build(command, folder), folder)
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
