"""The kernels of the tail agree with their twin: entries laid end to end, records made of them, records read again."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.tail import find_rows, lay_alone, lay_rows, measure_laid, newer_places, read_entries, read_records, tail_items
from mlstore.errors import CorruptionError
from tests.support.naive_tail import HEAD, Told, clock_bytes, entry_of, newer, read_record, record_of, with_clocks

LOW, HIGH = -(2**63), 2**63 - 1
CLOCKS = st.integers(0, 2) | st.sampled_from([LOW, -1, 0, HIGH]) | st.integers(LOW, HIGH)
ROWS = st.builds(
    lambda revision, clocks, rest: HEAD.pack(revision, *clocks) + rest,
    st.integers(0, 2**16 - 1),
    st.tuples(CLOCKS, CLOCKS, CLOCKS),
    st.binary(max_size=6),
)
# As the codec makes them: none is the beginning of another.
KEYS = st.binary(max_size=3).map(lambda text: text.replace(b"\0", b"\0\1") + b"\0\0")
PREFIXES = st.binary(max_size=9)


def ints(values: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


@given(st.lists(st.tuples(KEYS, ROWS), max_size=8))
def test_entries_say_their_clocks_and_keys(pairs: list[tuple[bytes, bytes]]):
    time, created, sizes = (np.empty(len(pairs), np.int64) for _ in range(3))

    joined = read_entries([entry_of(key, row) for key, row in pairs], time, created, sizes)

    assert joined == b"".join(key for key, _ in pairs)
    assert sizes.tolist() == [len(key) for key, _ in pairs]
    assert list(zip(time.tolist(), created.tolist(), strict=True)) == [HEAD.unpack_from(row)[1:3] for _, row in pairs]


@given(st.lists(st.tuples(KEYS, ROWS), max_size=8))
def test_the_rows_of_entries_are_found_where_they_lie(pairs: list[tuple[bytes, bytes]]):
    entries = [entry_of(key, row) for key, row in pairs]
    address, size = np.empty(len(pairs), np.uintp), np.empty(len(pairs), np.int64)

    find_rows(entries, address, size)

    assert [ctypes.string_at(*place) for place in zip(address.tolist(), size.tolist(), strict=True)] == [row for _, row in pairs]


@given(PREFIXES, KEYS, ROWS, st.booleans(), st.booleans(), CLOCKS, CLOCKS, CLOCKS)
def test_a_row_alone_is_the_record_that_a_batch_of_one_makes(
    prefix: bytes, key: bytes, row: bytes, tells_time: bool, tells_created: bool, now: int, seq: int, deleted: int
):
    told = HEAD.unpack_from(row)
    event_time, created = told[1] if tells_time else now, told[2] if tells_created else now

    found = lay_alone(prefix, entry_of(key, row), tells_time, tells_created, now, seq, deleted)

    assert found == (key, event_time, *record_of(prefix, key, with_clocks(row, event_time, created, seq), deleted))


@given(st.data(), st.lists(st.tuples(KEYS, ROWS), min_size=1, max_size=8))
def test_rows_are_laid_in_order_with_the_clocks_they_are_given(data: st.DataObject, pairs: list[tuple[bytes, bytes]]):
    order = data.draw(st.lists(st.integers(0, len(pairs) - 1), max_size=8))
    clocks = [data.draw(st.tuples(CLOCKS, CLOCKS)) for _ in order]
    first_seq = data.draw(st.integers(0, 2**40))
    entries, places = [entry_of(key, row) for key, row in pairs], np.array(order, np.uint32)

    cuts = np.empty(len(order) + 1, np.int64)
    measure_laid(entries, places, cuts)
    laid = np.empty(cuts[-1], np.uint8)
    lay_rows(entries, places, cuts, ints([time for time, _ in clocks]), ints([created for _, created in clocks]), first_seq, laid)

    rows = [laid.tobytes()[start:stop] for start, stop in zip(cuts.tolist(), cuts.tolist()[1:], strict=False)]
    assert rows == [with_clocks(pairs[place][1], *told, first_seq + place) for place, told in zip(order, clocks, strict=True)]


@st.composite
def tables(draw: st.DrawFn) -> dict[bytes, list[bytes]]:
    """Rows by key, oldest first: as they lie in a batch."""
    drawn = draw(st.dictionaries(KEYS, st.lists(ROWS, min_size=1, max_size=4), max_size=5))
    return {key: sorted(drawn[key], key=lambda row: HEAD.unpack_from(row)[1:]) for key in sorted(drawn)}


@given(tables(), PREFIXES, CLOCKS)
def test_records_are_those_of_the_twin_in_the_order_of_their_keys(table: dict[bytes, list[bytes]], prefix: bytes, deleted: int):
    rows = [row for rows in table.values() for row in rows]
    offsets = np.cumsum([0, *map(len, table.values())])
    cuts = np.cumsum([0, *map(len, rows)])

    items = tail_items(prefix, list(table), offsets, cuts, np.frombuffer(b"".join(rows), np.uint8), deleted)

    assert sorted(items) == sorted(record_of(prefix, key, row, deleted) for key, rows in table.items() for row in rows)
    assert [key for key, _ in items] == sorted(key for key, _ in items)


@given(st.dictionaries(st.tuples(KEYS, CLOCKS, CLOCKS, CLOCKS), st.tuples(CLOCKS, ROWS), max_size=8), PREFIXES)
def test_records_are_read_as_the_twin_reads_them(table: dict[tuple[bytes, int, int, int], tuple[int, bytes]], prefix: bytes):
    records = sorted(
        (prefix + key + clock_bytes(*clocks), struct.pack("<q", deleted) + row) for (key, *clocks), (deleted, row) in table.items()
    )
    count = len(records)
    offsets, sizes, clocks, deleted = (np.empty(shape, np.int64) for shape in (count + 1, count, (3, count), count))
    address, size = np.empty(count, np.uintp), np.empty(count, np.int64)
    revision, places = np.empty(count, np.uint16), np.empty(count, np.uint32)

    keys, joined = read_records(records, len(prefix), offsets, sizes, clocks, deleted, address, size, revision, places)

    ends = np.cumsum(sizes[:keys]).tolist()
    named = [joined[end - length : end] for end, length in zip(ends, sizes[:keys].tolist(), strict=True)]
    group = np.repeat(np.arange(keys), np.diff(offsets[: keys + 1])).tolist()
    rows = [ctypes.string_at(int(start), int(length)) for start, length in zip(address, size, strict=True)]
    told = [
        Told(named[key], *times, mark, row) for key, *times, mark, row in zip(group, *clocks.tolist(), deleted.tolist(), rows, strict=True)
    ]
    assert told == sorted((read_record(len(prefix), record) for record in records), key=lambda r: (r.key, r.event_time, r.created, r.seq))
    assert told == [read_record(len(prefix), records[place]) for place in places.tolist()]
    assert revision.tolist() == [HEAD.unpack_from(row)[0] for row in rows]


@given(st.lists(st.tuples(ROWS, st.none() | ROWS), max_size=8))
def test_an_older_row_does_not_win(pairs: list[tuple[bytes, bytes | None]]):
    rows, held = [row for row, _ in pairs], [old for _, old in pairs]

    assert newer_places(rows, held) == newer(rows, held)


def test_of_rows_with_the_same_clocks_the_one_offered_wins():
    row, same, later = HEAD.pack(1, 5, 6, 7), HEAD.pack(2, 5, 6, 7) + b"x", HEAD.pack(1, 5, 6, 8)

    assert newer_places([row, row, later], [same, later, row]) == [0, 2]


@pytest.mark.parametrize("record", [(b"p" + bytes(23), bytes(34)), (b"p" + bytes(24), bytes(33)), (b"", b"")])
def test_a_record_that_is_cut_short_is_corrupt(record: tuple[bytes, bytes]):
    outputs = (np.empty(1, np.int64), np.empty(1, np.uintp), np.empty(1, np.int64), np.empty(1, np.uint16), np.empty(1, np.uint32))

    with pytest.raises(CorruptionError, match="cut short"):
        read_records([record], 1, np.empty(2, np.int64), np.empty(1, np.int64), np.empty((3, 1), np.int64), *outputs)


@pytest.mark.parametrize("row", [b"", bytes(25)])
def test_a_held_row_without_a_head_is_corrupt(row: bytes):
    with pytest.raises(CorruptionError, match="cut off"):
        newer_places([bytes(26)], [row])


@pytest.mark.parametrize("entry", [b"", b"\1", struct.pack("<H", 3) + bytes(28), struct.pack("<H", 0) + bytes(25)])
def test_an_entry_that_is_too_short_is_refused(entry: bytes):
    with pytest.raises(ValueError, match="cut short"):
        read_entries([entry], *(np.empty(1, np.int64) for _ in range(3)))


def test_rows_are_never_laid_beyond_the_room_for_them():
    entries, order = [entry_of(b"k", bytes(30))], np.zeros(1, np.uint32)
    clocks = ints([0]), ints([0])

    with pytest.raises(ValueError, match="cut 0"):
        lay_rows(entries, order, ints([0, 10]), *clocks, 0, np.empty(10, np.uint8))
    with pytest.raises(IndexError):
        lay_rows(entries, np.ones(1, np.uint32), ints([0, 30]), *clocks, 0, np.empty(30, np.uint8))
    with pytest.raises(ValueError, match="outside"):
        tail_items(b"", [b"k"], ints([0, 1]), ints([0, 40]), np.empty(30, np.uint8), 0)
