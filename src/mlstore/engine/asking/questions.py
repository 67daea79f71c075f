"""Questions of labels: what a table of keys and times asks of each view."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.selection import Selected
from mlstore.engine.history.asof import Questions, group_questions
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.windows.answering import WindowQuestions
from mlstore.errors import InvalidDataError, NameClashError, SchemaMismatchError
from mlstore.format.keys import Keys, factorize
from mlstore.schema.conform import conform_keys
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME, ceil_to_unit, floor_to_unit, instant_ns, shifted

KnownAt = str | date | None


@dataclass(frozen=True, slots=True)
class LabelClocks:
    """How labels tell time: their time column, and by when a row must have been known."""

    timestamp: str
    known_at: KnownAt


class Asker:
    """Turns labels into the questions of each view; what views share (keys, times) is worked out once."""

    def __init__(self, labels: pa.Table, clocks: LabelClocks) -> None:
        self._labels = labels
        self._clocks = clocks
        self._keys: dict[tuple[object, ...], tuple[Keys, NDArray[np.int32]]] = {}
        self._questions: dict[tuple[object, ...], Questions] = {}

    def questions(self, selected: Selected) -> Questions:
        layout, offset = selected.relation.layout, selected.way.offset_ns
        question = (layout.keys, selected.key_columns, layout.time_unit, layout.is_strict, selected.ttl_ns, offset)
        if question not in self._questions:
            keys, codes = self._factorized(selected)
            times = self._labels[self._clocks.timestamp]
            latest = latest_ticks(times, layout, minus_ns=offset)
            oldest = NO_NUMBERS
            if selected.ttl_ns is not None:
                oldest = ceil_to_unit(times, layout.time_unit, minus_ns=selected.ttl_ns + offset)
            self._questions[question] = group_questions(keys, codes, latest, oldest, self._known(times, layout))
        return self._questions[question]

    def window_questions(self, selected: Selected) -> WindowQuestions:
        """The same, of a window view."""
        layout, offset = selected.relation.layout, selected.way.offset_ns
        keys, codes = self._factorized(selected)
        times = self._labels[self._clocks.timestamp]
        known_at = self._clocks.known_at
        if known_at is None or known_at == "label":
            return WindowQuestions(keys, codes, window_ticks(times, layout, minus_ns=offset), self._known(times, layout))
        return WindowQuestions(keys, codes, window_ticks(times, layout, minus_ns=offset), NO_NUMBERS, known_tick(known_at, layout))

    def label_ticks(self, selected: Selected) -> Int64:
        """The labels' own times in the view's ticks; NULL_TIME: a null."""
        return floor_to_unit(self._labels[self._clocks.timestamp], selected.relation.layout.time_unit)

    def _factorized(self, selected: Selected) -> tuple[Keys, NDArray[np.int32]]:
        keys, columns = selected.relation.layout.keys, selected.key_columns
        if (keys, columns) not in self._keys:
            for key, column in zip(keys, columns, strict=True):
                if key.name != column and column not in self._labels.column_names:
                    raise SchemaMismatchError(
                        f"labels: no column {column!r}, which {selected.relation.label} is to take for its key {key.name!r}",
                        hint=f"the labels have {', '.join(self._labels.column_names) or 'no columns'}",
                    )
            given = self._labels
            if columns != tuple(key.name for key in keys):
                given = pa.table({key.name: given[column] for key, column in zip(keys, columns, strict=True)})
            factored = factorize(selected.relation.key_spec, conform_keys(keys, given, what="labels"), given.num_rows)
            self._keys[keys, columns] = factored.keys, factored.codes
        return self._keys[keys, columns]

    def _known(self, times: pa.ChunkedArray, layout: Layout) -> Int64:
        known_at = self._clocks.known_at
        if known_at is None:
            return NO_NUMBERS
        if isinstance(known_at, str) and known_at == "label":
            return floor_to_unit(times, layout.time_unit)
        return np.full(len(times), known_tick(known_at, layout), np.int64)


def latest_ticks(times: pa.ChunkedArray, layout: Layout, *, minus_ns: int = 0) -> Int64:
    """The latest event time that may answer each time less minus_ns: e <= t, or e < t with a strict boundary. NULL_TIME: a null."""
    if not layout.is_strict:
        return floor_to_unit(times, layout.time_unit, minus_ns=minus_ns)
    above = ceil_to_unit(times, layout.time_unit, minus_ns=minus_ns)
    return np.where(above == NULL_TIME, NULL_TIME, shifted(above, -1))


def window_ticks(times: pa.ChunkedArray, layout: Layout, *, minus_ns: int = 0) -> Int64:
    """The moments that windows are asked at: e <= t is e <= floor(t), and e < t is e < ceil(t). NULL_TIME: a null."""
    return (ceil_to_unit if layout.is_strict else floor_to_unit)(times, layout.time_unit, minus_ns=minus_ns)


def window_tick(time_ns: int, layout: Layout) -> int:
    """The same of one instant."""
    return -(-time_ns // layout.ticks_ns) if layout.is_strict else time_ns // layout.ticks_ns


def known_tick(known_at: KnownAt, layout: Layout) -> int:
    """A knowledge bound given as a time, in the view's ticks."""
    return known_instant(known_at) // layout.ticks_ns


def known_instant(known_at: KnownAt) -> int:
    """Nanoseconds of a knowledge bound given as a time."""
    try:
        return instant_ns(known_at)
    except InvalidDataError as error:
        raise InvalidDataError(f"known_at: {error.message}", hint=f'give None, "label" or a time: {error.hint}') from error


def check_labels(labels: pa.Schema, timestamp: str) -> None:
    """Labels whose columns can be told apart, and that have a time."""
    repeated = sorted({name for name in labels.names if labels.names.count(name) > 1})
    if repeated:
        raise NameClashError(f"the labels have two columns called {repeated[0]!r}", hint="rename one of them")
    if timestamp not in labels.names:
        raise SchemaMismatchError(
            f"labels: no time column {timestamp!r} among {', '.join(labels.names) or 'no columns'}",
            hint='name the column with timestamp="..."',
        )
