"""Manifest records: there and back, ids that depend on everything a commit says, and garbage refused."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import CorruptionError
from mlstore.format.manifest import (
    Commit,
    Ref,
    SegmentEntry,
    TableChange,
    TableState,
    decode_commit,
    decode_fields,
    decode_record,
    encode_commit,
    encode_fields,
    encode_record,
    seal_commit,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)

ENTRY = SegmentEntry(
    segment=9,
    run=4,
    level=1,
    revision=2,
    tier="hot",
    rows=100,
    start_row=30,
    min_key=b"\0a",
    max_key=b"\xffz",
    min_time=-5,
    max_time=7,
    min_created=0,
    max_created=1,
    min_seq=2,
    max_seq=3,
    created=None,
    seq=3,
    extents=2,
    size_bytes=9000,
    header_offset=64,
    header_size=70,
    header_checksum=2**64 - 1,
    place=3,
)
STATE = TableState(tick=4, rows=9, deleted_rows=1, min_time=-3, max_time=None, merges=((0, 12, (3, 4, 7)), (1, 13, (5, 6))))
REF = Ref("tag", 1, 2**40, "ab" * 16, -7, "before the backfill ✈")
CHANGE = TableChange("append", "weather", 3, 100, 5, 104, b"\1" * 16)
SAYS: dict[str, Any] = {
    "seq": 105,
    "line": 1,
    "parents": ("cd" * 16,),
    "author": "ops",
    "message": "nightly",
    "time_us": 1_700_000_000_000_001,
    "changes": (CHANGE,),
}


@pytest.mark.parametrize("record", [ENTRY, STATE, REF, TableState()], ids=lambda record: type(record).__name__)
def test_a_record_comes_back(record: SegmentEntry | TableState | Ref) -> None:
    assert decode_record(type(record), encode_record(record)) == record


@given(INT64, INT64, st.binary(max_size=440), UINT64, st.none() | INT64)
def test_every_value_of_an_entry_comes_back(time: int, seq: int, key: bytes, checksum: int, created: int | None) -> None:
    entry = replace(ENTRY, min_time=time, max_seq=seq, max_key=key, header_checksum=checksum, created=created)

    assert decode_record(SegmentEntry, encode_record(entry)) == entry


@given(
    st.builds(
        TableState,
        merges=st.lists(
            st.tuples(st.integers(0, 9), st.integers(1, 99), st.lists(st.integers(1, 99), max_size=3).map(tuple)), max_size=3
        ).map(tuple),
    )
)
def test_every_state_comes_back(state: TableState) -> None:
    assert decode_record(TableState, encode_record(state)) == state


def test_a_changed_state_has_another_tick() -> None:
    assert STATE.changed(rows=3) == replace(STATE, rows=3, tick=STATE.tick + 1)


@pytest.mark.parametrize("kind", [SegmentEntry, TableState, Ref])
@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x95\1\2", msgpack.packb(7), msgpack.packb([1] * 40), msgpack.packb(None)])
def test_a_record_that_is_none_is_refused_by_name(kind: type[Any], packed: bytes) -> None:
    with pytest.raises(CorruptionError, match=f"{kind.__name__} record cannot be read") as caught:
        decode_record(kind, packed)

    assert "backup" in caught.value.hint


def test_a_record_with_bytes_left_over_is_refused() -> None:
    with pytest.raises(CorruptionError):
        decode_record(Ref, encode_record(REF) + b"\0")


def test_entries_stand_by_run_and_then_in_the_order_of_their_run_whatever_they_hold() -> None:
    # The first of run 4 holds a@1 a@5, the second a@5 b@0: what they hold says nothing of their order.
    first = replace(ENTRY, run=4, place=0, segment=9, min_key=b"a", min_time=1)
    second = replace(ENTRY, run=4, place=0, segment=10, min_key=b"a", min_time=0)
    last = replace(ENTRY, run=4, place=1, segment=2, min_key=b"", min_time=0)
    other = replace(ENTRY, run=3, place=7, segment=11)

    assert sorted([last, second, first, other], key=SegmentEntry.order) == [other, first, second, last]


def test_live_rows_are_those_that_have_not_moved_on() -> None:
    assert ENTRY.live_rows == 70


# ---------------------------------------------------------------- commits


def test_a_commit_comes_back_with_its_id() -> None:
    commit, _ = seal_commit(**SAYS)

    assert decode_commit(encode_commit(commit)) == commit
    assert len(bytes.fromhex(commit.id)) == 16


def test_a_commit_without_parents_and_changes_comes_back() -> None:
    commit, _ = seal_commit(**(SAYS | {"parents": (), "changes": ()}))

    assert decode_commit(encode_commit(commit)) == commit


def test_the_same_commit_has_the_same_id() -> None:
    assert seal_commit(**SAYS)[0].id == seal_commit(**SAYS)[0].id


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 106},
        {"line": 2},
        {"parents": ()},
        {"parents": ("ce" * 16,)},
        {"author": "Ops"},
        {"message": "nightly "},
        {"time_us": 1_700_000_000_000_002},
        {"changes": ()},
        {"changes": (CHANGE, CHANGE)},
        {"author": "opsn", "message": "ightly"},
    ],
    ids=str,
)
def test_whatever_a_commit_says_is_in_its_id(change: dict[str, Any]) -> None:
    assert seal_commit(**(SAYS | change))[0].id != seal_commit(**SAYS)[0].id


@pytest.mark.parametrize("field", [field.name for field in fields(TableChange)])
def test_whatever_a_commit_changed_is_in_its_id(field: str) -> None:
    other = {"op": "delete", "table": "weather@2", "digest": b"\2" * 16}.get(field, -1)

    changed = replace(CHANGE, **{field: other})

    assert seal_commit(**(SAYS | {"changes": (changed,)}))[0].id != seal_commit(**SAYS)[0].id


def test_a_commit_tells_its_time_in_utc() -> None:
    assert seal_commit(**(SAYS | {"time_us": -1}))[0].time == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@given(st.data())
def test_a_changed_commit_is_another_commit_or_none(data: st.DataObject) -> None:
    commit, _ = seal_commit(**SAYS)
    packed = bytearray(encode_commit(commit))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))

    try:
        found: Commit | None = decode_commit(bytes(packed))
    except CorruptionError:
        found = None

    assert found is None or found.id != commit.id


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x97", msgpack.packb([1, 2]), msgpack.packb([1, 1, [], "", "", 0, [[1]]])])
def test_a_commit_that_is_none_is_refused(packed: bytes) -> None:
    with pytest.raises(CorruptionError, match="commit record cannot be read"):
        decode_commit(packed)


def test_small_records_come_back_and_garbage_is_refused() -> None:
    assert decode_fields(encode_fields([1, "a", b"\0", None, [2]])) == [1, "a", b"\0", None, [2]]
    with pytest.raises(CorruptionError, match="record cannot be read"):
        decode_fields(b"\xc1")


def test_a_commit_shows_who_did_what_and_when() -> None:
    commit = Commit("ab" * 16, **SAYS)

    assert repr(commit) == f"<Commit {'ab' * 16} by ops at 2023-11-14T22:13:20Z: nightly: append weather, 100 rows>"
    assert repr(replace(commit, id="", message="", changes=())) == "<Commit (to be made) by ops at 2023-11-14T22:13:20Z: no changes>"
