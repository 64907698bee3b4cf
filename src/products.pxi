# Products of matrices in a fixed order of sums, where a BLAS would choose another one by the
# processor and the threads. Needs table.pxi and plan.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport sqrt
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Rows of the left matrix that one call of the kernel multiplies.
cdef enum: ROWS_AT_ONCE = 64
# Entries of a row that are summed before they join the sum in memory: a tile of as many stays in
# the second-level cache.
cdef enum: COLUMNS_AT_ONCE = 256
# Rows whose products of pairs are added up in single precision, and of those, the rows whose
# products are written by one thread.
cdef enum: PAIR_ROWS = 512
cdef enum: PAIR_ROWS_AT_ONCE = 32
# Rows and columns of a matrix that are copied to the other side of its diagonal together.
cdef enum: MIRRORED_AT_ONCE = 32
# Products between two looks at signals, for each thread.
cdef double PRODUCTS_AT_ONCE = 1e9


def products(const double[:, ::1] thetas, const double[:, ::1] X, double[:, ::1] out):
    """Write thetas X': sums in the order of the columns, on the calling thread."""
    if thetas.shape[0] == 0 or X.shape[0] == 0:
        return
    # Many thetas share a reading of the rows in lanes; of few, the lanes would be idle.
    if thetas.shape[0] > table(0, False).lanes:
        multiply(X, thetas, &out[0, 0], 1, X.shape[0])
    else:
        multiply(thetas, X, &out[0, 0], X.shape[0], 1)


cdef int multiply(const double[:, ::1] in_lanes, const double[:, ::1] rows, double *out,
                  Py_ssize_t lane_step, Py_ssize_t row_step) except -1:
    """Write the products of each row with what lies in the lanes, in steps of `out`."""
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t n = rows.shape[1], lanes = kernels.lanes, first, row, until, count, n_rows
    cdef Py_ssize_t slice = max(1, <Py_ssize_t>(PRODUCTS_AT_ONCE / ROWS_AT_ONCE / lanes / (n + 1)))
    cdef Py_ssize_t i, lane
    cdef char *memory = <char *>malloc(ALIGNMENT + (n + ROWS_AT_ONCE) * lanes * sizeof(double))
    if memory == NULL:
        raise MemoryError
    cdef double *tile = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    cdef double *found = tile + n * lanes
    cdef double *to
    try:
        for first in range(0, in_lanes.shape[0], lanes):
            count, row = min(lanes, in_lanes.shape[0] - first), 0
            kernels.pack_thetas(&in_lanes[first, 0], count, n, lanes, tile)
            while row < rows.shape[0]:
                until = min(rows.shape[0], row + slice * ROWS_AT_ONCE)
                with nogil:
                    while row < until:
                        n_rows = min(ROWS_AT_ONCE, until - row)
                        kernels.products(&rows[row, 0], n_rows, n, n, tile, count, found)
                        for i in range(n_rows):
                            to = out + first * lane_step + (row + i) * row_step
                            for lane in range(count):
                                to[lane * lane_step] = found[i * lanes + lane]
                        row += n_rows
                PyErr_CheckSignals()
    finally:
        free(memory)
    return 0


cdef struct GramPlan:
    const Kernels *kernels
    const double *rows
    double *out
    # Tiles from last_tile downwards: the last ones are the longest, and come first.
    Py_ssize_t n_rows, n_columns, tile_size, last_tile
    # Of each thread.
    double *tiles


