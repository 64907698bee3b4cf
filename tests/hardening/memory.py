"""Calls leave no memory behind, and each allocation that fails is a MemoryError or harmless.

The allocations are failed by a library that stands before the C library's: it lets the k-th
allocation of the calling thread fail, for every k, whoever asks for it: the extension, NumPy or
Python. OpenMP's runtime is left out, since it ends the process where it gets no memory.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from checks import Report, digest, problem

import metaopt_fast as mf

CALLS, RSS_LIMIT = 200_000, 1e6
LEAK_LIMIT = 64 * 1024  # bytes of the heap: caches of NumPy and Python fill up once

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static __thread long left __attribute__((tls_model("initial-exec")));
static __thread size_t smallest __attribute__((tls_model("initial-exec")));

void shim_arm(long k, size_t size) { left = k; smallest = size; }
/* Allocations that were still to come; 0 if one has failed. */
long shim_disarm(void) { long rest = left; left = 0; return rest; }

static int fails(size_t size, void *caller) {
    Dl_info of;
    if (left == 0 || size < smallest) return 0;
    if (!dladdr(caller, &of) || !of.dli_fname || strstr(of.dli_fname, "libgomp") ||
        strstr(of.dli_fname, "ld-linux")) return 0;
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
    libc.mallinfo2.restype = Mallinfo2
    used = libc.mallinfo2()
    return used.h + used.e  # by the heap and by maps of their own


def check_failures(report):
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.shim_arm.argtypes = [ctypes.c_long, ctypes.c_size_t]
    shim.shim_disarm.restype = ctypes.c_long
    shim.shim_arm.restype = None  # an int would be the first allocation to fail
    arm, disarm = shim.shim_arm, shim.shim_disarm
    libc = ctypes.CDLL(None)
    X, Y = problem(700)
    thetas = np.random.default_rng(1).normal(size=(200, 10))
    for n_threads in (1, 2):
        loss = mf.LogisticLoss(X, Y, n_threads=n_threads)
        counts = mf.ConfusionCounts(X, Y, n_threads=n_threads)
        auc = mf.AUCObjective(X, Y, n_threads=n_threads)
        calls = {
            "batch_loss": lambda loss=loss: [loss.batch_loss(thetas)],
            "batch_loss_gradient": lambda loss=loss: loss.batch_loss_gradient(thetas),
            "batch_counts": lambda counts=counts: [counts.batch_counts(thetas)],
            "batch_auc": lambda auc=auc: auc.batch_auc(thetas),
            "fit_many": lambda n=n_threads: [
                mf.fit_many(X, Y, l2=[0.01, 1.0], folds=np.arange(700) % 2, n_threads=n).theta
            ],
        }
        for name, call in calls.items():
            wanted = digest(*call())
            for _ in range(3):
                call()
            before, k, raised, wrong = heap(libc), 0, 0, []
            while True:
                k += 1
                found = None
                arm(k, 1)
                try:
                    found = call()
                    rest = disarm()
                except MemoryError:
                    rest = disarm()
                    raised += 1
                except BaseException as error:
                    rest = disarm()
                    wrong.append(repr(error))
                if rest:
                    break
                if (found is not None and digest(*found) != wanted) or digest(*call()) != wanted:
                    wrong.append(f"other bits at {k}")
            found = None
            leaked = heap(libc) - before
            report.line(
                f"{name} on {n_threads} threads, each allocation failed",
                not wrong and raised > 0 and leaked < LEAK_LIMIT,
                f"{k - 1} failures, {raised} of them MemoryError, {len(wrong)} wrong "
                f"{wrong[:2] or ''}, {leaked / 1e3:.1f} kB left behind",
            )


def main():
    report = Report()
    if sys.argv[1:2] == ["failures"]:
        check_failures(report)
        report.exit()
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "shim.c"), Path(folder, "shim.so")
        source.write_text(SHIM)
        subprocess.run(
            ["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
        )
        # Python's own small objects come from malloc too.
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
        command = [sys.executable, __file__, "failures"]
        code = subprocess.run(command, env=environment, check=False).returncode
    report.line("the process lives on", code == 0, f"exit code {code}")
    check_growth(report)
    report.exit()


if __name__ == "__main__":
    main()
