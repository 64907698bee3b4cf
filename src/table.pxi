# What the C++ headers declare, and the choice of an instruction set. Needs structures.pxi.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

import os

cdef extern from "kernels.hpp" namespace "metaopt" nogil:
    enum: PANEL
    enum: PANELS_PER_BLOCK
    enum: BLOCKS_PER_SPAN
    enum: LANE_HESSIAN_BLOCKS
    enum: MOMENT_PARAMS
    enum: NORMAL
    enum: UNIFORM

    struct Network

    struct Rows:
        const void *panels
        const Py_ssize_t *first_panel
        const int *rows
        const double *weights
        const void *row_weights
        Py_ssize_t n_params
        double extent
        const Network *network
        bint is_large

    enum NumberType:
        FLOAT64
        FLOAT32
        INT8
        INT16
        INT32
        INT64
        UINT8
        UINT16
        UINT32
        UINT64

    struct Source:
        const char *numbers
        const Py_ssize_t *starts
        Py_ssize_t row_step
        Py_ssize_t column_step
        Py_ssize_t n_columns
        int type
        bint by_columns

    struct Packing:
        Source source
        const Py_ssize_t *row_at
        const unsigned char *negative
        double scale
        Py_ssize_t n_params
        void *panels
        const int32_t *positions
        const int64_t *wide_positions

    struct Sampler:
        const unsigned char *transform
        const double *a
        const double *b
        const double *c
        Py_ssize_t n_params
        uint64_t seed
        Py_ssize_t n_kept, n_certain
        const double *ways
        const double *firsts
        Py_ssize_t max_nonzero

    struct NarrowSampler:
        const unsigned char *transform
        const float *a
        const float *b
        Py_ssize_t n_params
        uint64_t seed

    struct Moments:
        const float *panels
        const float *ridge
        const float *anchor
        Py_ssize_t n_params
        float constant, amplitude, dispersion, less, more
        int curve

    struct Cuts:
        const double *exact
        const float *narrow
        const float *above
        Py_ssize_t count
        int both

    struct NarrowTile:
        const float *thetas
        const float *slopes
        const double *wide
        const double *candidates
        int count

    struct Network:
        const int *labels
        Py_ssize_t n_hidden, n_outputs
        double unit
        int is_relu
        int vectors

    struct Softmax:
        const int *strata
        const double *factors
        const int *members
        Py_ssize_t n_models, n_classes, n_strata
        Py_ssize_t tile_step
        double unit

    struct Pairs:
        const float *steps
        const float *changes
        const float *intercepts
        const double *curvatures
        const double *tilts
        const double *ratios
        Py_ssize_t first, count, capacity, n, stride
        int has_intercepts

    struct BitRows:
        const uint32_t *words
        const Py_ssize_t *ends
        const int32_t *classes
        const int32_t *costs
        const int32_t *sizes
        Py_ssize_t n_segments, n_classes, n_features, stride
        int32_t least

    struct FeatureCounts:
        const int32_t *totals
        const int32_t *singles
        const int32_t *pairs

    struct PairGram:
        float *panels
        float *tiles
        Py_ssize_t n_rows, n_numbers, n_pairs, n_tiles, panel_size, tile_size
        double *sums

    struct CarefulSum:
        double high
        double low

    struct DecisionSums:
        double loss, residual, size, curvature, spread, product

    ctypedef void (*Evaluate)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double *, void *,
                              void *) noexcept nogil

    ctypedef void (*EvaluateSoftmax)(const Rows *, const Softmax *, Py_ssize_t, Py_ssize_t,
                                     const void *, double *, void *, void *) noexcept nogil

    ctypedef void (*Elementwise)(const double *, Py_ssize_t, double *) noexcept nogil

    cdef struct AdamRun:
        const double *theta
        const double *gradient
        double *mean
        double *squares
        double *out
        double beta1, rest1, beta2, rest2, eps, root, rate

    struct Kernels:
        const char *loss
        int itemsize
        int lanes
        int vector_lanes
        double slope
        int of_root
        Evaluate evaluate_tile
        Evaluate evaluate_one
        Evaluate evaluate_network
        Py_ssize_t (*network_memory)(Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*fold_spans)(const void *, Py_ssize_t, Py_ssize_t, double *,
                           double *) noexcept nogil
        void (*evaluate_wide)(const Rows *, Py_ssize_t, const void *, Py_ssize_t, double,
                              CarefulSum *, CarefulSum *, void *) noexcept nogil
        Py_ssize_t (*row_norms)(const Source *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                double *) noexcept nogil
        double (*pack_rows)(const Packing *, Py_ssize_t, Py_ssize_t) noexcept nogil
        double (*spread_rows)(const Packing *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*turn_panels)(const Packing *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*pack_thetas)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                            void *) noexcept nogil
        bint (*write_means)(const double *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                            double, double *) noexcept nogil
        void (*draw)(const Sampler *, uint64_t, Py_ssize_t, void *, double *) noexcept nogil
        int (*draw_narrow)(const NarrowSampler *, uint64_t, float *,
                           unsigned int *) noexcept nogil
        int (*find_excesses)(void *, Py_ssize_t, Py_ssize_t, double) noexcept nogil
        void (*shrink_thetas)(void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        int (*narrow_tiles)(const double *, Py_ssize_t, const double *, float *) noexcept nogil
        void (*margin_errors)(const float *, Py_ssize_t, const double *, double *) noexcept nogil
        void (*narrow_rows)(const double *, Py_ssize_t, Py_ssize_t, const double *,
                            const Py_ssize_t *, void *) noexcept nogil
        void (*slope_products)(const float *, const float *, Py_ssize_t,
                               float *) noexcept nogil
        void (*find_factors)(const void *, Py_ssize_t, Py_ssize_t, double *) noexcept nogil
        void (*measure_columns)(const Rows *, Py_ssize_t, double, int, const double *,
                                double *) noexcept nogil
        void (*penalties_below)(const float *, Py_ssize_t, const float *, const float *,
                                float *) noexcept nogil
        void (*count_tile)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, const Cuts *,
                           double *, Py_ssize_t) noexcept nogil
        Py_ssize_t (*count_narrow)(const Rows *, const void *, const float *, Py_ssize_t,
                                   Py_ssize_t, const NarrowTile *, const Cuts *, double *,
                                   Py_ssize_t) noexcept nogil
        void (*find_slopes)(const double *, Py_ssize_t, const double *, const double *, double,
                            float *) noexcept nogil
        void (*measure_rows)(const Rows *, Py_ssize_t, double *, float *) noexcept nogil
        void (*find_grains)(const Rows *, Py_ssize_t, const double *, double *) noexcept nogil
        EvaluateSoftmax evaluate_softmax
        EvaluateSoftmax count_predictions
        EvaluateSoftmax add_covariances
        Py_ssize_t (*softmax_memory)(Py_ssize_t) noexcept nogil
        void (*add_hessian)(const Rows *, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t,
                            Py_ssize_t, double *) noexcept nogil
        void (*largest_margins)(const Rows *, Py_ssize_t, Py_ssize_t, const double *,
                                double *) noexcept nogil
        void (*factor_tile)(double *, Py_ssize_t, const double *, double *, double *,
                            double *) noexcept nogil
        void (*solve_tile)(const double *, Py_ssize_t, double *, double *) noexcept nogil
        Py_ssize_t (*system_stride)(Py_ssize_t) noexcept nogil
        Py_ssize_t (*system_steps)(Py_ssize_t) noexcept nogil
        void (*factor_one)(double *, Py_ssize_t, const double *, double *, double *, double *,
                           Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*solve_one)(const double *, Py_ssize_t, double *, double *) noexcept nogil
        void (*make_reflections)(double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                 double *) noexcept nogil
        void (*reflect)(const double *, Py_ssize_t, const double *, Py_ssize_t, Py_ssize_t, int,
                        double *) noexcept nogil
        void (*squeeze_rows)(const BitRows *, Py_ssize_t, uint32_t *, Py_ssize_t *) noexcept nogil
        void (*count_features)(const BitRows *, int32_t *) noexcept nogil
        void (*find_splits)(const BitRows *, const FeatureCounts *, Py_ssize_t, Py_ssize_t,
                            Py_ssize_t, uint32_t *, int32_t *) noexcept nogil
        void (*apply_pairs)(const Pairs *, double *, double *) noexcept nogil
        void (*apply_pairs_again)(const Pairs *, double *, double *) noexcept nogil
        double (*keep_pair)(const Pairs *, double, Py_ssize_t, const double *, double *, double *,
                            double *) noexcept nogil
        void (*tilt_pair)(const Pairs *, Py_ssize_t, double) noexcept nogil
        double (*dot)(const double *, const double *, Py_ssize_t) noexcept nogil
        void (*add_lane_gradients)(const Rows *, Py_ssize_t, Py_ssize_t, const double *,
                                   const double *, double *, double *) noexcept nogil
        void (*add_lane_losses)(const Rows *, Py_ssize_t, Py_ssize_t, const double *,
                                const double *, int, double *, double *) noexcept nogil
        void (*add_lane_hessians)(const Rows *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                                  const double *, Py_ssize_t, Py_ssize_t, double *,
                                  double *) noexcept nogil
        int (*advance_lanes)(const LaneDescent *) noexcept nogil
        void (*work_on_tasks)(const TaskTile *, int) noexcept nogil
        void (*column_products)(const double *, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t,
                                Py_ssize_t, Py_ssize_t, double *, Py_ssize_t,
                                Py_ssize_t) noexcept nogil
        void (*add_gram)(const double *, Py_ssize_t, Py_ssize_t, const double *, const double *,
                         Py_ssize_t, Py_ssize_t, Py_ssize_t, double *, double *, Py_ssize_t,
                         double *) noexcept nogil
        void (*combine)(const double *, Py_ssize_t, const Py_ssize_t *, const double *, Py_ssize_t,
                        Py_ssize_t, double *) noexcept nogil
        void (*add_rows)(const double *, Py_ssize_t, const Py_ssize_t *, const double *, Py_ssize_t,
                         Py_ssize_t, double *) noexcept nogil
        void (*logistic_rows)(const double *, const double *, double, double, const double *,
                              const double *, Py_ssize_t, double *, double *, double *,
                              DecisionSums *) noexcept nogil
        double (*sweep)(const double *, Py_ssize_t, Py_ssize_t, const double *, const double *,
                        double, const double *, const double *, double, const double *, int,
                        double *, double *, double *) noexcept nogil
        void (*sparse_products)(const Sparse *, Py_ssize_t, Py_ssize_t, const double *, int,
                                double *) noexcept nogil
        void (*weigh_rows)(const double *, double *, const double *, const double *, Py_ssize_t,
                           int, double *) noexcept nogil
        void (*read_lanes)(const double *, int, Py_ssize_t, int, double *) noexcept nogil
        void (*write_lanes)(const double *, Py_ssize_t, int, int, const double *, double,
                            Py_ssize_t, double *) noexcept nogil
        void (*sparse_rows)(const SparseStep *, Py_ssize_t) noexcept nogil
        void (*sparse_columns)(const SparseStep *, Py_ssize_t) noexcept nogil
        void (*sparse_residuals)(const SparseMove *, Py_ssize_t) noexcept nogil
        void (*sparse_directions)(const SparseMove *, Py_ssize_t) noexcept nogil
        void (*find_ranges)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double,
                            double *) noexcept nogil
        void (*add_histograms)(const Rows *, Py_ssize_t, Py_ssize_t, const void *, double,
                               const double *, Py_ssize_t, double *) noexcept nogil
        void (*find_aucs)(const double *, const double *, Py_ssize_t, double *,
                          double *) noexcept nogil
        void (*find_margins)(const Rows *, Py_ssize_t, Py_ssize_t, const void *,
                             double *) noexcept nogil
        void (*exact_aucs)(const Rows *, Py_ssize_t, const Rows *, Py_ssize_t, const void *,
                           Py_ssize_t, Py_ssize_t, Py_ssize_t, double *, void *) noexcept nogil
        void (*pointwise)(const void *, Py_ssize_t, void *, void *) noexcept nogil
        bint (*moment_bounds)(const Moments *, const float *, float, float *,
                              float *) noexcept nogil
        Elementwise exp
        Elementwise expm1
        Elementwise log
        Elementwise log1p
        Elementwise log2
        void (*adam)(const AdamRun *, Py_ssize_t) noexcept nogil
        void (*add_squares)(const double *, const double *, double, Py_ssize_t, double *,
                            double *) noexcept nogil
        void (*products)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, int,
                         double *) noexcept nogil
        void (*spread_pairs)(const PairGram *, const float *, Py_ssize_t, float *) noexcept nogil
        void (*add_pair_gram)(const PairGram *, Py_ssize_t) noexcept nogil
        double (*fma_run)(Py_ssize_t) noexcept nogil
        double (*read_run)(const void *, Py_ssize_t) noexcept nogil

    const Kernels *metaopt_kernels_baseline(int, int) noexcept
    const Kernels *metaopt_kernels_avx2(int, int) noexcept
    const Kernels *metaopt_kernels_avx512(int, int) noexcept
    int metaopt_supports(const char *) noexcept

