// How many threads share a region of work: what the last regions have cost decides.
//
// A region ends when its last member does. One that the system puts aside for another process is
// away for milliseconds, and all wait for it, however short the region. So each region is timed:
// `wall`, what passed, and `cpu`, what its n members had of processors for it. Half as many members
// would have taken cpu / (n / 2), times what those are known to be held up. What a team gains
// beside this goes to a balance; where that is spent, teams are halved, and after a while the
// larger one is tried again: after a longer while each time that it fails at once.
//
// Regions of other sizes fare differently beside the same neighbours, so each size has a state of
// its own. Threads of Python share the states without a lock: a lost update makes no harm.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "threads.hpp"

namespace metaopt {

// Work below this many visits, about 50 microseconds, stays on one thread.
constexpr double METAOPT_SERIAL_WORK = 1e6;

// Times are in nanoseconds.
class Teams {
  public:
    // The threads for a region of some work, at most `most`.
    int choose(int most, double work, int64_t now) {
        if (most <= 1 || work < METAOPT_SERIAL_WORK) return 1;
        Size &size = sizes[size_of(work)];
        int64_t due = size.retry_at;
        if (size.limit < most && now >= due && now >= next_trial &&
            size.retry_at.compare_exchange_strong(due, now + LONGEST_WAIT))
            step_up(size, now);
        return std::min<int>(most, size.limit);
    }

    // Takes note of what a region has cost that so many members shared.
    void record(int members, double work, int64_t wall, int64_t cpu, int64_t now) {
        const int index = size_of(work);
        Size &size = sizes[index];
        if (members == size.limit) size.count(members * wall, cpu);
        if (members <= 1) return;
        const int fewer = members / 2;
        const double held_up = now - size.below_at < FRESH ? (double)size.below : 1.0;
        const int64_t gain = (int64_t)(held_up * (double)cpu / fewer) - wall;
        const int64_t balance = std::min<int64_t>(size.balance + gain, MOST_CREDIT);
        size.balance = balance;
        if (balance < 0)
            step_down(index, fewer, balance, now);
        else if (balance == MOST_CREDIT) {
            size.does_well = true;
            if (size.is_tried) size.retry_at = now;
        }
    }

  private:
    // A team that has done well may lose so much before it is halved: more than a hiccup of a quiet
    // machine costs, a time slice. The first one may lose the time in which its threads are made;
    // one that is tried again, where it has failed before, less.
    static constexpr int64_t MOST_CREDIT = 4'000'000, FIRST_CREDIT = 1'000'000;
    static constexpr int64_t TRIAL_CREDIT = 250'000;
    // A larger team is tried again after so many times what it lost, at least and at most; and
    // after twice as long as the last time, where it did not do well for as long as that.
    static constexpr int64_t PATIENCE = 3, SHORTEST_WAIT = 20'000'000, LONGEST_WAIT = 2'000'000'000;
    // After a trial that has failed, nothing is tried for so many times what it lost: trials of all
    // sizes together cost a fortieth of the time.
    static constexpr int64_t REST = 40;
    // How long a smaller team's hold-ups say something of what it would be held up by.
    static constexpr int64_t FRESH = 1'000'000'000;
    // How much of the latest regions' time hold-ups are measured on: many time slices.
    static constexpr int64_t WINDOW = 100'000'000;
    static constexpr int ANY = 1 << 20;

    // Apart from the next one by a line of any cache.
    struct alignas(128) Size {
        std::atomic<int> limit{ANY};
        std::atomic<int64_t> balance{FIRST_CREDIT};
        // Since when the limit is tried, if it is not one that others were halved to.
        std::atomic<bool> is_tried{false};
        std::atomic<int64_t> since{0}, wait{0}, retry_at{0};
        // Whether the limit has had the most credit.
        std::atomic<bool> does_well{false};
        // Of the latest regions at the limit: members times wall, and cpu.
        std::atomic<int64_t> away{0}, at_work{0};
        // By how much teams of half the limit were held up, when they were left.
        std::atomic<double> below{1};
        std::atomic<int64_t> below_at{0};

        void count(int64_t more_away, int64_t more_at_work) {
            const int keep = away > WINDOW ? 2 : 1;
            away = away / keep + more_away;
            at_work = at_work / keep + more_at_work;
        }
        void begin(int new_limit) {
            limit = new_limit;
            balance = TRIAL_CREDIT;
            does_well = false;
            away = at_work = 0;
        }
    };

