"""Casts of computed columns: a value that the wanted type cannot hold becomes null, and never stops the rows beside it.

What users give is cast by `casts`, which refuses instead.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.schema.dtypes import TIME_UNITS, DType, bool_, date, float64, string

_NS_OF = dict(zip(TIME_UNITS, (10**9, 10**6, 10**3, 1), strict=True))
_DAY_NS = 86_400 * 10**9


def can_cast(old: DType, new: DType) -> bool:
    """Whether values of one type can be had as another."""
    if old == new:
        return True
    if is_number(new) or new == bool_:
        return is_number(old) or old == bool_ or (new == float64 and pa.types.is_decimal(old.arrow))
    if new == string:
        return is_integer(old) or old == bool_
    return is_moment(old) and is_moment(new)


def cast_leniently(array: pa.Array, old: DType, new: DType) -> pa.Array:
    """The values as another type that `can_cast` allows. Floats lose their fraction as integers, instants their finer digits downwards."""
    if old == new:
        return array
    if is_moment(new):
        return _cast_moments(array, old, new)
    if new == bool_:
        return pc.not_equal(array, pa.scalar(0, old.arrow))
    if is_integer(new) and is_number(old):
        array = _within(array if is_integer(old) else pc.trunc(array.cast(pa.float64())), new.arrow)
    return array.cast(new.arrow, safe=False)


def is_integer(dtype: DType) -> bool:
    return bool(pa.types.is_integer(dtype.arrow))


def is_number(dtype: DType) -> bool:
    return is_integer(dtype) or bool(pa.types.is_floating(dtype.arrow))


def is_moment(dtype: DType) -> bool:
    return dtype == date or bool(pa.types.is_timestamp(dtype.arrow))


def integer_range(arrow: pa.DataType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    bits = int(arrow.bit_width)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(arrow) else (0, (1 << bits) - 1)


def _within(array: pa.Array, arrow: pa.DataType) -> pa.Array:
    """The values, null where an integer type has no such number."""
    least, most = integer_range(arrow)
    if pa.types.is_floating(array.type):
        # least and most + 1 are powers of two: exact as floats. NaN is not within.
        fits = pc.and_(pc.greater_equal(array, float(least)), pc.less(array, float(most + 1)))
    else:
        first, last = integer_range(array.type)
        if least <= first and last <= most:
            return array
        bounds = pa.scalar(max(least, first), array.type), pa.scalar(min(most, last), array.type)
        fits = pc.and_(pc.greater_equal(array, bounds[0]), pc.less_equal(array, bounds[1]))
    return null_unless(fits, array)


def null_unless(fits: pa.Array, array: pa.Array) -> pa.Array:
    """The values where something holds; null elsewhere, and where that is unknown."""
    return pc.if_else(fits, array, pa.scalar(None, array.type))


def _cast_moments(array: pa.Array, old: DType, new: DType) -> pa.Array:
    """Ticks of one length as ticks of another: downwards to coarser ones, null where there are too many finer ones."""
    length, wanted = _tick_ns(old), _tick_ns(new)
    ticks = array.view(pa.int32()).cast(pa.int64()) if old == date else array.view(pa.int64())
    if wanted < length:
        factor = length // wanted
        limit = integer_range(pa.int64())[1] // factor
        fits = pc.and_(pc.greater_equal(ticks, -limit), pc.less_equal(ticks, limit))
        ticks = pc.multiply(null_unless(fits, ticks), factor)
    elif wanted > length:
        quotient, factor = pc.divide(ticks, wanted // length), wanted // length
        is_over = pc.greater(pc.multiply(quotient, factor), ticks)  # division cuts towards zero
        ticks = pc.subtract(quotient, is_over.cast(pa.int64()))
    if new == date:
        ticks = _within(ticks, pa.int32()).cast(pa.int32())
    return ticks.view(new.arrow)


def _tick_ns(dtype: DType) -> int:
    return _DAY_NS if dtype == date else _NS_OF[dtype.arrow.unit]
