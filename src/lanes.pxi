# Models with weights and labels of their own for rows that they share, one in each lane: what is
# summed over the rows, and L-BFGS. Needs structures.pxi, table.pxi, plan.pxi and newton.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# Trials that L-BFGS remembers: resamples of 569 x 30 and of 1,797 x 62 take 16 to 22.
cdef Py_ssize_t LANE_PAIRS_KEPT = 20
# Bytes of tiles at work, beyond one for each thread.
cdef Py_ssize_t LANE_MEMORY = 64 * 1024 * 1024
# Positions whose signed weights are filled for one lane after the other: they stay in a cache.
cdef Py_ssize_t FILLED_TOGETHER = 256
# Tiles of each thread between two looks at signals, at most.
cdef Py_ssize_t TILES_AT_ONCE = 16


cdef enum LaneTask:
    LANE_LOSSES, LANE_GRADIENTS, LANE_HESSIANS, LANE_DESCENT


cdef struct LaneData:
    # The rows' numbers at each position, -1 for none; and of each model which weights, labels and
    # fold it has, what weights of both labels are multiplied by. Null weights are 1, one array of
    # both kinds is there or none; a null fold leaves nothing out. Rows may be turned: those of the
    # greater label are multiplied by -1, and all models have these labels.
    const Py_ssize_t *row_at
    Py_ssize_t n_positions, n_samples
    const unsigned char *bytes
    const double *weights
    const unsigned char *codes
    const Py_ssize_t *fold
    const Py_ssize_t *weight_of
    const Py_ssize_t *code_of
    const Py_ssize_t *left_out
    const double *factors
    bint are_turned


cdef struct LaneTile:
    # The first of its models among those asked for, what is done of it, and whether all is.
    Py_ssize_t first, next_step
    bint is_begun, is_done
    double *weights
    double *thetas
    double *sums
    double *scratch
    LaneDescent descent


cdef struct LanePlan:
    const Kernels *kernels
    const Rows *rows
    const LaneData *data
    LaneTask task
    # Models asked for, by number; whether the rows of their folds are those that count.
    const Py_ssize_t *which
    Py_ssize_t n_which
    bint held_out
    Py_ssize_t n_blocks, stride, n_spans, n_parts, n_steps, budget
    const double *thetas
    # Where results go, a row for each model asked for.
    double *losses
    double *wrong
    double *matrices
    Py_ssize_t n_results
    # Of L-BFGS.
    const double *metrics
    const Py_ssize_t *metric_of
    const double *penalties
    const double *centres
    const double *inverse_totals
    double wanted, most
    double *found
    double *gradients
    Py_ssize_t *n_iter
    LaneTile *tiles
    LaneTile **at_work


cdef void fill_lane(const LanePlan *plan, Py_ssize_t model, Py_ssize_t first, Py_ssize_t last,
                    double *to) noexcept nogil:
    """Write a model's signed weights at some positions, one in each tile row."""
    cdef const LaneData *data = plan.data
    cdef Py_ssize_t lanes = plan.kernels.lanes, position, row, left_out = data.left_out[model]
    cdef const unsigned char *bytes = NULL
    cdef const double *weights = NULL
    cdef const unsigned char *codes = data.codes + data.code_of[model] * data.n_samples
    cdef double lesser = data.factors[2 * model], greater = data.factors[2 * model + 1], weight
    # Rows that are turned have the same sums whatever their labels are, but for ties.
    if not data.are_turned or plan.task == LANE_LOSSES:
        greater = -greater
    if data.bytes != NULL:
        bytes = data.bytes + data.weight_of[model] * data.n_samples
    elif data.weights != NULL:
        weights = data.weights + data.weight_of[model] * data.n_samples
    for position in range(first, last):
        row = data.row_at[position]
        weight = 0
        if row >= 0 and (data.fold == NULL or (data.fold[row] == left_out) == plan.held_out):
            weight = bytes[row] if bytes != NULL else weights[row] if weights != NULL else 1
        to[position * lanes] = weight * (greater if row >= 0 and codes[row] else lesser)


cdef Py_ssize_t model_in(const LanePlan *plan, const LaneTile *tile,
                         Py_ssize_t lane) noexcept nogil:
    """Return which of the models asked for a lane has: idle lanes repeat the tile's first."""
    return tile.first + (lane if tile.first + lane < plan.n_which else 0)