cdef void add_gram_tile(const GramPlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    """Add the products of the rows of one tile with all rows up to its last one."""
    cdef Py_ssize_t index = plan.last_tile - number
    cdef double *tile = plan.tiles + thread * plan.tile_size
    cdef Py_ssize_t lanes = plan.kernels.lanes, m = plan.n_rows, n = plan.n_columns
    cdef Py_ssize_t first = index * lanes, count = min(lanes, m - first)
    cdef Py_ssize_t column, width, row, n_rows, i, lane
    cdef double *found = tile + COLUMNS_AT_ONCE * lanes
    cdef double *out
    column = 0
    while column < n:
        width = min(COLUMNS_AT_ONCE, n - column)
        for i in range(width):
            for lane in range(lanes):
                tile[i * lanes + lane] = (
                    plan.rows[(first + lane) * n + column + i] if lane < count else 0)
        row = 0
        while row < first + count:
            n_rows = min(ROWS_AT_ONCE, first + count - row)
            plan.kernels.products(plan.rows + row * n + column, n_rows, n, width, tile, count,
                                  found)
            for lane in range(count):
                out = plan.out + (first + lane) * m + row
                for i in range(n_rows):
                    out[i] += found[i * lanes + lane]
            row += n_rows
        column += width


cdef void mirror(double *matrix, Py_ssize_t n) noexcept nogil:
    """Copy what is below the diagonal to what is above it, in squares that caches hold."""
    cdef Py_ssize_t first = 0, start, row, column
    while first < n:
        start = 0
        while start <= first:
            for row in range(first, min(n, first + MIRRORED_AT_ONCE)):
                for column in range(start, min(row, start + MIRRORED_AT_ONCE)):
                    matrix[column * n + row] = matrix[row * n + column]
            start += MIRRORED_AT_ONCE
        first += MIRRORED_AT_ONCE


def add_gram(const double[:, ::1] rows, double[:, ::1] out, int n_threads):
    """Add rows rows' to `out`, a symmetric matrix.

    Each entry is a sum in the order of the columns, COLUMNS_AT_ONCE of them at a time.
    """
    cdef GramPlan plan
    cdef Py_ssize_t lanes, n_tiles, wave
    cdef double work
    plan.kernels = table(0, False)
    lanes = plan.kernels.lanes
    plan.n_rows, plan.n_columns = rows.shape[0], rows.shape[1]
    plan.rows, plan.out = &rows[0, 0], &out[0, 0]
    n_tiles = (plan.n_rows + lanes - 1) // lanes
    work = <double>plan.n_rows * plan.n_rows * plan.n_columns / 8
    n_threads = metaopt_team(n_threads, work)
    plan.tile_size = (COLUMNS_AT_ONCE + ROWS_AT_ONCE) * lanes
    wave = n_threads * max(1, <Py_ssize_t>(
        PRODUCTS_AT_ONCE / lanes / plan.n_rows / plan.n_columns))
    cdef char *memory = <char *>malloc(ALIGNMENT + n_threads * plan.tile_size * sizeof(double))
    if memory == NULL:
        raise MemoryError
    plan.tiles = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.last_tile = n_tiles - 1
    try:
        while plan.last_tile >= 0:
            wave = min(wave, plan.last_tile + 1)
            with nogil:
                metaopt_share[GramPlan](add_gram_tile, &plan, wave, n_threads,
                                        work * wave / n_tiles)
            plan.last_tile -= wave
            PyErr_CheckSignals()
    finally:
        free(memory)
    with nogil:
        mirror(plan.out, plan.n_rows)


cdef struct PairPlan:
    const Kernels *kernels
    PairGram gram
    const float *rows
    # Of each thread.
    float *scratch
    Py_ssize_t scratch_size


cdef void spread_some_pairs(const PairPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Write the products of a few rows."""
    cdef float *scratch = plan.scratch + thread * plan.scratch_size
    cdef Py_ssize_t row = index * PAIR_ROWS_AT_ONCE
    for row in range(row, min(row + PAIR_ROWS_AT_ONCE, plan.gram.n_rows)):
        plan.kernels.spread_pairs(&plan.gram, plan.rows + row * plan.gram.n_numbers, row, scratch)


cdef void add_pairs_of_tile(const PairPlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    # The last tiles are the longest, and come first.
    plan.kernels.add_pair_gram(&plan.gram, plan.gram.n_tiles - 1 - number)


def add_pair_gram(const float[:, ::1] rows, double[:, ::1] out, int n_threads):
    """Add the products of all pairs with each other, summed over rows, to `out`.

    The pairs of a row are the products of each two of its numbers a <= b: columns have them in the
    order of b and then a, rows in that of a downwards and then b. Written are those of pairs whose
    larger number is no more than the other one's lesser; `pair_covariance` has the rest of them.
    PAIR_ROWS rows at a time are summed in single precision.
    """
    cdef PairPlan plan
    cdef PairGram *gram = &plan.gram
    cdef Py_ssize_t lanes, panels_size, tiles_size, first = 0
    cdef double work
    plan.kernels, gram.n_numbers = table(0, False), rows.shape[1]
    lanes = 2 * plan.kernels.lanes
    gram.n_pairs, gram.sums = out.shape[0], &out[0, 0]
    gram.n_tiles = (gram.n_pairs + lanes - 1) // lanes
    # Panels and tiles begin in different sets of a cache.
    gram.panel_size, gram.tile_size = (PAIR_ROWS + 2) * PANEL, PAIR_ROWS * lanes + 2 * PANEL
    panels_size = (gram.n_pairs + PANEL - 1) // PANEL * gram.panel_size
    tiles_size = gram.n_tiles * gram.tile_size
    plan.scratch_size = 2 * (gram.n_tiles + 1) * lanes
    cdef char *memory = <char *>malloc(ALIGNMENT + sizeof(float) * (
        panels_size + tiles_size + n_threads * plan.scratch_size))
    if memory == NULL:
        raise MemoryError
    gram.panels = <float *>aligned(<Py_ssize_t><uintptr_t>memory)
    gram.tiles, plan.scratch = gram.panels + panels_size, gram.panels + panels_size + tiles_size
    try:
        while first < rows.shape[0]:
            gram.n_rows = min(PAIR_ROWS, rows.shape[0] - first)
            plan.rows = &rows[first, 0]
            work = <double>gram.n_rows * gram.n_pairs
            with nogil:
                metaopt_share[PairPlan](
                    spread_some_pairs, &plan,
                    (gram.n_rows + PAIR_ROWS_AT_ONCE - 1) // PAIR_ROWS_AT_ONCE, n_threads,
                    10 * work)
                metaopt_share[PairPlan](add_pairs_of_tile, &plan, gram.n_tiles, n_threads,
                                        work * gram.n_pairs / 10)
            first += gram.n_rows
            PyErr_CheckSignals()
    finally:
        free(memory)


cdef inline Py_ssize_t by_larger(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Return the column of a pair a <= b."""
    return b * (b + 1) // 2 + a


cdef inline Py_ssize_t by_lesser(Py_ssize_t a, Py_ssize_t b, Py_ssize_t n) noexcept nogil:
    """Return the row of a pair a <= b of n numbers."""
    return (n - a) * (n - a - 1) // 2 + b - a


def pair_covariance(const double[:, ::1] sums, const double[:, ::1] moment, double[:, ::1] out):
    """Write the covariance of the products of pairs, those of different numbers times sqrt(2).

    `sums` are those of `add_pair_gram` over rows of a total mass of 1, `moment` those of the
    products themselves; pairs are in the order of n_pairs. Returns the sum of the squares.
    """
    cdef Py_ssize_t n = moment.shape[0], row = 0, column, k, m, i, j
    cdef double multiple, of_row, squares = 0
    with nogil:
        for k in range(n):
            for m in range(k, n):
                of_row, column = 1 if k == m else sqrt(2), 0
                for i in range(k + 1):
                    for j in range(i, n):
                        if column > row:
                            break
                        multiple = of_row if i == j else of_row * sqrt(2)
                        # i is the least of the four, as a pair (i, j) does not come after (k, m).
                        out[row, column] = multiple * (
                            sums[by_lesser(max(k, min(j, m)), max(j, m), n),
                                 by_larger(i, min(j, k))]
                            - moment[i, j] * moment[k, m])
                        column += 1
                squares += of_row * of_row * sums[by_lesser(m, m, n), by_larger(k, k)]
                row += 1
        mirror(&out[0, 0], row)
    return squares
