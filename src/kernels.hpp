// The table of kernels that one instruction set offers for one dtype: the border between
// _kernels.pyx and the headers. Pointers to void are arrays of that dtype.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace metaopt {

// Rows are stored as panels of 8: panels[panel][parameter][8]. Blocks are runs of at most 8 panels
// whose rows share one weight; the last panel of a block may hold rows of zeros beyond `rows`.
// Eight blocks make a span, the unit of work and of rounding: what is added within a span, and in
// which order, never depends on threads, batches or tiles.
constexpr int PANEL = 8;
constexpr int PANELS_PER_BLOCK = 8;
constexpr int BLOCKS_PER_SPAN = 8;
// Blocks whose Hessians are summed together, for a tile of models: see lanes.hpp.
constexpr int LANE_HESSIAN_BLOCKS = 4;

struct Network;
struct Rows {
    const void *panels;
    const ptrdiff_t *first_panel;  // of each block
    const int *rows;               // of each block, 1..64
    const double *weights;         // of each block
    const void *row_weights;       // [panel][8], or null: every row of a block has the block's
    ptrdiff_t n_params;
    double extent;           // the largest absolute value in the panels
    const Network *network;  // of rows of networks; else null
};

// Networks of one hidden layer, whose thetas are tiles as those of linear models: see network.hpp.
struct Network {
    const int *labels;  // of the row at each position of the panels
    ptrdiff_t n_hidden, n_outputs;
    double unit;  // a power of two that weights are multiplied by
    int is_relu;
    int vectors;  // of a tile, that hold candidates
};

// Numbers where and as a caller's array has them: entry j of row i is at
// numbers + (starts ? starts[i] : i * row_step) + j * column_step, in bytes.
enum NumberType : int {
    FLOAT64,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64
};
struct Source {
    const char *numbers;
    const ptrdiff_t *starts;
    ptrdiff_t row_step, column_step, n_columns;
    int type;
    bool by_columns;  // columns, not rows, are in one piece
};

// Rows of a source that become panels: row_at[panel][8] has their numbers, -1 for rows of zeros.
// They are multiplied by `scale`, those with a 1 in `negative`, unless that is null, by -scale; and
// columns of ones follow, up to n_params. Where the source's columns are in one piece, one of
// `positions` and `wide_positions` has the position of each row, -1 where it has none, and the
// panels are zeros at first.
struct Packing {
    Source source;
    const ptrdiff_t *row_at;
    const unsigned char *negative;
    double scale;
    ptrdiff_t n_params;
    void *panels;
    const int32_t *positions;
    const int64_t *wide_positions;
};

enum Transform : unsigned char { NORMAL = 0, UNIFORM = 1, INTEGERS = 2 };

// Parameter j of a candidate: NORMAL a + b * normal, UNIFORM a + b * u, INTEGERS a + floor(b * u),
// the latter two at most c.
struct Sampler {
    const unsigned char *transform;
    const double *a, *b, *c;
    ptrdiff_t n_params;
    uint64_t seed;
    // Where n_kept is not 0, so many parameters are kept and the others are 0: those of the lowest
    // keys, which are n_params further columns; n_certain keys are below 0, all others above it.
    ptrdiff_t n_kept, n_certain;
    // Where `ways` is not null, candidates are numbered instead of drawn: see whole.hpp.
    const double *ways, *firsts;
    ptrdiff_t max_nonzero;
};

// A sampler of normal and uniform numbers, in single precision.
struct NarrowSampler {
    const unsigned char *transform;
    const float *a, *b;
    ptrdiff_t n_params;
    uint64_t seed;
};

// Adds the losses of blocks [first, last) to sums[lane] and, unless `gradients` is null, their
// gradients to gradients[parameter][lane]. thetas[parameter][lane] and, one row more,
// excesses[lane]: see find_excesses. scratch holds n_params panels.
using Evaluate = void (*)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                          double *sums, void *gradients, void *scratch);

// out[i] = f(x[i]).
using Elementwise = void (*)(const double *x, ptrdiff_t count, double *out);

// A run of Adam, see adam.hpp: its parameters, and numbers of this step.
struct AdamRun {
    const double *theta, *gradient;
    double *mean, *squares, *out;
    double beta1, rest1, beta2, rest2, eps, root, rate;
};

// What lower bounds of the losses of candidates are made of: see bound.hpp. In single precision.
constexpr int MOMENT_PARAMS = 64;
enum Curve : int { AWAY = 0, EVEN = 1, SQUARE = 2 };
struct Moments {
    const float *panels;          // rows: the gradient, then those of an upper triangle
    const float *ridge, *anchor;  // of each parameter
    ptrdiff_t n_params;           // at most MOMENT_PARAMS
    float constant, amplitude, dispersion;
    float less, more;  // 1 -+ the relative error of the squares
    int curve;
};

