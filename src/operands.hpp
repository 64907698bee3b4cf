// What the kernels of kernels.hpp are given: rows, candidates, and all else that Cython lays out in
// memory for them. Pointers to void are arrays of the dtype of a kernel.
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
    bool is_large;           // whether caches are too small for the panels
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

// A run of Adam, see descents.hpp: its parameters, and numbers of this step.
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

// A tile of single precision, and what its margins are computed from in double precision.
struct NarrowTile {
    const float *thetas, *slopes;  // [parameter][lane], [lane]: see counts.hpp
    const double *wide;            // two tiles of double precision: thetas, excesses
    const double *candidates;      // [lane][parameter]
    int count;                     // of the candidates
};

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

}  // namespace metaopt
