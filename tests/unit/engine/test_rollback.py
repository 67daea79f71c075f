"""Rollback and revert: going back, and taking one commit back; live handles and online values follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits
from tests.unit.engine.test_branches import USER, held, online, rows, spend


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend())
        opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
        opened.snapshot("v1")
        yield opened
        assert not opened.verify().problems


def test_a_rollback_brings_back_rows_online_values_and_definitions(store: ml.Store) -> None:
    store.write("spend", rows({1: 11, 4: 40}, at="2026-01-02"))
    store.delete("spend", keys={"user_id": 2})
    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}))

    commit = store.rollback("v1")

    assert commit == store.history()[0] == store.at("v1").history()[0]
    assert online(store) == [10, 20, 30, None]
    assert held(store) == [(1, 10), (2, 20), (3, 30)]
    assert "rain" not in store.read("spend").schema.names


def test_after_a_rollback_work_goes_on(store: ml.Store) -> None:
    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}))
    store.write("spend", rows({1: 11}, at="2026-01-02", rain=[0.5]))
    store.rollback("v1")

    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "city": ml.string}))
    store.write("spend", rows({1: 12}, at="2026-01-02", city=["Oslo"]))
    store.delete("spend", keys={"user_id": 3})
    store.optimize()

    assert online(store) == [12, 20, None, None]
    assert store.read("spend", columns=["city"]).table()["city"].to_pylist().count("Oslo") == 1


def test_what_was_rolled_back_is_found_by_its_commit_and_by_the_reflog(store: ml.Store) -> None:
    lost = store.write("spend", rows({1: 11}, at="2026-01-02"))

    store.rollback("v1", message="bad source", author="ada")

    move = store.reflog()[0]
    assert (move.action, move.branch, move.before, move.message, move.author) == ("rollback", "main", lost.id, "bad source", "ada")
    assert online(store.at(lost.id)) == [11, 20, 30, None]
    assert online(store.branch("rescue", at=move.before)) == [11, 20, 30, None]


def test_what_was_rolled_back_stays_while_a_snapshot_names_it(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("spend", rows({1: 11}, at="2026-01-02"))
    store.snapshot("kept")
    store.rollback("v1")
    monkeypatch.setattr("mlstore.engine.limits.GRACE_US", -1)

    store.optimize()

    assert online(store.at("kept")) == [11, 20, 30, None]


def test_every_handle_follows_the_branch(store: ml.Store) -> None:
    other, earlier = ml.open(store.path), store.at("main")
    store.write("spend", rows({1: 11}, at="2026-01-02"))
    assert online(other) == [11, 20, 30, None]

    store.rollback("v1")

    assert online(other) == [10, 20, 30, None]
    other.write("spend", rows({1: 12}, at="2026-01-03"))
    assert online(store) == [12, 20, 30, None]
    assert online(earlier) == [10, 20, 30, None]


def test_arrays_read_before_a_rollback_stay_valid(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    store.write("spend", rows(dict.fromkeys(range(20), 7), at="2026-01-02"))
    monkeypatch.setattr("mlstore.engine.limits.GRACE_US", -1)
    lent = store.read("spend", columns=["amount"], start="2026-01-02").table()

    store.rollback("v1")
    store.optimize()

    assert lent["amount"].to_pylist() == [7] * 20


def test_a_rollback_to_where_the_branch_stands_changes_nothing(store: ml.Store) -> None:
    store.rollback("v1")

    assert store.reflog() == []


def test_going_back_again_and_again_ends_where_it_should(store: ml.Store) -> None:
    first = store.write("spend", rows({1: 11}, at="2026-01-02"))
    second = store.write("spend", rows({1: 12}, at="2026-01-03"))

    for commit, amount in ((first, 11), (second, 12), (first, 11)):
        if commit is second:
            store.merge(second)
        else:
            store.rollback(commit)
        assert online(store, range(1, 2)) == [amount]


def test_a_commit_of_another_branch_is_no_place_to_roll_back_to(store: ml.Store) -> None:
    branch = store.branch("x")
    commit = branch.write("spend", rows({1: 11}, at="2026-01-02"))

    with pytest.raises(ml.UsageError, match="not part of branch 'main'"):
        store.rollback(commit)
    with pytest.raises(ml.UnknownVersionError):
        store.rollback("nothing")
    with pytest.raises(ml.ReadOnlyError):
        store.at("v1").rollback("v1")


def test_a_reverted_commit_is_undone_and_what_came_after_stays(store: ml.Store) -> None:
    wrong = store.write("spend", rows({1: 99, 4: 99}, at="2026-01-02"))
    store.write("spend", rows({2: 22}, at="2026-01-02"))

    commit = store.revert(wrong, message="99 was a code for missing")

    assert commit.message == "99 was a code for missing"
    assert commit.parents == (store.history()[1].id,)
    assert online(store) == [10, 22, 30, None]
    assert online(store.at(wrong)) == [99, 20, 30, 99]


def test_a_reverted_delete_brings_the_rows_back_as_they_were(store: ml.Store) -> None:
    before = store.read("spend").table().sort_by("user_id")
    store.delete("spend", keys={"user_id": [1, 2]})

    store.revert(store.history()[0])

    assert store.read("spend").table().sort_by("user_id").equals(before)
    assert online(store) == [10, 20, 30, None]


def test_a_revert_of_a_revert_is_the_commit_again(store: ml.Store) -> None:
    wrong = store.write("spend", rows({1: 11}, at="2026-01-02"))

    store.revert(store.revert(wrong))

    assert online(store) == [11, 20, 30, None]


def test_reverting_what_was_changed_since_is_a_conflict(store: ml.Store) -> None:
    wrong = store.write("spend", rows({1: 11}), mode="upsert")
    store.write("spend", rows({1: 12}), mode="upsert")

    with pytest.raises(ml.MergeConflictError):
        store.revert(wrong)
    store.revert(wrong, strategy="theirs")

    assert online(store) == [10, 20, 30, None]


def test_history_can_be_asked_by_table_by_key_and_since(store: ml.Store) -> None:
    store.apply(ml.Table("lines", schema={"text": ml.string}))
    store.write("lines", {"text": ["a"]})
    ours = store.write("spend", rows({1: 11}, at="2026-01-02"))
    branch = store.branch("x")
    gone = branch.delete("spend", keys={"user_id": 1})
    store.write("spend", rows({2: 22}, at="2026-01-02"))

    first = store.at("v1").history()[0]
    assert branch.history(table="spend")[:3] == [gone, ours, first]
    assert branch.history(table="spend", key={"user_id": 1}) == [gone, ours, first]
    assert branch.history(table="spend", key={"user_id": 2}) == [first]
    assert branch.history(table="spend", key={"user_id": 99}) == []
    assert branch.history(table="spend", since="v1") == [gone, ours]
    assert branch.history(since=ours, limit=5) == [gone]
    with pytest.raises(ml.UsageError, match="needs table="):
        store.history(key={"user_id": 1})
    with pytest.raises(ml.SchemaMismatchError, match="has the key"):
        store.history(table="spend", key={"other": 1})
