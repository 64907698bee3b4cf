"""The program metaopt-fast: its commands, their options, what they run, print and write.

Only ``__main__`` imports it.
"""

from metaopt_fast.cli.program import main

__all__ = ["main"]
