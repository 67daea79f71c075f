"""Windows: which events before a moment an aggregate is over, and the part of an output's name that says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import set_field
from mlstore.schema.durations import format_duration, parse_duration

WindowKind = Literal["time", "lifetime", "tumbling", "hopping", "session", "rows"]

_HINT = "give '7d', a timedelta, 'lifetime', ml.tumbling('1d'), ml.hopping('7d', hop='1d'), ml.session('30m') or ml.last_rows(10)"
_NEEDED: dict[str, tuple[str, ...]] = {
    "time": ("length_ns",),
    "lifetime": (),
    "tumbling": ("length_ns",),
    "hopping": ("length_ns", "hop_ns"),
    "session": ("gap_ns",),
    "rows": ("rows",),
}
MAX_ROWS = 2**31 - 1


@dataclass(frozen=True, slots=True, repr=False)
class Window:
    """The events before a moment t that count, for one kind of window; what a kind has no use for is 0.

    kind: "time" (t - length < e <= t), "lifetime" (e <= t), "tumbling" (the period of `length_ns` that t is in, so far), "hopping" (as
    "time", seen from the last multiple of `hop_ns`), "session" (back from the last event while no gap is greater than `gap_ns`), "rows"
    (the last `rows` events). shift_ns is taken off t first. text: the length as it was written, for names.
    """

    kind: WindowKind
    text: str = ""
    length_ns: int = 0
    hop_ns: int = 0
    gap_ns: int = 0
    rows: int = 0
    shift_ns: int = 0

    def __post_init__(self) -> None:
        needed = _NEEDED.get(self.kind)
        numbers = {name: getattr(self, name) for name in ("length_ns", "hop_ns", "gap_ns", "rows")}
        if needed is None or self.shift_ns < 0 or any((number > 0) != (name in needed) for name, number in numbers.items()):
            raise DefinitionError(f"{self.kind!r:.60} with {numbers} is no window", hint=_HINT)
        if not self.text:
            lengths = (self.length_ns, self.hop_ns, self.gap_ns)
            set_field(self, "text", "_".join(format_duration(length) for length in lengths if length))

    @property
    def label(self) -> str:
        """The end of an output's name: "7d", "tumbling_1d", "hopping_7d_1d", "session_30m", "last_10_rows", "lifetime", "7d_1d_ago"."""
        match self.kind:
            case "time":
                name = self.text
            case "rows":
                name = f"last_{self.rows}_rows"
            case "lifetime":
                name = "lifetime"
            case _:
                name = f"{self.kind}_{self.text}"
        return f"{name}_{format_duration(self.shift_ns)}_ago" if self.shift_ns else name

    @property
    def span_ns(self) -> int:
        """How long before its moment it reaches at most; 0 if no length bounds it."""
        return self.length_ns + max(self.hop_ns - 1, 0)

    def shifted(self, shift_ns: int) -> Window:
        """The same window so long ago."""
        return replace(self, shift_ns=self.shift_ns + shift_ns)

    def durations(self) -> tuple[tuple[str, int], ...]:
        """Its lengths of time, named."""
        named = (("length", self.length_ns), ("hop", self.hop_ns), ("gap", self.gap_ns), ("shift", self.shift_ns))
        return tuple((name, length) for name, length in named if length)

    def __repr__(self) -> str:
        match self.kind:
            case "time":
                shown = repr(self.text)
            case "rows":
                shown = f"last_rows({self.rows})"
            case "hopping":
                length, _, hop = self.text.partition("_")
                shown = f"hopping({length!r}, hop={hop!r})"
            case "lifetime":
                shown = "'lifetime'"
            case _:
                shown = f"{self.kind}({self.text!r})"
        return f"{shown} {format_duration(self.shift_ns)} ago" if self.shift_ns else shown


def tumbling(length: str | timedelta) -> Window:
    """The running period: a day is [00:00, 24:00) UTC, and what counts is its events up to the moment asked about.

    Periods are aligned to 1970-01-01 00:00 UTC.

    Raises
    ------
    DefinitionError
        The length is no positive duration.

    Examples
    --------
    >>> ml.tumbling("1d").label
    'tumbling_1d'
    """
    return Window("tumbling", _text(length, "tumbling"), length_ns=parse_duration(length, what="tumbling"))


def hopping(length: str | timedelta, *, hop: str | timedelta) -> Window:
    """A window that moves on in hops: its end is the last multiple of `hop` since 1970 that is not after the moment asked about.

    Raises
    ------
    DefinitionError
        A length is no positive duration.

    Examples
    --------
    >>> ml.hopping("7d", hop="1d").label
    'hopping_7d_1d'
    """
    text = f"{_text(length, 'hopping')}_{_text(hop, 'hopping: hop')}"
    return Window("hopping", text, length_ns=parse_duration(length, what="hopping"), hop_ns=parse_duration(hop, what="hopping: hop"))


def session(gap: str | timedelta) -> Window:
    """The running session: the events back from the last one until a pause longer than `gap`; none if the last one is longer ago than that.

    Raises
    ------
    DefinitionError
        The gap is no positive duration.

    Examples
    --------
    >>> ml.session("30m").label
    'session_30m'
    """
    return Window("session", _text(gap, "session"), gap_ns=parse_duration(gap, what="session"))


def last_rows(n: int) -> Window:
    """The last `n` events, however old.

    Raises
    ------
    DefinitionError
        `n` is no whole number from 1 on.

    Examples
    --------
    >>> ml.last_rows(10).label
    'last_10_rows'
    """
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_ROWS:
        raise DefinitionError(f"last_rows({n!r:.60}): not a number of rows", hint=f"give a whole number from 1 to {MAX_ROWS}")
    return Window("rows", rows=n)


LIFETIME = Window("lifetime")


def checked_window(value: object, place: str) -> Window:
    """What was given for a window, as one."""
    if isinstance(value, Window):
        return value
    if value == "lifetime":
        return LIFETIME
    if isinstance(value, str | timedelta):
        try:
            return Window("time", _text(value, "window"), length_ns=parse_duration(value, what=f"{place}: window"))
        except DefinitionError as cause:
            raise DefinitionError(cause.message, hint=_HINT) from cause
    raise DefinitionError(f"{place}: {value!r:.60} is no window", hint=_HINT)


def _text(length: str | timedelta, what: str) -> str:
    """A length as it was written ("24h" stays "24h"), for names: without spaces."""
    length_ns = parse_duration(length, what=what)
    return "".join(length.split()) if isinstance(length, str) else format_duration(length_ns)
