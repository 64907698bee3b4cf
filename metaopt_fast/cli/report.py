"""What the command line says of a finished search: a table, JSON, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast.cli.comparison import Fitted
from metaopt_fast.cli.data_report import Lines, candidate_name, lines_to_text
from metaopt_fast.cli.figures import (
    coefficients_to_lines,
)
from metaopt_fast.cli.fitted_report import LinearReport
from metaopt_fast.cli.job import Settings
from metaopt_fast.cli.output import draw
from metaopt_fast.evolution.result import EvolveResult
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import LOGISTIC
from metaopt_fast.models.scorecard import Scorecard
from metaopt_fast.objectives.count_objective import INFEASIBLE, CountObjective
from metaopt_fast.objectives.pointwise import PointwiseLoss
from metaopt_fast.objectives.softmax import SoftmaxLoss
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.from_dict import from_dict
from metaopt_fast.samplers.independent import Integers
from metaopt_fast.search.result import SearchResult
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.text import shown


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Report(LinearReport):
    """A search, beside theta = 0 and a model that is fitted to its optimum.

    Attributes
    ----------
    settings : Settings
    result : SearchResult or EvolveResult
    objective : PointwiseLoss, SoftmaxLoss or CountObjective
    loss_of_zero : float
    fitted : Fitted or None
        What the best candidate is compared with; None if the search was interrupted, or a fit would
        take long.
    isa : str
    n_threads : int
    """

    settings: Settings
    result: SearchResult | EvolveResult
    objective: PointwiseLoss | SoftmaxLoss | CountObjective
    loss_of_zero: float
    fitted: Fitted | None
    isa: str
    n_threads: int

    @shielded
    def accuracy(self, theta: Float64Array) -> float:
        """Return the part of the training rows whose class has the sign of x . theta, or of many
        the greatest margin, by weight."""
        table = self.data.table
        decisions = self.objective.decisions(theta, table.X)
        codes = decisions > 0 if decisions.ndim == 1 else decisions.argmax(axis=1)
        is_right = codes == table.y
        if table.weights is None:
            return float(is_right.mean())
        return float((is_right * table.weights).sum() / table.weights.sum())

    @property
    def n_candidates(self) -> int:
        """How many candidates were asked for."""
        config: dict[str, Any] = self.result.config
        if isinstance(self.result, EvolveResult):
            return int(config["population"] * config["generations"])
        return int(config["n_candidates"])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        settings, fitted = self.settings, self.fitted
        return {
            **self.result.to_dict(),
            "accuracy": self.accuracy(self.result.theta),
            "isa": self.isa,
            "n_threads": self.n_threads,
            "zero": {
                "loss": self.loss_of_zero,
                "accuracy": self.accuracy(np.zeros_like(self.result.theta)),
            },
            "fitted": fitted and {**fitted.to_dict(), "accuracy": self.accuracy(fitted.theta)},
            **self.fitted_to_dict(),
            "objective": settings.objective,
            "l2": settings.l2,
            "group": settings.group,
            "gap": self._gap(),
            "max_gap": settings.max_gap,
            "dtype": settings.dtype,
            "fit_intercept": True,
        }

    def to_text(self) -> str:
        """Return tables for a terminal."""
        parts = [self._what(), self._found(), self.fitted_to_lines()]
        parts += [coefficients_to_lines(self.model), self._comparison()]
        if len(self.result.top) > 1:
            parts.append(self._ranking())
        return lines_to_text(parts) + self._scorecard()

    def _scorecard(self) -> str:
        """Return the points of a search over whole numbers, if these are of columns as they are
        and risks follow from their sums."""
        is_whole = isinstance(self._sampler, Integers) and not self.data.depends_on_rows
        if not is_whole or self.model.link != LOGISTIC:
            return ""
        table = self.data.table
        card = Scorecard.from_theta(self.result.theta, table.feature_names, fit_intercept=True)
        return f"\n{card}\n"

    @property
    def _sampler(self) -> BuiltInSampler:
        """What draws the candidates, or the first ones."""
        config: dict[str, Any] = self.result.config
        is_evolved = isinstance(self.result, EvolveResult)
        return from_dict(config["start"] if is_evolved else config["sampler"])

    def _what(self) -> Lines:
        return [
            *self.data.to_lines("standardized"),
            ("model", self._model()),
            ("candidates", self._candidates()),
        ]

    def _candidates(self) -> str:
        result, config = self.result, self.result.config
        text = (
            f"{result.n_evaluated:,} of {self.n_candidates:,} from {self._sampler!r}, seed "
            f"{config['seed']}"
        )
        if isinstance(result, EvolveResult):
            text += f", by {config['method']} in populations of {config['population']:,}"
        return text

    def _model(self) -> str:
        settings = self.settings
        n_classes = len(self.data.table.class_names)
        name = settings.objective if n_classes == 2 else f"softmax of {n_classes} classes"
        parts = [name, "with intercept"]
        if isinstance(self.objective, (PointwiseLoss, SoftmaxLoss)):
            parts.append(f"l2 = {settings.l2:g}")
        if settings.max_gap is not None:
            parts.append(
                f"{settings.gap} of groups by {shown(str(settings.group))} at most "
                f"{settings.max_gap:g} apart"
            )
        return ", ".join([*parts, settings.dtype])

    def _gap(self) -> float | None:
        """Return how far the groups are apart under the best candidate."""
        if not isinstance(self.objective, CountObjective) or self.objective.max_gap is None:
            return None
        return float(self.objective.gaps(self.result.theta[None])[0])

    def _found(self) -> Lines:
        result = self.result
        rate, computed = result.n_evaluated * len(self.data.table.y) / max(result.elapsed, 1e-9), ""
        if isinstance(result, SearchResult) and (part := result.rows_evaluated_fraction) < 1:
            computed = f" ({part:.1%} computed, the rest could not rank)"
        return [
            ("best loss", f"{result.loss:.10g}"),
            *self._limit(),
            ("best candidate", candidate_name(result.top[0])),
            ("pairs per second", f"{rate:.3g}{computed}"),
            ("seconds", f"{result.elapsed:.2f}"),
            ("threads", f"{self.n_threads}"),
            ("instruction set", self.isa),
        ]

    def _limit(self) -> Lines:
        gap = self._gap()
        if gap is None:
            return []
        missed = "" if self.result.loss < INFEASIBLE else "  no candidate keeps the limit"
        return [("gap of groups", f"{gap:.4g}{missed}")]

    def _comparison(self) -> Lines:
        zero, best = np.zeros_like(self.result.theta), self.result.theta
        lines = [
            ("for comparison", f"{'loss':<14}accuracy"),
            ("theta = 0", self._compared(self.loss_of_zero, zero)),
            ("best candidate", self._compared(self.result.loss, best)),
        ]
        if (one := self.fitted) is not None:
            lines.append((one.label, f"{self._compared(one.loss, one.theta)}  {one.remark}"))
        return lines

    def _compared(self, loss: float, theta: Float64Array) -> str:
        misses = loss >= INFEASIBLE and self.settings.max_gap is not None
        return f"{'beyond limit' if misses else f'{loss:.8g}':<14}{self.accuracy(theta):>8.2%}"

    def _ranking(self) -> Lines:
        return [
            ("rank", f"{'loss':<14}candidate"),
            *(
                (f"{rank:>4}", f"{found['loss']:<14.8g}{candidate_name(found)}")
                for rank, found in enumerate(self.result.top, start=1)
            ),
        ]

    def to_picture(self, kind: str) -> bytes:
        """Return the best loss against the candidates as a PNG, SVG or PDF file."""
        return draw(self.result.plot_trace, kind)