// What z of a row is compared with: above it, the decision is wrong. `narrow` is the largest number
// of single precision that is not above it, and `above` the next one.
struct Cuts {
    const double *exact;
    const float *narrow, *above;
    ptrdiff_t count;
    int both;  // whether weights of right decisions are summed, too
};

// Adds the weights of rows of blocks [first, last) that are decided wrong to sums[cut * stride +
// lane] and, behind these, of those that are decided right.
using Count = void (*)(const Rows *, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                       const Cuts *, double *sums, ptrdiff_t stride);

// A tile of single precision, and what its margins are computed from in double precision.
struct NarrowTile {
    const float *thetas, *slopes;  // [parameter][lane], [lane]: see counts.hpp
    const double *wide;            // two tiles of double precision: thetas, excesses
    const double *candidates;      // [lane][parameter]
    int count;                     // of the candidates
};

// The same by rows in single precision, `panels`, of blocks of norms[b] at most: returns how many
// panels of a candidate were computed again.
using CountNarrow = ptrdiff_t (*)(const Rows *, const void *panels, const float *norms,
                                  ptrdiff_t first, ptrdiff_t last, const NarrowTile *, const Cuts *,
                                  double *sums, ptrdiff_t stride);

// Softmax regressions of n_classes each, the columns of whose thetas lie in the lanes of tiles,
// model by model. All rows of a block are of one stratum, s, and of class s % n_classes.
struct Softmax {
    const int *strata;      // of each block
    const double *factors;  // [model][stratum]: of the weights of its rows; 0: it is left out
    const int *members;     // whose factors are those of the models that are there
    ptrdiff_t n_models, n_classes, n_strata;
    ptrdiff_t tile_step;  // from one tile's gradients to the next one's
    double unit;          // a power of two that weights are multiplied by
};

// Adds what is found in blocks [first, last) to sums, and gradients to gradients[tile][parameter]
// [lane], unless that is null: see softmax.hpp. thetas as for Evaluate, tile by tile.
using EvaluateSoftmax = void (*)(const Rows *, const Softmax *, ptrdiff_t first, ptrdiff_t last,
                                 const void *thetas, double *sums, void *gradients, void *scratch);

// What L-BFGS remembers of a model, `count` pairs in a ring of `capacity`: see pairs.hpp. Those
// whose curvature, step . (change + tilt step), is not above 0 are left out; ratios are a / b. The
// last of each `stride` parameters is an intercept, if there are any: `intercepts` are the changes
// of these.
struct Pairs {
    const float *steps, *changes, *intercepts;
    const double *curvatures, *tilts, *ratios;
    ptrdiff_t first, count, capacity, n, stride;
    int has_intercepts;
};

// Rows as bits: words[word][feature] has 32 rows of each feature, zeros beyond the features and
// beyond the rows; `stride` is a multiple of 16. They lie in segments, class by class, whose rows
// all cost the same where they are decided wrongly, and stand for as many rows.
struct BitRows {
    const uint32_t *words;
    const ptrdiff_t *ends;                   // of each segment, in words
    const int32_t *classes, *costs, *sizes;  // of each segment
    ptrdiff_t n_segments, n_classes, n_features, stride;
    int32_t least;  // that a leaf may have of rows; 0: of two classes, which nobody counts
};

// What is counted of rows: the costs of each class, and then, unless nobody counts them, the rows.
struct FeatureCounts {
    const int32_t *totals;   // [quantity]
    const int32_t *singles;  // [quantity][feature]
    const int32_t *pairs;    // [feature][quantity][other feature]
};

// A matrix of which each line is a list: the numbers of line i are those at [starts[i],
// starts[i + 1]), each at one of the `places` of a vector, in ascending order.
struct Sparse {
    const ptrdiff_t *starts;
    const int *places;
    const double *numbers;
    ptrdiff_t n_lines;
};

// Vectors that stand side by side at most: 24 take 0.6 of the time of three times 8 where lines are
// long (165 numbers), and 0.9 where they are short (16).
constexpr int SPARSE_LANES = 24;

// One product with the Hessians or the gradients of models that stand side by side in `lanes`, 8 or
// 1, or the columns' part of one, of 24 too: see sparse.hpp. Rows have the sign of their class in
// them; x and product have a line for the intercept behind those of the columns. Sums are those of
// blocks of 64 rows, of losses, curvatures and slopes along the intercept, and of 64 columns.
constexpr int ROW_SUMS = 3, COLUMN_SUMS = 3, MOVE_SUMS = 2;
struct SparseStep {
    Sparse rows, columns;
    const double *signs, *weights;  // of each row
    const int *strata;
    const double *factors;  // [stratum][lane]: of the weights of its rows
    const double *asked;    // [lane]: 1 for a gradient, 0 for a product with the Hessian
    const double *l2;       // [lane]
    const double *x;
    double *curvatures, *slopes;  // [row][lane]
    double *product, *row_sums, *column_sums;
    int lanes, any_asked, has_intercept;
};

