// Candidates drawn in single precision, to be screened: nearly those of random.hpp, from the upper
// 32 bits of the same words. What may rank is drawn again there.
//
// How near, with w = 2^-24 and the bits of a uniform number u cut to (h + 1/2) / 2^32, which is off
// by 2^-33 at most:
// - h + 1/2 and 2^32 - h - 1/2 have two roundings, 2 w of themselves; so has 4 v, of angles, one
// and
//   2^-30: 0.5 w + 2^-30 of it, as it is taken from the nearest whole number.
// - ln u. Where u >= sqrt(1/2) it is computed from 1 - u: 2 w of that are 2.4 w of ln u, and the
//   quotient s, the sum with the polynomial's part and the product leave 4 w more. Else u = 2^k m,
//   m - 1 is exact, and ln m off by 2 w for u, and by 0.35 (4 w) for what follows; the product with
//   k, 15 at most, by 0.5 w, and the sum by w |ln u|.
// - The radius sqrt(-2 ln u) is then off by 7.7 w at most: near 1 by half of 6.4 w and w of less
//   than 0.84; else by 3.9 w / r + 1.5 w r, where r is between 0.83 and 4.57.
// - The bits that were cut change it by 2^-33 / (u r). Words below RARE or above 2^32 - 1 - RARE
// are
//   drawn in double precision: so u >= 2^-15, which makes that at most 14.1 w, and 1 - u >= 2^-15
//   less than a third of w.
// - Sines and cosines, from polynomials that are off by w / 2 at most, are off by 4 w.
// So r (cos, sin) is off by 22 w + 4.57 (4 w) + 4.57 w < 45 w, and by less than NORMAL_ERROR, which
// is 64 w. tests/kernels/test_screening.py has the polynomials' errors by interval arithmetic.
//
// A parameter a + b z is then off by |b| NORMAL_ERROR, and by 2 w |b| for uniform numbers, and by
// three more roundings of at most |a| + LARGEST |b|, of a, of b and of the sum.
#pragma once

#include "random.hpp"

