"""Packed rows: the four questions, the labels beside the rows, and what the data is known by."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.data import order, packing
from metaopt_fast.data.packing import exact_sum, pack
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


@pytest.mark.long(everywhere=True)
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


def test_weighted_rows_of_late_blocks_are_never_an_empty_part():
    X, labels, w = data(20_000, 2, 2, "none", 0)
    packed = pack(X, labels, w, 1, "float64")
    some = np.arange(packed.n_blocks) == 200
    parts = list(packed.blocks(some, total_weight=1.0).weighted_rows())
    assert [rows.shape for rows, _ in parts] == [(64, 3)]


@pytest.mark.long(everywhere=True)
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


# ------------------------------------------------------------------------ packing, by plain NumPy


def groups_of(weights, strata, n_samples):
    """Rows of one weight and stratum, in the order of the panels, and the weight of each group."""
    if weights is None:
        groups, has_row_weights = [(np.arange(n_samples), 1.0)], False
    else:
        values = np.unique(weights[weights > 0])[::-1]
        kept = np.flatnonzero(weights)
        has_row_weights = len(values) > 1 and len(values) * 32 > len(kept)
        groups = [(np.flatnonzero(weights == value), value) for value in values]
        if has_row_weights:
            groups = [(kept, 1.0)]
    if strata is not None:
        groups = [
            (rows[strata[rows] == stratum], weight)
            for rows, weight in groups
            for stratum in np.unique(strata[rows])
        ]
    return groups, has_row_weights


def packed_by_numpy(X, labels, weights, n_constants, dtype, strata, scale, signed):
    """What `pack` promises, in the plainest way."""
    X = X.astype(np.float64)
    norms = np.zeros(len(X))
    for column in X.astype(dtype).astype(np.float64).T:
        norms += column * column
    signs = np.where(labels == 1, -scale, scale) if signed else np.full(len(X), scale)
    rows = (np.column_stack([X, np.ones((len(X), n_constants))]) * signs[:, None]).astype(dtype)
    groups, has_row_weights = groups_of(weights, strata, len(X))
    positions, first_panel, block_rows, block_weights, n_panels = {}, [], [], [], 0
    for group, weight in groups:
        group = group[np.argsort(-norms[group], kind="stable")]
        positions |= {int(row): 8 * n_panels + k for k, row in enumerate(group)}
        for first in range(0, len(group), 64):
            first_panel.append(n_panels)
            block_rows.append(min(64, len(group) - first))
            block_weights.append(weight)
            n_panels += -(-block_rows[-1] // 8)
    panels = np.zeros((n_panels, rows.shape[1], 8), dtype)
    row_weights = np.zeros(8 * n_panels, dtype)
    at_positions = np.zeros(8 * n_panels, labels.dtype)
    for row, position in positions.items():
        panels[position // 8, :, position % 8] = rows[row]
        at_positions[position] = labels[row]
        row_weights[position] = 1 if weights is None else weights[row]
    kept = list(positions)
    return {
        "panels": panels.tobytes(),
        "row_weights": row_weights.tobytes() if has_row_weights else None,
        "first_panel": np.array(first_panel, np.intp).tobytes(),
        "block_rows": np.array(block_rows, np.intc).tobytes(),
        "block_weights": np.array(block_weights, np.float64).tobytes(),
        "labels": at_positions.tolist(),
        "positions": [positions.get(row, -1) for row in range(len(X))],
        "total_weight": float(len(X)) if weights is None else math.fsum(weights),
        "extent": float(np.abs(rows[kept]).max()),
    }


def facts_of(packed):
    found = {
        name: None if (array := getattr(packed, name)) is None else array.tobytes()
        for name in ("panels", "row_weights", "first_panel", "block_rows", "block_weights")
    }
    return found | {
        "labels": packed.labels.tolist(),
        "positions": packed.origin.positions.tolist(),
        "total_weight": packed.total_weight,
        "extent": packed.extent,
    }


def unaligned(X):
    memory = np.zeros(X.nbytes + 1, np.uint8)[1:]
    found = memory.view(X.dtype).reshape(X.shape)
    found[:] = X
    return found


LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "columns, every other row": lambda X: np.asfortranarray(np.repeat(X, 2, axis=0))[::2],
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "columns, backwards": lambda X: np.asfortranarray(X[::-1, ::-1])[::-1, ::-1],
    "unaligned": unaligned,
    "swapped bytes": lambda X: X.astype(X.dtype.newbyteorder()),
}
# Those of tests/hardening/layouts.py; "g" is a long double.
DTYPES = ("f8", "f4", "f2", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")


@pytest.mark.long(everywhere=True)
@given(
    **SHAPES,
    of_X=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    ties=st.booleans(),
    signed=st.booleans(),
    by_stratum=st.booleans(),
    scale=st.sampled_from([1.0, 0.3, 7.0]),
)
def test_packing_has_the_bits_of_plain_numpy(
    n_samples,
    n_features,
    n_constants,
    weights,
    dtype,
    seed,
    of_X,
    layout,
    ties,
    signed,
    by_stratum,
    scale,
):
    X, labels, w = data(n_samples, n_features, 2 if signed else 5, weights, seed)
    rng = np.random.default_rng(seed)
    if ties or of_X[0] not in "fg":
        X = rng.integers(0, 3 if ties else 120, X.shape)
    elif of_X == "f2":
        X = rng.normal(size=X.shape)
    X = LAYOUTS[layout](X.astype(of_X))
    X.flags.writeable = False
    strata = rng.integers(0, 4, n_samples) if by_stratum else None
    packed = pack(X, labels, w, n_constants, dtype, strata=strata, scale=scale, signed=signed)
    wanted = packed_by_numpy(X, labels, w, n_constants, dtype, strata, scale, signed)
    assert facts_of(packed) == wanted
    assert packed.panels.ctypes.data % 64 == 0


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layout", ["rows", "columns", "swapped bytes"])
def test_any_number_of_threads_packs_the_same_bits(layout, weights, dtype):
    n_samples, n_features = 20_001, 11
    X, labels, w = data(n_samples, n_features, 2, weights)
    X = LAYOUTS[layout](X)
    strata = np.arange(n_samples) % 3
    one, *others = (
        pack(X, labels, w, 1, dtype, strata=strata, n_threads=n_threads)
        for n_threads in (1, 2, 3, 64)
    )
    rows = np.random.default_rng(0).permutation(n_samples)[:18_000]
    parts = [subset(one, rows, n_threads) for n_threads in (1, 2, 3)]
    for other in others:
        assert facts_of(other) == facts_of(one)
    for part in parts:
        assert facts_of(part) == facts_of(parts[0])


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("n_features", [3, 4, 9, 40])
def test_many_rows_in_columns_come_to_lie_where_they_do_in_rows(n_features, weights, dtype):
    X, labels, w = data(30_001, n_features, 2, weights)
    by_columns = pack(np.asfortranarray(X), labels, w, 1, dtype, scale=0.3, n_threads=2)
    assert facts_of(by_columns) == facts_of(pack(X, labels, w, 1, dtype, scale=0.3))


@pytest.mark.sanitized
def test_positions_may_have_more_bits():
    X, labels, _ = data(500, 7, 2, "none")
    wanted = pack(X, labels, None, 0, "float64", signed=False)
    row_at = np.empty(500, np.intp)
    row_at[wanted.origin.positions] = np.arange(500)
    row_at = np.append(row_at, np.full(-500 % 8, -1))
    positions, panels = np.full(500, -1, np.int64), np.zeros_like(wanted.panels)
    _kernels.find_positions(row_at, positions, None, None, 2)
    np.testing.assert_array_equal(positions, wanted.origin.positions)
    extent = _kernels.Numbers(np.asfortranarray(X)).pack(
        row_at, positions, None, 1.0, wanted.first_panel, 7, False, panels, 2
    )
    assert (panels.tobytes(), extent) == (wanted.panels.tobytes(), wanted.extent)


@pytest.mark.sanitized
@pytest.mark.parametrize("n_classes", [2, 256, 257, 300])
def test_each_position_has_the_label_of_its_row_and_those_of_no_row_have_0(n_classes):
    X, _, weights = data(1003, 5, 2, "few")
    labels = 1 + np.arange(1003) % (n_classes - 1)
    packed = pack(X, labels, weights, 0, "float64", signed=False, n_threads=2)
    positions = packed.origin.positions
    wanted = np.zeros(packed.n_positions, np.intp)
    wanted[positions[positions >= 0]] = labels[positions >= 0]
    np.testing.assert_array_equal(packed.labels, wanted)
    assert packed.labels.dtype == np.min_scalar_type(int(labels.max()))


# ------------------------------------------------------------------------------- the order of rows

# Keys that differ in their first bits, in their last ones, in both, or not at all.
KEYS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 3),
    st.builds(lambda high, low: high << 62 | low, st.integers(0, 3), st.integers(0, 3)),
    st.builds(lambda high, low: high << 33 | low, st.integers(0, 2), st.integers(0, 2**33 - 1)),
)


def in_order(keys, rows, descending):
    """The rows sorted, with whole keys, by NumPy."""
    return rows[np.argsort(~keys[rows] if descending else keys[rows], kind="stable")]


def sorted_rows(keys, rows, descending, n_threads=1):
    found = rows.copy()
    scratch = np.empty(16 * len(rows), np.uint8)
    _kernels.sort_rows(keys, descending, found, False, scratch, n_threads)
    if np.array_equal(rows, np.arange(len(keys))):  # and need not be told
        untold = np.full(len(rows), -7)
        _kernels.sort_rows(keys, descending, untold, True, scratch, n_threads)
        np.testing.assert_array_equal(untold, found)
    return found


@pytest.mark.long(everywhere=True)
@given(st.lists(KEYS, min_size=1, max_size=300), st.booleans(), st.integers(0, 99))
def test_rows_are_sorted_by_whole_keys_and_stay_in_order_where_they_tie(keys, descending, seed):
    keys = np.array(keys, np.uint64)
    for rows in (np.arange(len(keys)), np.random.default_rng(seed).permutation(len(keys))):
        found = sorted_rows(keys, rows, descending)
        np.testing.assert_array_equal(found, in_order(keys, rows, descending))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 64])
@pytest.mark.parametrize("n_leading", [1, 3, 1000, 2**40])
def test_threads_share_a_sort_of_many_rows(n_leading, n_threads):
    rng = np.random.default_rng(n_leading)
    n_rows = 60_000  # more than one thread's work
    leading = np.uint64(2**64 // n_leading - 1) * rng.integers(0, n_leading, n_rows, np.uint64)
    keys = leading + rng.integers(0, 50, n_rows, np.uint64)
    rows = np.arange(n_rows)
    found = sorted_rows(keys, rows, True, n_threads)
    np.testing.assert_array_equal(found, in_order(keys, rows, True))


def test_more_rows_than_the_kernels_number_are_sorted_by_numpy(monkeypatch):
    X, labels, w = data(500, 3, 2, "few")
    strata = np.arange(500) % 3
    here = facts_of(pack(X, labels, w, 0, "float64", strata=strata))
    monkeypatch.setattr(order, "SORTED_ROWS", 100)
    assert facts_of(pack(X, labels, w, 0, "float64", strata=strata)) == here


@pytest.mark.sanitized
def test_rows_at_more_positions_than_32_bits_hold_are_found(monkeypatch):
    X, labels, w = data(500, 3, 2, "few")
    wanted = pack(X, labels, w, 0, "float64").origin.positions
    monkeypatch.setattr(packing, "SHORT_POSITIONS", 100)
    found = pack(X, labels, w, 0, "float64").origin.positions
    assert (wanted.dtype, found.dtype) == (np.int32, np.int64)
    np.testing.assert_array_equal(found, wanted)


def test_rows_that_differ_in_the_last_bit_of_their_norms_are_in_order():
    numbers = 1 + np.random.default_rng(0).integers(0, 40, 3000) * 2.0**-52
    X = np.where(np.arange(3000) == 7, 1e150, numbers)[:, None]
    packed = pack(X, np.arange(3000) % 2, None, 0, "float64")
    np.testing.assert_array_equal(
        packed.origin.positions[np.argsort(-X[:, 0] * X[:, 0], kind="stable")], np.arange(3000)
    )


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_samples", [3000, 40_000])
def test_rows_of_no_tiny_and_infinite_norms_stay_in_order_where_they_tie(n_samples, n_threads):
    rng = np.random.default_rng(n_samples)
    entries = [0.0, -0.0, 5e-324, 1e-200, 1e-160, 1.0, -1.0, 1 + 2**-52, 1e150, 1e160, -1.7e308]
    X = rng.choice(entries, (n_samples, 1))
    X[::3, 0] = rng.standard_normal(len(X[::3]))
    packed = pack(X, np.arange(n_samples) % 2, None, 0, "float64", n_threads=n_threads)
    with np.errstate(over="ignore", under="ignore"):
        norms = X[:, 0] * X[:, 0]
    in_place = packed.origin.positions[np.argsort(-norms, kind="stable")]
    np.testing.assert_array_equal(in_place, np.arange(n_samples))


# ----------------------------------------------------------------------------- sums, range, memory


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=50))
def test_total_weights_are_rounded_once(numbers):
    assert exact_sum(np.array(numbers)) == math.fsum(numbers)


def test_weights_of_minus_0_are_added_within_the_table():
    # Whose sign bit is above the exponent: read as a part of it, it is a column that is not there.
    wide = np.zeros((2, 4096), np.uint64)
    _kernels.add_by_exponent(np.array([-0.0, -1.0]), wide)
    assert not wide[:, 2048:].any()
    X, y = [[1.0], [2.0], [-1.0]], [1, 0, 1]
    signed, plain = (mf.LogisticLoss(X, y, [1.0, zero, 2.0]) for zero in (-0.0, 0.0))
    assert signed.loss([0.5]) == plain.loss([0.5])


@pytest.mark.parametrize("layout", ["rows", "columns", "swapped bytes"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_number_out_of_range_is_named(layout, n_threads, dtype):
    X = np.ones((20_000, 10))
    X[8000, 3] = X[19_999, 0] = np.nan
    X[7001, 9] = -np.inf
    with pytest.raises(ValueError, match=f"X has -inf in row 7001, column 9: .* of {dtype}"):
        pack(LAYOUTS[layout](X), np.arange(20_000) % 2, None, 0, dtype, n_threads=n_threads)


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_numbers_at_the_end_of_the_range_are_taken(layout, dtype):
    largest = np.finfo(dtype).max
    X = LAYOUTS[layout](np.full((9, 3), float(largest)))
    assert pack(X, np.arange(9) % 2, None, 0, dtype).extent == float(largest)
    if dtype == "float32":  # rounded, it would be in range
        X[5, 1] = np.nextafter(float(largest), np.inf)
        with pytest.raises(ValueError, match="in row 5, column 1: pass finite numbers"):
            pack(X, np.arange(9) % 2, None, 0, dtype)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("of_X", ["f8", "f4", "i8", "f2"])
@pytest.mark.parametrize("layout", ["rows", "columns", "every other column"])
def test_packing_takes_the_memory_of_x_once_more(layout, of_X):
    X = LAYOUTS[layout](np.random.default_rng(0).integers(0, 99, (30_000, 64)).astype(of_X))
    labels, weights = np.arange(30_000) % 2, np.arange(30_000) % 7 / 4.0
    tracemalloc.start()
    packed = pack(X, labels, weights, 0, "float64", n_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A chunk of a dtype that the kernels do not read is converted first.
    assert peak < packed.panels.nbytes * (1.06 if of_X != "f2" else 1.4)
