"""A store of plain Python rows: the rules of point in time written as loops over lists.

Slow, and meant to be checked by reading. It knows nothing of mlstore. Times are integer microseconds since 1970 UTC.
A version is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A row as a user writes it. `created` counts only where the view has a created column; None is a null in it."""

    key: Key
    event_time: int
    values: Mapping[str, object]
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the store keeps it: a fact, when it became known, and its place in the order of writing."""

    key: Key
    event_time: int
    created: int | None
    seq: int
    values: Mapping[str, object]

    @property
    def rank(self) -> tuple[int, bool, int, int]:
        """The total order of the rows of a key. A row that never became known ranks lowest among equals in time."""
        return (self.event_time, self.created is not None, self.created or 0, self.seq)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view says of one key: its features, why, and the event time of the row behind it."""

    values: dict[str, object]
    status: str
    event_time: int | None


@dataclass(slots=True)
class ViewModel:
    """One view: its rules and its rows. Deleted rows are gone: versions before the deletion are copies made before it."""

    features: list[str]
    has_created: bool = False
    max_age: int | None = None
    strict: bool = False
    last_valid: bool = False
    delay: int | None = None
    rows: list[Row] = field(default_factory=list)
    next_seq: int = 0

    def append(self, facts: Iterable[Fact], *, commit_time: int) -> None:
        for fact in facts:
            created = fact.created if self.has_created else commit_time if self.delay is None else fact.event_time + self.delay
            self.rows.append(Row(fact.key, fact.event_time, created, self.next_seq, dict(fact.values)))
            self.next_seq += 1

    def upsert(self, facts: Iterable[Fact], *, commit_time: int) -> None:
        """Each fact takes the place of every row of its key and event time, those of the same call included."""
        for fact in facts:
            self.delete(lambda row, fact=fact: (row.key, row.event_time) == (fact.key, fact.event_time))
            self.append([fact], commit_time=commit_time)

    def delete(self, doomed: Callable[[Row], bool]) -> int:
        kept = [row for row in self.rows if not doomed(row)]
        gone = len(self.rows) - len(kept)
        self.rows = kept
        return gone

    def as_of(self, key: Key, time: int | None, *, known: int | None = None) -> Answer:
        """The answer for a label of `key` at `time`, knowing only what was known at `known` (None: everything)."""
        if time is None or any(part is None for part in key):
            return self._answer([], time)
        past = [row for row in self.rows if row.key == key and (row.event_time < time or (row.event_time == time and not self.strict))]
        if known is not None:
            past = [row for row in past if row.created is not None and row.created <= known]
        return self._answer(past, time)

    def online(self, key: Key, *, now: int) -> Answer:
        """The answer at the end of time, over all rows; only its age is measured from `now`."""
        return self._answer([row for row in self.rows if row.key == key], now)

    def state(self, time: int) -> list[Row]:
        """The winning row of every key at `time`, ordered by key, with what the view answers for its features."""
        found = []
        for key in sorted({row.key for row in self.rows}):
            answer = self.as_of(key, time)
            if answer.event_time is not None:
                past = [row for row in self.rows if row.key == key and row.event_time == answer.event_time]
                found.append(replace(max(past, key=lambda row: row.rank), values=answer.values))
        return found

    def between(self, start: int | None, end: int | None) -> list[Row]:
        """The rows with start <= event time < end, ordered by key and rank."""
        inside = [row for row in self.rows if (start is None or row.event_time >= start) and (end is None or row.event_time < end)]
        return sorted(inside, key=lambda row: (row.key, row.rank))

    def copy(self) -> ViewModel:
        return replace(self, features=list(self.features), rows=list(self.rows))

    def _answer(self, past: list[Row], time: int | None) -> Answer:
        if not past or time is None:
            return Answer(dict.fromkeys(self.features), "NOT_FOUND", None)
        fresh = [row for row in past if self.max_age is None or time - row.event_time <= self.max_age]
        if not fresh:
            return Answer(dict.fromkeys(self.features), "OUTSIDE_TTL", None)
        winner = max(fresh, key=lambda row: row.rank)
        values = {name: self._value(fresh, winner, name) for name in self.features}
        found = any(value is not None for value in values.values())
        return Answer(values, "PRESENT" if found else "NULL_VALUE", winner.event_time)

    def _value(self, fresh: list[Row], winner: Row, name: str) -> object:
        if not self.last_valid:
            return winner.values.get(name)
        filled = [row for row in fresh if row.values.get(name) is not None]
        return max(filled, key=lambda row: row.rank).values[name] if filled else None
