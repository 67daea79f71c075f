"""Columns: an Arrow array taken apart into plain buffers, and put together again.

The buffers of one column, depth first: validity (or None: no nulls), then what the type asks for: values; offsets and
data; offsets and the child's buffers; the children's buffers one after the other.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore._core.offsets import are_offsets
from mlstore.errors import CorruptionError
from mlstore.format.packed import CURE
from mlstore.schema.dtypes import DType

Bytes = NDArray[np.uint8]

_MOST_ITEMS = 2**31 - 1


def flatten_column(array: pa.Array) -> list[Bytes | None]:
    """The buffers of an array, trimmed to its length."""
    if array.offset and array.null_count == 0 and pa.types.is_primitive(array.type) and not pa.types.is_boolean(array.type):
        width = array.type.bit_width // 8
        return [None, np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]]
    if array.offset:
        array = pc.take(array, pa.array(np.arange(len(array), dtype=np.int64)))
    buffers: list[Bytes | None] = []
    _flatten(array, buffers)
    return buffers


def assemble_column(dtype: pa.DataType, length: int, buffers: Iterator[pa.Buffer | None]) -> pa.Array:
    """The array of which these are the buffers; CorruptionError where it would reach beyond them."""
    validity = next(buffers)
    if validity is not None and validity.size < (length + 7) // 8:
        raise _short("validity bitmap")
    if pa.types.is_struct(dtype):
        children = [assemble_column(field.type, length, buffers) for field in dtype]
        return pa.Array.from_buffers(dtype, length, [validity], children=children)
    if pa.types.is_fixed_size_list(dtype):
        child = assemble_column(dtype.value_type, length * dtype.list_size, buffers)
        return pa.Array.from_buffers(dtype, length, [validity], children=[child])
    first = next(buffers)
    if first is None:
        raise _short("column")
    if pa.types.is_string(dtype) or pa.types.is_binary(dtype):
        data = next(buffers)
        if data is None:
            raise _short("column")
        _last_offset(first, length, data.size)
        return pa.Array.from_buffers(dtype, length, [validity, first, data])
    if pa.types.is_list(dtype):
        child = assemble_column(dtype.value_type, _last_offset(first, length), buffers)
        return pa.Array.from_buffers(dtype, length, [validity, first], children=[child])
    if pa.types.is_map(dtype):
        entries = pa.struct([dtype.key_field, dtype.item_field])
        child = assemble_column(entries, _last_offset(first, length), buffers)
        return pa.Array.from_buffers(dtype, length, [validity, first], children=[child])
    if first.size < (length * int(dtype.bit_width) + 7) // 8:
        raise _short("column")
    return pa.Array.from_buffers(dtype, length, [validity, first])


def value_width(dtype: pa.DataType) -> int:
    """Bytes of one value of a fixed-width type, 1 otherwise: what the compressor shuffles by."""
    try:
        return max(1, int(dtype.bit_width) // 8)
    except ValueError:
        return 1


def value_range(array: pa.Array, dtype: DType) -> tuple[object, object] | None:
    """Least and greatest value, as stored: what a zone map keeps. None where there is no order or no value."""
    arrow = array.type
    if pa.types.is_boolean(arrow) or dtype.kind != "fixed" or pa.types.is_nested(arrow) or pa.types.is_decimal(arrow):
        return None
    if pa.types.is_timestamp(arrow):
        array = array.view(pa.int64())
    elif pa.types.is_date(arrow):
        array = array.view(pa.int32())
    if array.null_count:
        found = pc.min_max(array).as_py()
        least, greatest = found["min"], found["max"]
        # NaN is left out by Arrow, but lies outside of every range.
        is_ordered = least is not None and not (pa.types.is_floating(arrow) and pc.any(pc.is_nan(array)).as_py())
    else:
        values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())[array.offset : array.offset + len(array)]
        least, greatest = (values.min().item(), values.max().item()) if values.size else (None, None)
        is_ordered = least is not None and least == least
    return (least, greatest) if is_ordered else None


def _flatten(array: pa.Array, buffers: list[Bytes | None]) -> None:
    dtype, length = array.type, len(array)
    buffers.append(_bitmap(array) if array.null_count else None)
    if pa.types.is_struct(dtype):
        for index in range(dtype.num_fields):
            _flatten(_settled(array.field(index)), buffers)
    elif pa.types.is_fixed_size_list(dtype):
        _flatten(_settled(array.values.slice(0, length * dtype.list_size)), buffers)
    elif pa.types.is_string(dtype) or pa.types.is_binary(dtype):
        offsets = _offsets(array)
        buffers.append(offsets.view(np.uint8))
        buffers.append(_bytes(array.buffers()[2], int(offsets[-1])))
    elif pa.types.is_list(dtype) or pa.types.is_map(dtype):
        offsets = _offsets(array)
        buffers.append(offsets.view(np.uint8))
        if pa.types.is_map(dtype):
            child = pa.StructArray.from_arrays([array.keys, array.items], fields=[dtype.key_field, dtype.item_field])
        else:
            child = array.values
        _flatten(_settled(child.slice(0, int(offsets[-1]))), buffers)
    elif pa.types.is_boolean(dtype):
        buffers.append(_bytes(array.buffers()[1], (length + 7) // 8))
    else:
        buffers.append(_bytes(array.buffers()[1], length * (dtype.bit_width // 8)))


def _settled(array: pa.Array) -> pa.Array:
    return pc.take(array, pa.array(np.arange(len(array), dtype=np.int64))) if array.offset else array


def _bitmap(array: pa.Array) -> Bytes:
    return _bytes(array.buffers()[0], (len(array) + 7) // 8)


def _offsets(array: pa.Array) -> NDArray[np.int32]:
    stored = array.buffers()[1]
    if stored is None or stored.size == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(stored, np.int32, len(array) + 1)


def _bytes(buffer: pa.Buffer | None, size: int) -> Bytes:
    return np.empty(0, np.uint8) if buffer is None or size == 0 else np.frombuffer(buffer, np.uint8, size)


def _last_offset(offsets: pa.Buffer, length: int, end: int = _MOST_ITEMS) -> int:
    if offsets.size < 4 * (length + 1):
        raise _short("column of variable length")
    cuts = np.frombuffer(offsets, np.int32, length + 1)
    if not are_offsets(cuts, end):
        raise CorruptionError("the offsets of a column fall, or reach beyond its data", hint=CURE)
    return int(cuts[length])


def _short(what: str) -> CorruptionError:
    return CorruptionError(f"a {what} is shorter than its length", hint=CURE)
