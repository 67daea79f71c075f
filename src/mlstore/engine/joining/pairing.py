"""Pairing: the keys of two tables numbered alike, so that rows with equal keys, and only those, have one number.

The shorter side is numbered, the longer one looked up in it: what only the longer side has costs a look, not a place.
Equality is of values: widths of integers, units and zones of times, encodings and widths of texts, scales of decimals do not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore._core.ranks import combine_ranks
from mlstore.engine import limits
from mlstore.engine.parallel import in_parallel
from mlstore.errors import SchemaMismatchError
from mlstore.format.keys import ints_of, joined_values
from mlstore.format.ranks import MOST_COMBINED, finder_of, rank_ints
from mlstore.format.texts import find_column, number_column
from mlstore.schema.instants import TICK_NS

Codes = NDArray[np.int32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_SIGN = np.uint64(1 << 63)
_MOST_TICKS = 2**63 - 1
_FEW_DIGITS, _MOST_DIGITS = 38, 76  # of decimals of 128 and 256 bits


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """The group of each row of both sides, below `count`; -1: the key is null, or the other side has none like it."""

    left: Codes
    right: Codes
    count: int


@dataclass(frozen=True, slots=True)
class Named:
    """A column, and how messages call it."""

    name: str
    column: pa.ChunkedArray

    @property
    def arrow(self) -> pa.DataType:
        return self.column.type


def pair_keys(left: Sequence[Named], right: Sequence[Named], rows: tuple[int, int], *, nulls_equal: bool) -> Pairing:
    """Number the keys made of these columns, paired by position. rows: those of both tables."""
    if not left:
        return Pairing(np.zeros(rows[0], np.int32), np.zeros(rows[1], np.int32), 1)
    parts = [part for one, other in zip(left, right, strict=True) for part in _parts(_plain(one), _plain(other))]
    pairs = [_pair_column(one, other, nulls_equal=nulls_equal) for one, other in parts]
    paired = pairs[0]
    if len(pairs) == 1:
        return paired
    combined, size = (paired.left.astype(np.int64), paired.right.astype(np.int64)), paired.count
    for part in pairs[1:]:
        if size * part.count > MOST_COMBINED:
            dense = _pair_ints(*combined)
            combined, size = (dense.left.astype(np.int64), dense.right.astype(np.int64)), dense.count
        combine_ranks(combined[0], part.left, part.count)
        combine_ranks(combined[1], part.right, part.count)
        size *= part.count
    return _pair_ints(combined[0], combined[1], combined[0] >= 0, combined[1] >= 0)


def family_of(arrow: pa.DataType) -> str:
    """What values of a type are; those of one family can be compared."""
    is_type = pa.types
    if is_type.is_dictionary(arrow) or is_type.is_run_end_encoded(arrow):
        return family_of(arrow.value_type)
    for family, belongs in _FAMILIES.items():
        if belongs(arrow):
            return family
    return str(arrow)


def tick_ns(arrow: pa.DataType) -> int:
    """Nanoseconds of one count of a temporal type; 1 for other types."""
    if pa.types.is_date32(arrow):
        return TICK_NS["D"]
    if pa.types.is_date64(arrow):
        return TICK_NS["ms"]
    return TICK_NS[arrow.unit] if pa.types.is_temporal(arrow) else 1


def _is_bytes(arrow: pa.DataType) -> bool:
    is_type = pa.types
    return bool(
        is_type.is_binary(arrow) or is_type.is_large_binary(arrow) or is_type.is_binary_view(arrow) or is_type.is_fixed_size_binary(arrow)
    )


def _is_text(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow))


_FAMILIES: dict[str, Callable[[pa.DataType], bool]] = {
    "nulls": pa.types.is_null,
    "booleans": pa.types.is_boolean,
    "integers": pa.types.is_integer,
    "floats": pa.types.is_floating,
    "decimals": pa.types.is_decimal,
    "texts": _is_text,
    "bytes": _is_bytes,
    "instants": lambda arrow: bool(pa.types.is_timestamp(arrow) or pa.types.is_date(arrow)),
    "durations": pa.types.is_duration,
    "times of day": pa.types.is_time,
    "structs": pa.types.is_struct,
}


def spell_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A run-end encoded column row by row, which Arrow does not cast to; any other as it is."""
    if not pa.types.is_run_end_encoded(column.type):
        return column
    return pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)


