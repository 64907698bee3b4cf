# How the work of a call is cut, shared and added up again. Included by _kernels.pyx.
#
# A call leaves one partial sum for each (tile, span) and folds them in the order of the spans,
# whoever computed them. Threads meet seldom, since a thread that waits for another one which the
# system has put aside waits for milliseconds; and where they meet, signals are answered.

# Work below this many visits, about 50 microseconds, stays on one thread, and keeps Python's lock:
# where other threads of Python wait for it, they would have it for 5 milliseconds each.
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


cdef struct Workspace:
    # Tiles at work, and the spans whose partial sums are kept for them.
    Py_ssize_t first_tile, n_tiles, first_span, n_spans
    bint finite
    # Arrays over tiles; [lane] and [parameter][lane] within. Behind a tile's thetas, its excesses.
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
    bint is_brief
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


cdef inline char *thetas_of(const Plan *plan, const Workspace *work,
                            Py_ssize_t tile) noexcept nogil:
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
    finite = plan.kernels.find_excesses(thetas, plan.n_params, plan.lanes, plan.rows.extent)
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


include "results.pxi"


ctypedef void (*Task)(const Plan *, Py_ssize_t, int) noexcept nogil


cdef void for_each(Task task, const Plan *plan, Py_ssize_t count) noexcept nogil:
    """Run a task for 0 .. count - 1 on all threads; one needs no parallel region."""
    cdef Py_ssize_t i
    if plan.n_threads == 1:
        for i in range(count):
            task(plan, i, 0)
    else:
        for i in prange(count, schedule="dynamic", chunksize=1, num_threads=plan.n_threads):
            task(plan, i, threadid())


cdef void run_all(Task task, const Plan *plan, Py_ssize_t count):
    """Run a task for 0 .. count - 1, with Python's lock if that is brief."""
    if plan.is_brief:
        for_each(task, plan, count)
    else:
        with nogil:
            for_each(task, plan, count)


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


include "cohorts.pxi"


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
        run_all(task, plan, min(groups_at_once, plan.n_groups - plan.first_group))
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
    """Return the work of one candidate in visits of 0.05 ns; a pointwise loss counts as 20."""
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
    plan.is_brief = plan.n_threads == 1 and tile_work * plan.n_tiles < SERIAL_WORK
    # Tiles of long work that threads cannot share evenly are shared by their rows.
    cdef Py_ssize_t rounds = (plan.n_tiles + plan.n_threads - 1) // plan.n_threads
    cdef bint uneven = (tile_work > SERIAL_WORK * 10 and plan.threshold == INFINITY
                        and rounds * plan.n_threads > 1.05 * plan.n_tiles)
    cdef bint by_groups = tile_work <= SLICE_WORK and (
        plan.n_threads == 1 or (plan.n_tiles >= 4 * plan.n_threads and not uneven))
    cdef Py_ssize_t group, wave, slice, groups_at_once, n_workspaces = 1
    if by_groups:
        n_workspaces = plan.n_threads
        # Many tiles in a group read rows seldom; few of them even out the threads.
        # A cohort that candidates drop out of has to be larger, for tiles to stay full.
        group = max(1, min(GROUP_TILES if plan.threshold == INFINITY else COHORT_TILES,
                           WAVE_MEMORY // tile_bytes, <Py_ssize_t>(SLICE_WORK / tile_work)))
        plan.n_groups = (plan.n_tiles + group - 1) // group
        if plan.n_threads > 1:
            plan.n_groups = max(plan.n_groups, 8 * plan.n_threads)
            plan.n_groups = (plan.n_groups + plan.n_threads - 1) // plan.n_threads * plan.n_threads
            # A few groups of unlike size would leave a thread without work.
            if plan.n_tiles < 4 * plan.n_groups:
                plan.n_groups = plan.n_tiles
        group = (plan.n_tiles + plan.n_groups - 1) // plan.n_groups
        wave, slice = group, 1
        groups_at_once = plan.n_threads * max(1, <Py_ssize_t>(SLICE_WORK / (tile_work * group)))
    else:
        wave = max(1, min(plan.n_tiles, 4 * plan.n_threads,
                          WAVE_MEMORY * plan.n_threads // tile_bytes))
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
