"""The tree of least cost, against every tree tried one by one, and what it says of itself."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.reference import trees as reference
from metaopt_fast.trees.counting import Counter, LabelledRows
from metaopt_fast.trees.features import BinaryFeatures, between


def rows_of(rng, n, d, n_classes, *, ties=False):
    """Rows of numbers or of few values, and labels of all classes, which are not all noise."""
    X = rng.integers(0, 4, (n, d)).astype(float) if ties else rng.normal(size=(n, d))
    y = (np.abs(X[:, 0]) * 1.5 + rng.normal(size=n)).astype(int) % n_classes
    y[:n_classes] = np.arange(n_classes)
    return X, y


def nested(tree, B, features, position=0):
    """The tree as (feature, below yes, below no), as the reference writes it."""
    if position >= len(tree.splits) or tree.splits[position] is None:
        return None
    split = tree.splits[position]
    is_it = (features.columns == split.column) & (features.thresholds == split.threshold)
    below = (nested(tree, B, features, 2 * position + k) for k in (1, 2))
    return (int(np.flatnonzero(is_it)[0]), *below)


def assert_is_the_best(X, y, weights, costs, depth, n_thresholds, min_leaf):
    tree = mf.best_tree(
        X,
        y,
        depth=depth,
        n_thresholds=n_thresholds,
        sample_weight=weights,
        class_cost=dict(enumerate(costs.tolist())),
        min_leaf=min_leaf,
    )
    kept = weights > 0
    B = reference.features(X[kept], weights[kept], n_thresholds)
    assert B.shape[1] <= 12
    best = reference.best_tree(B, y[kept], weights[kept], costs, depth, min_leaf)
    features = BinaryFeatures.of(X[kept], weights[kept], n_thresholds)
    assert (tree.cost, len(tree.leaves)) == best[:2]
    assert nested(tree, B, features) == best.tree


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(8, 100),
    d=st.integers(1, 3),
    n_classes=st.integers(2, 4),
    ties=st.booleans(),
    weighted=st.booleans(),
    priced=st.booleans(),
    depth=st.sampled_from([2, 3]),
    n_thresholds=st.integers(1, 3),
    min_leaf=st.integers(1, 4),
)
def test_it_is_the_best_of_all_trees_tried_one_by_one(
    seed, n, d, n_classes, ties, weighted, priced, depth, n_thresholds, min_leaf
):
    rng = np.random.default_rng(seed)
    X, y = rows_of(rng, n, d, n_classes, ties=ties)
    weights = rng.integers(0, 5, n) if weighted else np.ones(n, int)
    weights[:n_classes] = 1
    costs = rng.integers(1, 6, n_classes) if priced else np.ones(n_classes, int)
    assert_is_the_best(X, y, weights, costs, depth, n_thresholds, min_leaf)


def test_it_is_the_best_of_12_binary_features():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (200, 12))
    y = (X[:, 3] ^ X[:, 7] ^ (rng.random(200) < 0.2)) + X[:, 1] * X[:, 11]
    for depth in (2, 3):
        assert_is_the_best(X, y, np.ones(200, int), np.ones(3, int), depth, 1, 1)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n", [31, 32, 33, 1023, 5000])
def test_rows_at_the_ends_of_words_are_counted(n, n_classes):
    # More than 255 / 8 words, too, whose counts of bits leave a byte.
    rng = np.random.default_rng(n)
    X, y = rows_of(rng, n, 2, n_classes)
    assert_is_the_best(X, y, np.ones(n, int), np.ones(n_classes, int), 3, 3, 1)


@pytest.mark.parametrize("together", [1, 3])
def test_rows_and_columns_that_are_read_by_parts_have_the_same_tree(monkeypatch, together):
    # As of a million rows.
    rng = np.random.default_rng(0)
    X, y = rows_of(rng, 400, 4, 3)
    sizes = rng.integers(1, 4, 400)
    whole = [mf.best_tree(X, y, sample_weight=weights).to_dict() for weights in (None, sizes)]
    monkeypatch.setattr("metaopt_fast.trees.counting.WORDS_TOGETHER", together)
    monkeypatch.setattr("metaopt_fast.trees.features.NUMBERS_TOGETHER", 400 * together)
    parts = [mf.best_tree(X, y, sample_weight=weights).to_dict() for weights in (None, sizes)]
    assert parts == whole


def test_weights_beyond_a_byte_count_as_they_are():
    rng = np.random.default_rng(0)
    X, y = rows_of(rng, 60, 2, 2)
    weights = rng.integers(0, 100_000, 60)
    assert_is_the_best(X, y, weights, np.array([3, 1]), 3, 3, 1)


# ------------------------------------------------------------------------------ binary features


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 60),
    n_values=st.integers(1, 60),
    count=st.integers(1, 12),
    weighted=st.booleans(),
)
def test_thresholds_are_quantiles_of_the_rows_and_split_them(seed, n, n_values, count, weighted):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, n_values, (n, 1)).astype(float)
    sizes = rng.integers(1, 4, n) if weighted else np.ones(n, np.int64)
    found = BinaryFeatures.of(X, sizes, count)
    assert found.thresholds.tolist() == reference.thresholds(X[:, 0], sizes, count)
    assert len(found) <= count
    answers = found.answers(np.arange(n), 0, len(found)) if len(found) else np.zeros((0, n))
    assert answers.any(axis=1).all()
    assert not answers.all(axis=1).any()
    yes = (answers * sizes).sum(axis=1)
    assert (found.rare == (2 * yes > sizes.sum())).all()


def test_a_column_of_two_values_is_one_feature_and_one_of_few_is_cut_between_all():
    X = np.array([[0.0, 7, 1, 5], [1.0, 7, 2, 5], [0.0, 9, 3, 5]])
    found = BinaryFeatures.of(X, np.ones(3, np.int64), 10)
    assert found.columns.tolist() == [0, 1, 2, 2]
    assert found.thresholds.tolist() == [0.5, 8.0, 1.5, 2.5]


@pytest.mark.parametrize(
    "low, high, middle",
    [(1.0, 2.0, 1.5), (1.0, np.nextafter(1, 2), 1.0), (-1.7e308, 1.7e308, 0.0), (0, 5e-324, 0.0)],
)
def test_a_threshold_is_between_its_values_whatever_they_are(low, high, middle):
    assert between(low, high) == middle


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint64", ">f4", "float32", "float64"])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
def test_rows_of_any_dtype_and_layout_have_one_tree(dtype, layout):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2 if dtype == "bool" else 90, (120, 4))
    X = X / 7 if "f" in dtype else X
    y = (X[:, 0] > X[:, 1]) | (X[:, 2] > X[:, 3])
    given = X.astype(dtype)
    if layout == "strided":
        given = np.repeat(given, 2, axis=1)[:, ::2]
    given = np.asarray(given, order="F") if layout == "F" else given
    wanted = mf.best_tree(given.astype(float).copy(), y)
    found = mf.best_tree(given, y)
    assert found.to_dict() == wanted.to_dict()
    assert (found.predict(given) != y).sum() == found.n_errors


def test_neighbouring_numbers_of_single_precision_are_told_apart():
    low = np.float32(1)
    X = np.array([low, np.nextafter(low, np.float32(2))] * 3, np.float32)[:, None]
    assert mf.best_tree(X, [0, 1] * 3).n_errors == 0


def test_rows_that_count_twice_are_rows_that_are_there_twice():
    rng = np.random.default_rng(0)
    X, y = rows_of(rng, 80, 3, 2)
    weights = rng.integers(0, 4, 80)
    weights[:2] = 1
    weighted = mf.best_tree(X, y, sample_weight=weights, min_leaf=5)
    repeated = mf.best_tree(np.repeat(X, weights, axis=0), np.repeat(y, weights), min_leaf=5)
    assert weighted.to_dict() == repeated.to_dict()


# --------------------------------------------------------------------------- threads and interrupts


@pytest.fixture(scope="module")
def wide():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12))
    y = (X[:, 0] * X[:, 1] + rng.normal(size=300) > 0).astype(int) + (X[:, 2] > 1)
    return X, y


@pytest.mark.parametrize("min_leaf", [1, 7])
@pytest.mark.parametrize("n_threads", [2, 7])
def test_threads_change_nothing(wide, n_threads, min_leaf):
    X, y = wide
    for labels in (y, y > 0):
        alone = mf.best_tree(X, labels, min_leaf=min_leaf, n_threads=1)
        assert mf.best_tree(X, labels, min_leaf=min_leaf, n_threads=n_threads).to_dict() == (
            alone.to_dict()
        )


@pytest.mark.sanitized
@pytest.mark.parametrize("slice_work", [1.0, 3e4])
def test_of_a_root_that_takes_long_some_seconds_at_a_time_are_split(wide, slice_work):
    # As of millions of rows, so that signals are answered.
    X, y = wide
    sizes = np.ones(len(X), np.int64)
    features = BinaryFeatures.of(X, sizes, 5)
    rows = LabelledRows(features, y.astype(np.intp), sizes, np.ones(3, np.int64), 2)
    counter = Counter.of(rows, rows.counts_of(np.arange(len(X))), 1)
    pairs = counter.pairs(0, len(features))
    whole, by_parts = (
        np.full((n_threads, len(features), 4, counter.stride), 2**31 - 1, np.int32)
        for n_threads in (1, 2)
    )
    counter.bits.split(counter.totals, counter.singles, pairs, whole)
    counter.bits.split(counter.totals, counter.singles, pairs, by_parts, slice_work)
    is_read = np.triu(np.ones((len(features), len(features)), bool), 1)
    for side in range(4):
        tables = [table.min(axis=0)[:, side, : len(features)] for table in (whole, by_parts)]
        np.testing.assert_array_equal(*(table[is_read] for table in tables))


# -------------------------------------------------------------------------------- label vectors


def test_each_of_many_label_vectors_has_the_tree_that_it_has_alone():
    rng = np.random.default_rng(0)
    X, y = rows_of(rng, 90, 3, 2)
    Y = np.stack([y, rng.permutation(y), 2 * rng.permutation(y) + 1])
    found = mf.best_trees(X, Y, depth=2)
    assert [tree.to_dict() for tree in found] == [
        mf.best_tree(X, labels, depth=2).to_dict() for labels in Y
    ]
    assert found[2].classes == (1, 3)
    assert mf.best_trees(X, list(Y), depth=2)[1].to_dict() == found[1].to_dict()
    assert mf.best_tree(X, y[:, None], depth=2).to_dict() == found[0].to_dict()


# -------------------------------------------------------------------------------------- the tree


@pytest.fixture(scope="module")
def cancer():
    from metaopt_fast.datasets import load_breast_cancer

    return load_breast_cancer()


def test_what_a_tree_says_of_itself_is_what_it_predicts(cancer):
    X, y, _ = cancer
    labels = np.array(["benign", "malignant"])[y]
    tree = mf.best_tree(X, labels, class_cost={"malignant": 5}, min_leaf=10)
    found = tree.predict(X)
    wrong = found != labels
    assert tree.n_errors == wrong.sum()
    assert tree.error == wrong.mean()
    assert tree.cost == (wrong * np.where(labels == "malignant", 5, 1)).sum()
    assert tree.certified is True
    positions = tree.apply(X)
    assert set(positions.tolist()) == set(tree.leaves)
    for position, counts in zip(tree.leaves, tree.leaf_counts, strict=True):
        of_leaf = labels[positions == position]
        assert counts.tolist() == [(of_leaf == label).sum() for label in tree.classes]
        assert counts.sum() >= 10


def test_no_tree_of_scikit_learn_on_the_same_features_is_better(cancer):
    tree_module = pytest.importorskip("sklearn.tree")
    X, y, _ = cancer
    features = BinaryFeatures.of(X, np.ones(len(X), np.int64), 10)
    B = features.answers(np.arange(len(X)), 0, len(features)).T
    for depth in (2, 3):
        ours = mf.best_tree(X, y, depth=depth).n_errors
        theirs = tree_module.DecisionTreeClassifier(max_depth=depth, random_state=0).fit(B, y)
        assert ours <= (theirs.predict(B) != y).sum()
    # STreeD 1.4.0 has the same: see benches/trees.py.
    assert [mf.best_tree(X, y, depth=depth).n_errors for depth in (2, 3)] == [26, 12]


def test_a_tree_is_written_as_plain_numbers(cancer):
    X, y, names = cancer
    tree = mf.best_tree(X, y, depth=2)
    written = json.loads(json.dumps(tree.to_dict()))
    assert written["n_errors"] == written["cost"] == tree.n_errors
    assert (written["n_rows"], written["classes"]) == (569, [0, 1])

    def follow(node, row):
        while "label" not in node:
            node = node["yes" if row[node["column"]] <= node["threshold"] else "no"]
        return node["label"]

    assert [follow(written["tree"], row) for row in X] == tree.predict(X).tolist()
    assert written["tree"]["counts"] == np.bincount(y).tolist()
    assert len(names) == len(written["features"])


def test_a_tree_is_printed_with_names_and_counts():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [20, 30, 40, 50, 60], "on foot": [0, 1, 0, 1, 1]})
    tree = mf.best_tree(frame, ["a", "b", "a", "b", "a"], depth=2)
    assert repr(tree).splitlines() == [
        "Tree of depth 2, 3 leaves: 0 of 5 rows wrong (0.00 %), proven least",
        "",
        "  age <= 55?",
        "    yes: on foot <= 0.5?",
        "      yes: 'a'  (2 rows, 0 wrong)",
        "      no: 'b'  (2 rows, 0 wrong)",
        "    no: 'a'  (1 row, 0 wrong)",
    ]
    priced = mf.best_tree(frame, ["a", "b", "a", "b", "a"], class_cost={"b": 3}, min_leaf=3)
    assert "1 leaf: 3 of 5 rows wrong (60.00 %), at a cost of 3, proven least" in repr(priced)


def test_columns_of_frames_are_found_by_name():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [20, 30, 40, 50, 60], "on foot": [0, 1, 0, 1, 1]})
    labels = ["a", "b", "a", "b", "a"]
    tree = mf.best_tree(frame, labels, depth=2)
    assert tree.predict(frame[["on foot", "age"]]).tolist() == labels
    assert tree.predict(frame.to_numpy()).tolist() == labels
    with pytest.raises(ValueError, match="X has no column 'age'"):
        tree.predict(frame[["on foot"]])
    of_array = mf.best_tree(frame.to_numpy(), labels, depth=2)
    assert of_array.predict(frame).tolist() == labels


def test_rows_that_nothing_tells_apart_are_one_leaf():
    tree = mf.best_tree([[1.0], [1.0], [1.0]], [0, 1, 1])
    assert (tree.leaves, tree.n_errors, tree.predict([[3.0]]).tolist()) == ((0,), 1, [1])
    assert repr(tree).endswith("proven least\n\n  1  (3 rows, 1 wrong)")


def test_a_split_that_saves_nothing_is_left_out():
    # Both sides decide for 0.
    tree = mf.best_tree([[0.0], [0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 0, 0], depth=2)
    assert tree.leaves == (0,)


@pytest.mark.sanitized
def test_a_tree_is_drawn(cancer):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    X, y, _ = cancer
    tree = mf.best_tree(X, y, depth=3)
    texts = [text.get_text() for text in tree.plot().texts]
    n_splits = sum(split is not None for split in tree.splits)
    assert texts.count("yes") == texts.count("no") == n_splits
    assert len(texts) == 2 * n_splits + n_splits + len(tree.leaves)
    assert str(tree.splits[0]).replace(" <= ", "\n<= ") in texts
    with pytest.raises(TypeError, match="pass matplotlib axes or None"):
        tree.plot(3)


def test_a_leaf_above_others_is_drawn_on_given_axes():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X = np.repeat([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]], 4, axis=0)
    tree = mf.best_tree(X, np.repeat([0, 1, 1], 4), depth=2)
    assert len(tree.leaves) == 3
    axes = pyplot.figure(figsize=(3, 3)).subplots()
    assert tree.plot(axes) is axes
    assert axes.figure.get_size_inches().tolist() == [3, 3]
    boxes = [text.get_position() for text in axes.texts if text.get_bbox_patch() is not None]
    # Leaves side by side, each below its questions, which are in the middle of their answers.
    assert sorted(boxes) == [(0, -2), (0.5, -1), (1, -2), (1.25, 0), (2, -1)]
    assert axes.get_ylim() == (-2.4, 0.4) and axes.get_xlim() == (-0.6, 2.6)
    pyplot.close("all")


# -------------------------------------------------------------------------------------- bad input

X4, Y4 = [[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1]


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"depth": 4}, "depth is 4: pass 2 or 3; deeper optimal trees are what pystreed is for."),
        ({"depth": 1}, "depth is 1: pass 2 or 3; deeper"),
        ({"depth": 2.0}, "depth is 2.0 (of type float): pass an integer"),
        ({"n_thresholds": 0}, "n_thresholds is 0: pass an integer of at least 1."),
        (
            {"sample_weight": [1, 0.5, 1, 1]},
            "sample_weight has 0.5 in row 1, and a tree counts whole rows: pass an array of shape "
            "(n_samples,) of whole numbers >= 0.",
        ),
        ({"sample_weight": [1, -1, 1, 1]}, "sample_weight has -1 in row 1"),
        ({"sample_weight": [1, np.inf, 1, 1]}, "sample_weight has inf in row 1"),
        ({"sample_weight": [1, 1]}, "sample_weight has 2 entries, but X has 4 rows"),
        ({"sample_weight": [0, 0, 0, 0]}, "sample_weight is 0 for every row"),
        ({"sample_weight": [1, 0, 1, 0]}, "sample_weight is 0 for each row of class 1: give each"),
        ({"sample_weight": [2**26, 1, 1, 1]}, "sample_weight sums to 6.71089e+07: pass weights"),
        ({"class_cost": {1: 2**25}}, "class_cost times the rows of each class sums to 67,108,866"),
        ({"class_cost": {1: 0}}, "class_cost[1] is 0: pass an integer from 1 to 67108863."),
        ({"class_cost": {1: 1.5}}, "class_cost[1] is 1.5 (of type float): pass an integer"),
        ({"class_cost": {2: 3}}, "class_cost has the label 2, which is not in y: it holds 2"),
        ({"class_cost": [1, 2]}, "class_cost is [1, 2] (of type list): pass a dict of labels"),
        ({"min_leaf": 0}, "min_leaf is 0: pass an integer of at least 1."),
        ({"min_leaf": 5}, "min_leaf is 5, but there are 4 rows: pass a whole number from 1 to 4."),
        ({"n_threads": 0}, "n_threads is 0: pass an integer from 1 to 1024."),
    ],
)
def test_a_mistake_is_a_sentence(options, sentence):
    with pytest.raises((ValueError, TypeError)) as error:
        mf.best_tree(X4, Y4, **options)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "X, y, sentence",
    [
        (X4, [1, 1, 1, 1], "y holds 1 class (1): pass labels of 2 to 100 classes."),
        (X4, [0, 1], "y has 2 labels, but X has 4 rows: pass one label for each row."),
        (X4, np.zeros((2, 3)), "y has shape (2, 3): pass one label for each row"),
        (X4, np.zeros((2, 4)), "y has shape (2, 4): pass one label for each row, or call best_tre"),
        ([[1.0], [np.nan], [3.0], [4.0]], Y4, "X has nan in row 1, column 'x0': fill it, or drop"),
        ([[1.0], [2.0], [3.0], [np.inf]], Y4, "X has inf in row 3, column 'x0': pass finite"),
        (np.zeros((4, 0)), Y4, "X has shape (4, 0): pass at least one row and one column."),
    ],
)
def test_mistaken_rows_and_labels_are_a_sentence(X, y, sentence):
    with pytest.raises((ValueError, TypeError)) as error:
        mf.best_tree(X, y)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "y, sentence",
    [
        (np.zeros((0, 4)), "y is an array of shape (0, 4) and dtype float64: pass label vectors"),
        (None, "y is None: pass label vectors, of shape (K, n_samples)."),
        (Y4, "y is [0, 1, 0, 1] (of type list): pass label vectors, of shape (K"),
        ([Y4, [1, 1, 1, 1]], "y[1] holds 1 class (1): pass labels of 2 to 100 classes."),
        ([Y4, [0, 1]], "y has 2 labels, but X has 4 rows: pass one label for each row."),
    ],
)
def test_mistaken_label_vectors_are_a_sentence(y, sentence):
    with pytest.raises((ValueError, TypeError)) as error:
        mf.best_trees(X4, y)
    assert sentence in str(error.value)


@pytest.mark.sanitized
def test_too_many_features_are_refused_with_the_time_that_they_would_take():
    X = np.random.default_rng(0).integers(0, 2, (64, 1001))
    y = np.arange(64) % 2
    with pytest.raises(ValueError) as error:
        mf.best_tree(X, y)
    assert str(error.value) == (
        "X makes 1,001 binary features (n_thresholds is 10), and a tree of depth 3 may have 1,000, "
        "which would take about 0.4 seconds on one thread: pass fewer columns or a smaller "
        "n_thresholds, or depth=2."
    )
    assert mf.best_tree(X, y, depth=2).n_errors < 32
    with pytest.raises(ValueError, match="a tree of depth 2 may have 10,000: pass fewer columns"):
        mf.best_tree(np.repeat(X, 10, axis=1), y, depth=2)


@pytest.mark.parametrize("X", [[[1.0, 2.0]], [[np.nan]]])
def test_rows_that_a_tree_cannot_read_are_refused(X):
    tree = mf.best_tree(X4, Y4)
    with pytest.raises(ValueError, match=r"X has shape|X has nan|X has 2 columns"):
        tree.predict(X)
