"""Expressions: computed columns and conditions as plain data, made of columns, constants and a closed list of operations.

Frozen, stored in the file as data, and checked as data when they come from one: nothing in them is ever run. `==` builds an expression;
two expressions are compared with `equals`. What the operations do is told in `operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

import pyarrow as pa

from mlstore.errors import CorruptionError, DefinitionError, FormatVersionError, UnknownNameError, UsageError
from mlstore.schema import bound
from mlstore.schema.casts import cast_array
from mlstore.schema.declarations import check_name, set_field
from mlstore.schema.dtypes import CLOSED_LIST, TIME_UNITS, DType, dtype_of, parse_dtype, timestamp
from mlstore.schema.encodings import chunks_of
from mlstore.schema.lenient_casts import is_moment
from mlstore.schema.operations import OPERATIONS
from mlstore.schema.operators import Operators, Value
from mlstore.schema.places import Place
from mlstore.schema.python_values import array_of

MAX_DEPTH = 64
MAX_SIZE = 1000
MAX_DIGITS = 15
MAX_SPEC = 40
_COLUMN, _LITERAL = "column", "literal"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expression(Operators):
    """A computed column or a condition, such as `ml.col("amount") / ml.col("limit") > 0.8`. Begin with `ml.col` or `ml.lit`.

    Row by row, and the same whatever rows stand beside. Null in, null out, but for `is_null`, `fill_null`, `coalesce`, `&` and `|` (where
    `False & null` is False, `True | null` is True), and what `where` does not choose. Numbers are computed as int64 (uint64 where one
    is) or float64. `/` always gives a float64 and follows IEEE: x / 0 is inf or NaN. `//` and `%` round down as in Python. An integer
    that overflows, an integer division by zero and a cast out of range give null. Times are UTC.

    Examples
    --------
    >>> share = ml.col("amount") / ml.col("limit")
    >>> share
    (amount / limit)
    >>> share.dtype({"amount": ml.int64, "limit": ml.float64})
    float64
    >>> share.evaluate({"amount": pa.array([1, 2, None]), "limit": pa.array([4.0, 0.0, 1.0])}).to_pylist()
    [0.25, inf, None]
    """

    op: str
    inputs: tuple[Expression, ...] = ()
    value: Any = None  # a column's name, a constant, or what the operation is told
    literal_type: DType | None = None
    depth: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        set_field(self, "depth", 1 + max((part.depth for part in self.inputs), default=0))
        set_field(self, "size", 1 + sum(part.size for part in self.inputs))
        if self.depth > MAX_DEPTH or self.size > MAX_SIZE:
            raise DefinitionError(
                f"an expression of {self.size} parts, {self.depth} deep", hint=f"at most {MAX_SIZE} parts, {MAX_DEPTH} deep: split it up"
            )
        if self.op == _COLUMN:
            check_name(self.value, "column")
        elif self.op == _LITERAL:
            assert self.literal_type is not None
            _scalar(self.value, self.literal_type)
        else:
            _check_operation(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads, in the order in which they are first named."""
        if self.op == _COLUMN:
            return (self.value,)
        return tuple(dict.fromkeys(name for part in self.inputs for name in part.columns))

    def dtype(self, fields: Mapping[str, DType]) -> DType:
        """The type it gives over columns of these types.

        UnknownNameError: it reads another column. DefinitionError: an operation that does not take the types it is given.
        """
        return self.bind(fields).dtype

    def bind(self, fields: Mapping[str, DType]) -> bound.Bound:
        """The expression made ready for columns of these types; raises as `dtype` does."""
        if self.op == _COLUMN:
            if self.value not in fields:
                raise _unknown(self.value, fields)
            return bound.column(self.value, fields[self.value])
        if self.op == _LITERAL:
            assert self.literal_type is not None
            return bound.constant(_scalar(self.value, self.literal_type), self.literal_type)
        inputs = [part.bind(fields) for part in self.inputs]
        try:
            return bound.bind_operation(self.op, inputs, self.value)
        except DefinitionError as cause:
            raise DefinitionError(f"in {self!s:.200}: {cause.message}", hint=cause.hint) from cause

    def evaluate(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], *, rows: int | None = None) -> pa.Array:
        """The computed column. rows: how many, where no column tells; raises as `dtype` does."""
        lengths = {len(column) for column in columns.values()} | ({rows} if rows is not None else set())
        if len(lengths) != 1:
            raise UsageError(f"columns of {sorted(lengths)} rows", hint="give columns of one length, or rows= where there are none")
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise _unknown(missing[0], columns)
        ready = self.bind({name: dtype_of(columns[name].type) for name in self.columns})
        return ready.evaluate({name: _decoded(columns[name]) for name in self.columns}, lengths.pop())

    def equals(self, other: object) -> bool:
        """Whether both are the same expression; `==` builds one."""
        return isinstance(other, Expression) and _frozen(self.to_record()) == _frozen(other.to_record())

    def __hash__(self) -> int:
        return hash(_frozen(self.to_record()))

    def __bool__(self) -> bool:
        raise UsageError(
            f"{self!s:.80}: an expression is neither true nor false", hint="use & | ~ for and, or, not; .equals() to compare expressions"
        )

    def to_record(self) -> list[Any]:
        """Plain lists, text and numbers: what the file holds."""
        if self.op == _COLUMN:
            return [_COLUMN, self.value]
        if self.op == _LITERAL:
            assert self.literal_type is not None
            return [_LITERAL, self.literal_type.spec, str(self.value) if isinstance(self.value, Decimal) else self.value]
        told = self.value.spec if isinstance(self.value, DType) else self.value
        return [self.op, [part.to_record() for part in self.inputs], told]

    @classmethod
    def from_record(cls, record: Any) -> Expression:
        """The expression that `to_record` took apart; CorruptionError: it is none. FormatVersionError: it is of a newer mlstore."""
        try:
            return _from_record(record, MAX_DEPTH)
        except (UsageError, TypeError, ValueError, ArithmeticError, pa.ArrowException) as cause:
            raise CorruptionError(f"a stored expression makes no sense: {cause}", hint="run verify(), restore a backup") from cause

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.op, self.inputs, self.value, self.literal_type)

    def __str__(self) -> str:
        if self.op == _COLUMN:
            return str(self.value)
        if self.op == _LITERAL:
            assert self.literal_type is not None
            return str(_scalar(self.value, self.literal_type)) if is_moment(self.literal_type) else repr(self.value)
        symbol = OPERATIONS[self.op].symbol
        if symbol:
            return f"({self.inputs[0]} {symbol} {self.inputs[1]})"
        told = [] if self.value is None else [str(self.value)]
        return f"{self.op}({', '.join([*map(str, self.inputs), *told])})"

    __repr__ = __str__

    @classmethod
    def _made(cls, op: str, *inputs: Value, told: Any = None) -> Self:
        return cls(op, tuple(part if isinstance(part, Expression) else lit(part) for part in inputs), told)


