# What a path of l1 penalties does next, step by step. Needs table.pxi, courses.pxi, steps.pxi,
# lasso_columns.pxi and lasso_path.pxi.

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memset

# Multiplications of a path between two looks at signals, some 10 ms.
cdef double PATH_WORK = 5e7
# Sweeps of coordinate descent, at least, before the least point is computed.
cdef Py_ssize_t LEAST_SWEEPS = 4
# Weights beyond which it is not: a factor would take longer than there may be between two looks at
# signals.
cdef Py_ssize_t LARGEST_FACTOR = 1536


cdef void open_model(Path *path, double before) noexcept nogil:
    """Start with the next model, given the gradient and the penalty that the last one had."""
    cdef double wanted = path.l1s[path.models[path.index]], threshold
    path.is_waypoint = wanted < STRIDE_DOWN * before
    path.l1 = STRIDE_DOWN * before if path.is_waypoint else wanted
    path.l2 = path.l2s[path.models[path.index]]
    path.n_asked = path.n_idle = 0
    path.hope, path.gap_before = 1, INFINITY
    threshold = max(2 * path.l1 - before, LEAST_SLOPE * path.l1)
    if is_old(path):
        forget_columns(path, threshold)
        admit(path, threshold)
        renew_matrix(path)
    else:
        path.is_fresh = False
        path.first_new = path.k
        path.next_row = path.next_column = 0
        admit(path, threshold)
        path.stage = ADDING
    take_slopes(path)


cdef void take_slopes(Path *path) noexcept nogil:
    """Take the slopes of the working set from the gradient."""
    cdef Py_ssize_t slot
    for slot in range(path.k):
        path.slopes[slot] = path.gradient[path.features[slot]]
    path.gap = gap_of(path, path.slopes, path.features, path.k)


cdef void write_row(const double *entries, const double *means, double pull,
                    const Py_ssize_t *which, Py_ssize_t first, Py_ssize_t last,
                    double *row) noexcept nogil:
    """Write a row of the Hessian of some columns, the intercept's share taken from it."""
    cdef Py_ssize_t i
    for i in range(first, last):
        row[i] = entries[which[i]] - pull * means[which[i]]


