"""Runs: outputs that do not merge, worked out from the values that each window holds, in their order.

Values are what is not null of a column. first_n is oldest first; last_n and last_distinct_n latest first; top_k commonest first, and of
values that are equally common the one seen last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.runs import count_distinct, find_quantiles, list_commonest, list_latest, sum_decayed
from mlstore.engine.windows.measures import words_of
from mlstore.engine.windows.plan import Int64, WindowPlan
from mlstore.engine.windows.stretches import Held, Stretch
from mlstore.schema.dtypes import DType
from mlstore.schema.outputs import Output
from mlstore.schema.window import Window

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Column:
    """The values of a column that are not null. before: how many of them lie before each row."""

    values: pa.Array
    dtype: DType
    time: Int64
    before: Int64
    offsets: Int64
    _codes: tuple[Int64, int] | None = None
    _ranks: tuple[Int64, Floats] | None = None

    @classmethod
    def of(cls, stretch: Stretch, name: str, dtype: DType) -> Column:
        """A column of a stretch."""
        column = stretch.columns[name]
        if not column.null_count:
            return cls(column, dtype, stretch.time, np.arange(len(column) + 1), stretch.offsets)
        valid = np.asarray(column.is_valid())
        before = np.append(0, np.cumsum(valid))
        return cls(column.drop_null(), dtype, stretch.time[valid], before, before[stretch.offsets])

    def codes(self) -> tuple[Int64, int]:
        """A number for each value, equal where values are, and how many there are. One NaN, one zero."""
        if self._codes is None:
            values = self.values
            if pa.types.is_floating(values.type):
                values = pa.array(np.asarray(values) + values.type.to_pandas_dtype()(0))
            encoded = values.dictionary_encode()
            self._codes = np.asarray(encoded.indices).astype(np.int64), len(encoded.dictionary)
        return self._codes

    def numbers(self) -> Floats:
        """The values as doubles."""
        kind = self.values.type
        words = words_of(self.values)
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return words.view(np.float64)
        return (words.view(np.uint64) if kind == pa.uint64() else words).astype(np.float64)

    def ranks(self) -> tuple[Int64, Floats]:
        """The place of each value among those of its group, and the values of each group in ascending order, NaN last."""
        if self._ranks is None:
            numbers = self.numbers()
            first, last = int(self.offsets[0]), int(self.offsets[-1])
            groups = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
            order = first + np.lexsort((numbers[first:last], groups))
            ranks = np.zeros(len(numbers), np.int64)
            ranks[order] = np.arange(first, last) - np.repeat(self.offsets[:-1], np.diff(self.offsets))
            ascending = numbers.copy()
            ascending[first:last] = numbers[order]
            self._ranks = ranks, ascending
        return self._ranks


@dataclass(frozen=True, slots=True)
class Runs:
    """The values [begin, end) of a column that one window holds at each moment."""

    column: Column
    begin: Int64
    end: Int64
    moment_offsets: Int64
    moment: Int64

    @property
    def lengths(self) -> Int64:
        """How many values each run has."""
        return self.end - self.begin


def answer_runs(
    plan: WindowPlan, outputs: Sequence[Output], windows: Sequence[Window], held: Held, stretch: Stretch
) -> dict[str, pa.Array]:
    """The answers of outputs that do not merge, by name."""
    columns = {output.column: Column.of(stretch, str(output.column), plan.types[str(output.column)]) for output in outputs}
    answers = {}
    for output in outputs:
        column, place = columns[output.column], windows.index(output.window)
        end = column.before[held.end[place]]
        begin = np.minimum(column.before[held.begin[place]], end)
        moment = plan.shifted(output.window, stretch.moment_time)
        answers[output.name] = _ANSWERS[output.function](plan, output, Runs(column, begin, end, stretch.moment_offsets, moment))
    return answers


def _first(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    return _pick(runs, runs.begin)


def _last(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    return _pick(runs, runs.end - 1)


def _pick(runs: Runs, rows: Int64) -> pa.Array:
    nothing = runs.lengths == 0
    return runs.column.values.take(pa.array(rows, mask=nothing if nothing.any() else None))


def _first_n(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    lengths = np.minimum(runs.lengths, _count(output.n))
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(runs.begin - (ends - lengths), lengths)
    return _lists(runs, rows, lengths)


def _last_n(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    lengths = np.minimum(runs.lengths, _count(output.n))
    ends = np.cumsum(lengths)
    rows = np.repeat(runs.end - 1 + (ends - lengths), lengths) - np.arange(ends[-1] if len(ends) else 0)
    return _lists(runs, rows, lengths)


def _last_distinct_n(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    lengths = np.empty(len(runs.begin), np.int64)
    codes, count = runs.column.codes()
    return _lists(runs, list_latest(codes, count, runs.begin, runs.end, _count(output.n), lengths), lengths)


def _top_k(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    lengths = np.empty(len(runs.begin), np.int64)
    codes, count = runs.column.codes()
    return _lists(runs, list_commonest(codes, count, runs.begin, runs.end, _count(output.k), lengths), lengths)


def _lists(runs: Runs, rows: Int64, lengths: Int64) -> pa.Array:
    """Lists of the values in rows, null over nothing."""
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    nothing = lengths == 0
    values = runs.column.values.take(pa.array(rows))
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(nothing) if nothing.any() else None)


def _distinct(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    counts = np.empty(len(runs.begin), np.int64)
    codes, count = runs.column.codes()
    count_distinct(codes, count, runs.begin, runs.end, counts)
    return pa.array(counts)


def _quantile(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    """As numpy.quantile: between neighbours the line. Over a NaN it is NaN."""
    assert output.q is not None
    ranks, ascending = runs.column.ranks()
    shares = np.array([output.q, 1.0])
    lower, upper = (np.empty((2, len(runs.begin)), np.int64) for _ in range(2))
    find_quantiles(runs.column.offsets, ranks, runs.moment_offsets, runs.begin, runs.end, shares, lower, upper)
    nothing = runs.lengths == 0
    group = np.repeat(runs.column.offsets[:-1], np.diff(runs.moment_offsets))
    if not len(ascending):
        return pa.nulls(len(nothing), pa.float64())
    low, high, most = (ascending[np.where(nothing, 0, group + ranks)] for ranks in (lower[0], upper[0], lower[1]))
    place = (runs.lengths - 1) * output.q
    share = place - np.floor(place)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = high - low
        between = np.where(share >= 0.5, high - apart * (1 - share), low + apart * share)
    # Between two infinities there is no line.
    found = np.where(low == high, low, between)
    return pa.array(np.where(np.isnan(most) | np.isnan(found), np.nan, found), mask=nothing if nothing.any() else None)


def _histogram(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    """Counts of low <= value < high, the last one with its end; a NaN is in none."""
    numbers = runs.column.numbers()
    edges = np.array(output.edges)
    places = np.searchsorted(edges, numbers, "right") - 1
    places[numbers == edges[-1]] = len(edges) - 2
    places[np.isnan(numbers)] = -1
    counts = np.empty((len(runs.begin), len(edges) - 1), np.int64)
    for place in range(len(edges) - 1):
        before = np.append(0, np.cumsum(places == place))
        counts[:, place] = before[runs.end] - before[runs.begin]
    nothing = runs.lengths == 0
    flat = counts[~nothing].ravel() if nothing.any() else counts.ravel()
    offsets = np.append(0, np.cumsum(np.where(nothing, 0, len(edges) - 1))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=pa.array(nothing) if nothing.any() else None)


def _decayed_sum(plan: WindowPlan, output: Output, runs: Runs) -> pa.Array:
    """The sum of value * 2 ** (-age / half_life), added in the order of the events; age: from the moment, shifted as the window is."""
    assert output.half_life_ns is not None
    sums = np.empty(len(runs.begin))
    half_life = output.half_life_ns / plan.tick_ns
    sum_decayed(runs.column.time, runs.column.numbers(), runs.begin, runs.end, runs.moment, half_life, sums)
    nothing = runs.lengths == 0
    return pa.array(np.where(np.isnan(sums), np.nan, sums), mask=nothing if nothing.any() else None)


_ANSWERS: dict[str, Callable[[WindowPlan, Output, Runs], pa.Array]] = {
    "first": _first,
    "last": _last,
    "first_n": _first_n,
    "last_n": _last_n,
    "last_distinct_n": _last_distinct_n,
    "top_k": _top_k,
    "distinct": _distinct,
    "quantile": _quantile,
    "histogram": _histogram,
    "decayed_sum": _decayed_sum,
}


def _count(number: int | None) -> int:
    assert number is not None
    return number
