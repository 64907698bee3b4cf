# Newton steps of a single model, with a Hessian for each. Needs plan.pxi, evaluate.pxi, rows.pxi,
# newton.pxi and systems.pxi.

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# Part of what the gradient promises by which the loss has to fall, halvings of a step until it
# does, and the part of the loss below which differences of losses are rounding.
cdef double ARMIJO = 1e-4
cdef int HALVINGS = 30
cdef double ROUNDING = 1e-13
# The loss of a theta of zeros, and a hair more.
cdef double LOSS_AT_ZERO = 0.6931472
# The last step is the one after which the decrement is expected to be below this part of tol.
cdef double EXPECTED = 0.1


cdef class Walk:
    """A model on its way to its optimum: where it is, and where its Newton step leads."""
    cdef PackedRows rows
    cdef Py_ssize_t n
    cdef int n_threads
    # The objective, and how far the last step made it fall.
    cdef double l2, loss, fall
    # One row each, in one piece of memory.
    cdef double *memory
    cdef double[:, ::1] theta, gradient, next_theta, next_gradient, step, hessian
    cdef double[::1] losses
    cdef double *factor

    def __cinit__(self, PackedRows rows, const double[::1] theta, double l2, int n_threads):
        cdef Py_ssize_t n = theta.shape[0], size = pair_of(n, n)
        self.rows, self.n, self.l2, self.n_threads = rows, n, l2, n_threads
        self.memory = <double *>malloc((5 * n + 2 * size + 1) * sizeof(double))
        if self.memory == NULL:
            raise MemoryError
        self.theta = <double[:1, :n]>self.memory
        self.gradient = <double[:1, :n]>(self.memory + n)
        self.next_theta = <double[:1, :n]>(self.memory + 2 * n)
        self.next_gradient = <double[:1, :n]>(self.memory + 3 * n)
        self.step = <double[:1, :n]>(self.memory + 4 * n)
        self.hessian = <double[:1, :size]>(self.memory + 5 * n)
        self.factor = self.memory + 5 * n + size
        self.losses = <double[:1]>(self.memory + 5 * n + 2 * size)
        memcpy(&self.theta[0, 0], &theta[0], n * sizeof(double))
        self.loss, self.fall = self.evaluate_at(self.theta, self.gradient), INFINITY
        # Far off, Hessians vanish.
        if not self.loss <= LOSS_AT_ZERO:
            memset(&self.theta[0, 0], 0, n * sizeof(double))
            self.loss = self.evaluate_at(self.theta, self.gradient)

    def __dealloc__(self):
        free(self.memory)

    cdef double evaluate_at(self, double[:, ::1] theta, double[:, ::1] gradient) except -1.0:
        """Write the gradient at a theta, and return the objective: infinite where it has none."""
        cdef Plan plan
        cdef int n_threads = self.n_threads
        if work(self.rows.n_rows, self.n) < SERIAL_WORK:
            n_threads = 1
        self.rows.plan(&plan, self.losses, gradient, n_threads)
        plan.thetas, plan.l2 = &theta[0, 0], self.l2
        return self.losses[0] if evaluate(&plan) and self.losses[0] >= 0 else INFINITY

    cdef double turn(self) except -1.0:
        """Take the Hessian and the Newton step, and return its length: the Newton decrement."""
        cdef SystemPlan plan
        cdef Py_ssize_t first = 0
        cdef double scale = 1 / self.rows.total_weight, square
        add_up_hessians(self.rows, self.theta, self.hessian, self.n_threads)
        plan.n, plan.n_penalised, plan.n_systems = self.n, self.rows.n_penalised, 1
        plan.matrices, plan.scales, plan.shifts = &self.hessian[0, 0], &scale, &self.l2
        plan.which = plan.places = &first
        plan.factors, plan.radii, plan.inflations = self.factor, &square, &square
        factor_alone(&plan, pivot_steps(self.n), self.n_threads)
        memcpy(&self.step[0, 0], &self.gradient[0, 0], self.n * sizeof(double))
        self.rows.kernels.solve_one(self.factor, self.n, &self.step[0, 0], &square)
        return sqrt(square) if square >= 0 else INFINITY

    cdef double go(self) except -1.0:
        """Go along the step, halved until the objective falls; return the part that was gone."""
        cdef double slope = 0, size = 1, loss
        cdef Py_ssize_t j
        cdef int i
        for j in range(self.n):
            slope += self.step[0, j] * self.gradient[0, j]
        for i in range(HALVINGS):
            for j in range(self.n):
                self.next_theta[0, j] = self.theta[0, j] - size * self.step[0, j]
            loss = self.evaluate_at(self.next_theta, self.next_gradient)
            if loss <= self.loss - ARMIJO * size * slope + ROUNDING * fabs(self.loss):
                self.theta, self.next_theta = self.next_theta, self.theta
                self.gradient, self.next_gradient = self.next_gradient, self.gradient
                self.loss, self.fall = loss, self.loss - loss
                return size
            size /= 2
        return 0


def newton_steps(PackedRows rows, double[::1] theta, double l2, double tol, Py_ssize_t max_iter,
                 int n_threads):
    """Move a theta by Newton steps, each of a Hessian of its own, and return how many there were.

    The steps end where the decrement is at most tol, or is expected to be so after the last one;
    where none leads downhill any more; or where rounding is all that they change. None of this is a
    proof. They begin at zero, where theta is worse.
    """
    cdef Walk walk = Walk(rows, theta, l2, n_threads)
    cdef double length, before = INFINITY, size
    cdef Py_ssize_t n_steps = 0
    cdef bint is_last = False
    while n_steps < max_iter and not is_last:
        length = walk.turn()
        if not length > tol:
            break
        # Near the optimum, each step squares the decrement, but for a factor.
        is_last = length * (length / before) * (length / before) <= EXPECTED * tol
        is_last = is_last and before < INFINITY
        size = walk.go()
        if size == 0:
            break
        n_steps += 1
        if walk.fall <= ROUNDING * fabs(walk.loss) and length > before / 2:
            break
        before = length if size == 1 else INFINITY
    memcpy(&theta[0], &walk.theta[0, 0], walk.n * sizeof(double))
    return n_steps
