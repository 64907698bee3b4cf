"""The commands that use a model which was kept: predict, and score."""

from __future__ import annotations

import argparse
import csv
import io
import json

from metaopt_fast.cli.data import raw_rows, read
from metaopt_fast.cli.data_report import lines_to_text, named
from metaopt_fast.cli.figures import figures_of, figures_to_lines
from metaopt_fast.cli.output import check_output, write_output
from metaopt_fast.cli.waiting import PROGRESS, waiting
from metaopt_fast.files.table import Table
from metaopt_fast.files.wanted import Wanted
from metaopt_fast.models.fitted import FittedModel
from metaopt_fast.models.model_file import load_model
from metaopt_fast.models.preparation import unknown_values
from metaopt_fast.validation.text import shown


def predict(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the predictions of a file as lines of CSV, and notes; nothing where it is written."""
    if arguments.output is not None:
        check_output(arguments.output, arguments.force)
    model = load_model(arguments.model)
    if arguments.proba:
        model.check_probabilities()
    table = _read(arguments, _wanted(model, is_labelled=False, has_header=arguments.header))
    rows = raw_rows(table)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if arguments.proba:
        lines.writerow(map(str, model.classes))
        lines.writerows(model.proba_of(rows).tolist())
    else:
        decisions = model.decisions_of(rows)
        decisions = decisions if model.positive is None else decisions[:, 0]
        lines.writerow(["prediction"])
        lines.writerows([model.classes[code]] for code in model.codes_of(decisions).tolist())
    if arguments.output is not None:
        write_output(arguments.output, text.getvalue().encode(), arguments.force)
        return "", _notes(model, table)
    return text.getvalue(), _notes(model, table)


def score(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return how well a model agrees with a file, and notes."""
    model = load_model(arguments.model)
    target = arguments.target
    if target is None:
        kept = model.provenance.get("target")
        target = kept if isinstance(kept, str) else None
    wanted = _wanted(model, is_labelled=True, has_header=arguments.header)._replace(
        target=target,
        weight=arguments.weight,
        classes=tuple(map(str, model.classes)),
        positive=None if model.positive is None else str(model.positive),
    )
    table = _read(arguments, wanted)
    figures = figures_of(model, table)
    if arguments.json:
        return json.dumps(figures, indent=1, allow_nan=False) + "\n", _notes(model, table)
    return lines_to_text([figures_to_lines("scored", figures)]), _notes(model, table)


def _read(arguments: argparse.Namespace, wanted: Wanted) -> Table:
    with waiting(f"reading {named(arguments.file)}", PROGRESS[arguments.progress]):
        return read(arguments.file, wanted)


def _wanted(model: FittedModel, *, is_labelled: bool, has_header: bool) -> Wanted:
    """Return what is asked of a file that has a model's features."""
    features = model.preparation.features
    texts = frozenset(feature.name for feature in features if feature.values is not None)
    # A row that is not there has no prediction: only where rows are counted are they left out.
    missing = model.preparation.missing
    return Wanted(
        features=model.features,
        missing="error" if missing == "drop" and not is_labelled else missing,
        texts=texts,
        is_labelled=is_labelled,
        has_header=has_header,
    )


def _notes(model: FittedModel, table: Table) -> list[str]:
    """Return what was detected in a file, and the values that the training rows did not have."""
    unknown = [
        f"column {shown(name)} has values that no training row had, in {n_rows:,} of the rows: "
        "taken as none of them."
        for name, n_rows in unknown_values(model.preparation, raw_rows(table))
    ]
    return [*table.notes, *unknown]
