"""The tree of depth 2 or 3 that decides fewest rows wrongly, proven by counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.tree import Split, Tree
from metaopt_fast.trees.arguments import (
    Options,
    check_class_costs,
    check_min_leaf,
    check_n_features,
    check_sizes,
    check_total_cost,
    read_all_classes,
    read_classes,
    read_rows,
)
from metaopt_fast.trees.counting import LabelledRows
from metaopt_fast.trees.features import BinaryFeatures
from metaopt_fast.trees.growing import grow
from metaopt_fast.typing import Array, IndexArray, Int64Array
from metaopt_fast.validation.labels import Labels


def best_tree(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    depth: int = 3,
    n_thresholds: int = 10,
    sample_weight: npt.ArrayLike | None = None,
    class_cost: Mapping[Any, int] | None = None,
    min_leaf: int = 1,
    n_threads: int | None = None,
) -> Tree:
    """Find the decision tree of least cost among all of a depth.

    Each column is cut at thresholds into binary features, and all trees of them are compared, by
    exact counts: no tree of that depth and these thresholds has a lower cost on the rows. Among
    those of the least cost it is one of the fewest leaves, then that of the lowest features, from
    the root on: the same on every machine, for any number of threads.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers, of any layout and real dtype, or a frame.
    y : array_like of shape (n_samples,)
        Labels of 2 to 100 classes: numbers, strings or bool.
    depth : {2, 3}, default 3
        Questions on the way to a leaf, at most.
    n_thresholds : int, default 10
        Thresholds of a column, at most: quantiles of its rows. A column of two values is one
        binary feature, of few values it is cut between all of them. There may be 1,000 binary
        features for depth 3, and 10,000 for depth 2.
    sample_weight : array_like of shape (n_samples,), optional
        How many rows each row counts for: whole numbers >= 0.
    class_cost : dict of label to int, optional
        Cost of a wrong decision on a row of the class, 1 or more, for all that are not 1.
    min_leaf : int, default 1
        Rows of each leaf at least, each counted as often as its weight says.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default as in `LogisticLoss`.

    Returns
    -------
    Tree

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or there are too many binary features.

    References
    ----------
    Optimal trees of depth 2 from counts of pairs: J. van der Linden, M. de Weerdt and E. Demirovic,
    "Necessary and sufficient conditions for optimal decision trees using dynamic programming",
    NeurIPS 2023 (STreeD, pystreed), which is for deeper trees, too.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.best_tree([[0, 0], [0, 1], [1, 0], [1, 1]], ["no", "yes", "yes", "no"], depth=2)
    Tree of depth 2, 4 leaves: 0 of 4 rows wrong (0.00 %), proven least
    <BLANKLINE>
      x0 <= 0.5?
        yes: x1 <= 0.5?
          yes: 'no'  (1 row, 0 wrong)
          no: 'yes'  (1 row, 0 wrong)
        no: x1 <= 0.5?
          yes: 'yes'  (1 row, 0 wrong)
          no: 'no'  (1 row, 0 wrong)
    """
    options = Options.of(depth, n_thresholds, class_cost, min_leaf, n_threads)
    rows, names, named = read_rows(X)
    labels = read_classes("y", y, len(rows))
    sizes = check_sizes(sample_weight, len(rows))
    return find_trees(rows, [labels], sizes, options, names, named)[0]


def best_trees(
    X: npt.ArrayLike,
    y: Sequence[npt.ArrayLike] | npt.NDArray[Any],
    *,
    depth: int = 3,
    n_thresholds: int = 10,
    sample_weight: npt.ArrayLike | None = None,
    class_cost: Mapping[Any, int] | None = None,
    min_leaf: int = 1,
    n_threads: int | None = None,
) -> list[Tree]:
    """Find the tree of `best_tree` for each of many label vectors, as of a permutation test.

    Parameters
    ----------
    X, depth, n_thresholds, sample_weight, class_cost, min_leaf, n_threads
        As in `best_tree`; the binary features are found once.
    y : array_like of shape (K, n_samples)
        Label vectors, each of 2 to 100 classes of its own; `class_cost` is of labels that all have.

    Returns
    -------
    list of K Tree

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> trees = mf.best_trees([[0], [1], [2], [3]], [[0, 1, 1, 0], [1, 1, 0, 0]], depth=2)
    >>> [len(tree.leaves) for tree in trees]
    [3, 2]
    """
    options = Options.of(depth, n_thresholds, class_cost, min_leaf, n_threads)
    rows, names, named = read_rows(X)
    all_labels = read_all_classes(y, len(rows))
    sizes = check_sizes(sample_weight, len(rows))
    return find_trees(rows, all_labels, sizes, options, names, named)


@shielded
def find_trees(
    X: Array,
    all_labels: list[Labels],
    sizes: Int64Array,
    options: Options,
    names: tuple[str, ...],
    named: bool,
) -> list[Tree]:
    """Find the tree of each label vector, of rows that were checked."""
    kept = np.flatnonzero(sizes)
    X, sizes = X if len(kept) == len(X) else X[kept], sizes[kept]
    check_min_leaf(options.min_leaf, int(sizes.sum()))
    costs = [check_class_costs(options.class_cost, labels.values) for labels in all_labels]
    features = BinaryFeatures.of(X, sizes, options.n_thresholds)
    check_n_features(len(features), options.depth, len(X), options.n_thresholds)
    trees = []
    for labels, class_costs in zip(all_labels, costs, strict=True):
        rows = LabelledRows(features, labels.codes[kept], sizes, class_costs, options.min_leaf)
        counts = rows.counts_of(np.arange(len(X)))
        check_total_cost(counts, class_costs, labels.values)
        chosen = grow(rows, counts, options.depth, options.n_threads)
        trees.append(_tree_of(rows, counts, options.depth, chosen, labels, names, named))
    return trees


def _tree_of(
    rows: LabelledRows,
    all_counts: Int64Array,
    depth: int,
    chosen: dict[int, int],
    labels: Labels,
    names: tuple[str, ...],
    named: bool,
) -> Tree:
    """Return the tree of features that were chosen, with the counts of its rows, given all."""
    features = rows.features
    splits: list[Split | None] = [None] * ((1 << depth) - 1)
    parts: dict[int, IndexArray] = {0: np.arange(len(rows.codes))}
    counts = np.zeros(((2 << depth) - 1, len(labels.values)), np.int64)
    counts[0] = all_counts
    for position, feature in sorted(chosen.items()):
        part, yes, no = parts[position], 2 * position + 1, 2 * position + 2
        column = int(features.columns[feature])
        splits[position] = Split(column, names[column], float(features.thresholds[feature]))
        answers = features.answer(feature)[part]
        parts[yes], parts[no] = part[answers], part[~answers]
        counts[yes] = rows.counts_of(parts[yes])
        counts[no] = counts[position] - counts[yes]
    return Tree(depth, tuple(labels.values), names, tuple(splits), counts, rows.class_costs, named)
