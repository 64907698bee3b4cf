"""Importing leaves the processor's flags as they were, and other libraries change no bit."""

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import EXTRA, Report

# Bits 6 to 15: denormals are zeros, exceptions that are masked, rounding, flush to zero.
MXCSR = r"""
#include <xmmintrin.h>
unsigned control(void) { return _mm_getcsr() & 0xffc0; }
"""

READ_FLAGS = """
import ctypes, sys
import numpy as np
control = ctypes.CDLL(sys.argv[1]).control
least = np.array([5e-324])
before, subnormal = control(), (least * 1.0).tobytes()
import metaopt_fast as mf
after = control()
X = np.random.default_rng(0).normal(size=(3000, 5))
mf.LogisticLoss(X, X[:, 0] > 0, n_threads=2).batch_loss_gradient(np.ones((500, 5)))
mf.fit_many(X, X[:, 0] > 0, l2=0.1, n_threads=2)
mf.AUCObjective(X, X[:, 0] > 0, n_threads=2).batch_auc(np.ones((500, 5)))
print(hex(before), hex(after), hex(control()), (least * 1.0).tobytes() == subnormal)
"""

# What other libraries do to flags and threads, they do when they compute.
USES = {
    "sklearn": """
from sklearn.linear_model import LogisticRegression
from sklearn.cluster import KMeans
import numpy as np
data = np.random.default_rng(0).normal(size=(2000, 5))
LogisticRegression().fit(data, data[:, 0] > 0)
KMeans(3, n_init=1, random_state=0).fit(data)
""",
    "torch": """
import torch
weight = torch.ones(300, 300, requires_grad=True)
(torch.relu(torch.ones(500, 300) @ weight).exp().log()).sum().backward()
""",
    "numba": """
import numba
import numpy as np
@numba.njit(parallel=True)
def total(values):
    sum_of_all = 0.0
    for i in numba.prange(len(values)):
        sum_of_all += values[i]
    return sum_of_all
total(np.ones(100_000))
""",
}

OURS = """
import hashlib
import numpy as np
import metaopt_fast as mf
X = np.random.default_rng(0).normal(size=(3000, 5))
loss = mf.LogisticLoss(X, X[:, 0] > X[:, 1], l2=1e-300, n_threads=3)
thetas = np.random.default_rng(1).normal(size=(500, 5)) * np.geomspace(1e-310, 1, 500)[:, None]
losses, gradients = loss.batch_loss_gradient(thetas)
fits = mf.fit_many(X, X[:, 0] > X[:, 1], l2=[0.01, 0.1], n_threads=3)
search = mf.random_search(loss, mf.Normal(), 3000, seed=1)
parts = losses, gradients, fits.theta, search.top_thetas, search.top
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def run(program, *arguments):
    """Run a program in a process of its own; return what it prints, or how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hang"
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip()[-200:]


def check_flags(report):
    if platform.machine() != "x86_64":
        print("not run: MXCSR is a register of x86-64")
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "control.c"), os.path.join(folder, "control.so")
        source.write_text(MXCSR)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
        found = run(READ_FLAGS, library).split()
    report.line(
        "MXCSR before and after the import, and after calls",
        len(found) == 4 and found[0] == found[1] == found[2] and found[3] == "True",
        " ".join(found[:3]),
    )


def main():
    report = Report()
    check_flags(report)
    wanted = run(OURS)
    for name, use in USES.items():
        if importlib.util.find_spec(name) is None:
            report.line(name, False, f"not run: it is not installed: {EXTRA}")
            continue
        found = {
            "imported and used before": run(use + OURS),
            "imported before, used after": run(f"import {name}\n" + OURS + use),
            "imported and used after": run("import metaopt_fast\n" + use + OURS),
        }
        for order, digest in found.items():
            same = digest == wanted and len(digest) == 64
            report.line(f"{name} {order}", same, "same bits" if same else digest)
    report.exit()


if __name__ == "__main__":
    main()
