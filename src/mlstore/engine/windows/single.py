"""Single moments: the same answers for one key at one moment, as Python values: what an online read asks.

Everything that does not depend on the moment is made ready once. The states come from the same kernels; they are finished by the same
operations, on one number instead of columns of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tiles import KINDS
from mlstore._core.windows import find_events, fold, fold_stored
from mlstore.engine.windows.kept import KeptTiles
from mlstore.engine.windows.measures import NEEDS, Asked, lay_out, read_measures, refuse_overflow
from mlstore.engine.windows.plan import EventRows, Int64, WindowPlan, is_of_rows
from mlstore.schema.outputs import Output

Words = Sequence[int]
Measure = tuple[int, int, Int64, NDArray[np.uint8]]
_HIGHEST, _ALL = 2**63 - 1, 2**64 - 1
_SECOND_NS = 10**9
_WORD, _DOUBLE = Struct("<q"), Struct("<d")
_ONE_MOMENT = np.array([0, 1], np.int64)
_FIRST_KEY = np.zeros(1, np.int64)


def is_single(plan: WindowPlan) -> bool:
    """Whether a plan can be made ready: all its outputs merge, over stretches of time, without categories."""
    return all(output.function in NEEDS and output.by is None and not is_of_rows(output.window) for output in plan.outputs)


class SinglePlan:
    """A plan made ready for single moments; `is_single` says which can be. chosen: only these outputs, from the states of all."""

    def __init__(self, plan: WindowPlan, chosen: Sequence[Output] | None = None) -> None:
        assert is_single(plan)
        outputs = plan.outputs if chosen is None else tuple(chosen)
        self._plan = plan
        self._windows = list(dict.fromkeys(output.window for output in outputs))
        self._layout = lay_out(plan, plan.outputs, filtered=False)
        self._wanted = self._layout.wanted(outputs, self._windows)
        self._finishers = []
        for output in outputs:
            number = self._layout.reads[output.name]
            asked, place = self._layout.asked[number], self._layout.places[number]
            self._finishers.append((self._windows.index(output.window), slice(place, place + asked.words), _finisher(plan, output, asked)))

    def from_events(self, events: EventRows, moment: int) -> list[Any]:
        """The outputs, from the events of one key: those that any of the windows holds, or more."""
        measures, ordered = read_measures(self._layout.asked, events.columns, len(events.time))
        low, high = self._intervals(moment)
        begin, end = np.empty_like(low), np.empty_like(low)
        states = np.empty((len(low), self._layout.words, 1), np.int64)
        find_events(events.offsets, events.time, _ONE_MOMENT, low, high, begin, end)
        fold(events.offsets, events.time, measures, self._plan.widths, _ONE_MOMENT, low, high, begin, end, self._wanted, states)
        return self._finish(states, ordered)

    def from_tiles(self, tiles: KeptTiles, events: EventRows, moment: int) -> list[Any]:
        """The outputs, from kept tiles of one key and the events between them; all outputs must be such as can be kept."""
        measures, ordered = read_measures(self._layout.asked, events.columns, len(events.time))
        low, high = self._intervals(moment)
        states = np.empty((len(low), self._layout.words, 1), np.int64)
        kept = (tiles.offsets, tiles.start, tiles.records)
        fold_stored(measures, self._plan.widths, *kept, events.offsets, events.time, _FIRST_KEY, low, high, self._wanted, states)
        return self._finish(states, ordered)

    def spans(self, moment: int) -> list[tuple[int, int]]:
        """First and last tick of each window at the moment."""
        return [self._plan.interval_at(window, moment) for window in self._windows]

    def from_records(self, spans: Sequence[tuple[int, int]], tiles: KeptTiles, time: Int64, measures: Sequence[Measure]) -> list[Any]:
        """The outputs, from kept tiles of one key and events between them that are measured already."""
        low, high = (np.array([[span[end]] for span in spans], np.int64) for end in (0, 1))
        states = np.empty((len(low), self._layout.words, 1), np.int64)
        kept = (tiles.offsets, tiles.start, tiles.records)
        fold_stored(measures, self._plan.widths, *kept, np.array([0, len(time)]), time, _FIRST_KEY, low, high, self._wanted, states)
        return self._finish(states, {})

    def _intervals(self, moment: int) -> tuple[Int64, Int64]:
        intervals = self.spans(moment)
        return np.array([[low] for low, _ in intervals], np.int64), np.array([[high] for _, high in intervals], np.int64)

    def _finish(self, states: Int64, ordered: Mapping[str, pa.Array]) -> list[Any]:
        words = states[:, :, 0].tolist()
        return [finish(words[window][place], ordered) for window, place, finish in self._finishers]


Finisher = Callable[[Words, Mapping[str, pa.Array]], Any]


def _finisher(plan: WindowPlan, output: Output, asked: Asked) -> Finisher:
    match output.function:
        case "count":
            return lambda words, _: words[0]
        case "rate":
            seconds = output.window.length_ns / _SECOND_NS
            return lambda words, _: words[0] / seconds if words[0] else None
        case "sum" | "mean":
            return _of_sum(output, asked)
        case "min" | "max":
            return _of_extreme(output, asked)
        case _:
            return _of_spread(output, asked)


def _of_sum(output: Output, asked: Asked) -> Finisher:
    place, is_mean = asked.place("sum"), output.function == "mean"

    def of_floats(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        if not words[0]:
            return None
        total = _double(words[place])
        return total / words[0] if is_mean else total

    def of_integers(words: Words, _: Mapping[str, pa.Array]) -> float | int | None:
        if not words[0]:
            return None
        total = (words[place + 1] << 64) + (words[place] & _ALL)
        if is_mean:
            return float(total) / words[0]
        if not -_HIGHEST - 1 <= total <= _HIGHEST:
            raise refuse_overflow(output)
        return total

    return of_floats if asked.kind == KINDS["floats"] else of_integers


def _of_extreme(output: Output, asked: Asked) -> Finisher:
    place = asked.place("least" if output.function == "min" else "greatest")
    dtype = output.dtype.arrow

    def of_order(words: Words, ordered: Mapping[str, pa.Array]) -> Any:
        return ordered[str(output.column)][words[place]].as_py() if words[0] else None

    def of_floats(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        if not words[0]:
            return None
        word = words[place]
        value = _double(word if word >= 0 else word ^ _HIGHEST)
        return math.nan if math.isnan(value) else value

    def of_integers(words: Words, _: Mapping[str, pa.Array]) -> Any:
        if not words[0]:
            return None
        word = words[place]
        if asked.kind == KINDS["uints"]:
            return (word ^ (-_HIGHEST - 1)) & _ALL
        if pa.types.is_boolean(dtype):
            return bool(word)
        return word if pa.types.is_integer(dtype) else pa.scalar(word, dtype).as_py()

    return of_order if asked.form == "order" else of_floats if asked.kind == KINDS["floats"] else of_integers


def _of_spread(output: Output, asked: Asked) -> Finisher:
    place = asked.place("spread") + 1
    shape = asked.place("shape") if asked.has("shape") else 0

    def variance(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        return _double(words[place]) / (words[0] - 1) if words[0] > 1 else None

    def deviation(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        return math.sqrt(_double(words[place]) / (words[0] - 1)) if words[0] > 1 else None

    def skew(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        n, m2, m3 = float(words[0]), _double(words[place]), _double(words[shape])
        if n < 3 or m2 == 0:
            return None
        below = m2 * math.sqrt(m2)
        return n * math.sqrt(n - 1.0) / (n - 2.0) * _ratio(m3, below)

    def kurtosis(words: Words, _: Mapping[str, pa.Array]) -> float | None:
        n, m2, m4 = float(words[0]), _double(words[place]), _double(words[shape + 1])
        if n < 4 or m2 == 0:
            return None
        return (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (_ratio(n * m4, m2 * m2) - 3.0) + 6.0)

    return {"var": variance, "std": deviation, "skew": skew, "kurtosis": kurtosis}[output.function]


def _ratio(one: float, other: float) -> float:
    """As the processor divides; of tiny numbers the product may be 0."""
    if other:
        return one / other
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one)


def _double(word: int) -> float:
    return float(_DOUBLE.unpack(_WORD.pack(word))[0])
