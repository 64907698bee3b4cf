# Rows of a caller's array, put in order and written into panels. Needs table.pxi and plan.pxi.
#
# Threads share ranges of spans, as in evaluate.pxi: who writes a panel first decides in whose
# memory it lies.

from cpython.buffer cimport PyBUF_RECORDS_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "radix.hpp" namespace "metaopt" nogil:
    enum: DIGITS

    struct Numbered:
        uint32_t key
        uint32_t row

    struct Sort:
        const uint64_t *keys
        uint64_t flip
        Py_ssize_t *rows
        bint in_order
        Py_ssize_t count
        Numbered *source "from"
        Numbered *to
        int n_parts
        Py_ssize_t *places
        int n_bits
        int digit_bits
        int bit

    void find_key_range(const Sort *, Py_ssize_t, int) noexcept
    void choose_bits(Sort *) noexcept
    void number_rows(const Sort *, Py_ssize_t, int) noexcept
    void count_digits(const Sort *, Py_ssize_t, int) noexcept
    bint find_places(Sort *) noexcept
    void scatter(const Sort *, Py_ssize_t, int) noexcept
    void exchange(Sort *) noexcept
    void cut_at_runs(Sort *) noexcept
    void sort_runs(const Sort *, Py_ssize_t, int) noexcept

ctypedef void (*SortStep)(const Sort *, Py_ssize_t, int) noexcept nogil

ctypedef fused whole:
    int32_t
    int64_t

# Visits (of 0.05 ns) that a number takes in a norm and in a panel, and a row in a step of a sort:
# a million rows of 20 numbers take 7, 40 and 1 to 2 ms.
cdef double NORM_WORK = 8
cdef double PACK_WORK = 20
cdef double SORT_WORK = 20
# Bytes read or written between two looks at signals, for each thread: about 8 milliseconds, and ten
# times that where the system is slow to give memory.
cdef Py_ssize_t PACKED_AT_ONCE = 16 * 1024 * 1024
# Bytes of a page of memory.
cdef enum: PAGE = 4096
# Ranges of rows at most, whatever the number of threads.
cdef enum: MOST_RANGES = 1024


