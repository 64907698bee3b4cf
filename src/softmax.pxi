# Softmax regressions of many models, whose classes are columns of tiles: how they are grouped and
# shared among threads. Needs table.pxi, plan.pxi, tiles.pxi, results.pxi, evaluate.pxi and
# rows.pxi.
#
# A group of models visits the rows span by span, and what each leaves is folded in their order.
# Threads take groups, or the spans of the same groups where these are few.

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, frexp, isfinite, ldexp
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
    cdef Py_ssize_t lanes = plan.kernels.lanes, count, n_tiles
    cdef double used, most = 0
    plan.group = 1
    for count in range(1, min(plan.n_models, MOST_TILES * lanes // plan.n_classes) + 1):
        n_tiles = (count * plan.n_classes + lanes - 1) // lanes
        # A model that is alone in its group would be read for by itself.
        used = <double>plan.n_models / (
            (plan.n_models + count - 1) // count * n_tiles * lanes)
        if used > most * 1.01:
            most, plan.group = used, count
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
        plan.slice = max(1, <Py_ssize_t>min(<double>plan.n_all_spans, SLICE_WORK / work))
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


# It is made anew from packed rows, which are pickled.
@cython.auto_pickle(False)
cdef class SoftmaxRows:
    """Rows in blocks of one stratum each, and so of one class, for softmax regressions.

    Parameters
    ----------
    rows : PackedRows
        Any loss, weight and penalty of its own count for nothing.
    strata : array of shape (n_blocks,), int
        A multiple of n_classes, and the class of the rows.
    n_classes, n_strata : int
    """
    cdef PackedRows rows
    cdef const int[::1] strata
    cdef Py_ssize_t n_classes, n_strata

    def __init__(self, PackedRows rows, const int[::1] strata, Py_ssize_t n_classes,
                 Py_ssize_t n_strata):
        self.rows, self.strata, self.n_classes, self.n_strata = rows, strata, n_classes, n_strata

    cdef void plan(self, SoftmaxPlan *plan, const double[:, ::1] thetas,
                   const double[:, ::1] factors, int n_threads):
        memset(plan, 0, sizeof(SoftmaxPlan))
        plan.kernels, plan.rows = self.rows.kernels, &self.rows.rows
        plan.evaluate = plan.kernels.evaluate_softmax
        plan.n_params, plan.n_penalised = self.rows.rows.n_params, self.rows.n_penalised
        plan.n_classes, plan.n_strata = self.n_classes, self.n_strata
        plan.n_models, plan.n_blocks = thetas.shape[0], self.strata.shape[0]
        plan.n_all_spans = (plan.n_blocks + BLOCKS_PER_SPAN - 1) // BLOCKS_PER_SPAN
        plan.strata, plan.thetas, plan.factors = &self.strata[0], &thetas[0, 0], &factors[0, 0]
        plan.unit, plan.n_sums, plan.n_threads = 1, 1, n_threads

    def evaluate(self, const double[:, ::1] thetas, const double[:, ::1] factors,
                 const double[::1] totals, const double[::1] l2, double[::1] losses,
                 double[:, ::1] gradients, int n_threads):
        """Write the loss of each theta, all classes' one after the other, and, unless None, its
        gradient.

        The rows of stratum s weigh factors[model, s] times as much, and `totals` in all. Returns
        False where a theta is not finite in the rows' precision.
        """
        cdef SoftmaxPlan plan
        cdef Py_ssize_t i, n = thetas.shape[0]
        self.plan(&plan, thetas, factors, n_threads)
        plan.totals, plan.l2, plan.sums = &totals[0], &l2[0], &losses[0]
        cdef unsigned char *is_lost = <unsigned char *>malloc(n)
        if is_lost == NULL:
            raise MemoryError
        memset(is_lost, 0, n)
        plan.is_lost = is_lost
        if gradients is not None:
            plan.gradients, plan.asked = &gradients[0, 0], GRADIENTS
        try:
            if not run_softmax(&plan):
                return False
            for i in range(n):
                if is_lost[i] or losses[i] != losses[i]:
                    self.evaluate_again(&plan, i)
        finally:
            free(is_lost)
        return True

    cdef int evaluate_again(self, const SoftmaxPlan *asked, Py_ssize_t model) except -1:
        """Evaluate a model whose sums left the range, with weights far below 1."""
        cdef SoftmaxPlan plan = asked[0]
        cdef int exponent
        cdef double loss = asked.sums[model]
        cdef unsigned char is_lost
        frexp(plan.totals[model], &exponent)
        plan.unit = ldexp(1, -max(exponent, 0) - 8)
        plan.n_models, plan.sums, plan.is_lost = 1, &loss, &is_lost
        plan.thetas += model * plan.n_classes * plan.n_params
        plan.factors += model * plan.n_strata
        plan.totals += model
        plan.l2 += model
        if plan.gradients != NULL:
            plan.gradients += model * plan.n_classes * plan.n_params
        run_softmax(&plan)
        if asked.sums[model] != asked.sums[model]:
            asked.sums[model] = loss
        return 0

    def count(self, const double[:, ::1] thetas, const double[:, ::1] factors,
              double[:, :, ::1] counts, int n_threads):
        """Write the weight of the rows of each class and predicted class, for each theta.

        The largest margin decides, of equal ones the first. Returns as `evaluate` does.
        """
        cdef SoftmaxPlan plan
        self.plan(&plan, thetas, factors, n_threads)
        plan.asked, plan.evaluate = PREDICTIONS, plan.kernels.count_predictions
        plan.n_sums, plan.sums = self.n_classes * self.n_classes, &counts[0, 0, 0]
        return run_softmax(&plan)

    def covariances(self, const double[:, ::1] thetas, const double[:, ::1] factors,
                    double[:, :, ::1] sums, int n_threads):
        """Write the sums of p p', p the probabilities of a row, for each theta.

        What is above the diagonals is left 0. Rows are double precision; returns as `evaluate`.
        """
        cdef SoftmaxPlan plan
        self.plan(&plan, thetas, factors, n_threads)
        plan.asked, plan.evaluate = COVARIANCES, plan.kernels.add_covariances
        plan.n_sums, plan.sums = self.n_classes * self.n_classes, &sums[0, 0, 0]
        return run_softmax(&plan)
