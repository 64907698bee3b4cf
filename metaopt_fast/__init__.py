"""Fits, tunes, searches and scores very many small models against one data set."""

import os
import sys
from typing import TYPE_CHECKING, Any

try:
    import metaopt_fast._kernels  # noqa: F401  # to say here what is missing
except ImportError as _error:
    _why = str(_error)
    if isinstance(_error, ModuleNotFoundError):
        _why = (
            f"metaopt_fast was found in {__path__[0]}, but its compiled part is not there: run "
            "'pip install -e .' beside it, or start Python elsewhere to use an installed copy."
        )
    # The program, which has not begun, says a sentence. "-m" stands in argv only until Python has
    # found what to run: this package is a part of that.
    _name = os.path.basename("".join(sys.argv[:1]))
    _is_module = _name == "-m" and not {"metaopt_fast", "-mmetaopt_fast"}.isdisjoint(sys.orig_argv)
    if _is_module or _name in ("metaopt-fast", "metaopt-fast.exe"):
        raise SystemExit(f"metaopt-fast: error: {_why}") from None
    raise ImportError(_why) from None

from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.machine import config, show_config
from metaopt_fast.objectives.losses import (
    HingeLoss,
    LogisticLoss,
    SmoothedZeroOneLoss,
    SquaredHingeLoss,
    SquaredLoss,
)
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.samplers.mixture import Mixture
from metaopt_fast.search.random_search import random_search, resume_search
from metaopt_fast.search.result import SearchResult, merge_results

if TYPE_CHECKING:
    from metaopt_fast import metrics, reference
    from metaopt_fast import typing as typing
    from metaopt_fast.data.batches import CollectedRows, collect_batches
    from metaopt_fast.data.duplicates import merge_duplicates
    from metaopt_fast.data.standardize import standardize
    from metaopt_fast.descent.gradient_descent import gradient_descent
    from metaopt_fast.descent.result import DescentResult
    from metaopt_fast.descent.schedules import cosine_decay, exponential_decay, piecewise_constant
    from metaopt_fast.evolution.evolve import evolve
    from metaopt_fast.evolution.result import EvolveResult
    from metaopt_fast.files.owned import CheckpointError
    from metaopt_fast.fitting.bootstrap import bootstrap
    from metaopt_fast.fitting.bootstrap_result import BootstrapResult
    from metaopt_fast.fitting.data_values import DataValues, data_values
    from metaopt_fast.fitting.fit_many import fit_many
    from metaopt_fast.fitting.lasso import l1_max
    from metaopt_fast.fitting.resamples import bootstrap_weights, permuted_labels
    from metaopt_fast.fitting.result import FitResult
    from metaopt_fast.fitting.stability import StabilityResult, stability_selection
    from metaopt_fast.fitting.tasks import fit_tasks
    from metaopt_fast.models.model import Model
    from metaopt_fast.models.model_file import load_model
    from metaopt_fast.models.network_model import NetworkModel
    from metaopt_fast.models.scorecard import Scorecard
    from metaopt_fast.models.tree import Tree
    from metaopt_fast.models.tree_model import TreeModel
    from metaopt_fast.objectives.auc import AUCObjective
    from metaopt_fast.objectives.count_objective import CountObjective
    from metaopt_fast.objectives.counts import ConfusionCounts
    from metaopt_fast.objectives.network import NetworkLoss
    from metaopt_fast.objectives.softmax import SoftmaxLoss
    from metaopt_fast.samplers.log_uniform import LogUniform
    from metaopt_fast.search.enumeration import enumerate_search
    from metaopt_fast.search.snapshot import read_checkpoint
    from metaopt_fast.selection.descents import DescentSearchResult, search_descents
    from metaopt_fast.selection.penalties import PenaltyResult, tune_penalties
    from metaopt_fast.selection.priors import Prior, learn_prior
    from metaopt_fast.trees.best_tree import best_tree, best_trees

