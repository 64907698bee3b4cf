"""What fitted models have in common: raw rows in, classes and their probabilities out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, expit
from metaopt_fast.files.atomic import replace_file
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.models.raw_rows import raw_rows_of
from metaopt_fast.typing import JSON, Float64Array, Label, LabelArray
from metaopt_fast.validation.values import check_path, describe

# How decisions become probabilities: of two classes, of any number; or they are parts of the rows
# that were counted.
LOGISTIC, SOFTMAX, COUNTS = "logistic", "softmax", "counts"


class FittedModel(ABC):
    """A fitted model that knows its columns and classes; a subclass is a frozen dataclass."""

    __slots__ = ()

    classes: tuple[Label, ...]
    positive: Label | None
    preparation: Preparation
    provenance: dict[str, JSON]

    # How decisions become probabilities: "logistic", "softmax"; "counts": they are parts of rows
    # that were counted; None: the model has none. No docstring, which the field of `Model` would
    # inherit: its page would be linked to the property of another class.
    @property
    @abstractmethod
    def link(self) -> str | None: ...

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns that rows need."""
        return tuple(feature.name for feature in self.preparation.features)

    @abstractmethod
    def decisions_of(self, rows: RawRows) -> Float64Array:
        """Return the decision of each row for the positive class, or each class: (n_rows, K)."""

    def decisions_and_logits_of(self, rows: RawRows) -> tuple[Float64Array, Float64Array]:
        """Return decisions, and the log odds of the positive class, or logarithms of the
        probability of each class up to a constant of the row: (n_rows, K) both."""
        decisions = self.decisions_of(rows)
        return decisions, decisions

    @shielded
    def proba_of(self, rows: RawRows) -> Float64Array:
        """Return the probability of each class, of rows with the model's columns: (n_rows, K)."""
        decisions = self.decisions_of(rows)
        return self._probabilities(decisions if self.positive is None else decisions[:, 0])

    def decision_function(self, X: Any) -> Float64Array:
        """Return the decision of each row, above 0 for the positive class, shape (n_rows,).

        Of more than two classes, or by softmax, shape (n_rows, n_classes): the greatest decides.
        """
        found = self.decisions_of(raw_rows_of(X, self.preparation))
        if np.isnan(found).any():
            row = int(np.isnan(found).any(axis=1).argmax())
            raise ValueError(
                f"X has numbers too large for the model in row {row}: pass rows like those that it "
                "was trained on."
            )
        return found if self.positive is None else np.ascontiguousarray(found[:, 0])

    def predict(self, X: Any) -> LabelArray:
        """Return the class of each row, shape (n_rows,).

        Parameters
        ----------
        X : frame, mapping of names to columns, or array_like of shape (n_rows, n_features)
            Columns as they are before any preparation, by name, in any order; others are ignored,
            and those that are missing are named. An array has the features in the model's order.
        """
        return self.label_array()[self.codes_of(self.decision_function(X))]

    @shielded
    def predict_proba(self, X: Any) -> Float64Array:
        """Return the probability of each class, in the order of `classes`: (n_rows, n_classes)."""
        return self._probabilities(self.decision_function(X))

    def codes_of(self, decisions: Float64Array) -> npt.NDArray[np.intp]:
        """Return the number of each row's class; of two that are as good, the first."""
        if self.positive is None:
            return np.asarray(np.argmax(decisions, axis=1), np.intp)
        of_positive = self.classes.index(self.positive)
        return np.where(decisions > 0, of_positive, 1 - of_positive).astype(np.intp)

    def check_probabilities(self) -> None:
        """Raise an error of a model that has none."""
        if self.link is None:
            raise ValueError(
                "this model was not trained for probabilities: use predict, or train by the "
                "logistic loss."
            )

    def _probabilities(self, decisions: Float64Array) -> Float64Array:
        """Return what decisions, which are log odds or logarithms, mean for each class."""
        self.check_probabilities()
        if self.positive is not None:
            both = [expit(-decisions), expit(decisions)]
            return np.column_stack(both if self.positive == self.classes[1] else both[::-1])
        powers = exp(np.ascontiguousarray(decisions - decisions.max(axis=1, keepdims=True)))
        # Column by column: in one order, whatever the processor.
        total = np.zeros(len(powers))
        for column in powers.T:
            total += column
        return np.asarray(powers / total[:, None])

    def label_array(self) -> LabelArray:
        """Return the classes as an array, whole numbers of any size as they are."""
        kinds = set(map(type, self.classes))
        labels = np.empty(len(self.classes), object)
        labels[:] = self.classes
        if kinds in ({str}, {bool}) or (
            kinds == {int} and all(abs(int(c)) < 2**63 for c in self.classes)
        ):
            return np.array(self.classes)
        return labels.astype(np.float64) if kinds <= {int, float} and float in kinds else labels

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a JSON file, whole or not at all; `load_model` reads it."""
        replace_file(check_path("path", path), self.to_json().encode())

    @abstractmethod
    def to_json(self) -> str:
        """Return the model as JSON, its numbers as hexadecimal floats: each bit is kept."""


def check_kept(classes: Sequence[Any]) -> None:
    """Raise an error of labels that no file of a model holds."""
    if not isinstance(classes[0], (str, int, float)):
        raise TypeError(
            f"the labels are {describe(classes[0])} and others, which no file of a model holds: "
            "pass y of strings, numbers or truth values."
        )
