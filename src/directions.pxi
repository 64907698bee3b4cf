# Directions of L-BFGS for softmax regressions, by the pairs of each and an inverse that models
# share. Needs table.pxi and products.pxi.

from libc.math cimport INFINITY, fabs, isfinite
from libc.string cimport memcpy

# Visits that a number of a pair takes, which comes from memory.
cdef double PAIR_WORK = 4


cdef struct StepsPlan:
    const Kernels *kernels
    # Parameters of a model, and of a class, how many of these are penalised, and rows of an
    # inverse: one, if it is a diagonal.
    Py_ssize_t n, n_classes, n_columns, n_features, capacity, n_rows
    # Arrays over the training sets: pairs of models, [position][parameter] and [position];
    const float *steps
    const float *changes
    const float *intercepts
    const double *curvatures
    const double *tilts
    const double *ratios
    const Py_ssize_t *firsts
    Py_ssize_t *counts
    # losses, where they are, gradients, penalties, which of the inverses is theirs, how small a gap
    # is wanted;
    const double *losses
    const double *thetas
    const double *gradients
    const double *l2
    const double *inverses
    const Py_ssize_t *inverse_of
    const double *targets
    # what is found: gaps, as gradients promise them, steps, and their slopes; the loss before a
    # step, the smallest square of a gradient, and how many steps have led nowhere since.
    double *gaps
    double *directions
    double *slopes
    double *before
    double *smallest
    Py_ssize_t *idle
    # Smoothed gradients, and where they would be found, the gaps that they promise, and the part of
    # the target that these have to be below.
    double *smooth_thetas
    double *smooth_gradients
    double *smooth_gaps
    double *trust
    # Models that have not ended, in order.
    Py_ssize_t *active
    # Of each thread: factors of the pairs, a gradient, a tile, and products.
    double *scratch
    Py_ssize_t scratch_size


cdef void precondition(const StepsPlan *plan, Py_ssize_t model, double *x,
                       double *tile) noexcept nogil:
    """Multiply each class' part of x by a model's inverse."""
    cdef Py_ssize_t n = plan.n_columns, lanes = plan.kernels.lanes, first, count, row, n_rows
    cdef Py_ssize_t k, i, j
    cdef const double *inverse = plan.inverses + plan.inverse_of[model] * plan.n_rows * n
    cdef double *found = tile + n * lanes
    if plan.n_rows == 1:
        for k in range(plan.n_classes):
            for j in range(n):
                x[k * n + j] *= inverse[j]
        return
    first = 0
    while first < plan.n_classes:
        count = min(lanes, plan.n_classes - first)
        plan.kernels.pack_thetas(x + first * n, count, n, lanes, tile)
        row = 0
        while row < n:
            n_rows = min(ROWS_AT_ONCE, n - row)
            plan.kernels.products(inverse + row * n, n_rows, n, n, tile, count, found)
            for k in range(count):
                for i in range(n_rows):
                    x[(first + k) * n + row + i] = found[i * lanes + k]
            row += n_rows
        first += count


cdef double promised_gap(const StepsPlan *plan, Py_ssize_t model, const double *gradient,
                         double *scratch) noexcept nogil:
    """Return what the gap would be if all curvature were the penalty's; without one, a guess."""
    cdef const double *part
    cdef double total = 0
    cdef Py_ssize_t k
    if plan.l2[model] > 0:
        for k in range(plan.n_classes):
            part = gradient + k * plan.n_columns
            total += plan.kernels.dot(part, part, plan.n_features)
        return total / (2 * plan.l2[model])
    memcpy(scratch, gradient, plan.n * sizeof(double))
    precondition(plan, model, scratch, scratch + plan.n)
    return plan.kernels.dot(scratch, gradient, plan.n)


cdef bint has_arrived(const StepsPlan *plan, Py_ssize_t model) noexcept nogil:
    return plan.gaps[model] <= plan.targets[model] * max(1.0, plan.losses[model])


