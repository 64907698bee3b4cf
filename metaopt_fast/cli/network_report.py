"""What the command line says of tuned networks: a table, JSON, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metaopt_fast.cli.data_report import Lines, lines_to_text
from metaopt_fast.cli.fitted_report import FittedReport
from metaopt_fast.cli.output import draw
from metaopt_fast.cli.tune_report import SHOWN
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.selection.tune_networks import N_STARTS, PENALTIES, RATES, NetworkTuneResult


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NetworkTuneReport(FittedReport):
    """A tuning of networks, as the command line tells it.

    Attributes
    ----------
    seed : int
    result : NetworkTuneResult
    isa : str
    n_threads : int
    model : NetworkModel
        The network of the best candidate, trained on all training rows.
    """

    seed: int
    result: NetworkTuneResult
    isa: str
    n_threads: int
    model: NetworkModel

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        result, networks = self.result, self.model.networks
        return {
            "metamodel": "network",
            "best": self._candidate(result.best),
            "candidates": [self._candidate(int(index)) for index in result.ranking],
            "scoring": result.scoring,
            "n_folds": result.n_folds,
            "n_models": result.scores.size,
            "elapsed": result.elapsed,
            "isa": self.isa,
            "n_threads": self.n_threads,
            "config": {
                "seed": self.seed,
                "n_hidden": networks.n_hidden,
                "activation": networks.activation,
                "n_starts": N_STARTS,
                "learning_rate": list(RATES),
                "l2": list(PENALTIES),
            },
            **self.fitted_to_dict(),
        }

    def parameters_to_dict(self) -> dict[str, Any]:
        """Return the layers of the network, and how it was trained, for JSON."""
        ensemble = self.result.ensemble
        coefs, intercepts = ensemble.layers(0)
        return {
            "network": {
                "coefs": [layer.tolist() for layer in coefs],
                "intercepts": [layer.tolist() for layer in intercepts],
                "n_iter": int(ensemble.n_iter[0]),
                "best_iter": int(ensemble.best_iter[0]),
            }
        }

    def _candidate(self, index: int) -> dict[str, Any]:
        result = self.result
        return {
            "index": index,
            "learning_rate": float(result.learning_rate[index]),
            "l2": float(result.l2[index]),
            "first_start": index * N_STARTS,
            "mean": float(result.mean[index]),
            "standard_error": float(result.standard_error[index]),
            "scores": result.scores[index].tolist(),
        }

    def to_text(self) -> str:
        """Return tables for a terminal."""
        parts = [self._what(), self._found(), self.fitted_to_lines()]
        return lines_to_text([*parts, self._ranking()])

    def _what(self) -> Lines:
        result, networks = self.result, self.model.networks
        n_classes = len(self.data.table.class_names)
        return [
            *self.data.to_lines("standardized by the training rows, of each fold anew"),
            (
                "model",
                f"network of {networks.n_hidden} hidden units ({networks.activation})"
                + (f", {n_classes} classes" if n_classes > 2 else ""),
            ),
            (
                "candidates",
                f"{len(result.l2):,} learning rates from {RATES[0]:g} to {RATES[1]:g} and l2 from "
                f"{PENALTIES[0]:g} to {PENALTIES[1]:g}, log-uniform, seed {self.seed}",
            ),
            ("score", f"{result.scoring} of {result.n_folds} stratified folds"),
        ]

    def _found(self) -> Lines:
        result, ensemble = self.result, self.result.ensemble
        n_models, best = result.scores.size, result.best
        return [
            ("best", f"learning rate {result.learning_rate[best]:.6g}, l2 {result.l2[best]:.6g}"),
            (
                "epochs",
                f"{ensemble.best_iter[0]:,}, where a tenth of the training rows is predicted best",
            ),
            ("models", f"{n_models:,}, each the best of {N_STARTS} starts"),
            ("seconds", f"{result.elapsed:.3f}, {1e3 * result.elapsed / n_models:.3g} ms a model"),
            ("threads", f"{self.n_threads}"),
            ("instruction set", self.isa),
        ]

    def _ranking(self) -> Lines:
        result = self.result
        head = f"{'learning rate':<18}{'l2':<14}{'mean':<14}standard error"
        lines = [("rank", head)]
        for rank, index in enumerate(result.ranking[:SHOWN].tolist(), start=1):
            rate, l2 = result.learning_rate[index], result.l2[index]
            figures = f"{rate:<18.6g}{l2:<14.6g}{result.mean[index]:<14.6g}"
            lines.append((f"{rank:>4}", f"{figures}{result.standard_error[index]:.3g}"))
        return lines

    def to_picture(self, kind: str) -> bytes:
        """Return the mean score against the learning rate as a PNG, SVG or PDF file."""
        return draw(self.result.plot_scores, kind)
