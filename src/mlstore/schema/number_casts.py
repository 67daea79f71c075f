"""Numbers made to fit a numeric type: exact, or refused by column, row and value. Only float64 to float32 may round."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.dtypes import DType, dtype_of
from mlstore.schema.places import Place

EXACT_IN = {32: 2**24, 64: 2**53}  # every integer up to here is a float of so many bits


def refuse(array: pa.Array, dtype: DType, place: Place, *, cure: str = "") -> SchemaMismatchError:
    """The error for a column whose type cannot become `dtype`."""
    hint = cure or f"cast the column, or declare it as {_declarable(array.type)}"
    return SchemaMismatchError(f"{place.name}: expected {dtype}, got {array.type}", hint=hint)


def _declarable(arrow: pa.DataType) -> str:
    try:
        return dtype_of(arrow).spec
    except SchemaMismatchError:
        return "another type"


def cast_to_int(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Integers of any width; InvalidDataError for one out of range."""
    if not pa.types.is_integer(array.type):
        raise refuse(array, dtype, place, cure=_cure_for_int(array.type, dtype))
    try:
        return array.cast(dtype.arrow)
    except pa.ArrowInvalid as cause:
        row = _first(out_of_range(array, dtype))
        low, high = int_range(dtype)
        message = f"{place.at(row)}: {array[row]} does not fit {dtype}, which holds {low} to {high}"
        raise InvalidDataError(message, hint="declare a wider type, or mend the value") from cause


def out_of_range(array: pa.Array, dtype: DType) -> pa.Array:
    """Which integers of an array do not fit an integer type; null where the array is null."""
    low, high = int_range(dtype)
    least, greatest = int_range(dtype_of(array.type))
    too_low = pc.less(array, pa.scalar(max(low, least), array.type))
    too_high = pc.greater(array, pa.scalar(min(high, greatest), array.type))
    return pc.or_(too_low, too_high)


def int_range(dtype: DType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    bits = dtype.width * 8
    return (0, 2**bits - 1) if dtype.spec.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def cast_to_float(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Floats, and integers that a float of this width holds exactly; float64 is rounded to float32, never to infinity."""
    if pa.types.is_integer(array.type):
        return _int_to_float(array, dtype, place)
    if not pa.types.is_floating(array.type):
        raise refuse(array, dtype, place, cure=_cure_for_text(array.type, dtype))
    cast = array.cast(dtype.arrow, safe=False)
    if dtype.width < array.type.bit_width // 8:
        overflowed = pc.and_(pc.is_inf(cast), pc.is_finite(array))
        if pc.any(overflowed).as_py():
            row = _first(overflowed)
            raise InvalidDataError(f"{place.at(row)}: {array[row]} is beyond the range of {dtype}", hint="declare it as float64")
    return cast


def _int_to_float(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    try:
        return array.cast(dtype.arrow)
    except pa.ArrowInvalid:
        limit = EXACT_IN[dtype.width * 8]
    # Beyond the limit some integers still are floats: those with enough zeros at the end.
    exact = np.float32 if dtype.width == 4 else np.float64
    low, high = -limit if pa.types.is_signed_integer(array.type) else 0, limit
    beyond = pc.or_(pc.less(array, pa.scalar(low, array.type)), pc.greater(array, pa.scalar(high, array.type)))
    for row in pc.indices_nonzero(beyond).to_pylist():
        value = array[row].as_py()
        if int(exact(value)) != value:
            raise InvalidDataError(f"{place.at(row)}: {value} is not exact as {dtype}", hint="declare it as int64, or cast the column")
    return array.cast(dtype.arrow, safe=False)


def cast_to_decimal(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Decimals and integers, exactly; InvalidDataError for one with too many digits."""
    if not (pa.types.is_decimal(array.type) or pa.types.is_integer(array.type)):
        cure = "a float is no exact decimal: cast the column, or declare it as float64" if pa.types.is_floating(array.type) else ""
        raise refuse(array, dtype, place, cure=cure)
    wide = pa.decimal256(76, dtype.arrow.scale) if pa.types.is_integer(array.type) else array.type
    exact = array.cast(wide)
    try:
        return exact.cast(dtype.arrow)
    except pa.ArrowInvalid as cause:
        row = next(row for row in range(len(array)) if not _casts(exact.slice(row, 1), dtype.arrow))
        message = f"{place.at(row)}: {array[row]} does not fit {dtype} exactly"
        raise InvalidDataError(message, hint="declare more digits, or round the column") from cause


def _casts(array: pa.Array, arrow: pa.DataType) -> bool:
    try:
        array.cast(arrow)
    except pa.ArrowInvalid:
        return False
    return True


def _first(mask: pa.Array) -> int:
    return int(pc.index(mask, value=True).as_py())


def _cure_for_int(arrow: pa.DataType, dtype: DType) -> str:
    if pa.types.is_floating(arrow):
        pandas = "pandas turns integers with missing values into floats: astype('Int64') keeps them"
        return f"{pandas}; or round and cast, or declare {dtype_of(arrow)}"
    return _cure_for_text(arrow, dtype)


def _cure_for_text(arrow: pa.DataType, dtype: DType) -> str:
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return f"text is not read as a number: cast it first, as in column.cast(pa.{dtype}())"
    return ""
