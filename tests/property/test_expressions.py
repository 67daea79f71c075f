"""Expressions agree with a loop over rows, whatever their shape; a row's answer does not depend on the rows beside it."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.schema.expression import Expression
from tests.support.naive_expressions import evaluate_row

WHOLE = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5), st.sampled_from([2**62, -(2**63), 2**63 - 1]))
REAL = st.floats(allow_nan=True, allow_infinity=True)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | WHOLE,
            "j": st.none() | WHOLE,
            "x": st.none() | REAL,
            "y": st.none() | REAL,
            "p": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)

INTEGERS = st.recursive(
    st.sampled_from(["i", "j"]).map(ml.col) | WHOLE.map(ml.lit),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] + two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] - two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] * two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] // two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] % two[1]),
        st.tuples(inner, inner).map(lambda two: two[0].fill_null(two[1])),
        inner.map(lambda one: -one),
        inner.map(abs),
    ),
    max_leaves=6,
)
FLOATS = st.recursive(
    st.sampled_from(["x", "y"]).map(ml.col) | REAL.map(ml.lit),
    lambda inner: st.one_of(
        st.tuples(inner, inner | INTEGERS).map(lambda two: two[0] + two[1]),
        st.tuples(inner | INTEGERS, inner).map(lambda two: two[0] * two[1]),
        st.tuples(inner | INTEGERS, inner | INTEGERS).map(lambda two: two[0] / two[1]),
        inner.map(lambda one: one.sqrt()),
    ),
    max_leaves=6,
)
CONDITIONS = st.recursive(
    st.one_of(
        st.just(ml.col("p")),
        st.tuples(INTEGERS, INTEGERS).map(lambda two: two[0] < two[1]),
        st.tuples(FLOATS, FLOATS).map(lambda two: two[0] == two[1]),
        FLOATS.map(lambda one: one.is_null()),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] & two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        inner.map(lambda one: ~one),
    ),
    max_leaves=6,
)
CHOICES = st.tuples(CONDITIONS, FLOATS, FLOATS).map(lambda three: ml.where(*three))
EXPRESSIONS = st.one_of(INTEGERS, FLOATS, CONDITIONS, CHOICES)
TYPES = {"i": ml.int64, "j": ml.int64, "x": ml.float64, "y": ml.float64, "p": ml.bool_}


def columns_of(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    return {name: pa.array([row[name] for row in rows], dtype.arrow) for name, dtype in TYPES.items()}


def bits(value: Any) -> Any:
    """A value that compares by its bits; NaNs are one."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    return value


@given(EXPRESSIONS, ROWS)
def test_an_expression_gives_what_a_loop_over_rows_gives(expression: Expression, rows: list[dict[str, Any]]) -> None:
    column = expression.evaluate(columns_of(rows))

    assert column.type == expression.dtype(TYPES).arrow
    assert [bits(value) for value in column.to_pylist()] == [bits(evaluate_row(expression, row)) for row in rows]


@given(EXPRESSIONS, ROWS)
def test_a_row_alone_gives_what_it_gives_among_others(expression: Expression, rows: list[dict[str, Any]]) -> None:
    together = expression.evaluate(columns_of(rows)).to_pylist()

    alone = [expression.evaluate(columns_of([row]))[0].as_py() for row in rows]

    assert [bits(value) for value in alone] == [bits(value) for value in together]


@given(EXPRESSIONS)
def test_an_expression_comes_back_from_its_record(expression: Expression) -> None:
    back = Expression.from_record(expression.to_record())

    assert back.equals(expression)
    assert hash(back) == hash(expression)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.sampled_from(["column", "literal", "add", "cast", "int64"]),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=20,
    )
)
def test_a_record_that_somebody_made_up_is_an_expression_or_a_clear_error(record: Any) -> None:
    try:
        made = Expression.from_record(record)
    except ml.StoreError:
        return

    assert Expression.from_record(made.to_record()).equals(made)
