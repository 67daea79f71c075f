"""Gathering: the features of the winners, each in the slot of the row that asked."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.gather import gather_bits, gather_fixed
from mlstore.engine.asof import Winners, expand_mask
from mlstore.engine.block import Block, Int64
from mlstore.schema.dtypes import DType


class Gatherer:
    """Winners sorted by block once, so that every feature is gathered block by block."""

    def __init__(self, blocks: Sequence[Block], winners: Winners, slots: Int64, length: int) -> None:
        self._blocks = blocks
        self._length = length
        self._picks = list(_picks(winners, slots))

    def column(self, number: int, dtype: DType) -> pa.Array:
        """The feature for every slot; null where nothing won."""
        if dtype.kind == "fixed":
            return self._fixed(number, dtype)
        if dtype.kind == "bool":
            return self._bool(number, dtype)
        return self._any(number, dtype)

    def _fixed(self, number: int, dtype: DType) -> pa.Array:
        values, valid = np.zeros(self._length * dtype.width, np.uint8), np.zeros(self._length, np.uint8)
        for source, rows, slots in self._picks:
            column = self._blocks[source].column(number)
            _gather_validity(column, rows, slots, valid)
            buffer = column.buffers()[-1]
            if buffer is not None and buffer.size:
                start = column.offset * dtype.width
                gather_fixed(np.frombuffer(buffer, np.uint8)[start:], dtype.width, rows, slots, values)
        return _fixed_array(dtype.arrow, self._length, expand_mask(valid), pa.py_buffer(values))

    def _bool(self, number: int, dtype: DType) -> pa.Array:
        values, valid = np.zeros(self._length, np.uint8), np.zeros(self._length, np.uint8)
        for source, rows, slots in self._picks:
            column = self._blocks[source].column(number)
            _gather_validity(column, rows, slots, valid)
            buffer = column.buffers()[1]
            if buffer is not None:
                gather_bits(np.frombuffer(buffer, np.uint8), column.offset, rows, slots, values)
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(dtype.arrow, self._length, [expand_mask(valid), bits])

    def _any(self, number: int, dtype: DType) -> pa.Array:
        index, valid = np.zeros(self._length, np.int64), np.zeros(self._length, np.bool_)
        columns, base = [], 0
        for source, rows, slots in self._picks:
            column = self._blocks[source].column(number)
            index[slots], valid[slots] = rows + base, True
            columns.append(column)
            base += len(column)
        if not columns:
            return pa.nulls(self._length, dtype.arrow)
        chosen = pa.chunked_array(columns).take(pa.array(index, mask=~valid))
        return pa.concat_arrays(chosen.chunks) if chosen.num_chunks != 1 else chosen.chunk(0)


def scatter(values: Int64, slots: Int64, found: NDArray[np.bool_], length: int, dtype: pa.DataType) -> pa.Array:
    """int64 values put into slots; null in every slot that has none."""
    answer, valid = np.zeros(length, np.int64), np.zeros(length, np.bool_)
    answer[slots], valid[slots] = values, found
    return pa.array(answer, mask=~valid).view(dtype)


def _picks(winners: Winners, slots: Int64) -> list[tuple[int, Int64, Int64]]:
    """(block, rows, slots) for each block that has winners."""
    order = np.argsort(winners.source, kind="stable") if winners.source.size and winners.source.max() > 0 else np.arange(len(slots))
    sources = winners.source[order]
    edges = np.flatnonzero(np.diff(sources)) + 1
    picks = []
    for part in np.split(order, edges) if order.size else []:
        source = int(winners.source[part[0]])
        if source >= 0:
            picks.append((source, winners.row[part], slots[part]))
    return picks


def _gather_validity(column: pa.Array, rows: Int64, slots: Int64, valid: NDArray[np.uint8]) -> None:
    if not column.null_count:
        valid[slots] = 1
    else:
        gather_bits(np.frombuffer(column.buffers()[0], np.uint8), column.offset, rows, slots, valid)


def _fixed_array(dtype: pa.DataType, length: int, validity: pa.Buffer | None, values: pa.Buffer) -> pa.Array:
    if pa.types.is_fixed_size_list(dtype):
        child = pa.Array.from_buffers(dtype.value_type, length * dtype.list_size, [None, values])
        return pa.Array.from_buffers(dtype, length, [validity], children=[child])
    return pa.Array.from_buffers(dtype, length, [validity, values])
