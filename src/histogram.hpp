// Histograms of decision values for a tile of candidates, and the areas under their ROC curves.
//
// The rows of a call are of one class. They are stored as z = sign * decision, as for a loss: -1
// for the positive class. Thetas are as shrink_thetas leaves them: a positive factor leaves every
// comparison as it is. Margins that are beyond the range even so are infinite.
#pragma once

#include "single.hpp"

namespace metaopt::MF_ISA {

template <class V> using integers_of = vector<int, lanes_of<V> * sizeof(int)>;

template <class T> const T *panels_of(const Rows *rows, ptrdiff_t block) {
    return (const T *)rows->panels + rows->first_panel[block] * rows->n_params * PANEL;
}

// range[0][lane] = min(range[0][lane], decision), and range[1][lane] the same with max, for each
// row of blocks 0, stride, 2 * stride, ...
template <class T>
void find_ranges(const Rows *rows, ptrdiff_t n_blocks, ptrdiff_t stride, const void *thetas,
                 double sign, double *range) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    alignas(64) T extremes[2][LANES<T>];
    const bool is_wide = may_overflow((const T *)thetas, rows->n_params);
    V largest[VECTORS], smallest[VECTORS];  // smallest: negated
    for (int v = 0; v < VECTORS; v++) largest[v] = smallest[v] = splat<V>(-(T)__builtin_inf());
    for (ptrdiff_t b = 0; b < n_blocks; b += stride) {
        block_margins(panels_of<T>(rows, b), rows->rows[b], rows->n_params, (const T *)thetas,
                      is_wide, z);
        for (int row = 0; row < rows->rows[b]; row++)
            for (int v = 0; v < VECTORS; v++) {
                const V margin = load<V>(z + row * LANES<T> + v * W);
                largest[v] = max(margin, largest[v]);
                smallest[v] = max(-margin, smallest[v]);
            }
    }
    for (int v = 0; v < VECTORS; v++) {
        store(extremes[0] + v * W, sign > 0 ? smallest[v] : largest[v]);
        store(extremes[1] + v * W, sign > 0 ? largest[v] : smallest[v]);
    }
    // Ends whose distance is in the range.
    const double farthest = __builtin_ldexp(1, layout<T>::bias - 1);
    for (int l = 0; l < LANES<T>; l++) {
        const double smallest_found = -(double)extremes[0][l], largest_found = extremes[1][l];
        const double low = smallest_found < -farthest ? -farthest : smallest_found;
        const double high = largest_found > farthest ? farthest : largest_found;
        range[l] = low < range[l] ? low : range[l];
        range[LANES<T> + l] = high > range[LANES<T> + l] ? high : range[LANES<T> + l];
    }
}

// histogram[bin][lane] += weight of each row of blocks [first, last), in the order of the rows.
// Bins cut the range into equal parts, and the first and the last hold what is beyond; all that a
// bound of the area needs is that bins never fall as decisions rise. Bound by one load, one
// addition and one store for each decision: scatters of AVX-512 take longer.
template <class T>
void add_histograms(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                    double sign, const double *range, ptrdiff_t n_bins, double *histogram) {
    using V = wide_vector<T>;
    using I = integers_of<V>;
    constexpr int W = lanes_of<V>;
    constexpr T largest = sizeof(T) == sizeof(double) ? (T)__DBL_MAX__ : (T)__FLT_MAX__;
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    alignas(64) int places[BLOCK_ROWS * LANES<T>];
    // With both signs folded in, (z - low) * scale has the bits of (decision - low) * scale.
    V low[VECTORS], scale[VECTORS];
    I lane[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        for (int l = 0; l < W; l++) {
            const T lowest = (T)range[v * W + l], highest = (T)range[LANES<T> + v * W + l];
            // Finite, lest 0 be multiplied by infinity.
            const T found = highest > lowest ? (T)n_bins / (highest - lowest) : largest;
            low[v][l] = (T)sign * lowest;
            scale[v][l] = (T)sign * (found < largest ? found : largest);
            lane[v][l] = v * W + l;
        }
    const V last_bin = splat<V>((T)(n_bins - 1));
    const bool is_wide = may_overflow((const T *)thetas, rows->n_params);
    for (ptrdiff_t b = first; b < last; b++) {
        const int n_rows = rows->rows[b];
        block_margins(panels_of<T>(rows, b), n_rows, rows->n_params, (const T *)thetas, is_wide, z);
        for (int row = 0; row < n_rows; row++)
            for (int v = 0; v < VECTORS; v++) {
                const V position = (load<V>(z + row * LANES<T> + v * W) - low[v]) * scale[v];
                const V bin = max(position < last_bin ? position : last_bin, V{});
                const I place = __builtin_convertvector(bin, I) * LANES<T> + lane[v];
                __builtin_memcpy(places + row * LANES<T> + v * W, &place, sizeof place);
            }
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        for (int row = 0; row < n_rows; row++) {
            const double weight = weights ? rows->weights[b] * weights[row] : rows->weights[b];
            const int *place = places + row * LANES<T>;
#pragma GCC unroll 8
            for (int l = 0; l < LANES<T>; l++) histogram[place[l]] += weight;
        }
    }
}

// areas[lane] = sum over bins of positive * (negative below + negative / 2), and ties[lane] = sum
// over bins of positive * negative, both divided by the product of the totals.
template <class T>
void find_aucs(const double *negative, const double *positive, ptrdiff_t n_bins, double *areas,
               double *ties) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>;
    for (int l = 0; l < LANES<T>; l += W) {
        V below{}, total{}, area{}, tied{};
        for (ptrdiff_t bin = 0; bin < n_bins; bin++) {
            const V left = load<V>(negative + bin * LANES<T> + l);
            const V right = load<V>(positive + bin * LANES<T> + l);
            area = fma(right, fma(left, splat<V>(0.5), below), area);
            tied = fma(right, left, tied);
            below = below + left;
            total = total + right;
        }
        store(areas + l, area / (below * total));
        store(ties + l, tied / (below * total));
    }
}

// z[place] of each row of blocks [first, last), for one theta. IS_WIDE: a margin may overflow.
template <class T, bool IS_WIDE>
void find_some_margins(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const T *theta,
                       double *z) {
    const ptrdiff_t panel_size = rows->n_params * PANEL;
    alignas(64) T panel[PANEL];
    for (ptrdiff_t b = first; b < last; b++)
        for (int p = 0; p * PANEL < rows->rows[b]; p++) {
            const T *x = panels_of<T>(rows, b) + p * panel_size;
            row_margins(x, rows->n_params, theta, panel_size, panel);
            if constexpr (IS_WIDE) recompute_row_margins(x, rows->n_params, theta, panel);
            for (int row = 0; row < PANEL; row++)
                z[(rows->first_panel[b] + p) * PANEL + row] = panel[row];
        }
}

template <class T>
void find_margins(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *theta, double *z) {
    const T *t = (const T *)theta;
    const auto find =
        t[rows->n_params] != 0 ? find_some_margins<T, true> : find_some_margins<T, false>;
    find(rows, first, last, t, z);
}

}  // namespace metaopt::MF_ISA
