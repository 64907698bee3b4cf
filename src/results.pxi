# What becomes of a candidate's totals: means, penalties, and sums anew where one left the range.
# Needs table.pxi, plan.pxi and tiles.pxi.

from libc.math cimport INFINITY, NAN, frexp, isfinite, ldexp
from libc.string cimport memset

# Penalties below it are computed in its units.
cdef double SMALL = 2.0 ** -600

cdef inline double overflow_to_infinity(double x) noexcept nogil:
    # inf - inf of partial sums that left the range both ways.
    return x if x == x else INFINITY


cdef double penalty(const Plan *plan, const real *thetas, Py_ssize_t lane) noexcept nogil:
    if plan.network != NULL:
        return penalty_of_network(plan, thetas, lane)
    return penalty_of(plan.l2, thetas, lane, plan.n_penalised, plan.lanes)


cdef double penalty_of_network(const Plan *plan, const real *thetas,
                               Py_ssize_t lane) noexcept nogil:
    """Return the penalty of all weights: the last number of each unit and output is its bias."""
    cdef double total = 0
    cdef Py_ssize_t n_hidden = plan.network.n_hidden, lanes = plan.lanes, i, size
    for i in range(n_hidden + plan.network.n_outputs):
        size = plan.rows.n_params if i < n_hidden else n_hidden + 1
        total += penalty_of(plan.l2, thetas, lane, size - 1, lanes)
        thetas += size * lanes
    return total


cdef inline bint is_penalised(const Plan *plan, Py_ssize_t j) noexcept nogil:
    cdef Py_ssize_t size
    if plan.network == NULL:
        return j < plan.n_penalised
    size = plan.network.n_hidden * plan.rows.n_params
    if j < size:
        return (j + 1) % plan.rows.n_params != 0
    return (j - size + 1) % (plan.network.n_hidden + 1) != 0


cdef double penalty_of(double l2, const real *thetas, Py_ssize_t lane, Py_ssize_t n_penalised,
                       Py_ssize_t lanes) noexcept nogil:
    cdef double total = 0, theta, half = 0.5
    cdef Py_ssize_t j
    # Of a subnormal l2, neither the half nor the product with theta has all digits.
    if l2 < SMALL:
        l2, half = l2 / SMALL, half * SMALL
    for j in range(n_penalised):
        theta = thetas[j * lanes + lane]
        total += l2 * theta * (theta * half)
    return total


cdef double mean_again(const Plan *plan, const Workspace *work, const real *theta,
                       CarefulSum *gradient) noexcept nogil:
    """Return the mean loss of a candidate and, unless that is NULL, write its gradient as sums.

    For sums that left the range: their means need not. Networks have NaN, and are evaluated again.
    """
    cdef CarefulSum total
    cdef int exponent
    cdef double unit, weight
    cdef Py_ssize_t j
    if plan.network != NULL:
        return NAN
    frexp(plan.total_weight, &exponent)
    # Less than one over the weights, for terms beyond the range that leave a sum within it.
    unit = ldexp(1, -exponent - 64)
    weight = unit * plan.total_weight
    total.high, total.low = 0, 0
    if gradient != NULL:
        memset(gradient, 0, plan.n_params * sizeof(CarefulSum))
    plan.kernels.evaluate_wide(plan.rows, plan.n_blocks, theta, plan.lanes, unit, &total, gradient,
                               work.scratch + plan.n_params * sizeof(CarefulSum))
    if gradient != NULL:
        for j in range(plan.n_params):
            gradient[j].high = (gradient[j].high + gradient[j].low) / weight
    return overflow_to_infinity((total.high + total.low) / weight)


cdef inline double loss_of(const Plan *plan, double total, double penalty) noexcept nogil:
    cdef double loss = overflow_to_infinity(total / plan.total_weight)
    return loss + penalty if plan.l2 > 0 else loss


cdef double loss_of_lane(const Plan *plan, const Workspace *work, Py_ssize_t place,
                         const real *thetas, double penalty) noexcept nogil:
    """Return the loss of a candidate from its totals, or from a sum anew if those are lost."""
    cdef double total = work.loss_high[place] + work.loss_low[place], mean
    if isfinite(total):
        return loss_of(plan, total, penalty)
    mean = mean_again(plan, work, thetas, NULL)
    return mean + penalty if plan.l2 > 0 else mean


cdef void finish_gradient(const Plan *plan, const Workspace *work, Py_ssize_t lane,
                          const real *thetas, double *gradient) noexcept nogil:
    """Add the penalty's gradient to the means of a candidate's, those that are lost found anew."""
    cdef CarefulSum *again = <CarefulSum *>work.scratch
    cdef Py_ssize_t j
    cdef bint is_lost = False, has_penalty = plan.network == NULL or plan.l2 > 0
    cdef double slope
    for j in range(plan.n_params):
        is_lost = is_lost or not isfinite(gradient[j])
    if is_lost and plan.network == NULL:
        mean_again(plan, work, thetas + lane, again)
    for j in range(plan.n_params):
        slope = gradient[j]
        if plan.network == NULL and not isfinite(slope):
            slope = again[j].high
        if has_penalty and is_penalised(plan, j):
            slope += plan.l2 * thetas[j * plan.lanes + lane]
        gradient[j] = overflow_to_infinity(slope)


cdef void write_results(const Plan *plan, const Workspace *work, Py_ssize_t tile,
                        const real *thetas) noexcept nogil:
    """Write the losses and the gradients of a tile, penalties included."""
    cdef Py_ssize_t size = plan.n_params * plan.lanes, lane
    cdef Py_ssize_t first = (work.first_tile + tile) * plan.lanes
    cdef Py_ssize_t count = min(plan.lanes, plan.n_candidates - first)
    cdef double *gradients = NULL
    cdef double added = 0
    cdef bint is_finished = False
    if plan.gradients != NULL:
        gradients = plan.gradients + first * plan.n_params
        is_finished = plan.kernels.write_means(
            work.gradient_high + tile * size, work.gradient_low + tile * size, plan.n_params,
            plan.lanes, count, plan.total_weight, gradients)
        # Descents ask networks without l2: there is nothing to add.
        is_finished = is_finished and plan.network != NULL and plan.l2 == 0
    for lane in range(count):
        if plan.l2 > 0:
            added = penalty(plan, thetas, lane)
        plan.losses[first + lane] = loss_of_lane(plan, work, tile * plan.lanes + lane,
                                                 thetas + lane, added)
        if plan.gradients != NULL and not is_finished:
            finish_gradient(plan, work, lane, thetas, gradients + lane * plan.n_params)


cdef void finish_tile(const Plan *plan, const Workspace *work, Py_ssize_t tile) noexcept nogil:
    if plan.kernels.itemsize == sizeof(double):
        write_results(plan, work, tile, <const double *>thetas_of(plan, work, tile))
    else:
        write_results(plan, work, tile, <const float *>thetas_of(plan, work, tile))
