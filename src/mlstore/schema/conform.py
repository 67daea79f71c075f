"""Data made to fit a layout: every column there, of its type, in its unit, or a refusal that names thing, place and cure.

Zero-copy where the data fits already. Rows stay in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.casts import cast_column, cast_key_column
from mlstore.schema.instants import TICK_NS
from mlstore.schema.layout import Field, Layout
from mlstore.schema.places import Place
from mlstore.schema.timestamps import Ticks, shifted, to_unit

HIDDEN_TIMES = ("created", "created_timestamp")


@dataclass(frozen=True, slots=True)
class Conformed:
    """Rows that fit: keys and features in the order of the layout and of exactly its types, times in its unit.

    `event_time` is None for a layout without a timestamp, `created` for one that does not say when rows became known: the
    commit does. A row whose own created time is null has NULL_TIME, which means the same.
    """

    rows: int
    keys: tuple[pa.ChunkedArray, ...]
    event_time: Ticks | None
    created: Ticks | None
    features: tuple[pa.ChunkedArray, ...]


def conform(layout: Layout, table: pa.Table, *, first_row: int = 0) -> Conformed:
    """The rows of `table` as the layout wants them; messages count rows from `first_row`.

    SchemaMismatchError: a column missing, unknown or of a type that does not fit. InvalidDataError: a null key or time, or a
    value out of range. Only float64 written to float32 is rounded.
    """
    _check_columns(layout, table.column_names)

    def place(column: str) -> Place:
        return Place(f"{layout.name}.{column}").after(first_row)

    event_time = None
    if layout.timestamp is not None:
        name = f"{layout.name}.{layout.timestamp}"
        event_time = to_unit(table.column(layout.timestamp), layout.time_unit, name=name, first_row=first_row)
    return Conformed(
        rows=table.num_rows,
        keys=tuple(_key_column(field, table, place(field.name)) for field in layout.keys),
        event_time=event_time,
        created=_created(layout, table, event_time, first_row),
        features=tuple(cast_column(table.column(field.name), field.dtype, place(field.name)) for field in layout.features),
    )


def conform_keys(fields: Sequence[Field], table: pa.Table, *, what: str) -> tuple[pa.ChunkedArray, ...]:
    """The key columns of labels or of a lookup, by the same casts; other columns are left alone.

    Nulls are allowed. A value that no key can have (an integer out of range, a time with lost digits) becomes null: like a
    null, it matches nothing.
    """
    given = table.column_names
    _check_missing(what, [field.name for field in fields], given)
    _check_duplicates(what, [name for name in given if name in {field.name for field in fields}])
    return tuple(cast_key_column(table.column(field.name), field.dtype, Place(f"{what}.{field.name}")) for field in fields)


def _key_column(field: Field, table: pa.Table, place: Place) -> pa.ChunkedArray:
    column = cast_column(table.column(field.name), field.dtype, place)
    if column.null_count:
        row = int(pc.index(column.is_null(), value=True).as_py())
        raise InvalidDataError(f"{place.at(row)}: the key is null", hint="drop the row, or give it a key")
    return column


def _created(layout: Layout, table: pa.Table, event_time: Ticks | None, first_row: int) -> Ticks | None:
    if layout.created_timestamp is not None:
        column, name = table.column(layout.created_timestamp), f"{layout.name}.{layout.created_timestamp}"
        return to_unit(column, layout.time_unit, name=name, allow_null=True, first_row=first_row)
    if layout.available_after_ns is not None and event_time is not None:
        return shifted(event_time, layout.available_after_ns // TICK_NS[layout.time_unit])
    return None


def _check_columns(layout: Layout, given: Sequence[str]) -> None:
    expected = layout.column_names
    _check_missing(layout.name, expected, given)
    _check_duplicates(layout.name, given)
    extra = [name for name in given if name not in expected]
    if extra:
        hint = f"drop {extra[0]!r}, or add it to the schema"
        if layout.created_timestamp is None and extra[0] in HIDDEN_TIMES:
            hint = f"if it says when a row became known, declare created_timestamp={extra[0]!r}; else drop it"
        message = f"{layout.name}: unknown column {_listed(extra)}; expected {_listed(expected)}"
        raise SchemaMismatchError(message, hint=hint)


def _check_missing(what: str, expected: Iterable[str], given: Sequence[str]) -> None:
    missing = [name for name in expected if name not in given]
    if not missing:
        return
    spare = [name for name in given if name not in expected]
    close = get_close_matches(missing[0].lower(), [name.lower() for name in spare], n=1)
    likely = [name for name in spare if close and name.lower() == close[0]]
    hint = f"rename {likely[0]!r} to {missing[0]!r}?" if likely else f"add {missing[0]!r} to the data"
    raise SchemaMismatchError(f"{what}: no column {_listed(missing)}; given: {_listed(given) or 'no columns'}", hint=hint)


def _check_duplicates(what: str, given: Sequence[str]) -> None:
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise SchemaMismatchError(f"{what}: more than one column {_listed(twice)}", hint="give each column once")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
