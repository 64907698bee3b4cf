# Tiles of candidates over the rows: partial sums, added up in the order of the spans. Needs
# table.pxi and plan.pxi.

from libc.string cimport memset

cdef inline void add_exactly(double *high, double *low, double x) noexcept nogil:
    # Knuth's two-sum; an overflow has no rounding error to keep.
    cdef double total = high[0] + x
    cdef double added = total - high[0]
    if total - total == 0:
        low[0] += (high[0] - (total - added)) + (x - added)
    high[0] = total


cdef inline char *thetas_of(const Plan *plan, const Workspace *work,
                            Py_ssize_t tile) noexcept nogil:
    return work.thetas + tile * (plan.n_params + 1) * plan.lanes * plan.kernels.itemsize


cdef void fill_tile(const Plan *plan, Workspace *work, Py_ssize_t tile) noexcept nogil:
    """Write a tile's thetas, note whether they are finite, and zero its sums."""
    cdef Py_ssize_t size = plan.n_params * plan.lanes
    cdef Py_ssize_t first = (work.first_tile + tile) * plan.lanes
    cdef Py_ssize_t count = min(plan.lanes, plan.n_candidates - first)
    cdef char *thetas = thetas_of(plan, work, tile)
    cdef bint finite
    memset(work.loss_high + tile * plan.lanes, 0, plan.lanes * sizeof(double))
    memset(work.loss_low + tile * plan.lanes, 0, plan.lanes * sizeof(double))
    if plan.gradients:
        memset(work.gradient_high + tile * size, 0, size * sizeof(double))
        memset(work.gradient_low + tile * size, 0, size * sizeof(double))
    if plan.thetas == NULL:
        plan.kernels.draw(plan.sampler, plan.start + first, plan.lanes, thetas,
                          <double *>work.scratch)
    else:
        plan.kernels.pack_thetas(plan.thetas + first * plan.n_params, count, plan.n_params,
                                 plan.lanes, thetas)
    finite = plan.kernels.find_excesses(thetas, plan.n_params, plan.lanes, plan.rows.extent)
    work.finite = work.finite and finite


cdef void evaluate_tiles(const Plan *plan, Workspace *work, Py_ssize_t first_tile,
                         Py_ssize_t last_tile, Py_ssize_t span, char *scratch) noexcept nogil:
    """Leave the partial sums of some tiles over one span."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize, size = plan.n_params * plan.lanes
    cdef Py_ssize_t tile, until, place
    cdef Py_ssize_t block = (work.first_span + span) * BLOCKS_PER_SPAN
    cdef Py_ssize_t last_block = min(block + BLOCKS_PER_SPAN, plan.n_blocks)
    cdef char *gradients = NULL
    for tile in range(first_tile, last_tile):
        place = tile * work.n_spans + span
        memset(work.partial_losses + place * plan.lanes, 0, plan.lanes * sizeof(double))
        if plan.gradients:
            memset(work.partial_gradients + place * size * itemsize, 0, size * itemsize)
    while block < last_block:
        until = min(block + plan.blocks_in_cache, last_block)
        for tile in range(first_tile, last_tile):
            place = tile * work.n_spans + span
            if plan.gradients:
                gradients = work.partial_gradients + place * size * itemsize
            plan.evaluate(plan.rows, block, until, thetas_of(plan, work, tile),
                          work.partial_losses + place * plan.lanes, gradients, scratch)
        block = until


cdef void evaluate_spans(const Plan *plan, Workspace *work, Py_ssize_t first_tile,
                         Py_ssize_t last_tile, Py_ssize_t first_span, Py_ssize_t last_span,
                         char *scratch) noexcept nogil:
    """Leave the partial sums of some tiles over some spans."""
    cdef Py_ssize_t span, place = first_tile * work.n_spans + first_span
    cdef Py_ssize_t size = plan.n_params * plan.kernels.itemsize, n_spans = last_span - first_span
    cdef char *gradients = NULL
    if plan.lanes > 1 or last_tile - first_tile > 1:
        for span in range(first_span, last_span):
            evaluate_tiles(plan, work, first_tile, last_tile, span, scratch)
        return
    # A single theta reads on from span to span.
    memset(work.partial_losses + place, 0, n_spans * sizeof(double))
    if plan.gradients:
        gradients = work.partial_gradients + place * size
        memset(gradients, 0, n_spans * size)
    plan.evaluate(plan.rows, (work.first_span + first_span) * BLOCKS_PER_SPAN,
                  min(plan.n_blocks, (work.first_span + last_span) * BLOCKS_PER_SPAN),
                  thetas_of(plan, work, first_tile), work.partial_losses + place, gradients,
                  scratch)


cdef void fold_tile(const Plan *plan, Workspace *work, Py_ssize_t tile) noexcept nogil:
    """Add a tile's partial sums to its totals, span by span."""
    cdef Py_ssize_t span, lane, place = tile * plan.lanes, size = plan.n_params * plan.lanes
    for span in range(work.n_spans):
        for lane in range(plan.lanes):
            add_exactly(work.loss_high + place + lane, work.loss_low + place + lane,
                        work.partial_losses[(tile * work.n_spans + span) * plan.lanes + lane])
    if plan.gradients:
        plan.kernels.fold_spans(
            work.partial_gradients + tile * work.n_spans * size * plan.kernels.itemsize,
            work.n_spans, size, work.gradient_high + tile * size, work.gradient_low + tile * size)
