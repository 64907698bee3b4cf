"""Products of dimensions beyond 2^31 are exact: rows, features and candidates, two by two.

Most of the memory is pages that nothing has been written to, which take none.
"""

import math
import resource

import numpy as np
from checks import Report

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.data.packed import BLOCK_ROWS, PANEL_ROWS
from metaopt_fast.data.storage import IN_MEMORY

BEYOND = 2**31
LN2 = math.log(2)
THREADS = 2


def softplus(z):
    return np.logaddexp(0, z)


def near(found, wanted):
    """Whether numbers agree but for the rounding of a sum of blocks."""
    return bool((np.abs(np.asarray(found) / wanted - 1) < 1e-14).all())


def zero_rows(loss, n_blocks, n_params, last):
    """Full blocks of zeros but for the last one, whose rows are `last`."""
    panels = IN_MEMORY.zeros(n_blocks * BLOCK_ROWS * n_params * 8)
    of_last = panels.view(np.float64)[-BLOCK_ROWS * n_params :]
    of_last.reshape(-1, n_params, PANEL_ROWS)[:] = last.reshape(-1, PANEL_ROWS, n_params).transpose(
        0, 2, 1
    )
    return _kernels.PackedRows(
        _kernels.LOSSES[loss],
        False,
        n_params,
        n_params,
        np.arange(n_blocks) * (BLOCK_ROWS // PANEL_ROWS),
        np.full(n_blocks, BLOCK_ROWS, np.intc),
        np.ones(n_blocks),
        panels,
        None,
        float(n_blocks * BLOCK_ROWS),
        0.0,
        float(np.abs(last).max()),
    )


def check_rows_by_features(report, rng):
    n_params = 1024
    n_blocks = BEYOND // n_params // BLOCK_ROWS + 1
    n_rows, last = n_blocks * BLOCK_ROWS, rng.normal(size=(BLOCK_ROWS, n_params))
    rows = zero_rows("logistic", n_blocks, n_params, last)
    for K in (1, 24):
        thetas = rng.normal(size=(K, n_params)) / 30
        losses, gradients = np.empty(K), np.empty((K, n_params))
        rows.evaluate(thetas, losses, gradients, THREADS)
        z = thetas @ last.T
        wanted = ((n_rows - BLOCK_ROWS) * LN2 + softplus(z).sum(axis=1)) / n_rows
        slopes = (1 / (1 + np.exp(-z))) @ last / n_rows
        error = np.abs(gradients - slopes).max() * n_rows
        report.line(
            f"{n_rows:,} rows x {n_params} features, {K} thetas",
            near(losses, wanted) and error < 1e-12,
            f"{n_rows * n_params / BEYOND:.2f} x 2^31 numbers, loss exact, sums of slopes to "
            f"{error:.0e}",
        )


def check_rows(report, rng):
    n_blocks = BEYOND // BLOCK_ROWS + 1
    n_rows, last = n_blocks * BLOCK_ROWS, rng.normal(size=(BLOCK_ROWS, 1))
    for loss, of_zero, value in (
        ("logistic", LN2, softplus),
        ("zero_one_and_ties", 1, lambda z: z >= 0),
    ):
        rows, found = zero_rows(loss, n_blocks, 1, last), np.empty(1)
        rows.evaluate(np.array([[2.0]]), found, None, THREADS)
        wanted = ((n_rows - BLOCK_ROWS) * of_zero + value(2 * last).sum()) / n_rows
        report.line(f"{n_rows:,} rows, {loss}", near(found, wanted), f"mean {found[0]:.17g}")


def check_rows_by_candidates(report, rng):
    n_rows, K = 2**20, 2**11 + 8
    X = rng.normal(size=(n_rows, 4))
    objective = mf.LogisticLoss(X, X[:, 0] > X[:, 1])
    losses = objective.sampled_loss(mf.Normal(), 1, 0, K)
    some = mf.Normal().sample(1, K - 8, 8, 4)
    pruned, fraction = objective.pruned_loss(mf.Normal(), 1, 0, K, losses.min())
    best = losses.argmin()
    report.line(
        f"{n_rows:,} rows x {K:,} candidates",
        losses[-8:].tobytes() == objective.batch_loss(some).tobytes()
        and pruned[best] == losses[best]
        and 0 < fraction <= 1,
        f"{n_rows * K / BEYOND:.2f} x 2^31 pairs, the last ones have their bits, {fraction:.1%} "
        "of them computed with the best as a limit",
    )


def check_candidates_by_features(report, rng):
    n_params = 1024
    K = BEYOND // n_params + 8
    X = rng.normal(size=(8, n_params))
    objective = mf.LogisticLoss(X, np.arange(8) % 2)
    thetas = np.zeros((K, n_params))
    thetas[-1] = rng.normal(size=n_params) / 30
    losses = objective.batch_loss(thetas)
    report.line(
        f"{K:,} candidates x {n_params} features",
        losses[-1] == objective.loss(thetas[-1]) and near(losses[:-1], LN2),
        f"{K * n_params / BEYOND:.2f} x 2^31 numbers, the last one has its bits",
    )


def check_packing(report):
    row, n_rows = np.linspace(-1, 1, 14, dtype=np.float32), 40_000_000
    X = np.broadcast_to(row, (n_rows, len(row)))
    objective = mf.LogisticLoss(X, np.arange(n_rows) % 2, dtype="float32")
    theta = np.arange(14) / 14
    margin = float(theta.astype(np.float32).astype(float) @ row.astype(float))
    wanted = (softplus(margin) + softplus(-margin)) / 2
    error = abs(objective.loss(theta) / wanted - 1)
    report.line(
        f"X of {n_rows:,} x {len(row)}, packed",
        error < 1e-6,
        f"{X.nbytes / BEYOND:.2f} x 2^31 bytes, in single precision to {error:.0e}",
    )


def main():
    report, rng = Report(), np.random.default_rng(0)
    check_rows_by_features(report, rng)
    check_rows_by_candidates(report, rng)
    check_candidates_by_features(report, rng)
    check_rows(report, rng)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report.line("memory of the above", peak < 4, f"{peak:.1f} GB at most")
    check_packing(report)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report.line("memory of all", peak < 8, f"{peak:.1f} GB at most")
    report.exit()


if __name__ == "__main__":
    main()
