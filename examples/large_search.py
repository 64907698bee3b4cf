"""
A search that outlives its process
==================================

A search that outlives its process: run it, stop it, run it again, and it goes on.

Twenty million checklists are drawn: models that add or subtract one point for each of at most
eight measurements that are above their mean. The one with the fewest errors is kept. Processes
share the work, and each finished shard is in the file ``large_search.sqlite`` before the search
goes on; what is evaluated when, where and beside what changes no bit of the result.

Run it: ``python examples/large_search.py [N_CANDIDATES [FILE]]``
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import matplotlib.pyplot as plt

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer


def main(n_candidates=20_000_000, path="large_search.sqlite", n_workers=2, seconds=60):
    """Search for some seconds, print what was found so far; return the result."""
    X, y, names = load_breast_cancer()
    X = X - X.mean(axis=0) > 0
    errors = mf.CountObjective(mf.ConfusionCounts(X, y, fit_intercept=True), "error")
    checklists = mf.Integers(
        # The last parameter is the intercept: how many points it takes.
        low=[-1] * len(names) + [-8],
        high=[1] * len(names) + [8],
        max_nonzero=8,
        free=(-1,),
    )
    with ProcessPoolExecutor(n_workers) as pool:
        result = mf.random_search(
            errors,
            checklists,
            n_candidates,
            seed=1,
            top_k=5,
            checkpoint=path,
            executor=pool,
            time_budget=seconds,
            progress=True,
        )
    print(result)
    if result.n_evaluated < n_candidates:
        print(f"{result.n_evaluated:,} of {n_candidates:,}: run it again to go on.")
    else:
        questions = [f"{name} above its mean" for name in names]
        print(result.scorecard(questions, X=X, y=y))
    return result


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3]).plot_trace()
    plt.show()
