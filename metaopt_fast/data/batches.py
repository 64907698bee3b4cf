"""Rows that come batch by batch, put together: in memory, or in files of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import LABELS_WANTED, check_some_labels
from metaopt_fast.data.storage import Memory, StoragePath, check_storage
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Array, Float64Array
from metaopt_fast.validation.frames import as_frame, as_numbers
from metaopt_fast.validation.labels import labels_of_objects
from metaopt_fast.validation.text import quoted
from metaopt_fast.validation.values import describe, to_float64


class CollectedRows(NamedTuple):
    """Rows of all batches, as what takes rows is called with.

    Attributes
    ----------
    X : numpy.ndarray of shape (n_samples, n_features)
    y : numpy.ndarray of shape (n_samples,)
    sample_weight : numpy.ndarray of shape (n_samples,), or None
    """

    X: Array
    y: npt.NDArray[Any]
    sample_weight: Float64Array | None


@shielded
def collect_batches(batches: Iterable[Any], *, storage: StoragePath | None = None) -> CollectedRows:
    """Put batches of rows together, each of which is read once and in its turn.

    Parameters
    ----------
    batches : iterable of tuple
        (X, y) or (X, y, sample_weight) each, as of `LogisticLoss`: arrays, or frames of pandas or
        polars, or tables and record batches of pyarrow, all with the same columns. A batch may have
        no rows. Labels may come in any order, and dtypes may differ: numbers become those of
        ``numpy.concatenate``.
    storage : path of a directory, optional
        Where the rows are written to, in files without names, which are gone with the arrays.

    Returns
    -------
    CollectedRows
        X, y and sample_weight.

    Raises
    ------
    ValueError, TypeError
        If a batch is not as described; the message has its number, from 0 on.
    OSError
        If the directory has no room for the rows, or this process may not write there.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> batches = ((X, y) for X, y in [([[1.0], [2.0]], [1, 1]), ([[-1.0]], [0])])
    >>> rows = mf.collect_batches(batches)
    >>> mf.fit_many(rows.X, rows.y, l2=0.1).theta.shape
    (1, 2)
    """
    memory = check_storage(storage)
    wanted = "an iterable of tuples (X, y) or (X, y, sample_weight)"
    if isinstance(batches, (str, bytes, dict)) or not isinstance(batches, Iterable):
        raise TypeError(f"batches is {describe(batches)}: pass {wanted}.")
    with closing(_Collecting(memory)) as collecting:
        for number, batch in enumerate(batches):
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                raise TypeError(f"batches has {describe(batch)} as batch {number}: pass {wanted}.")
            collecting.add(number, *batch)
        return collecting.rows()


class _Collecting:
    """What was collected so far."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.X, self.codes, self.weights = memory.pile(), memory.pile(), memory.pile()
        self.n_rows = 0
        # The columns of the first batch, by number and by name, and whether it has weights.
        self.n_columns: int | None = None
        self.names: list[Any] | None = None
        self.has_weights = False
        # The labels, in the order in which they came: True is none of 1 and 1.0, which are one.
        self.labels: dict[tuple[bool, Any], int] = {}

    def add(self, number: int, X: Any, y: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        wanted = "an array of shape (n_rows, n_features)"
        frame = as_frame(f"X of batch {number}", X)
        names = None if frame is None else list(frame.names)
        rows = as_numbers(f"X of batch {number}", X, 2, wanted)
        self._check_columns(number, rows.shape[1], names, sample_weight is not None)
        found = check_some_labels(f"y of batch {number}", y)
        _check_length(f"y of batch {number}", len(found.codes), len(rows))
        weights = None
        if sample_weight is not None:
            wanted = "an array of shape (n_rows,) of finite numbers >= 0"
            name = f"sample_weight of batch {number}"
            weights = to_float64(as_numbers(name, sample_weight, 1, wanted))
            _check_length(name, len(weights), len(rows))
        if len(rows) == 0:
            return
        codes = [
            self.labels.setdefault((isinstance(label, bool), label), len(self.labels))
            for label in found.values
        ]
        self.X.add(rows)
        self.codes.add(np.array(codes, np.min_scalar_type(max(codes)))[found.codes])
        if weights is not None:
            self.weights.add(weights)
        self.n_rows += len(rows)

    def close(self) -> None:
        """Give back what is not in an array."""
        for pile in (self.X, self.codes, self.weights):
            pile.close()

    def _check_columns(
        self, number: int, n_columns: int, names: list[Any] | None, has_weights: bool
    ) -> None:
        """Raise an error where a batch has other columns than the first one."""
        if self.n_columns is None:
            self.n_columns, self.names, self.has_weights = n_columns, names, has_weights
            if n_columns == 0:
                raise ValueError("X of batch 0 has no columns: pass at least one.")
        if n_columns != self.n_columns:
            raise ValueError(
                f"X of batch {number} has {n_columns} columns, but that of batch 0 has "
                f"{self.n_columns}: pass batches of the same columns."
            )
        if names is not None and self.names is not None and names != self.names:
            j = next(j for j, name in enumerate(names) if name != self.names[j])
            raise ValueError(
                f"X of batch {number} has {quoted(str(names[j]))} as column {j}, but that of batch "
                f"0 has {quoted(str(self.names[j]))}: pass batches of the same columns."
            )
        if has_weights != self.has_weights:
            raise ValueError(
                f"sample_weight is in batch {number if has_weights else 0}, but not in batch "
                f"{0 if has_weights else number}: pass it in all batches, or in none."
            )

    def rows(self) -> CollectedRows:
        """Return all rows."""
        if self.n_rows == 0:
            raise ValueError(
                "batches has no rows: pass at least one batch with some, and a new iterator, as "
                "one that was read is empty."
            )
        labels = [label for _, label in self.labels]
        labels_of_objects("y", labels, LABELS_WANTED)  # of one kind
        y, weights = _labelled(labels, self.codes.array(), self.memory), None
        if self.has_weights:
            weights = self.weights.array()
        return CollectedRows(self.X.array(), y, weights)


def _labelled(labels: list[Any], codes: npt.NDArray[Any], memory: Memory) -> npt.NDArray[Any]:
    """Return the label of each row; whole numbers in few bytes."""
    is_of_one_type = len(set(map(type, labels))) == 1
    # A dtype of both 1 and 1.5 might round.
    values: npt.NDArray[Any] = np.array(labels, None if is_of_one_type else object)
    if values.dtype.kind in "iu":
        values = values.astype(np.result_type(*map(np.min_scalar_type, (min(labels), max(labels)))))
    found: npt.NDArray[Any]
    # No file holds objects of Python.
    found = values[codes] if values.dtype.hasobject else memory.take(values, codes)
    return found


def _check_length(name: str, length: int, n_rows: int) -> None:
    if length != n_rows:
        raise ValueError(
            f"{name} has {length} entries, but X has {n_rows} rows: pass one for each row."
        )
