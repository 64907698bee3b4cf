"""Packed rows: the four questions, the labels beside the rows, and what the data is known by."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.data.packing import pack
from metaopt_fast.data.subsets import minibatches, subset

WEIGHTS = {
    "none": lambda rng, n: None,
    "few": lambda rng, n: np.r_[1.0, 1.0, rng.integers(0, 3, n - 2) / 2],
    "all different": lambda rng, n: np.r_[1.0, 1.0, rng.uniform(0.1, 1, n - 2)],
}


def data(n_samples, n_features, n_classes, weights, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) * rng.choice([1e-3, 1, 1e3], n_features)
    labels = np.r_[0, 1, rng.integers(0, n_classes, n_samples - 2)]
    return X, labels, WEIGHTS[weights](rng, n_samples)


def gathered(packed, rows):
    return np.concatenate(list(packed.gather(rows)))


def packed_labels(packed):
    """The labels at the positions of the rows that are kept."""
    return packed.labels[packed.origin.positions[packed.kept]]


SHAPES = {
    "n_samples": st.integers(2, 150),
    "n_features": st.integers(1, 12),
    "n_constants": st.integers(0, 1),
    "weights": st.sampled_from(sorted(WEIGHTS)),
    "dtype": st.sampled_from(["float64", "float32"]),
    "seed": st.integers(0, 99),
}


@given(**SHAPES, which=st.integers(0, 2))
def test_weighted_rows_are_those_of_the_blocks_with_their_weights(
    n_samples, n_features, n_constants, weights, dtype, seed, which
):
    X, labels, w = data(n_samples, n_features, 2, weights, seed)
    packed = pack(X, labels, w, n_constants, dtype)
    some = np.arange(packed.n_blocks) % 2 == which
    if which < 2 and some.any():
        packed = packed.blocks(some, total_weight=1.0)
    rows, found = map(np.concatenate, zip(*packed.weighted_rows(), strict=True))
    assert rows.shape == (packed.n_rows, packed.n_columns)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(found, packed.weights())
    if which == 2 or not some.any():
        kept = packed.kept
        order = np.argsort(packed.origin.positions[kept])
        np.testing.assert_array_equal(rows, gathered(packed, kept[order]))


@given(**SHAPES, signed=st.booleans(), by_class=st.booleans())
def test_packed_rows_are_those_of_x_with_their_signs_or_without(
    n_samples, n_features, n_constants, weights, dtype, seed, signed, by_class
):
    X, labels, w = data(n_samples, n_features, 2 if signed else 5, weights, seed)
    strata = labels if by_class else None
    packed = pack(X, labels, w, n_constants, dtype, strata=strata, signed=signed)
    kept = np.arange(n_samples) if w is None else np.flatnonzero(w)
    wanted = np.column_stack([X, np.ones((n_samples, n_constants))])
    if signed:
        wanted = wanted * np.where(labels == 1, -1, 1)[:, None]
    wanted = wanted.astype(dtype).astype(np.float64)

    np.testing.assert_array_equal(packed.kept, kept)
    some = np.random.default_rng(seed).choice(kept, 2 * n_samples)
    np.testing.assert_array_equal(gathered(packed, some), wanted[some])
    np.testing.assert_array_equal(packed.column_extents(), np.abs(wanted[kept]).max(axis=0))
    np.testing.assert_array_equal(packed_labels(packed), labels[kept])
    if by_class:
        of_blocks = np.sort(np.repeat(packed.block_labels, packed.block_rows))
        np.testing.assert_array_equal(of_blocks, np.sort(labels[kept]))

    moment, exponent = packed.second_moment(1)
    rows = wanted[kept] * np.sqrt(1 if w is None else w[kept, None])
    rows = rows / np.sqrt(n_samples if w is None else w.sum())
    # The products of the rows stand in the order of the panels: their eigenvalues say all.
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        np.linalg.eigvalsh(moment)[::-1] * 4.0**exponent,
        np.square(np.linalg.svd(rows, compute_uv=False)[: len(moment)]),
        rtol=tolerance,
        atol=tolerance * np.square(rows).sum(),
    )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_batches_of_any_sizes_keep_their_rows_labels_and_weights(weights, dtype):
    X, labels, w = data(500, 4, 3, weights)
    packed = pack(X, labels, w, 1, dtype, signed=False)
    order = np.random.default_rng(1).permutation(packed.kept)
    batches = np.split(order, [1, 9, 80, 81, 300])
    parts = packed.split(batches)
    for part, rows in zip(parts, batches, strict=True):
        np.testing.assert_array_equal(gathered(part, np.arange(len(rows))), gathered(packed, rows))
        np.testing.assert_array_equal(packed_labels(part), labels[rows])
        own = np.ones(len(rows)) if w is None else w[rows] / w[rows].max()
        np.testing.assert_allclose(part.weights() / part.weights().max(), own, rtol=1e-6)
        assert part.n_rows == part.n_samples == len(rows)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("n_classes", [3, 300])
def test_labels_of_many_classes_stay_beside_their_rows(n_classes, weights):
    X, labels, w = data(700, 3, n_classes, weights)
    labels[5] = n_classes - 1
    packed = pack(X, labels, w, 0, "float64", signed=False)
    assert packed.labels.dtype == (np.uint8 if n_classes == 3 else np.uint16)
    rows = np.random.default_rng(2).choice(700, 400)
    some = subset(packed, rows)
    part = minibatches(some, 64, 0, 0)[1]
    for one in (pickle.loads(pickle.dumps(some)), some):
        np.testing.assert_array_equal(one.origin.labels, labels[rows])
        np.testing.assert_array_equal(packed_labels(one), labels[rows][one.kept])
        np.testing.assert_array_equal(gathered(one, one.kept), X[rows][one.kept])
        assert not one.signed
    again = pickle.loads(pickle.dumps(part))
    assert again.digest() == part.digest()
    np.testing.assert_array_equal(again.labels, part.labels)
    assert again.panels.ctypes.data % 64 == 0


def test_labels_without_a_sign_are_part_of_what_the_data_is_known_by():
    X = np.array([[1.0], [2.0], [3.0]])
    one, other = (
        pack(X, np.array(labels), None, 0, "float64", signed=False)
        for labels in ([0, 1, 2], [0, 2, 1])
    )
    assert one.panels.tobytes() == other.panels.tobytes()
    assert one.digest() != other.digest()


def test_labels_cost_a_byte_for_each_row():
    X, labels, _ = data(6400, 2, 2, "none")
    packed = pack(X, labels, None, 0, "float64")
    assert packed.labels.nbytes == packed.origin.labels.nbytes == 6400


ROWS = [[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0], [2.0, 2.0], [0.0, -3.0]]
LABELS, OWN_WEIGHTS = [0, 1, 0, 1, 1], [1.0, 2.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("make", "fingerprint"),
    [
        (
            lambda: mf.LogisticLoss(ROWS, LABELS, OWN_WEIGHTS, l2=0.5, fit_intercept=True),
            "72b53f0443300420c730d4f950d9552f953e9b98dc303e052206dcb15f9555f2",
        ),
        (
            lambda: mf.SmoothedZeroOneLoss(ROWS, LABELS, beta=2.0, dtype="float32"),
            "a841aa3580c876f6395789db9fa00d0a8d4eb3915cf3c995f05ad6edc078daf6",
        ),
        (
            lambda: mf.LogisticLoss(ROWS, LABELS).subset([0, 1, 4]),
            "ae9d57853ffb6cafdb60fec32f51b427e106589db36f279c9f0370094961d007",
        ),
        (
            lambda: mf.AUCObjective(ROWS, LABELS, OWN_WEIGHTS),
            "37c5347cfca6fc6c7edf6f1c3bf895def694c363017d7d79102c4cdf5c4a483e",
        ),
        (
            lambda: mf.ConfusionCounts(ROWS, LABELS, groups=[0, 0, 1, 1, 1], thresholds=(0.3,)),
            "8521913e7f315b79932e85dccaada8b9b3f39c8ba5d8bf2efe6e7449e51b6d00",
        ),
    ],
    ids=["weights", "float32", "subset", "auc", "counts"],
)
def test_what_data_is_known_by_does_not_change(make, fingerprint):
    assert make().fingerprint == fingerprint
