"""The closed list of what expressions can do: for each operation which types it takes and gives, and how it is worked out.

Every operation works row by row: a row's answer depends on nothing beside it. So nothing that one row holds is an error: where there is no
answer (an integer overflow, a division of integers by zero, a cast out of range) there is null. Floats follow IEEE 754.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.errors import DefinitionError
from mlstore.schema.dtypes import TIME_UNITS, DType, bool_, float64, int64, string, timestamp, uint64
from mlstore.schema.lenient_casts import can_cast, integer_range, is_integer, is_moment, is_number, null_unless

Types = Sequence[DType]
Signature = tuple[Types, DType]
Arrays = Sequence[Any]

# Beyond these seconds (some 31,000 years) Arrow's calendar counts wrongly.
_CALENDAR_SECONDS = 10**12


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `sign` maps the types of its inputs to those it works on and its result's; `work` does it.

    `parameter` names what it is told beside its inputs: "", "digits", "dtype" or "unit". has_constants: all inputs but the first are.
    """

    sign: Callable[[str, Types, Any], Signature]
    work: Callable[[Arrays, Any], Any]
    fewest: int = 1
    most: int = 1
    parameter: str = ""
    symbol: str = ""
    has_constants: bool = False


# ---------------------------------------------------------------- types


def common_type(name: str, types: Types) -> DType:
    """The type in which values of these types stand side by side: int64, uint64 or float64 for numbers of several types."""
    first = types[0]
    if all(dtype == first for dtype in types):
        if first.kind == "nested" or pa.types.is_fixed_size_list(first.arrow):
            raise _refuse(name, types, "expressions work on plain values")
        return first
    if all(map(is_integer, types)):
        return _common_integer(name, types)
    if all(map(is_number, types)):
        return float64
    if all(pa.types.is_timestamp(dtype.arrow) for dtype in types):
        return timestamp(TIME_UNITS[max(TIME_UNITS.index(dtype.arrow.unit) for dtype in types)])
    raise _refuse(name, types, "cast them to one type with .cast()")


def _common_integer(name: str, types: Types) -> DType:
    if uint64 not in types:
        return int64
    if any(pa.types.is_signed_integer(dtype.arrow) for dtype in types):
        raise _refuse(name, types, "no integer type holds both: cast one of them with .cast()")
    return uint64


def _arithmetic(name: str, types: Types, _: Any) -> Signature:
    if name == "add" and all(dtype == string for dtype in types):
        return types, string
    if not all(map(is_number, types)):
        raise _refuse(name, types, "it takes numbers")
    found = _common_integer(name, types) if all(map(is_integer, types)) else float64
    return [found] * len(types), found


def _floats(name: str, types: Types, _: Any) -> Signature:
    if not all(map(is_number, types)):
        raise _refuse(name, types, "it takes numbers")
    return [float64] * len(types), float64


def _extreme(name: str, types: Types, _: Any) -> Signature:
    found = common_type(name, types)
    if not (is_number(found) or is_moment(found)):
        raise _refuse(name, types, "it takes numbers or times")
    return [found] * len(types), found


def _comparison(name: str, types: Types, _: Any) -> Signature:
    return [common_type(name, types)] * len(types), bool_


def _logic(name: str, types: Types, _: Any) -> Signature:
    if any(dtype != bool_ for dtype in types):
        raise _refuse(name, types, "it takes bools: compare first, in parentheses")
    return types, bool_


def _anything(name: str, types: Types, _: Any) -> Signature:
    return types, bool_


def _is_nan(name: str, types: Types, _: Any) -> Signature:
    return _floats(name, types, None)[0], bool_


def _coalesce(name: str, types: Types, _: Any) -> Signature:
    found = common_type(name, types)
    return [found] * len(types), found


def _where(name: str, types: Types, _: Any) -> Signature:
    if types[0] != bool_:
        raise _refuse(name, types[:1], "its condition is a bool")
    found = common_type(name, types[1:])
    return [bool_, found, found], found


def _cast(name: str, types: Types, wanted: DType) -> Signature:
    if not can_cast(types[0], wanted):
        raise DefinitionError(f"no cast from {types[0]} to {wanted}", hint="numbers, bools, and times among themselves can be cast")
    return [wanted], wanted


def _text(result: DType) -> Callable[[str, Types, Any], Signature]:
    def sign(name: str, types: Types, _: Any) -> Signature:
        if any(dtype != string for dtype in types):
            raise _refuse(name, types, "it takes strings")
        return types, result

    return sign


