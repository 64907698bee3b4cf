"""Sparse rows for tests: text-like, and with all that a matrix of SciPy may have."""

import numpy as np
import scipy.sparse
from hypothesis import strategies as st

FORMATS = ["csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_matrix", "coo_array"]


def problem(n_samples=90, n_features=40, density=0.15, seed=0):
    """A matrix of SciPy, with rows and columns of zeros; labels, folds and weights."""
    rng = np.random.default_rng(seed)
    X = rng.exponential(size=(n_samples, n_features)) * rng.choice([-1, 1, 1], n_features)
    X *= rng.random(X.shape) < density
    X[n_samples // 2], X[:, n_features // 3] = 0, 0
    y = (X @ rng.normal(size=n_features) + rng.normal(size=n_samples) > 0.2).astype(int)
    weights = rng.integers(0, 4, n_samples).astype(float)
    return scipy.sparse.csr_array(X), y, rng.permutation(n_samples) % 3, weights


@st.composite
def triples(draw):
    """Numbers of a small matrix with their rows and columns, some places twice; and its shape."""
    n_rows, n_columns = draw(st.integers(2, 12)), draw(st.integers(1, 9))
    numbers = st.one_of(st.just(0.0), st.floats(-9, 9, allow_subnormal=False))
    row, column = st.integers(0, n_rows - 1), st.integers(0, n_columns - 1)
    found = draw(st.lists(st.tuples(row, column, numbers), max_size=60))
    return found, (n_rows, n_columns)


def matrix(found, shape, kind):
    """The matrix of triples, in some format of SciPy's, places given twice kept where it can."""
    rows, columns, numbers = (
        (np.array(part) for part in zip(*found, strict=True))
        if found
        else (
            np.zeros(0, int),
            np.zeros(0, int),
            np.zeros(0),
        )
    )
    if kind.startswith("coo"):
        return getattr(scipy.sparse, kind)((numbers, (rows, columns)), shape)
    lines, places = (rows, columns) if kind.startswith("csr") else (columns, rows)
    n_lines = shape[0] if kind.startswith("csr") else shape[1]
    order = np.argsort(lines, kind="stable")
    ends = np.searchsorted(lines[order], np.arange(n_lines + 1))
    return getattr(scipy.sparse, kind)((numbers[order], places[order], ends), shape)
