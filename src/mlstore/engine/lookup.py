"""Lookups: the winning row of each asked key and time in one view, its features, and how the answer came about.

Training sets, reads as of a time, and online reads of past versions are all made of this one step.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asof import Questions, Winners, relevant_blocks, search, search_next, without_oldest
from mlstore.engine.block import Block, Int64
from mlstore.engine.gather import Gatherer, scatter
from mlstore.engine.offline import MAX_TIME, History
from mlstore.engine.selection import Selected
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME, shifted

PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_TTL = "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_TTL"
STATUSES = (PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_TTL)


@dataclass(frozen=True, slots=True)
class Answer:
    """One view's answer, a row per slot: the features; whether any row won (without regard to nulls), and its clocks."""

    columns: list[pa.Array]
    found: NDArray[np.bool_]
    event_time: pa.Array
    created: pa.Array
    status: pa.Array | None
    valid_to: pa.Array | None


def look_up(history: History, selected: Selected, questions: Questions, length: int, *, status: bool) -> Answer:
    """Answer the questions; slots that nobody asked for are null, NOT_FOUND."""
    layout = selected.relation.layout
    blocks = relevant_blocks(history, questions)
    winners = search(blocks, questions)
    gatherer = Gatherer(blocks, winners, questions.slots, length)
    columns = []
    for number in selected.numbers:
        chooser = gatherer
        if layout.last_valid:
            # Each feature reaches back on its own to its latest value that is not null.
            chooser = Gatherer(blocks, search(blocks, questions, number), questions.slots, length)
        columns.append(chooser.column(number, layout.features[number].dtype))
    found = np.zeros(length, np.bool_)
    found[questions.slots] = winners.found
    clock = pa.timestamp(layout.time_unit, "UTC")
    times = scatter(winners.time, questions.slots, winners.found, length, clock)
    created = scatter(winners.created, questions.slots, winners.found & (winners.created != NULL_TIME), length, clock)
    if not status:
        return Answer(columns, found, times, created, None, None)
    told = _statuses(history, questions, blocks, winners, columns, found)
    return Answer(columns, found, times, created, told, _valid_to(history, questions, winners, length))


def expiry(time: Int64, layout: Layout) -> Int64:
    """The last time at which rows of these event times are within the ttl; MAX_TIME: for ever."""
    if layout.ttl_ns is None:
        return np.full(len(time), MAX_TIME, np.int64)
    return shifted(time, layout.ttl_ns if layout.time_unit == "ns" else layout.ttl_ns // 1000)


def times_or_null(ticks: Int64, present: NDArray[np.bool_], layout: Layout) -> pa.Array:
    """Timestamps; null where not present, and for the end of time."""
    return pa.array(ticks, mask=~present | (ticks == MAX_TIME)).view(pa.timestamp(layout.time_unit, "UTC"))


def _valid_to(history: History, questions: Questions, winners: Winners, length: int) -> pa.Array:
    """Until when each winner stays the answer at least: the next row's event time, or the end of its ttl."""
    layout = history.relation.layout
    blocks = history.blocks(keys=questions.keys) if winners.found.any() else []
    until = np.minimum(search_next(blocks, questions), expiry(winners.time, layout))
    ticks, present = np.zeros(length, np.int64), np.zeros(length, np.bool_)
    ticks[questions.slots], present[questions.slots] = until, winners.found
    return times_or_null(ticks, present, layout)


def status_array(codes: NDArray[np.int8]) -> pa.Array:
    return pa.array(STATUSES, pa.string()).take(pa.array(codes))


def status_codes(found: NDArray[np.bool_], outside: NDArray[np.bool_], columns: list[pa.Array]) -> NDArray[np.int8]:
    """Codes into STATUSES: NULL_VALUE where a row was found of which every feature asked for is null."""
    all_null = np.ones(len(found), np.bool_)
    for column in columns:
        all_null &= np.asarray(column.is_null())
    codes = np.where(found, np.where(all_null, 1, 0), np.where(outside, 3, 2))
    return codes.astype(np.int8)


def _statuses(
    history: History, questions: Questions, blocks: list[Block], winners: Winners, columns: list[pa.Array], found: NDArray[np.bool_]
) -> pa.Array:
    outside = np.zeros(len(found), np.bool_)
    if questions.oldest.size and not winners.found.all():
        unbounded = without_oldest(questions)
        older = search(relevant_blocks(history, unbounded), unbounded)
        outside[questions.slots] = older.found & ~winners.found
    return status_array(status_codes(found, outside, columns))
