"""What the constants of descents decide: how far losses rise and come back, what rounding hides.

Prints, for each method, loss and scale of the columns, the largest rise of a descent that came back
to its first loss (in units of 1 and that loss, as DIVERGED is) and the least rise of one that did
not, rates being up to 30,000 times the usual ones; and for each ROUNDING how L-BFGS ends.
"""

import numpy as np

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.descent import line_search, loop

X, Y, _ = load_breast_cancer()
Z = (X - X.mean(axis=0)) / X.std(axis=0)
COLUMNS = {"standardised": Z, "raw": X, "1 to 10,000": Z * np.geomspace(1e-2, 1e2, X.shape[1])}
METHODS = ("gd", "momentum", "nesterov", "rmsprop", "adam", "adagrad")
FACTORS = np.geomspace(0.03, 3e4, 60)


def rises(objective, method):
    """Return the rise of each descent from 0 and from random thetas, and whether it came back."""
    by_curvature = method in ("gd", "momentum", "nesterov")
    rates = FACTORS * (1 / objective.lipschitz() if by_curvature else 0.01)
    shape = (len(rates), objective.n_params)
    rise, came_back = [], []
    for starts in (np.zeros(shape), np.random.default_rng(0).normal(size=shape)):
        runs = mf.gradient_descent(
            objective, starts, method=method, learning_rate=rates, max_iter=1500, tol=1e-8
        )
        for trace, n_iter in zip(runs.trace, runs.n_iter, strict=True):
            rise.append(np.nanmax(trace[: n_iter + 1]) / (1 + trace[0]))
            came_back.append(trace[n_iter] <= trace[0])
    return np.array(rise), np.array(came_back)


def main():
    loop.DIVERGED = 1e290
    for name, columns in COLUMNS.items():
        for loss in (mf.LogisticLoss, mf.SquaredLoss):
            objective = loss(columns, Y, l2=1e-3, fit_intercept=True)
            for method in METHODS:
                rise, came_back = rises(objective, method)
                back = rise[came_back].max(initial=0.0)
                away = rise[~came_back].min(initial=np.inf)
                print(f"{name}, {loss.__name__}, {method}: back {back:.3g}, away {away:.3g}")
    for loss, l2 in ((mf.LogisticLoss, 1e-3), (mf.LogisticLoss, 1e-1), (mf.SquaredLoss, 1e-2)):
        for rounding in (0.0, 1e-16, 1e-15, 1e-12, 1e-8, 1e-3):
            line_search.ROUNDING = rounding
            objective = loss(Z, Y, l2=l2, fit_intercept=True)
            run = mf.gradient_descent(objective, method="lbfgs", max_iter=400, tol=1e-13)
            print(
                f"{loss.__name__}, l2={l2:g}, ROUNDING = {rounding:g}: {run.status} after "
                f"{run.n_iter}, gradient {float(run.gradient_norm):.1e}"
            )


if __name__ == "__main__":
    main()
