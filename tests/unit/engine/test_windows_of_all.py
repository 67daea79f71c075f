"""Windows over all events, of no entity: one key, the same online, in training, from events and from tiles."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import mlstore as ml

TRADES = ml.Table("trades", schema={"id": ml.int64, "price": ml.float64}, key="id", timestamp="at")
PRICES = ml.agg("price", ["count", "sum", "max", "last"], windows=["1h", "1d"])
TOTALS = ml.WindowView(
    "totals", entity=None, source=TRADES, aggregations=[ml.agg("price", ["count", "sum", "max", "last"], windows=["1h", "1d"])]
)


def at(time: str) -> datetime:
    return datetime.fromisoformat(f"2024-05-01 {time}").replace(tzinfo=UTC)


@pytest.fixture(params=["from events", "from tiles"])
def market(request: pytest.FixtureRequest, store: ml.Store) -> ml.Store:
    store.apply(TRADES, TOTALS)
    store.write("trades", [{"id": number, "price": float(number), "at": at(f"10:{number:02}")} for number in range(1, 50)])
    if request.param == "from tiles":
        store.backfill("totals")
    return store


def test_all_events_count_whatever_their_keys(market: ml.Store) -> None:
    market.write("trades", [{"id": 60, "price": 7.0, "at": at("11:05")}])

    online = market.online_features(["totals:price_sum_1h", "totals:price_last_1d"], {}, now=at("11:10"))

    assert online == {"price_sum_1h": sum(range(11, 50)) + 7.0, "price_last_1d": 7.0}
    trained = market.training_set({"event_timestamp": [at("11:10"), at("09:00")]}, ["totals:price_sum_1h", "totals:price_count_1d"])
    assert trained["price_sum_1h"].to_pylist() == [online["price_sum_1h"], None]
    assert trained["price_count_1d"].to_pylist() == [50, 0]


def test_online_and_training_are_shown_to_be_equal(market: ml.Store) -> None:
    assert market.verify_skew(["totals"], sample=5, now=at("10:30"))
    assert market.verify().problems == ()
