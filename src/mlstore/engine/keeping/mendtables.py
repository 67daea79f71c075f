"""Mending tables: segments, tails, deletions and online rows of one line, made to fit together after some of them were lost.

A segment keeps the columns that are whole; online rows are taken from the history anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mlstore.engine.catalog import Relation, load_catalog
from mlstore.engine.history import online
from mlstore.engine.history.extents import drop_extents, put_extent, stored_segments
from mlstore.engine.history.offline import BEHIND_STATES, STATES, History, Shelves, load_state, put_state, stored_states
from mlstore.engine.history.segments import (
    DELETES,
    SEGMENTS,
    drop_entry,
    list_deletes,
    load_extents,
    put_entry,
    read_header,
)
from mlstore.engine.history.shadows import SHADOWS, load_shadows
from mlstore.engine.history.staging import STAGED
from mlstore.engine.history.tail import CLOCKS_BYTES, DELETED, PREFIX, TAIL, decode_clocks, load_tail, tail_prefix
from mlstore.engine.keeping.proving import find_segment_faults, is_same_row
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import (
    Scope,
    all_scopes,
)
from mlstore.engine.windows.marks import MARKS
from mlstore.engine.windows.tiles import TILES
from mlstore.engine.writing.upkeep import TRASH
from mlstore.errors import CorruptionError
from mlstore.format.keys import Keys, decode_keys
from mlstore.format.manifest import (
    SegmentEntry,
    TableState,
    decode_record,
)
from mlstore.format.packed import FixedFields
from mlstore.format.rows import peek, revision_of
from mlstore.format.segment import PAD, BufferRef, SegmentHeader, encode_header, header_checksum, is_intact
from mlstore.storage.keyspace import Keyspace, prefix_end
from mlstore.storage.mapped_value import MappedValue
from mlstore.storage.transaction import Reader, Writer

_NUMBER = FixedFields(">Q")
_OWNER = FixedFields(">II")
_ENTRY_KEY = FixedFields(">IIQ")
_OF_TABLES = (SEGMENTS, TAIL, online.ONLINE, online.KEPT, SHADOWS, DELETES)


def on_line(context: WriteContext, scope: Scope) -> WriteContext:
    """The same transaction, at the end of a line."""
    return WriteContext(context.reader, load_catalog(context.reader, scope), scope, Shelves(), context.writer, context.now_us)


def mend_tables(context: WriteContext) -> Iterator[str]:
    """Segments, tails and what was deleted of them, on the line of the context; and the counts."""
    for relation in context.catalog.stores():
        yield from _mend_segments(context, relation)
        yield from _mend_deletes(context.writer, relation, context.scope.line)
        yield from _mend_rows(context.writer, relation, context.scope.line)
        _count_again(context, relation)


def _mend_segments(context: WriteContext, relation: Relation) -> Iterator[str]:
    writer, line = context.writer, context.scope.line
    for key, packed in list(writer.scan_prefix(SEGMENTS, _OWNER.pack(relation.table, line))):
        place = f"a segment of {relation.label}"
        try:
            entry = decode_record(SegmentEntry, packed)
            if _ENTRY_KEY.unpack(key)[2] != entry.segment:
                raise CorruptionError("its entry is that of another")
            yield from _mend_segment(writer, relation, line, entry)
        except CorruptionError as error:
            writer.delete(SEGMENTS, key)
            yield f"{place}: {error.message}"


def _mend_segment(writer: Writer, relation: Relation, line: int, entry: SegmentEntry) -> Iterator[str]:
    """Keep it, or keep it without the columns that are damaged: those read as nulls."""
    extents = load_extents(writer, entry.segment)
    header = read_header(entry, extents)
    fetch = _fetcher(extents)
    order = [*header.keys, header.offsets, header.time, header.created, header.seq]
    if not all(_is_whole(ref, extents, fetch) for ref in order if ref is not None):
        drop_entry(writer, relation.table, line, entry.segment)
        yield f"{entry.live_rows} rows of {relation.label}: the keys or times of segment {entry.segment} are damaged"
        return
    whole = tuple(column for column in header.columns if all(ref is None or _is_whole(ref, extents, fetch) for ref in column.buffers))
    if len(whole) < len(header.columns):
        lost = [_feature_name(relation, column.number) for column in header.columns if column not in whole]
        entry = _without_columns(writer, relation, line, entry, extents, replace(header, columns=whole))
        yield f"{', '.join(lost)} of {entry.live_rows} rows of {relation.label}, in segment {entry.segment}"
        return
    faults = list(find_segment_faults(relation, entry, extents))
    if len(extents) != entry.extents or faults:
        drop_entry(writer, relation.table, line, entry.segment)
        yield f"{entry.live_rows} rows of {relation.label}: segment {entry.segment}: {'; '.join(faults) or 'parts of it are missing'}"


def _without_columns(
    writer: Writer, relation: Relation, line: int, entry: SegmentEntry, extents: dict[int, MappedValue], header: SegmentHeader
) -> SegmentEntry:
    packed = encode_header(header)
    head = np.frombuffer(pa.foreign_buffer(extents[0].address, extents[0].size, base=extents[0]), np.uint8).copy()
    start = PAD + entry.header_offset
    head[start : start + len(packed)] = np.frombuffer(packed, np.uint8)
    put_extent(writer, entry.segment, 0, head)
    mended = replace(entry, header_size=len(packed), header_checksum=header_checksum(packed), extents=len(extents))
    put_entry(writer, relation.table, line, mended)
    return mended


def _fetcher(extents: dict[int, MappedValue]) -> Callable[[int], pa.Buffer]:
    return lambda extent: pa.foreign_buffer(extents[extent].address, extents[extent].size, base=extents[extent])


def _is_whole(ref: BufferRef, extents: dict[int, MappedValue], fetch: Callable[[int], pa.Buffer]) -> bool:
    return ref.extent in extents and is_intact(ref, fetch)


def _feature_name(relation: Relation, number: int) -> str:
    features = relation.layout.features
    return features[number].name if number < len(features) else f"feature {number}"


def _mend_deletes(writer: Writer, relation: Relation, line: int) -> Iterator[str]:
    for key, packed in list(writer.scan_prefix(DELETES, _OWNER.pack(relation.table, line))):
        entry = writer.get(SEGMENTS, key)
        rows = decode_record(SegmentEntry, entry).rows if entry is not None else 0
        try:
            held = list_deletes_of(writer, relation.table, line, key)
            is_sound = held.size == 0 or int(held.max()) < rows
        except CorruptionError:
            is_sound = False
        if not is_sound:
            writer.delete(DELETES, key)
            if rows:
                yield f"which rows of a segment of {relation.label} were deleted: they are back ({len(packed) // 12} or so)"


def list_deletes_of(reader: Reader, table: int, line: int, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows deleted from one segment."""
    return list_deletes(reader, table, line)[_ENTRY_KEY.unpack(key)[2]][0]


