// The vectors of one instruction set. The only file that knows which instructions there are:
// everything above it is written once, and compiled in one namespace for each of them.
//
// Same bits everywhere: every fused product-and-sum is written as fma(), every other product and
// sum is rounded on its own (-ffp-contract=off), and no lane ever mixes with another.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace metaopt::MF_ISA {

template <class T, int BYTES> struct vector_type {
    typedef T type __attribute__((vector_size(BYTES)));
};
template <class T, int BYTES> using vector = typename vector_type<T, BYTES>::type;

using f64v = vector<double, MF_BYTES>;
using f32v = vector<float, MF_BYTES>;
using u64v = vector<unsigned long long, MF_BYTES>;
using u32v = vector<unsigned int, MF_BYTES>;
using i32v = vector<int, MF_BYTES>;

// Bits of a floating-point type: the integer of its width, the place of its exponent and the
// largest of its exponents; and its largest number.
template <class T> struct layout;
template <> struct layout<double> {
    using bits = unsigned long long;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double largest = __DBL_MAX__;
};
template <> struct layout<float> {
    using bits = unsigned int;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float largest = __FLT_MAX__;
};

template <class V> struct element {
    static double type_of(vector<double, sizeof(V)>);
    static float type_of(vector<float, sizeof(V)>);
    static unsigned int type_of(vector<unsigned int, sizeof(V)>);
    static int type_of(vector<int, sizeof(V)>);
    using type = decltype(type_of(V{}));
};
template <class V> using scalar = typename element<V>::type;
template <class V> using bits_of = vector<typename layout<scalar<V>>::bits, sizeof(V)>;
template <class V> constexpr int lanes_of = sizeof(V) / sizeof(scalar<V>);

// Vectors of rows have at most 8 lanes, the rows of a panel.
template <class T>
using row_vector = vector<T, (MF_BYTES < PANEL * sizeof(T) ? MF_BYTES : PANEL * sizeof(T))>;
template <class T> using wide_vector = vector<T, MF_BYTES>;

template <class V> inline V load(const scalar<V> *from) {
    V v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}

template <class V> inline void store(scalar<V> *to, V v) { __builtin_memcpy(to, &v, sizeof v); }

// A scalar in every lane. Written as a subtraction of zero, which compilers turn into one
// broadcast; a loop over the lanes becomes a chain of insertions.
template <class V> inline V splat(scalar<V> x) { return x - V{}; }

