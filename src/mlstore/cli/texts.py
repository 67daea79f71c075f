"""Texts to typed columns: what CSV and JSON lines write as text becomes the type the store declares.

Times are ISO 8601, naive means UTC. Binary is base64. A value that does not fit is an error that names place, column and row.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import mlstore as ml

HAS_ZONE = r"[T ][^T ]*([Zz]|[+-]\d{2}(:?\d{2})?)$"
DATE_LENGTH = 10

EXAMPLES = (
    (pa.types.is_timestamp, "2013-01-01T10:00:00Z"),
    (pa.types.is_date, "2013-01-01"),
    (pa.types.is_boolean, "true"),
    (pa.types.is_integer, "42"),
    (pa.types.is_floating, "1.5"),
    (pa.types.is_decimal, "9.99"),
    (pa.types.is_binary, '"YWJj" (base64)'),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a column comes from, for errors: the source, and the number of each row or line."""

    source: str
    column: str
    numbers: Sequence[int]
    unit: str = "row"

    def refuse(self, offset: int, value: object, dtype: pa.DataType) -> ml.InvalidDataError:
        example = next((f", for instance {text}" for fits, text in EXAMPLES if fits(dtype)), "")
        return ml.InvalidDataError(
            f"{self.source}: {self.unit} {self.numbers[offset]}, column {self.column!r}: {value!r:.60} is no {dtype}",
            hint=f"write it as the definition says{example}, or change the definition",
        )


def cast_texts(texts: pa.Array, dtype: pa.DataType, place: Place) -> pa.Array:
    """Texts of a CSV column as `dtype`; nested values are JSON."""
    if pa.types.is_string(dtype):
        return texts
    if pa.types.is_timestamp(dtype):
        return _cast_vector(_complete_times(texts, dtype), texts, dtype, place)
    if pa.types.is_binary(dtype):
        return revive_values(texts.to_pylist(), dtype, place)
    if pa.types.is_nested(dtype):
        return revive_values(_parse_json(texts, dtype, place), dtype, place)
    return _cast_vector(texts, texts, dtype, place)


def revive_values(values: Sequence[Any], dtype: pa.DataType, place: Place) -> pa.Array:
    """Values as JSON holds them, as an array of `dtype`."""
    if pa.types.is_timestamp(dtype) and all(value is None or isinstance(value, str) for value in values):
        return cast_texts(pa.array(values, pa.string()), dtype, place)  # a datetime would lose nanoseconds
    revive = _reviver(dtype)
    revived = []
    for offset, value in enumerate(values):
        try:
            revived.append(None if value is None else revive(value))
        except (ValueError, TypeError, OverflowError, InvalidOperation) as error:
            raise place.refuse(offset, value, dtype) from error
    try:
        return pa.array(revived, dtype)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        offset = _first_misfit(revived, dtype)
        raise place.refuse(offset, values[offset], dtype) from error


def parse_time(text: str, *, what: str) -> datetime:
    """A moment as a person writes it: ISO 8601, UTC unless it names a zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ml.InvalidDataError(
            f"{what}: {text!r} is no time", hint="ISO 8601, UTC unless it has a zone: 2013-01-01T10:00:00Z"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_value(text: str, dtype: pa.DataType, *, what: str) -> Any:
    """One word of the command line as a value of `dtype`."""
    try:
        return cast_texts(pa.array([text], pa.string()), dtype, Place(what, "", [1]))[0].as_py()
    except ml.InvalidDataError as error:
        example = next((f"for instance {example}" for fits, example in EXAMPLES if fits(dtype)), "")
        raise ml.InvalidDataError(f"{what}: {text!r} is no {dtype}", hint=example) from error


def _complete_times(texts: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Every text with the zone its type calls for: naive means UTC."""
    if dtype.tz is None:
        return texts
    whole = pc.if_else(pc.equal(pc.utf8_length(texts), DATE_LENGTH), pc.binary_join_element_wise(texts, "T00:00", ""), texts)
    zoned = pc.match_substring_regex(whole, HAS_ZONE)
    return pc.if_else(zoned, whole, pc.binary_join_element_wise(whole, "Z", ""))


