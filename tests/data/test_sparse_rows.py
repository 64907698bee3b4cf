"""Sparse matrices of SciPy as rows: every format read, none changed, and wrong ones told."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sparse_data import FORMATS, matrix, problem, triples

from metaopt_fast.data.sparse_rows import products_of, sparse_rows
from metaopt_fast.reference import sparse as reference


@pytest.mark.long(everywhere=True)
@given(of=triples(), kind=st.sampled_from(FORMATS))
def test_rows_are_those_of_the_triples_sorted_and_added_up(of, kind):
    found, shape = of
    X = matrix(found, shape, kind)
    before = [array.copy() for array in (X.data, *places_of(X))]
    rows = sparse_rows("X", X)
    np.testing.assert_allclose(rows.toarray(), reference.dense(found, shape), atol=1e-13)
    for row in range(shape[0]):
        own = rows.columns[rows.starts[row] : rows.starts[row + 1]]
        assert (np.diff(own) > 0).all()
    for array, now in zip(before, (X.data, *places_of(X)), strict=True):
        np.testing.assert_array_equal(array, now)


def places_of(X):
    return (X.row, X.col) if X.format == "coo" else (X.indptr, X.indices)


@pytest.mark.long(everywhere=True)
@given(of=triples(), data=st.data())
def test_rows_turn_and_are_chosen_as_those_of_an_array(of, data):
    found, shape = of
    rows, dense = sparse_rows("X", matrix(found, shape, "csr_array")), reference.dense(found, shape)
    np.testing.assert_allclose(rows.transposed().toarray(), dense.T, atol=1e-13)
    some = data.draw(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=9))
    np.testing.assert_allclose(rows[np.array(some, int)].toarray(), dense[some], atol=1e-13)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0])))
    np.testing.assert_allclose(rows[mask].toarray(), dense[mask], atol=1e-13)
    assert rows[1:].toarray().shape == (shape[0] - 1, shape[1])


@pytest.mark.long(everywhere=True)
@given(of=triples(), n=st.integers(1, 19))
def test_products_are_those_of_the_triples_and_each_is_the_same_alone(of, n):
    found, shape = of
    rows = sparse_rows("X", matrix(found, shape, "csr_array"))
    thetas = np.random.default_rng(n).normal(size=(n, shape[1]))
    all_at_once = products_of(thetas, rows)
    for theta, product in zip(thetas, all_at_once, strict=True):
        np.testing.assert_allclose(
            product, reference.products(found, theta, shape[0]), rtol=1e-12, atol=1e-12
        )
        assert product.tobytes() == rows.products(theta[None])[0].tobytes()


def test_a_long_row_is_added_in_pieces_and_its_products_are_exact_enough():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 10_000))
    rows, theta = sparse_rows("X", scipy.sparse.csr_array(X)), rng.normal(size=(1, 10_000))
    exact = (X.astype(np.longdouble) * theta).sum(axis=1)
    sizes = np.abs(X * theta).sum(axis=1)
    assert (np.abs(rows.products(theta)[0] - exact) < 1e-15 * sizes).all()


@pytest.mark.sanitized
def test_a_product_whose_terms_leave_the_range_is_scaled():
    X = scipy.sparse.csr_array([[1e300, 1e300, -1e300], [1e300, 0, 1e300], [0, 0, 1.0]])
    rows, theta = sparse_rows("X", X), np.array([[1e10, -1e10, -1e5]])
    for thetas in (theta, np.repeat(theta, 3, axis=0)):
        found = rows.products(thetas)
        np.testing.assert_allclose(found[-1], [1e305, np.inf, -1e5], rtol=1e-15)


@pytest.mark.parametrize("kind", ["lil_matrix", "dok_matrix", "bsr_matrix", "dia_matrix"])
def test_other_formats_are_read_by_their_own_method(kind):
    X, *_ = problem()
    found = sparse_rows("X", getattr(scipy.sparse, kind)(X))
    np.testing.assert_array_equal(found.toarray(), X.toarray())


def test_places_are_read_by_the_names_that_older_versions_of_scipy_have():
    X, *_ = problem()
    new = scipy.sparse.coo_array(X)

    class Old:
        format, shape, dtype, nnz, toarray = "coo", new.shape, new.dtype, new.nnz, new.toarray
        data, row, col = new.data, new.row, new.col

    np.testing.assert_array_equal(sparse_rows("X", Old()).toarray(), X.toarray())


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("indices", [np.int32, np.int64])
def test_any_real_dtype_is_read(dtype, indices):
    X = scipy.sparse.csr_matrix(np.arange(12).reshape(3, 4) % 3).astype(dtype)
    X.indices, X.indptr = X.indices.astype(indices), X.indptr.astype(indices)
    np.testing.assert_array_equal(sparse_rows("X", X).toarray(), X.toarray().astype(float))


def test_what_is_not_sparse_is_left_to_others():
    assert sparse_rows("X", np.eye(3)) is None and sparse_rows("X", [[1.0]]) is None


def with_(X, **arrays):
    X = X.copy()
    for name, array in arrays.items():
        setattr(X, name, array)
    return X


CSR = scipy.sparse.csr_matrix([[1.0, 0, 2], [0, 3, 0]])
CSC = CSR.tocsc()
WIDE = scipy.sparse.coo_array(([1.0], ([0], [2**40])), shape=(3, 2**41))
BAD = {
    "nan": (with_(CSR, data=np.array([1.0, np.nan, 3])), "X has nan in row 0, column 2"),
    "inf": (with_(CSC, data=np.array([1.0, 3, -np.inf])), "X has -inf in row 0, column 2"),
    "complex numbers": (CSR * 1j, "X has dtype complex128, not of real numbers"),
    "objects": (with_(CSR, data=np.array(["a", 1, 2], object)), "X has dtype object"),
    "no rows": (scipy.sparse.csr_matrix((0, 3)), r"X has shape \(0, 3\): pass at least one row"),
    "no columns": (scipy.sparse.csc_array((3, 0)), r"X has shape \(3, 0\): pass at least one row"),
    "one dimension": (scipy.sparse.coo_array([1.0, 2]), r"X has shape \(2,\): pass .* two dimens"),
    "too wide": (WIDE, r"X has shape \(3, 2199023255552\): pass at most 2,147,483,647 rows"),
    "an index beyond": (
        with_(CSR, indices=np.array([0, 2**32 + 1, 1])),
        "X has a number in column 4294967297, and 3 columns",
    ),
    "an index below": (with_(CSC, indices=np.array([0, -1, 0])), "X has a number in row -1, and 2"),
    "ends that fall": (with_(CSR, indptr=np.array([0, 3, 2])), "X has an indptr that is no list"),
    "ends whose differences leave their range": (
        with_(scipy.sparse.csr_matrix(np.eye(3)), indptr=np.array([0, 2**31 - 1, -2, 3], np.int32)),
        "X has an indptr that is no list",
    ),
    "ends beyond": (with_(CSR, indptr=np.array([0, 2, 9])), "X has an indptr that is no list"),
    "ends too few": (with_(CSR, indptr=np.array([0, 3])), "X has an indptr that is no list"),
    "numbers too few": (with_(CSR, data=np.ones(2)), "X has 3 indices and 2 numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_matrix_is_refused_in_one_sentence(case):
    X, sentence = BAD[case]
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        sparse_rows("X", X)
    assert str(caught.value).endswith(".") and ": pass " in str(caught.value)
