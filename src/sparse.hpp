// Sparse rows, and their columns: products with many vectors at once, and the steps of conjugate
// gradients for as many models. Double precision alone.
//
// A matrix is lines of numbers, each with its place; a vector for each of L models stands beside
// the others, x[place][lane], L being 1, 8 or 24. The rows are one matrix and the columns another,
// so that each line is one task's, and nothing is added that two tasks have found. Bound by reading
// x at places that are far from each other.
//
// A model's sums have the same bits whatever stands beside it:
//   a line          pieces of 64 numbers in order; of a piece, those at even and at odd places by
//                   themselves
//   a block         64 lines in order
#pragma once

#include "losses.hpp"
#include "tile.hpp"

namespace metaopt::MF_ISA {

// Numbers of a piece of a line, and how many numbers ahead x is fetched.
constexpr ptrdiff_t PIECE = 64, FETCHED = 16;

// L numbers side by side, in vectors or as the one number that they are.
template <int L> struct lanes_type {
    using type = row_vector<double>;
};
template <> struct lanes_type<1> {
    using type = double;
};
template <int L> using Part = typename lanes_type<L>::type;
template <int L> constexpr int WIDTH = sizeof(Part<L>) / sizeof(double);
template <int L> constexpr int PARTS = L / WIDTH<L>;

template <class V> inline V get(const double *from) {
    V v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}
template <class V> inline void put(double *to, V v) { __builtin_memcpy(to, &v, sizeof v); }
template <class V> inline V spread_out(double x) { return x - V{}; }

// The product of a line with one vector, where a sum left the range: of numbers that are scaled.
// cold: rare, and gcc would unroll it for each number of lanes.
__attribute__((noinline, cold)) inline double scaled_product(const Sparse *matrix, ptrdiff_t line,
                                                             const double *x, ptrdiff_t step) {
    int of_numbers = -layout<double>::bias, of_x = -layout<double>::bias;
    for (ptrdiff_t at = matrix->starts[line]; at < matrix->starts[line + 1]; at++) {
        const int mine = exponent_of(matrix->numbers[at]);
        const int theirs = exponent_of(x[matrix->places[at] * step]);
        of_numbers = mine > of_numbers ? mine : of_numbers;
        of_x = theirs > of_x ? theirs : of_x;
    }
    double sum = 0;
    for (ptrdiff_t at = matrix->starts[line]; at < matrix->starts[line + 1]; at++)
        sum += __builtin_ldexp(matrix->numbers[at], -of_numbers) *
               __builtin_ldexp(x[matrix->places[at] * step], -of_x);
    return __builtin_ldexp(sum, of_numbers + of_x);
}

// Replaces those of a line's sums that are not finite, because a partial sum left the range.
template <int L>
__attribute__((noinline, cold)) void multiply_again(const Sparse *matrix, ptrdiff_t first,
                                                    ptrdiff_t last, const double *x, double *out) {
    for (ptrdiff_t line = first; line < last; line++, out += L)
        for (int l = 0; l < L; l++)
            if (!(out[l] - out[l] == 0)) out[l] = scaled_product(matrix, line, x + l, L);
}

inline bool is_zero(double x) { return x == 0; }
template <class V> inline bool is_zero(V x) {
    double sum = 0;
    for (int l = 0; l < lanes_of<V>; l++) sum += x[l];
    return sum == 0;
}

// out[line - first][lane] = the sum of number * x[place][lane] over lines [first, last).
template <int L>
void multiply_lines(const Sparse *matrix, ptrdiff_t first, ptrdiff_t last, const double *x,
                    double *out) {
    using V = Part<L>;
    constexpr int W = WIDTH<L>;
    const int *const places = matrix->places;
    const ptrdiff_t n_numbers = matrix->starts[matrix->n_lines];
    double *to = out;
    V lost = {};  // 0 where all sums are finite, else not a number
    for (ptrdiff_t line = first; line < last; line++, to += L) {
        V total[PARTS<L>] = {};
        const ptrdiff_t end = matrix->starts[line + 1];
        for (ptrdiff_t at = matrix->starts[line]; at < end;) {
            const ptrdiff_t until = at + PIECE < end ? at + PIECE : end;
            V even[PARTS<L>] = {}, odd[PARTS<L>] = {};
            for (; at + 1 < until; at += 2) {
                const ptrdiff_t ahead = at + FETCHED + 1 < n_numbers ? at + FETCHED : at;
                for (int i = 0; i < L; i += PANEL) {
                    __builtin_prefetch(x + (ptrdiff_t)places[ahead] * L + i);
                    __builtin_prefetch(x + (ptrdiff_t)places[ahead + 1] * L + i);
                }
                const double *const a = x + (ptrdiff_t)places[at] * L;
                const double *const b = x + (ptrdiff_t)places[at + 1] * L;
                const V p = spread_out<V>(matrix->numbers[at]);
                const V q = spread_out<V>(matrix->numbers[at + 1]);
                for (int i = 0; i < PARTS<L>; i++) {
                    even[i] = fma(p, get<V>(a + i * W), even[i]);
                    odd[i] = fma(q, get<V>(b + i * W), odd[i]);
                }
            }
            if (at < until) {
                const double *const a = x + (ptrdiff_t)places[at] * L;
                const V p = spread_out<V>(matrix->numbers[at]);
                for (int i = 0; i < PARTS<L>; i++) even[i] = fma(p, get<V>(a + i * W), even[i]);
                at++;
            }
            for (int i = 0; i < PARTS<L>; i++) total[i] = total[i] + (even[i] + odd[i]);
        }
        for (int i = 0; i < PARTS<L>; i++) {
            put(to + i * W, total[i]);
            lost = lost + (total[i] - total[i]);
        }
    }
    if (!is_zero(lost)) multiply_again<L>(matrix, first, last, x, out);
}

inline void sparse_products(const Sparse *matrix, ptrdiff_t first, ptrdiff_t last, const double *x,
                            int lanes, double *out) {
    const auto multiply = lanes == 1       ? multiply_lines<1>
                          : lanes == PANEL ? multiply_lines<PANEL>
                                           : multiply_lines<SPARSE_LANES>;
    multiply(matrix, first, last, x, out);
}

// Of some rows' losses and slopes: slopes times the rows' weights, kept in the range; and sums of
// weighted losses and, with the rows' signs, of slopes.
template <int L>
void weigh_lanes(const double *losses, double *slopes, const double *weights, const double *signs,
                 ptrdiff_t n_rows, double *sums) {
    using V = Part<L>;
    constexpr int W = WIDTH<L>;
    const V largest = spread_out<V>(__DBL_MAX__);
    V loss[PARTS<L>] = {}, along[PARTS<L>] = {};
    for (ptrdiff_t row = 0; row < n_rows; row++)
        for (int i = 0; i < PARTS<L>; i++) {
            const ptrdiff_t at = row * L + i * W;
            const V weight = spread_out<V>(weights[row]);
            V slope = weight * get<V>(slopes + at);
            slope = slope > largest ? largest : slope;
            slope = slope < -largest ? -largest : slope;
            put(slopes + at, slope);
            loss[i] = loss[i] + weight * get<V>(losses + at);
            along[i] = along[i] + spread_out<V>(signs[row]) * slope;
        }
    for (int i = 0; i < PARTS<L>; i++) {
        put(sums + i * W, loss[i]);
        put(sums + L + i * W, along[i]);
    }
}

inline void weigh_rows(const double *losses, double *slopes, const double *weights,
                       const double *signs, ptrdiff_t n_rows, int lanes, double *sums) {
    const auto weigh = lanes == 1       ? weigh_lanes<1>
                       : lanes == PANEL ? weigh_lanes<PANEL>
                                        : weigh_lanes<SPARSE_LANES>;
    weigh(losses, slopes, weights, signs, n_rows, sums);
}

// x[column][lane] = thetas[lane][column], of `count` rows that are n_columns apart, and 0 in the
// other lanes.
inline void read_lanes(const double *thetas, int count, ptrdiff_t n_columns, int lanes, double *x) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    for (int lane = 0; lane < lanes; lane += W) {
        const int n = count - lane < W ? count - lane : W;
        ptrdiff_t column = 0;
        for (; column + W <= n_columns; column += W) {
            V square[W] = {};
            for (int i = 0; i < n; i++)
                square[i] = load<V>(thetas + (lane + i) * n_columns + column);
            transpose(square);
            for (int i = 0; i < W; i++) store(x + (column + i) * lanes + lane, square[i]);
        }
        for (; column < n_columns; column++)
            for (int i = 0; i < W; i++)
                x[column * lanes + lane + i] = i < n ? thetas[(lane + i) * n_columns + column] : 0;
    }
}

