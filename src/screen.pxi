# Candidates screened in single precision: those that cannot rank are not evaluated. Needs
# plan.pxi, tiles.pxi, results.pxi and cohorts.pxi.
#
# Each thread keeps two queues. Candidates wait in single precision until there are enough of them;
# the rows tell which of them cannot rank; and those that may wait in double precision until a
# cohort is full. What is dropped depends on a candidate and the threshold alone.

from libc.math cimport INFINITY, isfinite, sqrt
from libc.string cimport memset

# What the sums of single precision may exceed the true ones by: 64 products of 1 + e, each off by
# less than 3 units in the last place, make less than 200 of them, 1.2e-5; as much is left again.
cdef double NARROW_ROUNDING = 2.4e-5
# What the means and penalties of double precision may be off by, and more.
cdef double WIDE_ROUNDING = 1e-9
# Error of margins by numbers below the normal ones of single precision: see screen.hpp.
cdef double UNDERFLOWS = 2.0 ** -90


cdef bint cannot_rank(const Plan *plan, double total, double error, double penalty) noexcept nogil:
    """Whether a candidate is above the threshold, by a part of its sum in single precision.

    Whatever is not a number keeps it.
    """
    cdef double mean = total / plan.total_weight * (1 - NARROW_ROUNDING)
    if not isfinite(total):
        return False
    if plan.kernels.of_root:
        mean = max(0.0, sqrt(mean) - error)
        mean *= mean
    else:
        mean -= error
    if plan.l2 > 0:
        mean += penalty
    return mean * (1 - WIDE_ROUNDING) > plan.threshold


cdef Py_ssize_t drop_narrow(const Plan *plan, Workspace *work, Py_ssize_t count) noexcept nogil:
    """Close the ranks of the screened candidates that may reach the threshold."""
    cdef Py_ssize_t lanes = 2 * plan.lanes, i, kept = 0
    for i in range(count):
        if cannot_rank(plan, work.narrow_sums[i], work.narrow_errors[i], work.narrow_penalties[i]):
            continue
        if kept < i:
            move_lane(<float *>work.narrow, plan.n_params + 1, lanes, i, kept)
            work.narrow_sums[kept] = work.narrow_sums[i]
            work.narrow_errors[kept] = work.narrow_errors[i]
            work.narrow_penalties[kept] = work.narrow_penalties[i]
            work.narrow_candidates[kept] = work.narrow_candidates[i]
        kept += 1
    return kept


cdef void evaluate_kept(const Plan *plan, Workspace *work) noexcept nogil:
    """Evaluate the candidates that wait in double precision."""
    cdef Py_ssize_t lanes = plan.lanes, n_tiles = (work.n_kept + lanes - 1) // lanes, tile
    cdef bint finite
    memset(work.loss_high, 0, n_tiles * lanes * sizeof(double))
    memset(work.loss_low, 0, n_tiles * lanes * sizeof(double))
    for tile in range(n_tiles):
        finite = plan.kernels.find_excesses(thetas_of(plan, work, tile), plan.n_params, lanes,
                                            plan.rows.extent)
        work.finite = work.finite and finite
    # Their pairs were counted in single precision.
    evaluate_cohort(plan, work, <double *>work.thetas, work.n_kept)
    work.n_kept = 0


