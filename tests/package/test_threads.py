"""How many threads: what decides it, and that nothing else follows from it."""

import hashlib
import io
import multiprocessing
import os
import platform
import signal
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import threadpoolctl

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast import machine as threads

X = np.random.default_rng(0).normal(size=(2000, 10))
Y = X[:, 0] > 0
THETAS = np.random.default_rng(1).normal(size=(500, 10))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def digest(n_threads):
    losses, gradients = mf.LogisticLoss(X, Y, n_threads=n_threads).batch_loss_gradient(THETAS)
    return hashlib.sha256(losses.tobytes() + gradients.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "files", "wanted"),
    [
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="version 2"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, None, id="version 2 without a limit"),
        pytest.param("0::/\n", {}, None, id="version 2 without a file"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "400000 100000"}, 4.0, id="version 2, nested"),
        pytest.param(
            "0::/a/b\n",
            {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"},
            2.0,
            id="version 2, the parent is stricter",
        ),
        pytest.param(
            "0::/a/b\n",
            {"a/cpu.max": "max 100000", "a/b/cpu.max": "300000 100000"},
            3.0,
            id="version 2, the parent has no limit",
        ),
        pytest.param(
            "0::/docker/1234\n",
            {"cpu.max": "50000 100000"},
            0.5,
            id="version 2, a container whose own group is the root",
        ),
        pytest.param(
            "0::/../..\n", {"cpu.max": "50000 100000"}, 0.5, id="version 2, a namespace's parent"
        ),
        pytest.param(
            "3:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            2.5,
            id="version 1",
        ),
        pytest.param(
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
            id="version 1 without a limit",
        ),
        pytest.param(
            "4:cpuacct,cpu:/a/b\n3:memory:/c\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "cpu/a/cpu.cfs_quota_us": "300000",
                "cpu/a/cpu.cfs_period_us": "100000",
                "cpu/a/b/cpu.cfs_quota_us": "800000",
                "cpu/a/b/cpu.cfs_period_us": "100000",
            },
            3.0,
            id="version 1, nested",
        ),
        pytest.param(
            "2:memory:/\n",
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
            None,
            id="version 1, another controller's line",
        ),
        pytest.param(
            "1:cpu:/\n0::/x\n",
            {
                "cpu/cpu.cfs_quota_us": "400000",
                "cpu/cpu.cfs_period_us": "100000",
                "x/cpu.max": "100000 100000",
            },
            1.0,
            id="both versions",
        ),
        pytest.param(
            "3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000"}, None, id="version 1 without a period"
        ),
        pytest.param("0::/\n", {"cpu.max": "rubbish\n"}, None, id="rubbish in the file"),
        pytest.param("0::/\n", {"cpu.max": ""}, None, id="an empty file"),
        pytest.param("0::/\n", {"cpu.max": "0 0\n"}, None, id="zeros"),
        pytest.param("", {"cpu.max": "100000 100000"}, None, id="no control groups"),
        pytest.param("rubbish\n\n::\n", {}, None, id="rubbish in the line"),
        pytest.param(
            "0::/a/b/c/d\n",
            {
                "cpu.max": "800000 100000",
                "a/cpu.max": "max 100000",
                "a/b/cpu.max": "250000 100000",
                "a/b/c/cpu.max": "600000 100000",
            },
            2.5,
            id="version 2, four levels, the last without a file",
        ),
        pytest.param("0::/\n", {"cpu.max": "33333 50000\n"}, 0.66666, id="a fractional quota"),
        pytest.param("0::/\n", {"cpu.max": "1000000\n"}, None, id="a quota without a period"),
        pytest.param("0::/\n", {"cpu.max": "-1 100000\n"}, None, id="a negative quota"),
        pytest.param("0::/\n", {"cpu.max": "1.5e5 100000\n"}, None, id="no whole number"),
        pytest.param(
            "0::/\n", {"cpu.max": "9" * 400 + " 100000\n"}, None, id="a number beyond the range"
        ),
        pytest.param(
            "0::/\n", {"cpu.max": "9" * 4300 + " 1"}, None, id="a number longer than is read"
        ),
        pytest.param(
            "0::/\n", {"cpu.max": f"{2**63 - 1} 100000"}, (2**63 - 1) / 1e5, id="a huge number"
        ),
        pytest.param("0::/a\0b\n", {"cpu.max": "300000 100000"}, 3.0, id="a zero byte in a path"),
        pytest.param(
            "0::/\xff\xfe\n", {"cpu.max": "300000 100000\xff"}, None, id="bytes that are no ASCII"
        ),
        pytest.param(
            "4:cpuset:/\n3:cpu,cpuacct:/\n1:name=systemd:/s\n0::/s\n",
            {
                "cpuset/cpuset.cpus": "0-1",
                "cpu/cpu.cfs_quota_us": "350000",
                "cpu/cpu.cfs_period_us": "100000",
                "s/cgroup.procs": "1",
            },
            3.5,
            id="hybrid, the quota in version 1",
        ),
        pytest.param(
            "4:cpuset:/a\n0::/\n",
            {"a/cpu.max": "100000 100000", "cpuset/a/cpu.max": "100000 100000"},
            None,
            id="the line of cpuset is not that of cpu",
        ),
        pytest.param(
            "0::/" + "deep/" * 700 + "\n", {"cpu.max": "100000 100000"}, 1.0, id="a very deep path"
        ),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, line, files, wanted):
    write(tmp_path / "process", line)
    for path, text in files.items():
        write(tmp_path / "cgroup" / path, text)
    assert threads.cgroup_quota(f"{tmp_path}/cgroup", f"{tmp_path}/process") == wanted


