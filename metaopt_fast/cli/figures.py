"""How well a model agrees with rows: the figures of training rows, and of rows held out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from metaopt_fast.cli.data import raw_rows
from metaopt_fast.cli.data_report import Lines
from metaopt_fast.files.table import Table
from metaopt_fast.models.fitted import FittedModel
from metaopt_fast.models.model import Coefficient, Model
from metaopt_fast.selection import scores
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.validation.text import shown

Figures = dict[str, float | int | None]
# Those of a report for a terminal.
LABELS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "roc_auc": "AUC",
    "roc_auc_ovr": "mean AUC",
    "log_loss": "log loss",
    "brier": "Brier",
}
# Of the coefficients in a table for a terminal, the largest.
MAX_COEFFICIENTS = 12


def figures_of(model: FittedModel, table: Table) -> Figures:
    """Return scores of the rows of a table, whose positive class is the model's.

    None where a score is not defined: roc_auc of one class, losses without probabilities.
    """
    if model.positive is None:
        return _figures_of_classes(model, table)
    decisions, logits = (part.T for part in model.decisions_and_logits_of(raw_rows(table)))
    positive = table.y == 1
    weights = np.ones(len(positive)) if table.weights is None else table.weights
    found: Figures = {"n_rows": len(positive)}
    for name in ("accuracy", "balanced_accuracy", "f1", "roc_auc"):
        found[name] = _defined(scores.SCORES[name](decisions, positive, weights))
    has_probabilities = model.link is not None
    for name, score in (("log_loss", "neg_log_loss"), ("brier", "neg_brier_score")):
        value = _defined(-scores.SCORES[score](logits, positive, weights))
        found[name] = value if has_probabilities else None
    return found


def _figures_of_classes(model: FittedModel, table: Table) -> Figures:
    """Return scores of a model of more than two classes."""
    decisions, logits = (part[None] for part in model.decisions_and_logits_of(raw_rows(table)))
    codes = table.y.astype(np.intp)
    weights = np.ones(len(codes)) if table.weights is None else table.weights
    found: Figures = {"n_rows": len(codes)}
    for name, score in MULTICLASS_SCORES.items():
        if name != "neg_log_loss":
            of = logits if name == "roc_auc_ovr" else decisions
            found[name] = _defined(score(of, codes, weights))
    loss = _defined(-MULTICLASS_SCORES["neg_log_loss"](logits, codes, weights))
    return {**found, "log_loss": loss if model.link is not None else None}


def _defined(values: Any) -> float | None:
    value = float(values[0])
    return value if math.isfinite(value) else None


def figures_to_lines(name: str, figures: Figures) -> Lines:
    """Return figures as lines of a report."""
    lines = [(f"{name} rows", f"{figures['n_rows']:,}")]
    for figure, label in LABELS.items():
        if (value := figures.get(figure)) is not None:
            text = f"{value:.2%}" if figure == "accuracy" else f"{value:.6g}"
            lines.append((f"{name} {label}", text))
    return lines


def coefficients_to_dict(model: Model) -> dict[str, Any]:
    """Return the coefficients of a model, for JSON: of more than two classes, those of each."""
    if model.positive is None:
        found = [(str(label), *model.coefficients(label)) for label in model.classes]
        return {
            "coefficients": {name: [c._asdict() for c in table] for name, table, _ in found},
            "intercept": {name: intercept for name, _, intercept in found},
        }
    table, intercept = model.coefficients()
    return {
        "coefficients": [coefficient._asdict() for coefficient in table],
        "intercept": intercept,
    }


def coefficients_to_lines(model: Model) -> Lines:
    """Return the table of coefficients, the largest ones first, of each of many classes some."""
    if model.positive is not None:
        return _table_to_lines(*model.coefficients(), "", MAX_COEFFICIENTS)
    some = max(2, MAX_COEFFICIENTS // len(model.classes))
    lines: Lines = []
    for label in model.classes[:MAX_COEFFICIENTS]:
        lines += _table_to_lines(*model.coefficients(label), f" of {shown(str(label))}", some)
    if len(model.classes) > MAX_COEFFICIENTS:
        left = len(model.classes) - MAX_COEFFICIENTS
        lines.append(("", f"({left} more classes: --json has all)"))
    return lines


def _table_to_lines(table: list[Coefficient], intercept: float, whose: str, most: int) -> Lines:
    used = [c for c in table if c.weight != 0]
    ranked = sorted(
        used, key=lambda c: -abs(c.weight if c.standardized is None else c.standardized)
    )
    odds = "" if whose else "odds ratio"
    lines = [("weight", f"{'standardized':<16}{odds:<14}column{whose}")]
    lines += [_line(coefficient) for coefficient in ranked[:most]]
    if len(ranked) > most:
        lines.append(("", f"({most} of {len(ranked):,}, the largest: --json has all)"))
    if len(used) < len(table):
        left_out = len(table) - len(used)
        lines.append(("", f"({left_out:,} of {len(table):,} columns are not used: weight 0)"))
    return [*lines, (f"{intercept:.6g}", f"{'':<30}(intercept)")]


def _line(coefficient: Coefficient) -> tuple[str, str]:
    name, weight, standardized, odds = coefficient
    of_deviation = "" if standardized is None else f"{standardized:.6g}"
    ratio = "" if odds is None else f"{odds:.6g}"
    return f"{weight:.6g}", f"{of_deviation:<16}{ratio:<14}{shown(name)}"
