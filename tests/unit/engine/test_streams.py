"""Streams: group commits, receipts, back-pressure, and who hears of what goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.writing import ingest

USER = ml.Entity("user", keys={"user_id": ml.int64})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.float64, "seen": ml.vector(2)})
LONG = 3600.0


@pytest.fixture
def spend(store: ml.Store) -> ml.Store:
    store.apply(USER, SPEND)
    return store


def row(user: int, day: int = 1, **values: Any) -> dict[str, Any]:
    return {"user_id": user, "event_timestamp": f"2024-05-{day:02}", "amount": float(user), "seen": [0.0, 1.0]} | values


def users(store: ml.Store) -> list[int]:
    return sorted(store.read("spend", columns=["user_id"]).table()["user_id"].to_pylist())


@pytest.fixture
def held_writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writes of streams wait until the event is set."""
    may_write, write_few = threading.Event(), ingest.write_few

    def wait_and_write(*args: Any, **options: Any) -> Any:
        assert may_write.wait(60)
        return write_few(*args, **options)

    monkeypatch.setattr("mlstore.engine.writing.ingest.write_few", wait_and_write)
    yield may_write
    may_write.set()


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("mlstore.engine.writing.ingest.write_few", fail)


def test_rows_appended_together_share_one_commit_with_online_history_and_feed(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        receipts = [stream.append(row(user)) for user in range(5)]

    commits = {receipt.result() for receipt in receipts}
    assert len(commits) == 1
    assert commits.pop().id == spend.history(limit=1)[0].id
    assert users(spend) == [0, 1, 2, 3, 4]
    assert spend.online_features(["spend:amount"], {"user_id": 3}) == {"user_id": 3, "amount": 3.0}
    spend.verify()


def test_a_group_is_written_when_it_is_full(spend: ml.Store):
    with spend.stream("spend", max_rows=2, max_seconds=LONG) as stream:
        first, second, third = (stream.append(row(user)) for user in range(3))
        commit = first.result(60)

        assert second.result() == commit
        assert not third.done()
    assert third.result() != commit


def test_a_group_is_written_when_its_time_has_come(spend: ml.Store):
    called = threading.Event()
    with spend.stream("spend", max_seconds=0.01) as stream:
        stream.append(row(1)).add_done_callback(lambda receipt: called.set())

        assert called.wait(60)
        assert users(spend) == [1]


def test_who_waits_for_a_receipt_does_not_wait_for_more_rows(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        commit = stream.append(row(1)).result(60)

    assert commit.changes[0].rows == 1


def test_flush_waits_until_all_is_durable(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        stream.append(row(1))
        stream.flush(60)

        assert users(spend) == [1]


def test_threads_share_commits(spend: ml.Store, held_writes: threading.Event):
    before = len(spend.history())
    with spend.stream("spend") as stream:
        threads = [threading.Thread(target=stream.append, args=(row(user),)) for user in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held_writes.set()

    assert users(spend) == list(range(8))
    assert len(spend.history()) - before < 8


def test_a_batch_becomes_visible_in_one_commit_beside_single_rows(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        single = stream.append(row(1))
        batch = stream.append_many([row(2), row(3)])
        last = stream.append(row(4))

    assert single.result() == batch.result() == last.result()
    assert users(spend) == [1, 2, 3, 4]


def test_a_late_row_never_replaces_a_newer_one_within_a_group_or_after_it(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        for day, amount in ((5, 50.0), (4, 40.0), (5, 51.0)):
            stream.append(row(1, day, amount=amount))
        stream.flush(60)
        stream.append(row(1, 3, amount=30.0))

    assert spend.online_features(["spend:amount"], {"user_id": 1})["amount"] == 51.0
    assert spend.read("spend").num_rows == 4
    spend.verify()


def test_a_dict_and_a_list_in_it_may_be_used_again_at_once(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        reused = row(1)
        stream.append(reused)
        reused["user_id"] = 2
        reused["seen"][0] = 9.0
        stream.append(reused)

    assert spend.online_features(["spend:seen"], {"user_id": 1})["seen"] == [0.0, 1.0]
    assert spend.online_features(["spend:seen"], {"user_id": 2})["seen"] == [9.0, 1.0]


@pytest.mark.parametrize("wrong", [{"user_id": 1}, row(1, color="red"), [1, 2], 7])
def test_a_row_of_other_columns_is_refused_at_once(spend: ml.Store, wrong: Any):
    with spend.stream("spend") as stream:
        with pytest.raises(ml.SchemaMismatchError):
            stream.append(wrong)
        stream.append(row(2))

    assert users(spend) == [2]


@pytest.mark.parametrize("wrong", [row(1, amount="much"), row(1, seen=[1.0]), row(1, user_id=None), row(1, event_timestamp="never")])
def test_a_row_that_does_not_fit_harms_no_other(spend: ml.Store, wrong: dict[str, Any]):
    with spend.stream("spend", max_seconds=LONG) as stream:
        before = [stream.append(row(user)) for user in (2, 3)]
        refused = stream.append(wrong)
        after = [stream.append(row(user)) for user in (4, 5)]
        with pytest.raises((ml.SchemaMismatchError, ml.InvalidDataError)):
            refused.result(60)

    assert all(receipt.exception() is None for receipt in (*before, *after))
    assert users(spend) == [2, 3, 4, 5]


def test_rows_with_and_without_a_zone_are_each_judged_alone(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        receipts = [stream.append(row(user, event_timestamp=datetime(2024, 5, 1, tzinfo=zone))) for user, zone in ((1, UTC), (2, None))]

    assert [receipt.exception() for receipt in receipts] == [None, None]


def test_a_refusal_that_nobody_has_looked_at_is_told_at_the_end(spend: ml.Store):
    stream = spend.stream("spend")
    stream.append(row(1, amount="much"))

    with pytest.raises(ml.InvalidDataError, match="1 appends were refused"):
        stream.close()


def test_a_batch_that_does_not_fit_is_refused_at_once(spend: ml.Store):
    with spend.stream("spend") as stream, pytest.raises(ml.SchemaMismatchError):
        stream.append_many([row(1), row(2, amount="much")])

    assert users(spend) == []


def test_append_waits_for_room_and_gives_up_after_its_timeout(spend: ml.Store, held_writes: threading.Event):
    with spend.stream("spend", max_rows=1, max_pending=2) as stream:
        stream.append(row(1))
        stream.append(row(2))
        with pytest.raises(ml.StoreBusyError):
            stream.append(row(3), timeout=0.01)
        held_writes.set()
        stream.append(row(4), timeout=60)

    assert users(spend) == [1, 2, 4]


def test_a_failed_write_is_told_to_receipts_later_appends_and_the_end_of_the_block(spend: ml.Store, monkeypatch: pytest.MonkeyPatch):
    fail_with(ml.StoreFullError("no room", hint="make room"), monkeypatch)

    stream = spend.stream("spend")
    receipt = stream.append(row(1))

    assert isinstance(receipt.exception(60), ml.StoreFullError)
    with pytest.raises(ml.StoreFullError):
        stream.append(row(2))
    with pytest.raises(ml.StoreFullError, match="1 rows appended to it are not stored: no room") as told, stream:
        pass
    assert told.value.hint == "make room"
    assert users(spend) == []


def test_an_unforeseen_error_leaves_nobody_waiting(spend: ml.Store, monkeypatch: pytest.MonkeyPatch):
    fail_with(MemoryError("none left"), monkeypatch)
    stream = spend.stream("spend")

    error = stream.append(row(1)).exception(60)

    assert isinstance(error, ml.StoreError)
    with pytest.raises(ml.StoreError, match="none left"):
        stream.close()


def test_what_was_appended_before_the_block_failed_is_written(spend: ml.Store):
    with pytest.raises(ZeroDivisionError), spend.stream("spend", max_seconds=LONG) as stream:
        stream.append(row(1 // (stream.append(row(1)).done() + 0)))

    assert users(spend) == [1]


def test_a_closed_stream_takes_nothing(spend: ml.Store):
    with spend.stream("spend") as stream:
        pass
    stream.close()

    with pytest.raises(ml.ClosedError):
        stream.append(row(1))


def test_closing_the_store_first_is_told_and_loses_nothing_in_silence(spend: ml.Store, store_path: Path):
    store = ml.open(store_path)
    stream = store.stream("spend", max_seconds=LONG)
    receipt = stream.append(row(1))
    store.close()

    with pytest.raises(ml.ClosedError, match="1 rows"):
        stream.close()
    assert isinstance(receipt.exception(), ml.ClosedError)


def test_a_receipt_cannot_be_cancelled(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        receipt = stream.append(row(1))

        assert not receipt.cancel()
        assert not receipt.cancelled()
        assert receipt.running()
    assert users(spend) == [1]


def test_a_receipt_can_be_awaited_and_the_await_cancelled(spend: ml.Store, held_writes: threading.Event):
    async def append() -> ml.Commit:
        with spend.stream("spend", max_seconds=LONG) as stream:
            receipt = stream.append(row(1))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receipt, 0.01)
            held_writes.set()
            return await receipt

    commit = asyncio.run(append())

    assert commit.changes[0].rows == 1


def test_waiting_for_a_receipt_ends_after_its_timeout(spend: ml.Store, held_writes: threading.Event):
    with spend.stream("spend") as stream:
        with pytest.raises(TimeoutError):
            stream.append(row(1)).result(0.01)
        held_writes.set()


def test_a_callback_that_fails_harms_nobody(spend: ml.Store, caplog: pytest.LogCaptureFixture):
    with spend.stream("spend", max_seconds=LONG) as stream:
        stream.append(row(1)).add_done_callback(lambda receipt: 1 / 0)
        assert stream.append(row(2)).result(60)

    assert "a callback of a receipt failed" in caplog.text


def test_a_stream_follows_a_view_that_evolves(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        old = stream.append(row(1))
        grown = ml.FeatureView("spend", entity=USER, schema=dict(SPEND.schema) | {"note": ml.string})
        spend.apply(USER, grown)
        old.result(60)
        stream.append(row(2, note="new"))

    assert spend.online_features(["spend:note"], {"user_id": [1, 2]})["note"].to_pylist() == [None, "new"]


def test_rows_packed_before_the_view_evolved_are_read_as_it_is_now(spend: ml.Store):
    with spend.stream("spend", max_seconds=LONG) as stream:
        old = [stream.append(row(user, event_timestamp=datetime(2024, 5, user, tzinfo=UTC))) for user in (1, 2)]
        together = stream.append_many([row(3), row(4)])
        spend.apply(USER, ml.FeatureView("spend", entity=USER, schema=dict(SPEND.schema) | {"note": ml.string}))
        assert {receipt.result(60) for receipt in old} == {together.result(60)}

    table = spend.online_features(["spend:amount", "spend:seen", "spend:note"], {"user_id": [1, 2, 3, 4]})
    assert table["amount"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert table["seen"].to_pylist() == [[0.0, 1.0]] * 4
    assert table["note"].to_pylist() == [None] * 4
    spend.verify()


def test_what_became_full_during_a_commit_shares_the_next_one(spend: ml.Store, held_writes: threading.Event):
    with spend.stream("spend", max_rows=2, max_seconds=LONG) as stream:
        first = stream.append_many([row(1), row(2)])
        receipts = [stream.append(row(user)) for user in range(3, 9)]
        held_writes.set()
        shared = {receipt.result(60) for receipt in receipts}

    assert len({first.result(), *shared}) <= 2  # one, if the thread has not yet begun with the first group
    assert users(spend) == list(range(1, 9))


def test_a_refusal_is_told_to_its_own_receipt_wherever_the_groups_are_cut(spend: ml.Store, held_writes: threading.Event):
    with spend.stream("spend", max_rows=3, max_seconds=LONG) as stream:
        receipts = [stream.append(row(user, amount="much" if user in (2, 5, 6) else 1.0)) for user in range(10)]
        held_writes.set()
        refused = [user for user, receipt in enumerate(receipts) if receipt.exception(60) is not None]

    assert refused == [2, 5, 6]
    assert users(spend) == [0, 1, 3, 4, 7, 8, 9]


def test_a_group_that_came_to_be_large_goes_to_segments_and_answers_alike(spend: ml.Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "DIRECT_ROWS", 8)
    with spend.stream("spend", max_seconds=LONG) as stream:
        for user in range(20):
            stream.append(row(user % 5, day=1 + user % 7, amount=float(user)))
        stream.append(row(1, day=1, amount=-1.0))

    assert spend.info()["tables"][0]["segments"] == 1
    assert spend.read("spend").num_rows == 21
    newest = {key: max((1 + user % 7, user) for user in range(20) if user % 5 == key)[1] for key in range(5)}
    online = spend.online_features(["spend:amount"], {"user_id": list(range(5))})
    assert online["amount"].to_pylist() == [float(newest[key]) for key in range(5)]
    spend.verify()


def test_a_stream_is_refused_where_nothing_can_be_written(spend: ml.Store, store_path: Path):
    with ml.open(store_path, read_only=True) as reading, pytest.raises(ml.ReadOnlyError):
        reading.stream("spend")
    with pytest.raises(ml.UnknownNameError):
        spend.stream("spent")


@pytest.mark.parametrize("pace", [{"max_rows": 0}, {"max_seconds": -1}, {"max_rows": 5, "max_pending": 4}])
def test_a_pace_that_makes_no_sense_is_refused(spend: ml.Store, pace: dict[str, Any]):
    with pytest.raises(ml.UsageError):
        spend.stream("spend", **pace)
