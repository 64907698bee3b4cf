# Hessians of many candidates, and how far steps move margins. Needs table.pxi, plan.pxi and
# sets.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# Bytes of matrices at work, for each thread.
cdef Py_ssize_t MATRIX_MEMORY = 8 * 1024 * 1024


def n_pairs(Py_ssize_t n_params):
    """Return the entries of a symmetric matrix as it is stored: (j, k), j <= k, row by row."""
    return n_params * (n_params + 1) // 2


cdef inline Py_ssize_t pair_of(Py_ssize_t n, Py_ssize_t row) noexcept nogil:
    return row * n - row * (row - 1) // 2


cdef struct HessianPlan:
    # Of each set; and of each candidate, which it is of.
    const Plan *sets
    const Py_ssize_t *which
    Py_ssize_t n, n_parts, first_unit, first_block, last_block
    # [candidate]: theta and its excess; pairs, in lanes: of each thread, whose cache has them, or
    # of each unit where that is done in pieces.
    double *thetas
    double *lanes
    double *hessians
    bint in_pieces


cdef inline Py_ssize_t first_row(const HessianPlan *plan, Py_ssize_t part) noexcept nogil:
    """Return the row of the matrix with which a part begins: parts are about equally large."""
    cdef Py_ssize_t n = plan.n, row = 0
    while pair_of(n, row) * plan.n_parts < pair_of(n, n) * part:
        row += 1
    return row


