"""Counts of rows by their features and classes, and the costs that leaves have by them.

A tree is valued by one whole number, 16 for each unit of cost and 1 for each leaf, so that the
least one is of the least cost and, among those, of the fewest leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.trees.features import AT_ONCE, BinaryFeatures
from metaopt_fast.typing import Array, IndexArray, Int64Array

UNIT = 16
# Of a leaf that has too few rows; a sum of two is a whole number of 32 bits still.
IMPOSSIBLE = 2**30 - 1
# Of all rows, so that a tree is valued below IMPOSSIBLE.
MAX_COST = 2**26 - 1
# Of 32 rows, written together: 4 MB of answers.
WORDS_TOGETHER = 1 << 11

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Rows of classes, and what they count: each `sizes` times, and `costs` where it is decided
    wrongly. `least` is how many rows a leaf may have; 0 where nobody needs to count them."""

    features: BinaryFeatures
    codes: IndexArray
    sizes: Int64Array
    class_costs: Int64Array
    min_leaf: int

    @property
    def least(self) -> int:
        """The rows of a leaf, 0 of two classes whose leaves may have any: an empty one is never
        chosen, since without it there is a leaf less."""
        return 0 if len(self.class_costs) == 2 and self.min_leaf == 1 else self.min_leaf

    def counts_of(self, rows: IndexArray) -> Int64Array:
        """Return the rows of each class among some rows."""
        # In floats, whose sums of so few whole numbers are exact.
        counts = np.bincount(self.codes[rows], self.sizes[rows], len(self.class_costs))
        return counts.astype(np.int64)

    def leaf_value(self, counts: Int64Array) -> Array:
        """Return what leaves of counts [class, ...] of rows are worth."""
        shape = (-1,) + (1,) * (counts.ndim - 1)
        costs = counts * self.class_costs.reshape(shape)
        value = UNIT * (costs.sum(axis=0) - costs.max(axis=0)) + 1
        return np.where(counts.sum(axis=0) < self.min_leaf, IMPOSSIBLE, value)

    def split_values(self, rows: IndexArray, counts: Int64Array) -> Int64Array:
        """Return what two leaves are worth that some rows are split into, by each feature, given
        the rows of each class among them."""
        n_features, n_classes = len(self.features), len(self.class_costs)
        yes = np.zeros((n_classes, n_features), np.int64)
        of_class = [rows[self.codes[rows] == k] for k in range(n_classes)]
        for first in range(0, n_features, AT_ONCE):
            last = min(first + AT_ONCE, n_features)
            for k, some in enumerate(of_class):
                answers = self.features.answers(some, first, last)
                yes[k, first:last] = (answers * self.sizes[some]).sum(axis=1)
        no = counts[:, None] - yes
        return np.asarray(self.leaf_value(yes) + self.leaf_value(no), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """Rows as bits, which the kernels count, by the rarer side of each feature: "having" one."""

    bits: _kernels.BitColumns
    n_features: int
    n_words: int
    n_quantities: int
    least: int
    stride: int
    n_threads: int
    totals: Int32Array
    singles: Int32Array

    @classmethod
    def of(cls, rows: LabelledRows, counts: Int64Array, n_threads: int) -> Self:
        """Pack rows as bits: a segment for each bit of the sizes of each class, which has `counts`
        rows."""
        features = rows.features
        stride = -(-len(features) // 16) * 16
        parts: list[IndexArray] = []
        segments: list[tuple[int, int]] = []
        for k in range(len(rows.class_costs)):
            of_class = np.flatnonzero(rows.codes == k)
            sizes = rows.sizes[of_class]
            for bit in range(int(sizes.max()).bit_length()):
                some = of_class[(sizes >> bit) & 1 == 1]
                if len(some):
                    parts.append(some)
                    segments.append((k, 1 << bit))
        ends = np.cumsum([-(-len(part) // 32) for part in parts], dtype=np.intp)
        classes, sizes_of = np.array(segments, np.int64).T
        costs = UNIT * rows.class_costs[classes] * sizes_of
        words = _words_of(features, parts, ends, stride)
        bits = _kernels.BitColumns(
            words,
            ends,
            classes.astype(np.int32),
            costs.astype(np.int32),
            sizes_of.astype(np.int32),
            len(rows.class_costs),
            len(features),
            rows.least,
        )
        n_quantities = len(rows.class_costs) + (rows.least > 0)
        totals = np.append(UNIT * rows.class_costs * counts, counts.sum())[:n_quantities]
        singles = np.empty((1, n_quantities, stride), np.int32)
        bits.count(np.array([-1], np.intp), singles, n_threads)
        return cls(
            bits,
            len(features),
            len(words),
            n_quantities,
            rows.least,
            stride,
            n_threads,
            totals.astype(np.int32),
            singles[0],
        )

    def pairs(self, first: int, last: int) -> Int32Array:
        """Return what is counted of rows that have feature [first, last) and another:
        [feature, quantity, other]."""
        counts = np.empty((last - first, self.n_quantities, self.stride), np.int32)
        self.bits.count(np.arange(first, last), counts, self.n_threads)
        return counts

    def leaf_value(self, counts: Int32Array) -> Int32Array:
        """Return what leaves are worth of which [quantity, ...] was counted."""
        costs = counts if self.least == 0 else counts[:-1]
        if len(costs) == 2:  # the sum less the greater one
            value = np.minimum(costs[0], costs[1]) + np.int32(1)
        else:
            value = costs.sum(axis=0, dtype=np.int32) - costs.max(axis=0) + np.int32(1)
        if self.least > 0:
            value[counts[-1] < self.least] = IMPOSSIBLE
        return np.asarray(value, np.int32)

    def cell_values(self, pairs: Int32Array, first: int) -> Int32Array:
        """Return what leaves of pairs are worth: [side of it, side of the other][feature, other],
        sides 1 and 0, as 2 * side + side."""
        both = np.ascontiguousarray(pairs.transpose(1, 0, 2)[:, :, : self.n_features])
        one = self.singles[:, first : first + len(pairs), None]
        other = self.singles[:, None, : self.n_features]
        total = self.totals[:, None, None]
        only = one - both
        cells = (total - one - other + both, other - both, only, both)
        values = np.empty((4, len(pairs), self.n_features), np.int32)
        for k, cell in enumerate(cells):
            values[k] = self.leaf_value(cell)
        return values

    def side_values(self) -> Int32Array:
        """Return what leaves of single features are worth: [side, feature]."""
        of_one = self.singles[:, : self.n_features]
        return np.stack([self.leaf_value(self.totals[:, None] - of_one), self.leaf_value(of_one)])


def _words_of(
    features: BinaryFeatures, parts: list[IndexArray], ends: IndexArray, stride: int
) -> npt.NDArray[np.uint32]:
    """Return which rows have each feature, [word, feature]: row i of a part as bit i % 32 of its
    word i // 32, given where the words of parts end."""
    rows = np.zeros(32 * int(ends[-1]), np.intp)
    is_row = np.zeros(len(rows), np.bool_)
    for part, end in zip(parts, ends.tolist(), strict=True):
        first = 32 * (end - -(-len(part) // 32))
        rows[first : first + len(part)] = part
        is_row[first : first + len(part)] = True
    words = np.zeros((int(ends[-1]), stride), np.uint32)
    for top in range(0, len(words), WORDS_TOGETHER):
        some = slice(32 * top, 32 * (top + WORDS_TOGETHER))
        for first in range(0, len(features), AT_ONCE):
            last = min(first + AT_ONCE, len(features))
            having = features.answers(rows[some], first, last)
            having ^= features.rare[first:last, None]
            having &= is_row[some]
            bits = np.packbits(having, axis=1, bitorder="little").view("<u4")
            words[top : top + WORDS_TOGETHER, first:last] = bits.T
    return words
