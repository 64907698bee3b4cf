# Trees of depth 3: counts of features and of their pairs, and the best splits of pairs. Needs
# table.pxi and plan.pxi.
#
# Threads take roots, and lower a table each, whose entries' least ones are the result.

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Visits of a word of 16 features that is squeezed or counted, and of a triple: its cells, and each
# word of its count (benches/trees.py).
cdef double SQUEEZE_WORK = 150
cdef double TRIPLE_WORK = 40
cdef double TRIPLE_WORD_WORK = 4


cdef struct TreePlan:
    const Kernels *kernels
    BitRows rows
    FeatureCounts known
    # What is asked: of counts, features, or -1 for all rows, and where counts go; of splits, the
    # first root, and the features that are seconds; tables of the threads.
    const Py_ssize_t *features
    int32_t *counts
    Py_ssize_t counts_size
    Py_ssize_t first, first_second, last_second
    int32_t *best
    Py_ssize_t best_size
    # Of each thread: words, where their segments end, a mask.
    char *memory
    Py_ssize_t memory_of_each, n_words
    bint is_whole


cdef inline uint32_t *lay_out_bits(const TreePlan *plan, Py_ssize_t place,
                                   BitRows *rows) noexcept nogil:
    """Let rows be those of a workspace; returns its mask."""
    cdef char *at = plan.memory + place * plan.memory_of_each
    rows[0] = plan.rows
    rows.words = <uint32_t *>at
    at += aligned(plan.n_words * plan.rows.stride * sizeof(uint32_t))
    rows.ends = <Py_ssize_t *>at
    return <uint32_t *>(at + aligned(plan.rows.n_segments * sizeof(Py_ssize_t)))


