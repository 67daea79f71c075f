"""Plans: a window view compiled against its source: what is read, where each window begins and ends, which tiles it is cut into.

Pure. All times are ticks of the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.spans import KINDS, Spans
from mlstore.schema.dtypes import DType
from mlstore.schema.layout import Layout
from mlstore.schema.outputs import Output, resolve_outputs
from mlstore.schema.timestamps import NULL_TIME
from mlstore.schema.window import Window
from mlstore.schema.window_view import WindowView

Int64 = NDArray[np.int64]
FIRST_TICK, LAST_TICK = -(2**63), 2**63 - 1

OF_ROWS = ("session", "rows")  # windows that are stretches of rows, not of time


class Condition(Protocol):
    """What a plan asks of an expression."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    def evaluate(self, columns: Mapping[str, pa.Array], *, rows: int | None = None) -> pa.Array: ...
    def to_record(self) -> list[object]: ...


class EventRows(Protocol):
    """Events of groups: those of group g are the rows offsets[g] to offsets[g + 1], by (time, created, seq).

    created: empty unless moments are bound by what was known. columns: at least those that the plan reads.
    """

    @property
    def offsets(self) -> Int64: ...
    @property
    def time(self) -> Int64: ...
    @property
    def created(self) -> Int64: ...
    @property
    def columns(self) -> Mapping[str, pa.Array]: ...


class MomentRows(Protocol):
    """The questions, by the same groups. time: ascends within a group; NULL_TIME asks about nothing. known: empty, or a bound for each."""

    @property
    def offsets(self) -> Int64: ...
    @property
    def time(self) -> Int64: ...
    @property
    def known(self) -> Int64: ...


@dataclass(frozen=True, slots=True)
class Moments:
    """Questions of groups: those of group g are offsets[g] to offsets[g + 1].

    time: ticks, ascending within a group; NULL_TIME asks about nothing. known: empty, or for each the bound of what was known.
    """

    offsets: Int64
    time: Int64
    known: Int64


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How the outputs of a window view are worked out from events.

    types: of the source's columns. widths: of the tiles, finest first. offset: what is taken off every moment.
    """

    outputs: tuple[Output, ...]
    types: Mapping[str, DType]
    widths: Int64
    tick_ns: int
    offset: int
    is_strict: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the source that are read."""
        read: dict[str, None] = {}
        for output in self.outputs:
            read.update(dict.fromkeys(name for name in (output.column, output.by) if name is not None))
            if output.where is not None:
                read.update(dict.fromkeys(condition_of(output).columns))
        return tuple(read)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows, each once."""
        return tuple(dict.fromkeys(output.window for output in self.outputs))

    def of(self, outputs: Iterable[Output]) -> WindowPlan:
        """The same with these outputs only."""
        return replace(self, outputs=tuple(outputs))

    def shifted(self, window: Window, time: Int64) -> Int64:
        """The moments as the window sees them: less the offset, its own shift, and, if strict, a tick."""
        return subtract(time, np.int64(self.offset + window.shift_ns // self.tick_ns + self.is_strict))

    def interval(self, window: Window, time: Int64) -> tuple[Int64, Int64]:
        """First and last tick of the window at each moment; FIRST_TICK: whatever is before. Over nothing it is (LAST_TICK, FIRST_TICK).

        A window of rows holds some of the events up to its last tick, however old.
        """
        high = self.shifted(window, time)
        if window.kind == "hopping":
            high = subtract(high, high % np.int64(window.hop_ns // self.tick_ns))
        length = np.int64(window.length_ns // self.tick_ns)
        if window.kind == "tumbling":
            low = subtract(high, high % length)
        elif length:
            low = subtract(high, length - np.int64(1))
        else:
            low = np.full(len(time), FIRST_TICK, np.int64)
        is_null = time == NULL_TIME
        if is_null.any():
            low, high = np.where(is_null, LAST_TICK, low), np.where(is_null, FIRST_TICK, high)
        return low, high

    def spans(self, windows: Sequence[Window]) -> Spans:
        """`interval` of windows of time, of one moment after the other."""
        ticks, less = self.tick_ns, self.offset + self.is_strict
        kinds = [KINDS.get(window.kind, KINDS["sliding"]) for window in windows]
        return Spans(
            [
                (kind, window.length_ns // ticks, window.hop_ns // ticks, less + window.shift_ns // ticks)
                for kind, window in zip(kinds, windows, strict=True)
            ]
        )

    def span(self, time: Int64) -> tuple[int, int]:
        """First and last tick of the events that any window at any of the moments looks at; (LAST_TICK, FIRST_TICK): of none."""
        asked = time[time != NULL_TIME]
        if not len(asked):
            return LAST_TICK, FIRST_TICK
        ends = np.array([asked.min(), asked.max()], np.int64)
        intervals = [self.interval(window, ends) for window in self.windows]
        return min(int(low.min()) for low, _ in intervals), max(int(high.max()) for _, high in intervals)


def compile_plan(view: WindowView, source: Layout) -> WindowPlan:
    """The plan of a view over a source."""
    tick_ns = source.ticks_ns
    return WindowPlan(
        outputs=resolve_outputs(view, source),
        types={field.name: field.dtype for field in (*source.keys, *source.features)},
        widths=np.array([width // tick_ns for width in view.levels_ns], np.int64),
        tick_ns=tick_ns,
        offset=view.offset_ns // tick_ns,
        is_strict=view.is_strict,
    )


def condition_of(output: Output) -> Condition:
    """What must be true of the output's events; it must have a condition."""
    return cast(Condition, output.where)


def is_of_rows(window: Window) -> bool:
    """Whether a window is a stretch of rows."""
    return window.kind in OF_ROWS


def subtract(times: Int64, ticks: Int64 | np.int64) -> Int64:
    """times - ticks (none below 0), but not below FIRST_TICK."""
    less = times - ticks
    return np.where(less > times, FIRST_TICK, less)


def states_true(condition: Condition, columns: Mapping[str, pa.Array], rows: int) -> NDArray[np.bool_]:
    """Where the condition is true: neither false nor null."""
    told = condition.evaluate({name: columns[name] for name in condition.columns}, rows=rows)
    return np.asarray(told.fill_null(pa.scalar(value=False)))


def without_gaps(parts: Sequence[pa.Array], dtype: pa.DataType) -> pa.Array:
    """One array of several."""
    if len(parts) == 1:
        return parts[0]
    return pa.concat_arrays(parts) if parts else pa.array([], dtype)