def _calendar(name: str, types: Types, unit: str | None) -> Signature:
    if not is_moment(types[0]):
        raise _refuse(name, types, "it takes a timestamp or a date")
    return [timestamp(unit or "s")], int64


def _signed(name: str, types: Types, _: Any) -> Signature:
    result = _arithmetic(name, types, None)[1]
    return ([int64], int64) if is_integer(result) else ([float64], float64)


def _refuse(name: str, types: Types, hint: str) -> DefinitionError:
    return DefinitionError(f"{name} of {' and '.join(map(str, types))}", hint=hint)


# ---------------------------------------------------------------- work


def _add(arrays: Arrays, _: Any) -> Any:
    if pa.types.is_string(arrays[0].type):
        return pc.binary_join_element_wise(*arrays, "")
    return _exactly("add", arrays)


def _exactly(name: str, arrays: Arrays) -> Any:
    """Integers as if without bounds, null where the result has no place; floats as they are."""
    try:
        return getattr(pc, f"{name}_checked")(*arrays)
    except pa.ArrowInvalid:
        return _integers([array.to_pylist() for array in _aligned(arrays)], _BY_ONE[name], arrays[0].type)


_BY_ONE: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
    "abs": abs,
}


def _integers(columns: Sequence[Sequence[int | None]], work: Callable[..., int], arrow: pa.DataType) -> pa.Array:
    """Row by row, in integers without bounds. Slow, and asked only where some row overflows."""
    least, most = integer_range(arrow)
    results = [None if None in row else work(*row) for row in zip(*columns, strict=True)]
    return pa.array([value if value is not None and least <= value <= most else None for value in results], arrow)


def _divide_down(function: np.ufunc, arrays: Arrays) -> pa.Array:
    """Quotient or remainder of a division that rounds down, as Python's does; of integers by zero: null."""
    left, right = _aligned(arrays)
    valid = np.asarray(pc.and_(left.is_valid(), right.is_valid()))
    a, b = (np.asarray(side.fill_null(0)) for side in (left, right))
    if pa.types.is_integer(left.type):
        # The one quotient that has no place is that of the least number by -1.
        least = integer_range(left.type)[0]
        valid = valid & (b != 0) & ~((a == least) & (b == -1) & (least < 0))
        one = a.dtype.type(1)
        a, b = np.where(valid, a, one), np.where(valid, b, one)
    with np.errstate(all="ignore"):
        return pa.array(function(a, b), left.type, mask=~valid)


def _aligned(arrays: Arrays) -> list[pa.Array]:
    """All of one length, where constants stand for columns."""
    rows = next(len(array) for array in arrays if isinstance(array, pa.Array))
    return [array if isinstance(array, pa.Array) else pa.repeat(array, rows) for array in arrays]


def _is_in(arrays: Arrays, _: Any) -> Any:
    column, *members = arrays
    listed = pa.array([member.as_py() for member in members], column.type)
    if pa.types.is_floating(column.type):
        column, listed = pc.add(column, pa.scalar(0.0, column.type)), pc.add(listed, pa.scalar(0.0, column.type))  # one zero
    return null_unless(column.is_valid(), pc.is_in(column, value_set=listed))


def _whole(function: Callable[..., Any]) -> Callable[[Arrays, Any], Any]:
    """Rounding: integers are whole already."""

    def work(arrays: Arrays, digits: Any) -> Any:
        if pa.types.is_integer(arrays[0].type):
            return arrays[0]
        return function(arrays[0]) if digits is None else function(arrays[0], ndigits=digits)

    return work


def _part(function: Callable[..., Any]) -> Callable[[Arrays, Any], Any]:
    def work(arrays: Arrays, _: Any) -> Any:
        seconds = arrays[0].view(pa.int64())
        fits = pc.and_(pc.greater(seconds, -_CALENDAR_SECONDS), pc.less(seconds, _CALENDAR_SECONDS))
        return function(null_unless(fits, seconds).view(pa.timestamp("s")))

    return work


def _elementwise(function: Callable[..., Any], **options: Any) -> Callable[[Arrays, Any], Any]:
    return lambda arrays, _: function(*arrays, **options)


def _with_text(function: Callable[..., Any]) -> Callable[[Arrays, Any], Any]:
    """A test of a string against a constant one."""
    return lambda arrays, _: function(arrays[0], arrays[1].as_py())


def _of_floats(function: Callable[..., Any], inputs: int = 1) -> Operation:
    return Operation(_floats, _elementwise(function), inputs, inputs)


