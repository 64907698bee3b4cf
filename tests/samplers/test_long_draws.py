"""Long draws answer signals, Ctrl-C among them, every few million numbers."""

import pytest

import metaopt_fast as mf


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    "call",
    [
        lambda count: mf.Uniform().sample(0, 0, 5_000 * count, 10),
        lambda count: mf.bootstrap_weights(10_000, 10 * count),
    ],
    ids=["sample", "bootstrap_weights"],
)
def test_signals_are_answered_between_a_few_million_numbers(looks_of, call):
    call(1)  # what is imported by the first one takes time, too
    _, *answered, _ = looks_of(lambda: call(400))
    # Of 20 and 40 million numbers; Python's own looks are two or three.
    assert len(answered) >= 7
