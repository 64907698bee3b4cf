# Steps of L-BFGS for softmax regressions of many training sets at once, whose pairs are kept from
# one penalty to the next. Needs table.pxi, plan.pxi, softmax_rows.pxi, courses.pxi, products.pxi
# and directions.pxi.

cimport cython
from libc.math cimport INFINITY, fabs, isfinite
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# Least product of the images of a step and of the change of the gradient, whose largest entries are
# from 1/2 to 1: below, it may be nothing but rounding.
cdef double STRAIGHT = 1e-10
# Part of the target that a smoothed gradient has to promise before a pass is spent on it, and part
# of that where it has promised too much.
cdef double TRUST = 0.5
cdef double LESS_TRUST = 0.25


cdef enum StepsEnd:
    # How the steps of a model end, as fitting/softmax.py has it: the gradient is as small as was
    # asked for, there were as many as may be, or none leads downhill.
    NEAR
    LATE
    STUCK


cdef struct Attempt:
    # Models that try a step, in order: numbers, thetas, and what is found there; infinity for those
    # that were lost.
    Py_ssize_t n
    Py_ssize_t *models
    double *thetas
    double *gradients
    double *losses
    double *lost
    double *factors
    double *totals
    double *l2


cdef double *room(char **at, Py_ssize_t count) noexcept nogil:
    """Return where so many numbers have room, and go behind it."""
    cdef double *found = <double *>at[0]
    at[0] += aligned(count * sizeof(double))
    return found


