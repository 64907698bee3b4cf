// The table of kernels that one instruction set offers for one dtype: the border between
// _kernels.pyx and the headers. Pointers to void are arrays of that dtype.
#pragma once

#include "operands.hpp"

namespace metaopt {

// Adds the losses of blocks [first, last) to sums[lane] and, unless `gradients` is null, their
// gradients to gradients[parameter][lane]. thetas[parameter][lane] and, one row more,
// excesses[lane]: see find_excesses. scratch holds n_params panels.
using Evaluate = void (*)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                          double *sums, void *gradients, void *scratch);

// out[i] = f(x[i]).
using Elementwise = void (*)(const double *x, ptrdiff_t count, double *out);

// Adds the weights of rows of blocks [first, last) that are decided wrong to sums[cut * stride +
// lane] and, behind these, of those that are decided right.
using Count = void (*)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                       const Cuts *, double *sums, ptrdiff_t stride);

// The same by rows in single precision, `panels`, of blocks of norms[b] at most: returns how many
// panels of a candidate were computed again.
using CountNarrow = ptrdiff_t (*)(const Rows *, const void *panels, const float *norms,
                                  ptrdiff_t first, ptrdiff_t last, const NarrowTile *, const Cuts *,
                                  double *sums, ptrdiff_t stride);

// Adds what is found in blocks [first, last) to sums, and gradients to gradients[tile][parameter]
// [lane], unless that is null: see softmax.hpp. thetas as for Evaluate, tile by tile.
using EvaluateSoftmax = void (*)(const Rows *, const Softmax *, ptrdiff_t first, ptrdiff_t last,
                                 const void *thetas, double *sums, void *gradients, void *scratch);

struct Kernels {
    const char *loss;
    int itemsize;
    int lanes;  // of a tile
    int vector_lanes;
    double slope;  // how far the loss, or its root, changes with a margin: see losses.hpp
    int of_root;

    Evaluate evaluate_tile;  // `lanes` candidates
    // A single one: the same bits, read at the speed of memory. Blocks may be those of many spans,
    // if the first one is a span's first: the sums of each follow those of the one before.
    Evaluate evaluate_one;
    Evaluate evaluate_network;                                             // of rows with a network
    ptrdiff_t (*network_memory)(ptrdiff_t n_hidden, ptrdiff_t n_outputs);  // bytes of scratch

    // See tile.hpp: of gradients.
    void (*fold_spans)(const void *partial, ptrdiff_t n_spans, ptrdiff_t count, double *high,
                       double *low);

    // For one candidate, thetas[parameter * stride]: see single.hpp.
    void (*evaluate_wide)(const Rows *, ptrdiff_t n_blocks, const void *thetas, ptrdiff_t stride,
                          double unit, CarefulSum *sum, CarefulSum *gradient, void *scratch);

