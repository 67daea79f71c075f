"""Expressions made ready for columns of known types: each operation with its types settled, to be evaluated any number of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mlstore.schema.dtypes import DType, uint64
from mlstore.schema.lenient_casts import cast_leniently, integer_range, is_integer
from mlstore.schema.operations import OPERATIONS

Columns = Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Bound:
    """What an expression gives over columns of known types: its type, and how to work it out. `constant`: it needs no column."""

    dtype: DType
    work: Callable[[Columns], Any]
    constant: pa.Scalar | None = None

    def evaluate(self, columns: Columns, rows: int) -> pa.Array:
        """The computed column over decoded arrays of the types it was bound to, each of that many rows."""
        return pa.repeat(self.constant, rows) if self.constant is not None else self.work(columns)

    def cast(self, dtype: DType) -> Bound:
        """The same, as another type."""
        if dtype == self.dtype:
            return self
        if self.constant is not None:
            return constant(cast_leniently(pa.repeat(self.constant, 1), self.dtype, dtype)[0], dtype)
        old, work = self.dtype, self.work
        return Bound(dtype, lambda columns: cast_leniently(work(columns), old, dtype))


def column(name: str, dtype: DType) -> Bound:
    """A column as it is."""
    return Bound(dtype, lambda columns: columns[name])


def constant(value: pa.Scalar, dtype: DType) -> Bound:
    """One value for every row."""
    return Bound(dtype, lambda columns: value, value)


def bind_operation(name: str, inputs: Sequence[Bound], told: Any) -> Bound:
    """An operation over inputs; DefinitionError: it does not take their types. Over constants alone it is one."""
    operation = OPERATIONS[name]
    wanted, result = operation.sign(name, _bent(inputs), told)
    ready = [part.cast(dtype) for part, dtype in zip(inputs, wanted, strict=True)]
    if all(part.constant is not None for part in ready):
        # Arrow would compute with scalars, too, but not everything.
        first, rest = pa.repeat(ready[0].constant, 1), [part.constant for part in ready[1:]]
        return constant(_shaped(operation.work([first, *rest], told), result)[0], result)
    works, work = [part.work for part in ready], operation.work
    if operation.has_constants or len(works) > 2:
        return Bound(result, lambda columns: _shaped(work([part(columns) for part in works], told), result))
    if len(works) == 1:
        only = works[0]
        return Bound(result, lambda columns: _shaped(work((only(columns),), told), result))
    left, right = works
    return Bound(result, lambda columns: _shaped(work((left(columns), right(columns)), told), result))


def _bent(inputs: Sequence[Bound]) -> list[DType]:
    """The types of the inputs; a constant that is no negative integer is unsigned beside uint64."""
    types = [part.dtype for part in inputs]
    if uint64 not in types:
        return types
    return [uint64 if part.constant is not None and _is_unsigned(part) else part.dtype for part in inputs]


def _is_unsigned(part: Bound) -> bool:
    assert part.constant is not None
    return is_integer(part.dtype) and 0 <= (part.constant.as_py() or 0) <= integer_range(pa.uint64())[1]


def _shaped(array: Any, dtype: DType) -> Any:
    return array if array.type == dtype.arrow else array.cast(dtype.arrow)
