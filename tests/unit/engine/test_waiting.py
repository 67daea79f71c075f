"""Events that wait beside the trees of tiles: they are in every answer, their number is bounded, and nothing of them stays behind."""

from __future__ import annotations

import struct

import pytest

import mlstore as ml
from mlstore.engine.windows.marks import MARKS, Mark, live_mark
from mlstore.engine.windows.tilekeeping import plans_over
from mlstore.engine.windows.tiles import TILES
from mlstore.errors import CorruptionError
from tests.unit.engine.test_tiles import EVENTS, NOW, SPEND, USER, are_live, count, events


@pytest.fixture
def store() -> ml.Store:
    store = ml.open(":memory:")
    store.apply(USER, EVENTS, SPEND)
    return store


def mark_of(store: ml.Store) -> Mark:
    with store._session.reading() as context:
        [plan] = plans_over(context.catalog, context.catalog.relation("events").table)
        mark = live_mark(context, plan)
    assert mark is not None
    return mark


def in_file(store: ml.Store) -> tuple[int, int]:
    """Nodes of trees, and pieces of what waits."""
    with store._session.reading() as context:
        return context.reader.count(TILES), context.reader.count(MARKS) - 1


def test_events_of_small_writes_wait_and_are_in_every_answer(store: ml.Store) -> None:
    store.write("events", events(users=3))
    store.write("events", events(users=2))

    assert in_file(store) == (0, 2)
    assert [count(store, user) for user in range(4)] == [2, 2, 1, 0]
    many = store.online_features(["spend:amount_count_lifetime"], {"user_id": [2, 0, 7]}, now=NOW)
    assert many["amount_count_lifetime"].to_pylist() == [1, 2, 0]
    assert store.verify().problems == ()
    assert store.verify_skew(["spend"], sample={"user_id": [0, 1, 2, 3]}, now=NOW)


@pytest.mark.parametrize(("limit", "most"), [("TILE_WAITING", 4), ("TILE_WAITING_EVENTS", 15), ("TILE_WAITING_OF_KEY", 4)])
def test_when_enough_waits_it_is_put_into_the_trees(store: ml.Store, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(f"mlstore.engine.limits.{limit}", most)
    waited = []

    for _ in range(11):
        store.write("events", events(users=3))
        waited.append(len(mark_of(store).waiting.digests))
        assert count(store) == len(waited)

    assert waited == [1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert in_file(store) == (3, 1)
    assert store.verify().problems == ()


def test_a_backfill_puts_in_what_waits(store: ml.Store) -> None:
    store.write("events", events(users=3))

    store.backfill("spend")

    assert in_file(store) == (3, 0)
    assert are_live(store)
    assert count(store) == 1


def test_the_same_write_twice_waits_twice(store: ml.Store) -> None:
    at = {"user_id": [1], "event_timestamp": [NOW], "created": [NOW], "amount": [2.0]}
    store.apply(
        ml.FeatureView("pays", entity=USER, schema={"amount": ml.float64}, created_timestamp="created"),
        ml.WindowView("paid", entity=USER, source="pays", aggregations=[ml.agg("amount", "sum", windows="lifetime")]),
    )

    store.write("pays", at)
    store.write("pays", at)

    assert store.online_features(["paid"], {"user_id": 1}, now=NOW)["amount_sum_lifetime"] == 4.0


def test_of_a_forgotten_key_nothing_waits(store: ml.Store) -> None:
    store.write("events", {"user_id": [1, 2], "event_timestamp": [NOW, NOW], "amount": [1234.5, 6.25]})

    store.forget(USER, keys={"user_id": [1]})

    with store._session.reading() as context:
        kept = b"".join(packed for space in (TILES, MARKS) for _, packed in context.reader.scan(space))
    assert struct.pack("<d", 1234.5) not in kept
    assert struct.pack("<d", 6.25) in kept
    assert [count(store, user) for user in (1, 2)] == [0, 1]


def test_what_is_undone_does_not_wait(store: ml.Store) -> None:
    inside = []

    def write_and_fail() -> None:
        with store.transaction() as tx:
            tx.write("events", events(users=5))
            inside.append(count(tx))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    store.write("events", events(users=1))

    assert inside == [1]
    assert [count(store, user) for user in (0, 1)] == [1, 0]


def test_a_changed_entry_is_told_of_and_made_anew(store: ml.Store) -> None:
    store.write("events", events(users=2))
    with store._session.writing() as context:
        key, packed = list(context.reader.scan(MARKS))[-1]
        context.writer.put(MARKS, key, packed[:-1] + bytes([packed[-1] ^ 1]))

    for read in (lambda: count(store), store.verify):
        with pytest.raises(CorruptionError, match=r"wait for the tiles of spend|1 tiles are not what the events make"):
            read()
    store.backfill("spend")
    assert count(store) == 1
    assert store.verify().problems == ()
