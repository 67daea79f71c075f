"""Branches: what one writes, deletes or applies the others do not see, online values included; names that move."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow.compute as pc
import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits

DAY = "2026-01-01"
USER = ml.Entity("user", keys={"user_id": ml.int64})


def spend(**changes: object) -> ml.FeatureView:
    rules: dict[str, object] = {"entity": USER, "schema": {"amount": ml.int64, "note": ml.string}, "created_timestamp": "known"}
    return ml.FeatureView("spend", **(rules | changes))


def rows(amounts: dict[int, int | None], *, at: str = DAY, **columns: object) -> dict[str, object]:
    users = list(amounts)
    known = {"known": [at] * len(users)}
    return (
        {"user_id": users, "event_timestamp": [at] * len(users), "amount": list(amounts.values()), "note": ["n"] * len(users)}
        | known
        | columns
    )


def online(store: ml.Store, users: range = range(1, 5)) -> list[int | None]:
    return list(store.online_features(["spend:amount"], {"user_id": list(users)})["amount"].to_pylist())


def held(store: ml.Store) -> list[tuple[int, int]]:
    table = store.read("spend").table()
    return sorted(zip(table["user_id"].to_pylist(), table["amount"].to_pylist(), strict=True))


@pytest.fixture
def store(tmp_path: Path) -> ml.Store:
    opened = ml.open(tmp_path / "store.mls", durability="normal")
    opened.apply(USER, spend())
    opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
    return opened


def test_a_branch_begins_with_all_that_its_parent_has(store: ml.Store) -> None:
    branch = store.branch("x")

    assert online(branch) == online(store) == [10, 20, 30, None]
    assert held(branch) == held(store)
    assert branch.history() == store.history()


def test_neither_sees_what_the_other_writes(store: ml.Store) -> None:
    branch = store.branch("x")

    store.write("spend", rows({1: 11, 4: 40}, at="2026-01-02"))
    branch.write("spend", rows({2: 22}, at="2026-01-02"))

    assert online(store) == [11, 20, 30, 40]
    assert online(branch) == [10, 22, 30, None]
    assert held(branch) == [(1, 10), (2, 20), (2, 22), (3, 30)]
    assert not store.verify().problems


def test_a_row_of_the_parent_deleted_on_a_branch_is_gone_there_only(store: ml.Store) -> None:
    branch = store.branch("x")

    branch.delete("spend", keys={"user_id": 1})

    assert (online(branch), online(store)) == ([None, 20, 30, None], [10, 20, 30, None])
    assert (held(branch), len(held(store))) == ([(2, 20), (3, 30)], 3)


def test_a_row_of_the_parent_deleted_on_a_branch_stays_gone_when_the_parent_seals_and_merges(
    store: ml.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_limits(monkeypatch)
    branch = store.branch("x")
    branch.delete("spend", keys={"user_id": 1})

    for day in range(2, 9):
        store.write("spend", rows({1: day, 2: day, 3: day, 4: day}, at=f"2026-01-0{day}"))
    store.optimize()

    assert held(branch) == [(2, 20), (3, 30)]
    assert not store.verify().problems


def test_a_row_deleted_on_the_parent_stays_on_the_branch(store: ml.Store) -> None:
    branch = store.branch("x")

    store.delete("spend", keys={"user_id": 1})
    store.optimize()

    assert online(branch) == [10, 20, 30, None]
    assert online(store) == [None, 20, 30, None]


def test_of_rows_that_one_bulk_load_cannot_tell_apart_a_branch_can_delete_one(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch names a row of its parent by key and clocks, which a bulk load gives to several rows alike."""
    shrink_limits(monkeypatch)
    equal = {"user_id": [9] * 6, "event_timestamp": [DAY] * 6, "known": [DAY] * 6, "amount": [1, 2, 3, 4, 5, 6], "note": list("abcdef")}
    store.write("spend", equal)
    branch = store.branch("x")

    branch.delete("spend", where=pc.field("amount") == 6)
    branch.delete("spend", where=pc.field("amount") == 2)

    assert [amount for user, amount in held(branch) if user == 9] == [1, 3, 4, 5]
    assert online(branch, range(9, 10)) == [5]
    assert online(store, range(9, 10)) == [6]
    assert not store.verify().problems


