# Rows and candidates in single precision, by which candidates are screened. Needs table.pxi,
# plan.pxi, draws.pxi and bound.pxi.

from libc.math cimport INFINITY
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport cython
from cython cimport view

# Weights that are normal numbers in single precision, and so are their products with losses.
cdef double SMALL_WEIGHT = 2.0 ** -80
cdef double LARGE_WEIGHT = 2.0 ** 20
# Halves of l2 by which penalties of single precision do not overflow, nor lose all their digits.
cdef double SMALL_HALF = 2.0 ** -60
cdef double LARGE_HALF = 2.0 ** 40


# No normal number is further from 0: see LARGEST_NORMAL of the samplers.
cdef double LARGEST = 8.572
# How far normal and uniform numbers of single precision are from those of double precision, times
# the scale, and a rounding of all parts: see narrow_random.hpp.
cdef double NORMAL_ERROR = 2.0 ** -18
cdef double UNIFORM_ERROR = 2.0 ** -23 + 2.0 ** -33
cdef double SINGLE = 2.0 ** -24
# Up to which parameters are drawn in single precision, and more than what numbers lose there that
# are not normal ones.
cdef double LARGE_PARAMETER = 2.0 ** 40
cdef double LEAST = 2.0 ** -140
# Sums of whole numbers that single precision holds, in their unit; units above it have normal sums.
cdef double LEAST_GRAIN = 2.0 ** -60


cdef class NarrowDraws:
    """A sampler of candidates in single precision, in units of the columns.

    Parameters
    ----------
    draws : Draws
    factors : array of shape (n_params,)

    Attributes
    ----------
    doubts : array of shape (n_params,), float32
        How far each parameter may be from the one of `draws`.
    is_near : bool
        Whether there are such bounds: all parameters are normal or uniform numbers, and moderate.
    """
    cdef NarrowSampler sampler
    cdef Draws draws  # whose transforms and seed these are
    cdef float[::1] a, b
    cdef readonly float[::1] doubts
    cdef readonly bint is_near

    def __init__(self, Draws draws, const double[::1] factors):
        cdef Py_ssize_t n = draws.sampler.n_params, j
        cdef double a, b, size, error
        cdef bint is_normal
        self.draws = draws
        self.is_near = (draws.bounded and draws.sampler.n_kept == 0
                        and draws.sampler.ways == NULL)
        self.a, self.b, self.doubts = (
            view.array((n,), sizeof(float), "f") for _ in range(3))
        for j in range(n):
            a, b = draws.sampler.a[j] * factors[j], draws.sampler.b[j] * factors[j]
            is_normal = draws.sampler.transform[j] == NORMAL
            self.is_near &= is_normal or draws.sampler.transform[j] == UNIFORM
            size = abs(a) + abs(b) * (LARGEST if is_normal else 1)
            error = NORMAL_ERROR if is_normal else UNIFORM_ERROR
            self.is_near &= size <= LARGE_PARAMETER
            self.a[j], self.b[j] = <float>a, <float>b
            self.doubts[j] = -rounded_down(-(error * abs(b) + 4 * SINGLE * size + LEAST))
        self.sampler.transform, self.sampler.seed = draws.sampler.transform, draws.sampler.seed
        self.sampler.a, self.sampler.b, self.sampler.n_params = &self.a[0], &self.b[0], n

    def sample(self, uint64_t start, float[:, ::1] out, unsigned char[::1] rare):
        """Write candidates start .., times the factors; rare says which have to be drawn again."""
        cdef const Kernels *kernels = table(0, True)
        cdef Py_ssize_t lanes = kernels.lanes, n = self.sampler.n_params, first = 0, lane, j
        cdef float[::1] tile = view.array(((n + 1) * lanes,), sizeof(float), "f")
        cdef unsigned int[::1] found = view.array((lanes,), sizeof(int), "I")
        while first < out.shape[0]:
            kernels.draw_narrow(&self.sampler, start + first, &tile[0], &found[0])
            for lane in range(min(lanes, out.shape[0] - first)):
                rare[first + lane] = found[lane] != 0
                for j in range(n):
                    out[first + lane, j] = tile[j * lanes + lane]
            first += lanes

    cdef void into(self, Screen *screen) noexcept:
        """Let candidates be screened as they are drawn here."""
        cdef Py_ssize_t j
        screen.sampler, screen.doubts = &self.sampler, &self.doubts[0]
        screen.doubt = 0
        for j in range(self.sampler.n_params):
            screen.doubt += screen.sizes[j] * self.doubts[j]
        screen.doubt *= 1 + 1e-3


