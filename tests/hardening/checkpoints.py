"""Checkpoints and results: killed at any time, cut and changed at every byte, mutated at random.

What is read from such a file is the right result, or is refused by an error that names the file in
one sentence; nothing that was acknowledged is lost. A file of a model is text without a sum of its
own: a changed digit is another model, which must be whole.
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
import time

import numpy as np
from checks import Report, digest, problem

import metaopt_fast as mf
from metaopt_fast.evolution import run as evolution_run
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards

LIMIT = 20  # seconds of a single load
N_CANDIDATES, GENERATIONS = 2_000_000, 4000

X, Y = problem(200, 5)
LOSS = mf.LogisticLoss(X, Y, l2=1e-3, n_threads=1)
BOX = mf.LogisticLoss(X[:, :4], Y, n_threads=1)


class Hang(BaseException):
    """A load took too long; not an Exception, so that nothing takes it for its own."""


def hang(signum, frame):
    raise Hang


# ------------------------------------------------------------------------------------- what is run


def random_search(path, n_candidates=N_CANDIDATES, seed=3, **options):
    options = {"top_k": 5, "seed": seed, "checkpoint": path, **options}
    return mf.random_search(LOSS, mf.Normal(), n_candidates, **options)


def enumerate_search(path, **options):
    return mf.enumerate_search(BOX, -12, 12, top_k=5, checkpoint=path, **options)


def evolve(path, generations=GENERATIONS, seed=3, **options):
    options = {"population": 16, "patience": None, "seed": seed, "checkpoint": path, **options}
    return mf.evolve(LOSS, mf.Normal(), generations=generations, **options)


def bits(result):
    return digest(result.top, result.top_thetas, result.trace)


# ------------------------------------------------------------------------------------------- kills


def at_every_step():
    """Commit and call back as often as a run can."""
    search.CALLBACK_INTERVAL = search.COMMIT_INTERVAL = 0.0
    evolution_run.CALLBACK_INTERVAL = evolution_run.COMMIT_INTERVAL = 0.0


def live(run, path, pipe):
    """In a child: run to the end, and tell after each step how many candidates are safe."""
    at_every_step()

    def acknowledge(result):
        os.write(pipe, result.n_evaluated.to_bytes(8, "little"))

    acknowledge(run(path, callback=acknowledge))


def kill_one(run, path, delay, later):
    """Let a child live so long, from its first word on if `later`; return what it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(run, path, writer)
        finally:
            os._exit(0)
    os.close(writer)
    told = os.read(reader, 8) if later else b""
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        told += pipe.read()
    return [int.from_bytes(told[k : k + 8], "little") for k in range(0, len(told) - 7, 8)]


def kills(report, folder, run, rng, n_kills):
    path, safe, lives, lost = os.path.join(folder, "killed"), 0, 0, 0
    for kill in range(n_kills):
        told = kill_one(run, path, rng.uniform(0.0, 0.05), later=kill % 2)
        lives += bool(told)
        # The first word of a life is of what the one before left, and of one step more.
        lost += bool(told) and told[0] < safe
        safe = max([safe, *told])
    restored = []
    result = run(path, callback=lambda part: restored.append(part.n_evaluated))
    lost += bool(restored) and restored[0] < safe
    right = bits(result) == bits(run(None))
    report.line(
        f"{n_kills} kills of {run.__name__}",
        right and not lost and lives >= n_kills / 2,
        f"{lives} lives that acknowledged something, {safe:,} candidates safe, {lost} times less "
        f"than that, the result is {'right' if right else 'WRONG'}",
    )


# ------------------------------------------------------------------------------------------ damage


