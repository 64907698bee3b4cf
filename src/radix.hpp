// A stable sort of rows by keys of 64 bits, cut into parts for threads.
//
// Rows are first sorted by the 32 leading bits in which keys differ, a digit at a time from the
// last one on; runs of rows that agree in all of them, few as a rule, are then sorted by the bits
// that are left. So the order is that of whole keys, and rows of one key stay as they were. Records
// have 8 bytes: of a million rows, both copies stay in a third-level cache. Bound by scattered
// stores.
//
// Steps, each for every part before the next one begins: find_key_range; choose_bits, once;
// number_rows; count_digits, find_places (once) and scatter for each digit; cut_at_runs, once;
// sort_runs.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace metaopt {

constexpr int RECORD_BITS = 32;
// Digits of a byte and, of so many rows that it pays to look through more counts, of 11 bits, three
// in place of four: 40,000 rows take 0.33 ms in place of 0.40.
constexpr int BYTE_BITS = 8, BYTES = 1 << BYTE_BITS, LONG_BITS = 11, DIGITS = 1 << LONG_BITS;
constexpr ptrdiff_t MANY_ROWS = 32768;
// Up to so many rows, an insertion sort is faster.
constexpr ptrdiff_t FEW_ROWS = 32;

struct Numbered {
    uint32_t key, row;
};
constexpr ptrdiff_t LINE_RECORDS = 64 / sizeof(Numbered);

struct Sort {
    const uint64_t *keys;  // of each row by its number
    uint64_t flip;         // 0, or all bits for a descending order
    ptrdiff_t *rows;       // the rows' numbers, below 2^32, as they are and then sorted
    bool in_order;         // whether they are 0 .. count - 1 at first, and are not read
    ptrdiff_t count;
    Numbered *from, *to;  // `count` each
    int n_parts;
    ptrdiff_t *places;  // [part][DIGITS], and one more
    // What is found: the least key, and the bits that records leave out; how many bits they have,
    // and digits; and the first bit of the digit at work.
    uint64_t least;
    int shift, n_bits, digit_bits, bit;
};

inline ptrdiff_t start_of(const Sort *sort, ptrdiff_t part) {
    return sort->count / sort->n_parts * part +
           (part < sort->count % sort->n_parts ? part : sort->count % sort->n_parts);
}

inline uint64_t key_of(const Sort *sort, ptrdiff_t row) { return sort->keys[row] ^ sort->flip; }

inline ptrdiff_t row_at(const Sort *sort, ptrdiff_t i) {
    return sort->in_order ? i : sort->rows[i];
}

inline void find_key_range(const Sort *sort, ptrdiff_t part, int) {
    uint64_t least = ~(uint64_t)0, largest = 0;
    for (ptrdiff_t i = start_of(sort, part), end = start_of(sort, part + 1); i < end; i++) {
        const uint64_t key = key_of(sort, row_at(sort, i));
        least = key < least ? key : least;
        largest = key > largest ? key : largest;
    }
    sort->places[part * DIGITS] = (ptrdiff_t)least;
    sort->places[part * DIGITS + 1] = (ptrdiff_t)largest;
}

inline int bits_of(uint64_t number) { return number ? 64 - __builtin_clzll(number) : 0; }

inline void choose_bits(Sort *sort) {
    uint64_t least = ~(uint64_t)0, largest = 0;
    for (int part = 0; part < sort->n_parts; part++) {
        const uint64_t low = (uint64_t)sort->places[part * DIGITS];
        const uint64_t high = (uint64_t)sort->places[part * DIGITS + 1];
        least = low < least ? low : least;
        largest = high > largest ? high : largest;
    }
    const int differing = bits_of(largest - least);
    sort->least = least;
    sort->shift = differing > RECORD_BITS ? differing - RECORD_BITS : 0;
    sort->n_bits = differing - sort->shift;
    sort->digit_bits = sort->count < MANY_ROWS ? BYTE_BITS : LONG_BITS;
}

inline void number_rows(const Sort *sort, ptrdiff_t part, int) {
    for (ptrdiff_t i = start_of(sort, part), end = start_of(sort, part + 1); i < end; i++) {
        const ptrdiff_t row = row_at(sort, i);
        const uint64_t key = (key_of(sort, row) - sort->least) >> sort->shift;
        sort->from[i] = {(uint32_t)key, (uint32_t)row};
    }
}

inline int n_digits(const Sort *sort) { return 1 << sort->digit_bits; }

// The digit at work of a record.
inline uint32_t digit_of(const Sort *sort, Numbered record) {
    return record.key >> sort->bit & (uint32_t)(n_digits(sort) - 1);
}