def column_factors(const unsigned char[::1] panels, bint single_precision, double[::1] factors):
    """Write the power of two that divides each column of the panels in single precision."""
    cdef const Kernels *kernels = table(0, single_precision)
    cdef Py_ssize_t n = factors.shape[0]
    with nogil:
        kernels.find_factors(&panels[0], panels.shape[0] // (n * PANEL * kernels.itemsize), n,
                             &factors[0])


@cython.auto_pickle(False)
cdef class RowOrder:
    """An order of packed rows for their copy in single precision: those that tell most come first.

    Parameters
    ----------
    row_at : array of shape (n_positions,)
        For each position in the panels, that of the packed row that stands there, or -1.
    first_panel, block_rows, block_weights : arrays of shape (n_blocks,)
        The blocks in their order.
    """
    cdef readonly const Py_ssize_t[::1] row_at
    cdef readonly const Py_ssize_t[::1] first_panel
    cdef readonly const int[::1] block_rows
    cdef readonly const double[::1] block_weights

    def __init__(self, const Py_ssize_t[::1] row_at, const Py_ssize_t[::1] first_panel,
                 const int[::1] block_rows, const double[::1] block_weights):
        self.row_at, self.first_panel = row_at, first_panel
        self.block_rows, self.block_weights = block_rows, block_weights

    cdef void into(self, Rows *rows) noexcept:
        """Let rows have these blocks."""
        rows.first_panel, rows.rows = &self.first_panel[0], &self.block_rows[0]
        rows.weights = &self.block_weights[0]


@cython.auto_pickle(False)
cdef class Tangents:
    """Lower bounds of what the rows from some blocks on add to the mean loss, linear in theta.

    Parameters
    ----------
    blocks : array of shape (n_tangents,)
        In ascending order, each above 0: candidates are dropped before these blocks alone.
    constants : array of shape (n_tangents,)
    slopes : array of shape (n_tangents, n_params), float32
        In units of the columns.
    """
    cdef readonly const Py_ssize_t[::1] blocks
    cdef readonly const double[::1] constants
    cdef readonly const float[:, ::1] slopes

    def __init__(self, const Py_ssize_t[::1] blocks, const double[::1] constants,
                 const float[:, ::1] slopes):
        self.blocks, self.constants, self.slopes = blocks, constants, slopes

    cdef void into(self, Screen *screen) noexcept:
        """Let candidates be dropped by these bounds."""
        screen.n_tangents = self.blocks.shape[0]
        if screen.n_tangents > 0:
            screen.tangent_blocks, screen.tangent_constants = &self.blocks[0], &self.constants[0]
            screen.tangent_slopes = &self.slopes[0, 0]


