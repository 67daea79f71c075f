"""Columns of time: exact for data, rounded for labels, checked against Python's integers."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.timestamps import MAX_TIME, MIN_TIME, NULL_TIME, ceil_to_unit, floor_to_unit, shifted, to_unit

TICK_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
units = st.sampled_from(["s", "ms", "us", "ns"])
targets = st.sampled_from(["us", "ns"])
int64s = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.integers(0, 10**5).map(lambda n: 2**63 - 1 - n),
    st.integers(0, 10**5).map(lambda n: -(2**63) + n),
)
ticks = st.lists(st.one_of(st.none(), int64s), max_size=6)


def column(values, unit, zone=None, chunks=1):
    array = pa.array(values, pa.int64()).cast(pa.timestamp(unit, zone))
    cut = len(values) // chunks
    return pa.chunked_array([array.slice(part * cut, cut if part < chunks - 1 else len(values)) for part in range(chunks)], array.type)


def clamp(value):
    return max(MIN_TIME, min(MAX_TIME, value))


@given(ticks, units, targets, st.sampled_from([None, "UTC", "Asia/Tokyo"]), st.integers(1, 2))
def test_a_conversion_is_exact_or_refused(values, unit, target, zone, chunks):
    exact = [None if value is None else value * TICK_NS[unit] for value in values]
    fits = [value is None or (value % TICK_NS[target] == 0 and MIN_TIME <= value // TICK_NS[target] <= MAX_TIME) for value in exact]
    data = column(values, unit, zone, chunks)

    if not all(fits):
        with pytest.raises(InvalidDataError, match=f"view.t, row {10 + fits.index(False)}:"):
            to_unit(data, target, name="view.t", allow_null=True, first_row=10)
        return
    result = to_unit(data, target, name="view.t", allow_null=True)

    assert result.dtype == np.int64
    assert result.tolist() == [NULL_TIME if value is None else value // TICK_NS[target] for value in exact]


@given(ticks, units, targets)
def test_floor_is_the_last_tick_at_or_before(values, unit, target):
    result = floor_to_unit(column(values, unit), target)

    assert result.tolist() == [NULL_TIME if v is None else clamp(v * TICK_NS[unit] // TICK_NS[target]) for v in values]


@given(ticks, units, targets, st.one_of(st.just(0), st.integers(0, 10**4), st.integers(0, 2**63 - 1)))
def test_ceil_is_the_first_tick_at_or_after_the_instant_less_an_age(values, unit, target, minus_ns):
    result = ceil_to_unit(column(values, unit), target, minus_ns=minus_ns)

    exact = [None if v is None else v * TICK_NS[unit] - minus_ns for v in values]
    assert result.tolist() == [NULL_TIME if v is None else clamp(-(-v // TICK_NS[target])) for v in exact]


@given(st.lists(int64s, max_size=6), st.one_of(int64s, st.integers(-10, 10)))
def test_a_shift_saturates_and_keeps_nulls(values, delta):
    result = shifted(np.array(values, np.int64), delta)

    assert result.tolist() == [NULL_TIME if value == NULL_TIME else clamp(value + delta) for value in values]


def test_a_column_that_fits_is_not_copied():
    array = pa.array([1, 2, 3], pa.int64()).cast(pa.timestamp("us", "UTC"))

    result = to_unit(pa.chunked_array([array]), "us", name="t")
    floor = floor_to_unit(array.slice(1), "us")

    assert result.ctypes.data == array.buffers()[1].address
    assert floor.ctypes.data == array.buffers()[1].address + 8
    assert floor.tolist() == [2, 3]


def test_dates_are_midnight_utc():
    days = [date(1969, 12, 31), date(1970, 1, 2)]

    assert to_unit(pa.array(days), "us", name="t").tolist() == [-86_400 * 10**6, 86_400 * 10**6]
    assert to_unit(pa.array(days, pa.date64()), "ns", name="t").tolist() == [-86_400 * 10**9, 86_400 * 10**9]


@pytest.mark.parametrize(
    "texts",
    [
        ["1970-01-01", "1970-01-01 00:00:01"],
        ["1970-01-01T00:00Z", "1970-01-01T09:00:01+09:00"],
        ["1970-01-01T09:00+09:00", "1970-01-01T00:00:01.000000000Z"],
        ["1970-01-01", "1970-01-01T00:00:01.000000000"],
    ],
)
@pytest.mark.parametrize("arrow", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_iso_text_is_read_with_zones_and_without(texts, arrow):
    plain = pa.array(texts)
    data = plain.dictionary_encode() if pa.types.is_dictionary(arrow) else plain.cast(arrow)

    assert to_unit(data, "us", name="t").tolist() == [0, 10**6]


def test_iso_text_keeps_its_nanoseconds():
    data = pa.array(["1970-01-01T00:00:00.000000001", None, "1970-01-01T00:00:01"])

    assert to_unit(data, "ns", name="t", allow_null=True).tolist() == [1, NULL_TIME, 10**9]


def test_unparsable_text_names_row_and_value():
    data = pa.chunked_array([["2020-01-01"], ["2020-01-02", "soon"]])

    with pytest.raises(InvalidDataError, match=r"weather.t, row 2: 'soon' is not a time"):
        to_unit(data, "us", name="weather.t")


def test_text_with_a_zone_beside_text_without_is_refused():
    data = pa.array(["2020-01-01", None, "2020-01-01T12:00Z"])

    with pytest.raises(SchemaMismatchError) as refusal:
        to_unit(data, "us", name="weather.t")

    assert refusal.value.message == "weather.t: times with a zone in row 2, without one in row 0"
    assert "UTC" in refusal.value.hint


def test_a_year_that_no_calendar_has_is_refused():
    with pytest.raises(InvalidDataError, match="row 0"):
        to_unit(pa.array(["0000-01-01"]), "us", name="t")


def test_lost_digits_name_the_row_the_value_and_the_cure():
    data = column([1000, 2001], "ns")

    with pytest.raises(InvalidDataError) as refusal:
        to_unit(data, "us", name="weather.t")

    assert "weather.t, row 1: 1970-01-01T00:00:00.000002001Z" in refusal.value.message
    assert 'time_unit="ns"' in refusal.value.hint


def test_overflow_names_the_row_the_value_and_the_cure():
    data = column([0, 10**11], "s")

    with pytest.raises(InvalidDataError) as refusal:
        to_unit(data, "ns", name="weather.t")

    assert "weather.t, row 1: 5138-11-16T09:46:40Z" in refusal.value.message
    assert 'time_unit="us"' in refusal.value.hint


def test_a_null_time_is_refused_by_row_unless_allowed():
    data = column([1, None, None], "us")

    with pytest.raises(InvalidDataError, match=r"weather\.t, row 1: the time is null"):
        to_unit(data, "us", name="weather.t")
    assert to_unit(data, "us", name="weather.t", allow_null=True).tolist() == [1, NULL_TIME, NULL_TIME]


def test_what_lies_under_a_null_is_not_judged():
    hidden = np.array([2**62, 0], np.int64)
    array = pa.array(hidden, mask=np.array([True, False])).cast(pa.timestamp("s"))

    assert to_unit(array, "ns", name="t", allow_null=True).tolist() == [NULL_TIME, 0]


@pytest.mark.parametrize("data", [pa.array([1]), pa.array([1.5]), pa.array([True]), pa.array([1], pa.duration("s"))])
def test_a_column_of_another_type_is_no_time(data):
    with pytest.raises(SchemaMismatchError, match=r"weather\.t: expected a timestamp"):
        to_unit(data, "us", name="weather.t")


def test_a_number_is_refused_with_the_way_to_say_its_unit():
    with pytest.raises(SchemaMismatchError) as refusal:
        floor_to_unit(pa.array([1]), "us", name="labels.t")

    assert "pa.timestamp('s')" in refusal.value.hint


def test_a_column_of_nulls_and_an_empty_column_have_no_times():
    assert to_unit(pa.nulls(2), "us", name="t", allow_null=True).tolist() == [NULL_TIME, NULL_TIME]
    assert to_unit(pa.chunked_array([], pa.timestamp("ns")), "us", name="t").tolist() == []
    assert floor_to_unit(pa.nulls(0), "us").tolist() == []