# ---------------------------------------------------------------- beginnings


def col(name: str) -> Expression:
    """A column, by name.

    Examples
    --------
    >>> (ml.col("temp") > 30) & ml.col("origin").isin(["JFK", "LGA"])
    ((temp > 30) & isin(origin, 'JFK', 'LGA'))
    """
    return Expression(_COLUMN, value=name)


def lit(value: Any, dtype: DType | None = None) -> Expression:
    """A constant. Its type is int64, float64, string, ... by its Python type, unless given; None needs one.

    Examples
    --------
    >>> ml.coalesce(ml.col("name"), ml.lit(None, ml.string))
    coalesce(name, None)
    """
    if dtype is None:
        dtype = _type_of(value)
    elif not isinstance(dtype, DType):
        raise DefinitionError(f"lit: {dtype!r:.60} is no type", hint=CLOSED_LIST)
    return Expression(_LITERAL, value=_canonical(value, dtype), literal_type=dtype)


def where(condition: Expression, chosen: Value, otherwise: Value) -> Expression:
    """`chosen` where the condition is true, `otherwise` where it is false, null where it is null.

    Examples
    --------
    >>> ml.where(ml.col("limit") > 0, ml.col("amount") / ml.col("limit"), 0.0)
    where((limit > 0), (amount / limit), 0.0)
    """
    return Expression._made("where", condition, chosen, otherwise)


def coalesce(*values: Value) -> Expression:
    """The first that is not null."""
    return Expression._made("coalesce", *values)


def least(*values: Value) -> Expression:
    """The least of numbers or times of a row; a number is less than NaN."""
    return Expression._made("least", *values)


def greatest(*values: Value) -> Expression:
    """The greatest of numbers or times of a row; a number is greater than NaN."""
    return Expression._made("greatest", *values)


# ---------------------------------------------------------------- constants


def _type_of(value: Any) -> DType:
    if isinstance(value, DType) or value is None:
        raise DefinitionError(f"lit({value!r:.60}): its type is not clear", hint="say which: ml.lit(None, ml.float64)")
    if isinstance(value, datetime):
        return timestamp("us")
    return dtype_of(_array(value, None).type)


