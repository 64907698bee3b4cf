# How each of many models goes on by a Hessian that is kept. Needs plan.pxi and systems.pxi.

from libc.math cimport fabs, isfinite, sqrt
from libc.string cimport memcpy, memset

# Part of what the gradient promises by which the loss has to fall, as Armijo has it, halvings of a
# step until it does, and the part of the loss below which differences of losses are rounding.
cdef double ARMIJO = 1e-4
cdef int HALVINGS = 60
cdef double ROUNDING = 1e-13
# Part of the tolerance that a decrement has to reach, however old its Hessian is.
cdef double LEAST_PART = 0.01


cdef struct Step:
    # A step of a Hessian: the gradient where it begins, the Newton step there, its length in the
    # Hessian's norm, the step itself, and a bound of its length.
    double *gradient
    double *newton
    double *step
    double length, norm


cdef double improve(Py_ssize_t n, const Step *last, Step *here) noexcept nogil:
    """Write the step of an old Hessian, corrected by what the last one did to the gradient, and a
    bound of its length; return how fast the loss falls along it.

    This is the BFGS update of the Hessian by one pair, where it leads downhill. Without a last
    step, it is the Newton step.
    """
    cdef double turned = 0, first = 0, second = 0, slope = 0, norm
    cdef Py_ssize_t j
    if last != NULL:
        for j in range(n):
            turned += last.step[j] * (here.gradient[j] - last.gradient[j])
            first += last.step[j] * here.gradient[j]
    if turned > 0:
        first /= turned
        for j in range(n):
            here.step[j] = here.newton[j] - first * (here.newton[j] - last.newton[j])
            second += (here.gradient[j] - last.gradient[j]) * here.step[j]
        second = first - second / turned
        for j in range(n):
            here.step[j] += second * last.step[j]
            slope += here.step[j] * here.gradient[j]
        # The difference of two Newton steps is no longer than both of them.
        norm = here.length + fabs(first) * (here.length + last.length) + fabs(second) * last.norm
        if slope > 0 and isfinite(norm):
            here.norm = norm
            return slope
        slope = 0
    memcpy(here.step, here.newton, n * sizeof(double))
    here.norm = here.length
    for j in range(n):
        slope += here.step[j] * here.gradient[j]
    return slope


cdef double part_after(double drift) noexcept nogil:
    """Return a part of the tolerance that a decrement may be, as a Hessian says that has aged by
    some drift, for the true one to be within the tolerance."""
    cdef double part = 1 - min(drift, 64.0) / 64
    cdef int k
    # (1 - x / 32)^32 is below exp(-x), at x = drift / 2.
    for k in range(5):
        part *= part
    return max(LEAST_PART, part)


cdef bint leads_on(double length, double before, double tol, int patience) noexcept nogil:
    """Whether steps of a Hessian, the last of which took the decrement from `before` to `length`,
    lead to tol in so many more."""
    cdef int k
    cdef double rate = length / before
    if not rate < 1:
        return False
    for k in range(patience):
        if length <= tol:
            return True
        length *= rate
    return length <= tol


cdef struct Course:
    # What a model tries: its step, the part of it, how often that was halved, and what the gradient
    # promises of the whole; and the last step of its Hessian, if there was one. Lost: it tries
    # numbers that are not finite.
    Step here, last
    double size, slope
    int halvings
    bint has_last, is_lost, is_moved


cdef struct KeptPlan:
    # Models of one training set.
    const Plan *rows
    Py_ssize_t n, n_penalised, n_models
    double tol, slow, near
    int patience
    # The factors, and arrays over models: where they stand; penalties, radii, drifts, and steps at
    # most;
    double *factors
    const Py_ssize_t *places_of
    const double *l2
    const double *radii
    const double *drifts
    const Py_ssize_t *most
    # where the models are, and the Newton steps of their Hessians there;
    double *thetas
    double *losses
    double *gradients
    double *newton
    double *lengths
    # the length of the Newton step where the last step began, how far it let the loss fall, and the
    # part of it that was gone; how far all went, and how many they were.
    double *before
    double *falls
    double *sizes
    double *distances
    Py_ssize_t *n_steps
    Course *courses
    # Of those models that try a step, in order: numbers, thetas, losses, gradients; of those that
    # have moved, besides: where their factors stand, Newton steps, squared lengths.
    Py_ssize_t n_trying, n_moved
    Py_ssize_t *trying
    Py_ssize_t *moved
    Py_ssize_t *places
    double *tried_thetas
    double *tried_losses
    double *tried_gradients
    double *solutions
    double *squares


