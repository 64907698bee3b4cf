// Thetas in the lanes of a tile, what partial sums of their margins may exceed, and gradients that
// leave the lanes.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// Thetas lie whole pages apart, where a cache keeps few lines at once: those of as many as a vector
// has lanes are turned in squares, so that each line is read once.
template <class T>
void pack_thetas(const double *thetas, ptrdiff_t count, ptrdiff_t n_params, ptrdiff_t lanes,
                 void *tile) {
    using V = square_vector;
    constexpr int W = lanes_of<V>;
    T *to = (T *)tile;
    const ptrdiff_t n_squares = n_params / W * W, n_turned = count / W * W;
    for (ptrdiff_t j = 0; j < n_squares; j += W)
        for (ptrdiff_t l = 0; l < n_turned; l += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(thetas + (l + i) * n_params + j);
            transpose(square);
            for (int i = 0; i < W; i++) {
                const auto some = __builtin_convertvector(square[i], vector<T, W * sizeof(T)>);
                __builtin_memcpy(to + (j + i) * lanes + l, &some, sizeof some);
            }
        }
    for (ptrdiff_t j = 0; j < n_params; j++) {
        for (ptrdiff_t l = j < n_squares ? n_turned : 0; l < count; l++)
            to[j * lanes + l] = (T)thetas[l * n_params + j];
        for (ptrdiff_t l = count; l < lanes; l++) to[j * lanes + l] = 0;
    }
}

// The other way, of sums in two parts: gradients[lane][parameter] = (high + low)[parameter][lane] /
// weight, of the first `count` lanes. Returns whether all are finite.
inline int write_means(const double *high, const double *low, ptrdiff_t n_params, ptrdiff_t lanes,
                       ptrdiff_t count, double weight, double *gradients) {
    using V = square_vector;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n_squares = n_params / W * W, n_turned = count / W * W;
    V lost = {};  // 0 where all are finite, else not a number
    for (ptrdiff_t j = 0; j < n_squares; j += W)
        for (ptrdiff_t l = 0; l < n_turned; l += W) {
            V square[W];
            for (int i = 0; i < W; i++) {
                const ptrdiff_t at = (j + i) * lanes + l;
                square[i] = (load<V>(high + at) + load<V>(low + at)) / weight;
                lost = lost + (square[i] - square[i]);
            }
            transpose(square);
            for (int i = 0; i < W; i++) store(gradients + (l + i) * n_params + j, square[i]);
        }
    double rest = 0;
    for (int l = 0; l < W; l++) rest += lost[l];
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (ptrdiff_t l = j < n_squares ? n_turned : 0; l < count; l++) {
            const double mean = (high[j * lanes + l] + low[j * lanes + l]) / weight;
            gradients[l * n_params + j] = mean;
            rest += mean - mean;
        }
    return rest == 0;
}

// Behind a tile's thetas, the powers of two by which a partial sum of a margin may leave the range;
// 0 if it cannot. Returns 0 where a theta is not finite.
template <class T>
int find_excesses(void *tile, ptrdiff_t n_params, ptrdiff_t lanes, double extent) {
    T *thetas = (T *)tile, *excesses = thetas + n_params * lanes;
    T largest[LANES<T>] = {}, most = 0;
    bool finite = true;
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (ptrdiff_t l = 0; l < lanes; l++) {
            const T size =
                thetas[j * lanes + l] < 0 ? -thetas[j * lanes + l] : thetas[j * lanes + l];
            finite &= size - size == 0;
            largest[l] = size > largest[l] ? size : largest[l];
        }
    for (ptrdiff_t l = 0; l < lanes; l++) most = largest[l] > most ? largest[l] : most;
    const int exponent = __builtin_ilogb(extent) + __builtin_ilogb((double)n_params) + 3;
    const auto excess_of = [&](T size) {
        const bool is_inside = !finite || size == 0 || extent == 0;
        const int excess =
            is_inside ? 0 : exponent + __builtin_ilogb((double)size) - layout<T>::bias;
        return excess > 0 ? excess : 0;
    };
    // None has more than the largest: as a rule none at all, and libm is asked once.
    const bool is_any = excess_of(most) > 0;
    for (ptrdiff_t l = 0; l < lanes; l++) excesses[l] = (T)(is_any ? excess_of(largest[l]) : 0);
    return finite;
}

// Divides the thetas of lanes that have an excess by a power of two, for kernels that only compare
// margins: by as much of the excess as leaves every theta exact.
template <class T> void shrink_thetas(void *tile, ptrdiff_t n_params, ptrdiff_t lanes) {
    T *thetas = (T *)tile;
    for (ptrdiff_t l = 0; l < lanes; l++) {
        int shift = (int)thetas[n_params * lanes + l];
        for (ptrdiff_t j = 0; j < n_params && shift > 0; j++) {
            const int room = exponent_of(thetas[j * lanes + l]) + layout<T>::bias - 1;
            if (thetas[j * lanes + l] != 0) shift = room < shift ? room : shift;
        }
        if (shift <= 0) continue;
        for (ptrdiff_t j = 0; j < n_params; j++)
            thetas[j * lanes + l] = (T)__builtin_ldexp((double)thetas[j * lanes + l], -shift);
    }
}

}  // namespace metaopt::MF_ISA
