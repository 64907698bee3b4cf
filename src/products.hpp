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

// Writes the products of each two numbers of a row as row `row` of the panels and of the tiles,
// zeros beyond the last one. Those of numbers a <= b stand in the panels in the order of b and then
// a, in the tiles by a downwards and then b. `scratch` has room for two rows of the tiles, and for
// a tile behind each.
inline void spread_pairs(const PairGram *gram, const float *numbers, ptrdiff_t row,
                         float *scratch) {
    constexpr ptrdiff_t L = LANES<float>, W = lanes_of<f32v>;
    const ptrdiff_t n = gram->n_numbers, n_pairs = gram->n_pairs, size = gram->n_tiles * L;
    float *const copy = scratch + size + L, *const end = scratch + n_pairs;
    __builtin_memcpy(copy, numbers, n * sizeof(float));
    // Whole vectors: what is written beyond a number's last pair is overwritten by the next one.
    float *at = scratch;
    for (ptrdiff_t b = 0; b < n; at += ++b)
        for (ptrdiff_t a = 0; a <= b; a += W) store(at + a, load<f32v>(copy + a) * copy[b]);
    __builtin_memset(end, 0, (scratch + size - end) * sizeof(float));
    for (ptrdiff_t p = 0; p * PANEL < n_pairs; p++)
        __builtin_memcpy(gram->panels + p * gram->panel_size + row * PANEL, scratch + p * PANEL,
                         PANEL * sizeof(float));
    at = scratch;
    for (ptrdiff_t a = n - 1; a >= 0; at += n - a--)
        for (ptrdiff_t b = a; b < n; b += W) store(at + b - a, load<f32v>(copy + b) * copy[a]);
    __builtin_memset(end, 0, (scratch + size - end) * sizeof(float));
    for (ptrdiff_t t = 0; t < gram->n_tiles; t++)
        __builtin_memcpy(gram->tiles + t * gram->tile_size + row * L, scratch + t * L,
                         L * sizeof(float));
}

// sums[q][p] += the sum over rows of the products of pair p of the panels and q of a tile. A
// product of four numbers is that of its two least and its two largest: so the pairs of a tile
// whose lesser number is at most c need those alone whose larger one is no more than that, which
// come first, and which are a third of all.
inline void add_pair_gram(const PairGram *gram, ptrdiff_t tile) {
    constexpr ptrdiff_t L = LANES<float>;
    alignas(64) float found[PANEL * L];
    const ptrdiff_t first = tile * L, n = gram->n_pairs, last = first + L < n ? first + L : n;
    ptrdiff_t below = gram->n_numbers, before = 1;  // pairs of the tiles from `below` - 1 on
    while (before <= first) before += gram->n_numbers - --below + 1;
    const ptrdiff_t needed = below * (below + 1) / 2;
    for (ptrdiff_t p = 0; p * PANEL < needed; p++) {
        margins<float, false>(gram->panels + p * gram->panel_size, 1, 0,
                              gram->tiles + tile * gram->tile_size, gram->n_rows, found);
        const ptrdiff_t width = n - p * PANEL < PANEL ? n - p * PANEL : PANEL;
        for (ptrdiff_t q = first; q < last; q++)
            for (ptrdiff_t i = 0; i < width; i++)
                gram->sums[q * n + p * PANEL + i] += (double)found[i * L + q - first];
    }
}

}  // namespace metaopt::MF_ISA
