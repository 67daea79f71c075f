"""Arrow values as JSON: nothing is lost, and every document is valid."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mlstore.cli.plain import plain_column, plain_rows

INSTANT = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000, "1970-01-01T00:00:01.5Z"),
        (10, "1970-01-01T00:00:00.00001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (10_000_000, "1970-01-01T00:00:10Z"),
        (None, None),
    ],
)
def test_times_are_iso_8601_without_needless_zeros(micros: int | None, text: str | None) -> None:
    assert plain_column(pa.array([micros], INSTANT)) == [text]


def test_times_keep_their_nanoseconds_and_their_zone() -> None:
    fine = pa.array([1], pa.timestamp("ns", "UTC"))
    zoned = pa.array([datetime(2013, 1, 1, tzinfo=UTC)], pa.timestamp("s", "America/New_York"))
    naive = pa.array([0], pa.timestamp("s"))

    assert [plain_column(column)[0] for column in (fine, zoned, naive)] == [
        "1970-01-01T00:00:00.000000001Z",
        "2012-12-31T19:00:00-0500",
        "1970-01-01T00:00:00",
    ]


def test_rows_of_any_type_are_valid_json() -> None:
    batch = pa.record_batch(
        {
            "ratio": [math.nan, math.inf, -math.inf],
            "blob": [b"abc", None, b""],
            "nested": [{"when": datetime(2013, 1, 1, tzinfo=UTC), "parts": [math.nan]}, None, None],
        }
    )

    rows = [json.loads(json.dumps(row, allow_nan=False)) for row in plain_rows(batch)]

    assert rows[0] == {"ratio": "NaN", "blob": "YWJj", "nested": {"when": "2013-01-01T00:00:00Z", "parts": ["NaN"]}}
    assert [row["ratio"] for row in rows[1:]] == ["Infinity", "-Infinity"]
