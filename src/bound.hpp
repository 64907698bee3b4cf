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
// Most candidates are so far above the threshold that psi need not be known well:
//   log cosh(x / 2) >= max(x / 2 - log 2, x^2 / 8 - x^4 / 192),
//   exp(-x) + x - 1 >= max(x - 1, x^2 / 2 - x^3 / 6),
// the latter as they alternate with x^6 and x^4. Where they are the larger, x is below 4, and their
// five roundings are less than 5 u (x + 1).
//
// What is infinite or not a number makes the bound not a number, and that drops no candidate.
// Bound by FMAs, but those that fall on the zeros of the triangle.
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

// The same without exponentials.
inline f32v curve_about(int curve, f32v x) {
    const f32v x2 = x * x;
    const f32v linear = curve == EVEN ? x * 0.5f - 0.69314718f : x - 1;
    const f32v near =
        curve == EVEN ? x2 * (0.125f - x2 * (1.0f / 192)) : x2 * (0.5f - x * 0.16666667f);
    return max(fma(x + 1, splat<f32v>(-ROUNDING), max(linear, near)), f32v{});
}

// x = sqrt(k s) and amplitude / k, from s~ and the ridge's part of it.
struct Curvature {
    f32v x, factor;

    Curvature() = default;
    Curvature(const Moments *moments, f32v wide, f32v ridge) {
        const f32v rest = wide * moments->less - ridge * moments->more;
        factor = splat<f32v>(moments->amplitude);
        x = max(rest, f32v{});
        if (moments->curve == SQUARE) return;
        const f32v some = max(wide * SMALL_PART, splat<f32v>(SMALL_SQUARE));
        const f32v s = rest > some ? rest : f32v{};
        const f32v ratio = wide * moments->more / max(s, some);
        const f32v k = fma(ratio * ratio, splat<f32v>(moments->dispersion), splat<f32v>(1));
        const f32v root = sqrt(k * s);
        x = root < LARGE_ROOT ? root : splat<f32v>(LARGE_ROOT);
        factor = factor / k;
    }

    f32v below(int curve, bool is_near) const {
        if (curve == SQUARE) return x * factor;
        return factor * (is_near ? curve_below(curve, x) : curve_about(curve, x));
    }
};

// Of steps from the anchor, products with the gradient, and the sums of squares of those with the
// triangle's rows: both [lane].
// noinline: see margins().
__attribute__((noinline)) inline void moment_products(const Moments *moments, const float *steps,
                                                      float *linear, float *wide) {
    using V = f32v;
    constexpr int W = lanes_of<V>, L = LANES<float>, ROWS = MARGIN_ROWS;
    const ptrdiff_t n = moments->n_params;
    for (int v = 0; v < VECTORS; v++) store(wide + v * W, V{});
    for (ptrdiff_t first = 0; first <= n; first += ROWS) {
        // The first row is the gradient, so that row r of all is row r - 1 of the triangle.
        const ptrdiff_t start = first == 0 ? 0 : first - 1;
        const float *x = moments->panels + (first / PANEL * n + start) * PANEL + first % PANEL;
        V sums[ROWS][VECTORS] = {};
        for (ptrdiff_t j = start; j < n; j++, x += PANEL) {
            V step[VECTORS];
            for (int v = 0; v < VECTORS; v++) step[v] = load<V>(steps + j * L + v * W);
            for (int r = 0; r < ROWS; r++) {
                const V value = splat<V>(x[r]);
                for (int v = 0; v < VECTORS; v++) sums[r][v] = fma(value, step[v], sums[r][v]);
            }
        }
        for (int v = 0; v < VECTORS; v++) {
            V sum = load<V>(wide + v * W);
            if (first == 0)
                store(linear + v * W, sums[0][v]);
            else
                sum = fma(sums[0][v], sums[0][v], sum);
            for (int r = 1; r < ROWS; r++) sum = fma(sums[r][v], sums[r][v], sum);
            store(wide + v * W, sum);
        }
    }
}

// Whether the bounds of all candidates of a tile of single precision, thetas[parameter][lane], are
// above a limit; if not, lower[lane], and its part of the curve.
inline int moment_bounds(const Moments *moments, const float *thetas, float limit, float *lower,
                         float *curvature) {
    using V = f32v;
    constexpr ptrdiff_t W = lanes_of<V>, L = LANES<float>;
    const ptrdiff_t n = moments->n_params;
    const int curve = moments->curve;
    alignas(64) float steps[MOMENT_PARAMS * L];
    alignas(64) float linear[L], wide[L];
    V ridge[VECTORS] = {};
    for (ptrdiff_t j = 0; j < n; j++)
        for (int v = 0; v < VECTORS; v++) {
            const V step = load<V>(thetas + j * L + v * W) - moments->anchor[j];
            store(steps + j * L + v * W, step);
            ridge[v] = fma(step * moments->ridge[j], step, ridge[v]);
        }
    moment_products(moments, steps, linear, wide);
    Curvature found[VECTORS];
    V doubt[VECTORS], straight[VECTORS];
    u32v are_above = ~u32v{};
#pragma GCC unroll 1
    for (int v = 0; v < VECTORS; v++) {
        const V sum = load<V>(wide + v * W);
        doubt[v] = sum - sum;  // 0, or not a number
        straight[v] = load<V>(linear + v * W) + moments->constant;
        found[v] = Curvature(moments, sum, ridge[v]);
        const V bound = found[v].below(curve, false) + doubt[v] + straight[v];
        are_above &= (u32v)(bound > limit);
    }
    unsigned long long all = ~0ULL;
    for (int l = 0; l < lanes_of<f64v>; l++) all &= ((u64v)are_above)[l];
    if (all == ~0ULL) return 1;
#pragma GCC unroll 1
    for (int v = 0; v < VECTORS; v++) {
        const V curved = found[v].below(curve, true) + doubt[v], bound = curved + straight[v];
        store(curvature + v * W, curved);
        store(lower + v * W, bound);
    }
    return 0;
}

}  // namespace metaopt::MF_ISA
