// What descents do with a theta and its gradient, in one pass: with the bits of NumPy's many.
//
// Products, sums, roots and quotients are rounded on their own, in this order, on any processor.
#pragma once

#include "kernels.hpp"

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
// kept, 1 and not 0; products[j] sum to its value.
inline void add_squares(const double *__restrict theta, const double *__restrict kept,
                        double strength, ptrdiff_t n_params, double *__restrict gradient,
                        double *__restrict products) {
    for (ptrdiff_t j = 0; j < n_params; j++) {
        // Not a product with 0, which an infinite bias would make no number.
        const double x = theta[j], t = kept[j] != 0 ? x : 0, slope = strength * t;
        gradient[j] = slope + gradient[j];
        products[j] = slope * (t / 2);
    }
}

}  // namespace metaopt::MF_ISA