def test_there_is_no_quota_where_there_are_no_control_groups(tmp_path):
    assert threads.cgroup_quota(f"{tmp_path}/absent", f"{tmp_path}/process") is None


@pytest.mark.parametrize(("allowed", "wanted"), [(0.5, 1), (1.0, 1), (1.9, 1), (3.2, 3)])
def test_a_quota_limits_the_threads(monkeypatch, allowed, wanted):
    monkeypatch.setattr(threads, "_QUOTA", allowed)
    monkeypatch.setattr(_kernels, "max_threads", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert threads.default_n_threads() == (wanted, "the cgroup quota")


def test_the_affinity_mask_limits_the_threads(monkeypatch):
    monkeypatch.setattr(threads, "_QUOTA", None)
    monkeypatch.setattr(_kernels, "max_threads", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 6})
    assert threads.default_n_threads() == (3, "the affinity mask")


def test_a_huge_machine_gets_no_more_threads_than_a_call_takes(monkeypatch):
    monkeypatch.setattr(threads, "_QUOTA", None)
    monkeypatch.setattr(_kernels, "max_threads", lambda: 5000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(5000))
    assert threads.default_n_threads()[0] == 1024


def test_a_system_without_affinity_has_the_threads_of_openmp(monkeypatch):
    monkeypatch.setattr(threads, "_QUOTA", None)
    monkeypatch.setattr(_kernels, "max_threads", lambda: 3)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.default_n_threads() == (3, "OpenMP's number of processors")
    monkeypatch.setenv("OMP_NUM_THREADS", "a few")
    count, reason = threads.default_n_threads()
    assert count == 3
    assert reason.endswith("OMP_NUM_THREADS is 'a few', no number of threads, and ignored")


def test_a_build_without_openmp_has_one_thread(monkeypatch):
    monkeypatch.setattr(_kernels, "OPENMP", False)
    assert threads.default_n_threads() == (1, "built without OpenMP")


SHOW = "import metaopt_fast as mf; c = mf.config(); print(c['n_threads'], c['n_threads_reason'])"


def test_omp_num_threads_decides(run_python):
    assert run_python(SHOW, OMP_NUM_THREADS="1").stdout == "1 OMP_NUM_THREADS\n"


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("given", ["2", " 2", "2,3", "2 , 1 ", "+2", "002"])
def test_omp_num_threads_is_read_as_openmp_reads_it(run_python, given):
    program = "import os; os.sched_getaffinity = lambda _: range(8); " + SHOW
    assert run_python(program, OMP_NUM_THREADS=given).stdout == "2 OMP_NUM_THREADS\n"


@pytest.mark.long
@pytest.mark.parametrize(
    "given", ["abc", "2x", "0", "-1", "1.5", "2,x", " ", "9" * 5000, "\x1b[0m"]
)
def test_omp_num_threads_that_is_ignored_is_not_the_reason_but_named(run_python, given):
    without = run_python(SHOW, OMP_NUM_THREADS="").stdout
    n_threads, _, reason = run_python(SHOW, OMP_NUM_THREADS=given).stdout.partition(" ")
    assert n_threads == without.split()[0]
    assert reason == (
        f"OpenMP's number of processors; OMP_NUM_THREADS is {given[:40]!r}, no number of threads, "
        "and ignored\n"
    )


