# Softmax regressions of many models, whose classes are columns of tiles: how they are grouped and
# shared among threads. Needs table.pxi, plan.pxi, tiles.pxi and results.pxi.
#
# A group of models visits the rows span by span, and what each leaves is folded in their order.
# Threads take groups, or the spans of the same groups where these are few.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, isfinite
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Tiles of a group at most, where a model has no more: with the gradients of 50 parameters, they
# stay in the second-level cache.
cdef Py_ssize_t MOST_TILES = 6


cdef enum Asked:
    LOSSES_ALONE
    GRADIENTS
    PREDICTIONS
    COVARIANCES


cdef struct SoftmaxPlan:
    const Kernels *kernels
    const Rows *rows
    EvaluateSoftmax evaluate
    Asked asked
    Py_ssize_t n_params, n_penalised, n_classes, n_strata, n_models, n_blocks, n_all_spans
    # [model]...: thetas of all classes, factors of strata, weights of the rows, penalties.
    const int *strata
    const double *thetas
    const double *factors
    const double *totals
    const double *l2
    double unit
    # Where results go; a loss that left the range is NaN, and is_lost is 1 for a gradient that did.
    double *sums
    double *gradients
    unsigned char *is_lost
    # Models and tiles of a group; groups at work, the spans of a slice, the ranges of these that
    # threads take, and how many spans' sums are kept: one, where a range is all of them.
    Py_ssize_t group, n_tiles, first_group, n_groups, wave, first_span, n_spans, slice, n_ranges
    Py_ssize_t n_slots
    # Sums of a model, and numbers of a tile's gradients.
    Py_ssize_t n_sums, size
    # Of each group at work: [tile] thetas; [model] sums, high and low; [tile] gradients; and of
    # each span kept. Of each thread: scratch.
    char *tiles
    double *high
    double *low
    double *gradient_high
    double *gradient_low
    double *partial
    char *partial_gradients
    char *scratch
    Py_ssize_t scratch_size
    int n_threads
    bint on_disk


cdef Py_ssize_t models_in(const SoftmaxPlan *plan, Py_ssize_t group) noexcept nogil:
    return min(plan.group, plan.n_models - (plan.first_group + group) * plan.group)


cdef char *tile_of(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t tile) noexcept nogil:
    return plan.tiles + ((group * plan.n_tiles + tile) * (plan.n_params + 1) * plan.kernels.lanes
                         * plan.kernels.itemsize)


