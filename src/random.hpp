// Counter-based draws of candidates: parameter j of candidate i is a pure function of (seed, i, j).
//
// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): key = seed, counter = (i, j / 2, 0); two
// of the four words make the 52 bits of a uniform number for each of two neighbouring parameters.
// Nothing here is fused, so that every processor draws the same bits.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace metaopt::MF_ISA {

struct UniformPair {
    f64v first, second;
};

// u = (bits + 1/2) / 2^52 of the 52 upper bits of (high, low): 0 < u < 1, exact.
inline f64v uniform(u64v low, u64v high) {
    const u64v one = (u64v)splat<f64v>(1);
    const u64v bits = (high << 32 | (low & 0xffffffffULL)) >> 12;
    return (f64v)(bits | one) - (1 - 0x1p-53);
}

// For N vectors of candidates at once: a round is a chain of a dozen cycles, N of them overlap.
template <int N>
inline void philox(const u64v (&candidates)[N], uint64_t pair, uint64_t seed,
                   UniformPair (&uniforms)[N]) {
    const u64v multiplier0 = u64v{} + 0xD2511F53ULL, multiplier2 = u64v{} + 0xCD9E8D57ULL;
    // Only the lower half of each element counts; the upper one may hold anything.
    u64v x[N][4];
    for (int n = 0; n < N; n++) {
        x[n][0] = candidates[n];
        x[n][1] = candidates[n] >> 32;
        x[n][2] = u64v{} + pair;
        x[n][3] = u64v{};
    }
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        for (int n = 0; n < N; n++) {
            const u64v product0 = multiply_low_halves(x[n][0], multiplier0);
            const u64v product2 = multiply_low_halves(x[n][2], multiplier2);
            x[n][0] = (product2 >> 32) ^ x[n][1] ^ key0;
            x[n][1] = product2;
            x[n][2] = (product0 >> 32) ^ x[n][3] ^ key1;
            x[n][3] = product0;
        }
        key0 += 0x9E3779B9U;
        key1 += 0xBB67AE85U;
    }
    for (int n = 0; n < N; n++)
        uniforms[n] = {uniform(x[n][0], x[n][1]), uniform(x[n][2], x[n][3])};
}

// Horner's rule with separate roundings, highest coefficient first.
template <int N> inline f64v unfused_polynomial(f64v x, const double (&coefficients)[N]) {
    f64v p = splat<f64v>(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N; i++) p = p * x + coefficients[i];
    return p;
}

// Box and Muller (1958): sqrt(-2 ln u) (cos, sin)(2 pi v). Within a few ulp of the exact values;
// what is promised is that the bits never change.
inline UniformPair normals(UniformPair u) {
    using C = constants<double>;
    // ln u = k ln 2 + 2 atanh(s), as in log1p.
    const u64v offset = (u64v)u.first - (u64v)splat<f64v>(C::sqrt_half) + (1024ULL << 52);
    const u64v k = offset >> 52;
    const f64v exponent = (f64v)(k | (u64v)splat<f64v>(0x1p52)) - (0x1p52 + 1024);
    const f64v m = (f64v)((u64v)u.first - (k << 52) + (1024ULL << 52));
    const f64v s = (m - 1) / (m + 1);
    const f64v s2 = s * s;
    const f64v tail = s * s2 * unfused_polynomial(s2, C::log_tail);
    const f64v log_u = exponent * C::ln2_high + (exponent * C::ln2_low + tail + (s + s));
    const f64v radius = sqrt(log_u * -2);

    // 4 v = quadrant + f, |f| <= 1/2; minimax fits of sin and cos of (pi/2) f.
    static constexpr double sine[] = {
        0x1.e3eed591af382p-25, -0x1.e300639f7699ep-19, 0x1.50782fca37f5fp-13, -0x1.32d2cce2d5355p-8,
        0x1.466bc67758700p-4,  -0x1.4abbce625be41p-1,  0x1.921fb54442d18p+0};
    static constexpr double cosine[] = {-0x1.b2586b2e8e80fp-28, 0x1.f9cc15d38e6f3p-22,
                                        -0x1.a6d1ec3d45c90p-16, 0x1.e1f5068303ef0p-11,
                                        -0x1.55d3c7e3c8d5cp-6,  0x1.03c1f081b5aaap-2,
                                        -0x1.3bd3cc9be45dep+0,  1};
    const f64v turn = u.second * 4;
    const f64v shifted = turn + C::round_to_integer;
    const u64v quadrant = (u64v)shifted;
    const f64v f = turn - (shifted - C::round_to_integer);
    const f64v f2 = f * f;
    const f64v sin_f = f * unfused_polynomial(f2, sine);
    const f64v cos_f = unfused_polynomial(f2, cosine);
    const auto odd = (quadrant & 1) != 0;
    const f64v cos_v = (f64v)((u64v)(odd ? sin_f : cos_f) ^ ((quadrant + 1) >> 1 << 63));
    const f64v sin_v = (f64v)((u64v)(odd ? cos_f : sin_f) ^ (quadrant >> 1 << 63));
    return {radius * cos_v, radius * sin_v};
}

