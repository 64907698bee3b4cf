// Rows and thetas in the order in which the kernels read them.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

template <class T>
void pack_rows(const double *X, const double *signs, ptrdiff_t first, ptrdiff_t count,
               ptrdiff_t n_features, ptrdiff_t n_params, void *panels) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t row = first + i;
        T *to = (T *)panels + row / PANEL * n_params * PANEL + row % PANEL;
        for (ptrdiff_t j = 0; j < n_features; j++)
            to[j * PANEL] = (T)(signs[i] * X[i * n_features + j]);
        for (ptrdiff_t j = n_features; j < n_params; j++) to[j * PANEL] = (T)signs[i];
    }
}

template <class T>
void pack_thetas(const double *thetas, ptrdiff_t count, ptrdiff_t n_params, ptrdiff_t lanes,
                 void *tile) {
    T *to = (T *)tile;
    for (ptrdiff_t j = 0; j < n_params; j++) {
        for (ptrdiff_t l = 0; l < count; l++) to[j * lanes + l] = (T)thetas[l * n_params + j];
        for (ptrdiff_t l = count; l < lanes; l++) to[j * lanes + l] = 0;
    }
}

// A margin whose partial sums leave the range would depend on which way they left first: an
// infinitely bad row could count as a perfect one. Where that is possible, theta is multiplied by a
// power of two and the margin divided by it, and becomes infinite, if so, with the right sign.
template <class T>
int scale_thetas(void *tile, ptrdiff_t n_params, ptrdiff_t lanes, double extent) {
    constexpr int MAX_EXPONENT = sizeof(T) == sizeof(double) ? 1023 : 127;
    T *thetas = (T *)tile, *scales = thetas + n_params * lanes;
    T largest[LANES<T>] = {};
    bool finite = true;
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (ptrdiff_t l = 0; l < lanes; l++) {
            const T size =
                thetas[j * lanes + l] < 0 ? -thetas[j * lanes + l] : thetas[j * lanes + l];
            finite &= size - size == 0;
            largest[l] = size > largest[l] ? size : largest[l];
        }
    const int exponent = __builtin_ilogb(extent) + __builtin_ilogb((double)n_params) + 3;
    for (ptrdiff_t l = 0; l < lanes; l++) {
        scales[l] = 1;
        const bool as_is = !finite || largest[l] == 0 || extent == 0;
        const int excess =
            as_is ? 0 : exponent + __builtin_ilogb((double)largest[l]) - MAX_EXPONENT;
        if (excess <= 0) continue;
        scales[l] = (T)__builtin_ldexp(1, excess < MAX_EXPONENT ? excess : MAX_EXPONENT);
        for (ptrdiff_t j = 0; j < n_params; j++)
            thetas[j * lanes + l] = (T)__builtin_ldexp((double)thetas[j * lanes + l], -excess);
    }
    return finite;
}

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

}  // namespace metaopt::MF_ISA
