# Steps of Newton's method by conjugate gradients, for models of sparse rows side by side. Needs
# structures.pxi and sparse.pxi.

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport free, malloc

# Visits of reading and writing a number of a few vectors.
cdef double MOVE_WORK = 20


cdef void visit_row_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    plan.kernels.sparse_rows(plan.step, block)


cdef void visit_row_blocks(const SparsePlan *plan, Py_ssize_t number, int thread) noexcept nogil:
    each_block(plan, number, visit_row_block)


cdef void visit_column_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    plan.kernels.sparse_columns(plan.step, block)


cdef void visit_column_blocks(const SparsePlan *plan, Py_ssize_t number,
                              int thread) noexcept nogil:
    each_block(plan, number, visit_column_block)


cdef void move_residual_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    plan.kernels.sparse_residuals(plan.motion, block)


cdef void move_residual_blocks(const SparsePlan *plan, Py_ssize_t number,
                               int thread) noexcept nogil:
    each_block(plan, number, move_residual_block)


cdef void move_direction_block(const SparsePlan *plan, Py_ssize_t block) noexcept nogil:
    plan.kernels.sparse_directions(plan.motion, block)


cdef void move_direction_blocks(const SparsePlan *plan, Py_ssize_t number,
                                int thread) noexcept nogil:
    each_block(plan, number, move_direction_block)


