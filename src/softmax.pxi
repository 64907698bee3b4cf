# Losses of softmax regressions, and what else is summed over rows: how groups are shared among
# threads. Needs table.pxi, plan.pxi, tiles.pxi, results.pxi and softmax_groups.pxi.
#
# A group of models visits the rows span by span, and what each leaves is folded in their order.
# Threads take groups, or the spans of the same groups where these are few. Where rows have folds, a
# span is of one fold.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, isfinite
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Parameters whose gradients a model takes out of all its columns before the next ones.
cdef enum: SLOPES_AT_ONCE = 64


cdef void fold_spans_of(const SoftmaxPlan *plan, Py_ssize_t index, Py_ssize_t tile,
                        Py_ssize_t slot, Py_ssize_t n_spans) noexcept nogil:
    """Add what neighbouring spans of a part have left of a tile's gradients to its totals."""
    cdef Py_ssize_t partial = (index // plan.n_parts * plan.n_tiles + tile) * plan.n_slots + slot
    cdef Py_ssize_t total = (index * plan.n_tiles + tile) * plan.size
    if tile < tiles_for(plan, plan.n_members[index]):
        plan.kernels.fold_spans(
            plan.partial_gradients + partial * plan.size * plan.kernels.itemsize, n_spans,
            plan.size, plan.gradient_high + total, plan.gradient_low + total)


cdef void fold_tile_of(const SoftmaxPlan *plan, Py_ssize_t tile, int thread) noexcept nogil:
    """Add the partial gradients of a tile of the only group at work to its totals."""
    cdef Py_ssize_t span = 0, first
    while span < plan.n_spans:
        first = span
        while span < plan.n_spans and (part_of_span(plan, plan.first_span + span)
                                       == part_of_span(plan, plan.first_span + first)):
            span += 1
        fold_spans_of(plan, part_of_span(plan, plan.first_span + first), tile, first, span - first)


cdef void fold_sums(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t span,
                    Py_ssize_t slot) noexcept nogil:
    """Add what a span has left of the sums of its models to their totals."""
    cdef Py_ssize_t n = plan.n_sums, i, j, at
    cdef Py_ssize_t index = group * plan.n_parts + part_of_span(plan, span)
    cdef const double *partial = plan.partial + (group * plan.n_slots + slot) * plan.group * n
    for i in range(plan.n_members[index]):
        at = (group * plan.group + plan.members[index * plan.group + i]) * n
        for j in range(n):
            add_exactly(plan.high + at + j, plan.low + at + j, partial[i * n + j])


cdef void run_range(const SoftmaxPlan *plan, Py_ssize_t unit, int thread) noexcept nogil:
    """Evaluate one group at work over one range of the spans of a slice."""
    cdef Py_ssize_t group = unit % plan.wave, part = unit // plan.wave
    cdef Py_ssize_t number, span, tile, slot, index, n_tiles, count = plan.group * plan.n_sums
    cdef Py_ssize_t itemsize = plan.kernels.itemsize
    cdef char *gradients = NULL
    cdef double *partial
    cdef Softmax softmax
    softmax.strata, softmax.n_classes, softmax.n_strata = (
        plan.strata, plan.n_classes, plan.n_strata)
    softmax.factors = plan.factors + (plan.first_group + group) * plan.group * plan.n_strata
    softmax.unit, softmax.tile_step = plan.unit, plan.n_slots * plan.size
    for number in range(part * plan.n_spans // plan.n_ranges,
                        (part + 1) * plan.n_spans // plan.n_ranges):
        slot, span = 0 if plan.n_ranges == 1 else number, plan.first_span + number
        index = group * plan.n_parts + part_of_span(plan, span)
        softmax.members, softmax.n_models = plan.members + index * plan.group, plan.n_members[index]
        n_tiles = tiles_for(plan, softmax.n_models)
        partial = plan.partial + (group * plan.n_slots + slot) * count
        memset(partial, 0, count * sizeof(double))
        if plan.asked == GRADIENTS:
            gradients = plan.partial_gradients + (
                (group * plan.n_tiles * plan.n_slots + slot) * plan.size * itemsize)
            for tile in range(n_tiles):
                memset(gradients + tile * softmax.tile_step * itemsize, 0, plan.size * itemsize)
        plan.evaluate(plan.rows, &softmax, plan.spans[span], plan.spans[span + 1],
                      tile_of(plan, index, 0), partial, gradients,
                      plan.scratch + thread * plan.scratch_size)
        if plan.n_ranges == 1:
            fold_sums(plan, group, span, 0)
            if plan.asked == GRADIENTS:
                for tile in range(n_tiles):
                    fold_spans_of(plan, index, tile, 0, 1)


cdef Py_ssize_t start_of(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t i,
                         Py_ssize_t k) noexcept nogil:
    """Return where in the tiles the parameters of a class of a model begin, in a lane."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, index = group * plan.n_parts, column
    while plan.positions[index * plan.group + i] < 0:  # it counts some part
        index += 1
    column = plan.positions[index * plan.group + i] * plan.n_classes + k
    return ((index * plan.n_tiles + column // lanes) * (plan.n_params + 1) * lanes
            + column % lanes)


cdef void finish_slopes(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t i, Py_ssize_t k,
                        Py_ssize_t first, const real *theta) noexcept nogil:
    """Write some slopes of a class of a model, from the parameter `first` on."""
    cdef Py_ssize_t model = (plan.first_group + group) * plan.group + i
    cdef Py_ssize_t lanes = plan.kernels.lanes, last = min(first + SLOPES_AT_ONCE, plan.n_params)
    cdef Py_ssize_t index, position, column, at, j
    cdef double[SLOPES_AT_ONCE] high
    cdef double[SLOPES_AT_ONCE] low
    cdef double slope
    for j in range(last - first):
        high[j] = low[j] = 0
    for index in range(group * plan.n_parts, (group + 1) * plan.n_parts):
        position = plan.positions[index * plan.group + i]
        if position < 0:
            continue
        column = position * plan.n_classes + k
        at = (index * plan.n_tiles + column // lanes) * plan.size + column % lanes + first * lanes
        for j in range(last - first):
            add_exactly(high + j, low + j, plan.gradient_high[at + j * lanes])
            low[j] += plan.gradient_low[at + j * lanes]
    at = (model * plan.n_classes + k) * plan.n_params
    for j in range(first, last):
        slope = (high[j - first] + low[j - first]) / (plan.totals[model] * plan.unit)
        if not isfinite(slope):
            plan.is_lost[model] = 1
        if j < plan.n_penalised and plan.l2[model] > 0:
            slope += plan.l2[model] * theta[j * lanes]
        plan.gradients[at + j] = overflow_to_infinity(slope)


cdef void finish_losses(const SoftmaxPlan *plan, Py_ssize_t group,
                        const real *tiles) noexcept nogil:
    """Write the losses and the gradients of a group's models, penalties included."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, model, i, k, first
    cdef double total, penalty
    for i in range(models_in(plan, group)):
        model, penalty = (plan.first_group + group) * plan.group + i, 0
        total = plan.high[group * plan.group + i] + plan.low[group * plan.group + i]
        for k in range(plan.n_classes):
            penalty += penalty_of(plan.l2[model], tiles + start_of(plan, group, i, k), 0,
                                  plan.n_penalised, lanes)
        if plan.unit == 1 and not isfinite(total):
            plan.sums[model] = NAN
        else:
            total = overflow_to_infinity(total / (plan.totals[model] * plan.unit))
            plan.sums[model] = total + penalty if plan.l2[model] > 0 else total
        if plan.asked == GRADIENTS:
            first = 0
            while first < plan.n_params:
                for k in range(plan.n_classes):
                    finish_slopes(plan, group, i, k, first, tiles + start_of(plan, group, i, k))
                first += SLOPES_AT_ONCE


cdef void finish_group(const SoftmaxPlan *plan, Py_ssize_t group, int thread) noexcept nogil:
    """Write what was found of a group's models."""
    cdef Py_ssize_t count = plan.group * plan.n_sums, i
    cdef Py_ssize_t first = (plan.first_group + group) * plan.group
    if plan.asked == PREDICTIONS or plan.asked == COVARIANCES:
        for i in range(models_in(plan, group) * plan.n_sums):
            plan.sums[first * plan.n_sums + i] = (
                plan.high[group * count + i] + plan.low[group * count + i])
    elif plan.kernels.itemsize == sizeof(double):
        finish_losses(plan, group, <const double *>plan.tiles)
    else:
        finish_losses(plan, group, <const float *>plan.tiles)


cdef double span_work_of_group(const SoftmaxPlan *plan) noexcept nogil:
    """Return the visits of a group over one span: an exp takes 25."""
    cdef double visits = <double>plan.n_params * (2 if plan.asked == GRADIENTS else 1) + 30
    if plan.asked == COVARIANCES:
        visits += plan.n_classes
    return visits * ROWS_PER_SPAN * plan.n_tiles * plan.kernels.lanes


cdef void cut_softmax(SoftmaxPlan *plan) noexcept nogil:
    """Choose groups and spans that are at work together."""
    cdef double work = span_work_of_group(plan)
    cdef Py_ssize_t tile_bytes = plan.n_tiles * plan.size * plan.kernels.itemsize
    plan.n_threads = metaopt_team(plan.n_threads, min(
        work * plan.n_all_spans * plan.n_groups, SLICE_WORK * plan.n_threads))
    if plan.n_threads == 1 or plan.n_groups >= 2 * plan.n_threads:
        plan.wave, plan.n_slots = min(plan.n_groups, plan.n_threads), 1
        if plan.on_disk:  # each wave reads all rows
            plan.wave = max(plan.wave, min(
                plan.n_groups, DISK_MEMORY // ((3 * plan.n_parts + 1) * tile_bytes)))
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
    cdef Py_ssize_t n_parts = plan.wave * plan.n_parts, count = plan.wave * plan.group * plan.n_sums
    cdef Py_ssize_t size = n_tiles * plan.size if plan.asked == GRADIENTS else 0
    cdef Py_ssize_t tile_bytes = (plan.n_params + 1) * plan.kernels.lanes * itemsize
    plan.scratch_size = aligned(plan.kernels.softmax_memory(plan.group * plan.n_classes))
    plan.n_members = <Py_ssize_t *>at
    at += aligned(n_parts * sizeof(Py_ssize_t))
    plan.members = <int *>at
    at += aligned(n_parts * plan.group * sizeof(int))
    plan.positions = <int *>at
    at += aligned(n_parts * plan.group * sizeof(int))
    plan.of_all = at
    at += aligned(plan.n_tiles * tile_bytes if plan.n_parts > 1 else 0)
    plan.tiles = at
    at += aligned(n_tiles * plan.n_parts * tile_bytes)
    plan.high = <double *>at
    at += aligned(count * sizeof(double))
    plan.low = <double *>at
    at += aligned(count * sizeof(double))
    plan.partial = <double *>at
    at += aligned(count * plan.n_slots * sizeof(double))
    plan.gradient_high = <double *>at
    at += aligned(size * plan.n_parts * sizeof(double))
    plan.gradient_low = <double *>at
    at += aligned(size * plan.n_parts * sizeof(double))
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
                        fold_sums(plan, 0, plan.first_span + slot, slot)
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
