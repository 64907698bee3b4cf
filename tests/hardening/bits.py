"""Print a hash of the results of each part, and which kernels computed them, as JSON.

The data are whole numbers over powers of two, exact wherever they are made: NumPy's exponentials
differ from processor to processor.
"""

import importlib.util
import json
import tempfile
from pathlib import Path

import numpy as np
from checks import digest

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.files.read import read_table


def data(n_samples, n_features):
    rng = np.random.default_rng(0)
    X = rng.integers(-512, 513, (n_samples, n_features)) / 256
    y = (X.sum(axis=1) + rng.integers(-4, 5, n_samples)) > 0
    return X, y, rng.integers(1, 4, n_samples).astype(float)


def pointwise(loss, dtype):
    z = (np.arange(-(2**15), 2**15) / 2**5).astype(dtype)
    z = np.concatenate([z, np.ldexp(z, -18), np.ldexp(z, -100)])
    value, derivative = np.empty_like(z), np.empty_like(z)
    _kernels.pointwise(_kernels.LOSSES[loss], z, value, derivative)
    return value, derivative


def hashes():
    X, y, weights = data(1003, 7)
    candidates = mf.Normal().sample(0, 0, 300, 8)
    thetas = np.arange(-1200, 1200).reshape(300, 8) * 0.0078125
    parts = {
        "normal numbers": digest(candidates),
        "uniform numbers": digest(mf.Uniform(-3, 5).sample(1, 10**12, 300, 7)),
        "whole numbers": digest(mf.Integers(-5, 5).sample(2, 7, 300, 7)),
    }
    for dtype in ("float64", "float32"):
        for loss in sorted(_kernels.LOSSES):
            parts[f"pointwise {loss} {dtype}"] = digest(*pointwise(loss, dtype))
        for case, w in (("no weights", None), ("weights", weights)):
            objective = mf.LogisticLoss(X, y, w, l2=0.1, fit_intercept=True, dtype=dtype)
            both = objective.batch_loss_gradient(thetas)
            single = [objective.loss_gradient(theta) for theta in thetas[:5]]
            parts[f"losses {dtype} {case}"] = digest(*both, *[part for s in single for part in s])
        counts = mf.ConfusionCounts(X, y, fit_intercept=True, dtype=dtype)
        parts[f"counts {dtype}"] = digest(counts.batch_counts(thetas))
        auc = mf.AUCObjective(X, y, fit_intercept=True, dtype=dtype)
        parts[f"areas {dtype}"] = digest(auc.batch_loss(thetas))
    objective = mf.LogisticLoss(X, y, l2=0.01, fit_intercept=True)
    search = mf.random_search(objective, mf.Normal(), 20_000, seed=1)
    parts["random_search"] = digest(search.top, search.top_thetas)
    single = mf.LogisticLoss(X, y, fit_intercept=True, dtype="float32")
    search = mf.random_search(single, mf.Uniform(-3, 3), 20_000, seed=1)
    parts["random_search float32"] = digest(search.top, search.top_thetas)
    descent = mf.gradient_descent(objective, max_iter=200)
    parts["gradient_descent"] = digest(descent.theta)
    parts["evolve"] = digest(mf.evolve(objective, mf.Normal(), generations=10, seed=1).theta)
    parts["fit_many"] = digest(mf.fit_many(X, y, l2=[0.01, 0.1, 1.0]).theta)
    return (
        parts
        | {"numbers of a text file": of_text()}
        | of_few_rows(X[:201], y[:201], weights[:201])
        | of_sparse_rows(X[:201], y[:201], weights[:201])
    )


def of_text():
    """A hash of numbers that are read from their digits: short and long ones, near halves of the
    last place and near the ends of the range."""
    whole = [pow(7, n, 10**19) for n in range(1, 2001)]
    texts = [f"{n % 10 ** (1 + i % 19)}e{i * 37 % 609 - 320}" for i, n in enumerate(whole)]
    texts += [f"{2**53 + i}.{'0' * (i % 30)}{i % 2}" for i in range(1000)]
    texts += [f"-{n % 1000}.{n % 997:03}" for n in whole]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "numbers.csv")
        lines = (f"{text},{i % 2}\n" for i, text in enumerate(texts))
        path.write_text("x,t\n" + "".join(lines))
        return digest(read_table(path, "t").X)


def of_sparse_rows(X, y, weights):
    """Hashes of kernels of rows that are mostly zeros, where SciPy is installed."""
    if importlib.util.find_spec("scipy") is None:
        return {}
    from scipy.sparse import csr_array

    rows, classes = csr_array(np.where(np.abs(X) > 1, X, 0)), 1 * y + (X[:, 1] > 0.5)
    thetas = np.arange(-1200, 1200).reshape(300, 8) * 0.0078125
    losses = mf.LogisticLoss(rows, y, weights, l2=0.1, fit_intercept=True)
    fits = {
        "sparse fits": mf.fit_many(rows, y, l2=[0.01, 1.0], folds=np.arange(201) % 3),
        "sparse l1 path": mf.fit_many(rows, y, l2=0.01, l1=[0.1, 0.01]),
        "sparse classes": mf.fit_many(rows, classes, l2=0.1),
    }
    return {
        "sparse losses": digest(*losses.batch_loss_gradient(thetas)),
        **{name: digest(found.theta) for name, found in fits.items()},
    }


def of_few_rows(X, y, weights):
    """Hashes of kernels that have no candidates in lanes, or others in them."""
    classes = 1 * y + (X[:, 1] > 0.5)
    thetas = np.arange(-1200, 1200).reshape(50, 48)[:, :24] * 0.0078125
    softmax = mf.SoftmaxLoss(X, classes, weights, l2=0.1, fit_intercept=True)
    network = mf.NetworkLoss(X, y, weights, n_hidden=4, l2=0.01)
    starts = network.starts().sample(0, 0, 30, network.n_params)
    tasks, own = np.arange(201) // 25, np.arange(1005).reshape(5, 201) % 7 % 4
    resampled = mf.bootstrap(X, y, l2=0.1, n_resamples=9, seed=1)
    fits = {
        "l1 path": mf.fit_many(X, y, l2=0.01, l1=[0.1, 0.01]),
        "squared hinge": mf.fit_many(X, y, l2=0.1, loss="squared_hinge"),
        "own weights": mf.fit_many(X, y, l2=0.1, sample_weight=own.astype(np.uint8)),
        "classes": mf.fit_many(X, classes, l2=0.1),
        "tasks": mf.fit_tasks(X, y, tasks, l2=0.1, penalty_factor=np.ones(X.shape[1] + 1)),
    }
    return {
        "softmax": digest(*softmax.batch_loss_gradient(thetas)),
        "networks": digest(*network.batch_loss_gradient(starts)),
        "descents of networks": digest(
            mf.gradient_descent(network, starts[:9], method="adam", max_iter=20).theta
        ),
        "best_tree": digest(mf.best_tree(X[:, :3], y, n_thresholds=6).counts),
        "bootstrap": digest(resampled.bootstrap_distribution),
        **{name: digest(found.theta) for name, found in fits.items()},
    }


def main():
    print(
        json.dumps({"isas": _kernels.supported_isas(), "isa": _kernels.isa()[0], "bits": hashes()})
    )


if __name__ == "__main__":
    main()
