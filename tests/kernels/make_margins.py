"""Write margins.csv: hard margins, and their logistic losses and slopes, computed to 50 digits.

The columns are z, the loss and the slope as the nearest double in hexadecimal, and after each of
the two what the exact value has more, in units of that double's last place.
"""

import math
from pathlib import Path

import mpmath
import numpy as np

COUNT = 2000
# Written out, and powers of ten read from text below: what libraries compute differs by machine.
LN2 = 0.6931471805599453
LOG_SQRT2_LESS_1 = 0.881373587019543


def neighbours(value, steps):
    """A float and those around it, that many on both sides."""
    found = [value]
    for direction in (-math.inf, math.inf):
        near = value
        for _ in range(steps):
            near = math.nextafter(near, direction)
            found.append(near)
    return found


def hard_margins():
    """Where a logistic loss is hard, in double precision."""
    found = [0.0, 5e-324, 1e-310, 2.2250738585072014e-308]
    # exp(-z) leaves the normal numbers, and then all numbers; in single precision earlier.
    for edge in (708.3964185322641, 745.1332191019411, 87.33654475, 103.97207708):
        found += neighbours(edge, 2)
    # The kernels compute no exponential beyond: lowest_exponent of simd.hpp.
    found += neighbours(750.0, 2) + neighbours(110.0, 2)
    # 1 + exp(-z) begins to be 1.
    for digits in (24, 25, 53, 54):
        found += neighbours(digits * LN2, 2)
    # The reduced argument of exp is 0 at multiples of ln 2, and changes sign half-way.
    for k in (*range(1, 40, 2), 64, 126, 127, 128, 149, 150, 500, 1000, 1021, 1022, 1074, 1075):
        found += neighbours(k * LN2, 1) + neighbours((k - 0.5) * LN2, 1)
    # Here exp(-z) / (1 + exp(-z)) has its largest roundings.
    found += [1.9491477755377413, 1.9492153938824062, 2.7206532281965488, 2.7283446175070125]
    found += [float(np.float32(2.0013478)), 0.38892690426418586, 1.130523351789563, 28.03746088459]
    # Single precision's logarithm is furthest off where the exponent of 1 + exp(-z) changes.
    found += [float(np.float32(z)) for z in (0.8818291, 0.8785193, 0.8562832)]
    # That exponent changes at sqrt(2), that is at exp(-z) = sqrt(2) - 1.
    found += neighbours(LOG_SQRT2_LESS_1, 12)
    found += [float(f"{digit}e{e}") for e in range(-300, 5, 6) for digit in (1, 7)]
    found += [math.ldexp(1.0, -e) for e in range(1, 1075, 13)]
    return found + [math.ldexp(2**e + 1, -1074) for e in range(1, 53)]


def margins():
    """Hard margins, the single-precision numbers next to them, and random ones; of both signs."""
    hard = hard_margins()
    single = np.array(hard, np.float32)
    near = [np.nextafter(single, np.float32(to)) for to in (-np.inf, np.inf)]
    random = np.random.default_rng(0).uniform(0, 760, COUNT).astype(np.float32)
    found = [*hard, *single.tolist(), *random[:300].tolist(), *near[0].tolist(), *near[1].tolist()]
    found = list(dict.fromkeys(abs(z) for z in found))[: COUNT // 2]
    return [sign * z for z in sorted(found) for sign in (-1.0, 1.0)]


def written(exact):
    """The nearest double, and the rest in units of its last place."""
    if abs(exact) < 2.0**-1022:
        # mpmath's own conversion would round subnormal numbers twice.
        nearest = math.ldexp(int(mpmath.nint(mpmath.ldexp(exact, 1074))), -1074)
    else:
        nearest = float(exact)
    rest = (exact - mpmath.mpf(nearest)) / mpmath.mpf(math.ulp(nearest))
    return f"{nearest.hex()},{float(rest):.4f}"


def rows():
    """The lines of the table."""
    lines = []
    with mpmath.workdps(50):
        for z in margins():
            e = mpmath.exp(-abs(mpmath.mpf(z)))
            loss = max(mpmath.mpf(z), 0) + mpmath.log1p(e)
            slope = (e if z < 0 else 1) / (1 + e)
            lines.append(f"{z.hex()},{written(loss)},{written(slope)}")
    return lines


def main():
    text = "\n".join(["z,loss,rest of loss,slope,rest of slope", *rows(), ""])
    Path(__file__).with_name("margins.csv").write_text(text)


if __name__ == "__main__":
    main()
