// Pointwise losses of z = -margin, and how their sum over rows is carried.
//
// A loss is one class. Its Sum adds one z to each lane (`add`), adds a whole other sum (`merge`)
// and gives the total (`value`); `derivative` is d loss / d z, `curvature` its derivative. Nothing
// else in src/ knows a loss.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

// softplus(z) = max(z, 0) + log(1 + e), e = exp(-|z|), and its derivative, the sigmoid.
//
// The logarithms of many rows are one: `product` is prod(1 + e) - 1, kept without its leading 1 so
// that sums of tiny losses keep their digits. It stays below 2^64 for the 64 rows of a block.
struct Logistic {
    template <class V> static constexpr scalar<V> unscale = 1 / (scalar<V>)0x1p64;

    template <class V> struct Sum {
        V linear, product;

        void add(V z) { accumulate(z, exp_of(z)); }

        // Adds z and returns the derivative there: both need the same exponential.
        V add_derivative(V z) {
            const V e = exp_of(z);
            accumulate(z, e);
            return derivative_from(z, e);
        }

        void merge(Sum other) {
            linear = linear + other.linear;
            product = fma(other.product, product, other.product) + product;
        }

        V value() const { return linear + log1p(product); }

      private:
        void accumulate(V z, V e_scaled) {
            linear = linear + max(V{}, z);
            const V factor = fma(product, splat<V>(unscale<V>), splat<V>(unscale<V>));
            product = fma(e_scaled, factor, product);
        }
    };

    template <class V> static V value(V z) { return max(V{}, z) + log1p(exp_of(z) * unscale<V>); }

    template <class V> static V derivative(V z) { return derivative_from(z, exp_of(z)); }

    template <class V> static V curvature(V z) {
        const V e = exp_of(z) * unscale<V>;
        return e / ((e + 1) * (e + 1));
    }

  private:
    template <class V> static V exp_of(V z) {
        using B = bits_of<V>;
        constexpr auto sign = (typename layout<scalar<V>>::bits)1 << (8 * sizeof(scalar<V>) - 1);
        return exp_scaled((V)((B)z | sign));
    }

    template <class V> static V derivative_from(V z, V e_scaled) {
        const V e = e_scaled * unscale<V>;
        return (z < 0 ? e : splat<V>(1)) / (e + 1);
    }
};

// 1 where the decision is wrong: where z > 0, or z >= 0 if a tie is wrong too. Its slope is zero.
template <bool TIE> struct ZeroOne {
    template <class V> struct Sum {
        V total;

        void add(V z) { total = total + ZeroOne::value(z); }

        V add_derivative(V z) {
            add(z);
            return V{};
        }

        void merge(Sum other) { total = total + other.total; }

        V value() const { return total; }
    };

    template <class V> static V value(V z) {
        const auto wrong = TIE ? z >= 0 : z > 0;
        return wrong ? splat<V>(1) : V{};
    }

    template <class V> static V derivative(V) { return V{}; }

    template <class V> static V curvature(V) { return V{}; }
};

}  // namespace metaopt::MF_ISA
