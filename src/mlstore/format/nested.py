"""Nested values: lists, structs and maps of anything, as msgpack inside a row.

Three shapes of one value: Arrow; *stored* (what msgpack holds: see mlstore.format.rows); and Python, as users get it.
What a file holds is not trusted: msgpack that is not of the type is a CorruptionError.
"""

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa

from mlstore._core.row_layout import CURE
from mlstore._core.slots import READINGS, read_date, read_instant
from mlstore.errors import CorruptionError, InvalidDataError
from mlstore.format.packed import unpack


def pack_nested(name: str, array: pa.Array) -> pa.Array:
    """A nested column as a binary column of msgpack."""
    pack = msgpack.Packer().pack
    try:
        stored = stored_values(array)
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{name}: text that is not UTF-8: {error}", hint="use ml.binary for bytes") from error
    packed = pa.array([None if value is None else pack(value) for value in stored], pa.binary())
    if isinstance(packed, pa.ChunkedArray):
        raise InvalidDataError(f"{name}: more than 2 GiB of nested values in {len(array)} rows", hint="write fewer rows at once")
    return packed


def build_nested(name: str, kind: pa.DataType, packed: list[bytes | None]) -> pa.Array:
    """The nested column that `pack_nested` packed."""
    try:
        return build_array([None if value is None else unpack(value) for value in packed], kind)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise CorruptionError(f"stored rows: {name} is not a {kind}: {error}", hint=CURE) from error


def stored_values(array: pa.Array) -> list[Any]:
    """The stored value of every element: what msgpack can hold, losing nothing."""
    kind, n = array.type, len(array)
    if pa.types.is_timestamp(kind):
        array = array.view(pa.int64())
    elif pa.types.is_date32(kind):
        array = array.view(pa.int32())
    elif pa.types.is_decimal128(kind):
        array = array.view(pa.binary(16))
    if not pa.types.is_nested(kind):
        plain: list[Any] = array.to_pylist()
        return plain
    valid = array.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        fields = [stored_values(array.field(number)) for number in range(kind.num_fields)]
        return [[values[i] for values in fields] if valid[i] else None for i in range(n)]
    if pa.types.is_fixed_size_list(kind):
        bounds = [number * kind.list_size for number in range(n + 1)]
        items = stored_values(array.values.slice(array.offset * kind.list_size, n * kind.list_size))
    else:
        offsets = array.offsets.to_pylist()
        first, count = offsets[0], offsets[-1] - offsets[0]
        bounds = [offset - first for offset in offsets]
        if pa.types.is_map(kind):
            keys, values = (stored_values(part.slice(first, count)) for part in (array.keys, array.items))
            items = [[key, value] for key, value in zip(keys, values, strict=True)]
        else:
            items = stored_values(array.values.slice(first, count))
    return [items[bounds[i] : bounds[i + 1]] if valid[i] else None for i in range(n)]


def build_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The inverse of `stored_values`. Raises ValueError or TypeError if the values are not of this type."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).view(kind)
    if pa.types.is_date32(kind):
        return pa.array(values, pa.int32()).view(kind)
    if pa.types.is_decimal128(kind):
        return pa.array(values, pa.binary(16)).view(kind)
    if not pa.types.is_nested(kind):
        return pa.array(values, kind)
    if not all(value is None or isinstance(value, list) for value in values):
        raise ValueError("expected arrays")
    missing = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    n, nulls = len(values), sum(value is None for value in values)
    if pa.types.is_struct(kind):
        rows = [[None] * kind.num_fields if value is None else value for value in values]
        columns = list(zip(*rows, strict=True)) if rows else [()] * kind.num_fields
        if len(columns) != kind.num_fields:
            raise ValueError(f"expected {kind.num_fields} fields, got {len(columns)}")
        children = [build_array(list(column), kind.field(number).type) for number, column in enumerate(columns)]
        return pa.Array.from_buffers(kind, n, [missing], nulls, children=children)
    if pa.types.is_fixed_size_list(kind):
        rows = [[None] * kind.list_size if value is None else value for value in values]
        if any(len(row) != kind.list_size for row in rows):
            raise ValueError(f"expected {kind.list_size} items")
        items = build_array([item for row in rows for item in row], kind.value_type)
        return pa.Array.from_buffers(kind, n, [missing], nulls, children=[items])
    offsets = np.cumsum([0] + [0 if value is None else len(value) for value in values]).astype(np.int32)
    flat = [item for value in values if value is not None for item in value]
    item_type = pa.struct([kind.key_field, kind.item_field]) if pa.types.is_map(kind) else kind.value_type
    if pa.types.is_map(kind) and any(entry is None or len(entry) != 2 or entry[0] is None for entry in flat):
        raise ValueError("expected pairs with a key")
    return pa.Array.from_buffers(kind, n, [missing, pa.py_buffer(offsets)], nulls, children=[build_array(flat, item_type)])


def nested_reader(name: str, kind: pa.DataType) -> Callable[[bytes], object]:
    """A function from the msgpack of one value to the Python object: a list, a dict, or a list of pairs for a map."""
    convert = _python_reader(kind)

    def read(packed: bytes) -> object:
        try:
            return convert(unpack(packed))
        except (ValueError, TypeError, OverflowError) as error:
            raise CorruptionError(f"stored row: {name} is not a {kind}: {error}", hint=CURE) from error

    return read


def decimal_reader(kind: pa.DataType) -> Callable[[bytes], Decimal]:
    """A function from the 16 bytes of a decimal to its exact value."""
    scale, exact = -kind.scale, Context(prec=40)
    return lambda stored: Decimal(int.from_bytes(stored, "little", signed=True)).scaleb(scale, exact)


def _python_reader(kind: pa.DataType) -> Callable[[Any], object]:
    """A function from the stored value to the Python object."""
    if pa.types.is_timestamp(kind):
        unit = READINGS[kind.unit]
        return lambda value: None if value is None else read_instant(value, unit)
    if pa.types.is_date32(kind):
        return lambda value: None if value is None else read_date(value)
    if pa.types.is_decimal128(kind):
        read_decimal = decimal_reader(kind)
        return lambda value: None if value is None else read_decimal(value)
    if pa.types.is_struct(kind):
        fields = [(kind.field(number).name, _python_reader(kind.field(number).type)) for number in range(kind.num_fields)]
        return lambda value: None if value is None else {name: read(item) for (name, read), item in zip(fields, value, strict=True)}
    if pa.types.is_map(kind):
        key, item = _python_reader(kind.key_type), _python_reader(kind.item_type)
        return lambda value: None if value is None else [(key(k), item(v)) for k, v in value]
    if pa.types.is_nested(kind):
        read = _python_reader(kind.value_type)
        return lambda value: None if value is None else [read(item) for item in value]
    return lambda value: value
