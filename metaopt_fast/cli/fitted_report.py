"""What reports of a command that ends with a model have in common."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from metaopt_fast.cli.data_report import Data, Lines
from metaopt_fast.cli.figures import Scored, coefficients_to_dict, figures_of, figures_to_lines
from metaopt_fast.models.model import Model
from metaopt_fast.validation.text import shown


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScoredReport(ABC):
    """The rows that something was trained on, and its scores of them.

    Attributes
    ----------
    data : Data
        The rows as the models were trained on.
    """

    data: Data

    @property
    @abstractmethod
    def scored(self) -> Scored:
        """What the scores are of."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""

    @abstractmethod
    def to_text(self) -> str:
        """Return tables for a terminal."""

    @abstractmethod
    def to_picture(self, kind: str) -> bytes:
        """Return a picture as a PNG, SVG or PDF file."""

    def to_json(self) -> str:
        """Return `to_dict` as JSON; numbers that are not finite become null."""
        return json.dumps(finite(self.to_dict()), indent=1, allow_nan=False) + "\n"

    def scored_to_dict(self) -> dict[str, Any]:
        """Return the figures of training and held-out rows, for JSON."""
        held_out = self.data.held_out
        return {
            "training": figures_of(self.scored, self.data.raw),
            "held_out": None if held_out is None else figures_of(self.scored, held_out),
        }

    def scored_to_lines(self) -> Lines:
        """Return the figures of training and held-out rows."""
        lines = figures_to_lines("training", figures_of(self.scored, self.data.raw))
        if self.data.held_out is not None:
            return lines + figures_to_lines("held-out", figures_of(self.scored, self.data.held_out))
        return [*lines, ("held-out rows", "none: pass --holdout 0.2, or --test FILE")]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FittedReport(ScoredReport):
    """A model, and where it is kept.

    Attributes
    ----------
    model : Model
        The best one, with its preparation.
    kept : str or None
        Path of the file that the model is written to.
    """

    model: Model
    kept: str | None

    @property
    def scored(self) -> Scored:
        return self.model

    def fitted_to_dict(self) -> dict[str, Any]:
        """Return the data, the model's coefficients and figures, and its file, for JSON."""
        return {
            "data": self.data.to_dict(),
            **coefficients_to_dict(self.model),
            **self.scored_to_dict(),
            "model_file": self.kept,
        }

    def fitted_to_lines(self) -> Lines:
        """Return the figures of training and held-out rows, and where the model is kept."""
        lines = self.scored_to_lines()
        if self.kept is not None:
            lines.append(("model", f"{shown(self.kept)}: the one that these figures are of"))
        return lines


def finite(value: Any) -> Any:
    """Return `value` with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
