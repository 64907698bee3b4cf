// What descents do with a theta and its gradient, in one pass: with the bits of NumPy's many.
//
// Products, sums, roots and quotients are rounded on their own, in this order, on any processor.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

// A step of Adam:
//     m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
//     out = theta - m / (sqrt(v) / sqrt(1 - beta2^t) + eps) * (rate / (1 - beta1^t))
// Bound by the root and the two quotients.
inline void adam(const AdamRun *run, ptrdiff_t n_params) {
    const AdamRun a = *run;  // a copy: nothing written may change it
    const double *__restrict theta = a.theta, *__restrict gradient = a.gradient;
    double *__restrict mean = a.mean, *__restrict squares = a.squares, *__restrict out = a.out;
    for (ptrdiff_t j = 0; j < n_params; j++) {
        const double g = gradient[j];
        const double m = mean[j] * a.beta1 + g * a.rest1;
        const double v = squares[j] * a.beta2 + g * g * a.rest2;
        mean[j] = m;
        squares[j] = v;
        out[j] = theta[j] - m / (__builtin_sqrt(v) / a.root + a.eps) * a.rate;
    }
}

// Adds the gradient of strength / 2 times the sum of the squares of a theta's entries that are
// kept, 1 and not 0; products[j] sum to its value. For the lanes of V.
template <class V>
inline void add_some_squares(const double *theta, const double *kept, double strength,
                             double *gradient, double *products) {
    // Not a product with 0, which an infinite bias would make no number.
    const V t = load<V>(kept) != 0 ? load<V>(theta) : V{}, slope = strength * t;
    store(gradient, slope + load<V>(gradient));
    store(products, slope * (t / 2));
}

// The same for all entries.
inline void add_squares(const double *theta, const double *kept, double strength,
                        ptrdiff_t n_params, double *gradient, double *products) {
    ptrdiff_t j = 0;
    for (constexpr int W = lanes_of<f64v>; j + W <= n_params; j += W)
        add_some_squares<f64v>(theta + j, kept + j, strength, gradient + j, products + j);
    for (; j < n_params; j++)
        add_some_squares<vector<double, 8>>(theta + j, kept + j, strength, gradient + j,
                                            products + j);
}

}  // namespace metaopt::MF_ISA