// x * y + z, rounded once where the processor can; max(x, y) = x > y ? x : y.
#if MF_BYTES == 64
inline f64v fma(f64v x, f64v y, f64v z) { return (f64v)_mm512_fmadd_pd(x, y, z); }
inline f32v fma(f32v x, f32v y, f32v z) { return (f32v)_mm512_fmadd_ps(x, y, z); }
inline f64v max(f64v x, f64v y) { return (f64v)_mm512_max_pd(x, y); }
inline f32v max(f32v x, f32v y) { return (f32v)_mm512_max_ps(x, y); }
inline f64v sqrt(f64v x) { return (f64v)_mm512_sqrt_pd(x); }
inline f32v sqrt(f32v x) { return (f32v)_mm512_sqrt_ps(x); }
inline u64v multiply_low_halves(u64v x, u64v y) {
    return (u64v)_mm512_mul_epu32((__m512i)x, (__m512i)y);
}
#endif
#if MF_BYTES >= 32
using f64x4 = vector<double, 32>;
using f32x8 = vector<float, 32>;
inline f64x4 fma(f64x4 x, f64x4 y, f64x4 z) { return (f64x4)_mm256_fmadd_pd(x, y, z); }
inline f32x8 fma(f32x8 x, f32x8 y, f32x8 z) { return (f32x8)_mm256_fmadd_ps(x, y, z); }
inline f64x4 max(f64x4 x, f64x4 y) { return (f64x4)_mm256_max_pd(x, y); }
inline f32x8 max(f32x8 x, f32x8 y) { return (f32x8)_mm256_max_ps(x, y); }
inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
#endif
#if MF_BYTES == 32
inline f64v sqrt(f64v x) { return (f64v)_mm256_sqrt_pd(x); }
inline f32v sqrt(f32v x) { return (f32v)_mm256_sqrt_ps(x); }
inline u64v multiply_low_halves(u64v x, u64v y) {
    return (u64v)_mm256_mul_epu32((__m256i)x, (__m256i)y);
}
#endif
#if MF_BYTES == 16
template <class V> inline V max(V x, V y) { return x > y ? x : y; }
#if defined(__aarch64__)
inline f64v fma(f64v x, f64v y, f64v z) { return (f64v)vfmaq_f64(z, x, y); }
inline f32v fma(f32v x, f32v y, f32v z) { return (f32v)vfmaq_f32(z, x, y); }
inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline f64v sqrt(f64v x) { return (f64v)vsqrtq_f64(x); }
inline f32v sqrt(f32v x) { return (f32v)vsqrtq_f32(x); }
#else
template <class V> inline V fma(V x, V y, V z) { return x * y + z; }
inline f64v sqrt(f64v x) {
#if defined(__SSE2__)
    return (f64v)_mm_sqrt_pd(x);
#else
    return f64v{__builtin_sqrt(x[0]), __builtin_sqrt(x[1])};
#endif
}
inline f32v sqrt(f32v x) {
#if defined(__SSE2__)
    return (f32v)_mm_sqrt_ps(x);
#else
    return f32v{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]),
                __builtin_sqrtf(x[3])};
#endif
}
#endif
inline u64v multiply_low_halves(u64v x, u64v y) {
#if defined(__SSE2__)
    return (u64v)_mm_mul_epu32((__m128i)x, (__m128i)y);
#else
    return (x & 0xffffffffULL) * (y & 0xffffffffULL);
#endif
}
#endif

inline i32v min(i32v x, i32v y) {
#if MF_BYTES == 64
    return (i32v)_mm512_min_epi32((__m512i)x, (__m512i)y);
#elif MF_BYTES == 32
    return (i32v)_mm256_min_epi32((__m256i)x, (__m256i)y);
#else
    return x < y ? x : y;
#endif
}

// The bits that are set in each lane, by an instruction that not all processors with AVX-512 have:
// Intel from Ice Lake (2019), AMD from Zen 4 (2022).
#if MF_BYTES == 64
constexpr bool MAY_COUNT_BITS = true;
inline bool can_count_bits() { return __builtin_cpu_supports("avx512vpopcntdq"); }
inline u32v count_bits(u32v x) {
    asm("vpopcntd %1, %0" : "=v"(x) : "v"(x));
    return x;
}
#else
constexpr bool MAY_COUNT_BITS = false;
inline bool can_count_bits() { return false; }
inline u32v count_bits(u32v x) { return x; }
#endif

// Vectors of as many lanes as a square of doubles has rows that are read together.
#if MF_BYTES >= 32
using square_vector = f64x4;
#else
using square_vector = f64v;
#endif

// v[i][j] = what v[j][i] was, in log2(lanes) steps.
#if defined(__clang__) || __GNUC__ >= 12
template <int... I> struct Indices {};
template <int N, int... I> struct indices_below : indices_below<N - 1, N - 1, I...> {};
template <int... I> struct indices_below<0, I...> {
    using type = Indices<I...>;
};

// Of two vectors, the lanes whose numbers have the bit STEP (IS_HIGH) or have it not, by turns: the
// second one's behind the first one's.
template <int STEP, bool IS_HIGH, class V, int... I> inline V interleave(V a, V b, Indices<I...>) {
    constexpr int W = lanes_of<V>, HIGH = IS_HIGH ? STEP : 0;
    return __builtin_shufflevector(a, b, ((I & STEP) ? I - STEP + HIGH + W : I + HIGH)...);
}

