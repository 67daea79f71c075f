"""One moment, however it is written, as exact nanoseconds since 1970 UTC.

A time without a zone means UTC. Numbers are refused: their unit would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.durations import DAY_NS, SECOND_NS
from mlstore.schema.places import Place

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()
TICK_NS = {"D": DAY_NS, "h": 3_600 * SECOND_NS, "m": 60 * SECOND_NS, "s": SECOND_NS, "ms": 10**6, "us": 10**3, "ns": 1}

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"(?:Z|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)
_HINT = "give a datetime, a date, or ISO text such as '2024-01-31T12:00:00Z'"


def instant_ns(value: object) -> int:
    """Nanoseconds since 1970 of a datetime, date, ISO text, numpy, pandas or Arrow time. Exact, and of any size."""
    found: int | None = None
    if type(value) is datetime:
        return _from_datetime(value)
    if isinstance(value, str):
        found = _from_text(value)
    elif isinstance(value, np.datetime64):
        found = _from_numpy(value)
    elif hasattr(value, "to_datetime64"):
        # A pandas Timestamp is a datetime that counts nanoseconds too.
        found = _from_numpy(value.to_datetime64())
    elif isinstance(value, datetime):
        found = _from_datetime(value)
    elif isinstance(value, date):
        found = (value.toordinal() - EPOCH_DAY) * DAY_NS
    elif isinstance(value, pa.Scalar):
        found = _from_arrow(value)
    if found is None:
        raise InvalidDataError(f"{value!r} is not a time", hint=_HINT)
    return found


def has_zone(value: object) -> bool | None:
    """Whether a time was written with a zone; None where the question makes no sense, as for a date."""
    if isinstance(value, str):
        match = _ISO.fullmatch(value.strip())
        return match is not None and (match[8] is not None or value.rstrip().endswith("Z"))
    if isinstance(value, datetime):
        return value.utcoffset() is not None
    return False if isinstance(value, np.datetime64) else None


def check_zones_agree(zoned: Sequence[bool | None], place: Place) -> None:
    """Refuse times with a zone beside times without: whoever wrote them did not mean UTC by both."""
    if True in zoned and False in zoned:
        rows = f"with a zone in row {place.row_of(zoned.index(True))}, without one in row {place.row_of(zoned.index(False))}"
        raise SchemaMismatchError(f"{place.name}: times {rows}", hint="give all of them a zone, or none: without one a time means UTC")


def format_instant(ticks: int, tick_ns: int) -> str:
    """A count of ticks since 1970 as ISO text, for messages."""
    seconds, rest_ns = divmod(ticks * tick_ns, SECOND_NS)
    try:
        text = (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    except OverflowError:
        return f"{seconds} seconds since 1970"
    fraction = f".{rest_ns:09d}".rstrip("0") if rest_ns else ""
    return f"{text}{fraction}Z"


def _from_datetime(moment: datetime) -> int:
    if moment.tzinfo is UTC:
        since = moment - EPOCH
    else:
        since = moment.replace(tzinfo=UTC) - EPOCH - (moment.utcoffset() or timedelta(0))
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000


def _from_text(text: str) -> int | None:
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups(default="0")
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    if int(zone_hours) > 23 or int(zone_minutes) > 59:
        return None
    offset = (int(zone_hours) * 3_600 + int(zone_minutes) * 60) * SECOND_NS
    return _from_datetime(moment) + int(fraction.ljust(9, "0")) - (-offset if sign == "-" else offset)


def _from_numpy(moment: np.datetime64) -> int | None:
    if np.isnat(moment):
        return None
    unit, count = np.datetime_data(moment.dtype)
    if unit in ("Y", "M", "W"):
        return int(moment.astype("datetime64[D]").astype(np.int64)) * DAY_NS
    ticks = int(moment.astype(np.int64)) * count
    if unit in TICK_NS:
        return ticks * TICK_NS[unit]
    finer = {"ps": 10**3, "fs": 10**6, "as": 10**9}[unit]
    return None if ticks % finer else ticks // finer


def _from_arrow(scalar: pa.Scalar) -> int | None:
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(scalar.type):
        return int(scalar.value) * TICK_NS[scalar.type.unit]
    if pa.types.is_date(scalar.type):
        return int(scalar.value) * TICK_NS["D" if pa.types.is_date32(scalar.type) else "ms"]
    text = scalar.as_py()
    return _from_text(text) if isinstance(text, str) else None
