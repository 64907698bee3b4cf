// Systems of equations whose matrices are Hessians, and rows reduced to fewer columns by
// reflections. Double precision alone.
//
// A symmetric matrix is stored as its pairs (j, k), j <= k, row by row. Small systems are solved
// with one in each lane, matrix[pair][lane]; large ones one by one, with neighbouring columns in
// the lanes. Each entry is the same chain of FMAs either way, pivot after pivot: the same bits.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

// Entries that are updated together: 12 of AVX-512's 32 registers hold them, 8 of AVX2's 16.
constexpr int SYSTEM_ROWS = 4;
constexpr int SYSTEM_VECTORS = MF_BYTES == 64 ? 3 : 2;
constexpr int SYSTEM_COLUMNS = SYSTEM_VECTORS * lanes_of<f64v>;
// Pivots after which the rest of the matrix is updated: their rows stay in the cache.
constexpr ptrdiff_t PIVOTS = 48;

// Below it, sums that made a diagonal entry may have lost all their digits to underflow.
constexpr double SMALLEST_ENTRY = 0x1p-960;

// The factor's pivot, inverted: what is left of a diagonal entry within rounding of zero leaves its
// parameter out.
template <class V> inline V inverse_pivot(V left, V entry, ptrdiff_t n) {
    const V least = max(entry * ((double)n * 0x1p-52), splat<V>(SMALLEST_ENTRY));
    return left > least ? 1 / sqrt(max(left, V{})) : V{};
}

// Pivots whose rows are subtracted together: 5 loads and a store for each 4 FMAs, in the place of 2
// loads and a store for each.
constexpr int LANE_PIVOTS = 4;

// to[k] -= sum over pivots p of y[p] * rows[p][k], p ascending, in each lane.
template <class V>
inline void subtract_pivots(const V (&y)[LANE_PIVOTS], const double *const (&rows)[LANE_PIVOTS],
                            ptrdiff_t count, double *to) {
    constexpr ptrdiff_t L = LANES<double>;
    for (ptrdiff_t k = 0; k < count * L; k += L) {
        V x = load<V>(to + k);
        for (int p = 0; p < LANE_PIVOTS; p++) x = fma(-y[p], load<V>(rows[p] + k), x);
        store(to + k, x);
    }
}

// Cholesky's factor of the matrix in each lane, in its place, with the inverses of the diagonal.
// What the diagonal was is left in `scratch`, which holds three vectors of n.
// noinline: tasks.hpp needs it as well.
__attribute__((noinline)) inline void factor_lanes(double *matrix, ptrdiff_t n, double *scratch) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>, P = LANE_PIVOTS;
    constexpr ptrdiff_t L = LANES<double>;
    for (int v = 0; v < VECTORS; v++) {
        double *const factor = matrix + v * W, *const entries = scratch + 2 * n * L + v * W;
        // What the diagonal was says what is left of it by rounding alone.
        double *row = factor;
        for (ptrdiff_t j = 0; j < n; row += (n - j) * L, j++) store(entries + j * L, load<V>(row));
        row = factor;
        for (ptrdiff_t first = 0; first < n; first += P) {
            const ptrdiff_t last = first + P < n ? first + P : n;
            const double *rows[P] = {};
            for (ptrdiff_t j = first; j < last; row += (n - j) * L, j++) {
                const V inverse = inverse_pivot(load<V>(row), load<V>(entries + j * L), n);
                store(row, inverse);
                for (ptrdiff_t k = 1; k < n - j; k++)
                    store(row + k * L, load<V>(row + k * L) * inverse);
                rows[j - first] = row;
                // The other pivots' own rows.
                double *below = row + (n - j) * L;
                for (ptrdiff_t i = j + 1; i < last; below += (n - i) * L, i++) {
                    const V entry = load<V>(row + (i - j) * L);
                    for (ptrdiff_t k = i; k < n; k++) {
                        double *to = below + (k - i) * L;
                        store(to, fma(-entry, load<V>(row + (k - j) * L), load<V>(to)));
                    }
                }
            }
            double *below = row;
            for (ptrdiff_t i = last; i < n; below += (n - i) * L, i++) {
                V y[P];
                const double *at[P];
                for (int p = 0; p < P; p++) {
                    at[p] = rows[p] + (i - first - p) * L;
                    y[p] = load<V>(at[p]);
                }
                subtract_pivots(y, at, n - i, below);
            }
        }
    }
}

