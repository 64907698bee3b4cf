# Rows of networks as Python holds them. Needs table.pxi, plan.pxi, results.pxi, evaluate.pxi,
# draws.pxi and rows.pxi.
#
# A network is a candidate as a linear model is: it is planned, drawn, dropped and shared among
# threads by the same code.

cimport cython
from libc.math cimport INFINITY, frexp, isfinite, ldexp
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Visits of an activation and its derivative, and of a row's losses by one output.
cdef double ACTIVATION_WORK = 30
cdef double OUTPUT_WORK = 30


# It is made anew from packed rows, which are pickled.
@cython.auto_pickle(False)
cdef class NetworkRows:
    """Rows, labels and penalty of networks of one hidden layer.

    Parameters
    ----------
    rows : PackedRows
        With the column of ones; any loss and penalty of its own count for nothing.
    labels : array of int
        Class of the row at each position of the panels.
    n_hidden, n_outputs : int
    is_relu : bool
    l2 : float
    """
    cdef PackedRows packed
    cdef Kernels kernels
    cdef Network network
    cdef const int[::1] labels
    cdef readonly Py_ssize_t n_params
    cdef double l2

    def __init__(self, PackedRows packed, const int[::1] labels, Py_ssize_t n_hidden,
                 Py_ssize_t n_outputs, bint is_relu, double l2):
        self.packed, self.labels, self.l2 = packed, labels, l2
        self.kernels = packed.kernels[0]
        self.kernels.evaluate_tile = self.kernels.evaluate_network
        self.network.labels, self.network.is_relu = &labels[0], is_relu
        self.network.n_hidden, self.network.n_outputs = n_hidden, n_outputs
        self.network.unit, self.network.vectors = 1, 0
        self.n_params = n_hidden * packed.rows.n_params + n_outputs * (n_hidden + 1)

    @property
    def work(self):
        """Visits of one candidate."""
        return self.packed.n_rows * self.row_work()

    cdef double row_work(self) noexcept:
        return (self.n_params + ACTIVATION_WORK * self.network.n_hidden
                + OUTPUT_WORK * self.network.n_outputs)

    def evaluate(self, const double[:, ::1] thetas, double[::1] losses, double[:, ::1] gradients,
                 int n_threads):
        """Write the loss of each theta and, unless None, its gradient.

        Returns False where a theta is not finite in the rows' precision.
        """
        cdef Py_ssize_t count = losses.shape[0], n_full
        cdef Py_ssize_t lanes = self.kernels.lanes, width = self.kernels.vector_lanes
        cdef double *slopes = NULL
        if gradients is not None:
            slopes = &gradients[0, 0]
        n_full = count // lanes * lanes
        # Of a tile by itself, those of its vectors are computed that hold candidates.
        if n_full == 0 or count - n_full > lanes - width:
            n_full = count
        if self.run(&thetas[0, 0], None, 0, INFINITY, n_full, &losses[0], slopes, n_threads) < 0:
            return False
        if n_full == count:
            return True
        if slopes != NULL:
            slopes += n_full * self.n_params
        return self.run(&thetas[n_full, 0], None, 0, INFINITY, count - n_full, &losses[n_full],
                        slopes, n_threads) >= 0

    def evaluate_below(self, const double[:, ::1] thetas, Draws draws, uint64_t start,
                       double threshold, double[::1] losses, int n_threads):
        """Write the losses up to a threshold, of thetas or, if that is None, of candidates start ..

        A loss above it may be written as infinity. Returns the part of the (row, candidate) pairs
        that was computed, or -1 where a theta is not finite.
        """
        cdef const double *at = NULL
        if thetas is None:
            draws.check(start, losses.shape[0])
        else:
            at = &thetas[0, 0]
        return self.run(at, draws, start, threshold, losses.shape[0], &losses[0], NULL, n_threads)

    cdef double run(self, const double *thetas, Draws draws, uint64_t start, double threshold,
                    Py_ssize_t count, double *losses, double *gradients,
                    int n_threads) except? -2:
        """Do what both ask; returns as `evaluate_below`."""
        cdef Plan plan
        cdef Rows rows = self.packed.rows
        cdef Network network = self.network
        cdef Py_ssize_t width = self.kernels.vector_lanes, n = self.n_params, i
        self.packed.plan_for(&plan, count, losses, n_threads)
        network.vectors = (min(count, self.kernels.lanes) + width - 1) // width
        rows.network = &network
        plan.kernels, plan.rows, plan.network = &self.kernels, &rows, &network
        plan.n_params, plan.few, plan.l2 = n, 0, self.l2
        plan.row_work = self.row_work()
        plan.scratch_size = max(plan.scratch_size * n // rows.n_params, aligned(
            self.kernels.network_memory(network.n_hidden, network.n_outputs)))
        if count * self.work < SERIAL_WORK:
            plan.n_threads = 1
        plan.thetas, plan.gradients, plan.threshold = thetas, gradients, threshold
        if thetas == NULL:
            plan.sampler, plan.start = &draws.sampler, start
        if not evaluate(&plan):
            return -1.0
        for i in range(count):
            if losses[i] != losses[i] or (
                    gradients != NULL and not all_finite(gradients + i * n, n)):
                self.evaluate_again(&plan, i, &rows, &network)
        # Where rows are so many that all threads share them, nothing is dropped.
        if plan.n_pairs == 0:
            return 1.0
        return min(1.0, plan.n_pairs / self.packed.n_rows / count)

    cdef int evaluate_again(self, const Plan *asked, Py_ssize_t i, Rows *rows,
                            Network *network) except -1:
        """Evaluate a candidate whose sums left the range, with weights far below 1."""
        cdef Plan plan = asked[0]
        cdef int exponent
        cdef double loss
        cdef Py_ssize_t n = self.n_params, j
        frexp(asked.total_weight, &exponent)
        network.unit, network.vectors = ldexp(1, -max(exponent, 0) - 8), 1
        plan.total_weight *= network.unit
        plan.threshold, plan.n_candidates, plan.losses = INFINITY, 1, &loss
        plan.start += i
        if plan.thetas != NULL:
            plan.thetas += i * n
        cdef double *found = NULL
        cdef double *gradient = asked.gradients + i * n
        if asked.gradients != NULL:
            found = <double *>malloc(n * sizeof(double))
            if found == NULL:
                raise MemoryError
        plan.gradients = found
        try:
            evaluate(&plan)
            if asked.losses[i] != asked.losses[i]:
                asked.losses[i] = overflow_to_infinity(loss)
            if found != NULL:
                for j in range(n):
                    if not isfinite(gradient[j]):
                        gradient[j] = overflow_to_infinity(found[j])
        finally:
            network.unit = 1
            free(found)
        return 0


cdef bint all_finite(const double *numbers, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        if not isfinite(numbers[j]):
            return False
    return True
