"""Whatever holds rows becomes one Arrow table, values intact; what does not is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import InvalidDataError, SchemaMismatchError, UsageError
from mlstore.schema import dtypes as t
from mlstore.schema.entity import Entity
from mlstore.schema.frames import is_stream, to_batches, to_table
from mlstore.schema.layout import view_layout
from mlstore.schema.view import FeatureView

ROWS = {"a": [1, 2, None], "b": ["x", None, "z"]}
TABLE = pa.table(ROWS)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

THING = Entity("thing", keys={"id": t.int64})
VIEW = FeatureView(
    "facts",
    entity=THING,
    schema={"n": t.int64, "day": t.date, "at": t.timestamp("ns"), "embedding": t.vector(2), "scores": t.map_(t.string, t.float64)},
)
LAYOUT = view_layout(VIEW, THING)


class OnlyAStream:
    """What a library that mlstore never heard of would give."""

    def __arrow_c_stream__(self, requested_schema=None):
        return TABLE.__arrow_c_stream__(requested_schema)


class OnlyAnArray:
    def __arrow_c_array__(self, requested_schema=None):
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def relation():
    return duckdb.connect().sql("select * from (values (1, 'x'), (2, null), (null, 'z')) rows(a, b)")


IN_MEMORY = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "array": OnlyAnArray,
    "polars": lambda: pl.DataFrame(ROWS),
    "pandas": lambda: pd.DataFrame({"a": pd.array([1, 2, None], "Int64"), "b": ["x", None, "z"]}),
    "pandas object": lambda: pd.DataFrame(ROWS, dtype=object),
    "columns": lambda: ROWS,
    "columns of all kinds": lambda: {"a": pa.chunked_array([[1], [2, None]]), "b": pl.Series(["x", None, "z"])},
    "columns of pandas": lambda: {"a": pd.Series([1, 2, None], dtype="Int64"), "b": pd.Series(["x", None, "z"])},
    "rows": lambda: [{"a": 1, "b": "x"}, {"a": 2}, {"b": "z", "a": None}],
}
STREAMS = {
    "reader": lambda: TABLE.to_reader(),
    "stream": OnlyAStream,
    "dataset": lambda: ds.dataset(TABLE),
    "scanner": lambda: ds.dataset(TABLE).scanner(),
    "duckdb": relation,
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in (IN_MEMORY | STREAMS).items()])
def test_every_holder_of_rows_becomes_a_table(make):
    table = to_table(make(), what="facts")

    assert isinstance(table, pa.Table)
    assert table.to_pydict() == ROWS


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in (IN_MEMORY | STREAMS).items()])
def test_every_holder_of_rows_comes_in_batches(make):
    batches = list(to_batches(make(), what="facts"))

    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    assert pa.Table.from_batches(batches).to_pydict() == ROWS


def test_a_stream_is_what_is_not_held_in_memory():
    assert not any(is_stream(make()) for make in IN_MEMORY.values())
    assert all(is_stream(make()) for make in STREAMS.values())


def test_batches_of_a_stream_are_taken_one_at_a_time():
    taken = []

    def source():
        for number in range(3):
            taken.append(number)
            yield pa.record_batch({"a": [number]})

    batches = to_batches(pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), source()), what="facts")
    next(batches)

    assert taken == [0]


@pytest.mark.parametrize("data", [42, None, "rows.csv", b"", object(), pl.Series([1]), pa.array([1]), [1, 2], [{"a": 1}, None]])
def test_what_holds_no_rows_is_refused_with_what_does(data):
    with pytest.raises(SchemaMismatchError) as refusal:
        to_table(data, what="facts")

    assert refusal.value.message.startswith("facts")
    assert "pyarrow" in refusal.value.hint


# ---------------------------------------------------------------- rows and columns of Python values


def test_a_dict_of_scalars_is_one_row():
    table = to_table({"id": 7, "at": NOON, "note": None}, what="facts")

    assert table.to_pylist() == [{"id": 7, "at": NOON, "note": None}]


def test_one_row_may_hold_lists_where_lists_are_declared():
    row = {"id": 7, "event_timestamp": NOON, "embedding": [0.5, 1.5], "scores": {"a": 1.0}}

    table = to_table(row, what="facts", layout=LAYOUT)

    assert table.num_rows == 1
    assert table["embedding"].to_pylist() == [[0.5, 1.5]]
    assert table["scores"].to_pylist() == [[("a", 1.0)]]
    assert to_table(row | {"embedding": np.array([0.5, 1.5])}, what="facts", layout=LAYOUT)["embedding"].to_pylist() == [[0.5, 1.5]]


def test_a_scalar_beside_a_column_is_refused():
    with pytest.raises(SchemaMismatchError, match=r"facts: id is one value and n is a column of values"):
        to_table({"id": 7, "n": [1, 2]}, what="facts", layout=LAYOUT)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(InvalidDataError, match="a has 2, b has 1"):
        to_table({"a": [1, 2], "b": [1]}, what="facts")


def test_no_rows_have_the_declared_columns():
    table = to_table([], what="facts", layout=LAYOUT)

    assert table.num_rows == 0
    assert tuple(sorted(table.column_names)) == tuple(sorted(LAYOUT.column_names))


def test_integers_beside_none_stay_integers():
    big = 2**53 + 1

    table = to_table({"a": [big, None], "b": [2**64 - 1, None], "c": [None, None]}, what="facts")

    assert table.to_pydict() == {"a": [big, None], "b": [2**64 - 1, None], "c": [None, None]}


def test_nan_is_a_value_and_not_a_null():
    table = to_table({"a": [float("nan"), None], "b": np.array([np.nan, 1.0])}, what="facts")

    assert (table["a"].null_count, table["b"].null_count) == (1, 0)


def test_pandas_missing_values_are_nulls_in_any_dress():
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": pd.Series(["x", pd.NA], dtype=object), "c": [pd.Timestamp(NOON), pd.NaT]})

    assert [column.null_count for column in to_table(frame, what="facts")] == [1, 1, 1]
    assert to_table({"a": [1, pd.NA], "b": [NOON, pd.NaT]}, what="facts").to_pydict() == {"a": [1, None], "b": [NOON, None]}


@pytest.mark.parametrize(
    "values",
    [[1, "a"], ["a", b"b"], [True, 1], [1.5, "a"], [date(2024, 5, 1), "a"], [{"a": 1}, [1]], [1.5, Decimal(1)], [timedelta(1), 1]],
    ids=repr,
)
def test_a_column_of_mixed_types_is_refused_by_name_and_rows(values):
    for data in ({"n": values}, [{"n": value} for value in values], pd.DataFrame({"n": pd.Series(values, dtype=object)})):
        with pytest.raises(SchemaMismatchError) as refusal:
            to_table(data, what="facts", layout=LAYOUT)

        assert "facts.n: values of mixed types: " in refusal.value.message
        assert "in row 0, " in refusal.value.message
        assert "int64" in refusal.value.hint


@pytest.mark.parametrize("values", [[2**64], [-1, 2**63], [2**60 + 1, 0.5], [object()]], ids=["too big", "both ends", "inexact", "unknown"])
def test_values_that_arrow_cannot_hold_are_refused_by_name(values):
    with pytest.raises(UsageError, match=r"facts\.n"):
        to_table({"n": values}, what="facts")


@given(st.lists(st.one_of(st.none(), st.datetimes().map(lambda moment: moment.replace(tzinfo=timezone(timedelta(hours=-5)))))))
def test_datetimes_keep_their_instant(values):
    table = to_table({"t": values}, what="facts")

    assert table["t"].to_pylist() == values or all(value is None for value in values)


def test_times_of_every_kind_may_stand_together_where_a_time_is_declared():
    values = ["2024-05-01T12:00:00Z", NOON, pd.Timestamp("2024-05-01T12:00:00.000000001Z"), date(2024, 5, 1), None]

    table = to_table({"at": values}, what="facts", layout=LAYOUT)

    midnight = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 10**9
    noon = midnight + 12 * 3_600 * 10**9
    assert table["at"].cast(pa.int64()).to_pylist() == [noon, noon, noon + 1, midnight, None]


def test_a_date_beside_a_datetime_does_not_cost_the_time_of_day():
    table = to_table({"t": [date(2024, 5, 1), datetime(2024, 5, 1, 12)]}, what="facts")

    assert table["t"].to_pylist() == [datetime(2024, 5, 1, tzinfo=UTC), NOON]


def test_times_with_a_zone_beside_times_without_are_refused():
    with pytest.raises(SchemaMismatchError) as refusal:
        to_table([{"t": NOON}, {"t": None}, {"t": datetime(2024, 5, 1)}], what="facts")

    assert refusal.value.message == "facts.t: times with a zone in row 0, without one in row 2"
    assert "UTC" in refusal.value.hint


def test_a_time_that_cannot_be_read_is_refused_by_row():
    with pytest.raises(InvalidDataError, match=r"facts\.at, row 1: 'soon' is not a time"):
        to_table({"at": [datetime(2024, 5, 1), "soon"]}, what="facts", layout=LAYOUT)


# ---------------------------------------------------------------- numpy


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2], np.int8),
        np.array([1, 2], ">i4"),
        np.array([1.5, 2.5], np.float32),
        np.array([1, 2, 3, 4])[::2],
        np.array(["a", "b"]),
        np.array([b"a", b"b"], object),
        np.array([True, False]),
    ],
    ids=lambda values: values.dtype.str,
)
def test_a_numpy_array_is_a_column(values):
    assert to_table({"a": values}, what="facts")["a"].to_pylist() == values.tolist()


@pytest.mark.parametrize("unit", ["Y", "M", "D", "h", "m", "s", "ms", "us", "ns", "25s"])
def test_numpy_times_of_every_unit_keep_their_instant(unit):
    values = np.array([3, -2], f"datetime64[{unit}]")

    table = to_table({"t": values}, what="facts")

    expected = values.astype("datetime64[ns]").astype(np.int64).tolist()
    assert table["t"].cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist() == expected


def test_a_matrix_is_a_column_of_vectors():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)

    column = to_table({"embedding": values}, what="facts")["embedding"]

    assert column.type == pa.list_(pa.float32(), 2)
    assert column.to_pylist() == values.tolist()


@pytest.mark.parametrize("values", [np.zeros((2, 2, 2)), np.zeros(2, np.complex128)], ids=["three dimensions", "complex"])
def test_a_numpy_array_that_is_no_column_is_refused(values):
    with pytest.raises(SchemaMismatchError, match=r"facts\.a"):
        to_table({"a": values}, what="facts")


# ---------------------------------------------------------------- pandas


def test_a_named_index_becomes_a_column():
    frame = pd.DataFrame({"id": [7, 8], "hour": [1, 2], "n": [3, 4]})

    assert to_table(frame.set_index("id"), what="facts").to_pydict() == {"id": [7, 8], "hour": [1, 2], "n": [3, 4]}
    assert to_table(frame.set_index(["id", "hour"]), what="facts").column_names == ["id", "hour", "n"]


def test_an_index_without_a_name_is_dropped():
    frame = pd.DataFrame({"n": [3, 4, 5]})

    assert to_table(frame[frame.n > 3], what="facts").to_pydict() == {"n": [4, 5]}


def test_an_index_without_a_name_is_named_as_suspect_when_a_column_is_missing():
    frame = pd.DataFrame({"n": [3, 4]}, index=[7, 8])

    with pytest.raises(SchemaMismatchError) as refusal:
        to_table(frame, what="facts", layout=LAYOUT)

    assert "facts: no column 'id'" in refusal.value.message
    assert "reset_index()" in refusal.value.hint


def test_columns_without_text_for_a_name_are_refused():
    for data in (pd.DataFrame([[1, 2]]), {0: [1]}, [{0: 1}]):
        with pytest.raises(SchemaMismatchError, match="column 0 is named by int"):
            to_table(data, what="facts")


def test_an_object_column_of_lists_and_a_categorical_are_columns():
    frame = pd.DataFrame({"v": [[1.0, 2.0], None], "c": pd.Categorical(["x", "y"])})

    table = to_table(frame, what="facts")

    assert table["v"].to_pylist() == [[1.0, 2.0], None]
    assert table["c"].to_pylist() == ["x", "y"]
