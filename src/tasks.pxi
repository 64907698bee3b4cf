# Models with rows of their own, one in each lane: rows are laid out for a tile of tasks, which is
# then fitted, judged or solved for. Needs structures.pxi, table.pxi and plan.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, fabs, frexp, isinf, ldexp
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

# Units are powers of 2 in this range, and penalties in them at most so large: what is beyond it
# holds a parameter in its place as well.
cdef int LARGEST_UNIT = 200
cdef double LARGEST_PENALTY = ldexp(1.0, 900)
# Rows that are filled for one lane after the other: they stay in a cache.
cdef Py_ssize_t FILLED_ROWS = 4
# Hessians that a fit takes, in the mean (benches/tasks.py).
cdef double HESSIANS_OF_FIT = 5


cdef struct TaskPlan:
    const Kernels *kernels
    # Rows of X, without the intercept's ones; which of them tasks have, from starts[task] to
    # starts[task + 1], and these rows' signed weights.
    const double *x
    Py_ssize_t n_features, n_params
    const Py_ssize_t *rows
    const Py_ssize_t *starts
    const double *signed_weights
    const double *inverse_totals
    # Tasks in ascending order of their numbers of rows.
    const Py_ssize_t *order
    Py_ssize_t n_tasks, first_tile
    # Of penalties: a strength for each task, factors and centres for each task or for all.
    const double *l2
    const double *factors
    const double *centres
    Py_ssize_t factor_step, centre_step, start_step, most_rows
    int work
    double wanted, most
    const double *thetas
    double *vectors
    double *found
    double *numbers
    char *memory
    Py_ssize_t memory_of_each


cdef Py_ssize_t lay_out_tile(const TaskPlan *plan, char *memory, TaskTile *tile) noexcept nogil:
    """Let a tile's arrays lie one after the other, and return how many bytes they take."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.n_params, size = n * lanes, i = 0
    cdef Py_ssize_t pairs = n * (n + 1) // 2, rows = plan.most_rows * lanes
    cdef double *at = <double *>memory
    cdef double **arrays[19]
    cdef Py_ssize_t sizes[19]
    arrays[0], sizes[0] = &tile.x, rows * n
    arrays[1], sizes[1] = &tile.signed_weights, rows
    arrays[2], sizes[2] = &tile.inverse_totals, lanes
    arrays[3], sizes[3] = &tile.penalties, size
    arrays[4], sizes[4] = &tile.centres, size
    arrays[5], sizes[5] = &tile.theta, size
    arrays[6], sizes[6] = &tile.gradient, size
    arrays[7], sizes[7] = &tile.trial, size
    arrays[8], sizes[8] = &tile.trial_gradient, size
    arrays[9], sizes[9] = &tile.step, size
    arrays[10], sizes[10] = &tile.matrix, pairs * lanes
    arrays[11], sizes[11] = &tile.curvatures, rows
    arrays[12], sizes[12] = &tile.ones, n
    arrays[13], sizes[13] = &tile.scratch, 3 * size
    arrays[14], sizes[14] = &tile.losses, lanes
    arrays[15], sizes[15] = &tile.squares, lanes
    arrays[16], sizes[16] = &tile.radii, lanes
    arrays[17], sizes[17] = &tile.inflations, lanes
    arrays[18], sizes[18] = &tile.n_steps, lanes
    for i in range(19):
        if memory != NULL:
            arrays[i][0] = at
        at += aligned(sizes[i] * sizeof(double)) // <Py_ssize_t>sizeof(double)
    return <char *>at - memory


cdef void fill_model(const TaskPlan *plan, TaskTile *tile, double *units, Py_ssize_t task,
                     Py_ssize_t lane) noexcept nogil:
    """Write what a task's model is into a lane; a unit is what its numbers are multiplied by."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.n_params, i, j
    cdef Py_ssize_t first = plan.starts[task], n_rows = plan.starts[task + 1] - first
    cdef const double *row
    cdef double unit, number, strength
    cdef double *largest = tile.scratch
    cdef int exponent
    for j in range(n):
        largest[j] = 0
    for i in range(n_rows):
        row = plan.x + plan.rows[first + i] * plan.n_features
        for j in range(plan.n_features):
            largest[j] = max(largest[j], fabs(row[j]))
    for j in range(n):
        frexp(largest[j], &exponent)
        unit = ldexp(1.0, -max(-LARGEST_UNIT, min(exponent, LARGEST_UNIT)))
        units[j * lanes + lane] = unit
        number = plan.factors[task * plan.factor_step + j]
        strength = INFINITY
        if not isinf(number):
            strength = min(plan.l2[task] * number * unit * unit, LARGEST_PENALTY)
        tile.penalties[j * lanes + lane] = strength
        tile.centres[j * lanes + lane] = plan.centres[task * plan.centre_step + j] / unit
        tile.theta[j * lanes + lane] = plan.thetas[task * plan.start_step + j] / unit
        if strength > 1 and plan.work == TASK_FIT:
            # It is held, or within 1 / penalty of its centre at the optimum.
            tile.theta[j * lanes + lane] = tile.centres[j * lanes + lane]
        if plan.work == TASK_SOLVE:
            tile.step[j * lanes + lane] = plan.vectors[task * n + j] * unit
    tile.inverse_totals[lane] = plan.inverse_totals[task]