// radii[lane] bounds sqrt(v' matrix^-1 v) for all |v_j| <= extents[j]; inflations[lane] is the
// trace of matrix^-1 times the matrix's diagonal: each unknown's variance beside what it would be
// alone. Where a parameter is left out, both are infinite. `scratch` is that of factor_lanes.
// noinline, too.
__attribute__((noinline)) inline void bound_lanes(const double *matrix, ptrdiff_t n,
                                                  const double *extents, double *radii,
                                                  double *inflations, double *scratch) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>;
    constexpr ptrdiff_t L = LANES<double>;
    const V infinite = splat<V>(__builtin_inf());
    for (int v = 0; v < VECTORS; v++) {
        double *const column = scratch + v * W, *const reach = scratch + n * L + v * W,
                      *const entries = scratch + 2 * n * L + v * W;
        V lost{}, radius{}, inflation{};
        // Column by column of the inverse factor, scaled by the diagonal: how far an entry of v
        // reaches into each of y.
        for (ptrdiff_t j = 0; j < n; j++) store(reach + j * L, V{});
        const double *diagonal = matrix + v * W;
        for (ptrdiff_t j = 0; j < n; diagonal += (n - j) * L, j++) {
            const V size = sqrt(load<V>(entries + j * L)), extent = extents[j] / size;
            V square{};
            lost = load<V>(diagonal) == 0 ? infinite : lost;
            store(column + j * L, size);
            for (ptrdiff_t k = j + 1; k < n; k++) store(column + k * L, V{});
            const double *row = diagonal;
            for (ptrdiff_t i = j; i < n; row += (n - i) * L, i++) {
                const V y = load<V>(column + i * L) * load<V>(row);
                store(reach + i * L, fma(max(y, -y), extent, load<V>(reach + i * L)));
                square = fma(y, y, square);
                for (ptrdiff_t k = 1; k < n - i; k++) {
                    double *to = column + (i + k) * L;
                    store(to, fma(-y, load<V>(row + k * L), load<V>(to)));
                }
            }
            inflation = inflation + square;
        }
        for (ptrdiff_t j = 0; j < n; j++)
            radius = fma(load<V>(reach + j * L), load<V>(reach + j * L), radius);
        store(radii + v * W, lost == infinite ? lost : sqrt(radius));
        store(inflations + v * W, lost == infinite ? lost : inflation);
    }
}

// Both: a factor in the place of the matrix, and what it bounds.
inline void factor_tile(double *matrix, ptrdiff_t n, const double *extents, double *radii,
                        double *inflations, double *scratch) {
    factor_lanes(matrix, n, scratch);
    bound_lanes(matrix, n, extents, radii, inflations, scratch);
}

