# Rows as the kernels read them, and what is asked of them. Needs table.pxi, plan.pxi, evaluate.pxi
# and draws.pxi.

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Candidates of a call that show whether screening is worth while, and the part of them that may
# survive it: single precision takes 0.43 of the time of double precision.
cdef Py_ssize_t SCREENED_FIRST = 2048
cdef double WORTH_SCREENING = 0.5
# Weights that are normal numbers in single precision, and so are their products with losses.
cdef double SMALL_WEIGHT = 2.0 ** -80
cdef double LARGE_WEIGHT = 2.0 ** 20


def pack_rows(const double[:, ::1] X, const double[::1] signs, Py_ssize_t first,
              Py_ssize_t n_params, bint single_precision, unsigned char[::1] panels):
    """Write rows X, times their signs, into the panels from place `first` on, 8 to a panel."""
    cdef const Kernels *kernels = table(0, single_precision)
    with nogil:
        kernels.pack_rows(&X[0, 0], &signs[0], first, X.shape[0], X.shape[1], n_params, &panels[0])


def row_norms(const double[:, ::1] X, double[::1] norms):
    """Write the squared norm of each row: in one order of sums, unlike NumPy's on some layouts."""
    cdef Py_ssize_t i, j
    cdef double total
    with nogil:
        for i in range(X.shape[0]):
            total = 0
            for j in range(X.shape[1]):
                total += X[i, j] * X[i, j]
            norms[i] = total


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
        What `pack_rows` wrote, and a weight of each row or None.
    total_weight, l2 : float
    extent : float
        The largest absolute value in the rows, 1 included where there is an intercept.
    """
    cdef const Kernels *kernels
    cdef Rows rows
    cdef const unsigned char[::1] panels
    cdef const unsigned char[::1] row_weights
    cdef const Py_ssize_t[::1] first_panel
    cdef const int[::1] block_rows
    cdef const double[::1] block_weights
    cdef Py_ssize_t n_penalised, n_rows
    cdef double total_weight, l2
    cdef int loss
    cdef NarrowRows narrow
    cdef bint may_be_narrowed

    def __init__(self, int loss, bint single_precision, Py_ssize_t n_params, Py_ssize_t n_penalised,
                 const Py_ssize_t[::1] first_panel,
                 const int[::1] block_rows, const double[::1] block_weights,
                 const unsigned char[::1] panels, const unsigned char[::1] row_weights,
                 double total_weight, double l2, double extent):
        self.kernels = table(loss, single_precision)
        self.loss = loss
        self.may_be_narrowed = self.kernels.slope > 0 and not single_precision
        self.first_panel, self.block_rows = first_panel, block_rows
        self.block_weights = block_weights
        self.panels, self.row_weights = panels, row_weights
        self.n_penalised, self.n_rows = n_penalised, sum(block_rows)
        self.total_weight, self.l2 = total_weight, l2
        self.rows.panels = &panels[0]
        if row_weights is not None:
            self.rows.row_weights = &row_weights[0]
        self.rows.first_panel = &first_panel[0]
        self.rows.rows = &block_rows[0]
        self.rows.weights = &block_weights[0]
        self.rows.n_params, self.rows.extent = n_params, extent

    cdef void plan(self, Plan *plan, double[::1] losses, double[:, ::1] gradients, int n_threads):
        memset(plan, 0, sizeof(Plan))
        plan.kernels, plan.rows = self.kernels, &self.rows
        plan.n_params, plan.n_penalised = self.rows.n_params, self.n_penalised
        plan.n_blocks = self.block_rows.shape[0]
        plan.total_weight, plan.l2 = self.total_weight, self.l2
        plan.n_candidates = losses.shape[0]
        plan.losses = &losses[0]
        if gradients is not None:
            plan.gradients = &gradients[0, 0]
        plan.n_threads = n_threads
        plan.threshold = INFINITY

    def evaluate(self, const double[:, ::1] thetas, double[::1] losses, double[:, ::1] gradients,
                 int n_threads):
        """Write the loss of each theta and, unless None, its gradient.

        Returns False where a theta is not finite in the rows' precision.
        """
        cdef Plan plan
        # Over before a second thread is awake.
        if losses.shape[0] * work(self.n_rows, self.rows.n_params) < SERIAL_WORK:
            n_threads = 1
        self.plan(&plan, losses, gradients, n_threads)
        plan.thetas = &thetas[0, 0]
        return evaluate(&plan)

    def evaluate_drawn(self, Draws draws, uint64_t start, double[::1] losses, int n_threads):
        """Write the losses of candidates start .. of a sampler; returns as `evaluate` does."""
        cdef Plan plan
        self.plan(&plan, losses, None, n_threads)
        plan.sampler, plan.start = &draws.sampler, start
        return evaluate(&plan)

    def evaluate_below(self, const double[:, ::1] thetas, Draws draws, uint64_t start,
                       double threshold, double[::1] losses, int n_threads):
        """Write the losses up to a threshold, of thetas or, if that is None, of candidates start ..

        A loss above it may be written as infinity. Returns the part of the (row, candidate) pairs
        that was computed, or -1 where a theta is not finite.
        """
        cdef Plan plan
        cdef NarrowRows narrow = None
        cdef Py_ssize_t count = losses.shape[0], first = 0, size = count
        cdef Py_ssize_t tile = 2 * self.kernels.lanes
        cdef double visited = 0
        if threshold < INFINITY and count >= tile and self.has_short_tiles(losses, n_threads):
            narrow = self.narrowed()
        # Some come first, in single precision, and show whether that is worth while for the rest.
        if narrow is not None:
            size = min(count, max(tile * n_threads, min(SCREENED_FIRST, count // 8)))
        while first < count:
            self.plan(&plan, losses[first:first + size], None, n_threads)
            plan.threshold = threshold
            if narrow is not None:
                plan.screen = &narrow.screen
            if thetas is None:
                plan.sampler, plan.start = &draws.sampler, start + first
            else:
                plan.thetas = &thetas[first, 0]
            if not evaluate(&plan):
                return -1.0
            if plan.n_survivors > WORTH_SCREENING * size:
                narrow = None
            # Where rows are so many that all threads share them, nothing is dropped.
            visited += plan.n_pairs if plan.n_pairs > 0 else <double>self.n_rows * size
            first += size
            size = count - first
        return visited / self.n_rows / count

    cdef bint has_short_tiles(self, double[::1] losses, int n_threads):
        """Whether one thread evaluates a whole tile: else all share its rows, and screen none."""
        cdef Plan plan
        self.plan(&plan, losses, None, n_threads)
        choose_tiles(&plan)
        return tile_work_of(&plan) <= SLICE_WORK

    cdef NarrowRows narrowed(self):
        """Return the rows in single precision, or None where that does not serve."""
        cdef NarrowRows narrow = self.narrow
        if narrow is None and self.may_be_narrowed:
            try:
                narrow = NarrowRows(self)
            except MemoryError:  # the search goes on without
                self.may_be_narrowed = False
                return None
            if not narrow.is_moderate:
                self.may_be_narrowed = False
                return None
            self.narrow = narrow
        return narrow

    def release(self):
        """Give back the memory of the rows in single precision."""
        self.narrow = None


cdef class NarrowRows:
    """The rows in single precision, which screen candidates.

    is_moderate is False where they do not serve: weights are too large or too small for single
    precision, or columns too many.
    """
    # Their blocks are those of the packed rows, which keep these rows.
    cdef Screen screen
    cdef char *memory
    cdef bint is_moderate

    def __cinit__(self, PackedRows rows):
        cdef Py_ssize_t n = rows.rows.n_params, n_blocks = rows.block_rows.shape[0]
        cdef Py_ssize_t n_panels = rows.panels.shape[0] // (n * PANEL * <Py_ssize_t>sizeof(double))
        cdef Py_ssize_t panels_size = aligned(n_panels * PANEL * n * sizeof(float))
        cdef Py_ssize_t weights_size = aligned(n_panels * PANEL * sizeof(float))
        cdef double unit = (n + 4) * 2.0 ** -24
        if rows.row_weights is None:
            weights_size = 0
        self.memory = <char *>malloc(ALIGNMENT + panels_size + weights_size
                                     + 2 * n * sizeof(double))
        if self.memory == NULL:
            raise MemoryError
        cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>self.memory)
        self.screen.kernels = table(rows.loss, True)
        self.screen.rows = rows.rows
        self.screen.rows.panels = at
        self.screen.gamma = unit / (1 - unit)
        self.is_moderate = unit < 0.1
        if rows.row_weights is not None:
            self.screen.rows.row_weights = at + panels_size
        self.screen.factors = <double *>(at + panels_size + weights_size)
        self.screen.sizes = self.screen.factors + n
        with nogil:
            rows.kernels.narrow_rows(<const double *>rows.rows.panels, n_panels, n,
                                     self.screen.factors, at)
            if rows.rows.row_weights != NULL:
                self.is_moderate &= narrow_weights(<const double *>rows.rows.row_weights,
                                                   n_panels * PANEL, <float *>(at + panels_size))
            measure_columns(&rows.rows, n_blocks, rows.total_weight, rows.kernels.of_root,
                            &self.screen)

    def __dealloc__(self):
        free(self.memory)


cdef bint narrow_weights(const double *weights, Py_ssize_t count, float *to) noexcept nogil:
    """Write weights in single precision; False where that would lose one."""
    cdef Py_ssize_t i
    cdef bint moderate = True
    for i in range(count):
        moderate &= weights[i] == 0 or SMALL_WEIGHT <= weights[i] <= LARGE_WEIGHT
        to[i] = <float>weights[i]
    return moderate


cdef void measure_columns(const Rows *rows, Py_ssize_t n_blocks, double total_weight, bint of_root,
                          Screen *screen) noexcept nogil:
    """Write the weighted mean of each column's absolute values, or the root of that of squares."""
    cdef Py_ssize_t b, j, row, place
    cdef double weight, x, total
    cdef double *sizes = screen.sizes
    cdef const double *panels = <const double *>rows.panels
    cdef const double *weights = <const double *>rows.row_weights
    memset(sizes, 0, rows.n_params * sizeof(double))
    for b in range(n_blocks):
        for j in range(rows.n_params):
            total = 0
            for row in range(rows.rows[b]):
                place = rows.first_panel[b] + row // PANEL
                x = abs(panels[(place * rows.n_params + j) * PANEL + row % PANEL]
                        / screen.factors[j])
                weight = 1 if weights == NULL else weights[place * PANEL + row % PANEL]
                total += weight * (x * x if of_root else x)
            sizes[j] += rows.weights[b] * total
    for j in range(rows.n_params):
        sizes[j] = sizes[j] / total_weight * (1 + 1e-9)
        if of_root:
            sizes[j] = sqrt(sizes[j])
