"""Reading: rows lent from the map without a copy, that outlive everything; bounds, filters and columns; and Arrow's stream."""

from __future__ import annotations

import gc
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import mlstore as ml
from mlstore.engine.history.segments import load_extents
from tests.support.data import fact_table, instant
from tests.support.model import Fact
from tests.support.worlds import KNOWN, NAMED, PLAIN, SECOND, STRICT


def facts(count: int, *, first: int = 0, keys: int = 4) -> list[Fact]:
    return [
        Fact((number % keys,), number * SECOND, {"amount": number, "ratio": number / 2, "note": f"n{number}", "level": number % 7})
        for number in range(first, first + count)
    ]


@pytest.fixture
def mixed(store: ml.Store, small_limits: None) -> ml.Store:
    """Thirty rows of four keys: most in segments, some in the tail, two of them deleted."""
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, facts(20)))
    store.write("plain", fact_table(PLAIN, facts(7, first=20)))
    store.write("plain", fact_table(PLAIN, facts(3, first=27)))
    store.delete("plain", where=pc.field("amount").isin([5, 28]))
    table = store.info()["tables"][0]
    assert table["tail_rows"] > 0
    assert table["segments"] > 1
    return store


ALL = [number for number in range(30) if number not in (5, 28)]


def amounts(rows: Any) -> list[int]:
    return sorted(rows["amount"].to_pylist())


# ---------------------------------------------------------------- lent, not copied


@pytest.fixture
def bulk(store: ml.Store) -> ml.Store:
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, facts(20_000)))
    return store


def map_places(store: ml.Store) -> list[tuple[int, int]]:
    """Where the extents of the table lie in the map."""
    with store._session.reading() as context:
        entries = [entry for relation in context.catalog.relations() for entry, _ in context.history(relation).entries()]
        places = [place for entry in entries for place in load_extents(context.reader, entry.segment).values()]
        assert all(place.is_stable for place in places)
        return [(place.address, place.address + place.size) for place in places]


def lies_in(buffer: pa.Buffer, places: list[tuple[int, int]]) -> bool:
    return any(start <= buffer.address and buffer.address + buffer.size <= end for start, end in places)


LENT = ["event_timestamp", "amount", "ratio", "note", "level"]


def test_columns_stored_raw_are_lent_from_the_map(bulk: ml.Store) -> None:
    places = map_places(bulk)

    table = bulk.read("plain", columns=LENT).table()

    buffers = [buffer for column in table.columns for chunk in column.chunks for buffer in chunk.buffers() if buffer is not None]
    assert len(buffers) == 6
    assert all(lies_in(buffer, places) for buffer in buffers)
    assert all(buffer.address % 64 == 0 for buffer in buffers)


def test_what_is_lent_cannot_be_written_to(bulk: ml.Store) -> None:
    table = bulk.read("plain", columns=["amount", "ratio"]).table()

    for column in table.columns:
        values = column.chunk(0).to_numpy()
        assert not values.flags.writeable
        assert not column.chunk(0).buffers()[1].is_mutable
        with pytest.raises(ValueError, match="WRITEABLE"):
            values.flags.writeable = True


def test_cold_columns_are_unpacked_into_memory_of_their_own(bulk: ml.Store) -> None:
    expected = bulk.read("plain").table()
    bulk.optimize(tier="cold")
    places = map_places(bulk)

    table = bulk.read("plain").table()

    assert not lies_in(table["amount"].chunk(0).buffers()[1], places)
    assert table.equals(expected)


def test_arrays_outlive_deletes_optimize_other_writes_and_close(bulk: ml.Store, store_path: Path) -> None:
    table = bulk.read("plain", columns=LENT).table()
    expected = table.to_pydict()
    bulk.delete("plain", start=date(1900, 1, 1))

    bulk.optimize(tier="cold")
    bulk.write("plain", fact_table(PLAIN, facts(20_000)))
    bulk.optimize(tier="hot")
    bulk.close()

    with ml.open(store_path) as again:
        again.write("plain", fact_table(PLAIN, facts(20_000)))
        again.optimize()
    gc.collect()
    assert table.to_pydict() == expected


def test_rows_not_yet_looked_at_are_those_of_the_time_of_the_call(mixed: ml.Store) -> None:
    rows = mixed.read("plain")
    mixed.delete("plain", start=date(1900, 1, 1))
    mixed.write("plain", fact_table(PLAIN, facts(40, first=100)))
    mixed.apply(PLAIN.view(schema={**PLAIN.view().schema, "added": ml.int8}))
    mixed.optimize(tier="cold")
    mixed.close()

    assert amounts(rows) == ALL
    assert "added" not in rows.column_names


def test_a_batch_keeps_its_segment_after_the_rows_are_gone(bulk: ml.Store) -> None:
    batch = next(bulk.read("plain", columns=["amount"]).batches())
    expected = batch.to_pylist()

    bulk.optimize(tier="cold")
    bulk.write("plain", fact_table(PLAIN, facts(20_000)))
    gc.collect()

    assert batch.to_pylist() == expected


