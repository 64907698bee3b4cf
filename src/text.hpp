// Rows of a text file as numbers, where they are plain. A row that is not is left where it is:
// Python reads it, and says what is wrong with it.
#pragma once

#include <cstdint>
#include <cstring>

namespace metaopt {

// A text that a field has had, and the number that it is; `field` is 1 more than the field's, 0
// where there is none.
struct KnownText {
    double number;
    int64_t begin;
    int32_t size, field;
};

// Texts take so many bytes at least, so that half of the table stays free.
enum { KNOWN_BITS = 15, LEAST_BYTES = 16 };

// `kinds` has twice the slot of each field's number, and 1 more where the field is a number; others
// are looked up. Below 0, the field has no slot. `known` is the table, with the texts' bytes
// behind.
struct TextRows {
    const int *kinds;
    const uint64_t *powers;
    KnownText *known;
    Py_ssize_t n_fields, n_slots;
    int separator, decimal;
};

// Powers of ten from FIRST_POWER on: the leading 128 bits of each, the high half first.
enum { FIRST_POWER = -342, LAST_POWER = 308 };
// More digits may not fit into 64 bits; and no field is longer than Python's csv allows.
enum { MOST_DIGITS = 19, LONGEST_FIELD = 131072 };

inline bool is_digit(unsigned char c) { return (unsigned char)(c - '0') < 10; }

// digits * 10^power rounded to the nearest double, ties to even, as its bits; 0 where 128 bits of
// the power do not tell, and where the double is subnormal or infinite. See D. Lemire, "Number
// parsing at a gigabyte per second", Software: Practice and Experience 51 (2021), algorithm 1.
inline uint64_t double_bits(uint64_t digits, Py_ssize_t power, const uint64_t *powers) {
    if (power < FIRST_POWER || power > LAST_POWER) return 0;
    const uint64_t *leading = powers + 2 * (power - FIRST_POWER);
    const int shift = __builtin_clzll(digits);
    const unsigned __int128 wide = (unsigned __int128)(digits << shift) * leading[0];
    uint64_t high = (uint64_t)(wide >> 64), low = (uint64_t)wide;
    if ((high & 0x1FF) == 0x1FF) {  // the other half of the power may carry into it
        const uint64_t more = (uint64_t)(((unsigned __int128)(digits << shift) * leading[1]) >> 64);
        low += more;
        high += low < more;
        if (low == ~(uint64_t)0) return 0;
    }
    const int upper = (int)(high >> 63);
    uint64_t mantissa = high >> (upper + 9);
    // floor(log2(10^power)) + 63 is exact in this range.
    Py_ssize_t exponent = ((217706 * power) >> 16) + 63 + upper - shift + 1023;
    if (exponent <= 0) return 0;
    // Halfway between two doubles, where digits * 10^power has few enough bits for that: to the
    // even one.
    if (low <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1 &&
        mantissa << (upper + 9) == high)
        mantissa &= ~(uint64_t)1;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53) {
        mantissa >>= 1;
        exponent++;
    }
    return exponent < 2047 ? (mantissa & ~((uint64_t)1 << 52)) | (uint64_t)exponent << 52 : 0;
}

// The end of the number at p, which is what Python's float() makes of the text; null where that is
// to be asked.
inline const unsigned char *read_number(const TextRows *rows, const unsigned char *p,
                                        double *number) {
    const unsigned char *q = p;
    const bool negative = *q == '-';
    q += negative || *q == '+';
    const unsigned char *first = q;
    uint64_t digits = 0;
    for (; is_digit(*q); q++) digits = 10 * digits + (*q - '0');
    Py_ssize_t count = q - first, power = 0;
    if (*q == rows->decimal) {
        const unsigned char *point = ++q;
        for (; is_digit(*q); q++) digits = 10 * digits + (*q - '0');
        power = point - q;
        count -= power;
    }
    if (count == 0 || q - p > LONGEST_FIELD) return nullptr;
    if (count > MOST_DIGITS) {
        for (; *first == '0' || *first == rows->decimal; first++) count -= *first == '0';
        if (count > MOST_DIGITS) return nullptr;
    }
    if ((*q | 32) == 'e') {
        q++;
        const bool is_small = *q == '-';
        q += is_small || *q == '+';
        const unsigned char *begin = q;
        Py_ssize_t exponent = 0;
        for (; is_digit(*q) && q - begin < 6; q++) exponent = 10 * exponent + (*q - '0');
        if (q == begin) return nullptr;
        power += is_small ? -exponent : exponent;
    }
    uint64_t bits = 0;
    if (digits != 0 && (bits = double_bits(digits, power, rows->powers)) == 0) return nullptr;
    bits |= (uint64_t)negative << 63;
    memcpy(number, &bits, 8);
    return q;
}

