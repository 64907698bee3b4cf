"""A decision tree of a few questions: what it decides, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import check_kept
from metaopt_fast.models.preparation import Preparation
from metaopt_fast.models.raw_rows import raw_rows_of
from metaopt_fast.typing import JSON, Float64Array, IndexArray, Int64Array, Label, LabelArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.labels import short
from metaopt_fast.validation.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from metaopt_fast.models.tree_model import TreeModel


class Split(NamedTuple):
    """A question of a tree: is a row's number at most the threshold?

    Attributes
    ----------
    column : int
        Number of the column.
    name : str
    threshold : float
    """

    column: int
    name: str
    threshold: float

    def __str__(self) -> str:
        return f"{shown(self.name)} <= {self.threshold:.6g}"


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A tree of least cost, as `best_tree` finds it.

    Positions are numbered from the root, 0: below position i, 2 i + 1 is where the answer is yes,
    and 2 i + 2 where it is no.

    Attributes
    ----------
    depth : int
        Questions on the way to a leaf, at most.
    classes : tuple of str, int, float or bool
        The labels, sorted.
    feature_names : tuple of str
        Names of the columns; x0, x1, ... of an array.
    splits : tuple of Split or None
        The question of each position that has room for one; None: there is none.
    counts : numpy.ndarray of shape (2**(depth + 1) - 1, n_classes), int64
        Training rows of each class at each position, 0 where a tree has none.
    class_costs : numpy.ndarray of shape (n_classes,), int64
        Cost of a wrong decision on a row of each class.
    named : bool
        Whether columns of a frame are found by their names.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> tree = mf.best_tree([[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 0], depth=2)
    >>> tree.n_errors, tree.leaf_counts.tolist()
    (0, [[2, 0], [0, 1], [1, 0]])
    >>> tree.predict([[2.6], [9.0]]).tolist()
    [1, 0]
    """

    depth: int
    classes: tuple[Label, ...]
    feature_names: tuple[str, ...]
    splits: tuple[Split | None, ...]
    counts: Int64Array
    class_costs: Int64Array
    named: bool

    @property
    def certified(self) -> bool:
        """True: no tree of this depth and these thresholds has a lower cost on the training
        rows."""
        return True

    @property
    def leaves(self) -> tuple[int, ...]:
        """The positions of the leaves, from the one of yes alone to the one of no alone."""
        return tuple(self._leaves_below(0))

    def _leaves_below(self, position: int) -> list[int]:
        if not self._has_split(position):
            return [position]
        return self._leaves_below(2 * position + 1) + self._leaves_below(2 * position + 2)

    def _has_split(self, position: int) -> bool:
        return position < len(self.splits) and self.splits[position] is not None

    @property
    def leaf_counts(self) -> Int64Array:
        """Training rows of each class in each of the leaves, shape (n_leaves, n_classes)."""
        return self.counts[list(self.leaves)]

    @property
    def decided(self) -> IndexArray:
        """The number of the class that each position decides for, if it is a leaf: the one that
        costs least, the first of those that cost the same."""
        return np.asarray((self.counts * self.class_costs).argmax(axis=1))

    @property
    def n_errors(self) -> int:
        """Training rows that are decided wrongly, each counted as often as its weight says."""
        leaves = list(self.leaves)
        right = self.counts[leaves, self.decided[leaves]]
        return int(self.counts[0].sum() - right.sum())

    @property
    def error(self) -> float:
        """`n_errors` as a part of all training rows."""
        return self.n_errors / int(self.counts[0].sum())

    @property
    def cost(self) -> int:
        """What the wrong decisions on the training rows cost: the least there is."""
        costs = self.leaf_counts * self.class_costs
        return int(costs.sum() - costs.max(axis=1).sum())

    @shielded
    def apply(self, X: npt.ArrayLike) -> IndexArray:
        """Return the position of the leaf of each row, shape (n_samples,).

        Parameters
        ----------
        X : array_like, frame or dict of columns, of shape (n_samples, n_features)
            Columns of a frame are found by their names, if the tree was found by one; those of
            anything else by their position.
        """
        if not self.named:
            X = as_numbers("X", X, 2, f"an array of shape (n_samples, {len(self.feature_names)})")
        return positions_of(self, raw_rows_of(X, Preparation.none(self.feature_names)).X)

    def predict(self, X: npt.ArrayLike) -> LabelArray:
        """Return the label that each row is decided for, shape (n_samples,). X as in `apply`."""
        labels = np.array(self.classes)
        found: npt.NDArray[Any] = labels[self.decided[self.apply(X)]]
        return found

    def model(self) -> TreeModel:
        """Return the tree as a `TreeModel`: it predicts, by probabilities too, and is saved to a
        file, which `load_model` reads."""
        from metaopt_fast.models.tree_model import TreeModel

        check_kept(self.classes)
        return TreeModel.of(self, Preparation.none(self.feature_names))

    def to_dict(self) -> dict[str, JSON]:
        """Return the tree as plain numbers, strings, lists and dicts, for JSON."""
        return {
            "depth": self.depth,
            "classes": list(self.classes),
            "class_costs": self.class_costs.tolist(),
            "features": list(self.feature_names),
            "n_rows": int(self.counts[0].sum()),
            "n_errors": self.n_errors,
            "cost": self.cost,
            "tree": self._node(0),
        }

    def _node(self, position: int) -> dict[str, Any]:
        counts = self.counts[position].tolist()
        split = self.splits[position] if self._has_split(position) else None
        if split is None:
            return {"label": self.classes[self.decided[position]], "counts": counts}
        return {
            "feature": split.name,
            "column": split.column,
            "threshold": split.threshold,
            "counts": counts,
            "yes": self._node(2 * position + 1),
            "no": self._node(2 * position + 2),
        }

    def to_text(self) -> str:
        """Return the questions and the leaves as lines."""
        n_rows, n_leaves = int(self.counts[0].sum()), len(self.leaves)
        leaves = "1 leaf" if n_leaves == 1 else f"{n_leaves} leaves"
        cost = f", at a cost of {self.cost:,}" if (self.class_costs > 1).any() else ""
        head = (
            f"Tree of depth {self.depth}, {leaves}: {self.n_errors:,} of {n_rows:,} rows wrong "
            f"({self.error:.2%}){cost}, proven least"
        ).replace("%)", " %)")
        return "\n".join([head, "", *self._lines(0, "", "  ")])

    def _lines(self, position: int, answer: str, indent: str) -> list[str]:
        if not self._has_split(position):
            label, rows, wrong = leaf_words(self, position)
            return [f"{indent}{answer}{label}  ({rows}, {wrong})"]
        lines = [f"{indent}{answer}{self.splits[position]}?"]
        lines += self._lines(2 * position + 1, "yes: ", indent + "  ")
        return lines + self._lines(2 * position + 2, "no: ", indent + "  ")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the tree, by matplotlib.

        Returns the matplotlib axes.
        """
        from metaopt_fast.models.tree_drawing import draw

        return draw(self, ax)

    def __repr__(self) -> str:
        return self.to_text()


def positions_of(tree: Tree, X: Float64Array) -> IndexArray:
    """Return the position of the leaf of each row, of rows that were checked."""
    found = np.zeros(len(X), np.intp)
    for position, split in enumerate(tree.splits):
        if split is not None:
            here = np.flatnonzero(found == position)
            is_yes = X[here, split.column] <= split.threshold
            found[here] = 2 * position + np.where(is_yes, 1, 2)
    return found


def leaf_words(tree: Tree, position: int) -> tuple[str, str, str]:
    """Return what a leaf decides, for how many rows, and for how many of them wrongly."""
    counts, decided = tree.counts[position], int(tree.decided[position])
    n_rows = int(counts.sum())
    rows = f"{n_rows:,} row" + "s" * (n_rows != 1)
    return short(tree.classes[decided]), rows, f"{n_rows - int(counts[decided]):,} wrong"