inline void count_digits(const Sort *sort, ptrdiff_t part, int) {
    ptrdiff_t *const counts = sort->places + part * DIGITS;
    for (int digit = 0; digit < n_digits(sort); digit++) counts[digit] = 0;
    for (ptrdiff_t i = start_of(sort, part), end = start_of(sort, part + 1); i < end; i++)
        counts[digit_of(sort, sort->from[i])]++;
}

// Where the rows of each digit and part go: digit by digit, part by part. False where all rows have
// one digit, and stay.
inline bool find_places(Sort *sort) {
    ptrdiff_t place = 0;
    for (int digit = 0; digit < n_digits(sort); digit++) {
        const ptrdiff_t first = place;
        for (int part = 0; part < sort->n_parts; part++) {
            const ptrdiff_t count = sort->places[part * DIGITS + digit];
            sort->places[part * DIGITS + digit] = place;
            place += count;
        }
        if (place - first == sort->count) return false;
    }
    return true;
}

inline void scatter(const Sort *sort, ptrdiff_t part, int) {
    ptrdiff_t *const places = sort->places + part * DIGITS;
    for (ptrdiff_t i = start_of(sort, part), end = start_of(sort, part + 1); i < end; i++) {
        Numbered *const at = sort->to + places[digit_of(sort, sort->from[i])]++;
        *at = sort->from[i];
        // The digit's next line, which its next rows would wait for: a million rows take about 0.8
        // of the time.
        __builtin_prefetch(at + LINE_RECORDS, 1);
    }
}

inline void exchange(Sort *sort) {
    Numbered *const sorted = sort->to;
    sort->to = sort->from;
    sort->from = sorted;
}

// Gives each part whole runs of rows that agree: `places` has the first row of each.
inline void cut_at_runs(Sort *sort) {
    ptrdiff_t first = 0;
    for (int part = 0; part <= sort->n_parts; part++) {
        if (start_of(sort, part) > first) first = start_of(sort, part);
        while (first > 0 && first < sort->count &&
               sort->from[first].key == sort->from[first - 1].key)
            first++;
        sort->places[part] = first;
    }
}

// Sorts a run of records by all of their keys' bits; returns where they are: `rows` or `spare`.
inline Numbered *sort_by_digits(Numbered *rows, Numbered *spare, ptrdiff_t count, int n_bits) {
    for (int bit = 0; bit < n_bits; bit += BYTE_BITS) {
        ptrdiff_t places[BYTES + 1] = {};
        for (ptrdiff_t i = 0; i < count; i++) places[(rows[i].key >> bit & (BYTES - 1)) + 1]++;
        for (int byte = 1; byte < BYTES; byte++) places[byte] += places[byte - 1];
        for (ptrdiff_t i = 0; i < count; i++)
            spare[places[rows[i].key >> bit & (BYTES - 1)]++] = rows[i];
        Numbered *const sorted = spare;
        spare = rows;
        rows = sorted;
    }
    return rows;
}

// Sorts a few rows, or rows that are nearly in order, stably. A template: a type of an instruction
// set has a function of its own.
template <class Row> void sort_by_insertion(Row *rows, ptrdiff_t count) {
    for (ptrdiff_t i = 1; i < count; i++) {
        const Row row = rows[i];
        ptrdiff_t place = i;
        for (; place > 0 && rows[place - 1].key > row.key; place--) rows[place] = rows[place - 1];
        rows[place] = row;
    }
}

// Sorts one run of rows that agree so far by the bits that are left.
inline const Numbered *sort_run(const Sort *sort, ptrdiff_t first, ptrdiff_t count) {
    Numbered *const rows = sort->from + first;
    bool sorted = true;
    for (ptrdiff_t i = 0; i < count; i++) {
        const uint64_t rest = key_of(sort, rows[i].row) - sort->least;
        rows[i].key = (uint32_t)(rest & (((uint64_t)1 << sort->shift) - 1));
        sorted = sorted && (i == 0 || rows[i - 1].key <= rows[i].key);
    }
    if (sorted) return rows;
    if (count > FEW_ROWS) return sort_by_digits(rows, sort->to + first, count, sort->shift);
    sort_by_insertion(rows, count);
    return rows;
}

// Sorts the runs of a part, and writes its rows' numbers in their order.
inline void sort_runs(const Sort *sort, ptrdiff_t part, int) {
    const ptrdiff_t end = sort->places[part + 1];
    for (ptrdiff_t first = sort->places[part], next; first < end; first = next) {
        next = first + 1;
        while (next < end && sort->from[next].key == sort->from[first].key) next++;
        const Numbered *sorted = sort->from + first;
        if (next - first > 1 && sort->shift > 0) sorted = sort_run(sort, first, next - first);
        for (ptrdiff_t i = first; i < next; i++) sort->rows[i] = sorted[i - first].row;
    }
}

}  // namespace metaopt
