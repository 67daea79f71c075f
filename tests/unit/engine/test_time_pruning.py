"""Pruning by time and key: labels of one week leave the segments of other years closed."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.history.segments import SegmentContent
from tests.support.data import instant
from tests.support.worlds import SECOND

CARD = ml.Entity("card", keys={"card": ml.int64})
WEEK = 7 * 24 * 3600


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(first, last) week of each segment that is opened from now on."""
    found: list[tuple[int, int]] = []
    begin = SegmentContent.__init__

    def record(self: SegmentContent, entry: Any, *rest: Any) -> None:
        found.append((entry.min_time // (WEEK * SECOND), entry.max_time // (WEEK * SECOND)))
        begin(self, entry, *rest)

    monkeypatch.setattr(SegmentContent, "__init__", record)
    return found


def store_of_weeks(store: ml.Store, monkeypatch: pytest.MonkeyPatch, **rules: Any) -> ml.Store:
    """Ten weeks of hourly rows of two cards, loaded week by week; card 2 has rows in the first week only."""
    monkeypatch.setattr(limits, "DIRECT_ROWS", 10)
    monkeypatch.setattr(limits, "FANOUT", 100)
    store.apply(CARD, ml.FeatureView("spend", entity=CARD, schema={"amount": ml.int64}, **rules))
    for week in range(10):
        seconds = range(week * WEEK, (week + 1) * WEEK, 3600)
        cards = [1] * len(seconds) if week else [1 + hour % 2 for hour in range(len(seconds))]
        times = [instant(second * SECOND) for second in seconds]
        store.write("spend", {"card": cards, "event_timestamp": times, "amount": list(seconds)})
    return ml.open(store.path, read_only=True).at(store.history(limit=1)[0])


def labels_of_week(week: int, card: int = 1) -> dict[str, list[Any]]:
    seconds = range(week * WEEK + 1800, (week + 1) * WEEK, 7200)
    return {"card": [card] * len(seconds), "event_timestamp": [instant(second * SECOND) for second in seconds]}


@pytest.mark.parametrize("week", [0, 5, 9])
def test_a_week_of_labels_opens_the_segments_of_that_week(
    store: ml.Store, monkeypatch: pytest.MonkeyPatch, opened: list[tuple[int, int]], week: int
) -> None:
    weeks = store_of_weeks(store, monkeypatch)
    opened.clear()

    found = weeks.training_set(labels_of_week(week), ["spend"])

    assert found["amount"].to_pylist() == [(second // 3600) * 3600 for second in range(week * WEEK + 1800, (week + 1) * WEEK, 7200)]
    assert opened == [(week, week)]


def test_a_ttl_closes_what_lies_before_it(store: ml.Store, monkeypatch: pytest.MonkeyPatch, opened: list[tuple[int, int]]) -> None:
    weeks = store_of_weeks(store, monkeypatch, ttl="8d")
    opened.clear()

    found = weeks.training_set(labels_of_week(5, card=2), ["spend"])

    assert found["amount"].null_count == found.num_rows
    assert set(opened) <= {(3, 3), (4, 4), (5, 5)}


def test_a_key_without_new_rows_is_looked_for_where_it_can_be(
    store: ml.Store, monkeypatch: pytest.MonkeyPatch, opened: list[tuple[int, int]]
) -> None:
    weeks = store_of_weeks(store, monkeypatch)
    opened.clear()

    found = weeks.training_set(labels_of_week(9, card=2), ["spend"])

    assert found["amount"].null_count == 0
    assert opened == [(0, 0)]  # no other segment's keys reach to card 2
