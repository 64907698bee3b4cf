// Hessians, and how far a step moves margins. Double precision alone.
//
// A symmetric matrix is stored as its pairs (j, k), j <= k, row by row. A Hessian is summed with
// one row of the data in each lane, and does not depend on what is computed beside it.
#pragma once

#include "single.hpp"

namespace metaopt::MF_ISA {

constexpr int SPAN_PANELS = BLOCKS_PER_SPAN * PANELS_PER_BLOCK;
// Entries of the matrix that are summed together: 24 of AVX-512's 32 registers, 12 of AVX2's 16.
constexpr int ENTRY_ROWS = 4;
constexpr int ENTRY_COLUMNS = MF_BYTES == 64 ? 6 : 3;

// sums[j][k][lane] += sum over panels of weighted[panel][j][lane] * x[panel][k][lane] for
// ENTRY_ROWS rows of the matrix and COLUMNS columns. Bound by FMAs: 10 loads feed 24.
// noinline: else gcc 12 keeps the sums on the stack.
template <int COLUMNS>
__attribute__((noinline)) void sum_entries(const double *weighted, const double *const *panels,
                                           int n_panels, ptrdiff_t column, double *sums) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    for (int lane = 0; lane < PANEL; lane += W) {
        V entry[ENTRY_ROWS][COLUMNS] = {};
        for (int p = 0; p < n_panels; p++) {
            const double *left = weighted + p * ENTRY_ROWS * PANEL + lane;
            const double *right = panels[p] + column * PANEL + lane;
            V x[COLUMNS];
            for (int k = 0; k < COLUMNS; k++) x[k] = load<V>(right + k * PANEL);
            for (int j = 0; j < ENTRY_ROWS; j++) {
                const V y = load<V>(left + j * PANEL);
                for (int k = 0; k < COLUMNS; k++) entry[j][k] = fma(y, x[k], entry[j][k]);
            }
        }
        for (int j = 0; j < ENTRY_ROWS; j++)
            for (int k = 0; k < COLUMNS; k++)
                store(sums + (j * ENTRY_COLUMNS + k) * PANEL + lane, entry[j][k]);
    }
}

// The same for `columns` <= COLUMNS.
template <int COLUMNS>
void sum_some_entries(int columns, const double *weighted, const double *const *panels,
                      int n_panels, ptrdiff_t column, double *sums) {
    if constexpr (COLUMNS > 1)
        if (columns < COLUMNS)
            return sum_some_entries<COLUMNS - 1>(columns, weighted, panels, n_panels, column, sums);
    sum_entries<COLUMNS>(weighted, panels, n_panels, column, sums);
}

// The curvatures of the rows of neighbouring panels, times their weights, for one theta.
template <class Loss>
void weighted_curvatures(const Rows *rows, ptrdiff_t block, const double *theta, double *z) {
    using V = row_vector<double>;
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    const double *x = (const double *)rows->panels + rows->first_panel[block] * panel_size;
    const double *weights =
        rows->row_weights ? (const double *)rows->row_weights + rows->first_panel[block] * PANEL
                          : nullptr;
    const int n_rows = rows->rows[block], n_panels = (n_rows + PANEL - 1) / PANEL;
    for (int p = 0; p < n_panels; p++) {
        row_margins(x + p * panel_size, n_params, theta, panel_size, z + p * PANEL);
        if (theta[n_params] != 0)
            recompute_row_margins(x + p * panel_size, n_params, theta, z + p * PANEL);
    }
    for (int row = n_rows; row < n_panels * PANEL; row++) z[row] = Loss::template absent<V>;
    for (int row = 0; row < n_panels * PANEL; row += lanes_of<V>) {
        const V weight = splat<V>(rows->weights[block]);
        store(z + row, (weights ? weight * load<V>(weights + row) : weight) *
                           Loss::curvature(load<V>(z + row)));
    }
}

