// The exact area under the ROC curve of one candidate: its decisions sorted, class by class.
//
// Rows are stored as for histogram.hpp. They are sorted by buckets of equal width where these hold
// a few rows each, else by their bytes, whose eight passes take any distribution: bound by
// scattered stores. Equal decisions stay in the order of the rows either way, so that sums have the
// same bits.
#pragma once

#include "radix.hpp"
#include "single.hpp"

namespace metaopt::MF_ISA {

// A decision as an integer of the same order, and the weight of its row.
struct Ranked {
    unsigned long long key;
    double weight;
};

inline unsigned long long key_of(double decision) {
    constexpr unsigned long long sign = 1ULL << 63;
    unsigned long long bits;
    decision += 0.0;  // -0.0 ties with 0.0
    __builtin_memcpy(&bits, &decision, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

inline double decision_of(unsigned long long key) {
    constexpr unsigned long long sign = 1ULL << 63;
    const unsigned long long bits = key & sign ? key ^ sign : ~key;
    double decision;
    __builtin_memcpy(&decision, &bits, sizeof bits);
    return decision;
}

// A sum that keeps what rounding loses, so that it is exact but for an ulp.
struct ExactSum {
    CarefulSum sum = {};

    void add(double x) { add_exactly(sum, x); }

    double value() const { return sum.high + sum.low; }
};

// Decisions and weights of a class's rows, in the order in which they are stored.
template <class T>
ptrdiff_t rank_rows(const Rows *rows, ptrdiff_t n_blocks, const T *theta, double sign, Ranked *to) {
    const ptrdiff_t panel_size = rows->n_params * PANEL;
    alignas(64) T z[PANEL];
    ptrdiff_t count = 0;
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        for (int row = 0; row < rows->rows[b]; row++) {
            if (row % PANEL == 0) {
                const T *x =
                    (const T *)rows->panels + (rows->first_panel[b] + row / PANEL) * panel_size;
                row_margins(x, rows->n_params, theta, panel_size, z);
                if (theta[rows->n_params] != 0) recompute_row_margins(x, rows->n_params, theta, z);
            }
            to[count].key = key_of(sign * z[row % PANEL]);
            to[count++].weight = weights ? rows->weights[b] * weights[row] : rows->weights[b];
        }
    }
    return count;
}

// Sorts stably into `to`, by one pass over buckets of equal width and one over neighbours; false
// where so many decisions share a bucket that bytes are faster. `places`: count + 2 of them.
inline bool sort_by_bucket(const Ranked *rows, Ranked *to, ptrdiff_t *places, ptrdiff_t count) {
    unsigned long long least = rows[0].key, largest = least;
    for (ptrdiff_t i = 1; i < count; i++) {
        least = rows[i].key < least ? rows[i].key : least;
        largest = rows[i].key > largest ? rows[i].key : largest;
    }
    const double low = decision_of(least), width = decision_of(largest) - low;
    const double scale = (double)count / width;
    if (!(scale > 0 && scale <= __DBL_MAX__)) return false;
    // A rounded product of a rounded difference never falls as decisions rise.
    const auto bucket = [=](const Ranked &row) {
        const ptrdiff_t found = (ptrdiff_t)((decision_of(row.key) - low) * scale);
        return found < count ? found : count;
    };
    for (ptrdiff_t i = 0; i < count + 2; i++) places[i] = 0;
    for (ptrdiff_t i = 0; i < count; i++) places[bucket(rows[i]) + 1]++;
    double squares = 0;
    for (ptrdiff_t i = 1; i < count + 2; i++) {
        squares += (double)places[i] * (double)places[i];
        places[i] += places[i - 1];
    }
    if (squares > 16.0 * (double)count) return false;
    for (ptrdiff_t i = 0; i < count; i++) to[places[bucket(rows[i])]++] = rows[i];
    sort_by_insertion(to, count);
    return true;
}

// Sorts stably by the bytes of the keys; returns where the sorted rows are: `rows` or `spare`.
inline Ranked *sort_by_bytes(Ranked *rows, Ranked *spare, ptrdiff_t count) {
    constexpr int BYTES = sizeof(unsigned long long), VALUES = 256;
    ptrdiff_t places[BYTES][VALUES] = {};
    for (ptrdiff_t i = 0; i < count; i++)
        for (int byte = 0; byte < BYTES; byte++) places[byte][rows[i].key >> 8 * byte & 255]++;
    for (int byte = 0; byte < BYTES; byte++) {
        if (places[byte][rows[0].key >> 8 * byte & 255] == count) continue;
        ptrdiff_t place = 0;
        for (int value = 0; value < VALUES; value++) {
            const ptrdiff_t size = places[byte][value];
            places[byte][value] = place;
            place += size;
        }
        for (ptrdiff_t i = 0; i < count; i++)
            spare[places[byte][rows[i].key >> 8 * byte & 255]++] = rows[i];
        Ranked *const sorted = spare;
        spare = rows;
        rows = sorted;
    }
    return rows;
}

// Sorts stably by key, in whichever way is fast; returns where the sorted rows are.
inline Ranked *sort_by_key(Ranked *rows, Ranked *spare, ptrdiff_t *places, ptrdiff_t count) {
    if (count < 16) {
        sort_by_insertion(rows, count);
        return rows;
    }
    if (sort_by_bucket(rows, spare, places, count)) return spare;
    return sort_by_bytes(rows, spare, count);
}

// A sum of whole numbers, which is exact as it is.
struct WholeSum {
    double high = 0;

    void add(double x) { high += x; }

    double value() const { return high; }
};

// Adds up the weights of a run of equal keys; returns the place behind it.
template <class Sum>
const Ranked *end_of_ties(const Ranked *row, const Ranked *end, unsigned long long key,
                          double *weight) {
    Sum sum;
    for (; row < end && row->key == key; row++) sum.add(row->weight);
    *weight = sum.value();
    return row;
}

// The area of sorted rows: negative ones from `low` on, positive ones from `high` on.
template <class Sum>
double area_of(const Ranked *low, const Ranked *low_end, const Ranked *high,
               const Ranked *high_end) {
    Sum below, area, total;
    while (high < high_end) {
        const unsigned long long key = high->key;
        double tied, above;
        for (; low < low_end && low->key < key; low++) below.add(low->weight);
        low = end_of_ties<Sum>(low, low_end, key, &tied);
        high = end_of_ties<Sum>(high, high_end, key, &above);
        area.add(above * (below.value() + tied / 2));
        below.add(tied);
        total.add(above);
    }
    for (; low < low_end; low++) below.add(low->weight);
    return area.value() / (below.value() * total.value());
}

inline bool is_unweighted(const Rows *rows, ptrdiff_t n_blocks) {
    bool found = rows->row_weights == nullptr;
    for (ptrdiff_t b = 0; b < n_blocks; b++) found &= rows->weights[b] == 1;
    return found;
}

// The part of the pairs, each with the product of its weights, whose positive row has the larger
// decision; ties count half. `memory` holds twice as many rows as there are, and as many places and
// four more.
template <class T>
double exact_auc(const Rows *negative, ptrdiff_t negative_blocks, const Rows *positive,
                 ptrdiff_t positive_blocks, const void *theta, void *memory) {
    Ranked *rows = (Ranked *)memory;
    const ptrdiff_t n = rank_rows<T>(negative, negative_blocks, (const T *)theta, 1, rows);
    const ptrdiff_t p = rank_rows<T>(positive, positive_blocks, (const T *)theta, -1, rows + n);
    Ranked *const spare = rows + n + p;
    ptrdiff_t *const places = (ptrdiff_t *)(spare + n + p);
    const Ranked *low = sort_by_key(rows, spare, places, n);
    const Ranked *high = sort_by_key(rows + n, spare + n, places, p);
    const bool whole =
        is_unweighted(negative, negative_blocks) && is_unweighted(positive, positive_blocks);
    return (whole ? area_of<WholeSum> : area_of<ExactSum>)(low, low + n, high, high + p);
}

}  // namespace metaopt::MF_ISA
