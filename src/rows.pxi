# Rows as the kernels read them, and what is asked of them. Needs table.pxi, plan.pxi, evaluate.pxi,
# draws.pxi, bound.pxi and narrow.pxi.

cimport cython
from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, NAN
from libc.stdint cimport uint64_t
from libc.string cimport memset


# Bytes of rows that third-level caches have no room for.
cdef Py_ssize_t LARGE_ROWS = 32 * 1024 * 1024


cdef Py_ssize_t rows_of(const int[::1] block_rows) noexcept nogil:
    """Return how many rows there are in all blocks."""
    cdef Py_ssize_t block, total = 0
    for block in range(block_rows.shape[0]):
        total += block_rows[block]
    return total


cdef Py_ssize_t tail_of(Py_ssize_t count, Py_ssize_t lanes, Py_ssize_t few) noexcept nogil:
    """Return how many candidates beyond the last full tile go one by one: a few."""
    cdef Py_ssize_t tail = count % lanes
    return tail if tail < count and tail <= few else 0


cdef class PackedRows:
    """Rows as the kernels read them, and the weights and the penalty of an objective.

    Parameters
    ----------
    loss : int
        Number of the pointwise loss, of LOSSES.
    single_precision : bool
    n_params, n_penalised : int
        Columns of the rows; the first n_penalised are penalised.
    first_panel, block_rows, block_weights : arrays of shape (n_blocks,)
        Where each block starts, how many rows it holds (1..64), and their weight.
    panels, row_weights : arrays of bytes, aligned to 64
        What `Numbers.pack` wrote, and a weight of each row or None.
    total_weight, l2 : float
    extent : float
        The largest absolute value in the rows, 1 included where there is an intercept.
    on_disk : bool
        Whether the rows may have to be read from a disk: they are read for as many candidates as
        memory allows, and have no copy in single precision.
    """
    cdef const Kernels *kernels
    cdef Rows rows
    cdef const unsigned char[::1] panels
    cdef const unsigned char[::1] row_weights
    cdef const Py_ssize_t[::1] first_panel
    cdef const int[::1] block_rows
    cdef const double[::1] block_weights
    cdef readonly Py_ssize_t n_penalised
    cdef Py_ssize_t n_rows
    cdef double total_weight
    cdef readonly double l2
    cdef int loss
    cdef readonly bint on_disk
    # Threads may ask for it at once: it is read and kept in critical sections.
    cdef NarrowRows narrow
    cdef bint is_narrowing
    # Why there are no rows in single precision, if they were asked for: "memory" or "extents".
    cdef readonly str narrow_refusal

    def __init__(self, int loss, bint single_precision, Py_ssize_t n_params, Py_ssize_t n_penalised,
                 const Py_ssize_t[::1] first_panel,
                 const int[::1] block_rows, const double[::1] block_weights,
                 const unsigned char[::1] panels, const unsigned char[::1] row_weights,
                 double total_weight, double l2, double extent, bint on_disk=False):
        self.kernels = table(loss, single_precision)
        self.loss, self.on_disk = loss, on_disk
        self.first_panel, self.block_rows = first_panel, block_rows
        self.block_weights = block_weights
        self.panels, self.row_weights = panels, row_weights
        self.n_penalised, self.n_rows = n_penalised, rows_of(block_rows)
        self.total_weight, self.l2 = total_weight, l2
        self.rows.panels = &panels[0]
        if row_weights is not None:
            self.rows.row_weights = &row_weights[0]
        self.rows.first_panel = &first_panel[0]
        self.rows.rows = &block_rows[0]
        self.rows.weights = &block_weights[0]
        self.rows.n_params, self.rows.extent = n_params, extent
        self.rows.is_large = (
            self.n_rows * n_params * <Py_ssize_t>self.kernels.itemsize >= LARGE_ROWS)

    cdef void plan(self, Plan *plan, double[::1] losses, double[:, ::1] gradients, int n_threads):
        self.plan_for(plan, losses.shape[0], &losses[0], n_threads)
        if gradients is not None:
            plan.gradients = &gradients[0, 0]

    cdef void plan_for(self, Plan *plan, Py_ssize_t n_candidates, double *losses, int n_threads):
        memset(plan, 0, sizeof(Plan))
        plan.kernels, plan.rows = self.kernels, &self.rows
        plan.n_params, plan.n_penalised = self.rows.n_params, self.n_penalised
        plan.n_blocks = self.block_rows.shape[0]
        plan.total_weight, plan.l2 = self.total_weight, self.l2
        plan.n_candidates, plan.losses = n_candidates, losses
        plan.n_threads, plan.few, plan.on_disk = n_threads, self.few(), self.on_disk
        plan.threshold = INFINITY
        plan.row_work = candidate_visits(1, plan.n_params)
        plan.scratch_size = plan.n_params * PANEL * sizeof(double)

    def evaluate(self, const double[:, ::1] thetas, double[::1] losses, double[:, ::1] gradients,
                 int n_threads):
        """Write the loss of each theta and, unless None, its gradient.

        Returns False where a theta is not finite in the rows' precision.
        """
        cdef double *to = NULL
        if gradients is not None:
            to = &gradients[0, 0]
        return self.evaluate_at(&thetas[0, 0], losses.shape[0], &losses[0], to, n_threads)

    cdef bint evaluate_at(self, const double *thetas, Py_ssize_t count, double *losses,
                          double *gradients, int n_threads) except -1:
        """Do what `evaluate` does, for so many thetas."""
        cdef Py_ssize_t tail = tail_of(count, self.kernels.lanes, self.few())
        cdef Py_ssize_t n = self.rows.n_params
        if tail > 0:
            count -= tail
            if not self.evaluate_all(thetas, count, losses, gradients, n_threads):
                return False
            thetas, losses = thetas + count * n, losses + count
            if gradients != NULL:
                gradients += count * n
            count = tail
        return self.evaluate_all(thetas, count, losses, gradients, n_threads)

    cdef Py_ssize_t few(self):
        """Return how many candidates take one pass over the rows each, not a tile with idle lanes.
        """
        cdef Py_ssize_t n_rows = ROWS_PER_SPAN // BLOCKS_PER_SPAN * self.block_rows.shape[0]
        cdef Py_ssize_t size = n_rows * self.rows.n_params * self.kernels.itemsize
        return min(FEW_CACHED if size <= CACHED_ALL else FEW, self.kernels.lanes - 1)

    cdef bint evaluate_all(self, const double *thetas, Py_ssize_t count, double *losses,
                           double *gradients, int n_threads) except -1:
        """Write losses and gradients of candidates, all in tiles or all one by one."""
        cdef Plan plan
        # Over before a second thread is awake.
        if count * candidate_visits(self.n_rows, self.rows.n_params) < SERIAL_WORK:
            n_threads = 1
        self.plan_for(&plan, count, losses, n_threads)
        plan.thetas, plan.gradients = thetas, gradients
        return evaluate(&plan)

    def evaluate_one(self, const double[::1] theta, double[::1] gradient, int n_threads):
        """Return the loss of one theta and, unless None, write its gradient.

        Returns NaN where theta is not finite in the rows' precision.
        """
        cdef Plan plan
        cdef double loss
        if candidate_visits(self.n_rows, self.rows.n_params) < SERIAL_WORK:
            n_threads = 1
        self.plan_for(&plan, 1, &loss, n_threads)
        plan.thetas = &theta[0]
        if gradient is not None:
            plan.gradients = &gradient[0]
        return loss if evaluate(&plan) else NAN

    def evaluate_drawn(self, Draws draws, uint64_t start, double[::1] losses, int n_threads):
        """Write the losses of candidates start .. of a sampler; returns as `evaluate` does."""
        cdef Plan plan
        draws.check(start, losses.shape[0])
        self.plan(&plan, losses, None, n_threads)
        plan.sampler, plan.start = &draws.sampler, start
        return evaluate(&plan)

    def evaluate_below(self, const double[:, ::1] thetas, Draws draws, uint64_t start,
                       double threshold, double[::1] losses, int n_threads,
                       bint single_precision=False, points=(), double[::1] tally=None,
                       RowOrder order=None, Tangents tangents=None):
        """Write the losses up to a threshold, of thetas or, if that is None, of candidates start ..

        A loss above it may be written as infinity. Returns the part of the (row, candidate) pairs
        that was computed, or -1 where a theta is not finite.

        Parameters
        ----------
        single_precision : bool
            Whether candidates are screened by the rows in single precision, where `may_screen`.
        points : sequence of (int, MomentBound)
            Blocks in ascending order, and moments of the rows from there on, in the total weight of
            all. Those after the first block are for rows in single precision.
        tally : array of shape (2 * len(points) + 2,)
            To which is added how many candidates reached each point and passed it, and how many
            were screened by the rows in single precision and survived.
        order : RowOrder, optional
            Order of the rows in single precision, if they are yet to be made, and that of `points`
            and `tangents`, which do not serve if the rows have another one.
        tangents : Tangents, optional
        """
        cdef Plan plan
        cdef Screen screen
        cdef NarrowRows narrow = None
        cdef NarrowDraws fresh = None
        cdef bint of_draws, in_order
        cdef MomentBound moments
        cdef int point
        self.plan(&plan, losses, None, n_threads)
        plan.threshold = threshold
        if thetas is None:
            draws.check(start, losses.shape[0])
            plan.sampler, plan.start = &draws.sampler, start
        else:
            plan.thetas = &thetas[0, 0]
        if threshold < INFINITY and (single_precision or len(points) > 0):
            narrow = self.narrowed(single_precision, order)
        if narrow is not None:
            screen = narrow.screen
            screen.has_rows = single_precision and screen.has_rows
            of_draws, in_order = thetas is None, screen.has_rows and narrow.order is order
            if in_order and tangents is not None:
                tangents.into(&screen)
            for block, moments in points[:MAX_POINTS]:
                of_draws = of_draws and moments.of_draws
                if block == 0 or in_order:
                    screen.points[screen.n_points].block = block
                    screen.points[screen.n_points].moments = &moments.moments
                    if block == 0 and in_order:
                        screen.curved_from, screen.curve_doubt = moments.curved_from, moments.doubt
                    screen.n_points += 1
            if of_draws:
                fresh = NarrowDraws(draws, <double[:self.rows.n_params]>screen.factors)
                if fresh.is_near:
                    fresh.into(&screen)
            if screen.has_rows or screen.n_points > 0:
                plan.screen = &screen
        if not evaluate(&plan):
            return -1.0
        if tally is not None and plan.screen != NULL:
            for point in range(screen.n_points):
                tally[2 * point] += plan.tally.reached[point]
                tally[2 * point + 1] += plan.tally.passed[point]
            tally[tally.shape[0] - 2] += plan.tally.screened
            tally[tally.shape[0] - 1] += plan.tally.survived
        # Where rows are so many that all threads share them, nothing is dropped.
        if plan.n_pairs == 0:
            return 1.0
        return min(1.0, plan.n_pairs / self.n_rows / losses.shape[0])

    def bound(self, const double[:, ::1] thetas, double[::1] lower, double[::1] upper,
              int n_threads):
        """Write a lower and an upper bound of each loss, from sums in single precision.

        For candidates that `may_screen`. Returns False where there are none: the rows in single
        precision do not serve, or a theta is not finite. Both are the loss where all threads share
        the rows of a tile.
        """
        cdef Plan plan
        cdef Screen screen
        cdef NarrowRows narrow = self.narrowed(True, None)
        if narrow is None or not narrow.screen.has_rows:
            return False
        screen = narrow.screen
        self.plan(&plan, lower, None, n_threads)
        plan.thetas, plan.screen, plan.upper = &thetas[0, 0], &screen, &upper[0]
        plan.threshold = DBL_MAX  # nothing is dropped
        if not evaluate(&plan):
            return False
        if plan.screen == NULL:
            upper[:] = lower
        return True

    def may_screen(self, double[::1] losses, int n_threads):
        """Whether candidates with these losses may be screened at all.

        They have to fill a tile of single precision, which one thread evaluates: where all threads
        share the rows of a tile, nothing is screened, nor where rows are on a disk.
        """
        cdef Plan plan
        if losses.shape[0] < self.narrow_lanes or self.kernels.slope == 0 or self.on_disk:
            return False
        self.plan(&plan, losses, None, n_threads)
        choose_tiles(&plan)
        return self.kernels.itemsize == sizeof(double) and tile_work_of(&plan) <= SLICE_WORK

    @property
    def narrow_lanes(self):
        """Candidates of a tile of single precision."""
        return 2 * self.kernels.lanes

    def narrow_factors(self):
        """Return the powers of two that columns in single precision are divided by; None without
        memory."""
        cdef NarrowRows narrow = self.narrowed(False, None)
        return None if narrow is None else [
            narrow.screen.factors[j] for j in range(self.rows.n_params)]

    @property
    @cython.critical_section
    def has_narrow_rows(self):
        """Whether there is a copy of the rows in single precision, whose order will not change."""
        return self.narrow is not None and self.narrow.screen.has_rows

    cdef NarrowRows narrowed(self, bint with_rows, RowOrder order, bint for_counts=False):
        """Return the columns in single precision and perhaps the rows; None without memory.

        One thread makes the rows. Others go on without them meanwhile, and so does a child that is
        forked meanwhile: it would wait for ever.
        """
        cdef NarrowRows narrow, fresh = None
        with cython.critical_section(self):
            narrow = self.narrow
            with_rows = with_rows and not self.is_narrowing and (
                narrow is None or not (narrow.screen.has_rows or narrow.is_refused))
            self.is_narrowing = self.is_narrowing or with_rows
        if narrow is not None and not with_rows:
            return narrow
        try:
            fresh = narrow_columns(self.kernels, &self.rows, self.panels.shape[0],
                                   self.n_penalised, self.l2, narrow)
            if with_rows:
                if for_counts:
                    fresh.measure(self.kernels, &self.rows, self.block_rows.shape[0])
                fresh.add_rows(table(self.loss, True), self.kernels, &self.rows,
                               self.block_rows.shape[0], self.total_weight, order)
                if fresh.is_refused and self.narrow_refusal is None:
                    self.narrow_refusal = "extents"
        except MemoryError:  # the search goes on without
            self.narrow_refusal = "memory"
        with cython.critical_section(self):
            if fresh is not None and (with_rows or self.narrow is None):
                self.narrow = fresh
            if with_rows:
                self.is_narrowing = False
        return narrow if fresh is None else fresh

    @cython.critical_section
    def release(self):
        """Give back the memory of the rows in single precision."""
        self.narrow, self.narrow_refusal = None, None