cdef void fill_rows(const TaskPlan *plan, TaskTile *tile, const double *units, Py_ssize_t task,
                    Py_ssize_t lane, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Write some of a task's rows into a lane, and nothing behind its last one."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.n_params, i, j
    cdef Py_ssize_t first = plan.starts[task], n_rows = plan.starts[task + 1] - first
    cdef const double *row
    cdef double *to
    for i in range(begin, end):
        to = tile.x + i * n * lanes + lane
        tile.signed_weights[i * lanes + lane] = (
            plan.signed_weights[first + i] if i < n_rows else 0)
        if i >= n_rows:
            for j in range(n):
                to[j * lanes] = 0
            continue
        row = plan.x + plan.rows[first + i] * plan.n_features
        for j in range(plan.n_features):
            to[j * lanes] = row[j] * units[j * lanes + lane]
        if n > plan.n_features:
            to[plan.n_features * lanes] = 1


cdef void read_task(const TaskPlan *plan, const TaskTile *tile, const double *units,
                    Py_ssize_t task, Py_ssize_t lane) noexcept nogil:
    """Write what was found of a task."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.n_params, j, i
    for j in range(n):
        i = j * lanes + lane
        if plan.work == TASK_FIT:
            plan.found[task * n + j] = tile.theta[i] * units[i]
        elif plan.work == TASK_EVALUATE:
            plan.found[task * n + j] = tile.gradient[i] / units[i]
        else:
            plan.found[task * n + j] = tile.step[i] * units[i]
    if plan.numbers == NULL:
        return
    plan.numbers[task * 6] = tile.losses[lane]
    plan.numbers[task * 6 + 1] = tile.squares[lane]
    plan.numbers[task * 6 + 2] = tile.radii[lane]
    plan.numbers[task * 6 + 3] = tile.inflations[lane]
    plan.numbers[task * 6 + 4] = tile.n_steps[lane]
    plan.numbers[task * 6 + 5] = 0
    for j in range(n):
        plan.numbers[task * 6 + 5] += fabs(tile.theta[j * lanes + lane])


cdef void work_on_tile_of_tasks(const TaskPlan *plan, Py_ssize_t index,
                                int thread) noexcept nogil:
    """Do what is asked of the tasks of a tile; idle lanes repeat its first one."""
    cdef TaskTile tile
    cdef Py_ssize_t lanes = plan.kernels.lanes, first = (plan.first_tile + index) * lanes, lane
    cdef Py_ssize_t count = min(lanes, plan.n_tasks - first), task, row, end, j
    cdef char *memory = plan.memory + thread * plan.memory_of_each
    cdef double *units = <double *>(memory + lay_out_tile(plan, memory, &tile))
    task = plan.order[first + count - 1]
    tile.n_rows, tile.n_params = plan.starts[task + 1] - plan.starts[task], plan.n_params
    tile.wanted, tile.most = plan.wanted, plan.most
    for j in range(plan.n_params):
        tile.ones[j] = 1
    for lane in range(lanes):
        fill_model(plan, &tile, units, plan.order[first + (lane if lane < count else 0)], lane)
    row = 0
    while row < tile.n_rows:  # not a range with a step, which Cython takes for a Python object
        end = min(row + FILLED_ROWS, tile.n_rows)
        for lane in range(lanes):
            task = plan.order[first + (lane if lane < count else 0)]
            fill_rows(plan, &tile, units, task, lane, row, end)
        row = end
    plan.kernels.work_on_tasks(&tile, plan.work)
    for lane in range(count):
        read_task(plan, &tile, units, plan.order[first + lane], lane)


cdef int run_tasks(TaskPlan *plan, int n_threads) except -1:
    """Do a task of a plan for all tiles."""
    cdef TaskTile tile
    cdef Py_ssize_t lanes = plan.kernels.lanes, n = plan.n_params, wave, count
    cdef Py_ssize_t n_tiles = (plan.n_tasks + lanes - 1) // lanes
    cdef double row_work = n * 2.0, tile_work
    if plan.work != TASK_EVALUATE:
        row_work += (plan.most_rows + n) * n / 2.0 * (
            HESSIANS_OF_FIT if plan.work == TASK_FIT else 1)
    tile_work = lanes * (plan.most_rows + n) * row_work / 2
    n_threads = metaopt_team(min(n_threads, n_tiles), tile_work * n_tiles)
    plan.memory_of_each = lay_out_tile(plan, NULL, &tile) + aligned(n * lanes * sizeof(double))
    cdef char *memory = <char *>malloc(ALIGNMENT + n_threads * plan.memory_of_each)
    if memory == NULL:
        raise MemoryError
    plan.memory = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
    # A visit takes three times as long where rows are few: 20 of 30 features (benches/tasks.py);
    # beside other processes, up to six times.
    wave = n_threads * max(1, <Py_ssize_t>(SLICE_WORK / 6 / tile_work))
    plan.first_tile = 0
    try:
        while plan.first_tile < n_tiles:
            count = min(wave, n_tiles - plan.first_tile)
            with nogil:
                metaopt_share[TaskPlan](work_on_tile_of_tasks, plan, count, n_threads,
                                        tile_work * count)
            PyErr_CheckSignals()
            plan.first_tile += count
    finally:
        free(memory)
    return 0


cdef class TaskRows:
    """Rows of tasks, each of which has a model of its own.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        No number is above 2^200.
    fit_intercept : bool
    rows, starts : arrays of shape (n_entries,) and (n_tasks + 1,)
        Those of task t are rows[starts[t]], ..., rows[starts[t + 1] - 1].
    signed_weights : array of shape (n_entries,)
        Weights, negative where the label is the greater one.
    inverse_totals : array of shape (n_tasks,)
    order : array of shape (n_tasks,)
        Tasks in ascending order of their numbers of rows.
    """
    cdef TaskPlan base
    cdef object kept

    def __init__(self, const double[:, ::1] X, bint fit_intercept, const Py_ssize_t[::1] rows,
                 const Py_ssize_t[::1] starts, const double[::1] signed_weights,
                 const double[::1] inverse_totals, const Py_ssize_t[::1] order):
        cdef Py_ssize_t last = order[order.shape[0] - 1]
        memset(&self.base, 0, sizeof(TaskPlan))
        self.kept = (X, rows, starts, signed_weights, inverse_totals, order)
        self.base.kernels, self.base.n_features = table(0, False), X.shape[1]
        self.base.n_params = X.shape[1] + fit_intercept
        self.base.x = &X[0, 0] if X.shape[1] else NULL
        self.base.rows, self.base.starts, self.base.order = &rows[0], &starts[0], &order[0]
        self.base.signed_weights, self.base.inverse_totals = &signed_weights[0], &inverse_totals[0]
        self.base.n_tasks, self.base.most_rows = order.shape[0], starts[last + 1] - starts[last]

    cdef void pull(self, TaskPlan *plan, const double[::1] l2, const double[:, ::1] factors,
                   const double[:, ::1] centres, const double[:, ::1] thetas):
        plan[0] = self.base
        plan.l2, plan.factors, plan.centres = &l2[0], &factors[0, 0], &centres[0, 0]
        plan.factor_step = plan.n_params if factors.shape[0] > 1 else 0
        plan.centre_step = plan.n_params if centres.shape[0] > 1 else 0
        plan.thetas, plan.start_step = &thetas[0, 0], plan.n_params if thetas.shape[0] > 1 else 0

    def fit(self, const double[::1] l2, const double[:, ::1] factors,
            const double[:, ::1] centres, const double[:, ::1] starts, double wanted,
            Py_ssize_t most, double[:, ::1] thetas, double[:, ::1] numbers, int n_threads):
        """Write the thetas of the optima, and of each the objective, the square of the step that
        is left, the radius and the inflation of its factor, steps, and the sum of absolute values
        of theta, in units in which no number of X is above 1.

        Strengths are of each task; factors, centres and starts of each or of all.
        """
        cdef TaskPlan plan
        self.pull(&plan, l2, factors, centres, starts)
        plan.work, plan.wanted, plan.most = TASK_FIT, wanted, most
        plan.found, plan.numbers = &thetas[0, 0], &numbers[0, 0]
        run_tasks(&plan, n_threads)

    def measure(self, const double[::1] l2, const double[:, ::1] factors,
                const double[:, ::1] centres, const double[:, ::1] thetas,
                double[:, ::1] gradients, double[:, ::1] numbers, int n_threads):
        """Write the gradients of the objectives at thetas, and first of numbers the objectives."""
        cdef TaskPlan plan
        self.pull(&plan, l2, factors, centres, thetas)
        plan.work, plan.found, plan.numbers = TASK_EVALUATE, &gradients[0, 0], &numbers[0, 0]
        run_tasks(&plan, n_threads)

    def times_inverse(self, const double[::1] l2, const double[:, ::1] factors,
                      const double[:, ::1] centres, const double[:, ::1] thetas,
                      double[:, ::1] vectors, double[:, ::1] found, int n_threads):
        """Write the vectors times the inverses of the Hessians at thetas."""
        cdef TaskPlan plan
        self.pull(&plan, l2, factors, centres, thetas)
        plan.work, plan.vectors, plan.found = TASK_SOLVE, &vectors[0, 0], &found[0, 0]
        run_tasks(&plan, n_threads)
