"""The closed list of types a column can have, each with its Arrow type and its canonical text.

Invariant: text, type and Arrow type name each other: `parse_dtype(d.spec) == d == dtype_of(d.arrow)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from mlstore.errors import DefinitionError, SchemaMismatchError

Kind = Literal["fixed", "bool", "varlen", "nested"]

CLOSED_LIST = (
    "the types are bool_, int8 to int64, uint8 to uint64, float32, float64, string, binary, date, timestamp(), "
    "decimal(p, s), list_(T), vector(n), struct({name: T}) and map_(K, V)"
)
MAX_PRECISION = 38
MAX_VECTOR = 1 << 20
MAX_DEPTH = 32
_DECIMAL = "decimal(10, 2) holds 12345678.90"
TIME_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True, repr=False)
class DType:
    """A column type: `spec` is its canonical text, `arrow` the Arrow type that columns of it have."""

    spec: str
    arrow: pa.DataType = field(compare=False)

    def __str__(self) -> str:
        return self.spec

    __repr__ = __str__

    @property
    def kind(self) -> Kind:
        """How a value is packed into a row: at a fixed width, as a bit, as a run of bytes, or encoded."""
        if pa.types.is_boolean(self.arrow):
            return "bool"
        if pa.types.is_string(self.arrow) or pa.types.is_binary(self.arrow):
            return "varlen"
        if pa.types.is_list(self.arrow) or pa.types.is_struct(self.arrow) or pa.types.is_map(self.arrow):
            return "nested"
        return "fixed"

    @property
    def width(self) -> int:
        """Bytes of one value; 0 if it varies."""
        if pa.types.is_boolean(self.arrow):
            return 1
        if pa.types.is_fixed_size_list(self.arrow):
            return int(self.arrow.list_size) * (int(self.arrow.value_type.bit_width) // 8)
        return int(self.arrow.bit_width) // 8 if self.kind == "fixed" else 0

    @property
    def is_key(self) -> bool:
        """Whether a column of this type can be part of a key: its values have an order and exact equality."""
        found = self.arrow
        exact = pa.types.is_integer(found) or pa.types.is_boolean(found) or pa.types.is_date(found) or pa.types.is_timestamp(found)
        return exact or self.kind == "varlen"

    @property
    def parts(self) -> tuple[tuple[str, DType], ...]:
        """The types inside a nested type or a vector, by name; empty for a plain type."""
        found = self.arrow
        if pa.types.is_struct(found):
            return tuple((part.name, dtype_of(part.type)) for part in found)
        if pa.types.is_map(found):
            return ("key", dtype_of(found.key_type)), ("value", dtype_of(found.item_type))
        if pa.types.is_list(found) or pa.types.is_fixed_size_list(found):
            return (("item", dtype_of(found.value_type)),)
        return ()


bool_ = DType("bool", pa.bool_())
int8 = DType("int8", pa.int8())
int16 = DType("int16", pa.int16())
int32 = DType("int32", pa.int32())
int64 = DType("int64", pa.int64())
uint8 = DType("uint8", pa.uint8())
uint16 = DType("uint16", pa.uint16())
uint32 = DType("uint32", pa.uint32())
uint64 = DType("uint64", pa.uint64())
float32 = DType("float32", pa.float32())
float64 = DType("float64", pa.float64())
string = DType("string", pa.string())
binary = DType("binary", pa.binary())
date = DType("date", pa.date32())

_PLAIN = {
    dtype.spec: dtype for dtype in (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, string, binary, date)
}
_PLAIN_BY_ARROW = {dtype.arrow: dtype for dtype in _PLAIN.values()}


def timestamp(unit: str = "us") -> DType:
    """An instant, UTC, counted in `unit` since 1970: "s", "ms", "us" or "ns"."""
    if unit not in TIME_UNITS:
        raise DefinitionError(f"timestamp({unit!r}): no such unit", hint="the units are 's', 'ms', 'us' and 'ns'")
    return DType(f"timestamp[{unit}]", pa.timestamp(unit, "UTC"))


def decimal(precision: int, scale: int = 0) -> DType:
    """An exact decimal number of `precision` digits, `scale` of them after the point."""
    if not _is_count(precision) or not 1 <= precision <= MAX_PRECISION:
        raise DefinitionError(
            f"decimal({precision!r}, {scale!r}): the precision is not a whole number from 1 to {MAX_PRECISION}", hint=_DECIMAL
        )
    if not _is_count(scale) or scale > precision:
        raise DefinitionError(f"decimal({precision!r}, {scale!r}): the scale is not a whole number from 0 to the precision", hint=_DECIMAL)
    return DType(f"decimal({precision}, {scale})", pa.decimal128(precision, scale))


def list_(item: DType) -> DType:
    """Any number of values of one type."""
    _check_part(item, "list_")
    return DType(f"list<{item.spec}>", pa.list_(item.arrow))


def vector(n: int, dtype: DType = float32) -> DType:
    """Exactly `n` floats, such as an embedding; stored flat, read without copying."""
    if not _is_count(n) or n < 1:
        raise DefinitionError(f"vector({n!r}): the length is not a whole number from 1 on", hint="use list_(T) where lengths vary")
    if n > MAX_VECTOR:
        raise DefinitionError(f"vector({n}): longer than {MAX_VECTOR}", hint="cut it into several, or store it as binary")
    if dtype not in (float32, float64):
        raise DefinitionError(f"vector({n}, {dtype!r}): a vector holds float32 or float64", hint="use list_(T) for other types")
    return DType(f"vector<{dtype.spec}, {n}>", pa.list_(dtype.arrow, n))


def struct(fields: Mapping[str, DType]) -> DType:
    """A fixed set of named values."""
    if not isinstance(fields, Mapping) or not fields:
        raise DefinitionError(f"struct({fields!r}): not a struct", hint="give at least one field, as {name: type}")
    for name, part in fields.items():
        if not isinstance(name, str) or not name:
            raise DefinitionError(f"struct: {name!r} is no field name", hint="names are text, and not empty")
        _check_part(part, f"struct field {name!r}")
    inside = ", ".join(f"{_quote(name)}: {part.spec}" for name, part in fields.items())
    return DType(f"struct<{inside}>", pa.struct([(name, part.arrow) for name, part in fields.items()]))


def map_(key: DType, value: DType) -> DType:
    """Any number of values by key; the keys are of a type that entities could have."""
    _check_part(key, "map_ key")
    _check_part(value, "map_ value")
    if not key.is_key:
        raise DefinitionError(
            f"map_({key}, {value}): {key} cannot be a key", hint="use an integer, string, binary, bool, date or timestamp"
        )
    return DType(f"map<{key.spec}, {value.spec}>", pa.map_(key.arrow, value.arrow))


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _check_part(part: object, place: str) -> None:
    if not isinstance(part, DType):
        raise DefinitionError(f"{place}: {part!r} is not a type", hint=CLOSED_LIST)
    if _depth(part.arrow) >= MAX_DEPTH:
        raise DefinitionError(f"{place}: types within types, more than {MAX_DEPTH} deep", hint="flatten it")


def _depth(arrow: pa.DataType) -> int:
    return 1 + max((_depth(arrow.field(place).type) for place in range(arrow.num_fields)), default=0)


# ---------------------------------------------------------------- text

_BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORD = re.compile(r"[a-z]+[0-9]*")
_NUMBER = re.compile(r"[0-9]+")


def _quote(name: str) -> str:
    return name if _BARE_NAME.fullmatch(name) else json.dumps(name)


def parse_dtype(spec: str) -> DType:
    """The type that a canonical text names; spaces make no difference."""
    text = _Text(spec)
    dtype = text.dtype()
    text.end()
    return dtype


class _Text:
    """A type's text, read from left to right."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.at = 0
        self.depth = 0

    def dtype(self) -> DType:
        word = self.match(_WORD)
        if word in _PLAIN:
            return _PLAIN[word]
        readers: dict[str, Callable[[], DType]] = {
            "timestamp": self.timestamp,
            "decimal": self.decimal,
            "list": self.list,
            "vector": self.vector,
            "struct": self.struct,
            "map": self.map,
        }
        if word not in readers or self.depth > MAX_DEPTH:
            raise self.error()
        self.depth += 1
        dtype = readers[word]()
        self.depth -= 1
        return dtype

    def timestamp(self) -> DType:
        self.take("[")
        unit = self.match(_WORD)
        self.take("]")
        return timestamp(unit)

    def decimal(self) -> DType:
        self.take("(")
        precision = self.match(_NUMBER)
        self.take(",")
        scale = self.match(_NUMBER)
        self.take(")")
        return decimal(int(precision), int(scale))

    def list(self) -> DType:
        self.take("<")
        item = self.dtype()
        self.take(">")
        return list_(item)

    def vector(self) -> DType:
        self.take("<")
        item = self.dtype()
        self.take(",")
        length = self.match(_NUMBER)
        self.take(">")
        return vector(int(length), item)

    def struct(self) -> DType:
        fields: dict[str, DType] = {}
        self.take("<")
        while not fields or self.next_is(","):
            name = self.name()
            self.take(":")
            if name in fields:
                raise self.error()
            fields[name] = self.dtype()
        self.take(">")
        return struct(fields)

    def map(self) -> DType:
        self.take("<")
        key = self.dtype()
        self.take(",")
        value = self.dtype()
        self.take(">")
        return map_(key, value)

    def name(self) -> str:
        self.skip_spaces()
        if not self.spec.startswith('"', self.at):
            return self.match(_BARE_NAME)
        try:
            name, self.at = json.JSONDecoder().raw_decode(self.spec, self.at)
        except json.JSONDecodeError as cause:
            raise self.error() from cause
        return str(name)

    def match(self, pattern: re.Pattern[str]) -> str:
        self.skip_spaces()
        found = pattern.match(self.spec, self.at)
        if found is None:
            raise self.error()
        self.at = found.end()
        return found[0]

    def next_is(self, mark: str) -> bool:
        self.skip_spaces()
        if not self.spec.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def take(self, mark: str) -> None:
        if not self.next_is(mark):
            raise self.error()

    def end(self) -> None:
        self.skip_spaces()
        if self.at != len(self.spec):
            raise self.error()

    def skip_spaces(self) -> None:
        while self.spec.startswith(" ", self.at):
            self.at += 1

    def error(self) -> DefinitionError:
        return DefinitionError(f"{self.spec!r} is not a type, from character {self.at + 1} on", hint=CLOSED_LIST)


