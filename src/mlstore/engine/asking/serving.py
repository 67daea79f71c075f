"""The online journey: keys in, the newest features out, all views at one consistent point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.lookup import Answer, expiry, status_array, status_codes, times_or_null
from mlstore.engine.asking.newest import NewestRows, beside
from mlstore.engine.asking.point import oldest_tick
from mlstore.engine.asking.questions import window_tick
from mlstore.engine.asking.selection import Selected, status_names
from mlstore.engine.asking.windowed import WindowAnswer
from mlstore.engine.history.asof import newest_questions
from mlstore.engine.history.block import NO_NUMBERS
from mlstore.engine.history.online import ONLINE, get_rows, online_prefix
from mlstore.engine.meter import Meter
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.answering import WindowQuestions
from mlstore.engine.windows.tilereading import answer_live, live_plan
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.answers import NOT_FOUND
from mlstore.format.keys import Factorized, Keys, encode_key, factorize, line_up
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

    batch: pa.RecordBatch
    status: pa.Array | None
    event_time: pa.Array | None
    valid_to: pa.Array | None

    def told(self) -> list[pa.Array]:
        return [self.status, self.event_time, self.valid_to]


def answer_one(context: ReadContext, selection: Sequence[Selected], keys: Mapping[str, Any], ask: Ask, meter: Meter) -> dict[str, Any]:
    """The features of one key, as a dict."""
    answer = dict(keys)
    for selected in selection:
        values = None if ask.status or selected.relation.window is None else _from_tiles(context, selected, keys, ask)
        if values is not None:
            answer.update(zip(selected.outputs, values, strict=True))
            continue
        found = _answer(context, selected, one_key(selected, keys), ask, meter)
        answer.update(zip(selected.outputs, (column[0].as_py() for column in found.batch.columns), strict=True))
        if ask.status:
            answer.update(zip(status_names(selected), (column[0].as_py() for column in found.told()), strict=True))
    return answer


def one_key(selected: Selected, keys: Mapping[str, Any]) -> Factorized:
    """The key of a view, one row; strict about its type."""
    return as_one(selected, _encoded(selected, keys))


def as_one(selected: Selected, code: bytes | None) -> Factorized:
    """An encoded key, one row; None: a null one."""
    spec = selected.relation.key_spec
    return Factorized(Keys.from_encoded([] if code is None else [code], spec.kind), np.array([-1 if code is None else 0], np.int32))


def _encoded(selected: Selected, keys: Mapping[str, Any]) -> bytes | None:
    require_keys(selected, list(keys))
    return encode_key(selected.relation.key_spec, [keys[column] for column in selected.key_columns])


def answer_many(context: ReadContext, selection: Sequence[Selected], table: pa.Table, ask: Ask, meter: Meter) -> pa.Table:
    """The keys with the features of each, in their order."""
    asked = AskedKeys(table)
    found = [
        _answer(context, selected, asked.of(selected, is_sorted=_needs_history(context, selected)), ask, meter) for selected in selection
    ]
    if not ask.status:
        return beside(table, [answer.batch for answer in found])
    names, columns = table.column_names, table.columns
    for selected, answer in zip(selection, found, strict=True):
        names = [*names, *selected.outputs, *status_names(selected)]
        columns = [*columns, *answer.batch.columns, *answer.told()]
    return pa.Table.from_arrays(columns, names=names)


class AskedKeys:
    """The keys of a table, encoded for each view; what views share is worked out once."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._known: dict[tuple[object, ...], Factorized] = {}

    def of(self, selected: Selected, *, is_sorted: bool) -> Factorized:
        """The keys of a view: sorted and unique, or as they come."""
        fields, columns = selected.relation.layout.keys, selected.key_columns
        require_keys(selected, self._table.column_names)
        if (fields, columns, is_sorted) not in self._known:
            asked = self._table.select(list(columns)).rename_columns([field.name for field in fields])
            encode = factorize if is_sorted else line_up
            found = encode(selected.relation.key_spec, conform_keys(fields, asked, what="keys"), self._table.num_rows)
            self._known[fields, columns, is_sorted] = found
        return self._known[fields, columns, is_sorted]