inline f64v transform(const Sampler *sampler, ptrdiff_t j, f64v u, f64v normal) {
    const double a = sampler->a[j], b = sampler->b[j], c = sampler->c[j];
    if (sampler->transform[j] == NORMAL) return a + b * normal;
    f64v step = b * u;
    if (sampler->transform[j] == INTEGERS) {  // round down; b <= 2^52
        const f64v rounded = (step + 0x1p52) - 0x1p52;
        step = rounded > step ? rounded - 1 : rounded;
    }
    const f64v value = a + step;
    return value > c ? splat<f64v>(c) : value;
}

// The first `count` lanes, rounded to T.
template <class T> inline void write(T *to, f64v values, ptrdiff_t count) {
    constexpr int W = lanes_of<f64v>;
    const vector<T, W * sizeof(T)> rounded =
        __builtin_convertvector(values, vector<T, W * sizeof(T)>);
    if (count == W)
        __builtin_memcpy(to, &rounded, sizeof rounded);
    else
        __builtin_memcpy(to, &rounded, count * sizeof(T));
}

// N vectors of candidates from `start` on into tile[parameter][lane], `count` of them.
template <class T, int N>
void draw_vectors(const Sampler *sampler, uint64_t start, ptrdiff_t count, ptrdiff_t lanes, T *to) {
    constexpr int W = lanes_of<f64v>;
    const ptrdiff_t n_params = sampler->n_params;
    u64v candidates[N];
    for (int n = 0; n < N; n++)
        for (int l = 0; l < W; l++) candidates[n][l] = start + n * W + l;
    for (ptrdiff_t j = 0; j < n_params; j += 2, to += 2 * lanes) {
        const bool both = j + 1 < n_params;
        const bool normal =
            sampler->transform[j] == NORMAL || (both && sampler->transform[j + 1] == NORMAL);
        UniformPair u[N];
        philox(candidates, j / 2, sampler->seed, u);
        for (int n = 0; n < N; n++) {
            const UniformPair z = normal ? normals(u[n]) : UniformPair{};
            const ptrdiff_t here = count - n * W < W ? count - n * W : W;
            write(to + n * W, transform(sampler, j, u[n].first, z.first), here);
            if (both)
                write(to + lanes + n * W, transform(sampler, j + 1, u[n].second, z.second), here);
        }
    }
}

// Candidates start .. start + lanes - 1 into tile[parameter][lane].
template <class T> void draw(const Sampler *sampler, uint64_t start, ptrdiff_t lanes, void *tile) {
    constexpr int W = lanes_of<f64v>, TOGETHER = MF_BYTES == 64 ? 3 : 2;
    T *to = (T *)tile;
    ptrdiff_t first = 0;
    for (; first + TOGETHER * W <= lanes; first += TOGETHER * W)
        draw_vectors<T, TOGETHER>(sampler, start + first, TOGETHER * W, lanes, to + first);
    for (; first < lanes; first += W)
        draw_vectors<T, 1>(sampler, start + first, lanes - first < W ? lanes - first : W, lanes,
                           to + first);
}

}  // namespace metaopt::MF_ISA