def test_a_late_row_does_not_replace_the_online_value_that_a_branch_has_from_its_parent(store: ml.Store) -> None:
    branch = store.branch("x")

    branch.write("spend", rows({1: 1}, at="2025-01-01"))

    assert online(branch) == [10, 20, 30, None]


def test_a_branch_of_an_older_version_has_the_online_values_of_then(store: ml.Store) -> None:
    store.snapshot("v1")
    store.write("spend", rows({1: 11, 4: 40}, at="2026-01-02"))
    store.delete("spend", keys={"user_id": 2})

    branch = store.branch("x", at="v1")
    store.write("spend", rows({1: 12}, at="2026-01-03"))

    assert online(branch) == [10, 20, 30, None]
    assert online(store) == [12, None, 30, 40]
    assert not store.verify().problems


def test_a_row_that_came_and_went_is_not_seen_by_a_branch_of_before(store: ml.Store) -> None:
    """A branch made in between keeps the row for itself; an older branch found it there and took it for its own."""
    store.snapshot("before")
    store.write("spend", rows({4: 40}))
    between = store.branch("between")
    store.delete("spend", keys={"user_id": 4})

    older = store.branch("older", at="before")

    assert online(between) == [10, 20, 30, 40]
    assert online(older) == [10, 20, 30, None]


def test_branches_of_branches_see_each_what_was_there_when_they_began(store: ml.Store) -> None:
    first = store.branch("first")
    first.write("spend", rows({1: 11}, at="2026-01-02"))
    second = first.branch("second")
    first.write("spend", rows({1: 12, 2: 22}, at="2026-01-03"))
    store.write("spend", rows({3: 33}, at="2026-01-03"))

    second.delete("spend", keys={"user_id": 3})

    assert online(second) == [11, 20, None, None]
    assert online(first) == [12, 22, 30, None]
    assert online(store) == [10, 20, 33, None]
    assert not store.verify().problems


def test_what_one_side_adds_to_a_view_the_other_does_not_know(store: ml.Store) -> None:
    branch = store.branch("x")
    branch.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}))
    store.apply(USER, spend(schema={"amount": ml.int64, "note": ml.string, "city": ml.string}))

    branch.write("spend", rows({1: 11}, at="2026-01-02", rain=[0.5]))
    store.write("spend", rows({1: 12}, at="2026-01-02", city=["Oslo"]))
    store.optimize()

    assert branch.read("spend", columns=["rain"]).table()["rain"].to_pylist().count(0.5) == 1
    assert set(branch.read("spend").schema.names) == {"user_id", "event_timestamp", "known", "amount", "note", "rain"}
    assert store.online_features(["spend:city"], {"user_id": 1})["city"] == "Oslo"
    assert branch.read("spend", where=pc.field("rain") > 0).table().num_rows == 1
    assert not store.verify().problems


def test_a_branch_is_found_again_after_closing(store: ml.Store) -> None:
    store.branch("x").write("spend", rows({1: 11}, at="2026-01-02"))
    path = store.path
    store.close()

    with ml.open(path, branch="x") as again:
        assert online(again) == [11, 20, 30, None]
        assert again.branch_name == "x"
    with ml.open(path) as again:
        assert online(again) == [10, 20, 30, None]


def test_a_handle_on_a_branch_survives_pickling(store: ml.Store) -> None:
    branch = store.branch("x")
    branch.write("spend", rows({1: 11}, at="2026-01-02"))

    copied = pickle.loads(pickle.dumps(branch))

    assert online(copied) == [11, 20, 30, None]
    assert pickle.loads(pickle.dumps(branch.at("main"))).read("spend").num_rows == 3


def test_a_version_of_another_branch_can_be_read_from_anywhere(store: ml.Store) -> None:
    branch = store.branch("x")
    commit = branch.write("spend", rows({1: 11}, at="2026-01-02"))
    branch.snapshot("on-x")

    assert online(store.at("on-x")) == online(store.at("x")) == online(store.at(commit.id)) == [11, 20, 30, None]


