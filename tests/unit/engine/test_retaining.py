"""Retaining: which versions stay readable, which are refused, and that what only those saw leaves the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.history.extents import EXTENTS
from mlstore.engine.keeping import retaining
from mlstore.engine.retained import Spans, join_spans
from tests.support.worlds import SECOND
from tests.unit.engine.conftest import Clock

USER = ml.Entity("user", keys={"name": ml.string})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64, "note": ml.string})

DAY = 86_400 * SECOND


def put(store: ml.Store, amount: int, *names: str) -> ml.Commit:
    """Replace what is known of some users, one event each."""
    chosen = names or ("ann", "bob")
    count = len(chosen)
    notes = [f"note {amount} of {name}" for name in chosen]
    columns = {"name": list(chosen), "event_timestamp": ["2026-01-01"] * count, "amount": [amount] * count, "note": notes}
    return store.write("spend", columns, mode="upsert")


def amounts(store: ml.Store) -> dict[str, int]:
    table = store.read("spend").table()
    return dict(zip(table["name"].to_pylist(), table["amount"].to_pylist(), strict=True))


def stored_rows(store: ml.Store) -> int:
    """All rows of the first line's segments and tail, whoever sees them."""
    with store._session.reading() as context:
        places = list(retaining.each_line(context))
        return sum(
            sum(len(block.content.time) - block.start for block in place.history(relation).blocks())
            for place in places
            for relation in place.catalog.relations()
            if place.scope.line == 1
        )


@pytest.fixture
def spend(store: ml.Store, clock: Clock) -> ml.Store:
    store.apply(USER, SPEND)
    return store


