"""The ledger: commits answer alike beside the counters and where they stay, and each is in one of the two places."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlstore as ml
from mlstore.engine import ledger, limits
from mlstore.engine.keeping import lines
from mlstore.engine.versions import LIVE

USER = ml.Entity("user", keys={"user_id": ml.int64})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.float64})
VISITS = ml.FeatureView("visits", entity=USER, schema={"pages": ml.int64})


@pytest.fixture
def filled(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> ml.Store:
    """Seven commits, of which two at least have moved on."""
    monkeypatch.setattr(limits, "RECENT_COMMITS", 3)
    store.apply(USER, SPEND, VISITS)
    for day in range(6):
        view, name = ("visits", "pages") if day % 2 else ("spend", "amount")
        store.write(view, {"user_id": 1, "event_timestamp": f"2024-05-0{day + 1}", name: day})
    return store


def places(store: ml.Store) -> tuple[int, int]:
    """How many commits lie beside the counters, and how many where they stay."""
    with store._session.environment.reader() as reader:
        return len(ledger.recent_bodies(reader)), reader.count(ledger.COMMITS)


def settled(store: ml.Store) -> None:
    with store._session.environment.writer() as writer:
        ledger.settle(writer)


def test_the_newest_commits_lie_beside_the_counters_and_move_on_together(filled: ml.Store) -> None:
    seen = [places(filled)]
    for day in range(10, 14):
        filled.write("spend", {"user_id": 1, "event_timestamp": f"2024-05-{day}", "amount": 0.0})
        seen.append(places(filled))

    assert [sum(pair) for pair in seen] == list(range(seen[0][0] + seen[0][1], seen[0][0] + seen[0][1] + 5))
    assert {recent for recent, _ in seen} == {1, 2, 3}
    assert not filled.verify().problems


def test_where_commits_lie_changes_no_answer(filled: ml.Store) -> None:
    def answers() -> list[object]:
        history = filled.history()
        return [
            [commit.id for commit in history],
            [commit.id for commit in filled.history(table="spend")],
            [commit.id for commit in filled.history(table="visits", since=history[4])],
            [commit.id for commit in filled.history(table="visits", key={"user_id": 1})],
            [filled.at(commit.id[:12]).read("spend").num_rows for commit in history],
            [filled.at(commit.time).history()[0].id for commit in history],
            filled.audit().to_pylist(),
            filled.info()["commits"],
        ]

    before, recent = answers(), places(filled)[0]
    settled(filled)

    assert recent > 0
    assert answers() == before
    assert places(filled)[0] == 0


def test_the_commits_of_a_table_are_told_once_each_and_up_to_a_bound(filled: ml.Store) -> None:
    spend = filled.history(table="spend")
    with filled._session.reading() as context:
        table = context.catalog.relation("spend").table
        told = {bound: [c.id for c in ledger.commits_of_table(context.reader, table, 1, bound)] for bound in (LIVE, spend[0].seq - 1)}

    assert told[LIVE] == [commit.id for commit in spend]
    assert told[spend[0].seq - 1] == [commit.id for commit in spend[1:]]


def test_an_id_begun_alike_in_both_places_is_refused(filled: ml.Store) -> None:
    newest = filled.history()[0]
    with filled._session.environment.writer() as writer:
        place = ledger.place_of(writer, filled.history()[-1].id)
        assert place is not None
        writer.put(ledger.COMMIT_IDS, bytes.fromhex(newest.id[:8]) + bytes(12), place)

    with pytest.raises(ml.UnknownVersionError, match="begins 2 commit ids"):
        filled.at(newest.id[:8])


def test_a_commit_that_has_moved_on_and_lies_behind_is_found(filled: ml.Store) -> None:
    with filled._session.environment.writer() as writer:
        place, body = next(iter(writer.scan(ledger.COMMITS)))
        writer.put(ledger.HEADS, ledger.RECENT + place, body)

    with pytest.raises(ml.CorruptionError, match="beside the counters is older"):
        filled.verify()


def test_a_line_that_is_swept_leaves_no_commit_to_be_indexed_later(filled: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRACE_US", -1)
    monkeypatch.setattr(limits, "RECENT_COMMITS", 100)
    filled.branch("try").write("spend", {"user_id": 9, "event_timestamp": "2024-07-01", "amount": 9.0})
    filled.delete_branch("try")
    with filled._session.writing() as context:
        swept = lines.sweep_lines(context)
    settled(filled)

    assert swept == 1
    assert not filled.verify().problems


def test_a_mirror_takes_over_commits_from_both_places(filled: ml.Store, tmp_path: Path) -> None:
    filled.clone(tmp_path / "mirror.mls")
    filled.write("spend", {"user_id": 2, "event_timestamp": "2024-07-01", "amount": 2.0})

    report = filled.push(tmp_path / "mirror.mls")

    assert report.commits == 1
    with ml.open(tmp_path / "mirror.mls") as mirror:
        assert [commit.id for commit in mirror.history()] == [commit.id for commit in filled.history()]
        assert not mirror.verify().problems
    assert filled.push(tmp_path / "mirror.mls").commits == 0