    // Of four times the work of those before; the last one without an end.
    static constexpr int SIZES = 6;
    Size sizes[SIZES];
    std::atomic<int64_t> next_trial{0};

    static int size_of(double work) {
        int index = 0;
        for (double end = 4 * METAOPT_SERIAL_WORK; index < SIZES - 1 && work >= end; end *= 4)
            index++;
        return index;
    }

    static void step_up(Size &size, int64_t now) {
        size.below = size.at_work > 0 ? std::max(1.0, (double)size.away / (double)size.at_work) : 1;
        size.below_at = size.since = now;
        size.is_tried = true;
        size.begin(std::min(2 * size.limit, ANY));
    }

    void step_down(int index, int fewer, int64_t balance, int64_t now) {
        Size &size = sizes[index];
        if (size.limit <= fewer) return;
        const bool at_once = now - size.since < size.wait;
        const int64_t wait = std::clamp(
            std::max<int64_t>(at_once ? 2 * size.wait : 0, PATIENCE * (MOST_CREDIT - balance)),
            SHORTEST_WAIT, LONGEST_WAIT);
        size.wait = wait;
        if (size.is_tried)
            next_trial = now + std::min(REST * (TRIAL_CREDIT - balance), LONGEST_WAIT);
        // What has cost a long region too much costs a short one more; and a longer one that has
        // not done well so far has to be tried as well.
        for (Size &other : sizes) {
            if (other.limit <= fewer || (&other > &size && other.does_well)) continue;
            other.begin(fewer);
            other.is_tried = false;
            other.below_at = now - FRESH;
            other.retry_at = now + wait;
        }
    }
};

inline Teams teams;
// Teams as large as they may be, for tests of what must not depend on them.
inline std::atomic<bool> full_teams{false};
inline void metaopt_insist(bool on) { full_teams = on; }

inline int64_t metaopt_now() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

// What the calling thread had of processors. Where a system does not tell, no thread is ever away.
inline int64_t metaopt_thread_time() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
    timespec time;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0)
        return (int64_t)time.tv_sec * 1'000'000'000 + time.tv_nsec;
#endif
    return metaopt_now();
}

// The threads that a call may have of those asked for: beyond the processors, each is in another
// one's way, and work is cut smaller and looked for signals less often than processors ask for.
inline int metaopt_useful_threads(int asked) {
    return full_teams ? asked : std::min(asked, metaopt_processors());
}

// The threads that a call should be cut for, whose regions have so much work.
inline int metaopt_team(int most, double work) {
    if (most <= 1 || work < METAOPT_SERIAL_WORK) return 1;
    return full_teams ? most : teams.choose(most, work, metaopt_now());
}

// A region: does a task for 0 .. count - 1, on as many threads as pays, at most `most`. `work` is
// that of all; tasks know their thread by a number below `most`.
template <class Plan>
void metaopt_share(void (*task)(const Plan *, ptrdiff_t, int), const Plan *plan, ptrdiff_t count,
                   int most, double work) {
    most = METAOPT_OPENMP ? (int)std::min<ptrdiff_t>(most, count) : 1;
    if (work < METAOPT_SERIAL_WORK || (most <= 1 && full_teams)) {
        for (ptrdiff_t i = 0; i < count; i++) task(plan, i, 0);
        return;
    }
    const int64_t started = metaopt_now();
    const int wanted = full_teams ? most : teams.choose(most, work, started);
    int members = 1;
    int64_t cpu = 0;
    if (wanted == 1) {
        cpu -= metaopt_thread_time();
        for (ptrdiff_t i = 0; i < count; i++) task(plan, i, 0);
        cpu += metaopt_thread_time();
    }
#if defined(_OPENMP)
    else {
#pragma omp parallel num_threads(wanted) reduction(+ : cpu)
        {
            const int thread = omp_get_thread_num();
            if (thread == 0) members = omp_get_num_threads();
            cpu -= metaopt_thread_time();
#pragma omp for schedule(dynamic, 1) nowait
            for (ptrdiff_t i = 0; i < count; i++) task(plan, i, thread);
            cpu += metaopt_thread_time();
        }
    }
#endif
    const int64_t ended = metaopt_now();
    if (!full_teams) teams.record(members, work, ended - started, cpu, ended);
}

}  // namespace metaopt
