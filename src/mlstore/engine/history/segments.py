"""Segments in the file: what opens them, the manifest entry of each, and which of their rows are deleted.

An entry's key is table | line | segment number. Numbers are never given twice.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Self

import numpy as np
import pyarrow as pa

from mlstore._core.offsets import are_offsets
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Content, Deletes, Lend
from mlstore.engine.history.extents import list_extents, view_extent
from mlstore.errors import CorruptionError
from mlstore.format.manifest import SegmentEntry, decode_record, encode_record
from mlstore.format.packed import CURE, FixedFields
from mlstore.format.segment import (
    HEAD,
    PAD,
    SegmentHeader,
    decode_header,
    open_buffer,
    open_column,
    open_keys,
    open_numbers,
    order_extents,
    plain_address,
)
from mlstore.schema.dtypes import DType
from mlstore.storage.keyspace import declare
from mlstore.storage.mapped_value import MappedValue
from mlstore.storage.transaction import Reader, Writer

SEGMENTS = declare("segments")
DELETES = declare("deletes")

_OWNER = FixedFields(">II")  # table, line
_ENTRY_KEY = FixedFields(">IIQ")

Extents = Mapping[int, MappedValue]


class SegmentContent(Content):
    """A segment opened where it lies in the map: nothing is copied that is stored raw.

    Addresses stay good for as long as the manifest of the running transaction names the segment.
    """

    def __init__(self, entry: SegmentEntry, extents: Extents, header: SegmentHeader | None = None) -> None:
        """With all extents, or those of the order; see `begin`."""
        self._segment = entry.segment
        self._extents = dict(extents)
        self.header = read_header(entry, extents) if header is None else header
        self.keys = open_keys(self.header, self._fetch)
        self.offsets = open_numbers(self.header.offsets, self._fetch)
        self.time = open_numbers(self.header.time, self._fetch)
        if self.header.created is not None:
            self.created = open_numbers(self.header.created, self._fetch)
        if self.header.seq is not None:
            self.seq = open_numbers(self.header.seq, self._fetch)
        self.same_created = entry.created or 0
        self.same_seq = entry.seq or 0
        _require_order(self, entry)
        self.is_cold = entry.tier == "cold"
        self.decoded_bytes = 0
        self._stored = {column.number: column for column in self.header.columns}
        self._prepared: set[int] = set()
        self._plain: dict[tuple[int, str], int] = {}
        self._opened: dict[tuple[int, str], pa.Array] = {}

    @classmethod
    def begin(cls, reader: Reader, entry: SegmentEntry) -> Self:
        """Open the order of a segment; each column is to be prepared when it is needed."""
        head = view_extents(reader, entry.segment, [HEAD])
        header = read_header(entry, head)
        return cls(entry, head | view_extents(reader, entry.segment, order_extents(header) - {HEAD}), header)

    def prepare(self, reader: Reader, relation: Relation, numbers: Collection[int]) -> None:
        places = [relation.places[number] for number in numbers]
        if self._prepared.issuperset(places):
            return
        stored = [self._stored[place] for place in places if place in self._stored]
        missing = {ref.extent for column in stored for ref in column.buffers if ref is not None} - self._extents.keys()
        if missing:
            self._extents.update(view_extents(reader, self._segment, missing))
        self._prepared.update(places)

    def plain(self, relation: Relation, number: int) -> int:
        dtype, place = relation.layout.features[number].dtype, relation.places[number]
        address = self._plain.get((place, dtype.spec))
        if address is None:
            address = self._plain[place, dtype.spec] = self._find_plain(dtype, place)
        return address

    def _find_plain(self, dtype: DType, place: int) -> int:
        stored = self._stored.get(place)
        if stored is None or stored.spec != dtype.spec or dtype.kind != "fixed":
            return 0
        return plain_address(stored, self.rows * dtype.width, self._fetch)

    def column(self, relation: Relation, number: int, lend: Lend | None = None) -> pa.Array:
        wanted, place = relation.layout.features[number].dtype, relation.places[number]
        stored = self._stored.get(place)
        if stored is None:
            return pa.nulls(self.rows, wanted.arrow)
        if lend is not None:
            lender = lend
            lent = open_column(stored, self.rows, lambda extent: lender(self._place(extent).address, self._place(extent).size))
            return lent if lent.type == wanted.arrow else _converted(lent, wanted.arrow)
        opened = self._opened.get((place, wanted.spec))
        if opened is None:
            opened = open_column(stored, self.rows, self._fetch)
            opened = opened if opened.type == wanted.arrow else _converted(opened, wanted.arrow)
            self._opened[place, wanted.spec] = opened
            self.decoded_bytes += opened.nbytes if self.is_cold else 0
        return opened

    def lent_time(self, lend: Lend | None) -> pa.Array:
        if lend is None:
            return pa.array(self.time)
        lender = lend
        time = open_buffer(self.header.time, lambda extent: lender(self._place(extent).address, self._place(extent).size))
        return pa.Array.from_buffers(pa.int64(), self.rows, [None, time])

    def zone(self, relation: Relation, number: int) -> tuple[object, object, bool] | None:
        stored, dtype = self._stored.get(relation.places[number]), relation.layout.features[number].dtype
        if stored is None or stored.low is None or stored.spec != dtype.spec:
            return None
        return stored.low, stored.high, stored.null_count > 0

    def _fetch(self, extent: int) -> pa.Buffer:
        place = self._place(extent)
        return pa.foreign_buffer(place.address, place.size, base=place)

    def _place(self, extent: int) -> MappedValue:
        if extent not in self._extents:
            raise CorruptionError(f"extent {extent} of a segment is missing", hint=CURE)
        return self._extents[extent]


class SegmentCache:
    """Opened segments of one process. The longest unused go first, beyond `OPEN_SEGMENTS` or `DECODED_BYTES`."""

    def __init__(self) -> None:
        self._contents: dict[tuple[int, int], SegmentContent] = {}  # by mapping and segment; the longest unused first

    def open(self, reader: Reader, entry: SegmentEntry) -> SegmentContent:
        place = reader.mapping, entry.segment
        content = self._contents.pop(place, None)
        if content is None:
            content = SegmentContent.begin(reader, entry)
            self._shrink()
        self._contents[place] = content
        return content

    def _shrink(self) -> None:
        held = list(self._contents.items())
        excess = len(held) - limits.OPEN_SEGMENTS
        decoded = sum(content.decoded_bytes for _, content in held)
        for rank, (place, content) in enumerate(held):
            if rank < excess or (decoded > limits.DECODED_BYTES and content.decoded_bytes):
                decoded -= content.decoded_bytes
                self._contents.pop(place, None)


def _require_order(content: SegmentContent, entry: SegmentEntry) -> None:
    """Kernels follow keys to rows without looking: here is looked."""
    clocks = (entry.created, content.created), (entry.seq, content.seq)
    is_sound = (
        content.header.rows == entry.rows == len(content.time)
        and content.header.revision == entry.revision
        and len(content.offsets) == len(content.keys) + 1
        and are_offsets(content.offsets, entry.rows)
        and int(content.offsets[0]) == 0
        and int(content.offsets[-1]) == entry.rows
        and all(len(clock) == (entry.rows if same is None else 0) for same, clock in clocks)
    )
    if not is_sound:
        raise CorruptionError(f"segment {entry.segment} does not have the rows it should", hint=CURE)


def _converted(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """A column in the type a version knows it in: wider than stored, or, at a past version, narrower.

    What does not fit a narrower type was written after that version, which does not see it.
    """
    try:
        return column.cast(wanted, safe=False)
    except pa.ArrowException as error:
        raise CorruptionError(f"a column of {column.type} in the place of {wanted}", hint=CURE) from error


def read_header(entry: SegmentEntry, extents: Extents) -> SegmentHeader:
    head = extents.get(HEAD)
    start = PAD + entry.header_offset
    if head is None or start + entry.header_size > head.size:
        raise CorruptionError(f"the head of segment {entry.segment} is missing or short", hint=CURE)
    packed = pa.foreign_buffer(head.address, head.size).slice(start, entry.header_size)
    return decode_header(packed.to_pybytes(), entry.header_checksum)


def load_extents(reader: Reader, segment: int) -> dict[int, MappedValue]:
    """Where each extent of a segment lies in the map."""
    return view_extents(reader, segment, list_extents(reader, segment))


def view_extents(reader: Reader, segment: int, extents: Iterable[int]) -> dict[int, MappedValue]:
    """Where some extents of a segment lie in the map."""
    found = {extent: view_extent(reader, segment, extent) for extent in extents}
    return {extent: place for extent, place in found.items() if place is not None}


def list_entries(reader: Reader, table: int, line: int) -> list[SegmentEntry]:
    """All segments of a table on a line, run by run, each run in its order."""
    found = (decode_record(SegmentEntry, packed) for _, packed in reader.scan_prefix(SEGMENTS, _OWNER.pack(table, line)))
    return sorted(found, key=SegmentEntry.order)


def find_entry(reader: Reader, table: int, line: int, segment: int) -> SegmentEntry | None:
    """One segment of a table on a line, if it is there still."""
    packed = reader.get(SEGMENTS, _ENTRY_KEY.pack(table, line, segment))
    return None if packed is None else decode_record(SegmentEntry, packed)


def put_entry(writer: Writer, table: int, line: int, entry: SegmentEntry) -> None:
    writer.put(SEGMENTS, _ENTRY_KEY.pack(table, line, entry.segment), encode_record(entry))


def drop_entry(writer: Writer, table: int, line: int, segment: int) -> None:
    writer.delete(SEGMENTS, _ENTRY_KEY.pack(table, line, segment))
    writer.delete(DELETES, _ENTRY_KEY.pack(table, line, segment))


def list_deletes(reader: Reader, table: int, line: int) -> dict[int, Deletes]:
    """Deleted rows by segment."""
    found = reader.scan_prefix(DELETES, _OWNER.pack(table, line))
    return {_ENTRY_KEY.unpack(key)[2]: _decode_deletes(packed) for key, packed in found}


def put_deletes(writer: Writer, table: int, line: int, segment: int, deletes: Deletes) -> None:
    rows, seqs = deletes
    writer.put(DELETES, _ENTRY_KEY.pack(table, line, segment), rows.astype("<u4").tobytes() + seqs.astype("<i8").tobytes())


def _decode_deletes(packed: bytes) -> Deletes:
    count = len(packed) // 12
    if len(packed) != 12 * count:
        raise CorruptionError("a list of deleted rows is cut short", hint=CURE)
    rows = np.frombuffer(packed, "<u4", count).astype(np.int64)
    if (np.diff(rows) < 0).any():
        raise CorruptionError("a list of deleted rows does not ascend", hint=CURE)
    return rows, np.frombuffer(packed, "<i8", count, 4 * count)
