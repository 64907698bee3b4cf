# The rows that models share which differ in weights and labels, as Python holds them. Needs
# table.pxi, rows.pxi, newton.pxi and lanes.pxi.

from libc.string cimport memset

# Bytes of sums of Hessians that stay in a cache while rows pass by.
cdef Py_ssize_t CACHED_SUMS = 512 * 1024
# Curvatures of the rows of some blocks, in each lane.
cdef Py_ssize_t HESSIAN_SCRATCH = LANE_HESSIAN_BLOCKS * PANEL * PANELS_PER_BLOCK


cdef class LaneRows:
    """Rows that models share, and the weights and labels that each of them has.

    Parameters
    ----------
    rows : PackedRows
        In double precision; z is x . theta, or, where they are turned, that of each row's label.
    row_at : array of shape (n_positions,)
        Number of the row at each position of the panels, -1 for none.
    weights : array of shape (n_weights, n_samples), or None
        One byte or float64.
    codes : array of bytes of shape (n_codes, n_samples)
        1 where the label is the greater one.
    fold : array of shape (n_samples,), or None
    weight_of, code_of, left_out : arrays of shape (M,)
        Which weights and codes a model has, and the fold that it leaves out.
    factors : array of shape (M, 2)
        What weights of rows of both labels are multiplied by.
    are_turned : bool
        Whether rows of the greater label are multiplied by -1; there is one row of codes then.
    """
    cdef PackedRows rows
    cdef LaneData data
    cdef object kept
    cdef Py_ssize_t n_models

    def __init__(self, PackedRows rows, const Py_ssize_t[::1] row_at, weights,
                 const unsigned char[:, ::1] codes, const Py_ssize_t[::1] fold,
                 const Py_ssize_t[::1] weight_of, const Py_ssize_t[::1] code_of,
                 const Py_ssize_t[::1] left_out, const double[:, ::1] factors,
                 bint are_turned):
        cdef const unsigned char[:, ::1] bytes_of
        cdef const double[:, ::1] numbers_of
        memset(&self.data, 0, sizeof(LaneData))
        self.rows, self.n_models = rows, weight_of.shape[0]
        self.kept = (row_at, weights, codes, fold, weight_of, code_of, left_out, factors)
        self.data.row_at, self.data.n_positions = &row_at[0], row_at.shape[0]
        self.data.n_samples, self.data.codes = codes.shape[1], &codes[0, 0]
        if weights is not None and weights.itemsize == 1:
            bytes_of = weights
            self.data.bytes = &bytes_of[0, 0]
        elif weights is not None:
            numbers_of = weights
            self.data.weights = &numbers_of[0, 0]
        if fold is not None:
            self.data.fold = &fold[0]
        self.data.weight_of, self.data.code_of = &weight_of[0], &code_of[0]
        self.data.left_out, self.data.factors = &left_out[0], &factors[0, 0]
        self.data.are_turned = are_turned

    def class_sums(self, Py_ssize_t n_folds, double[:, :, ::1] sums):
        """Add the weights of both labels in each fold to sums[model], before any factor."""
        cdef Py_ssize_t model, row, fold = 0, total, greater
        cdef const unsigned char *codes
        cdef const unsigned char *bytes
        cdef double weight = 1
        with nogil:
            for model in range(self.n_models):
                codes = self.data.codes + self.data.code_of[model] * self.data.n_samples
                if self.data.bytes != NULL and self.data.fold == NULL:
                    # Whole numbers, that no sum waits for the one before it to be stored.
                    bytes = self.data.bytes + self.data.weight_of[model] * self.data.n_samples
                    total = greater = 0
                    for row in range(self.data.n_samples):
                        total += bytes[row]
                        greater += bytes[row] * codes[row]
                    sums[model, 0, 0] += total - greater
                    sums[model, 0, 1] += greater
                    continue
                for row in range(self.data.n_samples):
                    if self.data.bytes != NULL:
                        weight = self.data.bytes[
                            self.data.weight_of[model] * self.data.n_samples + row]
                    elif self.data.weights != NULL:
                        weight = self.data.weights[
                            self.data.weight_of[model] * self.data.n_samples + row]
                    if self.data.fold != NULL:
                        fold = self.data.fold[row]
                    sums[model, fold, codes[row]] += weight

    cdef void plan(self, LanePlan *plan, LaneTask task, const Py_ssize_t[::1] which,
                   const double[:, ::1] thetas):
        memset(plan, 0, sizeof(LanePlan))
        plan.kernels, plan.rows, plan.data = self.rows.kernels, &self.rows.rows, &self.data
        plan.task, plan.which, plan.n_which = task, &which[0], which.shape[0]
        plan.thetas, plan.n_blocks = &thetas[0, 0], self.rows.block_rows.shape[0]
        plan.n_spans = (plan.n_blocks + BLOCKS_PER_SPAN - 1) // BLOCKS_PER_SPAN

    cdef void plan_hessians(self, LanePlan *plan, Py_ssize_t stride, double[:, ::1] hessians):
        cdef Py_ssize_t n = plan.rows.n_params, step = LANE_HESSIAN_BLOCKS * stride
        plan.stride, plan.hessians = stride, &hessians[0, 0]
        plan.n_hessian_spans = (plan.n_blocks + step - 1) // step
        plan.n_parts = min(n, (pair_of(n, n) * plan.kernels.lanes * <Py_ssize_t>sizeof(double)
                               + CACHED_SUMS - 1) // CACHED_SUMS)

    def losses(self, const Py_ssize_t[::1] which, const double[:, ::1] thetas, bint held_out,
               double[::1] losses, double[::1] wrong, int n_threads):
        """Write the sums of the losses of some models at their thetas, and of the weights of the
        rows that they decide wrong: of the rows of the fold that each leaves out, or the others."""
        cdef LanePlan plan
        if not which.shape[0]:
            return
        self.plan(&plan, LANE_LOSSES, which, thetas)
        plan.held_out, plan.losses, plan.wrong = held_out, &losses[0], &wrong[0]
        run_lanes(&plan, 2, 0, plan.rows.n_params + 40, 1, n_threads)

    def gradients(self, const Py_ssize_t[::1] which, const double[:, ::1] thetas, bint held_out,
                  double[:, ::1] gradients, int n_threads):
        """Write the sums of the gradients of some models' losses at their thetas, of rows as
        `losses` has them."""
        cdef LanePlan plan
        if not which.shape[0]:
            return
        self.plan(&plan, LANE_GRADIENTS, which, thetas)
        cdef Py_ssize_t n = plan.rows.n_params
        plan.held_out, plan.gradients = held_out, &gradients[0, 0]
        run_lanes(&plan, n, n, 2 * n + 20, 1, n_threads)

    def hessians(self, const Py_ssize_t[::1] which, const double[:, ::1] thetas, Py_ssize_t stride,
                 double[:, ::1] hessians, int n_threads):
        """Write the sums of weight * loss'' x x' of some models at their thetas, of one block in
        `stride`: a row of pairs each."""
        cdef LanePlan plan
        cdef Py_ssize_t n = self.rows.rows.n_params
        if not which.shape[0]:
            return
        self.plan(&plan, LANE_HESSIANS, which, thetas)
        self.plan_hessians(&plan, stride, hessians)
        run_lanes(&plan, pair_of(n, n), HESSIAN_SCRATCH,
                  (<double>pair_of(n, n) / plan.n_parts + 2 * n + 40) / 2, 1, n_threads)

    def quasi_newton(self, const Py_ssize_t[::1] which, const double[:, ::1] thetas,
                     const double[:, ::1] metrics, const Py_ssize_t[::1] metric_of,
                     const double[:, ::1] penalties, const double[:, ::1] centres,
                     const double[::1] inverse_totals, double wanted, Py_ssize_t most,
                     Py_ssize_t stride, double[:, ::1] found, double[:, ::1] gradients,
                     Py_ssize_t[::1] n_iter, double[::1] losses, double[:, ::1] hessians,
                     int n_threads):
        """Take steps of L-BFGS from thetas, until what a step promises is at most `wanted`, no
        steps lead on, or there were `most`: write where some models are then, and the gradients;
        and the sums of losses there, and of weight * loss'' x x' of one block in `stride`.

        Of all models, by number: metrics[metric_of] are the factors of matrices like their
        Hessians, in pairs; penalties of infinity leave a parameter where it is.
        """
        cdef LanePlan plan
        cdef Py_ssize_t n = self.rows.rows.n_params
        if not which.shape[0]:
            return
        self.plan(&plan, LANE_DESCENT, which, thetas)
        plan.metrics, plan.metric_of = &metrics[0, 0], &metric_of[0]
        plan.penalties, plan.centres = &penalties[0, 0], &centres[0, 0]
        plan.inverse_totals, plan.wanted, plan.most = &inverse_totals[0], wanted, most
        plan.found, plan.gradients, plan.n_iter = &found[0, 0], &gradients[0, 0], &n_iter[0]
        plan.losses = &losses[0]
        self.plan_hessians(&plan, stride, hessians)
        # In units of a number of every lane; see `begin_lane_steps`.
        cdef Py_ssize_t memory = 7 * n + LANE_PAIRS_KEPT * (2 * n + 2) + 9
        if metrics.shape[0] > 1:
            memory += pair_of(n, n)
        run_lanes(&plan, pair_of(n, n), max(memory, HESSIAN_SCRATCH), 2 * n + 20, 15, n_threads)