cdef void set_out(const KeptPlan *plan, Py_ssize_t i) noexcept nogil:
    """Choose the next step of a model."""
    cdef Course *course = plan.courses + i
    cdef Py_ssize_t size = plan.n * sizeof(double)
    course.here.length = plan.lengths[i]
    memcpy(course.here.gradient, plan.gradients + i * plan.n, size)
    memcpy(course.here.newton, plan.newton + i * plan.n, size)
    course.slope = improve(plan.n, &course.last if course.has_last else NULL, &course.here)
    course.size, course.halvings = 1, 0


cdef void aim(const KeptPlan *plan, Py_ssize_t k) noexcept nogil:
    """Write where a model tries to go; zero, if it is lost."""
    cdef Py_ssize_t i = plan.trying[k], j
    cdef Course *course = plan.courses + i
    cdef double *theta = plan.tried_thetas + k * plan.n
    course.is_lost = False
    for j in range(plan.n):
        theta[j] = plan.thetas[i * plan.n + j] - course.size * course.here.step[j]
        course.is_lost = course.is_lost or not isfinite(theta[j])
    if course.is_lost:
        memset(theta, 0, plan.n * sizeof(double))


cdef void penalise(const KeptPlan *plan, Py_ssize_t k) noexcept nogil:
    """Add the penalty of a model to the loss and the gradient where it tries to go."""
    cdef Py_ssize_t j
    cdef double l2 = plan.l2[plan.trying[k]], slope, even = 0, odd = 0
    cdef const double *theta = plan.tried_thetas + k * plan.n
    cdef double *gradient = plan.tried_gradients + k * plan.n
    for j in range(plan.n_penalised):
        slope = l2 * theta[j]
        gradient[j] += slope
        if j & 1:
            odd += slope * theta[j]
        else:
            even += slope * theta[j]
    plan.tried_losses[k] += (even + odd) / 2


cdef bint moves(const KeptPlan *plan, Py_ssize_t k) noexcept nogil:
    """Move a model where it tries to go, if the loss falls enough there; halve its step if not."""
    cdef Py_ssize_t i = plan.trying[k], j, size = plan.n * sizeof(double)
    cdef Course *course = plan.courses + i
    cdef double loss = plan.tried_losses[k], slack = ROUNDING * fabs(plan.losses[i])
    if course.is_lost or not loss <= plan.losses[i] - ARMIJO * course.size * course.slope + slack:
        course.size /= 2
        course.halvings += 1
        if course.halvings == HALVINGS:
            plan.sizes[i] = 0
            plan.n_steps[i] += 1
        return False
    course.here.norm *= course.size
    for j in range(plan.n):
        course.here.step[j] *= -course.size
    course.here, course.last = course.last, course.here
    course.has_last = True
    plan.falls[i], plan.losses[i] = plan.losses[i] - loss, loss
    memcpy(plan.thetas + i * plan.n, plan.tried_thetas + k * plan.n, size)
    memcpy(plan.gradients + i * plan.n, plan.tried_gradients + k * plan.n, size)
    plan.before[i], plan.sizes[i] = plan.lengths[i], course.size
    plan.distances[i] += course.last.norm
    plan.n_steps[i] += 1
    return True