// What becomes of the vectors of conjugate gradients, [parameter][lane], by factors of each lane.
struct SparseMove {
    double *x, *product, *residual, *step, *theta;
    const double *sizes, *scales, *l2;  // [parameter], [lane], [lane]
    const double *keep, *take, *grow, *along, *turn, *down, *base, *whole, *accept;
    double *sums;
    ptrdiff_t n, n_penalised;
    int lanes, any_theta;
};

// What L-BFGS knows of a tile of models, one in each lane: [parameter][lane], or [lane] alone. The
// last `count` trials are in a ring, [slot][parameter][lane], the newest at slot `newest`, which is
// written next. Step and slope, trial and sums over rows are those of one visit of the rows.
struct LaneDescent {
    ptrdiff_t n, capacity, count, newest;
    int is_shared;         // whether all lanes have one factor
    const double *metric;  // a factor in pairs: [pair] or [pair][lane]
    const double *penalties, *centres, *inverse_totals;
    const double *wanted, *most;  // the slope at which a model is done, and steps
    double *theta, *gradient, *trial, *trial_gradient, *direction, *scratch;
    double *steps, *changes, *inverse_curvatures, *alphas;
    double *slopes, *least, *sizes, *active, *idle, *asked;
};

// Models of rows of their own, one in each lane: see tasks.hpp. Arrays are [parameter][lane] or
// [lane], but for those that say so.
enum TaskWork { TASK_FIT, TASK_EVALUATE, TASK_SOLVE };
struct TaskTile {
    ptrdiff_t n_rows, n_params;
    double wanted, most;         // the square of a step at which a model is done, and steps
    double *x, *signed_weights;  // [row][parameter][lane], [row][lane]
    double *inverse_totals, *penalties, *centres;
    double *theta, *gradient, *trial, *trial_gradient, *step;
    double *matrix, *curvatures;  // [pair][lane], [row][lane]
    double *ones, *scratch;       // [parameter], and 3 of [parameter][lane]
    double *losses, *squares, *radii, *inflations, *n_steps;  // what is known
};

// Rows of products, [panel][row][PANEL] and [tile][row][lane], and sums of the products of these.
struct PairGram {
    float *panels, *tiles;
    ptrdiff_t n_rows, n_numbers, n_pairs, n_tiles, panel_size, tile_size;
    double *sums;
};

// A sum, and what its additions rounded off.
struct CarefulSum {
    double high, low;
};

// Sums over rows of losses, residuals, their absolute values, curvatures, and residuals times
// decision values, absolute and as they are.
struct DecisionSums {
    double loss, residual, size, curvature, spread, product;
};

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

    // See packing.hpp.
    ptrdiff_t (*row_norms)(const Source *, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n_columns,
                           double *norms);
    double (*pack_rows)(const Packing *, ptrdiff_t first_panel, ptrdiff_t last_panel);
    double (*spread_rows)(const Packing *, ptrdiff_t first_row, ptrdiff_t last_row);
    void (*turn_panels)(const Packing *, ptrdiff_t first_panel, ptrdiff_t last_panel,
                        void *scratch);
    // thetas[candidate][parameter] into [parameter][lane], zeros beyond count.
    void (*pack_thetas)(const double *thetas, ptrdiff_t count, ptrdiff_t n_params, ptrdiff_t lanes,
                        void *tile);
    // Candidates start .. of a sampler into [parameter][lane]; scratch holds n_params panels of
    // double precision.
    void (*draw)(const Sampler *, uint64_t start, ptrdiff_t lanes, void *tile, double *scratch);
    // See narrow_random.hpp.
    int (*draw_narrow)(const NarrowSampler *, uint64_t start, float *tile, unsigned int *rare);
    // See packing.hpp.
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
    double (*exact_auc)(const Rows *negative, ptrdiff_t negative_blocks, const Rows *positive,
                        ptrdiff_t positive_blocks, const void *theta, void *memory);
    void (*pointwise)(const void *z, ptrdiff_t count, void *loss, void *derivative);

    // See bound.hpp: of a tile of single precision.
    void (*moment_bounds)(const Moments *, const float *thetas, float *lower, float *curvature);

    // See elementwise.hpp.
    Elementwise exp, expm1, log, log1p, log2;
    void (*adam)(const AdamRun *, ptrdiff_t n_params);

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
