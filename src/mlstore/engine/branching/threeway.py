"""Three-way merging, decided purely: what both sides did to the rows of one table since their base becomes what is still to be done.

Rows are told apart by (key, event time), in a keyed table by key; new rows also by when they became known. A row that one side changed is
taken. Of one that both changed, each cell is. A cell, or row, changed differently by both is a conflict.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlstore.engine.branching.counterparts import Group, Matched, group_of
from mlstore.errors import UsageError
from mlstore.format.rows import RowPlan, peek
from mlstore.schema.layout import Layout

Choose = Callable[[Any, Any, Any], Any]  # base, ours, theirs -> the value
Strategy = str | Mapping[str, str | Choose] | None

OURS, THEIRS, UNRESOLVED = "ours", "theirs", "unresolved"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a function chose for a cell."""

    value: Any


Choice = str | Given


@dataclass(frozen=True, slots=True)
class Change:
    """What one side did to one row: its key, and its packed content before and after (None: it was not there)."""

    key: bytes
    before: bytes | None
    after: bytes | None


Side = Mapping[Group, list[Change]]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One cell (column None: the whole row) that both sides changed: packed rows, and the values if it is a cell."""

    key: bytes
    row: bytes
    column: str | None
    base: Any
    ours: Any
    theirs: Any


@dataclass(frozen=True, slots=True)
class Blend:
    """A row made of cells of both sides, and of values given."""

    key: bytes
    ours: bytes
    theirs: bytes
    choices: tuple[Choice, ...]


@dataclass(slots=True)
class MergePlan:
    """What is to be done on our side: rows hidden and rows written (key, content), rows blended; and what nobody can decide."""

    hide: list[tuple[bytes, bytes]] = field(default_factory=list)
    put: list[tuple[bytes, bytes]] = field(default_factory=list)
    blend: list[Blend] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


class Resolver:
    """A strategy as asked for: "ours", "theirs", or by column, "table:column" or "*" one of these or a function."""

    def __init__(self, strategy: Strategy) -> None:
        rules = strategy if isinstance(strategy, Mapping) else {} if strategy is None else {"*": strategy}
        for name, rule in rules.items():
            if rule not in (OURS, THEIRS) and not callable(rule):
                hint = '"ours", "theirs", or {column: one of these or a function of (base, ours, theirs)}'
                raise UsageError(f"strategy {name}={rule!r:.60}", hint=hint)
        self._rules = rules

    def cell(self, table: str, column: str, base: Any, ours: Any, theirs: Any) -> Choice:
        """Whose value a cell gets."""
        rule = self._rules.get(f"{table}:{column}") or self._rules.get(column) or self._rules.get("*")
        if rule is None:
            return UNRESOLVED
        return rule if isinstance(rule, str) else Given(rule(base, ours, theirs))

    def whole(self) -> str:
        """Whose row, or definition, stays: functions choose values only."""
        rule = self._rules.get("*")
        return rule if isinstance(rule, str) else UNRESOLVED


def changes(
    layout: Layout, matched: Matched, removed: Sequence[tuple[bytes, int, bytes]], added: Sequence[tuple[bytes, int, bytes]]
) -> Side:
    """What one side did, by row."""
    found: dict[Group, list[Change]] = defaultdict(list)

    def tell(old: tuple[bytes, int, bytes] | None, new: tuple[bytes, int, bytes] | None) -> None:
        row = new if old is None else old
        assert row is not None
        key, time, _ = row
        found[group_of(layout, key, time)].append(Change(key, old and old[2], new and new[2]))

    for place in matched.removed.tolist():
        tell(removed[place], None)
    for old, new in zip(matched.before.tolist(), matched.after.tolist(), strict=True):
        tell(removed[old], added[new])
    for place in matched.added.tolist():
        tell(None, added[place])
    return found


def plan_merge(table: str, layout: Layout, plan: RowPlan, ours: Side, theirs: Side, resolver: Resolver) -> MergePlan:
    """What is to be done on our side so that it has their changes too."""
    made = MergePlan()
    for group, their_changes in theirs.items():
        open_changes = list(ours.get(group, ()))
        for change in their_changes:
            mine = next((each for each in open_changes if _concern_one_row(layout, each, change)), None)
            if mine is not None:
                open_changes.remove(mine)
            _merge_one(table, plan, mine, change, resolver, made)
    return made


def _concern_one_row(layout: Layout, ours: Change, theirs: Change) -> bool:
    if ours.before is not None or theirs.before is not None:
        return ours.before == theirs.before
    assert ours.after is not None
    assert theirs.after is not None
    if not layout.is_online:
        return bool(layout.keys) or ours.after == theirs.after
    return peek(ours.after)[1:3] == peek(theirs.after)[1:3]


def _merge_one(table: str, plan: RowPlan, ours: Change | None, theirs: Change, resolver: Resolver, made: MergePlan) -> None:
    if ours is None:
        _replace(theirs.key, theirs.before, theirs.after, made)
        return
    if ours.after == theirs.after:
        return
    if ours.after is None or theirs.after is None:
        choice = resolver.whole()
        if choice == UNRESOLVED:
            row = ours.after or theirs.after
            assert row is not None
            told = ("changed" if after else "deleted" for after in (ours.after, theirs.after))
            made.conflicts.append(Conflict(theirs.key, row, None, "a row", *told))
        elif choice == THEIRS:
            _replace(theirs.key, ours.after, theirs.after, made)
        return
    _merge_cells(table, plan, ours, theirs, resolver, made)


def _replace(key: bytes, old: bytes | None, new: bytes | None, made: MergePlan) -> None:
    if old is not None:
        made.hide.append((key, old))
    if new is not None:
        made.put.append((key, new))


def _merge_cells(table: str, plan: RowPlan, ours: Change, theirs: Change, resolver: Resolver, made: MergePlan) -> None:
    assert ours.after is not None
    assert theirs.after is not None
    values = [plan.decode_one(row) for row in (ours.after, theirs.after)]
    base = [None] * len(plan.fields) if ours.before is None else plan.decode_one(ours.before)
    choices = []
    for (name, _), was, mine, other in zip(plan.fields, base, *values, strict=True):
        choice = _choose_cell(table, name, was, mine, other, resolver, is_new=ours.before is None)
        if choice == UNRESOLVED:
            made.conflicts.append(Conflict(theirs.key, theirs.after, name, was, mine, other))
        choices.append(choice)
    if all(choice == OURS for choice in choices):
        return
    made.hide.append((ours.key, ours.after))
    if all(choice == THEIRS for choice in choices):
        made.put.append((theirs.key, theirs.after))
    else:
        made.blend.append(Blend(theirs.key, ours.after, theirs.after, tuple(choices)))


def _choose_cell(table: str, name: str, base: Any, ours: Any, theirs: Any, resolver: Resolver, *, is_new: bool) -> Choice:
    if _is_same(ours, theirs):
        return OURS
    if not is_new and _is_same(base, theirs):
        return OURS
    if not is_new and _is_same(base, ours):
        return THEIRS
    return resolver.cell(table, name, base, ours, theirs)


def _is_same(one: Any, other: Any) -> bool:
    """Equal, by value and sign; NaN is NaN."""
    return repr(one) == repr(other)


def conflict_cells(conflicts: Sequence[Conflict]) -> Iterator[tuple[bytes, int, int, str, str | None, str | None, str | None]]:
    """(key, event time, created, column, base, ours, theirs) of each conflict, values as text; column "": the whole row."""
    for conflict in conflicts:
        _, time, created, _ = peek(conflict.row)
        base, ours, theirs = (None if value is None else str(value) for value in (conflict.base, conflict.ours, conflict.theirs))
        yield conflict.key, time, created, conflict.column or "", base, ours, theirs
