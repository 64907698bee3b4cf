"""Scores and trains very many small logistic-regression models against one data set."""

import os
import sys
from typing import TYPE_CHECKING, Any

try:
    import metaopt_fast._kernels  # noqa: F401  # to say here what is missing
except ImportError as error:
    _why = str(error)
    if isinstance(error, ModuleNotFoundError):
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
from metaopt_fast.descent import DescentResult, gradient_descent
from metaopt_fast.losses import (
    HingeLoss,
    LogisticLoss,
    SmoothedZeroOneLoss,
    SquaredHingeLoss,
    SquaredLoss,
)
from metaopt_fast.mixture import Mixture
from metaopt_fast.result import SearchResult, merge_results
from metaopt_fast.samplers import Integers, Normal, Uniform
from metaopt_fast.search import random_search, resume_search
from metaopt_fast.threads import config, show_config
from metaopt_fast.training import FitResult, fit_many

if TYPE_CHECKING:
    from metaopt_fast import metrics, reference
    from metaopt_fast.auc import AUCObjective
    from metaopt_fast.count_objective import CountObjective
    from metaopt_fast.counts import ConfusionCounts
    from metaopt_fast.descent_search import DescentSearchResult, search_descents
    from metaopt_fast.duplicates import merge_duplicates
    from metaopt_fast.enumeration import enumerate_search
    from metaopt_fast.evolution import evolve
    from metaopt_fast.evolution_result import EvolveResult
    from metaopt_fast.log_uniform import LogUniform
    from metaopt_fast.ownership import CheckpointError
    from metaopt_fast.scorecard import Scorecard

__all__ = [
    "STREAM_VERSION",
    "AUCObjective",
    "CheckpointError",
    "ConfusionCounts",
    "CountObjective",
    "DescentResult",
    "DescentSearchResult",
    "EvolveResult",
    "FitResult",
    "HingeLoss",
    "Integers",
    "LogUniform",
    "LogisticLoss",
    "Mixture",
    "Normal",
    "Scorecard",
    "SearchResult",
    "SmoothedZeroOneLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "Uniform",
    "__version__",
    "config",
    "enumerate_search",
    "evolve",
    "fit_many",
    "gradient_descent",
    "merge_duplicates",
    "merge_results",
    "metrics",
    "random_search",
    "reference",
    "resume_search",
    "search_descents",
    "show_config",
]


# Imported when asked for: few programs need them, and every program pays for an import.
_LATER = {
    "AUCObjective": "auc",
    "CheckpointError": "ownership",
    "ConfusionCounts": "counts",
    "CountObjective": "count_objective",
    "DescentSearchResult": "descent_search",
    "EvolveResult": "evolution_result",
    "LogUniform": "log_uniform",
    "Scorecard": "scorecard",
    "enumerate_search": "enumeration",
    "merge_duplicates": "duplicates",
    "evolve": "evolution",
    "metrics": "metrics",
    "reference": "reference",
    "search_descents": "descent_search",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATER:
        raise AttributeError(f"module 'metaopt_fast' has no attribute {name!r}")
    module = importlib.import_module(f"metaopt_fast.{_LATER[name]}")
    return getattr(module, name, module)