cdef void smooth(const StepsPlan *plan, Py_ssize_t model) noexcept nogil:
    """Move a smoothed gradient to where it is shortest on the line to the model's, as if gradients
    were linear: those of L-BFGS swing, and what is proven hangs on their length.

    Minimal residual smoothing: Zhou & Walker, "Residual smoothing techniques for iterative
    methods", SIAM J. Scientific Computing 15, 1994.
    """
    cdef const double *theta = plan.thetas + model * plan.n
    cdef const double *gradient = plan.gradients + model * plan.n
    cdef double *smooth_theta = plan.smooth_thetas + model * plan.n
    cdef double *smooth_gradient = plan.smooth_gradients + model * plan.n
    cdef double *change = plan.directions + model * plan.n
    cdef double square, part = 0
    cdef Py_ssize_t j
    for j in range(plan.n):
        change[j] = gradient[j] - smooth_gradient[j]
    square = plan.kernels.dot(change, change, plan.n)
    if square > 0:
        part = -plan.kernels.dot(smooth_gradient, change, plan.n) / square
    part = min(max(part, 0.0), 1.0)
    for j in range(plan.n):
        smooth_gradient[j] += part * change[j]
        smooth_theta[j] += part * (theta[j] - smooth_theta[j])


cdef void find_pairs(const StepsPlan *plan, Py_ssize_t model, Pairs *pairs) noexcept nogil:
    """Say where the pairs of a model are."""
    cdef Py_ssize_t first = model * plan.capacity
    pairs.steps, pairs.changes = plan.steps + first * plan.n, plan.changes + first * plan.n
    pairs.intercepts = plan.intercepts + first * plan.n_classes
    pairs.curvatures, pairs.tilts, pairs.ratios = (
        plan.curvatures + first, plan.tilts + first, plan.ratios + first)
    pairs.first, pairs.count = plan.firsts[model], plan.counts[model]
    pairs.capacity, pairs.n, pairs.stride = plan.capacity, plan.n, plan.n_columns
    pairs.has_intercepts = plan.n_columns > plan.n_features


cdef void find_direction(const StepsPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Find where a model goes that is not near its optimum: downhill."""
    cdef Py_ssize_t model = plan.active[i], j
    cdef const double *gradient = plan.gradients + model * plan.n
    cdef double *direction = plan.directions + model * plan.n
    cdef double *alphas = plan.scratch + thread * plan.scratch_size
    cdef double *rest = alphas + plan.capacity
    cdef Pairs pairs
    plan.gaps[model] = promised_gap(plan, model, gradient, rest)
    plan.smooth_gaps[model] = INFINITY
    if has_arrived(plan, model):
        return
    if plan.l2[model] > 0:
        smooth(plan, model)
        plan.smooth_gaps[model] = promised_gap(
            plan, model, plan.smooth_gradients + model * plan.n, rest)
    find_pairs(plan, model, &pairs)
    while True:
        pairs.count = plan.counts[model]
        memcpy(direction, gradient, plan.n * sizeof(double))
        plan.kernels.apply_pairs(&pairs, direction, alphas)
        precondition(plan, model, direction, rest + plan.n)
        plan.kernels.apply_pairs_again(&pairs, direction, alphas)
        plan.slopes[model] = -plan.kernels.dot(direction, gradient, plan.n)
        if isfinite(plan.slopes[model]) and plan.slopes[model] < 0 or not plan.counts[model]:
            break
        plan.counts[model] = 0
    for j in range(plan.n):
        direction[j] = -direction[j]


cdef bint is_idle(const StepsPlan *plan, Py_ssize_t model, double rounding,
                  int patience) noexcept nogil:
    """Whether neither the gradient is smaller than ever, nor the loss, for some steps."""
    cdef const double *gradient = plan.gradients + model * plan.n
    cdef double size = plan.kernels.dot(gradient, gradient, plan.n), before = plan.before[model]
    if plan.idle[model] < patience and (
            size < plan.smallest[model]
            or before - plan.losses[model] > rounding * fabs(before)):
        plan.idle[model] = 0
    else:
        plan.idle[model] += 1
    plan.smallest[model] = min(size, plan.smallest[model])
    return plan.idle[model] >= patience
