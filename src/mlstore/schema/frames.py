"""Whatever holds rows (Arrow, pandas, polars, duckdb, dicts, lists of dicts) as an Arrow table, or batch by batch.

Foreign libraries are known by their protocols and never imported. Nothing is checked against a definition here; a layout
only says how Python values are meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema import dtypes
from mlstore.schema.dtypes import DType
from mlstore.schema.layout import Layout
from mlstore.schema.places import Place
from mlstore.schema.python_values import array_of, is_scalar

_ACCEPTED = (
    "give a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or polars frame, a duckdb relation, "
    "a dict of columns, a list of dicts, or one dict"
)
_IN_MEMORY = frozenset({"pandas", "polars"})


def to_table(data: object, *, what: str, layout: Layout | None = None) -> pa.Table:
    """The rows of `data` as one table; `what` names them in messages.

    A named pandas index becomes columns, and an unnamed one is dropped. In pandas columns NaN means null, as it does in pandas.
    A dict is one row if any of its values is a scalar, else a dict of columns. A key missing from some dicts of a list is null.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        return _table_of_columns(data, what, _declared(layout))
    if isinstance(data, list | tuple):
        return _table_of_rows(data, what, layout)
    if _comes_from(data, "pandas") and hasattr(data, "iloc") and hasattr(data, "columns"):
        return _table_of_pandas(data, what, _declared(layout))
    return _reader(data, what).read_all()


def table_of_values(names: Sequence[str], rows: Sequence[Sequence[Any]], *, what: str, layout: Layout) -> pa.Table:
    """Rows given as their values, in the order of `names`."""
    declared = _declared(layout)
    columns = zip(*rows, strict=True)
    return pa.table(
        [array_of(column, Place(f"{what}.{name}"), declared.get(name)) for name, column in zip(names, columns, strict=True)], [*names]
    )


