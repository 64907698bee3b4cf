# Rows of softmax regressions as Python holds them. Needs table.pxi, evaluate.pxi, rows.pxi,
# softmax_groups.pxi and softmax.pxi.

cimport cython
from libc.math cimport frexp, ldexp
from libc.stdlib cimport free, malloc
from libc.string cimport memset


# It is made anew from packed rows, which are pickled.
@cython.auto_pickle(False)
cdef class SoftmaxRows:
    """Rows in blocks of one stratum each, and so of one class, for softmax regressions.

    Parameters
    ----------
    rows : PackedRows
        Any loss, weight and penalty of its own count for nothing.
    strata : array of shape (n_blocks,), int
        The fold of the rows times n_classes, and their class.
    n_classes, n_strata : int
    """
    cdef PackedRows rows
    cdef const int[::1] strata
    cdef Py_ssize_t n_classes, n_strata, n_parts, n_spans
    cdef Py_ssize_t *spans

    def __init__(self, PackedRows rows, const int[::1] strata, Py_ssize_t n_classes,
                 Py_ssize_t n_strata):
        cdef Py_ssize_t n_folds = n_strata // n_classes, n_blocks = strata.shape[0], block
        self.rows, self.strata, self.n_classes, self.n_strata = rows, strata, n_classes, n_strata
        self.n_parts = n_folds if n_folds <= MOST_PARTS else 1
        free(self.spans)
        self.spans = <Py_ssize_t *>malloc((n_blocks + 1) * sizeof(Py_ssize_t))
        if self.spans == NULL:
            raise MemoryError
        self.n_spans = self.spans[0] = 0
        for block in range(1, n_blocks + 1):
            if (block == n_blocks or block - self.spans[self.n_spans] == BLOCKS_PER_SPAN
                    or self.n_parts > 1 and strata[block] // n_classes
                    != strata[block - 1] // n_classes):
                self.n_spans += 1
                self.spans[self.n_spans] = block

    def __dealloc__(self):
        free(self.spans)

    cdef void plan(self, SoftmaxPlan *plan, Py_ssize_t n_models, const double *thetas,
                   const double *factors, int n_threads) noexcept:
        memset(plan, 0, sizeof(SoftmaxPlan))
        plan.kernels, plan.rows = self.rows.kernels, &self.rows.rows
        plan.evaluate = plan.kernels.evaluate_softmax
        plan.n_params, plan.n_penalised = self.rows.rows.n_params, self.rows.n_penalised
        plan.n_classes, plan.n_strata = self.n_classes, self.n_strata
        plan.n_models, plan.n_parts = n_models, self.n_parts
        plan.spans, plan.n_all_spans = self.spans, self.n_spans
        plan.strata, plan.thetas, plan.factors = &self.strata[0], thetas, factors
        plan.unit, plan.n_sums, plan.n_threads = 1, 1, n_threads
        plan.on_disk = self.rows.on_disk

    def evaluate(self, const double[:, ::1] thetas, const double[:, ::1] factors,
                 const double[::1] totals, const double[::1] l2, double[::1] losses,
                 double[:, ::1] gradients, int n_threads):
        """Write the loss of each theta, all classes' one after the other, and, unless None, its
        gradient.

        The rows of stratum s weigh factors[model, s] times as much, which is not 0 of all, and
        `totals` in all. Returns False where a theta is not finite in the rows' precision.
        """
        cdef double *slopes = NULL
        if gradients is not None:
            slopes = &gradients[0, 0]
        return self.evaluate_models(thetas.shape[0], &thetas[0, 0], &factors[0, 0], &totals[0],
                                    &l2[0], &losses[0], slopes, n_threads)

    cdef bint evaluate_models(self, Py_ssize_t n, const double *thetas, const double *factors,
                              const double *totals, const double *l2, double *losses,
                              double *gradients, int n_threads) except -1:
        """Do what `evaluate` does, for so many models."""
        cdef SoftmaxPlan plan
        cdef Py_ssize_t i
        self.plan(&plan, n, thetas, factors, n_threads)
        plan.totals, plan.l2, plan.sums = totals, l2, losses
        cdef unsigned char *is_lost = <unsigned char *>malloc(n)
        if is_lost == NULL:
            raise MemoryError
        memset(is_lost, 0, n)
        plan.is_lost = is_lost
        if gradients != NULL:
            plan.gradients, plan.asked = gradients, GRADIENTS
        try:
            if not run_softmax(&plan):
                return False
            for i in range(n):
                if is_lost[i] or losses[i] != losses[i]:
                    self.evaluate_again(&plan, i)
        finally:
            free(is_lost)
        return True

    cdef int evaluate_again(self, const SoftmaxPlan *asked, Py_ssize_t model) except -1:
        """Evaluate a model whose sums left the range, with weights far below 1."""
        cdef SoftmaxPlan plan = asked[0]
        cdef int exponent
        cdef double loss = asked.sums[model]
        cdef unsigned char is_lost
        frexp(plan.totals[model], &exponent)
        plan.unit = ldexp(1, -max(exponent, 0) - 8)
        plan.n_models, plan.sums, plan.is_lost = 1, &loss, &is_lost
        plan.thetas += model * plan.n_classes * plan.n_params
        plan.factors += model * plan.n_strata
        plan.totals += model
        plan.l2 += model
        if plan.gradients != NULL:
            plan.gradients += model * plan.n_classes * plan.n_params
        run_softmax(&plan)
        if asked.sums[model] != asked.sums[model]:
            asked.sums[model] = loss
        return 0

    def count(self, const double[:, ::1] thetas, const double[:, ::1] factors,
              double[:, :, ::1] counts, int n_threads):
        """Write the weight of the rows of each class and predicted class, for each theta.

        The largest margin decides, of equal ones the first. Returns as `evaluate` does.
        """
        cdef SoftmaxPlan plan
        self.plan(&plan, thetas.shape[0], &thetas[0, 0], &factors[0, 0], n_threads)
        plan.asked, plan.evaluate = PREDICTIONS, plan.kernels.count_predictions
        plan.n_sums, plan.sums = self.n_classes * self.n_classes, &counts[0, 0, 0]
        return run_softmax(&plan)

    def covariances(self, const double[:, ::1] thetas, const double[:, ::1] factors,
                    double[:, :, ::1] sums, int n_threads):
        """Write the sums of p p', p the probabilities of a row, for each theta.

        What is above the diagonals is left 0. Rows are double precision; returns as `evaluate`.
        """
        cdef SoftmaxPlan plan
        self.plan(&plan, thetas.shape[0], &thetas[0, 0], &factors[0, 0], n_threads)
        plan.asked, plan.evaluate = COVARIANCES, plan.kernels.add_covariances
        plan.n_sums, plan.sums = self.n_classes * self.n_classes, &sums[0, 0, 0]
        return run_softmax(&plan)