# ---------------------------------------------------------------- Arrow


def dtype_of(arrow: pa.DataType) -> DType:
    """The type that holds the values of an Arrow type, whatever their encoding; SchemaMismatchError if there is none."""
    if arrow in _PLAIN_BY_ARROW:
        return _PLAIN_BY_ARROW[arrow]
    is_type = pa.types
    if is_type.is_timestamp(arrow):
        return timestamp(arrow.unit)
    if is_type.is_large_string(arrow) or is_type.is_string_view(arrow):
        return string
    if is_type.is_large_binary(arrow) or is_type.is_binary_view(arrow) or is_type.is_fixed_size_binary(arrow):
        return binary
    if is_type.is_dictionary(arrow) or is_type.is_run_end_encoded(arrow):
        return dtype_of(arrow.value_type)
    if isinstance(arrow, pa.BaseExtensionType):
        return dtype_of(arrow.storage_type)
    if is_type.is_decimal(arrow) and arrow.precision <= MAX_PRECISION and 0 <= arrow.scale <= arrow.precision:
        return decimal(arrow.precision, arrow.scale)
    if is_type.is_date64(arrow):
        return date
    if is_type.is_float16(arrow):
        return float32
    return _nested_dtype_of(arrow)


def _nested_dtype_of(arrow: pa.DataType) -> DType:
    is_type = pa.types
    if is_type.is_fixed_size_list(arrow) and arrow.list_size > 0 and is_type.is_floating(arrow.value_type):
        return vector(arrow.list_size, dtype_of(arrow.value_type))
    if is_type.is_fixed_size_list(arrow) or is_type.is_list(arrow) or is_type.is_large_list(arrow):
        return list_(dtype_of(arrow.value_type))
    if is_type.is_list_view(arrow) or is_type.is_large_list_view(arrow):
        return list_(dtype_of(arrow.value_type))
    if is_type.is_struct(arrow) and len({part.name for part in arrow}) == arrow.num_fields > 0:
        return struct({part.name: dtype_of(part.type) for part in arrow})
    if is_type.is_map(arrow) and dtype_of(arrow.key_type).is_key:
        return map_(dtype_of(arrow.key_type), dtype_of(arrow.item_type))
    raise SchemaMismatchError(f"no type holds the values of Arrow's {arrow}", hint=f"cast the column; {CLOSED_LIST}")


# ---------------------------------------------------------------- widening

_FLOATS = {float32, float64}
_WIDER: dict[DType, set[DType]] = {
    int8: {int16, int32, int64, *_FLOATS},
    int16: {int32, int64, *_FLOATS},
    int32: {int64, float64},
    uint8: {uint16, uint32, uint64, int16, int32, int64, *_FLOATS},
    uint16: {uint32, uint64, int32, int64, *_FLOATS},
    uint32: {uint64, int64, float64},
    float32: {float64},
}


def widens(old: DType, new: DType) -> bool:
    """Whether every value of `old` is a value of `new`, so that old rows can be read as `new` without loss."""
    return new in _WIDER.get(old, ())
