"""Explanations: what is told of one cell, and the rows of its key that it is told by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine.history.block import Block, Int64
from mlstore.engine.history.offline import History
from mlstore.engine.windows.events import Source, column_of
from mlstore.engine.windows.prefixes import Prefixes
from mlstore.format.keys import Keys
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME


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


def rows_of(history: History, source: Source, keys: Keys, value: str | None, *, others: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every row of one key of an entity (or of none), deleted ones too, newest first in the total order."""
    prefixes = Prefixes(source.relation.key_spec, source.entity, keys)
    found: list[dict[str, Any]] = []
    for place, block in enumerate(history.blocks(keys=prefixes.bounds()) if len(keys) else []):
        first, last = prefixes.locate(block.keys)
        rows = np.arange(block.offsets[first[0]], block.offsets[last[0]])
        if rows.size:
            found += _block_rows(block, source, rows, value, others, place)
    found.sort(key=lambda row: (row["time"], row["known"], row["seq"], row["place"]), reverse=True)
    return found


def _block_rows(block: Block, source: Source, rows: Int64, value: str | None, others: Sequence[str], place: int) -> list[dict[str, Any]]:
    values = [None] * len(rows) if value is None else column_of(block, source, value, rows).to_pylist()
    beside = pa.table({name: column_of(block, source, name, rows) for name in others}).to_pylist() if others else [{}] * len(rows)
    clocks = zip(block.content.time[rows].tolist(), block.created_of(rows).tolist(), block.seq_of(rows).tolist(), strict=True)
    gone = block.hidden[rows] if block.hidden.size else np.zeros(len(rows), np.uint8)
    return [
        {
            "time": time,
            "known": known,
            "seq": seq,
            "value": told,
            "others": other,
            "gone": bool(deleted),
            "newer": seq > block.bound,
            "place": (place, row),
        }
        for (time, known, seq), told, other, deleted, row in zip(clocks, values, beside, gone.tolist(), rows.tolist(), strict=True)
    ]


def told_row(row: dict[str, Any], layout: Layout, verdict: str) -> dict[str, Any]:
    """A row as a user is told of it."""
    clock = pa.timestamp(layout.time_unit, "UTC")
    created = None if row["known"] == NULL_TIME else pa.scalar(row["known"], clock).as_py()
    event = pa.scalar(row["time"], clock).as_py()
    return {"event_timestamp": event, "created": created, "seq": row["seq"], "value": row["value"], "verdict": verdict}


def why_unseen(row: dict[str, Any], layout: Layout, *, latest: int, known: int | None) -> str | None:
    """Why a label does not see a row, whatever is asked about it; None: it does."""
    if row["newer"]:
        return "written after this version"
    if row["gone"]:
        return "deleted"
    if row["time"] > latest:
        return "not before the label (boundary is strict)" if layout.is_strict else "after the label"
    if known is not None and (row["known"] > known or row["known"] == NULL_TIME):
        return "not yet known"
    return None
