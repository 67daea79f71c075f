"""Rows: the bytes as they are written down, every type there and back, and what is refused."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest

from mlstore._core.row_layout import RowLayout
from mlstore._core.rows import pack_rows
from mlstore._core.slots import READINGS
from mlstore.errors import CorruptionError, InvalidDataError, SchemaMismatchError
from mlstore.format.rows import RowPlan, RowReader, compile_plan, peek, peek_many
from mlstore.schema import dtypes as dt

HEAD = struct.pack("<Hqqq", 3, -5, 6, 7)

EVERY_TYPE: list[tuple[dt.DType, Any]] = [
    (dt.bool_, True),
    (dt.int8, -128),
    (dt.int16, -(2**15)),
    (dt.int32, -(2**31)),
    (dt.int64, -(2**63)),
    (dt.uint8, 255),
    (dt.uint16, 2**16 - 1),
    (dt.uint32, 2**32 - 1),
    (dt.uint64, 2**64 - 1),
    (dt.float32, -1.5),
    (dt.float64, 0.1),
    (dt.string, "Zürich ✈"),
    (dt.binary, b"\x00\xff"),
    (dt.date, date(1969, 12, 31)),
    (dt.timestamp("s"), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (dt.timestamp("ms"), datetime(1, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
    (dt.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    (dt.timestamp("ns"), datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)),
    (dt.decimal(38, 2), Decimal("-999999999999999999999999999999999999.99")),
    (dt.vector(3), [0.5, -0.25, 4.0]),
    (dt.vector(1, dt.float64), [0.1]),
    (dt.list_(dt.string), ["a", None, ""]),
    (dt.struct({"when": dt.timestamp("us"), "who": dt.list_(dt.int8)}), {"when": datetime(2000, 1, 1, tzinfo=UTC), "who": [1]}),
    (dt.map_(dt.string, dt.decimal(5, 1)), [("a", Decimal("1.5")), ("b", None)]),
    (dt.list_(dt.struct({"day": dt.date, "at": dt.vector(2)})), [{"day": date(2024, 1, 2), "at": [1.0, 2.0]}, None]),
]


def plan_of(*dtypes: dt.DType, revision: int = 3) -> RowPlan:
    return compile_plan(revision, [(f"f{number}", dtype) for number, dtype in enumerate(dtypes)])


def times(n: int) -> tuple[np.ndarray[Any, Any], ...]:
    return np.full(n, -5), np.full(n, 6), np.full(n, 7)


def encode_one(plan: RowPlan, *values: Any) -> bytes:
    (row,) = plan.encode(*times(1), [pa.array([value], dtype.arrow) for value, (_, dtype) in zip(values, plan.fields, strict=True)])
    return row


# ---- the bytes ----


def test_a_row_is_head_validity_slots_and_variable_values() -> None:
    plan = plan_of(dt.int32, dt.string, dt.bool_, dt.binary, dt.float64)

    row = encode_one(plan, *[258, "hé", True, b"xyz", None])

    validity, slots = b"\x0f", struct.pack("<iIBI8x", 258, 3, 1, 6)
    assert row == HEAD + validity + slots + "hé".encode() + b"xyz"


def test_the_slots_of_nulls_are_zero_and_a_value_begins_after_the_last_valid_one() -> None:
    plan = plan_of(dt.string, dt.string, dt.string)

    row = encode_one(plan, "ab", None, "c")

    assert row == HEAD + b"\x05" + struct.pack("<III", 2, 0, 3) + b"abc"


def test_the_ninth_feature_opens_a_second_validity_byte() -> None:
    plan = plan_of(*[dt.uint8] * 9)

    row = encode_one(plan, *[None] * 8, 9)

    assert row == HEAD + b"\x00\x01" + bytes(8) + b"\x09"


def test_nested_values_are_msgpack_of_what_is_stored() -> None:
    plan = plan_of(dt.list_(dt.struct({"at": dt.timestamp("us"), "price": dt.decimal(4, 2)})), dt.map_(dt.string, dt.date))

    row = encode_one(plan, [{"at": -1, "price": Decimal("-0.01")}, None], [("a", 19_000)])

    first = msgpack.packb([[-1, b"\xff" * 16], None])
    second = msgpack.packb([["a", 19_000]])
    assert row == HEAD + b"\x03" + struct.pack("<II", len(first), len(first) + len(second)) + first + second


def test_a_schema_without_features_has_rows_of_a_head_alone() -> None:
    plan = plan_of()

    rows = plan.encode(*times(2), [])

    assert rows == [HEAD, HEAD]
    assert plan.decode_one(rows[0]) == []
    assert plan.decode([*rows, None]).found.tolist() == [True, True, False]


# ---- there and back ----


@pytest.mark.parametrize(("dtype", "value"), EVERY_TYPE, ids=lambda part: str(part) if isinstance(part, dt.DType) else "")
def test_every_type_comes_back_as_it_was(dtype: dt.DType, value: Any) -> None:
    plan = plan_of(dtype)
    column = pa.array([value, None, value], dtype.arrow)

    rows = plan.encode(*times(3), [column])

    (decoded,) = plan.decode(rows).columns
    decoded.validate(full=True)
    assert decoded.type == dtype.arrow
    assert decoded.equals(column)
    assert [plan.decode_one(row) for row in rows] == [[value], [None], [value]]


@pytest.mark.parametrize("dtype", [dtype for dtype, _ in EVERY_TYPE], ids=str)
def test_columns_of_nulls_alone_and_of_no_rows_work_for_every_type(dtype: dt.DType) -> None:
    plan = plan_of(dtype)

    rows = plan.encode(*times(9), [pa.nulls(9, dtype.arrow)])

    assert plan.decode(rows).columns[0].to_pylist() == [None] * 9
    assert plan.encode(*times(0), [pa.array([], dtype.arrow)]) == []
    assert plan.encode(*times(0), [pa.chunked_array([], dtype.arrow)]) == []
    assert plan.decode([]).columns[0].equals(pa.array([], dtype.arrow))
    assert plan.decode([None, None]).columns[0].to_pylist() == [None, None]


def test_more_rows_than_one_block_keep_their_order() -> None:
    plan = plan_of(dt.int64, dt.string)
    n = 40_000
    numbers = pa.array(range(n), pa.int64())

    rows = plan.encode(np.arange(n), *times(n)[1:], [pa.chunked_array([numbers[:17], numbers[17:]]), numbers.cast(pa.string())])

    decoded = plan.decode(rows)
    assert decoded.columns[0].equals(numbers)
    assert decoded.columns[1].equals(numbers.cast(pa.string()))
    assert decoded.event_time.tolist() == list(range(n))


def test_a_vector_column_whose_floats_begin_in_the_middle_of_a_buffer_is_read_from_there() -> None:
    plan = plan_of(dt.vector(2))
    floats = pa.array(range(10), pa.float32()).slice(2)
    column = pa.FixedSizeListArray.from_arrays(floats, 2).slice(1)

    rows = plan.encode(*times(3), [column])

    assert [plan.decode_one(row)[0] for row in rows] == [[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]


def test_only_the_wanted_features_come_back_in_the_order_asked() -> None:
    plan = plan_of(dt.int64, dt.string, dt.list_(dt.int64), dt.string)
    row = encode_one(plan, 1, "two", [3], "four")

    columns = plan.decode([row, None], wanted=[3, 0, 3]).columns

    assert [column.to_pylist() for column in columns] == [["four", None], [1, None], ["four", None]]
    assert plan.decode_one(row, wanted=[3, 0, 2]) == ["four", 1, [3]]


def test_a_position_beyond_the_schema_is_refused() -> None:
    plan = plan_of(dt.int64)
    row = encode_one(plan, 1)

    for wanted in ([1], [-1]):
        with pytest.raises(IndexError):
            plan.decode_one(row, wanted)
        with pytest.raises(IndexError):
            plan.decode([row], wanted)


def test_rows_that_were_not_found_are_null_with_times_zero() -> None:
    plan = plan_of(dt.int64)
    row = encode_one(plan, 1)

    decoded = plan.decode([None, row])

    assert decoded.found.dtype == np.bool_
    assert decoded.found.tolist() == [False, True]
    assert decoded.event_time.tolist() == [0, -5]
    assert decoded.created.tolist() == [0, 6]
    assert decoded.seq.tolist() == [0, 7]
    assert decoded.columns[0].to_pylist() == [None, 1]


def test_times_that_no_datetime_can_hold_come_back_as_numpy_does_them() -> None:
    plan = plan_of(dt.timestamp("ns"), dt.timestamp("us"), dt.date)

    row = encode_one(plan, 1001, 2**62, 2**31 - 1)

    assert plan.decode_one(row) == [np.datetime64(1001, "ns"), np.datetime64(2**62, "us"), np.datetime64(2**31 - 1, "D")]


def test_the_head_can_be_read_without_a_plan() -> None:
    row = encode_one(plan_of(dt.string), "x")

    heads = peek_many([row, None])

    assert peek(row) == (3, -5, 6, 7)
    assert heads.found.tolist() == [True, False]
    assert heads.revision.tolist() == [3, 0]
    assert (heads.event_time.tolist(), heads.created.tolist(), heads.seq.tolist()) == ([-5, 0], [6, 0], [7, 0])


# ---- refused ----


def test_a_column_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(SchemaMismatchError, match="f0: expected int64, got int32"):
        plan_of(dt.int64).encode(*times(1), [pa.array([1], pa.int32())])


def test_a_column_too_few_or_too_short_is_refused() -> None:
    with pytest.raises(SchemaMismatchError, match="expected 1 columns, got 0"):
        plan_of(dt.int64).encode(*times(1), [])
    with pytest.raises(SchemaMismatchError, match="f0: 1 values for 2 rows"):
        plan_of(dt.int64).encode(*times(2), [pa.array([1])])


def test_a_null_inside_a_vector_is_refused_by_name() -> None:
    with pytest.raises(InvalidDataError, match="f0: a vector holds a null"):
        plan_of(dt.vector(2)).encode(*times(1), [pa.array([[1.0, None]], dt.vector(2).arrow)])


def test_a_row_of_four_gibibytes_is_refused_by_number() -> None:
    layout = RowLayout(0, [2] * 3, [0] * 3, [READINGS["binary"]] * 3, (None,) * 3)
    unread = np.zeros(2**31, np.uint8)  # never touched, so it takes no memory
    columns = [(unread, None, np.array([0, 0, 2**31 - 1], np.int32), 0)] * 3

    with pytest.raises(InvalidDataError, match=r"row 1: .* 4 GiB"):
        pack_rows(layout, *times(2), columns)


def test_offsets_that_point_outside_the_values_are_refused() -> None:
    layout = RowLayout(0, [2], [0], [READINGS["binary"]], (None,))

    for ends in ([0, 4], [-1, 2], [2, 1]):
        with pytest.raises(ValueError, match="offsets of a column point outside"):
            pack_rows(layout, *times(1), [(b"abc", None, np.array(ends, np.int32), 0)])


def test_more_than_two_gibibytes_of_one_feature_in_one_batch_are_refused() -> None:
    plan = plan_of(dt.binary)
    row = encode_one(plan, bytes(2**24))

    with pytest.raises(InvalidDataError, match="2 GiB"):
        plan.decode([row] * 129)


# ---- hostile bytes ----


def both_refuse(plan: RowPlan, row: bytes, message: str) -> None:
    with pytest.raises(CorruptionError, match=message):
        plan.decode([None, row])
    with pytest.raises(CorruptionError, match=message):
        plan.decode_one(row)


def test_a_row_cut_off_anywhere_is_corrupt() -> None:
    plan = plan_of(dt.int64, dt.string, dt.list_(dt.int8))
    row = encode_one(plan, 1, "two", [3])

    for size in range(len(row)):
        both_refuse(plan, row[:size], "stored row")
    for size in range(26):
        with pytest.raises(CorruptionError, match=f"cut off at byte {size}"):
            peek(row[:size])


def test_bytes_after_the_last_value_are_corrupt() -> None:
    plan = plan_of(dt.string)

    both_refuse(plan, encode_one(plan, "a") + b"x", "which is not where its last value ends")
    both_refuse(plan, encode_one(plan, None) + b"x", "which is not where its last value ends")


def test_a_row_of_another_revision_is_corrupt_to_a_plan() -> None:
    both_refuse(plan_of(dt.int64, revision=4), encode_one(plan_of(dt.int64), 1), "schema revision 3, expected 4")


def test_ends_that_go_back_or_beyond_the_row_are_corrupt() -> None:
    plan = plan_of(dt.binary, dt.binary)
    for ends in ((3, 2), (4, 2), (0, 2**32 - 1)):
        both_refuse(plan, HEAD + b"\x03" + struct.pack("<II", *ends) + b"ab", "feature . ends at")


def test_the_error_names_the_row_of_the_batch() -> None:
    plan = plan_of(dt.string)
    row = encode_one(plan, "abc")

    with pytest.raises(CorruptionError, match="stored row 2 of the batch"):
        plan.decode([row, None, row[:-1], row])


def test_a_string_that_is_not_utf8_is_corrupt() -> None:
    row = encode_one(plan_of(dt.binary), b"\xff\xfe")

    both_refuse(plan_of(dt.string), row, "not UTF-8")


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x92\x01", msgpack.packb(7), msgpack.packb([[1]]), msgpack.packb({}), b"\xdd\xff\xff\xff\xff"]
)
def test_a_nested_value_of_another_shape_is_corrupt(value: bytes) -> None:
    row = encode_one(plan_of(dt.binary), value)

    with pytest.raises(CorruptionError, match="f0 is not a"):
        plan_of(dt.list_(dt.struct({"a": dt.int8, "b": dt.string}))).decode([row])


def test_a_nested_value_that_is_no_msgpack_is_corrupt_one_by_one_too() -> None:
    plan = plan_of(dt.struct({"a": dt.int8, "b": dt.timestamp("us")}))

    for value in (b"", b"\xc1", b"\x92\x01", msgpack.packb(7), msgpack.packb([1]), msgpack.packb([1, "noon"]), msgpack.packb([1, 2**63])):
        with pytest.raises(CorruptionError, match="f0 is not a"):
            plan.decode_one(encode_one(plan_of(dt.binary), value))


def test_what_is_not_bytes_is_a_type_error() -> None:
    plan = plan_of(dt.int64)
    row = encode_one(plan, 1)

    with pytest.raises(TypeError, match="row 1: expected bytes or None, got memoryview"):
        plan.decode([row, memoryview(row)])


# ---- older revisions ----

OLD = compile_plan(1, [("a", dt.int16), ("b", dt.string)])
NEW = compile_plan(2, [("a", dt.float64), ("b", dt.string), ("c", dt.list_(dt.int8))])


def test_rows_of_an_older_revision_are_widened_and_what_they_lack_is_null() -> None:
    old, new = encode_one(OLD, 7, "old"), encode_one(NEW, 0.5, "new", [1])
    reader = RowReader({1: OLD, 2: NEW}, NEW)

    decoded = reader.decode([new, None, old])

    assert [column.type for column in decoded.columns] == [dtype.arrow for _, dtype in NEW.fields]
    assert [column.to_pylist() for column in decoded.columns] == [[0.5, None, 7.0], ["new", None, "old"], [[1], None, None]]
    assert decoded.found.tolist() == [True, False, True]
    assert repr(reader.decode_one(old)) == "[7.0, 'old', None]"
    assert reader.decode_one(new) == [0.5, "new", [1]]


def test_a_reader_gives_only_the_wanted_features_of_any_revision() -> None:
    old, new = encode_one(OLD, 7, "old"), encode_one(NEW, 0.5, "new", [1])
    reader = RowReader({1: OLD}, NEW)

    for rows in ([old], [new], [old, new], [None]):
        columns = reader.decode(rows, wanted=[2, 0]).columns
        assert [column.type for column in columns] == [NEW.fields[2][1].arrow, pa.float64()]
    assert reader.decode_one(old, wanted=[2, 0, 0]) == [None, 7.0, 7.0]
    assert reader.decode_one(new, wanted=[2, 0]) == [[1], 0.5]


@pytest.mark.parametrize("stranger", [compile_plan(9, [("a", dt.int16)]), compile_plan(3, [("a", dt.string)])])
def test_a_row_of_a_revision_that_does_not_lead_to_the_target_is_corrupt(stranger: RowPlan) -> None:
    reader = RowReader({1: OLD, 3: stranger}, NEW)
    row = encode_one(stranger, *[None] * len(stranger.fields))

    with pytest.raises(CorruptionError, match=f"schema revision {stranger.revision}, expected one of 1, 2"):
        reader.decode([None, encode_one(OLD, 1, "x"), row])
    with pytest.raises(CorruptionError, match=f"schema revision {stranger.revision}"):
        reader.decode_one(row)


def test_features_are_told_apart_by_their_numbers_not_by_their_places() -> None:
    held = compile_plan(1, [("a", dt.int16), ("gone", dt.string), ("c", dt.int8)])
    now = compile_plan(2, [("c", dt.int8), ("a", dt.int16), ("new", dt.string)])
    reader = RowReader({1: held, 2: now}, now, {1: (0, 1, 2), 2: (2, 0, 3)})
    old, new = encode_one(held, 7, "gone", 8), encode_one(now, 1, 2, "new")

    decoded = reader.decode([old, new])

    assert [column.to_pylist() for column in decoded.columns] == [[8, 1], [7, 2], [None, "new"]]
    assert reader.decode_one(old, wanted=[1, 2, 0]) == [7, None, 8]


@pytest.mark.parametrize(
    ("wide", "narrow", "value", "read"), [(dt.int64, dt.int16, 7, 7), (dt.float64, dt.int32, 7.0, 7), (dt.int32, dt.int8, None, None)]
)
def test_rows_of_a_revision_that_was_wider_are_read_as_what_was_left_of_it(
    wide: dt.DType, narrow: dt.DType, value: object, read: object
) -> None:
    before, after = compile_plan(1, [("a", wide)]), compile_plan(2, [("a", narrow)])
    row = encode_one(before, value)
    reader = RowReader({1: before}, after)

    assert reader.decode([row]).columns[0].to_pylist() == [read]
    assert repr(reader.decode_one(row)) == repr([read])


def test_a_damaged_row_among_mixed_revisions_is_named_by_its_place_in_the_batch() -> None:
    old, new = encode_one(OLD, 7, "old"), encode_one(NEW, 0.5, "new", [1])

    with pytest.raises(CorruptionError, match="stored row 2 of the batch"):
        RowReader({1: OLD}, NEW).decode([new, new, old[:-1], old])
