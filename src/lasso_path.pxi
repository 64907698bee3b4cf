# One path of l1 penalties on its way: its rows, what its working set proves, what enters it. Needs
# structures.pxi, table.pxi and lasso_columns.pxi.
#
# A path is the models of one training set, from strong penalties to weak ones, each starting where
# the last one ended. A model takes Newton steps on a working set of columns: coordinate descent on
# the quadratic model of a Hessian that is kept as long as it leads on. What the working set leaves
# out is judged by the gradient of all columns, which is asked for where the duality gap of the
# working set alone is small enough; that gradient chooses the next model's working set as well.

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    constexpr double METAOPT_EPSILON = 0x1p-52, METAOPT_TINY = 0x1p-1022;
    """
    double METAOPT_EPSILON
    double METAOPT_TINY

# Columns enter where the gradient is above this part of l1, by the strong rule of Tibshirani et al.
# (2012).
cdef double LEAST_SLOPE = 0.5
# A penalty below this part of the last one is gone to by way of others, of which nothing is proven.
cdef double STRIDE_DOWN = 0.3
cdef double WAYPOINT_GAP = 1e-3
# Change of the curvatures, as a part of their sum, beyond which a model starts with a new Hessian;
# and the least fall of the gap, as a part, for which a step of an old one will do.
cdef double OLD = 0.3
cdef double SLOW_FALL = 0.2
# Part of the gap to reach at which columns left out are looked at, and the accuracy of coordinate
# descent: parts of that gap and of the one that is left.
cdef double AIM = 0.5
cdef double CARE = 0.02
cdef double CARE_AHEAD = 0.02
cdef int MOST_SWEEPS = 1000
# Part of a column's curvature that rounding may leave once the intercept has had its share.
cdef double COLLINEAR = 1e-13
# Steps of new Hessians that change nothing, one after the other, before a model ends; and gradients
# of all columns that it may ask for.
cdef int MOST_IDLE = 3
cdef int MOST_ASKED = 100
# How far Newton steps of what has no penalty may move a decision value where a point of the dual is
# proven to be near, and the most that such a step adds to the gap beside its length.
cdef double NEAR_DUAL = 0.25
cdef double LONGEST = 1e3


cdef void evaluate_rows(Path *path, const double *direction, double size, double intercept,
                        double *residuals, double *curvatures, DecisionSums *sums) noexcept nogil:
    """Write what `logistic_rows` does of the decision values a part of the direction away."""
    path.kernels.logistic_rows(path.decisions, direction, size, intercept, path.signs, path.weights,
                               path.n_rows, path.moved, residuals, curvatures, sums)


cdef void accept(Path *path, double intercept, const DecisionSums *sums) noexcept nogil:
    """Go where the rows were evaluated last, into next_residuals and next_curvatures."""
    path.intercept, path.sums = intercept, sums[0]
    path.decisions, path.moved = path.moved, path.decisions
    path.residuals, path.next_residuals = path.next_residuals, path.residuals
    path.curvatures, path.next_curvatures = path.next_curvatures, path.curvatures


cdef void polish(Path *path) noexcept nogil:
    """Move what has no penalty to where its slopes are 0, by Newton steps, as far as these lead."""
    cdef DecisionSums sums
    cdef double intercept
    if path.n_free > 0:
        polish_free(path)
        return
    while (path.has_intercept and path.sums.curvature > 0
           and fabs(path.sums.residual) > METAOPT_EPSILON * path.sums.size):
        intercept = path.intercept - path.sums.residual / path.sums.curvature
        evaluate_rows(path, NULL, 0, intercept, path.next_residuals, path.next_curvatures, &sums)
        if not fabs(sums.residual) <= fabs(path.sums.residual) / 2:
            return
        accept(path, intercept, &sums)


# ------------------------------------------------------------------- columns without a penalty


cdef const double *free_columns_of(const Path *path) noexcept nogil:
    return path.columns if path.sparse == NULL else path.free_columns


cdef void begin_free(Path *path) noexcept nogil:
    """Fill in the sparse columns without a penalty, and find those that are zero throughout."""
    cdef const Sparse *sparse = path.sparse
    cdef const double *column
    cdef Py_ssize_t slot, at, line, i
    for slot in range(path.n_free if sparse != NULL else 0):
        line = path.features[slot]
        for at in range(sparse.starts[line], sparse.starts[line + 1]):
            i = sparse.places[at]
            if path.weights[i] > 0:
                path.free_columns[slot * path.stride + i] = sparse.numbers[at]
    for slot in range(path.n_free):
        column = free_columns_of(path) + slot * path.stride
        path.blank[slot] = 1
        for i in range(path.n):
            if column[i] != 0:
                path.blank[slot] = 0


cdef void fill_system(Path *path, Py_ssize_t n, double *gram) noexcept nogil:
    """Add up the Hessian of the parameters without a penalty, that of the intercept's last."""
    cdef Py_ssize_t m = path.n_free, stride = path.kernels.system_stride(n), row = 0, i, j
    cdef double *means = gram + m * m
    cdef double *to = path.system
    memset(path.system, 0, n * stride * sizeof(double))
    memset(gram, 0, (m + 1) * m * sizeof(double))
    while row < path.n_rows:
        for j in range((m + COLUMNS_TOGETHER - 1) // COLUMNS_TOGETHER):
            path.kernels.add_gram(
                free_columns_of(path), path.stride, m, path.curvatures, path.ones, row,
                min(<Py_ssize_t>CHUNK_ROWS, path.n_rows - row), j * COLUMNS_TOGETHER,
                path.weighted, gram, m, means)
        row += CHUNK_ROWS
    for i in range(n):
        for j in range(i, m):
            to[j] = gram[j * m + i]
        if path.has_intercept:
            to[m] = means[i] if i < m else path.sums.curvature
        if i < m:
            to[i] += path.blank[i]
        to += stride


cdef double measure_free(Path *path) noexcept nogil:
    """Take the Newton steps of the parameters without a penalty, and bound their length: how far
    the residuals are from a point of the dual, as docs/explanation/lasso.md has it. Returns the
    length but for rounding, 0 where it is no more than that."""
    cdef Py_ssize_t m = path.n_free, n = m + path.has_intercept, i, j
    cdef Py_ssize_t stride = path.kernels.system_stride(n)
    cdef double *scratch = path.system + n * stride
    cdef double *extents = scratch + n * (stride - n + 2)
    cdef double *pairs = path.system
    cdef double radius, inflation, square, noise, slack
    fill_system(path, n, extents + n)
    path.kernels.column_products(free_columns_of(path), path.stride, m, path.residuals, path.stride,
                                 1, path.n_rows, path.free_steps, 1, 1)
    for i in range(n):
        extents[i] = path.extents[path.features[i]] if i < m else 1
    if path.has_intercept:
        path.free_steps[m] = path.sums.residual
    path.kernels.factor_one(path.system, n, extents, &radius, &inflation, scratch, 0,
                            path.kernels.system_steps(n))
    for i in range(n):
        for j in range(i, n):
            pairs[j - i] = path.system[i * stride + j]
        pairs += n - i
    path.kernels.solve_one(path.system, n, path.free_steps, &square)
    # slack_of_factors of metaopt_fast/fitting/certificates.py.
    slack = METAOPT_EPSILON * (n + path.chain + 24) * n * inflation
    slack = 1.01 / sqrt(1 - slack) if slack < 0.5 else INFINITY
    noise = (METAOPT_EPSILON * (path.chain + 8) * path.sums.size + METAOPT_TINY) * radius
    path.free_length = slack * (sqrt(square) + noise) if slack < INFINITY else INFINITY
    path.free_reach = slack * radius * path.free_length
    return sqrt(square) if sqrt(square) > noise else 0


cdef void polish_free(Path *path) noexcept nogil:
    """Take Newton steps of the parameters without a penalty, as long as they halve each time."""
    cdef double before = INFINITY, length = measure_free(path), intercept
    cdef DecisionSums sums
    cdef Py_ssize_t j
    while path.free_reach <= NEAR_DUAL and 0 < length <= before / 2:
        for j in range(path.n_free):
            path.which[j], path.factors[j] = j, -path.free_steps[j]
            path.w[j] -= path.free_steps[j]
        path.kernels.combine(free_columns_of(path), path.stride, path.which, path.factors,
                             path.n_free, path.n_rows, path.direction)
        intercept = path.intercept
        if path.has_intercept:
            intercept -= path.free_steps[path.n_free]
        evaluate_rows(path, path.direction, 1, intercept, path.next_residuals,
                      path.next_curvatures, &sums)
        accept(path, intercept, &sums)
        before, length = length, measure_free(path)


cdef bint has_optimum(const Path *path) noexcept nogil:
    """Whether a point of the dual is proven to be near: there is one that bounds the loss."""
    return path.n_free == 0 or path.free_reach <= NEAR_DUAL


cdef void renew_decisions(Path *path) noexcept nogil:
    """Compute decision values and residuals anew from the weights, free of what steps rounded."""
    renew_rows(path)
    polish(path)
    if path.n_free > 0:
        renew_rows(path)
        measure_free(path)


cdef void renew_rows(Path *path) noexcept nogil:
    """Compute decision values from the weights as they are, and what follows from them."""
    cdef Py_ssize_t slot, count = 0
    for slot in range(path.k):
        if path.w[slot] != 0:
            path.which[count], path.factors[count] = slot, path.w[slot]
            count += 1
    combine_columns(path, count, path.decisions)
    evaluate_rows(path, NULL, 0, path.intercept, path.residuals, path.curvatures, &path.sums)


cdef double gap_of(Path *path, const double *slopes, const Py_ssize_t *features,
                   Py_ssize_t count) noexcept nogil:
    """Return a bound of the gap, were there no other columns than these, whose slopes are given.

    It is the duality gap, rounding included: docs/explanation/lasso.md has the proof. `features`
    may be null: all columns in their order. Writes the objective.
    """
    cdef DecisionSums *sums = &path.sums
    cdef double chain = path.chain, mixed = 0, length = 0
    cdef double noise = METAOPT_EPSILON * (chain + 8) * sums.size + METAOPT_TINY
    cdef double absolute = 0, squares = 0, reach = fabs(path.intercept), largest = 0, beyond = 0
    cdef double l1 = path.l1, l2 = path.l2, slope, scale, gap, of_margins, rounding, unscaled, share
    cdef Py_ssize_t slot, j, feature, n_nonzero = 0
    for slot in range(path.k):
        if path.w[slot] != 0:
            n_nonzero += 1
            absolute += path.shares[slot] * fabs(path.w[slot])
            squares += path.shares[slot] * path.w[slot] * path.w[slot]
            reach += fabs(path.w[slot]) * path.extents[path.features[slot]]
    if path.n_free > 0:
        length = min(path.free_length, LONGEST)
    elif path.has_intercept:
        mixed = fabs(sums.residual) + noise
        mixed = 1.01 * mixed / (mixed + path.lighter)
    for j in range(count):
        feature = j if features == NULL else features[j]
        share = path.all_shares[feature]
        if share == 0:
            continue
        slope = fabs(slopes[j]) + 1.01 * (noise + mixed + length / 2) * path.extents[feature]
        largest = max(largest, slope / share)
        if slope > l1 * share:
            beyond += (slope - l1 * share) * ((slope - l1 * share) / share)
    path.objective = sums.loss + (l1 * absolute + l2 / 2 * squares)
    scale = 1 - mixed
    if largest > l1:
        scale *= l1 / largest
    gap = (1 - scale) * sums.loss + (scale * sums.product + l1 * absolute) + l2 / 2 * squares
    if l2 > 0:
        unscaled = (mixed * sums.loss + ((1 - mixed) * sums.product + l1 * absolute)
                    + l2 / 2 * squares + beyond / (2 * l2))
        gap = min(gap, unscaled * (1 + METAOPT_EPSILON * count))
    gap += (0.67 + length) * length
    of_margins = 1.01 * METAOPT_EPSILON * (n_nonzero + 4) * reach
    rounding = 2 * METAOPT_EPSILON * (chain + n_nonzero + 32) * (
        sums.loss + sums.spread + l1 * absolute + l2 / 2 * squares)
    rounding += sums.size * of_margins * (1 + 2 * of_margins) + METAOPT_TINY
    gap = max(gap, 0) + 1.01 * rounding
    return min(gap, 1.01 * path.objective) if of_margins < 0.5 and gap < INFINITY else INFINITY


# ------------------------------------------------------------------------------- the working set


cdef struct Candidate:
    double size
    Py_ssize_t feature


cdef int compare(const void *a, const void *b) noexcept nogil:
    """Put the larger one first; of equal ones, that of the lower number."""
    cdef const Candidate *x = <const Candidate *>a
    cdef const Candidate *y = <const Candidate *>b
    if x.size != y.size:
        return -1 if x.size > y.size else 1
    return -1 if x.feature < y.feature else 1


cdef Py_ssize_t find_entering(Path *path, double threshold) noexcept nogil:
    """List the columns outside of the working set whose slope, over the factor of the penalty, is
    above a threshold, or those with the largest ones, in their order; returns how many, or -1
    without memory."""
    cdef Py_ssize_t j, count = 0, n_support = 0, limit
    cdef Candidate *candidates
    for j in range(path.k):
        n_support += path.w[j] != 0
    for j in range(path.n_features):
        if path.slots[j] < 0 and fabs(path.gradient[j]) > threshold * path.all_shares[j]:
            path.entering[count] = j
            count += 1
    limit = max(MOST_ENTERING, 2 * n_support)
    if count <= limit:
        return count
    candidates = <Candidate *>malloc(count * sizeof(Candidate))
    if candidates == NULL:
        path.has_failed = True
        return -1
    for j in range(count):
        candidates[j].feature = path.entering[j]
        candidates[j].size = fabs(path.gradient[path.entering[j]]) / (
            path.all_shares[path.entering[j]])
    qsort(candidates, count, sizeof(Candidate), compare)
    for j in range(limit):
        path.slots[candidates[j].feature] = -2
    free(candidates)
    limit = 0
    for j in range(count):
        if path.slots[path.entering[j]] == -2:
            path.slots[path.entering[j]] = -1
            path.entering[limit] = path.entering[j]
            limit += 1
    return limit


cdef bint admit(Path *path, double threshold) noexcept nogil:
    """Let columns enter whose slope is above a threshold; whether there are any."""
    cdef Py_ssize_t count = find_entering(path, threshold), i
    if count <= 0 or not reserve(path, path.k + count):
        return False
    path.first_new = path.k
    for i in range(count):
        enter(path, path.entering[i], 0)
    path.next_row = path.next_column = 0
    return True


cdef void forget_columns(Path *path, double threshold) noexcept nogil:
    """Leave in the working set what has a weight, or a slope above the threshold."""
    cdef Py_ssize_t slot, count = 0, feature
    for slot in range(path.k):
        feature = path.features[slot]
        if slot >= path.n_free and path.w[slot] == 0 and (
                fabs(path.gradient[feature]) <= threshold * path.all_shares[feature]):
            path.slots[feature] = -1
            continue
        if count < slot:
            if path.sparse == NULL:
                memcpy(path.columns + count * path.stride, path.columns + slot * path.stride,
                       path.stride * sizeof(double))
            path.features[count], path.slots[feature] = feature, count
            path.shares[count], path.w[count] = path.shares[slot], path.w[slot]
        count += 1
    path.k = count


cdef void renew_matrix(Path *path) noexcept nogil:
    """Have the Hessian added up anew, at the curvatures of now."""
    memcpy(path.kept, path.curvatures, path.n_rows * sizeof(double))
    path.kept_sum = path.sums.curvature
    path.first_new = path.next_row = path.next_column = 0
    path.is_fresh = True
    path.stage = ADDING


cdef bint is_old(const Path *path) noexcept nogil:
    """Whether the curvatures have changed much since the Hessian was taken."""
    cdef double change = 0
    cdef Py_ssize_t i
    for i in range(path.n):
        change += fabs(path.curvatures[i] - path.kept[i])
    return not change <= OLD * path.sums.curvature