cdef void keep(const Plan *plan, Workspace *work, Py_ssize_t candidate) noexcept nogil:
    """Let a candidate wait in double precision, its thetas read or drawn again."""
    cdef Py_ssize_t lanes = plan.lanes, lane = work.n_kept % lanes, j
    cdef double *to = <double *>thetas_of(plan, work, work.n_kept // lanes)
    cdef const double *thetas = <const double *>work.drawn
    if lane == 0:  # idle lanes are zeros
        memset(to, 0, (plan.n_params + 1) * lanes * sizeof(double))
    if plan.thetas == NULL:
        plan.kernels.draw(plan.sampler, plan.start + candidate, 1, work.drawn)
    else:
        thetas = plan.thetas + candidate * plan.n_params
    for j in range(plan.n_params):
        to[j * lanes + lane] = thetas[j]
    work.candidates[work.n_kept] = candidate
    work.n_kept += 1
    work.n_survivors += 1
    if work.n_kept == plan.wave * lanes:
        evaluate_kept(plan, work)


cdef void screen_narrow(const Plan *plan, Workspace *work) noexcept nogil:
    """Screen the candidates that wait in single precision."""
    cdef const Screen *screen = plan.screen
    cdef Py_ssize_t lanes = 2 * plan.lanes, count = work.n_narrow, block = 0, first, until, last
    cdef Py_ssize_t tile, b, i, size = (plan.n_params + 1) * lanes
    memset(work.narrow_sums, 0, (count + lanes - 1) // lanes * lanes * sizeof(double))
    while block < plan.n_blocks and count > 0:
        until = next_look(plan, block)
        first = block
        while first < until:
            last = min(until, first + 2 * plan.blocks_in_cache)
            for tile in range((count + lanes - 1) // lanes):
                screen.kernels.evaluate_tile(
                    &screen.rows, first, last, <float *>work.narrow + tile * size,
                    work.narrow_sums + tile * lanes, NULL, work.scratch)
            first = last
        for b in range(block, until):
            work.n_pairs += count * plan.rows.rows[b]
        block = until
        count = drop_narrow(plan, work, count)
    work.n_narrow = 0
    for i in range(count):
        keep(plan, work, work.narrow_candidates[i])


cdef void draw_narrow(const Plan *plan, Workspace *work, Py_ssize_t first,
                      Py_ssize_t count) noexcept nogil:
    """Let candidates `first` .. wait in single precision, up to a tile of them."""
    cdef Py_ssize_t lanes = plan.lanes, size = (plan.n_params + 1) * lanes, half, lane, at, j
    cdef double *drawn = <double *>work.drawn
    cdef double *errors = work.narrow_errors + work.n_narrow
    for half in range(2):
        if plan.thetas == NULL:
            plan.kernels.draw(plan.sampler, plan.start + first + half * lanes, lanes,
                              drawn + half * size)
        else:
            plan.kernels.pack_thetas(
                plan.thetas + (first + half * lanes) * plan.n_params,
                max(0, min(lanes, count - half * lanes)), plan.n_params, lanes, drawn + half * size)
    plan.kernels.narrow_tiles(drawn, plan.n_params, plan.screen.factors, plan.screen.sizes,
                              <float *>work.narrow + work.n_narrow * (plan.n_params + 1), errors)
    for lane in range(2 * lanes):
        # Infinite or not a number where single precision is not enough: cannot_rank keeps it.
        errors[lane] = plan.kernels.slope * (plan.screen.gamma * errors[lane] + UNDERFLOWS)
        at = work.n_narrow + lane
        work.narrow_penalties[at] = penalty(plan, drawn + lane // lanes * size, lane % lanes)
        work.narrow_candidates[at] = first + lane
        if lane < count:
            plan.losses[first + lane] = INFINITY
            if not isfinite(errors[lane]):
                for j in range(plan.n_params):
                    if not isfinite(drawn[lane // lanes * size + j * lanes + lane % lanes]):
                        work.finite = False
    work.n_narrow += min(count, 2 * lanes)


cdef void screen_group(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Screen one group of tiles of single precision."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t lanes = 2 * plan.lanes, n_tiles = (plan.n_candidates + lanes - 1) // lanes
    cdef Py_ssize_t tile
    group += plan.first_group
    for tile in range(group * n_tiles // plan.n_groups, (group + 1) * n_tiles // plan.n_groups):
        draw_narrow(plan, work, tile * lanes, min(lanes, plan.n_candidates - tile * lanes))
        # The last tile of all may have idle lanes.
        if work.n_narrow % lanes != 0 or work.n_narrow == plan.narrow_tiles * lanes:
            screen_narrow(plan, work)


cdef void finish_screen(const Plan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Empty the queues of one workspace, whichever thread filled them."""
    cdef Workspace *work = plan.workspaces + index
    screen_narrow(plan, work)
    evaluate_kept(plan, work)
