// Calls AVX2 kernels, each on a problem that never changes, for benches/instructions.py to count
// their instructions. Three arguments are one kernel: the number of a loss, float32 or float64, and
// its name.
#include <stdlib.h>
#include <string.h>

#include <initializer_list>

#include "kernels.hpp"

using namespace metaopt;

namespace {

constexpr ptrdiff_t N_PARAMS = 30, N_BLOCKS = 32, N_ROWS = N_BLOCKS * 64, N_BINS = 256;
constexpr ptrdiff_t N_NUMBERS = 1 << 18;

// Between -1 and 1, in both precisions.
double doubles[N_NUMBERS];
float singles[N_NUMBERS];

void draw_numbers() {
    uint64_t state = 1;
    for (ptrdiff_t i = 0; i < N_NUMBERS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        doubles[i] = (double)(state >> 11) / 4503599627370496.0 - 1;
        singles[i] = (float)doubles[i];
    }
}

// Aligned for the widest vectors; filled with numbers, and beyond those in single precision with 0.
constexpr ptrdiff_t N_ARRAYS = 9;
alignas(64) double arrays[N_ARRAYS][N_NUMBERS];

void *numbers(ptrdiff_t array, bool is_single) {
    memset(arrays[array], 0, sizeof(arrays[array]));
    return is_single ? memcpy(arrays[array], singles, sizeof(singles))
                     : memcpy(arrays[array], doubles, sizeof(doubles));
}

struct Problem {
    const Kernels *kernels;
    Rows rows;
    Sampler sampler;
    void *thetas, *scratch, *out;
    double *sums, *range, *matrix, *more, *square;
    void *narrow;
    Packing packing;
};

// Of cuts at 0, for rows whose sums in single precision are exact.
constexpr double EXACT = 0;
constexpr float NARROW = 0, ABOVE = 1, NO_SLOPES[64] = {}, NORMS[N_BLOCKS] = {};
constexpr Cuts CUTS = {&EXACT, &NARROW, &ABOVE, 1, 0};

// Rows of two classes as bits, of which nothing is known.
constexpr ptrdiff_t N_FEATURES = 64, ENDS[] = {16, 32};
constexpr int32_t CLASSES[] = {0, 1}, COSTS[] = {16, 16}, SIZES[] = {1, 1};
// Networks of one output, whose rows are all of class 0.
constexpr ptrdiff_t N_HIDDEN = 8, N_OF_NETWORK = N_HIDDEN * (N_PARAMS + 1) + 1;
int labels[N_ROWS];
constexpr Network NETWORK = {labels, N_HIDDEN, 1, 1, 0, 3};
int32_t known_counts[N_FEATURES * 2 * N_FEATURES];

// Two models of five classes, of rows of one of these.
constexpr int STRATA[N_BLOCKS] = {};
constexpr int MEMBERS[2] = {0, 1};
constexpr double FACTORS[2 * 5] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Lines of 16 numbers, as rows and as columns; vectors of eight models.
constexpr ptrdiff_t N_LINES = 1024, LINE = 16, SIDE = 8;
int strata_of_lines[N_LINES], places[N_LINES * LINE];
ptrdiff_t starts[N_LINES + 1];
double ones[N_LINES];

bool is(const char *name, const char *other) { return strcmp(name, other) == 0; }

// Sparse rows, a vector of numbers for each thing that is read, and one for each that is written.
SparseStep sparse_step(Problem *p) {
    const Sparse matrix = {starts, places, p->more, N_LINES};
    double *const out = (double *)p->out;
    return {matrix,
            matrix,
            ones,
            ones,
            strata_of_lines,
            ones,
            ones,
            ones,
            p->matrix,
            out,
            out + N_LINES * SIDE,
            out + 2 * N_LINES * SIDE,
            (double *)p->scratch,
            (double *)p->scratch,
            (int)SIDE,
            1,
            0};
}

SparseMove sparse_move(Problem *p) {
    double *const out = (double *)p->out;
    const ptrdiff_t size = N_LINES * SIDE;
    return {out,
            out + size,
            out + 2 * size,
            out + 3 * size,
            out + 4 * size,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            ones,
            (double *)p->scratch,
            N_LINES,
            N_LINES,
            (int)SIDE,
            1};
}

}  // namespace

