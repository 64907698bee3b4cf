# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, embedsignature=False, freethreading_compatible=True
"""The compiled part of metaopt_fast: packed rows, draws, and the choice of an instruction set.

evaluate.pxi and newton.pxi share the work of a call among threads; the arithmetic is in the C++
headers.
"""

from cython.parallel cimport prange, threadid
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN, isfinite
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import os

cdef extern from "kernels.hpp" namespace "metaopt" nogil:
    enum: PANEL
    enum: PANELS_PER_BLOCK
    enum: BLOCKS_PER_SPAN

    struct Rows:
        const void *panels
        const Py_ssize_t *first_panel
        const int *rows
        const double *weights
        const void *row_weights
        Py_ssize_t n_params
        double extent

    struct Sampler:
        const unsigned char *transform
        const double *a
        const double *b
        const double *c
        Py_ssize_t n_params
        uint64_t seed

    struct CarefulSum:
        double high
        double low

    ctypedef void (*Evaluate)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double *, void *,
                              void *) noexcept nogil

    ctypedef void (*Elementwise)(const double *, Py_ssize_t, double *) noexcept nogil

    struct Kernels:
        const char *loss
        int itemsize
        int lanes
        Evaluate evaluate_tile
        Evaluate evaluate_one
        void (*evaluate_wide)(const Rows *, Py_ssize_t, const void *, Py_ssize_t, double,
                              CarefulSum *, CarefulSum *, void *) noexcept nogil
        void (*pack_rows)(const double *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t, void *) noexcept nogil
        void (*pack_thetas)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                            void *) noexcept nogil
        void (*draw)(const Sampler *, uint64_t, Py_ssize_t, void *) noexcept nogil
        int (*find_excesses)(void *, Py_ssize_t, Py_ssize_t, double) noexcept nogil
        void (*shrink_thetas)(void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*add_hessian)(const Rows *, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t,
                            Py_ssize_t, double *) noexcept nogil
        void (*largest_margins)(const Rows *, Py_ssize_t, Py_ssize_t, const double *,
                                double *) noexcept nogil
        void (*factor_tile)(double *, Py_ssize_t, const double *, double *, double *,
                            double *) noexcept nogil
        void (*solve_tile)(const double *, Py_ssize_t, double *, double *) noexcept nogil
        Py_ssize_t (*system_stride)(Py_ssize_t) noexcept nogil
        void (*factor_one)(double *, Py_ssize_t, const double *, double *, double *,
                           double *) noexcept nogil
        void (*solve_one)(const double *, Py_ssize_t, double *, double *) noexcept nogil
        void (*make_reflections)(double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                 double *) noexcept nogil
        void (*reflect)(const double *, Py_ssize_t, const double *, Py_ssize_t, Py_ssize_t, int,
                        double *) noexcept nogil
        void (*find_ranges)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double,
                            double *) noexcept nogil
        void (*add_histograms)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double,
                               const double *, Py_ssize_t, double *) noexcept nogil
        void (*find_areas)(const double *, const double *, Py_ssize_t, double *,
                           double *) noexcept nogil
        void (*find_margins)(const Rows *, Py_ssize_t, Py_ssize_t, const void *,
                             double *) noexcept nogil
        double (*exact_area)(const Rows *, Py_ssize_t, const Rows *, Py_ssize_t, const void *,
                             void *) noexcept nogil
        void (*pointwise)(const void *, Py_ssize_t, void *, void *) noexcept nogil
        Elementwise exp
        Elementwise expm1
        Elementwise log
        Elementwise log1p
        Elementwise log2
        void (*products)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, int,
                         double *) noexcept nogil
        double (*fma_run)(Py_ssize_t) noexcept nogil
        double (*read_run)(const void *, Py_ssize_t) noexcept nogil

    const Kernels *metaopt_kernels_baseline(int, int) noexcept
    const Kernels *metaopt_kernels_avx2(int, int) noexcept
    const Kernels *metaopt_kernels_avx512(int, int) noexcept
    int metaopt_supports(const char *) noexcept