// gradients[lane][column] = found[column][lane] + l2 thetas[lane][column], of rows that are
// n_params apart.
inline void write_lanes(const double *found, ptrdiff_t n_columns, int lanes, int count,
                        const double *thetas, double l2, ptrdiff_t n_params, double *gradients) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    for (int lane = 0; lane < count; lane += W) {
        const int n = count - lane < W ? count - lane : W;
        ptrdiff_t column = 0;
        for (; lanes > 1 && column + W <= n_columns; column += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(found + (column + i) * lanes + lane);
            transpose(square);
            for (int i = 0; i < n; i++) {
                const ptrdiff_t at = (lane + i) * n_params + column;
                store(gradients + at, l2 > 0 ? square[i] + l2 * load<V>(thetas + at) : square[i]);
            }
        }
        for (; column < n_columns; column++)
            for (int i = 0; i < n; i++) {
                const ptrdiff_t at = (lane + i) * n_params + column;
                const double slope = found[column * lanes + lane + i];
                gradients[at] = l2 > 0 ? slope + l2 * thetas[at] : slope;
            }
    }
}

// Rows of a block: slopes[row][lane] = a curvature times the margin x_i . x, and for lanes that are
// asked for their loss, its derivative, after which the curvatures are those there. Both have the
// row's weight in them.
template <int L> void visit_rows(const SparseStep *step, ptrdiff_t block) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t first = block * BLOCK_ROWS;
    const int n_rows =
        (int)(step->rows.n_lines - first < BLOCK_ROWS ? step->rows.n_lines - first : BLOCK_ROWS);
    alignas(64) double z[BLOCK_ROWS * L] = {}, weights[BLOCK_ROWS * L] = {};
    alignas(64) double losses[BLOCK_ROWS * L], asked[PANEL];
    multiply_lines<L>(&step->rows, first, first + n_rows, step->x, z);
    const double *const shift = step->x + step->columns.n_lines * L;
    for (int row = 0; row < n_rows; row++) {
        const double *const factors = step->factors + step->strata[first + row] * L;
        for (int l = 0; l < L; l++) {
            weights[row * L + l] = step->weights[first + row] * factors[l];
            if (step->has_intercept) z[row * L + l] += step->signs[first + row] * shift[l];
        }
    }
    for (int i = 0; i < PANEL; i++) asked[i] = step->asked[i % L];
    double *const slopes = step->slopes + first * L, *const curvatures =
                                                         step->curvatures + first * L;
    for (int at = 0; at < n_rows * L; at += W) {
        const V margin = load<V>(z + at), curvature = load<V>(curvatures + at);
        V slope = curvature > 0 ? curvature * margin : V{};
        if (step->any_asked) {
            const V weight = load<V>(weights + at);
            const auto is_asked = load<V>(asked + at % PANEL) > 0;
            store(losses + at, weight > 0 ? weight * Logistic::value(margin) : V{});
            slope = is_asked ? weight * Logistic::derivative(margin) : slope;
            store(curvatures + at, is_asked ? weight * Logistic::curvature(margin) : curvature);
        }
        store(slopes + at, slope);
    }
    double sums[ROW_SUMS][L] = {};
    for (int row = 0; row < n_rows; row++)
        for (int l = 0; l < L; l++) {
            if (step->any_asked) {
                sums[0][l] += losses[row * L + l];
                sums[1][l] += curvatures[row * L + l];
            }
            sums[2][l] += step->signs[first + row] * slopes[row * L + l];
        }
    __builtin_memcpy(step->row_sums + block * ROW_SUMS * L, sums, sizeof sums);
}