class Kind:
    """A kind of file: how it is loaded, its whole content, and contents of others like it."""

    def __init__(self, folder, name, write, load, errors):
        self.name, self.load, self.errors = name, load, errors
        self.path = os.path.join(folder, name)
        self.whole = self.written(write, 3)
        self.others = [self.written(write, seed) for seed in (4, 5)]
        self.wanted = {self.loaded(self.whole)}
        if errors is ValueError:
            # Another result, and bytes behind it: no damage, it is loaded as what it is.
            self.wanted |= {self.loaded(other) for other in self.others}

    def written(self, write, seed):
        self.clear()
        write(self.path, seed)
        with open(self.path, "rb") as file:
            return file.read()

    def loaded(self, content):
        self.put(content)
        return self.load(self.path)

    def clear(self):
        for suffix in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(self.path + suffix):
                os.unlink(self.path + suffix)

    def put(self, content):
        self.clear()
        with open(self.path, "wb") as file:
            file.write(content)

    def is_right(self, content):
        return self.loaded(content) in self.wanted

    def outcome(self, content):
        """Load a content; return "right", "refused", or what went wrong."""
        signal.alarm(LIMIT)
        try:
            return "right" if self.is_right(content) else "wrong result"
        except self.errors as error:
            text = str(error)
            whole = self.name in text and "\n" not in text and text.endswith(".")
            return "refused" if whole and len(text) < 500 else f"no sentence: {text!r}"
        except Hang:
            return f"no answer in {LIMIT} s"
        except Exception as error:
            return repr(error)
        finally:
            signal.alarm(0)


class ModelKind(Kind):
    """A model's file: whatever is read can be kept and read again, and decides as it says."""

    def is_right(self, content):
        text = self.loaded(content).to_json()
        return self.loaded(text.encode()).to_json() == text


def kinds(folder):
    def resumed(path):
        return bits(random_search(path, 1000))

    def evolved(path):
        return bits(evolve(path, 12))

    def saved(path, seed):
        random_search(None, 1000, seed).save(path)

    def saved_evolution(path, seed):
        evolve(None, 12, seed).save(path)

    def loaded(path):
        result = mf.SearchResult.load(path)
        return bits(result), repr(result.config), result.ranges

    def loaded_evolution(path):
        result = mf.EvolveResult.load(path)
        return bits(result), repr(result.config), result.elapsed

    return [
        Kind(
            folder,
            "search.sqlite",
            lambda path, seed: random_search(path, 1000, seed),
            resumed,
            mf.CheckpointError,
        ),
        Kind(
            folder,
            "evolution.npz",
            lambda path, seed: evolve(path, 12, seed),
            evolved,
            mf.CheckpointError,
        ),
        Kind(folder, "result.npz", saved, loaded, ValueError),
        Kind(folder, "evolved.npz", saved_evolution, loaded_evolution, ValueError),
        *(
            ModelKind(folder, f"{name}.json", save, mf.load_model, ValueError)
            for name, save in MODELS.items()
        ),
    ]


NETWORK = mf.NetworkLoss(X, Y, n_hidden=2, n_threads=1)
MODELS = {
    "linear": lambda path, seed: random_search(None, 1000, seed).model().save(path),
    "classes": lambda path, seed: (
        mf.fit_many(X, Y + 2 * (X[:, 0] > seed / 9), l2=0.1, n_threads=1).model().save(path)
    ),
    "network": lambda path, seed: (
        mf.random_search(NETWORK, NETWORK.starts(), 50, seed=seed).model().save(path)
    ),
    "tree": lambda path, seed: mf.best_tree(X + seed, Y, depth=2, n_threads=1).model().save(path),
}


def tally(report, check, outcomes, allowed=("right", "refused")):
    counted = {text[:200]: outcomes.count(text) for text in sorted(set(outcomes))}
    figure = ", ".join(f"{count} {text}" for text, count in counted.items())
    report.line(f"{len(outcomes)} {check}", set(outcomes) <= set(allowed), figure)


def cuts(kind, every):
    return [kind.outcome(kind.whole[:length]) for length in range(0, len(kind.whole), every)]


