"""The diff journey: what has changed from one version to another, table by table; the cost follows the change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore.engine.branching.changed import Difference, compare
from mlstore.engine.branching.counterparts import Int64, Matched, match_rows, split_plain
from mlstore.engine.branching.rowsets import RowSet, Shape, common_shape, group_rows, same_rows, shape_of
from mlstore.engine.catalog import Catalog, Relation
from mlstore.engine.history.offline import History
from mlstore.engine.session import ReadContext
from mlstore.errors import UnknownNameError
from mlstore.schema.evolution import evolve
from mlstore.schema.layout import Layout


@dataclass(frozen=True, slots=True, eq=False)
class TableDiff:
    """What has changed in one view or table.

    `added` and `removed` hold rows with all their columns. `changed` holds the keys and event time, then each other column
    twice: `name__before` and `name__after`.
    """

    name: str
    added: pa.Table
    removed: pa.Table
    changed: pa.Table

    @property
    def counts(self) -> dict[str, int]:
        """How many rows were added, removed, changed."""
        return {"added": self.added.num_rows, "removed": self.removed.num_rows, "changed": self.changed.num_rows}


@dataclass(frozen=True, slots=True, eq=False)
class Diff(Mapping[str, TableDiff]):
    """What has changed between two versions: a TableDiff by name for each table whose rows differ, and the definitions that do.

    False if nothing has.
    """

    tables: dict[str, TableDiff]
    definitions: tuple[str, ...]

    def __getitem__(self, name: str) -> TableDiff:
        if name not in self.tables:
            raise UnknownNameError(f"no row of {name!r} has changed", hint=f"changed: {', '.join(self.tables) or 'nothing'}")
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __bool__(self) -> bool:
        return bool(self.tables or self.definitions)

    def summary(self) -> dict[str, dict[str, int]]:
        """How many rows were added, removed and changed, by table."""
        return {name: table.counts for name, table in self.tables.items()}

    def __str__(self) -> str:
        rows = [
            f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count)}"
            for name, counts in self.summary().items()
        ]
        return "\n".join([*self.definitions, *rows]) or "nothing has changed"


def diff(before: ReadContext, after: ReadContext, table: str | None) -> Diff:
    """What has changed; see Store.diff."""
    labels = sorted(set(_labels(before.catalog)) | set(_labels(after.catalog)))
    if table is not None:
        labels = [(after.catalog if table in dict(_relations(after.catalog)) else before.catalog).stored(table, doing="compare").label]
    tables = {}
    for label in labels:
        old, new = (dict(_relations(context.catalog)).get(label) for context in (before, after))
        found = table_diff(label, None if old is None else before.history(old), None if new is None else after.history(new))
        if any(found.counts.values()):
            tables[label] = found
    return Diff(tables, tuple(_definitions(before.catalog, after.catalog)))


def table_diff(label: str, before: History | None, after: History | None) -> TableDiff:
    """What has changed in the rows of one table."""
    old, new = (None if history is None else history.relation for history in (before, after))
    shape = common_shape(old, new)
    difference = compare(before, after)
    if shape is None:
        # A table of another kind took the name: no row of the one stands for one of the other.
        assert old is not None
        assert new is not None
        removed, added = RowSet(shape_of(old), old, difference.removed), RowSet(shape_of(new), new, difference.added)
        return TableDiff(label, added.table(), removed.table(), pa.table({}))
    removed, added, matched = match_difference(shape, old, new, difference)
    return TableDiff(
        label,
        added.table(matched.added),
        removed.table(matched.removed),
        _changed(shape, removed, added, matched),
    )


def match_difference(shape: Shape, old: Relation | None, new: Relation | None, difference: Difference) -> tuple[RowSet, RowSet, Matched]:
    """The rows removed, the rows added, and how they belong together."""
    removed, added = RowSet(shape, old, difference.removed), RowSet(shape, new, difference.added)
    none = np.empty(0, np.int64)
    if not len(removed) or not len(added):
        return removed, added, Matched(np.arange(len(removed)), np.arange(len(added)), none, none)
    plain = split_plain(*group_rows(removed, added))
    differs = ~same_rows(removed, plain.before, added, plain.after)
    before, after = plain.before[differs], plain.after[differs]
    found = Matched(plain.removed, plain.added, before, after)
    if not shape.layout.is_online and not shape.layout.keys:
        found = Matched(np.append(plain.removed, before), np.append(plain.added, after), none, none)
    if plain.left_before.size or plain.left_after.size:
        rest = match_rows(shape.layout, contents(removed, plain.left_before), contents(added, plain.left_after))
        found = Matched(
            np.append(found.removed, plain.left_before[rest.removed]),
            np.append(found.added, plain.left_after[rest.added]),
            np.append(found.before, plain.left_before[rest.before]),
            np.append(found.after, plain.left_after[rest.after]),
        )
    order = np.argsort(found.after)
    return removed, added, Matched(np.sort(found.removed), np.sort(found.added), found.before[order], found.after[order])


def contents(rows: RowSet, picked: Int64 | None = None) -> list[tuple[bytes, int, bytes]]:
    """(key, event time, content) of each row, or of some."""
    places = range(len(rows)) if picked is None else picked.tolist()
    keys, time, packed = rows.keys, rows.time.tolist(), rows.packed
    return [(keys[place], time[place], packed[place]) for place in places]


def _changed(shape: Shape, removed: RowSet, added: RowSet, matched: Matched) -> pa.Table:
    before, after = removed.table(matched.before), added.table(matched.after)
    head = _head(shape.layout)
    names, columns = list(head), [after.column(name) for name in head]
    for name in after.column_names:
        if name not in head:
            names += [f"{name}__before", f"{name}__after"]
            columns += [before.column(name), after.column(name)]
    return pa.Table.from_arrays(columns, names=names)


def _head(layout: Layout) -> list[str]:
    """The columns that both rows of a change have alike."""
    keys = [field.name for field in layout.keys]
    return keys if layout.timestamp is None or (not layout.is_online and keys) else [*keys, layout.timestamp]


def _relations(catalog: Catalog) -> Iterator[tuple[str, Relation]]:
    return ((relation.label, relation) for relation in catalog.relations())


def _labels(catalog: Catalog) -> Iterator[str]:
    return (label for label, _ in _relations(catalog))


def _definitions(before: Catalog, after: Catalog) -> Iterator[str]:
    old, new = ({(entry.kind, entry.label): entry for entry in catalog.current()} for catalog in (before, after))
    for kind, label in sorted(old.keys() | new.keys()):
        was, now = old.get((kind, label)), new.get((kind, label))
        if now is None:
            yield f"- {kind} {label}"
        elif was is None:
            yield f"+ {kind} {label}"
        elif was.definition != now.definition:
            changes = (
                "; ".join(evolve(was.definition, now.definition).changes) if _comparable(was.definition, now.definition) else "replaced"
            )
            yield f"~ {kind} {label}: {changes or 'columns removed'}"


def _comparable(old: object, new: object) -> bool:
    return type(old) is type(new) and getattr(old, "keys", None) == getattr(new, "keys", None)
