"""Commits that are gone, or are not what was committed: verify tells which, and who still names them."""

from __future__ import annotations

import pytest

import mlstore as ml
from mlstore.engine.ledger import COMMIT_IDS, COMMITS, LINE_SEQ, settle
from mlstore.format.manifest import Commit
from tests.unit.engine.test_branches import USER, rows, spend


@pytest.fixture
def written(store: ml.Store) -> tuple[ml.Store, list[Commit]]:
    """Three commits of rows, the middle one under a name."""
    store.apply(USER, spend())
    made = []
    for amount in (1, 2, 3):
        made.append(store.write("spend", rows({7: amount})))
        if amount == 2:
            store.snapshot("two")
    return store, made


def lose(store: ml.Store, commit: Commit, *, with_id: bool) -> None:
    with store._session.environment.writer() as writer:
        settle(writer)
        writer.delete(COMMITS, LINE_SEQ.pack(commit.line, commit.seq))
        if with_id:
            writer.delete(COMMIT_IDS, bytes.fromhex(commit.id))


def told_by(store: ml.Store, trusted_head: str | None = None) -> str:
    with pytest.raises(ml.CorruptionError) as caught:
        store.verify(trusted_head=trusted_head)
    return caught.value.message


@pytest.mark.parametrize("with_id", [True, False])
def test_a_lost_commit_is_missed_by_all_that_name_it(written: tuple[ml.Store, list[Commit]], with_id: bool) -> None:
    store, made = written
    lose(store, made[1], with_id=with_id)

    told, lost = told_by(store), made[1].id[:12]

    assert f"commit {made[2].id[:12]} names a parent {lost} that does not exist" in told
    assert f"snapshot 'two' names a commit {lost} that does not exist" in told
    assert f"names a commit {lost} that does not exist: history was rewritten" in told.partition("audit entry ")[2]
    assert ("the index of commit ids is not that of the commits" in told) is not with_id


def test_a_history_with_a_lost_commit_proves_nothing_before_it(written: tuple[ml.Store, list[Commit]]) -> None:
    store, made = written
    lose(store, made[1], with_id=True)

    told = told_by(store, trusted_head=made[0].id)

    assert f"commit {made[1].id[:12]} is missing, or not what was committed: history was rewritten" in told
    assert f"the trusted commit {made[0].id[:12]} is not part of what led to this version" in told
    assert "is not part of what led" not in told_by(store, trusted_head=made[2].id)


def test_a_table_whose_history_lost_a_commit_says_so(written: tuple[ml.Store, list[Commit]]) -> None:
    store, made = written
    lose(store, made[1], with_id=True)

    with pytest.raises(ml.CorruptionError, match="names a commit at"):
        store.history(table="spend")
