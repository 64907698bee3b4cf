# Paths of l1 penalties, many at once, and what threads share. Needs table.pxi, plan.pxi,
# sparse.pxi, lasso_columns.pxi and lasso_steps.pxi.
#
# Paths go on by themselves, each on one thread, until they ask for the gradient of all columns.
# Where these stay in a cache, each path computes its own; where they do not, all paths wait for one
# another, and one reading of the columns serves all of them. A path has the same bits either way.

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

# Bytes of columns that stay in a cache.
cdef Py_ssize_t COLUMNS_IN_CACHE = 512 * 1024
# Columns whose slopes are one piece of work, and multiplications between two looks at signals.
cdef enum: COLUMNS_OF_PART = 32
cdef double SLOPES_WORK = 1e8
# Paths that go on between two looks at signals, for each thread: about 50 milliseconds together.
cdef int PATHS_OF_THREAD = 4
# Visits of a path until it asks, about, for each row.
cdef double STEPS_WORK = 1000


cdef struct PathPlan:
    Path *paths
    const Py_ssize_t *which
    bint is_alone
    # Of the gradients of the paths that ask.
    const Kernels *kernels
    const double *columns
    const double *residuals
    double *gradients
    Py_ssize_t stride, n_features, n_asking, first_part


cdef void step_one(const PathPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    step_on(plan.paths + plan.which[index], plan.is_alone)


cdef void slope_part(const PathPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Write the slopes of some columns, of all paths that ask."""
    cdef Py_ssize_t first = (plan.first_part + index) * COLUMNS_OF_PART
    plan.kernels.column_products(
        plan.columns + first * plan.stride, plan.stride,
        min(<Py_ssize_t>COLUMNS_OF_PART, plan.n_features - first), plan.residuals, plan.stride,
        plan.n_asking, plan.stride, plan.gradients + first, 1, plan.n_features)


@cython.auto_pickle(False)
cdef class LassoPaths:
    """Paths of l1 penalties of some training sets of the same columns.

    Parameters
    ----------
    columns : array of shape (n_features, stride), or None
        Columns of X, with zeros up to a multiple of 8 rows; None: X is sparse.
    extents : array of shape (n_features,)
        The largest absolute value in each.
    shares : array of shape (n_features,)
        Factors >= 0 of the penalties of each.
    fit_intercept : bool
    sparse : SparseMatrix, optional
        The columns of sparse rows. Paths are of all rows then, some of weight 0.
    chain : float
        The most additions that follow one another in a sum over a sparse column.
    """
    cdef const double[:, ::1] columns
    cdef SparseMatrix sparse
    cdef double chain
    cdef const double[::1] extents
    cdef const double[::1] shares
    cdef bint has_intercept
    cdef list paths

    def __init__(self, const double[:, ::1] columns, const double[::1] extents,
                 const double[::1] shares, bint fit_intercept, SparseMatrix sparse=None,
                 double chain=0):
        self.sparse, self.chain = sparse, chain
        self.columns, self.extents, self.shares = columns, extents, shares
        self.has_intercept = fit_intercept
        self.paths = []

    def add(self, Py_ssize_t[::1] rows, double[::1] signs, double[::1] weights, double lighter,
            Py_ssize_t[::1] models):
        """Add a path: the numbers of its rows, -1 for those of the positive class and 1 for the
        others, the rows' weights, which sum to 1, the sum of those of the lighter class, and the
        numbers of its models in their order."""
        self.paths.append((rows, signs, weights, lighter, models))

    def run(self, const double[::1] l1, const double[::1] l2, double tol, Py_ssize_t max_iter,
            double[:, ::1] thetas, double[::1] losses, double[::1] gaps, Py_ssize_t[::1] n_iter,
            Py_ssize_t[::1] status, int n_threads):
        """Fit all models, and return how often a path asked for the slopes of all columns.

        The first model of each path has in `thetas` where it starts. `gaps` are bounds, and status
        is 0 where one is small enough, 1 where there were no more steps, 2 where rounding ended
        them, 3 where columns without a penalty leave no optimum, or none that is proven.
        """
        cdef Py_ssize_t count = len(self.paths), i, total = 0
        cdef Path *paths = <Path *>calloc(count, sizeof(Path))
        if paths == NULL:
            raise MemoryError
        try:
            for i in range(count):
                self.open_path(paths + i, self.paths[i])
                paths[i].l1s, paths[i].l2s = &l1[0], &l2[0]
                paths[i].tol, paths[i].max_iter = tol, max_iter
                paths[i].results.thetas, paths[i].results.losses = &thetas[0, 0], &losses[0]
                paths[i].results.gaps, paths[i].results.n_iter = &gaps[0], &n_iter[0]
                paths[i].results.status = &status[0]
            run_paths(paths, count, n_threads)
            for i in range(count):
                total += paths[i].n_passes
        finally:
            for i in range(count):
                close_path(paths + i)
            free(paths)
        return total

    cdef int open_path(self, Path *path, tuple arguments) except -1:
        """Fill in what a path is about, and make room for it."""
        cdef Py_ssize_t[::1] rows = arguments[0], models = arguments[4]
        cdef double[::1] signs = arguments[1], weights = arguments[2]
        cdef Py_ssize_t n = rows.shape[0], padded = (n + PANEL - 1) // PANEL * PANEL, j
        # Columns of a size that is no multiple of a power of two share no lines of a cache.
        cdef Py_ssize_t chunks = (padded + CHUNK_ROWS - 1) // CHUNK_ROWS
        path.kernels, path.n, path.n_rows = table(0, False), n, padded
        path.stride = CHUNK_ROWS * (chunks + (chunks + 1) % 2)
        path.extents, path.all_shares = &self.extents[0], &self.shares[0]
        path.n_features = self.extents.shape[0]
        path.chain = min(<Py_ssize_t>CHUNK_ROWS, padded) / PANEL + PANEL + (
            padded / <double>CHUNK_ROWS)
        if self.sparse is None:
            path.all_columns, path.all_stride = &self.columns[0, 0], self.columns.shape[1]
        else:
            path.sparse, path.chain = &self.sparse.matrix, max(path.chain, self.chain)
            if not open_lists(path):
                raise MemoryError
        path.rows, path.models, path.n_models = &rows[0], &models[0], models.shape[0]
        path.has_intercept, path.lighter = self.has_intercept, arguments[3]
        for j in range(path.n_features):
            path.n_free += self.shares[j] == 0
        cdef Py_ssize_t n_free = path.n_free, k = n_free + path.has_intercept
        cdef Py_ssize_t n_system = k * (2 * path.kernels.system_stride(k) - k + 3) + n_free * (
            n_free + 1)
        path.memory = calloc(14 * path.stride + path.all_stride + 4 * path.n_features
                             + COLUMNS_TOGETHER * CHUNK_ROWS + 24 * PANEL + n_system + n_free + k
                             + (n_free * path.stride if self.sparse is not None else 0),
                             sizeof(double))
        if path.memory == NULL:
            raise MemoryError
        cdef double *memory = <double *>aligned(<Py_ssize_t><uintptr_t>path.memory)
        path.signs = more_numbers(&memory, path.stride)
        path.weights = more_numbers(&memory, path.stride)
        path.ones = more_numbers(&memory, path.stride)
        path.decisions = more_numbers(&memory, path.stride)
        path.direction = more_numbers(&memory, path.stride)
        path.moved = more_numbers(&memory, path.stride)
        path.residuals = more_numbers(&memory, path.stride)
        path.curvatures = more_numbers(&memory, path.stride)
        path.next_residuals = more_numbers(&memory, path.stride)
        path.next_curvatures = more_numbers(&memory, path.stride)
        path.kept = more_numbers(&memory, path.stride)
        path.weighted = more_numbers(&memory, COLUMNS_TOGETHER * CHUNK_ROWS)
        path.all_residuals = more_numbers(&memory, path.all_stride)
        path.gradient = more_numbers(&memory, path.n_features)
        path.features = <Py_ssize_t *>more_numbers(&memory, path.n_features)
        path.slots = <Py_ssize_t *>more_numbers(&memory, path.n_features)
        path.entering = <Py_ssize_t *>more_numbers(&memory, path.n_features)
        path.blank = more_numbers(&memory, n_free)
        path.free_steps = more_numbers(&memory, k)
        path.system = more_numbers(&memory, n_system)
        path.free_columns = memory
        memcpy(path.signs, &signs[0], n * sizeof(double))
        memcpy(path.weights, &weights[0], n * sizeof(double))
        for j in range(path.stride):
            path.ones[j] = 1
        for j in range(path.n_features):
            path.slots[j] = -1
        return 0


cdef void close_path(Path *path) noexcept:
    close_lists(path)
    free(path.memory)
    free(path.numbers)


cdef int run_paths(Path *paths, Py_ssize_t count, int n_threads) except -1:
    """Go on with all paths until each has come to its end."""
    cdef PathPlan plan
    cdef Py_ssize_t n_going, turn = 0, i, j, size = paths.n_features * paths.all_stride
    cdef double work = STEPS_WORK * paths.n_rows
    cdef Py_ssize_t *which = <Py_ssize_t *>malloc(count * sizeof(Py_ssize_t))
    cdef double *together = <double *>malloc(
        count * (paths.n_features + paths.all_stride) * sizeof(double))
    plan.paths, plan.which, plan.kernels, plan.columns = paths, which, paths.kernels, (
        paths.all_columns)
    plan.stride, plan.n_features = paths.all_stride, paths.n_features
    plan.residuals, plan.gradients = together, together + count * paths.all_stride
    plan.is_alone = paths.sparse != NULL or size * <Py_ssize_t>sizeof(double) <= COLUMNS_IN_CACHE
    try:
        if which == NULL or together == NULL:
            raise MemoryError
        while True:
            n_going = 0
            for j in range(count):
                i = (turn + j) % count
                if paths[i].has_failed:
                    raise MemoryError
                if n_going < PATHS_OF_THREAD * n_threads and paths[i].stage != ENDED and (
                        plan.is_alone or paths[i].stage != ASKING):
                    which[n_going] = i
                    n_going += 1
            if n_going > 0:
                turn = which[n_going - 1] + 1
                with nogil:
                    metaopt_share[PathPlan](step_one, &plan, n_going, n_threads, work * n_going)
            elif not tell_slopes(&plan, count, n_threads):
                break
            PyErr_CheckSignals()
    finally:
        free(which)
        free(together)
    return 0


cdef bint tell_slopes(PathPlan *plan, Py_ssize_t count, int n_threads) except -1:
    """Compute the slopes of all columns for all paths that ask; False where none does."""
    cdef Py_ssize_t i, n_parts = (plan.n_features + COLUMNS_OF_PART - 1) // COLUMNS_OF_PART, wave
    cdef double *residuals = <double *>plan.residuals
    cdef double part
    plan.n_asking = 0
    for i in range(count):
        if plan.paths[i].stage == ASKING:
            memset(residuals, 0, plan.stride * sizeof(double))
            ask(plan.paths + i, residuals)
            residuals += plan.stride
            plan.paths[i].gradient = plan.gradients + plan.n_asking * plan.n_features
            plan.paths[i].stage = JUDGING
            plan.n_asking += 1
    if plan.n_asking == 0:
        return False
    part = <double>COLUMNS_OF_PART * plan.stride * plan.n_asking
    plan.first_part = 0
    while plan.first_part < n_parts:
        wave = min(n_parts - plan.first_part, max(1, <Py_ssize_t>(n_threads * SLOPES_WORK / part)))
        with nogil:
            metaopt_share[PathPlan](slope_part, plan, wave, n_threads, part * wave)
        plan.first_part += wave
        PyErr_CheckSignals()
    return True


def sparse_decisions(const double[:, ::1] columns, const double[:, ::1] thetas,
                     const Py_ssize_t[::1] rows, double[:, ::1] out):
    """Add the decision value of each theta, many of whose weights are 0, for some rows to `out`."""
    cdef Py_ssize_t n_features = columns.shape[0], k, i, j
    cdef double weight
    for k in range(thetas.shape[0]):
        with nogil:
            for j in range(n_features):
                weight = thetas[k, j]
                if weight != 0:
                    for i in range(rows.shape[0]):
                        out[k, i] += weight * columns[j, rows[i]]
            if thetas.shape[1] > n_features:
                for i in range(rows.shape[0]):
                    out[k, i] += thetas[k, n_features]
        PyErr_CheckSignals()


def column_slopes(const double[:, ::1] columns, const double[::1] residuals, double[::1] out):
    """Write the product of each column with residuals: the gradient of a mean loss."""
    table(0, False).column_products(
        &columns[0, 0], columns.shape[1], columns.shape[0], &residuals[0], columns.shape[1], 1,
        columns.shape[1], &out[0], 1, 1)
