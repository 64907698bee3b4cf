"""Children of os.fork after parallel calls compute the same bits, and none hangs."""

import os
import signal
import threading
import time

from checks import Report, digest, parallel_calls

from metaopt_fast import _kernels

_kernels.insist(True)  # all threads, however busy the machine is
CHILDREN = 200
LIMIT = 2  # seconds of each child
CALLS = {
    name: lambda call=call: digest(*call()) for name, call in parallel_calls(n_threads=3).items()
}


def child(claim):
    """Fork; return "right", "wrong" or "hang", and the seconds that the child took."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            # Its default action ends the process even where no Python runs any more.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)
            code = 0 if claim() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    outcome = {0: "right", -signal.SIGALRM: "hang"}.get(code, "wrong")
    return outcome, time.perf_counter() - started


def is_parallel():
    """A parallel call leaves OpenMP's threads behind, beside the one that runs Python."""
    CALLS["batch_loss"]()
    return len(os.listdir("/proc/self/task")) > 1


def nested(call, wanted):
    return call() == wanted and child(lambda: call() == wanted)[0] == "right" and call() == wanted


def summary(outcomes):
    right, hang = (sum(o == name for o, _ in outcomes) for name in ("right", "hang"))
    longest = max(seconds for _, seconds in outcomes)
    text = f"{right} of {len(outcomes)} with the same bits, {hang} hangs, longest {longest:.2f} s"
    return right == len(outcomes), text


def main():
    report = Report()
    wanted = {name: call() for name, call in CALLS.items()}
    names, n = list(CALLS), len(CALLS)

    outcomes = []
    for i in range(CHILDREN):
        before, after = names[i % n], names[(i + i // n) % n]
        CALLS[before]()  # threads are alive at the fork
        outcomes.append(child(lambda name=after: CALLS[name]() == wanted[name]))
    report.line("children after parallel calls", *summary(outcomes))

    outcomes = []
    for i in range(CHILDREN):
        name = names[i % n]
        CALLS[name]()
        outcomes.append(child(lambda name=name: nested(CALLS[name], wanted[name])))
    report.line("children with children of their own", *summary(outcomes))

    stop, wrong = threading.Event(), []

    def compute():
        while not stop.is_set():
            wrong.extend(name for name in names if CALLS[name]() != wanted[name])

    worker = threading.Thread(target=compute)
    worker.start()
    outcomes = []
    for i in range(CHILDREN):
        name = names[i % n]
        if i % 2:
            CALLS[name]()
        outcomes.append(child(lambda name=name: CALLS[name]() == wanted[name]))
    stop.set()
    worker.join()
    holds, text = summary(outcomes)
    report.line(
        "forks while another thread computes",
        holds and not wrong,
        f"{text}, {len(wrong)} wrong results in the parent",
    )

    CALLS["batch_loss"]()
    outcome, _ = child(is_parallel)
    report.line("a child is parallel", outcome == "right", outcome)
    report.exit()


if __name__ == "__main__":
    main()
