"""Verify: a whole store passes, and each kind of damage is found and named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.history.extents import EXTENTS
from mlstore.engine.history.offline import STATES
from mlstore.engine.history.online import ONLINE
from mlstore.engine.history.segments import DELETES, SEGMENTS
from mlstore.engine.history.tail import TAIL
from mlstore.engine.ledger import COMMITS, settle
from mlstore.format.manifest import decode_commit, encode_commit
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.transaction import Writer
from tests.support.data import fact_table
from tests.support.model import Fact
from tests.support.worlds import COMMON, PLAIN, SECOND, WORLDS

MARK = 0x5EA_7E1_1E5  # a number that stands nowhere else in the file


@pytest.fixture
def plain(store: ml.Store, small_limits: None) -> ml.Store:
    """Nine rows in segments, three in the tail, one of each deleted."""
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, [Fact((n % 3,), n * SECOND, {"amount": MARK + n, "note": f"n{n}"}) for n in range(9)]))
    store.write("plain", fact_table(PLAIN, [Fact((n % 3,), n * SECOND, {"amount": n}) for n in range(9, 12)]))
    store.delete("plain", keys={"card": 0}, start="1970-01-01T00:00:09Z")
    store.delete("plain", keys={"card": 1}, end="1970-01-01T00:00:02Z")
    return store


def problem(store: ml.Store) -> str:
    with pytest.raises(ml.CorruptionError) as caught:
        store.verify()
    assert "backup" in caught.value.hint
    return caught.value.message


def test_a_whole_store_passes_and_tells_what_was_looked_at(plain: ml.Store) -> None:
    report = plain.verify()

    assert report.problems == ()
    assert report.checks["rows"] == 10
    assert report.checks["tail rows"] == 3
    assert report.checks["online rows"] == 3
    assert report.checks["commits"] == len(plain.history())
    assert report.checks["segments"] == plain.info()["tables"][0]["segments"]
    assert report.checks["buffers"] > 10
    assert "no problems" in str(report)


def test_every_world_passes(store: ml.Store, small_limits: None) -> None:
    for world in WORLDS:
        store.apply(*world.definitions())
        for first in range(0, 12, 4):
            store.write(
                world.name, fact_table(world, [Fact(world.universe[0], n * SECOND, {"amount": n}, created=n) for n in range(first + 4)])
            )

    assert store.verify().checks["online rows"] == len(WORLDS)


@pytest.mark.parametrize("settle", [False, True], ids=["in the tail", "in a segment"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (ml.float64, math.nan),
        (ml.float32, math.nan),
        (ml.vector(2), [1.0, math.nan]),
        (ml.list_(ml.float64), [math.nan, None]),
        (ml.struct({"a": ml.float64}), {"a": math.nan}),
        (ml.float64, -0.0),
        (ml.float32, math.inf),
    ],
    ids=str,
)
def test_odd_floats_are_no_damage(store: ml.Store, dtype: ml.DType, value: Any, settle: bool) -> None:
    store.apply(ml.FeatureView("odd", schema={"value": dtype}))
    store.write("odd", [{"event_timestamp": "2024-01-01", "value": value}])
    if settle:
        store.optimize()

    assert store.verify().problems == ()


def test_a_past_version_passes(plain: ml.Store) -> None:
    for commit in plain.history():
        assert plain.at(commit).verify().problems == ()


def test_an_empty_store_passes(store: ml.Store) -> None:
    assert store.verify().problems == ()


# ---------------------------------------------------------------- damage in the file


def flip_in_file(store: ml.Store, path: Path, pattern: bytes) -> None:
    """Change one bit of the only place that holds these bytes."""
    store.close()
    content = bytearray(path.read_bytes())
    assert content.count(pattern) == 1
    content[content.index(pattern)] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_bit_in_a_segment_is_found_with_its_place(store: ml.Store, store_path: Path) -> None:
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, [Fact((n % 3,), n * SECOND, {"amount": MARK + n}) for n in range(20_000)]))
    amounts = store.read("plain", columns=["amount"]).table()["amount"].combine_chunks()
    pattern = np.asarray(amounts)[10_000:10_008].tobytes()

    flip_in_file(store, store_path, pattern)

    with ml.open(store_path) as damaged:
        message = problem(damaged)
        assert message == "plain: segment 1: buffer 'feature 0' does not match its checksum"


def test_a_flipped_bit_in_a_segments_header_is_found(store: ml.Store, store_path: Path) -> None:
    view = ml.FeatureView("odd", schema={"value": ml.struct({"a_name_like_no_other": ml.int8})})
    store.apply(view)
    store.write("odd", [{"event_timestamp": "2024-01-01", "value": {"a_name_like_no_other": 1}}])
    store.optimize()
    with store._session.environment.reader() as reader:
        head = next(value for _, value in reader.scan(EXTENTS))
    start = head.index(b"struct<a_name_like_no_other")

    flip_in_file(store, store_path, head[start - 20 : start + 30])

    with ml.open(store_path) as damaged:
        assert "header does not match its checksum" in problem(damaged)
        with pytest.raises(ml.CorruptionError, match="header"):
            damaged.read("odd").table()


# ---------------------------------------------------------------- damage through the storage


def first_key(writer: Writer, space: Keyspace) -> bytes:
    found = writer.first(space)
    assert found is not None
    return found[0]


def drop_first(space: Keyspace) -> Callable[[Writer], None]:
    def drop(writer: Writer) -> None:
        writer.delete(space, first_key(writer, space))

    return drop


def flip_first(space: Keyspace, place: int) -> Callable[[Writer], None]:
    def flip(writer: Writer) -> None:
        key = first_key(writer, space)
        value = bytearray(writer.get(space, key) or b"")
        value[place] ^= 1
        writer.put(space, key, bytes(value))

    return flip


def rewrite_history(*, newest: bool) -> Callable[[Writer], None]:
    """Change the message of the first or last commit, and nothing else."""

    def rewrite(writer: Writer) -> None:
        key, packed = (writer.last if newest else writer.first)(COMMITS) or (b"", b"")
        commit = decode_commit(packed)
        writer.put(COMMITS, key, encode_commit(replace(commit, message="nothing happened")))

    return rewrite


def add_an_online_row(writer: Writer) -> None:
    key = first_key(writer, ONLINE)
    writer.put(ONLINE, key[:-1] + bytes([key[-1] ^ 0x55]), writer.get(ONLINE, key) or b"")


DAMAGE = {
    "an online row is missing": (drop_first(ONLINE), "plain: 1 online rows differ"),
    "an online row too many": (add_an_online_row, "plain: 1 online rows differ"),
    "an online row of another time": (flip_first(ONLINE, 4), "plain: 1 online rows differ"),
    "an online row of another value": (flip_first(ONLINE, -1), "plain: 1 online rows differ"),
    "a tail row is missing": (drop_first(TAIL), "plain: the tail has 2 rows, its state says 3"),
    "a segment is missing": (drop_first(SEGMENTS), "plain"),
    "an extent is missing": (drop_first(EXTENTS), "extents, its entry says"),
    "a list of deletes is missing": (drop_first(DELETES), "plain: there are 11 rows, its state says 10"),
    "a list of deletes is cut short": (lambda writer: writer.put(DELETES, first_key(writer, DELETES), b"abc"), "deleted rows is cut short"),
    "a state is garbage": (lambda writer: writer.put(STATES, first_key(writer, STATES), b"\xc1"), "TableState record cannot be read"),
    "an entry is garbage": (lambda writer: writer.put(SEGMENTS, first_key(writer, SEGMENTS), b"\xc1"), "SegmentEntry record"),
    "a commit is missing": (drop_first(COMMITS), "names a parent"),
    "a commit was changed": (rewrite_history(newest=False), "history was rewritten"),
    "the newest commit was changed": (rewrite_history(newest=True), "commit"),
    "a commit is garbage": (lambda writer: writer.put(COMMITS, first_key(writer, COMMITS), b"\xc1"), "commit record cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(plain: ml.Store, name: str) -> None:
    damage, expected = DAMAGE[name]
    with plain._session.environment.writer() as writer:
        settle(writer)
        damage(writer)

    assert expected in problem(plain)


def test_damage_to_one_view_hides_none_of_another(plain: ml.Store) -> None:
    plain.apply(*COMMON.definitions())
    plain.write("common", fact_table(COMMON, [Fact((), SECOND, {"amount": 1}, created=0)]))
    with plain._session.environment.writer() as writer:
        writer.put(STATES, first_key(writer, STATES), b"\xc1")
        for key, _ in list(writer.scan(ONLINE)):
            writer.delete(ONLINE, key)

    message = problem(plain)

    assert "plain: a TableState record cannot be read" in message
    assert "common: 1 online rows differ" in message


def test_a_cold_segment_is_checked_as_a_hot_one(plain: ml.Store) -> None:
    plain.optimize(tier="cold")
    assert plain.verify().problems == ()
    with plain._session.environment.writer() as writer:
        key, value = writer.first(EXTENTS) or (b"", b"")
        changed = bytearray(value)
        changed[48] ^= 1
        writer.put(EXTENTS, key, bytes(changed))

    assert "does not match its checksum" in problem(plain)


def test_what_is_verified_is_arrow_to_the_last_byte(plain: ml.Store) -> None:
    table = plain.read("plain").table()

    table.validate(full=True)
    assert pa.types.is_int64(table["amount"].type)