    // See norms.hpp and packing.hpp.
    ptrdiff_t (*row_norms)(const Source *, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n_columns,
                           double *norms);
    double (*pack_rows)(const Packing *, ptrdiff_t first_panel, ptrdiff_t last_panel);
    double (*spread_rows)(const Packing *, ptrdiff_t first_row, ptrdiff_t last_row);
    void (*turn_panels)(const Packing *, ptrdiff_t first_panel, ptrdiff_t last_panel,
                        void *scratch);
    // thetas[candidate][parameter] into [parameter][lane], zeros beyond count.
    void (*pack_thetas)(const double *thetas, ptrdiff_t count, ptrdiff_t n_params, ptrdiff_t lanes,
                        void *tile);
    // gradients[lane][parameter] = (high + low)[parameter][lane] / weight; whether all are finite.
    int (*write_means)(const double *high, const double *low, ptrdiff_t n_params, ptrdiff_t lanes,
                       ptrdiff_t count, double weight, double *gradients);
    // Candidates start .. of a sampler into [parameter][lane]; scratch holds n_params panels of
    // double precision.
    void (*draw)(const Sampler *, uint64_t start, ptrdiff_t lanes, void *tile, double *scratch);
    // See narrow_random.hpp.
    int (*draw_narrow)(const NarrowSampler *, uint64_t start, float *tile, unsigned int *rare);
    // See thetas.hpp.
    int (*find_excesses)(void *tile, ptrdiff_t n_params, ptrdiff_t lanes, double extent);
    void (*shrink_thetas)(void *tile, ptrdiff_t n_params, ptrdiff_t lanes);
    // See screen.hpp.
    int (*narrow_tiles)(const double *wide, ptrdiff_t n_params, const double *factors, float *tile);
    void (*margin_errors)(const float *tile, ptrdiff_t n_params, const double *sizes,
                          double *errors);
    void (*narrow_rows)(const double *from, ptrdiff_t n_panels, ptrdiff_t n_params,
                        const double *factors, const ptrdiff_t *row_at, void *panels);
    void (*slope_products)(const float *slopes, const float *tile, ptrdiff_t n_params,
                           float *products);
    void (*find_factors)(const void *panels, ptrdiff_t n_panels, ptrdiff_t n_params,
                         double *factors);
    void (*measure_columns)(const Rows *, ptrdiff_t n_blocks, double total_weight, int of_root,
                            const double *factors, double *sizes);
    void (*penalties_below)(const float *tile, ptrdiff_t n_penalised, const float *halves,
                            const float *doubts, float *penalties);
    // See counts.hpp: in double precision or single, and from double to single.
    Count count_tile;
    CountNarrow count_narrow;
    void (*find_slopes)(const double *wide, ptrdiff_t n_params, const double *spreads,
                        const double *units, double largest, float *slopes);
    void (*measure_rows)(const Rows *, ptrdiff_t n_blocks, double *spreads, float *norms);
    void (*find_grains)(const Rows *, ptrdiff_t n_blocks, const double *factors, double *grains);
    // See softmax.hpp.
    EvaluateSoftmax evaluate_softmax;   // sums[model]
    EvaluateSoftmax count_predictions;  // sums[model][class][predicted class]
    EvaluateSoftmax add_covariances;    // sums[model][class][class], in double precision alone
    ptrdiff_t (*softmax_memory)(ptrdiff_t n_columns);  // bytes of scratch
    // In double precision alone: see newton.hpp.
    void (*add_hessian)(const Rows *, ptrdiff_t first, ptrdiff_t last, const double *theta,
                        ptrdiff_t first_row, ptrdiff_t last_row, double *lanes);
    void (*largest_margins)(const Rows *, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                            double *largest);
    // See systems.hpp.
    void (*factor_tile)(double *matrix, ptrdiff_t n, const double *extents, double *radii,
                        double *inflations, double *scratch);
    void (*solve_tile)(const double *factors, ptrdiff_t n, double *b, double *squares);
    ptrdiff_t (*system_stride)(ptrdiff_t n);
    ptrdiff_t (*system_steps)(ptrdiff_t n);
    void (*factor_one)(double *matrix, ptrdiff_t n, const double *extents, double *radius,
                       double *inflation, double *scratch, ptrdiff_t first, ptrdiff_t last);
    void (*solve_one)(const double *factor, ptrdiff_t n, double *b, double *square);
    void (*make_reflections)(double *rows, ptrdiff_t n_columns, ptrdiff_t first, ptrdiff_t last,
                             double *taus);
    void (*reflect)(const double *rows, ptrdiff_t n_columns, const double *taus, ptrdiff_t first,
                    ptrdiff_t last, int backwards, double *row);
    // See trees.hpp.
    void (*squeeze_rows)(const BitRows *, ptrdiff_t feature, uint32_t *words, ptrdiff_t *ends);
    void (*count_features)(const BitRows *, int32_t *counts);
    void (*find_splits)(const BitRows *, const FeatureCounts *, ptrdiff_t root, ptrdiff_t first,
                        ptrdiff_t last, uint32_t *mask, int32_t *best);
    // See pairs.hpp.
    void (*apply_pairs)(const Pairs *, double *x, double *alphas);
    void (*apply_pairs_again)(const Pairs *, double *x, double *alphas);
    double (*keep_pair)(const Pairs *, double l2, ptrdiff_t at, const double *step, double *change,
                        double *product, double *square);
    void (*tilt_pair)(const Pairs *, ptrdiff_t at, double tilt);
    double (*dot)(const double *a, const double *b, ptrdiff_t n);
    // See lanes.hpp: in double precision alone.
    void (*add_lane_gradients)(const Rows *, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                               const double *signed_weights, double *gradients, double *scratch);
    void (*add_lane_losses)(const Rows *, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                            const double *signed_weights, int are_turned, double *losses,
                            double *wrong);
    void (*add_lane_hessians)(const Rows *, ptrdiff_t first, ptrdiff_t last, ptrdiff_t stride,
                              const double *thetas, const double *signed_weights,
                              ptrdiff_t first_row, ptrdiff_t last_row, double *hessians,
                              double *scratch);
    int (*advance_lanes)(const LaneDescent *);
    // See tasks.hpp: in double precision alone.
    void (*work_on_tasks)(const TaskTile *, int work);
    // See lasso.hpp: also in double precision alone.
    void (*column_products)(const double *left, ptrdiff_t left_stride, ptrdiff_t n_left,
                            const double *right, ptrdiff_t right_stride, ptrdiff_t n_right,
                            ptrdiff_t n_rows, double *out, ptrdiff_t step, ptrdiff_t other_step);
    void (*add_gram)(const double *columns, ptrdiff_t stride, ptrdiff_t n_columns,
                     const double *weights, const double *ones, ptrdiff_t first, ptrdiff_t count,
                     ptrdiff_t first_column, double *weighted, double *matrix, ptrdiff_t size,
                     double *means);
    void (*combine)(const double *columns, ptrdiff_t stride, const ptrdiff_t *which,
                    const double *factors, ptrdiff_t count, ptrdiff_t n_rows, double *out);
    void (*add_rows)(const double *matrix, ptrdiff_t size, const ptrdiff_t *which,
                     const double *factors, ptrdiff_t count, ptrdiff_t n, double *to);
    void (*logistic_rows)(const double *from, const double *direction, double size, double shift,
                          const double *signs, const double *weights, ptrdiff_t n_rows,
                          double *moved, double *residuals, double *curvatures,
                          DecisionSums *found);
    double (*sweep)(const double *matrix, ptrdiff_t size, ptrdiff_t n, const double *slopes,
                    const double *means, double scale, const double *diagonal,
                    const double *inverses, double l1, const double *shares, int all, double *at,
                    double *turned, double *pull);
    // See sparse.hpp: also in double precision alone.
    void (*sparse_products)(const Sparse *, ptrdiff_t first, ptrdiff_t last, const double *x,
                            int lanes, double *out);
    void (*weigh_rows)(const double *losses, double *slopes, const double *weights,
                       const double *signs, ptrdiff_t n_rows, int lanes, double *sums);
    void (*read_lanes)(const double *thetas, int count, ptrdiff_t n_columns, int lanes, double *x);
    void (*write_lanes)(const double *found, ptrdiff_t n_columns, int lanes, int count,
                        const double *thetas, double l2, ptrdiff_t n_params, double *gradients);
    void (*sparse_rows)(const SparseStep *, ptrdiff_t block);
    void (*sparse_columns)(const SparseStep *, ptrdiff_t block);
    void (*sparse_residuals)(const SparseMove *, ptrdiff_t block);
    void (*sparse_directions)(const SparseMove *, ptrdiff_t block);
    // See histogram.hpp.
    void (*find_ranges)(const Rows *, ptrdiff_t n_blocks, ptrdiff_t stride, const void *thetas,
                        double sign, double *range);
    void (*add_histograms)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                           double sign, const double *range, ptrdiff_t n_bins, double *histogram);
    void (*find_aucs)(const double *negative, const double *positive, ptrdiff_t n_bins,
                      double *areas, double *ties);
    void (*find_margins)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *theta,
                         double *z);
    // See ranks.hpp.
    void (*exact_aucs)(const Rows *negative, ptrdiff_t negative_blocks, const Rows *positive,
                       ptrdiff_t positive_blocks, const void *thetas, ptrdiff_t lanes,
                       ptrdiff_t count, ptrdiff_t n_rows, double *aucs, void *memory);
    void (*pointwise)(const void *z, ptrdiff_t count, void *loss, void *derivative);

    // See bound.hpp: of a tile of single precision.
    int (*moment_bounds)(const Moments *, const float *thetas, float limit, float *lower,
                         float *curvature);

    // See elementwise.hpp.
    Elementwise exp, expm1, log, log1p, log2;
    // See descents.hpp.
    void (*adam)(const AdamRun *, ptrdiff_t n_params);
    void (*add_squares)(const double *theta, const double *kept, double strength,
                        ptrdiff_t n_params, double *gradient, double *products);

    // See products.hpp.
    void (*products)(const double *rows, ptrdiff_t count, ptrdiff_t stride, ptrdiff_t n,
                     const double *tile, int n_lanes, double *out);
    void (*spread_pairs)(const PairGram *, const float *numbers, ptrdiff_t row, float *products);
    void (*add_pair_gram)(const PairGram *, ptrdiff_t tile);

    // For measuring the machine: a run of independent FMAs, and a sum over memory.
    double (*fma_run)(ptrdiff_t iterations);  // returns operations done (2 per FMA)
    double (*read_run)(const void *memory, ptrdiff_t bytes);
};

using KernelTable = const Kernels *(int loss, int single_precision);
extern "C" KernelTable metaopt_kernels_baseline, metaopt_kernels_avx2, metaopt_kernels_avx512;
extern "C" int metaopt_supports(const char *isa);

}  // namespace metaopt
