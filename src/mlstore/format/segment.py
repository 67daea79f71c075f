"""Segments: the past of a view, sorted by (key, event time, created, seq), never changed once written.

Pure: turns sorted columns into extents and back. Reading and writing the file is storage's work.
A segment's large buffers have an extent each; the small ones share the head, extent 0, which ends with the header.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import NamedTuple

import msgpack
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from mlstore._core.offsets import are_offsets
from mlstore.errors import CorruptionError, DefinitionError
from mlstore.format import compression
from mlstore.format.columns import assemble_column, flatten_column, value_range, value_width
from mlstore.format.keys import Keys
from mlstore.format.packed import CURE, unpack
from mlstore.schema.dtypes import DType, parse_dtype

HEAD = 0
PAGE, VALUE_OFFSET = 4096, 16  # a large LMDB value starts 16 bytes into its first page
PAD = 64 - VALUE_OFFSET  # so that payloads start at multiples of 64
OWN_EXTENT_BYTES = 1 << 16  # buffers from this size on have an extent of their own
ALIGNMENT = 64
CLASS_PAGES = 16  # extents grow in steps of 64 KiB, so that freed pages fit the next extent

Bytes = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Sink = Callable[[int, Bytes], None]
Fetch = Callable[[int], pa.Buffer]
Fill = Callable[[Bytes], None]

MOST_BYTES = 1 << 32  # of one buffer: a column is cut into segments long before


class BufferRef(NamedTuple):
    """Where a buffer lies, how it is packed, and the XXH3-64 of its stored bytes."""

    extent: int
    offset: int
    size: int
    raw_size: int
    codec: int
    width: int
    checksum: int


class StoredColumn(NamedTuple):
    """One feature in one segment: its type then, its zone map, its buffers depth first."""

    number: int
    spec: str
    null_count: int
    low: object
    high: object
    buffers: tuple[BufferRef | None, ...]


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The table of contents of a segment. `created` and `seq` are absent where the manifest entry has one for all rows."""

    rows: int
    revision: int
    keys: tuple[BufferRef, ...]  # int64 values; or int64 offsets and data
    offsets: BufferRef
    time: BufferRef
    created: BufferRef | None
    seq: BufferRef | None
    columns: tuple[StoredColumn, ...]


def checksum_of(value: Bytes) -> int:
    """The XXH3-64 of some bytes."""
    return xxhash.xxh3_64_intdigest(value.data)


class ExtentWriter:
    """Places buffers into the extents of one segment and hands each full extent to the sink."""

    def __init__(self, sink: Sink, *, tier: str = "hot") -> None:
        self._sink = sink
        self._tier = tier
        self._head: list[Bytes] = []
        self._head_size = 0
        self.extents = 1
        self.size_bytes = 0

    def place(self, data: Bytes, width: int) -> BufferRef:
        raw_size, codec = data.size, compression.RAW
        if self._tier == "cold" and raw_size:
            codec, data = compression.compress(data, width)
        checksum = checksum_of(data)
        if data.size >= OWN_EXTENT_BYTES:
            extent, offset = self.extents, 0
            self.extents += 1
            self._emit(extent, [data], data.size)
        else:
            extent, offset = HEAD, self._head_size
            self._append_to_head(data)
        return BufferRef(extent, offset, data.size, raw_size, codec, width, checksum)

    def place_filled(self, size: int, width: int, fill: Fill) -> tuple[BufferRef, Bytes]:
        """Place a buffer that `fill` writes, where it stays if it is raw and large; and the buffer."""
        if self._tier == "cold" or size < OWN_EXTENT_BYTES:
            data = np.empty(size, np.uint8)
            fill(data)
            return self.place(data, width), data
        value, extent = _blank_extent(size), self.extents
        data = value[PAD : PAD + size]
        fill(data)
        self.extents += 1
        self._hand_over(extent, value)
        return BufferRef(extent, 0, size, size, compression.RAW, width, checksum_of(data)), data

    def finish(self, header: bytes) -> tuple[int, int]:
        """Write the head; where in it the header lies: (offset, size)."""
        place = self._head_size, len(header)
        self._append_to_head(np.frombuffer(header, np.uint8))
        self._emit(HEAD, self._head, self._head_size)
        return place

    def _append_to_head(self, data: Bytes) -> None:
        self._head.append(data)
        fill = -data.size % ALIGNMENT
        if fill:
            self._head.append(np.zeros(fill, np.uint8))
        self._head_size += data.size + fill

    def _emit(self, extent: int, parts: list[Bytes], size: int) -> None:
        value = _blank_extent(size)
        cursor = PAD
        for part in parts:
            value[cursor : cursor + part.size] = part
            cursor += part.size
        self._hand_over(extent, value)

    def _hand_over(self, extent: int, value: Bytes) -> None:
        self.size_bytes += value.size + VALUE_OFFSET
        self._sink(extent, value)


