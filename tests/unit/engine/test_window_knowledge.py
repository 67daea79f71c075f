"""Windows as they were known at a time, filtered, moved back and explained: training, online and explanation tell one story."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"user_id": ml.int64})
ORDERS = ml.Table(
    "orders",
    schema={"user_id": ml.int64, "number": ml.int64, "amount": ml.float64, "kind": ml.string},
    key=("user_id", "number"),
    timestamp="ordered_at",
    created_timestamp="known",
)
SPEND = ml.WindowView(
    "spend",
    entity=USER,
    source=ORDERS,
    aggregations=[
        ml.agg("amount", ["sum", "count"], windows="1h"),
        ml.agg("amount", "sum", windows="1h", where=ml.col("kind") == "buy", name="bought"),
        ml.agg("amount", "sum", windows=ml.Window("time", "1h", length_ns=3600 * 10**9, shift_ns=1800 * 10**9), name="earlier"),
        ml.agg("amount", "sum", windows=ml.last_rows(2), name="last_two"),
        ml.agg("amount", "rate", windows="1h"),
    ],
)


def at(time: str) -> datetime:
    return datetime.fromisoformat(f"2024-05-01 {time}").replace(tzinfo=UTC)


@pytest.fixture
def filled(store: ml.Store) -> ml.Store:
    store.apply(USER, ORDERS, SPEND)
    told = [("10:00", "10:00", 1.0, "buy"), ("10:10", "12:00", 2.0, "buy"), ("10:20", "10:20", 4.0, "look"), ("10:40", "10:40", 8.0, "buy")]
    store.write(
        "orders",
        [
            {"user_id": 7, "number": int(amount), "ordered_at": at(time), "known": at(known), "amount": amount, "kind": kind}
            for time, known, amount, kind in told
        ],
    )
    return store


def ask(store: ml.Store, feature: str, time: str, **options: Any) -> Any:
    made = store.training_set({"user_id": [7], "event_timestamp": [at(time)]}, [f"spend:{feature}"], **options)
    return made[feature][0].as_py()


def verdicts(store: ml.Store, feature: str, time: str, **options: Any) -> dict[float, str]:
    told = store.explain({"user_id": 7, "event_timestamp": at(time)}, f"spend:{feature}", **options)
    assert told.value == ask(store, feature, time, **options)
    return {row["value"]: row["verdict"] for row in told.rows}


@pytest.mark.parametrize(
    ("known_at", "total"), [(None, 15.0), ("label", 13.0), (at("11:59"), 13.0), (at("12:00"), 15.0), (at("10:20"), 5.0)]
)
def test_a_window_is_of_what_was_known_by_then(filled: ml.Store, known_at: Any, total: float) -> None:
    assert ask(filled, "amount_sum_1h", "10:50", known_at=known_at) == total
    assert ask(filled, "amount_count_1h", "10:50", known_at=known_at) == bin(int(total)).count("1")


def test_an_event_that_was_not_known_then_is_told_of(filled: ml.Store) -> None:
    told = verdicts(filled, "amount_sum_1h", "10:50", known_at=at("11:59"))

    assert (told[1.0], told[8.0]) == ("counts", "counts")
    assert told[2.0] not in ("counts", "before the window")


def test_events_that_do_not_fulfil_the_filter_are_told_of(filled: ml.Store) -> None:
    told = verdicts(filled, "bought", "10:50")

    assert told[4.0].startswith("does not fulfil ")
    assert "kind" in told[4.0]
    assert [told[amount] for amount in (1.0, 2.0, 8.0)] == ["counts"] * 3


def test_events_behind_a_window_that_was_moved_back_are_after_it(filled: ml.Store) -> None:
    told = verdicts(filled, "earlier", "11:00")

    assert told == {8.0: "after the window", 4.0: "counts", 2.0: "counts", 1.0: "counts"}


def test_events_before_the_window_or_more_than_it_holds_are_too_old(filled: ml.Store) -> None:
    assert verdicts(filled, "amount_sum_1h", "11:15") == {8.0: "counts", 4.0: "counts"} | dict.fromkeys((1.0, 2.0), "before the window")
    assert verdicts(filled, "last_two", "11:15") == {8.0: "counts", 4.0: "counts"} | dict.fromkeys((1.0, 2.0), "before the window")


def test_a_cell_without_a_time_is_explained_by_nothing(filled: ml.Store) -> None:
    told = filled.explain({"user_id": 7, "event_timestamp": None}, "spend:amount_sum_1h")

    assert (told.value, told.status, told.rows) == (None, "NOT_FOUND", [])


def test_a_rate_is_a_count_by_the_second_online_too(filled: ml.Store) -> None:
    online = [filled.online_features(["spend:amount_rate_1h"], {"user_id": user}, now=at("10:50"))["amount_rate_1h"] for user in (7, 8)]

    assert online == [4 / 3600, None]
    assert ask(filled, "amount_rate_1h", "10:50") == 4 / 3600
