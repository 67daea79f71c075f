"""Appending: what a stream takes in, row by row or in batches, and how it becomes columns.

Knows no threads and writes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.schema.conform import Conformed, conform, join
from mlstore.schema.frames import table_of_values, to_table

Values = tuple[Any, ...]


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
    """How a row of one revision is taken apart: a tuple of its values in the order of `names`."""

    def __init__(self, relation: Relation) -> None:
        layout = relation.layout
        self.relation = relation
        self.names = tuple(layout.column_names)
        nested = {field.name for field in layout.features if field.dtype.parts}
        self._nested = [place for place, name in enumerate(self.names) if name in nested]
        self._pick: Callable[[Any], Any] = itemgetter(*self.names)

    def take(self, row: Mapping[str, Any]) -> Values:
        """The values of a row, so that the caller may use the dict again."""
        try:
            values = self._pick(row)
            fits = len(row) == len(self.names)
        except (KeyError, TypeError):
            fits = False
        if not fits:
            self._refuse(row)
        if len(self.names) == 1:
            values = (values,)
        return self._own(values) if self._nested else values

    def table(self, rows: list[Values]) -> pa.Table:
        layout = self.relation.layout
        return table_of_values(self.names, rows, what=f"data for {self.relation.label}", layout=layout)

    def _own(self, values: Values) -> Values:
        # Buffers of vectors are used again and again; a copy makes it safe.
        own = list(values)
        for place in self._nested:
            if isinstance(own[place], list | np.ndarray):
                own[place] = own[place].copy()
        return tuple(own)

    def _refuse(self, row: Any) -> NoReturn:
        layout = self.relation.layout
        conform(layout, to_table([row], what=f"data for {self.relation.label}", layout=layout))
        raise SchemaMismatchError(f"data for {self.relation.label}: {row!r:.60} is not a row", hint="give a dict of all columns")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows appended together, as they came and as they fitted then."""

    table: pa.Table
    relation: Relation
    fitted: Conformed


Item = Values | Batch


def rows_of(item: Item) -> int:
    return item.table.num_rows if isinstance(item, Batch) else 1


def fit(form: Form, items: Sequence[Item], relation: Relation) -> Conformed:
    """The items in their order as the relation wants them now; features added since the form was made are null."""
    parts: list[Conformed] = []
    rows: list[Values] = []
    for item in items:
        if not isinstance(item, Batch):
            rows.append(item)
            continue
        if rows:
            parts.append(_conform(form, form.table(rows), relation))
            rows = []
        is_same = relation.revision == item.relation.revision
        parts.append(item.fitted if is_same else _conform(form, item.table, relation))
    if rows:
        parts.append(_conform(form, form.table(rows), relation))
    return join(parts)


def _conform(form: Form, table: pa.Table, relation: Relation) -> Conformed:
    for name in relation.layout.column_names:
        if name not in form.names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return conform(relation.layout, table)
