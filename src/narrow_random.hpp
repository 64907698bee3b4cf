// Candidates drawn in single precision, to be screened: nearly those of random.hpp, from the upper
// 32 bits of the same words. What may rank is drawn again there.
//
// How near, with w = 2^-24 and the bits of a uniform number u cut to (h + 1/2) / 2^32, which is off
// by 2^-33 at most:
// - The smaller of u and 1 - u has two roundings, 2 w of itself; so has 4 v, of angles, one and
//   2^-30: 0.5 w + 2^-30 of it, as it is taken from the nearest whole number. Where u is the
//   larger, it has one more as it is computed from 1 - u: half of w.
// - ln u. Where u >= sqrt(1/2) it is computed from 1 - u: 2 w of that are 2.4 w of ln u, and the
//   quotient s, the sum with the polynomial's part and the product leave 4 w more. Else u = 2^k m,
//   m - 1 is exact, and ln m off by 2 w for u, or 3 w where u >= 1/2, and by 0.35 (4 w) for what
//   follows; the product with k, 15 at most, by 0.5 w, and the sum by w |ln u|.
// - The radius sqrt(-2 ln u) is then off by 7.7 w at most: near 1 by half of 6.4 w and w of less
//   than 0.84; else by 3.9 w / r + 1.5 w r, where r is between 1.17 and 4.57, or, where u >= 1/2,
//   by 4.9 w / r + 1.5 w r, where r is between 0.83 and 1.18.
// - The bits that were cut change it by 2^-33 / (u r). Words below RARE or above 2^32 - 1 - RARE
//   are drawn in double precision: so u >= 2^-15, which makes that at most 14.1 w, and
//   1 - u >= 2^-15 less than a third of w.
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
// Vectors of single precision at once, so that one does not wait for what another one computes: of
// AVX2, three take 0.7 of the time of one by one.
constexpr int NARROW_VECTORS = MF_BYTES >= 32 ? VECTORS : 1;

// Ten rounds of Philox as in random.hpp, of as many candidates as a vector has numbers of 32 bits:
// the words of each stand alone, and a product's halves come from different instructions.

// Of the products of the even numbers and of those of the odd ones, the upper halves: of each four
// numbers in the order 0, 2, 1, 3; of two such products as they were.
#if defined(__clang__) || __GNUC__ >= 12
// One instruction of floating-point numbers, three of whole ones.
template <int... I> inline f32v upper_halves(f32v even, f32v odd, Indices<I...>) {
    constexpr int W = lanes_of<f32v>;
    return __builtin_shufflevector(even, odd, (I / 4 * 4 + I % 2 * 2 + 1 + (I & 2 ? W : 0))...);
}
inline u32v upper_halves(u64v even, u64v odd) {
    using All = typename indices_below<lanes_of<f32v>>::type;
    return (u32v)upper_halves((f32v)even, (f32v)odd, All{});
}
#else
inline u32v upper_halves(u64v even, u64v odd) {
    u32v all;
    for (int l = 0; l < lanes_of<u32v>; l++)
        all[l] = ((u32v)(l & 2 ? odd : even))[l / 4 * 4 + l % 2 * 2 + 1];
    return all;
}
#endif

inline u32v upper_products(u32v x, uint64_t multiplier) {
    const u64v factor = u64v{} + multiplier;
    return upper_halves(multiply_low_halves((u64v)x, factor),
                        multiply_low_halves((u64v)x >> 32, factor));
}

// What the first two rounds make of a pair of parameters and of the upper half of the candidates'
// numbers, and what of their lower halves: of the words, these are joined by exclusive or.
struct BegunPair {
    uint32_t word0, word2, word3;

    BegunPair(uint64_t pair, uint32_t upper, const Keys &keys) {
        const uint64_t product2 = (uint32_t)pair * MULTIPLIERS[1];
        const uint64_t product0 = ((product2 >> 32) ^ upper ^ keys.rounds[0][0]) * MULTIPLIERS[0];
        word0 = (uint32_t)product2;
        word2 = (uint32_t)(product0 >> 32), word3 = (uint32_t)product0;
    }
};

