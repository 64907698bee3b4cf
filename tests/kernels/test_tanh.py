"""The proof that tanh of networks is within 2 ulp, by intervals, and that the kernel does what is
proven: `find_tanhs` in src/network.hpp.

Of t = 2 |z|, n is t / ln 2 rounded, and M = exp(t) - 1 = 2^n exp(r) - 1, r = t - n ln 2. In a piece
of t, each rounded operation adds half an ulp of the largest number that it may have, but where
what it adds are multiples of that ulp; what the polynomial lacks and what r lost are known, signs
and all. With the error of m, that of m / (m + 2)
follows: 2 / (M + 2)^2 times it. What m / (m + 2) itself loses is put back up to 20 u^2, u half an
ulp of 1, and the last sum is rounded. Where that leads beyond the power of two above tanh(z), by
more than half a step of the floats there, tanh(z) is nearest to that power itself, if the error
before was below 1.5 ulp.
"""

import itertools
import math
import pathlib
import re
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from mpmath import iv

import metaopt_fast as mf
from metaopt_fast import _kernels

SOURCE = (pathlib.Path(__file__).parents[2] / "src" / "simd.hpp").read_text()
DTYPES = {"float64": ("double", 53, 40), "float32": ("float", 24, 20)}
BOTH = pytest.mark.parametrize("dtype", DTYPES)
with mpmath.workprec(400):
    LN2 = Fraction(int(mpmath.ln(2) * 2**300), 2**300)


class Numbers:
    """The constants of one precision, as exact numbers, and how it rounds."""

    def __init__(self, dtype):
        name, self.digits, self.most = DTYPES[dtype]
        self.has_rest = dtype == "float64"  # of r, which is put back
        (text,) = re.findall(rf"struct constants<{name}> {{(.*?)\n}};", SOURCE, re.S)
        number = r"(-?0x[0-9a-f.]+p[+-]?\d+|-?\d+)f?"
        named = dict(re.findall(rf"(\w+) = {number}", text))
        self.log2_e, self.high, self.low, self.shift = (
            Fraction(float.fromhex(named[key]))
            for key in ("log2_e", "ln2_high", "ln2_low", "round_to_integer")
        )
        (tail,) = re.findall(r"exp_tail\[\] = {(.*?)}", text, re.S)
        listed = [Fraction(float.fromhex(part)) for part in re.findall(number, tail)]
        assert listed[-2:] == [1, 1]
        self.tail = listed[:-2]

    def half_ulp(self, x):
        """Half an ulp of the largest number of an interval, and of what is computed for it."""
        largest = max(abs(float(x.a)), abs(float(x.b))) * (1 + 2.0**-20)
        return 0.0 if largest == 0 else 2.0 ** (math.frexp(largest)[1] - 1 - self.digits)

    def rounded(self, x):
        """The float that is nearest to a number, the even one of two."""
        if x == 0:
            return x
        ulp = Fraction(2) ** (exponent_of(x) - self.digits + 1)
        return round(x / ulp) * ulp


def exponent_of(x):
    """e of 2^e <= |x| < 2^(e + 1)."""
    e = abs(x).numerator.bit_length() - x.denominator.bit_length()
    return e - (abs(x) < Fraction(2) ** e)


def exactly(x):
    return iv.mpf(x.numerator) / iv.mpf(x.denominator)


def absolute(x):
    return max(abs(float(x.a)), abs(float(x.b)))


def polynomial(x, coefficients):
    """Of coefficients from the highest on."""
    total = iv.mpf(0)
    for c in coefficients:
        total = total * x + c
    return total


# --------------------------------------------------------------------------------------- the bounds


class Lacking:
    """What the polynomial is more than (exp(r) - 1 - r) / r^2, by intervals of r.

    By the values and slopes of the difference in the middles of short pieces, and a bound of its
    curvature; what follows r^20 is below 1e-28 where |r| < 0.36.
    """

    half, n_pieces = 2.0**-11, 370  # a piece is from 2 (k - 1/2) half to 2 (k + 1/2) half

    def __init__(self, numbers):
        series = [Fraction(1, math.factorial(k + 2)) for k in range(21)]
        known = numbers.tail[::-1] + [Fraction(0)] * (21 - len(numbers.tail))
        exact = [a - b for a, b in zip(known, series, strict=True)]
        bends = [k * (k - 1) * abs(float(d)) * 0.36 ** (k - 2) for k, d in enumerate(exact)]
        rest = sum(bends[2:]) * 1.0001 * self.half**2 / 2 + 1e-28
        self.bounds = []
        with mpmath.workprec(200):
            falling = [mpmath.mpf(d.numerator) / d.denominator for d in reversed(exact)]
            for k in range(-self.n_pieces, self.n_pieces + 1):
                x, value, slope = mpmath.mpf(2 * k * self.half), mpmath.mpf(0), mpmath.mpf(0)
                for c in falling:
                    slope, value = slope * x + value, value * x + c
                more = abs(float(slope)) * self.half + rest
                self.bounds.append((float(value) - more, float(value) + more))

    def __call__(self, r):
        first, last = (math.floor(float(end) / (2 * self.half) + 0.5) for end in (r.a, r.b))
        some = self.bounds[first + self.n_pieces : last + self.n_pieces + 1]
        return iv.mpf([min(low for low, _ in some), max(high for _, high in some)])