cdef extern from "threads.hpp" namespace "metaopt" nogil:
    bint METAOPT_OPENMP
    int metaopt_max_threads() noexcept
    int metaopt_release_threads_at_fork() noexcept

ctypedef const Kernels *(*KernelTable)(int, int) noexcept nogil

ctypedef fused real:
    float
    double

cdef Py_ssize_t ALIGNMENT = 64
# Numbers drawn between two looks at signals.
cdef Py_ssize_t DRAWS_AT_ONCE = 10_000_000
# ---------------------------------------------------------------------------- instruction sets

ISAS = ("avx512", "avx2", "baseline")


def supported_isas():
    """Names of the instruction sets that were compiled and run here, the widest first."""
    return [name for name in ISAS if metaopt_supports(name.encode())]


cdef KernelTable table
_forced = os.environ.get("METAOPT_FAST_ISA", "")
if _forced and _forced not in ISAS:
    raise ImportError(f"METAOPT_FAST_ISA is {_forced!r}: set it to 'baseline', 'avx2' or 'avx512', "
                      "or unset it for the widest that this processor supports.")
if _forced and _forced not in supported_isas():
    raise ImportError(f"METAOPT_FAST_ISA is {_forced!r}, which this processor does not support: "
                      f"set it to one of {', '.join(map(repr, supported_isas()))}, or unset it.")
_isa = _forced or supported_isas()[0]
if _isa == "avx512":
    table = metaopt_kernels_avx512
elif _isa == "avx2":
    table = metaopt_kernels_avx2
else:
    table = metaopt_kernels_baseline

# The numbers of the pointwise losses of losses.hpp, by name.
LOSSES = {}
while table(len(LOSSES), False) != NULL:
    LOSSES[table(len(LOSSES), False).loss.decode()] = len(LOSSES)

OPENMP = bool(METAOPT_OPENMP)
if metaopt_release_threads_at_fork() != 0:
    raise ImportError("pthread_atfork failed: the process has no memory left for the handler that "
                      "keeps forked children from hanging; free some, then import again.")


def isa():
    """Return the instruction set in use, and why: the widest supported, or METAOPT_FAST_ISA."""
    if _forced:
        return _isa, "METAOPT_FAST_ISA"
    return _isa, "the widest this processor supports"


def max_threads():
    """Threads that OpenMP would use: OMP_NUM_THREADS, omp_set_num_threads, or the processors."""
    return metaopt_max_threads()


include "evaluate.pxi"


def pack_rows(const double[:, ::1] X, const double[::1] signs, Py_ssize_t first,
              Py_ssize_t n_params, bint single_precision, unsigned char[::1] panels):
    """Write rows X, times their signs, into the panels from place `first` on, 8 to a panel."""
    cdef const Kernels *kernels = table(0, single_precision)
    with nogil:
        kernels.pack_rows(&X[0, 0], &signs[0], first, X.shape[0], X.shape[1], n_params, &panels[0])


def row_norms(const double[:, ::1] X, double[::1] norms):
    """Write the squared norm of each row: in one order of sums, unlike NumPy's on some layouts."""
    cdef Py_ssize_t i, j
    cdef double total
    with nogil:
        for i in range(X.shape[0]):
            total = 0
            for j in range(X.shape[1]):
                total += X[i, j] * X[i, j]
            norms[i] = total