namespace metaopt::MF_ISA {

using u32v = bits_of<f32v>;

constexpr unsigned int RARE = 1u << 17;
// Vectors of single precision at once: more would leave the registers.
constexpr int NARROW_VECTORS = MF_BYTES == 64 ? VECTORS : 1;

// The lower halves of two vectors' elements.
inline u32v lower_halves(u64v first, u64v second) {
    using Half = vector<unsigned int, sizeof(u64v) / 2>;
    const Half parts[2] = {__builtin_convertvector(first, Half),
                           __builtin_convertvector(second, Half)};
    u32v all;
    __builtin_memcpy(&all, parts, sizeof all);
    return all;
}

// (h + 1/2) 2^-32.
inline f32v narrow_uniform(u32v h) { return (__builtin_convertvector(h, f32v) + 0.5f) * 0x1p-32f; }

// Box and Muller's normal numbers as in random.hpp, of N vectors of words.
template <int N>
inline void narrow_normals(const u32v (&radii)[N], const u32v (&angles)[N], f32v (&z)[N][2]) {
    using C = constants<float>;
    using Integers = vector<int, sizeof(f32v)>;
    // Fits of sin and cos of (pi/2) f.
    static constexpr float sine[] = {-0x1.2d9b4p-8f, 0x1.465ec4p-4f, -0x1.4abbbap-1f,
                                     0x1.921fb6p+0f};
    static constexpr float cosine[] = {0x1.db6492p-11f, -0x1.55cb98p-6f, 0x1.03c1eap-2f,
                                       -0x1.3bd3ccp+0f, 1};
    f32v s[N], s2[N], exponent[N], log_tail[N], f[N], f2[N], sin_f[N], cos_f[N];
    u32v quadrant[N];
    for (int n = 0; n < N; n++) {
        // ln u = k ln 2 + 2 atanh(s); 4 v = quadrant + f, |f| <= 1/2.
        const u32v bits = (u32v)narrow_uniform(radii[n]);
        const u32v k = (bits - (u32v)splat<f32v>(C::sqrt_half) + (128u << 23)) >> 23;
        exponent[n] = (f32v)(k | (u32v)splat<f32v>(0x1p23f)) - (0x1p23f + 128);
        const f32v m = (f32v)(bits - (k << 23) + (128u << 23));
        const f32v part = exponent[n] == 0 ? -narrow_uniform(~radii[n]) : m - 1;
        s[n] = part / (part + 2);
        s2[n] = s[n] * s[n];
        quadrant[n] = (angles[n] + (1u << 29)) >> 30;
        f[n] = __builtin_convertvector((Integers)(angles[n] << 2), f32v) * 0x1p-32f;
        f2[n] = f[n] * f[n];
    }
    for (int n = 0; n < N; n++) {
        log_tail[n] = polynomial(s2[n], C::log_tail);
        sin_f[n] = polynomial(f2[n], sine) * f[n];
        cos_f[n] = polynomial(f2[n], cosine);
    }
    for (int n = 0; n < N; n++) {
        const f32v log_m = fma(s[n] * s2[n], log_tail[n], s[n] + s[n]);
        const f32v radius = sqrt(fma(exponent[n], splat<f32v>(0.69314718f), log_m) * -2);
        const auto odd = (quadrant[n] & 1) != 0;
        const u32v cos_v = (u32v)(odd ? sin_f[n] : cos_f[n]) ^ ((quadrant[n] + 1) >> 1 << 31);
        const u32v sin_v = (u32v)(odd ? cos_f[n] : sin_f[n]) ^ (quadrant[n] >> 1 << 31);
        z[n][0] = radius * (f32v)cos_v;
        z[n][1] = radius * (f32v)sin_v;
    }
}

// N vectors of candidates from `start` on into tile[parameter][lane]; what is rare is added to
// rare[lane].
template <int N>
void draw_narrow_vectors(const NarrowSampler *sampler, uint64_t start, float *tile,
                         unsigned int *rare) {
    constexpr int W = lanes_of<f32v>, HALF = lanes_of<f64v>;
    constexpr ptrdiff_t L = LANES<float>;
    const ptrdiff_t n_params = sampler->n_params;
    const Keys keys(sampler->seed);
    Begun candidates[2 * N];
    u32v found[N] = {};
    for (int n = 0; n < 2 * N; n++) candidates[n] = Begun(numbers_from(start + n * HALF), keys);
    for (ptrdiff_t j = 0; j < n_params; j += 2, tile += 2 * L) {
        const int count = j + 1 < n_params ? 2 : 1;
        u64v pairs[2 * N], x[2 * N][4];
        u32v words[2][N];
        f32v z[N][2];
        for (int n = 0; n < 2 * N; n++) pairs[n] = u64v{} + (uint64_t)(j / 2);
        philox_words(candidates, pairs, keys, x);
        for (int n = 0; n < N; n++)
            for (int i = 0; i < 2; i++)
                words[i][n] = lower_halves(x[2 * n][2 * i + 1], x[2 * n + 1][2 * i + 1]);
        if (sampler->transform[j] == NORMAL || sampler->transform[j + count - 1] == NORMAL) {
            narrow_normals(words[0], words[1], z);
            for (int n = 0; n < N; n++) found[n] |= (u32v)(words[0][n] - RARE >= u32v{} - 2 * RARE);
        }
        for (int i = 0; i < count; i++) {
            const f32v a = splat<f32v>(sampler->a[j + i]), b = splat<f32v>(sampler->b[j + i]);
            for (int n = 0; n < N; n++)
                store(
                    tile + i * L + n * W,
                    fma(b,
                        sampler->transform[j + i] == NORMAL ? z[n][i] : narrow_uniform(words[i][n]),
                        a));
        }
    }
    for (int n = 0; n < N; n++) __builtin_memcpy(rare + n * W, &found[n], sizeof found[n]);
}

// Candidates start .. into tile[parameter][lane] of single precision, and a row of zeros.
// rare[lane] is other than 0 where a candidate has to be drawn in double precision; returns whether
// one has.
inline int draw_narrow(const NarrowSampler *sampler, uint64_t start, float *tile,
                       unsigned int *rare) {
    constexpr int STEP = NARROW_VECTORS * lanes_of<f32v>, L = LANES<float>;
    static_assert(L % STEP == 0, "vectors fill a tile");
    for (int first = 0; first < L; first += STEP)
        draw_narrow_vectors<NARROW_VECTORS>(sampler, start + first, tile + first, rare + first);
    unsigned int any = 0;
    for (int l = 0; l < L; l++) {
        tile[sampler->n_params * L + l] = 0;
        any |= rare[l];
    }
    return any != 0;
}

}  // namespace metaopt::MF_ISA
