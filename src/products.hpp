// Products of rows with the vectors in the lanes of a tile, in double precision; and of the pairs
// of their numbers with each other, in single precision.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// out[row][lane] = sum over j of rows[row][j] * tile[j][lane], for ROWS rows and the lanes of USED
// vectors: fma in the order of j, from 0. Bound by FMAs: 3 loads and 8 broadcasts feed 24.
// noinline: else gcc 12 keeps the sums on the stack.
template <int ROWS, int USED>
__attribute__((noinline)) void products_of_rows(const double *rows, ptrdiff_t stride, ptrdiff_t n,
                                                const double *tile, double *out) {
    constexpr int W = lanes_of<f64v>;
    f64v sums[ROWS][USED] = {};
    for (ptrdiff_t j = 0; j < n; j++) {
        f64v lanes[USED];
        for (int v = 0; v < USED; v++) lanes[v] = load<f64v>(tile + j * LANES<double> + v * W);
        for (int r = 0; r < ROWS; r++) {
            const f64v value = splat<f64v>(rows[r * stride + j]);
            for (int v = 0; v < USED; v++) sums[r][v] = fma(value, lanes[v], sums[r][v]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < USED; v++) store(out + r * LANES<double> + v * W, sums[r][v]);
}

// The same for `count` rows, which lie `stride` apart, and `n_lanes` lanes.
template <int USED = VECTORS>
void products(const double *rows, ptrdiff_t count, ptrdiff_t stride, ptrdiff_t n,
              const double *tile, int n_lanes, double *out) {
    if constexpr (USED > 1)
        if (n_lanes <= (USED - 1) * lanes_of<f64v>)
            return products<USED - 1>(rows, count, stride, n, tile, n_lanes, out);
    ptrdiff_t row = 0;
    for (; row + MARGIN_ROWS <= count; row += MARGIN_ROWS)
        products_of_rows<MARGIN_ROWS, USED>(rows + row * stride, stride, n, tile,
                                            out + row * LANES<double>);
    for (; row < count; row++)
        products_of_rows<1, USED>(rows + row * stride, stride, n, tile, out + row * LANES<double>);
}

// Writes the products of each two numbers of a row, those of different ones times sqrt(2), and a
// number more: as row `row` of the panels and of the tiles, zeros beyond the last one.
inline void spread_pairs(const PairGram *gram, const float *numbers, ptrdiff_t n, float more,
                         ptrdiff_t row, float *products) {
    constexpr ptrdiff_t L = LANES<float>;
    float *at = products;
    for (ptrdiff_t a = 0; a < n; a++) {
        const float number = numbers[a], twice = number * 1.41421356f;
        *at++ = number * number;
        for (ptrdiff_t b = a + 1; b < n; b++) *at++ = twice * numbers[b];
    }
    *at++ = more;
    while (at < products + gram->n_tiles * L) *at++ = 0;
    for (ptrdiff_t p = 0; p * PANEL < gram->n_pairs; p++)
        __builtin_memcpy(gram->panels + p * gram->panel_size + row * PANEL, products + p * PANEL,
                         PANEL * sizeof(float));
    for (ptrdiff_t t = 0; t < gram->n_tiles; t++)
        __builtin_memcpy(gram->tiles + t * gram->tile_size + row * L, products + t * L,
                         L * sizeof(float));
}

// matrix[a][b] += the sum over rows of products a and b, for all a in a tile and b <= a, or in the
// panel of one that is.
inline void add_pair_gram(const PairGram *gram, ptrdiff_t tile) {
    constexpr ptrdiff_t L = LANES<float>;
    alignas(64) float sums[PANEL * L];
    const ptrdiff_t first = tile * L, n = gram->n_pairs, last = first + L < n ? first + L : n;
    for (ptrdiff_t p = 0; p * PANEL < last; p++) {
        margins<float, false>(gram->panels + p * gram->panel_size, 1, 0,
                              gram->tiles + tile * gram->tile_size, gram->n_rows, sums);
        const ptrdiff_t width = n - p * PANEL < PANEL ? n - p * PANEL : PANEL;
        for (ptrdiff_t a = first; a < last; a++)
            for (ptrdiff_t b = 0; b < width; b++)
                gram->matrix[a * n + p * PANEL + b] += (double)sums[b * L + a - first];
    }
}

}  // namespace metaopt::MF_ISA
