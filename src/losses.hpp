// Pointwise losses of z = -margin, and how their sum over rows is carried.
//
// A loss is one class, and an entry of the list at the end; nothing else in src/ knows it. `value`
// is the loss at z, `derivative` d loss / d z, and `absent` a z at which both are zero, for rows
// that are not there; `slope` and `of_root` say how far it may change with z: |f(a) - f(b)|, or of
// their roots, is at most slope |a - b|; 0 where no slope is enough. Its Sum adds one z to each
// lane (`add`), those of ROWS rows to N sums at once, row by row, over which it writes the
// derivatives (`add_each`), adds a whole other sum (`merge`) and gives the total (`value`): a
// PlainSum, unless there is something to save.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

// softplus(z) = max(z, 0) + log(1 + e), e = exp(-|z|), and its derivative, the sigmoid.
//
// The logarithms of many rows are one: `product` is prod(1 + e) - 1, kept without its leading 1 so
// that sums of tiny losses keep their digits. It stays below 2^64 for the 64 rows of a block.
struct Logistic {
    static constexpr const char *name = "logistic";
    static constexpr double slope = 1;
    static constexpr bool of_root = false;
    template <class V> static constexpr scalar<V> absent = -(scalar<V>)__builtin_inf();
    template <class V> static constexpr scalar<V> unscale = 1 / (scalar<V>)0x1p64;

