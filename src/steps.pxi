# Newton steps of a single model. Needs plan.pxi, evaluate.pxi, rows.pxi, newton.pxi, systems.pxi
# and courses.pxi.

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# The loss of a theta of zeros, and a hair more.
cdef double LOSS_AT_ZERO = 0.6931472
# The steps end where an old Hessian says that the decrement is below this part of tol.
cdef double ENOUGH = 0.9


cdef class Walk:
    """A model on its way to its optimum: where it is, and where its last Hessian leads."""
    cdef PackedRows rows
    cdef Py_ssize_t n
    cdef int n_threads, patience
    # The objective, how far the last step made it fall and all have gone since the Hessian was
    # taken, and how the loss falls along the next one.
    cdef double l2, loss, fall, distance, slope
    cdef bint has_last
    # In one piece of memory.
    cdef double *memory
    cdef double *theta
    cdef double *next_theta
    cdef double *next_gradient
    cdef Step here, last
    # Where the Hessian was taken.
    cdef double[::1] origin
    cdef double[:, ::1] hessian
    cdef double *factor

    def __cinit__(self, PackedRows rows, const double[::1] theta, double l2,
                  double[:, ::1] hessian, double[::1] origin, int n_threads):
        cdef Py_ssize_t n = theta.shape[0]
        cdef double *at
        self.rows, self.n, self.l2, self.n_threads = rows, n, l2, n_threads
        self.patience = evaluations_of_hessian(rows)
        self.hessian, self.origin = hessian, origin
        self.memory = at = <double *>malloc((9 * n + pair_of(n, n)) * sizeof(double))
        if at == NULL:
            raise MemoryError
        self.theta, self.next_theta, self.next_gradient = at, at + n, at + 2 * n
        self.here.gradient, self.here.newton, self.here.step = at + 3 * n, at + 4 * n, at + 5 * n
        self.last.gradient, self.last.newton, self.last.step = at + 6 * n, at + 7 * n, at + 8 * n
        self.factor = at + 9 * n
        memcpy(self.theta, &theta[0], n * sizeof(double))
        self.loss, self.fall = self.evaluate_at(self.theta, self.here.gradient), INFINITY
        # Far off, Hessians vanish.
        if not self.loss <= LOSS_AT_ZERO:
            memset(self.theta, 0, n * sizeof(double))
            self.loss = self.evaluate_at(self.theta, self.here.gradient)

    def __dealloc__(self):
        free(self.memory)

    cdef double evaluate_at(self, const double *theta, double *gradient) except -1.0:
        """Write the gradient at a theta, and return the objective: infinite where it has none."""
        cdef Plan plan
        cdef int n_threads = self.n_threads
        cdef double loss
        if work(self.rows.n_rows, self.n) < SERIAL_WORK:
            n_threads = 1
        self.rows.plan_for(&plan, 1, &loss, n_threads)
        plan.thetas, plan.gradients, plan.l2 = theta, gradient, self.l2
        return loss if evaluate(&plan) and loss >= 0 else INFINITY

    cdef double renew(self) except -1.0:
        """Take a new Hessian and its Newton step, and return the length: the Newton decrement."""
        cdef SystemPlan plan
        cdef Plan of_rows
        cdef Py_ssize_t first = 0
        cdef double scale = 1 / self.rows.total_weight, unused
        memcpy(&self.origin[0], self.theta, self.n * sizeof(double))
        self.rows.plan_for(&of_rows, 0, NULL, 1)
        add_up_hessians(&of_rows, &first, <double[:1, :self.n]>self.theta, self.hessian,
                        self.n_threads)
        memset(&plan, 0, sizeof(SystemPlan))
        plan.n, plan.n_penalised, plan.n_systems = self.n, self.rows.n_penalised, 1
        plan.matrices, plan.scales, plan.shifts = &self.hessian[0, 0], &scale, &self.l2
        plan.which = plan.places = &first
        plan.factors, plan.radii, plan.inflations = self.factor, &unused, &unused
        factor_alone(&plan, pivot_steps(self.n), self.n_threads)
        self.distance, self.has_last = 0, False
        return self.turn()

    cdef double turn(self) except -1.0:
        """Take the step that the last Hessian leads to from here, and return the length of its
        Newton step."""
        cdef double square
        memcpy(self.here.newton, self.here.gradient, self.n * sizeof(double))
        self.rows.kernels.solve_one(self.factor, self.n, self.here.newton, &square)
        self.here.length = sqrt(square) if square >= 0 else INFINITY
        self.slope = improve(self.n, &self.last if self.has_last else NULL, &self.here)
        return self.here.length

    cdef double go(self) except -1.0:
        """Go along the step, halved until the objective falls; return the part that was gone."""
        cdef double size = 1, loss
        cdef Py_ssize_t j
        cdef int i
        for i in range(HALVINGS):
            for j in range(self.n):
                self.next_theta[j] = self.theta[j] - size * self.here.step[j]
            loss = self.evaluate_at(self.next_theta, self.next_gradient)
            if loss <= self.loss - ARMIJO * size * self.slope + ROUNDING * fabs(self.loss):
                self.take(size)
                self.loss, self.fall = loss, self.loss - loss
                return size
            size /= 2
        return 0

    cdef void take(self, double size) noexcept:
        """Move to the next theta, a part of the step away."""
        cdef Py_ssize_t j
        for j in range(self.n):
            self.here.step[j] *= -size
        self.here.norm *= size
        self.distance += self.here.norm
        self.here, self.last = self.last, self.here
        self.has_last = True
        self.theta, self.next_theta = self.next_theta, self.theta
        memcpy(self.here.gradient, self.next_gradient, self.n * sizeof(double))


