# What kernels of sparse rows, of descents in lanes and of tasks are handed, as the C++ headers
# declare it. Needs nothing.

cdef extern from "kernels.hpp" namespace "metaopt" nogil:
    enum: SPARSE_LANES
    enum: ROW_SUMS
    enum: COLUMN_SUMS
    enum: MOVE_SUMS

    struct Sparse:
        const Py_ssize_t *starts
        const int *places
        const double *numbers
        Py_ssize_t n_lines

    struct SparseStep:
        Sparse rows, columns
        const double *signs
        const double *weights
        const int *strata
        const double *factors
        const double *asked
        const double *l2
        const double *x
        double *curvatures
        double *slopes
        double *product
        double *row_sums
        double *column_sums
        int lanes, any_asked, has_intercept

    struct SparseMove:
        double *x
        double *product
        double *residual
        double *step
        double *theta
        const double *sizes
        const double *scales
        const double *l2
        const double *keep
        const double *take
        const double *grow
        const double *along
        const double *turn
        const double *down
        const double *base
        const double *whole
        const double *accept
        double *sums
        Py_ssize_t n, n_penalised
        int lanes, any_theta

    struct LaneDescent:
        Py_ssize_t n, capacity, count, newest
        int is_shared
        const double *metric
        const double *penalties
        const double *centres
        const double *inverse_totals
        const double *wanted
        const double *most
        double *theta
        double *gradient
        double *trial
        double *trial_gradient
        double *direction
        double *scratch
        double *steps
        double *changes
        double *inverse_curvatures
        double *alphas
        double *slopes
        double *least
        double *sizes
        double *active
        double *idle
        double *asked

    enum: TASK_FIT
    enum: TASK_EVALUATE
    enum: TASK_SOLVE

    struct TaskTile:
        Py_ssize_t n_rows
        Py_ssize_t n_params
        double wanted
        double most
        double *x
        double *signed_weights
        double *inverse_totals
        double *penalties
        double *centres
        double *theta
        double *gradient
        double *trial
        double *trial_gradient
        double *step
        double *matrix
        double *curvatures
        double *ones
        double *scratch
        double *losses
        double *squares
        double *radii
        double *inflations
        double *n_steps
