"""The little language of --where: what it means, and how it refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import mlstore as ml
from mlstore.cli.where import parse_where

TYPES = {
    "origin": pa.string(),
    "temp": pa.float64(),
    "count": pa.int32(),
    "flag": pa.bool_(),
    "at": pa.timestamp("us", "UTC"),
    "day": pa.date32(),
    "price": pa.decimal128(9, 2),
    "odd name": pa.int64(),
    "parts": pa.list_(pa.int64()),
}
ROWS = [
    {"origin": "JFK", "temp": 1.5, "count": 1, "flag": True, "at": datetime(2013, 1, 1, 10, tzinfo=UTC), "day": date(2013, 1, 1)},
    {"origin": "LGA", "temp": -2.0, "count": 2, "flag": False, "at": datetime(2013, 1, 2, tzinfo=UTC), "day": date(2013, 1, 2)},
    {"origin": "O'Hare", "temp": None, "count": 3, "price": Decimal("9.99"), "odd name": 7},
]
TABLE = ds.dataset(pa.Table.from_pylist(ROWS, pa.schema(TYPES)))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("origin = 'JFK'", [1]),
        ('origin == "JFK"', [1]),
        ("origin != 'JFK'", [2, 3]),
        ("origin = 'O''Hare'", [3]),
        ("temp > -2", [1]),
        ("temp >= -2.0 and temp<1e0", [2]),
        ("count<=2 AND flag = true", [1]),
        ("count > 1.5", [2, 3]),
        ("count = 5000000000", []),
        ("temp is null", [3]),
        ("temp IS NOT NULL and origin = 'LGA'", [2]),
        ("at < '2013-01-01T12:00+01:00' and at >= '2013-01-01'", [1]),
        ("day = '2013-01-02'", [2]),
        ("price = 9.99", [3]),
        ("`odd name` = 7", [3]),
        ("origin = 'a and b'", []),
    ],
)
def test_a_filter_keeps_the_rows_it_names(text: str, kept: list[int]) -> None:
    condition = parse_where(text, TYPES)

    assert TABLE.to_table(filter=condition)["count"].to_pylist() == kept


@pytest.mark.parametrize(
    ("text", "told", "cure"),
    [
        ("", "expected a column, got 'the end' at position 1", "column op literal"),
        ("temp", "after temp, got 'the end'", "column op literal"),
        ("temp >", "expected a literal", "column op literal"),
        ("temp > 3 or temp < 1", "expected 'and', got 'or' at position 10", "column op literal"),
        ("temp > 3 and", "expected a column", "column op literal"),
        ("origin = JFK", "expected a literal, got 'JFK'", "origin = 'JFK'"),
        ("origin = 3", "origin is string, compared with the number 3", "'3'"),
        ("temp = 'warm'", "temp: 'warm' is no double", "1.5"),
        ("temp = true", "temp is double, compared with true", "column op literal"),
        ("temp = null", "nothing equals null", "temp is null"),
        ("temp is 3", "expected null", "column op literal"),
        ("at > 'soon'", "at: 'soon' is no timestamp", "2013-01-01T10:00:00Z"),
        ("parts = '[1]'", "parts is list", "plain values"),
        ("tmep > 3", "no column 'tmep'", "did you mean 'temp'?"),
        ("(temp > 3)", "cannot read '(temp' at position 1", "column op literal"),
        ("temp > 3; drop", "cannot read ';'", "column op literal"),
        ("__import__('os')", "cannot read", "column op literal"),
        ("count = 99999999999999999999", "beyond 64 bits", "int32"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_a_cure(text: str, told: str, cure: str) -> None:
    with pytest.raises(ml.UsageError) as refusal:
        parse_where(text, TYPES)

    assert told in refusal.value.message
    assert cure in refusal.value.hint
