"""Consumers: each event exactly once, whatever happens between the source and the file."""

from __future__ import annotations

import pyarrow as pa
import pytest

import mlstore as ml

EVENTS = [{"user_id": number % 3, "ts": f"2024-05-01T00:00:{number:02}Z", "amount": float(number)} for number in range(20)]


@pytest.fixture
def store(tmp_path):
    with ml.open(tmp_path / "shop.mls") as store:
        store.apply(
            ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64}, key=["user_id"], timestamp="ts"),
            ml.Table("clicks", schema={"user_id": ml.int64, "page": ml.string}, key=["user_id"], timestamp="ts"),
        )
        yield store


def amounts(store) -> list[float]:
    return sorted(store.read("orders")["amount"].to_pylist())


def test_a_consumer_goes_on_where_its_rows_end(store):
    store.consume("feed", EVENTS[:8], into="orders")

    state = store.consume("feed", EVENTS, into="orders")

    assert amounts(store) == [row["amount"] for row in EVENTS]
    assert (state.name, state.table, state.position, state.rows, state.refused) == ("feed", "orders", 20, 20, 0)
    assert store.consumers() == [state]


def test_rows_and_position_are_one_commit(store):
    store.consume("feed", EVENTS, into="orders", max_rows=5)

    commits = [commit for commit in store.history() if commit.message == "consumer feed"]
    for commit in commits:
        at = store.at(commit.id)
        assert at.consumers()[0].position == at.read("orders").num_rows
    assert len(commits) == 4


def test_batches_stay_together_and_none_lets_rows_go(store):
    batch = pa.table({"user_id": [1, 2], "ts": ["2024-06-01", "2024-06-02"], "amount": [1.0, 2.0]})

    state = store.consume("feed", [EVENTS[0], batch, EVENTS[1], None, EVENTS[2]], into="orders")

    assert (state.position, state.rows) == (5, 5)
    assert [commit.changes[0].rows for commit in store.history() if commit.changes and commit.message == "consumer feed"] == [1, 1, 2, 1]


def test_a_batch_larger_than_the_tail_takes_is_one_commit(store, monkeypatch):
    monkeypatch.setattr("mlstore.engine.limits.DIRECT_ROWS", 8)
    batch = pa.Table.from_pylist(EVENTS)

    store.consume("feed", [batch, *EVENTS[:3]], into="orders", max_rows=4)

    assert store.read("orders").num_rows == 23
    store.verify()


def test_a_source_that_fails_keeps_what_was_whole_before(store):
    def failing():
        yield from EVENTS[:10]
        raise ConnectionError("the line is down")

    with pytest.raises(ConnectionError):
        store.consume("feed", failing(), into="orders", max_rows=4)

    assert amounts(store) == [row["amount"] for row in EVENTS[:8]]
    assert store.consume("feed", EVENTS, into="orders").rows == 20
    assert amounts(store) == [row["amount"] for row in EVENTS]


def test_a_row_that_does_not_fit_ends_the_call_and_nothing_of_its_batch_is_written(store):
    wrong = [*EVENTS[:6], {**EVENTS[6], "amount": "much"}, *EVENTS[7:]]

    with pytest.raises(ml.SchemaMismatchError, match=r"orders\.amount"):
        store.consume("feed", wrong, into="orders", max_rows=4)

    assert store.consumers()[0].position == 4
    assert len(amounts(store)) == 4


def test_refused_rows_are_heard_and_passed_over(store):
    wrong = [
        *EVENTS[:3],
        {**EVENTS[3], "amount": "much"},
        {**EVENTS[4], "user_id": None},
        {**EVENTS[5], "colour": "red"},
        "no row",
        *EVENTS[6:],
    ]
    heard = []

    state = store.consume("feed", wrong, into="orders", refuse=heard.append)

    assert amounts(store) == [row["amount"] for row in (*EVENTS[:3], *EVENTS[6:])]
    assert (state.rows, state.refused) == (17, 4)
    assert [refused.row for refused in heard] == wrong[3:7]
    assert all(isinstance(refused.error, ml.UsageError) for refused in heard)