cdef bint fill_group(const SoftmaxPlan *plan, Py_ssize_t group) noexcept nogil:
    """Write a group's thetas, and zero its sums; False where a theta is not finite."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, tile, first
    cdef Py_ssize_t n_columns = models_in(plan, group) * plan.n_classes
    cdef const double *thetas = plan.thetas + (
        (plan.first_group + group) * plan.group * plan.n_classes * plan.n_params)
    cdef bint finite = True
    for tile in range(plan.n_tiles):
        first = min(tile * lanes, n_columns)
        plan.kernels.pack_thetas(thetas + first * plan.n_params, min(lanes, n_columns - first),
                                 plan.n_params, lanes, tile_of(plan, group, tile))
        finite = plan.kernels.find_excesses(tile_of(plan, group, tile), plan.n_params, lanes,
                                            plan.rows.extent) and finite
    cdef Py_ssize_t count = plan.group * plan.n_sums, size = plan.n_tiles * plan.size
    memset(plan.high + group * count, 0, count * sizeof(double))
    memset(plan.low + group * count, 0, count * sizeof(double))
    if plan.asked == GRADIENTS:
        memset(plan.gradient_high + group * size, 0, size * sizeof(double))
        memset(plan.gradient_low + group * size, 0, size * sizeof(double))
    return finite


cdef void fold_tile_of(const SoftmaxPlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    """Add the partial gradients of a tile of a group to its totals."""
    plan.kernels.fold_spans(
        plan.partial_gradients + number * plan.n_slots * plan.size * plan.kernels.itemsize,
        1 if plan.n_ranges == 1 else plan.n_spans, plan.size,
        plan.gradient_high + number * plan.size, plan.gradient_low + number * plan.size)


cdef void fold_sums(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t slot) noexcept nogil:
    cdef Py_ssize_t count = plan.group * plan.n_sums, i
    cdef const double *partial = plan.partial + (group * plan.n_slots + slot) * count
    for i in range(count):
        add_exactly(plan.high + group * count + i, plan.low + group * count + i, partial[i])


cdef void run_range(const SoftmaxPlan *plan, Py_ssize_t unit, int thread) noexcept nogil:
    """Evaluate one group at work over one range of the spans of a slice."""
    cdef Py_ssize_t group = unit % plan.wave, part = unit // plan.wave
    cdef Py_ssize_t span, tile, slot, block, count = plan.group * plan.n_sums
    cdef Py_ssize_t itemsize = plan.kernels.itemsize
    cdef char *gradients = NULL
    cdef double *partial
    cdef Softmax softmax
    softmax.strata, softmax.n_classes, softmax.n_strata = (
        plan.strata, plan.n_classes, plan.n_strata)
    softmax.factors = plan.factors + (plan.first_group + group) * plan.group * plan.n_strata
    softmax.n_models, softmax.unit = models_in(plan, group), plan.unit
    softmax.tile_step = plan.n_slots * plan.size
    for span in range(part * plan.n_spans // plan.n_ranges,
                      (part + 1) * plan.n_spans // plan.n_ranges):
        slot = 0 if plan.n_ranges == 1 else span
        partial = plan.partial + (group * plan.n_slots + slot) * count
        memset(partial, 0, count * sizeof(double))
        if plan.asked == GRADIENTS:
            gradients = plan.partial_gradients + (
                (group * plan.n_tiles * plan.n_slots + slot) * plan.size * itemsize)
            for tile in range(plan.n_tiles):
                memset(gradients + tile * softmax.tile_step * itemsize, 0, plan.size * itemsize)
        block = (plan.first_span + span) * BLOCKS_PER_SPAN
        plan.evaluate(plan.rows, &softmax, block, min(block + BLOCKS_PER_SPAN, plan.n_blocks),
                      tile_of(plan, group, 0), partial, gradients,
                      plan.scratch + thread * plan.scratch_size)
        if plan.n_ranges == 1:
            fold_sums(plan, group, 0)
            if plan.asked == GRADIENTS:
                for tile in range(plan.n_tiles):
                    fold_tile_of(plan, group * plan.n_tiles + tile, thread)


cdef void finish_losses(const SoftmaxPlan *plan, Py_ssize_t group,
                        const real *tiles) noexcept nogil:
    """Write the losses and the gradients of a group's models, penalties included."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, model, i, k, j, column, at, begin
    cdef Py_ssize_t tile_numbers = (plan.n_params + 1) * lanes
    cdef double total, weight, penalty, slope
    cdef const real *theta
    for i in range(models_in(plan, group)):
        model = (plan.first_group + group) * plan.group + i
        weight, penalty = plan.totals[model] * plan.unit, 0
        total = plan.high[group * plan.group + i] + plan.low[group * plan.group + i]
        for k in range(plan.n_classes):
            column = i * plan.n_classes + k
            theta = tiles + column // lanes * tile_numbers
            penalty += penalty_of(plan.l2[model], theta, column % lanes, plan.n_penalised, lanes)
            if plan.asked != GRADIENTS:
                continue
            begin = (group * plan.n_tiles + column // lanes) * plan.size + column % lanes
            at = (model * plan.n_classes + k) * plan.n_params
            for j in range(plan.n_params):
                slope = (plan.gradient_high[begin + j * lanes]
                         + plan.gradient_low[begin + j * lanes]) / weight
                if not isfinite(slope):
                    plan.is_lost[model] = 1
                if j < plan.n_penalised and plan.l2[model] > 0:
                    slope += plan.l2[model] * theta[j * lanes + column % lanes]
                plan.gradients[at + j] = overflow_to_infinity(slope)
        if plan.unit == 1 and not isfinite(total):
            plan.sums[model] = NAN
        else:
            total = overflow_to_infinity(total / weight)
            plan.sums[model] = total + penalty if plan.l2[model] > 0 else total


cdef void finish_group(const SoftmaxPlan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Write what was found of a group's models."""
    cdef Py_ssize_t count = plan.group * plan.n_sums, i
    cdef Py_ssize_t first = (plan.first_group + group) * plan.group
    if plan.asked == PREDICTIONS or plan.asked == COVARIANCES:
        for i in range(models_in(plan, group) * plan.n_sums):
            plan.sums[first * plan.n_sums + i] = (
                plan.high[group * count + i] + plan.low[group * count + i])
    elif plan.kernels.itemsize == sizeof(double):
        finish_losses(plan, group, <const double *>tile_of(plan, group, 0))
    else:
        finish_losses(plan, group, <const float *>tile_of(plan, group, 0))


cdef double span_work_of_group(const SoftmaxPlan *plan) noexcept nogil:
    """Return the visits of a group over one span: an exp takes 25."""
    cdef double visits = <double>plan.n_params * (2 if plan.asked == GRADIENTS else 1) + 30
    if plan.asked == COVARIANCES:
        visits += plan.n_classes
    return visits * ROWS_PER_SPAN * plan.n_tiles * plan.kernels.lanes


cdef void choose_group(SoftmaxPlan *plan) noexcept nogil:
    """Choose how many models make a group: as many as leave few lanes idle."""
    # Of a tile, those of its vectors are computed that hold columns.
    cdef Py_ssize_t lanes = plan.kernels.lanes, count, n_vectors
    cdef Py_ssize_t width = plan.kernels.vector_lanes
    cdef double used, most = 0
    plan.group = 1
    for count in range(1, min(plan.n_models, MOST_TILES * lanes // plan.n_classes) + 1):
        n_vectors = (count * plan.n_classes + width - 1) // width
        # Of groups that are nearly as good, the largest reads the rows for the most models.
        used = <double>plan.n_models / (
            (plan.n_models + count - 1) // count * n_vectors * width)
        if used > most * 0.99:
            most, plan.group = max(used, most), count
    plan.n_tiles = (plan.group * plan.n_classes + lanes - 1) // lanes
    plan.n_groups = (plan.n_models + plan.group - 1) // plan.group
    plan.size = plan.n_params * lanes


cdef void cut_softmax(SoftmaxPlan *plan) noexcept nogil:
    """Choose groups and spans that are at work together."""
    cdef double work = span_work_of_group(plan)
    cdef Py_ssize_t tile_bytes = plan.n_tiles * plan.size * plan.kernels.itemsize
    plan.n_threads = metaopt_team(plan.n_threads, min(
        work * plan.n_all_spans * plan.n_groups, SLICE_WORK * plan.n_threads))
    if plan.n_threads == 1 or plan.n_groups >= 2 * plan.n_threads:
        plan.wave, plan.n_slots = min(plan.n_groups, plan.n_threads), 1
        if plan.on_disk:  # each wave reads all rows
            plan.wave = max(plan.wave, min(plan.n_groups, DISK_MEMORY // (4 * tile_bytes)))
        plan.slice = max(1, <Py_ssize_t>min(
            <double>plan.n_all_spans, SLICE_WORK * plan.n_threads / (work * plan.wave)))
        return
    plan.wave = 1
    plan.slice = max(plan.n_threads, min(8 * plan.n_threads,
                                         WAVE_MEMORY * plan.n_threads // tile_bytes))
    plan.slice = plan.n_slots = max(1, min(plan.n_all_spans, plan.slice))


cdef char *lay_out_softmax(SoftmaxPlan *plan, char *at) noexcept nogil:
    """Lay the plan's arrays out from `at` on; returns the address behind them."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize, n_tiles = plan.wave * plan.n_tiles
    cdef Py_ssize_t count = plan.wave * plan.group * plan.n_sums
    cdef Py_ssize_t size = n_tiles * plan.size if plan.asked == GRADIENTS else 0
    plan.scratch_size = aligned(plan.kernels.softmax_memory(plan.group * plan.n_classes))
    plan.tiles = at
    at += aligned(n_tiles * (plan.n_params + 1) * plan.kernels.lanes * itemsize)
    plan.high = <double *>at
    at += aligned(count * sizeof(double))
    plan.low = <double *>at
    at += aligned(count * sizeof(double))
    plan.partial = <double *>at
    at += aligned(count * plan.n_slots * sizeof(double))
    plan.gradient_high = <double *>at
    at += aligned(size * sizeof(double))
    plan.gradient_low = <double *>at
    at += aligned(size * sizeof(double))
    plan.partial_gradients = at
    at += aligned(size * plan.n_slots * itemsize)
    plan.scratch = at
    return at + plan.n_threads * plan.scratch_size


cdef bint run_softmax(SoftmaxPlan *plan) except -1:
    """Do what is asked for all models; False where a theta is not finite."""
    cdef Py_ssize_t group, slot
    cdef double work
    choose_group(plan)
    cut_softmax(plan)
    work = span_work_of_group(plan)
    cdef char *memory = <char *>malloc(ALIGNMENT + (lay_out_softmax(plan, NULL) - <char *>NULL))
    if memory == NULL:
        raise MemoryError
    lay_out_softmax(plan, <char *>aligned(<Py_ssize_t><uintptr_t>memory))
    try:
        plan.first_group = 0
        while plan.first_group < plan.n_groups:
            plan.wave = min(plan.wave, plan.n_groups - plan.first_group)
            for group in range(plan.wave):
                if not fill_group(plan, group):
                    return False
            plan.first_span = 0
            while plan.first_span < plan.n_all_spans:
                plan.n_spans = min(plan.slice, plan.n_all_spans - plan.first_span)
                plan.n_ranges = 1 if plan.n_slots == 1 else plan.n_spans
                share_softmax(plan, run_range, plan.wave * plan.n_ranges,
                              work * plan.wave * plan.n_spans)
                if plan.n_ranges > 1:
                    for slot in range(plan.n_spans):
                        fold_sums(plan, 0, slot)
                    if plan.asked == GRADIENTS:
                        share_softmax(plan, fold_tile_of, plan.n_tiles,
                                      FOLD_WORK * plan.size * plan.n_tiles * plan.n_spans)
                plan.first_span += plan.n_spans
                PyErr_CheckSignals()
            share_softmax(plan, finish_group, plan.wave, 2 * FOLD_WORK * plan.wave * plan.n_tiles
                          * plan.size)
            plan.first_group += plan.wave
    finally:
        free(memory)
    return True


ctypedef void (*SoftmaxTask)(const SoftmaxPlan *, Py_ssize_t, int) noexcept nogil


cdef void share_softmax(const SoftmaxPlan *plan, SoftmaxTask task, Py_ssize_t count, double work):
    """Do a task for 0 .. count - 1, with Python's lock if that is brief."""
    if work < SERIAL_WORK:
        metaopt_share[SoftmaxPlan](task, plan, count, 1, work)
    else:
        with nogil:
            metaopt_share[SoftmaxPlan](task, plan, count, plan.n_threads, work)