// lanes[pair][lane] += sum over the rows of blocks [first, last) of weight * loss''(z) * x x', for
// the pairs of parameters j in [first_row, last_row); lanes begins with the first of them. `theta`
// is followed by its excess, and `first` is where a span begins: spans are added up before they
// join the sums in memory.
template <class Loss>
void add_hessian(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const double *theta,
                 ptrdiff_t first_row, ptrdiff_t last_row, double *lanes) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n_params = rows->n_params;
    const double *panels[SPAN_PANELS];
    alignas(64) double z[SPAN_PANELS * PANEL];
    alignas(64) double weighted[SPAN_PANELS * ENTRY_ROWS * PANEL];
    alignas(64) double sums[ENTRY_ROWS * ENTRY_COLUMNS * PANEL];
    for (ptrdiff_t span = first; span < last; span += BLOCKS_PER_SPAN) {
        int n_panels = 0;
        for (ptrdiff_t b = span; b < span + BLOCKS_PER_SPAN && b < last; b++) {
            weighted_curvatures<Loss>(rows, b, theta, z + n_panels * PANEL);
            for (int p = 0; p * PANEL < rows->rows[b]; p++)
                panels[n_panels++] =
                    (const double *)rows->panels + (rows->first_panel[b] + p) * n_params * PANEL;
        }
        double *to = lanes;
        for (ptrdiff_t j = first_row; j < last_row; j += ENTRY_ROWS) {
            const int n_rows = (int)(last_row - j < ENTRY_ROWS ? last_row - j : ENTRY_ROWS);
            for (int p = 0; p < n_panels; p++)
                for (int i = 0; i < ENTRY_ROWS * PANEL; i += W) {
                    const V curvature = load<V>(z + p * PANEL + i % PANEL);
                    store(
                        weighted + p * ENTRY_ROWS * PANEL + i,
                        i < n_rows * PANEL ? curvature * load<V>(panels[p] + j * PANEL + i) : V{});
                }
            double *row_at[ENTRY_ROWS];
            for (int i = 0; i < n_rows; to += (n_params - j - i) * PANEL, i++)
                row_at[i] = to - i * PANEL;
            for (ptrdiff_t k = j; k < n_params; k += ENTRY_COLUMNS) {
                const int count =
                    (int)(n_params - k < ENTRY_COLUMNS ? n_params - k : ENTRY_COLUMNS);
                sum_some_entries<ENTRY_COLUMNS>(count, weighted, panels, n_panels, k, sums);
                for (int i = 0; i < n_rows; i++)
                    for (int c = k < j + i ? (int)(j + i - k) : 0; c < count; c++)
                        for (int lane = 0; lane < PANEL; lane += W) {
                            double *at = row_at[i] + (k - j + c) * PANEL + lane;
                            store(at, load<V>(at) +
                                          load<V>(sums + (i * ENTRY_COLUMNS + c) * PANEL + lane));
                        }
            }
        }
    }
}

// Of the losses whose optima are found by Newton steps; the others have no Hessian.
template <class Loss> constexpr decltype(Kernels::add_hessian) HESSIAN_OF = nullptr;
template <> constexpr decltype(Kernels::add_hessian) HESSIAN_OF<Logistic> = add_hessian<Logistic>;
template <>
constexpr decltype(Kernels::add_hessian) HESSIAN_OF<SquaredHinge> = add_hessian<SquaredHinge>;

// largest[lane] = max(largest[lane], |margin| of each row of blocks [first, last)) for a tile.
inline void largest_margins(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                            double *largest) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>;
    alignas(64) double z[BLOCK_ROWS * LANES<double>];
    const bool is_wide = may_overflow(thetas, rows->n_params);
    V found[VECTORS];
    for (int v = 0; v < VECTORS; v++) found[v] = load<V>(largest + v * W);
    for (ptrdiff_t b = first; b < last; b++) {
        const double *x =
            (const double *)rows->panels + rows->first_panel[b] * rows->n_params * PANEL;
        block_margins(x, rows->rows[b], rows->n_params, thetas, is_wide, z);
        for (int row = 0; row < rows->rows[b]; row++)
            for (int v = 0; v < VECTORS; v++) {
                const V margin = load<V>(z + row * LANES<double> + v * W);
                found[v] = max(max(margin, -margin), found[v]);
            }
    }
    for (int v = 0; v < VECTORS; v++) store(largest + v * W, found[v]);
}

}  // namespace metaopt::MF_ISA
