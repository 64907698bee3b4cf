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
cdef Py_ssize_t LANE_MEMORY = 32 * 1024 * 1024
# Turns of a tile that threads share, about, and the least work of one: a millisecond, beside which
# it is cheap to fetch a tile from memory.
cdef double TURNS = 8, LEAST_TURN = 2e7
# Positions whose signed weights are filled for one lane after the other: they stay in a cache.
cdef Py_ssize_t FILLED_TOGETHER = 256
# Tiles of each thread that take turns, at most.
cdef Py_ssize_t TILES_AT_ONCE = 32


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
    # The first of its models among those asked for, what is under way, how much of it is done, and
    # whether all is.
    Py_ssize_t first, next_step
    LaneTask task
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
    Py_ssize_t n_blocks, stride, n_spans, n_hessian_spans, n_parts, budget
    const double *thetas
    # Where results go, a row for each model asked for.
    double *losses
    double *wrong
    double *hessians
    # Of L-BFGS, behind which losses and Hessians follow: weights are filled once for all three.
    const double *metrics
    const Py_ssize_t *metric_of
    const double *penalties
    const double *centres
    const double *inverse_totals
    double wanted, most
    double *found
    double *gradients
    Py_ssize_t *n_iter
    # Tiles that are at work, of which some have their turn: those from `turn` on, around.
    LaneTile **at_work
    Py_ssize_t n_at_work, turn


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


cdef Py_ssize_t n_lane_sums(const LanePlan *plan, LaneTask task) noexcept nogil:
    """Return how many sums over rows a task has in each lane."""
    cdef Py_ssize_t n = plan.rows.n_params
    return 2 if task == LANE_LOSSES else pair_of(n, n) if task == LANE_HESSIANS else n


cdef Py_ssize_t n_lane_steps(const LanePlan *plan, LaneTask task) noexcept nogil:
    """Return how many steps make a pass over the rows."""
    return plan.n_hessian_spans * plan.n_parts if task == LANE_HESSIANS else plan.n_spans


cdef void begin_lane_pass(const LanePlan *plan, LaneTile *tile) noexcept nogil:
    """Make a tile ready for sums over all rows at its thetas."""
    cdef Py_ssize_t lanes = plan.kernels.lanes
    plan.kernels.find_excesses(tile.thetas, plan.rows.n_params, lanes, plan.rows.extent)
    memset(tile.sums, 0, n_lane_sums(plan, tile.task) * lanes * sizeof(double))
    tile.next_step = 0


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
    tile.task, tile.is_begun, tile.is_done = plan.task, True, False
    begin_lane_pass(plan, tile)
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
    if tile.task == LANE_LOSSES:
        plan.kernels.add_lane_losses(plan.rows, first, last, tile.thetas, tile.weights,
                                     plan.data.are_turned, tile.sums, tile.sums + lanes)
    elif tile.task == LANE_HESSIANS:
        part = tile.next_step // plan.n_hessian_spans
        first = tile.next_step % plan.n_hessian_spans
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
    """Do what follows on a pass over all rows: take a step, or write what was found and go on to
    the next task of a descent."""
    cdef LaneDescent *descent = &tile.descent
    if tile.task == LANE_DESCENT:
        descent.newest = (descent.newest + 1) % descent.capacity
        descent.count = min(descent.count + 1, descent.capacity)
        if plan.kernels.advance_lanes(descent) > 0:
            begin_lane_pass(plan, tile)
            return
    write_lanes(plan, tile)
    if tile.task == LANE_DESCENT:
        # Where no lane is active, trials are where the models are.
        tile.task = LANE_LOSSES
        begin_lane_pass(plan, tile)
    elif tile.task == LANE_LOSSES and plan.task == LANE_DESCENT:
        tile.task = LANE_HESSIANS
        begin_lane_pass(plan, tile)
    else:
        tile.is_done = True


cdef void write_lanes(const LanePlan *plan, const LaneTile *tile) noexcept nogil:
    """Write what a task has found of a tile's models."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, size = n_lane_sums(plan, tile.task), lane, j, model
    cdef double *sums = plan.hessians if tile.task == LANE_HESSIANS else plan.gradients
    for lane in range(min(lanes, plan.n_which - tile.first)):
        model = tile.first + lane
        if tile.task == LANE_LOSSES:
            plan.losses[model] = tile.sums[lane]
            if plan.wrong != NULL:
                plan.wrong[model] = tile.sums[lanes + lane]
        elif tile.task == LANE_DESCENT:
            plan.n_iter[model] = <Py_ssize_t>tile.descent.asked[lane]
            for j in range(size):
                plan.found[model * size + j] = tile.descent.theta[j * lanes + lane]
                plan.gradients[model * size + j] = tile.descent.gradient[j * lanes + lane]
        else:
            for j in range(size):
                sums[model * size + j] = tile.sums[j * lanes + lane]


cdef void work_on_tile(const LanePlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Go on with a tile that has its turn, for so many steps at most."""
    cdef LaneTile *tile = plan.at_work[(plan.turn + index) % plan.n_at_work]
    cdef Py_ssize_t step
    if not tile.is_begun:
        begin_tile(plan, tile)
    for step in range(plan.budget):
        add_step(plan, tile)
        if tile.next_step == n_lane_steps(plan, tile.task):
            end_pass(plan, tile)
            if tile.is_done:
                return


