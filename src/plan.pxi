# What a call of the kernels is planned as, and the limits that plans keep. Needs table.pxi.
#
# A call leaves one partial sum for each (tile, span) and folds them in the order of the spans,
# whoever computed them. Threads meet seldom, since a thread that waits for another one which the
# system has put aside waits for milliseconds; and where they meet, signals are answered.

from libc.math cimport INFINITY
from libc.stdint cimport uint64_t
from libc.string cimport memset

# Work below this many visits, about 50 microseconds, stays on one thread, and keeps Python's lock:
# where other threads of Python wait for it, they would have it for 5 milliseconds each.
SERIAL_WORK = METAOPT_SERIAL_WORK
# Visits of adding one partial sum to its total.
cdef double FOLD_WORK = 20
# Visits between two looks at signals, for each thread: about 50 milliseconds.
cdef double SLICE_WORK = 1e9
# Bytes of packed rows that stay in a second-level cache while the tiles of a group pass by.
cdef Py_ssize_t CACHED_ROWS = 256 * 1024
# Bytes of thetas and partial sums at work, for each thread.
cdef Py_ssize_t WAVE_MEMORY = 4 * 1024 * 1024
# The same for all threads together, where rows are read from a disk.
cdef Py_ssize_t DISK_MEMORY = 64 * 1024 * 1024
# Tiles that share a reading of the rows; more of them leave threads less to even out.
cdef Py_ssize_t GROUP_TILES = 16
cdef Py_ssize_t COHORT_TILES = 128
# Tiles of each thread at least, where candidates drop out; two make one of those that are screened.
# A search of 64 threads has less than that in its first runs alone.
cdef Py_ssize_t PRUNED_TILES = 2
# Tiles of a cohort, if there are as many: half of one is idle lanes on average.
cdef Py_ssize_t FULL_COHORT = 4
# Bytes of thetas in single precision that are screened together: they stay in the second-level
# cache beside a block. But so many tiles, if they are of no more than such bytes: of fewer, idle
# lanes take a part of the time as candidates drop out.
cdef Py_ssize_t NARROW_MEMORY = 512 * 1024
cdef Py_ssize_t WIDE_TILES = 12
cdef Py_ssize_t WIDE_MEMORY = 2 * 1024 * 1024
# Spans that a single theta reads on, and whose partial sums are kept meanwhile.
cdef Py_ssize_t SPANS_AT_ONCE = 32
# Up to this many candidates, one pass over the rows for each beats a tile with idle lanes.
cdef Py_ssize_t FEW = 4
# The same where the rows are of so few bytes that they stay in a cache: a pass takes a tenth of the
# time of a tile of AVX-512, a seventh of one of AVX2.
cdef Py_ssize_t FEW_CACHED = 7
cdef Py_ssize_t CACHED_ALL = 16 * 1024 * 1024
# Visits from which a tile is long, and the part of threads that may be idle with tiles as long.
cdef double LONG_TILE = 1e7
cdef double IDLE = 1.05
cdef Py_ssize_t BLOCK_ROWS = PANEL * PANELS_PER_BLOCK
cdef Py_ssize_t ROWS_PER_SPAN = BLOCK_ROWS * BLOCKS_PER_SPAN


cdef enum: MAX_POINTS = 4


cdef struct CheckPoint:
    # A block, and moments of the rows from there on.
    Py_ssize_t block
    const Moments *moments


cdef struct Screen:
    # The rows in single precision, or none, what their columns were divided by, how large these
    # are, and a bound of rounding; half of l2 in the units of each penalised column, and how far
    # parameters that are drawn are from their own: see screen.hpp. Where the rest of the rows is
    # bounded by its moments, in the order of the blocks; and where by tangents, if anywhere, which
    # is where candidates are dropped then.
    const Kernels *kernels
    Rows rows
    bint has_rows
    double *factors
    double *sizes
    float *halves
    const float *doubts
    double gamma
    # Candidates drawn in single precision, or null, and a bound of the error of their margins.
    const NarrowSampler *sampler
    double doubt
    CheckPoint[MAX_POINTS] points
    int n_points
    # The first point's rows are curved from this block on, but for that doubt.
    Py_ssize_t curved_from
    double curve_doubt
    const Py_ssize_t *tangent_blocks
    const double *tangent_constants
    const float *tangent_slopes
    Py_ssize_t n_tangents


cdef struct Tally:
    # How many candidates reached each check point and passed it; how many were screened by rows in
    # single precision, and survived.
    double[MAX_POINTS] reached
    double[MAX_POINTS] passed
    double screened, survived


cdef struct Workspace:
    # Tiles at work, and the spans whose partial sums are kept for them.
    Py_ssize_t first_tile, n_tiles, first_span, n_spans
    bint finite
    # Arrays over tiles; [lane] and [parameter][lane] within. Behind a tile's thetas, its excesses.
    char *thetas
    double *loss_high
    double *loss_low
    double *gradient_high
    double *gradient_low
    # Arrays over (tile, span).
    double *partial_losses
    char *partial_gradients
    # Arrays over the candidates of a cohort, and the (row, candidate) pairs that it took.
    Py_ssize_t *candidates
    double *penalties
    double n_pairs
    # Of screening: how many candidates wait in single precision, and how many of them were kept
    # and wait in double precision; two tiles that are drawn, and what they are in single precision,
    # which of them are not exact enough, and bounds of their penalties and losses, and of the
    # latter what curvature adds to tangents; and over the candidates that wait, thetas, sums,
    # bounds of errors, penalties and the loss of further rows, that curvature, and numbers; what a
    # tile of them has of bounds and of curvature.
    Py_ssize_t n_narrow, n_kept
    Tally tally
    char *drawn
    float *fresh
    unsigned int *rare
    float *fresh_penalties
    float *fresh_bounds
    float *fresh_curvature
    float *narrow
    double *narrow_sums
    double *narrow_errors
    float *narrow_penalties
    double *narrow_bounds
    float *narrow_curvature
    Py_ssize_t *narrow_candidates
    float *tile_bounds
    # Of each thread that may work here: n_params panels of double precision, or more.
    char *scratch
    # What stands above is apart from the next workspace's by a line of any cache.
    char apart[128]


