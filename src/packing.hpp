// Rows in the order in which the kernels read them.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

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

// Adds the squares of the rows' entries, as T holds them, in the order of the columns: one rounding
// for each square and each sum, as everywhere, so that rows have one order.
template <class T>
void add_squares(const Source &from, ptrdiff_t first, ptrdiff_t count, ptrdiff_t n_columns,
                 double *sums) {
    const ReadEntries read = reader_of(from.type);
    if (from.by_columns) {
        double column[NORMS_AT_ONCE];
        for (ptrdiff_t j = 0; j < n_columns; j++) {
            read(row_of(from, first) + j * from.column_step, from.row_step, (int)count, column);
            for (ptrdiff_t i = 0; i < count; i++) {
                const double x = (T)column[i];
                sums[i] += x * x;
            }
        }
        return;
    }
    // Eight at a time: a single sum would wait for each addition.
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
            const ptrdiff_t step = columns.step;
            for (ptrdiff_t k = 0; k < n; k++)
                for (int l = 0; l < PANEL; l++) {
                    const double x = (T)number_at<double>(columns.row[l] + k * step);
                    sum[l] += x * x;
                }
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
        add_squares<T>(from, first, count, n_columns, sums);
        for (ptrdiff_t i = 0; i < count; i++)
            if (!(sums[i] < bound) && !is_in_range<T>(from, first + i, n_columns)) {
                sums[i] = __builtin_nan("");
                n_outside++;
            }
        __builtin_memcpy(norms + first, sums, (size_t)count * sizeof(double));
    }
    return n_outside;
}

// --------------------------------------------------------------------------------------- panels

// Rows that are sorted lie anywhere in memory: those of the panel after the next one are asked for
// in time, the first lines of each, which the processor's own guesses then continue. Into the
// second-level cache: it waits for more lines at once than the first one, which took half as long
// again for a million rows of 160 bytes.
constexpr ptrdiff_t PANELS_AHEAD = 2, BYTES_AHEAD = 512, LINE = 64;
constexpr int SECOND_LEVEL = 2;  // as __builtin_prefetch counts

// Always inline: gcc takes a function that only asks for memory for one without effects, and leaves
// its calls out.
__attribute__((always_inline)) inline void ask_for(const Packing &to, const ptrdiff_t *rows,
                                                   ptrdiff_t first, ptrdiff_t bytes) {
    for (int l = 0; l < PANEL; l++) {
        if (rows[l] < 0) return;
        const char *at = row_of(to.source, rows[l]) + first;
        for (ptrdiff_t b = 0; b < bytes; b += LINE) __builtin_prefetch(at + b, 0, SECOND_LEVEL);
    }
}

// The rows of a panel, and their factors; returns how many there are: zeros are the last ones.
inline int find_rows(const Packing &to, const ptrdiff_t *rows, const char **row, double *factors) {
    int count = 0;
    for (int l = 0; l < PANEL; l++) {
        const ptrdiff_t number = rows[l] < 0 ? rows[0] : rows[l];
        row[l] = row_of(to.source, number);
        // Without a branch, which nobody could predict.
        factors[l] = to.scale * (1 - 2 * (to.negative && to.negative[number] == 1));
        count += rows[l] >= 0;
    }
    return count;
}

// What no row fills of a panel: ones from the source's last column on, and zeros for all rows from
// `count` on.
template <class T>
__attribute__((noinline)) void complete_panel(const Packing &to, const double *factors, int count,
                                              T *panel) {
    for (ptrdiff_t j = to.source.n_columns; j < to.n_params; j++)
        for (int l = 0; l < PANEL; l++) panel[j * PANEL + l] = (T)factors[l];
    for (ptrdiff_t j = 0; j < to.n_params; j++)
        for (int l = count; l < PANEL; l++) panel[j * PANEL + l] = 0;
}