// Of the kernels of fits, that of a name.
bool is_fit(Problem *p, const char *name) {
    const Kernels *kernels = p->kernels;
    double *const out = (double *)p->out, *const scratch = (double *)p->scratch;
    const double *const thetas = (const double *)p->thetas;
    const Softmax softmax = {STRATA, FACTORS, MEMBERS, 2, 5, 1, N_PARAMS * kernels->lanes, 1};
    const SparseStep step = sparse_step(p);
    const SparseMove move = sparse_move(p);
    DecisionSums found;
    double pull = 0;
    if (is(name, "evaluate_softmax"))
        kernels->evaluate_softmax(&p->rows, &softmax, 0, N_BLOCKS, p->thetas, p->sums, nullptr,
                                  p->scratch);
    else if (is(name, "evaluate_softmax, gradient"))
        kernels->evaluate_softmax(&p->rows, &softmax, 0, N_BLOCKS, p->thetas, p->sums, p->out,
                                  p->scratch);
    else if (is(name, "add_lane_losses"))
        kernels->add_lane_losses(&p->rows, 0, N_BLOCKS, thetas, p->more, 0, out, p->sums);
    else if (is(name, "add_lane_gradients"))
        kernels->add_lane_gradients(&p->rows, 0, N_BLOCKS, thetas, p->more, out, scratch);
    else if (is(name, "add_lane_hessians"))
        kernels->add_lane_hessians(&p->rows, 0, N_BLOCKS, 1, thetas, p->more, 0, N_PARAMS, out,
                                   scratch);
    else if (is(name, "column_products"))
        kernels->column_products(p->more, N_ROWS, 12, p->sums, N_ROWS, 6, N_ROWS, out, 1, 12);
    else if (is(name, "add_gram"))
        kernels->add_gram(p->more, N_ROWS, 32, p->sums, ones, 0, 256, 28, scratch, out, 32,
                          out + N_ROWS);
    else if (is(name, "logistic_rows"))
        kernels->logistic_rows(p->more, p->matrix, 1, 0.5, p->sums, p->range, N_ROWS, out,
                               out + N_ROWS, out + 2 * N_ROWS, &found);
    else if (is(name, "sweep"))
        kernels->sweep(p->matrix, 64, 64, p->more, p->sums, 0, ones, ones, 0.25, ones, 1, out,
                       scratch, &pull);
    else if (is(name, "adam")) {
        const AdamRun run = {thetas, p->more, p->matrix, p->sums, out,  0.9,
                             0.1,    0.999,   0.001,     1e-8,    0.25, 0.01};
        kernels->adam(&run, N_ROWS);
    } else if (is(name, "add_squares"))
        kernels->add_squares(thetas, ones, 0.25, N_LINES, p->more, out);
    else if (is(name, "write_means"))
        kernels->write_means(p->more, p->matrix, N_OF_NETWORK, kernels->lanes, kernels->lanes, 3,
                             out);
    else if (is(name, "sparse_products"))
        kernels->sparse_products(&step.rows, 0, N_LINES, p->matrix, PANEL, out);
    else if (is(name, "sparse_rows"))
        for (ptrdiff_t b = 0; b < N_LINES / 64; b++) kernels->sparse_rows(&step, b);
    else if (is(name, "sparse_columns"))
        for (ptrdiff_t b = 0; b < N_LINES / 64; b++) kernels->sparse_columns(&step, b);
    else if (is(name, "sparse_residuals"))
        for (ptrdiff_t b = 0; b < N_LINES / 64; b++) kernels->sparse_residuals(&move, b);
    else if (is(name, "sparse_directions"))
        for (ptrdiff_t b = 0; b < N_LINES / 64; b++) kernels->sparse_directions(&move, b);
    else
        return false;
    return true;
}

