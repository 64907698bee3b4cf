"""Files of models: JSON with hexadecimal floats, read without executing anything in it.

A file comes from a stranger: its size is bounded, and all that it says is checked.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from metaopt_fast.data.standardize import Standardization
from metaopt_fast.files.table import check_file
from metaopt_fast.models.fitted import COUNTS, LOGISTIC, SOFTMAX, FittedModel
from metaopt_fast.models.model import Model
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.models.networks import Networks
from metaopt_fast.models.preparation import Feature, Preparation
from metaopt_fast.models.tree import Split, Tree
from metaopt_fast.models.tree_model import TreeModel
from metaopt_fast.typing import Float64Array, Int64Array, Label
from metaopt_fast.validation.text import shown
from metaopt_fast.validation.values import describe

FORMAT = "metaopt_fast model"
# What a file holds; a version that does not know one of them says so.
LINEAR, NETWORK, TREE = 1, 2, 3
# Of a file: a hundred coefficients for each of ten thousand columns are 25 MB.
MAX_BYTES = 2**26
# Of a number's text: "-0x1.fffffffffffffp+1023" has 23 letters.
LONGEST_NUMBER = 32
LARGEST_EXPONENT = 1100
MISSING = ("error", "mean", "drop")
ACTIVATIONS = ("tanh", "relu")
DEPTHS = (2, 3)
# Rows and costs that `best_tree` counts are fewer.
MAX_COUNT = 2**26


def to_json(model: Model) -> str:
    """Return a linear model as JSON."""
    parameters = {
        "coefficients": [_hexadecimal(row) for row in model.coef],
        "intercepts": _hexadecimal(model.intercept),
    }
    return _text(model, LINEAR, parameters)


def network_to_json(model: NetworkModel) -> str:
    """Return a network, or several, as JSON: lines of units and of outputs, biases last."""
    networks = model.networks
    parameters = {
        "activation": networks.activation,
        "networks": [
            {
                "units": [_hexadecimal(line) for line in units],
                "outputs": [_hexadecimal(line) for line in outputs],
            }
            for units, outputs in zip(*networks.lines(), strict=True)
        ],
    }
    return _text(model, NETWORK, parameters)


def tree_to_json(model: TreeModel) -> str:
    """Return a tree as JSON: a question for each position that has room for one, or none."""
    tree = model.tree
    parameters = {
        "depth": tree.depth,
        "class_costs": tree.class_costs.tolist(),
        "splits": [
            None if split is None else {"column": split.column, "threshold": split.threshold.hex()}
            for split in tree.splits
        ],
        "counts": tree.counts.tolist(),
    }
    return _text(model, TREE, parameters)


def _text(model: FittedModel, schema: int, parameters: dict[str, Any]) -> str:
    preparation, measured = model.preparation, model.preparation.measured
    content = {
        "format": FORMAT,
        "schema": schema,
        "classes": [_label_to_json(label) for label in model.classes],
        "positive": None if model.positive is None else model.classes.index(model.positive),
        "link": model.link,
        "features": [
            {
                "name": feature.name,
                "values": None if feature.values is None else list(feature.values),
                "fill": None if feature.fill is None else feature.fill.hex(),
            }
            for feature in preparation.features
        ],
        "missing": preparation.missing,
        "standardized": preparation.is_standardized,
        "columns": measured
        and {
            "exponent": measured.exponent.tolist(),
            "center": _hexadecimal(measured.center),
            "remainder": _hexadecimal(measured.remainder),
            "deviation": _hexadecimal(measured.deviation),
        },
        **parameters,
        "provenance": model.provenance,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _hexadecimal(values: Float64Array) -> list[str]:
    return [value.hex() for value in values.tolist()]


def _label_to_json(label: Label) -> Any:
    """Return a text or a truth value as it is, numbers as their digits, whole or hexadecimal."""
    if isinstance(label, (str, bool)):
        return label
    return {"integer": str(label)} if isinstance(label, int) else {"float": label.hex()}


def load_model(path: str | os.PathLike[str]) -> Model | NetworkModel | TreeModel:
    """Read a model from the JSON file that ``--model`` of ``metaopt-fast`` or its `save` wrote.

    Nothing in it is executed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model, NetworkModel or TreeModel

    Raises
    ------
    ValueError
        If it is no such file, is damaged, or is of a newer version.
    OSError
        If it cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"path is {describe(path)}: pass the path of a model's file.")
    name = os.fspath(path)
    check_file(name)
    content = b""
    # One of claims alone takes no memory.
    if (size := os.path.getsize(name)) <= MAX_BYTES:
        with open(name, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    if max(size, len(content)) > MAX_BYTES:
        raise ValueError(
            f"{shown(name)} has more than {MAX_BYTES:,} bytes: pass what --model has written."
        )
    return parse(name, content)


def parse(name: str, content: bytes) -> Model | NetworkModel | TreeModel:
    """Return the model that a file's content says; `name` is the file's in errors."""
    try:
        found = json.loads(content, parse_constant=_nothing)
    except (ValueError, RecursionError):
        raise _no_model(name) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _no_model(name)
    schema = found.get("schema")
    if type(schema) is int and schema > TREE:
        raise ValueError(
            f"{shown(name)} has schema {str(schema)[:20]}, and this version of metaopt_fast reads "
            f"up to {TREE}: update it, by pip install -U metaopt_fast."
        )
    return _Contents(name, found).model()


def _nothing(_: str) -> None:
    """Take NaN and the infinities, which are no JSON, for nothing."""


def _no_model(name: str) -> ValueError:
    return ValueError(f"{shown(name)} is no model: pass a file that --model has written.")


class _Contents:
    """What a file of a model says, checked entry by entry."""

    def __init__(self, path: str, found: dict[str, Any]) -> None:
        self._path, self._found = path, found

    def model(self) -> Model | NetworkModel | TreeModel:
        """Return the model."""
        schema = self._found.get("schema")
        self._check(type(schema) is int and LINEAR <= schema <= TREE, "schema")
        classes = self._list("classes", self._label, 2)
        self._check(len(set(classes)) == len(classes), "classes")
        kinds = set(map(type, classes))
        self._check(len(kinds) == 1 or kinds == {int, float}, "classes")
        self._check(sorted(classes) == classes, "classes")
        positive = self._positive(classes)
        link = self._found.get("link")
        known = LOGISTIC if positive is not None else SOFTMAX
        if schema == TREE:
            known = COUNTS
            self._check((positive is None) == (len(classes) > 2), "positive")
        self._check(link == known or (link is None and schema == LINEAR), "link")
        preparation = self._preparation()
        n_outputs = 1 if positive is not None else len(classes)
        provenance = self._found.get("provenance")
        self._check(isinstance(provenance, dict), "provenance")
        where = dict(provenance or {})
        if schema == NETWORK:
            networks = self._networks(n_outputs, len(preparation.names))
            return NetworkModel(tuple(classes), positive, preparation, networks, where)
        if schema == TREE:
            tree = self._tree(tuple(classes), tuple(preparation.names))
            return TreeModel(tree.classes, positive, preparation, tree, where)
        coef = self._matrix(self._found, "coefficients", (n_outputs, len(preparation.names)))
        intercepts = self._numbers(self._found, "intercepts", n_outputs)
        return Model(tuple(classes), positive, preparation, coef, intercepts, link, where)

    def _networks(self, n_outputs: int, n_columns: int) -> Networks:
        activation = self._found.get("activation")
        self._check(isinstance(activation, str) and activation in ACTIVATIONS, "activation")
        entries = self._list("networks", lambda entry: entry, 1)
        units = entries[0].get("units") if isinstance(entries[0], dict) else None
        self._check(isinstance(units, list) and len(units) > 0, "units")
        n_hidden = len(units or ())
        thetas = [
            np.concatenate(
                [
                    self._matrix(entry, "units", (n_hidden, n_columns + 1)).ravel(),
                    self._matrix(entry, "outputs", (n_outputs, n_hidden + 1)).ravel(),
                ]
            )
            for entry in entries
        ]
        return Networks(str(activation), n_hidden, n_outputs, np.array(thetas))

    def _tree(self, classes: tuple[Label, ...], names: tuple[str, ...]) -> Tree:
        depth = self._found.get("depth")
        self._check(type(depth) is int and depth in DEPTHS, "depth")
        splits = self._list("splits", lambda entry: self._split(entry, names), 1)
        self._check(len(splits) + 1 == 1 << int(depth or 0), "splits")
        costs = self._whole([self._found.get("class_costs")], "class_costs", (1, len(classes)))[0]
        self._check(bool((costs > 0).all()), "class_costs")
        shape = (2 * len(splits) + 1, len(classes))
        counts = self._whole(self._found.get("counts"), "counts", shape)
        # Each row of a position with a question is in one of those below it; each leaf has rows.
        self._check(bool(counts[0].any()), "counts")
        for position, split in enumerate(splits):
            below = counts[2 * position + 1 : 2 * position + 3]
            above = counts[position] if split is not None else 0
            has_rows = below.any(axis=1) == (split is not None)
            self._check(bool(has_rows.all() and (below.sum(axis=0) == above).all()), "counts")
        return Tree(int(depth or 0), classes, names, tuple(splits), counts, costs, named=True)

    def _split(self, entry: Any, names: tuple[str, ...]) -> Split | None:
        if entry is None:
            return None
        column = entry.get("column") if isinstance(entry, dict) else None
        self._check(type(column) is int and 0 <= column < len(names), "splits")
        threshold = self._number(entry.get("threshold"), "splits")
        return Split(int(column or 0), names[int(column or 0)], threshold)

    def _whole(self, rows: Any, name: str, shape: tuple[int, int]) -> Int64Array:
        """Return a matrix of whole numbers from 0 to the largest that a tree counts."""
        self._check(isinstance(rows, list) and len(rows) == shape[0], name)
        for row in rows:
            self._check(isinstance(row, list) and len(row) == shape[1], name)
            self._check(all(type(x) is int and 0 <= x < MAX_COUNT for x in row), name)
        return np.array(rows, np.int64)

    def _check(self, is_right: bool, what: str) -> None:
        if not is_right:
            raise ValueError(
                f"{shown(self._path)} is not a whole model (its entry {what!r}): save it again."
            )

    def _list(self, name: str, read: Callable[[Any], Any], at_least: int) -> list[Any]:
        entries = self._found.get(name)
        self._check(isinstance(entries, list) and len(entries) >= at_least, name)
        return [read(entry) for entry in entries or ()]

    def _label(self, entry: Any) -> Label:
        if isinstance(entry, (str, bool)):
            return entry
        self._check(isinstance(entry, dict) and len(entry) == 1, "classes")
        (kind, text), *_ = entry.items()
        if kind == "float":
            return self._number(text, "classes")
        digits = text.removeprefix("-") if isinstance(text, str) else ""
        self._check(
            kind == "integer" and len(digits) <= 50 and digits.isascii() and digits.isdecimal(),
            "classes",
        )
        return int(text)

    def _positive(self, classes: list[Label]) -> Label | None:
        number = self._found.get("positive", "")
        if number is None:
            return None
        self._check(type(number) is int and number in (0, 1) and len(classes) == 2, "positive")
        return classes[int(number)]

    def _number(self, text: Any, name: str) -> float:
        # "0x" told: a number that somebody has written in decimals would be taken for another one.
        is_hexadecimal = isinstance(text, str) and text.lstrip("-").startswith("0x")
        self._check(is_hexadecimal and len(text) <= LONGEST_NUMBER, name)
        try:
            number = float.fromhex(text)
        except (ValueError, OverflowError):
            number = math.nan
        self._check(math.isfinite(number), name)
        return number

    def _numbers(self, where: Any, name: str, count: int) -> Float64Array:
        texts = where.get(name) if isinstance(where, dict) else None
        self._check(isinstance(texts, list) and len(texts) == count, name)
        return np.array([self._number(text, name) for text in texts or ()], np.float64)

    def _matrix(self, where: Any, name: str, shape: tuple[int, int]) -> Float64Array:
        rows = where.get(name) if isinstance(where, dict) else None
        self._check(isinstance(rows, list) and len(rows) == shape[0], name)
        return np.array([self._numbers({name: row}, name, shape[1]) for row in rows or ()])

    def _preparation(self) -> Preparation:
        features = tuple(self._list("features", self._feature, 1))
        self._check(len({feature.name for feature in features}) == len(features), "features")
        missing, is_standardized = self._found.get("missing"), self._found.get("standardized")
        self._check(isinstance(missing, str) and missing in MISSING, "missing")
        for feature in features:  # exactly where a number may be missing, something stands for it
            is_filled = missing == "mean" and feature.values is None
            self._check((feature.fill is not None) == is_filled, "features")
        self._check(isinstance(is_standardized, bool), "standardized")
        n_columns = sum(len(feature.columns) for feature in features)
        columns = self._found.get("columns", "")
        if columns is None:
            self._check(not is_standardized, "columns")
            return Preparation(features, str(missing), None, False)
        exponents = columns.get("exponent") if isinstance(columns, dict) else None
        self._check(isinstance(exponents, list) and len(exponents) == n_columns, "columns")
        for exponent in exponents or ():
            self._check(type(exponent) is int and abs(exponent) <= LARGEST_EXPONENT, "columns")
        center, remainder, deviation = (
            self._numbers(columns, name, n_columns) for name in ("center", "remainder", "deviation")
        )
        self._check(bool((deviation > 0).all()), "columns")
        measured = Standardization(np.array(exponents, np.int64), center, remainder, deviation)
        return Preparation(features, str(missing), measured, bool(is_standardized))

    def _feature(self, entry: Any) -> Feature:
        self._check(isinstance(entry, dict) and isinstance(entry.get("name"), str), "features")
        values, fill = entry.get("values", ""), entry.get("fill", "")
        if values is not None:
            is_text = isinstance(values, list) and all(isinstance(value, str) for value in values)
            self._check(is_text and 0 < len(set(values)) == len(values), "features")
            values = tuple(values)
        return Feature(
            entry["name"], values, None if fill is None else self._number(fill, "features")
        )
