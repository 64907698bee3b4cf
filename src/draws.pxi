# Candidates drawn by number. Needs table.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Numbers drawn between two looks at signals, 10 to 40 ms.
cdef Py_ssize_t DRAWS_AT_ONCE = 2_500_000
# Work of a number that is drawn and counted, and bytes of draws that are to be counted, beyond
# those of one thread.
cdef double COUNTED_WORK = 60
cdef Py_ssize_t COUNTED_BYTES = 256 * 1024 * 1024


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


cdef struct DrawTally:
    # Rows of counts of n numbers each, and room for the draws of some lanes, for each thread.
    const Kernels *kernels
    const Sampler *sampler
    uint64_t start
    Py_ssize_t n, lanes, n_rows
    unsigned char *counts
    double *memory


cdef void count_lanes(const DrawTally *tally, Py_ssize_t index, int thread) noexcept nogil:
    """Count what some candidates have drawn."""
    cdef Py_ssize_t lanes = tally.lanes, n = tally.n, first = index * lanes, j, lane
    cdef Py_ssize_t count = min(lanes, tally.n_rows - first)
    cdef double *tile = tally.memory + thread * n * (lanes + PANEL)
    cdef unsigned char *counts = tally.counts + first * n
    tally.kernels.draw(tally.sampler, tally.start + first, lanes, tile, tile + n * lanes)
    memset(counts, 0, count * n)
    for j in range(n):
        for lane in range(count):
            counts[lane * n + <Py_ssize_t>tile[j * lanes + lane]] += 1


cdef class Draws:
    """A sampler of candidates as the kernels read it: arrays over parameters, and the seed."""
    cdef Sampler sampler
    cdef const unsigned char[::1] transform
    cdef const double[::1] a, b, c
    cdef bint bounded
    # Candidates from it on there are none.
    cdef uint64_t stop

    def __init__(self, const unsigned char[::1] transform, const double[::1] a,
                 const double[::1] b, const double[::1] c, uint64_t seed):
        self.transform, self.a, self.b, self.c = transform, a, b, c
        self.sampler.transform = &transform[0]
        self.sampler.a, self.sampler.b, self.sampler.c = &a[0], &b[0], &c[0]
        self.sampler.n_params, self.sampler.seed = transform.shape[0], seed
        self.stop = <uint64_t>1 << 63
        # No draw can be infinite: normal numbers are less than 9 in size, uniform ones than 1.
        cdef Py_ssize_t j
        self.bounded = True
        for j in range(transform.shape[0]):
            self.bounded &= isfinite(abs(a[j]) + 9 * abs(b[j]))

    cdef int check(self, uint64_t start, Py_ssize_t count) except -1:
        """Raise ValueError where there are no such candidates."""
        if start + count > self.stop:
            raise ValueError(f"candidate {start + count - 1} is beyond the last one, "
                             f"{self.stop - 1}: pass a smaller start or count.")
        return 0

    def sample(self, uint64_t start, double[:, ::1] out):
        """Write candidates start .. into the rows of `out`; False where one is not finite."""
        self.check(start, out.shape[0])
        cdef const Kernels *kernels = table(0, False)
        cdef Py_ssize_t n_params = out.shape[1], first = 0, count, lane, j
        cdef Py_ssize_t lanes = min(<Py_ssize_t>kernels.lanes, out.shape[0])
        cdef double *tile = <double *>malloc(n_params * (lanes + PANEL) * sizeof(double))
        if tile == NULL:
            raise MemoryError
        cdef double *scratch = tile + n_params * lanes
        cdef Py_ssize_t until, n_unchecked = lanes if self.bounded else 0
        cdef bint finite = True
        try:
            while first < out.shape[0]:
                until = min(out.shape[0], first + max(1, DRAWS_AT_ONCE // n_params))
                with nogil:
                    while first < until:
                        kernels.draw(&self.sampler, start + first, lanes, tile, scratch)
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

    def count(self, uint64_t start, unsigned char[::1] out, int n_threads):
        """Write how often candidates start .. have drawn each of the numbers 0 .. n_params - 1,
        which are all that they draw, modulo 256: n_params counts of each, one after the other."""
        cdef DrawTally tally
        tally.n, tally.counts = self.sampler.n_params, &out[0]
        tally.n_rows = out.shape[0] // tally.n
        self.check(start, tally.n_rows)
        tally.kernels, tally.sampler, tally.start = table(0, False), &self.sampler, start
        tally.lanes = tally.kernels.lanes
        cdef Py_ssize_t size = tally.n * (tally.lanes + PANEL) * sizeof(double)
        n_threads = min(n_threads, max(1, COUNTED_BYTES // size))
        tally.memory = <double *>malloc(n_threads * size)
        if tally.memory == NULL:
            raise MemoryError
        with nogil:
            metaopt_share[DrawTally](
                count_lanes, &tally, (tally.n_rows + tally.lanes - 1) // tally.lanes, n_threads,
                COUNTED_WORK * tally.n * tally.n_rows)
        free(tally.memory)


cdef class SparseDraws(Draws):
    """A sampler that keeps n_kept of its parameters, n_certain of them in any case.

    The arrays have twice as many entries as there are parameters: behind those of the parameters,
    those of their keys, of which the lowest are kept. Keys are within (0, 1], those of the
    parameters that are certain below 0.
    """

    def __init__(self, const unsigned char[::1] transform, const double[::1] a,
                 const double[::1] b, const double[::1] c, uint64_t seed, Py_ssize_t n_kept,
                 Py_ssize_t n_certain):
        super().__init__(transform, a, b, c, seed)
        self.sampler.n_params //= 2
        self.sampler.n_kept, self.sampler.n_certain = n_kept, n_certain


cdef class NumberedDraws(Draws):
    """The first n_models vectors of a box, by number: see whole.hpp."""
    cdef const double[:, ::1] ways
    cdef const double[::1] firsts

    def __init__(self, const unsigned char[::1] transform, const double[::1] a,
                 const double[::1] b, const double[::1] c, const double[:, ::1] ways,
                 const double[::1] firsts, uint64_t n_models):
        super().__init__(transform, a, b, c, 0)
        self.ways, self.firsts, self.stop = ways, firsts, n_models
        self.sampler.ways, self.sampler.firsts = &ways[0, 0], &firsts[0]
        self.sampler.max_nonzero = ways.shape[1] - 1
