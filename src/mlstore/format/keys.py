"""Keys: the values of an entity's key columns become bytes whose order is the order of the values, and come back.

Pure. One integer-like column is kept as int64; everything else as escaped bytes, prefix-free, so that tuples never collide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.keys import (
    measure_escaped,
    measure_taken,
    measure_unescaped,
    read_ints,
    write_escaped,
    write_taken,
    write_unescaped,
)
from mlstore.errors import CorruptionError, InvalidDataError, SchemaMismatchError
from mlstore.format.keyscalar import ScalarEncoder, is_integer_like, is_text, scalar_encoder
from mlstore.format.keyvector import SIGN, Bytes, Ints, KeyKind, Keys, encode_int, encode_ints, sums
from mlstore.format.ranks import Codes, rank_ints, rank_tuples
from mlstore.format.texts import number_column, order_texts, take_texts, text_buffers
from mlstore.schema.dtypes import DType

__all__ = [
    "MAX_KEY",
    "Factorized",
    "KeyKind",
    "KeySpec",
    "Keys",
    "component_ends",
    "decode_keys",
    "encode_key",
    "factorize",
    "ints_of",
    "joined_values",
    "line_up",
    "prefix_range",
]

MAX_KEY = 440

Column: TypeAlias = pa.Array | pa.ChunkedArray


@dataclass(frozen=True, slots=True)
class KeySpec:
    """The types of the key columns of an entity, in order; none for a global entity, whose only key is the integer 0."""

    dtypes: tuple[DType, ...]
    _encoders: tuple[ScalarEncoder, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_encoders", tuple(map(scalar_encoder, self.dtypes)))

    @property
    def encoders(self) -> tuple[ScalarEncoder, ...]:
        """What encodes one value of each key column; `encode_key` joins them."""
        return self._encoders

    @property
    def kind(self) -> KeyKind:
        """How vectors of these keys are kept."""
        return "int" if not self.dtypes or (len(self.dtypes) == 1 and is_integer_like(self.dtypes[0].arrow)) else "bytes"


@dataclass(frozen=True, slots=True, eq=False)
class Factorized:
    """Keys of a table (distinct and sorted, of `factorize`), and of each row the position of its key, or -1 if any part of it is null."""

    keys: Keys
    codes: Codes


def encode_key(spec: KeySpec, values: Sequence[object]) -> bytes | None:
    """One key as the bytes that stand in the file; None when a component is null.

    Takes Python and numpy scalars of the columns' types; naive times are UTC.
    """
    if len(values) != len(spec.dtypes):
        raise SchemaMismatchError(f"key {tuple(values)!r}: expected {len(spec.dtypes)} values, got {len(values)}")
    if not values:
        return encode_int(0)
    parts = [None if value is None else encode(value) for encode, value in zip(spec._encoders, values, strict=True)]
    if None in parts:
        return None
    encoded = b"".join(part for part in parts if part is not None)
    if len(encoded) > MAX_KEY:
        raise InvalidDataError(f"the key has {len(encoded)} bytes once encoded, at most {MAX_KEY} fit", hint="use a shorter key")
    return encoded


def prefix_range(prefix: bytes) -> tuple[bytes, bytes | None]:
    """(start, stop): the keys that begin with prefix are start <= key < stop; no upper bound when stop is None."""
    trimmed = prefix.rstrip(b"\xff")
    return prefix, trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None


def factorize(spec: KeySpec, columns: Sequence[Column], rows: int) -> Factorized:
    """The distinct keys of the rows of these columns, whose types are exactly those of spec."""
    if len(columns) != len(spec.dtypes) or any(len(column) != rows for column in columns):
        raise SchemaMismatchError(f"expected {len(spec.dtypes)} key columns of {rows} rows, got {[len(column) for column in columns]}")
    if not columns:
        return Factorized(Keys(ints=np.zeros(min(rows, 1), np.int64)), np.zeros(rows, np.int32))
    if spec.kind == "int":
        uniques, codes = _factorize_ints(columns[0])
        return Factorized(Keys(ints=uniques), codes)
    components, ranks = zip(*map(_factorize_component, columns), strict=True)
    if len(columns) == 1:
        keys, codes = components[0], ranks[0]
    else:
        taken, codes = rank_tuples([(len(component), rank) for component, rank in zip(components, ranks, strict=True)])
        keys = _join_components(components, taken)
    _check_length(keys, codes)
    return Factorized(keys, codes)


def line_up(spec: KeySpec, columns: Sequence[Column], rows: int) -> Factorized:
    """The key of each row, as the rows come: neither sorted nor unique. Cheaper than `factorize` where that does not matter."""
    codes = np.arange(rows, dtype=np.int32)
    if not columns:
        return Factorized(Keys(ints=np.zeros(rows, np.int64)), codes)
    for column in columns:
        if column.null_count:
            codes[~joined_values(column.is_valid())] = -1
    if spec.kind == "int":
        return Factorized(Keys(ints=ints_of(columns[0])), codes)
    components = [_encode_component(column) for column in columns]
    keys = components[0] if len(components) == 1 else _join_components(components, [np.arange(rows)] * len(components))
    _check_length(keys, codes)
    return Factorized(keys, codes)


def _encode_component(column: Column) -> Keys:
    """Every value of one column, encoded; anything where it is null."""
    if is_text(column.type):
        return _escape_texts(*text_buffers(column if isinstance(column, pa.Array) else _one_array(column)))
    return _fixed_components(ints_of(column))


def _fixed_components(values: Ints) -> Keys:
    return Keys(offsets=np.arange(0, 8 * len(values) + 1, 8, dtype=np.int64), data=encode_ints(values))


def _factorize_component(column: Column) -> tuple[Keys, Codes]:
    """The distinct values of one column, encoded, in order, and the rank of each row's."""
    if is_text(column.type):
        return _factorize_text(column)
    uniques, ranks = _factorize_ints(column)
    return _fixed_components(uniques), ranks