def _blank_extent(payload: int) -> Bytes:
    """The value of an extent, whose payload is yet to be written behind the padding."""
    value = np.empty(extent_bytes(payload), np.uint8)
    value[:PAD] = 0
    value[PAD + payload :] = 0
    return value


def extent_bytes(payload: int) -> int:
    """Size of the LMDB value that holds a payload: whole pages, in steps of 64 KiB and one page above 64 KiB."""
    pages = -(-(VALUE_OFFSET + PAD + payload) // PAGE)
    if pages > CLASS_PAGES:
        pages = -(-(pages - 1) // CLASS_PAGES) * CLASS_PAGES + 1
    return pages * PAGE - VALUE_OFFSET


class SegmentBuilder:
    """Collects the buffers of one segment; columns may come one by one, so that many segments can be built side by side."""

    def __init__(self, sink: Sink, *, rows: int, revision: int, tier: str = "hot") -> None:
        self._extents = ExtentWriter(sink, tier=tier)
        self._rows = rows
        self._revision = revision
        self._columns: list[StoredColumn] = []
        self._order: tuple[tuple[BufferRef, ...], BufferRef, BufferRef, BufferRef | None, BufferRef | None] | None = None

    def add_order(self, keys: Keys, offsets: Int64, time: Int64, created: Int64 | None, seq: Int64 | None) -> None:
        """The sorted unique keys, the first row of each (and the end), and the clocks of each row (None: one for all)."""
        place = self._extents.place
        if keys.kind == "int":
            key_refs: tuple[BufferRef, ...] = (place(_raw(keys.ints), 8),)
        else:
            key_refs = place(_raw(keys.offsets), 8), place(_raw(keys.data), 1)
        optional = [None if clock is None else place(_raw(clock), 8) for clock in (created, seq)]
        self._order = key_refs, place(_raw(offsets), 8), place(_raw(time), 8), optional[0], optional[1]

    def add_column(self, number: int, dtype: DType, array: pa.Array) -> None:
        bounds = value_range(array, dtype) or (None, None)
        width = value_width(dtype.arrow)
        refs = tuple(
            None if buffer is None else self._extents.place(buffer, width if buffer.size % width == 0 else 1)
            for buffer in flatten_column(array)
        )
        self._columns.append(StoredColumn(number, dtype.spec, array.null_count, *bounds, refs))

    def add_filled(self, number: int, dtype: DType, fill: Fill) -> None:
        """A column of values of one width, none of them null, which `fill` writes straight to where they stay."""
        width = value_width(dtype.arrow)
        ref, data = self._extents.place_filled(self._rows * width, width, fill)
        bounds = value_range(pa.Array.from_buffers(dtype.arrow, self._rows, [None, pa.py_buffer(data)]), dtype) or (None, None)
        self._columns.append(StoredColumn(number, dtype.spec, 0, *bounds, (None, ref)))

    def finish(self) -> "BuiltSegment":
        assert self._order is not None
        packed = encode_header(SegmentHeader(self._rows, self._revision, *self._order, tuple(self._columns)))
        offset, size = self._extents.finish(packed)
        return BuiltSegment(self._extents.extents, self._extents.size_bytes, offset, size, xxhash.xxh3_64_intdigest(packed))


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    """What the manifest entry has to know of a segment just written."""

    extents: int
    size_bytes: int
    header_offset: int
    header_size: int
    header_checksum: int


def encode_header(header: SegmentHeader) -> bytes:
    columns = [[c.number, c.spec, c.null_count, c.low, c.high, [_pack_ref(ref) for ref in c.buffers]] for c in header.columns]
    order = [
        [_pack_ref(ref) for ref in header.keys],
        *(_pack_ref(ref) for ref in (header.offsets, header.time, header.created, header.seq)),
    ]
    packed: bytes = msgpack.packb([header.rows, header.revision, order, columns])
    return packed


def header_checksum(packed: bytes) -> int:
    """What the manifest keeps of a header."""
    return int(xxhash.xxh3_64_intdigest(packed))


def decode_header(packed: bytes, checksum: int) -> SegmentHeader:
    if xxhash.xxh3_64_intdigest(packed) != checksum:
        raise CorruptionError("a segment's header does not match its checksum", hint=CURE)
    try:
        rows, revision, (keys, offsets, time, created, seq), columns = unpack(packed)
        header = SegmentHeader(
            rows,
            revision,
            tuple(map(BufferRef._make, keys)),
            BufferRef._make(offsets),
            BufferRef._make(time),
            _unpack_ref(created),
            _unpack_ref(seq),
            tuple(_unpack_column(*column) for column in columns),
        )
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"a segment's header cannot be read: {error}", hint=CURE) from error
    if not _is_possible(header):
        raise CorruptionError("a segment's header says what cannot be", hint=CURE)
    return header


def open_buffer(ref: BufferRef, fetch: Fetch) -> pa.Buffer:
    """The plain bytes of a buffer: a slice of its extent, or unpacked from it."""
    extent = fetch(ref.extent)
    start = PAD + ref.offset
    if start + ref.size > extent.size:
        raise CorruptionError("a buffer reaches beyond its extent", hint=CURE)
    stored = extent.slice(start, ref.size)
    if ref.codec == compression.RAW:
        return stored
    return pa.py_buffer(compression.decompress(memoryview(stored), ref.codec, ref.raw_size, ref.width))


def open_numbers(ref: BufferRef, fetch: Fetch) -> Int64:
    """A buffer of int64 as an array."""
    buffer = open_buffer(ref, fetch)
    if buffer.size % 8:
        raise CorruptionError(f"a buffer of numbers has {buffer.size} bytes", hint=CURE)
    return np.frombuffer(buffer, np.int64)


def open_keys(header: SegmentHeader, fetch: Fetch) -> Keys:
    if len(header.keys) == 1:
        return Keys(ints=open_numbers(header.keys[0], fetch))
    offsets, data = open_numbers(header.keys[0], fetch), open_buffer(header.keys[1], fetch)
    if not are_offsets(offsets, data.size):
        raise CorruptionError("the offsets of a segment's keys fall, or reach beyond the keys", hint=CURE)
    return Keys(offsets=offsets, data=np.frombuffer(data, np.uint8))


def open_column(column: StoredColumn, rows: int, fetch: Fetch) -> pa.Array:
    """A column in the type it was written in."""
    buffers: Iterator[pa.Buffer | None] = (None if ref is None else open_buffer(ref, fetch) for ref in column.buffers)
    try:
        return assemble_column(parse_dtype(column.spec).arrow, rows, buffers)
    except (DefinitionError, StopIteration, OverflowError, pa.ArrowException) as error:
        raise CorruptionError(f"feature {column.number} of a segment is no {column.spec:.80}: {error}", hint=CURE) from error


def plain_address(column: StoredColumn, size: int, fetch: Fetch) -> int:
    """Where the values of a column lie, if they are one buffer of so many bytes, stored as it is, and none is null; else 0."""
    if len(column.buffers) != 2:
        return 0
    validity, values = column.buffers
    if validity is not None or values is None or values.codec != compression.RAW or values.size < size:
        return 0
    return int(open_buffer(values, fetch).address)


def order_extents(header: SegmentHeader) -> set[int]:
    """The extents of the keys and clocks."""
    refs = (*header.keys, header.offsets, header.time, header.created, header.seq)
    return {ref.extent for ref in refs if ref is not None}


def buffer_refs(header: SegmentHeader) -> Iterator[tuple[str, BufferRef]]:
    """Every buffer of a segment with a name for it: what `verify` walks."""
    order = [("time", header.time), ("offsets", header.offsets), ("created", header.created), ("seq", header.seq)]
    named: list[tuple[str, BufferRef | None]] = [("keys", ref) for ref in header.keys]
    named += order
    yield from ((name, ref) for name, ref in named if ref is not None)
    for column in header.columns:
        yield from ((f"feature {column.number}", ref) for ref in column.buffers if ref is not None)


def is_intact(ref: BufferRef, fetch: Fetch) -> bool:
    """Whether the stored bytes of a buffer still match their checksum."""
    extent = fetch(ref.extent)
    start = PAD + ref.offset
    if start + ref.size > extent.size:
        return False
    return xxhash.xxh3_64_intdigest(memoryview(extent.slice(start, ref.size))) == ref.checksum


def _raw(array: NDArray[np.generic]) -> Bytes:
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1)