@pytest.fixture(params=["tail", "segments", "cold"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settle(store: ml.Store, where: str) -> None:
    """Let the rows lie where a test wants them."""
    if where != "tail":
        store.optimize(tier="cold" if where == "cold" else None)


def test_the_newest_commits_and_snapshots_stay_and_all_others_are_refused(spend: ml.Store, where: str) -> None:
    commits = [put(spend, amount) for amount in range(4)]
    spend.snapshot("v4")
    commits += [put(spend, amount) for amount in range(4, 8)]
    settle(spend, where)

    report = spend.retain(last=2)

    assert [amounts(spend.at(commits[place])) for place in (3, 6, 7)] == [{"ann": place, "bob": place} for place in (3, 6, 7)]
    assert amounts(spend.at("v4")) == {"ann": 3, "bob": 3}
    for commit in (*commits[:3], *commits[4:6]):
        with pytest.raises(ml.UnknownVersionError, match="let go by retain"):
            spend.at(commit)
    assert (report.versions_kept, report.versions_dropped) == (3, 6)
    assert report.rows == {"spend": 2 * 5}
    assert stored_rows(spend) == 2 * 3
    spend.verify()


def test_every_way_to_an_old_version_is_refused_by_name(spend: ml.Store, clock: Clock) -> None:
    old = put(spend, 1)
    clock.now += DAY
    made = spend.training_set({"name": ["ann"], "event_timestamp": ["2026-01-02"]}, ["spend"])
    clock.now += DAY
    put(spend, 2)
    handle, reader = spend.at(old), spend.at(old).reader(["spend"])
    assert reader.online_features({"name": "ann"})["amount"] == 1

    spend.retain(last=1)

    for ask in (
        lambda: spend.at(old.id[:10]),
        lambda: spend.at(old.time),
        lambda: spend.diff(old, "main"),
        lambda: spend.branch("trial", at=old),
        lambda: spend.rollback(old),
        lambda: spend.revert(spend.history(limit=1)[0]),
        lambda: handle.read("spend"),
        lambda: handle.training_set({"name": ["ann"], "event_timestamp": ["2026-01-02"]}, ["spend"]),
        lambda: handle.online_features(["spend"], {"name": "ann"}),
        lambda: reader.online_features({"name": "ann"}),
    ):
        with pytest.raises(ml.UnknownVersionError, match="let go by retain"):
            ask()
    with pytest.raises(ml.ReproductionError, match="missing: commit"):
        spend.reproduce(made)
    assert [branch.name for branch in spend.branches()] == ["main"]
    assert old in spend.history()
    assert amounts(spend) == {"ann": 2, "bob": 2}


def test_a_span_of_time_keeps_the_commits_made_in_it_and_the_newest_in_any_case(spend: ml.Store, clock: Clock) -> None:
    commits = []
    for amount in range(5):
        clock.now += DAY
        commits.append(put(spend, amount))

    spend.retain(within="1d12h")
    assert spend.audit()["subject"].to_pylist()[-1] == "last 1, within 1d12h"
    readable = [place for place, commit in enumerate(commits) if is_readable(spend, commit)]
    clock.now += 30 * DAY
    spend.retain(within="1d")

    assert readable == [3, 4]
    assert [place for place, commit in enumerate(commits) if is_readable(spend, commit)] == [4]


def is_readable(store: ml.Store, commit: ml.Commit) -> bool:
    try:
        store.at(commit)
    except ml.UnknownVersionError:
        return False
    return True


def test_what_was_let_go_never_comes_back(spend: ml.Store) -> None:
    commits = [put(spend, amount) for amount in range(5)]

    spend.retain(last=2)
    report = spend.retain(last=100)

    assert (report.versions_kept, report.versions_dropped, report.rows) == (2, 0, {})
    assert [is_readable(spend, commit) for commit in commits] == [False, False, False, True, True]


def test_a_dry_run_tells_the_same_and_changes_nothing(spend: ml.Store, where: str, store_path: Path) -> None:
    commits = [put(spend, amount) for amount in range(5)]
    settle(spend, where)
    acts = spend.audit().num_rows
    with ml.open(store_path, read_only=True) as other:
        told = other.retain(last=2, dry_run=True)

    assert all(is_readable(spend, commit) for commit in commits)
    assert spend.audit().num_rows == acts
    done = spend.retain(last=2)

    assert not told.is_done
    assert (told.versions_kept, told.versions_dropped, told.rows) == (done.versions_kept, done.versions_dropped, done.rows)
    assert "would be dropped" in str(told)


def test_a_call_that_keeps_nothing_is_refused(spend: ml.Store) -> None:
    for wrong in ({}, {"last": 0}, {"last": True}, {"last": 1.5}, {"within": "soon"}, {"within": "0s"}):
        with pytest.raises(ml.UsageError):
            spend.retain(**wrong)
    with spend.transaction() as tx, pytest.raises(ml.UsageError, match="retain cannot be a step of a transaction"):
        tx.retain(last=1)


def test_the_audit_tells_of_it_and_the_chain_holds(spend: ml.Store) -> None:
    for amount in range(5):
        put(spend, amount)
    sealed = spend.seal(spend.history()[3].id)

    spend.retain(last=2, message="monthly", author="ops")

    act = spend.audit().to_pylist()[-1]
    assert (act["action"], act["subject"], act["author"], act["message"], act["rows"]) == ("retain", "last 2", "ops", "monthly", 6)
    report = spend.verify(trusted_head=sealed)
    assert report.checks["seals of versions let go"] == 1


# ---------------------------------------------------------------- branches


def test_a_branch_keeps_where_it_began_and_its_own_newest(spend: ml.Store, where: str) -> None:
    put(spend, 1)
    trial = spend.branch("trial")
    for amount in range(2, 6):
        put(spend, amount)
    mine = [put(trial, amount, "ann") for amount in range(10, 14)]
    settle(spend, where)
    settle(trial, where)

    spend.retain(last=2)
    spend.compact()

    assert amounts(spend) == {"ann": 5, "bob": 5}
    assert amounts(trial) == {"ann": 13, "bob": 1}
    assert [is_readable(trial, commit) for commit in mine] == [False, False, True, True]
    assert amounts(trial.at(mine[2])) == {"ann": 12, "bob": 1}
    assert stored_rows(spend) == 2 * 3
    assert trial.online_features(["spend:amount"], {"name": ["ann", "bob"]})["amount"].to_pylist() == [13, 1]
    spend.verify()


def test_a_later_merge_still_sees_what_was_deleted_since_the_last_one(spend: ml.Store) -> None:
    put(spend, 1)
    trial = spend.branch("trial")
    put(trial, 2, "eve")
    put(spend, 3, "zoe")
    spend.merge("trial")
    trial.delete("spend", keys={"name": "eve"})
    put(trial, 4, "ann")
    put(trial, 5, "ann")

    spend.retain(last=1)
    spend.merge("trial")

    assert amounts(spend) == {"ann": 5, "bob": 1, "zoe": 3}
    spend.verify()


def test_what_a_branch_left_behind_stays_for_the_grace_period(spend: ml.Store, clock: Clock, where: str) -> None:
    put(spend, 1)
    spend.snapshot("v1")
    lost = [put(spend, amount) for amount in range(2, 5)]
    settle(spend, where)
    spend.rollback("v1")

    spend.retain(last=1)
    rescued = amounts(spend.at(lost[-1]))
    clock.now += 15 * DAY
    spend.retain(last=1)

    assert rescued == {"ann": 4, "bob": 4}
    assert not any(is_readable(spend, commit) for commit in lost)
    assert amounts(spend) == {"ann": 1, "bob": 1}
    assert stored_rows(spend) == 2
    spend.verify()


def test_a_branch_may_begin_at_a_snapshot_that_stayed(spend: ml.Store, where: str) -> None:
    put(spend, 1)
    spend.snapshot("v1")
    for amount in range(2, 5):
        put(spend, amount)
    settle(spend, where)
    spend.retain(last=1)

    trial = spend.branch("trial", at="v1")
    put(trial, 9, "bob")
    spend.retain(last=1)

    assert amounts(trial) == {"ann": 1, "bob": 9}
    assert trial.diff("v1").summary() == {"spend": {"added": 0, "removed": 0, "changed": 1}}
    spend.verify()


def test_a_deleted_snapshot_keeps_its_version_no_more_and_its_name_is_spent(spend: ml.Store, where: str) -> None:
    first = put(spend, 1)
    spend.snapshot("v1")
    put(spend, 2)
    settle(spend, where)

    spend.delete_snapshot("v1", message="superseded", author="ops")

    assert amounts(spend.at(first)) == {"ann": 1, "bob": 1}
    with pytest.raises(ml.UnknownVersionError, match=f"'v1' was deleted.*{first.id[:12]}"):
        spend.at("v1")
    with pytest.raises(ml.AlreadyExistsError, match="was deleted"):
        spend.snapshot("v1")
    with pytest.raises(ml.UnknownVersionError, match="no snapshot 'v1'"):
        spend.delete_snapshot("v1")
    with pytest.raises(ml.UnknownVersionError, match="no snapshot 'main'"):
        spend.delete_snapshot("main")
    act = spend.audit().to_pylist()[-1]
    assert (act["action"], act["subject"], act["author"], act["before"]) == ("snapshot delete", "v1", "ops", first.id)
    assert spend.info()["snapshots"] == {}
    spend.verify()
    assert spend.retain(last=1).rows == {"spend": 2}
    assert stored_rows(spend) == 2
    spend.verify()


# ---------------------------------------------------------------- room


def test_few_rows_are_not_worth_a_rewrite_and_go_with_the_next_merge(spend: ml.Store) -> None:
    names = [f"user {number}" for number in range(100)]
    put(spend, 1, *names)
    spend.optimize()
    put(spend, 2, *names[:2])

    report = spend.retain(last=1)
    kept = stored_rows(spend)
    spend.optimize()

    assert (report.rows, report.segments_rewritten) == ({"spend": 2}, 0)
    assert kept == 102
    assert stored_rows(spend) == 100
    assert amounts(spend) == dict.fromkeys(names, 1) | dict.fromkeys(names[:2], 2)


def test_arrays_of_a_version_that_was_let_go_stay_valid_and_are_counted(spend: ml.Store, small_limits: None) -> None:
    names = [f"user {number}" for number in range(40)]
    first = put(spend, 1, *names)
    spend.optimize()
    array = spend.at(first).read("spend", columns=["amount"]).table()["amount"]
    put(spend, 2, *names)
    spend.optimize()

    report = spend.retain(last=1)

    assert array.to_pylist() == [1] * 40
    assert report.segments_held > 0
    del array
    spend.optimize()
    assert spend.retain(last=1).segments_held == 0


def test_after_retaining_and_compacting_the_file_is_as_small_as_what_lives_in_it(tmp_path: Path) -> None:
    numbers = ml.FeatureView("numbers", entity=ml.Entity("key", keys={"key": ml.int64}), schema={"a": ml.float64, "b": ml.float64})
    rows = 40_000

    def fill(path: Path, rounds: range) -> ml.Store:
        store = ml.open(path, durability="normal")
        store.apply(ml.Entity("key", keys={"key": ml.int64}), numbers)
        for seed in rounds:
            values = np.random.default_rng(seed).random((2, rows))
            times = pa.array(np.zeros(rows, "datetime64[us]"))
            columns = {"key": np.arange(rows), "event_timestamp": times, "a": values[0], "b": values[1]}
            store.write("numbers", pa.table(columns), mode="upsert")
        return store

    with fill(tmp_path / "long.mls", range(6)) as long, fill(tmp_path / "short.mls", range(5, 6)) as short:
        for store in (long, short):
            store.optimize()
            store.compact()
        before = (tmp_path / "long.mls").stat().st_size
        long.retain(last=1)
        long.compact()
        sizes = [(tmp_path / name).stat().st_size for name in ("long.mls", "short.mls")]
        assert long.read("numbers").table().drop_columns("created") == short.read("numbers").table().drop_columns("created")

    assert before > 2 * sizes[1]
    assert sizes[0] <= 1.1 * sizes[1]


def test_interrupted_it_is_finished_by_the_next_optimize(spend: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = [put(spend, amount) for amount in range(5)]
    spend.optimize()

    with monkeypatch.context() as broken:
        broken.setattr("mlstore.engine.keeping.retaining.rewrite_wasteful", lambda session: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            spend.retain(last=1)

    assert not is_readable(spend, commits[0])
    assert stored_rows(spend) == 2 * 5
    spend.verify()
    spend.optimize()
    assert stored_rows(spend) == 2
    assert amounts(spend) == {"ann": 4, "bob": 4}
    spend.verify()


def test_verify_finds_a_snapshot_whose_version_was_let_go(spend: ml.Store) -> None:
    put(spend, 1)
    spend.snapshot("v1")
    put(spend, 2)
    with spend._session.writing() as context:
        retaining.put_spans(context.writer, 1, Spans(((context.reader.count(EXTENTS) + 50, 60),)))

    with pytest.raises(ml.CorruptionError, match="snapshot 'v1' names a version that was let go"):
        spend.verify()


# ---------------------------------------------------------------- spans


def test_spans_hold_their_ends_and_say_which_rows_nobody_sees() -> None:
    spans = join_spans([(8, 9), (5, 5), (9, 12), (20, 2**63 - 1)])
    seq, deleted = np.array([[1, 5], [1, 6], [6, 8], [6, 9], [13, 20], [13, 21], [30, 2**63 - 1], [3, 0]]).T

    gone = spans.unseen(seq, deleted)

    assert spans.spans == ((5, 5), (8, 12), (20, 2**63 - 1))
    assert [bound for bound in range(25) if spans.holds(bound)] == [5, 8, 9, 10, 11, 12, 20, 21, 22, 23, 24]
    assert gone.tolist() == [True, False, True, False, True, False, False, True]
    assert spans.within(Spans(((5, 10), (12, 30)))).spans == ((5, 5), (8, 10), (12, 12), (20, 30))
    assert Spans(((5, 6),)).unseen(np.array([7, 6]), np.array([2**63 - 1] * 2)).tolist() == [True, False]
    assert Spans(()).unseen(np.array([7]), np.array([2**63 - 1])).tolist() == [True]
