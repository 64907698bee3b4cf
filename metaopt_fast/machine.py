"""How many threads a call uses, and what the library found on this machine."""

from __future__ import annotations

import os
import platform
import re
import sys

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.typing import JSON
from metaopt_fast.validation.values import MAX_THREADS


def cgroup_quota(root: str = "/sys/fs/cgroup", process: str = "/proc/self/cgroup") -> float | None:
    """Return the processors that this process's control groups allow it, or None without a
    limit."""
    quotas = []
    for line in _read(process).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree and no controllers in the line; version 1 has a tree for cpu. In a
        # container the path may name a group that is mounted at the root.
        base = f"{root}/cpu" if controllers else root
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            quota = _quota_of("/".join([base, *parts[:depth]]))
            if quota is not None:
                quotas.append(quota)
    return min(quotas) if quotas else None


def _quota_of(folder: str) -> float | None:
    """Read cpu.max (version 2) or cpu.cfs_quota_us (version 1) of one control group."""
    words = _read(f"{folder}/cpu.max").split()
    if not words:
        words = [
            *_read(f"{folder}/cpu.cfs_quota_us").split(),
            *_read(f"{folder}/cpu.cfs_period_us").split(),
        ]
    try:
        quota, period = (int(word) for word in words)
        return quota / period if quota > 0 and period > 0 else None
    except (ValueError, OverflowError):  # "max", no such files, or more than any machine has
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except (OSError, ValueError):  # a path with a zero byte is a ValueError
        return ""


# Read once: a quota seldom changes, and four files cost more than a small kernel call.
_QUOTA = cgroup_quota()


def default_n_threads() -> tuple[int, str]:
    """Return the threads that ``n_threads=None`` means, and why.

    OpenMP's own number (OMP_NUM_THREADS, a limit set by threadpoolctl, or the processors of the
    affinity mask), at most the processors of the affinity mask and of the cgroup quota.
    """
    if not _kernels.OPENMP:
        return 1, "built without OpenMP"
    n_threads = _kernels.max_threads()
    reason = _reason_of_openmp(n_threads)
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < n_threads:
            n_threads, reason = allowed, "the affinity mask"
    if _QUOTA is not None and max(1, int(_QUOTA)) < n_threads:
        n_threads, reason = max(1, int(_QUOTA)), "the cgroup quota"
    return min(n_threads, MAX_THREADS), reason


def threads_of(n_threads: int | None) -> int:
    """Return the threads of a call, of an argument that is checked: at most its processors."""
    return default_n_threads()[0] if n_threads is None else _kernels.useful_threads(n_threads)


def _reason_of_openmp(n_threads: int) -> str:
    """Say where OpenMP's number of threads comes from."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if not given:
        return "OpenMP's number of processors"
    # What OpenMP takes: a number above 0 for each level of nested regions, the first for ours.
    numbers = re.fullmatch(r"\s*\+?0*([1-9]\d{0,9})\s*(,\s*\+?\d+\s*)*", given)
    if numbers is None:
        return (
            f"OpenMP's number of processors; OMP_NUM_THREADS is {given[:40]!r}, no number of "
            "threads, and ignored"
        )
    if int(numbers[1]) != n_threads:
        return f"OpenMP's number; OMP_NUM_THREADS is {given[:40]!r}, set too late or overruled"
    return "OMP_NUM_THREADS"


def processor() -> str:
    """Return the processor's name, as far as the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # not Linux's, or not mounted
        pass
    return platform.processor() or platform.machine()


def config() -> dict[str, JSON]:
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
