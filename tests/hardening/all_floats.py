"""Every finite float32 margin: loss and slope beside those in double precision.

The kernels in double precision are within 2 of their own ulp (tests/kernels/test_margins.py), of
which 2^29 make one of these. `all_floats.py 16` looks at each 16th block of 2^20 margins.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from checks import Report

from metaopt_fast import _kernels
from metaopt_fast.machine import default_n_threads

BLOCK = 1 << 20
BOUND = 2
FINITE = 2 * 255 * 2**23


def pointwise(z):
    values, slopes = np.empty_like(z), np.empty_like(z)
    _kernels.pointwise(_kernels.LOSSES["logistic"], z, values, slopes)
    return values, slopes


def largest_errors(block):
    """The number of finite margins of a block of bit patterns, and for loss and slope the largest
    distance in ulp and its margin."""
    z = (np.arange(BLOCK, dtype=np.uint32) + np.uint32(block * BLOCK)).view(np.float32)
    z = z[np.isfinite(z)]
    if len(z) == 0:
        return 0, []
    errors = []
    for found, exact in zip(pointwise(z), pointwise(z.astype(np.float64)), strict=True):
        # The largest float of all has no next one to measure by.
        with np.errstate(under="ignore"):
            below = np.minimum(exact, 1e38).astype(np.float32)
        unit = np.spacing(below).astype(np.float64)
        far = np.abs(found.astype(np.float64) - exact) / unit
        # A NaN is the largest of all to argmax.
        worst = far.argmax()
        errors.append((far[worst], z[worst]))
    return len(z), errors


def main():
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    report = Report()
    worst, count = {"loss": (0.0, 0.0), "slope": (0.0, 0.0)}, 0
    # NumPy and the kernels let go of Python's lock.
    with ThreadPoolExecutor(default_n_threads()[0]) as pool:
        for n, errors in pool.map(largest_errors, range(0, 2**32 // BLOCK, step)):
            count += n
            for name, error in zip(worst, errors, strict=False):
                if not error[0] <= worst[name][0]:
                    worst[name] = error
    for name, (far, z) in worst.items():
        report.line(
            f"{name} of {count:,} float32 margins, {_kernels.isa()[0]}",
            far <= BOUND and (step > 1 or count == FINITE),
            f"at most {far:.3f} ulp, at {z!r}",
        )
    report.exit()


if __name__ == "__main__":
    main()