def _plain(named: Named) -> Named:
    """Without wrapping: extension types as what they are stored as, runs spelled out, dictionaries that hold nulls too."""
    column = named.column
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    column = spell_out(column)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        if column.num_chunks and column.chunk(0).dictionary.null_count:
            column = column.cast(column.type.value_type)
    return Named(named.name, column)


def _parts(left: Named, right: Named) -> list[tuple[Named, Named]]:
    """Structs field by field, matched by name; everything else as it is."""
    families = family_of(left.arrow), family_of(right.arrow)
    if families[0] != families[1] and "nulls" not in families:
        message = f"keys of unlike types: {left.name} is {left.arrow}, {right.name} is {right.arrow}"
        raise SchemaMismatchError(message, hint="cast one of the columns to the type of the other")
    if "structs" not in families or "nulls" in families:
        return [(left, right)]
    fields = [part.name for part in left.arrow]
    if sorted(fields) != sorted(part.name for part in right.arrow) or len(set(fields)) < len(fields) or not fields:
        message = f"keys of unlike structs: {left.name} is {left.arrow}, {right.name} is {right.arrow}"
        raise SchemaMismatchError(message, hint="give both the same fields, or name the fields as keys of their own")
    flat = [dict(zip([part.name for part in side.arrow], side.column.flatten(), strict=True)) for side in (left, right)]
    pairs = [(Named(f"{left.name}.{name}", flat[0][name]), Named(f"{right.name}.{name}", flat[1][name])) for name in fields]
    return [part for one, other in pairs for part in _parts(_plain(one), _plain(other))]


def _pair_column(left: Named, right: Named, *, nulls_equal: bool) -> Pairing:
    (left_values, left_index), (right_values, right_index) = _values_of(left), _values_of(right)
    paired = _pair_values(left_values, right_values)
    codes, other_codes, count = _decoded(paired.left, left_index), _decoded(paired.right, right_index), paired.count
    if nulls_equal and left.column.null_count and right.column.null_count:
        for side, numbers in ((left, codes), (right, other_codes)):
            numbers[joined_values(side.column.is_null())] = count
        count += 1
    return Pairing(codes, other_codes, count)


def _values_of(named: Named) -> tuple[Named, Ints | None]:
    """(values, index into them of each row, -1: a null) of a dictionary column; (the column, None) of any other."""
    column = named.column
    if not pa.types.is_dictionary(column.type):
        return named, None
    if not column.num_chunks:
        return Named(named.name, pa.chunked_array([], column.type.value_type)), np.empty(0, np.int64)
    index = pa.chunked_array([chunk.indices.cast(pa.int64()) for chunk in column.chunks]).fill_null(-1)
    return _plain(Named(named.name, pa.chunked_array([column.chunk(0).dictionary]))), joined_values(index)


def _decoded(codes: Codes, index: Ints | None) -> Codes:
    return codes if index is None else np.append(codes, np.int32(-1))[index]


def _pair_values(left: Named, right: Named) -> Pairing:
    families = {family_of(left.arrow), family_of(right.arrow)}
    family = families.pop()
    if families:  # nulls only on one side: nothing is equal
        return Pairing(np.full(len(left.column), -1, np.int32), np.full(len(right.column), -1, np.int32), 0)
    if family in ("texts", "bytes"):
        return _pair_texts(left.column, right.column)
    if family == "decimals":
        return _pair_texts(*_decimal_bytes(left, right))
    if family == "floats":
        return _pair_ints(_float_bits(left.column), _float_bits(right.column), _valid(left.column), _valid(right.column))
    if family in ("integers", "booleans", "instants", "durations", "times of day"):
        one, one_valid = _counts(left.column, right.arrow)
        other, other_valid = _counts(right.column, left.arrow)
        return _pair_ints(one, other, one_valid, other_valid)
    if family == "nulls":
        return Pairing(np.full(len(left.column), -1, np.int32), np.full(len(right.column), -1, np.int32), 0)
    raise SchemaMismatchError(
        f"{left.name}: {left.arrow} cannot be a key", hint="make keys of numbers, texts, bytes, times or structs of these"
    )


