"""Knowledge: events as each moment knew them. What was known differs from moment to moment, so each becomes a group of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from mlstore._core.windows import find_events
from mlstore.engine.windows.plan import EventRows, Int64, MomentRows, WindowPlan
from mlstore.engine.windows.stretches import Stretch
from mlstore.schema.timestamps import NULL_TIME

PAIRS = 1 << 20  # pairs of moment and event looked at together


def as_known(plan: WindowPlan, events: EventRows, moments: MomentRows) -> Iterator[Stretch]:
    """For each moment, in order, the events that its windows may hold and that were known by its bound."""
    begin, end = _reach(plan, events, moments)
    pairs = np.append(0, np.cumsum(end - begin))
    first, count = 0, len(moments.time)
    while first < count:
        last = int(np.searchsorted(pairs, pairs[first] + PAIRS, "right")) - 1
        last = min(count, max(first + 1, last))
        yield _known(events, moments, first, last, begin, end)
        first = last


def _reach(plan: WindowPlan, events: EventRows, moments: MomentRows) -> tuple[Int64, Int64]:
    intervals = [plan.interval(window, moments.time) for window in plan.windows]
    low = np.minimum.reduce([low for low, _ in intervals])
    high = np.maximum.reduce([high for _, high in intervals])
    begin, end = (np.empty((1, len(moments.time)), np.int64) for _ in range(2))
    find_events(events.offsets, events.time, moments.offsets, low[None], high[None], begin, end)
    return begin[0], end[0]


def _known(events: EventRows, moments: MomentRows, first: int, last: int, begin: Int64, end: Int64) -> Stretch:
    lengths = end[first:last] - begin[first:last]
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1]) + np.repeat(begin[first:last] - (ends - lengths), lengths)
    created = events.created[rows]
    known = (created <= np.repeat(moments.known[first:last], lengths)) & (created != NULL_TIME)
    offsets = np.append(0, np.cumsum(known))[np.append(0, ends)]
    picked = pa.array(rows[known])
    columns = {name: column.take(picked) for name, column in events.columns.items()}
    return Stretch(offsets, events.time[rows[known]], columns, np.arange(last - first + 1), moments.time[first:last])
