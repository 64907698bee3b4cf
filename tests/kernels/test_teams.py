"""How many threads share a region: decided by what the last ones cost, and without a trace in the
results."""

import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.machine import threads_of

MS = 1_000_000
# Work of a region, in visits of 0.05 ns.
SHORT, LONG = 4e6, 2e9


class Machine:
    """A simulated machine: `walls[n]` is the wall time of a region on n threads, for a CPU time.

    Counts the regions by the threads that they had, and the times at which they began.
    """

    def __init__(self, walls):
        self.teams, self.walls = _kernels.Teams(), walls
        self.now, self.begun = 0, {}

    def run(self, most, cpu, seconds, work=SHORT, pause=10_000):
        """Run regions for some seconds; return their wall and CPU times."""
        end, wall, spent = self.now + int(seconds * 1e9), 0, 0
        while self.now < end:
            n = self.teams.choose(most, work, self.now)
            assert 1 <= n <= most
            taken = int(self.walls(n, cpu))
            self.begun.setdefault(n, []).append(self.now)
            self.now += taken
            self.teams.record(n, work, taken, cpu, self.now)
            self.now += pause
            wall, spent = wall + taken, spent + cpu
        return np.array([wall, spent])

    def counts(self):
        found, self.begun = {n: len(times) for n, times in self.begun.items()}, {}
        return found


def quiet(n, cpu):
    return cpu * 0.55 if n == 2 else cpu / n


def busy(n, cpu):
    """Members of a team wait for each other for time slices; a thread has its fair share."""
    return 3 * cpu + (10 * MS if n > 1 else 0)


def test_on_a_quiet_machine_all_threads_share_every_region():
    machine = Machine(quiet)
    machine.run(2, 200_000, 5)
    machine.run(2, 80 * MS, 5, LONG)
    assert set(machine.counts()) == {2}


def test_work_that_is_over_before_a_thread_wakes_stays_on_one():
    assert _kernels.Teams().choose(64, 0.99 * _kernels.SERIAL_WORK, 0) == 1
    assert _kernels.Teams().choose(64, _kernels.SERIAL_WORK, 0) == 64


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("cpu", [60_000, 1 * MS, 50 * MS])
def test_beside_neighbours_a_region_costs_little_more_than_on_one_thread(cpu):
    machine = Machine(busy)
    machine.run(2, cpu, 3)
    wall, spent = machine.run(2, cpu, 60)
    assert wall < 3 * 1.05 * spent


def test_regions_of_many_sizes_cost_little_more_than_on_one_thread_either():
    machine = Machine(lambda n, cpu: 3 * cpu + (30 * MS if n > 1 else 0))
    times = np.zeros(2)
    for turn in range(3000):
        for cpu, work in ((60_000, 1e6), (200_000, 5e6), (1 * MS, 2e7), (4 * MS, 8e7)):
            times += machine.run(2, cpu, 1e-3, work) * (turn >= 300)
    assert times[0] < 3 * 1.05 * times[1]


def test_a_larger_team_is_tried_again_after_growing_intervals():
    machine = Machine(busy)
    machine.run(2, 200_000, 30)
    waits = np.diff(machine.begun[2][-100:]) / MS
    waits = waits[waits > 15]  # the first failure takes more than one region
    assert waits[0] <= 450
    assert (np.diff(waits) > -1).all()
    assert 1900 <= waits[-1] <= 2200


def test_the_team_is_whole_again_two_seconds_after_the_neighbours_have_gone():
    machine = Machine(busy)
    machine.run(2, 200_000, 20)
    machine.walls = quiet
    machine.run(2, 200_000, 2.1)
    machine.counts()
    machine.run(2, 200_000, 10)
    assert set(machine.counts()) == {2}


def test_a_single_delay_of_a_time_slice_changes_nothing():
    machine = Machine(quiet)
    for _ in range(20):
        machine.run(2, 200_000, 0.1)
        machine.walls = lambda n, cpu: quiet(n, cpu) + 3 * MS
        machine.run(2, 200_000, 1e-3)
        machine.walls = quiet
    assert set(machine.counts()) == {2}


def test_regions_that_are_too_short_leave_long_ones_alone():
    machine = Machine(lambda n, cpu: cpu / n + (1 * MS if n > 1 else 0))
    for _ in range(100):
        machine.run(2, 100_000, 0.01)
        machine.run(2, 100 * MS, 0.05, LONG)
    assert machine.teams.choose(2, LONG, machine.now) == 2
    assert machine.teams.choose(2, SHORT, machine.now) == 1


def test_what_costs_a_long_region_too_much_is_not_tried_on_short_ones():
    machine = Machine(busy)
    machine.run(2, 1 * MS, 0.03, LONG)
    assert machine.teams.choose(2, SHORT, machine.now) == 1


def test_what_costs_a_long_region_too_much_is_given_up_by_short_ones_that_did_well():
    machine = Machine(quiet)
    machine.run(2, 200_000, 1)
    assert set(machine.counts()) == {2}
    machine.walls = busy
    machine.run(2, 1 * MS, 0.03, LONG)
    assert machine.teams.choose(2, SHORT, machine.now) == 1