__all__ = [
    "STREAM_VERSION",
    "AUCObjective",
    "BootstrapResult",
    "CheckpointError",
    "CollectedRows",
    "ConfusionCounts",
    "CountObjective",
    "DataValues",
    "DescentResult",
    "DescentSearchResult",
    "EvolveResult",
    "FitResult",
    "HingeLoss",
    "Integers",
    "LogUniform",
    "LogisticLoss",
    "Mixture",
    "Model",
    "NetworkLoss",
    "NetworkModel",
    "Normal",
    "PenaltyResult",
    "Prior",
    "Scorecard",
    "SearchResult",
    "SmoothedZeroOneLoss",
    "SoftmaxLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "StabilityResult",
    "Tree",
    "TreeModel",
    "Uniform",
    "__version__",
    "best_tree",
    "best_trees",
    "bootstrap",
    "bootstrap_weights",
    "collect_batches",
    "config",
    "cosine_decay",
    "data_values",
    "enumerate_search",
    "evolve",
    "exponential_decay",
    "fit_many",
    "fit_tasks",
    "gradient_descent",
    "l1_max",
    "learn_prior",
    "load_model",
    "merge_duplicates",
    "merge_results",
    "metrics",
    "permuted_labels",
    "piecewise_constant",
    "random_search",
    "read_checkpoint",
    "reference",
    "resume_search",
    "search_descents",
    "show_config",
    "stability_selection",
    "standardize",
    "tune_penalties",
]


# Imported when asked for: few programs need them, and every program pays for an import.
_LATER = {
    "AUCObjective": "objectives.auc",
    "BootstrapResult": "fitting.bootstrap_result",
    "CheckpointError": "files.owned",
    "CollectedRows": "data.batches",
    "ConfusionCounts": "objectives.counts",
    "CountObjective": "objectives.count_objective",
    "DataValues": "fitting.data_values",
    "DescentResult": "descent.result",
    "DescentSearchResult": "selection.descents",
    "EvolveResult": "evolution.result",
    "FitResult": "fitting.result",
    "LogUniform": "samplers.log_uniform",
    "Model": "models.model",
    "NetworkLoss": "objectives.network",
    "NetworkModel": "models.network_model",
    "PenaltyResult": "selection.penalties",
    "Prior": "selection.priors",
    "Scorecard": "models.scorecard",
    "SoftmaxLoss": "objectives.softmax",
    "StabilityResult": "fitting.stability",
    "Tree": "models.tree",
    "TreeModel": "models.tree_model",
    "best_tree": "trees.best_tree",
    "best_trees": "trees.best_tree",
    "bootstrap": "fitting.bootstrap",
    "bootstrap_weights": "fitting.resamples",
    "data_values": "fitting.data_values",
    "collect_batches": "data.batches",
    "cosine_decay": "descent.schedules",
    "enumerate_search": "search.enumeration",
    "exponential_decay": "descent.schedules",
    "fit_many": "fitting.fit_many",
    "fit_tasks": "fitting.tasks",
    "gradient_descent": "descent.gradient_descent",
    "l1_max": "fitting.lasso",
    "learn_prior": "selection.priors",
    "load_model": "models.model_file",
    "merge_duplicates": "data.duplicates",
    "evolve": "evolution.evolve",
    "metrics": "metrics",
    "permuted_labels": "fitting.resamples",
    "piecewise_constant": "descent.schedules",
    "read_checkpoint": "search.snapshot",
    "reference": "reference",
    "search_descents": "selection.descents",
    "stability_selection": "fitting.stability",
    "standardize": "data.standardize",
    "tune_penalties": "selection.penalties",
}


def __dir__() -> list[str]:
    """Return the public names, those that are imported when asked for too."""
    return sorted({*globals(), *__all__, "typing"})


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATER:
        raise AttributeError(f"module 'metaopt_fast' has no attribute {name!r}")
    module = importlib.import_module(f"metaopt_fast.{_LATER[name]}")
    return getattr(module, name, module)
