"""What the tuning constants of fits cost: the CPU time of grids of fits with each at other values.

Prints, for each constant and value, the time of one thread beside that of the value in the source,
the least of several rounds in which all values take turns. `fitting_constants.py SLOW STRIDE`
measures two of them alone. Those of support vector machines begin with MACHINES_.
"""

import sys
import time

import numpy as np

from metaopt_fast.fitting import hinge, newton, starts, training_sets
from metaopt_fast.fitting.fit_many import fit_many

ROUNDS = 5
CONSTANTS = {
    "SLOW": (newton, (0.25, 0.7)),
    "PATIENCE": (newton, (0.1, 0.25, 1.0, 2.0)),
    "ITERATION": (newton, (0.0, 5e6, 8e7)),
    "NEAR": (newton, (0.1, 0.5, 4.0)),
    "STRIDE": (newton, (2, 4, 10, 20)),
    "MIN_LEADS": (newton, (4, 8, 32)),
    "BATCH_BYTES": (newton, (2**22, 2**24, 2**28)),
    "N_ANCHORS": (starts, (4, 8, 20, 30)),
    "ANCHOR_DECREMENT": (starts, (0.3, 0.1, 0.003)),
    "SKETCH": (training_sets, (4, 64, 10**9)),
    "MACHINES_SLOW": (hinge, (0.001, 0.1, 0.3)),
    "MACHINES_STRIDE": (hinge, (2, 5, 20)),
    "MACHINES_MIN_LEADS": (hinge, (4, 12, 24)),
}
LOSSES = {hinge: "squared_hinge"}


def grids():
    """Yield the arguments of fits: small and wide ones, many rows, and columns of any scale."""
    for n, p, n_penalties, scale in ((569, 30, 40, 0), (1797, 64, 40, 0), (569, 30, 200, 1)):
        yield grid(n, p, n_penalties, scale)
    yield grid(20_000, 20, 60, 0)


def grid(n, p, n_penalties, scale):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1))
    y = (X * rng.normal(size=p)).sum(axis=1) + 3 * rng.normal(size=n) > 0
    X *= 10.0 ** (scale * rng.uniform(-1, 1, p))
    l2 = np.logspace(-5, 1, n_penalties)
    return {"X": X, "y": y, "l2": l2, "folds": np.arange(n) % 5, "n_threads": 1}


def seconds(arguments, loss):
    start = time.process_time()
    fit_many(**arguments, loss=loss)
    return time.process_time() - start


def main():
    wanted = sys.argv[1:] or list(CONSTANTS)
    tasks = list(grids())
    print("constant, value: CPU time beside that of the source's value, in each grid")
    for key in wanted:
        module, values = CONSTANTS[key]
        name, loss = key.removeprefix("MACHINES_"), LOSSES.get(module, "logistic")
        kept = getattr(module, name)
        least = {value: [np.inf] * len(tasks) for value in (kept, *values)}
        for _ in range(ROUNDS):
            for value, best in least.items():
                setattr(module, name, value)
                times = [seconds(task, loss) for task in tasks]
                best[:] = map(min, best, times)
        setattr(module, name, kept)
        for value in values:
            ratios = (a / b for a, b in zip(least[value], least[kept], strict=True))
            print(f"{key} {value:g} ({kept:g}):", " ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
