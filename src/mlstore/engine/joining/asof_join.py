"""As-of joins of two tables that need no store: each left row gets the right row of its key that is nearest in time.

Names and switches are settled here; which rows match is decided in matching.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.history.gather import Gatherer
from mlstore.engine.joining.axis import axes_of, tolerance_of
from mlstore.engine.joining.matching import Created, Direction, Ints, Mask, Matcher, Rule
from mlstore.engine.joining.pairing import Named, family_of, pair_keys, tick_ns
from mlstore.engine.parallel import in_parallel
from mlstore.errors import InvalidDataError, NameClashError, SchemaMismatchError, UsageError
from mlstore.format.keys import ints_of, joined_values
from mlstore.format.ranks import MOST_RANKS
from mlstore.schema.frames import to_table
from mlstore.schema.instants import instant_ns
from mlstore.schema.timestamps import NULL_TIME

Nulls = Literal["row", "last_valid"]


def asof_join(
    left: object,
    right: object,
    *,
    on: str | None = None,
    left_on: str | None = None,
    right_on: str | None = None,
    by: str | Sequence[str] = (),
    left_by: str | Sequence[str] = (),
    right_by: str | Sequence[str] = (),
    direction: Direction = "backward",
    tolerance: object = None,
    allow_exact_matches: bool = True,
    nulls_equal: bool = False,
    created: str | None = None,
    known_at: object = None,
    nulls: Nulls = "row",
    columns: Sequence[str] | None = None,
    suffix: str | None = "_right",
) -> pa.Table:
    """Every left row, in its order, with the columns of the right row of equal key that is nearest in time; nulls where there is none.

    Neither table need be sorted. Nothing is stored, and no store is needed.

    Parameters
    ----------
    left, right
        Tables: Arrow, pandas, polars, duckdb, a dict of columns or a list of dicts.
    on, or left_on and right_on
        The column compared in time: timestamps of any unit and zone (without a zone they mean UTC), dates, durations, times of day,
        integers, floats. Both sides of one kind; units and widths may differ and are compared exactly.
    by, or left_by and right_by
        Columns that have to be equal, paired by position; none: every row has the same key. Widths of integers, units of times and
        encodings of texts may differ. Floats and structs may be keys; a NaN equals a NaN.
    direction
        ``"backward"``: the latest right row at or before the left row's time. ``"forward"``: the earliest at or after it.
        ``"nearest"``: whichever is less far, the later one if both are equally far. Only backward never looks into the future.
    tolerance
        The greatest distance of a match, inclusive: ``"6h"`` or a timedelta for times, a number not below 0 for numbers.
    allow_exact_matches
        False: a right row at the very time of the left row does not match.
    nulls_equal
        True: a null in a key equals a null. By default it equals nothing. A null or NaN time never matches.
    created
        The right column that says when a row became known. It settles ties of time: the row created last is taken, a null being lowest.
    known_at
        ``"left"``: right rows created after the left row's time do not match. A time: those created after it do not. Rows whose created
        is null do not either. Needs `created`.
    nulls
        ``"row"``: the matched row as it is. ``"last_valid"``: each column reaches on to its nearest value that is not null.
    columns
        The right columns to append. By default all, but for the keys, and for the time if it has the left one's name.
    suffix
        Put behind the name of a right column that the left table has too; None: such a name is refused.

    Returns
    -------
    pyarrow.Table
        The columns of the left table as they are, then those of the right.

    Raises
    ------
    UsageError
        A switch has no such value, or switches contradict each other. SchemaMismatchError: a column is missing, or the types of two columns
        cannot be compared. NameClashError: two columns of the answer would have one name.

    Notes
    -----
    Ties of time, without `created`: backward and nearest take the last row in the order of the right table, forward the first.

    Examples
    --------
    >>> import mlstore as ml
    >>> trades = {"time": [3, 8], "asset": ["A", "A"]}
    >>> quotes = {"time": [1, 4, 9], "asset": ["A", "A", "A"], "bid": [10.0, 11.0, 12.0]}
    >>> ml.asof_join(trades, quotes, on="time", by="asset")["bid"].to_pylist()
    [10.0, 11.0]
    >>> ml.asof_join(trades, quotes, on="time", by="asset", direction="forward")["bid"].to_pylist()
    [11.0, 12.0]
    """
    _check_choice("direction", direction, get_args(Direction))
    _check_choice("nulls", nulls, get_args(Nulls))
    left_table, right_table = _checked(to_table(left, what="left"), "left"), _checked(to_table(right, what="right"), "right")
    left_time, right_time = _time_names(on, left_on, right_on)
    left_keys, right_keys = _key_names(by, left_by, right_by)
    times = _named(left_table, "left", left_time), _named(right_table, "right", right_time)
    keys = [_named(left_table, "left", name) for name in left_keys], [_named(right_table, "right", name) for name in right_keys]
    appended = _appended(right_table, columns, [*right_keys, *([right_time] if right_time == left_time else [])])
    names = _output_names(left_table.column_names, appended, suffix)
    axes = axes_of(*times)
    rule = Rule(direction, not allow_exact_matches, tolerance_of(tolerance, times[family_of(times[0].arrow) == "nulls"].arrow))
    became, unknown = _creation(right_table, created, known_at, times[0])

    pairing = pair_keys(*keys, (left_table.num_rows, right_table.num_rows), nulls_equal=nulls_equal)
    matcher = Matcher(pairing, *axes, rule, became)
    gathered = _gathered(right_table.select(appended).unify_dictionaries(), matcher, unknown, each=nulls == "last_valid")
    fields = [pa.field(name, column.type) for name, column in zip(names, gathered, strict=True)]
    return pa.table([*left_table.columns, *gathered], schema=pa.schema([*left_table.schema, *fields]))


# ---------------------------------------------------------------- names and switches


def _check_choice(switch: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{switch}: {value!r} is none of {', '.join(map(repr, choices))}", hint="choose one of them")


def _checked(table: pa.Table, side: str) -> pa.Table:
    seen = set[str]()
    for name in table.column_names:
        if name in seen:
            raise NameClashError(f"{side}: two columns are named {name!r}", hint="rename or drop one of them")
        seen.add(name)
    if table.num_rows > MOST_RANKS:
        raise InvalidDataError(f"{side}: {table.num_rows} rows, at most {MOST_RANKS} fit", hint="join the left table in parts")
    return table


def _time_names(on: str | None, left_on: str | None, right_on: str | None) -> tuple[str, str]:
    if on is not None and left_on is None and right_on is None:
        return on, on
    if on is None and left_on is not None and right_on is not None:
        return left_on, right_on
    raise UsageError(f"on={on!r}, left_on={left_on!r}, right_on={right_on!r}", hint="give either on, or both left_on and right_on")


def _key_names(by: str | Sequence[str], left_by: str | Sequence[str], right_by: str | Sequence[str]) -> tuple[list[str], list[str]]:
    both, left, right = ([names] if isinstance(names, str) else list(names) for names in (by, left_by, right_by))
    if (both and (left or right)) or len(left) != len(right):
        message = f"by={both}, left_by={left}, right_by={right}"
        raise UsageError(message, hint="give either by, or as many left_by as right_by")
    return (both, both) if both else (left, right)


def _named(table: pa.Table, side: str, name: str) -> Named:
    if name not in table.column_names:
        raise SchemaMismatchError(f"{side}: no column {name!r}", hint=f"it has {', '.join(table.column_names) or 'no columns'}")
    return Named(f"{side}.{name}", table[name])


def _appended(right: pa.Table, columns: Sequence[str] | None, dropped: Sequence[str]) -> list[str]:
    if columns is None:
        return [name for name in right.column_names if name not in dropped]
    if isinstance(columns, str):
        raise UsageError(f"columns={columns!r} is one name", hint=f"give a list: [{columns!r}]")
    for name in columns:
        _named(right, "right", name)
    return list(columns)


def _output_names(taken: Sequence[str], appended: Sequence[str], suffix: str | None) -> list[str]:
    names = list[str]()
    for name in appended:
        if name in taken and suffix is None:
            raise NameClashError(f"both tables have a column {name!r}", hint="give a suffix, or say which columns to append")
        named = f"{name}{suffix}" if name in taken else name
        if named in taken or named in names:
            raise NameClashError(f"the answer would have two columns named {named!r}", hint="give another suffix, or rename a column")
        names.append(named)
    return names


def _creation(right: pa.Table, created: str | None, known_at: object, left_time: Named) -> tuple[Created | None, Mask | None]:
    """When right rows became known; and which of them no left row may know."""
    if created is None:
        if known_at is not None:
            raise UsageError(f"known_at={known_at!r} without created", hint="say which right column tells when a row became known")
        return None, None
    named = _named(right, "right", created)
    if family_of(named.arrow) not in ("instants", "nulls"):
        raise SchemaMismatchError(f"{named.name} is {named.arrow}, not a time", hint="cast it to a timestamp")
    by_left = isinstance(known_at, str) and known_at == "left"
    if by_left and family_of(left_time.arrow) not in ("instants", "nulls"):
        raise SchemaMismatchError(f"known_at='left', and {left_time.name} is {left_time.arrow}", hint="join on a timestamp, or give a time")
    column = named.column if family_of(named.arrow) == "instants" else named.column.cast(pa.timestamp("ns"))
    tick = tick_ns(column.type)
    ticks, missing = ints_of(column).copy(), joined_values(column.is_null())
    ticks[missing] = NULL_TIME
    if by_left or known_at is None:
        return Created(ticks, (tick, False), by_left), missing if by_left else None
    bound = max(NULL_TIME, min(instant_ns(known_at) // tick, -NULL_TIME - 1))
    return Created(ticks, (tick, False), bounds=False), missing | (ticks > bound)


# ---------------------------------------------------------------- the right columns


@dataclass(frozen=True, slots=True)
class _Batch:
    """Right rows that lie in one piece."""

    arrays: Sequence[pa.Array]

    def column(self, number: int) -> pa.Array:
        return self.arrays[number]

    def plain(self, number: int) -> int:
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    source: NDArray[np.int32]
    row: NDArray[np.uint32]


def _gathered(right: pa.Table, matcher: Matcher, hidden: Mask | None, *, each: bool) -> list[pa.Array]:
    """The columns of the right table for every left row. each: every column by matches of its own, with its nulls hidden."""
    batches = right.to_batches() if right.num_columns else []
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    sources = [_Batch(batch.columns) for batch in batches]

    def gatherer_of(matched: Ints) -> Gatherer:
        source = np.where(matched >= 0, np.searchsorted(starts[1:], matched, "right"), -1) if len(starts) > 2 else np.minimum(matched, 0)
        row = np.maximum(matched - starts[np.maximum(source, 0)], 0)
        places = _Places(source.astype(np.int32), row.astype(np.uint32))
        return Gatherer(sources, places, np.arange(len(matched), dtype=np.uint32), len(matched))

    whole = gatherer_of(matcher.match(hidden))

    def column(number: int) -> pa.Array:
        gatherer, missing = whole, right.column(number)
        if each and missing.null_count:
            null = joined_values(missing.is_null())
            gatherer = gatherer_of(matcher.match(null if hidden is None else null | hidden))
        return gatherer.column_as(number, right.schema.field(number).type)

    return in_parallel([partial(column, number) for number in range(right.num_columns)], max(right.num_rows, len(whole.found)))
