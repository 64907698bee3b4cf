"""Options that all long calls take, checked before anything is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from metaopt_fast.validation.overrides import has_method
from metaopt_fast.validation.values import describe

# Seconds between two calls of a callback, and between two commits of a checkpoint, at least: what
# is shown ten times a second looks continuous, and a commit takes a fourth of it.
CALLBACK_INTERVAL = COMMIT_INTERVAL = 0.1


def check_options(executor: Any, progress: object, callback: object) -> None:
    """Raise TypeError or ValueError for what is none of these."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {describe(callback)}: pass a callable or None.")
    is_word = isinstance(progress, str) and progress == "always"
    if not is_word and not isinstance(progress, (bool, np.bool_)):
        raise ValueError(f"progress is {describe(progress)}: pass True, False or 'always'.")
    if executor is None:
        return
    if isinstance(executor, type) or not has_method(executor, "submit"):
        raise TypeError(f"executor is {describe(executor)}: pass an object with a method submit.")


def check_used(method: str, used: Collection[str], given: Mapping[str, object]) -> None:
    """Raise ValueError where an option is given that is another method's."""
    for name, value in given.items():
        if value is not None and name not in used:
            raise ValueError(
                f"{name} is given, but method {method!r} does not use it: leave it out."
            )
