// The two loops of L-BFGS over a ring of pairs (s, y), Nocedal (1980), of softmax regressions.
//
// Pairs are kept in single precision, which only says how good a direction is: reading them bounds
// the loops. Of each, s and the data's part of y are divided by powers of two, a and b; then
// y / b = change + tilt step, tilt = l2 a / b. Where a parameter is not penalised, `change` has
// that taken out: a new penalty changes tilts and these entries alone.
//
// A sum of products has 32 lanes, entry j in lane j % 32, that are added in order: the same bits
// whatever the width of a vector.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

constexpr int SUM_LANES = 32;

// Entry j of many: as a double, and as several.
template <class T> struct Entries {
    const T *from;

    template <class V> V at(ptrdiff_t j) const {
        return __builtin_convertvector(load<vector<T, lanes_of<V> * sizeof(T)>>(from + j), V);
    }
    double operator[](ptrdiff_t j) const { return from[j]; }
};
struct Change {
    Entries<float> change, step;
    double tilt;

    template <class V> V at(ptrdiff_t j) const {
        return fma(splat<V>(tilt), step.template at<V>(j), change.template at<V>(j));
    }
    double operator[](ptrdiff_t j) const { return fma(tilt, step[j], change[j]); }
};

template <class A, class B> inline double dot_of(A a, B b, ptrdiff_t n) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>, PARTS = SUM_LANES / W;
    V sums[PARTS] = {};
    ptrdiff_t j = 0;
    for (; j + SUM_LANES <= n; j += SUM_LANES)
        for (int i = 0; i < PARTS; i++)
            sums[i] = fma(a.template at<V>(j + i * W), b.template at<V>(j + i * W), sums[i]);
    double lanes[SUM_LANES], total = 0;
    for (int i = 0; i < PARTS; i++) store(lanes + i * W, sums[i]);
    for (int l = 0; j + l < n; l++) lanes[l] += a[j + l] * b[j + l];
    for (int l = 0; l < SUM_LANES; l++) total += lanes[l];
    return total;
}

inline double dot(const double *a, const double *b, ptrdiff_t n) {
    return dot_of(Entries<double>{a}, Entries<double>{b}, n);
}

// to += factor * from.
template <class A> inline void add_scaled(A from, double factor, ptrdiff_t n, double *to) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    ptrdiff_t j = 0;
    for (; j + W <= n; j += W)
        store(to + j, load<V>(to + j) + splat<V>(factor) * from.template at<V>(j));
    for (; j < n; j++) to[j] += factor * from[j];
}

// to += factor * from; returns the product of what comes of it with `next`, as dot_of has it. One
// visit of `to` where two would be as long as the pairs': it does not stay in the first-level
// cache.
template <class A, class B>
inline double add_and_dot(A from, double factor, B next, ptrdiff_t n, double *to) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>, PARTS = SUM_LANES / W;
    V sums[PARTS] = {};
    ptrdiff_t j = 0;
    for (; j + SUM_LANES <= n; j += SUM_LANES)
        for (int i = 0; i < PARTS; i++) {
            const ptrdiff_t at = j + i * W;
            const V x = load<V>(to + at) + splat<V>(factor) * from.template at<V>(at);
            store(to + at, x);
            sums[i] = fma(next.template at<V>(at), x, sums[i]);
        }
    double lanes[SUM_LANES], total = 0;
    for (int i = 0; i < PARTS; i++) store(lanes + i * W, sums[i]);
    for (int l = 0; j + l < n; l++) {
        to[j + l] += factor * from[j + l];
        lanes[l] += next[j + l] * to[j + l];
    }
    for (int l = 0; l < SUM_LANES; l++) total += lanes[l];
    return total;
}

inline Entries<float> step_of(const Pairs *pairs, ptrdiff_t at) {
    return {pairs->steps + at * pairs->n};
}

inline Change change_of(const Pairs *pairs, ptrdiff_t at) {
    return {{pairs->changes + at * pairs->n}, step_of(pairs, at), pairs->tilts[at]};
}

inline ptrdiff_t position_of(const Pairs *pairs, ptrdiff_t i) {
    return (pairs->first + i) % pairs->capacity;
}

// The pair before the i-th one (by -1) or behind it (by 1) that is not left out; -1 or `count` if
// there is none.
inline ptrdiff_t next_pair(const Pairs *pairs, ptrdiff_t i, int by) {
    do i += by;
    while (i >= 0 && i < pairs->count && !(pairs->curvatures[position_of(pairs, i)] > 0));
    return i;
}

