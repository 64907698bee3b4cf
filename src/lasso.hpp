// What paths of l1 penalties are made of: products of columns, and coordinate descent on a matrix.
//
// Columns lie one after the other, each in one piece, with zeros up to a multiple of PANEL rows. A
// sum over rows has PANEL lanes, row i in lane i % PANEL, over CHUNK rows at a time; the lanes of a
// chunk are added in their order, and chunks in theirs. So a product of two columns has the same
// bits whatever is computed beside it, by vectors of any width. Double precision alone.
#pragma once

#include "losses.hpp"
#include "single.hpp"

namespace metaopt::MF_ISA {

// Rows that are summed together: ten columns of them stay in a first-level cache.
constexpr ptrdiff_t CHUNK = 256;
// Columns whose products with each other are summed together: 24 of AVX-512's 32 registers, 12 of
// AVX2's 16.
constexpr int LEFT = 4;
constexpr int RIGHT = MF_BYTES == 64 ? 6 : 3;

// sums[a][b] += sum over `count` <= CHUNK rows of left[a][row] * right[b][row], for L and R
// columns. Bound by FMAs: 10 loads feed 24. noinline: else gcc 12 keeps the sums on the stack.
template <int L, int R>
__attribute__((noinline)) void add_products(const double *left, ptrdiff_t left_stride,
                                            const double *right, ptrdiff_t right_stride,
                                            ptrdiff_t count, double *sums) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    alignas(64) double lanes[L * R * PANEL];
    for (int lane = 0; lane < PANEL; lane += W) {
        V sum[L][R] = {};
        for (ptrdiff_t row = lane; row < count; row += PANEL) {
            V x[R];
            for (int b = 0; b < R; b++) x[b] = load<V>(right + b * right_stride + row);
            for (int a = 0; a < L; a++) {
                const V y = load<V>(left + a * left_stride + row);
                for (int b = 0; b < R; b++) sum[a][b] = fma(y, x[b], sum[a][b]);
            }
        }
        for (int a = 0; a < L; a++)
            for (int b = 0; b < R; b++) store(lanes + (a * R + b) * PANEL + lane, sum[a][b]);
    }
    add_lanes(lanes, L * R, 1.0, sums);
}

// The same for `columns` <= R, with sums[a * columns + b].
template <int L, int R = RIGHT>
void add_some_products(int columns, const double *left, ptrdiff_t left_stride, const double *right,
                       ptrdiff_t right_stride, ptrdiff_t count, double *sums) {
    if constexpr (R > 1)
        if (columns < R)
            return add_some_products<L, R - 1>(columns, left, left_stride, right, right_stride,
                                               count, sums);
    add_products<L, R>(left, left_stride, right, right_stride, count, sums);
}

// out[a * step + b * other_step] = the product of column a of `left` and column b of `right`.
template <int L>
void products_with(const double *left, ptrdiff_t left_stride, const double *right,
                   ptrdiff_t right_stride, ptrdiff_t n_right, ptrdiff_t n_rows, double *out,
                   ptrdiff_t step, ptrdiff_t other_step) {
    for (ptrdiff_t b = 0; b < n_right; b += RIGHT) {
        const int columns = (int)(n_right - b < RIGHT ? n_right - b : RIGHT);
        double sums[L * RIGHT] = {};
        for (ptrdiff_t row = 0; row < n_rows; row += CHUNK)
            add_some_products<L>(columns, left + row, left_stride, right + b * right_stride + row,
                                 right_stride, n_rows - row < CHUNK ? n_rows - row : CHUNK, sums);
        for (int a = 0; a < L; a++)
            for (int c = 0; c < columns; c++)
                out[a * step + (b + c) * other_step] = sums[a * columns + c];
    }
}

// The products of all columns of `left` with those of `right`. n_rows is a multiple of PANEL.
inline void column_products(const double *left, ptrdiff_t left_stride, ptrdiff_t n_left,
                            const double *right, ptrdiff_t right_stride, ptrdiff_t n_right,
                            ptrdiff_t n_rows, double *out, ptrdiff_t step, ptrdiff_t other_step) {
    ptrdiff_t a = 0;
    // Of a single column on the right, twice as many sums hide each other's waiting.
    for (; n_right == 1 && a + 2 * LEFT <= n_left; a += 2 * LEFT)
        products_with<2 * LEFT>(left + a * left_stride, left_stride, right, right_stride, 1, n_rows,
                                out + a * step, step, other_step);
    for (; a + LEFT <= n_left; a += LEFT)
        products_with<LEFT>(left + a * left_stride, left_stride, right, right_stride, n_right,
                            n_rows, out + a * step, step, other_step);
    for (; a < n_left; a++)
        products_with<1>(left + a * left_stride, left_stride, right, right_stride, n_right, n_rows,
                         out + a * step, step, other_step);
}

