"""SIGINT at random times in every long call is answered at once, and the next call is right."""

import argparse
import random
import signal
import subprocess
import sys
import time

import numpy as np
from checks import Report, digest, problem
from scipy.sparse import csr_array

import metaopt_fast as mf
from metaopt_fast.sklearn import LogisticRegressionSearchCV, NetworkSearchCV

LIMIT = 0.2  # seconds to the answer
LOST = 20  # seconds from the call on after which it is no longer waited for

# For each line a number of seconds to wait, then a signal to the parent, its time, and how much
# time of processors the parent had taken by then (the number of Linux's clock of another process).
SENDER = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
CLOCK = ~os.getppid() << 3 | 2
for line in sys.stdin:
    time.sleep(float(line))
    sent, taken = time.monotonic(), time.clock_gettime(CLOCK)
    os.kill(os.getppid(), signal.SIGINT)
    print(sent, taken, flush=True)
"""

X, Y = problem(20_000, 30)
THETAS = np.random.default_rng(1).normal(size=(200_000, 30))  # seconds of work
LOSS = mf.LogisticLoss(X, Y, l2=1e-3)
NETWORK = mf.NetworkLoss(X, Y, n_hidden=64)
COUNTS, AUC = mf.ConfusionCounts(X, Y), mf.AUCObjective(X, Y)
TALL = np.ones((500_000, 60), np.float32)
MANY = np.tile(X, (10, 1)), np.tile(Y, 10), np.arange(10 * len(Y)) // 20  # rows of 10,000 tasks
CLASSES = 1 * Y + (X[:, 1] > 0.4)
NETWORK = mf.NetworkLoss(X[:2000], Y[:2000], n_hidden=16, l2=1e-3)
WIDE = problem(3000, 300)
SPARSE = csr_array(np.where(np.abs(X) > 1, X, 0))
BITS = np.random.default_rng(2).integers(0, 2, (20_000, 900), np.uint8)


def random_search():
    return mf.random_search(LOSS, mf.Normal(), 10**9).interrupted


def evolve():
    return mf.evolve(LOSS, mf.Normal(), generations=10**6, population=64, seed=1).interrupted


def gradient_descent():
    run = mf.gradient_descent(LOSS, learning_rate=1e-3, tol=0.0, max_iter=10**6)
    return run.status == "interrupted"


def enumerate_search():
    few = mf.LogisticLoss(X[:500, :8], Y[:500])
    return mf.enumerate_search(few, -5, 5, limit=10**9).interrupted


def search_descents():
    judge = mf.LogisticLoss(X, Y)
    rates = {"learning_rate": mf.LogUniform(0.01, 1)}
    return mf.search_descents(LOSS, rates, 10**5, validation=judge, batch=64).search.interrupted


def race_descents():
    asked = {"validation": mf.LogisticLoss(X, Y), "early_stopping": True, "max_iter": 10**4}
    rates = {"learning_rate": mf.LogUniform(1e-4, 1e-3)}
    return mf.search_descents(LOSS, rates, 256, racing="halving", **asked).search.interrupted


def descend_networks():
    thetas = NETWORK.starts().sample(0, 0, 300, NETWORK.n_params)
    asked = {"method": "adam", "learning_rate": 0.01, "tol": 0.0, "max_iter": 10**5}
    return "interrupted" in mf.gradient_descent(NETWORK, thetas, **asked).status


def fit_tasks():
    while not mf.fit_tasks(*MANY, l2=1e-3).interrupted:
        pass
    return True


def bootstrap():
    return mf.bootstrap(X, Y, l2=1e-3, n_resamples=10**5).interrupted


def data_values():
    return mf.data_values(X, Y, X, Y, l2=1e-3, n_subsets=10**5).interrupted


def learn_prior():
    return mf.learn_prior(X, Y, np.arange(len(X)) // 100, n_episodes=100).interrupted


def ended_by_the_signal(call):
    """A long call that has no result so far to return."""

    def run():
        call()
        return False

    run.__name__ = call.__name__
    return run


def fit_many():
    mf.fit_many(X, Y, l2=np.geomspace(1e-6, 1, 300), folds=np.arange(len(X)) % 10, tol=1e-13)


def fit_machines():
    l2, folds = np.geomspace(1e-6, 1, 300), np.arange(len(X)) % 10
    mf.fit_many(X, Y, l2=l2, folds=folds, loss="squared_hinge")


def fit_classes():
    mf.fit_many(X, CLASSES, l2=np.geomspace(1e-6, 1, 100), folds=np.arange(len(X)) % 10)


def fit_sparse():
    mf.fit_many(SPARSE, Y, l2=np.geomspace(1e-6, 1, 300), folds=np.arange(len(X)) % 10)


def fit_sparse_l1():
    l1 = mf.l1_max(SPARSE, Y) * np.geomspace(1, 0.01, 300)
    mf.fit_many(SPARSE, Y, l2=1e-6, l1=l1, folds=np.arange(len(X)) % 10)


def fit_grid_l1():
    l1 = mf.l1_max(*WIDE) * np.geomspace(0.5, 0.005, 5)
    l2 = np.geomspace(1e-6, 1e-2, 40)
    folds = np.arange(3000) % 10
    mf.fit_many(*WIDE, l2=np.repeat(l2, 5), l1=np.tile(l1, 40), folds=folds)


def stability_selection():
    l1 = mf.l1_max(X, Y) * np.geomspace(1, 0.05, 100)
    mf.stability_selection(X, Y, l1=l1, n_resamples=400)


def tune():
    LogisticRegressionSearchCV(n_iter=1000, cv=20, random_state=0).fit(X, Y)


def network_gradients():
    NETWORK.batch_loss_gradient(NETWORK.starts().sample(0, 0, 2000, NETWORK.n_params))


def network_search():
    NetworkSearchCV(n_iter=480, max_iter=10**4, n_iter_no_change=10**4, random_state=0).fit(X, Y)


def batch_loss():
    LOSS.batch_loss(THETAS)


def batch_loss_gradient():
    LOSS.batch_loss_gradient(THETAS)


def batch_counts():
    COUNTS.batch_counts(THETAS)


def batch_auc():
    AUC.batch_auc(THETAS)


def sample():
    mf.Normal().sample(0, 0, 10**7, 30)


def best_tree():
    mf.best_tree(BITS, BITS[:, 0] ^ BITS[:, 1], n_threads=1)


def pack():
    y = np.arange(len(TALL)) % 2
    while True:  # packing, or giving 120 MB back to the system, when the signal comes
        mf.LogisticLoss(TALL, y)


CALLS = [
    *(random_search, evolve, enumerate_search, search_descents, race_descents, gradient_descent),
    *(descend_networks, fit_tasks, bootstrap, data_values, learn_prior),
    *map(
        ended_by_the_signal,
        (fit_many, fit_machines, stability_selection, tune, batch_loss, batch_loss_gradient),
    ),
    *map(ended_by_the_signal, (fit_classes, fit_sparse, fit_sparse_l1, fit_grid_l1)),
    *map(ended_by_the_signal, (batch_counts, batch_auc, sample, pack, best_tree)),
    *map(ended_by_the_signal, (network_gradients, network_search)),
]


class Unanswered(BaseException):
    """A call went on as if there had been no interrupt."""


def give_up(number, frame):
    raise Unanswered


def small_calls():
    """A hash of calls that follow an interrupt."""
    search = mf.random_search(LOSS, mf.Normal(), 300, seed=1)
    run = mf.gradient_descent(LOSS, max_iter=3)
    return digest(LOSS.batch_loss(THETAS[:200]), search.top_thetas, run.theta)


def interrupt(call, sender, delay):
    """Call; return whether the signal was answered, and the seconds from it to the answer: those
    of a clock on the wall, and those of processors."""
    answered = False
    signal.alarm(LOST)
    try:
        sender.stdin.write(f"{delay}\n")
        sender.stdin.flush()
        answered = call()
        ended, taken = time.monotonic(), time.process_time()
    except KeyboardInterrupt:
        ended, taken, answered = time.monotonic(), time.process_time(), True
    except Unanswered:
        ended, taken = time.monotonic(), time.process_time()
    signal.alarm(0)
    sent, before = map(float, sender.stdout.readline().split())
    return answered, ended - sent, taken - before


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="*", help="names of calls, all by default")
    parser.add_argument("--interrupts", type=int, default=100, help="of each call")
    options = parser.parse_args()
    named = {call.__name__: call for call in CALLS}
    calls = [named[name] for name in options.calls or named]
    # A shell's background job ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, give_up)
    report, rng = Report(), random.Random(0)
    wanted = small_calls()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SENDER], **pipes) as sender:
        for call in calls:
            missed, wrong, seconds, of_processors = 0, 0, [], []
            for _ in range(options.interrupts):
                answered, took, used = interrupt(call, sender, rng.uniform(0.02, 0.4))
                missed += not answered
                seconds.append(took)
                of_processors.append(used)
                wrong += small_calls() != wanted
            report.line(
                f"{options.interrupts} interrupts of {call.__name__}",
                missed == wrong == 0 and max(seconds) < LIMIT,
                f"longest answer {max(seconds):.3f} s ({max(of_processors):.3f} of processors), "
                f"median {np.median(seconds):.3f} s ({np.median(of_processors):.3f}), "
                f"{missed} not answered, {wrong} wrong calls after it",
            )
        sender.stdin.close()
    report.exit()


if __name__ == "__main__":
    main()
