"""Tables: rows that are no features, appended, upserted and deleted by key, and in the order in which they came."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import mlstore as ml
from tests.support.data import instant
from tests.support.worlds import SECOND

EVENTS = ml.Table("events", schema={"what": ml.string, "n": ml.int64})
LABELS = ml.Table("labels", schema={"flight": ml.int64, "late": ml.bool_, "note": ml.string}, key="flight", timestamp="label_time")
SEATS = ml.Table("seats", schema={"flight": ml.int64, "row": ml.string, "who": ml.string}, key=("flight", "row"))


@pytest.fixture
def tables(store: ml.Store, clock: Any) -> ml.Store:
    store.apply(EVENTS, LABELS, SEATS)
    return store


def events(*numbers: int) -> dict[str, list[Any]]:
    return {"what": [f"e{number}" for number in numbers], "n": list(numbers)}


def labels(*rows: tuple[int, int, bool | None]) -> dict[str, Any]:
    flights, seconds, late = zip(*rows, strict=True)
    times = [instant(second * SECOND) for second in seconds]
    return {"flight": list(flights), "label_time": times, "late": pa.array(late, pa.bool_()), "note": pa.nulls(len(flights), pa.string())}


def numbers(store: ml.Store, **bounds: Any) -> list[int]:
    found: list[int] = store.read("events", **bounds)["n"].to_pylist()
    return found


# ---------------------------------------------------------------- without a key


def test_rows_without_a_key_come_back_in_the_order_in_which_they_came(tables: ml.Store) -> None:
    tables.write("events", events(3, 1, 2))
    tables.write("events", events(2, 0))
    tables.write("events", events(1))

    assert numbers(tables) == [3, 1, 2, 2, 0, 1]
    assert tables.read("events").column_names == ["what", "n"]


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("sizes", [[1] * 30, [9, 1, 1, 20, 1], [30, 30], [3, 7, 2, 11, 1, 1, 8]], ids=str)
def test_the_order_stays_while_rows_are_sealed_merged_and_moved(tables: ml.Store, clock: Any, sizes: list[int]) -> None:
    expected: list[int] = []
    for size in sizes:
        clock.now += 1
        batch = [(len(expected) + n) * 7 % 50 for n in range(size)]
        expected += batch
        tables.write("events", events(*batch))
        assert numbers(tables) == expected

    tables.optimize()
    assert numbers(tables) == expected
    tables.optimize(tier="cold")
    assert numbers(tables) == expected
    tables.verify()


@pytest.mark.usefixtures("small_limits")
def test_the_order_stays_when_the_clock_is_set_back(tables: ml.Store, clock: Any) -> None:
    for now, batch in ((1100, (5,)), (1050, (4,)), (1060, range(20, 30)), (10, (3, 2))):
        clock.now = now * SECOND
        tables.write("events", events(*batch))

    assert numbers(tables) == [5, 4, *range(20, 30), 3, 2]


def test_equal_rows_are_kept_as_often_as_they_came(tables: ml.Store) -> None:
    tables.write("events", events(1, 1))
    tables.write("events", events(1))

    assert numbers(tables) == [1, 1, 1]


def test_rows_are_deleted_by_a_filter(tables: ml.Store) -> None:
    tables.write("events", events(*range(10)))
    tables.snapshot("before")

    commit = tables.delete("events", where=pc.field("n").isin([0, 3, 6, 9]))

    assert commit.changes[0].rows == 4
    assert numbers(tables) == [1, 2, 4, 5, 7, 8]
    assert numbers(tables.at("before")) == list(range(10))


@pytest.mark.parametrize("where", [pc.scalar(value=True), ml.lit(value=True)], ids=["arrow", "ours"])
def test_a_filter_that_is_about_no_column_deletes_all_rows(tables: ml.Store, where: Any) -> None:
    tables.write("events", events(*range(3)))

    commit = tables.delete("events", where=where)

    assert commit.changes[0].rows == 3
    assert numbers(tables) == []


@pytest.mark.parametrize("question", [{"keys": {"n": 1}}, {"start": "2024-01-01"}, {"end": "2024-01-01"}, {}], ids=str)
def test_what_a_table_without_key_and_time_cannot_be_asked_is_refused(tables: ml.Store, question: dict[str, Any]) -> None:
    tables.write("events", events(1))

    with pytest.raises(ml.UsageError) as caught:
        tables.delete("events", **question)

    assert caught.value.hint
    assert numbers(tables) == [1]


# ---------------------------------------------------------------- with a key


def late_flights(store: ml.Store) -> dict[int, bool | None]:
    rows = store.read("labels").to_pylist()
    assert len({row["flight"] for row in rows}) == len(rows)
    return {row["flight"]: row["late"] for row in rows}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("count", [2, 12], ids=["small writes", "bulk loads"])
def test_an_upsert_replaces_the_row_of_its_key_whatever_its_time(tables: ml.Store, count: int) -> None:
    tables.write("labels", labels(*((flight, 10, False) for flight in range(count))))

    tables.write("labels", labels((1, 5, True), (99, 7, None)), mode="upsert")
    tables.write("labels", labels(*((flight, flight, None) for flight in range(count) if flight != 1)), mode="upsert")

    assert late_flights(tables) == {**dict.fromkeys(range(count)), 1: True, 99: None}
    tables.optimize()
    assert late_flights(tables) == {**dict.fromkeys(range(count)), 1: True, 99: None}
    tables.verify()


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("count", [3, 9], ids=["small writes", "bulk loads"])
def test_of_one_upsert_the_last_row_of_a_key_stays(tables: ml.Store, count: int) -> None:
    commit = tables.write("labels", labels(*((7, count - n, n == count - 1) for n in range(count))), mode="upsert")

    assert late_flights(tables) == {7: True}
    assert commit.changes[0].rows == 1


def test_an_append_keeps_both_rows_of_a_key(tables: ml.Store) -> None:
    tables.write("labels", labels((1, 10, False)))
    tables.write("labels", labels((1, 11, True)))

    assert tables.read("labels")["late"].to_pylist() == [False, True]
    assert tables.read("labels", as_of=instant(10 * SECOND))["late"].to_pylist() == [False]


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ({"keys": {"flight": 2}}, [0, 1, 3]),
        ({"keys": {"flight": [2, 9, 0]}}, [1, 3]),
        ({"keys": pa.table({"flight": pa.array([3], pa.int32())})}, [0, 1, 2]),
        ({"keys": {"flight": [1, 2, 3]}, "where": pc.field("late")}, [0, 2]),
        ({"where": pc.field("flight") > 1}, [0, 1]),
        ({"start": instant(2 * SECOND)}, [0, 1]),
        ({"start": instant(1 * SECOND), "end": instant(3 * SECOND)}, [0, 3]),
        ({"keys": {"flight": [0, 1]}, "start": instant(1 * SECOND)}, [0, 2, 3]),
        ({"keys": {"flight": 9}}, [0, 1, 2, 3]),
    ],
    ids=str,
)
@pytest.mark.parametrize("settle", [False, True], ids=["in the tail", "in segments"])
def test_rows_are_deleted_by_key_time_and_filter(tables: ml.Store, question: dict[str, Any], left: list[int], settle: bool) -> None:
    tables.write("labels", labels(*((flight, flight, flight % 2 == 1) for flight in range(4))))
    if settle:
        tables.optimize()

    commit = tables.delete("labels", **question)

    assert sorted(late_flights(tables)) == left
    assert commit.changes[0].rows == 4 - len(left)
    tables.verify()


def test_a_row_deleted_by_key_can_come_again(tables: ml.Store) -> None:
    tables.write("labels", labels((1, 10, False)))
    tables.delete("labels", keys={"flight": 1})

    tables.write("labels", labels((1, 10, True)), mode="upsert")

    assert late_flights(tables) == {1: True}


def test_a_key_of_two_columns_names_a_row_by_both(tables: ml.Store) -> None:
    tables.write(
        "seats", [{"flight": 1, "row": "a", "who": "x"}, {"flight": 1, "row": "b", "who": "y"}, {"flight": 2, "row": "a", "who": "z"}]
    )

    tables.write("seats", {"flight": 1, "row": "b", "who": "new"}, mode="upsert")
    tables.delete("seats", keys={"flight": [2, 1], "row": ["a", "z"]})

    assert [(row["flight"], row["row"], row["who"]) for row in tables.read("seats").to_pylist()] == [(1, "a", "x"), (1, "b", "new")]


@pytest.mark.parametrize("keys", [{"flight": 1}, {"flight": 1, "row": "a", "who": "x"}, {"row": "a"}], ids=str)
def test_a_delete_takes_exactly_the_key_columns(tables: ml.Store, keys: dict[str, Any]) -> None:
    with pytest.raises(ml.SchemaMismatchError, match=r"flight.*row"):
        tables.delete("seats", keys=keys)


def test_a_table_answers_no_question_about_features(tables: ml.Store) -> None:
    tables.write("labels", labels((1, 10, False)))

    with pytest.raises(ml.UnknownNameError, match="is a table"):
        tables.online_features(["labels"], {"flight": 1})


def test_a_table_of_labels_asks_for_features(tables: ml.Store) -> None:
    flight = ml.Entity("flight", keys={"flight": ml.int64})
    tables.apply(flight, ml.FeatureView("load", entity=flight, schema={"seats": ml.int16}))
    tables.write("load", {"flight": [1, 1], "event_timestamp": [instant(5 * SECOND), instant(15 * SECOND)], "seats": [50, 60]})
    tables.write("labels", labels((1, 10, False), (2, 10, True)))

    found = tables.training_set(tables.read("labels"), ["load"], timestamp="label_time")

    assert found.column_names == ["flight", "label_time", "late", "note", "seats"]
    assert found["seats"].to_pylist() == [50, None]


def test_a_table_without_a_time_column_is_as_of_by_the_time_of_writing(tables: ml.Store, clock: Any) -> None:
    for who, now in (("x", 1100), ("y", 1200)):
        clock.now = now * SECOND
        tables.write("seats", {"flight": 1, "row": "a", "who": who})

    assert tables.read("seats", as_of=instant(1150 * SECOND))["who"].to_pylist() == ["x"]
    assert tables.read("seats", as_of=instant(1200 * SECOND))["who"].to_pylist() == ["y"]