// From the last pair to the first: q -= alphas[i] y_i / b_i, alphas[i] = b_i s_i . q / s_i . y_i.
inline void apply_pairs(const Pairs *pairs, double *q, double *alphas) {
    ptrdiff_t i = next_pair(pairs, pairs->count, -1);
    if (i < 0) return;
    ptrdiff_t at = position_of(pairs, i);
    double product = dot_of(step_of(pairs, at), Entries<double>{q}, pairs->n);
    while (true) {
        alphas[i] = product / pairs->curvatures[at];
        const Change change = change_of(pairs, at);
        const ptrdiff_t next = next_pair(pairs, i, -1);
        if (next < 0) return add_scaled(change, -alphas[i], pairs->n, q);
        at = position_of(pairs, next);
        product = add_and_dot(change, -alphas[i], step_of(pairs, at), pairs->n, q);
        i = next;
    }
}

// From the first pair to the last: q += (alphas[i] / b_i - y_i . q / s_i . y_i) s_i.
inline void apply_pairs_again(const Pairs *pairs, double *q, double *alphas) {
    ptrdiff_t i = next_pair(pairs, -1, 1);
    if (i >= pairs->count) return;
    ptrdiff_t at = position_of(pairs, i);
    double turned = dot_of(change_of(pairs, at), Entries<double>{q}, pairs->n);
    while (true) {
        const double factor = alphas[i] * pairs->ratios[at] - turned / pairs->curvatures[at];
        const Entries<float> step = step_of(pairs, at);
        i = next_pair(pairs, i, 1);
        if (i >= pairs->count) return add_scaled(step, factor, pairs->n, q);
        at = position_of(pairs, i);
        turned = add_and_dot(step, factor, change_of(pairs, at), pairs->n, q);
    }
}

// The power of two that makes the largest of some numbers one from 1/2 to 1; 1 if all are 0.
inline double unit_of(const double *numbers, ptrdiff_t n) {
    double largest = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double size = __builtin_fabs(numbers[j]);
        largest = size > largest ? size : largest;
    }
    return largest > 0 && largest < __builtin_inf()
               ? __builtin_ldexp(1, -1 - __builtin_ilogb(largest))
               : 1;
}

// Keeps a step, and what of a change of the gradient is the data's, at a position of the ring:
// `change` is overwritten. Returns a / b; writes the products of the step with the change and, of
// penalised parameters, with itself.
inline double keep_pair(const Pairs *pairs, double l2, ptrdiff_t at, const double *step,
                        double *change, double *product, double *square) {
    const ptrdiff_t n = pairs->n, n_intercepts = pairs->has_intercepts ? n / pairs->stride : 0;
    float *const kept = (float *)pairs->steps + at * n;
    float *const kept_change = (float *)pairs->changes + at * n;
    float *const intercepts = (float *)pairs->intercepts + at * n_intercepts;
    for (ptrdiff_t j = 0; j < n; j++) change[j] -= l2 * step[j];
    for (ptrdiff_t k = 0; k < n_intercepts; k++) {
        const ptrdiff_t j = (k + 1) * pairs->stride - 1;
        change[j] += l2 * step[j];
    }
    const double down = unit_of(step, n), down_change = unit_of(change, n);
    for (ptrdiff_t j = 0; j < n; j++) {
        kept[j] = (float)(down * step[j]);
        kept_change[j] = (float)(down_change * change[j]);
    }
    const Entries<float> steps{kept};
    *product = dot_of(steps, Entries<float>{kept_change}, n);
    *square = dot_of(steps, steps, n);
    for (ptrdiff_t k = 0; k < n_intercepts; k++) {
        const ptrdiff_t j = (k + 1) * pairs->stride - 1;
        intercepts[k] = kept_change[j];
        *square -= steps[j] * steps[j];
    }
    return down_change / down;
}

// Takes the tilt out of the entries of a pair's change that are not penalised.
inline void tilt_pair(const Pairs *pairs, ptrdiff_t at, double tilt) {
    const ptrdiff_t n = pairs->n, n_intercepts = pairs->has_intercepts ? n / pairs->stride : 0;
    const Entries<float> step = step_of(pairs, at),
                         intercepts{pairs->intercepts + at * n_intercepts};
    float *const change = (float *)pairs->changes + at * n;
    for (ptrdiff_t k = 0; k < n_intercepts; k++) {
        const ptrdiff_t j = (k + 1) * pairs->stride - 1;
        change[j] = (float)(intercepts[k] - tilt * step[j]);
    }
}

}  // namespace metaopt::MF_ISA
