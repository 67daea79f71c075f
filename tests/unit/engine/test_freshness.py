"""Freshness: ages, thresholds, what came late, and what was read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.meter import SAMPLED, Histogram, Tally

USER = ml.Entity("user", keys={"user_id": ml.int64})
NOW = "2024-05-01T06:00"


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    tags = {"freshness": "1h"}
    store.apply(
        USER,
        ml.FeatureView("fast", entity=USER, schema={"x": ml.int64}, ttl="2h"),
        ml.FeatureView("tagged", entity=USER, schema={"y": ml.int64}, ttl="2d", tags=tags),
        ml.FeatureView("free", entity=USER, schema={"z": ml.int64}, tags={"freshness": "soon"}),
    )
    for hour in (3, 5, 4):
        store.write("fast", {"user_id": 1, "event_timestamp": f"2024-05-01T0{hour}:00", "x": hour})
    store.write("tagged", {"user_id": 1, "event_timestamp": "2024-05-01T04:00", "y": 1})
    return store


def test_each_view_tells_its_age_its_limit_and_its_late_rows(shop: ml.Store) -> None:
    found = {view.view: view for view in shop.freshness(now=NOW).views}

    told = {name: (view.age, view.threshold, view.is_stale, view.late_rows, view.rows) for name, view in found.items()}
    assert told == {
        "fast": (timedelta(hours=1), timedelta(hours=2), False, 1, 3),
        "tagged": (timedelta(hours=2), timedelta(hours=1), True, 0, 1),
        "free": (None, None, False, 0, 0),
    }


@pytest.mark.parametrize(
    ("threshold", "stale"),
    [("30m", {"fast", "tagged", "free"}), ({"free": "1h"}, {"tagged", "free"}), (timedelta(hours=2), {"free"})],
)
def test_a_threshold_that_is_asked_for_comes_first(shop: ml.Store, threshold: Any, stale: set[str]) -> None:
    assert set(shop.freshness(threshold=threshold, now=NOW).stale) == stale


@pytest.mark.parametrize("threshold", [{"nothing": "1h"}, "soon", 3])
def test_a_threshold_that_makes_no_sense_is_refused(shop: ml.Store, threshold: Any) -> None:
    with pytest.raises(ml.UsageError):
        shop.freshness(threshold=threshold)


def test_answers_outside_the_ttl_and_of_unknown_keys_are_counted_for_one_key_and_for_many(shop: ml.Store) -> None:
    reader = shop.reader(["fast", "free"])
    reader.online_features({"user_id": 1}, now=NOW)
    for user in (1, 1, 2):
        reader.online_features({"user_id": user}, now="2024-05-02")
    reader.online_features({"user_id": [1, 2, 3]}, now="2024-05-02")

    found = shop.freshness(now=NOW)

    counts = {view.view: (view.outside_ttl, view.not_found) for view in found.views}
    assert counts == {"fast": (3, 3), "free": (0, 7), "tagged": (0, 0)}
    assert (found.reads, found.batch_reads) == (5, 1)
    assert found.batch_latency_us["p50"] is not None


def test_the_ages_of_values_that_were_read_are_sampled(shop: ml.Store) -> None:
    reader = shop.reader(["fast"])
    for _ in range(3 * SAMPLED):
        reader.online_features({"user_id": 1}, now=NOW)

    found = shop.freshness(now=NOW)

    ages = [found.views[0].value_age_p50, found.views[0].value_age_p99]
    assert all(age is not None and timedelta(hours=1) <= age <= timedelta(hours=1.07) for age in ages)
    assert found.latency_us["p50"] is not None
    assert found.reads == 3 * SAMPLED


def test_what_is_told_is_in_the_info_too(shop: ml.Store) -> None:
    online = shop.info()["online"]

    assert online["stale"] == ["fast", "tagged"]
    assert {view["name"] for view in online["views"]} == {"fast", "tagged", "free"}


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_at_most_a_sixteenth_too_high(lengths: list[int], share: float) -> None:
    histogram = Histogram()
    for length in lengths:
        histogram.record(length)

    found = histogram.quantiles(share)[0]

    exact = sorted(lengths)[max(0, int(np.ceil(share * len(lengths))) - 1)]
    assert found is not None
    assert exact <= found + 1 <= exact * (1 + 1 / 16) + 2


def test_looking_at_a_tally_does_not_count() -> None:
    tally = Tally()
    for _ in range(3):
        tally.add_one()
    tally.add(4)

    assert [tally.total for _ in range(3)] == [7, 7, 7]
