# Hessians of many candidates, and the systems of equations that they lead to. Included by
# _kernels.pyx.

# Bytes of matrices at work, for each thread.
cdef Py_ssize_t MATRIX_MEMORY = 8 * 1024 * 1024


def n_pairs(Py_ssize_t n_params):
    """Return the entries of a symmetric matrix as it is stored: (j, k), j <= k, row by row."""
    return n_params * (n_params + 1) // 2


cdef inline Py_ssize_t pair_of(Py_ssize_t n, Py_ssize_t row) noexcept nogil:
    return row * n - row * (row - 1) // 2


cdef struct HessianPlan:
    const Kernels *kernels
    const Rows *rows
    Py_ssize_t n_candidates, n_parts, first_unit, first_block, last_block
    const double *thetas
    # [tile]: thetas and scales; [unit of the wave]: pairs.
    double *tiles
    double *matrices
    double *hessians


cdef inline Py_ssize_t first_row(const HessianPlan *plan, Py_ssize_t part) noexcept nogil:
    """Return the row of the matrix with which a part begins: parts are about equally large."""
    cdef Py_ssize_t n = plan.rows.n_params, row = 0
    while pair_of(n, row) * plan.n_parts < pair_of(n, n) * part:
        row += 1
    return row


cdef void add_unit(const HessianPlan *plan, Py_ssize_t index) noexcept nogil:
    """Add some blocks to one part of the matrices of a tile."""
    cdef Py_ssize_t n = plan.rows.n_params, lanes = plan.kernels.lanes
    cdef Py_ssize_t unit = plan.first_unit + index
    cdef Py_ssize_t tile = unit // plan.n_parts, part = unit % plan.n_parts
    plan.kernels.add_hessians(plan.rows, plan.first_block, plan.last_block,
                              plan.tiles + tile * (n + 1) * lanes, first_row(plan, part),
                              first_row(plan, part + 1),
                              plan.matrices + index * pair_of(n, n) * lanes)