def _mend_rows(writer: Writer, relation: Relation, line: int) -> Iterator[str]:
    """Rows of the tail, of the online values, and of those kept for forks, one by one."""
    prefix = tail_prefix(relation.table, line)
    readers: dict[Keyspace, Callable[[bytes, bytes], object]] = {
        TAIL: lambda key, value: _read_tail_row(relation, key, value),
        online.ONLINE: lambda key, value: _read_online_row(relation, key[PREFIX.size :], value),
        online.KEPT: lambda key, value: _read_online_row(relation, key[PREFIX.size : -_NUMBER.size], value),
        SHADOWS: lambda key, value: _read_shadow(relation, key, value),
    }
    for space, read in readers.items():
        bad = []
        for key, value in writer.scan_prefix(space, prefix):
            try:
                read(key, value)
            except (CorruptionError, IndexError):
                bad.append(key)
        writer.delete_many(space, bad)
        if bad and space in (TAIL, SHADOWS):
            yield f"{len(bad)} {'rows' if space is TAIL else 'deletions'} of {relation.label}"


def _read_tail_row(relation: Relation, key: bytes, value: bytes) -> None:
    row = value[DELETED.size :]
    clocks = [int(clock[0]) for clock in decode_clocks(_exactly(key[-CLOCKS_BYTES:], CLOCKS_BYTES))]
    if list(peek(row)[1:]) != clocks:
        raise CorruptionError("a row under other times than its own")
    _read_online_row(relation, key[PREFIX.size : -CLOCKS_BYTES], row)


def _read_online_row(relation: Relation, key: bytes, row: bytes) -> None:
    decode_keys(relation.key_spec, Keys.from_encoded([key], relation.key_spec.kind))
    if row and relation.knows(revision_of(row)):
        relation.rows.decode_one(row)
    elif row:
        peek(row)


