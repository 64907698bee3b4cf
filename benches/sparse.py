"""What sparse rows take: CPU time of scikit-learn over that of metaopt_fast, on text.

``python benches/sparse.py [news] [glosses]`` prints, for each data set: the time of a loss with its
gradient, of 24 thetas in a batch and of one alone, beside scikit-learn's; that of 8 penalties on 3
folds, with their largest proven gap, beside newton-cg's and liblinear's at a tol of 1e-6, model by
model, and how much their objective is above ours at most; and that of a path of 30 l1 penalties,
down to 0.003 of the strongest, on all rows and on 3 folds, beside liblinear's. "news" is made up,
of the size of 20newsgroups (11,000 x 49,763, 165 numbers in a row); "glosses" are those of
WordNet's nouns (19,983 x 37,075, 16 in a row), where Debian's package wordnet-base is installed. On
one thread, in one process; there is no intercept, which liblinear would penalise.
"""

import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.sparse
from sklearn._loss import HalfBinomialLoss
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._linear_loss import LinearModelLoss

import metaopt_fast as mf

GLOSSES = Path("/usr/share/wordnet/data.noun")
ROUNDS = 5


def news(n=11_000, n_words=50_000, length=150, n_classes=20):
    """Words of a long tail, and of each class's topics, weighted as TF-IDF does."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, n_words + 1) ** 1.05
    y = rng.integers(n_classes, size=n)
    topics = [np.sort(rng.choice(n_words, 400, replace=False)) for _ in range(n_classes)]
    words = [
        np.concatenate(
            [
                rng.choice(n_words, int(1.6 * length), p=shares / shares.sum()),
                rng.choice(topics[k], 8),
            ]
        )
        for k in y
    ]
    rows = np.repeat(np.arange(n), [len(some) for some in words])
    ones = np.ones(len(rows))
    X = scipy.sparse.csr_matrix((ones, (rows, np.concatenate(words))), (n, n_words))
    X.sum_duplicates()
    counts = np.bincount(X.indices, minlength=n_words)
    X.data = (1 + np.log(X.data)) * (np.log((1 + n) / (1 + counts)) + 1)[X.indices]
    X = scipy.sparse.diags(1 / np.sqrt(X.multiply(X).sum(axis=1).A1)) @ X[:, counts > 0]
    return X.tocsr(), y


def glosses(n=20_000):
    """The glosses of WordNet's nouns, their class being the lexicographer's file."""
    lines = [line for line in GLOSSES.open(encoding="latin-1") if not line.startswith("  ")]
    some = np.random.default_rng(0).permutation(len(lines))[:n]
    kinds = np.array([int(lines[i].split(maxsplit=2)[1]) for i in some])
    kept = np.bincount(kinds)[kinds] >= 20
    texts = [lines[i].split("|", 1)[1].strip() for i in some[kept]]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    return vectorizer.fit_transform(texts).tocsr(), kinds[kept]


def seconds(call, rounds=ROUNDS):
    """The least CPU time of some calls."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def compare_passes(X, y):
    """Print the time of a loss with its gradient."""
    objective = mf.LogisticLoss(X, y, n_threads=1)
    thetas = np.random.default_rng(0).normal(size=(24, X.shape[1]))
    theirs = LinearModelLoss(base_loss=HalfBinomialLoss(), fit_intercept=False)
    labels = y.astype(float)
    many, one, their = [], [], []
    for _ in range(ROUNDS):
        many.append(seconds(lambda: objective.batch_loss_gradient(thetas), 1) / len(thetas))
        one.append(seconds(lambda: objective.loss_gradient(thetas[0]), 1))
        their.append(seconds(lambda: theirs.loss_gradient(thetas[0], X, labels, None, 0.0, 1), 1))
    print(
        f"    pass: {min(many) * 1e3:.3f} ms in a batch, {min(their) / min(many):.1f}x; "
        f"{min(one) * 1e3:.3f} ms alone, {min(their) / min(one):.1f}x",
        flush=True,
    )


def compare_fits(X, y):
    """Print the time of 8 penalties on 3 folds."""
    folds = np.random.default_rng(0).permutation(len(y)) % 3
    strengths = np.logspace(-1, 2, 8)
    l2 = 1 / (strengths[:, None] * np.array([np.count_nonzero(folds != f) for f in range(3)]))
    options = {"l2": l2, "folds": folds, "fit_intercept": False, "n_threads": 1}
    fits = mf.fit_many(X, y, **options)
    ours = seconds(lambda: mf.fit_many(X, y, **options), 3)
    print(f"    24 models: {ours:.2f} s, gaps up to {fits.gap_bound.max():.0e}", flush=True)
    for solver in ("newton-cg", "liblinear"):
        excess, started = -np.inf, time.process_time()
        for (m, f), loss in np.ndenumerate(fits.loss):
            model = LogisticRegression(
                C=strengths[m], solver=solver, tol=1e-6, max_iter=3000, fit_intercept=False
            )
            some = folds != f
            coef = model.fit(X[some], y[some]).coef_[0]
            margins = (2 * y[some] - 1) * (X[some] @ coef)
            value = np.logaddexp(0, -margins).mean() + l2[m, f] / 2 * coef @ coef
            excess = max(excess, value - loss)
        theirs = time.process_time() - started
        print(f"        {solver}: {theirs / ours:.1f}x, above ours by {excess:.0e}", flush=True)


def compare_paths(X, y):
    """Print the time of 30 l1 penalties."""
    l1 = mf.l1_max(X, y, fit_intercept=False) * np.geomspace(1, 0.003, 30)
    options = {"l2": 0.0, "l1": l1, "fit_intercept": False, "n_threads": 1}
    folds = np.random.default_rng(0).permutation(len(y)) % 3
    fits = mf.fit_many(X, y, **options)
    ours = seconds(lambda: mf.fit_many(X, y, **options), 3)
    on_folds = seconds(lambda: mf.fit_many(X, y, folds=folds, **options), 1)
    print(
        f"    l1 path: {ours:.2f} s, on 3 folds {on_folds / ours:.1f} times as long, gaps up to "
        f"{fits.gap_bound.max():.0e}, {fits.n_nonzero[-1]} weights",
        flush=True,
    )
    excess, started = -np.inf, time.process_time()
    for one, loss in zip(l1, fits.loss, strict=True):
        C = 1 / (one * len(y))
        model = LogisticRegression(
            C=C, l1_ratio=1, solver="liblinear", tol=1e-6, max_iter=3000, fit_intercept=False
        )
        coef = model.fit(X, y).coef_[0]
        margins = (2 * y - 1) * (X @ coef)
        excess = max(excess, np.logaddexp(0, -margins).mean() + one * np.abs(coef).sum() - loss)
    theirs = time.process_time() - started
    print(f"        liblinear: {theirs / ours:.1f}x, above ours by {excess:.0e}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or ["news", *(["glosses"] if GLOSSES.exists() else [])]:
        X, classes = {"news": news, "glosses": glosses}[name]()
        y = (classes == np.bincount(classes).argmax()).astype(int)
        print(f"{name}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz / X.shape[0]:.0f} in a row")
        compare_passes(X, y)
        compare_fits(X, y)
        compare_paths(X, y)