cdef class Numbers:
    """Rows of numbers where and as they lie, of a dtype that the kernels read.

    Parameters
    ----------
    array : array of shape (n_rows, n_columns)
    starts : array of int, optional
        The byte at which each row starts, where rows do not follow each other in equal steps.
    n_columns : int, optional
        Instead of the array's own.
    """
    cdef Py_buffer buffer
    cdef const Py_ssize_t[::1] starts
    cdef Source source
    cdef Py_ssize_t n_rows

    def __cinit__(self, array, const Py_ssize_t[::1] starts=None, Py_ssize_t n_columns=-1):
        PyObject_GetBuffer(array, &self.buffer, PyBUF_RECORDS_RO)
        self.source.numbers = <const char *>self.buffer.buf
        self.source.row_step = self.buffer.strides[0]
        self.source.column_step = self.buffer.strides[1]
        self.source.n_columns = self.buffer.shape[1] if n_columns < 0 else n_columns
        # "=" is in front where numbers are not aligned.
        letter = (<bytes>self.buffer.format).lstrip(b"=")
        self.source.type = _number_types[letter, self.buffer.itemsize]
        self.n_rows = self.buffer.shape[0]
        self.source.by_columns = (self.source.row_step != 0
                                  and abs(self.source.column_step) > abs(self.source.row_step))
        if starts is not None:
            self.starts, self.n_rows = starts, starts.shape[0]
            self.source.starts, self.source.by_columns = &starts[0], False

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    def row_norms(self, Py_ssize_t n_columns, bint single_precision, double[::1] norms,
                  int n_threads):
        """Write each row's squared norm of the first columns, in the order of the columns.

        Returns how many rows are not within the range of the precision: their norms are NaN.
        """
        cdef NormPlan plan
        cdef Py_ssize_t[MOST_RANGES] n_outside
        cdef Py_ssize_t rows_at_once, total = 0, i
        plan.kernels, plan.source, plan.n_columns = (
            table(0, single_precision), &self.source, n_columns)
        plan.norms, plan.n_outside, plan.first = &norms[0], n_outside, 0
        rows_at_once = max(
            512, n_threads * PACKED_AT_ONCE // (n_columns * <Py_ssize_t>sizeof(double)))
        while plan.first < self.n_rows:
            plan.last = min(self.n_rows, plan.first + rows_at_once)
            plan.n_ranges = min(MOST_RANGES, 1 + (plan.last - plan.first) // 512)
            with nogil:
                metaopt_share[NormPlan](find_norms, &plan, plan.n_ranges, n_threads,
                                        NORM_WORK * n_columns * (plan.last - plan.first))
            for i in range(plan.n_ranges):
                total += n_outside[i]
            PyErr_CheckSignals()
            plan.first = plan.last
        return total

    def pack(self, const Py_ssize_t[::1] row_at, positions, const unsigned char[::1] negative,
             double scale, const Py_ssize_t[::1] first_panel, Py_ssize_t n_params,
             bint single_precision, unsigned char[::1] panels, int n_threads):
        """Write the rows whose numbers row_at[position] has, -1 for zeros, 8 to a panel.

        They are multiplied by `scale`, those with a 1 in `negative`, unless that is None, by
        -scale; columns of ones follow up to n_params. `positions` has the position of each row, -1
        where it has none, and the panels are zeros. Returns the largest absolute value.
        """
        cdef Packing packing
        cdef PanelPlan plan
        cdef double[MOST_RANGES] extents
        cdef const int32_t[::1] narrow
        cdef const int64_t[::1] wide
        packing.source, packing.row_at, packing.scale = self.source, &row_at[0], scale
        packing.negative = NULL
        if negative is not None:
            packing.negative = &negative[0]
        packing.n_params, packing.panels = n_params, &panels[0]
        plan.packing, plan.kernels = &packing, table(0, single_precision)
        plan.first_panel, plan.n_blocks = &first_panel[0], first_panel.shape[0]
        plan.n_panels, plan.n_rows = row_at.shape[0] // PANEL, self.n_rows
        plan.extents, plan.scratch = extents, <char *>NULL
        if not self.source.by_columns:
            return do_spans(pack_range, &plan, n_threads)
        packing.positions, packing.wide_positions = <int32_t *>NULL, <int64_t *>NULL
        if positions.itemsize == sizeof(int32_t):
            narrow = positions
            packing.positions = &narrow[0]
        else:
            wide = positions
            packing.wide_positions = &wide[0]
        plan.panel_bytes = n_params * PANEL * plan.kernels.itemsize
        plan.scratch = <char *>malloc(n_threads * plan.panel_bytes)
        if plan.scratch == NULL:
            raise MemoryError
        try:
            do_spans(touch_range, &plan, n_threads)
            largest = spread_all(&plan, n_threads)
            do_spans(turn_range, &plan, n_threads)
            return largest
        finally:
            free(plan.scratch)


# By the letter of Python's module struct and the bytes that it stands for here.
_number_types = {(b"d", 8): FLOAT64, (b"f", 4): FLOAT32, (b"?", 1): UINT8}
for _letter in (b"b", b"h", b"i", b"l", b"q"):
    for _type, _size in ((INT8, 1), (INT16, 2), (INT32, 4), (INT64, 8)):
        _number_types[_letter, _size] = _type
for _letter in (b"B", b"H", b"I", b"L", b"Q"):
    for _type, _size in ((UINT8, 1), (UINT16, 2), (UINT32, 4), (UINT64, 8)):
        _number_types[_letter, _size] = _type


cdef Py_ssize_t part_of(Py_ssize_t first, Py_ssize_t last, Py_ssize_t part,
                        Py_ssize_t n_parts) noexcept nogil:
    """Return where a part of a range begins."""
    cdef Py_ssize_t count = last - first
    return first + count // n_parts * part + min(part, count % n_parts)


cdef struct NormPlan:
    const Kernels *kernels
    const Source *source
    Py_ssize_t n_columns, first, last, n_ranges
    double *norms
    # Of each range.
    Py_ssize_t *n_outside


cdef void find_norms(const NormPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Find the norms of one range of rows."""
    plan.n_outside[i] = plan.kernels.row_norms(
        plan.source, part_of(plan.first, plan.last, i, plan.n_ranges),
        part_of(plan.first, plan.last, i + 1, plan.n_ranges), plan.n_columns, plan.norms)


cdef struct PanelPlan:
    const Kernels *kernels
    const Packing *packing
    const Py_ssize_t *first_panel
    Py_ssize_t n_blocks, n_panels, n_rows, first, last, n_ranges
    # Of each range: its largest absolute value.
    double *extents
    # Of each thread: a panel.
    char *scratch
    Py_ssize_t panel_bytes


ctypedef void (*PanelTask)(const PanelPlan *, Py_ssize_t, int) noexcept nogil


cdef Py_ssize_t panel_of(const PanelPlan *plan, Py_ssize_t i) noexcept nogil:
    """Return the first panel of a range of spans."""
    cdef Py_ssize_t block = part_of(plan.first, plan.last, i, plan.n_ranges) * BLOCKS_PER_SPAN
    return plan.first_panel[block] if block < plan.n_blocks else plan.n_panels


cdef void pack_range(const PanelPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Write the panels of one range of spans."""
    plan.extents[i] = plan.kernels.pack_rows(
        plan.packing, panel_of(plan, i), panel_of(plan, i + 1))


cdef void touch_range(const PanelPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Write zeros to the panels of one range of spans, one to each page of memory."""
    cdef Py_ssize_t at = panel_of(plan, i) * plan.panel_bytes
    cdef Py_ssize_t until = panel_of(plan, i + 1) * plan.panel_bytes
    while at < until:
        (<char *>plan.packing.panels)[at] = 0
        at += PAGE
    plan.extents[i] = 0


cdef void turn_range(const PanelPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Turn the rows of one range of spans into panels."""
    plan.kernels.turn_panels(plan.packing, panel_of(plan, i), panel_of(plan, i + 1),
                             plan.scratch + thread * plan.panel_bytes)
    plan.extents[i] = 0


cdef void spread_range(const PanelPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Write one range of rows to their places."""
    plan.extents[i] = plan.kernels.spread_rows(
        plan.packing, part_of(plan.first, plan.last, i, plan.n_ranges),
        part_of(plan.first, plan.last, i + 1, plan.n_ranges))


cdef double do_spans(PanelTask task, PanelPlan *plan, int n_threads) except -1:
    """Do a task for ranges of spans; return the largest absolute value."""
    cdef Py_ssize_t n_spans = (plan.n_blocks + BLOCKS_PER_SPAN - 1) // BLOCKS_PER_SPAN
    return do_ranges(task, plan, n_spans, ROWS_PER_SPAN, n_threads)


cdef double spread_all(PanelPlan *plan, int n_threads) except -1:
    """Write all rows to their places; as `do_spans`."""
    return do_ranges(spread_range, plan, plan.n_rows, 1, n_threads)


cdef double do_ranges(PanelTask task, PanelPlan *plan, Py_ssize_t count, Py_ssize_t n_rows,
                      int n_threads) except -1:
    """Do a task for ranges of 0 .. count - 1, each of so many rows; as `do_spans`."""
    cdef double largest = 0
    cdef Py_ssize_t size = n_rows * plan.packing.n_params, i
    cdef Py_ssize_t at_once = max(
        1, n_threads * PACKED_AT_ONCE // (size * <Py_ssize_t>sizeof(double)))
    plan.first = 0
    while plan.first < count:
        plan.last = min(count, plan.first + at_once)
        plan.n_ranges = min(min(plan.last - plan.first, 16 * n_threads), MOST_RANGES)
        with nogil:
            metaopt_share[PanelPlan](task, plan, plan.n_ranges, n_threads,
                                     PACK_WORK * size * (plan.last - plan.first))
        PyErr_CheckSignals()
        for i in range(plan.n_ranges):
            largest = max(largest, plan.extents[i])
        plan.first = plan.last
    return largest


cdef void share_step(SortStep step, const Sort *sort) noexcept nogil:
    """Do a step of a sort for all of its parts."""
    metaopt_share[Sort](step, sort, sort.n_parts, sort.n_parts, SORT_WORK * sort.count)


def sort_rows(const uint64_t[::1] keys, bint descending, Py_ssize_t[::1] rows, bint in_order,
              unsigned char[::1] scratch, int n_threads):
    """Sort rows' numbers by their keys, all 64 bits of them; equal ones stay in their order.

    Where they are in order at first, 0, 1, ..., `rows` is only written. `scratch` has 16 bytes for
    each row. There are less than 2^32 rows.
    """
    cdef Sort sort
    sort.keys, sort.rows, sort.count = &keys[0], &rows[0], rows.shape[0]
    sort.in_order = in_order
    sort.flip = ~<uint64_t>0 if descending else 0
    sort.source = <Numbered *>&scratch[0]
    sort.to = sort.source + sort.count
    sort.n_parts = metaopt_team(n_threads, SORT_WORK * sort.count)
    sort.places = <Py_ssize_t *>malloc((sort.n_parts * DIGITS + 1) * sizeof(Py_ssize_t))
    if sort.places == NULL:
        raise MemoryError
    try:
        with nogil:
            share_step(find_key_range, &sort)
            choose_bits(&sort)
        if sort.n_bits == 0 and not in_order:  # all keys are equal
            return
        with nogil:
            share_step(number_rows, &sort)
        sort.bit = 0
        while sort.bit < sort.n_bits:
            with nogil:
                share_step(count_digits, &sort)
                if find_places(&sort):
                    share_step(scatter, &sort)
                    exchange(&sort)
            PyErr_CheckSignals()
            sort.bit += sort.digit_bits
        with nogil:
            cut_at_runs(&sort)
            share_step(sort_runs, &sort)
    finally:
        free(sort.places)


cdef struct PositionPlan:
    const Py_ssize_t *row_at
    Py_ssize_t count, n_ranges
    # One of them is null.
    int32_t *narrow
    int64_t *wide
    # Null where labels are not of a byte.
    const unsigned char *labels
    unsigned char *labels_at


cdef void place_range(const PositionPlan *plan, Py_ssize_t part, int thread) noexcept nogil:
    """Write the positions of the rows at one range of them, and what labels these have."""
    cdef Py_ssize_t i, row
    for i in range(part_of(0, plan.count, part, plan.n_ranges),
                   part_of(0, plan.count, part + 1, plan.n_ranges)):
        row = plan.row_at[i]
        if plan.labels != NULL:
            plan.labels_at[i] = plan.labels[row] if row >= 0 else 0
        if row < 0:
            continue
        if plan.narrow != NULL:
            plan.narrow[row] = <int32_t>i
        else:
            plan.wide[row] = i


def find_positions(const Py_ssize_t[::1] row_at, whole[::1] positions,
                   const unsigned char[::1] labels, unsigned char[::1] labels_at, int n_threads):
    """Write the position of each row whose number row_at[position] has and, unless they are None,
    the label of the row at each position, 0 where there is none."""
    cdef PositionPlan plan
    plan.labels, plan.labels_at = <const unsigned char *>NULL, <unsigned char *>NULL
    if labels is not None:
        plan.labels, plan.labels_at = &labels[0], &labels_at[0]
    plan.row_at, plan.count = &row_at[0], row_at.shape[0]
    plan.n_ranges = max(1, min(MOST_RANGES, plan.count // 4096))
    plan.narrow, plan.wide = <int32_t *>NULL, <int64_t *>NULL
    if whole is int32_t:
        plan.narrow = &positions[0]
    else:
        plan.wide = &positions[0]
    with nogil:
        metaopt_share[PositionPlan](place_range, &plan, plan.n_ranges, n_threads,
                                    SORT_WORK * plan.count)


def add_by_exponent(const double[::1] numbers, uint64_t[:, ::1] sums):
    """Add the bits of positive numbers by their exponents: sums[0] has those of the lower halves of
    the mantissas, in units of 2^-1074 times 2^(exponent - 1), sums[1] those of the upper ones."""
    cdef Py_ssize_t i
    cdef uint64_t bits, exponent
    cdef const uint64_t *from_ = <const uint64_t *>&numbers[0]
    with nogil:
        for i in range(numbers.shape[0]):
            bits = from_[i]
            exponent = bits >> 52 & 2047  # without the sign that a weight of -0.0 has
            bits &= (<uint64_t>1 << 52) - 1
            if exponent > 0:
                bits |= <uint64_t>1 << 52
            sums[0, exponent] += <uint32_t>bits
            sums[1, exponent] += bits >> 32
