# How many threads a region of work is shared by: see team.hpp. For tests. Needs nothing.

from libc.stdint cimport int64_t

cdef extern from "team.hpp" namespace "metaopt" nogil:
    cppclass CostsOfTeams "metaopt::Teams":
        int choose(int, double, int64_t)
        void record(int, double, int64_t, int64_t, int64_t)

    void metaopt_insist(bint)
    int metaopt_useful_threads(int)


def useful_threads(int asked):
    """Return how many threads are of use to a call that may have so many: not more than there are
    processors for this process, unless each team is as large as it may be."""
    return metaopt_useful_threads(asked)


cdef class Teams:
    """What regions have cost, in nanoseconds, and the threads that follow from it."""
    cdef CostsOfTeams costs

    def choose(self, int most, double visits, int64_t now):
        """Return the threads for a region of so many visits, at most `most`."""
        return self.costs.choose(most, visits, now)

    def record(self, int members, double visits, int64_t wall, int64_t cpu, int64_t now):
        """Take note of what a region has cost."""
        self.costs.record(members, visits, wall, cpu, now)


def insist(bint on):
    """Say whether each team is as large as it may be, whatever that costs."""
    metaopt_insist(on)
