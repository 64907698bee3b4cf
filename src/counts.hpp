// Weights of rows that are decided wrongly, and rightly, by a tile of candidates: whole numbers,
// but for the weights. In single precision they are the same numbers, since it decides only what it
// is certain of.
//
// The z of a row in single precision and the one that double precision computes are within
//   gamma |x| |theta| + n_params 2^-108
// of each other, by Cauchy's inequality, with columns in any units: gamma as in screen.hpp, but for
// sums in parts, and the second term is of numbers below the normal ones of single precision. A row
// whose z is further from the cut is decided; the others' z are computed again, in double
// precision. Where the numbers of x and theta are whole multiples of units, and |x| |theta| is
// below 2^24 products of these, no sum is rounded in either precision, and a z at the cut is
// certain, too.
#pragma once

#include "single.hpp"

namespace metaopt::MF_ISA {

// Numbers of a panel between what is read and what is asked of memory: 4 kB.
constexpr ptrdiff_t AHEAD = 64 * PANEL;
// What rounding of slopes, norms and cuts may take from a reach, and more.
constexpr float REACH_SLACK = 1 + 0x1p-20f, CUT_SLACK = 0x1p-21f, LEAST_REACH = 0x1p-80f;

// How many of a block's rows are above the lane's cut in each lane, from z[row][lane].
template <class T> void count_above(const T *z, int n_rows, const T *cuts, T *counts) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    V cut[VECTORS], count[VECTORS] = {};
    for (int v = 0; v < VECTORS; v++) cut[v] = load<V>(cuts + v * W);
    for (int row = 0; row < n_rows; row++, z += LANES<T>)
        for (int v = 0; v < VECTORS; v++)
            count[v] = load<V>(z + v * W) > cut[v] ? count[v] + 1 : count[v];
    for (int v = 0; v < VECTORS; v++) store(counts + v * W, count[v]);
}

// The same for rows of different weights, which are added in the order of tile.hpp.
template <class Z, class T>
void weigh_above(const Z *z, int n_rows, const Z *cuts, const T *weights, T *wrong, T *right) {
    using V = wide_vector<T>;
    using Margins = vector<Z, lanes_of<V> * sizeof(Z)>;
    constexpr int W = lanes_of<V>;
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    for (int v = 0; v < LANES<Z> / W; v++) {
        const V cut = __builtin_convertvector(load<Margins>(cuts + v * W), V);
        V sums[2] = {};
        for (int c = 0; c < PANEL; c++) {
            V lane[2] = {};
            for (int p = 0; p < n_panels; p++) {
                const int row = p * PANEL + c;
                const V weight = splat<V>(weights[row]);
                const V margin =
                    __builtin_convertvector(load<Margins>(z + row * LANES<Z> + v * W), V);
                const auto is_wrong = margin > cut;
                lane[0] = lane[0] + (is_wrong ? weight : V{});
                lane[1] = lane[1] + (is_wrong ? V{} : weight);
            }
            sums[0] = sums[0] + lane[0];
            sums[1] = sums[1] + lane[1];
        }
        store(wrong + v * W, sums[0]);
        store(right + v * W, sums[1]);
    }
}

// Adds the weights of a block's rows above the cuts to wrong[lane] and, unless that is null, those
// of the others to right[lane]. `counts` has how many are above, unless rows have their own
// weights.
template <class Z, class T>
void add_decisions(const Rows *rows, ptrdiff_t b, const Z *z, const Z *cuts, const Z *counts,
                   double *wrong, double *right) {
    const double weight = rows->weights[b];
    const int n_rows = rows->rows[b];
    if (!rows->row_weights) {
        add_block(counts, weight, LANES<Z>, wrong);
        for (int l = 0; right && l < LANES<Z>; l++) right[l] += weight * (n_rows - counts[l]);
        return;
    }
    alignas(64) T values[2][LANES<Z>];
    weigh_above(z, n_rows, cuts, (const T *)rows->row_weights + rows->first_panel[b] * PANEL,
                values[0], values[1]);
    add_block(values[0], weight, LANES<Z>, wrong);
    if (right) add_block(values[1], weight, LANES<Z>, right);
}

template <class T> void fill(T *lanes, T x) {
    for (int l = 0; l < LANES<T>; l++) lanes[l] = x;
}

