"""What the command line says of a tuning: a table, JSON, a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from metaopt_fast.cli.data_report import Lines, lines_to_text
from metaopt_fast.cli.figures import (
    coefficients_to_lines,
)
from metaopt_fast.cli.fitted_report import LinearReport
from metaopt_fast.cli.output import draw
from metaopt_fast.selection.tune import TuneResult

# Candidates in the table.
SHOWN = 10
# What the models of a loss are called.
MODELS = {
    "logistic": "logistic",
    "squared_hinge": "linear support vector machine of the squared hinge loss",
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TuneReport(LinearReport):
    """A tuning, as the command line tells it.

    Attributes
    ----------
    config : dict
        The bounds "low" and "high" of C, and the "seed".
    result : TuneResult
    isa : str
    n_threads : int
    """

    config: dict[str, Any]
    result: TuneResult
    isa: str
    n_threads: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        result = self.result
        return {
            "best": self._candidate(result.best),
            "theta": result.theta.tolist(),
            "n_nonzero": result.n_nonzero,
            "l1_ratio": result.l1_ratio,
            "loss": result.loss,
            "one_standard_error": self._candidate(result.one_standard_error),
            "candidates": [self._candidate(int(index)) for index in result.ranking],
            "scoring": result.scoring,
            "n_folds": result.n_folds,
            "n_models": result.scores.size,
            "n_converged": int(result.converged.sum()),
            "elapsed": result.elapsed,
            "isa": self.isa,
            "n_threads": self.n_threads,
            "config": self.config,
            **self.fitted_to_dict(),
        }

    def _candidate(self, index: int) -> dict[str, Any]:
        result = self.result
        bound = float(result.gap_bound[index].max())
        return {
            "index": index,
            "C": float(result.C[index]),
            "mean": float(result.mean[index]),
            "standard_error": float(result.standard_error[index]),
            "scores": result.scores[index].tolist(),
            "gap_bound": bound if math.isfinite(bound) else None,
            "converged": bool(result.converged[index].all()),
        }

    def to_text(self) -> str:
        """Return tables for a terminal."""
        parts = [self._what(), self._found(), self.fitted_to_lines()]
        parts += [coefficients_to_lines(self.model), self._ranking()]
        return lines_to_text(parts)

    def _what(self) -> Lines:
        config, result = self.config, self.result
        return [
            *self.data.to_lines("standardized by the training rows, of each fold anew"),
            ("model", f"{self._kind()}, with intercept, {self._penalty()}"),
            (
                "candidates",
                f"{len(result.C):,} values of C, log-uniform from {config['low']:g} to "
                f"{config['high']:g}, seed {config['seed']}",
            ),
            ("score", f"{result.scoring} of {result.n_folds} stratified folds"),
        ]

    def _kind(self) -> str:
        n_classes = len(self.data.table.class_names)
        return MODELS[self.result.loss] + (f" of {n_classes} classes" if n_classes > 2 else "")

    def _penalty(self) -> str:
        ratio = self.result.l1_ratio
        if ratio == 0:
            return "l2 = 1 / (C * training rows)"
        return f"l1 = {ratio:g} and l2 = {1 - ratio:g} times 1 / (C * training rows)"

    def _found(self) -> Lines:
        result, frugal = self.result, self.result.one_standard_error
        n_models, n_converged = result.scores.size, int(result.converged.sum())
        how = "all converged" if n_converged == n_models else f"{n_converged:,} converged"
        return [
            ("best C", f"{result.C[result.best]:.6g}"),
            *self._sparsity(),
            (
                "within one s. e.",
                f"{result.C[frugal]:.6g}, the smallest C, at {self._mean(frugal)}",
            ),
            ("models", f"{n_models:,}, {how}"),
            ("seconds", f"{result.elapsed:.3f}, {1e3 * result.elapsed / n_models:.3g} ms a model"),
            ("threads", f"{self.n_threads}"),
            ("instruction set", self.isa),
        ]

    def _sparsity(self) -> Lines:
        result = self.result
        if result.l1_ratio == 0:
            return []
        return [("features used", f"{result.n_nonzero} of {len(result.theta) - 1}, at the best C")]

    def _mean(self, index: int) -> str:
        return f"{self.result.mean[index]:.6g}"

    def _ranking(self) -> Lines:
        result = self.result
        lines = [("rank", f"{'C':<14}{'mean':<14}{'standard error':<18}gap bound")]
        for rank, index in enumerate(result.ranking[:SHOWN], start=1):
            error = f"{result.standard_error[index]:.3g}"
            figures = f"{result.C[index]:<14.6g}{self._mean(int(index)):<14}{error:<18}"
            lines.append((f"{rank:>4}", f"{figures}{result.gap_bound[index].max():.1e}"))
        return lines

    def to_picture(self, kind: str) -> bytes:
        """Return the mean score against C as a PNG, SVG or PDF file."""
        return draw(self.result.plot_scores, kind)
