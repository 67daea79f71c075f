"""Answers of whole plans from tiles that are kept and the events between them, and what those answers need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore._core.tiles import build_tiles
from mlstore._core.windows import fold_stored
from mlstore.engine.windows.kept import KeptTiles
from mlstore.engine.windows.measures import Layout, finish, is_kept, lay_out, read_measures
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK, EventRows, Int64, WindowPlan
from mlstore.schema.window import Window


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an interval, both ends inclusive: tiles of a level, side by side, or, level -1, single events."""

    level: int
    first: int
    last: int


def kept_plan(plan: WindowPlan) -> WindowPlan:
    """The outputs of a plan that kept tiles can answer."""
    return plan.of(output for output in plan.outputs if is_kept(plan, output))


def kept_layout(plan: WindowPlan) -> Layout:
    """The states of a record, in the order of the outputs that first need them; all outputs must be such as can be kept."""
    return lay_out(plan, plan.outputs, filtered=False)


def build_kept(plan: WindowPlan, events: EventRows) -> KeptTiles:
    """All tiles of events that hold any."""
    measures, _ = read_measures(kept_layout(plan).asked, events.columns, len(events.time))
    return KeptTiles(*build_tiles(events.offsets, events.time, measures, plan.widths))


def answer_kept(plan: WindowPlan, tiles: KeptTiles, events: EventRows, asked: Int64, time: Int64) -> list[pa.Array]:
    """The outputs of a plan from tiles: of the key `asked` at each moment.

    tiles and events must hold what `parts_of` names for each window and moment, where there are any events; they may hold more.
    """
    layout, windows = kept_layout(plan), plan.windows
    measures, ordered = read_measures(layout.asked, events.columns, len(events.time))
    low, high = (np.empty((len(windows), len(time)), np.int64) for _ in range(2))
    for place, window in enumerate(windows):
        low[place], high[place] = plan.interval(window, time)
    states = np.empty((len(windows), layout.words, len(time)), np.int64)
    wanted = layout.wanted(plan.outputs, windows)
    fold_stored(
        measures, plan.widths, tiles.offsets, tiles.start, tiles.records, events.offsets, events.time, asked, low, high, wanted, states
    )
    return [finish(plan, output, *layout.state(output, states[windows.index(output.window)]), ordered) for output in plan.outputs]


def parts_of(plan: WindowPlan, window: Window, moment: int) -> list[Part]:
    """What a window at a moment is put together from, from left to right; not all of it needs to hold an event."""
    low, high = plan.interval(window, np.array([moment], np.int64))
    return list(_cut(int(low[0]), int(high[0]), plan.widths.tolist()))


def _cut(low: int, high: int, widths: list[int]) -> Iterator[Part]:
    if low > high:
        return
    if not widths:
        yield Part(-1, low, high)
        return
    width = widths[-1]
    # An open end lies on no tile's border, and every tile is inside of it.
    first = FIRST_TICK if low == FIRST_TICK else -(-low // width) * width
    behind = LAST_TICK + 1 if high == LAST_TICK else (high + 1) // width * width
    if first >= behind:
        yield from _cut(low, high, widths[:-1])
        return
    if low != FIRST_TICK:
        yield from _cut(low, first - 1, widths[:-1])
    yield Part(len(widths) - 1, first, behind - 1)
    if high != LAST_TICK:
        yield from _cut(behind, high, widths[:-1])
