"""What reports of commands have in common, and those of commands that end with a model."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from metaopt_fast.cli.data_report import Data, Lines
from metaopt_fast.cli.figures import coefficients_to_dict, figures_of, figures_to_lines
from metaopt_fast.models.fitted import FittedModel
from metaopt_fast.models.model import Model
from metaopt_fast.validation.text import shown


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CommandReport(ABC):
    """What a command found of some rows.

    Attributes
    ----------
    data : Data
        The rows as the models were trained on.
    """

    data: Data

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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FittedReport(CommandReport):
    """The rows that a model was trained on, its scores of them, and where it is kept.

    Attributes
    ----------
    model : FittedModel
        The best one, with its preparation.
    kept : str or None
        Path of the file that the model is written to.
    """

    model: FittedModel
    kept: str | None

    @abstractmethod
    def parameters_to_dict(self) -> dict[str, Any]:
        """Return what the model is made of, for JSON."""

    def fitted_to_dict(self) -> dict[str, Any]:
        """Return the data, the model, its figures of training and held-out rows, and its file, for
        JSON."""
        held_out = self.data.held_out
        return {
            "data": self.data.to_dict(),
            **self.parameters_to_dict(),
            "training": figures_of(self.model, self.data.raw),
            "held_out": None if held_out is None else figures_of(self.model, held_out),
            "model_file": self.kept,
        }

    def fitted_to_lines(self) -> Lines:
        """Return the figures of training and held-out rows, and where the model is kept."""
        lines = figures_to_lines("training", figures_of(self.model, self.data.raw))
        if self.data.held_out is None:
            lines.append(("held-out rows", "none: pass --holdout 0.2, or --test FILE"))
        else:
            lines += figures_to_lines("held-out", figures_of(self.model, self.data.held_out))
        if self.kept is not None:
            lines.append(("model", f"{shown(self.kept)}: the one that these figures are of"))
        return lines


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearReport(FittedReport):
    """A report of a linear model, which has coefficients."""

    model: Model

    def parameters_to_dict(self) -> dict[str, Any]:
        """Return the coefficients, for JSON."""
        return coefficients_to_dict(self.model)


def finite(value: Any) -> Any:
    """Return `value` with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