// The kernel of counts: see Count.
template <class T>
void count_tile(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                const Cuts *cuts, double *sums, ptrdiff_t stride) {
    const ptrdiff_t n_params = rows->n_params, n_cuts = cuts->count;
    alignas(64) T z[BLOCK_ROWS * LANES<T>], cut[LANES<T>], counts[LANES<T>] = {};
    const bool is_wide = may_overflow((const T *)thetas, n_params);
    for (ptrdiff_t b = first; b < last; b++) {
        const T *panels = (const T *)rows->panels + rows->first_panel[b] * n_params * PANEL;
        block_margins(panels, rows->rows[b], n_params, (const T *)thetas, is_wide, z,
                      -(T)__builtin_inf());
        for (ptrdiff_t t = 0; t < n_cuts; t++) {
            fill(cut, (T)cuts->exact[t]);
            if (!rows->row_weights) count_above(z, rows->rows[b], cut, counts);
            add_decisions<T, T>(rows, b, z, cut, counts, sums + t * stride,
                                cuts->both ? sums + (n_cuts + t) * stride : nullptr);
        }
    }
}

// Margins of a block in single precision. Sums of THETA_BLOCK parameters are added up, lest one
// long sum be rounded as often as there are parameters.
inline void narrow_margins(const float *panels, int n_rows, ptrdiff_t n_params, const float *thetas,
                           float *z) {
    constexpr ptrdiff_t SOME = THETA_BLOCK<float>;
    constexpr int W = lanes_of<f32v>;
    alignas(64) float part[BLOCK_ROWS * LANES<float>];
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    for (ptrdiff_t j = 0; j < n_params; j += SOME) {
        const ptrdiff_t count = n_params - j < SOME ? n_params - j : SOME;
        margins<float, false>(panels + j * PANEL, n_panels, n_params * PANEL,
                              thetas + j * LANES<float>, count, j == 0 ? z : part);
        for (int i = 0; j > 0 && i < n_rows * LANES<float>; i += W)
            store(z + i, load<f32v>(z + i) + load<f32v>(part + i));
    }
}

// How many roundings a product may have in such a sum, and two to spare; and what they make.
inline double narrow_gamma(ptrdiff_t n_params) {
    constexpr ptrdiff_t SOME = THETA_BLOCK<float>;
    const ptrdiff_t n = n_params <= SOME ? n_params : SOME + (n_params - 1) / SOME;
    const double roundings = (double)(n + 4) * 0x1p-24;
    return roundings / (1 - roundings);
}

// How far z may be from what double precision has, for rows of norm 1, of each candidate of two
// neighbouring tiles of double precision; 0 where it is the same. Columns are divided by
// spreads[j]. units[j] is what theta_j times it has to be whole for that, and largest * |theta| has
// to be below 2^24.
inline void find_slopes(const double *wide, ptrdiff_t n_params, const double *spreads,
                        const double *units, double largest, float *slopes) {
    using F = f64v;
    using Half = vector<float, sizeof(F) / 2>;
    constexpr int W = lanes_of<F>, WIDE = LANES<double>;
    constexpr double to_integer = 0x1.8p52;
    const double gamma = narrow_gamma(n_params) * (1 + 1e-6);
    for (int v = 0; v < LANES<float> / W; v++) {
        const double *thetas = wide + v * W / WIDE * (n_params + 1) * WIDE + v * W % WIDE;
        F squares = {}, nonzero = {}, lost = {};
        for (ptrdiff_t j = 0; j < n_params; j++) {
            const F theta = load<F>(thetas + j * WIDE), scaled = theta * splat<F>(spreads[j]);
            const F multiple = theta * splat<F>(units[j]);
            const F whole = (multiple + to_integer) - to_integer;
            squares = fma(scaled, scaled, squares);
            nonzero = max(nonzero, max(theta, -theta));
            lost = multiple == whole ? lost : splat<F>(1);
        }
        const F norm = sqrt(squares);
        const F slope = max(norm * gamma, splat<F>(0x1p-100));
        const auto is_small = norm * largest < 0x1p24;
        F found = is_small ? (lost == 0 ? F{} : slope) : slope;
        found = nonzero == 0 ? F{} : found;
        const Half narrow = __builtin_convertvector(found, Half);
        __builtin_memcpy(slopes + v * W, &narrow, sizeof narrow);
    }
}

