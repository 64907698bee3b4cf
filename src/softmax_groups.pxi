# Groups of softmax regressions, whose classes are columns of tiles: the plan of a call, which
# models of a group count which rows, and their thetas. Needs table.pxi.
#
# Where rows have folds, the models that leave one out have no lanes there: each fold has tiles, and
# gradients, of its own.

from libc.string cimport memcpy, memset

# Tiles of a group at most, where a model has no more: with the gradients of 50 parameters, they
# stay in the second-level cache.
cdef Py_ssize_t MOST_TILES = 6
# Folds that are parts of the rows, at most: of more, each leaves next to no lanes idle.
cdef enum: MOST_PARTS = 16
# Lanes of a tile at most, those of single precision in AVX-512.
cdef enum: MOST_LANES = 48


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
    Py_ssize_t n_params, n_penalised, n_classes, n_strata, n_models, n_all_spans, n_parts
    # The blocks from which spans go, and to which the last one does; of each block, its stratum.
    const Py_ssize_t *spans
    const int *strata
    # [model]...: thetas of all classes, factors of strata, weights of the rows, penalties.
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
    # Of each group at work: [part] how many models count it, [part][model] which ones, and at what
    # position among them a model is, -1 if at none; [part][tile] thetas and gradients; [model]
    # sums, high and low; and what each span kept has left. Of one group, tiles of all models. Of
    # each thread: scratch.
    Py_ssize_t *n_members
    int *members
    int *positions
    char *of_all
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


cdef Py_ssize_t part_of_span(const SoftmaxPlan *plan, Py_ssize_t span) noexcept nogil:
    if plan.n_parts == 1:
        return 0
    return plan.strata[plan.spans[span]] // plan.n_classes


cdef Py_ssize_t tiles_for(const SoftmaxPlan *plan, Py_ssize_t n_models) noexcept nogil:
    return (n_models * plan.n_classes + plan.kernels.lanes - 1) // plan.kernels.lanes


cdef char *tile_of(const SoftmaxPlan *plan, Py_ssize_t index, Py_ssize_t tile) noexcept nogil:
    """Return a tile of a part of the rows, `index` being group * n_parts + part."""
    return plan.tiles + ((index * plan.n_tiles + tile) * (plan.n_params + 1) * plan.kernels.lanes
                         * plan.kernels.itemsize)


cdef bint counts_part(const SoftmaxPlan *plan, Py_ssize_t model, Py_ssize_t part) noexcept nogil:
    """Whether a model has rows of a part of them."""
    cdef const double *factors = plan.factors + model * plan.n_strata + part * plan.n_classes
    cdef Py_ssize_t k
    for k in range(plan.n_classes):
        if factors[k] != 0:
            return True
    return plan.n_parts == 1


cdef void find_members(const SoftmaxPlan *plan, Py_ssize_t group, Py_ssize_t part) noexcept nogil:
    """Say which models of a group count a part of the rows."""
    cdef Py_ssize_t index = group * plan.n_parts + part, i, n = 0
    cdef Py_ssize_t first = (plan.first_group + group) * plan.group
    for i in range(models_in(plan, group)):
        plan.positions[index * plan.group + i] = -1
        if counts_part(plan, first + i, part):
            plan.positions[index * plan.group + i] = <int>n
            plan.members[index * plan.group + n] = <int>i
            n += 1
    plan.n_members[index] = n