cdef struct Plan:
    const Kernels *kernels
    const Rows *rows
    Evaluate evaluate
    Py_ssize_t n_params, n_penalised, n_blocks, n_all_spans
    # Of networks, or null; visits of a row by one candidate, and bytes of scratch of a thread.
    const Network *network
    double row_work
    Py_ssize_t scratch_size
    # So many candidates or fewer are evaluated one by one.
    Py_ssize_t few
    double total_weight, l2
    # Where candidates come from: thetas, or a sampler if that is null.
    const double *thetas
    const Sampler *sampler
    uint64_t start
    Py_ssize_t n_candidates
    # Where results go; gradients may be null.
    double *losses
    double *gradients
    # A loss above it may be written as infinity.
    double threshold
    # What candidates are screened with before they are evaluated, or null, and what that dropped.
    const Screen *screen
    Tally tally
    # Where upper bounds of the losses go, if candidates that are screened are bounded instead of
    # evaluated, and lower bounds take the place of losses; or null.
    double *upper
    # How the work is cut: tiles of `lanes` candidates, in groups that read each run of blocks
    # together while it is in cache.
    Py_ssize_t lanes, n_tiles, first_group, n_groups, n_ranges, blocks_in_cache
    # Tiles and spans that a workspace has room for, and the groups between two looks at signals.
    Py_ssize_t wave, slice, groups_at_once
    # Tiles of single precision that are screened together.
    Py_ssize_t narrow_tiles
    int n_threads
    bint is_brief, on_disk
    # One for each thread, or a single one.
    Workspace *workspaces
    # The (row, candidate) pairs that cohorts took.
    double n_pairs


cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef double candidate_visits(Py_ssize_t n_samples, Py_ssize_t n_params) noexcept nogil:
    """Return the work of one candidate in visits of 0.05 ns; a pointwise loss counts as 20."""
    return <double>n_samples * (n_params + 20)


def work(Py_ssize_t n_samples, Py_ssize_t n_params):
    """Return what `candidate_visits` does."""
    return candidate_visits(n_samples, n_params)


cdef char *lay_out(const Plan *plan, Workspace *work, char *at, int n_threads) noexcept nogil:
    """Lay a workspace's arrays out from `at` on; returns the address behind them."""
    cdef Py_ssize_t itemsize = plan.kernels.itemsize, n_tiles = plan.wave, n_spans = plan.slice
    cdef Py_ssize_t size = plan.n_params * plan.lanes if plan.gradients else 0
    work.finite = True
    work.thetas = at
    at += aligned(n_tiles * (plan.n_params + 1) * plan.lanes * itemsize)
    work.loss_high = <double *>at
    at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.loss_low = <double *>at
    at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.gradient_high = <double *>at
    at += aligned(n_tiles * size * sizeof(double))
    work.gradient_low = <double *>at
    at += aligned(n_tiles * size * sizeof(double))
    work.partial_losses = <double *>at
    at += aligned(n_tiles * n_spans * plan.lanes * sizeof(double))
    work.partial_gradients = at
    at += aligned(n_tiles * n_spans * size * itemsize)
    work.candidates = <Py_ssize_t *>at
    if plan.threshold < INFINITY:
        at += aligned(n_tiles * plan.lanes * sizeof(Py_ssize_t))
    work.penalties = <double *>at
    if plan.threshold < INFINITY:
        at += aligned(n_tiles * plan.lanes * sizeof(double))
    work.n_pairs = 0
    work.scratch = at
    at += aligned(n_threads * plan.scratch_size)
    if plan.screen == NULL:
        return at
    # Two tiles of double precision make one of single precision.
    cdef Py_ssize_t n_fresh = 2 * plan.lanes, n_narrow = plan.narrow_tiles * n_fresh
    work.n_narrow = work.n_kept = 0
    memset(&work.tally, 0, sizeof(Tally))
    work.drawn = at
    at += aligned(n_fresh * (plan.n_params + 1) * sizeof(double))
    work.fresh = <float *>at
    at += aligned(n_fresh * (plan.n_params + 1) * sizeof(float))
    work.rare = <unsigned int *>at
    at += aligned(n_fresh * sizeof(int))
    work.fresh_penalties = <float *>at
    at += aligned(n_fresh * sizeof(float))
    work.fresh_bounds = <float *>at
    at += aligned(n_fresh * sizeof(float))
    work.fresh_curvature = <float *>at
    at += aligned(n_fresh * sizeof(float))
    work.narrow = <float *>at
    at += aligned(n_narrow * (plan.n_params + 1) * sizeof(float))
    work.narrow_sums = <double *>at
    at += aligned(n_narrow * sizeof(double))
    work.narrow_errors = <double *>at
    at += aligned(n_narrow * sizeof(double))
    work.narrow_penalties = <float *>at
    at += aligned(n_narrow * sizeof(float))
    work.narrow_bounds = <double *>at
    at += aligned(n_narrow * sizeof(double))
    work.narrow_curvature = <float *>at
    at += aligned(n_narrow * sizeof(float))
    work.narrow_candidates = <Py_ssize_t *>at
    at += aligned(n_narrow * sizeof(Py_ssize_t))
    work.tile_bounds = <float *>at
    return at + aligned(2 * n_fresh * sizeof(float))
