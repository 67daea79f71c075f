"""Measures: columns as the kernels read them, and the words of states as the columns that were asked for.

A NaN makes sums, means, least and greatest NaN, as in numpy; -0.0 is less than 0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore._core.tiles import ASKED, KINDS, count_words
from mlstore.engine.windows.plan import Condition, Int64, WindowPlan, condition_of, is_of_rows, states_true
from mlstore.errors import InvalidDataError
from mlstore.schema.dtypes import DType
from mlstore.schema.outputs import Output

if TYPE_CHECKING:
    from mlstore._core.tiles import Measure

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Form = Literal["rows", "number", "order"]

NEEDS = {
    "count": 0,
    "rate": 0,
    "sum": ASKED["sum"],
    "mean": ASKED["sum"],
    "var": ASKED["spread"],
    "std": ASKED["spread"],
    "skew": ASKED["spread"] | ASKED["shape"],
    "kurtosis": ASKED["spread"] | ASKED["shape"],
    "min": ASKED["least"],
    "max": ASKED["greatest"],
}
_NO_FLAGS = np.empty(0, np.uint8)
_NO_WORDS = np.empty(0, np.int64)
_HIGHEST = np.int64(2**63 - 1)
SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Asked:
    """What a state keeps of one column.

    form: "rows" counts what is not null; "number" reads numbers, dates and times; "order" the places of values among all that occur.
    """

    column: str | None
    form: Form
    where: Condition | None
    kind: int
    mask: int

    @property
    def words(self) -> int:
        """Words of the state."""
        return count_words(self.kind, self.mask)

    def has(self, what: str) -> bool:
        """Whether the state keeps it."""
        return bool(self.mask & ASKED[what])

    def place(self, what: str) -> int:
        """Its word in the state."""
        words = 1
        for name, bit in ASKED.items():
            if name == what:
                return words
            if self.mask & bit:
                words += {"sum": 1 if self.kind == KINDS["floats"] else 2, "spread": 2, "shape": 2}.get(name, 1)
        raise KeyError(what)


@dataclass(frozen=True, slots=True)
class Layout:
    """The states that some outputs need, side by side in a record, and which of them each output reads."""

    asked: tuple[Asked, ...]
    places: tuple[int, ...]
    reads: Mapping[str, int]

    @property
    def words(self) -> int:
        """Words of a record."""
        return sum(asked.words for asked in self.asked)

    def wanted(self, outputs: Sequence[Output], windows: Sequence[Any]) -> NDArray[np.uint8]:
        """[windows, states] 1 where an output reads the state of the window."""
        wanted = np.zeros((len(windows), len(self.asked)), np.uint8)
        for output in outputs:
            wanted[windows.index(output.window), self.reads[output.name]] = 1
        return wanted

    def state(self, output: Output, record: Int64) -> tuple[Asked, Int64]:
        """The state that an output reads, in records [words, moments]."""
        number = self.reads[output.name]
        asked, place = self.asked[number], self.places[number]
        return asked, record[place : place + asked.words]


def lay_out(plan: WindowPlan, outputs: Sequence[Output], *, filtered: bool) -> Layout:
    """The states that outputs which merge need. filtered: the events are only those that fulfil the outputs' condition."""
    asked: dict[tuple[str | None, Form, str], Asked] = {}
    reads: dict[str, tuple[str | None, Form, str]] = {}
    for output in outputs:
        form = form_of(plan, output)
        where = None if filtered or output.where is None else condition_of(output)
        key = (output.column, form, "" if where is None else repr(where.to_record()))
        before = asked[key].mask if key in asked else 0
        kind = KINDS["rows"] if form == "rows" else KINDS["ints"] if form == "order" else _kind(plan.types[str(output.column)])
        asked[key] = Asked(output.column, form, where, kind, before | NEEDS[output.function])
        reads[output.name] = key
    order = list(asked)
    states = tuple(asked.values())
    places = tuple(sum(state.words for state in states[:number]) for number in range(len(states)))
    return Layout(states, places, {name: order.index(key) for name, key in reads.items()})


def is_kept(plan: WindowPlan, output: Output) -> bool:
    """Whether tiles that are kept in the file can hold what an output needs."""
    merges = output.function in NEEDS and output.by is None and not is_of_rows(output.window)
    return merges and form_of(plan, output) != "order"


