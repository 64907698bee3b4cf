"""Models of thousands of tasks beside a loop of scikit-learn's.

``python benches/tasks.py`` prints CPU time of one thread for each task, ours and theirs in one run:
with a penalty to 0, and with one to a centre. Run it with OMP_NUM_THREADS=1 and
OPENBLAS_NUM_THREADS=1.
"""

import time

import numpy as np
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf

ROUNDS, THEIR_FITS, L2 = 5, 100, 0.1


def problem(n_tasks, n_rows, n_features):
    """Return rows, labels and tasks whose models are near a common one, and that one."""
    rng = np.random.default_rng(0)
    center = np.append(rng.normal(size=n_features) * 0.5, 0.0)
    theta = center + 0.3 * rng.normal(size=(n_tasks, n_features + 1))
    X = rng.normal(size=(n_tasks, n_rows, n_features))
    z = (X * theta[:, None, :-1]).sum(axis=2) + theta[:, -1:]
    y = z + rng.logistic(size=z.shape) > 0
    y[:, 0], y[:, 1] = False, True
    tasks = np.repeat(np.arange(n_tasks), n_rows)
    return X.reshape(-1, n_features), y.ravel(), tasks, center


def theirs(X, y, n_rows):
    for k in range(THEIR_FITS):
        rows = slice(k * n_rows, (k + 1) * n_rows)
        LogisticRegression(C=1 / (L2 * n_rows), max_iter=1000).fit(X[rows], y[rows])


def seconds(call, *arguments, **options):
    start = time.process_time()
    call(*arguments, **options)
    return time.process_time() - start


def main():
    for n_tasks, n_rows, n_features in ((10_000, 20, 30), (2000, 100, 30)):
        X, y, tasks, center = problem(n_tasks, n_rows, n_features)
        times = {"to 0": [], "to a centre": [], "scikit-learn": []}
        ours = {"l2": L2, "n_threads": 1}
        for _ in range(ROUNDS):
            own = seconds(mf.fit_tasks, X, y, tasks, **ours)
            times["to 0"].append(own / n_tasks)
            own = seconds(mf.fit_tasks, X, y, tasks, center=center, **ours)
            times["to a centre"].append(own / n_tasks)
            times["scikit-learn"].append(seconds(theirs, X, y, n_rows) / THEIR_FITS)
        least = {name: min(of) for name, of in times.items()}
        print(f"{n_tasks} tasks of {n_rows} rows x {n_features} features:")
        for name, of in least.items():
            print(f"  {name:14} {1e6 * of:8.1f} us a task, {least['scikit-learn'] / of:5.0f}x")


if __name__ == "__main__":
    main()
