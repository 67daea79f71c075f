"""The row codec over random schemas and columns: it agrees with its twin byte for byte, loses nothing, and survives hostile bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import CorruptionError
from mlstore.format.answers import IS_NULL, IS_OUTSIDE_TTL, IS_PRESENT, AnswerPlan
from mlstore.format.rows import RowPlan, RowReader, compile_plan, peek, peek_many
from mlstore.schema import dtypes as dt
from tests.support.naive_rows import Malformed, decode_row, encode_row, python_value, value_bytes
from tests.support.typed_values import INT64, nullable, scalars, types, vectors

REVISION = 7
TYPES = types()


@dataclass
class World:
    plan: RowPlan
    times: tuple[np.ndarray[Any, np.dtype[np.int64]], ...]
    columns: list[pa.Array | pa.ChunkedArray]

    @property
    def size(self) -> int:
        return len(self.times[0])

    def rows(self) -> list[bytes]:
        return self.plan.encode(*self.times, self.columns)

    def naive_rows(self) -> list[bytes]:
        return [
            encode_row(REVISION, self.plan.fields, tuple(int(time[i]) for time in self.times), [column[i] for column in self.columns])
            for i in range(self.size)
        ]


@st.composite
def worlds(draw: Callable[..., Any], types: st.SearchStrategy[Any] = TYPES) -> World:
    """A schema and columns for it: whole, sliced or chunked, with nulls or without."""
    chosen = draw(st.lists(types, max_size=10))
    size = draw(st.integers(0, 12))
    fields = [(f"feature_{number}", dtype) for number, (dtype, _) in enumerate(chosen)]
    columns = []
    for dtype, values in chosen:
        before, after = draw(st.integers(0, 9)), draw(st.integers(0, 3))
        item = draw(st.sampled_from([values, nullable(values), st.none()]))
        length = before + size + after
        array = pa.array(draw(st.lists(item, min_size=length, max_size=length)), dtype.arrow).slice(before, size)
        if draw(st.booleans()):
            cuts = sorted(draw(st.lists(st.integers(0, size), max_size=3)))
            pieces = [array.slice(start, stop - start) for start, stop in zip([0, *cuts], [*cuts, size], strict=True)]
            array = pa.chunked_array(pieces, dtype.arrow)
        columns.append(array)
    times = tuple(np.array(draw(st.lists(INT64, min_size=size, max_size=size)), np.int64) for _ in range(3))
    return World(compile_plan(REVISION, fields), times, columns)


FLAT_WORLDS = worlds(st.sampled_from([scalar for scalar in scalars() if scalar[0] != dt.string]) | vectors())


def value_list(dtype: dt.DType, column: pa.Array | pa.ChunkedArray) -> list[bytes | None]:
    """The values as bytes: equal where NaN is, and -0.0 is not 0.0."""
    return [value_bytes(dtype, scalar) if scalar.is_valid else None for scalar in column]


@given(worlds())
def test_rows_are_the_twins_rows_byte_for_byte(world: World) -> None:
    assert world.rows() == world.naive_rows()


@given(worlds(), st.data())
def test_what_is_encoded_is_decoded_again(world: World, data: st.DataObject) -> None:
    rows: list[bytes | None] = list(world.rows())
    missing = data.draw(st.sets(st.integers(0, max(world.size - 1, 0)), max_size=3)) if rows else set()
    for number in missing:
        rows[number] = None
    wanted = data.draw(st.none() | st.lists(st.integers(0, len(world.columns) - 1)) if world.columns else st.none())

    decoded = world.plan.decode(rows, wanted)

    assert decoded.found.tolist() == [number not in missing for number in range(world.size)]
    for found, given_times in zip((decoded.event_time, decoded.created, decoded.seq), world.times, strict=True):
        assert found.tolist() == [0 if number in missing else int(given_times[number]) for number in range(world.size)]
    positions = range(len(world.columns)) if wanted is None else wanted
    assert len(decoded.columns) == len(positions)
    for position, column in zip(positions, decoded.columns, strict=True):
        dtype = world.plan.fields[position][1]
        column.validate(full=True)
        expected = [None if number in missing else value for number, value in enumerate(value_list(dtype, world.columns[position]))]
        assert column.type == dtype.arrow
        assert value_list(dtype, column) == expected
        assert column.null_count == expected.count(None)


@given(worlds(), st.data())
def test_one_row_becomes_the_python_values_of_its_columns(world: World, data: st.DataObject) -> None:
    wanted = data.draw(st.none() | st.lists(st.integers(0, len(world.columns) - 1)) if world.columns else st.none())
    positions = range(len(world.columns)) if wanted is None else wanted

    decoded = [world.plan.decode_one(row, wanted) for row in world.rows()]

    # repr: NaN equals NaN, and True does not equal 1.
    assert repr(decoded) == repr([[python_value(world.columns[position][i]) for position in positions] for i in range(world.size)])


@given(worlds())
def test_heads_are_read_without_the_plan(world: World) -> None:
    rows = world.rows()

    heads = peek_many([*rows, None])

    assert heads.found.tolist() == [True] * world.size + [False]
    expected = [(REVISION, *(int(time[i]) for time in world.times)) for i in range(world.size)]
    assert [peek(row) for row in rows] == expected
    fields = (heads.revision, heads.event_time, heads.created, heads.seq)
    assert list(zip(*(field.tolist() for field in fields), strict=True)) == [*expected, (0, 0, 0, 0)]


@given(worlds(), st.data())
def test_every_true_prefix_of_a_row_is_refused(world: World, data: st.DataObject) -> None:
    for row in world.rows()[:2]:
        cut = row[: data.draw(st.integers(0, len(row) - 1))]

        with pytest.raises(CorruptionError):
            world.plan.decode([cut])
        with pytest.raises(CorruptionError):
            world.plan.decode_one(cut)


@given(FLAT_WORLDS, st.data())
def test_damaged_rows_are_refused_exactly_when_the_twin_refuses_them(world: World, data: st.DataObject) -> None:
    for row in world.rows()[:3]:
        damaged = bytearray(row)
        for place in data.draw(st.lists(st.integers(0, len(row) - 1), min_size=1, max_size=3)):
            damaged[place] ^= data.draw(st.integers(1, 255))
        damaged += data.draw(st.sampled_from([b"", b"", b"\x00", b"tail"]))
        try:
            expected = decode_row(REVISION, world.plan.fields, bytes(damaged)).slots
        except Malformed:
            with pytest.raises(CorruptionError):
                world.plan.decode([bytes(damaged)])
            with pytest.raises(CorruptionError):
                world.plan.decode_one(bytes(damaged))
            continue

        columns = world.plan.decode([bytes(damaged)]).columns

        assert [column.null_count for column in columns] == [int(slot is None) for slot in expected]
        for (_, dtype), column, slot in zip(world.plan.fields, columns, expected, strict=True):
            if slot is not None and dtype.kind == "varlen":
                assert column[0].as_py() == slot


@given(worlds(), st.data())
def test_damage_inside_values_is_refused_or_gives_valid_columns(world: World, data: st.DataObject) -> None:
    for row in world.rows()[:3]:
        damaged = bytearray(row)
        damaged[data.draw(st.integers(min(26, len(row) - 1), len(row) - 1))] ^= data.draw(st.integers(1, 255))

        try:
            columns = world.plan.decode([bytes(damaged)]).columns
            world.plan.decode_one(bytes(damaged))
        except CorruptionError:
            continue

        for column in columns:
            if not pa.types.is_decimal(column.type):  # an unscaled value may have more digits than the type
                column.validate(full="decimal" not in str(column.type))


@given(worlds(), INT64, st.data())
def test_an_answer_is_filled_with_the_values_of_the_row_unless_it_is_too_old(world: World, oldest: int, data: st.DataObject) -> None:
    positions = st.lists(st.sampled_from(range(len(world.plan.fields))), unique=True) if world.plan.fields else st.just([])
    wanted = tuple(data.draw(positions))
    outputs = tuple(f"out_{number}" for number in wanted)
    plan = AnswerPlan(RowReader({REVISION: world.plan}, world.plan), wanted, outputs)
    for row, time in zip(world.rows(), world.times[0].tolist(), strict=True):
        answer: dict[str, Any] = {"key": 1, **dict.fromkeys(outputs)}

        code = plan.fill(row, oldest, answer)

        values = world.plan.decode_one(row, wanted) if time >= oldest else [None] * len(wanted)
        assert repr(answer) == repr({"key": 1, **dict(zip(outputs, values, strict=True))})
        is_null = all(value is None for value in values)
        assert code == (IS_OUTSIDE_TTL if time < oldest else IS_NULL if is_null else IS_PRESENT)


@given(FLAT_WORLDS, st.data())
def test_an_answer_is_not_filled_from_bytes_that_are_no_row(world: World, data: st.DataObject) -> None:
    plan = AnswerPlan(
        RowReader({REVISION: world.plan}, world.plan), tuple(range(len(world.plan.fields))), tuple(map(str, world.plan.fields))
    )
    for row in world.rows()[:3]:
        damaged = bytearray(row[: data.draw(st.integers(0, len(row)))])
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(0, 255))
        try:
            expected = repr(world.plan.decode_one(bytes(damaged)))
        except CorruptionError:
            with pytest.raises(CorruptionError):
                plan.fill(bytes(damaged), -(2**63), {})
            continue

        answer: dict[str, Any] = {}
        plan.fill(bytes(damaged), -(2**63), answer)

        assert repr([answer.get(str(field)) for field in world.plan.fields]) == expected


WIDENINGS = [
    (dt.int8, dt.int64),
    (dt.int16, dt.float64),
    (dt.uint8, dt.int32),
    (dt.uint32, dt.uint64),
    (dt.float32, dt.float64),
    (dt.int8, dt.float32),
    (dt.string, dt.string),
    (dt.vector(2), dt.vector(2)),
    (dt.list_(dt.int32), dt.list_(dt.int32)),
]


def widened_value(dtype: dt.DType, number: int) -> object:
    if dtype == dt.string:
        return str(number)
    return [number, number + 1] if dtype.parts else number


@given(st.lists(st.sampled_from(WIDENINGS), min_size=1, max_size=6), st.integers(0, 6), st.data())
def test_rows_of_older_revisions_read_as_the_target_revision(pairs: list[Any], old_count: int, data: st.DataObject) -> None:
    old_fields = [(f"f{number}", old) for number, (old, _) in enumerate(pairs[:old_count])]
    new_fields = [(f"f{number}", new) for number, (_, new) in enumerate(pairs)]
    old_plan, new_plan = compile_plan(1, old_fields), compile_plan(2, new_fields)
    small = st.integers(0, 100)
    n = data.draw(st.integers(1, 6))

    def column(dtype: dt.DType) -> pa.Array:
        numbers = data.draw(st.lists(nullable(small), min_size=n, max_size=n))
        return pa.array([None if number is None else widened_value(dtype, number) for number in numbers], dtype.arrow)

    times = [np.arange(n) + 10 * clock for clock in range(3)]
    old_columns = [column(dtype) for _, dtype in old_fields]
    new_columns = [column(dtype) for _, dtype in new_fields]
    old_rows, new_rows = old_plan.encode(*times, old_columns), new_plan.encode(*times, new_columns)
    rows = data.draw(st.permutations([*old_rows, *new_rows, None]))
    widened = [array.cast(dtype.arrow) for array, (_, dtype) in zip(old_columns, new_fields, strict=False)]
    widened += [pa.nulls(n, dtype.arrow) for _, dtype in new_fields[len(old_fields) :]]
    rewritten = dict(zip(old_rows, new_plan.encode(*times, widened), strict=True))
    reader = RowReader({1: old_plan, 2: new_plan}, new_plan)

    mixed = reader.decode(rows)

    as_new = [None if row is None else rewritten.get(row, row) for row in rows]
    expected = new_plan.decode(as_new)
    assert [array.to_pylist() for array in mixed.columns] == [array.to_pylist() for array in expected.columns]
    assert [array.type for array in mixed.columns] == [dtype.arrow for _, dtype in new_fields]
    assert mixed.found.tolist() == expected.found.tolist()
    assert mixed.seq.tolist() == expected.seq.tolist()
    for row, same in zip(rows, as_new, strict=True):
        if row is not None and same is not None:
            assert repr(reader.decode_one(row)) == repr(new_plan.decode_one(same))
            answer: dict[str, Any] = dict.fromkeys(name for name, _ in new_fields)
            AnswerPlan(reader, tuple(range(len(new_fields))), tuple(answer)).fill(row, -(2**63), answer)
            assert repr(list(answer.values())) == repr(new_plan.decode_one(same))
