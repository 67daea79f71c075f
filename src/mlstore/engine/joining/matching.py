"""Matching: for each row of a left table the row of a right one that an as-of join gives it. Numbers in, numbers out.

Three ways lead to the same answer. Right rows that ascend in time: one walk along both sides. Others, if they are the many: each is handed
to the left rows it may answer, which are sorted. Where they are the fewer, hidden or ranked by created: sorted by (group, time, created).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlstore._core.joins import bound_ticks, choose_nearer, drop_distant, is_ascending, match_merged, match_sorted, match_streamed
from mlstore.engine import limits
from mlstore.engine.joining.axis import Axis, Times, sortable
from mlstore.engine.joining.pairing import Pairing
from mlstore.engine.lazy import lazy
from mlstore.engine.parallel import in_parallel
from mlstore.format.order import order_rows, take_ints

Codes = NDArray[np.int32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.uint32]

Direction = Literal["backward", "forward", "nearest"]

NOTHING = np.empty(0, np.int64)
NO_BYTES = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which right rows a left row may be given. tolerance: in nanoseconds, counts or floats, as the axis has it."""

    direction: Direction
    strict: bool
    tolerance: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The rows of one table that may take part: their place in it, their group, their time."""

    rows: Ints | None
    codes: Codes
    times: Times
    unit: tuple[int, bool]


@dataclass(frozen=True, slots=True, eq=False)
class Created:
    """When right rows became known, with nulls as the lowest; and the unit, if left times bound what is known."""

    ticks: Ints
    unit: tuple[int, bool]
    bounds: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """Right rows by (group, time, created). order: None if they lie so."""

    order: Rows | None
    offsets: Ints
    times: Times
    created: Ints


class Matcher:
    """One join, prepared: asked once for whole rows, or for each column with the rows where it is null hidden."""

    def __init__(self, pairing: Pairing, left: Axis, right: Axis, rule: Rule, created: Created | None = None) -> None:
        self._groups = pairing.count
        self._rule = rule
        self._created = created
        self._length = len(pairing.left)
        self._asks = _side(pairing.left, left, only_groups=True)
        self._facts = _side(pairing.right, right, only_groups=False)

    def match(self, hidden: Mask | None = None) -> Ints:
        """[left rows] the right row of each, or -1. hidden: [right rows] not to be given."""
        is_plain = hidden is None and self._created is None
        if is_plain and self._groups > 1 and is_ascending(self._facts.times):
            slots, times, found = self._asks.rows, self._asks.times, self._merged()
        elif is_plain and not self._is_in_order and len(self._asks.codes) <= len(self._facts.codes):
            slots, times, found = self._streamed()
        else:
            slots, times, found = self._sorted(hidden)
        if self._rule.tolerance is not None:
            drop_distant(times, self._asks.unit, self._facts.times, self._facts.unit, self._rule.tolerance, found)
        if self._facts.rows is not None and len(self._facts.rows):
            found = np.where(found >= 0, self._facts.rows[found], -1)
        if slots is None:
            return found
        matched = np.full(self._length, -1, np.int64)
        matched[slots] = found
        return matched

    def _merged(self) -> Ints:
        asks, facts = self._asks, self._facts
        ask_order, _ = order_rows(np.zeros(len(asks.codes), np.int32), 1, sortable(asks.times))

        def search(*, forward: bool, last_of_ties: bool) -> Ints:
            matched = np.empty(len(asks.codes), np.int64)
            latest = np.empty(self._groups, np.int64)
            sides = asks.codes, asks.times, asks.unit, facts.codes, facts.times, facts.unit
            match_merged(ask_order, *sides, self._rule.strict, forward, last_of_ties, latest, matched)
            return matched

        return self._both_ways(search, asks.times, facts.times)

    def _streamed(self) -> tuple[Ints, Times, Ints]:
        """(left rows, their times, the fact of each)."""
        order, offsets = self._ask_order
        asks, facts, times = self._asks, self._facts, _taken(self._asks.times, order)

        def search(*, forward: bool, last_of_ties: bool) -> Ints:
            matched = np.empty(len(order), np.int64)
            sides = offsets, times, asks.unit, facts.codes, facts.times, facts.unit
            scratch = np.empty_like(times), np.empty_like(times), np.empty(self._groups, np.int64)
            match_streamed(*sides, self._rule.strict, forward, last_of_ties, *scratch, matched)
            return matched

        return self._slots(order), times, self._both_ways(search, times, facts.times)

    def _sorted(self, hidden: Mask | None) -> tuple[Ints, Times, Ints]:
        """(left rows, their times, the fact of each)."""
        order, offsets = self._ask_order
        times, by_group = _taken(self._asks.times, order), self._by_group
        kept = None if hidden is None else hidden if self._facts.rows is None else hidden[self._facts.rows]
        hidden_bytes = NO_BYTES if kept is None else (kept if by_group.order is None else kept[by_group.order]).view(np.uint8)

        def search(*, forward: bool, last_of_ties: bool) -> Ints:
            matched = np.empty(len(order), np.int64)
            switches = hidden_bytes, self._rule.strict, forward, last_of_ties
            fact_unit = self._facts.unit

            def search_groups(first: int, last: int) -> None:
                asks, facts = slice(offsets[first], offsets[last]), slice(by_group.offsets[first], by_group.offsets[last])
                match_sorted(
                    offsets[first : last + 1] - offsets[first],
                    times[asks],
                    self._asks.unit,
                    known[asks] if known.size else known,
                    by_group.offsets[first : last + 1] - by_group.offsets[first],
                    by_group.times[facts],
                    fact_unit,
                    by_group.created[facts] if by_group.created.size else NOTHING,
                    hidden_bytes[facts] if hidden_bytes.size else NO_BYTES,
                    *switches[1:],
                    matched[asks],
                )
                matched[asks] += np.where(matched[asks] >= 0, by_group.offsets[first], 0)

            known = self._known(times)
            _in_groups(search_groups, offsets, len(order))
            return matched

        found = self._both_ways(search, times, by_group.times)
        if by_group.order is not None and len(by_group.order):
            found = np.where(found >= 0, by_group.order[found].astype(np.int64), -1)
        return self._slots(order), times, found

    def _slots(self, order: Rows) -> Ints:
        return order.astype(np.int64) if self._asks.rows is None else self._asks.rows[order]

    def _both_ways(self, search: Callable[..., Ints], ask_times: Times, fact_times: Times) -> Ints:
        if self._rule.direction != "nearest":
            return search(forward=self._rule.direction == "forward", last_of_ties=False)
        searches = [partial(search, forward=False, last_of_ties=False), partial(search, forward=True, last_of_ties=True)]
        earlier, later = in_parallel(searches, len(fact_times))
        choose_nearer(ask_times, self._asks.unit, fact_times, self._facts.unit, later, earlier)
        return earlier

    def _known(self, times: Times) -> Ints:
        if self._created is None or not self._created.bounds:
            return NOTHING
        known = np.empty(len(times), np.int64)
        bound_ticks(times.view(np.int64), self._asks.unit, self._created.unit, known)
        return known

    @lazy
    def _ask_order(self) -> tuple[Rows, Ints]:
        return order_rows(self._asks.codes, self._groups, sortable(self._asks.times))

    @lazy
    def _is_in_order(self) -> bool:
        """Whether the right rows are of one group and ascend, so that none has to be looked at to find some."""
        return self._groups == 1 and self._created is None and not (self._facts.codes < 0).any() and is_ascending(self._facts.times)

    @lazy
    def _by_group(self) -> Sorted:
        facts = self._facts
        if self._is_in_order:
            return Sorted(None, np.array([0, len(facts.codes)]), facts.times, NOTHING)
        created = None if self._created is None else self._created.ticks if facts.rows is None else self._created.ticks[facts.rows]
        order, offsets = order_rows(facts.codes, self._groups, sortable(facts.times), created, drop_null=True)
        return Sorted(order, offsets, _taken(facts.times, order), NOTHING if created is None else created[order])


def _side(codes: Codes, axis: Axis, *, only_groups: bool) -> Side:
    kept = axis.valid
    if only_groups and codes.size and codes.min() < 0:
        kept = codes >= 0 if kept is None else kept & (codes >= 0)
    if kept is None:
        return Side(None, codes, axis.times, axis.unit)
    rows = np.flatnonzero(kept)
    return Side(rows, codes[rows], axis.times[rows], axis.unit)


def _taken(times: Times, rows: Rows) -> Times:
    taken = take_ints(times.view(np.int64), rows)
    return taken if times.dtype == np.int64 else taken.view(np.float64)


def _in_groups(search_groups: Callable[[int, int], None], offsets: Ints, asks: int) -> None:
    """search_groups(first, last) over all groups, in parts of about as many questions, each in a thread."""
    groups = len(offsets) - 1
    parts = limits.READ_THREADS if asks >= limits.PARALLEL_ROWS else 1
    cuts = [0, *np.searchsorted(offsets, np.linspace(0, asks, parts + 1)[1:-1]).tolist(), groups]
    in_parallel([partial(search_groups, first, last) for first, last in pairwise(cuts)], asks)
