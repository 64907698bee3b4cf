"""Every loss against its twin in plain NumPy, with the interface that all of them share."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels, reference

NAMES = [
    "LogisticLoss",
    "SquaredHingeLoss",
    "HingeLoss",
    "SquaredLoss",
    "SmoothedZeroOneLoss",
]
ALL = [*NAMES, "SoftmaxLoss"]
OPTIONS = {"SmoothedZeroOneLoss": {"beta": 2.5}}


def both(name, *args, **options):
    options = {**OPTIONS.get(name, {}), **options}
    return getattr(mf, name)(*args, **options), getattr(reference, name)(*args, **options)


def data(seed, n_samples, n_features, weights="none", n_classes=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    y = np.arange(n_samples) % n_classes
    w = {
        "none": None,
        "few": rng.integers(0, 3, n_samples).astype(float),
        "all different": rng.uniform(0.5, 2, n_samples),
    }[weights]
    if w is not None:
        w[:n_classes] = 1
    return X, y, w, rng


@pytest.mark.parametrize("name", ALL)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(2, 150),
    n_features=st.integers(1, 12),
    n_classes=st.integers(2, 30),
    n_candidates=st.integers(1, 60),
    weights=st.sampled_from(["none", "few", "all different"]),
    fit_intercept=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_losses_and_gradients_are_those_of_the_reference(
    name, seed, n_samples, n_features, n_classes, n_candidates, weights, fit_intercept, dtype
):
    options = {"l2": 0.3, "fit_intercept": fit_intercept, "dtype": dtype}
    if name == "SoftmaxLoss":
        options["n_classes"] = n_classes
    X, y, w, rng = data(seed, n_samples, n_features, weights, options.get("n_classes", 2))
    objective, twin = both(name, X, y, w, **options)
    thetas = rng.normal(size=(n_candidates, objective.n_params)).astype(dtype).astype(float)
    losses, gradients = objective.batch_loss_gradient(thetas)
    wanted, wanted_gradients = twin.batch_loss_gradient(thetas)
    rtol, scale = (1e-11 if dtype == "float64" else 2e-4), 1 + np.abs(wanted_gradients).max()
    if name == "SoftmaxLoss":
        rtol, scale = (1e-12 if dtype == "float64" else 1e-4), 1
    np.testing.assert_allclose(losses, wanted, rtol=rtol)
    if name == "HingeLoss" and dtype == "float32":
        return  # rounding moves rows across the kink
    np.testing.assert_allclose(gradients, wanted_gradients, rtol=rtol, atol=rtol * scale)
    # Alone, in a batch, and drawn: one and the same number.
    assert objective.loss(thetas[0]) == losses[0]
    np.testing.assert_array_equal(objective.batch_loss(thetas), losses)
    np.testing.assert_array_equal(objective.gradient(thetas[-1]), gradients[-1])


@pytest.mark.sanitized
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_samples", [1000, 9000])
def test_bits_do_not_depend_on_threads_and_batches_and_survive_pickling(name, n_samples, dtype):
    X, y, w, rng = data(0, n_samples, 7, "few", 5 if name == "SoftmaxLoss" else 2)
    objective, _ = both(name, X, y, w, l2=0.1, fit_intercept=True, dtype=dtype)
    thetas = rng.normal(size=(61 if name == "SoftmaxLoss" else 300, objective.n_params))
    losses, gradients = objective.with_threads(1).batch_loss_gradient(thetas)
    for other in (objective.with_threads(3), pickle.loads(pickle.dumps(objective))):
        for rows in (slice(None), slice(1, 4), slice(60, 61)):
            found = other.batch_loss_gradient(thetas[rows])
            np.testing.assert_array_equal(found[0], losses[rows])
            np.testing.assert_array_equal(found[1], gradients[rows])


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", NAMES)
def test_a_search_drops_candidates_early_without_a_change(name, many):
    X, y, _, _ = data(1, 800, 6)
    objective, _ = both(name, X, np.where(X[:, 0] > 0, 1, 0) | (y * (X[:, 1] > 1)))
    options = {"seed": 3, "top_k": 4}
    pruned = mf.random_search(objective, mf.Normal(), many, **options)
    whole = mf.random_search(objective, mf.Normal(), many, prune=False, **options)
    np.testing.assert_array_equal(pruned.top, whole.top)
    assert pruned.rows_evaluated_fraction < 1


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_are_merged_where_asked_alone(name):
    rows = [[1.0], [1.0], [-1.0]], [1, 1, 0]
    assert both(name, *rows)[0].n_samples == 3
    assert getattr(mf, name)(*rows, merge_duplicates=True).n_samples == 2


@pytest.mark.parametrize("name", [name for name in ALL if name != "HingeLoss"])
def test_gradients_change_no_faster_than_the_lipschitz_constant_says(name):
    X, y, w, rng = data(2, 400, 4, "all different", 3 if name == "SoftmaxLoss" else 2)
    objective, _ = both(name, X, y, w, l2=0.2, fit_intercept=True)
    a = rng.normal(size=(200, objective.n_params))
    b = a + rng.normal(size=a.shape) * 1e-3
    change = objective.batch_loss_gradient(a)[1] - objective.batch_loss_gradient(b)[1]
    ratios = np.linalg.norm(change, axis=1) / np.linalg.norm(a - b, axis=1)
    assert ratios.max() <= objective.lipschitz() * (1 + 1e-6)
    if name == "SquaredLoss":  # where it is the same everywhere
        moment = np.column_stack([X, np.ones(len(X))])
        moment = (moment.T * (w / w.sum())) @ moment
        wanted = 2 * np.linalg.eigvalsh(moment)[-1] + 0.2
        assert objective.lipschitz() == pytest.approx(wanted, rel=1e-9)


def test_a_kink_has_no_lipschitz_constant_and_descents_ask_for_a_learning_rate():
    X, y, _, _ = data(3, 50, 3)
    objective = mf.HingeLoss(X, y)
    with pytest.raises(ValueError, match="HingeLoss has a kink"):
        objective.lipschitz()
    with pytest.raises(ValueError, match="pass one"):
        mf.gradient_descent(objective, np.zeros(3))
    run = mf.gradient_descent(objective, np.zeros(3), learning_rate=0.01, max_iter=200)
    assert run.loss < objective.loss(np.zeros(3))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "HingeLoss"])
def test_a_descent_ends_where_the_gradient_is_zero(name):
    X, y, _, _ = data(4, 300, 3)
    objective, twin = both(name, X, y, l2=0.05, fit_intercept=True)
    run = mf.gradient_descent(objective, np.zeros(4), method="lbfgs", tol=1e-9)
    assert np.abs(twin.gradient(run.theta)).max() <= 1e-8 * (
        1 + 10 * (name == "SmoothedZeroOneLoss")
    )


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("SquaredHingeLoss", "LinearSVC"), ("HingeLoss", "LinearSVC"), ("SquaredLoss", "Ridge")],
)
def test_the_docstring_says_what_the_losses_of_scikit_learn_are(name, estimator):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.svm import LinearSVC

    X, y, _, rng = data(5, 200, 3)
    y[:40] = 1
    l2 = 0.1
    objective, _ = both(name, X, y, l2=l2)
    if estimator == "Ridge":
        model = RidgeClassifier(alpha=l2 / 2 * 200, fit_intercept=False).fit(X, y)
    else:
        kind = "squared_hinge" if name == "SquaredHingeLoss" else "hinge"
        model = LinearSVC(
            C=1 / (l2 * 200), loss=kind, fit_intercept=False, tol=1e-10, max_iter=10**6
        ).fit(X, y)
    coef = model.coef_.reshape(3)
    best = objective.loss(coef)
    around = coef + rng.normal(size=(500, 3)) * 0.02
    assert (objective.batch_loss(around) >= best - 1e-7).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_margin_beyond_the_range_of_floats_is_an_infinite_loss_and_never_nan(name):
    objective, _ = both(name, [[1e200, -1e200], [1e200, 1e200]], [0, 1])
    thetas = np.array([[1e200, 1e200], [1e200, -1e200], [-1e200, 3e200], [0, 0]])
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert not np.isnan(losses).any() and not np.isnan(gradients).any()
    if name != "SmoothedZeroOneLoss":
        assert losses[1] == np.inf
    assert np.isfinite(losses[3])


def test_a_steeper_step_is_nearer_to_the_part_of_wrong_labels():
    X, y, _, rng = data(6, 500, 4)
    theta = rng.normal(size=4)
    wrong = np.mean((X @ theta > 0) != (y == 1))
    far = [abs(mf.SmoothedZeroOneLoss(X, y, beta=b).loss(theta) - wrong) for b in (1, 10, 1e4)]
    assert far[0] > far[1] > far[2]
    assert far[2] < 1e-3


@pytest.mark.parametrize("beta", [0, -1, np.nan, np.inf, "2", None])
def test_a_bad_beta_gets_a_sentence(beta):
    with pytest.raises((ValueError, TypeError), match="beta is "):
        mf.SmoothedZeroOneLoss([[1.0], [2.0]], [0, 1], beta=beta)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("beta", "dtype"), [(1e308, "float64"), (1e39, "float32")])
def test_a_beta_that_leaves_the_range_of_floats_is_refused(beta, dtype):
    with pytest.raises(ValueError, match=f"leaves the range of {dtype}"):
        mf.SmoothedZeroOneLoss([[3.0], [-2.0]], [0, 1], beta=beta, dtype=dtype)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "HingeLoss"])
def test_the_learning_rate_is_one_over_the_largest_curvature(name):
    objective, _ = both(name, [[1.0], [-1.0]], [1, 0])
    thetas = np.linspace(-4, 4, 80_001)[:, None]
    gradients = objective.batch_loss_gradient(thetas)[1][:, 0]
    largest = np.abs(np.diff(gradients) / np.diff(thetas[:, 0])).max()
    assert objective.lipschitz() == pytest.approx(largest, rel=1e-6)


def test_losses_have_fingerprints_of_their_own():
    X, y, _, _ = data(7, 20, 2)
    made = [both(name, X, y)[0].fingerprint for name in NAMES]
    made.append(mf.SmoothedZeroOneLoss(X, y, beta=3).fingerprint)
    assert len(set(made)) == len(NAMES) + 1


def test_every_loss_of_the_kernels_is_one_that_python_uses():
    used = {getattr(mf, name)._loss for name in NAMES}
    used |= {"zero_one", "zero_one_and_ties", "right", "right_but_for_ties"}  # of counts
    assert set(_kernels.LOSSES) == used
