"""The as-of join as a plain loop over all pairs of rows, on Python values: the twin that asof_join must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row of either side. time, created and key parts may be None; numbers of one axis share a unit. nulls: columns that are null."""

    key: tuple[Any, ...]
    time: float | None
    created: int | None = None
    nulls: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Switches:
    direction: str = "backward"
    tolerance: float | None = None
    allow_exact_matches: bool = True
    nulls_equal: bool = False
    has_created: bool = False
    known_at: Any = None  # None, "left", or a number on the axis


def match_naively(left: Sequence[Row], right: Sequence[Row], switches: Switches, column: str | None = None) -> list[int | None]:
    """The right row of each left row; with `column`, among the rows where it is not null."""
    return [_match(ask, right, switches, column) for ask in left]


def _match(ask: Row, right: Sequence[Row], switches: Switches, column: str | None) -> int | None:
    best, best_rank = None, None
    for position, fact in enumerate(right):
        if not _is_candidate(ask, fact, switches) or column in fact.nulls:
            continue
        rank = _rank(ask, fact, position, switches)
        if best_rank is None or rank > best_rank:
            best, best_rank = position, rank
    return best


def _is_candidate(ask: Row, fact: Row, switches: Switches) -> bool:
    if not all(_equal(one, other, nulls_equal=switches.nulls_equal) for one, other in zip(ask.key, fact.key, strict=True)):
        return False
    if ask.time is None or fact.time is None or math.isnan(ask.time) or math.isnan(fact.time):
        return False
    if ask.time == fact.time and not switches.allow_exact_matches:
        return False
    if (switches.direction == "backward" and fact.time > ask.time) or (switches.direction == "forward" and fact.time < ask.time):
        return False
    if switches.tolerance is not None and _distance(ask.time, fact.time) > switches.tolerance:
        return False
    if switches.known_at is None:
        return True
    bound = ask.time if switches.known_at == "left" else switches.known_at
    return fact.created is not None and fact.created <= bound


def _equal(one: Any, other: Any, *, nulls_equal: bool) -> bool:
    if one is None or other is None:
        return one is other and nulls_equal
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return bool(one == other) or both_nan


def _distance(one: float, other: float) -> float:
    return 0 if one == other else abs(one - other)


def _rank(ask: Row, fact: Row, position: int, switches: Switches) -> tuple[Any, ...]:
    assert ask.time is not None
    assert fact.time is not None
    created = (fact.created is not None, fact.created or 0) if switches.has_created else (False, 0)
    if switches.direction == "backward":
        return fact.time, created, position
    if switches.direction == "forward":
        return -fact.time, created, -position
    # Distances of doubles are rounded: of rows on one side that seem equally far, the one whose time is nearer is.
    is_later = fact.time >= ask.time
    return -_distance(ask.time, fact.time), is_later, -fact.time if is_later else fact.time, created, position
