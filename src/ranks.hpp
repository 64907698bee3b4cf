// Exact areas under the ROC curves of a tile of candidates, from the order of their decisions.
//
// Rows are stored as for histogram.hpp. Decisions of a tile are written candidate by candidate, and
// those of each are put into buckets of equal width, about two for a row. Without weights, pairs
// are counted and nothing is sorted: for a row of one class, those of the other class that are
// below it are all that lie in lower buckets, and of its own bucket those that compare so. Sums are
// whole numbers, of which any order has the same bits. With weights, rows are sorted by bucket and,
// within it, by insertion; equal decisions stay in the order of the rows, so that sums have the
// same bits. Where buckets hold too many decisions, rows are sorted by their bytes, whose eight
// passes take any distribution. Bound by scattered loads and stores, two or three for a decision.
#pragma once

#include "histogram.hpp"
#include "radix.hpp"

namespace metaopt::MF_ISA {

// Buckets for each row; and decisions of a bucket that are compared one by one at most, if they are
// not all equal.
constexpr ptrdiff_t BUCKETS = 2, MOST_COMPARED = 64;
// A bucket of more is looked at: it may hold one decision, many times.
constexpr uint32_t LONG_BUCKET = 8;
// Numbers behind a column of decisions that may be read and written.
constexpr ptrdiff_t BEHIND = 8;
// Rows, so that buckets have numbers of 32 bits; and pairs, so that twice as many are exact.
constexpr ptrdiff_t MOST_RANKED = (ptrdiff_t)1 << 29;
constexpr double MOST_PAIRS = 0x1p52;

// A decision, and the weight of its row: negative, or -0.0, where the row is of the negative class.
struct Ranked {
    double key, weight;
};

// A decision as an integer of the same order.
inline unsigned long long order_of(const Ranked &row) {
    constexpr unsigned long long sign = 1ULL << 63;
    const double decision = row.key + 0.0;  // -0.0 ties with 0.0
    unsigned long long bits;
    __builtin_memcpy(&bits, &decision, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

// A sum that keeps what rounding loses, so that it is exact but for an ulp.
struct ExactSum {
    CarefulSum sum = {};

    void add(double x) { add_exactly(sum, x); }

    double value() const { return sum.high + sum.low; }
};

// Writes the decisions of a class's rows for each of `count` candidates; returns how many rows
// there are. `lanes`: of the thetas, 1 for a single one.
template <class T>
ptrdiff_t write_decisions(const Rows *rows, ptrdiff_t n_blocks, const T *thetas, ptrdiff_t lanes,
                          ptrdiff_t count, double sign, double *columns, ptrdiff_t stride) {
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    const bool is_single = lanes == 1;
    const bool is_wide = is_single ? thetas[n_params] != 0 : may_overflow(thetas, n_params);
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    ptrdiff_t done = 0;
    for (ptrdiff_t b = 0; b < n_blocks; done += rows->rows[b++]) {
        const T *x = panels_of<T>(rows, b);
        const int n_rows = rows->rows[b];
        if (is_single)
            for (int row = 0; row < n_rows; row += PANEL, x += panel_size) {
                row_margins(x, n_params, thetas, panel_size, z + row);
                if (is_wide) recompute_row_margins(x, n_params, thetas, z + row);
            }
        else
            block_margins(x, n_rows, n_params, thetas, is_wide, z);
        for (ptrdiff_t l = 0; l < count; l++)
            for (int row = 0; row < n_rows; row++)
                columns[l * stride + done + row] = sign * (double)z[row * lanes + l];
    }
    return done;
}

// Writes the signed weights of a class's rows; returns the place behind them.
template <class T>
__attribute__((cold)) double *write_weights(const Rows *rows, ptrdiff_t n_blocks, double sign,
                                            double *to) {
    for (ptrdiff_t b = 0; b < n_blocks; b++) {
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        for (int row = 0; row < rows->rows[b]; row++)
            *to++ = sign * (weights ? rows->weights[b] * weights[row] : rows->weights[b]);
    }
    return to;
}

// Buckets of equal width over a range, BUCKETS for each of `n_rows` and one more.
struct Buckets {
    double low, scale;
    ptrdiff_t count;

    Buckets(double low, double width, ptrdiff_t n_rows)
        : low(low), scale((double)(BUCKETS * n_rows) / width), count(BUCKETS * n_rows + 1) {}

    // A rounded product of a rounded difference never falls as decisions rise.
    ptrdiff_t operator()(double decision) const { return (int)((decision - low) * scale); }

    // Makes places[b] and places[b + 1] the begin and the end of bucket b among `n` decisions once
    // all have been placed; until then, places[b + 1] is the begin. Returns the most of a bucket.
    uint32_t find_places(const double *decisions, ptrdiff_t n, uint32_t *places) const {
        uint32_t most = 0;
        for (ptrdiff_t b = 0; b < count + 2; b++) places[b] = 0;
        for (ptrdiff_t i = 0; i < n; i++) places[(*this)(decisions[i]) + 2]++;
        for (ptrdiff_t b = 2; b < count + 2; b++) {
            most = places[b] > most ? places[b] : most;
            places[b] += places[b - 1];
        }
        return most;
    }
};

// Looks through the long buckets of placed decisions: false where one holds so many, of different
// value, that they take too long to compare. Else its first and its last decision differ.
__attribute__((noinline)) inline bool tell_ties(double *placed, const uint32_t *places,
                                                ptrdiff_t n_buckets) {
    for (ptrdiff_t b = 0; b < n_buckets; b++) {
        const uint32_t first = places[b], last = places[b + 1] - 1;
        if (places[b + 1] - first <= LONG_BUCKET) continue;
        for (uint32_t i = first + 1; i <= last; i++) {
            const double decision = placed[i];
            if (decision == placed[first]) continue;
            if (last - first >= MOST_COMPARED) return false;
            placed[i] = placed[last], placed[last] = decision;
            break;
        }
    }
    return true;
}

// Twice the pairs of one of a few decisions that is below one of many, and once those that tie; -1
// where buckets are too full. `memory`: of n_few decisions and BEHIND, and places.
inline int64_t twice_below(const double *few, ptrdiff_t n_few, const double *many, ptrdiff_t n_many,
                           const Buckets &bucket_of, double *memory) {
    using V = square_vector;
    constexpr int W = lanes_of<V>;
    double *const placed = memory;
    uint32_t *const places = (uint32_t *)(memory + n_few + BEHIND);
    const uint32_t most = bucket_of.find_places(few, n_few, places);
    for (ptrdiff_t i = 0; i < n_few; i++) placed[places[bucket_of(few[i]) + 1]++] = few[i];
    for (ptrdiff_t i = 0; i < BEHIND; i++) placed[n_few + i] = __builtin_inf();
    if (most > LONG_BUCKET && !tell_ties(placed, places, bucket_of.count)) return -1;
    decltype(V{} < V{}) less = {}, not_more = {};  // negated
    int64_t below = 0;
    for (ptrdiff_t i = 0; i < n_many; i++) {
        const V z = splat<V>(many[i]);
        const ptrdiff_t bucket = bucket_of(many[i]), end = places[bucket + 1];
        ptrdiff_t at = places[bucket];
        below += 2 * at;
        // What follows a bucket is above the decision.
        V other = load<V>(placed + at);
        less += other < z, not_more += other <= z;
        if (end - at <= W) continue;
        if (end - at > LONG_BUCKET && placed[at] == placed[end - 1]) {
            below += (end - at - W) * ((placed[at] < many[i]) + (placed[at] <= many[i]));
            continue;
        }
        for (at += W; at < end; at += W) {
            other = load<V>(placed + at);
            less += other < z, not_more += other <= z;
        }
    }
    for (int l = 0; l < W; l++) below -= less[l] + not_more[l];
    return below;
}

// Sorts stably by the bytes of the keys; returns where the sorted rows are: `rows` or `spare`.
// Cold: it is rare, and compiled for size.
__attribute__((cold)) inline Ranked *sort_by_bytes(Ranked *rows, Ranked *spare, ptrdiff_t count) {
    for (int bit = 0; bit < 64; bit += BYTE_BITS) {
        ptrdiff_t places[BYTES + 1] = {};
        const auto byte_of = [=](const Ranked &row) { return order_of(row) >> bit & (BYTES - 1); };
        for (ptrdiff_t i = 0; i < count; i++) places[byte_of(rows[i]) + 1]++;
        if (places[byte_of(rows[0]) + 1] == count) continue;
        for (int byte = 1; byte < BYTES; byte++) places[byte] += places[byte - 1];
        for (ptrdiff_t i = 0; i < count; i++) spare[places[byte_of(rows[i])]++] = rows[i];
        Ranked *const sorted = spare;
        spare = rows;
        rows = sorted;
    }
    return rows;
}

// Sorts rows that are nearly in order, stably; false after so many moves that bytes are faster.
inline bool sort_by_moves(Ranked *rows, ptrdiff_t count) {
    ptrdiff_t left = 8 * count;
    for (ptrdiff_t i = 1; i < count; i++) {
        const Ranked row = rows[i];
        ptrdiff_t place = i;
        for (; place > 0 && rows[place - 1].key > row.key; place--) rows[place] = rows[place - 1];
        rows[place] = row;
        left -= i - place;
        if (left < 0) return false;
    }
    return true;
}

// The area of sorted rows. Of each class, something is added whatever the row's own: 0 leaves a sum
// as it is, and no branch has to be guessed.
inline double area_of(const Ranked *row, const Ranked *end) {
    ExactSum below, area, total;
    while (row < end) {
        double above = row->weight > 0 ? row->weight : 0, tied = row->weight < 0 ? -row->weight : 0;
        const Ranked *next = row + 1;
        double half = 0;
        if (next < end && next->key == row->key) {
            ExactSum positive, negative;
            bool has_positive = false;
            for (next = row; next < end && next->key == row->key; next++) {
                const double weight = next->weight;
                has_positive |= !__builtin_signbit(weight);
                positive.add(weight > 0 ? weight : 0);
                negative.add(weight < 0 ? -weight : 0);
            }
            if (!has_positive) {
                for (; row < next; row++) below.add(-row->weight);
                continue;
            }
            above = positive.value(), tied = negative.value(), half = tied / 2;
        }
        area.add(above * (below.value() + half));
        below.add(tied);
        total.add(above);
        row = next;
    }
    return area.value() / (below.value() * total.value());
}

// Sorts the rows of decisions and weights, stably; returns where they are in `scratch`.
inline const Ranked *sort_rows(const double *decisions, const double *weights, ptrdiff_t n_rows,
                               const Buckets &bucket_of, bool are_possible, double *scratch) {
    Ranked *const rows = (Ranked *)scratch, *const spare = rows + n_rows;
    if (are_possible) {
        uint32_t *const places = (uint32_t *)spare;
        bucket_of.find_places(decisions, n_rows, places);
        for (ptrdiff_t i = 0; i < n_rows; i++)
            rows[places[bucket_of(decisions[i]) + 1]++] = {decisions[i], weights[i]};
        if (sort_by_moves(rows, n_rows)) return rows;
    }
    for (ptrdiff_t i = 0; i < n_rows; i++) rows[i] = {decisions[i], weights[i]};
    return sort_by_bytes(rows, spare, n_rows);
}

// The area of decisions: of `n` negative rows, `p` positive ones and BEHIND numbers more. noinline:
// once for both precisions.
__attribute__((noinline)) inline double rank_rows(double *decisions, ptrdiff_t n, ptrdiff_t p,
                                                  const double *weights, bool is_weighted,
                                                  double *scratch) {
    const ptrdiff_t n_rows = n + p;
    for (ptrdiff_t i = 0; i < BEHIND; i++) decisions[n_rows + i] = decisions[0];
    f64v smallest = splat<f64v>(-__builtin_inf()), largest = smallest;  // smallest: negated
    for (ptrdiff_t i = 0; i < n_rows; i += lanes_of<f64v>) {
        const f64v z = load<f64v>(decisions + i);
        smallest = max(-z, smallest);
        largest = max(z, largest);
    }
    double low = -smallest[0], high = largest[0];
    for (int l = 1; l < lanes_of<f64v>; l++) {
        low = -smallest[l] < low ? -smallest[l] : low;
        high = largest[l] > high ? largest[l] : high;
    }
    const Buckets of_all(low, high - low, n_rows);
    const bool are_possible =
        of_all.scale > 0 && of_all.scale <= __DBL_MAX__ && n_rows <= MOST_RANKED;
    const double pairs = (double)n * (double)p;
    if (!is_weighted && are_possible && pairs <= MOST_PAIRS) {
        const bool is_few = n <= p;
        const double *few = decisions + (is_few ? 0 : n), *many = decisions + (is_few ? n : 0);
        const ptrdiff_t n_few = is_few ? n : p;
        const Buckets of_few(low, high - low, n_few);
        const int64_t twice = twice_below(few, n_few, many, n_rows - n_few, of_few, scratch);
        if (twice >= 0) return (is_few ? (double)twice / 2 : pairs - (double)twice / 2) / pairs;
    }
    const Ranked *sorted = sort_rows(decisions, weights, n_rows, of_all, are_possible, scratch);
    return area_of(sorted, sorted + n_rows);
}

// aucs[candidate]: the part of the pairs, each with the product of its weights, whose positive row
// has the larger decision; ties count half. `lanes`: of the thetas, 1 for a single one. `memory`
// holds `count` columns of a number for each row and BEHIND, and 6 numbers for each row and BEHIND.
template <class T>
void exact_aucs(const Rows *negative, ptrdiff_t negative_blocks, const Rows *positive,
                ptrdiff_t positive_blocks, const void *thetas, ptrdiff_t lanes, ptrdiff_t count,
                ptrdiff_t n_rows, double *aucs, void *memory) {
    const ptrdiff_t stride = n_rows + BEHIND;
    double *const columns = (double *)memory, *const weights = columns + count * stride;
    double *const scratch = weights + n_rows;
    const ptrdiff_t n = write_decisions<T>(negative, negative_blocks, (const T *)thetas, lanes,
                                           count, 1, columns, stride);
    write_decisions<T>(positive, positive_blocks, (const T *)thetas, lanes, count, -1, columns + n,
                       stride);
    write_weights<T>(positive, positive_blocks, 1,
                     write_weights<T>(negative, negative_blocks, -1, weights));
    bool is_weighted = false;
    for (ptrdiff_t i = 0; i < n_rows; i++) is_weighted |= __builtin_fabs(weights[i]) != 1;
    for (ptrdiff_t c = 0; c < count; c++)
        aucs[c] = rank_rows(columns + c * stride, n, n_rows - n, weights, is_weighted, scratch);
}

}  // namespace metaopt::MF_ISA