// matrix[a * size + b] += the sum over rows first .. first + count - 1, of one chunk, of
// weights[row] * columns[a][row] * columns[b][row], for a in first_column .. first_column + LEFT -
// 1 below n_columns and all b <= a, or in the same group of columns; means[a] += the sum of weights
// times column a. `weighted` holds LEFT * CHUNK numbers, `ones` a column of them.
inline void add_gram(const double *columns, ptrdiff_t stride, ptrdiff_t n_columns,
                     const double *weights, const double *ones, ptrdiff_t first, ptrdiff_t count,
                     ptrdiff_t first_column, double *weighted, double *matrix, ptrdiff_t size,
                     double *means) {
    using V = f64v;
    const int n = (int)(n_columns - first_column < LEFT ? n_columns - first_column : LEFT);
    for (int a = 0; a < LEFT; a++)
        for (ptrdiff_t row = 0; row < count; row += lanes_of<V>)
            store(weighted + a * CHUNK + row,
                  a < n ? load<V>(weights + first + row) *
                              load<V>(columns + (first_column + a) * stride + first + row)
                        : V{});
    const ptrdiff_t last = first_column + n;
    double sums[LEFT * RIGHT];
    for (ptrdiff_t b = 0; b < last; b += RIGHT) {
        const int width = (int)(last - b < RIGHT ? last - b : RIGHT);
        for (int i = 0; i < LEFT * RIGHT; i++) sums[i] = 0;
        add_some_products<LEFT>(width, weighted, CHUNK, columns + b * stride + first, stride, count,
                                sums);
        for (int a = 0; a < n; a++)
            for (int c = 0; c < width; c++)
                matrix[(first_column + a) * size + b + c] += sums[a * width + c];
    }
    for (int i = 0; i < LEFT; i++) sums[i] = 0;
    add_products<LEFT, 1>(weighted, CHUNK, ones + first, 0, count, sums);
    for (int a = 0; a < n; a++) means[first_column + a] += sums[a];
}

// out[row] = the sum over columns of factors[c] * columns[which[c]][row], in their order.
inline void combine(const double *columns, ptrdiff_t stride, const ptrdiff_t *which,
                    const double *factors, ptrdiff_t count, ptrdiff_t n_rows, double *out) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>, PARTS = 4;
    ptrdiff_t row = 0;
    for (; row + PARTS * W <= n_rows; row += PARTS * W) {
        V sums[PARTS] = {};
        for (ptrdiff_t c = 0; c < count; c++) {
            const double *const x = columns + which[c] * stride + row;
            const V factor = splat<V>(factors[c]);
            for (int p = 0; p < PARTS; p++) sums[p] = fma(factor, load<V>(x + p * W), sums[p]);
        }
        for (int p = 0; p < PARTS; p++) store(out + row + p * W, sums[p]);
    }
    for (; row < n_rows; row += W) {
        V sum = {};
        for (ptrdiff_t c = 0; c < count; c++)
            sum = fma(splat<V>(factors[c]), load<V>(columns + which[c] * stride + row), sum);
        store(out + row, sum);
    }
}

// to[k] += the sum over c of factors[c] * matrix[which[c] * size + k] for k < PARTS * lanes, in
// their order, each product and each sum rounded by itself.
template <int PARTS>
void add_some_rows(const double *matrix, ptrdiff_t size, const ptrdiff_t *which,
                   const double *factors, ptrdiff_t count, double *to) {
    using V = f64v;
    constexpr int W = lanes_of<V>;
    V sums[PARTS];
    for (int p = 0; p < PARTS; p++) sums[p] = load<V>(to + p * W);
    for (ptrdiff_t c = 0; c < count; c++) {
        const double *const row = matrix + which[c] * size;
        const V factor = splat<V>(factors[c]);
        for (int p = 0; p < PARTS; p++) sums[p] = sums[p] + factor * load<V>(row + p * W);
    }
    for (int p = 0; p < PARTS; p++) store(to + p * W, sums[p]);
}

