# exp, log and their kin, of each element of an array; what descents do. Needs table.pxi.

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


def adam(const double[:, ::1] numbers, const double[:, ::1] theta, const double[:, ::1] gradient,
         double[:, ::1] mean, double[:, ::1] squares, double[:, ::1] out):
    """Write thetas one step of Adam on; the means of gradients and of their squares follow.

    `numbers` has beta1, 1 - beta1, beta2, 1 - beta2, eps, sqrt(1 - beta2^t) and
    rate / (1 - beta1^t) of each run.
    """
    cdef const Kernels *kernels = table(0, False)
    cdef AdamRun run
    cdef Py_ssize_t k
    for k in range(theta.shape[0]):
        run.theta, run.gradient = &theta[k, 0], &gradient[k, 0]
        run.mean, run.squares, run.out = &mean[k, 0], &squares[k, 0], &out[k, 0]
        run.beta1, run.rest1 = numbers[k, 0], numbers[k, 1]
        run.beta2, run.rest2 = numbers[k, 2], numbers[k, 3]
        run.eps, run.root, run.rate = numbers[k, 4], numbers[k, 5], numbers[k, 6]
        with nogil:
            kernels.adam(&run, theta.shape[1])


def add_squares(const double[:, ::1] thetas, const double[::1] kept, const double[::1] strengths,
                double[:, ::1] gradients, double[:, ::1] terms):
    """Add the gradients of strength / 2 times the sums of squares of what is kept of thetas; the
    rows of `terms` sum to their values."""
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t k
    for k in range(thetas.shape[0]):
        kernels.add_squares(&thetas[k, 0], &kept[0], strengths[k], thetas.shape[1],
                            &gradients[k, 0], &terms[k, 0])