def _valid(column: pa.ChunkedArray) -> Mask | None:
    return joined_values(column.is_valid()) if column.null_count else None


def _counts(column: pa.ChunkedArray, other: pa.DataType) -> tuple[Ints, Mask | None]:
    """Integers, in the finer unit of the two types; not valid where null and where no value of the other type can be equal."""
    ints, valid = ints_of(column), _valid(column)
    if pa.types.is_uint64(column.type):
        ints = (ints.view(np.uint64) ^ _SIGN).view(np.int64)
    if pa.types.is_uint64(column.type) != pa.types.is_uint64(other):
        # Beyond 63 bits, or below zero, one side stands alone.
        valid = ints >= 0 if valid is None else valid & (ints >= 0)
    factor = tick_ns(column.type) // tick_ns(other)
    if factor > 1:
        fits = np.abs(np.maximum(ints, -_MOST_TICKS)) <= _MOST_TICKS // factor
        ints, valid = ints * np.int64(factor), fits if valid is None else valid & fits
    return ints, valid


def _float_bits(column: pa.ChunkedArray) -> Ints:
    """Bits that are equal where the values are: one zero, one NaN."""
    values = joined_values(column.cast(pa.float64()).fill_null(0.0)) + 0.0
    values[np.isnan(values)] = np.nan
    return values.view(np.int64)


def _decimal_bytes(left: Named, right: Named) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Decimals at one scale, as the bytes that hold them."""
    types = left.arrow, right.arrow
    scale = max(arrow.scale for arrow in types)
    digits = max(arrow.precision - arrow.scale for arrow in types) + scale
    if digits > _MOST_DIGITS:
        message = f"keys of unlike decimals: {left.name} is {left.arrow}, {right.name} is {right.arrow}"
        raise SchemaMismatchError(message, hint="cast one of the columns to the type of the other")
    common = pa.decimal128(digits, scale) if digits <= _FEW_DIGITS else pa.decimal256(digits, scale)
    width = common.bit_width // 8
    sides = [named.column.cast(common) for named in (left, right)]
    one, other = [pa.chunked_array([chunk.view(pa.binary(width)) for chunk in side.chunks], pa.binary(width)) for side in sides]
    return one, other


def _pair_ints(left: Ints, right: Ints, left_valid: Mask | None = None, right_valid: Mask | None = None) -> Pairing:
    if len(left) > len(right):
        return _swapped(_pair_ints(right, left, right_valid, left_valid))
    uniques, codes = rank_ints(left, left_valid)
    find = finder_of(uniques)
    found = _in_parts(lambda begin, end: find(right[begin:end]), len(right))
    if right_valid is not None:
        found[~right_valid] = -1
    return Pairing(codes, found, len(uniques))


def _pair_texts(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Pairing:
    if len(left) > len(right):
        return _swapped(_pair_texts(right, left))
    known, codes = number_column(_one_array(left))
    whole = _one_array(right)
    if len(known) * limits.READ_THREADS > len(right):  # each part would build the table again
        return Pairing(codes, find_column(known, whole), len(known))
    return Pairing(codes, _in_parts(lambda begin, end: find_column(known, whole[begin:end]), len(whole)), len(known))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    wide = column.cast(pa.large_binary())
    return wide.chunk(0) if wide.num_chunks == 1 else pa.concat_arrays(wide.chunks) if wide.num_chunks else pa.array([], pa.large_binary())


def _swapped(pairing: Pairing) -> Pairing:
    return Pairing(pairing.right, pairing.left, pairing.count)


def _in_parts(find: Callable[[int, int], Codes], rows: int) -> Codes:
    """find(begin, end) of the whole, by several threads if it is long."""
    if rows < limits.PARALLEL_ROWS:
        return find(0, rows)
    cuts = np.linspace(0, rows, limits.READ_THREADS + 1).astype(int).tolist()
    parts = in_parallel([partial(find, begin, end) for begin, end in pairwise(cuts)], rows)
    return np.concatenate(parts)
