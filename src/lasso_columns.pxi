# A path of l1 penalties as it stands, and what it does with the columns of its working set: they
# are multiplied with each other, with the residuals, and added up. Needs structures.pxi, table.pxi,
# plan.pxi and sparse.pxi.
#
# Dense columns are copied, those of the rows of a training set; of sparse ones the lists of all
# rows are read where they are, and no product takes longer than these are: a matrix of their
# products is added up row by row, from lists of what each row has in the working set.

from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

# Rows that a sum over rows adds in one go: CHUNK of lasso.hpp.
cdef enum: CHUNK_ROWS = 256
# The matrix grows by so many columns at a time: LEFT of lasso.hpp.
cdef enum: COLUMNS_TOGETHER = 4
# Columns that enter at once, or twice the support.
cdef Py_ssize_t MOST_ENTERING = 32
# Sparse columns whose slopes are told between two looks at how much was done.
cdef enum: SPARSE_TOGETHER = 1024


# What a path does next.
cdef enum Stage:
    BEGINNING
    ADDING
    DESCENDING
    MOVING
    ASKING
    JUDGING
    ENDED


# How a model ended: Status of metaopt_fast/fitting/result.py.
cdef enum Ending:
    HAS_CONVERGED = 0
    HAS_NO_STEPS = 1
    HAS_STALLED = 2
    HAS_NO_OPTIMUM = 3


# Of the rows of a sparse matrix, the numbers that are in columns of the working set: those of row i
# at [starts[i], ends[i]), slots ascending.
cdef struct Lists:
    Py_ssize_t *starts
    Py_ssize_t *ends
    int *slots
    double *numbers
    Py_ssize_t capacity


cdef struct PathResults:
    # Of each model: thetas[model][parameter], which holds the start of a path's first one.
    double *thetas
    double *losses
    double *gaps
    Py_ssize_t *n_iter
    Py_ssize_t *status


cdef struct Path:
    const Kernels *kernels
    void *memory
    # All columns, the largest absolute value in each, and the factors of their penalties.
    const double *all_columns
    const double *extents
    const double *all_shares
    Py_ssize_t all_stride, n_features
    # The columns of sparse rows instead, or NULL: the rows are all of them then, some of weight 0.
    const Sparse *sparse
    Lists lists
    # Additions that follow one another in a sum over rows.
    double chain
    # The rows of the training set by their numbers, their signs and weights, which sum to 1, and
    # the sum of the lighter class; padded to whole panels.
    const Py_ssize_t *rows
    double *signs
    double *weights
    double *ones
    double lighter
    Py_ssize_t n, n_rows, stride
    bint has_intercept
    # The models in their order, by their numbers, and their penalties by these numbers.
    const Py_ssize_t *models
    const double *l1s
    const double *l2s
    Py_ssize_t n_models, index
    double tol
    Py_ssize_t max_iter
    PathResults results
    # Where the path is: the model's penalties, or those of a waypoint, and its steps; `hope` is the
    # part of the gap to reach that the working set is brought to. Of coordinate descent under way:
    # its sweeps, those since the least point was computed, and whether all coordinates move.
    Stage stage
    double l1, l2, objective, gap, gap_before, hope, step_size
    Py_ssize_t n_steps, n_asked, n_idle, n_passes, n_sweeps, n_in_vain
    bint all_move, is_start, is_waypoint, is_fresh, has_failed
    # The working set: its columns, the factors of their penalties, its weights and where coordinate
    # descent has moved them; the matrix of the curvatures `kept`, their sum and their sums with
    # each column.
    Py_ssize_t k, capacity
    Py_ssize_t *features
    Py_ssize_t *slots
    double *columns
    double *matrix
    double *numbers
    double *shares
    double *w
    double *at
    double *slopes
    double *turned
    double *means
    double *diagonal
    double *inverses
    double *factors
    Py_ssize_t *which
    double kept_sum
    # Of the part of the matrix that is being added up: its first column, and how far that is.
    Py_ssize_t first_new, next_row, next_column
    double *weighted
    # Columns without a penalty, the first ones of the working set; of sparse rows they lie here. Of
    # their parameters and the intercept: 1 where a column is zero throughout, the factor of their
    # Hessian and what it is made from, their Newton steps, a bound of these' length, and of how far
    # they move a decision value.
    Py_ssize_t n_free
    double *free_columns
    double *blank
    double *system
    double *free_steps
    double free_length, free_reach
    # Of each row: decision values without the intercept, and what steps do to them.
    double *decisions
    double *direction
    double *moved
    double *residuals
    double *curvatures
    double *next_residuals
    double *next_curvatures
    double *kept
    double intercept
    DecisionSums sums
    # Of all rows and of all columns; candidates to enter.
    double *all_residuals
    double *gradient
    Py_ssize_t *entering


