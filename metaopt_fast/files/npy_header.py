"""Header of an array in NumPy's format: read with suspicion, before any of the array is."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What an array claims to be."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]


def read_header(file: Any) -> Header:
    """Read the header of an array, up to its first byte; raise one of `errors.DAMAGED` without."""
    version = np.lib.format.read_magic(file)
    if version not in READERS:
        raise ValueError(f"version {version} of the format is for records")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy and Python: "it was created on Python 2"
        header = Header(*READERS[version](file))
    if min(header.shape, default=0) < 0:
        raise ValueError(f"the header has shape {header.shape}")
    return header
