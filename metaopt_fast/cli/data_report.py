"""What the reports of all commands say of the data, and how they lay out their lines."""

from __future__ import annotations

import os
from typing import Any

from metaopt_fast.files.table import Table
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.text import shown

Lines = list[tuple[str, str]]
# What was subtracted from each feature, and what it was divided by then.
Standardization = tuple[Float64Array, Float64Array]


def data_to_dict(
    settings: dict[str, Any], table: Table, standardization: Standardization | None
) -> dict[str, Any]:
    """Return what the data was and how it was prepared, for JSON."""
    return {
        "file": settings["file"],
        "target": settings["target"],
        "n_samples": table.X.shape[0],
        "n_features": table.X.shape[1],
        "feature_names": list(table.feature_names),
        "class_names": list(table.class_names),
        "positive_class": table.class_names[1],
        "notes": list(table.notes),
        "standardization": standardization
        and {"mean": standardization[0].tolist(), "scale": standardization[1].tolist()},
    }


def data_to_lines(settings: dict[str, Any], table: Table, prepared: str) -> Lines:
    """Return what the data was and how it was prepared, for a terminal."""
    n_samples, n_features = table.X.shape
    name = "breast_cancer, carried by the package"
    if settings["file"] is not None:
        name = shown(os.path.basename(settings["file"])) if settings["file"] != "-" else "stdin"
    negative, positive = map(shown, table.class_names)
    return [
        ("data", f"{name}: {n_samples:,} rows, {n_features:,} features"),
        ("features", prepared),
        ("positive class", f"{positive} ({int(table.y.sum()):,} rows), beside {negative}"),
        *(("note", shown(note)) for note in table.notes),
    ]


def lines_to_text(parts: list[Lines]) -> str:
    """Return the parts of a report, a blank line between them."""
    return "\n".join("".join(f"{label:<18}{value}\n" for label, value in part) for part in parts)
