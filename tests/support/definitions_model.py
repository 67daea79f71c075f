"""Definitions that change, as plain Python: every commit is a copy of all versions of a view, with its columns and its rows.

A row is one thing, wherever it is seen: its `seq` is given once. It keeps its values by column, also of columns that were taken back.
Slow, and meant to be checked by reading. It knows nothing of mlstore.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from tests.support.model import Row, ViewModel
from tests.support.versions_model import Conflict, changes, merge_changes

WIDTHS = {"int16": 2**15, "int32": 2**31, "int64": 2**63}
INTEGERS = tuple(WIDTHS)

Shape = dict[str, str]

_fresh = itertools.count(1)


class Refused(Exception):
    """Not a matter of choosing a side: values that do not fit, tables of different kinds."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it is, whatever its type and name."""

    dtype: str
    uid: int = field(default_factory=lambda: next(_fresh))


@dataclass(slots=True)
class TableModel:
    """One version of the view. Rows have values by the uid of columns."""

    columns: dict[str, Column]
    rows: list[Row] = field(default_factory=list)
    uid: int = field(default_factory=lambda: next(_fresh))

    @property
    def shape(self) -> Shape:
        return {name: column.dtype for name, column in self.columns.items()}

    def shown(self) -> list[Row]:
        """The rows with their values by name."""
        return [shown(row, self.columns) for row in self.rows]

    def write(self, facts: list[tuple[int, int, dict[str, object]]], created: int, *, is_upsert: bool) -> None:
        for key, time, values in facts:
            if is_upsert:
                self.rows = [row for row in self.rows if (row.key, row.event_time) != ((key,), time)]
            stored = {self.columns[name].uid: value for name, value in values.items()}
            self.rows.append(Row((key,), time, created, next(_fresh), stored))

    def online(self, key: int) -> dict[str, object]:
        rows = [row for row in self.shown() if row.key == (key,)]
        return dict(max(rows, key=lambda row: row.rank).values) if rows else dict.fromkeys(self.columns)


@dataclass(slots=True)
class State:
    """What a commit shows: the versions of the view, and those that were withdrawn."""

    tables: dict[int, TableModel] = field(default_factory=dict)
    withdrawn: list[tuple[int, TableModel]] = field(default_factory=list)

    def copy(self) -> State:
        return State(
            {number: copied(table) for number, table in self.tables.items()}, [(each, copied(one)) for each, one in self.withdrawn]
        )

    @property
    def newest(self) -> TableModel | None:
        return self.tables[max(self.tables)] if self.tables else None

    @property
    def next_version(self) -> int:
        return 1 + max((*self.tables, *(number for number, _ in self.withdrawn)), default=0)

    def store(self, number: int, uid: int) -> TableModel | None:
        """The table of a uid, or else one of the number, withdrawn or not."""
        known = [*self.tables.items(), *self.withdrawn]
        same = [table for _, table in known if table.uid == uid] or [table for other, table in known if other == number]
        return next(iter(same), None)


def copied(table: TableModel) -> TableModel:
    return TableModel(dict(table.columns), list(table.rows), table.uid)


def shown(row: Row, columns: dict[str, Column]) -> Row:
    return replace(row, values={name: row.values.get(column.uid) for name, column in columns.items()})


def merge_states(base: State, ours: State, theirs: State, strategy: str | None) -> State:
    """Ours, with what theirs has changed since the base: definitions, rows, and last what it took back."""
    merged, cuts, doomed = ours.copy(), dict[int, Shape](), list[int]()
    for number, other in theirs.tables.items():
        was, mine = base.tables.get(number), merged.tables.get(number)
        if was is not None and was.shape == other.shape:
            continue
        if mine is None:
            if was is None or _choose(strategy, ours=False, theirs=True):
                _create(merged, number, other)
        elif mine.shape != other.shape:
            cuts[number] = _merge_columns({} if was is None else was.shape, mine, other, strategy)
    for number, was in base.tables.items():
        mine = merged.tables.get(number)
        if mine is None or number in theirs.tables:
            continue
        if mine.shape == was.shape or _choose(strategy, ours=False, theirs=True):
            doomed.append(number)
    for number, other in theirs.tables.items():
        _merge_rows(number, base, merged, other, strategy)
    for number, final in cuts.items():
        _cut(number, base, merged.tables[number], final, strategy)
    for number in doomed:
        _withdraw(number, base, merged, strategy)
    return merged


def _choose(strategy: str | None, *, ours: object, theirs: object) -> object:
    if strategy is None:
        raise Conflict
    return ours if strategy == "ours" else theirs


def _create(merged: State, number: int, other: TableModel) -> None:
    back = next((table for _, table in merged.withdrawn if table.uid == other.uid), None)
    merged.withdrawn = [(each, table) for each, table in merged.withdrawn if table is not back]
    merged.tables[number] = TableModel(dict(other.columns), [] if back is None else back.rows, other.uid)