// to[r][column] -= sum over i of left[i][r] * right[i][column] for ROWS rows and SYSTEM_COLUMNS
// columns, i ascending. Bound by FMAs: 3 loads and 4 broadcasts feed 12.
// noinline: else gcc 12 keeps the entries on the stack.
template <int ROWS>
__attribute__((noinline)) void subtract_products(const double *left, ptrdiff_t left_stride,
                                                 const double *right, ptrdiff_t right_stride,
                                                 ptrdiff_t count, double *to, ptrdiff_t stride) {
    using V = f64v;
    constexpr int W = lanes_of<V>;
    V entry[ROWS][SYSTEM_VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < SYSTEM_VECTORS; v++) entry[r][v] = load<V>(to + r * stride + v * W);
    for (ptrdiff_t i = 0; i < count; i++, left += left_stride, right += right_stride) {
        V x[SYSTEM_VECTORS];
        for (int v = 0; v < SYSTEM_VECTORS; v++) x[v] = load<V>(right + v * W);
        for (int r = 0; r < ROWS; r++) {
            const V y = splat<V>(-left[r]);
            for (int v = 0; v < SYSTEM_VECTORS; v++) entry[r][v] = fma(y, x[v], entry[r][v]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < SYSTEM_VECTORS; v++) store(to + r * stride + v * W, entry[r][v]);
}

// The same for `rows` <= SYSTEM_ROWS.
template <int ROWS = SYSTEM_ROWS>
void subtract_some_products(int rows, const double *left, ptrdiff_t left_stride,
                            const double *right, ptrdiff_t right_stride, ptrdiff_t count,
                            double *to, ptrdiff_t stride) {
    if constexpr (ROWS > 1)
        if (rows < ROWS)
            return subtract_some_products<ROWS - 1>(rows, left, left_stride, right, right_stride,
                                                    count, to, stride);
    subtract_products<ROWS>(left, left_stride, right, right_stride, count, to, stride);
}

// Numbers in a row of the matrix of factor_one, which reads whole vectors beyond its end.
inline ptrdiff_t system_stride(ptrdiff_t n) { return n + SYSTEM_COLUMNS; }

// Cholesky's factor from pivot `first` on, for PIVOTS of them, of the matrix of factor_one; the
// rest of the matrix is updated before the next ones.
inline void factor_pivots(double *matrix, ptrdiff_t n, ptrdiff_t first, const double *entries) {
    const ptrdiff_t stride = system_stride(n), last = first + PIVOTS < n ? first + PIVOTS : n;
    for (ptrdiff_t j = first; j < n; j += SYSTEM_ROWS) {
        const ptrdiff_t end = j < last ? last : n;
        const int rows = (int)(end - j < SYSTEM_ROWS ? end - j : SYSTEM_ROWS);
        const ptrdiff_t count = (j < last ? j : last) - first;
        for (ptrdiff_t k = j; k < n; k += SYSTEM_COLUMNS)
            subtract_some_products(rows, matrix + first * stride + j, stride,
                                   matrix + first * stride + k, stride, count,
                                   matrix + j * stride + k, stride);
        for (int r = 0; r < rows && j < last; r++) {
            double *const row = matrix + (j + r) * stride;
            for (int s = 0; s < r; s++) {
                const double *const above = matrix + (j + s) * stride;
                const double entry = -above[j + r];
                for (ptrdiff_t k = j + r; k < n; k++) row[k] = fma(entry, above[k], row[k]);
            }
            const f64v pivot =
                inverse_pivot(splat<f64v>(row[j + r]), splat<f64v>(entries[j + r]), n);
            const double inverse = pivot[0];
            row[j + r] = inverse;
            for (ptrdiff_t k = j + r + 1; k < n; k++) row[k] *= inverse;
        }
    }
}

// Columns first .. last - 1 of the inverse factor, scaled by the diagonal: what they add to `reach`
// and to the inflation, which is returned. `columns` holds n * SYSTEM_COLUMNS numbers.
inline double add_columns(const double *matrix, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last,
                          const double *extents, const double *entries, double *reach,
                          double *columns, double inflation) {
    const ptrdiff_t stride = system_stride(n);
    for (; first < last; first += SYSTEM_COLUMNS) {
        const int count = (int)(last - first < SYSTEM_COLUMNS ? last - first : SYSTEM_COLUMNS);
        double extent[SYSTEM_COLUMNS], squares[SYSTEM_COLUMNS] = {};
        for (ptrdiff_t i = first * SYSTEM_COLUMNS; i < n * SYSTEM_COLUMNS; i++) columns[i] = 0;
        for (int c = 0; c < count; c++) {
            const f64v size = sqrt(splat<f64v>(entries[first + c]));
            columns[(first + c) * SYSTEM_COLUMNS + c] = size[0];
            extent[c] = extents[first + c] / size[0];
        }
        for (ptrdiff_t i = first; i < n; i += SYSTEM_ROWS) {
            const int rows = (int)(n - i < SYSTEM_ROWS ? n - i : SYSTEM_ROWS);
            subtract_some_products(rows, matrix + first * stride + i, stride,
                                   columns + first * SYSTEM_COLUMNS, SYSTEM_COLUMNS, i - first,
                                   columns + i * SYSTEM_COLUMNS, SYSTEM_COLUMNS);
            for (int r = 0; r < rows; r++) {
                double *const y = columns + (i + r) * SYSTEM_COLUMNS;
                for (int s = 0; s < r; s++) {
                    const double entry = matrix[(i + s) * stride + i + r];
                    const double *const above = columns + (i + s) * SYSTEM_COLUMNS;
                    for (int c = 0; c < SYSTEM_COLUMNS; c++) y[c] = fma(-above[c], entry, y[c]);
                }
                const double inverse = matrix[(i + r) * stride + i + r];
                for (int c = 0; c < SYSTEM_COLUMNS; c++) y[c] *= inverse;
                for (int c = 0; c < count; c++) {
                    squares[c] = fma(y[c], y[c], squares[c]);
                    reach[i + r] = fma(__builtin_fabs(y[c]), extent[c], reach[i + r]);
                }
            }
        }
        for (int c = 0; c < count; c++) inflation += squares[c];
    }
    return inflation;
}

// Steps of factor_one: PIVOTS pivots each, then as many columns of the inverse factor.
inline ptrdiff_t system_steps(ptrdiff_t n) { return 2 * ((n + PIVOTS - 1) / PIVOTS); }

// What factor_tile does, for one system, steps first .. last - 1 of it: all of them, in order, or
// some at a time. matrix[row][column] has system_stride(n) numbers a row, zero in the columns
// beyond n; what is below the diagonal is not read. `scratch` holds n * (SYSTEM_COLUMNS + 2)
// numbers, which like the matrix and the results are left alone between two calls.
inline void factor_one(double *matrix, ptrdiff_t n, const double *extents, double *radius_out,
                       double *inflation_out, double *scratch, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t stride = system_stride(n), n_steps = system_steps(n);
    double *const entries = scratch, *const reach = scratch + n, *const columns = scratch + 2 * n;
    if (first == 0) {
        *inflation_out = 0;
        for (ptrdiff_t j = 0; j < n; j++) entries[j] = matrix[j * stride + j], reach[j] = 0;
    }
    for (ptrdiff_t step = first; step < last; step++) {
        const ptrdiff_t begin = step % (n_steps / 2) * PIVOTS,
                        end = begin + PIVOTS < n ? begin + PIVOTS : n;
        if (step < n_steps / 2)
            factor_pivots(matrix, n, begin, entries);
        else
            *inflation_out = add_columns(matrix, n, begin, end, extents, entries, reach, columns,
                                         *inflation_out);
    }
    if (last < n_steps) return;
    double radius = 0;
    bool lost = false;
    for (ptrdiff_t j = 0; j < n; j++) radius = fma(reach[j], reach[j], radius);
    for (ptrdiff_t j = 0; j < n; j++) lost |= matrix[j * stride + j] == 0;
    *radius_out = lost ? __builtin_inf() : __builtin_sqrt(radius);
    if (lost) *inflation_out = __builtin_inf();
}

// Solves factor' factor x = b in each lane: b becomes x; squares[lane] = b' x.
inline void solve_tile(const double *factors, ptrdiff_t n, double *b, double *squares) {
    using V = wide_vector<double>;
    constexpr int W = lanes_of<V>;
    constexpr ptrdiff_t L = LANES<double>;
    for (int v = 0; v < VECTORS; v++) {
        const double *const factor = factors + v * W, *row = factor;
        double *const x = b + v * W;
        V square{};
        for (ptrdiff_t j = 0; j < n; row += (n - j) * L, j++) {
            const V y = load<V>(x + j * L) * load<V>(row);
            store(x + j * L, y);
            square = fma(y, y, square);
            for (ptrdiff_t k = 1; k < n - j; k++)
                store(x + (j + k) * L, fma(-y, load<V>(row + k * L), load<V>(x + (j + k) * L)));
        }
        for (ptrdiff_t j = n - 1; j >= 0; j--) {
            row = factor + (j * n - j * (j - 1) / 2) * L;
            V y = load<V>(x + j * L);
            for (ptrdiff_t k = 1; k < n - j; k++)
                y = fma(-load<V>(row + k * L), load<V>(x + (j + k) * L), y);
            store(x + j * L, y * load<V>(row));
        }
        store(squares + v * W, square);
    }
}

// What solve_tile does, for one system whose factor is stored as its pairs.
inline void solve_one(const double *factor, ptrdiff_t n, double *x, double *square_out) {
    const double *row = factor;
    double square = 0;
    for (ptrdiff_t j = 0; j < n; row += n - j, j++) {
        const double y = x[j] * row[0];
        x[j] = y;
        square = fma(y, y, square);
        for (ptrdiff_t k = 1; k < n - j; k++) x[j + k] = fma(-y, row[k], x[j + k]);
    }
    for (ptrdiff_t j = n - 1; j >= 0; j--) {
        row = factor + j * n - j * (j - 1) / 2;
        double y = x[j];
        for (ptrdiff_t k = 1; k < n - j; k++) y = fma(-row[k], x[j + k], y);
        x[j] = y * row[0];
    }
    *square_out = square;
}

// sum_k x[k] * y[k] in an order that does not depend on the width of vectors.
inline double product(const double *x, const double *y, ptrdiff_t n) {
    constexpr int PARTS = 32, W = lanes_of<f64v>;
    f64v sums[PARTS / W] = {};
    ptrdiff_t k = 0;
    for (; k + PARTS <= n; k += PARTS)
        for (int i = 0; i < PARTS / W; i++)
            sums[i] = fma(load<f64v>(x + k + i * W), load<f64v>(y + k + i * W), sums[i]);
    double parts[PARTS], total = 0;
    for (int i = 0; i < PARTS / W; i++) store(parts + i * W, sums[i]);
    for (int i = 0; k + i < n; i++) parts[i] = fma(x[k + i], y[k + i], parts[i]);
    for (int i = 0; i < PARTS; i++) total += parts[i];
    return total;
}

// Applies reflections first .. last - 1, or the other way round, to one row: reflection i is
// 1 - taus[i] v v' with v = (0, ..., 0, 1, rows[i][i + 1], ...).
inline void reflect(const double *rows, ptrdiff_t n_columns, const double *taus, ptrdiff_t first,
                    ptrdiff_t last, int backwards, double *row) {
    for (ptrdiff_t step = 0; step < last - first; step++) {
        const ptrdiff_t i = backwards ? last - 1 - step : first + step, rest = n_columns - i - 1;
        const double *const v = rows + i * n_columns + i + 1;
        double *const x = row + i + 1;
        const double size = taus[i] * (row[i] + product(v, x, rest));
        row[i] -= size;
        for (ptrdiff_t k = 0; k < rest; k++) x[k] = fma(-size, v[k], x[k]);
    }
}

// Makes the reflections that turn rows first .. last - 1 into a lower triangle, one after the
// other (Householder), and writes them over what they turn to zero. The rows are in the range in
// which squares are exact enough.
inline void make_reflections(double *rows, ptrdiff_t n_columns, ptrdiff_t first, ptrdiff_t last,
                             double *taus) {
    for (ptrdiff_t i = first; i < last; i++) {
        double *const row = rows + i * n_columns;
        reflect(rows, n_columns, taus, first, i, 0, row);
        const ptrdiff_t rest = n_columns - i - 1;
        const double head = row[i], tail = product(row + i + 1, row + i + 1, rest);
        if (tail == 0) {
            taus[i] = 0;
            continue;
        }
        const f64v norm = sqrt(splat<f64v>(fma(head, head, tail)));
        const double to = head > 0 ? -norm[0] : norm[0];
        taus[i] = (to - head) / to;
        const double scale = 1 / (head - to);
        for (ptrdiff_t k = 0; k < rest; k++) row[i + 1 + k] *= scale;
        row[i] = to;
    }
}

}  // namespace metaopt::MF_ISA
