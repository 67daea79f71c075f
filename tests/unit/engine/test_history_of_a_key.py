"""The history of a table or a key: its commits, each once, and none for what was never there."""

from __future__ import annotations

import pytest

import mlstore as ml
from mlstore.engine.versions import put_ref
from mlstore.format.manifest import Ref
from tests.unit.engine.test_branches import USER, rows, spend


@pytest.fixture
def filled(store: ml.Store) -> ml.Store:
    store.apply(USER, spend())
    store.write("spend", rows({1: 10, 3: 30}))
    return store


def test_a_commit_that_changed_a_table_twice_is_one_commit_of_it(filled: ml.Store) -> None:
    before = filled.history(table="spend")
    with filled.transaction() as both:
        both.write("spend", rows({1: 11}, at="2026-01-02"))
        both.write("spend", rows({3: 33}, at="2026-01-02"))

    found = filled.history(table="spend")

    assert [commit.id for commit in found] == [filled.history()[0].id, *(commit.id for commit in before)]


@pytest.mark.parametrize("user", [2, 4, None])
def test_a_key_that_was_never_written_has_no_history(filled: ml.Store, user: int | None) -> None:
    filled.optimize()

    assert filled.history(table="spend", key={"user_id": user}) == []
    assert len(filled.history(table="spend", key={"user_id": 3})) == 1


def test_a_branch_on_a_line_that_is_not_there_is_found(filled: ml.Store) -> None:
    with filled._session.environment.writer() as writer:
        put_ref(writer, "lost", Ref("branch", 99, 0, "", 1, ""))

    with pytest.raises(ml.CorruptionError, match="'lost' stands on line 99, which is not there"):
        filled.verify()


def test_a_feature_added_on_both_sides_merges_in_the_wider_type(filled: ml.Store) -> None:
    branch = filled.branch("x")
    for side, dtype in ((filled, ml.int32), (branch, ml.int64)):
        side.apply(spend(schema={"amount": ml.int64, "note": ml.string, "extra": dtype}))

    filled.merge("x")

    assert filled.catalog(kind="view")[0].definition.schema["extra"] == ml.int64
    assert filled.online_features(["spend:extra"], {"user_id": 1}) == {"user_id": 1, "extra": None}


def test_a_feature_added_on_both_sides_in_types_of_no_kin_is_a_conflict(filled: ml.Store) -> None:
    branch = filled.branch("x")
    for side, dtype in ((filled, ml.int32), (branch, ml.string)):
        side.apply(spend(schema={"amount": ml.int64, "note": ml.string, "extra": dtype}))

    with pytest.raises(ml.MergeConflictError) as refused:
        filled.merge("x")

    assert refused.value.conflicts["column"].to_pylist() == ["schema"]


def test_a_reader_takes_views_as_they_were_declared(filled: ml.Store) -> None:
    reader = filled.reader([spend()])

    assert reader.online_features({"user_id": 3}) == {"user_id": 3, "amount": 30, "note": "n"}
    assert repr(reader) == "<mlstore.OnlineReader of spend>"
