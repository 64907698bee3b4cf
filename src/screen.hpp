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
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

constexpr double MODERATE = 0x1p40;

// Two neighbouring tiles of double precision, thetas and excesses, as one of single precision,
// without excesses, times factors[j]; errors[lane] = sum_j sizes[j] |theta_j factors[j]|, infinite
// or NaN where one of these is not MODERATE.
inline void narrow_tiles(const double *wide, ptrdiff_t n_params, const double *factors,
                         const double *sizes, void *tile, double *errors) {
    using F = f64v;
    using Half = vector<float, sizeof(F) / 2>;
    constexpr int W = lanes_of<F>, WIDE = LANES<double>, ALL = LANES<float>;
    static_assert(ALL == 2 * WIDE, "two tiles make one");
    float *to = (float *)tile;
    const double *tiles[] = {wide, wide + (n_params + 1) * WIDE};
    F sums[ALL / W] = {}, largest[ALL / W] = {};
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (int v = 0; v < ALL / W; v++) {
            const F theta =
                load<F>(tiles[v * W / WIDE] + j * WIDE + v * W % WIDE) * splat<F>(factors[j]);
            const F size = max(theta, -theta);
            sums[v] = fma(splat<F>(sizes[j]), size, sums[v]);
            largest[v] = max(largest[v], size);
            const Half narrow = __builtin_convertvector(theta, Half);
            __builtin_memcpy(to + j * ALL + v * W, &narrow, sizeof narrow);
        }
    for (int v = 0; v < ALL / W; v++) {
        const F beyond = largest[v] > MODERATE ? splat<F>((double)__builtin_inf()) : F{};
        store(errors + v * W, sums[v] + beyond);
    }
    for (int l = 0; l < ALL; l++) to[n_params * ALL + l] = 0;
}

// Panels of double precision in single precision, columns divided by factors[j]: the powers of two
// that leave their largest numbers within 1 and 2, but for what is below 2^-1000.
inline void narrow_rows(const double *from, ptrdiff_t n_panels, ptrdiff_t n_params, double *factors,
                        void *panels) {
    float *to = (float *)panels;
    for (ptrdiff_t j = 0; j < n_params; j++) factors[j] = 0x1p-1000;
    for (ptrdiff_t p = 0; p < n_panels; p++)
        for (ptrdiff_t j = 0; j < n_params; j++)
            for (int r = 0; r < PANEL; r++) {
                const double x = from[(p * n_params + j) * PANEL + r], size = x < 0 ? -x : x;
                factors[j] = size > factors[j] ? size : factors[j];
            }
    for (ptrdiff_t j = 0; j < n_params; j++)
        factors[j] = __builtin_ldexp(1, __builtin_ilogb(factors[j]));
    for (ptrdiff_t p = 0; p < n_panels; p++)
        for (ptrdiff_t j = 0; j < n_params; j++) {
            const double inverse = 1 / factors[j];
            for (int r = 0; r < PANEL; r++) {
                const ptrdiff_t i = (p * n_params + j) * PANEL + r;
                to[i] = (float)(from[i] * inverse);
            }
        }
}

}  // namespace metaopt::MF_ISA