// The same for k < n.
inline void add_rows(const double *matrix, ptrdiff_t size, const ptrdiff_t *which,
                     const double *factors, ptrdiff_t count, ptrdiff_t n, double *to) {
    constexpr int W = lanes_of<f64v>, PARTS = 4;
    ptrdiff_t k = 0;
    for (; k + PARTS * W <= n; k += PARTS * W)
        add_some_rows<PARTS>(matrix + k, size, which, factors, count, to + k);
    for (; k < n; k += W) add_some_rows<1>(matrix + k, size, which, factors, count, to + k);
}

// Of rows with the decision values t = (from + size * direction) + shift: their losses, softplus of
// z = signs * t, their residuals weights * signs * sigmoid(z) and their curvatures; and the sums of
// DecisionSums. Writes from + size * direction to `moved`; `direction` may be null.
inline void logistic_rows(const double *from, const double *direction, double size, double shift,
                          const double *signs, const double *weights, ptrdiff_t n_rows,
                          double *moved, double *residuals, double *curvatures,
                          DecisionSums *found) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>, N = sizeof(DecisionSums) / sizeof(double);
    double totals[N] = {};
    for (ptrdiff_t first = 0; first < n_rows; first += CHUNK) {
        const ptrdiff_t last = n_rows - first < CHUNK ? n_rows : first + CHUNK;
        alignas(64) double lanes[N * PANEL];
        for (int lane = 0; lane < PANEL; lane += W) {
            V sums[N] = {};
            for (ptrdiff_t row = first + lane; row < last; row += PANEL) {
                V t = load<V>(from + row);
                if (direction) t = fma(splat<V>(size), load<V>(direction + row), t);
                store(moved + row, t);
                t = t + shift;
                const V sign = load<V>(signs + row), weight = load<V>(weights + row), z = sign * t;
                const V slope = weight * Logistic::derivative(z), r = sign * slope;
                const V h = weight * Logistic::curvature(z), product = r * t;
                store(residuals + row, r);
                store(curvatures + row, h);
                const V terms[N] = {weight * Logistic::value(z), r,      slope, h,
                                    max(product, -product),      product};
                for (int i = 0; i < N; i++) sums[i] = sums[i] + terms[i];
            }
            for (int i = 0; i < N; i++) store(lanes + i * PANEL + lane, sums[i]);
        }
        add_lanes(lanes, N, 1.0, totals);
    }
    __builtin_memcpy(found, totals, sizeof totals);
}

// One sweep of coordinate descent over the coordinates that are not 0, or over all: each in turn is
// moved to where slopes'd + d' H d / 2 + sum_j (l1 shares_j |at_j| + l2 shares_j at_j^2 / 2) is
// least, d what `at` has moved by, for H = matrix - pulls means', pulls = means * scale. turned =
// matrix d, and *pull = means'd. Coordinates whose inverse (of H_jj + l2 shares_j) is 0 stay.
// Returns the largest move, in the norm of H.
inline double sweep(const double *matrix, ptrdiff_t size, ptrdiff_t n, const double *slopes,
                    const double *means, double scale, const double *diagonal,
                    const double *inverses, double l1, const double *shares, int all, double *at,
                    double *turned, double *pull) {
    using V = f64v;
    double largest = 0, pulled = *pull;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double before = at[j];
        if ((before == 0 && !all) || inverses[j] == 0) continue;
        const double v =
            diagonal[j] * before - ((slopes[j] + turned[j]) - means[j] * scale * pulled);
        const double least = l1 * shares[j];
        const double to = v > least    ? (v - least) * inverses[j]
                          : v < -least ? (v + least) * inverses[j]
                                       : 0;
        const double move = to - before;
        if (move == 0) continue;
        at[j] = to;
        pulled += move * means[j];
        const double *const row = matrix + j * size;
        for (ptrdiff_t k = 0; k < n; k += lanes_of<V>)
            store(turned + k, fma(splat<V>(move), load<V>(row + k), load<V>(turned + k)));
        const double length = move * move / inverses[j];
        largest = length > largest ? length : largest;
    }
    *pull = pulled;
    return largest;
}

}  // namespace metaopt::MF_ISA
