"""How fast text files are read: ``python benches/reading.py [MEGABYTES]``.

Files of numbers as programs write them, of texts and of missing values are read by this package,
by numpy.loadtxt, which takes numbers alone, and by pandas, polars and pyarrow where they are
installed: megabytes for each second of the processor's time, the most of a few rounds that
alternate in one process. Numbers are compared first. On several threads, pyarrow and polars take
less of a clock's time than of the processors'.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from metaopt_fast.files.read import read_table
from metaopt_fast.files.wanted import Wanted

ROUNDS, COLUMNS = 3, 20


def write(path, megabytes, field):
    """Write rows of fields up to a size."""
    rng, names = np.random.default_rng(0), [f"x{j}" for j in range(COLUMNS)]
    with open(path, "w", encoding="ascii") as file:
        file.write(",".join([*names, "y"]) + "\n")
        rows = [field(rng) for _ in range(1000)]
        lines = "".join(",".join([*row, str(k % 2)]) + "\n" for k, row in enumerate(rows))
        for _ in range(max(1, int(megabytes * 1e6 / len(lines)))):
            file.write(lines)


def long_numbers(rng):
    return map(repr, rng.normal(size=COLUMNS).tolist())


def short_numbers(rng):
    return (f"{number:.2f}" for number in rng.normal(scale=50, size=COLUMNS))


def mixed(rng):
    row = [f"{number:.4g}" for number in rng.normal(size=COLUMNS)]
    row[0], row[1] = str(rng.choice(["Bern", "Oslo", "Rome"])), str(rng.choice(["", "17"]))
    return row


def readers(path):
    """Readers by name, of a table to an array of its numbers."""
    wanted = Wanted("y", categories="onehot", missing="mean")
    yield "metaopt_fast", lambda: read_table(path, wanted=wanted).X
    yield "numpy.loadtxt", lambda: np.loadtxt(path, delimiter=",", skiprows=1)[:, :-1]
    with contextlib.suppress(ImportError):
        import pandas

        yield "pandas", lambda: pandas.read_csv(path).to_numpy()[:, :-1]
    with contextlib.suppress(ImportError):
        import polars

        yield "polars", lambda: polars.read_csv(path).to_numpy()[:, :-1]
    with contextlib.suppress(ImportError):
        from pyarrow import csv

        yield "pyarrow", lambda: csv.read_csv(path).to_pandas().to_numpy()[:, :-1]


def rates(path, are_numbers):
    """Return megabytes for each second of processors, and of the clock, by reader."""
    known = {name: read for name, read in readers(path) if are_numbers or "loadtxt" not in name}
    times = {name: [] for name in known}
    for _ in range(ROUNDS):
        found = {}
        for name, read in known.items():
            begun = time.process_time(), time.perf_counter()
            found[name] = read()
            times[name].append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
        if are_numbers:
            for name in set(found) - {"polars", "pandas", "pyarrow"}:  # whose digits may differ
                assert found[name].tobytes() == found["metaopt_fast"].tobytes(), name
    size = Path(path).stat().st_size / 1e6
    return {name: size / np.min(of, axis=0) for name, of in times.items()}


def main(megabytes):
    print(f"{'':>16}{'MB/s of CPU':>14}{'of the clock':>14}{'ratio':>8}")
    for field, are_numbers in ((long_numbers, True), (short_numbers, True), (mixed, False)):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/rows.csv"
            write(path, megabytes, field)
            found = rates(path, are_numbers)
        print(field.__name__.replace("_", " "))
        for name, (cpu, clock) in found.items():
            ratio = found["metaopt_fast"][0] / cpu
            print(f"{name:>16}{cpu:14.0f}{clock:14.0f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 50.0)
