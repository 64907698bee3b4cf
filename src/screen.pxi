# Candidates screened in single precision: those that cannot rank are not evaluated. Needs
# plan.pxi, tiles.pxi and cohorts.pxi.
#
# A tile is drawn, and moments of the rows tell which of its candidates cannot rank. Each thread
# keeps two queues of those that may. They wait in single precision until there are enough of them;
# the rows, and moments or a tangent of those that follow, tell of more of them that they cannot
# rank; and those that still may wait in double precision until a cohort is full. What is dropped
# depends on a candidate and the threshold alone.

from libc.math cimport INFINITY, isfinite, sqrt
from libc.string cimport memcpy, memset

# What the sums of single precision may exceed the true ones by: 64 products of 1 + e, each off by
# less than 3 units in the last place, make less than 200 of them, 1.2e-5; as much is left again.
cdef double NARROW_ROUNDING = 2.4e-5
# What the means and penalties of double precision may be off by, and more.
cdef double WIDE_ROUNDING = 1e-9
# So many candidates take less time one by one in double precision than as a tile of single
# precision: of 10,000 x 30 rows, 90 us each, and 350.
cdef Py_ssize_t FEW_NARROW = 3
# Error of margins by numbers below the normal ones of single precision: see screen.hpp.
cdef double UNDERFLOWS = 2.0 ** -90


cdef void add_tally(Tally *to, const Tally *tally) noexcept nogil:
    """Add what one thread dropped."""
    cdef int point
    for point in range(MAX_POINTS):
        to.reached[point] += tally.reached[point]
        to.passed[point] += tally.passed[point]
    to.screened += tally.screened
    to.survived += tally.survived


cdef inline bint is_above(const Plan *plan, double mean, double added) noexcept nogil:
    """Whether a lower bound of a candidate's mean loss, with its penalty, keeps it from ranking.

    A mean that is not a number does not.
    """
    if plan.l2 > 0:
        mean += added
    return mean * (1 - WIDE_ROUNDING) > plan.threshold


cdef bint cannot_rank(const Plan *plan, double total, double error, double added,
                      double further) noexcept nogil:
    """Whether a candidate is above the threshold, by a part of its sum in single precision.

    `further` is a lower bound of what all other rows add to its mean. Whatever is not a number
    keeps it.
    """
    cdef double mean = total / plan.total_weight * (1 - NARROW_ROUNDING)
    if not isfinite(total):
        return False
    if plan.kernels.of_root:
        mean = max(0.0, sqrt(mean) - error)
        mean *= mean
    else:
        mean -= error
    if further > 0:
        mean += further
    return is_above(plan, mean, added)


cdef Py_ssize_t drop_narrow(const Plan *plan, Workspace *work, Py_ssize_t count) noexcept nogil:
    """Close the ranks of the screened candidates that may reach the threshold."""
    cdef Py_ssize_t lanes = 2 * plan.lanes, i, kept = 0
    for i in range(count):
        if cannot_rank(plan, work.narrow_sums[i], work.narrow_errors[i], work.narrow_penalties[i],
                       work.narrow_bounds[i]):
            continue
        if kept < i:
            move_lane(work.narrow, plan.n_params + 1, lanes, i, kept)
            work.narrow_sums[kept] = work.narrow_sums[i]
            work.narrow_errors[kept] = work.narrow_errors[i]
            work.narrow_penalties[kept] = work.narrow_penalties[i]
            work.narrow_curvature[kept] = work.narrow_curvature[i]
            work.narrow_candidates[kept] = work.narrow_candidates[i]
        kept += 1
    return kept


cdef void put_apart(const Plan *plan, Workspace *work) noexcept nogil:
    """Write the thetas that wait in double precision one behind the other, as tiles of one lane."""
    cdef Py_ssize_t size = plan.n_params + 1, i, j
    cdef double *apart = <double *>work.drawn
    cdef double *thetas = <double *>work.thetas
    for i in range(work.n_kept):
        for j in range(size):
            apart[i * size + j] = thetas[j * plan.lanes + i]
    memcpy(thetas, apart, work.n_kept * size * sizeof(double))


