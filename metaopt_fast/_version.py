"""Versions of the package and of what must never change without one."""

__version__ = "0.2.0"

# Of the random stream: candidate i of a seed has the same bits for ever under one number.
STREAM_VERSION = 1
