"""The tree of least value: tables of what subtrees are worth, and the choices that reach it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.trees.counting import IMPOSSIBLE, Counter, Int32Array, LabelledRows
from metaopt_fast.typing import Int64Array

# Pairs of features whose leaves are valued together.
PAIRS_AT_ONCE = 1 << 20
# Bytes of the tables of all threads.
TABLE_MEMORY = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What the best subtrees are worth: of each side of each feature, [side, feature], a leaf, and
    one level below it; and of depth 3, of each pair, [side, feature, other feature], the two
    subtrees that rows of that side are split into by the other feature."""

    leaves: Int32Array
    sides: Int32Array
    splits: Int32Array | None

    @classmethod
    def of(cls, counter: Counter, depth: int) -> Self:
        """Fill the tables for trees of depth 2 or 3."""
        return cls._of_pairs(counter) if depth == 2 else cls._of_triples(counter)

    @classmethod
    def _of_pairs(cls, counter: Counter) -> Self:
        n, leaves = counter.n_features, counter.side_values()
        sides = leaves.copy()
        step = max(1, PAIRS_AT_ONCE // n)
        for first in range(0, n, step):
            last = min(n, first + step)
            cells = counter.cell_values(counter.pairs(first, last), first)
            for side in range(2):
                split = (cells[2 * side] + cells[2 * side + 1]).min(axis=1)
                np.minimum(sides[side, first:last], split, out=sides[side, first:last])
        return cls(leaves, sides, None)

    @classmethod
    def _of_triples(cls, counter: Counter) -> Self:
        n = counter.n_features
        pairs = counter.pairs(0, n)
        best = _best_splits(counter, pairs)
        leaves = counter.cell_values(pairs, 0)
        # Two leaves more; what is impossible stays a number that can be added once.
        best = np.minimum(np.minimum(best, IMPOSSIBLE - 2) + 2, leaves)
        del leaves
        # What was found of either order of a pair; sides change places where the features do.
        swapped = best[[0, 2, 1, 3]].transpose(0, 2, 1)
        best = np.minimum(best, swapped)
        splits = np.stack([best[0] + best[1], best[2] + best[3]])
        ends = counter.side_values()
        return cls(ends, np.minimum(ends, splits.min(axis=2)), splits)

    def seconds(self, counter: Counter, root: int) -> Int32Array:
        """Return what the subtrees below a root are worth by the features that split them, [side,
        feature]."""
        if self.splits is not None:
            return self.splits[:, root]
        leaves = counter.cell_values(counter.pairs(root, root + 1), root)[:, 0]
        return np.stack([leaves[0] + leaves[1], leaves[2] + leaves[3]])


def _best_splits(counter: Counter, pairs: Int32Array) -> Int32Array:
    """Return the least cost of each pair, [sides, feature, other], when a third feature splits it:
    complete where feature < other, elsewhere that of some third features."""
    n = counter.n_features
    n_classes = counter.n_quantities - (counter.least > 0)
    size = n * 4 * counter.stride
    n_threads = _kernels.team_of_triples(n, counter.n_words, n_classes, counter.n_threads)
    n_threads = min(n_threads, n, max(1, TABLE_MEMORY // (4 * size)))
    tables = np.full((n_threads, n, 4, counter.stride), np.iinfo(np.int32).max, np.int32)
    counter.bits.split(counter.totals, counter.singles, pairs, tables)
    best = tables[0] if n_threads == 1 else tables.min(axis=0)
    return np.ascontiguousarray(best.transpose(1, 0, 2)[:, :, :n])


def grow(rows: LabelledRows, counts: Int64Array, depth: int, n_threads: int) -> dict[int, int]:
    """Return the features of the best tree of rows, of which each class has `counts`.

    They are by position: 0 the root, below i 2 i + 1, where the answer is yes, and 2 i + 2.
    Positions that are not there are leaves, or below them.

    Of trees of one value, it is the one whose root has the lowest number, then the tree below its
    yes, then that below its no.
    """
    if len(rows.features) == 0:
        return {}
    counter = Counter.of(rows, counts, n_threads)
    tables = Tables.of(counter, depth)
    chosen: dict[int, int] = {}
    values = tables.sides[0].astype(np.int64) + tables.sides[1]
    root = _choose(int(rows.leaf_value(counts)), values)
    if root is None:
        return chosen
    chosen[0] = root
    seconds = tables.seconds(counter, root)
    of_yes = int(not rows.features.rare[root])  # 1 is the rarer side
    for position, side in ((1, of_yes), (2, 1 - of_yes)):
        second = _choose(int(tables.leaves[side, root]), seconds[side])
        if second is not None:
            chosen[position] = second
    if depth == 3:
        _split_last(rows, chosen)
    return chosen


def _choose(leaf: int, values: Int32Array | Int64Array) -> int | None:
    """Return the lowest feature of the least value; None if a leaf is worth no more."""
    feature = int(values.argmin())
    return feature if int(values[feature]) < leaf else None


def _split_last(rows: LabelledRows, chosen: dict[int, int]) -> None:
    """Split the rows of the positions that have leaves alone below them."""
    parts = {0: np.arange(len(rows.codes))}
    for position in sorted(chosen):
        answers = rows.features.answer(chosen[position])[parts[position]]
        for below, some in ((1, answers), (2, ~answers)):
            parts[2 * position + below] = parts[position][some]
    for position in (3, 4, 5, 6):
        if position in parts:
            part = parts[position]
            counts = rows.counts_of(part)
            feature = _choose(int(rows.leaf_value(counts)), rows.split_values(part, counts))
            if feature is not None:
                chosen[position] = feature
