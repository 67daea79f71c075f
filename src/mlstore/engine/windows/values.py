"""Values: a column without its nulls, and which of them a window holds at each moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.windows.measures import words_of
from mlstore.engine.windows.plan import Int64
from mlstore.engine.windows.stretches import Stretch
from mlstore.schema.dtypes import DType

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Column:
    """The values of a column that are not null. before: how many of them lie before each row."""

    values: pa.Array
    dtype: DType
    time: Int64
    before: Int64
    offsets: Int64
    _codes: tuple[Int64, int] | None = None
    _ranks: tuple[Int64, Floats] | None = None

    @classmethod
    def of(cls, stretch: Stretch, name: str, dtype: DType) -> Column:
        """A column of a stretch."""
        column = stretch.columns[name]
        if not column.null_count:
            return cls(column, dtype, stretch.time, np.arange(len(column) + 1), stretch.offsets)
        valid = np.asarray(column.is_valid())
        before = np.append(0, np.cumsum(valid))
        return cls(column.drop_null(), dtype, stretch.time[valid], before, before[stretch.offsets])

    def codes(self) -> tuple[Int64, int]:
        """A number for each value, equal where values are, and how many there are. One NaN, one zero."""
        if self._codes is None:
            values = self.values
            if pa.types.is_floating(values.type):
                values = pa.array(np.asarray(values) + values.type.to_pandas_dtype()(0))
            encoded = values.dictionary_encode()
            self._codes = np.asarray(encoded.indices).astype(np.int64), len(encoded.dictionary)
        return self._codes

    def numbers(self) -> Floats:
        """The values as doubles."""
        kind = self.values.type
        words = words_of(self.values)
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return words.view(np.float64)
        return (words.view(np.uint64) if kind == pa.uint64() else words).astype(np.float64)

    def ranks(self) -> tuple[Int64, Floats]:
        """The place of each value among those of its group, and the values of each group in ascending order, NaN last."""
        if self._ranks is None:
            numbers = self.numbers()
            first, last = int(self.offsets[0]), int(self.offsets[-1])
            groups = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
            order = first + np.lexsort((numbers[first:last], groups))
            ranks = np.zeros(len(numbers), np.int64)
            ranks[order] = np.arange(first, last) - np.repeat(self.offsets[:-1], np.diff(self.offsets))
            ascending = numbers.copy()
            ascending[first:last] = numbers[order]
            self._ranks = ranks, ascending
        return self._ranks


@dataclass(frozen=True, slots=True)
class Runs:
    """The values [begin, end) of a column that one window holds at each moment."""

    column: Column
    begin: Int64
    end: Int64
    moment_offsets: Int64
    moment: Int64

    @property
    def lengths(self) -> Int64:
        """How many values each run has."""
        return self.end - self.begin
