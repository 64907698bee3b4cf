"""What the reports of all commands say of the data, and how they lay out their lines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from metaopt_fast.files.table import Table
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.text import shown

Lines = list[tuple[str, str]]
# Means that were subtracted from the features, and deviations that they were divided by.
Standardization = tuple[Float64Array, Float64Array]

# The file that means the standard input.
STDIN = "-"


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
    standardization : tuple of two arrays of shape (n_features,), or None
        Means that were subtracted from the features, and deviations that they were divided by.
    """

    file: str | None
    target: str | None
    table: Table
    standardization: Standardization | None

    @property
    def name(self) -> str:
        """The name of the data in a line of a terminal."""
        if self.file is None:
            return "breast_cancer, carried by the package"
        return shown(os.path.basename(self.file)) if self.file != STDIN else "stdin"

    def to_dict(self) -> dict[str, Any]:
        """Return what the data was and how it was prepared, for JSON."""
        table, standardization = self.table, self.standardization
        return {
            "file": self.file,
            "target": self.target,
            "n_samples": table.X.shape[0],
            "n_features": table.X.shape[1],
            "feature_names": list(table.feature_names),
            "class_names": list(table.class_names),
            "positive_class": table.class_names[1],
            "notes": list(table.notes),
            "standardization": standardization
            and {"mean": standardization[0].tolist(), "scale": standardization[1].tolist()},
        }

    def to_lines(self, standardized: str) -> Lines:
        """Return what the data was, for a terminal, and how it was `standardized`, if it was."""
        table = self.table
        n_samples, n_features = table.X.shape
        negative, positive = map(shown, table.class_names)
        return [
            ("data", f"{self.name}: {n_samples:,} rows, {n_features:,} features"),
            ("features", standardized if self.standardization else "as they are"),
            ("positive class", f"{positive} ({int(table.y.sum()):,} rows), beside {negative}"),
            *(("note", shown(note)) for note in table.notes),
        ]


def lines_to_text(parts: list[Lines]) -> str:
    """Return the parts of a report, a blank line between them."""
    return "\n".join("".join(f"{label:<18}{value}\n" for label, value in part) for part in parts)
