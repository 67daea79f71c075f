"""Columns: the buffers of each type in the order that the format fixes, zone maps, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlstore.errors import CorruptionError
from mlstore.format.columns import assemble_column, flatten_column, value_range, value_width
from mlstore.schema import dtypes as dt


def ints(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


@pytest.mark.parametrize(
    ("dtype", "values", "buffers"),
    [
        (dt.int16, [1, -2], [None, b"\x01\x00\xfe\xff"]),
        (dt.bool_, [True, False, True], [None, b"\x05"]),
        (dt.string, ["ab", "c"], [None, ints(0, 2, 3), b"abc"]),
        (dt.binary, [], [None, ints(0), b""]),
        (dt.date, [date(1970, 1, 3)], [None, ints(2)]),
        (dt.list_(dt.int8), [[1, 2], [], [3]], [None, ints(0, 2, 2, 3), None, b"\1\2\3"]),
        (dt.list_(dt.string), [["a"], ["bc"]], [None, ints(0, 1, 2), None, ints(0, 1, 3), b"abc"]),
        (dt.vector(2), [[1.0, 2.0]], [None, None, np.array([1, 2], "<f4").tobytes()]),
        (dt.struct({"a": dt.int8, "b": dt.string}), [{"a": 1, "b": "x"}], [None, None, b"\1", None, ints(0, 1), b"x"]),
        (dt.map_(dt.string, dt.int8), [[("k", 7)]], [None, ints(0, 1), None, None, ints(0, 1), b"k", None, b"\7"]),
    ],
    ids=str,
)
def test_buffers_come_depth_first_in_the_order_of_the_format(dtype: dt.DType, values: list[Any], buffers: list[bytes | None]) -> None:
    flat = flatten_column(pa.array(values, dtype.arrow))

    assert [None if buffer is None else buffer.tobytes() for buffer in flat] == buffers


def test_nulls_are_a_bitmap_from_the_least_significant_bit_on() -> None:
    validity = flatten_column(pa.array([1, None, 3, None], pa.int8()))[0]

    assert validity is not None
    assert validity.tolist() == [0b0101]


def test_a_slice_without_nulls_is_not_copied() -> None:
    array = pa.array(range(100), pa.int64()).slice(10, 20)

    flat = flatten_column(array)[1]

    assert flat is not None
    assert flat.ctypes.data == array.buffers()[1].address + 80


def test_a_column_is_put_together_without_copying() -> None:
    values = pa.py_buffer(np.arange(4))

    array = assemble_column(pa.int64(), 4, iter([None, values]))

    assert array.buffers()[1].address == values.address


@pytest.mark.parametrize("dtype", [dt.list_(dt.int8), dt.map_(dt.string, dt.int8)], ids=str)
def test_a_list_with_too_few_offsets_is_refused(dtype: dt.DType) -> None:
    with pytest.raises(CorruptionError, match="shorter than its length"):
        assemble_column(dtype.arrow, 3, iter([None, pa.py_buffer(ints(0, 1))]))


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (dt.int32, [3, None, -1], (-1, 3)),
        (dt.uint64, [2**64 - 1, 2**63], (2**63, 2**64 - 1)),
        (dt.float64, [math.inf, -math.inf, 0.5], (-math.inf, math.inf)),
        (dt.float32, [1.5, None, -2.0], (-2.0, 1.5)),
        (dt.date, [date(1969, 12, 31), date(1970, 1, 3)], (-1, 2)),
        (dt.timestamp("ns"), [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)], (-(10**9), -(10**9))),
        (dt.int32, [None, None], None),
        (dt.int32, [], None),
        (dt.float64, [], None),
        (dt.float64, [1.0, math.nan], None),
        (dt.float32, [None, math.nan], None),
        (dt.bool_, [True], None),
        (dt.string, ["a"], None),
        (dt.decimal(5, 1), [Decimal("1.5")], None),
        (dt.vector(1), [[1.0]], None),
        (dt.list_(dt.int8), [[1]], None),
    ],
    ids=str,
)
def test_a_zone_map_holds_least_and_greatest_where_there_is_an_order(dtype: dt.DType, values: list[Any], expected: Any) -> None:
    assert value_range(pa.array(values, dtype.arrow), dtype) == expected


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=str)
def test_one_nan_anywhere_leaves_no_zone_map(dtype: dt.DType, count: int) -> None:
    for place in {0, count // 2, count - 1}:
        values = np.full(count, 1e30, dtype.arrow.to_pandas_dtype())
        values[place] = math.nan

        assert value_range(pa.array(values), dtype) is None


def test_large_numbers_are_no_nan() -> None:
    values = np.array([1e308, -1e308, math.inf, -math.inf])

    assert value_range(pa.array(values), dt.float64) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("dtype", "width"),
    [(dt.bool_, 1), (dt.int8, 1), (dt.int16, 2), (dt.float32, 4), (dt.timestamp("s"), 8), (dt.decimal(5, 1), 16), (dt.string, 1)],
    ids=str,
)
def test_the_width_is_that_of_one_value(dtype: dt.DType, width: int) -> None:
    assert value_width(dtype.arrow) == width
