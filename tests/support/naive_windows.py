"""Windows in plain Python, as the design says it: one question and one event at a time, the same float operations in the same order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlstore.schema.outputs import Output
from mlstore.schema.window import Window

Event = dict[str, Any]  # time, created, and the columns


@dataclass
class State:
    """What is known of some numbers."""

    count: int = 0
    total: Any = None
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0
    least: Any = None
    greatest: Any = None

    @classmethod
    def of(cls, value: Any) -> State:
        """An event is the state of one value."""
        return cls(1, value, float(value), least=value, greatest=value)

    def merged(self, other: State) -> State:
        """Both, this one first."""
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        n = float(self.count + other.count)
        share, theirs = self.count / n, other.count / n
        apart = other.mean - self.mean
        square = apart * apart
        fourth = other.m4 + square * square * float(self.count) * theirs * (share * share - share * theirs + theirs * theirs)
        fourth += 6.0 * square * (share * share * other.m2 + theirs * theirs * self.m2) + 4.0 * apart * (
            share * other.m3 - theirs * self.m3
        )
        third = other.m3 + square * apart * float(self.count) * theirs * (share - theirs)
        third += 3.0 * apart * (share * other.m2 - theirs * self.m2)
        return State(
            self.count + other.count,
            self.total + other.total,
            self.mean + apart * theirs,
            self.m2 + (other.m2 + square * (self.count * theirs)),
            self.m3 + third,
            self.m4 + fourth,
            min(self.least, other.least, key=lambda value: _order(value, low=True)),
            max(self.greatest, other.greatest, key=lambda value: _order(value, low=False)),
        )


def _order(value: Any, *, low: bool) -> tuple[Any, ...]:
    """-0.0 before 0.0; a NaN is the least of all, and the greatest."""
    if not isinstance(value, float):
        return (0, value)
    if math.isnan(value):
        return (-1,) if low else (1,)
    return (0, value, math.copysign(1.0, value))


def interval(window: Window, moment: int, *, tick_ns: int, offset: int, is_strict: bool) -> tuple[int | None, int]:
    """First and last tick; None: no bound."""
    last = moment - offset - window.shift_ns // tick_ns - (1 if is_strict else 0)
    length, hop = window.length_ns // tick_ns, window.hop_ns // tick_ns
    match window.kind:
        case "time":
            return last - length + 1, last
        case "tumbling":
            return last // length * length, last
        case "hopping":
            return last // hop * hop - length + 1, last // hop * hop
        case _:
            return None, last


def held(window: Window, events: Sequence[Event], low: int | None, high: int, *, tick_ns: int) -> list[Event]:
    """The events of a key that the window holds."""
    found = [event for event in events if (low is None or low <= event["time"]) and event["time"] <= high]
    if window.kind == "rows":
        return found[-window.rows :]
    if window.kind == "session":
        gap = window.gap_ns // tick_ns
        if not found or found[-1]["time"] < high - gap:
            return []
        begin = len(found) - 1
        while begin > 0 and found[begin]["time"] - found[begin - 1]["time"] <= gap:
            begin -= 1
        return found[begin:]
    return found


def cut(low: int, high: int, widths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The parts of an interval, from left to right: (level, first tick, last tick); level -1: single events."""
    if low > high:
        return
    if not widths:
        yield -1, low, high
        return
    width = widths[-1]
    first, behind = -(-low // width) * width, (high + 1) // width * width
    if first >= behind:
        yield from cut(low, high, widths[:-1])
        return
    yield from cut(low, first - 1, widths[:-1])
    for start in range(first, behind, width):
        yield len(widths) - 1, start, start + width - 1
    yield from cut(behind, high, widths[:-1])


def tile(values: Sequence[tuple[int, Any]], level: int, first: int, widths: Sequence[int]) -> State:
    """The state of a tile."""
    last = first + widths[level] - 1
    if level == 0:
        return added(State(), [value for time, value in values if first <= time <= last])
    state = State()
    for start in range(first, last + 1, widths[level - 1]):
        state = state.merged(tile(values, level - 1, start, widths))
    return state


def added(state: State, values: Sequence[Any]) -> State:
    for value in values:
        state = state.merged(State.of(value))
    return state


def folded(events: Sequence[Event], column: str, low: int | None, high: int, widths: Sequence[int]) -> State:
    """The state of a column over an interval, in the canonical order."""
    values = [(event["time"], event[column]) for event in events if event[column] is not None]
    if low is None:
        earliest = min((time for time, _ in values), default=high)
        low = min(earliest, high) // widths[-1] * widths[-1] if widths else min(earliest, high)
    state = State()
    for level, first, last in cut(low, high, widths):
        if level < 0:
            state = added(state, [value for time, value in values if first <= time <= last])
        else:
            state = state.merged(tile(values, level, first, widths))
    return state


def answer(output: Output, events: Sequence[Event], moment: int | None, *, plan: Any, known: int | None = None) -> Any:
    """One output at one moment, from the events of its key in total order."""
    if known is not None:
        events = [event for event in events if event["created"] <= known]
    if output.where is not None:
        kept = output.where.rows(events)
        events = [event for event, is_kept in zip(events, kept, strict=True) if is_kept]
    if moment is None:
        return {} if output.by is not None else over_nothing(output)
    clock = {"tick_ns": plan.tick_ns}
    low, high = interval(output.window, moment, offset=plan.offset, is_strict=plan.is_strict, **clock)
    found = held(output.window, events, low, high, **clock)
    if output.by is None:
        return of_held(output, found, low, high, moment, plan)
    categories = sorted({event[output.by] for event in found if event[output.by] is not None})
    return {
        category: of_held(output, [event for event in found if event[output.by] == category], low, high, moment, plan)
        for category in categories
    }


def over_nothing(output: Output) -> Any:
    return 0 if output.function in ("count", "distinct") else None


def of_held(output: Output, found: Sequence[Event], low: int | None, high: int, moment: int, plan: Any) -> Any:
    if output.column is None:
        count = len(found)
        return count if output.function == "count" else count / (output.window.length_ns / 10**9) if count else None
    values = [event[output.column] for event in found if event[output.column] is not None]
    if not values:
        return over_nothing(output)
    if output.function in _OF_VALUES:
        return _OF_VALUES[output.function](output, values)
    if output.function == "decayed_sum":
        rows = [event for event in found if event[output.column] is not None]
        shifted = moment - plan.offset - output.window.shift_ns // plan.tick_ns - (1 if plan.is_strict else 0)
        return _decayed(output, rows, shifted, plan.tick_ns)
    if output.function in ("min", "max") and isinstance(values[0], str):
        return min(values) if output.function == "min" else max(values)
    widths = [] if output.window.kind in ("rows", "session") else plan.widths.tolist()
    return _of_state(output, folded(found, output.column, low, high, widths))


def _of_state(output: Output, state: State) -> Any:
    n, m2, m3, m4 = float(state.count), state.m2, state.m3, state.m4
    with np.errstate(all="ignore"):
        match output.function:
            case "sum":
                return state.total
            case "mean":
                return float(np.float64(float(state.total)) / state.count)
            case "min":
                return state.least
            case "max":
                return state.greatest
            case "var":
                return m2 / (n - 1) if n > 1 else None
            case "std":
                return math.sqrt(m2 / (n - 1)) if n > 1 else None
            case "skew":
                if n < 3 or m2 == 0:
                    return None
                return float(n * math.sqrt(n - 1.0) / (n - 2.0) * (np.float64(m3) / (m2 * math.sqrt(m2))))
            case "kurtosis":
                if n < 4 or m2 == 0:
                    return None
                return float((n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (np.float64(n * m4) / (m2 * m2) - 3.0) + 6.0))
    raise AssertionError(output.function)


def _last_distinct(output: Output, values: list[Any]) -> list[Any]:
    found: dict[Any, Any] = {}
    for value in reversed(values):
        found.setdefault("nan" if value != value else value, value)
    return list(found.values())[: output.n]


def _top(output: Output, values: list[Any]) -> list[Any]:
    names = ["nan" if value != value else value for value in values]
    counts = Counter(names)
    last = {name: row for row, name in enumerate(names)}
    commonest = sorted(counts, key=lambda name: (-counts[name], -last[name]))
    return [values[last[name]] for name in commonest[: output.k]]


def _quantile(output: Output, values: list[Any]) -> float:
    numbers = sorted(float(value) for value in values if value == value)
    if len(numbers) < len(values):
        return math.nan
    place = (len(numbers) - 1) * float(output.q)
    low, high = numbers[math.floor(place)], numbers[min(math.floor(place) + 1, len(numbers) - 1)]
    share = place - math.floor(place)
    if low == high:
        return low
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share


def _histogram(output: Output, values: list[Any]) -> list[int]:
    return np.histogram([float(value) for value in values if value == value], bins=list(output.edges))[0].tolist()


def _decayed(output: Output, rows: list[Event], moment: int, tick_ns: int) -> float:
    total = -0.0
    for row in rows:
        total += float(row[output.column]) * math.exp2(-((moment - row["time"]) / (output.half_life_ns / tick_ns)))
    return total


_OF_VALUES: dict[str, Any] = {
    "count": lambda output, values: len(values),
    "rate": lambda output, values: len(values) / (output.window.length_ns / 10**9),
    "first": lambda output, values: values[0],
    "last": lambda output, values: values[-1],
    "first_n": lambda output, values: values[: output.n],
    "last_n": lambda output, values: values[::-1][: output.n],
    "last_distinct_n": _last_distinct,
    "distinct": lambda output, values: len({"nan" if value != value else value for value in values}),
    "top_k": _top,
    "quantile": _quantile,
    "histogram": _histogram,
}