struct BegunCandidates {
    u32v word0, word1, word2;

    BegunCandidates() = default;
    BegunCandidates(u32v numbers, const Keys &keys) {
        const u32v first = upper_products(numbers, MULTIPLIERS[0]) ^ (uint32_t)keys.rounds[0][1];
        word0 = upper_products(first, MULTIPLIERS[1]) ^ (uint32_t)keys.rounds[1][0];
        word1 = first * (uint32_t)MULTIPLIERS[1];
        word2 = (numbers * (uint32_t)MULTIPLIERS[0]) ^ (uint32_t)keys.rounds[1][1];
    }
};

// Words 1 and 3.
template <int N>
inline void narrow_words(const BegunCandidates *candidates, const BegunPair &pair, const Keys &keys,
                         u32v (&radii)[N], u32v (&angles)[N]) {
    const uint32_t multiplier0 = MULTIPLIERS[0], multiplier2 = MULTIPLIERS[1];
    u32v x[N][4];
    for (int n = 0; n < N; n++) {
        x[n][0] = candidates[n].word0 ^ pair.word0;
        x[n][1] = candidates[n].word1;
        x[n][2] = candidates[n].word2 ^ pair.word2;
        x[n][3] = u32v{} + pair.word3;
    }
#pragma GCC unroll 7
    for (int round = 2; round < 9; round++) {
        const uint32_t key0 = (uint32_t)keys.rounds[round][0];
        const uint32_t key1 = (uint32_t)keys.rounds[round][1];
        for (int n = 0; n < N; n++) {
            const u32v upper2 = upper_products(x[n][2], multiplier2);
            const u32v upper0 = upper_products(x[n][0], multiplier0);
            const u32v lower2 = x[n][2] * multiplier2, lower0 = x[n][0] * multiplier0;
            x[n][0] = upper2 ^ (x[n][1] ^ key0);
            x[n][1] = lower2;
            x[n][2] = upper0 ^ (x[n][3] ^ key1);
            x[n][3] = lower0;
        }
    }
    for (int n = 0; n < N; n++) radii[n] = x[n][2] * multiplier2, angles[n] = x[n][0] * multiplier0;
}

// (h + 1/2) 2^-32.
inline f32v narrow_uniform(u32v h) { return (__builtin_convertvector(h, f32v) + 0.5f) * 0x1p-32f; }

// Box and Muller's normal numbers as in random.hpp, of N vectors of words; and the smallest of u
// and 1 - u so far.
template <int N>
inline void narrow_normals(const u32v (&radii)[N], const u32v (&angles)[N], f32v (&z)[N][2],
                           i32v *nearest) {
    using C = constants<float>;
    // Fits of sin and cos of (pi/2) f.
    static constexpr float sine[] = {-0x1.2d9b4p-8f, 0x1.465ec4p-4f, -0x1.4abbbap-1f,
                                     0x1.921fb6p+0f};
    static constexpr float cosine[] = {0x1.db6492p-11f, -0x1.55cb98p-6f, 0x1.03c1eap-2f,
                                       -0x1.3bd3ccp+0f, 1};
    static constexpr float log_tail[] = {-2 * C::log_tail[0], -2 * C::log_tail[1],
                                         -2 * C::log_tail[2]};
    constexpr unsigned int SIGN = 1u << 31;
    f32v exponent[N], s[N], s2[N], f[N], f2[N];
    for (int n = 0; n < N; n++) {
        // The nearer of u and 1 - u to 0: signed numbers, which every processor converts.
        const i32v h = (i32v)radii[n], near = h ^ (h >> 31);
        nearest[n] = min(nearest[n], near);
        const f32v least =
            fma(__builtin_convertvector(near, f32v), splat<f32v>(0x1p-32f), splat<f32v>(0x1p-33f));
        // ln u = k ln 2 + 2 atanh(s).
        const u32v bits = (u32v)(h < 0 ? 1 - least : least);
        const i32v k = (i32v)(bits - (u32v)splat<f32v>(C::sqrt_half)) >> 23;
        exponent[n] = __builtin_convertvector(k, f32v);
        const f32v m = (f32v)(bits - ((u32v)k << 23));
        const f32v part = k == 0 ? -least : m - 1;
        s[n] = part / (part + 2);
        s2[n] = s[n] * s[n];
        // 4 v = quadrant + f, |f| <= 1/2.
        f[n] = __builtin_convertvector((i32v)(angles[n] << 2), f32v) * 0x1p-32f;
        f2[n] = f[n] * f[n];
    }
    for (int n = 0; n < N; n++) {
        const f32v log_m = fma(s[n] * s2[n], polynomial(s2[n], log_tail), s[n] * -4);
        const f32v radius = sqrt(fma(exponent[n], splat<f32v>(-2 * 0.69314718f), log_m));
        const f32v sin_f = polynomial(f2[n], sine) * f[n], cos_f = polynomial(f2[n], cosine);
        // The quadrant in the upper two bits, and the next one.
        const u32v quadrant = angles[n] + (1u << 29), next = quadrant + (1u << 30);
        const auto is_odd = (i32v)(quadrant << 1) < 0;
        z[n][0] = radius * (f32v)((u32v)(is_odd ? sin_f : cos_f) ^ (next & SIGN));
        z[n][1] = radius * (f32v)((u32v)(is_odd ? cos_f : sin_f) ^ (quadrant & SIGN));
    }
}

