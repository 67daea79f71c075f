"""Data made to fit a layout: equal in every value, or refused by column, row and value."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema import dtypes as t
from mlstore.schema.conform import conform
from mlstore.schema.entity import Entity
from mlstore.schema.layout import table_layout, view_layout
from mlstore.schema.table import Table
from mlstore.schema.timestamps import MAX_TIME, NULL_TIME
from mlstore.schema.view import FeatureView
from tests.support.integers import INTEGERS, bounds, integers

THING = Entity("thing", keys={"id": t.int32, "city": t.string})
NOON_US = 1_714_564_800_000_000


def layout_of(dtype=t.float64, **rules):
    return view_layout(FeatureView("facts", entity=THING, schema={"x": dtype}, **rules), THING)


def rows(x, **changes):
    count = len(x)
    columns = {"id": list(range(count)), "city": ["a"] * count, "event_timestamp": pa.array([NOON_US] * count, pa.timestamp("us")), "x": x}
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def conformed(x, dtype):
    """One column of data as `dtype`."""
    (column,) = conform(layout_of(dtype), rows(x)).features
    return column


# ---------------------------------------------------------------- the parts


def test_data_comes_back_by_part_in_the_order_of_the_layout():
    table = rows(pa.array([0.5, None])).select(["x", "event_timestamp", "city", "id"])

    result = conform(layout_of(), table)

    assert result.rows == 2
    assert [column.to_pylist() for column in result.keys] == [[0, 1], ["a", "a"]]
    assert [column.type for column in result.keys] == [pa.int32(), pa.string()]
    assert result.event_time.tolist() == [NOON_US, NOON_US]
    assert result.created is None
    assert [column.to_pylist() for column in result.features] == [[0.5, None]]


def test_columns_that_fit_are_not_copied():
    table = rows(pa.array([0.5, 1.5]), id=pa.array([1, 2], pa.int32()))

    result = conform(layout_of(), table)

    def address(column):
        return column.chunk(0).buffers()[1].address

    assert address(result.features[0]) == address(table["x"])
    assert address(result.keys[0]) == address(table["id"])
    assert result.event_time.ctypes.data == address(table["event_timestamp"])


def test_created_is_the_column_with_nulls_left_for_the_commit():
    known = pa.array([NOON_US * 1000, None], pa.timestamp("ns", "Asia/Tokyo"))

    result = conform(layout_of(created_timestamp="known"), rows([1.0, 2.0], known=known))

    assert result.created.tolist() == [NOON_US, NULL_TIME]


def test_created_is_the_event_time_and_a_delay():
    times = pa.array([NOON_US, MAX_TIME], pa.timestamp("us"))

    result = conform(layout_of(available_after="1h"), rows([1.0, 2.0], event_timestamp=times))

    assert result.created.tolist() == [NOON_US + 3_600_000_000, MAX_TIME]


def test_times_are_counted_in_the_unit_of_the_layout():
    times = pa.array([1, -1], pa.timestamp("ns"))

    assert conform(layout_of(time_unit="ns"), rows([1.0, 2.0], event_timestamp=times)).event_time.tolist() == [1, -1]


def test_a_table_without_a_timestamp_has_no_event_time():
    layout = table_layout(Table("notes", schema={"id": t.int64, "text": t.string}, key="id"))

    result = conform(layout, pa.table({"id": [1], "text": ["fog"]}))

    assert (result.event_time, result.created, len(result.keys), len(result.features)) == (None, None, 1, 1)


def test_a_table_may_be_all_key():
    layout = table_layout(Table("seen", schema={"id": t.int64}, key="id"))

    assert conform(layout, pa.table({"id": [1, 2]})).features == ()


def test_no_rows_conform():
    result = conform(layout_of(t.vector(2)), rows(pa.array([], pa.list_(pa.float64()))).slice(0, 0))

    assert (result.rows, len(result.event_time), result.features[0].type) == (0, 0, t.vector(2).arrow)


# ---------------------------------------------------------------- columns


def test_a_missing_column_is_refused_with_what_was_given_and_the_likely_one():
    with pytest.raises(SchemaMismatchError) as refusal:
        conform(layout_of(), rows([1.0]).rename_columns(["id", "City", "event_timestamp", "x"]))

    assert refusal.value.message == "facts: no column 'city'; given: 'id', 'City', 'event_timestamp', 'x'"
    assert refusal.value.hint == "rename 'City' to 'city'?"


def test_all_missing_columns_are_named():
    with pytest.raises(SchemaMismatchError, match="no column 'city', 'x'"):
        conform(layout_of(), rows([1.0]).drop_columns(["city", "x"]))


def test_a_declared_created_column_is_required():
    with pytest.raises(SchemaMismatchError, match="no column 'known'"):
        conform(layout_of(created_timestamp="known"), rows([1.0]))


def test_an_unknown_column_is_refused():
    with pytest.raises(SchemaMismatchError) as refusal:
        conform(layout_of(), rows([1.0], y=[2.0]))

    assert "unknown column 'y'" in refusal.value.message
    assert refusal.value.hint == "drop 'y', or add it to the schema"


def test_an_unknown_created_column_is_refused_with_the_way_to_declare_it():
    with pytest.raises(SchemaMismatchError) as refusal:
        conform(layout_of(), rows([1.0], created=[None]))

    assert "created_timestamp='created'" in refusal.value.hint


def test_a_column_given_twice_is_refused():
    table = rows([1.0])

    with pytest.raises(SchemaMismatchError, match="more than one column 'x'"):
        conform(layout_of(), table.append_column("x", table["x"]))


def test_a_null_key_is_refused_by_row():
    with pytest.raises(InvalidDataError, match=r"facts\.city, row 101: the key is null"):
        conform(layout_of(), rows([1.0, 2.0], city=["a", None]), first_row=100)


def test_a_null_time_is_refused_by_row():
    with pytest.raises(InvalidDataError, match=r"facts\.event_timestamp, row 100: the time is null"):
        conform(layout_of(), rows([1.0], event_timestamp=pa.nulls(1)), first_row=100)


# ---------------------------------------------------------------- values


@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.lists(st.one_of(st.none(), integers), min_size=1, max_size=5))
def test_an_integer_fits_whole_or_is_refused_by_row(given_type, dtype, values):
    low, high = bounds(given_type)
    assume(all(value is None or low <= value <= high for value in values))
    column = pa.array(values, given_type.arrow)
    low, high = bounds(dtype)
    misfit = next((row for row, value in enumerate(values) if value is not None and not low <= value <= high), None)

    if misfit is None:
        result = conformed(column, dtype)
        assert result.type == dtype.arrow
        assert result.to_pylist() == values
    else:
        with pytest.raises(InvalidDataError) as refusal:
            conformed(column, dtype)
        assert f"facts.x, row {misfit}: {values[misfit]} does not fit {dtype}" in refusal.value.message


@given(
    st.sampled_from([t.int64, t.uint64, t.int32]),
    st.sampled_from([t.float32, t.float64]),
    st.lists(st.one_of(st.none(), integers), min_size=1),
)
def test_an_integer_becomes_a_float_only_if_it_is_one(given_type, dtype, values):
    low, high = bounds(given_type)
    assume(all(value is None or low <= value <= high for value in values))
    exact = np.float32 if dtype == t.float32 else np.float64
    misfit = next((row for row, value in enumerate(values) if value is not None and int(exact(value)) != value), None)

    if misfit is None:
        assert conformed(pa.array(values, given_type.arrow), dtype).to_pylist() == values
    else:
        with pytest.raises(InvalidDataError, match=rf"row {misfit}: {values[misfit]} is not exact as {dtype}"):
            conformed(pa.array(values, given_type.arrow), dtype)


@given(st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1))
def test_floats_keep_every_value_when_widened(values):
    result = conformed(pa.array(values, pa.float32()), t.float64).to_pylist()

    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(result, values, strict=True) if b is not None)
    assert [a is None for a in result] == [b is None for b in values]


def test_a_double_is_rounded_to_a_float_but_never_to_infinity():
    result = conformed(pa.array([0.1, math.inf, math.nan, None]), t.float32)

    assert result.type == pa.float32()
    assert result[0].as_py() == float(np.float32(0.1))
    assert result[1].as_py() == math.inf
    assert result.null_count == 1
    with pytest.raises(InvalidDataError, match=r"row 1: 1e\+300 is beyond the range of float32"):
        conformed(pa.array([1.0, 1e300]), t.float32)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pa.array(["a", None]), t.string),
        (pa.array(["a", None], pa.large_string()), t.string),
        (pa.array(["a", None]).cast(pa.string_view()), t.string),
        (pa.array(["a", None]).dictionary_encode(), t.string),
        (pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b", None]).dictionary_encode()]), t.string),
        (pa.array([1, 1]).dictionary_encode(), t.int8),
        (pa.array([b"a", None], pa.large_binary()), t.binary),
        (pa.array([b"a", None], pa.binary(1)), t.binary),
        (pa.array([b"a", None]).cast(pa.binary_view()), t.binary),
        (pa.array([True, None]), t.bool_),
        (pa.array([date(2024, 5, 1), None], pa.date64()), t.date),
        (pa.array([Decimal("1.50"), None], pa.decimal256(40, 4)), t.decimal(5, 2)),
        (pa.array([Decimal("1.50"), None]), t.decimal(38, 30)),
        (pa.array([[1.0, 2.0], None, [3.0, 4.0]]), t.vector(2)),
        (pa.array([[1, 2], None]), t.vector(2, t.float64)),
        (pa.array([[1.0, 2.0], None], pa.large_list(pa.float32())), t.vector(2)),
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2)), t.vector(2)),
        (pa.array([[1.0, 2.0], None], pa.list_view(pa.float64())), t.vector(2)),
        (pa.array([[9.0, 9.0], [1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)).slice(1), t.vector(2)),
        (pa.array([[1, 2], None, []]), t.list_(t.int8)),
        (pa.array([["x"], [1 * "a", None], None]).slice(1), t.list_(t.string)),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), t.list_(t.int64)),
        (pa.array([[], []]), t.list_(t.string)),
        (pa.array([[[1], None], None]), t.list_(t.list_(t.int16))),
        (pa.array([{"a": 1, "b": ["x"]}, None]), t.struct({"a": t.int8, "b": t.list_(t.string)})),
        (pa.array([[("z", 0)], [("a", 1)], None, []], pa.map_(pa.large_string(), pa.int64())).slice(1), t.map_(t.string, t.int8)),
    ],
    ids=repr,
)
def test_values_stay_equal_whatever_their_encoding(values, dtype):
    result = conformed(values, dtype)

    assert result.type == dtype.arrow
    assert result.to_pylist() == values.to_pylist()


@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-200, 200)), max_size=3)), min_size=1, max_size=6), st.data()
)
def test_lists_keep_every_value_through_slices_and_chunks(values, data):
    cut = data.draw(st.integers(0, len(values)))
    array = pa.array([[7], *values], pa.large_list(pa.int16())).slice(1)
    column = pa.chunked_array([array.slice(0, cut), array.slice(cut)])

    misfit = next((row for row, value in enumerate(values) if value and any(v is not None and not -128 <= v <= 127 for v in value)), None)
    if misfit is None:
        assert conformed(column, t.list_(t.int8)).to_pylist() == values
    else:
        with pytest.raises(InvalidDataError, match=rf"facts\.x\[\], row {misfit}: "):
            conformed(column, t.list_(t.int8))


def test_struct_fields_are_matched_by_name_and_missing_ones_are_null():
    dtype = t.struct({"a": t.int8, "b": t.string})

    result = conformed(pa.array([{"b": "x"}, None]), dtype)

    assert result.to_pylist() == [{"a": None, "b": "x"}, None]
    with pytest.raises(SchemaMismatchError, match=r"facts\.x: fields a, c; expected a, b"):
        conformed(pa.array([{"a": 1, "c": 2}]), dtype)


def test_a_column_of_nulls_is_null_in_every_type():
    for dtype in (
        t.int8,
        t.string,
        t.date,
        t.timestamp("ns"),
        t.decimal(4),
        t.vector(2),
        t.struct({"a": t.int8}),
        t.map_(t.string, t.int8),
    ):
        result = conformed(pa.nulls(2), dtype)

        assert (result.type, result.null_count) == (dtype.arrow, 2)


def test_what_lies_under_a_null_vector_is_zero():
    values = pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))

    result = conformed(values, t.vector(2)).chunk(0)

    assert result.values.null_count == 0
    assert result.values.to_pylist() == [1.0, 2.0, 0.0, 0.0]


def test_a_vector_of_another_length_is_refused_by_row():
    for values in (pa.array([[1.0, 2.0], None, [1.0]]), pa.array([[1.0, 2.0], None, [1.0, 2.0, 3.0]])):
        with pytest.raises(InvalidDataError, match=r"facts\.x, row 2: \d values, expected 2"):
            conformed(values, t.vector(2))


def test_a_null_inside_a_vector_is_refused_by_row():
    for arrow in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2)):
        with pytest.raises(InvalidDataError, match=r"facts\.x\[\], row 2: a null inside a vector"):
            conformed(pa.array([[1.0, 2.0], None, [1.0, None]], arrow), t.vector(2))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_timestamp_feature_keeps_its_instant_in_its_own_unit(unit):
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    result = conformed(pa.array([noon, None], pa.timestamp("ms", "Asia/Tokyo")), t.timestamp(unit))

    assert result.type == pa.timestamp(unit, "UTC")
    assert [value and value.replace(tzinfo=UTC) for value in result.cast(pa.timestamp("us")).to_pylist()] == [noon, None]
    assert conformed(pa.array(["2024-05-01T12:00Z", None]), t.timestamp(unit)).equals(result)


def test_a_naive_timestamp_feature_means_utc():
    result = conformed(pa.array([NOON_US], pa.timestamp("us")), t.timestamp())

    assert result.to_pylist() == [datetime(2024, 5, 1, 12, tzinfo=UTC)]


def test_a_timestamp_feature_that_would_lose_digits_is_refused_by_row():
    with pytest.raises(InvalidDataError, match=r"facts\.x, row 1: 1970-01-01T00:00:00.001Z has digits below seconds"):
        conformed(pa.array([1000, 1], pa.timestamp("ms")), t.timestamp("s"))


def test_a_date_is_a_whole_day():
    days = [date(2024, 5, 1), None, date(1969, 12, 31)]

    assert conformed(pa.array(days).cast(pa.timestamp("us")), t.date).to_pylist() == days
    assert conformed(pa.array(["2024-05-01", None, "1969-12-31"]), t.date).to_pylist() == days
    with pytest.raises(InvalidDataError, match=r"facts\.x, row 0: 2024-05-01T12:00:00Z has digits below days"):
        conformed(pa.array([NOON_US], pa.timestamp("us")), t.date)
    with pytest.raises(InvalidDataError, match=r"row 1: .* beyond what 32 bits of days can hold"):
        conformed(pa.array([0, 86_400 * 2**33], pa.timestamp("s")), t.date)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=4), st.integers(1, 38), st.integers(0, 10))
def test_an_integer_becomes_a_decimal_only_if_its_digits_fit(values, precision, scale):
    dtype = t.decimal(max(precision, scale), scale)
    column = pa.array(values, pa.int64())
    misfit = next((row for row, v in enumerate(values) if v is not None and abs(v) * 10**scale >= 10**dtype.arrow.precision), None)

    if misfit is None:
        assert conformed(column, dtype).to_pylist() == [None if value is None else Decimal(value) for value in values]
    else:
        with pytest.raises(InvalidDataError, match=rf"row {misfit}: {values[misfit]} does not fit"):
            conformed(column, dtype)


def test_a_decimal_that_would_lose_digits_is_refused_by_row():
    with pytest.raises(InvalidDataError, match=r"facts\.x, row 1: 1.555 does not fit decimal\(5, 2\) exactly"):
        conformed(pa.array([Decimal("1.500"), Decimal("1.555")]), t.decimal(5, 2))


@pytest.mark.parametrize(
    ("values", "dtype", "cure"),
    [
        (pa.array(["3"]), t.int64, "column.cast(pa.int64())"),
        (pa.array(["3"]), t.float64, "column.cast(pa.float64())"),
        (pa.array([1.0]), t.int64, "Int64"),
        (pa.array([True]), t.int64, "declare it as bool"),
        (pa.array([1]), t.bool_, "declare it as int64"),
        (pa.array([1]), t.string, "declare it as int64"),
        (pa.array([b"a"]), t.string, "decode"),
        (pa.array(["a"]), t.binary, "encode"),
        (pa.array([1]), t.timestamp(), "pa.timestamp('s')"),
        (pa.array([1]), t.date, "pa.timestamp('s')"),
        (pa.array([1.5]), t.decimal(3, 1), "float64"),
        (pa.array(["1.5"]), t.decimal(3, 1), "cast"),
        (pa.array([Decimal("1.5")]), t.float64, "declare it as decimal(2, 1)"),
        (pa.array([1], pa.duration("s")), t.float64, "another type"),
        (pa.array([1.0]), t.vector(1), "declare it as float64"),
        (pa.array([1]), t.list_(t.int64), "declare it as int64"),
        (pa.array([[1]]), t.struct({"a": t.int64}), "declare it as list<int64>"),
        (pa.array([{"a": 1}]), t.map_(t.string, t.int64), "declare it as struct<a: int64>"),
        (pa.array([["3"]]), t.list_(t.int64), "column.cast(pa.int64())"),
    ],
    ids=repr,
)
def test_a_type_that_does_not_fit_is_refused_with_the_cure(values, dtype, cure):
    with pytest.raises(SchemaMismatchError) as refusal:
        conformed(values, dtype)

    assert refusal.value.message.startswith("facts.x")
    assert ": expected " in refusal.value.message
    assert cure in refusal.value.hint
