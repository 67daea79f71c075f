"""Aggregations: functions of a column over windows, what each may be asked of, and how the outputs are called."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, product
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import FieldEquality, check_name, checked_duration, duration_ns, same, set_field
from mlstore.schema.dtypes import DType, float64, int64, list_
from mlstore.schema.durations import format_duration, parse_duration
from mlstore.schema.expression import Expression
from mlstore.schema.window import MAX_ROWS, Window, checked_window

Over = Literal["any", "plain", "number"]
Gives = Literal["count", "sum", "float", "value", "values", "counts"]


@dataclass(frozen=True, slots=True)
class Function:
    """What a function may be asked of, what it gives, and the one parameter it needs ("" for none)."""

    over: Over
    gives: Gives
    parameter: Literal["", "n", "q", "k", "bins", "half_life"] = ""


FUNCTIONS = {
    "count": Function("any", "count"),
    "sum": Function("number", "sum"),
    "mean": Function("number", "float"),
    "min": Function("plain", "value"),
    "max": Function("plain", "value"),
    "std": Function("number", "float"),
    "var": Function("number", "float"),
    "skew": Function("number", "float"),
    "kurtosis": Function("number", "float"),
    "first": Function("any", "value"),
    "last": Function("any", "value"),
    "first_n": Function("any", "values", "n"),
    "last_n": Function("any", "values", "n"),
    "last_distinct_n": Function("plain", "values", "n"),
    "distinct": Function("plain", "count"),
    "approx_distinct": Function("plain", "count"),
    "quantile": Function("number", "float", "q"),
    "approx_quantile": Function("number", "float", "q"),
    "top_k": Function("plain", "values", "k"),
    "histogram": Function("number", "counts", "bins"),
    "decayed_sum": Function("number", "float", "half_life"),
    "rate": Function("any", "float"),
}
OF_ROWS = ("count", "rate")  # need no column
MAX_BINS = 10_000

_EXAMPLES = {"n": "n=3", "q": "q=0.95", "k": "k=3", "bins": "bins=[0, 10, 100]", "half_life": 'half_life="1d"'}
_TEMPLATE = re.compile(r"\{(column|function|by|window)\}")


class Part(NamedTuple):
    """One output of an aggregation."""

    name: str
    function: str
    window: Window
    q: float | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Aggregation(FieldEquality):
    """Functions of a column over windows, made by `ml.agg`, which explains the fields."""

    column: str | None
    functions: Sequence[str]
    windows: Sequence[Window]
    _: KW_ONLY
    n: int | None = None
    q: Sequence[float] = ()
    k: int | None = None
    bins: Sequence[float] = ()
    half_life: str | None = None
    by: str | None = None
    where: Expression | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        place = f"agg({self.column!r:.60})"
        if self.column is not None:
            check_name(self.column, f"{place}: column")
        if self.by is not None:
            check_name(self.by, f"{place}: by=")
        for field in ("functions", "windows", "q", "bins"):
            set_field(self, field, tuple(getattr(self, field)))
        check_condition(self.where, place)
        self._check_functions(place)
        self._check_parameters(place)
        if not self.windows:
            raise DefinitionError(f"{place}: no windows", hint='name at least one: windows=["1h", "7d"]')
        names = [part.name for part in self.parts()]
        for name in names:
            check_name(name, f"{place}: output")
            if names.count(name) > 1:
                raise DefinitionError(f"{place}: two outputs are called {name!r}", hint=_clash_hint(self))

    def _check_functions(self, place: str) -> None:
        if not self.functions:
            raise DefinitionError(f"{place}: no function", hint=f"the functions are {', '.join(FUNCTIONS)}")
        for function in self.functions:
            if function not in FUNCTIONS:
                raise DefinitionError(f"{place}: no function {function!r:.60}", hint=f"the functions are {', '.join(FUNCTIONS)}")
            if self.column is None and function not in OF_ROWS:
                raise DefinitionError(f"{place}: {function} of no column", hint="only rows are counted without one: name the column")
            if function == "rate":
                unbounded = next((window for window in self.windows if not window.length_ns), None)
                if unbounded is not None:
                    raise DefinitionError(f"{place}: rate over {unbounded!r}, which has no length", hint="a rate is per second of a window")

    def _check_parameters(self, place: str) -> None:
        given = {"n": self.n, "q": self.q or None, "k": self.k, "bins": self.bins or None, "half_life": self.half_life}
        needed = {FUNCTIONS[function].parameter: function for function in self.functions}
        for parameter, value in given.items():
            if value is None and parameter in needed:
                raise DefinitionError(
                    f"{place}: {needed[parameter]} without {parameter}=", hint=f"say it in the aggregation: {_EXAMPLES[parameter]}"
                )
            if value is not None and parameter not in needed:
                takers = [name for name, function in FUNCTIONS.items() if function.parameter == parameter]
                message = f"{place}: {parameter}= says nothing to {', '.join(self.functions)}"
                raise DefinitionError(
                    message, hint=f"{parameter}= goes with {', '.join(takers)}; leave it out, or make it an agg of its own"
                )
        for name, count in (("n", self.n), ("k", self.k)):
            if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_ROWS):
                raise DefinitionError(f"{place}: {name}={count!r:.60}", hint="give a whole number from 1 on")
        for q in self.q:
            if not _is_real(q) or not 0 <= q <= 1:
                raise DefinitionError(f"{place}: q={q!r:.60} is no quantile", hint="quantiles go from 0 to 1: q=0.5 is the median")
        set_field(self, "q", tuple(float(q) for q in self.q))
        self._check_bins(place)
        set_field(self, "half_life", checked_duration(self.half_life, f"{place}: half_life"))

    def _check_bins(self, place: str) -> None:
        if not self.bins:
            return
        rising = all(_is_real(edge) for edge in self.bins) and all(low < high for low, high in pairwise(self.bins))
        if not rising or not 2 <= len(self.bins) <= MAX_BINS + 1:
            hint = "give the edges, rising: bins=[0, 10, 100] counts 0 <= v < 10 and 10 <= v <= 100"
            raise DefinitionError(f"{place}: bins={self.bins!r:.80} are no edges", hint=hint)
        set_field(self, "bins", tuple(float(edge) for edge in self.bins))

    @property
    def half_life_ns(self) -> int | None:
        """The half-life in nanoseconds."""
        return duration_ns(self.half_life)

    def parts(self) -> Iterator[Part]:
        """Its outputs: function by function, window by window."""
        for function, window in product(self.functions, self.windows):
            for q in self.q if FUNCTIONS[function].parameter == "q" else (None,):
                yield Part(self._output_name(function, window, q), function, window, q)

    def only(self, part: Part) -> Aggregation:
        """What it asks for one of its outputs."""
        told: dict[str, Any] = {"n": None, "q": (), "k": None, "bins": (), "half_life": None}
        parameter = FUNCTIONS[part.function].parameter
        if parameter:
            told[parameter] = getattr(self, parameter) if part.q is None else (part.q,)
        return replace(self, functions=(part.function,), windows=(part.window,), name=part.name, **told)

    def _output_name(self, function: str, window: Window, q: float | None) -> str:
        told = self._told(function, q)
        if self.name is None:
            return "_".join(part for part in (self.column, told, self.by, window.label) if part)
        words = {"column": self.column or "", "function": told, "by": self.by or "", "window": window.label}
        return _TEMPLATE.sub(lambda found: words[found[1]], self.name)

    def _told(self, function: str, q: float | None) -> str:
        """The function with its parameter, always: a name must not change when another output joins the view."""
        match FUNCTIONS[function].parameter:
            case "n":
                return f"{function.removesuffix('_n')}_{self.n}"
            case "k":
                return f"{function.removesuffix('_k')}_{self.k}"
            case "q":
                return f"{function}_{_percent(q or 0.0)}"
            case "half_life":
                return f"{function}_{self.half_life}"
            case _:
                return function

    def __repr__(self) -> str:
        options = []
        for field in ("n", "q", "k", "bins", "half_life", "by", "where", "name"):
            value = getattr(self, field)
            if value is not None and not same(value, ()):
                options.append(f"{field}={value!r}")
        functions = repr(self.functions[0]) if len(self.functions) == 1 else repr(list(self.functions))
        return f"agg({', '.join([repr(self.column), functions, f'windows={list(self.windows)!r}', *options])})"


def agg(
    column: str | None,
    functions: str | Sequence[str],
    *,
    windows: str | timedelta | Window | Sequence[str | timedelta | Window],
    n: int | None = None,
    q: float | Sequence[float] | None = None,
    k: int | None = None,
    bins: Sequence[float] | None = None,
    half_life: str | timedelta | None = None,
    distinct: bool = False,
    by: str | None = None,
    where: Expression | None = None,
    name: str | None = None,
    series: int | Sequence[str | timedelta] | None = None,
) -> Aggregation:
    """Functions of a column over windows, for a `WindowView`: one output per function and window.

    Null values are passed over, and over nothing a count is 0 and all else null. An output is called `<column>_<function>_<window>`, with
    the column of `by=` before the window, and a function's parameter behind the function: `amount_sum_7d`, `amount_quantile_95_7d`,
    `merchant_last_3_7d`, `merchant_last_distinct_3_7d`, `merchant_top_3_7d`, `amount_decayed_sum_1d_7d`, `amount_sum_category_7d`.
    A window's length is named as it was written: "24h" gives `amount_sum_24h`.

    Parameters
    ----------
    column
        The column of the source; None (or "*") counts rows.
    functions
        One or several of

        ================================  ==============================================  ========================
        function                          what                                            gives
        ================================  ==============================================  ========================
        count                             values; rows without a column                   int64
        sum                               of integers and bools exact, else in float64    int64, float64
        mean, std, var, skew, kurtosis    sample moments, corrected for bias              float64
        min, max                          of anything with an order                       the column's type
        first, last                       by (event time, created, order of writing)      the column's type
        first_n, last_n                   at most `n`, oldest first, newest first         list of the column's type
        last_distinct_n                   the `n` newest distinct values, newest first    list of the column's type
        distinct, approx_distinct         distinct values; as a HyperLogLog estimates     int64
        quantile, approx_quantile         between ranks linearly; as a KLL sketch has it  float64
        top_k                             the `k` commonest, then the newer first         list of the column's type
        histogram                         counts between the edges `bins`                 list of int64
        decayed_sum                       values halved for each `half_life` of age       float64
        rate                              count per second of the window                  float64
        ================================  ==============================================  ========================

    windows
        One or several of "7d", a timedelta, "lifetime", `ml.tumbling("1d")`, `ml.hopping("7d", hop="1d")`, `ml.session("30m")`,
        `ml.last_rows(10)`.
    n
        How many for first_n, last_n and last_distinct_n; with it, "first" and "last" mean these.
    q
        The quantile or quantiles, from 0 to 1.
    k
        How many for top_k.
    bins
        The edges of a histogram, rising: each bin holds its lower edge, the last its upper edge too, as in `numpy.histogram`. Values
        outside are not counted: edges may be infinite.
    half_life
        After how long a value counts half in decayed_sum.
    distinct
        With "last" and `n`: distinct values.
    by
        A column to group by: the output is a map from its values to the result.
    where
        Only events of which this is true: `ml.col("kind") == "buy"`.
    name
        The whole name of the outputs, instead of the one above; `{column}`, `{function}`, `{by}` and `{window}` stand for its parts:
        `name="spent_{window}"`.
    series
        The same windows again, further back: `series=["0s", "1d", "7d"]` as of that long before (`amount_sum_1h_7d_ago`); a number for so
        many windows one next to the other: `series=3` with "1d" is today, yesterday and the day before (`amount_sum_1d_1d_ago`).

    Returns
    -------
    Aggregation
        For `WindowView(aggregations=[...])`.

    Raises
    ------
    DefinitionError
        No such function, a parameter missing or of no use, no window, or two outputs of one name.

    Examples
    --------
    >>> spent = ml.agg("amount", ["sum", "quantile"], windows=["1h", "7d"], q=0.95)
    >>> [part.name for part in spent.parts()]
    ['amount_sum_1h', 'amount_sum_7d', 'amount_quantile_95_1h', 'amount_quantile_95_7d']
    >>> ml.agg("merchant", "last", n=3, distinct=True, windows="lifetime")
    agg('merchant', 'last_distinct_n', windows=['lifetime'], n=3)
    """
    place = f"agg({column!r:.60})"
    named = [functions] if isinstance(functions, str) else list(functions)
    if distinct and (named != ["last"] or n is None):
        raise DefinitionError(f"{place}: distinct=True goes with 'last' and n=", hint='count distinct values with the function "distinct"')
    if bins is not None and not isinstance(bins, Sequence):
        raise DefinitionError(f"{place}: bins={bins!r:.60} are no edges", hint="give the edges, rising: bins=[0, 10, 100]")
    given = [windows] if isinstance(windows, str | timedelta | Window) else list(windows)
    return Aggregation(
        None if column == "*" else column,
        tuple(_meant(function, n, distinct) for function in named),
        tuple(_spread([checked_window(window, place) for window in given], series, place)),
        n=n,
        q=() if q is None else tuple(q) if isinstance(q, Sequence) else (q,),
        k=k,
        bins=() if bins is None else tuple(bins),
        half_life=None if half_life is None else format_duration(parse_duration(half_life, what=f"{place}: half_life")),
        by=by,
        where=where,
        name=name,
    )


def check_condition(where: object, place: str) -> None:
    """Refuse a where= that is no expression."""
    if where is not None and not isinstance(where, Expression):
        raise DefinitionError(f"{place}: where={where!r:.60} is no expression", hint='such as where=ml.col("kind") == "buy"')


def output_type(function: str, column: DType) -> DType:
    """The type that a function of a column gives."""
    match FUNCTIONS[function].gives:
        case "count":
            return int64
        case "sum":
            return int64 if pa.types.is_integer(column.arrow) or pa.types.is_boolean(column.arrow) else float64
        case "float":
            return float64
        case "value":
            return column
        case "values":
            return list_(column)
        case "counts":
            return list_(int64)


def fits(function: str, column: DType) -> bool:
    """Whether a function may be asked of a column of this type."""
    over, found = FUNCTIONS[function].over, column.arrow
    if over == "any":
        return True
    if over == "plain":
        return column.kind != "nested" and not pa.types.is_fixed_size_list(found)
    is_type = pa.types
    return bool(is_type.is_integer(found) or is_type.is_floating(found) or is_type.is_decimal(found) or is_type.is_boolean(found))


def _meant(function: str, n: int | None, distinct: bool) -> str:
    if n is None or function not in ("first", "last"):
        return function
    return "last_distinct_n" if distinct else f"{function}_n"


def _spread(windows: list[Window], series: int | Sequence[str | timedelta] | None, place: str) -> Iterator[Window]:
    """Each window, or the shifted ones of a series instead."""
    if series is None:
        yield from windows
        return
    hint = 'say how long ago each is: series=["0s", "1d"], or how many lie next to each other: series=3'
    if isinstance(series, str | timedelta) or not isinstance(series, int | Sequence) or isinstance(series, bool):
        raise DefinitionError(f"{place}: series={series!r:.60}", hint=hint)
    if not series or (isinstance(series, int) and not 1 <= series <= MAX_BINS):
        raise DefinitionError(f"{place}: series={series!r:.60} is none", hint=hint)
    for window in windows:
        if not isinstance(series, int):
            yield from (window.shifted(parse_duration(shift, what=f"{place}: series", allow_zero=True)) for shift in series)
        elif window.kind not in ("time", "hopping"):
            message = f"{place}: series={series} of {window!r}, which has no neighbour"
            raise DefinitionError(message, hint='say how long ago each is: series=["0s", "1d"]')
        else:
            yield from (window.shifted(window.length_ns * step) for step in range(series))


def _clash_hint(aggregation: Aggregation) -> str:
    return "put {function} and {window} into name=" if aggregation.name is not None else "ask for each once"


def _percent(q: float) -> str:
    """A quantile in percent, as a name has it: 0.95 is "95", 0.999 is "99_9"."""
    text = format(Decimal(repr(q)) * 100, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace(".", "_")


def _is_real(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and not math.isnan(number)