def _read_shadow(relation: Relation, key: bytes, value: bytes) -> None:
    _exactly(value, DELETED.size)
    _exactly(key[-CLOCKS_BYTES:], CLOCKS_BYTES)
    decode_keys(relation.key_spec, Keys.from_encoded([key[PREFIX.size : -CLOCKS_BYTES]], relation.key_spec.kind))


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise CorruptionError("a record is cut short")
    return data


def _count_again(context: WriteContext, relation: Relation) -> None:
    """The counters of the table, by what is there."""
    writer, table, line, scope = context.writer, relation.table, context.scope.line, context.scope
    try:
        old = load_state(writer, table, line)
    except CorruptionError:
        old = TableState()
    tail = load_tail(writer, relation, line)
    shadows = load_shadows(writer, table, line, relation.key_spec.kind)
    entries = [decode_record(SegmentEntry, packed) for _, packed in writer.scan_prefix(SEGMENTS, _OWNER.pack(table, line))]
    hidden = sum(len(rows) for rows, _ in list_deletes(writer, table, line).values())
    hidden += (0 if tail is None or tail.deletes is None else len(tail.deletes[0])) + (0 if shadows is None else len(shadows.codes))
    if not (entries or tail or hidden or old.tick):
        return
    times = [bound for entry in entries for bound in (entry.min_time, entry.max_time)]
    times += [] if tail is None else [int(tail.time.min()), int(tail.time.max())]
    state = old.changed(
        deleted_rows=hidden,
        tail_rows=0 if tail is None else len(tail.packed),
        tail_bytes=0 if tail is None else sum(map(len, tail.packed)),
        segments=len(entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        min_time=min(times, default=None),
        max_time=max(times, default=None),
        merges=(),
    )
    put_state(writer, table, line, state)
    seen = _visible(writer, relation, scope)
    inherited = _visible(writer, relation, Scope(*scope.ancestry[0], scope.ancestry[1:])) if scope.ancestry else 0
    put_state(writer, table, line, state.changed(rows=seen - inherited))


def _visible(reader: Reader, relation: Relation, scope: Scope) -> int:
    blocks = History(reader, relation, scope, Shelves()).blocks()
    return sum(block.content.rows if block.visible is None else int(np.count_nonzero(block.visible)) for block in blocks)


def drop_strangers(context: WriteContext) -> Iterator[str]:
    """Rows of tables that no definition names, and segments that no manifest names."""
    writer = context.writer
    known = {(relation.table, scope.line) for scope in all_scopes(writer) for relation in load_catalog(writer, scope).stores()}
    strangers = {key[: PREFIX.size] for space in _OF_TABLES for key, _ in writer.scan(space, keys_only=True)}
    strangers.update(stored_states(writer))
    for owner in sorted(strangers):
        if len(owner) != PREFIX.size or PREFIX.unpack(owner) not in known:
            # What is not meant as the place of a state may be a counter's name.
            for space in (*_OF_TABLES, STATES) if owner < BEHIND_STATES else _OF_TABLES:
                writer.delete_range(space, owner, prefix_end(owner))
            yield f"what was kept for table and line {owner.hex()}, of which there is no definition"
    for space in (STAGED, TRASH, TILES, MARKS):  # tiles are made anew by a backfill
        writer.delete_range(space)
    listed = {_ENTRY_KEY.unpack(key)[2] for key, _ in writer.scan(SEGMENTS)}
    stored = stored_segments(writer)
    for segment in sorted(stored - listed):
        drop_extents(writer, segment)


def mend_answers(context: WriteContext) -> Iterator[str]:
    """The online rows of a line, wherever they are not what its history answers."""
    for relation in context.catalog.stores():
        if not relation.layout.is_online:
            continue
        history = context.history(relation)
        prefix = online.online_prefix(relation, context.scope.line)
        own = {record[len(prefix) :] for record, _ in context.reader.scan_prefix(online.ONLINE, prefix)}
        keys = sorted(own.union(*(block.keys.encoded() for block in history.blocks())))
        vector = Keys.from_encoded(keys, relation.key_spec.kind)
        found, rows = online.latest_rows(history, vector)
        held = online.get_rows(context.reader, relation, context.scope, keys)
        wrong = [
            place
            for place, (row, there, kept) in enumerate(zip(rows, found, held, strict=True))
            if there != (kept is not None) or (kept is not None and not is_same_row(relation, row, kept))
        ]
        if wrong:
            online.refresh(context.writer, history, vector.take(np.array(wrong)))
            yield f"{len(wrong)} online rows of {relation.label}, taken from the history anew"
