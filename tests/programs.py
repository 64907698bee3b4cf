"""The program as tests call it: in a process of its own, with a small file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import metaopt_fast as mf

SMALL = ["--candidates", "3000"]
CSV = "a,b,label\n" + "".join(f"{k % 7},{k * k % 11},{'p' if k % 3 else 'n'}\n" for k in range(40))


def process(*arguments, start=("-m", "metaopt_fast"), **options):
    """The program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mf.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        **{"env": environment, "stdout": subprocess.PIPE, "text": True, **options},
        stderr=subprocess.PIPE,
    )


def assert_complaint(stderr):
    """One line of one sentence, and no traceback."""
    assert re.fullmatch(r"metaopt-fast: error: .*\.\n", stderr), stderr
    assert stderr[:-1].isprintable()


def press_ctrl_c(*arguments, **options):
    raise KeyboardInterrupt
