"""Verify looks at what only repeats, counts or orders: each kind of record that no longer fits the others is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

import mlstore as ml
from mlstore.engine.entries import CATALOG
from mlstore.engine.history.extents import EXTENTS
from mlstore.engine.history.online import KEPT
from mlstore.engine.history.segments import SEGMENTS
from mlstore.engine.history.tail import TAIL
from mlstore.engine.ledger import COMMIT_IDS, FEED
from mlstore.engine.versions import COUNTERS, FORKS, LINES, MERGES, REFS
from mlstore.format.manifest import Ref, SegmentEntry, decode_record, encode_fields, encode_record
from mlstore.format.segment import PAD, BufferRef, decode_header, encode_header
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.transaction import Writer
from tests.support import golden
from tests.support.crash_limits import LIMITS


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, size in LIMITS.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    golden.create(tmp_path / "golden.mls")
    with ml.open(tmp_path / "golden.mls") as opened:
        yield opened


def problem(store: ml.Store, change: Callable[[Writer], None]) -> str:
    with store._session.environment.writer() as writer:
        change(writer)
    with ml.open(store.path) as again, pytest.raises(ml.CorruptionError) as caught:
        again.verify()
    return caught.value.message


def drop_first(space: Keyspace) -> Callable[[Writer], None]:
    def change(writer: Writer) -> None:
        found = writer.first(space)
        assert found is not None
        writer.delete(space, found[0])

    return change


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (COMMIT_IDS, "index of commit ids"),
        (FEED, "the change feed is not that of the commits"),
        (FORKS, "index of forks"),
        (MERGES, "index of merges"),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_an_index_that_lost_an_entry_is_named(store: ml.Store, space: Keyspace, told: str) -> None:
    assert told in problem(store, drop_first(space))


def test_a_counter_below_what_was_given_is_named(store: ml.Store) -> None:
    assert "counter 'segment' is below" in problem(store, lambda writer: writer.put(COUNTERS, b"segment", bytes(8)) and None)


def test_a_line_that_sees_itself_is_named(store: ml.Store) -> None:
    line = (2).to_bytes(4, "big")

    told = problem(store, lambda writer: writer.put(LINES, line, encode_fields([[2, 5]])) and None)

    assert "line 2 sees lines that are not there, or itself" in told


def test_a_snapshot_at_another_place_than_its_commit_is_named(store: ml.Store) -> None:
    def change(writer: Writer) -> None:
        packed = writer.get(REFS, b"early")
        assert packed is not None
        writer.put(REFS, b"early", encode_record(replace(decode_record(Ref, packed), seq=1)))

    assert "snapshot 'early' names another place than its commit's" in problem(store, change)


def test_a_definition_that_was_not_applied_so_is_named(store: ml.Store) -> None:
    def change(writer: Writer) -> None:
        key, packed = next(iter(writer.scan_prefix(CATALOG, b"view\0sales\0")))
        writer.put(CATALOG, key, packed.replace(b"gold", b"cold"))

    assert "the catalogue does not say of view sales what was applied" in problem(store, change)


def test_a_row_of_the_tail_that_its_commit_did_not_write_is_named(store: ml.Store) -> None:
    def change(writer: Writer) -> None:
        key, value = next((key, value) for key, value in writer.scan(TAIL) if b"sold by 1 at 21" in value)
        writer.put(TAIL, key, value.replace(b"sold by 1 at 21", b"sold by 1 at 91"))

    assert "rows in the tail are not those that commit" in problem(store, change)


def test_a_row_of_the_tail_under_other_times_is_named(store: ml.Store) -> None:
    def change(writer: Writer) -> None:
        key, value = next(iter(writer.scan(TAIL)))
        writer.delete(TAIL, key)
        writer.put(TAIL, key[:-1] + bytes([key[-1] ^ 1]), value)

    assert "a row in the tail is not under its own times" in problem(store, change)


def test_a_kept_row_that_cannot_be_read_is_named(store: ml.Store) -> None:
    def change(writer: Writer) -> None:
        key, value = next((key, value) for key, value in writer.scan(KEPT) if value)
        writer.put(KEPT, key, value[:-1])

    assert "stored row" in problem(store, change)


def forge_segment(label: int, change: Callable[[bytearray, Any], tuple[Any, dict[str, Any]]]) -> Callable[[Writer], None]:
    """Change a segment of a table, with checksums that fit."""

    def forge(writer: Writer) -> None:
        key, packed = next((key, packed) for key, packed in writer.scan(SEGMENTS) if int.from_bytes(key[:4], "big") == label)
        entry = decode_record(SegmentEntry, packed)
        head_key = entry.segment.to_bytes(8, "big") + bytes(2)
        head = bytearray(writer.get(EXTENTS, head_key) or b"")
        start = PAD + entry.header_offset
        header, told = change(head, decode_header(bytes(head[start : start + entry.header_size]), entry.header_checksum))
        forged = encode_header(header)
        head[start : start + len(forged)] = forged
        writer.put(EXTENTS, head_key, bytes(head))
        checksum = xxhash.xxh3_64_intdigest(forged)
        writer.put(SEGMENTS, key, encode_record(replace(entry, header_size=len(forged), header_checksum=checksum, **told)))

    return forge


def with_bytes(head: bytearray, ref: BufferRef, data: bytes) -> BufferRef:
    head[PAD + ref.offset : PAD + ref.offset + ref.size] = data
    return ref._replace(checksum=xxhash.xxh3_64_intdigest(data))


def buffer_of(head: bytearray, ref: BufferRef) -> bytes:
    return bytes(head[PAD + ref.offset : PAD + ref.offset + ref.size])


def table_of(store: ml.Store, name: str) -> int:
    return next(entry.table for entry in store.catalog() if entry.name == name)


def test_rows_out_of_order_are_named(store: ml.Store) -> None:
    def change(head: bytearray, header: Any) -> tuple[Any, dict[str, Any]]:
        times = np.frombuffer(buffer_of(head, header.time), np.int64)[::-1]
        return replace(header, time=with_bytes(head, header.time, times.tobytes())), {}

    assert "its rows are not in the order of their times" in problem(store, forge_segment(table_of(store, "delays"), change))


def test_text_that_is_not_utf8_is_named(store: ml.Store) -> None:
    def change(head: bytearray, header: Any) -> tuple[Any, dict[str, Any]]:
        columns = list(header.columns)
        place = next(place for place, column in enumerate(columns) if column.spec.startswith("struct"))
        refs = list(columns[place].buffers)
        which = next(number for number, ref in enumerate(refs) if ref is not None and b"captain" in buffer_of(head, ref))
        refs[which] = with_bytes(head, refs[which], buffer_of(head, refs[which]).replace(b"captain", b"\xff\xfeptain"))
        columns[place] = columns[place]._replace(buffers=tuple(refs))
        return replace(header, columns=tuple(columns)), {}

    assert "Invalid UTF8" in problem(store, forge_segment(table_of(store, "delays"), change))


def test_bounds_that_an_entry_only_claims_are_named(store: ml.Store) -> None:
    told = problem(store, forge_segment(table_of(store, "delays"), lambda head, header: (header, {"max_time": 2**62})))

    assert "its entry says other times than it has" in told


def test_a_zone_map_that_is_not_the_columns_is_named(store: ml.Store) -> None:
    def change(head: bytearray, header: Any) -> tuple[Any, dict[str, Any]]:
        first = header.columns[0]
        return replace(header, columns=(first._replace(low=first.low + 1.0), *header.columns[1:])), {}

    assert "least and greatest values" in problem(store, forge_segment(table_of(store, "delays"), change))