// The cut of a lane of single precision, and how far from it a z is certain, for a block of rows
// whose norms are at most `norm`: those above `high` are above the cut, those up to `low` are not.
struct Reach {
    f32v low[VECTORS], high[VECTORS];

    Reach(const float *slopes, float norm, float cut) {
        const f32v at = splat<f32v>(cut),
                   fixed = splat<f32v>((cut < 0 ? -cut : cut) * CUT_SLACK + LEAST_REACH);
        for (int v = 0; v < VECTORS; v++) {
            const f32v slope = load<f32v>(slopes + v * lanes_of<f32v>) * norm;
            const f32v reach = slope > 0 ? slope * REACH_SLACK + fixed : f32v{};
            low[v] = at - reach;
            high[v] = at + reach;
        }
    }
};

// counts[lane] = the rows that are certainly above the cut, open[lane] = those that may be besides;
// returns whether there are any of these.
inline bool count_certain(const float *z, int n_rows, const Reach &reach, float *counts,
                          float *open) {
    constexpr int W = lanes_of<f32v>;
    f32v least[VECTORS] = {}, most[VECTORS] = {};
    for (int row = 0; row < n_rows; row++, z += LANES<float>)
        for (int v = 0; v < VECTORS; v++) {
            const f32v margin = load<f32v>(z + v * W);
            least[v] = margin > reach.high[v] ? least[v] + 1 : least[v];
            most[v] = margin > reach.low[v] ? most[v] + 1 : most[v];
        }
    bits_of<f32v> all = {};
    for (int v = 0; v < VECTORS; v++) {
        store(counts + v * W, least[v]);
        store(open + v * W, most[v] - least[v]);
        all |= (bits_of<f32v>)(most[v] - least[v]);
    }
    unsigned found = 0;
    for (int l = 0; l < W; l++) found |= all[l];
    return found != 0;
}

// Computes the margins of a lane again where they are not certain, in double precision, a panel at
// a time, and writes numbers that are on the same side of every cut. Returns the number of panels.
inline int decide_lane_again(const Rows *rows, ptrdiff_t b, const NarrowTile *tile, int lane,
                             const Cuts *cuts, float low, float high, float *z) {
    constexpr int WIDE = LANES<double>;
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    const double *x = (const double *)rows->panels + rows->first_panel[b] * panel_size;
    const double *theta = tile->candidates + lane * n_params;
    const double *excesses = tile->wide + lane / WIDE * (n_params + 1) * WIDE + n_params * WIDE;
    const int n_rows = rows->rows[b];
    int n_again = 0;
    for (int first = 0; first < n_rows; first += PANEL, x += panel_size) {
        const int count = n_rows - first < PANEL ? n_rows - first : PANEL;
        float *margins = z + first * LANES<float> + lane;
        bool is_open = false;
        for (int r = 0; r < count; r++)
            is_open |= margins[r * LANES<float>] > low && !(margins[r * LANES<float>] > high);
        if (!is_open) continue;
        n_again++;
        alignas(64) double exact[PANEL];
        row_margins(x, n_params, theta, AHEAD, exact);
        if (excesses[lane % WIDE] != 0) recompute_row_margins(x, n_params, theta, exact);
        for (int r = 0; r < count; r++) {
            float side = -(float)__builtin_inf();
            for (ptrdiff_t t = 0; t < cuts->count; t++)
                if (exact[r] > cuts->exact[t] && cuts->above[t] > side) side = cuts->above[t];
            margins[r * LANES<float>] = side;
        }
    }
    return n_again;
}

__attribute__((noinline)) inline int decide_again(const Rows *rows, ptrdiff_t b,
                                                  const NarrowTile *tile, const Cuts *cuts,
                                                  const Reach &reach, const float *open, float *z) {
    constexpr int W = lanes_of<f32v>;
    int n_again = 0;
    for (int lane = 0; lane < tile->count; lane++)
        if (open[lane] > 0)
            n_again += decide_lane_again(rows, b, tile, lane, cuts, reach.low[lane / W][lane % W],
                                         reach.high[lane / W][lane % W], z);
    return n_again;
}

