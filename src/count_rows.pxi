# The rows whose decisions are counted, as Python holds them. Needs table.pxi, plan.pxi, narrow.pxi,
# rows.pxi and counts.pxi.

cimport cython
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Candidates that were counted, or are to be, before rows are copied in single precision: to copy a
# row takes as long as to count it for 200 of them (benches/bench_objectives.py).
cdef Py_ssize_t COUNTED_BEFORE = 512


@cython.auto_pickle(False)
cdef class Counts:
    """Counts of decisions on rows of two classes and of some groups.

    `rows` lie stratum by stratum, 2 * group + class; `spans` and `strata` are the first block of
    each span, and of what would follow, and each one's stratum. `exact`, `narrow`, `above` are the
    Cuts of each class; `narrow` is None where single precision does not tell them apart. `totals`
    are the weights of each stratum, unless `both` are summed, of wrong and of right decisions.
    """
    cdef PackedRows rows
    cdef const Py_ssize_t[::1] spans, strata
    cdef const double[:, ::1] exact
    cdef const float[:, ::1] lower, above
    cdef const double[::1] totals
    cdef Py_ssize_t n_counted, n_expected
    cdef bint may_be_narrowed, both

    def __init__(self, PackedRows rows, const Py_ssize_t[::1] spans, const Py_ssize_t[::1] strata,
                 const double[:, ::1] exact, const float[:, ::1] narrow, const float[:, ::1] above,
                 const double[::1] totals, bint both):
        self.rows, self.spans, self.strata, self.exact = rows, spans, strata, exact
        self.lower, self.above, self.totals, self.both = narrow, above, totals, both
        self.may_be_narrowed = narrow is not None and rows.kernels.itemsize == sizeof(double)

    def serves(self, Py_ssize_t count, int n_threads):
        """Whether so many candidates are counted here: else threads share the rows of each."""
        return count > FEW and (
            n_threads == 1 or count * work(self.rows.n_rows, self.rows.rows.n_params) < SERIAL_WORK
            or count >= 4 * n_threads * self.rows.kernels.lanes)

    def expect(self, Py_ssize_t count):
        """Take note that so many candidates will be counted: from the first on in single precision,
        if they are enough."""
        self.n_expected = count

    def count(self, const double[:, ::1] thetas, double[:, :, :, ::1] cells, int n_threads):
        """Write the cells of each theta; False where one is not finite."""
        cdef CountPlan plan
        cdef NarrowRows narrow
        cdef Plan *base = &plan.plan
        cdef Py_ssize_t k
        memset(&plan, 0, sizeof(CountPlan))
        base.kernels, base.rows = self.rows.kernels, &self.rows.rows
        base.n_params, base.n_blocks = self.rows.rows.n_params, self.rows.block_rows.shape[0]
        base.thetas, base.n_candidates = &thetas[0, 0], thetas.shape[0]
        base.n_threads, plan.cells = n_threads, &cells[0, 0, 0, 0]
        if base.n_candidates * work(self.rows.n_rows, base.n_params) < SERIAL_WORK:
            base.n_threads = 1
        plan.n_groups_of_rows = cells.shape[1]
        plan.lanes = table(0, True).lanes
        plan.n_sums = (2 if self.both else 1) * self.exact.shape[1]
        plan.spans, plan.strata, plan.totals = &self.spans[0], &self.strata[0], &self.totals[0]
        plan.n_spans = self.strata.shape[0]
        for k in range(2):
            plan.cuts[k].exact, plan.cuts[k].count = &self.exact[k, 0], self.exact.shape[1]
            plan.cuts[k].both = self.both
        narrow = self.narrowed(base.n_candidates)
        if narrow is not None:
            for k in range(2):
                plan.cuts[k].narrow, plan.cuts[k].above = &self.lower[k, 0], &self.above[k, 0]
            base.screen, plan.largest = &narrow.screen, narrow.largest
            plan.spreads, plan.units, plan.norms = narrow.spreads, narrow.units, narrow.norms
        return self.run(&plan)

    cdef bint run(self, CountPlan *plan) except -1:
        cdef CountWorkspace layout
        cdef int thread
        cut_counts(plan)
        cdef Py_ssize_t heads = aligned(plan.plan.n_threads * sizeof(CountWorkspace))
        cdef Py_ssize_t size = lay_out_counts(plan, &layout, NULL) - <char *>NULL
        cdef char *memory = <char *>malloc(ALIGNMENT + heads + plan.plan.n_threads * size)
        if memory == NULL:
            raise MemoryError
        cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
        plan.workspaces = <CountWorkspace *>at
        for thread in range(plan.plan.n_threads):
            lay_out_counts(plan, plan.workspaces + thread, at + heads + thread * size)
        try:
            return run_counts(plan)
        finally:
            for thread in range(plan.plan.n_threads):
                if plan.plan.screen != NULL and not plan.workspaces[thread].is_narrow:
                    self.may_be_narrowed = False
                    self.release()
            free(memory)

    cdef NarrowRows narrowed(self, Py_ssize_t count):
        """Return the rows in single precision, or None where that does not serve."""
        cdef NarrowRows narrow
        self.n_counted += count
        if not self.may_be_narrowed or max(self.n_counted, self.n_expected) < COUNTED_BEFORE:
            return None
        narrow = self.rows.narrowed(True, None, True)
        if narrow is not None and narrow.screen.has_rows:
            return narrow
        # Else another thread is making them.
        if self.rows.narrow_refusal is not None:
            self.may_be_narrowed = False
        return None

    @property
    def has_narrow_rows(self):
        """Whether there is a copy of the rows in single precision."""
        return self.rows.has_narrow_rows

    def release(self):
        """Give back the memory of the rows in single precision."""
        self.n_counted = self.n_expected = 0
        self.rows.release()