@cython.auto_pickle(False)
cdef class SparseSteps:
    """Vectors of models in lanes, and what is done with all of them at once. See sparse.hpp.

    Parameters
    ----------
    rows, columns : SparseMatrix
    signs, weights, strata : arrays of shape (n_rows,)
        As of `SparseLosses`; a row's weight is multiplied by the factor of its stratum.
    sizes : array of shape (n_params,)
        Mean squares of the columns, and 1 for the intercept, if there is one.
    vectors : array of shape (5, n_params, lanes)
        Zeros: what is multiplied, the product, residuals, steps, thetas.
    of_rows : array of shape (2, n_rows up to whole blocks, lanes)
        Zeros: curvatures and slopes.
    """
    cdef SparseMatrix rows, columns
    cdef const double[::1] signs, weights, sizes
    cdef const int[::1] strata
    cdef double[:, :, ::1] vectors, of_rows
    cdef SparsePlan plan
    cdef SparseStep step
    cdef SparseMove motion
    cdef Py_ssize_t n_features, n_params, lanes
    cdef double *sums

    def __init__(self, SparseMatrix rows, SparseMatrix columns, const double[::1] signs,
                 const double[::1] weights, const int[::1] strata, const double[::1] sizes,
                 double[:, :, ::1] vectors, double[:, :, ::1] of_rows):
        cdef Py_ssize_t n_rows = rows.matrix.n_lines, n_lines
        self.rows, self.columns, self.signs, self.weights = rows, columns, signs, weights
        self.strata, self.sizes, self.vectors, self.of_rows = strata, sizes, vectors, of_rows
        self.n_features, self.n_params, self.lanes = (
            columns.matrix.n_lines, vectors.shape[1], vectors.shape[2])
        n_lines = max(n_rows, self.n_params)
        free(self.sums)
        self.sums = <double *>malloc(
            ((n_lines + LINES - 1) // LINES) * ROW_SUMS * self.lanes * sizeof(double))
        if self.sums == NULL:
            raise MemoryError
        self.plan.kernels, self.plan.step, self.plan.motion = (
            table(0, False), &self.step, &self.motion)
        self.plan.rows, self.plan.columns = rows.matrix, columns.matrix
        cdef SparseStep *step = &self.step
        step.rows, step.columns, step.lanes = rows.matrix, columns.matrix, <int>self.lanes
        step.signs, step.weights, step.strata = &signs[0], &weights[0], &strata[0]
        step.x, step.product = &vectors[0, 0, 0], &vectors[1, 0, 0]
        step.curvatures, step.slopes = &of_rows[0, 0, 0], &of_rows[1, 0, 0]
        step.row_sums = step.column_sums = self.sums
        step.has_intercept = self.n_params > self.n_features
        cdef SparseMove *motion = &self.motion
        motion.x, motion.product, motion.residual, motion.step, motion.theta = (
            &vectors[0, 0, 0], &vectors[1, 0, 0], &vectors[2, 0, 0], &vectors[3, 0, 0],
            &vectors[4, 0, 0])
        motion.sizes, motion.sums = &sizes[0], self.sums
        motion.n, motion.n_penalised, motion.lanes = self.n_params, self.n_features, <int>self.lanes

    def __dealloc__(self):
        free(self.sums)

    def visit(self, const double[:, ::1] factors, const double[::1] l2,
              const double[::1] asked, double[:, ::1] out, int n_threads):
        """Multiply each lane with its Hessian or, where it is asked, evaluate it.

        Writes, of each lane: its loss without the penalty and the mean curvature of the rows, if it
        is asked; the product with itself, and the squares of the product and of itself, the latter
        two without the intercept.
        """
        cdef Py_ssize_t n_blocks, i, lane, at = self.n_features
        self.step.factors, self.step.asked = &factors[0, 0], &asked[0]
        self.step.any_asked = False
        for lane in range(self.lanes):
            self.step.any_asked |= asked[lane] > 0
        share_blocks(&self.plan, visit_row_blocks, self.rows.matrix.n_lines,
                     product_work(&self.rows.matrix, self.step.lanes), n_threads)
        n_blocks = self.plan.n_blocks
        for lane in range(self.lanes):
            for i in range(2):
                out[i, lane] = sum_of_blocks(self.sums + i * self.lanes + lane, n_blocks,
                                             ROW_SUMS * self.lanes)
            if self.step.has_intercept:
                self.step.product[at * self.lanes + lane] = sum_of_blocks(
                    self.sums + 2 * self.lanes + lane, n_blocks, ROW_SUMS * self.lanes)
        self.climb(l2, out[2:], n_threads)

    def climb(self, const double[::1] l2, double[:, ::1] out, int n_threads):
        """Multiply the slopes of the rows with the columns, and add the penalty's: write what
        `visit` does of products.

        The slopes' sums are the products for the intercept, if there is one.
        """
        cdef Py_ssize_t n_blocks, i, lane, at = self.n_features
        cdef double *x = <double *>self.step.x
        self.step.l2 = &l2[0]
        share_blocks(&self.plan, visit_column_blocks, self.n_features,
                     product_work(&self.columns.matrix, self.step.lanes), n_threads)
        n_blocks = self.plan.n_blocks
        for lane in range(self.lanes):
            for i in range(COLUMN_SUMS):
                out[i, lane] = sum_of_blocks(self.sums + i * self.lanes + lane, n_blocks,
                                             COLUMN_SUMS * self.lanes)
            if self.step.has_intercept:
                out[0, lane] += (x[at * self.lanes + lane]
                                 * self.step.product[at * self.lanes + lane])

    def move_residuals(self, const double[:, ::1] factors, const double[::1] l2,
                       const double[::1] scales, double[:, ::1] out, int n_threads):
        """Make residuals `keep` of themselves and `take` of the products; write their squares, and
        those divided by the scales."""
        cdef Py_ssize_t i, lane
        self.motion.keep, self.motion.take = &factors[0, 0], &factors[1, 0]
        self.motion.l2, self.motion.scales = &l2[0], &scales[0]
        share_blocks(&self.plan, move_residual_blocks, self.n_params,
                     MOVE_WORK * self.n_params * self.lanes, n_threads)
        for i in range(MOVE_SUMS):
            for lane in range(self.lanes):
                out[i, lane] = sum_of_blocks(self.sums + i * self.lanes + lane,
                                             self.plan.n_blocks, MOVE_SUMS * self.lanes)

    def move_directions(self, const double[:, ::1] factors, const double[::1] l2,
                        const double[::1] scales, int n_threads):
        """Make steps, thetas, and what is multiplied next: factors are those of `SparseMove`, from
        `grow` on."""
        cdef Py_ssize_t lane
        cdef SparseMove *motion = &self.motion
        motion.grow, motion.along, motion.turn, motion.down = (
            &factors[0, 0], &factors[1, 0], &factors[2, 0], &factors[3, 0])
        motion.base, motion.whole, motion.accept = &factors[4, 0], &factors[5, 0], &factors[6, 0]
        motion.l2, motion.scales, motion.any_theta = &l2[0], &scales[0], False
        for lane in range(self.lanes):
            motion.any_theta |= factors[4, lane] != 0 or factors[6, lane] != 0
        share_blocks(&self.plan, move_direction_blocks, self.n_params,
                     MOVE_WORK * self.n_params * self.lanes, n_threads)


# Numbers of rows of which slopes are made between two looks at signals.
cdef Py_ssize_t TURNED_AT_ONCE = 5_000_000


def turn_margins(const double[:, :, ::1] probabilities, const double[::1] weights,
                 double[:, :, :] slopes):
    """Turn the products of directions with rows, z[group][row][lane] for classes in lanes of
    groups, into weight p_k (z_k - sum over l of p_l z_l), the product of a row's Hessian."""
    cdef Py_ssize_t n_groups = slopes.shape[0], lanes = slopes.shape[2], row = 0, last, g, k
    cdef Py_ssize_t n_rows = weights.shape[0]
    cdef double mean, weight
    while row < n_rows:
        last = min(n_rows, row + TURNED_AT_ONCE // (n_groups * lanes) + 1)
        with nogil:
            while row < last:
                mean, weight = 0, weights[row]
                for g in range(n_groups):
                    for k in range(lanes):
                        mean += probabilities[g, row, k] * slopes[g, row, k]
                for g in range(n_groups):
                    for k in range(lanes):
                        slopes[g, row, k] = weight * (
                            probabilities[g, row, k] * (slopes[g, row, k] - mean))
                row += 1
        PyErr_CheckSignals()
