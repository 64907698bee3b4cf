"""What a checkpoint holds of a search, read while the search runs, too."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from metaopt_fast.files.owned import CheckpointError
from metaopt_fast.runs.evaluation import draw_each
from metaopt_fast.search.checkpoint import Checkpoint
from metaopt_fast.search.checkpoint_contents import make_sampler
from metaopt_fast.search.result import SearchResult
from metaopt_fast.search.shards import State
from metaopt_fast.validation.values import check_path

# How often a file is copied anew that changes meanwhile, and the seconds between two copies: a
# commit takes some hundredths.
COPIES, PAUSE = 50, 0.1


def read_checkpoint(path: str | os.PathLike[str]) -> SearchResult:
    """Return what a search has found so far, by its checkpoint alone.

    It evaluates nothing, needs neither the data nor the objective, and leaves the file as it is:
    the search may go on in another process meanwhile. `resume_search` is what goes on with it.

    Parameters
    ----------
    path : path-like
        File that `random_search` or `enumerate_search` writes.

    Returns
    -------
    SearchResult
        Its ``ranges`` say which candidates have been evaluated, and ``config["n_candidates"]`` how
        many there are to be.

    Raises
    ------
    CheckpointError
        If the file is damaged or no checkpoint, or its search has a sampler of the caller's own,
        which no file holds.
    ValueError
        If no shard has been finished so far.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.db")
    ...     result = mf.random_search(objective, mf.Normal(), 1000, checkpoint=path)
    ...     mf.read_checkpoint(path).loss == result.loss
    True
    """
    path = check_path("path", path)
    with tempfile.TemporaryDirectory() as folder:
        copied = os.path.join(folder, "checkpoint")
        copies = 0
        while True:
            is_whole = _copy(path, copied)
            copies += 1
            try:
                return _read(path, copied)
            except CheckpointError as error:
                # Copied in the midst of a commit, perhaps: what is damaged stays so.
                if is_whole or copies == COPIES:
                    raise CheckpointError(str(error).replace(copied, path)) from None
            time.sleep(PAUSE)


def _copy(path: str, copied: str) -> bool:
    """Copy a file that may change meanwhile; return whether it has not."""
    journals = [f"{path}-journal", f"{path}-wal"]
    before = os.stat(path), [os.path.exists(name) for name in journals]
    shutil.copyfile(path, copied)
    after = os.stat(path), [os.path.exists(name) for name in journals]
    states = [(stat.st_mtime_ns, stat.st_size, there) for stat, there in (before, after)]
    return states[0] == states[1] and not any(before[1])


def _read(path: str, copied: str) -> SearchResult:
    with Checkpoint(copied) as file:
        config: dict[str, Any] = file.config
        state, elapsed = file.restore(State.at(config["start"], config["top_k"]))
    sampler = make_sampler(config)
    if sampler is None:
        raise CheckpointError(
            f"{path} is of a search with a callable or a sampler of your own, which no file holds: "
            "resume it by random_search with that sampler and this checkpoint."
        )
    if state.n_evaluated == 0:
        raise ValueError(f"{path} holds no finished shard so far: wait for the first one.")
    found = state.everything()
    return SearchResult(
        top=found.top.copy(),
        top_thetas=draw_each(sampler, config["seed"], found.top["index"], config["n_params"]),
        trace=found.trace.copy(),
        ranges=found.ranges,
        elapsed=elapsed,
        rows_evaluated_fraction=float(found.visited / found.n_evaluated),
        stopped_by=None,
        config=config,
    )