def _cast_vector(prepared: pa.Array, texts: pa.Array, dtype: pa.DataType, place: Place) -> pa.Array:
    try:
        return pc.cast(prepared, dtype)
    except pa.ArrowInvalid as error:
        offset = _first_bad_cast(prepared, dtype)
        raise place.refuse(offset, texts[offset].as_py(), dtype) from error


def _first_bad_cast(texts: pa.Array, dtype: pa.DataType) -> int:
    """Halve until one is left: the first half that does not cast holds the first bad text."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(texts.slice(low, middle - low), dtype)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def _first_misfit(values: Sequence[Any], dtype: pa.DataType) -> int:
    for offset, value in enumerate(values):
        try:
            pa.array([value], dtype)
        except (pa.ArrowException, TypeError, OverflowError):
            return offset
    raise AssertionError("every value fits alone, yet not together")


def _parse_json(texts: pa.Array, dtype: pa.DataType, place: Place) -> list[Any]:
    values = []
    for offset, text in enumerate(texts.to_pylist()):
        try:
            values.append(None if text is None else json.loads(text))
        except ValueError as error:
            raise place.refuse(offset, text, dtype) from error
    return values


def _reviver(dtype: pa.DataType) -> Callable[[Any], Any]:
    """The function that turns a JSON value into what pyarrow takes for `dtype`; it raises ValueError or TypeError."""
    for fits, revive in _SCALARS:
        if fits(dtype):
            return revive
    if pa.types.is_map(dtype):
        return _map_reviver(dtype)
    if pa.types.is_struct(dtype):
        return _struct_reviver(dtype)
    if pa.types.is_list(dtype) or pa.types.is_fixed_size_list(dtype):
        item = _reviver(dtype.value_type)
        return lambda values: [None if value is None else item(value) for value in _expect(values, list)]
    return lambda value: value


def _struct_reviver(dtype: pa.DataType) -> Callable[[Any], Any]:
    fields = {field.name: _reviver(field.type) for field in dtype}

    def revive(value: Any) -> dict[str, Any]:
        unknown = [name for name in _expect(value, dict) if name not in fields]
        if unknown:
            raise ValueError(f"unknown field {unknown[0]}")
        return {name: None if part is None else fields[name](part) for name, part in value.items()}

    return revive


def _map_reviver(dtype: pa.DataType) -> Callable[[Any], Any]:
    key, item = _reviver(dtype.key_type), _reviver(dtype.item_type)

    def revive(value: Any) -> list[tuple[Any, Any]]:
        pairs = value.items() if isinstance(value, dict) else _expect(value, list)
        return [(key(name), None if part is None else item(part)) for name, part in pairs]

    return revive


def _revive_integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _expect_number(value, int)  # type: ignore[no-any-return]


def _revive_float(value: Any) -> float:
    # JSON has no NaN and no infinity: they travel as texts.
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return float(_expect_number(value, int | float))


def _revive_decimal(value: Any) -> Decimal:
    return Decimal(value if isinstance(value, str) else repr(_expect_number(value, int | float)))


def _revive_time(value: Any) -> datetime:
    moment = datetime.fromisoformat(_expect(value, str))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _expect_number(value: Any, kinds: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError("true and false are no numbers")
    return _expect(value, kinds)


def _expect(value: Any, kinds: Any) -> Any:
    if not isinstance(value, kinds):
        raise TypeError(f"{type(value).__name__} is not what was declared")
    return value


_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any]], ...] = (
    (pa.types.is_boolean, lambda value: _expect(value, bool)),
    (pa.types.is_integer, _revive_integer),
    (pa.types.is_floating, _revive_float),
    (pa.types.is_decimal, _revive_decimal),
    (pa.types.is_string, lambda value: _expect(value, str)),
    (pa.types.is_binary, lambda value: b64decode(_expect(value, str), validate=True)),
    (pa.types.is_date, lambda value: date.fromisoformat(_expect(value, str))),
    (pa.types.is_timestamp, _revive_time),
)