def test_omp_num_threads_set_after_the_import_is_not_the_reason(run_python):
    program = "import os, metaopt_fast; os.environ['OMP_NUM_THREADS'] = '7'; " + SHOW
    found = run_python(program, OMP_NUM_THREADS="1").stdout
    assert found == "1 OpenMP's number; OMP_NUM_THREADS is '7', set too late or overruled\n"


def test_more_than_the_affinity_mask_is_not_used_even_if_omp_num_threads_says_so(run_python):
    n_threads = run_python(SHOW, OMP_NUM_THREADS="1000").stdout.split()[0]
    assert int(n_threads) <= len(os.sched_getaffinity(0))


@pytest.mark.long(everywhere=True)
def test_a_process_pinned_to_one_processor_uses_one_thread(run_python):
    pinned = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + SHOW
    assert run_python(pinned).stdout.startswith("1 ")
    later = "import os, metaopt_fast; " + pinned
    assert run_python(later, OMP_NUM_THREADS="").stdout.startswith("1 ")


def test_limits_of_threadpoolctl_are_honoured():
    with threadpoolctl.threadpool_limits(1):
        assert threads.default_n_threads()[0] == 1
    ours = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp"]
    assert ours, "threadpoolctl sees no OpenMP"


@pytest.mark.parametrize("n_threads", [2, 3, 7, 64, 1024])
def test_any_number_of_threads_gives_the_same_bits(n_threads):
    assert digest(n_threads) == digest(1)


def exit_code_of_a_child(claim):
    """Fork, ask the child whether the claim holds, and return 0 if so; it has 5 s to answer."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(5)
            code = 0 if claim() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.long
def test_forked_children_compute_the_same_bits_and_never_hang():
    wanted = digest(3)
    for _ in range(50):
        digest(3)  # threads are alive before each fork
        assert exit_code_of_a_child(lambda: digest(3) == wanted) == 0


def test_grandchildren_compute_the_same_bits_and_never_hang():
    wanted = digest(3)
    assert (
        exit_code_of_a_child(
            lambda: digest(3) == wanted and exit_code_of_a_child(lambda: digest(3) == wanted) == 0
        )
        == 0
    )


def test_a_parent_goes_on_in_parallel_after_a_fork():
    wanted = digest(3)
    for _ in range(5):
        assert exit_code_of_a_child(lambda: True) == 0
        assert digest(3) == wanted


def test_an_objective_reaches_forked_children_without_being_sent():
    objective = mf.LogisticLoss(X, Y, n_threads=2)
    wanted = objective.batch_loss(THETAS).tobytes()
    assert exit_code_of_a_child(lambda: objective.batch_loss(THETAS).tobytes() == wanted) == 0


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_compute_the_same_bits(method):
    wanted = [digest(3)] * 4
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        assert pool.map_async(digest, [3, 3, 1, 2]).get(timeout=20) == wanted


def threads_of_a_worker(_):
    return threads.default_n_threads()


def pin():
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_is_pinned_to_a_processor_uses_one_thread(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2, initializer=pin) as pool:
        found = pool.map_async(threads_of_a_worker, range(4)).get(timeout=60)
    assert [n_threads for n_threads, _ in found] == [1] * 4


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_jobs", [2, 3])
def test_workers_of_joblib_use_their_share_of_the_processors(monkeypatch, n_jobs):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = max(1, joblib.cpu_count() // n_jobs)
    found = joblib.Parallel(n_jobs, "loky")(
        joblib.delayed(threads.default_n_threads)() for _ in range(4)
    )
    assert {n_threads for n_threads, _ in found} == {share}


def test_calls_from_many_python_threads_at_once_give_the_same_bits():
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(digest, [1, 2, 3, 7] * 4)) == {digest(1)}


def at_once(call, n_threads=4):
    """Call from so many Python threads at the same time; return what came."""
    barrier = threading.Barrier(n_threads)

    def run(_):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(run, range(n_threads)))


# So many that their copy in single precision takes longer than all threads need to ask for it.
MANY = np.random.default_rng(2).normal(size=(100_000, 20))


@pytest.mark.sanitized
def test_one_of_many_python_threads_makes_rows_in_single_precision_for_all():
    thetas = np.random.default_rng(3).normal(size=(64, 20))
    objective = mf.LogisticLoss(MANY, MANY[:, 0] > 0, n_threads=1)
    wanted = objective.batch_loss(thetas)
    threshold = float(np.median(wanted))
    for losses, _ in at_once(lambda: objective.pruned_loss(thetas, 0, 0, 64, threshold)):
        assert losses[wanted <= threshold].tobytes() == wanted[wanted <= threshold].tobytes()
    assert objective._rows.has_narrow_rows
    assert objective._rows.narrow_refusal is None


@pytest.mark.sanitized
def test_counts_of_many_python_threads_go_on_in_single_precision():
    thetas = np.random.default_rng(3).normal(size=(64, 20))
    counts = mf.ConfusionCounts(MANY, MANY[:, 0] > 0, n_threads=1)
    wanted = counts.batch_counts(thetas).tobytes()
    for _ in range(2):
        counts._expect_candidates(1000)
        assert {found.tobytes() for found in at_once(lambda: counts.batch_counts(thetas))} == {
            wanted
        }
        counts.batch_counts(thetas)
        assert counts._rows.together.has_narrow_rows
        counts._release()


def rows_that_single_precision_gets_wrong(theta, n_rows):
    """Rows whose margins have the other sign in single precision, by as much as it gets."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(400_000, len(theta)))
    X[:, -1] = -(X[:, :-1] @ theta[:-1]) / theta[-1] * (1 + rng.normal(size=len(X)) * 2e-8)
    exact = X.astype(np.longdouble) @ theta.astype(np.longdouble)
    single = (X.astype(np.float32) * theta.astype(np.float32)).sum(axis=1, dtype=np.float32)
    wrong = np.flatnonzero((exact > 0) != (single > 0))
    far = np.abs(single[wrong]) / np.linalg.norm(X[wrong], axis=1)
    return X[wrong[np.argsort(-far)[:n_rows]]]


