"""Answering: keys and moments in, the outputs of a window view out, a row per slot; whoever asks, and whenever the moment is.

Training sets, reads as of a time, online reads and `verify` are all made of this one step. Slots with a null key or time are answered as
over no events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.history.offline import Blocks
from mlstore.engine.parallel import in_parallel
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.events import CREATED, EVENT_TIME, EventFinder, Events, Source, Wanted
from mlstore.engine.windows.plan import Moments, WindowPlan, compile_plan
from mlstore.format.keys import Keys
from mlstore.format.order import order_rows, take_ints
from mlstore.schema.dtypes import int64
from mlstore.schema.expression import Expression
from mlstore.schema.outputs import Output
from mlstore.schema.timestamps import NULL_TIME

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowQuestions:
    """What is asked: of each slot the key (its place in `keys`, sorted and unique; -1: null) and the moment (NULL_TIME: null).

    known: by when an event must have been known, for each slot, or empty. known_by: the same for all of them; None: no matter.
    """

    keys: Keys
    codes: NDArray[np.int32]
    time: Int64
    known: Int64
    known_by: int | None = None

    @property
    def count(self) -> int:
        """How many slots there are."""
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class WindowsFound:
    """The outputs, a row per slot, and, where asked for, of the events that the windows hold the latest time and creation time."""

    columns: list[pa.Array]
    event_time: pa.Array | None = None
    created: pa.Array | None = None


def source_of(relation: Relation) -> Source:
    """Where the events of a window view lie."""
    assert relation.window is not None
    return Source(relation.window.source, relation.key_spec)


def plan_of(relation: Relation, numbers: Sequence[int]) -> WindowPlan:
    """The plan of some outputs of a window view."""
    assert relation.window is not None
    window = relation.window
    whole = relation.remember("plan", lambda: compile_plan(window.view, window.source.layout))
    return replace(whole, outputs=tuple(whole.outputs[number] for number in numbers))


def source_numbers(relation: Relation, numbers: Sequence[int]) -> list[int]:
    """The features of the source that some outputs read."""
    return source_of(relation).numbers(plan_of(relation, numbers).columns)


def answer_windows(
    history: Blocks, relation: Relation, numbers: Sequence[int], questions: WindowQuestions, *, told: Sequence[str] = ()
) -> WindowsFound:
    """What a window view answers, from the history of its source. told: EVENT_TIME, CREATED, or both."""
    plan = plan_of(relation, numbers)
    asked = _with_clocks(plan, told)
    columns = _answer(history, source_of(relation), asked, questions)
    clocks = {name: _latest(asked, columns, name) for name in told}
    return WindowsFound(columns[: len(plan.outputs)], clocks.get(EVENT_TIME), clocks.get(CREATED))


def _answer(history: Blocks, source: Source, plan: WindowPlan, questions: WindowQuestions) -> list[pa.Array]:
    codes = questions.codes
    if len(questions.time) and questions.time.min() == NULL_TIME:
        codes = np.where(questions.time == NULL_TIME, np.int32(-1), codes)
    order, offsets = order_rows(codes, len(questions.keys), questions.time, drop_null=True)
    time = take_ints(questions.time, order)
    known = take_ints(questions.known, order) if questions.known.size else NO_NUMBERS
    parts = list(_parts(history, source, plan, questions, Moments(offsets, time, known)))
    if len(order) < questions.count or not parts:
        parts.append(aggregate(plan, _no_events(source, plan), Moments(np.array([0, 1]), np.array([NULL_TIME]), NO_NUMBERS)))
    place = np.full(questions.count, len(order), np.int64)
    place[order] = np.arange(len(order))
    is_ordered = 0 < len(order) == questions.count and bool((order == np.arange(len(order))).all())
    columns = ([part[number] for part in parts] for number in range(len(plan.outputs)))
    return in_parallel([partial(_spread, column, None if is_ordered else place) for column in columns], questions.count)


def _parts(history: Blocks, source: Source, plan: WindowPlan, questions: WindowQuestions, moments: Moments) -> Iterator[list[pa.Array]]:
    """The answers to moments that are grouped by key, piece by piece."""
    if not len(moments.time):
        return
    first_time, last_time = plan.span(moments.time)
    wanted = Wanted(plan.columns, first_time, last_time, questions.known_by, bool(questions.known.size))
    finder = EventFinder(history, source, questions.keys, wanted)
    for piece in finder.pieces():
        offsets = moments.offsets[piece.first : piece.last + 1]
        asked = slice(int(offsets[0]), int(offsets[-1]))
        grouped = finder.events(piece)
        known = moments.known[asked] if moments.known.size else NO_NUMBERS
        yield aggregate(plan, grouped.events, Moments(grouped.offsets_of(offsets - asked.start), moments.time[asked], known))


def _no_events(source: Source, plan: WindowPlan) -> Events:
    columns = {name: pa.array([], plan.types[name].arrow) for name in plan.columns}
    return Events(np.array([0, 0]), NO_NUMBERS, NO_NUMBERS, columns)


def _spread(parts: Sequence[pa.Array], place: Int64 | None) -> pa.Array:
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    return whole if place is None else whole.take(pa.array(place))


def _with_clocks(plan: WindowPlan, told: Sequence[str]) -> WindowPlan:
    """The plan, and the latest of these clocks over each window and condition of it."""
    looked_at = {(output.window, told_of(output.where)): output for output in plan.outputs}
    seen = [(name, output) for name in told for output in looked_at.values()]
    # Answers are told apart by name, of which each window and condition needs one of its own.
    clocks = tuple(Output(f"{name} {n}", int64, "max", name, one.window, where=one.where) for n, (name, one) in enumerate(seen))
    return replace(plan, outputs=(*plan.outputs, *clocks), types={**plan.types, EVENT_TIME: int64, CREATED: int64})


def told_of(where: Expression | None) -> str:
    """A condition as text that only the same one has."""
    return "" if where is None else repr(where.to_record())


def _latest(plan: WindowPlan, columns: Sequence[pa.Array], clock: str) -> pa.Array:
    """The greatest of a clock over all windows; null where none holds an event."""
    latest = np.full(len(columns[0]), NULL_TIME, np.int64)
    for output, column in zip(plan.outputs, columns, strict=True):
        if output.column == clock:
            latest = np.maximum(latest, np.asarray(column.fill_null(NULL_TIME)))
    return pa.array(latest, mask=latest == NULL_TIME)
