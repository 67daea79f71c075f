"""Explaining one cell: the rows of the key around the label's time, and why each won or lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine.asking.questions import KnownAt, known_instant, latest_ticks
from mlstore.engine.asking.selection import Features, Selected, select
from mlstore.engine.history.block import Block
from mlstore.engine.session import ReadContext
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.answers import NOT_FOUND, NULL_VALUE, OUTSIDE_TTL, PRESENT
from mlstore.format.keys import Keys, encode_key
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME, ceil_to_unit, floor_to_unit, instant_ns

WON, TOO_OLD, REACHES_BACK = "won", "older than the ttl allows", 'null, and nulls="last_valid" reaches back'


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a cell holds what it holds: its value and status, and the rows of its key, newest first, each with a verdict.

    Each row is a dict of event_timestamp, created, seq, value and verdict.
    """

    feature: str
    key: dict[str, Any]
    time: datetime | None
    value: Any
    status: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.feature} of {self.key} at {self.time} is {self.value!r} ({self.status})"
        lines = [f"  {row['event_timestamp']}  created {row['created']}  {row['value']!r:20}  {row['verdict']}" for row in self.rows]
        return "\n".join([head, *(lines or ["  no row of this key"])])


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
    key = {part.name: label[column] for part, column in zip(layout.keys, selected.key_columns, strict=True)}
    if label[timestamp] is None:
        return Explanation(selected.references[0], key, None, None, NOT_FOUND)
    time = pa.chunked_array([pa.array([instant_ns(label[timestamp])], pa.timestamp("ns", "UTC"))])
    bounds = _bounds(selected, time, known_at)
    code = encode_key(relation.key_spec, list(key.values()))
    rows = [] if code is None else _rows_of(context, relation.label, selected, code)
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
        known = known_instant(known_at) // (1 if layout.time_unit == "ns" else 1000)
    if selected.ttl_ns is not None:
        oldest = int(ceil_to_unit(time, layout.time_unit, minus_ns=selected.ttl_ns + offset)[0])
    return _Bounds(int(latest_ticks(time, layout, minus_ns=offset)[0]), oldest, known)


def _rows_of(context: ReadContext, label: str, selected: Selected, code: bytes) -> list[dict[str, Any]]:
    """Every row of the key, deleted ones too, newest first in the total order."""
    relation = selected.relation
    keys = Keys.from_encoded([code], relation.key_spec.kind)
    found: list[dict[str, Any]] = []
    for place, block in enumerate(context.history(relation).blocks(keys=keys)):
        position = int(block.keys.search(keys)[0])
        if position >= 0:
            found += _block_rows(block, position, selected.numbers[0], place)
    found.sort(key=lambda row: (row["time"], row["known"], row["seq"], row["place"]), reverse=True)
    return found


def _block_rows(block: Block, position: int, number: int, place: int) -> list[dict[str, Any]]:
    rows = np.arange(block.offsets[position], block.offsets[position + 1])
    values = block.column(number).take(pa.array(rows)).to_pylist()
    clocks = zip(block.content.time[rows].tolist(), block.created_of(rows).tolist(), block.seq_of(rows).tolist(), strict=True)
    gone = block.hidden[rows] if block.hidden.size else np.zeros(len(rows), np.uint8)
    return [
        {"time": time, "known": known, "seq": seq, "value": value, "gone": bool(deleted), "newer": seq > block.bound, "place": (place, row)}
        for (time, known, seq), value, deleted, row in zip(clocks, values, gone.tolist(), rows.tolist(), strict=True)
    ]


def _judge(rows: list[dict[str, Any]], layout: Layout, bounds: _Bounds) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    clock = pa.timestamp(layout.time_unit, "UTC")
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
        created = None if row["known"] == NULL_TIME else pa.scalar(row["known"], clock).as_py()
        event = pa.scalar(row["time"], clock).as_py()
        told.append({"event_timestamp": event, "created": created, "seq": row["seq"], "value": row["value"], "verdict": verdict})
    return told, winner


def _verdict(row: dict[str, Any], layout: Layout, bounds: _Bounds) -> str:
    if row["newer"]:
        return "written after this version"
    if row["gone"]:
        return "deleted"
    if row["time"] > bounds.latest:
        return "not before the label (boundary is strict)" if layout.is_strict else "after the label"
    if bounds.known is not None and (row["known"] > bounds.known or row["known"] == NULL_TIME):
        return "not yet known"
    if bounds.oldest is not None and row["time"] < bounds.oldest:
        return TOO_OLD
    return REACHES_BACK if layout.last_valid and row["value"] is None else WON