cdef void copy_lanes(const SoftmaxPlan *plan, Py_ssize_t index, const char *of_all) noexcept nogil:
    """Write the tiles of the models that count a part of the rows, from those of all models."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, itemsize = plan.kernels.itemsize
    cdef Py_ssize_t n_columns = plan.n_members[index] * plan.n_classes
    cdef Py_ssize_t first = 0, count, lane, column, row
    # Of each lane: where its numbers come from, and how many lanes from there on lie side by side.
    cdef Py_ssize_t[MOST_LANES] sources
    cdef Py_ssize_t[MOST_LANES] lengths
    cdef char *to = tile_of(plan, index, 0)
    while first < n_columns:
        count = min(lanes, n_columns - first)
        for lane in range(count):
            column = first + lane
            column = (plan.members[index * plan.group + column // plan.n_classes] * plan.n_classes
                      + column % plan.n_classes)
            sources[lane] = column // lanes * (plan.n_params + 1) * lanes + column % lanes
        for lane in range(count - 1, -1, -1):
            lengths[lane] = 1
            if lane + 1 < count and sources[lane + 1] == sources[lane] + 1:
                lengths[lane] += lengths[lane + 1]
        for row in range(plan.n_params + 1):
            lane = 0
            while lane < count:
                memcpy(to + lane * itemsize, of_all + (sources[lane] + row * lanes) * itemsize,
                       lengths[lane] * itemsize)
                lane += lengths[lane]
            memset(to + count * itemsize, 0, (lanes - count) * itemsize)
            to += lanes * itemsize
        first += lanes


cdef bint fill_group(const SoftmaxPlan *plan, Py_ssize_t group) noexcept nogil:
    """Write a group's thetas, and zero its sums; False where a theta is not finite."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, tile, first, part, index, size
    cdef Py_ssize_t n_columns = models_in(plan, group) * plan.n_classes
    cdef Py_ssize_t tile_bytes = (plan.n_params + 1) * lanes * plan.kernels.itemsize
    cdef const double *thetas = plan.thetas + (
        (plan.first_group + group) * plan.group * plan.n_classes * plan.n_params)
    cdef char *of_all = plan.of_all
    cdef bint finite = True
    if plan.n_parts == 1:
        of_all = tile_of(plan, group, 0)
    for tile in range(plan.n_tiles):
        first = min(tile * lanes, n_columns)
        plan.kernels.pack_thetas(thetas + first * plan.n_params, min(lanes, n_columns - first),
                                 plan.n_params, lanes, of_all + tile * tile_bytes)
        finite = plan.kernels.find_excesses(of_all + tile * tile_bytes, plan.n_params, lanes,
                                            plan.rows.extent) and finite
    for part in range(plan.n_parts):
        find_members(plan, group, part)
        index = group * plan.n_parts + part
        if plan.n_parts > 1:
            copy_lanes(plan, index, of_all)
        if plan.asked == GRADIENTS:
            first = index * plan.n_tiles * plan.size
            size = tiles_for(plan, plan.n_members[index]) * plan.size
            memset(plan.gradient_high + first, 0, size * sizeof(double))
            memset(plan.gradient_low + first, 0, size * sizeof(double))
    size = plan.group * plan.n_sums
    memset(plan.high + group * size, 0, size * sizeof(double))
    memset(plan.low + group * size, 0, size * sizeof(double))
    return finite


cdef double part_counted(const SoftmaxPlan *plan) noexcept nogil:
    """Return how much of the models' parts of the rows counts, on the average."""
    cdef Py_ssize_t model, part, count = 0
    for model in range(plan.n_models):
        for part in range(plan.n_parts):
            count += counts_part(plan, model, part)
    return <double>count / (plan.n_models * plan.n_parts)


cdef void choose_group(SoftmaxPlan *plan) noexcept nogil:
    """Choose how many models make a group: as many as leave few lanes idle."""
    # Of a tile, those of its vectors are computed that hold columns.
    cdef Py_ssize_t lanes = plan.kernels.lanes, count, n_vectors
    cdef Py_ssize_t width = plan.kernels.vector_lanes
    cdef double counted = part_counted(plan), used, most = 0
    plan.group = 1
    for count in range(1, min(plan.n_models, MOST_TILES * lanes // plan.n_classes) + 1):
        n_vectors = <Py_ssize_t>(count * counted * plan.n_classes + width - 0.5) // width
        # Of groups that are nearly as good, the largest reads the rows for the most models.
        used = <double>plan.n_models / (
            (plan.n_models + count - 1) // count * max(1, n_vectors) * width)
        if used > most * 0.99:
            most, plan.group = max(used, most), count
    plan.n_tiles = tiles_for(plan, plan.group)
    plan.n_groups = (plan.n_models + plan.group - 1) // plan.group
    plan.size = plan.n_params * lanes