cdef class PackedRows:
    """Rows as the kernels read them, and the weights and the penalty of an objective.

    Parameters
    ----------
    loss : int
        Number of the pointwise loss, of LOSSES.
    single_precision : bool
    n_params, n_penalised : int
        Columns of the rows; the first n_penalised are penalised.
    first_panel, block_rows, block_weights : arrays of shape (n_blocks,)
        Where each block starts, how many rows it holds (1..64), and their weight.
    panels, row_weights : arrays of bytes, aligned to 64
        What `pack_rows` wrote, and a weight of each row or None.
    total_weight, l2 : float
    extent : float
        The largest absolute value in the rows, 1 included where there is an intercept.
    """
    cdef const Kernels *kernels
    cdef Rows rows
    cdef const unsigned char[::1] panels
    cdef const unsigned char[::1] row_weights
    cdef const Py_ssize_t[::1] first_panel
    cdef const int[::1] block_rows
    cdef const double[::1] block_weights
    cdef Py_ssize_t n_penalised, n_rows
    cdef double total_weight, l2

    def __init__(self, int loss, bint single_precision, Py_ssize_t n_params, Py_ssize_t n_penalised,
                 const Py_ssize_t[::1] first_panel,
                 const int[::1] block_rows, const double[::1] block_weights,
                 const unsigned char[::1] panels, const unsigned char[::1] row_weights,
                 double total_weight, double l2, double extent):
        self.kernels = table(loss, single_precision)
        self.first_panel, self.block_rows = first_panel, block_rows
        self.block_weights = block_weights
        self.panels, self.row_weights = panels, row_weights
        self.n_penalised, self.n_rows = n_penalised, sum(block_rows)
        self.total_weight, self.l2 = total_weight, l2
        self.rows.panels = &panels[0]
        if row_weights is not None:
            self.rows.row_weights = &row_weights[0]
        self.rows.first_panel = &first_panel[0]
        self.rows.rows = &block_rows[0]
        self.rows.weights = &block_weights[0]
        self.rows.n_params, self.rows.extent = n_params, extent

    cdef void plan(self, Plan *plan, double[::1] losses, double[:, ::1] gradients, int n_threads):
        memset(plan, 0, sizeof(Plan))
        plan.kernels, plan.rows = self.kernels, &self.rows
        plan.n_params, plan.n_penalised = self.rows.n_params, self.n_penalised
        plan.n_blocks = self.block_rows.shape[0]
        plan.total_weight, plan.l2 = self.total_weight, self.l2
        plan.n_candidates = losses.shape[0]
        plan.losses = &losses[0]
        if gradients is not None:
            plan.gradients = &gradients[0, 0]
        plan.n_threads = n_threads
        plan.threshold = INFINITY

    def evaluate(self, const double[:, ::1] thetas, double[::1] losses, double[:, ::1] gradients,
                 int n_threads):
        """Write the loss of each theta and, unless None, its gradient.

        Returns False where a theta is not finite in the rows' precision.
        """
        cdef Plan plan
        # Over before a second thread is awake.
        if losses.shape[0] * work(self.n_rows, self.rows.n_params) < SERIAL_WORK:
            n_threads = 1
        self.plan(&plan, losses, gradients, n_threads)
        plan.thetas = &thetas[0, 0]
        return evaluate(&plan)

    def evaluate_drawn(self, Draws draws, uint64_t start, double[::1] losses, int n_threads):
        """Write the losses of candidates start .. of a sampler; returns as `evaluate` does."""
        cdef Plan plan
        self.plan(&plan, losses, None, n_threads)
        plan.sampler, plan.start = &draws.sampler, start
        return evaluate(&plan)

    def evaluate_below(self, const double[:, ::1] thetas, Draws draws, uint64_t start,
                       double threshold, double[::1] losses, int n_threads):
        """Write the losses up to a threshold, of thetas or, if that is None, of candidates start ..

        A loss above it may be written as infinity. Returns the part of the (row, candidate) pairs
        that was computed, or -1 where a theta is not finite.
        """
        cdef Plan plan
        self.plan(&plan, losses, None, n_threads)
        plan.threshold = threshold
        if thetas is None:
            plan.sampler, plan.start = &draws.sampler, start
        else:
            plan.thetas = &thetas[0, 0]
        if not evaluate(&plan):
            return -1.0
        # Where rows are so many that all threads share them, nothing is dropped.
        return plan.n_pairs / self.n_rows / losses.shape[0] if plan.n_pairs > 0 else 1.0


include "newton.pxi"
include "systems.pxi"
include "histogram.pxi"
include "products.pxi"
include "elementwise.pxi"

# --------------------------------------------------------------------------------- random numbers