cdef void begin_tile(const LanePlan *plan, LaneTile *tile) noexcept nogil:
    """Fill in what a tile's models are, and their thetas."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.rows.n_params, first, last, lane, j, model
    first = 0
    while first < plan.data.n_positions:
        last = min(first + FILLED_TOGETHER, plan.data.n_positions)
        for lane in range(lanes):
            fill_lane(plan, plan.which[model_in(plan, tile, lane)], first, last,
                      tile.weights + lane)
        first = last
    for lane in range(lanes):
        model = model_in(plan, tile, lane)
        for j in range(n):
            tile.thetas[j * lanes + lane] = plan.thetas[model * n + j]
    plan.kernels.find_excesses(tile.thetas, n, lanes, plan.rows.extent)
    memset(tile.sums, 0, plan.n_results * lanes * sizeof(double))
    tile.next_step, tile.is_begun, tile.is_done = 0, True, False
    if plan.task == LANE_DESCENT:
        begin_lane_steps(plan, tile)


cdef void begin_lane_steps(const LanePlan *plan, LaneTile *tile) noexcept nogil:
    """Start L-BFGS at the thetas of a tile: its memory is that behind the scratch."""
    cdef LaneDescent *descent = &tile.descent
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.rows.n_params, size = n * lanes
    cdef Py_ssize_t n_pairs = pair_of(n, n), lane, j, k, metric, model
    cdef Py_ssize_t ring = LANE_PAIRS_KEPT * lanes
    cdef double *at = tile.scratch + size
    cdef double *penalties = at
    cdef double *centres = at + size
    cdef double *numbers = at + 6 * size + 2 * ring * n + 2 * ring
    cdef double *metrics = numbers + 9 * lanes
    memset(at, 0, (6 * size + 2 * ring * n + 2 * ring + 9 * lanes) * sizeof(double))
    descent.n, descent.capacity = n, LANE_PAIRS_KEPT
    descent.count, descent.newest = 0, LANE_PAIRS_KEPT - 1
    descent.penalties, descent.centres = penalties, centres
    descent.theta, descent.gradient = at + 2 * size, at + 3 * size
    descent.direction, descent.scratch = at + 4 * size, at + 5 * size
    descent.trial, descent.trial_gradient = tile.thetas, tile.sums
    descent.steps, descent.changes = at + 6 * size, at + 6 * size + ring * n
    descent.inverse_curvatures = at + 6 * size + 2 * ring * n
    descent.alphas = descent.inverse_curvatures + ring
    descent.slopes, descent.least, descent.sizes = numbers, numbers + lanes, numbers + 2 * lanes
    descent.active, descent.idle = numbers + 3 * lanes, numbers + 4 * lanes
    descent.asked = numbers + 5 * lanes
    descent.inverse_totals, descent.wanted = numbers + 6 * lanes, numbers + 7 * lanes
    descent.most = numbers + 8 * lanes
    memcpy(descent.theta, tile.thetas, size * sizeof(double))
    metric = plan.metric_of[plan.which[tile.first]]
    descent.is_shared = True
    for lane in range(lanes):
        model = plan.which[model_in(plan, tile, lane)]
        descent.is_shared = descent.is_shared and plan.metric_of[model] == metric
        numbers[lanes + lane], numbers[2 * lanes + lane], numbers[3 * lanes + lane] = INFINITY, 1, 1
        numbers[6 * lanes + lane] = plan.inverse_totals[model]
        numbers[7 * lanes + lane], numbers[8 * lanes + lane] = plan.wanted, plan.most
        for j in range(n):
            penalties[j * lanes + lane] = plan.penalties[model * n + j]
            centres[j * lanes + lane] = plan.centres[model * n + j]
    descent.metric = plan.metrics + metric * n_pairs
    if descent.is_shared:
        return
    descent.metric = metrics
    for lane in range(lanes):
        metric = plan.metric_of[plan.which[model_in(plan, tile, lane)]]
        for k in range(n_pairs):
            metrics[k * lanes + lane] = plan.metrics[metric * n_pairs + k]


cdef void add_step(const LanePlan *plan, LaneTile *tile) noexcept nogil:
    """Add the next part of the rows to a tile's sums."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, first = tile.next_step * BLOCKS_PER_SPAN
    cdef Py_ssize_t last = min(first + BLOCKS_PER_SPAN, plan.n_blocks), part, row, end
    if plan.task == LANE_LOSSES:
        plan.kernels.add_lane_losses(plan.rows, first, last, tile.thetas, tile.weights,
                                     plan.data.are_turned, tile.sums, tile.sums + lanes)
    elif plan.task == LANE_HESSIANS:
        part, first = tile.next_step // plan.n_spans, tile.next_step % plan.n_spans
        first *= LANE_HESSIAN_BLOCKS * plan.stride
        last = min(first + LANE_HESSIAN_BLOCKS * plan.stride, plan.n_blocks)
        row, end = row_of_part(plan, part), row_of_part(plan, part + 1)
        plan.kernels.add_lane_hessians(
            plan.rows, first, last, plan.stride, tile.thetas, tile.weights, row, end,
            tile.sums + pair_of(plan.rows.n_params, row) * lanes, tile.scratch)
    else:
        plan.kernels.add_lane_gradients(plan.rows, first, last, tile.thetas, tile.weights,
                                        tile.sums, tile.scratch)
    tile.next_step += 1


cdef Py_ssize_t row_of_part(const LanePlan *plan, Py_ssize_t part) noexcept nogil:
    """Return the row of the matrix with which a part begins: parts are about equally large."""
    cdef Py_ssize_t n = plan.rows.n_params, row = 0
    while pair_of(n, row) * plan.n_parts < pair_of(n, n) * part:
        row += 1
    return row


