"""Lists of Python values as Arrow arrays: of one kind each, exact, and with a clear word where they are not.

What an integer, a text or a time is to become is not decided here, with two exceptions: dicts become maps, and text beside
datetimes becomes times, where the declared type says so. A float NaN stays NaN; None, and pandas' NA and NaT, are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.dtypes import DType
from mlstore.schema.instants import check_zones_agree, has_zone, instant_ns
from mlstore.schema.places import Place

MISSING_NAMES = frozenset({"NAType", "NaTType"})
_NULL = "null"
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "bool"),
    ((int, np.integer), "int"),
    ((float, np.floating), "float"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((datetime, np.datetime64), "datetime"),
    (date, "date"),
    ((timedelta, np.timedelta64), "timedelta"),
    (Decimal, "decimal"),
    (Mapping, "dict"),
    ((list, tuple, np.ndarray), "list"),
)
# Kinds that may stand together in one column; the first that holds all of them is meant.
_TOGETHER = ({"int", "float"}, {"int", "decimal"}, {"datetime", "date"})
_TOGETHER_AS_TIME = {"datetime", "date", "text"}

SAFE_INT = 2**63

# What Arrow makes of columns of these types alone.
_PLAIN = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}


def array_of(values: Sequence[Any], place: Place, dtype: DType | None = None) -> pa.Array:
    """The values as an Arrow array of the type they have; `dtype` is the declared one, where it is known."""
    types = set(map(type, values))
    if len(types) == 1 and (plain := _PLAIN.get(*types)) is not None:
        return _plain_array(values, place, plain)
    if any(issubclass(found, pa.Scalar) for found in types):
        values = [value.as_py() if isinstance(value, pa.Scalar) and not pa.types.is_timestamp(value.type) else value for value in values]
        types = set(map(type, values))
    kind_of_type = {found: _kind_of(found) for found in types}
    kinds = set(kind_of_type.values()) - {_NULL}
    if len(kinds) < len(set(kind_of_type.values())):
        values = [None if kind_of_type[type(value)] == _NULL else value for value in values]
    is_time = dtype is not None and (pa.types.is_timestamp(dtype.arrow) or pa.types.is_date(dtype.arrow))
    if len(kinds) > 1 and not any(kinds <= known for known in _TOGETHER) and not (is_time and kinds <= _TOGETHER_AS_TIME):
        raise _mixed(values, kind_of_type, place, dtype)
    if "datetime" in kinds or (is_time and len(kinds) > 1):
        return _times(values, set(kind_of_type) - {type(None)}, place)
    if kinds == {"dict"} and dtype is not None and pa.types.is_map(dtype.arrow):
        return _converted([value if value is None else list(value.items()) for value in values], place, dtype.arrow)
    if kinds == {"int"} and max(values if _NULL not in kind_of_type.values() else filter(_is_given, values)) >= SAFE_INT:
        return _converted(values, place, pa.uint64())
    return _converted(values, place, None)


def _plain_array(values: Sequence[Any], place: Place, arrow: pa.DataType) -> pa.Array:
    # Told the type, Arrow need not look for it. It looks for pandas on the way, every time anew where that is not installed.
    try:
        return pa.array(values, arrow)
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return _converted(values, place, pa.uint64() if arrow == pa.int64() and max(values) >= SAFE_INT else None)


def is_scalar(value: Any) -> bool:
    """Whether a value stands for itself, rather than for a column of values."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0
    return _kind_of(type(value)) not in ("list", "")  # type: ignore[arg-type]  # mypy thinks a type has no hash


@lru_cache(maxsize=256)
def _kind_of(found: type) -> str:
    if found is type(None) or found.__name__ in MISSING_NAMES:
        return _NULL
    for known, kind in _KINDS:
        if issubclass(found, known):
            return kind
    return "datetime" if issubclass(found, pa.Scalar) else ""


def _converted(values: Sequence[Any], place: Place, arrow: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, arrow)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError, ValueError) as cause:
        row = next((row for row in range(len(values)) if not _converts(values[row], arrow)), None)
        where = place.name if row is None else f"{place.at(row)}: {values[row]!r:.60}"
        raise InvalidDataError(f"{where}: {cause}", hint="the values of a column are of one type, and within its range") from cause


def _converts(value: object, arrow: pa.DataType | None) -> bool:
    try:
        pa.array([value], arrow)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError, ValueError):
        return False
    return True


def _times(values: Sequence[Any], types: set[type], place: Place) -> pa.Array:
    if not (types == {datetime} and _share_one_zone(values)):
        check_zones_agree([None if _is_no_time(value) else has_zone(value) for value in values], place)
    if types == {datetime}:
        return pa.array(values, pa.timestamp("us", "UTC"))
    instants: list[int | None] = []
    for row, value in enumerate(values):
        try:
            instants.append(None if _is_no_time(value) else instant_ns(value))
        except InvalidDataError as cause:
            raise InvalidDataError(f"{place.at(row)}: {cause.message}", hint=cause.hint) from cause
    is_fine = any(instant is not None and instant % 1_000 for instant in instants)
    ticks = instants if is_fine else [None if instant is None else instant // 1_000 for instant in instants]
    return _converted(ticks, place, pa.int64()).cast(pa.timestamp("ns" if is_fine else "us", "UTC"))


def _is_given(value: object) -> bool:
    return value is not None


def _share_one_zone(values: Sequence[Any]) -> bool:
    """Whether datetimes without a gap are all in one and the same zone, or all in none: most are, and it is seen at a glance."""
    try:
        return len(set(map(attrgetter("tzinfo"), values))) == 1
    except AttributeError:  # a null among them
        return False


def _is_no_time(value: object) -> bool:
    return value is None or (isinstance(value, np.datetime64) and bool(np.isnat(value)))


def _mixed(values: Sequence[Any], kind_of_type: Mapping[type, str], place: Place, dtype: DType | None) -> SchemaMismatchError:
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        if value is not None:
            first.setdefault(kind_of_type[type(value)] or type(value).__name__, row)
    shown = ", ".join(f"{kind} in row {place.row_of(row)}" for kind, row in first.items())
    return SchemaMismatchError(
        f"{place.name}: values of mixed types: {shown}", hint=f"make them all {dtype or 'one type'}; a missing value is None"
    )