cdef void transpose(const double *tile, Py_ssize_t lanes, Py_ssize_t count, Py_ssize_t n_params,
                    double *rows) noexcept nogil:
    # rows[lane][parameter] = tile[parameter][lane] of the first `count` lanes. In squares of two by
    # two, which compilers turn into shuffles: copied one by one, uniform numbers take as long again
    # as drawn.
    cdef Py_ssize_t lane, j
    cdef double a, b, c, d
    cdef double *row
    cdef const double *column
    for lane in range(0, count - 1, 2):
        row = rows + lane * n_params
        for j in range(0, n_params - 1, 2):
            column = tile + j * lanes + lane
            a, b, c, d = column[0], column[1], column[lanes], column[lanes + 1]
            row[j], row[j + 1], row[n_params + j], row[n_params + j + 1] = a, c, b, d
    if n_params % 2 == 1:
        for lane in range(count):
            rows[(lane + 1) * n_params - 1] = tile[(n_params - 1) * lanes + lane]
    if count % 2 == 1:
        for j in range(n_params):
            rows[(count - 1) * n_params + j] = tile[j * lanes + count - 1]


cdef class Draws:
    """A sampler of candidates as the kernels read it: arrays over parameters, and the seed."""
    cdef Sampler sampler
    cdef const unsigned char[::1] transform
    cdef const double[::1] a, b, c
    cdef bint bounded

    def __init__(self, const unsigned char[::1] transform, const double[::1] a,
                 const double[::1] b, const double[::1] c, uint64_t seed):
        self.transform, self.a, self.b, self.c = transform, a, b, c
        self.sampler.transform = &transform[0]
        self.sampler.a, self.sampler.b, self.sampler.c = &a[0], &b[0], &c[0]
        self.sampler.n_params, self.sampler.seed = transform.shape[0], seed
        # No draw can be infinite: normal numbers are less than 9 in size, uniform ones than 1.
        cdef Py_ssize_t j
        self.bounded = True
        for j in range(transform.shape[0]):
            self.bounded &= isfinite(abs(a[j]) + 9 * abs(b[j]))

    def sample(self, uint64_t start, double[:, ::1] out):
        """Write candidates start .. into the rows of `out`; False where one is not finite."""
        cdef const Kernels *kernels = table(0, False)
        cdef Py_ssize_t n_params = out.shape[1], first = 0, count, lane, j
        cdef Py_ssize_t lanes = min(<Py_ssize_t>kernels.lanes, out.shape[0])
        cdef double *tile = <double *>malloc(n_params * lanes * sizeof(double))
        if tile == NULL:
            raise MemoryError
        cdef Py_ssize_t until, n_unchecked = lanes if self.bounded else 0
        cdef bint finite = True
        try:
            while first < out.shape[0]:
                until = min(out.shape[0], first + max(1, DRAWS_AT_ONCE // n_params))
                with nogil:
                    while first < until:
                        kernels.draw(&self.sampler, start + first, lanes, tile)
                        count = min(lanes, out.shape[0] - first)
                        transpose(tile, lanes, count, n_params, &out[first, 0])
                        # Not every number: that takes half as long as to draw it.
                        for lane in range(n_unchecked, count):
                            for j in range(n_params):
                                finite &= isfinite(out[first + lane, j])
                        first += lanes
                PyErr_CheckSignals()
        finally:
            free(tile)
        return finite


# ------------------------------------------------------------ pointwise, and the machine's limits

def pointwise(int loss, const real[::1] z, real[::1] value, real[::1] derivative):
    """Write the loss and its derivative at each z."""
    cdef const Kernels *kernels = table(loss, real is float)
    with nogil:
        kernels.pointwise(&z[0], z.shape[0], &value[0], &derivative[0])


def fma_run(bint single_precision, Py_ssize_t iterations, int n_threads):
    """Do a run of independent FMAs on each thread; return the floating-point operations done."""
    cdef const Kernels *kernels = table(0, single_precision)
    cdef double operations = 0
    cdef int _thread
    with nogil:
        for _thread in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
            operations += kernels.fma_run(iterations)
    return operations


def read_run(const unsigned char[::1] memory, int n_threads):
    """Read memory once, a part on each thread; return a sum that depends on all of it."""
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t part = memory.shape[0] // n_threads // 4096 * 4096
    cdef double total = 0
    cdef int thread
    with nogil:
        for thread in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
            total += kernels.read_run(&memory[0] + thread * part, part)
    return total
