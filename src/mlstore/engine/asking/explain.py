"""Explaining one cell: the rows of the key around the label's time, and why each won or lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mlstore.engine.asking.explain_windows import explain_window
from mlstore.engine.asking.explanation import Explanation, rows_of, told_row, why_unseen
from mlstore.engine.asking.questions import KnownAt, known_tick, latest_ticks
from mlstore.engine.asking.selection import Features, Selected, select
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.events import Source
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.answers import NOT_FOUND, NULL_VALUE, OUTSIDE_TTL, PRESENT
from mlstore.format.keys import Keys, encode_key
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import ceil_to_unit, floor_to_unit, instant_ns

WON, TOO_OLD, REACHES_BACK = "won", "older than the ttl allows", 'null, and nulls="last_valid" reaches back'


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What rule 1 asks of a row, in the layout's ticks."""

    latest: int
    oldest: int | None
    known: int | None


def explain(context: ReadContext, label: Mapping[str, Any], feature: Features, *, timestamp: str, known_at: KnownAt) -> Explanation:
    """The rows behind one cell of a training set; see Store.explain."""
    selected = select(context.catalog, feature, taken=(), full_names=False)[0]
    if len(selected.numbers) != 1:
        raise UsageError(f"{feature!r} names {len(selected.numbers)} features", hint='name one, as "view:feature"')
    relation, layout = selected.relation, selected.relation.layout
    for name in (timestamp, *selected.key_columns):
        if name not in label:
            raise SchemaMismatchError(f"the label has no {name!r}, only {', '.join(label) or 'nothing'}", hint="give keys and time")
    if relation.window is not None:
        return explain_window(context, selected, label, timestamp=timestamp, known_at=known_at)
    key = {part.name: label[column] for part, column in zip(layout.keys, selected.key_columns, strict=True)}
    if label[timestamp] is None:
        return Explanation(selected.references[0], key, None, None, NOT_FOUND)
    time = pa.chunked_array([pa.array([instant_ns(label[timestamp])], pa.timestamp("ns", "UTC"))])
    bounds = _bounds(selected, time, known_at)
    code = encode_key(relation.key_spec, list(key.values()))
    keys = Keys.from_encoded([] if code is None else [code], relation.key_spec.kind)
    rows = rows_of(context.history(relation), Source(relation, relation.key_spec), keys, layout.features[selected.numbers[0]].name)
    explained, winner = _judge(rows, layout, bounds)
    if winner is not None:
        status = PRESENT if winner["value"] is not None else NULL_VALUE
    else:
        verdicts = {row["verdict"] for row in explained}
        status = NULL_VALUE if REACHES_BACK in verdicts else OUTSIDE_TTL if TOO_OLD in verdicts else NOT_FOUND
    at = time[0].cast(pa.timestamp("us", "UTC"), safe=False).as_py()
    return Explanation(selected.references[0], key, at, winner and winner["value"], status, explained)


def _bounds(selected: Selected, time: pa.ChunkedArray, known_at: KnownAt) -> _Bounds:
    known, oldest = None, None
    layout, offset = selected.relation.layout, selected.way.offset_ns
    if known_at == "label":
        known = int(floor_to_unit(time, layout.time_unit)[0])
    elif known_at is not None:
        known = known_tick(known_at, layout)
    if selected.ttl_ns is not None:
        oldest = int(ceil_to_unit(time, layout.time_unit, minus_ns=selected.ttl_ns + offset)[0])
    return _Bounds(int(latest_ticks(time, layout, minus_ns=offset)[0]), oldest, known)


def _judge(rows: list[dict[str, Any]], layout: Layout, bounds: _Bounds) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    told: list[dict[str, Any]] = []
    winner: dict[str, Any] | None = None
    for row in rows:
        verdict = _verdict(row, layout, bounds)
        if verdict == WON and winner is not None:
            verdict = (
                "lost: an earlier event than the winner"
                if row["time"] < winner["time"]
                else "lost: the same event, known or written earlier"
            )
        elif verdict == WON:
            winner = row
        told.append(told_row(row, layout, verdict))
    return told, winner


def _verdict(row: dict[str, Any], layout: Layout, bounds: _Bounds) -> str:
    unseen = why_unseen(row, layout, latest=bounds.latest, known=bounds.known)
    if unseen is not None:
        return unseen
    if bounds.oldest is not None and row["time"] < bounds.oldest:
        return TOO_OLD
    return REACHES_BACK if layout.last_valid and row["value"] is None else WON