def _pack_ref(ref: BufferRef | None) -> list[int] | None:
    return None if ref is None else [ref.extent, ref.offset, ref.size, ref.raw_size, ref.codec, ref.width, ref.checksum]


def _unpack_column(number: int, spec: str, nulls: int, low: object, high: object, refs: list[list[int] | None]) -> StoredColumn:
    return StoredColumn(number, spec, nulls, low, high, tuple(_unpack_ref(ref) for ref in refs))


def _unpack_ref(packed: list[int] | None) -> BufferRef | None:
    return None if packed is None else BufferRef._make(packed)


def _is_possible(header: SegmentHeader) -> bool:
    refs = [*header.keys, *(ref for ref in (header.offsets, header.time, header.created, header.seq) if ref is not None)]
    refs += [ref for column in header.columns for ref in column.buffers if ref is not None]
    return (
        type(header.rows) is type(header.revision) is int
        and 0 <= header.rows < 2**32
        and len(header.keys) in (1, 2)
        and _are_possible_refs(refs)
        and all(map(_is_possible_column, header.columns))
        and len({column.number for column in header.columns}) == len(header.columns)
    )


def _are_possible_refs(refs: list[BufferRef]) -> bool:
    try:
        packed = struct.pack(f"<{7 * len(refs)}Q", *chain.from_iterable(refs))
    except struct.error:
        return False
    extent, offset, size, raw_size, codec, width, _ = np.frombuffer(packed, "<u8").reshape(-1, 7).T
    return bool(
        max(offset.max(), size.max(), raw_size.max()) < MOST_BYTES
        and extent.max() < 2**16
        and codec.max() <= compression.CODECS[-1]
        and width.min() > 0
        and ((codec != compression.RAW) | (size == raw_size)).all()
    )


def _is_possible_column(column: StoredColumn) -> bool:
    return (
        type(column.number) is type(column.null_count) is int
        and type(column.spec) is str
        and 0 <= column.number < 2**16
        and type(column.low) is type(column.high)
        and type(column.low) in (int, float, NoneType)
        and _fits_64_bits(column.low)
        and _fits_64_bits(column.high)
    )


def _fits_64_bits(bound: object) -> bool:
    """Whether a least or greatest value fits a column of 64-bit numbers, with a sign or without."""
    return type(bound) is not int or -(2**63) <= bound < 2**64