// Columns of a block: product[column][lane] = the slopes' product, and that of the penalty; and
// sums of x times the product, of its square, and of that of x.
template <int L> void visit_columns(const SparseStep *step, ptrdiff_t block) {
    using V = Part<L>;
    constexpr int W = WIDTH<L>;
    const ptrdiff_t first = block * BLOCK_ROWS, n = step->columns.n_lines;
    const ptrdiff_t last = first + BLOCK_ROWS < n ? first + BLOCK_ROWS : n;
    multiply_lines<L>(&step->columns, first, last, step->slopes, step->product + first * L);
    V sums[COLUMN_SUMS][PARTS<L>] = {};
    for (ptrdiff_t column = first; column < last; column++)
        for (int i = 0; i < PARTS<L>; i++) {
            double *const at = step->product + column * L + i * W;
            const V x = get<V>(step->x + column * L + i * W);
            const V product = get<V>(at) + get<V>(step->l2 + i * W) * x;
            put(at, product);
            sums[0][i] = sums[0][i] + x * product;
            sums[1][i] = sums[1][i] + product * product;
            sums[2][i] = sums[2][i] + x * x;
        }
    __builtin_memcpy(step->column_sums + block * COLUMN_SUMS * L, sums, sizeof sums);
}

inline void sparse_rows(const SparseStep *step, ptrdiff_t block) {
    (step->lanes == 1 ? visit_rows<1> : visit_rows<PANEL>)(step, block);
}

