// Candidates in single precision, to see in half the time which of them cannot rank.
//
// With u = 2^-24 and D parameters, a margin of single precision is off by at most
//   gamma sum_j |x_j| |theta_j|,   gamma = (D + 4) u / (1 - (D + 4) u):
// one u each for x_j and theta_j as they are rounded, D for the chain of fused products, and two to
// spare, which double precision's own rounding is far below. Columns are divided by powers of two,
// and thetas multiplied by them, so that no |x_j| is 2 or more: where no |theta_j| is above
// MODERATE then, numbers below the normal ones of single precision add less than UNDERFLOWS, and no
// sum leaves the range. So the mean of a loss whose slope is at most `slope` is off by at most
// slope sum_j m_j |theta_j| gamma, m_j the weighted mean of |x_j|, over any part of the rows; and
// the root of the mean of squares, by Minkowski's inequality, by the same with m_j the root of the
// weighted mean of x_j^2.
//
// What rows that are not read add is at least a tangent of theirs: sum_i w_i (c_i + p_i x_i .
// theta) for any slopes p_i of a convex loss and its values c_i of there (tangents.py). With slopes
// of at most `slope`, the products with the sum of w_i p_i x_i are off by no more than the margins
// of these rows, in the sum above: rows that are read and rows that are not are all rows together.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

constexpr double MODERATE = 0x1p40;

// Two neighbouring tiles of double precision, thetas and excesses, as one of single precision,
// without excesses, times factors[j]; returns whether all thetas are finite.
inline int narrow_tiles(const double *wide, ptrdiff_t n_params, const double *factors,
                        float *tile) {
    using F = f64v;
    using Half = vector<float, sizeof(F) / 2>;
    constexpr int W = lanes_of<F>, WIDE = LANES<double>, ALL = LANES<float>;
    static_assert(ALL == 2 * WIDE, "two tiles make one");
    const double *tiles[] = {wide, wide + (n_params + 1) * WIDE};
    F doubt = {};  // 0, or not a number
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (int v = 0; v < ALL / W; v++) {
            const F theta = load<F>(tiles[v * W / WIDE] + j * WIDE + v * W % WIDE);
            doubt = doubt + (theta - theta);
            const Half narrow = __builtin_convertvector(theta * splat<F>(factors[j]), Half);
            __builtin_memcpy(tile + j * ALL + v * W, &narrow, sizeof narrow);
        }
    for (int l = 0; l < ALL; l++) tile[n_params * ALL + l] = 0;
    return all_finite(doubt);
}

// errors[lane] = sum_j sizes[j] |theta_j| of a tile of single precision, infinite or NaN where one
// of these is not MODERATE.
inline void margin_errors(const float *tile, ptrdiff_t n_params, const double *sizes,
                          double *errors) {
    using F = f64v;
    using Half = vector<float, sizeof(F) / 2>;
    constexpr int W = lanes_of<F>, ALL = LANES<float>;
    F sums[ALL / W] = {}, largest[ALL / W] = {};
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (int v = 0; v < ALL / W; v++) {
            Half narrow;
            __builtin_memcpy(&narrow, tile + j * ALL + v * W, sizeof narrow);
            const F theta = __builtin_convertvector(narrow, F), size = max(theta, -theta);
            sums[v] = fma(splat<F>(sizes[j]), size, sums[v]);
            largest[v] = max(largest[v], size);
        }
    for (int v = 0; v < ALL / W; v++) {
        const F beyond = largest[v] > MODERATE ? splat<F>((double)__builtin_inf()) : F{};
        store(errors + v * W, sums[v] + beyond);
    }
}

// factors[j]: the powers of two that leave the largest number of each column, divided by them,
// within 1 and 2, but for what is below 2^-1000.
template <class T>
inline void find_factors(const void *panels, ptrdiff_t n_panels, ptrdiff_t n_params,
                         double *factors) {
    constexpr ptrdiff_t COLUMNS = 8;  // their largest stay in registers
    for (ptrdiff_t j = 0; j < n_params; j += COLUMNS) {
        const ptrdiff_t count = n_params - j < COLUMNS ? n_params - j : COLUMNS;
        T largest[COLUMNS * PANEL] = {};
        for (ptrdiff_t p = 0; p < n_panels; p++) {
            const T *from = (const T *)panels + (p * n_params + j) * PANEL;
            for (ptrdiff_t i = 0; i < count * PANEL; i++) {
                const T size = from[i] < 0 ? -from[i] : from[i];
                largest[i] = size > largest[i] ? size : largest[i];
            }
        }
        for (ptrdiff_t c = 0; c < count; c++) {
            double found = 0x1p-1000;
            for (int r = 0; r < PANEL; r++)
                found =
                    (double)largest[c * PANEL + r] > found ? (double)largest[c * PANEL + r] : found;
            factors[j + c] = __builtin_ldexp(1, __builtin_ilogb(found));
        }
    }
}

