# Sparse rows and their columns: how they are sorted, what they are multiplied with, and losses of
# them. Needs structures.pxi, table.pxi, plan.pxi and tiles.pxi.
#
# Lines are shared among threads by blocks of 64; what is summed over lines is a sum of blocks in
# their order, whoever computed them.

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum: LINES = 64
# Blocks of a task: a few thousand numbers, beside which it costs nothing to be taken.
cdef enum: BLOCKS_OF_TASK = 4
# Visits that a number of a line takes in each lane, which comes from memory.
cdef double NUMBER_WORK = 4
# Bytes that are kept from one call to the next, at most: the system hands fresh ones out page by
# page, filled with zeros.
cdef Py_ssize_t KEPT = 64 * 1024 * 1024
# Numbers sorted between two looks at signals.
cdef Py_ssize_t SORTED_AT_ONCE = 10_000_000


def sort_lines(const int[::1] lines, const int[::1] places, const double[::1] numbers,
               Py_ssize_t[::1] starts, int[::1] sorted_places, double[::1] sorted_numbers):
    """Sort numbers by their lines, those of a line in the order in which they are given.

    `starts` has an entry more than there are lines, all 0.
    """
    cdef Py_ssize_t n = starts.shape[0] - 1, at, line, last
    cdef Py_ssize_t *nexts = <Py_ssize_t *>malloc((n + 1) * sizeof(Py_ssize_t))
    if nexts == NULL:
        raise MemoryError
    try:
        for at in range(lines.shape[0]):
            starts[lines[at] + 1] += 1
        for line in range(n):
            starts[line + 1] += starts[line]
        memcpy(nexts, &starts[0], n * sizeof(Py_ssize_t))
        at = 0
        while at < lines.shape[0]:
            last = min(lines.shape[0], at + SORTED_AT_ONCE)
            with nogil:
                while at < last:
                    line = lines[at]
                    sorted_places[nexts[line]] = places[at]
                    sorted_numbers[nexts[line]] = numbers[at]
                    nexts[line] += 1
                    at += 1
            PyErr_CheckSignals()
    finally:
        free(nexts)


cdef int lanes_for(Py_ssize_t count) noexcept nogil:
    """Return the lanes that so many vectors, or the first of them, stand in."""
    return 1 if count == 1 else PANEL if count <= PANEL else SPARSE_LANES


cdef struct SparsePlan:
    const Kernels *kernels
    Sparse rows, columns
    Py_ssize_t first_block, n_blocks
    # Of products.
    const double *x
    double *out
    int lanes
    # Of losses: signs and weights of the rows; where the thetas are, and where gradients go; sums
    # of each block of rows, losses and slopes along the intercept.
    const double *signs
    const double *weights
    const double *thetas
    double *slopes
    double *gradients
    double *sums
    double l2
    Py_ssize_t n_params
    int count
    bint has_intercept
    # Of steps.
    SparseStep *step
    SparseMove *motion


ctypedef void (*SparseTask)(const SparsePlan *, Py_ssize_t, int) noexcept nogil
ctypedef void (*BlockTask)(const SparsePlan *, Py_ssize_t) noexcept nogil


cdef int share_blocks(SparsePlan *plan, SparseTask task, Py_ssize_t n_lines, double work,
                      int n_threads) except -1:
    """Do a task for all blocks of so many lines, which make so much work together."""
    cdef Py_ssize_t n_tasks = (n_lines + LINES * BLOCKS_OF_TASK - 1) // (LINES * BLOCKS_OF_TASK)
    cdef Py_ssize_t first = 0, wave
    n_threads = metaopt_team(n_threads, work)
    plan.n_blocks = (n_lines + LINES - 1) // LINES
    wave = <Py_ssize_t>min(<double>n_tasks,
                           max(<double>n_threads, n_threads * SLICE_WORK / (work / n_tasks + 1)))
    while first < n_tasks:
        wave = min(wave, n_tasks - first)
        plan.first_block = first * BLOCKS_OF_TASK
        if work < SERIAL_WORK:
            metaopt_share[SparsePlan](task, plan, wave, 1, work)
        else:
            with nogil:
                metaopt_share[SparsePlan](task, plan, wave, n_threads, work * wave / n_tasks)
        first += wave
        PyErr_CheckSignals()
    return 0


cdef void each_block(const SparsePlan *plan, Py_ssize_t number, BlockTask task) noexcept nogil:
    """Do a task for the blocks of one that is shared."""
    cdef Py_ssize_t first = plan.first_block + number * BLOCKS_OF_TASK, block
    for block in range(first, min(first + BLOCKS_OF_TASK, plan.n_blocks)):
        task(plan, block)


