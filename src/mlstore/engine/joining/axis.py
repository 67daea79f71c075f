"""Axes: the columns an as-of join compares in time, as int64 counts or doubles that compare exactly.

A count has a unit: the length of a tick, and whether counts begin at -2^63 (those of uint64). Nulls and NaNs lie nowhere on the axis.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.joining.pairing import Named, family_of, spell_out, tick_ns
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.keys import ints_of, joined_values
from mlstore.schema.durations import parse_duration

Times = NDArray[np.int64] | NDArray[np.float64]

_TEMPORAL = ("instants", "durations", "times of day")
_FAMILIES = ("integers", "floats", *_TEMPORAL)
_MOST_TOLERANCE = 2**64 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """times: [rows]; valid: which rows have one, None: all do."""

    times: Times
    valid: NDArray[np.bool_] | None
    unit: tuple[int, bool]


def axes_of(left: Named, right: Named) -> tuple[Axis, Axis]:
    """Both columns, if their values can be compared."""
    families = family_of(left.arrow), family_of(right.arrow)
    for named, family in zip((left, right), families, strict=True):
        if family not in _FAMILIES and family != "nulls":
            message = f"{named.name}: {named.arrow} has no distances, so nothing in it is nearest"
            raise SchemaMismatchError(message, hint="join on a timestamp, date, duration, time, integer or float column")
    if families[0] != families[1] and "nulls" not in families:
        message = f"times of unlike types: {left.name} is {left.arrow}, {right.name} is {right.arrow}"
        raise SchemaMismatchError(message, hint="cast one of the columns to the type of the other")
    return _axis(left.column, families[1]), _axis(right.column, families[0])


def tolerance_of(value: object, arrow: pa.DataType) -> float | None:
    """The greatest distance of a match on an axis of this type: nanoseconds, counts or a float; None: no bound."""
    if value is None:
        return None
    family = family_of(arrow)
    if family in _TEMPORAL or isinstance(value, str | timedelta):
        if family not in _TEMPORAL:
            raise UsageError(f"tolerance: {value!r} is a duration, and the column joined on is {arrow}", hint="give a number")
        if not isinstance(value, str | timedelta):
            hint = "give a duration such as '6h' or a timedelta: the unit of a number would be a guess"
            raise UsageError(f"tolerance: {value!r}, and the column joined on is {arrow}", hint=hint)
        return parse_duration(value, what="tolerance", allow_zero=True)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise UsageError(f"tolerance: {value!r} is not a number", hint=f"the column joined on is {arrow}: give a number not below 0")
    if not value >= 0:
        raise UsageError(f"tolerance: {value!r} is below zero, or not a number", hint="give a number not below 0")
    if family == "floats":
        return float(value)
    if not isinstance(value, int | np.integer):
        raise UsageError(f"tolerance: {value!r} is not whole", hint=f"the column joined on is {arrow}: give an int")
    return min(int(value), _MOST_TOLERANCE)


def sortable(times: Times) -> NDArray[np.int64]:
    """int64 that sort as the times do."""
    if times.dtype == np.int64:
        return times.view(np.int64)
    # The bits of a double sort as it does, but for negative ones, which sort the other way round; one zero only.
    bits = (times + 0.0).view(np.int64)
    return np.where(bits < 0, ~bits ^ np.int64(-(2**63)), bits)


def _axis(column: pa.ChunkedArray, other_family: str) -> Axis:
    family = family_of(column.type)
    if family == "nulls":
        column, family = pa.chunked_array([pa.nulls(len(column), pa.int64())]), "integers" if other_family != "floats" else "floats"
    column = spell_out(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    valid = joined_values(column.is_valid()) if column.null_count else None
    if family == "floats":
        values = joined_values(column.cast(pa.float64()).fill_null(0.0))
        is_nan = np.isnan(values)
        if is_nan.any():
            valid = ~is_nan if valid is None else valid & ~is_nan
        return Axis(np.ascontiguousarray(values), valid, (1, False))
    return Axis(np.ascontiguousarray(ints_of(column)), valid, (tick_ns(column.type), bool(pa.types.is_uint64(column.type))))
