# Systems of equations of many Hessians, and rows reduced to fewer columns. Needs
# table.pxi, plan.pxi and newton.pxi.

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

# From so many unknowns on, a system is factored by itself: a tile of such matrices leaves the
# cache.
cdef Py_ssize_t LARGE_SYSTEM = 96
# Entries of each matrix of a tile that go to their lanes at a time: those of all lanes stay in a
# first-level cache. All at once, to gather factors of 65 unknowns takes four times as long as to
# solve their systems (`perf record` of a search of C on digits, of benches/bench_training.py).
cdef Py_ssize_t GATHERED = 64
# Reflections that rows pass at a time: they stay in the cache.
cdef Py_ssize_t REFLECTIONS = 16
# Multiplications of each thread between two looks at signals, some 50 ms.
cdef double REFLECTED = 2e8
# Work of each thread on systems between two looks at signals, in the measure of `factor`: 30 ms.
cdef double SYSTEM_WORK = 1e8


cdef struct SystemPlan:
    const Kernels *kernels
    Py_ssize_t n, n_penalised, n_systems
    # How many systems a unit of work has, and, where it is one, of how many steps its work is.
    Py_ssize_t lanes, n_steps
    const double *matrices
    # Of each system: which matrix it has, and the place of its factor. Unless null: another matrix,
    # and its weight in the mean of both.
    const Py_ssize_t *which
    const Py_ssize_t *places
    const Py_ssize_t *others
    const double *parts
    const double *scales
    const double *shifts
    const double *extents
    double *factors
    double *x
    double *squares
    double *radii
    double *inflations


# Does steps first .. last - 1 of a unit of work.
ctypedef void (*SystemTask)(const SystemPlan *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                            double *) noexcept nogil


cdef void spread(const SystemPlan *plan, Py_ssize_t system, Py_ssize_t first, Py_ssize_t count,
                 double *to, Py_ssize_t stride) noexcept nogil:
    """Write some entries of a system's matrix, without its shift, so far apart."""
    cdef Py_ssize_t size = pair_of(plan.n, plan.n), pair
    cdef const double *matrix = plan.matrices + plan.which[system] * size + first
    cdef const double *other
    cdef double scale = plan.scales[system], part, rest
    if plan.others == NULL:
        for pair in range(count):
            to[pair * stride] = matrix[pair] * scale
        return
    other, part = plan.matrices + plan.others[system] * size + first, plan.parts[system] * scale
    rest = (1 - plan.parts[system]) * scale
    for pair in range(count):
        to[pair * stride] = rest * matrix[pair] + part * other[pair]


cdef void factor_unit(const SystemPlan *plan, Py_ssize_t tile, Py_ssize_t first_step,
                      Py_ssize_t last_step, double *work) noexcept nogil:
    """Factor a tile of systems."""
    cdef Py_ssize_t n = plan.n, lanes = plan.lanes, first = tile * lanes, size = pair_of(n, n)
    cdef Py_ssize_t count = min(lanes, plan.n_systems - first), lane, j, start, pair, system
    cdef double *radii = work + size * lanes
    cdef double *inflations = radii + lanes
    cdef double *factor
    start = 0
    while start < size:
        for lane in range(lanes):
            # Idle lanes repeat the first system.
            system = first + (lane if lane < count else 0)
            spread(plan, system, start, min(GATHERED, size - start), work + start * lanes + lane,
                   lanes)
        start += GATHERED
    for j in range(plan.n_penalised):
        for lane in range(lanes):
            system = first + (lane if lane < count else 0)
            work[pair_of(n, j) * lanes + lane] += plan.shifts[system]
    plan.kernels.factor_tile(work, n, plan.extents, radii, inflations, inflations + lanes)
    for lane in range(count):
        plan.radii[first + lane] = radii[lane]
        plan.inflations[first + lane] = inflations[lane]
    start = 0
    while start < size:
        for lane in range(count):
            factor = plan.factors + plan.places[first + lane] * size
            for pair in range(start, min(start + GATHERED, size)):
                factor[pair] = work[pair * lanes + lane]
        start += GATHERED


