"""Gathering: the features of the winners, each in the slot of the row that asked."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.gather import count_winners, gather_bits, gather_fixed, measure_texts, write_texts
from mlstore.engine.arrays import filled, unfilled
from mlstore.engine.history.block import Int64, UInt32
from mlstore.schema.dtypes import DType

Addresses = NDArray[np.uintp]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_TAKEN_AS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_MOST_TEXT = 2**31 - 1  # bytes that 32-bit offsets reach


class Columns(Protocol):
    """Where values lie: a block of a history, or a batch of a table."""

    def column(self, number: int) -> pa.Array: ...

    def plain(self, number: int) -> int:
        """The address of the values, if they lie there in the type that is gathered and none is null; 0: ask for the column."""


class Places(Protocol):
    """The block and the row of each winner. source -1: there is none."""

    @property
    def source(self) -> NDArray[np.int32]: ...
    @property
    def row(self) -> UInt32: ...


class Gatherer:
    """The winners laid out once: which row of which block goes to which slot; every feature is gathered along it.

    No slot is asked for twice. found: [length] whether anything goes to a slot; wins: [blocks] how many rows of it are taken.
    """

    def __init__(self, blocks: Sequence[Columns], winners: Places, slots: UInt32, length: int) -> None:
        found, wins = np.zeros(length, np.uint8), np.zeros(len(blocks), np.int64)
        count_winners(winners.source, slots, wins, found)
        self._blocks = blocks
        self._length = length
        self._picks = winners.source, winners.row, slots
        self.wins = wins
        self._needed: list[int] = np.flatnonzero(wins).tolist()
        self._found_bits = _pack(found)
        self.found: Mask = found.view(np.bool_)

    def column(self, number: int, dtype: DType) -> pa.Array:
        """The feature for every slot; null where nothing won."""
        if dtype.kind == "fixed":
            plain = self._plain(number)
            if plain is not None:
                return self._fixed(plain, dtype, self._found_bits)
        columns = self._columns(number)
        validity = self._validity(columns)
        if dtype.kind == "fixed":
            width = dtype.width
            return self._fixed(_addresses(columns, lambda column: _address(column.buffers()[-1], column.offset * width)), dtype, validity)
        if dtype.kind == "bool":
            bits = self._unfilled(1)
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
        valid = self._unfilled(1)
        bitmaps, offsets = _bitmaps(columns, place=0)
        gather_bits(bitmaps, offsets, *self._picks, valid)
        return _pack(valid)

    def _plain(self, number: int) -> Addresses | None:
        """Where the values of the blocks lie, if those of all that are needed lie there as they are."""
        addresses = np.zeros(len(self._blocks), np.uintp)
        for place in self._needed:
            address = self._blocks[place].plain(number)
            if not address:
                return None
            addresses[place] = address
        return addresses

    def _fixed(self, sources: Addresses, dtype: DType, validity: pa.Buffer | None) -> pa.Array:
        width = dtype.width
        values = self._unfilled(width)
        gather_fixed(sources, width, *self._picks, values)
        if not pa.types.is_fixed_size_list(dtype.arrow):
            return pa.Array.from_buffers(dtype.arrow, self._length, [validity, pa.py_buffer(values)])
        items = self._length * dtype.arrow.list_size
        child = pa.Array.from_buffers(dtype.arrow.value_type, items, [None, pa.py_buffer(values)])
        return pa.Array.from_buffers(dtype.arrow, self._length, [validity], children=[child])

    def _texts(self, columns: Sequence[pa.Array | None], dtype: DType, validity: pa.Buffer | None) -> pa.Array:
        starts = _addresses(columns, lambda column: _address(column.buffers()[1], column.offset * 4))
        offsets = np.zeros(self._length + 1, np.int32)
        size = measure_texts(starts, *self._picks, offsets)
        if size > _MOST_TEXT:
            return self._taken(columns, dtype.arrow)
        texts = unfilled(size, np.uint8)
        write_texts(starts, _addresses(columns, lambda column: _address(column.buffers()[2], 0)), *self._picks, offsets, texts)
        return pa.Array.from_buffers(dtype.arrow, self._length, [validity, pa.py_buffer(offsets), pa.py_buffer(texts)])

    def _unfilled(self, width: int) -> Bytes:
        """Room for values of all slots; zeros where nobody asks."""
        size = self._length * width
        return unfilled(size, np.uint8) if len(self._picks[0]) == self._length else filled(size, np.uint8, 0)

    def _taken(self, columns: Sequence[pa.Array | None], arrow: pa.DataType) -> pa.Array:
        """By Arrow: for types whose values lie in several buffers."""
        there = [column for column in columns if column is not None]
        if not there:
            return pa.nulls(self._length, arrow)
        base = np.cumsum([0, *(0 if column is None else len(column) for column in columns)])
        source, row, slot = self._picks
        index = np.zeros(self._length, np.int64)
        won = source >= 0
        index[slot[won]] = base[source[won]] + row[won]
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


def _addresses(columns: Sequence[pa.Array | None], find: Callable[[pa.Array], int]) -> Addresses:
    return np.array([0 if column is None else find(column) for column in columns], np.uintp)


def _address(buffer: pa.Buffer | None, start: int) -> int:
    return 0 if buffer is None or not buffer.size else buffer.address + start


def _bitmaps(columns: Sequence[pa.Array | None], *, place: int) -> tuple[Addresses, Int64]:
    """Where the bitmaps of columns lie, and the bit of row 0 in each. place: that of the bitmap among a column's buffers."""
    bitmaps = _addresses(columns, lambda column: _address(column.buffers()[place], 0))
    return bitmaps, np.array([0 if column is None else column.offset for column in columns], np.int64)
