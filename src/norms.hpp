// A caller's numbers as they lie in memory, and the norms of their rows.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

constexpr int SECOND_LEVEL = 2;  // as __builtin_prefetch counts

template <class S> inline double number_at(const char *from) {
    S number;
    __builtin_memcpy(&number, from, sizeof number);
    return (double)number;
}

inline const char *row_of(const Source &from, ptrdiff_t row) {
    return from.numbers + (from.starts ? from.starts[row] : row * from.row_step);
}

// `count` entries that are `step` bytes apart, as numbers of double precision.
using ReadEntries = void (*)(const char *from, ptrdiff_t step, int count, double *to);
template <class S> void read_entries(const char *from, ptrdiff_t step, int count, double *to) {
    if (step == sizeof(S))
        for (int l = 0; l < count; l++) to[l] = number_at<S>(from + l * (ptrdiff_t)sizeof(S));
    else
        for (int l = 0; l < count; l++) to[l] = number_at<S>(from + l * step);
}

inline ReadEntries reader_of(int type) {
    switch (type) {
    case FLOAT32: return read_entries<float>;
    case INT8: return read_entries<int8_t>;
    case INT16: return read_entries<int16_t>;
    case INT32: return read_entries<int32_t>;
    case INT64: return read_entries<int64_t>;
    case UINT8: return read_entries<uint8_t>;
    case UINT16: return read_entries<uint16_t>;
    case UINT32: return read_entries<uint32_t>;
    case UINT64: return read_entries<uint64_t>;
    default: return read_entries<double>;
    }
}

// Neighbouring columns of eight rows in double precision, `step` bytes apart: as they lie, or, of
// other types, converted some at a time: else all that follows would be compiled for ten types.
struct Columns8 {
    static constexpr ptrdiff_t MOST = 64;
    const char *row[PANEL];
    ptrdiff_t step;
    alignas(64) double converted[PANEL][MOST];

    static ptrdiff_t at_once(const Source &source) {
        return source.type == FLOAT64 ? source.n_columns : MOST;
    }
    void find(const Source &source, ReadEntries read, const char *const *rows, ptrdiff_t first,
              ptrdiff_t count) {
        const bool is_double = source.type == FLOAT64;
        step = is_double ? source.column_step : (ptrdiff_t)sizeof(double);
        for (int l = 0; l < PANEL; l++) {
            const char *from = rows[l] + first * source.column_step;
            row[l] = is_double ? from : (const char *)converted[l];
            if (!is_double) read(from, source.column_step, (int)count, converted[l]);
        }
    }
};

// ------------------------------------------------------------------------------- norms of rows

// Rows whose norms are summed together where columns are in one piece.
constexpr ptrdiff_t NORMS_AT_ONCE = 512;

// Numbers as single precision holds them, if that is what is wanted. No type of its own: all of
// this would be compiled twice.
inline double held(double x, bool is_single) { return is_single ? (double)(float)x : x; }
inline square_vector held(square_vector x, bool is_single) {
    using Narrow = vector<float, sizeof(square_vector) / 2>;
    const square_vector narrow =
        __builtin_convertvector(__builtin_convertvector(x, Narrow), square_vector);
    return is_single ? narrow : x;
}

// Adds the squares of the first columns of eight rows, whose entries are side by side, as far as
// they make squares of entries; returns the first column that is left. Asks for what is `ahead`
// bytes further: hardware loses sight of rows of 800 bytes that are read beside each other.
inline ptrdiff_t add_squares_abreast(const char *const *row, ptrdiff_t n_columns, ptrdiff_t ahead,
                                     bool is_single, double *sums) {
    constexpr int W = lanes_of<square_vector>;
    const ptrdiff_t whole = n_columns / W * W;
    for (int l = 0; l < PANEL; l += W) {
        square_vector sum = load<square_vector>(sums + l);
        for (ptrdiff_t j = 0; j < whole; j += W) {
            square_vector square[W];
            for (int i = 0; i < W; i++) {
                const double *entries = (const double *)row[l + i] + j;
                __builtin_prefetch((const char *)entries + ahead, 0, SECOND_LEVEL);
                square[i] = held(load<square_vector>(entries), is_single);
            }
            transpose(square);
            for (int i = 0; i < W; i++) sum = sum + square[i] * square[i];
        }
        store(sums + l, sum);
    }
    return whole;
}