cdef bint goes_on(const KeptPlan *plan, Py_ssize_t i) noexcept nogil:
    """Whether a model that has moved takes another step of its Hessian."""
    cdef double length = plan.lengths[i], wanted
    if plan.sizes[i] < 1 or plan.n_steps[i] == plan.most[i]:
        return False
    if plan.falls[i] <= ROUNDING * fabs(plan.losses[i]):
        return False
    wanted = plan.tol * part_after(plan.drifts[i] + plan.radii[i] * plan.distances[i])
    if not length > wanted:
        return False
    # Far off, a new Hessian leads no further than this one.
    return length < plan.slow * plan.before[i] and (
        plan.radii[i] * length > plan.near
        or leads_on(length, plan.before[i], wanted, plan.patience))


cdef void ask_for_turns(const KeptPlan *plan, SystemPlan *systems) noexcept nogil:
    """Lay out the systems whose solutions are the Newton steps of the models that have moved."""
    cdef Py_ssize_t k, i
    for k in range(plan.n_moved):
        i = plan.moved[k]
        plan.places[k] = plan.places_of[i]
        memcpy(plan.solutions + k * plan.n, plan.gradients + i * plan.n, plan.n * sizeof(double))
    systems.n, systems.n_systems = plan.n, plan.n_moved
    systems.factors, systems.places = plan.factors, plan.places
    systems.x, systems.squares = plan.solutions, plan.squares


cdef void turn_moved(const KeptPlan *plan) noexcept nogil:
    """Take the Newton steps of the models that have moved, which have been found."""
    cdef Py_ssize_t k, i
    for k in range(plan.n_moved):
        i = plan.moved[k]
        memcpy(plan.newton + i * plan.n, plan.solutions + k * plan.n, plan.n * sizeof(double))
        plan.lengths[i] = sqrt(plan.squares[k])


cdef inline Py_ssize_t courses_bytes(Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    return count * (sizeof(Course) + (9 * n + 2) * sizeof(double) + 3 * sizeof(Py_ssize_t))


cdef void lay_out_courses(KeptPlan *plan, char *memory) noexcept nogil:
    """Give every array its part of some memory, and every model a step to try."""
    cdef Py_ssize_t i, n = plan.n, count = plan.n_models
    cdef double *numbers
    plan.courses = <Course *>memory
    numbers = <double *>(plan.courses + count)
    for i in range(count):
        plan.courses[i].has_last = False
        plan.courses[i].here.gradient, plan.courses[i].here.newton = numbers, numbers + n
        plan.courses[i].here.step, plan.courses[i].last.gradient = numbers + 2 * n, numbers + 3 * n
        plan.courses[i].last.newton, plan.courses[i].last.step = numbers + 4 * n, numbers + 5 * n
        numbers += 6 * n
    plan.tried_thetas, plan.tried_gradients = numbers, numbers + count * n
    plan.solutions = numbers + 2 * count * n
    plan.tried_losses = numbers + 3 * count * n
    plan.squares = plan.tried_losses + count
    plan.trying = <Py_ssize_t *>(plan.squares + count)
    plan.moved, plan.places = plan.trying + count, plan.trying + 2 * count
    for i in range(count):
        plan.distances[i], plan.n_steps[i], plan.trying[i] = 0, 0, i
        set_out(plan, i)
    plan.n_trying, plan.n_moved = count, 0


cdef void move_all(KeptPlan *plan) noexcept nogil:
    """Move the models that try a step, as `moves` says."""
    cdef Py_ssize_t k, i
    plan.n_moved = 0
    for k in range(plan.n_trying):
        i = plan.trying[k]
        penalise(plan, k)
        plan.courses[i].is_moved = moves(plan, k)
        if plan.courses[i].is_moved:
            plan.moved[plan.n_moved] = i
            plan.n_moved += 1


cdef void choose_next(KeptPlan *plan) noexcept nogil:
    """Let those models try the next step that go on or halve theirs."""
    cdef Py_ssize_t k, i, n_left = 0
    cdef Course *course
    for k in range(plan.n_trying):
        i = plan.trying[k]
        course = plan.courses + i
        if course.is_moved and goes_on(plan, i):
            set_out(plan, i)
        elif course.is_moved or course.halvings == HALVINGS:
            continue
        plan.trying[n_left] = i
        n_left += 1
    plan.n_trying = n_left