def lost_of_r(numbers, n, r):
    """What t - n ln 2 is more than the r that is computed, and whose binade is that of the interval
    or a lower one.

    t - n ln2_high is a multiple of r's ulp: what happens is that n ln2_low is rounded to such.
    """
    bounds = []
    top = exponent_of(Fraction(absolute(r)))
    for exponent in range(top, top - 3, -1):
        ulp = Fraction(2) ** (exponent - numbers.digits + 1)
        step = round(n * numbers.low / ulp) * ulp
        bounds.append(float(step - n * (LN2 - numbers.high)))
    below = 2.0 ** (top - 3 - numbers.digits) + n * float(abs(LN2 - numbers.high - numbers.low))
    return iv.mpf([min(*bounds, -below), max(*bounds, below)]) * (1 + iv.mpf([-1, 1]) / 2**40)


def cases_of_p(numbers, grown):
    """Parts of an interval of p by the power of two below it: (half an ulp, low, high, the number
    that p is a multiple of, 0 for any)."""
    low, high = float(grown.a), float(grown.b)
    top = exponent_of(Fraction(absolute(grown)))
    for exponent in range(top, top - 4, -1):
        half = 2.0 ** (exponent - numbers.digits)
        for sign in (-1, 1):
            ends = sorted((sign * 2.0**exponent, sign * 2.0 ** (exponent + 1)))
            if max(low, ends[0]) <= min(high, ends[1]):
                yield half, max(low, ends[0]), min(high, ends[1]), 2 * half
    end = 2.0 ** (top - 3)
    if max(low, -end) <= min(high, end):
        yield 2.0 ** (top - 4 - numbers.digits), max(low, -end), min(high, end), 0


def error_of_m(numbers, n, r, lack):
    """A bound of |m - M|, for one n and an interval of r."""
    square, value = r * r, iv.mpf(0)
    horner = 0.0
    for c in numbers.tail:
        value = value * r + exactly(c)
        horner = horner * absolute(r) + numbers.half_ulp(value)
    before = numbers.half_ulp(square) * absolute(value) + horner * absolute(square) * 1.0001
    if numbers.has_rest:  # else the square is not multiplied before r is added
        before += numbers.half_ulp(square * value)
    # What is lost of r's rest, in the square of it, and of the series.
    before += 2.0**-80 if numbers.has_rest else 2.0**-45
    lost = iv.mpf(0) if n == 0 else lost_of_r(numbers, n, r)
    grown = iv.exp(r) - 1 + iv.mpf([-1, 1]) * 2.0 ** (8 - numbers.digits)
    known = square * lack(r) - lost * (grown if numbers.has_rest else grown + 1)
    before += absolute(known)
    scale, worst = 2.0**n, 0.0
    for half, low, high, step in cases_of_p(numbers, grown):
        # The largest m, and the power of two that it is not above.
        largest = max(abs(scale * (low + 1) - 1), abs(scale * (high + 1) - 1))
        fraction, power = math.frexp(largest)
        ulp = 2.0 ** (power - (fraction == 0.5) - numbers.digits)
        is_exact = n == 0 or scale * step >= ulp
        rounding = 0 if is_exact else ulp / 2
        if n > numbers.digits:  # 2^n - 1 is rounded as well
            rounding += 2.0 ** (n - numbers.digits)
        worst = max(worst, scale * (before + half) + rounding)
    return worst


def ulps_of_piece(numbers, low, high, ulp, lack):
    """A bound of the error in a piece of t, without the last rounding, in units of `ulp`."""
    t, ln2 = iv.mpf([low, high]), iv.ln2
    found = [
        math.floor(end * float(numbers.log2_e) + 0.5 + more)
        for end, more in ((low, -1e-6), (high, 1e-6))
    ]
    worst = 0.0
    for n in range(found[0], found[1] + 1):
        r = t - n * ln2
        # Reduced to half of ln 2, and as it is rounded.
        ends = max(float(r.a), -0.34658), min(float(r.b), 0.34658)
        if ends[0] > ends[1]:
            continue
        error = error_of_m(numbers, n, iv.mpf(ends) + iv.mpf([-1, 1]) / 2**24, lack)
        least = math.exp(low) * (1 - 1e-6) + 1  # M + 2
        worst = max(worst, error * 2 / least**2 / ulp)
    return worst