cdef void multiply_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    cdef Py_ssize_t first = block * LINES, last = min(first + LINES, plan.rows.n_lines)
    plan.kernels.sparse_products(&plan.rows, first, last, plan.x, plan.lanes,
                                 plan.out + first * plan.lanes)


cdef void multiply_blocks(const SparsePlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    each_block(plan, number, multiply_block)


cdef double product_work(const Sparse *matrix, int lanes) noexcept nogil:
    """Return the visits of a product of all lines."""
    return lanes * (NUMBER_WORK * matrix.starts[matrix.n_lines] + 20 * <double>matrix.n_lines)


# It is made anew from lists that are pickled.
@cython.auto_pickle(False)
cdef class SparseMatrix:
    """Lines of numbers: those of line i are at starts[i] up to starts[i + 1], `places` ascending.

    Parameters
    ----------
    starts : array of shape (n_lines + 1,)
    places, numbers : arrays of shape (n_numbers,)
    """
    cdef Sparse matrix
    cdef const Py_ssize_t[::1] starts
    cdef const int[::1] places
    cdef const double[::1] numbers

    def __init__(self, const Py_ssize_t[::1] starts, const int[::1] places,
                 const double[::1] numbers):
        self.starts, self.places, self.numbers = starts, places, numbers
        self.matrix.starts, self.matrix.n_lines = &starts[0], starts.shape[0] - 1
        self.matrix.places, self.matrix.numbers = &places[0], &numbers[0]

    def times(self, const double[:, ::1] x, double[:, ::1] out, int n_threads):
        """Write the product of each line with 1, 8 or 24 vectors: x[place][vector],
        out[line][vector]."""
        cdef SparsePlan plan
        plan.kernels, plan.rows, plan.lanes = table(0, False), self.matrix, <int>x.shape[1]
        plan.x, plan.out = &x[0, 0], &out[0, 0]
        share_blocks(&plan, multiply_blocks, self.matrix.n_lines,
                     product_work(&self.matrix, plan.lanes), n_threads)


cdef void lose_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    """Write the losses of a block of rows, and their slopes."""
    cdef double[LINES * SPARSE_LANES] z
    cdef double[LINES * SPARSE_LANES] values
    cdef int lanes = plan.lanes, lane
    cdef Py_ssize_t first = block * LINES, n = min(<Py_ssize_t>LINES, plan.rows.n_lines - first)
    cdef Py_ssize_t row
    cdef double *slopes = plan.slopes + first * lanes
    cdef double *sums = plan.sums + 2 * block * lanes
    cdef const double *shift = plan.x + plan.columns.n_lines * lanes
    plan.kernels.sparse_products(&plan.rows, first, first + n, plan.x, lanes, z)
    if plan.has_intercept:
        for row in range(n):
            for lane in range(lanes):
                z[row * lanes + lane] += plan.signs[first + row] * shift[lane]
    plan.kernels.pointwise(z, n * lanes, values, slopes)
    plan.kernels.weigh_rows(values, slopes, plan.weights + first, plan.signs + first, n, lanes,
                            sums)


cdef void lose_blocks(const SparsePlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    each_block(plan, number, lose_block)


cdef void climb_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    """Write the gradients for a block of columns."""
    cdef double[LINES * SPARSE_LANES] found
    cdef Py_ssize_t first = block * LINES, n = min(<Py_ssize_t>LINES, plan.columns.n_lines - first)
    plan.kernels.sparse_products(&plan.columns, first, first + n, plan.slopes, plan.lanes, found)
    plan.kernels.write_lanes(found, n, plan.lanes, plan.count, plan.thetas + first, plan.l2,
                             plan.n_params, plan.gradients + first)


cdef void climb_blocks(const SparsePlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    each_block(plan, number, climb_block)


cdef double sum_of_blocks(const double *sums, Py_ssize_t n_blocks, Py_ssize_t step) noexcept nogil:
    """Return a sum of blocks, in their order; infinity where it leaves the range."""
    cdef double high = 0, low = 0
    cdef Py_ssize_t block
    for block in range(n_blocks):
        add_exactly(&high, &low, sums[block * step])
    return high + low


@cython.auto_pickle(False)
cdef class SparseLosses:
    """Mean losses of sparse rows, with a penalty, for one theta or many.

    Parameters
    ----------
    loss : int
        Number of the pointwise loss, of LOSSES.
    rows, columns : SparseMatrix
        Of margins' opposites: rows of the positive class are multiplied by -1.
    signs, weights : arrays of shape (n_rows,)
        Signs of the classes, -1 of the positive one; weights that sum to 1.
    has_intercept : bool
    l2 : float
    """
    cdef const Kernels *kernels
    cdef SparseMatrix rows, columns
    cdef const double[::1] signs, weights
    cdef bint has_intercept
    cdef double l2
    cdef readonly Py_ssize_t n_params
    # What the last call worked with, unless another one is at work with it.
    cdef void *kept
    cdef Py_ssize_t n_kept

    def __init__(self, int loss, SparseMatrix rows, SparseMatrix columns,
                 const double[::1] signs, const double[::1] weights, bint has_intercept,
                 double l2):
        self.kernels, self.rows, self.columns = table(loss, False), rows, columns
        self.signs, self.weights, self.l2 = signs, weights, l2
        self.has_intercept = has_intercept
        self.n_params = columns.matrix.n_lines + has_intercept

    def __dealloc__(self):
        free(self.kept)

    cdef void *take_memory(self, Py_ssize_t *size) except NULL:
        """Return so many bytes: those of the last call, where they are enough and not in use."""
        cdef void *memory
        cdef Py_ssize_t n_kept
        with cython.critical_section(self):  # threads may call at once
            memory, n_kept = self.kept, self.n_kept
            self.kept = NULL
        if memory != NULL and n_kept >= size[0]:
            size[0] = n_kept
            return memory
        free(memory)
        memory = malloc(size[0])
        if memory == NULL:
            raise MemoryError
        return memory

    cdef void give_back(self, void *memory, Py_ssize_t size) noexcept:
        """Keep the bytes of a call for the next one, unless they are many."""
        with cython.critical_section(self):
            if size <= KEPT and self.kept == NULL:
                self.kept, self.n_kept = memory, size
                memory = NULL
        free(memory)

    def find(self, const double[:, ::1] thetas, double[::1] losses, double[:, ::1] gradients,
             int n_threads):
        """Write the losses of finite thetas and, unless that is None, their gradients."""
        cdef SparsePlan plan
        cdef Py_ssize_t n_rows = self.rows.matrix.n_lines, n_blocks = (n_rows + LINES - 1) // LINES
        cdef Py_ssize_t most = lanes_for(thetas.shape[0]), first = 0
        cdef Py_ssize_t n_x = aligned(self.n_params * most), n_slopes = aligned(n_rows * most)
        cdef Py_ssize_t size = ALIGNMENT + (n_x + n_slopes + 2 * n_blocks * most) * sizeof(double)
        cdef void *memory = self.take_memory(&size)
        plan.kernels, plan.rows, plan.columns = (
            self.kernels, self.rows.matrix, self.columns.matrix)
        plan.signs, plan.weights = &self.signs[0], &self.weights[0]
        plan.has_intercept, plan.l2, plan.n_params = self.has_intercept, self.l2, self.n_params
        cdef double *tile = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
        plan.slopes, plan.sums = tile + n_x, tile + n_x + n_slopes
        try:
            while first < thetas.shape[0]:
                plan.lanes = lanes_for(thetas.shape[0] - first)
                plan.count = <int>min(<Py_ssize_t>plan.lanes, thetas.shape[0] - first)
                plan.x = plan.thetas = &thetas[first, 0]
                if plan.lanes > 1:
                    with nogil:
                        self.kernels.read_lanes(plan.thetas, plan.count, self.n_params,
                                                plan.lanes, tile)
                    plan.x = tile
                plan.gradients = NULL
                if gradients is not None:
                    plan.gradients = &gradients[first, 0]
                self.find_lanes(&plan, &losses[first], n_threads)
                first += plan.count
        finally:
            self.give_back(memory, size)

    cdef int find_lanes(self, SparsePlan *plan, double *losses, int n_threads) except -1:
        """Evaluate thetas that stand side by side."""
        cdef Py_ssize_t n_features = plan.columns.n_lines, n_blocks, step = 2 * plan.lanes
        cdef double square, loss
        cdef int lane
        share_blocks(plan, lose_blocks, plan.rows.n_lines, product_work(&plan.rows, plan.lanes),
                     n_threads)
        n_blocks = plan.n_blocks
        for lane in range(plan.count):
            loss = sum_of_blocks(plan.sums + lane, n_blocks, step)
            if plan.l2 > 0:
                square = self.kernels.dot(plan.thetas + lane * plan.n_params,
                                          plan.thetas + lane * plan.n_params, n_features)
                loss += plan.l2 / 2 * square
            losses[lane] = loss
        if plan.gradients == NULL:
            return 0
        if plan.has_intercept:
            for lane in range(plan.count):
                plan.gradients[lane * plan.n_params + n_features] = sum_of_blocks(
                    plan.sums + plan.lanes + lane, n_blocks, step)
        share_blocks(plan, climb_blocks, n_features, product_work(&plan.columns, plan.lanes),
                     n_threads)
        return 0
