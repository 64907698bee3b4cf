// Products of rows with the vectors in the lanes of a tile, in double precision.
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

}  // namespace metaopt::MF_ISA
