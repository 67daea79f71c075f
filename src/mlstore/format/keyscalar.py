"""Key scalars: one Python value becomes the bytes of its component of a key. The fast path of asking for a single key.

Strict: a value of another type than the column's is refused, never converted by guess; a time that would lose digits is refused too.
"""

import datetime
import operator
import reprlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from mlstore.errors import DefinitionError, InvalidDataError, SchemaMismatchError
from mlstore.format.keyvector import SIGN, encode_int
from mlstore.schema.dtypes import DType

# Never None: a null is told apart before a scalar gets here, except NaT, which is a null of its own type.
ScalarEncoder = Callable[[object], bytes | None]

NS_OF_UNIT = {
    "W": 7 * 86_400 * 10**9,
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=datetime.UTC)
EPOCH_ORDINAL = EPOCH.toordinal()


def is_integer_like(arrow: pa.DataType) -> bool:
    """Whether values of this type are integers inside: bool, any int, date, timestamp."""
    return bool(pa.types.is_boolean(arrow) or pa.types.is_integer(arrow) or pa.types.is_date32(arrow) or pa.types.is_timestamp(arrow))


def is_text(arrow: pa.DataType) -> bool:
    """Whether values of this type are bytes inside: string, binary."""
    return is_string(arrow) or bool(pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow))


def is_string(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))


def scalar_encoder(dtype: DType) -> ScalarEncoder:
    """The function that encodes one value of this type; a type that cannot be a key is a DefinitionError."""
    arrow, spec = dtype.arrow, str(dtype.spec)
    if pa.types.is_boolean(arrow):
        return partial(_encode_bool, spec)
    if pa.types.is_unsigned_integer(arrow):
        return partial(_encode_integer, spec, 0, 2**arrow.bit_width - 1, SIGN if arrow.bit_width == 64 else 0)
    if pa.types.is_integer(arrow):
        return partial(_encode_integer, spec, -(2 ** (arrow.bit_width - 1)), 2 ** (arrow.bit_width - 1) - 1, 0)
    if pa.types.is_date32(arrow):
        return partial(_encode_date, spec)
    if pa.types.is_timestamp(arrow):
        return partial(_encode_timestamp, spec, NS_OF_UNIT[arrow.unit])
    if is_string(arrow):
        return partial(_encode_string, spec)
    if is_text(arrow):
        return partial(_encode_binary, spec)
    raise DefinitionError(f"{spec} cannot be a key", hint="keys are ints, strings, binary, bool, date or timestamp")


def _mismatch(spec: str, value: object) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"key {reprlib.repr(value)}: expected {spec}, got {type(value).__name__}", hint=f"pass a value of type {spec}"
    )


def _encode_integer(spec: str, low: int, high: int, bias: int, value: object) -> bytes:
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise _mismatch(spec, value)
        try:
            value = operator.index(value)
        except TypeError:
            raise _mismatch(spec, value) from None
    if not low <= value <= high:
        raise InvalidDataError(f"key {value}: out of the range of {spec}", hint=f"{spec} holds {low} to {high}")
    return (value - bias + SIGN).to_bytes(8, "big")  # encode_int, without the call


def _encode_bool(spec: str, value: object) -> bytes:
    if not isinstance(value, (bool, np.bool_)):
        raise _mismatch(spec, value)
    return encode_int(int(value))


def _encode_string(spec: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise _mismatch(spec, value)
    try:
        return escape(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidDataError(f"key {value!r}: no valid text ({error.reason})", hint="mend the text, or use a binary key") from error


def _encode_binary(spec: str, value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _mismatch(spec, value)
    return escape(bytes(value))


def _encode_date(spec: str, value: object) -> bytes | None:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return encode_int(value.toordinal() - EPOCH_ORDINAL)
    if not isinstance(value, np.datetime64):
        raise _mismatch(spec, value)
    if np.isnat(value):
        return None
    return encode_int(_whole(spec, value, _ns_of_datetime64(spec, value), NS_OF_UNIT["D"], 32))


def _encode_timestamp(spec: str, ns_of_unit: int, value: object) -> bytes | None:
    if isinstance(value, datetime.datetime):
        # pandas.NaT calls itself a datetime, and differs from itself.
        if value != value:
            return None
        since = value - (EPOCH if value.tzinfo is None else EPOCH_UTC)
        # A pandas.Timestamp has nanoseconds besides; its difference may have them too, whole microseconds suffice here.
        ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000 + int(getattr(value, "nanosecond", 0))
    elif not isinstance(value, np.datetime64):
        raise _mismatch(spec, value)
    elif np.isnat(value):
        return None
    else:
        ns = _ns_of_datetime64(spec, value)
    return encode_int(_whole(spec, value, ns, ns_of_unit, 64))


def _ns_of_datetime64(spec: str, value: np.datetime64) -> int:
    unit, step = np.datetime_data(value.dtype)
    if unit in ("Y", "M"):
        value, unit, step = value.astype("datetime64[D]"), "D", 1
    if unit not in NS_OF_UNIT:
        raise InvalidDataError(f"key {value!r}: finer than {spec}", hint="round it to nanoseconds")
    return int(value.astype(np.int64)) * step * NS_OF_UNIT[unit]


def _whole(spec: str, value: object, ns: int, ns_of_unit: int, bits: int) -> int:
    """ns in the unit of the column, which must hold it exactly."""
    count, rest = divmod(ns, ns_of_unit)
    if rest:
        raise InvalidDataError(f"key {value!r}: has more digits than {spec} keeps", hint="round it first")
    if not -(1 << (bits - 1)) <= count < 1 << (bits - 1):
        raise InvalidDataError(f"key {value!r}: out of the range of {spec}", hint="use a coarser unit")
    return count


def escape(text: bytes) -> bytes:
    """Text as a component: 00 as 00 01, closed by 00 00."""
    return text.replace(b"\0", b"\0\1") + b"\0\0"
