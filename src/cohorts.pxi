# Cohorts of candidates that lose those which cannot rank any more. Needs table.pxi, plan.pxi,
# tiles.pxi and results.pxi.

from libc.math cimport INFINITY, isfinite
from libc.string cimport memset

cdef inline void move_lane(real *thetas, Py_ssize_t n_rows, Py_ssize_t lanes, Py_ssize_t source,
                           Py_ssize_t target) noexcept nogil:
    """Copy the numbers of one lane of some tiles, n_rows in each, to another lane."""
    cdef Py_ssize_t j
    cdef real *to = thetas + target // lanes * n_rows * lanes + target % lanes
    cdef const real *origin = thetas + source // lanes * n_rows * lanes + source % lanes
    for j in range(n_rows):
        to[j * lanes] = origin[j * lanes]


cdef void move_candidate(const Plan *plan, Workspace *work, real *thetas, Py_ssize_t source,
                         Py_ssize_t target) noexcept nogil:
    """Copy a candidate of a cohort to another lane: its thetas, and what is summed so far."""
    move_lane(thetas, plan.n_params + 1, plan.lanes, source, target)
    work.loss_high[target], work.loss_low[target] = work.loss_high[source], work.loss_low[source]
    work.partial_losses[target] = work.partial_losses[source]
    work.candidates[target] = work.candidates[source]
    work.penalties[target] = work.penalties[source]


cdef inline Py_ssize_t next_look(const Plan *plan, Py_ssize_t block) noexcept nogil:
    """Return the block before which candidates are dropped next: 1, 2, 4, 8, then each span."""
    return min(plan.n_blocks, max(block + 1, 2 * block) if block < BLOCKS_PER_SPAN
               else block + BLOCKS_PER_SPAN)


cdef Py_ssize_t drop_candidates(const Plan *plan, Workspace *work, Py_ssize_t count,
                                real *thetas) noexcept nogil:
    """Close the ranks of a cohort's candidates that may reach the threshold; return their number.

    No loss of a row is negative, so what is summed so far only grows. Computed sums grow up to
    rounding, less than one part in 1e15: one in 1e12 is left for it. A sum that left the range says
    nothing of the mean.
    """
    cdef Py_ssize_t i, kept = 0
    cdef double total
    for i in range(count):
        total = work.loss_high[i] + work.loss_low[i] + work.partial_losses[i]
        if (isfinite(total)
                and loss_of(plan, total, work.penalties[i]) > plan.threshold * (1 + 1e-12)):
            continue
        if kept < i:
            move_candidate(plan, work, thetas, i, kept)
        kept += 1
    return kept


cdef double evaluate_cohort(const Plan *plan, Workspace *work, real *thetas,
                            Py_ssize_t count) noexcept nogil:
    """Evaluate the first `count` candidates of a cohort, whose thetas and numbers are in place;
    return how many (row, candidate) pairs that took."""
    cdef Py_ssize_t i, tile, block = 0, until, b, lanes = plan.lanes
    cdef double visited = 0
    for i in range(count):
        work.penalties[i] = penalty(plan, thetas + i // lanes * (plan.n_params + 1) * lanes,
                                    i % lanes)
        plan.losses[work.candidates[i]] = INFINITY
    memset(work.partial_losses, 0, (count + lanes - 1) // lanes * lanes * sizeof(double))
    while block < plan.n_blocks and count > 0:
        until = next_look(plan, block)
        for tile in range((count + lanes - 1) // lanes):
            plan.evaluate(plan.rows, block, until, thetas_of(plan, work, tile),
                          work.partial_losses + tile * lanes, NULL, work.scratch)
        for b in range(block, until):
            visited += count * plan.rows.rows[b]
        block = until
        if block % BLOCKS_PER_SPAN == 0 or block == plan.n_blocks:
            for i in range(count):
                add_exactly(work.loss_high + i, work.loss_low + i, work.partial_losses[i])
                work.partial_losses[i] = 0
        if block < plan.n_blocks:
            count = drop_candidates(plan, work, count, thetas)
    for i in range(count):
        plan.losses[work.candidates[i]] = loss_of_lane(
            plan, work, i, thetas + i // lanes * (plan.n_params + 1) * lanes + i % lanes,
            work.penalties[i])
    return visited


cdef void run_cohort(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Evaluate one group of tiles, dropping candidates that cannot reach the threshold."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t tile, count, i
    group += plan.first_group
    work.first_tile = group * plan.n_tiles // plan.n_groups
    work.n_tiles = (group + 1) * plan.n_tiles // plan.n_groups - work.first_tile
    for tile in range(work.n_tiles):
        fill_tile(plan, work, tile)
    count = min(work.n_tiles * plan.lanes, plan.n_candidates - work.first_tile * plan.lanes)
    for i in range(count):
        work.candidates[i] = work.first_tile * plan.lanes + i
    if plan.kernels.itemsize == sizeof(double):
        work.n_pairs += evaluate_cohort(plan, work, <double *>work.thetas, count)
    else:
        work.n_pairs += evaluate_cohort(plan, work, <float *>work.thetas, count)
