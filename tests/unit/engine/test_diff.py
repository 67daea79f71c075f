"""Diff: what has changed between two versions, and that what has not is not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits
from tests.unit.engine.test_branches import DAY, USER, rows, spend

CLICKS = ml.Table("clicks", schema={"id": ml.int64, "page": ml.string}, key="id")
LINES = ml.Table("lines", schema={"text": ml.string})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend(), CLICKS, LINES)
        opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
        opened.snapshot("v1")
        yield opened


def test_rows_are_added_removed_and_changed(store: ml.Store) -> None:
    store.write("spend", rows({4: 40}))
    store.delete("spend", keys={"user_id": 3})
    store.write("spend", rows({2: 22}), mode="upsert")

    found = store.diff("v1")

    assert found.summary() == {"spend": {"added": 1, "removed": 1, "changed": 1}}
    assert found["spend"].added["user_id"].to_pylist() == [4]
    assert found["spend"].removed.select(["user_id", "amount"]).to_pylist() == [{"user_id": 3, "amount": 30}]
    changed = found["spend"].changed.select(["user_id", "amount__before", "amount__after", "note__before", "note__after"])
    assert changed.to_pylist() == [{"user_id": 2, "amount__before": 20, "amount__after": 22, "note__before": "n", "note__after": "n"}]
    assert str(found) == "spend: 1 added, 1 removed, 1 changed"


def test_backwards_it_is_the_other_way_round(store: ml.Store) -> None:
    store.write("spend", rows({4: 40}))

    found = store.diff("main", "v1")

    assert found.summary() == {"spend": {"added": 0, "removed": 1, "changed": 0}}


def test_nothing_changed_is_false(store: ml.Store) -> None:
    store.optimize()

    found = store.diff("v1", "main")

    assert not found
    assert str(found) == "nothing has changed"
    with pytest.raises(ml.UnknownNameError, match="no row of 'spend'"):
        found["spend"]


def test_the_same_written_again_by_an_upsert_has_not_changed(store: ml.Store) -> None:
    store.write("spend", rows({1: 10}), mode="upsert")

    assert not store.diff("v1")


def test_a_keyed_table_is_matched_by_its_key_and_a_plain_one_by_content(store: ml.Store) -> None:
    store.write("clicks", {"id": [1, 2], "page": ["a", "b"]}, mode="upsert")
    store.write("lines", {"text": ["x", "y"]})
    store.snapshot("v2")
    store.write("clicks", {"id": [2], "page": ["c"]}, mode="upsert")
    store.write("lines", {"text": ["x"]})

    found = store.diff("v2")

    assert found.summary() == {"clicks": {"added": 0, "removed": 0, "changed": 1}, "lines": {"added": 1, "removed": 0, "changed": 0}}
    assert found["clicks"].changed.to_pylist() == [{"id": 2, "page__before": "b", "page__after": "c"}]
    assert found["lines"].added.to_pylist() == [{"text": "x"}]


def test_rows_without_a_key_never_stand_for_each_other(store: ml.Store) -> None:
    notes = ml.Table("notes", schema={"text": ml.string}, timestamp="at")
    store.apply(notes)
    store.write("notes", {"text": ["a", "b"], "at": ["2026-01-01"] * 2})
    store.write("notes", {"text": ["c"], "at": ["2026-01-02"]})
    store.snapshot("v2")
    store.delete("notes", start="2026-01-02")
    store.write("notes", {"text": ["d", "e"], "at": ["2026-01-02", "2026-01-01"]})

    found = store.diff("v2")["notes"]

    assert found.counts == {"added": 2, "removed": 1, "changed": 0}
    assert sorted(found.added["text"].to_pylist()) == ["d", "e"]


def test_numbers_are_compared_bit_by_bit_and_nulls_are_equal(store: ml.Store) -> None:
    schema = {"x": ml.float64, "v": ml.vector(2), "note": ml.string}
    store.apply(ml.FeatureView("points", entity=USER, schema=schema, created_timestamp="known"))
    plain = ml.FeatureView("plain_points", entity=USER, schema={"x": ml.float64, "note": ml.string}, created_timestamp="known")
    store.apply(plain)

    def put(xs: list[float | None], notes: list[str | None]) -> None:
        count = len(xs)
        columns = {"user_id": list(range(count)), "event_timestamp": [DAY] * count, "known": [DAY] * count, "x": xs, "note": notes}
        store.write("plain_points", columns, mode="upsert")
        store.write("points", {**columns, "v": [[0.0, float("nan")]] * count}, mode="upsert")

    put([float("nan"), 0.0, None, 1.0, 2.0], [None, "b", "c", None, "e"])
    store.snapshot("v2")
    put([float("nan"), -0.0, None, None, 2.0], [None, "b", "c", None, None])

    for name in ("points", "plain_points"):
        changed = store.diff("v2")[name].changed
        assert sorted(changed["user_id"].to_pylist()) == [1, 3, 4]


def test_definitions_that_differ_are_told(store: ml.Store) -> None:
    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}), ml.Table("new", schema={"a": ml.int64}))
    store.write("spend", rows({1: 11}, at="2026-01-02", rain=[0.5]))

    found = store.diff("v1")

    assert found.definitions == ("+ table new", "~ view spend: rain: added (float64)")
    assert found["spend"].added["rain"].to_pylist() == [0.5]
    assert store.diff("main", "v1").definitions == ("- table new", "~ view spend: rain: removed")


def test_one_table_can_be_asked_for(store: ml.Store) -> None:
    store.write("spend", rows({4: 40}))
    store.write("lines", {"text": ["x"]})

    assert list(store.diff("v1", table="lines")) == ["lines"]
    with pytest.raises(ml.UnknownNameError):
        store.diff("v1", table="nothing")


def test_two_branches_are_compared_by_what_they_show(store: ml.Store) -> None:
    branch = store.branch("x")
    for each in (store, branch):
        each.write("spend", rows({4: 40}))
        each.delete("spend", keys={"user_id": 1})
    assert not store.diff("main", "x")

    branch.delete("spend", keys={"user_id": 2})

    assert store.diff("main", "x").summary() == {"spend": {"added": 0, "removed": 1, "changed": 0}}
    assert branch.diff("main").summary() == {"spend": {"added": 0, "removed": 1, "changed": 0}}


def test_segments_that_both_versions_share_are_not_opened(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    for day in range(2, 8):
        store.write("spend", rows(dict.fromkeys(range(10), day), at=f"2026-01-0{day}"))
    store.optimize()
    store.snapshot("before")
    store.write("spend", rows(dict.fromkeys(range(10), 9), at="2026-02-01"))
    opened: list[int] = []
    from mlstore.engine.history.offline import History

    look = History.segment_block
    monkeypatch.setattr(History, "segment_block", lambda self, layer, entry: opened.append(entry.segment) or look(self, layer, entry))

    found = store.diff("before")

    assert found["spend"].added.num_rows == 10
    assert len(set(opened)) < len(store.at("main").info()["tables"]) + 3
    assert len(set(opened)) <= 2 < next(table["segments"] for table in store.info()["tables"] if table["name"] == "spend")


def test_an_unknown_version_is_refused(store: ml.Store) -> None:
    with pytest.raises(ml.UnknownVersionError):
        store.diff("v1", "v9")
    assert DAY
