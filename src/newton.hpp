// Hessians of a tile of candidates, one in each lane, and the systems of equations whose matrices
// they are. Double precision alone; lanes never mix, so a candidate's results have the same bits in
// any lane of any tile.
//
// A symmetric matrix is stored as its pairs (j, k), j <= k, row by row: matrix[pair][lane].
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// sums[pair][lane] += products[pair][row] * curvatures[row][lane] over the rows, for PAIRS pairs.
// Bound by FMAs, as margins() is, which has the same form.
template <int PAIRS>
__attribute__((noinline)) void add_pairs(const double *products, int n_rows,
                                         const double *curvatures, double *sums) {
    using T = double;
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    V block[PAIRS][VECTORS] = {};
    for (int r = 0; r < n_rows; r++) {
        V curvature[VECTORS];
        for (int v = 0; v < VECTORS; v++) curvature[v] = load<V>(curvatures + r * LANES<T> + v * W);
        for (int i = 0; i < PAIRS; i++) {
            const V product = splat<V>(products[i * BLOCK_ROWS + r]);
            for (int v = 0; v < VECTORS; v++) block[i][v] = fma(product, curvature[v], block[i][v]);
        }
    }
    for (int i = 0; i < PAIRS; i++)
        for (int v = 0; v < VECTORS; v++) {
            T *to = sums + i * LANES<T> + v * W;
            store(to, load<V>(to) + block[i][v]);
        }
}

// hessians[pair][lane] += sum over the rows of blocks [first, last) of weight * loss''(z) * x x',
// for the pairs of parameters j in [first_row, last_row); hessians begins with the first of them.
template <class Loss>
void add_hessians(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                  ptrdiff_t first_row, ptrdiff_t last_row, double *hessians) {
    using T = double;
    using V = wide_vector<T>;
    using R = row_vector<T>;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n_params = rows->n_params;
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    alignas(64) T products[MARGIN_ROWS * BLOCK_ROWS];
    bool scaled = false;
    for (int l = 0; l < LANES<T>; l++) scaled |= thetas[n_params * LANES<T> + l] != 1;
    for (ptrdiff_t b = first; b < last; b++) {
        const T *panels = (const T *)rows->panels + rows->first_panel[b] * n_params * PANEL;
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        const int n_rows = rows->rows[b], n_panels = (n_rows + PANEL - 1) / PANEL;
        block_margins(panels, n_rows, n_params, thetas, scaled, z);
        for (int row = 0; row < n_panels * PANEL; row++) {
            const V weight = splat<V>((T)rows->weights[b] * (weights ? weights[row] : 1));
            for (int v = 0; v < VECTORS; v++) {
                T *at = z + row * LANES<T> + v * W;
                store(at, weight * Loss::curvature(load<V>(at)));
            }
        }
        ptrdiff_t j = first_row, k = first_row;
        T *to = hessians;
        while (j < last_row) {
            int count = 0;
            for (; count < MARGIN_ROWS && j < last_row; count++) {
                const T *x = panels + j * PANEL, *other = panels + k * PANEL;
                for (int p = 0; p < n_panels; p++)
                    for (int i = 0; i < PANEL; i += lanes_of<R>)
                        store(products + count * BLOCK_ROWS + p * PANEL + i,
                              load<R>(x + p * n_params * PANEL + i) *
                                  load<R>(other + p * n_params * PANEL + i));
                if (++k == n_params) k = ++j;
            }
            if (count == MARGIN_ROWS)
                add_pairs<MARGIN_ROWS>(products, n_panels * PANEL, z, to);
            else
                for (int i = 0; i < count; i++)
                    add_pairs<1>(products + i * BLOCK_ROWS, n_panels * PANEL, z, to + i * LANES<T>);
            to += count * LANES<T>;
        }
    }
}

// Solves matrix x = b in each lane by Cholesky's method; the matrix becomes its factor, b becomes
// x. squares[lane] = b' matrix^-1 b; radii[lane] bounds sqrt(v' matrix^-1 v) for all |v_j| <=
// extents[j]. A pivot within rounding of zero leaves its parameter out, and makes the radius
// infinite. `scratch` holds two vectors of n.
inline void solve_tile(double *matrix, ptrdiff_t n, const double *extents, double *b,
                       double *squares, double *radii, double *scratch) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>;
    constexpr ptrdiff_t L = LANES<double>;
    const V infinite = splat<V>(__builtin_inf());
    for (int v = 0; v < VECTORS; v++) {
        double *const factor = matrix + v * W, *const x = b + v * W;
        double *const column = scratch + v * W, *const reach = scratch + n * L + v * W;
        // What the diagonal was says what is left of it by rounding alone.
        double *row = factor;
        for (ptrdiff_t j = 0; j < n; row += (n - j) * L, j++) store(column + j * L, load<V>(row));
        V square{}, radius{};
        row = factor;
        for (ptrdiff_t j = 0; j < n; row += (n - j) * L, j++) {
            const V diagonal = load<V>(row), rounding = load<V>(column + j * L) * (n * 0x1p-52);
            const V inverse = diagonal > rounding ? 1 / sqrt(max(diagonal, V{})) : V{};
            radius = inverse == 0 ? infinite : radius;
            store(row, inverse);
            const V y = load<V>(x + j * L) * inverse;
            store(x + j * L, y);
            square = fma(y, y, square);
            for (ptrdiff_t k = 1; k < n - j; k++) {
                const V entry = load<V>(row + k * L) * inverse;
                store(row + k * L, entry);
                store(x + (j + k) * L, fma(-y, entry, load<V>(x + (j + k) * L)));
            }
            double *below = row + (n - j) * L;
            for (ptrdiff_t i = 1; i < n - j; below += (n - j - i) * L, i++) {
                const V entry = -load<V>(row + i * L);
                for (ptrdiff_t k = i; k < n - j; k++) {
                    double *to = below + (k - i) * L;
                    store(to, fma(entry, load<V>(row + k * L), load<V>(to)));
                }
            }
        }
        for (ptrdiff_t j = n - 1; j >= 0; j--) {
            row = factor + (j * n - j * (j - 1) / 2) * L;
            V y = load<V>(x + j * L);
            for (ptrdiff_t k = 1; k < n - j; k++)
                y = fma(-load<V>(row + k * L), load<V>(x + (j + k) * L), y);
            store(x + j * L, y * load<V>(row));
        }
        // Column by column of the inverse factor: how far an entry of v reaches into each of y.
        for (ptrdiff_t j = 0; j < n; j++) store(reach + j * L, V{});
        double *diagonal = factor;
        for (ptrdiff_t j = 0; j < n; diagonal += (n - j) * L, j++) {
            store(column + j * L, splat<V>(extents[j]));
            for (ptrdiff_t k = j + 1; k < n; k++) store(column + k * L, V{});
            row = diagonal;
            for (ptrdiff_t i = j; i < n; row += (n - i) * L, i++) {
                const V y = load<V>(column + i * L) * load<V>(row);
                store(reach + i * L, load<V>(reach + i * L) + max(y, -y));
                for (ptrdiff_t k = 1; k < n - i; k++) {
                    double *to = column + (i + k) * L;
                    store(to, fma(-y, load<V>(row + k * L), load<V>(to)));
                }
            }
        }
        for (ptrdiff_t j = 0; j < n; j++)
            radius = fma(load<V>(reach + j * L), load<V>(reach + j * L), radius);
        store(squares + v * W, square);
        store(radii + v * W, sqrt(radius));
    }
}

}  // namespace metaopt::MF_ISA
