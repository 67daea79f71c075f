"""Columns of time as int64 ticks since 1970 UTC: exact or refused for data, rounded on purpose for labels.

A zone only says how a time was written: what counts is the instant, never the wall clock. No zone means UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.durations import format_duration, parse_duration
from mlstore.schema.encodings import chunks_of
from mlstore.schema.instants import TICK_NS, check_zones_agree, format_instant, has_zone, instant_ns
from mlstore.schema.places import Place

NULL_TIME = -(2**63)
MAX_TIME = 2**63 - 1
MIN_TIME = NULL_TIME + 1

TimeUnit = Literal["us", "ns"]
Ticks = NDArray[np.int64]
Mask = NDArray[np.bool_]

YEAR_ONE_US = -62_135_596_800_000_000

__all__ = [
    "MAX_TIME",
    "MIN_TIME",
    "NULL_TIME",
    "TimeUnit",
    "ceil_to_unit",
    "floor_to_unit",
    "format_duration",
    "instant_ns",
    "parse_duration",
    "shifted",
    "to_unit",
]


def to_unit(column: pa.ChunkedArray | pa.Array, unit: TimeUnit, *, name: str, allow_null: bool = False, first_row: int = 0) -> Ticks:
    """Instants as ticks of `unit`, exact; a null is NULL_TIME if allowed. Zero-copy for one chunk of that unit without nulls.

    InvalidDataError names the row of a null, an unparsable text, and a time that `unit` cannot hold or would cut digits off.
    """
    place = Place(name).after(first_row)
    moments = read_moments(column, place)
    if moments.nulls is not None and not allow_null:
        raise InvalidDataError(f"{place.at(int(moments.nulls.argmax()))}: the time is null", hint="drop the row, or give it a time")
    ticks, misfits = moments.exactly(unit)
    if misfits is not None:
        raise moments.misfit(int(misfits.argmax()), unit, place)
    if moments.nulls is None:
        return ticks
    return np.where(moments.nulls, NULL_TIME, ticks)


def floor_to_unit(column: pa.ChunkedArray | pa.Array, unit: TimeUnit, *, minus_ns: int = 0, name: str = "the time column") -> Ticks:
    """The last tick at or before each instant less `minus_ns`. Saturates; a null is NULL_TIME.

    A row at tick e is at or before the instant t exactly when `e <= floor(t)`.
    """
    return _rounded(read_moments(column, Place(name)), TICK_NS[unit], minus_ns=minus_ns, is_up=False)


def ceil_to_unit(column: pa.ChunkedArray | pa.Array, unit: TimeUnit, *, minus_ns: int = 0, name: str = "the time column") -> Ticks:
    """The first tick at or after each instant less `minus_ns`. Saturates; a null is NULL_TIME.

    A row at tick e is at most d older than the instant t exactly when `e >= ceil(t - d)`.
    """
    return _rounded(read_moments(column, Place(name)), TICK_NS[unit], minus_ns=minus_ns, is_up=True)


def shifted(values: Ticks, delta: int) -> Ticks:
    """Each time `delta` ticks later, no further than MIN_TIME and MAX_TIME; NULL_TIME stays."""
    if delta >= 0:
        moved = np.where(values > MAX_TIME - delta, MAX_TIME, np.minimum(values, MAX_TIME - delta) + delta)
    else:
        moved = np.where(values < MIN_TIME - delta, MIN_TIME, np.maximum(values, MIN_TIME - delta) + delta)
    return np.where(values == NULL_TIME, NULL_TIME, moved).astype(np.int64, copy=False)


# ---------------------------------------------------------------- inside


@dataclass(frozen=True, slots=True)
class Moments:
    """A column of instants as read: ticks of `tick_ns` nanoseconds since 1970, zero where `nulls` (None: no nulls)."""

    ticks: Ticks
    tick_ns: int
    nulls: Mask | None

    def exactly(self, unit: str) -> tuple[Ticks, Mask | None]:
        """The same instants in ticks of `unit`, and which of them do not fit (None: all do)."""
        unit_ns = TICK_NS[unit]
        if self.tick_ns >= unit_ns:
            factor = self.tick_ns // unit_ns
            limit = MAX_TIME // factor
            if _is_within(self.ticks, limit):
                return (self.ticks if factor == 1 else self.ticks * factor), None
            misfits = (self.ticks > limit) | (self.ticks < -limit)
            return np.where(misfits, 0, self.ticks) * factor, misfits
        factor = unit_ns // self.tick_ns
        ticks = self.ticks // factor
        lost = ticks * factor != self.ticks
        return ticks, (lost if lost.any() else None)

    def misfit(self, position: int, unit: str, place: Place) -> InvalidDataError:
        """The error for an instant that `unit` cannot hold exactly."""
        instant = int(self.ticks[position]) * self.tick_ns
        shown = f"{place.at(position)}: {format_instant(instant, 1)}"
        if instant % TICK_NS[unit]:
            cure = "cut the times to whole days" if unit == "D" else 'time_unit="ns" or timestamp("ns") keeps them, or cut the digits off'
            return InvalidDataError(f"{shown} has digits below {_SHOWN[unit]}, which would be lost", hint=cure)
        cure = 'time_unit="us" or timestamp("us") reaches further' if unit == "ns" else "mend the value, or drop the row"
        bits = 32 if unit == "D" else 64
        return InvalidDataError(f"{shown} is beyond what {bits} bits of {_SHOWN[unit]} can hold", hint=cure)


_SHOWN = {"D": "days", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def read_moments(column: pa.ChunkedArray | pa.Array, place: Place) -> Moments:
    """The instants of a column of timestamps, dates or ISO text; SchemaMismatchError for any other type."""
    chunks = chunks_of(column)
    arrow = chunks[0].type
    if pa.types.is_null(arrow):
        rows = sum(len(chunk) for chunk in chunks)
        return Moments(np.zeros(rows, np.int64), 1, np.ones(rows, np.bool_) if rows else None)
    if pa.types.is_timestamp(arrow):
        return _stored_moments(chunks, TICK_NS[arrow.unit], np.dtype(np.int64))
    if pa.types.is_date32(arrow):
        return _stored_moments(chunks, TICK_NS["D"], np.dtype(np.int32))
    if pa.types.is_date64(arrow):
        return _stored_moments(chunks, TICK_NS["ms"], np.dtype(np.int64))
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return _parsed_moments(chunks, place)
    raise SchemaMismatchError(f"{place.name}: expected a timestamp, got {arrow}", hint=_cure_for(arrow))


def _cure_for(arrow: pa.DataType) -> str:
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return "a number has no unit: say which, as in column.cast(pa.timestamp('s'))"
    return "cast the column to a timestamp"


def _stored_moments(chunks: list[pa.Array], tick_ns: int, stored: np.dtype[np.signedinteger]) -> Moments:
    parts = [_raw_values(chunk, stored) for chunk in chunks]
    nulls = nulls_of(chunks)
    ticks = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if stored != np.int64:
        ticks = ticks.astype(np.int64)
    # What lies under a null is not a time and must not be judged.
    return Moments(ticks if nulls is None else np.where(nulls, 0, ticks), tick_ns, nulls)


def _raw_values(array: pa.Array, stored: np.dtype[np.signedinteger]) -> NDArray[np.signedinteger]:
    values = array.buffers()[1]
    if values is None or len(array) == 0:
        return np.empty(0, stored)
    return np.frombuffer(values, stored, array.offset + len(array))[array.offset :]


def nulls_of(chunks: list[pa.Array]) -> Mask | None:
    """Which rows are null; None if none is."""
    if not any(chunk.null_count for chunk in chunks):
        return None
    return np.concatenate([chunk.is_null().to_numpy(zero_copy_only=False) for chunk in chunks])


def _parsed_moments(chunks: list[pa.Array], place: Place) -> Moments:
    parsed = _parsed_by_arrow(chunks)
    if parsed is not None:
        return _stored_moments(parsed, TICK_NS["us"], np.dtype(np.int64))
    instants = _parsed_one_by_one(chunks, place)
    tick_ns = 1_000 if all(instant % 1_000 == 0 for instant in instants) else 1
    for position, instant in enumerate(instants):
        if not MIN_TIME <= instant // tick_ns <= MAX_TIME:
            shown = format_instant(instant, 1)
            message = f"{place.at(position)}: {shown} does not fit beside times with digits below microseconds"
            raise InvalidDataError(message, hint="cut those digits off")
    return Moments(np.array([instant // tick_ns for instant in instants], np.int64), tick_ns, nulls_of(chunks))


def _parsed_by_arrow(chunks: list[pa.Array]) -> list[pa.Array] | None:
    """Fast, for text that is all with a zone or all without, to the microsecond; None if it is neither."""
    for target in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            parsed = [chunk.cast(pa.string()).cast(target) for chunk in chunks]
        except pa.ArrowInvalid:
            continue
        least = [pc.min(chunk.cast(pa.int64())).as_py() for chunk in parsed]
        return parsed if all(found is None or found >= YEAR_ONE_US for found in least) else None
    return None


def _parsed_one_by_one(chunks: list[pa.Array], place: Place) -> list[int]:
    instants: list[int] = []
    texts = [text for chunk in chunks for text in chunk.to_pylist()]
    for text in texts:
        try:
            instants.append(0 if text is None else instant_ns(text))
        except InvalidDataError as cause:
            raise InvalidDataError(f"{place.at(len(instants))}: {cause.message}", hint=cause.hint) from cause
    check_zones_agree([None if text is None else has_zone(text) for text in texts], place)
    return instants


def _is_within(ticks: Ticks, limit: int) -> bool:
    return len(ticks) == 0 or (int(ticks.min()) >= -limit and int(ticks.max()) <= limit)


def _rounded(moments: Moments, unit_ns: int, *, minus_ns: int, is_up: bool) -> Ticks:
    ticks = moments.ticks
    if moments.tick_ns >= unit_ns:
        # ceil(t - d) = t - floor(d) for a t that is a whole number of ticks.
        factor, delta = moments.tick_ns // unit_ns, minus_ns // unit_ns
        limit = (MAX_TIME - delta) // factor
    else:
        factor, delta = unit_ns // moments.tick_ns, minus_ns // moments.tick_ns
        limit = MAX_TIME - delta
    beyond = None
    if not _is_within(ticks, limit):
        beyond = (ticks > limit) | (ticks < -limit)
        ticks = np.where(beyond, 0, ticks)
    if moments.tick_ns >= unit_ns:
        rounded = ticks if factor == 1 and delta == 0 else ticks * factor - delta
    elif is_up:
        rounded = -((delta - ticks) // factor)
    else:
        rounded = (ticks - delta) // factor
    if beyond is not None:
        rounded[beyond] = [_rounded_exactly(int(tick) * moments.tick_ns - minus_ns, unit_ns, is_up=is_up) for tick in moments.ticks[beyond]]
    return rounded if moments.nulls is None else np.where(moments.nulls, NULL_TIME, rounded)


def _rounded_exactly(instant: int, unit_ns: int, *, is_up: bool) -> int:
    ticks = -(-instant // unit_ns) if is_up else instant // unit_ns
    return max(MIN_TIME, min(MAX_TIME, ticks))
