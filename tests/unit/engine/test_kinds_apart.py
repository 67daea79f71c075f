"""Rows that share a key and a moment, and tables that share only a name: how versions and branches tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from tests.unit.engine.conftest import Clock
from tests.unit.engine.test_branches import DAY, USER, rows, spend

BY_ID = ml.Table("clicks", schema={"id": ml.int64, "page": ml.string}, key="id")
BY_PAGE = ml.Table("clicks", schema={"id": ml.int64, "page": ml.string}, key="page")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend())
        yield opened


def amounts(table: Any, name: str = "amount") -> list[int]:
    return sorted(table[name].to_pylist())


def test_of_several_rows_of_one_moment_equal_ones_cancel_and_the_others_are_changes(store: ml.Store) -> None:
    for amount in (1, 2, 3):
        store.write("spend", rows({7: amount}))
    store.snapshot("before")
    store.delete("spend", keys={"user_id": 7})
    for amount in (3, 4):
        store.write("spend", rows({7: amount}))

    found = store.diff("before")["spend"]

    assert found.counts == {"added": 0, "removed": 1, "changed": 1}
    assert (amounts(found.removed), amounts(found.changed, "amount__after")) == ([2], [4])
    assert amounts(found.changed, "amount__before") == [1]


def test_more_rows_of_one_moment_than_before_are_added(store: ml.Store) -> None:
    store.write("spend", rows({7: 1}))
    store.write("spend", rows({8: 1}))
    store.snapshot("before")
    store.delete("spend", keys={"user_id": 7})
    for amount in (1, 1, 5):
        store.write("spend", rows({7: amount}))

    found = store.diff("before")["spend"]

    assert found.counts == {"added": 2, "removed": 0, "changed": 0}
    assert amounts(found.added) == [1, 5]


def test_several_equal_rows_of_a_table_without_a_key_are_counted(store: ml.Store, clock: Clock) -> None:
    notes = ml.Table("notes", schema={"text": ml.string}, timestamp="at")
    store.apply(notes)
    store.write("notes", {"text": ["a", "a", "b"], "at": [DAY] * 3})
    store.snapshot("before")
    store.delete("notes", start=DAY)
    store.write("notes", {"text": ["a", "c", "c"], "at": [DAY] * 3})

    found = store.diff("before")["notes"]

    assert found.counts == {"added": 2, "removed": 2, "changed": 0}
    assert (found.added["text"].to_pylist(), sorted(found.removed["text"].to_pylist())) == (["c", "c"], ["a", "b"])


def test_tables_of_two_kinds_under_one_name_have_no_row_in_common(store: ml.Store) -> None:
    branch = store.branch("x")
    store.apply(BY_ID)
    store.write("clicks", {"id": [1, 2], "page": ["a", "b"]})
    branch.apply(BY_PAGE)
    branch.write("clicks", {"id": [1], "page": ["a"]})

    found = store.diff("main", "x")["clicks"]

    assert found.counts == {"added": 1, "removed": 2, "changed": 0}
    assert found.removed.to_pylist() == [{"id": 1, "page": "a"}, {"id": 2, "page": "b"}]
    assert found.added.to_pylist() == [{"id": 1, "page": "a"}]


def test_a_table_made_on_both_branches_is_compared_row_by_row(store: ml.Store) -> None:
    branch = store.branch("x")
    for side, amount in ((store, 1), (branch, 2)):
        side.apply(replace(spend(), name="bought"))
        side.write("bought", rows({7: 1, 8: amount}))
    store.write("bought", rows({9: 1}))

    there, back = store.diff("main", "x")["bought"], store.diff("x", "main")["bought"]

    assert there.counts == {"added": 0, "removed": 1, "changed": 1}
    assert there.removed["user_id"].to_pylist() == [9]
    assert there.changed.select(["user_id", "amount__before", "amount__after"]).to_pylist() == [
        {"user_id": 8, "amount__before": 1, "amount__after": 2}
    ]
    assert back.counts == {"added": 1, "removed": 0, "changed": 1}


def test_a_feature_that_only_one_side_knows_wider_is_compared_in_the_wider_type(store: ml.Store) -> None:
    store.apply(ml.FeatureView("narrow", entity=USER, schema={"x": ml.int32}))
    store.write("narrow", {"user_id": [1, 2], "event_timestamp": [DAY] * 2, "x": [5, 6]})
    store.snapshot("before")
    store.apply(ml.FeatureView("narrow", entity=USER, schema={"x": ml.int64}))
    store.write("narrow", {"user_id": [2, 3], "event_timestamp": [DAY] * 2, "x": [7, 8]}, mode="upsert")

    there, back = store.diff("before")["narrow"], store.diff("main", "before")["narrow"]

    assert there.counts == {"added": 1, "removed": 0, "changed": 1}
    assert back.counts == {"added": 0, "removed": 1, "changed": 1}
    assert there.changed.select(["x__before", "x__after"]).to_pylist() == [{"x__before": 6, "x__after": 7}]
    assert {str(there.changed.schema.field("x__before").type), str(back.changed.schema.field("x__after").type)} == {"int64"}


def test_definitions_of_two_kinds_under_one_name_do_not_merge(store: ml.Store) -> None:
    branch = store.branch("x")
    store.apply(ml.Table("clicks", schema={"id": ml.int64}, key="id"))
    branch.apply(ml.FeatureView("clicks", entity=USER, schema={"n": ml.int64}))

    with pytest.raises(ml.MergeConflictError) as refused:
        store.merge("x")

    assert [(row["table"], row["column"]) for row in refused.value.conflicts.to_pylist()] == [("clicks", "kind")]
    assert [entry.label for entry in store.catalog(kind="view")] == ["spend"]
