"""Evolutions that are stopped at any moment go on with the same bits; bad input is a sentence."""

import functools
import io
import json
import os
import random
import shutil
import subprocess
import time

import numpy as np
import pytest
from evolutions import CONTINUOUS, METHODS, Quadratic, Scripted, digest, logistic, run, start_of
from searches import files_up_to, problem, python

import metaopt_fast as mf
from metaopt_fast.evolution import run as evolution_run
from metaopt_fast.evolution.checkpoint_contents import ARRAYS
from metaopt_fast.files.archive import read_arrays, write_arrays

# ------------------------------------------------------------------------------------ checkpoints


@pytest.fixture
def path(memory):
    return memory / "run.npz"


@pytest.fixture
def eager(monkeypatch):
    """Checkpoints and callbacks after each generation."""
    monkeypatch.setattr(evolution_run, "COMMIT_INTERVAL", 0.0)
    monkeypatch.setattr(evolution_run, "CALLBACK_INTERVAL", 0.0)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumed_after_any_generation_ends_with_the_same_bits(method, path):
    options = {"restart_after": 2} if method == "integer_local_search" else {}
    whole = run(method, **options)
    for generations in range(1, 13):
        part = run(method, generations=generations, checkpoint=path, **options)
        assert part.n_generations == generations
    assert digest(part) == digest(whole)
    for stop in range(1, 12):
        path.unlink()
        part = run(method, generations=stop, checkpoint=path, **options)
        assert digest(part) == digest(run(method, generations=stop, **options))
        assert digest(run(method, checkpoint=path, **options)) == digest(whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_is_not_done_again(method, path):
    first = run(method, checkpoint=path)
    objective = logistic()
    again = run(method, objective, checkpoint=path)
    assert digest(first) == digest(again)
    assert again.elapsed == first.elapsed and again.kernel_fraction == first.kernel_fraction


def test_a_resumed_run_adds_its_seconds(path):
    first = run("cem", generations=5, checkpoint=path)
    assert run("cem", generations=12, checkpoint=path).elapsed > first.elapsed


OTHER_ROWS = mf.LogisticLoss(*problem(seed=1), l2=1e-3, fit_intercept=True)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"population": 34}, "population"),
        ({"seed": 4}, "seed"),
        ({"top_k": 4}, "top_k"),
        ({"elite": 0.2}, "elite"),
        ({"method": "snes"}, "method"),
        ({"objective": OTHER_ROWS}, "fingerprint"),
        ({"objective": Quadratic(np.ones(8)), "fingerprint": "ones"}, "objective"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(path, change, name):
    run("cem", checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(mf.CheckpointError, match=f"another run: its {name} is"):
        run(**{"method": "cem", "checkpoint": path, **change})
    with pytest.raises(mf.CheckpointError, match="12 generations, this run 11"):
        run("cem", checkpoint=path, generations=11)
    with pytest.raises(mf.CheckpointError, match="its start is"):
        mf.evolve(
            logistic(),
            np.zeros(8),
            population=32,
            generations=12,
            seed=3,
            top_k=5,
            checkpoint=path,
        )
    assert path.read_bytes() == before


def test_what_changes_no_bits_may_change(path):
    run("cem", checkpoint=path, generations=5)
    result = run("cem", checkpoint=path, n_threads=2, patience=50, tol=1e-9, metadata={"a": 1})
    assert digest(result) == digest(run("cem"))


@pytest.mark.parametrize("method", CONTINUOUS)
def test_a_checkpoint_that_evaluated_no_array_is_refused(path, method):
    start = np.array([0.5, -1.0, 0.0])
    options = {"method": method, "population": 8, "checkpoint": path, "fingerprint": "bowl"}
    mf.evolve(Quadratic(), start, **options, generations=3)
    arrays, config = read_arrays(path, "checkpoint", ARRAYS)
    del config["start"]["is_candidate"]  # as version 0.1.0 wrote it
    write_arrays(path, "checkpoint", arrays, config)
    if method == "shrinking":  # which evaluated it there, too
        whole = mf.evolve(Quadratic(), start, method=method, population=8, generations=5)
        assert digest(mf.evolve(Quadratic(), start, **options, generations=5)) == digest(whole)
    else:
        with pytest.raises(mf.CheckpointError, match=r"begun by version 0\.1\.0, .*: pass another"):
            mf.evolve(Quadratic(), start, **options, generations=5)


def test_a_damaged_checkpoint_is_refused(path):
    run("cem", checkpoint=path)
    content = path.read_bytes()
    rng = random.Random(0)
    damaged = [b"", b"something else", content[:100], content[:-30], content[1000:]]
    for _ in range(100):
        place = rng.randrange(len(content))
        flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
        damaged.append(content[:place] + flipped + content[place + 1 :])
    whole, refused = digest(run("cem")), 0
    for text in damaged:
        path.write_bytes(text)
        try:
            result = run("cem", checkpoint=path)
        except mf.CheckpointError as error:
            refused += 1
            assert "is damaged, or no checkpoint" in str(error) and "\n" not in str(error)
        else:  # a bit that says nothing, such as a date in the zip file
            assert digest(result) == whole
    assert refused >= 80


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_another_digest_is_damage(path, digest):
    run("cem", checkpoint=path)
    with np.load(path) as members:
        changed = {**members, "digest": np.array(digest)}
    np.savez(path, **changed)
    with pytest.raises(mf.CheckpointError, match="do not match their digest"):
        run("cem", checkpoint=path)


@pytest.mark.parametrize("name", ["trace", "center", "top"])
def test_an_array_that_was_changed_is_damage(path, name):
    run("cem", checkpoint=path)
    with np.load(path) as members:
        changed = {member: members[member].copy() for member in members}
    changed[name].view(np.uint8).ravel()[-1] ^= 1
    np.savez(path, **changed)
    with pytest.raises(mf.CheckpointError, match="do not match their digest"):
        run("cem", checkpoint=path)


def test_a_result_is_no_checkpoint(path):
    run("cem").save(path)
    with pytest.raises(mf.CheckpointError, match="it is a result"):
        run("cem", checkpoint=path)


def test_pickles_are_never_read(path):
    np.savez(path, text=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(mf.CheckpointError):
        run("cem", checkpoint=path)


def test_a_place_that_cannot_be_written_to_is_an_error_before_anything_is_done(tmp_path):
    objective = Scripted()
    with pytest.raises(OSError, match="could not be written"):
        run("cem", objective, checkpoint=tmp_path / "none" / "run.npz")
    assert objective.calls == 0
    with pytest.raises(OSError):
        run("cem", objective, checkpoint=tmp_path)
    for bad in ("", "a\0b", 3):
        with pytest.raises((ValueError, TypeError), match="checkpoint is"):
            run("cem", objective, checkpoint=bad)


FULL_DISK = """
import sys
from evolutions import *
from metaopt_fast.evolution import run as evolution_run
from metaopt_fast.files.archive import read_arrays, write_arrays
from searches import files_up_to
evolution_run.COMMIT_INTERVAL = 0.0
with files_up_to(int(sys.argv[2])):
    run("cem", checkpoint=sys.argv[1], generations=500)
"""


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("limit", [0, 9000, 15_000])
def test_a_full_disk_raises_and_leaves_the_file_before_it(path, limit):
    with python(FULL_DISK, path, str(limit), stderr=subprocess.PIPE) as process:
        assert process.wait() == 1
        assert b"could not be written" in process.stderr.read().splitlines()[-1]
    assert path.exists() == (limit > 0)
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"] * (limit > 0)
    assert digest(run("cem", checkpoint=path, generations=500)) == digest(
        run("cem", generations=500)
    )


def test_a_run_whose_file_may_not_grow_leaves_the_one_before_it(path, monkeypatch):
    monkeypatch.setattr(evolution_run, "COMMIT_INTERVAL", 0.0)
    with pytest.raises(OSError, match=r"could not be written"), files_up_to(9000):
        run("cem", checkpoint=path, generations=500)
    assert digest(run("cem", checkpoint=path, generations=500)) == digest(
        run("cem", generations=500)
    )


KILLED = """
import sys
from evolutions import *
from metaopt_fast.evolution import run as evolution_run
from metaopt_fast.files.archive import read_arrays, write_arrays
evolution_run.COMMIT_INTERVAL = evolution_run.CALLBACK_INTERVAL = 0.0
objective = logistic(n_threads=1)
print("ready", flush=True)
sys.stdin.readline()
def acknowledge(result):
    sys.stdout.write(f"{result.n_generations}\\n")
    sys.stdout.flush()
run(sys.argv[2], objective, checkpoint=sys.argv[1], generations=100, callback=acknowledge)
"""


@pytest.mark.long
@pytest.mark.parametrize("method", ["cem", "integer_local_search"])
def test_kills_lose_nothing_that_was_acknowledged(path, method):
    rng, safe = random.Random(0), 0
    start = functools.partial(python, KILLED, path, method, stdin=subprocess.PIPE)
    for _ in range(8):
        process = start()
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        told = [int(line) for line in process.communicate()[0].splitlines(True) if b"\n" in line]
        assert not told or told[0] > safe
        safe = max([safe, *told])
    assert safe > 0
    seen = []
    result = run(method, checkpoint=path, generations=100, callback=seen.append)
    assert not seen or seen[0].n_generations > safe
    assert digest(result) == digest(run(method, generations=100))


# ------------------------------------------------------------------------------ one owner at a time


@pytest.mark.long(everywhere=True)
def test_two_runs_do_not_share_a_checkpoint(path, eager):
    answers = []

    def callback(result):
        shutil.copy(path, path.with_name("copy"))
        with pytest.raises(mf.CheckpointError, match=r"run\.npz is in use by another process"):
            run("cem", checkpoint=path)
        copied = run("cem", checkpoint=path.with_name("copy"), generations=result.n_generations)
        answers.append(digest(copied) == digest(result))
        return len(answers) == 2

    run("cem", checkpoint=path, callback=callback)
    assert answers == [True, True]
    assert digest(run("cem", checkpoint=path)) == digest(run("cem"))


CHANGES = {
    "deleted": lambda path, other: path.unlink(),
    "replaced": lambda path, other: os.replace(shutil.copy(other, path.with_name("x")), path),
    "cut": lambda path, other: os.truncate(path, 100),
    "overwritten": lambda path, other: path.write_bytes(other.read_bytes()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_is_gone_is_noticed_and_the_result_kept(path, eager, change):
    other = path.with_name("other")
    run("cem", checkpoint=other, generations=3, seed=4)

    def callback(result):
        if result.n_generations == 3:
            CHANGES[change](path, other)

    with pytest.raises(mf.CheckpointError, match="was deleted, replaced or changed") as caught:
        run("cem", checkpoint=path, callback=callback)
    assert digest(caught.value.result) == digest(run("cem", generations=4))
    if change in ("replaced", "overwritten"):
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_the_file_is_moved_to_its_place_loses_nothing(
    path, eager, monkeypatch, when
):
    replace, calls = os.replace, []

    def interrupted(source, place):
        calls.append(place)
        if len(calls) == 4:
            if when == "after":
                replace(source, place)
            raise KeyboardInterrupt
        replace(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        part = run("cem", checkpoint=path, callback=lambda result: None)
    assert part.interrupted and digest(part) == digest(run("cem", generations=3))
    assert os.listdir(path.parent) == ["run.npz"]
    seen = []
    assert digest(run("cem", checkpoint=path, callback=seen.append)) == digest(run("cem"))
    assert seen[0].n_generations == 4


def test_a_checkpoint_at_a_link_is_the_file_that_it_leads_to(tmp_path, eager):
    target, link = tmp_path / "elsewhere" / "run.npz", tmp_path / "link.npz"
    target.parent.mkdir()
    link.symlink_to("elsewhere/run.npz")
    for generations in (3, 5):  # where nothing is, and where a file is
        run("cem", checkpoint=link, generations=generations)
        assert link.is_symlink() and os.listdir(target.parent) == ["run.npz"]
        part = run("cem", checkpoint=target, generations=generations)
        assert digest(part) == digest(run("cem", generations=generations))
    with pytest.raises(mf.CheckpointError, match="was deleted, replaced or changed"):
        run("cem", checkpoint=link, callback=lambda result: target.unlink(missing_ok=True))


def test_a_users_os_error_leaves_what_was_done_in_the_checkpoint(path):
    run("cem", Scripted(1.0, 2.0, 3.0), checkpoint=path, generations=3)
    first = path.read_bytes()
    path.unlink()
    with pytest.raises(OSError, match="mine"):
        run("cem", Scripted(1.0, 2.0, 3.0, OSError("mine")), checkpoint=path)
    with np.load(path) as members, np.load(io.BytesIO(first)) as wanted:
        assert members["trace"].tobytes() == wanted["trace"].tobytes()


# ------------------------------------------------------------------------------------------- forged


def put(array, place, value):
    array[place] = value


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda a, c: c.update(options=3),
        lambda a, c: c.pop("options"),
        lambda a, c: a.update(center=a["center"][1:]),
        lambda a, c: a.update(center=a["center"].astype(np.float32)),
        lambda a, c: put(a["center"], 0, np.nan),
        lambda a, c: put(a["scale"], 0, -1.0),
        lambda a, c: put(a["scale"], 0, np.inf),
        lambda a, c: a.update(rest_of_state=np.zeros(2)),
        lambda a, c: put(a["rest_of_state"], 1, 0.5),
        lambda a, c: put(a["rest_of_state"], 1, np.nan),
        lambda a, c: put(a["rest_of_state"], 2, 7.0),
        lambda a, c: a.update(seconds=np.array([-1.0, 1.0])),
        lambda a, c: a.update(seconds=np.array(["1", "2"])),
        lambda a, c: a.update(top=a["top"]["loss"]),
        lambda a, c: a.update(top=a["top"][:0], top_thetas=a["top_thetas"][:0]),
        lambda a, c: a.update(
            top=np.tile(a["top"], 2), top_thetas=np.tile(a["top_thetas"], (2, 1))
        ),
        lambda a, c: put(a["top"]["generation"], 0, 12),
        lambda a, c: put(a["top"]["index"], 0, -1),
        lambda a, c: put(a["top"]["index"], 0, 32),
        lambda a, c: a.update(top_thetas=a["top_thetas"][:-1]),
        lambda a, c: put(a["top_thetas"], (0, 0), np.inf),
        lambda a, c: a.update(trace=a["trace"]["best"]),
        lambda a, c: put(a["trace"]["generation"], 3, 4),
        lambda a, c: a.update(trace=a["trace"][::-1]),
    ],
)
def test_a_forged_state_is_a_damaged_checkpoint(path, change):
    run("cem", checkpoint=path)
    arrays, config = read_arrays(str(path), "checkpoint", ARRAYS)
    change(arrays, config)
    write_arrays(str(path), "checkpoint", arrays, config)
    with pytest.raises(
        mf.CheckpointError, match=r"is damaged, or no checkpoint of evolve \("
    ) as caught:
        run("cem", checkpoint=path)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 400


# ------------------------------------------------------------------------------------------ stops


def test_a_callback_sees_results_and_stops_a_run(path, eager):
    seen = []

    def stop_at_the_fifth(result):
        seen.append(digest(result))
        assert json.dumps(result.to_dict()) and repr(result)
        return len(seen) == 5

    part = run("snes", checkpoint=path, callback=stop_at_the_fifth)
    assert (part.stopped_by, part.n_generations, part.interrupted) == ("callback", 5, False)
    assert seen == [digest(run("snes", generations=g)) for g in range(1, 6)]
    assert digest(run("snes", checkpoint=path)) == digest(run("snes"))


@pytest.mark.parametrize("answer", [None, False, 1, "yes"])
def test_a_callback_that_does_not_return_true_stops_nothing(eager, answer):
    result = run("cem", callback=lambda result: answer)
    assert (result.stopped_by, result.n_generations) == (None, 12)


def test_callbacks_come_at_most_ten_times_a_second():
    calls = []
    result = run("cem", generations=500, callback=calls.append)
    assert 1 <= len(calls) <= 1 + result.elapsed / 0.1


def test_a_time_budget_ends_a_run_after_a_generation(path):
    part = run("cem", time_budget=1e-9, checkpoint=path)
    assert (part.stopped_by, part.n_generations) == ("time_budget", 1)
    assert "  stopped by  time budget" in repr(part).splitlines()
    assert digest(run("cem", checkpoint=path, time_budget=60)) == digest(run("cem"))
    assert run("cem", generations=1, time_budget=1e-9).stopped_by is None
    long = run("cem", generations=10**9, time_budget=0.2)
    assert long.stopped_by == "time_budget" and 0.2 <= long.elapsed < 0.6


def test_a_stall_ends_a_run_and_a_resumed_one(path):
    losses = [5.0, 4.0, 3.95, 3.99, 3.97, 3.96, 3.0]
    known = {}
    result = run("cem", Scripted(*losses, known=known), patience=3, tol=0.1, checkpoint=path)
    assert (result.stopped_by, result.n_generations, result.loss) == ("stall", 5, 3.95)
    again = run("cem", Scripted(known=known), patience=3, tol=0.1, checkpoint=path)
    assert (again.stopped_by, again.n_generations) == ("stall", 5)
    objective = Scripted(*losses[5:], known=known)
    longer = run("cem", objective, patience=5, tol=0.1, checkpoint=path)
    assert (longer.n_generations, longer.loss) == (12, 1.0)
    assert run("cem", Scripted(*losses), patience=3).n_generations == 6
    assert run("cem", Scripted(*losses), patience=4).loss == 1.0
    assert run("cem", Scripted(*[np.inf] * 12), patience=4).n_generations == 5


@pytest.mark.parametrize("call", [2, 7, 12])
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_keeps_the_best_so_far(method, call, path):
    class Tiring(Quadratic):
        fingerprint = "quadratic"
        left = call

        def batch_loss(self, thetas):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().batch_loss(thetas)

    part = run(method, Tiring(), checkpoint=path)
    assert (part.stopped_by, part.interrupted, part.n_generations) == ("interrupt", True, call - 1)
    assert digest(part) == digest(run(method, Quadratic(), generations=call - 1))
    resumed = Tiring()
    resumed.left = 0
    assert digest(run(method, resumed, checkpoint=path)) == digest(run(method, Quadratic()))


def test_an_interrupt_before_anything_is_done_is_raised():
    with pytest.raises(KeyboardInterrupt):
        run("cem", Scripted(KeyboardInterrupt()))


def test_an_interrupt_in_a_callback_is_an_interrupt(eager):
    def interrupt(result):
        raise KeyboardInterrupt

    assert run("cem", callback=interrupt).interrupted


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_the_checkpoint_is_written_keeps_the_result(path, monkeypatch, when):
    write, writes = evolution_run.write_arrays, []

    def interrupted(*arguments):
        writes.append(1)
        if when == "after":
            write(*arguments)
        if len(writes) == 2:
            raise KeyboardInterrupt
        if when == "before":
            write(*arguments)

    monkeypatch.setattr(evolution_run, "write_arrays", interrupted)
    result = run("cem", checkpoint=path)
    assert (result.stopped_by, result.n_generations) == (None, 12)
    assert digest(run("cem", checkpoint=path)) == digest(result) == digest(run("cem"))


@pytest.mark.long(everywhere=True)
def test_interrupts_at_any_moment_lose_nothing(path, eager, alarm):
    rng, objective, done = random.Random(0), logistic(n_threads=1), 0
    for life in range(1000):
        try:
            alarm(rng.uniform(0.001, 0.02) + life / 1e4)
            part = run("ars", objective, checkpoint=path, generations=40)
            alarm(0)
        except KeyboardInterrupt:
            continue
        assert part.n_generations >= done
        done = part.n_generations
        if not part.interrupted:
            break
    assert digest(part) == digest(run("ars", objective, generations=40))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_a_member_of_the_file_is_opened_is_no_other_error(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    write_arrays(str(tmp_path / "run.npz"), "checkpoint", {"a": np.arange(3)}, {})
    monkeypatch.setattr("zipfile._ZipWriteFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_arrays(str(tmp_path / "run.npz"), "checkpoint", {"a": np.arange(4)}, {})
    arrays, _ = read_arrays(str(tmp_path / "run.npz"), "checkpoint", ("a",))
    assert arrays["a"].tolist() == [0, 1, 2]


def test_an_error_of_a_users_objective_comes_out_and_the_checkpoint_stays(path):
    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        run("cem", Scripted(1.0, 1.0, ZeroDivisionError("mine")), checkpoint=path)
    seen = Scripted()
    assert run("cem", seen, checkpoint=path).n_generations == 12
    assert seen.calls == 1 + 10  # one for the best that the file holds


def test_progress_writes_a_line(capsys):
    run("cem", progress="always")
    assert "384" in capsys.readouterr().err
    run("cem", progress=True)
    assert capsys.readouterr().err == ""


# -------------------------------------------------------------------------------------- bad input

GOOD = {"objective": Quadratic(), "start": np.zeros(3), "population": 8, "generations": 2}
INTEGERS = {"start": mf.Integers(), "method": "integer_local_search"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"population": 1}, "population is 1: pass an integer of at least 2"),
        ({"population": 2.0}, "population is 2.0"),
        ({"method": "ars", "population": 7}, "population is 7, but 'ars' .* even"),
        ({"generations": 0}, "generations is 0: pass an integer of at least 1"),
        ({"generations": 2**62}, "population times generations"),
        ({"method": "cma"}, "method is 'cma' .*'cem', 'snes', 'ars', 'integer_local_search'"),
        ({"method": None}, "method is None: pass one of"),
        ({"method": "integer_local_search"}, r"start is an array: pass Integers\(\)"),
        ({**INTEGERS, "start": mf.Normal()}, r"start is Normal\(.*: pass Integers\(\)"),
        ({"start": mf.Integers()}, "pass method='integer_local_search'"),
        ({"start": mf.Mixture({0: mf.Normal(), (1, 2): mf.Integers()})}, "a start of one kind"),
        ({"start": np.zeros(4)}, "start has 4 entries, but the objective has 3 parameters"),
        ({"start": np.zeros((3, 1))}, r"start has shape \(3, 1\)"),
        ({"start": [0, np.inf, 0]}, "start has an entry that is not finite"),
        ({"start": [0, np.nan, 0]}, "start has an entry that is not finite"),
        ({"start": ["a", "b", "c"]}, "start has dtype"),
        ({"start": None}, "start is None: pass Normal"),
        ({"start": mf.Normal}, "start is .*: pass Normal"),
        ({"start": lambda start, count: np.zeros((count, 3))}, "start is .*function.*: pass"),
        ({"start": mf.Normal([0.0, 1.0])}, "the sampler has 2 parameters, but 3"),
        ({"start": mf.Uniform(0, 5e-324)}, "whose standard deviation is 0"),
        ({"start": mf.Normal(1e308, 1e308)}, "beyond the range of floats"),
        ({"start": mf.Normal(), "scale": 1.0}, "scale is given, but start is Normal"),
        ({"scale": 0.0}, "scale is 0.0: pass numbers above 0"),
        ({"scale": [1.0, 2.0]}, r"scale has shape \(2,\): pass a number, or an array of shape"),
        ({"scale": np.nan}, "scale has a value that is not finite"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"top_k": 0}, "top_k is 0"),
        ({"elite": 0.0}, "elite is 0.0"),
        ({"elite": 1.1}, "elite is 1.1: pass a number above 0 and at most 1"),
        ({"elite": "all"}, "elite is 'all'"),
        ({"smoothing": 0}, "smoothing is 0"),
        ({"smoothing": 2}, "smoothing is 2"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"noise": np.inf}, "noise is inf"),
        ({"noise_generations": 0}, "noise_generations is 0"),
        ({"learning_rate": 0.1}, "learning_rate is given, but method 'cem' does not use it"),
        ({"method": "ars", "learning_rate": 0}, "learning_rate is 0"),
        ({"method": "ars", "exploration": 0}, "exploration is 0"),
        ({"method": "snes", "scale_learning_rate": -1}, "scale_learning_rate is -1"),
        ({"method": "snes", "elite": 0.5}, "elite is given, but method 'snes'"),
        ({"method": "shrinking", "shrink": 1.01}, "shrink is 1.01"),
        ({"method": "shrinking", "shrink_stuck": 0}, "shrink_stuck is 0"),
        ({**INTEGERS, "restart_after": 0}, "restart_after is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"tol": -1}, "tol is -1"),
        ({"tol": np.nan}, "tol is nan"),
        ({"time_budget": 0}, "time_budget is 0"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"progress": "maybe"}, "progress is 'maybe'"),
        ({"callback": 3}, "callback is 3"),
        ({"metadata": {"a": object()}}, "metadata cannot be written as JSON"),
        ({"objective": None}, "objective is None"),
        ({"objective": mf.LogisticLoss}, "objective is .*: pass a LogisticLoss"),
        ({"objective": lambda thetas: 0}, "objective is"),
    ],
)
def test_bad_input_is_a_sentence(change, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        mf.evolve(**{**GOOD, **change})
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    "answer",
    [
        lambda thetas: thetas,
        lambda thetas: 1.0,
        lambda thetas: np.zeros(len(thetas) - 1),
        lambda thetas: ["a"] * len(thetas),
        lambda thetas: np.zeros(len(thetas), complex),
        lambda thetas: None,
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_losses_of_the_wrong_shape_or_dtype_are_an_error(method, answer):
    class Wrong:
        n_params, fingerprint = 3, "wrong"

        def batch_loss(self, thetas):
            return answer(thetas)

    with pytest.raises(ValueError, match="batch_loss of 32 thetas returned"):
        run(method, Wrong())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_losses_of_any_real_dtype_will_do(dtype):
    class Rounded(Quadratic):
        def batch_loss(self, thetas):
            return super().batch_loss(thetas).astype(dtype)

    objective = Rounded()
    objective.dtype = dtype
    assert run("cem", objective).loss == objective.batch_loss(run("cem", objective).theta[None])[0]


def test_the_start_is_not_kept():
    theta0 = np.zeros(3)

    class Sly(Quadratic):
        def batch_loss(self, thetas):
            theta0[:] = 9.0
            return super().batch_loss(thetas)

    wanted = mf.evolve(Quadratic(), np.zeros(3), method="shrinking", generations=5)
    assert digest(mf.evolve(Sly(), theta0, method="shrinking", generations=5)) == digest(wanted)


def test_names_asked_for_late_are_the_same_objects():
    from metaopt_fast.evolution.evolve import evolve
    from metaopt_fast.evolution.result import EvolveResult

    assert mf.evolve is evolve and mf.EvolveResult is EvolveResult
    assert isinstance(mf.evolve(Quadratic(), start_of("cem"), generations=1), mf.EvolveResult)
