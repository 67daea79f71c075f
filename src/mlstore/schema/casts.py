"""Columns made to fit their declared type without losing anything; zero-copy where they fit already.

Refused by type: text for numbers, numbers for times, floats for integers. Refused by row: values out of range.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.errors import InvalidDataError
from mlstore.schema.dtypes import DType
from mlstore.schema.encodings import decode_array
from mlstore.schema.nested_casts import cast_to_list, cast_to_map, cast_to_struct, cast_to_vector, is_dense_vector
from mlstore.schema.number_casts import cast_to_decimal, cast_to_float, cast_to_int, out_of_range, refuse
from mlstore.schema.places import Place
from mlstore.schema.timestamps import read_moments

MAX_DATE = 2**31 - 1


def cast_column(column: pa.ChunkedArray, dtype: DType, place: Place) -> pa.ChunkedArray:
    """The column as `dtype`; UsageError names the column, and the row where it is a value that does not fit."""
    return _by_chunk(column, dtype, place, cast_array)


def cast_key_column(column: pa.ChunkedArray, dtype: DType, place: Place) -> pa.ChunkedArray:
    """A column to look keys up with: a value that no key can have becomes null, for it matches nothing."""
    return _by_chunk(column, dtype, place, _cast_keys)


def cast_array(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """One array as `dtype`."""
    array = decode_array(array)
    arrow = dtype.arrow
    if array.type == arrow and not (pa.types.is_fixed_size_list(arrow) and not is_dense_vector(array)):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), arrow)
    if dtype.parts:
        return _nested_cast_for(arrow)(array, dtype, place, cast_array)
    return _plain_cast_for(arrow)(array, dtype, place)


def _by_chunk(column: pa.ChunkedArray, dtype: DType, place: Place, cast: Callable[[pa.Array, DType, Place], pa.Array]) -> pa.ChunkedArray:
    if column.type == dtype.arrow and not pa.types.is_fixed_size_list(dtype.arrow):
        return column
    chunks, rows = [], 0
    for chunk in column.chunks or [pa.nulls(0, column.type)]:
        chunks += [cast(part, dtype, place.after(rows + start)) for start, part in _manageable(chunk)]
        rows += len(chunk)
    return pa.chunked_array(chunks, dtype.arrow)


def _manageable(chunk: pa.Array) -> list[tuple[int, pa.Array]]:
    """The chunk in pieces whose text or bytes fit 32-bit offsets."""
    size = sum(buffer.size for buffer in chunk.buffers() if buffer is not None)
    rows = len(chunk)
    if size < MAX_DATE or rows < 2 or chunk.nbytes < MAX_DATE:
        return [(0, chunk)]
    half = rows // 2
    return _manageable(chunk.slice(0, half)) + [(half + start, part) for start, part in _manageable(chunk.slice(half))]


def _nested_cast_for(arrow: pa.DataType) -> Callable[..., pa.Array]:
    if pa.types.is_fixed_size_list(arrow):
        return cast_to_vector
    if pa.types.is_list(arrow):
        return cast_to_list
    return cast_to_struct if pa.types.is_struct(arrow) else cast_to_map


def _plain_cast_for(arrow: pa.DataType) -> Callable[[pa.Array, DType, Place], pa.Array]:
    is_type = pa.types
    if is_type.is_integer(arrow):
        return cast_to_int
    if is_type.is_floating(arrow):
        return cast_to_float
    if is_type.is_timestamp(arrow) or is_type.is_date(arrow):
        return cast_to_time
    if is_type.is_decimal(arrow):
        return cast_to_decimal
    if is_type.is_string(arrow) or is_type.is_binary(arrow):
        return cast_to_bytes
    return cast_to_bool


def cast_to_bool(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Nothing else is a bool."""
    raise refuse(array, dtype, place)


def cast_to_bytes(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Text from text and bytes from bytes, of any encoding."""
    is_type, given = pa.types, array.type
    if pa.types.is_string(dtype.arrow):
        fits = is_type.is_large_string(given)
        cure = "decode the bytes to text first, or declare it as binary"
    else:
        fits = is_type.is_large_binary(given) or is_type.is_fixed_size_binary(given)
        cure = "encode the text to bytes first, or declare it as string"
    if not fits:
        is_other = is_type.is_binary(given) or is_type.is_large_binary(given) or is_type.is_string(given) or is_type.is_large_string(given)
        raise refuse(array, dtype, place, cure=cure if is_other else "")
    try:
        return array.cast(dtype.arrow)
    except pa.ArrowInvalid as cause:
        raise InvalidDataError(f"{place.name}: {cause}", hint="write the table in smaller batches") from cause


def cast_to_time(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    """Instants in another unit, dates from whole days: exact, or refused."""
    return _cast_times(array, dtype, place, is_lenient=False)


def _cast_times(array: pa.Array, dtype: DType, place: Place, *, is_lenient: bool) -> pa.Array:
    moments = read_moments(array, place)
    unit = dtype.arrow.unit if pa.types.is_timestamp(dtype.arrow) else "D"
    ticks, misfits = moments.exactly(unit)
    if unit == "D" and len(ticks) and max(int(ticks.max()), -int(ticks.min())) > MAX_DATE:
        beyond = np.abs(ticks) > MAX_DATE
        misfits = beyond if misfits is None else misfits | beyond
    if misfits is not None and not is_lenient:
        raise moments.misfit(int(misfits.argmax()), unit, place)
    nulls = moments.nulls if misfits is None else misfits if moments.nulls is None else misfits | moments.nulls
    stored = ticks if unit != "D" else np.where(np.abs(ticks) > MAX_DATE, 0, ticks).astype(np.int32)
    return pa.array(stored, mask=nulls).view(dtype.arrow)


def _cast_keys(array: pa.Array, dtype: DType, place: Place) -> pa.Array:
    array = decode_array(array)
    if pa.types.is_integer(dtype.arrow) and pa.types.is_integer(array.type):
        return pc.if_else(out_of_range(array, dtype), pa.scalar(None, array.type), array).cast(dtype.arrow)
    if pa.types.is_timestamp(dtype.arrow) or pa.types.is_date(dtype.arrow):
        return _cast_times(array, dtype, place, is_lenient=True)
    return cast_array(array, dtype, place)