// Candidates start .. into tile[parameter][lane] of single precision, and a row of zeros.
// rare[lane] is other than 0 where a candidate has to be drawn in double precision, as one of a
// number whose upper half is another than the first one's has; returns whether one has.
inline int draw_narrow(const NarrowSampler *sampler, uint64_t start, float *tile,
                       unsigned int *rare) {
    constexpr int N = NARROW_VECTORS, W = lanes_of<f32v>, L = LANES<float>, ALL = L / W;
    static_assert(ALL % N == 0, "vectors fill a tile");
    const ptrdiff_t n_params = sampler->n_params;
    float *zeros = tile + n_params * L;
    const Keys keys(sampler->seed);
    static constexpr unsigned int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr unsigned int places[] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};
    BegunCandidates candidates[ALL];
    i32v nearest[ALL];
    for (int v = 0; v < ALL; v++) {
        candidates[v] = BegunCandidates(load<u32v>(places) + (uint32_t)(start + v * W), keys);
        nearest[v] = i32v{} + (int)(~0u >> 1);
    }
    for (ptrdiff_t j = 0; j < n_params; j += 2, tile += 2 * L) {
        const ptrdiff_t last = j + 1 < n_params ? j + 1 : j;
        const bool is_normal[] = {sampler->transform[j] == NORMAL,
                                  sampler->transform[last] == NORMAL};
        const float a[] = {sampler->a[j], sampler->a[last]};
        const float b[] = {sampler->b[j], sampler->b[last]};
        const BegunPair pair(j / 2, start >> 32, keys);
        for (int first = 0; first < ALL; first += N) {
            u32v words[2][N];
            f32v z[N][2];
            narrow_words(candidates + first, pair, keys, words[0], words[1]);
            if (is_normal[0] || is_normal[1])
                narrow_normals(words[0], words[1], z, nearest + first);
            for (int i = 0; i <= last - j; i++)
                for (int n = 0; n < N; n++) {
                    const f32v number = is_normal[i] ? z[n][i] : narrow_uniform(words[i][n]);
                    store(tile + i * L + (first + n) * W,
                          fma(splat<f32v>(b[i]), number, splat<f32v>(a[i])));
                }
        }
    }
    u32v any = {};
    for (int v = 0; v < ALL; v++) {
        // Where the upper half is another one, the lower one has begun anew.
        const u32v numbers = load<u32v>(lanes) + (uint32_t)(start + v * W);
        const u32v found = (u32v)(nearest[v] < (int)RARE) | (u32v)(numbers < (uint32_t)start);
        store(rare + v * W, found);
        store(zeros + v * W, f32v{});
        any |= found;
    }
    unsigned int one = 0;
    for (int l = 0; l < W; l++) one |= any[l];
    return one != 0;
}

}  // namespace metaopt::MF_ISA