def test_segments_that_cannot_be_leased_are_copied(bulk: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, places = bulk.read("plain").table().to_pydict(), map_places(bulk)
    monkeypatch.setattr(type(bulk._session.environment.leases), "acquire", lambda book, segment: None)

    table = bulk.read("plain").table()

    assert table.to_pydict() == expected
    assert not any(lies_in(buffer, places) for buffer in table["amount"].chunk(0).buffers() if buffer is not None)


# ---------------------------------------------------------------- bounds, filters, columns


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, ALL),
        (10, None, [number for number in ALL if number >= 10]),
        (None, 10, [number for number in ALL if number < 10]),
        (10, 20, list(range(10, 20))),
        (10, 10, []),
        (20, 10, []),
        (27, 30, [27, 29]),
        (-100, 1, [0]),
        (100, None, []),
    ],
)
def test_times_are_from_start_to_before_end(mixed: ml.Store, start: int | None, end: int | None, expected: list[int]) -> None:
    bounds = [None if second is None else instant(second * SECOND) for second in (start, end)]

    assert amounts(mixed.read("plain", start=bounds[0], end=bounds[1])) == expected


def test_times_finer_than_a_tick_bound_what_they_should(store: ml.Store) -> None:
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, [Fact((1,), 5, {"amount": 5}), Fact((1,), 6, {"amount": 6})]))

    assert amounts(store.read("plain", start="1970-01-01T00:00:00.000005001Z")) == [6]
    assert amounts(store.read("plain", end="1970-01-01T00:00:00.000005001Z")) == [5]
    assert amounts(store.read("plain", end="1970-01-01T00:00:00.000005Z")) == []


@pytest.mark.parametrize(
    ("where", "matches"),
    [
        (pc.field("amount") > 25, lambda n: n > 25),
        (pc.field("ratio") < 1, lambda n: n < 2),
        (pc.field("note") == "n12", lambda n: n == 12),
        (pc.field("card") == 3, lambda n: n % 4 == 3),
        (pc.field("event_timestamp") >= datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC), lambda n: n >= 20),
        ((pc.field("card") == 1) & ~(pc.field("level") == 1), lambda n: n % 4 == 1 and n % 7 != 1),
        (pc.field("created").is_valid(), lambda n: True),
        (pc.field("amount").is_null(), lambda n: False),
        (ml.col("amount") > 25, lambda n: n > 25),
        (ml.col("ratio") < 1, lambda n: n < 2),
        (ml.col("ratio") * 2 + ml.col("card") > 25, lambda n: n + n % 4 > 25),
        (ml.col("note").ends_with("2") & ~(ml.col("amount") == 2), lambda n: n in (12, 22)),
        (ml.col("event_timestamp") >= datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC), lambda n: n >= 20),
        (ml.lit(True), lambda n: True),
        (ml.lit(None, ml.bool_), lambda n: False),
    ],
    ids=str,
)
@pytest.mark.parametrize("columns", [None, ["amount"], ["amount", "note"]], ids=str)
def test_a_filter_may_be_about_any_column(mixed: ml.Store, where: Any, matches: Any, columns: list[str] | None) -> None:
    rows = mixed.read("plain", where=where, columns=columns)

    assert rows.column_names == (columns or ["card", "event_timestamp", "created", "amount", "ratio", "note", "level"])
    assert amounts(rows) == [number for number in ALL if matches(number)]


def test_a_filter_may_look_into_a_struct_that_is_not_read(store: ml.Store) -> None:
    entity = ml.Entity("card", keys={"card": ml.int64})
    store.apply(entity, ml.FeatureView("v", entity=entity, schema={"place": ml.struct({"lat": ml.float64}), "x": ml.int8}))
    store.write("v", {"card": [1, 2], "event_timestamp": ["1970-01-01"] * 2, "place": [{"lat": 1.5}, {"lat": 2.5}], "x": [1, 2]})

    assert store.read("v", where=pc.field("place", "lat") > 2)["x"].to_pylist() == [2]
    assert store.read("v", where=pc.field("place", "lat") > 2, columns=["x"])["x"].to_pylist() == [2]


