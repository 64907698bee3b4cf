"""Long draws answer signals, Ctrl-C among them, every few million numbers."""

import signal

import pytest

import metaopt_fast as mf

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no timers that send signals"
)


@pytest.mark.parametrize(
    "call",
    [
        lambda count: mf.Uniform().sample(0, 0, 5_000 * count, 10),
        lambda count: mf.bootstrap_weights(10_000, 10 * count),
    ],
    ids=["sample", "bootstrap_weights"],
)
def test_signals_are_answered_between_a_few_million_numbers(call):
    call(1)  # what is imported by the first one takes time, too
    answered = []
    previous = signal.signal(signal.SIGALRM, lambda *_: answered.append(1))
    # One is always there: a few million numbers take longer.
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
    try:
        call(400)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    # Of 20 and 40 million numbers; Python's own looks are two or three.
    assert len(answered) >= 7