cdef void evaluate_kept(const Plan *plan, Workspace *work) noexcept nogil:
    """Evaluate the candidates that wait in double precision, a few of them one by one."""
    cdef Plan own = plan[0]
    cdef Py_ssize_t tile, n_tiles
    cdef bint finite
    cdef double visited
    if work.n_kept <= plan.few:
        put_apart(plan, work)
        own.lanes, own.evaluate = 1, plan.kernels.evaluate_one
    n_tiles = (work.n_kept + own.lanes - 1) // own.lanes
    memset(work.loss_high, 0, n_tiles * own.lanes * sizeof(double))
    memset(work.loss_low, 0, n_tiles * own.lanes * sizeof(double))
    for tile in range(n_tiles):
        finite = plan.kernels.find_excesses(thetas_of(&own, work, tile), plan.n_params, own.lanes,
                                            plan.rows.extent)
        work.finite = work.finite and finite
    visited = evaluate_cohort(&own, work, <double *>work.thetas, work.n_kept)
    # Where rows screen in single precision, their pairs are counted there.
    if not plan.screen.has_rows:
        work.n_pairs += visited
    work.n_kept = 0


cdef void keep(const Plan *plan, Workspace *work, Py_ssize_t candidate) noexcept nogil:
    """Let a candidate wait in double precision, its thetas read or drawn again."""
    cdef Py_ssize_t lanes = plan.lanes, lane = work.n_kept % lanes, j
    cdef double *to = <double *>thetas_of(plan, work, work.n_kept // lanes)
    cdef const double *thetas = <const double *>work.drawn
    if lane == 0:  # idle lanes are zeros
        memset(to, 0, (plan.n_params + 1) * lanes * sizeof(double))
    if plan.thetas == NULL:
        plan.kernels.draw(plan.sampler, plan.start + candidate, 1, work.drawn,
                          <double *>work.scratch)
    else:
        thetas = plan.thetas + candidate * plan.n_params
    for j in range(plan.n_params):
        to[j * lanes + lane] = thetas[j]
    work.candidates[work.n_kept] = candidate
    work.n_kept += 1
    if work.n_kept == plan.wave * lanes:
        evaluate_kept(plan, work)


cdef Py_ssize_t next_point(const Screen *screen, Py_ssize_t block) noexcept nogil:
    """Return the number of the first check point from a block on, or how many there are."""
    cdef Py_ssize_t point = 0
    while point < screen.n_points and screen.points[point].block < block:
        point += 1
    return point


cdef Py_ssize_t next_tangent(const Screen *screen, Py_ssize_t first,
                             Py_ssize_t block) noexcept nogil:
    """Return the number of the first tangent from a block on, the `first` or a later one."""
    while first < screen.n_tangents and screen.tangent_blocks[first] < block:
        first += 1
    return first


cdef void bound_by_tangent(const Plan *plan, Workspace *work, Py_ssize_t tangent,
                           Py_ssize_t count) noexcept nogil:
    """Write lower bounds of what further rows add to the mean, from a tangent of theirs, and from
    the curvature of those among them that the first point has it of."""
    cdef const Screen *screen = plan.screen
    cdef Py_ssize_t lanes = 2 * plan.lanes, n = plan.n_params, i
    cdef bint is_curved = screen.tangent_blocks[tangent] <= screen.curved_from
    for i in range(count):
        if i % lanes == 0:
            screen.kernels.slope_products(screen.tangent_slopes + tangent * n,
                                          work.narrow + i * (n + 1), n, work.tile_bounds)
        work.narrow_bounds[i] = screen.tangent_constants[tangent] + work.tile_bounds[i % lanes]
        if is_curved and work.narrow_curvature[i] > screen.curve_doubt:
            work.narrow_bounds[i] += work.narrow_curvature[i] - screen.curve_doubt
    work.n_pairs += count


cdef void bound_by_moments(const Plan *plan, Workspace *work, Py_ssize_t point,
                           Py_ssize_t count) noexcept nogil:
    """Write lower bounds of what further rows add to the mean, from moments of theirs."""
    cdef const Screen *screen = plan.screen
    cdef Py_ssize_t lanes = 2 * plan.lanes, i
    for i in range(count):
        if i % lanes == 0:
            screen.kernels.moment_bounds(screen.points[point].moments,
                                         work.narrow + i * (plan.n_params + 1), INFINITY,
                                         work.tile_bounds, work.tile_bounds + lanes)
        work.narrow_bounds[i] = work.tile_bounds[i % lanes]
    work.n_pairs += count * (plan.n_params + 1)
    work.tally.reached[point] += count


cdef void write_bounds(const Plan *plan, const Workspace *work, Py_ssize_t i) noexcept nogil:
    """Write bounds of the loss of a theta that is screened, infinite ones where its sum says
    nothing."""
    cdef Py_ssize_t candidate = work.narrow_candidates[i], j
    cdef double mean = work.narrow_sums[i] / plan.total_weight, error = work.narrow_errors[i]
    cdef double lower = mean * (1 - NARROW_ROUNDING), upper = mean * (1 + NARROW_ROUNDING)
    cdef const double *theta = plan.thetas + candidate * plan.n_params
    cdef double added = 0
    if plan.kernels.of_root:
        lower, upper = max(0.0, sqrt(lower) - error), sqrt(upper) + error
        lower, upper = lower * lower, upper * upper
    else:
        lower, upper = lower - error, upper + error
    for j in range(plan.n_penalised if plan.l2 > 0 else 0):
        added += plan.l2 * theta[j] * theta[j] / 2
    lower, upper = lower + added, upper + added
    lower, upper = lower - WIDE_ROUNDING * abs(lower), upper + WIDE_ROUNDING * abs(upper)
    if not (isfinite(lower) and isfinite(upper)):
        lower, upper = -INFINITY, INFINITY
    plan.losses[candidate], plan.upper[candidate] = lower, upper


cdef void screen_narrow(const Plan *plan, Workspace *work) noexcept nogil:
    """Screen the candidates that wait in single precision."""
    cdef const Screen *screen = plan.screen
    cdef Py_ssize_t lanes = 2 * plan.lanes, count = work.n_narrow, block = 0, first, until, last
    cdef Py_ssize_t tile, b, i, size = (plan.n_params + 1) * lanes, point = 0, tangent = 0
    cdef Py_ssize_t n_tiles = (count + lanes - 1) // lanes
    cdef bint at_point
    memset(work.narrow_sums, 0, n_tiles * lanes * sizeof(double))
    work.tally.screened += count
    for tile in range(n_tiles):
        plan.kernels.margin_errors(work.narrow + tile * size, plan.n_params, screen.sizes,
                                   work.narrow_errors + tile * lanes)
    for i in range(count):
        # Infinite or not a number where single precision is not enough: cannot_rank keeps it.
        work.narrow_errors[i] = plan.kernels.slope * (
            screen.gamma * work.narrow_errors[i] + screen.doubt + UNDERFLOWS)
    while block < plan.n_blocks and count > 0:
        point = next_point(screen, block + 1)
        tangent = next_tangent(screen, tangent, block + 1)
        until = next_look(plan, block) if screen.n_tangents == 0 else plan.n_blocks
        if tangent < screen.n_tangents:
            until = min(until, screen.tangent_blocks[tangent])
        if point < screen.n_points:
            until = min(until, screen.points[point].block)
        first = block
        while first < until:
            last = min(until, first + 2 * plan.blocks_in_cache)
            for tile in range((count + lanes - 1) // lanes):
                screen.kernels.evaluate_tile(
                    &screen.rows, first, last, work.narrow + tile * size,
                    work.narrow_sums + tile * lanes, NULL, work.scratch)
            first = last
        for b in range(block, until):
            work.n_pairs += count * screen.rows.rows[b]
        block = until
        at_point = point < screen.n_points and screen.points[point].block == block
        if at_point:
            bound_by_moments(plan, work, point, count)
        elif tangent < screen.n_tangents and screen.tangent_blocks[tangent] == block:
            bound_by_tangent(plan, work, tangent, count)
        else:
            memset(work.narrow_bounds, 0, count * sizeof(double))
        count = drop_narrow(plan, work, count)
        if at_point:
            work.tally.passed[point] += count
        if count <= FEW_NARROW and plan.upper == NULL:
            for b in range(block, plan.n_blocks):
                work.n_pairs += count * screen.rows.rows[b]
            break
    work.n_narrow = 0
    work.tally.survived += count
    for i in range(count):
        if plan.upper != NULL:
            write_bounds(plan, work, i)
        else:
            keep(plan, work, work.narrow_candidates[i])


cdef void draw_again(const Plan *plan, Workspace *work, Py_ssize_t first,
                     Py_ssize_t lane) noexcept nogil:
    """Draw a candidate of the fresh tile in double precision."""
    cdef Py_ssize_t j
    cdef const double *drawn = <const double *>work.drawn
    plan.kernels.draw(plan.sampler, plan.start + first + lane, 1, work.drawn,
                      <double *>work.scratch)
    for j in range(plan.n_params):
        work.fresh[j * 2 * plan.lanes + lane] = <float>(drawn[j] * plan.screen.factors[j])


cdef void draw_fresh(const Plan *plan, Workspace *work, Py_ssize_t first,
                     Py_ssize_t count) noexcept nogil:
    """Draw candidates `first` .., a tile of single precision."""
    cdef Py_ssize_t lanes = plan.lanes, size = (plan.n_params + 1) * lanes, half, lane, j
    cdef double *drawn = <double *>work.drawn
    if plan.screen.sampler != NULL:
        if plan.kernels.draw_narrow(plan.screen.sampler, plan.start + first, work.fresh,
                                    work.rare):
            for lane in range(count):
                if work.rare[lane] != 0:
                    draw_again(plan, work, first, lane)
        return
    for half in range(2):
        if plan.thetas == NULL:
            plan.kernels.draw(plan.sampler, plan.start + first + half * lanes, lanes,
                              drawn + half * size, <double *>work.scratch)
        else:
            plan.kernels.pack_thetas(
                plan.thetas + (first + half * lanes) * plan.n_params,
                max(0, min(lanes, count - half * lanes)), plan.n_params, lanes, drawn + half * size)
    if not plan.kernels.narrow_tiles(drawn, plan.n_params, plan.screen.factors, work.fresh):
        for lane in range(count):
            for j in range(plan.n_params):
                if not isfinite(drawn[lane // lanes * size + j * lanes + lane % lanes]):
                    work.finite = False


cdef void wait_narrow(const Plan *plan, Workspace *work, Py_ssize_t lane,
                      Py_ssize_t candidate) noexcept nogil:
    """Let a candidate of the fresh tile wait in single precision."""
    cdef Py_ssize_t lanes = 2 * plan.lanes, size = (plan.n_params + 1) * lanes, j
    cdef Py_ssize_t at = work.n_narrow
    cdef float *to = work.narrow + at // lanes * size + at % lanes
    if not plan.screen.has_rows:
        keep(plan, work, candidate)
        return
    if at % lanes == 0:  # idle lanes are zeros
        memset(to, 0, size * sizeof(float))
    for j in range(plan.n_params):
        to[j * lanes] = work.fresh[j * lanes + lane]
    work.narrow_penalties[at] = work.fresh_penalties[lane]
    work.narrow_curvature[at] = work.fresh_curvature[lane]
    work.narrow_candidates[at] = candidate
    work.n_narrow += 1
    if work.n_narrow == plan.narrow_tiles * lanes:
        screen_narrow(plan, work)


cdef void wait_together(const Plan *plan, Workspace *work, Py_ssize_t first) noexcept nogil:
    """Let all candidates of the fresh tile wait in single precision, in a tile of their own."""
    cdef Py_ssize_t lanes = 2 * plan.lanes, size = (plan.n_params + 1) * lanes, lane
    cdef Py_ssize_t at = work.n_narrow
    memcpy(work.narrow + at // lanes * size, work.fresh, size * sizeof(float))
    memcpy(work.narrow_penalties + at, work.fresh_penalties, lanes * sizeof(float))
    for lane in range(lanes):
        work.narrow_candidates[at + lane] = first + lane
    work.n_narrow += lanes
    if work.n_narrow == plan.narrow_tiles * lanes:
        screen_narrow(plan, work)


cdef void screen_tile(const Plan *plan, Workspace *work, Py_ssize_t first,
                      Py_ssize_t count) noexcept nogil:
    """Draw a tile of candidates; those that may rank, as far as moments tell, wait."""
    cdef const Screen *screen = plan.screen
    cdef Py_ssize_t lanes = 2 * plan.lanes, lane
    cdef bint has_bound = screen.n_points > 0 and screen.points[0].block == 0
    # What is above the number of single precision next to a limit is above the limit.
    cdef float limit = <float>(plan.threshold * (1 + 2 * WIDE_ROUNDING))
    draw_fresh(plan, work, first, count)
    if plan.l2 > 0:
        plan.kernels.penalties_below(work.fresh, plan.n_penalised, screen.halves, screen.doubts,
                                     work.fresh_penalties)
    if not has_bound and screen.has_rows and count == lanes and work.n_narrow % lanes == 0:
        wait_together(plan, work, first)
        return
    if has_bound:
        work.n_pairs += count * (plan.n_params + 1)
        work.tally.reached[0] += count
        if screen.kernels.moment_bounds(screen.points[0].moments, work.fresh, limit,
                                        work.fresh_bounds, work.fresh_curvature):  # most tiles
            return
    for lane in range(count):
        if has_bound:
            # Of most lanes, one comparison tells.
            if (work.fresh_bounds[lane] > limit
                    or is_above(plan, work.fresh_bounds[lane], work.fresh_penalties[lane])):
                continue
            work.tally.passed[0] += 1
        wait_narrow(plan, work, lane, first + lane)


cdef void fill_with_infinity(double *losses, Py_ssize_t count) noexcept nogil:
    """Write infinity so many times: copies are faster than a loop that is compiled for size."""
    cdef Py_ssize_t done = 1
    if count > 0:
        losses[0] = INFINITY
    while done < count:
        memcpy(losses + done, losses, min(done, count - done) * sizeof(double))
        done *= 2


cdef void screen_group(const Plan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Screen one group of tiles of single precision."""
    cdef Workspace *work = plan.workspaces + thread
    cdef Py_ssize_t lanes = 2 * plan.lanes, n_tiles = (plan.n_candidates + lanes - 1) // lanes
    cdef Py_ssize_t tile, first, last
    group += plan.first_group
    first, last = group * n_tiles // plan.n_groups, (group + 1) * n_tiles // plan.n_groups
    fill_with_infinity(plan.losses + first * lanes,
                       min(last * lanes, plan.n_candidates) - first * lanes)
    for tile in range(first, last):
        screen_tile(plan, work, tile * lanes, min(lanes, plan.n_candidates - tile * lanes))


cdef void finish_screen(const Plan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Empty the queues of one workspace, whichever thread filled them."""
    cdef Workspace *work = plan.workspaces + index
    screen_narrow(plan, work)
    evaluate_kept(plan, work)