def form_of(plan: WindowPlan, output: Output) -> Form:
    """How the output's column is read."""
    if output.column is None:
        return "rows"
    dtype = plan.types[output.column]
    if output.function in ("min", "max"):
        return "number" if dtype.kind in ("fixed", "bool") and not pa.types.is_decimal(dtype.arrow) else "order"
    if output.function in ("count", "rate"):
        return "number" if _is_number(dtype) else "rows"
    return "number"


def read_measures(asked: Sequence[Asked], columns: Mapping[str, pa.Array], rows: int) -> tuple[list[Measure], dict[str, pa.Array]]:
    """What the kernels take, and for columns read by order the values in that order."""
    measures: list[Measure] = []
    ordered: dict[str, pa.Array] = {}
    for state in asked:
        counted = _NO_FLAGS if state.where is None else states_true(state.where, columns, rows).astype(np.uint8)
        words = _NO_WORDS
        if state.column is not None:
            column = columns[state.column]
            if column.null_count:
                valid = np.asarray(column.is_valid()).view(np.uint8)
                counted = valid if not counted.size else counted & valid
            if state.form == "order":
                ordered[state.column], words = order_values(column)
            elif state.form == "number":
                words = words_of(column)
        measures.append((state.kind, state.mask, words, np.ascontiguousarray(counted)))
    return measures, ordered


def words_of(column: pa.Array) -> Int64:
    """Numbers, dates and times as 64-bit words; anything stands for a null."""
    kind = column.type
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif _counting_type(kind) != kind:
        column = column.cast(_counting_type(kind))
    if column.null_count:
        column = column.fill_null(pa.scalar(0).cast(column.type))
    values: NDArray[Any] = np.asarray(column)
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, np.float64).view(np.int64)
    if values.dtype == np.uint64:
        return np.ascontiguousarray(values).view(np.int64)
    return np.ascontiguousarray(values, np.int64)