template <int STEP = 1, class V> inline void transpose(V (&v)[lanes_of<V>]) {
    constexpr int W = lanes_of<V>;
    using All = typename indices_below<W>::type;
    for (int i = 0; i < W; i++) {
        if (i & STEP) continue;
        const V a = v[i], b = v[i + STEP];
        v[i] = interleave<STEP, false>(a, b, All{});
        v[i + STEP] = interleave<STEP, true>(a, b, All{});
    }
    if constexpr (2 * STEP < W) transpose<2 * STEP>(v);
}
#else
template <class V> inline void transpose(V (&v)[lanes_of<V>]) {
    for (int i = 0; i < lanes_of<V>; i++)
        for (int j = 0; j < i; j++) {
            const scalar<V> x = v[i][j];
            v[i][j] = v[j][i], v[j][i] = x;
        }
}
#endif

// e of 2^e <= |x| < 2^(e + 1); -bias of 0 and of subnormal numbers, which are less than 2^(1 -
// bias).
template <class T> inline int exponent_of(T x) {
    typename layout<T>::bits bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    constexpr int bias = layout<T>::bias;
    return (int)(bits >> layout<T>::mantissa & (2 * bias + 1)) - bias;
}

// A polynomial by Horner's rule, highest coefficient first.
template <class V, int N> inline V polynomial(V x, const scalar<V> (&coefficients)[N]) {
    V p = splat<V>(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N; i++) p = fma(p, x, splat<V>(coefficients[i]));
    return p;
}

// Constants of exp and log1p. The polynomials are minimax fits (Remez) of (exp(r) - 1 - r) / r^2 on
// |r| <= ln(2)/2 and of (2 atanh(s) - 2 s) / s^3 in s^2 on |s| <= 3 - 2 sqrt(2).
template <class T> struct constants;
template <> struct constants<double> {
    static constexpr double log2_e = 0x1.71547652b82fep+0;
    static constexpr double ln2_high = 0x1.62e42fefa2p-1, ln2_low = 0x1.9ef35793c7673p-41;
    static constexpr double round_to_integer = 0x1.8p52;
    static constexpr double lowest_exponent = -750;
    static constexpr double sqrt_half = 0x1.6a09e667f3bcdp-1;
    static constexpr double exp_tail[] = {0x1.ad7f9ca254182p-26,
                                          0x1.28ad72a6b6dcep-22,
                                          0x1.71df2535a4beap-19,
                                          0x1.a0199a0c944bdp-16,
                                          0x1.a01a012a64523p-13,
                                          0x1.6c16c1842a00bp-10,
                                          0x1.1111111127bc1p-7,
                                          0x1.555555555087dp-5,
                                          0x1.55555555554fap-3,
                                          0x1.000000000000ap-1,
                                          1,
                                          1};
    static constexpr double log_tail[] = {
        0x1.2f0700d1b0a77p-3, 0x1.39a193aae1b91p-3, 0x1.746640578dddbp-3, 0x1.c71c5202c6e4cp-3,
        0x1.24924941f8baap-2, 0x1.999999997fd38p-2, 0x1.5555555555592p-1};
};
template <> struct constants<float> {
    static constexpr float log2_e = 0x1.715476p+0f;
    static constexpr float ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;
    static constexpr float round_to_integer = 0x1.8p23f;
    static constexpr float lowest_exponent = -110;
    static constexpr float sqrt_half = 0x1.6a09e6p-1f;
    static constexpr float exp_tail[] = {
        0x1.6a242ep-10f, 0x1.1239e2p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f, 1, 1};
    static constexpr float log_tail[] = {0x1.31e2f2p-2f, 0x1.995ebap-2f, 0x1.55557ap-1f};
};

// A vector that IS_SHARED by some operations, in a register: gcc 12 would read it from memory for
// each, and of AVX2 the loads would take longer than the products.
template <bool IS_SHARED, class V> inline V in_register(V v) {
#if defined(__x86_64__) || defined(__i386__)
    if constexpr (IS_SHARED) asm("" : "+v"(v));
#endif
    return v;
}

