"""Merge: both sides' changes in one commit with two parents, conflicts refused or settled, online values included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits
from tests.unit.engine.test_branches import USER, held, online, rows, spend

CLICKS = ml.Table("clicks", schema={"id": ml.int64, "page": ml.string, "count": ml.int64}, key="id")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend(), CLICKS)
        opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
        yield opened
        assert not opened.verify().problems


def diverged(store: ml.Store) -> ml.Store:
    """A branch, and a commit on main after it, so that no fast-forward is possible."""
    branch = store.branch("x")
    store.write("spend", rows({4: 40}))
    return branch


def test_a_branch_ahead_is_fast_forwarded_without_a_commit(store: ml.Store) -> None:
    branch = store.branch("x")
    commit = branch.write("spend", rows({1: 11}, at="2026-01-02"))
    branch.delete("spend", keys={"user_id": 2})

    merged = store.merge("x")

    assert merged == branch.history()[0] == store.history()[0]
    assert commit in store.history()
    assert online(store) == [11, None, 30, None]
    branch.write("spend", rows({3: 33}, at="2026-01-02"))
    assert online(store) == [11, None, 30, None]
    assert [move.action for move in store.reflog(limit=1)] == ["merge"]


def test_a_fast_forward_can_be_declined(store: ml.Store) -> None:
    branch = store.branch("x")
    branch.write("spend", rows({1: 11}, at="2026-01-02"))

    merged = store.merge("x", fast_forward=False, message="with a commit")

    assert len(merged.parents) == 2
    assert merged.message == "with a commit"
    assert online(store) == [11, 20, 30, None]


def test_a_branch_that_would_see_too_many_lines_is_merged_by_copying(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.engine.limits.MAX_LAYERS", 4)
    for round_ in range(6):
        branch = store.branch(f"b{round_}")
        branch.write("spend", rows({1: round_}, at=f"2026-02-0{round_ + 1}"))
        store.merge(f"b{round_}")

    with store._session.reading() as context:
        assert len(list(context.scope.layers())) <= 4
    assert online(store) == [5, 20, 30, None]


def test_what_both_sides_did_is_there_afterwards(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}, at="2026-01-02"))
    branch.write("spend", rows({2: 22}), mode="upsert")
    branch.delete("spend", keys={"user_id": 3})
    ours = store.history()[0]

    merged = store.merge("x")

    assert merged.parents == (ours.id, branch.history()[0].id)
    assert [(change.op, change.table) for change in merged.changes] == [("merge", "spend")]
    assert online(store) == [11, 22, None, 40]
    assert held(store) == [(1, 10), (1, 11), (2, 22), (4, 40)]
    assert online(branch) == [11, 22, None, None]


def test_merged_rows_keep_when_they_became_known(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}, at="2026-01-02"))

    store.merge("x")

    mine, theirs = (each.read("spend", start="2026-01-02").table()["known"].to_pylist() for each in (store, branch))
    assert mine == theirs


def test_a_merge_seen_from_before_it_is_not_there(store: ml.Store) -> None:
    branch = diverged(store)
    branch.delete("spend", keys={"user_id": 1})
    store.snapshot("before")

    store.merge("x")

    assert online(store.at("before")) == [10, 20, 30, 40]
    assert store.diff("before").summary() == {"spend": {"added": 0, "removed": 1, "changed": 0}}


def test_merging_again_brings_only_what_is_new(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}), mode="upsert")
    store.merge("x")
    store.write("spend", rows({1: 12}), mode="upsert")
    branch.write("spend", rows({2: 22}), mode="upsert")

    merged = store.merge("x")

    assert merged.changes[0].rows == 2
    assert online(store) == [12, 22, 30, 40]
    assert store.merge("x") == merged


def test_merging_both_ways_ends_in_the_same(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}), mode="upsert")
    store.merge("x")

    assert branch.merge("main") == store.history()[0]
    assert not store.diff("main", "x")


def test_different_cells_of_one_row_are_merged(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}), mode="upsert")
    store.write("spend", rows({1: 10}, note=["ours"]), mode="upsert")

    store.merge("x")

    assert store.online_features(["spend"], {"user_id": 1}) == {"user_id": 1, "amount": 11, "note": "ours"}
    assert len(held(store)) == 4


def conflict(store: ml.Store) -> ml.Store:
    branch = diverged(store)
    branch.write("spend", rows({1: 11}, note=["theirs"]), mode="upsert")
    store.write("spend", rows({1: 12}, note=["ours"]), mode="upsert")
    return branch


def test_a_cell_that_both_changed_is_refused_with_a_table(store: ml.Store) -> None:
    conflict(store)
    before = store.history()

    with pytest.raises(ml.MergeConflictError, match="2 conflicts, the first in spend user_id=1: amount") as refusal:
        store.merge("x")

    told = refusal.value.conflicts.select(["table", "key", "column", "base", "ours", "theirs"]).to_pylist()
    assert told == [
        {"table": "spend", "key": "user_id=1", "column": "amount", "base": "10", "ours": "12", "theirs": "11"},
        {"table": "spend", "key": "user_id=1", "column": "note", "base": "n", "ours": "ours", "theirs": "theirs"},
    ]
    assert store.history() == before
    assert online(store) == [12, 20, 30, 40]


@pytest.mark.parametrize(
    ("strategy", "amount", "note"),
    [
        ("ours", 12, "ours"),
        ("theirs", 11, "theirs"),
        ({"amount": "theirs", "note": "ours"}, 11, "ours"),
        ({"spend:amount": "theirs", "*": "ours"}, 11, "ours"),
        ({"amount": lambda base, ours, theirs: ours + theirs - base, "*": "theirs"}, 13, "theirs"),
        ({"*": lambda base, ours, theirs: None}, None, None),
    ],
)
def test_a_strategy_settles_it_by_column(store: ml.Store, strategy: Any, amount: object, note: object) -> None:
    conflict(store)

    store.merge("x", strategy=strategy)

    assert store.online_features(["spend"], {"user_id": 1}) == {"user_id": 1, "amount": amount, "note": note}
    assert [user for user, *_ in sorted(map(str, store.read("spend").table()["user_id"].to_pylist()))].count("1") == 1


@pytest.mark.parametrize(("strategy", "there"), [("ours", 12), ("theirs", None)])
def test_a_row_changed_here_and_deleted_there_is_a_conflict(store: ml.Store, strategy: str, there: int | None) -> None:
    branch = diverged(store)
    branch.delete("spend", keys={"user_id": 1})
    store.write("spend", rows({1: 12}), mode="upsert")

    with pytest.raises(ml.MergeConflictError) as refusal:
        store.merge("x", strategy={"amount": max})
    assert refusal.value.conflicts.select(["column", "ours", "theirs"]).to_pylist() == [
        {"column": "", "ours": "changed", "theirs": "deleted"}
    ]

    store.merge("x", strategy=strategy)
    assert online(store) == [there, 20, 30, 40]


def test_the_same_done_on_both_sides_is_no_conflict(store: ml.Store) -> None:
    branch = diverged(store)
    for each in (store, branch):
        each.write("spend", rows({1: 11}), mode="upsert")
        each.delete("spend", keys={"user_id": 2})
        each.write("spend", rows({5: 50}))

    store.merge("x")

    assert held(store) == [(1, 11), (3, 30), (4, 40), (5, 50)]


def test_new_rows_that_became_known_at_different_times_are_both_kept(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({5: 1}, known=["2026-01-03"]))
    store.write("spend", rows({5: 2}, known=["2026-01-02"]))

    store.merge("x")

    assert [amount for user, amount in held(store) if user == 5] == [1, 2]
    assert online(store, range(5, 6)) == [1]


def test_two_different_new_rows_of_one_key_and_clocks_are_a_conflict(store: ml.Store) -> None:
    branch = diverged(store)
    branch.write("spend", rows({5: 1}))
    store.write("spend", rows({5: 2}))

    with pytest.raises(ml.MergeConflictError):
        store.merge("x")


def test_tables_merge_by_their_key(store: ml.Store) -> None:
    store.write("clicks", {"id": [1, 2], "page": ["a", "b"], "count": [1, 1]}, mode="upsert")
    branch = store.branch("x")
    branch.write("clicks", {"id": [1, 3], "page": ["a", "new"], "count": [2, 1]}, mode="upsert")
    store.write("clicks", {"id": [1], "page": ["A"], "count": [1]}, mode="upsert")

    store.merge("x")

    assert store.read("clicks").table().to_pylist() == [
        {"id": 1, "page": "A", "count": 2},
        {"id": 2, "page": "b", "count": 1},
        {"id": 3, "page": "new", "count": 1},
    ]


def test_definitions_merge_too(store: ml.Store) -> None:
    branch = diverged(store)
    branch.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}, description="theirs"))
    branch.apply(ml.Table("new", schema={"a": ml.int64}))
    branch.write("new", {"a": [1, 2]})
    branch.write("spend", rows({1: 11}, at="2026-01-02", rain=[0.5]))
    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "city": ml.string}, ttl="2d"))
    store.write("spend", rows({2: 22}, at="2026-01-02", city=["Oslo"]))

    merged = store.merge("x")

    view = next(entry.definition for entry in store.catalog(kind="view"))
    assert list(view.schema) == ["amount", "note", "city", "rain"]
    assert (view.description, view.ttl) == ("theirs", "2d")
    table = store.read("spend", start="2026-01-02").table()
    assert sorted(zip(table["city"].to_pylist(), table["rain"].to_pylist(), strict=True), key=str) == [("Oslo", None), (None, 0.5)]
    assert store.read("new").table()["a"].to_pylist() == [1, 2]
    assert [change.op for change in merged.changes][:2] == ["apply create", "apply evolve"]


def test_a_definition_that_both_changed_is_a_conflict(store: ml.Store) -> None:
    branch = diverged(store)
    branch.apply(USER, spend(description="theirs"))
    store.apply(USER, spend(description="ours"))

    with pytest.raises(ml.MergeConflictError, match="spend: description"):
        store.merge("x")

    store.merge("x", strategy="theirs")
    assert next(entry.definition for entry in store.catalog(kind="view")).description == "theirs"


def test_a_view_made_on_both_sides_alike_becomes_one(store: ml.Store) -> None:
    branch = diverged(store)
    other = ml.FeatureView("other", entity=USER, schema={"a": ml.int64})
    for number, each in enumerate((store, branch)):
        each.apply(USER, other)
        each.write("other", {"user_id": [number], "event_timestamp": ["2026-01-01"], "a": [number]})

    store.merge("x")

    assert sorted(store.read("other").table()["a"].to_pylist()) == [0, 1]


def test_a_view_made_on_both_sides_is_merged_again_and_again(store: ml.Store) -> None:
    """The two tables of one name lie on one line, each with a tail of its own, which were taken for the same."""
    trial = store.branch("trial")
    visits = ml.FeatureView("visits", entity=USER, schema={"count": ml.int64})
    for side in (store, trial):
        side.apply(visits)
    for day in range(1, 4):
        store.write("visits", {"user_id": [1], "event_timestamp": [f"2026-01-0{day}"], "count": [day]})
        trial.write("visits", {"user_id": [2] * day, "event_timestamp": [f"2026-01-0{day}"] * day, "count": list(range(day))})

        store.merge("trial")

        assert store.read("visits").num_rows == day + sum(range(day + 1))
    assert not store.verify().problems


def test_many_rows_are_merged_as_segments(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    branch = diverged(store)
    for day in range(2, 8):
        branch.write("spend", rows(dict.fromkeys(range(10), day), at=f"2026-01-0{day}"))
    branch.delete("spend", keys={"user_id": [8, 9]})

    store.merge("x")

    assert len(held(store)) == 4 + 6 * 8
    assert next(table["segments"] for table in store.info()["tables"] if table["name"] == "spend") > 0
    assert online(store, range(10)) == [7] * 8 + [None] * 2


@pytest.mark.parametrize("strategy", ["both", {"amount": 3}])
def test_a_strategy_that_makes_no_sense_is_refused(store: ml.Store, strategy: Any) -> None:
    diverged(store)

    with pytest.raises(ml.UsageError, match="strategy"):
        store.merge("x", strategy=strategy)


def test_a_version_reads_only_and_cannot_be_merged_into(store: ml.Store) -> None:
    diverged(store)

    with pytest.raises(ml.ReadOnlyError):
        store.at("x").merge("main")
    with pytest.raises(ml.UnknownVersionError):
        store.merge("nothing")