cdef class NarrowRows:
    """The columns, and the rows where they are asked for, in single precision.

    Nothing in it changes once the packed rows keep it: several threads may read it.
    """
    # Their blocks are those of the packed rows, which keep these rows, or of the order.
    cdef Screen screen
    cdef RowOrder order
    cdef char *columns
    cdef char *memory
    cdef Py_ssize_t n_panels
    cdef bint is_refused
    # What counts have to know of the rows, where they ask: of each column its spread and its unit,
    # of each block its norm; and the largest of these, in units.
    cdef double *spreads
    cdef double *units
    cdef float *norms
    cdef double largest

    def __dealloc__(self):
        free(self.columns)
        free(self.memory)
        free(self.spreads)

    cdef void add_rows(self, const Kernels *single, const Kernels *kernels, const Rows *rows,
                       Py_ssize_t n_blocks, double total_weight, RowOrder order) except *:
        """Make the rows, unless they do not serve: weights are too large or too small for single
        precision, columns are too many, or memory is too little."""
        cdef Py_ssize_t n = rows.n_params
        cdef Py_ssize_t panels_size = aligned(self.n_panels * PANEL * n * sizeof(float))
        cdef Py_ssize_t weights_size = 0
        cdef const Py_ssize_t *row_at = NULL
        cdef double unit = (n + 4) * 2.0 ** -24
        self.is_refused = True
        if unit >= 0.1:
            return
        if rows.row_weights != NULL:
            weights_size = aligned(self.n_panels * PANEL * sizeof(float))
        self.memory = <char *>malloc(ALIGNMENT + panels_size + weights_size)
        if self.memory == NULL:
            raise MemoryError
        cdef char *at = <char *>aligned(<Py_ssize_t><uintptr_t>self.memory)
        self.screen.kernels = single
        self.screen.rows = rows[0]
        self.screen.rows.panels = at
        self.screen.gamma = unit / (1 - unit)
        self.order = order
        if order is not None:
            row_at = &order.row_at[0]
            order.into(&self.screen.rows)
        cdef bint is_moderate = True
        with nogil:
            if rows.row_weights != NULL:
                self.screen.rows.row_weights = at + panels_size
                is_moderate = narrow_weights(<const double *>rows.row_weights, row_at,
                                             self.n_panels * PANEL, <float *>(at + panels_size))
            if is_moderate:
                kernels.narrow_rows(<const double *>rows.panels, self.n_panels, n,
                                    self.screen.factors, row_at, at)
                kernels.measure_columns(rows, n_blocks, total_weight, kernels.of_root,
                                        self.screen.factors, self.screen.sizes)
        if is_moderate:
            self.screen.has_rows, self.is_refused = True, False
        else:
            free(self.memory)
            self.memory = NULL

    cdef void measure(self, const Kernels *kernels, const Rows *rows,
                      Py_ssize_t n_blocks) except *:
        """Find the norms of blocks, and the spreads and units of columns."""
        cdef Py_ssize_t n = rows.n_params, j, b
        cdef double grain = INFINITY, largest = 0
        self.spreads = <double *>malloc(2 * n * sizeof(double) + n_blocks * sizeof(float))
        if self.spreads == NULL:
            raise MemoryError
        self.units = self.spreads + n
        self.norms = <float *>(self.units + n)
        with nogil:
            kernels.measure_rows(rows, n_blocks, self.spreads, self.norms)
            kernels.find_grains(rows, n_blocks, self.screen.factors, self.units)
            for j in range(n):
                grain = min(grain, self.units[j])
            for b in range(n_blocks):
                largest = max(largest, <double>self.norms[b])
            for j in range(n):
                self.units[j] = (
                    0 if self.units[j] == INFINITY or grain == 0 else self.units[j] / grain)
        self.largest = largest * (1 + 1e-6) / grain if grain >= LEAST_GRAIN else INFINITY


cdef NarrowRows narrow_columns(const Kernels *kernels, const Rows *rows, Py_ssize_t size,
                               Py_ssize_t n_penalised, double l2, NarrowRows known):
    """Return the columns of panels of `size` bytes: their factors, which may be known, and the
    penalty in their units.

    Raises MemoryError.
    """
    cdef NarrowRows narrow = NarrowRows.__new__(NarrowRows)
    cdef Py_ssize_t n = rows.n_params, j
    cdef double half
    cdef float *no_doubts
    narrow.n_panels = size // (n * PANEL * kernels.itemsize)
    narrow.columns = <char *>malloc(2 * n * (sizeof(double) + sizeof(float)))
    if narrow.columns == NULL:
        raise MemoryError
    narrow.screen.factors = <double *>narrow.columns
    narrow.screen.sizes = narrow.screen.factors + n
    narrow.screen.halves = <float *>(narrow.screen.sizes + n)
    narrow.screen.doubts = no_doubts = narrow.screen.halves + n
    narrow.screen.kernels = table(0, True)
    if known is not None:
        memcpy(narrow.screen.factors, known.screen.factors, n * sizeof(double))
    else:
        with nogil:
            kernels.find_factors(rows.panels, narrow.n_panels, n, narrow.screen.factors)
    for j in range(n):
        narrow.screen.sizes[j], no_doubts[j] = 0, 0
        half = l2 / 2 / narrow.screen.factors[j] / narrow.screen.factors[j]
        if j >= n_penalised or not half >= SMALL_HALF:
            half = 0
        narrow.screen.halves[j] = rounded_down(min(half, LARGE_HALF))
    return narrow


cdef bint narrow_weights(const double *weights, const Py_ssize_t *row_at, Py_ssize_t count,
                         float *to) noexcept nogil:
    """Write weights in single precision and in order; False where that would lose one."""
    cdef Py_ssize_t i, at
    cdef double weight
    cdef bint moderate = True
    for i in range(count):
        at = i if row_at == NULL else row_at[i]
        weight = 0 if at < 0 else weights[at]
        moderate &= weight == 0 or SMALL_WEIGHT <= weight <= LARGE_WEIGHT
        to[i] = <float>weight
    return moderate
