"""metaopt_fast: scores and trains very many small logistic-regression models against one data set."""

from metaopt_fast import reference
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.objectives import LogisticLoss
from metaopt_fast.result import SearchResult, merge_results
from metaopt_fast.samplers import Integers, Normal, Uniform
from metaopt_fast.search import random_search, resume_search
from metaopt_fast.threads import config, show_config

__all__ = [
    "STREAM_VERSION",
    "Integers",
    "LogisticLoss",
    "Normal",
    "SearchResult",
    "Uniform",
    "__version__",
    "config",
    "merge_results",
    "random_search",
    "reference",
    "resume_search",
    "show_config",
]