// Where a text of a field is known, or would be: the table is never full.
inline KnownText *place_of(const TextRows *rows, int field, const unsigned char *text,
                           Py_ssize_t size) {
    const unsigned char *texts = (const unsigned char *)(rows->known + (1 << KNOWN_BITS));
    uint64_t hash = (uint64_t)field;
    for (Py_ssize_t i = 0; i < size; i++) hash = (hash ^ text[i]) * 0x100000001B3;
    uint32_t at = (uint32_t)((hash * 0x9E3779B97F4A7C15) >> (64 - KNOWN_BITS));
    for (;; at = (at + 1) % (1 << KNOWN_BITS)) {
        KnownText *known = rows->known + at;
        if (known->field == 0) return known;
        if (known->field == field + 1 && known->size == size &&
            memcmp(texts + known->begin, text, size) == 0)
            return known;
    }
}

// The end of the field at p, whose number goes to its slot of `row`; null where it is not plain.
inline const unsigned char *read_field(const TextRows *rows, Py_ssize_t field,
                                       const unsigned char *p, double *row) {
    const bool quoted = *p == '"';
    p += quoted;
    const int kind = rows->kinds[field], slot = kind >> 1, separator = rows->separator;
    const unsigned char *q = p;
    if (kind >= 0 && kind % 2) {
        while (*q == ' ') q++;
        q = read_number(rows, q, row + slot);
        while (q != nullptr && *q == ' ') q++;
        if (q != nullptr && quoted) q = *q == '"' ? q + 1 : nullptr;
        if (q != nullptr && (*q == separator || *q == '\n' || *q == '\r')) return q;
        q = p;
    }
    unsigned char any = 0;
    for (; *q != '\n' && *q != '\r' && *q != '"' && *q != 0 && (quoted || *q != separator); q++)
        any |= *q;
    const Py_ssize_t size = q - p;
    if (size > LONGEST_FIELD || *q == 0 || (*q == '"') != quoted) return nullptr;
    q += quoted;
    if (slot < 0) return any < 128 ? q : nullptr;  // whether it is UTF-8 is Python's to say
    const KnownText *known = place_of(rows, (int)field, p, size);
    if (known->field == 0) return nullptr;
    row[slot] = known->number;
    return q;
}

// Reads rows at *p, `most` at most, up to one that is not plain; what is before `end` ends with a
// line. Blank lines are none. *p is moved behind them; returns how many rows these are.
inline Py_ssize_t read_rows(const TextRows *rows, const unsigned char **p, const unsigned char *end,
                            Py_ssize_t most, double *numbers, Py_ssize_t *n_lines) {
    Py_ssize_t count = 0;
    while (*p < end && count < most) {
        const unsigned char *q = *p;
        bool is_blank = true;
        if (*q != '\n' && !(*q == '\r' && q[1] == '\n')) {
            is_blank = false;
            for (Py_ssize_t field = 0; field < rows->n_fields; field++) {
                q = read_field(rows, field, q, numbers + count * rows->n_slots);
                if (q == nullptr) return count;
                if (field + 1 < rows->n_fields && *q++ != rows->separator) return count;
            }
        }
        q += *q == '\r';
        if (*q++ != '\n') return count;
        count += !is_blank;
        ++*n_lines;
        *p = q;
    }
    return count;
}

}  // namespace metaopt
