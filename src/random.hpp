// Counter-based draws of candidates: parameter j of candidate i is a pure function of (seed, i, j).
//
// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): key = seed, counter = (i, j / 2, 0); two
// of the four words make the 52 bits of a uniform number for each of two neighbouring parameters.
// Nothing here is fused, so that every processor draws the same bits.
#pragma once

#include "tile.hpp"

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

// The keys of the ten rounds, in 64 bits each to be spread over a vector as they are read.
struct Keys {
    uint64_t rounds[10][2];

    explicit Keys(uint64_t seed) {
        uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
        for (auto &round : rounds) {
            round[0] = key0, round[1] = key1;
            key0 += 0x9E3779B9U;
            key1 += 0xBB67AE85U;
        }
    }
};

constexpr uint64_t MULTIPLIERS[] = {0xD2511F53ULL, 0xCD9E8D57ULL};

// What the first two rounds make of a vector of candidates, as far as no pair of parameters takes
// part: all but two products, of which one is of the pair alone. Their drawing in single precision
// takes a tenth less with these once for all pairs.
struct Begun {
    u64v first, upper, lower, rest;

    Begun() = default;
    Begun(u64v candidates, const Keys &keys) {
        const u64v product0 = multiply_low_halves(candidates, u64v{} + MULTIPLIERS[0]);
        const u64v word2 = (product0 >> 32) ^ keys.rounds[0][1];
        first = (candidates >> 32) ^ keys.rounds[0][0];
        lower = multiply_low_halves(word2, u64v{} + MULTIPLIERS[1]);
        upper = (lower >> 32) ^ keys.rounds[1][0];
        rest = product0 ^ keys.rounds[1][1];
    }
};

// The four words of each candidate, in the lower halves of the elements; the upper ones may hold
// anything. For N vectors of candidates and of pairs at once: a round is a chain of a dozen cycles,
// N of them overlap.
template <int N>
inline void philox_words(const Begun (&candidates)[N], const u64v (&pairs)[N], const Keys &keys,
                         u64v (&x)[N][4]) {
    const u64v multiplier0 = u64v{} + MULTIPLIERS[0], multiplier2 = u64v{} + MULTIPLIERS[1];
    for (int n = 0; n < N; n++) {
        const u64v product2 = multiply_low_halves(pairs[n], multiplier2);
        const u64v product0 =
            multiply_low_halves((product2 >> 32) ^ candidates[n].first, multiplier0);
        x[n][0] = candidates[n].upper ^ product2;
        x[n][1] = candidates[n].lower;
        x[n][2] = (product0 >> 32) ^ candidates[n].rest;
        x[n][3] = product0;
    }
#pragma GCC unroll 8
    for (int round = 2; round < 10; round++) {
        const uint64_t *key = keys.rounds[round];
        for (int n = 0; n < N; n++) {
            const u64v product0 = multiply_low_halves(x[n][0], multiplier0);
            const u64v product2 = multiply_low_halves(x[n][2], multiplier2);
            x[n][0] = (product2 >> 32) ^ x[n][1] ^ key[0];
            x[n][1] = product2;
            x[n][2] = (product0 >> 32) ^ x[n][3] ^ key[1];
            x[n][3] = product0;
        }
    }
}

// The uniform numbers of those words.
template <int N>
inline void philox(const Begun (&candidates)[N], const u64v (&pairs)[N], const Keys &keys,
                   UniformPair (&uniforms)[N]) {
    u64v x[N][4];
    philox_words(candidates, pairs, keys, x);
    for (int n = 0; n < N; n++)
        uniforms[n] = {uniform(x[n][0], x[n][1]), uniform(x[n][2], x[n][3])};
}

// A step of Horner's rule, with separate roundings.
template <int N> inline void unfused_step(f64v (&p)[N], const f64v (&x)[N], double coefficient) {
    for (int n = 0; n < N; n++) p[n] = p[n] * x[n] + coefficient;
}