// What is counted.
extern "C" __attribute__((noinline)) bool measured(Problem *p, const char *name) {
    const Kernels *kernels = p->kernels;
    if (is(name, "evaluate_tile"))
        kernels->evaluate_tile(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, nullptr, p->scratch);
    else if (is(name, "evaluate_tile, gradient"))
        kernels->evaluate_tile(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, p->out, p->scratch);
    else if (is(name, "evaluate_one"))
        kernels->evaluate_one(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, nullptr, p->scratch);
    else if (is(name, "evaluate_one, gradient"))
        kernels->evaluate_one(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, p->out, p->scratch);
    else if (is(name, "evaluate_network"))
        kernels->evaluate_network(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, nullptr, p->scratch);
    else if (is(name, "evaluate_network, gradient"))
        kernels->evaluate_network(&p->rows, 0, N_BLOCKS, p->thetas, p->sums, p->out, p->scratch);
    else if (is(name, "pack_rows"))
        kernels->pack_rows(&p->packing, 0, N_ROWS / PANEL);
    else if (is(name, "pack_thetas"))
        kernels->pack_thetas(p->more, kernels->lanes, N_OF_NETWORK, kernels->lanes, p->out);
    else if (is(name, "draw"))
        kernels->draw(&p->sampler, 0, kernels->lanes, p->out, (double *)p->scratch);
    else if (is(name, "add_hessian"))
        kernels->add_hessian(&p->rows, 0, N_BLOCKS, (const double *)p->thetas, 0, N_PARAMS,
                             (double *)p->out);
    else if (is(name, "largest_margins"))
        kernels->largest_margins(&p->rows, 0, N_BLOCKS, (const double *)p->thetas, p->sums);
    else if (is(name, "count_tile"))
        kernels->count_tile(&p->rows, 0, N_BLOCKS, p->thetas, &CUTS, p->sums, kernels->lanes);
    else if (is(name, "count_narrow")) {
        const NarrowTile tile = {(const float *)p->narrow, NO_SLOPES, p->matrix, p->more, 24};
        kernels->count_narrow(&p->rows, p->narrow, NORMS, 0, N_BLOCKS, &tile, &CUTS, p->sums, 24);
    } else if (is(name, "narrow_rows"))
        kernels->narrow_rows(p->more, N_ROWS / PANEL, N_PARAMS, p->sums, nullptr, p->out);
    else if (is(name, "narrow_tiles"))
        kernels->narrow_tiles((const double *)p->thetas, N_PARAMS, p->more, (float *)p->out);
    else if (is(name, "factor_tile"))
        kernels->factor_tile(p->matrix, N_PARAMS, p->range, p->sums, p->more, (double *)p->scratch);
    else if (is(name, "factor_one"))
        kernels->factor_one(p->square, N_PARAMS, p->range, p->sums, p->more, (double *)p->scratch,
                            0, kernels->system_steps(N_PARAMS));
    else if (is(name, "solve_one"))
        kernels->solve_one(p->square, N_PARAMS, p->more, p->sums);
    else if (is(name, "make_reflections"))
        kernels->make_reflections((double *)p->out, N_NUMBERS / 32, 0, 16, p->sums);
    else if (is(name, "add_pair_gram")) {
        constexpr ptrdiff_t ROWS = 512, PAIRS = N_PARAMS * (N_PARAMS + 1) / 2;
        const ptrdiff_t lanes = 2 * kernels->lanes, n_tiles = (PAIRS + lanes - 1) / lanes;
        const PairGram gram = {(float *)p->scratch,
                               (float *)p->more,
                               ROWS,
                               N_PARAMS,
                               PAIRS,
                               n_tiles,
                               (ROWS + 2) * PANEL,
                               ROWS * lanes + 2 * PANEL,
                               (double *)p->out};
        for (ptrdiff_t row = 0; row < ROWS; row++)
            kernels->spread_pairs(&gram, (const float *)p->narrow + row * N_PARAMS, row,
                                  (float *)p->matrix);
        for (ptrdiff_t tile = 0; tile < n_tiles; tile++) kernels->add_pair_gram(&gram, tile);
    } else if (is(name, "solve_tile"))
        kernels->solve_tile(p->matrix, N_PARAMS, p->more, p->sums);
    else if (is(name, "find_ranges"))
        kernels->find_ranges(&p->rows, N_BLOCKS, 1, p->thetas, 1, p->range);
    else if (is(name, "add_histograms"))
        kernels->add_histograms(&p->rows, 0, N_BLOCKS, p->thetas, 1, p->range, N_BINS,
                                (double *)p->out);
    else if (is(name, "find_aucs"))
        kernels->find_aucs((double *)p->out, p->more, N_BINS, p->sums, p->matrix);
    else if (is(name, "find_margins"))
        kernels->find_margins(&p->rows, 0, N_BLOCKS, p->thetas, (double *)p->out);
    else if (is(name, "find_splits")) {
        const BitRows rows = {(const uint32_t *)p->more,
                              ENDS,
                              CLASSES,
                              COSTS,
                              SIZES,
                              2,
                              2,
                              N_FEATURES,
                              N_FEATURES,
                              0};
        const FeatureCounts known = {known_counts, known_counts, known_counts};
        kernels->find_splits(&rows, &known, 0, 1, N_FEATURES, (uint32_t *)p->scratch,
                             (int32_t *)p->out);
    } else if (is(name, "pointwise"))
        kernels->pointwise(p->thetas, 4096, p->out, p->scratch);
    else
        return is_fit(p, name);
    return true;
}

