"""Tiles after writes too large for them, and after merges: they catch up by themselves, and answers are right meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

import mlstore as ml
from mlstore.engine.windows.marks import live_mark
from mlstore.engine.windows.tilekeeping import plans_over
from mlstore.engine.writing import upkeep
from tests.unit.engine.test_tiles import EVENTS, NOW, SPEND, USER, are_live, count, events


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ml.Store:
    """Any bulk write is too large; a step is two keys."""
    store = ml.open(":memory:")
    store.apply(USER, EVENTS, SPEND)
    for limit, size in {"TILE_ROWS": 6, "DIRECT_ROWS": 5, "STAGE_BYTES": 1, "TILE_STEP_KEYS": 2}.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{limit}", size)
    monkeypatch.setattr("mlstore.engine.writing.catching.STEP_KEYS", 2)
    store.write("events", events(users=4, ago=timedelta(days=2)))
    return store


def reached(store: ml.Store) -> tuple[int, bool]:
    """Since which row trees are behind, and whether some keys are done."""
    with store._session.reading() as context:
        [plan] = plans_over(context.catalog, context.catalog.relation("events").table)
        mark = live_mark(context, plan)
    assert mark is not None
    return mark.since, bool(mark.until)


def counts(store: ml.Store, users: int) -> list[int]:
    return [count(store, user) for user in range(users)]


def test_a_bulk_write_has_its_tiles_when_it_returns(store: ml.Store) -> None:
    store.write("events", events(users=9))

    assert are_live(store)
    assert counts(store, 10) == [2] * 4 + [1] * 5 + [0]
    assert store.verify().problems == ()
    assert store.verify_skew(["spend"], sample={"user_id": list(range(10))}, now=NOW)


def test_a_bulk_write_that_was_cut_short_is_caught_up_with_by_later_commits(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "catch_up", die)
        with pytest.raises(KeyboardInterrupt):
            store.write("events", events(users=9))
    assert reached(store)[0] > 0
    seen = [counts(store, 9)]

    store.write("events", events(users=9, ago=timedelta(hours=3)) | {"user_id": [0, 1, 2, 3, 4, 5, 6, 7, 7]}, mode="append")
    seen.append(counts(store, 9))
    assert store.verify().problems == ()
    assert are_live(store)

    assert seen == [[2] * 4 + [1] * 5, [3] * 4 + [2] * 3 + [3, 1]]
    assert store.verify_skew(["spend"], sample={"user_id": list(range(9))}, now=NOW)


def test_small_writes_and_deletes_in_between_are_followed_on_both_sides(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "catch_up", lambda *_: None)
    store.write("events", events(users=9))
    begun = reached(store)

    store.delete("events", keys={"user_id": [3]}, end=NOW - timedelta(days=1))  # of a key that has yet to catch up
    store.write("events", events(users=1, ago=timedelta(hours=5)) | {"user_id": [8]})
    store.delete("events", keys={"user_id": [0, 7]})
    between = reached(store)
    store.write("events", events(users=1, ago=timedelta(hours=5)) | {"user_id": [0]})
    store.write("events", events(users=1, ago=timedelta(hours=5)) | {"user_id": [3]})

    assert begun[0] > 0
    assert between == (begun[0], True)
    assert reached(store) == (0, False)
    assert counts(store, 9) == [1, 2, 2, 2, 1, 1, 1, 0, 2]
    assert store.verify().problems == ()
    assert store.verify_skew(["spend"], sample={"user_id": list(range(9))}, now=NOW)


@pytest.mark.parametrize("is_ahead", [True, False])
def test_tiles_follow_a_merge_and_a_revert(store: ml.Store, is_ahead: bool) -> None:
    side = store.branch("side")
    side.write("events", events(users=3))
    side.delete("events", keys={"user_id": [3]})
    if not is_ahead:
        store.write("events", events(users=1, ago=timedelta(hours=7)))

    store.merge("side")
    merged = are_live(store), counts(store, 5), store.verify().problems
    store.revert(next(commit.id for commit in store.history() if commit.message.startswith("merge")))

    assert merged == (True, [2 + (not is_ahead), 2, 2, 0, 0], ())
    assert are_live(store)
    assert counts(store, 5) == [1 + (not is_ahead), 1, 1, 1, 0]
    assert store.verify().problems == ()
