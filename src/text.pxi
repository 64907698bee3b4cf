# Rows of text files as numbers, where they are plain. Needs nothing.

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from "text.hpp" namespace "metaopt" nogil:
    enum: KNOWN_BITS
    enum: LEAST_BYTES

    struct KnownText:
        double number
        int64_t begin
        int size, field

    struct TextRows:
        const int *kinds
        const uint64_t *powers
        KnownText *known
        Py_ssize_t n_fields, n_slots
        int separator, decimal

    KnownText *place_of(const TextRows *, int, const unsigned char *, Py_ssize_t) noexcept
    Py_ssize_t read_rows(const TextRows *, const unsigned char **, const unsigned char *,
                         Py_ssize_t, double *, Py_ssize_t *) noexcept

# Bytes of the table of texts that are known; the texts are behind it.
TABLE_OF_TEXTS = sizeof(KnownText) << KNOWN_BITS


def know_text(unsigned char[::1] known, Py_ssize_t used, int field, const unsigned char[::1] text,
              double number):
    """Take a field of this text for a number, from now on, where there is room behind the bytes
    that are used; return how many are used then."""
    cdef TextRows rows
    cdef Py_ssize_t size = text.shape[0], begin = sizeof(KnownText) << KNOWN_BITS
    rows.known = <KnownText *>&known[0]
    cdef KnownText *place = place_of(&rows, field, &text[0], size)
    cdef Py_ssize_t after = used + max(size, LEAST_BYTES)
    if place.field != 0 or begin + after > known.shape[0]:
        return used
    memcpy(&known[begin + used], &text[0], size)
    place.number, place.begin, place.size, place.field = number, used, size, field + 1
    return after


def read_plain_rows(const unsigned char[::1] block, Py_ssize_t start, Py_ssize_t stop,
                    int separator, int decimal, const int[::1] kinds, const uint64_t[::1] powers,
                    unsigned char[::1] known, double[:, ::1] numbers):
    """Read rows of a block from `start` on, until one is not plain; block[stop - 1] ends a line.

    `powers` has the leading 128 bits of 10^-342 to 10^308, the high half of each first. Returns how
    many rows there were, where they end, and how many lines these were.
    """
    cdef TextRows rows
    cdef const unsigned char *p = &block[start]
    cdef Py_ssize_t n_rows, n_lines = 0
    rows.kinds, rows.powers, rows.known = &kinds[0], &powers[0], <KnownText *>&known[0]
    rows.n_fields, rows.n_slots = kinds.shape[0], numbers.shape[1]
    rows.separator, rows.decimal = separator, decimal
    with nogil:
        n_rows = read_rows(&rows, &p, &block[0] + stop, numbers.shape[0], &numbers[0, 0], &n_lines)
    return n_rows, p - &block[0], n_lines