def _merge_columns(base: Shape, mine: TableModel, other: TableModel, strategy: str | None) -> Shape:
    """Ours gets the columns of both, in types that hold both; what is left in the end."""
    final: Shape = {}
    for name in dict.fromkeys((*mine.shape, *other.shape, *base)):
        was, here, there = (shape.get(name) for shape in (base, mine.shape, other.shape))
        if here == there or there == was:
            value = here
        elif here == was:
            value = there
        elif here is None or there is None:
            value = _choose(strategy, ours=here, theirs=there)
        elif here in INTEGERS and there in INTEGERS:
            value = max(here, there, key=INTEGERS.index)
        else:
            raise Conflict
        if value is not None:
            final[name] = value
    for name, dtype in final.items():
        if name not in mine.columns:
            mine.columns[name] = replace(other.columns[name], dtype=dtype) if mine.uid == other.uid else Column(dtype)
        elif mine.columns[name].dtype != dtype and dtype in INTEGERS and mine.columns[name].dtype in INTEGERS:
            wide = max(dtype, mine.columns[name].dtype, key=INTEGERS.index)
            mine.columns[name] = replace(mine.columns[name], dtype=wide)
        elif mine.columns[name].dtype != dtype:
            raise Conflict
    return final


def _merge_rows(number: int, base: State, merged: State, other: TableModel, strategy: str | None) -> None:
    was, mine = base.store(number, other.uid), merged.tables.get(number)
    if not any(_differences(was, other)):
        return
    if mine is None:
        _choose(strategy, ours=None, theirs=None)
        if strategy == "theirs":
            raise Conflict
        return
    if mine.uid != other.uid and any(_apart(dtype, other.shape.get(name, dtype)) for name, dtype in mine.shape.items()):
        raise Refused
    sides = []
    for side in (mine, other):
        removed, added = _differences(was, side)
        views = [_view(mine, rows, table) for rows, table in ((removed, was), (added, side))]
        sides.append(changes(*views))
    ours = _view(mine, mine.rows, mine)
    ours.next_seq = next(_fresh)
    result = merge_changes(ours, *sides, strategy)
    held = {row.seq: row for row in mine.rows}
    mine.rows = [held[row.seq] if row.seq in held else _stored(row, mine) for row in result.rows]


def _apart(one: str, other: str) -> bool:
    return one != other and "string" in (one, other)


def _differences(was: TableModel | None, side: TableModel) -> tuple[list[Row], list[Row]]:
    before, after = ([] if table is None else table.rows for table in (was, side))
    seen = [{row.seq for row in rows} for rows in (before, after)]
    return [row for row in before if row.seq not in seen[1]], [row for row in after if row.seq not in seen[0]]


def _view(mine: TableModel, rows: list[Row], table: TableModel | None) -> ViewModel:
    """Rows as ours shows them: by column where they are of the same table, else by name."""
    columns = mine.columns if table is None or table.uid == mine.uid else {
        name: table.columns[name] for name in mine.columns if name in table.columns
    }  # fmt: skip
    told = [replace(row, values=dict.fromkeys(mine.columns) | dict(shown(row, columns).values)) for row in rows]
    for row in told:
        for name, value in row.values.items():
            if isinstance(value, int) and not fits(value, mine.columns[name].dtype):
                raise Refused
    return ViewModel(list(mine.columns), rows=told)


def fits(value: int, dtype: str) -> bool:
    return -WIDTHS[dtype] <= value < WIDTHS[dtype]


def _stored(row: Row, table: TableModel) -> Row:
    return replace(row, seq=next(_fresh), values={table.columns[name].uid: value for name, value in row.values.items()})


def _cut(number: int, base: State, mine: TableModel, final: Shape, strategy: str | None) -> None:
    since = _differences(base.store(number, mine.uid), mine)[1]
    for name, column in list(mine.columns.items()):
        values = [row.values.get(column.uid) for row in since]
        if name not in final:
            needed = any(value is not None for value in values)
            if not needed or _choose(strategy, ours=False, theirs=True):
                del mine.columns[name]
        elif final[name] != column.dtype:
            needed = any(isinstance(value, int) and not fits(value, final[name]) for value in values)
            if needed and strategy != "ours":
                raise Conflict
            if not needed:
                mine.columns[name] = replace(column, dtype=final[name])


def _withdraw(number: int, base: State, merged: State, strategy: str | None) -> None:
    mine = merged.tables[number]
    if not any(_differences(base.store(number, mine.uid), mine)) or _choose(strategy, ours=False, theirs=True):
        merged.withdrawn.append((number, merged.tables.pop(number)))