def _needs_history(context: ReadContext, selected: Selected) -> bool:
    """Whether the answer is not the online row, but what it was at a past version, or where each feature reaches back on its own."""
    return not context.scope.is_live or selected.relation.layout.last_valid or selected.relation.window is not None


def _answer(context: ReadContext, selected: Selected, asked: Factorized, ask: Ask, meter: Meter) -> Found:
    """What a view answers, a row per code."""
    relation = selected.relation
    if relation.window is not None:
        return _from_windows(context, selected, asked, ask)
    if _needs_history(context, selected):
        return _spread(_from_history(context, selected, asked.keys, ask), asked.codes)
    reader = context.catalog.remember(("newest", selected), lambda: NewestRows(selected))
    heads = peek_many(_online_rows(context, selected, asked.keys))
    newest = reader.read(heads, asked.codes, ask.now_ns, meter)
    if not ask.status:
        return Found(newest.batch, None, None, None)
    shown, outside = newest.shown, newest.outside
    times = times_or_null(shown.event_time, shown.found, relation.layout)
    valid_to = times_or_null(expiry(shown.event_time, selected), shown.found, relation.layout)
    is_outside = np.zeros(len(shown.found), np.bool_) if outside is None else heads.shown(asked.codes, hidden=~outside).found
    return Found(newest.batch, status_array(status_codes(shown.found, is_outside, newest.batch.columns)), times, valid_to)


def _online_rows(context: ReadContext, selected: Selected, keys: Keys) -> list[bytes | None]:
    if context.scope.ancestry:
        return get_rows(context.reader, selected.relation, context.scope, keys.encoded())
    return context.reader.get_many(ONLINE, keys.records(online_prefix(selected.relation, context.scope.line)))


def _spread(found: Found, codes: NDArray[np.int32]) -> Found:
    rows = pa.array(codes, mask=codes < 0)
    batch = found.batch.take(rows)
    if found.status is None or found.event_time is None or found.valid_to is None:
        return Found(batch, None, None, None)
    return Found(batch, found.status.take(rows).fill_null(NOT_FOUND), found.event_time.take(rows), found.valid_to.take(rows))


def _from_history(context: ReadContext, selected: Selected, keys: Keys, ask: Ask) -> Found:
    questions = newest_questions(keys)
    if selected.ttl_ns is not None:
        questions = replace(questions, oldest=np.full(len(keys), oldest_tick(selected, ask.now_ns), np.int64))
    answer = Answer(context.history(selected.relation), selected, questions, len(keys))
    batch = pa.RecordBatch.from_arrays(answer.columns, selected.outputs)
    if not ask.status:
        return Found(batch, None, None, None)
    return Found(batch, answer.status, answer.event_time, answer.valid_to)


def _from_tiles(context: ReadContext, selected: Selected, keys: Mapping[str, Any], ask: Ask) -> list[Any] | None:
    """What is in the windows of one key now, where tiles tell."""
    now = window_tick(ask.now_ns, selected.relation.layout)
    ready = live_plan(context, selected.relation, selected.numbers)
    if ready is None:
        return None
    code = _encoded(selected, keys)
    answers = ready.answer_kept(context, code, now)
    if ready.others:
        answers |= {name: column[0].as_py() for name, column in ready.answer_others(context, as_one(selected, code), now).items()}
    return [answers[output.name] for output in ready.outputs]


def _from_windows(context: ReadContext, selected: Selected, asked: Factorized, ask: Ask) -> Found:
    """What is in the windows now, a row per code; of a null key, as of one without events."""
    now = window_tick(ask.now_ns, selected.relation.layout)
    questions = WindowQuestions(asked.keys, asked.codes, np.full(len(asked.codes), now, np.int64), NO_NUMBERS)
    if not ask.status:
        columns = answer_live(context, selected.relation, selected.numbers, asked, now)
        if columns is not None:
            return Found(pa.RecordBatch.from_arrays(columns, selected.outputs), None, None, None)
    answer = WindowAnswer(context.history(selected.stored), selected, questions, status=ask.status)
    batch = pa.RecordBatch.from_arrays(answer.columns, selected.outputs)
    if not ask.status:
        return Found(batch, None, None, None)
    return Found(batch, answer.status, answer.event_time, answer.valid_to)


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
