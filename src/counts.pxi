# Counts of the decisions of many candidates, of all groups of rows in one call. Needs table.pxi,
# plan.pxi and tiles.pxi.
#
# Blocks lie stratum by stratum, and no span has blocks of two of them: partial sums of a span are
# folded in the order of the spans, and written where a stratum ends. Tiles are as wide as those of
# single precision: two of double precision, or one.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, isfinite
from libc.string cimport memset

# Panels of a candidate that may be computed again, as a part of all: each takes as long as the
# single precision of 16 of them saves. And so many that are too few to judge by.
cdef double WORTH_COUNTING = 1 / 24.0
cdef double FEW_PANELS = 2048


cdef struct CountWorkspace:
    # Of the group of tiles at work: thetas and excesses; the same in single precision, and slopes.
    char *thetas
    float *narrow
    float *slopes
    # Over tiles, [wrong or right][cut][lane]: of a span, and of a stratum.
    double *partial
    double *high
    double *low
    Py_ssize_t first_tile, n_tiles
    bint finite
    # Whether single precision is worth while here, and what says so: panels of each candidate.
    bint is_narrow
    double n_panels, n_again


cdef struct CountPlan:
    # What it has in common with plans of losses.
    Plan plan
    # Of the negative class, and of the positive one.
    Cuts cuts[2]
    # First block and stratum of each span; one more block, the end.
    const Py_ssize_t *spans
    const Py_ssize_t *strata
    const double *totals
    # In single precision: of blocks, and of columns; or null.
    const float *norms
    const double *spreads
    const double *units
    double largest
    # How the work is cut: tiles of `lanes` candidates, sums of each, spans of a task.
    Py_ssize_t lanes, n_sums, first_span, last_span, n_spans
    double tile_work
    # [candidate][group][cut][cell]
    double *cells
    Py_ssize_t n_groups_of_rows
    CountWorkspace *workspaces


cdef inline Py_ssize_t wide_size(const CountPlan *plan) noexcept nogil:
    """Return the bytes of a tile's thetas and excesses."""
    return (plan.plan.n_params + 1) * plan.lanes * plan.plan.kernels.itemsize


