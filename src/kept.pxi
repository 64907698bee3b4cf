# Steps of many models by Hessians that are kept, in one region. Needs plan.pxi, rows.pxi, sets.pxi,
# systems.pxi and courses.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport free, malloc

# Steps that a model takes before it ends or gets a new Hessian, about: of 200 C x 5 folds of
# breast_cancer.
cdef double ROUNDS = 3


cdef int take_round(KeptPlan *plan, PackedRows rows, int n_threads) except -1:
    """Try the steps of all models that try one, by all threads together."""
    cdef SystemPlan systems
    cdef Py_ssize_t k
    for k in range(plan.n_trying):
        aim(plan, k)
    rows.evaluate_at(plan.tried_thetas, plan.n_trying, plan.tried_losses, plan.tried_gradients,
                     n_threads)
    move_all(plan)
    if plan.n_moved:
        ask_for_turns(plan, &systems)
        solve_systems(&systems, n_threads, -1)
        turn_moved(plan)
    choose_next(plan)
    return 0


cdef bint take_round_alone(KeptPlan *plan) noexcept nogil:
    """Try the steps of all models that try one, by this thread alone; False without memory."""
    cdef SystemPlan systems
    cdef Py_ssize_t k
    for k in range(plan.n_trying):
        aim(plan, k)
    if not evaluate_alone(plan.rows, plan.tried_thetas, plan.n_trying, plan.tried_losses,
                          plan.tried_gradients):
        return False
    move_all(plan)
    if plan.n_moved:
        ask_for_turns(plan, &systems)
        if not solve_systems_alone(&systems):
            return False
        turn_moved(plan)
    choose_next(plan)
    return True


cdef struct SharedSteps:
    # Runs of models, that one thread moves for so many visits at a time; and those of them that
    # still try a step. A step is of so many visits.
    KeptPlan *plans
    const Py_ssize_t *trying
    double visits, most_visits
    # Set by any thread that has no memory.
    bint is_short


cdef void take_rounds(const SharedSteps *shared, Py_ssize_t index, int thread) noexcept nogil:
    """Try steps of a run of models, as long as there are visits left."""
    cdef KeptPlan *plan = shared.plans + shared.trying[index]
    cdef double visits = 0
    while plan.n_trying and visits < shared.most_visits:
        visits += plan.n_trying * shared.visits
        if not take_round_alone(plan):
            (<SharedSteps *>shared).is_short = True
            return


cdef int share_steps(SharedSteps *shared, Py_ssize_t *trying, Py_ssize_t n_runs, Py_ssize_t size,
                     int n_threads) except -1:
    """Move the models of all runs, of `size` each at most, until none tries a step any more."""
    cdef Py_ssize_t first, i, n_left, wave
    cdef double work
    while n_runs:
        first = n_left = 0
        while first < n_runs:
            wave = min(n_runs - first, runs_at_once(size * shared.visits, n_threads))
            shared.trying, shared.most_visits = trying + first, SLICE_WORK * n_threads / wave
            work = 0
            for i in range(wave):
                work += ROUNDS * shared.visits * shared.plans[trying[first + i]].n_trying
            work = min(work, SLICE_WORK * n_threads)
            with nogil:
                metaopt_share[SharedSteps](take_rounds, shared, wave, n_threads, work)
            if shared.is_short:
                raise MemoryError
            PyErr_CheckSignals()
            first += wave
        for i in range(n_runs):
            if shared.plans[trying[i]].n_trying:
                trying[n_left] = trying[i]
                n_left += 1
        n_runs = n_left
    return 0


def kept_steps(RowSets sets, const Py_ssize_t[::1] which, const double[::1] l2,
               double[:, ::1] factors, const Py_ssize_t[::1] places, const double[::1] radii,
               const double[::1] drifts, const Py_ssize_t[::1] most, double[:, ::1] thetas,
               double[::1] losses, double[:, ::1] gradients, double[:, ::1] newton,
               double[::1] lengths, double[::1] before, double[::1] falls, double[::1] sizes,
               double[::1] distances, Py_ssize_t[::1] n_steps, double tol, double slow,
               double near, int patience, int n_threads):
    """Move models by steps of their Hessians, as long as these lead on.

    Model i is one of the set which[i]; those of one set stand together. It stands at thetas[i],
    with the objective losses[i] and its gradient; its Hessian has the factor factors[places[i]],
    this radius and drift, and leads to the Newton step newton[i], of some length in its norm. All
    of these are as true of where it ends. It takes one step at least and most[i] at most, each
    halved until the loss falls. It ends where the decrement, as the old Hessian measures it, is
    below tol; where rounding is all that the loss falls by; where a step had to be halved; or where
    a new Hessian would lead further: a step leaves `slow` of the decrement or more, or, within
    radius * length <= near, `patience` more would not lead to tol. before, falls and sizes (0: no
    step leads downhill) say what the last step was; distances and n_steps, how far all of them led.
    """
    cdef KeptPlan base
    cdef KeptPlan *plan
    cdef SharedSteps shared
    cdef Py_ssize_t count = losses.shape[0], n = thetas.shape[1], i, first, n_runs
    cdef bint together = sets.may_share(count, n_threads)
    cdef Py_ssize_t size = sets.size_of_runs(count, n_threads) if together else count
    if not count:
        return
    base.n, base.patience, base.tol, base.slow, base.near = n, patience, tol, slow, near
    base.factors = &factors[0, 0]
    cdef char *memory = <char *>malloc(courses_bytes(n, count) + count * (
        sizeof(KeptPlan) + sizeof(Run) + sizeof(Py_ssize_t)))
    if memory == NULL:
        raise MemoryError
    cdef char *at = memory
    shared.plans, shared.is_short = <KeptPlan *>(memory + courses_bytes(n, count)), False
    shared.visits = sets.tile_work() / sets.plans.kernels.lanes
    cdef Run *runs = <Run *>(shared.plans + count)
    cdef Py_ssize_t *trying = <Py_ssize_t *>(runs + count)
    try:
        n_runs = cut_runs(which, size, runs)
        for i in range(n_runs):
            plan, first = shared.plans + i, runs[i].first
            plan[0], trying[i] = base, i
            plan.rows, plan.n_models = sets.plans + runs[i].set, runs[i].count
            plan.n_penalised = plan.rows.n_penalised
            plan.places_of, plan.l2, plan.radii = &places[first], &l2[first], &radii[first]
            plan.drifts, plan.most = &drifts[first], &most[first]
            plan.thetas, plan.losses = &thetas[first, 0], &losses[first]
            plan.gradients, plan.newton = &gradients[first, 0], &newton[first, 0]
            plan.lengths, plan.before, plan.falls = &lengths[first], &before[first], &falls[first]
            plan.sizes, plan.distances = &sizes[first], &distances[first]
            plan.n_steps = &n_steps[first]
            lay_out_courses(plan, at)
            at += courses_bytes(n, plan.n_models)
        if together:
            share_steps(&shared, trying, n_runs, size, n_threads)
            return
        for i in range(n_runs):
            while shared.plans[i].n_trying:
                take_round(shared.plans + i, sets.sets[runs[i].set], n_threads)
    finally:
        free(memory)