def changes(kind, every):
    """Bytes inverted, one at a time."""
    outcomes = []
    for place in range(0, len(kind.whole), every):
        content = bytearray(kind.whole)
        content[place] ^= 0xFF
        outcomes.append(kind.outcome(content))
    return outcomes


def piece(content, rng, unit):
    """A random slice of a content, of whole units."""
    start = rng.randrange(len(content)) // unit * unit
    return slice(start, start + unit * rng.randint(1, 64 if unit == 1 else 2))


def mutant(kind, everything, rng):
    """A content mutated once or more."""
    content = bytearray(kind.whole)
    for _ in range(rng.choice([1, 1, 2, 4])):
        unit = rng.choice([1, 512, 4096])
        here = piece(content, rng, unit)
        donor = rng.choice([content, kind.whole, *kind.others, *everything])
        how = rng.randrange(7)
        if how == 0:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif how == 1:  # two pieces swapped
            there = piece(content, rng, unit)
            content[here], content[there] = content[there], content[here]
        elif how == 2:  # the same place of another valid file
            content[here] = donor[here]
        elif how == 3:  # any place of one, inserted
            content[here.start : here.start] = donor[piece(donor, rng, unit)]
        elif how == 4:
            del content[here]
        elif how == 5:
            content[here] = rng.choice([b"\0", b"\xff"]) * len(content[here])
        else:
            content = bytearray(donor)
        if not content:
            break
    return bytes(content)


def mutants(kind, everything, rng, count):
    return [kind.outcome(mutant(kind, everything, rng)) for _ in range(count)]


# ------------------------------------------------------------------------------------- full disks


def full_disk(run, path, limit):
    """In a child that may write so many bytes: 0 if it got an OSError of one sentence."""
    import resource

    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        at_every_step()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        run(path)
        code = 3  # it fitted
    except OSError as error:
        code = 0 if path in str(error) and str(error).endswith(".") else 2
    finally:
        os._exit(code)


def full_disks(report, folder, run, wanted, largest):
    outcomes, wrong = [], 0
    for k, limit in enumerate(np.linspace(0, largest, 25).astype(int).tolist()):
        path = os.path.join(folder, f"{run.__name__}{k}")
        outcomes.append(full_disk(run, path, limit))
        wrong += bits(run(path)) != wanted
    report.line(
        f"{len(outcomes)} sizes of a disk for {run.__name__}",
        set(outcomes) <= {0, 3} and not wrong and 0 in outcomes,
        f"{outcomes.count(0)} full, {outcomes.count(3)} large enough, then {wrong} wrong results",
    )


def main(folder):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of each kind of run")
    parser.add_argument("--mutants", type=int, default=10_000, help="of each kind of file")
    parser.add_argument("--every", type=int, default=1, help="cut and change one byte in so many")
    options = parser.parse_args()
    report, rng = Report(), random.Random(0)
    signal.signal(signal.SIGALRM, hang)
    shards.LARGEST_SHARD = 256  # many of them in little time
    for run in (random_search, enumerate_search, evolve):
        os.mkdir(place := os.path.join(folder, run.__name__))
        kills(report, place, run, rng, options.kills)

    def short_search(path):
        return random_search(path, 20_000)

    def short_evolution(path):
        return evolve(path, 40)

    for run, largest in ((short_search, 60_000), (short_evolution, 12_000)):
        full_disks(report, folder, run, bits(run(None)), largest)
    every = kinds(folder)
    contents = [kind.whole for kind in every]
    for kind in every:
        tally(report, f"cuts of {kind.name}", cuts(kind, options.every))
        tally(report, f"changed bytes of {kind.name}", changes(kind, options.every))
        tally(report, f"mutants of {kind.name}", mutants(kind, contents, rng, options.mutants))
    report.exit()


if __name__ == "__main__":
    # In memory where there is such a place: what is tried is the reader, not the disk.
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    made = tempfile.mkdtemp(dir=place)
    try:
        main(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