// Box and Muller (1958): sqrt(-2 ln u) (cos, sin)(2 pi v). Within a few ulp of the exact values;
// what is promised is that the bits never change.
template <int N> inline void normals(const UniformPair (&u)[N], UniformPair (&z)[N]) {
    using C = constants<double>;
    // Minimax fits of sin and cos of (pi/2) f.
    static constexpr double sine[] = {
        0x1.e3eed591af382p-25, -0x1.e300639f7699ep-19, 0x1.50782fca37f5fp-13, -0x1.32d2cce2d5355p-8,
        0x1.466bc67758700p-4,  -0x1.4abbce625be41p-1,  0x1.921fb54442d18p+0};
    static constexpr double cosine[] = {-0x1.b2586b2e8e80fp-28, 0x1.f9cc15d38e6f3p-22,
                                        -0x1.a6d1ec3d45c90p-16, 0x1.e1f5068303ef0p-11,
                                        -0x1.55d3c7e3c8d5cp-6,  0x1.03c1f081b5aaap-2,
                                        -0x1.3bd3cc9be45dep+0,  1};
    f64v exponent[N], s[N], s2[N], f[N], f2[N], log_tail[N], sin_f[N], cos_f[N];
    u64v quadrant[N];
    for (int n = 0; n < N; n++) {
        // ln u = k ln 2 + 2 atanh(s), as in log1p.
        const u64v bits = (u64v)u[n].first;
        const u64v k = (bits - (u64v)splat<f64v>(C::sqrt_half) + (1024ULL << 52)) >> 52;
        exponent[n] = (f64v)(k | (u64v)splat<f64v>(0x1p52)) - (0x1p52 + 1024);
        const f64v m = (f64v)(bits - (k << 52) + (1024ULL << 52));
        s[n] = (m - 1) / (m + 1);
        s2[n] = s[n] * s[n];
        // 4 v = quadrant + f, |f| <= 1/2.
        const f64v turn = u[n].second * 4, shifted = turn + C::round_to_integer;
        quadrant[n] = (u64v)shifted;
        f[n] = turn - (shifted - C::round_to_integer);
        f2[n] = f[n] * f[n];
        log_tail[n] = splat<f64v>(C::log_tail[0]);
        sin_f[n] = splat<f64v>(sine[0]);
        cos_f[n] = splat<f64v>(cosine[0]);
    }
    // In turns: a step waits for the one before it, and the processor looks ahead some hundred
    // operations, less than the whole of one polynomial after another.
    unfused_step(cos_f, f2, cosine[1]);
#pragma GCC unroll 6
    for (int i = 1; i < 7; i++) {
        unfused_step(log_tail, s2, C::log_tail[i]);
        unfused_step(sin_f, f2, sine[i]);
        unfused_step(cos_f, f2, cosine[i + 1]);
    }
    for (int n = 0; n < N; n++) {
        const f64v tail = s[n] * s2[n] * log_tail[n];
        const f64v log_u =
            exponent[n] * C::ln2_high + (exponent[n] * C::ln2_low + tail + (s[n] + s[n]));
        const f64v radius = sqrt(log_u * -2);
        sin_f[n] = f[n] * sin_f[n];
        const auto odd = (quadrant[n] & 1) != 0;
        const u64v cos_v = (u64v)(odd ? sin_f[n] : cos_f[n]) ^ ((quadrant[n] + 1) >> 1 << 63);
        const u64v sin_v = (u64v)(odd ? cos_f[n] : sin_f[n]) ^ (quadrant[n] >> 1 << 63);
        z[n] = {radius * (f64v)cos_v, radius * (f64v)sin_v};
    }
}

// x rounded down, 0 <= x <= 2^52.
inline f64v round_down(f64v x) {
    const f64v rounded = (x + 0x1p52) - 0x1p52;
    return rounded > x ? rounded - 1 : rounded;
}

// One parameter of a sampler, read once: what is written might be the sampler's own arrays, for
// all that the compiler knows.
struct Parameter {
    unsigned char transform;
    double a, b, c;

    Parameter(const Sampler *sampler, ptrdiff_t j)
        : transform(sampler->transform[j]), a(sampler->a[j]), b(sampler->b[j]), c(sampler->c[j]) {}

    f64v operator()(f64v u, f64v normal) const {
        if (transform == NORMAL) return a + b * normal;
        f64v step = b * u;
        if (transform == INTEGERS) step = round_down(step);  // b <= 2^52
        const f64v value = a + step;
        return value > c ? splat<f64v>(c) : value;
    }
};

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

// start, start + 1, ...
inline u64v numbers_from(uint64_t start) {
    u64v numbers;
    for (int l = 0; l < lanes_of<f64v>; l++) numbers[l] = start + l;
    return numbers;
}

// N vectors of candidates from `start` on into tile[parameter][lane]; of a single one, the first
// `count`.
template <class T, int N>
void draw_vectors(const Sampler *sampler, uint64_t start, ptrdiff_t count, ptrdiff_t lanes, T *to) {
    constexpr int W = lanes_of<f64v>;
    if (N > 1) count = W;
    const ptrdiff_t n_params = sampler->n_params;
    const Keys keys(sampler->seed);
    Begun candidates[N];
    for (int n = 0; n < N; n++) candidates[n] = Begun(numbers_from(start + n * W), keys);
    for (ptrdiff_t j = 0; j < n_params; j += 2, to += 2 * lanes) {
        const bool both = j + 1 < n_params;
        const Parameter first(sampler, j), second(sampler, both ? j + 1 : j);
        UniformPair u[N], z[N] = {};
        u64v pairs[N];
        for (int n = 0; n < N; n++) pairs[n] = u64v{} + (uint64_t)(j / 2);
        philox(candidates, pairs, keys, u);
        if (first.transform == NORMAL || second.transform == NORMAL) normals(u, z);
        for (int n = 0; n < N; n++) write(to + n * W, first(u[n].first, z[n].first), count);
        if (!both) break;
        for (int n = 0; n < N; n++)
            write(to + lanes + n * W, second(u[n].second, z[n].second), count);
    }
}

// Candidates start .. start + lanes - 1 into tile[parameter][lane].
template <class T> void draw_all(const Sampler *sampler, uint64_t start, ptrdiff_t lanes, T *to) {
    constexpr int W = lanes_of<f64v>;
    ptrdiff_t first = 0;
    for (; first + VECTORS * W <= lanes; first += VECTORS * W)  // all, of a kernel's tile
        draw_vectors<T, VECTORS>(sampler, start + first, W, lanes, to + first);
    for (; first < lanes; first += W)
        draw_vectors<T, 1>(sampler, start + first, lanes - first < W ? lanes - first : W, lanes,
                           to + first);
}

}  // namespace metaopt::MF_ISA