cdef void end_pass(const LanePlan *plan, LaneTile *tile) noexcept nogil:
    """Do what follows on a pass over all rows: take a step, or write what was found."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, lane, j, model, size = plan.n_results
    cdef LaneDescent *descent = &tile.descent
    tile.next_step = 0
    if plan.task == LANE_DESCENT:
        descent.newest = (descent.newest + 1) % descent.capacity
        descent.count = min(descent.count + 1, descent.capacity)
        if plan.kernels.advance_lanes(descent) > 0:
            plan.kernels.find_excesses(tile.thetas, plan.rows.n_params, lanes, plan.rows.extent)
            memset(tile.sums, 0, size * lanes * sizeof(double))
            return
    tile.is_done = True
    for lane in range(min(lanes, plan.n_which - tile.first)):
        model = tile.first + lane
        if plan.task == LANE_LOSSES:
            plan.losses[model] = tile.sums[lane]
            plan.wrong[model] = tile.sums[lanes + lane]
            continue
        for j in range(size):
            if plan.task == LANE_DESCENT:
                plan.found[model * size + j] = descent.theta[j * lanes + lane]
                plan.gradients[model * size + j] = descent.gradient[j * lanes + lane]
            else:
                plan.matrices[model * size + j] = tile.sums[j * lanes + lane]
        if plan.task == LANE_DESCENT:
            plan.n_iter[model] = <Py_ssize_t>descent.asked[lane]


cdef void work_on_tile(const LanePlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Go on with a tile, for so many steps at most."""
    cdef LaneTile *tile = plan.at_work[index]
    cdef Py_ssize_t step
    if not tile.is_begun:
        begin_tile(plan, tile)
    for step in range(plan.budget):
        add_step(plan, tile)
        if tile.next_step == plan.n_steps:
            end_pass(plan, tile)
            if tile.is_done:
                return


cdef int run_lanes(LanePlan *plan, Py_ssize_t scratch, double row_work, double n_passes,
                   int n_threads) except -1:
    """Do a task for all tiles, whose scratch has so many numbers in each lane.

    `row_work` is that of a row and a model, of each of about n_passes, in visits of 0.05 ns.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.rows.n_params, i, wave, left
    cdef Py_ssize_t n_tiles = (plan.n_which + lanes - 1) // lanes, first = 0
    cdef Py_ssize_t size = (plan.data.n_positions + n + 1 + plan.n_results + scratch) * lanes
    cdef double step_work = row_work * BLOCKS_PER_SPAN * PANEL * PANELS_PER_BLOCK * lanes
    cdef double tile_work = step_work * plan.n_steps * n_passes
    n_threads = metaopt_team(min(n_threads, n_tiles), tile_work * n_tiles)
    wave = <Py_ssize_t>min(<double>TILES_AT_ONCE, SLICE_WORK / tile_work)
    wave = min(n_threads * max(1, wave),
               max(n_threads, LANE_MEMORY // (size * <Py_ssize_t>sizeof(double))))
    wave = min(wave, n_tiles)
    size = aligned(size * sizeof(double)) // <Py_ssize_t>sizeof(double)
    cdef char *memory = <char *>malloc(
        ALIGNMENT + wave * (size * sizeof(double) + sizeof(LaneTile) + sizeof(LaneTile *)))
    if memory == NULL:
        raise MemoryError
    cdef double *numbers = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.tiles = <LaneTile *>(numbers + wave * size)
    plan.at_work = <LaneTile **>(plan.tiles + wave)
    try:
        while first < n_tiles:
            wave = min(wave, n_tiles - first)
            for i in range(wave):
                plan.at_work[i] = plan.tiles + i
                plan.tiles[i].first = (first + i) * lanes
                plan.tiles[i].is_begun = plan.tiles[i].is_done = False
                plan.tiles[i].weights = numbers + i * size
                plan.tiles[i].thetas = plan.tiles[i].weights + plan.data.n_positions * lanes
                plan.tiles[i].sums = plan.tiles[i].thetas + (n + 1) * lanes
                plan.tiles[i].scratch = plan.tiles[i].sums + plan.n_results * lanes
            left = wave
            while left:
                # About 50 milliseconds of work for each thread between two looks at signals.
                plan.budget = max(1, <Py_ssize_t>(
                    SLICE_WORK * n_threads / (step_work * max(left, n_threads))))
                with nogil:
                    metaopt_share[LanePlan](work_on_tile, plan, left, n_threads,
                                            left * min(tile_work, plan.budget * step_work))
                PyErr_CheckSignals()
                left = unfinished(plan, left)
            first += wave
    finally:
        free(memory)
    return 0


cdef Py_ssize_t unfinished(LanePlan *plan, Py_ssize_t count) noexcept:
    """Keep the tiles at work that are not done; returns how many there are."""
    cdef Py_ssize_t left = 0, i
    for i in range(count):
        if not plan.at_work[i].is_done:
            plan.at_work[left] = plan.at_work[i]
            left += 1
    return left