def pieces_of(binade, most):
    """Pieces of t where tanh(t / 2) is from 2^-binade to twice that."""
    power = iv.mpf(2) ** -binade
    low = float(iv.log((1 + power) / (1 - power)).a)
    high = most if binade == 1 else float(iv.log((1 + 2 * power) / (1 - 2 * power)).b)
    steps = [(n - 0.5) * math.log(2) for n in range(1, 60)]
    cuts = [low, *(step for step in steps if low < step < high), high]
    for a, b in itertools.pairwise(cuts):
        n_parts = 40 if b < 2 else 4
        yield from itertools.pairwise([a + (b - a) * k / n_parts for k in range(n_parts)] + [b])


@pytest.mark.long(everywhere=True)
@BOTH
def test_tanh_is_within_2_ulp_of_any_number(dtype):
    numbers = Numbers(dtype)
    u, lack = 2.0**-numbers.digits, Lacking(numbers)
    # Numbers beyond the largest t, too, have its tanh.
    rest = 20 * u + 2 * math.exp(-numbers.most) / u
    for binade in (1, 2, 3, 4):
        ulp = 2.0 ** (1 - binade - numbers.digits)
        worst = max(
            ulps_of_piece(numbers, low, high, ulp, lack)
            for low, high in pieces_of(binade, numbers.most)
        )
        assert worst + rest < 1.5, (binade, worst)
    # Where tanh(t / 2) is below 1/16, n is 0 and r is t. Errors are parts of m, and one of u is an
    # ulp of tanh at most; the square is off by more, if it is subnormal, but is below r's ulp then.
    for low, high in itertools.pairwise(np.linspace(0, 0.1252, 65).tolist()):
        r = iv.mpf([low, high])
        value = absolute(polynomial(r, map(exactly, numbers.tail)))
        of_tail = (2 + numbers.has_rest) * value + 2 * high  # the square, the polynomial, and both
        part = high * (of_tail * u + absolute(lack(r))) * 1.0001
        assert 1 + part / u + 20 * u < 1.5


def test_reduced_numbers_are_exact():
    for dtype in DTYPES:
        numbers = Numbers(dtype)
        most_n = math.floor(numbers.most / math.log(2) + 1)
        # Where n is not 0, t is above 1/4: it is a multiple of 2^(-1 - digits), n ln2_high is one,
        # and so is their difference, which is below 1/2.
        ulp = Fraction(2) ** (-1 - numbers.digits)
        assert (numbers.high / ulp).denominator == 1
        largest = (
            LN2 / 2
            + most_n * abs(LN2 - numbers.high)
            + numbers.most * abs(numbers.log2_e * LN2 - 1)
        )
        assert largest < Fraction(1, 2)
        # No n is off by more than rounding: the sum of which it is the lowest bits has an ulp of 1.
        assert Fraction(2) ** (numbers.digits - 1) < numbers.shift
        assert numbers.shift + most_n < Fraction(2) ** numbers.digits


# --------------------------------------------------------------------------------------- the kernel


def as_proven(numbers, z):
    """tanh of a float, operation by operation."""

    def fma(a, b, c):
        return numbers.rounded(a * b + c)

    t = min(2 * abs(z), Fraction(numbers.most))
    n = fma(t, numbers.log2_e, numbers.shift) - numbers.shift
    high = fma(n, -numbers.high, t)
    r = fma(n, -numbers.low, high)
    lost = fma(n, -numbers.low, numbers.rounded(high - r)) if numbers.has_rest else Fraction(0)
    p = numbers.tail[0]
    for c in numbers.tail[1:]:
        p = fma(p, r, c)
    square = numbers.rounded(r * r)
    p = numbers.rounded(r + fma(square, p, lost)) if numbers.has_rest else fma(square, p, r)
    scale = Fraction(2) ** int(n)
    m = fma(scale, p, numbers.rounded(scale - 1))
    d = numbers.rounded(m + 2)
    inverse = numbers.rounded(1 / d)
    a = numbers.rounded(m * inverse)
    rest = fma(-a, numbers.rounded(m - numbers.rounded(d - 2)), fma(-a, d, m))
    return math.copysign(float(fma(rest, inverse, a)), z)


@pytest.mark.skipif(_kernels.isa()[0] == "baseline", reason="has no FMAs")
@BOTH
def test_the_kernel_has_the_bits_of_what_is_proven(dtype):
    numbers, rng = Numbers(dtype), np.random.default_rng(0)
    z = np.concatenate(
        [rng.uniform(0, 1, 60), rng.uniform(0, 25, 30), 2.0 ** rng.uniform(-40, 0, 20)]
    )
    z = (z * rng.choice([-1, 1], len(z))).astype(dtype).astype(np.float64)
    # With an output of 0, that weight's slope is the mean of -1/2 tanh(z) and 1/2 tanh(0).
    network = mf.NetworkLoss([[1.0], [0.0]], [1, 0], n_hidden=1, dtype=dtype)
    thetas = np.zeros((len(z), 4))
    thetas[:, 0] = z
    found = -4 * network.batch_loss_gradient(thetas)[1][:, 2]
    assert found.tolist() == [as_proven(numbers, Fraction(number)) for number in z.tolist()]