cdef extern from "threads.hpp" namespace "metaopt" nogil:
    bint METAOPT_OPENMP
    int metaopt_max_threads() noexcept
    int metaopt_release_threads_at_fork() noexcept

cdef extern from "team.hpp" namespace "metaopt" nogil:
    double METAOPT_SERIAL_WORK
    int metaopt_team(int, double) noexcept
    void metaopt_share[P](void (*)(const P *, Py_ssize_t, int) noexcept nogil, const P *,
                          Py_ssize_t, int, double) noexcept

ctypedef const Kernels *(*KernelTable)(int, int) noexcept nogil

ctypedef fused real:
    float
    double

# Of memory that the kernels read and write.
cdef Py_ssize_t ALIGNMENT = 64


ISAS = ("avx512", "avx2", "baseline")


def supported_isas():
    """Names of the instruction sets that were compiled and run here, the widest first."""
    return [name for name in ISAS if metaopt_supports(name.encode())]


cdef KernelTable table
_forced = os.environ.get("METAOPT_FAST_ISA", "")
if _forced and _forced not in ISAS:
    raise ImportError(f"METAOPT_FAST_ISA is {_forced!r}: set it to 'baseline', 'avx2' or 'avx512', "
                      "or unset it for the widest that this processor supports.")
if _forced and _forced not in supported_isas():
    raise ImportError(f"METAOPT_FAST_ISA is {_forced!r}, which this processor does not support: "
                      f"set it to one of {', '.join(map(repr, supported_isas()))}, or unset it.")
_isa = _forced or supported_isas()[0]
if _isa == "avx512":
    table = metaopt_kernels_avx512
elif _isa == "avx2":
    table = metaopt_kernels_avx2
else:
    table = metaopt_kernels_baseline

# The numbers of the pointwise losses of losses.hpp, by name.
LOSSES = {}
while table(len(LOSSES), False) != NULL:
    LOSSES[table(len(LOSSES), False).loss.decode()] = len(LOSSES)

OPENMP = bool(METAOPT_OPENMP)
if metaopt_release_threads_at_fork() != 0:
    raise ImportError("pthread_atfork failed: the process has no memory left for the handler that "
                      "keeps forked children from hanging; free some, then import again.")


def isa():
    """Return the instruction set in use, and why: the widest supported, or METAOPT_FAST_ISA."""
    if _forced:
        return _isa, "METAOPT_FAST_ISA"
    return _isa, "the widest this processor supports"


def max_threads():
    """Threads that OpenMP would use: OMP_NUM_THREADS, omp_set_num_threads, or the processors."""
    return metaopt_max_threads()
