# exp, log and their kin, of each element of an array. Needs table.pxi.

cdef void apply(Elementwise function, const double[::1] x, double[::1] out):
    if x.shape[0] > 0:
        with nogil:
            function(&x[0], x.shape[0], &out[0])


def exp(const double[::1] x, double[::1] out):
    """Write exp(x)."""
    apply(table(0, False).exp, x, out)


def expm1(const double[::1] x, double[::1] out):
    """Write exp(x) - 1."""
    apply(table(0, False).expm1, x, out)


def log(const double[::1] x, double[::1] out):
    """Write the natural logarithm of x; below 0, NaN."""
    apply(table(0, False).log, x, out)


def log1p(const double[::1] x, double[::1] out):
    """Write log(1 + x); below -1, NaN."""
    apply(table(0, False).log1p, x, out)


def log2(const double[::1] x, double[::1] out):
    """Write the logarithm of x to base 2; below 0, NaN."""
    apply(table(0, False).log2, x, out)