    template <class V> struct Sum {
        // Six exponentials side by side keep AVX2's FMAs busier than three: losses of double
        // precision take 0.9 of the time, with derivatives 0.8; of single precision 0.96.
        static constexpr int ROWS = MF_BYTES == 32 && sizeof(scalar<V>) == 8 ? 2 : 1;

        V linear, product;

        void add(V z) { accumulate(z, exp_of(z)); }

        // Adds z and returns the derivative there: both need the same exponential.
        V add_derivative(V z) {
            const V e = exp_of(z);
            accumulate(z, e);
            return derivative_from(z, e);
        }

        template <bool DERIVATIVES, int N> static void add_each(Sum (&sums)[N], V (&z)[ROWS * N]) {
            V e[ROWS * N];
            for (int i = 0; i < ROWS * N; i++) e[i] = not_above_0(z[i]);
            exp_scaled(e);
            for (int i = 0; i < ROWS * N; i++) {
                sums[i % N].accumulate(z[i], e[i]);
                if constexpr (DERIVATIVES) z[i] = derivative_from(z[i], e[i]);
            }
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

    // The derivative's derivative, for Hessians.
    template <class V> static V curvature(V z) {
        const V e = exp_of(z) * unscale<V>;
        return e / ((e + 1) * (e + 1));
    }

  private:
    template <class V> static V not_above_0(V z) {
        using B = bits_of<V>;
        constexpr auto sign = (typename layout<scalar<V>>::bits)1 << (8 * sizeof(scalar<V>) - 1);
        return (V)((B)z | sign);
    }

    template <class V> static V exp_of(V z) { return exp_scaled(not_above_0(z)); }

    // r = e / (1 + e) has three roundings, of 2.4 ulp at worst; e - e r = r has them times e < 1.
    template <class V> static V derivative_from(V z, V e_scaled) {
        const V e = e_scaled * unscale<V>;
        const V r = e / (e + 1);
        return z < 0 ? fma(-e, r, e) : 1 - r;
    }
};

// The sum of a loss whose values are simply added.
template <class Loss, class V> struct PlainSum {
    static constexpr int ROWS = 1;

    V total;

    void add(V z) { total = total + Loss::value(z); }

    V add_derivative(V z) {
        add(z);
        return Loss::derivative(z);
    }

    template <bool DERIVATIVES, int N> static void add_each(PlainSum (&sums)[N], V (&z)[N]) {
        for (int i = 0; i < N; i++) {
            sums[i].add(z[i]);
            if constexpr (DERIVATIVES) z[i] = Loss::derivative(z[i]);
        }
    }

    void merge(PlainSum other) { total = total + other.total; }

    V value() const { return total; }
};

// 1 where the decision is wrong: where z > 0, or z >= 0 if a tie is wrong too. Its slope is zero.
template <bool TIE> struct ZeroOne {
    static constexpr const char *name = TIE ? "zero_one_and_ties" : "zero_one";
    static constexpr double slope = 0;
    static constexpr bool of_root = false;
    template <class V> static constexpr scalar<V> absent = -1;
    template <class V> using Sum = PlainSum<ZeroOne, V>;

    template <class V> static V value(V z) {
        const auto wrong = TIE ? z >= 0 : z > 0;
        return wrong ? splat<V>(1) : V{};
    }

    template <class V> static V derivative(V) { return V{}; }
};

// 1 where the decision is right: 1 minus ZeroOne.
template <bool TIE> struct Right {
    static constexpr const char *name = TIE ? "right_but_for_ties" : "right";
    static constexpr double slope = 0;
    static constexpr bool of_root = false;
    template <class V> static constexpr scalar<V> absent = 1;
    template <class V> using Sum = PlainSum<Right, V>;

    template <class V> static V value(V z) {
        const auto wrong = TIE ? z >= 0 : z > 0;
        return wrong ? V{} : splat<V>(1);
    }

    template <class V> static V derivative(V) { return V{}; }
};

// The sigmoid, a smooth step: the derivative of the logistic loss.
struct SmoothedZeroOne {
    static constexpr const char *name = "smoothed_zero_one";
    static constexpr double slope = 0.25;
    static constexpr bool of_root = false;
    template <class V> static constexpr scalar<V> absent = Logistic::absent<V>;
    template <class V> using Sum = PlainSum<SmoothedZeroOne, V>;

    template <class V> static V value(V z) { return Logistic::derivative(z); }

    template <class V> static V derivative(V z) { return Logistic::curvature(z); }
};

// max(0, 1 + z), and 1 where that is positive: 0 of the subgradients at the kink.
struct Hinge {
    static constexpr const char *name = "hinge";
    static constexpr double slope = 1;
    static constexpr bool of_root = false;
    template <class V> static constexpr scalar<V> absent = -1;
    template <class V> using Sum = PlainSum<Hinge, V>;

    template <class V> static V value(V z) { return max(z + 1, V{}); }

    template <class V> static V derivative(V z) { return z > -1 ? splat<V>(1) : V{}; }
};

// max(0, 1 + z)^2.
struct SquaredHinge {
    static constexpr const char *name = "squared_hinge";
    static constexpr double slope = 1;
    static constexpr bool of_root = true;
    template <class V> static constexpr scalar<V> absent = -1;
    template <class V> using Sum = PlainSum<SquaredHinge, V>;

    template <class V> static V value(V z) {
        const V beyond = max(z + 1, V{});
        return beyond * beyond;
    }

    template <class V> static V derivative(V z) { return 2 * max(z + 1, V{}); }

    // That of the side of the kink which z lies on, as the derivative is: the generalised Hessian.
    template <class V> static V curvature(V z) { return z > -1 ? splat<V>(2) : V{}; }
};

// (1 + z)^2: least squares on labels -1 and +1.
struct Squared {
    static constexpr const char *name = "squared";
    static constexpr double slope = 1;
    static constexpr bool of_root = true;
    template <class V> static constexpr scalar<V> absent = -1;
    template <class V> using Sum = PlainSum<Squared, V>;

    template <class V> static V value(V z) { return (z + 1) * (z + 1); }

    template <class V> static V derivative(V z) { return 2 * (z + 1); }
};

// Loss and derivative of each z alone.
template <class T, class Loss>
void pointwise(const void *z, ptrdiff_t count, void *loss, void *derivative) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    for (ptrdiff_t i = 0; i < count; i += W) {
        const size_t bytes = (count - i < W ? count - i : W) * sizeof(T);
        V x = {};
        __builtin_memcpy(&x, (const T *)z + i, bytes);
        const V value = Loss::value(x), slope = Loss::derivative(x);
        __builtin_memcpy((T *)loss + i, &value, bytes);
        __builtin_memcpy((T *)derivative + i, &slope, bytes);
    }
}

// All there are. Their numbers are their places.
template <class... L> struct List {};
using Losses = List<Logistic, ZeroOne<false>, ZeroOne<true>, Right<false>, Right<true>,
                    SmoothedZeroOne, Hinge, SquaredHinge, Squared>;

}  // namespace metaopt::MF_ISA
