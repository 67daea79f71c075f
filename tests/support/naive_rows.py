"""The row codec in plain Python: one value at a time, with struct. Written from the format's description, not from the kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa

from mlstore.schema.dtypes import DType

Field = tuple[str, DType]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMATS = {
    "int8": "<b",
    "int16": "<h",
    "int32": "<i",
    "int64": "<q",
    "uint8": "<B",
    "uint16": "<H",
    "uint32": "<I",
    "uint64": "<Q",
    "float": "<f",
    "double": "<d",
    "date32[day]": "<i",
}
TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Malformed(Exception):
    """The bytes are no row of this schema."""


@dataclass
class NaiveRow:
    event_time: int
    created: int
    seq: int
    slots: list[bytes | None]  # the bytes of each value, None for null


def encode_row(revision: int, fields: Sequence[Field], times: tuple[int, int, int], scalars: Sequence[pa.Scalar]) -> bytes:
    validity = bytearray((len(fields) + 7) // 8)
    fixed, variable = bytearray(), bytearray()
    for number, ((_, dtype), scalar) in enumerate(zip(fields, scalars, strict=True)):
        width = slot_width(dtype)
        if not scalar.is_valid:
            fixed += bytes(width)
            continue
        validity[number // 8] |= 1 << (number % 8)
        value = value_bytes(dtype, scalar)
        if is_variable(dtype):
            variable += value
            value = struct.pack("<I", len(variable))
        assert len(value) == width
        fixed += value
    return struct.pack("<Hqqq", revision, *times) + bytes(validity) + bytes(fixed) + bytes(variable)


def decode_row(revision: int, fields: Sequence[Field], row: bytes) -> NaiveRow:
    """The values of a row; raises Malformed exactly when a reader must refuse its layout."""
    fixed_start = 26 + (len(fields) + 7) // 8
    variable_start = fixed_start + sum(slot_width(dtype) for _, dtype in fields)
    if len(row) < variable_start:
        raise Malformed("short")
    found_revision, event_time, created, seq = struct.unpack_from("<Hqqq", row)
    if found_revision != revision:
        raise Malformed("revision")
    variable = row[variable_start:]
    slots: list[bytes | None] = []
    at, begin = fixed_start, 0
    for number, (_, dtype) in enumerate(fields):
        slot = row[at : at + slot_width(dtype)]
        at += len(slot)
        if not row[26 + number // 8] >> (number % 8) & 1:
            slots.append(None)
        elif is_variable(dtype):
            end = struct.unpack("<I", slot)[0]
            if not begin <= end <= len(variable):
                raise Malformed("end")
            slots.append(variable[begin:end])
            begin = end
        else:
            slots.append(slot)
    if begin != len(variable):
        raise Malformed("length")
    return NaiveRow(event_time, created, seq, slots)


def is_variable(dtype: DType) -> bool:
    kind = dtype.arrow
    return pa.types.is_string(kind) or pa.types.is_binary(kind) or (pa.types.is_nested(kind) and not pa.types.is_fixed_size_list(kind))


def slot_width(dtype: DType) -> int:
    kind = dtype.arrow
    if is_variable(dtype):
        return 4
    if pa.types.is_boolean(kind):
        return 1
    if pa.types.is_decimal128(kind):
        return 16
    if pa.types.is_timestamp(kind):
        return 8
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * struct.calcsize(FORMATS[str(kind.value_type)])
    return struct.calcsize(FORMATS[str(kind)])


def value_bytes(dtype: DType, scalar: pa.Scalar) -> bytes:
    """The bytes of one value that is not null."""
    kind, stored = dtype.arrow, stored_value(scalar)
    if pa.types.is_boolean(kind):
        return b"\x01" if stored else b"\x00"
    if pa.types.is_string(kind):
        return bytes(stored.encode())
    if pa.types.is_binary(kind) or pa.types.is_decimal128(kind):
        return bytes(stored)
    if pa.types.is_timestamp(kind):
        return struct.pack("<q", stored)
    if pa.types.is_fixed_size_list(kind):
        return b"".join(struct.pack(FORMATS[str(kind.value_type)], item) for item in stored)
    if pa.types.is_nested(kind):
        return bytes(msgpack.packb(stored))
    return struct.pack(FORMATS[str(kind)], stored)


def stored_value(scalar: pa.Scalar) -> Any:
    """What msgpack is given for a value."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        return scalar.value
    if pa.types.is_decimal128(kind):
        sign, digits, _ = scalar.as_py().as_tuple()
        unscaled = int("".join(map(str, digits)))
        return (-unscaled if sign else unscaled).to_bytes(16, "little", signed=True)
    if pa.types.is_struct(kind):
        return [stored_value(scalar[number]) for number in range(kind.num_fields)]
    if pa.types.is_nested(kind):
        return [stored_value(item) for item in scalar.values]
    return scalar.as_py()


def python_value(scalar: pa.Scalar) -> Any:
    """What a user gets for one value."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(kind):
        return python_instant(scalar.value, kind.unit)
    if pa.types.is_date32(kind):
        days = scalar.value
        return date.fromordinal(days + 719163) if 0 < days + 719163 <= date.max.toordinal() else np.datetime64(days, "D")
    if pa.types.is_struct(kind):
        return {kind.field(number).name: python_value(scalar[number]) for number in range(kind.num_fields)}
    if pa.types.is_map(kind):
        return [(python_value(entry[0]), python_value(entry[1])) for entry in scalar.values]
    if pa.types.is_nested(kind):
        return [python_value(item) for item in scalar.values]
    return scalar.as_py()


def python_instant(value: int, unit: str) -> datetime | np.datetime64:
    micros, rest = divmod(value * 10**6, TICKS_PER_SECOND[unit])
    if rest:
        return np.datetime64(value, "ns")
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return np.datetime64(value, unit)
