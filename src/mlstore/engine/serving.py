"""The online journey: keys in, the newest features out, all views at one consistent point."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asof import newest_questions
from mlstore.engine.block import Int64
from mlstore.engine.lookup import Answer, expiry, status_array, status_codes, times_or_null
from mlstore.engine.meter import Meter
from mlstore.engine.online import get_rows
from mlstore.engine.point import oldest_tick
from mlstore.engine.selection import Selected, status_names
from mlstore.engine.session import ReadContext
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.answers import NOT_FOUND
from mlstore.format.keys import Factorized, Keys, encode_key, factorize
from mlstore.format.rows import peek_many
from mlstore.schema.conform import conform_keys


@dataclass(frozen=True, slots=True)
class Ask:
    """How online features are asked for; see Store.online_features."""

    now_ns: int
    status: bool


@dataclass(frozen=True, slots=True)
class Found:
    """One view's answer, a row per row of keys."""

    columns: list[pa.Array]
    status: pa.Array | None
    event_time: pa.Array | None
    valid_to: pa.Array | None

    def told(self) -> list[pa.Array]:
        return [self.status, self.event_time, self.valid_to]


def answer_one(context: ReadContext, selection: Sequence[Selected], keys: Mapping[str, Any], ask: Ask, meter: Meter) -> dict[str, Any]:
    """The features of one key, as a dict."""
    answer = dict(keys)
    for selected in selection:
        relation = selected.relation
        require_keys(selected, list(keys))
        code = encode_key(relation.key_spec, [keys[column] for column in selected.key_columns])
        asked = Keys.from_encoded([] if code is None else [code], relation.key_spec.kind)
        found = _answer(context, selected, asked, np.array([-1 if code is None else 0], np.int32), ask, meter)
        answer.update(zip(selected.outputs, (column[0].as_py() for column in found.columns), strict=True))
        if ask.status:
            answer.update(zip(status_names(selected), (column[0].as_py() for column in found.told()), strict=True))
    return answer


def answer_many(context: ReadContext, selection: Sequence[Selected], table: pa.Table, ask: Ask, meter: Meter) -> pa.Table:
    """The keys with the features of each, in their order."""
    names, columns = table.column_names, table.columns
    for selected, keys, codes in factor_keys(selection, table):
        found = _answer(context, selected, keys, codes, ask, meter)
        names = [*names, *selected.outputs]
        columns = [*columns, *found.columns]
        if ask.status:
            names += status_names(selected)
            columns += found.told()
    return pa.Table.from_arrays(columns, names=names)


def factor_keys(selection: Sequence[Selected], table: pa.Table) -> Iterator[tuple[Selected, Keys, NDArray[np.int32]]]:
    """For each view the distinct keys asked for, sorted, and which of them each row asks for (-1: a null); entities are shared."""
    known: dict[tuple[object, ...], Factorized] = {}
    for selected in selection:
        fields, columns = selected.relation.layout.keys, selected.key_columns
        require_keys(selected, table.column_names)
        if (fields, columns) not in known:
            asked = table.select(list(columns)).rename_columns([field.name for field in fields])
            known[fields, columns] = factorize(selected.relation.key_spec, conform_keys(fields, asked, what="keys"), table.num_rows)
        yield selected, known[fields, columns].keys, known[fields, columns].codes


def _answer(context: ReadContext, selected: Selected, keys: Keys, codes: NDArray[np.int32], ask: Ask, meter: Meter) -> Found:
    """What a view answers, a row per code."""
    relation = selected.relation
    if not context.scope.is_live or relation.layout.last_valid:
        found = _from_history(context, selected, keys, ask)
        spread = pa.array(codes, mask=codes < 0)
        columns = [column.take(spread) for column in found.columns]
        if found.status is None:
            return Found(columns, None, None, None)
        return Found(columns, found.status.take(spread).fill_null(NOT_FOUND), found.event_time.take(spread), found.valid_to.take(spread))
    heads = peek_many(get_rows(context.reader, relation, context.scope.line, keys.encoded()))
    outside = heads.found & (heads.event_time < oldest_tick(selected, ask.now_ns))
    shown = heads.spread(codes, hidden=outside)
    columns = relation.rows.decode_heads(shown, selected.numbers).columns
    _count(meter, selected, heads.event_time[heads.found & ~outside], int(outside.sum()), len(keys) - int(heads.found.sum()), ask)
    if not ask.status:
        return Found(columns, None, None, None)
    times = times_or_null(shown.event_time, shown.found, relation.layout)
    valid_to = times_or_null(expiry(shown.event_time, selected), shown.found, relation.layout)
    is_outside = outside[codes] & (codes >= 0) if len(keys) else np.zeros(len(codes), np.bool_)
    return Found(columns, status_array(status_codes(shown.found, is_outside, columns)), times, valid_to)


def _count(meter: Meter, selected: Selected, times: Int64, outside: int, missing: int, ask: Ask) -> None:
    view = meter.view(selected.relation.table)
    view.outside_ttl.add(outside)
    view.not_found.add(missing)
    view.ages.record_many(ask.now_ns - times * selected.relation.layout.ticks_ns)


def _from_history(context: ReadContext, selected: Selected, keys: Keys, ask: Ask) -> Found:
    """What the online row was at a past version, or is where each feature reaches back on its own."""
    questions = newest_questions(keys)
    if selected.ttl_ns is not None:
        questions = replace(questions, oldest=np.full(len(keys), oldest_tick(selected, ask.now_ns), np.int64))
    answer = Answer(context.history(selected.relation), selected, questions, len(keys))
    if not ask.status:
        return Found(answer.columns, None, None, None)
    return Found(answer.columns, answer.status, answer.event_time, answer.valid_to)


def require_keys(selected: Selected, given: Sequence[str]) -> None:
    """Refuse keys that lack a column of the view, and what is not asked for as it is newest."""
    for column in selected.key_columns:
        if column not in given:
            raise SchemaMismatchError(
                f"{selected.relation.label} needs key {column!r}, got {', '.join(given) or 'no keys'}", hint=f"add {column!r} to the keys"
            )
    if selected.way.offset_ns:
        raise UsageError(
            f"{str(selected.way)!r}: online features are the newest, without an offset",
            hint="ask training_set for values of an earlier time",
        )