@pytest.mark.long(everywhere=True)
def test_counts_are_right_while_another_thread_has_their_rows_made_anew():
    theta = np.random.default_rng(3).normal(size=8)
    near = rows_that_single_precision_gets_wrong(theta, 60)
    X = np.random.default_rng(2).normal(size=(30_000, 8))
    X[:: len(X) // len(near)][: len(near)] = near
    counts = mf.ConfusionCounts(X, np.arange(len(X)) % 2, n_threads=1)
    thetas = np.tile(theta, (4000, 1))
    wanted = counts.batch_counts(thetas[:8])[0].tobytes()
    for _ in range(20):
        counts._expect_candidates(1000)
        counts.batch_counts(thetas[:8])
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(counts.batch_counts, thetas)
            while not call.done():
                counts._release()
                counts._expect_candidates(1000)
                counts.batch_counts(thetas[:8])
        assert {found.tobytes() for found in call.result()} == {wanted}


@pytest.mark.sanitized
def test_show_config_names_the_threads_and_why(capsys):
    mf.show_config()
    n_threads, reason = threads.default_n_threads()
    assert f"threads          {n_threads} ({reason})\n" in capsys.readouterr().out


@pytest.mark.long(everywhere=True)
def test_importing_starts_no_thread(run_python):
    program = "import os, metaopt_fast; print(len(os.listdir('/proc/self/task')))"
    with_numpy = "import os, numpy; print(len(os.listdir('/proc/self/task')))"
    assert run_python(program).stdout == run_python(with_numpy).stdout


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a global lock anyway"
)
def test_importing_brings_no_global_lock_back(run_python):
    done = run_python("import metaopt_fast, sys; print(sys._is_gil_enabled())")
    assert done.stdout.strip() == "False", done.stderr


def test_small_calls_do_not_ask_the_system_for_threads(monkeypatch):
    objective = mf.LogisticLoss([[1.0], [-2.0]], [1, 0])
    monkeypatch.setattr(type(objective), "_threads", lambda self: pytest.fail("asked"))
    assert len(objective.batch_loss([[1.0], [2.0]])) == 2


def test_a_processor_without_a_name_has_one_of_its_kind(monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError

    of_its_kind = platform.processor() or platform.machine()
    monkeypatch.setattr(threads, "open", refuse, raising=False)
    assert threads.processor() == of_its_kind
    told = "processor : 0\nBogoMIPS : 50.00\n"  # as on arm64
    monkeypatch.setattr(threads, "open", lambda *_, **__: io.StringIO(told))
    assert threads.processor() == of_its_kind
