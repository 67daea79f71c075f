"""Windows of one key by a prepared reader: one look at one commit, as long as tiles are right; and the long way wherever they are not."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.asking import reader as reader_module
from mlstore.engine.windows.tiles import TILES

USER = ml.Entity("user", keys={"user_id": ml.int64})
SHOP = ml.Entity("shop", keys={"city": ml.string, "shop": ml.int32})
ORDERS = ml.FeatureView("orders", entity=USER, schema={"amount": ml.float64, "items": ml.int64, "kind": ml.string, "on": ml.date})
SALES = ml.FeatureView("sales", entity=SHOP, schema={"price": ml.float32})
FUNCTIONS = ["count", "sum", "mean", "std", "min", "max"]
SPEND = ml.WindowView(
    "spend",
    entity=USER,
    source=ORDERS,
    aggregations=[
        ml.agg("amount", FUNCTIONS, windows=["1h", "1d", "lifetime"]),
        ml.agg("items", ["sum", "mean"], windows=ml.tumbling("1h")),
        ml.agg("on", ["min", "max"], windows="1d"),
        ml.agg("kind", "distinct", windows="1d"),
    ],
)
KEPT = [f"spend:{name}" for name in ("amount_sum_1h", "amount_std_1d", "amount_max_lifetime", "items_mean_tumbling_1h", "on_min_1d")]
TURNOVER = ml.WindowView("turnover", entity=SHOP, source=SALES, aggregations=[ml.agg("price", ["sum", "min"], windows="1d")])
TOTAL = ml.WindowView("total", entity=None, source=ORDERS, aggregations=[ml.agg("amount", "sum", windows="1d")])
PROFILE = ml.FeatureView("profile", entity=USER, schema={"age": ml.int64})
START = datetime(2024, 5, 1, 10, tzinfo=UTC)
NOW = START + timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go into the trees of tiles at once, but where a test says otherwise."""
    monkeypatch.setattr(limits, "TILE_WAITING", 0)


@pytest.fixture
def store() -> Iterator[ml.Store]:
    with ml.open(":memory:") as store:
        fill(store)
        yield store


def fill(store: ml.Store) -> None:
    store.apply(USER, SHOP, ORDERS, SALES, PROFILE, SPEND, TURNOVER)
    store.write("orders", [order(7, minute) for minute in range(0, 60, 2)])
    store.write("sales", {"city": ["Ulm"], "shop": [3], "event_timestamp": [START], "price": [2.5]})
    store.write("profile", {"user_id": [7], "event_timestamp": [START], "age": [44]})