def _factorize_ints(column: Column) -> tuple[Ints, Codes]:
    valid = joined_values(column.is_valid()) if column.null_count else None
    return rank_ints(ints_of(column), valid)


def ints_of(column: Column) -> Ints:
    """An integer-like column as int64, in order; anything where it is null."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    if column.null_count:
        column = column.fill_null(pa.scalar(0, column.type))
    values = joined_values(column)
    return (values ^ np.uint64(SIGN)).view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64, copy=False)


def joined_values(column: Column) -> NDArray[Any]:
    """The values of a column without nulls in one array."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, column.type.to_pandas_dtype())])


def _factorize_text(column: Column) -> tuple[Keys, Codes]:
    whole = column if isinstance(column, pa.Array) else _one_array(column)
    texts, numbers = number_column(whole)
    escaped = _escape_texts(texts.offsets, texts.data)
    order = order_texts(escaped)
    # One place more than there are texts: number -1, a null, finds rank -1 in it.
    rank_of_number = np.full(len(order) + 1, -1, np.int32)
    rank_of_number[order] = np.arange(len(order), dtype=np.int32)
    return take_texts(escaped, order), rank_of_number[numbers]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts in one piece, whatever its size."""
    if column.num_chunks == 1:
        return column.chunk(0)
    wide = column.cast(pa.large_string() if pa.types.is_string(column.type) else pa.large_binary())
    return pa.concat_arrays(wide.chunks) if wide.num_chunks else pa.array([], wide.type)


def _escape_texts(offsets: Ints, data: Bytes) -> Keys:
    escaped_offsets = np.empty(len(offsets), np.int64)
    measure_escaped(offsets, data, escaped_offsets)
    escaped = np.empty(escaped_offsets[-1], np.uint8)
    write_escaped(offsets, data, escaped)
    return Keys(offsets=escaped_offsets, data=escaped)


def _join_components(components: Sequence[Keys], taken: Sequence[Ints]) -> Keys:
    """Keys made of one component of each column: taken[c][i] is the component of key i in column c."""
    lengths = np.zeros(len(taken[0]), np.int64)
    for component, positions in zip(components, taken, strict=True):
        measure_taken(component.offsets, component.data, positions, lengths)
    offsets = sums(lengths)
    data, cursors = np.empty(offsets[-1], np.uint8), offsets[:-1].copy()
    for component, positions in zip(components, taken, strict=True):
        write_taken(component.offsets, component.data, positions, cursors, data)
    return Keys(offsets=offsets, data=data)


def _check_length(keys: Keys, codes: Codes) -> None:
    lengths = np.diff(keys.offsets)
    if not len(lengths) or lengths.max() <= MAX_KEY:
        return
    is_long = np.append(lengths > MAX_KEY, False)
    row = int(np.argmax(is_long[codes]))
    raise InvalidDataError(
        f"row {row}: the key has {lengths[codes[row]]} bytes once encoded, at most {MAX_KEY} fit", hint="use a shorter key, or a hash of it"
    )


def decode_keys(spec: KeySpec, keys: Keys) -> list[pa.Array]:
    """The key columns back, one value a key."""
    if keys.kind != spec.kind:
        raise CorruptionError(f"keys of kind {keys.kind} where {spec.kind} was expected", hint="restore a backup")
    if spec.kind == "int":
        return [_column_of_ints(dtype.arrow, keys.ints) for dtype in spec.dtypes]
    cursors, ends = keys.offsets[:-1].copy(), np.ascontiguousarray(keys.offsets[1:])
    columns = []
    for dtype in spec.dtypes:
        if is_text(dtype.arrow):
            columns.append(_decode_texts(dtype.arrow, keys.data, ends, cursors))
        else:
            values = np.empty(len(keys), np.int64)
            _check_whole(read_ints(keys.data, ends, cursors, values))
            columns.append(_column_of_ints(dtype.arrow, values))
    if not np.array_equal(cursors, ends):
        _check_whole(int(np.argmax(cursors != ends)))
    return columns


def component_ends(spec: KeySpec, keys: Keys, components: int) -> Ints:
    """Where the first so many components of each key end in `keys.data`."""
    cursors, ends = keys.offsets[:-1].copy(), np.ascontiguousarray(keys.offsets[1:])
    for dtype in spec.dtypes[:components]:
        if not is_text(dtype.arrow):
            cursors += 8
            continue
        lengths = np.empty(len(ends), np.int64)
        _check_whole(measure_unescaped(keys.data, ends, cursors, lengths))
        offsets = sums(lengths)
        write_unescaped(keys.data, cursors, offsets, np.empty(offsets[-1], np.uint8))
    return cursors


def _decode_texts(arrow: pa.DataType, data: Bytes, ends: Ints, cursors: Ints) -> pa.Array:
    lengths = np.empty(len(ends), np.int64)
    _check_whole(measure_unescaped(data, ends, cursors, lengths))
    offsets = sums(lengths)
    texts = np.empty(offsets[-1], np.uint8)
    write_unescaped(data, cursors, offsets, texts)
    column = pa.Array.from_buffers(pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(texts)])
    return _cast(column, arrow)


def _column_of_ints(arrow: pa.DataType, values: Ints) -> pa.Array:
    if pa.types.is_uint64(arrow):
        return pa.array(values.view(np.uint64) ^ np.uint64(SIGN))
    column = pa.array(values)
    return _cast(column.cast(pa.int32()) if pa.types.is_date32(arrow) else column, arrow)


def _cast(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    try:
        return column.cast(arrow)
    except pa.ArrowInvalid as error:
        raise CorruptionError(f"a stored key is no {arrow}: {error}", hint="restore a backup") from error


def _check_whole(bad: int) -> None:
    if bad >= 0:
        raise CorruptionError(f"stored key {bad} is cut short or badly escaped", hint="restore a backup")
