"""Tiles in the file: which writes they follow, which leave them behind, and how they are filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import mlstore as ml
from mlstore.engine.windows.marks import live_mark
from mlstore.engine.windows.tilekeeping import plans_over
from mlstore.engine.windows.tiles import TILES, tile_plan

NOW = datetime(2024, 5, 10, tzinfo=UTC)
USER = ml.Entity("user", keys={"user_id": ml.int64})
EVENTS = ml.FeatureView("events", entity=USER, schema={"amount": ml.float64})
SPEND = ml.WindowView("spend", entity=USER, source=EVENTS, aggregations=[ml.agg("amount", ["count", "sum"], windows=["1d", "lifetime"])])


@pytest.fixture
def store() -> ml.Store:
    store = ml.open(":memory:")
    store.apply(USER, EVENTS, SPEND)
    store.write("events", events(users=5))
    store.backfill("spend")
    return store


def events(*, users: int, ago: timedelta = timedelta(hours=1)) -> dict[str, list[object]]:
    return {"user_id": list(range(users)), "event_timestamp": [NOW - ago] * users, "amount": [1.0] * users}


def count(store: ml.Store, user: int = 1) -> int:
    answer: int = store.online_features(["spend:amount_count_lifetime"], {"user_id": user}, now=NOW)["amount_count_lifetime"]
    return answer


def are_live(store: ml.Store) -> bool:
    with store._session.reading() as context:
        [plan] = plans_over(context.catalog, context.catalog.relation("events").table)
        mark = live_mark(context, plan)
    return mark is not None and mark.until is None


def test_tiles_stay_live_through_writes_deletes_and_upkeep(store: ml.Store) -> None:
    store.write("events", events(users=5, ago=timedelta(days=3)))
    store.write("events", events(users=2), mode="upsert")
    store.delete("events", keys={"user_id": [4]})
    store.optimize(table="events")
    store.forget(USER, keys={"user_id": [3]})

    assert are_live(store)
    assert [count(store, user) for user in range(5)] == [2, 2, 2, 0, 0]
    assert store.verify().problems == ()


def test_tiles_follow_what_outlives_its_retention() -> None:
    store = ml.open(":memory:")
    store.apply(USER, ml.FeatureView("events", entity=USER, schema={"amount": ml.float64}, retention="30d"), SPEND)
    store.write("events", events(users=3))  # years ago
    store.backfill("spend")
    before = count(store)

    store.optimize(table="events")

    assert (before, count(store), are_live(store)) == (1, 0, True)
    assert store.verify().problems == ()


def test_a_change_of_too_many_keys_leaves_tiles_behind_until_they_are_filled_in(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.engine.limits.TILE_TOUCHED", 1)

    store.delete("events", keys={"user_id": [0, 2, 3]})

    assert not are_live(store)
    assert count(store) == 1
    monkeypatch.undo()
    assert store.backfill("spend") == 5
    assert are_live(store)
    assert count(store) == 1


def test_a_transaction_that_is_undone_leaves_tiles_as_they_were(store: ml.Store) -> None:
    inside = []

    def write_and_fail() -> None:
        with store.transaction() as tx:
            tx.write("events", events(users=5))
            inside.append(count(tx))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()

    assert (inside, count(store), are_live(store)) == ([2], 1, True)
    assert store.verify().problems == ()


def test_an_interrupted_backfill_goes_on_and_is_not_read_before_its_end(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.engine.limits.STAGE_BYTES", 1)
    monkeypatch.setattr("mlstore.engine.writing.catching.STEP_KEYS", 2)
    wider = ml.WindowView("wider", entity=USER, source=EVENTS, aggregations=[ml.agg("amount", "sum", windows=["2d"])])
    store.apply(wider)
    seen: list[int] = []

    def stop(done: int, total: int | None) -> None:
        seen.append(done)
        if seen.count(2) == 1 and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backfill("wider", progress=stop)
    store.write("events", events(users=5))
    answer = store.online_features(["wider"], {"user_id": 4}, now=NOW)
    left = store.backfill(wider, progress=stop)

    assert answer["amount_sum_2d"] == 2.0
    assert (left, seen[:2]) == (3, [0, 2])
    assert store.verify().problems == ()


def test_a_dense_stretch_is_split_and_reads_few_nodes(store: ml.Store) -> None:
    times = [NOW - timedelta(seconds=30 * step) for step in range(5000)]
    store.write("events", {"user_id": [1] * 5000, "event_timestamp": times, "amount": [0.5] * 5000})

    with store._session.reading() as context:
        nodes = context.reader.count(TILES)
    assert nodes >= 20
    assert count(store) == 5001
    assert store.verify().problems == ()
    assert store.verify_skew(["spend"], sample={"user_id": [1, 2]}, now=NOW - timedelta(seconds=45))


def test_a_view_without_what_tiles_keep_has_none(store: ml.Store) -> None:
    store.apply(ml.WindowView("last", entity=USER, source=EVENTS, aggregations=[ml.agg("amount", "last", windows=ml.last_rows(2))]))

    assert store.backfill("last") == 0
    assert store.online_features(["last"], {"user_id": 1}, now=NOW)["amount_last_last_2_rows"] == 1.0


def test_a_view_over_no_events_has_its_tiles_from_the_start(tmp_path):
    user = ml.Entity("user", keys={"user_id": ml.int64})
    orders = ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64}, key=["user_id"], timestamp="ts")
    spent = ml.WindowView("spent", entity=user, source=orders, aggregations=[ml.agg("amount", "sum", windows="1h")])
    with ml.open(tmp_path / "shop.mls") as store:
        store.apply(user, orders)
        store.apply(spent)
        store.write("orders", {"user_id": [7, 7], "ts": ["2026-05-01T10:00", "2026-05-01T10:30"], "amount": [1.0, 2.0]})
        late = ml.WindowView("late", entity=user, source=orders, aggregations=[ml.agg("amount", "sum", windows="1h")])
        store.apply(late)

        answer = store.online_features(["spent"], {"user_id": 7}, now="2026-05-01T10:45")

        assert answer == {"user_id": 7, "amount_sum_1h": 3.0}
        assert [is_live_now(store, name) for name in ("spent", "late")] == [True, False]
        assert store.verify().checks["tiles"] > 0


def is_live_now(store, name):
    with store._session.writing() as context:
        plan = tile_plan(context.catalog.relation(name))
        return plan is not None and live_mark(context, plan) is not None
