"""Transactions: several steps in one commit, all or nothing, each seeing the ones before it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

import mlstore as ml
from tests.unit.engine.test_branches import DAY, USER, online, rows, spend

CLICKS = ml.Table("clicks", schema={"id": ml.int64, "page": ml.string}, key="id")


@pytest.fixture
def store(tmp_path: Path) -> ml.Store:
    opened = ml.open(tmp_path / "store.mls", durability="normal")
    opened.apply(USER, spend(), CLICKS)
    opened.write("spend", rows({1: 10, 2: 20}))
    return opened


def test_several_steps_are_one_commit_that_lists_them(store: ml.Store) -> None:
    before = len(store.history())

    with store.transaction(message="nightly", author="ada") as tx:
        tx.write("spend", rows({3: 30}))
        tx.write("clicks", {"id": [1], "page": ["a"]}, mode="upsert")
        tx.delete("spend", keys={"user_id": 1})

    commit, *_ = store.history()
    assert len(store.history()) == before + 1
    assert (commit.message, commit.author) == ("nightly", "ada")
    assert [(change.op, change.table, change.rows) for change in commit.changes] == [
        ("append", "spend", 1),
        ("upsert", "clicks", 1),
        ("delete", "spend", 1),
    ]
    assert store.at(commit).online_features(["spend:amount"], {"user_id": [1, 3]})["amount"].to_pylist() == [None, 30]
    assert not store.verify().problems


def test_a_transaction_sees_what_it_wrote_and_others_do_not(store: ml.Store) -> None:
    with store.transaction() as tx:
        tx.write("spend", rows({1: 11, 3: 30}, at="2026-01-02"))

        assert online(tx) == [11, 20, 30, None]
        assert online(store) == [10, 20, None, None]
        assert tx.read("spend").num_rows == 4
        labels = {"user_id": [1], "event_timestamp": ["2026-01-03"]}
        assert tx.training_set(labels, ["spend:amount"])["amount"].to_pylist() == [11]
        assert tx.explain({"user_id": 1, "event_timestamp": "2026-01-03"}, "spend:amount").value == 11
        tx.delete("spend", keys={"user_id": 2})
        assert online(tx) == [11, None, 30, None]

    assert online(store) == [11, None, 30, None]


def test_a_definition_applied_in_a_transaction_can_be_written_in_it(store: ml.Store) -> None:
    wider = spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64})

    with store.transaction() as tx:
        tx.apply(USER, wider)
        tx.write("spend", rows({1: 11}, at="2026-01-02", rain=[0.5]))
        assert tx.online_features(["spend:rain"], {"user_id": 1})["rain"] == 0.5
        with pytest.raises(ml.UnknownNameError):
            store.read("spend", columns=["rain"])

    assert store.online_features(["spend:rain"], {"user_id": 1})["rain"] == 0.5
    assert [change.op for change in store.history()[0].changes] == ["apply evolve", "append"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_undoes_all_of_it(store: ml.Store, error: type[BaseException]) -> None:
    before = store.history()

    def fail() -> None:
        with store.transaction() as tx:
            tx.write("spend", rows({1: 11}, at="2026-01-02"))
            tx.apply(ml.Table("other", schema={"a": ml.int64}))
            raise error

    with pytest.raises(error):
        fail()

    assert store.history() == before
    assert online(store) == [10, 20, None, None]
    assert "other" not in {entry.name for entry in store.catalog()}
    assert not store.verify().problems


def test_a_step_that_is_refused_before_it_wrote_can_be_made_good(store: ml.Store) -> None:
    with store.transaction() as tx:
        tx.write("spend", rows({1: 11}, at="2026-01-02"))
        with pytest.raises(ml.SchemaMismatchError):
            tx.write("spend", {"user_id": [1]})
        with pytest.raises(ml.UnknownNameError):
            tx.write("nothing", {"user_id": [1]})
        tx.write("spend", rows({2: 22}, at="2026-01-02"))

    assert online(store) == [11, 22, None, None]


def test_a_step_that_failed_half_way_spoils_the_whole(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("half-way")

    def swallow() -> None:
        with store.transaction() as tx:
            tx.write("spend", rows({3: 30}))
            monkeypatch.setattr("mlstore.engine.writing.growing.put_state", fail)
            with suppress(RuntimeError):
                tx.write("spend", rows({1: 11}, at="2026-01-02"))

    with pytest.raises(ml.UsageError, match="half-way"):
        swallow()

    assert online(store) == [10, 20, None, None]
    assert not store.verify().problems


def test_a_bulk_load_is_a_step_like_any_other(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.engine.limits.STAGE_BYTES", 1 << 16)
    count = 40_000
    bulk = pa.table({"user_id": range(count), "event_timestamp": pa.array([0] * count, pa.timestamp("us", "UTC")),
                     "known": pa.array([0] * count, pa.timestamp("us", "UTC")), "amount": range(count), "note": ["n"] * count})  # fmt: skip

    with suppress(KeyboardInterrupt), store.transaction() as tx:
        tx.write("spend", bulk)
        raise KeyboardInterrupt
    assert store.read("spend").num_rows == 2

    with store.transaction() as tx:
        tx.write("spend", bulk)
        tx.write("spend", rows({7: 70}))
        assert tx.read("spend").num_rows == count + 3
        kept = tx.read("spend", columns=["amount"]).table()
    store.optimize()

    assert store.read("spend").num_rows == count + 3
    assert sum(kept["amount"].to_pylist()) == sum(range(count)) + 10 + 20 + 70
    assert online(store, range(7, 8)) == [70]
    assert not store.verify().problems


def test_nothing_done_is_no_commit(store: ml.Store) -> None:
    before = store.history()

    with store.transaction():
        pass

    assert store.history() == before


def test_writes_of_other_threads_wait_for_the_end(store: ml.Store) -> None:
    order: list[str] = []

    def write() -> None:
        store.write("spend", rows({4: 40}))
        order.append("other")

    with store.transaction() as tx:
        thread = threading.Thread(target=write)
        thread.start()
        tx.write("spend", rows({3: 30}))
        thread.join(0.2)
        order.append("transaction")
    thread.join()

    assert order == ["transaction", "other"]
    assert online(store) == [10, 20, 30, 40]


def test_a_second_writer_in_the_same_thread_is_refused(store: ml.Store) -> None:
    with store.transaction() as tx:
        with pytest.raises(ml.UsageError, match="writing already"):
            store.write("spend", rows({3: 30}))
        with pytest.raises(ml.UsageError, match="writing already"), store.transaction():
            pass
        with pytest.raises(ml.UsageError, match="step of a transaction"), tx.transaction():
            pass


@pytest.mark.parametrize(
    "act",
    [
        lambda tx: tx.snapshot("s"),
        lambda tx: tx.branch("x"),
        lambda tx: tx.merge("main"),
        lambda tx: tx.rollback("main"),
        lambda tx: tx.revert("main"),
        lambda tx: tx.optimize(),
        lambda tx: tx.verify(),
        lambda tx: tx.close(),
        lambda tx: tx.backup("copy"),
    ],
)
def test_what_is_no_step_is_refused_by_name(store: ml.Store, act) -> None:  # type: ignore[no-untyped-def]
    with store.transaction() as tx, pytest.raises(ml.UsageError, match="cannot be a step of a transaction"):
        act(tx)


def test_a_transaction_is_over_at_the_end_of_its_block(store: ml.Store) -> None:
    with store.transaction() as tx:
        tx.write("spend", rows({3: 30}))

    with pytest.raises(ml.ClosedError, match="over"):
        tx.read("spend")


def test_a_transaction_belongs_to_its_thread(store: ml.Store) -> None:
    caught: list[BaseException] = []

    def read(tx: ml.Store) -> None:
        try:
            tx.read("spend")
        except ml.UsageError as error:
            caught.append(error)

    with store.transaction() as tx:
        thread = threading.Thread(target=read, args=[tx])
        thread.start()
        thread.join()

    assert len(caught) == 1


def test_an_older_version_can_be_read_within_a_transaction(store: ml.Store) -> None:
    store.snapshot("v1")

    with store.transaction() as tx:
        tx.write("spend", rows({1: 11}, at="2026-01-02"))
        assert online(tx.at("v1")) == [10, 20, None, None]


def test_a_read_only_store_has_no_transactions(store: ml.Store) -> None:
    with pytest.raises(ml.ReadOnlyError), store.at("main").transaction():
        pass
    with ml.open(store.path, read_only=True) as reader, pytest.raises(ml.ReadOnlyError), reader.transaction():
        pass
    assert DAY