inline void sparse_columns(const SparseStep *step, ptrdiff_t block) {
    const auto visit = step->lanes == 1       ? visit_columns<1>
                       : step->lanes == PANEL ? visit_columns<PANEL>
                                              : visit_columns<SPARSE_LANES>;
    visit(step, block);
}

// a * x, and 0 where a is: x may be anything then.
template <class V> inline V part_of(V a, V x) { return a != 0 ? a * x : V{}; }

// What a residual is divided by: the penalty, and a part of the curvature along the parameter.
template <int L> inline Part<L> scale_of(const SparseMove *move, ptrdiff_t parameter, int i) {
    using V = Part<L>;
    const V own = get<V>(move->scales + i * WIDTH<L>) * spread_out<V>(move->sizes[parameter]);
    const V l2 = parameter < move->n_penalised ? get<V>(move->l2 + i * WIDTH<L>) : V{};
    return l2 + own + spread_out<V>(__DBL_MIN__);
}

// residual = keep residual + take product; sums of its square, and of that divided by the scales.
template <int L> void move_residuals(const SparseMove *move, ptrdiff_t block) {
    using V = Part<L>;
    constexpr int W = WIDTH<L>;
    const ptrdiff_t first = block * BLOCK_ROWS;
    const ptrdiff_t last = first + BLOCK_ROWS < move->n ? first + BLOCK_ROWS : move->n;
    V sums[MOVE_SUMS][PARTS<L>] = {};
    for (ptrdiff_t j = first; j < last; j++)
        for (int i = 0; i < PARTS<L>; i++) {
            const ptrdiff_t at = j * L + i * W;
            const V residual = part_of(get<V>(move->keep + i * W), get<V>(move->residual + at)) +
                               part_of(get<V>(move->take + i * W), get<V>(move->product + at));
            put(move->residual + at, residual);
            const V square = residual * residual;
            sums[0][i] = sums[0][i] + square;
            sums[1][i] = sums[1][i] + square / scale_of<L>(move, j, i);
        }
    __builtin_memcpy(move->sums + block * MOVE_SUMS * L, sums, sizeof sums);
}

// step = grow step + along x; then x = turn x + down residual / scales + base theta + whole step,
// theta being x itself first where it is accepted.
template <int L> void move_directions(const SparseMove *move, ptrdiff_t block) {
    using V = Part<L>;
    constexpr int W = WIDTH<L>;
    const ptrdiff_t first = block * BLOCK_ROWS;
    const ptrdiff_t last = first + BLOCK_ROWS < move->n ? first + BLOCK_ROWS : move->n;
    for (ptrdiff_t j = first; j < last; j++)
        for (int i = 0; i < PARTS<L>; i++) {
            const ptrdiff_t at = j * L + i * W;
            const V x = get<V>(move->x + at);
            const V step = part_of(get<V>(move->grow + i * W), get<V>(move->step + at)) +
                           part_of(get<V>(move->along + i * W), x);
            put(move->step + at, step);
            V next = part_of(get<V>(move->turn + i * W), x) +
                     part_of(get<V>(move->down + i * W),
                             get<V>(move->residual + at) / scale_of<L>(move, j, i));
            if (move->any_theta) {
                const V theta = get<V>(move->accept + i * W) > 0 ? x : get<V>(move->theta + at);
                put(move->theta + at, theta);
                next = next + part_of(get<V>(move->base + i * W), theta) +
                       part_of(get<V>(move->whole + i * W), step);
            }
            put(move->x + at, next);
        }
}

inline void sparse_residuals(const SparseMove *move, ptrdiff_t block) {
    const auto move_all = move->lanes == 1       ? move_residuals<1>
                          : move->lanes == PANEL ? move_residuals<PANEL>
                                                 : move_residuals<SPARSE_LANES>;
    move_all(move, block);
}

inline void sparse_directions(const SparseMove *move, ptrdiff_t block) {
    const auto move_all = move->lanes == 1       ? move_directions<1>
                          : move->lanes == PANEL ? move_directions<PANEL>
                                                 : move_directions<SPARSE_LANES>;
    move_all(move, block);
}

}  // namespace metaopt::MF_ISA
