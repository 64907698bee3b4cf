"""Other processors, emulated: the right kernels are chosen, with the bits that they have here.

Needs qemu-user. `--tests FILE ...` runs these tests on each of them, too (core tests by default),
`--arm64 PYTHON` does all that with an interpreter for arm64; see arm64.sh.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from checks import Report, needs

from metaopt_fast import _kernels

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# What qemu calls a processor, and the kernels it must have. Those with AVX alone, without FMA, or
# with AVX that the operating system does not save, are where a careless choice ends in SIGILL.
PROCESSORS = {
    "Nehalem": ["baseline"],
    "SandyBridge": ["baseline"],
    "IvyBridge": ["baseline"],
    "Haswell": ["avx2", "baseline"],
    "Haswell,-fma": ["baseline"],
    "Haswell,-xsave": ["baseline"],
    "EPYC": ["avx2", "baseline"],
}
RUN_TESTS = ("Nehalem", "Haswell")
CORE_TESTS = (
    "tests/kernels/test_kernels.py",
    "tests/kernels/test_pruning.py",
    "tests/samplers/test_samplers.py",
    "tests/objectives/test_losses.py",
    "tests/objectives/test_counts.py",
    "tests/fitting/test_newton.py",
    "tests/fitting/test_tasks.py",
    "tests/fitting/test_sparse_fits.py",
    "tests/objectives/test_softmax.py",
    "tests/trees/test_best_tree.py",
    "tests/files/test_plain_rows.py",
    "tests/search/test_search.py",
    "tests/descent/test_descents.py",
    "tests/arguments/test_bad_input.py",
)

# A program that a test starts by sys.executable must be emulated as well.
SITE = "import os, sys\nsys.executable = os.environ['EMULATED_PYTHON']\n"


def wrapper(folder, processor):
    """A command that runs this Python on that processor."""
    path = Path(folder, "python")
    # OpenBLAS takes AVX2 to bring FMA, and would crash where it does not.
    emulator = f"qemu-x86_64 -cpu {processor} -E OPENBLAS_CORETYPE=Nehalem"
    path.write_text(f'#!/bin/sh\nexec {emulator} "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def run(python, folder, arguments):
    """Run Python there; return the finished process and its seconds."""
    Path(folder, "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    # What a variable forces on OpenBLAS, that processor may not have; and qemu 7 gets some of the
    # instructions wrong that NumPy's argsort takes from AVX2 on.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "METAOPT_"))}
    started = time.perf_counter()
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=ROOT,
        env={
            **kept,
            "PYTHONPATH": path,
            "EMULATED_PYTHON": str(python),
            "NPY_DISABLE_CPU_FEATURES": " ".join(
                np.show_config("dicts")["SIMD Extensions"].get("found", [])
            ),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, time.perf_counter() - started


def native_bits(isa):
    environment = {**os.environ, "METAOPT_FAST_ISA": isa, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, HERE / "bits.py"], env=environment, capture_output=True, check=True
    )
    return json.loads(done.stdout)["bits"]


def check_bits(report, processor, python, folder, isas, wanted):
    done, seconds = run(python, folder, [HERE / "bits.py"])
    if done.returncode != 0:
        report.line(processor, False, f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        return
    found = json.loads(done.stdout)
    other = [name for name, hashed in found["bits"].items() if hashed != wanted.get(name)]
    report.line(
        f"{processor}: kernels and bits",
        found["isas"] == isas and found["isa"] == isas[0] and not other,
        f"{found['isa']} of {', '.join(found['isas'])}; {len(other)} of {len(found['bits'])} "
        f"hashes differ {other or ''}({seconds:.0f} s)",
    )


def check_tests(report, processor, python, folder, tests):
    for test in tests:
        options = ["-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider"]
        done, seconds = run(python, folder, [*options, test])
        lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]]
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        illegal = (done.stdout + done.stderr).count("llegal instruction")
        report.line(
            f"{processor}: {test}",
            done.returncode == 0 and illegal == 0,
            f"{lines[-1].strip('= ')}, {illegal} illegal instructions ({seconds:.0f} s)",
        )
        for line in failed:
            print(f"        {line}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm64", metavar="PYTHON")
    parser.add_argument("--tests", nargs="*", default=CORE_TESTS)
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        if options.arm64:
            # NEON fuses products and sums as AVX2 does.
            wanted = native_bits("avx2")
            check_bits(report, "arm64", options.arm64, folder, ["baseline"], wanted)
            check_tests(report, "arm64", options.arm64, folder, options.tests)
            report.exit()
        needs("apt install qemu-user", programs=["qemu-x86_64"])
        native = {isa: native_bits(isa) for isa in _kernels.supported_isas()}
        for processor, isas in PROCESSORS.items():
            if isas[0] not in native:
                print(f"not run: {processor}, as {isas[0]} is not to be had here to compare with")
                continue
            python = wrapper(folder, processor)
            check_bits(report, processor, python, folder, isas, native[isas[0]])
            if processor in RUN_TESTS:
                check_tests(report, processor, python, folder, options.tests)
    report.exit()


if __name__ == "__main__":
    main()
