// Lower bounds of the mean loss of candidates by moments of the rows, which take the arithmetic of
// n_params + 1 rows for each candidate, however many rows there are.
//
// With d = theta - anchor, and y the products of d with the rows of an upper triangle,
//   lower = constant + gradient . d + amplitude / k psi(sqrt(k s)),
//   k = 1 + dispersion (s~ / s)^2,  s~ = |y|^2,  s = s~ - sum_j ridge_j d_j^2,
// psi(x) = exp(-x) + x - 1, log cosh(x / 2) or x^2: reference/bounds.py proves it, in real numbers.
//
// What single precision rounds, with u = 2^-24: whatever error is relative to s~ (see moments.py)
// is in `less` and `more`, 16 u to spare; what is absolute is subtracted from the constant. There
// is left, as a multiple of amplitude / k: 3 u x psi' of x itself; 5 u of exp, 5 u of log1p, whose
// values here are at most 1 and log 2; u max(x, 1) and u psi of the sums; 5 u psi of amplitude / k,
// its product and the last sum. As psi <= x and psi' <= 1, that is less than (10 x + 12) u, and so
// than ROUNDING (x + 1), which is 16 u (x + 1): psi alone was off by 1.6 u (x + 1) at most.
//
// What is infinite or not a number makes the bound not a number, and that drops no candidate.
// Bound by FMAs: those of margins(), half of which fall on the zeros of the triangle and are left
// out.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

constexpr float ROUNDING = 0x1p-20f;
// s that is a smaller part of s~, and s~ that is less, count as 0: k would be enormous, and squares
// not normal numbers.
constexpr float SMALL_PART = 0x1p-10f, SMALL_SQUARE = 0x1p-60f;
// Its psi is above any threshold, and no power of it overflows.
constexpr float LARGE_ROOT = 0x1p60f;

// A little less than psi(x), and not below 0.
inline f32v curve_below(int curve, f32v x) {
    const f32v e = exp_scaled(-x) * 0x1p-64f;
    const f32v psi = curve == EVEN ? x * 0.5f - 0.69314718f + log1p(e) : (x - 1) + e;
    return max(fma(x + 1, splat<f32v>(-ROUNDING), psi), f32v{});
}

// amplitude / k psi(sqrt(k s)), from s~ and the ridge's part of it.
inline f32v curvature_below(const Moments *moments, f32v wide, f32v ridge) {
    const f32v rest = wide * moments->less - ridge * moments->more;
    if (moments->curve == SQUARE) return max(rest, f32v{}) * moments->amplitude;
    const f32v some = max(wide * SMALL_PART, splat<f32v>(SMALL_SQUARE));
    const f32v s = rest > some ? rest : f32v{};
    const f32v ratio = wide * moments->more / max(s, some);
    const f32v k = fma(ratio * ratio, splat<f32v>(moments->dispersion), splat<f32v>(1));
    const f32v root = sqrt(k * s);
    const f32v x = root < LARGE_ROOT ? root : splat<f32v>(LARGE_ROOT);
    return splat<f32v>(moments->amplitude) / k * curve_below(moments->curve, x);
}

// lower[lane] of thetas[parameter][lane], a tile of single precision, and its part of the curve.
inline void moment_bounds(const Moments *moments, const float *thetas, float *lower,
                          float *curvature) {
    using V = f32v;
    constexpr ptrdiff_t W = lanes_of<V>, L = LANES<float>;
    const ptrdiff_t n = moments->n_params;
    alignas(64) float steps[MOMENT_PARAMS * L];
    alignas(64) float z[PANEL * L];
    V linear[VECTORS], wide[VECTORS] = {}, ridge[VECTORS] = {};
    for (ptrdiff_t j = 0; j < n; j++)
        for (int v = 0; v < VECTORS; v++) {
            const V step = load<V>(thetas + j * L + v * W) - moments->anchor[j];
            store(steps + j * L + v * W, step);
            ridge[v] = fma(step * moments->ridge[j], step, ridge[v]);
        }
    for (ptrdiff_t p = 0; p * PANEL <= n; p++) {
        // The first row is the gradient, so that row 8 p of all is row 8 p - 1 of the triangle.
        const ptrdiff_t first = p == 0 ? 0 : p * PANEL - 1;
        margins<float, false>(moments->panels + (p * n + first) * PANEL, 1, n * PANEL,
                              steps + first * L, n - first, z);
        for (int r = 0; r < PANEL; r++)
            for (int v = 0; v < VECTORS; v++) {
                const V y = load<V>(z + r * L + v * W);
                if (p == 0 && r == 0)
                    linear[v] = y;
                else
                    wide[v] = fma(y, y, wide[v]);
            }
    }
    for (int v = 0; v < VECTORS; v++) {
        const V doubt = wide[v] - wide[v];  // 0, or not a number
        const V curve = curvature_below(moments, wide[v], ridge[v]) + doubt;
        store(curvature + v * W, curve);
        store(lower + v * W, curve + (linear[v] + moments->constant));
    }
}

}  // namespace metaopt::MF_ISA
