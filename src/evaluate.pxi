# How the work of a call is cut and shared among threads. Needs table.pxi, plan.pxi, tiles.pxi,
# results.pxi, cohorts.pxi and screen.pxi.
#
# Two ways: whole groups of tiles for each thread, where there are enough and none takes long; or
# the rows of the same tiles for all threads.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

ctypedef void (*Task)(const Plan *, Py_ssize_t, int) noexcept nogil


cdef void run_all(Task task, const Plan *plan, Py_ssize_t count, double work):
    """Run a task for 0 .. count - 1, which is so much work; with Python's lock if that is brief."""
    if plan.is_brief:
        metaopt_share[Plan](task, plan, count, 1, work)
    else:
        with nogil:
            metaopt_share[Plan](task, plan, count, plan.n_threads, work)


cdef void run_group(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Evaluate one group of tiles over all rows, in a thread's own workspace."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t tile
    group += plan.first_group
    work.first_tile = group * plan.n_tiles // plan.n_groups
    work.n_tiles = (group + 1) * plan.n_tiles // plan.n_groups - work.first_tile
    for tile in range(work.n_tiles):
        fill_tile(plan, work, tile)
    work.first_span = 0
    while work.first_span < plan.n_all_spans:
        work.n_spans = min(plan.slice, plan.n_all_spans - work.first_span)
        evaluate_spans(plan, work, 0, work.n_tiles, 0, work.n_spans, work.scratch)
        for tile in range(work.n_tiles):
            fold_tile(plan, work, tile)
        work.first_span += work.n_spans
    for tile in range(work.n_tiles):
        finish_tile(plan, work, tile)


cdef void run_part(const Plan *plan, Py_ssize_t part, int thread) noexcept nogil:
    """Evaluate one group of tiles over one range of spans, in the workspace of all threads."""
    cdef Workspace *work = plan.workspaces
    cdef Py_ssize_t group = part % plan.n_groups
    cdef char *scratch = work.scratch + thread * plan.scratch_size
    part //= plan.n_groups
    evaluate_spans(plan, work, group * work.n_tiles // plan.n_groups,
                   (group + 1) * work.n_tiles // plan.n_groups,
                   part * work.n_spans // plan.n_ranges,
                   (part + 1) * work.n_spans // plan.n_ranges, scratch)


cdef void fold_one(const Plan *plan, Py_ssize_t tile, int thread) noexcept nogil:
    fold_tile(plan, plan.workspaces, tile)


cdef bint run_groups(Plan *plan) except -1:
    """Evaluate groups of tiles, each by one thread; False where a theta is not finite."""
    cdef int thread
    cdef Py_ssize_t count
    cdef double group_work = tile_work_of(plan) * plan.n_tiles / plan.n_groups
    cdef Task task = run_cohort if plan.threshold < INFINITY else run_group
    if plan.screen != NULL:
        task = screen_group
    plan.first_group = 0
    while plan.first_group < plan.n_groups:
        count = min(plan.groups_at_once, plan.n_groups - plan.first_group)
        run_all(task, plan, count, count * group_work)
        for thread in range(plan.n_threads):
            if not plan.workspaces[thread].finite:
                return False
        plan.first_group += plan.groups_at_once
        PyErr_CheckSignals()
    if plan.screen != NULL:
        # What waits in a workspace is about a group.
        run_all(finish_screen, plan, plan.n_threads, plan.n_threads * group_work)
        for thread in range(plan.n_threads):
            if not plan.workspaces[thread].finite:
                return False
    return True


cdef bint run_slices(Plan *plan) except -1:
    """Evaluate plan.wave tiles and plan.slice spans at a time, by all threads together."""
    cdef Workspace *work = plan.workspaces
    cdef Py_ssize_t tile
    cdef double span_work = span_work_of(plan)
    cdef double fold_work = FOLD_WORK * plan.lanes * (plan.n_params if plan.gradients else 1)
    work.first_tile = 0
    while work.first_tile < plan.n_tiles:
        work.n_tiles = min(plan.wave, plan.n_tiles - work.first_tile)
        for tile in range(work.n_tiles):
            fill_tile(plan, work, tile)
        if not work.finite:
            return False
        work.first_span = 0
        while work.first_span < plan.n_all_spans:
            work.n_spans = min(plan.slice, plan.n_all_spans - work.first_span)
            plan.n_ranges = min(work.n_spans, 16 * plan.n_threads)
            plan.n_groups = min(work.n_tiles, 1 + 4 * plan.n_threads // plan.n_ranges)
            with nogil:
                metaopt_share[Plan](run_part, plan, plan.n_groups * plan.n_ranges, plan.n_threads,
                                    span_work * work.n_tiles * work.n_spans)
                metaopt_share[Plan](fold_one, plan, work.n_tiles, plan.n_threads,
                                    fold_work * work.n_tiles * work.n_spans)
            work.first_span += work.n_spans
            PyErr_CheckSignals()
        for tile in range(work.n_tiles):
            finish_tile(plan, work, tile)
        work.first_tile += work.n_tiles
    return True


cdef Py_ssize_t tile_bytes_of(const Plan *plan) noexcept nogil:
    """Return the bytes of a tile's thetas and partial sums."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize
    cdef Py_ssize_t size = 2 * plan.n_params * plan.lanes * itemsize
    if plan.gradients:
        size += 2 * plan.n_params * plan.lanes * (itemsize + 8)
    return size


cdef double span_work_of(const Plan *plan) noexcept nogil:
    """Return the visits of a tile over one span."""
    cdef double visits = plan.lanes * ROWS_PER_SPAN * plan.row_work
    return 2 * visits if plan.gradients else visits


cdef double tile_work_of(const Plan *plan) noexcept nogil:
    """Return the visits of a tile over all rows."""
    return span_work_of(plan) * plan.n_all_spans


cdef void choose_tiles(Plan *plan) noexcept nogil:
    """Choose the candidates of a tile, and the blocks that tiles read together."""
    plan.n_all_spans = (plan.n_blocks + BLOCKS_PER_SPAN - 1) // BLOCKS_PER_SPAN
    plan.lanes, plan.evaluate = plan.kernels.lanes, plan.kernels.evaluate_tile
    if plan.n_candidates <= plan.few and plan.threshold == INFINITY:
        plan.lanes, plan.evaluate = 1, plan.kernels.evaluate_one
    plan.n_tiles = (plan.n_candidates + plan.lanes - 1) // plan.lanes
    plan.blocks_in_cache = max(1, CACHED_ROWS // (
        PANELS_PER_BLOCK * PANEL * plan.rows.n_params * plan.kernels.itemsize))


cdef bint is_for_groups(const Plan *plan, double tile_work) noexcept nogil:
    """Whether threads take whole groups of tiles: there are enough, and none takes long."""
    cdef Py_ssize_t rounds = (plan.n_tiles + plan.n_threads - 1) // plan.n_threads
    # Tiles of long work that threads cannot share evenly are shared by their rows.
    cdef bint uneven = (tile_work > LONG_TILE and plan.threshold == INFINITY
                        and rounds * plan.n_threads > IDLE * plan.n_tiles)
    cdef Py_ssize_t tiles_of_each = 4 if plan.threshold == INFINITY else PRUNED_TILES
    return tile_work <= SLICE_WORK and (
        plan.n_threads == 1 or (plan.n_tiles >= tiles_of_each * plan.n_threads and not uneven))


cdef int threads_of_tiles(const Plan *plan, double tile_work) noexcept nogil:
    """Return how many threads may take groups of tiles where candidates are dropped: of a tile
    whose rows are shared out, none is."""
    if plan.threshold == INFINITY or plan.upper != NULL or tile_work > SLICE_WORK:
        return plan.n_threads
    return <int>max(1, min(<Py_ssize_t>plan.n_threads, plan.n_tiles // PRUNED_TILES))


cdef void cut_into_groups(Plan *plan, double tile_work) noexcept nogil:
    """Choose groups of tiles, each for one thread."""
    # Many tiles in a group read rows seldom; few of them even out the threads.
    # A cohort that candidates drop out of has to be larger, for tiles to stay full.
    cdef Py_ssize_t tile_bytes
    cdef Py_ssize_t group = max(1, min(
        GROUP_TILES if plan.threshold == INFINITY else COHORT_TILES,
        WAVE_MEMORY // tile_bytes_of(plan), <Py_ssize_t>(SLICE_WORK / tile_work)))
    cdef Py_ssize_t least = (plan.n_tiles + group - 1) // group, full
    plan.n_groups = least
    if plan.n_threads > 1:
        plan.n_groups = max(plan.n_groups, 8 * plan.n_threads)
        plan.n_groups = (plan.n_groups + plan.n_threads - 1) // plan.n_threads * plan.n_threads
        # A few groups of unlike size would leave a thread without work.
        if plan.n_tiles < 4 * plan.n_groups:
            plan.n_groups = plan.n_tiles
        # But a cohort of one tile keeps its lanes until the last of them is dropped.
        if plan.threshold < INFINITY and plan.screen == NULL:
            full = plan.n_tiles // FULL_COHORT // plan.n_threads * plan.n_threads
            plan.n_groups = min(plan.n_groups, max(least, max(plan.n_threads, full)))
    plan.wave, plan.slice = (plan.n_tiles + plan.n_groups - 1) // plan.n_groups, 1
    if plan.lanes == 1 and plan.wave == 1:
        plan.slice = max(1, min(min(SPANS_AT_ONCE, plan.n_all_spans),
                                WAVE_MEMORY // tile_bytes_of(plan)))
    if plan.screen != NULL:
        # Survivors of many groups make a cohort.
        plan.wave = min(group, plan.n_tiles)
        tile_bytes = 2 * plan.lanes * plan.n_params * <Py_ssize_t>sizeof(float)
        plan.narrow_tiles = max(2, min(64, NARROW_MEMORY // tile_bytes),
                                min(WIDE_TILES, WIDE_MEMORY // tile_bytes))
    plan.groups_at_once = plan.n_threads * max(
        1, <Py_ssize_t>(SLICE_WORK / (tile_work * plan.wave)))


cdef void cut_into_slices(Plan *plan) noexcept nogil:
    """Choose tiles and spans whose work all threads share."""
    cdef Py_ssize_t tile_bytes = tile_bytes_of(plan), most = 4 * plan.n_threads
    cdef Py_ssize_t memory = WAVE_MEMORY * plan.n_threads
    if plan.on_disk:  # each wave reads all rows
        most, memory = plan.n_tiles, max(memory, DISK_MEMORY)
    plan.wave = max(1, min(plan.n_tiles, most, memory // tile_bytes))
    plan.slice = max(1, <Py_ssize_t>min(
        <double>plan.n_all_spans,
        SLICE_WORK * plan.n_threads / (span_work_of(plan) * plan.wave),
        <double>memory / tile_bytes / plan.wave))


cdef bint evaluate(Plan *plan) except -1:
    """Evaluate all candidates of the plan; False where a theta is not finite."""
    choose_tiles(plan)
    cdef double tile_work = tile_work_of(plan)
    cdef int n_threads = threads_of_tiles(plan, tile_work)
    plan.n_threads = metaopt_team(
        n_threads, min(tile_work * plan.n_tiles, SLICE_WORK * n_threads))
    cdef bint by_groups = is_for_groups(plan, tile_work), finite
    plan.is_brief = plan.n_threads == 1 and tile_work * plan.n_tiles < SERIAL_WORK
    if by_groups:
        cut_into_groups(plan, tile_work)
    else:
        plan.screen = NULL
        cut_into_slices(plan)
    cdef Py_ssize_t n_workspaces = plan.n_threads if by_groups else 1
    cdef int thread, sharing = 1 if by_groups else plan.n_threads
    cdef Workspace layout
    cdef Py_ssize_t size = lay_out(plan, &layout, NULL, sharing) - <char *>NULL
    cdef Py_ssize_t heads = aligned(n_workspaces * sizeof(Workspace))
    cdef char *memory = <char *>malloc(ALIGNMENT + heads + n_workspaces * size)
    if memory == NULL:
        raise MemoryError
    cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.workspaces = <Workspace *>at
    at += heads
    for thread in range(n_workspaces):
        at = lay_out(plan, plan.workspaces + thread, at, sharing)
    try:
        if not by_groups:
            return run_slices(plan)
        finite = run_groups(plan)
        for thread in range(n_workspaces):
            plan.n_pairs += plan.workspaces[thread].n_pairs
            if plan.screen != NULL:
                add_tally(&plan.tally, &plan.workspaces[thread].tally)
        return finite
    finally:
        free(memory)