cdef void count_of_feature(const TreePlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Count the features of the rows that have one."""
    cdef BitRows rows = plan.rows
    cdef Py_ssize_t feature = plan.features[plan.first + index]
    if feature >= 0:
        lay_out_bits(plan, thread, &rows)
        plan.kernels.squeeze_rows(&plan.rows, feature, <uint32_t *>rows.words,
                                  <Py_ssize_t *>rows.ends)
    plan.kernels.count_features(&rows, plan.counts + (plan.first + index) * plan.counts_size)


cdef void split_root(const TreePlan *plan, Py_ssize_t index, int thread) noexcept nogil:
    """Find the best splits of the pairs of a root: all, or those of some seconds."""
    cdef BitRows rows
    cdef Py_ssize_t root = plan.first + index, place = thread if plan.is_whole else index
    cdef uint32_t *mask = lay_out_bits(plan, place, &rows)
    cdef Py_ssize_t first = max(root + 1, plan.first_second)
    if plan.first_second == 0:
        plan.kernels.squeeze_rows(&plan.rows, root, <uint32_t *>rows.words,
                                  <Py_ssize_t *>rows.ends)
    plan.kernels.find_splits(&rows, &plan.known, root, first,
                             max(first, plan.last_second), mask,
                             plan.best + place * plan.best_size)


cdef bint allot(TreePlan *plan, int n_threads, char **memory) except -1:
    """Give each thread memory."""
    plan.memory_of_each = (
        aligned(plan.n_words * plan.rows.stride * sizeof(uint32_t))
        + aligned(plan.rows.n_segments * sizeof(Py_ssize_t))
        + aligned(plan.n_words * sizeof(uint32_t)))
    memory[0] = <char *>malloc(ALIGNMENT + n_threads * plan.memory_of_each)
    if memory[0] == NULL:
        raise MemoryError
    plan.memory = <char *>aligned(<Py_ssize_t><uintptr_t>memory[0])
    return True


# It is made anew from a caller's rows.
@cython.auto_pickle(False)
cdef class BitColumns:
    """Rows as bits, [word][feature], in segments: BitRows of operands.hpp.

    The last entry of `ends` is the number of words; `least` is 0 where rows are not counted.
    """
    cdef const uint32_t[:, ::1] words
    cdef const Py_ssize_t[::1] ends
    cdef const int32_t[::1] classes, costs, sizes
    cdef Py_ssize_t n_classes, n_features
    cdef int32_t least

    def __init__(self, const uint32_t[:, ::1] words, const Py_ssize_t[::1] ends,
                 const int32_t[::1] classes, const int32_t[::1] costs, const int32_t[::1] sizes,
                 Py_ssize_t n_classes, Py_ssize_t n_features, int32_t least):
        self.words, self.ends, self.classes, self.costs, self.sizes = (
            words, ends, classes, costs, sizes)
        self.n_classes, self.n_features, self.least = n_classes, n_features, least

    cdef void plan(self, TreePlan *plan):
        memset(plan, 0, sizeof(TreePlan))
        plan.kernels, plan.n_words = table(0, False), self.words.shape[0]
        plan.rows.words, plan.rows.ends = &self.words[0, 0], &self.ends[0]
        plan.rows.classes, plan.rows.costs = &self.classes[0], &self.costs[0]
        plan.rows.sizes, plan.rows.n_segments = &self.sizes[0], self.ends.shape[0]
        plan.rows.n_classes, plan.rows.n_features = self.n_classes, self.n_features
        plan.rows.stride, plan.rows.least = self.words.shape[1], self.least

    def count(self, const Py_ssize_t[::1] features, int32_t[:, :, ::1] counts, int n_threads):
        """Write counts[i][quantity][feature] of the rows that have features[i]; -1: of all."""
        cdef TreePlan plan
        cdef char *memory = NULL
        cdef Py_ssize_t until, n = features.shape[0]
        if n == 0:
            return
        self.plan(&plan)
        plan.features, plan.counts = &features[0], &counts[0, 0, 0]
        plan.counts_size = counts.shape[1] * counts.shape[2]
        cdef double work = SQUEEZE_WORK * (plan.n_words + 1) * (plan.rows.stride // 16)
        n_threads = metaopt_team(min(n_threads, n), work * n)
        cdef Py_ssize_t at_once = n_threads * max(1, <Py_ssize_t>(SLICE_WORK / work))
        try:
            allot(&plan, n_threads, &memory)
            while plan.first < n:
                until = min(n, plan.first + at_once)
                with nogil:
                    metaopt_share[TreePlan](count_of_feature, &plan, until - plan.first, n_threads,
                                            work * (until - plan.first))
                plan.first = until
                PyErr_CheckSignals()
        finally:
            free(memory)

    def split(self, const int32_t[::1] totals, const int32_t[:, ::1] singles,
              const int32_t[:, :, ::1] pairs, int32_t[:, :, :, ::1] best,
              double slice_work=SLICE_WORK):
        """Lower best[thread][feature][sides][other feature]: see find_splits in trees.hpp.

        There are as many threads as tables. A root of more than slice_work visits is split by a few
        seconds at a time.
        """
        cdef TreePlan plan
        cdef char *memory = NULL
        cdef Py_ssize_t n = self.n_features, n_roots, some
        cdef int n_threads = <int>best.shape[0]
        cdef double of_second, of_root
        self.plan(&plan)
        plan.known.totals, plan.known.singles = &totals[0], &singles[0, 0]
        plan.known.pairs, plan.best = &pairs[0, 0, 0], &best[0, 0, 0, 0]
        plan.best_size = best.shape[1] * best.shape[2] * best.shape[3]
        try:
            allot(&plan, n_threads, &memory)
            while plan.first < n - 1:
                of_second = (n - plan.first) * (
                    TRIPLE_WORK * plan.rows.n_classes / 2 + TRIPLE_WORD_WORK * plan.n_words / 2)
                of_root = of_second * (n - plan.first) / 2
                plan.is_whole = of_root <= slice_work
                n_roots = n_threads * max(1, <Py_ssize_t>(slice_work / of_root))
                n_roots = min(n - 1 - plan.first, n_roots)
                some = n if plan.is_whole else max(1, <Py_ssize_t>(slice_work / of_second))
                plan.first_second = 0
                while plan.first_second < n:
                    plan.last_second = min(n, max(plan.first_second, plan.first + 1) + some)
                    with nogil:
                        metaopt_share[TreePlan](split_root, &plan, n_roots, n_threads,
                                                min(of_root, of_second * some) * n_roots)
                    plan.first_second = plan.last_second
                    PyErr_CheckSignals()
                plan.first += n_roots
        finally:
            free(memory)


def team_of_triples(Py_ssize_t n_features, Py_ssize_t n_words, Py_ssize_t n_classes,
                    int n_threads):
    """Return how many threads the triples of so many features are for."""
    return metaopt_team(n_threads, triple_work(n_features, n_words, n_classes))


def triple_work(double n_features, double n_words, double n_classes):
    """Return the visits, of 0.05 ns each, that the triples of so many features take."""
    return n_features * n_features * n_features / 6 * (
        TRIPLE_WORK * n_classes / 2 + TRIPLE_WORD_WORK * n_words / 2)
