"""Calls leave no memory behind, and each allocation that fails is a MemoryError or harmless.

A library that stands before the C library's malloc lets the k-th allocation of the calling thread
fail, for every k: those of the extension, of the data of NumPy's arrays, and of Python for 4 kB and
more. Two are left out, since no caller can do anything about them: OpenMP's runtime ends the
process where it gets no memory, and NumPy crashes where its iterators get no buffer.
`memory.py NAME...` tries the calls of these names alone.
"""

import ctypes
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from checks import Report, digest, parallel_calls, problem

import metaopt_fast as mf

CALLS, RSS_LIMIT = 200_000, 1e6
SMALLEST = 4096  # bytes of an allocation that fails, if it is not the extension's own
REPEATS = 10

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static __thread long left __attribute__((tls_model("initial-exec")));
static __thread size_t smallest __attribute__((tls_model("initial-exec")));

/* Where NumPy asks for the data of its arrays. */
static void *of_arrays[2];
static __thread void *last __attribute__((tls_model("initial-exec")));

void shim_learn(int i) { of_arrays[i] = last; }
void shim_arm(long k, size_t size) { left = k; smallest = size; }
/* Allocations that were still to come; 0 if one has failed. */
long shim_disarm(void) { long rest = left; left = 0; return rest; }

static int fails(size_t size, void *caller) {
    Dl_info of;
    if (size >= 1 << 20) last = caller;
    if (left == 0 || !dladdr(caller, &of) || !of.dli_fname) return 0;
    if (strstr(of.dli_fname, "libgomp") || strstr(of.dli_fname, "ld-linux")) return 0;
    if (size < smallest && !strstr(of.dli_fname, "_kernels")) return 0;
    if (strstr(of.dli_fname, "_umath") && caller != of_arrays[0] && caller != of_arrays[1])
        return 0;
    if (--left) return 0;
    errno = ENOMEM;
    return 1;
}
void *malloc(size_t size) {
    return fails(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    return fails(n * size, __builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}
void *realloc(void *old, size_t size) {
    return fails(size, __builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}
"""


def resident():
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_growth(report):
    X, Y = problem(50)
    thetas = np.random.default_rng(1).normal(size=(6, 10))
    loss, counts = mf.LogisticLoss(X, Y), mf.ConfusionCounts(X, Y)
    auc = mf.AUCObjective(X, Y, n_bins=16)
    calls = {
        "loss": lambda: loss.loss(thetas[0]),
        "batch_loss": lambda: loss.batch_loss(thetas),
        "batch_counts": lambda: counts.batch_counts(thetas),
        "batch_auc": lambda: auc.batch_auc(thetas),
    }
    for name, call in calls.items():
        for _ in range(2000):
            call()
        before = resident()
        for _ in range(CALLS):
            call()
        grown = resident() - before
        report.line(
            f"{CALLS:,} calls of {name}", grown < RSS_LIMIT, f"RSS grows by {grown / 1e3:.0f} kB"
        )


class Mallinfo2(ctypes.Structure):
    """What glibc knows of its heap; the eighth number is of bytes in use."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in "abcdefghij")


def heap(libc):
    gc.collect()  # tracebacks hold each other
    libc.mallinfo2.restype = Mallinfo2
    used = libc.mallinfo2()
    return used.h + used.e  # by the heap and by maps of their own


def fail_one(k, call, shim):
    """Let the k-th allocation of a call fail; return what came of it ("MemoryError", "none left"
    or another error), and what the call returned, if it did."""
    found, outcome = None, "success"
    shim.shim_arm(k, SMALLEST)
    try:
        found = call()
        left = shim.shim_disarm()
    except MemoryError:
        left, outcome = shim.shim_disarm(), "MemoryError"
    except BaseException as error:
        left, outcome = shim.shim_disarm(), repr(error)
    return "none left" if left else outcome, found


def fail_each(call, shim, libc):
    """Fail the first allocation of a call several times, then the second, until none is left;
    return how many there were, what was wrong, and the most bytes that one left behind."""
    wanted, k, wrong, most = digest(*call()), 0, [], 0
    call()  # counts of so many candidates keep their rows in single precision
    while True:
        k += 1
        fail_one(k, call, shim)  # fills the caches of Python and NumPy
        before = heap(libc)
        for _ in range(REPEATS):
            outcome, found = fail_one(k, call, shim)
            if outcome == "none left":
                return k - 1, wrong, most
            if outcome not in ("MemoryError", "success"):
                wrong.append(outcome)
            if (found is not None and digest(*found) != wanted) or digest(*call()) != wanted:
                wrong.append(f"other bits at {k}")
            found = None
        most = max(most, (heap(libc) - before) // REPEATS)


def counts_anew(n_threads):
    """Return a call that packs rows and copies them in single precision, each time."""
    X, y = problem(700)
    thetas = np.random.default_rng(1).normal(size=(300, 10))

    def call():
        counts = mf.ConfusionCounts(X, y, n_threads=n_threads)
        counts._expect_candidates(1000)
        return [counts.batch_counts(thetas)]

    return call


def check_failures(report, names):
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.shim_arm.argtypes = [ctypes.c_long, ctypes.c_size_t]
    shim.shim_disarm.restype = ctypes.c_long
    shim.shim_arm.restype = None  # an int would be the first allocation to fail
    for i, create in enumerate((np.empty, np.zeros)):
        create(2**20)
        shim.shim_learn(i)
    libc = ctypes.CDLL(None)
    for n_threads in (1, 2):
        calls = parallel_calls(n_threads) | {"counts made anew": counts_anew(n_threads)}
        for name in names or calls:
            failures, wrong, leaked = fail_each(calls[name], shim, libc)
            report.line(
                f"{name} on {n_threads} thread{'s' * (n_threads > 1)}, each allocation failed",
                not wrong and failures > 0 and leaked < SMALLEST / 2,
                f"{failures} allocations x {REPEATS} failures, {len(wrong)} wrong "
                f"{wrong[:2] or ''}, at most {leaked} bytes left behind by one",
            )


def main():
    report = Report()
    if sys.argv[1:2] == ["failures"]:
        check_failures(report, sys.argv[2:])
        report.exit()
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "shim.c"), Path(folder, "shim.so")
        source.write_text(SHIM)
        subprocess.run(
            ["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
        )
        # Python's own small objects come from malloc too.
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
        command = [sys.executable, __file__, "failures", *sys.argv[1:]]
        code = subprocess.run(command, env=environment, check=False).returncode
    report.line("the process lives on", code == 0, f"exit code {code}")
    if not sys.argv[1:]:
        check_growth(report)
    report.exit()


if __name__ == "__main__":
    main()