def order_values(column: pa.Array) -> tuple[pa.Array, Int64]:
    """The distinct values of a column in ascending order (bytes, numbers), and the place of each row's; of a null any."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary
    ascending = pc.array_sort_indices(values)
    ranks = np.empty(len(values), np.int64)
    ranks[np.asarray(ascending)] = np.arange(len(values))
    codes = np.asarray(encoded.indices.fill_null(0))
    return values.take(ascending), ranks[codes] if len(values) else np.zeros(len(column), np.int64)


def finish(plan: WindowPlan, output: Output, asked: Asked, words: Int64, ordered: Mapping[str, pa.Array]) -> pa.Array:
    """The column of an output from the states [words, moments]."""
    count = words[0]
    if output.function == "count":
        return pa.array(count)
    if output.function == "rate":
        seconds = output.window.length_ns / SECOND_NS
        return pa.array(count / seconds, mask=_null_mask(count == 0))
    if output.function in ("min", "max"):
        return _finish_extreme(output, asked, words, ordered)
    if output.function in ("sum", "mean"):
        return _finish_sum(output, asked, words)
    return _FINISH_SPREAD[output.function](asked, words)


def _finish_sum(output: Output, asked: Asked, words: Int64) -> pa.Array:
    place, count = asked.place("sum"), words[0]
    nothing = count == 0
    if asked.kind == KINDS["floats"]:
        total = words[place].view(np.float64)
        if output.function == "sum":
            return pa.array(total, mask=_null_mask(nothing))
        return pa.array(_divide(total, count), mask=_null_mask(nothing))
    low, high = words[place], words[place + 1]
    overflows = high != (low >> 63)
    if output.function == "sum":
        if overflows.any():
            raise refuse_overflow(output)
        return pa.array(low, mask=_null_mask(nothing))
    total = low.astype(np.float64)
    for moment in np.flatnonzero(overflows):
        total[moment] = float((int(high[moment]) << 64) + (int(low[moment]) & (2**64 - 1)))
    return pa.array(_divide(total, count), mask=_null_mask(nothing))


def refuse_overflow(output: Output) -> InvalidDataError:
    """What is said of a sum that does not fit."""
    hint = f"cast {output.column} to float64 in the source, or take a shorter window"
    return InvalidDataError(f"{output.name}: a sum of {output.column} does not fit 64 bits", hint=hint)


def _finish_extreme(output: Output, asked: Asked, words: Int64, ordered: Mapping[str, pa.Array]) -> pa.Array:
    word = words[asked.place("least" if output.function == "min" else "greatest")]
    nothing = words[0] == 0
    dtype = output.dtype.parts[1][1].arrow if output.by is not None else output.dtype.arrow
    if asked.form == "order":
        return ordered[str(output.column)].take(pa.array(np.where(nothing, 0, word), mask=_null_mask(nothing)))
    if asked.kind == KINDS["floats"]:
        values = (word ^ ((word >> 63) & _HIGHEST)).view(np.float64)
        values = np.where(np.isnan(values), np.nan, values)
        return pa.array(values.astype(dtype.to_pandas_dtype()), mask=_null_mask(nothing))
    word = np.where(nothing, 0, word)
    if asked.kind == KINDS["uints"]:
        return pa.array((word ^ np.int64(-(2**63))).view(np.uint64), mask=_null_mask(nothing))
    if pa.types.is_boolean(dtype):
        return pa.array(word != 0, mask=_null_mask(nothing))
    counting = _counting_type(dtype)
    return pa.array(word.astype(counting.to_pandas_dtype()), counting, mask=_null_mask(nothing)).view(dtype)


def _variance(asked: Asked, words: Int64) -> pa.Array:
    place, count = asked.place("spread"), words[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return pa.array(words[place + 1].view(np.float64) / (count - 1), mask=_null_mask(count < 2))


def _deviation(asked: Asked, words: Int64) -> pa.Array:
    place, count = asked.place("spread"), words[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return pa.array(np.sqrt(words[place + 1].view(np.float64) / (count - 1)), mask=_null_mask(count < 2))


def _skew(asked: Asked, words: Int64) -> pa.Array:
    """The adjusted Fisher-Pearson coefficient G1; null below three values, or where all are equal."""
    n, m2, m3, _ = _moments(asked, words)
    with np.errstate(all="ignore"):
        skew = n * np.sqrt(n - 1.0) / (n - 2.0) * (m3 / (m2 * np.sqrt(m2)))
    return pa.array(_one_nan(skew), mask=_null_mask((n < 3) | (m2 == 0)))


def _kurtosis(asked: Asked, words: Int64) -> pa.Array:
    """The excess kurtosis G2, corrected for bias; null below four values, or where all are equal."""
    n, m2, _, m4 = _moments(asked, words)
    with np.errstate(all="ignore"):
        kurtosis = (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (n * m4 / (m2 * m2) - 3.0) + 6.0)
    return pa.array(_one_nan(kurtosis), mask=_null_mask((n < 4) | (m2 == 0)))


_FINISH_SPREAD: dict[str, Callable[[Asked, Int64], pa.Array]] = {
    "var": _variance,
    "std": _deviation,
    "skew": _skew,
    "kurtosis": _kurtosis,
}


def _moments(asked: Asked, words: Int64) -> tuple[Floats, Floats, Floats, Floats]:
    spread, shape = asked.place("spread"), asked.place("shape")
    return words[0].astype(np.float64), *(words[place].view(np.float64) for place in (spread + 1, shape, shape + 1))


def _divide(total: Floats, count: Int64) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / count


def _one_nan(values: Floats) -> Floats:
    return np.where(np.isnan(values), np.nan, values)


def _null_mask(nothing: Bools) -> Bools | None:
    return nothing if nothing.any() else None


def _counting_type(kind: pa.DataType) -> pa.DataType:
    """The plain type that counts what this type's values stand for."""
    return pa.int32() if pa.types.is_date(kind) else pa.int64() if pa.types.is_timestamp(kind) else kind


def _is_number(dtype: DType) -> bool:
    found = dtype.arrow
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_boolean(found) or pa.types.is_decimal(found))


def _kind(dtype: DType) -> int:
    found = dtype.arrow
    if pa.types.is_floating(found) or pa.types.is_decimal(found):
        return KINDS["floats"]
    return KINDS["uints"] if found == pa.uint64() else KINDS["ints"]