cdef void write_unit(const HessianPlan *plan, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t n = plan.rows.n_params, lanes = plan.kernels.lanes
    cdef Py_ssize_t unit = plan.first_unit + index, lane, pair
    cdef Py_ssize_t tile = unit // plan.n_parts, part = unit % plan.n_parts
    cdef Py_ssize_t first = pair_of(n, first_row(plan, part))
    cdef Py_ssize_t last = pair_of(n, first_row(plan, part + 1))
    cdef const double *matrices = plan.matrices + index * pair_of(n, n) * lanes
    for lane in range(min(lanes, plan.n_candidates - tile * lanes)):
        for pair in range(first, last):
            plan.hessians[(tile * lanes + lane) * pair_of(n, n) + pair] = (
                matrices[(pair - first) * lanes + lane])


def hessians(PackedRows data, const double[:, ::1] thetas, double[:, ::1] out, int n_threads):
    """Write sum_i w_i loss''(z_i) x_i x_i' at each theta, its pairs in a row of `out`.

    Returns False where a theta is not finite. The rows are double precision.
    """
    cdef HessianPlan plan
    cdef Py_ssize_t n = thetas.shape[1], lanes = data.kernels.lanes
    cdef Py_ssize_t n_tiles = (thetas.shape[0] + lanes - 1) // lanes
    cdef Py_ssize_t n_blocks = data.block_rows.shape[0], wave, n_units, tile, i, slice
    cdef Py_ssize_t unit_bytes = pair_of(n, n) * lanes * sizeof(double)
    cdef bint finite = True
    plan.kernels, plan.rows = data.kernels, &data.rows
    plan.thetas, plan.hessians = &thetas[0, 0], &out[0, 0]
    plan.n_candidates = thetas.shape[0]
    # A part computes its tile's margins anew, so there are no more than threads need.
    plan.n_parts = 1 if n_threads == 1 else max(1, min(n, 2 * n_threads // n_tiles))
    if 2.0 * data.n_rows * n_tiles * lanes / 4 * (pair_of(n, n) + n + 20) < SERIAL_WORK:
        n_threads = plan.n_parts = 1
    n_units = n_tiles * plan.n_parts
    wave = min(n_units, n_threads * max(1, min(8, MATRIX_MEMORY // unit_bytes)))
    # About 50 milliseconds of work for each thread between two looks at signals.
    slice = max(1, <Py_ssize_t>(5e8 * plan.n_parts * n_threads
                                / (wave * 64.0 * lanes / 4 * (pair_of(n, n) + n + 20))))
    cdef Py_ssize_t tiles_bytes = aligned(n_tiles * (n + 1) * lanes * sizeof(double))
    cdef char *memory = <char *>malloc(ALIGNMENT + tiles_bytes + wave * unit_bytes)
    if memory == NULL:
        raise MemoryError
    plan.tiles = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    plan.matrices = plan.tiles + tiles_bytes // <Py_ssize_t>sizeof(double)
    try:
        for tile in range(n_tiles):
            i = tile * (n + 1) * lanes
            data.kernels.pack_thetas(&thetas[tile * lanes, 0],
                                     min(lanes, plan.n_candidates - tile * lanes), n, lanes,
                                     plan.tiles + i)
            if not data.kernels.scale_thetas(plan.tiles + i, n, lanes, data.rows.extent):
                finite = False
        plan.first_unit = 0
        while finite and plan.first_unit < n_units:
            wave = min(wave, n_units - plan.first_unit)
            memset(plan.matrices, 0, wave * unit_bytes)
            plan.first_block = 0
            while plan.first_block < n_blocks:
                plan.last_block = min(n_blocks, plan.first_block + slice)
                with nogil:
                    for i in prange(wave, schedule="dynamic", chunksize=1, num_threads=n_threads):
                        add_unit(&plan, i)
                plan.first_block = plan.last_block
                PyErr_CheckSignals()
            with nogil:
                for i in prange(wave, schedule="dynamic", chunksize=1, num_threads=n_threads):
                    write_unit(&plan, i)
            plan.first_unit += wave
    finally:
        free(memory)
    return finite


cdef struct SolvePlan:
    const Kernels *kernels
    Py_ssize_t n, n_penalised, n_systems
    const double *matrices
    const Py_ssize_t *which
    const double *scales
    const double *shifts
    const double *extents
    double *x
    double *squares
    double *radii


cdef void solve_unit(const SolvePlan *plan, Py_ssize_t tile, double *work) noexcept nogil:
    cdef Py_ssize_t n = plan.n, lanes = plan.kernels.lanes, first = tile * lanes
    cdef Py_ssize_t count = min(lanes, plan.n_systems - first), lane, j, pair, system
    cdef double *b = work + pair_of(n, n) * lanes
    cdef double *squares = b + n * lanes
    cdef double *radii = squares + lanes
    cdef const double *matrix
    for lane in range(lanes):
        # Idle lanes repeat the first system.
        system = first + (lane if lane < count else 0)
        matrix = plan.matrices + plan.which[system] * pair_of(n, n)
        for pair in range(pair_of(n, n)):
            work[pair * lanes + lane] = matrix[pair] * plan.scales[system]
        for j in range(plan.n_penalised):
            work[pair_of(n, j) * lanes + lane] += plan.shifts[system]
        for j in range(n):
            b[j * lanes + lane] = plan.x[system * n + j]
    plan.kernels.solve_tile(work, n, plan.extents, b, squares, radii, radii + lanes)
    for lane in range(count):
        system = first + lane
        plan.squares[system], plan.radii[system] = squares[lane], radii[lane]
        for j in range(n):
            plan.x[system * n + j] = b[j * lanes + lane]


def solve(const double[:, ::1] matrices, const Py_ssize_t[::1] which, const double[::1] scales,
          const double[::1] shifts, Py_ssize_t n_penalised, const double[::1] extents,
          double[:, ::1] x, double[::1] squares, double[::1] radii, int n_threads):
    """Solve many symmetric systems: x, the right-hand sides, becomes the solutions.

    System i has the matrix scales[i] * matrices[which[i]], in pairs, plus shifts[i] on the first
    n_penalised entries of the diagonal. squares[i] becomes b' matrix^-1 b, radii[i] a bound of
    sqrt(v' matrix^-1 v) over all |v_j| <= extents[j]: infinite where the matrix is singular.
    """
    cdef SolvePlan plan
    cdef Py_ssize_t n = x.shape[1], lanes, n_tiles, tile, first = 0, wave, i
    plan.kernels = table(0, False)
    lanes = plan.kernels.lanes
    plan.n, plan.n_penalised, plan.n_systems = n, n_penalised, x.shape[0]
    plan.matrices, plan.which, plan.scales = &matrices[0, 0], &which[0], &scales[0]
    plan.shifts, plan.extents = &shifts[0], &extents[0]
    plan.x, plan.squares, plan.radii = &x[0, 0], &squares[0], &radii[0]
    n_tiles = (plan.n_systems + lanes - 1) // lanes
    n_threads = min(n_threads, n_tiles)
    if <double>n * n * n * n_tiles * lanes / 8 < SERIAL_WORK:
        n_threads = 1
    cdef Py_ssize_t size = aligned(
        (pair_of(n, n) + 3 * n + 2) * lanes * sizeof(double)) // <Py_ssize_t>sizeof(double)
    cdef char *memory = <char *>malloc(ALIGNMENT + n_threads * size * sizeof(double))
    if memory == NULL:
        raise MemoryError
    cdef double *work = <double *>aligned(<Py_ssize_t><uintptr_t>memory)
    wave = n_threads * max(1, <Py_ssize_t>(1e8 / (<double>n * n * n * lanes / 8)))
    try:
        while first < n_tiles:
            wave = min(wave, n_tiles - first)
            with nogil:
                for i in prange(wave, schedule="dynamic", chunksize=1, num_threads=n_threads):
                    solve_unit(&plan, first + i, work + threadid() * size)
            first += wave
            PyErr_CheckSignals()
    finally:
        free(memory)
