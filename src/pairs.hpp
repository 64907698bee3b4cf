// The two loops of L-BFGS over a ring of pairs (s, y), Nocedal (1980). Double precision alone.
//
// A sum of products has 8 lanes, entry j in lane j % 8, that are added in order: the same bits
// whatever the width of a vector. Bound by reading the pairs.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

inline double dot(const double *a, const double *b, ptrdiff_t n) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    V sums[PARTS] = {};
    ptrdiff_t j = 0;
    for (; j + PANEL <= n; j += PANEL)
        for (int i = 0; i < PARTS; i++)
            sums[i] = fma(load<V>(a + j + i * W), load<V>(b + j + i * W), sums[i]);
    double lanes[PANEL], total = 0;
    for (int i = 0; i < PARTS; i++) store(lanes + i * W, sums[i]);
    for (; j < n; j++) lanes[j % PANEL] += a[j] * b[j];
    for (int l = 0; l < PANEL; l++) total += lanes[l];
    return total;
}

// to += factor * from.
inline void add_scaled(const double *from, double factor, ptrdiff_t n, double *to) {
    for (ptrdiff_t j = 0; j < n; j++) to[j] += factor * from[j];
}

// From the last pair to the first: q -= alphas[i] y_i, alphas[i] = s_i . q / s_i . y_i.
inline void apply_pairs(const Pairs *pairs, double *q, double *alphas) {
    const ptrdiff_t n = pairs->n;
    for (ptrdiff_t i = pairs->count - 1; i >= 0; i--) {
        const ptrdiff_t at = (pairs->first + i) % pairs->capacity;
        alphas[i] = dot(pairs->steps + at * n, q, n) / pairs->curvatures[at];
        add_scaled(pairs->changes + at * n, -alphas[i], n, q);
    }
}

// From the first pair to the last: q += (alphas[i] - y_i . q / s_i . y_i) s_i.
inline void apply_pairs_again(const Pairs *pairs, double *q, double *alphas) {
    const ptrdiff_t n = pairs->n;
    for (ptrdiff_t i = 0; i < pairs->count; i++) {
        const ptrdiff_t at = (pairs->first + i) % pairs->capacity;
        const double beta = dot(pairs->changes + at * n, q, n) / pairs->curvatures[at];
        add_scaled(pairs->steps + at * n, alphas[i] - beta, n, q);
    }
}

}  // namespace metaopt::MF_ISA
