"""The command tree: the tree of two or three questions that decides fewest rows wrongly."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast._version import __version__
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data_report import Data, Lines, lines_to_text
from metaopt_fast.cli.fitted_report import FittedReport
from metaopt_fast.cli.output import draw
from metaopt_fast.files.table import Table, label_of_class
from metaopt_fast.machine import config
from metaopt_fast.models.tree_drawing import width_of
from metaopt_fast.models.tree_model import TreeModel
from metaopt_fast.trees.arguments import Options, check_sizes
from metaopt_fast.trees.best_tree import find_trees
from metaopt_fast.typing import Label
from metaopt_fast.validation.labels import Labels
from metaopt_fast.validation.text import count, quoted


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TreeReport(FittedReport):
    """A tree, as the command line tells it.

    Attributes
    ----------
    n_thresholds, min_leaf : int
    elapsed : float
    isa : str
    n_threads : int
    model : TreeModel
    """

    n_thresholds: int
    min_leaf: int
    elapsed: float
    isa: str
    n_threads: int
    model: TreeModel

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        return {
            "certified": self.model.tree.certified,
            "elapsed": self.elapsed,
            "isa": self.isa,
            "n_threads": self.n_threads,
            "config": {
                "depth": self.model.tree.depth,
                "n_thresholds": self.n_thresholds,
                "min_leaf": self.min_leaf,
            },
            **self.fitted_to_dict(),
        }

    def parameters_to_dict(self) -> dict[str, Any]:
        """Return the questions and the leaves, for JSON."""
        return {"tree": self.model.tree.to_dict()}

    def to_text(self) -> str:
        """Return tables and the tree for a terminal."""
        tables = lines_to_text([self._what(), self._found(), self.fitted_to_lines()])
        return f"{tables}\n{self.model.tree.to_text()}\n"

    def _what(self) -> Lines:
        tree = self.model.tree
        return [
            *self.data.to_lines(""),
            (
                "model",
                f"tree of at most {tree.depth} questions on the way to a leaf; of a column, up to "
                f"{count(self.n_thresholds, 'threshold')}, and in a leaf, "
                f"{count(self.min_leaf, 'training row')} or more",
            ),
        ]

    def _found(self) -> Lines:
        tree = self.model.tree
        return [
            (
                "wrong decisions",
                f"{tree.n_errors:,} of {int(tree.counts[0].sum()):,} training rows: no tree of "
                "these questions has fewer, which is proven",
            ),
            ("seconds", f"{self.elapsed:.3f}"),
            ("threads", f"{self.n_threads}"),
            ("instruction set", self.isa),
        ]

    def to_picture(self, kind: str) -> bytes:
        """Return the tree as a picture."""
        tree = self.model.tree
        return draw(tree.plot, kind, width_of(tree))


def run_tree(arguments: argparse.Namespace, data: Data) -> TreeReport:
    """Find the tree of the training rows, and report it."""
    table = data.table
    options = Options.of(
        arguments.depth, arguments.thresholds, None, arguments.min_leaf, arguments.threads
    )
    sizes = check_sizes(_whole_weights(table, arguments.weight), len(table.y))
    labels, positive = labels_of(table)
    started = time.perf_counter()
    (tree,) = find_trees(table.X, [labels], sizes, options, table.feature_names, named=True)
    elapsed = time.perf_counter() - started
    arguments.stop.is_reporting = True
    model = TreeModel.of(
        tree,
        data.preparation,
        positive,
        {
            "program": f"{PROGRAM} tree",
            "version": __version__,
            **data.provenance,
            "n_thresholds": arguments.thresholds,
            "min_leaf": arguments.min_leaf,
        },
    )
    found: dict[str, Any] = config()
    return TreeReport(
        data=data,
        n_thresholds=arguments.thresholds,
        min_leaf=arguments.min_leaf,
        elapsed=elapsed,
        isa=found["isa"],
        n_threads=options.n_threads,
        model=model,
        kept=arguments.model,
    )


def labels_of(table: Table) -> tuple[Labels, Label | None]:
    """Return the labels of a table, the least first, and the positive one of two."""
    values: list[Any] = [label_of_class(name) for name in table.class_names]
    codes = table.y.astype(np.intp)
    if len(values) > 2:
        return Labels(values, codes), None
    ordered = sorted(values)
    return Labels(ordered, codes if ordered == values else 1 - codes), values[1]


def _whole_weights(table: Table, name: str | None) -> Any:
    """Return the weights of the rows, which say how many each counts for."""
    weights = table.weights
    if weights is not None and (is_part := weights != np.floor(weights)).any():
        row = int(is_part.argmax())
        raise ValueError(
            f"column {quoted(str(name))} has {weights[row]:g} as the weight of row {row}, and a "
            "tree counts whole rows: name a column of whole numbers, or leave out --weight."
        )
    return weights