def test_refused_rows_of_a_table_are_cut_out_of_it(store):
    batch = pa.table({"user_id": [1, None, 3], "ts": ["2024-06-01"] * 3, "amount": [1.0, 2.0, 3.0]})
    heard = []

    store.consume("feed", [batch], into="orders", refuse=heard.append)

    assert amounts(store) == [1.0, 3.0]
    assert heard[0].row.to_pylist() == [{"user_id": None, "ts": "2024-06-01", "amount": 2.0}]


def test_two_processes_under_one_name_cannot_both_write(store, tmp_path):
    with ml.open(tmp_path / "shop.mls") as other:

        def meddled():
            yield from EVENTS[:4]
            other.consume("feed", EVENTS[:2], into="orders")
            yield from EVENTS[4:]

        with pytest.raises(ml.StoreBusyError, match="'feed'"):
            store.consume("feed", meddled(), into="orders", max_rows=5)

    assert amounts(store) == [0.0, 1.0]


def test_a_consumer_feeds_one_table(store):
    store.consume("feed", EVENTS[:1], into="orders")

    with pytest.raises(ml.UsageError, match="feeds orders, not clicks"):
        store.consume("feed", [], into="clicks")


def test_a_rollback_takes_rows_and_position_back_together(store):
    store.consume("feed", EVENTS[:5], into="orders")
    store.snapshot("before")
    store.consume("feed", EVENTS[:15], into="orders")

    store.rollback("before")

    assert store.consumers()[0].position == 5
    store.consume("feed", EVENTS, into="orders")
    assert amounts(store) == [row["amount"] for row in EVENTS]


def test_a_branch_goes_on_by_itself(store):
    store.consume("feed", EVENTS[:5], into="orders")
    branch = store.branch("try")

    branch.consume("feed", EVENTS[:12], into="orders")
    store.consume("feed", EVENTS[:7], into="orders")

    assert (len(amounts(branch)), len(amounts(store))) == (12, 7)
    assert [handle.consumers()[0].position for handle in (branch, store)] == [12, 7]


def test_events_with_ids_count_once_whatever_source_gives_them(store):
    store.apply(
        ml.Table(
            "paid", schema={"user_id": ml.int64, "event_id": ml.int64, "amount": ml.float64}, key=["user_id", "event_id"], timestamp="ts"
        )
    )
    events = [
        {"user_id": row["user_id"], "event_id": number, "ts": row["ts"], "amount": row["amount"]} for number, row in enumerate(EVENTS)
    ]

    store.consume("live", events[10:], into="paid", mode="upsert")
    store.consume("backfill", events[:15], into="paid", mode="upsert")

    assert sorted(store.read("paid")["event_id"].to_pylist()) == list(range(20))


def test_it_stops_when_asked(store):
    state = store.consume("feed", EVENTS, into="orders", max_rows=4, limit=6)
    assert state.rows == 8

    state = store.consume("feed", EVENTS, into="orders", max_rows=4, should_stop=lambda: True)
    assert state.rows == 12


def test_a_view_that_evolves_meanwhile_is_written_as_it_is_now(store):
    def evolving():
        yield from EVENTS[:4]
        yield None
        store.apply(
            ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64, "shop": ml.string}, key=["user_id"], timestamp="ts")
        )
        yield from ({**row, "shop": "north"} for row in EVENTS[4:])

    store.consume("feed", evolving(), into="orders", max_rows=4)

    assert store.read("orders")["shop"].to_pylist().count("north") == 16


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"into": "nothing"}, ml.UnknownNameError),
        ({"into": "orders", "mode": "replace"}, ml.UsageError),
        ({"into": "orders", "max_rows": 0}, ml.UsageError),
        ({"into": "orders", "max_rows": 1 << 20}, ml.UsageError),
        ({"into": "orders", "max_seconds": -1}, ml.UsageError),
    ],
)
def test_a_wrong_call_is_refused(store, arguments, error):
    with pytest.raises(error):
        store.consume("feed", EVENTS, **arguments)

    assert store.consumers() == []


def test_a_wrong_place_is_refused(store):
    store.snapshot("then")

    with pytest.raises(ml.ReadOnlyError):
        store.at("then").consume("feed", EVENTS, into="orders")
    with store.transaction() as inside, pytest.raises(ml.UsageError, match="transaction"):
        inside.consume("feed", EVENTS, into="orders")
    with pytest.raises(ml.DefinitionError):
        store.consume("not a name", EVENTS, into="orders")