// The kernel of counts in single precision: see CountNarrow.
inline ptrdiff_t count_narrow(const Rows *rows, const void *panels, const float *norms,
                              ptrdiff_t first, ptrdiff_t last, const NarrowTile *tile,
                              const Cuts *cuts, double *sums, ptrdiff_t stride) {
    const ptrdiff_t n_params = rows->n_params, n_cuts = cuts->count;
    alignas(64) float z[BLOCK_ROWS * LANES<float>], cut[LANES<float>], counts[LANES<float>];
    alignas(64) float open[LANES<float>];
    ptrdiff_t n_again = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        const int n_rows = rows->rows[b];
        narrow_margins((const float *)panels + rows->first_panel[b] * n_params * PANEL, n_rows,
                       n_params, tile->thetas, z);
        for (ptrdiff_t t = 0; t < n_cuts; t++) {
            const Reach reach(tile->slopes, norms[b], cuts->narrow[t]);
            fill(cut, cuts->narrow[t]);
            if (count_certain(z, n_rows, reach, counts, open)) {
                n_again += decide_again(rows, b, tile, cuts, reach, open, z);
                count_above(z, n_rows, cut, counts);
            }
            add_decisions<float, double>(rows, b, z, cut, counts, sums + t * stride,
                                         cuts->both ? sums + (n_cuts + t) * stride : nullptr);
        }
    }
    return n_again;
}

// Of each column, the mean size of its numbers, 1 if all are 0; and of each block, a bound of the
// norms of its rows, columns divided by that: 0 only where all their numbers are.
inline void measure_rows(const Rows *rows, ptrdiff_t n_blocks, double *spreads, float *norms) {
    const ptrdiff_t n_params = rows->n_params;
    double n_rows = 0;
    for (ptrdiff_t b = 0; b < n_blocks; b++) n_rows += rows->rows[b];
    const double share = 1 / n_rows;
    for (ptrdiff_t j = 0; j < n_params; j++) spreads[j] = 0;
    const double *panels = (const double *)rows->panels;
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const double *x = panels + rows->first_panel[b] * n_params * PANEL;
        for (int first = 0; first < rows->rows[b]; first += PANEL)
            for (ptrdiff_t j = 0; j < n_params; j++, x += PANEL)
                for (int r = 0; r < PANEL; r++) spreads[j] += (x[r] < 0 ? -x[r] : x[r]) * share;
    }
    for (ptrdiff_t j = 0; j < n_params; j++) spreads[j] = spreads[j] > 0x1p-1000 ? spreads[j] : 1;
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const double *x = panels + rows->first_panel[b] * n_params * PANEL;
        double largest = 0, least = 0;
        for (int first = 0; first < rows->rows[b]; first += PANEL) {
            double squares[PANEL] = {};
            for (ptrdiff_t j = 0; j < n_params; j++, x += PANEL) {
                const double inverse = 1 / spreads[j];
                for (int r = 0; r < PANEL; r++) {
                    squares[r] += x[r] * inverse * (x[r] * inverse);
                    least = x[r] != 0 ? 0x1p-100 : least;
                }
            }
            for (int r = 0; r < PANEL; r++) largest = squares[r] > largest ? squares[r] : largest;
        }
        norms[b] = (float)(__builtin_sqrt(largest) * (1 + 1e-6) + least);
    }
}

// Of each column, the largest power of two that its numbers are whole multiples of, fewer than 2^24
// times; 0 if there is none, infinity where all numbers are 0. None is twice factors[j] or more.
inline void find_grains(const Rows *rows, ptrdiff_t n_blocks, const double *factors,
                        double *grains) {
    const ptrdiff_t n_params = rows->n_params;
    for (ptrdiff_t j = 0; j < n_params; j++) grains[j] = (double)__builtin_inf();
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const double *x = (const double *)rows->panels + rows->first_panel[b] * n_params * PANEL;
        for (int first = 0; first < rows->rows[b]; first += PANEL)
            for (ptrdiff_t j = 0; j < n_params; j++, x += PANEL) {
                const double inverse = 0x1p23 / factors[j];
                int bits = 0, lost = 0;
                for (int r = 0; r < PANEL; r++) {
                    const double steps = x[r] * inverse;
                    bits |= (int)steps;
                    lost |= (double)(int)steps != steps || (steps == 0 && x[r] != 0);
                }
                if (lost) grains[j] = 0;
                if (bits != 0 && (bits & -bits) < grains[j]) grains[j] = bits & -bits;
            }
    }
    for (ptrdiff_t j = 0; j < n_params; j++) grains[j] *= 0x1p-23 * factors[j];
}

}  // namespace metaopt::MF_ISA