cdef int evaluations_of_hessian(PackedRows rows) noexcept:
    """Return how many evaluations take as long as a Hessian and its factor do, about."""
    cdef Py_ssize_t n = rows.rows.n_params
    cdef double hessian = <double>rows.n_rows * (pair_of(n, n) + 2 * n + 40)
    cdef double evaluation = 2 * candidate_visits(rows.n_rows, n)
    return <int>min(10.0, (hessian + factor_work(n)) / evaluation)


def newton_steps(PackedRows rows, double[::1] theta, double[::1] gradient, double[:, ::1] hessian,
                 double[::1] origin, double l2, double tol, Py_ssize_t max_iter, int n_threads):
    """Move a theta by Newton steps; return the objective there, how many steps there were, and how
    far the last ones went in the norm of the last Hessian.

    Writes the gradient at theta, the sum of loss'' x x' that the last Hessian was, and its origin.
    A Hessian is taken anew for each step, but where the last one leads to tol in less time than
    that takes. The steps end where the decrement is about tol; where none leads downhill any more;
    or where rounding is all that they change. None of this is a proof. They begin at zero, where
    theta is worse.
    """
    cdef Walk walk = Walk(rows, theta, l2, hessian, origin, n_threads)
    cdef double length = walk.renew(), before = INFINITY, size, wanted = ENOUGH * tol
    cdef Py_ssize_t n_steps = 0
    cdef bint leads
    while n_steps < max_iter and length > wanted:
        size = walk.go()
        if size == 0:
            break
        n_steps += 1
        if walk.fall <= ROUNDING * fabs(walk.loss) and length > before / 2:
            break
        before, length = length, walk.turn()
        leads = size == 1 and leads_on(length, before, wanted, walk.patience)
        if n_steps < max_iter and not leads:
            length = walk.renew()
        if size < 1:
            before = INFINITY
    memcpy(&theta[0], walk.theta, walk.n * sizeof(double))
    memcpy(&gradient[0], walk.here.gradient, walk.n * sizeof(double))
    return walk.loss, n_steps, walk.distance
