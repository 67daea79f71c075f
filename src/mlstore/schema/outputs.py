"""A window view resolved against its source: each output with its type, ready for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlstore.errors import DefinitionError, UnknownNameError, UsageError
from mlstore.schema.aggregation import FUNCTIONS, Aggregation, Part, fits, output_type
from mlstore.schema.declarations import FieldEquality
from mlstore.schema.dtypes import DType, bool_, int64, map_
from mlstore.schema.durations import format_duration
from mlstore.schema.expression import Expression
from mlstore.schema.layout import Field, Layout
from mlstore.schema.window import Window
from mlstore.schema.window_view import WindowView


@dataclass(frozen=True, slots=True, eq=False)
class Output(FieldEquality):
    """One feature of a window view: what to work out, of which column, over which window, of which events.

    column: of the source, a feature or a key; None for rows. Of n, q, k, edges and half_life_ns only what `function` takes is set.
    by: the column whose values are the keys of the map that the output is. where: what must be true of an event; the view's is in it.
    """

    name: str
    dtype: DType
    function: str
    column: str | None
    window: Window
    n: int | None = None
    q: float | None = None
    k: int | None = None
    edges: tuple[float, ...] = ()
    half_life_ns: int | None = None
    by: str | None = None
    where: Expression | None = None


def resolve_outputs(view: WindowView, source: Layout) -> tuple[Output, ...]:
    """The outputs of a view over a source, in order; an error names what does not fit."""
    place = f"window view {view.name}"
    _check_ticks(view, source, place)
    columns = {field.name: field.dtype for field in (*source.keys, *source.features)}
    _check_where(view.where, columns, f"{place}: where=")
    return tuple(_resolve(view, aggregation, part, columns, place) for aggregation, part in view.parts())


def window_layout(view: WindowView, keys: tuple[Field, ...], source: Layout) -> Layout:
    """The layout of a view over a source: the entity's keys, and the outputs as features. It has no rows, so no time of its own.

    Refuses a source whose rows do not lie in the order that windows over these keys need.
    """
    place = f"window view {view.name}"
    if source.timestamp is None:
        hint = f"give {source.name} a timestamp= that says when a row was true"
        raise DefinitionError(f"{place}: its source {source.name} has no event time", hint=hint)
    first = source.keys[: len(keys)]
    if first != keys:
        shown = ", ".join(f"{field.name} {field.dtype}" for field in keys)
        found = ", ".join(f"{field.name} {field.dtype}" for field in source.keys) or "none"
        message = f"{place}: the keys of its source {source.name} are {found}, and do not begin with those of its entity: {shown}"
        raise DefinitionError(
            message, hint=f"events of {view.entity_name} are found by its keys: make them the first keys of {source.name}"
        )
    outputs = resolve_outputs(view, source)
    for output in outputs:
        if any(output.name == field.name for field in keys):
            raise DefinitionError(
                f"{place}: {output.name!r} is a key and an output", hint="name the output otherwise, with name= in its agg"
            )
    return Layout(
        name=view.name,
        keys=keys,
        features=tuple(Field(output.name, output.dtype) for output in outputs),
        timestamp=None,
        created_timestamp=None,
        time_unit=source.time_unit,
        ttl_ns=None,
        retention_ns=None,
        available_after_ns=None,
        is_strict=view.is_strict,
        last_valid=False,
        is_online=True,
    )


def check_kept(view: WindowView, source: Layout) -> None:
    """Refuse windows that reach further back than the source keeps its rows; those that no length bounds are over what is kept."""
    if source.retention_ns is None:
        return
    furthest = max(view.windows(), key=lambda window: window.span_ns + window.shift_ns)
    reach = furthest.span_ns + furthest.shift_ns + view.offset_ns
    if reach > source.retention_ns:
        kept = format_duration(source.retention_ns)
        message = (
            f"window view {view.name}: {furthest.label} reaches {format_duration(reach)} back, and {source.name} keeps its rows for {kept}"
        )
        raise DefinitionError(message, hint=f"raise the retention= of {source.name}, or choose shorter windows")


def _resolve(view: WindowView, aggregation: Aggregation, part: Part, columns: Mapping[str, DType], place: str) -> Output:
    column = None if aggregation.column is None else _column(aggregation.column, columns, f"{place}: {part.name}")
    if column is not None and not fits(part.function, column):
        wanted = "a number" if FUNCTIONS[part.function].over == "number" else "one plain value"
        message = f"{place}: {part.name}: {part.function} of {aggregation.column}, which is {column}"
        raise DefinitionError(message, hint=f"{part.function} needs {wanted} in each row")
    dtype = int64 if column is None and part.function == "count" else output_type(part.function, column or int64)
    if aggregation.by is not None:
        category = _column(aggregation.by, columns, f"{place}: {part.name}: by=")
        if not category.is_key:
            hint = "group by integers, string, binary, bool, date or timestamp"
            raise DefinitionError(f"{place}: {part.name}: by={aggregation.by!r} is {category}", hint=hint)
        dtype = map_(category, dtype)
    _check_where(aggregation.where, columns, f"{place}: {part.name}: where=")
    parameter = FUNCTIONS[part.function].parameter
    return Output(
        part.name,
        dtype,
        part.function,
        aggregation.column,
        part.window,
        n=aggregation.n if parameter == "n" else None,
        q=part.q,
        k=aggregation.k if parameter == "k" else None,
        edges=tuple(aggregation.bins) if parameter == "bins" else (),
        half_life_ns=aggregation.half_life_ns if parameter == "half_life" else None,
        by=aggregation.by,
        where=both(view.where, aggregation.where),
    )


def both(one: Expression | None, other: Expression | None) -> Expression | None:
    """What is true where both are; None for everywhere."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _check_where(where: Expression | None, columns: Mapping[str, DType], place: str) -> None:
    if where is None:
        return
    try:
        dtype = where.dtype(columns)
    except UsageError as cause:
        raise type(cause)(f"{place}{where}: {cause.message}", hint=cause.hint) from cause
    if dtype != bool_:
        raise DefinitionError(f"{place}{where} is {dtype}, not bool", hint='compare something: ml.col("amount") > 0')


def _column(name: str, columns: Mapping[str, DType], place: str) -> DType:
    if name not in columns:
        raise UnknownNameError(f"{place}: its source has no column {name!r}", hint=f"the columns are {', '.join(columns)}")
    return columns[name]


def _check_ticks(view: WindowView, source: Layout, place: str) -> None:
    """Lengths are counted in ticks of the source's clock: a fraction of one has no meaning."""
    lengths = [(repr(window), length) for window in view.windows() for _, length in window.durations()]
    lengths += [("offset", view.offset_ns), *(("tiles", width) for width in view.levels_ns)]
    for what, length in lengths:
        if length % source.ticks_ns:
            hint = f'round it, or set time_unit="ns" in {source.name}'
            raise DefinitionError(f"{place}: {what} is no whole number of {source.time_unit}, which {source.name} counts in", hint=hint)
