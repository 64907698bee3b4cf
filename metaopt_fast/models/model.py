"""A fitted linear model that knows its columns and classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metaopt_fast.arithmetic import exp, products
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import LOGISTIC, SOFTMAX, FittedModel
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.typing import JSON, Float64Array, Label
from metaopt_fast.validation.values import describe

if TYPE_CHECKING:
    from metaopt_fast.models.pipeline import Pipeline

# Coefficients that a model shows: of more columns, the largest.
MOST_LISTED = 20


class Coefficient(NamedTuple):
    """A column's part in a model of two classes.

    Attributes
    ----------
    name : str
        Name of the column; of a text's value, "feature=value".
    weight : float
        What a unit of the column adds to the decision.
    standardized : float or None
        What a standard deviation of the training rows adds, where it is known.
    odds_ratio : float or None
        Factor of the odds of the positive class for a unit more; None of a model without
        probabilities, and of more than two classes.
    """

    name: str
    weight: float
    standardized: float | None
    odds_ratio: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Model(FittedModel):
    """A fitted linear model, with what was done to its columns: what `load_model` returns.

    Attributes
    ----------
    classes : tuple of str, int, float or bool
        The labels, sorted.
    positive : str, int, float or None
        The class that decisions above 0 are for; None of more than two classes.
    preparation : Preparation
        What is done to the columns before the coefficients.
    coef : numpy.ndarray of shape (1, n_columns), or (n_classes, n_columns)
        Coefficients of the prepared columns.
    intercept : numpy.ndarray of shape (1,) or (n_classes,)
    link : {"logistic", "softmax", None}
        How decisions become probabilities; None: the model has none, as one that counts errors.
    provenance : dict
        Where it is from: plain numbers, strings, lists and dicts.
    """

    classes: tuple[Label, ...]
    positive: Label | None
    preparation: Preparation
    coef: Float64Array
    intercept: Float64Array
    link: str | None = LOGISTIC
    provenance: dict[str, JSON] = field(default_factory=dict)

    @classmethod
    def linear(
        cls,
        theta: Float64Array,
        preparation: Preparation,
        classes: Sequence[Label],
        *,
        link: str | None = LOGISTIC,
        provenance: Mapping[str, JSON] | None = None,
    ) -> Model:
        """Return a model of two classes, the positive one last, the intercept last in theta; of
        more, which are in order, theta has a row for each.

        A column that is constant on the training rows, and so decides nothing, has coefficient 0.
        """
        parameters = np.array(theta, np.float64)
        coef, intercepts = parameters[..., :-1].copy(), parameters[..., -1:].copy()
        if preparation.is_standardized:
            coef[..., preparation.is_constant] = 0.0
        if coef.ndim == 2:
            softmax = None if link is None else SOFTMAX
            of_each, where = tuple(classes), dict(provenance or {})
            return cls(of_each, None, preparation, coef, intercepts[:, 0], softmax, where)
        return cls(
            tuple(sorted(classes)),
            classes[1],
            preparation,
            coef[None],
            intercepts,
            link,
            dict(provenance or {}),
        )

    @shielded
    def decisions_of(self, rows: RawRows) -> Float64Array:
        """Return the decision of each row for the positive class, or each class: (n_rows, K)."""
        X = self.preparation.apply(rows)
        found = products(self.coef, X).T + self.intercept
        return np.ascontiguousarray(found)

    @shielded
    def coefficients(self, label: Label | None = None) -> tuple[list[Coefficient], float]:
        """Return each column's part, and the intercept, of columns in their original units.

        Of more than two classes, those of the class with a label.
        """
        known = (None,) if self.positive is not None else self.classes
        if not isinstance(label, (str, int, float, type(None))) or label not in known:
            some = ", ".join(map(repr, self.classes[:5])) + (
                f" and {len(self.classes) - 5:,} more" if self.classes[5:] else ""
            )
            cure = (
                "leave it out, of two classes"
                if self.positive is not None
                else f"pass a class, one of {some}"
            )
            raise ValueError(f"label is {describe(label)}: {cure}.")
        row = 0 if label is None else self.classes.index(label)
        measured, theta, shift = self.preparation.measured, self.coef[row], 0.0
        weights, of_deviations = theta, [None] * len(theta)
        if measured is not None and self.preparation.is_standardized:
            weights, of_deviations = theta / measured.scale, theta.tolist()
            shifts = weights * measured.mean
            lost = np.isinf(weights)
            shifts[lost] = theta[lost] * (measured.mean / measured.scale)[lost]
            shift = _sum(shifts)
        elif measured is not None:
            scale = np.where(self.preparation.is_constant, 0, measured.scale)
            of_deviations = (theta * scale).tolist()
        ratios = exp(np.ascontiguousarray(weights)).tolist()
        table = [
            Coefficient(name, weight, of_deviation, ratio if self.link == LOGISTIC else None)
            for name, weight, of_deviation, ratio in zip(
                self.preparation.names, weights.tolist(), of_deviations, ratios, strict=True
            )
        ]
        return table, float(self.intercept[row]) - shift

    def to_json(self) -> str:
        """Return the model as JSON, its numbers as hexadecimal floats: each bit is kept."""
        from metaopt_fast.models.model_file import to_json

        return to_json(self)

    def to_sklearn(self) -> Pipeline:
        """Return scikit-learn's own Pipeline, fitted: its probabilities are these but for rounding.

        Columns of text need frames; a model without probabilities becomes a LinearSVC.
        """
        from metaopt_fast.models.pipeline import linear_classifier, to_pipeline

        return to_pipeline(self, linear_classifier)

    def __repr__(self) -> str:
        lines = [f"Model of {len(self.features):,} features, classes {list(self.classes)}"]
        if self.positive is None:
            return lines[0]
        lines[0] += f", {self.positive!r} the positive one"
        table, intercept = self.coefficients()
        listed = table
        if len(table) > MOST_LISTED:
            ordered = sorted(table, key=lambda c: -abs(c.standardized or c.weight))
            listed = [c for c in ordered[:MOST_LISTED] if c.weight]
        lines += [f"  {c.weight:>12.6g}  {c.name}" for c in listed]
        if n_left := len(table) - len(listed):
            n_zero = sum(not c.weight for c in table)
            lines.append(f"  ({n_left:,} more" + f", {n_zero:,} of them 0" * (n_zero > 0) + ")")
        return "\n".join([*lines, f"  {intercept:>12.6g}  intercept"])


def _sum(values: Float64Array) -> float:
    """Return a sum, rounded once; NaN of infinities of both signs."""
    if not np.isfinite(values).all():
        return float(values.sum())
    # So that no sum leaves the range on the way.
    exponent = max(0, len(values).bit_length() + math.frexp(np.abs(values).max())[1] - 1023)
    return float(np.ldexp(math.fsum(np.ldexp(values, -exponent).tolist()), exponent))