def _pair(sign: Callable[[str, Types, Any], Signature], work: Callable[[Arrays, Any], Any], symbol: str) -> Operation:
    return Operation(sign, work, 2, 2, symbol=symbol)


MANY = 1000

OPERATIONS: dict[str, Operation] = {
    "add": _pair(_arithmetic, _add, "+"),
    "subtract": _pair(_arithmetic, lambda arrays, _: _exactly("subtract", arrays), "-"),
    "multiply": _pair(_arithmetic, lambda arrays, _: _exactly("multiply", arrays), "*"),
    "divide": _pair(_floats, _elementwise(pc.divide), "/"),
    "floor_divide": _pair(_arithmetic, lambda arrays, _: _divide_down(np.floor_divide, arrays), "//"),
    "remainder": _pair(_arithmetic, lambda arrays, _: _divide_down(np.remainder, arrays), "%"),
    "power": _pair(_floats, _elementwise(pc.power), "**"),
    "negate": Operation(_signed, lambda arrays, _: _exactly("negate", arrays)),
    "abs": Operation(_signed, lambda arrays, _: _exactly("abs", arrays)),
    "sign": Operation(_signed, _elementwise(pc.sign)),
    "floor": Operation(_arithmetic, _whole(pc.floor)),
    "ceil": Operation(_arithmetic, _whole(pc.ceil)),
    "round": Operation(_arithmetic, _whole(pc.round), parameter="digits"),
    "sqrt": _of_floats(pc.sqrt),
    "exp": _of_floats(pc.exp),
    "log": _of_floats(pc.ln),
    "log2": _of_floats(pc.log2),
    "log10": _of_floats(pc.log10),
    "log1p": _of_floats(pc.log1p),
    "sin": _of_floats(pc.sin),
    "cos": _of_floats(pc.cos),
    "tan": _of_floats(pc.tan),
    "asin": _of_floats(pc.asin),
    "acos": _of_floats(pc.acos),
    "atan2": _of_floats(pc.atan2, 2),
    "least": Operation(_extreme, _elementwise(pc.min_element_wise, skip_nulls=False), 1, MANY),
    "greatest": Operation(_extreme, _elementwise(pc.max_element_wise, skip_nulls=False), 1, MANY),
    "equal": _pair(_comparison, _elementwise(pc.equal), "=="),
    "not_equal": _pair(_comparison, _elementwise(pc.not_equal), "!="),
    "less": _pair(_comparison, _elementwise(pc.less), "<"),
    "less_equal": _pair(_comparison, _elementwise(pc.less_equal), "<="),
    "greater": _pair(_comparison, _elementwise(pc.greater), ">"),
    "greater_equal": _pair(_comparison, _elementwise(pc.greater_equal), ">="),
    "and": _pair(_logic, _elementwise(pc.and_kleene), "&"),
    "or": _pair(_logic, _elementwise(pc.or_kleene), "|"),
    "not": Operation(_logic, _elementwise(pc.invert)),
    "is_null": Operation(_anything, _elementwise(pc.is_null)),
    "is_nan": Operation(_is_nan, _elementwise(pc.is_nan)),
    "isin": Operation(_comparison, _is_in, 2, MANY, has_constants=True),
    "coalesce": Operation(_coalesce, _elementwise(pc.coalesce), 1, MANY),
    "where": Operation(_where, _elementwise(pc.if_else), 3, 3),
    "cast": Operation(_cast, lambda arrays, _: arrays[0], parameter="dtype"),
    "lower": Operation(_text(string), _elementwise(pc.utf8_lower)),
    "upper": Operation(_text(string), _elementwise(pc.utf8_upper)),
    "strip": Operation(_text(string), _elementwise(pc.utf8_trim_whitespace)),
    "length": Operation(_text(int64), _elementwise(pc.utf8_length)),
    "contains": Operation(_text(bool_), _with_text(pc.match_substring), 2, 2, has_constants=True),
    "starts_with": Operation(_text(bool_), _with_text(pc.starts_with), 2, 2, has_constants=True),
    "ends_with": Operation(_text(bool_), _with_text(pc.ends_with), 2, 2, has_constants=True),
    "epoch": Operation(_calendar, lambda arrays, _: arrays[0].view(pa.int64()), parameter="unit"),
    "year": Operation(_calendar, _part(pc.year)),
    "month": Operation(_calendar, _part(pc.month)),
    "day": Operation(_calendar, _part(pc.day)),
    "weekday": Operation(_calendar, _part(pc.day_of_week)),
    "hour": Operation(_calendar, _part(pc.hour)),
    "minute": Operation(_calendar, _part(pc.minute)),
}
