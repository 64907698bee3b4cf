# Training sets whose models share regions of work: what one set takes may be over before a second
# thread is awake. Needs table.pxi, plan.pxi, evaluate.pxi and rows.pxi.
#
# Within a region, a thread has a run of candidates of one set for itself, and waits for nobody.

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

# A tile of more visits has its rows shared by all threads instead, that they answer signals; and of
# less, a thread has it for itself even where there are too few for all: 12 and 0.8 ms.
cdef double LONG_TILE_ALONE = 2.5e8
cdef double BRIEF_TILE_ALONE = 1.6e7


cdef struct Run:
    # Candidates one after the other that are of one set.
    Py_ssize_t set, first, count


cdef class RowSets:
    """Rows of some training sets, of the same columns, in the order of their numbers."""
    cdef readonly tuple sets
    # What an evaluation of each begins with.
    cdef Plan *plans
    cdef Py_ssize_t n_params, most_blocks
    cdef bint on_disk

    def __cinit__(self, sets):
        cdef PackedRows rows
        cdef Py_ssize_t i
        self.sets = tuple(sets)
        self.plans = <Plan *>malloc(max(1, len(self.sets)) * sizeof(Plan))
        if self.plans == NULL:
            raise MemoryError
        for i, rows in enumerate(self.sets):
            rows.plan_for(self.plans + i, 0, NULL, 1)
            self.n_params = rows.rows.n_params
            self.most_blocks = max(self.most_blocks, self.plans[i].n_blocks)
            self.on_disk = self.on_disk or rows.on_disk

    def __dealloc__(self):
        free(self.plans)

    cdef double tile_work(self):
        """Return the visits of a tile over the rows of the largest set, gradients included."""
        return (2.0 * self.plans.kernels.lanes * BLOCK_ROWS * self.most_blocks
                * (self.n_params + 20))

    cdef bint may_share(self, Py_ssize_t count, int n_threads):
        """Whether threads take runs of candidates, not the rows of one set after the other."""
        cdef double work = self.tile_work()
        if self.on_disk or work > LONG_TILE_ALONE:
            return False
        return (n_threads == 1 or work < BRIEF_TILE_ALONE
                or count >= 2 * n_threads * self.plans.kernels.lanes)

    cdef Py_ssize_t size_of_runs(self, Py_ssize_t count, int n_threads):
        """Return the candidates of a run at most: full tiles, and runs enough for all threads."""
        cdef Py_ssize_t lanes = self.plans.kernels.lanes
        cdef Py_ssize_t tiles = <Py_ssize_t>(LONG_TILE_ALONE / self.tile_work())
        if n_threads > 1:
            tiles = min(tiles, count // (4 * n_threads * lanes))
        return lanes * max(1, tiles)

    def evaluate(self, const Py_ssize_t[::1] which, const double[:, ::1] thetas,
                 double[::1] losses, double[:, ::1] gradients, int n_threads):
        """Write the loss of each theta on the set of its number and, unless None, its gradient.

        Those of one set stand together. Thetas are finite in the rows' precision.
        """
        cdef SharedEvaluation shared
        cdef Py_ssize_t count = which.shape[0], n_runs, first = 0, wave, i
        cdef PackedRows rows
        cdef double *to = NULL
        cdef double work = self.tile_work() / self.plans.kernels.lanes
        cdef bint together = count > 0 and self.may_share(count, n_threads)
        cdef Py_ssize_t size = self.size_of_runs(count, n_threads) if together else count
        cdef Run *runs = <Run *>malloc(max(count, 1) * sizeof(Run))
        if runs == NULL:
            raise MemoryError
        try:
            n_runs = cut_runs(which, size, runs)
            if not together:
                for i in range(n_runs):
                    rows, first = self.sets[runs[i].set], runs[i].first
                    if gradients is not None:
                        to = &gradients[first, 0]
                    rows.evaluate_at(&thetas[first, 0], runs[i].count, &losses[first], to,
                                     n_threads)
                return
            shared.plans, shared.n_params = self.plans, self.n_params
            shared.thetas, shared.losses = &thetas[0, 0], &losses[0]
            shared.gradients = NULL
            if gradients is not None:
                shared.gradients = &gradients[0, 0]
            wave = runs_at_once(work * size, n_threads)
            while first < n_runs:
                wave = min(wave, n_runs - first)
                shared.runs, shared.is_short = runs + first, False
                with nogil:
                    metaopt_share[SharedEvaluation](evaluate_run, &shared, wave, n_threads,
                                                    work * count * wave / n_runs)
                if shared.is_short:
                    raise MemoryError
                first += wave
                PyErr_CheckSignals()
        finally:
            free(runs)


cdef Py_ssize_t runs_at_once(double work, int n_threads) noexcept nogil:
    """Return how many runs of so much work there may be between two looks at signals."""
    return n_threads * max(1, <Py_ssize_t>(SLICE_WORK / work))


cdef Py_ssize_t cut_runs(const Py_ssize_t[::1] which, Py_ssize_t size, Run *runs) noexcept nogil:
    """Cut candidates into runs of one set each, of `size` at most; return the number of runs."""
    cdef Py_ssize_t first = 0, last, n_parts, part, n_runs = 0
    while first < which.shape[0]:
        last = first + 1
        while last < which.shape[0] and which[last] == which[first]:
            last += 1
        n_parts = (last - first + size - 1) // size
        for part in range(n_parts):
            runs[n_runs].set = which[first]
            runs[n_runs].first = first + (last - first) * part // n_parts
            runs[n_runs].count = first + (last - first) * (part + 1) // n_parts - runs[n_runs].first
            n_runs += 1
        first = last
    return n_runs


cdef bint evaluate_alone(const Plan *origin, const double *thetas, Py_ssize_t count, double *losses,
                         double *gradients) noexcept nogil:
    """Evaluate candidates by this thread alone, as `PackedRows.evaluate_at` does; False without
    memory."""
    cdef Py_ssize_t tail = tail_of(count, origin.kernels.lanes, origin.few)
    cdef Py_ssize_t rest = count - tail
    if rest and not evaluate_groups_alone(origin, thetas, rest, losses, gradients):
        return False
    if tail == 0:
        return True
    if gradients != NULL:
        gradients += rest * origin.n_params
    return evaluate_groups_alone(origin, thetas + rest * origin.n_params, tail, losses + rest,
                                 gradients)


cdef bint evaluate_groups_alone(const Plan *origin, const double *thetas, Py_ssize_t count,
                                double *losses, double *gradients) noexcept nogil:
    """Evaluate candidates by this thread alone, all in tiles or all one by one."""
    cdef Plan plan = origin[0]
    cdef Workspace work
    cdef Py_ssize_t group, size
    plan.thetas, plan.n_candidates, plan.losses, plan.gradients = thetas, count, losses, gradients
    choose_tiles(&plan)
    cut_into_groups(&plan, tile_work_of(&plan))
    size = lay_out(&plan, &work, NULL, 1) - <char *>NULL
    cdef char *memory = <char *>malloc(ALIGNMENT + size)
    if memory == NULL:
        return False
    lay_out(&plan, &work, <char *>aligned(<Py_ssize_t><uintptr_t>memory), 1)
    plan.workspaces, plan.first_group = &work, 0
    for group in range(plan.n_groups):
        run_group(&plan, group, 0)
    free(memory)
    return True


cdef struct SharedEvaluation:
    const Plan *plans
    const Run *runs
    Py_ssize_t n_params
    const double *thetas
    double *losses
    double *gradients
    # Set by any thread that has no memory.
    bint is_short


cdef void evaluate_run(const SharedEvaluation *shared, Py_ssize_t index, int thread) noexcept nogil:
    """Evaluate one run of candidates."""
    cdef const Run *run = shared.runs + index
    cdef double *gradients = NULL
    if shared.gradients != NULL:
        gradients = shared.gradients + run.first * shared.n_params
    if not evaluate_alone(shared.plans + run.set, shared.thetas + run.first * shared.n_params,
                          run.count, shared.losses + run.first, gradients):
        (<SharedEvaluation *>shared).is_short = True
