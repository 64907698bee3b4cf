# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, embedsignature=False, freethreading_compatible=False
"""Blocks, threads and the order of sums around the tile kernels.

Rows are stored in panels of 8, blocks of 8 panels and spans of 8 blocks (kernels.hpp). A call of
`PackedRows.evaluate` leaves one partial sum for each (tile, span) and folds them in the order of the
spans, whoever computed them. Threads meet seldom, since a thread that waits for another one which the
system has put aside waits for milliseconds; and where they meet, signals are answered.
"""

from cython.parallel cimport prange, threadid
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import os

cdef extern from "kernels.hpp" namespace "metaopt" nogil:
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

    ctypedef void (*Evaluate)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double *, void *,
                              void *) noexcept nogil

    struct Kernels:
        int itemsize
        int lanes
        Evaluate evaluate_tile
        Evaluate evaluate_one
        void (*pack_rows)(const double *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t, void *) noexcept nogil
        void (*pack_thetas)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                            void *) noexcept nogil
        void (*draw)(const Sampler *, uint64_t, Py_ssize_t, void *) noexcept nogil
        int (*scale_thetas)(void *, Py_ssize_t, Py_ssize_t, double) noexcept nogil
        void (*pointwise)(const void *, Py_ssize_t, void *, void *) noexcept nogil
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
# Work below this many visits, about 50 microseconds, stays on one thread.
SERIAL_WORK = 1e6
# Visits between two looks at signals, for each thread: about 50 milliseconds.
cdef double SLICE_WORK = 1e9
# Bytes of packed rows that stay in a second-level cache while the tiles of a group pass by.
cdef Py_ssize_t CACHED_ROWS = 256 * 1024
# Bytes of thetas and partial sums at work, for each thread.
cdef Py_ssize_t WAVE_MEMORY = 4 * 1024 * 1024
# Tiles that share a reading of the rows; more of them leave threads less to even out.
cdef Py_ssize_t GROUP_TILES = 16
cdef Py_ssize_t COHORT_TILES = 128
# Up to this many candidates, one pass over the rows for each beats a tile with idle lanes.
cdef Py_ssize_t FEW = 4


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
    raise ImportError(f"METAOPT_FAST_ISA is {_forced!r}, which this processor does not support: set "
                      f"it to one of {', '.join(map(repr, supported_isas()))}, or unset it.")
_isa = _forced or supported_isas()[0]
if _isa == "avx512":
    table = metaopt_kernels_avx512
elif _isa == "avx2":
    table = metaopt_kernels_avx2
else:
    table = metaopt_kernels_baseline

OPENMP = bool(METAOPT_OPENMP)
if metaopt_release_threads_at_fork() != 0:
    raise ImportError("pthread_atfork failed: the process has no memory left for the handler that "
                      "keeps forked children from hanging; free some, then import again.")


def isa():
    """Return the instruction set in use and why: ("avx512", "the widest this processor supports")."""
    if _forced:
        return _isa, "METAOPT_FAST_ISA"
    return _isa, "the widest this processor supports"


def max_threads():
    """Threads that OpenMP would use: OMP_NUM_THREADS, omp_set_num_threads, or the processors."""
    return metaopt_max_threads()


# ------------------------------------------------------------------------------ evaluating losses

cdef struct Workspace:
    # Tiles at work, and the spans whose partial sums are kept for them.
    Py_ssize_t first_tile, n_tiles, first_span, n_spans
    bint finite
    # Arrays over tiles; [lane] and [parameter][lane] within. Behind a tile's thetas are its scales.
    char *thetas
    double *loss_high
    double *loss_low
    double *gradient_high
    double *gradient_low
    # Arrays over (tile, span).
    double *partial_losses
    char *partial_gradients
    # Arrays over the candidates of a cohort, and the (row, candidate) pairs that it took.
    Py_ssize_t *candidates
    double *penalties
    double n_pairs
    # Of each thread that may work here: n_params panels.
    char *scratch


