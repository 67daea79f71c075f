"""Explaining one cell of a window view: the events of the key around the label's time, and why each counts or not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine.asking.explanation import Explanation, rows_of, told_row, why_unseen
from mlstore.engine.asking.questions import KnownAt, known_tick, window_tick
from mlstore.engine.asking.selection import Selected
from mlstore.engine.asking.windowed import WindowAnswer
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.answering import WindowQuestions, plan_of, source_of
from mlstore.engine.windows.plan import WindowPlan
from mlstore.format.answers import NOT_FOUND
from mlstore.format.keys import Keys, encode_key
from mlstore.schema.timestamps import instant_ns

COUNTS, TOO_OLD = "counts", "before the window"


def explain_window(context: ReadContext, selected: Selected, label: Mapping[str, Any], *, timestamp: str, known_at: KnownAt) -> Explanation:
    """The events behind one cell of a window view; see Store.explain."""
    relation, layout, source = selected.relation, selected.relation.layout, source_of(selected.relation)
    key = {part.name: label[column] for part, column in zip(layout.keys, selected.key_columns, strict=True)}
    if label[timestamp] is None:
        return Explanation(selected.references[0], key, None, None, NOT_FOUND)
    asked_ns = instant_ns(label[timestamp])
    moment = np.array([window_tick(asked_ns - selected.way.offset_ns, layout)])
    known = _known(known_at, asked_ns // layout.ticks_ns, selected)
    code = encode_key(relation.key_spec, list(key.values()))
    keys = Keys.from_encoded([] if code is None else [code], relation.key_spec.kind)
    plan = plan_of(relation, selected.numbers)
    output, history = plan.outputs[0], context.history(selected.stored)
    bound = NO_NUMBERS if known is None else np.array([known])
    questions = WindowQuestions(keys, np.array([-1 if code is None else 0], np.int32), moment, bound)
    answer = WindowAnswer(history, selected, questions, status=True)
    others = () if output.where is None else output.where.columns
    told = _judge(plan, rows_of(history, source, keys, output.column, others=others), moment, known, selected)
    at = pa.scalar(asked_ns, pa.timestamp("ns", "UTC")).cast(pa.timestamp("us", "UTC"), safe=False).as_py()
    return Explanation(selected.references[0], key, at, answer.columns[0][0].as_py(), answer.status[0].as_py(), told)


def _known(known_at: KnownAt, label_tick: int, selected: Selected) -> int | None:
    if known_at is None:
        return None
    return label_tick if known_at == "label" else known_tick(known_at, selected.relation.layout)


def _judge(plan: WindowPlan, rows: list[dict[str, Any]], moment: Int64, known: int | None, selected: Selected) -> list[dict[str, Any]]:
    """Each row, newest first, with its verdict."""
    output, layout = plan.outputs[0], selected.relation.layout
    low, high = (int(bound[0]) for bound in plan.interval(output.window, moment))
    is_last = bool(output.window.shift_ns or plan.offset or output.window.hop_ns or selected.way.offset_ns)
    told: list[dict[str, Any]] = []
    held, newest = 0, None
    for row in rows:
        verdict = why_unseen(row, layout, latest=high, known=known)
        if verdict is not None and is_last and not (row["newer"] or row["gone"]) and row["time"] > high:
            verdict = "after the window"
        if verdict is None and output.where is not None and not _fulfils(output.where, row["others"], selected):
            verdict = f"does not fulfil {output.where}"
        if verdict is None:
            before = high if newest is None else newest
            is_over = output.window.kind == "session" and (newest == _OVER or row["time"] < before - output.window.gap_ns // plan.tick_ns)
            newest = _OVER if is_over else row["time"]
            if row["time"] < low or is_over or (output.window.kind == "rows" and held >= output.window.rows):
                verdict = TOO_OLD
            else:
                held += 1
                verdict = COUNTS if row["value"] is not None or output.column is None else "null, which is passed over"
        told.append(told_row(row, layout, verdict))
    return told


_OVER = -(2**64)  # before every event: the session has begun after it


def _fulfils(where: Any, columns: Mapping[str, Any], selected: Selected) -> bool:
    plan = plan_of(selected.relation, selected.numbers)
    arrays = {name: pa.array([value], plan.types[name].arrow) for name, value in columns.items()}
    return where.evaluate(arrays, rows=1)[0].as_py() is True
