"""Losses of sparse rows: those of an array, and the same bits however they are asked."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sparse_data import FORMATS, matrix, problem, triples

import metaopt_fast as mf
from metaopt_fast import reference
from metaopt_fast.reference import sparse as twin

NAMES = ["LogisticLoss", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss"]
OPTIONS = {"l2": 0.1, "fit_intercept": True}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_losses_and_gradients_are_the_twins(name, fit_intercept, is_weighted):
    X, y, _, weights = problem()
    weights = weights if is_weighted else None
    options = {"l2": 0.1, "fit_intercept": fit_intercept}
    ours = getattr(mf, name)(X, y, weights, **options)
    theirs = getattr(reference, name)(X.toarray(), y, weights, **options)
    thetas = np.random.default_rng(1).normal(size=(21, ours.n_params))
    losses, gradients = ours.batch_loss_gradient(thetas)
    wanted, slopes = theirs.batch_loss_gradient(thetas)
    np.testing.assert_allclose(losses, wanted, rtol=1e-13)
    np.testing.assert_allclose(gradients, slopes, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(ours.batch_loss(thetas), losses)


@pytest.mark.long(everywhere=True)
@given(of=triples(), kind=st.sampled_from(FORMATS), seed=st.integers(0, 99))
def test_any_matrix_has_the_losses_of_its_array(of, kind, seed):
    found, shape = of
    rng = np.random.default_rng(seed)
    y, thetas = np.arange(shape[0]) % 2, rng.normal(size=(3, shape[1] + 1))
    ours = mf.LogisticLoss(matrix(found, shape, kind), y, **OPTIONS)
    theirs = reference.LogisticLoss(twin.dense(found, shape), y, **OPTIONS)
    for mine, wanted in zip(
        ours.batch_loss_gradient(thetas), theirs.batch_loss_gradient(thetas), strict=True
    ):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_a_theta_has_the_same_bits_in_any_batch_on_any_threads(name):
    X, y, _, weights = problem(700, 300, seed=3)
    objective = getattr(mf, name)(X, y, weights, **OPTIONS)
    thetas = np.random.default_rng(1).normal(size=(19, 301))
    losses, gradients = objective.batch_loss_gradient(thetas)
    for k in range(19):
        loss, gradient = objective.loss_gradient(thetas[k])
        assert loss == losses[k] and gradient.tobytes() == gradients[k].tobytes()
    for n_threads in (2, 3, 8):
        again = objective.with_threads(n_threads).batch_loss_gradient(thetas)
        assert again[0].tobytes() == losses.tobytes()
        assert again[1].tobytes() == gradients.tobytes()


def test_calls_at_the_same_time_and_of_any_size_do_not_mix_their_numbers():
    X, y, _, _ = problem(3000, 300, seed=5)
    objective = mf.LogisticLoss(X, y, n_threads=1, **OPTIONS)
    thetas = np.random.default_rng(1).normal(size=(26, 301))
    losses, gradients = objective.batch_loss_gradient(thetas)

    def has_its_bits(count):
        mine = objective.batch_loss_gradient(thetas[-count:])
        return all(map(np.array_equal, mine, (losses[-count:], gradients[-count:])))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(has_its_bits, [26, 1, 8, 26, 3, 24, 2, 26] * 4))


@pytest.mark.sanitized
def test_formats_and_rows_of_weight_0_change_no_bit():
    X, y, _, weights = problem()
    theta = np.random.default_rng(0).normal(size=41)
    of = mf.LogisticLoss(X, y, weights, **OPTIONS)
    used = weights > 0
    for other in (
        mf.LogisticLoss(X.tocsc(), y, weights, **OPTIONS),
        mf.LogisticLoss(X.tocoo(), y, weights, **OPTIONS),
        mf.LogisticLoss(X[used], y[used], weights[used], **OPTIONS),
        of.subset(np.arange(len(y))),
        pickle.loads(pickle.dumps(of)),
    ):
        assert other.loss_gradient(theta)[0] == of.loss(theta)
        assert other.gradient(theta).tobytes() == of.gradient(theta).tobytes()


@pytest.mark.sanitized
def test_losses_of_huge_numbers_are_infinite_and_never_nan():
    X = scipy.sparse.csr_array([[1e308, 1e308], [-1e308, 1e308], [0, 1.0]])
    thetas = np.array([[1e9, -1e9], [1e9, 1e9], [-1e300, 1.0], [0.0, 0.0]])
    for name in NAMES:
        objective = getattr(mf, name)(X, [1, 0, 1])
        losses, gradients = objective.batch_loss_gradient(thetas)
        assert not np.isnan(losses).any() and not np.isnan(gradients).any(), name
        assert np.isfinite(losses[3])


def test_subsets_and_minibatches_are_objectives_of_these_rows():
    X, y, _, weights = problem()
    of, theta = mf.LogisticLoss(X, y, weights, **OPTIONS), np.linspace(-1, 1, 41)
    rows = np.array([5, 3, 3, 70, -1, 8, 20, 31])
    wanted = mf.LogisticLoss(X[rows], y[rows], weights[rows], **OPTIONS)
    assert of.subset(rows).loss(theta) == wanted.loss(theta)
    parts = of.minibatches(20, seed=3)
    sizes = np.array([part.n_samples for part in parts])
    assert sizes.sum() == np.count_nonzero(weights) and (sizes[:-1] == 20).all()
    totals = [part._packed.weights.sum() for part in parts]
    mean = np.average([part.loss(theta) for part in parts], weights=totals)
    assert mean == pytest.approx(of.loss(theta), rel=1e-12)
    assert mf.LogisticLoss(X, y).subset(rows).loss(theta[:40]) == pytest.approx(
        mf.LogisticLoss(X.toarray()[rows], y[rows]).loss(theta[:40]), rel=1e-13
    )
    with pytest.raises(ValueError, match="rows are all of one class"):
        of.subset(np.flatnonzero(y == 1))
    with pytest.raises(ValueError, match="sample_weight is 0 for all of the rows"):
        mf.LogisticLoss(X, y, np.arange(90) > 50).subset(np.arange(50))


def test_searches_and_descents_run_as_with_an_array():
    X, y, _, _ = problem()
    sparse, dense = (mf.LogisticLoss(rows, y, **OPTIONS) for rows in (X, X.toarray()))
    found = mf.random_search(sparse, mf.Normal(), 3000, seed=1, top_k=5)
    wanted = mf.random_search(dense, mf.Normal(), 3000, seed=1, top_k=5)
    np.testing.assert_array_equal(found.top["index"], wanted.top["index"])
    np.testing.assert_allclose(found.top["loss"], wanted.top["loss"], rtol=1e-13)
    for options in ({}, {"method": "lbfgs"}):
        ends = [mf.gradient_descent(of, max_iter=300, **options).loss for of in (sparse, dense)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-4)


@pytest.mark.sanitized
def test_of_sparse_rows_no_candidate_is_dropped():
    X, y, _, weights = problem()
    of, sampler = mf.LogisticLoss(X, y, weights, **OPTIONS), mf.Normal(scale=3.0)
    thetas = sampler.sample(7, 100, 500, 41)
    wanted = of.batch_loss(thetas)
    assert of.sampled_loss(sampler, 7, 100, 500).tobytes() == wanted.tobytes()
    for candidates in (sampler, thetas):
        losses, fraction = of.pruned_loss(candidates, 7, 100, 500, wanted.min())
        assert losses.tobytes() == wanted.tobytes() and fraction == 1.0


def test_thetas_beyond_the_range_are_refused_for_sparse_rows():
    X, y, *_ = problem()
    of, sampler = mf.LogisticLoss(X, y, **OPTIONS), mf.Normal(scale=1e308)
    thetas = np.zeros((2, 41))
    thetas[1, 3] = np.inf
    for call in (
        lambda: of.sampled_loss(sampler, 0, 0, 100),
        lambda: of.pruned_loss(sampler, 0, 0, 100, 1.0),
        lambda: of.pruned_loss(thetas, 0, 0, 2, 1.0),
        lambda: of.batch_loss(thetas),
    ):
        with pytest.raises(ValueError, match=r"beyond the range of|not finite"):
            call()


@pytest.mark.parametrize("method", ["snes", "cem"])
def test_populations_on_sparse_rows_are_those_on_their_array(method, monkeypatch):
    monkeypatch.setattr("metaopt_fast.objectives.pointwise.WORTH_BOUNDING", 0)
    X, y, *_ = problem()
    ends = [
        mf.evolve(mf.LogisticLoss(rows, y, **OPTIONS), mf.Normal(), method=method, generations=9)
        for rows in (X, X.toarray())
    ]
    assert ends[0].loss == pytest.approx(ends[1].loss, rel=1e-9)


@pytest.mark.parametrize("most", [1, 3, 61])
def test_fewer_steps_lead_to_a_bound_that_is_no_less(most, monkeypatch):
    X, y, *_ = problem()
    best = mf.LogisticLoss(X, y).lipschitz()
    monkeypatch.setattr("metaopt_fast.objectives.eigenvalues.MOST_STEPS", most)
    bound = mf.LogisticLoss(X, y).lipschitz()
    assert (bound > best) if most < 61 else (bound == best)


@pytest.mark.long
@given(of=triples())
def test_lipschitz_is_a_bound_near_the_one_of_absolute_values(of):
    found, shape = of
    X, y = twin.dense(found, shape), np.arange(shape[0]) % 2
    objective = mf.LogisticLoss(matrix(found, shape, "csr_array"), y, **OPTIONS)
    full = np.abs(np.column_stack([X, np.ones(len(X))]))
    largest = np.linalg.eigvalsh(full.T @ full / len(X)).max()
    bound = (objective.lipschitz() - OPTIONS["l2"]) / 0.25
    assert largest * (1 - 1e-12) <= bound <= 1.1 * largest


def test_decisions_are_those_of_any_rows():
    X, y, _, _ = problem()
    theta = np.linspace(-1, 1, 41)
    of_sparse, of_dense = (mf.LogisticLoss(rows, y, **OPTIONS) for rows in (X, X.toarray()))
    wanted = X.toarray() @ theta[:-1] + theta[-1]
    for objective in (of_sparse, of_dense):
        for rows in (X, X.tocsc(), X.toarray()):
            np.testing.assert_allclose(objective.decisions(theta, rows), wanted, atol=1e-13)
    with pytest.raises(ValueError, match="X has 9 columns, but the objective has 40 features"):
        of_sparse.decisions(theta, X[:, :9])


def test_what_sparse_rows_do_not_have_is_refused_with_the_cure():
    X, y, _, _ = problem()
    for options, sentence in (
        (
            {"dtype": "float32"},
            "dtype is 'float32', and X is a sparse .*: pass dtype='float64'",
        ),
        (
            {"merge_duplicates": True},
            "merge_duplicates is True, and X is a spa",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            mf.LogisticLoss(X, y, **options)
    with pytest.raises(TypeError, match=r"X is a sparse matrix .*: pass X\.toarray\(\)"):
        mf.SoftmaxLoss(X, y)


def test_fingerprints_tell_rows_labels_and_weights_apart():
    X, y, _, weights = problem()
    other = X.copy()
    other.data[3] += 1
    made = [
        mf.LogisticLoss(*data, **OPTIONS).fingerprint
        for data in ((X, y), (other, y), (X, 1 - y), (X, y, weights), (X.toarray(), y))
    ]
    assert len(set(made)) == len(made)
    assert mf.LogisticLoss(X.tocoo(), y, **OPTIONS).fingerprint == made[0]