def _canonical(value: Any, dtype: DType) -> Any:
    """The constant as expressions keep it: a time or date as its ticks; DefinitionError: it is none of its type."""
    if dtype.parts:
        raise DefinitionError(f"lit of {dtype}", hint="a constant is a plain value")
    try:
        found = cast_array(_array(value, dtype), dtype, Place("lit"))[0]
    except UsageError as cause:
        raise DefinitionError(f"lit({value!r:.60}) as {dtype}: {cause.message}", hint=cause.hint) from cause
    return found.value if is_moment(dtype) else found.as_py()


def _array(value: Any, dtype: DType | None) -> pa.Array:
    try:
        return array_of([value], Place("lit"), dtype)
    except UsageError as cause:
        raise DefinitionError(
            f"lit({value!r:.60}): {cause.message}", hint="a constant is a bool, number, text, bytes, date or datetime"
        ) from cause


def _scalar(value: Any, dtype: DType) -> pa.Scalar:
    """A constant as Arrow has it; DefinitionError: it is no canonical one of its type."""
    arrow = dtype.arrow
    storage = pa.int32() if pa.types.is_date(arrow) else pa.int64() if pa.types.is_timestamp(arrow) else arrow
    is_type = pa.types
    python = {bool: is_type.is_boolean(storage), int: is_type.is_integer(storage), float: is_type.is_floating(storage)}
    try:
        if dtype.parts or (value is not None and not python.get(type(value), not any(python.values()))):
            raise TypeError(f"a {type(value).__name__}")
        return pa.scalar(value, storage).cast(arrow)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as cause:
        raise DefinitionError(f"{value!r:.60} is no constant of type {dtype}: {cause}", hint="make constants with ml.lit") from cause


# ---------------------------------------------------------------- checks


def _unknown(name: str, known: Iterable[str]) -> UnknownNameError:
    return UnknownNameError(f"no column {name!r}", hint=f"there is {', '.join(list(known)[:20]) or 'none'}")


def _check_operation(made: Expression) -> None:
    operation = OPERATIONS.get(made.op)
    if operation is None:
        raise DefinitionError(f"{made.op!r:.60} is no operation", hint=f"there is {', '.join(OPERATIONS)}")
    count = len(made.inputs)
    if not operation.fewest <= count <= operation.most:
        raise DefinitionError(f"{made.op} of {count} inputs", hint=f"it takes {operation.fewest} to {operation.most}")
    if operation.has_constants and any(part.op != _LITERAL for part in made.inputs[1:]):
        raise DefinitionError(f"{made.op}: its arguments are constants", hint="compare columns with == or combine conditions with |")
    told, what = made.value, operation.parameter
    is_number = isinstance(told, int) and not isinstance(told, bool)
    fits = {
        "": told is None,
        "digits": is_number and 0 <= told <= MAX_DIGITS,
        "dtype": isinstance(told, DType),
        "unit": isinstance(told, str) and told in TIME_UNITS,
    }
    if not fits[what]:
        hints = {"digits": f"digits are 0 to {MAX_DIGITS}", "dtype": CLOSED_LIST, "unit": f"the units are {', '.join(TIME_UNITS)}"}
        raise DefinitionError(f"{made.op}({told!r:.60})", hint=hints.get(what, "it is told nothing"))


def _from_record(record: Any, levels: int) -> Expression:
    op, *rest = record
    if op == _COLUMN:
        (name,) = rest
        return Expression(_COLUMN, value=name)
    if op == _LITERAL:
        spec, value = rest
        dtype = _stored_type(spec)
        is_text = pa.types.is_decimal(dtype.arrow) and isinstance(value, str)
        return Expression(_LITERAL, value=Decimal(value) if is_text else value, literal_type=dtype)
    if op not in OPERATIONS:
        raise FormatVersionError(f"an expression with the operation {op!r:.60}, which this mlstore does not know", hint="upgrade mlstore")
    inputs, told = rest
    if levels == 0 or len(inputs) > MAX_SIZE:
        raise DefinitionError("too many parts", hint="")
    told = _stored_type(told) if OPERATIONS[op].parameter == "dtype" else told
    return Expression(op, tuple(_from_record(part, levels - 1) for part in inputs), told)


def _stored_type(spec: Any) -> DType:
    """A type from the file: of plain values, so its text is short, and no nest of types to get lost in."""
    if not isinstance(spec, str) or len(spec) > MAX_SPEC:
        raise DefinitionError(f"{spec!r:.60} is no type of plain values", hint=CLOSED_LIST)
    return parse_dtype(spec)


def _frozen(record: Any) -> Any:
    """A record that hashes and compares; 1, 1.0 and True are not the same."""
    if isinstance(record, list):
        return tuple(_frozen(part) for part in record)
    return (type(record).__name__, repr(record))


def _decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values of a column, of the Arrow type of its own type."""
    chunks = chunks_of(column)
    array = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
    dtype = dtype_of(array.type)
    return cast_array(array, dtype, Place("column"))