// Call a kernel on a problem that no call before has changed; fail if there is none of that name.
bool call(int loss, bool is_single, const char *name) {
    const Kernels *kernels = metaopt_kernels_avx2(loss, is_single);
    if (!kernels) return false;
    static ptrdiff_t first_panel[N_BLOCKS];
    static int n_rows[N_BLOCKS];
    static double weights[N_BLOCKS];
    for (ptrdiff_t b = 0; b < N_BLOCKS; b++)
        first_panel[b] = b * PANELS_PER_BLOCK, n_rows[b] = 64, weights[b] = 1;
    static unsigned char transform[N_PARAMS];
    static double a[N_PARAMS], b[N_PARAMS], c[N_PARAMS];
    for (ptrdiff_t j = 0; j < N_PARAMS; j++) {
        transform[j] = (unsigned char)(j % 3);
        b[j] = 3, c[j] = 2;
    }
    Problem problem = {
        kernels,
        {numbers(0, is_single), first_panel, n_rows, weights, nullptr, N_PARAMS, 1, &NETWORK},
        {transform, a, b, c, N_PARAMS, 1},
        numbers(1, is_single),
        numbers(2, is_single),
        numbers(3, is_single),
        (double *)numbers(4, false),
        (double *)numbers(5, false),
        (double *)numbers(6, false),
        (double *)numbers(7, false),
        (double *)calloc(N_PARAMS * (size_t)kernels->system_stride(N_PARAMS), sizeof(double)),
        numbers(8, true),
    };
    for (ptrdiff_t line = 0; line < N_LINES; line++) {
        ones[line] = 1, starts[line + 1] = LINE * (line + 1);
        for (ptrdiff_t at = 0; at < LINE; at++)
            places[LINE * line + at] = (int)(N_LINES / LINE * at + line % (N_LINES / LINE));
    }
    static ptrdiff_t row_at[N_ROWS];
    for (ptrdiff_t i = 0; i < N_ROWS; i++) row_at[i] = i;
    constexpr ptrdiff_t size = sizeof(double);
    problem.packing = {
        {(const char *)problem.more, nullptr, N_PARAMS * size, size, N_PARAMS, FLOAT64, false},
        row_at,
        nullptr,
        1,
        N_PARAMS,
        problem.out,
        nullptr,
        nullptr};
    const ptrdiff_t lanes = kernels->lanes;
    // No margin of a tile of thetas, nor of a single one, may leave the range.
    for (ptrdiff_t l = 0; l < lanes; l++)
        for (ptrdiff_t excess : {N_PARAMS * lanes + l, N_OF_NETWORK * lanes + l, N_PARAMS}) {
            if (is_single)
                ((float *)problem.thetas)[excess] = 0;
            else
                ((double *)problem.thetas)[excess] = 0;
        }
    for (ptrdiff_t l = 0; l < lanes; l++) problem.range[l] = -9, problem.range[lanes + l] = 9;
    // Positive definite.
    for (ptrdiff_t i = 0, row = 0; row < N_PARAMS; row++)
        for (ptrdiff_t column = row; column < N_PARAMS; column++, i++)
            for (ptrdiff_t l = 0; l < lanes; l++)
                problem.matrix[i * lanes + l] = row == column ? N_PARAMS : 0.5;
    for (ptrdiff_t row = 0; row < N_PARAMS; row++)
        for (ptrdiff_t column = row; column < N_PARAMS; column++)
            problem.square[row * kernels->system_stride(N_PARAMS) + column] =
                row == column ? N_PARAMS : 0.5;
    const bool known = measured(&problem, name);
    free(problem.square);
    return known;
}

int main(int count, char **arguments) {
    if (count % 3 != 1) return 2;
    draw_numbers();
    for (int at = 1; at < count; at += 3)
        if (!call(atoi(arguments[at]), is(arguments[at + 1], "float32"), arguments[at + 2]))
            return 2;
    return 0;
}
