# AUC of many candidates, from histograms of their decisions. Needs table.pxi, plan.pxi and
# rows.pxi.
#
# The rows of each class are cut into parts, whatever the threads: a part's histogram is summed in
# the order of its rows, and a tile's in the order of the parts.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Blocks of each class, evenly spread, that say where the bins of a candidate lie: fewer than twice
# as many. Whatever the distribution, about one in a thousand rows is beyond what 1024 rows span.
cdef Py_ssize_t RANGE_BLOCKS = 16
# Blocks of a part at most: adding its histogram to the tile's costs a hundredth of making it.
cdef Py_ssize_t PART_BLOCKS = 512
# Visits of a part at most: about 25 milliseconds.
cdef double PART_WORK = 5e8
# Of exact areas: candidates of a tile at least, else each takes less time alone; and decisions of a
# tile at most, 128 MB.
cdef Py_ssize_t LEAST_TILE = 4
cdef Py_ssize_t TILE_NUMBERS = 1 << 24


cdef struct AucWorkspace:
    # Of a tile: thetas and excesses; [lower or upper end][lane]; [AUC or ties][lane]; and for the
    # negative class and the positive one, [bin][lane].
    char *thetas
    double *ends
    double *results
    double *histograms[2]
    # Of each part at work, [bin][lane].
    double *part_histograms
    bint finite
    # As in Workspace.
    char apart[128]


cdef struct AucPlan:
    const Kernels *kernels
    # Of the negative class, and of the positive one, whose parts come last.
    const Rows *rows[2]
    Py_ssize_t n_blocks[2]
    Py_ssize_t n_parts[2]
    Py_ssize_t part_blocks, n_params, n_bins, lanes
    const double *thetas
    Py_ssize_t n_candidates
    double *aucs
    double *ties
    # One for each thread, or a single one.
    AucWorkspace *workspaces
    # Of the tiles, or the parts of a tile, that are at work.
    Py_ssize_t first