// The columns of eight rows whose entries are side by side, as far as they make squares; returns
// the first column that is left. `largest`: the largest absolute values so far.
template <class T, class S>
inline ptrdiff_t pack_squares(const char *const *row, const double *factors, ptrdiff_t n_columns,
                              T *panel, square_vector *largest) {
    constexpr int W = lanes_of<square_vector>;
    ptrdiff_t j = 0;
    for (; j + W <= n_columns; j += W)
        for (int l = 0; l < PANEL; l += W) {
            square_vector square[W];
            for (int i = 0; i < W; i++) {
                vector<S, W * sizeof(S)> entries;
                __builtin_memcpy(&entries, row[l + i] + j * (ptrdiff_t)sizeof(S), sizeof entries);
                square[i] = __builtin_convertvector(entries, square_vector) * factors[l + i];
                *largest = max(*largest, max(square[i], -square[i]));
            }
            transpose(square);
            for (int i = 0; i < W; i++) {
                const auto column = __builtin_convertvector(square[i], vector<T, W * sizeof(T)>);
                __builtin_memcpy(panel + (j + i) * PANEL + l, &column, sizeof column);
            }
        }
    return j;
}

inline double largest_of(square_vector of_squares, double largest) {
    for (int l = 0; l < lanes_of<square_vector>; l++)
        largest = of_squares[l] > largest ? of_squares[l] : largest;
    return largest;
}

// Panels of rows, each of which has its entries in one piece, or nearly so; returns the largest
// absolute value that was written. Each panel is written from its first line to its last one, while
// eight rows are read beside each other.
template <class T>
double pack_rows(const Packing *packing, ptrdiff_t first_panel, ptrdiff_t last_panel) {
    const Packing &to = *packing;
    const ReadEntries read = reader_of(to.source.type);
    const ptrdiff_t step = to.source.column_step, n_columns = to.source.n_columns;
    const ptrdiff_t bytes = n_columns * (step < 0 ? -step : step);
    const ptrdiff_t asked = bytes < BYTES_AHEAD ? bytes : BYTES_AHEAD;
    const ptrdiff_t first_asked = step < 0 ? step - asked : 0;
    const ptrdiff_t most = Columns8::at_once(to.source);
    const bool is_single = to.source.type == FLOAT32 && step == sizeof(float);
    const bool is_double = to.source.type == FLOAT64 && step == sizeof(double);
    Columns8 columns;
    square_vector of_squares = {};
    double of_rows[PANEL] = {};
    for (ptrdiff_t p = first_panel; p < last_panel; p++) {
        const ptrdiff_t *rows = to.row_at + p * PANEL;
        if (p + PANELS_AHEAD < last_panel)
            ask_for(to, rows + PANELS_AHEAD * PANEL, first_asked, asked);
        const char *row[PANEL];
        double factors[PANEL];
        const int count = find_rows(to, rows, row, factors);
        T *panel = (T *)to.panels + p * to.n_params * PANEL;
        ptrdiff_t first = 0;
        if (is_single) first = pack_squares<T, float>(row, factors, n_columns, panel, &of_squares);
        if (is_double) first = pack_squares<T, double>(row, factors, n_columns, panel, &of_squares);
        for (; first < n_columns; first += most) {
            const ptrdiff_t rest = n_columns - first, n = rest < most ? rest : most;
            T *into = panel + first * PANEL;
            columns.find(to.source, read, row, first, n);
            ptrdiff_t j = 0;
            if (columns.step == sizeof(double))
                j = pack_squares<T, double>(columns.row, factors, n, into, &of_squares);
            for (; j < n; j++)
                for (int l = 0; l < PANEL; l++) {
                    const double x =
                        factors[l] * number_at<double>(columns.row[l] + j * columns.step);
                    // No branch on a number that is still on its way from memory.
                    const double size = __builtin_fabs(x);
                    into[j * PANEL + l] = (T)x;
                    of_rows[l] = size > of_rows[l] ? size : of_rows[l];
                }
        }
        if (count < PANEL || n_columns < to.n_params) complete_panel(to, factors, count, panel);
    }
    double largest = to.n_params > n_columns ? to.scale : 0;
    for (int l = 0; l < PANEL; l++) largest = of_rows[l] > largest ? of_rows[l] : largest;
    return (T)largest_of(of_squares, largest);
}

// Where columns, not rows, are in one piece, X is read in its own order. Each row is first put in
// one piece where its panel will be, as the kernels will have it; then each panel is turned.

// Where the panels have a row, in one piece; null if they have it not.
template <class T> inline T *place_of(const Packing &to, ptrdiff_t row) {
    const ptrdiff_t position = to.positions ? to.positions[row] : to.wide_positions[row];
    return position < 0 ? nullptr : (T *)to.panels + position * to.n_params;
}