// sizes[j]: the weighted mean of the absolute values of each column, divided by factors[j], or the
// root of that of their squares; rounded up.
inline void measure_columns(const Rows *rows, ptrdiff_t n_blocks, double total_weight, int of_root,
                            const double *factors, double *sizes) {
    const ptrdiff_t n_params = rows->n_params;
    const double *weights = (const double *)rows->row_weights;
    for (ptrdiff_t j = 0; j < n_params; j++) sizes[j] = 0;
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const ptrdiff_t first = rows->first_panel[b];
        const ptrdiff_t last = first + (rows->rows[b] + PANEL - 1) / PANEL;
        for (ptrdiff_t j = 0; j < n_params; j++) {
            const double inverse = 1 / factors[j];
            double sums[PANEL] = {};  // rows that are not there are zeros
            for (ptrdiff_t p = first; p < last; p++)
                for (int r = 0; r < PANEL; r++) {
                    const double x =
                        ((const double *)rows->panels)[(p * n_params + j) * PANEL + r] * inverse;
                    const double size = of_root ? x * x : x < 0 ? -x : x;
                    sums[r] += weights ? weights[p * PANEL + r] * size : size;
                }
            for (int r = 0; r < PANEL; r++) sizes[j] += rows->weights[b] * sums[r];
        }
    }
    for (ptrdiff_t j = 0; j < n_params; j++) {
        sizes[j] = sizes[j] / total_weight * (1 + 1e-9);
        if (of_root) sizes[j] = __builtin_sqrt(sizes[j]);
    }
}

// penalties[lane] <= sum_j halves[j] theta_j^2 of thetas that those of a tile of single precision
// are within doubts[j] of, and a rounding: with u = 2^-24, each term is off by at most 7 u of
// itself then, the sum of n by n u, and by less than 2^-130 where a number is not a normal one.
inline void penalties_below(const float *tile, ptrdiff_t n_penalised, const float *halves,
                            const float *doubts, float *penalties) {
    using V = f32v;
    constexpr ptrdiff_t W = lanes_of<V>, L = LANES<float>;
    V sums[VECTORS] = {};
    for (ptrdiff_t j = 0; j < n_penalised; j++)
        for (int v = 0; v < VECTORS; v++) {
            const V theta = load<V>(tile + j * L + v * W);
            const V least = max(max(theta, -theta) - doubts[j], V{});
            sums[v] = fma(least * halves[j], least, sums[v]);
        }
    const float less = 1 - (float)(n_penalised + 8) * 0x1p-23f;
    for (int v = 0; v < VECTORS; v++)
        store(penalties + v * W, max(sums[v] * less - 0x1p-130f, V{}));
}

// Panels of double precision in single precision, columns divided by factors[j]; unless it is null,
// in the order of row_at[panel][8]: the position of each row, -1 for one of zeros.
inline void narrow_rows(const double *from, ptrdiff_t n_panels, ptrdiff_t n_params,
                        const double *factors, const ptrdiff_t *row_at, void *panels) {
    float *to = (float *)panels;
    for (ptrdiff_t p = 0; p < n_panels; p++) {
        const double *panel = from + p * n_params * PANEL, *rows[PANEL];
        for (int r = 0; row_at && r < PANEL; r++) {
            const ptrdiff_t at = row_at[p * PANEL + r];
            rows[r] = at < 0 ? nullptr : from + at / PANEL * n_params * PANEL + at % PANEL;
        }
        for (ptrdiff_t j = 0; j < n_params; j++, to += PANEL) {
            const double inverse = 1 / factors[j];
            if (row_at)
                for (int r = 0; r < PANEL; r++)
                    to[r] = rows[r] ? (float)(rows[r][j * PANEL] * inverse) : 0;
            else
                for (int r = 0; r < PANEL; r++) to[r] = (float)(panel[j * PANEL + r] * inverse);
        }
    }
}

// products[lane] = sum_j slopes[j] theta_j of a tile of single precision.
inline void slope_products(const float *slopes, const float *tile, ptrdiff_t n_params,
                           float *products) {
    using V = f32v;
    constexpr ptrdiff_t W = lanes_of<V>, L = LANES<float>;
    V sums[VECTORS] = {};
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (int v = 0; v < VECTORS; v++)
            sums[v] = fma(splat<V>(slopes[j]), load<V>(tile + j * L + v * W), sums[v]);
    for (int v = 0; v < VECTORS; v++) store(products + v * W, sums[v]);
}

}  // namespace metaopt::MF_ISA