def to_batches(data: object, *, what: str, layout: Layout | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of `data` batch by batch; a stream is never held whole."""
    if is_stream(data):
        yield from _reader(data, what)
    else:
        yield from to_table(data, what=what, layout=layout).to_batches()


def is_stream(data: object) -> bool:
    """Whether the rows arrive batch by batch, so that their number is not known and memory need not hold them."""
    if isinstance(data, pa.Table | pa.RecordBatch | Mapping | list | tuple) or any(_comes_from(data, name) for name in _IN_MEMORY):
        return False
    return any(hasattr(data, name) for name in ("__arrow_c_stream__", "to_reader", "scanner"))


def _reader(data: Any, what: str) -> pa.RecordBatchReader:
    if isinstance(data, pa.RecordBatchReader):
        return data
    if hasattr(data, "to_reader"):  # a scanner
        return data.to_reader()
    if hasattr(data, "scanner"):  # a dataset
        return data.scanner().to_reader()
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(data)
        if hasattr(data, "__arrow_c_array__"):
            batch = pa.record_batch(data)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pa.ArrowInvalid, TypeError) as cause:  # it holds a single column
        raise _not_rows(data, what) from cause
    raise _not_rows(data, what)


def _not_rows(data: object, what: str) -> SchemaMismatchError:
    return SchemaMismatchError(f"{what}: {type(data).__name__} is not a table", hint=_ACCEPTED)


def _comes_from(data: object, package: str) -> bool:
    return type(data).__module__.partition(".")[0] == package


def _declared(layout: Layout | None) -> dict[str, DType]:
    if layout is None:
        return {}
    times = {name: dtypes.timestamp(layout.time_unit) for name in (layout.timestamp, layout.created_timestamp) if name is not None}
    return {field.name: field.dtype for field in (*layout.keys, *layout.features)} | times


# ---------------------------------------------------------------- Python values


def _table_of_rows(rows: Sequence[Any], what: str, layout: Layout | None) -> pa.Table:
    declared = _declared(layout)
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaMismatchError(f"{what}, row {position}: {type(row).__name__} {row!r:.40} is not a dict", hint=_ACCEPTED)
    if not rows:
        return pa.table({name: pa.array([], dtype.arrow) for name, dtype in declared.items()})
    names = _checked_names(dict.fromkeys(name for row in rows for name in row), what)
    columns = [array_of([row.get(name) for row in rows], Place(f"{what}.{name}"), declared.get(name)) for name in names]
    return pa.table(columns, names)


def _table_of_columns(data: Mapping[Any, Any], what: str, declared: Mapping[str, DType]) -> pa.Table:
    names = _checked_names(data, what)
    scalars = [name for name in names if is_scalar(data[name])]
    if scalars:
        _check_one_row(data, scalars, what, declared)
        return pa.table([_one_value(data[name], Place(f"{what}.{name}"), declared.get(name)) for name in names], names)
    columns = [_column(data[name], Place(f"{what}.{name}"), declared.get(name)) for name in names]
    lengths = {name: len(column) for name, column in zip(names, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidDataError(f"{what}: columns of different lengths: {shown}", hint="give every column one value per row")
    return pa.table(columns, names)


def _check_one_row(data: Mapping[str, Any], scalars: Sequence[str], what: str, declared: Mapping[str, DType]) -> None:
    """Beside a scalar, only a column whose values are lists may hold a list: it is one value."""
    for name in data:
        if name not in scalars and name in declared and not declared[name].parts:
            message = f"{what}: {scalars[0]} is one value and {name} is a column of values"
            raise SchemaMismatchError(message, hint="give scalars only, for one row, or a list for every column")


def _one_value(value: Any, place: Place, dtype: DType | None) -> pa.Array:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_pylist()
    return array_of([value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value], place, dtype)


def _column(values: Any, place: Place, dtype: DType | None) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray):
        return _numpy_column(values, place, dtype)
    if _comes_from(values, "pandas"):
        return _pandas_column(values, place, dtype)
    if hasattr(values, "__arrow_c_stream__"):
        return pa.chunked_array(values)
    if hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_array__"):
        return pa.array(values)
    if not hasattr(values, "__iter__"):
        raise SchemaMismatchError(f"{place.name}: {type(values).__name__} is neither a value nor a column", hint=_ACCEPTED)
    return array_of(list(values), place, dtype)


def _numpy_column(values: np.ndarray[Any, Any], place: Place, dtype: DType | None) -> pa.Array:
    if values.ndim == 2 and values.shape[1]:
        return pa.FixedSizeListArray.from_arrays(_numpy_column(values.ravel(), place, None), values.shape[1])
    if values.ndim != 1:
        raise SchemaMismatchError(
            f"{place.name}: a numpy array of {values.ndim} dimensions", hint="a column has one, a column of vectors two"
        )
    if values.dtype.kind == "O":
        return array_of(values.tolist(), place, dtype)
    if values.dtype.kind == "M":
        values = _arrow_times(values)
    if values.dtype.kind in "iufM" and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as cause:
        raise SchemaMismatchError(f"{place.name}: numpy values of type {values.dtype}", hint="cast the array") from cause


def _arrow_times(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Times in a unit that Arrow has; coarse ones become seconds, which loses nothing."""
    unit, count = np.datetime_data(values.dtype)
    if unit in ("Y", "M", "W", "h", "m") or (count != 1 and unit in ("D", "s")):
        return values.astype("datetime64[s]")
    return values.astype(f"datetime64[{unit}]") if count != 1 else values


def _checked_names(names: Any, what: str) -> list[str]:
    for name in names:
        if not isinstance(name, str):
            raise SchemaMismatchError(f"{what}: column {name!r} is named by {type(name).__name__}, not by text", hint="rename the column")
    return list(names)


# ---------------------------------------------------------------- pandas


def _table_of_pandas(frame: Any, what: str, declared: Mapping[str, DType]) -> pa.Table:
    names = _checked_names(frame.columns, what)
    columns = [frame.iloc[:, position] for position in range(len(names))]
    index = frame.index
    for level, name in reversed(list(enumerate(index.names))):
        if name is not None and name not in names:
            names.insert(0, *_checked_names([name], what))
            columns.insert(0, index.get_level_values(level).to_series())
    _check_index(index, [name for name in declared if name not in names], what)
    arrays = [_pandas_column(column, Place(f"{what}.{name}"), declared.get(name)) for name, column in zip(names, columns, strict=True)]
    return pa.table(arrays, names)


def _check_index(index: Any, missing: Sequence[str], what: str) -> None:
    """An index without a name is dropped, unless it may be what is missing."""
    if missing and any(name is None for name in index.names) and type(index).__name__ != "RangeIndex":
        message = f"{what}: no column {missing[0]!r}; the frame has an index without a name, which is not read"
        raise SchemaMismatchError(message, hint="if the index holds it, name it or call reset_index()")


def _pandas_column(series: Any, place: Place, dtype: DType | None) -> pa.Array | pa.ChunkedArray:
    if series.dtype == object:
        missing = series.isna().tolist()
        return array_of([None if lost else value for lost, value in zip(missing, series.tolist(), strict=True)], place, dtype)
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as cause:
        raise SchemaMismatchError(f"{place.name}: pandas values of type {series.dtype}", hint="cast the column") from cause