cdef void add_unit(const HessianPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Add some blocks to one part of the matrix of a candidate, and write it after the last."""
    cdef Py_ssize_t n = plan.n, unit = plan.first_unit + index
    cdef Py_ssize_t candidate = unit // plan.n_parts, part = unit % plan.n_parts
    cdef const Plan *own = plan.sets + plan.which[candidate]
    cdef Py_ssize_t last_block = min(plan.last_block, own.n_blocks)
    cdef double *lanes = plan.lanes
    lanes += (index if plan.in_pieces else thread) * pair_of(n, n) * PANEL
    if plan.first_block >= last_block:
        return
    if plan.first_block == 0:
        memset(lanes, 0, pair_of(n, n) * PANEL * sizeof(double))
    own.kernels.add_hessian(own.rows, plan.first_block, last_block,
                            plan.thetas + candidate * (n + 1), first_row(plan, part),
                            first_row(plan, part + 1), lanes)
    if last_block == own.n_blocks:
        write_unit(plan, unit, lanes)


cdef void write_unit(const HessianPlan *plan, Py_ssize_t unit, const double *lanes) noexcept nogil:
    cdef Py_ssize_t n = plan.n, lane, pair
    cdef Py_ssize_t candidate = unit // plan.n_parts, part = unit % plan.n_parts
    cdef Py_ssize_t first = pair_of(n, first_row(plan, part))
    cdef Py_ssize_t last = pair_of(n, first_row(plan, part + 1))
    cdef double total
    for pair in range(first, last):
        total = 0
        for lane in range(PANEL):
            total += lanes[(pair - first) * PANEL + lane]
        plan.hessians[candidate * pair_of(n, n) + pair] = total


def hessians(RowSets sets, const Py_ssize_t[::1] which, const double[:, ::1] thetas,
             double[:, ::1] out, int n_threads):
    """Write sum_i w_i loss''(z_i) x_i x_i' over the set of each theta, its pairs in a row of `out`.

    Returns False where a theta is not finite. The rows are double precision, the loss is logistic
    or the squared hinge.
    """
    if not which.shape[0]:
        return True
    return add_up_hessians(sets.plans, &which[0], thetas, out, n_threads)


cdef bint add_up_hessians(const Plan *sets, const Py_ssize_t *which, const double[:, ::1] thetas,
                          double[:, ::1] out, int n_threads) except -1:
    cdef HessianPlan plan
    cdef Py_ssize_t n = thetas.shape[1], n_candidates = thetas.shape[0], n_blocks = 0, n_all = 0
    cdef Py_ssize_t wave, n_units, k, slice
    cdef Py_ssize_t unit_bytes = pair_of(n, n) * PANEL * sizeof(double)
    cdef double row_work = pair_of(n, n) + 2 * n + 40, work
    plan.sets, plan.which, plan.n, plan.hessians = sets, which, n, &out[0, 0]
    for k in range(n_candidates):
        n_blocks = max(n_blocks, sets[which[k]].n_blocks)
        n_all += sets[which[k]].n_blocks
    n_threads = metaopt_team(n_threads, n_all * BLOCK_ROWS * row_work)
    # A part computes its candidate's margins anew, so there are no more than threads need.
    plan.n_parts = 1 if n_threads == 1 else max(1, min(n, 2 * n_threads // n_candidates))
    n_units = n_candidates * plan.n_parts
    wave = min(n_units, n_threads * max(1, min(16, MATRIX_MEMORY // unit_bytes)))
    # About 50 milliseconds of work for each thread between two looks at signals.
    slice = BLOCKS_PER_SPAN * max(1, <Py_ssize_t>(
        1e9 * plan.n_parts * n_threads / (wave * ROWS_PER_SPAN * row_work)))
    plan.in_pieces = slice < n_blocks
    cdef Py_ssize_t thetas_bytes = aligned(n_candidates * (n + 1) * sizeof(double))
    cdef Py_ssize_t lanes_bytes = (wave if plan.in_pieces else n_threads) * unit_bytes
    cdef char *memory = <char *>malloc(ALIGNMENT + thetas_bytes + lanes_bytes)
    if memory == NULL:
        raise MemoryError
    plan.thetas = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.lanes = plan.thetas + thetas_bytes // <Py_ssize_t>sizeof(double)
    try:
        for k in range(n_candidates):
            memcpy(plan.thetas + k * (n + 1), &thetas[k, 0], n * sizeof(double))
            if not sets.kernels.find_excesses(plan.thetas + k * (n + 1), n, 1,
                                              sets[which[k]].rows.extent):
                return False
        plan.first_unit = 0
        while plan.first_unit < n_units:
            wave = min(wave, n_units - plan.first_unit)
            plan.first_block = 0
            while plan.first_block < n_blocks:
                plan.last_block = min(n_blocks, plan.first_block + slice)
                work = (plan.last_block - plan.first_block) * BLOCK_ROWS
                work *= row_work * wave / plan.n_parts
                with nogil:
                    metaopt_share[HessianPlan](add_unit, &plan, wave, n_threads, work)
                plan.first_block = plan.last_block
                PyErr_CheckSignals()
            plan.first_unit += wave
    finally:
        free(memory)
    return True


cdef struct MarginPlan:
    const Plan *sets
    # Tiles of candidates.
    const Run *runs
    Py_ssize_t n_parts, first_block, last_block
    double *tiles
    double *largest


cdef void find_largest(const MarginPlan *plan, Py_ssize_t unit, int thread) noexcept nogil:
    """Look at one part of the blocks for one tile of candidates."""
    cdef Py_ssize_t tile = unit // plan.n_parts, part = unit % plan.n_parts
    cdef const Plan *own = plan.sets + plan.runs[tile].set
    cdef Py_ssize_t lanes = own.kernels.lanes
    cdef Py_ssize_t n_blocks = min(plan.last_block, own.n_blocks) - plan.first_block
    if n_blocks > 0:
        own.kernels.largest_margins(
            own.rows, plan.first_block + n_blocks * part // plan.n_parts,
            plan.first_block + n_blocks * (part + 1) // plan.n_parts,
            plan.tiles + tile * (own.n_params + 1) * lanes, plan.largest + unit * lanes)


def largest_margins(RowSets sets, const Py_ssize_t[::1] which, const double[:, ::1] thetas,
                    double[::1] out, int n_threads):
    """Write max_i |x_i theta| over the set of each theta; False where a theta is not finite.

    The rows are double precision.
    """
    cdef Py_ssize_t n = thetas.shape[1], n_candidates = thetas.shape[0], n_tiles
    cdef Py_ssize_t lanes = sets.plans.kernels.lanes
    cdef MarginPlan plan
    cdef Run *runs = <Run *>malloc(max(n_candidates, 1) * sizeof(Run))
    if runs == NULL:
        raise MemoryError
    try:
        plan.sets, plan.runs, n_tiles = sets.plans, runs, cut_runs(which, lanes, runs)
        n_threads = metaopt_team(
            n_threads, <double>sets.most_blocks * BLOCK_ROWS * n_tiles * lanes * n)
        plan.n_parts = max(1, 4 * n_threads // max(n_tiles, 1)) if n_threads > 1 else 1
        return find_largest_margins(&plan, sets.most_blocks, n_tiles, thetas, out, n_threads)
    finally:
        free(runs)


cdef bint find_largest_margins(MarginPlan *plan, Py_ssize_t n_blocks, Py_ssize_t n_tiles,
                               const double[:, ::1] thetas, double[::1] out,
                               int n_threads) except -1:
    """Do what `largest_margins` does, tile by tile."""
    cdef const Kernels *kernels = plan.sets.kernels
    cdef Py_ssize_t n = thetas.shape[1], lanes = kernels.lanes, slice, tile, part, i
    cdef double work = <double>BLOCK_ROWS * n * lanes * n_tiles, most
    slice = max(1, <Py_ssize_t>(SLICE_WORK * n_threads / max(work, 1.0)))
    cdef Py_ssize_t tile_size = (n + 1) * lanes
    cdef Py_ssize_t tiles_bytes = aligned(n_tiles * tile_size * sizeof(double))
    cdef Py_ssize_t largest_bytes = n_tiles * plan.n_parts * lanes * sizeof(double)
    cdef char *memory = <char *>malloc(ALIGNMENT + tiles_bytes + largest_bytes)
    cdef const Run *run
    if memory == NULL:
        raise MemoryError
    plan.tiles = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.largest = plan.tiles + tiles_bytes // <Py_ssize_t>sizeof(double)
    memset(plan.largest, 0, largest_bytes)
    try:
        for tile in range(n_tiles):
            run = plan.runs + tile
            kernels.pack_thetas(&thetas[run.first, 0], run.count, n, lanes,
                                plan.tiles + tile * tile_size)
            if not kernels.find_excesses(plan.tiles + tile * tile_size, n, lanes,
                                         plan.sets[run.set].rows.extent):
                return False
        plan.first_block = 0
        while plan.first_block < n_blocks:
            plan.last_block = min(n_blocks, plan.first_block + slice)
            with nogil:
                metaopt_share[MarginPlan](find_largest, plan, n_tiles * plan.n_parts, n_threads,
                                          work * (plan.last_block - plan.first_block))
            plan.first_block = plan.last_block
            PyErr_CheckSignals()
        for tile in range(n_tiles):
            run = plan.runs + tile
            for i in range(run.count):
                most = 0
                for part in range(plan.n_parts):
                    most = max(most, plan.largest[(tile * plan.n_parts + part) * lanes + i])
                out[run.first + i] = most
    finally:
        free(memory)
    return True
