"""What the reports of all commands say of the data, and how they lay out their lines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast.files.table import Table, label_of_class
from metaopt_fast.models.preparation import Preparation
from metaopt_fast.validation.text import shown

Lines = list[tuple[str, str]]

# Classes that a line of a terminal names.
SHOWN_CLASSES = 6
# The file that means the standard input.
STDIN = "-"
# The target of the data set that the package carries.
TARGET_OF_PACKAGE = "target"


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Rows of a file, as the models have them.

    Attributes
    ----------
    file : str or None
        Path of the file, or "-" for the standard input; None: the data set of the package.
    target : str or None
        Column that is predicted, where it was given.
    table : Table
        Training rows, their columns as they were prepared.
    raw : Table
        Training rows as they were read.
    preparation : Preparation
    held_out : Table or None
        Rows that were kept from all choices, as they were read.
    how_held_out : str
        Which ones these are.
    """

    file: str | None
    target: str | None
    table: Table
    raw: Table
    preparation: Preparation
    held_out: Table | None
    how_held_out: str

    @property
    def name(self) -> str:
        """The name of the data in a line of a terminal."""
        return named(self.file)

    @property
    def depends_on_rows(self) -> bool:
        """Whether other training rows would prepare the columns otherwise."""
        preparation = self.preparation
        return preparation.is_standardized or any(
            feature.values is not None or feature.fill is not None
            for feature in preparation.features
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """What a model that is kept says of its data."""
        return {
            "file": None if self.file is None else os.path.basename(self.file),
            "target": TARGET_OF_PACKAGE if self.file is None else self.target,
            "n_samples": len(self.table.y),
            "n_held_out": 0 if self.held_out is None else len(self.held_out.y),
            "how_held_out": self.how_held_out or None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what the data was and how it was prepared, for JSON."""
        table, preparation, held_out = self.table, self.preparation, self.held_out
        measured = preparation.measured if preparation.is_standardized else None
        return {
            "file": self.file,
            "target": self.target,
            "n_samples": table.X.shape[0],
            "n_features": table.X.shape[1],
            "feature_names": list(table.feature_names),
            "class_names": list(table.class_names),
            "positive_class": table.class_names[1] if len(table.class_names) == 2 else None,
            "notes": list(table.notes),
            "standardization": measured
            and {"mean": measured.mean.tolist(), "scale": measured.scale.tolist()},
            "preparation": preparation.to_dict(),
            "n_held_out": 0 if held_out is None else len(held_out.y),
            "how_held_out": self.how_held_out or None,
        }

    def to_lines(self, standardized: str) -> Lines:
        """Return what the data was, for a terminal, and how it was `standardized`, if it was."""
        table = self.table
        n_samples, n_features = table.X.shape
        return [
            ("data", f"{self.name}: {n_samples:,} rows, {n_features:,} features"),
            ("features", standardized if self.preparation.is_standardized else "as they are"),
            self._classes(),
            *self._prepared(),
            *(("note", shown(note)) for note in table.notes),
        ]

    def _classes(self) -> tuple[str, str]:
        """Return which classes there are."""
        names, counts = [*map(short, self.table.class_names)], np.bincount(self.table.y)
        if len(names) == 2:
            return ("positive class", f"{names[1]} ({counts[1]:,} rows), beside {names[0]}")
        some = [f"{name} ({n:,} rows)" for name, n in zip(names, counts.tolist(), strict=False)]
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        return ("classes", f"{len(names)}: {', '.join(some[:SHOWN_CLASSES])}{more}")

    def _prepared(self) -> Lines:
        """Return what was done to the columns beside."""
        lines = []
        texts = [f for f in self.preparation.features if f.values is not None]
        if texts:
            names = ", ".join(shown(feature.name) for feature in texts)
            lines.append(("text", f"a column for each value of {names}"))
        if self.preparation.missing == "mean":
            missing = int(np.count_nonzero(np.isnan(self.raw.X)))
            lines.append(("missing values", f"{missing:,}, by the mean of the training rows"))
        if self.held_out is not None:
            n_rows = len(self.held_out.y)
            lines.append(("held out", f"{n_rows:,} rows {shown(self.how_held_out)}"))
        return lines


def named(file: str | None) -> str:
    """Return what a file is called in a line of a terminal."""
    if file is None:
        return "breast_cancer, carried by the package"
    return shown(os.path.basename(file)) if file != STDIN else "stdin"


def short(name: str) -> str:
    """Return a class as it may stand in a line of a terminal.

    Examples
    --------
    >>> short("1.000000000000000000e+00"), short("2.50"), short("yes")
    ('1', '2.5', 'yes')
    """
    return shown(str(label_of_class(name)))


def lines_to_text(parts: list[Lines]) -> str:
    """Return the parts of a report, a blank line between them."""
    return "\n".join("".join(f"{label:<18}{value}\n" for label, value in part) for part in parts)


def candidate_name(found: Any) -> str:
    """Return the number of an entry of a result's `top`."""
    of = f" of generation {found['generation']:,}" if "generation" in found.dtype.names else ""
    return f"{found['index']:,}{of}"
