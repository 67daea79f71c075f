"""One moment in every notation: exact nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import InvalidDataError
from mlstore.schema.instants import format_instant, instant_ns

NOON = 1_577_880_000 * 10**9  # 2020-01-01 12:00 UTC
TOKYO = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2020, 1, 1, 12),
        datetime(2020, 1, 1, 12, tzinfo=UTC),
        datetime(2020, 1, 1, 21, tzinfo=TOKYO),
        "2020-01-01T12:00:00Z",
        "2020-01-01 12:00",
        "2020-01-01T12",
        "2020-01-01T21:00:00+09:00",
        "2020-01-01T21:00:00+0900",
        "2020-01-01T08:30:00-03:30",
        "2020-01-01T12:00:00.000000000Z",
        np.datetime64("2020-01-01T12"),
        pd.Timestamp("2020-01-01T12:00"),
        pd.Timestamp("2020-01-01T21:00", tz="Asia/Tokyo"),
        pa.scalar(NOON // 10**9, pa.timestamp("s")),
        pa.scalar(NOON, pa.timestamp("ns", "Asia/Tokyo")),
        pa.scalar("2020-01-01T12:00:00Z"),
    ],
    ids=repr,
)
def test_every_notation_of_one_instant_is_one_number(value):
    assert instant_ns(value) == NOON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(1970, 1, 2), 86_400 * 10**9),
        (date(1969, 12, 31), -86_400 * 10**9),
        ("1969-12-31T23:59:59.999999999", -1),
        (np.datetime64(1, "ns"), 1),
        (np.datetime64(3000, "ps"), 3),
        (np.datetime64("1970-02", "M"), 31 * 86_400 * 10**9),
        (np.datetime64(7, "25s"), 175 * 10**9),
        (pd.Timestamp(1), 1),
        (pa.scalar(date(1970, 1, 2)), 86_400 * 10**9),
        (pa.scalar(date(1970, 1, 2), pa.date64()), 86_400 * 10**9),
        (datetime.max, 253_402_300_799_999_999_000),
        (datetime.min, -62_135_596_800 * 10**9),
    ],
    ids=repr,
)
def test_no_digit_is_lost(value, expected):
    assert instant_ns(value) == expected


@given(st.datetimes(), st.integers(-23 * 60, 23 * 60))
def test_text_says_the_same_as_the_datetime_it_was_made_from(moment, offset_minutes):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))

    expected = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    expected -= offset_minutes * 60 * 10**9
    assert instant_ns(moment.isoformat()) == instant_ns(moment) == expected


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_the_shown_text_of_an_instant_reads_as_the_same_instant(ticks):
    assert instant_ns(format_instant(ticks, 1)) == ticks


@pytest.mark.parametrize(
    "value",
    [
        0,
        1.5,
        True,
        None,
        "",
        "yesterday",
        "2020-13-01",
        "2020-02-30",
        "2020-01-01T25:00",
        "2020-01-01T12:00:60",
        "2020-01-01T12:00:00.0000000001",
        "2020-01-01T12:00+24:00",
        "20200101",
        "٢٠٢٠-01-01",
        np.datetime64("NaT"),
        pd.NaT,
        pa.scalar(None, pa.timestamp("s")),
        pa.scalar(5),
        np.datetime64(1, "ps"),
    ],
    ids=repr,
)
def test_what_is_no_time_is_refused(value):
    with pytest.raises(InvalidDataError, match="is not a time"):
        instant_ns(value)


def test_a_time_beyond_the_calendar_can_still_be_shown():
    assert format_instant(2**62, 10**9) == f"{2**62} seconds since 1970"
    assert format_instant(-1, 10**9) == "1969-12-31T23:59:59Z"