def test_what_has_cost_one_region_too_much_is_on_trial_for_longer_ones_that_are_new():
    machine = Machine(busy)
    machine.run(2, 100_000, 0.03, SHORT)
    assert machine.teams.choose(2, LONG, machine.now) == 1
    assert machine.teams.choose(2, LONG, machine.now + 100 * MS) == 2


def test_more_threads_than_processors_are_given_up():
    machine = Machine(lambda n, cpu: cpu / min(n, 2) * (1.3 if n > 2 else 1))
    machine.run(64, 200_000, 5)
    wall, spent = machine.run(64, 200_000, 20)
    assert wall < 0.5 * 1.05 * spent


def test_teams_are_halved_until_they_fit_beside_their_neighbours():
    machine = Machine(lambda n, cpu: cpu / n + (10 * MS if n > 20 else 0))
    machine.run(64, 20 * MS, 5)
    machine.counts()
    machine.run(64, 20 * MS, 10)
    counts = machine.counts()
    assert set(counts) <= {16, 32}
    assert counts[16] > 20 * counts.get(32, 0)


def test_after_the_neighbours_have_gone_teams_are_doubled_until_they_are_whole():
    machine = Machine(busy)
    machine.run(64, 20 * MS, 20)
    machine.walls = lambda n, cpu: cpu / n
    machine.run(64, 20 * MS, 2.5)
    machine.counts()
    machine.run(64, 20 * MS, 5)
    assert set(machine.counts()) == {64}


def test_where_a_team_has_more_of_the_processors_than_one_thread_it_stays():
    # Each thread has its own share beside the neighbours: two have 1 / 4 each, one has 2 / 7.
    machine = Machine(lambda n, cpu: cpu / {1: 2 / 7, 2: 2 / 4}[n])
    machine.run(2, 5 * MS, 10)
    counts = machine.counts()
    assert counts[2] > 3 * counts[1]


@pytest.mark.long(everywhere=True)
@given(st.data())
def test_whatever_regions_cost_the_choice_is_a_number_up_to_the_maximum(data):
    teams, now = _kernels.Teams(), 0
    times = st.integers(0, 10**12)
    for _ in range(data.draw(st.integers(1, 30))):
        most, work = data.draw(st.integers(1, 1024)), data.draw(st.floats(0, 1e12))
        n = teams.choose(most, work, now)
        assert 1 <= n <= most
        wall = data.draw(times)
        now += wall
        teams.record(n, work, wall, data.draw(times), now)


# ------------------------------------------------------------------------------- in real calls

X = np.random.default_rng(0).normal(size=(3000, 10))
Y = X[:, 0] > 0
THETAS = np.random.default_rng(1).normal(size=(400, 10))


@pytest.fixture
def by_costs():
    """Teams are chosen by costs, as outside of tests."""
    _kernels.insist(False)
    yield
    _kernels.insist(True)


def results(n_threads):
    loss = mf.LogisticLoss(X, Y, n_threads=n_threads)
    losses, gradients = loss.batch_loss_gradient(THETAS)
    fits = mf.fit_many(X, Y, l2=np.logspace(-4, 0, 30), n_threads=n_threads)
    counts = mf.ConfusionCounts(X, Y, n_threads=n_threads).batch_counts(THETAS)
    aucs = mf.AUCObjective(X, Y, n_threads=n_threads).batch_loss(THETAS)
    found = mf.random_search(loss, mf.Normal(), 5000, seed=1, top_k=10)
    arrays = (losses, gradients, fits.theta, fits.gap_bound, counts, aucs, found.top)
    return [array.tobytes() for array in arrays]


@pytest.mark.usefixtures("by_costs")
def test_the_team_may_change_in_the_middle_of_a_call_without_a_trace_in_its_results():
    wanted, over = results(1), threading.Event()

    def change():
        on = False
        while not over.wait(1e-4):
            on = not on
            _kernels.insist(on)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for n_threads in (2, 7, 64):
            assert results(n_threads) == wanted
    finally:
        over.set()
        changing.join()


@pytest.mark.usefixtures("by_costs")
def test_a_forked_child_chooses_its_teams():
    wanted = results(2)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            code = 0 if results(2) == wanted else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("by_costs")
def test_a_call_that_may_have_more_threads_than_processors_starts_no_more():
    wanted, child = results(2), os.fork()  # a child has none of the threads that there were
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            same = results(64) == wanted
            threads = len(os.listdir("/proc/self/task"))
            code = 0 if same and threads <= len(os.sched_getaffinity(0)) else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("by_costs")
def test_threads_that_are_asked_for_count_up_to_the_processors():
    processors = len(os.sched_getaffinity(0))
    assert [threads_of(n) for n in (1, processors, 1024)] == [1, processors, processors]
    _kernels.insist(True)
    assert threads_of(1024) == 1024