def test_branches_are_listed_renamed_and_deleted(store: ml.Store) -> None:
    store.branch("x", message="try it")
    store.branch("y")

    store.rename_branch("x", "z")
    store.delete_branch("y")

    assert [(branch.name, branch.message) for branch in store.branches()] == [("main", ""), ("z", "try it")]
    assert [(move.action, move.branch) for move in store.reflog()] == [("delete", "y"), ("rename", "x"), ("create", "y"), ("create", "x")]


def test_a_handle_on_a_deleted_branch_says_so(store: ml.Store) -> None:
    branch = store.branch("x")
    store.delete_branch("x")

    with pytest.raises(ml.UnknownVersionError, match="no branch 'x'"):
        branch.read("spend")


def test_a_name_is_given_once(store: ml.Store) -> None:
    store.branch("x")
    store.snapshot("s")

    with pytest.raises(ml.AlreadyExistsError, match="checkout"):
        store.branch("x")
    with pytest.raises(ml.AlreadyExistsError):
        store.branch("s")
    with pytest.raises(ml.AlreadyExistsError):
        store.snapshot("x")
    with pytest.raises(ml.UsageError, match="cannot name"):
        store.branch("a/b")


def test_a_protected_branch_is_written_and_nothing_else(store: ml.Store) -> None:
    branch = store.branch("x")
    store.protect_branch("x")

    branch.write("spend", rows({1: 11}, at="2026-01-02"))

    for refused in (
        lambda: store.delete_branch("x"),
        lambda: store.rename_branch("x", "y"),
        lambda: branch.rollback(store.history()[0]),
    ):
        with pytest.raises(ml.ReadOnlyError, match="protected"):
            refused()
    store.protect_branch("x", protected=False)
    store.delete_branch("x")


@pytest.mark.parametrize("act", ["delete_branch", "rename_branch"])
def test_the_first_branch_stays(store: ml.Store, act: str) -> None:
    with pytest.raises(ml.UsageError, match="'main' cannot be"):
        getattr(store, act)(*["main", "other"][: 1 if act == "delete_branch" else 2])


def test_what_a_deleted_branch_held_is_readable_for_a_time_and_then_swept(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = store.branch("x")
    commit = branch.write("spend", rows({1: 11}, at="2026-01-02"))
    store.delete_branch("x")
    store.optimize()
    assert online(store.at(commit.id)) == [11, 20, 30, None]

    monkeypatch.setattr("mlstore.engine.limits.GRACE_US", -1)
    store.optimize()

    with pytest.raises(ml.UnknownVersionError, match="are gone"):
        store.at(commit.id)
    assert not store.verify().problems


def test_online_rows_kept_for_a_branch_that_is_swept_still_serve_an_older_one(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    older = store.branch("older")
    store.write("spend", rows({2: 21}, at="2026-01-02"))
    store.branch("newer")
    store.write("spend", rows({1: 11}, at="2026-01-03"))
    store.delete_branch("newer")

    monkeypatch.setattr("mlstore.engine.limits.GRACE_US", -1)
    store.optimize()
    store.write("spend", rows({1: 12}, at="2026-01-04"))

    assert online(older) == [10, 20, 30, None]
    assert not store.verify().problems


def test_retention_keeps_what_a_branch_sees(store: ml.Store) -> None:
    branch = store.branch("x")
    store.apply(USER, spend(retention="1h"))

    store.optimize()

    assert held(store) == []
    assert len(held(branch)) == 3
    assert not store.verify().problems


def test_an_empty_store_can_be_branched(tmp_path: Path) -> None:
    store = ml.open(tmp_path / "empty.mls", durability="normal")

    branch = store.branch("x")
    branch.apply(USER, spend())
    branch.write("spend", rows({1: 1}))

    assert store.catalog() == []
    assert online(branch) == [1, None, None, None]
    assert store.merge("x") == branch.history()[0]
    assert online(store) == [1, None, None, None]


def test_a_file_that_names_no_line_in_its_catalogue_opens(store: ml.Store) -> None:
    """Files written before there were branches: their definitions belong to the first line, and their refs have six fields."""
    import msgpack

    from mlstore.engine.versions import REFS

    with store._session.environment.writer() as writer:
        packed = writer.get(REFS, b"main")
        assert packed is not None
        writer.put(REFS, b"main", msgpack.packb(msgpack.unpackb(packed)[:6]))

    assert online(ml.open(store.path)) == [10, 20, 30, None]
