"""Stretches: the events that some outputs look at, and those of them that each window holds at each moment.

A stretch is what a condition leaves of the events, or, for a map, what it leaves of each category, as groups of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore._core.windows import find_events
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK, Condition, Int64, WindowPlan, is_of_rows, states_true, subtract
from mlstore.schema.window import Window


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events of groups in total order, and the moments asked about, ascending, by the same groups."""

    offsets: Int64
    time: Int64
    columns: Mapping[str, pa.Array]
    moment_offsets: Int64
    moment_time: Int64

    def filtered(self, condition: Condition) -> Stretch:
        """Only events of which the condition is true."""
        kept = states_true(condition, self.columns, len(self.time))
        if kept.all():
            return self
        before = np.append(0, np.cumsum(kept))
        columns = {name: column.filter(pa.array(kept)) for name, column in self.columns.items()}
        return Stretch(before[self.offsets], self.time[kept], columns, self.moment_offsets, self.moment_time)


@dataclass(frozen=True, slots=True)
class Held:
    """What windows hold, each array [windows, moments]: the events [begin, end), and the interval [low, high] that they fill.

    A window of rows fills no interval: (LAST_TICK, FIRST_TICK).
    """

    low: Int64
    high: Int64
    begin: Int64
    end: Int64


def find_held(plan: WindowPlan, windows: Sequence[Window], stretch: Stretch) -> Held:
    """What the windows hold."""
    shape = (len(windows), len(stretch.moment_time))
    low, high, begin, end = (np.empty(shape, np.int64) for _ in range(4))
    for place, window in enumerate(windows):
        low[place], high[place] = plan.interval(window, stretch.moment_time)
    find_events(stretch.offsets, stretch.time, stretch.moment_offsets, low, high, begin, end)
    for place, window in enumerate(windows):
        if window.kind == "rows":
            begin[place] = np.maximum(begin[place], end[place] - window.rows)
        elif window.kind == "session":
            begin[place] = _session_begins(stretch, begin[place], end[place], high[place], np.int64(window.gap_ns // plan.tick_ns))
        if is_of_rows(window):
            low[place], high[place] = LAST_TICK, FIRST_TICK
    return Held(low, high, begin, end)


def _session_begins(stretch: Stretch, begin: Int64, end: Int64, high: Int64, gap: np.int64) -> Int64:
    """Where the session that ends with each `end` began; at its end if it is over."""
    time = stretch.time
    if not len(time):
        return end
    is_first = np.ones(len(time), np.bool_)
    is_first[1:] = time[:-1] < subtract(time[1:], gap)
    is_first[stretch.offsets[:-1][stretch.offsets[:-1] < len(time)]] = True
    started = np.maximum.accumulate(np.where(is_first, np.arange(len(time)), 0))
    last = np.maximum(end - 1, 0)
    runs = (end > begin) & (time[last] >= subtract(high, gap))
    return np.where(runs, started[last], end)
