"""The filter of a read or a delete, in Arrow's words or in ours: which columns it is about, which rows it keeps, what it proves."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.catalog import suggest
from mlstore.errors import DefinitionError, SchemaMismatchError, UnknownNameError, UsageError
from mlstore.schema.dtypes import DType, bool_, dtype_of
from mlstore.schema.expression import Expression

Condition: TypeAlias = pc.Expression | Expression

_COMPARISONS: dict[str, Callable[[pc.Expression, pa.Scalar], pc.Expression]] = {
    "equal": lambda column, value: column == value,
    "less": lambda column, value: column < value,
    "less_equal": lambda column, value: column <= value,
    "greater": lambda column, value: column > value,
    "greater_equal": lambda column, value: column >= value,
}
_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A condition that fits the columns it is about. A row for which it is null is not kept.

    implied: what Arrow may reason with, true of every row that is kept; None: nothing.
    """

    condition: Condition
    columns: tuple[str, ...]
    implied: pc.Expression | None

    def keep(self, table: pa.Table) -> pa.Table:
        """The rows of a table of (at least) these columns for which the condition is true."""
        if isinstance(self.condition, pc.Expression):
            return table.filter(self.condition)
        named = {name: table[name] for name in self.columns}
        return table.filter(self.condition.evaluate(named, rows=table.num_rows))


def row_filter(where: Condition, schema: pa.Schema, *, label: str, at_hand: Sequence[str] = ()) -> RowFilter:
    """The filter over these columns; UnknownNameError, SchemaMismatchError, UsageError: it is none. at_hand: what is read anyway."""
    if isinstance(where, Expression):
        return _of_ours(where, schema, label)
    if not isinstance(where, pc.Expression):
        raise UsageError(
            f"where={where!r:.60} is no filter", hint='use ml.col("temp") > 30, or a pyarrow expression: pyarrow.compute.field("temp") > 30'
        )
    return RowFilter(where, _columns_of_arrow(where, schema, label, at_hand), where)


def _of_ours(where: Expression, schema: pa.Schema, label: str) -> RowFilter:
    for name in where.columns:
        if name not in schema.names:
            raise _unknown(label, name, schema)
    fields = {name: dtype_of(schema.field(name).type) for name in where.columns}
    try:
        gives = where.dtype(fields)
    except DefinitionError as error:
        raise SchemaMismatchError(f"the filter does not fit {label}: {error.message}", hint=error.hint) from error
    if gives != bool_:
        raise SchemaMismatchError(f"the filter of {label}, {where!s:.60}, is {gives}, not bool", hint="compare it: (...) > 0")
    return RowFilter(where, where.columns, _implied(where, fields))


def _columns_of_arrow(where: pc.Expression, schema: pa.Schema, label: str, at_hand: Sequence[str]) -> tuple[str, ...]:
    """The columns an Arrow filter names: found by offering it what it misses, one by one."""
    known = list(at_hand)
    while True:
        empty = pa.schema([schema.field(name) for name in known]).empty_table()
        try:
            empty.filter(where)
        except pa.ArrowInvalid as error:
            missing = re.search(r"No match for FieldRef\.(?:Nested\(FieldRef\.)?Name\((.*?)\)", str(error))
            if missing is None:
                raise SchemaMismatchError(f"the filter does not fit {label}: {error}", hint="compare values of one type") from error
            if missing[1] not in schema.names:
                raise _unknown(label, missing[1], schema) from error
            known.append(missing[1])
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise SchemaMismatchError(f"the filter does not fit {label}: {error}", hint="compare values of one type") from error
        else:
            return tuple(known)


def _implied(where: Expression, fields: dict[str, DType]) -> pc.Expression | None:
    """What a condition of ours implies, in Arrow's words: only comparisons of a column with a constant that is exactly of its type."""
    if where.op in ("and", "or"):
        left, right = (_implied(part, fields) for part in where.inputs)
        if left is None or right is None:
            return None if where.op == "or" else right if left is None else left
        return left | right if where.op == "or" else left & right
    if where.op == "isin":
        column, *members = where.inputs
        values = [_exactly(member, column, fields) for member in members]
        # Not Arrow's isin: that tells 0.0 from -0.0.
        return None if None in values else reduce(or_, (pc.field(column.value) == value for value in values))
    if where.op not in _COMPARISONS:
        return None
    left, right = where.inputs
    op = where.op
    if left.op == "literal":
        left, right, op = right, left, _MIRRORED.get(op, op)
    value = _exactly(right, left, fields)
    return None if value is None else _COMPARISONS[op](pc.field(left.value), value)


def _exactly(literal: Expression, column: Expression, fields: dict[str, DType]) -> pa.Scalar | None:
    """The constant in the column's type, if it is the same there; None: it is not, or one is no constant or the other no column."""
    if literal.op != "literal" or column.op != "column" or literal.value is None or literal.value != literal.value:
        return None
    constant = literal.bind({})
    assert constant.constant is not None
    arrow = fields[column.value].arrow
    try:
        there = constant.constant.cast(arrow)
        return there if there.cast(constant.dtype.arrow).equals(constant.constant) else None
    except pa.ArrowException:
        return None


def _unknown(label: str, name: str, schema: pa.Schema) -> UnknownNameError:
    return UnknownNameError(f"{label} has no column {name!r}", hint=suggest(name, schema.names))
