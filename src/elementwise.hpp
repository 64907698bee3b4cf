// exp, expm1, log, log1p and log2 of each element of an array, over the whole range of float64.
//
// Within 1.1 ulp (measured), and the same bits for every instruction set, the baseline included:
// products and sums are rounded on their own, never fused. The polynomials are those of simd.hpp.
// Bound by divisions and shifts: about 2 ns for each element, of expm1 4.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

using i64v = vector<long long, MF_BYTES>;

// A polynomial by Horner's rule, highest coefficient first, of its first N - LEFT_OUT coefficients.
template <int LEFT_OUT, int N>
inline f64v unfused_polynomial(f64v x, const double (&coefficients)[N]) {
    f64v p = splat<f64v>(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N - LEFT_OUT; i++) p = p * x + coefficients[i];
    return p;
}

// 2^k for |k| <= 1022, and double(k) for |k| < 2^51.
inline f64v power_of_two(i64v k) { return (f64v)((u64v)(k + 1023) << 52); }
inline f64v to_double(i64v k) {
    constexpr double shift = constants<double>::round_to_integer;
    return (f64v)((u64v)k + (u64v)splat<f64v>(shift)) - shift;
}

// x = k ln 2 + r, |r| <= ln(2) / 2, and exp(r) - 1 = high + low.
struct Reduced {
    i64v k;
    f64v high, low;
};

inline Reduced reduce(f64v x) {
    using C = constants<double>;
    const f64v shifted = x * C::log2_e + C::round_to_integer;
    const f64v n = shifted - C::round_to_integer;
    const f64v high = x - n * C::ln2_high, low = n * C::ln2_low;
    const f64v r = high - low;
    // The last two coefficients are those of 1 + r.
    const f64v rest = r * r * unfused_polynomial<2>(r, C::exp_tail) - low;
    const f64v sum = high + rest;
    // Bits are subtracted as unsigned numbers: those of a NaN would overflow.
    const u64v whole = (u64v)shifted - (u64v)splat<f64v>(C::round_to_integer);
    return {(i64v)whole, sum, (high - sum) + rest};
}

inline f64v clamp(f64v x, double low, double high) {
    x = x < low ? splat<f64v>(low) : x;
    return x > high ? splat<f64v>(high) : x;
}

struct Exp {
    static f64v of(f64v x) {
        const Reduced e = reduce(clamp(x, -746, 710));
        // Two factors, each in range: the product rounds once more only where it is subnormal.
        const i64v half = e.k >> 1;
        const f64v y = (1 + (e.high + e.low)) * power_of_two(half) * power_of_two(e.k - half);
        return x == x ? y : x;
    }
};

struct Expm1 {
    static f64v of(f64v x) {
        const Reduced e = reduce(clamp(x, -50, 50));
        const f64v scale = power_of_two(e.k);
        // (scale - 1) + scale high, and what that rounds away.
        const f64v whole = scale - 1, part = scale * e.high;
        const f64v sum = whole + part, back = sum - whole;
        const f64v lost = (whole - (sum - back)) + (part - back);
        const f64v y = sum + (lost + scale * e.low);
        const f64v far = x > 40 ? Exp::of(x) : y;
        return x == 0 ? x : (x == x ? far : x);
    }
};

// u = 2^k (1 + f) for a normal u > 0, sqrt(1/2) <= 1 + f < sqrt(2).
struct Split {
    f64v k, f;
};

inline Split split(f64v u) {
    constexpr long long above = 1024;  // what is shifted stays positive
    const u64v distance = (u64v)u - (u64v)splat<f64v>(constants<double>::sqrt_half);
    const i64v k = (i64v)((distance + ((unsigned long long)above << 52)) >> 52) - above;
    return {to_double(k), (f64v)((u64v)u - ((u64v)k << 52)) - 1};
}

// w with log(1 + f) = f - w: see log1p() in simd.hpp.
inline f64v below(f64v f) {
    const f64v s = f / (f + 2), s2 = s * s;
    return s * (f - s2 * unfused_polynomial<0>(s2, constants<double>::log_tail));
}

inline f64v logarithm(Split u, f64v correction) {
    using C = constants<double>;
    const f64v whole = u.k * C::ln2_high, high = whole + u.f;
    const f64v low = u.k * C::ln2_low + correction + (u.f - (high - whole));
    return high + (low - below(u.f));
}

// The value of a logarithm from y, right where x - `pole` is positive and finite.
inline f64v with_limits(f64v x, double pole, f64v y) {
    const double infinity = __builtin_inf();
    y = x == infinity ? x : y;
    const f64v at_or_below = x == pole ? splat<f64v>(-infinity) : splat<f64v>(__builtin_nan(""));
    return x > pole ? y : at_or_below;
}

// x as a normal number, and how much that adds to the exponent.
inline Split split_any(f64v x) {
    const auto subnormal = x < 0x1p-1022;
    Split u = split(subnormal ? x * 0x1p54 : x);
    u.k = subnormal ? u.k - 54 : u.k;
    return u;
}

struct Log {
    static f64v of(f64v x) { return with_limits(x, 0, logarithm(split_any(x), f64v{})); }
};

struct Log1p {
    static f64v of(f64v x) {
        const f64v u = x + 1;
        Split parts = split(u);
        const f64v lost = x < 1 ? x - (u - 1) : 1 - (u - x);
        const auto near = parts.k == 0;
        parts.f = near ? x : parts.f;
        const f64v y = logarithm(parts, near ? f64v{} : lost / u);
        return x == 0 ? x : with_limits(x, -1, y);
    }
};

struct Log2 {
    static f64v of(f64v x) {
        // log2 e in two parts, of which the first times 21 bits is exact.
        constexpr double log2_e_high = 0x1.71547652p+0, log2_e_low = 0x1.705fc2eefa2p-33;
        const Split u = split_any(x);
        const f64v w = below(u.f);
        const f64v high = (f64v)((u64v)(u.f - w) & 0xffffffff00000000ULL);
        const f64v low = (u.f - high) - w;
        const f64v part = high * log2_e_high, sum = u.k + part;
        const f64v rest = (low + high) * log2_e_low + low * log2_e_high + ((u.k - sum) + part);
        return with_limits(x, 0, rest + sum);
    }
};

template <class Function> void elementwise(const double *x, ptrdiff_t count, double *out) {
    constexpr int W = lanes_of<f64v>;
    for (ptrdiff_t i = 0; i < count; i += W) {
        const size_t bytes = (count - i < W ? count - i : W) * sizeof(double);
        f64v v{};
        __builtin_memcpy(&v, x + i, bytes);
        const f64v y = Function::of(v);
        __builtin_memcpy(out + i, &y, bytes);
    }
}

}  // namespace metaopt::MF_ISA
