// A step of Adam for one run, in one pass: what NumPy would do in fourteen, with its bits.
//
//     m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
//     out = theta - m / (sqrt(v) / sqrt(1 - beta2^t) + eps) * (rate / (1 - beta1^t))
//
// Products, sums, roots and quotients are rounded on their own, in this order, on any processor.
// Bound by the root and the two quotients.
#pragma once

#include "kernels.hpp"

namespace metaopt::MF_ISA {

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

}  // namespace metaopt::MF_ISA