@pytest.mark.parametrize(
    ("where", "error"),
    [
        (pc.field("amout") > 1, ml.UnknownNameError),
        (pc.field("note") > 1, ml.SchemaMismatchError),
        (pc.field("amount") + 1, ml.SchemaMismatchError),
        ("amount > 1", ml.UsageError),
        (ml.col("amout") > 1, ml.UnknownNameError),
        (ml.col("note") > 1, ml.SchemaMismatchError),
        (ml.col("amount") + 1, ml.SchemaMismatchError),
    ],
    ids=str,
)
def test_a_filter_that_does_not_fit_is_refused(mixed: ml.Store, where: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        mixed.read("plain", where=where)

    assert caught.value.hint


def test_columns_come_in_the_order_asked_for(mixed: ml.Store) -> None:
    rows = mixed.read("plain", columns=["note", "card", "created"])

    assert rows.schema.names == ["note", "card", "created"]
    assert rows.num_rows == len(ALL)
    assert mixed.read("plain", columns="note").schema.names == ["note"]


def test_start_end_and_filter_bound_a_read_together(mixed: ml.Store) -> None:
    rows = mixed.read("plain", where=pc.field("card") == 0, start=instant(8 * SECOND), end=instant(20 * SECOND), columns=["amount"])

    assert amounts(rows) == [8, 12, 16]


def test_rows_of_a_batch_ascend_by_key_and_time(mixed: ml.Store) -> None:
    for batch in mixed.read("plain").batches():
        order = [(row["card"], row["event_timestamp"]) for row in batch.to_pylist()]
        assert order == sorted(order)


def test_an_empty_view_reads_as_no_rows_of_the_right_types(store: ml.Store) -> None:
    store.apply(*NAMED.definitions())

    rows = store.read("named")

    assert rows.num_rows == 0
    assert [str(field.type) for field in rows.schema] == [
        "string", "timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]", "int64", "double", "string", "int16",
    ]  # fmt: skip
    assert list(rows.batches()) == []
    assert store.read("named", as_of=date(2024, 1, 1)).num_rows == 0


# ---------------------------------------------------------------- the state of all keys


@pytest.mark.parametrize(("second", "expected"), [(-1, []), (0, [0]), (5, [1, 2, 3, 4]), (29, [24, 26, 27, 29]), (1000, [24, 26, 27, 29])])
def test_as_of_gives_the_winning_row_of_each_key(mixed: ml.Store, second: int, expected: list[int]) -> None:
    rows = mixed.read("plain", as_of=instant(second * SECOND))

    assert amounts(rows) == expected
    assert rows["card"].to_pylist() == sorted(rows["card"].to_pylist())


def test_as_of_goes_with_columns_bounds_and_filters(mixed: ml.Store) -> None:
    at = instant(29 * SECOND)

    assert mixed.read("plain", as_of=at, columns=["amount"], where=pc.field("card") == 2).to_pylist() == [{"amount": 26}]
    assert amounts(mixed.read("plain", as_of=at, start=instant(26 * SECOND), end=instant(29 * SECOND))) == [26, 27]


def test_as_of_obeys_the_ttl_and_the_boundary_of_the_view(store: ml.Store) -> None:
    store.apply(*KNOWN.definitions(), *STRICT.definitions())
    store.write("known", fact_table(KNOWN, [Fact((1,), 0, {"amount": 1}, created=0)]))
    store.write("strict", fact_table(STRICT, [Fact((1,), 5 * SECOND, {"amount": 1})]))

    assert [store.read("known", as_of=instant(ten)).num_rows for ten in (10 * SECOND, 10 * SECOND + 1)] == [1, 0]
    assert [store.read("strict", as_of=instant(five)).num_rows for five in (5 * SECOND, 5 * SECOND + 1)] == [0, 1]


# ---------------------------------------------------------------- standing for a table


def test_rows_behave_like_their_table(mixed: ml.Store) -> None:
    rows = mixed.read("plain")
    table = rows.table()

    assert rows.num_rows == len(rows) == table.num_rows
    assert rows.column_names == table.column_names
    assert rows.schema == table.schema
    assert rows["amount"].equals(table["amount"])
    assert rows.column("note").equals(table.column("note"))
    assert rows.slice(3, 4).equals(table.slice(3, 4))
    assert rows.to_pylist() == table.to_pylist()
    assert rows == table
    assert rows == mixed.read("plain")
    assert rows != table.slice(1)
    assert "amount" in repr(rows)
    with pytest.raises(AttributeError):
        _ = rows.no_such_attribute
    with pytest.raises(TypeError):
        hash(rows)


def test_rows_can_be_read_again_and_again(mixed: ml.Store) -> None:
    rows = mixed.read("plain")

    first = pa.Table.from_batches(rows.batches(), rows.schema)

    assert first.equals(pa.Table.from_batches(rows.batches(), rows.schema))
    assert first.equals(pa.table(rows))
    assert first.equals(rows.table())


def test_rows_stream_into_polars_duckdb_and_pandas(mixed: ml.Store) -> None:
    rows = mixed.read("plain", columns=["card", "event_timestamp", "amount", "note"])
    expected = rows.table()

    assert pl.DataFrame(rows).to_arrow().cast(expected.schema).equals(expected)
    assert pl.from_arrow(rows.table())["amount"].to_list() == expected["amount"].to_pylist()
    assert duckdb.sql("select sum(amount) from rows").fetchall() == [(sum(ALL),)]
    frame = rows.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["amount"].tolist() == expected["amount"].to_pylist()
    assert frame["event_timestamp"].dt.tz is not None


def test_a_stream_is_asked_for_batch_by_batch(mixed: ml.Store) -> None:
    reader = pa.RecordBatchReader.from_stream(mixed.read("plain", columns=["amount"]))

    batches = list(reader)

    assert len(batches) > 2
    assert sorted(value for batch in batches for value in batch["amount"].to_pylist()) == ALL


def test_rows_can_be_written_to_another_store(mixed: ml.Store) -> None:
    with ml.open(":memory:") as other:
        other.apply(*PLAIN.definitions())

        other.write("plain", mixed.read("plain", columns=["card", "event_timestamp", "amount", "ratio", "note", "level"]))

        assert amounts(other.read("plain")) == ALL