cdef void factor_large_unit(const SystemPlan *plan, Py_ssize_t system, Py_ssize_t first_step,
                            Py_ssize_t last_step, double *work) noexcept nogil:
    """Factor one system, or do some of it: its matrix is spread out by rows, and put together."""
    cdef Py_ssize_t n = plan.n, stride = plan.kernels.system_stride(n), j, pair = 0
    cdef double *factor = plan.factors + plan.places[system] * pair_of(n, n)
    cdef double *row = work
    for j in range(n if first_step == 0 else 0):
        memset(row, 0, stride * sizeof(double))
        spread(plan, system, pair, n - j, row + j, 1)
        if j < plan.n_penalised:
            row[j] += plan.shifts[system]
        pair += n - j
        row += stride
    plan.kernels.factor_one(work, n, plan.extents, plan.radii + system, plan.inflations + system,
                            work + n * stride, first_step, last_step)
    for j in range(n if last_step == plan.n_steps else 0):
        memcpy(factor, work + j * stride + j, (n - j) * sizeof(double))
        factor += n - j


cdef void solve_unit(const SystemPlan *plan, Py_ssize_t tile, Py_ssize_t first_step,
                     Py_ssize_t last_step, double *work) noexcept nogil:
    """Solve a tile of systems."""
    cdef Py_ssize_t n = plan.n, lanes = plan.lanes, first = tile * lanes, size = pair_of(n, n)
    cdef Py_ssize_t count = min(lanes, plan.n_systems - first), lane, j, start, pair, system
    cdef double *b = work + size * lanes
    cdef double *squares = b + n * lanes
    cdef const double *factor
    start = 0
    while start < size:
        for lane in range(lanes):
            system = first + (lane if lane < count else 0)
            factor = plan.factors + plan.places[system] * size
            for pair in range(start, min(start + GATHERED, size)):
                work[pair * lanes + lane] = factor[pair]
        start += GATHERED
    for lane in range(lanes):
        system = first + (lane if lane < count else 0)
        for j in range(n):
            b[j * lanes + lane] = plan.x[system * n + j]
    plan.kernels.solve_tile(work, n, b, squares)
    for lane in range(count):
        system = first + lane
        plan.squares[system] = squares[lane]
        for j in range(n):
            plan.x[system * n + j] = b[j * lanes + lane]


cdef void solve_large_unit(const SystemPlan *plan, Py_ssize_t system, Py_ssize_t first_step,
                           Py_ssize_t last_step, double *work) noexcept nogil:
    cdef Py_ssize_t n = plan.n
    plan.kernels.solve_one(plan.factors + plan.places[system] * pair_of(n, n), n,
                           plan.x + system * n, plan.squares + system)


cdef struct UnitPlan:
    SystemTask task
    const SystemPlan *systems
    # What is done now: steps first_step .. last_step - 1 of units from first_unit on.
    Py_ssize_t first_unit, first_step, last_step
    # Of each thread, or of each unit where that is done in pieces.
    double *scratch
    Py_ssize_t size
    bint in_pieces


