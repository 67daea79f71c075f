"""Appending: what a stream takes in, row by row or in batches, and how it becomes columns.

Knows no threads and writes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.engine.writing.packing import Entry, Packed, list_entries, pack_dicts, unpack_entries
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.schema.conform import Conformed, conform
from mlstore.schema.frames import table_of_values, to_table


class Values(tuple[Any, ...]):
    """The values of a row that has to go through Arrow, in the order of its form's names."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """When a group is written: at so many rows, or so long after its first; and how many rows may wait."""

    max_rows: int
    max_seconds: float
    max_pending: int

    def __post_init__(self) -> None:
        if self.max_rows < 1 or self.max_pending < self.max_rows or not self.max_seconds >= 0:
            raise UsageError(
                f"max_rows={self.max_rows}, max_seconds={self.max_seconds}, max_pending={self.max_pending}",
                hint="max_rows is at least 1, max_pending at least max_rows, max_seconds at least 0",
            )


class Form:
    """How a row of one revision is taken in: packed at once where its values are plain, else as they are, in the order of `names`."""

    def __init__(self, relation: Relation) -> None:
        layout = relation.layout
        self.relation = relation
        self.names = tuple(layout.column_names)
        nested = {field.name for field in layout.features if field.dtype.parts}
        self._nested = [place for place, name in enumerate(self.names) if name in nested]
        self._pick: Callable[[Any], Any] = itemgetter(*self.names)
        self.pack: Callable[[Any], Entry | None] = relation.form.pack if relation.form is not None else _never

    def values(self, row: Mapping[str, Any]) -> Values:
        """A row that `pack` does not take, so that the caller may use the dict again."""
        try:
            values = self._pick(row)
            fits = len(row) == len(self.names)
        except (KeyError, TypeError):
            fits = False
        if not fits:
            self._refuse(row)
        if len(self.names) == 1:
            values = (values,)
        return Values(self._own(values) if self._nested else values)

    def table(self, rows: list[Values]) -> pa.Table:
        layout = self.relation.layout
        return table_of_values(self.names, rows, what=f"data for {self.relation.label}", layout=layout)

    def _own(self, values: Sequence[Any]) -> Sequence[Any]:
        # Buffers of vectors are used again and again; a copy makes it safe.
        own = list(values)
        for place in self._nested:
            if isinstance(own[place], list | np.ndarray):
                own[place] = own[place].copy()
        return own

    def _refuse(self, row: Any) -> NoReturn:
        layout = self.relation.layout
        conform(layout, to_table([row], what=f"data for {self.relation.label}", layout=layout))
        raise SchemaMismatchError(f"data for {self.relation.label}: {row!r:.60} is not a row", hint="give a dict of all columns")


def _never(row: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Together:
    """Rows appended together, packed as the relation wanted them then."""

    relation: Relation
    entries: list[Entry]


Item = Entry | Values | Together


def take_together(relation: Relation, data: Any) -> Together:
    """Rows that are to become visible together; refused here and now if one does not fit."""
    entries = pack_dicts(relation, data)
    if entries is None:
        table = to_table(data, what=f"data for {relation.label}", layout=relation.layout)
        entries = list_entries(relation, conform(relation.layout, table))
    return Together(relation, entries)


def rows_of(item: Item) -> int:
    return len(item.entries) if isinstance(item, Together) else 1


def fit(form: Form, items: list[Item], relation: Relation) -> Packed | None:
    """The items in their order as the relation wants them now; features added since the form was made are null."""
    if relation.is_same(form.relation) and {*map(type, items)} == {bytes}:
        return Packed(relation, items)  # type: ignore[arg-type]  # what is bytes is an entry
    entries: list[Entry] = []
    for kind, alike in groupby(items, type):
        if kind is bytes:
            entries += _renewed(form, form.relation, [item for item in alike if isinstance(item, bytes)], relation)
        elif kind is Values:
            table = form.table([item for item in alike if isinstance(item, Values)])
            entries += list_entries(relation, _conform(form, table, relation))
        else:
            for item in alike:
                assert isinstance(item, Together)
                entries += _renewed(form, item.relation, item.entries, relation)
    return Packed(relation, entries) if entries else None


def _renewed(form: Form, before: Relation, entries: list[Entry], relation: Relation) -> list[Entry]:
    """Entries of what the relation was before, as it is now."""
    if not entries or relation.is_same(before):
        return entries
    return list_entries(relation, _conform(form, unpack_entries(before, entries), relation))


def _conform(form: Form, table: pa.Table, relation: Relation) -> Conformed:
    for name in relation.layout.column_names:
        if name not in form.names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return conform(relation.layout, table)