// The same of columns from `first` on, one by one. Cold: there are few as a rule.
__attribute__((cold, noinline)) inline void add_squares_apart(const Columns8 &columns,
                                                              ptrdiff_t first, ptrdiff_t n_columns,
                                                              bool is_single, double *sums) {
    for (; first < n_columns; first++)
        for (int l = 0; l < PANEL; l++) {
            const double x =
                held(number_at<double>(columns.row[l] + first * columns.step), is_single);
            sums[l] += x * x;
        }
}

// Adds the squares of the rows' entries, in the order of the columns: one rounding for each square
// and each sum, as everywhere, so that rows have one order.
__attribute__((noinline)) inline void add_squares(const Source &from, ptrdiff_t first,
                                                  ptrdiff_t count, ptrdiff_t n_columns,
                                                  bool is_single, double *sums) {
    const ReadEntries read = reader_of(from.type);
    if (from.by_columns) {
        double column[NORMS_AT_ONCE];
        for (ptrdiff_t j = 0; j < n_columns; j++) {
            read(row_of(from, first) + j * from.column_step, from.row_step, (int)count, column);
            for (ptrdiff_t i = 0; i < count; i++) {
                const double x = held(column[i], is_single);
                sums[i] += x * x;
            }
        }
        return;
    }
    // Eight at a time: a single sum would wait for each addition.
    const ptrdiff_t ahead = from.type == FLOAT64 ? PANEL * from.row_step : 0;
    for (ptrdiff_t i = 0; i < count; i += PANEL) {
        const char *row[PANEL];
        Columns8 columns;
        double sum[PANEL] = {};
        for (int l = 0; l < PANEL; l++)
            row[l] = row_of(from, first + (i + l < count ? i + l : count - 1));
        for (ptrdiff_t j = 0; j < n_columns; j += Columns8::at_once(from)) {
            const ptrdiff_t rest = n_columns - j, most = Columns8::at_once(from);
            const ptrdiff_t n = rest < most ? rest : most;
            columns.find(from, read, row, j, n);
            ptrdiff_t k = 0;
            if (columns.step == sizeof(double))
                k = add_squares_abreast(columns.row, n, ahead, is_single, sum);
            if (k < n) add_squares_apart(columns, k, n, is_single, sum);
        }
        for (int l = 0; l < PANEL && i + l < count; l++) sums[i + l] = sum[l];
    }
}

template <class T> bool is_in_range(const Source &from, ptrdiff_t row, ptrdiff_t n_columns) {
    const ReadEntries read = reader_of(from.type);
    bool found = true;
    for (ptrdiff_t j = 0; j < n_columns; j++) {
        double x;
        read(row_of(from, row) + j * from.column_step, 0, 1, &x);
        found &= (x < 0 ? -x : x) <= (double)layout<T>::largest;
    }
    return found;
}

// The squared norm of each row as T holds it; NaN of rows that are not within its range, whose
// number is returned.
template <class T>
ptrdiff_t row_norms(const Source *source, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n_columns,
                    double *norms) {
    const Source &from = *source;
    // A row with an entry beyond the range has a norm beyond this.
    constexpr double largest = layout<T>::largest;
    constexpr double bound = sizeof(T) == sizeof(double) ? largest : largest * largest;
    ptrdiff_t n_outside = 0;
    for (; first < last; first += NORMS_AT_ONCE) {
        const ptrdiff_t count = last - first < NORMS_AT_ONCE ? last - first : NORMS_AT_ONCE;
        double sums[NORMS_AT_ONCE] = {};
        add_squares(from, first, count, n_columns, sizeof(T) == sizeof(float), sums);
        for (ptrdiff_t i = 0; i < count; i++)
            if (!(sums[i] < bound) && !is_in_range<T>(from, first + i, n_columns)) {
                sums[i] = __builtin_nan("");
                n_outside++;
            }
        __builtin_memcpy(norms + first, sums, (size_t)count * sizeof(double));
    }
    return n_outside;
}

}  // namespace metaopt::MF_ISA
