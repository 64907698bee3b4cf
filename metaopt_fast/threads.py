"""How many threads a call uses, and what the library found on this machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from metaopt_fast import _kernels
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.validation import MAX_THREADS


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the processors that this process's control groups allow it, or None without a limit."""
    try:
        lines = process.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree and no controllers in the line; version 1 has a tree for cpu. In a
        # container the path may name a group that is mounted at the root.
        base = root / "cpu" if controllers else root
        group = base / path.strip("/")
        for folder in [group, *group.parents]:
            quota = _quota_of(folder)
            if quota is not None:
                quotas.append(quota)
            if folder == base:
                break
    return min(quotas) if quotas else None


def _quota_of(folder: Path) -> float | None:
    """Read cpu.max (version 2) or cpu.cfs_quota_us (version 1) of one control group."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


# Read once: a quota seldom changes, and four files cost more than a small kernel call.
_QUOTA = cgroup_quota()


def default_n_threads() -> tuple[int, str]:
    """Return the threads that ``n_threads=None`` means, and why.

    OpenMP's own number (OMP_NUM_THREADS, a limit set by threadpoolctl, or the processors of the
    affinity mask), at most the processors of the affinity mask and of the cgroup quota.
    """
    if not _kernels.OPENMP:
        return 1, "built without OpenMP"
    n_threads, reason = _kernels.max_threads(), "OpenMP's number of processors"
    if os.environ.get("OMP_NUM_THREADS"):
        reason = "OMP_NUM_THREADS"
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < n_threads:
            n_threads, reason = allowed, "the affinity mask"
    if _QUOTA is not None and max(1, int(_QUOTA)) < n_threads:
        n_threads, reason = max(1, int(_QUOTA)), "the cgroup quota"
    return min(n_threads, MAX_THREADS), reason


def config() -> dict[str, Any]:
    """Return what the library found on this machine, as `show_config` prints it.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.config()["openmp"]
    True
    """
    isa, isa_reason = _kernels.isa()
    n_threads, n_threads_reason = default_n_threads()
    return {
        "version": __version__,
        "isa": isa,
        "isa_reason": isa_reason,
        "openmp": _kernels.OPENMP,
        "n_threads": n_threads,
        "n_threads_reason": n_threads_reason,
        "stream_version": STREAM_VERSION,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def show_config() -> None:
    """Print the version, the instruction set, OpenMP and the threads, and how each was chosen."""
    found = config()
    sys.stdout.write(
        f"metaopt_fast     {found['version']}\n"
        f"instruction set  {found['isa']} ({found['isa_reason']})\n"
        f"OpenMP           {'yes' if found['openmp'] else 'no'}\n"
        f"threads          {found['n_threads']} ({found['n_threads_reason']})\n"
        f"random stream    {found['stream_version']}\n"
        f"numpy            {found['numpy']}\n"
        f"Python           {found['python']}\n"
    )
