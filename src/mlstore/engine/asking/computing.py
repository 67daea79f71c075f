"""Computing: the outputs of one on-demand view over columns that are all at hand, checked against what the view declares.

A function is called with all rows at once, whoever asks: one row online, a piece of a training set. What comes from the file is never run:
the function is found among those that this process has loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.catalog import Relation
from mlstore.errors import ComputationError, UsageError
from mlstore.schema.bound import Bound
from mlstore.schema.casts import cast_column
from mlstore.schema.dtypes import DType
from mlstore.schema.functions import FunctionCode, find_function
from mlstore.schema.places import Place
from mlstore.schema.python_values import array_of

Columns = Mapping[str, pa.Array]
Compute = Callable[[Columns, int], list[pa.Array]]


def prepare(relation: Relation, numbers: Sequence[int]) -> Compute:
    """What computes some features of an on-demand view from its arguments, each of its type, and the number of rows."""
    assert relation.computed is not None
    view, arguments = relation.computed.view, relation.computed.arguments
    if view.code is not None:
        return _Called(relation, view.code, numbers).compute
    types = {argument.name: argument.dtype for argument in arguments}
    bound = [view.features[view.outputs[number]].bind(types) for number in numbers]
    return lambda columns, rows: _evaluated(bound, columns, rows)


def _evaluated(bound: Sequence[Bound], columns: Columns, rows: int) -> list[pa.Array]:
    return [expression.evaluate(columns, rows) for expression in bound]


class _Called:
    """A view's function, called over Arrow or numpy columns."""

    def __init__(self, relation: Relation, code: FunctionCode, numbers: Sequence[int]) -> None:
        assert relation.computed is not None
        self._view = relation.computed.view
        self._arguments = relation.computed.arguments
        self._code = code
        self._numbers = numbers
        self._place = f"on-demand view {relation.label}"

    def compute(self, columns: Columns, rows: int) -> list[pa.Array]:
        function = find_function(self._code, self._place)
        if self._view.over == "arrow":
            return self._call(function, columns, rows)
        complete = _complete_rows(columns)
        if complete is None:
            return self._call(function, {name: _as_numpy(column) for name, column in columns.items()}, rows)
        chosen = np.flatnonzero(complete)
        given = {name: _as_numpy(column.take(pa.array(chosen))) for name, column in columns.items()}
        place = np.cumsum(complete) - 1
        spread = pa.array(place, mask=~complete)
        return [column.take(spread) for column in self._call(function, given, len(chosen))]

    def _call(self, function: Callable[..., Any], columns: Mapping[str, Any], rows: int) -> list[pa.Array]:
        types = [self._view.returns[self._view.outputs[number]] for number in self._numbers]
        if not rows:
            return [pa.nulls(0, dtype.arrow) for dtype in types]
        try:
            # As in expressions: a division by zero is inf or NaN, and no warning that depends on who else is in the batch.
            with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
                returned = function(dict(columns))
        except Exception as cause:
            raise ComputationError(
                f"{self._place}: {self._code.name} failed on {rows:,} rows: {type(cause).__name__}: {cause}",
                hint=f"it was given {', '.join(columns)} as {self._view.over} columns",
            ) from cause
        named = self._named(returned)
        return [self._checked(self._view.outputs[number], named, dtype, rows) for number, dtype in zip(self._numbers, types, strict=True)]

    def _named(self, returned: Any) -> Mapping[str, Any]:
        outputs = self._view.outputs
        if isinstance(returned, pa.Table | pa.RecordBatch):
            returned = dict(zip(returned.schema.names, returned.columns, strict=True))
        if not isinstance(returned, Mapping):
            if len(outputs) > 1:
                message = f"{self._place}: {self._code.name} returned a {type(returned).__name__}"
                raise ComputationError(message, hint=f"return a dict of the columns {', '.join(outputs)}")
            return {outputs[0]: returned}
        if returned.keys() != set(outputs):
            raise ComputationError(
                f"{self._place}: {self._code.name} returned {', '.join(map(str, returned)) or 'nothing'}, not {', '.join(outputs)}",
                hint="return what returns= declares, or declare what it returns",
            )
        return returned

    def _checked(self, name: str, returned: Mapping[str, Any], dtype: DType, rows: int) -> pa.Array:
        place = Place(f"{self._place}: {name}")
        try:
            column = _as_arrow(returned[name], dtype, place)
        except (UsageError, pa.ArrowException, TypeError, ValueError) as cause:
            told = cause.message if isinstance(cause, UsageError) else f"{place.name}: {cause}"
            raise ComputationError(told, hint=f"returns= declares {dtype}: give an Arrow or numpy column of it") from cause
        if len(column) != rows:
            raise ComputationError(f"{place.name}: {len(column):,} values for {rows:,} rows", hint="return one value for each row")
        return column


def _complete_rows(columns: Columns) -> Any:
    """Which rows have no null; None: all."""
    with_nulls = [column for column in columns.values() if column.null_count]
    if not with_nulls:
        return None
    complete = np.ones(len(with_nulls[0]), np.bool_)
    for column in with_nulls:
        complete &= np.asarray(column.is_valid())
    return complete


def _as_numpy(column: pa.Array) -> Any:
    """A column without nulls; vectors as a matrix, times as datetime64 in UTC."""
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)


def _as_arrow(returned: Any, dtype: DType, place: Place) -> pa.Array:
    """A returned column, of its declared type; refused by the rules for data that is written."""
    if isinstance(returned, np.ndarray):
        returned = _from_numpy(returned, place)
    elif isinstance(returned, list | tuple):
        returned = array_of(returned, place, dtype)
    elif not isinstance(returned, pa.Array | pa.ChunkedArray):
        if not (hasattr(returned, "__arrow_c_array__") or hasattr(returned, "__arrow_c_stream__")):
            raise TypeError(f"a {type(returned).__name__} is no column")
        returned = pa.array(returned) if hasattr(returned, "__arrow_c_array__") else pa.chunked_array(returned)
    column = cast_column(returned if isinstance(returned, pa.ChunkedArray) else pa.chunked_array([returned]), dtype, place)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _from_numpy(returned: Any, place: Place) -> pa.Array:
    if returned.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(returned).reshape(-1)), returned.shape[1])
    if returned.ndim != 1:
        raise TypeError(f"an array of {returned.ndim} dimensions is no column")
    return pa.array(returned) if returned.dtype != np.object_ else array_of(returned.tolist(), place)


def latest(times: Sequence[pa.Array], rows: int) -> pa.Array:
    """The latest time of each row; null where there is none."""
    return _extreme(times, rows, pc.max_element_wise)


def earliest(times: Sequence[pa.Array], rows: int) -> pa.Array:
    """The earliest time of each row; null where there is none."""
    return _extreme(times, rows, pc.min_element_wise)


def _extreme(times: Sequence[pa.Array], rows: int, choose: Callable[..., pa.Array]) -> pa.Array:
    unit = "ns" if any(column.type.unit == "ns" for column in times) else "us"
    wanted = pa.timestamp(unit, "UTC")
    if not times:
        return pa.nulls(rows, wanted)
    # Arrow compares numbers element by element, and no times.
    return choose(*(column.cast(wanted).view(pa.int64()) for column in times), skip_nulls=True).view(wanted)