cdef struct Plan:
    const Kernels *kernels
    const Rows *rows
    Evaluate evaluate
    Py_ssize_t n_params, n_penalised, n_blocks, n_all_spans
    double total_weight, l2
    # Where candidates come from: thetas, or a sampler if that is null.
    const double *thetas
    const Sampler *sampler
    uint64_t start
    Py_ssize_t n_candidates
    # Where results go; gradients may be null.
    double *losses
    double *gradients
    # A loss above it may be written as infinity.
    double threshold
    # How the work is cut: tiles of `lanes` candidates, in groups that read each run of blocks
    # together while it is in cache.
    Py_ssize_t lanes, n_tiles, first_group, n_groups, n_ranges, blocks_in_cache
    int n_threads
    # One for each thread, or a single one.
    Workspace *workspaces
    # The (row, candidate) pairs that cohorts took.
    double n_pairs


cdef inline void add_exactly(double *high, double *low, double x) noexcept nogil:
    # Knuth's two-sum; an overflow has no rounding error to keep.
    cdef double total = high[0] + x
    cdef double added = total - high[0]
    if total - total == 0:
        low[0] += (high[0] - (total - added)) + (x - added)
    high[0] = total


cdef inline double overflow_to_infinity(double x) noexcept nogil:
    # inf - inf of partial sums that left the range both ways.
    return x if x == x else INFINITY


cdef inline char *thetas_of(const Plan *plan, const Workspace *work, Py_ssize_t tile) noexcept nogil:
    return work.thetas + tile * (plan.n_params + 1) * plan.lanes * plan.kernels.itemsize


cdef void fill_tile(const Plan *plan, Workspace *work, Py_ssize_t tile) noexcept nogil:
    """Write a tile's thetas, note whether they are finite, and zero its sums."""
    cdef Py_ssize_t size = plan.n_params * plan.lanes
    cdef Py_ssize_t first = (work.first_tile + tile) * plan.lanes
    cdef Py_ssize_t count = min(plan.lanes, plan.n_candidates - first)
    cdef char *thetas = thetas_of(plan, work, tile)
    cdef bint finite
    memset(work.loss_high + tile * plan.lanes, 0, plan.lanes * sizeof(double))
    memset(work.loss_low + tile * plan.lanes, 0, plan.lanes * sizeof(double))
    if plan.gradients:
        memset(work.gradient_high + tile * size, 0, size * sizeof(double))
        memset(work.gradient_low + tile * size, 0, size * sizeof(double))
    if plan.thetas == NULL:
        plan.kernels.draw(plan.sampler, plan.start + first, plan.lanes, thetas)
    else:
        plan.kernels.pack_thetas(plan.thetas + first * plan.n_params, count, plan.n_params,
                                 plan.lanes, thetas)
    finite = plan.kernels.scale_thetas(thetas, plan.n_params, plan.lanes, plan.rows.extent)
    work.finite = work.finite and finite