cdef int run_lanes(LanePlan *plan, Py_ssize_t n_sums, Py_ssize_t scratch, double row_work,
                   double n_passes, int n_threads) except -1:
    """Do a task for all tiles, whose sums and scratch have so many numbers in each lane.

    `row_work` is that of a row and a model, of each of about n_passes, in visits of 0.05 ns.

    Passes of a tile follow each other, and nobody knows how many there will be. So as many tiles
    as there is memory for take turns, and come to their ends at about the same time: then threads
    are idle for no longer than the last tile lags behind the last but one.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.rows.n_params, i, wave, count
    cdef Py_ssize_t n_tiles = (plan.n_which + lanes - 1) // lanes, n_begun = 0
    cdef Py_ssize_t size = (plan.data.n_positions + n + 1 + n_sums + scratch) * lanes
    cdef double step_work = row_work * BLOCKS_PER_SPAN * PANEL * PANELS_PER_BLOCK * lanes
    cdef double tile_work = step_work * n_lane_steps(plan, plan.task) * n_passes
    cdef double turn_work
    n_threads = metaopt_team(min(n_threads, n_tiles), tile_work * n_tiles)
    wave = max(1, <Py_ssize_t>(SLICE_WORK / tile_work)) if n_threads == 1 else TILES_AT_ONCE
    wave = min(n_threads * min(wave, TILES_AT_ONCE),
               max(n_threads, LANE_MEMORY // (size * <Py_ssize_t>sizeof(double))))
    wave = min(wave, n_tiles)
    size = aligned(size * sizeof(double)) // <Py_ssize_t>sizeof(double)
    cdef char *memory = <char *>malloc(
        ALIGNMENT + wave * (size * sizeof(double) + sizeof(LaneTile) + sizeof(LaneTile *)))
    if memory == NULL:
        raise MemoryError
    cdef double *numbers = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    cdef LaneTile *tiles = <LaneTile *>(numbers + wave * size)
    plan.at_work = <LaneTile **>(tiles + wave)
    try:
        for i in range(wave):
            plan.at_work[i] = tiles + i
            tiles[i].weights = numbers + i * size
            tiles[i].thetas = tiles[i].weights + plan.data.n_positions * lanes
            tiles[i].sums = tiles[i].thetas + (n + 1) * lanes
            tiles[i].scratch = tiles[i].sums + n_sums * lanes
        while True:
            while plan.n_at_work < wave and n_begun < n_tiles:
                plan.at_work[plan.n_at_work].first = n_begun * lanes
                plan.at_work[plan.n_at_work].is_begun = False
                plan.at_work[plan.n_at_work].is_done = False
                plan.n_at_work += 1
                n_begun += 1
            if plan.n_at_work == 0:
                return 0
            count = plan.n_at_work
            if count > n_threads:  # no thread waits for one that has a tile more
                count -= count % n_threads
            plan.turn %= plan.n_at_work
            # About 50 milliseconds for each thread between two looks at signals, at most.
            turn_work = SLICE_WORK * n_threads / max(count, n_threads)
            if n_threads > 1:
                turn_work = min(turn_work, max(tile_work / TURNS, LEAST_TURN))
            plan.budget = max(1, <Py_ssize_t>(turn_work / step_work))
            with nogil:
                metaopt_share[LanePlan](work_on_tile, plan, count, n_threads,
                                        count * min(tile_work, plan.budget * step_work))
            PyErr_CheckSignals()
            plan.turn += count
            dismiss(plan)
    finally:
        free(memory)


cdef void dismiss(LanePlan *plan) noexcept:
    """Put the tiles that are done behind those that are at work."""
    cdef Py_ssize_t count = plan.n_at_work, i
    plan.n_at_work = 0
    for i in range(count):
        if not plan.at_work[i].is_done:
            plan.at_work[i], plan.at_work[plan.n_at_work] = (
                plan.at_work[plan.n_at_work], plan.at_work[i])
            plan.n_at_work += 1