cdef double go_to_least(Path *path, double scale) noexcept nogil:
    """Move the weights that are not 0 to where the quadratic model is least while these have their
    signs, or to where the first one becomes 0; returns how far that is, in the norm of the Hessian,
    and infinity where one became 0: there is more to do.

    Coordinate descent takes very many sweeps where columns are nearly collinear.
    """
    cdef Py_ssize_t *which = path.which
    cdef Py_ssize_t n = 0, i, j, stride, zero = -1
    cdef double part = 1, square, sign
    for j in range(path.k):
        if path.at[j] != 0 and path.inverses[j] != 0:
            which[n] = j
            n += 1
    if n == 0:
        return 0
    stride = path.kernels.system_stride(n)
    cdef double *memory = <double *>calloc(n * (2 * stride - n + n + 4), sizeof(double))
    if memory == NULL:
        path.has_failed = True
        return 0
    cdef double *steps = memory + n * (2 * stride - n + 2)
    cdef double *row = memory
    cdef double *pairs
    for i in range(n):
        j, sign = which[i], 1 if path.at[which[i]] > 0 else -1
        steps[i] = -(path.slopes[j] + path.turned[j] - path.means[j] * scale * path.step_size
                     + path.l1 * path.shares[j] * sign + path.l2 * path.shares[j] * path.at[j])
        steps[n + i] = 1
        write_row(path.matrix + j * path.capacity, path.means, path.means[j] * scale, which, i, n,
                  row)
        row[i] = path.diagonal[j] + path.l2 * path.shares[j]
        row += stride
    path.kernels.factor_one(memory, n, steps + n, &square, &square, memory + n * stride, 0,
                            path.kernels.system_steps(n) // 2)
    pairs = row = memory
    for i in range(n):
        for j in range(i, n):
            pairs[j - i] = row[j]
        pairs += n - i
        row += stride
    path.kernels.solve_one(memory, n, steps, &square)
    for i in range(n):
        j = which[i]
        if path.shares[j] > 0 and (path.at[j] > 0) != (path.at[j] + steps[i] > 0) and (
                -path.at[j] / steps[i] < part):
            part, zero = -path.at[j] / steps[i], j
    for i in range(n):
        j = which[i]
        path.factors[i] = -path.at[j] if j == zero else part * steps[i]
        path.at[j] += path.factors[i]
        path.step_size += path.factors[i] * path.means[j]
    path.kernels.add_rows(path.matrix, path.capacity, which, path.factors, n, path.k, path.turned)
    free(memory)
    return sqrt(square) if zero < 0 else INFINITY


cdef double descend(Path *path) noexcept nogil:
    """Minimise the quadratic model over the working set, or do so for a while; returns the
    multiplications."""
    cdef Py_ssize_t j, k = path.k, n_support
    cdef double scale = 1 / path.kept_sum if path.has_intercept and path.kept_sum > 0 else 0
    cdef double goal = AIM * path.tol * max(1.0, path.objective), length
    cdef double enough = path.hope * max(CARE * goal, CARE_AHEAD * path.gap)
    cdef double done = 0
    if path.n_sweeps == 0:
        begin_descent(path, scale)
    while path.n_sweeps < MOST_SWEEPS:
        if done > PATH_WORK:
            return done
        length = sqrt(path.kernels.sweep(
            path.matrix, path.capacity, k, path.slopes, path.means, scale, path.diagonal,
            path.inverses, path.l1, path.shares, path.all_move, path.at, path.turned,
            &path.step_size))
        path.n_sweeps += 1
        path.n_in_vain += 1
        n_support = 0
        for j in range(k):
            n_support += path.at[j] != 0
        done += <double>k * (n_support + 20)
        # At the end, or after as many sweeps as take the time of a factor.
        if n_support <= LARGEST_FACTOR and ((not length > enough and path.all_move) or (
                path.n_in_vain >= LEAST_SWEEPS
                and 6 * k * path.n_in_vain >= n_support * n_support)):
            done += <double>n_support * n_support * (n_support / 6 + k)
            if not go_to_least(path, scale) > enough and not length > enough and path.all_move:
                break
            path.n_in_vain = 0
            path.all_move = True
        elif not length > enough and path.all_move:
            break
        else:
            path.all_move = not length > enough
    path.n_sweeps = 0
    path.step_size *= -scale
    path.stage = MOVING
    return done


cdef void begin_descent(Path *path, double scale) noexcept nogil:
    """Start coordinate descent where the weights are."""
    cdef Py_ssize_t j
    cdef double own, length
    for j in range(path.k):
        own = path.matrix[j * path.capacity + j]
        path.diagonal[j] = max(own - path.means[j] * path.means[j] * scale, 0)
        length = path.diagonal[j] + path.l2 * path.shares[j]
        path.inverses[j] = 1 / length if length > COLLINEAR * own else 0
        path.at[j], path.turned[j] = path.w[j], 0
    path.step_size = path.sums.residual if path.has_intercept else 0
    path.n_in_vain = 0
    path.all_move = True


cdef double move(Path *path) noexcept nogil:
    """Go along the step, halved until the objective falls; returns the multiplications."""
    cdef Py_ssize_t j, count = 0
    cdef double slope = path.sums.residual * path.step_size if path.has_intercept else 0
    cdef double size = 1, before = path.objective, price, weight, moved
    cdef DecisionSums sums
    cdef int i
    for j in range(path.k):
        moved = path.at[j] - path.w[j]
        if moved != 0:
            path.which[count], path.factors[count] = j, moved
            count += 1
            slope += (path.slopes[j] + path.l2 * path.shares[j] * path.w[j]) * moved + (
                path.l1 * path.shares[j] * (fabs(path.at[j]) - fabs(path.w[j])))
    combine_columns(path, count, path.direction)
    for i in range(HALVINGS):
        evaluate_rows(path, path.direction, size, path.intercept + size * path.step_size,
                      path.next_residuals, path.next_curvatures, &sums)
        price = 0
        for j in range(path.k):
            weight = path.at[j] if size == 1 else path.w[j] + size * (path.at[j] - path.w[j])
            price += path.l1 * (path.shares[j] * fabs(weight)) + (
                path.l2 / 2 * path.shares[j] * weight * weight)
        if sums.loss + price <= before + ARMIJO * size * slope + ROUNDING * before:
            accept(path, path.intercept + size * path.step_size, &sums)
            for j in range(path.k):
                path.w[j] = path.at[j] if size == 1 else (
                    path.w[j] + size * (path.at[j] - path.w[j]))
            break
        size /= 2
    else:
        size = 0
    path.n_steps += 1
    polish(path)
    tell_working_slopes(path)
    path.gap_before = path.gap
    path.gap = gap_of(path, path.slopes, path.features, path.k)
    go_on(path, size, before)
    return <double>path.n_rows * (path.k + count + 100)


cdef void go_on(Path *path, double size, double before) noexcept nogil:
    """Decide what follows on a step of some size from an objective."""
    cdef bint is_slow = size < 1 or path.gap > SLOW_FALL * path.gap_before
    cdef double goal = AIM * path.tol * path.hope
    if path.is_waypoint:
        goal = max(WAYPOINT_GAP, goal)
    if path.gap <= goal * max(1.0, path.objective) or path.n_steps >= path.max_iter:
        path.stage = ASKING
        return
    if (path.is_fresh and path.gap > path.gap_before / 2
            and before - path.objective <= ROUNDING * before):
        path.n_idle += 1
    if path.n_idle >= MOST_IDLE:
        path.stage = ASKING
    elif is_slow:
        renew_matrix(path)
    else:
        path.is_fresh = False
        path.stage = DESCENDING


cdef void judge(Path *path) noexcept nogil:
    """Go on from the gradient of all columns: to more columns, or to the next model."""
    cdef double gap, wanted
    cdef Ending ending = HAS_CONVERGED
    cdef Py_ssize_t j
    path.n_passes += 1
    path.n_asked += 1
    if path.is_start:
        path.is_start = False
        wanted = path.l1s[path.models[0]]
        for j in range(path.n_features):
            if path.all_shares[j] > 0:
                wanted = max(wanted, fabs(path.gradient[j]) / path.all_shares[j])
        open_model(path, wanted)
        return
    if path.is_waypoint and path.n_steps < path.max_iter:
        open_model(path, path.l1)
        return
    path.l1 = path.l1s[path.models[path.index]]
    gap = gap_of(path, path.gradient, NULL, path.n_features)
    if not has_optimum(path):
        gap = INFINITY
    wanted = path.tol * max(1.0, path.objective)
    if gap > wanted:
        ending = HAS_STALLED
        if path.n_steps >= path.max_iter or path.n_asked >= MOST_ASKED:
            ending = HAS_NO_STEPS
        elif admit(path, path.l1):
            path.n_idle = 0
            path.is_fresh = False
            path.stage = ADDING
            take_slopes(path)
            return
        elif path.n_idle < MOST_IDLE:
            path.hope /= 10
            take_slopes(path)
            renew_matrix(path)
            return
    close_model(path, gap, ending)


cdef void write_model(Path *path, double gap, Ending ending) noexcept nogil:
    """Write a model down as it stands."""
    cdef Py_ssize_t number = path.models[path.index], slot
    cdef Py_ssize_t n_params = path.n_features + path.has_intercept
    cdef double *theta = path.results.thetas + number * n_params
    memset(theta, 0, n_params * sizeof(double))
    for slot in range(path.k):
        theta[path.features[slot]] = path.w[slot]
    if path.has_intercept:
        theta[path.n_features] = path.intercept
    path.results.losses[number], path.results.gaps[number] = path.objective, gap
    path.results.n_iter[number], path.results.status[number] = path.n_steps, ending


cdef void close_model(Path *path, double gap, Ending ending) noexcept nogil:
    """Write a model down, and start with the next one, if there is one."""
    write_model(path, gap, ending)
    path.n_steps = 0
    path.index += 1
    if path.index == path.n_models:
        path.stage = ENDED
    else:
        open_model(path, path.l1)


cdef void begin_path(Path *path) noexcept nogil:
    """Start where the first model's theta is, or at zero where that is better."""
    cdef Py_ssize_t n_params = path.n_features + path.has_intercept, j, count = path.n_free
    cdef const double *theta = path.results.thetas + path.models[0] * n_params
    for j in range(path.n_features):
        count += theta[j] != 0
    if not reserve(path, count):
        return
    for j in range(path.n_features):
        if path.all_shares[j] == 0:
            enter(path, j, theta[j])
    for j in range(path.n_features):
        if path.all_shares[j] > 0 and theta[j] != 0:
            enter(path, j, theta[j])
    begin_free(path)
    path.intercept = theta[path.n_features] if path.has_intercept else 0
    renew_decisions(path)
    # Far off, curvatures vanish.
    if not path.sums.loss <= LOSS_AT_ZERO:
        for j in range(path.k):
            path.w[j] = 0
        path.intercept = 0
        renew_decisions(path)
    if not has_optimum(path):
        path.objective = path.sums.loss
        while path.index < path.n_models:
            write_model(path, INFINITY, HAS_NO_OPTIMUM)
            path.index += 1
        path.stage = ENDED
        return
    path.is_start = True
    path.stage = ASKING


cdef void step_on(Path *path, bint is_alone) noexcept nogil:
    """Go on until all columns are asked for, or for a while; alone, a path asks them itself."""
    cdef double done = 0
    while done < PATH_WORK and path.stage != ENDED and not path.has_failed:
        if path.stage == BEGINNING:
            begin_path(path)
        elif path.stage == ADDING:
            done += add_products_up(path)
        elif path.stage == DESCENDING:
            done += descend(path)
        elif path.stage == MOVING:
            done += move(path)
            if path.stage == ASKING:
                renew_decisions(path)
        elif path.stage == JUDGING:
            path.stage = ASKING
            judge(path)
        elif is_alone:
            done += tell_own_slopes(path)
            if path.next_column == 0:
                judge(path)
        else:
            return