cdef void evaluate_tiles(const Plan *plan, Workspace *work, Py_ssize_t first_tile,
                         Py_ssize_t last_tile, Py_ssize_t span, char *scratch) noexcept nogil:
    """Leave the partial sums of some tiles over one span."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize, size = plan.n_params * plan.lanes
    cdef Py_ssize_t tile, until, place
    cdef Py_ssize_t block = (work.first_span + span) * BLOCKS_PER_SPAN
    cdef Py_ssize_t last_block = min(block + BLOCKS_PER_SPAN, plan.n_blocks)
    cdef char *gradients = NULL
    for tile in range(first_tile, last_tile):
        place = tile * work.n_spans + span
        memset(work.partial_losses + place * plan.lanes, 0, plan.lanes * sizeof(double))
        if plan.gradients:
            memset(work.partial_gradients + place * size * itemsize, 0, size * itemsize)
    while block < last_block:
        until = min(block + plan.blocks_in_cache, last_block)
        for tile in range(first_tile, last_tile):
            place = tile * work.n_spans + span
            if plan.gradients:
                gradients = work.partial_gradients + place * size * itemsize
            plan.evaluate(plan.rows, block, until, thetas_of(plan, work, tile),
                          work.partial_losses + place * plan.lanes, gradients, scratch)
        block = until


cdef void fold_gradients(const Plan *plan, Workspace *work, Py_ssize_t tile,
                         const real *partial) noexcept nogil:
    cdef Py_ssize_t size = plan.n_params * plan.lanes, span, i
    cdef double *high = work.gradient_high + tile * size
    cdef double *low = work.gradient_low + tile * size
    for span in range(work.n_spans):
        for i in range(size):
            add_exactly(high + i, low + i, partial[(tile * work.n_spans + span) * size + i])


cdef void fold_tile(const Plan *plan, Workspace *work, Py_ssize_t tile) noexcept nogil:
    """Add a tile's partial sums to its totals, span by span."""
    cdef Py_ssize_t span, lane, place = tile * plan.lanes
    for span in range(work.n_spans):
        for lane in range(plan.lanes):
            add_exactly(work.loss_high + place + lane, work.loss_low + place + lane,
                        work.partial_losses[(tile * work.n_spans + span) * plan.lanes + lane])
    if plan.gradients:
        if plan.kernels.itemsize == sizeof(double):
            fold_gradients(plan, work, tile, <const double *>work.partial_gradients)
        else:
            fold_gradients(plan, work, tile, <const float *>work.partial_gradients)


cdef double penalty(const Plan *plan, const real *thetas, Py_ssize_t lane) noexcept nogil:
    cdef double total = 0, theta, scale = thetas[plan.n_params * plan.lanes + lane]
    cdef Py_ssize_t j
    for j in range(plan.n_penalised):
        theta = thetas[j * plan.lanes + lane] * scale
        total += plan.l2 / 2 * theta * theta
    return total


cdef inline double loss_of(const Plan *plan, double total, double penalty) noexcept nogil:
    cdef double loss = overflow_to_infinity(total / plan.total_weight)
    return loss + penalty if plan.l2 > 0 else loss


cdef void write_results(const Plan *plan, const Workspace *work, Py_ssize_t tile,
                        const real *thetas) noexcept nogil:
    """Divide a tile's totals by the weights, add the penalty, write losses and gradients."""
    cdef Py_ssize_t lane, j, i, candidate, size = plan.n_params * plan.lanes
    cdef double slope, scale
    for lane in range(plan.lanes):
        candidate = (work.first_tile + tile) * plan.lanes + lane
        if candidate >= plan.n_candidates:
            break
        i = tile * plan.lanes + lane
        plan.losses[candidate] = loss_of(plan, work.loss_high[i] + work.loss_low[i],
                                         penalty(plan, thetas, lane))
        if plan.gradients == NULL:
            continue
        scale = thetas[size + lane]
        for j in range(plan.n_params):
            i = tile * size + j * plan.lanes + lane
            slope = (work.gradient_high[i] + work.gradient_low[i]) / plan.total_weight
            if j < plan.n_penalised:
                slope += plan.l2 * (thetas[j * plan.lanes + lane] * scale)
            plan.gradients[candidate * plan.n_params + j] = overflow_to_infinity(slope)


cdef void finish_tile(const Plan *plan, const Workspace *work, Py_ssize_t tile) noexcept nogil:
    if plan.kernels.itemsize == sizeof(double):
        write_results(plan, work, tile, <const double *>thetas_of(plan, work, tile))
    else:
        write_results(plan, work, tile, <const float *>thetas_of(plan, work, tile))


ctypedef void (*Task)(const Plan *, Py_ssize_t, int) noexcept nogil


cdef void for_each(Task task, const Plan *plan, Py_ssize_t count) noexcept nogil:
    """Run a task for 0 .. count - 1 on all threads; a parallel region of one thread would cost more."""
    cdef Py_ssize_t i
    if plan.n_threads == 1:
        for i in range(count):
            task(plan, i, 0)
    else:
        for i in prange(count, schedule="dynamic", chunksize=1, num_threads=plan.n_threads):
            task(plan, i, threadid())


