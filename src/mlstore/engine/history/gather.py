"""Gathering: the features of the winners, each in the slot of the row that asked."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.gather import gather_bits, gather_fixed, measure_texts, pick_winners, write_texts
from mlstore.engine.history.block import Int64, UInt32
from mlstore.schema.dtypes import DType

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_TAKEN_AS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_MOST_TEXT = 2**31 - 1  # bytes that 32-bit offsets reach


class Columns(Protocol):
    """Where values lie: a block of a history, or a batch of a table."""

    def column(self, number: int) -> pa.Array: ...


class Places(Protocol):
    """The block and the row of each winner. source -1: there is none."""

    @property
    def source(self) -> NDArray[np.int32]: ...
    @property
    def row(self) -> UInt32: ...


class Gatherer:
    """The winners laid out once: which row of which block goes to which slot; every feature is gathered along it.

    found: [length] whether anything goes to a slot; wins: [blocks] how many rows of it are taken.
    """

    def __init__(self, blocks: Sequence[Columns], winners: Places, slots: UInt32, length: int) -> None:
        asks = len(slots)
        source, row, slot = np.empty(asks, np.int32), np.empty(asks, np.uint32), np.empty(asks, np.uint32)
        found = np.zeros(length, np.uint8)
        picks = pick_winners(winners.source, winners.row, slots, source, row, slot, found)
        self._blocks = blocks
        self._length = length
        self._picks = source[:picks], row[:picks], slot[:picks]
        self.wins = np.bincount(self._picks[0], minlength=len(blocks)) if blocks else np.empty(0, np.int64)
        self._found_bits = _pack(found)
        self.found: Mask = found.view(np.bool_)

    def column(self, number: int, dtype: DType) -> pa.Array:
        """The feature for every slot; null where nothing won."""
        columns = self._columns(number)
        validity = self._validity(columns)
        if dtype.kind == "fixed":
            return self._fixed(columns, dtype, validity)
        if dtype.kind == "bool":
            bits = np.zeros(self._length, np.uint8)
            bitmaps, offsets = _bitmaps(columns, place=1)
            gather_bits(bitmaps, offsets, *self._picks, bits)
            return pa.Array.from_buffers(dtype.arrow, self._length, [validity, pa.py_buffer(np.packbits(bits, bitorder="little"))])
        if dtype.kind == "varlen":
            return self._texts(columns, dtype, validity)
        return self._taken(columns, dtype.arrow)

    def column_as(self, number: int, arrow: pa.DataType) -> pa.Array:
        """The same of any Arrow type, in that type."""
        dtype = DType(str(arrow), arrow)
        if pa.types.is_primitive(arrow) or pa.types.is_decimal(arrow) or dtype.kind == "varlen":
            return self.column(number, dtype)
        return self._taken(self._columns(number), arrow)

    def _columns(self, number: int) -> list[pa.Array | None]:
        return [block.column(number) if wins else None for block, wins in zip(self._blocks, self.wins, strict=True)]

    def _validity(self, columns: Sequence[pa.Array | None]) -> pa.Buffer | None:
        if not any(column.null_count for column in columns if column is not None):
            return self._found_bits
        valid = np.zeros(self._length, np.uint8)
        bitmaps, offsets = _bitmaps(columns, place=0)
        gather_bits(bitmaps, offsets, *self._picks, valid)
        return _pack(valid)

    def _fixed(self, columns: Sequence[pa.Array | None], dtype: DType, validity: pa.Buffer | None) -> pa.Array:
        width = dtype.width
        values = np.zeros(self._length * width, np.uint8)
        gather_fixed(_views(columns, lambda column: _bytes(column.buffers()[-1], column.offset * width)), width, *self._picks, values)
        if not pa.types.is_fixed_size_list(dtype.arrow):
            return pa.Array.from_buffers(dtype.arrow, self._length, [validity, pa.py_buffer(values)])
        items = self._length * dtype.arrow.list_size
        child = pa.Array.from_buffers(dtype.arrow.value_type, items, [None, pa.py_buffer(values)])
        return pa.Array.from_buffers(dtype.arrow, self._length, [validity], children=[child])

    def _texts(self, columns: Sequence[pa.Array | None], dtype: DType, validity: pa.Buffer | None) -> pa.Array:
        starts = _views(columns, lambda column: _bytes(column.buffers()[1], column.offset * 4))
        offsets = np.zeros(self._length + 1, np.int32)
        size = measure_texts(starts, *self._picks, offsets)
        if size > _MOST_TEXT:
            return self._taken(columns, dtype.arrow)
        texts = np.empty(size, np.uint8)
        write_texts(starts, _views(columns, lambda column: _bytes(column.buffers()[2], 0)), *self._picks, offsets, texts)
        return pa.Array.from_buffers(dtype.arrow, self._length, [validity, pa.py_buffer(offsets), pa.py_buffer(texts)])

    def _taken(self, columns: Sequence[pa.Array | None], arrow: pa.DataType) -> pa.Array:
        """By Arrow: for types whose values lie in several buffers."""
        there = [column for column in columns if column is not None]
        if not there:
            return pa.nulls(self._length, arrow)
        base = np.cumsum([0, *(0 if column is None else len(column) for column in columns)])
        source, row, slot = self._picks
        index = np.zeros(self._length, np.int64)
        index[slot] = base[source] + row
        values = pa.chunked_array(there)
        if arrow in _TAKEN_AS:  # Arrow has no take for views
            values = values.cast(_TAKEN_AS[arrow])
        chosen = values.take(pa.array(index, mask=~self.found)).cast(arrow)
        return pa.concat_arrays(chosen.chunks) if chosen.num_chunks != 1 else chosen.chunk(0)


def scatter(values: Int64, slots: UInt32, found: Mask, length: int, dtype: pa.DataType) -> pa.Array:
    """int64 values put into slots; null in every slot that has none."""
    answer, valid = np.zeros(length, np.int64), np.zeros(length, np.bool_)
    answer[slots], valid[slots] = np.where(found, values, 0), found
    return pa.array(answer, mask=~valid).view(dtype)


def _pack(mask: Bytes) -> pa.Buffer | None:
    """An Arrow validity bitmap of bytes 0 or 1; None when all are 1."""
    return None if mask.all() else pa.py_buffer(np.packbits(mask, bitorder="little"))


def _views(columns: Sequence[pa.Array | None], view: Callable[[pa.Array], Bytes | None]) -> list[Bytes | None]:
    return [None if column is None else view(column) for column in columns]


def _bytes(buffer: pa.Buffer | None, start: int) -> Bytes | None:
    return None if buffer is None or not buffer.size else np.frombuffer(buffer, np.uint8)[start:]


def _bitmaps(columns: Sequence[pa.Array | None], *, place: int) -> tuple[list[Bytes | None], Int64]:
    """The bitmaps of columns, and the bit of row 0 in each. place: that of the bitmap among a column's buffers."""
    bitmaps = _views(columns, lambda column: _bytes(column.buffers()[place], 0))
    return bitmaps, np.array([0 if column is None else column.offset for column in columns], np.int64)
