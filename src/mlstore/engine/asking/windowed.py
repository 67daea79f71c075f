"""Windowed answers: what a window view says to labels or keys, told in the words of views that hold rows.

PRESENT: a window that was asked for holds an event. NULL_VALUE: it does, and every feature asked for is null all the same. NOT_FOUND: none
of the windows holds one: the key has no events, or older ones only. The event time is that of the newest event held; until when the
answer stays cannot be told, for events leave windows as time goes by.
"""

import numpy as np
import pyarrow as pa

from mlstore.engine.asking.lookup import status_array, status_codes
from mlstore.engine.asking.selection import Selected
from mlstore.engine.history.block import Int64
from mlstore.engine.history.offline import Blocks
from mlstore.engine.lazy import lazy
from mlstore.engine.windows.answering import WindowQuestions, answer_windows
from mlstore.engine.windows.events import CREATED, EVENT_TIME
from mlstore.schema.timestamps import NULL_TIME


class WindowAnswer:
    """One window view's answer, a row per slot. status, unknown: whether it is to be told how it came about, and what was not yet known."""

    def __init__(
        self, history: Blocks, selected: Selected, questions: WindowQuestions, *, status: bool = False, unknown: bool = False
    ) -> None:
        told = [clock for clock, is_wanted in ((EVENT_TIME, status), (CREATED, unknown)) if is_wanted]
        found = answer_windows(history, selected.relation, selected.numbers, questions, told=told)
        self._clock = pa.timestamp(selected.relation.layout.time_unit, "UTC")
        self._found = found
        self.columns = found.columns

    @lazy
    def event_time(self) -> pa.Array:
        assert self._found.event_time is not None
        return self._found.event_time.view(self._clock)

    @lazy
    def status(self) -> pa.Array:
        found = np.asarray(self.event_time.is_valid())
        return status_array(status_codes(found, np.zeros(len(found), np.bool_), self.columns))

    @lazy
    def valid_to(self) -> pa.Array:
        return pa.nulls(len(self.event_time), self._clock)

    def count_unknown(self, ticks: Int64) -> int:
        """How many rows were given an event that became known only after their time. ticks: the time of each row."""
        assert self._found.created is not None
        created = np.asarray(self._found.created.fill_null(NULL_TIME))
        return int((created > ticks).sum())