cdef void run_group(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Evaluate one group of tiles over all rows, in a thread's own workspace."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t tile
    group += plan.first_group
    work.first_tile = group * plan.n_tiles // plan.n_groups
    work.n_tiles = (group + 1) * plan.n_tiles // plan.n_groups - work.first_tile
    work.n_spans = 1
    for tile in range(work.n_tiles):
        fill_tile(plan, work, tile)
    for work.first_span in range(plan.n_all_spans):
        evaluate_tiles(plan, work, 0, work.n_tiles, 0, work.scratch)
        for tile in range(work.n_tiles):
            fold_tile(plan, work, tile)
    for tile in range(work.n_tiles):
        finish_tile(plan, work, tile)


cdef void move_candidate(const Plan *plan, Workspace *work, real *thetas, Py_ssize_t source,
                         Py_ssize_t target) noexcept nogil:
    """Copy a candidate of a cohort to another lane: its thetas, and what is summed so far."""
    cdef Py_ssize_t lanes = plan.lanes, size = (plan.n_params + 1) * lanes, j
    cdef real *to = thetas + target // lanes * size + target % lanes
    cdef const real *origin = thetas + source // lanes * size + source % lanes
    for j in range(plan.n_params + 1):
        to[j * lanes] = origin[j * lanes]
    work.loss_high[target], work.loss_low[target] = work.loss_high[source], work.loss_low[source]
    work.partial_losses[target] = work.partial_losses[source]
    work.candidates[target] = work.candidates[source]
    work.penalties[target] = work.penalties[source]


cdef Py_ssize_t drop_candidates(const Plan *plan, Workspace *work, Py_ssize_t count,
                                real *thetas) noexcept nogil:
    """Close the ranks of a cohort's candidates that may reach the threshold; return their number.

    No loss of a row is negative, so what is summed so far only grows. Computed sums grow up to
    rounding, less than one part in 1e15: one in 1e12 is left for it.
    """
    cdef Py_ssize_t i, kept = 0
    cdef double total
    for i in range(count):
        total = work.loss_high[i] + work.loss_low[i] + work.partial_losses[i]
        if loss_of(plan, total, work.penalties[i]) > plan.threshold * (1 + 1e-12):
            continue
        if kept < i:
            move_candidate(plan, work, thetas, i, kept)
        kept += 1
    return kept


cdef void run_cohort_of(const Plan *plan, Workspace *work, real *thetas) noexcept nogil:
    cdef Py_ssize_t count, i, lane, tile, block = 0, until, b, lanes = plan.lanes
    count = min(work.n_tiles * lanes, plan.n_candidates - work.first_tile * lanes)
    for i in range(count):
        work.candidates[i] = work.first_tile * lanes + i
        work.penalties[i] = penalty(plan, thetas + i // lanes * (plan.n_params + 1) * lanes,
                                    i % lanes)
        plan.losses[work.candidates[i]] = INFINITY
    while block < plan.n_blocks and count > 0:
        # After 1, 2, 4 and 8 blocks, then after each span.
        if block % BLOCKS_PER_SPAN == 0:
            memset(work.partial_losses, 0, work.n_tiles * lanes * sizeof(double))
        until = min(plan.n_blocks, max(block + 1, 2 * block) if block < BLOCKS_PER_SPAN
                    else block + BLOCKS_PER_SPAN)
        for tile in range((count + lanes - 1) // lanes):
            plan.evaluate(plan.rows, block, until, thetas_of(plan, work, tile),
                          work.partial_losses + tile * lanes, NULL, work.scratch)
        for b in range(block, until):
            work.n_pairs += count * plan.rows.rows[b]
        block = until
        if block % BLOCKS_PER_SPAN == 0 or block == plan.n_blocks:
            for i in range(count):
                add_exactly(work.loss_high + i, work.loss_low + i, work.partial_losses[i])
                work.partial_losses[i] = 0
        if block < plan.n_blocks:
            count = drop_candidates(plan, work, count, thetas)
    for i in range(count):
        plan.losses[work.candidates[i]] = loss_of(plan, work.loss_high[i] + work.loss_low[i],
                                                  work.penalties[i])


cdef void run_cohort(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Evaluate one group of tiles, dropping candidates that cannot reach the threshold."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t tile
    group += plan.first_group
    work.first_tile = group * plan.n_tiles // plan.n_groups
    work.n_tiles = (group + 1) * plan.n_tiles // plan.n_groups - work.first_tile
    for tile in range(work.n_tiles):
        fill_tile(plan, work, tile)
    if plan.kernels.itemsize == sizeof(double):
        run_cohort_of(plan, work, <double *>work.thetas)
    else:
        run_cohort_of(plan, work, <float *>work.thetas)


cdef void run_part(const Plan *plan, Py_ssize_t part, int thread) noexcept nogil:
    """Evaluate one group of tiles over one range of spans, in the workspace of all threads."""
    cdef Workspace *work = plan.workspaces
    cdef Py_ssize_t group = part % plan.n_groups, span
    cdef char *scratch = work.scratch + thread * plan.n_params * 8 * plan.kernels.itemsize
    part //= plan.n_groups
    for span in range(part * work.n_spans // plan.n_ranges,
                      (part + 1) * work.n_spans // plan.n_ranges):
        evaluate_tiles(plan, work, group * work.n_tiles // plan.n_groups,
                       (group + 1) * work.n_tiles // plan.n_groups, span, scratch)


cdef void fold_one(const Plan *plan, Py_ssize_t tile, int thread) noexcept nogil:
    fold_tile(plan, plan.workspaces, tile)


cdef bint run_groups(Plan *plan, Py_ssize_t groups_at_once) except -1:
    """Evaluate groups of tiles, each by one thread; False where a theta is not finite."""
    cdef int thread
    cdef Task task = run_cohort if plan.threshold < INFINITY else run_group
    plan.first_group = 0
    while plan.first_group < plan.n_groups:
        with nogil:
            for_each(task, plan, min(groups_at_once, plan.n_groups - plan.first_group))
        for thread in range(plan.n_threads):
            if not plan.workspaces[thread].finite:
                return False
        plan.first_group += groups_at_once
        PyErr_CheckSignals()
    return True


cdef bint run_slices(Plan *plan, Py_ssize_t wave, Py_ssize_t slice) except -1:
    """Evaluate `wave` tiles at a time, `slice` spans at a time, by all threads together."""
    cdef Workspace *work = plan.workspaces
    cdef Py_ssize_t tile
    work.first_tile = 0
    while work.first_tile < plan.n_tiles:
        work.n_tiles = min(wave, plan.n_tiles - work.first_tile)
        for tile in range(work.n_tiles):
            fill_tile(plan, work, tile)
        if not work.finite:
            return False
        work.first_span = 0
        while work.first_span < plan.n_all_spans:
            work.n_spans = min(slice, plan.n_all_spans - work.first_span)
            plan.n_ranges = min(work.n_spans, 16 * plan.n_threads)
            plan.n_groups = min(work.n_tiles, 1 + 4 * plan.n_threads // plan.n_ranges)
            with nogil:
                for_each(run_part, plan, plan.n_groups * plan.n_ranges)
                for_each(fold_one, plan, work.n_tiles)
            work.first_span += work.n_spans
            PyErr_CheckSignals()
        for tile in range(work.n_tiles):
            finish_tile(plan, work, tile)
        work.first_tile += work.n_tiles
    return True


def work(Py_ssize_t n_samples, Py_ssize_t n_params):
    """Return the work of one candidate in visits, about 0.05 ns each: a pointwise loss counts as 20."""
    return <double>n_samples * (n_params + 20)


cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef char *lay_out(const Plan *plan, Workspace *work, char *at, Py_ssize_t n_tiles,
                   Py_ssize_t n_spans, int n_threads) noexcept nogil:
    """Place a workspace's arrays from `at` on; returns the place behind them."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize
    cdef Py_ssize_t size = plan.n_params * plan.lanes if plan.gradients else 0
    work.finite = True
    work.thetas = at
    at += aligned(n_tiles * (plan.n_params + 1) * plan.lanes * itemsize)
    work.loss_high = <double *>at
    at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.loss_low = <double *>at
    at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.gradient_high = <double *>at
    at += aligned(n_tiles * size * sizeof(double))
    work.gradient_low = <double *>at
    at += aligned(n_tiles * size * sizeof(double))
    work.partial_losses = <double *>at
    at += aligned(n_tiles * n_spans * plan.lanes * sizeof(double))
    work.partial_gradients = at
    at += aligned(n_tiles * n_spans * size * itemsize)
    work.candidates = <Py_ssize_t *>at
    if plan.threshold < INFINITY:
        at += aligned(n_tiles * plan.lanes * sizeof(Py_ssize_t))
    work.penalties = <double *>at
    if plan.threshold < INFINITY:
        at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.n_pairs = 0
    work.scratch = at
    return at + aligned(n_threads * plan.n_params * 8 * itemsize)


cdef bint evaluate(Plan *plan) except -1:
    """Evaluate all candidates of the plan; False where a theta is not finite."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize, n_params = plan.n_params
    plan.n_all_spans = (plan.n_blocks + BLOCKS_PER_SPAN - 1) // BLOCKS_PER_SPAN
    plan.lanes, plan.evaluate = plan.kernels.lanes, plan.kernels.evaluate_tile
    if plan.n_candidates <= FEW and plan.threshold == INFINITY:
        plan.lanes, plan.evaluate = 1, plan.kernels.evaluate_one
    plan.n_tiles = (plan.n_candidates + plan.lanes - 1) // plan.lanes
    plan.blocks_in_cache = max(
        1, CACHED_ROWS // (PANELS_PER_BLOCK * 8 * n_params * itemsize))

    # Two ways to share the work: whole groups of tiles for each thread, where there are enough and
    # none takes long; or the rows of the same tiles for all threads.
    cdef double span_work = <double>plan.lanes * 512 * (n_params + 20)
    cdef Py_ssize_t tile_bytes = 2 * n_params * plan.lanes * itemsize
    if plan.gradients:
        span_work *= 2
        tile_bytes += 2 * n_params * plan.lanes * (itemsize + 8)
    cdef double tile_work = span_work * plan.n_all_spans
    cdef bint by_groups = tile_work <= SLICE_WORK and (
        plan.n_threads == 1 or plan.n_tiles >= 4 * plan.n_threads)
    cdef Py_ssize_t group, wave, slice, groups_at_once, n_workspaces = 1
    if by_groups:
        n_workspaces = plan.n_threads
        # Many tiles in a group read rows seldom; few of them even out the threads.
        # A cohort that candidates drop out of has to be larger, for tiles to stay full.
        group = max(1, min(GROUP_TILES if plan.threshold == INFINITY else COHORT_TILES,
                           WAVE_MEMORY // tile_bytes, <Py_ssize_t>(SLICE_WORK / tile_work)))
        plan.n_groups = (plan.n_tiles + group - 1) // group
        if plan.n_threads > 1:
            plan.n_groups = max(plan.n_groups, 4 * plan.n_threads)
            plan.n_groups = (plan.n_groups + plan.n_threads - 1) // plan.n_threads * plan.n_threads
            plan.n_groups = min(plan.n_groups, plan.n_tiles)
        group = (plan.n_tiles + plan.n_groups - 1) // plan.n_groups
        wave, slice = group, 1
        groups_at_once = plan.n_threads * max(1, <Py_ssize_t>(SLICE_WORK / (tile_work * group)))
    else:
        wave = max(1, min(plan.n_tiles, 4 * plan.n_threads, WAVE_MEMORY * plan.n_threads // tile_bytes))
        slice = max(1, <Py_ssize_t>min(<double>plan.n_all_spans,
                                       SLICE_WORK * plan.n_threads / (span_work * wave),
                                       <double>WAVE_MEMORY * plan.n_threads / tile_bytes / wave))

    cdef Workspace layout
    cdef bint finite
    cdef int thread, sharing = 1 if by_groups else plan.n_threads
    cdef Py_ssize_t size = lay_out(plan, &layout, NULL, wave, slice, sharing) - <char *>NULL
    cdef Py_ssize_t heads = aligned(n_workspaces * sizeof(Workspace))
    cdef char *memory = <char *>malloc(ALIGNMENT + heads + n_workspaces * size)
    if memory == NULL:
        raise MemoryError
    cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.workspaces = <Workspace *>at
    at += heads
    for thread in range(n_workspaces):
        at = lay_out(plan, plan.workspaces + thread, at, wave, slice, sharing)
    try:
        if not by_groups:
            return run_slices(plan, wave, slice)
        finite = run_groups(plan, groups_at_once)
        for thread in range(n_workspaces):
            plan.n_pairs += plan.workspaces[thread].n_pairs
        return finite
    finally:
        free(memory)


def pack_rows(const double[:, ::1] X, const double[::1] signs, Py_ssize_t first,
              Py_ssize_t n_params, bint single_precision, unsigned char[::1] panels):
    """Write rows X, times their signs, into the panels from place `first` on (8 places to a panel)."""
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
        Number of the pointwise loss, as in isa.hpp.
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


# --------------------------------------------------------------------------------- random numbers

cdef class Draws:
    """A sampler of candidates as the kernels read it: arrays over parameters, and the seed."""
    cdef Sampler sampler
    cdef const unsigned char[::1] transform
    cdef const double[::1] a, b, c

    def __init__(self, const unsigned char[::1] transform, const double[::1] a,
                 const double[::1] b, const double[::1] c, uint64_t seed):
        self.transform, self.a, self.b, self.c = transform, a, b, c
        self.sampler.transform = &transform[0]
        self.sampler.a, self.sampler.b, self.sampler.c = &a[0], &b[0], &c[0]
        self.sampler.n_params, self.sampler.seed = transform.shape[0], seed

    def sample(self, uint64_t start, double[:, ::1] out):
        """Write candidates start .. into the rows of `out`; False where one is not finite."""
        cdef const Kernels *kernels = table(0, False)
        cdef Py_ssize_t n_params = out.shape[1], lanes = kernels.lanes, first = 0, lane, j
        cdef double *tile = <double *>malloc(n_params * lanes * sizeof(double))
        if tile == NULL:
            raise MemoryError
        cdef bint finite = True
        try:
            with nogil:
                while first < out.shape[0]:
                    kernels.draw(&self.sampler, start + first, lanes, tile)
                    for lane in range(min(lanes, out.shape[0] - first)):
                        for j in range(n_params):
                            out[first + lane, j] = tile[j * lanes + lane]
                            finite = finite and isfinite(tile[j * lanes + lane])
                    first += lanes
        finally:
            free(tile)
        return finite


# ------------------------------------------------------------------- pointwise, and the machine's limits

def pointwise(int loss, const real[::1] z, real[::1] value, real[::1] derivative):
    """Write the loss and its derivative at each z."""
    cdef const Kernels *kernels = table(loss, real is float)
    with nogil:
        kernels.pointwise(&z[0], z.shape[0], &value[0], &derivative[0])


def fma_run(bint single_precision, Py_ssize_t iterations, int n_threads):
    """Do a run of independent FMAs on each thread; return the floating-point operations done."""
    cdef const Kernels *kernels = table(0, single_precision)
    cdef double operations = 0
    cdef int thread
    with nogil:
        for thread in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
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