# It holds arrays that Python sees, and rows that cannot be pickled.
@cython.auto_pickle(False)
cdef class SoftmaxSteps:
    """L-BFGS of softmax regressions, one of each training set.

    Parameters
    ----------
    n_classes, n_features : int
    factors : array of shape (n_sets, n_strata)
    totals, l2, losses : arrays of shape (n_sets,)
    thetas, gradients : arrays of shape (n_sets, n_params)
        What belongs together, as `SoftmaxRows.evaluate` has it: `run` moves it.
    steps, changes : arrays of shape (n_sets, capacity, n_params), single precision
    intercepts : array of shape (n_sets, capacity, n_classes), single precision
    numbers : array of shape (5, n_sets, capacity)
        Room for pairs.
    ring : array of zeros of shape (2, n_sets), int
        The first pair of each model, and how many there are.

    Attributes
    ----------
    n_passes : int
        How many times a model was evaluated.
    """
    cdef Py_ssize_t n_classes, n_features
    cdef const double[:, ::1] factors
    cdef const double[::1] totals
    cdef const double[::1] l2
    cdef double[::1] losses
    cdef double[:, ::1] thetas
    cdef double[:, ::1] gradients
    cdef float[:, :, ::1] steps
    cdef float[:, :, ::1] changes
    cdef float[:, :, ::1] intercepts
    # Of each pair: the products of the step with the change and, of penalised parameters, with
    # itself, ratio, tilt, curvature.
    cdef double[:, :, ::1] numbers
    cdef Py_ssize_t[:, ::1] ring
    cdef readonly Py_ssize_t n_passes

    def __init__(self, Py_ssize_t n_classes, Py_ssize_t n_features, const double[:, ::1] factors,
                 const double[::1] totals, const double[::1] l2, double[::1] losses,
                 double[:, ::1] thetas, double[:, ::1] gradients, float[:, :, ::1] steps,
                 float[:, :, ::1] changes, float[:, :, ::1] intercepts,
                 double[:, :, ::1] numbers, Py_ssize_t[:, ::1] ring):
        self.n_classes, self.n_features, self.factors = n_classes, n_features, factors
        self.totals, self.l2, self.losses = totals, l2, losses
        self.thetas, self.gradients, self.steps, self.changes = thetas, gradients, steps, changes
        self.intercepts, self.numbers, self.ring, self.n_passes = intercepts, numbers, ring, 0

    def run(self, SoftmaxRows rows, const Py_ssize_t[::1] which, const double[:, :, ::1] inverses,
            const Py_ssize_t[::1] inverse_of, const double[::1] targets, Py_ssize_t most,
            double rounding, int patience, int halvings, Py_ssize_t[::1] n_steps,
            Py_ssize_t[::1] ends, int n_threads):
        """Take steps with some models until each has ended, and write how in `ends`.

        Gaps are to be at most `targets`, times losses above 1, as gradients promise them. `n_steps`
        are added to, up to `most`. Losses may grow by the part `rounding` of them, and no progress
        beyond it is borne with for `patience` steps; a step is halved so many times at most.
        """
        cdef StepsPlan plan
        cdef Attempt tried
        cdef Py_ssize_t n_active = which.shape[0], kept, i, model
        cdef char *at = NULL
        self.plan(&plan, inverses, inverse_of, targets)
        n_threads = min(n_threads, max(1, n_active))
        self.lay_out(&plan, &tried, &at, n_threads, n_active)
        cdef char *memory = <char *>malloc(ALIGNMENT + (at - <char *>NULL))
        if memory == NULL:
            raise MemoryError
        at = <char *>aligned(<Py_ssize_t><uintptr_t>memory)
        self.lay_out(&plan, &tried, &at, n_threads, n_active)
        try:
            for i in range(n_active):
                model = plan.active[i] = which[i]
                plan.smallest[model], plan.idle[model], plan.trust[model] = INFINITY, 0, TRUST
                self.begin_smoothing(&plan, model, &self.thetas[model, 0],
                                     &self.gradients[model, 0])
                for kept in range(self.ring[1, model]):
                    self.tilt(&plan, model, kept)
            while True:
                self.find_directions(&plan, n_active, n_threads)
                self.try_smooth(rows, &plan, &tried, n_active, n_threads)
                kept = 0
                for i in range(n_active):
                    model = plan.active[i]
                    if has_arrived(&plan, model):
                        ends[model] = NEAR
                    elif n_steps[model] >= most:
                        ends[model] = LATE
                    else:
                        plan.active[kept] = tried.models[kept] = model
                        plan.before[model] = self.losses[model]
                        kept += 1
                n_active = tried.n = kept
                if not n_active:
                    return
                self.try_steps(rows, &plan, &tried, rounding, halvings, n_threads)
                for i in range(tried.n):
                    plan.idle[tried.models[i]] = patience
                kept = 0
                for i in range(n_active):
                    model = plan.active[i]
                    n_steps[model] += 1
                    if is_idle(&plan, model, rounding, patience):
                        ends[model] = STUCK
                    else:
                        plan.active[kept] = model
                        kept += 1
                n_active = kept
        finally:
            free(memory)

    cdef void plan(self, StepsPlan *plan, const double[:, :, ::1] inverses,
                   const Py_ssize_t[::1] inverse_of, const double[::1] targets) noexcept:
        plan.kernels, plan.n = table(0, False), self.thetas.shape[1]
        plan.n_classes, plan.n_features = self.n_classes, self.n_features
        plan.n_columns, plan.capacity = plan.n // plan.n_classes, self.steps.shape[1]
        plan.n_rows, plan.inverses = inverses.shape[1], &inverses[0, 0, 0]
        plan.inverse_of, plan.targets = &inverse_of[0], &targets[0]
        plan.steps, plan.changes = &self.steps[0, 0, 0], &self.changes[0, 0, 0]
        plan.intercepts = &self.intercepts[0, 0, 0]
        plan.ratios, plan.tilts = &self.numbers[2, 0, 0], &self.numbers[3, 0, 0]
        plan.curvatures = &self.numbers[4, 0, 0]
        plan.firsts, plan.counts = &self.ring[0, 0], &self.ring[1, 0]
        plan.losses, plan.thetas, plan.gradients, plan.l2 = (
            &self.losses[0], &self.thetas[0, 0], &self.gradients[0, 0], &self.l2[0])

    cdef void lay_out(self, StepsPlan *plan, Attempt *tried, char **at, int n_threads,
                      Py_ssize_t count) noexcept:
        """Lay out what steps need beside the arrays, from `at` on."""
        cdef Py_ssize_t n_sets = self.thetas.shape[0], n = plan.n
        plan.gaps, plan.slopes = room(at, n_sets), room(at, n_sets)
        plan.directions = room(at, n_sets * n)
        plan.before, plan.smallest = room(at, n_sets), room(at, n_sets)
        plan.idle = <Py_ssize_t *>room(at, n_sets)
        plan.smooth_thetas, plan.smooth_gradients = room(at, n_sets * n), room(at, n_sets * n)
        plan.smooth_gaps, plan.trust = room(at, n_sets), room(at, n_sets)
        plan.active = <Py_ssize_t *>room(at, count)
        tried.models = <Py_ssize_t *>room(at, count)
        tried.thetas, tried.gradients = room(at, count * n), room(at, count * n)
        tried.losses, tried.lost = room(at, count), room(at, count)
        tried.factors = room(at, count * self.factors.shape[1])
        tried.totals, tried.l2 = room(at, count), room(at, count)
        plan.scratch_size = aligned(
            (plan.capacity + n + (plan.n_columns + ROWS_AT_ONCE) * plan.kernels.lanes)
            * sizeof(double)) // sizeof(double)
        plan.scratch = room(at, n_threads * plan.scratch_size)

    cdef void tilt(self, const StepsPlan *plan, Py_ssize_t model, Py_ssize_t i) noexcept:
        """Give a pair the model's penalty."""
        cdef double tilt = self.l2[model] * self.numbers[2, model, i]
        cdef double curvature = self.numbers[0, model, i] + tilt * self.numbers[1, model, i]
        cdef Pairs pairs
        find_pairs(plan, model, &pairs)
        plan.kernels.tilt_pair(&pairs, i, tilt)
        self.numbers[3, model, i] = tilt
        self.numbers[4, model, i] = (
            curvature if curvature > STRAIGHT and isfinite(curvature) else 0)

    cdef void find_directions(self, const StepsPlan *plan, Py_ssize_t n_active, int n_threads):
        cdef double work = 0
        cdef Py_ssize_t i
        for i in range(n_active):
            work += plan.n * (4 * PAIR_WORK * plan.counts[plan.active[i]]
                              + min(plan.n_rows, plan.n_columns))
        n_threads = metaopt_team(n_threads, work)
        with nogil:
            metaopt_share[StepsPlan](find_direction, plan, n_active, n_threads, work)

    cdef void begin_smoothing(self, const StepsPlan *plan, Py_ssize_t model, const double *theta,
                              const double *gradient) noexcept:
        memcpy(plan.smooth_thetas + model * plan.n, theta, plan.n * sizeof(double))
        memcpy(plan.smooth_gradients + model * plan.n, gradient, plan.n * sizeof(double))

    cdef int try_smooth(self, SoftmaxRows rows, const StepsPlan *plan, Attempt *tried,
                        Py_ssize_t n_active, int n_threads) except -1:
        """Go where smoothed gradients are short enough, if the gradients there are."""
        cdef Py_ssize_t n = plan.n, i, model
        cdef double gap
        tried.n = 0
        for i in range(n_active):
            model = plan.active[i]
            if plan.smooth_gaps[model] <= (plan.trust[model] * plan.targets[model]
                                           * max(1.0, self.losses[model])):
                memcpy(tried.thetas + tried.n * n, plan.smooth_thetas + model * n,
                       n * sizeof(double))
                tried.models[tried.n] = model
                self.describe(tried, tried.n)
                tried.n += 1
        if not tried.n or not rows.evaluate_models(
                tried.n, tried.thetas, tried.factors, tried.totals, tried.l2, tried.losses,
                tried.gradients, n_threads):
            return 0
        self.n_passes += tried.n
        for i in range(tried.n):
            model = tried.models[i]
            gap = promised_gap(plan, model, tried.gradients + i * n, plan.scratch)
            if gap <= plan.targets[model] * max(1.0, tried.losses[i]):
                plan.gaps[model] = gap
                self.go_to(plan, tried, i)
            else:
                plan.trust[model] *= LESS_TRUST
                self.begin_smoothing(plan, model, tried.thetas + i * n, tried.gradients + i * n)
        return 0

    cdef void describe(self, Attempt *tried, Py_ssize_t i) noexcept:
        """Write what is trained on of the i-th model that tries."""
        cdef Py_ssize_t n_strata = self.factors.shape[1], model = tried.models[i]
        memcpy(tried.factors + i * n_strata, &self.factors[model, 0], n_strata * sizeof(double))
        tried.totals[i], tried.l2[i], tried.lost[i] = self.totals[model], self.l2[model], 0

    cdef int try_steps(self, SoftmaxRows rows, const StepsPlan *plan, Attempt *tried,
                       double rounding, int halvings, int n_threads) except -1:
        """Move the models that try along their directions: those are left that no step moves."""
        cdef Py_ssize_t kept, i, model
        cdef double size = 1, most
        cdef int _
        for _ in range(halvings):
            self.propose(plan, tried, size)
            if not rows.evaluate_models(tried.n, tried.thetas, tried.factors, tried.totals,
                                        tried.l2, tried.losses, tried.gradients, n_threads):
                return 0
            self.n_passes += tried.n
            kept = 0
            for i in range(tried.n):
                model = tried.models[i]
                most = (self.losses[model] + ARMIJO * size * plan.slopes[model]
                        + rounding * fabs(self.losses[model]))
                if tried.losses[i] + tried.lost[i] <= most:
                    self.go_to(plan, tried, i)
                else:
                    tried.models[kept] = model
                    kept += 1
            tried.n = kept
            if not kept:
                return 0
            size /= 2
        return 0

    cdef void propose(self, const StepsPlan *plan, Attempt *tried, double size) noexcept:
        """Write what the models try: zeros of those that are lost."""
        cdef Py_ssize_t n = plan.n, i, j, model
        cdef double *theta
        cdef double sum
        for i in range(tried.n):
            model, theta, sum = tried.models[i], tried.thetas + i * n, 0
            for j in range(n):
                theta[j] = self.thetas[model, j] + size * plan.directions[model * n + j]
                sum += theta[j] - theta[j]
            self.describe(tried, i)
            if sum != 0:
                tried.lost[i] = INFINITY
                memset(theta, 0, n * sizeof(double))

    cdef void go_to(self, const StepsPlan *plan, const Attempt *tried, Py_ssize_t i) noexcept:
        """Move a model to what it tries, and keep the pair."""
        cdef Py_ssize_t n = plan.n, model = tried.models[i], j, position
        cdef const double *theta = tried.thetas + i * n
        cdef const double *gradient = tried.gradients + i * n
        cdef double *step = plan.directions + model * n
        cdef double *change = plan.scratch
        cdef Pairs pairs
        for j in range(n):
            step[j] = theta[j] - self.thetas[model, j]
            change[j] = gradient[j] - self.gradients[model, j]
        memcpy(&self.thetas[model, 0], theta, n * sizeof(double))
        memcpy(&self.gradients[model, 0], gradient, n * sizeof(double))
        self.losses[model] = tried.losses[i]
        position = (self.ring[0, model] + self.ring[1, model]) % plan.capacity
        if self.ring[1, model] == plan.capacity:
            self.ring[0, model] = (self.ring[0, model] + 1) % plan.capacity
        else:
            self.ring[1, model] += 1
        find_pairs(plan, model, &pairs)
        self.numbers[2, model, position] = plan.kernels.keep_pair(
            &pairs, self.l2[model], position, step, change, &self.numbers[0, model, position],
            &self.numbers[1, model, position])
        self.tilt(plan, model, position)
