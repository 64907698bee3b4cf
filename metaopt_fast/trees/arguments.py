"""Arguments of `best_tree`, checked: rows, labels, weights, costs, and how much is to count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.checks import check_labels, check_X, shown
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import threads_of
from metaopt_fast.trees.counting import MAX_COST
from metaopt_fast.typing import Array, Int64Array
from metaopt_fast.validation.frames import as_frame, as_numbers
from metaopt_fast.validation.labels import Labels, short
from metaopt_fast.validation.text import MISSING_CURE, quoted
from metaopt_fast.validation.values import (
    check_integer,
    check_n_threads,
    describe,
    to_float64,
)

MAX_CLASSES = 100
# Of depth 3, the tables of pairs have the square of it, and the work is its cube; of depth 2, the
# square.
MAX_FEATURES = {2: 10_000, 3: 1000}
SECONDS_OF_A_VISIT = 5e-11
# Of X, that are copied between two looks at signals.
NUMBERS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """What a tree may be, and on how many threads it is found: see `best_tree`."""

    depth: int
    n_thresholds: int
    class_cost: Mapping[Any, int] | None
    min_leaf: int
    n_threads: int

    @classmethod
    def of(
        cls,
        depth: object,
        n_thresholds: object,
        class_cost: object,
        min_leaf: object,
        n_threads: object,
    ) -> Self:
        """Return checked options; what depends on rows and labels is checked with these."""
        if check_integer("depth", depth, 1) not in MAX_FEATURES:
            raise ValueError(
                f"depth is {depth}: pass 2 or 3; deeper optimal trees are what pystreed is for."
            )
        if not isinstance(class_cost, (Mapping, type(None))):
            raise TypeError(
                f"class_cost is {describe(class_cost)}: pass a dict of labels and whole numbers."
            )
        return cls(
            check_integer("depth", depth, 2, 3),
            check_integer("n_thresholds", n_thresholds, 1),
            class_cost,
            check_integer("min_leaf", min_leaf, 1),
            threads_of(check_n_threads(n_threads)),
        )


def read_rows(X: npt.ArrayLike) -> tuple[Array, tuple[str, ...], bool]:
    """Return X, whose numbers are finite floats, the names of its columns, and whether they are its
    own."""
    frame = as_frame("X", X)
    rows = _as_floats(check_X(X))
    names = [f"x{j}" for j in range(rows.shape[1])] if frame is None else map(str, frame.names)
    listed = tuple(names)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        cure = MISSING_CURE if np.isnan(rows[row, column]) else "pass finite numbers"
        raise ValueError(
            f"X has {rows[row, column]} in row {row}, column {quoted(listed[column])}: {cure}."
        )
    return rows, listed, frame is not None


def _as_floats(X: Array) -> Array:
    """Return X, or a copy in double precision if that rounds its numbers, by parts between which
    signals are heard."""
    if np.can_cast(X.dtype, np.float64) and X.dtype not in (np.int64, np.uint64):
        return X
    rows = np.empty(X.shape)
    step = max(1, NUMBERS_AT_ONCE // X.shape[1])
    with np.errstate(all="ignore"):
        for first in range(0, len(X), step):
            rows[first : first + step] = X[first : first + step]
    return rows


def read_classes(name: str, y: Any, n_samples: int) -> Labels:
    """Return labels of two classes or more."""
    is_many = isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == n_samples > 1
    if is_many and name == "y":
        raise ValueError(
            f"y has shape {y.shape}: pass one label for each row, or call best_trees, which finds "
            "a tree for each label vector."
        )
    labels = check_labels(y, n_samples)
    if not 2 <= len(labels.values) <= MAX_CLASSES:
        raise ValueError(
            f"{name} holds {shown(labels.values)}: pass labels of 2 to {MAX_CLASSES} classes."
        )
    return labels


def read_all_classes(y: Any, n_samples: int) -> list[Labels]:
    """Return the labels of each vector of y, of shape (K, n_samples)."""
    is_right = isinstance(y, (list, tuple)) or (isinstance(y, np.ndarray) and y.ndim == 2)
    if not is_right or len(y) == 0 or any(np.isscalar(vector) for vector in y):
        raise ValueError(f"y is {describe(y)}: pass label vectors, of shape (K, n_samples).")
    return [read_classes(f"y[{k}]", vector, n_samples) for k, vector in enumerate(y)]


@shielded
def check_sizes(sample_weight: npt.ArrayLike | None, n_samples: int) -> Int64Array:
    """Return how many rows each row counts for."""
    if sample_weight is None:
        return np.ones(n_samples, np.int64)
    wanted = "an array of shape (n_samples,) of whole numbers >= 0"
    array = as_numbers("sample_weight", sample_weight, 1, wanted)
    if len(array) != n_samples:
        raise ValueError(
            f"sample_weight has {len(array)} entries, but X has {n_samples} rows: pass one weight "
            "for each row."
        )
    weights = to_float64(array)
    wrong = ~((weights >= 0) & (weights == np.floor(weights)) & (weights < np.inf))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"sample_weight has {weights[row]:g} in row {row}, and a tree counts whole rows: pass "
            f"{wanted}."
        )
    if not weights.any():
        raise ValueError("sample_weight is 0 for every row: pass at least one positive weight.")
    if float(weights.sum()) > MAX_COST:
        raise ValueError(
            f"sample_weight sums to {weights.sum():g}: pass weights whose sum is at most "
            f"{MAX_COST:,}."
        )
    return np.asarray(weights, np.int64)


def check_class_costs(class_cost: Mapping[Any, int] | None, classes: list[Any]) -> Int64Array:
    """Return the cost of each class's rows where they are decided wrongly."""
    costs = np.ones(len(classes), np.int64)
    for label, cost in (class_cost or {}).items():
        if label not in classes:
            raise ValueError(
                f"class_cost has the label {short(label)}, which is not in y: it holds "
                f"{shown(classes)}, pass labels of these."
            )
        costs[classes.index(label)] = check_integer(f"class_cost[{label!r}]", cost, 1, MAX_COST)
    return costs