cdef void begin_counts(const CountPlan *plan, CountWorkspace *work,
                       Py_ssize_t group) noexcept nogil:
    """Write the thetas of a group of tiles, and note whether they are finite."""
    cdef const Plan *base = &plan.plan
    cdef Py_ssize_t n = base.n_params, lanes = base.kernels.lanes, tile, first, part
    cdef char *thetas
    cdef bint finite
    work.first_tile = group * base.n_tiles // base.n_groups
    work.n_tiles = (group + 1) * base.n_tiles // base.n_groups - work.first_tile
    memset(work.high, 0, work.n_tiles * plan.n_sums * plan.lanes * sizeof(double))
    memset(work.low, 0, work.n_tiles * plan.n_sums * plan.lanes * sizeof(double))
    for tile in range(work.n_tiles):
        for part in range(plan.lanes // lanes):
            first = (work.first_tile + tile) * plan.lanes + part * lanes
            thetas = (work.thetas + tile * wide_size(plan)
                      + part * (n + 1) * lanes * base.kernels.itemsize)
            base.kernels.pack_thetas(
                base.thetas + first * n, max(0, min(lanes, base.n_candidates - first)), n, lanes,
                thetas)
            finite = base.kernels.find_excesses(thetas, n, lanes, base.rows.extent)
            work.finite = work.finite and finite
        if work.is_narrow:
            narrow_thetas(plan, work, tile)


cdef void narrow_thetas(const CountPlan *plan, CountWorkspace *work,
                        Py_ssize_t tile) noexcept nogil:
    """Write a tile in single precision. Lanes that leave its range are zeros of no certainty."""
    cdef const Screen *screen = plan.plan.screen
    cdef Py_ssize_t n = plan.plan.n_params, lane, j
    cdef const double *wide = <const double *>(work.thetas + tile * wide_size(plan))
    cdef float *narrow = work.narrow + tile * (plan.plan.n_params + 1) * plan.lanes
    cdef float *slopes = work.slopes + tile * plan.lanes
    # Of the sums of a span, which are not begun.
    cdef double *errors = work.partial
    plan.plan.kernels.narrow_tiles(wide, n, screen.factors, narrow)
    plan.plan.kernels.margin_errors(narrow, n, screen.sizes, errors)
    plan.plan.kernels.find_slopes(wide, n, plan.spreads, plan.units, plan.largest, slopes)
    for lane in range(plan.lanes):
        if not isfinite(errors[lane]):
            slopes[lane] = INFINITY
            for j in range(n):
                narrow[j * plan.lanes + lane] = 0


cdef void count_blocks(const CountPlan *plan, CountWorkspace *work, Py_ssize_t tile,
                       const Cuts *cuts, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Count the rows of some blocks for a tile."""
    cdef const Plan *base = &plan.plan
    cdef Py_ssize_t lanes = base.kernels.lanes, n = base.n_params, part, b, n_rows = 0
    cdef double *sums = work.partial + tile * plan.n_sums * plan.lanes
    cdef char *thetas = work.thetas + tile * wide_size(plan)
    cdef NarrowTile narrow
    if work.is_narrow:
        narrow.thetas = work.narrow + tile * (n + 1) * plan.lanes
        narrow.slopes = work.slopes + tile * plan.lanes
        narrow.wide = <const double *>thetas
        narrow.candidates = base.thetas + (work.first_tile + tile) * plan.lanes * n
        narrow.count = min(plan.lanes, base.n_candidates - (work.first_tile + tile) * plan.lanes)
        work.n_again += base.kernels.count_narrow(base.rows, base.screen.rows.panels, plan.norms,
                                                  first, last, &narrow, cuts, sums, plan.lanes)
        for b in range(first, last):
            n_rows += base.rows.rows[b]
        work.n_panels += <double>n_rows / PANEL * narrow.count
        work.is_narrow = work.n_again <= WORTH_COUNTING * work.n_panels + FEW_PANELS
        return
    for part in range(plan.lanes // lanes):
        base.kernels.count_tile(base.rows, first, last, thetas + part * (n + 1) * lanes
                                * base.kernels.itemsize, cuts, sums + part * lanes, plan.lanes)


cdef void write_counts(const CountPlan *plan, CountWorkspace *work,
                       Py_ssize_t stratum) noexcept nogil:
    """Write the cells of a stratum, whose sums are complete, and begin with the next one."""
    cdef Py_ssize_t tile, lane, t, place, n_cuts = plan.cuts[0].count
    cdef Py_ssize_t wrong_cell = 2 if stratum % 2 else 1, right_cell = 0 if stratum % 2 else 3
    cdef Py_ssize_t candidate, size = work.n_tiles * plan.n_sums * plan.lanes
    cdef double *cells
    cdef double wrong
    for tile in range(work.n_tiles):
        candidate = (work.first_tile + tile) * plan.lanes
        for lane in range(min(plan.lanes, plan.plan.n_candidates - candidate)):
            cells = (plan.cells + ((candidate + lane) * plan.n_groups_of_rows + stratum // 2)
                     * n_cuts * 4)
            for t in range(n_cuts):
                place = (tile * plan.n_sums + t) * plan.lanes + lane
                wrong = work.high[place] + work.low[place]
                cells[4 * t + wrong_cell] = wrong
                cells[4 * t + right_cell] = plan.totals[stratum] - wrong
                if plan.cuts[0].both:
                    place += n_cuts * plan.lanes
                    cells[4 * t + right_cell] = work.high[place] + work.low[place]
    memset(work.high, 0, size * sizeof(double))
    memset(work.low, 0, size * sizeof(double))


cdef void count_span(const CountPlan *plan, CountWorkspace *work, Py_ssize_t span) noexcept nogil:
    """Count the rows of a span for a group of tiles."""
    cdef Py_ssize_t size = work.n_tiles * plan.n_sums * plan.lanes, i, tile
    cdef Py_ssize_t block = plan.spans[span], until
    memset(work.partial, 0, size * sizeof(double))
    while block < plan.spans[span + 1]:
        until = min(plan.spans[span + 1], block + plan.plan.blocks_in_cache)
        for tile in range(work.n_tiles):
            count_blocks(plan, work, tile, &plan.cuts[plan.strata[span] % 2], block, until)
        block = until
    for i in range(size):
        if plan.cuts[0].both:
            add_exactly(work.high + i, work.low + i, work.partial[i])
        else:  # whole multiples of one number: any sum is exact
            work.high[i] += work.partial[i]
    if span + 1 == plan.n_spans or plan.strata[span] != plan.strata[span + 1]:
        write_counts(plan, work, plan.strata[span])


cdef void count_group(const CountPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Count some spans, or all, for one group of tiles."""
    cdef bint has_all = plan.first_span == 0 and plan.last_span == plan.n_spans
    cdef CountWorkspace *work = plan.workspaces + (thread if has_all else index)
    cdef Py_ssize_t span
    if plan.first_span == 0:
        begin_counts(plan, work, plan.plan.first_group + index)
    for span in range(plan.first_span, plan.last_span):
        count_span(plan, work, span)


cdef char *lay_out_counts(const CountPlan *plan, CountWorkspace *work, char *at) noexcept nogil:
    """Lay a workspace's arrays out from `at` on; returns the address behind them."""
    cdef Py_ssize_t n_tiles = plan.plan.wave
    cdef Py_ssize_t n_narrow = 0 if plan.plan.screen == NULL else n_tiles * plan.lanes
    cdef Py_ssize_t size = aligned(n_tiles * plan.n_sums * plan.lanes * sizeof(double))
    work.finite = True
    work.is_narrow = plan.plan.screen != NULL
    work.n_panels = work.n_again = 0
    work.thetas = at
    at += aligned(n_tiles * wide_size(plan))
    work.partial = <double *>at
    work.high = <double *>(at + size)
    work.low = <double *>(at + 2 * size)
    at += 3 * size
    work.narrow = <float *>at
    at += aligned(n_narrow * (plan.plan.n_params + 1) * sizeof(float))
    work.slopes = <float *>at
    return at + aligned(n_narrow * sizeof(float))


cdef void cut_counts(CountPlan *plan):
    """Choose groups of tiles, each for one thread, and how many spans of them at a time."""
    cdef Plan *base = &plan.plan
    cdef double tile_work = <double>base.n_blocks * PANEL * PANELS_PER_BLOCK * plan.lanes * (
        base.n_params + 20), group_work
    cdef Py_ssize_t tile_bytes = 2 * wide_size(plan) + 24 * plan.n_sums * plan.lanes
    cdef Py_ssize_t group = max(1, min(GROUP_TILES // 2, WAVE_MEMORY // tile_bytes,
                                       <Py_ssize_t>(SLICE_WORK / tile_work)))
    base.n_tiles = (base.n_candidates + plan.lanes - 1) // plan.lanes
    base.n_threads = metaopt_team(
        base.n_threads, min(tile_work * base.n_tiles, SLICE_WORK * base.n_threads))
    base.n_groups = (base.n_tiles + group - 1) // group
    if base.n_threads > 1:
        base.n_groups = min(base.n_tiles, max(base.n_groups, 8 * base.n_threads))
    base.wave = (base.n_tiles + base.n_groups - 1) // base.n_groups
    base.is_brief = base.n_threads == 1 and tile_work * base.n_tiles < SERIAL_WORK
    base.blocks_in_cache = max(1, CACHED_ROWS // (
        PANELS_PER_BLOCK * PANEL * base.n_params * base.kernels.itemsize))
    plan.tile_work = tile_work
    # Of work that takes too long between two looks at signals, a part of the rows at a time.
    group_work = tile_work * base.wave
    plan.last_span = plan.n_spans
    if group_work > SLICE_WORK:
        plan.last_span = max(1, <Py_ssize_t>(SLICE_WORK / group_work * plan.n_spans))
    base.groups_at_once = base.n_threads * max(1, <Py_ssize_t>(SLICE_WORK / group_work))


cdef bint run_counts(CountPlan *plan) except -1:
    """Count for all groups of tiles; False where a theta is not finite."""
    cdef Plan *base = &plan.plan
    cdef Py_ssize_t at_once = plan.last_span, count
    cdef double work
    cdef int thread
    base.first_group = 0
    while base.first_group < base.n_groups:
        count = min(base.groups_at_once, base.n_groups - base.first_group)
        plan.first_span = 0
        while plan.first_span < plan.n_spans:
            plan.last_span = min(plan.n_spans, plan.first_span + at_once)
            work = (plan.tile_work * base.n_tiles / base.n_groups * count
                    * (plan.last_span - plan.first_span) / plan.n_spans)
            if base.is_brief:
                metaopt_share[CountPlan](count_group, plan, count, 1, work)
            else:
                with nogil:
                    metaopt_share[CountPlan](count_group, plan, count, base.n_threads, work)
            for thread in range(base.n_threads):
                if not plan.workspaces[thread].finite:
                    return False
            PyErr_CheckSignals()
            plan.first_span = plan.last_span
        base.first_group += base.groups_at_once
    return True
