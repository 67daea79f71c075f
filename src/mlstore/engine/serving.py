"""The online journey: keys in, the newest features out, all views at one consistent point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asof import newest_questions
from mlstore.engine.lookup import (
    NOT_FOUND,
    NULL_VALUE,
    OUTSIDE_TTL,
    PRESENT,
    expiry,
    look_up,
    status_array,
    status_codes,
    times_or_null,
)
from mlstore.engine.online import get_rows
from mlstore.engine.selection import Features, Selected, select, status_names
from mlstore.engine.session import ReadContext
from mlstore.errors import SchemaMismatchError
from mlstore.format.keys import Keys, encode_key, factorize
from mlstore.format.rows import peek
from mlstore.schema.conform import conform_keys
from mlstore.schema.frames import to_table


@dataclass(frozen=True, slots=True)
class Ask:
    """How online features are asked for; see Store.online_features."""

    now_ns: int
    full_names: bool
    status: bool


def online_features(context: ReadContext, features: Features, keys: Any, ask: Ask) -> dict[str, Any] | pa.Table:
    """A dict for one key, a table for many; see Store.online_features."""
    if isinstance(keys, Mapping) and not any(_is_column(value) for value in keys.values()):
        selection = select(context.catalog, features, taken=keys, full_names=ask.full_names, status=ask.status)
        return _one(context, selection, keys, ask)
    table = to_table(keys, what="keys")
    selection = select(context.catalog, features, taken=table.column_names, full_names=ask.full_names, status=ask.status)
    return _many(context, selection, table, ask)


def _is_column(value: object) -> bool:
    return not isinstance(value, str | bytes) and (hasattr(value, "__len__") or hasattr(value, "__arrow_c_array__"))


def _one(context: ReadContext, selection: Sequence[Selected], keys: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    answer = dict(keys)
    for selected in selection:
        layout = selected.relation.layout
        missing = [field.name for field in layout.keys if field.name not in keys]
        if missing:
            raise _missing_key(selected, missing[0], list(keys))
        code = encode_key(selected.relation.key_spec, [keys[field.name] for field in layout.keys])
        values, *told = _one_view(context, selected, code, ask)
        answer.update(zip(selected.outputs, values, strict=True))
        if ask.status:
            answer.update(zip(status_names(selected), told, strict=True))
    return answer


def _one_view(context: ReadContext, selected: Selected, code: bytes | None, ask: Ask) -> tuple[list[Any], str, Any, Any]:
    relation, nothing = selected.relation, [None] * len(selected.numbers)
    if code is None:
        return nothing, NOT_FOUND, None, None
    if not context.scope.is_live or relation.layout.last_valid:
        found = _from_history(context, selected, Keys.from_encoded([code], relation.key_spec.kind), ask)
        told = (column[0].as_py() for column in (found.status, found.event_time, found.valid_to))
        return [column[0].as_py() for column in found.columns], *told
    row = get_rows(context.reader, relation, context.scope, [code])[0]
    if row is None:
        return nothing, NOT_FOUND, None, None
    time = peek(row)[1]
    oldest = _oldest(selected, ask)
    if oldest is not None and time < oldest:
        return nothing, OUTSIDE_TTL, None, None
    values = relation.rows.decode_one(row, selected.numbers)
    shown = valid_to = None
    if ask.status:
        ticks, present = np.array([time]), np.array([True])
        shown = times_or_null(ticks, present, relation.layout)[0].as_py()
        valid_to = times_or_null(expiry(ticks, relation.layout), present, relation.layout)[0].as_py()
    return values, NULL_VALUE if all(value is None for value in values) else PRESENT, shown, valid_to


def _many(context: ReadContext, selection: Sequence[Selected], table: pa.Table, ask: Ask) -> pa.Table:
    names, columns = table.column_names, table.columns
    for selected in selection:
        layout = selected.relation.layout
        missing = [field.name for field in layout.keys if field.name not in table.column_names]
        if missing:
            raise _missing_key(selected, missing[0], table.column_names)
        given = conform_keys(layout.keys, table, what="keys")
        factored = factorize(selected.relation.key_spec, given, table.num_rows)
        found = _view(context, selected, factored.keys, ask)
        spread = pa.array(factored.codes, mask=factored.codes < 0)
        names = [*names, *selected.outputs]
        columns = [*columns, *(column.take(spread) for column in found.columns)]
        if ask.status:
            names += status_names(selected)
            columns += [found.status.take(spread).fill_null(NOT_FOUND), found.event_time.take(spread), found.valid_to.take(spread)]
    return pa.Table.from_arrays(columns, names=names)


@dataclass(frozen=True, slots=True)
class _Found:
    """One view's answer for distinct keys."""

    columns: list[pa.Array]
    status: pa.Array
    event_time: pa.Array
    valid_to: pa.Array


def _view(context: ReadContext, selected: Selected, keys: Keys, ask: Ask) -> _Found:
    relation = selected.relation
    if not context.scope.is_live or relation.layout.last_valid:
        return _from_history(context, selected, keys, ask)
    decoded = relation.rows.decode(get_rows(context.reader, relation, context.scope, keys.encoded()), selected.numbers)
    oldest = _oldest(selected, ask)
    outside = np.zeros(len(keys), np.bool_) if oldest is None else decoded.found & (decoded.event_time < oldest)
    columns = [_without(column, outside) for column in decoded.columns]
    present = decoded.found & ~outside
    times = times_or_null(decoded.event_time, present, relation.layout)
    valid_to = times_or_null(expiry(decoded.event_time, relation.layout), present, relation.layout)
    status = status_array(status_codes(present, outside, columns))
    return _Found(columns, status, times, valid_to)


def _from_history(context: ReadContext, selected: Selected, keys: Keys, ask: Ask) -> _Found:
    """What the online row was at a past version, or is where each feature reaches back on its own."""
    questions, oldest = newest_questions(keys), _oldest(selected, ask)
    if oldest is not None:
        bound = np.full(len(keys), oldest, np.int64)
        questions = replace(questions, oldest=bound)
    answer = look_up(context.history(selected.relation), selected, questions, len(keys), status=True)
    return _Found(answer.columns, answer.status, answer.event_time, answer.valid_to)


def _oldest(selected: Selected, ask: Ask) -> int | None:
    """The oldest event time that is still within the ttl."""
    layout = selected.relation.layout
    if layout.ttl_ns is None:
        return None
    bound = ask.now_ns - layout.ttl_ns
    return bound if layout.time_unit == "ns" else -(-bound // 1000)


def _without(column: pa.Array, outside: NDArray[np.bool_]) -> pa.Array:
    if not outside.any():
        return column
    return column.take(pa.array(np.arange(len(column)), mask=outside))


def _missing_key(selected: Selected, name: str, given: Sequence[str]) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"{selected.relation.label} needs key {name!r}, got {', '.join(given) or 'no keys'}", hint=f"add {name!r} to the keys"
    )
