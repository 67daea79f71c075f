"""Durations: text and timedelta to nanoseconds, and back to one canonical text."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import DefinitionError
from mlstore.schema.timestamps import format_duration, parse_duration

HOUR = 3_600 * 10**9


@pytest.mark.parametrize(
    ("value", "length_ns"),
    [
        ("6h", 6 * HOUR),
        ("90s", 90 * 10**9),
        ("1h30m", HOUR + HOUR // 2),
        ("1h 30m", HOUR + HOUR // 2),
        ("500ms", 500 * 10**6),
        ("7d", 7 * 24 * HOUR),
        ("2w", 14 * 24 * HOUR),
        ("10us", 10**4),
        ("5ns", 5),
        (timedelta(hours=6), 6 * HOUR),
        (timedelta(microseconds=1), 1000),
        (pd.Timedelta(1, "ns"), 1),
    ],
)
def test_a_duration_is_read_exactly(value, length_ns):
    assert parse_duration(value) == length_ns


@given(st.integers(0, 2**63 - 1))
def test_the_canonical_text_of_a_duration_reads_as_the_same_length(length_ns):
    assert parse_duration(format_duration(length_ns), allow_zero=True) == length_ns


@pytest.mark.parametrize(("written", "canonical"), [("90m", "1h30m"), ("2w", "14d"), ("1000us", "1ms"), ("6h", "6h"), ("24h", "1d")])
def test_one_length_has_one_text(written, canonical):
    assert format_duration(parse_duration(written)) == canonical


@pytest.mark.parametrize(
    "value", [3600, 1.5, True, "3600", "1.5h", "h", "", "6 hours", "-6h", None, timedelta(-1), "0s", timedelta(0), "300000d"]
)
def test_what_is_no_positive_duration_is_refused(value):
    with pytest.raises(DefinitionError, match="view w: ttl"):
        parse_duration(value, what="view w: ttl")


def test_a_bare_number_is_refused_with_the_units():
    with pytest.raises(DefinitionError) as refusal:
        parse_duration(3600)

    assert "'90s'" in refusal.value.hint


def test_zero_is_a_duration_where_allowed():
    assert parse_duration("0s", allow_zero=True) == 0
    assert format_duration(0) == "0s"
