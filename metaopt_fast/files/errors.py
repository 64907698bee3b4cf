"""What reading a damaged file raises, and the sentence that is said of it."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

from metaopt_fast.validation.text import shown

# What NumPy and zipfile raise when a file is damaged.
DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    OSError,  # a seek to an impossible position
    RuntimeError,  # an encrypted member; NotImplementedError, an unknown compression
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def damaged(path: str, error: BaseException, suffix: str) -> ValueError:
    """Return a sentence about a file that cannot be read, unless the error is one already."""
    text = "".join(c if c.isprintable() else " " for c in str(error))
    if isinstance(error, ValueError) and text.startswith(shown(path)):
        return error
    return ValueError(f"{shown(path)} is not a whole {suffix} file ({text[:100]}): save it again.")
