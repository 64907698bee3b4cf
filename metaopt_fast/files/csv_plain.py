"""Rows of a text file that are plain: numbers, and texts that their columns have had before.

Compiled code reads them, from one that the row-by-row reader has read up to the next one that it
must read: with a text that is new, a quote in a text, a number that needs more than 128 bits, a
value that is missing or wrong. So tables, and what is said of errors, are the row-by-row reader's.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.files.csv_columns import Features, Groups, Labels
from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.wanted import Roles
from metaopt_fast.typing import Float64Array

# Those of files that may be plain: columns that are lined up have many spaces.
SEPARATORS = ",;\t|"
# Numbers that are read together: they stay in a second-level cache.
NUMBERS_AT_ONCE = 2**15
# Of the texts that columns have had; those beyond are read row by row.
BYTES_OF_TEXTS = 2**18
POWERS = range(-342, 309)


class PlainReader:
    """What has been read row by row, and how to go on from there."""

    def __init__(
        self,
        source: Lines,
        n_fields: int,
        roles: Roles,
        features: Features,
        labels: Labels,
        groups: Groups,
    ) -> None:
        self._source, self._features, self._labels, self._groups = source, features, labels, groups
        self._roles, self._is_told = roles, False
        self._are_numbers: list[bool] = []
        read = [*roles.features, *(x for x in (roles.target, roles.group) if x is not None)]
        self._kinds = np.full(n_fields, -1, np.intc)
        self._kinds[read] = 2 * np.arange(len(read))
        self._numbers = np.empty((max(1, NUMBERS_AT_ONCE // len(read)), len(read)))
        self._known = np.zeros(_kernels.TABLE_OF_TEXTS + BYTES_OF_TEXTS, np.uint8)
        self._used = 0

    def know(self, row: list[str]) -> None:
        """Take note of the texts of the row that was added last."""
        roles, n_features = self._roles, len(self._roles.features)
        if not self._is_told:
            self._is_told = self._features.is_told
            self._are_numbers = self._features.are_numbers()
            self._kinds[roles.features] = 2 * np.arange(n_features) + self._are_numbers
        numbers = self._features.values[-n_features:]
        for field, number, is_number in zip(
            roles.features, numbers, self._are_numbers, strict=True
        ):
            if not is_number or math.isnan(number):
                self._know(field, row[field], number)
        if roles.target is not None:
            self._know(roles.target, row[roles.target], self._labels.column[-1])
        if roles.group is not None:
            self._know(roles.group, row[roles.group], self._groups.column[-1])

    def _know(self, field: int, text: str, number: float) -> None:
        self._used = _kernels.know_text(self._known, self._used, field, text.encode(), number)

    def read_on(self) -> None:
        """Add the rows that follow, up to one that is not plain."""
        source, blocks, numbers = self._source, self._source.blocks, self._numbers
        decimal = -1 if source.decimal is None else ord(source.decimal)
        while blocks.fill():
            n_rows, blocks.at, n_lines = _kernels.read_plain_rows(
                blocks.block,
                blocks.at,
                blocks.stop,
                ord(source.separator),
                decimal,
                self._kinds,
                powers_of_ten(),
                self._known,
                numbers,
            )
            source.line += n_lines
            self._add(numbers[:n_rows])
            if blocks.at < blocks.stop and n_rows < len(numbers):
                return

    def _add(self, numbers: Float64Array) -> None:
        """Add rows of numbers: features, and codes of the label and the group."""
        n_features = len(self._roles.features)
        self._features.values.frombytes(numbers[:, :n_features].tobytes())
        if self._roles.target is not None:
            self._labels.column += numbers[:, n_features].astype(np.uint8).tobytes()
        if self._roles.group is not None:
            self._groups.column.frombytes(numbers[:, -1].astype(np.uint16).tobytes())


@cache
def powers_of_ten() -> npt.NDArray[np.uint64]:
    """Return the leading 128 bits of powers of ten, from 10^-342 on, the high half of each first.

    They are those of powers of five: of 0 and more rounded down; of those down to -27 up, and of
    lesser ones down, as the algorithm is proven for.
    """
    fives, leading = [1], list[int]()
    while len(fives) <= -POWERS[0]:
        fives.append(5 * fives[-1])
    for power in POWERS:
        five = fives[abs(power)]
        size = five.bit_length()
        bits = five << 128 >> size
        if power < 0:
            bits = (1 << size + 127) // five + (power >= -27)
        leading += [bits >> 64, bits & (2**64 - 1)]
    return np.array(leading, np.uint64)