// Asks for the lines that some rows will be written to.
template <class T>
__attribute__((always_inline)) inline void ask_for_places(const Packing &to, ptrdiff_t row) {
    const ptrdiff_t bytes = to.n_params * (ptrdiff_t)sizeof(T);
    for (int l = 0; l < PANEL; l++) {
        const char *at = (const char *)place_of<T>(to, row + l);
        for (ptrdiff_t b = 0; at && b < bytes && b < BYTES_AHEAD; b += LINE)
            __builtin_prefetch(at + b, 1, SECOND_LEVEL);
    }
}

// Rows [first, last) of a source whose columns are in one piece; returns as pack_rows. Squares of
// entries are turned as in pack_squares.
template <class T> double spread_rows(const Packing *packing, ptrdiff_t first, ptrdiff_t last) {
    const Packing &to = *packing;
    const Source &from = to.source;
    constexpr int W = lanes_of<square_vector>;
    const ReadEntries read = reader_of(from.type);
    const bool is_copied = from.type == FLOAT64 && from.row_step == sizeof(double);
    square_vector largest = {};
    for (ptrdiff_t row = first; row < last; row += PANEL) {
        const int count = last - row < PANEL ? (int)(last - row) : PANEL;
        if (last - row >= (PANELS_AHEAD + 1) * PANEL)
            ask_for_places<T>(to, row + PANELS_AHEAD * PANEL);
        T *into[PANEL] = {};
        double factors[PANEL] = {};
        for (int l = 0; l < count; l++) {
            into[l] = place_of<T>(to, row + l);
            const bool is_negative = to.negative && to.negative[row + l] == 1;
            if (into[l]) factors[l] = to.scale * (1 - 2 * is_negative);
        }
        double entries[W][PANEL] = {};
        for (ptrdiff_t j = 0; j < to.n_params; j += W) {
            const int n_columns = to.n_params - j < W ? (int)(to.n_params - j) : W;
            for (int i = 0; i < W; i++) {
                const char *column = row_of(from, row) + (j + i) * from.column_step;
                if (j + i >= from.n_columns)
                    for (double &entry : entries[i]) entry = i < n_columns;
                else if (is_copied && count == PANEL)
                    __builtin_memcpy(entries[i], column, sizeof entries[i]);
                else
                    read(column, from.row_step, count, entries[i]);
            }
            for (int l = 0; l < PANEL; l += W) {
                square_vector square[W];
                for (int i = 0; i < W; i++) {
                    square[i] =
                        load<square_vector>(entries[i] + l) * load<square_vector>(factors + l);
                    largest = max(largest, max(square[i], -square[i]));
                }
                transpose(square);
                for (int i = 0; i < W; i++) {
                    const auto part = __builtin_convertvector(square[i], vector<T, W * sizeof(T)>);
                    if (!into[l + i]) continue;
                    if (n_columns == W)
                        __builtin_memcpy(into[l + i] + j, &part, sizeof part);
                    else
                        for (int k = 0; k < n_columns; k++) into[l + i][j + k] = part[k];
                }
            }
        }
    }
    return (T)largest_of(largest, 0);
}

// Panels of rows that are in one piece each. scratch holds a panel.
template <class T>
void turn_panels(const Packing *to, ptrdiff_t first_panel, ptrdiff_t last_panel, void *scratch) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n = to->n_params;
    T *rows = (T *)scratch;
    for (ptrdiff_t p = first_panel; p < last_panel; p++) {
        T *panel = (T *)to->panels + p * n * PANEL;
        __builtin_memcpy(rows, panel, (size_t)n * PANEL * sizeof(T));
        ptrdiff_t j = 0;
        for (; j + W <= n; j += W)
            for (int l = 0; l < PANEL; l += W) {
                V square[W];
                for (int i = 0; i < W; i++) square[i] = load<V>(rows + (l + i) * n + j);
                transpose(square);
                for (int i = 0; i < W; i++) store(panel + (j + i) * PANEL + l, square[i]);
            }
        for (; j < n; j++)
            for (int l = 0; l < PANEL; l++) panel[j * PANEL + l] = rows[l * n + j];
    }
}

}  // namespace metaopt::MF_ISA
