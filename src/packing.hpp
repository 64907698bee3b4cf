// Rows in the order in which the kernels read them.
#pragma once

#include "norms.hpp"

namespace metaopt::MF_ISA {

// Rows that are sorted lie anywhere in memory: those of the panel after the next one are asked for
// in time, the first lines of each, which the processor's own guesses then continue. Into the
// second-level cache: it waits for more lines at once than the first one, which took half as long
// again for a million rows of 160 bytes.
constexpr ptrdiff_t PANELS_AHEAD = 2, BYTES_AHEAD = 512, LINE = 64;

// Always inline: gcc takes a function that only asks for memory for one without effects, and leaves
// its calls out.
__attribute__((always_inline)) inline void ask_for(const Packing &to, const ptrdiff_t *rows,
                                                   ptrdiff_t first, ptrdiff_t bytes) {
    for (int l = 0; l < PANEL; l++) {
        if (rows[l] < 0) return;
        const char *at = row_of(to.source, rows[l]) + first;
        for (ptrdiff_t b = 0; b < bytes; b += LINE) __builtin_prefetch(at + b, 0, SECOND_LEVEL);
        // Rows seldom begin where a line does: the last one is another.
        __builtin_prefetch(at + bytes - 1, 0, SECOND_LEVEL);
        // Labels lie as far apart: a million rows of 160 bytes take 0.91 of the time.
        if (to.negative) __builtin_prefetch(to.negative + rows[l], 0, SECOND_LEVEL);
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
