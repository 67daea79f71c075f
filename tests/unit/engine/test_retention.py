"""Retention: rows that have outlived it go when tails are sealed, the online row follows, and snapshots keep theirs."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.history.extents import EXTENTS
from tests.support.data import instant
from tests.support.worlds import SECOND

CARD = ml.Entity("card", keys={"card": ml.int64})
SPEND = ml.FeatureView("spend", entity=CARD, schema={"amount": ml.int64}, retention="100s")


@pytest.fixture
def spend(store: ml.Store, clock: Any, small_limits: None) -> ml.Store:
    """Rows of cards 1 (old and new), 2 (old only) and 3 (new only), in the tail; it is 1000 s, so 900 s is the oldest to keep."""
    store.apply(CARD, SPEND)
    write(store, (1, 850, 1), (2, 899, 2), (1, 900, 3), (3, 990, 4))
    return store


def write(store: ml.Store, *rows: tuple[int, int, int]) -> ml.Commit:
    cards, seconds, amounts = zip(*rows, strict=True)
    times = [instant(second * SECOND) for second in seconds]
    return store.write("spend", {"card": cards, "event_timestamp": times, "amount": amounts})


def amounts(store: ml.Store) -> list[int]:
    return sorted(store.read("spend")["amount"].to_pylist())


def online(store: ml.Store, card: int) -> int | None:
    found = store.online_features(["spend"], {"card": card})["amount"]
    assert found is None or isinstance(found, int)
    return found


def test_expired_rows_stay_until_upkeep_and_go_then(spend: ml.Store) -> None:
    assert amounts(spend) == [1, 2, 3, 4]

    told = spend.optimize()

    assert told["rows_expired"] == 2
    assert amounts(spend) == [3, 4]
    spend.verify()


def test_the_write_path_lets_expired_rows_go_when_it_seals(spend: ml.Store) -> None:
    write(spend, (4, 995, 5))
    assert amounts(spend) == [1, 2, 3, 4, 5]

    write(spend, (4, 996, 6))

    assert amounts(spend) == [3, 4, 5, 6]
    spend.verify()


def test_both_ends_of_the_retention_count(spend: ml.Store, clock: Any) -> None:
    clock.now += 1

    spend.optimize()

    # The row of 900 s is now older than 100 s, by a microsecond.
    assert amounts(spend) == [4]


def test_the_online_row_of_a_key_without_rows_goes_too(spend: ml.Store) -> None:
    assert online(spend, 2) == 2

    spend.optimize()

    assert online(spend, 2) is None
    assert [online(spend, card) for card in (1, 3)] == [3, 4]


def test_expired_rows_answer_no_question_about_the_past(spend: ml.Store) -> None:
    label = {"card": [1, 1, 2], "event_timestamp": [instant(second * SECOND) for second in (860, 950, 950)]}
    assert spend.training_set(label, ["spend"])["amount"].to_pylist() == [1, 3, 2]

    spend.optimize()

    assert spend.training_set(label, ["spend"])["amount"].to_pylist() == [None, 3, None]


@pytest.mark.parametrize("sealed", [False, True], ids=["in the tail", "in segments"])
def test_a_snapshot_keeps_the_rows_it_names(spend: ml.Store, clock: Any, sealed: bool) -> None:
    if sealed:
        write(spend, *((9, 999, 9) for _ in range(8)))
    expected = amounts(spend)
    spend.snapshot("before")

    for _ in range(3):
        clock.now += 10 * SECOND
        write(spend, *((9, clock.now // SECOND, 9) for _ in range(8)))
        spend.optimize(tier="cold")

    old = spend.at("before")
    assert amounts(old) == expected
    assert online(old, 2) == 2 or sealed
    assert 1 not in amounts(spend)
    spend.verify()


def test_rows_that_nobody_names_leave_the_file(spend: ml.Store, clock: Any) -> None:
    write(spend, *((card, 800 + card, card) for card in range(60)))
    spend.optimize()
    before = extent_count(spend)
    assert before

    clock.now += 10_000 * SECOND
    spend.optimize()
    write(spend, (1, 11_000, 7))
    spend.optimize()

    assert amounts(spend) == [7]
    assert extent_count(spend) == 1


def extent_count(store: ml.Store) -> int:
    with store._session.environment.reader() as reader:
        return reader.count(EXTENTS)


def test_a_late_row_older_than_the_retention_is_taken_and_goes_at_the_next_upkeep(spend: ml.Store) -> None:
    spend.optimize()

    write(spend, (5, 10, 50))

    assert online(spend, 5) == 50
    spend.optimize()
    assert online(spend, 5) is None
    spend.verify()


def test_a_table_keeps_its_rows_as_long_as_it_says(store: ml.Store, clock: Any) -> None:
    store.apply(ml.Table("events", schema={"n": ml.int64}, timestamp="at", retention="100s"))
    store.write("events", {"at": [instant(second * SECOND) for second in (899, 900, 1000)], "n": [1, 2, 3]})

    store.optimize()

    assert store.read("events")["n"].to_pylist() == [2, 3]
    store.verify()


def test_nanoseconds_are_kept_as_exactly(store: ml.Store, clock: Any) -> None:
    view = ml.FeatureView("fine", entity=CARD, schema={"amount": ml.int64}, retention="100s", time_unit="ns")
    store.apply(CARD, view)
    times = [f"1970-01-01T00:{clock_text}Z" for clock_text in ("14:59.999999999", "15:00.000000000", "15:00.000000001")]
    store.write("fine", {"card": [1, 2, 3], "event_timestamp": times, "amount": [1, 2, 3]})

    store.optimize()

    assert sorted(store.read("fine")["amount"].to_pylist()) == [2, 3]


def test_a_ttl_lets_no_row_go(store: ml.Store, clock: Any) -> None:
    store.apply(CARD, ml.FeatureView("spend", entity=CARD, schema={"amount": ml.int64}, ttl="1s"))
    write(store, (1, 10, 1))

    assert store.optimize()["rows_expired"] == 0
    assert amounts(store) == [1]


def test_a_training_set_can_be_made_again_from_its_version_while_the_rows_are_there(spend: ml.Store) -> None:
    # What expired is deleted by a commit, as all that is deleted: else the version of before and of after would be one.
    spend.snapshot("before")
    label = {"card": [2], "event_timestamp": [instant(950 * SECOND)]}
    spend.optimize()
    table = spend.training_set(label, ["spend"])

    again = spend.at(table.schema.metadata[b"mlstore.version"].decode()).training_set(label, ["spend"])

    assert again["amount"].to_pylist() == table["amount"].to_pylist()