cdef double *more_numbers(double **memory, Py_ssize_t count) noexcept nogil:
    """Return so many numbers of a piece of memory, which is cut there."""
    cdef double *found = memory[0]
    memory[0] = found + aligned(count * sizeof(double)) // <Py_ssize_t>sizeof(double)
    return found


cdef bint reserve(Path *path, Py_ssize_t count) noexcept nogil:
    """Make room for so many columns in the working set; False without memory."""
    cdef Py_ssize_t capacity = max(count + count // 2, 2 * MOST_ENTERING) // PANEL * PANEL + PANEL
    cdef Py_ssize_t stride = path.stride if path.sparse == NULL else 0, slot
    cdef double *memory
    cdef double *old_columns = path.columns
    cdef double *old_matrix = path.matrix
    cdef double *old_shares = path.shares
    cdef double *old_w = path.w
    cdef double *old_means = path.means
    cdef double *old = path.numbers
    if count <= path.capacity:
        return True
    memory = <double *>calloc(capacity * (stride + capacity + 11) + 20 * PANEL, sizeof(double))
    if memory == NULL:
        path.has_failed = True
        return False
    path.numbers = memory
    memory = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    path.columns = more_numbers(&memory, capacity * stride)
    path.matrix = more_numbers(&memory, capacity * capacity)
    path.shares = more_numbers(&memory, capacity)
    path.w = more_numbers(&memory, capacity)
    path.at = more_numbers(&memory, capacity)
    path.slopes = more_numbers(&memory, capacity)
    path.turned = more_numbers(&memory, capacity)
    path.means = more_numbers(&memory, capacity)
    path.diagonal = more_numbers(&memory, capacity)
    path.inverses = more_numbers(&memory, capacity)
    path.factors = more_numbers(&memory, capacity)
    path.which = <Py_ssize_t *>more_numbers(&memory, capacity)
    if path.k > 0:
        memcpy(path.columns, old_columns, path.k * stride * sizeof(double))
        memcpy(path.shares, old_shares, path.k * sizeof(double))
        memcpy(path.w, old_w, path.k * sizeof(double))
        memcpy(path.means, old_means, path.k * sizeof(double))
        for slot in range(path.k):
            memcpy(path.matrix + slot * capacity, old_matrix + slot * path.capacity,
                   path.k * sizeof(double))
    free(old)
    path.capacity = capacity
    return True


cdef void enter(Path *path, Py_ssize_t feature, double weight) noexcept nogil:
    """Put a column into the working set, for which there is room."""
    cdef Py_ssize_t slot = path.k, i
    cdef double *column = path.columns + slot * path.stride
    cdef const double *numbers = path.all_columns + feature * path.all_stride
    path.features[slot], path.slots[feature] = feature, slot
    path.shares[slot], path.w[slot] = path.all_shares[feature], weight
    path.k += 1
    if path.sparse != NULL:
        return
    for i in range(path.n):
        column[i] = numbers[path.rows[i]]


cdef bint open_lists(Path *path) noexcept nogil:
    """Make room for the ends of lists; False without memory."""
    path.lists.starts = <Py_ssize_t *>malloc(2 * (path.n + 1) * sizeof(Py_ssize_t))
    path.lists.ends = path.lists.starts + path.n + 1
    return path.lists.starts != NULL


cdef void close_lists(Path *path) noexcept nogil:
    free(path.lists.starts)
    free(path.lists.slots)
    free(path.lists.numbers)


cdef bint list_rows(Path *path) noexcept nogil:
    """List what the rows have in the working set; False without memory."""
    cdef const Sparse *sparse = path.sparse
    cdef Lists *lists = &path.lists
    cdef Py_ssize_t slot, at, i, line, total = 0
    memset(lists.starts, 0, (path.n + 1) * sizeof(Py_ssize_t))
    for slot in range(path.k):
        line = path.features[slot]
        total += sparse.starts[line + 1] - sparse.starts[line]
        for at in range(sparse.starts[line], sparse.starts[line + 1]):
            lists.starts[sparse.places[at] + 1] += 1
    if total > lists.capacity:
        free(lists.slots)
        free(lists.numbers)
        lists.capacity = total + total // 2
        lists.slots = <int *>malloc(lists.capacity * sizeof(int))
        lists.numbers = <double *>malloc(lists.capacity * sizeof(double))
        if lists.slots == NULL or lists.numbers == NULL:
            path.has_failed = True
            return False
    for i in range(path.n):
        lists.starts[i + 1] += lists.starts[i]
    memcpy(lists.ends, lists.starts, path.n * sizeof(Py_ssize_t))
    for slot in range(path.k):
        line = path.features[slot]
        for at in range(sparse.starts[line], sparse.starts[line + 1]):
            i = lists.ends[sparse.places[at]]
            lists.slots[i], lists.numbers[i] = <int>slot, sparse.numbers[at]
            lists.ends[sparse.places[at]] = i + 1
    return True


cdef double add_column(Path *path, Py_ssize_t slot) noexcept nogil:
    """Add up the products of a sparse column with those before it, and with itself; returns the
    multiplications."""
    cdef const Sparse *sparse = path.sparse
    cdef const Lists *lists = &path.lists
    cdef double *sums = path.matrix + slot * path.capacity
    cdef Py_ssize_t line = path.features[slot], at, i, row, other
    cdef double weighted, mean = 0, done = 0
    for at in range(sparse.starts[line], sparse.starts[line + 1]):
        row = sparse.places[at]
        weighted = path.kept[row] * sparse.numbers[at]
        if weighted == 0:
            continue
        mean += weighted
        for i in range(lists.starts[row], lists.ends[row]):
            other = lists.slots[i]
            if other > slot:
                break
            sums[other] += weighted * lists.numbers[i]
        done += NUMBER_WORK * (lists.ends[row] - lists.starts[row])
    path.means[slot] = mean
    return done


cdef double add_products_up(Path *path) noexcept nogil:
    """Add up the products of a new column, or of some over a chunk of rows, with all before them;
    returns the multiplications. Goes on to the next stage behind the last one."""
    cdef Py_ssize_t first = path.first_new + path.next_column, row = path.next_row, slot, other
    cdef Py_ssize_t size = path.capacity, count = min(<Py_ssize_t>CHUNK_ROWS, path.n_rows - row)
    cdef double done = <double>COLUMNS_TOGETHER * count * (first + 16)
    if path.first_new == path.k:
        path.stage = DESCENDING
        return 0
    if row == 0 and path.next_column == 0:
        for slot in range(path.first_new, path.k):
            memset(path.matrix + slot * size, 0, path.k * sizeof(double))
            path.means[slot] = 0
        if path.sparse != NULL and not list_rows(path):
            return 0
    if path.sparse != NULL:
        done = add_column(path, first)
        path.next_column += 1
        row = path.n_rows
    else:
        path.kernels.add_gram(path.columns, path.stride, path.k, path.kept, path.ones, row, count,
                              first, path.weighted, path.matrix, size, path.means)
        path.next_column += COLUMNS_TOGETHER
        row += count
    if path.first_new + path.next_column < path.k:
        return done
    path.next_column, path.next_row = 0, row
    if row >= path.n_rows:
        for slot in range(path.first_new, path.k):
            for other in range(slot):
                path.matrix[other * size + slot] = path.matrix[slot * size + other]
        path.first_new = path.k
        path.stage = DESCENDING
    return done


cdef void combine_columns(Path *path, Py_ssize_t count, double *out) noexcept nogil:
    """Write the sum of so many columns of the working set, `which`, each times a factor."""
    cdef const Sparse *sparse = path.sparse
    cdef Py_ssize_t c, line, at
    cdef double times
    if sparse == NULL:
        path.kernels.combine(path.columns, path.stride, path.which, path.factors, count,
                             path.n_rows, out)
        return
    memset(out, 0, path.n_rows * sizeof(double))
    for c in range(count):
        line, times = path.features[path.which[c]], path.factors[c]
        for at in range(sparse.starts[line], sparse.starts[line + 1]):
            out[sparse.places[at]] += times * sparse.numbers[at]


cdef void tell_working_slopes(Path *path) noexcept nogil:
    """Write the slopes of the columns of the working set."""
    cdef Py_ssize_t slot
    if path.sparse == NULL:
        path.kernels.column_products(path.columns, path.stride, path.k, path.residuals, path.stride,
                                     1, path.n_rows, path.slopes, 1, 1)
        return
    for slot in range(path.k):
        path.kernels.sparse_products(path.sparse, path.features[slot], path.features[slot] + 1,
                                     path.residuals, 1, path.slopes + slot)


cdef void ask(Path *path, double *all_residuals) noexcept nogil:
    """Write the residuals of all rows, of which the gradient is to be told."""
    cdef Py_ssize_t i
    for i in range(path.n):
        all_residuals[path.rows[i]] = path.residuals[i]


cdef double tell_own_slopes(Path *path) noexcept nogil:
    """Write the slopes of all columns for this path alone, or of some sparse ones, from next_column
    on; returns the multiplications. next_column is 0 again behind the last one."""
    cdef Py_ssize_t first = path.next_column, last
    if path.sparse == NULL:
        ask(path, path.all_residuals)
        path.kernels.column_products(
            path.all_columns, path.all_stride, path.n_features, path.all_residuals,
            path.all_stride, 1, path.all_stride, path.gradient, 1, 1)
        return <double>path.n_features * path.all_stride
    last = min(first + SPARSE_TOGETHER, path.n_features)
    path.kernels.sparse_products(path.sparse, first, last, path.residuals, 1,
                                 path.gradient + first)
    path.next_column = last if last < path.n_features else 0
    return NUMBER_WORK * (path.sparse.starts[last] - path.sparse.starts[first] + last - first)
