"""The command bootstrap: intervals of the coefficients of a model of given C."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metaopt_fast._version import __version__
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data_report import Data, Lines, lines_to_text
from metaopt_fast.cli.fitted_report import LinearReport
from metaopt_fast.cli.output import draw
from metaopt_fast.files.table import label_of_class
from metaopt_fast.fitting.bootstrap import bootstrap
from metaopt_fast.fitting.bootstrap_result import BootstrapResult
from metaopt_fast.models.fitted import LOGISTIC
from metaopt_fast.models.model import Model
from metaopt_fast.validation.text import shown

# Coefficients in the table.
SHOWN = 30


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BootstrapReport(LinearReport):
    """A bootstrap, as the command line tells it.

    Attributes
    ----------
    C : float
    seed : int
    result : BootstrapResult
    """

    C: float
    seed: int
    result: BootstrapResult

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        result = self.result
        interval, names = result.confidence_interval, self._names()
        columns = (result.theta, result.standard_error, interval.low, interval.high)
        return {
            "C": self.C,
            "seed": self.seed,
            "method": result.method,
            "confidence_level": result.confidence_level,
            "n_resamples": result.bootstrap_distribution.shape[1],
            "n_certified": int(result.certified.sum()),
            "interrupted": result.interrupted,
            "intervals": [
                {"name": name, "value": a, "standard_error": b, "low": c, "high": d}
                for name, a, b, c, d in zip(names, *(x.tolist() for x in columns), strict=True)
            ],
            "apparent_loss": result.apparent_loss,
            "optimism": result.optimism,
            "loss_632": result.loss_632,
            **self.fitted_to_dict(),
        }

    def _names(self) -> tuple[str, ...]:
        return (*self.data.table.feature_names, "intercept")

    def to_text(self) -> str:
        """Return tables for a terminal."""
        parts = [self._what(), self._found(), self.fitted_to_lines(), self._intervals()]
        return lines_to_text(parts)

    def _what(self) -> Lines:
        result = self.result
        return [
            *self.data.to_lines("standardized by the training rows"),
            ("model", f"logistic, with intercept, l2 = 1 / (C * training rows), C = {self.C:g}"),
            (
                "resamples",
                f"{result.bootstrap_distribution.shape[1]:,} of the training rows, seed "
                f"{self.seed}; columns as they were prepared, C as it was given",
            ),
        ]

    def _found(self) -> Lines:
        result, new = self.result, self.result.loss_632
        return [
            ("certified", f"{np.count_nonzero(result.certified):,} models"),
            (
                "loss",
                f"{result.apparent_loss:.6g}, too small by about {result.optimism:.3g}"
                + ("" if new is None else f"; {new:.6g} by the .632 estimate"),
            ),
        ]

    def _intervals(self) -> Lines:
        result, names = self.result, self._names()
        interval = result.confidence_interval
        lines: Lines = [(f"{result.confidence_level:.0%} intervals", result.method)]
        for j in np.argsort(-np.abs(result.theta), kind="stable")[:SHOWN].tolist():
            ends = f"[{interval.low[j]:.4g}, {interval.high[j]:.4g}]"
            lines.append((f"  {result.theta[j]:.4g}", f"{ends:24}{shown(names[j])}"))
        if len(names) > SHOWN:
            lines.append(("", f"({len(names) - SHOWN:,} more)"))
        return lines

    def to_picture(self, kind: str) -> bytes:
        """Return the intervals as a picture."""
        return draw(self.result.plot, kind)


def run_bootstrap(
    arguments: argparse.Namespace, data: Data, progress: bool | str
) -> BootstrapReport:
    """Resample the training rows, and report the model of all of them with its intervals."""
    table = data.table
    if table.weights is not None:
        raise ValueError("bootstrap resamples rows of weight 1: leave out --weight.")
    result = bootstrap(
        table.X,
        table.y,
        l2=1 / (arguments.c * len(table.y)),
        n_resamples=arguments.resamples,
        confidence_level=arguments.confidence,
        method=arguments.method,
        seed=arguments.seed,
        progress=progress,
        n_threads=arguments.threads,
    )
    result = replace(result, feature_names=table.feature_names)
    arguments.stop.is_reporting = True
    model = Model.linear(
        result.theta,
        data.preparation,
        [label_of_class(name) for name in table.class_names],
        link=LOGISTIC,
        provenance={
            "program": f"{PROGRAM} bootstrap",
            "version": __version__,
            **data.provenance,
            "C": arguments.c,
        },
    )
    return BootstrapReport(
        data=data,
        C=arguments.c,
        seed=arguments.seed,
        result=result,
        model=model,
        kept=arguments.model,
    )