def check_total_cost(counts: Int64Array, costs: Int64Array, classes: list[Any]) -> None:
    """Raise an error where a class has no rows, or costs are too large to be counted."""
    if not counts.all():
        label = classes[int(counts.argmin())]
        raise ValueError(
            f"sample_weight is 0 for each row of class {short(label)}: give each class a positive "
            "weight."
        )
    total = sum(int(n) * int(cost) for n, cost in zip(counts, costs, strict=True))
    if total > MAX_COST:
        raise ValueError(
            f"class_cost times the rows of each class sums to {total:,}: pass costs whose sum is "
            f"at most {MAX_COST:,}."
        )


def check_min_leaf(min_leaf: int, n_rows: int) -> None:
    """Raise an error where no leaf has enough rows."""
    if min_leaf > n_rows:
        raise ValueError(
            f"min_leaf is {min_leaf}, but there are {n_rows} rows: pass a whole number from 1 to "
            f"{n_rows}."
        )


def check_n_features(n_features: int, depth: int, n_rows: int, n_thresholds: int) -> None:
    """Raise an error where there are more binary features than can be counted."""
    most = MAX_FEATURES[depth]
    if n_features <= most:
        return
    cure = "fewer columns or a smaller n_thresholds"
    if depth == 3:
        seconds = SECONDS_OF_A_VISIT * _kernels.triple_work(n_features, n_rows / 32, 2)
        text = f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1g}"
        takes = f", which would take about {text} seconds on one thread"
        cure += ", or depth=2"
    else:
        takes = ""
    raise ValueError(
        f"X makes {n_features:,} binary features (n_thresholds is {n_thresholds}), and a tree of "
        f"depth {depth} may have {most:,}{takes}: pass {cure}."
    )