// A number in every lane.
template <bool IS_SHARED, class V> inline V constant(scalar<V> x) {
    return in_register<IS_SHARED>(splat<V>(x));
}

// exp(a) * 2^64 for a <= 0, from -infinity on, of N vectors side by side: one alone is a chain of
// twenty operations that wait for each other, of which a processor sees but two or three at once.
// The scale keeps every result a normal number: the product with 2^-64 that takes it away again
// rounds once, to the subnormal numbers where it must.
constexpr int EXP_SCALE = 64;
template <class V, int N> inline void exp_scaled(V (&a)[N]) {
    using T = scalar<V>;
    using B = bits_of<V>;
    using C = constants<T>;
    constexpr int terms = sizeof C::exp_tail / sizeof(T);
    const V shift = constant<N != 1, V>(C::round_to_integer + EXP_SCALE);
    V shifted[N], k[N], r[N], mantissa[N];
    const V lowest = constant<N != 1, V>(C::lowest_exponent),
            log2_e = constant<N != 1, V>(C::log2_e);
    for (int i = 0; i < N; i++) a[i] = max(a[i], lowest);
    for (int i = 0; i < N; i++) shifted[i] = fma(a[i], log2_e, shift);
    for (int i = 0; i < N; i++) k[i] = shifted[i] - shift;
    const V ln2_high = constant<N != 1, V>(-C::ln2_high),
            ln2_low = constant<N != 1, V>(-C::ln2_low);
    for (int i = 0; i < N; i++) r[i] = fma(k[i], ln2_high, a[i]);
    for (int i = 0; i < N; i++) r[i] = fma(k[i], ln2_low, r[i]);
    const V first = constant<N != 1, V>(C::exp_tail[0]);
    for (int i = 0; i < N; i++) mantissa[i] = first;
#pragma GCC unroll 16
    for (int j = 1; j < terms; j++) {
        const V next = constant<N != 1, V>(C::exp_tail[j]);
        for (int i = 0; i < N; i++) mantissa[i] = fma(mantissa[i], r[i], next);
    }
    // The lowest bits of `shifted` are the integer k + 64; the others leave at the top.
    for (int i = 0; i < N; i++) a[i] = (V)((B)mantissa[i] + ((B)shifted[i] << layout<T>::mantissa));
}

template <class V> inline V exp_scaled(V a) {
    V one[1] = {a};
    exp_scaled(one);
    return one[0];
}

// log(1 + q) for q >= 0. As in Tang (1990): 1 + q = 2^k (1 + f), log(1 + f) from s = f / (2 + f),
// and the bits that 1 + q lost put back.
template <class V> inline V log1p(V q) {
    using T = scalar<V>;
    using B = bits_of<V>;
    using C = constants<T>;
    constexpr int mantissa = layout<T>::mantissa;
    const V u = q + 1;
    const B k = ((B)u - (B)splat<V>(C::sqrt_half)) >> mantissa;
    constexpr T two_to_mantissa = (T)(1ULL << mantissa);
    const V exponent = (V)(k | (B)splat<V>(two_to_mantissa)) - two_to_mantissa;
    const auto whole = exponent == 0;
    const V f = whole ? q : (V)((B)u - (k << mantissa)) - 1;
    const V lost = q < 1 ? q - (u - 1) : 1 - (u - q);
    const V correction = whole ? V{} : lost / u;
    const V s = f / (f + 2);
    const V s2 = s * s;
    const V tail = fma(-s2, polynomial(s2, C::log_tail), f);
    const V high = fma(exponent, splat<V>(C::ln2_high), f);
    const V rounding = f - (high - exponent * C::ln2_high);
    const V low = fma(exponent, splat<V>(C::ln2_low), correction) + rounding;
    return high + fma(-s, tail, low);
}

}  // namespace metaopt::MF_ISA