cdef void do_unit(const UnitPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    cdef double *scratch = plan.scratch + (index if plan.in_pieces else thread) * plan.size
    plan.task(plan.systems, plan.first_unit + index, plan.first_step, plan.last_step, scratch)


cdef int for_each_unit(SystemTask task, const SystemPlan *plan, Py_ssize_t numbers, double work,
                       Py_ssize_t n_steps, int n_threads) except -1:
    """Run a task for each unit of plan.lanes systems, with memory for so many numbers.

    A unit of more work than there may be between two looks at signals is done in some pieces.
    """
    cdef Py_ssize_t n_units = (plan.n_systems + plan.lanes - 1) // plan.lanes, wave
    cdef Py_ssize_t piece = n_steps
    cdef UnitPlan units
    units.task, units.systems, units.first_unit = task, plan, 0
    if work > SYSTEM_WORK:  # the first steps take three times what they do in the mean
        piece = max(1, <Py_ssize_t>(n_steps * SYSTEM_WORK / (3 * work)))
    units.in_pieces = piece < n_steps
    n_threads = metaopt_team(min(n_threads, n_units), work * n_units)
    units.size = aligned(numbers * sizeof(double)) // <Py_ssize_t>sizeof(double)
    cdef char *memory = <char *>malloc(ALIGNMENT + n_threads * units.size * sizeof(double))
    if memory == NULL:
        raise MemoryError
    units.scratch = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    wave = n_threads * max(1, <Py_ssize_t>(SYSTEM_WORK / work))
    try:
        while units.first_unit < n_units:
            wave = min(wave, n_units - units.first_unit)
            units.first_step = 0
            while units.first_step < n_steps:
                units.last_step = min(units.first_step + piece, n_steps)
                with nogil:
                    metaopt_share[UnitPlan](
                        do_unit, &units, wave, n_threads,
                        work * wave * (units.last_step - units.first_step) / n_steps)
                units.first_step = units.last_step
                PyErr_CheckSignals()
            units.first_unit += wave
    finally:
        free(memory)
    return 0


cdef Py_ssize_t lanes_of_unit(const SystemPlan *plan, int alone) noexcept nogil:
    """Return how many systems a unit of work has: one, or a tile."""
    cdef Py_ssize_t lanes = plan.kernels.lanes
    # Measured: a system alone takes 1 + 40 / n times what a lane of a full tile does.
    if alone < 0:
        alone = plan.n >= LARGE_SYSTEM or (
            plan.n_systems * (1 + 40.0 / plan.n) < (plan.n_systems + lanes - 1) // lanes * lanes)
    return 1 if alone else lanes


def factor(const double[:, ::1] matrices, const Py_ssize_t[::1] which, const double[::1] scales,
           const double[::1] shifts, Py_ssize_t n_penalised, const double[::1] extents,
           double[:, ::1] factors, const Py_ssize_t[::1] places, double[::1] radii,
           double[::1] inflations, int n_threads, int alone=-1,
           const Py_ssize_t[::1] others=None, const double[::1] parts=None):
    """Factor many symmetric matrices.

    System i has the matrix scales[i] * matrices[which[i]], in pairs, plus shifts[i] on the first
    n_penalised entries of the diagonal; with `others`, the mean of matrices which[i] and others[i],
    which has the weight parts[i], is in place of the former. Its factor goes to factors[places[i]].
    radii[i] becomes a bound of sqrt(v' matrix^-1 v) over all |v_j| <= extents[j], and inflations[i]
    the trace of matrix^-1 times the matrix's diagonal: infinite where the matrix is singular.
    `alone` says whether each is factored by itself, with the same bits; below 0, what is faster.
    """
    cdef SystemPlan plan
    cdef Py_ssize_t n = extents.shape[0]
    plan.kernels = table(0, False)
    plan.n, plan.n_penalised, plan.n_systems = n, n_penalised, which.shape[0]
    if not plan.n_systems:
        return
    plan.matrices, plan.which, plan.scales = &matrices[0, 0], &which[0], &scales[0]
    plan.shifts, plan.extents = &shifts[0], &extents[0]
    plan.factors, plan.places, plan.radii = &factors[0, 0], &places[0], &radii[0]
    plan.inflations = &inflations[0]
    plan.others = plan.parts = NULL
    if others is not None:
        plan.others, plan.parts = &others[0], &parts[0]
    plan.lanes = lanes_of_unit(&plan, alone)
    if plan.lanes == 1:
        factor_alone(&plan, plan.kernels.system_steps(n), n_threads)
    else:
        for_each_unit(factor_unit, &plan, (pair_of(n, n) + 3 * n + 2) * plan.lanes,
                      factor_work(n) * plan.lanes, 1, n_threads)


cdef inline double factor_work(Py_ssize_t n) noexcept:
    return <double>n * n * n / 8 + n * n


cdef inline Py_ssize_t pivot_steps(Py_ssize_t n) noexcept:
    """Return the steps after which a factor is complete, but not its radius and inflation."""
    return table(0, False).system_steps(n) // 2


cdef int factor_alone(SystemPlan *plan, Py_ssize_t n_steps, int n_threads) except -1:
    """Factor each system by itself, by all steps, or by those that leave out radii."""
    cdef Py_ssize_t n = plan.n
    plan.kernels, plan.lanes, plan.n_steps = table(0, False), 1, n_steps
    return for_each_unit(factor_large_unit, plan, n * (2 * plan.kernels.system_stride(n) - n + 2),
                         factor_work(n), n_steps, n_threads)


def solve(double[:, ::1] factors, const Py_ssize_t[::1] places, double[:, ::1] x,
          double[::1] squares, int n_threads, int alone=-1):
    """Solve many systems by their factors: x, the right-hand sides b, becomes the solutions.

    squares[i] becomes b' matrix^-1 b. `alone` is as in `factor`.
    """
    cdef SystemPlan plan
    plan.n, plan.n_systems = x.shape[1], x.shape[0]
    if not plan.n_systems:
        return
    plan.factors, plan.places = &factors[0, 0], &places[0]
    plan.x, plan.squares = &x[0, 0], &squares[0]
    solve_systems(&plan, n_threads, alone)


cdef int solve_systems(SystemPlan *plan, int n_threads, int alone) except -1:
    """Solve all systems of a plan by their factors."""
    cdef Py_ssize_t n = plan.n, numbers
    cdef SystemTask task = choose_solution(plan, alone, &numbers)
    return for_each_unit(task, plan, numbers, <double>n * n * plan.lanes, 1, n_threads)


cdef SystemTask choose_solution(SystemPlan *plan, int alone, Py_ssize_t *numbers) noexcept nogil:
    """Choose how systems are solved, and the numbers that a unit of work has room for."""
    plan.kernels = table(0, False)
    plan.lanes = lanes_of_unit(plan, alone)
    numbers[0] = 1 if plan.lanes == 1 else (pair_of(plan.n, plan.n) + plan.n + 1) * plan.lanes
    return solve_large_unit if plan.lanes == 1 else solve_unit


cdef bint solve_systems_alone(SystemPlan *plan) noexcept nogil:
    """Solve all systems of a plan by this thread alone; False without memory."""
    cdef Py_ssize_t unit, numbers
    cdef SystemTask task = choose_solution(plan, -1, &numbers)
    cdef double *memory = <double *>malloc(ALIGNMENT + numbers * sizeof(double))
    if memory == NULL:
        return False
    for unit in range((plan.n_systems + plan.lanes - 1) // plan.lanes):
        task(plan, unit, 0, 1, <double *>aligned(<Py_ssize_t><uintptr_t>memory))
    free(memory)
    return True


def is_positive_definite(const double[:, ::1] matrix):
    """Whether Cholesky's method succeeds, each pivot well above its rounding, on the calling
    thread. What is below the diagonal is not read."""
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t n = matrix.shape[0], stride = kernels.system_stride(n), j, step
    cdef double unused
    cdef char *memory = <char *>malloc(ALIGNMENT + n * (stride + 2) * sizeof(double))
    if memory == NULL:
        raise MemoryError
    cdef double *work = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    try:
        for j in range(n):
            memcpy(work + j * stride, &matrix[j, 0], n * sizeof(double))
            memset(work + j * stride + n, 0, (stride - n) * sizeof(double))
        for step in range(pivot_steps(n)):
            with nogil:
                kernels.factor_one(work, n, NULL, &unused, &unused, work + n * stride, step,
                                   step + 1)
            PyErr_CheckSignals()
        for j in range(n):
            if not work[j * stride + j] > 0:
                return False
        return True
    finally:
        free(memory)


def make_reflections(double[:, ::1] rows, double[::1] taus, int n_threads):
    """Turn rows into a lower triangle by Householder's reflections of their columns.

    rows (n, p), n <= p, become the triangle in their first n columns, and beyond its diagonal the
    reflections, whose factors go to `taus`: with all of them, `reflect` turns what the rows were
    into the triangle and zeros. Numbers are of a size whose squares are in range.
    """
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t n = rows.shape[0], p = rows.shape[1], first = 0, last
    while first < n:
        last = min(n, first + REFLECTIONS)
        kernels.make_reflections(&rows[0, 0], p, first, last, &taus[0])
        reflect_rows(kernels, rows, taus, first, last, False, rows[last:], n_threads)
        first = last


def reflect(const double[:, ::1] rows, const double[::1] taus, double[:, ::1] vectors,
            bint backwards, int n_threads):
    """Apply the reflections of `make_reflections` to vectors (m, p), in order or backwards."""
    reflect_rows(table(0, False), rows, taus, 0, rows.shape[0], backwards, vectors, n_threads)


cdef struct ReflectionPlan:
    const Kernels *kernels
    const double *rows
    const double *taus
    Py_ssize_t n_columns, first, last
    bint backwards
    double *vectors


cdef void reflect_one(const ReflectionPlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    plan.kernels.reflect(plan.rows, plan.n_columns, plan.taus, plan.first, plan.last,
                         plan.backwards, plan.vectors + index * plan.n_columns)


cdef int reflect_rows(const Kernels *kernels, const double[:, ::1] rows, const double[::1] taus,
                      Py_ssize_t first, Py_ssize_t last, bint backwards, double[:, ::1] vectors,
                      int n_threads) except -1:
    """Apply some reflections to vectors, a few of these at a time."""
    cdef Py_ssize_t begin = 0, count
    # Products of a vector with reflections, and what is added to it.
    cdef double work = 2.0 * rows.shape[1] * (last - first)
    cdef Py_ssize_t size = n_threads * max(1, <Py_ssize_t>(REFLECTED / work))
    cdef ReflectionPlan plan
    plan.kernels, plan.rows, plan.taus = kernels, &rows[0, 0], &taus[0]
    plan.n_columns, plan.first, plan.last = rows.shape[1], first, last
    plan.backwards = backwards
    while begin < vectors.shape[0]:
        count = min(size, vectors.shape[0] - begin)
        plan.vectors = &vectors[begin, 0]
        with nogil:
            metaopt_share[ReflectionPlan](reflect_one, &plan, count, n_threads, work * count)
        begin += count
        PyErr_CheckSignals()
    return 0
