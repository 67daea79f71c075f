"""Lookups: the winning row of each asked key and time in one view, its features, and how the answer came about.

Training sets, reads as of a time, and online reads of past versions are all made of this one step.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.selection import Selected
from mlstore.engine.history.asof import Questions, relevant_blocks, search, search_next, without_oldest
from mlstore.engine.history.block import Int64
from mlstore.engine.history.gather import Gatherer, scatter
from mlstore.engine.history.offline import MAX_TIME, Blocks
from mlstore.engine.lazy import lazy
from mlstore.engine.parallel import in_parallel
from mlstore.format.answers import STATUSES
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME, shifted


class Answer:
    """One view's answer, a row per slot: the features; whether any row won, without regard to nulls; and, when asked for, how.

    Slots that nobody asked for are null, NOT_FOUND. What is worked out when asked for needs the transaction.
    """

    def __init__(self, history: Blocks, selected: Selected, questions: Questions, length: int) -> None:
        self._history = history
        self._selected = selected
        self._layout = selected.relation.layout
        self._blocks = relevant_blocks(history, questions)
        self._length = length
        self.questions = questions
        self.winners = search(self._blocks, questions)
        self._gatherer = Gatherer(self._blocks, self.winners, questions.slots, length)
        self._choices = [self.winners]  # whose values are among the features
        self.found = self._gatherer.found
        self.columns = self._gather(selected.numbers)

    def _gather(self, numbers: Sequence[int]) -> list[pa.Array]:
        gatherers = [self._reaching(number) if self._layout.last_valid else self._gatherer for number in numbers]
        for place, block in enumerate(self._blocks):
            taken = [number for number, gatherer in zip(numbers, gatherers, strict=True) if gatherer.wins[place]]
            if taken:
                block.open(taken)  # before there are several threads
        features = self._layout.features
        jobs = [partial(gatherer.column, number, features[number].dtype) for number, gatherer in zip(numbers, gatherers, strict=True)]
        return in_parallel(jobs, len(self.questions.latest))

    def _reaching(self, number: int) -> Gatherer:
        """For a feature that reaches back on its own to its latest value that is not null."""
        winners = search(self._blocks, self.questions, number)
        self._choices.append(winners)
        return Gatherer(self._blocks, winners, self.questions.slots, self._length)

    @lazy
    def event_time(self) -> pa.Array:
        return self._clock(self.winners.time, self.winners.found)

    @lazy
    def created(self) -> pa.Array:
        return self._clock(self.winners.created, self.winners.found & (self.winners.created != NULL_TIME))

    @lazy
    def status(self) -> pa.Array:
        outside = np.zeros(self._length, np.bool_)
        if self.questions.oldest.size and not self.winners.found.all():
            unbounded = without_oldest(self.questions)
            older = search(relevant_blocks(self._history, unbounded), unbounded)
            outside[self.questions.slots] = older.found & ~self.winners.found
        return status_array(status_codes(self.found, outside, self.columns))

    @lazy
    def valid_to(self) -> pa.Array:
        """Until when each winner stays the answer at least: the next row's event time, or the end of its ttl."""
        blocks = self._history.blocks(keys=self.questions.keys) if self.winners.found.any() else []
        until = np.minimum(search_next(blocks, self.questions), expiry(self.winners.time, self._selected))
        if self._selected.way.offset_ns:
            until = shifted(until, ticks_of(self._selected.way.offset_ns, self._layout))
        ticks, present = np.zeros(self._length, np.int64), np.zeros(self._length, np.bool_)
        ticks[self.questions.slots], present[self.questions.slots] = until, self.winners.found
        return times_or_null(ticks, present, self._layout)

    def count_unknown(self, ticks: Int64) -> int:
        """How many rows were given a value that became known only after their time. ticks: [slots] the time of each row."""
        times, unknown = ticks[self.questions.slots], np.zeros(len(self.questions.slots), np.bool_)
        for winners in self._choices:
            unknown |= winners.found & (winners.created > times)
        return int(unknown.sum())

    def _clock(self, ticks: Int64, present: NDArray[np.bool_]) -> pa.Array:
        return scatter(ticks, self.questions.slots, present, self._length, pa.timestamp(self._layout.time_unit, "UTC"))


def expiry(time: Int64, selected: Selected) -> Int64:
    """The last time at which rows of these event times are within the ttl; MAX_TIME: for ever."""
    if selected.ttl_ns is None:
        return np.full(len(time), MAX_TIME, np.int64)
    return shifted(time, ticks_of(selected.ttl_ns, selected.relation.layout))


def ticks_of(length_ns: int, layout: Layout) -> int:
    """A duration in the ticks of a layout, rounded down."""
    return length_ns if layout.time_unit == "ns" else length_ns // 1000


def times_or_null(ticks: Int64, present: NDArray[np.bool_], layout: Layout) -> pa.Array:
    """Timestamps; null where not present, and for the end of time."""
    return pa.array(ticks, mask=~present | (ticks == MAX_TIME)).view(pa.timestamp(layout.time_unit, "UTC"))


def status_array(codes: NDArray[np.int8]) -> pa.Array:
    return pa.array(STATUSES, pa.string()).take(pa.array(codes))


def status_codes(found: NDArray[np.bool_], outside: NDArray[np.bool_], columns: list[pa.Array]) -> NDArray[np.int8]:
    """Codes into STATUSES: NULL_VALUE where a row was found of which every feature asked for is null."""
    all_null = np.ones(len(found), np.bool_)
    for column in columns:
        all_null &= np.asarray(column.is_null())
    codes = np.where(found, np.where(all_null, 1, 0), np.where(outside, 3, 2))
    return codes.astype(np.int8)