cdef void begin_aucs(const AucPlan *plan, AucWorkspace *work, Py_ssize_t tile) noexcept nogil:
    """Write a tile's thetas, note whether they are finite, place the bins and empty them."""
    cdef Py_ssize_t first = tile * plan.lanes, lane
    cdef int k
    cdef bint finite
    plan.kernels.pack_thetas(plan.thetas + first * plan.n_params,
                             min(plan.lanes, plan.n_candidates - first), plan.n_params, plan.lanes,
                             work.thetas)
    finite = plan.kernels.find_excesses(work.thetas, plan.n_params, plan.lanes, plan.rows[0].extent)
    work.finite = work.finite and finite
    plan.kernels.shrink_thetas(work.thetas, plan.n_params, plan.lanes)
    for lane in range(plan.lanes):
        work.ends[lane], work.ends[plan.lanes + lane] = INFINITY, -INFINITY
    for k in range(2):
        plan.kernels.find_ranges(plan.rows[k], plan.n_blocks[k],
                                 max(1, plan.n_blocks[k] // RANGE_BLOCKS), work.thetas,
                                 -1 if k else 1, work.ends)
    memset(work.histograms[0], 0, 2 * plan.n_bins * plan.lanes * sizeof(double))


cdef void fill_part(const AucPlan *plan, AucWorkspace *work, Py_ssize_t part,
                    Py_ssize_t slot) noexcept nogil:
    """Sum the histogram of a part."""
    cdef bint positive = part >= plan.n_parts[0]
    cdef Py_ssize_t size = plan.n_bins * plan.lanes
    cdef Py_ssize_t first = (part - plan.n_parts[0] * positive) * plan.part_blocks
    cdef Py_ssize_t last = min(first + plan.part_blocks, plan.n_blocks[positive])
    cdef double *histogram = work.part_histograms + slot * size
    # A part that is all of its class needs no sum of its own.
    if plan.n_parts[positive] == 1:
        histogram = work.histograms[positive]
    else:
        memset(histogram, 0, size * sizeof(double))
    plan.kernels.add_histograms(plan.rows[positive], first, last, work.thetas,
                                -1 if positive else 1, work.ends, plan.n_bins, histogram)


cdef void fold_part(const AucPlan *plan, AucWorkspace *work, Py_ssize_t part,
                    Py_ssize_t slot) noexcept nogil:
    cdef bint positive = part >= plan.n_parts[0]
    cdef Py_ssize_t size = plan.n_bins * plan.lanes, i
    cdef const double *histogram = work.part_histograms + slot * size
    cdef double *total = work.histograms[positive]
    if plan.n_parts[positive] > 1:
        for i in range(size):
            total[i] += histogram[i]


cdef void finish_aucs(const AucPlan *plan, AucWorkspace *work, Py_ssize_t tile) noexcept nogil:
    cdef Py_ssize_t lane
    plan.kernels.find_aucs(work.histograms[0], work.histograms[1], plan.n_bins, work.results,
                           work.results + plan.lanes)
    for lane in range(min(plan.lanes, plan.n_candidates - tile * plan.lanes)):
        plan.aucs[tile * plan.lanes + lane] = work.results[lane]
        plan.ties[tile * plan.lanes + lane] = work.results[plan.lanes + lane]


cdef void run_auc_tile(const AucPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Find the AUC of one tile in a thread's own workspace."""
    cdef AucWorkspace *work = plan.workspaces + thread
    cdef Py_ssize_t tile = plan.first + index, part
    begin_aucs(plan, work, tile)
    for part in range(plan.n_parts[0] + plan.n_parts[1]):
        fill_part(plan, work, part, 0)
        fold_part(plan, work, part, 0)
    finish_aucs(plan, work, tile)


cdef void run_auc_part(const AucPlan *plan, Py_ssize_t slot, int thread) noexcept nogil:
    """Sum the histogram of one part in the workspace of all threads."""
    fill_part(plan, plan.workspaces, plan.first + slot, slot)


cdef bint run_auc_tiles(AucPlan *plan, Py_ssize_t n_tiles, Py_ssize_t tiles_at_once,
                        int n_threads, double tile_work) except -1:
    """Find the AUC of tiles, each by one thread; False where a theta is not finite."""
    cdef Py_ssize_t count
    cdef int thread
    plan.first = 0
    while plan.first < n_tiles:
        count = min(n_tiles - plan.first, tiles_at_once)
        if tile_work * n_tiles < SERIAL_WORK:
            metaopt_share[AucPlan](run_auc_tile, plan, count, 1, tile_work * count)
        else:
            with nogil:
                metaopt_share[AucPlan](run_auc_tile, plan, count, n_threads, tile_work * count)
        for thread in range(n_threads):
            if not plan.workspaces[thread].finite:
                return False
        plan.first += count
        PyErr_CheckSignals()
    return True


cdef bint run_auc_parts(AucPlan *plan, Py_ssize_t n_tiles, Py_ssize_t wave, int n_threads,
                        double tile_work) except -1:
    """Find the AUC of one tile after the other, its parts shared by all threads."""
    cdef AucWorkspace *work = plan.workspaces
    cdef Py_ssize_t n_parts = plan.n_parts[0] + plan.n_parts[1], tile, first, count, i
    for tile in range(n_tiles):
        begin_aucs(plan, work, tile)
        if not work.finite:
            return False
        for first in range(0, n_parts, wave):
            count = min(wave, n_parts - first)
            plan.first = first
            with nogil:
                metaopt_share[AucPlan](run_auc_part, plan, count, n_threads,
                                       tile_work * count / n_parts)
                for i in range(count):
                    fold_part(plan, work, first + i, i)
            PyErr_CheckSignals()
        finish_aucs(plan, work, tile)
    return True


cdef char *lay_out_aucs(const AucPlan *plan, AucWorkspace *work, char *at,
                        Py_ssize_t n_slots) noexcept nogil:
    """Place a workspace's arrays from `at` on; returns the place behind them."""
    cdef Py_ssize_t lane_bytes = plan.lanes * sizeof(double)
    work.finite = True
    work.thetas = at
    at += aligned((plan.n_params + 1) * plan.lanes * plan.kernels.itemsize)
    work.ends = <double *>at
    at += aligned(2 * lane_bytes)
    work.results = <double *>at
    at += aligned(2 * lane_bytes)
    work.histograms[0] = <double *>at
    work.histograms[1] = work.histograms[0] + plan.n_bins * plan.lanes
    at += aligned(2 * plan.n_bins * lane_bytes)
    work.part_histograms = <double *>at
    return at + aligned(n_slots * plan.n_bins * lane_bytes)


def histogram_aucs(PackedRows negative, PackedRows positive, const double[:, ::1] thetas,
                   Py_ssize_t n_bins, double[::1] aucs, double[::1] ties, int n_threads):
    """Write the AUC of each theta, by histograms, and the part of tied pairs.

    Pairs of rows of one bin count as ties, half. Returns False where a theta is not finite in the
    rows' precision.
    """
    cdef AucPlan plan
    cdef PackedRows rows
    cdef Py_ssize_t i, n_tiles, wave, slots, n_workspaces
    memset(&plan, 0, sizeof(AucPlan))
    plan.kernels, plan.n_params, plan.n_bins = negative.kernels, negative.rows.n_params, n_bins
    plan.lanes, plan.n_candidates = plan.kernels.lanes, aucs.shape[0]
    plan.aucs, plan.ties = &aucs[0], &ties[0]
    plan.thetas = &thetas[0, 0]
    # In parts of as many rows for each instruction set.
    cdef double pair_work = plan.n_params + 20
    plan.part_blocks = max(1, min(PART_BLOCKS, <Py_ssize_t>(PART_WORK / (64 * 24 * pair_work))))
    for i, rows in enumerate((negative, positive)):
        plan.rows[i], plan.n_blocks[i] = &rows.rows, rows.block_rows.shape[0]
        plan.n_parts[i] = (plan.n_blocks[i] + plan.part_blocks - 1) // plan.part_blocks
    n_tiles = (plan.n_candidates + plan.lanes - 1) // plan.lanes

    # Tiles for each thread, where there are enough and none takes long; or all threads on one tile.
    cdef double tile_work = pair_work * plan.lanes * (negative.n_rows + positive.n_rows)
    n_threads = metaopt_team(n_threads, tile_work * n_tiles)
    cdef Py_ssize_t n_parts = plan.n_parts[0] + plan.n_parts[1]
    cdef bint by_tiles = tile_work <= SLICE_WORK and (
        n_threads == 1 or n_tiles >= 4 * n_threads or n_parts == 2)
    wave = max(1, <Py_ssize_t>min(<double>n_parts, SLICE_WORK * n_threads * n_parts / tile_work,
                                  4.0 * n_threads))
    slots, n_workspaces = wave, 1
    if by_tiles:
        n_threads = min(n_threads, n_tiles)
        slots, n_workspaces = 1, n_threads
    cdef AucWorkspace layout
    cdef Py_ssize_t size = lay_out_aucs(&plan, &layout, NULL, slots) - <char *>NULL
    cdef Py_ssize_t heads = aligned(n_workspaces * sizeof(AucWorkspace))
    cdef char *memory = <char *>malloc(ALIGNMENT + heads + n_workspaces * size)
    if memory == NULL:
        raise MemoryError
    cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.workspaces = <AucWorkspace *>at
    for i in range(n_workspaces):
        lay_out_aucs(&plan, plan.workspaces + i, at + heads + i * size, slots)
    try:
        if by_tiles:
            return run_auc_tiles(
                &plan, n_tiles, n_threads * max(1, <Py_ssize_t>(SLICE_WORK / tile_work)), n_threads,
                tile_work)
        return run_auc_parts(&plan, n_tiles, wave, n_threads, tile_work)
    finally:
        free(memory)


cdef struct ExactPlan:
    const Kernels *kernels
    # Of the negative class, and of the positive one.
    const Rows *rows[2]
    Py_ssize_t n_blocks[2]
    Py_ssize_t n_params, n_rows, tile, memory_of_each, first, n_candidates
    const double *thetas
    double *aucs
    # Of each thread: thetas, their excesses, and what exact_aucs needs.
    char *memory


cdef void run_exact_aucs(const ExactPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Find the exact AUC of a tile's candidates; NaN where one of its thetas is not finite."""
    cdef Py_ssize_t first = plan.first + index * plan.tile, i
    cdef Py_ssize_t count = min(plan.tile, plan.n_candidates - first)
    cdef Py_ssize_t lanes = 1 if plan.tile == 1 else plan.kernels.lanes
    cdef char *thetas = plan.memory + thread * plan.memory_of_each
    for i in range(first, first + count):
        plan.aucs[i] = NAN
    plan.kernels.pack_thetas(plan.thetas + first * plan.n_params, count, plan.n_params, lanes,
                             thetas)
    if plan.kernels.find_excesses(thetas, plan.n_params, lanes, plan.rows[0].extent):
        plan.kernels.shrink_thetas(thetas, plan.n_params, lanes)
        plan.kernels.exact_aucs(
            plan.rows[0], plan.n_blocks[0], plan.rows[1], plan.n_blocks[1], thetas, lanes, count,
            plan.n_rows, plan.aucs + first,
            thetas + aligned((plan.n_params + 1) * lanes * plan.kernels.itemsize))


def exact_aucs(PackedRows negative, PackedRows positive, const double[:, ::1] thetas,
               double[::1] aucs, int n_threads):
    """Write the exact AUC of each theta; False where one is not finite."""
    cdef ExactPlan plan
    cdef Py_ssize_t until, i, wave
    cdef PackedRows rows
    memset(&plan, 0, sizeof(ExactPlan))
    plan.kernels, plan.n_params = negative.kernels, negative.rows.n_params
    plan.n_rows, plan.n_candidates = negative.n_rows + positive.n_rows, aucs.shape[0]
    plan.thetas, plan.aucs = &thetas[0, 0], &aucs[0]
    for i, rows in enumerate((negative, positive)):
        plan.rows[i], plan.n_blocks[i] = &rows.rows, rows.block_rows.shape[0]
    # A row takes as long as 50 visits.
    cdef double candidate_work = <double>plan.n_rows * (plan.n_params + 50)
    n_threads = metaopt_team(min(n_threads, plan.n_candidates),
                             candidate_work * plan.n_candidates)
    # Tiles for all threads, whose decisions fit; of a few candidates, one by one is faster.
    plan.tile = min((plan.n_candidates + n_threads - 1) // n_threads, plan.kernels.lanes,
                    TILE_NUMBERS // plan.n_rows)
    if plan.tile < LEAST_TILE:
        plan.tile = 1
    cdef double tile_work = candidate_work * plan.tile
    wave = plan.tile * n_threads * max(1, <Py_ssize_t>(SLICE_WORK / tile_work))
    plan.memory_of_each = aligned(
        aligned((plan.n_params + 1) * plan.kernels.lanes * plan.kernels.itemsize)
        + 8 * (plan.tile + 6) * (plan.n_rows + 8))
    cdef char *memory = <char *>malloc(ALIGNMENT + n_threads * plan.memory_of_each)
    if memory == NULL:
        raise MemoryError
    plan.memory = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    try:
        while plan.first < plan.n_candidates:
            until = min(plan.n_candidates, plan.first + wave)
            with nogil:
                metaopt_share[ExactPlan](
                    run_exact_aucs, &plan, (until - plan.first + plan.tile - 1) // plan.tile,
                    n_threads, candidate_work * (until - plan.first))
            for i in range(plan.first, until):
                if aucs[i] != aucs[i]:
                    return False
            plan.first = until
            PyErr_CheckSignals()
    finally:
        free(memory)
    return True


def margins(PackedRows data, const double[:, ::1] theta, double[::1] out):
    """Write z of each row, for a single theta; False where that is not finite."""
    cdef Py_ssize_t n = theta.shape[1], n_blocks = data.block_rows.shape[0], block = 0, until
    cdef Py_ssize_t slice = max(1, <Py_ssize_t>(SLICE_WORK / (64.0 * n)))
    cdef char *memory = <char *>malloc(ALIGNMENT + (n + 1) * data.kernels.itemsize)
    if memory == NULL:
        raise MemoryError
    cdef char *packed = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    try:
        data.kernels.pack_thetas(&theta[0, 0], 1, n, 1, packed)
        if not data.kernels.find_excesses(packed, n, 1, data.rows.extent):
            return False
        while block < n_blocks:
            until = min(n_blocks, block + slice)
            with nogil:
                data.kernels.find_margins(&data.rows, block, until, packed, &out[0])
            block = until
            PyErr_CheckSignals()
    finally:
        free(memory)
    return True