def order(user: int, minute: int) -> dict[str, Any]:
    time = START + timedelta(minutes=minute)
    return {"user_id": user, "event_timestamp": time, "amount": minute / 8, "items": minute, "kind": "buy", "on": time.date()}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each quick look through tiles: whether it found them right."""
    seen: list[bool] = []
    original = reader_module.glance_through

    def glance_through(*given: Any) -> Any:
        found = original(*given)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(reader_module, "glance_through", glance_through)
    return seen


def expected(store: ml.Store, features: list[str], keys: dict[str, Any], now: datetime = NOW) -> dict[str, Any]:
    """The answer as a training row gives it."""
    labels = {**{name: [value] for name, value in keys.items()}, "event_timestamp": [now]}
    row: dict[str, Any] = store.training_set(labels, features).to_pylist()[0]
    return {name: value for name, value in row.items() if name != "event_timestamp"}


def test_windows_of_several_views_and_stored_features_come_in_one_look(store: ml.Store, looks: list[bool]) -> None:
    features = ["turnover", *KEPT, "profile"]
    reader, keys = store.reader(features), {"user_id": 7, "city": "Ulm", "shop": 3}

    found = [reader.online_features(keys, now=NOW) for _ in range(3)]

    assert repr(found[0]) == repr(found[1]) == repr(found[2]) == repr(expected(store, features, keys))
    assert found[1]["age"] == 44
    assert found[1]["price_sum_1d"] == 2.5
    assert looks == [True, True]


def test_a_view_over_all_events_needs_no_key(store: ml.Store, looks: list[bool]) -> None:
    store.apply(TOTAL)
    store.backfill("total")
    reader = store.reader(["total"])

    found = [reader.online_features({}, now=NOW) for _ in range(2)]

    assert found == [{"amount_sum_1d": sum(minute / 8 for minute in range(0, 60, 2))}] * 2
    assert looks == [True]


def test_every_commit_is_seen_and_a_key_without_events_is_over_nothing(store: ml.Store, looks: list[bool]) -> None:
    reader = store.reader(["spend:amount_count_1h", "spend:amount_mean_1h"])
    counts = []
    for user in (7, 8):
        for minute in (57, 58, 59):
            counts.append(reader.online_features({"user_id": user}, now=NOW)["amount_count_1h"])
            store.write("orders", [order(user, minute)])

    assert counts == [29, 30, 31, 0, 1, 2]
    assert reader.online_features({"user_id": 9}, now=NOW) == {"user_id": 9, "amount_count_1h": 0, "amount_mean_1h": None}
    assert looks == [True] * 6


def test_what_waits_is_put_into_the_nodes_of_a_key_once_for_each_commit(
    store: ml.Store, looks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TILE_WAITING", 32)
    reader, found = store.reader(KEPT), []
    reader.online_features({"user_id": 7}, now=NOW)

    for minute in (59, 60):
        store.write("orders", [order(user, minute) for user in (7, 8)])
        found += [reader.online_features({"user_id": user}, now=NOW) for user in (7, 7, 8, 8, 9, 7)]

    assert repr(found[-6:]) == repr([expected(store, KEPT, {"user_id": user}) for user in (7, 7, 8, 8, 9, 7)])
    assert [answer["amount_max_lifetime"] for answer in found] == [59 / 8] * 4 + [None, 59 / 8] + [60 / 8] * 4 + [None, 60 / 8]
    # The first look after a commit finds it; and a key for which events wait is gone once the long way.
    assert looks == [False, True, True, True, True] * 2


def test_the_state_of_the_source_is_looked_at_once_for_each_commit(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = store.reader(KEPT)
    reader.online_features({"user_id": 7}, now=NOW)
    asked: list[Any] = []
    monkeypatch.setattr("mlstore.engine.windows.tilewatching.Watch.approves", lambda self, *told: asked.append(told) or True)

    for _ in range(3):
        reader.online_features({"user_id": 7}, now=NOW)
    store.write("orders", [order(9, 1)])
    reader.online_features({"user_id": 7}, now=NOW)

    assert len(asked) == 2


def test_tiles_that_a_large_delete_left_behind_are_not_read_until_they_are_filled_in(
    store: ml.Store, looks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = store.reader(["spend:amount_count_1d"])
    reader.online_features({"user_id": 7}, now=NOW)
    monkeypatch.setattr(limits, "TILE_TOUCHED", 0)

    store.delete("orders", keys={"user_id": [7]}, end=START + timedelta(minutes=10))
    behind = reader.online_features({"user_id": 7}, now=NOW)
    store.backfill("spend")
    filled = reader.online_features({"user_id": 7}, now=NOW)

    assert behind == filled == {"user_id": 7, "amount_count_1d": 25}
    assert looks == [False, True]


def test_a_reader_notices_that_the_view_was_defined_anew(store: ml.Store, looks: list[bool]) -> None:
    reader = store.reader(["spend"])
    reader.online_features({"user_id": 7}, now=NOW)

    store.apply(ml.WindowView("spend", entity=USER, source=ORDERS, aggregations=[ml.agg("amount", "max", windows="30m")]))
    store.backfill("spend")
    found = [reader.online_features({"user_id": 7}, now=START + timedelta(minutes=40)) for _ in range(2)]

    assert found == [{"user_id": 7, "amount_max_30m": 5.0}] * 2
    assert looks == [True]


@pytest.mark.parametrize("features", [["spend"], ["spend:kind_distinct_1d", "profile"]])
def test_what_tiles_do_not_keep_comes_the_long_way(store: ml.Store, looks: list[bool], features: list[str]) -> None:
    reader = store.reader(features)

    found = [reader.online_features({"user_id": 7}, now=NOW) for _ in range(2)]

    assert repr(found[0]) == repr(found[1]) == repr(expected(store, features, {"user_id": 7}))
    assert looks == []


def test_a_null_key_a_status_a_branch_and_a_version_come_the_long_way(store: ml.Store, looks: list[bool]) -> None:
    store.snapshot("v1")
    handles = [store, store.branch("side"), store.at("v1")]
    for handle in handles[1:]:
        reader = handle.reader(KEPT)
        assert [reader.online_features({"user_id": 7}, now=NOW)["amount_sum_1h"] for _ in range(2)] == [108.75] * 2
    told = store.reader(KEPT, status=True)
    assert [told.online_features({"user_id": 7}, now=NOW)["spend__status"] for _ in range(2)] == ["PRESENT"] * 2
    assert looks == []

    reader = store.reader(KEPT)
    assert [reader.online_features({"user_id": None}, now=NOW)["amount_sum_1h"] for _ in range(2)] == [None] * 2
    assert looks == []


@pytest.mark.parametrize("key", ["7", 7.5, 2**70])
def test_a_key_of_another_type_is_refused_as_ever(store: ml.Store, key: Any) -> None:
    reader = store.reader(KEPT)
    reader.online_features({"user_id": 7}, now=NOW)

    with pytest.raises(ml.MlstoreError, match=r"expected int64|out of the range of int64"):
        reader.online_features({"user_id": key}, now=NOW)


def test_an_input_of_an_on_demand_view_is_read_from_tiles(store: ml.Store, looks: list[bool]) -> None:
    share = ml.OnDemandView(
        "share", inputs=["spend:amount_sum_1h", "spend:amount_sum_1d"], features={"part": ml.col("amount_sum_1h") / 2.0}
    )
    store.apply(share)
    reader = store.reader(["share"])

    found = [reader.online_features({"user_id": 7}, now=NOW) for _ in range(2)]

    assert found == [{"user_id": 7, "part": 54.375}] * 2
    assert looks == [True]


def test_a_sum_that_fits_no_word_is_refused_by_the_short_way_too(store: ml.Store, looks: list[bool]) -> None:
    reader = store.reader(["spend:items_sum_tumbling_1h"])
    store.write("orders", [{**order(5, minute), "items": 2**63 - 1} for minute in (1, 2)])

    for _ in range(2):
        with pytest.raises(ml.InvalidDataError, match="items_sum_tumbling_1h: a sum of items does not fit 64 bits"):
            reader.online_features({"user_id": 5}, now=START + timedelta(minutes=3))

    assert looks == [True]


def test_a_node_that_is_no_node_is_told_as_damage(store: ml.Store) -> None:
    reader = store.reader(KEPT)
    reader.online_features({"user_id": 7}, now=NOW)
    with store._session.environment.writer() as writer:
        name = next(key for key, _ in writer.scan(TILES))
        writer.put(TILES, name, b"\1\0")

    with pytest.raises(ml.CorruptionError, match="a tile of spend makes no sense: a node of no known form"):
        reader.online_features({"user_id": 7}, now=NOW)


@pytest.mark.parametrize("now", ["0001-01-01", "1969-12-31T23:59:59.5", "9999-12-31T23:59:59.999999"])
def test_any_moment_can_be_asked_about(store: ml.Store, now: str) -> None:
    reader = store.reader(["spend:amount_count_1h", "spend:amount_count_lifetime"])

    found = [reader.online_features({"user_id": 7}, now=now) for _ in range(2)]

    assert found == [{"user_id": 7, "amount_count_1h": 0, "amount_count_lifetime": 30 if now > "2024" else 0}] * 2


def test_another_process_is_seen_and_a_reader_comes_back_from_a_pickle(tmp_path: Path, looks: list[bool]) -> None:
    with ml.open(tmp_path / "s.mls") as store:
        fill(store)
        reader = store.reader(["spend:amount_count_1h"])
        before = [reader.online_features({"user_id": 7}, now=NOW)["amount_count_1h"] for _ in range(2)]
        child = os.fork()
        if not child:
            with ml.open(tmp_path / "s.mls") as own:
                own.write("orders", [order(7, 57)])
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        again = pickle.loads(pickle.dumps(reader))
        after = [one.online_features({"user_id": 7}, now=NOW)["amount_count_1h"] for one in (reader, again, again)]

    assert (before, after) == ([29, 29], [30, 30, 30])
    assert looks == [True] * 3


def test_a_file_that_is_mapped_for_reading_only_is_read_by_a_reader(tmp_path: Path, looks: list[bool]) -> None:
    with ml.open(tmp_path / "s.mls") as store:
        fill(store)
    with ml.open(tmp_path / "s.mls", read_only=True) as store:
        reader = store.reader(KEPT)
        found = [reader.online_features({"user_id": 7}, now=NOW) for _ in range(2)]
        mapped = store._session.environment.use()
        provisional = {"obstacle": None, "_is_map_writable": False}
        kept = {name: getattr(mapped, name) for name in provisional}
        for name, value in provisional.items():
            setattr(mapped, name, value)
        assert mapped.is_provisional
        mapped.map_for_good = lambda shown: None
        found.append(reader.online_features({"user_id": 7}, now=NOW))
        del mapped.map_for_good
        for name, value in kept.items():
            setattr(mapped, name, value)

    assert repr(found[0]) == repr(found[1]) == repr(found[2])
    assert looks == [True, True]


def test_threads_share_a_reader_while_events_come_in(store: ml.Store) -> None:
    reader, errors, done = store.reader(["spend:amount_count_1d", "spend:amount_sum_1d"]), [], threading.Event()
    sums = {30 + more: 108.75 + more for more in range(41)}

    def ask() -> None:
        while not done.is_set():
            found = reader.online_features({"user_id": 7}, now=NOW)
            if sums.get(found["amount_count_1d"]) != found["amount_sum_1d"]:
                errors.append(found)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for second in range(40):
        store.write("orders", [{**order(7, 1), "event_timestamp": START + timedelta(seconds=second), "amount": 1.0}])
    done.set()
    for thread in threads:
        thread.join()

    assert errors == []
    assert reader.online_features({"user_id": 7}, now=NOW)["amount_count_1d"] == 70
