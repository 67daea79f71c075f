"""Expressions: what each operation does at its edges, what is refused, and what is stored."""

from __future__ import annotations

import doctest
import math
import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.schema import expression as module
from mlstore.schema.expression import MAX_DEPTH, Expression

a, b = ml.col("a"), ml.col("b")


def value(expression: Expression, **row: Any) -> Any:
    """What an expression gives for one row."""
    columns = {name: cell if isinstance(cell, pa.Array) else pa.array([cell]) for name, cell in row.items()}
    return expression.evaluate(columns, rows=1)[0].as_py()


def test_true_division_of_integers_is_of_floats_and_follows_ieee() -> None:
    assert value(a / b, a=7, b=2) == 3.5
    assert value(a / b, a=-7, b=0) == -math.inf
    assert math.isnan(value(a / b, a=0, b=0))


def test_integer_division_rounds_down_and_by_zero_is_null() -> None:
    assert value(a // b, a=-7, b=2) == -4
    assert value(a % b, a=-7, b=2) == 1
    assert value(a // b, a=7, b=0) is None
    assert value(a % b, a=7, b=0) is None


@pytest.mark.parametrize(
    ("expression", "a"),
    [(a + 1, 2**63 - 1), (a - 1, -(2**63)), (a * 2, 2**62), (-a, -(2**63)), (a.abs(), -(2**63)), (a // -1, -(2**63))],
)
def test_an_integer_that_overflows_is_null_and_leaves_its_neighbours_alone(expression: Expression, a: int) -> None:
    found = expression.evaluate({"a": pa.array([3, a, None])})

    assert found.to_pylist() == [expression.evaluate({"a": pa.array([3])})[0].as_py(), None, None]
    assert found[0].as_py() is not None


def test_uint64_beyond_int64_is_computed_exactly() -> None:
    top = pa.array([2**64 - 1], pa.uint64())

    assert value(a % 1000, a=top) == (2**64 - 1) % 1000
    assert value(a > 3, a=top) is True
    assert value(a - 1 - a, a=top) is None


def test_uint64_and_signed_columns_have_no_common_type() -> None:
    with pytest.raises(ml.DefinitionError, match=r"in \(a \+ b\): add of uint64 and int32"):
        (a + b).dtype({"a": ml.uint64, "b": ml.int32})


def test_and_or_know_that_one_side_may_settle_it() -> None:
    unknown = pa.array([None], pa.bool_())

    assert value(a & b, a=unknown, b=False) is False
    assert value(a | b, a=unknown, b=True) is True
    assert value(a & b, a=unknown, b=True) is None


def test_nan_is_a_value() -> None:
    assert value(a.is_null(), a=math.nan) is False
    assert value(a.is_nan(), a=math.nan) is True
    assert value(a == a, a=math.nan) is False
    assert value(a.isin([math.nan]), a=math.nan) is True
    assert value(a.isin([0.0]), a=-0.0) is True


def test_a_null_is_in_no_list_and_chooses_nothing() -> None:
    nothing = pa.array([None], pa.int64())

    assert value(a.isin([1]), a=nothing) is None
    assert value(ml.where(a > 1, 1, 2), a=nothing) is None
    assert value(ml.coalesce(a, 7), a=nothing) == 7


def test_casts_out_of_range_are_null() -> None:
    assert value(a.cast(ml.int8), a=127.9) == 127
    assert value(a.cast(ml.int8), a=128.0) is None
    assert value(a.cast(ml.int64), a=math.nan) is None
    assert value(a.cast(ml.int64), a=2.0**63) is None
    assert value(a.cast(ml.uint8), a=-1) is None
    assert value(a.cast(ml.string), a=12) == "12"


def test_times_are_compared_across_units_and_taken_apart_in_utc() -> None:
    evening = pa.array([datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)], pa.timestamp("ms", "UTC"))

    assert value(a < datetime(1970, 1, 1), a=evening) is True
    assert (value(a.hour(), a=evening), value(a.weekday(), a=evening), value(a.year(), a=evening)) == (23, 2, 1969)
    assert value(a.epoch("s"), a=evening) == -1
    assert value(a.cast(ml.date), a=evening) == date(1969, 12, 31)
    assert value(a == date(1969, 12, 31), a=pa.array([-1], pa.date32())) is True


def test_an_instant_too_fine_for_its_unit_is_null() -> None:
    far = pa.array([2**62], pa.timestamp("s", "UTC"))

    assert value(a.cast(ml.timestamp("us")).is_null(), a=far) is True
    assert value(a.year(), a=far) is None


def test_strings_are_compared_joined_and_searched() -> None:
    assert value((a.strip().lower() + "!").length(), a=" Äh ") == 3
    assert value(a.contains("b.") | a.starts_with("x"), a="ab.c") is True
    assert value(a.ends_with("c"), a="abc") is True
    assert value(a.upper() == "É", a="é") is True


def test_rounding_keeps_the_type_and_halves_go_to_the_even() -> None:
    assert (a.round(2)).dtype({"a": ml.int32}) == ml.int64
    assert value(a.round(), a=2.5) == 2.0
    assert value(a.floor(), a=-0.5) == -1.0
    assert value(a.round(1), a=7) == 7


def test_the_greatest_of_a_row_has_no_answer_with_a_null() -> None:
    assert value(ml.greatest(a, b, 2), a=1, b=3.5) == 3.5
    assert value(ml.least(a, b), a=1, b=pa.array([None], pa.float64())) is None


def test_a_constant_alone_fills_the_rows() -> None:
    assert (ml.lit(2) * 3).evaluate({}, rows=3).to_pylist() == [6, 6, 6]


def test_dictionaries_and_chunks_are_columns_like_others() -> None:
    column = pa.chunked_array([pa.array(["x", None]).dictionary_encode(), pa.array(["y"]).dictionary_encode()])

    assert (a == "x").evaluate({"a": column}).to_pylist() == [True, None, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ml.col("1x"), "not a name"),
        (lambda: ml.lit(None), "which: ml.lit"),
        (lambda: ml.lit([1]), "constant is a plain value"),
        (lambda: ml.lit(300, ml.int8), "does not fit int8"),
        (lambda: ml.lit(2**70), "lit"),
        (lambda: a.round(16), "digits are 0 to 15"),
        (lambda: a.round(True), "digits are 0 to 15"),
        (lambda: a.isin([b]), "arguments are constants"),
        (lambda: a.cast("int"), "the types are"),
        (lambda: a.epoch("h"), "the units are"),
        (lambda: Expression("shell", (a,)), "is no operation"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_built(make: Any, message: str) -> None:
    with pytest.raises(ml.DefinitionError, match=message):
        make()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (a + "x", r"in \(a \+ 'x'\): add of float64 and string"),
        (a & True, "it takes bools"),
        (a == "x", "cast them to one type"),
        (a.lower(), "it takes strings"),
        (a.hour(), "it takes a timestamp"),
        (ml.where(a, 1, 2), "its condition is a bool"),
        (a.cast(ml.date), "no cast from float64 to date"),
        (ml.col("v").is_null() & (ml.col("v") == ml.col("v")), "expressions work on plain values"),
    ],
)
def test_types_that_do_not_fit_are_refused_with_the_part_that_is_to_blame(expression: Expression, message: str) -> None:
    with pytest.raises(ml.DefinitionError, match=message):
        expression.dtype({"a": ml.float64, "v": ml.vector(2)})


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ml.UnknownNameError, match=r"no column 'amuont' \(there is amount\)"):
        ml.col("amuont").dtype({"amount": ml.int64})
    with pytest.raises(ml.UnknownNameError, match="there is amount"):
        ml.col("amuont").evaluate({"amount": pa.array([1])})


def test_an_expression_is_neither_true_nor_false() -> None:
    with pytest.raises(ml.UsageError, match="for and, or, not"):
        bool(a == 1)


def test_expressions_are_compared_with_equals_and_hash_alike() -> None:
    assert (a + 1).equals(ml.col("a") + 1)
    assert hash(a + 1) == hash(ml.col("a") + 1)
    assert not (a + 1).equals(a + 1.0)
    assert not (a + 1).equals(a + True)
    assert not (a + 1).equals("a + 1")


def test_constants_of_every_type_come_back_from_the_record() -> None:
    constants = [True, 3, 2**64 - 1, 0.1, -0.0, "ü", b"\0", date(1969, 1, 2), datetime(2024, 1, 2, 3, 4, 5, 6), Decimal("1.50")]

    for constant in (*map(ml.lit, constants), ml.lit(None, ml.float32), ml.lit("2024-01-01", ml.timestamp("ns"))):
        back = Expression.from_record(constant.to_record())

        assert back.equals(constant)
        assert back.evaluate({}, rows=1).equals(constant.evaluate({}, rows=1))


def test_expressions_pickle() -> None:
    assert pickle.loads(pickle.dumps(a.round(2) > 1.5)).equals(a.round(2) > 1.5)


@pytest.mark.parametrize(
    "record",
    [
        None,
        ["add"],
        ["column", 5],
        ["literal", "int8", 900],
        ["literal", "int64", "x"],
        ["literal", "string", 5],
        ["literal", "date", 2**40],
        ["literal", "list<" * 5000, None],
        ["literal", "decimal(3, 1)", "abc"],
        ["cast", [["column", "a"]], "foo"],
        ["isin", [["column", "a"], ["column", "b"]], None],
    ],
)
def test_a_record_that_makes_no_sense_is_corruption(record: Any) -> None:
    with pytest.raises(ml.CorruptionError, match="stored expression"):
        Expression.from_record(record)


def test_an_operation_of_a_newer_mlstore_is_told_as_such() -> None:
    with pytest.raises(ml.FormatVersionError, match="upgrade mlstore"):
        Expression.from_record(["teleport", [["column", "a"]], None])


def test_neither_people_nor_files_build_bottomless_expressions() -> None:
    deep: Any = ["column", "a"]
    for _ in range(MAX_DEPTH):
        deep = ["not", [deep], None]
    wide = a
    for _ in range(8):
        wide = wide + wide

    with pytest.raises(ml.CorruptionError):
        Expression.from_record(deep)
    with pytest.raises(ml.DefinitionError, match="at most 1000 parts"):
        wide + wide


def test_the_examples_run() -> None:
    failed, attempted = doctest.testmod(module, extraglobs={"ml": ml, "pa": pa})

    assert attempted > 3
    assert failed == 0
