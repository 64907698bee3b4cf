"""A tree that knows its classes, and what was done to its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metaopt_fast.arithmetic import log
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import COUNTS, FittedModel
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.models.raw_rows import raw_rows_of
from metaopt_fast.models.tree import Tree, positions_of
from metaopt_fast.typing import JSON, Float64Array, IndexArray, Label

# The decision of a leaf whose classes cost the same, and which is for the positive one: less than
# any other above 0, which is at least one part of 2**26 rows.
TIE = 2.0**-64


@dataclass(frozen=True, slots=True, eq=False)
class TreeModel(FittedModel):
    """A tree with what was done to its columns: what `load_model` returns where one was kept.

    Attributes
    ----------
    classes : tuple of str, int, float or bool
        The labels, sorted.
    positive : str, int, float or None
        The class that decisions above 0 are for; None of more than two classes.
    preparation : Preparation
        What is done to the columns before the tree.
    tree : Tree
        The questions, of the prepared columns, and the training rows of each class in each leaf:
        probabilities are their parts.
    provenance : dict
        Where it is from: plain numbers, strings, lists and dicts.
    """

    classes: tuple[Label, ...]
    positive: Label | None
    preparation: Preparation
    tree: Tree
    provenance: dict[str, JSON] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tree: Tree,
        preparation: Preparation,
        positive: Label | None = None,
        provenance: Mapping[str, JSON] | None = None,
    ) -> TreeModel:
        """Return the model of a tree: of two classes, the greater one is positive by default."""
        classes = tree.classes
        if positive is None and len(classes) == 2:
            positive = classes[1]
        return cls(classes, positive, preparation, tree, dict(provenance or {}))

    @property
    def link(self) -> str:
        """What probabilities are: "counts", parts of the training rows of a leaf."""
        return COUNTS

    @shielded
    def decisions_of(self, rows: RawRows) -> Float64Array:
        """Return how much lower the mean cost of a leaf's training rows is by a decision for the
        positive class; or what it would be if the rows of each class were decided wrongly:
        (n_rows, K)."""
        return self._decisions_at(self._leaves(rows))

    def _decisions_at(self, leaves: IndexArray) -> Float64Array:
        counts, costs = self.tree.counts, self.tree.class_costs
        found = counts * costs / np.maximum(1, counts.sum(axis=1, keepdims=True))
        if self.positive is not None:
            of_positive = self.classes.index(self.positive)
            found = found[:, of_positive] - found[:, 1 - of_positive]
            found[(found == 0) & (self.tree.decided == of_positive)] = TIE
        return np.asarray(found.reshape(len(counts), -1)[leaves])

    @shielded
    def decisions_and_logits_of(self, rows: RawRows) -> tuple[Float64Array, Float64Array]:
        """Return decisions, and the log odds of the positive class, or logarithms of the part of
        each class in a row's leaf: (n_rows, K) both."""
        leaves = self._leaves(rows)
        decisions = self._decisions_at(leaves)
        logarithms = log(np.ascontiguousarray(self._parts_at(leaves)))
        if self.positive is None:
            return decisions, logarithms
        of_positive = self.classes.index(self.positive)
        odds = logarithms[:, of_positive] - logarithms[:, 1 - of_positive]
        return decisions, odds[:, None]

    @shielded
    def proba_of(self, rows: RawRows) -> Float64Array:
        """Return the part of each class in a row's leaf: (n_rows, K)."""
        return self._parts_at(self._leaves(rows))

    def _parts_at(self, leaves: IndexArray) -> Float64Array:
        counts = self.tree.counts[leaves]
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def _leaves(self, rows: RawRows) -> IndexArray:
        return positions_of(self.tree, self.preparation.apply(rows))

    def predict_proba(self, X: Any) -> Float64Array:
        """Return the part of each class in a row's leaf, in the order of `classes`."""
        return self.proba_of(raw_rows_of(X, self.preparation))

    def to_json(self) -> str:
        """Return the model as JSON, its thresholds as hexadecimal floats: each bit is kept."""
        from metaopt_fast.models.model_file import tree_to_json

        return tree_to_json(self)

    def __repr__(self) -> str:
        return f"TreeModel of {len(self.features):,} features\n{self.tree.to_text()}"
